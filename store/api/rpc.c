#include "rpc.h"

#include <stdio.h>

#include "api_impl.h"
#include "encode.h"
#include "grpc_text.h"
#include "health.pb-c.h"
#include "proto_guard.h"
#include "route.h"
#include "rpc_parts.h"
#include "rpc_reply.h"
#include "snapshot_stream.h"
#include "watch_stream.h"

static struct exchange *exchange_of(struct rpc *rpc)
{
    return container_of(rpc, struct exchange, rpc);
}

/* ---- store calls ---- */

static void serve_stream(struct exchange *ex);

static bool is_read(const struct store_call *call)
{
    switch (call->kind) {
    case STORE_RANGE:
    case STORE_LEASE_TTL:
    case STORE_LEASE_LIST:
    case STORE_MEMBER_LIST:
    case STORE_STATUS:
    case STORE_HASH:
    case STORE_HASH_KV:
        return true;
    case STORE_TXN:
        return txn_request_is_readonly(&call->txn);
    case STORE_ALARM:
        return call->alarm.action == STORE_ALARM_GET;
    default:
        return false;
    }
}

/* What may be asked of the store again when there was no room for the answer. */
static bool is_read_of_keys(const struct store_call *call)
{
    return (call->kind == STORE_RANGE || call->kind == STORE_TXN) && is_read(call);
}

/* A read that finds no room for its answer is done again when there is: reading later is as good.
 * Its call is not with the store. */
static void wait_for_room(struct exchange *ex, struct list *among)
{
    struct store_call *call = &ex->rpc.call;

    memset((char *)call + offsetof(struct store_call, link_), 0,
        sizeof(*call) - offsetof(struct store_call, link_));
    ex->rpc.waiting = ex->rpc.decoded = true;
    list_add_tail(among, &ex->rpc.queue_link);
}

/* Many small requests of one turn can have large answers. False: the answer may go out. */
static bool defer(struct exchange *ex, size_t bytes)
{
    struct store_call *call = &ex->rpc.call;
    struct conn *c = ex->conn;

    if (ex->rpc.large || !conn_is_full(c) || !is_read_of_keys(call)) {
        return false;
    }
    wait_for_room(ex, &c->waiting);
    c->deferred_bytes = MAX(c->deferred_bytes, bytes);
    return true;
}

/* False: no more answers may wait in this process, so the call has been ended. What it wrote stays
 * written, and the client is told that it may have been. */
static bool has_room(struct exchange *ex, size_t bytes)
{
    if (ex->api->out_bytes + bytes <= OUTPUT_BYTES_TOTAL_MAX) {
        return true;
    }
    ex->api->counters.refused_requests++;
    rpc_fail(ex, is_read(&ex->rpc.call) ? DECREE_ETOO_MANY_REQUESTS : DECREE_EREPLY_DROPPED);
    return false;
}

/* How much the whole reply will be, from its first keys. */
static size_t whole_estimate(const struct store_part *first)
{
    return first->n == 0 ? 0 : encode_kvs_estimate(first->kvs, first->n) / first->n * first->about;
}

/* What comes first makes this the connection's large reply. The call of a read waits instead where
 * the one before it is not through, or where this one and all others would be too much together:
 * false. A write must not be done again, so its reply goes ahead of what waits. */
static bool begin_parts(struct exchange *ex, const struct store_part *first)
{
    size_t expected = whole_estimate(first);
    struct api *api = ex->api;
    struct conn *c = ex->conn;
    bool fits = api->out_bytes + api->large_bytes + expected <= OUTPUT_BYTES_TOTAL_MAX;

    if ((c->large == NULL && !conn_is_full(c) && (fits || api_takes_large(api))) ||
        !is_read_of_keys(&ex->rpc.call)) {
        rpc_parts_begin(ex, expected);
        return true;
    }
    rpc_set_calling(ex, false);
    store_cancel(api->store, &ex->rpc.call);
    wait_for_room(ex, fits ? &c->waiting : &api->large_waiting);
    c->deferred_bytes = fits ? OUTPUT_BYTES_MAX : c->deferred_bytes;
    return false;
}

static bool on_part(struct store_call *call, const struct store_part *part)
{
    struct exchange *ex = exchange_of(container_of(call, struct rpc, call));

    decree_assert(ex->rpc.calling && !ex->done);
    if ((!ex->rpc.large && !begin_parts(ex, part)) ||
        !has_room(ex, encode_kvs_estimate(part->kvs, part->n))) {
        return false;
    }
    rpc_parts_add(ex, part);
    return true;
}

static void send_parts(struct exchange *ex, const struct store_reply *reply)
{
    rpc_count_sent(ex, rpc_parts_finish(ex, reply));
    if (ex->rpc.json) {
        rpc_count_end(ex, GRPC_OK);
        rpc_let_go(ex);
        exchange_page(ex, 200, "application/json", (struct bytes){0});
    } else {
        exchange_respond(ex, 200, "application/grpc");
        rpc_end(ex, GRPC_OK, NULL);
    }
}

static void on_reply(struct store_call *call, int status, const struct store_reply *reply)
{
    struct exchange *ex = exchange_of(container_of(call, struct rpc, call));
    size_t expect;
    struct pbw w;

    decree_assert(ex->rpc.calling && !ex->done);
    rpc_set_calling(ex, false);
    if (status < 0) {
        rpc_fail(ex, status);
        return;
    }
    expect = encode_reply_estimate(call->kind, reply);
    if (defer(ex, expect) || !has_room(ex, expect)) {
        return;
    }
    if (!ex->rpc.large && encode_gaps(call->kind, reply) > 0) {
        rpc_parts_begin(ex, expect); /* lists in parts of which none came: they are empty */
    }
    if (ex->rpc.large) {
        send_parts(ex, reply);
        return;
    }
    pbw_init(&w, expect + RPC_PREFIX_BYTES);
    encode_reply(&w, call->kind, reply);
    rpc_send(ex, &w);
    if (ex->rpc.method->kind == METHOD_KEEPALIVE) {
        serve_stream(ex);
    }
}

static void call_store(
    struct exchange *ex, const ProtobufCMessage *m, struct arena *arena, size_t message_bytes)
{
    struct rpc *rpc = &ex->rpc;
    int r;

    memset(&rpc->call, 0, sizeof(rpc->call));
    r = rpc->method->decode(m, arena, &rpc->call);
    if (r < 0) {
        rpc_fail(ex, r);
        return;
    }
    rpc->call.cb = on_reply;
    rpc->call.part = on_part;
    rpc->call_bytes = message_bytes;
    rpc_set_calling(ex, true);
    store_submit(ex->api->store, &rpc->call);
}

static void answer_health(struct exchange *ex, const ProtobufCMessage *m)
{
    const Grpc__Health__V1__HealthCheckRequest *request =
        (const Grpc__Health__V1__HealthCheckRequest *)m;
    struct pbw w;

    if (*request->service != '\0') { /* "" is the server as a whole */
        rpc_end(ex, GRPC_NOT_FOUND, "unknown service");
        return;
    }
    pbw_init(&w, 0);
    pbw_u64(&w, 1,
        store_has_leader(ex->api->store)
            ? GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
            : GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING);
    rpc_send(ex, &w);
}

/* ---- receiving ---- */

/* The message, or NULL after the call has been ended with what is wrong with the bytes. */
static ProtobufCMessage *decode_message(struct exchange *ex, struct bytes b, struct arena *arena)
{
    const struct method *method = ex->rpc.method;
    _cleanup_err_ struct err err = {0};
    ProtobufCMessage *m = NULL;
    int r;

    ex->api->counters.methods[rpc_method_index(method)].received++;
    ex->api->counters.received_bytes += b.len;
    if (ex->rpc.json) {
        r = json_to_proto(method->request, b, arena, &m, &err);
        if (r < 0) {
            rpc_end(ex, err_grpc_status(r), err.text != NULL ? err.text : err_text(r));
        }
        return m;
    }
    switch (proto_decode(method->request, b, arena, &m)) {
    case PROTO_OK:
        return m;
    case PROTO_MALFORMED:
        rpc_end(ex, GRPC_INTERNAL, "grpc: error unmarshalling request: unexpected EOF");
        return NULL;
    case PROTO_TOO_DEEP:
        rpc_end(ex, GRPC_INVALID_ARGUMENT, "request is nested too deeply");
        return NULL;
    case PROTO_TOO_MANY:
        rpc_fail(ex, DECREE_ETOO_MANY_OPS);
        return NULL;
    }
    return NULL;
}

enum next { NEXT_MORE, NEXT_MESSAGE, NEXT_ENDED };

static enum next next_grpc(struct exchange *ex, struct bytes b, struct bytes *ret, size_t *ret_used)
{
    char text[128];
    size_t len;

    if (b.len < RPC_PREFIX_BYTES) {
        return NEXT_MORE;
    }
    len = (size_t)b.data[1] << 24 | (size_t)b.data[2] << 16 | (size_t)b.data[3] << 8 | b.data[4];
    if (b.data[0] != 0) {
        rpc_end(ex, b.data[0] == 1 ? GRPC_INTERNAL : GRPC_UNIMPLEMENTED,
            b.data[0] == 1 ? "grpc: compressed flag set with identity or empty encoding"
                           : "grpc: unexpected payload format");
        return NEXT_ENDED;
    }
    if (len > MESSAGE_BYTES_MAX) {
        (void)snprintf(text, sizeof(text), "grpc: received message larger than max (%zu vs. %d)",
            len, MESSAGE_BYTES_MAX);
        rpc_end(ex, GRPC_RESOURCE_EXHAUSTED, text);
        return NEXT_ENDED;
    }
    if (b.len - RPC_PREFIX_BYTES < len) {
        return NEXT_MORE;
    }
    *ret = bytes_make(b.data + RPC_PREFIX_BYTES, len);
    *ret_used = RPC_PREFIX_BYTES + len;
    return NEXT_MESSAGE;
}

static bool is_blank(struct bytes b)
{
    for (size_t i = 0; i < b.len; i++) {
        if (strchr(" \t\r\n", b.data[i]) == NULL || b.data[i] == '\0') {
            return false;
        }
    }
    return true;
}

/* Of a stream of JSON values; a unary request is its whole body. */
static enum next next_json(struct exchange *ex, struct bytes b, struct bytes *ret, size_t *ret_used)
{
    struct rpc *rpc = &ex->rpc;
    size_t used;

    if (!method_is_stream(rpc->method)) {
        *ret = b;
        *ret_used = b.len;
        return ex->in_done ? NEXT_MESSAGE : NEXT_MORE;
    }
    switch (json_scan(&rpc->scan, bytes_make(b.data + rpc->scanned, b.len - rpc->scanned), &used)) {
    case JSON_SCAN_VALUE:
        *ret = bytes_make(b.data, rpc->scanned + used);
        *ret_used = rpc->scanned + used;
        rpc->scanned = 0;
        return NEXT_MESSAGE;
    case JSON_SCAN_TOO_DEEP:
        rpc_end(ex, GRPC_INVALID_ARGUMENT, "JSON is nested too deeply");
        return NEXT_ENDED;
    case JSON_SCAN_MORE:
        break;
    }
    rpc->scanned = b.len;
    if (ex->in_done && !is_blank(b)) {
        rpc_end(ex, GRPC_INVALID_ARGUMENT, "unexpected EOF");
        return NEXT_ENDED;
    }
    return NEXT_MORE;
}

static enum next next_message(struct exchange *ex, size_t from, struct bytes *ret, size_t *ret_used)
{
    struct bytes b = bytes_make(ex->in.data + from, ex->in.len - from);

    return ex->rpc.json ? next_json(ex, b, ret, ret_used) : next_grpc(ex, b, ret, ret_used);
}

static void too_large(struct exchange *ex)
{
    char text[128];

    (void)snprintf(text, sizeof(text), "grpc: received message larger than max (%zu vs. %zu)",
        ex->in.len, ex->in_max);
    rpc_end(ex, GRPC_RESOURCE_EXHAUSTED, text);
}

/* A request's bytes are complete: from here to the store's answer only the client's own timeout
 * counts. */
static void arm_timeout(struct exchange *ex)
{
    int64_t timeout_ms = ex->grpc_timeout.len != 0 ? grpc_timeout_ms(ex->grpc_timeout) : 0;

    deadline_drop(&ex->deadline);
    if (timeout_ms > 0) {
        deadline_set(&ex->api->deadlines, &ex->deadline, (uint64_t)timeout_ms);
    }
}

/* The complete request, to the store. */
static void run_unary(struct exchange *ex, struct bytes message)
{
    size_t bytes = message.len;
    ProtobufCMessage *m = decode_message(ex, message, &ex->arena);

    if (m == NULL) {
        return;
    }
    exchange_take(ex, ex->in.len);
    if (ex->rpc.method->kind == METHOD_HEALTH) {
        answer_health(ex, m);
    } else if (ex->rpc.method->kind == METHOD_SNAPSHOT) {
        snapshot_stream_start(ex);
    } else {
        call_store(ex, m, &ex->arena, bytes);
    }
}

static void serve_unary(struct exchange *ex)
{
    struct rpc *rpc = &ex->rpc;
    struct bytes message;
    size_t used;

    if (rpc->received) {
        if (!rpc->waiting) {
            exchange_take(ex, ex->in.len); /* bytes behind the one message: nobody's */
        }
        return;
    }
    switch (next_message(ex, 0, &message, &used)) {
    case NEXT_ENDED:
        return;
    case NEXT_MORE:
        if (ex->in.len > ex->in_max) {
            too_large(ex);
        } else if (ex->in_done) {
            rpc_end(ex, ex->in.len == 0 ? GRPC_UNKNOWN : GRPC_INTERNAL,
                ex->in.len == 0 ? "EOF" : "unexpected EOF");
        }
        return;
    case NEXT_MESSAGE:
        break;
    }
    rpc->received = true;
    arm_timeout(ex);
    if (!list_empty(&ex->conn->queued) || !conn_may_call(ex->conn)) {
        rpc->waiting = true;
        list_add_tail(&ex->conn->queued, &rpc->queue_link);
        return;
    }
    run_unary(ex, message);
}

void rpc_resume(struct exchange *ex)
{
    struct bytes message;
    size_t used;

    decree_assert(ex->rpc.waiting && !ex->done);
    ex->rpc.waiting = false;
    list_del(&ex->rpc.queue_link);
    if (ex->rpc.decoded) {
        rpc_set_calling(ex, true);
        store_submit(ex->api->store, &ex->rpc.call);
        return;
    }
    if (next_message(ex, 0, &message, &used) == NEXT_MESSAGE) {
        run_unary(ex, message);
    }
}

static void serve_message(struct exchange *ex, struct bytes message)
{
    struct rpc *rpc = &ex->rpc;
    ProtobufCMessage *m;

    arena_deinit(&rpc->message);
    arena_init(&rpc->message, MESSAGE_BYTES_MAX + DECODE_BYTES_EXTRA);
    m = decode_message(ex, message, &rpc->message);
    if (m == NULL) {
        return;
    }
    if (rpc->method->kind == METHOD_WATCH) {
        watch_stream_request(rpc->watch, (const Etcdserverpb__WatchRequest *)m);
        arena_deinit(&rpc->message);
    } else {
        call_store(ex, m, &rpc->message, message.len);
    }
}

/* Every message that is complete; a keepalive waits for the answer to the one before it, and all
 * wait for a client that does not fetch the answers that it has. */
static void serve_stream(struct exchange *ex)
{
    size_t used = 0;

    while (!ex->done && !ex->rpc.calling && ex->out.bytes <= WATCH_OUTPUT_HIGH) {
        struct bytes message;
        enum next next;
        size_t n;

        next = next_message(ex, used, &message, &n);
        if (next == NEXT_MESSAGE) {
            used += n;
            serve_message(ex, message);
            continue;
        }
        if (next == NEXT_MORE && ex->in_done && ex->rpc.method->kind == METHOD_KEEPALIVE) {
            rpc_end(ex, GRPC_OK, NULL);
        }
        break;
    }
    if (ex->done) {
        return;
    }
    exchange_take(ex, used);
    if (ex->in.len > ex->in_max) {
        too_large(ex);
    }
}

/* ---- the service ---- */

/* What the headers alone tell to be wrong is answered when the request has ended, as there are
 * clients that lose an answer which comes before they have sent everything; but a stream may have
 * no end, so not later than LINGER_MS. */
static void refuse(struct exchange *ex, int status, const char *text)
{
    struct bytes copy = arena_copy(&ex->arena, bytes_str(text));

    ex->rpc.refusal = status;
    ex->rpc.refusal_text = copy.data != NULL ? (const char *)copy.data : "";
    deadline_set(&ex->api->deadlines, &ex->deadline, LINGER_MS);
}

/* A gRPC path, "/service/name", of which we have no such call. */
static void refuse_path(struct exchange *ex, struct bytes path)
{
    const uint8_t *slash = NULL;
    _cleanup_strbuf_ struct strbuf text = {0};
    struct bytes service;

    if (path.len > 1 && path.data[0] == '/') {
        slash = memrchr(path.data + 1, '/', path.len - 1);
    }
    if (slash == NULL) {
        strbuf_printf(
            &text, "malformed method name: \"%.*s\"", (int)path.len, (const char *)path.data);
        refuse(ex, GRPC_RESOURCE_EXHAUSTED, strbuf_cstr(&text)); /* sic: grpc-go's code */
        return;
    }
    service = bytes_make(path.data + 1, (size_t)(slash - path.data - 1));
    if (method_service_exists(service)) {
        size_t len = path.len - service.len - 2;

        strbuf_printf(&text, "unknown method %.*s for service ", (int)len, (const char *)slash + 1);
    } else {
        strbuf_append_str(&text, "unknown service ");
    }
    strbuf_append_bytes(&text, service);
    refuse(ex, GRPC_UNIMPLEMENTED, strbuf_cstr(&text));
}

/* False when the call has been refused. */
static bool check_encoding(struct exchange *ex)
{
    _cleanup_strbuf_ struct strbuf text = {0};

    if (ex->grpc_encoding.len == 0 || bytes_eq(ex->grpc_encoding, BYTES_LITERAL("identity"))) {
        return true;
    }
    strbuf_printf(&text, "grpc: Decompressor is not installed for grpc-encoding \"%.*s\"",
        (int)ex->grpc_encoding.len, (const char *)ex->grpc_encoding.data);
    refuse(ex, GRPC_UNIMPLEMENTED, strbuf_cstr(&text));
    return false;
}

/* A stream lives long: what its headers said is not kept. */
static void start_stream(struct exchange *ex)
{
    struct rpc *rpc = &ex->rpc;

    arm_timeout(ex);
    if (rpc->method->kind == METHOD_WATCH) {
        ex->is_watch = true;
        rpc->watch = watch_stream_new(ex);
    }
    if (ex->has_leader) {
        struct api *api = ex->api;

        list_add_tail(&api->leader_streams, &rpc->queue_link);
        if (list_empty(&api->leader_check.link)) {
            deadline_set(&api->deadlines, &api->leader_check, api->options.leaderless_ms / 3);
        }
    }
    ex->path = ex->query = ex->host = ex->content_type = ex->origin = ex->fetch_site =
        ex->grpc_timeout = ex->grpc_encoding = (struct bytes){0};
    arena_deinit(&ex->arena);
}

static void rpc_start(struct exchange *ex)
{
    struct rpc *rpc = &ex->rpc;

    rpc->json = !ex->is_grpc;
    rpc->method =
        rpc->json ? method_by_json_path(route_json_path(ex->path)) : method_by_grpc_path(ex->path);
    ex->in_max = rpc->json ? JSON_BODY_BYTES_MAX : MESSAGE_BYTES_MAX + RPC_PREFIX_BYTES;
    if (rpc->method == NULL) {
        refuse_path(ex, rpc->json ? bytes_str(method_absent(route_json_path(ex->path))) : ex->path);
        return;
    }
    ex->api->counters.methods[rpc_method_index(rpc->method)].started++;
    if (!check_encoding(ex)) {
        return;
    }
    if (ex->grpc_timeout.len != 0 && grpc_timeout_ms(ex->grpc_timeout) < 0) {
        refuse(ex, GRPC_INTERNAL, "malformed grpc-timeout");
        return;
    }
    if (method_is_stream(rpc->method) && store_is_learner(ex->api->store)) {
        refuse(ex, err_grpc_status(DECREE_ELEARNER), err_text(DECREE_ELEARNER));
        return;
    }
    if (ex->has_leader && !store_has_leader(ex->api->store)) {
        refuse(ex, err_grpc_status(DECREE_ENO_LEADER), err_text(DECREE_ENO_LEADER));
        return;
    }
    if (method_is_stream(rpc->method)) {
        start_stream(ex);
    }
}

static void rpc_input(struct exchange *ex)
{
    if (ex->rpc.refusal != 0) {
        exchange_take(ex, ex->in.len);
        if (ex->in_done) {
            rpc_end(ex, ex->rpc.refusal, ex->rpc.refusal_text);
        }
        return;
    }
    if (method_is_stream(ex->rpc.method)) {
        serve_stream(ex);
    } else {
        serve_unary(ex);
    }
}

static void rpc_drained(struct exchange *ex)
{
    if (ex->rpc.watch != NULL) {
        watch_stream_drained(ex->rpc.watch);
    }
    if (ex->rpc.snapshot != NULL) {
        snapshot_stream_drained(ex->rpc.snapshot);
        return;
    }
    if ((ex->in.len != 0 || ex->in_done) && ex->rpc.refusal == 0 &&
        method_is_stream(ex->rpc.method)) {
        serve_stream(ex);
    }
}

static bool rpc_expired(struct exchange *ex)
{
    if (ex->rpc.refusal != 0) {
        rpc_end(ex, ex->rpc.refusal, ex->rpc.refusal_text);
        return true;
    }
    if (!ex->rpc.received && !method_is_stream(ex->rpc.method)) {
        return false;
    }
    rpc_fail(ex, DECREE_EDEADLINE);
    return true;
}

static void rpc_gone(struct exchange *ex)
{
    if (!ex->done) {
        rpc_count_end(ex, GRPC_CANCELED);
    }
    rpc_let_go(ex);
}

static void rpc_overloaded(struct exchange *ex)
{
    if (ex->rpc.refusal != 0) {
        rpc_end(ex, ex->rpc.refusal, ex->rpc.refusal_text);
    } else {
        /* More came behind a request that is with the store: a write may be done already. */
        rpc_fail(ex,
            ex->rpc.calling && !is_read(&ex->rpc.call) ? DECREE_EREPLY_DROPPED
                                                       : DECREE_ETOO_MANY_REQUESTS);
    }
}

const struct service rpc_service = {
    .start = rpc_start,
    .input = rpc_input,
    .drained = rpc_drained,
    .expired = rpc_expired,
    .overloaded = rpc_overloaded,
    .gone = rpc_gone,
};

void rpc_stop_stream(struct exchange *ex)
{
    if (ex->service == &rpc_service && !ex->done && ex->rpc.method != NULL &&
        method_is_stream(ex->rpc.method)) {
        rpc_fail(ex, DECREE_ESTOPPED);
    }
}

void rpc_check_leader(struct deadline *leader_check)
{
    struct api *api = container_of(leader_check, struct api, leader_check);
    uint64_t without_ms = store_leaderless_ms(api->store);

    if (without_ms >= api->options.leaderless_ms) {
        while (!list_empty(&api->leader_streams)) {
            struct rpc *rpc = list_entry(api->leader_streams.next, struct rpc, queue_link);

            rpc_fail(exchange_of(rpc), DECREE_ENO_LEADER); /* unlinks it */
        }
    }
    if (!list_empty(&api->leader_streams)) {
        deadline_set(&api->deadlines, leader_check, api->options.leaderless_ms / 3);
    }
}
