/* A queue of bytes on their way out: small pieces are gathered in chunks, large ones stay in the
 * buffer that they came in and are shared until the socket has taken them. */
#ifndef DECREE_STORE_API_SEGQ_H
#define DECREE_STORE_API_SEGQ_H

#include <uv.h>

#include "buf.h"

struct seg {
    struct buf *buf; /* one reference, the queue's */
    size_t at, end;
};

struct segq {
    struct seg *segs; /* ring of cap, a power of two or 0 */
    size_t head, n, cap;
    size_t bytes;     /* in all */
    struct buf *open; /* the last segment's buffer while it has room behind its end, else NULL */
};

void segq_deinit(struct segq *q);
/* Drops all bytes. */
void segq_clear(struct segq *q);

void segq_append(struct segq *q, const void *p, size_t n);
static inline void segq_append_str(struct segq *q, const char *s)
{
    segq_append(q, s, strlen(s));
}
/* buf_consume->data[at..len): its reference becomes the queue's, also when the piece is empty. */
void segq_append_buf(struct segq *q, struct buf *buf_consume, size_t at);
/* The first n bytes of from, which must be there, go to the end of to. */
void segq_move(struct segq *to, struct segq *from, size_t n);

/* Fills at most max views of what comes first; returns how many. Valid until the queue changes. */
unsigned segq_views(const struct segq *q, uv_buf_t *views, unsigned max);
/* Drops the first n bytes. */
void segq_consume(struct segq *q, size_t n);

#endif
