/* Situations in which several tests of the node's core begin. Each fails the test when it cannot be
 * brought about. */
#ifndef DECREE_TESTS_NODE_SCENE_H
#define DECREE_TESTS_NODE_SCENE_H

#include "node_sim.h"

/* Starts all members that are down. */
void scene_start_all(struct sim *s);
/* n founders, all of them up; the leader. Takes the place of sim_init. */
size_t scene_cluster(struct sim *s, size_t n);
/* Three of them, which have published what they say of themselves; the leader. */
size_t scene_three_at_rest(struct sim *s);

/* n keys "/000000", "/000001", … with the value "old", in txns of a hundred at member i. */
void scene_fill(struct sim *s, size_t i, int n);
/* n writes at member i, to fifty keys "/k0", "/k1", … in turn. */
void scene_put_many(struct sim *s, size_t i, int n, size_t value_bytes);
/* Three members, one of which is down while n keys "/k0", … are written: enough that its place in
 * the log is gone. The leader. Takes the place of sim_init. */
size_t scene_leave_behind(struct sim *s, int n, size_t value_bytes, size_t *ret_behind);

/* Asks member `at` to promote the learner m until it is in sync, ten seconds at most. */
void scene_wait_promoted(struct sim *s, size_t at, size_t m);
/* One more member, added at `at` as a learner, started and promoted. */
size_t scene_grow(struct sim *s, size_t at);
/* How many member i knows. */
size_t scene_count_members(struct sim *s, size_t i);

#endif
