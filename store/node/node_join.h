/* Before the loop runs: what a new member asks the cluster, and the mark of one that was removed.
 */
#ifndef DECREE_STORE_NODE_NODE_JOIN_H
#define DECREE_STORE_NODE_NODE_JOIN_H

#include "node_core.h"

/* As core_options.join: asks the members at the founders' addresses, one after the other, until one
 * lists self's URLs. When none does, but one answers, its answer is the result. Blocks for some
 * seconds for each that is silent. */
int node_join_ask(const struct members *founders, const struct store_member *self,
    struct core_join *ret, struct err *reterr);

/* The directory belongs to a member that was removed: it says so at each start. A failure to leave
 * the mark is only logged, as the other members say the same. */
void node_mark_removed(const char *data_dir, uint64_t id, uint64_t cluster_id);
/* 0, or an error that says what to do. */
int node_check_removed(const char *data_dir, const char *name, struct err *reterr);

#endif
