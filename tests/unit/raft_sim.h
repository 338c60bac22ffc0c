/* A cluster of raft cores on a simulated network and simulated disks, for test_raft_script and
 * test_raft_random. Messages wait in one pool until the test delivers, drops or repeats them;
 * batches wait at each member's disk until the test makes them durable. A crash keeps what is
 * durable and nothing else.
 *
 * After each event the promises of Raft are checked (contracts/reliability.md, "Per-step
 * invariants"): one leader a term, one vote a term and member, log matching, leader completeness,
 * commits that stand durably on a majority, equal states at equal indexes, nothing sent that
 * depends on what is not durable, read indexes no older than the question. */
#ifndef DECREE_TESTS_RAFT_SIM_H
#define DECREE_TESTS_RAFT_SIM_H

#include <stdio.h>
#include <string.h>

#include "buf.h"
#include "err.h"
#include "hmap.h"
#include "raft.h"

enum { SIM_NODES_MAX = 9, SIM_TERMS_MAX = 1 << 12 };

struct sim_msg {
    struct raft_msg m;          /* entries point to the copy below */
    struct raft_entry *entries; /* owned, payloads referenced */
    bool is_snapshot;           /* a stream from m.from to m.to, sent in m.term */
    struct raft_entry_id snap;
    struct raft_conf conf;
};

struct sim_write {
    uint64_t seq;
    bool hard;
    uint64_t term, vote;
    bool repairing;
    struct raft_entry *entries; /* owned, payloads referenced */
    size_t n_entries;
    bool is_reset; /* a snapshot took the place of the log */
    struct raft_entry_id reset_to;
};

struct sim_read {
    uint64_t context, min_index;
};

struct sim_node {
    uint64_t id;
    struct raft *r; /* NULL = down */
    bool changed;   /* stepped since its last update was taken */

    /* on its disk */
    uint64_t term, vote;
    bool repairing;            /* a part was lost, and this is known */
    struct raft_entry_id base; /* the entry before the log's first */
    struct raft_entry *log;
    size_t n_log, log_cap;
    struct raft_entry_id snap;
    struct raft_conf snap_conf;
    struct sim_write *writes; /* under way, in order */
    size_t n_writes, writes_cap;

    /* What it had before it was damaged and has acknowledged, while it is under repair. */
    struct raft_entry_id *lost;
    size_t n_lost, lost_cap;
    uint64_t lost_snap;

    uint64_t applied, hash, commit;
    uint64_t
        led; /* newest term it was seen leading: one that led its own removal follows at once */
    struct sim_read *reads;
    size_t n_reads, reads_cap;
};

/* What was committed, as the first leader that knew committed it. */
struct sim_committed {
    uint64_t term, hash; /* of all entries up to here */
};

struct sim_known {
    struct hmap_node node;
    struct raft_entry_id id;
    uint64_t prev_term, payload;
};

struct sim {
    struct sim_node nodes[SIM_NODES_MAX + 1]; /* by id; 0 is unused */
    size_t n_nodes;
    struct raft_options options;
    struct sim_msg *pool;
    size_t n_pool, pool_cap;
    uint64_t random; /* state of the generator that events draw from */
    uint64_t next_context;
    uint64_t next_session;
    struct raft_conf founders;

    struct sim_committed *committed; /* [0] stands for the empty log */
    size_t n_committed, committed_cap;
    uint64_t leader_of[SIM_TERMS_MAX];
    uint64_t vote_of[SIM_NODES_MAX + 1][SIM_TERMS_MAX];
    uint64_t max_term;
    struct hmap known;
    size_t n_reads_ok, n_snapshots, n_elections, n_damaged, n_healed;

    struct strbuf *trace; /* NULL = silent */
    char where[64];       /* names the run in a failure */
};

static inline uint64_t sim_random(struct sim *s)
{
    uint64_t z = (s->random += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

__attribute__((noreturn, format(printf, 2, 3))) static inline void sim_fail(
    struct sim *s, const char *fmt, ...)
{
    va_list ap;

    if (s->trace != NULL) {
        (void)fputs(strbuf_cstr(s->trace), stderr);
    }
    (void)fprintf(stderr, "%s: ", s->where);
    va_start(ap, fmt);
    (void)vfprintf(stderr, fmt, ap);
    va_end(ap);
    (void)fputc('\n', stderr);
    exit(1);
}

#define SIM_CHECK(s, cond, ...)                                                                    \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            sim_fail(s, __VA_ARGS__);                                                              \
        }                                                                                          \
    } while (0)

static inline void *sim_grow(void *p, size_t n, size_t *cap, size_t size)
{
    if (n == *cap) {
        *cap = MAX(*cap * 2, (size_t)8);
        p = xreallocarray(p, *cap, size);
    }
    return p;
}

/* ---- traces ---- */

static inline void sim_trace_conf(struct strbuf *t, const struct raft_conf *conf)
{
    for (size_t i = 0; i < conf->n; i++) {
        strbuf_printf(t, "%s%llu%s", i != 0 ? "," : "", (unsigned long long)conf->members[i].id,
            conf->members[i].learner ? "l" : "");
    }
}

static inline void sim_trace_entry(struct strbuf *t, const struct raft_entry *e)
{
    struct raft_conf conf;

    strbuf_printf(t, " %llu/%llu", (unsigned long long)e->id.term, (unsigned long long)e->id.index);
    if (e->type == RAFT_ENTRY_CONF && raft_conf_decode(buf_bytes(e->payload), &conf, NULL) == 0) {
        strbuf_append_str(t, ":conf=");
        sim_trace_conf(t, &conf);
    } else if (e->payload->len != 0) {
        strbuf_append_char(t, ':');
        strbuf_append_bytes(t, buf_bytes(e->payload));
    }
}

static inline void sim_trace_entries(struct strbuf *t, const struct raft_entry *entries, size_t n)
{
    strbuf_append_str(t, " [");
    for (size_t i = 0; i < n; i++) {
        sim_trace_entry(t, &entries[i]);
    }
    strbuf_append_str(t, " ]");
}

static const char *const sim_msg_names[RAFT_MSG_TYPE_END] = {"?", "vote", "vote-reply", "prevote",
    "prevote-reply", "append", "append-reply", "heartbeat", "heartbeat-reply", "propose", "read",
    "read-reply", "timeout-now", "repair-ask", "repair-reply", "repair-goal", "repair-done"};

static inline void sim_trace_msg(struct strbuf *t, const struct raft_msg *m)
{
    strbuf_printf(t, "%llu>%llu %s term=%llu", (unsigned long long)m->from,
        (unsigned long long)m->to, sim_msg_names[m->type], (unsigned long long)m->term);
    if (m->type == RAFT_MSG_VOTE || m->type == RAFT_MSG_PREVOTE || m->type == RAFT_MSG_APPEND) {
        strbuf_printf(t, " prev=%llu/%llu", (unsigned long long)m->prev.term,
            (unsigned long long)m->prev.index);
    }
    if (m->type == RAFT_MSG_APPEND || m->type == RAFT_MSG_HEARTBEAT) {
        strbuf_printf(t, " commit=%llu", (unsigned long long)m->commit);
    }
    if (m->type == RAFT_MSG_APPEND_REPLY || m->type == RAFT_MSG_HEARTBEAT_REPLY ||
        m->type == RAFT_MSG_READ_REPLY || m->type == RAFT_MSG_REPAIR_GOAL) {
        strbuf_printf(t, " index=%llu", (unsigned long long)m->index);
    }
    if (m->context != 0) {
        strbuf_printf(t, " context=%llu", (unsigned long long)m->context);
    }
    if (m->repairing) {
        strbuf_append_str(t, " repairing");
    }
    if (m->transfer) {
        strbuf_append_str(t, " transfer");
    }
    if (m->reject) {
        strbuf_append_str(t, " reject");
    }
    if (m->hint.index != 0) {
        strbuf_printf(t, " hint=%llu/%llu", (unsigned long long)m->hint.term,
            (unsigned long long)m->hint.index);
    }
    if (m->type == RAFT_MSG_APPEND || m->type == RAFT_MSG_PROPOSE) {
        sim_trace_entries(t, m->entries, m->n_entries);
    }
}

static inline void sim_trace_status(struct strbuf *t, const struct raft *r)
{
    static const char *const roles[] = {"follower", "precandidate", "candidate", "leader"};
    struct raft_status st;

    raft_status(r, &st);
    strbuf_printf(t, "%s term=%llu leader=%llu%s", roles[st.role], (unsigned long long)st.term,
        (unsigned long long)st.leader, st.repairing ? " repairing" : "");
}

/* ---- copies ---- */

static inline struct raft_entry *sim_copy_entries(const struct raft_entry *entries, size_t n)
{
    struct raft_entry *copy = n != 0 ? xmemdup(entries, n * sizeof(*entries)) : NULL;

    for (size_t i = 0; i < n; i++) {
        buf_ref(copy[i].payload);
    }
    return copy;
}

static inline void sim_free_entries(struct raft_entry *entries, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        buf_unref(entries[i].payload);
    }
    free(entries);
}

static inline void sim_pool_add(struct sim *s, const struct sim_msg *m)
{
    s->pool = sim_grow(s->pool, s->n_pool, &s->pool_cap, sizeof(*s->pool));
    s->pool[s->n_pool] = *m;
    s->pool[s->n_pool].entries = sim_copy_entries(m->m.entries, m->m.n_entries);
    s->pool[s->n_pool].m.entries = s->pool[s->n_pool].entries;
    s->n_pool++;
}

static inline void sim_pool_remove(struct sim *s, size_t i)
{
    sim_free_entries(s->pool[i].entries, s->pool[i].m.n_entries);
    s->n_pool--;
    memmove(&s->pool[i], &s->pool[i + 1], (s->n_pool - i) * sizeof(*s->pool));
}

/* ---- checks ---- */

static inline uint64_t sim_mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0xff51afd7ed558ccdu;
    return h ^ (h >> 32);
}

static inline uint64_t sim_payload_hash(const struct raft_entry *e)
{
    uint64_t h = 14695981039346656037u + (uint64_t)e->type;

    for (uint32_t i = 0; i < e->payload->len; i++) {
        h = (h ^ e->payload->data[i]) * 1099511628211u;
    }
    return h;
}

static inline uint64_t sim_hash_next(uint64_t hash, const struct raft_entry *e)
{
    return sim_mix(sim_mix(hash, e->id.index), sim_mix(e->id.term, sim_payload_hash(e)));
}

static inline void sim_register_commit(struct sim *s, uint64_t term, uint64_t hash)
{
    s->committed = sim_grow(s->committed, s->n_committed, &s->committed_cap, sizeof(*s->committed));
    s->committed[s->n_committed++] = (struct sim_committed){term, hash};
}

static inline uint64_t sim_committed_index(const struct sim *s)
{
    return s->n_committed - 1;
}

/* Same index and term mean the same entry after an entry of the same term: log matching, entry by
 * entry. */
static inline void sim_check_entry(struct sim *s, const struct raft_entry *e, uint64_t prev_term)
{
    uint64_t hash = hmap_hash_u64(sim_mix(e->id.term, e->id.index));
    uint64_t payload = sim_payload_hash(e);
    struct sim_known *k;

    for (struct hmap_node *i = hmap_first(&s->known, hash); i != NULL; i = hmap_next_same(i)) {
        k = container_of(i, struct sim_known, node);
        if (k->id.index == e->id.index && k->id.term == e->id.term) {
            SIM_CHECK(s, k->payload == payload && k->prev_term == prev_term,
                "two entries are %llu/%llu", (unsigned long long)e->id.term,
                (unsigned long long)e->id.index);
            return;
        }
    }
    k = xmalloc(sizeof(*k));
    *k = (struct sim_known){.id = e->id, .prev_term = prev_term, .payload = payload};
    hmap_insert(&s->known, &k->node, hash);
}

static inline void sim_check_vote(struct sim *s, uint64_t node, uint64_t term, uint64_t vote)
{
    SIM_CHECK(s, term < SIM_TERMS_MAX, "terms explode: %llu", (unsigned long long)term);
    s->max_term = MAX(s->max_term, term);
    SIM_CHECK(s, vote == 0 || s->vote_of[node][term] == 0 || s->vote_of[node][term] == vote,
        "%llu voted twice in term %llu", (unsigned long long)node, (unsigned long long)term);
    s->vote_of[node][term] = vote != 0 ? vote : s->vote_of[node][term];
}

/* ---- the disk ---- */

static inline uint64_t sim_disk_last(const struct sim_node *n)
{
    return n->base.index + n->n_log;
}

static inline bool sim_disk_has(const struct sim_node *n, struct raft_entry_id id)
{
    if (id.index <= n->snap.index || id.index < n->base.index) {
        return true;
    }
    if (id.index == n->base.index) {
        return n->base.term == id.term;
    }
    return id.index <= sim_disk_last(n) && n->log[id.index - n->base.index - 1].id.term == id.term;
}

/* It has that entry, or had it when it acknowledged it. */
static inline bool sim_disk_had(const struct sim_node *n, struct raft_entry_id id)
{
    for (size_t i = 0; i < n->n_lost; i++) {
        if (n->lost[i].index == id.index && n->lost[i].term == id.term) {
            return true;
        }
    }
    return id.index <= n->lost_snap || sim_disk_has(n, id);
}

static inline void sim_disk_cut(struct sim_node *n, uint64_t index)
{
    while (n->n_log != 0 && sim_disk_last(n) >= index) {
        buf_unref(n->log[--n->n_log].payload);
    }
}

static inline void sim_disk_reset(struct sim_node *n, struct raft_entry_id base)
{
    sim_disk_cut(n, 0);
    n->base = base;
}

/* Makes the first n_entries of a write durable, which for a crash in its middle may be only some.
 */
static inline void sim_disk_write(
    struct sim *s, struct sim_node *n, const struct sim_write *w, size_t n_entries)
{
    if (w->is_reset) {
        sim_disk_reset(n, w->reset_to);
        return;
    }
    if (w->hard) {
        SIM_CHECK(s, w->term >= n->term, "disk %d: the term goes back", (int)n->id);
        n->term = w->term;
        n->vote = w->vote;
        if (!n->repairing && !w->repairing) {
            sim_check_vote(s, n->id, w->term, w->vote);
        }
        if (n->repairing && !w->repairing) { /* and its vote is given away, to whomever */
            s->n_healed++;
            n->n_lost = 0;
            n->lost_snap = 0;
        }
        n->repairing = w->repairing;
    }
    for (size_t i = 0; i < n_entries; i++) {
        const struct raft_entry *e = &w->entries[i];

        SIM_CHECK(s, e->id.index > n->base.index && e->id.index <= sim_disk_last(n) + 1,
            "disk %d: a batch leaves a gap before %llu", (int)n->id,
            (unsigned long long)e->id.index);
        sim_disk_cut(n, e->id.index);
        sim_check_entry(s, e, n->n_log != 0 ? n->log[n->n_log - 1].id.term : n->base.term);
        n->log = sim_grow(n->log, n->n_log, &n->log_cap, sizeof(*n->log));
        n->log[n->n_log] = *e;
        buf_ref(n->log[n->n_log++].payload);
    }
}

static inline struct sim_write *sim_write_add(struct sim_node *n)
{
    n->writes = sim_grow(n->writes, n->n_writes, &n->writes_cap, sizeof(*n->writes));
    n->writes[n->n_writes] = (struct sim_write){0};
    return &n->writes[n->n_writes++];
}

static inline void sim_write_drop_first(struct sim_node *n)
{
    sim_free_entries(n->writes[0].entries, n->writes[0].n_entries);
    n->n_writes--;
    memmove(&n->writes[0], &n->writes[1], n->n_writes * sizeof(*n->writes));
}

/* ---- more checks: of what leaves and of where a member stands ---- */

static inline void sim_check_msg(struct sim *s, struct sim_node *n, const struct raft_msg *m)
{
    bool is_pre = m->type == RAFT_MSG_PREVOTE || m->type == RAFT_MSG_PREVOTE_REPLY;
    bool asks = m->type == RAFT_MSG_PROPOSE || m->type == RAFT_MSG_READ;

    SIM_CHECK(s, m->from == n->id && m->to != n->id && m->to != 0, "bad addresses");
    uint64_t term = MAX(n->term, n->n_log != 0 ? n->log[n->n_log - 1].id.term : n->base.term);

    SIM_CHECK(s, is_pre || asks || term >= m->term, "%d speaks for term %llu before it is durable",
        (int)n->id, (unsigned long long)m->term);
    if (m->type == RAFT_MSG_VOTE || (m->type == RAFT_MSG_VOTE_REPLY && !m->reject)) {
        uint64_t vote = m->type == RAFT_MSG_VOTE ? n->id : m->to;

        SIM_CHECK(
            s, n->term > m->term || n->vote == vote, "%d votes before it is durable", (int)n->id);
        sim_check_vote(s, n->id, m->term, vote);
    }
    for (size_t i = 0; m->type == RAFT_MSG_APPEND && i < m->n_entries; i++) {
        sim_check_entry(s, &m->entries[i], i != 0 ? m->entries[i - 1].id.term : m->prev.term);
    }
    if (m->type == RAFT_MSG_APPEND_REPLY && !m->reject) {
        SIM_CHECK(s, MAX(sim_disk_last(n), n->snap.index) >= m->index,
            "%d acknowledges %llu before it is durable", (int)n->id, (unsigned long long)m->index);
    }
}

static inline bool sim_stands_on(
    struct sim *s, const struct raft_conf *conf, struct raft_entry_id id)
{
    size_t voters = 0, durable = 0;

    for (size_t i = 0; i < conf->n; i++) {
        if (!conf->members[i].learner) {
            voters++;
            durable += sim_disk_had(&s->nodes[conf->members[i].id], id);
        }
    }
    return durable > voters / 2;
}

/* By the configuration in force, or for an entry that adds a voter, and those before it, by the one
 * without it. */
static inline void sim_check_quorum(struct sim *s, const struct raft *r, struct raft_entry_id id)
{
    const struct raft_conf *now = raft_conf(r);
    const struct raft_conf *before = raft_conf_at(r, id.index != 0 ? id.index - 1 : 0);
    bool grew = raft_conf_at(r, id.index) != before || now != raft_conf_at(r, id.index);
    size_t more = 0, less = 0;

    for (size_t i = 0; i < now->n; i++) {
        more += !now->members[i].learner;
    }
    for (size_t i = 0; i < before->n; i++) {
        less += !before->members[i].learner;
    }
    SIM_CHECK(s,
        sim_stands_on(s, now, id) || (grew && more == less + 1 && sim_stands_on(s, before, id)),
        "commit %llu/%llu stands on no majority of %zu", (unsigned long long)id.term,
        (unsigned long long)id.index, more);
}

static inline void sim_check_leader(struct sim *s, struct sim_node *n, const struct raft_status *st)
{
    uint64_t last = sim_committed_index(s);

    SIM_CHECK(s, st->term < SIM_TERMS_MAX, "terms explode: %llu", (unsigned long long)st->term);
    s->max_term = MAX(s->max_term, st->term);
    n->led = st->term;
    if (s->leader_of[st->term] == 0) {
        s->leader_of[st->term] = n->id;
        s->n_elections++;
        SIM_CHECK(s,
            last < st->first_index - 1 || raft_term_of(n->r, last) == s->committed[last].term,
            "%d leads term %llu without the committed entry %llu", (int)n->id,
            (unsigned long long)st->term, (unsigned long long)last);
    }
    SIM_CHECK(s, s->leader_of[st->term] == n->id, "two leaders in term %llu",
        (unsigned long long)st->term);
}

static inline void sim_check_commit(struct sim *s, struct sim_node *n, const struct raft_status *st)
{
    SIM_CHECK(s, st->commit >= n->commit, "%d: commit goes back from %llu to %llu", (int)n->id,
        (unsigned long long)n->commit, (unsigned long long)st->commit);
    n->commit = st->commit;
    if (st->commit <= sim_committed_index(s)) {
        return;
    }
    SIM_CHECK(s, n->led == st->term, "follower %d knows of commit %llu before any leader",
        (int)n->id, (unsigned long long)st->commit);
    SIM_CHECK(s, raft_term_of(n->r, st->commit) == st->term,
        "%d counted an entry of an older term: %llu", (int)n->id, (unsigned long long)st->commit);
    sim_check_quorum(s, n->r, (struct raft_entry_id){st->term, st->commit});
    while (sim_committed_index(s) < st->commit) {
        uint64_t i = s->n_committed;
        const struct raft_entry *e = raft_entries(n->r, i, i);

        sim_register_commit(s, e->id.term, sim_hash_next(s->committed[i - 1].hash, e));
    }
}

static inline void sim_check_node(struct sim *s, struct sim_node *n)
{
    struct raft_status st;

    raft_status(n->r, &st);
    if (st.role == RAFT_LEADER) {
        sim_check_leader(s, n, &st);
    }
    sim_check_commit(s, n, &st);
    SIM_CHECK(
        s, st.uncommitted_bytes <= SIZE_MAX / 2, "%d: uncommitted bytes below zero", (int)n->id);
}

/* ---- a member's life ---- */

static inline int sim_event(struct sim *s, struct sim_node *n, struct raft_event *ev)
{
    int rc;

    ev->random = (uint32_t)sim_random(s);
    rc = raft_step(n->r, ev);
    n->changed = true;
    sim_check_node(s, n);
    return rc;
}

static inline void sim_start(struct sim *s, struct sim_node *n)
{
    struct raft_options options = s->options;
    struct raft_restore restore = {.term = n->term,
        .vote = n->vote,
        .repairing = n->repairing,
        .session = s->next_session += 100};
    int rc;

    if (n->snap.index > n->base.index) {
        /* What the log's own recovery does: keep what goes on from the snapshot, or nothing. */
        bool goes_on = n->snap.index <= sim_disk_last(n) &&
            n->log[n->snap.index - n->base.index - 1].id.term == n->snap.term;
        size_t gone = goes_on ? (size_t)(n->snap.index - n->base.index) : n->n_log;

        for (size_t i = 0; i < gone; i++) {
            buf_unref(n->log[i].payload);
        }
        n->n_log -= gone;
        if (n->n_log != 0) {
            memmove(n->log, n->log + gone, n->n_log * sizeof(*n->log));
        }
        n->base = n->snap;
    }
    options.id = n->id;
    restore.snapshot = n->snap;
    restore.snapshot_conf =
        n->repairing && n->snap.index == 0 && n->n_log == 0 ? s->founders : n->snap_conf;
    restore.entries = n->log;
    restore.n_entries = n->n_log;
    rc = raft_new(&options, &restore, &n->r);
    SIM_CHECK(s, rc == 0, "%d cannot start: %s", (int)n->id, err_text(rc));
    n->applied = n->commit = n->snap.index;
    n->led = 0;
    n->hash = s->committed[n->snap.index].hash;
    n->n_reads = 0;
    n->changed = true;
}

/* The first `whole` writes under way and `part` entries of the next reach the disk. */
static inline void sim_crash(struct sim *s, struct sim_node *n, size_t whole, size_t part)
{
    for (; whole > 0 && n->n_writes > 0; whole--) {
        sim_disk_write(s, n, &n->writes[0], n->writes[0].n_entries);
        sim_write_drop_first(n);
    }
    if (part > 0 && n->n_writes > 0) {
        sim_disk_write(s, n, &n->writes[0], MIN(part, n->writes[0].n_entries));
    }
    while (n->n_writes > 0) {
        sim_write_drop_first(n);
    }
    n->r = raft_free(n->r);
    n->n_reads = 0;
}

/* The disk of a member that is down loses the log from `index` on, and from 0 on everything, and
 * remembers a term no newer than `term`; that this is so is known to it. */
static inline void sim_damage(struct sim *s, struct sim_node *n, uint64_t index, uint64_t term)
{
    n->lost_snap = MAX(n->lost_snap, n->snap.index);
    for (size_t i = 0; i < n->n_log; i++) {
        n->lost = sim_grow(n->lost, n->n_lost, &n->lost_cap, sizeof(*n->lost));
        n->lost[n->n_lost++] = n->log[i].id;
    }
    if (index <= n->base.index) {
        n->snap = (struct raft_entry_id){0};
        n->snap_conf = (struct raft_conf){0};
        sim_disk_reset(n, n->snap);
    } else {
        sim_disk_cut(n, index);
    }
    if (term < n->term) {
        n->term = MAX(
            MAX(term, n->snap.term), n->n_log != 0 ? n->log[n->n_log - 1].id.term : n->base.term);
        n->vote = 0;
    }
    n->repairing = true;
    s->n_damaged++;
}

/* One write under way becomes durable. */
static inline void sim_persist(struct sim *s, struct sim_node *n)
{
    struct sim_write *w = &n->writes[0];
    struct raft_event ev = {.type = RAFT_EV_PERSISTED, .seq = w->seq};
    bool is_reset = w->is_reset;

    sim_disk_write(s, n, w, w->n_entries);
    sim_write_drop_first(n);
    if (!is_reset) {
        (void)sim_event(s, n, &ev);
    }
}

static inline int sim_read(struct sim *s, struct sim_node *n, uint64_t *ret_context)
{
    struct raft_event ev = {.type = RAFT_EV_READ, .context = ++s->next_context};
    int rc;

    n->reads = sim_grow(n->reads, n->n_reads, &n->reads_cap, sizeof(*n->reads));
    n->reads[n->n_reads++] = (struct sim_read){ev.context, sim_committed_index(s)};
    rc = sim_event(s, n, &ev);
    n->n_reads -= rc != 0;
    *ret_context = ev.context;
    return rc;
}

static inline int sim_propose(
    struct sim *s, struct sim_node *n, enum raft_entry_type type, struct bytes payload)
{
    _cleanup_buf_ struct buf *b = buf_copy(payload);
    struct raft_proposal p = {.type = type, .payload = b};
    struct raft_event ev = {.type = RAFT_EV_PROPOSE, .propose = {&p, 1}};

    return sim_event(s, n, &ev);
}

static inline int sim_install(struct sim *s, struct sim_node *n, const struct sim_msg *m)
{
    struct raft_event ev = {.type = RAFT_EV_SNAPSHOT_INSTALL,
        .install = {.id = m->snap, .conf = &m->conf, .from = m->m.from, .term = m->m.term}};
    int rc;

    if (m->snap.index > n->snap.index) {
        n->snap = m->snap;
        n->snap_conf = m->conf;
    }
    rc = raft_step(n->r, &ev);
    n->changed = true;
    if (rc == RAFT_OK) {
        struct sim_write *w = sim_write_add(n);

        w->is_reset = true;
        w->reset_to = m->snap;
        n->applied = m->snap.index;
        n->hash = s->committed[m->snap.index].hash;
    }
    if (s->trace != NULL) {
        strbuf_printf(s->trace, "  %d %s snapshot %llu/%llu\n", (int)n->id,
            rc == RAFT_OK ? "takes" : "does not need", (unsigned long long)m->snap.term,
            (unsigned long long)m->snap.index);
    }
    sim_check_node(s, n);
    return rc;
}

/* Hands pool[i] to whom it is for (who must be up) and takes it out of the pool. */
static inline void sim_deliver(struct sim *s, size_t i)
{
    struct sim_msg m = s->pool[i];
    struct raft_event ev = {.type = RAFT_EV_MSG, .msg = &m.m};

    s->n_pool--;
    memmove(&s->pool[i], &s->pool[i + 1], (s->n_pool - i) * sizeof(*s->pool));
    if (m.is_snapshot) {
        struct sim_node *from = &s->nodes[m.m.from];

        (void)sim_install(s, &s->nodes[m.m.to], &m);
        s->n_snapshots++;
        if (from->r != NULL) {
            ev = (struct raft_event){.type = RAFT_EV_SNAPSHOT_STATUS,
                .snapshot_status = {.peer = m.m.to, .index = m.snap.index, .ok = true}};
            (void)sim_event(s, from, &ev);
        }
    } else {
        (void)sim_event(s, &s->nodes[m.m.to], &ev);
    }
    sim_free_entries(m.entries, m.m.n_entries);
}

/* ---- updates ---- */

static inline void sim_take_persist(struct sim *s, struct sim_node *n, const struct raft_persist *p)
{
    struct sim_write *w;

    if (p->seq == 0) {
        SIM_CHECK(s, !p->hard_changed && p->n_entries == 0, "a batch without a number");
        return;
    }
    w = sim_write_add(n);
    *w = (struct sim_write){.seq = p->seq,
        .hard = p->hard_changed,
        .term = p->term,
        .vote = p->vote,
        .repairing = p->repairing,
        .entries = sim_copy_entries(p->entries, p->n_entries),
        .n_entries = p->n_entries};
    if (s->trace != NULL) {
        strbuf_printf(s->trace, "  %d writes #%llu", (int)n->id, (unsigned long long)p->seq);
        if (p->hard_changed) {
            strbuf_printf(s->trace, " term=%llu vote=%llu%s", (unsigned long long)p->term,
                (unsigned long long)p->vote, p->repairing ? " repairing" : "");
        }
        sim_trace_entries(s->trace, p->entries, p->n_entries);
        strbuf_append_char(s->trace, '\n');
    }
}

static inline void sim_apply(struct sim *s, struct sim_node *n, uint64_t commit)
{
    SIM_CHECK(s, commit <= MAX(sim_disk_last(n), n->snap.index),
        "%d is told to apply %llu, which is not durable here", (int)n->id,
        (unsigned long long)commit);
    while (n->applied < commit) {
        const struct raft_entry *e = raft_entries(n->r, n->applied + 1, n->applied + 1);

        n->applied++;
        n->hash = sim_hash_next(n->hash, e);
        SIM_CHECK(s, n->applied < s->n_committed && n->hash == s->committed[n->applied].hash,
            "%d applies something else at %llu", (int)n->id, (unsigned long long)n->applied);
        if (s->trace != NULL) {
            strbuf_printf(s->trace, "  %d applies", (int)n->id);
            sim_trace_entry(s->trace, e);
            strbuf_append_char(s->trace, '\n');
        }
    }
}

static inline void sim_take_read(
    struct sim *s, struct sim_node *n, const struct raft_read_result *r)
{
    size_t i = 0;

    while (i < n->n_reads && n->reads[i].context != r->context) {
        i++;
    }
    SIM_CHECK(s, i < n->n_reads, "%d answers a read twice: %llu", (int)n->id,
        (unsigned long long)r->context);
    SIM_CHECK(s, r->failed || r->index >= n->reads[i].min_index, "%d: stale read: %llu below %llu",
        (int)n->id, (unsigned long long)r->index, (unsigned long long)n->reads[i].min_index);
    s->n_reads_ok += !r->failed;
    n->reads[i] = n->reads[--n->n_reads];
    if (s->trace != NULL) {
        strbuf_printf(s->trace, "  %d read %llu ", (int)n->id, (unsigned long long)r->context);
        strbuf_printf(s->trace, r->failed ? "fails\n" : "at %llu\n", (unsigned long long)r->index);
    }
}

static inline void sim_send_snapshot(struct sim *s, struct sim_node *n, uint64_t to)
{
    struct sim_msg m = {.is_snapshot = true};
    struct raft_status st;

    raft_status(n->r, &st);
    m.m.from = n->id;
    m.m.to = to;
    m.m.term = st.term;
    m.snap = (struct raft_entry_id){raft_term_of(n->r, n->applied), n->applied};
    m.conf = *raft_conf_at(n->r, n->applied);
    sim_pool_add(s, &m);
    if (s->trace != NULL) {
        strbuf_printf(s->trace, "  %d>%d snapshot %llu/%llu\n", (int)n->id, (int)to,
            (unsigned long long)m.snap.term, (unsigned long long)m.snap.index);
    }
}

/* Takes one update and starts what it asks for. */
static inline void sim_take(struct sim *s, struct sim_node *n)
{
    struct raft_event applied = {.type = RAFT_EV_APPLIED};
    struct raft_update u;

    if (!n->changed) {
        return;
    }
    raft_take_update(n->r, &u);
    sim_check_node(s, n);
    if (s->trace != NULL && u.status_changed) {
        strbuf_printf(s->trace, "  %d is ", (int)n->id);
        sim_trace_status(s->trace, n->r);
        strbuf_append_char(s->trace, '\n');
    }
    sim_take_persist(s, n, &u.persist);
    for (size_t i = 0; i < u.n_msgs; i++) {
        struct sim_msg m = {.m = u.msgs[i]};

        sim_check_msg(s, n, &u.msgs[i]);
        sim_pool_add(s, &m);
        if (s->trace != NULL) {
            strbuf_append_str(s->trace, "  ");
            sim_trace_msg(s->trace, &u.msgs[i]);
            strbuf_append_char(s->trace, '\n');
        }
    }
    sim_apply(s, n, u.commit);
    for (size_t i = 0; i < u.n_reads; i++) {
        sim_take_read(s, n, &u.reads[i]);
    }
    for (size_t i = 0; i < u.n_send_snapshot; i++) {
        sim_send_snapshot(s, n, u.send_snapshot_to[i]);
    }
    applied.index = n->applied;
    (void)sim_event(s, n, &applied);
    n->changed = false;
}

/* Snapshots the applied state and forgets the log but for `keep` entries behind it. */
static inline void sim_compact(struct sim *s, struct sim_node *n, uint64_t keep)
{
    uint64_t keep_from = n->applied + 1 > keep ? n->applied + 1 - keep : 1;
    struct raft_status st;

    raft_status(n->r, &st);
    keep_from = MAX(keep_from, st.first_index);
    if (n->applied <= n->snap.index) {
        return;
    }
    n->snap = (struct raft_entry_id){raft_term_of(n->r, n->applied), n->applied};
    n->snap_conf = *raft_conf_at(n->r, n->applied);
    raft_compact(n->r, n->applied, keep_from);
    raft_status(n->r, &st);
    SIM_CHECK(s, st.first_index == keep_from, "%d kept the wrong entries", (int)n->id);
}

static inline struct buf *sim_conf_payload(const struct raft_conf *conf)
{
    _cleanup_strbuf_ struct strbuf out = {0};

    raft_conf_encode(conf, BYTES_LITERAL("context"), &out);
    return buf_copy(strbuf_bytes(&out));
}

/* A cluster of which the first `voters` of `nodes` found it together; the others begin empty. */
static inline void sim_init(struct sim *s, size_t nodes, const struct raft_conf *conf,
    const struct raft_options *options, uint64_t seed)
{
    _cleanup_buf_ struct buf *payload = sim_conf_payload(conf);
    struct raft_entry first = raft_bootstrap_entry(payload);

    *s = (struct sim){.n_nodes = nodes, .options = *options, .random = seed, .founders = *conf};
    sim_register_commit(s, 0, 0);
    for (size_t i = 1; i <= nodes; i++) {
        struct sim_node *n = &s->nodes[i];

        n->id = i;
        for (size_t j = 0; j < conf->n; j++) {
            if (conf->members[j].id == i) {
                struct sim_write w = {.entries = &first, .n_entries = 1};

                sim_disk_write(s, n, &w, 1);
            }
        }
    }
    for (size_t i = 1; i <= nodes; i++) {
        sim_start(s, &s->nodes[i]);
    }
}

static inline void sim_deinit(struct sim *s)
{
    struct hmap_node *k;

    for (size_t i = 1; i <= s->n_nodes; i++) {
        struct sim_node *n = &s->nodes[i];

        sim_crash(s, n, 0, 0);
        sim_disk_cut(n, 0);
        free(n->log);
        free(n->writes);
        free(n->reads);
        free(n->lost);
    }
    while (s->n_pool > 0) {
        sim_pool_remove(s, s->n_pool - 1);
    }
    while ((k = hmap_pop(&s->known)) != NULL) {
        free(container_of(k, struct sim_known, node));
    }
    hmap_deinit(&s->known);
    free(s->pool);
    free(s->committed);
}

#endif
