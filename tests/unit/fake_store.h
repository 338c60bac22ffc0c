/* A store for tests of the doors: store.h on a keyspace in memory, one member, no log, no network.
 * Answers come in the loop's next turn. */
#ifndef DECREE_TESTS_FAKE_STORE_H
#define DECREE_TESTS_FAKE_STORE_H

#include <uv.h>

#include "store.h"

struct store *fake_store_new(uv_loop_t *loop);
/* Calls and watchers must be gone. Its handles are closed in the loop's next turns; then it is
 * freed. */
void fake_store_free(struct store *s);

/* From now on without a leader: writes and linearizable reads are refused. */
void fake_store_set_leader(struct store *s, bool has_leader);
/* While held, calls are taken and not answered. */
void fake_store_hold(struct store *s, bool hold);
/* From now on replies with lists longer than this come in parts of as many kvs, one in each turn
 * (store.h). 0, as at first: all come at once. */
void fake_store_set_part_kvs(struct store *s, size_t n);
size_t fake_store_calls(const struct store *s);
size_t fake_store_watchers(const struct store *s);

#endif
