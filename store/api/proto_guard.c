#include "proto_guard.h"

#include "api_limits.h"
#include "codec.h"

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

static enum proto_guard_result walk(
    const ProtobufCMessageDescriptor *type, struct bytes b, unsigned depth, unsigned *fields);

static enum proto_guard_result walk_bytes(const ProtobufCMessageDescriptor *type, uint64_t number,
    struct bytes inner, unsigned depth, unsigned *fields)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field(type, (unsigned)number);

    if (field == NULL || field->type != PROTOBUF_C_TYPE_MESSAGE) {
        return PROTO_OK;
    }
    return walk(field->descriptor, inner, depth + 1, fields);
}

static enum proto_guard_result walk(
    const ProtobufCMessageDescriptor *type, struct bytes b, unsigned depth, unsigned *fields)
{
    struct dec d = dec_make(b);

    if (depth > PROTO_DEPTH_MAX) {
        return PROTO_TOO_DEEP;
    }
    while (dec_left(&d) != 0 && !d.bad) {
        uint64_t tag = dec_varint(&d);
        enum proto_guard_result result = PROTO_OK;

        if (tag >> 3 == 0 || tag >> 3 > 0x1fffffff) {
            return PROTO_MALFORMED;
        }
        if (++*fields > PROTO_FIELDS_MAX) {
            return PROTO_TOO_MANY;
        }
        switch (tag & 7) {
        case WIRE_VARINT:
            (void)dec_varint(&d);
            break;
        case WIRE_64:
            (void)dec_raw(&d, 8);
            break;
        case WIRE_32:
            (void)dec_raw(&d, 4);
            break;
        case WIRE_BYTES: {
            struct bytes inner = dec_bytes(&d);

            result = d.bad ? PROTO_MALFORMED : walk_bytes(type, tag >> 3, inner, depth, fields);
            break;
        }
        default: /* groups: proto3 has none */
            return PROTO_MALFORMED;
        }
        if (result != PROTO_OK) {
            return result;
        }
    }
    return d.bad ? PROTO_MALFORMED : PROTO_OK;
}

enum proto_guard_result proto_guard(const ProtobufCMessageDescriptor *type, struct bytes b)
{
    unsigned fields = 0;

    return walk(type, b, 1, &fields);
}

static void *alloc_from_arena(void *arena, size_t size)
{
    return arena_alloc(arena, size);
}

static void free_to_arena(void *arena, void *p)
{
    (void)arena;
    (void)p;
}

enum proto_guard_result proto_decode(const ProtobufCMessageDescriptor *type, struct bytes b,
    struct arena *arena, ProtobufCMessage **ret)
{
    ProtobufCAllocator allocator = {alloc_from_arena, free_to_arena, arena};
    enum proto_guard_result result = proto_guard(type, b);
    ProtobufCMessage *m;

    if (result != PROTO_OK) {
        return result;
    }
    m = protobuf_c_message_unpack(type, &allocator, b.len, b.data);
    if (m == NULL) {
        return PROTO_MALFORMED;
    }
    *ret = m;
    return PROTO_OK;
}
