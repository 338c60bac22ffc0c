/* Who may join, and what it is told. */
#include <stdio.h>
#include <string.h>

#include "node_scene.h"
#include "unit.h"

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

    scene_three_at_rest(&s);
    m = sim_grow(&s);
    expect_refusal(&s, m, "m3", "decree member add m3 --peer-urls http://h3:2380");
    sim_deinit(&s);
}

TEST(join, a_wiped_member_under_its_old_name_is_told_to_be_replaced)
{
    struct sim s;
    size_t m;

    scene_three_at_rest(&s);
    m = scene_grow(&s, sim_elect(&s));
    sim_run(&s, 2000);
    sim_stop(&s, m);
    sim_wipe(&s, m);
    expect_refusal(&s, m, "m3", "decree member replace m3");
    sim_deinit(&s);
}

TEST(join, a_wiped_learner_is_told_to_be_added_anew)
{
    struct sim s;
    size_t m, l;

    l = scene_cluster(&s, 3);
    m = sim_grow(&s);
    assert_int_equal(sim_add(&s, l, m, true), 0);
    sim_start(&s, m);
    sim_run(&s, 2000);
    sim_stop(&s, m);
    sim_wipe(&s, m);
    expect_refusal(&s, m, "m3", "decree member add m3 --learner --peer-urls http://h3:2380");
    sim_deinit(&s);
}

TEST(join, a_newcomer_that_dies_before_anything_came_asks_again)
{
    struct sim s;
    size_t m, l;

    scene_three_at_rest(&s);
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

    l = scene_cluster(s, 3);
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

    l = scene_cluster(&s, 3);
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

    l = scene_cluster(&s, 3);
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

    l = scene_cluster(&s, 3);
    m = scene_grow(&s, l);
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

/* Or one that lost its data could come back under its old name and vote before that is noticed. */
TEST(join, whose_directory_is_which_is_known_before_anything_is_applied)
{
    struct sim s;
    const struct members *table, *links;

    (void)scene_cluster(&s, 3);
    sim_run(&s, 3000);
    sim_kill(&s, 0);
    s.members[0].cut = true;
    sim_start(&s, 0);
    table = core_members(s.members[0].core);
    links = core_links(s.members[0].core);
    assert_int_equal(core_applied(s.members[0].core), 0);
    assert_int_equal(members_find(table, s.members[1].id)->incarnation, 0);
    assert_int_equal(members_find(links, s.members[1].id)->incarnation, 1001);
    assert_int_equal(members_find(links, s.members[2].id)->incarnation, 1002);
    s.members[0].cut = false;
    sim_run(&s, 3000);
    table = core_members(s.members[0].core);
    assert_int_equal(members_find(table, s.members[1].id)->incarnation, 1001);
    sim_assert_equal(&s);
    sim_deinit(&s);
}

TEST_MAIN(UNIT(join, who_was_not_added_is_told_to_be),
    UNIT(join, a_wiped_member_under_its_old_name_is_told_to_be_replaced),
    UNIT(join, a_wiped_learner_is_told_to_be_added_anew),
    UNIT(join, a_newcomer_that_dies_before_anything_came_asks_again),
    UNIT(join, a_learner_waits_until_there_is_a_leader_who_knows_it),
    UNIT(join, a_voter_whose_addition_is_cut_away_is_told_and_may_be_added_again),
    UNIT(join, without_a_leader_nobody_is_told_that_it_is_no_member),
    UNIT(join, a_member_that_lags_denies_nobody),
    UNIT(join, one_that_was_removed_and_forgotten_is_told_too),
    UNIT(join, the_better_of_two_answers_is_agreed_upon_or_newer),
    UNIT(join, whose_directory_is_which_is_known_before_anything_is_applied))
