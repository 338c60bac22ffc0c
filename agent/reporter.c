/* One request at a time; what it is for is the state. After each answer, and whenever something
 * came, reporter_step looks for what is most urgent: lease, renewal, reports. */
#include "reporter.h"

#include "clock.h"
#include "list.h"
#include "log.h"

enum reporter_state { STATE_IDLE, STATE_GRANTING, STATE_RENEWING, STATE_WRITING, STATE_REVOKING };

struct row {
    struct list link;
    char *resource; /* owned */
    char *json;     /* owned; NULL: the key shall go */
    bool dirty;     /* the store does not have it yet */
    bool sent;      /* part of the transaction under way */
};

struct reporter {
    struct client *client;
    char *agent; /* owned */
    struct list rows;
    enum reporter_state state;
    struct client_call *call;
    int64_t lease; /* 0 = none */
    uint64_t renew_at_ms;
    uint64_t not_before_ms; /* collecting, or backing off */
    bool stopping;
    void (*stopped)(void *data);
    void *stopped_data;
    uv_timer_t timer;
};

static void reporter_step(struct reporter *r);

static void on_timer(uv_timer_t *timer)
{
    reporter_step(timer->data);
}

struct reporter *reporter_new(uv_loop_t *loop, struct client *client, const char *agent)
{
    struct reporter *r = xcalloc(1, sizeof(*r));

    r->client = client;
    r->agent = xstrdup(agent);
    list_init(&r->rows);
    (void)uv_timer_init(loop, &r->timer);
    r->timer.data = r;
    return r;
}

static void row_free(struct row *row)
{
    list_del(&row->link);
    free(row->resource);
    free(row->json);
    free(row);
}

static void on_closed(uv_handle_t *handle)
{
    struct reporter *r = handle->data;

    list_for_each_safe (it, &r->rows) {
        row_free(list_entry(it, struct row, link));
    }
    free(r->agent);
    free(r);
}

struct reporter *reporter_free(struct reporter *r)
{
    if (r != NULL) {
        if (r->call != NULL) {
            client_call_abort(r->call);
        }
        uv_close((uv_handle_t *)&r->timer, on_closed);
    }
    return NULL;
}

static struct row *row_of(struct reporter *r, const char *resource)
{
    struct row *row;

    list_for_each (it, &r->rows) {
        row = list_entry(it, struct row, link);
        if (strcmp(row->resource, resource) == 0) {
            return row;
        }
    }
    row = xcalloc(1, sizeof(*row));
    row->resource = xstrdup(resource);
    list_add_tail(&r->rows, &row->link);
    return row;
}

static void row_changed(struct reporter *r, struct row *row)
{
    row->dirty = true;
    row->sent = false;
    if (r->not_before_ms == 0) {
        r->not_before_ms = clock_boot_ms() + REPORTER_COLLECT_MS;
    }
    reporter_step(r);
}

void reporter_set(struct reporter *r, const char *resource, const char *json)
{
    struct row *row = row_of(r, resource);

    if (row->json == NULL || strcmp(row->json, json) != 0) {
        free(row->json);
        row->json = xstrdup(json);
        row_changed(r, row);
    }
}

void reporter_remove(struct reporter *r, const char *resource)
{
    struct row *row = row_of(r, resource);

    free(row->json);
    row->json = NULL;
    row_changed(r, row);
}

static void lose_lease(struct reporter *r)
{
    r->lease = 0;
    list_for_each (it, &r->rows) {
        list_entry(it, struct row, link)->dirty = true;
    }
}

/* Common to all answers: true when it is a good one. */
static bool take_reply(struct reporter *r, const struct client_reply *reply)
{
    r->call = NULL;
    r->state = STATE_IDLE;
    if (reply->outcome == CLIENT_OK) {
        return true;
    }
    log_debug("cannot report to the store: %s", reply->error);
    if (reply->outcome == CLIENT_REFUSED) {
        lose_lease(r); /* whatever it was, a new lease is a clean start */
    }
    r->not_before_ms = clock_boot_ms() + REPORTER_RETRY_MS;
    return false;
}

static void on_granted(void *data, const struct client_reply *reply)
{
    struct reporter *r = data;

    if (take_reply(r, reply)) {
        r->lease = client_get_int(reply->body, "ID");
        r->renew_at_ms = clock_boot_ms() + REPORTER_TTL_S * 1000 / 3;
    }
    reporter_step(r);
}

static void on_renewed(void *data, const struct client_reply *reply)
{
    struct reporter *r = data;
    uint64_t now = clock_boot_ms();

    if (take_reply(r, reply)) {
        if (client_get_int(json_object_get(reply->body, "result"), "TTL") <= 0) {
            lose_lease(r);
        }
        r->renew_at_ms = now + REPORTER_TTL_S * 1000 / 3;
    } else {
        r->renew_at_ms = now + REPORTER_RETRY_MS;
    }
    reporter_step(r);
}

static void on_written(void *data, const struct client_reply *reply)
{
    struct reporter *r = data;

    if (take_reply(r, reply)) {
        r->not_before_ms = 0;
        list_for_each_safe (it, &r->rows) {
            struct row *row = list_entry(it, struct row, link);

            if (row->sent) {
                row->sent = row->dirty = false;
                if (row->json == NULL) {
                    row_free(row);
                }
            }
        }
    }
    reporter_step(r);
}

static void on_revoked(void *data, const struct client_reply *reply)
{
    struct reporter *r = data;

    (void)take_reply(r, reply);
    r->stopped(r->stopped_data);
}

static json_t *row_operation(const struct reporter *r, const struct row *row)
{
    _cleanup_free_ char *key = xasprintf("_decree/agent/%s/%s", r->agent, row->resource);
    json_t *body = json_object();
    json_t *op = json_object();

    (void)json_object_set_new(body, "key", client_json_bytes(bytes_str(key)));
    if (row->json != NULL) {
        (void)json_object_set_new(body, "value", client_json_bytes(bytes_str(row->json)));
        (void)json_object_set_new(body, "lease", client_json_int(r->lease));
    }
    (void)json_object_set_new(op, row->json != NULL ? "request_put" : "request_delete_range", body);
    return op;
}

static void write_rows(struct reporter *r)
{
    json_t *ops = json_array();
    json_t *request = json_object();

    list_for_each (it, &r->rows) {
        struct row *row = list_entry(it, struct row, link);

        row->sent = row->dirty && json_array_size(ops) < REPORTER_BATCH;
        if (row->sent) {
            (void)json_array_append_new(ops, row_operation(r, row));
        }
    }
    (void)json_object_set_new(request, "success", ops);
    r->state = STATE_WRITING;
    r->call = client_post(r->client, "/v3/kv/txn", request, 0, on_written, r);
}

static void post_lease(struct reporter *r, enum reporter_state state, const char *path,
    client_cb cb, uint64_t timeout_ms)
{
    json_t *request = json_object();

    if (state == STATE_GRANTING) {
        (void)json_object_set_new(request, "TTL", client_json_int(REPORTER_TTL_S));
    } else {
        (void)json_object_set_new(request, "ID", client_json_int(r->lease));
    }
    r->state = state;
    r->call = client_post(r->client, path, request, timeout_ms, cb, r);
}

static bool any_dirty(const struct reporter *r)
{
    list_for_each (it, &r->rows) {
        if (list_entry(it, struct row, link)->dirty) {
            return true;
        }
    }
    return false;
}

static void reporter_step(struct reporter *r)
{
    uint64_t now = clock_boot_ms();
    bool dirty = any_dirty(r);
    uint64_t due;

    if (r->state != STATE_IDLE || r->stopping) {
        return;
    }
    if (r->lease != 0 && now >= r->renew_at_ms) {
        post_lease(r, STATE_RENEWING, "/v3/lease/keepalive", on_renewed, 0);
        return;
    }
    if (dirty && now >= r->not_before_ms) {
        if (r->lease == 0) {
            post_lease(r, STATE_GRANTING, "/v3/lease/grant", on_granted, 0);
        } else {
            write_rows(r);
        }
        return;
    }
    due = r->lease != 0 ? r->renew_at_ms : UINT64_MAX;
    due = dirty ? MIN(due, r->not_before_ms) : due;
    if (due != UINT64_MAX) {
        (void)uv_timer_start(&r->timer, on_timer, due - now, 0);
    }
}

static void on_stop_without_lease(uv_timer_t *timer)
{
    struct reporter *r = timer->data;

    r->stopped(r->stopped_data);
}

void reporter_stop(struct reporter *r, void (*stopped)(void *data), void *data)
{
    r->stopping = true;
    r->stopped = stopped;
    r->stopped_data = data;
    (void)uv_timer_stop(&r->timer);
    if (r->call != NULL) {
        client_call_abort(r->call);
        r->call = NULL;
    }
    if (r->lease != 0) {
        post_lease(r, STATE_REVOKING, "/v3/lease/revoke", on_revoked, REPORTER_REVOKE_MS);
    } else {
        (void)uv_timer_start(&r->timer, on_stop_without_lease, 0, 0);
    }
}
