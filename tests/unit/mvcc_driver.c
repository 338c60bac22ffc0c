/* Random requests, watchers, snapshots and compactions, done to the keyspace and to the model. */
#include <stdio.h>

#include "alloc.h"
#include "err.h"
#include "mvcc_model.h"
#include "mvcc_steps.h"

enum { WATCHERS = 12, OPS_MAX = 5, DEPTH_MAX = 3, KNOWN_HASHES = 64 };

/* What the keys hashed to at a revision, compacted at another. */
struct known_hash {
    int64_t revision, compacted;
    uint64_t value;
};

/* A watcher and what it must be told next. Its owner frees it when it ends. */
struct probe {
    struct watcher w;
    struct driver *d;
    size_t next;   /* change: everything before has been told or was not wanted */
    int64_t start; /* it wants nothing older */
    bool active, full;
};

/* A range that is read in slices while other steps go on. */
struct reading {
    struct mvcc_reader *reader; /* NULL: none */
    struct range_request r;     /* its revision is the one that is read */
    struct arena arena;         /* of what has been read */
    struct kv kvs[MODEL_KEYS];
    size_t n;
};

enum { READINGS = 3 };

struct driver {
    struct model_source *src;
    struct model model;
    struct mvcc *m;
    struct arena arena;
    struct probe probes[WATCHERS];
    struct reading readings[READINGS];
    struct mvcc_snapshot *snapshot;
    struct strbuf piece_log; /* all pieces of the open snapshot */
    uint64_t snapshot_hash;
    bool compacted_since; /* so that the hash of the opening cannot be asked for any more */
    struct mvcc_hasher *hasher;
    struct known_hash expected; /* of the open hasher */
    struct known_hash hashes[KNOWN_HASHES];
    uint64_t now_ms;
};

/* ---- choices ---- */

static uint32_t pick(struct driver *d, uint32_t n)
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

static bool chance(struct driver *d, uint32_t one_in)
{
    return pick(d, one_in) == 1 % one_in;
}

static struct bytes any_key(struct driver *d)
{
    return model_key((int)pick(d, MODEL_KEYS));
}

static struct bytes any_end(struct driver *d)
{
    switch (pick(d, 4)) {
    case 0:
        return any_key(d);
    case 1:
        return BYTES_LITERAL("\0");
    default:
        return (struct bytes){0};
    }
}

/* Around what may be read: 0, from one below the compacted one to one beyond now. */
static int64_t any_revision(struct driver *d)
{
    const struct model *m = &d->model;
    int64_t span = m->revision - m->compacted + 3;

    return chance(d, 2) ? m->compacted - 1 + (int64_t)pick(d, (uint32_t)MIN(span, 60000)) : 0;
}

static int64_t any_lease(struct driver *d)
{
    return chance(d, 3) ? (int64_t)pick(d, MODEL_LEASES + 1) : 0;
}

static struct range_request any_range(struct driver *d)
{
    struct range_request r = {.key = any_key(d), .range_end = any_end(d)};

    r.revision = any_revision(d);
    r.limit = chance(d, 2) ? pick(d, 10) : 0;
    r.sort_order = (enum sort_order)pick(d, SORT_ORDER_END);
    r.sort_target = chance(d, 2) ? (enum sort_target)pick(d, SORT_TARGET_END) : SORT_KEY;
    r.keys_only = chance(d, 4);
    r.count_only = chance(d, 6);
    r.min_mod_revision = chance(d, 8) ? any_revision(d) : 0;
    r.max_mod_revision = chance(d, 8) ? any_revision(d) : 0;
    r.min_create_revision = chance(d, 8) ? any_revision(d) : 0;
    r.max_create_revision = chance(d, 8) ? any_revision(d) : 0;
    return r;
}

static struct put_request any_put(struct driver *d)
{
    struct put_request r = {.key = any_key(d), .prev_kv = chance(d, 3)};

    r.ignore_value = chance(d, 8);
    r.ignore_lease = chance(d, 8);
    r.value = r.ignore_value ? (struct bytes){0} : model_value((int)pick(d, MODEL_VALUES));
    r.lease = r.ignore_lease ? 0 : any_lease(d);
    return r;
}

static struct delete_request any_delete(struct driver *d)
{
    struct delete_request r = {.key = any_key(d), .prev_kv = chance(d, 3)};
    uint32_t how = pick(d, 8);

    if (how < 4) {
        int i = (int)pick(d, MODEL_KEYS);

        r.key = model_key(i);
        int end = i + (int)pick(d, 8);

        r.range_end = model_key(MIN(end, MODEL_KEYS - 1));
    } else if (how == 4) {
        r.range_end = any_end(d);
    }
    return r;
}

static struct txn_request *any_txn(struct driver *d, int depth);

static struct txn_op *any_ops(struct driver *d, size_t n, int depth)
{
    struct txn_op *ops = arena_calloc(&d->arena, n, sizeof(*ops));

    for (size_t i = 0; i < n; i++) {
        uint32_t kind = pick(d, depth < DEPTH_MAX ? 7 : 6);

        if (kind < 3) {
            ops[i].kind = OP_PUT;
            ops[i].put = any_put(d);
        } else if (kind == 3) {
            ops[i].kind = OP_DELETE;
            ops[i].del = any_delete(d);
        } else if (kind < 6) {
            ops[i].kind = OP_RANGE;
            ops[i].range = any_range(d);
            ops[i].range.revision = chance(d, 4) ? ops[i].range.revision : 0;
        } else {
            ops[i].kind = OP_TXN;
            ops[i].txn = any_txn(d, depth + 1);
        }
    }
    return ops;
}

static struct txn_request *any_txn(struct driver *d, int depth)
{
    struct txn_request *t = arena_calloc(&d->arena, 1, sizeof(*t));

    t->n_compares = pick(d, 3);
    t->compares = arena_calloc(&d->arena, t->n_compares, sizeof(*t->compares));
    for (size_t i = 0; i < t->n_compares; i++) {
        struct compare *c = &t->compares[i];

        c->key = any_key(d);
        c->range_end = chance(d, 3) ? any_end(d) : (struct bytes){0};
        c->target = (enum compare_target)pick(d, 5);
        c->result = (enum compare_result)pick(d, 4);
        c->number = chance(d, 2) ? (int64_t)pick(d, 3) : any_revision(d);
        c->value = model_value((int)pick(d, MODEL_VALUES));
    }
    t->n_success = pick(d, OPS_MAX);
    t->success = any_ops(d, t->n_success, depth);
    t->n_failure = pick(d, OPS_MAX);
    t->failure = any_ops(d, t->n_failure, depth);
    return t;
}

/* ---- steps ---- */

static uint32_t pick_for(void *data, uint32_t n)
{
    return pick(data, n);
}

/* Of what may go on while the keyspace stands between two states. */
static void on_between(void *data)
{
    struct driver *d = data;
    int64_t left;

    if (d->snapshot != NULL && chance(d, 3)) {
        (void)mvcc_snapshot_next(d->snapshot, 1 + pick(d, 500), &d->piece_log);
    }
    if (chance(d, 5)) {
        (void)mvcc_lease_renew(d->m, 1 + (int64_t)pick(d, MODEL_LEASES), d->now_ms, &left);
    }
    decree_assert(mvcc_revision(d->m) == d->model.revision);
}

static struct steps steps_of(struct driver *d)
{
    return (struct steps){.pick = pick_for, .between = on_between, .data = d};
}

/* ---- requests ---- */

static void do_range(struct driver *d)
{
    struct range_request r = any_range(d);
    struct range_reply reply;
    int err = mvcc_range(d->m, &r, &d->arena, &reply);

    model_check_range(&d->model, &r, err, &reply);
}

static void end_reading(struct reading *x)
{
    x->reader = mvcc_reader_close(x->reader);
    arena_deinit(&x->arena);
    x->n = 0;
}

/* Their keyspace goes away. */
static void end_readings(struct driver *d)
{
    for (size_t i = 0; i < READINGS; i++) {
        end_reading(&d->readings[i]);
    }
}

static void begin_reading(struct driver *d, struct reading *x)
{
    int err;

    x->r = any_range(d);
    err = mvcc_reader_open(d->m, &x->r, &x->reader);
    if (err < 0) {
        struct range_reply none = {0};

        model_check_range(&d->model, &x->r, err, &none);
        x->reader = NULL;
        return;
    }
    x->r.revision = x->r.revision > 0 ? x->r.revision : d->model.revision;
}

static void do_slice(struct driver *d)
{
    struct reading *x = &d->readings[pick(d, READINGS)];
    struct kv kvs[MODEL_KEYS];
    struct range_reply reply;
    bool more;

    if (x->reader == NULL) {
        begin_reading(d, x);
        return;
    }
    if (chance(d, 40)) {
        end_reading(x);
        return;
    }
    more = mvcc_reader_next(
        x->reader, 1 + pick(d, chance(d, 3) ? MODEL_KEYS : 10), 1 + pick(d, 2000), kvs, &reply);
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

static void do_put(struct driver *d)
{
    struct put_request r = any_put(d);
    struct put_reply reply;
    int err = mvcc_put(d->m, &r, &d->arena, &reply);

    model_check_put(&d->model, &r, err, &reply);
}

static void do_delete(struct driver *d)
{
    struct delete_request r = any_delete(d);
    struct steps steps = steps_of(d);
    struct delete_reply reply;

    decree_assert(steps_delete(&steps, d->m, &r, &d->arena, &reply) == 0);
    model_check_delete(&d->model, &r, &reply);
}

static void do_txn(struct driver *d)
{
    struct txn_request *t = any_txn(d, 1);
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

static void do_compact(struct driver *d)
{
    struct model *m = &d->model;
    int64_t revision = m->compacted + (int64_t)pick(d, (uint32_t)(m->revision - m->compacted) + 2);
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

static void check_lease(struct driver *d, int64_t id)
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

static void do_lease(struct driver *d)
{
    int64_t id = 1 + (int64_t)pick(d, MODEL_LEASES);
    struct steps steps = steps_of(d);
    int64_t *ttl = &d->model.leases[id - 1];
    int64_t left;

    switch (pick(d, 6)) {
    case 0:
        decree_assert(steps_revoke(&steps, d->m, id, false) ==
            (*ttl != 0 ? 0 : DECREE_ELEASE_NOT_FOUND));
        if (*ttl != 0) {
            model_revoke(&d->model, id, false);
        }
        break;
    case 1:
        (void)mvcc_lease_renew(d->m, id, d->now_ms, &left);
        break;
    case 2:
        check_lease(d, id);
        break;
    default:
        decree_assert(mvcc_lease_grant(d->m, id, 5 + id, d->now_ms) ==
            (*ttl != 0 ? DECREE_ELEASE_EXISTS : 0));
        *ttl = 5 + id;
        break;
    }
}

static void do_expire(struct driver *d)
{
    int64_t ids[4];
    size_t n;

    d->now_ms += pick(d, 3000);
    n = mvcc_lease_expired(d->m, d->now_ms, 100, ids, ARRAY_SIZE(ids));
    for (size_t i = 0; i < n; i++) {
        decree_assert(mvcc_lease_revoke(d->m, ids[i], true) == 0);
        model_revoke(&d->model, ids[i], true);
    }
}

/* ---- watchers ---- */

static bool probe_wants(const struct probe *p, const struct model_change *c)
{
    return c->revision >= p->start && key_range_contains(&p->w.range, model_key(c->key)) &&
        !(c->is_delete ? p->w.no_delete : p->w.no_put);
}

/* Moves on to the next change that p must be told of; false when there is none. */
static bool probe_seek(struct probe *p)
{
    const struct model *m = &p->d->model;

    while (p->next < m->n && !probe_wants(p, &m->changes[p->next])) {
        p->next++;
    }
    return p->next < m->n;
}

static void check_event(struct probe *p, struct watch_event *e)
{
    const struct model *m = &p->d->model;
    const struct model_change *c = &m->changes[p->next];
    const struct model_change *prev =
        c->revision > m->compacted ? model_at(m, c->key, c->revision - 1) : NULL;

    decree_assert(e->is_delete == c->is_delete && e->action == c->action);
    if (c->is_delete) {
        decree_assert(bytes_eq(e->kv.key, model_key(c->key)));
        decree_assert(e->kv.mod_revision == c->revision);
        decree_assert(e->kv.value.len == 0 && e->kv.version == 0 && e->kv.create_revision == 0);
    } else {
        model_check_kv(c, &e->kv, false);
    }
    decree_assert(e->has_prev == (prev != NULL));
    if (prev != NULL) {
        model_check_kv(prev, &e->prev, false);
    }
    if (e->encoded[0] == NULL) {
        e->encoded[0] = buf_copy(e->kv.key);
    }
    decree_assert(bytes_eq(buf_bytes(e->encoded[0]), e->kv.key));
}

static void remove_probe(struct driver *d, struct probe *p)
{
    mvcc_watch_remove(d->m, &p->w);
    mvcc_watch_remove(d->m, &p->w);
    /* Whoever still looks at it is found out. */
    memset(p, 0xa5, sizeof(*p));
    p->active = false;
}

static void add_probe(struct driver *d, struct probe *p);

static bool on_events(
    struct watcher *w, struct watch_event *const *events, size_t n, int64_t revision)
{
    struct probe *p = container_of(w, struct probe, w);
    struct driver *d = p->d;
    struct probe *other = &d->probes[pick(d, WATCHERS)];

    decree_assert(p->active && !p->full && n > 0);
    for (size_t i = 0; i < n; i++) {
        decree_assert(probe_seek(p));
        check_event(p, events[i]);
        p->next++;
    }
    decree_assert(d->model.changes[p->next - 1].revision <= revision);
    if (probe_seek(p)) { /* whole revisions, and all of them up to this one */
        decree_assert(d->model.changes[p->next].revision > revision);
    }
    if (chance(d, 10) && other->active) {
        remove_probe(d, other);
        if (other == p) {
            return chance(d, 2);
        }
    } else if (chance(d, 10) && !other->active) {
        add_probe(d, other);
    }
    p->full = chance(d, 5);
    return !p->full;
}

static void on_end(struct watcher *w, enum watch_end why)
{
    struct probe *p = container_of(w, struct probe, w);
    int64_t compacted = p->d->model.compacted;

    decree_assert(why == WATCH_COMPACTED && w->state == WATCHER_IDLE);
    /* Only who wanted a revision that is gone. */
    decree_assert(w->next_revision < compacted);
    memset(p, 0xa5, sizeof(*p));
    p->active = false;
}

static bool on_ready(struct watcher *w)
{
    struct probe *p = container_of(w, struct probe, w);

    decree_assert(p->active && !p->full);
    p->full = chance(p->d, 10);
    return !p->full;
}

static const struct watch_ops probe_ops = {.events = on_events, .end = on_end, .ready = on_ready};

static void add_probe(struct driver *d, struct probe *p)
{
    int64_t start = chance(d, 2) ? any_revision(d) + (int64_t)pick(d, 3) : 0;

    *p = (struct probe){.d = d, .active = true, .next = 1};
    p->w.key = any_key(d);
    p->w.range_end = any_end(d);
    p->w.start_revision = start;
    p->w.no_put = chance(d, 8);
    p->w.no_delete = chance(d, 8);
    p->w.ops = &probe_ops;
    p->start = start != 0 ? start : d->model.revision + 1;
    mvcc_watch_add(d->m, &p->w);
}

static void do_watch(struct driver *d)
{
    struct probe *p = &d->probes[pick(d, WATCHERS)];

    if (!p->active) {
        add_probe(d, p);
    } else if (p->full && chance(d, 2)) {
        p->full = false;
        mvcc_watch_resume(d->m, &p->w);
    } else if (chance(d, 4)) {
        remove_probe(d, p);
    }
}

static void check_probes(struct driver *d)
{
    uint64_t n = 0, slow = 0;

    for (size_t i = 0; i < WATCHERS; i++) {
        struct probe *p = &d->probes[i];

        if (p->active) {
            bool synced = mvcc_watch_is_synced(d->m, &p->w);

            n++;
            slow += p->w.state == WATCHER_FULL || p->w.state == WATCHER_CATCHING_UP;
            decree_assert((p->w.state == WATCHER_FULL) == p->full);
            decree_assert(!synced || !probe_seek(p));
            decree_assert(!synced || p->start <= d->model.revision + 1);
        }
    }
    decree_assert(mvcc_watch_count(d->m) == n && mvcc_watch_slow_count(d->m) == slow);
}

static void do_deliver(struct driver *d)
{
    bool behind = mvcc_watch_deliver(d->m, 1 + pick(d, 50));

    for (size_t i = 0; i < WATCHERS && !behind; i++) {
        struct probe *p = &d->probes[i];

        if (p->active && !p->full) {
            decree_assert(!probe_seek(p));
        }
    }
    check_probes(d);
}

/* ---- snapshots ---- */

static void close_hasher(struct driver *d)
{
    d->hasher = mvcc_hasher_close(d->hasher);
}

static void close_snapshot(struct driver *d)
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
        size_t n = 1u + pick(d, 40000);

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
    close_snapshot(d);
    if (current && mvcc_hash(d->m) == mvcc_hash(loaded)) {
        decree_assert(mvcc_live_bytes(loaded) == mvcc_live_bytes(d->m));
        end_readings(d);
        close_hasher(d);
        mvcc_watch_move(d->m, loaded);
        mvcc_free(d->m);
        d->m = TAKE_PTR(loaded);
        mvcc_lease_promote(d->m, d->now_ms, 1000);
    }
    mvcc_free(loaded);
}

static void do_snapshot(struct driver *d)
{
    if (d->snapshot == NULL) {
        d->snapshot = mvcc_snapshot_open(d->m);
        d->snapshot_hash = mvcc_hash(d->m);
        d->compacted_since = false;
        decree_assert(mvcc_snapshot_revision(d->snapshot) == d->model.revision);
    } else if (chance(d, 20)) {
        close_snapshot(d);
    } else if (!mvcc_snapshot_next(d->snapshot, 1 + pick(d, 5000), &d->piece_log)) {
        finish_snapshot(d);
    }
}

/* ---- hashes ---- */

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

static void do_hash(struct driver *d)
{
    int64_t oldest = MAX(d->model.compacted, (int64_t)1);
    int64_t back = pick(d, 5);
    int64_t revision = MAX(oldest, d->model.revision - back);

    if (d->hasher == NULL) {
        int err = mvcc_hasher_open(d->m, MVCC_HASH_KEYS, revision, &d->hasher);

        decree_assert(err == 0);
        d->expected =
            (struct known_hash){revision, d->model.compacted, hash_at_once(d->m, revision)};
        remember_hash(d, d->expected);
        decree_assert(mvcc_hasher_open(d->m, MVCC_HASH_KEYS, d->model.revision + 1, NULL) ==
            DECREE_EFUTURE_REV);
    } else if (!mvcc_hasher_step(d->hasher, 1 + pick(d, 3000))) {
        decree_assert(mvcc_hasher_value(d->hasher) == d->expected.value);
        decree_assert(mvcc_hasher_revision(d->hasher) == d->expected.revision);
        close_hasher(d);
    }
}

/* ---- the whole ---- */

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
        check_lease(d, id);
    }
}

static void step(struct driver *d)
{
    uint32_t what = pick(d, 72);

    arena_reset(&d->arena);
    if (what < 16) {
        do_put(d);
    } else if (what < 20) {
        do_delete(d);
    } else if (what < 26) {
        do_txn(d);
    } else if (what < 38) {
        do_range(d);
    } else if (what < 41) {
        do_lease(d);
    } else if (what < 42) {
        do_expire(d);
    } else if (what < 43) {
        do_compact(d);
    } else if (what < 47) {
        (void)mvcc_compact_step(d->m, pick(d, 30));
    } else if (what < 51) {
        do_watch(d);
    } else if (what < 57) {
        do_deliver(d);
    } else if (what < 60) {
        do_hash(d);
    } else if (what < 64) {
        do_snapshot(d);
    } else {
        do_slice(d);
    }
}

/* Everything is compacted away: what is left is what is alive. */
static void check_end(struct driver *d)
{
    uint64_t hash;

    check_all(d);
    close_snapshot(d);
    end_readings(d);
    close_hasher(d);
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
            remove_probe(d, &d->probes[i]);
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
