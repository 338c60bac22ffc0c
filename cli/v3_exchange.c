#include "v3_exchange.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { GRPC_DEADLINE = 4, GRPC_UNAVAILABLE = 14 };

static size_t on_body(char *data, size_t size, size_t n, void *user)
{
    struct exchange *x = user;

    if (x->reply.len + n > V3_REPLY_BYTES_MAX) {
        return 0; /* ends the transfer with CURLE_WRITE_ERROR */
    }
    if (x->debug) {
        (void)fprintf(stderr, "< %.*s\n", (int)MIN(n, (size_t)4000), data);
    }
    strbuf_append(&x->reply, data, n);
    return size * n;
}

void exchange_init(struct exchange *x, const struct v3_endpoint *endpoint, const char *path,
    const json_t *request, int64_t timeout_ms, bool debug)
{
    _cleanup_free_ char *url = xasprintf("%s/v3%s", endpoint->url, path);
    long connect_ms = V3_CONNECT_TIMEOUT_MS;

    *x = (struct exchange){.endpoint = endpoint, .debug = debug};
    x->body = json_dumps(request, JSON_COMPACT);
    x->easy = curl_easy_init();
    x->headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (x->body == NULL || x->easy == NULL || x->headers == NULL) {
        decree_fatal("out of memory");
    }
    /* Without the question whether a large body is welcome, which costs a round trip. */
    x->headers = curl_slist_append(x->headers, "Expect:");
    if (timeout_ms != 0) {
        connect_ms = MIN(connect_ms, (long)timeout_ms);
    }
    curl_easy_setopt(x->easy, CURLOPT_URL, url);
    curl_easy_setopt(x->easy, CURLOPT_POSTFIELDS, x->body);
    curl_easy_setopt(x->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(x->body));
    curl_easy_setopt(x->easy, CURLOPT_HTTPHEADER, x->headers);
    curl_easy_setopt(x->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(x->easy, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(x->easy, CURLOPT_ERRORBUFFER, x->detail);
    curl_easy_setopt(x->easy, CURLOPT_PRIVATE, x);
    curl_easy_setopt(x->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(x->easy, CURLOPT_NOPROXY, "*"); /* members are reached directly */
    curl_easy_setopt(x->easy, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(x->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    /* A kept connection that turns out dead would make curl send a write a second time. */
    curl_easy_setopt(x->easy, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(x->easy, CURLOPT_CONNECTTIMEOUT_MS, connect_ms);
    curl_easy_setopt(x->easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(x->easy, CURLOPT_TCP_KEEPALIVE, 1L);
    if (endpoint->unix_path != NULL) {
        curl_easy_setopt(x->easy, CURLOPT_UNIX_SOCKET_PATH, endpoint->unix_path);
    }
    if (debug) {
        (void)fprintf(stderr, "> POST %s (%s) %.4000s\n", url, endpoint->text, x->body);
    }
}

void exchange_deinit(struct exchange *x)
{
    if (x->easy != NULL) {
        curl_easy_cleanup(x->easy);
    }
    curl_slist_free_all(x->headers);
    free(x->body);
    strbuf_deinit(&x->reply);
}

enum verdict exchange_judge_error(const json_t *reply, char **ret_text)
{
    const json_t *error = json_object_get(reply, "error");
    const json_t *where = json_is_object(error) ? error : reply;
    const json_t *code = json_object_get(where, "code");
    const char *text = json_string_value(json_object_get(where, "message"));

    if (code == NULL) {
        code = json_object_get(where, "grpc_code");
    }
    if (text == NULL) {
        text = json_string_value(error);
    }
    *ret_text = xstrdup(text != NULL ? text : "an error without a text");
    if (strcmp(*ret_text, err_text(DECREE_EUNHEALTHY)) == 0) {
        return VERDICT_NOT_DONE; /* a check before anything is done, with the code of a time-out */
    }
    if (strcmp(*ret_text, err_text(DECREE_ELEARNER)) == 0) {
        return VERDICT_NOT_HERE;
    }
    return json_integer_value(code) == GRPC_UNAVAILABLE || json_integer_value(code) == GRPC_DEADLINE
        ? VERDICT_NOT_SERVED
        : VERDICT_REFUSED;
}

/* The transfer itself failed. */
static enum verdict judge_transfer(struct exchange *x, CURLcode rc, char **ret_text)
{
    long sent = 0, os_errno = 0;

    (void)curl_easy_getinfo(x->easy, CURLINFO_REQUEST_SIZE, &sent);
    (void)curl_easy_getinfo(x->easy, CURLINFO_OS_ERRNO, &os_errno);
    if (rc == CURLE_COULDNT_CONNECT && os_errno != 0) {
        *ret_text = xstrdup(strerror((int)os_errno));
    } else if (rc == CURLE_OPERATION_TIMEDOUT) {
        *ret_text = xstrdup(sent == 0 ? "cannot connect in time" : "no answer in time");
    } else if (rc == CURLE_WRITE_ERROR) {
        *ret_text = xasprintf(
            "the reply is longer than %d MiB; ask for less with --limit", V3_REPLY_BYTES_MAX >> 20);
        return VERDICT_REFUSED;
    } else {
        *ret_text = xstrdup(x->detail[0] != 0 ? x->detail : curl_easy_strerror(rc));
    }
    return sent == 0 ? VERDICT_NOT_SENT : VERDICT_NOT_SERVED;
}

enum verdict exchange_judge(struct exchange *x, CURLcode rc, json_t **ret_reply, char **ret_text)
{
    json_t *reply;
    long status = 0;
    enum verdict verdict;

    *ret_reply = NULL;
    *ret_text = NULL;
    if (rc != CURLE_OK) {
        return judge_transfer(x, rc, ret_text);
    }
    (void)curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
    reply = json_loadb((const char *)x->reply.data, x->reply.len, JSON_ALLOW_NUL, NULL);
    if (json_is_object(reply) && status == 200) {
        *ret_reply = reply;
        return VERDICT_DONE;
    }
    if (json_is_object(reply)) {
        verdict = exchange_judge_error(reply, ret_text);
    } else {
        *ret_text = xasprintf("it answers HTTP %ld instead of v3 JSON; is that a decreed or etcd "
                              "client address?",
            status);
        verdict = VERDICT_REFUSED;
    }
    json_decref(reply);
    return verdict;
}
