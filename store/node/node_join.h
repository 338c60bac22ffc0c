/* What a new member asks the cluster, before the loop runs. */
#ifndef DECREE_STORE_NODE_NODE_JOIN_H
#define DECREE_STORE_NODE_NODE_JOIN_H

#include "node_core.h"

/* As core_options.join: asks the members at the founders' addresses, one after the other, until one
 * says what is agreed upon; else the newest that was said is the result. Blocks for some seconds
 * for each that is silent. */
int node_join_ask(const struct members *founders, const struct store_member *self,
    struct members_answer *ret, struct err *reterr);

#endif
