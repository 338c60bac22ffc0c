#include "h2.h"

#include <errno.h>
#include <stdio.h>

#include "api_impl.h"

enum { NV_MAX = 4 };

struct h2 {
    struct conn *conn;
    nghttp2_session *session; /* owned */
    bool established, draining;
    struct list throttled;   /* exchange.throttled: get no window, the oldest first */
    struct exchange *upload; /* that gets it nevertheless, so that something comes to its end */
    double glitches;         /* tokens left of H2_GLITCHES_BURST */
    uint64_t glitches_ms;
};

/* ---- answers ---- */

static nghttp2_nv nv(const char *name, const char *value)
{
    return (nghttp2_nv){
        .name = (uint8_t *)(uintptr_t)name,
        .value = (uint8_t *)(uintptr_t)value,
        .namelen = strlen(name),
        .valuelen = strlen(value),
        .flags = NGHTTP2_NV_FLAG_NO_COPY_NAME,
    };
}

/* grpc-status of every code that can be; static, so that nothing is copied. */
static const char *const status_texts[GRPC_CODES] = {
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"};

static size_t add_trailers(const struct exchange *ex, nghttp2_nv *list, size_t n)
{
    list[n] = nv("grpc-status", status_texts[ex->grpc_status]);
    list[n++].flags |= NGHTTP2_NV_FLAG_NO_COPY_VALUE;
    list[n++] = nv("grpc-message", ex->grpc_message != NULL ? ex->grpc_message : "");
    return n;
}

static ssize_t on_data_source(nghttp2_session *session, int32_t stream_id, uint8_t *buf _unused_,
    size_t max, uint32_t *flags, nghttp2_data_source *source, void *user_data _unused_)
{
    struct exchange *ex = source->ptr;
    size_t n = MIN(ex->out.bytes, max);

    if (n == 0 && !ex->done) {
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (ex->done && n == ex->out.bytes) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (ex->is_grpc) {
            nghttp2_nv list[NV_MAX];
            size_t n_list = add_trailers(ex, list, 0);

            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            if (nghttp2_submit_trailer(session, stream_id, list, n_list) < 0) {
                return NGHTTP2_ERR_CALLBACK_FAILURE;
            }
        }
    }
    return (ssize_t)n;
}

static int on_send_data(nghttp2_session *session _unused_, nghttp2_frame *frame _unused_,
    const uint8_t *head, size_t n, nghttp2_data_source *source, void *user_data)
{
    struct h2 *h = user_data;
    struct exchange *ex = source->ptr;

    segq_append(&h->conn->out, head, 9);
    segq_move(&h->conn->out, &ex->out, n);
    exchange_pulled(ex);
    return 0;
}

/* gRPC errors are trailers alone: one frame. */
static void respond(struct exchange *ex)
{
    struct h2 *h = ex->conn->h2;
    nghttp2_data_provider provider = {.source.ptr = ex, .read_callback = on_data_source};
    bool trailers_only = ex->is_grpc && ex->grpc_status != 0;
    char status[4], length[24];
    nghttp2_nv list[NV_MAX + 1];
    size_t n = 0;

    (void)snprintf(status, sizeof(status), "%03d", ex->status);
    list[n++] = nv(":status", status);
    if (ex->content_type_out != NULL) {
        list[n] = nv("content-type", ex->content_type_out);
        list[n++].flags |= NGHTTP2_NV_FLAG_NO_COPY_VALUE;
    }
    if (trailers_only) {
        n = add_trailers(ex, list, n);
    } else if (ex->done) {
        (void)snprintf(length, sizeof(length), "%zu", ex->out.bytes);
        list[n++] = nv("content-length", length);
        if (ex->allow != NULL) {
            list[n++] = nv("allow", ex->allow);
        }
    }
    if (ex->verb == VERB_HEAD) {
        segq_clear(&ex->out);
    }
    if (nghttp2_submit_response(h->session, ex->stream_id, list, n,
            trailers_only || ex->verb == VERB_HEAD ? NULL : &provider) < 0) {
        log_debug("answer is not wanted any more stream=%d peer=%s", ex->stream_id, ex->conn->peer);
    }
    conn_mark_dirty(ex->conn);
}

static void wake(struct exchange *ex)
{
    /* Fails when nothing is deferred: then the data is looked at anyway. */
    (void)nghttp2_session_resume_data(ex->conn->h2->session, ex->stream_id);
    conn_mark_dirty(ex->conn);
}

static void reset(struct h2 *h, int32_t stream_id, uint32_t code)
{
    (void)nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, stream_id, code);
    conn_mark_dirty(h->conn);
}

static void abort_exchange(struct exchange *ex)
{
    uint32_t code = ex->done ? NGHTTP2_NO_ERROR : NGHTTP2_ENHANCE_YOUR_CALM;

    ex->done = true;
    reset(ex->conn->h2, ex->stream_id, code);
}

/* ---- windows ----
 * What a connection's bodies may take is kept by giving the streams no new window while they hold
 * that much. Where all of them wait for more, nothing would ever be used up: then one of them, the
 * oldest, gets it nevertheless. The connection's own window is always given back: what is in it may
 * be of that stream. */

static bool waits_for_body(const struct exchange *ex)
{
    return !ex->in_done && !ex->done && ex->rpc.method != NULL && !method_is_stream(ex->rpc.method);
}

static void grant(struct h2 *h, struct exchange *ex)
{
    if (!list_empty(&ex->throttled) && waits_for_body(ex)) {
        deadline_set(&ex->api->deadlines, &ex->deadline, BODY_TIMEOUT_MS);
    }
    list_del(&ex->throttled);
    (void)nghttp2_session_consume_stream(h->session, ex->stream_id, ex->unconsumed);
    ex->unconsumed = 0;
    conn_mark_dirty(h->conn);
}

static bool may_have_more(const struct h2 *h, const struct exchange *ex)
{
    return h->conn->in_bytes <= BODY_BYTES_CONN_HIGH ||
        (h->upload == ex && list_empty(&h->conn->queued) && list_empty(&h->conn->waiting));
}

static void throttle(struct h2 *h, struct exchange *ex, size_t n)
{
    ex->unconsumed += n;
    if (h->upload == NULL && !ex->in_done) {
        h->upload = ex;
    }
    if (may_have_more(h, ex)) {
        grant(h, ex);
    } else if (list_empty(&ex->throttled)) {
        list_add_tail(&h->throttled, &ex->throttled);
        if (waits_for_body(ex)) {
            deadline_drop(&ex->deadline); /* it is not the client who lets us wait */
        }
    }
}

/* Bytes have been used, or a request is not waiting any more. */
static void room(struct conn *c)
{
    struct h2 *h = c->h2;

    while (h != NULL && !list_empty(&h->throttled) && c->in_bytes <= BODY_BYTES_CONN_HIGH) {
        grant(h, list_entry(h->throttled.next, struct exchange, throttled));
    }
    if (h != NULL && h->upload != NULL && !list_empty(&h->upload->throttled) &&
        may_have_more(h, h->upload)) {
        grant(h, h->upload);
    }
}

/* It has come to its end, or is gone: the oldest of the others is next. */
static void upload_ends(struct h2 *h, const struct exchange *ex)
{
    if (h->upload == ex) {
        h->upload = list_empty(&h->throttled)
            ? NULL
            : list_entry(h->throttled.next, struct exchange, throttled);
        room(h->conn);
    }
}

static const struct transport transport = {
    .respond = respond, .wake = wake, .room = room, .abort = abort_exchange};

/* ---- floods ---- */

/* Takes a token. False when the bucket is empty: this client only costs. */
static bool glitch(struct h2 *h)
{
    uint64_t now = uv_now(h->conn->api->loop);

    h->glitches += (double)(now - h->glitches_ms) * H2_GLITCHES_PER_S / 1000;
    h->glitches = MIN(h->glitches, (double)H2_GLITCHES_BURST);
    h->glitches_ms = now;
    h->conn->api->counters.glitches++;
    h->glitches -= 1;
    return h->glitches >= 0;
}

static int give_up(struct h2 *h)
{
    log_warn("connection is closed, too many resets or empty frames peer=%s", h->conn->peer);
    (void)nghttp2_session_terminate_session(h->session, NGHTTP2_ENHANCE_YOUR_CALM);
    return 0;
}

/* ---- requests ---- */

static struct exchange *exchange_of(struct h2 *h, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(h->session, stream_id);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct h2 *h = user_data;
    struct exchange *ex;

    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        return 0;
    }
    ex = exchange_new(h->conn, &transport);
    if (ex == NULL) {
        reset(h, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM);
        return 0;
    }
    ex->stream_id = frame->hd.stream_id;
    (void)nghttp2_session_set_stream_user_data(session, ex->stream_id, ex);
    return 0;
}

static int on_header(nghttp2_session *session _unused_, const nghttp2_frame *frame,
    const uint8_t *name, size_t name_len, const uint8_t *value, size_t value_len,
    uint8_t flags _unused_, void *user_data)
{
    struct h2 *h = user_data;
    struct exchange *ex = exchange_of(h, frame->hd.stream_id);
    struct bytes n = bytes_make(name, name_len), v = bytes_make(value, value_len);

    if (ex == NULL || ex->service != NULL) {
        return 0; /* refused, or trailers: nothing in them is ours */
    }
    ex->header_bytes += name_len + value_len + 32; /* as RFC 9113 section 6.5.2 counts */
    if (ex->header_bytes > HEADER_BYTES_MAX) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    if (bytes_eq(n, BYTES_LITERAL(":path"))) {
        if (ex->path.len != 0 || v.len == 0 || v.data[0] != '/') {
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        }
        exchange_target(ex, v);
    } else if (bytes_eq(n, BYTES_LITERAL(":method"))) {
        ex->verb = bytes_eq(v, BYTES_LITERAL("POST")) ? VERB_POST
            : bytes_eq(v, BYTES_LITERAL("GET"))       ? VERB_GET
            : bytes_eq(v, BYTES_LITERAL("HEAD"))      ? VERB_HEAD
                                                      : VERB_OTHER;
    } else {
        exchange_header(ex, n, v);
    }
    return 0;
}

static int on_frame(nghttp2_session *session _unused_, const nghttp2_frame *frame, void *user_data)
{
    struct h2 *h = user_data;
    bool is_glitch = false;
    struct exchange *ex;

    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        ex = exchange_of(h, frame->hd.stream_id);
        if (ex != NULL && ex->service == NULL) {
            if (ex->path.len == 0) {
                reset(h, frame->hd.stream_id, NGHTTP2_PROTOCOL_ERROR);
                return glitch(h) ? 0 : give_up(h);
            }
            exchange_route(ex);
        }
        break;
    case NGHTTP2_DATA:
        ex = exchange_of(h, frame->hd.stream_id);
        is_glitch = frame->hd.length == 0 && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0;
        break;
    case NGHTTP2_SETTINGS:
        h->established = true;
        is_glitch = (frame->hd.flags & NGHTTP2_FLAG_ACK) == 0;
        return is_glitch && !glitch(h) ? give_up(h) : 0;
    case NGHTTP2_RST_STREAM:
        return glitch(h) ? 0 : give_up(h);
    default:
        return 0;
    }
    if (ex != NULL && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
        exchange_input_end(ex);
        list_del(&ex->throttled); /* it needs no window any more */
        upload_ends(h, ex);
    }
    return is_glitch && !glitch(h) ? give_up(h) : 0;
}

static int on_data(nghttp2_session *session, uint8_t flags _unused_, int32_t stream_id,
    const uint8_t *data, size_t n, void *user_data)
{
    struct exchange *ex = exchange_of(user_data, stream_id);

    (void)nghttp2_session_consume_connection(session, n);
    if (ex == NULL) {
        (void)nghttp2_session_consume_stream(session, stream_id, n);
        return 0;
    }
    if (ex->done) {
        ex->unwanted_bytes += n;
        if (ex->unwanted_bytes > H2_STREAM_WINDOW) {
            reset(user_data, stream_id, NGHTTP2_NO_ERROR);
        }
    } else {
        exchange_input(ex, bytes_make(data, n));
    }
    throttle(user_data, ex, n);
    return 0;
}

/* An answer that is complete while the client still sends (an early error). RFC 9113 8.1 would let
 * us reset the stream now, but clients exist that lose the answer over it: they get a moment to end
 * by themselves. */
static int on_frame_sent(
    nghttp2_session *session _unused_, const nghttp2_frame *frame, void *user_data)
{
    struct h2 *h = user_data;
    struct exchange *ex;

    if ((frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) ||
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) {
        return 0;
    }
    ex = exchange_of(h, frame->hd.stream_id);
    if (ex != NULL && !ex->in_done) {
        deadline_set(&ex->api->deadlines, &ex->deadline, LINGER_MS);
    }
    return 0;
}

static int on_stream_close(
    nghttp2_session *session, int32_t stream_id, uint32_t code _unused_, void *user_data)
{
    struct h2 *h = user_data;
    struct exchange *ex = exchange_of(h, stream_id);

    if (ex != NULL) {
        (void)nghttp2_session_set_stream_user_data(session, stream_id, NULL);
        list_del(&ex->throttled);
        upload_ends(h, ex);
        exchange_free(ex);
        if (list_empty(&h->conn->exchanges)) {
            conn_update_deadline(h->conn);
        }
    }
    return 0;
}

static int on_invalid_frame(nghttp2_session *session _unused_, const nghttp2_frame *frame _unused_,
    int error _unused_, void *user_data)
{
    return glitch(user_data) ? 0 : give_up(user_data);
}

/* ---- the session ---- */

void h2_global_init(struct api *api)
{
    nghttp2_session_callbacks *cb;
    int r = nghttp2_session_callbacks_new(&cb);

    decree_assert(r == 0);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_sent);
    nghttp2_session_callbacks_set_send_data_callback(cb, on_send_data);
    api->h2_callbacks = cb;
    r = nghttp2_option_new(&api->h2_option);
    decree_assert(r == 0);
    nghttp2_option_set_no_closed_streams(api->h2_option, 1);
    nghttp2_option_set_no_auto_window_update(api->h2_option, 1);
    /* nghttp2 would refuse the ":authority: http://host:port" that etcdctl 3.4 sends. What its
     * checks guard against, requests read in two ways by two servers, cannot happen here: nothing
     * is passed on, content-length is not looked at, and on_header takes each pseudo-header once.
     */
    nghttp2_option_set_no_http_messaging(api->h2_option, 1);
    nghttp2_option_set_max_outbound_ack(api->h2_option, H2_OUTBOUND_ACKS_MAX);
    nghttp2_option_set_max_settings(api->h2_option, H2_SETTINGS_MAX);
    nghttp2_option_set_max_continuations(api->h2_option, H2_CONTINUATIONS_MAX);
    nghttp2_option_set_stream_reset_rate_limit(
        api->h2_option, H2_GLITCHES_BURST, H2_GLITCHES_PER_S);
}

void h2_global_deinit(struct api *api)
{
    nghttp2_session_callbacks_del(api->h2_callbacks);
    nghttp2_option_del(api->h2_option);
}

struct h2 *h2_new(struct conn *c)
{
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, H2_STREAMS_MAX},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEADER_BYTES_MAX},
        /* No tree of streams to keep: RFC 9113 has dropped it, gRPC never used it. */
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    struct h2 *h = xcalloc(1, sizeof(*h));
    int r;

    h->conn = c;
    list_init(&h->throttled);
    h->glitches = H2_GLITCHES_BURST;
    h->glitches_ms = uv_now(c->api->loop);
    r = nghttp2_session_server_new2(&h->session, c->api->h2_callbacks, h, c->api->h2_option);
    decree_assert(r == 0);
    r = nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, ARRAY_SIZE(settings));
    decree_assert(r == 0);
    r = nghttp2_session_set_local_window_size(
        h->session, NGHTTP2_FLAG_NONE, 0, H2_CONNECTION_WINDOW);
    decree_assert(r == 0);
    conn_mark_dirty(c);
    return h;
}

struct h2 *h2_free(struct h2 *h)
{
    if (h != NULL) {
        while (!list_empty(&h->throttled)) {
            list_del(h->throttled.next); /* the exchanges outlive the session */
        }
        nghttp2_session_del(h->session);
        free(h);
    }
    return NULL;
}

int h2_feed(struct h2 *h, struct bytes b)
{
    ssize_t n = nghttp2_session_mem_recv(h->session, b.data, b.len);

    conn_mark_dirty(h->conn);
    if (n < 0) {
        log_info("connection is closed, not HTTP/2: %s peer=%s", nghttp2_strerror((int)n),
            h->conn->peer);
        return -EPROTO;
    }
    return 0;
}

int h2_pull(struct h2 *h)
{
    while (h->conn->out.bytes < WRITE_CHUNK_BYTES) {
        const uint8_t *data;
        ssize_t n = nghttp2_session_mem_send(h->session, &data);

        if (n < 0) {
            return -EPROTO;
        }
        if (n == 0) {
            break;
        }
        segq_append(&h->conn->out, data, (size_t)n);
    }
    if (h->conn->state == CONN_H2 && nghttp2_session_want_read(h->session) == 0 &&
        nghttp2_session_want_write(h->session) == 0) {
        conn_finish(h->conn);
    }
    return 0;
}

bool h2_is_established(const struct h2 *h)
{
    return h->established;
}

void h2_drain(struct h2 *h)
{
    if (h->draining) {
        conn_close(h->conn); /* it has had its time */
        return;
    }
    h->draining = true;
    (void)nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE,
        nghttp2_session_get_last_proc_stream_id(h->session), NGHTTP2_NO_ERROR, NULL, 0);
    conn_mark_dirty(h->conn);
}
