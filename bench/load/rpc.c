#include "rpc.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "alloc.h"
#include "clock.h"
#include "die.h"

enum {
    CONNS_MAX = 20000,
    ENDPOINTS_MAX = 16,
    READ_BYTES = 64 * 1024,
    OUT_BYTES_MAX = 1 << 20, /* unsent bytes beyond which a connection frames no more */
    EVENTS_MAX = 256,
    WINDOW_BYTES = 64 << 20, /* large: the server is measured, not our flow control */
    SETUP_MS_MAX = 10000,
};

struct rpc_conn {
    struct rpc_net *net;      /* borrowed */
    nghttp2_session *session; /* owned */
    int fd;
    const char *authority; /* borrowed from the endpoint */
    bool ready;            /* the server's settings have come */
    bool writable_wanted;
    unsigned assigned; /* streams given out */
    struct strbuf out;
    size_t out_written;
    struct list dirty; /* in net->dirty while there is something to frame */
};

struct endpoint {
    struct sockaddr_storage addr;
    socklen_t len;
    char *authority; /* owned */
};

struct rpc_net {
    int epoll_fd;
    struct endpoint endpoints[ENDPOINTS_MAX];
    size_t n_endpoints;
    struct rpc_conn **conns; /* owned, n of them */
    unsigned n, next;
    struct list dirty;
    uint8_t in[READ_BYTES];
};

static void conn_mark(struct rpc_conn *c)
{
    if (list_empty(&c->dirty)) {
        list_add_tail(&c->net->dirty, &c->dirty);
    }
}

static ssize_t on_out(nghttp2_session *session _unused_, int32_t id _unused_, uint8_t *buf,
    size_t len, uint32_t *flags, nghttp2_data_source *source, void *user _unused_)
{
    struct rpc *rpc = source->ptr;
    size_t n = MIN(len, rpc->out.len - rpc->out_sent);

    if (n == 0 && !rpc->half_close) {
        rpc->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    memcpy(buf, rpc->out.data + rpc->out_sent, n);
    rpc->out_sent += n;
    if (rpc->half_close && rpc->out_sent == rpc->out.len) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    return (ssize_t)n;
}

static int on_frame(nghttp2_session *session _unused_, const nghttp2_frame *frame, void *user)
{
    struct rpc_conn *c = user;

    if (frame->hd.type == NGHTTP2_SETTINGS && (frame->hd.flags & NGHTTP2_FLAG_ACK) == 0) {
        c->ready = true;
    }
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
    size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags _unused_,
    void *user _unused_)
{
    struct rpc *rpc = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

    if (rpc == NULL || name_len < 11 || memcmp(name, "grpc-", 5) != 0) {
        return 0;
    }
    if (name_len == 11 && memcmp(name, "grpc-status", 11) == 0) {
        rpc->status = 0;
        for (size_t i = 0; i < value_len; i++) {
            rpc->status = rpc->status * 10 + (value[i] - '0');
        }
    } else if (name_len == 12 && memcmp(name, "grpc-message", 12) == 0) {
        strbuf_append(&rpc->status_text, value, value_len);
    }
    return 0;
}

/* Hands whole messages out of b; what is left of it. A message is a zero byte, four bytes of
 * length, and the protobuf. */
static struct bytes take_messages(struct rpc *rpc, struct bytes b)
{
    while (b.len >= 5) {
        size_t len = (size_t)b.data[1] << 24 | (size_t)b.data[2] << 16 | (size_t)b.data[3] << 8 |
            (size_t)b.data[4];

        if (b.len - 5 < len) {
            break;
        }
        rpc->on_message(rpc, bytes_make(b.data + 5, len));
        b = bytes_make(b.data + 5 + len, b.len - 5 - len);
    }
    return b;
}

static int on_data(nghttp2_session *session, uint8_t flags _unused_, int32_t id,
    const uint8_t *data, size_t len, void *user _unused_)
{
    struct rpc *rpc = nghttp2_session_get_stream_user_data(session, id);
    struct bytes left;

    if (rpc == NULL || rpc->on_message == NULL) {
        return 0;
    }
    if (rpc->in.len == 0) {
        left = take_messages(rpc, bytes_make(data, len));
        strbuf_append_bytes(&rpc->in, left);
        return 0;
    }
    strbuf_append(&rpc->in, data, len);
    left = take_messages(rpc, strbuf_bytes(&rpc->in));
    if (left.len != 0) {
        memmove(rpc->in.data, left.data, left.len);
    }
    rpc->in.len = left.len;
    return 0;
}

static int on_stream_close(
    nghttp2_session *session, int32_t id, uint32_t error, void *user _unused_)
{
    struct rpc *rpc = nghttp2_session_get_stream_user_data(session, id);

    if (rpc == NULL) {
        return 0;
    }
    if (rpc->status < 0 && rpc->status_text.len == 0) {
        strbuf_printf(&rpc->status_text, "stream closed: %s", nghttp2_http2_strerror(error));
    }
    rpc->stream_id = 0;
    rpc->on_done(rpc);
    return 0;
}

static void session_start(struct rpc_conn *c)
{
    nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_BYTES},
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
    };
    nghttp2_session_callbacks *callbacks;

    if (nghttp2_session_callbacks_new(&callbacks) != 0) {
        die("out of memory");
    }
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    if (nghttp2_session_client_new(&c->session, callbacks, c) != 0 ||
        nghttp2_submit_settings(c->session, 0, settings, ARRAY_SIZE(settings)) != 0 ||
        nghttp2_session_set_local_window_size(c->session, 0, 0, WINDOW_BYTES) != 0) {
        die("nghttp2 cannot start a session");
    }
    nghttp2_session_callbacks_del(callbacks);
}

static void conn_epoll(struct rpc_conn *c, int op, bool writable)
{
    struct epoll_event e = {.events = EPOLLIN | (writable ? EPOLLOUT : 0u), .data.ptr = c};

    if (epoll_ctl(c->net->epoll_fd, op, c->fd, &e) < 0) {
        die("epoll: %s", strerror(errno));
    }
    c->writable_wanted = writable;
}

static void conn_open(struct rpc_net *net)
{
    const struct endpoint *e = &net->endpoints[net->n % net->n_endpoints];
    struct rpc_conn *c = xcalloc(1, sizeof(*c));
    int one = 1;

    if (net->n == CONNS_MAX) {
        die("more than %d connections are needed", CONNS_MAX);
    }
    c->net = net;
    c->authority = e->authority;
    list_init(&c->dirty);
    c->fd = socket(e->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (const struct sockaddr *)&e->addr, e->len) < 0) {
        die("cannot connect to %s: %s", e->authority, strerror(errno));
    }
    if (e->addr.ss_family != AF_UNIX) {
        (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    }
    session_start(c);
    conn_epoll(c, EPOLL_CTL_ADD, false);
    conn_mark(c);
    net->conns = xreallocarray(net->conns, net->n + 1, sizeof(struct rpc_conn *));
    net->conns[net->n++] = c;
}

/* Frames what is due and writes it; what does not fit waits for EPOLLOUT. */
static void conn_flush(struct rpc_conn *c)
{
    ssize_t n;

    while (c->out.len - c->out_written < OUT_BYTES_MAX) {
        const uint8_t *frame;

        n = nghttp2_session_mem_send(c->session, &frame);
        if (n < 0) {
            die("nghttp2: %s", nghttp2_strerror((int)n));
        }
        if (n == 0) {
            break;
        }
        strbuf_append(&c->out, frame, (size_t)n);
    }
    if (c->out.len == c->out_written) {
        return;
    }
    n = send(c->fd, c->out.data + c->out_written, c->out.len - c->out_written,
        MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        die("lost the connection to %s: %s", c->authority, strerror(errno));
    }
    c->out_written += n > 0 ? (size_t)n : 0;
    if (c->out_written == c->out.len) {
        strbuf_clear(&c->out);
        c->out_written = 0;
    }
    if (c->writable_wanted != (c->out.len != 0)) {
        conn_epoll(c, EPOLL_CTL_MOD, c->out.len != 0);
    }
}

static void conn_read(struct rpc_conn *c)
{
    ssize_t n, used;

    do {
        n = recv(c->fd, c->net->in, READ_BYTES, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            die("lost the connection to %s: %s", c->authority,
                n == 0 ? "closed by the server" : strerror(errno));
        }
        if (n < 0) {
            break;
        }
        used = nghttp2_session_mem_recv(c->session, c->net->in, (size_t)n);
        if (used < 0) {
            die("%s does not speak HTTP/2: %s", c->authority, nghttp2_strerror((int)used));
        }
    } while (n == READ_BYTES);
    conn_mark(c);
}

static void net_flush(struct rpc_net *net)
{
    while (!list_empty(&net->dirty)) {
        struct rpc_conn *c = list_entry(net->dirty.next, struct rpc_conn, dirty);

        list_del(&c->dirty);
        conn_flush(c);
    }
}

void rpc_net_turn(struct rpc_net *net, int64_t wait_ns)
{
    struct epoll_event events[EVENTS_MAX];
    struct timespec wait = {wait_ns / 1000000000, wait_ns % 1000000000};
    int n;

    net_flush(net);
    n = epoll_pwait2(net->epoll_fd, events, EVENTS_MAX, wait_ns >= 0 ? &wait : NULL, NULL);
    if (n < 0 && errno != EINTR) {
        die("epoll: %s", strerror(errno));
    }
    for (int i = 0; i < n; i++) {
        struct rpc_conn *c = events[i].data.ptr;

        if ((events[i].events & EPOLLOUT) != 0) {
            conn_mark(c);
        }
        if ((events[i].events & ~(uint32_t)EPOLLOUT) != 0) {
            conn_read(c);
        }
    }
    net_flush(net);
}

static void endpoint_parse(struct rpc_net *net, char *text)
{
    struct endpoint *e = &net->endpoints[net->n_endpoints];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    struct sockaddr_un *un = (struct sockaddr_un *)(void *)&e->addr;
    char *colon;
    int r;

    if (net->n_endpoints == ENDPOINTS_MAX) {
        die("more than %d endpoints", ENDPOINTS_MAX);
    }
    net->n_endpoints++;
    if (strncmp(text, "unix://", 7) == 0) {
        if (strlen(text + 7) >= sizeof(un->sun_path)) {
            die("%s: too long for a socket", text);
        }
        un->sun_family = AF_UNIX;
        memcpy(un->sun_path, text + 7, strlen(text + 7) + 1);
        e->len = sizeof(*un);
        e->authority = xstrdup("localhost");
        return;
    }
    text += strncmp(text, "http://", 7) == 0 ? 7 : 0;
    e->authority = xstrdup(text);
    colon = strrchr(text, ':');
    if (colon == NULL) {
        die("endpoint %s: write http://HOST:PORT or unix:///PATH", text);
    }
    *colon = 0;
    r = getaddrinfo(text, colon + 1, &hints, &found);
    if (r != 0) {
        die("endpoint %s: %s", text, gai_strerror(r));
    }
    memcpy(&e->addr, found->ai_addr, found->ai_addrlen);
    e->len = found->ai_addrlen;
    freeaddrinfo(found);
}

static void net_await_settings(struct rpc_net *net)
{
    uint64_t deadline = clock_boot_ms() + SETUP_MS_MAX;

    for (unsigned i = 0; i < net->n; i++) {
        while (!net->conns[i]->ready) {
            if (clock_boot_ms() > deadline) {
                die("%s sends no HTTP/2 settings", net->conns[i]->authority);
            }
            rpc_net_turn(net, 100000000);
        }
    }
}

static uint32_t conn_capacity(const struct rpc_conn *c)
{
    return nghttp2_session_get_remote_settings(c->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

struct rpc_net *rpc_net_new(const char *endpoints, unsigned conns, unsigned streams)
{
    struct rpc_net *net = xcalloc(1, sizeof(*net));
    _cleanup_free_ char *list = xstrdup(endpoints);
    uint64_t capacity = 0;
    char *rest = list;

    list_init(&net->dirty);
    net->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    for (char *one; (one = strsep(&rest, ",")) != NULL;) {
        endpoint_parse(net, one);
    }
    while (net->n < conns || capacity < streams) {
        unsigned first = net->n;
        uint32_t per_conn = first != 0 ? MAX(conn_capacity(net->conns[0]), 1u) : 1;
        uint64_t missing =
            capacity < streams && first != 0 ? (streams - capacity + per_conn - 1) / per_conn : 0;

        for (uint64_t want = net->n < conns ? conns - net->n : missing; want > 0; want--) {
            conn_open(net);
        }
        net_await_settings(net);
        for (unsigned i = first; i < net->n; i++) {
            capacity += conn_capacity(net->conns[i]);
        }
        if (capacity == 0) {
            die("%s allows no streams", endpoints);
        }
    }
    return net;
}

struct rpc_net *rpc_net_free(struct rpc_net *net)
{
    if (net != NULL) {
        for (unsigned i = 0; i < net->n; i++) {
            nghttp2_session_del(net->conns[i]->session);
            (void)close(net->conns[i]->fd);
            strbuf_deinit(&net->conns[i]->out);
            free(net->conns[i]);
        }
        for (size_t i = 0; i < net->n_endpoints; i++) {
            free(net->endpoints[i].authority);
        }
        (void)close(net->epoll_fd);
        free(net->conns);
        free(net);
    }
    return NULL;
}

unsigned rpc_net_conns(const struct rpc_net *net)
{
    return net->n;
}

struct rpc_conn *rpc_net_assign(struct rpc_net *net)
{
    for (unsigned tried = 0; tried < net->n; tried++) {
        struct rpc_conn *c = net->conns[net->next++ % net->n];

        if (c->assigned < conn_capacity(c)) {
            c->assigned++;
            return c;
        }
    }
    die("the connections have no streams left");
}

size_t rpc_message_begin(struct rpc *rpc)
{
    size_t begin = rpc->out.len;

    memset(strbuf_reserve(&rpc->out, 5), 0, 5);
    rpc->out.len += 5;
    return begin;
}

void rpc_message_end(struct rpc *rpc, size_t begin)
{
    size_t len = rpc->out.len - begin - 5;
    uint8_t *p = rpc->out.data + begin;

    p[1] = (uint8_t)(len >> 24);
    p[2] = (uint8_t)(len >> 16);
    p[3] = (uint8_t)(len >> 8);
    p[4] = (uint8_t)len;
}

static nghttp2_nv header(const char *name, const char *value)
{
    /* nghttp2 takes these without const but leaves them alone under the two flags. */
    union {
        const char *in;
        uint8_t *out;
    } n = {.in = name}, v = {.in = value};

    return (nghttp2_nv){n.out, v.out, strlen(name), strlen(value),
        NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
}

void rpc_start(struct rpc *rpc, const char *path)
{
    const nghttp2_nv headers[] = {header(":method", "POST"), header(":scheme", "http"),
        header(":path", path), header(":authority", rpc->conn->authority),
        header("content-type", "application/grpc"), header("te", "trailers")};
    nghttp2_data_provider provider = {.source.ptr = rpc, .read_callback = on_out};

    decree_assert(rpc->stream_id == 0);
    rpc->out_sent = 0;
    rpc->deferred = false;
    rpc->status = -1;
    strbuf_clear(&rpc->status_text);
    strbuf_clear(&rpc->in);
    rpc->stream_id = nghttp2_submit_request(
        rpc->conn->session, NULL, headers, ARRAY_SIZE(headers), &provider, rpc);
    if (rpc->stream_id < 0) {
        die("nghttp2: %s", nghttp2_strerror(rpc->stream_id));
    }
    conn_mark(rpc->conn);
}

void rpc_resume(struct rpc *rpc)
{
    if (rpc->deferred) {
        rpc->deferred = false;
        (void)nghttp2_session_resume_data(rpc->conn->session, rpc->stream_id);
    }
    conn_mark(rpc->conn);
}
