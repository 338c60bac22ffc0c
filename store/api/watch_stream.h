/* The watches of one stream, gRPC or JSON (contracts/etcd-v3.md §4).
 *
 * Output goes to the exchange's queue. When that holds more than WATCH_OUTPUT_HIGH, watchers with
 * news are told so (their ops return false) and wait in the `full` list; when it has drained they
 * are resumed and replay from history. Memory is therefore bounded by the limit and one batch,
 * however slowly the client reads. */
#ifndef DECREE_STORE_API_WATCH_STREAM_H
#define DECREE_STORE_API_WATCH_STREAM_H

#include "exchange.h"
#include "rpc.pb-c.h"

struct watch_stream;

struct watch_stream *watch_stream_new(struct exchange *ex);
/* Removes its watchers from the store. Returns NULL. */
struct watch_stream *watch_stream_free(struct watch_stream *s);
/* Create, cancel or progress. Never ends the call; m is borrowed. */
void watch_stream_request(struct watch_stream *s, const Etcdserverpb__WatchRequest *m);
/* The client has taken most of what was queued. */
void watch_stream_drained(struct watch_stream *s);
/* The same for all streams of a connection; cheap when none waits for it. */
void watch_streams_drained(struct conn *c);

#endif
