/* The log on a full disk: what it refuses, what it takes, what waits, and how it goes on. */
#include "wal_fixture.h"

/* F10: entries are refused, term and vote are taken, and all goes on when there is room again. */
TEST(wal, a_full_disk_refuses_entries_takes_votes_and_recovers)
{
    struct wal_mem *m = wal_mem_new(1);
    struct wal_recovery rec;
    struct wal *w = fixture_open(m, &rec);
    struct wal_stats stats;
    struct fixture_batch b;
    uint64_t index = 0, term = 1;

    wal_poll(w);
    wal_stats(w, &stats);
    wal_mem_set_capacity(m, stats.disk_bytes);
    assert_true(wal_has_room(w, 300));
    for (;;) {
        int rc;

        fixture_batch_init(&b, 1, index + 1, 1, 300);
        rc = wal_append(w, &b.req);
        wal_poll(w);
        fixture_batch_deinit(&b);
        if (rc == WAL_FULL) {
            assert_int_equal(b.calls, 0);
            break;
        }
        assert_int_equal(b.calls, 1);
        index++;
        assert_true(index < 1000);
    }
    assert_true(index > 20);
    assert_false(wal_has_room(w, 300));
    for (int i = 0; i < 15; i++) {
        fixture_hard(w, ++term, 3);
        fixture_batch_init(&b, 1, index + 1, 1, 300);
        assert_int_equal(wal_append(w, &b.req), WAL_FULL);
        fixture_batch_deinit(&b);
    }
    m = fixture_kill(m, w, &rec);
    wal_mem_set_capacity(m, 0);
    w = fixture_open(m, &rec);
    assert_int_equal(rec.n_entries, index);
    assert_int_equal(rec.term, term);
    wal_poll(w);
    assert_false(wal_has_room(w, 300));
    wal_mem_set_capacity(m, UINT64_MAX);
    while (!wal_has_room(w, 300)) { /* its clock ticks a microsecond a look: a second passes */
    }
    fixture_append(w, term, index + 1, 50, 300);
    fixture_close(w, &rec);
    w = fixture_open(m, &rec);
    assert_int_equal(rec.n_entries, index + 50);
    fixture_close(w, &rec);
    (void)wal_mem_free(m);
}

/* Its preparation failed, and so did the removal of what there was of it: it is in the way of none
 * that comes later. */
TEST(wal, the_rest_of_a_preparation_is_overwritten)
{
    struct wal_mem *m = wal_mem_new(1);
    struct wal_disk *d = wal_mem_disk(m);
    struct wal_label label = {.seq = 2, .salt = 5, .owner = fixture_identity};
    struct wal_segment *s = NULL;
    struct wal_file *f = NULL;
    const char *step = "";
    uint64_t bytes = 0;

    assert_int_equal(d->ops->open(d, WAL_FOLDER_LOG, "0000000000000002.prep", true, &f), 0);
    assert_int_equal(wal_file_pwrite(f, 0, BYTES_LITERAL("half")), 0);
    (void)wal_file_close(f);
    assert_int_equal(
        wal_segment_create(d, &label, FIXTURE_SEGMENT, (struct bytes){0}, NULL, &s, &step), 0);
    assert_int_equal(d->ops->size(s->file, &bytes), 0);
    assert_int_equal(bytes, FIXTURE_SEGMENT);
    (void)wal_segment_free(s);
    assert_int_equal(d->ops->open(d, WAL_FOLDER_LOG, "0000000000000002.prep", false, &f), -ENOENT);
    (void)wal_mem_free(m);
}

/* Accepted before the disk turned out to be full: it waits, and is written when there is room. */
TEST(wal, a_batch_that_outgrows_the_disk_waits_and_completes)
{
    struct wal_mem *m = wal_mem_new(1);
    struct wal_recovery rec;
    struct wal *w = fixture_open(m, &rec);
    struct wal_stats stats;
    struct fixture_batch b;

    wal_poll(w);
    wal_stats(w, &stats);
    wal_mem_set_capacity(m, stats.disk_bytes);
    fixture_batch_init(&b, 1, 1, 64, 1000);
    assert_int_equal(wal_append(w, &b.req), 0);
    for (int i = 0; i < 5; i++) {
        wal_poll(w);
        assert_int_equal(b.calls, 0);
    }
    wal_mem_set_capacity(m, UINT64_MAX);
    while (b.calls == 0) {
        wal_poll(w);
    }
    assert_int_equal(b.status, 0);
    fixture_batch_deinit(&b);
    fixture_close(w, &rec);
    w = fixture_open(m, &rec);
    assert_int_equal(rec.n_entries, 64);
    fixture_check_entry(&rec.entries[63], 64, 1, 1000);
    fixture_close(w, &rec);
    (void)wal_mem_free(m);
}

/* What is in one write with entries that wait for room is done at once, and never written again:
 * the first term would then follow the second. */
TEST(wal, terms_before_a_batch_that_waits_for_room_are_durable_and_complete)
{
    struct wal_mem *m = wal_mem_new(1), *after;
    struct wal_recovery rec, found;
    struct wal *w = fixture_open(m, &rec), *survivor;
    struct wal_stats stats;
    struct fixture_batch five, six, b;

    wal_poll(w);
    wal_stats(w, &stats);
    wal_mem_set_capacity(m, stats.disk_bytes);
    fixture_hard_init(&five, 5, FIXTURE_VOTE);
    fixture_hard_init(&six, 6, FIXTURE_VOTE);
    fixture_batch_init(&b, 6, 1, 64, 1000);
    assert_int_equal(wal_append(w, &five.req), 0);
    assert_int_equal(wal_append(w, &six.req), 0);
    assert_int_equal(wal_append(w, &b.req), 0);
    for (int i = 0; i < 5; i++) {
        wal_poll(w);
        assert_int_equal(five.calls, 1);
        assert_int_equal(six.calls, 1);
        assert_int_equal(b.calls, 0);
    }
    assert_int_equal(five.status, 0);
    assert_int_equal(six.status, 0);
    after = wal_mem_power_cut(m, 0);
    wal_mem_set_capacity(after, UINT64_MAX);
    survivor = fixture_open(after, &found);
    assert_int_equal(found.term, 6);
    assert_int_equal(found.vote, FIXTURE_VOTE);
    fixture_close(survivor, &found);
    (void)wal_mem_free(after);
    wal_mem_set_capacity(m, UINT64_MAX);
    while (b.calls == 0) {
        wal_poll(w);
    }
    assert_int_equal(b.status, 0);
    assert_int_equal(five.calls + six.calls + b.calls, 3);
    fixture_batch_deinit(&b);
    fixture_close(w, &rec);
    w = fixture_open(m, &rec);
    assert_int_equal(rec.term, 6);
    assert_int_equal(rec.vote, FIXTURE_VOTE);
    assert_int_equal(rec.n_entries, 64);
    fixture_check_entry(&rec.entries[63], 64, 6, 1000);
    fixture_close(w, &rec);
    (void)wal_mem_free(m);
}

/* Small entries are mostly header: their payloads alone would fit many times over. */
TEST(wal, a_batch_that_has_room_by_its_number_of_entries_is_taken)
{
    struct wal_mem *m = wal_mem_new(1);
    struct wal_recovery rec;
    struct wal *w = fixture_open(m, &rec);
    struct wal_stats stats;
    struct fixture_batch b;
    uint64_t index = 0;
    bool room;

    wal_poll(w);
    wal_stats(w, &stats);
    wal_mem_set_capacity(m, stats.disk_bytes);
    for (int rc = 0; rc == 0;) { /* to the end of what there is, and a full disk */
        fixture_batch_init(&b, 1, index + 1, 1, 4000);
        rc = wal_append(w, &b.req);
        wal_poll(w);
        fixture_batch_deinit(&b);
        index += rc == 0 ? 1 : 0;
        assert_true(index < 100);
    }
    assert_true(wal_has_room_for(w, 3, 3));
    assert_false(wal_has_room_for(w, FIXTURE_ENTRIES_MAX, FIXTURE_ENTRIES_MAX));
    assert_true(wal_has_room(w, FIXTURE_ENTRIES_MAX));
    fixture_batch_init(&b, 1, index + 1, FIXTURE_ENTRIES_MAX, 1);
    assert_int_equal(wal_append(w, &b.req), WAL_FULL);
    fixture_batch_deinit(&b);
    do { /* one byte is the worst to pad; a hard state comes with it */
        room = wal_has_room_for(w, 3, 3);
        fixture_batch_init(&b, 1, index + 1, 3, 1);
        b.req.has_hard = true;
        b.req.term = 1;
        assert_true(!room || wal_append(w, &b.req) == 0);
        wal_poll(w);
        assert_int_equal(b.calls, room ? 1 : 0);
        fixture_batch_deinit(&b);
        index += room ? 3 : 0;
    } while (room);
    fixture_close(w, &rec);
    w = fixture_open(m, &rec);
    assert_int_equal(rec.n_entries, index);
    fixture_close(w, &rec);
    (void)wal_mem_free(m);
}

TEST_MAIN(UNIT(wal, the_rest_of_a_preparation_is_overwritten),
    UNIT(wal, a_full_disk_refuses_entries_takes_votes_and_recovers),
    UNIT(wal, a_batch_that_outgrows_the_disk_waits_and_completes),
    UNIT(wal, terms_before_a_batch_that_waits_for_room_are_durable_and_complete),
    UNIT(wal, a_batch_that_has_room_by_its_number_of_entries_is_taken))
