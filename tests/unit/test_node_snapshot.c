/* A member far behind gets a snapshot, whatever happens on the way. */
#include "node_scene.h"
#include "unit.h"

TEST(cluster, a_member_far_behind_gets_a_snapshot_while_writes_go_on)
{
    struct sim s;
    struct sim_call c;
    size_t leader, behind;
    uint64_t before;

    leader = scene_leave_behind(&s, 400, 3000, &behind);
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
        size_t behind;

        (void)scene_leave_behind(&s, 400, 3000, &behind);
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
        size_t behind;
        struct sim_member *m;

        (void)scene_leave_behind(&s, 150, 3000, &behind);
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

/* A follower that is far behind and takes nothing holds neither memory nor compaction for ever. */
TEST(snapshots, a_stream_that_stands_still_is_given_up_and_begun_again)
{
    size_t leader, behind;
    struct sim s;

    leader = scene_leave_behind(&s, 200, 20000, &behind);
    sim_start(&s, behind);
    s.paused[leader][behind] = true;
    sim_run(&s, 2000);
    scene_put_many(&s, leader, 100, 100); /* and the log is kept for it meanwhile */
    s.paused[leader][behind] = true;
    sim_run(&s, 32000);
    s.paused[leader][behind] = false;
    sim_run(&s, 5000);
    sim_assert_equal(&s);
    sim_deinit(&s);
}

TEST(snapshots, an_answer_that_cannot_be_read_ends_the_stream)
{
    size_t leader, behind;
    struct sim s;

    leader = scene_leave_behind(&s, 200, 20000, &behind);
    sim_start(&s, behind);
    s.paused[leader][behind] = true;
    sim_run(&s, 500);
    core_stream_reply(s.members[leader].core, s.members[behind].id, BYTES_LITERAL("?"));
    core_stream_reply(s.members[leader].core, 12345, BYTES_LITERAL("?")); /* nobody's */
    core_stream_ready(s.members[leader].core, 12345);
    s.paused[leader][behind] = false;
    sim_run(&s, 5000);
    sim_assert_equal(&s);
    sim_deinit(&s);
}

TEST_MAIN(UNIT(cluster, a_member_far_behind_gets_a_snapshot_while_writes_go_on),
    UNIT(cluster, a_snapshot_stream_cut_anywhere_leaves_the_old_state_and_comes_again),
    UNIT(cluster, a_member_killed_at_any_moment_of_an_installation_recovers),
    UNIT(snapshots, a_stream_that_stands_still_is_given_up_and_begun_again),
    UNIT(snapshots, an_answer_that_cannot_be_read_ends_the_stream))
