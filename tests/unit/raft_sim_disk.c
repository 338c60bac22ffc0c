/* What a member's disk holds: term and vote, a snapshot, the log from behind `base`, and the writes
 * under way. */
#include "raft_sim_impl.h"

/* ---- copies ---- */

struct raft_entry *sim_copy_entries(const struct raft_entry *entries, size_t n)
{
    struct raft_entry *copy = n != 0 ? xmemdup(entries, n * sizeof(*entries)) : NULL;

    for (size_t i = 0; i < n; i++) {
        buf_ref(copy[i].payload);
    }
    return copy;
}

void sim_free_entries(struct raft_entry *entries, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        buf_unref(entries[i].payload);
    }
    free(entries);
}

/* ---- what is durable ---- */

uint64_t sim_disk_last(const struct sim_node *n)
{
    return n->base.index + n->n_log;
}

static bool sim_disk_has(const struct sim_node *n, struct raft_entry_id id)
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
bool sim_disk_had(const struct sim_node *n, struct raft_entry_id id)
{
    for (size_t i = 0; i < n->n_lost; i++) {
        if (n->lost[i].index == id.index && n->lost[i].term == id.term) {
            return true;
        }
    }
    return id.index <= n->lost_snap || sim_disk_has(n, id);
}

void sim_disk_cut(struct sim_node *n, uint64_t index)
{
    while (n->n_log != 0 && sim_disk_last(n) >= index) {
        buf_unref(n->log[--n->n_log].payload);
    }
}

void sim_disk_reset(struct sim_node *n, struct raft_entry_id base)
{
    sim_disk_cut(n, 0);
    n->base = base;
}

void sim_disk_write(struct sim *s, struct sim_node *n, const struct sim_write *w, size_t n_entries)
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

/* ---- what is under way ---- */

struct sim_write *sim_write_add(struct sim_node *n)
{
    n->writes = sim_grow(n->writes, n->n_writes, &n->writes_cap, sizeof(*n->writes));
    n->writes[n->n_writes] = (struct sim_write){0};
    return &n->writes[n->n_writes++];
}

void sim_write_drop_first(struct sim_node *n)
{
    sim_free_entries(n->writes[0].entries, n->writes[0].n_entries);
    n->n_writes--;
    memmove(&n->writes[0], &n->writes[1], n->n_writes * sizeof(*n->writes));
}
