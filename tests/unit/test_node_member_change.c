/* Members go; changes meet one another, or are undone. */
#include <string.h>

#include "core.h"
#include "node_scene.h"
#include "unit.h"

/* ---- going ---- */

TEST(member, a_leader_removes_itself_answers_and_stops)
{
    struct sim s;
    size_t l, after;

    scene_three_at_rest(&s);
    l = sim_elect(&s);
    assert_int_equal(sim_change(&s, l, STORE_MEMBER_REMOVE, s.members[l].id), 0);
    assert_true(s.members[l].removed);
    after = sim_elect(&s);
    assert_int_not_equal(after, l);
    assert_int_equal(sim_put(&s, after, "/a", "1"), 0);
    assert_int_equal(scene_count_members(&s, after), 2);
    sim_run(&s, 2000);
    sim_assert_equal(&s);
    sim_deinit(&s);
}

TEST(member, two_become_one_whoever_leads)
{
    for (int leader_goes = 0; leader_goes < 2; leader_goes++) {
        struct sim s;
        struct sim_call c;
        size_t l, gone;

        sim_init(&s, 2);
        sim_start(&s, 0);
        sim_start(&s, 1);
        l = sim_elect(&s);
        assert_int_equal(sim_put(&s, l, "/a", "1"), 0);
        gone = leader_goes != 0 ? l : 1 - l;
        assert_int_equal(sim_change(&s, 1 - l, STORE_MEMBER_REMOVE, s.members[gone].id), 0);
        s.members[gone].cut = true;
        assert_int_equal(sim_elect(&s), 1 - gone);
        assert_int_equal(sim_get(&s, 1 - gone, "/a", &c), 0);
        assert_string_equal(c.value, "1");
        sim_kill(&s, 1 - gone);
        sim_start(&s, 1 - gone); /* with the list of two that it was founded with */
        assert_int_equal(sim_get(&s, 1 - gone, "/a", &c), 0);
        sim_deinit(&s);
    }
}

/* It was cut off while it was removed: it comes back, is not listened to, disturbs nobody. */
TEST(member, one_removed_while_it_was_away_changes_nothing_when_it_comes_back)
{
    struct sim s;
    size_t l, gone;
    uint64_t term;

    scene_three_at_rest(&s);
    l = sim_elect(&s);
    gone = (l + 1) % 3;
    s.members[gone].cut = true;
    sim_run(&s, 2000);
    assert_int_equal(sim_change(&s, l, STORE_MEMBER_REMOVE, s.members[gone].id), 0);
    sim_run(&s, 2000);
    term = store_header(s.members[l].core).raft_term;
    s.members[gone].cut = false;
    sim_run(&s, 10000);
    assert_int_equal(store_header(s.members[l].core).raft_term, term);
    assert_int_equal(sim_put(&s, l, "/a", "1"), 0);
    assert_true(members_is_removed(core_links(s.members[l].core), s.members[gone].id));
    sim_deinit(&s);
}

/* ---- more than one ---- */

TEST(member, calls_that_follow_one_another_wait_for_one_another)
{
    struct sim s;
    struct sim_call calls[3] = {0};
    static const char *const urls[3][1] = {{"http://x:1"}, {"http://y:1"}, {"http://y:1"}};
    size_t l;

    scene_three_at_rest(&s);
    l = sim_elect(&s);
    for (size_t i = 0; i < 3; i++) {
        calls[i].call = (struct store_call){.kind = STORE_MEMBER_ADD,
            .member = {.peer_urls = urls[i], .n_peer_urls = 1, .learner = i == 0}};
        sim_submit(&s, i == 1 ? (l + 1) % 3 : l, &calls[i]);
    }
    sim_run(&s, 3000);
    assert_int_equal(calls[0].status, 0);
    assert_true(calls[1].done && calls[2].done);
    /* Who of the last two was first is chance; the other finds the URL taken. */
    assert_int_equal((calls[1].status == 0) + (calls[2].status == 0), 1);
    assert_int_equal(scene_count_members(&s, l), 5);
    sim_deinit(&s);
}

/* Frames that arrive twice add one member. */
TEST(member, a_replayed_question_is_done_once)
{
    struct sim s;
    size_t l, m;

    scene_three_at_rest(&s);
    s.replay = true;
    l = sim_elect(&s);
    m = sim_grow(&s);
    assert_int_equal(sim_add(&s, (l + 1) % 3, m, true), 0);
    sim_run(&s, 1000);
    assert_int_equal(scene_count_members(&s, l), 4);
    assert_int_equal(sim_change(&s, (l + 1) % 3, STORE_MEMBER_REMOVE, s.members[m].id), 0);
    assert_int_equal(scene_count_members(&s, l), 3);
    sim_deinit(&s);
}

/* ---- undone ---- */

/* The leader is cut off with a change that only it has: the change is undone, the asker is told
 * that the outcome is unknown, and the next one succeeds. */
TEST(member, a_change_that_its_leader_could_not_commit_is_undone)
{
    struct sim s;
    const char *const urls[] = {"http://h3:2380"};
    struct sim_call c = {.call = {.kind = STORE_MEMBER_ADD,
                             .member = {.peer_urls = urls, .n_peer_urls = 1, .learner = true}}};
    size_t l, after, m;

    scene_three_at_rest(&s);
    l = sim_elect(&s);
    s.members[l].cut = true;
    sim_submit(&s, l, &c);
    sim_settle(&s);
    assert_false(c.done);
    after = sim_elect(&s);
    assert_int_equal(sim_put(&s, after, "/a", "1"), 0);
    s.members[l].cut = false;
    sim_run(&s, 9000);
    assert_true(c.done);
    assert_int_not_equal(c.status, 0);
    assert_int_equal(scene_count_members(&s, l), 3);
    assert_int_equal(core_links(s.members[l].core)->n, 3);
    m = sim_grow(&s);
    assert_int_equal(sim_add(&s, l, m, true), 0);
    sim_deinit(&s);
}

/* A leader whose snapshot is due and finds no room. */
static size_t start_three_without_room(struct sim *s)
{
    struct store_metrics metrics = {0};
    char value[200001] = {0};
    size_t l;

    sim_init(s, 3);
    s->snapshot_count = 60;
    s->snapshot_keep = 5;
    scene_start_all(s);
    l = sim_elect(s);
    sim_run(s, 2000);
    memset(value, 'v', sizeof(value) - 1);
    assert_int_equal(sim_put(s, l, "/large", value), 0);
    store_metrics(s->members[l].core, &metrics);
    wal_mem_set_capacity(s->members[l].mem, metrics.wal_bytes + 100000);
    for (int i = 0; i < 70; i++) {
        assert_int_equal(sim_put(s, l, "/a", "1"), 0);
    }
    wal_mem_set_capacity(s->members[l].mem, UINT64_MAX);
    assert_int_equal(core_snapshot_index(s->members[l].core), 0);
    return l;
}

static size_t count_voters(struct sim *s, size_t i)
{
    return raft_conf(s->members[i].core->raft)->n;
}

/* R8: a leader that is cut off adds a member and writes a snapshot; nobody else ever hears of the
 * change. What the snapshot says of the members is what was committed, so that they are counted
 * right by one that starts from there when the change has been cut away. */
TEST(member, a_snapshot_knows_nothing_of_a_change_that_may_be_undone)
{
    struct sim s;
    const char *const urls[] = {"http://h3:2380"};
    struct sim_call c = {
        .call = {.kind = STORE_MEMBER_ADD, .member = {.peer_urls = urls, .n_peer_urls = 1}}};
    size_t l = start_three_without_room(&s), after;

    s.members[l].cut = true;
    sim_submit(&s, l, &c);
    sim_settle(&s);
    assert_int_equal(count_voters(&s, l), 4);
    after = sim_elect(&s);
    sim_run(&s, SNAP_RETRY_MS + 1000);
    assert_true(core_snapshot_index(s.members[l].core) > 60);
    assert_int_equal(count_voters(&s, l), 4); /* still */

    assert_int_equal(sim_put(&s, after, "/a", "2"), 0);
    s.members[l].cut = false;
    sim_run(&s, 5000);
    assert_int_equal(count_voters(&s, l), 3);
    sim_kill(&s, l);
    s.members[l].cut = true;
    sim_start(&s, l);
    assert_int_equal(count_voters(&s, l), 3);
    s.members[l].cut = false;
    assert_int_equal(sim_put(&s, l, "/a", "3"), 0);
    sim_deinit(&s);
}

TEST_MAIN(UNIT(member, a_leader_removes_itself_answers_and_stops),
    UNIT(member, two_become_one_whoever_leads),
    UNIT(member, one_removed_while_it_was_away_changes_nothing_when_it_comes_back),
    UNIT(member, calls_that_follow_one_another_wait_for_one_another),
    UNIT(member, a_replayed_question_is_done_once),
    UNIT(member, a_change_that_its_leader_could_not_commit_is_undone),
    UNIT(member, a_snapshot_knows_nothing_of_a_change_that_may_be_undone))
