#include "peer_hello.h"

#include <inttypes.h>

#include "err.h"

enum field {
    FIELD_PROTOCOL,
    FIELD_CLUSTER,
    FIELD_FROM,
    FIELD_TO,
    FIELD_INCARNATION,
    FIELD_CHANNEL,
    FIELD_URLS,
    FIELD_END,
    FIELDS_NEEDED = FIELD_URLS
};

static const char *const field_names[] = {
    [FIELD_PROTOCOL] = "Decree-Protocol",
    [FIELD_CLUSTER] = "Decree-Cluster",
    [FIELD_FROM] = "Decree-From",
    [FIELD_TO] = "Decree-To",
    [FIELD_INCARNATION] = "Decree-Incarnation",
    [FIELD_CHANNEL] = "Decree-Channel",
    [FIELD_URLS] = "Decree-Urls",
};

static const char *const channel_names[] = {
    [PEER_MESSAGES] = "messages",
    [PEER_SNAPSHOT] = "snapshot",
};

static const char path[] = "/raft/decree";
static const char members_path[] = "/members";

/* ---- writing ---- */

static void request_head(const char *of, const char *host, uint16_t port, struct strbuf *out)
{
    bool ipv6 = strchr(host, ':') != NULL;

    strbuf_printf(out, "GET %s HTTP/1.1\r\nHost: %s%s%s:%u\r\n", of, ipv6 ? "[" : "", host,
        ipv6 ? "]" : "", port);
}

void peer_hello_request(const struct peer_hello *h, const char *host, uint16_t port,
    const char *version, struct strbuf *out)
{
    request_head(path, host, port, out);
    strbuf_append_str(out, "Connection: Upgrade\r\nUpgrade: decree\r\n");
    strbuf_printf(out, "%s: %u\r\n", field_names[FIELD_PROTOCOL], h->protocol);
    strbuf_printf(out, "Decree-Version: %s\r\n", version);
    strbuf_printf(out, "%s: %016" PRIx64 "\r\n", field_names[FIELD_CLUSTER], h->cluster_id);
    strbuf_printf(out, "%s: %016" PRIx64 "\r\n", field_names[FIELD_FROM], h->from);
    strbuf_printf(out, "%s: %016" PRIx64 "\r\n", field_names[FIELD_TO], h->to);
    strbuf_printf(out, "%s: %016" PRIx64 "\r\n", field_names[FIELD_INCARNATION], h->incarnation);
    if (h->urls != NULL && h->urls[0] != 0) {
        strbuf_printf(out, "%s: %s\r\n", field_names[FIELD_URLS], h->urls);
    }
    strbuf_printf(out, "%s: %s\r\n\r\n", field_names[FIELD_CHANNEL], channel_names[h->channel]);
}

void peer_hello_ask_members(const char *host, uint16_t port, struct strbuf *out)
{
    request_head(members_path, host, port, out);
    strbuf_append_str(out, "Connection: close\r\n\r\n");
}

void peer_hello_members(struct bytes table, struct strbuf *out)
{
    strbuf_printf(out,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/octet-stream\r\n"
        "Content-Length: %zu\r\n\r\n",
        table.len);
    strbuf_append_bytes(out, table);
}

void peer_hello_accept(const char *version, uint64_t incarnation, struct strbuf *out)
{
    strbuf_printf(out,
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: decree\r\n"
        "Decree-Version: %s\r\n%s: %016" PRIx64 "\r\n\r\n",
        version, field_names[FIELD_INCARNATION], incarnation);
}

void peer_hello_refuse(int status, const char *text, struct strbuf *out)
{
    strbuf_printf(out,
        "HTTP/1.1 %d Refused\r\nConnection: close\r\nContent-Type: text/plain\r\n"
        "Content-Length: %zu\r\n\r\n%s\n",
        status, strlen(text) + 1, text);
}

/* ---- reading ---- */

static bool parse_number(const char *s, unsigned base, uint64_t *ret)
{
    char *end;

    if (*s == 0 || *s == '-' || *s == '+' || *s == ' ') {
        return false;
    }
    *ret = strtoull(s, &end, (int)base);
    return *end == 0;
}

static bool take_field(struct peer_hello_reader *r, enum field f, const char *value)
{
    uint64_t n = 0;

    if ((r->seen & 1u << f) != 0) {
        return false; /* twice: whoever reads the other one would see another hello */
    }
    r->seen |= 1u << f;
    switch (f) {
    case FIELD_PROTOCOL:
        if (!parse_number(value, 10, &n) || n > UINT16_MAX) {
            return false;
        }
        r->hello.protocol = (unsigned)n;
        return true;
    case FIELD_CLUSTER:
        return parse_number(value, 16, &r->hello.cluster_id);
    case FIELD_FROM:
        return parse_number(value, 16, &r->hello.from);
    case FIELD_TO:
        return parse_number(value, 16, &r->hello.to);
    case FIELD_INCARNATION:
        return parse_number(value, 16, &r->hello.incarnation);
    case FIELD_URLS:
        strbuf_append_str(&r->urls, value);
        r->hello.urls = strbuf_cstr(&r->urls);
        return true;
    case FIELD_CHANNEL:
        for (int c = 0; c < PEER_CHANNEL_END; c++) {
            if (strcmp(value, channel_names[c]) == 0) {
                r->hello.channel = (enum peer_channel)c;
                return true;
            }
        }
        return false;
    case FIELD_END:
        break;
    }
    return false;
}

static int finish_field(struct peer_hello_reader *r)
{
    const char *name = strbuf_cstr(&r->name);
    bool ok = true;

    for (int f = 0; f < FIELD_END; f++) {
        if (strcasecmp(name, field_names[f]) == 0) {
            ok = take_field(r, (enum field)f, strbuf_cstr(&r->value));
        }
    }
    strbuf_clear(&r->name);
    strbuf_clear(&r->value);
    r->in_value = false;
    return ok ? 0 : -1;
}

static int on_name(http_parser *parser, const char *at, size_t len)
{
    struct peer_hello_reader *r = parser->data;

    if (r->in_value && finish_field(r) < 0) {
        return -1;
    }
    strbuf_append(&r->name, at, len);
    return 0;
}

static int on_value(http_parser *parser, const char *at, size_t len)
{
    struct peer_hello_reader *r = parser->data;

    r->in_value = true;
    strbuf_append(&r->value, at, len);
    return 0;
}

static int on_url(http_parser *parser, const char *at, size_t len)
{
    struct peer_hello_reader *r = parser->data;

    strbuf_append(&r->url, at, len);
    return 0;
}

static int on_headers(http_parser *parser)
{
    return finish_field(parser->data);
}

static int on_body(http_parser *parser, const char *at, size_t len)
{
    struct peer_hello_reader *r = parser->data;

    strbuf_append(&r->body, at, len);
    return 0;
}

/* Stops the parser: whatever follows is not HTTP any more. */
static int on_done(http_parser *parser)
{
    struct peer_hello_reader *r = parser->data;

    r->done = true;
    http_parser_pause(parser, 1);
    return 0;
}

void peer_hello_reader_init(struct peer_hello_reader *r, bool request)
{
    *r = (struct peer_hello_reader){.hello.urls = ""};
    http_parser_init(&r->parser, request ? HTTP_REQUEST : HTTP_RESPONSE);
    r->parser.data = r;
}

void peer_hello_reader_deinit(struct peer_hello_reader *r)
{
    strbuf_deinit(&r->name);
    strbuf_deinit(&r->value);
    strbuf_deinit(&r->url);
    strbuf_deinit(&r->body);
    strbuf_deinit(&r->urls);
}

int peer_hello_feed(struct peer_hello_reader *r, struct bytes b, size_t *ret_used)
{
    static const http_parser_settings settings = {.on_url = on_url,
        .on_header_field = on_name,
        .on_header_value = on_value,
        .on_headers_complete = on_headers,
        .on_body = on_body,
        .on_message_complete = on_done};
    size_t len = MIN(b.len, PEER_HELLO_BYTES_MAX - r->fed);
    size_t used;

    decree_assert(!r->done);
    r->parser.data = r; /* its owner may have moved it */
    used = http_parser_execute(&r->parser, &settings, (const char *)b.data, len);
    r->fed += used;
    if (r->done) {
        *ret_used = used;
        return PEER_HELLO_DONE;
    }
    if (HTTP_PARSER_ERRNO(&r->parser) != HPE_OK || r->fed >= PEER_HELLO_BYTES_MAX) {
        return DECREE_EBAD_REQUEST;
    }
    *ret_used = used;
    return PEER_HELLO_MORE;
}

bool peer_hello_is_question(const struct peer_hello_reader *r)
{
    return r->parser.method == HTTP_GET && !r->parser.upgrade &&
        bytes_eq(strbuf_bytes(&r->url), bytes_str(members_path));
}

int peer_hello_check(const struct peer_hello_reader *r, const char **ret_text)
{
    if (r->url.len != sizeof(path) - 1 || memcmp(r->url.data, path, r->url.len) != 0) {
        *ret_text = "nothing is served here: this is the port for other members";
        return 404;
    }
    if (r->parser.method != HTTP_GET || !r->parser.upgrade) {
        *ret_text = "this must be a GET with an upgrade";
        return 400;
    }
    if ((r->seen & 1u << FIELD_PROTOCOL) == 0 || r->hello.protocol != PEER_PROTOCOL) {
        *ret_text = "the protocol between members has another version here: "
                    "both members must run versions that fit";
        return 426;
    }
    if ((~r->seen & ((1u << FIELDS_NEEDED) - 1)) != 0) {
        *ret_text = "cluster, member ids and channel must be given";
        return 400;
    }
    return 0;
}

int peer_hello_status(struct peer_hello_reader *r, char **ret_text)
{
    int status = r->parser.status_code;

    if (status == 101 && r->parser.upgrade) {
        return status;
    }
    for (size_t i = 0; i < r->body.len; i++) {
        if (r->body.data[i] < 0x20) {
            r->body.data[i] = ' ';
        }
    }
    while (r->body.len > 0 && r->body.data[r->body.len - 1] == ' ') {
        r->body.len--;
    }
    *ret_text = r->body.len != 0 ? xstrdup(strbuf_cstr(&r->body))
                                 : xasprintf("it answered with HTTP status %d", status);
    return status == 101 ? 400 : status;
}
