/* Little-endian integers and length-prefixed bytes: how everything of ours is laid out on disk and
 * between members. All access goes through memcpy, so alignment and aliasing never matter. */
#ifndef DECREE_BASE_CODEC_H
#define DECREE_BASE_CODEC_H

#include "buf.h"

static inline void put_u32(uint8_t *p, uint32_t v)
{
    uint8_t le[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};

    memcpy(p, le, 4);
}

static inline uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline void put_u64(uint8_t *p, uint64_t v)
{
    put_u32(p, (uint32_t)v);
    put_u32(p + 4, (uint32_t)(v >> 32));
}

static inline uint64_t get_u64(const uint8_t *p)
{
    return (uint64_t)get_u32(p) | (uint64_t)get_u32(p + 4) << 32;
}

/* Writers append to a strbuf. A varint is LEB128 as in protobuf: 1 to 10 bytes. */
void enc_u8(struct strbuf *s, uint8_t v);
void enc_u32(struct strbuf *s, uint32_t v);
void enc_u64(struct strbuf *s, uint64_t v);
void enc_varint(struct strbuf *s, uint64_t v);
/* varint length, then the bytes */
void enc_bytes(struct strbuf *s, struct bytes b);

/* A reader over untrusted bytes: a read past the end sets `bad` and yields zero or empty; check
 * once, at the end. Bytes it returns point into what is being read. */
struct dec {
    const uint8_t *p, *end;
    bool bad;
};

static inline struct dec dec_make(struct bytes b)
{
    return (struct dec){b.data, b.len != 0 ? b.data + b.len : b.data, false};
}
uint8_t dec_u8(struct dec *d);
uint32_t dec_u32(struct dec *d);
uint64_t dec_u64(struct dec *d);
uint64_t dec_varint(struct dec *d);
struct bytes dec_bytes(struct dec *d);
/* n raw bytes */
struct bytes dec_raw(struct dec *d, size_t n);
static inline size_t dec_left(const struct dec *d)
{
    return (size_t)(d->end - d->p);
}
/* All was read and nothing was wrong. */
static inline bool dec_done(const struct dec *d)
{
    return !d->bad && d->p == d->end;
}

#endif
