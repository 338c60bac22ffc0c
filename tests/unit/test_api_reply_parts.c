#include "unit.h"

#include <inttypes.h>

#include "encode.h"
#include "json_proto.h"
#include "reply_parts.h"
#include "rpc.h"
#include "rpc.pb-c.h"

/* ---- random replies ---- */

enum { SEEDS = 400, KVS_MAX = 9, OPS_MAX = 5, DEPTH_MAX = 4 };

struct random {
    uint64_t state;
};

/* splitmix64 */
static uint64_t next(struct random *r, uint64_t below)
{
    uint64_t z = (r->state += 0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (z ^ z >> 31) % below;
}

static int64_t number(struct random *r)
{
    static const int64_t numbers[] = {0, 1, 127, 128, 1 << 20, INT64_MAX};

    return numbers[next(r, ARRAY_SIZE(numbers))];
}

/* Lengths around those where one more byte is needed to tell them. */
static struct kv any_kv(struct random *r, struct arena *arena)
{
    static const size_t lengths[] = {0, 1, 20, 100, 126, 128, 1100, 16400};
    size_t key = 1 + (size_t)next(r, 3), value = lengths[next(r, ARRAY_SIZE(lengths))];
    uint8_t *p = arena_alloc(arena, key + value);

    for (size_t i = 0; i < key + value; i++) {
        p[i] = (uint8_t)next(r, 256);
    }
    return (struct kv){.key = bytes_make(p, key),
        .value = bytes_make(p + key, value),
        .create_revision = number(r),
        .mod_revision = number(r),
        .version = number(r),
        .lease = number(r)};
}

static struct kv *any_kvs(struct random *r, struct arena *arena, size_t *ret_n)
{
    size_t n = (size_t)next(r, KVS_MAX + 1);
    struct kv *kvs = arena_calloc(arena, n + 1, sizeof(*kvs));

    for (size_t i = 0; i < n; i++) {
        kvs[i] = any_kv(r, arena);
    }
    *ret_n = n;
    return kvs;
}

static struct range_reply any_range(struct random *r, struct arena *arena)
{
    struct range_reply reply = {.more = next(r, 2) == 0, .count = number(r)};

    reply.kvs = any_kvs(r, arena, &reply.n_kvs);
    return reply;
}

static struct delete_reply any_delete(struct random *r, struct arena *arena)
{
    struct delete_reply reply = {.deleted = number(r)};

    reply.prevs = any_kvs(r, arena, &reply.n_prevs);
    return reply;
}

static struct txn_reply any_txn(struct random *r, struct arena *arena, unsigned depth)
{
    struct txn_reply reply = {.succeeded = next(r, 2) == 0, .n_ops = (size_t)next(r, OPS_MAX + 1)};

    reply.ops = arena_calloc(arena, reply.n_ops + 1, sizeof(*reply.ops));
    for (size_t i = 0; i < reply.n_ops; i++) {
        struct txn_op_reply *o = &reply.ops[i];

        o->kind = OP_RANGE + (enum txn_op_kind)next(r, depth < DEPTH_MAX ? 4 : 3);
        o->revision = number(r);
        switch (o->kind) {
        case OP_RANGE:
            o->range = any_range(r, arena);
            break;
        case OP_PUT:
            o->put.has_prev = next(r, 2) == 0;
            o->put.prev = any_kv(r, arena);
            break;
        case OP_DELETE:
            o->del = any_delete(r, arena);
            break;
        default:
            o->txn = any_txn(r, arena, depth + 1);
        }
    }
    return reply;
}

static struct store_reply any_reply(struct random *r, enum store_kind kind, struct arena *arena)
{
    struct store_reply reply = {.header = {1, 2, number(r), 3}};

    if (kind == STORE_RANGE) {
        reply.range = any_range(r, arena);
    } else if (kind == STORE_DELETE) {
        reply.del = any_delete(r, arena);
    } else {
        reply.txn = any_txn(r, arena, 0);
    }
    return reply;
}

/* ---- as the store would give them ---- */

/* The first n of a list, in parts of random sizes; some have nothing in them, and of an empty list
 * there may be none. */
static void give(
    struct random *r, struct reply_parts *p, size_t op, bool prevs, const struct kv *kvs, size_t n)
{
    while (n > 0 || next(r, 3) == 0) {
        size_t part = (size_t)next(r, n + 1);

        reply_parts_add(p,
            &(struct store_part){.kvs = kvs, .n = part, .prevs = prevs, .op = op, .about = n + 1});
        kvs += part;
        n -= part;
    }
}

static void give_txn(struct random *r, struct reply_parts *p, struct txn_reply *t, size_t *op)
{
    for (size_t i = 0; i < t->n_ops; i++) {
        struct txn_op_reply *o = &t->ops[i];

        if (o->kind == OP_TXN) {
            give_txn(r, p, &o->txn, op);
        } else if (o->kind == OP_RANGE && next(r, 3) != 0) {
            o->range.in_parts = true;
            give(r, p, (*op)++, false, o->range.kvs, o->range.n_kvs);
            o->range.kvs = NULL;
            o->range.n_kvs = 0;
        } else if (o->kind == OP_DELETE && next(r, 3) != 0) {
            o->del.in_parts = true;
            give(r, p, (*op)++, true, o->del.prevs, o->del.n_prevs);
            o->del.prevs = NULL;
            o->del.n_prevs = 0;
        }
    }
}

static void give_reply(struct random *r, struct reply_parts *p, struct store_reply *reply)
{
    size_t op = 0, n;

    switch (p->kind) {
    case STORE_RANGE:
        n = (size_t)next(r, reply->range.n_kvs + 1); /* the others come with the reply */
        give(r, p, 0, false, reply->range.kvs, n);
        reply->range.kvs += n;
        reply->range.n_kvs -= n;
        break;
    case STORE_DELETE:
        reply->del.in_parts = true;
        give(r, p, 0, true, reply->del.prevs, reply->del.n_prevs);
        reply->del.prevs = NULL;
        reply->del.n_prevs = 0;
        break;
    default:
        give_txn(r, p, &reply->txn, &op);
    }
}

/* ---- the two ways ---- */

static void in_one_go(enum store_kind kind, const ProtobufCMessageDescriptor *json,
    const struct store_reply *reply, struct strbuf *out)
{
    struct pbw w;

    pbw_init(&w, 0);
    encode_reply(&w, kind, reply);
    if (json != NULL) {
        json_from_proto(json, pbw_view(&w), out);
    } else {
        rpc_put_prefix(&w, pbw_size(&w));
        strbuf_append_bytes(out, pbw_view(&w));
    }
    pbw_deinit(&w);
}

static void drain(struct segq *q, struct strbuf *out)
{
    while (q->bytes > 0) {
        uv_buf_t view;

        (void)segq_views(q, &view, 1);
        strbuf_append(out, view.base, view.len);
        segq_consume(q, view.len);
    }
}

/* Behind what is in the queue already. */
static void check(
    uint64_t seed, enum store_kind kind, const ProtobufCMessageDescriptor *json, struct segq *out)
{
    _cleanup_strbuf_ struct strbuf want = {0}, got = {0};
    _cleanup_arena_ struct arena arena = {0};
    struct random r = {.state = seed};
    struct store_reply reply = any_reply(&r, kind, &arena);
    struct reply_parts p = {0};

    in_one_go(kind, json, &reply, &want);
    reply_parts_init(&p, kind, json);
    give_reply(&r, &p, &reply);
    reply_parts_finish(&p, &reply, out);
    reply_parts_deinit(&p);
    drain(out, &got);
    if (!bytes_eq(strbuf_bytes(&want), strbuf_bytes(&got))) {
        fail_msg("seed %" PRIu64 " kind %d %s: %zu bytes, %zu in one go", seed, kind,
            json != NULL ? "JSON" : "gRPC", got.len, want.len);
    }
}

static const struct {
    enum store_kind kind;
    const ProtobufCMessageDescriptor *type;
} kinds[] = {
    {STORE_RANGE, &etcdserverpb__range_response__descriptor},
    {STORE_DELETE, &etcdserverpb__delete_range_response__descriptor},
    {STORE_TXN, &etcdserverpb__txn_response__descriptor},
};

TEST(reply_parts, any_reply_is_the_one_that_is_encoded_in_one_go)
{
    struct segq out = {0};

    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
            check(seed, kinds[i].kind, NULL, &out);
            check(seed, kinds[i].kind, kinds[i].type, &out);
        }
    }
    segq_deinit(&out);
}

/* ---- what they cost ---- */

/* Segments that hold the elements when they come hold them when the message is whole. */
TEST(reply_parts, elements_are_not_copied)
{
    static uint8_t value[5000];
    struct kv kv = {.key = BYTES_LITERAL("key"), .value = bytes_make(value, sizeof(value))};
    struct txn_op_reply op = {.kind = OP_DELETE, .revision = 7, .del.in_parts = true};
    struct store_reply reply = {.txn = {.ops = &op, .n_ops = 1}};
    struct reply_parts p = {0};
    struct segq out = {0};
    uv_buf_t before[2], after[5];

    reply_parts_init(&p, STORE_TXN, NULL);
    for (size_t i = 0; i < 2; i++) {
        reply_parts_add(&p, &(struct store_part){.kvs = &kv, .n = 1, .prevs = true, .about = 2});
    }
    assert_int_equal(segq_views(&p.elements, before, 2), 2);
    reply_parts_finish(&p, &reply, &out);
    assert_int_equal(segq_views(&out, after, 5), 3); /* …and nothing stands behind them */
    assert_ptr_equal(after[1].base, before[0].base);
    assert_ptr_equal(after[2].base, before[1].base);
    reply_parts_deinit(&p);
    segq_deinit(&out);
}

TEST_MAIN(UNIT(reply_parts, any_reply_is_the_one_that_is_encoded_in_one_go),
    UNIT(reply_parts, elements_are_not_copied))
