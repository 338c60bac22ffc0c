#include "message.h"

#include "codec.h"

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

static void add_bytes(struct strbuf *out, unsigned field, struct bytes b)
{
    enc_varint(out, field << 3 | WIRE_BYTES);
    enc_bytes(out, b);
}

static void add_number(struct strbuf *out, unsigned field, uint64_t v)
{
    enc_varint(out, field << 3 | WIRE_VARINT);
    enc_varint(out, v);
}

static size_t varint_size(uint64_t v)
{
    size_t n = 1;

    for (; v >= 0x80; v >>= 7) {
        n++;
    }
    return n;
}

/* Of a field below 16. */
static size_t bytes_field_size(struct bytes b)
{
    return 1 + varint_size(b.len) + b.len;
}

void message_put(struct strbuf *out, struct bytes key, struct bytes value)
{
    add_bytes(out, 1, key);
    add_bytes(out, 2, value);
}

void message_range(struct strbuf *out, struct bytes key, struct bytes range_end, bool serializable)
{
    add_bytes(out, 1, key);
    if (range_end.len != 0) {
        add_bytes(out, 2, range_end);
    }
    if (serializable) {
        add_number(out, 7, 1);
    }
}

/* A RequestOp: field 1 is a range, 2 a put. */
static void add_op(
    struct strbuf *out, unsigned list, struct bytes key, struct bytes value, bool put)
{
    size_t inner = bytes_field_size(key) + (put ? bytes_field_size(value) : 0);

    enc_varint(out, list << 3 | WIRE_BYTES);
    enc_varint(out, 1 + varint_size(inner) + inner);
    enc_varint(out, (put ? 2u : 1u) << 3 | WIRE_BYTES);
    enc_varint(out, inner);
    if (put) {
        message_put(out, key, value);
    } else {
        message_range(out, key, bytes_make(NULL, 0), false);
    }
}

void message_txn(struct strbuf *out, struct bytes key, struct bytes value)
{
    enum { LESS = 2, VERSION_FIELD = 4 };
    const uint64_t version_max = UINT64_C(1) << 40;

    enc_varint(out, 1 << 3 | WIRE_BYTES);
    enc_varint(out, 2 + bytes_field_size(key) + 1 + varint_size(version_max));
    add_number(out, 1, LESS);
    add_bytes(out, 3, key); /* the target, 2, stays 0: VERSION */
    add_number(out, VERSION_FIELD, version_max);
    add_op(out, 2, key, value, true);
    add_op(out, 3, key, value, false);
}

void message_txn_add_put(struct strbuf *out, struct bytes key, struct bytes value)
{
    add_op(out, 2, key, value, true);
}

void message_watch_create(struct strbuf *out, struct bytes key)
{
    enc_varint(out, 1 << 3 | WIRE_BYTES);
    enc_varint(out, bytes_field_size(key));
    add_bytes(out, 1, key);
}

bool message_read_watch(struct bytes message, struct watch_reply *ret)
{
    struct dec d = dec_make(message);

    *ret = (struct watch_reply){0};
    while (dec_left(&d) != 0 && !d.bad) {
        uint64_t tag = dec_varint(&d);
        uint64_t v = 0;

        switch (tag & 7) {
        case WIRE_VARINT:
            v = dec_varint(&d);
            break;
        case WIRE_BYTES:
            (void)dec_bytes(&d);
            break;
        case WIRE_64:
            (void)dec_raw(&d, 8);
            break;
        case WIRE_32:
            (void)dec_raw(&d, 4);
            break;
        default:
            return false;
        }
        ret->created = ret->created || (tag >> 3 == 3 && v != 0);
        ret->canceled = ret->canceled || (tag >> 3 == 4 && v != 0);
        ret->events += tag >> 3 == 11;
    }
    return dec_done(&d);
}
