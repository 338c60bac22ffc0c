/* What a member asks for in an update, done. */
#include "raft_sim_impl.h"

static void sim_take_persist(struct sim *s, struct sim_node *n, const struct raft_persist *p)
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

static void sim_apply(struct sim *s, struct sim_node *n, uint64_t commit)
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

static void sim_take_read(struct sim *s, struct sim_node *n, const struct raft_read_result *r)
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

static void sim_send_snapshot(struct sim *s, struct sim_node *n, uint64_t to)
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

void sim_take(struct sim *s, struct sim_node *n)
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

void sim_compact(struct sim *s, struct sim_node *n, uint64_t keep)
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
