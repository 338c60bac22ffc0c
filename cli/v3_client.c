#include "v3_client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "clock.h"
#include "v3_exchange.h"

/* Members of a cluster are 3 to 7; a list longer than this is a mistake. */
enum { ENDPOINTS_MAX = 64 };
/* Bytes of a stream that have been handed out before the rest is moved to the front. */
enum { STREAM_READ_MAX = 256 << 10 };

struct v3_client {
    struct v3_endpoint *endpoints; /* owned, n of them */
    size_t n;
    size_t current; /* the one to try first: it answered last */
    int64_t timeout_ms;
    bool debug;
};

struct v3_stream {
    struct v3_client *client; /* borrowed */
    struct exchange exchange;
    CURLM *multi; /* owned */
    size_t read;  /* bytes of exchange.reply that have been handed out */
    CURLcode rc;  /* how the transfer ended, valid when done */
    bool done;
};

int v3_client_new(const char *endpoints, int64_t timeout_ms, bool debug, struct v3_client **ret,
    struct err *reterr)
{
    struct v3_client *c = xcalloc(1, sizeof(*c));
    const char *p = endpoints;

    c->endpoints = xcalloc(ENDPOINTS_MAX, sizeof(*c->endpoints));
    c->timeout_ms = timeout_ms;
    c->debug = debug;
    for (;;) {
        size_t len = strcspn(p, ",");
        int r = c->n < ENDPOINTS_MAX
            ? v3_endpoint_parse(p, len, &c->endpoints[c->n], reterr)
            : err_set(reterr, -EINVAL, "more than %d endpoints", ENDPOINTS_MAX);

        if (r < 0) {
            v3_client_free(c);
            return r;
        }
        c->n++;
        if (p[len] == 0) {
            break;
        }
        p += len + 1;
    }
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        decree_fatal("libcurl cannot start");
    }
    *ret = c;
    return 0;
}

struct v3_client *v3_client_free(struct v3_client *c)
{
    if (c != NULL) {
        for (size_t i = 0; i < c->n; i++) {
            v3_endpoint_deinit(&c->endpoints[i]);
        }
        free(c->endpoints);
        free(c);
        curl_global_cleanup();
    }
    return NULL;
}

size_t v3_client_endpoints(const struct v3_client *c)
{
    return c->n;
}

const char *v3_client_endpoint(const struct v3_client *c, size_t i)
{
    return c->endpoints[i].text;
}

/* Why each endpoint failed, gathered while they are tried. */
struct failures {
    struct strbuf text;
    size_t n;
    bool sent;   /* a request left this host */
    bool served; /* a server spoke, if only to say that it cannot serve */
};

static void failures_add(struct failures *f, const struct v3_endpoint *e, enum verdict verdict,
    bool server_spoke, const char *why)
{
    strbuf_printf(&f->text, "%s%s: %s", f->n != 0 ? "\n  " : "", e->text, why);
    f->n++;
    f->sent = f->sent || verdict == VERDICT_NOT_SERVED || verdict == VERDICT_REFUSED;
    f->served = f->served || server_spoke;
}

static int failures_report(struct failures *f, enum v3_kind kind, struct err *reterr)
{
    const char *advice = f->served ? ""
        : f->sent                  ? "; decree status shows whether there is a leader"
                                   : "; is it running? Start decreed, or name it with --endpoints";

    if (kind == V3_WRITE && f->sent) {
        err_set(reterr, V3_UNREACHABLE,
            "%s (the write may have been done all the same: look before "
            "you repeat it)",
            strbuf_cstr(&f->text));
    } else if (f->n == 1) {
        err_set(reterr, V3_UNREACHABLE, "%s%s%s",
            f->served || f->sent ? "" : "no decreed answers at ", strbuf_cstr(&f->text), advice);
    } else {
        err_set(reterr, V3_UNREACHABLE, "none of the endpoints can serve this:\n  %s",
            strbuf_cstr(&f->text));
    }
    strbuf_deinit(&f->text);
    return V3_UNREACHABLE;
}

static bool server_spoke(CURL *easy)
{
    long status = 0;

    (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    return status != 0;
}

/* Whether the next endpoint may be tried after this verdict. */
static bool may_go_on(enum verdict verdict, enum v3_kind kind)
{
    return verdict == VERDICT_NOT_SENT || verdict == VERDICT_NOT_HERE || kind == V3_READ;
}

int v3_call(struct v3_client *c, enum v3_kind kind, const char *path, const json_t *request,
    json_t **ret, struct err *reterr)
{
    struct failures failures = {0};

    for (size_t tried = 0; tried < c->n; tried++) {
        size_t i = (c->current + tried) % c->n;
        _cleanup_(exchange_deinit) struct exchange x;
        _cleanup_free_ char *text = NULL;
        enum verdict verdict;
        CURLcode rc;

        exchange_init(&x, &c->endpoints[i], path, request, c->timeout_ms, c->debug);
        rc = curl_easy_perform(x.easy);
        verdict = exchange_judge(&x, rc, ret, &text);
        if (verdict == VERDICT_NOT_HERE && c->n == 1) {
            verdict = VERDICT_REFUSED;
        }
        if (verdict == VERDICT_DONE || verdict == VERDICT_REFUSED) {
            c->current = i;
            strbuf_deinit(&failures.text);
            if (verdict == VERDICT_REFUSED) {
                return err_set(reterr, V3_REFUSED, "%s", text);
            }
            return 0;
        }
        failures_add(&failures, &c->endpoints[i], verdict, server_spoke(x.easy), text);
        if (!may_go_on(verdict, kind)) {
            break;
        }
    }
    return failures_report(&failures, kind, reterr);
}

/* Takes what has finished from multi and fills the answers in; how many that were. */
static size_t answers_collect(CURLM *multi, struct exchange *exchanges, struct v3_answer *ret)
{
    const CURLMsg *msg;
    size_t n = 0;
    int left;

    while ((msg = curl_multi_info_read(multi, &left)) != NULL) {
        struct exchange *x = NULL;
        struct v3_answer *a;
        enum verdict verdict;
        curl_off_t took = 0;

        if (msg->msg != CURLMSG_DONE) {
            continue;
        }
        (void)curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)(void *)&x);
        (void)curl_easy_getinfo(msg->easy_handle, CURLINFO_TOTAL_TIME_T, &took);
        a = &ret[x - exchanges];
        verdict = exchange_judge(x, msg->data.result, &a->reply, &a->error);
        a->outcome = verdict == VERDICT_DONE                            ? 0
            : verdict == VERDICT_REFUSED || verdict == VERDICT_NOT_HERE ? V3_REFUSED
                                                                        : V3_UNREACHABLE;
        a->took_us = took;
        n++;
    }
    return n;
}

void v3_call_each(
    struct v3_client *c, const char *path, const json_t *request, struct v3_answer *ret)
{
    struct exchange *exchanges = xcalloc(c->n, sizeof(*exchanges));
    CURLM *multi = curl_multi_init();
    size_t done = 0;
    int running;

    if (multi == NULL) {
        decree_fatal("out of memory");
    }
    for (size_t i = 0; i < c->n; i++) {
        ret[i] = (struct v3_answer){0};
        exchange_init(&exchanges[i], &c->endpoints[i], path, request, c->timeout_ms, c->debug);
        curl_multi_add_handle(multi, exchanges[i].easy);
    }
    while (done < c->n) {
        if (curl_multi_perform(multi, &running) != CURLM_OK) {
            decree_fatal("libcurl lost track of its transfers");
        }
        done += answers_collect(multi, exchanges, ret);
        if (done < c->n) {
            (void)curl_multi_poll(multi, NULL, 0, (int)c->timeout_ms, NULL);
        }
    }
    for (size_t i = 0; i < c->n; i++) {
        curl_multi_remove_handle(multi, exchanges[i].easy);
        exchange_deinit(&exchanges[i]);
    }
    curl_multi_cleanup(multi);
    free(exchanges);
}

void v3_answer_deinit(struct v3_answer *a)
{
    json_decref(a->reply);
    free(a->error);
}

/* Lets the transfer go on and notes its end. */
static void stream_advance(struct v3_stream *s)
{
    const CURLMsg *msg;
    int running, left;

    if (curl_multi_perform(s->multi, &running) != CURLM_OK) {
        decree_fatal("libcurl lost track of its transfer");
    }
    while ((msg = curl_multi_info_read(s->multi, &left)) != NULL) {
        if (msg->msg == CURLMSG_DONE) {
            s->done = true;
            s->rc = msg->data.result;
        }
    }
}

static bool stream_has_line(const struct v3_stream *s)
{
    const struct strbuf *b = &s->exchange.reply;

    return b->len > s->read && memchr(b->data + s->read, '\n', b->len - s->read) != NULL;
}

static struct v3_stream *stream_start(
    struct v3_client *c, size_t i, const char *path, const json_t *request)
{
    struct v3_stream *s = xcalloc(1, sizeof(*s));

    s->client = c;
    s->multi = curl_multi_init();
    if (s->multi == NULL) {
        decree_fatal("out of memory");
    }
    exchange_init(&s->exchange, &c->endpoints[i], path, request, 0, c->debug);
    curl_multi_add_handle(s->multi, s->exchange.easy);
    return s;
}

/* Runs until the server has said something or the transfer has ended; false when time is up. */
static bool stream_await_first(struct v3_stream *s, int64_t timeout_ms)
{
    uint64_t deadline = clock_boot_ms() + (uint64_t)timeout_ms;

    for (;;) {
        uint64_t now = clock_boot_ms();

        stream_advance(s);
        if (stream_has_line(s) || s->done) {
            return true;
        }
        if (now >= deadline) {
            return false;
        }
        (void)curl_multi_poll(s->multi, NULL, 0, (int)(deadline - now), NULL);
    }
}

int v3_stream_open(struct v3_client *c, const char *path, const json_t *request,
    struct v3_stream **ret, struct err *reterr)
{
    struct failures failures = {0};

    for (size_t tried = 0; tried < c->n; tried++) {
        size_t i = (c->current + tried) % c->n;
        struct v3_stream *s = stream_start(c, i, path, request);
        _cleanup_free_ char *text = NULL;
        json_t *reply = NULL;
        enum verdict verdict = VERDICT_NOT_SERVED;

        if (!stream_await_first(s, c->timeout_ms)) {
            text = xstrdup("no answer in time");
        } else if (stream_has_line(s)) {
            c->current = i;
            *ret = s;
            strbuf_deinit(&failures.text);
            return 0;
        } else {
            verdict = exchange_judge(&s->exchange, s->rc, &reply, &text);
        }
        if (verdict == VERDICT_NOT_HERE && c->n == 1) {
            verdict = VERDICT_REFUSED;
        }
        if (verdict == VERDICT_DONE) {
            json_decref(reply);
            text = xstrdup("the stream ended before it began");
        }
        failures_add(&failures, &c->endpoints[i], verdict, server_spoke(s->exchange.easy), text);
        v3_stream_free(s);
        if (verdict == VERDICT_REFUSED) {
            strbuf_deinit(&failures.text);
            return err_set(reterr, V3_REFUSED, "%s", text);
        }
    }
    return failures_report(&failures, V3_READ, reterr);
}

/* Takes the next line off the buffer; NULL when it is not JSON. */
static json_t *stream_take_line(struct v3_stream *s)
{
    struct strbuf *b = &s->exchange.reply;
    const uint8_t *line = b->data + s->read;
    const uint8_t *end = memchr(line, '\n', b->len - s->read);
    json_t *value = json_loadb((const char *)line, (size_t)(end - line), JSON_ALLOW_NUL, NULL);

    s->read = (size_t)(end - b->data) + 1;
    if (s->read == b->len || s->read >= STREAM_READ_MAX) {
        memmove(b->data, b->data + s->read, b->len - s->read);
        b->len -= s->read;
        s->read = 0;
    }
    return value;
}

static int stream_result(struct v3_stream *s, json_t **ret, struct err *reterr)
{
    json_t *line = stream_take_line(s);
    json_t *result = json_object_get(line, "result");
    _cleanup_free_ char *text = NULL;
    int outcome = 0;

    if (result != NULL) {
        *ret = json_incref(result);
    } else if (json_is_object(line)) {
        outcome = exchange_judge_error(line, &text) == VERDICT_REFUSED ? V3_REFUSED : V3_ENDED;
        err_set(reterr, outcome, "%s", text);
    } else {
        outcome =
            err_set(reterr, V3_ENDED, "%s sends what is not v3 JSON", s->exchange.endpoint->text);
    }
    json_decref(line);
    return outcome;
}

/* Asked for each result: a stream that never pauses could not be left otherwise. */
static bool is_interrupted(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return fd >= 0 && poll(&p, 1, 0) > 0;
}

int v3_stream_next(
    struct v3_stream *s, int interrupt_fd, int wait_ms, json_t **ret, struct err *reterr)
{
    struct curl_waitfd interrupt = {.fd = interrupt_fd, .events = CURL_WAIT_POLLIN};
    uint64_t deadline = clock_boot_ms() + (uint64_t)MAX(wait_ms, 0);
    /* curl's poll has no "for ever": a long turn and another one is the same. */
    const int turn_ms = 60000;

    for (;;) {
        uint64_t now = clock_boot_ms();

        if (is_interrupted(interrupt_fd)) {
            return V3_INTERRUPTED;
        }
        /* Nothing more is taken from the socket while there are lines: a server that has much to
         * say is held back by the window, not by our memory. */
        if (!stream_has_line(s)) {
            stream_advance(s);
        }
        if (stream_has_line(s)) {
            return stream_result(s, ret, reterr);
        }
        if (s->done) {
            s->client->current = (s->client->current + 1) % s->client->n;
            return err_set(reterr, V3_ENDED, "%s: %s", s->exchange.endpoint->text,
                s->rc == CURLE_OK ? "the stream was closed" : curl_easy_strerror(s->rc));
        }
        if (wait_ms >= 0 && now >= deadline) {
            return err_set(
                reterr, V3_UNREACHABLE, "%s: nothing came in time", s->exchange.endpoint->text);
        }
        (void)curl_multi_poll(s->multi, &interrupt, interrupt_fd >= 0 ? 1 : 0,
            wait_ms < 0 ? turn_ms : (int)(deadline - now), NULL);
    }
}

const char *v3_stream_endpoint(const struct v3_stream *s)
{
    return s->exchange.endpoint->text;
}

struct v3_stream *v3_stream_free(struct v3_stream *s)
{
    if (s != NULL) {
        curl_multi_remove_handle(s->multi, s->exchange.easy);
        exchange_deinit(&s->exchange);
        curl_multi_cleanup(s->multi);
        free(s);
    }
    return NULL;
}
