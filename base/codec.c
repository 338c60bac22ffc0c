#include "codec.h"

void enc_u8(struct strbuf *s, uint8_t v)
{
    strbuf_append(s, &v, 1);
}

void enc_u32(struct strbuf *s, uint32_t v)
{
    put_u32(strbuf_reserve(s, 4), v);
    s->len += 4;
}

void enc_u64(struct strbuf *s, uint64_t v)
{
    put_u64(strbuf_reserve(s, 8), v);
    s->len += 8;
}

void enc_varint(struct strbuf *s, uint64_t v)
{
    uint8_t *p = strbuf_reserve(s, 10);
    size_t n = 0;

    while (v >= 0x80) {
        p[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    p[n++] = (uint8_t)v;
    s->len += n;
}

void enc_bytes(struct strbuf *s, struct bytes b)
{
    enc_varint(s, b.len);
    strbuf_append_bytes(s, b);
}

struct bytes dec_raw(struct dec *d, size_t n)
{
    struct bytes b;

    if (dec_left(d) < n) {
        d->bad = true;
        d->p = d->end;
        return (struct bytes){0};
    }
    b = bytes_make(d->p, n);
    d->p += n;
    return b;
}

uint8_t dec_u8(struct dec *d)
{
    struct bytes b = dec_raw(d, 1);

    return b.len != 0 ? b.data[0] : 0;
}

uint32_t dec_u32(struct dec *d)
{
    struct bytes b = dec_raw(d, 4);

    return b.len != 0 ? get_u32(b.data) : 0;
}

uint64_t dec_u64(struct dec *d)
{
    struct bytes b = dec_raw(d, 8);

    return b.len != 0 ? get_u64(b.data) : 0;
}

uint64_t dec_varint(struct dec *d)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t c = dec_u8(d);

        if (shift == 63 && c > 1) {
            break;
        }
        v |= (uint64_t)(c & 0x7f) << shift;
        if ((c & 0x80) == 0) {
            return d->bad ? 0 : v;
        }
    }
    d->bad = true;
    d->p = d->end;
    return 0;
}

struct bytes dec_bytes(struct dec *d)
{
    uint64_t n = dec_varint(d);

    return dec_raw(d, n <= SIZE_MAX ? (size_t)n : SIZE_MAX);
}
