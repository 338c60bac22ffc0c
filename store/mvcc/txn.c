/* Transactions, in four passes, so that nothing has been written when something fails: choose the
 * branches (compares of nested txns too see the state before the txn, as in etcd), look up what
 * puts need, check the revisions of reads, then do it all. The reply holds the plan: its
 * `succeeded` says which branch was chosen. */
#include "keyspace.h"

#include "err.h"

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

/* Must hold for every key of the range; when there is none, for a key that is all zero. */
static bool check_compare(const struct mvcc *m, const struct compare *c)
{
    struct key_range range = key_range_parse(c->key, c->range_end);
    uint64_t n = index_count(&m->index, &range);
    struct index_cursor cursor;

    if (n == 0) {
        return c->target != COMPARE_VALUE && compare_holds(c, &(struct kv){0});
    }
    cursor = index_seek(&m->index, range.start);
    for (; n > 0; n--) {
        struct kv kv = version_kv(index_cursor_next_live(&cursor));

        if (!compare_holds(c, &kv)) {
            return false;
        }
    }
    return true;
}

/* ---- the passes ---- */

struct branch {
    const struct txn_op *ops;
    size_t n;
};

static struct branch chosen(const struct txn_request *t, const struct txn_reply *reply)
{
    return reply->succeeded ? (struct branch){t->success, t->n_success}
                            : (struct branch){t->failure, t->n_failure};
}

static int plan(
    const struct mvcc *m, const struct txn_request *t, struct arena *arena, struct txn_reply *ret)
{
    struct branch b;
    int r = 0;

    *ret = (struct txn_reply){.succeeded = true};
    for (size_t i = 0; i < t->n_compares && ret->succeeded; i++) {
        ret->succeeded = check_compare(m, &t->compares[i]);
    }
    b = chosen(t, ret);
    ret->ops = arena_calloc(arena, b.n, sizeof(*ret->ops));
    if (ret->ops == NULL) {
        return DECREE_ETOO_LARGE;
    }
    ret->n_ops = b.n;
    for (size_t i = 0; i < b.n && r == 0; i++) {
        ret->ops[i].kind = b.ops[i].kind;
        if (b.ops[i].kind == OP_TXN) {
            r = plan(m, b.ops[i].txn, arena, &ret->ops[i].txn);
        }
    }
    return r;
}

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

static int run(
    struct write *w, const struct txn_request *t, struct arena *arena, struct txn_reply *reply)
{
    struct branch b = chosen(t, reply);
    int r = 0;

    for (size_t i = 0; i < b.n && r == 0; i++) {
        const struct txn_op *op = &b.ops[i];
        struct txn_op_reply *op_reply = &reply->ops[i];

        switch (op->kind) {
        case OP_RANGE:
            r = range_read(w->m, &op->range, write_revision(w), arena, &op_reply->range);
            break;
        case OP_PUT:
            write_put(w, &op->put, &op_reply->put);
            break;
        case OP_DELETE:
            write_delete(w, &op->del, arena, &op_reply->del);
            break;
        case OP_TXN:
            r = run(w, op->txn, arena, &op_reply->txn);
            continue; /* etcd leaves the revision of its header unset */
        case OP_NONE:
            decree_fatal("an empty operation reached the keyspace unchecked");
        }
        op_reply->revision = write_revision(w);
    }
    return r;
}

int mvcc_txn(
    struct mvcc *m, const struct txn_request *t, struct arena *arena, struct txn_reply *ret)
{
    int r = plan(m, t, arena, ret);
    struct write w;

    if (r == 0) {
        r = check_puts(m, t, ret);
    }
    if (r == 0) {
        r = check_ranges(m, t, ret);
    }
    if (r < 0) {
        return r;
    }
    w = write_begin(m, true);
    r = run(&w, t, arena, ret);
    decree_assert(r == 0 || w.changes == 0); /* writes have an arena without a ceiling */
    write_end(&w);
    return r;
}
