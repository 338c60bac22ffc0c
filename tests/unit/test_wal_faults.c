/* Every call that the log makes of its disk while it is opened, read and kept fails once, reads and
 * listings included: what goes wrong is said with its place, nothing is lost, and the next attempt
 * finds all. */
#include "wal_fixture.h"

#include <stdlib.h>

#include "snap_file.h"

/* A disk whose nth call from now, of any kind, fails. It stands in front of the one in memory,
 * whose files lead back to it by their disk. */
static const struct wal_disk_ops *real;
static struct wal_disk_ops failing;
static uint64_t calls_left; /* 0: none fails */
static int fault;
static bool has_failed, spare_writes;

static bool fails(bool is_write)
{
    if ((is_write && spare_writes) || calls_left == 0 || --calls_left != 0) {
        return false;
    }
    has_failed = true;
    return true;
}

static int f_attach(struct wal_disk *d, const char *dir, struct err *reterr)
{
    return fails(false) ? err_set(reterr, fault, "cannot attach %s", dir)
                        : real->attach(d, dir, reterr);
}

static int f_list(struct wal_disk *d, enum wal_folder folder, wal_disk_each each, void *data)
{
    return fails(false) ? fault : real->list(d, folder, each, data);
}

static int f_open(struct wal_disk *d, enum wal_folder folder, const char *name, bool create,
    struct wal_file **ret)
{
    return fails(false) ? fault : real->open(d, folder, name, create, ret);
}

static int f_rename(struct wal_disk *d, enum wal_folder folder, const char *from, const char *to)
{
    return fails(false) ? fault : real->rename(d, folder, from, to);
}

static int f_unlink(struct wal_disk *d, enum wal_folder folder, const char *name)
{
    return fails(false) ? fault : real->unlink(d, folder, name);
}

static int f_sync_dir(struct wal_disk *d, enum wal_folder folder)
{
    return fails(false) ? fault : real->sync_dir(d, folder);
}

static int f_size(struct wal_file *f, uint64_t *ret)
{
    return fails(false) ? fault : real->size(f, ret);
}

static int f_pread(struct wal_file *f, uint64_t offset, void *p, size_t n, size_t *ret_n)
{
    return fails(false) ? fault : real->pread(f, offset, p, n, ret_n);
}

static int f_pwrite(struct wal_file *f, uint64_t offset, struct bytes b)
{
    return fails(true) ? fault : real->pwrite(f, offset, b);
}

static int f_sync(struct wal_file *f)
{
    return fails(true) ? fault : real->sync(f);
}

static int f_allocate(struct wal_file *f, uint64_t size)
{
    return fails(true) ? fault : real->allocate(f, size);
}

/* nth 0: none. */
static void fail_call(struct wal_mem *m, uint64_t nth, int rc)
{
    if (real == NULL) {
        real = wal_mem_disk(m)->ops;
        failing = *real;
        failing.attach = f_attach;
        failing.list = f_list;
        failing.open = f_open;
        failing.rename = f_rename;
        failing.unlink = f_unlink;
        failing.sync_dir = f_sync_dir;
        failing.size = f_size;
        failing.pread = f_pread;
        failing.pwrite = f_pwrite;
        failing.sync = f_sync;
        failing.allocate = f_allocate;
    }
    wal_mem_disk(m)->ops = &failing;
    calls_left = nth;
    fault = rc;
    has_failed = false;
}

/* ---- what is on the disk ---- */

enum { ENTRIES = 240, PAYLOAD = 200, KEPT = 200 };

static const struct wal_snapshot_id older = {.term = 2, .index = 150};
static const struct wal_snapshot_id newer = {.term = 2, .index = KEPT};

/* Several segments, spares, a prepared segment, two snapshots, remains of a third and of a segment.
 */
static struct wal_mem *make_disk(void)
{
    struct wal_mem *m = wal_mem_new(3);
    struct wal_recovery rec;
    struct wal *w = fixture_open(m, &rec);

    fixture_hard(w, 2, FIXTURE_VOTE);
    for (uint64_t i = 1; i <= ENTRIES; i += 8) {
        fixture_append(w, 2, i, 8, PAYLOAD);
        if (i == 153 || i == 209) {
            const struct wal_snapshot_id id = i == 153 ? older : newer;

            assert_int_equal(fixture_snapshot(w, id, 3), 0);
            wal_compact(w, id, id.index + 1);
            wal_poll(w);
        }
    }
    fixture_close(w, &rec);
    wal_mem_put(m, WAL_FOLDER_SNAP, "0000000000000002-00000000000000d2-1.part", BYTES_LITERAL("p"));
    wal_mem_put(m, WAL_FOLDER_LOG, "00000000000000ff.prep", BYTES_LITERAL("p"));
    wal_mem_put(m, WAL_FOLDER_LOG, "00000000000000fe.spare", BYTES_LITERAL("p"));
    return m;
}

static void check_all_there(struct wal_mem *m)
{
    struct wal_recovery rec;
    struct wal *w;

    fail_call(m, 0, 0);
    w = fixture_open(m, &rec);
    assert_int_equal(rec.snapshot.index, KEPT);
    assert_null(rec.passed_over);
    assert_int_equal(rec.n_entries, ENTRIES - KEPT);
    assert_int_equal(rec.vote, FIXTURE_VOTE);
    for (size_t i = 0; i < rec.n_entries; i++) {
        fixture_check_entry(&rec.entries[i], KEPT + 1 + i, 2, PAYLOAD);
    }
    fixture_append(w, 3, ENTRIES + 1, 1, PAYLOAD);
    fixture_close(w, &rec);
}

/* ---- open ---- */

/* A start whose nth call fails: true while there are that many. */
static bool open_with_fault(const struct wal_mem *image, uint64_t nth, int rc, int *refused)
{
    struct wal_mem *m = wal_mem_clone(image);
    _cleanup_err_ struct err e = {0};
    struct wal_recovery rec = {0};
    struct wal *w = NULL;
    bool failed;
    int got;

    fail_call(m, nth, rc);
    got = fixture_try_open(m, &w, &rec, &e);
    failed = has_failed;
    if (got < 0) {
        assert_true(failed);
        assert_int_equal(e.code, got);
        assert_non_null(e.text);
        (*refused)++;
    } else {
        /* A read that fails once is tried again; an older snapshot never stands in silently. */
        assert_true(rec.snapshot.index == KEPT || rec.passed_over != NULL);
        assert_int_equal(rec.snapshot.index + rec.n_entries, ENTRIES);
        fail_call(m, 0, 0);
        fixture_close(w, &rec);
    }
    check_all_there(m);
    (void)wal_mem_free(m);
    return failed;
}

TEST(faults, a_start_with_any_one_call_failing_is_refused_or_whole)
{
    static const int errors[] = {-EIO, -ENOSPC, -EMFILE};
    struct wal_mem *image = make_disk();

    spare_writes = true; /* one of the log's that fails ends the process: test_wal.c */
    for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
        uint64_t nth = 1;
        int refused = 0;

        while (open_with_fault(image, nth, errors[i], &refused)) {
            nth++;
        }
        assert_true(nth > 20 && refused > 10);
    }
    spare_writes = false;
    (void)wal_mem_free(image);
}

TEST(faults, founding_with_any_one_call_failing_can_be_done_again)
{
    bool failed = true;

    for (uint64_t nth = 1; failed; nth++) {
        struct wal_mem *m = wal_mem_new(1);
        _cleanup_err_ struct err e = {0};
        struct wal_recovery rec = {0};
        struct wal *w = NULL;
        int rc;

        fail_call(m, nth, -EIO);
        rc = fixture_try_open(m, &w, &rec, &e);
        if (rc == 0) {
            rc = wal_create(w, fixture_identity, &e);
            failed = has_failed;
            fail_call(m, 0, 0);
            fixture_close(w, &rec);
        }
        assert_true(rc == 0 || e.text != NULL);
        assert_true(rc != 0 || nth > 3);
        fail_call(m, 0, 0);
        w = fixture_open(m, &rec);
        fixture_hard(w, 1, FIXTURE_VOTE);
        fixture_append(w, 1, 1, 1, PAYLOAD);
        fixture_close(w, &rec);
        (void)wal_mem_free(m);
    }
}

/* ---- snapshots ---- */

TEST(faults, reading_a_snapshot_with_any_one_call_failing_says_so)
{
    struct wal_mem *m = make_disk();
    struct wal_recovery rec;
    struct wal *w = fixture_open(m, &rec);
    bool failed = true;
    int refused = 0;

    for (uint64_t nth = 1; failed; nth++) {
        _cleanup_err_ struct err e = {0};
        struct snap_reader *s = NULL;
        struct bytes header, piece = {0};
        size_t pieces = 0;
        int rc;

        fail_call(m, nth, -EIO);
        rc = snap_reader_open(w, newer, &s, &header, &e);
        for (bool more = rc == 0; more;) {
            rc = snap_reader_next(s, &piece, &e);
            more = rc == 0 && piece.len != 0;
            pieces += more;
        }
        failed = has_failed;
        (void)snap_reader_close(s);
        if (rc < 0) {
            assert_true(failed);
            assert_non_null(strstr(e.text, "snap/0000000000000002-00000000000000c8.snap"));
            refused++;
        } else {
            assert_int_equal(pieces, 3);
        }
    }
    assert_true(refused >= 3); /* open, size, read */
    fail_call(m, 0, 0);
    fixture_close(w, &rec);
    (void)wal_mem_free(m);
}

TEST(faults, a_snapshot_written_with_any_one_call_failing_is_reported_or_whole)
{
    const struct wal_snapshot_id later = {.term = 2, .index = ENTRIES};
    struct wal_mem *image = make_disk();
    bool failed = true;
    int refused = 0;

    for (uint64_t nth = 1; failed; nth++) {
        struct wal_mem *m = wal_mem_clone(image);
        struct wal_recovery rec;
        struct wal *w = fixture_open(m, &rec);
        struct fixture_outcome o = {0};
        _cleanup_err_ struct err e = {0};
        struct snap_writer *s = NULL;
        int rc;

        wal_poll(w); /* the segment to come is prepared */
        fail_call(m, nth, -EIO);
        rc = snap_writer_open(w, later, BYTES_LITERAL("h"), &s, &e);
        if (rc == 0) {
            struct buf *p = fixture_payload(1, 1, 1000);

            snap_writer_write(s, p);
            buf_unref(p);
            snap_writer_finish(s, fixture_on_snap, &o);
            wal_poll(w);
            assert_int_equal(o.calls, 1);
            rc = o.status;
        }
        failed = has_failed;
        assert_true(rc == 0 || failed);
        refused += rc < 0;
        fail_call(m, 0, 0);
        fixture_close(w, &rec);
        w = fixture_open(m, &rec);
        /* One whose last step failed may be there; it is whole then, like any that is found. */
        assert_true(rec.snapshot.index == later.index || (rec.snapshot.index == KEPT && rc < 0));
        assert_null(rec.passed_over);
        fixture_close(w, &rec);
        (void)wal_mem_free(m);
    }
    assert_true(refused > 5);
    (void)wal_mem_free(image);
}

/* A piece that is cut off or grown by what lies behind the snapshot's end. */
TEST(faults, a_snapshot_with_something_behind_its_end_is_damaged)
{
    struct wal_mem *m = make_disk();
    char name[SNAP_NAME_MAX];
    _cleanup_strbuf_ struct strbuf longer = {0};
    _cleanup_err_ struct err e = {0};

    snap_file_name(name, newer);
    strbuf_append_bytes(&longer, strbuf_bytes(wal_mem_bytes(m, WAL_FOLDER_SNAP, name)));
    strbuf_append_char(&longer, 'x');
    real->unlink(wal_mem_disk(m), WAL_FOLDER_SNAP, name);
    wal_mem_put(m, WAL_FOLDER_SNAP, name, strbuf_bytes(&longer));
    assert_int_equal(snap_verify(wal_mem_disk(m), name, newer, 0, false, &e), DECREE_ECORRUPT);
    assert_non_null(strstr(e.text, name));
    (void)wal_mem_free(m);
}

/* Names that are none of ours are left alone. */
TEST(faults, foreign_files_in_the_folders_are_passed_over)
{
    static const char *const log_names[] = {"00000000000000AA.seg", "aa.seg",
        "00000000000000aa.segment", "000000000000zzaa.seg", "notes", ".seg"};
    static const char *const snap_names[] = {"0000000000000009-00000000000000ff.snap~", "9-ff.snap",
        "000000000000000g-00000000000000ff.snap", "part", ".part.snap", "x"};
    struct wal_mem *m = make_disk();

    for (size_t i = 0; i < ARRAY_SIZE(log_names); i++) {
        wal_mem_put(m, WAL_FOLDER_LOG, log_names[i], BYTES_LITERAL("not ours"));
    }
    for (size_t i = 0; i < ARRAY_SIZE(snap_names); i++) {
        wal_mem_put(m, WAL_FOLDER_SNAP, snap_names[i], BYTES_LITERAL("not ours"));
    }
    check_all_there(m);
    for (size_t i = 0; i < ARRAY_SIZE(log_names); i++) {
        assert_non_null(wal_mem_bytes(m, WAL_FOLDER_LOG, log_names[i]));
        assert_non_null(wal_mem_bytes(m, WAL_FOLDER_SNAP, snap_names[i]));
    }
    (void)wal_mem_free(m);
}

TEST_MAIN(UNIT(faults, a_start_with_any_one_call_failing_is_refused_or_whole),
    UNIT(faults, founding_with_any_one_call_failing_can_be_done_again),
    UNIT(faults, reading_a_snapshot_with_any_one_call_failing_says_so),
    UNIT(faults, a_snapshot_written_with_any_one_call_failing_is_reported_or_whole),
    UNIT(faults, a_snapshot_with_something_behind_its_end_is_damaged),
    UNIT(faults, foreign_files_in_the_folders_are_passed_over))
