/* The doors of the store: gRPC over HTTP/2, the JSON gateway, /version, /health and /metrics, all
 * on one port. Decodes requests for store.h and encodes what it answers; knows nothing of raft,
 * disk or members. Runs wholly in the loop's thread. */
#ifndef DECREE_STORE_API_API_H
#define DECREE_STORE_API_API_H

#include <uv.h>

#include "err.h"
#include "store.h"

struct api;

struct api_options {
    /* Streams with `hasleader` are cut after this long without one; etcd: 3 election timeouts. 0
     * takes that of the default election timeout. */
    unsigned leaderless_ms;
    unsigned progress_interval_ms; /* of watches that ask for it; 0: 10 minutes, as etcd */
    /* Host names under which browsers may call, beside addresses and localhost ("*": any); borrowed
     * as long as the api lives. */
    const char *const *host_whitelist;
    size_t n_host_whitelist;
};

/* store must outlive it. options may be NULL. *ret is the caller's until api_stop's callback. */
int api_new(
    uv_loop_t *loop, struct store *store, const struct api_options *options, struct api **ret);

/* Listens on http://HOST:PORT (HOST: a name or an address, [::1] in brackets; resolved now, so call
 * before the loop runs) or unix:///PATH (mode 0660; a socket file that nobody listens on is
 * replaced). DECREE_EINVALID_CONFIG, -EADDRINUSE, -EACCES, …; reterr says what and where. */
int api_listen(struct api *api, const char *url, struct err *reterr);

/* Stops to listen, tells clients to go elsewhere, lets calls under way finish for a bounded time,
 * closes everything and frees the api; then runs cb, once, later. Call it before the store stops.
 */
void api_stop(struct api *api, void (*cb)(void *data), void *data);

#endif
