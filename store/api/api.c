#include "api.h"

#include "api_impl.h"
#include "h2.h"
#include "listener.h"
#include "rpc.h"

enum { LEADERLESS_MS = 3000 /* three default election timeouts */ };

/* ---- one write a connection and turn ---- */

/* A turn of the loop is over: what the next one lets each connection begin. */
static void next_turn(struct api *api)
{
    size_t calls_total;
    bool company;

    api->turn_share = api_turn_share(api->turn_busy);
    api->turn_busy = 0;
    company =
        api->company_ms != 0 && uv_now(api->loop) - api->company_ms < (uint64_t)CALLS_COMPANY_MS;
    calls_total =
        api_calls_total(company && store_has_leader(api->store), store_write_us(api->store));
    if (calls_total == REQUESTS_MAX && api->calls_total != REQUESTS_MAX) {
        list_for_each (it, &api->conns) {
            conn_mark_dirty(
                list_entry(it, struct conn, link)); /* what is queued goes to the store */
        }
    }
    api->calls_total = calls_total;
}

/* Runs before the loop would sleep. What is queued later in this turn (a disk's completion, another
 * prepare handle) starts no_sleep, so that the next turn comes at once. */
static void on_flush(uv_prepare_t *prepare)
{
    struct api *api = prepare->data;
    size_t written = 0;
    struct list now;

    (void)uv_idle_stop(&api->no_sleep);
    next_turn(api);
    list_init(&now);
    list_splice_tail(&now, &api->dirty);
    while (!list_empty(&now) && written < WRITE_TURN_BYTES_TOTAL) {
        struct conn *c = list_entry(now.next, struct conn, dirty);

        list_del(&c->dirty);
        written += conn_flush(c);
    }
    if (!list_empty(&now)) {
        list_splice_tail(&now, &api->dirty); /* those that had no turn come first in the next */
        list_splice_tail(&api->dirty, &now);
        api_wake(api);
    }
}

static void on_no_sleep(uv_idle_t *idle _unused_) {}

void api_wake(struct api *api)
{
    (void)uv_idle_start(&api->no_sleep, on_no_sleep);
}

/* ---- life ---- */

static void check_declarations(void)
{
    for (size_t i = 0; i < METHOD_COUNT; i++) {
        decree_assert(methods[i].right != API_RIGHT_UNDECLARED && methods[i].request != NULL &&
            methods[i].response != NULL);
    }
}

static void on_grace_over(struct deadline *grace);

int api_new(
    uv_loop_t *loop, struct store *store, const struct api_options *options, struct api **ret)
{
    struct api *api = xcalloc(1, sizeof(*api));
    struct api_options *o = &api->options;

    check_declarations();
    api->loop = loop;
    api->store = store;
    if (options != NULL) {
        *o = *options;
    }
    o->leaderless_ms = o->leaderless_ms != 0 ? o->leaderless_ms : LEADERLESS_MS;
    o->progress_interval_ms =
        o->progress_interval_ms != 0 ? o->progress_interval_ms : PROGRESS_INTERVAL_MS;
    o->progress_interval_ms = MAX(o->progress_interval_ms, (unsigned)PROGRESS_INTERVAL_MIN_MS);
    list_init(&api->listeners);
    list_init(&api->conns);
    list_init(&api->dirty);
    list_init(&api->leader_streams);
    list_init(&api->pool);
    list_init(&api->large_waiting);
    api->turn_share = REQUESTS_TURN_MAX;
    api->calls_total = REQUESTS_MAX;
    (void)uv_prepare_init(loop, &api->flush);
    (void)uv_idle_init(loop, &api->no_sleep);
    api->flush.data = api;
    (void)uv_prepare_start(&api->flush, on_flush);
    uv_unref((uv_handle_t *)&api->flush);
    deadlines_init(&api->deadlines, loop);
    deadline_init(&api->leader_check, rpc_check_leader);
    deadline_init(&api->grace, on_grace_over);
    h2_global_init(api);
    api->read_buffer = xmalloc(READ_BUFFER_BYTES);
    *ret = api;
    return 0;
}

int api_listen(struct api *api, const char *url, struct err *reterr)
{
    return listener_open(api, url, reterr);
}

/* ---- stopping: listeners and idle connections at once, the others when their calls are through or
 * the grace is over, then our own handles ---- */

void api_handle_closed(struct api *api)
{
    decree_assert(api->handles > 0);
    api->handles--;
    if (api->state == API_CLOSING && api->handles == 0) {
        void (*cb)(void *) = api->stop_cb;
        void *data = api->stop_data;

        h2_global_deinit(api);
        free(api->read_buffer);
        free(api);
        cb(data);
    }
}

static void on_handle_closed(uv_handle_t *handle)
{
    api_handle_closed(handle->data);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct deadlines *ds = handle->data;

    api_handle_closed(container_of(ds, struct api, deadlines));
}

static void free_pool(struct api *api)
{
    while (!list_empty(&api->pool)) {
        struct exchange *ex = list_entry(api->pool.next, struct exchange, link);

        list_del(&ex->link);
        arena_deinit(&ex->arena);
        strbuf_deinit(&ex->in);
        segq_deinit(&ex->out);
        free(ex);
    }
}

static void close_all(struct api *api)
{
    api->state = API_CLOSING;
    decree_assert(api->n_exchanges == 0 && api->n_watchers == 0 && api->in_bytes == 0 &&
        api->out_bytes == 0 && api->watch_bytes == 0 && api->n_large == 0);
    deadline_drop(&api->leader_check);
    deadline_drop(&api->grace);
    free_pool(api);
    api->no_sleep.data = api;
    api->handles += 3;
    uv_close((uv_handle_t *)&api->flush, on_handle_closed);
    uv_close((uv_handle_t *)&api->no_sleep, on_handle_closed);
    deadlines_close(&api->deadlines, on_timer_closed);
}

void api_conn_gone(struct api *api)
{
    if (api->state == API_DRAINING && api->n_conns == 0) {
        close_all(api);
    }
}

static void on_grace_over(struct deadline *grace)
{
    struct api *api = container_of(grace, struct api, grace);

    if (api->n_conns > 0) {
        log_info("connections are closed with calls under way connections=%zu", api->n_conns);
    }
    list_for_each_safe (it, &api->conns) {
        conn_close(list_entry(it, struct conn, link));
    }
}

void api_stop(struct api *api, void (*cb)(void *data), void *data)
{
    decree_assert(api->state == API_RUNNING);
    api->state = API_DRAINING;
    api->stop_cb = cb;
    api->stop_data = data;
    listeners_close(api);
    list_for_each_safe (it, &api->conns) {
        conn_drain(list_entry(it, struct conn, link));
    }
    if (api->n_conns == 0) {
        close_all(api);
    } else {
        deadline_set(&api->deadlines, &api->grace, STOP_GRACE_MS);
    }
}
