#include "h1.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include <http_parser.h>

#include "api_impl.h"
#include "grpc_text.h"

enum h1_state {
    H1_HEAD,    /* collecting a request's head in `raw` */
    H1_BODY,    /* parsing its body */
    H1_ANSWER,  /* the request is complete; its answer is not out yet */
    H1_CLOSING, /* what is queued leaves, then the connection closes */
    H1_STATES
};

enum { RAW_MAX = READ_BUFFER_BYTES /* pipelined bytes that wait for an answer */ };

struct h1 {
    struct conn *conn;
    enum h1_state state;
    http_parser parser;
    struct strbuf raw;   /* bytes not parsed yet */
    struct exchange *ex; /* the conn's, of the request under way */
    struct bytes field;  /* name of the header whose value comes next, in raw */
    size_t n_headers;
    bool keep_alive, chunked, has_host, draining, aborted;
};

static const char *const state_names[] = {"head", "body", "answer", "closing"};
static_assert(ARRAY_SIZE(state_names) == H1_STATES, "a name for every state");

static void set_state(struct h1 *h, enum h1_state state)
{
    static const unsigned from[] = {
        [H1_HEAD] = 1u << H1_ANSWER,
        [H1_BODY] = 1u << H1_HEAD,
        [H1_ANSWER] = 1u << H1_HEAD | 1u << H1_BODY,
        [H1_CLOSING] = 1u << H1_HEAD | 1u << H1_BODY | 1u << H1_ANSWER,
    };

    decree_assert((from[state] & 1u << h->state) != 0);
    log_debug("h1 is %s was=%s peer=%s", state_names[state], state_names[h->state], h->conn->peer);
    h->state = state;
}

/* ---- what may be a head ---- */

static size_t head_length(const struct strbuf *raw)
{
    const uint8_t *end = raw->len != 0 ? memmem(raw->data, raw->len, "\r\n\r\n", 4) : NULL;

    return end != NULL ? (size_t)(end - raw->data) + 4 : 0;
}

/* The name of a header ends right at its colon: "Name : value" is read in two ways, too. */
static bool names_are_strict(struct bytes head)
{
    bool in_name = false, first_line = true;

    for (size_t i = 0; i + 2 < head.len; i++) {
        uint8_t c = head.data[i];

        if (c == '\n') {
            in_name = true;
            first_line = false;
        } else if (in_name && (c == ' ' || c == '\t' || c == '\r')) {
            return false;
        } else if (c == ':' && !first_line) {
            in_name = false;
        }
    }
    return true;
}

bool h1_head_is_strict(struct bytes head)
{
    for (size_t i = 0; i < head.len; i++) {
        uint8_t c = head.data[i], next = i + 1 < head.len ? head.data[i + 1] : 0;

        if (c == '\0' || (c == '\n' && (i == 0 || head.data[i - 1] != '\r')) ||
            (c == '\r' && next != '\n') || (c == '\n' && (next == ' ' || next == '\t'))) {
            return false;
        }
    }
    return head.len >= 4 && memcmp(head.data + head.len - 4, "\r\n\r\n", 4) == 0 &&
        names_are_strict(head);
}

/* ---- answers ---- */

static void respond(struct exchange *ex)
{
    struct conn *c = ex->conn;
    struct h1 *h = c->h1;
    char text[512];
    int n;

    h->keep_alive = h->keep_alive && !h->draining && h->state == H1_ANSWER;
    h->chunked = !ex->done && h->parser.http_minor >= 1;
    if (!ex->done && !h->chunked) {
        h->keep_alive = false; /* 1.0: the end of the connection is the end of the answer */
    }
    n = snprintf(text, sizeof(text), "HTTP/1.1 %d %s\r\n", ex->status, http_reason(ex->status));
    segq_append(&c->out, text, (size_t)n);
    if (ex->content_type_out != NULL) {
        n = snprintf(text, sizeof(text), "Content-Type: %s\r\nX-Content-Type-Options: nosniff\r\n",
            ex->content_type_out);
        segq_append(&c->out, text, (size_t)n);
    }
    if (ex->allow != NULL) {
        n = snprintf(text, sizeof(text), "Allow: %s\r\n", ex->allow);
        segq_append(&c->out, text, (size_t)n);
    }
    if (ex->done) {
        n = snprintf(text, sizeof(text), "Content-Length: %zu\r\n", ex->out.bytes);
        segq_append(&c->out, text, (size_t)n);
    } else if (h->chunked) {
        segq_append_str(&c->out, "Transfer-Encoding: chunked\r\n");
    }
    if (!h->keep_alive) {
        segq_append_str(&c->out, "Connection: close\r\n");
    }
    segq_append_str(&c->out, "\r\n");
    if (ex->verb == VERB_HEAD) {
        segq_clear(&ex->out);
        exchange_pulled(ex);
    }
    conn_mark_dirty(c);
}

static void wake(struct exchange *ex)
{
    conn_mark_dirty(ex->conn);
}

static void abort_exchange(struct exchange *ex)
{
    ex->done = true;
    ex->conn->h1->aborted = true;
    conn_mark_dirty(ex->conn);
}

static const struct transport transport = {
    .respond = respond, .wake = wake, .abort = abort_exchange};

/* An answer without a service: the request could not be read. */
static void refuse(struct h1 *h, int status, const char *why)
{
    char text[512];
    int n;

    log_info("request refused: %s status=%d peer=%s", why, status, h->conn->peer);
    n = snprintf(text, sizeof(text),
        "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %zu\r\n"
        "Connection: close\r\n\r\n%d %s: %s\n",
        status, http_reason(status), strlen(http_reason(status)) + strlen(why) + 7, status,
        http_reason(status), why);
    segq_append(&h->conn->out, text, (size_t)n);
    set_state(h, H1_CLOSING);
}

static void move_chunk(struct h1 *h, size_t n)
{
    char text[32];
    int len;

    if (!h->chunked) {
        segq_move(&h->conn->out, &h->ex->out, n);
        return;
    }
    len = snprintf(text, sizeof(text), "%zx\r\n", n);
    segq_append(&h->conn->out, text, (size_t)len);
    segq_move(&h->conn->out, &h->ex->out, n);
    segq_append_str(&h->conn->out, "\r\n");
}

static void answer_is_out(struct h1 *h)
{
    bool again = h->keep_alive && h->state == H1_ANSWER;

    if (h->chunked) {
        segq_append_str(&h->conn->out, "0\r\n\r\n");
    }
    exchange_free(h->ex);
    h->ex = NULL;
    set_state(h, again ? H1_HEAD : H1_CLOSING);
    if (again) {
        conn_update_deadline(h->conn);
        conn_mark_dirty(h->conn); /* pipelined requests may wait */
    }
}

int h1_pull(struct h1 *h)
{
    if (h->aborted) {
        return -ECONNABORTED;
    }
    if (h->ex != NULL && h->ex->responded) {
        size_t room = WRITE_CHUNK_BYTES - MIN(h->conn->out.bytes, (size_t)WRITE_CHUNK_BYTES);
        size_t n = MIN(h->ex->out.bytes, room);

        if (n > 0) {
            move_chunk(h, n);
            exchange_pulled(h->ex);
        }
        if (h->ex->done && h->ex->out.bytes == 0) {
            answer_is_out(h);
        }
    }
    if (h->state == H1_CLOSING && h->ex == NULL && h->conn->state == CONN_H1) {
        conn_finish(h->conn);
    }
    return 0;
}

/* ---- requests ---- */

static struct h1 *h1_of(http_parser *p)
{
    return p->data;
}

static int on_url(http_parser *p, const char *at, size_t n)
{
    if (n == 0 || *at != '/') {
        return 1; /* absolute and asterisk forms are for proxies */
    }
    exchange_target(h1_of(p)->ex, bytes_make(at, n));
    return 0;
}

static int on_header_field(http_parser *p, const char *at, size_t n)
{
    h1_of(p)->field = bytes_make(at, n);
    return ++h1_of(p)->n_headers > HEADERS_MAX;
}

static int on_header_value(http_parser *p, const char *at, size_t n)
{
    struct h1 *h = h1_of(p);
    char name[64];

    if (h->field.len > sizeof(name)) {
        return 0; /* none that we look at */
    }
    for (size_t i = 0; i < h->field.len; i++) {
        uint8_t c = h->field.data[i];

        name[i] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    if (h->field.len == 4 && memcmp(name, "host", 4) == 0) {
        if (h->has_host) {
            return 1;
        }
        h->has_host = true;
    }
    exchange_header(h->ex, bytes_make(name, h->field.len), bytes_make(at, n));
    return 0;
}

static enum http_verb verb_of(const http_parser *p)
{
    switch (p->method) {
    case HTTP_GET:
        return VERB_GET;
    case HTTP_POST:
        return VERB_POST;
    case HTTP_HEAD:
        return VERB_HEAD;
    default:
        return VERB_OTHER;
    }
}

static int on_headers_complete(http_parser *p)
{
    struct h1 *h = h1_of(p);

    if (p->method == HTTP_CONNECT || p->http_major != 1 || (p->http_minor >= 1 && !h->has_host)) {
        return -1;
    }
    p->upgrade = 0; /* an offer (h2c, websocket) that we do not take up is no error */
    h->keep_alive = http_should_keep_alive(p) != 0;
    h->ex->verb = verb_of(p);
    return 0;
}

static int on_body(http_parser *p, const char *at, size_t n)
{
    exchange_input(h1_of(p)->ex, bytes_make(at, n));
    return h1_of(p)->aborted ? 1 : 0;
}

/* Stops the parser so that the next request's bytes stay where they are. */
static int on_message_complete(http_parser *p)
{
    http_parser_pause(p, 1);
    return 0;
}

static const http_parser_settings settings = {
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

static void take_raw(struct h1 *h, size_t n)
{
    memmove(h->raw.data, h->raw.data + n, h->raw.len - n);
    h->raw.len -= n;
}

/* Runs the parser over the first n bytes of raw. False when the request has been refused. */
static bool parse(struct h1 *h, size_t n)
{
    size_t used = http_parser_execute(&h->parser, &settings, (const char *)h->raw.data, n);
    enum http_errno error = HTTP_PARSER_ERRNO(&h->parser);

    decree_assert(used <= n);
    take_raw(h, used);
    if (error == HPE_OK) {
        return true;
    }
    if (error == HPE_PAUSED) {
        http_parser_pause(&h->parser, 0);
        set_state(h, H1_ANSWER);
        return true;
    }
    if (h->state == H1_HEAD || !h->ex->responded) {
        exchange_free(h->ex);
        h->ex = NULL;
        if (!h->aborted) {
            refuse(h, 400, http_errno_description(error));
        }
        return false;
    }
    h->aborted = true;
    return false;
}

/* True when another step may be possible. */
static bool step_head(struct h1 *h)
{
    size_t n;

    while (h->raw.len >= 2 && memcmp(h->raw.data, "\r\n", 2) == 0) {
        take_raw(h, 2); /* an empty line before a request is to be ignored (RFC 9112, 2.2) */
    }
    n = head_length(&h->raw);
    if (n > HEADER_BYTES_MAX || (n == 0 && h->raw.len > HEADER_BYTES_MAX)) {
        refuse(h, 431, "headers are too large");
        return false;
    }
    if (n == 0) {
        /* A lone line feed may stand where the end should: such a head never completes. */
        if (h->raw.len != 0 && memmem(h->raw.data, h->raw.len, "\n\n", 2) != NULL) {
            refuse(h, 400, "bare line feed");
        }
        return false;
    }
    if (!h1_head_is_strict(bytes_make(h->raw.data, n))) {
        refuse(h, 400, "bare line feed, folded header, space before a colon or NUL");
        return false;
    }
    h->ex = exchange_new(h->conn, &transport);
    if (h->ex == NULL) {
        refuse(h, 503, "too many requests");
        return false;
    }
    http_parser_init(&h->parser, HTTP_REQUEST);
    h->parser.data = h;
    h->has_host = h->chunked = false;
    h->n_headers = 0;
    if (!parse(h, n)) {
        return false;
    }
    if (h->state == H1_HEAD) {
        set_state(h, H1_BODY);
    }
    exchange_route(h->ex);
    if (h->state == H1_ANSWER) {
        exchange_input_end(h->ex);
        return false;
    }
    if (h->ex->expects_continue && !h->ex->done) {
        segq_append_str(&h->conn->out, "HTTP/1.1 100 Continue\r\n\r\n");
        conn_mark_dirty(h->conn);
    }
    return true;
}

static bool step_body(struct h1 *h)
{
    if (h->raw.len == 0 || !parse(h, h->raw.len)) {
        return false;
    }
    if (h->state == H1_ANSWER) {
        exchange_input_end(h->ex);
    }
    return false;
}

void h1_serve(struct h1 *h)
{
    bool again = true;

    while (again && !h->aborted) {
        switch (h->state) {
        case H1_HEAD:
            again = step_head(h);
            break;
        case H1_BODY:
            again = step_body(h);
            break;
        case H1_ANSWER:
        case H1_CLOSING:
        case H1_STATES:
            again = false;
        }
    }
}

int h1_feed(struct h1 *h, struct bytes b)
{
    if (h->state == H1_CLOSING) {
        return 0;
    }
    strbuf_append_bytes(&h->raw, b);
    h1_serve(h);
    conn_mark_dirty(h->conn);
    return 0;
}

bool h1_wants_input(const struct h1 *h)
{
    return h->state != H1_CLOSING && h->raw.len <= RAW_MAX;
}

bool h1_in_headers(const struct h1 *h)
{
    return h->state == H1_HEAD && h->raw.len != 0;
}

void h1_drain(struct h1 *h)
{
    h->draining = true;
    h->keep_alive = false;
    if (h->ex == NULL) {
        conn_close(h->conn);
    }
}

struct h1 *h1_new(struct conn *c)
{
    struct h1 *h = xcalloc(1, sizeof(*h));

    h->conn = c;
    return h;
}

struct h1 *h1_free(struct h1 *h)
{
    if (h != NULL) {
        strbuf_deinit(&h->raw);
        free(h);
    }
    return NULL;
}
