/* Key ranges, and the checks of a request that need no keyspace.
 *
 * The checks run before anything is proposed, in etcd's order, since the order decides which error
 * a client sees: the shape of the whole txn first (number of operations, empty keys, options),
 * then, branch by branch, whether two operations touch the same key. */
#include "request.h"

#include "alloc.h"
#include "err.h"

/* ---- keys ---- */

struct key_range key_range_parse(struct bytes key, struct bytes range_end)
{
    enum key_range_kind kind = KEY_INTERVAL;

    decree_assert(key.len != 0);
    if (range_end.len == 0) {
        kind = KEY_SINGLE;
    } else if (range_end.len == 1 && range_end.data[0] == 0) {
        kind = KEY_FROM;
    }
    return (struct key_range){kind, key, kind == KEY_INTERVAL ? range_end : (struct bytes){0}};
}

bool key_range_contains(const struct key_range *r, struct bytes key)
{
    switch (r->kind) {
    case KEY_SINGLE:
        return bytes_eq(r->start, key);
    case KEY_FROM:
        return bytes_cmp(r->start, key) <= 0;
    case KEY_INTERVAL:
        return bytes_cmp(r->start, key) <= 0 && bytes_cmp(key, r->end) < 0;
    }
    return false;
}

bool key_range_is_empty(const struct key_range *r)
{
    return r->kind == KEY_INTERVAL && bytes_cmp(r->start, r->end) >= 0;
}

/* ---- single requests ---- */

int range_request_check(const struct range_request *r)
{
    if (r->key.len == 0) {
        return DECREE_EEMPTY_KEY;
    }
    if ((unsigned)r->sort_order >= SORT_ORDER_END || (unsigned)r->sort_target >= SORT_TARGET_END) {
        return DECREE_EINVALID_SORT;
    }
    return 0;
}

int put_request_check(const struct put_request *r)
{
    if (r->key.len == 0) {
        return DECREE_EEMPTY_KEY;
    }
    if (r->ignore_value && r->value.len != 0) {
        return DECREE_EVALUE_PROVIDED;
    }
    if (r->ignore_lease && r->lease != 0) {
        return DECREE_ELEASE_PROVIDED;
    }
    return 0;
}

int delete_request_check(const struct delete_request *r)
{
    return r->key.len == 0 ? DECREE_EEMPTY_KEY : 0;
}

/* ---- the shape of a txn ---- */

static int check_shape(const struct txn_request *t, size_t ops_left, int depth);

static int check_op(const struct txn_op *op, size_t ops_left, int depth)
{
    switch (op->kind) {
    case OP_RANGE:
        return range_request_check(&op->range);
    case OP_PUT:
        return put_request_check(&op->put);
    case OP_DELETE:
        return delete_request_check(&op->del);
    case OP_TXN:
        return check_shape(op->txn, ops_left, depth);
    case OP_NONE:
        break;
    }
    return DECREE_EKEY_NOT_FOUND;
}

static int check_list(const struct txn_op *ops, size_t n, size_t ops_left, int depth)
{
    for (size_t i = 0; i < n; i++) {
        int r = check_op(&ops[i], ops_left, depth);

        if (r < 0) {
            return r;
        }
    }
    return 0;
}

/* The longest of the three lists is what a txn uses up; its nested txns share what is left. */
static int check_shape(const struct txn_request *t, size_t ops_left, int depth)
{
    size_t ops = MAX(t->n_compares, MAX(t->n_success, t->n_failure));
    int r;

    if (ops > ops_left || depth >= TXN_DEPTH_MAX) {
        return DECREE_ETOO_MANY_OPS;
    }
    for (size_t i = 0; i < t->n_compares; i++) {
        if (t->compares[i].key.len == 0) {
            return DECREE_EEMPTY_KEY;
        }
    }
    r = check_list(t->success, t->n_success, ops_left - ops, depth + 1);
    return r < 0 ? r : check_list(t->failure, t->n_failure, ops_left - ops, depth + 1);
}

/* ---- keys that are touched twice ----
 * Within one list of operations no key may be put twice, nor put and deleted. What a nested txn
 * touches counts as touched by the operation that holds it, with three exceptions of etcd's:
 *   - its two branches exclude each other, so that they may touch the same keys;
 *   - a nested put is compared with nested deletes of earlier operations of the list only;
 *   - a delete "from this key on" is not looked at: "delete everything, then put what shall be
 *     there" is a txn that etcd accepts and programs send.
 * A list turns into points on the line of keys, sorted; one sweep then knows at each put which
 * deletes are open there. */

enum touch_kind { /* in the order in which points on the same key count */
    TOUCH_END,    /* a deleted interval ends before this key */
    TOUCH_BEGIN,
    TOUCH_PUT,
    TOUCH_END_AFTER, /* the end of a single deleted key */
};

struct touch {
    struct bytes key; /* borrowed from the request */
    uint16_t kind;    /* enum touch_kind */
    uint16_t nested;  /* by a nested txn */
    uint32_t item;    /* position of the operation in the list that is being checked */
};

struct touches {
    struct touch *v; /* owned */
    size_t n, cap;
};

static void touch_add(struct touches *t, struct bytes key, enum touch_kind kind, size_t item)
{
    if (t->n == t->cap) {
        t->cap = t->cap != 0 ? t->cap * 2 : 16;
        t->v = xreallocarray(t->v, t->cap, sizeof(*t->v));
    }
    t->v[t->n++] = (struct touch){key, (uint16_t)kind, 0, (uint32_t)item};
}

static void touch_add_delete(struct touches *t, const struct delete_request *del, size_t item)
{
    struct key_range range = key_range_parse(del->key, del->range_end);

    if (range.kind == KEY_SINGLE) {
        touch_add(t, range.start, TOUCH_BEGIN, item);
        touch_add(t, range.start, TOUCH_END_AFTER, item);
    } else if (range.kind == KEY_INTERVAL && !key_range_is_empty(&range)) {
        touch_add(t, range.start, TOUCH_BEGIN, item);
        touch_add(t, range.end, TOUCH_END, item);
    }
}

static int touch_cmp(const void *a, const void *b)
{
    const struct touch *x = a, *y = b;
    int c = bytes_cmp(x->key, y->key);

    if (c == 0) {
        c = (x->kind > y->kind) - (x->kind < y->kind);
    }
    return c != 0 ? c : (x->item > y->item) - (x->item < y->item);
}

/* Deletes of the list itself are open under 0, those nested in operation i under i + 1: a put is in
 * conflict with whatever is open below its own bound. */
static int sweep(struct touch *v, size_t n)
{
    uint32_t open[TXN_OPS_MAX + 2] = {0};

    qsort(v, n, sizeof(*v), touch_cmp);
    for (size_t i = 0; i < n; i++) {
        const struct touch *t = &v[i];
        size_t slot = t->nested ? t->item + 1u : 0;
        size_t bound = t->nested ? t->item + 1u : ARRAY_SIZE(open);

        decree_assert(slot < ARRAY_SIZE(open));
        switch ((enum touch_kind)t->kind) {
        case TOUCH_BEGIN:
            open[slot]++;
            break;
        case TOUCH_END:
        case TOUCH_END_AFTER:
            open[slot]--;
            break;
        case TOUCH_PUT:
            if (i > 0 && v[i - 1].kind == TOUCH_PUT && v[i - 1].item != t->item &&
                bytes_eq(v[i - 1].key, t->key)) {
                return DECREE_EDUPLICATE_KEY;
            }
            for (size_t s = 0; s < bound; s++) {
                if (open[s] != 0) {
                    return DECREE_EDUPLICATE_KEY;
                }
            }
            break;
        }
    }
    return 0;
}

static int check_duplicates(const struct txn_op *ops, size_t n, struct touches *t);

/* Both branches of a nested txn; what they touch is afterwards touched by operation `item`. */
static int check_nested(const struct txn_request *txn, size_t item, struct touches *t)
{
    size_t from = t->n;
    int r = check_duplicates(txn->success, txn->n_success, t);

    if (r == 0) {
        r = check_duplicates(txn->failure, txn->n_failure, t);
    }
    for (size_t i = from; i < t->n; i++) {
        t->v[i].nested = 1;
        t->v[i].item = (uint32_t)item;
    }
    return r;
}

/* Appends what the list touches to t. */
static int check_duplicates(const struct txn_op *ops, size_t n, struct touches *t)
{
    size_t from = t->n;
    int r = 0;

    for (size_t i = 0; i < n && r == 0; i++) {
        if (ops[i].kind == OP_PUT) {
            touch_add(t, ops[i].put.key, TOUCH_PUT, i);
        } else if (ops[i].kind == OP_DELETE) {
            touch_add_delete(t, &ops[i].del, i);
        } else if (ops[i].kind == OP_TXN) {
            r = check_nested(ops[i].txn, i, t);
        }
    }
    return r < 0 || n < 2 || t->n - from < 2 ? r : sweep(t->v + from, t->n - from);
}

int txn_request_check(const struct txn_request *t)
{
    struct touches touches = {0};
    int r = check_shape(t, TXN_OPS_MAX, 0);

    if (r == 0) {
        r = check_duplicates(t->success, t->n_success, &touches);
    }
    touches.n = 0;
    if (r == 0) {
        r = check_duplicates(t->failure, t->n_failure, &touches);
    }
    free(touches.v);
    return r;
}

/* ---- what kind of txn ---- */

static bool list_is_readonly(const struct txn_op *ops, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (ops[i].kind == OP_PUT || ops[i].kind == OP_DELETE ||
            (ops[i].kind == OP_TXN && !txn_request_is_readonly(ops[i].txn))) {
            return false;
        }
    }
    return true;
}

bool txn_request_is_readonly(const struct txn_request *t)
{
    return list_is_readonly(t->success, t->n_success) && list_is_readonly(t->failure, t->n_failure);
}

static bool list_is_serializable(const struct txn_op *ops, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool ok = (ops[i].kind == OP_RANGE && ops[i].range.serializable) ||
            (ops[i].kind == OP_TXN && txn_request_is_serializable(ops[i].txn));

        if (!ok) {
            return false;
        }
    }
    return true;
}

bool txn_request_is_serializable(const struct txn_request *t)
{
    return list_is_serializable(t->success, t->n_success) &&
        list_is_serializable(t->failure, t->n_failure);
}
