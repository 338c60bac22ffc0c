/* Incoming connections: whoever connects first says who it is and whom it wants, is refused with a
 * reason when that does not fit, and then only sends frames. A member has one connection a channel
 * here: when it dials again, the older one was a half-open one and ends. */
#include "peer_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "log.h"

enum { LISTEN_BACKLOG = 64 };

struct peer_in *peer_in_find(const struct peers *p, uint64_t from, enum peer_channel channel)
{
    list_for_each (it, &p->incoming) {
        struct peer_in *in = list_entry(it, struct peer_in, link);

        if (in->from != NULL && in->from->id == from && in->channel == channel) {
            return in;
        }
    }
    return NULL;
}

/* ---- the end ---- */

static void in_free(struct peer_in *in)
{
    peer_hello_reader_deinit(&in->hello);
    peer_frame_reader_deinit(&in->frames);
    free(in);
}

/* The connection is not ours any more. While frames are being handed out the object stays. */
static void in_gone(struct peer_in *in, bool tell)
{
    struct peers *p = in->peers;
    uint64_t from = in->from != NULL ? in->from->id : 0;

    list_del(&in->link);
    p->n_incoming--;
    in->conn = NULL;
    in->gone = true;
    if (tell && from != 0 && in->channel == PEER_SNAPSHOT) {
        p->ops->stream_cut(p->data, from);
    } else if (tell && from != 0) {
        p->ops->link_lost(p->data, from);
    }
    if (!in->in_frame) {
        in_free(in);
    }
}

void peer_in_end(struct peer_in *in, bool tell)
{
    peer_conn_finish(in->conn);
    in_gone(in, tell);
}

static void in_on_down(void *data, const char *why)
{
    struct peer_in *in = data;

    if (in->from != NULL) {
        log_debug("incoming link ended member=%016" PRIx64 ": %s", in->from->id, why);
    }
    in_gone(in, true);
}

/* ---- hello ---- */

static void write_text(struct peer_in *in, const struct strbuf *text)
{
    struct buf *b = buf_copy(strbuf_bytes(text));

    peer_conn_write(in->conn, b);
    peer_conn_flush(in->conn);
    buf_unref(b);
}

static void refuse(struct peer_in *in, int status, const char *text)
{
    _cleanup_strbuf_ struct strbuf answer = {0};

    log_debug("connection refused from=%016" PRIx64 ": %s", in->hello.hello.from, text);
    peer_hello_refuse(status, text, &answer);
    write_text(in, &answer);
    peer_in_end(in, false);
}

static void take(struct peer_in *in, struct peer *from)
{
    struct peers *p = in->peers;
    struct peer_in *older = peer_in_find(p, from->id, in->hello.hello.channel);
    _cleanup_strbuf_ struct strbuf answer = {0};

    if (older != NULL) {
        peer_in_end(older, in->hello.hello.channel == PEER_SNAPSHOT); /* messages go on here */
    }
    in->from = from;
    in->channel = in->hello.hello.channel;
    peer_conn_deadline(in->conn, 0, NULL);
    peer_hello_accept(p->options.version, p->options.incarnation, &answer);
    write_text(in, &answer);
    peer_link_kick(&from->messages);
}

static struct peer_in *find_question(const struct peers *p, uint64_t question)
{
    list_for_each (it, &p->incoming) {
        struct peer_in *in = list_entry(it, struct peer_in, link);

        if (in->question == question) {
            return in;
        }
    }
    return NULL;
}

void peers_tell_members(struct peers *p, uint64_t question, struct bytes table)
{
    struct peer_in *in = find_question(p, question);
    _cleanup_strbuf_ struct strbuf answer = {0};

    if (in == NULL) {
        return; /* it did not wait */
    }
    if (table.len == 0) {
        refuse(in, PEER_STATUS_JOINING, "this member has not joined the cluster itself yet");
        return;
    }
    peer_hello_members(table, &answer);
    write_text(in, &answer);
    peer_in_end(in, false);
}

static bool is_removed(const struct peers *p, uint64_t id)
{
    return p->ops->is_removed != NULL && p->ops->is_removed(p->data, id);
}

/* Who it is; one that is not known is met when it says where it is reached. */
static struct peer *find_from(struct peers *p, const struct peer_hello *h)
{
    struct peer *from = peers_find(p, h->from);

    if (from == NULL && h->from != p->options.id && h->urls[0] != 0 && p->ops->stranger != NULL) {
        p->ops->stranger(p->data, h->from, h->urls);
        from = peers_find(p, h->from);
    }
    return from;
}

/* Does what it says fit? False when `in` is gone, or waits for the answer to its question. */
static bool judge(struct peer_in *in)
{
    struct peers *p = in->peers;
    const struct peer_hello *h = &in->hello.hello;
    const struct peers_options *self = &p->options;
    _cleanup_free_ char *why = NULL;
    struct peer *from;
    const char *text = NULL;
    int status;

    if (p->ops->members != NULL && peer_hello_is_question(&in->hello)) {
        in->question = ++p->questions;
        p->ops->members(p->data, in->question);
        return false;
    }
    status = peer_hello_check(&in->hello, &text);
    if (status != 0) {
        refuse(in, status, text);
    } else if (h->cluster_id != self->cluster_id) {
        why = xasprintf("this member is of cluster %016" PRIx64 ", not of %016" PRIx64,
            self->cluster_id, h->cluster_id);
        refuse(in, 412, why);
    } else if (h->to != self->id) {
        why = xasprintf("this is member %016" PRIx64 ", not %016" PRIx64
                        ": the address in the list of members is wrong",
            self->id, h->to);
        refuse(in, 421, why);
    } else if (is_removed(p, h->from)) {
        refuse(in, PEER_STATUS_REMOVED, PEER_REMOVED_TEXT);
    } else if ((from = find_from(p, h)) == NULL) {
        why = xasprintf("no member %016" PRIx64 " is known here", h->from);
        refuse(in, 403, why);
    } else if (peer_is_replaced(from, h->incarnation)) {
        refuse(in, PEER_STATUS_REPLACED, PEER_REPLACED_TEXT);
    } else {
        take(in, from);
        return true;
    }
    return false;
}

/* ---- frames ---- */

void peer_in_read(struct peer_in *in)
{
    struct peers *p = in->peers;
    uint64_t from = in->from->id;
    int rc = PEER_FRAME_NONE;
    struct bytes body;

    in->in_frame = true;
    while (!in->gone && !in->paused &&
        (rc = peer_frame_reader_next(&in->frames, &body)) == PEER_FRAME_READY) {
        int verdict = 0;

        if (in->channel == PEER_MESSAGES) {
            p->ops->frame(p->data, from, body);
        } else {
            verdict = p->ops->stream_frame(p->data, from, body);
        }
        if (verdict > 0 && !in->gone) {
            in->paused = true;
            peer_conn_pause(in->conn);
        } else if (verdict < 0) {
            rc = verdict;
            break;
        }
    }
    in->in_frame = false;
    if (in->gone) {
        in_free(in);
    } else if (rc < 0) {
        log_warn("link cut, its frames cannot be read member=%016" PRIx64, from);
        peer_in_end(in, true);
    }
}

static void in_on_bytes(void *data, struct bytes b)
{
    struct peer_in *in = data;
    size_t used = 0;

    if (in->question != 0) {
        return; /* it has nothing more to say */
    }
    if (in->from == NULL) {
        int rc = peer_hello_feed(&in->hello, b, &used);

        if (rc < 0) {
            refuse(in, 400, "this is no HTTP, or too much of it");
            return;
        }
        if (rc == PEER_HELLO_MORE) {
            return;
        }
        if (!judge(in)) {
            return;
        }
        b = bytes_make(b.data + used, b.len - used);
    }
    in->from->received_bytes += b.len;
    peer_frame_reader_add(&in->frames, b);
    peer_in_read(in);
}

static void in_on_drained(void *data)
{
    (void)data; /* what is said back is a hello and one answer */
}

static void in_on_open(void *data)
{
    (void)data; /* only a dialled connection opens */
}

static const struct peer_conn_ops in_ops = {
    .open = in_on_open, .bytes = in_on_bytes, .drained = in_on_drained, .down = in_on_down};

void peer_in_write(struct peer_in *in, struct buf *frame)
{
    struct buf *head = buf_new(PEER_FRAME_HEAD);

    (void)peer_frame_head(&frame, 1, head->data);
    peer_conn_write(in->conn, head);
    peer_conn_write(in->conn, frame);
    peer_conn_flush(in->conn);
    buf_unref(head);
}

/* ---- listening ---- */

static void in_on_connection(uv_stream_t *stream, int status)
{
    struct peer_listener *listener = stream->data;
    struct peers *p = listener->peers;
    struct peer_in *in;

    if (status < 0) {
        log_warn("a member's connection could not be accepted: %s", uv_strerror(status));
        return;
    }
    in = xcalloc(1, sizeof(*in));
    in->peers = p;
    in->conn = peer_conn_accept(stream, &in_ops, in);
    if (in->conn == NULL) {
        free(in);
        return;
    }
    peer_conn_counted(in->conn, &p->conns);
    if (p->n_incoming >= INCOMING_MAX) {
        peer_conn_close(in->conn);
        free(in);
        return;
    }
    peer_hello_reader_init(&in->hello, true);
    peer_conn_deadline(in->conn, HELLO_TIMEOUT_MS, "it did not say who it is in time");
    list_add_tail(&p->incoming, &in->link);
    p->n_incoming++;
}

static int resolve(struct peers *p, const char *host, uint16_t port, struct sockaddr_storage *ret,
    struct err *reterr)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    uv_getaddrinfo_t lookup;
    char service[8];
    int err;

    (void)snprintf(service, sizeof(service), "%u", port);
    err = uv_getaddrinfo(p->loop, &lookup, NULL, host, service, &hints);
    if (err < 0) {
        return err_set(
            reterr, -EADDRNOTAVAIL, "cannot listen for members on %s: %s", host, uv_strerror(err));
    }
    memcpy(ret, lookup.addrinfo->ai_addr, lookup.addrinfo->ai_addrlen);
    uv_freeaddrinfo(lookup.addrinfo);
    return 0;
}

static void in_on_listener_closed(uv_handle_t *h)
{
    struct peer_listener *listener = h->data;
    struct peers *p = listener->peers;

    free(listener);
    p->handles--;
    peers_check_closed(p);
}

void peer_in_unlisten(struct peer_listener *listener)
{
    list_del(&listener->link);
    uv_close((uv_handle_t *)&listener->tcp, in_on_listener_closed);
}

static uint16_t bound_port(const uv_tcp_t *tcp)
{
    struct sockaddr_storage address = {0};
    int len = sizeof(address);

    if (uv_tcp_getsockname(tcp, (struct sockaddr *)&address, &len) < 0) {
        return 0;
    }
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
}

int peer_in_listen(struct peers *p, const char *host, uint16_t port, struct err *reterr)
{
    struct sockaddr_storage address = {0};
    struct peer_listener *listener;
    int err = resolve(p, host, port, &address, reterr);

    if (err < 0) {
        return err;
    }
    listener = xcalloc(1, sizeof(*listener));
    listener->peers = p;
    (void)uv_tcp_init(p->loop, &listener->tcp);
    listener->tcp.data = listener;
    list_add_tail(&p->listeners, &listener->link);
    p->handles++;
    err = uv_tcp_bind(&listener->tcp, (struct sockaddr *)&address, 0);
    if (err == 0) {
        err = uv_listen((uv_stream_t *)&listener->tcp, LISTEN_BACKLOG, in_on_connection);
    }
    if (err < 0) {
        peer_in_unlisten(listener);
        return err_set(
            reterr, err, "cannot listen for members on %s:%u: %s", host, port, uv_strerror(err));
    }
    p->port = bound_port(&listener->tcp);
    return 0;
}
