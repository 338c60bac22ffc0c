/* Transactions, in three passes, so that nothing has been written when something fails: choose the
 * branches (compares of nested txns too see the state before the txn, as in etcd), check what puts
 * need and the revisions of reads, then do it all. The reply holds the plan: its `succeeded` says
 * which branch was chosen. Planning and running go through the tree of nested txns level by level,
 * so that either can stop at any key and go on in the next step. */
#include "work.h"

#include "err.h"

/* ---- levels ---- */

static bool enter(struct mvcc_work *w, const struct txn_request *t, struct txn_reply *reply)
{
    struct txn_level *l = arena_alloc(w->arena, sizeof(*l));

    if (l != NULL) {
        *l = (struct txn_level){.up = w->txn.level, .request = t, .reply = reply};
        w->txn.level = l;
    }
    return l != NULL;
}

static void leave(struct mvcc_work *w)
{
    w->txn.level = w->txn.level->up;
}

struct branch {
    const struct txn_op *ops;
    size_t n;
};

static struct branch chosen(const struct txn_request *t, const struct txn_reply *reply)
{
    return reply->succeeded ? (struct branch){t->success, t->n_success}
                            : (struct branch){t->failure, t->n_failure};
}

/* ---- compares ---- */

static bool result_holds(enum compare_result want, int c)
{
    switch (want) {
    case COMPARE_EQUAL:
        return c == 0;
    case COMPARE_NOT_EQUAL:
        return c != 0;
    case COMPARE_GREATER:
        return c > 0;
    case COMPARE_LESS:
        return c < 0;
    }
    return true;
}

/* kv all zero: the key does not exist. */
static bool compare_holds(const struct compare *c, const struct kv *kv)
{
    int64_t n = 0;

    switch (c->target) {
    case COMPARE_VALUE:
        return result_holds(c->result, bytes_cmp(kv->value, c->value));
    case COMPARE_VERSION:
        n = kv->version;
        break;
    case COMPARE_CREATE:
        n = kv->create_revision;
        break;
    case COMPARE_MOD:
        n = kv->mod_revision;
        break;
    case COMPARE_LEASE:
        n = kv->lease;
        break;
    }
    return result_holds(c->result, (n > c->number) - (n < c->number));
}

/* Must hold for every key of the range; when there is none, for a key that is all zero. 1: the step
 * is used up. */
static int check_compare(struct mvcc_work *w, const struct compare *c, bool *ret)
{
    struct txn_run *x = &w->txn;

    if (x->compare_left == 0) {
        struct key_range range = key_range_parse(c->key, c->range_end);

        work_spend(w, 1);
        x->compare_left = index_count(&w->m->index, &range);
        if (x->compare_left == 0) {
            *ret = c->target != COMPARE_VALUE && compare_holds(c, &(struct kv){0});
            return 0;
        }
        x->compare = index_seek(&w->m->index, range.start);
    }
    *ret = true;
    for (; *ret && x->compare_left > 0; x->compare_left--) {
        struct kv kv;

        if (w->steps == 0) {
            return 1;
        }
        kv = version_kv(index_cursor_next_live(&x->compare));
        *ret = compare_holds(c, &kv);
        work_spend(w, 1);
    }
    x->compare_left = 0;
    return 0;
}

/* ---- which branches ---- */

static int choose(struct mvcc_work *w, struct txn_level *l)
{
    const struct txn_request *t = l->request;
    bool holds = true;

    for (; holds && l->compares < t->n_compares; l->compares++) {
        if (w->steps == 0 || check_compare(w, &t->compares[l->compares], &holds) != 0) {
            return 1;
        }
    }
    *l->reply = (struct txn_reply){.succeeded = holds};
    l->reply->n_ops = chosen(t, l->reply).n;
    l->reply->ops = arena_calloc(w->arena, l->reply->n_ops, sizeof(*l->reply->ops));
    l->chosen = true;
    return l->reply->ops != NULL ? 0 : DECREE_ETOO_LARGE;
}

static int plan(struct mvcc_work *w)
{
    while (w->txn.level != NULL) {
        struct txn_level *l = w->txn.level;
        int r = l->chosen ? 0 : choose(w, l);
        struct branch b;

        if (r != 0) {
            return r;
        }
        b = chosen(l->request, l->reply);
        if (l->op == b.n) {
            leave(w);
            continue;
        }
        l->reply->ops[l->op].kind = b.ops[l->op].kind;
        if (b.ops[l->op].kind == OP_TXN && !enter(w, b.ops[l->op].txn, &l->reply->ops[l->op].txn)) {
            return DECREE_ETOO_LARGE;
        }
        l->op++;
    }
    return 0;
}

/* ---- what can fail ---- */

static int check_puts(
    const struct mvcc *m, const struct txn_request *t, const struct txn_reply *planned)
{
    struct branch b = chosen(t, planned);
    int r = 0;

    for (size_t i = 0; i < b.n && r == 0; i++) {
        if (b.ops[i].kind == OP_PUT) {
            r = write_check_ignored(m, &b.ops[i].put);
            r = r == 0 ? write_check_lease(m, b.ops[i].put.lease) : r;
        } else if (b.ops[i].kind == OP_TXN) {
            r = check_puts(m, b.ops[i].txn, &planned->ops[i].txn);
        }
    }
    return r;
}

static int check_ranges(
    const struct mvcc *m, const struct txn_request *t, const struct txn_reply *planned)
{
    struct branch b = chosen(t, planned);
    int r = 0;

    for (size_t i = 0; i < b.n && r == 0; i++) {
        if (b.ops[i].kind == OP_RANGE) {
            r = range_check_revision(m, b.ops[i].range.revision);
        } else if (b.ops[i].kind == OP_TXN) {
            r = check_ranges(m, b.ops[i].txn, &planned->ops[i].txn);
        }
    }
    return r;
}

/* Keys and values that the reply will have, if nothing of the txn's own changes it. */
static uint64_t expected(
    const struct mvcc *m, const struct txn_request *t, const struct txn_reply *planned)
{
    struct branch b = chosen(t, planned);
    uint64_t sum = 0;

    for (size_t i = 0; i < b.n; i++) {
        if (b.ops[i].kind == OP_RANGE) {
            sum += range_expected(m, &b.ops[i].range);
        } else if (b.ops[i].kind == OP_DELETE && b.ops[i].del.prev_kv) {
            struct key_range range = key_range_parse(b.ops[i].del.key, b.ops[i].del.range_end);

            sum += index_count(&m->index, &range);
        } else if (b.ops[i].kind == OP_TXN) {
            sum += expected(m, b.ops[i].txn, &planned->ops[i].txn);
        }
    }
    return sum;
}

static int check(struct mvcc_work *w)
{
    int r = check_puts(w->m, w->txn.request, w->txn.reply);

    if (r == 0) {
        r = check_ranges(w->m, w->txn.request, w->txn.reply);
    }
    if (r == 0 && w->answer.part != NULL) {
        w->about = expected(w->m, w->txn.request, w->txn.reply);
    }
    return r;
}

/* ---- doing it ---- */

/* Whether they go into the reply or come in parts shows with the first keys. */
static int take_slice(
    struct mvcc_work *w, const struct range_reply *slice, bool more, struct range_reply *ret)
{
    if (slice->n_kvs == 0) {
        return 0;
    }
    if (!ret->in_parts && !more && work_take_own(w, slice->n_kvs)) {
        ret->kvs = arena_alloc(w->arena, slice->n_kvs * sizeof(*ret->kvs));
        if (ret->kvs == NULL) {
            return DECREE_ETOO_LARGE;
        }
        memcpy(ret->kvs, slice->kvs, slice->n_kvs * sizeof(*ret->kvs));
        ret->n_kvs = slice->n_kvs;
        return 0;
    }
    if (!ret->in_parts) {
        ret->in_parts = true;
        w->n_parted++;
    }
    work_give(w, slice->n_kvs, false);
    return 0;
}

static int read_slices(struct mvcc_work *w, struct range_reply *ret)
{
    bool more = true;

    while (more) {
        size_t visits = MIN(w->steps, (size_t)WORK_PART_KEYS);
        struct range_reply slice;
        int r;

        if (visits == 0) {
            return 1;
        }
        more = mvcc_reader_next(w->txn.reader, visits, WORK_PART_BYTES, work_kvs(w), &slice);
        r = take_slice(w, &slice, more, ret);
        if (r < 0) {
            return r;
        }
        work_spend(w, more ? visits : slice.n_kvs + 1);
        ret->count = slice.count;
        ret->more = slice.more;
    }
    w->txn.reader = mvcc_reader_close(w->txn.reader);
    return 0;
}

static int read_range(struct mvcc_work *w, const struct range_request *r, struct range_reply *ret)
{
    if (w->txn.reader == NULL) {
        *ret = (struct range_reply){0};
        work_spend(w, 1);
        if (w->answer.unwanted) {
            return 0;
        }
        if (w->answer.part == NULL || r->range_end.len == 0) {
            return range_read(w->m, r, write_revision(&w->write), w->arena, ret);
        }
        w->txn.reader = range_open(w->m, r, write_revision(&w->write));
    }
    return read_slices(w, ret);
}

static int run_op(struct mvcc_work *w, const struct txn_op *op, struct txn_op_reply *reply)
{
    switch (op->kind) {
    case OP_RANGE:
        return read_range(w, &op->range, &reply->range);
    case OP_PUT:
        work_spend(w, 1);
        write_put(&w->write, &op->put, &reply->put);
        return 0;
    case OP_DELETE:
        return work_delete(w, &op->del, &reply->del);
    case OP_TXN:
        return enter(w, op->txn, &reply->txn) ? 0 : DECREE_ETOO_LARGE;
    case OP_NONE:
        break;
    }
    decree_fatal("an empty operation reached the keyspace unchecked");
}

static int run(struct mvcc_work *w)
{
    while (w->txn.level != NULL) {
        struct txn_level *l = w->txn.level;
        struct branch b = chosen(l->request, l->reply);
        int r;

        if (l->op == b.n) {
            leave(w);
            continue;
        }
        if (w->steps == 0) {
            return 1;
        }
        r = run_op(w, &b.ops[l->op], &l->reply->ops[l->op]);
        if (r != 0) {
            return r;
        }
        if (b.ops[l->op].kind != OP_TXN) { /* etcd leaves the revision of its header unset */
            l->reply->ops[l->op].revision = write_revision(&w->write);
        }
        l->op++;
    }
    return 0;
}

/* Planned and checked, the txn is gone through once more from its beginning. */
static int prepare(struct mvcc_work *w)
{
    struct txn_run *x = &w->txn;
    int r = 0;

    if (x->level == NULL && !enter(w, x->request, x->reply)) {
        return DECREE_ETOO_LARGE;
    }
    r = plan(w);
    if (r == 0) {
        r = check(w);
    }
    if (r == 0 && !enter(w, x->request, x->reply)) {
        r = DECREE_ETOO_LARGE;
    }
    x->running = r == 0;
    return r;
}

int work_txn(struct mvcc_work *w)
{
    int r = w->txn.running ? 0 : prepare(w);

    return r != 0 ? r : run(w);
}
