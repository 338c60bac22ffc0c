#include "reply_parts.h"

#include "encode.h"
#include "json_proto.h"
#include "rpc.h"
#include "rpc.pb-c.h"

void reply_parts_init(
    struct reply_parts *p, enum store_kind kind, const ProtobufCMessageDescriptor *json)
{
    decree_assert(p->n_gaps == 0 && p->elements.bytes == 0);
    p->kind = kind;
    p->json = json;
}

void reply_parts_deinit(struct reply_parts *p)
{
    segq_deinit(&p->elements);
    free(p->gaps);
    *p = (struct reply_parts){0};
}

/* Gaps for n lists; those that are new are empty. */
static void reserve(struct reply_parts *p, size_t n)
{
    if (n > p->cap) {
        p->cap = MAX(n, p->cap * 2);
        p->gaps = xreallocarray(p->gaps, p->cap, sizeof(*p->gaps));
    }
    while (p->n_gaps < n) {
        p->gaps[p->n_gaps++] = (struct pbw_gap){0};
    }
}

/* ---- elements ---- */

static unsigned field_of(const struct store_part *part)
{
    return part->prevs ? ENCODE_PREV_KVS : ENCODE_KVS;
}

static struct buf *grpc_elements(unsigned field, const struct store_part *part, size_t *ret_at)
{
    struct pbw w;

    pbw_init(&w, encode_kvs_estimate(part->kvs, part->n));
    encode_kvs(&w, field, part->kvs, part->n);
    return pbw_take(&w, ret_at);
}

/* By way of the wire form, as every reply: "kvs":[…] without what is around the elements, which
 * are the same in every list. */
static struct buf *json_elements(const struct store_part *part, bool first)
{
    static const char begin[] = "\"kvs\":[";
    _cleanup_strbuf_ struct strbuf text = {0};
    size_t skip = sizeof(begin) - 1 - !first, at;
    _cleanup_buf_ struct buf *wire = grpc_elements(ENCODE_KVS, part, &at);

    (void)json_fields_from_proto(&etcdserverpb__range_response__descriptor,
        bytes_make(wire->data + at, wire->len - at), &text);
    decree_assert(text.len > sizeof(begin) && memcmp(text.data, begin, sizeof(begin) - 1) == 0);
    if (!first) {
        text.data[skip] = ',';
    }
    return buf_copy(bytes_make(text.data + skip, text.len - skip - 1));
}

void reply_parts_add(struct reply_parts *p, const struct store_part *part)
{
    struct pbw_gap *gap;
    size_t at = 0;
    struct buf *b;

    decree_assert(part->op + 1 >= p->n_gaps); /* lists come one after the other */
    reserve(p, part->op + 1);
    if (part->n == 0) {
        return;
    }
    gap = &p->gaps[part->op];
    b = p->json != NULL ? json_elements(part, gap->bytes == 0)
                        : grpc_elements(field_of(part), part, &at);
    decree_assert(gap->bytes == 0 || gap->field == field_of(part));
    gap->field = field_of(part);
    gap->bytes += b->len - at;
    segq_append_buf(&p->elements, b, at); /* a segment of its own */
}

/* ---- what is around them ---- */

static struct buf *grpc_around(
    struct reply_parts *p, const struct store_reply *reply, size_t *ret_at)
{
    struct pbw w;

    pbw_init(&w, encode_reply_estimate(p->kind, reply));
    pbw_set_gaps(&w, p->gaps, p->n_gaps, false);
    encode_reply(&w, p->kind, reply);
    rpc_put_prefix(&w, pbw_size(&w));
    pbw_place_gaps(&w, p->gaps, p->n_gaps);
    return pbw_take(&w, ret_at);
}

static struct buf *json_around(struct reply_parts *p, const struct store_reply *reply)
{
    _cleanup_strbuf_ struct strbuf text = {0};
    struct pbw w;

    pbw_init(&w, encode_reply_estimate(p->kind, reply));
    pbw_set_gaps(&w, p->gaps, p->n_gaps, true);
    encode_reply(&w, p->kind, reply);
    json_from_proto_around(p->json, pbw_view(&w), p->gaps, &text);
    pbw_deinit(&w);
    return buf_copy(strbuf_bytes(&text));
}

static void put_together(struct reply_parts *p, struct segq *around, struct segq *out)
{
    size_t done = 0;

    for (size_t i = 0; i < p->n_gaps; i++) {
        const struct pbw_gap *gap = &p->gaps[i];

        if (gap->bytes != 0) {
            segq_move(out, around, gap->at - done);
            done = gap->at;
            segq_move(out, &p->elements, gap->bytes);
        }
    }
    segq_move(out, around, around->bytes);
    decree_assert(p->elements.bytes == 0);
}

void reply_parts_finish(struct reply_parts *p, const struct store_reply *reply, struct segq *out)
{
    struct store_reply around = *reply;
    struct segq bytes = {0};
    size_t at = 0;
    struct buf *b;

    if (p->kind == STORE_RANGE) {
        reply_parts_add(p, &(struct store_part){.kvs = reply->range.kvs, .n = reply->range.n_kvs});
        around.range.in_parts = true;
        around.range.n_kvs = 0;
    }
    decree_assert(p->n_gaps <= encode_gaps(p->kind, &around));
    reserve(p, encode_gaps(p->kind, &around));
    b = p->json != NULL ? json_around(p, &around) : grpc_around(p, &around, &at);
    segq_append_buf(&bytes, b, at);
    put_together(p, &bytes, out);
    segq_deinit(&bytes);
}
