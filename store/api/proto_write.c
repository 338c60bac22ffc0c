#include "proto_write.h"

enum { PBW_MIN = 128, VARINT_MAX = 10, WIRE_BYTES = 2 };

void pbw_init(struct pbw *w, size_t expect)
{
    *w = (struct pbw){.buf = buf_new(MAX(expect, (size_t)PBW_MIN))};
    w->at = w->buf->len;
}

void pbw_deinit(struct pbw *w)
{
    w->buf = buf_unref(w->buf);
}

struct buf *pbw_take(struct pbw *w, size_t *ret_offset)
{
    *ret_offset = w->at;
    return TAKE_PTR(w->buf);
}

static uint8_t *reserve(struct pbw *w, size_t n)
{
    if (w->at < n) {
        size_t size = pbw_view(w).len;
        struct buf *bigger = buf_new(MAX((size_t)w->buf->len * 2, size + n + PBW_MIN));

        memcpy(bigger->data + bigger->len - size, w->buf->data + w->at, size);
        buf_unref(w->buf);
        w->buf = bigger;
        w->at = bigger->len - size;
    }
    w->at -= n;
    return w->buf->data + w->at;
}

void pbw_raw(struct pbw *w, struct bytes b)
{
    if (b.len != 0) {
        memcpy(reserve(w, b.len), b.data, b.len);
    }
}

void pbw_varint(struct pbw *w, uint64_t v)
{
    uint8_t bytes[VARINT_MAX];
    size_t n = 0;

    while (v >= 0x80) {
        bytes[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    bytes[n++] = (uint8_t)v;
    memcpy(reserve(w, n), bytes, n);
}

static void tag(struct pbw *w, unsigned field, unsigned wire)
{
    pbw_varint(w, (uint64_t)field << 3 | wire);
}

void pbw_u64(struct pbw *w, unsigned field, uint64_t v)
{
    if (v != 0) {
        pbw_varint(w, v);
        tag(w, field, 0);
    }
}

void pbw_bytes_item(struct pbw *w, unsigned field, struct bytes b)
{
    pbw_raw(w, b);
    pbw_varint(w, b.len);
    tag(w, field, WIRE_BYTES);
}

void pbw_bytes(struct pbw *w, unsigned field, struct bytes b)
{
    if (b.len != 0) {
        pbw_bytes_item(w, field, b);
    }
}

void pbw_message(struct pbw *w, unsigned field, size_t mark)
{
    decree_assert(pbw_size(w) >= mark);
    pbw_varint(w, pbw_size(w) - mark);
    tag(w, field, WIRE_BYTES);
}

void pbw_set_gaps(struct pbw *w, struct pbw_gap *gaps, size_t n, bool marked)
{
    w->gaps = gaps;
    w->n_gaps = n;
    w->marked = marked;
}

void pbw_gap(struct pbw *w, unsigned field)
{
    struct pbw_gap *gap;

    decree_assert(w->n_gaps > 0);
    gap = &w->gaps[--w->n_gaps];
    decree_assert(gap->bytes == 0 || gap->field == field);
    gap->field = field;
    gap->at = pbw_view(w).len; /* from the end, until its beginning is known */
    if (gap->bytes == 0) {
        return;
    }
    if (w->marked) {
        pbw_varint(w, w->n_gaps);
        tag(w, field, PBW_MARK);
    } else {
        w->elsewhere += gap->bytes;
    }
}

void pbw_place_gaps(const struct pbw *w, struct pbw_gap *gaps, size_t n)
{
    decree_assert(w->n_gaps == 0);
    for (size_t i = 0; i < n; i++) {
        gaps[i].at = pbw_view(w).len - gaps[i].at;
    }
}
