#include "buf.h"

#include <stdio.h>

struct buf *buf_new(size_t len)
{
    struct buf *b;

    decree_assert(len < UINT32_MAX);
    b = xmalloc(sizeof(*b) + len);
    b->refs = 1;
    b->len = (uint32_t)len;
    return b;
}

struct buf *buf_copy(struct bytes bytes)
{
    struct buf *b = buf_new(bytes.len);

    if (bytes.len != 0) {
        memcpy(b->data, bytes.data, bytes.len);
    }
    return b;
}

struct buf *buf_unref(struct buf *b)
{
    if (b != NULL) {
        decree_assert(b->refs > 0);
        if (--b->refs == 0) {
            free(b);
        }
    }
    return NULL;
}

void strbuf_deinit(struct strbuf *s)
{
    free(s->data);
    *s = (struct strbuf){0};
}

uint8_t *strbuf_reserve(struct strbuf *s, size_t n)
{
    if (s->cap - s->len < n) {
        size_t cap = MAX(s->cap * 2, s->len + n);

        cap = MAX(cap, (size_t)64);
        s->data = xrealloc(s->data, cap);
        s->cap = cap;
    }
    return s->data + s->len;
}

void strbuf_append(struct strbuf *s, const void *p, size_t n)
{
    if (n != 0) {
        memcpy(strbuf_reserve(s, n), p, n);
        s->len += n;
    }
}

void strbuf_append_str(struct strbuf *s, const char *str)
{
    strbuf_append(s, str, strlen(str));
}

void strbuf_append_char(struct strbuf *s, char c)
{
    *strbuf_reserve(s, 1) = (uint8_t)c;
    s->len++;
}

void strbuf_vprintf(struct strbuf *s, const char *fmt, va_list ap)
{
    va_list again;
    int n;

    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    decree_assert(n >= 0);
    (void)strbuf_reserve(s, (size_t)n + 1);
    (void)vsnprintf((char *)s->data + s->len, (size_t)n + 1, fmt, again);
    va_end(again);
    s->len += (size_t)n;
}

void strbuf_printf(struct strbuf *s, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    strbuf_vprintf(s, fmt, ap);
    va_end(ap);
}

const char *strbuf_cstr(struct strbuf *s)
{
    *strbuf_reserve(s, 1) = 0;
    return (const char *)s->data;
}

char *strbuf_take_cstr(struct strbuf *s)
{
    char *str;

    (void)strbuf_cstr(s);
    str = (char *)s->data;
    *s = (struct strbuf){0};
    return str;
}
