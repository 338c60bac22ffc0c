/* Members and what happens to them. */
#include <stdio.h>
#include <string.h>

#include "err.h"
#include "raft_sim_impl.h"
#include "splitmix.h"

uint64_t sim_random(struct sim *s)
{
    return splitmix_next(&s->random);
}

__attribute__((noreturn, format(printf, 2, 3))) void sim_fail(struct sim *s, const char *fmt, ...)
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

void *sim_grow(void *p, size_t n, size_t *cap, size_t size)
{
    if (n == *cap) {
        *cap = MAX(*cap * 2, (size_t)8);
        p = xreallocarray(p, *cap, size);
    }
    return p;
}

/* ---- messages ---- */

void sim_pool_add(struct sim *s, const struct sim_msg *m)
{
    s->pool = sim_grow(s->pool, s->n_pool, &s->pool_cap, sizeof(*s->pool));
    s->pool[s->n_pool] = *m;
    s->pool[s->n_pool].entries = sim_copy_entries(m->m.entries, m->m.n_entries);
    s->pool[s->n_pool].m.entries = s->pool[s->n_pool].entries;
    s->n_pool++;
}

void sim_pool_remove(struct sim *s, size_t i)
{
    sim_free_entries(s->pool[i].entries, s->pool[i].m.n_entries);
    s->n_pool--;
    memmove(&s->pool[i], &s->pool[i + 1], (s->n_pool - i) * sizeof(*s->pool));
}

/* ---- a member's life ---- */

int sim_event(struct sim *s, struct sim_node *n, struct raft_event *ev)
{
    int rc;

    ev->random = (uint32_t)sim_random(s);
    rc = raft_step(n->r, ev);
    n->changed = true;
    sim_check_node(s, n);
    return rc;
}

void sim_start(struct sim *s, struct sim_node *n)
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

void sim_crash(struct sim *s, struct sim_node *n, size_t whole, size_t part)
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

void sim_damage(struct sim *s, struct sim_node *n, uint64_t index, uint64_t term)
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

void sim_persist(struct sim *s, struct sim_node *n)
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

int sim_read(struct sim *s, struct sim_node *n, uint64_t *ret_context)
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

int sim_propose(struct sim *s, struct sim_node *n, enum raft_entry_type type, struct bytes payload)
{
    _cleanup_buf_ struct buf *b = buf_copy(payload);
    struct raft_proposal p = {.type = type, .payload = b};
    struct raft_event ev = {.type = RAFT_EV_PROPOSE, .propose = {&p, 1}};

    return sim_event(s, n, &ev);
}

static int sim_install(struct sim *s, struct sim_node *n, const struct sim_msg *m)
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

void sim_deliver(struct sim *s, size_t i)
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

/* ---- the cluster ---- */

struct buf *sim_conf_payload(const struct raft_conf *conf)
{
    _cleanup_strbuf_ struct strbuf out = {0};

    raft_conf_encode(conf, BYTES_LITERAL("context"), &out);
    return buf_copy(strbuf_bytes(&out));
}

void sim_init(struct sim *s, size_t nodes, const struct raft_conf *conf,
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

void sim_deinit(struct sim *s)
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
