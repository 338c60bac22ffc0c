#include "exchange.h"

#include <ctype.h>

#include "api_impl.h"
#include "route.h"
#include "rpc.h"
#include "watch_stream.h"

enum { ARENA_KEEP_MAX = 8 * 1024, IN_KEEP_MAX = 4 * 1024 };

static void on_deadline(struct deadline *d);

/* Fresh, but for the memory that it keeps from its last life. */
static void exchange_reset(struct exchange *ex)
{
    struct arena arena = ex->arena;
    struct strbuf in = ex->in;
    struct segq out = ex->out;

    memset(ex, 0, sizeof(*ex));
    ex->arena = arena;
    ex->in = in;
    ex->out = out;
    list_init(&ex->link);
    list_init(&ex->throttled);
    list_init(&ex->rpc.queue_link);
    deadline_init(&ex->deadline, on_deadline);
}

struct exchange *exchange_new(struct conn *conn, const struct transport *transport)
{
    struct api *api = conn->api;
    struct exchange *ex;

    if (api->n_exchanges >= REQUESTS_MAX) {
        api->counters.refused_requests++;
        return NULL;
    }
    if (!list_empty(&api->pool)) {
        ex = list_entry(api->pool.next, struct exchange, link);
        list_del(&ex->link);
        api->n_pool--;
    } else {
        ex = xcalloc(1, sizeof(*ex));
        exchange_reset(ex);
        arena_init(&ex->arena, MESSAGE_BYTES_MAX + DECODE_BYTES_EXTRA);
    }
    ex->conn = conn;
    ex->api = api;
    ex->transport = transport;
    ex->in_max = MESSAGE_BYTES_MAX;
    api->n_exchanges++;
    conn->turn_requests++;
    list_add_tail(&conn->exchanges, &ex->link);
    return ex;
}

/* Keeps the sums over all queues right after `out` or the parts of a reply have changed. */
static void count_out(struct exchange *ex)
{
    size_t held = ex->out.bytes + ex->rpc.parts.elements.bytes;

    ex->conn->out_bytes += held - ex->out_counted;
    if (ex->is_watch) {
        ex->api->watch_bytes += held - ex->out_counted;
        ex->conn->watch_bytes += held - ex->out_counted;
        watch_streams_drained(ex->conn);
    } else {
        ex->api->out_bytes += held - ex->out_counted;
    }
    ex->out_counted = held;
    if (!list_empty(&ex->api->large_waiting) && api_takes_large(ex->api)) {
        struct rpc *rpc = list_entry(ex->api->large_waiting.next, struct rpc, queue_link);

        rpc_resume(container_of(rpc, struct exchange, rpc)); /* it only asks the store */
    }
}

void exchange_count(struct exchange *ex)
{
    count_out(ex);
}

static void set_in_len(struct exchange *ex, size_t len)
{
    if (ex->in.len == len) {
        return;
    }
    ex->api->in_bytes -= ex->in.len - len;
    ex->conn->in_bytes -= ex->in.len - len;
    ex->in.len = len;
    if (ex->transport->room != NULL) {
        ex->transport->room(ex->conn);
    }
}

void exchange_free(struct exchange *ex)
{
    struct api *api = ex->api;

    /* The service hears of it unless it has said its last word; what is set up for a call is let
     * go in any case. */
    if (ex->service != NULL) {
        ex->service->gone(ex);
    }
    deadline_drop(&ex->deadline);
    list_del(&ex->link);
    list_del(&ex->rpc.queue_link);
    list_del(&ex->throttled);
    segq_clear(&ex->out);
    count_out(ex);
    set_in_len(ex, 0);
    api->n_exchanges--;
    if (ex->arena.used > ARENA_KEEP_MAX) {
        arena_deinit(&ex->arena);
    } else {
        arena_reset(&ex->arena);
    }
    if (ex->in.cap > IN_KEEP_MAX) {
        strbuf_deinit(&ex->in);
    }
    if (api->n_pool >= REQUESTS_POOLED_MAX || api->state == API_CLOSING) {
        arena_deinit(&ex->arena);
        strbuf_deinit(&ex->in);
        segq_deinit(&ex->out);
        free(ex);
        return;
    }
    exchange_reset(ex);
    list_add_head(&api->pool, &ex->link);
    api->n_pool++;
}

/* ---- the request ---- */

static bool equals(struct bytes b, const char *s)
{
    return b.len == strlen(s) && memcmp(b.data, s, b.len) == 0;
}

static bool equals_nocase(struct bytes b, const char *s)
{
    return b.len == strlen(s) && strncasecmp((const char *)b.data, s, b.len) == 0;
}

static bool starts_with(struct bytes b, const char *s)
{
    return bytes_starts_with(b, bytes_str(s));
}

void exchange_header(struct exchange *ex, struct bytes name, struct bytes value)
{
    struct bytes *slot = NULL;

    if (equals(name, "content-type")) {
        slot = &ex->content_type;
    } else if (equals(name, ":authority") || equals(name, "host")) {
        slot = &ex->host;
    } else if (equals(name, "origin")) {
        slot = &ex->origin;
    } else if (equals(name, "sec-fetch-site")) {
        slot = &ex->fetch_site;
    } else if (equals(name, "grpc-timeout")) {
        slot = &ex->grpc_timeout;
    } else if (equals(name, "grpc-encoding")) {
        slot = &ex->grpc_encoding;
    } else if (equals(name, "hasleader")) {
        ex->has_leader = equals(value, "true");
    } else if (equals(name, "expect")) {
        ex->expects_continue = equals_nocase(value, "100-continue");
    }
    if (slot != NULL) {
        *slot = arena_copy(&ex->arena, value);
    }
}

void exchange_target(struct exchange *ex, struct bytes target)
{
    struct bytes copy = arena_copy(&ex->arena, target);
    const uint8_t *mark = copy.len != 0 ? memchr(copy.data, '?', copy.len) : NULL;

    ex->path = copy;
    if (mark != NULL) {
        ex->path.len = (size_t)(mark - copy.data);
        ex->query = bytes_make(mark + 1, copy.len - ex->path.len - 1);
    }
}

void exchange_route(struct exchange *ex)
{
    const char *type = "application/grpc";

    /* "application/grpc", "+proto" or ";…" behind it; "-web" is another protocol. */
    ex->is_grpc = ex->stream_id != 0 && starts_with(ex->content_type, type) &&
        (ex->content_type.len == strlen(type) ||
            strchr("+; ", ex->content_type.data[strlen(type)]) != NULL);
    deadline_set(&ex->api->deadlines, &ex->deadline, BODY_TIMEOUT_MS);
    ex->service = route(ex);
    ex->service->start(ex);
}

void exchange_input(struct exchange *ex, struct bytes b)
{
    if (ex->done || ex->service == NULL) {
        return;
    }
    if (ex->api->in_bytes + b.len > BODY_BYTES_TOTAL_MAX ||
        ex->conn->in_bytes + b.len > BODY_BYTES_CONN_MAX) {
        log_warn("request refused, too many bytes of requests are waiting peer=%s", ex->conn->peer);
        ex->api->counters.refused_requests++;
        if (ex->service->overloaded != NULL) {
            ex->service->overloaded(ex);
        } else {
            ex->transport->abort(ex);
        }
        return;
    }
    ex->api->in_bytes += b.len;
    ex->conn->in_bytes += b.len;
    strbuf_append_bytes(&ex->in, b);
    ex->service->input(ex);
}

void exchange_input_end(struct exchange *ex)
{
    ex->in_done = true;
    if (!ex->done && ex->service != NULL) {
        ex->service->input(ex);
    }
}

void exchange_take(struct exchange *ex, size_t n)
{
    decree_assert(n <= ex->in.len);
    if (n != 0 && n < ex->in.len) {
        memmove(ex->in.data, ex->in.data + n, ex->in.len - n);
    }
    set_in_len(ex, ex->in.len - n);
}

/* Only what has no deadline of its own by then: rpc.c moves it to the call's. */
static void on_deadline(struct deadline *d)
{
    struct exchange *ex = container_of(d, struct exchange, deadline);

    if (ex->done) {
        ex->transport->abort(ex); /* answered long ago, and the client does not end */
        return;
    }
    if (ex->service->expired != NULL && ex->service->expired(ex)) {
        return;
    }
    log_info(
        "request was not complete in time peer=%s limit_ms=%d", ex->conn->peer, BODY_TIMEOUT_MS);
    ex->transport->abort(ex);
}

/* ---- the answer ---- */

void exchange_respond(struct exchange *ex, int status, const char *content_type)
{
    decree_assert(!ex->responded);
    ex->responded = true;
    ex->status = status;
    ex->content_type_out = content_type;
    ex->transport->respond(ex);
}

void exchange_wake(struct exchange *ex)
{
    count_out(ex);
    ex->transport->wake(ex);
}

void exchange_done(struct exchange *ex)
{
    decree_assert(!ex->done && ex->responded);
    ex->done = true;
    deadline_drop(&ex->deadline);
    set_in_len(ex, 0);
    exchange_wake(ex);
}

void exchange_page(struct exchange *ex, int status, const char *content_type, struct bytes body)
{
    segq_append(&ex->out, body.data, body.len);
    count_out(ex);
    ex->done = true;
    deadline_drop(&ex->deadline);
    set_in_len(ex, 0);
    exchange_respond(ex, status, content_type);
}

void exchange_pulled(struct exchange *ex)
{
    count_out(ex);
    if (ex->out.bytes <= WATCH_OUTPUT_LOW && !ex->done && ex->service->drained != NULL) {
        ex->service->drained(ex);
    }
}
