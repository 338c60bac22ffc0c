/* A client of the v3 JSON gateway, over TCP or a unix socket.
 *
 * One request at a time: each call tries the endpoints in turn, beginning with the one that
 * answered last. A request that may be repeated (V3_READ) moves on whenever an endpoint cannot
 * serve it; one that may not (V3_WRITE) moves on only while nothing has been sent, since a write
 * that went out may have been done although no answer came back. */
#ifndef DECREE_CLI_V3_CLIENT_H
#define DECREE_CLI_V3_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "bytes.h"
#include "err.h"

/* Outcomes beside 0; a text for the person is in reterr, except for V3_ENDED and V3_INTERRUPTED. */
enum v3_outcome {
    V3_UNREACHABLE = 1, /* no endpoint could serve it: connection, time-out, no leader */
    V3_REFUSED,         /* the server said no */
    V3_ENDED,           /* a stream came to its end */
    V3_INTERRUPTED,     /* SIGINT or SIGTERM came while waiting */
};

enum v3_kind { V3_READ, V3_WRITE };

struct v3_client;
struct v3_stream;

/* endpoints: a comma-separated list of http://HOST:PORT, HOST:PORT or unix:///PATH. -EINVAL with a
 * text when one is none of these. With debug, requests and replies go to standard error. */
int v3_client_new(const char *endpoints, int64_t timeout_ms, bool debug, struct v3_client **ret,
    struct err *reterr);
/* NULL is accepted; returns NULL. */
struct v3_client *v3_client_free(struct v3_client *c);
static inline void v3_client_freep(struct v3_client **c)
{
    v3_client_free(*c);
}

size_t v3_client_endpoints(const struct v3_client *c);
/* As given. The client's. */
const char *v3_client_endpoint(const struct v3_client *c, size_t i);

/* POST /v3<path>. The request stays the caller's; *ret is a JSON object, the caller's.
 * 0, V3_UNREACHABLE or V3_REFUSED. */
int v3_call(struct v3_client *c, enum v3_kind kind, const char *path, const json_t *request,
    json_t **ret, struct err *reterr);

/* What one endpoint of v3_call_each answered. */
struct v3_answer {
    int outcome;   /* 0, V3_UNREACHABLE or V3_REFUSED */
    json_t *reply; /* NULL unless outcome is 0 */
    char *error;   /* NULL when outcome is 0 */
    int64_t took_us;
};
/* The same request to all endpoints at once; ret has room for v3_client_endpoints(). */
void v3_call_each(
    struct v3_client *c, const char *path, const json_t *request, struct v3_answer *ret);
void v3_answer_deinit(struct v3_answer *a);

/* A request answered by a stream of {"result":…} lines, on the first endpoint that accepts it,
 * beginning with the one after the last failure. Only one stream per client at a time. */
int v3_stream_open(struct v3_client *c, const char *path, const json_t *request,
    struct v3_stream **ret, struct err *reterr);
/* The next result, the caller's. wait_ms is how long to wait for it, -1 for ever.
 * 0, V3_ENDED (also when the connection broke: reterr says how), V3_REFUSED, V3_UNREACHABLE
 * (nothing within wait_ms) or V3_INTERRUPTED when interrupt_fd (or -1) became readable. */
int v3_stream_next(
    struct v3_stream *s, int interrupt_fd, int wait_ms, json_t **ret, struct err *reterr);
const char *v3_stream_endpoint(const struct v3_stream *s);
/* NULL is accepted; returns NULL. */
struct v3_stream *v3_stream_free(struct v3_stream *s);

/* The gateway's forms: 64-bit numbers are strings, numbers are accepted too; bytes are base64. A
 * field that is absent is zero or empty, as the gateway leaves those out. */
int64_t v3_int(const json_t *object, const char *field);
uint64_t v3_uint(const json_t *object, const char *field);
/* "" when absent; borrowed from object. */
const char *v3_text(const json_t *object, const char *field);
/* The decoded bytes, *ret_memory the caller's to free. Damaged base64 is empty. */
struct bytes v3_bytes(const json_t *object, const char *field, char **ret_memory);
json_t *v3_from_bytes(struct bytes b);
json_t *v3_from_int(int64_t v);

#endif
