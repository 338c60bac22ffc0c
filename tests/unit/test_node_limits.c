/* What waits is bounded. */
#include "msg_codec.h"
#include "node_scene.h"
#include "unit.h"

/* Reads wait for a leader that was cut off to prove that it still leads. */
TEST(limits, more_calls_than_may_wait_are_refused)
{
    enum { CALLS = 100000, MORE = 20 };
    struct sim_call *calls = xcalloc(CALLS + MORE, sizeof(*calls));
    _cleanup_buf_ struct buf *ask = lease_ask_encode(&(struct lease_ask){.sequence = 1, .id = 7});
    size_t leader;
    struct sim s;

    leader = scene_cluster(&s, 3);
    s.members[leader].cut = true;
    for (size_t i = 0; i < CALLS + MORE; i++) {
        calls[i].call = (struct store_call){
            .kind = STORE_RANGE, .range = {.key = BYTES_LITERAL("k"), .count_only = true}};
        sim_submit(&s, leader, &calls[i]);
        if ((i % 1000 == 0 && i < CALLS - 1000) || i >= CALLS - 1000) {
            sim_settle(&s);
        }
    }
    /* A follower's question is refused likewise, and told so. */
    core_frame(s.members[leader].core, s.members[(leader + 1) % 3].id, buf_bytes(ask));
    for (size_t i = 0; i < CALLS + MORE; i++) {
        assert_int_equal(calls[i].done, i >= CALLS);
        assert_int_equal(calls[i].status, i >= CALLS ? DECREE_ETOO_MANY_REQUESTS : 0);
    }
    sim_stop(&s, leader);
    for (size_t i = 0; i < CALLS; i++) {
        assert_int_equal(calls[i].status, DECREE_ESTOPPED);
    }
    free(calls);
    sim_deinit(&s);
}

/* A leader that hears nobody must not collect writes without end. */
TEST(limits, writes_that_cannot_be_committed_are_bounded_in_bytes)
{
    enum { CALLS = 70, VALUE = 1 << 20 };
    struct sim_call *calls = xcalloc(CALLS, sizeof(*calls));
    _cleanup_free_ uint8_t *value = xcalloc(1, VALUE);
    size_t refused = 0, leader;
    struct sim s;

    leader = scene_cluster(&s, 3);
    s.members[leader].cut = true;
    for (size_t i = 0; i < CALLS; i++) {
        calls[i].call = (struct store_call){.kind = STORE_PUT,
            .put = {.key = BYTES_LITERAL("k"), .value = bytes_make(value, VALUE)}};
        sim_submit(&s, leader, &calls[i]);
        if (i % 8 == 0) {
            sim_settle(&s);
        }
    }
    sim_settle(&s);
    for (size_t i = 0; i < CALLS; i++) {
        refused += calls[i].done && calls[i].status == DECREE_ETOO_MANY_REQUESTS;
    }
    assert_in_range(refused, CALLS - 64, CALLS - 60);
    sim_stop(&s, leader);
    for (size_t i = 0; i < CALLS; i++) {
        assert_true(calls[i].done);
    }
    free(calls);
    sim_deinit(&s);
}

/* What a follower forwards waits in its link: no more of it than the link's queue takes. */
TEST(limits, a_follower_forwards_in_portions_and_all_of_it)
{
    enum { CALLS = 12, VALUE = 1 << 20 };
    struct sim_call calls[CALLS] = {0};
    _cleanup_free_ uint8_t *value = xcalloc(1, VALUE);
    size_t follower;
    struct sim s;

    follower = (scene_cluster(&s, 3) + 1) % 3;
    for (size_t i = 0; i < CALLS; i++) {
        calls[i].call = (struct store_call){.kind = STORE_PUT,
            .put = {.key = BYTES_LITERAL("k"), .value = bytes_make(value, VALUE)}};
        sim_submit(&s, follower, &calls[i]);
    }
    sim_run(&s, 2000);
    for (size_t i = 0; i < CALLS; i++) {
        assert_true(calls[i].done);
        assert_int_equal(calls[i].status, 0);
    }
    sim_assert_equal(&s);
    sim_deinit(&s);
}

TEST_MAIN(UNIT(limits, more_calls_than_may_wait_are_refused),
    UNIT(limits, writes_that_cannot_be_committed_are_bounded_in_bytes),
    UNIT(limits, a_follower_forwards_in_portions_and_all_of_it))
