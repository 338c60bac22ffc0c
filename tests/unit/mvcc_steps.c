#include "mvcc_steps.h"

#include "alloc.h"

/* What came in parts, in order. */
struct gathered {
    struct kv *kvs; /* owned */
    size_t *ops;    /* owned; [i]: the reply to which kvs[i] belongs */
    size_t n, cap, at;
    size_t about;
};

static void on_part(void *data, const struct store_part *part)
{
    struct gathered *g = data;

    decree_assert(part->n > 0 && part->about > 0);
    decree_assert(g->n == 0 || part->op == g->ops[g->n - 1] || part->op == g->ops[g->n - 1] + 1);
    g->about = part->about;
    for (size_t i = 0; i < part->n; i++) {
        if (g->n == g->cap) {
            g->cap = g->cap * 2 + 16;
            g->kvs = xreallocarray(g->kvs, g->cap, sizeof(*g->kvs));
            g->ops = xreallocarray(g->ops, g->cap, sizeof(*g->ops));
        }
        g->kvs[g->n] = part->kvs[i];
        g->ops[g->n++] = part->op;
    }
}

/* The ones of reply `op`, into the arena. */
static struct kv *take(struct gathered *g, size_t op, struct arena *arena, size_t *ret_n)
{
    size_t from = g->at;
    struct kv *kvs;

    while (g->at < g->n && g->ops[g->at] == op) {
        g->at++;
    }
    *ret_n = g->at - from;
    kvs = arena_alloc(arena, *ret_n * sizeof(*kvs));
    memcpy(kvs, g->kvs + from, *ret_n * sizeof(*kvs));
    return kvs;
}

static void fill(struct gathered *g, struct txn_reply *r, struct arena *arena, size_t *op)
{
    for (size_t i = 0; i < r->n_ops; i++) {
        struct txn_op_reply *o = &r->ops[i];

        if (o->kind == OP_TXN) {
            fill(g, &o->txn, arena, op);
        } else if (o->kind == OP_RANGE && o->range.in_parts) {
            decree_assert(o->range.n_kvs == 0);
            o->range.kvs = take(g, (*op)++, arena, &o->range.n_kvs);
        } else if (o->kind == OP_DELETE && o->del.in_parts) {
            decree_assert(o->del.n_prevs == 0);
            o->del.prevs = take(g, (*op)++, arena, &o->del.n_prevs);
        }
    }
}

static void end(struct gathered *g)
{
    decree_assert(g->at == g->n);
    free(g->kvs);
    free(g->ops);
}

static int run(const struct steps *x, struct mvcc_work *w)
{
    uint32_t most = x->pick(x->data, 3) == 0 ? 1000 : 4;

    for (;;) {
        size_t steps = 1 + x->pick(x->data, most);
        int r = mvcc_work_step(w, &steps);

        if (r <= 0) {
            mvcc_work_close(w);
            return r;
        }
        decree_assert(steps == 0);
        if (x->between != NULL) {
            x->between(x->data);
        }
    }
}

static struct mvcc_answer answer(const struct steps *x, struct gathered *g)
{
    struct mvcc_answer a = {.data = g, .own = x->pick(x->data, 4)};

    a.part = x->pick(x->data, 4) != 0 ? on_part : NULL;
    return a;
}

int steps_delete(const struct steps *x, struct mvcc *m, const struct delete_request *r,
    struct arena *arena, struct delete_reply *ret)
{
    struct gathered g = {0};
    struct mvcc_answer a = answer(x, &g);
    int err = run(x, mvcc_work_delete(m, r, arena, &a, ret));

    if (err == 0 && ret->in_parts) {
        ret->prevs = take(&g, 0, arena, &ret->n_prevs);
        decree_assert(g.about == ret->n_prevs);
    }
    end(&g);
    return err;
}

int steps_txn(const struct steps *x, struct mvcc *m, const struct txn_request *t,
    struct arena *arena, struct txn_reply *ret)
{
    struct gathered g = {0};
    struct mvcc_answer a = answer(x, &g);
    int err = run(x, mvcc_work_txn(m, t, arena, &a, ret));
    size_t op = 0;

    if (err == 0) {
        fill(&g, ret, arena, &op);
    }
    end(&g);
    return err;
}

int steps_revoke(const struct steps *x, struct mvcc *m, int64_t id, bool expired)
{
    return run(x, mvcc_work_revoke(m, id, expired));
}
