/* The table of calls: one row each, for both doors. */
#ifndef DECREE_STORE_API_METHOD_H
#define DECREE_STORE_API_METHOD_H

#include "decode.h"

/* What the caller must be allowed to do. No row can go without: 0 is none of them and is refused
 * when the api is made. The keys of a request are looked at in addition, where it has some. */
enum api_right {
    API_RIGHT_UNDECLARED,
    API_RIGHT_NONE,   /* anybody: liveness of the door itself */
    API_RIGHT_MEMBER, /* any known user: status, list of members */
    API_RIGHT_KEYS,   /* the permissions on the keys that the request names */
    API_RIGHT_LEASE,  /* the permissions on the keys attached to the lease */
    API_RIGHT_ROOT,   /* administration */
};

enum method_kind {
    METHOD_STORE,     /* one request, one store call, one reply */
    METHOD_KEEPALIVE, /* a stream of such */
    METHOD_WATCH,
    METHOD_SNAPSHOT, /* one request, a stream of replies */
    METHOD_HEALTH,   /* answered here */
};

struct method {
    const char *service, *name;
    const char *grpc_path;  /* "/service/name" */
    const char *json_path;  /* below the base; NULL: gRPC only */
    const char *json_alias; /* older second path, or NULL */
    enum method_kind kind;
    enum api_right right;
    const ProtobufCMessageDescriptor *request, *response;
    decode_fn decode; /* METHOD_STORE and METHOD_KEEPALIVE */
};

enum { METHOD_COUNT = 24 };
extern const struct method methods[METHOD_COUNT];

const struct method *method_by_grpc_path(struct bytes path);
/* path is without its base ("/v3"). */
const struct method *method_by_json_path(struct bytes path);
bool method_service_exists(struct bytes service);
/* The call that etcd has at this JSON path and that is not served here, as "/service/name" (its
 * name is left out where nothing of the service is served); NULL when etcd has none either. */
const char *method_absent(struct bytes path);
/* Requests come one after another, without an end of their own. */
static inline bool method_is_stream(const struct method *m)
{
    return m->kind == METHOD_KEEPALIVE || m->kind == METHOD_WATCH;
}
/* Replies do. */
static inline bool method_streams_replies(const struct method *m)
{
    return method_is_stream(m) || m->kind == METHOD_SNAPSHOT;
}

#endif
