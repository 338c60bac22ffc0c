#include "work.h"

#include "alloc.h"
#include "err.h"

static struct mvcc_work *work_new(struct mvcc *m, bool in_txn)
{
    struct mvcc_work *w = xcalloc(1, sizeof(*w));

    decree_assert(!m->working);
    m->working = true;
    w->m = m;
    w->write = write_begin(m, in_txn);
    return w;
}

static void set_answer(struct mvcc_work *w, const struct mvcc_answer *answer, struct arena *arena)
{
    w->answer = *answer;
    w->own_left = answer->own;
    w->arena = arena;
}

struct mvcc_work *mvcc_work_delete(struct mvcc *m, const struct delete_request *r,
    struct arena *arena, const struct mvcc_answer *answer, struct delete_reply *ret)
{
    struct mvcc_work *w = work_new(m, false);

    w->kind = WORK_DELETE;
    set_answer(w, answer, arena);
    w->del.request = r;
    w->del.reply = ret;
    return w;
}

struct mvcc_work *mvcc_work_txn(struct mvcc *m, const struct txn_request *t, struct arena *arena,
    const struct mvcc_answer *answer, struct txn_reply *ret)
{
    struct mvcc_work *w = work_new(m, true);

    w->kind = WORK_TXN;
    set_answer(w, answer, arena);
    w->txn.request = t;
    w->txn.reply = ret;
    return w;
}

struct mvcc_work *mvcc_work_revoke(struct mvcc *m, int64_t id, bool expired)
{
    struct mvcc_work *w = work_new(m, false);

    w->kind = WORK_REVOKE;
    w->revoke.lease = lease_find(&m->leases, id);
    w->revoke.expired = expired;
    return w;
}

static int step(struct mvcc_work *w)
{
    switch (w->kind) {
    case WORK_DELETE:
        return work_delete(w, w->del.request, w->del.reply);
    case WORK_TXN:
        return work_txn(w);
    case WORK_REVOKE:
        return work_revoke(w);
    }
    return 0;
}

int mvcc_work_step(struct mvcc_work *w, size_t *steps)
{
    int r;

    decree_assert(w->m->working && *steps > 0);
    w->steps = *steps;
    r = step(w);
    *steps = w->steps;
    if (r <= 0) {
        decree_assert(r == 0 || w->write.changes == 0);
        write_end(&w->write);
        w->m->working = false;
    }
    return r;
}

struct mvcc_work *mvcc_work_close(struct mvcc_work *w)
{
    if (w == NULL) {
        return NULL;
    }
    if (w->m->working) { /* given up */
        w->m->working = w->write.changes != 0;
    }
    if (w->kind == WORK_TXN) {
        mvcc_reader_close(w->txn.reader);
    } else if (w->kind == WORK_REVOKE) {
        range_pick_deinit(&w->revoke.pick);
    }
    free(w->kvs);
    free(w);
    return NULL;
}

/* ---- the reply ---- */

struct kv *work_kvs(struct mvcc_work *w)
{
    if (w->kvs == NULL) {
        w->kvs = xreallocarray(NULL, WORK_PART_KEYS, sizeof(*w->kvs));
    }
    return w->kvs;
}

bool work_take_own(struct mvcc_work *w, size_t n)
{
    if (w->answer.part == NULL) {
        return true;
    }
    if (n > w->own_left) {
        return false;
    }
    w->own_left -= n;
    return true;
}

void work_give(struct mvcc_work *w, size_t n, bool prevs)
{
    decree_assert(w->n_parted > 0);
    w->answer.part(w->answer.data,
        &(struct store_part){.kvs = w->kvs,
            .n = n,
            .prevs = prevs,
            .op = w->n_parted - 1,
            .about = (size_t)MAX(w->about, UINT64_C(1))});
}

/* ---- in one go ---- */

static int run_whole(struct mvcc_work *w)
{
    size_t steps = SIZE_MAX;
    int r = mvcc_work_step(w, &steps);

    decree_assert(r <= 0);
    mvcc_work_close(w);
    return r;
}

int mvcc_delete(
    struct mvcc *m, const struct delete_request *r, struct arena *arena, struct delete_reply *ret)
{
    return run_whole(mvcc_work_delete(m, r, arena, &(struct mvcc_answer){0}, ret));
}

int mvcc_txn(
    struct mvcc *m, const struct txn_request *t, struct arena *arena, struct txn_reply *ret)
{
    return run_whole(mvcc_work_txn(m, t, arena, &(struct mvcc_answer){0}, ret));
}

int mvcc_lease_revoke(struct mvcc *m, int64_t id, bool expired)
{
    return run_whole(mvcc_work_revoke(m, id, expired));
}
