/* HTTP/1.1 requests on a libuv loop: libcurl's multi interface driven by uv_poll and one timer.
 * Nothing blocks, and no callback runs inside a call into this file. */
#ifndef DECREE_AGENT_HTTP_H
#define DECREE_AGENT_HTTP_H

#include <uv.h>

#include "buf.h"

enum {
    HTTP_CONNECT_TIMEOUT_MS = 3000, /* a member of the store is near, or it is not the right one */
    /* A peer whose host is gone without a word is noticed by the kernel within this time. */
    HTTP_DEAD_PEER_MS = 10000,
    /* A revision is at most 1.5 MiB, but a watch that catches up gets many at once, in base64. */
    HTTP_BODY_MAX = 256 * 1024 * 1024,
};

struct http;
struct http_request;

struct http_result {
    int rc;            /* 0: an answer came whole; negative: none did */
    const char *error; /* why, when rc is negative */
    long status;       /* HTTP status, 0 when none came */
    struct bytes body; /* what on_data has not been given; all of it without on_data */
};

struct http_spec {
    const char *url;         /* http://host:port/path */
    const char *unix_socket; /* connect to this socket instead of the url's host; NULL = do not */
    struct bytes body;       /* copied; sent as JSON with POST */
    uint64_t timeout_ms;     /* for the whole exchange; 0 = none, for streams */
    /* What has arrived and was not consumed yet; returns how many bytes of it are done with, or
     * SIZE_MAX when it has aborted this request. NULL: keep all for on_done. */
    size_t (*on_data)(void *data, struct bytes arrived);
    /* Once, unless http_abort came first. The request is gone when it returns. */
    void (*on_done)(void *data, const struct http_result *result);
    void *data;
};

struct http *http_new(uv_loop_t *loop);
/* Ends all requests without their callbacks; the memory goes when the loop has closed its handles.
 * NULL is accepted; returns NULL. */
struct http *http_free(struct http *h);

struct http_request *http_start(struct http *h, const struct http_spec *spec);
/* No callback follows. May be called from any callback, also its own on_data, which then returns
 * SIZE_MAX; not from on_done of the same request, which is gone already. */
void http_abort(struct http_request *r);

#endif
