/* No room: a quota that is used up, disks that are full. */
#include <stdio.h>
#include <string.h>

#include "node_scene.h"
#include "unit.h"

/* ---- the quota ---- */

TEST(node, a_full_quota_refuses_what_grows_and_clears_itself)
{
    struct sim s;
    struct sim_call c;
    char value[2001] = {0};
    char key[16];
    int puts = 0;

    memset(value, 'x', sizeof(value) - 1);
    sim_init(&s, 1);
    s.quota_bytes = 200000;
    sim_start(&s, 0);
    for (int err = 0; err == 0; puts++) {
        (void)snprintf(key, sizeof(key), "/k%d", puts);
        err = sim_put(&s, 0, key, value);
        assert_true(err == 0 || err == DECREE_ENO_SPACE);
        assert_true(puts < 200);
    }
    assert_true(puts > 50);
    assert_int_equal(sim_get(&s, 0, "/k1", &c), 0);
    c = (struct sim_call){.call = {.kind = STORE_LEASE_GRANT, .lease_grant = {.ttl = 10}}};
    assert_int_equal(sim_call(&s, 0, &c), DECREE_ENO_SPACE);
    c = (struct sim_call){.call = {.kind = STORE_DELETE,
                              .del = {.key = BYTES_LITERAL("/"), .range_end = BYTES_LITERAL("0")}}};
    assert_int_equal(sim_call(&s, 0, &c), 0);
    assert_int_equal(c.deleted, puts - 1);
    c = (struct sim_call){.call = {.kind = STORE_COMPACT,
                              .compact = {.revision = c.header.revision, .physical = true}}};
    assert_int_equal(sim_call(&s, 0, &c), 0);
    assert_true(s.freed > 0);
    assert_int_equal(sim_put(&s, 0, "/again", value), 0);
    sim_deinit(&s);
}

TEST(limits, a_txn_takes_space_when_any_branch_of_it_does)
{
    struct txn_op put = {.kind = OP_PUT, .put = {.key = BYTES_LITERAL("k")}};
    struct txn_op del = {.kind = OP_DELETE, .del = {.key = BYTES_LITERAL("/k1")}};
    struct txn_request inner_put = {.failure = &put, .n_failure = 1};
    struct txn_request inner_del = {.success = &del, .n_success = 1};
    struct txn_op nested_put[] = {del, {.kind = OP_TXN, .txn = &inner_put}};
    struct txn_op nested_del[] = {del, {.kind = OP_TXN, .txn = &inner_del}};
    struct sim_call c = {.call = {.kind = STORE_TXN}};
    struct sim s;

    del.del.key = BYTES_LITERAL("/other");
    nested_put[0].del.key = nested_del[0].del.key = BYTES_LITERAL("/k2");
    sim_init(&s, 1);
    s.quota_bytes = 30000;
    sim_start(&s, 0);
    while (sim_put(&s, 0, "/k1", "0123456789012345678901234567890123456789") == 0) {}
    c.call.txn = (struct txn_request){.success = nested_put, .n_success = 2};
    assert_int_equal(sim_call(&s, 0, &c), DECREE_ENO_SPACE);
    c.call.txn = (struct txn_request){.failure = nested_put, .n_failure = 2};
    assert_int_equal(sim_call(&s, 0, &c), DECREE_ENO_SPACE);
    c.call.txn = (struct txn_request){.success = nested_del, .n_success = 2};
    assert_int_equal(sim_call(&s, 0, &c), 0); /* what only deletes goes through */
    sim_deinit(&s);
}

/* ---- the disk ---- */

TEST(node, a_full_disk_refuses_writes_serves_reads_and_goes_on)
{
    struct sim s;
    struct sim_call c;
    char value[4001] = {0};
    int puts = 0;

    memset(value, 'x', sizeof(value) - 1);
    sim_init(&s, 1);
    sim_start(&s, 0);
    sim_run(&s, 2000);
    wal_mem_set_capacity(s.members[0].mem, 4 << 20);
    for (int err = 0; err == 0; puts++) {
        err = sim_put(&s, 0, "/k", value);
        assert_true(err == 0 || err == DECREE_ENO_SPACE);
        assert_true(puts < 2000);
    }
    assert_true(puts > 10);
    assert_int_equal(sim_get(&s, 0, "/k", &c), 0);
    assert_int_equal(c.count, 1);
    wal_mem_set_capacity(s.members[0].mem, UINT64_MAX);
    sim_run(&s, 3000);
    assert_int_equal(sim_put(&s, 0, "/k", "small"), 0);
    sim_kill(&s, 0);
    sim_start(&s, 0);
    assert_int_equal(sim_get(&s, 0, "/k", &c), 0);
    assert_string_equal(c.value, "small");
    sim_deinit(&s);
}

TEST(cluster, a_leader_with_a_full_disk_lets_another_one_lead)
{
    struct sim s;
    struct sim_call c;
    char value[4001] = {0};
    size_t leader, other;

    memset(value, 'x', sizeof(value) - 1);
    leader = scene_cluster(&s, 3);
    other = (leader + 1) % 3;
    wal_mem_set_capacity(s.members[leader].mem, 4 << 20);
    for (int i = 0; i < 2000; i++) {
        (void)sim_put(&s, other, "/k", value); /* some fail while leadership moves */
    }
    assert_int_not_equal(sim_elect(&s), leader);
    assert_int_equal(sim_put(&s, other, "/k", "after"), 0);
    /* It has no room for that one, and says so soon: another member can answer. */
    c = (struct sim_call){.call = {.kind = STORE_RANGE, .range = {.key = BYTES_LITERAL("/k")}}};
    sim_submit(&s, leader, &c);
    sim_run(&s, 5 * SIM_HEARTBEAT_MS);
    assert_true(c.done);
    assert_int_equal(c.status, DECREE_ETIMEOUT_APPLIED);
    c.call.range.serializable = true;
    assert_int_equal(sim_call(&s, leader, &c), 0);
    /* The disk in memory has a clock of its own, which hardly moves: a new start looks at once. */
    wal_mem_set_capacity(s.members[leader].mem, UINT64_MAX);
    sim_kill(&s, leader);
    sim_start(&s, leader);
    sim_run(&s, 5000);
    assert_int_equal(sim_get(&s, leader, "/k", &c), 0);
    assert_string_equal(c.value, "after");
    sim_deinit(&s);
}

TEST(snapshots, one_that_finds_no_room_is_tried_again_later)
{
    struct store_metrics metrics = {0};
    struct sim s;

    sim_init(&s, 1);
    s.snapshot_count = 60;
    s.snapshot_keep = 5;
    sim_start(&s, 0);
    scene_put_many(&s, 0, 50, 5000);
    store_metrics(s.members[0].core, &metrics);
    wal_mem_set_capacity(s.members[0].mem, metrics.wal_bytes + 100000);
    scene_put_many(&s, 0, 20, 100);
    assert_int_equal(core_snapshot_index(s.members[0].core), 0);
    wal_mem_set_capacity(s.members[0].mem, UINT64_MAX);
    scene_put_many(&s, 0, 20, 100);
    assert_int_equal(core_snapshot_index(s.members[0].core), 0); /* not at every write */
    sim_run(&s, 31000);
    scene_put_many(&s, 0, 1, 100);
    assert_true(core_snapshot_index(s.members[0].core) > 60);
    sim_deinit(&s);
}

/* ---- the followers' disks ---- */

/* Three members, of which two have disks too full for any entry, but votes and heartbeats go on;
 * lease 7 of four seconds with a key. Nothing can be committed any more. */
static size_t start_with_full_followers(struct sim *s)
{
    struct sim_call c = {.call = {.kind = STORE_LEASE_GRANT, .lease_grant = {.id = 7, .ttl = 20}}};
    _cleanup_free_ char *value = xcalloc(1, 300001);
    size_t leader;
    int err = 0;

    leader = scene_cluster(s, 3);
    assert_int_equal(sim_call(s, leader, &c), 0);
    c = (struct sim_call){
        .call = {.kind = STORE_PUT, .put = {.key = BYTES_LITERAL("/l"), .lease = 7}}};
    assert_int_equal(sim_call(s, leader, &c), 0);
    memset(value, 'x', 300000);
    for (size_t i = 0; i < 3; i++) {
        if (i != leader) {
            wal_mem_set_capacity(s->members[i].mem, 0);
        }
    }
    for (int i = 0; i < 40 && err == 0; i++) {
        err = sim_put(s, leader, "/filler", value);
    }
    /* It leads, and hears everybody: only the writes do not come through. */
    assert_int_equal(err, DECREE_ETIMEOUT);
    return leader;
}

/* The disk in memory has a clock of its own, which hardly moves: a new start looks at once. */
static void make_room(struct sim *s, size_t leader)
{
    for (size_t i = 0; i < 3; i++) {
        wal_mem_set_capacity(s->members[i].mem, UINT64_MAX);
        if (i != leader) {
            sim_kill(s, i);
            sim_start(s, i);
        }
    }
}

TEST(leases, a_revoke_that_cannot_be_committed_is_not_taken_back)
{
    struct sim_call c;
    size_t leader;
    struct sim s;

    leader = start_with_full_followers(&s);
    sim_run(&s, 25000); /* expired, and the revoke is tried more than once */
    c = (struct sim_call){.call = {.kind = STORE_LEASE_KEEPALIVE, .lease_id = {.id = 7}}};
    assert_int_equal(sim_call(&s, leader, &c), DECREE_ETIMEOUT); /* its end is not certain yet */
    make_room(&s, leader);
    sim_run(&s, 5000);
    assert_int_equal(sim_get(&s, leader, "/l", &c), 0);
    assert_int_equal(c.count, 0);
    sim_assert_equal(&s);
    sim_deinit(&s);
}

TEST(leases, an_old_leader_forgets_the_revokes_under_way)
{
    struct sim_call c;
    size_t leader, next;
    struct sim s;

    leader = start_with_full_followers(&s);
    sim_run(&s, 25000);
    s.members[leader].cut = true;
    make_room(&s, leader);
    next = sim_elect(&s);
    sim_run(&s, 5000);
    s.members[leader].cut = false;
    sim_run(&s, 5000);
    /* The new one gives it its full time. */
    assert_int_equal(sim_get(&s, next, "/l", &c), 0);
    assert_int_equal(c.count, 1);
    sim_run(&s, 30000);
    assert_int_equal(sim_get(&s, next, "/l", &c), 0);
    assert_int_equal(c.count, 0);
    sim_assert_equal(&s);
    sim_deinit(&s);
}

TEST_MAIN(UNIT(node, a_full_quota_refuses_what_grows_and_clears_itself),
    UNIT(limits, a_txn_takes_space_when_any_branch_of_it_does),
    UNIT(node, a_full_disk_refuses_writes_serves_reads_and_goes_on),
    UNIT(cluster, a_leader_with_a_full_disk_lets_another_one_lead),
    UNIT(snapshots, one_that_finds_no_room_is_tried_again_later),
    UNIT(leases, a_revoke_that_cannot_be_committed_is_not_taken_back),
    UNIT(leases, an_old_leader_forgets_the_revokes_under_way))
