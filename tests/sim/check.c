/* What must hold after every step of a member. All of it is incremental: entries are compared once,
 * when a member learns that they are committed. */
#include "world.h"

#include "raft_internal.h"
#include "wal_internal.h"

enum { READS_FLYING_MAX = READ_ROUNDS_MAX, TERMS_MAX = 1 << 20 };

void check_deinit(struct world *w)
{
    free(w->leaders);
    free(w->log);
    free(w->known);
}

/* [i], grown with zeros. */
static uint64_t *slot(uint64_t **list, size_t *cap, uint64_t i)
{
    if (i >= *cap) {
        size_t n = MAX((size_t)i + 1, *cap * 2 + 16);

        *list = xreallocarray(*list, n, sizeof(**list));
        memset(*list + *cap, 0, (n - *cap) * sizeof(**list));
        *cap = n;
    }
    return &(*list)[i];
}

static struct committed *committed_at(struct world *w, uint64_t index)
{
    if (index >= w->log_cap) {
        size_t n = MAX((size_t)index + 1, w->log_cap * 2 + 64);

        w->log = xreallocarray(w->log, n, sizeof(*w->log));
        memset(w->log + w->log_cap, 0, (n - w->log_cap) * sizeof(*w->log));
        w->log_cap = n;
    }
    return &w->log[index];
}

static uint64_t hash_conf(const struct raft_conf *conf)
{
    uint64_t h = conf->n;

    for (size_t i = 0; i < conf->n; i++) {
        h = splitmix_mix(h ^ splitmix_mix(conf->members[i].id + conf->members[i].learner));
    }
    return h;
}

/* Not bytes_hash: equal in every run whatever its seed. */
static uint64_t hash_entry(const struct raft_entry *e)
{
    uint64_t h = splitmix_mix((uint64_t)e->type + e->payload->len);
    struct bytes b = buf_bytes(e->payload);
    size_t i = 0;
    uint64_t word = 0;

    for (; i + 8 <= b.len; i += 8) {
        memcpy(&word, b.data + i, 8);
        h = (h ^ word) * 0x9e3779b97f4a7c15;
        h ^= h >> 29;
    }
    word = 0;
    memcpy(&word, b.data + i, b.len - i);
    return splitmix_mix(h ^ word);
}

/* ---- terms, leaders, votes ---- */

static void check_vote(struct member *m, uint64_t term, uint64_t whom)
{
    uint64_t *vote = slot(&m->votes, &m->votes_cap, term);

    if (*vote != 0 && *vote != whom) {
        world_fail(m->w,
            "vote: %s voted for %016" PRIx64 " and for %016" PRIx64 " in term %" PRIu64, m->name,
            *vote, whom, term);
    }
    *vote = whom;
}

/* What was committed under an earlier leadership is in the log of every later one. */
static void check_complete(struct member *m, uint64_t term)
{
    struct world *w = m->w;
    const struct raft *r = m->core->raft;
    uint64_t i = w->commit;

    while (i > 0 && w->log[i].by_term >= term) {
        i--;
    }
    if (i > raft_log_last(&r->log) ||
        (i >= r->log.before.index && i > 0 && raft_log_term(&r->log, i) != w->log[i].term)) {
        world_fail(w,
            "completeness: %s leads term %" PRIu64 " without the committed entry %" PRIu64
            " of term %" PRIu64,
            m->name, term, i, w->log[i].term);
    }
}

/* One whose own removal is the newest change that it knows of may finish it (thesis 4.2.2). */
static bool may_lead(const struct member *m)
{
    const struct raft_confs *confs = &m->core->raft->confs;
    const struct raft_conf_at *now = raft_confs_last(confs);
    const struct raft_member *self = raft_conf_find(&now->conf, m->id);

    if (self == NULL) {
        self = raft_conf_find(raft_confs_at(confs, now->index - 1), m->id);
    }
    return self != NULL && !self->learner;
}

/* By voters of the configuration that it has, itself one of them. Of one whose disk or machine was
 * given anew nobody remembers the vote. */
static void check_elected(struct member *m, uint64_t term)
{
    struct world *w = m->w;
    const struct raft_conf *conf = raft_conf(m->core->raft);
    size_t voters = 0, granted = 0;

    if (!may_lead(m)) {
        world_fail(w, "leader: %s leads term %" PRIu64 " and is no voter", m->name, term);
    }
    for (size_t i = 0; i < conf->n; i++) {
        uint64_t id = conf->members[i].id;
        size_t slot = operator_slot(w, id);
        const struct member *v = slot < w->n ? &w->members[slot] : NULL;

        if (conf->members[i].learner) {
            continue;
        }
        voters++;
        if (v != NULL && v->id == id) {
            granted += v == m || v->damaged || (term < v->votes_cap && v->votes[term] == m->id);
        } else {
            granted += operator_is_gone(w, id);
        }
    }
    if (granted * 2 <= voters) {
        world_fail(w, "leader: %s leads term %" PRIu64 " with %zu votes of %zu", m->name, term,
            granted, voters);
    }
}

static void check_leader(struct member *m, uint64_t term)
{
    struct world *w = m->w;
    uint64_t *leader = slot(&w->leaders, &w->leaders_cap, term);

    if (*leader == 0) {
        *leader = m->id;
        check_elected(m, term);
        w->counts.elections++;
        world_trace(w, "%s leads term %" PRIu64, m->name, term);
        check_complete(m, term);
    } else if (*leader != m->id) {
        world_fail(w, "leader: %s and another member lead term %" PRIu64, m->name, term);
    }
}

/* ---- what leaves ---- */

static void check_durable_term(struct member *m, const struct raft_msg *msg)
{
    uint64_t term = msg->term;
    uint64_t durable = view_hard_term(&m->view);

    if (msg->type == RAFT_MSG_PROPOSE || msg->type == RAFT_MSG_READ) {
        return; /* these only ask */
    }
    if (msg->type == RAFT_MSG_PREVOTE || (msg->type == RAFT_MSG_PREVOTE_REPLY && !msg->reject)) {
        term = msg->type == RAFT_MSG_PREVOTE ? term - 1 : 0; /* of a term nobody has taken */
    }
    if (term > durable) {
        world_fail(m->w,
            "durable: %s sends message type %d of term %" PRIu64 ", on its disk is term %" PRIu64,
            m->name, (int)msg->type, term, durable);
    }
}

static void check_durable_vote(struct member *m, uint64_t term, uint64_t whom)
{
    if (m->view.term != term || m->view.vote != whom) {
        world_fail(m->w,
            "durable: %s votes in term %" PRIu64 " and its disk has term %" PRIu64
            " vote %016" PRIx64,
            m->name, term, m->view.term, m->view.vote);
    }
}

/* The disk holds the entry that its log shows there, or a snapshot that covers it. */
static void check_durable_entry(struct member *m, uint64_t index)
{
    const struct raft *r = m->core->raft;
    uint64_t term = raft_log_term(&r->log, index);

    if (index <= m->core->snap_index || index <= m->view.base) {
        return;
    }
    if (term == 0 || view_term_of(&m->view, index) != term) {
        world_fail(m->w,
            "durable: %s acknowledges entry %" PRIu64 " of term %" PRIu64
            ", on its disk is term %" PRIu64 " there and the last entry is %" PRIu64,
            m->name, index, term, view_term_of(&m->view, index), view_last(&m->view));
    }
}

static struct known *known_find(struct world *w, uint64_t term, uint64_t index)
{
    size_t i = (size_t)splitmix_mix(term << 40 ^ index) & (w->known_cap - 1);

    while (w->known[i].term != 0 && (w->known[i].term != term || w->known[i].index != index)) {
        i = (i + 1) & (w->known_cap - 1);
    }
    return &w->known[i];
}

static void known_grow(struct world *w)
{
    struct known *old = w->known;
    size_t n = w->known_cap;

    w->known_cap = MAX(n * 2, (size_t)1024);
    w->known = xcalloc(w->known_cap, sizeof(*w->known));
    for (size_t i = 0; i < n; i++) {
        if (old[i].term != 0) {
            *known_find(w, old[i].term, old[i].index) = old[i];
        }
    }
    free(old);
}

/* Log matching: one place, one term, one payload. */
static void check_entry(struct member *m, const struct raft_entry *e)
{
    struct world *w = m->w;
    struct known *k;

    if (w->known_n * 2 >= w->known_cap) {
        known_grow(w);
    }
    k = known_find(w, e->id.term, e->id.index);
    if (k->term == 0) {
        *k = (struct known){e->id.term, e->id.index, hash_entry(e)};
        w->known_n++;
    } else if (k->hash != hash_entry(e)) {
        world_fail(w, "matching: %s has another entry %" PRIu64 " of term %" PRIu64, m->name,
            e->id.index, e->id.term);
    }
}

/* ---- commits ---- */

static bool has(const struct disk_view *v, uint64_t index, uint64_t term)
{
    return view_term_of(v, index) == term || v->base > index;
}

/* What a member had before its disk was damaged it may have acknowledged, and that counts. What it
 * takes in under repair does not. */
static bool view_has(const struct member *m, uint64_t index, uint64_t term)
{
    return (m->damaged && has(&m->lost, index, term)) ||
        (!m->view.repairing && has(&m->view, index, term));
}

static bool has_quorum(const struct world *w, const struct raft_conf *conf, uint64_t index,
    uint64_t term, size_t *ret_have, size_t *ret_voters)
{
    *ret_have = *ret_voters = 0;
    for (size_t i = 0; i < conf->n; i++) {
        if (conf->members[i].learner) {
            continue;
        }
        (*ret_voters)++;
        for (size_t k = 0; k < w->n; k++) {
            *ret_have +=
                w->members[k].id == conf->members[i].id && view_has(&w->members[k], index, term);
        }
    }
    return *ret_have * 2 > *ret_voters;
}

/* With the configuration [i] of its list in force. A change that adds a voter may be committed by a
 * majority of those before as well. */
static bool may_commit(const struct member *m, size_t i, uint64_t index, uint64_t term,
    size_t *ret_have, size_t *ret_of)
{
    const struct world *w = m->w;
    const struct raft_conf_at *now = &m->core->raft->confs.list[i];

    return has_quorum(w, &now->conf, index, term, ret_have, ret_of) ||
        (i > 0 && now->index > m->checked_commit && index <= now->index &&
            raft_conf_grew(&now[-1].conf, &now->conf) &&
            has_quorum(w, &now[-1].conf, index, term, ret_have, ret_of));
}

/* By the configuration that the leader counts with, on the disks themselves: the newest, or the one
 * before when that was proposed since the last look, as one turn may commit before and after it. */
static void check_quorum(struct member *m, uint64_t index, uint64_t term)
{
    const struct raft_confs *confs = &m->core->raft->confs;
    size_t last = confs->n - 1, voters = 0, have = 0;
    bool is_new = last > 0 && confs->list[last].index > m->checked_conf;

    if (!may_commit(m, last, index, term, &have, &voters) &&
        !(is_new && may_commit(m, last - 1, index, term, &have, &voters))) {
        world_fail(m->w,
            "quorum: %s commits entry %" PRIu64 " of term %" PRIu64
            ", durable on %zu of %zu voters",
            m->name, index, term, have, voters);
    }
}

/* One voter at a time, and no id twice. */
static void note_conf(struct member *m, const struct raft_entry *e)
{
    struct world *w = m->w;
    struct raft_conf conf;

    if (e->type != RAFT_ENTRY_CONF || e->id.index == 1) {
        return;
    }
    if (raft_conf_decode(buf_bytes(e->payload), &conf, NULL) < 0 ||
        raft_conf_voters_changed(&w->conf, &conf) > 1) {
        world_fail(w,
            "membership: %s commits entry %" PRIu64 ", which no change makes of the one "
            "before",
            m->name, e->id.index);
    }
    for (size_t i = 0; i < conf.n; i++) {
        if (operator_is_gone(w, conf.members[i].id)) {
            world_fail(w, "membership: entry %" PRIu64 " makes %016" PRIx64 " a member again",
                e->id.index, conf.members[i].id);
        }
    }
    for (size_t i = 0; i < w->conf.n; i++) {
        if (raft_conf_find(&conf, w->conf.members[i].id) == NULL) {
            decree_assert(w->n_gone < SIM_GONE_MAX);
            w->gone[w->n_gone++] = w->conf.members[i].id;
        }
    }
    w->conf = conf;
    w->conf_index = e->id.index;
    w->counts.changes_committed++;
}

static void note_commit(struct member *m, const struct raft_status *st)
{
    struct world *w = m->w;
    const struct raft *r = m->core->raft;

    if (st->term >= w->leaders_cap || w->leaders[st->term] != m->id) {
        world_fail(w, "commit: %s has committed %" PRIu64 ", no leader has beyond %" PRIu64,
            m->name, st->commit, w->commit);
    }
    if (raft_log_term(&r->log, st->commit) != st->term) {
        world_fail(w,
            "commit: %s, leader of term %" PRIu64 ", commits entry %" PRIu64 " of term %" PRIu64,
            m->name, st->term, st->commit, raft_log_term(&r->log, st->commit));
    }
    check_quorum(m, st->commit, st->term);
    for (uint64_t i = w->commit + 1; i <= st->commit; i++) {
        const struct raft_entry *e = raft_log_at(&r->log, i);
        struct committed *c = committed_at(w, i);

        *c = (struct committed){.term = e->id.term, .hash = hash_entry(e), .by_term = st->term};
        w->counts.entries_committed++;
        note_conf(m, e);
        c->conf_hash = hash_conf(&w->conf);
    }
    w->commit = st->commit;
}

static void check_commit(struct member *m, const struct raft_status *st)
{
    struct world *w = m->w;
    const struct raft *r = m->core->raft;
    uint64_t before = r->log.before.index;

    if (st->commit < m->checked_commit) {
        world_fail(w, "commit: of %s goes back from %" PRIu64 " to %" PRIu64, m->name,
            m->checked_commit, st->commit);
    }
    if (st->commit > w->commit) {
        note_commit(m, st);
    }
    if (before > m->checked_commit) {
        if (raft_log_term(&r->log, before) != w->log[before].term) {
            world_fail(w,
                "snapshot: of %s at %" PRIu64 " has term %" PRIu64 ", committed was %" PRIu64,
                m->name, before, raft_log_term(&r->log, before), w->log[before].term);
        }
        m->checked_commit = before;
    }
    for (; m->checked_commit < st->commit; m->checked_commit++) {
        uint64_t i = m->checked_commit + 1;
        const struct raft_entry *e = raft_log_at(&r->log, i);

        if (e->id.term != w->log[i].term || hash_entry(e) != w->log[i].hash) {
            world_fail(w,
                "safety: %s committed entry %" PRIu64 " of term %" PRIu64
                ", before it was one of term %" PRIu64,
                m->name, i, e->id.term, w->log[i].term);
        }
    }
}

/* ---- frames ---- */

/* A commit that a leader tells counts from then on, also when its disk ends the process before that
 * step is over. */
static void note_commit_sent(struct member *m)
{
    struct raft_status st;

    raft_status(m->core->raft, &st);
    if (st.commit > m->w->commit) {
        note_commit(m, &st);
    }
}

static void check_message(struct member *m, uint32_t to, const struct raft_msg *msg)
{
    struct world *w = m->w;

    check_durable_term(m, msg);
    switch (msg->type) {
    case RAFT_MSG_VOTE:
        check_vote(m, msg->term, m->id);
        check_durable_vote(m, msg->term, m->id);
        break;
    case RAFT_MSG_VOTE_REPLY:
        if (!msg->reject) {
            check_vote(m, msg->term, w->members[to].id);
            check_durable_vote(m, msg->term, w->members[to].id);
        }
        break;
    case RAFT_MSG_APPEND:
    case RAFT_MSG_HEARTBEAT:
        check_leader(m, msg->term);
        note_commit_sent(m);
        for (size_t i = 0; i < msg->n_entries; i++) {
            check_entry(m, &msg->entries[i]);
        }
        break;
    case RAFT_MSG_APPEND_REPLY:
        if (!msg->reject) {
            check_durable_entry(m, msg->index);
            m->acked =
                (struct raft_entry_id){raft_log_term(&m->core->raft->log, msg->index), msg->index};
        }
        break;
    default:
        break;
    }
}

void check_frame(struct member *m, uint32_t to, struct bytes body)
{
    struct msg_decoded d;

    if (frame_kind(body) != FRAME_RAFT) {
        return;
    }
    if (msg_decode(body, &d) < 0) {
        world_fail(m->w, "frame: %s sends what nobody can read", m->name);
    }
    check_message(m, to, &d.msg);
    msg_decoded_deinit(&d);
}

/* ---- applied state ---- */

/* The members compare themselves: where no disk was damaged they are equal. */
static void check_alarms(struct member *m)
{
    struct world *w = m->w;

    if (alarms_count(&m->core->alarms, STORE_ALARM_CORRUPT) == 0) {
        return;
    }
    for (size_t i = 0; i < w->n; i++) {
        if (w->members[i].damaged) {
            return;
        }
    }
    world_fail(w, "alarm: %s knows of members that differ, and no disk was damaged", m->name);
}

static void check_state(struct member *m)
{
    struct world *w = m->w;
    const struct store *s = m->core;
    int64_t revision = mvcc_revision(s->mvcc);
    struct committed *c;
    uint64_t hash;

    if (revision < m->revision) {
        world_fail(w, "revision: of %s goes back from %" PRId64 " to %" PRId64, m->name,
            m->revision, revision);
    }
    m->revision = revision;
    if (s->applied == m->checked_applied) {
        return;
    }
    m->checked_applied = s->applied;
    c = committed_at(w, s->applied);
    hash = core_hash(s) | 1;
    if (c->state_hash != 0 && c->state_hash != hash) {
        world_fail(w, "state: of %s differs from another member's at applied %" PRIu64, m->name,
            s->applied);
    }
    c->state_hash = hash;
    if (s->applied != 0 && c->conf_hash != hash_conf(&s->conf)) {
        world_fail(w,
            "membership: %s has applied %" PRIu64 " and not the configuration that is committed "
            "there",
            m->name, s->applied);
    }
    check_alarms(m);
    world_mix(w, hash);
}

static void check_bounds(struct member *m, const struct raft_status *st)
{
    struct world *w = m->w;
    const struct store *s = m->core;
    const struct raft *r = s->raft;
    size_t open_confs = 0;

    for (size_t i = 0; i < r->confs.n; i++) {
        open_confs += r->confs.list[i].index > MAX(w->commit, st->commit);
    }
    if (st->role == RAFT_LEADER && open_confs > 1) {
        world_fail(w, "membership: %zu changes are uncommitted at %s", open_confs, m->name);
    }
    if (s->applied > st->commit) {
        world_fail(w, "applied: %s has applied %" PRIu64 " and committed %" PRIu64, m->name,
            s->applied, st->commit);
    }
    if (s->reads.n_flying > READS_FLYING_MAX ||
        s->calls.n > SIM_CLIENTS_MAX * 8 + SIM_CHANGES_MAX * 8 ||
        s->calls.pending_bytes > PENDING_BYTES_MAX || r->out.n_held > 8 * RAFT_MEMBERS_MAX) {
        world_fail(w, "bounds: a queue of %s is longer than it may be", m->name);
    }
}

/* It has all again that it may have promised, and is a member like the others. */
static void note_repair(struct member *m)
{
    m->repairing |= raft_is_repairing(m->core->raft);
    if (m->repairing && !m->view.repairing && !raft_is_repairing(m->core->raft)) {
        m->damaged = m->repairing = false;
        view_deinit(&m->lost);
        m->w->counts.repaired++;
    }
}

void check_member(struct member *m)
{
    struct raft_status st;

    if (m->core->state != CORE_RUNNING) {
        return;
    }
    raft_status(m->core->raft, &st);
    if (st.term < m->max_term) {
        world_fail(m->w, "term: of %s goes back from %" PRIu64 " to %" PRIu64, m->name, m->max_term,
            st.term);
    }
    m->max_term = st.term;
    note_repair(m);
    if (st.role == RAFT_LEADER) {
        check_leader(m, st.term);
    }
    m->stable = (struct raft_entry_id){raft_log_term(&m->core->raft->log, st.stable), st.stable};
    m->view.reset_at = 0;
    check_commit(m, &st);
    check_state(m);
    check_bounds(m, &st);
    m->checked_conf = raft_conf_index(m->core->raft);
    if (m->observer.ops == NULL) {
        truth_observe(m);
        member_poke(m);
    }
}

/* ---- restarts ---- */

/* The disk ended the process while a snapshot of another line took the log's place: what was behind
 * that index is gone by right. */
static bool was_reset(const struct disk_view *v, const struct raft_entry_id *snapshot)
{
    return snapshot->index != 0 &&
        (v->reset_at == snapshot->index ||
            (snapshot->index > v->base && view_term_of(v, snapshot->index) != snapshot->term));
}

/* What the last process knew to be durable has come back: term and vote as its disk had them,
 * entries as its core was told. (The disk may have had more: the part of a batch that met a full
 * disk is written again from its beginning.) */
static void check_recovered(struct member *m, const struct raft *r)
{
    struct world *w = m->w;
    const struct disk_view *v = &m->view;
    uint64_t last = raft_log_last(&r->log);
    struct raft_entry_id acked = m->acked, stable = m->stable;

    if (r->term < v->term || (r->term == v->term && v->vote != 0 && r->vote != v->vote)) {
        world_fail(w,
            "recovery: %s comes back with term %" PRIu64 " vote %016" PRIx64
            ", durable was term %" PRIu64 " vote %016" PRIx64,
            m->name, r->term, r->vote, v->term, v->vote);
    }
    if (stable.index > r->log.before.index && was_reset(v, &r->log.before)) {
        stable = (struct raft_entry_id){0};
    }
    if (stable.index > last ||
        (stable.index >= r->log.before.index &&
            raft_log_term(&r->log, stable.index) < stable.term)) {
        world_fail(w,
            "recovery: %s comes back with entries up to %" PRIu64 ", durable was %" PRIu64
            " of term %" PRIu64,
            m->name, last, stable.index, stable.term);
    }
    if (acked.index != 0 && acked.index <= w->commit && w->log[acked.index].term == acked.term &&
        (acked.index > last ||
            (acked.index >= r->log.before.index &&
                raft_log_term(&r->log, acked.index) != acked.term))) {
        world_fail(w, "recovery: %s has acknowledged the committed entry %" PRIu64 " and lost it",
            m->name, acked.index);
    }
}

void check_opened(struct member *m)
{
    const struct raft *r = m->core->raft;

    if (!m->damaged || (m->vouched && !m->forgot && !raft_is_repairing(r))) {
        check_recovered(m, r);
    } else {
        m->acked = (struct raft_entry_id){0}; /* perhaps lost, in what passes for a torn write */
    }
    m->repairing = raft_is_repairing(r); /* else the leader has to notice it once more */
    m->vouched = false;
    m->stable = (struct raft_entry_id){0};
    m->view.reset_at = 0;
    m->checked_commit = 0;
    m->checked_applied = 0;
    m->checked_conf = raft_conf_index(r);
    m->max_term = r->term;
    m->revision = 0;
}

/* ---- at the end ---- */

void check_equal(struct world *w, uint64_t mask)
{
    const struct member *first = NULL;

    for (size_t i = 0; i < w->n; i++) {
        const struct member *m = &w->members[i];

        if ((mask >> i & 1) == 0) {
            continue;
        }
        if (first != NULL && core_applied(m->core) == core_applied(first->core) &&
            core_hash(m->core) != core_hash(first->core)) {
            world_fail(w, "state: %s and %s differ at applied %" PRIu64, first->name, m->name,
                core_applied(m->core));
        }
        if (m->core->conf.n != w->conf.n ||
            raft_conf_voters_changed(&m->core->conf, &w->conf) != 0 ||
            raft_conf_find(&w->conf, m->id) == NULL) {
            world_fail(w, "membership: %s does not know who the members are", m->name);
        }
        first = m;
    }
}
