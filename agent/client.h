/* A client of the etcd v3 JSON protocol (contracts/etcd-v3.md §9): single calls and watches, on one
 * of several endpoints. An endpoint that cannot be reached, or that says it cannot serve now, is
 * left for the next one; the caller asks again when it sees fit. */
#ifndef DECREE_AGENT_CLIENT_H
#define DECREE_AGENT_CLIENT_H

#include <jansson.h>
#include <uv.h>

#include "buf.h"
#include "err.h"

enum {
    CLIENT_CALL_TIMEOUT_MS = 5000, /* longer than an election: a write may wait for a new leader */
    CLIENT_ENDPOINTS_MAX = 16,
};

enum client_outcome {
    CLIENT_OK,
    CLIENT_REFUSED,     /* the store answered with an error: asking again does not help */
    CLIENT_UNAVAILABLE, /* no answer, or "not now": ask again, another endpoint is next */
};

struct client;
struct client_call;
struct client_watch;

struct client_reply {
    enum client_outcome outcome;
    json_t *body;      /* the answer when CLIENT_OK; valid until the callback returns */
    int grpc_code;     /* of a refusal */
    const char *error; /* of everything but CLIENT_OK, with the endpoint */
};

typedef void (*client_cb)(void *data, const struct client_reply *reply);

/* endpoints: http://HOST:PORT or unix:///PATH, separated by commas. -EINVAL with what is allowed.
 */
int client_new(uv_loop_t *loop, const char *endpoints, struct client **ret, struct err *reterr);
/* Calls and watches that are under way end without their callbacks; not to be called from one.
 * NULL is accepted; returns NULL. */
struct client *client_free(struct client *c);
/* The endpoint that is used now; c's. */
const char *client_endpoint(const struct client *c);

/* Posts request to path ("/v3/kv/range"). cb runs once, later, unless client_call_abort came first.
 * timeout_ms 0 = CLIENT_CALL_TIMEOUT_MS. */
struct client_call *client_post(struct client *c, const char *path, json_t *request_consume,
    uint64_t timeout_ms, client_cb cb, void *data);
void client_call_abort(struct client_call *call);

struct client_event {
    bool deleted;
    struct bytes key, value;
    int64_t mod_revision;
};

/* All run later, and may call client_watch_close. */
struct client_watch_handler {
    void (*on_created)(void *data);
    /* events of one response: whole revisions in their order */
    void (*on_events)(void *data, const struct client_event *events, size_t n);
    /* nothing up to this revision that was not told */
    void (*on_progress)(void *data, int64_t revision);
    /* What begins at the wanted revision is gone; the watch is over, close it. */
    void (*on_compacted)(void *data, int64_t compact_revision);
    /* The watch is over for another reason; close it. */
    void (*on_end)(void *data, const char *error);
};

/* Watches [start, end) from a revision on. */
struct client_watch *client_watch_open(struct client *c, struct bytes start, struct bytes end,
    int64_t revision, const struct client_watch_handler *handler, void *data);
void client_watch_close(struct client_watch *w);

/* Members of JSON objects as this protocol writes them. */
json_t *client_json_bytes(struct bytes b);
json_t *client_json_int(int64_t v);
/* 0 when the member is missing, no number, or one beyond all that is counted here; zero fields are
 * omitted on this wire. */
int64_t client_get_int(const json_t *object, const char *name);
/* Appends the decoded bytes; a missing member is empty. -EBADMSG when it is not base64. */
int client_get_bytes(const json_t *object, const char *name, struct strbuf *out);

#endif
