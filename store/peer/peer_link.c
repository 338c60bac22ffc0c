#include "peer_internal.h"

#include <inttypes.h>

#include "log.h"

static void link_down(struct peer_link *l, const char *why);

void peer_link_init(struct peer_link *l, struct peer *peer, enum peer_channel channel)
{
    *l = (struct peer_link){.peer = peer, .channel = channel};
}

static void drop_conn(struct peer_link *l)
{
    l->conn = NULL;
    l->full = false;
    peer_hello_reader_deinit(&l->hello);
    peer_frame_reader_deinit(&l->frames);
}

void peer_link_stop(struct peer_link *l)
{
    if (l->conn != NULL) {
        l->peer->sent_bytes += l->state == LINK_UP ? peer_conn_sent(l->conn) : 0;
        peer_conn_close(l->conn);
        drop_conn(l);
    }
    l->state = LINK_IDLE;
    free(l->last_reason);
    l->last_reason = NULL;
}

/* ---- what comes back ---- */

static void on_hello_taken(struct peer_link *l)
{
    struct peers *p = l->peer->peers;

    l->state = LINK_UP;
    l->failures = 0;
    l->up_since_ms = uv_now(p->loop);
    peer_conn_deadline(l->conn, 0, NULL);
    free(l->last_reason);
    l->last_reason = NULL;
    log_info("link to member is up member=%016" PRIx64 " channel=%s", l->peer->id,
        l->channel == PEER_MESSAGES ? "messages" : "snapshot");
    if (l->channel == PEER_SNAPSHOT) {
        p->ops->stream_ready(p->data, l->peer->id);
    }
}

/* Nothing is ever said on a message link; on a stream one answer. */
static void on_frames(struct peer_link *l, struct bytes b)
{
    struct peer *peer = l->peer;
    struct peers *p = peer->peers;
    struct bytes body;
    int rc;

    peer_frame_reader_add(&l->frames, b);
    rc = peer_frame_reader_next(&l->frames, &body);
    if (rc < 0 || (rc == PEER_FRAME_READY && l->channel != PEER_SNAPSHOT)) {
        peer_conn_close(l->conn);
        link_down(l, "it sent what is no answer");
    } else if (rc == PEER_FRAME_READY) {
        _cleanup_buf_ struct buf *copy = buf_copy(body); /* the callback may end the stream */

        p->ops->stream_reply(p->data, peer->id, buf_bytes(copy));
    }
}

static void on_hello_bytes(struct peer_link *l, struct bytes b)
{
    struct peers *p = l->peer->peers;
    uint64_t by = l->peer->id;
    _cleanup_free_ char *text = NULL;
    size_t used = 0;
    int rc = peer_hello_feed(&l->hello, b, &used);
    int status = 0;

    if (rc == PEER_HELLO_MORE) {
        return;
    }
    if (rc < 0) {
        text = xstrdup("what it answered is no HTTP upgrade");
    } else if ((status = peer_hello_status(&l->hello, &text)) == 101 &&
        peer_is_replaced(l->peer, l->hello.hello.incarnation)) {
        text = xstrdup(PEER_REPLACED_TEXT);
    } else if (text == NULL) {
        on_hello_taken(l);
        if (l->state == LINK_UP && b.len > used) {
            on_frames(l, bytes_make(b.data + used, b.len - used));
        }
        return;
    }
    peer_conn_close(l->conn);
    link_down(l, text);
    if (p->ops->refused != NULL &&
        (status == PEER_STATUS_REMOVED || status == PEER_STATUS_REPLACED)) {
        p->ops->refused(p->data, by,
            status == PEER_STATUS_REMOVED ? PEER_REFUSED_REMOVED : PEER_REFUSED_REPLACED, text);
    }
}

static void link_on_bytes(void *data, struct bytes b)
{
    struct peer_link *l = data;

    if (l->state == LINK_DIALING) {
        on_hello_bytes(l, b);
    } else {
        on_frames(l, b);
    }
}

static void link_on_drained(void *data)
{
    struct peer_link *l = data;
    struct peers *p = l->peer->peers;

    if (l->full && l->state == LINK_UP) {
        l->full = false;
        p->ops->stream_ready(p->data, l->peer->id);
    }
}

/* ---- going up ---- */

static void link_on_open(void *data)
{
    struct peer_link *l = data;
    struct peers *p = l->peer->peers;
    struct peer_hello hello = {.protocol = PEER_PROTOCOL,
        .cluster_id = p->options.cluster_id,
        .from = p->options.id,
        .to = l->peer->id,
        .incarnation = p->options.incarnation,
        .channel = l->channel,
        .urls = p->own_urls};
    _cleanup_strbuf_ struct strbuf text = {0};
    _cleanup_buf_ struct buf *b = NULL;

    peer_hello_request(&hello, l->peer->address.at[l->address].host,
        l->peer->address.at[l->address].port, p->options.version, &text);
    b = buf_copy(strbuf_bytes(&text));
    peer_conn_write(l->conn, b);
    peer_conn_flush(l->conn);
}

static void link_on_down(void *data, const char *why)
{
    link_down(data, why);
}

static const struct peer_conn_ops link_ops = {
    .open = link_on_open, .bytes = link_on_bytes, .drained = link_on_drained, .down = link_on_down};

void peer_link_start(struct peer_link *l)
{
    struct peers *p = l->peer->peers;
    const struct peer_address *a = &l->peer->address;

    decree_assert(l->conn == NULL && a->n > 0);
    l->address = l->failures % (unsigned)a->n;
    l->state = LINK_DIALING;
    peer_hello_reader_init(&l->hello, false);
    l->conn = peer_conn_dial(p->loop, a->at[l->address].host, a->at[l->address].port, &link_ops, l);
    peer_conn_counted(l->conn, &p->conns);
    peer_conn_deadline(l->conn, p->options.hello_ms, "it did not answer in time");
}

static void link_on_retry(uv_timer_t *timer)
{
    struct peer *peer = timer->data;

    peer_link_start(&peer->messages);
}

void peer_link_kick(struct peer_link *l)
{
    if (l->state == LINK_WAITING) {
        (void)uv_timer_stop(&l->peer->retry);
        peer_link_start(l);
    }
}

/* ---- going down ---- */

static uint64_t next_chance(struct peers *p)
{
    p->chance ^= p->chance << 13;
    p->chance ^= p->chance >> 7;
    p->chance ^= p->chance << 17;
    return p->chance;
}

/* Doubling from the minimum, half of it by chance, so that members do not dial in step. */
static uint64_t backoff_ms(struct peer_link *l)
{
    uint64_t ms = (uint64_t)BACKOFF_MIN_MS << MIN(l->failures, 6u);

    ms = MIN(ms, (uint64_t)BACKOFF_MAX_MS);
    return ms / 2 + next_chance(l->peer->peers) % (ms / 2 + 1);
}

static void log_reason(struct peer_link *l, bool was_up, const char *why)
{
    const struct peer_address *a = &l->peer->address;

    if (!was_up && l->last_reason != NULL && strcmp(l->last_reason, why) == 0) {
        return;
    }
    log_warn("link to member is down, dialling again member=%016" PRIx64 " host=%s port=%u: %s",
        l->peer->id, a->at[l->address].host, a->at[l->address].port, why);
    free(l->last_reason);
    l->last_reason = xstrdup(why);
}

/* The connection has gone, or goes: its object is not ours any more. */
static void link_down(struct peer_link *l, const char *why)
{
    struct peer *peer = l->peer;
    struct peers *p = peer->peers;
    bool was_up = l->state == LINK_UP;

    peer->sent_bytes += was_up ? peer_conn_sent(l->conn) : 0;
    drop_conn(l);
    l->state = LINK_IDLE;
    if (l->channel == PEER_SNAPSHOT) {
        p->ops->stream_down(p->data, peer->id, why);
        return;
    }
    peer->sent_failures += was_up;
    log_reason(l, was_up, why);
    l->state = LINK_WAITING;
    (void)uv_timer_start(&peer->retry, link_on_retry, backoff_ms(l), 0);
    l->failures++;
    p->ops->unreachable(p->data, peer->id);
}

/* ---- sending ---- */

void peer_link_send(struct peer_link *l, struct buf *const *parts, size_t n_parts)
{
    struct buf *head = buf_new(PEER_FRAME_HEAD);

    decree_assert(l->state == LINK_UP);
    (void)peer_frame_head(parts, n_parts, head->data);
    peer_conn_write(l->conn, head);
    buf_unref(head);
    for (size_t i = 0; i < n_parts; i++) {
        peer_conn_write(l->conn, parts[i]);
    }
}
