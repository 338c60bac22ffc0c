/* The life of a connection:
 *
 *     RESOLVING --address--> CONNECTING --connected--> OPEN --> CLOSING --handles closed--> freed
 *
 * Every way out leads through CLOSING, once. What is on its way then (a lookup, a write) holds the
 * object until its callback has come. */
#include "peer_conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>

enum {
    READ_BYTES = 64 << 10,
    KEEPALIVE_S = 15,
    /* Sent data that nobody acknowledges: the other side is gone. Two default elections. */
    USER_TIMEOUT_MS = 5000,
    FINISH_MS = 1000,
};

enum conn_state { CONN_RESOLVING, CONN_CONNECTING, CONN_OPEN, CONN_CLOSING };

struct peer_conn {
    enum conn_state state;
    const struct peer_conn_ops *ops;
    void *data;
    uv_tcp_t tcp;
    uv_timer_t timer;
    const char *timeout_text;
    uv_getaddrinfo_t lookup;
    uv_connect_t connect;
    uint16_t port;
    unsigned holds; /* two handles, and the lookup while it runs */
    bool paused, finishing, detached;
    struct buf **queue; /* owned references, not written yet */
    size_t n_queue, queue_cap;
    size_t queued_bytes;
    uint64_t sent_bytes;
    struct peer_conn_count *count;
    char *read_buf; /* READ_BYTES, owned */
};

/* ---- the end ---- */

static void release(struct peer_conn *c)
{
    struct peer_conn_count *count = c->count;

    decree_assert(c->holds > 0);
    if (--c->holds > 0) {
        return;
    }
    for (size_t i = 0; i < c->n_queue; i++) {
        buf_unref(c->queue[i]);
    }
    free(c->queue);
    free(c->read_buf);
    free(c);
    if (count != NULL && --count->n == 0 && count->on_zero != NULL) {
        count->on_zero(count->data);
    }
}

static void conn_on_handle_closed(uv_handle_t *h)
{
    release(h->data);
}

static void begin_close(struct peer_conn *c)
{
    if (c->state == CONN_RESOLVING) {
        (void)uv_cancel((uv_req_t *)&c->lookup);
    }
    c->state = CONN_CLOSING;
    uv_close((uv_handle_t *)&c->tcp, conn_on_handle_closed);
    uv_close((uv_handle_t *)&c->timer, conn_on_handle_closed);
}

void peer_conn_close(struct peer_conn *c)
{
    c->detached = true;
    if (c->state != CONN_CLOSING) {
        begin_close(c);
    }
}

static void fail(struct peer_conn *c, const char *why)
{
    if (c->state == CONN_CLOSING) {
        return;
    }
    begin_close(c);
    if (!c->detached) {
        c->detached = true;
        c->ops->down(c->data, why);
    }
}

static void conn_on_timeout(uv_timer_t *timer)
{
    struct peer_conn *c = timer->data;

    fail(c, c->timeout_text);
}

void peer_conn_deadline(struct peer_conn *c, unsigned ms, const char *why)
{
    if (c->state == CONN_CLOSING) {
        return;
    }
    if (ms == 0) {
        (void)uv_timer_stop(&c->timer);
    } else {
        c->timeout_text = why;
        (void)uv_timer_start(&c->timer, conn_on_timeout, ms, 0);
    }
}

void peer_conn_finish(struct peer_conn *c)
{
    c->detached = true;
    if (c->state != CONN_OPEN || c->queued_bytes == 0) {
        peer_conn_close(c);
        return;
    }
    c->finishing = true;
    peer_conn_pause(c);
    peer_conn_deadline(c, FINISH_MS, "");
    peer_conn_flush(c);
}

/* ---- reading ---- */

static void conn_on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *ret)
{
    struct peer_conn *c = h->data;

    (void)suggested;
    if (c->read_buf == NULL) {
        c->read_buf = xmalloc(READ_BYTES);
    }
    *ret = uv_buf_init(c->read_buf, READ_BYTES);
}

static void conn_on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct peer_conn *c = stream->data;

    if (n == UV_EOF) {
        fail(c, "the other side closed the connection");
    } else if (n < 0) {
        fail(c, uv_strerror((int)n));
    } else if (n > 0 && !c->detached) {
        c->ops->bytes(c->data, bytes_make(buf->base, (size_t)n));
    }
}

void peer_conn_pause(struct peer_conn *c)
{
    if (c->state == CONN_OPEN && !c->paused) {
        c->paused = true;
        (void)uv_read_stop((uv_stream_t *)&c->tcp);
    }
}

void peer_conn_resume(struct peer_conn *c)
{
    if (c->state == CONN_OPEN && c->paused && !c->finishing) {
        c->paused = false;
        (void)uv_read_start((uv_stream_t *)&c->tcp, conn_on_alloc, conn_on_read);
    }
}

/* ---- writing ---- */

struct write {
    uv_write_t req;
    struct peer_conn *c;
    size_t n, bytes;
    struct buf **bufs;
};

static void write_free(struct write *w)
{
    for (size_t i = 0; i < w->n; i++) {
        buf_unref(w->bufs[i]);
    }
    free(w->bufs);
    free(w);
}

static void conn_on_written(uv_write_t *req, int status)
{
    struct write *w = req->data;
    struct peer_conn *c = w->c;

    c->queued_bytes -= w->bytes;
    c->sent_bytes += status == 0 ? w->bytes : 0;
    write_free(w);
    if (status < 0) {
        fail(c, uv_strerror(status));
    } else if (c->queued_bytes == 0 && c->finishing) {
        peer_conn_close(c);
    } else if (c->queued_bytes == 0 && !c->detached) {
        c->ops->drained(c->data);
    }
}

void peer_conn_write(struct peer_conn *c, struct buf *b)
{
    if (c->state == CONN_CLOSING) {
        return;
    }
    if (c->n_queue == c->queue_cap) {
        c->queue_cap = MAX(c->queue_cap * 2, (size_t)16);
        c->queue = xreallocarray(c->queue, c->queue_cap, sizeof(struct buf *));
    }
    c->queue[c->n_queue++] = buf_ref(b);
    c->queued_bytes += b->len;
}

void peer_conn_flush(struct peer_conn *c)
{
    _cleanup_free_ uv_buf_t *vec = NULL;
    struct write *w;
    int err;

    if (c->state != CONN_OPEN || c->n_queue == 0) {
        return;
    }
    vec = xcalloc(c->n_queue, sizeof(*vec));
    w = xcalloc(1, sizeof(*w));
    w->c = c;
    w->req.data = w;
    w->n = c->n_queue;
    w->bufs = TAKE_PTR(c->queue);
    c->n_queue = c->queue_cap = 0;
    for (size_t i = 0; i < w->n; i++) {
        vec[i] = uv_buf_init((char *)w->bufs[i]->data, w->bufs[i]->len);
        w->bytes += w->bufs[i]->len;
    }
    /* libuv writes at once what the socket takes and copies vec for the rest. */
    err = uv_write(&w->req, (uv_stream_t *)&c->tcp, vec, (unsigned)w->n, conn_on_written);
    if (err < 0) {
        c->queued_bytes -= w->bytes;
        write_free(w);
        /* The read side sees the same error and reports it. */
    }
}

size_t peer_conn_queued(const struct peer_conn *c)
{
    return c->queued_bytes;
}

uint64_t peer_conn_sent(const struct peer_conn *c)
{
    return c->sent_bytes;
}

/* ---- the beginning ---- */

static struct peer_conn *conn_new(uv_loop_t *loop, const struct peer_conn_ops *ops, void *data)
{
    struct peer_conn *c = xcalloc(1, sizeof(*c));

    c->ops = ops;
    c->data = data;
    c->holds = 2;
    (void)uv_tcp_init(loop, &c->tcp);
    (void)uv_timer_init(loop, &c->timer);
    c->tcp.data = c->timer.data = c->connect.data = c->lookup.data = c;
    return c;
}

void peer_conn_counted(struct peer_conn *c, struct peer_conn_count *count)
{
    c->count = count;
    count->n++;
}

static void set_open(struct peer_conn *c)
{
    unsigned user_timeout = USER_TIMEOUT_MS;
    uv_os_fd_t fd;

    c->state = CONN_OPEN;
    c->paused = true;
    (void)uv_tcp_nodelay(&c->tcp, 1);
    (void)uv_tcp_keepalive(&c->tcp, 1, KEEPALIVE_S);
    if (uv_fileno((uv_handle_t *)&c->tcp, &fd) == 0) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout, sizeof(user_timeout));
    }
    peer_conn_resume(c);
}

static void conn_on_connected(uv_connect_t *req, int status)
{
    struct peer_conn *c = req->data;

    if (c->state == CONN_CLOSING) {
        return;
    }
    if (status < 0) {
        fail(c, uv_strerror(status));
        return;
    }
    set_open(c);
    c->ops->open(c->data);
}

static int connect_to(struct peer_conn *c, const struct sockaddr *address)
{
    c->state = CONN_CONNECTING;
    return uv_tcp_connect(&c->connect, &c->tcp, address, conn_on_connected);
}

static void conn_on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *list)
{
    struct peer_conn *c = req->data;

    if (c->state == CONN_CLOSING) {
        uv_freeaddrinfo(list);
        release(c);
        return;
    }
    if (status == 0) {
        status = connect_to(c, list->ai_addr);
    }
    uv_freeaddrinfo(list);
    if (status < 0) {
        fail(c, uv_strerror(status));
    }
    release(c);
}

/* What fails before it began is told from the loop, like everything else. */
static void conn_on_stillborn(uv_timer_t *timer)
{
    fail(timer->data, "no connection could be begun");
}

struct peer_conn *peer_conn_dial(
    uv_loop_t *loop, const char *host, uint16_t port, const struct peer_conn_ops *ops, void *data)
{
    struct peer_conn *c = conn_new(loop, ops, data);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct sockaddr_storage address = {0};
    char service[8];
    int err;

    c->state = CONN_CONNECTING;
    if (uv_ip4_addr(host, port, (struct sockaddr_in *)&address) == 0 ||
        uv_ip6_addr(host, port, (struct sockaddr_in6 *)&address) == 0) {
        err = connect_to(c, (struct sockaddr *)&address);
    } else {
        (void)snprintf(service, sizeof(service), "%u", port);
        c->state = CONN_RESOLVING;
        err = uv_getaddrinfo(loop, &c->lookup, conn_on_resolved, host, service, &hints);
        c->holds += err == 0;
        if (err < 0) {
            c->state = CONN_CONNECTING;
        }
    }
    if (err < 0) {
        (void)uv_timer_start(&c->timer, conn_on_stillborn, 0, 0);
    }
    return c;
}

struct peer_conn *peer_conn_accept(
    uv_stream_t *listener, const struct peer_conn_ops *ops, void *data)
{
    struct peer_conn *c = conn_new(listener->loop, ops, data);

    if (uv_accept(listener, (uv_stream_t *)&c->tcp) < 0) {
        peer_conn_close(c);
        return NULL;
    }
    set_open(c);
    return c;
}
