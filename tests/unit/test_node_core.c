#include <stdio.h>

#include "node_sim.h"
#include "unit.h"

/* ---- ids ---- */

TEST(members, ids_are_those_that_etcd_gives)
{
    struct members m;

    /* What every etcd started without flags calls itself and its cluster. */
    assert_int_equal(members_parse("default=http://localhost:2380", "etcd-cluster", &m, NULL), 0);
    assert_int_equal(m.list[0].id, 0x8e9e05c52164694d);
    assert_int_equal(members_cluster_id(&m), 0xcdf818194e3a8c32);
    members_deinit(&m);
}

TEST(members, the_order_of_the_list_makes_no_difference)
{
    _cleanup_strbuf_ struct strbuf one = {0}, two = {0};
    struct members a, b, c;

    assert_int_equal(members_parse("a=http://h:1,b=http://h:2,a=http://h:3", "t", &a, NULL), 0);
    assert_int_equal(members_parse("a=http://h:3,a=http://h:1,b=http://h:2", "t", &b, NULL), 0);
    members_encode(&a, &one);
    members_encode(&b, &two);
    assert_true(bytes_eq(strbuf_bytes(&one), strbuf_bytes(&two)));
    assert_int_equal(members_parse("a=http://h:3,a=http://h:1,b=http://h:2", "u", &c, NULL), 0);
    assert_int_not_equal(members_cluster_id(&a), members_cluster_id(&c));
    members_deinit(&a);
    members_deinit(&b);
    members_deinit(&c);
}

/* ---- one member ---- */

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

TEST(node, a_full_quota_refuses_what_grows_and_clears_itself)
{
    struct sim s;
    struct sim_call c = {.call = {.kind = STORE_DELETE}};
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
    (void)c;
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
    sim_init(&s, 3);
    for (size_t i = 0; i < 3; i++) {
        sim_start(&s, i);
    }
    leader = sim_elect(&s);
    other = (leader + 1) % 3;
    wal_mem_set_capacity(s.members[leader].mem, 4 << 20);
    for (int i = 0; i < 2000; i++) {
        (void)sim_put(&s, other, "/k", value); /* some fail while leadership moves */
    }
    assert_int_not_equal(sim_elect(&s), leader);
    assert_int_equal(sim_put(&s, other, "/k", "after"), 0);
    /* The disk in memory has a clock of its own, which hardly moves: a new start looks at once. */
    wal_mem_set_capacity(s.members[leader].mem, UINT64_MAX);
    sim_kill(&s, leader);
    sim_start(&s, leader);
    sim_run(&s, 5000);
    assert_int_equal(sim_get(&s, leader, "/k", &c), 0);
    assert_string_equal(c.value, "after");
    sim_deinit(&s);
}

TEST(node, a_directory_of_somebody_else_is_refused)
{
    _cleanup_err_ struct err err = {0};
    struct sim s;

    sim_init(&s, 1);
    sim_start(&s, 0);
    sim_settle(&s);
    sim_stop(&s, 0);
    assert_int_equal(sim_try_start(&s, 0, "other", "t", &err), DECREE_EINVALID_CONFIG);
    assert_non_null(strstr(err.text, "\"m0\""));
    assert_non_null(strstr(err.text, "\"other\""));
    assert_int_equal(sim_try_start(&s, 0, "m0", "another", &err), DECREE_EINVALID_CONFIG);
    assert_non_null(strstr(err.text, "token \"t\""));
    sim_start(&s, 0);
    assert_int_equal(sim_put(&s, 0, "/a", "1"), 0);
    sim_deinit(&s);
}

TEST(node, a_crash_at_any_write_of_the_founding_can_be_started_again)
{
    for (uint64_t nth = 1; nth < 40; nth++) {
        struct sim s;
        struct wal_mem *mem;

        sim_init(&s, 1);
        mem = s.members[0].mem;
        wal_mem_die_at(mem, nth, 50);
        if (sim_try_start(&s, 0, "m0", "t", NULL) == 0) {
            for (int i = 0; i < 100 && !wal_mem_is_dead(mem); i++) {
                sim_run(&s, 10);
            }
            sim_stop(&s, 0);
        }
        if (wal_mem_is_dead(mem)) {
            s.members[0].mem = wal_mem_reborn(mem);
        }
        wal_mem_die_at(s.members[0].mem, 0, 0); /* there were fewer operations than that */
        sim_start(&s, 0);
        assert_int_equal(sim_put(&s, 0, "/a", "1"), 0);
        sim_deinit(&s);
    }
}

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

/* ---- leases ---- */

static int64_t grant(struct sim *s, size_t i, int64_t ttl)
{
    struct sim_call c = {.call = {.kind = STORE_LEASE_GRANT, .lease_grant = {.ttl = ttl}}};

    assert_int_equal(sim_call(s, i, &c), 0);
    assert_true(c.lease.id > 0);
    return c.lease.id;
}

static int put_leased(struct sim *s, size_t i, const char *key, int64_t lease)
{
    struct sim_call c = {
        .call = {.kind = STORE_PUT, .put = {.key = bytes_str(key), .lease = lease}}};

    return sim_call(s, i, &c);
}

static int64_t keepalive(struct sim *s, size_t i, int64_t id)
{
    struct sim_call c = {.call = {.kind = STORE_LEASE_KEEPALIVE, .lease_id = {.id = id}}};

    assert_int_equal(sim_call(s, i, &c), 0);
    assert_int_equal(c.lease.id, id);
    return c.lease.ttl;
}

TEST(node, a_short_ttl_is_raised)
{
    struct sim s;
    struct sim_call c = {.call = {.kind = STORE_LEASE_GRANT, .lease_grant = {.id = 7, .ttl = 1}}};

    sim_init(&s, 1);
    sim_start(&s, 0);
    assert_int_equal(sim_call(&s, 0, &c), 0);
    assert_int_equal(c.lease.ttl, 2); /* ceil(1.5 s), contract §5 */
    assert_int_equal(sim_call(&s, 0, &c), DECREE_ELEASE_EXISTS);
    sim_deinit(&s);
}

TEST(node, a_lease_expires_with_its_keys_unless_kept_alive)
{
    struct sim s;
    struct sim_call c;
    int64_t id;

    sim_init(&s, 1);
    sim_start(&s, 0);
    sim_run(&s, 2000);
    id = grant(&s, 0, 5);
    assert_int_equal(put_leased(&s, 0, "/l", id), 0);
    for (int i = 0; i < 5; i++) {
        sim_run(&s, 4000);
        assert_int_equal(keepalive(&s, 0, id), 5);
    }
    assert_int_equal(sim_get(&s, 0, "/l", &c), 0);
    assert_int_equal(c.count, 1);
    sim_run(&s, 6000);
    assert_int_equal(sim_get(&s, 0, "/l", &c), 0);
    assert_int_equal(c.count, 0);
    assert_int_equal(keepalive(&s, 0, id), 0);
    sim_deinit(&s);
}

/* The processes are stopped for a minute, all at once: no keepalive could get through. */
TEST(node, a_leader_that_stood_still_expires_no_leases)
{
    for (size_t n = 1; n <= 3; n += 2) {
        struct sim s;
        struct sim_call c;
        size_t leader;
        int64_t id;

        sim_init(&s, n);
        for (size_t i = 0; i < n; i++) {
            sim_start(&s, i);
        }
        sim_run(&s, 3000);
        leader = sim_elect(&s);
        id = grant(&s, leader, 5);
        assert_int_equal(put_leased(&s, leader, "/l", id), 0);
        s.now_ms += 60000;
        sim_run(&s, 2000);
        assert_int_equal(keepalive(&s, sim_elect(&s), id), 5);
        assert_int_equal(sim_get(&s, 0, "/l", &c), 0);
        assert_int_equal(c.count, 1);
        sim_run(&s, 9000);
        assert_int_equal(sim_get(&s, 0, "/l", &c), 0);
        assert_int_equal(c.count, 0);
        sim_deinit(&s);
    }
}

TEST(node, a_follower_asks_the_leader_about_leases)
{
    struct sim s;
    size_t leader, follower;
    uint64_t before_ms;
    int64_t id;
    struct sim_call c;

    sim_init(&s, 3);
    for (size_t i = 0; i < 3; i++) {
        sim_start(&s, i);
    }
    leader = sim_elect(&s);
    follower = (leader + 1) % 3;
    id = grant(&s, follower, 60);
    assert_int_equal(put_leased(&s, follower, "/x", id), 0);
    sim_run(&s, 30000);
    c = (struct sim_call){.call = {.kind = STORE_LEASE_TTL, .lease_ttl = {.id = id, .keys = true}}};
    assert_int_equal(sim_call(&s, follower, &c), 0);
    assert_in_range(c.lease.ttl, 25, 31);
    assert_int_equal(c.lease.granted, 60);
    assert_string_equal(c.value, "/x");
    before_ms = s.now_ms;
    assert_int_equal(keepalive(&s, follower, id), 60);
    assert_int_equal(s.now_ms, before_ms); /* no heartbeat has to carry it along */
    c.call.lease_ttl.id = 12345;
    assert_int_equal(sim_call(&s, follower, &c), 0);
    assert_int_equal(c.lease.ttl, -1);
    assert_int_equal(keepalive(&s, follower, 12345), 0);
    sim_deinit(&s);
}

TEST(node, a_new_leader_gives_every_lease_its_full_time)
{
    struct sim s;
    size_t leader, next;
    int64_t id;
    struct sim_call c;

    sim_init(&s, 3);
    for (size_t i = 0; i < 3; i++) {
        sim_start(&s, i);
    }
    leader = sim_elect(&s);
    id = grant(&s, leader, 10);
    assert_int_equal(put_leased(&s, leader, "/x", id), 0);
    sim_run(&s, 9000);
    sim_kill(&s, leader);
    next = sim_elect(&s);
    sim_run(&s, 5000);
    assert_int_equal(sim_get(&s, next, "/x", &c), 0);
    assert_int_equal(c.count, 1);
    sim_run(&s, 9000);
    assert_int_equal(sim_get(&s, next, "/x", &c), 0);
    assert_int_equal(c.count, 0);
    sim_assert_equal(&s);
    sim_deinit(&s);
}

/* ---- three members ---- */

TEST(cluster, every_member_serves_reads_and_writes)
{
    struct sim s;
    struct sim_call c;

    sim_init(&s, 3);
    for (size_t i = 0; i < 3; i++) {
        sim_start(&s, i);
    }
    (void)sim_elect(&s);
    for (size_t i = 0; i < 3; i++) {
        char key[32];

        (void)snprintf(key, sizeof(key), "/%zu", i);
        assert_int_equal(sim_put(&s, i, key, key), 0);
        for (size_t k = 0; k < 3; k++) {
            assert_int_equal(sim_get(&s, k, key, &c), 0);
            assert_string_equal(c.value, key); /* read after the write's reply, anywhere */
        }
    }
    sim_assert_equal(&s);
    sim_deinit(&s);
}

TEST(cluster, replayed_frames_write_nothing_twice)
{
    struct sim s;
    struct sim_call c;
    size_t follower;

    sim_init(&s, 3);
    s.replay = true;
    for (size_t i = 0; i < 3; i++) {
        sim_start(&s, i);
    }
    follower = (sim_elect(&s) + 1) % 3;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(sim_put(&s, follower, "/a", "1"), 0);
    }
    assert_int_equal(sim_get(&s, follower, "/a", &c), 0);
    assert_int_equal(c.header.revision, 21);
    sim_assert_equal(&s);
    sim_deinit(&s);
}

TEST(cluster, members_publish_their_names_and_urls)
{
    struct sim s;
    struct sim_call c = {
        .call = {.kind = STORE_MEMBER_LIST, .member_list = {.linearizable = true}}};

    sim_init(&s, 3);
    for (size_t i = 0; i < 3; i++) {
        sim_start(&s, i);
    }
    (void)sim_elect(&s);
    sim_run(&s, 3000);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(sim_call(&s, i, &c), 0);
        assert_int_equal(c.n_members, 3);
        assert_int_equal(c.name[0], 'm');
        assert_int_equal(strlen(c.value), strlen("http://c0:2379"));
        assert_int_equal(c.value[8], c.name[1]); /* the URL is that member's */
    }
    sim_deinit(&s);
}

TEST(cluster, a_write_under_way_survives_the_loss_of_the_leader)
{
    struct sim s;
    struct sim_call c = {.call = {.kind = STORE_PUT,
                             .put = {.key = BYTES_LITERAL("/w"), .value = BYTES_LITERAL("1")}}};
    struct sim_call r;
    size_t leader, follower;

    sim_init(&s, 3);
    for (size_t i = 0; i < 3; i++) {
        sim_start(&s, i);
    }
    leader = sim_elect(&s);
    follower = (leader + 1) % 3;
    sim_run(&s, 3000);
    s.members[leader].cut = true; /* what is forwarded to it is lost */
    sim_submit(&s, follower, &c);
    sim_run(&s, 50);
    assert_false(c.done);
    sim_run(&s, 5000);
    assert_true(c.done);
    assert_int_equal(c.status, 0);
    assert_int_equal(sim_get(&s, follower, "/w", &r), 0);
    assert_string_equal(r.value, "1");
    s.members[leader].cut = false;
    sim_run(&s, 3000);
    sim_assert_equal(&s);
    sim_deinit(&s);
}

TEST(cluster, a_minority_times_out_and_says_why)
{
    struct sim s;
    struct sim_call c = {.call = {.kind = STORE_PUT, .put = {.key = BYTES_LITERAL("/w")}}};
    struct sim_call r = {.call = {.kind = STORE_RANGE, .range = {.key = BYTES_LITERAL("/w")}}};
    size_t leader;

    sim_init(&s, 3);
    for (size_t i = 0; i < 3; i++) {
        sim_start(&s, i);
    }
    leader = sim_elect(&s);
    s.members[leader].cut = true;
    sim_submit(&s, leader, &c);
    sim_submit(&s, leader, &r);
    sim_run(&s, 6900);
    assert_false(c.done); /* 5 s and twice the election timeout */
    sim_run(&s, 300);
    assert_true(c.done && r.done);
    assert_true(c.status == DECREE_ETIMEOUT || c.status == DECREE_ETIMEOUT_CONNECTION);
    assert_int_equal(err_grpc_status(r.status), 14);
    r.call.range.serializable = true;
    assert_int_equal(sim_call(&s, leader, &r), 0); /* what may be stale is served */
    sim_deinit(&s);
}

TEST(cluster, leader_killed_and_restarted_loses_nothing)
{
    struct sim s;
    struct sim_call c;
    char key[16];

    sim_init(&s, 3);
    for (size_t i = 0; i < 3; i++) {
        sim_start(&s, i);
    }
    for (int round = 0; round < 6; round++) {
        size_t leader = sim_elect(&s);
        size_t other = (leader + 1) % 3;

        (void)snprintf(key, sizeof(key), "/a%d", round);
        assert_int_equal(sim_put(&s, leader, key, "before"), 0);
        sim_kill(&s, leader);
        (void)snprintf(key, sizeof(key), "/b%d", round);
        assert_int_equal(sim_put(&s, other, key, "after"), 0);
        sim_start(&s, leader);
        sim_run(&s, 500);
    }
    for (int round = 0; round < 6; round++) {
        (void)snprintf(key, sizeof(key), "/a%d", round);
        assert_int_equal(sim_get(&s, 0, key, &c), 0);
        assert_string_equal(c.value, "before");
        (void)snprintf(key, sizeof(key), "/b%d", round);
        assert_int_equal(sim_get(&s, 1, key, &c), 0);
        assert_string_equal(c.value, "after");
    }
    sim_assert_equal(&s);
    sim_deinit(&s);
}

TEST(cluster, a_leader_that_leaves_hands_over_without_a_timeout)
{
    struct sim s;
    struct sim_call c;
    size_t leader;
    uint64_t now;

    sim_init(&s, 3);
    for (size_t i = 0; i < 3; i++) {
        sim_start(&s, i);
    }
    leader = sim_elect(&s);
    sim_run(&s, 1000);
    now = s.now_ms;
    assert_false(core_hand_over(s.members[(leader + 1) % 3].core)); /* has nothing to hand over */
    assert_true(core_hand_over(s.members[leader].core));
    assert_int_equal(sim_put(&s, leader, "/a", "1"), 0); /* forwarded to the new one */
    assert_false(core_leads_now(s.members[leader].core));
    assert_true(s.now_ms - now < SIM_HEARTBEAT_MS * SIM_ELECTION_TICKS / 2);
    assert_int_equal(sim_get(&s, (leader + 1) % 3, "/a", &c), 0);
    assert_string_equal(c.value, "1");
    sim_deinit(&s);
}

TEST(cluster, all_killed_at_once_lose_nothing)
{
    struct sim s;
    struct sim_call c;

    sim_init(&s, 3);
    for (size_t i = 0; i < 3; i++) {
        sim_start(&s, i);
    }
    assert_int_equal(sim_put(&s, sim_elect(&s), "/a", "1"), 0);
    for (size_t i = 0; i < 3; i++) {
        sim_kill(&s, i);
    }
    for (size_t i = 0; i < 3; i++) {
        sim_start(&s, i);
    }
    (void)sim_elect(&s);
    assert_int_equal(sim_get(&s, 2, "/a", &c), 0);
    assert_string_equal(c.value, "1");
    sim_assert_equal(&s);
    sim_deinit(&s);
}

/* Writes n values of 3 kB while one member is down, so that its place in the log is gone. */
static void leave_behind(struct sim *s, size_t *ret_behind, size_t *ret_leader, int n)
{
    char key[16], value[3001] = {0};
    size_t leader;

    memset(value, 'v', sizeof(value) - 1);
    s->snapshot_count = 100;
    s->snapshot_keep = 10;
    for (size_t i = 0; i < 3; i++) {
        sim_start(s, i);
    }
    leader = sim_elect(s);
    *ret_behind = (leader + 1) % 3;
    sim_kill(s, *ret_behind);
    for (int i = 0; i < n; i++) {
        (void)snprintf(key, sizeof(key), "/k%d", i);
        assert_int_equal(sim_put(s, leader, key, value), 0);
    }
    assert_true(core_snapshot_index(s->members[leader].core) > 0);
    *ret_leader = leader;
}

TEST(cluster, a_member_far_behind_gets_a_snapshot_while_writes_go_on)
{
    struct sim s;
    struct sim_call c;
    size_t leader, behind;
    uint64_t before;

    sim_init(&s, 3);
    leave_behind(&s, &behind, &leader, 400);
    before = core_snapshot_index(s.members[leader].core);
    sim_start(&s, behind);
    for (int i = 0; i < 30; i++) {
        assert_int_equal(sim_put(&s, leader, "/on", "going"), 0);
        sim_run(&s, 50);
    }
    assert_true(core_snapshot_index(s.members[behind].core) >= before);
    assert_int_equal(sim_get(&s, behind, "/k17", &c), 0);
    assert_int_equal(c.count, 1);
    sim_assert_equal(&s);
    /* What was received is its own from now on. */
    sim_kill(&s, behind);
    sim_start(&s, behind);
    sim_run(&s, 1000);
    sim_assert_equal(&s);
    sim_deinit(&s);
}

TEST(cluster, a_snapshot_stream_cut_anywhere_leaves_the_old_state_and_comes_again)
{
    static const uint64_t at[] = {1, 200, 70000, 300000, 900000};

    for (size_t k = 0; k < ARRAY_SIZE(at); k++) {
        struct sim s;
        size_t leader, behind;

        sim_init(&s, 3);
        leave_behind(&s, &behind, &leader, 400);
        s.stream_cut_after = at[k];
        sim_start(&s, behind);
        sim_run(&s, 5000);
        assert_int_equal(s.stream_cut_after, 0); /* it was cut */
        sim_assert_equal(&s);
        sim_deinit(&s);
    }
}

TEST(cluster, a_member_killed_at_any_moment_of_an_installation_recovers)
{
    for (uint64_t nth = 1; nth < 60; nth += 3) {
        struct sim s;
        size_t leader, behind;
        struct sim_member *m;

        sim_init(&s, 3);
        leave_behind(&s, &behind, &leader, 150);
        m = &s.members[behind];
        sim_start(&s, behind);
        wal_mem_die_at(m->mem, nth, 30);
        for (int i = 0; i < 300 && !wal_mem_is_dead(m->mem); i++) {
            sim_run(&s, 10);
        }
        sim_stop(&s, behind);
        if (wal_mem_is_dead(m->mem)) {
            m->mem = wal_mem_reborn(m->mem);
        }
        wal_mem_die_at(m->mem, 0, 0); /* there were fewer operations than that */
        sim_start(&s, behind);
        sim_run(&s, 3000);
        sim_assert_equal(&s);
        sim_deinit(&s);
    }
}

/* ---- watches ---- */

struct seen {
    struct watcher w;
    size_t n;
    int64_t last;
    bool ended;
};

static bool on_events(
    struct watcher *w, struct watch_event *const *events, size_t n, int64_t revision)
{
    struct seen *seen = container_of(w, struct seen, w);

    for (size_t i = 0; i < n; i++) {
        assert_true(events[i]->kv.mod_revision > seen->last); /* nobody goes back in time */
        seen->last = events[i]->kv.mod_revision;
    }
    assert_true(revision >= seen->last);
    seen->n += n;
    return true;
}

static void on_end(struct watcher *w, enum watch_end why)
{
    struct seen *seen = container_of(w, struct seen, w);

    assert_int_equal(why, WATCH_COMPACTED);
    seen->ended = true;
}

static const struct watch_ops seen_ops = {.events = on_events, .end = on_end};

TEST(node, a_watcher_sees_each_change_once_in_the_turn_of_its_reply)
{
    struct sim s;
    struct seen seen = {.w = {.key = BYTES_LITERAL("/w"), .ops = &seen_ops}};

    sim_init(&s, 1);
    sim_start(&s, 0);
    sim_settle(&s);
    store_watch_add(s.members[0].core, &seen.w);
    assert_int_equal(sim_put(&s, 0, "/w", "1"), 0);
    assert_int_equal(seen.n, 1);
    assert_int_equal(sim_put(&s, 0, "/other", "1"), 0);
    assert_int_equal(sim_put(&s, 0, "/w", "2"), 0);
    assert_int_equal(seen.n, 2);
    assert_int_equal(seen.last, 4);
    assert_true(store_watch_is_synced(s.members[0].core, &seen.w));
    store_watch_remove(s.members[0].core, &seen.w);
    assert_int_equal(sim_put(&s, 0, "/w", "3"), 0);
    assert_int_equal(seen.n, 2);
    sim_deinit(&s);
}

TEST(cluster, a_watcher_lives_through_the_installation_of_a_snapshot)
{
    struct sim s;
    struct seen seen = {
        .w = {.key = BYTES_LITERAL("/k"), .range_end = BYTES_LITERAL("/l"), .ops = &seen_ops}};
    size_t leader, behind;

    sim_init(&s, 3);
    leave_behind(&s, &behind, &leader, 150);
    sim_start(&s, behind);
    s.members[behind].cut = true;
    sim_settle(&s);
    seen.w.start_revision = 2;
    store_watch_add(s.members[behind].core, &seen.w);
    s.members[behind].cut = false;
    sim_run(&s, 5000);
    sim_assert_equal(&s);
    assert_false(seen.ended);
    assert_int_equal(seen.n, 150); /* history came with the snapshot */
    store_watch_remove(s.members[behind].core, &seen.w);
    sim_deinit(&s);
}

/* ---- hostile members ---- */

TEST(cluster, frames_of_garbage_change_nothing)
{
    struct sim s;
    struct sim_call c;
    uint64_t x = 88172645463325252;
    size_t leader;

    sim_init(&s, 3);
    for (size_t i = 0; i < 3; i++) {
        sim_start(&s, i);
    }
    leader = sim_elect(&s);
    assert_int_equal(sim_put(&s, leader, "/a", "1"), 0);
    for (int i = 0; i < 20000; i++) {
        uint8_t body[96];
        size_t len;

        for (size_t k = 0; k < sizeof(body); k++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            body[k] = (uint8_t)(k == 0 ? 2 + x % 20 : x >> 11);
        }
        len = x % sizeof(body);
        core_frame(s.members[leader].core, s.members[(leader + 1) % 3].id, bytes_make(body, len));
        (void)core_stream_frame(
            s.members[leader].core, s.members[(leader + 1) % 3].id, bytes_make(body, len));
    }
    core_stream_cut(s.members[leader].core, s.members[(leader + 1) % 3].id);
    sim_run(&s, 1000);
    assert_int_equal(sim_get(&s, leader, "/a", &c), 0);
    assert_string_equal(c.value, "1");
    sim_assert_equal(&s);
    sim_deinit(&s);
}

TEST_MAIN(UNIT(members, ids_are_those_that_etcd_gives),
    UNIT(members, the_order_of_the_list_makes_no_difference),
    UNIT(node, a_lone_member_serves_at_once),
    UNIT(node, a_killed_member_comes_back_with_all_it_acknowledged),
    UNIT(node, reads_cost_a_lone_member_no_disk_write),
    UNIT(node, calls_of_one_turn_share_one_write),
    UNIT(node, a_commit_of_many_slices_is_applied_to_its_end),
    UNIT(node, requests_are_checked_before_they_are_proposed),
    UNIT(node, a_txn_that_only_reads_skips_the_log),
    UNIT(node, a_full_quota_refuses_what_grows_and_clears_itself),
    UNIT(node, snapshots_are_written_and_the_log_is_cut_behind_them),
    UNIT(node, a_full_disk_refuses_writes_serves_reads_and_goes_on),
    UNIT(cluster, a_leader_with_a_full_disk_lets_another_one_lead),
    UNIT(node, a_directory_of_somebody_else_is_refused),
    UNIT(node, a_crash_at_any_write_of_the_founding_can_be_started_again),
    UNIT(node, a_stopped_member_answers_what_waits), UNIT(node, a_cancelled_call_is_never_answered),
    UNIT(node, a_short_ttl_is_raised), UNIT(node, a_lease_expires_with_its_keys_unless_kept_alive),
    UNIT(node, a_leader_that_stood_still_expires_no_leases),
    UNIT(node, a_follower_asks_the_leader_about_leases),
    UNIT(node, a_new_leader_gives_every_lease_its_full_time),
    UNIT(node, a_watcher_sees_each_change_once_in_the_turn_of_its_reply),
    UNIT(cluster, every_member_serves_reads_and_writes),
    UNIT(cluster, replayed_frames_write_nothing_twice),
    UNIT(cluster, members_publish_their_names_and_urls),
    UNIT(cluster, a_write_under_way_survives_the_loss_of_the_leader),
    UNIT(cluster, a_minority_times_out_and_says_why),
    UNIT(cluster, leader_killed_and_restarted_loses_nothing),
    UNIT(cluster, a_leader_that_leaves_hands_over_without_a_timeout),
    UNIT(cluster, all_killed_at_once_lose_nothing),
    UNIT(cluster, a_member_far_behind_gets_a_snapshot_while_writes_go_on),
    UNIT(cluster, a_snapshot_stream_cut_anywhere_leaves_the_old_state_and_comes_again),
    UNIT(cluster, a_member_killed_at_any_moment_of_an_installation_recovers),
    UNIT(cluster, a_watcher_lives_through_the_installation_of_a_snapshot),
    UNIT(cluster, frames_of_garbage_change_nothing))
