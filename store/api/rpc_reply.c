/* What goes back to the client of a call: messages, and the end. */
#include "rpc_reply.h"

#include "api_impl.h"
#include "encode.h"
#include "grpc_text.h"
#include "rpc.h"
#include "rpc_parts.h"
#include "snapshot_stream.h"
#include "watch_stream.h"

size_t rpc_method_index(const struct method *m)
{
    return (size_t)(m - methods);
}

/* ---- ending ---- */

void rpc_count_end(struct exchange *ex, int status)
{
    decree_assert(status >= 0 && status < GRPC_CODES);
    if (ex->rpc.method != NULL) {
        ex->api->counters.methods[rpc_method_index(ex->rpc.method)].handled[status]++;
    }
}

static const char *arena_text(struct exchange *ex, struct strbuf *text)
{
    struct bytes copy = arena_copy(&ex->arena, strbuf_bytes(text));

    return copy.data != NULL ? (const char *)copy.data : "out of request memory";
}

static void end_grpc(struct exchange *ex, int status, const char *text)
{
    _cleanup_strbuf_ struct strbuf message = {0};

    ex->grpc_status = status;
    if (text != NULL && *text != '\0') {
        grpc_percent_encode(&message, bytes_str(text));
        ex->grpc_message = arena_text(ex, &message);
    }
    if (!ex->responded) {
        exchange_respond(ex, 200, "application/grpc");
    }
    exchange_done(ex);
}

static void end_json(struct exchange *ex, int status, const char *text)
{
    _cleanup_strbuf_ struct strbuf body = {0};

    if (!ex->responded) {
        if (status == GRPC_OK) {
            exchange_page(ex, 200, "application/json", (struct bytes){0});
            return;
        }
        json_error_body(&body, status, text);
        exchange_page(ex, err_http_status(status), "application/json", strbuf_bytes(&body));
        return;
    }
    if (status != GRPC_OK) {
        json_stream_error(&body, status, text);
        segq_append(&ex->out, body.data, body.len);
    }
    exchange_done(ex);
}

void rpc_set_calling(struct exchange *ex, bool calling)
{
    struct rpc *rpc = &ex->rpc;

    decree_assert(rpc->calling != calling);
    rpc->calling = calling;
    if (calling) {
        conn_call_begins(ex->conn, rpc->call_bytes);
    } else {
        conn_call_ends(ex->conn, rpc->call_bytes);
    }
}

void rpc_let_go(struct exchange *ex)
{
    struct rpc *rpc = &ex->rpc;

    if (rpc->calling) {
        rpc_set_calling(ex, false);
        store_cancel(ex->api->store, &rpc->call);
    }
    if (rpc->watch != NULL) {
        rpc->watch = watch_stream_free(rpc->watch);
    }
    rpc->snapshot = snapshot_stream_free(rpc->snapshot);
    list_del(&rpc->queue_link);
    arena_deinit(&rpc->message);
    rpc_parts_drop(ex);
}

void rpc_end(struct exchange *ex, int grpc_status, const char *text)
{
    decree_assert(!ex->done);
    rpc_let_go(ex);
    rpc_count_end(ex, grpc_status);
    if (ex->rpc.json) {
        end_json(ex, grpc_status, text);
    } else {
        end_grpc(ex, grpc_status, text);
    }
}

void rpc_fail(struct exchange *ex, int code)
{
    rpc_end(ex, err_grpc_status(code), err_text(code));
}

/* ---- sending ---- */

void rpc_count_sent(struct exchange *ex, size_t bytes)
{
    ex->api->counters.methods[rpc_method_index(ex->rpc.method)].sent++;
    ex->api->counters.sent_bytes += bytes;
}

void rpc_put_prefix(struct pbw *w, size_t len)
{
    uint8_t prefix[RPC_PREFIX_BYTES] = {
        0, (uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len};

    pbw_raw(w, bytes_make(prefix, sizeof(prefix)));
}

static void send_grpc(struct exchange *ex, struct pbw *w, struct buf *const *list, size_t n)
{
    size_t len = pbw_size(w), at;
    struct buf *head;

    for (size_t i = 0; i < n; i++) {
        len += list[i]->len;
    }
    rpc_put_prefix(w, len);
    head = pbw_take(w, &at);
    if (n == 0) {
        segq_append_buf(&ex->out, head, at);
    } else {
        segq_append(&ex->out, head->data + at, head->len - at);
        buf_unref(head);
    }
    for (size_t i = 0; i < n; i++) {
        if (list[i]->len <= 1024) {
            segq_append(&ex->out, list[i]->data, list[i]->len);
        } else {
            segq_append_buf(&ex->out, buf_ref(list[i]), 0);
        }
    }
    rpc_count_sent(ex, len + RPC_PREFIX_BYTES);
}

static void json_list(struct segq *out, const char *name, struct buf *const *list, size_t n)
{
    segq_append_str(out, "\"");
    segq_append_str(out, name);
    segq_append_str(out, "\":[");
    for (size_t i = 0; i < n; i++) {
        if (i > 0) {
            segq_append_str(out, ",");
        }
        if (list[i]->len <= 1024) {
            segq_append(out, list[i]->data, list[i]->len);
        } else {
            segq_append_buf(out, buf_ref(list[i]), 0);
        }
    }
    segq_append_str(out, "]");
}

static void send_json(
    struct exchange *ex, struct pbw *w, const char *name, struct buf *const *list, size_t n)
{
    const struct method *m = ex->rpc.method;
    _cleanup_strbuf_ struct strbuf text = {0};
    bool any;

    if (method_streams_replies(m)) {
        strbuf_append_str(&text, "{\"result\":");
    }
    strbuf_append_char(&text, '{');
    any = json_fields_from_proto(m->response, pbw_view(w), &text);
    pbw_deinit(w);
    if (n != 0 && any) {
        strbuf_append_char(&text, ',');
    }
    rpc_count_sent(ex, text.len);
    if (!method_streams_replies(m)) {
        decree_assert(n == 0);
        strbuf_append_char(&text, '}');
        rpc_let_go(ex);
        exchange_page(ex, 200, "application/json", strbuf_bytes(&text));
        return;
    }
    segq_append(&ex->out, text.data, text.len);
    if (n != 0) {
        json_list(&ex->out, name, list, n);
    }
    segq_append_str(&ex->out, "}}\n");
}

void rpc_send_parts(
    struct exchange *ex, struct pbw *w, const char *name, struct buf *const *list, size_t n)
{
    decree_assert(!ex->done);
    if (!method_streams_replies(ex->rpc.method) && ex->rpc.json) {
        rpc_count_end(ex, GRPC_OK);
        send_json(ex, w, name, list, n);
        return;
    }
    if (!ex->responded) {
        exchange_respond(ex, 200, ex->rpc.json ? "application/json" : "application/grpc");
    }
    if (ex->rpc.json) {
        send_json(ex, w, name, list, n);
    } else {
        send_grpc(ex, w, list, n);
    }
    if (method_streams_replies(ex->rpc.method)) {
        exchange_wake(ex);
    } else {
        rpc_end(ex, GRPC_OK, NULL);
    }
}

void rpc_send(struct exchange *ex, struct pbw *w)
{
    rpc_send_parts(ex, w, NULL, NULL, 0);
}
