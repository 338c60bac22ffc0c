/* Random requests, watchers, snapshots and compactions, done to the keyspace and to the model. */
#include "mvcc_driver.h"
#include "err.h"

static void check_all(struct driver *d)
{
    uint64_t live = 0;

    decree_assert(mvcc_revision(d->m) == d->model.revision);
    decree_assert(mvcc_compacted(d->m) == d->model.compacted);
    for (int i = 0; i < MODEL_KEYS; i++) {
        live += model_at(&d->model, i, 0) != NULL;
    }
    decree_assert(mvcc_keys(d->m) == live);
    for (int64_t id = 1; id <= MODEL_LEASES; id++) {
        driver_check_lease(d, id);
    }
}

static void step(struct driver *d)
{
    uint32_t what = driver_pick(d, 72);

    arena_reset(&d->arena);
    if (what < 16) {
        driver_put(d);
    } else if (what < 20) {
        driver_delete(d);
    } else if (what < 26) {
        driver_txn(d);
    } else if (what < 38) {
        driver_range(d);
    } else if (what < 41) {
        driver_lease(d);
    } else if (what < 42) {
        driver_expire(d);
    } else if (what < 43) {
        driver_compact(d);
    } else if (what < 47) {
        (void)mvcc_compact_step(d->m, driver_pick(d, 30));
    } else if (what < 51) {
        driver_watch(d);
    } else if (what < 57) {
        driver_deliver(d);
    } else if (what < 60) {
        driver_hash(d);
    } else if (what < 64) {
        driver_snapshot(d);
    } else {
        driver_slice(d);
    }
}

/* Everything is compacted away: what is left is what is alive. */
static void check_end(struct driver *d)
{
    uint64_t hash;

    check_all(d);
    driver_close_snapshot(d);
    driver_end_readings(d);
    driver_close_hasher(d);
    while (mvcc_watch_deliver(d->m, 1000)) {}
    if (d->model.compacted < d->model.revision) {
        decree_assert(mvcc_compact(d->m, d->model.revision) == 0);
        d->model.compacted = d->model.revision;
    }
    hash = mvcc_hash(d->m);
    while (mvcc_compact_step(d->m, 7)) {}
    decree_assert(mvcc_compact_done(d->m) == d->model.compacted);
    decree_assert(mvcc_hash(d->m) == hash);
    check_all(d);
    for (size_t i = 0; i < WATCHERS; i++) {
        if (d->probes[i].active) {
            driver_remove_probe(d, &d->probes[i]);
        }
    }
    decree_assert(mvcc_watch_count(d->m) == 0);
}

void model_drive(struct model_source *src, size_t steps)
{
    struct driver d = {.src = src, .m = mvcc_new(), .now_ms = 1000};

    model_init(&d.model);
    mvcc_lease_promote(d.m, d.now_ms, 0);
    for (size_t i = 0; i < steps && (src->p < src->end || src->rng != 0); i++) {
        step(&d);
        if (i % 64 == 0) {
            check_all(&d);
        }
    }
    check_end(&d);
    mvcc_free(d.m);
    model_deinit(&d.model);
    strbuf_deinit(&d.piece_log);
    arena_deinit(&d.arena);
}
