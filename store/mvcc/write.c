/* Writes: puts and deletes as changes of one revision. All that can fail is looked up before. */
#include "work.h"

#include "alloc.h"
#include "err.h"

struct write write_begin(struct mvcc *m, bool in_txn)
{
    return (struct write){.m = m, .revision = m->revision + 1, .in_txn = in_txn};
}

void write_end(struct write *w)
{
    if (w->changes != 0) {
        w->m->revision = w->revision;
    }
}

int write_check_lease(const struct mvcc *m, int64_t lease)
{
    return lease == 0 || lease_find(&m->leases, lease) != NULL ? 0 : DECREE_ELEASE_NOT_FOUND;
}

int write_check_ignored(const struct mvcc *m, const struct put_request *r)
{
    bool needs_key = r->ignore_value || r->ignore_lease;

    return !needs_key || find_live(m, r->key) != NULL ? 0 : DECREE_EKEY_NOT_FOUND;
}

/* Makes v the newest version of its key, as the next change of this write. */
static void apply(struct write *w, struct version *v)
{
    struct mvcc *m = w->m;
    struct version *old = index_put(&m->index, v);
    bool was_live = old != NULL && !version_is_tombstone(old);

    decree_assert(!m->delivering);
    v->mod = w->revision;
    v->sub = w->changes++;
    v->prev = old;
    if (!version_is_tombstone(v)) {
        v->create = was_live ? old->create : w->revision;
        v->version = was_live ? old->version + 1 : 1;
        m->live_bytes += version_cost(v);
        lease_attach(&m->leases, v);
    }
    if (was_live) {
        m->live_bytes -= version_cost(old);
        lease_detach(old);
    }
    if (old != NULL) {
        old->superseded = 1;
    }
    m->bytes += version_cost(v);
    history_push(&m->history, v);
}

void write_put(struct write *w, const struct put_request *r, struct put_reply *ret)
{
    bool looks = r->prev_kv || r->ignore_value || r->ignore_lease;
    struct version *old = looks ? find_live(w->m, r->key) : NULL;
    struct bytes value = r->value;
    int64_t lease = r->lease;

    /* A delete "from this key on" earlier in the same txn may have taken away what is to be
     * kept (see txn_request_check): then there is nothing to keep. */
    if (r->ignore_value) {
        value = old != NULL ? version_value(old) : (struct bytes){0};
    }
    if (r->ignore_lease) {
        lease = old != NULL ? version_lease_id(old) : 0;
    }
    *ret = (struct put_reply){0};
    if (r->prev_kv && old != NULL) {
        ret->has_prev = true;
        ret->prev = version_kv(old);
    }
    apply(w, version_new(r->key, value, lease, w->in_txn ? MVCC_ACTION_TXN_PUT : MVCC_ACTION_PUT));
}

void write_delete_key(struct write *w, struct bytes key, enum mvcc_action action)
{
    apply(w, version_new(key, (struct bytes){0}, 0, action));
}

/* ---- deletes ---- */

/* The next ones that are alive, until they are a part's worth. */
static size_t collect(const struct mvcc_work *w, const struct key_range *range, bool prevs,
    struct version *found[static WORK_PART_KEYS])
{
    const struct deletion *d = &w->deletion;
    struct index_cursor c =
        index_seek(&w->m->index, d->last != NULL ? version_key(d->last) : range->start);
    size_t max = MIN(MIN((size_t)d->left, w->steps), (size_t)WORK_PART_KEYS), n = 0, bytes = 0;

    while (n < max && (!prevs || bytes < WORK_PART_BYTES)) {
        found[n] = index_cursor_next_live(&c);
        bytes += version_bytes(found[n++]);
    }
    return n;
}

static void begin_delete(struct mvcc_work *w, const struct delete_request *r,
    const struct key_range *range, struct delete_reply *ret)
{
    size_t n = (size_t)index_count(&w->m->index, range);

    w->deletion = (struct deletion){.begun = true, .left = n};
    *ret = (struct delete_reply){.deleted = (int64_t)n};
    if (!r->prev_kv || n == 0 || w->answer.unwanted) {
        return;
    }
    if (work_take_own(w, n)) {
        ret->prevs = arena_alloc(w->arena, n * sizeof(*ret->prevs));
        decree_assert(ret->prevs != NULL); /* writes have an arena without a ceiling */
        return;
    }
    ret->in_parts = true;
    w->n_parted++;
    w->about = MAX(w->about, n); /* a txn knows better */
}

static void keep_prevs(
    struct mvcc_work *w, struct version *const *found, size_t n, struct delete_reply *ret)
{
    struct kv *to = ret->in_parts ? work_kvs(w) : ret->prevs + ret->n_prevs;

    for (size_t i = 0; i < n; i++) {
        to[i] = version_kv(found[i]);
    }
    if (ret->in_parts) {
        work_give(w, n, true);
    } else {
        ret->n_prevs += n;
    }
}

int work_delete(struct mvcc_work *w, const struct delete_request *r, struct delete_reply *ret)
{
    struct key_range range = key_range_parse(r->key, r->range_end);
    struct deletion *d = &w->deletion;
    bool in_txn = w->write.in_txn;

    if (!d->begun) {
        work_spend(w, 1);
        begin_delete(w, r, &range, ret);
    }
    while (d->left > 0) {
        struct version *found[WORK_PART_KEYS];
        bool prevs = ret->in_parts || ret->prevs != NULL;
        size_t n;

        if (w->steps == 0) {
            return 1;
        }
        n = collect(w, &range, prevs, found);
        if (prevs) {
            keep_prevs(w, found, n, ret);
        }
        for (size_t i = 0; i < n; i++) {
            write_delete_key(&w->write, version_key(found[i]),
                in_txn ? MVCC_ACTION_TXN_DELETE : MVCC_ACTION_DELETE);
        }
        d->last = found[n - 1];
        d->left -= n;
        work_spend(w, n);
    }
    d->begun = false;
    return 0;
}

/* ---- a single put ---- */

int mvcc_put(struct mvcc *m, const struct put_request *r, struct arena *arena _unused_,
    struct put_reply *ret)
{
    int err = write_check_lease(m, r->lease);
    struct write w;

    decree_assert(!m->working);
    if (err == 0) {
        err = write_check_ignored(m, r);
    }
    if (err < 0) {
        return err;
    }
    w = write_begin(m, false);
    write_put(&w, r, ret);
    write_end(&w);
    return 0;
}
