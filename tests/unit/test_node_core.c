/* One member alone: its calls, and what it costs to serve them. */
#include <stdio.h>

#include "node_scene.h"
#include "unit.h"

/* ---- what is acknowledged ---- */

TEST(node, a_lone_member_serves_at_once)
{
    struct sim s;
    struct sim_call c;

    sim_init(&s, 1);
    sim_start(&s, 0);
    sim_settle(&s); /* no time goes by */
    assert_int_equal(sim_put(&s, 0, "/a", "1"), 0);
    assert_int_equal(sim_get(&s, 0, "/a", &c), 0);
    assert_string_equal(c.value, "1");
    assert_int_equal(c.header.revision, 2);
    assert_int_equal(s.now_ms, 1000);
    sim_deinit(&s);
}

TEST(node, a_killed_member_comes_back_with_all_it_acknowledged)
{
    struct sim s;
    struct sim_call c;
    char key[16];

    sim_init(&s, 1);
    sim_start(&s, 0);
    for (int i = 0; i < 50; i++) {
        (void)snprintf(key, sizeof(key), "/k%d", i);
        assert_int_equal(sim_put(&s, 0, key, "v"), 0);
    }
    for (int round = 0; round < 3; round++) {
        sim_kill(&s, 0);
        sim_start(&s, 0);
        assert_int_equal(sim_get(&s, 0, "/k49", &c), 0);
        assert_string_equal(c.value, "v");
        assert_int_equal(c.header.revision, 51);
    }
    sim_deinit(&s);
}

TEST(node, snapshots_are_written_and_the_log_is_cut_behind_them)
{
    struct sim s;
    struct sim_call c;
    char key[16];
    uint64_t hash;

    sim_init(&s, 1);
    s.snapshot_count = 100;
    s.snapshot_keep = 10;
    sim_start(&s, 0);
    for (int i = 0; i < 450; i++) {
        (void)snprintf(key, sizeof(key), "/k%d", i % 30);
        assert_int_equal(sim_put(&s, 0, key, key), 0);
    }
    assert_true(core_snapshot_index(s.members[0].core) >= 400);
    hash = core_hash(s.members[0].core);
    sim_kill(&s, 0);
    sim_start(&s, 0);
    assert_int_equal(sim_get(&s, 0, "/k7", &c), 0);
    assert_string_equal(c.value, "/k7");
    assert_int_equal(core_hash(s.members[0].core), hash);
    sim_deinit(&s);
}

/* ---- turns ---- */

TEST(node, reads_cost_a_lone_member_no_disk_write)
{
    struct sim s;
    struct sim_call c;
    uint64_t ops;

    sim_init(&s, 1);
    sim_start(&s, 0);
    assert_int_equal(sim_put(&s, 0, "/a", "1"), 0);
    sim_run(&s, 3000); /* publication is over */
    ops = wal_mem_ops(s.members[0].mem);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(sim_get(&s, 0, "/a", &c), 0);
    }
    assert_int_equal(wal_mem_ops(s.members[0].mem), ops);
    sim_deinit(&s);
}

TEST(node, calls_of_one_turn_share_one_write)
{
    struct sim s;
    struct sim_call calls[100] = {0};
    char keys[100][8];
    struct store_metrics before, after;

    sim_init(&s, 1);
    sim_start(&s, 0);
    sim_run(&s, 3000);
    store_metrics(s.members[0].core, &before);
    for (int i = 0; i < 100; i++) {
        (void)snprintf(keys[i], sizeof(keys[i]), "/%d", i);
        calls[i].call.kind = STORE_PUT;
        calls[i].call.put.key = bytes_str(keys[i]);
        sim_submit(&s, 0, &calls[i]);
    }
    sim_settle(&s);
    for (int i = 0; i < 100; i++) {
        assert_true(calls[i].done);
        assert_int_equal(calls[i].status, 0);
        assert_int_equal(calls[i].header.revision, 2 + i);
    }
    store_metrics(s.members[0].core, &after);
    assert_int_equal(after.wal_fsyncs - before.wal_fsyncs, 1);
    sim_deinit(&s);
}

/* Bytes of several slices become committed by one write: each turn applies one and goes on,
 * although raft has nothing new to say by then. */
TEST(node, a_commit_of_many_slices_is_applied_to_its_end)
{
    enum { CALLS = 64, VALUE_BYTES = 100 * 1000 };
    struct sim s;
    struct sim_call calls[CALLS] = {0};
    uint8_t *value = xcalloc(1, VALUE_BYTES);
    char keys[CALLS][8];

    sim_init(&s, 1);
    sim_start(&s, 0);
    sim_run(&s, 3000);
    for (int i = 0; i < CALLS; i++) {
        (void)snprintf(keys[i], sizeof(keys[i]), "/%d", i);
        calls[i].call.kind = STORE_PUT;
        calls[i].call.put.key = bytes_str(keys[i]);
        calls[i].call.put.value = bytes_make(value, VALUE_BYTES);
        sim_submit(&s, 0, &calls[i]);
    }
    sim_settle(&s); /* no tick helps */
    for (int i = 0; i < CALLS; i++) {
        assert_true(calls[i].done);
        assert_int_equal(calls[i].status, 0);
    }
    sim_deinit(&s);
    free(value);
}

TEST(limits, a_physical_compaction_answers_when_the_memory_is_free)
{
    struct sim_call c = {.call = {.kind = STORE_COMPACT, .compact = {.physical = true}}};
    struct sim_call again;
    struct sim s;

    sim_init(&s, 1);
    sim_start(&s, 0);
    scene_put_many(&s, 0, 5000, 10); /* more than one slice takes */
    c.call.compact.revision = 4990;
    again = c;
    sim_submit(&s, 0, &c);
    core_disk(s.members[0].core);
    (void)core_turn(s.members[0].core);
    core_disk(s.members[0].core);
    (void)core_turn(s.members[0].core);
    assert_false(c.done);
    sim_run(&s, 1000);
    assert_true(c.done);
    assert_int_equal(c.status, 0);
    assert_int_equal(sim_call(&s, 0, &again), DECREE_ECOMPACTED);
    sim_deinit(&s);
}

/* ---- requests ---- */

TEST(node, requests_are_checked_before_they_are_proposed)
{
    struct sim s;
    struct sim_call c = {.call = {.kind = STORE_PUT}};
    uint8_t *big = xcalloc(1, REQUEST_BYTES_MAX);
    uint64_t applied;

    sim_init(&s, 1);
    sim_start(&s, 0);
    sim_run(&s, 3000);
    applied = core_applied(s.members[0].core);
    assert_int_equal(sim_call(&s, 0, &c), DECREE_EEMPTY_KEY);
    c.call.put = (struct put_request){
        .key = BYTES_LITERAL("k"), .value = bytes_make(big, REQUEST_BYTES_MAX)};
    assert_int_equal(sim_call(&s, 0, &c), DECREE_ETOO_LARGE);
    c.call.kind = STORE_LEASE_GRANT;
    c.call.lease_grant = (struct lease_grant_request){.ttl = INT64_C(9000000001)};
    assert_int_equal(sim_call(&s, 0, &c), DECREE_ELEASE_TTL_TOO_LARGE);
    assert_int_equal(core_applied(s.members[0].core), applied);
    c.call.kind = STORE_COMPACT;
    c.call.compact = (struct compact_request){.revision = 99};
    assert_int_equal(sim_call(&s, 0, &c), DECREE_EFUTURE_REV);
    free(big);
    sim_deinit(&s);
}

TEST(node, a_txn_that_only_reads_skips_the_log)
{
    struct sim s;
    struct txn_op op = {.kind = OP_RANGE, .range = {.key = BYTES_LITERAL("k")}};
    struct sim_call c = {.call = {.kind = STORE_TXN, .txn = {.success = &op, .n_success = 1}}};
    uint64_t applied;

    sim_init(&s, 1);
    sim_start(&s, 0);
    sim_run(&s, 3000);
    applied = core_applied(s.members[0].core);
    assert_int_equal(sim_call(&s, 0, &c), 0);
    assert_true(c.succeeded);
    assert_int_equal(core_applied(s.members[0].core), applied);
    op = (struct txn_op){.kind = OP_PUT, .put = {.key = BYTES_LITERAL("k")}};
    assert_int_equal(sim_call(&s, 0, &c), 0);
    assert_int_equal(core_applied(s.members[0].core), applied + 1);
    sim_deinit(&s);
}

/* ---- the end of a call ---- */

TEST(node, a_stopped_member_answers_what_waits)
{
    struct sim s;
    struct sim_call c = {.call = {.kind = STORE_RANGE, .range = {.key = BYTES_LITERAL("k")}}};

    sim_init(&s, 3); /* without the others nothing can be decided */
    sim_start(&s, 0);
    sim_submit(&s, 0, &c);
    sim_run(&s, 100);
    assert_false(c.done);
    core_stop(s.members[0].core);
    assert_true(c.done);
    assert_int_equal(c.status, DECREE_ESTOPPED);
    sim_deinit(&s);
}

TEST(node, a_cancelled_call_is_never_answered)
{
    struct sim s;
    struct sim_call c = {.call = {.kind = STORE_PUT, .put = {.key = BYTES_LITERAL("k")}}};
    struct sim_call r;

    sim_init(&s, 1);
    sim_start(&s, 0);
    sim_settle(&s);
    sim_submit(&s, 0, &c);
    (void)core_turn(s.members[0].core); /* proposed, not durable */
    store_cancel(s.members[0].core, &c.call);
    sim_run(&s, 100);
    assert_false(c.done);
    assert_int_equal(sim_get(&s, 0, "k", &r), 0);
    assert_int_equal(r.count, 1); /* it happened all the same */
    sim_deinit(&s);
}

TEST(stopped, nothing_that_comes_is_taken_and_every_call_is_told)
{
    struct sim_call c = {.call = {.kind = STORE_STATUS}};
    struct store *core;
    struct sim s;

    sim_init(&s, 1);
    sim_start(&s, 0);
    sim_settle(&s);
    core = s.members[0].core;
    core_stop(core);
    sim_submit(&s, 0, &c);
    core_frame(core, 5, BYTES_LITERAL("\x01"));
    core_unreachable(core, 5);
    core_link_lost(core, 5);
    assert_int_equal(core_stream_frame(core, 5, BYTES_LITERAL("\x10")), CORE_STREAM_CUT);
    core_tick(core);
    (void)core_turn(core);
    assert_true(c.done);
    assert_int_equal(c.status, DECREE_ESTOPPED);
    assert_false(core_hand_over(core));
    sim_deinit(&s);
}

TEST_MAIN(UNIT(node, a_lone_member_serves_at_once),
    UNIT(node, a_killed_member_comes_back_with_all_it_acknowledged),
    UNIT(node, snapshots_are_written_and_the_log_is_cut_behind_them),
    UNIT(node, reads_cost_a_lone_member_no_disk_write),
    UNIT(node, calls_of_one_turn_share_one_write),
    UNIT(node, a_commit_of_many_slices_is_applied_to_its_end),
    UNIT(limits, a_physical_compaction_answers_when_the_memory_is_free),
    UNIT(node, requests_are_checked_before_they_are_proposed),
    UNIT(node, a_txn_that_only_reads_skips_the_log),
    UNIT(node, a_stopped_member_answers_what_waits), UNIT(node, a_cancelled_call_is_never_answered),
    UNIT(stopped, nothing_that_comes_is_taken_and_every_call_is_told))
