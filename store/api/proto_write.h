/* Writes protobuf from the last byte to the first. A nested message's length stands before it; by
 * writing backwards it is known when its turn comes, so there is no second pass over the data and
 * no tree of objects. Fields are therefore written in descending order. Zero values are left out,
 * as proto3 does. */
#ifndef DECREE_STORE_API_PROTO_WRITE_H
#define DECREE_STORE_API_PROTO_WRITE_H

#include "buf.h"

struct pbw {
    struct buf *buf; /* owned until pbw_take */
    size_t at;       /* buf->data[at..len) is what has been written */
};

/* expect: about how many bytes will come; it grows when that was too little. */
void pbw_init(struct pbw *w, size_t expect);
void pbw_deinit(struct pbw *w);
/* The buffer, now the caller's; the bytes begin at *ret_offset and end with it. */
struct buf *pbw_take(struct pbw *w, size_t *ret_offset);

static inline size_t pbw_size(const struct pbw *w)
{
    return w->buf->len - w->at;
}
static inline struct bytes pbw_view(const struct pbw *w)
{
    return bytes_make(w->buf->data + w->at, pbw_size(w));
}

void pbw_raw(struct pbw *w, struct bytes b);
void pbw_varint(struct pbw *w, uint64_t v);
void pbw_u64(struct pbw *w, unsigned field, uint64_t v);
static inline void pbw_i64(struct pbw *w, unsigned field, int64_t v)
{
    pbw_u64(w, field, (uint64_t)v);
}
static inline void pbw_bool(struct pbw *w, unsigned field, bool v)
{
    pbw_u64(w, field, v ? 1 : 0);
}
void pbw_bytes(struct pbw *w, unsigned field, struct bytes b);
/* An element of a repeated field: written even when it is empty. */
void pbw_bytes_item(struct pbw *w, unsigned field, struct bytes b);
/* Closes the message that began when pbw_size was `mark`: its length and its tag go in front. */
void pbw_message(struct pbw *w, unsigned field, size_t mark);

#endif
