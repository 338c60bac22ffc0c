/* The few v3 messages that the generator sends and looks at, written by hand: building a request
 * must cost next to nothing. Field numbers are those of contracts/etcd-v3.md §2. */
#ifndef DECREE_BENCH_MESSAGE_H
#define DECREE_BENCH_MESSAGE_H

#include <stdbool.h>

#include "buf.h"

/* All append one message to out. An empty range_end means the key alone. */
void message_put(struct strbuf *out, struct bytes key, struct bytes value);
void message_range(struct strbuf *out, struct bytes key, struct bytes range_end, bool serializable);
/* If the key's version is below max: put it, else read it. Both ways are one operation. */
void message_txn(struct strbuf *out, struct bytes key, struct bytes value);
/* One put of a transaction that has no compares: call it once for each put of a batch. */
void message_txn_add_put(struct strbuf *out, struct bytes key, struct bytes value);
void message_watch_create(struct strbuf *out, struct bytes key);

struct watch_reply {
    bool created, canceled;
    unsigned events;
};
/* False when the bytes are not a WatchResponse. */
bool message_read_watch(struct bytes message, struct watch_reply *ret);

#endif
