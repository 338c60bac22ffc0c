#include "peer_end.h"

#include <stdio.h>

#include "unit.h"

enum { HELLO_MS = 5000 };

uv_loop_t end_loop;
size_t ends_closing;

/* ---- what the links tell ---- */

static void on_frame(void *data, uint64_t from, struct bytes body)
{
    struct end *e = data;

    assert_int_not_equal(from, e->id);
    e->frames++;
    e->bytes += body.len;
    e->last = body.len != 0 ? body.data[body.len - 1] : 0;
}

static void on_unreachable(void *data, uint64_t peer)
{
    (void)peer;
    ((struct end *)data)->unreachable++;
}

static void on_stream_ready(void *data, uint64_t to)
{
    (void)to;
    ((struct end *)data)->ready++;
}

static void on_stream_reply(void *data, uint64_t to, struct bytes body)
{
    struct end *e = data;

    e->replies++;
    e->last = body.data[0];
    peers_stream_close(e->peers, to);
}

static void on_stream_down(void *data, uint64_t to, const char *why)
{
    struct end *e = data;

    (void)to;
    e->down++;
    (void)snprintf(e->why, sizeof(e->why), "%s", why);
}

static int on_stream_frame(void *data, uint64_t from, struct bytes body)
{
    struct end *e = data;

    (void)from;
    e->stream_frames++;
    e->bytes += body.len;
    return e->verdict;
}

static void on_stream_cut(void *data, uint64_t from)
{
    (void)from;
    ((struct end *)data)->cut++;
}

static void on_link_lost(void *data, uint64_t from)
{
    (void)from;
    ((struct end *)data)->lost++;
}

static bool end_is_removed(void *data, uint64_t id)
{
    return ((struct end *)data)->removed == id;
}

static void on_stranger(void *data, uint64_t from, const char *urls)
{
    struct end *e = data;
    struct peer_address a = {.id = from, .n = 1, .at = {{"127.0.0.1", 0}}};

    e->strangers++;
    assert_string_equal(urls, "http://here:1");
    if (e->meets != NULL) {
        a.at[0].port = peers_port(e->meets->peers);
        assert_true(peers_meet(e->peers, &a));
    }
}

static void on_question(void *data, uint64_t question)
{
    struct end *e = data;

    e->question = question;
    if (!e->tells_later) {
        peers_tell_members(e->peers, question, bytes_str("the members"));
    }
}

static void on_refused(void *data, uint64_t by, enum peer_refusal refusal, const char *why)
{
    struct end *e = data;

    (void)by;
    e->refused++;
    e->refusal = refusal;
    (void)snprintf(e->why, sizeof(e->why), "%s", why);
}

const struct peers_ops end_ops = {.frame = on_frame,
    .unreachable = on_unreachable,
    .link_lost = on_link_lost,
    .stream_ready = on_stream_ready,
    .stream_reply = on_stream_reply,
    .stream_down = on_stream_down,
    .stream_frame = on_stream_frame,
    .stream_cut = on_stream_cut,
    .is_removed = end_is_removed,
    .stranger = on_stranger,
    .members = on_question,
    .refused = on_refused};

/* ---- life ---- */

void end_init_at(struct end *e, uint64_t id, uint64_t cluster, uint16_t port)
{
    struct peers_options o = {.id = id,
        .cluster_id = cluster,
        .incarnation = END_INCARNATION,
        .version = "0",
        .hello_ms = HELLO_MS};

    *e = (struct end){.id = id};
    e->peers = peers_new(&end_loop, &o, &end_ops, e);
    assert_int_equal(peers_listen(e->peers, "127.0.0.1", port, NULL), 0);
}

void end_init(struct end *e, uint64_t id, uint64_t cluster)
{
    end_init_at(e, id, cluster, 0);
}

void end_knows_as(struct end *e, const struct end *other, uint64_t as, uint64_t incarnation)
{
    struct peer_address a = {
        .id = as, .incarnation = incarnation, .n = 1, .at = {{"127.0.0.1", 0}}};

    a.at[0].port = peers_port(other->peers);
    peers_set(e->peers, &a, 1);
}

void end_knows(struct end *e, const struct end *other, uint64_t as)
{
    end_knows_as(e, other, as, 0);
}

static void on_closed(void *data)
{
    (void)data;
    ends_closing--;
}

void end_close(struct end *e)
{
    ends_closing++;
    peers_close(e->peers, on_closed, NULL);
}

void end_finish(void)
{
    (void)uv_run(&end_loop, UV_RUN_DEFAULT);
    assert_int_equal(ends_closing, 0);
    assert_int_equal(uv_loop_close(&end_loop), 0);
}

void ends_open(struct end *a, struct end *b)
{
    assert_int_equal(uv_loop_init(&end_loop), 0);
    end_init(a, 1, 7);
    end_init(b, 2, 7);
}

void ends_close(struct end *a, struct end *b)
{
    end_close(a);
    end_close(b);
    end_finish();
}

bool end_is_up(const struct end *e, uint64_t to)
{
    return peers_connected_since(e->peers, to, UINT64_MAX);
}

void end_send(struct end *e, uint64_t to, size_t len, uint8_t mark)
{
    struct buf *b = buf_new(len);

    memset(b->data, mark, len);
    peers_send(e->peers, to, &b, 1);
    buf_unref(b);
}
