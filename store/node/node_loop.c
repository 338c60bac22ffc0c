/* The core on a libuv loop.
 *
 *     poll: sockets, the log's completions, timers -> calls and frames are in
 *     check: one turn of the core, replies go out
 *     prepare: another if something came since; while more is left to do, poll does not wait
 *
 * The log's thread wakes the loop through an async handle. */
#include "node_impl.h"
#include "slice.h"

enum {
    HANDLES = 6,
    /* Half of what the busiest turns of the loop take: members and clients wait for it alike. */
    LOOP_SLICE_NS = 500 * 1000,
};

/* With the slices of the core at a millisecond each, some milliseconds are much. */
static const uint64_t turn_bounds_us[STORE_TIMES_BUCKETS] = {100, 200, 500, 1000, 2000, 4000, 8000,
    16000, 32000, 64000, 128000, 256000, 512000, 1000000, 2000000, 5000000};

static void on_idle(uv_idle_t *idle)
{
    (void)idle; /* its being active is all */
}

void node_wake(struct node *n)
{
    (void)uv_idle_start(&n->idle, on_idle);
}

static void turn(struct node *n)
{
    decree_assert(n->peers != NULL); /* before the links are there nothing runs */
    peers_report(n->peers);
    if (core_turn(n->core)) {
        node_wake(n);
    } else {
        (void)uv_idle_stop(&n->idle);
    }
    node_after_turn(n);
}

static void on_check(uv_check_t *check)
{
    struct node *n = check->data;

    if (uv_is_active((uv_handle_t *)&n->idle)) {
        turn(n);
    }
}

/* Everything between two sleeps, the doors' and the links' callbacks too. */
static void count_turn(struct node *n)
{
    uint64_t now = uv_hrtime(), slept = uv_metrics_idle_time(n->loop);

    store_times_add(&n->turns, (now - n->turn_ns - (slept - n->slept_ns)) / 1000);
    n->turn_ns = now;
    n->slept_ns = slept;
}

/* Idle, timer and closing callbacks run before poll: what they submitted need not wait for it. What
 * was left by check is not repeated here: others have their turn first. */
static void on_prepare(uv_prepare_t *prepare)
{
    struct node *n = prepare->data;

    count_turn(n);
    if (core_is_dirty(n->core)) {
        turn(n);
    }
}

static void on_disk(uv_async_t *async)
{
    struct node *n = async->data;

    if (n->state == NODE_RUNNING || n->state == NODE_LEAVING) {
        core_disk(n->core);
    }
}

void node_wake_disk(void *data)
{
    struct node *n = data;

    (void)uv_async_send(&n->disk);
}

static void on_tick(uv_timer_t *timer)
{
    struct node *n = timer->data;

    core_tick(n->core);
    node_tell_tick(&n->tell);
}

/* ---- handles ---- */

static void list_handles(struct node *n, uv_handle_t *ret[HANDLES])
{
    uv_handle_t *const all[HANDLES] = {(uv_handle_t *)&n->check, (uv_handle_t *)&n->prepare,
        (uv_handle_t *)&n->idle, (uv_handle_t *)&n->tick, (uv_handle_t *)&n->limit,
        (uv_handle_t *)&n->disk};

    memcpy(ret, all, sizeof(all));
}

void node_loop_init(struct node *n)
{
    uv_handle_t *all[HANDLES];

    (void)uv_loop_configure(n->loop, UV_METRICS_IDLE_TIME);
    (void)uv_check_init(n->loop, &n->check);
    (void)uv_prepare_init(n->loop, &n->prepare);
    (void)uv_idle_init(n->loop, &n->idle);
    (void)uv_timer_init(n->loop, &n->tick);
    (void)uv_timer_init(n->loop, &n->limit);
    if (uv_async_init(n->loop, &n->disk, on_disk) < 0) {
        decree_fatal("no descriptor is left for waking the loop");
    }
    list_handles(n, all);
    for (size_t i = 0; i < HANDLES; i++) {
        all[i]->data = n;
        n->handles++;
    }
}

void node_loop_start(struct node *n, unsigned tick_ms)
{
    thread_ask_short_slices(LOOP_SLICE_NS);
    n->turns.bounds_us = turn_bounds_us;
    n->turn_ns = uv_hrtime();
    n->slept_ns = uv_metrics_idle_time(n->loop);
    (void)uv_check_start(&n->check, on_check);
    (void)uv_prepare_start(&n->prepare, on_prepare);
    (void)uv_timer_start(&n->tick, on_tick, tick_ms, tick_ms);
    (void)uv_async_send(&n->disk); /* what was written while the core opened */
}

static void on_handle_closed(uv_handle_t *h)
{
    struct node *n = h->data;

    n->handles--;
    node_free_if_done(n);
}

void node_loop_close(struct node *n)
{
    uv_handle_t *all[HANDLES];

    list_handles(n, all);
    for (size_t i = 0; i < HANDLES; i++) {
        uv_close(all[i], on_handle_closed);
    }
}
