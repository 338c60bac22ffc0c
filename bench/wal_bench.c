/* What the log costs beyond the disk: one entry after the other appended durably through the log,
 * beside a bare 512-byte pwrite + fdatasync to a file written through before, in the same run and
 * in turn, so that a noisy machine disturbs both alike. wal_bench FOLDER [ROUNDS] FOLDER must be on
 * the disk in question; two files are made in it and removed. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "alloc.h"
#include "clock.h"
#include "wal.h"

enum { SAMPLES = 500, ROUNDS_DEFAULT = 4, BARE_BYTES = 512, BARE_FILE_BYTES = 16 << 20 };
enum { SNAPSHOT_BYTES = 128 << 20, SNAPSHOT_PIECE_BYTES = 64 << 10 };
enum { VALUE_BYTES = 300, RECOVER_ENTRIES = 100000, RECOVER_BATCH = 1000 };

struct times {
    double *us; /* owned */
    size_t n;
};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double percentile(struct times *t, unsigned percent)
{
    qsort(t->us, t->n, sizeof(*t->us), compare);
    return t->us[t->n * percent / 100];
}

static void print(const char *what, struct times *t)
{
    double p50 = percentile(t, 50), p99 = percentile(t, 99);

    printf("%-36s p50 %6.1f us   p99 %6.1f us\n", what, p50, p99);
}

static double since_us(uint64_t start)
{
    return (double)(clock_boot_ns() - start) / 1000.0;
}

/* ---- the bare file ---- */

static int bare_open(const char *folder)
{
    _cleanup_free_ char *path = xasprintf("%s/bare", folder);
    _cleanup_free_ uint8_t *zeros = xcalloc(1, BARE_FILE_BYTES);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0 || pwrite(fd, zeros, BARE_FILE_BYTES, 0) != BARE_FILE_BYTES || fsync(fd) < 0) {
        fprintf(stderr, "wal_bench: cannot prepare %s: %s\n", path, strerror(errno));
        exit(1);
    }
    (void)unlink(path);
    return fd;
}

static void bare_round(int fd, struct times *t)
{
    uint8_t block[BARE_BYTES];

    memset(block, 'x', sizeof(block));
    for (int i = 0; i < SAMPLES; i++) {
        uint64_t start = clock_boot_ns();

        if (pwrite(fd, block, sizeof(block), (off_t)(t->n * BARE_BYTES)) != BARE_BYTES ||
            fdatasync(fd) < 0) {
            perror("wal_bench: bare write");
            exit(1);
        }
        t->us[t->n++] = since_us(start);
    }
}

/* ---- the log ---- */

struct client {
    struct wal *wal;
    int wake_fd;
    uint64_t index;
    bool done;
};

static void on_wake(void *data)
{
    const struct client *c = data;

    (void)eventfd_write(c->wake_fd, 1);
}

static void on_done(struct wal_append_req *req, int status)
{
    struct client *c = req->data;

    c->done = status == 0;
}

static void wait_wake(struct client *c)
{
    struct pollfd p = {.fd = c->wake_fd, .events = POLLIN};
    eventfd_t count;

    (void)poll(&p, 1, -1);
    (void)eventfd_read(c->wake_fd, &count);
    wal_poll(c->wal);
}

static void client_append(struct client *c, struct wal_entry *entries, size_t n)
{
    struct wal_append_req req = {.entries = entries, .n_entries = n, .cb = on_done, .data = c};

    c->done = false;
    if (wal_append(c->wal, &req) != 0) {
        fprintf(stderr, "wal_bench: the disk is full\n");
        exit(1);
    }
    while (!c->done) {
        wait_wake(c);
    }
}

static void wal_round(struct client *c, struct buf *payload, struct times *t)
{
    for (int i = 0; i < SAMPLES; i++) {
        struct wal_entry e = {++c->index, 1, 0, payload};
        uint64_t start = clock_boot_ns();

        client_append(c, &e, 1);
        t->us[t->n++] = since_us(start);
    }
}

static void open_log(struct client *c, const char *dir, struct wal_recovery *rec)
{
    const struct wal_options o = {.dir = dir, .wake = on_wake, .wake_data = c};
    _cleanup_err_ struct err e = {0};

    if (wal_open(&o, &c->wal, rec, &e) < 0 ||
        (rec->is_new && wal_create(c->wal, (struct wal_identity){1, 1}, &e) < 0)) {
        fprintf(stderr, "wal_bench: %s\n", e.text);
        exit(1);
    }
}

/* Fills the log up and measures how long it takes to read it again. */
static void bench_recovery(struct client *c, const char *dir, struct buf *payload)
{
    struct wal_entry *entries = xcalloc(RECOVER_BATCH, sizeof(*entries));
    struct wal_recovery rec;
    struct wal_stats stats;
    uint64_t start = clock_boot_ns();

    while (c->index < RECOVER_ENTRIES) {
        for (size_t i = 0; i < RECOVER_BATCH; i++) {
            entries[i] = (struct wal_entry){++c->index, 1, 0, payload};
        }
        client_append(c, entries, RECOVER_BATCH);
    }
    printf("%-36s %6.1f ms\n", "the other entries, 1000 a batch", since_us(start) / 1000);
    wal_stats(c->wal, &stats);
    printf("%-36s %6.1f MiB\n", "on disk", (double)stats.disk_bytes / 1048576);
    start = clock_boot_ns();
    (void)wal_close(c->wal);
    printf("%-36s %6.1f ms\n", "close", since_us(start) / 1000);
    start = clock_boot_ns();
    open_log(c, dir, &rec);
    printf("recovered %zu entries of %d bytes       %6.1f ms\n", rec.n_entries, VALUE_BYTES,
        since_us(start) / 1000);
    wal_recovery_deinit(&rec);
    free(entries);
}

/* A snapshot of 128 MiB in pieces of 64 KiB, written (with its reading back) and read. */
static void on_snapshot(void *data, int status, const char *text)
{
    if (status != 0) {
        fprintf(stderr, "wal_bench: %s\n", text);
        exit(1);
    }
    *(bool *)data = true;
}

static void read_snapshot(struct client *c, struct wal_snapshot_id id)
{
    struct snap_reader *r = NULL;
    struct bytes piece;
    uint64_t start = clock_boot_ns();
    int rc = snap_reader_open(c->wal, id, &r, &piece, NULL);

    while (rc == 0 && (rc = snap_reader_next(r, &piece, NULL)) == 0 && piece.len != 0) {}
    printf("%-36s %6.1f ms, result %d\n", "snapshot of 128 MiB read", since_us(start) / 1000, rc);
    (void)snap_reader_close(r);
}

static void bench_snapshot(struct client *c)
{
    const struct wal_snapshot_id id = {.term = 1, .index = RECOVER_ENTRIES};
    struct snap_writer *s = NULL;
    struct buf *piece = buf_new(SNAPSHOT_PIECE_BYTES);
    uint64_t start = clock_boot_ns();
    bool done = false;

    memset(piece->data, 's', piece->len);
    if (snap_writer_open(c->wal, id, (struct bytes){0}, &s, NULL) < 0) {
        exit(1);
    }
    for (size_t i = 0; i < SNAPSHOT_BYTES / SNAPSHOT_PIECE_BYTES; i++) {
        while (snap_writer_queued(s) >= SNAP_WINDOW_BYTES) {
            wait_wake(c);
        }
        snap_writer_write(s, piece);
    }
    snap_writer_finish(s, on_snapshot, &done);
    while (!done) {
        wait_wake(c);
    }
    printf("%-36s %6.1f ms\n", "snapshot of 128 MiB written, verified", since_us(start) / 1000);
    read_snapshot(c, id); /* from the page cache: verifying has just read it */
    buf_unref(piece);
}

int main(int argc, char **argv)
{
    const char *folder = argc > 1 ? argv[1] : ".";
    size_t rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : ROUNDS_DEFAULT;
    _cleanup_free_ char *dir = xasprintf("%s/wal_bench.decree", folder);
    _cleanup_free_ char *clean = xasprintf("rm -r '%s'", dir);
    struct client c = {.wake_fd = eventfd(0, EFD_CLOEXEC)};
    struct times bare = {xcalloc(rounds * SAMPLES, sizeof(double)), 0};
    struct times wal = {xcalloc(rounds * SAMPLES, sizeof(double)), 0};
    struct buf *payload = buf_new(VALUE_BYTES);
    struct wal_recovery rec;
    uint64_t start = clock_boot_ns();
    int fd = bare_open(folder);

    memset(payload->data, 'v', VALUE_BYTES);
    start = clock_boot_ns();
    open_log(&c, dir, &rec);
    printf("%-36s %6.1f ms\n", "new log", since_us(start) / 1000);
    for (size_t i = 0; i < rounds; i++) {
        bare_round(fd, &bare);
        wal_round(&c, payload, &wal);
    }
    print("bare 512 bytes + fdatasync", &bare);
    print("one entry through the log", &wal);
    printf("%-36s %6.2f\n", "ratio of the medians", percentile(&wal, 50) / percentile(&bare, 50));
    bench_recovery(&c, dir, payload);
    bench_snapshot(&c);
    (void)wal_close(c.wal);
    buf_unref(payload);
    free(bare.us);
    free(wal.us);
    (void)close(fd);
    return system(clean) == 0 ? 0 : 1;
}
