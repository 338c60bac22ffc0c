/* Requests at random. They go where something is: around the revisions that can be read, in a small
 * set of keys, leases and values. */
#include "mvcc_driver.h"

enum { OPS_MAX = 5, DEPTH_MAX = 3 };

uint32_t driver_pick(struct driver *d, uint32_t n)
{
    struct model_source *s = d->src;
    uint32_t r = 0;

    if (s->p < s->end) {
        r = *s->p++;
        if (n > 256 && s->p < s->end) {
            r |= (uint32_t)*s->p++ << 8;
        }
    } else if (s->rng != 0) {
        s->rng ^= s->rng << 13;
        s->rng ^= s->rng >> 7;
        s->rng ^= s->rng << 17;
        r = (uint32_t)(s->rng >> 32);
    }
    return r % n;
}

bool driver_chance(struct driver *d, uint32_t one_in)
{
    return driver_pick(d, one_in) == 1 % one_in;
}

struct bytes driver_any_key(struct driver *d)
{
    return model_key((int)driver_pick(d, MODEL_KEYS));
}

struct bytes driver_any_end(struct driver *d)
{
    switch (driver_pick(d, 4)) {
    case 0:
        return driver_any_key(d);
    case 1:
        return BYTES_LITERAL("\0");
    default:
        return (struct bytes){0};
    }
}

int64_t driver_any_revision(struct driver *d)
{
    const struct model *m = &d->model;
    int64_t span = m->revision - m->compacted + 3;

    return driver_chance(d, 2)
        ? m->compacted - 1 + (int64_t)driver_pick(d, (uint32_t)MIN(span, 60000))
        : 0;
}

static int64_t any_lease(struct driver *d)
{
    return driver_chance(d, 3) ? (int64_t)driver_pick(d, MODEL_LEASES + 1) : 0;
}

struct range_request driver_any_range(struct driver *d)
{
    struct range_request r = {.key = driver_any_key(d), .range_end = driver_any_end(d)};

    r.revision = driver_any_revision(d);
    r.limit = driver_chance(d, 2) ? driver_pick(d, 10) : 0;
    r.sort_order = (enum sort_order)driver_pick(d, SORT_ORDER_END);
    r.sort_target =
        driver_chance(d, 2) ? (enum sort_target)driver_pick(d, SORT_TARGET_END) : SORT_KEY;
    r.keys_only = driver_chance(d, 4);
    r.count_only = driver_chance(d, 6);
    r.min_mod_revision = driver_chance(d, 8) ? driver_any_revision(d) : 0;
    r.max_mod_revision = driver_chance(d, 8) ? driver_any_revision(d) : 0;
    r.min_create_revision = driver_chance(d, 8) ? driver_any_revision(d) : 0;
    r.max_create_revision = driver_chance(d, 8) ? driver_any_revision(d) : 0;
    return r;
}

struct put_request driver_any_put(struct driver *d)
{
    struct put_request r = {.key = driver_any_key(d), .prev_kv = driver_chance(d, 3)};

    r.ignore_value = driver_chance(d, 8);
    r.ignore_lease = driver_chance(d, 8);
    r.value = r.ignore_value ? (struct bytes){0} : model_value((int)driver_pick(d, MODEL_VALUES));
    r.lease = r.ignore_lease ? 0 : any_lease(d);
    return r;
}

struct delete_request driver_any_delete(struct driver *d)
{
    struct delete_request r = {.key = driver_any_key(d), .prev_kv = driver_chance(d, 3)};
    uint32_t how = driver_pick(d, 8);

    if (how < 4) {
        int i = (int)driver_pick(d, MODEL_KEYS);

        r.key = model_key(i);
        int end = i + (int)driver_pick(d, 8);

        r.range_end = model_key(MIN(end, MODEL_KEYS - 1));
    } else if (how == 4) {
        r.range_end = driver_any_end(d);
    }
    return r;
}

static struct txn_op *any_ops(struct driver *d, size_t n, int depth)
{
    struct txn_op *ops = arena_calloc(&d->arena, n, sizeof(*ops));

    for (size_t i = 0; i < n; i++) {
        uint32_t kind = driver_pick(d, depth < DEPTH_MAX ? 7 : 6);

        if (kind < 3) {
            ops[i].kind = OP_PUT;
            ops[i].put = driver_any_put(d);
        } else if (kind == 3) {
            ops[i].kind = OP_DELETE;
            ops[i].del = driver_any_delete(d);
        } else if (kind < 6) {
            ops[i].kind = OP_RANGE;
            ops[i].range = driver_any_range(d);
            ops[i].range.revision = driver_chance(d, 4) ? ops[i].range.revision : 0;
        } else {
            ops[i].kind = OP_TXN;
            ops[i].txn = driver_any_txn(d, depth + 1);
        }
    }
    return ops;
}

struct txn_request *driver_any_txn(struct driver *d, int depth)
{
    struct txn_request *t = arena_calloc(&d->arena, 1, sizeof(*t));

    t->n_compares = driver_pick(d, 3);
    t->compares = arena_calloc(&d->arena, t->n_compares, sizeof(*t->compares));
    for (size_t i = 0; i < t->n_compares; i++) {
        struct compare *c = &t->compares[i];

        c->key = driver_any_key(d);
        c->range_end = driver_chance(d, 3) ? driver_any_end(d) : (struct bytes){0};
        c->target = (enum compare_target)driver_pick(d, 5);
        c->result = (enum compare_result)driver_pick(d, 4);
        c->number = driver_chance(d, 2) ? (int64_t)driver_pick(d, 3) : driver_any_revision(d);
        c->value = model_value((int)driver_pick(d, MODEL_VALUES));
    }
    t->n_success = driver_pick(d, OPS_MAX);
    t->success = any_ops(d, t->n_success, depth);
    t->n_failure = driver_pick(d, OPS_MAX);
    t->failure = any_ops(d, t->n_failure, depth);
    return t;
}
