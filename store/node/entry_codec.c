/* One writer runs twice over the same request: first it only counts, then it fills the buffer of
 * that size. So an entry costs one allocation and one copy of its keys and values. */
#include "entry_codec.h"

#include "codec.h"

/* ---- writing ---- */

struct out {
    uint8_t *p; /* NULL: count only */
    size_t n;
    bool too_deep;
};

static void out_u8(struct out *o, uint8_t v)
{
    if (o->p != NULL) {
        o->p[o->n] = v;
    }
    o->n++;
}

static void out_u64(struct out *o, uint64_t v)
{
    if (o->p != NULL) {
        put_u64(o->p + o->n, v);
    }
    o->n += 8;
}

static void out_varint(struct out *o, uint64_t v)
{
    while (v >= 0x80) {
        out_u8(o, (uint8_t)(v | 0x80));
        v >>= 7;
    }
    out_u8(o, (uint8_t)v);
}

/* Signed numbers of requests are rarely negative: plain two's complement, ten bytes when they are.
 */
static void out_int(struct out *o, int64_t v)
{
    out_varint(o, (uint64_t)v);
}

static void out_bytes(struct out *o, struct bytes b)
{
    out_varint(o, b.len);
    if (o->p != NULL && b.len != 0) {
        memcpy(o->p + o->n, b.data, b.len);
    }
    o->n += b.len;
}

enum put_flag { PUT_PREV_KV = 1, PUT_IGNORE_VALUE = 2, PUT_IGNORE_LEASE = 4, PUT_FLAGS_END = 8 };

static void out_put(struct out *o, const struct put_request *r)
{
    out_u8(o,
        (uint8_t)((r->prev_kv ? PUT_PREV_KV : 0) | (r->ignore_value ? PUT_IGNORE_VALUE : 0) |
            (r->ignore_lease ? PUT_IGNORE_LEASE : 0)));
    out_bytes(o, r->key);
    out_bytes(o, r->value);
    out_int(o, r->lease);
}

static void out_delete(struct out *o, const struct delete_request *r)
{
    out_u8(o, r->prev_kv);
    out_bytes(o, r->key);
    out_bytes(o, r->range_end);
}

enum range_flag {
    RANGE_SERIALIZABLE = 1,
    RANGE_KEYS_ONLY = 2,
    RANGE_COUNT_ONLY = 4,
    RANGE_FLAGS_END = 8
};

static void out_range(struct out *o, const struct range_request *r)
{
    out_u8(o,
        (uint8_t)((r->serializable ? RANGE_SERIALIZABLE : 0) |
            (r->keys_only ? RANGE_KEYS_ONLY : 0) | (r->count_only ? RANGE_COUNT_ONLY : 0)));
    out_bytes(o, r->key);
    out_bytes(o, r->range_end);
    out_int(o, r->limit);
    out_int(o, r->revision);
    out_u8(o, (uint8_t)r->sort_order);
    out_u8(o, (uint8_t)r->sort_target);
    out_int(o, r->min_mod_revision);
    out_int(o, r->max_mod_revision);
    out_int(o, r->min_create_revision);
    out_int(o, r->max_create_revision);
}

static void out_compare(struct out *o, const struct compare *c)
{
    out_u8(o, (uint8_t)c->result);
    out_u8(o, (uint8_t)c->target);
    out_bytes(o, c->key);
    out_bytes(o, c->range_end);
    if (c->target == COMPARE_VALUE) {
        out_bytes(o, c->value);
    } else {
        out_int(o, c->number);
    }
}

static void out_txn(struct out *o, const struct txn_request *t, unsigned depth);

static void out_ops(struct out *o, const struct txn_op *ops, size_t n, unsigned depth)
{
    out_varint(o, n);
    for (size_t i = 0; i < n; i++) {
        out_u8(o, (uint8_t)ops[i].kind);
        switch (ops[i].kind) {
        case OP_NONE:
            break;
        case OP_RANGE:
            out_range(o, &ops[i].range);
            break;
        case OP_PUT:
            out_put(o, &ops[i].put);
            break;
        case OP_DELETE:
            out_delete(o, &ops[i].del);
            break;
        case OP_TXN:
            out_txn(o, ops[i].txn, depth + 1);
            break;
        }
    }
}

static void out_txn(struct out *o, const struct txn_request *t, unsigned depth)
{
    if (depth > TXN_DEPTH_MAX) {
        o->too_deep = true;
        return;
    }
    out_varint(o, t->n_compares);
    for (size_t i = 0; i < t->n_compares; i++) {
        out_compare(o, &t->compares[i]);
    }
    out_ops(o, t->success, t->n_success, depth);
    out_ops(o, t->failure, t->n_failure, depth);
}

static void out_entry(struct out *o, const struct entry *e)
{
    out_u8(o, (uint8_t)e->type);
    out_u64(o, e->id.origin);
    out_u64(o, e->id.sequence);
    switch (e->type) {
    case ENTRY_PUT:
        out_put(o, &e->put);
        break;
    case ENTRY_DELETE:
        out_delete(o, &e->del);
        break;
    case ENTRY_TXN:
        out_txn(o, &e->txn, 1);
        break;
    case ENTRY_COMPACT:
        out_int(o, e->compact.revision);
        out_u8(o, e->compact.physical);
        break;
    case ENTRY_LEASE_GRANT:
        out_int(o, e->lease_grant.id);
        out_int(o, e->lease_grant.ttl);
        break;
    case ENTRY_LEASE_REVOKE:
        out_int(o, e->lease_revoke.id);
        break;
    case ENTRY_LEASE_EXPIRE:
        out_int(o, e->lease_expire.id);
        out_varint(o, e->lease_expire.term);
        break;
    case ENTRY_PUBLISH:
        out_u64(o, e->publish.member);
        out_u64(o, e->publish.incarnation);
        out_bytes(o, e->publish.name);
        out_varint(o, e->publish.n_client_urls);
        for (size_t i = 0; i < e->publish.n_client_urls; i++) {
            out_bytes(o, e->publish.client_urls[i]);
        }
        break;
    case ENTRY_ALARM:
        out_u8(o, (uint8_t)e->alarm.action);
        out_u64(o, e->alarm.alarm.member);
        out_u8(o, (uint8_t)e->alarm.alarm.type);
        out_u8(o, (uint8_t)e->alarm.alarm.own);
        break;
    case ENTRY_TYPE_END:
        decree_assert(e->type != ENTRY_TYPE_END);
    }
}

int entry_encode(const struct entry *e, struct buf **ret)
{
    struct out count = {0};
    struct out fill = {0};
    struct buf *b;

    out_entry(&count, e);
    if (count.too_deep) {
        return DECREE_EBAD_REQUEST;
    }
    if (count.n > REQUEST_BYTES_MAX) {
        return DECREE_ETOO_LARGE;
    }
    b = buf_new(count.n);
    fill.p = b->data;
    out_entry(&fill, e);
    decree_assert(fill.n == b->len);
    *ret = b;
    return 0;
}

/* ---- reading ---- */

struct in {
    struct dec d;
    struct arena *arena;
};

static int64_t in_int(struct in *in)
{
    return (int64_t)dec_varint(&in->d);
}

/* A byte that must be below end: flags, enums, booleans. */
static uint8_t in_below(struct in *in, unsigned end)
{
    uint8_t v = dec_u8(&in->d);

    if (v >= end) {
        in->d.bad = true;
        return 0;
    }
    return v;
}

/* A count of things that take at least one byte each, so that memory asked for is bounded by the
 * bytes that came. */
static size_t in_count(struct in *in, size_t max)
{
    uint64_t n = dec_varint(&in->d);

    if (n > max || n > dec_left(&in->d)) {
        in->d.bad = true;
        return 0;
    }
    return (size_t)n;
}

static void *in_array(struct in *in, size_t n, size_t size)
{
    void *p = n != 0 ? arena_calloc(in->arena, n, size) : NULL;

    if (n != 0 && p == NULL) {
        in->d.bad = true;
    }
    return p;
}

static void in_put(struct in *in, struct put_request *r)
{
    uint8_t flags = in_below(in, PUT_FLAGS_END);

    r->prev_kv = (flags & PUT_PREV_KV) != 0;
    r->ignore_value = (flags & PUT_IGNORE_VALUE) != 0;
    r->ignore_lease = (flags & PUT_IGNORE_LEASE) != 0;
    r->key = dec_bytes(&in->d);
    r->value = dec_bytes(&in->d);
    r->lease = in_int(in);
}

static void in_delete(struct in *in, struct delete_request *r)
{
    r->prev_kv = in_below(in, 2) != 0;
    r->key = dec_bytes(&in->d);
    r->range_end = dec_bytes(&in->d);
}

static void in_range(struct in *in, struct range_request *r)
{
    uint8_t flags = in_below(in, RANGE_FLAGS_END);

    r->serializable = (flags & RANGE_SERIALIZABLE) != 0;
    r->keys_only = (flags & RANGE_KEYS_ONLY) != 0;
    r->count_only = (flags & RANGE_COUNT_ONLY) != 0;
    r->key = dec_bytes(&in->d);
    r->range_end = dec_bytes(&in->d);
    r->limit = in_int(in);
    r->revision = in_int(in);
    r->sort_order = (enum sort_order)in_below(in, SORT_ORDER_END);
    r->sort_target = (enum sort_target)in_below(in, SORT_TARGET_END);
    r->min_mod_revision = in_int(in);
    r->max_mod_revision = in_int(in);
    r->min_create_revision = in_int(in);
    r->max_create_revision = in_int(in);
}

static void in_compare(struct in *in, struct compare *c)
{
    c->result = (enum compare_result)in_below(in, COMPARE_NOT_EQUAL + 1);
    c->target = (enum compare_target)in_below(in, COMPARE_LEASE + 1);
    c->key = dec_bytes(&in->d);
    c->range_end = dec_bytes(&in->d);
    if (c->target == COMPARE_VALUE) {
        c->value = dec_bytes(&in->d);
    } else {
        c->number = in_int(in);
    }
}

static void in_txn(struct in *in, struct txn_request *t, unsigned depth);

static struct txn_op *in_ops(struct in *in, size_t *ret_n, unsigned depth)
{
    size_t n = in_count(in, TXN_OPS_MAX);
    struct txn_op *ops = in_array(in, n, sizeof(*ops));

    for (size_t i = 0; i < n && !in->d.bad; i++) {
        ops[i].kind = (enum txn_op_kind)in_below(in, OP_TXN + 1);
        switch (ops[i].kind) {
        case OP_NONE:
            in->d.bad = true; /* refused before anything is proposed */
            break;
        case OP_RANGE:
            in_range(in, &ops[i].range);
            break;
        case OP_PUT:
            in_put(in, &ops[i].put);
            break;
        case OP_DELETE:
            in_delete(in, &ops[i].del);
            break;
        case OP_TXN:
            ops[i].txn = in_array(in, 1, sizeof(*ops[i].txn));
            if (ops[i].txn != NULL) {
                in_txn(in, ops[i].txn, depth + 1);
            }
            break;
        }
    }
    *ret_n = in->d.bad ? 0 : n;
    return ops;
}

static void in_txn(struct in *in, struct txn_request *t, unsigned depth)
{
    if (depth > TXN_DEPTH_MAX) {
        in->d.bad = true;
        return;
    }
    t->n_compares = in_count(in, TXN_OPS_MAX);
    t->compares = in_array(in, t->n_compares, sizeof(*t->compares));
    for (size_t i = 0; i < t->n_compares && !in->d.bad; i++) {
        in_compare(in, &t->compares[i]);
    }
    t->success = in_ops(in, &t->n_success, depth);
    t->failure = in_ops(in, &t->n_failure, depth);
}

static void in_publish(struct in *in, struct entry *e)
{
    e->publish.member = dec_u64(&in->d);
    e->publish.incarnation = dec_u64(&in->d);
    e->publish.name = dec_bytes(&in->d);
    e->publish.n_client_urls = in_count(in, ENTRY_URLS_MAX);
    e->publish.client_urls =
        in_array(in, e->publish.n_client_urls, sizeof(*e->publish.client_urls));
    for (size_t i = 0; i < e->publish.n_client_urls && !in->d.bad; i++) {
        e->publish.client_urls[i] = dec_bytes(&in->d);
        if (e->publish.client_urls[i].len > ENTRY_URL_BYTES_MAX) {
            in->d.bad = true;
        }
    }
    if (e->publish.name.len > ENTRY_URL_BYTES_MAX) {
        in->d.bad = true;
    }
}

static void in_alarm(struct in *in, struct store_alarm_request *r)
{
    r->action = (enum store_alarm_action)in_below(in, STORE_ALARM_ACTION_END);
    r->alarm.member = dec_u64(&in->d);
    r->alarm.type = (enum store_alarm_type)in_below(in, STORE_ALARM_TYPE_END);
    r->alarm.own = in_below(in, 2);
    if (r->action == STORE_ALARM_GET || r->alarm.type == STORE_ALARM_NONE) {
        in->d.bad = true; /* nothing to apply: refused or served before anything is proposed */
    }
}

static void in_body(struct in *in, struct entry *e)
{
    switch (e->type) {
    case ENTRY_PUT:
        in_put(in, &e->put);
        break;
    case ENTRY_DELETE:
        in_delete(in, &e->del);
        break;
    case ENTRY_TXN:
        in_txn(in, &e->txn, 1);
        break;
    case ENTRY_COMPACT:
        e->compact.revision = in_int(in);
        e->compact.physical = in_below(in, 2) != 0;
        break;
    case ENTRY_LEASE_GRANT:
        e->lease_grant.id = in_int(in);
        e->lease_grant.ttl = in_int(in);
        if (e->lease_grant.id == 0) {
            in->d.bad = true; /* the proposer picks one */
        }
        break;
    case ENTRY_LEASE_REVOKE:
        e->lease_revoke.id = in_int(in);
        break;
    case ENTRY_LEASE_EXPIRE:
        e->lease_expire.id = in_int(in);
        e->lease_expire.term = dec_varint(&in->d);
        break;
    case ENTRY_PUBLISH:
        in_publish(in, e);
        break;
    case ENTRY_ALARM:
        in_alarm(in, &e->alarm);
        break;
    case ENTRY_TYPE_END:
        in->d.bad = true;
        break;
    }
}

int entry_decode(struct bytes b, struct arena *arena, struct entry *ret)
{
    struct in in = {.d = dec_make(b), .arena = arena};
    uint8_t type = dec_u8(&in.d);

    *ret = (struct entry){0};
    if (in.d.bad) {
        return DECREE_EBAD_REQUEST;
    }
    if (type == 0 || type >= ENTRY_TYPE_END) {
        return ENTRY_UNKNOWN_TYPE;
    }
    ret->type = (enum entry_type)type;
    ret->id.origin = dec_u64(&in.d);
    ret->id.sequence = dec_u64(&in.d);
    in_body(&in, ret);
    return dec_done(&in.d) ? 0 : DECREE_EBAD_REQUEST;
}
