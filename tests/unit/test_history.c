/* Each kind of violation in the smallest history that shows it, beside one that only looks alike.
 */
#include "history_build.h"

#include <errno.h>

#define HISTORY(name) _cleanup_history_ struct history *name = history_new()

/* a = v1 at 2, b = v2 at 3, a = v3 at 4; everything asked for and answered. */
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

/* ---- the truth ---- */

TEST(history, an_empty_one_is_fine)
{
    HISTORY(h);

    h_fine(h);
}

TEST(history, a_truth_with_a_gap)
{
    HISTORY(h);

    h_truth(h, h_put(2, "a", "v1"));
    h_truth(h, h_put(4, "a", "v2"));
    h_violates(h, "revision 4: follows revision 2 in the truth");
}

TEST(history, a_truth_that_begins_late)
{
    HISTORY(h);

    h_truth(h, h_put(3, "a", "v1"));
    h_violates(h, "revision 3: follows revision 1 in the truth");
}

TEST(history, a_truth_that_goes_back)
{
    HISTORY(h);

    h_truth(h, h_put(2, "a", "v1"));
    h_truth(h, h_put(3, "a", "v2"));
    h_truth(h, h_put(2, "a", "v3"));
    h_violates(h, "revision 2: follows revision 3 in the truth");
}

TEST(history, a_delete_of_nothing_in_the_truth)
{
    HISTORY(h);

    h_truth(h, h_del(2, "a"));
    h_violates(h, "revision 2: delete \"a\" at revision 2, which was not there");
}

TEST(history, one_value_of_two_calls_is_no_history)
{
    HISTORY(h);
    _cleanup_err_ struct err err = {0};

    h_call(h, 1, h_c_put("a", "v1"));
    h_call(h, 2, h_c_put("b", "v1"));
    assert_int_equal(history_check(h, &(struct history_rules){0}, NULL, &err), -EINVAL);
    assert_non_null(strstr(err.text, "put the same value"));
}

TEST(history, summary_counts)
{
    THREE_PUTS(h);
    struct history_summary s;
    size_t w = h_watch_key(h, 1, "a", 2);

    H_TOLD(h, w, 61, 4, h_put(2, "a", "v1"), h_put(4, "a", "v3"));
    h_did_get(h, 70, 80, HISTORY_GET, "a", 4, "v3", 4);
    h_call(h, 90, h_c_key(HISTORY_DELETE, "a"));
    assert_int_equal(history_check(h, &(struct history_rules){0}, &s, NULL), 0);
    assert_int_equal(s.calls, 5);
    assert_int_equal(s.unknown, 1);
    assert_int_equal(s.reads, 1);
    assert_int_equal(s.writes, 4);
    assert_int_equal(s.watches, 1);
    assert_int_equal(s.events, 2);
}

/* ---- writes ---- */

TEST(history, writes_in_order_are_fine)
{
    THREE_PUTS(h);

    h_fine(h);
}

TEST(history, a_lost_write)
{
    THREE_PUTS(h);

    h_did_put(h, 70, 80, "c", "v4", 5);
    h_violates(h, "call 3 (put \"c\" = \"v4\", 70..80, revision 5): the truth ends at revision 4");
}

TEST(history, a_write_that_another_one_replaced)
{
    THREE_PUTS(h);

    h_did_put(h, 50, 70, "a", "v9", 4);
    h_violates(h, "call 3 (put \"a\" = \"v9\", 50..70, revision 4): its write is not in the truth");
}

TEST(history, a_write_with_the_wrong_lease)
{
    HISTORY(h);

    h_did_grant(h, 1, 2, 7, 10);
    h_truth(h, h_put(2, "a", "v1"));
    h_did_put_leased(h, 10, 20, "a", "v1", 7, 2);
    h_violates(h, "its write is not in the truth");
}

TEST(history, a_write_that_did_more_than_asked)
{
    HISTORY(h);

    h_truth(h, h_put(2, "a", "v1"));
    h_truth(h, h_put(2, "b", "v2"));
    h_did_put(h, 10, 20, "a", "v1", 2);
    h_violates(h, "its write is not in the truth: 2 changes");
}

TEST(history, a_write_without_a_revision)
{
    HISTORY(h);

    h_did_put(h, 10, 20, "a", "v1", 1);
    h_violates(h, "the first write has revision 2");
}

TEST(history, a_reply_without_a_revision)
{
    HISTORY(h);

    h_did_get(h, 10, 20, HISTORY_GET, "a", 0, NULL, 0);
    h_violates(h, "a reply has a revision of 1 at least");
}

TEST(history, a_write_that_happened_twice)
{
    THREE_PUTS(h);

    h_truth(h, h_put(5, "a", "v1"));
    h_violates(h, "is in the truth twice: at revisions 2 and 5");
}

TEST(history, an_unknown_write_happens_once_or_never)
{
    THREE_PUTS(h);

    h_truth(h, h_put(5, "a", "v4"));
    h_call(h, 5, h_c_put("a", "v4"));
    h_call(h, 5, h_c_put("a", "v5"));
    h_end(h, h_call(h, 5, h_c_put("a", "v6")), 6, h_unknown());
    h_fine(h);
}

TEST(history, an_unknown_write_that_happened_twice)
{
    HISTORY(h);

    h_truth(h, h_put(2, "a", "v1"));
    h_truth(h, h_put(3, "a", "v1"));
    h_call(h, 5, h_c_put("a", "v1"));
    h_violates(h, "outcome unknown): is in the truth twice: at revisions 2 and 3");
}

TEST(history, an_unknown_write_of_another_key)
{
    HISTORY(h);

    h_truth(h, h_put(2, "b", "v1"));
    h_call(h, 5, h_c_put("a", "v1"));
    h_violates(h, "happened, but not as asked for");
}

TEST(history, an_unknown_write_seen_before_it_began)
{
    THREE_PUTS(h);

    h_truth(h, h_put(5, "a", "v4"));
    h_did_get(h, 70, 80, HISTORY_GET, "b", 5, "v2", 3);
    h_call(h, 90, h_c_put("a", "v4"));
    h_violates(h,
        "call 4 (put \"a\" = \"v4\", from 90, outcome unknown): wrote revision 5, but before it "
        "began revision 5 had been seen: call 3 (get \"b\", 70..80, revision 5)");
}

TEST(history, a_failed_write_that_happened)
{
    THREE_PUTS(h);

    h_truth(h, h_put(5, "a", "v4"));
    h_end(h, h_call(h, 70, h_c_put("a", "v4")), 80, h_failed());
    h_violates(h, "call 3 (put \"a\" = \"v4\", 70..80, failed): failed, but it has happened");
}

TEST(history, a_failed_write_that_did_not_happen_is_fine)
{
    THREE_PUTS(h);

    h_end(h, h_call(h, 70, h_c_put("a", "v4")), 80, h_failed());
    h_fine(h);
}

TEST(history, a_write_nobody_asked_for)
{
    THREE_PUTS(h);

    h_truth(h, h_put(5, "z", "v9"));
    h_violates(h, "revision 5: nobody asked for it: put \"z\" = \"v9\" at revision 5");
    h_expect_rules(h, &(struct history_rules){0}, NULL);
}

TEST(history, real_time_orders_writes)
{
    HISTORY(h);

    h_truth(h, h_put(2, "a", "v2"));
    h_truth(h, h_put(3, "a", "v1"));
    h_did_put(h, 10, 20, "a", "v1", 3);
    h_did_put(h, 30, 40, "a", "v2", 2);
    h_violates(h,
        "call 1 (put \"a\" = \"v2\", 30..40, revision 2): wrote revision 2, but before it "
        "began revision 3 had been seen: call 0");
}

TEST(history, concurrent_writes_have_either_order)
{
    HISTORY(h);

    h_truth(h, h_put(2, "a", "v2"));
    h_truth(h, h_put(3, "a", "v1"));
    h_did_put(h, 10, 30, "a", "v1", 3);
    h_did_put(h, 30, 40, "a", "v2", 2);
    h_fine(h);
}

/* ---- deletes ---- */

TEST(history, deletes_are_fine)
{
    THREE_PUTS(h);

    h_truth(h, h_del(5, "a"));
    h_truth(h, h_del(6, "b"));
    h_did_delete(h, 70, 80, "a", true, 5);
    h_did_delete(h, 70, 90, "a", false, 5);
    h_call(h, 85, h_c_key(HISTORY_DELETE, "b"));
    h_fine(h);
}

TEST(history, two_deletes_of_one_key)
{
    THREE_PUTS(h);

    h_truth(h, h_del(5, "a"));
    h_did_delete(h, 70, 80, "a", true, 5);
    h_did_delete(h, 70, 80, "a", true, 5);
    h_violates(h, "wrote it as well");
}

TEST(history, a_delete_that_found_nothing_where_something_was)
{
    THREE_PUTS(h);

    h_did_delete(h, 70, 80, "a", false, 4);
    h_violates(h,
        "(delete \"a\", 70..80, revision 4): found nothing, but the truth has: put \"a\" = "
        "\"v3\" at revision 4");
}

TEST(history, a_failed_delete_that_happened)
{
    THREE_PUTS(h);

    h_truth(h, h_del(5, "a"));
    h_end(h, h_call(h, 70, h_c_key(HISTORY_DELETE, "a")), 80, h_failed());
    h_violates(h, "revision 5: nobody asked for it: 1 change, delete \"a\" at revision 5");
}

TEST(history, an_unknown_delete_explains_one_delete)
{
    HISTORY(h);

    h_truth(h, h_put(2, "a", "v1"));
    h_truth(h, h_del(3, "a"));
    h_truth(h, h_put(4, "a", "v2"));
    h_truth(h, h_del(5, "a"));
    h_did_put(h, 1, 2, "a", "v1", 2);
    h_did_put(h, 1, 9, "a", "v2", 4);
    h_call(h, 3, h_c_key(HISTORY_DELETE, "a"));
    h_violates(h, "revision 5: nobody asked for it");
}

TEST(history, an_unknown_delete_explains_nothing_seen_before_it_began)
{
    THREE_PUTS(h);

    h_truth(h, h_del(5, "a"));
    h_did_get(h, 70, 80, HISTORY_GET, "a", 5, NULL, 0);
    h_call(h, 90, h_c_key(HISTORY_DELETE, "a"));
    h_violates(h, "revision 5: nobody asked for it");
}

TEST(history, unknown_deletes_are_given_out_to_whom_they_fit)
{
    HISTORY(h);

    h_truth(h, h_put(2, "a", "v1"));
    h_truth(h, h_del(3, "a"));
    h_truth(h, h_put(4, "a", "v2"));
    h_truth(h, h_del(5, "a"));
    h_did_put(h, 1, 2, "a", "v1", 2);
    h_did_put(h, 10, 20, "a", "v2", 4);
    /* The late one, recorded first, can only be the second. */
    h_call(h, 30, h_c_key(HISTORY_DELETE, "a"));
    h_call(h, 3, h_c_key(HISTORY_DELETE, "a"));
    h_fine(h);
}

/* ---- compare and set ---- */

TEST(history, compares_are_fine)
{
    THREE_PUTS(h);

    h_truth(h, h_put(5, "a", "v5"));
    h_truth(h, h_put(6, "c", "v6"));
    h_did_cas(h, 70, 80, h_c_cas("a", 4, "v5"), true, 5);
    h_did_cas(h, 70, 90, h_c_cas("a", 4, "v7"), false, 5);
    h_call(h, 85, h_c_cas("c", 0, "v6"));
    h_call(h, 85, h_c_cas("c", 0, "v8"));
    h_fine(h);
}

TEST(history, a_compare_that_held_and_should_not)
{
    THREE_PUTS(h);

    h_truth(h, h_put(5, "a", "v5"));
    h_did_cas(h, 70, 80, h_c_cas("a", 2, "v5"), true, 5);
    h_violates(h, "wrote revision 5, but before it the key had mod_revision 4");
}

TEST(history, a_compare_of_unknown_outcome_that_held_and_should_not)
{
    THREE_PUTS(h);

    h_truth(h, h_put(5, "a", "v5"));
    h_call(h, 70, h_c_cas("a", 0, "v5"));
    h_violates(h, "wrote revision 5, but before it the key had mod_revision 4");
}

TEST(history, a_compare_that_failed_and_should_not)
{
    THREE_PUTS(h);

    h_did_cas(h, 70, 80, h_c_cas("a", 4, "v5"), false, 4);
    h_violates(h, "its compare failed, but it holds at that revision");
}

TEST(history, a_compare_that_failed_and_wrote)
{
    THREE_PUTS(h);

    h_truth(h, h_put(5, "a", "v5"));
    h_did_cas(h, 70, 80, h_c_cas("a", 2, "v5"), false, 4);
    h_violates(h, "its compare failed, but it has happened");
}

TEST(history, a_compare_that_failed_and_read_something_else)
{
    THREE_PUTS(h);

    h_end(h, h_call(h, 70, h_c_cas("a", 2, "v5")), 80,
        (struct history_reply){HISTORY_OK, .revision = 4, .found = true,
            .value = BYTES_LITERAL("v1"), .mod_revision = 4});
    h_violates(h, "read \"v1\" of revision 4, but the truth has: put \"a\" = \"v3\"");
}

/* ---- reads ---- */

TEST(history, reads_are_fine)
{
    THREE_PUTS(h);

    h_did_get(h, 70, 80, HISTORY_GET, "a", 4, "v3", 4);
    h_did_get(h, 70, 80, HISTORY_GET, "z", 4, NULL, 0);
    h_did_get(h, 45, 80, HISTORY_GET, "a", 3, "v1", 2);
    h_did_get(h, 1, 5, HISTORY_GET, "a", 1, NULL, 0);
    h_fine(h);
}

TEST(history, a_stale_read)
{
    THREE_PUTS(h);

    h_did_get(h, 70, 80, HISTORY_GET, "a", 3, "v1", 2);
    h_violates(h,
        "call 3 (get \"a\", 70..80, revision 3): saw revision 3, but before it began "
        "revision 4 had been seen: call 2");
}

TEST(history, a_stale_read_under_a_new_revision)
{
    THREE_PUTS(h);

    h_did_get(h, 70, 80, HISTORY_GET, "a", 4, "v1", 2);
    h_violates(h, "read \"v1\" of revision 2, but the truth has: put \"a\" = \"v3\" at revision 4");
}

TEST(history, a_read_that_goes_back_behind_another)
{
    THREE_PUTS(h);

    h_did_get(h, 51, 55, HISTORY_GET, "a", 4, "v3", 4);
    h_did_get(h, 56, 59, HISTORY_GET, "a", 3, "v1", 2);
    h_violates(h, "call 4 (get \"a\", 56..59, revision 3): saw revision 3");
}

TEST(history, a_read_of_an_impossible_value)
{
    THREE_PUTS(h);

    h_did_get(h, 70, 80, HISTORY_GET, "a", 4, "v7", 4);
    h_violates(h, "read \"v7\" of revision 4");
}

TEST(history, a_read_of_an_impossible_mod_revision)
{
    THREE_PUTS(h);

    h_did_get(h, 70, 80, HISTORY_GET, "a", 4, "v3", 3);
    h_violates(h, "read \"v3\" of revision 3");
}

TEST(history, a_read_that_misses_a_key)
{
    THREE_PUTS(h);

    h_did_get(h, 70, 80, HISTORY_GET, "a", 4, NULL, 0);
    h_violates(h, "found nothing, but the truth has: put \"a\" = \"v3\" at revision 4");
}

TEST(history, a_read_of_what_was_never_there)
{
    THREE_PUTS(h);

    h_did_get(h, 70, 80, HISTORY_GET, "z", 4, "v1", 2);
    h_violates(h, "found \"v1\", but the truth has: it was never there");
}

TEST(history, a_read_of_the_future)
{
    THREE_PUTS(h);

    h_did_get(h, 41, 45, HISTORY_GET, "a", 4, "v3", 4);
    h_violates(h,
        "call 2 (put \"a\" = \"v3\", 50..60, revision 4): wrote revision 4, but before it "
        "began revision 4 had been seen: call 3");
}

TEST(history, a_serializable_read_may_be_old)
{
    THREE_PUTS(h);

    h_did_get(h, 70, 80, HISTORY_GET_STALE, "a", 3, "v1", 2);
    h_did_get(h, 70, 80, HISTORY_GET_STALE, "a", 1, NULL, 0);
    h_fine(h);
}

TEST(history, a_serializable_read_may_not_be_wrong)
{
    THREE_PUTS(h);

    h_did_get(h, 70, 80, HISTORY_GET_STALE, "a", 4, "v1", 2);
    h_violates(h, "(stale get \"a\", 70..80, revision 4): read \"v1\" of revision 2");
}

TEST(history, what_a_serializable_read_saw_stays)
{
    THREE_PUTS(h);

    h_did_get(h, 50, 52, HISTORY_GET_STALE, "a", 4, "v3", 4);
    h_did_get(h, 53, 57, HISTORY_GET, "a", 3, "v1", 2);
    h_violates(h,
        "call 4 (get \"a\", 53..57, revision 3): saw revision 3, but before it began "
        "revision 4 had been seen: call 3 (stale get");
}

/* ---- compactions ---- */

TEST(history, compactions_are_fine)
{
    THREE_PUTS(h);

    h_did_compact(h, 70, 80, 2, 4);
    h_did_compact(h, 90, 95, 4, 4);
    h_fine(h);
}

TEST(history, a_revision_compacted_twice)
{
    THREE_PUTS(h);

    h_did_compact(h, 70, 80, 3, 4);
    h_did_compact(h, 90, 95, 2, 4);
    h_violates(h, "call 4 (compact at 2, 90..95, revision 4): compacted again after call 3");
}

TEST(history, a_compaction_of_the_future)
{
    THREE_PUTS(h);

    h_did_compact(h, 45, 80, 4, 3);
    h_violates(h, "a revision of the future was compacted");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(history, an_empty_one_is_fine),
        UNIT(history, a_truth_with_a_gap),
        UNIT(history, a_truth_that_begins_late),
        UNIT(history, a_truth_that_goes_back),
        UNIT(history, a_delete_of_nothing_in_the_truth),
        UNIT(history, one_value_of_two_calls_is_no_history),
        UNIT(history, summary_counts),
        UNIT(history, writes_in_order_are_fine),
        UNIT(history, a_lost_write),
        UNIT(history, a_write_that_another_one_replaced),
        UNIT(history, a_write_with_the_wrong_lease),
        UNIT(history, a_write_that_did_more_than_asked),
        UNIT(history, a_write_without_a_revision),
        UNIT(history, a_reply_without_a_revision),
        UNIT(history, a_write_that_happened_twice),
        UNIT(history, an_unknown_write_happens_once_or_never),
        UNIT(history, an_unknown_write_that_happened_twice),
        UNIT(history, an_unknown_write_of_another_key),
        UNIT(history, an_unknown_write_seen_before_it_began),
        UNIT(history, a_failed_write_that_happened),
        UNIT(history, a_failed_write_that_did_not_happen_is_fine),
        UNIT(history, a_write_nobody_asked_for),
        UNIT(history, real_time_orders_writes),
        UNIT(history, concurrent_writes_have_either_order),
        UNIT(history, deletes_are_fine),
        UNIT(history, two_deletes_of_one_key),
        UNIT(history, a_delete_that_found_nothing_where_something_was),
        UNIT(history, a_failed_delete_that_happened),
        UNIT(history, an_unknown_delete_explains_one_delete),
        UNIT(history, an_unknown_delete_explains_nothing_seen_before_it_began),
        UNIT(history, unknown_deletes_are_given_out_to_whom_they_fit),
        UNIT(history, compares_are_fine),
        UNIT(history, a_compare_that_held_and_should_not),
        UNIT(history, a_compare_of_unknown_outcome_that_held_and_should_not),
        UNIT(history, a_compare_that_failed_and_should_not),
        UNIT(history, a_compare_that_failed_and_wrote),
        UNIT(history, a_compare_that_failed_and_read_something_else),
        UNIT(history, reads_are_fine),
        UNIT(history, a_stale_read),
        UNIT(history, a_stale_read_under_a_new_revision),
        UNIT(history, a_read_that_goes_back_behind_another),
        UNIT(history, a_read_of_an_impossible_value),
        UNIT(history, a_read_of_an_impossible_mod_revision),
        UNIT(history, a_read_that_misses_a_key),
        UNIT(history, a_read_of_what_was_never_there),
        UNIT(history, a_read_of_the_future),
        UNIT(history, a_serializable_read_may_be_old),
        UNIT(history, a_serializable_read_may_not_be_wrong),
        UNIT(history, what_a_serializable_read_saw_stays),
        UNIT(history, compactions_are_fine),
        UNIT(history, a_revision_compacted_twice),
        UNIT(history, a_compaction_of_the_future),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
