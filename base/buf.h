/* Two byte containers.
 * `struct buf` is reference-counted and immutable once shared: the payload of a log entry or the
 * encoded form of a watch event, one copy from decode to disk to wire. References are taken and
 * dropped on the loop thread only; another thread may read the bytes of a buf that the loop thread
 * keeps referenced meanwhile.
 * `struct strbuf` grows while something is written into it. */
#ifndef DECREE_BASE_BUF_H
#define DECREE_BASE_BUF_H

#include <stdarg.h>

#include "alloc.h"
#include "bytes.h"

struct buf {
    uint32_t refs;
    uint32_t len;
    uint8_t data[];
};

/* A buf of len uninitialised bytes with one reference, the caller's. len must be below 4 GiB. */
struct buf *buf_new(size_t len);
struct buf *buf_copy(struct bytes b);
static inline struct buf *buf_ref(struct buf *b)
{
    b->refs++;
    return b;
}
/* Drops one reference; NULL is accepted and NULL is returned. */
struct buf *buf_unref(struct buf *b);
static inline struct bytes buf_bytes(const struct buf *b)
{
    return bytes_make(b->data, b->len);
}
static inline void buf_unrefp(struct buf **b)
{
    buf_unref(*b);
}
#define _cleanup_buf_ _cleanup_(buf_unrefp)

struct strbuf {
    uint8_t *data; /* owned */
    size_t len;
    size_t cap;
};

static inline void strbuf_init(struct strbuf *s)
{
    *s = (struct strbuf){0};
}
void strbuf_deinit(struct strbuf *s);
#define _cleanup_strbuf_ _cleanup_(strbuf_deinit)

/* Room for n more bytes at the end; returns where they go. strbuf_add then only moves len. */
uint8_t *strbuf_reserve(struct strbuf *s, size_t n);
void strbuf_append(struct strbuf *s, const void *p, size_t n);
static inline void strbuf_append_bytes(struct strbuf *s, struct bytes b)
{
    strbuf_append(s, b.data, b.len);
}
void strbuf_append_str(struct strbuf *s, const char *str);
void strbuf_append_char(struct strbuf *s, char c);
_printf_(2, 3) void strbuf_printf(struct strbuf *s, const char *fmt, ...);
_printf_(2, 0) void strbuf_vprintf(struct strbuf *s, const char *fmt, va_list ap);
/* NUL-terminated view, valid until the next change. The NUL is not counted in len. */
const char *strbuf_cstr(struct strbuf *s);
/* The contents as a string that is the caller's; s is empty afterwards. */
char *strbuf_take_cstr(struct strbuf *s);
static inline struct bytes strbuf_bytes(const struct strbuf *s)
{
    return bytes_make(s->data, s->len);
}
static inline void strbuf_clear(struct strbuf *s)
{
    s->len = 0;
}

#endif
