/* What the core does with what does not get through: proposals on their way to the leader, snapshot
 * streams that hardly move. */
#include "unit.h"

#include "alloc.h"
#include "core.h"
#include "node_sim.h"

static size_t start(struct sim *s)
{
    size_t leader;

    sim_init(s, 3);
    for (size_t i = 0; i < 3; i++) {
        sim_start(s, i);
    }
    leader = sim_elect(s);
    sim_run(s, 3000); /* publication is over */
    return leader;
}

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
    size_t leader = start(&s), other = (leader + 1) % 3;
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
    size_t leader = start(&s), other = (leader + 1) % 3;
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
    size_t leader = start(&s), other = (leader + 1) % 3;
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
    size_t leader = start(&s), other = (leader + 1) % 3, third = (leader + 2) % 3;
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
    size_t leader = start(&s), other = (leader + 1) % 3;
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

TEST_MAIN(UNIT(node_flow, a_busy_leader_tells_the_forwarder_at_once),
    UNIT(node_flow, nothing_is_sent_to_a_leader_that_cannot_be_reached),
    UNIT(node_flow, what_a_broken_link_may_have_lost_is_answered_within_two_election_timeouts),
    UNIT(node_flow, what_was_on_its_way_to_a_leader_that_is_lost_is_done_by_the_next_one),
    UNIT(node_flow, a_snapshot_that_comes_in_drops_is_given_up))
