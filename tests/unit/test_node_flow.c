/* What the core does with what does not get through: proposals on their way to the leader, snapshot
 * streams that hardly move. */
#include <stdio.h>

#include "unit.h"

#include "alloc.h"
#include "core.h"
#include "node_scene.h"

static struct sim_call a_put(void)
{
    return (struct sim_call){.call = {.kind = STORE_PUT,
                                 .put = {.key = BYTES_LITERAL("/w"), .value = BYTES_LITERAL("1")}}};
}

/* A leader that has as much under way as it may: only its own disk does not go on. */
static void fill_leader(
    struct sim *s, size_t leader, struct sim_call *calls, size_t n, struct bytes value)
{
    for (size_t i = 0; i < 3; i++) {
        s->members[i].cut = i != leader;
    }
    for (size_t i = 0; i < n; i++) {
        calls[i] = a_put();
        calls[i].call.put.value = value;
        sim_submit(s, leader, &calls[i]);
    }
    sim_settle(s);
    for (size_t i = 0; i < 3; i++) {
        s->members[i].cut = false;
    }
}

TEST(node_flow, a_busy_leader_tells_the_forwarder_at_once)
{
    enum { VALUE_BYTES = 1 << 20, CALLS = 63 };
    struct sim s;
    size_t leader = scene_three_at_rest(&s), other = (leader + 1) % 3;
    struct store *core = s.members[other].core;
    struct sim_call *calls = xcalloc(CALLS, sizeof(*calls)), c = a_put();
    uint8_t *value = xcalloc(1, VALUE_BYTES);

    c.call.put.value = bytes_make(value, VALUE_BYTES);
    fill_leader(&s, leader, calls, CALLS, bytes_make(value, VALUE_BYTES));
    /* The forwarder's message is there before anything that makes room. */
    sim_submit(&s, other, &c);
    (void)core_turn(core);
    while (!list_empty(&s.events)) {
        struct sim_event *e = list_entry(s.events.next, struct sim_event, link);

        list_del(&e->link);
        if (e->kind == SIM_FRAME && e->from == other && e->to == leader) {
            core_frame(s.members[leader].core, core_id(core), buf_bytes(e->body));
        }
        buf_unref(e->body);
        free(e);
    }
    sim_settle(&s);
    assert_true(c.done);
    assert_int_equal(c.status, DECREE_ETOO_MANY_REQUESTS);
    sim_run(&s, 10000);
    for (size_t i = 0; i < CALLS; i++) {
        assert_true(calls[i].done);
    }
    sim_assert_equal(&s);
    free(calls);
    free(value);
    sim_deinit(&s);
}

TEST(node_flow, nothing_is_sent_to_a_leader_that_cannot_be_reached)
{
    struct sim s;
    size_t leader = scene_three_at_rest(&s), other = (leader + 1) % 3;
    struct sim_call c = a_put();

    s.members[leader].cut = true;
    sim_submit(&s, other, &c);
    sim_run(&s, 50);
    assert_false(c.done);
    s.members[leader].cut = false; /* before anybody has stood for election */
    sim_run(&s, 200);
    assert_true(c.done);
    assert_int_equal(c.status, 0);
    sim_deinit(&s);
}

TEST(node_flow, what_a_broken_link_may_have_lost_is_answered_within_two_election_timeouts)
{
    struct sim s;
    size_t leader = scene_three_at_rest(&s), other = (leader + 1) % 3;
    struct store *core = s.members[other].core;
    struct sim_call c = a_put();
    struct store_header before = store_header(core);

    sim_submit(&s, other, &c);
    (void)core_turn(core); /* its frame is on its way */
    s.members[other].cut = true;
    sim_settle(&s);
    s.members[other].cut = false;
    core_unreachable(core, s.members[leader].id);
    sim_run(&s, 1800);
    assert_false(c.done); /* it might still come */
    sim_run(&s, 400);
    assert_true(c.done);
    assert_int_equal(c.status, DECREE_ETIMEOUT_CONNECTION);
    assert_int_equal(store_header(core).raft_term, before.raft_term); /* no election settled it */
    c = a_put();
    assert_int_equal(sim_call(&s, other, &c), 0);
    sim_deinit(&s);
}

TEST(node_flow, what_was_on_its_way_to_a_leader_that_is_lost_is_done_by_the_next_one)
{
    struct sim s;
    size_t leader = scene_three_at_rest(&s), other = (leader + 1) % 3, third = (leader + 2) % 3;
    struct store *core = s.members[other].core;
    struct sim_call c = a_put();

    sim_submit(&s, other, &c);
    (void)core_turn(core); /* its frame is on its way */
    s.members[leader].cut = s.members[third].cut = true;
    sim_settle(&s);
    core_unreachable(core, s.members[leader].id);
    sim_run(&s, 3000);
    assert_false(c.done); /* nobody leads, so nobody can say */
    s.members[third].cut = false;
    assert_int_not_equal(sim_elect(&s), leader);
    sim_run(&s, 1000);
    assert_true(c.done);
    assert_int_equal(c.status, 0);
    sim_deinit(&s);
}

TEST(node_flow, a_snapshot_that_comes_in_drops_is_given_up)
{
    struct sim s;
    size_t leader = scene_three_at_rest(&s), other = (leader + 1) % 3;
    struct store *core = s.members[other].core;
    uint64_t from = s.members[leader].id;
    _cleanup_strbuf_ struct strbuf header = {0};
    struct mvcc *m = mvcc_new();
    struct mvcc_snapshot *reader;
    struct buf *begin;
    int pieces = 0;

    for (int i = 0; i < 100; i++) {
        _cleanup_arena_ struct arena arena = {0};
        struct put_request put = {.key = bytes_make(&i, sizeof(i)), .value = BYTES_LITERAL("v")};
        struct put_reply reply;

        assert_int_equal(mvcc_put(m, &put, &arena, &reply), 0);
    }
    core_snap_header(core, &header);
    begin = snap_begin_encode(&(struct snap_begin){.term = core->status.term,
        .id = {.term = core->status.term, .index = core_applied(core) + 1000},
        .header = strbuf_bytes(&header)});
    assert_int_equal(core_stream_frame(core, from, buf_bytes(begin)), CORE_STREAM_GO);
    assert_int_equal(core->recv.state, RECV_READING);
    reader = mvcc_snapshot_open(m);
    /* A few bytes every ten seconds: never without progress, and never done. */
    while (core->recv.state == RECV_READING) {
        _cleanup_strbuf_ struct strbuf piece = {0};

        assert_true(pieces++ < 5);
        strbuf_append_char(&piece, (char)FRAME_SNAP_PIECE);
        assert_true(mvcc_snapshot_next(reader, 1, &piece));
        assert_int_equal(core_stream_frame(core, from, strbuf_bytes(&piece)), CORE_STREAM_GO);
        sim_run(&s, 10000);
    }
    assert_int_equal(pieces, 4); /* 30 s and what the few bytes are worth */
    mvcc_snapshot_close(reader);
    mvcc_free(m);
    buf_unref(begin);
    sim_deinit(&s);
}

/* Calls of one turn, more than there are places for. */
static void assert_only_excess_is_refused(struct sim *s, size_t leader, enum store_kind kind)
{
    enum { PLACES = 3, CALLS = 5 };
    struct store *core = s->members[leader].core;
    struct sim_call calls[CALLS];

    assert_int_equal(core->calls.n, 0);
    core->calls.n = CALLS_MAX - PLACES;
    for (size_t i = 0; i < CALLS; i++) {
        calls[i] = a_put();
        if (kind == STORE_RANGE) {
            calls[i].call =
                (struct store_call){.kind = STORE_RANGE, .range = {.key = BYTES_LITERAL("/w")}};
        }
        sim_submit(s, leader, &calls[i]);
    }
    sim_settle(s);
    for (size_t i = 0; i < CALLS; i++) {
        assert_true(calls[i].done);
        assert_int_equal(calls[i].status, i < PLACES ? 0 : DECREE_ETOO_MANY_REQUESTS);
    }
    assert_int_equal(core->calls.n, CALLS_MAX - PLACES);
    core->calls.n = 0;
}

TEST(node_flow, of_too_many_calls_in_a_turn_only_the_excess_is_refused)
{
    struct sim s;
    size_t leader = scene_three_at_rest(&s);

    assert_only_excess_is_refused(&s, leader, STORE_PUT);
    assert_only_excess_is_refused(&s, leader, STORE_RANGE);
    sim_deinit(&s);
}

/* ---- the sender of a snapshot, with the receiver's link played by hand ---- */

static struct {
    unsigned pieces, ends, closed;
} played;

static void played_open(void *data _unused_, uint64_t to _unused_)
{
    played.pieces = played.ends = played.closed = 0;
}

/* Takes one frame and no more until core_stream_ready. */
static bool played_send(void *data _unused_, uint64_t to _unused_, struct buf *frame_consume)
{
    played.pieces += frame_kind(buf_bytes(frame_consume)) == FRAME_SNAP_PIECE;
    played.ends += frame_kind(buf_bytes(frame_consume)) == FRAME_SNAP_END;
    buf_unref(frame_consume);
    return false;
}

static void played_close(void *data _unused_, uint64_t to _unused_)
{
    played.closed++;
}

enum { SENT_KEYS = 70, SENT_VALUE = SNAP_PIECE_BYTES /* a piece each */ };

/* A leader that sends a snapshot of that many keys; whom it sends it to. */
static uint64_t start_sending(struct sim *s, int keys, struct store **ret_core)
{
    size_t leader = scene_three_at_rest(s), other = (leader + 1) % 3;
    struct sim_member *m = &s->members[leader];
    uint8_t *value = xcalloc(1, SENT_VALUE);

    for (int i = 0; i < keys; i++) {
        struct sim_call c = a_put();

        c.call.put.key = bytes_make(&i, sizeof(i));
        c.call.put.value = bytes_make(value, SENT_VALUE);
        assert_int_equal(sim_call(s, leader, &c), 0);
    }
    free(value);
    m->env.stream_open = played_open;
    m->env.stream_send = played_send;
    m->env.stream_close = played_close;
    core_sends_start(m->core, s->members[other].id);
    core_stream_ready(m->core, s->members[other].id); /* it takes the beginning */
    *ret_core = m->core;
    return s->members[other].id;
}

/* The link takes one piece after so many milliseconds, n times or until it is closed. */
static void take_pieces(struct sim *s, struct store *core, uint64_t to, uint64_t every_ms, int n)
{
    for (int i = 0; i < n && played.closed == 0; i++) {
        core_stream_ready(core, to);
        sim_run(s, every_ms);
    }
}

TEST(node_flow, a_snapshot_goes_on_for_as_long_as_it_is_fast_enough)
{
    struct store *core;
    struct sim s;
    uint64_t to = start_sending(&s, SENT_KEYS, &core);

    take_pieces(&s, core, to, 900, 50); /* 71 KB a second, for longer than a stall may last */
    assert_int_equal(played.closed, 0);
    assert_int_equal(played.pieces, 50);
    take_pieces(&s, core, to, 10000, 20); /* never without progress for 30 s, but too slow */
    assert_int_equal(played.closed, 1);
    assert_in_range(played.pieces, 52, 58); /* 50 s for the first 50, 30 s, and a second for each */
    sim_deinit(&s);
}

TEST(node_flow, a_snapshot_that_keeps_too_much_in_memory_is_given_up)
{
    struct store *core;
    struct sim s;
    uint64_t to = start_sending(&s, SENT_KEYS, &core);

    core->applied_bytes += SNAP_PIN_BYTES_MAX; /* written by others meanwhile */
    take_pieces(&s, core, to, 1000, 2);
    assert_int_equal(played.closed, 0);
    core->applied_bytes++;
    take_pieces(&s, core, to, 1000, 2);
    assert_int_equal(played.closed, 1);
    assert_int_equal(core_sends_floor(core), UINT64_MAX - 1); /* nothing holds the log any more */
    sim_deinit(&s);
}

TEST(node_flow, a_snapshot_that_was_sent_whole_waits_for_its_answer_for_a_limited_time)
{
    struct store *core;
    struct sim s;
    uint64_t to = start_sending(&s, 1, &core);

    take_pieces(&s, core, to, 10, 3);
    assert_int_equal(played.ends, 1);
    sim_run(&s, SNAP_STALL_MS - 1000);
    core->applied_bytes += SNAP_PIN_BYTES_MAX + 1; /* its reader is closed: pins nothing */
    sim_run(&s, 500);
    assert_int_equal(played.closed, 0);
    sim_run(&s, 1000);
    assert_int_equal(played.closed, 1);
    sim_deinit(&s);
}

/* While its writer is busy there is nothing to do for the loop, which would spin otherwise. */
TEST(node_flow, a_snapshot_that_waits_for_its_writer_takes_no_turns)
{
    enum { VALUE_BYTES = 1 << 20, PUTS = 10, TURNS_MAX = 1000 };
    uint8_t *value = xcalloc(1, VALUE_BYTES);
    struct store *core;
    struct sim s;
    int turns = 0;

    sim_init(&s, 1);
    s.snapshot_count = 1000;
    sim_start(&s, 0);
    core = s.members[0].core;
    for (int i = 0; i < PUTS; i++) {
        char key[8];
        struct sim_call c = {.call = {.kind = STORE_PUT}};

        (void)snprintf(key, sizeof(key), "/%d", i);
        c.call.put.key = bytes_str(key);
        c.call.put.value = bytes_make(value, VALUE_BYTES);
        assert_int_equal(sim_call(&s, 0, &c), 0);
    }
    core->o.snapshot_count = 1; /* one is due, of more than the writer takes at once */
    while (core_turn(core)) {
        assert_true(++turns < TURNS_MAX);
    }
    assert_int_equal(core->save.state, SAVE_WRITING);
    assert_true(snap_writer_queued(core->save.writer) >= SNAP_WINDOW_BYTES);
    assert_false(core_turn(core)); /* that there was one for another reason changes nothing */
    assert_false(core_is_dirty(core));
    core->o.snapshot_count = 1000;
    sim_settle(&s); /* it writes, and is given the rest */
    assert_int_equal(core->save.state, SAVE_IDLE);
    assert_true(core_snapshot_index(core) >= PUTS);
    free(value);
    sim_deinit(&s);
}

TEST_MAIN(UNIT(node_flow, a_busy_leader_tells_the_forwarder_at_once),
    UNIT(node_flow, nothing_is_sent_to_a_leader_that_cannot_be_reached),
    UNIT(node_flow, what_a_broken_link_may_have_lost_is_answered_within_two_election_timeouts),
    UNIT(node_flow, what_was_on_its_way_to_a_leader_that_is_lost_is_done_by_the_next_one),
    UNIT(node_flow, a_snapshot_that_comes_in_drops_is_given_up),
    UNIT(node_flow, of_too_many_calls_in_a_turn_only_the_excess_is_refused),
    UNIT(node_flow, a_snapshot_goes_on_for_as_long_as_it_is_fast_enough),
    UNIT(node_flow, a_snapshot_that_keeps_too_much_in_memory_is_given_up),
    UNIT(node_flow, a_snapshot_that_was_sent_whole_waits_for_its_answer_for_a_limited_time),
    UNIT(node_flow, a_snapshot_that_waits_for_its_writer_takes_no_turns))
