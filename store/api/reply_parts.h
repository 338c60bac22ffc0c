/* A reply that the store hands out in parts (store.h). The elements of its long lists are encoded
 * as they come, in segments. No message can begin before its length is known, so what is around
 * them waits for the end; then it is encoded with gaps (proto_write.h) into which the segments are
 * moved: they are neither copied nor encoded again. */
#ifndef DECREE_STORE_API_REPLY_PARTS_H
#define DECREE_STORE_API_REPLY_PARTS_H

#include <protobuf-c/protobuf-c.h>

#include "proto_write.h"
#include "segq.h"
#include "store.h"

/* All zero: none. */
struct reply_parts {
    enum store_kind kind;
    const ProtobufCMessageDescriptor *json; /* the response's type when it is JSON, NULL: gRPC */
    struct segq elements;                   /* of all lists, one after the other */
    struct pbw_gap *gaps;                   /* owned: one for each list so far, in their order */
    size_t n_gaps, cap;
};

void reply_parts_init(
    struct reply_parts *p, enum store_kind kind, const ProtobufCMessageDescriptor *json);
void reply_parts_deinit(struct reply_parts *p);

void reply_parts_add(struct reply_parts *p, const struct store_part *part);
/* The whole reply, whose lists say in_parts where they have come (of a range: all but the last
 * elements); also when no part has. Its message, with gRPC's prefix in front of it, goes to out.
 * Afterwards only deinit. */
void reply_parts_finish(struct reply_parts *p, const struct store_reply *reply, struct segq *out);

#endif
