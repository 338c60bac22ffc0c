#include "rpc_parts.h"

#include "api_impl.h"
#include "encode.h"
#include "rpc.h"

static void add_grpc(struct segq *parts, const struct kv *kvs, size_t n)
{
    struct buf *b;
    struct pbw w;
    size_t at;

    pbw_init(&w, encode_kvs_estimate(kvs, n));
    encode_kvs(&w, kvs, n);
    b = pbw_take(&w, &at);
    segq_append_buf(parts, b, at);
}

/* By way of the wire form, as every reply: "kvs":[…] without what is around the elements. */
static void add_json(struct exchange *ex, const struct kv *kvs, size_t n)
{
    static const char begin[] = "\"kvs\":[";
    struct segq *parts = &ex->rpc.parts;
    _cleanup_strbuf_ struct strbuf text = {0};
    size_t skip = sizeof(begin) - 1;
    struct buf *elements;
    struct pbw w;

    pbw_init(&w, encode_kvs_estimate(kvs, n));
    encode_kvs(&w, kvs, n);
    (void)json_fields_from_proto(ex->rpc.method->response, pbw_view(&w), &text);
    pbw_deinit(&w);
    decree_assert(text.len > skip && memcmp(text.data, begin, skip) == 0);
    elements = buf_copy(bytes_make(text.data + skip, text.len - skip - 1));
    if (parts->bytes != 0) {
        segq_append_str(parts, ",");
    }
    segq_append_buf(parts, elements, 0);
}

void rpc_parts_add(struct exchange *ex, const struct kv *kvs, size_t n)
{
    if (n == 0) {
        return;
    }
    if (ex->rpc.json) {
        add_json(ex, kvs, n);
    } else {
        add_grpc(&ex->rpc.parts, kvs, n);
    }
    exchange_count(ex);
}

static void finish_grpc(struct exchange *ex, const struct store_reply *reply)
{
    struct segq *parts = &ex->rpc.parts;
    struct pbw head, tail;

    pbw_init(&tail, 0);
    encode_range_end(&tail, &reply->range);
    pbw_init(&head, 0);
    encode_header(&head, &reply->header);
    rpc_put_prefix(&head, pbw_size(&head) + parts->bytes + pbw_size(&tail));
    segq_append(&ex->out, pbw_view(&head).data, pbw_size(&head));
    segq_move(&ex->out, parts, parts->bytes);
    segq_append(&ex->out, pbw_view(&tail).data, pbw_size(&tail));
    pbw_deinit(&head);
    pbw_deinit(&tail);
}

/* The fields of a message without its braces. */
static void append_fields(struct exchange *ex, struct pbw *w)
{
    _cleanup_strbuf_ struct strbuf text = {0};

    (void)json_fields_from_proto(ex->rpc.method->response, pbw_view(w), &text);
    segq_append(&ex->out, text.data, text.len);
    pbw_deinit(w);
}

static void finish_json(struct exchange *ex, const struct store_reply *reply)
{
    struct segq *parts = &ex->rpc.parts;
    struct pbw w;

    segq_append_str(&ex->out, "{");
    pbw_init(&w, 0);
    encode_header(&w, &reply->header);
    append_fields(ex, &w);
    segq_append_str(&ex->out, ",\"kvs\":[");
    segq_move(&ex->out, parts, parts->bytes);
    segq_append_str(&ex->out, "],");
    pbw_init(&w, 0);
    encode_range_end(&w, &reply->range); /* never nothing: there are keys */
    append_fields(ex, &w);
    segq_append_str(&ex->out, "}");
}

size_t rpc_parts_finish(struct exchange *ex, const struct store_reply *reply)
{
    size_t before = ex->out.bytes;

    if (ex->rpc.json) {
        finish_json(ex, reply);
    } else {
        finish_grpc(ex, reply);
    }
    exchange_count(ex);
    return ex->out.bytes - before;
}

void rpc_parts_drop(struct exchange *ex)
{
    if (ex->conn->large == ex) {
        ex->conn->large = NULL;
        ex->api->large_bytes -= ex->rpc.parts_expected;
        ex->api->n_large--;
        conn_mark_dirty(ex->conn); /* the next one may begin */
    }
    segq_deinit(&ex->rpc.parts);
    exchange_count(ex);
}
