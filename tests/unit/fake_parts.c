#include "fake_parts.h"

struct part_list {
    struct kv *kvs;
    size_t n;
    bool prevs;
};

/* A reply on its way: with the bytes of its own that it needs in later turns. */
struct giving {
    struct list link;
    struct store_call *call;
    struct arena arena;
    struct store_reply reply;
    struct part_list *lists; /* that are given in parts, as much as is left of them */
    size_t n_lists, at;
};

static struct giving *giving_free(struct giving *g)
{
    list_del(&g->link);
    arena_deinit(&g->arena);
    free(g->lists);
    free(g);
    return NULL;
}

static void own_kvs(struct giving *g, struct kv *kvs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        kvs[i].key = arena_copy(&g->arena, kvs[i].key);
        kvs[i].value = arena_copy(&g->arena, kvs[i].value);
    }
}

/* Takes n of a list out of the reply. */
static void take(struct giving *g, bool prevs, struct kv **kvs, size_t *n_kvs, size_t n)
{
    g->lists = xreallocarray(g->lists, g->n_lists + 1, sizeof(*g->lists));
    g->lists[g->n_lists++] = (struct part_list){*kvs, n, prevs};
    *kvs += n;
    *n_kvs -= n;
}

static void take_range(struct giving *g, struct range_reply *r, size_t part_kvs)
{
    own_kvs(g, r->kvs, r->n_kvs);
    if (r->n_kvs > part_kvs) {
        r->in_parts = true;
        take(g, false, &r->kvs, &r->n_kvs, r->n_kvs);
    }
}

static void take_delete(struct giving *g, struct delete_reply *r, size_t part_kvs)
{
    own_kvs(g, r->prevs, r->n_prevs);
    if (r->n_prevs > part_kvs) {
        r->in_parts = true;
        take(g, true, &r->prevs, &r->n_prevs, r->n_prevs);
    }
}

static void take_txn(struct giving *g, struct txn_reply *t, size_t part_kvs)
{
    for (size_t i = 0; i < t->n_ops; i++) {
        struct txn_op_reply *o = &t->ops[i];

        switch (o->kind) {
        case OP_RANGE:
            take_range(g, &o->range, part_kvs);
            break;
        case OP_DELETE:
            take_delete(g, &o->del, part_kvs);
            break;
        case OP_PUT:
            own_kvs(g, &o->put.prev, o->put.has_prev ? 1 : 0);
            break;
        default:
            take_txn(g, &o->txn, part_kvs);
        }
    }
}

static void take_lists(struct giving *g, size_t part_kvs)
{
    struct range_reply *r = &g->reply.range;

    switch (g->call->kind) {
    case STORE_RANGE:
        own_kvs(g, r->kvs, r->n_kvs);
        if (r->n_kvs > part_kvs) { /* the last ones come with the reply */
            take(g, false, &r->kvs, &r->n_kvs, (r->n_kvs - 1) / part_kvs * part_kvs);
        }
        break;
    case STORE_DELETE:
        take_delete(g, &g->reply.del, part_kvs);
        break;
    default:
        take_txn(g, &g->reply.txn, part_kvs);
    }
}

static size_t longest_of_txn(const struct txn_reply *t)
{
    size_t n = 0;

    for (size_t i = 0; i < t->n_ops; i++) {
        const struct txn_op_reply *o = &t->ops[i];

        n = MAX(n, o->kind == OP_RANGE ? o->range.n_kvs : 0);
        n = MAX(n, o->kind == OP_DELETE ? o->del.n_prevs : 0);
        n = MAX(n, o->kind == OP_TXN ? longest_of_txn(&o->txn) : 0);
    }
    return n;
}

static size_t longest_list(enum store_kind kind, const struct store_reply *reply)
{
    switch (kind) {
    case STORE_RANGE:
        return reply->range.n_kvs;
    case STORE_DELETE:
        return reply->del.n_prevs;
    case STORE_TXN:
        return longest_of_txn(&reply->txn);
    default:
        return 0;
    }
}

static size_t left(const struct giving *g)
{
    size_t n = 0;

    for (size_t i = g->at; i < g->n_lists; i++) {
        n += g->lists[i].n;
    }
    return n;
}

/* The next part, or the reply: true. */
static bool give(struct fake_parts *p, struct giving *g)
{
    struct store_call *c = g->call;
    struct part_list *l;
    struct store_part part;

    while (g->at < g->n_lists && g->lists[g->at].n == 0) {
        g->at++;
    }
    if (g->at == g->n_lists) {
        list_del(&g->link); /* it may be asked again from within */
        c->cb(c, 0, &g->reply);
        giving_free(g);
        return true;
    }
    l = &g->lists[g->at];
    part = (struct store_part){
        .kvs = l->kvs, .n = MIN(l->n, p->kvs), .prevs = l->prevs, .op = g->at, .about = left(g)};
    l->kvs += part.n;
    l->n -= part.n;
    (void)c->part(c, &part);
    return false;
}

size_t fake_parts_step(struct fake_parts *p)
{
    struct list now;
    size_t answered = 0;

    list_init(&now);
    list_splice_tail(&now, &p->giving);
    while (!list_empty(&now)) {
        struct giving *g = list_entry(now.next, struct giving, link);

        list_del(&g->link);
        list_add_tail(&p->giving, &g->link);
        answered += give(p, g);
    }
    return answered;
}

bool fake_parts_cancel(struct fake_parts *p, const struct store_call *call)
{
    list_for_each (l, &p->giving) {
        struct giving *g = list_entry(l, struct giving, link);

        if (g->call == call) {
            giving_free(g);
            return true;
        }
    }
    return false;
}

bool fake_parts_take(struct fake_parts *p, struct store_call *c, struct arena *arena,
    const struct store_reply *reply)
{
    struct giving *g;

    if (p->kvs == 0 || longest_list(c->kind, reply) <= p->kvs) {
        return false;
    }
    g = xcalloc(1, sizeof(*g));
    g->call = c;
    g->arena = *arena;
    *arena = (struct arena){0};
    g->reply = *reply;
    list_add_tail(&p->giving, &g->link);
    take_lists(g, p->kvs);
    return true;
}
