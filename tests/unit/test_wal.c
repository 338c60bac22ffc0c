/* The log as its users see it: order of completions, threads on a real disk, who may
 * open a data directory. */
#include "wal_fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "clock.h"
#include "codec.h"
#include "crc32c.h"

TEST(wal, what_was_appended_is_recovered_over_many_segments)
{
    struct wal_mem *m = wal_mem_new(1);
    struct wal_recovery rec;
    struct wal *w = fixture_open(m, &rec);

    for (uint64_t i = 0; i < 40; i++) {
        fixture_hard(w, 1 + i / 10, 7);
        fixture_append(w, 1 + i / 10, 1 + i * 3, 3, 300);
    }
    fixture_close(w, &rec);
    w = fixture_open(m, &rec);
    assert_false(rec.is_new);
    assert_int_equal(rec.identity.cluster_id, fixture_identity.cluster_id);
    assert_int_equal(rec.identity.member_id, fixture_identity.member_id);
    assert_int_equal(rec.term, 4);
    assert_int_equal(rec.vote, 7);
    assert_int_equal(rec.n_entries, 120);
    assert_int_equal(rec.torn_bytes, 0);
    for (size_t i = 0; i < rec.n_entries; i++) {
        fixture_check_entry(&rec.entries[i], i + 1, 1 + i / 30, 300);
    }
    fixture_close(w, &rec);
    (void)wal_mem_free(m);
}

TEST(wal, a_directory_opened_and_not_created_stays_new)
{
    struct wal_mem *m = wal_mem_new(1);
    struct wal_recovery rec;
    struct wal *w = NULL;

    for (int i = 0; i < 2; i++) {
        assert_int_equal(fixture_try_open(m, &w, &rec, NULL), 0);
        assert_true(rec.is_new);
        fixture_close(w, &rec);
    }
    (void)wal_mem_free(m);
}

TEST(wal, entries_replace_all_at_and_after_their_index)
{
    struct wal_mem *m = wal_mem_new(1);
    struct wal_recovery rec;
    struct wal *w = fixture_open(m, &rec);

    fixture_append(w, 1, 1, 20, 10);
    fixture_append(w, 2, 11, 2, 10);
    fixture_append(w, 3, 12, 1, 10);
    fixture_close(w, &rec);
    w = fixture_open(m, &rec);
    assert_int_equal(rec.n_entries, 12);
    fixture_check_entry(&rec.entries[9], 10, 1, 10);
    fixture_check_entry(&rec.entries[10], 11, 2, 10);
    fixture_check_entry(&rec.entries[11], 12, 3, 10);
    fixture_close(w, &rec);
    (void)wal_mem_free(m);
}

TEST(wal, an_entry_larger_than_a_segment_passes)
{
    struct wal_mem *m = wal_mem_new(1);
    struct wal_recovery rec;
    struct wal *w = fixture_open(m, &rec);

    fixture_append(w, 1, 1, 2, 10);
    fixture_append(w, 1, 3, 2, 5 * FIXTURE_SEGMENT);
    fixture_append(w, 1, 5, 2, 10);
    m = fixture_kill(m, w, &rec);
    w = fixture_open(m, &rec);
    assert_int_equal(rec.n_entries, 6);
    fixture_check_entry(&rec.entries[3], 4, 1, 5 * FIXTURE_SEGMENT);
    fixture_check_entry(&rec.entries[5], 6, 1, 10);
    fixture_close(w, &rec);
    (void)wal_mem_free(m);
}

TEST(wal, a_reset_forgets_everything_before)
{
    struct wal_mem *m = wal_mem_new(1);
    struct wal_recovery rec;
    struct wal *w = fixture_open(m, &rec);
    struct wal_snapshot_id id = {.term = 4, .index = 500};
    struct wal_stats before, after;

    for (uint64_t i = 0; i < 30; i++) {
        fixture_append(w, 1, 1 + 20 * i, 20, 100);
    }
    wal_stats(w, &before);
    assert_int_equal(fixture_snapshot(w, id, 3), 0);
    wal_reset(w, id);
    wal_poll(w);
    wal_poll(w);
    wal_stats(w, &after);
    assert_true(after.disk_bytes < before.disk_bytes - 2 * FIXTURE_SEGMENT);
    fixture_append(w, 4, 501, 3, 10);
    m = fixture_kill(m, w, &rec);
    w = fixture_open(m, &rec);
    assert_int_equal(rec.snapshot.index, 500);
    assert_int_equal(rec.n_entries, 3);
    fixture_check_entry(&rec.entries[0], 501, 4, 10);
    fixture_close(w, &rec);
    (void)wal_mem_free(m);
}

/* ---- completions ---- */

struct ordered {
    struct fixture_batch b;
    int *counter, seen;
};

static void on_ordered(struct wal_append_req *req, int status)
{
    struct ordered *o = req->data;

    o->seen = ++*o->counter;
    o->b.status = status;
    o->b.calls++;
}

static void ordered_init(struct ordered *o, uint64_t first, int *counter)
{
    fixture_batch_init(&o->b, 1, first, 1, 40);
    o->b.req.entries = o->b.entries;
    o->b.req.cb = on_ordered;
    o->b.req.data = o;
    o->counter = counter;
    o->seen = 0;
}

TEST(wal, batches_queued_meanwhile_are_one_write_and_complete_in_order)
{
    enum { N = 20 };
    struct wal_mem *m = wal_mem_new(1);
    struct wal_recovery rec;
    struct wal *w = fixture_open(m, &rec);
    struct ordered o[N];
    struct wal_stats before, after;
    int counter = 0;

    wal_stats(w, &before);
    for (int i = 0; i < N; i++) {
        ordered_init(&o[i], 1 + (uint64_t)i, &counter);
        assert_int_equal(wal_append(w, &o[i].b.req), 0);
    }
    assert_int_equal(counter, 0);
    wal_poll(w);
    wal_stats(w, &after);
    assert_int_equal(after.fsyncs - before.fsyncs, 1);
    assert_int_equal(after.batches - before.batches, 1);
    assert_true(after.bytes - before.bytes == N * wal_record_size(40));
    assert_int_equal(after.fsync_bucket[15], after.fsyncs);
    for (int i = 0; i < N; i++) {
        assert_int_equal(o[i].seen, i + 1);
        assert_int_equal(o[i].b.calls, 1);
        fixture_batch_deinit(&o[i].b);
    }
    fixture_close(w, &rec);
    (void)wal_mem_free(m);
}

TEST(wal, close_cancels_what_is_queued)
{
    struct wal_mem *m = wal_mem_new(1);
    struct wal_recovery rec;
    struct wal *w = fixture_open(m, &rec);
    struct ordered o[2];
    int counter = 0;

    fixture_append(w, 1, 1, 3, 40);
    ordered_init(&o[0], 4, &counter);
    ordered_init(&o[1], 5, &counter);
    assert_int_equal(wal_append(w, &o[0].b.req), 0);
    assert_int_equal(wal_append(w, &o[1].b.req), 0);
    fixture_close(w, &rec);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(o[i].b.status, -ECANCELED);
        assert_int_equal(o[i].seen, i + 1);
        fixture_batch_deinit(&o[i].b);
    }
    w = fixture_open(m, &rec);
    assert_int_equal(rec.n_entries, 3);
    fixture_close(w, &rec);
    (void)wal_mem_free(m);
}

/* ---- what ends the process ---- */

/* Runs f in a child that must abort; returns what it said on standard error. */
static char *abort_message(void (*f)(void *), void *data)
{
    static char text[4096];
    int out[2], status;
    ssize_t n;
    pid_t pid;

    assert_int_equal(pipe(out), 0);
    pid = fork();
    if (pid == 0) {
        struct rlimit none = {0, 0};

        (void)setrlimit(RLIMIT_CORE, &none);
        (void)signal(SIGABRT, SIG_DFL);
        (void)dup2(out[1], STDERR_FILENO);
        f(data);
        _exit(0);
    }
    (void)close(out[1]);
    memset(text, 0, sizeof(text));
    for (size_t at = 0; (n = read(out[0], text + at, sizeof(text) - 1 - at)) > 0;) {
        at += (size_t)n;
    }
    (void)close(out[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    return text;
}

struct failing_op {
    uint64_t nth;
    int rc;
};

static void append_on_failing_disk(void *data)
{
    const struct failing_op *op = data;
    struct wal_mem *m = wal_mem_new(1);
    struct wal_recovery rec;
    struct wal *w = fixture_open(m, &rec);

    wal_poll(w);
    wal_mem_fail_at(m, op->nth, op->rc);
    fixture_append(w, 1, 1, 1, 10);
}

/* F8: never retried, no callback, no vote. */
TEST(wal, a_failed_write_or_fsync_ends_the_process_and_names_file_and_error)
{
    struct failing_op write = {1, -EIO}, sync = {2, -EIO}, full = {1, -ENOSPC};
    const char *text = abort_message(append_on_failing_disk, &write);

    assert_non_null(strstr(text, "write of d/wal/0000000000000001.seg failed: Input/output error"));
    text = abort_message(append_on_failing_disk, &sync);
    assert_non_null(strstr(text, "fdatasync of d/wal/0000000000000001.seg failed"));
    text = abort_message(append_on_failing_disk, &full);
    assert_non_null(strstr(text, "No space left on device"));
}

/* ---- formats ---- */

TEST(wal, a_newer_format_is_refused_by_its_number)
{
    struct wal_mem *m = wal_mem_new(1);
    struct wal_recovery rec;
    struct wal *w = fixture_open(m, &rec);
    _cleanup_err_ struct err e = {0};
    uint8_t *page;

    fixture_close(w, &rec);
    page = wal_mem_bytes(m, WAL_FOLDER_LOG, "0000000000000001.seg")->data;
    put_u32(page + 8, 2);
    put_u32(page + 12, 0);
    put_u32(page + 12, crc32c(0, page, WAL_PAGE_BYTES));
    assert_int_equal(fixture_try_open(m, &w, &rec, &e), -ENOTSUP);
    assert_non_null(strstr(e.text, "wal/0000000000000001.seg has format version 2"));
    (void)wal_mem_free(m);
}

TEST(wal, a_record_of_a_type_to_come_is_refused_not_skipped)
{
    struct wal_mem *m = wal_mem_new(1);
    struct wal_recovery rec;
    struct wal *w = fixture_open(m, &rec);
    _cleanup_strbuf_ struct strbuf out = {0};
    _cleanup_err_ struct err e = {0};
    struct wal_record r = {
        .type = WAL_RECORD_TYPE_END_, .epoch = 1, .mark = WAL_RECORDS_START + 96};
    struct strbuf *file;

    m = fixture_kill(m, w, &rec);
    file = wal_mem_bytes(m, WAL_FOLDER_LOG, "0000000000000001.seg");
    wal_record_encode(&r, get_u64(file->data + 24), WAL_RECORDS_START + 144, &out);
    memcpy(file->data + WAL_RECORDS_START + 144, out.data, out.len);
    assert_int_equal(fixture_try_open(m, &w, &rec, &e), -ENOTSUP);
    assert_non_null(strstr(e.text, "unknown type 7 at offset 4240"));
    (void)wal_mem_free(m);
}

TEST(wal, a_snapshot_without_a_log_is_refused)
{
    struct wal_mem *m = wal_mem_new(1);
    struct wal_recovery rec;
    struct wal *w = fixture_open(m, &rec);
    struct wal_snapshot_id id = {.term = 1, .index = 3};
    struct wal_disk *d = wal_mem_disk(m);
    _cleanup_err_ struct err e = {0};

    fixture_append(w, 1, 1, 3, 10);
    assert_int_equal(fixture_snapshot(w, id, 1), 0);
    fixture_close(w, &rec);
    assert_int_equal(d->ops->unlink(d, WAL_FOLDER_LOG, "0000000000000001.seg"), 0);
    (void)d->ops->unlink(d, WAL_FOLDER_LOG, "0000000000000002.seg");
    assert_int_equal(fixture_try_open(m, &w, &rec, &e), DECREE_ECORRUPT);
    assert_non_null(strstr(e.text, "term and vote are lost"));
    (void)wal_mem_free(m);
}

/* ---- the real disk, with threads ---- */

struct real {
    char dir[64];
    int wake_fd;
    struct wal *wal;
};

static void on_wake(void *data)
{
    (void)eventfd_write(((struct real *)data)->wake_fd, 1);
}

static int real_open(struct real *r, struct wal_recovery *rec, struct err *reterr)
{
    const struct wal_options o = {.dir = r->dir, .wake = on_wake, .wake_data = r};
    int rc = wal_open(&o, &r->wal, rec, reterr);

    if (rc == 0 && rec->is_new) {
        rc = wal_create(r->wal, fixture_identity, reterr);
    }
    return rc;
}

static void real_init(struct real *r)
{
    *r = (struct real){.dir = "/tmp/decree-test-wal-XXXXXX", .wake_fd = eventfd(0, EFD_CLOEXEC)};
    assert_non_null(mkdtemp(r->dir));
}

static void real_deinit(struct real *r)
{
    char command[128];

    (void)snprintf(command, sizeof(command), "rm -r '%s'", r->dir);
    assert_int_equal(system(command), 0);
    (void)close(r->wake_fd);
}

static void real_wait(struct real *r)
{
    struct pollfd p = {.fd = r->wake_fd, .events = POLLIN};
    eventfd_t count;

    assert_int_equal(poll(&p, 1, 20000), 1);
    assert_int_equal(eventfd_read(r->wake_fd, &count), 0);
    wal_poll(r->wal);
}

static void on_counted(struct wal_append_req *req, int status)
{
    struct fixture_batch *b = req->data;

    b->calls++;
    b->status = status;
}

TEST(wal, threads_write_batches_snapshots_and_compactions_side_by_side)
{
    enum { ROUNDS = 12, BATCHES = 16 };
    struct real r;
    struct wal_recovery rec;
    struct wal_stats stats;
    uint64_t index = 0;

    real_init(&r);
    assert_int_equal(real_open(&r, &rec, NULL), 0);
    for (int round = 0; round < ROUNDS; round++) {
        struct fixture_batch *b = xcalloc(BATCHES, sizeof(*b));
        struct fixture_outcome o = {0};
        struct snap_writer *s = NULL;
        struct wal_snapshot_id id = {.term = 1, .index = index};

        if (index > 0) {
            assert_int_equal(snap_writer_open(r.wal, id, BYTES_LITERAL("h"), &s, NULL), 0);
        }
        for (size_t i = 0; i < BATCHES; i++, index += 20) {
            fixture_batch_init(&b[i], 1, index + 1, 20, 900);
            b[i].req.entries = b[i].entries;
            b[i].req.data = &b[i];
            b[i].req.cb = on_counted;
            assert_int_equal(wal_append(r.wal, &b[i].req), 0);
            if (s != NULL) {
                snap_writer_write(s, b[i].entries[0].payload);
            }
        }
        if (s != NULL) {
            snap_writer_finish(s, fixture_on_snap, &o);
        }
        while (b[BATCHES - 1].calls == 0 || (s != NULL && o.calls == 0)) {
            real_wait(&r);
        }
        for (size_t i = 0; i < BATCHES; i++) {
            assert_int_equal(b[i].calls, 1);
            assert_int_equal(b[i].status, 0);
            fixture_batch_deinit(&b[i]);
        }
        free(b);
        if (s != NULL) {
            assert_int_equal(o.status, 0);
            wal_compact(r.wal, id, id.index + 1);
        }
        assert_true(wal_has_room(r.wal, 1000));
    }
    wal_stats(r.wal, &stats);
    assert_true(stats.fsyncs > 0 && stats.batches >= ROUNDS);
    fixture_close(r.wal, &rec);
    assert_int_equal(real_open(&r, &rec, NULL), 0);
    assert_int_equal(rec.snapshot.index, index - 20 * BATCHES);
    assert_int_equal(rec.n_entries, 20 * BATCHES);
    fixture_check_entry(&rec.entries[20 * BATCHES - 1], index, 1, 900);
    fixture_close(r.wal, &rec);
    real_deinit(&r);
}

TEST(wal, an_abandoned_snapshot_does_not_hold_up_the_next_or_close)
{
    struct real r;
    struct wal_recovery rec;
    struct snap_writer *s = NULL;
    struct wal_snapshot_id id = {.term = 1, .index = 1};
    struct fixture_outcome o = {0};
    struct buf *p = buf_new(1 << 20);

    real_init(&r);
    memset(p->data, 9, p->len);
    assert_int_equal(real_open(&r, &rec, NULL), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(snap_writer_open(r.wal, id, (struct bytes){0}, &s, NULL), 0);
        snap_writer_write(s, p);
        snap_writer_write(s, p);
        snap_writer_abort(s);
    }
    assert_int_equal(snap_writer_open(r.wal, id, (struct bytes){0}, &s, NULL), 0);
    snap_writer_write(s, p);
    snap_writer_finish(s, fixture_on_snap, &o);
    fixture_close(r.wal, &rec);
    assert_int_equal(o.calls, 1); /* a finished one is completed by close */
    assert_int_equal(o.status, 0);
    assert_int_equal(p->refs, 1);
    assert_int_equal(real_open(&r, &rec, NULL), 0);
    assert_int_equal(rec.snapshot.index, 1);
    fixture_close(r.wal, &rec);
    buf_unref(p);
    real_deinit(&r);
}

TEST(wal, a_new_store_is_small)
{
    struct real r;
    struct wal_recovery rec;
    struct wal_stats stats;

    real_init(&r);
    assert_int_equal(real_open(&r, &rec, NULL), 0);
    do {
        wal_stats(r.wal, &stats);
    } while (stats.disk_bytes == 1 << 20); /* the keeper prepares the next, twice as large */
    assert_int_equal(stats.disk_bytes, 3 << 20);
    fixture_close(r.wal, &rec);
    real_deinit(&r);
}

/* ---- who may open it ---- */

TEST(wal, a_directory_in_use_names_the_process)
{
    struct real r;
    struct wal_recovery rec, other_rec;
    struct wal *other = NULL;
    _cleanup_err_ struct err e = {0};
    char expect[128];
    struct wal_options o;

    real_init(&r);
    o = (struct wal_options){.dir = r.dir};
    assert_int_equal(real_open(&r, &rec, NULL), 0);
    assert_int_equal(wal_open(&o, &other, &other_rec, &e), -EBUSY);
    (void)snprintf(expect, sizeof(expect), "the data directory %s is in use by process %d: stop it",
        r.dir, (int)getpid());
    assert_non_null(strstr(e.text, expect));
    fixture_close(r.wal, &rec);
    assert_int_equal(real_open(&r, &rec, NULL), 0);
    fixture_close(r.wal, &rec);
    real_deinit(&r);
}

TEST(wal, an_own_directory_is_closed_to_others_and_a_foreign_one_refused)
{
    struct real r;
    struct wal_recovery rec;
    _cleanup_err_ struct err e = {0};
    struct stat st;
    char path[128];

    real_init(&r);
    assert_int_equal(chmod(r.dir, 0755), 0);
    assert_int_equal(real_open(&r, &rec, NULL), 0); /* empty */
    assert_int_equal(stat(r.dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    fixture_close(r.wal, &rec);
    assert_int_equal(chmod(r.dir, 0750), 0);
    assert_int_equal(real_open(&r, &rec, NULL), 0); /* ours, by its LOCK */
    assert_int_equal(stat(r.dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    fixture_close(r.wal, &rec);
    real_deinit(&r);

    real_init(&r);
    (void)snprintf(path, sizeof(path), "%s/letter", r.dir);
    assert_int_equal(close(open(path, O_CREAT | O_WRONLY, 0600)), 0);
    assert_int_equal(chmod(r.dir, 0755), 0);
    assert_int_equal(real_open(&r, &rec, &e), -EACCES);
    assert_non_null(strstr(e.text, "is open to other users (mode 0755)"));
    assert_int_equal(stat(r.dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
    real_deinit(&r);
}

TEST(wal, a_missing_directory_is_made_with_its_parents)
{
    struct real r;
    struct wal_recovery rec;
    struct stat st;
    char top[64];

    real_init(&r);
    memcpy(top, r.dir, sizeof(top));
    (void)snprintf(r.dir + strlen(r.dir), sizeof(r.dir) - strlen(r.dir), "/a/b");
    assert_int_equal(real_open(&r, &rec, NULL), 0);
    assert_true(rec.is_new);
    assert_int_equal(stat(r.dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    fixture_close(r.wal, &rec);
    memcpy(r.dir, top, sizeof(top));
    real_deinit(&r);
}

static void real_hard(struct real *r)
{
    struct fixture_batch b;

    fixture_batch_init(&b, 0, 0, 0, 0);
    b.req.has_hard = true;
    b.req.term = 2;
    assert_int_equal(wal_append(r->wal, &b.req), 0);
    while (b.calls == 0) {
        real_wait(r);
    }
}

/* A file size limit is a full disk: refused, not killed by SIGXFSZ, and nothing is lost. */
static void fill_under_a_limit(void *data)
{
    struct real *r = data;
    struct rlimit limit = {3 << 20, 3 << 20};
    struct wal_recovery rec;
    uint64_t index = 0;

    if (setrlimit(RLIMIT_FSIZE, &limit) < 0 || real_open(r, &rec, NULL) < 0) {
        _exit(1);
    }
    for (;;) {
        struct fixture_batch b;
        int rc;

        fixture_batch_init(&b, 1, index + 1, 50, 1000);
        rc = wal_append(r->wal, &b.req);
        while (rc == 0 && b.calls == 0) {
            real_wait(r);
        }
        fixture_batch_deinit(&b);
        if (rc == WAL_FULL) {
            break;
        }
        index += 50;
        if (index > 10000) {
            _exit(2);
        }
    }
    real_hard(r);
    _exit(index > 1000 ? 0 : 3);
}

TEST(wal, a_file_size_limit_is_a_full_disk)
{
    struct real r;
    struct wal_recovery rec;
    int status;
    pid_t pid;

    real_init(&r);
    pid = fork();
    if (pid == 0) {
        fill_under_a_limit(&r);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(real_open(&r, &rec, NULL), 0);
    assert_true(rec.n_entries > 1000);
    fixture_check_entry(&rec.entries[1000], 1001, 1, 1000);
    real_hard(&r);
    fixture_close(r.wal, &rec);
    real_deinit(&r);
}

/* The same with threads: what is done while the rest waits for room must also wake the loop. */
TEST(wal, terms_before_a_batch_that_waits_for_room_wake_the_loop)
{
    const rlim_t small =
        2 << 20; /* what the first two segments have; the third is twice as large */
    struct real r;
    struct wal_recovery rec;
    struct wal_stats stats;
    struct rlimit limit;
    struct fixture_batch five, six, b;

    real_init(&r);
    assert_int_equal(real_open(&r, &rec, NULL), 0);
    do {
        wal_stats(r.wal, &stats);
    } while (stats.disk_bytes != 3 << 20);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){small, limit.rlim_max}), 0);
    fixture_batch_init(&b, 6, 1, 64, 56 << 10);
    fixture_hard_init(&five, 5, FIXTURE_VOTE);
    fixture_hard_init(&six, 6, FIXTURE_VOTE);
    assert_int_equal(wal_append(r.wal, &five.req), 0);
    assert_int_equal(wal_append(r.wal, &six.req), 0);
    assert_int_equal(wal_append(r.wal, &b.req), 0);
    while (six.calls == 0) {
        real_wait(&r);
    }
    assert_int_equal(five.calls, 1);
    assert_int_equal(b.calls, 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    while (b.calls == 0) {
        real_wait(&r);
    }
    assert_int_equal(b.status, 0);
    fixture_batch_deinit(&b);
    fixture_close(r.wal, &rec);
    assert_int_equal(real_open(&r, &rec, NULL), 0);
    assert_int_equal(rec.term, 6);
    assert_int_equal(rec.n_entries, 64);
    fixture_close(r.wal, &rec);
    real_deinit(&r);
}

TEST_MAIN(UNIT(wal, what_was_appended_is_recovered_over_many_segments),
    UNIT(wal, a_directory_opened_and_not_created_stays_new),
    UNIT(wal, entries_replace_all_at_and_after_their_index),
    UNIT(wal, an_entry_larger_than_a_segment_passes), UNIT(wal, a_reset_forgets_everything_before),
    UNIT(wal, batches_queued_meanwhile_are_one_write_and_complete_in_order),
    UNIT(wal, close_cancels_what_is_queued),
    UNIT(wal, a_failed_write_or_fsync_ends_the_process_and_names_file_and_error),
    UNIT(wal, a_newer_format_is_refused_by_its_number),
    UNIT(wal, a_record_of_a_type_to_come_is_refused_not_skipped),
    UNIT(wal, a_snapshot_without_a_log_is_refused),
    UNIT(wal, threads_write_batches_snapshots_and_compactions_side_by_side),
    UNIT(wal, an_abandoned_snapshot_does_not_hold_up_the_next_or_close),
    UNIT(wal, a_new_store_is_small), UNIT(wal, a_directory_in_use_names_the_process),
    UNIT(wal, an_own_directory_is_closed_to_others_and_a_foreign_one_refused),
    UNIT(wal, a_missing_directory_is_made_with_its_parents),
    UNIT(wal, a_file_size_limit_is_a_full_disk),
    UNIT(wal, terms_before_a_batch_that_waits_for_room_wake_the_loop))
