/* One HTTP exchange with one endpoint: how a curl handle is set up for it and what its end means.
 * Private to the v3 client. */
#ifndef DECREE_CLI_V3_EXCHANGE_H
#define DECREE_CLI_V3_EXCHANGE_H

#include <curl/curl.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "v3_endpoint.h"

/* More than this is no reply to print: ask with --limit. */
enum { V3_REPLY_BYTES_MAX = 1 << 30 };
/* A host that drops packets must not eat the time of the endpoints behind it. */
enum { V3_CONNECT_TIMEOUT_MS = 2000 };

struct exchange {
    const struct v3_endpoint *endpoint; /* borrowed */
    CURL *easy;                         /* owned */
    struct curl_slist *headers;         /* owned */
    char *body;                         /* owned; malloc'd by jansson */
    struct strbuf reply;
    char detail[CURL_ERROR_SIZE];
    bool debug;
};

/* What an exchange has come to. */
enum verdict {
    VERDICT_DONE,       /* reply_json is set */
    VERDICT_NOT_SENT,   /* nothing left this host */
    VERDICT_NOT_SERVED, /* unavailable, or silent after it was sent */
    VERDICT_NOT_DONE,   /* unavailable, and the answer means that nothing was done */
    VERDICT_NOT_HERE,   /* nothing was done, and another member would not refuse it */
    VERDICT_REFUSED,
};

/* timeout_ms 0 = a stream, which may last. */
void exchange_init(struct exchange *x, const struct v3_endpoint *endpoint, const char *path,
    const json_t *request, int64_t timeout_ms, bool debug);
void exchange_deinit(struct exchange *x);
/* Judges a finished exchange. *ret_reply is the caller's on VERDICT_DONE; *ret_text, the caller's
 * as well, says otherwise what went wrong. */
enum verdict exchange_judge(struct exchange *x, CURLcode rc, json_t **ret_reply, char **ret_text);
/* What a reply body that is an error says: the gateway's {"error":…,"code":N} or, in a stream,
 * {"error":{"message":…,"grpc_code":N}}. *ret_text is the caller's. VERDICT_REFUSED,
 * VERDICT_NOT_SERVED, VERDICT_NOT_DONE or VERDICT_NOT_HERE. */
enum verdict exchange_judge_error(const json_t *reply, char **ret_text);

#endif
