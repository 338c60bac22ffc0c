/* Leases, asked of any member, kept by the leader. */
#include <stdio.h>
#include <string.h>

#include "msg_codec.h"
#include "node_scene.h"
#include "unit.h"

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

/* ---- time ---- */

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
        scene_start_all(&s);
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

TEST(node, a_new_leader_gives_every_lease_its_full_time)
{
    struct sim s;
    size_t leader, next;
    int64_t id;
    struct sim_call c;

    leader = scene_cluster(&s, 3);
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

TEST(leases, a_revoke_deletes_its_keys_and_is_gone)
{
    struct sim_call c = {.call = {.kind = STORE_LEASE_GRANT, .lease_grant = {.id = 7, .ttl = 60}}};
    struct sim s;

    sim_init(&s, 1);
    sim_start(&s, 0);
    assert_int_equal(sim_call(&s, 0, &c), 0);
    c = (struct sim_call){
        .call = {.kind = STORE_PUT, .put = {.key = BYTES_LITERAL("/l"), .lease = 7}}};
    assert_int_equal(sim_call(&s, 0, &c), 0);
    c = (struct sim_call){.call = {.kind = STORE_LEASE_REVOKE, .lease_id = {.id = 7}}};
    assert_int_equal(sim_call(&s, 0, &c), 0);
    assert_int_equal(sim_get(&s, 0, "/l", &c), 0);
    assert_int_equal(c.count, 0);
    c = (struct sim_call){.call = {.kind = STORE_LEASE_REVOKE, .lease_id = {.id = 7}}};
    assert_int_equal(sim_call(&s, 0, &c), DECREE_ELEASE_NOT_FOUND);
    sim_deinit(&s);
}

/* ---- followers ask the leader ---- */

TEST(node, a_follower_asks_the_leader_about_leases)
{
    struct sim s;
    size_t leader, follower;
    uint64_t before_ms;
    int64_t id;
    struct sim_call c;

    leader = scene_cluster(&s, 3);
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

/* A question that reaches a member which leads no more is answered so, and asked again elsewhere.
 */
TEST(leases, a_question_survives_the_change_of_the_leader)
{
    struct sim_call c = {.call = {.kind = STORE_LEASE_GRANT, .lease_grant = {.id = 7, .ttl = 60}}};
    size_t leader, asker;
    struct sim s;

    leader = scene_cluster(&s, 3);
    asker = (leader + 1) % 3;
    assert_int_equal(sim_call(&s, leader, &c), 0);
    sim_kill(&s, leader);
    c = (struct sim_call){.call = {.kind = STORE_LEASE_TTL, .lease_ttl = {.id = 7}}};
    sim_submit(&s, asker, &c);
    sim_settle(&s);
    assert_false(c.done);
    sim_start(&s, leader);
    for (int i = 0; i < 400 && !c.done; i++) {
        sim_run(&s, 10);
    }
    assert_true(c.done);
    assert_int_equal(c.status, 0);
    assert_int_equal(c.lease.granted, 60);
    sim_deinit(&s);
}

/* A frame holds so much; the leader itself has no such limit. */
TEST(leases, more_keys_than_a_frame_holds_are_too_many_for_a_follower)
{
    enum { KEYS = 2200, KEY_BYTES = 1000 };
    struct sim_call c = {.call = {.kind = STORE_LEASE_GRANT, .lease_grant = {.id = 7, .ttl = 600}}};
    char key[KEY_BYTES + 1];
    size_t leader;
    struct sim s;

    leader = scene_cluster(&s, 3);
    assert_int_equal(sim_call(&s, leader, &c), 0);
    memset(key, 'k', KEY_BYTES);
    for (int i = 0; i < KEYS; i++) {
        (void)snprintf(key, 16, "%07d", i);
        key[7] = 'k';
        c = (struct sim_call){
            .call = {.kind = STORE_PUT, .put = {.key = bytes_make(key, KEY_BYTES), .lease = 7}}};
        assert_int_equal(sim_call(&s, leader, &c), 0);
    }
    c = (struct sim_call){.call = {.kind = STORE_LEASE_TTL, .lease_ttl = {.id = 7, .keys = true}}};
    assert_int_equal(sim_call(&s, (leader + 1) % 3, &c), DECREE_ETOO_LARGE);
    assert_int_equal(sim_call(&s, leader, &c), 0);
    c.call.lease_ttl.keys = false;
    assert_int_equal(sim_call(&s, (leader + 1) % 3, &c), 0);
    /* And a reply about all of them, whose block is given back. */
    c = (struct sim_call){
        .call = {.kind = STORE_DELETE,
            .del = {.key = BYTES_LITERAL("0"), .range_end = BYTES_LITERAL("1"), .prev_kv = true}}};
    assert_int_equal(sim_call(&s, leader, &c), 0);
    assert_int_equal(c.deleted, KEYS);
    sim_deinit(&s);
}

static void assert_frame_does_nothing(struct sim *s, size_t i, struct bytes frame)
{
    uint64_t hash = core_hash(s->members[i].core);

    core_frame(s->members[i].core, s->members[(i + 1) % 3].id, frame);
    sim_settle(s);
    assert_int_equal(core_hash(s->members[i].core), hash);
}

TEST(leases, malformed_and_unasked_lease_frames_do_nothing)
{
    struct lease_ask ask = {.sequence = 1, .id = 7, .keepalive = true};
    struct lease_answer unasked = {.sequence = 99};
    _cleanup_buf_ struct buf *good_ask = lease_ask_encode(&ask);
    _cleanup_buf_ struct buf *answer = lease_answer_encode(&unasked);
    struct sim s;
    size_t leader;

    leader = scene_cluster(&s, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_frame_does_nothing(&s, i, BYTES_LITERAL("\x02?"));
        assert_frame_does_nothing(&s, i, BYTES_LITERAL("\x03"));
        assert_frame_does_nothing(&s, i, BYTES_LITERAL("\x77"));
        assert_frame_does_nothing(&s, i, (struct bytes){0});
        assert_frame_does_nothing(&s, i, buf_bytes(answer));
        assert_frame_does_nothing(&s, i, buf_bytes(good_ask));
    }
    assert_int_equal(sim_put(&s, leader, "/a", "1"), 0);
    sim_deinit(&s);
}

TEST_MAIN(UNIT(node, a_short_ttl_is_raised),
    UNIT(node, a_lease_expires_with_its_keys_unless_kept_alive),
    UNIT(node, a_leader_that_stood_still_expires_no_leases),
    UNIT(node, a_new_leader_gives_every_lease_its_full_time),
    UNIT(leases, a_revoke_deletes_its_keys_and_is_gone),
    UNIT(node, a_follower_asks_the_leader_about_leases),
    UNIT(leases, a_question_survives_the_change_of_the_leader),
    UNIT(leases, more_keys_than_a_frame_holds_are_too_many_for_a_follower),
    UNIT(leases, malformed_and_unasked_lease_frames_do_nothing))
