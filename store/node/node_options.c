/* What was left out of a node's options, and whom they name. */
#include "alloc.h"
#include "node_impl.h"

enum {
    HEARTBEAT_MS = 100,
    ELECTION_MS = 1000,
    SNAPSHOT_COUNT = 100000,
    SNAPSHOT_KEEP = 5000,
};

#define QUOTA_BYTES ((uint64_t)2 << 30)
#define TOKEN_DEFAULT "etcd-cluster"

int node_options_complete(struct node_options *o, struct err *reterr)
{
    o->heartbeat_ms = o->heartbeat_ms != 0 ? o->heartbeat_ms : HEARTBEAT_MS;
    o->election_ms = o->election_ms != 0 ? o->election_ms : ELECTION_MS;
    o->snapshot_count = o->snapshot_count != 0 ? o->snapshot_count : SNAPSHOT_COUNT;
    o->snapshot_keep = o->snapshot_keep != 0 ? o->snapshot_keep : SNAPSHOT_KEEP;
    o->quota_bytes = o->quota_bytes != 0 ? o->quota_bytes : QUOTA_BYTES;
    if (o->election_ms < 5 * o->heartbeat_ms) {
        return err_set(reterr, DECREE_EINVALID_CONFIG,
            "the election timeout (%u ms) must be at least five heartbeat intervals (%u ms)",
            o->election_ms, o->heartbeat_ms);
    }
    return 0;
}

/* "name=url,name=url" of this member alone, when nobody else is named. */
static char *lone_cluster(const struct node_options *o)
{
    static const char *const fallback[] = {"http://localhost:2380"};
    const char *const *urls = o->initial_advertise_peer_urls;
    size_t n = o->n_initial_advertise_peer_urls;
    _cleanup_strbuf_ struct strbuf s = {0};

    if (n == 0) {
        urls = fallback;
        n = 1;
    }
    for (size_t i = 0; i < n; i++) {
        strbuf_printf(&s, "%s%s=%s", i > 0 ? "," : "", o->name, urls[i]);
    }
    return strbuf_take_cstr(&s);
}

int node_options_founders(const struct node_options *o, struct members *ret, struct err *reterr)
{
    const char *token = o->initial_cluster_token != NULL ? o->initial_cluster_token : TOKEN_DEFAULT;
    _cleanup_free_ char *lone = NULL;

    if (o->initial_cluster != NULL && *o->initial_cluster != 0) {
        return members_parse(o->initial_cluster, token, ret, reterr);
    }
    lone = lone_cluster(o);
    return members_parse(lone, token, ret, reterr);
}
