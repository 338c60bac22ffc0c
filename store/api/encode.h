/* From the store's reply to protobuf bytes: the one encoder of each message. The JSON gateway
 * transcodes these bytes (json_proto.h). */
#ifndef DECREE_STORE_API_ENCODE_H
#define DECREE_STORE_API_ENCODE_H

#include "proto_write.h"
#include "store.h"

/* Appends (in front) the whole response message of a call of that kind. w must be initialised, and
 * know of the gaps of a reply that has some: the lists that came in parts. */
void encode_reply(struct pbw *w, enum store_kind kind, const struct store_reply *reply);
/* About how large it will be; never more than a quarter too little. */
size_t encode_reply_estimate(enum store_kind kind, const struct store_reply *reply);

/* Lists that can come in parts, by their field's number. */
enum {
    ENCODE_KVS = 2,      /* of RangeResponse */
    ENCODE_PREV_KVS = 3, /* of DeleteRangeResponse */
};
/* How many there are in this reply that say in_parts. */
size_t encode_gaps(enum store_kind kind, const struct store_reply *reply);
/* Elements of such a list. */
void encode_kvs(struct pbw *w, unsigned field, const struct kv *list, size_t n);
size_t encode_kvs_estimate(const struct kv *list, size_t n);

/* One event as an element of WatchResponse.events: tag, length and message, so that a response is
 * put together by concatenation. A new reference, the caller's. */
struct buf *encode_event(const struct watch_event *e, bool prev_kv);

struct snapshot_response {
    struct store_header header;
    uint64_t remaining_bytes;
    struct bytes blob;
};
void encode_snapshot_response(struct pbw *w, const struct snapshot_response *r);

struct watch_response {
    struct store_header header;
    int64_t watch_id;
    bool created, canceled, fragment;
    int64_t compact_revision;
    const char *cancel_reason; /* NULL: none */
};
/* Everything but the events, which follow it on the wire. */
void encode_watch_response(struct pbw *w, const struct watch_response *r);

#endif
