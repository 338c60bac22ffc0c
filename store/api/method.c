#include "method.h"

#include "health.pb-c.h"
#include "rpc.pb-c.h"

#define PATHS(svc, rpc) .service = svc, .name = rpc, .grpc_path = "/" svc "/" rpc
#define TYPES(req, rep)                                                                            \
    .request = &etcdserverpb__##req##__descriptor, .response = &etcdserverpb__##rep##__descriptor

/* The most frequent first: a lookup compares lengths from the top. */
const struct method methods[METHOD_COUNT] = {
    {PATHS("etcdserverpb.KV", "Range"), .json_path = "/kv/range", .kind = METHOD_STORE,
        .right = API_RIGHT_KEYS, TYPES(range_request, range_response), .decode = decode_range},
    {PATHS("etcdserverpb.KV", "Put"), .json_path = "/kv/put", .kind = METHOD_STORE,
        .right = API_RIGHT_KEYS, TYPES(put_request, put_response), .decode = decode_put},
    {PATHS("etcdserverpb.KV", "Txn"), .json_path = "/kv/txn", .kind = METHOD_STORE,
        .right = API_RIGHT_KEYS, TYPES(txn_request, txn_response), .decode = decode_txn},
    {PATHS("etcdserverpb.KV", "DeleteRange"), .json_path = "/kv/deleterange", .kind = METHOD_STORE,
        .right = API_RIGHT_KEYS, TYPES(delete_range_request, delete_range_response),
        .decode = decode_delete},
    {PATHS("etcdserverpb.KV", "Compact"), .json_path = "/kv/compaction", .kind = METHOD_STORE,
        .right = API_RIGHT_ROOT, TYPES(compaction_request, compaction_response),
        .decode = decode_compact},
    {PATHS("etcdserverpb.Watch", "Watch"), .json_path = "/watch", .kind = METHOD_WATCH,
        .right = API_RIGHT_KEYS, TYPES(watch_request, watch_response)},
    {PATHS("etcdserverpb.Lease", "LeaseGrant"), .json_path = "/lease/grant", .kind = METHOD_STORE,
        .right = API_RIGHT_MEMBER, TYPES(lease_grant_request, lease_grant_response),
        .decode = decode_lease_grant},
    {PATHS("etcdserverpb.Lease", "LeaseRevoke"), .json_path = "/lease/revoke",
        .json_alias = "/kv/lease/revoke", .kind = METHOD_STORE, .right = API_RIGHT_LEASE,
        TYPES(lease_revoke_request, lease_revoke_response), .decode = decode_lease_revoke},
    {PATHS("etcdserverpb.Lease", "LeaseKeepAlive"), .json_path = "/lease/keepalive",
        .kind = METHOD_KEEPALIVE, .right = API_RIGHT_MEMBER,
        TYPES(lease_keep_alive_request, lease_keep_alive_response),
        .decode = decode_lease_keepalive},
    {PATHS("etcdserverpb.Lease", "LeaseTimeToLive"), .json_path = "/lease/timetolive",
        .json_alias = "/kv/lease/timetolive", .kind = METHOD_STORE, .right = API_RIGHT_LEASE,
        TYPES(lease_time_to_live_request, lease_time_to_live_response), .decode = decode_lease_ttl},
    {PATHS("etcdserverpb.Lease", "LeaseLeases"), .json_path = "/lease/leases",
        .json_alias = "/kv/lease/leases", .kind = METHOD_STORE, .right = API_RIGHT_MEMBER,
        TYPES(lease_leases_request, lease_leases_response), .decode = decode_lease_list},
    {PATHS("etcdserverpb.Cluster", "MemberList"), .json_path = "/cluster/member/list",
        .kind = METHOD_STORE, .right = API_RIGHT_MEMBER,
        TYPES(member_list_request, member_list_response), .decode = decode_member_list},
    {PATHS("etcdserverpb.Cluster", "MemberAdd"), .json_path = "/cluster/member/add",
        .kind = METHOD_STORE, .right = API_RIGHT_ROOT,
        TYPES(member_add_request, member_add_response), .decode = decode_member_add},
    {PATHS("etcdserverpb.Cluster", "MemberRemove"), .json_path = "/cluster/member/remove",
        .kind = METHOD_STORE, .right = API_RIGHT_ROOT,
        TYPES(member_remove_request, member_remove_response), .decode = decode_member_remove},
    {PATHS("etcdserverpb.Cluster", "MemberUpdate"), .json_path = "/cluster/member/update",
        .kind = METHOD_STORE, .right = API_RIGHT_ROOT,
        TYPES(member_update_request, member_update_response), .decode = decode_member_update},
    {PATHS("etcdserverpb.Cluster", "MemberPromote"), .json_path = "/cluster/member/promote",
        .kind = METHOD_STORE, .right = API_RIGHT_ROOT,
        TYPES(member_promote_request, member_promote_response), .decode = decode_member_promote},
    {PATHS("etcdserverpb.Maintenance", "MoveLeader"),
        .json_path = "/maintenance/transfer-leadership", .kind = METHOD_STORE,
        .right = API_RIGHT_ROOT, TYPES(move_leader_request, move_leader_response),
        .decode = decode_move_leader},
    {PATHS("etcdserverpb.Maintenance", "Status"), .json_path = "/maintenance/status",
        .kind = METHOD_STORE, .right = API_RIGHT_MEMBER, TYPES(status_request, status_response),
        .decode = decode_status},
    {PATHS("etcdserverpb.Maintenance", "Alarm"), .json_path = "/maintenance/alarm",
        .kind = METHOD_STORE, .right = API_RIGHT_ROOT, TYPES(alarm_request, alarm_response),
        .decode = decode_alarm},
    {PATHS("etcdserverpb.Maintenance", "Defragment"), .json_path = "/maintenance/defragment",
        .kind = METHOD_STORE, .right = API_RIGHT_ROOT,
        TYPES(defragment_request, defragment_response), .decode = decode_defragment},
    {PATHS("etcdserverpb.Maintenance", "Hash"), .json_path = "/maintenance/hash",
        .kind = METHOD_STORE, .right = API_RIGHT_ROOT, TYPES(hash_request, hash_response),
        .decode = decode_hash},
    {PATHS("etcdserverpb.Maintenance", "HashKV"), .json_path = "/maintenance/hashkv",
        .kind = METHOD_STORE, .right = API_RIGHT_ROOT, TYPES(hash_kvrequest, hash_kvresponse),
        .decode = decode_hash_kv},
    {PATHS("etcdserverpb.Maintenance", "Snapshot"), .json_path = "/maintenance/snapshot",
        .kind = METHOD_SNAPSHOT, .right = API_RIGHT_ROOT,
        TYPES(snapshot_request, snapshot_response)},
    {PATHS("grpc.health.v1.Health", "Check"), .kind = METHOD_HEALTH, .right = API_RIGHT_NONE,
        .request = &grpc__health__v1__health_check_request__descriptor,
        .response = &grpc__health__v1__health_check_response__descriptor},
};

static bool is(struct bytes b, const char *s)
{
    return s != NULL && b.len == strlen(s) && memcmp(b.data, s, b.len) == 0;
}

const struct method *method_by_grpc_path(struct bytes path)
{
    for (size_t i = 0; i < METHOD_COUNT; i++) {
        if (is(path, methods[i].grpc_path)) {
            return &methods[i];
        }
    }
    return NULL;
}

const struct method *method_by_json_path(struct bytes path)
{
    for (size_t i = 0; i < METHOD_COUNT; i++) {
        if (is(path, methods[i].json_path) || is(path, methods[i].json_alias)) {
            return &methods[i];
        }
    }
    return NULL;
}

bool method_service_exists(struct bytes service)
{
    for (size_t i = 0; i < METHOD_COUNT; i++) {
        if (is(service, methods[i].service)) {
            return true;
        }
    }
    return false;
}

const char *method_absent(struct bytes path)
{
    /* A path with a slash at its end stands for all below it. */
    static const struct {
        const char *path, *call;
    } absent[] = {
        {"/lock/", "/v3lockpb.Lock/"},
        {"/election/", "/v3electionpb.Election/"},
        {"/auth/", "/etcdserverpb.Auth/"},
        {"/maintenance/downgrade", "/etcdserverpb.Maintenance/Downgrade"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(absent); i++) {
        struct bytes known = bytes_str(absent[i].path);

        if (known.data[known.len - 1] == '/' ? bytes_starts_with(path, known)
                                             : bytes_eq(path, known)) {
            return absent[i].call;
        }
    }
    return NULL;
}
