/* Snapshots and hashes, taken in pieces while other steps go on. */
#include "mvcc_driver.h"

/* ---- snapshots ---- */

void driver_close_snapshot(struct driver *d)
{
    d->snapshot = mvcc_snapshot_close(d->snapshot);
    strbuf_clear(&d->piece_log);
}

/* In pieces of any size, which need not be those of the reader. */
static struct mvcc *load(struct driver *d)
{
    struct mvcc_loader *l = mvcc_loader_new();
    struct mvcc *loaded = NULL;
    size_t at = 0;

    while (at < d->piece_log.len) {
        size_t n = 1u + driver_pick(d, 40000);

        n = MIN(n, d->piece_log.len - at);
        decree_assert(mvcc_loader_feed(l, bytes_make(d->piece_log.data + at, n), NULL) == 0);
        at += n;
    }
    decree_assert(mvcc_loader_finish(l, &loaded, NULL) == 0);
    mvcc_loader_free(l);
    return loaded;
}

/* The loaded keyspace takes the place of the old one, if that is where the model is. */
static void finish_snapshot(struct driver *d)
{
    struct mvcc *loaded = load(d);
    bool current = mvcc_revision(loaded) == d->model.revision && !d->compacted_since;

    decree_assert(mvcc_hash(loaded) == d->snapshot_hash);
    driver_close_snapshot(d);
    if (current && mvcc_hash(d->m) == mvcc_hash(loaded)) {
        decree_assert(mvcc_live_bytes(loaded) == mvcc_live_bytes(d->m));
        driver_end_readings(d);
        driver_close_hasher(d);
        mvcc_watch_move(d->m, loaded);
        mvcc_free(d->m);
        d->m = TAKE_PTR(loaded);
        mvcc_lease_promote(d->m, d->now_ms, 1000);
    }
    mvcc_free(loaded);
}

void driver_snapshot(struct driver *d)
{
    if (d->snapshot == NULL) {
        d->snapshot = mvcc_snapshot_open(d->m);
        d->snapshot_hash = mvcc_hash(d->m);
        d->compacted_since = false;
        decree_assert(mvcc_snapshot_revision(d->snapshot) == d->model.revision);
    } else if (driver_chance(d, 20)) {
        driver_close_snapshot(d);
    } else if (!mvcc_snapshot_next(d->snapshot, 1 + driver_pick(d, 5000), &d->piece_log)) {
        finish_snapshot(d);
    }
}

/* ---- hashes ---- */

void driver_close_hasher(struct driver *d)
{
    d->hasher = mvcc_hasher_close(d->hasher);
}

static uint64_t hash_at_once(struct mvcc *m, int64_t revision)
{
    struct mvcc_hasher *h;
    uint64_t value;
    int err = mvcc_hasher_open(m, MVCC_HASH_KEYS, revision, &h);

    decree_assert(err == 0);
    while (mvcc_hasher_step(h, SIZE_MAX)) {}
    value = mvcc_hasher_value(h);
    mvcc_hasher_close(h);
    return value;
}

/* The same revision and compaction have the same hash, whatever was written, freed, saved and
 * loaded since. */
static void remember_hash(struct driver *d, struct known_hash now)
{
    struct known_hash *known = &d->hashes[(uint64_t)now.revision % KNOWN_HASHES];

    if (known->revision == now.revision && known->compacted == now.compacted) {
        decree_assert(known->value == now.value);
    }
    *known = now;
}

void driver_hash(struct driver *d)
{
    int64_t oldest = MAX(d->model.compacted, (int64_t)1);
    int64_t back = driver_pick(d, 5);
    int64_t revision = MAX(oldest, d->model.revision - back);

    if (d->hasher == NULL) {
        int err = mvcc_hasher_open(d->m, MVCC_HASH_KEYS, revision, &d->hasher);

        decree_assert(err == 0);
        d->expected =
            (struct known_hash){revision, d->model.compacted, hash_at_once(d->m, revision)};
        remember_hash(d, d->expected);
        decree_assert(mvcc_hasher_open(d->m, MVCC_HASH_KEYS, d->model.revision + 1, NULL) ==
            DECREE_EFUTURE_REV);
    } else if (!mvcc_hasher_step(d->hasher, 1 + driver_pick(d, 3000))) {
        decree_assert(mvcc_hasher_value(d->hasher) == d->expected.value);
        decree_assert(mvcc_hasher_revision(d->hasher) == d->expected.revision);
        driver_close_hasher(d);
    }
}
