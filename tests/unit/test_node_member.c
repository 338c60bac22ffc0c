/* Members come. */
#include <stdio.h>
#include <string.h>

#include "node_scene.h"
#include "unit.h"

/* ---- growing ---- */

TEST(member, a_lone_one_grows_to_five_and_all_have_everything)
{
    struct sim s;
    struct sim_call c;

    sim_init(&s, 1);
    sim_start(&s, 0);
    assert_int_equal(sim_put(&s, 0, "/a", "1"), 0);
    for (size_t n = 2; n <= 5; n++) {
        scene_grow(&s, n == 2 ? 0 : n - 2); /* followers forward */
        assert_int_equal(sim_put(&s, n - 1, "/a", "2"), 0);
    }
    sim_run(&s, 2000);
    sim_assert_equal(&s);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(scene_count_members(&s, i), 5);
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
            scene_start_all(&s);
            assert_int_equal(sim_put(&s, sim_elect(&s), "/a", "1"), 0);
            m = sim_grow(&s);
            assert_int_equal(sim_add(&s, sim_elect(&s), m, true), 0);
            for (int at = 0; at < 4; at++) {
                if (at == 1) {
                    sim_start(&s, m);
                } else if (at == 2) {
                    sim_run(&s, 2000);
                } else if (at == 3) {
                    scene_wait_promoted(&s, sim_elect(&s), m);
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
                assert_int_equal(scene_count_members(&s, i), 4);
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
    scene_start_all(&s);
    for (int i = 0; i < 200; i++) {
        (void)snprintf(key, sizeof(key), "/k%d", i);
        assert_int_equal(sim_put(&s, sim_elect(&s), key, "v"), 0);
    }
    m = scene_grow(&s, sim_elect(&s));
    sim_run(&s, 2000);
    sim_assert_equal(&s);
    assert_true(core_snapshot_index(s.members[m].core) > 0);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < 4; i++) {
            sim_kill(&s, i);
        }
        scene_start_all(&s);
        (void)sim_elect(&s);
    }
    sim_run(&s, 2000);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(scene_count_members(&s, i), 4);
    }
    sim_assert_equal(&s);
    sim_deinit(&s);
}

TEST_MAIN(UNIT(member, a_lone_one_grows_to_five_and_all_have_everything),
    UNIT(member, a_second_voter_may_be_added_before_it_is_started),
    UNIT(member, the_second_of_two_joins_without_a_leader),
    UNIT(member, adding_and_promoting_survive_restarts_at_each_step),
    UNIT(member, a_newcomer_is_brought_up_by_a_snapshot_that_knows_it))
