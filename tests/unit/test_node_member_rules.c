/* Which changes of the members are refused, and what a learner may not do. */
#include "node_scene.h"
#include "unit.h"

TEST(member, a_learner_is_promoted_only_when_it_runs_and_is_in_sync)
{
    struct sim s;
    size_t m, l;
    uint64_t id;

    scene_three_at_rest(&s);
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
    scene_wait_promoted(&s, l, m);
    assert_int_equal(sim_change(&s, l, STORE_MEMBER_PROMOTE, id), DECREE_ENOT_LEARNER);
    sim_deinit(&s);
}

TEST(member, what_etcd_refuses_is_refused_with_its_words)
{
    static const char *const bad[] = {"ftp://h:1"}, *const elsewhere[] = {"http://a:1"};
    struct sim s;
    struct sim_call c = {
        .call = {.kind = STORE_MEMBER_ADD, .member = {.peer_urls = bad, .n_peer_urls = 1}}};
    size_t l, m, more;

    scene_three_at_rest(&s);
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
        .member = {.id = s.members[m].id, .peer_urls = elsewhere, .n_peer_urls = 1}};
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

    scene_three_at_rest(&s);
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
    scene_wait_promoted(&s, l, m);
    assert_int_equal(sim_change(&s, l, STORE_MEMBER_REMOVE, s.members[down].id), 0);
    assert_int_equal(sim_put(&s, l, "/a", "1"), 0);
    sim_deinit(&s);
}

TEST(member, a_learner_answers_little)
{
    struct sim s;
    struct sim_call c;
    size_t l, m;

    scene_three_at_rest(&s);
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

TEST(move_leader, goes_to_a_voter_and_is_asked_of_the_leader)
{
    struct sim s;
    size_t l, to, m;

    scene_three_at_rest(&s);
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

TEST_MAIN(UNIT(member, a_learner_is_promoted_only_when_it_runs_and_is_in_sync),
    UNIT(member, what_etcd_refuses_is_refused_with_its_words),
    UNIT(member, no_change_leaves_less_than_a_majority_that_answers),
    UNIT(member, a_learner_answers_little),
    UNIT(move_leader, goes_to_a_voter_and_is_asked_of_the_leader))
