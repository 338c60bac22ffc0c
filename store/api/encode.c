#include "encode.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

enum {
    HEADER_FIELD = 1,    /* of every response */
    EVENTS_FIELD = 11,   /* of WatchResponse */
    KV_OVERHEAD = 64,    /* tags and numbers of one KeyValue, most of the time */
    REPLY_OVERHEAD = 96, /* header and what is not repeated */
};

static void header_fields(struct pbw *w, const struct store_header *h)
{
    pbw_u64(w, 4, h->raft_term);
    pbw_i64(w, 3, h->revision);
    pbw_u64(w, 2, h->member_id);
    pbw_u64(w, 1, h->cluster_id);
}

static void encode_header(struct pbw *w, const struct store_header *h)
{
    size_t mark = pbw_size(w);

    header_fields(w, h);
    pbw_message(w, HEADER_FIELD, mark);
}

static void kv(struct pbw *w, unsigned field, const struct kv *kv)
{
    size_t mark = pbw_size(w);

    pbw_i64(w, 6, kv->lease);
    pbw_bytes(w, 5, kv->value);
    pbw_i64(w, 4, kv->version);
    pbw_i64(w, 3, kv->mod_revision);
    pbw_i64(w, 2, kv->create_revision);
    pbw_bytes(w, 1, kv->key);
    pbw_message(w, field, mark);
}

void encode_kvs(struct pbw *w, unsigned field, const struct kv *list, size_t n)
{
    while (n > 0) {
        kv(w, field, &list[--n]);
    }
}

static void kvs(struct pbw *w, unsigned field, bool in_parts, const struct kv *list, size_t n)
{
    if (in_parts) {
        pbw_gap(w, field);
    } else {
        encode_kvs(w, field, list, n);
    }
}

static void range_fields(struct pbw *w, const struct range_reply *r)
{
    pbw_i64(w, 4, r->count);
    pbw_bool(w, 3, r->more);
    kvs(w, ENCODE_KVS, r->in_parts, r->kvs, r->n_kvs);
}

static void put_fields(struct pbw *w, const struct put_reply *r)
{
    if (r->has_prev) {
        kv(w, 2, &r->prev);
    }
}

static void delete_fields(struct pbw *w, const struct delete_reply *r)
{
    kvs(w, ENCODE_PREV_KVS, r->in_parts, r->prevs, r->n_prevs);
    pbw_i64(w, 2, r->deleted);
}

static void txn_fields(struct pbw *w, const struct txn_reply *r);

/* A nested reply's header carries the revision alone, and a nested txn's not even that. */
static void op(struct pbw *w, const struct txn_op_reply *o)
{
    struct store_header header = {.revision = o->kind == OP_TXN ? 0 : o->revision};
    size_t item = pbw_size(w), message = item;

    switch (o->kind) {
    case OP_RANGE:
        range_fields(w, &o->range);
        break;
    case OP_PUT:
        put_fields(w, &o->put);
        break;
    case OP_DELETE:
        delete_fields(w, &o->del);
        break;
    case OP_TXN:
        txn_fields(w, &o->txn);
        break;
    case OP_NONE:
        decree_assert(false && "an op without a request is refused before it runs");
    }
    encode_header(w, &header);
    /* ResponseOp numbers its replies range 1, put 2, delete 3, txn 4. */
    static_assert(OP_RANGE == 1 && OP_PUT == 2 && OP_DELETE == 3 && OP_TXN == 4, "ResponseOp");
    pbw_message(w, (unsigned)o->kind, message);
    pbw_message(w, 3, item);
}

static void txn_fields(struct pbw *w, const struct txn_reply *r)
{
    for (size_t i = r->n_ops; i > 0; i--) {
        op(w, &r->ops[i - 1]);
    }
    pbw_bool(w, 2, r->succeeded);
}

static void lease_ttl_fields(struct pbw *w, const struct lease_reply *r)
{
    for (size_t i = r->n_keys; i > 0; i--) {
        pbw_bytes_item(w, 5, r->keys[i - 1]);
    }
    pbw_i64(w, 4, r->granted);
    pbw_i64(w, 3, r->ttl);
    pbw_i64(w, 2, r->id);
}

static void lease_list_fields(struct pbw *w, const struct lease_list_reply *r)
{
    for (size_t i = r->n; i > 0; i--) {
        size_t mark = pbw_size(w);

        pbw_i64(w, 1, r->ids[i - 1]);
        pbw_message(w, 2, mark);
    }
}

static void member(struct pbw *w, unsigned field, const struct store_member *m)
{
    size_t mark = pbw_size(w);

    pbw_bool(w, 5, m->learner);
    for (size_t i = m->n_client_urls; i > 0; i--) {
        pbw_bytes_item(w, 4, bytes_str(m->client_urls[i - 1]));
    }
    for (size_t i = m->n_peer_urls; i > 0; i--) {
        pbw_bytes_item(w, 3, bytes_str(m->peer_urls[i - 1]));
    }
    pbw_bytes(w, 2, bytes_str(m->name));
    pbw_u64(w, 1, m->id);
    pbw_message(w, field, mark);
}

static void members(struct pbw *w, unsigned field, const struct store_reply *reply)
{
    for (size_t i = reply->members.n; i > 0; i--) {
        member(w, field, &reply->members.list[i - 1]);
    }
}

static void alarms_fields(struct pbw *w, const struct store_alarm_reply *r)
{
    for (size_t i = r->n; i > 0; i--) {
        size_t mark = pbw_size(w);

        pbw_u64(w, 2, (uint64_t)r->list[i - 1].type);
        pbw_u64(w, 1, r->list[i - 1].member);
        pbw_message(w, 2, mark);
    }
}

/* In etcd's words: an alarm as protobuf's text form writes it. */
static void status_errors(struct pbw *w, const struct store_status_reply *s)
{
    static const char *const names[] = {"NONE", "NOSPACE", "CORRUPT"};

    static_assert(ARRAY_SIZE(names) == STORE_ALARM_TYPE_END, "a name for each alarm");
    for (size_t i = s->alarms.n; i > 0; i--) {
        const struct store_alarm *a = &s->alarms.list[i - 1];
        char text[64];

        (void)snprintf(
            text, sizeof(text), "memberID:%" PRIu64 " alarm:%s ", a->member, names[a->type]);
        pbw_bytes_item(w, 8, bytes_str(a->member != 0 ? text : strchr(text, 'a')));
    }
    if (s->leader == 0) {
        pbw_bytes_item(w, 8, bytes_str(err_text(DECREE_ENO_LEADER)));
    }
}

static void status_fields(struct pbw *w, const struct store_status_reply *s)
{
    pbw_bool(w, 10, s->learner);
    pbw_u64(w, 9, s->db_size_in_use);
    if (s->repair != NULL) {
        pbw_bytes_item(w, 8, bytes_str(s->repair));
    }
    if (s->disk_full != NULL) {
        pbw_bytes_item(w, 8, bytes_str(s->disk_full));
    }
    status_errors(w, s);
    pbw_u64(w, 7, s->raft_applied);
    pbw_u64(w, 6, s->raft_term);
    pbw_u64(w, 5, s->raft_index);
    pbw_u64(w, 4, s->leader);
    pbw_u64(w, 3, s->db_size);
    pbw_bytes(w, 2, bytes_str(s->etcd_version));
}

void encode_reply(struct pbw *w, enum store_kind kind, const struct store_reply *reply)
{
    struct store_header header = reply->header;

    switch (kind) {
    case STORE_RANGE:
        range_fields(w, &reply->range);
        break;
    case STORE_PUT:
        put_fields(w, &reply->put);
        break;
    case STORE_DELETE:
        delete_fields(w, &reply->del);
        break;
    case STORE_TXN:
        txn_fields(w, &reply->txn);
        break;
    case STORE_LEASE_GRANT:
    case STORE_LEASE_KEEPALIVE:
        pbw_i64(w, 3, reply->lease.ttl);
        pbw_i64(w, 2, reply->lease.id);
        break;
    case STORE_LEASE_TTL:
        lease_ttl_fields(w, &reply->lease);
        break;
    case STORE_LEASE_LIST:
        lease_list_fields(w, &reply->lease_list);
        break;
    case STORE_MEMBER_ADD:
        members(w, 3, reply);
        member(w, 2, reply->members.added);
        header.revision = 0; /* cluster replies speak of no revision */
        break;
    case STORE_MEMBER_LIST:
    case STORE_MEMBER_REMOVE:
    case STORE_MEMBER_UPDATE:
    case STORE_MEMBER_PROMOTE:
        members(w, 2, reply);
        header.revision = 0;
        break;
    case STORE_MOVE_LEADER:
        return; /* as etcd: not even a header */
    case STORE_STATUS:
        status_fields(w, &reply->status);
        break;
    case STORE_ALARM:
        alarms_fields(w, &reply->alarms);
        break;
    case STORE_HASH_KV:
        pbw_i64(w, 4, reply->hash.hash_revision);
        pbw_i64(w, 3, reply->hash.compact_revision);
        pbw_u64(w, 2, reply->hash.hash);
        break;
    case STORE_HASH:
        pbw_u64(w, 2, reply->hash.hash);
        break;
    case STORE_DEFRAGMENT:
        return; /* no header either */
    case STORE_COMPACT:
    case STORE_LEASE_REVOKE:
        break;
    case STORE_KIND_END:
        decree_assert(false && "no kind");
    }
    encode_header(w, &header);
}

size_t encode_kvs_estimate(const struct kv *list, size_t n)
{
    size_t sum = 0;

    for (size_t i = 0; i < n; i++) {
        sum += list[i].key.len + list[i].value.len + KV_OVERHEAD;
    }
    return sum;
}

static size_t txn_gaps(const struct txn_reply *r)
{
    size_t n = 0;

    for (size_t i = 0; i < r->n_ops; i++) {
        const struct txn_op_reply *o = &r->ops[i];

        n += o->kind == OP_TXN ? txn_gaps(&o->txn) : 0;
        n += o->kind == OP_RANGE && o->range.in_parts;
        n += o->kind == OP_DELETE && o->del.in_parts;
    }
    return n;
}

size_t encode_gaps(enum store_kind kind, const struct store_reply *reply)
{
    switch (kind) {
    case STORE_RANGE:
        return reply->range.in_parts;
    case STORE_DELETE:
        return reply->del.in_parts;
    case STORE_TXN:
        return txn_gaps(&reply->txn);
    default:
        return 0;
    }
}

static size_t txn_estimate(const struct txn_reply *r)
{
    size_t sum = 0;

    for (size_t i = 0; i < r->n_ops; i++) {
        const struct txn_op_reply *o = &r->ops[i];

        sum += REPLY_OVERHEAD;
        switch (o->kind) {
        case OP_RANGE:
            sum += encode_kvs_estimate(o->range.kvs, o->range.n_kvs);
            break;
        case OP_PUT:
            sum += o->put.has_prev ? encode_kvs_estimate(&o->put.prev, 1) : 0;
            break;
        case OP_DELETE:
            sum += encode_kvs_estimate(o->del.prevs, o->del.n_prevs);
            break;
        case OP_TXN:
            sum += txn_estimate(&o->txn);
            break;
        case OP_NONE:
            break;
        }
    }
    return sum;
}

size_t encode_reply_estimate(enum store_kind kind, const struct store_reply *reply)
{
    switch (kind) {
    case STORE_RANGE:
        return REPLY_OVERHEAD + encode_kvs_estimate(reply->range.kvs, reply->range.n_kvs);
    case STORE_PUT:
        return REPLY_OVERHEAD +
            (reply->put.has_prev ? encode_kvs_estimate(&reply->put.prev, 1) : 0);
    case STORE_DELETE:
        return REPLY_OVERHEAD + encode_kvs_estimate(reply->del.prevs, reply->del.n_prevs);
    case STORE_TXN:
        return REPLY_OVERHEAD + txn_estimate(&reply->txn);
    case STORE_LEASE_LIST:
        return REPLY_OVERHEAD + reply->lease_list.n * 13;
    default:
        return REPLY_OVERHEAD;
    }
}

struct buf *encode_event(const struct watch_event *e, bool prev_kv)
{
    bool with_prev = prev_kv && e->has_prev;
    struct pbw w;
    struct buf *b;
    size_t offset;

    pbw_init(&w,
        encode_kvs_estimate(&e->kv, 1) + (with_prev ? encode_kvs_estimate(&e->prev, 1) : 0) + 16);
    if (with_prev) {
        kv(&w, 3, &e->prev);
    }
    kv(&w, 2, &e->kv);
    pbw_u64(&w, 1, e->is_delete ? 1 : 0);
    pbw_message(&w, EVENTS_FIELD, 0);
    /* Exactly sized: it may be kept by many queues. */
    b = pbw_take(&w, &offset);
    if (offset != 0) {
        memmove(b->data, b->data + offset, b->len - offset);
        b->len -= (uint32_t)offset;
    }
    return b;
}

void encode_snapshot_response(struct pbw *w, const struct snapshot_response *r)
{
    pbw_bytes(w, 4, bytes_str(STORE_ETCD_VERSION));
    pbw_bytes(w, 3, r->blob);
    pbw_u64(w, 2, r->remaining_bytes);
    encode_header(w, &r->header);
}

void encode_watch_response(struct pbw *w, const struct watch_response *r)
{
    pbw_bool(w, 7, r->fragment);
    if (r->cancel_reason != NULL) {
        pbw_bytes(w, 6, bytes_str(r->cancel_reason));
    }
    pbw_i64(w, 5, r->compact_revision);
    pbw_bool(w, 4, r->canceled);
    pbw_bool(w, 3, r->created);
    pbw_i64(w, 2, r->watch_id);
    encode_header(w, &r->header);
}
