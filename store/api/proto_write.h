/* Writes protobuf from the last byte to the first. A nested message's length stands before it; by
 * writing backwards it is known when its turn comes, so there is no second pass over the data and
 * no tree of objects. Fields are therefore written in descending order. Zero values are left out,
 * as proto3 does.
 *
 * Lists whose elements are written already, elsewhere, are gaps in what is written here: the
 * lengths of the messages around them count the elements, which come in when it is sent. */
#ifndef DECREE_STORE_API_PROTO_WRITE_H
#define DECREE_STORE_API_PROTO_WRITE_H

#include "buf.h"

struct pbw_gap {
    size_t bytes;   /* of the elements; 0: an empty list, of which there is no sign on the wire */
    size_t at;      /* where they belong: behind so many of the bytes that are written here */
    unsigned field; /* which list of its message it is */
};

/* Wire type that no message has. */
enum { PBW_MARK = 7 };

struct pbw {
    struct buf *buf;      /* owned until pbw_take */
    size_t at;            /* buf->data[at..len) is what has been written */
    size_t elsewhere;     /* bytes of the gaps among it */
    struct pbw_gap *gaps; /* borrowed… */
    size_t n_gaps;        /* …of which the first so many are still to be left, last one first */
    bool marked;
};

/* expect: about how many bytes will come; it grows when that was too little. */
void pbw_init(struct pbw *w, size_t expect);
void pbw_deinit(struct pbw *w);
/* The buffer, now the caller's; the bytes begin at *ret_offset and end with it. */
struct buf *pbw_take(struct pbw *w, size_t *ret_offset);

/* The bytes that are here, without those that belong in the gaps. */
static inline struct bytes pbw_view(const struct pbw *w)
{
    return bytes_make(w->buf->data + w->at, w->buf->len - w->at);
}
/* Of the message as it will be sent. */
static inline size_t pbw_size(const struct pbw *w)
{
    return pbw_view(w).len + w->elsewhere;
}

/* The gaps that the message will have, in the order in which it has them; they are the caller's and
 * must stay. `marked`: their elements are not protobuf's, so they count for nothing; a mark (the
 * list's field with wire type PBW_MARK, the gap's index) stands in the place of each that has any.
 */
void pbw_set_gaps(struct pbw *w, struct pbw_gap *gaps, size_t n, bool marked);
/* The next one: a list of that field. */
void pbw_gap(struct pbw *w, unsigned field);
/* All are left, and nothing more will be written: says where each is (not of marks). */
void pbw_place_gaps(const struct pbw *w, struct pbw_gap *gaps, size_t n);

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
