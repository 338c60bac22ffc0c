/* Three members: what any of them serves, and what the loss of one does. */
#include <stdio.h>

#include "node_scene.h"
#include "unit.h"

/* ---- all is well ---- */

TEST(cluster, every_member_serves_reads_and_writes)
{
    struct sim s;
    struct sim_call c;

    (void)scene_cluster(&s, 3);
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
    scene_start_all(&s);
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

    (void)scene_cluster(&s, 3);
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

/* ---- the leader goes ---- */

TEST(cluster, a_write_under_way_survives_the_loss_of_the_leader)
{
    struct sim s;
    struct sim_call c = {.call = {.kind = STORE_PUT,
                             .put = {.key = BYTES_LITERAL("/w"), .value = BYTES_LITERAL("1")}}};
    struct sim_call r;
    size_t leader, follower;

    leader = scene_cluster(&s, 3);
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

    leader = scene_cluster(&s, 3);
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
    scene_start_all(&s);
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

    leader = scene_cluster(&s, 3);
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

TEST(cluster, time_without_a_leader_is_counted)
{
    size_t leader, other;
    struct sim s;

    sim_init(&s, 3);
    sim_start(&s, 0);
    sim_run(&s, 3000);
    assert_in_range(store_leaderless_ms(s.members[0].core), 2900, 3100);
    sim_start(&s, 1);
    sim_start(&s, 2);
    leader = sim_elect(&s);
    other = (leader + 1) % 3;
    assert_int_equal(store_leaderless_ms(s.members[leader].core), 0);
    s.members[other].cut = true;
    sim_run(&s, 10000);
    assert_true(store_leaderless_ms(s.members[other].core) > 5000);
    sim_deinit(&s);
}

TEST(cluster, all_killed_at_once_lose_nothing)
{
    struct sim s;
    struct sim_call c;

    sim_init(&s, 3);
    scene_start_all(&s);
    assert_int_equal(sim_put(&s, sim_elect(&s), "/a", "1"), 0);
    for (size_t i = 0; i < 3; i++) {
        sim_kill(&s, i);
    }
    scene_start_all(&s);
    (void)sim_elect(&s);
    assert_int_equal(sim_get(&s, 2, "/a", &c), 0);
    assert_string_equal(c.value, "1");
    sim_assert_equal(&s);
    sim_deinit(&s);
}

/* ---- a member talks nonsense ---- */

TEST(cluster, frames_of_garbage_change_nothing)
{
    struct sim s;
    struct sim_call c;
    uint64_t x = 88172645463325252;
    size_t leader;

    leader = scene_cluster(&s, 3);
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

TEST_MAIN(UNIT(cluster, every_member_serves_reads_and_writes),
    UNIT(cluster, replayed_frames_write_nothing_twice),
    UNIT(cluster, members_publish_their_names_and_urls),
    UNIT(cluster, a_write_under_way_survives_the_loss_of_the_leader),
    UNIT(cluster, a_minority_times_out_and_says_why),
    UNIT(cluster, leader_killed_and_restarted_loses_nothing),
    UNIT(cluster, a_leader_that_leaves_hands_over_without_a_timeout),
    UNIT(cluster, time_without_a_leader_is_counted), UNIT(cluster, all_killed_at_once_lose_nothing),
    UNIT(cluster, frames_of_garbage_change_nothing))
