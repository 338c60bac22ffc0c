/* Reading ranges, in one go or in slices.
 *
 *     COUNT --(only at an older revision)--> WALK --in the order of keys--> DONE
 *                                              `--else--> SORT --> SORTED --> DONE
 *
 * Without filters a read of the newest versions costs what it returns: the count is the index's. At
 * an older revision it walks the whole range, twice, and for each key back to its version of that
 * time.
 *
 * A reader keeps one revision however many writes come between its slices. The index may change
 * meanwhile, hence each slice seeks the key after the last one; and compaction goes no further than
 * the oldest revision that is being read: what it frees up to there is hidden by something newer
 * that the reader sees instead. So versions once reached stay, and readers that follow one another
 * never hold compaction up for longer than one of them takes. */
#include "alloc.h"
#include "err.h"
#include "keyspace.h"
#include "range_pick.h"

enum stage { STAGE_COUNT, STAGE_WALK, STAGE_SORT, STAGE_SORTED, STAGE_DONE };

struct mvcc_reader {
    struct list link; /* in m->readers */
    const struct mvcc *m;
    struct range_request request;
    struct key_range range;
    int64_t revision; /* 0: the newest versions, those of a write under way included */
    enum stage stage;
    struct strbuf after;  /* where the next slice goes on; empty: from the start of the range */
    uint64_t count;       /* keys in the range */
    uint64_t left;        /* of them, not walked over yet */
    uint64_t limit, sent; /* at most that many in the reply; that many were in slices so far */
    bool more, picks;
    bool sliced; /* runs between writes only: then the newest versions are those of m->revision */
    struct range_pick pick; /* if picks */
};

int range_check_revision(const struct mvcc *m, int64_t revision)
{
    if (revision > m->revision) {
        return DECREE_EFUTURE_REV;
    }
    return revision > 0 && revision < m->compacted ? DECREE_ECOMPACTED : 0;
}

/* ---- walking a range at a revision ---- */

/* Lives within a slice. */
struct walk {
    struct index_cursor cursor;
    const struct mvcc_reader *x;
    const struct version *last; /* key looked at last, or NULL */
    bool newest;                /* the index's own count of live keys holds */
    size_t visits;              /* left in this slice */
};

static bool is_newest(const struct mvcc_reader *x)
{
    return x->revision == 0 || (x->sliced && x->revision == x->m->revision);
}

static struct walk walk_begin(const struct mvcc_reader *x, size_t visits)
{
    struct walk w = {.x = x, .visits = visits};

    w.newest = is_newest(x);
    w.cursor =
        index_seek(&x->m->index, x->after.len != 0 ? strbuf_bytes(&x->after) : x->range.start);
    return w;
}

/* Ends when the visits are used up, too. */
static const struct version *walk_next(struct walk *w, uint64_t *left)
{
    while (*left > 0 && w->visits > 0) {
        struct version *v =
            w->newest ? index_cursor_next_live(&w->cursor) : index_cursor_next(&w->cursor);

        w->visits--;
        if (v == NULL || (!w->newest && !key_range_contains(&w->x->range, version_key(v)))) {
            *left = 0;
            return NULL;
        }
        w->last = v;
        if (!w->newest) {
            v = version_at(v, w->x->revision);
        }
        if (v != NULL && !version_is_tombstone(v)) {
            (*left)--;
            return v;
        }
    }
    return NULL;
}

static void walk_end(const struct walk *w, struct strbuf *after)
{
    if (w->last != NULL) {
        strbuf_clear(after);
        strbuf_append_bytes(after, version_key(w->last));
        strbuf_append_char(after, '\0'); /* the next possible key */
    }
}

/* ---- filters ---- */

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

/* ---- the stages ---- */

/* What a slice may cost, and where its part of the reply goes. */
struct slice {
    size_t visits, bytes; /* left */
    struct kv *kvs;
    size_t n, max;
};

static void put(struct mvcc_reader *x, struct slice *s, const struct version *v)
{
    struct kv *kv = &s->kvs[s->n++];
    size_t bytes;

    *kv = version_kv(v);
    if (x->request.keys_only) {
        kv->value = (struct bytes){0};
    }
    bytes = kv->key.len + kv->value.len;
    s->bytes -= MIN(s->bytes, bytes);
    x->sent++;
}

static bool slice_has_room(const struct slice *s)
{
    return s->visits > 0 && s->bytes > 0 && s->n < s->max;
}

/* The number of keys is known. */
static void after_count(struct mvcc_reader *x)
{
    const struct range_request *r = &x->request;

    strbuf_clear(&x->after);
    x->left = x->count;
    x->limit = r->limit > 0 ? MIN((uint64_t)r->limit, x->count) : x->count;
    x->stage = r->count_only || x->count == 0 ? STAGE_DONE : STAGE_WALK;
    x->picks = r->sort_target != SORT_KEY || r->sort_order == SORT_DESCEND;
    if (!x->picks) {
        return;
    }
    x->pick = (struct range_pick){.target = r->sort_target,
        .descend = r->sort_order == SORT_DESCEND,
        .max = (size_t)x->limit};
    /* etcd takes a sort target without an order for ascending, but fetches no more than the limit
     * and one before it sorts. */
    if (r->sort_order == SORT_NONE && !has_filters(r) && x->limit < x->count) {
        x->left = x->limit + 1;
    }
}

static void step_count(struct mvcc_reader *x, struct slice *s)
{
    struct walk w = walk_begin(x, s->visits);

    while (walk_next(&w, &x->left) != NULL) {
        x->count++;
    }
    s->visits = w.visits;
    walk_end(&w, &x->after);
    if (x->left == 0) {
        after_count(x);
    }
}

/* The keys come in the order of the reply: they go out as they are found. What is left of `left`
 * when the limit is reached only tells whether there are more. */
static void step_walk(struct mvcc_reader *x, struct slice *s)
{
    bool filters = has_filters(&x->request);
    struct walk w = walk_begin(x, s->visits);
    const struct version *v;

    while (!x->more && slice_has_room(s) && (v = walk_next(&w, &x->left)) != NULL) {
        if (filters && !passes_filters(&x->request, v)) {
            continue;
        }
        if (x->sent == x->limit) {
            x->more = true;
            break;
        }
        put(x, s, v);
        s->visits = w.visits;
        if (x->sent == x->limit && !filters) {
            x->more = x->left > 0;
            x->left = 0;
        }
    }
    s->visits = w.visits;
    if (x->left == 0 || x->more) {
        x->stage = STAGE_DONE;
    } else {
        walk_end(&w, &x->after);
    }
}

static void step_pick(struct mvcc_reader *x, struct slice *s)
{
    struct walk w = walk_begin(x, s->visits);
    const struct version *v;

    while ((v = walk_next(&w, &x->left)) != NULL) {
        if (passes_filters(&x->request, v)) {
            range_pick_add(&x->pick, v);
        }
    }
    s->visits = w.visits;
    walk_end(&w, &x->after);
    if (x->left == 0) {
        range_pick_end(&x->pick);
        x->more = x->pick.n < x->pick.seen;
        x->stage = STAGE_SORT;
    }
}

static void step_sorted(struct mvcc_reader *x, struct slice *s)
{
    while (x->sent < x->pick.n && slice_has_room(s)) {
        s->visits--;
        put(x, s, range_pick_at(&x->pick, (size_t)x->sent));
    }
    if (x->sent == x->pick.n) {
        x->stage = STAGE_DONE;
    }
}

enum { SORT_STEP = 4 /* keys passed over cost as much as one that is put into its order */ };

static void step(struct mvcc_reader *x, struct slice *s)
{
    switch (x->stage) {
    case STAGE_COUNT:
        step_count(x, s);
        break;
    case STAGE_WALK:
        if (x->picks) {
            step_pick(x, s);
        } else {
            step_walk(x, s);
        }
        break;
    case STAGE_SORT:
        if (range_pick_sort(&x->pick, s->visits / SORT_STEP + 1)) {
            s->visits = 0;
        } else {
            x->stage = STAGE_SORTED;
        }
        break;
    case STAGE_SORTED:
        step_sorted(x, s);
        break;
    case STAGE_DONE:
        break;
    }
}

/* ---- in slices ---- */

/* m, request, range, revision and sliced are set. */
static void reader_begin(struct mvcc_reader *x)
{
    list_init(&x->link);
    if (key_range_is_empty(&x->range)) {
        after_count(x);
    } else if (is_newest(x)) {
        x->count = index_count(&x->m->index, &x->range);
        after_count(x);
    } else {
        x->left = UINT64_MAX; /* to the end of the range */
    }
}

static void reader_deinit(struct mvcc_reader *x)
{
    strbuf_deinit(&x->after);
    range_pick_deinit(&x->pick);
}

int mvcc_reader_open(struct mvcc *m, const struct range_request *r, struct mvcc_reader **ret)
{
    struct key_range range = key_range_parse(r->key, r->range_end);
    int err = range_check_revision(m, r->revision);

    decree_assert(!m->working);
    if (err < 0) {
        return err;
    }
    *ret = xmalloc(sizeof(**ret));
    **ret = (struct mvcc_reader){.m = m,
        .request = *r,
        .range = range,
        .revision = r->revision > 0 ? r->revision : m->revision,
        .sliced = true};
    reader_begin(*ret);
    list_add_tail(&m->readers, &(*ret)->link);
    return 0;
}

bool mvcc_reader_next(
    struct mvcc_reader *x, size_t keys, size_t bytes, struct kv *kvs, struct range_reply *ret)
{
    struct slice s = {.visits = keys, .bytes = MAX(bytes, (size_t)1), .kvs = kvs, .max = keys};

    decree_assert(keys > 0 && !(x->sliced && x->m->working));
    while (x->stage != STAGE_DONE && slice_has_room(&s)) {
        step(x, &s);
    }
    *ret =
        (struct range_reply){.kvs = kvs, .n_kvs = s.n, .more = x->more, .count = (int64_t)x->count};
    return x->stage != STAGE_DONE;
}

struct mvcc_reader *mvcc_reader_close(struct mvcc_reader *x)
{
    if (x != NULL) {
        list_del(&x->link);
        reader_deinit(x);
        free(x);
    }
    return NULL;
}

int64_t range_readers_floor(const struct mvcc *m)
{
    int64_t floor = INT64_MAX;

    list_for_each (it, &m->readers) {
        floor = MIN(floor, list_entry(it, struct mvcc_reader, link)->revision);
    }
    return floor;
}

/* ---- in one go ---- */

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
    if (r->count_only || !passes_filters(r, found)) {
        return 0;
    }
    ret->kvs = arena_alloc(arena, sizeof(*ret->kvs));
    if (ret->kvs == NULL) {
        return DECREE_ETOO_LARGE;
    }
    ret->n_kvs = 1;
    *ret->kvs = version_kv(found);
    if (r->keys_only) {
        ret->kvs->value = (struct bytes){0};
    }
    return 0;
}

/* Stages until the first that puts something out; then all of it, as many as there can be. */
static int read_all(struct mvcc_reader *x, struct arena *arena, struct range_reply *ret)
{
    struct slice s = {.visits = SIZE_MAX, .bytes = SIZE_MAX};

    while (
        x->stage == STAGE_COUNT || x->stage == STAGE_SORT || (x->stage == STAGE_WALK && x->picks)) {
        s.visits = SIZE_MAX;
        step(x, &s);
    }
    ret->count = (int64_t)x->count;
    if (x->stage == STAGE_DONE) {
        return 0;
    }
    s.max = x->stage == STAGE_SORTED ? x->pick.n : (size_t)x->limit;
    s.kvs = arena_alloc(arena, s.max * sizeof(*s.kvs));
    if (s.kvs == NULL) {
        return DECREE_ETOO_LARGE;
    }
    s.visits = SIZE_MAX;
    s.max++; /* never reached, so that the walk looks whether more follow */
    while (x->stage != STAGE_DONE) {
        step(x, &s);
    }
    ret->kvs = s.kvs;
    ret->n_kvs = s.n;
    ret->more = x->more;
    return 0;
}

/* What a read calls now, is the newest versions, those of a write under way included. */
static int64_t revision_to_read(const struct range_request *r, int64_t revision_now)
{
    return r->revision > 0 && r->revision < revision_now ? r->revision : 0;
}

struct mvcc_reader *range_open(
    const struct mvcc *m, const struct range_request *r, int64_t revision_now)
{
    struct mvcc_reader *x = xmalloc(sizeof(*x));

    *x = (struct mvcc_reader){.m = m,
        .request = *r,
        .range = key_range_parse(r->key, r->range_end),
        .revision = revision_to_read(r, revision_now)};
    reader_begin(x);
    return x;
}

uint64_t range_expected(const struct mvcc *m, const struct range_request *r)
{
    struct key_range range = key_range_parse(r->key, r->range_end);
    uint64_t n = r->count_only ? 0 : index_count(&m->index, &range);

    return r->limit > 0 ? MIN(n, (uint64_t)r->limit) : n;
}

int range_read(const struct mvcc *m, const struct range_request *r, int64_t revision_now,
    struct arena *arena, struct range_reply *ret)
{
    struct key_range range = key_range_parse(r->key, r->range_end);
    int64_t revision = revision_to_read(r, revision_now);
    struct mvcc_reader x = {.m = m, .request = *r, .range = range, .revision = revision};
    int err;

    *ret = (struct range_reply){0};
    if (range.kind == KEY_SINGLE) {
        return read_single(m, r, revision, arena, ret);
    }
    reader_begin(&x);
    err = read_all(&x, arena, ret);
    reader_deinit(&x);
    return err;
}

int mvcc_range(const struct mvcc *m, const struct range_request *r, struct arena *arena,
    struct range_reply *ret)
{
    int err = range_check_revision(m, r->revision);

    decree_assert(!m->working);
    return err < 0 ? err : range_read(m, r, m->revision, arena, ret);
}
