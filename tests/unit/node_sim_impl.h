/* What the parts of node_sim.h ask of one another. */
#ifndef DECREE_TESTS_NODE_SIM_IMPL_H
#define DECREE_TESTS_NODE_SIM_IMPL_H

#include "node_sim.h"

/* The world as m sees it. */
struct core_env sim_env_of(struct sim_member *m);
/* The place of a member; s->n for one that was added and never started. */
size_t sim_index_of(const struct sim *s, uint64_t id);
/* What is on its way in the stream is lost; nobody is told. */
void sim_drop_stream(struct sim *s, size_t from, size_t to);
/* The oldest event that is not held back arrives; false when there is none. */
bool sim_deliver_next(struct sim *s);

#endif
