#include "segq.h"

enum {
    COPY_MAX = 1024,       /* a piece up to this size is cheaper copied than kept as a segment */
    CHUNK_MIN = 2048,      /* first chunk of a queue that was empty… */
    CHUNK_MAX = 16 * 1024, /* …and the ones after it */
};

static struct seg *seg_at(const struct segq *q, size_t i)
{
    return &q->segs[(q->head + i) & (q->cap - 1)];
}

static void push(struct segq *q, struct seg seg)
{
    if (q->n == q->cap) {
        size_t cap = q->cap != 0 ? q->cap * 2 : 4;
        struct seg *segs = xreallocarray(NULL, cap, sizeof(*segs));

        for (size_t i = 0; i < q->n; i++) {
            segs[i] = *seg_at(q, i);
        }
        free(q->segs);
        q->segs = segs;
        q->cap = cap;
        q->head = 0;
    }
    q->n++;
    *seg_at(q, q->n - 1) = seg;
    q->bytes += seg.end - seg.at;
}

void segq_clear(struct segq *q)
{
    while (q->n > 0) {
        buf_unref(seg_at(q, --q->n)->buf);
    }
    q->open = NULL;
    q->bytes = 0;
}

void segq_deinit(struct segq *q)
{
    segq_clear(q);
    free(q->segs);
    *q = (struct segq){0};
}

void segq_append(struct segq *q, const void *p, size_t n)
{
    if (n == 0) {
        return;
    }
    if (q->open != NULL) {
        struct seg *last = seg_at(q, q->n - 1);

        if (q->open->len - last->end >= n) {
            memcpy(q->open->data + last->end, p, n);
            last->end += n;
            q->bytes += n;
            return;
        }
    }
    q->open = buf_new(MAX(n, (size_t)(q->bytes == 0 ? CHUNK_MIN : CHUNK_MAX)));
    memcpy(q->open->data, p, n);
    push(q, (struct seg){q->open, 0, n});
}

void segq_append_buf(struct segq *q, struct buf *buf_consume, size_t at)
{
    decree_assert(at <= buf_consume->len);
    if (at == buf_consume->len) {
        buf_unref(buf_consume);
        return;
    }
    q->open = NULL;
    push(q, (struct seg){buf_consume, at, buf_consume->len});
}

static void pop_front(struct segq *q)
{
    buf_unref(seg_at(q, 0)->buf);
    q->head = (q->head + 1) & (q->cap - 1);
    if (--q->n == 0) {
        q->open = NULL;
    }
}

void segq_consume(struct segq *q, size_t n)
{
    decree_assert(n <= q->bytes);
    q->bytes -= n;
    while (n > 0) {
        struct seg *first = seg_at(q, 0);
        size_t part = MIN(n, first->end - first->at);

        first->at += part;
        n -= part;
        if (first->at == first->end) {
            pop_front(q);
        }
    }
}

void segq_move(struct segq *to, struct segq *from, size_t n)
{
    decree_assert(n <= from->bytes);
    while (n > 0) {
        struct seg *first = seg_at(from, 0);
        size_t part = MIN(n, first->end - first->at);

        if (part <= COPY_MAX) {
            segq_append(to, first->buf->data + first->at, part);
        } else {
            to->open = NULL;
            push(to, (struct seg){buf_ref(first->buf), first->at, first->at + part});
        }
        segq_consume(from, part);
        n -= part;
    }
}

unsigned segq_views(const struct segq *q, uv_buf_t *views, unsigned max)
{
    unsigned n = (unsigned)MIN(q->n, (size_t)max);

    for (unsigned i = 0; i < n; i++) {
        struct seg *s = seg_at(q, i);

        views[i] = uv_buf_init((char *)s->buf->data + s->at, (unsigned)(s->end - s->at));
    }
    return n;
}
