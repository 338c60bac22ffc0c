/* Reads. At the current revision the newest versions are what counts: how many there are is known
 * from the index, and a limit ends the walk. An older revision walks the whole range and, for each
 * key, back to its version of that time. */
#include "keyspace.h"

#include "err.h"

int range_check_revision(const struct mvcc *m, int64_t revision)
{
    if (revision > m->revision) {
        return DECREE_EFUTURE_REV;
    }
    return revision > 0 && revision < m->compacted ? DECREE_ECOMPACTED : 0;
}

/* ---- walking a range at a revision ---- */

struct walk {
    struct index_cursor cursor;
    struct key_range range;
    int64_t revision; /* 0: the newest versions */
    uint64_t left;    /* at the newest: how many are still to come */
};

static struct walk walk_begin(
    const struct mvcc *m, const struct key_range *range, int64_t revision, uint64_t count)
{
    struct walk w = {.range = *range, .revision = revision, .left = count};

    if (!key_range_is_empty(range)) {
        w.cursor = index_seek(&m->index, range->start);
    }
    return w;
}

static const struct version *walk_next(struct walk *w)
{
    struct version *v;

    if (w->revision == 0) {
        return w->left > 0 ? (w->left--, index_cursor_next_live(&w->cursor)) : NULL;
    }
    while ((v = index_cursor_next(&w->cursor)) != NULL &&
        key_range_contains(&w->range, version_key(v))) {
        v = version_at(v, w->revision);
        if (v != NULL && !version_is_tombstone(v)) {
            return v;
        }
    }
    return NULL;
}

static uint64_t walk_count(const struct mvcc *m, const struct key_range *range, int64_t revision)
{
    struct walk w;
    uint64_t n = 0;

    if (revision == 0) {
        return index_count(&m->index, range);
    }
    w = walk_begin(m, range, revision, 0);
    while (walk_next(&w) != NULL) {
        n++;
    }
    return n;
}

/* ---- filters and sorting ---- */

static bool has_filters(const struct range_request *r)
{
    return r->min_mod_revision != 0 || r->max_mod_revision != 0 || r->min_create_revision != 0 ||
        r->max_create_revision != 0;
}

static bool passes_filters(const struct range_request *r, const struct version *v)
{
    return (r->min_mod_revision == 0 || v->mod >= r->min_mod_revision) &&
        (r->max_mod_revision == 0 || v->mod <= r->max_mod_revision) &&
        (r->min_create_revision == 0 || v->create >= r->min_create_revision) &&
        (r->max_create_revision == 0 || v->create <= r->max_create_revision);
}

/* The order of a reply. Equal ones are in the order of their keys, whichever way the rest is. */
struct order {
    enum sort_target target;
    bool descend;
};

static int cmp_i64(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int order_cmp(const void *x, const void *y, void *arg)
{
    const struct version *a = *(const struct version *const *)x;
    const struct version *b = *(const struct version *const *)y;
    const struct order *o = arg;
    int c = 0;

    switch (o->target) {
    case SORT_VERSION:
        c = cmp_i64(a->version, b->version);
        break;
    case SORT_CREATE:
        c = cmp_i64(a->create, b->create);
        break;
    case SORT_MOD:
        c = cmp_i64(a->mod, b->mod);
        break;
    case SORT_VALUE:
        c = bytes_cmp(version_value(a), version_value(b));
        break;
    case SORT_KEY:
    case SORT_TARGET_END:
        break;
    }
    if (c == 0) {
        c = bytes_cmp(version_key(a), version_key(b));
        return o->target == SORT_KEY && o->descend ? -c : c;
    }
    return o->descend ? -c : c;
}

/* Sinks slot i of a heap whose root is the one that comes last in the order. */
static void sink(const struct version **heap, size_t n, size_t i, struct order *o)
{
    for (;;) {
        size_t last = i;

        for (size_t c = 2 * i + 1; c <= 2 * i + 2 && c < n; c++) {
            if (order_cmp(&heap[c], &heap[last], o) > 0) {
                last = c;
            }
        }
        if (last == i) {
            return;
        }
        const struct version *v = heap[i];

        heap[i] = heap[last];
        heap[last] = v;
        i = last;
    }
}

/* What has been chosen for the reply: everything, or the first `max` in the order. */
struct choice {
    const struct version **v; /* arena; room for max */
    size_t n, max;
    uint64_t seen;
    struct order order;
};

static void choose(struct choice *c, const struct version *v)
{
    c->seen++;
    if (c->n < c->max) {
        c->v[c->n++] = v;
        if (c->n == c->max) {
            for (size_t i = c->n / 2; i-- > 0;) {
                sink(c->v, c->n, i, &c->order);
            }
        }
    } else if (c->max > 0 && order_cmp(&v, &c->v[0], &c->order) < 0) {
        c->v[0] = v;
        sink(c->v, c->n, 0, &c->order);
    }
}

/* ---- the reply ---- */

static int fill(const struct range_request *r, const struct version **v, size_t n,
    struct arena *arena, struct range_reply *ret)
{
    ret->kvs = arena_alloc(arena, n * sizeof(*ret->kvs));
    if (ret->kvs == NULL) {
        return DECREE_ETOO_LARGE;
    }
    ret->n_kvs = n;
    for (size_t i = 0; i < n; i++) {
        ret->kvs[i] = version_kv(v[i]);
        if (r->keys_only) {
            ret->kvs[i].value = (struct bytes){0};
        }
    }
    return 0;
}

/* Most reads are of one key. */
static int read_single(const struct mvcc *m, const struct range_request *r, int64_t revision,
    struct arena *arena, struct range_reply *ret)
{
    struct version *v = index_find(&m->index, r->key);
    const struct version *found = revision != 0 ? version_at(v, revision) : v;

    if (found == NULL || version_is_tombstone(found)) {
        return 0;
    }
    ret->count = 1;
    return r->count_only || !passes_filters(r, found) ? 0 : fill(r, &found, 1, arena, ret);
}

/* Only the first `limit` in the order of keys. */
static int read_first(const struct range_request *r, struct walk *w, uint64_t count,
    struct arena *arena, struct range_reply *ret)
{
    size_t n = (size_t)(r->limit > 0 ? MIN((uint64_t)r->limit, count) : count);
    const struct version *v;

    ret->kvs = arena_alloc(arena, n * sizeof(*ret->kvs));
    if (ret->kvs == NULL) {
        return DECREE_ETOO_LARGE;
    }
    while (ret->n_kvs < n && (v = walk_next(w)) != NULL) {
        struct kv *kv = &ret->kvs[ret->n_kvs++];

        *kv = version_kv(v);
        if (r->keys_only) {
            kv->value = (struct bytes){0};
        }
    }
    ret->more = n < count;
    return 0;
}

/* All that pass the filters, sorted, then cut. */
static int read_sorted(const struct range_request *r, struct walk *w, uint64_t count,
    struct arena *arena, struct range_reply *ret)
{
    struct choice c = {.order = {r->sort_target, r->sort_order == SORT_DESCEND}};
    const struct version *v;
    uint64_t look = count;

    /* etcd takes a sort target without an order for ascending, but fetches no more than the limit
     * and one before it sorts. */
    if (r->sort_order == SORT_NONE && !has_filters(r) && r->limit > 0) {
        look = r->limit < INT64_MAX ? MIN(count, (uint64_t)r->limit + 1) : count;
    }
    c.max = (size_t)(r->limit > 0 ? MIN((uint64_t)r->limit, count) : count);
    c.v = arena_alloc(arena, c.max * sizeof(*c.v));
    if (c.v == NULL) {
        return DECREE_ETOO_LARGE;
    }
    for (; look > 0 && (v = walk_next(w)) != NULL; look--) {
        if (passes_filters(r, v)) {
            choose(&c, v);
        }
    }
    qsort_r(c.v, c.n, sizeof(struct version *), order_cmp, &c.order);
    ret->more = c.n < c.seen;
    return fill(r, c.v, c.n, arena, ret);
}

int range_read(const struct mvcc *m, const struct range_request *r, int64_t revision_now,
    struct arena *arena, struct range_reply *ret)
{
    struct key_range range = key_range_parse(r->key, r->range_end);
    int64_t revision = r->revision > 0 && r->revision < revision_now ? r->revision : 0;
    bool by_key = r->sort_target == SORT_KEY && r->sort_order != SORT_DESCEND;
    uint64_t count;
    struct walk w;

    *ret = (struct range_reply){0};
    if (range.kind == KEY_SINGLE) {
        return read_single(m, r, revision, arena, ret);
    }
    count = walk_count(m, &range, revision);
    ret->count = (int64_t)count;
    if (r->count_only || count == 0) {
        return 0;
    }
    w = walk_begin(m, &range, revision, count);
    return by_key && !has_filters(r) ? read_first(r, &w, count, arena, ret)
                                     : read_sorted(r, &w, count, arena, ret);
}

int mvcc_range(const struct mvcc *m, const struct range_request *r, struct arena *arena,
    struct range_reply *ret)
{
    int err = range_check_revision(m, r->revision);

    return err < 0 ? err : range_read(m, r, m->revision, arena, ret);
}
