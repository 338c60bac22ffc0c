#include "rpc_parts.h"

#include "api_impl.h"

void rpc_parts_begin(struct exchange *ex, size_t expected)
{
    struct rpc *rpc = &ex->rpc;

    decree_assert(!rpc->large);
    reply_parts_init(&rpc->parts, rpc->call.kind, rpc->json ? rpc->method->response : NULL);
    rpc->large = true;
    rpc->parts_expected = expected;
    ex->api->large_bytes += expected;
    ex->api->n_large++;
    if (ex->conn->large == NULL) {
        ex->conn->large = ex;
    }
}

void rpc_parts_add(struct exchange *ex, const struct store_part *part)
{
    reply_parts_add(&ex->rpc.parts, part);
    exchange_count(ex);
}

size_t rpc_parts_finish(struct exchange *ex, const struct store_reply *reply)
{
    size_t before = ex->out.bytes;

    reply_parts_finish(&ex->rpc.parts, reply, &ex->out);
    exchange_count(ex);
    return ex->out.bytes - before;
}

void rpc_parts_drop(struct exchange *ex)
{
    struct rpc *rpc = &ex->rpc;

    if (rpc->large) {
        rpc->large = false;
        ex->api->large_bytes -= rpc->parts_expected;
        ex->api->n_large--;
        conn_mark_dirty(ex->conn); /* the next one may begin */
    }
    if (ex->conn->large == ex) {
        ex->conn->large = NULL;
    }
    reply_parts_deinit(&rpc->parts);
    exchange_count(ex);
}
