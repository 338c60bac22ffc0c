#include "pages.h"

#include <stdio.h>

#include "api_impl.h"
#include "metrics.h"
#include "route.h"

static const char text_type[] = "text/plain; charset=utf-8";
static const char json_type[] = "application/json";

static void page(struct exchange *ex, int status, const char *type, const char *body)
{
    exchange_page(ex, status, type, bytes_str(body));
}

/* ---- fixed answers ---- */

static void not_found(struct exchange *ex)
{
    page(ex, 404, text_type,
        route_json_path(ex->path).len != 0 ? "Not Found\n" : "404 page not found\n");
}

static void not_allowed(struct exchange *ex)
{
    if (method_by_json_path(route_json_path(ex->path)) == NULL) {
        ex->allow = "GET";
    }
    page(ex, 405, text_type, "Method Not Allowed\n");
}

static int browser_status(const struct exchange *ex)
{
    const struct api_options *o = &ex->api->options;

    return route_browser_check(
        ex->host, ex->origin, ex->fetch_site, o->host_whitelist, o->n_host_whitelist);
}

static void refusal(struct exchange *ex)
{
    int status = browser_status(ex);

    log_info("request of a browser refused status=%d origin=%.*s host=%.*s peer=%s", status,
        (int)ex->origin.len, (const char *)ex->origin.data, (int)ex->host.len,
        (const char *)ex->host.data, ex->conn->peer);
    page(ex, status, text_type,
        status == 421 ? "this host name is not whitelisted\n" : "cross-site request refused\n");
}

static void version(struct exchange *ex)
{
    const char *v = STORE_ETCD_VERSION, *dot = strchr(v, '.');
    int minor = dot != NULL ? (int)(strcspn(dot + 1, ".") + (size_t)(dot + 1 - v)) : (int)strlen(v);
    char body[192];

    (void)snprintf(body, sizeof(body),
        "{\"etcdserver\":\"%s\",\"etcdcluster\":\"%.*s.0\",\"decree\":\"%s\"}", v, minor, v,
        DECREE_VERSION);
    page(ex, 200, json_type, body);
}

static void metrics(struct exchange *ex)
{
    _cleanup_strbuf_ struct strbuf body = {0};

    metrics_write(ex->api, &body);
    exchange_page(ex, 200, "text/plain; version=0.0.4; charset=utf-8", strbuf_bytes(&body));
}

/* ---- health: can this member read, through the quorum or by itself ---- */

static void answer_health(struct exchange *ex, const char *reason)
{
    char body[256];

    (void)snprintf(body, sizeof(body), "{\"health\":\"%s\",\"reason\":\"%s\"}",
        reason == NULL ? "true" : "false", reason == NULL ? "" : reason);
    page(ex, reason == NULL ? 200 : 503, json_type, body);
}

static void on_health(struct store_call *call, int status, const struct store_reply *reply _unused_)
{
    struct exchange *ex = call->data;
    char reason[160];

    ex->rpc.calling = false;
    (void)snprintf(reason, sizeof(reason), "RANGE ERROR:%s", err_text(status));
    answer_health(ex, status < 0 ? reason : NULL);
}

static void on_probe(struct store_call *call, int status, const struct store_reply *reply _unused_)
{
    struct exchange *ex = call->data;
    char text[192];

    ex->rpc.calling = false;
    if (status == 0) {
        page(ex, 200, text_type, "ok\n");
        return;
    }
    (void)snprintf(text, sizeof(text), "[-]%s failed: %s\n",
        call->range.serializable ? "serializable_read" : "linearizable_read", err_text(status));
    page(ex, 503, text_type, text);
}

/* etcd reads this key as well: it need not exist. The store's own request timeout bounds it. */
static void read_store(struct exchange *ex, bool serializable, store_cb cb)
{
    struct store_call *call = &ex->rpc.call;

    *call = (struct store_call){.kind = STORE_RANGE, .cb = cb, .data = ex};
    call->range = (struct range_request){
        .key = BYTES_LITERAL("health"),
        .limit = 1,
        .serializable = serializable,
    };
    ex->rpc.calling = true;
    deadline_drop(&ex->deadline);
    store_submit(ex->api->store, call);
}

static void health(struct exchange *ex)
{
    bool serializable = bytes_eq(ex->query, BYTES_LITERAL("serializable=true"));

    if (store_alarm_is_active(ex->api->store, STORE_ALARM_NOSPACE)) {
        answer_health(ex, "ALARM NOSPACE");
    } else if (store_alarm_is_active(ex->api->store, STORE_ALARM_CORRUPT)) {
        answer_health(ex, "ALARM CORRUPT");
    } else if (!serializable && !store_has_leader(ex->api->store)) {
        answer_health(ex, "RAFT NO LEADER");
    } else {
        /* A learner is healthy in its own way: it answers no other reads. */
        read_store(ex, serializable || store_is_learner(ex->api->store), on_health);
    }
}

static void livez(struct exchange *ex)
{
    read_store(ex, true, on_probe);
}

static void readyz(struct exchange *ex)
{
    if (store_alarm_is_active(ex->api->store, STORE_ALARM_CORRUPT)) {
        page(ex, 503, text_type, "[-]data_corruption failed: alarm CORRUPT is active\n");
        return;
    }
    read_store(ex, false, on_probe);
}

/* ---- the service ---- */

static const struct {
    const char *path;
    bool any_verb;
    void (*make)(struct exchange *ex);
} pages[] = {
    {"/version", false, version},
    {"/health", false, health},
    {"/livez", false, livez},
    {"/readyz", false, readyz},
    {"/metrics", true, metrics},
};

static void make(struct exchange *ex)
{
    if (browser_status(ex) != 0) {
        refusal(ex);
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
        if (bytes_eq(ex->path, bytes_str(pages[i].path))) {
            if (pages[i].any_verb || ex->verb == VERB_GET) {
                pages[i].make(ex);
            } else {
                not_allowed(ex);
            }
            return;
        }
    }
    if (method_by_json_path(route_json_path(ex->path)) != NULL) {
        not_allowed(ex);
    } else {
        not_found(ex);
    }
}

static void start(struct exchange *ex _unused_) {}

/* A page is made when the request is complete; what it has for a body is dropped. */
static void input(struct exchange *ex)
{
    exchange_take(ex, ex->in.len);
    if (ex->in_done) {
        make(ex);
    }
}

static void gone(struct exchange *ex)
{
    if (ex->rpc.calling) {
        ex->rpc.calling = false;
        store_cancel(ex->api->store, &ex->rpc.call);
    }
}

const struct service page_service = {.start = start, .input = input, .gone = gone};
