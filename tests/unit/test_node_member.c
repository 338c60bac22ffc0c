/* Members come and go, on the core with virtual time and disks in memory. */
#include <stdio.h>

#include "core.h"
#include "node_sim.h"
#include "unit.h"

/* ---- the table ---- */

static const char *const url_a[] = {"http://a:1"};
static const char *const url_b[] = {"http://b:1", "http://b:2"};

TEST(members, ids_are_never_given_twice)
{
    struct members m;
    uint64_t first, second;

    assert_int_equal(members_parse("x=http://x:1", "t", &m, NULL), 0);
    first = members_fresh_id(&m, url_a, 1, 7);
    members_add(&m, first, url_a, 1, true);
    second = members_fresh_id(&m, url_a, 1, 7); /* the same chance */
    assert_int_not_equal(first, second);
    members_remove(&m, first);
    assert_true(members_is_removed(&m, first));
    assert_int_not_equal(members_fresh_id(&m, url_a, 1, 7), first);
    members_deinit(&m);
}

TEST(members, urls_that_could_end_a_line_or_a_list_are_refused)
{
    static const char *const bad[] = {"http://a\r\nX: y:1", "http://a,b:1", "http://a b:1",
        "http://a=b:1", "http://a@b:1", "http://\xc3\xa4:1", "http://:1", "http://a:0", "http://a"};
    static const char *const good[] = {"http://[fe80::1%eth0]:1", "http://a_b-c.d:65535"};

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(members_check_urls(&bad[i], 1), DECREE_EBAD_PEER_URLS);
    }
    assert_int_equal(members_check_urls(good, 2), 0);
    assert_int_equal(members_check_urls(good, 0), DECREE_EBAD_PEER_URLS);
}

TEST(members, the_oldest_removed_id_is_forgotten_first)
{
    struct members m, copy;

    assert_int_equal(members_parse("x=http://x:1", "t", &m, NULL), 0);
    for (uint64_t id = 1; id <= MEMBERS_REMOVED_MAX + 1; id++) {
        members_add(&m, id, url_a, 1, true);
        members_remove(&m, id);
    }
    members_copy(&m, &copy);
    assert_int_equal(copy.n_removed, MEMBERS_REMOVED_MAX);
    assert_false(members_is_removed(&copy, 1));
    assert_true(members_is_removed(&copy, 2));
    assert_true(members_is_removed(&copy, MEMBERS_REMOVED_MAX + 1));
    members_deinit(&copy);
    members_deinit(&m);
}

/* An entry's table was composed before the publication was applied. */
TEST(members, what_a_member_said_of_itself_outlives_a_change)
{
    struct members m, next;
    struct bytes client = bytes_str("http://c:1");
    struct members_publication p = {
        .id = 5, .incarnation = 99, .name = bytes_str("five"), .urls = &client, .n_urls = 1};

    assert_int_equal(members_parse("x=http://x:1", "t", &m, NULL), 0);
    members_add(&m, 5, url_a, 1, true);
    members_copy(&m, &next);
    members_set_urls(&next, 5, url_b, 2);
    members_find(&next, 5)->learner = false;
    assert_true(members_publish(&m, &p));
    members_take(&m, &next);
    assert_int_equal(m.n, 2);
    assert_string_equal(members_find(&m, 5)->name, "five");
    assert_int_equal(members_find(&m, 5)->incarnation, 99);
    assert_int_equal(members_find(&m, 5)->n_client_urls, 1);
    assert_false(members_find(&m, 5)->learner);
    assert_true(members_same_urls(members_find(&m, 5), url_b, 2));
    members_deinit(&m);
}

/* ---- growing ---- */

static void wait_promoted(struct sim *s, size_t at, size_t m)
{
    for (int tries = 0; tries < 100; tries++) {
        if (sim_change(s, at, STORE_MEMBER_PROMOTE, s->members[m].id) == 0) {
            return;
        }
        sim_run(s, 100);
    }
    fail_msg("member %zu is never in sync", m);
}

static size_t grow(struct sim *s, size_t at)
{
    size_t m = sim_grow(s);

    assert_int_equal(sim_add(s, at, m, true), 0);
    sim_start(s, m);
    wait_promoted(s, at, m);
    return m;
}

static size_t count_members(struct sim *s, size_t i)
{
    return core_members(s->members[i].core)->n;
}

TEST(member, a_lone_one_grows_to_five_and_all_have_everything)
{
    struct sim s;
    struct sim_call c;

    sim_init(&s, 1);
    sim_start(&s, 0);
    assert_int_equal(sim_put(&s, 0, "/a", "1"), 0);
    for (size_t n = 2; n <= 5; n++) {
        grow(&s, n == 2 ? 0 : n - 2); /* followers forward */
        assert_int_equal(sim_put(&s, n - 1, "/a", "2"), 0);
    }
    sim_run(&s, 2000);
    sim_assert_equal(&s);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(count_members(&s, i), 5);
    }
    sim_kill(&s, sim_elect(&s));
    sim_kill(&s, sim_elect(&s)); /* three of five go on */
    assert_int_equal(sim_get(&s, sim_elect(&s), "/a", &c), 0);
    assert_string_equal(c.value, "2");
    sim_deinit(&s);
}

TEST(member, a_second_voter_may_be_added_before_it_is_started)
{
    struct sim s;
    size_t m;

    sim_init(&s, 1);
    sim_start(&s, 0);
    sim_run(&s, 1000);
    m = sim_grow(&s);
    assert_int_equal(sim_add(&s, 0, m, false), 0); /* answered at once, without it */
    sim_start(&s, m);
    (void)sim_elect(&s);
    assert_int_equal(sim_put(&s, 0, "/a", "1"), 0);
    assert_int_equal(sim_put(&s, m, "/b", "1"), 0);
    sim_run(&s, 2000);
    sim_assert_equal(&s);
    sim_deinit(&s);
}

/* Its first member restarts before the second has ever been started: nobody leads, and still the
 * second one learns who it is. */
TEST(member, the_second_of_two_joins_without_a_leader)
{
    struct sim s;
    size_t m;

    sim_init(&s, 1);
    sim_start(&s, 0);
    sim_run(&s, 1000);
    m = sim_grow(&s);
    assert_int_equal(sim_add(&s, 0, m, false), 0);
    sim_kill(&s, 0);
    sim_start(&s, 0);
    sim_run(&s, 3000);
    sim_start(&s, m);
    (void)sim_elect(&s);
    assert_int_equal(sim_put(&s, m, "/b", "1"), 0);
    sim_deinit(&s);
}

/* Every member is killed and comes back at every step. */
TEST(member, adding_and_promoting_survive_restarts_at_each_step)
{
    for (size_t victim = 0; victim < 4; victim++) {
        for (int step = 0; step < 4; step++) {
            struct sim s;
            size_t m;

            sim_init(&s, 3);
            s.snapshot_count = step % 2 == 0 ? 5 : 100000;
            s.snapshot_keep = 1;
            for (size_t i = 0; i < 3; i++) {
                sim_start(&s, i);
            }
            assert_int_equal(sim_put(&s, sim_elect(&s), "/a", "1"), 0);
            m = sim_grow(&s);
            assert_int_equal(sim_add(&s, sim_elect(&s), m, true), 0);
            for (int at = 0; at < 4; at++) {
                if (at == 1) {
                    sim_start(&s, m);
                } else if (at == 2) {
                    sim_run(&s, 2000);
                } else if (at == 3) {
                    wait_promoted(&s, sim_elect(&s), m);
                }
                if (at == step && s.members[victim].core != NULL) {
                    sim_kill(&s, victim);
                    sim_run(&s, 1500);
                    sim_start(&s, victim);
                    (void)sim_elect(&s);
                }
            }
            assert_int_equal(sim_put(&s, sim_elect(&s), "/b", "1"), 0);
            sim_run(&s, 3000);
            sim_assert_equal(&s);
            for (size_t i = 0; i < 4; i++) {
                assert_int_equal(count_members(&s, i), 4);
                assert_false(
                    members_find(core_members(s.members[i].core), s.members[m].id)->learner);
            }
            sim_deinit(&s);
        }
    }
}

TEST(member, a_newcomer_is_brought_up_by_a_snapshot_that_knows_it)
{
    struct sim s;
    char key[16];
    size_t m;

    sim_init(&s, 3);
    s.snapshot_count = 50;
    s.snapshot_keep = 5;
    for (size_t i = 0; i < 3; i++) {
        sim_start(&s, i);
    }
    for (int i = 0; i < 200; i++) {
        (void)snprintf(key, sizeof(key), "/k%d", i);
        assert_int_equal(sim_put(&s, sim_elect(&s), key, "v"), 0);
    }
    m = grow(&s, sim_elect(&s));
    sim_run(&s, 2000);
    sim_assert_equal(&s);
    assert_true(core_snapshot_index(s.members[m].core) > 0);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < 4; i++) {
            sim_kill(&s, i);
        }
        for (size_t i = 0; i < 4; i++) {
            sim_start(&s, i);
        }
        (void)sim_elect(&s);
    }
    sim_run(&s, 2000);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(count_members(&s, i), 4);
    }
    sim_assert_equal(&s);
    sim_deinit(&s);
}

/* ---- what is refused ---- */

static void start_three(struct sim *s)
{
    sim_init(s, 3);
    for (size_t i = 0; i < 3; i++) {
        sim_start(s, i);
    }
    (void)sim_elect(s);
    sim_run(s, 2000);
}

TEST(member, a_learner_is_promoted_only_when_it_runs_and_is_in_sync)
{
    struct sim s;
    size_t m, l;
    uint64_t id;

    start_three(&s);
    l = sim_elect(&s);
    m = sim_grow(&s);
    assert_int_equal(sim_change(&s, l, STORE_MEMBER_PROMOTE, 42), DECREE_EMEMBER_NOT_FOUND);
    assert_int_equal(sim_change(&s, l, STORE_MEMBER_PROMOTE, s.members[0].id), DECREE_ENOT_LEARNER);
    assert_int_equal(sim_add(&s, l, m, true), 0);
    id = s.members[m].id;
    assert_int_equal(sim_change(&s, l, STORE_MEMBER_PROMOTE, id), DECREE_ELEARNER_NOT_READY);
    sim_start(&s, m);
    sim_run(&s, 3000);
    s.members[m].cut = true; /* started once, and silent now */
    sim_run(&s, 3000);
    assert_int_equal(sim_change(&s, l, STORE_MEMBER_PROMOTE, id), DECREE_ELEARNER_NOT_READY);
    s.members[m].cut = false;
    wait_promoted(&s, l, m);
    assert_int_equal(sim_change(&s, l, STORE_MEMBER_PROMOTE, id), DECREE_ENOT_LEARNER);
    sim_deinit(&s);
}

TEST(member, what_etcd_refuses_is_refused_with_its_words)
{
    static const char *const bad[] = {"ftp://h:1"};
    struct sim s;
    struct sim_call c = {
        .call = {.kind = STORE_MEMBER_ADD, .member = {.peer_urls = bad, .n_peer_urls = 1}}};
    size_t l, m, more;

    start_three(&s);
    l = sim_elect(&s);
    assert_int_equal(sim_call(&s, l, &c), DECREE_EBAD_PEER_URLS);
    c.call.member.n_peer_urls = 0;
    assert_int_equal(sim_call(&s, l, &c), DECREE_EBAD_PEER_URLS);
    m = sim_grow(&s);
    more = sim_grow(&s);
    assert_int_equal(sim_add(&s, l, 1, true), DECREE_EPEER_URL_EXISTS);
    assert_int_equal(sim_add(&s, l, m, true), 0);
    assert_int_equal(sim_add(&s, l, more, true), DECREE_ETOO_MANY_LEARNERS);
    assert_int_equal(sim_change(&s, l, STORE_MEMBER_REMOVE, 42), DECREE_EMEMBER_NOT_FOUND);
    c.call = (struct store_call){.kind = STORE_MEMBER_UPDATE,
        .member = {.id = s.members[m].id, .peer_urls = url_a, .n_peer_urls = 1}};
    assert_int_equal(sim_call(&s, (l + 1) % 3, &c), 0);
    c.call.member.id = s.members[0].id;
    assert_int_equal(sim_call(&s, (l + 1) % 3, &c), DECREE_EPEER_URL_EXISTS);
    assert_int_equal(sim_change(&s, l, STORE_MEMBER_REMOVE, s.members[m].id), 0);
    sim_deinit(&s);

    sim_init(&s, 1);
    sim_start(&s, 0);
    sim_run(&s, 1000);
    assert_int_equal(
        sim_change(&s, 0, STORE_MEMBER_REMOVE, s.members[0].id), DECREE_ENOT_ENOUGH_STARTED);
    sim_deinit(&s);
}

TEST(member, no_change_leaves_less_than_a_majority_that_answers)
{
    struct sim s;
    size_t l, down, other, m;

    start_three(&s);
    l = sim_elect(&s);
    down = (l + 1) % 3;
    other = (l + 2) % 3;
    m = sim_grow(&s);
    s.members[down].cut = true;
    sim_run(&s, 2000);
    assert_int_equal(sim_add(&s, l, m, false), DECREE_EUNHEALTHY); /* four, of which two answer */
    assert_int_equal(
        sim_change(&s, l, STORE_MEMBER_REMOVE, s.members[other].id), DECREE_EUNHEALTHY);
    assert_int_equal(sim_change(&s, l, STORE_MEMBER_REMOVE, s.members[l].id), DECREE_EUNHEALTHY);
    /* The one that is down may be replaced: a learner, then a voter, then the dead one goes. */
    assert_int_equal(sim_add(&s, l, m, true), 0);
    sim_start(&s, m);
    wait_promoted(&s, l, m);
    assert_int_equal(sim_change(&s, l, STORE_MEMBER_REMOVE, s.members[down].id), 0);
    assert_int_equal(sim_put(&s, l, "/a", "1"), 0);
    sim_deinit(&s);
}

TEST(member, a_learner_answers_little)
{
    struct sim s;
    struct sim_call c;
    size_t l, m;

    start_three(&s);
    l = sim_elect(&s);
    assert_int_equal(sim_put(&s, l, "/a", "1"), 0);
    m = sim_grow(&s);
    assert_int_equal(sim_add(&s, l, m, true), 0);
    sim_start(&s, m);
    sim_run(&s, 3000);
    assert_true(store_is_learner(s.members[m].core));
    assert_int_equal(sim_put(&s, m, "/b", "1"), DECREE_ELEARNER);
    assert_int_equal(sim_get(&s, m, "/a", &c), DECREE_ELEARNER);
    c = (struct sim_call){
        .call = {.kind = STORE_RANGE, .range = {.key = bytes_str("/a"), .serializable = true}}};
    assert_int_equal(sim_call(&s, m, &c), 0);
    assert_string_equal(c.value, "1");
    c = (struct sim_call){.call = {.kind = STORE_STATUS}};
    assert_int_equal(sim_call(&s, m, &c), 0);
    c = (struct sim_call){.call = {.kind = STORE_MEMBER_LIST}};
    assert_int_equal(sim_call(&s, m, &c), DECREE_ELEARNER);
    /* And it counts for nothing: with the leader alone there is no majority. */
    s.members[(l + 1) % 3].cut = s.members[(l + 2) % 3].cut = true;
    sim_run(&s, 5000);
    assert_false(store_has_leader(s.members[m].core));
    sim_deinit(&s);
}

/* ---- going ---- */

TEST(member, a_leader_removes_itself_answers_and_stops)
{
    struct sim s;
    size_t l, after;

    start_three(&s);
    l = sim_elect(&s);
    assert_int_equal(sim_change(&s, l, STORE_MEMBER_REMOVE, s.members[l].id), 0);
    assert_true(s.members[l].removed);
    after = sim_elect(&s);
    assert_int_not_equal(after, l);
    assert_int_equal(sim_put(&s, after, "/a", "1"), 0);
    assert_int_equal(count_members(&s, after), 2);
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

    start_three(&s);
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

TEST(member, calls_that_follow_one_another_wait_for_one_another)
{
    struct sim s;
    struct sim_call calls[3] = {0};
    static const char *const urls[3][1] = {{"http://x:1"}, {"http://y:1"}, {"http://y:1"}};
    size_t l;

    start_three(&s);
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
    assert_int_equal(count_members(&s, l), 5);
    sim_deinit(&s);
}

/* Frames that arrive twice add one member. */
TEST(member, a_replayed_question_is_done_once)
{
    struct sim s;
    size_t l, m;

    start_three(&s);
    s.replay = true;
    l = sim_elect(&s);
    m = sim_grow(&s);
    assert_int_equal(sim_add(&s, (l + 1) % 3, m, true), 0);
    sim_run(&s, 1000);
    assert_int_equal(count_members(&s, l), 4);
    assert_int_equal(sim_change(&s, (l + 1) % 3, STORE_MEMBER_REMOVE, s.members[m].id), 0);
    assert_int_equal(count_members(&s, l), 3);
    sim_deinit(&s);
}

/* The leader is cut off with a change that only it has: the change is undone, the asker is told
 * that the outcome is unknown, and the next one succeeds. */
TEST(member, a_change_that_its_leader_could_not_commit_is_undone)
{
    struct sim s;
    const char *const urls[] = {"http://h3:2380"};
    struct sim_call c = {.call = {.kind = STORE_MEMBER_ADD,
                             .member = {.peer_urls = urls, .n_peer_urls = 1, .learner = true}}};
    size_t l, after, m;

    start_three(&s);
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
    assert_int_equal(count_members(&s, l), 3);
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
    for (size_t i = 0; i < 3; i++) {
        sim_start(s, i);
    }
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

/* ---- at random ---- */

enum { WALKS = 40, WALK_STEPS = 60, WALK_KEYS_MAX = 400 };

struct walk {
    struct sim s;
    uint64_t chance;
    char keys[WALK_KEYS_MAX][16]; /* acknowledged */
    size_t n_keys, tried;
    size_t changes; /* that succeeded */
};

static size_t pick(struct walk *w, size_t n)
{
    w->chance = w->chance * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(w->chance >> 33) % n;
}

/* Some member that is up, cut off or not; s.n when none is. */
static size_t any_up(struct walk *w)
{
    size_t from = pick(w, w->s.n);

    for (size_t k = 0; k < w->s.n; k++) {
        size_t i = (from + k) % w->s.n;

        if (w->s.members[i].core != NULL) {
            return i;
        }
    }
    return w->s.n;
}

static bool may_start(const struct sim_member *m)
{
    return m->core == NULL && !m->removed && (!m->joins || m->id != 0);
}

static void start_quietly(struct walk *w, size_t i)
{
    _cleanup_err_ struct err err = {0};
    _cleanup_free_ char *name = xasprintf("m%zu", i);

    if (may_start(&w->s.members[i])) {
        (void)sim_try_start(&w->s, i, name, NULL, &err); /* nobody to ask, or removed: later */
    }
}

/* Asks and does not insist: what fails may have happened or not. */
static void walk_change(struct walk *w, enum store_kind kind, size_t at, size_t whom)
{
    struct sim_call c = {.call = {.kind = kind, .member = {.id = w->s.members[whom].id}}};

    if (at < w->s.n && c.call.member.id != 0) {
        w->changes += sim_call(&w->s, at, &c) == 0;
    }
}

static void walk_add(struct walk *w, size_t at)
{
    if (at < w->s.n && w->s.n < SIM_MEMBERS_MAX) {
        w->changes += sim_add(&w->s, at, sim_grow(&w->s), pick(w, 3) > 0) == 0;
    }
}

static void walk_put(struct walk *w, size_t at)
{
    char *key = w->keys[w->n_keys];

    if (at == w->s.n || w->n_keys + 1 == WALK_KEYS_MAX) {
        return;
    }
    (void)snprintf(key, sizeof(w->keys[0]), "/%zu", w->tried++);
    w->n_keys += sim_put(&w->s, at, key, "v") == 0;
}

static void walk_step(struct walk *w)
{
    size_t i = pick(w, w->s.n);
    struct sim_member *m = &w->s.members[i];

    switch (pick(w, 12)) {
    case 0:
        walk_add(w, any_up(w));
        break;
    case 1:
        walk_change(w, STORE_MEMBER_REMOVE, any_up(w), i);
        break;
    case 2:
    case 3:
        walk_change(w, STORE_MEMBER_PROMOTE, any_up(w), i);
        break;
    case 4:
        walk_change(w, STORE_MOVE_LEADER, any_up(w), i);
        break;
    case 5:
        m->cut = !m->cut && pick(w, 2) == 0;
        break;
    case 6:
        if (m->core != NULL) {
            sim_kill(&w->s, i);
        }
        break;
    case 7:
    case 8:
    case 9:
        for (size_t k = 0; k < w->s.n; k++) {
            start_quietly(w, (i + k) % w->s.n);
            w->s.members[k].cut = w->s.members[k].cut && pick(w, 3) == 0;
        }
        break;
    default:
        sim_run(&w->s, 10 + pick(w, 2000));
        break;
    }
    walk_put(w, any_up(w));
}

/* All that can be is up and connected: they agree, and have whatever was acknowledged. */
static void walk_end(struct walk *w)
{
    struct sim *s = &w->s;
    struct sim_call c;
    size_t l = s->n;

    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < s->n; i++) {
            s->members[i].cut = false;
            start_quietly(w, i);
        }
        sim_run(s, 6000);
    }
    for (size_t i = 0; i < s->n; i++) {
        if (s->members[i].core != NULL && store_has_leader(s->members[i].core) &&
            !store_is_learner(s->members[i].core)) {
            l = i;
        }
    }
    assert_true(l < s->n);
    for (size_t k = 0; k < w->n_keys; k++) {
        assert_int_equal(sim_get(s, l, w->keys[k], &c), 0);
        assert_string_equal(c.value, "v");
    }
    for (size_t i = 0; i < s->n; i++) {
        const struct members *table = core_members(s->members[l].core);

        if (s->members[i].core != NULL && members_find(table, s->members[i].id) != NULL) {
            assert_int_equal(core_applied(s->members[i].core), core_applied(s->members[l].core));
            assert_int_equal(core_hash(s->members[i].core), core_hash(s->members[l].core));
            assert_int_equal(count_members(s, i), table->n);
        }
        assert_true(!s->members[i].removed || members_is_removed(table, s->members[i].id));
    }
}

/* Changes, kills and cuts in any order, asked of any member: nothing acknowledged is lost, and when
 * all is well again the cluster goes on with the members that it has. */
TEST(member, changes_at_random_lose_nothing)
{
    size_t changes = 0, keys = 0;

    for (uint64_t seed = 1; seed <= WALKS; seed++) {
        struct walk *w = xcalloc(1, sizeof(*w));

        w->chance = seed;
        sim_init(&w->s, 1 + seed % 3);
        w->s.snapshot_count = seed % 2 == 0 ? 10 : 100000;
        w->s.snapshot_keep = 3;
        print_message("seed %llu\n", (unsigned long long)seed);
        for (size_t i = 0; i < w->s.n; i++) {
            sim_start(&w->s, i);
        }
        (void)sim_elect(&w->s);
        for (int step = 0; step < WALK_STEPS; step++) {
            walk_step(w);
        }
        walk_end(w);
        changes += w->changes;
        keys += w->n_keys;
        sim_deinit(&w->s);
        free(w);
    }
    print_message("%zu changes, %zu keys in %d walks\n", changes, keys, (int)WALKS);
    assert_true(changes > 3 * WALKS && keys > 10 * WALKS); /* it does something */
}

/* ---- joining ---- */

static void expect_refusal(struct sim *s, size_t m, const char *name, const char *text)
{
    _cleanup_err_ struct err err = {0};

    assert_true(sim_try_start(s, m, name, NULL, &err) < 0);
    if (strstr(err.text, text) == NULL) {
        fail_msg("\"%s\" is not in: %s", text, err.text);
    }
}

TEST(join, who_was_not_added_is_told_to_be)
{
    struct sim s;
    size_t m;

    start_three(&s);
    m = sim_grow(&s);
    expect_refusal(&s, m, "m3", "decree member add m3 --peer-urls http://h3:2380");
    sim_deinit(&s);
}

TEST(join, a_wiped_member_under_its_old_name_is_told_to_be_replaced)
{
    struct sim s;
    size_t m;

    start_three(&s);
    m = grow(&s, sim_elect(&s));
    sim_run(&s, 2000);
    sim_stop(&s, m);
    sim_wipe(&s, m);
    expect_refusal(&s, m, "m3", "decree member replace m3");
    sim_deinit(&s);
}

TEST(join, a_newcomer_that_dies_before_anything_came_asks_again)
{
    struct sim s;
    size_t m, l;

    start_three(&s);
    l = sim_elect(&s);
    m = sim_grow(&s);
    assert_int_equal(sim_add(&s, l, m, true), 0);
    sim_start(&s, m);
    sim_kill(&s, m); /* stamped, and nothing else */
    sim_start(&s, m);
    sim_run(&s, 2000);
    sim_assert_equal(&s);
    sim_stop(&s, m);
    assert_int_equal(sim_change(&s, l, STORE_MEMBER_REMOVE, s.members[m].id), 0);
    sim_wipe(&s, m);
    assert_int_equal(sim_add(&s, l, m, true), 0);
    sim_start(&s, m);
    sim_kill(&s, m);
    assert_int_equal(sim_change(&s, l, STORE_MEMBER_REMOVE, s.members[m].id), 0);
    expect_refusal(&s, m, "m3", "remove the directory and add the member anew");
    sim_deinit(&s);
}

/* An addition that its leader has in its log and cannot commit: the others are cut off. */
static struct sim_call lost;
static const char *const lost_urls[] = {"http://h3:2380"};

static size_t start_losing_an_addition(struct sim *s, size_t *ret_m, bool learner)
{
    size_t l;

    start_three(s);
    l = sim_elect(s);
    for (size_t i = 0; i < 3; i++) {
        s->members[i].cut = i != l;
    }
    *ret_m = sim_grow(s);
    lost = (struct sim_call){
        .call = {.kind = STORE_MEMBER_ADD, .member = {.peer_urls = lost_urls, .n_peer_urls = 1}}};
    lost.call.member.learner = learner;
    sim_submit(s, l, &lost);
    sim_settle(s);
    assert_false(lost.done);
    return l;
}

/* The others go on without that leader. */
static void lose_the_addition(struct sim *s, size_t l)
{
    for (size_t i = 0; i < 3; i++) {
        s->members[i].cut = i == l;
    }
    (void)sim_elect(s);
}

TEST(join, a_learner_waits_until_there_is_a_leader_who_knows_it)
{
    struct sim s;
    size_t m, l = start_losing_an_addition(&s, &m, true);

    expect_refusal(&s, m, "m3", "has not agreed yet on the learner at http://h3:2380");
    lose_the_addition(&s, l);
    expect_refusal(&s, m, "m3", "decree member add m3 --peer-urls http://h3:2380");
    assert_int_equal(sim_add(&s, (l + 1) % 3, m, true), 0);
    sim_start(&s, m);
    s.members[l].cut = false;
    sim_run(&s, 6000);
    sim_assert_equal(&s);
    sim_deinit(&s);
}

/* A voter may be what a majority lacks, so it starts on hearsay. */
TEST(join, a_voter_whose_addition_is_cut_away_is_told_and_may_be_added_again)
{
    struct sim s;
    size_t m, l = start_losing_an_addition(&s, &m, false);
    uint64_t id;

    sim_start(&s, m);
    id = s.members[m].id;
    sim_run(&s, 5000);
    assert_false(s.members[m].denied); /* it may still come about */
    lose_the_addition(&s, l);
    sim_run(&s, 3000);
    assert_true(s.members[m].denied);
    expect_refusal(&s, m, "m3", "has removed it or never added it");
    sim_wipe(&s, m);
    assert_int_equal(sim_add(&s, (l + 1) % 3, m, true), 0);
    sim_start(&s, m);
    assert_int_not_equal(s.members[m].id, id);
    s.members[l].cut = false;
    sim_run(&s, 6000);
    sim_assert_equal(&s);
    sim_deinit(&s);
}

TEST(join, without_a_leader_nobody_is_told_that_it_is_no_member)
{
    struct sim s;
    size_t m, l;

    start_three(&s);
    l = sim_elect(&s);
    s.members[(l + 1) % 3].cut = true;
    m = sim_grow(&s);
    assert_int_equal(sim_add(&s, l, m, true), 0);
    sim_start(&s, m);
    sim_kill(&s, m); /* nothing has come yet */
    s.members[(l + 1) % 3].cut = false;
    s.members[l].cut = s.members[(l + 2) % 3].cut = true;
    expect_refusal(&s, m, "m3", "do not list this one");
    s.members[l].cut = s.members[(l + 2) % 3].cut = false;
    sim_start(&s, m);
    sim_run(&s, 2000);
    sim_assert_equal(&s);
    sim_deinit(&s);
}

/* It has applied less than the addition: what it does not list is no news. */
TEST(join, a_member_that_lags_denies_nobody)
{
    struct sim s;
    size_t m, l;

    start_three(&s);
    l = sim_elect(&s);
    s.members[(l + 1) % 3].cut = true;
    m = sim_grow(&s);
    assert_int_equal(sim_add(&s, l, m, true), 0);
    sim_start(&s, m);
    sim_run(&s, 2000);
    s.members[(l + 1) % 3].cut = false;
    s.members[l].cut = s.members[(l + 2) % 3].cut = true;
    sim_run(&s, 10000);
    assert_false(s.members[m].denied);
    s.members[l].cut = s.members[(l + 2) % 3].cut = false;
    sim_run(&s, 3000);
    sim_assert_equal(&s);
    sim_deinit(&s);
}

/* Removed while it was away, and so many after it that nobody remembers. */
TEST(join, one_that_was_removed_and_forgotten_is_told_too)
{
    struct sim s;
    size_t m, l;

    start_three(&s);
    l = sim_elect(&s);
    m = grow(&s, l);
    sim_run(&s, 1000);
    s.members[m].cut = true;
    assert_int_equal(sim_change(&s, l, STORE_MEMBER_REMOVE, s.members[m].id), 0);
    for (size_t i = 0; i < MEMBERS_REMOVED_MAX; i++) {
        const char *const urls[] = {"http://h9:2380"};
        struct sim_call c = {.call = {.kind = STORE_MEMBER_ADD,
                                 .member = {.peer_urls = urls, .n_peer_urls = 1, .learner = true}}};

        assert_int_equal(sim_call(&s, l, &c), 0);
        assert_int_equal(sim_change(&s, l, STORE_MEMBER_REMOVE, c.added), 0);
    }
    sim_run(&s, 1000);
    s.members[m].cut = false;
    sim_run(&s, 4000);
    assert_true(s.members[m].denied);
    sim_deinit(&s);
}

TEST(join, the_better_of_two_answers_is_agreed_upon_or_newer)
{
    struct store_member one = {.id = 1, .name = ""};
    struct members_answer none = {0},
                          old = {.standing = MEMBERS_APPLIED,
                              .term = 2,
                              .index = 9,
                              .members = {.list = &one, .n = 1}},
                          newer = old, agreed = old;

    newer.standing = MEMBERS_HEARD;
    newer.term = 3;
    newer.index = 4;
    agreed.standing = MEMBERS_AGREED;
    assert_true(members_answer_is_better(&old, &none));
    assert_true(members_answer_is_better(&newer, &old));
    assert_false(members_answer_is_better(&old, &newer));
    assert_true(members_answer_is_better(&agreed, &newer));
    assert_false(members_answer_is_better(&newer, &agreed));
}

/* ---- leadership ---- */

TEST(move_leader, goes_to_a_voter_and_is_asked_of_the_leader)
{
    struct sim s;
    size_t l, to, m;

    start_three(&s);
    l = sim_elect(&s);
    to = (l + 1) % 3;
    m = sim_grow(&s);
    assert_int_equal(sim_add(&s, l, m, true), 0);
    assert_int_equal(sim_change(&s, to, STORE_MOVE_LEADER, s.members[to].id), DECREE_ENOT_LEADER);
    assert_int_equal(sim_change(&s, l, STORE_MOVE_LEADER, 42), DECREE_EBAD_TRANSFEREE);
    assert_int_equal(sim_change(&s, l, STORE_MOVE_LEADER, s.members[m].id), DECREE_EBAD_TRANSFEREE);
    assert_int_equal(sim_change(&s, l, STORE_MOVE_LEADER, s.members[l].id), 0);
    assert_int_equal(sim_change(&s, l, STORE_MOVE_LEADER, s.members[to].id), 0);
    assert_int_equal(sim_elect(&s), to);
    s.members[l].cut = true;
    sim_run(&s, 500);
    assert_int_equal(
        sim_change(&s, to, STORE_MOVE_LEADER, s.members[l].id), DECREE_ETIMEOUT_TRANSFER);
    assert_int_equal(sim_put(&s, to, "/a", "1"), 0); /* it leads on */
    sim_deinit(&s);
}

TEST_MAIN(UNIT(members, ids_are_never_given_twice),
    UNIT(members, urls_that_could_end_a_line_or_a_list_are_refused),
    UNIT(members, the_oldest_removed_id_is_forgotten_first),
    UNIT(members, what_a_member_said_of_itself_outlives_a_change),
    UNIT(member, a_lone_one_grows_to_five_and_all_have_everything),
    UNIT(member, a_second_voter_may_be_added_before_it_is_started),
    UNIT(member, the_second_of_two_joins_without_a_leader),
    UNIT(member, adding_and_promoting_survive_restarts_at_each_step),
    UNIT(member, a_newcomer_is_brought_up_by_a_snapshot_that_knows_it),
    UNIT(member, a_learner_is_promoted_only_when_it_runs_and_is_in_sync),
    UNIT(member, what_etcd_refuses_is_refused_with_its_words),
    UNIT(member, no_change_leaves_less_than_a_majority_that_answers),
    UNIT(member, a_learner_answers_little), UNIT(member, a_leader_removes_itself_answers_and_stops),
    UNIT(member, two_become_one_whoever_leads),
    UNIT(member, one_removed_while_it_was_away_changes_nothing_when_it_comes_back),
    UNIT(member, calls_that_follow_one_another_wait_for_one_another),
    UNIT(member, a_replayed_question_is_done_once),
    UNIT(member, a_change_that_its_leader_could_not_commit_is_undone),
    UNIT(member, a_snapshot_knows_nothing_of_a_change_that_may_be_undone),
    UNIT(member, changes_at_random_lose_nothing), UNIT(join, who_was_not_added_is_told_to_be),
    UNIT(join, a_wiped_member_under_its_old_name_is_told_to_be_replaced),
    UNIT(join, a_newcomer_that_dies_before_anything_came_asks_again),
    UNIT(join, a_learner_waits_until_there_is_a_leader_who_knows_it),
    UNIT(join, a_voter_whose_addition_is_cut_away_is_told_and_may_be_added_again),
    UNIT(join, without_a_leader_nobody_is_told_that_it_is_no_member),
    UNIT(join, a_member_that_lags_denies_nobody),
    UNIT(join, one_that_was_removed_and_forgotten_is_told_too),
    UNIT(join, the_better_of_two_answers_is_agreed_upon_or_newer),
    UNIT(move_leader, goes_to_a_voter_and_is_asked_of_the_leader))
