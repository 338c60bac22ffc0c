#include "client.h"

#include <errno.h>

#include "base64.h"
#include "http.h"
#include "list.h"
#include "log.h"

struct endpoint {
    char *text;        /* as configured; names it in messages */
    char *base;        /* "http://host:port" */
    char *unix_socket; /* or NULL */
};

struct client {
    struct http *http;
    struct endpoint endpoints[CLIENT_ENDPOINTS_MAX];
    size_t n_endpoints;
    size_t current;
    struct list calls;
    struct list watches;
};

struct client_call {
    struct client *c;
    struct list link;
    struct http_request *request;
    size_t endpoint;
    client_cb cb;
    void *data;
};

struct client_watch {
    struct client *c;
    struct list link;
    struct http_request *request; /* NULL when the stream has ended */
    size_t endpoint;
    struct client_watch_handler handler;
    void *data;
    struct client_event *events; /* owned, of the response at hand */
    size_t cap_events;
    struct strbuf bytes; /* the decoded keys and values of it */
    bool in_callback;
    bool closed; /* by a callback: freed when that has returned */
};

enum {
    GRPC_UNAVAILABLE = 14,
    GRPC_DEADLINE = 4,
    HTTP_OK = 200,
    HTTP_SERVER_ERROR = 500,
    HTTP_GATEWAY_TIMEOUT = 504,
};

/* JSON helpers */

json_t *client_json_bytes(struct bytes b)
{
    _cleanup_strbuf_ struct strbuf text = {0};

    base64_encode(&text, b);
    return json_stringn((const char *)text.data, text.len);
}

json_t *client_json_int(int64_t v)
{
    char text[32];

    (void)snprintf(text, sizeof(text), "%" PRId64, v);
    return json_string(text);
}

int64_t client_get_int(const json_t *object, const char *name)
{
    const json_t *v = json_object_get(object, name);
    int64_t n = json_is_string(v) ? strtoll(json_string_value(v), NULL, 10) : json_integer_value(v);

    /* One that does not fit, and the next to it: whoever adds one to what it got is safe. */
    return n > INT64_MIN && n < INT64_MAX ? n : 0;
}

int client_get_bytes(const json_t *object, const char *name, struct strbuf *out)
{
    const json_t *v = json_object_get(object, name);

    if (v == NULL) {
        return 0;
    }
    if (!json_is_string(v)) {
        return -EBADMSG;
    }
    return base64_decode(out, bytes_make(json_string_value(v), json_string_length(v))) < 0
        ? -EBADMSG
        : 0;
}

/* Endpoints */

static int add_endpoint(struct client *c, const char *text, size_t len, struct err *reterr)
{
    static const char http_scheme[] = "http://";
    static const char unix_scheme[] = "unix://";
    _cleanup_free_ char *copy = xstrndup(text, len);
    struct endpoint e = {0};

    while (len > 0 && copy[len - 1] == '/') {
        copy[--len] = '\0';
    }
    if (strncmp(copy, http_scheme, strlen(http_scheme)) == 0 && len > strlen(http_scheme)) {
        e.base = xstrdup(copy);
    } else if (strncmp(copy, unix_scheme, strlen(unix_scheme)) == 0 &&
        copy[strlen(unix_scheme)] == '/') {
        e.unix_socket = xstrdup(copy + strlen(unix_scheme));
        e.base = xstrdup("http://localhost");
    } else {
        return err_set(
            reterr, -EINVAL, "endpoint '%s': allowed are http://HOST:PORT and unix:///PATH", copy);
    }
    if (c->n_endpoints == CLIENT_ENDPOINTS_MAX) {
        free(e.base);
        free(e.unix_socket);
        return err_set(reterr, -EINVAL, "more than %d endpoints", CLIENT_ENDPOINTS_MAX);
    }
    e.text = TAKE_PTR(copy);
    c->endpoints[c->n_endpoints++] = e;
    return 0;
}

int client_new(uv_loop_t *loop, const char *endpoints, struct client **ret, struct err *reterr)
{
    struct client *c = xcalloc(1, sizeof(*c));
    int rc = 0;

    list_init(&c->calls);
    list_init(&c->watches);
    c->http = http_new(loop);
    for (const char *p = endpoints; rc == 0 && *p != '\0';) {
        size_t len;

        p += strspn(p, ", ");
        len = strcspn(p, ", ");
        if (len > 0) {
            rc = add_endpoint(c, p, len, reterr);
        }
        p += len;
    }
    if (rc == 0 && c->n_endpoints == 0) {
        rc = err_set(reterr, -EINVAL, "no endpoint is given: http://HOST:PORT or unix:///PATH");
    }
    if (rc < 0) {
        client_free(c);
        return rc;
    }
    *ret = c;
    return 0;
}

static void call_free(struct client_call *call)
{
    list_del(&call->link);
    free(call);
}

static void watch_free(struct client_watch *w)
{
    list_del(&w->link);
    free(w->events);
    strbuf_deinit(&w->bytes);
    free(w);
}

struct client *client_free(struct client *c)
{
    if (c == NULL) {
        return NULL;
    }
    list_for_each_safe (it, &c->calls) {
        client_call_abort(list_entry(it, struct client_call, link));
    }
    list_for_each_safe (it, &c->watches) {
        client_watch_close(list_entry(it, struct client_watch, link));
    }
    http_free(c->http);
    for (size_t i = 0; i < c->n_endpoints; i++) {
        free(c->endpoints[i].text);
        free(c->endpoints[i].base);
        free(c->endpoints[i].unix_socket);
    }
    free(c);
    return NULL;
}

const char *client_endpoint(const struct client *c)
{
    return c->endpoints[c->current].text;
}

/* Several requests may fail on one endpoint: only the first of them moves on. */
static void leave_endpoint(struct client *c, size_t endpoint)
{
    if (c->current == endpoint && c->n_endpoints > 1) {
        c->current = (endpoint + 1) % c->n_endpoints;
        log_info("store endpoint changes from=%s to=%s", c->endpoints[endpoint].text,
            c->endpoints[c->current].text);
    }
}

static struct http_request *start_request(
    struct client *c, const char *path, json_t *request_consume, struct http_spec *spec)
{
    const struct endpoint *e = &c->endpoints[c->current];
    _cleanup_free_ char *url = xasprintf("%s%s", e->base, path);
    char *body = json_dumps(request_consume, JSON_COMPACT);

    json_decref(request_consume);
    if (body == NULL) {
        decree_fatal("a request cannot be written as JSON");
    }
    spec->url = url;
    spec->unix_socket = e->unix_socket;
    spec->body = bytes_str(body);
    struct http_request *r = http_start(c->http, spec);

    free(body);
    return r;
}

/* Calls */

static const char *text_member(const json_t *object, const char *name)
{
    const char *s = json_string_value(json_object_get(object, name));

    return s != NULL && s[0] != '\0' ? s : NULL;
}

/* An error body of either gateway generation (contracts/etcd-v3.md §9). */
static void judge_error(const struct http_result *result, json_t *body, struct client_reply *reply)
{
    const char *text = text_member(body, "message");

    if (text == NULL) {
        text = text_member(body, "error");
    }
    reply->error = text;
    reply->grpc_code = (int)client_get_int(body, "code");
    /* Without a body of the store's own it is a proxy that speaks, or another kind of server. */
    reply->outcome = reply->grpc_code == GRPC_UNAVAILABLE || reply->grpc_code == GRPC_DEADLINE ||
            (text == NULL && result->status >= HTTP_SERVER_ERROR)
        ? CLIENT_UNAVAILABLE
        : CLIENT_REFUSED;
}

static void on_call_done(void *data, const struct http_result *result)
{
    struct client_call *call = data;
    const char *endpoint = call->c->endpoints[call->endpoint].text;
    struct client_reply reply = {.outcome = CLIENT_OK};
    _cleanup_free_ char *text = NULL;
    json_t *body = NULL;
    client_cb cb = call->cb;
    void *cb_data = call->data;

    if (result->rc < 0) {
        reply.outcome = CLIENT_UNAVAILABLE;
        reply.error = result->error;
    } else {
        /* The keepalive of a lease answers as a stream: one object a line, of which one is wanted.
         */
        body = json_loadb(
            (const char *)result->body.data, result->body.len, JSON_DISABLE_EOF_CHECK, NULL);
        if (result->status != HTTP_OK) {
            judge_error(result, body, &reply);
        } else if (!json_is_object(body)) {
            reply.outcome = CLIENT_UNAVAILABLE;
            reply.error = "the answer is no JSON object: is this a v3 endpoint?";
        }
    }
    if (reply.outcome != CLIENT_OK) {
        text = reply.error != NULL ? xasprintf("%s: %s", endpoint, reply.error)
                                   : xasprintf("%s: HTTP status %ld", endpoint, result->status);
        reply.error = text;
    }
    if (reply.outcome == CLIENT_UNAVAILABLE) {
        leave_endpoint(call->c, call->endpoint);
    }
    reply.body = body;
    call_free(call);
    cb(cb_data, &reply);
    json_decref(body);
}

struct client_call *client_post(struct client *c, const char *path, json_t *request_consume,
    uint64_t timeout_ms, client_cb cb, void *data)
{
    struct client_call *call = xcalloc(1, sizeof(*call));
    struct http_spec spec = {
        .timeout_ms = timeout_ms != 0 ? timeout_ms : CLIENT_CALL_TIMEOUT_MS,
        .on_done = on_call_done,
        .data = call,
    };

    call->c = c;
    call->endpoint = c->current;
    call->cb = cb;
    call->data = data;
    list_add_tail(&c->calls, &call->link);
    call->request = start_request(c, path, request_consume, &spec);
    return call;
}

void client_call_abort(struct client_call *call)
{
    http_abort(call->request);
    call_free(call);
}

/* Watches */

static int take_event(struct client_watch *w, const json_t *event, struct client_event *ret)
{
    const json_t *kv = json_object_get(event, "kv");
    const json_t *type = json_object_get(event, "type");
    size_t key_at = w->bytes.len;
    size_t value_at;

    ret->deleted = (json_is_string(type) && strcmp(json_string_value(type), "DELETE") == 0) ||
        (json_is_integer(type) && json_integer_value(type) == 1);
    ret->mod_revision = client_get_int(kv, "mod_revision");
    if (client_get_bytes(kv, "key", &w->bytes) < 0) {
        return -EBADMSG;
    }
    value_at = w->bytes.len;
    if (client_get_bytes(kv, "value", &w->bytes) < 0 || ret->mod_revision <= 0) {
        return -EBADMSG;
    }
    /* w->bytes may move while it grows: offsets now, pointers when all are in. */
    ret->key = bytes_make(NULL, value_at - key_at);
    ret->value = bytes_make(NULL, w->bytes.len - value_at);
    return 0;
}

static int take_events(struct client_watch *w, const json_t *events)
{
    size_t n = json_array_size(events);
    const uint8_t *p;

    if (n > w->cap_events) {
        w->events = xreallocarray(w->events, n, sizeof(*w->events));
        w->cap_events = n;
    }
    strbuf_clear(&w->bytes);
    for (size_t i = 0; i < n; i++) {
        if (take_event(w, json_array_get(events, i), &w->events[i]) < 0) {
            return -EBADMSG;
        }
    }
    p = w->bytes.data;
    for (size_t i = 0; i < n; i++) {
        w->events[i].key.data = p;
        p += w->events[i].key.len;
        w->events[i].value.data = p;
        p += w->events[i].value.len;
    }
    return 0;
}

static void end_watch(struct client_watch *w, const char *error)
{
    _cleanup_free_ char *text = xasprintf("%s: %s", w->c->endpoints[w->endpoint].text, error);

    w->handler.on_end(w->data, text);
}

static void handle_result(struct client_watch *w, const json_t *result)
{
    const json_t *events = json_object_get(result, "events");

    if (json_is_true(json_object_get(result, "canceled"))) {
        int64_t compacted = client_get_int(result, "compact_revision");
        const char *reason = text_member(result, "cancel_reason");

        if (compacted > 0) {
            w->handler.on_compacted(w->data, compacted);
        } else {
            end_watch(w, reason != NULL ? reason : "the watch was canceled");
        }
    } else if (json_is_true(json_object_get(result, "created"))) {
        w->handler.on_created(w->data);
    } else if (json_array_size(events) == 0) {
        w->handler.on_progress(
            w->data, client_get_int(json_object_get(result, "header"), "revision"));
    } else if (take_events(w, events) < 0) {
        end_watch(w, "an event cannot be read");
    } else {
        w->handler.on_events(w->data, w->events, json_array_size(events));
    }
}

static void handle_line(struct client_watch *w, struct bytes line)
{
    json_t *message = json_loadb((const char *)line.data, line.len, 0, NULL);
    const json_t *error = json_object_get(message, "error");
    const json_t *result = json_object_get(message, "result");

    if (json_is_object(result)) {
        handle_result(w, result);
    } else {
        const char *text =
            json_is_object(error) ? text_member(error, "message") : text_member(message, "error");

        end_watch(w, text != NULL ? text : "a watch response cannot be read");
    }
    json_decref(message);
}

/* Whole lines only; what a callback closes takes no more. */
static size_t on_watch_data(void *data, struct bytes arrived)
{
    struct client_watch *w = data;
    size_t used = 0;

    w->in_callback = true;
    while (!w->closed) {
        const uint8_t *start = arrived.data + used;
        const uint8_t *end = used < arrived.len ? memchr(start, '\n', arrived.len - used) : NULL;

        if (end == NULL) {
            break;
        }
        if (end > start) {
            handle_line(w, bytes_make(start, (size_t)(end - start)));
        }
        used += (size_t)(end - start) + 1;
    }
    w->in_callback = false;
    if (w->closed) {
        client_watch_close(w);
        return SIZE_MAX;
    }
    return used;
}

static void on_watch_done(void *data, const struct http_result *result)
{
    struct client_watch *w = data;

    w->request = NULL;
    leave_endpoint(w->c, w->endpoint);
    w->in_callback = true;
    if (result->rc < 0) {
        end_watch(w, result->error);
    } else if (result->status == HTTP_OK) {
        end_watch(w, "the store ended the stream");
    } else {
        end_watch(w, "the store refused the watch");
    }
    w->in_callback = false;
    if (w->closed) {
        client_watch_close(w);
    }
}

struct client_watch *client_watch_open(struct client *c, struct bytes start, struct bytes end,
    int64_t revision, const struct client_watch_handler *handler, void *data)
{
    struct client_watch *w = xcalloc(1, sizeof(*w));
    struct http_spec spec = {.on_data = on_watch_data, .on_done = on_watch_done, .data = w};
    json_t *create = json_object();
    json_t *request = json_object();

    w->c = c;
    w->endpoint = c->current;
    w->handler = *handler;
    w->data = data;
    list_add_tail(&c->watches, &w->link);
    (void)json_object_set_new(create, "key", client_json_bytes(start));
    (void)json_object_set_new(create, "range_end", client_json_bytes(end));
    (void)json_object_set_new(create, "start_revision", client_json_int(revision));
    (void)json_object_set_new(create, "progress_notify", json_true());
    (void)json_object_set_new(request, "create_request", create);
    w->request = start_request(c, "/v3/watch", request, &spec);
    return w;
}

void client_watch_close(struct client_watch *w)
{
    if (w->in_callback) {
        w->closed = true;
        return;
    }
    if (w->request != NULL) {
        http_abort(w->request);
    }
    watch_free(w);
}
