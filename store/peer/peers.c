#include "peer.h"

#include "clock.h"
#include "peer_internal.h"

struct peer *peers_find(const struct peers *p, uint64_t id)
{
    list_for_each (it, &p->list) {
        struct peer *peer = list_entry(it, struct peer, link);

        if (peer->id == id) {
            return peer;
        }
    }
    return NULL;
}

/* ---- the end ---- */

static void peers_on_last_closed(uv_handle_t *h)
{
    struct peers *p = h->data;

    p->closed(p->closed_data);
    free(p->own_urls);
    free(p);
}

void peers_check_closed(struct peers *p)
{
    if (p->closing && p->handles == 0 && p->conns.n == 0 && list_empty(&p->listeners) &&
        !uv_is_closing((uv_handle_t *)&p->last)) {
        uv_close((uv_handle_t *)&p->last, peers_on_last_closed);
    }
}

static void peers_on_no_conns(void *data)
{
    peers_check_closed(data);
}

static void free_hosts(struct peer *peer)
{
    for (size_t i = 0; i < ARRAY_SIZE(peer->hosts); i++) {
        free(peer->hosts[i]);
        peer->hosts[i] = NULL;
    }
}

static void peers_on_timer_closed(uv_handle_t *h)
{
    struct peer *peer = h->data;
    struct peers *p = peer->peers;

    free(peer);
    p->handles--;
    peers_check_closed(p);
}

static void peer_end(struct peer *peer)
{
    struct peers *p = peer->peers;

    for (int c = 0; c < PEER_CHANNEL_END; c++) {
        struct peer_in *in = peer_in_find(p, peer->id, (enum peer_channel)c);

        if (in != NULL) {
            peer_in_end(in, !p->closing);
        }
    }
    peer_link_stop(&peer->messages);
    peer_link_stop(&peer->stream);
    free_hosts(peer);
    list_del(&peer->link);
    uv_close((uv_handle_t *)&peer->retry, peers_on_timer_closed);
}

void peers_close(struct peers *p, void (*cb)(void *data), void *data)
{
    p->closing = true;
    p->closed = cb;
    p->closed_data = data;
    while (!list_empty(&p->listeners)) {
        peer_in_unlisten(list_entry(p->listeners.next, struct peer_listener, link));
    }
    while (!list_empty(&p->list)) {
        peer_end(list_entry(p->list.next, struct peer, link));
    }
    while (!list_empty(&p->incoming)) {
        peer_in_end(list_entry(p->incoming.next, struct peer_in, link), false);
    }
    peers_check_closed(p);
}

/* ---- members ---- */

struct peers *peers_new(
    uv_loop_t *loop, const struct peers_options *options, const struct peers_ops *ops, void *data)
{
    struct peers *p = xcalloc(1, sizeof(*p));

    decree_assert(options->hello_ms > 0);
    p->loop = loop;
    p->options = *options;
    p->ops = ops;
    p->data = data;
    p->chance = (clock_boot_ns() ^ options->id) | 1;
    p->own_urls = xstrdup("");
    p->conns = (struct peer_conn_count){.on_zero = peers_on_no_conns, .data = p};
    list_init(&p->list);
    list_init(&p->incoming);
    list_init(&p->listeners);
    (void)uv_idle_init(loop, &p->last);
    p->last.data = p;
    return p;
}

int peers_listen(struct peers *p, const char *host, uint16_t port, struct err *reterr)
{
    return peer_in_listen(p, host, port, reterr);
}

uint16_t peers_port(const struct peers *p)
{
    return p->port;
}

static void copy_address(struct peer *peer, const struct peer_address *a)
{
    free_hosts(peer);
    peer->address = *a;
    for (size_t i = 0; i < a->n; i++) {
        peer->address.at[i].host = peer->hosts[i] = xstrdup(a->at[i].host);
    }
    peer->messages.address %= (unsigned)a->n;
    peer->stream.address %= (unsigned)a->n;
}

static void add(struct peers *p, const struct peer_address *a)
{
    struct peer *peer = xcalloc(1, sizeof(*peer));

    peer->peers = p;
    peer->id = a->id;
    peer->marked = true;
    copy_address(peer, a);
    peer_link_init(&peer->messages, peer, PEER_MESSAGES);
    peer_link_init(&peer->stream, peer, PEER_SNAPSHOT);
    (void)uv_timer_init(p->loop, &peer->retry);
    peer->retry.data = peer;
    p->handles++;
    list_add_tail(&p->list, &peer->link);
    peer_link_start(&peer->messages);
}

static bool same_address(const struct peer_address *a, const struct peer_address *b)
{
    for (size_t i = 0; i < a->n && i < b->n; i++) {
        if (a->at[i].port != b->at[i].port || strcmp(a->at[i].host, b->at[i].host) != 0) {
            return false;
        }
    }
    return a->n == b->n;
}

/* A link that is up stays up; one that is not need not wait at the old address. */
static void move(struct peer *peer, const struct peer_address *a)
{
    bool same = same_address(&peer->address, a);

    copy_address(peer, a);
    if (same) {
        return;
    }
    if (peer->messages.state == LINK_DIALING) {
        peer_link_stop(&peer->messages);
        peer_link_start(&peer->messages);
    } else {
        peer_link_kick(&peer->messages);
    }
}

static bool may_stay(const struct peer *peer)
{
    const struct peers *p = peer->peers;

    return peer->stranger && !(p->ops->is_removed != NULL && p->ops->is_removed(p->data, peer->id));
}

void peers_set(struct peers *p, const struct peer_address *list, size_t n)
{
    list_for_each (it, &p->list) {
        list_entry(it, struct peer, link)->marked = false;
    }
    for (size_t i = 0; i < n; i++) {
        struct peer *peer = peers_find(p, list[i].id);

        decree_assert(list[i].n > 0 && list[i].id != p->options.id);
        if (peer != NULL) {
            peer->marked = true;
            peer->stranger = false;
            move(peer, &list[i]);
        } else {
            add(p, &list[i]);
        }
    }
    list_for_each_safe (it, &p->list) {
        struct peer *peer = list_entry(it, struct peer, link);

        if (!peer->marked && !may_stay(peer)) {
            peer_end(peer);
        }
    }
}

void peers_set_self(struct peers *p, const char *urls)
{
    free(p->own_urls);
    p->own_urls = xstrdup(urls);
}

static size_t peers_count(const struct peers *p)
{
    size_t n = 0;

    list_for_each (it, &p->list) {
        n++;
    }
    return n;
}

bool peers_meet(struct peers *p, const struct peer_address *a)
{
    decree_assert(a->n > 0 && a->id != p->options.id && peers_find(p, a->id) == NULL);
    if (peers_count(p) >= PEER_MEMBERS_MAX) {
        return false;
    }
    add(p, a);
    peers_find(p, a->id)->stranger = true;
    return true;
}

/* ---- messages ---- */

static size_t parts_bytes(struct buf *const *parts, size_t n)
{
    size_t bytes = 0;

    for (size_t i = 0; i < n; i++) {
        bytes += parts[i]->len;
    }
    return bytes;
}

void peers_send(struct peers *p, uint64_t to, struct buf *const *parts, size_t n_parts)
{
    struct peer *peer = peers_find(p, to);
    size_t bytes = parts_bytes(parts, n_parts);

    if (peer == NULL) {
        return;
    }
    if (peer->messages.state != LINK_UP || bytes > PEER_FRAME_BYTES_MAX ||
        peer_conn_queued(peer->messages.conn) + bytes > PEER_QUEUE_BYTES_MAX) {
        peer->dropped = true;
        peer->sent_failures++;
        return;
    }
    peer_link_send(&peer->messages, parts, n_parts);
}

void peers_flush(struct peers *p)
{
    list_for_each (it, &p->list) {
        struct peer *peer = list_entry(it, struct peer, link);

        if (peer->messages.state == LINK_UP) {
            peer_conn_flush(peer->messages.conn);
        }
    }
}

void peers_report(struct peers *p)
{
    list_for_each (it, &p->list) {
        struct peer *peer = list_entry(it, struct peer, link);

        if (peer->dropped) {
            peer->dropped = false;
            p->ops->unreachable(p->data, peer->id);
        }
    }
}

bool peers_connected_since(const struct peers *p, uint64_t id, uint64_t since_ms)
{
    const struct peer *peer = peers_find(p, id);

    return peer != NULL && peer->messages.state == LINK_UP &&
        peer->messages.up_since_ms <= since_ms;
}

/* ---- streams ---- */

void peers_stream_open(struct peers *p, uint64_t to)
{
    struct peer *peer = peers_find(p, to);

    if (peer != NULL && peer->stream.state == LINK_IDLE) {
        peer_link_start(&peer->stream);
    }
}

bool peers_stream_send(struct peers *p, uint64_t to, struct buf *frame_consume)
{
    struct peer *peer = peers_find(p, to);
    struct peer_link *l = &peer->stream;

    decree_assert(l->state == LINK_UP);
    peer_link_send(l, &frame_consume, 1);
    peer_conn_flush(l->conn);
    buf_unref(frame_consume);
    l->full = peer_conn_queued(l->conn) >= PEER_STREAM_WINDOW_BYTES;
    return !l->full;
}

void peers_stream_close(struct peers *p, uint64_t to)
{
    struct peer *peer = peers_find(p, to);

    if (peer != NULL) {
        peer_link_stop(&peer->stream);
    }
}

void peers_stream_answer(struct peers *p, uint64_t from, struct buf *frame_consume)
{
    struct peer_in *in = peer_in_find(p, from, PEER_SNAPSHOT);

    if (in != NULL) {
        peer_in_write(in, frame_consume);
    }
    buf_unref(frame_consume);
}

void peers_stream_resume(struct peers *p, uint64_t from)
{
    struct peer_in *in = peer_in_find(p, from, PEER_SNAPSHOT);

    if (in != NULL && in->paused) {
        in->paused = false;
        peer_conn_resume(in->conn);
        if (!in->in_frame) {
            peer_in_read(in);
        }
    }
}

/* ---- figures ---- */

size_t peers_stats(const struct peers *p, struct peer_stats ret[PEER_MEMBERS_MAX])
{
    size_t n = 0;

    list_for_each (it, &p->list) {
        const struct peer *peer = list_entry(it, struct peer, link);
        bool up = peer->messages.state == LINK_UP;

        if (n < PEER_MEMBERS_MAX) {
            ret[n++] = (struct peer_stats){.id = peer->id,
                .sent_bytes = peer->sent_bytes + (up ? peer_conn_sent(peer->messages.conn) : 0),
                .received_bytes = peer->received_bytes,
                .sent_failures = peer->sent_failures,
                .active = up};
        }
    }
    return n;
}
