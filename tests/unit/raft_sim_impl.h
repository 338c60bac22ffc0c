/* What the parts of the simulated cluster (raft_sim.h) ask of one another. */
#ifndef DECREE_TESTS_RAFT_SIM_IMPL_H
#define DECREE_TESTS_RAFT_SIM_IMPL_H

#include "raft_sim.h"

/* Room for one more than n elements of a size. */
void *sim_grow(void *p, size_t n, size_t *cap, size_t size);

/* ---- raft_sim_trace.c ---- */

void sim_trace_entry(struct strbuf *t, const struct raft_entry *e);
void sim_trace_msg(struct strbuf *t, const struct raft_msg *m);

/* ---- raft_sim_disk.c ---- */

/* The payloads are shared, and referenced once more. */
struct raft_entry *sim_copy_entries(const struct raft_entry *entries, size_t n);
void sim_free_entries(struct raft_entry *entries, size_t n);
/* Index of the last entry; a snapshot may be ahead of it. */
uint64_t sim_disk_last(const struct sim_node *n);
/* It has that entry, or had it when it acknowledged it. */
bool sim_disk_had(const struct sim_node *n, struct raft_entry_id id);
/* Drops the entries from index on. */
void sim_disk_cut(struct sim_node *n, uint64_t index);
/* Drops all entries; the log goes on behind base. */
void sim_disk_reset(struct sim_node *n, struct raft_entry_id base);
/* Makes the first n_entries of a write durable, which for a crash in its middle may be only some.
 */
void sim_disk_write(struct sim *s, struct sim_node *n, const struct sim_write *w, size_t n_entries);
/* One more write under way, empty; valid until the next one. */
struct sim_write *sim_write_add(struct sim_node *n);
void sim_write_drop_first(struct sim_node *n);

/* ---- raft_sim_check.c: each fails the run when a promise is broken ---- */

/* The hash of all entries up to e, from that of those before it. */
uint64_t sim_hash_next(uint64_t hash, const struct raft_entry *e);
void sim_register_commit(struct sim *s, uint64_t term, uint64_t hash);
void sim_check_entry(struct sim *s, const struct raft_entry *e, uint64_t prev_term);
void sim_check_vote(struct sim *s, uint64_t node, uint64_t term, uint64_t vote);
void sim_check_msg(struct sim *s, struct sim_node *n, const struct raft_msg *m);
/* After each step. */
void sim_check_node(struct sim *s, struct sim_node *n);

#endif
