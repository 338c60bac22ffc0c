#include "conn.h"

#include <assert.h>
#include <stdio.h>

#include <sys/socket.h>

#include "api_impl.h"
#include "h1.h"
#include "h2.h"
#include "rpc.h"

enum { VIEWS_MAX = 64 /* segments in one writev */ };

static const char *const state_names[] = {"sniffing", "h1", "h2", "flushing", "closed"};
static_assert(ARRAY_SIZE(state_names) == CONN_STATES, "a name for every state");

/* What an HTTP/2 client sends first (RFC 9113 section 3.4). */
static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

static void set_state(struct conn *c, enum conn_state state)
{
    static const unsigned from[] = {
        [CONN_SNIFFING] = 0,
        [CONN_H1] = 1u << CONN_SNIFFING,
        [CONN_H2] = 1u << CONN_SNIFFING,
        [CONN_FLUSHING] = 1u << CONN_SNIFFING | 1u << CONN_H1 | 1u << CONN_H2,
        [CONN_CLOSED] = 1u << CONN_SNIFFING | 1u << CONN_H1 | 1u << CONN_H2 | 1u << CONN_FLUSHING,
    };

    decree_assert((from[state] & 1u << c->state) != 0);
    log_debug(
        "connection is %s was=%s peer=%s", state_names[state], state_names[c->state], c->peer);
    c->state = state;
}

/* ---- birth and death ---- */

static void on_closed(uv_handle_t *handle)
{
    struct conn *c = container_of(handle, struct conn, handle);
    struct api *api = c->api;

    list_del(&c->link);
    api->n_conns--;
    segq_deinit(&c->out);
    strbuf_deinit(&c->sniffed);
    free(c);
    api_conn_gone(api);
}

void conn_close(struct conn *c)
{
    if (c->state == CONN_CLOSED) {
        return;
    }
    set_state(c, CONN_CLOSED);
    deadline_drop(&c->deadline);
    list_del(&c->dirty);
    c->h1 = h1_free(c->h1);
    c->h2 = h2_free(c->h2);
    while (!list_empty(&c->exchanges)) {
        exchange_free(list_entry(c->exchanges.next, struct exchange, link));
    }
    uv_close(&c->handle, on_closed);
}

static void stop_reading(struct conn *c)
{
    if (c->reading) {
        c->reading = false;
        (void)uv_read_stop(&c->stream);
    }
}

void conn_finish(struct conn *c)
{
    if (c->state < CONN_FLUSHING) {
        set_state(c, CONN_FLUSHING);
        stop_reading(c);
        conn_mark_dirty(c);
    }
}

void conn_drain(struct conn *c)
{
    list_for_each (it, &c->exchanges) {
        rpc_stop_stream(list_entry(it, struct exchange, link));
    }
    if (c->state == CONN_H2) {
        h2_drain(c->h2);
    } else if (c->state == CONN_H1) {
        h1_drain(c->h1);
    } else if (c->state == CONN_SNIFFING) {
        conn_close(c);
    }
}

/* ---- time ---- */

static uint64_t limit_ms(const struct conn *c)
{
    if (c->writing != 0) {
        return WRITE_STALL_MS;
    }
    if (c->state == CONN_SNIFFING || (c->state == CONN_H1 && h1_in_headers(c->h1)) ||
        (c->state == CONN_H2 && !h2_is_established(c->h2))) {
        return HEADER_TIMEOUT_MS;
    }
    if (!list_empty(&c->exchanges)) {
        return 0; /* they have deadlines of their own */
    }
    return c->state == CONN_H2 ? H2_IDLE_TIMEOUT_MS : IDLE_TIMEOUT_MS;
}

void conn_update_deadline(struct conn *c)
{
    uint64_t ms = limit_ms(c);

    if (ms == HEADER_TIMEOUT_MS && c->limit_ms == ms) {
        return; /* a byte now and then buys no time */
    }
    c->limit_ms = ms;
    if (ms != 0) {
        deadline_set(&c->api->deadlines, &c->deadline, ms);
    } else {
        deadline_drop(&c->deadline);
    }
}

static void on_deadline(struct deadline *d)
{
    struct conn *c = container_of(d, struct conn, deadline);

    log_debug("connection timed out state=%s peer=%s", state_names[c->state], c->peer);
    if (c->state == CONN_H2 && c->writing == 0 && h2_is_established(c->h2)) {
        h2_drain(c->h2); /* idle: a client may be about to send */
        return;
    }
    conn_close(c);
}

/* ---- writing ---- */

void conn_mark_dirty(struct conn *c)
{
    if (c->state != CONN_CLOSED && list_empty(&c->dirty)) {
        list_add_tail(&c->api->dirty, &c->dirty);
        api_wake(c->api);
    }
}

static void update_reading(struct conn *c);

static void on_written(uv_write_t *write, int status)
{
    struct conn *c = container_of(write, struct conn, write);
    size_t n = c->writing;

    c->writing = 0;
    if (c->state == CONN_CLOSED) {
        return;
    }
    if (status < 0) {
        conn_close(c);
        return;
    }
    segq_consume(&c->out, n);
    conn_update_deadline(c);
    conn_mark_dirty(c);
}

/* Pulls what the protocol has to say until there is a good write's worth. */
static int pull(struct conn *c)
{
    if (c->state == CONN_H2) {
        return h2_pull(c->h2);
    }
    if (c->h2 != NULL) {
        return h2_pull(c->h2); /* flushing: a last GOAWAY */
    }
    return c->h1 != NULL ? h1_pull(c->h1) : 0;
}

/* Everything the socket takes now; the rest is libuv's to write. -errno. */
static int push(struct conn *c)
{
    uv_buf_t views[VIEWS_MAX];
    unsigned n = segq_views(&c->out, views, VIEWS_MAX);
    int written = uv_try_write(&c->stream, views, n);
    size_t left = 0;

    if (written < 0 && written != UV_EAGAIN) {
        return written;
    }
    segq_consume(&c->out, written > 0 ? (size_t)written : 0);
    c->turn_write += written > 0 ? (size_t)written : 0;
    n = segq_views(&c->out, views, VIEWS_MAX);
    for (unsigned i = 0; i < n; i++) {
        left += views[i].len;
    }
    if (left == 0) {
        return 0;
    }
    if (written > 0 && c->out.n >= VIEWS_MAX) {
        return 0; /* more segments than one call takes: go round again */
    }
    c->writing = left;
    conn_update_deadline(c);
    return uv_write(&c->write, &c->stream, views, n, on_written);
}

bool conn_may_call(const struct conn *c)
{
    return api_takes_call(c->api, c->n_calls) && c->call_bytes <= CALL_BYTES_CONN_MAX &&
        !conn_is_full(c);
}

void conn_call_begins(struct conn *c, size_t bytes)
{
    c->api->n_calling += c->n_calls == 0;
    c->api->n_calls++;
    c->n_calls++;
    c->call_bytes += bytes;
    if (c->api->n_calling > 1) {
        c->api->company_ms = uv_now(c->api->loop);
    }
}

void conn_call_ends(struct conn *c, size_t bytes)
{
    c->call_bytes -= bytes;
    c->n_calls--;
    c->api->n_calls--;
    c->api->n_calling -= c->n_calls == 0;
    if (!list_empty(&c->queued)) {
        conn_mark_dirty(c); /* the next one goes to the store then */
    }
}

static void resume_first(struct list *of)
{
    struct rpc *rpc = list_entry(of->next, struct rpc, queue_link);

    rpc_resume(container_of(rpc, struct exchange, rpc));
}

/* Half of what it may have there in one turn, the other half in the next: then one half is on its
 * way to the disk while the other is being answered and followed by new ones. All at once would
 * stay together, and the processor would wait for the disk and the disk for the processor. */
static void serve_queued(struct conn *c)
{
    size_t left = api_calls_share(c->api) / 2;

    while (!list_empty(&c->queued) && conn_may_call(c)) {
        if (left-- == 0) {
            conn_mark_dirty(c);
            break;
        }
        resume_first(&c->queued);
    }
}

/* Answers of reads come in later turns; until then each counts as much as the largest that found no
 * room, so that not all of them are let go at once. */
static void serve_waiting(struct conn *c)
{
    size_t expected = c->out_bytes;

    while (c->large == NULL && !list_empty(&c->waiting) && expected <= OUTPUT_BYTES_MAX &&
        c->call_bytes <= CALL_BYTES_CONN_MAX) {
        resume_first(&c->waiting);
        expected += MAX(c->deferred_bytes, (size_t)READ_BUFFER_BYTES);
    }
    serve_queued(c);
}

/* The end of its turn: what it may read and write is counted anew. */
static size_t end_turn(struct conn *c)
{
    size_t written = c->turn_write;

    c->turn_requests = c->turn_read = c->turn_write = 0;
    if (c->state < CONN_FLUSHING) {
        serve_waiting(c);
        update_reading(c);
    }
    return written;
}

size_t conn_flush(struct conn *c)
{
    if (c->h1 != NULL && c->state == CONN_H1) {
        h1_serve(c->h1);
    }
    while (c->writing == 0 && c->state != CONN_CLOSED) {
        int r;

        if (c->turn_write >= WRITE_TURN_BYTES) {
            conn_mark_dirty(c); /* the others first */
            break;
        }
        r = pull(c);

        if (r < 0) {
            conn_close(c);
            break;
        }
        if (c->out.bytes == 0) {
            if (c->state == CONN_FLUSHING) {
                conn_close(c);
            }
            break;
        }
        r = push(c);
        if (r < 0) {
            conn_close(c);
            break;
        }
    }
    return end_turn(c);
}

/* ---- reading ---- */

static void choose_protocol(struct conn *c)
{
    size_t n = MIN(c->sniffed.len, sizeof(preface) - 1);

    if (memcmp(c->sniffed.data, preface, n) != 0) {
        set_state(c, CONN_H1);
        c->h1 = h1_new(c);
    } else if (n == sizeof(preface) - 1) {
        set_state(c, CONN_H2);
        c->h2 = h2_new(c);
    }
}

/* 0, or negative when the connection is to be closed at once. */
static int feed(struct conn *c, struct bytes b)
{
    int r;

    if (c->state == CONN_SNIFFING) {
        struct strbuf all;

        strbuf_append_bytes(&c->sniffed, b);
        choose_protocol(c);
        if (c->state == CONN_SNIFFING) {
            return 0;
        }
        all = c->sniffed;
        strbuf_init(&c->sniffed);
        r = feed(c, strbuf_bytes(&all));
        strbuf_deinit(&all);
        return r;
    }
    return c->state == CONN_H2 ? h2_feed(c->h2, b) : h1_feed(c->h1, b);
}

static void on_alloc(uv_handle_t *handle, size_t suggested _unused_, uv_buf_t *ret)
{
    struct conn *c = container_of(handle, struct conn, handle);

    *ret = uv_buf_init(
        (char *)c->api->read_buffer, c->busy ? READ_BUSY_BYTES : (unsigned)READ_BUFFER_BYTES);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct conn *c = container_of(stream, struct conn, stream);
    size_t before;

    if (n == 0) {
        return;
    }
    if (n < 0) {
        /* The end of what the client sends is the end of the connection: HTTP clients that
         * half-close are not known, and etcd's server does the same. */
        conn_close(c);
        return;
    }
    before = c->turn_requests;
    if (feed(c, bytes_make(buf->base, (size_t)n)) < 0) {
        conn_finish(c);
        return;
    }
    c->turn_read += (size_t)n;
    c->busy = c->turn_requests - before >= REQUESTS_BUSY;
    if (c->state < CONN_FLUSHING) {
        update_reading(c);
        conn_update_deadline(c);
    }
}

/* What it has sent beyond its share of this turn stays in the socket until the next one. */
static bool has_turn(const struct conn *c)
{
    return c->turn_requests < c->api->turn_share && c->turn_read < READ_TURN_BYTES;
}

static void update_reading(struct conn *c)
{
    bool want = has_turn(c) && (c->h1 == NULL || h1_wants_input(c->h1));

    if (want == c->reading) {
        return;
    }
    if (!want) {
        c->api->turn_busy += !has_turn(c);
        stop_reading(c);
        conn_mark_dirty(c); /* reads on after the flush */
    } else if (uv_read_start(&c->stream, on_alloc, on_read) == 0) {
        c->reading = true;
    } else {
        conn_close(c);
    }
}

/* ---- accepting ---- */

static void identify_unix(struct conn *c)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);
    uv_os_fd_t fd;

    if (uv_fileno(&c->handle, &fd) == 0 &&
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0) {
        c->identity = (struct identity){.kind = IDENTITY_UNIX, .uid = cred.uid};
        (void)snprintf(c->peer, sizeof(c->peer), "unix,pid=%d,uid=%u", (int)cred.pid, cred.uid);
    }
}

static void identify_tcp(struct conn *c)
{
    struct sockaddr_storage address;
    int len = sizeof(address), port;
    char name[48] = "?";

    (void)uv_tcp_nodelay(&c->tcp, 1);
    (void)uv_tcp_keepalive(&c->tcp, 1, TCP_KEEPALIVE_S);
    if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&address, &len) < 0) {
        return;
    }
    (void)uv_ip_name((struct sockaddr *)&address, name, sizeof(name));
    port = ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
    (void)snprintf(c->peer, sizeof(c->peer), "%s:%d", name, port);
}

static struct conn *conn_new(struct api *api, bool is_unix)
{
    struct conn *c = xcalloc(1, sizeof(*c));
    int r;

    c->api = api;
    list_init(&c->link);
    list_init(&c->dirty);
    list_init(&c->exchanges);
    list_init(&c->queued);
    list_init(&c->waiting);
    list_init(&c->full_watches);
    deadline_init(&c->deadline, on_deadline);
    list_add_tail(&api->conns, &c->link);
    api->n_conns++;
    r = is_unix ? uv_pipe_init(api->loop, &c->pipe, 0) : uv_tcp_init(api->loop, &c->tcp);
    decree_assert(r == 0);
    return c;
}

void conn_accept(struct api *api, uv_stream_t *listener)
{
    struct conn *c = conn_new(api, listener->type == UV_NAMED_PIPE);

    if (uv_accept(listener, &c->stream) < 0) {
        conn_close(c);
        return;
    }
    if (api->n_conns > CONNECTIONS_MAX || api->state != API_RUNNING) {
        api->counters.refused_connections++;
        conn_close(c);
        return;
    }
    if (listener->type == UV_NAMED_PIPE) {
        identify_unix(c);
    } else {
        identify_tcp(c);
    }
    conn_update_deadline(c);
    update_reading(c);
}
