/* Watches and leases, as test_history.c. */
#include "history_build.h"

#define HISTORY(name) _cleanup_history_ struct history *name = history_new()

/* a = v1 at 2, b = v2 at 3, a = v3 at 4, all known by time 60. */
static struct history *three_puts(void)
{
    struct history *h = history_new();

    h_truth(h, h_put(2, "a", "v1"));
    h_truth(h, h_put(3, "b", "v2"));
    h_truth(h, h_put(4, "a", "v3"));
    h_did_put(h, 10, 20, "a", "v1", 2);
    h_did_put(h, 30, 40, "b", "v2", 3);
    h_did_put(h, 50, 60, "a", "v3", 4);
    return h;
}

#define THREE_PUTS(name) _cleanup_history_ struct history *name = three_puts()

/* ---- watches ---- */

TEST(watch, told_everything_is_fine)
{
    THREE_PUTS(h);
    size_t all = h_watch_all(h, 1, 2), a = h_watch_key(h, 1, "a", 2), b = h_watch_key(h, 1, "b", 4);

    history_watch_created(h, all, 2, 1);
    H_TOLD(h, all, 25, 2, h_put(2, "a", "v1"));
    H_TOLD(h, all, 65, 4, h_put(3, "b", "v2"), h_put(4, "a", "v3"));
    H_TOLD(h, a, 65, 4, h_put(2, "a", "v1"), h_put(4, "a", "v3"));
    history_watch_progress(h, b, 4);
    history_watch_settled(h, all, 4);
    history_watch_settled(h, a, 4);
    history_watch_settled(h, b, 4);
    h_fine(h);
}

TEST(watch, ranges_mean_what_requests_mean)
{
    THREE_PUTS(h);
    struct history_watch up_to_b = {BYTES_LITERAL("a"), BYTES_LITERAL("b"), 2};
    struct history_watch nothing = {BYTES_LITERAL("b"), BYTES_LITERAL("a"), 2};
    size_t w = history_watch_begin(h, 1, &up_to_b), none = history_watch_begin(h, 1, &nothing);

    H_TOLD(h, w, 65, 4, h_put(2, "a", "v1"), h_put(4, "a", "v3"));
    history_watch_settled(h, w, 4);
    history_watch_settled(h, none, 4);
    h_fine(h);
}

TEST(watch, an_event_of_another_range)
{
    THREE_PUTS(h);
    size_t w = h_watch_key(h, 1, "b", 2);

    H_TOLD(h, w, 65, 2, h_put(2, "a", "v1"));
    h_violates(h, "not of its range: put \"a\" = \"v1\" at revision 2");
}

TEST(watch, out_of_order)
{
    THREE_PUTS(h);
    size_t w = h_watch_all(h, 1, 0);

    H_TOLD(h, w, 65, 3, h_put(3, "b", "v2"));
    H_TOLD(h, w, 66, 3, h_put(2, "a", "v1"));
    h_violates(h, "older than its start, which is 3: put \"a\" = \"v1\"");
}

TEST(watch, out_of_order_within_a_batch)
{
    THREE_PUTS(h);
    size_t w = h_watch_all(h, 1, 2);

    H_TOLD(h, w, 65, 4, h_put(2, "a", "v1"), h_put(4, "a", "v3"), h_put(3, "b", "v2"));
    h_violates(
        h, "not told: put \"b\" = \"v2\" at revision 3; but: put \"a\" = \"v3\" at revision 4");
}

TEST(watch, told_again)
{
    THREE_PUTS(h);
    size_t w = h_watch_all(h, 1, 2);

    H_TOLD(h, w, 65, 3, h_put(2, "a", "v1"), h_put(3, "b", "v2"));
    H_TOLD(h, w, 66, 3, h_put(2, "a", "v1"));
    h_violates(h, "told again or out of order, after revision 3: put \"a\" = \"v1\"");
}

TEST(watch, told_twice)
{
    THREE_PUTS(h);
    size_t w = h_watch_all(h, 1, 2);

    H_TOLD(h, w, 65, 2, h_put(2, "a", "v1"), h_put(2, "a", "v1"));
    h_violates(h, "told twice, or not of its range: put \"a\" = \"v1\"");
}

TEST(watch, a_gap)
{
    THREE_PUTS(h);
    size_t w = h_watch_key(h, 1, "a", 2);

    H_TOLD(h, w, 65, 4, h_put(4, "a", "v3"));
    h_violates(h,
        "watch 0 (\"a\"..\"\" from revision 2, begun at 1): not told: put \"a\" = \"v1\" at "
        "revision 2; but: put \"a\" = \"v3\" at revision 4");
}

TEST(watch, a_gap_at_a_resumption)
{
    THREE_PUTS(h);
    size_t w = h_watch_all(h, 1, 2), resumed;

    H_TOLD(h, w, 25, 2, h_put(2, "a", "v1"));
    resumed = h_watch_all(h, 62, 3);
    H_TOLD(h, resumed, 65, 4, h_put(4, "a", "v3"));
    h_violates(h, "watch 1 (\"a\"..\"\\x00\" from revision 3, begun at 62): not told: put \"b\"");
}

TEST(watch, a_missing_end)
{
    THREE_PUTS(h);
    size_t w = h_watch_all(h, 1, 2);

    H_TOLD(h, w, 65, 3, h_put(2, "a", "v1"), h_put(3, "b", "v2"));
    history_watch_settled(h, w, 4);
    h_violates(h, "settled up to revision 4, but was not told: put \"a\" = \"v3\" at revision 4");
}

TEST(watch, a_split_revision)
{
    HISTORY(h);
    size_t w = h_watch_all(h, 1, 2);

    h_truth(h, h_put(2, "a", "v1"));
    h_truth(h, h_put(2, "b", "v2"));
    H_TOLD(h, w, 25, 2, h_put(2, "a", "v1"));
    H_TOLD(h, w, 25, 2, h_put(2, "b", "v2"));
    h_expect_rules(h, &(struct history_rules){0},
        "a batch splits revision 2 and leaves out: put \"b\" = \"v2\" at revision 2");
}

TEST(watch, an_event_that_never_was)
{
    THREE_PUTS(h);
    size_t w = h_watch_all(h, 1, 2);

    H_TOLD(h, w, 25, 2, h_put(2, "a", "v7"));
    h_violates(h, "an event that is not in the truth: put \"a\" = \"v7\" at revision 2");
}

TEST(watch, an_event_of_the_future)
{
    THREE_PUTS(h);
    size_t w = h_watch_all(h, 1, 5);

    H_TOLD(h, w, 65, 5, h_put(5, "a", "v7"));
    h_violates(h, "an event that is not in the truth: put \"a\" = \"v7\" at revision 5");
}

TEST(watch, an_event_with_another_lease)
{
    THREE_PUTS(h);
    size_t w = h_watch_all(h, 1, 2);

    H_TOLD(h, w, 25, 2, h_put_leased(2, "a", "v1", 9));
    h_violates(h, "an event that is not in the truth: put \"a\" = \"v1\" with lease 9");
}

TEST(watch, a_put_told_as_a_delete)
{
    THREE_PUTS(h);
    size_t w = h_watch_all(h, 1, 2);

    H_TOLD(h, w, 25, 2, h_del(2, "a"));
    h_violates(h, "an event that is not in the truth: delete \"a\" at revision 2");
}

TEST(watch, older_than_its_start)
{
    THREE_PUTS(h);
    size_t w = h_watch_all(h, 1, 3);

    H_TOLD(h, w, 65, 3, h_put(2, "a", "v1"), h_put(3, "b", "v2"));
    h_violates(h, "older than its start, which is 3: put \"a\" = \"v1\" at revision 2");
}

TEST(watch, after_now_is_after_what_its_creation_told)
{
    THREE_PUTS(h);
    size_t w = h_watch_all(h, 45, 0);

    history_watch_created(h, w, 47, 3);
    H_TOLD(h, w, 65, 3, h_put(3, "b", "v2"));
    h_violates(h, "older than its start, which is 4: put \"b\" = \"v2\" at revision 3");
}

TEST(watch, after_now_misses_nothing_after_its_creation)
{
    THREE_PUTS(h);
    size_t w = h_watch_all(h, 25, 0);

    history_watch_created(h, w, 26, 2);
    H_TOLD(h, w, 65, 4, h_put(4, "a", "v3"));
    h_violates(h, "not told: put \"b\" = \"v2\" at revision 3");
}

TEST(watch, after_now_begins_in_what_is_under_way)
{
    THREE_PUTS(h);
    size_t before = h_watch_all(h, 35, 0), after = h_watch_all(h, 35, 0);

    H_TOLD(h, before, 65, 4, h_put(3, "b", "v2"), h_put(4, "a", "v3"));
    history_watch_created(h, after, 45, 3);
    H_TOLD(h, after, 65, 4, h_put(4, "a", "v3"));
    history_watch_settled(h, after, 4);
    h_fine(h);
}

/* The member may lag; what comes after its revision is told all the same. */
TEST(watch, after_now_is_after_the_revision_of_a_member_that_lags)
{
    THREE_PUTS(h);
    size_t w = h_watch_all(h, 45, 0), lossy = h_watch_all(h, 45, 0);

    history_watch_created(h, w, 47, 2);
    H_TOLD(h, w, 65, 4, h_put(3, "b", "v2"), h_put(4, "a", "v3"));
    h_fine(h);
    history_watch_created(h, lossy, 47, 2);
    H_TOLD(h, lossy, 65, 4, h_put(4, "a", "v3"));
    h_violates(h, "not told: put \"b\" = \"v2\" at revision 3");
}

TEST(watch, a_header_ahead_of_what_was_told)
{
    THREE_PUTS(h);
    size_t w = h_watch_all(h, 1, 2);

    H_TOLD(h, w, 65, 3, h_put(2, "a", "v1"));
    h_violates(h, "the header of a batch has revision 3, but was not told: put \"b\"");
}

TEST(watch, a_header_behind_its_events)
{
    THREE_PUTS(h);
    size_t w = h_watch_all(h, 1, 2);

    H_TOLD(h, w, 65, 2, h_put(2, "a", "v1"), h_put(3, "b", "v2"));
    h_violates(h, "a batch has revision 2, after 3 had been told");
}

TEST(watch, a_header_of_the_future)
{
    THREE_PUTS(h);
    size_t w = h_watch_all(h, 1, 2);

    H_TOLD(h, w, 65, 9, h_put(2, "a", "v1"), h_put(3, "b", "v2"), h_put(4, "a", "v3"));
    h_violates(h, "a batch has revision 9, but the truth ends at 4");
}

TEST(watch, progress_ahead_of_what_was_told)
{
    THREE_PUTS(h);
    size_t w = h_watch_key(h, 1, "a", 2);

    H_TOLD(h, w, 25, 2, h_put(2, "a", "v1"));
    history_watch_progress(h, w, 3); /* b is not its business */
    h_fine(h);
    history_watch_progress(h, w, 4);
    h_violates(h, "progress to revision 4, but was not told: put \"a\" = \"v3\" at revision 4");
}

TEST(watch, progress_that_goes_back)
{
    THREE_PUTS(h);
    size_t w = h_watch_key(h, 1, "a", 2);

    H_TOLD(h, w, 65, 4, h_put(2, "a", "v1"), h_put(4, "a", "v3"));
    history_watch_progress(h, w, 3);
    h_violates(h, "progress has revision 3, after 4 had been told");
}

TEST(watch, progress_before_its_start)
{
    THREE_PUTS(h);
    size_t w = h_watch_key(h, 1, "a", 9);

    history_watch_progress(h, w, 4);
    h_violates(h, "progress to revision 4, before its start, which is 9");
}

TEST(watch, an_event_below_progress)
{
    THREE_PUTS(h);
    size_t w = h_watch_all(h, 1, 0);

    history_watch_progress(h, w, 3);
    H_TOLD(h, w, 65, 3, h_put(3, "b", "v2"));
    h_violates(h, "older than its start, which is 4: put \"b\"");
}

TEST(watch, ended_by_compaction)
{
    THREE_PUTS(h);
    size_t w = h_watch_all(h, 90, 2);

    h_did_compact(h, 70, 80, 3, 4);
    history_watch_compacted(h, w, 3);
    history_watch_settled(h, w, 4);
    h_fine(h);
}

TEST(watch, ended_though_nothing_it_needs_is_gone)
{
    THREE_PUTS(h);
    size_t w = h_watch_all(h, 1, 2);

    h_did_compact(h, 70, 80, 3, 4);
    H_TOLD(h, w, 65, 3, h_put(2, "a", "v1"), h_put(3, "b", "v2"));
    history_watch_compacted(h, w, 3);
    h_violates(h, "ended since revision 3 was compacted, but it needs 4 and later");
}

TEST(watch, ended_by_a_compaction_that_nobody_asked_for)
{
    THREE_PUTS(h);
    size_t w = h_watch_all(h, 1, 2);

    h_end(h, h_call(h, 70, (struct history_call){HISTORY_COMPACT, .expected = 3}), 80, h_failed());
    history_watch_compacted(h, w, 3);
    h_violates(h, "ended since revision 3 was compacted, which nobody asked for");
}

TEST(watch, told_after_its_end)
{
    THREE_PUTS(h);
    size_t w = h_watch_all(h, 90, 2);

    h_did_compact(h, 70, 80, 3, 4);
    history_watch_compacted(h, w, 3);
    H_TOLD(h, w, 95, 4, h_put(4, "a", "v3"));
    h_violates(h, "told more after it had been ended");
}

TEST(watch, what_a_watch_saw_is_seen_by_reads)
{
    THREE_PUTS(h);
    size_t w = h_watch_key(h, 1, "a", 3);

    H_TOLD(h, w, 52, 4, h_put(4, "a", "v3"));
    h_did_get(h, 53, 58, HISTORY_GET, "a", 3, "v1", 2);
    h_violates(h,
        "call 3 (get \"a\", 53..58, revision 3): saw revision 3, but before it began "
        "revision 4 had been seen: watch 0 (\"a\"..\"\" from revision 3, begun at 1) at 52");
}

/* ---- leases ---- */

/* Lease 7 of 100 ticks granted at 0..10 with keys a and b, at revisions 2 and 3, by 40. */
static struct history *leased(void)
{
    struct history *h = history_new();

    h_truth(h, h_put_leased(2, "a", "v1", 7));
    h_truth(h, h_put_leased(3, "b", "v2", 7));
    h_did_grant(h, 0, 10, 7, 100);
    h_did_put_leased(h, 20, 25, "a", "v1", 7, 2);
    h_did_put_leased(h, 30, 40, "b", "v2", 7, 3);
    return h;
}

#define LEASED(name) _cleanup_history_ struct history *name = leased()

/* They go together at revision 4. */
static void both_go(struct history *h)
{
    h_truth(h, h_del(4, "a"));
    h_truth(h, h_del(4, "b"));
}

static void seen_gone(struct history *h, uint64_t begin, uint64_t end)
{
    h_did_get(h, begin, end, HISTORY_GET, "a", 4, NULL, 0);
}

TEST(lease, goes_at_its_revoke)
{
    LEASED(h);

    both_go(h);
    h_did_revoke(h, 50, 60, 7, 4);
    h_did_keepalive(h, 70, 80, 7, false, 0);
    h_fine(h);
}

TEST(lease, goes_at_its_time)
{
    LEASED(h);

    both_go(h);
    h_did_keepalive(h, 50, 60, 7, true, 100);
    seen_gone(h, 140, 151);
    h_fine(h);
}

TEST(lease, goes_before_its_time)
{
    LEASED(h);

    both_go(h);
    h_did_keepalive(h, 50, 60, 7, true, 100);
    seen_gone(h, 120, 149);
    h_violates(h,
        "call 3 (keepalive of lease 7, 50..60, revision 0): lease 7 was to live until 150 and "
        "went before that: call 4 (get \"a\", 120..149, revision 4)");
}

TEST(lease, goes_a_little_before_its_time_by_another_clock)
{
    LEASED(h);

    both_go(h);
    seen_gone(h, 60, 90);
    h_violates(h, "lease 7 was to live until 100");
    h_expect_rules(
        h, &(struct history_rules){.all_known = true, .ttl_slack_permille = 100}, "until 100");
}

TEST(lease, slack_is_a_part_of_its_time)
{
    HISTORY(h);

    h_did_grant(h, 0, 10, 7, 10000);
    h_did_keepalive(h, 8500, 9000, 7, false, 0);
    h_violates(h, "lease 7 was to live until 10000");
    h_expect_rules(
        h, &(struct history_rules){.all_known = true, .ttl_slack_permille = 50}, "until 9500");
    h_expect_rules(h, &(struct history_rules){.all_known = true, .ttl_slack_permille = 100}, NULL);
}

TEST(lease, a_refused_revoke_excuses_nothing)
{
    LEASED(h);

    both_go(h);
    h_end(h, h_call(h, 50, h_c_lease(HISTORY_REVOKE, 7)), 55, h_failed());
    seen_gone(h, 60, 70);
    h_violates(h, "lease 7 was to live until 100");
}

TEST(lease, a_revoke_of_unknown_outcome_excuses_it)
{
    LEASED(h);

    both_go(h);
    h_call(h, 50, h_c_lease(HISTORY_REVOKE, 7));
    seen_gone(h, 60, 70);
    h_fine(h);
}

TEST(lease, a_revoke_that_came_later_excuses_nothing)
{
    LEASED(h);

    both_go(h);
    seen_gone(h, 60, 70);
    h_call(h, 80, h_c_lease(HISTORY_REVOKE, 7));
    h_violates(h, "lease 7 was to live until 100");
}

TEST(lease, keys_that_stay_at_a_revoke)
{
    LEASED(h);

    h_did_revoke(h, 50, 60, 7, 3);
    h_violates(h,
        "call 3 (revoke of lease 7, 50..60, revision 3): 2 keys are still attached to the lease");
}

TEST(lease, keys_that_go_one_by_one)
{
    LEASED(h);

    h_truth(h, h_del(4, "a"));
    h_truth(h, h_del(5, "b"));
    h_did_revoke(h, 50, 60, 7, 5);
    h_violates(h,
        "revision 4: nobody asked for it, and it is not the end of lease 7, which has 2 keys: "
        "1 change, delete \"a\"");
}

TEST(lease, an_end_that_takes_a_key_along)
{
    LEASED(h);

    h_truth(h, h_put(4, "c", "v3"));
    h_did_put(h, 41, 45, "c", "v3", 4);
    h_truth(h, h_del(5, "a"));
    h_truth(h, h_del(5, "b"));
    h_truth(h, h_del(5, "c"));
    h_did_revoke(h, 50, 60, 7, 5);
    h_violates(h, "revision 5: nobody asked for it, and it is not the end of lease 7");
}

TEST(lease, a_detached_key_stays)
{
    LEASED(h);

    h_truth(h, h_put(4, "a", "v3"));
    h_truth(h, h_del(5, "b"));
    h_did_put(h, 41, 45, "a", "v3", 4);
    h_did_revoke(h, 50, 60, 7, 5);
    h_fine(h);
}

TEST(lease, a_deleted_key_is_no_end)
{
    LEASED(h);

    h_truth(h, h_del(4, "a"));
    h_truth(h, h_del(5, "b"));
    h_truth(h, h_put_leased(6, "c", "v3", 7));
    h_did_delete(h, 41, 45, "a", true, 4);
    h_did_delete(h, 46, 48, "b", true, 5);
    h_did_put_leased(h, 50, 60, "c", "v3", 7, 6);
    h_fine(h);
}

TEST(lease, a_last_key_deleted_perhaps_is_perhaps_no_end)
{
    LEASED(h);

    h_truth(h, h_del(4, "a"));
    h_truth(h, h_del(5, "b"));
    h_did_delete(h, 41, 45, "a", true, 4);
    h_call(h, 46, h_c_key(HISTORY_DELETE, "b"));
    h_did_get(h, 50, 60, HISTORY_GET, "b", 5, NULL, 0);
    h_did_keepalive(h, 70, 80, 7, true, 100);
    h_fine(h);
}

TEST(lease, attached_after_its_revoke)
{
    LEASED(h);

    both_go(h);
    h_truth(h, h_put_leased(5, "c", "v3", 7));
    h_did_revoke(h, 50, 60, 7, 4);
    h_did_put_leased(h, 55, 70, "c", "v3", 7, 5);
    h_violates(h,
        "revision 5: put \"c\" = \"v3\" with lease 7 at revision 5, but the lease went with "
        "revision 4");
}

TEST(lease, attached_though_nobody_was_given_it)
{
    HISTORY(h);

    h_truth(h, h_put_leased(2, "a", "v1", 8));
    h_did_put_leased(h, 10, 20, "a", "v1", 8, 2);
    h_violates(h, "a lease nobody was given");
    h_call(h, 1, (struct history_call){HISTORY_GRANT, .ttl = 9});
    h_fine(h);
}

TEST(lease, kept_alive_after_its_revoke)
{
    LEASED(h);

    both_go(h);
    h_did_revoke(h, 50, 60, 7, 4);
    h_did_keepalive(h, 61, 70, 7, true, 100);
    h_violates(h,
        "call 4 (keepalive of lease 7, 61..70, revision 0): found a lease that was gone before "
        "it began: call 3 (revoke of lease 7");
}

TEST(lease, kept_alive_beside_its_revoke_is_fine)
{
    LEASED(h);

    both_go(h);
    h_did_revoke(h, 50, 60, 7, 4);
    h_did_keepalive(h, 60, 70, 7, true, 100);
    h_fine(h);
}

TEST(lease, kept_alive_after_its_expiry_was_seen)
{
    LEASED(h);

    both_go(h);
    seen_gone(h, 110, 120);
    h_did_keepalive(h, 130, 140, 7, true, 100);
    /* Its being alive until 230 is what its end at 120 contradicts first. */
    h_violates(h, "lease 7 was to live until 230 and went before that");
}

TEST(lease, kept_alive_after_it_was_missing)
{
    HISTORY(h);

    h_did_grant(h, 0, 10, 7, 100);
    h_did_keepalive(h, 110, 120, 7, false, 0);
    h_did_keepalive(h, 130, 140, 7, true, 100);
    h_violates(h, "found a lease that was gone before it began: call 1 (keepalive");
}

TEST(lease, missing_before_its_time)
{
    HISTORY(h);

    h_did_grant(h, 0, 10, 7, 100);
    h_did_keepalive(h, 50, 60, 7, false, 0);
    h_violates(h,
        "call 0 (grant, 0..10, revision 0): lease 7 was to live until 100 and went before that: "
        "call 1 (keepalive");
}

TEST(lease, missing_before_it_was_given_is_fine)
{
    HISTORY(h);

    h_did_keepalive(h, 5, 20, 7, false, 0);
    h_did_grant(h, 0, 10, 7, 100);
    h_did_keepalive(h, 20, 30, 7, true, 100);
    h_fine(h);
}

TEST(lease, given_twice)
{
    HISTORY(h);

    h_did_grant(h, 0, 10, 7, 100);
    h_did_grant(h, 20, 30, 7, 100);
    h_violates(h, "got lease 7, which had been given: call 0 (grant");
}

TEST(lease, given_another_than_wished_for)
{
    HISTORY(h);

    h_end(h, h_call(h, 1, (struct history_call){HISTORY_GRANT, .lease = 7, .ttl = 9}), 2,
        (struct history_reply){HISTORY_OK, .lease = 8, .ttl = 9});
    h_violates(h, "got lease 8, asked for 7");
}

TEST(lease, given_for_less_than_asked)
{
    HISTORY(h);

    h_end(h, h_call(h, 1, (struct history_call){HISTORY_GRANT, .ttl = 9}), 2,
        (struct history_reply){HISTORY_OK, .lease = 8, .ttl = 8});
    h_violates(h, "got a TTL of 8, asked for 9");
}

TEST(lease, revoked_twice)
{
    LEASED(h);

    both_go(h);
    h_did_revoke(h, 50, 60, 7, 4);
    h_did_revoke(h, 50, 65, 7, 4);
    h_violates(h, "was revoked already: call 3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(watch, told_everything_is_fine),
        UNIT(watch, ranges_mean_what_requests_mean),
        UNIT(watch, an_event_of_another_range),
        UNIT(watch, out_of_order),
        UNIT(watch, out_of_order_within_a_batch),
        UNIT(watch, told_again),
        UNIT(watch, told_twice),
        UNIT(watch, a_gap),
        UNIT(watch, a_gap_at_a_resumption),
        UNIT(watch, a_missing_end),
        UNIT(watch, a_split_revision),
        UNIT(watch, an_event_that_never_was),
        UNIT(watch, an_event_of_the_future),
        UNIT(watch, an_event_with_another_lease),
        UNIT(watch, a_put_told_as_a_delete),
        UNIT(watch, older_than_its_start),
        UNIT(watch, after_now_is_after_what_its_creation_told),
        UNIT(watch, after_now_misses_nothing_after_its_creation),
        UNIT(watch, after_now_begins_in_what_is_under_way),
        UNIT(watch, after_now_is_after_the_revision_of_a_member_that_lags),
        UNIT(watch, a_header_ahead_of_what_was_told),
        UNIT(watch, a_header_behind_its_events),
        UNIT(watch, a_header_of_the_future),
        UNIT(watch, progress_ahead_of_what_was_told),
        UNIT(watch, progress_that_goes_back),
        UNIT(watch, progress_before_its_start),
        UNIT(watch, an_event_below_progress),
        UNIT(watch, ended_by_compaction),
        UNIT(watch, ended_though_nothing_it_needs_is_gone),
        UNIT(watch, ended_by_a_compaction_that_nobody_asked_for),
        UNIT(watch, told_after_its_end),
        UNIT(watch, what_a_watch_saw_is_seen_by_reads),
        UNIT(lease, goes_at_its_revoke),
        UNIT(lease, goes_at_its_time),
        UNIT(lease, goes_before_its_time),
        UNIT(lease, goes_a_little_before_its_time_by_another_clock),
        UNIT(lease, slack_is_a_part_of_its_time),
        UNIT(lease, a_refused_revoke_excuses_nothing),
        UNIT(lease, a_revoke_of_unknown_outcome_excuses_it),
        UNIT(lease, a_revoke_that_came_later_excuses_nothing),
        UNIT(lease, keys_that_stay_at_a_revoke),
        UNIT(lease, keys_that_go_one_by_one),
        UNIT(lease, an_end_that_takes_a_key_along),
        UNIT(lease, a_detached_key_stays),
        UNIT(lease, a_deleted_key_is_no_end),
        UNIT(lease, a_last_key_deleted_perhaps_is_perhaps_no_end),
        UNIT(lease, attached_after_its_revoke),
        UNIT(lease, attached_though_nobody_was_given_it),
        UNIT(lease, kept_alive_after_its_revoke),
        UNIT(lease, kept_alive_beside_its_revoke_is_fine),
        UNIT(lease, kept_alive_after_its_expiry_was_seen),
        UNIT(lease, kept_alive_after_it_was_missing),
        UNIT(lease, missing_before_its_time),
        UNIT(lease, missing_before_it_was_given_is_fine),
        UNIT(lease, given_twice),
        UNIT(lease, given_another_than_wished_for),
        UNIT(lease, given_for_less_than_asked),
        UNIT(lease, revoked_twice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
