#include "mvcc_model.h"

#include <stdio.h>

#include "alloc.h"
#include "err.h"

/* ---- keys and values ---- */

static char key_text[MODEL_KEYS][32];
static struct bytes keys[MODEL_KEYS];

static int cmp_bytes(const void *a, const void *b)
{
    return bytes_cmp(*(const struct bytes *)a, *(const struct bytes *)b);
}

/* Short and long common prefixes, keys that are prefixes of others, bytes 0 and 255. */
__attribute__((constructor)) static void make_keys(void)
{
    enum { SHAPES = 6 };

    for (int i = 0; i < MODEL_KEYS; i++) {
        char *text = key_text[i];
        int n = i / SHAPES;

        switch (i % SHAPES) {
        case 0:
            snprintf(text, sizeof(key_text[i]), "%d", n);
            break;
        case 1:
            snprintf(text, sizeof(key_text[i]), "/app/%d", n);
            break;
        case 2:
            snprintf(text, sizeof(key_text[i]), "/app/config/db/%03d", n);
            break;
        case 3:
            snprintf(text, sizeof(key_text[i]), "/app/config/db/%03d/x", n);
            break;
        case 4:
            snprintf(text, sizeof(key_text[i]), "k%08d", n);
            break;
        default:
            snprintf(text, sizeof(key_text[i]), "\xff\xff%d", n);
            break;
        }
        keys[i] = bytes_str(text);
        if (i % 7 == 0 && n > 30) {
            keys[i].len++; /* the NUL belongs to it */
        }
    }
    keys[0] = BYTES_LITERAL("\0");
    qsort(keys, MODEL_KEYS, sizeof(*keys), cmp_bytes);
}

struct bytes model_key(int i)
{
    return keys[i];
}

struct bytes model_value(int i)
{
    static const char filler[] =
        "0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrs";

    return bytes_make(filler + i % 10, (size_t)(i % 50));
}

static int key_index(struct bytes key)
{
    for (int i = 0; i < MODEL_KEYS; i++) {
        if (bytes_eq(keys[i], key)) {
            return i;
        }
    }
    decree_fatal("not a key of the model");
}

/* ---- state ---- */

void model_init(struct model *m)
{
    *m = (struct model){.revision = 1, .n = 1};
}

void model_deinit(struct model *m)
{
    free(m->changes);
}

const struct model_change *model_at(const struct model *m, int key, int64_t revision)
{
    size_t c = m->newest[key];

    while (c != 0 && revision != 0 && m->changes[c].revision > revision) {
        c = m->changes[c].prev;
    }
    return c != 0 && !m->changes[c].is_delete ? &m->changes[c] : NULL;
}

static void add(struct model *m, struct model_change c)
{
    const struct model_change *old = model_at(m, c.key, 0);

    m->pending = m->revision + 1;
    c.revision = m->pending;
    c.prev = m->newest[c.key];
    if (!c.is_delete) {
        c.create = old != NULL ? old->create : c.revision;
        c.version = old != NULL ? old->version + 1 : 1;
    }
    if (m->n >= m->cap) {
        m->cap = m->cap != 0 ? m->cap * 2 : 256;
        m->changes = xreallocarray(m->changes, m->cap, sizeof(*m->changes));
    }
    m->newest[c.key] = m->n;
    m->changes[m->n++] = c;
}

static void end_write(struct model *m)
{
    m->revision = m->pending != 0 ? m->pending : m->revision;
    m->pending = 0;
}

static int64_t now(const struct model *m)
{
    return m->pending != 0 ? m->pending : m->revision;
}

/* ---- replies ---- */

void model_check_kv(const struct model_change *c, const struct kv *kv, bool keys_only)
{
    decree_assert(bytes_eq(kv->key, keys[c->key]));
    decree_assert(kv->mod_revision == c->revision);
    decree_assert(kv->create_revision == c->create);
    decree_assert(kv->version == c->version);
    decree_assert(kv->lease == c->lease);
    decree_assert(bytes_eq(kv->value, keys_only ? (struct bytes){0} : model_value(c->value)));
}

static int64_t sort_number(const struct model_change *c, enum sort_target target)
{
    return target == SORT_VERSION ? c->version
        : target == SORT_CREATE   ? c->create
        : target == SORT_MOD      ? c->revision
                                  : 0;
}

static bool comes_after(
    const struct model_change *a, const struct model_change *b, const struct range_request *r)
{
    int64_t x = sort_number(a, r->sort_target), y = sort_number(b, r->sort_target);
    int c = (x > y) - (x < y);

    if (r->sort_target == SORT_VALUE) {
        c = bytes_cmp(model_value(a->value), model_value(b->value));
    } else if (r->sort_target == SORT_KEY) {
        c = (a->key > b->key) - (a->key < b->key);
    }
    c = r->sort_order == SORT_DESCEND ? -c : c;
    return c != 0 ? c > 0 : a->key > b->key;
}

static bool filtered(const struct model_change *c, const struct range_request *r)
{
    return (r->min_mod_revision != 0 && c->revision < r->min_mod_revision) ||
        (r->max_mod_revision != 0 && c->revision > r->max_mod_revision) ||
        (r->min_create_revision != 0 && c->create < r->min_create_revision) ||
        (r->max_create_revision != 0 && c->create > r->max_create_revision);
}

static int revision_error(const struct model *m, int64_t revision)
{
    return revision > m->revision                 ? DECREE_EFUTURE_REV
        : revision > 0 && revision < m->compacted ? DECREE_ECOMPACTED
                                                  : 0;
}

static void check_range(
    const struct model *m, const struct range_request *r, const struct range_reply *reply)
{
    const struct model_change *found[MODEL_KEYS];
    struct key_range range = key_range_parse(r->key, r->range_end);
    int64_t revision = r->revision > 0 && r->revision < now(m) ? r->revision : 0;
    bool has_filters = (r->min_mod_revision | r->max_mod_revision | r->min_create_revision |
                           r->max_create_revision) != 0;
    size_t n = 0, kept = 0;
    bool more;

    for (int i = 0; i < MODEL_KEYS; i++) {
        const struct model_change *c =
            key_range_contains(&range, keys[i]) ? model_at(m, i, revision) : NULL;

        if (c != NULL) {
            found[n++] = c;
        }
    }
    decree_assert(reply->count == (int64_t)n);
    if (r->count_only) {
        decree_assert(reply->n_kvs == 0 && !reply->more);
        return;
    }
    if (r->sort_order == SORT_NONE && !has_filters && r->limit > 0) {
        n = MIN(n, (size_t)r->limit + 1);
    }
    for (size_t i = 0; i < n; i++) {
        const struct model_change *c = found[i];
        size_t at = kept;

        if (filtered(c, r)) {
            continue;
        }
        for (; at > 0 && comes_after(found[at - 1], c, r); at--) {
            found[at] = found[at - 1];
        }
        found[at] = c;
        kept++;
    }
    more = r->limit > 0 && kept > (size_t)r->limit;
    kept = more ? (size_t)r->limit : kept;
    decree_assert(reply->more == more);
    decree_assert(reply->n_kvs == kept);
    for (size_t i = 0; i < kept; i++) {
        model_check_kv(found[i], &reply->kvs[i], r->keys_only);
    }
}

void model_check_range(
    struct model *m, const struct range_request *r, int err, const struct range_reply *reply)
{
    decree_assert(err == revision_error(m, r->revision));
    if (err == 0) {
        check_range(m, r, reply);
    }
}

void model_check_slices(
    const struct model *m, const struct range_request *r, const struct range_reply *reply)
{
    check_range(m, r, reply);
}

/* ---- writes ---- */

static bool lease_exists(const struct model *m, int64_t id)
{
    return id == 0 || (id > 0 && id <= MODEL_LEASES && m->leases[id - 1] != 0);
}

static bool key_is_missing(const struct model *m, const struct put_request *r)
{
    return (r->ignore_value || r->ignore_lease) && model_at(m, key_index(r->key), 0) == NULL;
}

static void put(
    struct model *m, const struct put_request *r, bool in_txn, const struct put_reply *reply)
{
    int key = key_index(r->key);
    const struct model_change *old = model_at(m, key, 0);
    struct model_change c = {.key = key, .lease = r->lease};

    decree_assert(reply->has_prev == (r->prev_kv && old != NULL));
    if (reply->has_prev) {
        model_check_kv(old, &reply->prev, false);
    }
    c.action = in_txn ? MVCC_ACTION_TXN_PUT : MVCC_ACTION_PUT;
    while (!bytes_eq(model_value(c.value), r->value)) {
        c.value++;
    }
    if (r->ignore_value) {
        c.value = old != NULL ? old->value : 0;
    }
    if (r->ignore_lease) {
        c.lease = old != NULL ? old->lease : 0;
    }
    add(m, c);
}

void model_check_put(
    struct model *m, const struct put_request *r, int err, const struct put_reply *reply)
{
    int want = !lease_exists(m, r->lease) ? DECREE_ELEASE_NOT_FOUND
        : key_is_missing(m, r)            ? DECREE_EKEY_NOT_FOUND
                                          : 0;

    decree_assert(err == want);
    if (err == 0) {
        put(m, r, false, reply);
        end_write(m);
    }
}

static void delete (
    struct model *m, const struct delete_request *r, bool in_txn, const struct delete_reply *reply)
{
    struct key_range range = key_range_parse(r->key, r->range_end);
    size_t n = 0;

    for (int i = 0; i < MODEL_KEYS; i++) {
        const struct model_change *old =
            key_range_contains(&range, keys[i]) ? model_at(m, i, 0) : NULL;

        if (old == NULL) {
            continue;
        }
        if (r->prev_kv) {
            decree_assert(n < reply->n_prevs);
            model_check_kv(old, &reply->prevs[n], false);
        }
        n++;
        add(m,
            (struct model_change){.key = i,
                .is_delete = true,
                .action = in_txn ? MVCC_ACTION_TXN_DELETE : MVCC_ACTION_DELETE});
    }
    decree_assert(reply->deleted == (int64_t)n);
    decree_assert(reply->n_prevs == (r->prev_kv ? n : 0));
}

void model_check_delete(
    struct model *m, const struct delete_request *r, const struct delete_reply *reply)
{
    delete (m, r, false, reply);
    end_write(m);
}

void model_revoke(struct model *m, int64_t id, bool expired)
{
    for (int i = 0; i < MODEL_KEYS; i++) {
        const struct model_change *c = model_at(m, i, 0);

        if (c != NULL && c->lease == id) {
            add(m,
                (struct model_change){.key = i,
                    .is_delete = true,
                    .action = expired ? MVCC_ACTION_EXPIRE : MVCC_ACTION_REVOKE});
        }
    }
    m->leases[id - 1] = 0;
    end_write(m);
}

/* ---- txns ---- */

static int64_t compare_number(const struct model_change *c, enum compare_target target)
{
    if (c == NULL) {
        return 0;
    }
    switch (target) {
    case COMPARE_VERSION:
        return c->version;
    case COMPARE_CREATE:
        return c->create;
    case COMPARE_MOD:
        return c->revision;
    case COMPARE_LEASE:
        return c->lease;
    case COMPARE_VALUE:
        break;
    }
    return 0;
}

static bool one_holds(const struct compare *c, const struct model_change *change)
{
    int64_t n = compare_number(change, c->target);
    int d = (n > c->number) - (n < c->number);

    if (c->target == COMPARE_VALUE) {
        if (change == NULL) {
            return false;
        }
        d = bytes_cmp(model_value(change->value), c->value);
    }
    return c->result == COMPARE_EQUAL    ? d == 0
        : c->result == COMPARE_NOT_EQUAL ? d != 0
        : c->result == COMPARE_GREATER   ? d > 0
                                         : d < 0;
}

static bool compare_holds(const struct model *m, const struct compare *c)
{
    struct key_range range = key_range_parse(c->key, c->range_end);
    size_t n = 0;

    for (int i = 0; i < MODEL_KEYS; i++) {
        const struct model_change *change =
            key_range_contains(&range, keys[i]) ? model_at(m, i, 0) : NULL;

        if (change != NULL) {
            n++;
            if (!one_holds(c, change)) {
                return false;
            }
        }
    }
    return n > 0 || one_holds(c, NULL);
}

static bool branch_of(const struct model *m, const struct txn_request *t)
{
    for (size_t i = 0; i < t->n_compares; i++) {
        if (!compare_holds(m, &t->compares[i])) {
            return false;
        }
    }
    return true;
}

/* The first error of the branches that are taken, looking at puts or at ranges. */
static int txn_error(const struct model *m, const struct txn_request *t, bool puts)
{
    bool then = branch_of(m, t);
    const struct txn_op *ops = then ? t->success : t->failure;
    size_t n = then ? t->n_success : t->n_failure;
    int err = 0;

    for (size_t i = 0; i < n && err == 0; i++) {
        if (ops[i].kind == OP_TXN) {
            err = txn_error(m, ops[i].txn, puts);
        } else if (puts && ops[i].kind == OP_PUT) {
            err = key_is_missing(m, &ops[i].put)     ? DECREE_EKEY_NOT_FOUND
                : !lease_exists(m, ops[i].put.lease) ? DECREE_ELEASE_NOT_FOUND
                                                     : 0;
        } else if (!puts && ops[i].kind == OP_RANGE) {
            err = revision_error(m, ops[i].range.revision);
        }
    }
    return err;
}

/* Every branch is checked against the state before the txn, hence before anything is run. */
static void check_branches(
    const struct model *m, const struct txn_request *t, const struct txn_reply *reply)
{
    const struct txn_op *ops = reply->succeeded ? t->success : t->failure;

    decree_assert(reply->succeeded == branch_of(m, t));
    decree_assert(reply->n_ops == (reply->succeeded ? t->n_success : t->n_failure));
    for (size_t i = 0; i < reply->n_ops; i++) {
        decree_assert(reply->ops[i].kind == ops[i].kind);
        if (ops[i].kind == OP_TXN) {
            check_branches(m, ops[i].txn, &reply->ops[i].txn);
        }
    }
}

static void run(struct model *m, const struct txn_request *t, const struct txn_reply *reply)
{
    const struct txn_op *ops = reply->succeeded ? t->success : t->failure;

    for (size_t i = 0; i < reply->n_ops; i++) {
        const struct txn_op_reply *op_reply = &reply->ops[i];

        switch (ops[i].kind) {
        case OP_RANGE:
            check_range(m, &ops[i].range, &op_reply->range);
            break;
        case OP_PUT:
            put(m, &ops[i].put, true, &op_reply->put);
            break;
        case OP_DELETE:
            delete (m, &ops[i].del, true, &op_reply->del);
            break;
        case OP_TXN:
            run(m, ops[i].txn, &op_reply->txn);
            continue;
        case OP_NONE:
            break;
        }
        decree_assert(op_reply->revision == now(m));
    }
}

void model_check_txn(
    struct model *m, const struct txn_request *t, int err, const struct txn_reply *reply)
{
    int want = txn_error(m, t, true);

    want = want == 0 ? txn_error(m, t, false) : want;
    decree_assert(err == want);
    if (err == 0) {
        check_branches(m, t, reply);
        run(m, t, reply);
        end_write(m);
    }
}
