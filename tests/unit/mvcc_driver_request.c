/* Requests and leases, done to both. */
#include "err.h"
#include "mvcc_driver.h"
#include "mvcc_steps.h"

/* ---- ranges read in slices ---- */

static void end_reading(struct reading *x)
{
    x->reader = mvcc_reader_close(x->reader);
    arena_deinit(&x->arena);
    x->n = 0;
}

void driver_end_readings(struct driver *d)
{
    for (size_t i = 0; i < READINGS; i++) {
        end_reading(&d->readings[i]);
    }
}

static void begin_reading(struct driver *d, struct reading *x)
{
    int err;

    x->r = driver_any_range(d);
    err = mvcc_reader_open(d->m, &x->r, &x->reader);
    if (err < 0) {
        struct range_reply none = {0};

        model_check_range(&d->model, &x->r, err, &none);
        x->reader = NULL;
        return;
    }
    x->r.revision = x->r.revision > 0 ? x->r.revision : d->model.revision;
}

void driver_slice(struct driver *d)
{
    struct reading *x = &d->readings[driver_pick(d, READINGS)];
    struct kv kvs[MODEL_KEYS];
    struct range_reply reply;
    bool more;

    if (x->reader == NULL) {
        begin_reading(d, x);
        return;
    }
    if (driver_chance(d, 40)) {
        end_reading(x);
        return;
    }
    more = mvcc_reader_next(x->reader, 1 + driver_pick(d, driver_chance(d, 3) ? MODEL_KEYS : 10),
        1 + driver_pick(d, 2000), kvs, &reply);
    for (size_t i = 0; i < reply.n_kvs; i++) {
        decree_assert(x->n < MODEL_KEYS);
        x->kvs[x->n] = kvs[i];
        x->kvs[x->n].key = arena_copy(&x->arena, kvs[i].key);
        x->kvs[x->n++].value = arena_copy(&x->arena, kvs[i].value);
    }
    if (!more) {
        reply.kvs = x->kvs;
        reply.n_kvs = x->n;
        model_check_slices(&d->model, &x->r, &reply);
        end_reading(x);
    }
}

/* ---- requests ---- */

/* ---- steps ---- */

static uint32_t pick_for(void *data, uint32_t n)
{
    return driver_pick(data, n);
}

/* Of what may go on while the keyspace stands between two states. */
static void on_between(void *data)
{
    struct driver *d = data;
    int64_t left;

    if (d->snapshot != NULL && driver_chance(d, 3)) {
        (void)mvcc_snapshot_next(d->snapshot, 1 + driver_pick(d, 500), &d->piece_log);
    }
    if (driver_chance(d, 5)) {
        (void)mvcc_lease_renew(d->m, 1 + (int64_t)driver_pick(d, MODEL_LEASES), d->now_ms, &left);
    }
    decree_assert(mvcc_revision(d->m) == d->model.revision);
}

static struct steps steps_of(struct driver *d)
{
    return (struct steps){.pick = pick_for, .between = on_between, .data = d};
}

void driver_range(struct driver *d)
{
    struct range_request r = driver_any_range(d);
    struct range_reply reply;
    int err = mvcc_range(d->m, &r, &d->arena, &reply);

    model_check_range(&d->model, &r, err, &reply);
}

void driver_put(struct driver *d)
{
    struct put_request r = driver_any_put(d);
    struct put_reply reply;
    int err = mvcc_put(d->m, &r, &d->arena, &reply);

    model_check_put(&d->model, &r, err, &reply);
}

void driver_delete(struct driver *d)
{
    struct delete_request r = driver_any_delete(d);
    struct steps steps = steps_of(d);
    struct delete_reply reply;

    decree_assert(steps_delete(&steps, d->m, &r, &d->arena, &reply) == 0);
    model_check_delete(&d->model, &r, &reply);
}

void driver_txn(struct driver *d)
{
    struct txn_request *t = driver_any_txn(d, 1);
    struct txn_reply reply;
    bool readonly = txn_request_is_readonly(t);
    int64_t before = d->model.revision;

    if (txn_request_check(t) == 0) {
        struct steps steps = steps_of(d);
        int err = steps_txn(&steps, d->m, t, &d->arena, &reply);

        model_check_txn(&d->model, t, err, &reply);
        decree_assert(!readonly || d->model.revision == before);
    }
}

void driver_compact(struct driver *d)
{
    struct model *m = &d->model;
    int64_t revision =
        m->compacted + (int64_t)driver_pick(d, (uint32_t)(m->revision - m->compacted) + 2);
    int err = mvcc_compact(d->m, revision);
    int want = revision <= m->compacted ? DECREE_ECOMPACTED
        : revision > m->revision        ? DECREE_EFUTURE_REV
                                        : 0;

    decree_assert(err == want);
    if (err == 0) {
        m->compacted = revision;
        d->compacted_since = true;
    }
}

/* ---- leases ---- */

void driver_check_lease(struct driver *d, int64_t id)
{
    struct lease_reply reply;
    size_t n = 0;
    int err = mvcc_lease_info(d->m, id, d->now_ms, true, &d->arena, &reply);

    decree_assert(err == (d->model.leases[id - 1] != 0 ? 0 : DECREE_ELEASE_NOT_FOUND));
    if (err < 0) {
        return;
    }
    decree_assert(reply.granted == d->model.leases[id - 1]);
    for (int i = 0; i < MODEL_KEYS; i++) {
        const struct model_change *c = model_at(&d->model, i, 0);

        if (c != NULL && c->lease == id) {
            decree_assert(n < reply.n_keys && bytes_eq(reply.keys[n], model_key(i)));
            n++;
        }
    }
    decree_assert(reply.n_keys == n);
}

void driver_lease(struct driver *d)
{
    int64_t id = 1 + (int64_t)driver_pick(d, MODEL_LEASES);
    struct steps steps = steps_of(d);
    int64_t *ttl = &d->model.leases[id - 1];
    int64_t left;

    switch (driver_pick(d, 6)) {
    case 0:
        decree_assert(
            steps_revoke(&steps, d->m, id, false) == (*ttl != 0 ? 0 : DECREE_ELEASE_NOT_FOUND));
        if (*ttl != 0) {
            model_revoke(&d->model, id, false);
        }
        break;
    case 1:
        (void)mvcc_lease_renew(d->m, id, d->now_ms, &left);
        break;
    case 2:
        driver_check_lease(d, id);
        break;
    default:
        decree_assert(mvcc_lease_grant(d->m, id, 5 + id, d->now_ms) ==
            (*ttl != 0 ? DECREE_ELEASE_EXISTS : 0));
        *ttl = 5 + id;
        break;
    }
}

void driver_expire(struct driver *d)
{
    int64_t ids[4];
    size_t n;

    d->now_ms += driver_pick(d, 3000);
    n = mvcc_lease_expired(d->m, d->now_ms, 100, ids, ARRAY_SIZE(ids));
    for (size_t i = 0; i < n; i++) {
        decree_assert(mvcc_lease_revoke(d->m, ids[i], true) == 0);
        model_revoke(&d->model, ids[i], true);
    }
}
