/* What the keyspace alone costs: no network, no log. Prints one line a figure; times are those of
 * the processor, so that what else runs on the machine disturbs them least.
 *     mvcc_bench [KEYS]        8-byte keys, 256-byte values; 1,000,000 keys by default */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "alloc.h"
#include "mvcc.h"

enum { VALUE_BYTES = 256, PIECE_BYTES = 1 << 20 };

static uint8_t value[VALUE_BYTES];
static uint64_t started_ns;

static uint64_t cpu_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void start(void)
{
    started_ns = cpu_ns();
}

static double elapsed_s(void)
{
    return (double)(cpu_ns() - started_ns) / 1e9;
}

/* Resident memory of this process in MiB. */
static double rss_mib(void)
{
    unsigned long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");

    if (f != NULL) {
        if (fscanf(f, "%lu %lu", &size, &resident) != 2) {
            resident = 0;
        }
        fclose(f);
    }
    return (double)resident * (double)sysconf(_SC_PAGESIZE) / (1 << 20);
}

static void report(const char *what, double seconds, uint64_t n)
{
    printf("%-44s %8.3f s %8.3f us each\n", what, seconds, seconds * 1e6 / (double)n);
}

/* A permutation of 0..n-1, so that keys come in no order; n need not be a power of two. */
static uint64_t scatter(uint64_t i, uint64_t n)
{
    return i * UINT64_C(2654435761) % n;
}

static struct bytes make_key(char text[16], uint64_t i)
{
    return bytes_make(text, (size_t)snprintf(text, 16, "%08" PRIu64, i));
}

static void put_keys(struct mvcc *m, uint64_t from, uint64_t to, uint64_t n)
{
    struct arena arena = {0};
    struct put_reply reply;
    char text[16];

    for (uint64_t i = from; i < to; i++) {
        struct put_request r = {
            .key = make_key(text, scatter(i % n, n)), .value = bytes_make(value, sizeof(value))};

        memcpy(value, &i, sizeof(i));
        (void)mvcc_put(m, &r, &arena, &reply);
    }
    arena_deinit(&arena);
}

static void get_keys(const struct mvcc *m, uint64_t gets, uint64_t n)
{
    struct arena arena = {0};
    struct range_reply reply;
    uint64_t found = 0;
    char text[16];

    for (uint64_t i = 0; i < gets; i++) {
        struct range_request r = {.key = make_key(text, scatter(i * 7 % n, n))};

        (void)mvcc_range(m, &r, &arena, &reply);
        found += reply.n_kvs;
        arena_reset(&arena);
    }
    arena_deinit(&arena);
    if (found != gets) {
        printf("only %" PRIu64 " of %" PRIu64 " keys were found\n", found, gets);
    }
}

static void ranges(const struct mvcc *m, uint64_t rounds, uint64_t n, bool count_only)
{
    struct arena arena = {0};
    struct range_reply reply;
    char text[16], end[16];

    for (uint64_t i = 0; i < rounds; i++) {
        uint64_t from = scatter(i, n - 1000);
        struct range_request r = {
            .key = make_key(text, from), .range_end = make_key(end, from + 1000)};

        r.count_only = count_only;
        (void)mvcc_range(m, &r, &arena, &reply);
        arena_reset(&arena);
    }
    arena_deinit(&arena);
}

static struct mvcc *reload(struct mvcc *m)
{
    struct mvcc_snapshot *s = mvcc_snapshot_open(m);
    struct strbuf all = {0};
    struct mvcc_loader *l = mvcc_loader_new();
    struct mvcc *loaded = NULL;

    start();
    while (mvcc_snapshot_next(s, PIECE_BYTES, &all)) {}
    report("snapshot written", elapsed_s(), mvcc_keys(m));
    mvcc_snapshot_close(s);
    mvcc_free(m);
    malloc_trim(0);
    start();
    for (size_t at = 0; at < all.len; at += PIECE_BYTES) {
        (void)mvcc_loader_feed(
            l, bytes_make(all.data + at, MIN(all.len - at, (size_t)PIECE_BYTES)), NULL);
    }
    if (mvcc_loader_finish(l, &loaded, NULL) < 0) {
        printf("the snapshot was refused\n");
        exit(1);
    }
    report("snapshot loaded", elapsed_s(), mvcc_keys(loaded));
    mvcc_loader_free(l);
    strbuf_deinit(&all);
    malloc_trim(0);
    return loaded;
}

static void compact(struct mvcc *m)
{
    uint64_t slices = 0, longest = 0;
    double seconds;

    start();
    (void)mvcc_compact(m, mvcc_revision(m));
    for (bool more = true; more; slices++) {
        uint64_t from = cpu_ns(), took;

        more = mvcc_compact_step(m, 1000);
        took = cpu_ns() - from;
        longest = MAX(longest, took);
    }
    seconds = elapsed_s();
    malloc_trim(0);
    printf("%-44s %8.3f s in %" PRIu64 " slices, the longest %.3f ms\n", "compaction", seconds,
        slices, (double)longest / 1e6);
}

static bool on_events(struct watcher *w, struct watch_event *const *events, size_t n, int64_t rev)
{
    (void)w, (void)events, (void)n, (void)rev;
    return true;
}

static void on_end(struct watcher *w, enum watch_end why)
{
    (void)w, (void)why;
}

/* 10,000 watchers of other keys and of prefixes elsewhere; then 10,000 of the key that changes. */
static void watchers(struct mvcc *m, uint64_t n)
{
    enum { WATCHERS = 10000, PUTS = 20000 };
    static const struct watch_ops ops = {.events = on_events, .end = on_end};
    struct watcher *w = xcalloc(WATCHERS, sizeof(*w));
    char(*text)[2][16] = xcalloc(WATCHERS, sizeof(*text));
    double seconds = 0;

    for (int hot = 0; hot < 2; hot++) {
        for (uint64_t i = 0; i < WATCHERS; i++) {
            w[i] = (struct watcher){.ops = &ops};
            w[i].key = make_key(text[i][0], hot ? 0 : n + i * 10);
            if (i % 2 == 0 && !hot) {
                w[i].range_end = make_key(text[i][1], n + i * 10 + 10);
            }
            mvcc_watch_add(m, &w[i]);
        }
        start();
        for (uint64_t i = 0; i < (hot ? 1000 : PUTS); i++) {
            put_keys(m, hot ? 0 : i, hot ? 1 : i + 1, n);
            (void)mvcc_watch_deliver(m, 1000);
        }
        seconds = elapsed_s();
        if (hot) {
            report("event told to one of 10,000 watchers", seconds, 1000 * (uint64_t)WATCHERS);
        } else {
            report("put + deliver, 10,000 watchers elsewhere", seconds, PUTS);
        }
        for (uint64_t i = 0; i < WATCHERS; i++) {
            mvcc_watch_remove(m, &w[i]);
        }
    }
    free(w);
    free(text);
}

int main(int argc, char **argv)
{
    uint64_t n = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    double base = rss_mib();
    struct mvcc *m = mvcc_new();

    if (n < 10000 || n > 90000000) {
        fprintf(stderr, "usage: %s [KEYS], 10000 to 90000000\n", argv[0]);
        return 2;
    }
    start();
    put_keys(m, 0, n, n);
    report("put, new keys in no order", elapsed_s(), n);
    printf("%-44s %8.1f MiB, %.0f B a key\n", "memory", rss_mib() - base,
        (rss_mib() - base) * (1 << 20) / (double)n);
    start();
    get_keys(m, n, n);
    report("get", elapsed_s(), n);
    start();
    ranges(m, 10000, n, false);
    report("range of 1000 keys", elapsed_s(), 10000);
    start();
    ranges(m, 100000, n, true);
    report("count of 1000 keys", elapsed_s(), 100000);
    m = reload(m);
    printf("%-44s %8.1f MiB, %.0f B a key\n", "memory after loading", rss_mib() - base,
        (rss_mib() - base) * (1 << 20) / (double)n);
    watchers(m, n);
    mvcc_free(m);
    malloc_trim(0);

    m = mvcc_new();
    put_keys(m, 0, n / 10, n / 10);
    printf("%-44s %8.1f MiB\n", "memory, a tenth of the keys", rss_mib() - base);
    start();
    put_keys(m, n / 10, n, n / 10);
    report("put, overwriting each of them 9 times", elapsed_s(), n - n / 10);
    printf("%-44s %8.1f MiB\n", "memory before compaction", rss_mib() - base);
    compact(m);
    printf("%-44s %8.1f MiB\n", "memory after compaction and trim", rss_mib() - base);
    mvcc_free(m);
    return 0;
}
