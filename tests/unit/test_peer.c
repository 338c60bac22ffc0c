/* Links between members that know each other. */
#include "peer_end.h"
#include "unit.h"

TEST(peer, frames_of_both_directions_arrive_in_order)
{
    struct end a, b;

    ends_open(&a, &b);
    end_knows(&a, &b, 2);
    end_knows(&b, &a, 1);
    UNTIL(end_is_up(&a, 2) && end_is_up(&b, 1));
    for (int i = 0; i < 100; i++) {
        end_send(&a, 2, (size_t)(1 + i * 997), (uint8_t)i);
        end_send(&b, 1, 10, (uint8_t)i);
    }
    peers_flush(a.peers);
    peers_flush(b.peers);
    UNTIL(a.frames == 100 && b.frames == 100);
    assert_int_equal(a.last, 99);
    assert_int_equal(b.last, 99);
    ends_close(&a, &b);
}

TEST(peer, a_lost_link_is_told_and_comes_back)
{
    struct end a, b;
    uint16_t port;

    ends_open(&a, &b);
    end_knows(&a, &b, 2);
    end_knows(&b, &a, 1);
    UNTIL(end_is_up(&a, 2) && end_is_up(&b, 1));
    port = peers_port(b.peers);
    assert_int_equal(a.lost, 0);
    end_close(&b);
    UNTIL(a.unreachable > 0 && a.lost > 0);
    assert_int_equal(a.lost, 1);
    assert_false(end_is_up(&a, 2));
    end_send(&a, 2, 10, 1); /* dropped, and reported once */
    a.unreachable = 0;
    peers_report(a.peers);
    peers_report(a.peers);
    assert_int_equal(a.unreachable, 1);
    UNTIL(ends_closing == 0);
    end_init_at(&b, 2, 7, port);
    end_knows(&b, &a, 1);
    UNTIL(end_is_up(&a, 2));
    ends_close(&a, &b);
}

TEST(peer, a_stream_is_bounded_by_its_reader_and_answered)
{
    struct end a, b;
    bool room = true;
    size_t sent = 0;
    struct buf *answer = buf_copy(BYTES_LITERAL("Y"));

    ends_open(&a, &b);
    end_knows(&a, &b, 2);
    end_knows(&b, &a, 1);
    b.verdict = 1; /* hold it after the first frame */
    peers_stream_open(a.peers, 2);
    UNTIL(a.ready == 1);
    /* Beyond the socket's own room nothing drains while the reader holds. */
    while (room || a.ready > 1) {
        a.ready = 1;
        room = peers_stream_send(a.peers, 2, buf_new(64 << 10));
        sent++;
        assert_true(sent < 4096);
        (void)uv_run(&end_loop, UV_RUN_NOWAIT);
    }
    UNTIL(b.stream_frames == 1);
    for (int i = 0; i < 20; i++) {
        (void)uv_run(&end_loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(b.stream_frames, 1);
    b.verdict = 0;
    peers_stream_resume(b.peers, 1);
    UNTIL(b.stream_frames == sent && a.ready > 1);
    peers_stream_answer(b.peers, 1, answer);
    UNTIL(a.replies == 1 && b.cut == 1);
    assert_int_equal(a.last, 'Y');
    ends_close(&a, &b);
}

TEST(peer, a_queue_that_is_not_read_drops_instead_of_growing)
{
    struct end a, b;
    struct peer_stats stats[PEER_MEMBERS_MAX];

    ends_open(&a, &b);
    end_knows(&a, &b, 2);
    end_knows(&b, &a, 1);
    UNTIL(end_is_up(&a, 2));
    for (int i = 0; i < 64; i++) {
        end_send(&a, 2, 1 << 20, 0); /* the end_loop does not run: nobody reads */
        peers_flush(a.peers);
    }
    assert_int_equal(peers_stats(a.peers, stats), 1);
    assert_true(stats[0].sent_failures > 40);
    peers_report(a.peers);
    assert_int_equal(a.unreachable, 1);
    ends_close(&a, &b);
}

TEST(peer, a_new_address_takes_effect_at_once)
{
    struct end a, b, dead;
    uint64_t begun;

    ends_open(&a, &b);
    end_init(&dead, 3, 7); /* another member's address, which refuses */
    end_knows(&b, &a, 1);
    end_knows(&a, &dead, 2);
    begun = clock_boot_ms();
    while (clock_boot_ms() - begun < 1500) {
        (void)uv_run(&end_loop, UV_RUN_ONCE); /* until its back-off is long */
    }
    assert_false(end_is_up(&a, 2));
    begun = clock_boot_ms();
    end_knows(&a, &b, 2);
    UNTIL(end_is_up(&a, 2));
    assert_true(clock_boot_ms() - begun < 500);
    end_close(&a);
    end_close(&b);
    end_close(&dead);
    end_finish();
}

static int accepted;
static uv_tcp_t accepted_by_nobody[2];

static void on_dialled(uv_stream_t *listener, int status)
{
    uv_tcp_t *conn = &accepted_by_nobody[accepted];

    assert_int_equal(status, 0);
    if (accepted < 2) {
        assert_int_equal(uv_tcp_init(&end_loop, conn), 0);
        assert_int_equal(uv_accept(listener, (uv_stream_t *)conn), 0);
        accepted++;
    }
}

/* The other end has forgotten the connection, or is a host that hangs. */
TEST(peer, one_that_takes_a_link_and_says_nothing_is_dialled_again)
{
    struct peer_address address = {.id = 2, .n = 1, .at = {{"127.0.0.1", 0}}};
    struct peers_options o = {
        .id = 1, .cluster_id = 7, .incarnation = END_INCARNATION, .version = "0", .hello_ms = 100};
    struct sockaddr_in at;
    int len = sizeof(at);
    struct end a = {.id = 1};
    uv_tcp_t listener;
    uint64_t begun = clock_boot_ms();

    assert_int_equal(uv_loop_init(&end_loop), 0);
    assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &at), 0);
    assert_int_equal(uv_tcp_init(&end_loop, &listener), 0);
    assert_int_equal(uv_tcp_bind(&listener, (const struct sockaddr *)&at, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&listener, 8, on_dialled), 0);
    assert_int_equal(uv_tcp_getsockname(&listener, (struct sockaddr *)&at, &len), 0);
    address.at[0].port = ntohs(at.sin_port);
    a.peers = peers_new(&end_loop, &o, &end_ops, &a);
    peers_set(a.peers, &address, 1);
    UNTIL(accepted == 2);
    assert_true(clock_boot_ms() - begun >= 100);
    for (int i = 0; i < 2; i++) {
        uv_close((uv_handle_t *)&accepted_by_nobody[i], NULL);
    }
    uv_close((uv_handle_t *)&listener, NULL);
    end_close(&a);
    end_finish();
}

TEST_MAIN(UNIT(peer, frames_of_both_directions_arrive_in_order),
    UNIT(peer, a_lost_link_is_told_and_comes_back),
    UNIT(peer, a_stream_is_bounded_by_its_reader_and_answered),
    UNIT(peer, a_queue_that_is_not_read_drops_instead_of_growing),
    UNIT(peer, a_new_address_takes_effect_at_once),
    UNIT(peer, one_that_takes_a_link_and_says_nothing_is_dialled_again))
