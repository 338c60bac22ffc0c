/* Snapshot files: whole or not there, and damage is seen wherever it is. */
#include "wal_fixture.h"

#include "codec.h"
#include "crc32c.h"

static const struct wal_snapshot_id at_ten = {.term = 2, .index = 10};
static const char ten_name[] = "0000000000000002-000000000000000a.snap";

/* A log of 20 entries of term 2. */
static struct wal *log_of_20(struct wal_mem *m)
{
    struct wal_recovery rec;
    struct wal *w = fixture_open(m, &rec);

    fixture_append(w, 2, 1, 20, 50);
    wal_recovery_deinit(&rec);
    return w;
}

struct counting {
    const char *ending;
    size_t n;
};

static void count_one(void *data, const char *name, uint64_t bytes _unused_)
{
    struct counting *c = data;
    size_t len = strlen(name), end = strlen(c->ending);

    c->n += len >= end && strcmp(name + len - end, c->ending) == 0 ? 1 : 0;
}

static size_t count_files(struct wal_mem *m, const char *ending)
{
    struct counting c = {ending, 0};
    struct wal_disk *d = wal_mem_disk(m);

    assert_int_equal(d->ops->list(d, WAL_FOLDER_SNAP, count_one, &c), 0);
    return c.n;
}

static void check_content(struct wal *w, struct wal_snapshot_id id, size_t pieces)
{
    struct snap_reader *s = NULL;
    struct bytes header, piece;

    assert_int_equal(snap_reader_open(w, id, &s, &header, NULL), 0);
    assert_true(bytes_eq(header, BYTES_LITERAL("head")));
    for (size_t i = 0; i < pieces; i++) {
        struct buf *p = fixture_payload(id.index, i, 100 + i);

        assert_int_equal(snap_reader_next(s, &piece, NULL), 0);
        assert_true(bytes_eq(piece, buf_bytes(p)));
        buf_unref(p);
    }
    assert_int_equal(snap_reader_next(s, &piece, NULL), 0);
    assert_int_equal(piece.len, 0);
    assert_int_equal(snap_reader_next(s, &piece, NULL), 0);
    assert_int_equal(piece.len, 0);
    (void)snap_reader_close(s);
}

TEST(snap, what_was_written_is_read_piece_by_piece)
{
    struct wal_mem *m = wal_mem_new(1);
    struct wal *w = log_of_20(m);
    struct wal_recovery rec;

    assert_int_equal(fixture_snapshot(w, at_ten, 30), 0);
    check_content(w, at_ten, 30);
    (void)wal_close(w);
    w = fixture_open(m, &rec);
    assert_true(rec.has_snapshot);
    assert_int_equal(rec.snapshot.index, 10);
    assert_int_equal(rec.n_entries, 10);
    fixture_check_entry(&rec.entries[0], 11, 2, 50);
    check_content(w, at_ten, 30);
    fixture_close(w, &rec);
    (void)wal_mem_free(m);
}

TEST(snap, pieces_of_any_size_pass)
{
    static const size_t sizes[] = {1, 7, 1 << 20, (1 << 20) - 8, 3000000, 2};
    struct wal_mem *m = wal_mem_new(1);
    struct wal *w = log_of_20(m);
    struct fixture_outcome o = {0};
    struct snap_writer *s = NULL;
    struct snap_reader *reader = NULL;
    struct bytes header, piece;

    assert_int_equal(snap_writer_open(w, at_ten, (struct bytes){0}, &s, NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct buf *p = fixture_payload(i, 1, sizes[i]);

        snap_writer_write(s, p);
        buf_unref(p);
    }
    snap_writer_finish(s, fixture_on_snap, &o);
    wal_poll(w);
    assert_int_equal(o.status, 0);
    assert_int_equal(snap_reader_open(w, at_ten, &reader, &header, NULL), 0);
    assert_int_equal(header.len, 0);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct buf *p = fixture_payload(i, 1, sizes[i]);

        assert_int_equal(snap_reader_next(reader, &piece, NULL), 0);
        assert_true(bytes_eq(piece, buf_bytes(p)));
        buf_unref(p);
    }
    (void)snap_reader_close(reader);
    (void)wal_close(w);
    (void)wal_mem_free(m);
}

TEST(snap, one_writer_at_a_time_and_abort_makes_room_for_the_next)
{
    struct wal_mem *m = wal_mem_new(1);
    struct wal *w = log_of_20(m);
    struct snap_writer *s = NULL, *second = NULL;
    struct buf *p = fixture_payload(1, 1, 100);
    _cleanup_err_ struct err e = {0};

    assert_int_equal(snap_writer_open(w, at_ten, (struct bytes){0}, &s, NULL), 0);
    assert_int_equal(snap_writer_open(w, at_ten, (struct bytes){0}, &second, &e), -EEXIST);
    assert_string_equal(e.text, "a snapshot at index 10 is being written already");
    snap_writer_write(s, p);
    assert_int_equal(snap_writer_queued(s), 100);
    wal_poll(w);
    assert_int_equal(snap_writer_queued(s), 0);
    assert_int_equal(count_files(m, ".part"), 1);
    snap_writer_abort(s);
    assert_int_equal(fixture_snapshot(w, at_ten, 2), 0);
    assert_int_equal(count_files(m, ".part"), 0);
    check_content(w, at_ten, 2);
    buf_unref(p);
    (void)wal_close(w);
    (void)wal_mem_free(m);
}

static void on_drained(void *data)
{
    (*(int *)data)++;
}

TEST(snap, drained_runs_when_the_window_has_emptied)
{
    struct wal_mem *m = wal_mem_new(1);
    struct wal *w = log_of_20(m);
    struct snap_writer *s = NULL;
    struct buf *p = buf_new(SNAP_WINDOW_BYTES);
    int drained = 0;

    memset(p->data, 1, p->len);
    assert_int_equal(snap_writer_open(w, at_ten, (struct bytes){0}, &s, NULL), 0);
    snap_writer_on_drain(s, on_drained, &drained);
    wal_poll(w);
    assert_int_equal(drained, 0);
    snap_writer_write(s, p);
    assert_int_equal(snap_writer_queued(s), SNAP_WINDOW_BYTES);
    assert_int_equal(p->refs, 2);
    wal_poll(w);
    assert_int_equal(drained, 1);
    assert_int_equal(p->refs, 1);
    (void)wal_close(w); /* gives the writer up */
    assert_int_equal(count_files(m, ".part"), 0);
    buf_unref(p);
    (void)wal_mem_free(m);
}

TEST(snap, a_full_disk_leaves_no_part_and_hurts_nothing)
{
    struct wal_mem *m = wal_mem_new(1);
    struct wal *w = log_of_20(m);
    struct wal_snapshot_id later = {.term = 2, .index = 15};
    struct fixture_outcome o = {0};
    struct snap_writer *s = NULL;
    struct buf *p = fixture_payload(1, 1, 100000);
    struct wal_stats stats;
    struct wal_recovery rec;

    assert_int_equal(fixture_snapshot(w, at_ten, 3), 0);
    wal_stats(w, &stats);
    wal_mem_set_capacity(m, stats.disk_bytes + 50000);
    assert_int_equal(snap_writer_open(w, later, (struct bytes){0}, &s, NULL), 0);
    snap_writer_write(s, p);
    snap_writer_finish(s, fixture_on_snap, &o);
    wal_poll(w);
    assert_int_equal(o.calls, 1);
    assert_int_equal(o.status, -ENOSPC);
    assert_non_null(strstr(o.text, "snap/0000000000000002-000000000000000f-1.part"));
    assert_non_null(strstr(o.text, "No space left"));
    assert_int_equal(count_files(m, ".part"), 0);
    assert_int_equal(count_files(m, ".snap"), 1);
    check_content(w, at_ten, 3);
    fixture_append(w, 2, 21, 1, 50);
    wal_mem_set_capacity(m, UINT64_MAX);
    assert_int_equal(fixture_snapshot(w, later, 3), 0);
    (void)wal_close(w);
    w = fixture_open(m, &rec);
    assert_int_equal(rec.snapshot.index, 15);
    assert_int_equal(rec.n_entries, 6);
    buf_unref(p);
    fixture_close(w, &rec);
    (void)wal_mem_free(m);
}

/* An error at any single operation of the disk: reported, and what was there stays. */
TEST(snap, an_io_error_at_any_step_is_reported_and_hurts_nothing)
{
    struct wal_snapshot_id later = {.term = 2, .index = 15};
    int failed = 0;

    for (uint64_t nth = 1;; nth++) {
        struct wal_mem *m = wal_mem_new(1);
        struct wal *w = log_of_20(m);
        int rc;

        assert_int_equal(fixture_snapshot(w, at_ten, 3), 0);
        wal_mem_fail_at(m, nth, -EIO);
        rc = fixture_snapshot(w, later, 3);
        wal_mem_fail_at(m, 0, 0);
        check_content(w, at_ten, 3);
        assert_int_equal(count_files(m, ".part"), 0);
        if (rc == 0) {
            check_content(w, later, 3);
        } else {
            assert_int_equal(rc, -EIO);
            failed++;
        }
        (void)wal_close(w);
        (void)wal_mem_free(m);
        if (rc == 0) {
            break;
        }
    }
    assert_int_equal(failed, 5); /* create, write, sync, rename, sync of the folder */
}

TEST(snap, the_power_may_fail_at_any_step)
{
    struct wal_snapshot_id later = {.term = 2, .index = 15};

    for (unsigned keep = 0; keep <= 100; keep += 10) {
        for (uint64_t nth = 1; nth <= 8; nth++) {
            struct wal_mem *m = wal_mem_new(keep * 100 + nth);
            struct wal *w = log_of_20(m);
            struct wal_recovery rec;
            bool done;

            assert_int_equal(fixture_snapshot(w, at_ten, 3), 0);
            wal_mem_die_at(m, nth, keep);
            assert_int_equal(fixture_snapshot(w, later, 3), 0);
            done = !wal_mem_is_dead(m);
            wal_mem_die_at(m, 1, keep);
            (void)wal_close(w);
            m = wal_mem_reborn(m);
            w = fixture_open(m, &rec);
            assert_true(rec.snapshot.index == 15 || (!done && rec.snapshot.index == 10));
            assert_null(rec.passed_over);
            check_content(w, rec.snapshot, 3);
            assert_int_equal(rec.n_entries, 20 - rec.snapshot.index);
            assert_int_equal(count_files(m, ".part"), 0);
            fixture_close(w, &rec);
            (void)wal_mem_free(m);
        }
    }
}

/* ---- damage ---- */

static int read_all(struct wal *w, struct err *e)
{
    struct snap_reader *s = NULL;
    struct bytes header, piece = {0};
    int rc = snap_reader_open(w, at_ten, &s, &header, e);

    if (rc < 0) {
        return rc;
    }
    do {
        rc = snap_reader_next(s, &piece, e);
    } while (rc == 0 && piece.len != 0);
    (void)snap_reader_close(s);
    return rc;
}

TEST(snap, every_flipped_byte_and_every_cut_is_detected_with_its_offset)
{
    struct wal_mem *m = wal_mem_new(1);
    struct wal *w = log_of_20(m);
    struct strbuf *b;
    size_t len;

    assert_int_equal(fixture_snapshot(w, at_ten, 5), 0);
    b = wal_mem_bytes(m, WAL_FOLDER_SNAP, ten_name);
    len = b->len;
    for (size_t i = 0; i < len * 8; i++) {
        _cleanup_err_ struct err e = {0};

        b->data[i / 8] ^= (uint8_t)(1u << (i % 8));
        assert_int_equal(read_all(w, &e), DECREE_ECORRUPT);
        assert_non_null(strstr(e.text, ten_name));
        assert_non_null(strstr(e.text, "at offset"));
        b->data[i / 8] ^= (uint8_t)(1u << (i % 8));
    }
    for (b->len = 0; b->len < len; b->len++) {
        assert_int_equal(read_all(w, NULL), DECREE_ECORRUPT);
    }
    assert_int_equal(read_all(w, NULL), 0);
    strbuf_append_char(b, 0);
    assert_int_equal(read_all(w, NULL), DECREE_ECORRUPT);
    (void)wal_close(w);
    (void)wal_mem_free(m);
}

/* As when the process ends between a received one and the reset of the log to it. */
static void assert_not_stood_in_for(struct wal_snapshot_id received, const char *name)
{
    struct wal_mem *m = wal_mem_new(1);
    struct wal *w = log_of_20(m);
    struct wal_options o = {.dir = "mem", .disk = wal_mem_disk(m)};
    struct wal_recovery rec;
    _cleanup_err_ struct err e = {0};

    assert_int_equal(fixture_snapshot(w, at_ten, 5), 0);
    assert_int_equal(fixture_snapshot(w, received, 5), 0);
    (void)wal_close(w);
    wal_mem_bytes(m, WAL_FOLDER_SNAP, name)->data[80] ^= 1;
    assert_int_equal(wal_open(&o, &w, &rec, &e), DECREE_ECORRUPT);
    assert_non_null(strstr(e.text, "the log ends at index 20"));
    assert_non_null(strstr(e.text, name));
    (void)wal_mem_free(m);
}

TEST(snap, a_log_does_not_stand_in_for_what_it_never_held)
{
    assert_not_stood_in_for((struct wal_snapshot_id){.term = 2, .index = 600},
        "0000000000000002-0000000000000258.snap");
    assert_not_stood_in_for(
        (struct wal_snapshot_id){.term = 7, .index = 15}, "0000000000000007-000000000000000f.snap");
}

TEST(snap, an_older_one_stands_in_for_a_damaged_one)
{
    struct wal_mem *m = wal_mem_new(1);
    struct wal *w = log_of_20(m);
    struct wal_snapshot_id later = {.term = 2, .index = 15};
    struct wal_recovery rec;
    struct wal_stats stats;

    /* Compacted as far as allowed: the log still reaches back to the older one. */
    assert_int_equal(fixture_snapshot(w, at_ten, 5), 0);
    wal_compact(w, at_ten, 11);
    for (uint64_t i = 0; i < 30; i++) {
        fixture_append(w, 2, 21 + i * 20, 20, 500);
    }
    later.index = 600;
    assert_int_equal(fixture_snapshot(w, later, 5), 0);
    wal_compact(w, later, 601);
    wal_poll(w);
    wal_stats(w, &stats);
    assert_true(stats.disk_bytes > 300000);
    (void)wal_close(w);
    wal_mem_bytes(m, WAL_FOLDER_SNAP, "0000000000000002-0000000000000258.snap")->data[80] ^= 1;
    w = fixture_open(m, &rec);
    assert_int_equal(rec.snapshot.index, 10);
    assert_non_null(strstr(rec.passed_over, "snap/0000000000000002-0000000000000258.snap"));
    assert_non_null(strstr(rec.passed_over, "offset"));
    assert_int_equal(rec.n_entries, 610);
    fixture_check_entry(&rec.entries[609], 620, 2, 500);
    wal_recovery_deinit(&rec);

    /* The damaged one goes with the next compaction, and a third makes the first superfluous. */
    later.index = 610;
    assert_int_equal(fixture_snapshot(w, later, 5), 0);
    wal_compact(w, later, 611);
    wal_poll(w);
    assert_int_equal(count_files(m, ".snap"), 2);
    later.index = 620;
    assert_int_equal(fixture_snapshot(w, later, 5), 0);
    wal_compact(w, later, 621);
    wal_poll(w);
    assert_int_equal(count_files(m, ".snap"), 2);
    wal_stats(w, &stats);
    assert_true(stats.disk_bytes < 120000);
    (void)wal_close(w);
    (void)wal_mem_free(m);
}

/* After a received snapshot nothing older helps. */
TEST(snap, a_damaged_one_without_a_stand_in_is_refused)
{
    struct wal_mem *m = wal_mem_new(1);
    struct wal *w = log_of_20(m);
    struct wal_snapshot_id received = {.term = 3, .index = 100};
    _cleanup_err_ struct err e = {0};
    struct wal_recovery rec;

    assert_int_equal(fixture_snapshot(w, received, 5), 0);
    wal_reset(w, received);
    fixture_append(w, 3, 101, 2, 50);
    (void)wal_close(w);
    wal_mem_bytes(m, WAL_FOLDER_SNAP, "0000000000000003-0000000000000064.snap")->data[80] ^= 1;
    assert_int_equal(fixture_try_open(m, &w, &rec, &e), DECREE_ECORRUPT);
    assert_non_null(strstr(e.text, "begins at index 101"));
    assert_non_null(strstr(e.text, "0000000000000064.snap: wrong checksum"));
    (void)wal_mem_free(m);
}

TEST(snap, a_newer_format_is_refused_by_its_number)
{
    struct wal_mem *m = wal_mem_new(1);
    struct wal *w = log_of_20(m);
    _cleanup_err_ struct err e = {0};
    struct wal_recovery rec;
    struct strbuf *b;

    assert_int_equal(fixture_snapshot(w, at_ten, 5), 0);
    (void)wal_close(w);
    b = wal_mem_bytes(m, WAL_FOLDER_SNAP, ten_name);
    put_u32(b->data + 8, 2);
    put_u32(b->data + 12, 0);
    put_u32(b->data + 12, crc32c(0, b->data, 48));
    assert_int_equal(fixture_try_open(m, &w, &rec, &e), -ENOTSUP);
    assert_non_null(strstr(e.text, "format version 2"));
    (void)wal_mem_free(m);
}

/* F16: the log says term 1 for what the received snapshot, of a later leader, has replaced. */
TEST(snap, a_received_one_found_before_the_reset_cuts_the_log)
{
    struct wal_snapshot_id received = {.term = 5, .index = 15};
    struct wal_mem *m = wal_mem_new(1);
    struct wal *w = log_of_20(m);
    struct wal_recovery rec;

    assert_int_equal(fixture_snapshot(w, received, 2), 0);
    (void)wal_close(w); /* no wal_reset */
    for (int i = 0; i < 2; i++) {
        w = fixture_open(m, &rec);
        assert_int_equal(rec.snapshot.index, 15);
        assert_int_equal(rec.n_entries, 0);
        fixture_close(w, &rec);
    }
    w = fixture_open(m, &rec);
    fixture_append(w, 5, 16, 2, 10);
    fixture_close(w, &rec);
    w = fixture_open(m, &rec);
    assert_int_equal(rec.n_entries, 2);
    fixture_check_entry(&rec.entries[0], 16, 5, 10);
    fixture_close(w, &rec);
    (void)wal_mem_free(m);
}

TEST_MAIN(UNIT(snap, what_was_written_is_read_piece_by_piece), UNIT(snap, pieces_of_any_size_pass),
    UNIT(snap, one_writer_at_a_time_and_abort_makes_room_for_the_next),
    UNIT(snap, drained_runs_when_the_window_has_emptied),
    UNIT(snap, a_full_disk_leaves_no_part_and_hurts_nothing),
    UNIT(snap, an_io_error_at_any_step_is_reported_and_hurts_nothing),
    UNIT(snap, the_power_may_fail_at_any_step),
    UNIT(snap, every_flipped_byte_and_every_cut_is_detected_with_its_offset),
    UNIT(snap, a_log_does_not_stand_in_for_what_it_never_held),
    UNIT(snap, an_older_one_stands_in_for_a_damaged_one),
    UNIT(snap, a_damaged_one_without_a_stand_in_is_refused),
    UNIT(snap, a_newer_format_is_refused_by_its_number),
    UNIT(snap, a_received_one_found_before_the_reset_cuts_the_log))
