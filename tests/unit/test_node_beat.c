/* Figures of heartbeats, and of how long a write takes. */
#include "unit.h"

#include "core.h"
#include "node_scene.h"

static struct store_metrics metrics(struct sim *s, size_t i)
{
    struct store_metrics m = {0};

    store_metrics(s->members[i].core, &m);
    return m;
}

/* Those of a member's gaps that are longer than that. */
static uint64_t gaps_beyond(struct sim *s, size_t i, uint64_t us)
{
    struct store_times t = metrics(s, i).heartbeat_gaps;
    uint64_t n = t.n;

    for (size_t k = 0; k < STORE_TIMES_BUCKETS && t.bounds_us[k] <= us; k++) {
        n -= t.bucket[k];
    }
    return n;
}

TEST(node_beat, an_idle_follower_hears_its_leader_once_an_interval)
{
    struct sim s;
    size_t leader = scene_three_at_rest(&s), other = (leader + 1) % 3;
    struct store_times before = metrics(&s, other).heartbeat_gaps, after;

    sim_run(&s, 2000);
    after = metrics(&s, other).heartbeat_gaps;
    assert_int_equal(after.n - before.n, 2000 / SIM_HEARTBEAT_MS);
    assert_int_equal(after.sum_us - before.sum_us, 2000 * 1000);
    assert_int_equal(gaps_beyond(&s, other, 110000), 0);
    assert_int_equal(metrics(&s, leader).heartbeat_gaps.n, 0);
    sim_deinit(&s);
}

TEST(node_beat, each_heartbeat_that_leaves_too_late_is_counted)
{
    struct sim s;
    size_t leader = scene_three_at_rest(&s), other = (leader + 1) % 3;

    s.now_ms += SIM_HEARTBEAT_MS; /* two intervals between two: in time yet */
    sim_run(&s, SIM_HEARTBEAT_MS);
    assert_int_equal(metrics(&s, leader).heartbeats_late, 0);
    assert_int_equal(gaps_beyond(&s, other, 150000), 1);
    s.now_ms += 2 * SIM_HEARTBEAT_MS;
    sim_run(&s, SIM_HEARTBEAT_MS);
    assert_int_equal(metrics(&s, leader).heartbeats_late, 2); /* to each of two */
    assert_int_equal(metrics(&s, other).heartbeats_late, 0);
    assert_int_equal(gaps_beyond(&s, other, 250000), 1);
    assert_int_equal(gaps_beyond(&s, other, 300000), 0);
    sim_deinit(&s);
}

TEST(node_beat, the_silence_that_costs_a_leader_its_place_is_counted)
{
    struct sim s;
    size_t leader = scene_three_at_rest(&s), next;

    sim_kill(&s, leader);
    next = sim_elect(&s);
    assert_int_equal(gaps_beyond(&s, next, 750000), 1);
    /* It does not count on from there: its own leadership begins anew. */
    sim_run(&s, 3000);
    assert_int_equal(gaps_beyond(&s, next, 750000), 1);
    assert_int_equal(metrics(&s, next).heartbeats_late, 0);
    sim_deinit(&s);
}

TEST(node_beat, a_leader_that_had_nobody_to_tell_was_not_late)
{
    struct sim s;
    size_t leader = scene_cluster(&s, 2), m;

    sim_run(&s, 2000);
    assert_int_equal(sim_change(&s, leader, STORE_MEMBER_REMOVE, s.members[1 - leader].id), 0);
    sim_run(&s, 20000);
    m = sim_grow(&s);
    assert_int_equal(sim_add(&s, leader, m, true), 0);
    sim_start(&s, m);
    sim_run(&s, 3000);
    assert_true(metrics(&s, m).heartbeat_gaps.n > 0);
    assert_int_equal(metrics(&s, leader).heartbeats_late, 0);
    sim_deinit(&s);
}

/* A put whose write takes the disk that long. */
static void slow_put(struct sim *s, uint64_t ms)
{
    struct sim_call c = {.call = {.kind = STORE_PUT, .put = {.key = BYTES_LITERAL("/k")}}};

    sim_submit(s, 0, &c);
    (void)core_turn(s->members[0].core);
    s->now_ms += ms;
    sim_settle(s);
    assert_true(c.done && c.status == 0);
}

/* The disks in memory take a microsecond. */
static uint64_t write_ms(struct store *core)
{
    return store_write_us(core) / 1000;
}

TEST(node_beat, a_write_takes_what_the_best_one_of_late_took)
{
    struct sim_call c = {.call = {.kind = STORE_PUT, .put = {.key = BYTES_LITERAL("/k")}}};
    struct store *core;
    struct sim s;

    sim_init(&s, 1);
    sim_start(&s, 0);
    core = s.members[0].core;
    sim_run(&s, 5000);
    assert_int_equal(write_ms(core), 0); /* none was written lately */
    slow_put(&s, 9);
    assert_int_equal(write_ms(core), 9);
    slow_put(&s, 7);
    slow_put(&s, 8);
    assert_int_equal(write_ms(core), 7);
    /* One that nobody waits for any more is not timed… */
    sim_submit(&s, 0, &c);
    (void)core_turn(core);
    store_cancel(core, &c.call);
    s.now_ms += 3;
    sim_settle(&s);
    assert_int_equal(write_ms(core), 7);
    /* …and does not stand in the way of the next. */
    slow_put(&s, 5);
    assert_int_equal(write_ms(core), 5);
    sim_run(&s, 1000);
    assert_int_equal(write_ms(core), 5);
    slow_put(&s, 6);
    sim_run(&s, 1000);
    assert_int_equal(write_ms(core), 6);
    sim_run(&s, 2000);
    assert_int_equal(write_ms(core), 0);
    sim_deinit(&s);
}

TEST_MAIN(UNIT(node_beat, an_idle_follower_hears_its_leader_once_an_interval),
    UNIT(node_beat, each_heartbeat_that_leaves_too_late_is_counted),
    UNIT(node_beat, the_silence_that_costs_a_leader_its_place_is_counted),
    UNIT(node_beat, a_leader_that_had_nobody_to_tell_was_not_late),
    UNIT(node_beat, a_write_takes_what_the_best_one_of_late_took))
