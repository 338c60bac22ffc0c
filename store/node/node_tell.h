/* What one that wants to join is told: a linearizable read of the members, and so long as there is
 * no leader for it, what this member knows by itself. */
#ifndef DECREE_STORE_NODE_NODE_TELL_H
#define DECREE_STORE_NODE_NODE_TELL_H

#include "list.h"
#include "node_core.h"
#include "peer.h"

struct node_tell {
    struct store *core;
    struct peers *peers;
    unsigned patience_ticks;
    struct list waiting; /* for the read */
    unsigned n_waiting;
};

void node_tell_init(
    struct node_tell *t, struct store *core, struct peers *peers, unsigned patience_ticks);
/* Answers peers' question, now or later. */
void node_tell_ask(struct node_tell *t, uint64_t question);
/* Whoever has waited long enough is told without the read. */
void node_tell_tick(struct node_tell *t);

#endif
