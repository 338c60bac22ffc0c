/* Links over real sockets of one loop, and their codecs. */
#include <stdio.h>

#include "clock.h"
#include "codec.h"
#include "list.h"
#include "peer.h"
#include "peer_frame.h"
#include "peer_hello.h"
#include "unit.h"

enum { LIMIT_MS = 10000, INCARNATION = 50, HELLO_MS = 5000 };

/* ---- frames ---- */

static void frame(struct strbuf *out, struct bytes body)
{
    struct buf *b = buf_copy(body);
    uint8_t head[PEER_FRAME_HEAD];

    (void)peer_frame_head(&b, 1, head);
    strbuf_append(out, head, sizeof(head));
    strbuf_append_bytes(out, body);
    buf_unref(b);
}

TEST(frame, any_split_of_the_bytes_gives_the_same_frames)
{
    for (size_t step = 1; step < 40; step++) {
        _cleanup_strbuf_ struct strbuf s = {0};
        struct peer_frame_reader r = {0};
        struct bytes body;
        size_t n = 0;

        frame(&s, BYTES_LITERAL("one"));
        frame(&s, BYTES_LITERAL(""));
        frame(&s, BYTES_LITERAL("three three"));
        for (size_t at = 0; at < s.len; at += step) {
            static const char *const want[] = {"one", "", "three three"};

            peer_frame_reader_add(&r, bytes_make(s.data + at, MIN(step, s.len - at)));
            while (peer_frame_reader_next(&r, &body) == PEER_FRAME_READY) {
                assert_true(n < 3);
                assert_true(bytes_eq(body, bytes_str(want[n])));
                n++;
            }
        }
        assert_int_equal(n, 3);
        peer_frame_reader_deinit(&r);
    }
}

TEST(frame, every_flipped_bit_is_found)
{
    _cleanup_strbuf_ struct strbuf s = {0};

    frame(&s, BYTES_LITERAL("a body of some bytes"));
    for (size_t bit = 0; bit < s.len * 8; bit++) {
        struct peer_frame_reader r = {0};
        struct bytes body;

        s.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        peer_frame_reader_add(&r, strbuf_bytes(&s));
        /* A longer length waits for bytes that would have to match the checksum. */
        assert_int_not_equal(peer_frame_reader_next(&r, &body), PEER_FRAME_READY);
        s.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        peer_frame_reader_deinit(&r);
    }
}

TEST(frame, a_length_beyond_the_limit_ends_the_link_at_once)
{
    struct peer_frame_reader r = {0};
    struct bytes body;
    uint8_t head[PEER_FRAME_HEAD] = {0};

    put_u32(head, PEER_FRAME_BYTES_MAX + 1);
    peer_frame_reader_add(&r, bytes_make(head, sizeof(head)));
    assert_int_equal(peer_frame_reader_next(&r, &body), DECREE_EBAD_REQUEST);
    peer_frame_reader_deinit(&r);
}

/* ---- hello ---- */

TEST(hello, what_is_written_is_read_and_the_rest_left)
{
    struct peer_hello h = {.protocol = PEER_PROTOCOL,
        .cluster_id = 0xabcdef0123456789,
        .from = 1,
        .to = UINT64_MAX,
        .channel = PEER_SNAPSHOT};
    _cleanup_strbuf_ struct strbuf s = {0};
    struct peer_hello_reader r;
    const char *why;
    size_t used, len;

    peer_hello_request(&h, "::1", 2380, "0.1", &s);
    len = s.len;
    strbuf_append_str(&s, "frames");
    peer_hello_reader_init(&r, true);
    assert_int_equal(peer_hello_feed(&r, strbuf_bytes(&s), &used), PEER_HELLO_DONE);
    assert_int_equal(used, len);
    assert_int_equal(peer_hello_check(&r, &why), 0);
    assert_int_equal(r.hello.cluster_id, h.cluster_id);
    assert_int_equal(r.hello.to, h.to);
    assert_int_equal(r.hello.channel, h.channel);
    peer_hello_reader_deinit(&r);
}

static int refused_with(const char *request)
{
    struct peer_hello_reader r;
    const char *why = NULL;
    size_t used;
    int rc;

    peer_hello_reader_init(&r, true);
    rc = peer_hello_feed(&r, bytes_str(request), &used);
    rc = rc == PEER_HELLO_DONE ? peer_hello_check(&r, &why) : rc;
    peer_hello_reader_deinit(&r);
    return rc;
}

TEST(hello, what_is_no_upgrade_is_refused)
{
    static const char up[] = "Connection: Upgrade\r\nUpgrade: decree\r\n";
    _cleanup_free_ char *old =
        xasprintf("GET /raft/decree HTTP/1.1\r\n%sDecree-Protocol: 0\r\n\r\n", up);
    _cleanup_free_ char *bare =
        xasprintf("GET /raft/decree HTTP/1.1\r\n%sDecree-Protocol: 1\r\n\r\n", up);
    _cleanup_free_ char *twice =
        xasprintf("GET /raft/decree HTTP/1.1\r\n%sDecree-From: 1\r\nDecree-From: 2\r\n\r\n", up);

    assert_int_equal(refused_with("GET / HTTP/1.1\r\n\r\n"), 404);
    assert_int_equal(refused_with("GET /raft/decree HTTP/1.1\r\n\r\n"), 400);
    assert_int_equal(refused_with(old), 426);
    assert_int_equal(refused_with(bare), 400);
    assert_int_equal(refused_with(twice), DECREE_EBAD_REQUEST);
    assert_int_equal(refused_with("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), DECREE_EBAD_REQUEST);
}

TEST(hello, a_refusal_carries_its_reason)
{
    _cleanup_strbuf_ struct strbuf s = {0};
    _cleanup_free_ char *text = NULL;
    struct peer_hello_reader r;
    size_t used;

    peer_hello_refuse(412, "of another cluster", &s);
    peer_hello_reader_init(&r, false);
    assert_int_equal(peer_hello_feed(&r, strbuf_bytes(&s), &used), PEER_HELLO_DONE);
    assert_int_equal(peer_hello_status(&r, &text), 412);
    assert_string_equal(text, "of another cluster");
    peer_hello_reader_deinit(&r);
}

TEST(hello, endless_headers_are_cut)
{
    struct peer_hello_reader r;
    size_t used, fed = 0;
    int rc;

    peer_hello_reader_init(&r, true);
    rc = peer_hello_feed(&r, BYTES_LITERAL("GET /raft/decree HTTP/1.1\r\n"), &used);
    while (rc == PEER_HELLO_MORE && fed < 100000) {
        fed += 12;
        rc = peer_hello_feed(&r, BYTES_LITERAL("X-More: yes\r\n"), &used);
    }
    assert_int_equal(rc, DECREE_EBAD_REQUEST);
    assert_true(fed <= PEER_HELLO_BYTES_MAX);
    peer_hello_reader_deinit(&r);
}

/* ---- links ---- */

struct end {
    struct peers *peers;
    uint64_t id;
    size_t frames, bytes, unreachable, stream_frames, ready, down, cut, replies, lost;
    uint8_t last;
    int verdict; /* of the next stream frame */
    char why[128];
    uint64_t removed;  /* whom it knows as removed */
    uint64_t question; /* the last one */
    bool tells_later;
    struct end *meets; /* it meets that one when it comes as a stranger */
    size_t strangers, refused;
    enum peer_refusal refusal;
};

static uv_loop_t loop;
static size_t closing;

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

static const struct peers_ops ops = {.frame = on_frame,
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

static void end_init(struct end *e, uint64_t id, uint64_t cluster)
{
    struct peers_options o = {.id = id,
        .cluster_id = cluster,
        .incarnation = INCARNATION,
        .version = "0",
        .hello_ms = HELLO_MS};

    *e = (struct end){.id = id};
    e->peers = peers_new(&loop, &o, &ops, e);
    assert_int_equal(peers_listen(e->peers, "127.0.0.1", 0, NULL), 0);
}

static uint64_t known_incarnation; /* of whoever is known */

static void knows(struct end *e, const struct end *other, uint64_t as)
{
    struct peer_address a = {
        .id = as, .incarnation = known_incarnation, .n = 1, .at = {{"127.0.0.1", 0}}};

    a.at[0].port = peers_port(other->peers);
    peers_set(e->peers, &a, 1);
}

static void on_closed(void *data)
{
    (void)data;
    closing--;
}

static void end_close(struct end *e)
{
    closing++;
    peers_close(e->peers, on_closed, NULL);
}

static void finish_loop(void)
{
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(closing, 0);
    assert_int_equal(uv_loop_close(&loop), 0);
}

#define UNTIL(cond)                                                                                \
    do {                                                                                           \
        uint64_t begun_ = clock_boot_ms();                                                         \
        while (!(cond)) {                                                                          \
            assert_true(clock_boot_ms() - begun_ < LIMIT_MS);                                      \
            (void)uv_run(&loop, UV_RUN_ONCE);                                                      \
        }                                                                                          \
    } while (0)

static bool is_up(const struct end *e, uint64_t to)
{
    return peers_connected_since(e->peers, to, UINT64_MAX);
}

static void send_bytes(struct end *e, uint64_t to, size_t len, uint8_t mark)
{
    struct buf *b = buf_new(len);

    memset(b->data, mark, len);
    peers_send(e->peers, to, &b, 1);
    buf_unref(b);
}

TEST(peer, frames_of_both_directions_arrive_in_order)
{
    struct end a, b;

    assert_int_equal(uv_loop_init(&loop), 0);
    end_init(&a, 1, 7);
    end_init(&b, 2, 7);
    knows(&a, &b, 2);
    knows(&b, &a, 1);
    UNTIL(is_up(&a, 2) && is_up(&b, 1));
    for (int i = 0; i < 100; i++) {
        send_bytes(&a, 2, (size_t)(1 + i * 997), (uint8_t)i);
        send_bytes(&b, 1, 10, (uint8_t)i);
    }
    peers_flush(a.peers);
    peers_flush(b.peers);
    UNTIL(a.frames == 100 && b.frames == 100);
    assert_int_equal(a.last, 99);
    assert_int_equal(b.last, 99);
    end_close(&a);
    end_close(&b);
    finish_loop();
}

TEST(peer, a_lost_link_is_told_and_comes_back)
{
    struct end a, b;
    uint16_t port;
    struct peers_options o = {
        .id = 2, .cluster_id = 7, .incarnation = INCARNATION, .version = "0", .hello_ms = HELLO_MS};
    struct peer_address address = {.id = 1, .n = 1, .at = {{"127.0.0.1", 0}}};

    assert_int_equal(uv_loop_init(&loop), 0);
    end_init(&a, 1, 7);
    end_init(&b, 2, 7);
    knows(&a, &b, 2);
    knows(&b, &a, 1);
    UNTIL(is_up(&a, 2) && is_up(&b, 1));
    port = peers_port(b.peers);
    assert_int_equal(a.lost, 0);
    end_close(&b);
    UNTIL(a.unreachable > 0 && a.lost > 0);
    assert_int_equal(a.lost, 1);
    assert_false(is_up(&a, 2));
    send_bytes(&a, 2, 10, 1); /* dropped, and reported once */
    a.unreachable = 0;
    peers_report(a.peers);
    peers_report(a.peers);
    assert_int_equal(a.unreachable, 1);
    UNTIL(closing == 0);
    b = (struct end){.id = 2};
    b.peers = peers_new(&loop, &o, &ops, &b);
    assert_int_equal(peers_listen(b.peers, "127.0.0.1", port, NULL), 0);
    address.at[0].port = peers_port(a.peers);
    peers_set(b.peers, &address, 1);
    UNTIL(is_up(&a, 2));
    end_close(&a);
    end_close(&b);
    finish_loop();
}

/* Dials with what does not fit, over a stream, whose end says why. */
static void expect_refusal(uint64_t cluster, uint64_t from, uint64_t as, const char *text)
{
    struct end a, b;

    assert_int_equal(uv_loop_init(&loop), 0);
    end_init(&a, from, cluster);
    end_init(&b, 2, 7);
    knows(&b, &a, 1);
    knows(&a, &b, as);
    peers_stream_open(a.peers, as);
    UNTIL(a.down > 0);
    if (strstr(a.why, text) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", a.why, text);
    }
    assert_int_equal(a.ready, 0);
    end_close(&a);
    end_close(&b);
    finish_loop();
}

TEST(peer, another_cluster_is_refused_with_both_names)
{
    expect_refusal(8, 1, 2, "of cluster 0000000000000007, not of 0000000000000008");
}

TEST(peer, a_wrong_address_is_refused)
{
    expect_refusal(7, 1, 3, "this is member 0000000000000002, not 0000000000000003");
}

TEST(peer, a_stranger_is_refused)
{
    expect_refusal(7, 9, 2, "no member 0000000000000009 is known here");
}

TEST(peer, one_that_lost_its_data_is_refused_by_both_sides)
{
    struct end a, b;

    assert_int_equal(uv_loop_init(&loop), 0);
    end_init(&a, 1, 7);
    end_init(&b, 2, 7);
    known_incarnation = INCARNATION;
    knows(&a, &b, 2); /* as it is */
    known_incarnation = INCARNATION + 1;
    knows(&b, &a, 1); /* as it was */
    known_incarnation = 0;
    peers_stream_open(a.peers, 2);
    peers_stream_open(b.peers, 1);
    UNTIL(a.down > 0 && b.down > 0);
    assert_non_null(strstr(a.why, "lost its data")); /* the acceptor saw it */
    assert_non_null(strstr(b.why, "lost its data")); /* the dialler saw it */
    assert_int_equal(a.ready + b.ready, 0);
    end_close(&a);
    end_close(&b);
    finish_loop();
}

TEST(peer, a_stream_is_bounded_by_its_reader_and_answered)
{
    struct end a, b;
    bool room = true;
    size_t sent = 0;
    struct buf *answer = buf_copy(BYTES_LITERAL("Y"));

    assert_int_equal(uv_loop_init(&loop), 0);
    end_init(&a, 1, 7);
    end_init(&b, 2, 7);
    knows(&a, &b, 2);
    knows(&b, &a, 1);
    b.verdict = 1; /* hold it after the first frame */
    peers_stream_open(a.peers, 2);
    UNTIL(a.ready == 1);
    /* Beyond the socket's own room nothing drains while the reader holds. */
    while (room || a.ready > 1) {
        a.ready = 1;
        room = peers_stream_send(a.peers, 2, buf_new(64 << 10));
        sent++;
        assert_true(sent < 4096);
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    }
    UNTIL(b.stream_frames == 1);
    for (int i = 0; i < 20; i++) {
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(b.stream_frames, 1);
    b.verdict = 0;
    peers_stream_resume(b.peers, 1);
    UNTIL(b.stream_frames == sent && a.ready > 1);
    peers_stream_answer(b.peers, 1, answer);
    UNTIL(a.replies == 1 && b.cut == 1);
    assert_int_equal(a.last, 'Y');
    end_close(&a);
    end_close(&b);
    finish_loop();
}

TEST(peer, a_queue_that_is_not_read_drops_instead_of_growing)
{
    struct end a, b;
    struct peer_stats stats[PEER_MEMBERS_MAX];

    assert_int_equal(uv_loop_init(&loop), 0);
    end_init(&a, 1, 7);
    end_init(&b, 2, 7);
    knows(&a, &b, 2);
    knows(&b, &a, 1);
    UNTIL(is_up(&a, 2));
    for (int i = 0; i < 64; i++) {
        send_bytes(&a, 2, 1 << 20, 0); /* the loop does not run: nobody reads */
        peers_flush(a.peers);
    }
    assert_int_equal(peers_stats(a.peers, stats), 1);
    assert_true(stats[0].sent_failures > 40);
    peers_report(a.peers);
    assert_int_equal(a.unreachable, 1);
    end_close(&a);
    end_close(&b);
    finish_loop();
}

TEST(peer, one_that_was_removed_is_told_so)
{
    struct end a, b;

    assert_int_equal(uv_loop_init(&loop), 0);
    end_init(&a, 1, 7);
    end_init(&b, 2, 7);
    a.removed = 2;
    peers_set_self(b.peers, "http://here:1");
    knows(&b, &a, 1);
    UNTIL(b.refused > 0);
    assert_int_equal(b.refusal, PEER_REFUSED_REMOVED);
    assert_non_null(strstr(b.why, "has been removed"));
    assert_int_equal(a.strangers, 0);
    assert_false(is_up(&b, 1));
    end_close(&a);
    end_close(&b);
    finish_loop();
}

TEST(peer, one_that_lost_its_data_is_told_so)
{
    struct end a, b;

    assert_int_equal(uv_loop_init(&loop), 0);
    end_init(&a, 1, 7);
    end_init(&b, 2, 7);
    known_incarnation = INCARNATION + 1;
    knows(&a, &b, 2);
    known_incarnation = 0;
    knows(&b, &a, 1);
    UNTIL(b.refused > 0);
    assert_int_equal(b.refusal, PEER_REFUSED_REPLACED);
    assert_int_equal(a.refused, 0);
    end_close(&a);
    end_close(&b);
    finish_loop();
}

/* It is far behind and has never heard of its leader. */
TEST(peer, a_stranger_that_says_where_it_is_can_be_answered)
{
    struct end a, b;

    assert_int_equal(uv_loop_init(&loop), 0);
    end_init(&a, 1, 7);
    end_init(&b, 2, 7);
    a.meets = &b;
    peers_set_self(b.peers, "http://here:1");
    knows(&b, &a, 1);
    UNTIL(is_up(&b, 1) && is_up(&a, 2));
    send_bytes(&a, 2, 10, 5);
    peers_flush(a.peers);
    UNTIL(b.frames == 1);
    peers_set(a.peers, NULL, 0); /* a list that lacks it still */
    assert_true(is_up(&a, 2));
    a.removed = 2;
    peers_set(a.peers, NULL, 0);
    assert_false(is_up(&a, 2));
    UNTIL(b.refused > 0);
    end_close(&a);
    end_close(&b);
    finish_loop();
}

TEST(peer, a_new_address_takes_effect_at_once)
{
    struct end a, b, dead;
    uint64_t begun;

    assert_int_equal(uv_loop_init(&loop), 0);
    end_init(&a, 1, 7);
    end_init(&b, 2, 7);
    end_init(&dead, 3, 7); /* another member's address, which refuses */
    knows(&b, &a, 1);
    knows(&a, &dead, 2);
    begun = clock_boot_ms();
    while (clock_boot_ms() - begun < 1500) {
        (void)uv_run(&loop, UV_RUN_ONCE); /* until its back-off is long */
    }
    assert_false(is_up(&a, 2));
    begun = clock_boot_ms();
    knows(&a, &b, 2);
    UNTIL(is_up(&a, 2));
    assert_true(clock_boot_ms() - begun < 500);
    end_close(&a);
    end_close(&b);
    end_close(&dead);
    finish_loop();
}

static int accepted;
static uv_tcp_t accepted_by_nobody[2];

static void on_dialled(uv_stream_t *listener, int status)
{
    uv_tcp_t *conn = &accepted_by_nobody[accepted];

    assert_int_equal(status, 0);
    if (accepted < 2) {
        assert_int_equal(uv_tcp_init(&loop, conn), 0);
        assert_int_equal(uv_accept(listener, (uv_stream_t *)conn), 0);
        accepted++;
    }
}

/* The other end has forgotten the connection, or is a host that hangs. */
TEST(peer, one_that_takes_a_link_and_says_nothing_is_dialled_again)
{
    struct peer_address address = {.id = 2, .n = 1, .at = {{"127.0.0.1", 0}}};
    struct peers_options o = {
        .id = 1, .cluster_id = 7, .incarnation = INCARNATION, .version = "0", .hello_ms = 100};
    struct sockaddr_in at;
    int len = sizeof(at);
    struct end a = {.id = 1};
    uv_tcp_t listener;
    uint64_t begun = clock_boot_ms();

    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &at), 0);
    assert_int_equal(uv_tcp_init(&loop, &listener), 0);
    assert_int_equal(uv_tcp_bind(&listener, (const struct sockaddr *)&at, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&listener, 8, on_dialled), 0);
    assert_int_equal(uv_tcp_getsockname(&listener, (struct sockaddr *)&at, &len), 0);
    address.at[0].port = ntohs(at.sin_port);
    a.peers = peers_new(&loop, &o, &ops, &a);
    peers_set(a.peers, &address, 1);
    UNTIL(accepted == 2);
    assert_true(clock_boot_ms() - begun >= 100);
    for (int i = 0; i < 2; i++) {
        uv_close((uv_handle_t *)&accepted_by_nobody[i], NULL);
    }
    uv_close((uv_handle_t *)&listener, NULL);
    end_close(&a);
    finish_loop();
}

struct question {
    uv_thread_t thread;
    uint16_t port;
    struct strbuf answer;
    int status;
    bool done;
    uv_async_t wake;
};

static void ask_in_thread(void *data)
{
    struct question *q = data;

    q->status = peer_fetch_members("127.0.0.1", q->port, LIMIT_MS, &q->answer, NULL);
    (void)uv_async_send(&q->wake);
}

static void on_answered(uv_async_t *async)
{
    struct question *q = async->data;

    q->done = true;
    uv_close((uv_handle_t *)async, NULL);
}

TEST(peer, one_that_is_no_member_may_ask_who_the_members_are)
{
    struct question q = {0};
    struct end a;

    assert_int_equal(uv_loop_init(&loop), 0);
    end_init(&a, 1, 7);
    q.port = peers_port(a.peers);
    q.wake.data = &q;
    assert_int_equal(uv_async_init(&loop, &q.wake, on_answered), 0);
    assert_int_equal(uv_thread_create(&q.thread, ask_in_thread, &q), 0);
    UNTIL(q.done);
    assert_int_equal(uv_thread_join(&q.thread), 0);
    assert_int_equal(q.status, 0);
    assert_true(bytes_eq(strbuf_bytes(&q.answer), bytes_str("the members")));
    strbuf_deinit(&q.answer);
    end_close(&a);
    finish_loop();
}

TEST(peer, an_answer_may_take_its_time_and_an_asker_may_not_wait)
{
    struct question q = {0};
    struct end a;

    assert_int_equal(uv_loop_init(&loop), 0);
    end_init(&a, 1, 7);
    a.tells_later = true;
    q.port = peers_port(a.peers);
    q.wake.data = &q;
    assert_int_equal(uv_async_init(&loop, &q.wake, on_answered), 0);
    assert_int_equal(uv_thread_create(&q.thread, ask_in_thread, &q), 0);
    UNTIL(a.question != 0);
    peers_tell_members(a.peers, a.question + 1, bytes_str("of another one"));
    assert_false(q.done);
    peers_tell_members(a.peers, a.question, bytes_str("the members"));
    UNTIL(q.done);
    peers_tell_members(a.peers, a.question, bytes_str("once more")); /* it is gone */
    assert_int_equal(uv_thread_join(&q.thread), 0);
    assert_int_equal(q.status, 0);
    assert_true(bytes_eq(strbuf_bytes(&q.answer), bytes_str("the members")));
    strbuf_deinit(&q.answer);
    end_close(&a);
    finish_loop();
}

static int parse_answer(const char *text, const char *want)
{
    _cleanup_strbuf_ struct strbuf body = {0};
    int err = peer_fetch_parse(bytes_str(text), &body, NULL);

    assert_true(err < 0 || bytes_eq(strbuf_bytes(&body), bytes_str(want)));
    return err;
}

TEST(peer, an_answer_that_is_cut_or_no_answer_is_refused)
{
    assert_int_equal(parse_answer("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc"), 0);
    assert_true(parse_answer("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", "") < 0);
    assert_true(parse_answer("HTTP/1.1 404 No\r\nContent-Length: 3\r\n\r\nabc", "") < 0);
    assert_true(parse_answer("", "") < 0);
    assert_true(parse_answer("SSH-2.0-x\r\n", "") < 0);
}

TEST_MAIN(UNIT(frame, any_split_of_the_bytes_gives_the_same_frames),
    UNIT(frame, every_flipped_bit_is_found),
    UNIT(frame, a_length_beyond_the_limit_ends_the_link_at_once),
    UNIT(hello, what_is_written_is_read_and_the_rest_left),
    UNIT(hello, what_is_no_upgrade_is_refused), UNIT(hello, a_refusal_carries_its_reason),
    UNIT(hello, endless_headers_are_cut), UNIT(peer, frames_of_both_directions_arrive_in_order),
    UNIT(peer, a_lost_link_is_told_and_comes_back),
    UNIT(peer, another_cluster_is_refused_with_both_names), UNIT(peer, a_wrong_address_is_refused),
    UNIT(peer, a_stranger_is_refused), UNIT(peer, one_that_lost_its_data_is_refused_by_both_sides),
    UNIT(peer, a_stream_is_bounded_by_its_reader_and_answered),
    UNIT(peer, a_queue_that_is_not_read_drops_instead_of_growing),
    UNIT(peer, one_that_was_removed_is_told_so), UNIT(peer, one_that_lost_its_data_is_told_so),
    UNIT(peer, a_stranger_that_says_where_it_is_can_be_answered),
    UNIT(peer, a_new_address_takes_effect_at_once),
    UNIT(peer, one_that_takes_a_link_and_says_nothing_is_dialled_again),
    UNIT(peer, one_that_is_no_member_may_ask_who_the_members_are),
    UNIT(peer, an_answer_may_take_its_time_and_an_asker_may_not_wait),
    UNIT(peer, an_answer_that_is_cut_or_no_answer_is_refused))
