/* Watchers at the core. */
#include "node_scene.h"
#include "unit.h"

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
    size_t behind;

    (void)scene_leave_behind(&s, 150, 3000, &behind);
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

TEST_MAIN(UNIT(node, a_watcher_sees_each_change_once_in_the_turn_of_its_reply),
    UNIT(cluster, a_watcher_lives_through_the_installation_of_a_snapshot))
