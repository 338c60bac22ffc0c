/* The guard before the protobuf decoder. protobuf-c follows nested messages by recursion without a
 * limit and allocates for whatever it meets; this walks the bytes first and lets nothing through
 * that is deeper, wider or more broken than a request can be. */
#ifndef DECREE_STORE_API_PROTO_GUARD_H
#define DECREE_STORE_API_PROTO_GUARD_H

#include <protobuf-c/protobuf-c.h>

#include "arena.h"

enum proto_guard_result {
    PROTO_OK,
    PROTO_MALFORMED, /* the bytes are no message at all: truncated, groups, field 0 */
    PROTO_TOO_DEEP,  /* more than PROTO_DEPTH_MAX messages within each other */
    PROTO_TOO_MANY,  /* more than PROTO_FIELDS_MAX fields */
};

/* Walks b as a message of the given type; unknown fields count but are not entered. */
enum proto_guard_result proto_guard(const ProtobufCMessageDescriptor *type, struct bytes b);

/* The guard, then protobuf-c's decoder with all memory from arena (freed with it; never call
 * free_unpacked). *ret is set with PROTO_OK only; what the arena's ceiling refuses is
 * PROTO_MALFORMED too. */
enum proto_guard_result proto_decode(const ProtobufCMessageDescriptor *type, struct bytes b,
    struct arena *arena, ProtobufCMessage **ret);

#endif
