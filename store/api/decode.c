#include "decode.h"

#include "err.h"
#include "rpc.pb-c.h"

static struct bytes view(ProtobufCBinaryData b)
{
    return bytes_make(b.data, b.len);
}

static void range_from(const Etcdserverpb__RangeRequest *m, struct range_request *ret)
{
    *ret = (struct range_request){
        .key = view(m->key),
        .range_end = view(m->range_end),
        .limit = m->limit,
        .revision = m->revision,
        /* Numbers beyond the enum stay what they are: the store's check refuses them. */
        .sort_order = (enum sort_order)m->sort_order,
        .sort_target = (enum sort_target)m->sort_target,
        .serializable = m->serializable,
        .keys_only = m->keys_only,
        .count_only = m->count_only,
        .min_mod_revision = m->min_mod_revision,
        .max_mod_revision = m->max_mod_revision,
        .min_create_revision = m->min_create_revision,
        .max_create_revision = m->max_create_revision,
    };
}

static void put_from(const Etcdserverpb__PutRequest *m, struct put_request *ret)
{
    *ret = (struct put_request){
        .key = view(m->key),
        .value = view(m->value),
        .lease = m->lease,
        .prev_kv = m->prev_kv,
        .ignore_value = m->ignore_value,
        .ignore_lease = m->ignore_lease,
    };
}

static void delete_from(const Etcdserverpb__DeleteRangeRequest *m, struct delete_request *ret)
{
    *ret = (struct delete_request){
        .key = view(m->key),
        .range_end = view(m->range_end),
        .prev_kv = m->prev_kv,
    };
}

/* The operand counts only when it is the one that the target asks for; else it is zero, as in
 * etcd. */
static int compare_from(const Etcdserverpb__Compare *m, struct compare *ret)
{
    *ret = (struct compare){
        .result = (enum compare_result)m->result,
        .target = (enum compare_target)m->target,
        .key = view(m->key),
        .range_end = view(m->range_end),
    };
    if ((unsigned)m->result > COMPARE_NOT_EQUAL) {
        return DECREE_EBAD_REQUEST;
    }
    switch (m->target) {
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__VERSION:
        ret->number =
            m->target_union_case == ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION ? m->version : 0;
        return 0;
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE:
        ret->number = m->target_union_case == ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION
            ? m->create_revision
            : 0;
        return 0;
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD:
        ret->number = m->target_union_case == ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION
            ? m->mod_revision
            : 0;
        return 0;
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__LEASE:
        ret->number =
            m->target_union_case == ETCDSERVERPB__COMPARE__TARGET_UNION_LEASE ? m->lease : 0;
        return 0;
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE:
        if (m->target_union_case == ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE) {
            ret->value = view(m->value);
        }
        return 0;
    default:
        return DECREE_EBAD_REQUEST;
    }
}

static int txn_from(
    const Etcdserverpb__TxnRequest *m, struct arena *arena, struct txn_request *ret);

static int op_from(const Etcdserverpb__RequestOp *m, struct arena *arena, struct txn_op *ret)
{
    switch (m->request_case) {
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE:
        ret->kind = OP_RANGE;
        range_from(m->request_range, &ret->range);
        return 0;
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT:
        ret->kind = OP_PUT;
        put_from(m->request_put, &ret->put);
        return 0;
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE:
        ret->kind = OP_DELETE;
        delete_from(m->request_delete_range, &ret->del);
        return 0;
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN:
        ret->kind = OP_TXN;
        ret->txn = arena_calloc(arena, 1, sizeof(*ret->txn));
        return ret->txn != NULL ? txn_from(m->request_txn, arena, ret->txn) : DECREE_ETOO_LARGE;
    default:
        ret->kind = OP_NONE;
        return 0;
    }
}

static int ops_from(
    Etcdserverpb__RequestOp *const *ops, size_t n, struct arena *arena, struct txn_op **ret)
{
    *ret = n != 0 ? arena_calloc(arena, n, sizeof(**ret)) : NULL;
    if (n != 0 && *ret == NULL) {
        return DECREE_ETOO_LARGE;
    }
    for (size_t i = 0; i < n; i++) {
        int r = op_from(ops[i], arena, &(*ret)[i]);

        if (r < 0) {
            return r;
        }
    }
    return 0;
}

/* Recursion is bounded: the guards let at most PROTO_DEPTH_MAX messages nest. */
static int txn_from(const Etcdserverpb__TxnRequest *m, struct arena *arena, struct txn_request *ret)
{
    int r;

    *ret = (struct txn_request){
        .n_compares = m->n_compare,
        .n_success = m->n_success,
        .n_failure = m->n_failure,
    };
    if (m->n_compare != 0) {
        ret->compares = arena_calloc(arena, m->n_compare, sizeof(*ret->compares));
        if (ret->compares == NULL) {
            return DECREE_ETOO_LARGE;
        }
    }
    for (size_t i = 0; i < m->n_compare; i++) {
        r = compare_from(m->compare[i], &ret->compares[i]);
        if (r < 0) {
            return r;
        }
    }
    r = ops_from(m->success, m->n_success, arena, &ret->success);
    return r < 0 ? r : ops_from(m->failure, m->n_failure, arena, &ret->failure);
}

int decode_range(const ProtobufCMessage *m, struct arena *arena _unused_, struct store_call *call)
{
    call->kind = STORE_RANGE;
    range_from((const Etcdserverpb__RangeRequest *)m, &call->range);
    return 0;
}

int decode_put(const ProtobufCMessage *m, struct arena *arena _unused_, struct store_call *call)
{
    call->kind = STORE_PUT;
    put_from((const Etcdserverpb__PutRequest *)m, &call->put);
    return 0;
}

int decode_delete(const ProtobufCMessage *m, struct arena *arena _unused_, struct store_call *call)
{
    call->kind = STORE_DELETE;
    delete_from((const Etcdserverpb__DeleteRangeRequest *)m, &call->del);
    return 0;
}

int decode_txn(const ProtobufCMessage *m, struct arena *arena, struct store_call *call)
{
    call->kind = STORE_TXN;
    return txn_from((const Etcdserverpb__TxnRequest *)m, arena, &call->txn);
}

int decode_compact(const ProtobufCMessage *m, struct arena *arena _unused_, struct store_call *call)
{
    const Etcdserverpb__CompactionRequest *c = (const Etcdserverpb__CompactionRequest *)m;

    call->kind = STORE_COMPACT;
    call->compact = (struct compact_request){.revision = c->revision, .physical = c->physical};
    return 0;
}

int decode_lease_grant(
    const ProtobufCMessage *m, struct arena *arena _unused_, struct store_call *call)
{
    const Etcdserverpb__LeaseGrantRequest *g = (const Etcdserverpb__LeaseGrantRequest *)m;

    call->kind = STORE_LEASE_GRANT;
    call->lease_grant = (struct lease_grant_request){.id = g->id, .ttl = g->ttl};
    return 0;
}

int decode_lease_revoke(
    const ProtobufCMessage *m, struct arena *arena _unused_, struct store_call *call)
{
    call->kind = STORE_LEASE_REVOKE;
    call->lease_id.id = ((const Etcdserverpb__LeaseRevokeRequest *)m)->id;
    return 0;
}

int decode_lease_keepalive(
    const ProtobufCMessage *m, struct arena *arena _unused_, struct store_call *call)
{
    call->kind = STORE_LEASE_KEEPALIVE;
    call->lease_id.id = ((const Etcdserverpb__LeaseKeepAliveRequest *)m)->id;
    return 0;
}

int decode_lease_ttl(
    const ProtobufCMessage *m, struct arena *arena _unused_, struct store_call *call)
{
    const Etcdserverpb__LeaseTimeToLiveRequest *t = (const Etcdserverpb__LeaseTimeToLiveRequest *)m;

    call->kind = STORE_LEASE_TTL;
    call->lease_ttl = (struct lease_ttl_request){.id = t->id, .keys = t->keys};
    return 0;
}

int decode_lease_list(
    const ProtobufCMessage *m _unused_, struct arena *arena _unused_, struct store_call *call)
{
    call->kind = STORE_LEASE_LIST;
    return 0;
}

int decode_member_list(
    const ProtobufCMessage *m, struct arena *arena _unused_, struct store_call *call)
{
    call->kind = STORE_MEMBER_LIST;
    call->member_list.linearizable = ((const Etcdserverpb__MemberListRequest *)m)->linearizable;
    return 0;
}

/* protobuf-c has made C strings of the URLs; they live as long as the message. */
int decode_member_add(
    const ProtobufCMessage *m, struct arena *arena _unused_, struct store_call *call)
{
    const Etcdserverpb__MemberAddRequest *a = (const Etcdserverpb__MemberAddRequest *)m;

    call->kind = STORE_MEMBER_ADD;
    call->member = (struct store_member_request){.peer_urls = (const char *const *)a->peerurls,
        .n_peer_urls = a->n_peerurls,
        .learner = a->islearner};
    return 0;
}

int decode_member_remove(
    const ProtobufCMessage *m, struct arena *arena _unused_, struct store_call *call)
{
    call->kind = STORE_MEMBER_REMOVE;
    call->member =
        (struct store_member_request){.id = ((const Etcdserverpb__MemberRemoveRequest *)m)->id};
    return 0;
}

int decode_member_update(
    const ProtobufCMessage *m, struct arena *arena _unused_, struct store_call *call)
{
    const Etcdserverpb__MemberUpdateRequest *u = (const Etcdserverpb__MemberUpdateRequest *)m;

    call->kind = STORE_MEMBER_UPDATE;
    call->member = (struct store_member_request){
        .id = u->id, .peer_urls = (const char *const *)u->peerurls, .n_peer_urls = u->n_peerurls};
    return 0;
}

int decode_member_promote(
    const ProtobufCMessage *m, struct arena *arena _unused_, struct store_call *call)
{
    call->kind = STORE_MEMBER_PROMOTE;
    call->member =
        (struct store_member_request){.id = ((const Etcdserverpb__MemberPromoteRequest *)m)->id};
    return 0;
}

int decode_move_leader(
    const ProtobufCMessage *m, struct arena *arena _unused_, struct store_call *call)
{
    call->kind = STORE_MOVE_LEADER;
    call->member =
        (struct store_member_request){.id = ((const Etcdserverpb__MoveLeaderRequest *)m)->targetid};
    return 0;
}

int decode_status(
    const ProtobufCMessage *m _unused_, struct arena *arena _unused_, struct store_call *call)
{
    call->kind = STORE_STATUS;
    return 0;
}

int decode_alarm(const ProtobufCMessage *m, struct arena *arena _unused_, struct store_call *call)
{
    const Etcdserverpb__AlarmRequest *a = (const Etcdserverpb__AlarmRequest *)m;

    if ((int)a->action < 0 || (int)a->action >= STORE_ALARM_ACTION_END || (int)a->alarm < 0 ||
        (int)a->alarm >= STORE_ALARM_TYPE_END) {
        return DECREE_EBAD_REQUEST;
    }
    call->kind = STORE_ALARM;
    call->alarm = (struct store_alarm_request){.action = (enum store_alarm_action)a->action,
        .alarm = {.member = a->memberid, .type = (enum store_alarm_type)a->alarm}};
    return 0;
}

int decode_defragment(
    const ProtobufCMessage *m _unused_, struct arena *arena _unused_, struct store_call *call)
{
    call->kind = STORE_DEFRAGMENT;
    return 0;
}

int decode_hash(
    const ProtobufCMessage *m _unused_, struct arena *arena _unused_, struct store_call *call)
{
    call->kind = STORE_HASH;
    return 0;
}

int decode_hash_kv(const ProtobufCMessage *m, struct arena *arena _unused_, struct store_call *call)
{
    call->kind = STORE_HASH_KV;
    call->hash_kv.revision = ((const Etcdserverpb__HashKVRequest *)m)->revision;
    return 0;
}
