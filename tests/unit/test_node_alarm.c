/* Alarms, and members that compare what they keep. */
#include <stdio.h>

#include "core.h"
#include "node_scene.h"
#include "unit.h"

static int alarm_call(struct sim *s, size_t i, enum store_alarm_action action, uint64_t member,
    enum store_alarm_type type, struct sim_call *c)
{
    *c = (struct sim_call){
        .call = {.kind = STORE_ALARM,
            .alarm = {.action = action, .alarm = {.member = member, .type = type}}}};
    return sim_call(s, i, c);
}

static size_t alarms(struct sim *s, size_t i, struct sim_call *c)
{
    assert_int_equal(alarm_call(s, i, STORE_ALARM_GET, 0, STORE_ALARM_NONE, c), 0);
    return c->n_alarms;
}

/* Another value under the same length, as a flipped bit in memory would make it. */
static void flip(struct sim *s, size_t i, const char *key)
{
    _cleanup_arena_ struct arena arena = {0};
    struct range_request r = {.key = bytes_str(key)};
    struct range_reply reply;
    uint8_t *value;

    assert_int_equal(mvcc_range(s->members[i].core->mvcc, &r, &arena, &reply), 0);
    assert_int_equal(reply.n_kvs, 1);
    memcpy(&value, &reply.kvs[0].value.data, sizeof(value));
    value[0] ^= 0x40;
}

static uint64_t checks(struct sim *s)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < s->n; i++) {
        sum += s->members[i].core != NULL ? s->members[i].core->check.rounds : 0;
    }
    return sum;
}

/* ---- alarms ---- */

TEST(alarm, is_known_to_all_and_outlives_restarts_and_snapshots)
{
    struct sim s;
    struct sim_call c;
    size_t leader;
    char key[16];

    sim_init(&s, 3);
    s.snapshot_count = 20;
    s.snapshot_keep = 5;
    scene_start_all(&s);
    leader = sim_elect(&s);
    sim_kill(&s, (leader + 1) % 3);
    assert_int_equal(alarm_call(&s, leader, STORE_ALARM_ACTIVATE, 7, STORE_ALARM_CORRUPT, &c), 0);
    assert_int_equal(c.n_alarms, 1);
    assert_int_equal(sim_put(&s, leader, "/a", "1"), DECREE_ECORRUPT_CLUSTER);
    assert_int_equal(sim_get(&s, leader, "/a", &c), 0);
    assert_int_equal(alarm_call(&s, leader, STORE_ALARM_DEACTIVATE, 7, STORE_ALARM_CORRUPT, &c), 0);
    assert_int_equal(c.n_alarms, 1);
    assert_int_equal(alarm_call(&s, leader, STORE_ALARM_DEACTIVATE, 7, STORE_ALARM_CORRUPT, &c), 0);
    assert_int_equal(c.n_alarms, 0);
    assert_int_equal(alarm_call(&s, leader, STORE_ALARM_ACTIVATE, 7, STORE_ALARM_NOSPACE, &c), 0);
    for (int i = 0; i < 60; i++) { /* deletes go on, the log of the absent one is cut */
        (void)snprintf(key, sizeof(key), "/k%d", i);
        c = (struct sim_call){.call = {.kind = STORE_DELETE, .del = {.key = bytes_str(key)}}};
        assert_int_equal(sim_call(&s, leader, &c), 0);
    }
    assert_true(core_snapshot_index(s.members[leader].core) > 20);
    sim_start(&s, (leader + 1) % 3);
    sim_run(&s, 3000);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(alarms(&s, i, &c), 1);
        assert_int_equal(c.alarm.member, 7);
        assert_int_equal(sim_put(&s, i, "/a", "1"), DECREE_ENO_SPACE);
    }
    for (size_t i = 0; i < 3; i++) {
        sim_kill(&s, i);
    }
    scene_start_all(&s);
    (void)sim_elect(&s);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(alarms(&s, i, &c), 1);
        assert_true(store_alarm_is_active(s.members[i].core, STORE_ALARM_NOSPACE));
    }
    sim_deinit(&s);
}

TEST(alarm, of_space_is_raised_by_who_is_full_and_clears_itself)
{
    struct sim s;
    struct sim_call c;
    size_t follower;
    char value[3001] = {0};
    int err = 0;

    memset(value, 'x', sizeof(value) - 1);
    sim_init(&s, 3);
    s.quota_bytes = 60000;
    scene_start_all(&s);
    follower = (sim_elect(&s) + 1) % 3;
    for (int i = 0; i < 40 && err == 0; i++) {
        err = sim_put(&s, follower, "/k", value);
    }
    assert_int_equal(err, DECREE_ENO_SPACE);
    sim_run(&s, 1000);
    assert_int_equal(alarms(&s, 0, &c), 1);
    assert_int_equal(c.alarm.member, s.members[follower].id);
    assert_int_equal(c.alarm.type, STORE_ALARM_NOSPACE);
    for (size_t i = 0; i < 3; i++) { /* as with etcd, by all */
        assert_int_equal(sim_put(&s, i, "/small", "1"), DECREE_ENO_SPACE);
    }
    sim_kill(&s, follower); /* the alarm is what it knows afterwards */
    sim_start(&s, follower);
    (void)sim_elect(&s);
    c = (struct sim_call){
        .call = {.kind = STORE_COMPACT,
            .compact = {.revision = mvcc_revision(s.members[follower].core->mvcc)}}};
    assert_int_equal(sim_call(&s, follower, &c), 0);
    sim_run(&s, 3000);
    assert_int_equal(alarms(&s, 0, &c), 0);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(sim_put(&s, i, "/small", "1"), 0);
    }
    sim_deinit(&s);
}

TEST(alarm, what_clients_raise_is_bounded)
{
    struct sim s;
    struct sim_call c;
    int err = 0;

    sim_init(&s, 1);
    sim_start(&s, 0);
    for (uint64_t id = 1; id <= ALARMS_MAX; id++) {
        assert_int_equal(
            alarm_call(&s, 0, STORE_ALARM_ACTIVATE, id * 3, STORE_ALARM_NOSPACE, &c), 0);
    }
    err = alarm_call(&s, 0, STORE_ALARM_ACTIVATE, 1, STORE_ALARM_NOSPACE, &c);
    assert_int_equal(err, DECREE_ETOO_MANY_REQUESTS);
    assert_int_equal(alarms(&s, 0, &c), ALARMS_MAX);
    err = alarm_call(&s, 0, STORE_ALARM_ACTIVATE, 1, STORE_ALARM_NONE, &c);
    assert_int_equal(err, DECREE_EBAD_REQUEST);
    sim_deinit(&s);
}

TEST(alarm, that_comes_before_a_write_in_the_log_makes_it_void)
{
    struct sim s;
    struct sim_call raise = {.call = {.kind = STORE_ALARM,
                                 .alarm = {.action = STORE_ALARM_ACTIVATE,
                                     .alarm = {.member = 7, .type = STORE_ALARM_CORRUPT}}}};
    struct sim_call put = {.call = {.kind = STORE_PUT,
                               .put = {.key = BYTES_LITERAL("/a"), .value = BYTES_LITERAL("1")}}};
    struct sim_call c;

    sim_init(&s, 1);
    sim_start(&s, 0);
    (void)sim_elect(&s);
    sim_submit(&s, 0, &raise); /* both are proposed before either is applied */
    sim_submit(&s, 0, &put);
    sim_run(&s, 100);
    assert_true(raise.done && put.done);
    assert_int_equal(raise.status, 0);
    assert_int_equal(put.status, DECREE_ECORRUPT_CLUSTER);
    assert_int_equal(sim_get(&s, 0, "/a", &c), 0);
    assert_int_equal(c.count, 0);
    assert_int_equal(alarm_call(&s, 0, STORE_ALARM_DEACTIVATE, 7, STORE_ALARM_CORRUPT, &c), 0);
    assert_int_equal(sim_put(&s, 0, "/a", "1"), 0);
    sim_deinit(&s);
}

TEST(alarm, bytes_that_no_member_wrote_are_refused)
{
    static const struct alarms two = {
        .list = {{.member = 3, .type = STORE_ALARM_NOSPACE, .own = true},
            {.member = 9, .type = STORE_ALARM_CORRUPT}},
        .n = 2};
    _cleanup_strbuf_ struct strbuf good = {0};
    struct alarms back, nospace = {0};

    alarms_encode(&two, &good);
    assert_int_equal(alarms_decode(strbuf_bytes(&good), &back), 0);
    assert_int_equal(back.n, 2);
    assert_true(back.list[0].own && !back.list[1].own);
    nospace.n = alarms_select(&back, STORE_ALARM_NOSPACE, nospace.list);
    assert_int_equal(nospace.n, 1);
    assert_int_equal(nospace.list[0].member, 3);
    for (size_t n = 0; n < good.len; n++) {
        assert_int_equal(alarms_decode(bytes_make(good.data, n), &back), DECREE_EBAD_REQUEST);
    }
    good.data[9] = STORE_ALARM_NONE; /* behind the count and a member's id */
    assert_int_equal(alarms_decode(strbuf_bytes(&good), &back), DECREE_EBAD_REQUEST);
    good.data[9] = STORE_ALARM_TYPE_END;
    assert_int_equal(alarms_decode(strbuf_bytes(&good), &back), DECREE_EBAD_REQUEST);
    good.data[9] = STORE_ALARM_NOSPACE;
    good.data[10] = 2;
    assert_int_equal(alarms_decode(strbuf_bytes(&good), &back), DECREE_EBAD_REQUEST);
    good.data[10] = 1;
    good.data[0] = ALARMS_MAX + 1;
    assert_int_equal(alarms_decode(strbuf_bytes(&good), &back), DECREE_EBAD_REQUEST);
    good.data[0] = 2;
    memcpy(good.data + 11, good.data + 1, 10); /* the same twice */
    assert_int_equal(alarms_decode(strbuf_bytes(&good), &back), DECREE_EBAD_REQUEST);
}

/* ---- comparing ---- */

TEST(check, equal_members_stay_unaccused_under_load_restarts_and_snapshots)
{
    struct sim s;
    struct sim_call c;
    char key[16];

    sim_init(&s, 3);
    s.snapshot_count = 50;
    s.snapshot_keep = 5;
    scene_start_all(&s);
    (void)sim_elect(&s);
    for (int i = 0; i < 600; i++) {
        size_t leader = sim_elect(&s);

        (void)snprintf(key, sizeof(key), "/k%d", i % 40);
        assert_int_equal(sim_put(&s, leader, key, key), 0);
        sim_run(&s, 1000);
        if (i % 100 == 30) {
            sim_kill(&s, (leader + 1) % 3);
        } else if (i % 100 == 95) {
            for (size_t k = 0; k < 3; k++) {
                if (s.members[k].core == NULL) {
                    sim_start(&s, k);
                }
            }
        }
    }
    assert_true(checks(&s) >= 3);
    assert_int_equal(alarms(&s, sim_elect(&s), &c), 0);
    sim_deinit(&s);
}

TEST(check, a_flipped_value_raises_the_alarm_and_names_the_member)
{
    struct sim s;
    struct sim_call c;
    size_t leader = scene_cluster(&s, 3), bad = (leader + 1) % 3;
    struct sim_call status = {.call = {.kind = STORE_STATUS}};

    assert_int_equal(sim_put(&s, leader, "/a", "1"), 0);
    assert_int_equal(sim_put(&s, leader, "/b", "2"), 0);
    sim_run(&s, 1000);
    flip(&s, bad, "/a");
    sim_run(&s, 2 * HASH_CHECK_MS);
    assert_int_equal(alarms(&s, leader, &c), 1);
    assert_int_equal(c.alarm.type, STORE_ALARM_CORRUPT);
    assert_int_equal(c.alarm.member, s.members[bad].id);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(sim_put(&s, i, "/a", "3"), DECREE_ECORRUPT_CLUSTER);
        status = (struct sim_call){.call = {.kind = STORE_STATUS}};
        assert_int_equal(sim_call(&s, i, &status), 0);
        assert_int_equal(status.n_alarms, 1);
    }
    assert_int_equal(sim_get(&s, leader, "/a", &c), 0);
    assert_string_equal(c.value, "1");
    /* The other two are enough for everything once an operator has seen to it. */
    assert_int_equal(
        alarm_call(&s, leader, STORE_ALARM_DEACTIVATE, s.members[bad].id, STORE_ALARM_CORRUPT, &c),
        0);
    assert_int_equal(sim_put(&s, leader, "/a", "3"), 0);
    sim_deinit(&s);
}

TEST(check, a_leader_that_differs_hands_over)
{
    struct sim s;
    struct sim_call c;
    size_t leader = scene_cluster(&s, 3);

    assert_int_equal(sim_put(&s, leader, "/a", "1"), 0);
    sim_run(&s, 1000);
    flip(&s, leader, "/a");
    sim_run(&s, 2 * HASH_CHECK_MS);
    assert_int_not_equal(sim_elect(&s), leader);
    assert_int_equal(alarms(&s, sim_elect(&s), &c), 1);
    assert_int_equal(c.alarm.member, s.members[leader].id);
    /* Nor does it stay leader when it is elected again. */
    sim_kill(&s, (leader + 1) % 3);
    sim_run(&s, 5000);
    assert_int_equal(sim_elect(&s), (leader + 2) % 3);
    sim_deinit(&s);
}

TEST(check, without_a_majority_nobody_is_named)
{
    struct sim s;
    struct sim_call c;
    size_t leader = scene_cluster(&s, 2);

    assert_int_equal(sim_put(&s, leader, "/a", "1"), 0);
    sim_run(&s, 1000);
    flip(&s, 1 - leader, "/a");
    sim_run(&s, 2 * HASH_CHECK_MS);
    assert_int_equal(alarms(&s, leader, &c), 1);
    assert_int_equal(c.alarm.member, 0);
    assert_int_equal(sim_put(&s, leader, "/a", "2"), DECREE_ECORRUPT_CLUSTER);
    assert_int_equal(sim_elect(&s), leader); /* somebody must let an operator in */
    sim_deinit(&s);
}

TEST(check, hash_kv_is_the_same_on_all_members_however_they_came_there)
{
    struct sim s;
    struct sim_call c;
    size_t leader = scene_cluster(&s, 3);
    uint32_t hash = 0;
    char key[16];

    for (int i = 0; i < 100; i++) {
        (void)snprintf(key, sizeof(key), "/k%d", i % 30);
        assert_int_equal(sim_put(&s, leader, key, key), 0);
    }
    c = (struct sim_call){.call = {.kind = STORE_COMPACT, .compact = {.revision = 60}}};
    assert_int_equal(sim_call(&s, leader, &c), 0);
    sim_kill(&s, (leader + 1) % 3);
    sim_start(&s, (leader + 1) % 3);
    sim_run(&s, 2000);
    assert_int_equal(sim_put(&s, leader, "/more", "1"), 0);
    for (size_t i = 0; i < 3; i++) {
        c = (struct sim_call){.call = {.kind = STORE_HASH_KV, .hash_kv = {.revision = 90}}};
        assert_int_equal(sim_call(&s, i, &c), 0);
        assert_int_equal(c.hash.hash_revision, 90);
        assert_int_equal(c.hash.compact_revision, 60);
        assert_true(i == 0 || c.hash.hash == hash);
        hash = c.hash.hash;
    }
    c = (struct sim_call){.call = {.kind = STORE_HASH_KV, .hash_kv = {.revision = 59}}};
    assert_int_equal(sim_call(&s, 0, &c), DECREE_ECOMPACTED);
    c = (struct sim_call){.call = {.kind = STORE_HASH_KV, .hash_kv = {.revision = 900}}};
    assert_int_equal(sim_call(&s, 0, &c), DECREE_EFUTURE_REV);
    sim_deinit(&s);
}

TEST(check, a_hash_that_is_not_wanted_any_more_is_let_go)
{
    struct sim s;
    struct sim_call a = {.call = {.kind = STORE_HASH}}, b = {.call = {.kind = STORE_HASH_KV}};
    char value[4001] = {0}, key[16];

    memset(value, 'v', sizeof(value) - 1);
    sim_init(&s, 1);
    sim_start(&s, 0);
    for (int i = 0; i < 400; i++) { /* more than one slice */
        (void)snprintf(key, sizeof(key), "/k%d", i);
        assert_int_equal(sim_put(&s, 0, key, value), 0);
    }
    sim_submit(&s, 0, &a);
    sim_submit(&s, 0, &b);
    assert_true(core_turn(s.members[0].core));
    assert_false(a.done);
    store_cancel(s.members[0].core, &a.call);
    sim_run(&s, 100);
    assert_false(a.done);
    assert_true(b.done);
    assert_int_equal(b.status, 0);
    assert_int_equal(b.hash.compact_revision, -1); /* as etcd's, when nothing ever was */
    sim_deinit(&s);
}

TEST(check, frames_come_back_as_they_were_and_no_part_of_one_is_taken)
{
    const struct hash_ask ask = {.term = 300, .index = UINT64_MAX};
    const struct hash_answer answer = {.term = 1, .index = 77, .hash = 0x1122334455667788};
    struct buf *a = hash_ask_encode(&ask), *b = hash_answer_encode(&answer);
    struct hash_ask ask_back;
    struct hash_answer answer_back;

    assert_int_equal(hash_ask_decode(buf_bytes(a), &ask_back), 0);
    assert_memory_equal(&ask_back, &ask, sizeof(ask));
    assert_int_equal(hash_answer_decode(buf_bytes(b), &answer_back), 0);
    assert_memory_equal(&answer_back, &answer, sizeof(answer));
    for (size_t n = 0; n < a->len; n++) {
        assert_true(hash_ask_decode(bytes_make(a->data, n), &ask_back) < 0);
    }
    for (size_t n = 0; n < b->len; n++) {
        assert_true(hash_answer_decode(bytes_make(b->data, n), &answer_back) < 0);
    }
    buf_unref(a);
    buf_unref(b);
}

TEST_MAIN(UNIT(check, frames_come_back_as_they_were_and_no_part_of_one_is_taken),
    UNIT(alarm, is_known_to_all_and_outlives_restarts_and_snapshots),
    UNIT(alarm, of_space_is_raised_by_who_is_full_and_clears_itself),
    UNIT(alarm, what_clients_raise_is_bounded),
    UNIT(alarm, that_comes_before_a_write_in_the_log_makes_it_void),
    UNIT(alarm, bytes_that_no_member_wrote_are_refused),
    UNIT(check, equal_members_stay_unaccused_under_load_restarts_and_snapshots),
    UNIT(check, a_flipped_value_raises_the_alarm_and_names_the_member),
    UNIT(check, a_leader_that_differs_hands_over), UNIT(check, without_a_majority_nobody_is_named),
    UNIT(check, hash_kv_is_the_same_on_all_members_however_they_came_there),
    UNIT(check, a_hash_that_is_not_wanted_any_more_is_let_go))
