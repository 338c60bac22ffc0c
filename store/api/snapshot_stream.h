/* One call of Maintenance.Snapshot: a backup file in blobs, as fast as the client takes them, then
 * its SHA-256. What waits for the client is WATCH_OUTPUT_HIGH and a blob at most; a client that
 * takes nothing, or takes too long in all, is ended. */
#ifndef DECREE_STORE_API_SNAPSHOT_STREAM_H
#define DECREE_STORE_API_SNAPSHOT_STREAM_H

#include "exchange.h"

/* Becomes ex->rpc.snapshot, or ends the call with the reason. */
void snapshot_stream_start(struct exchange *ex);
/* NULL is accepted; returns NULL. */
struct snapshot_stream *snapshot_stream_free(struct snapshot_stream *s);
/* There is room for more. */
void snapshot_stream_drained(struct snapshot_stream *s);

#endif
