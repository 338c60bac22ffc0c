#include "node_trim.h"

#include <malloc.h>

#include "macros.h"

/* After much was freed, wait for the next wave to be over before it is given back. */
enum { TRIM_DELAY_MS = 2000 };

static void release(struct node_trim *t)
{
    if (--t->holds == 0) {
        t->closed(t);
    }
}

static void in_trim(uv_work_t *work)
{
    (void)work;
    (void)malloc_trim(0);
}

static void on_trimmed(uv_work_t *work, int status)
{
    struct node_trim *t = container_of(work, struct node_trim, work);

    (void)status;
    t->running = false;
    release(t);
}

/* In libuv's pool: it may take long, and the loop only waits while a part of the heap is locked. */
static void on_timer(uv_timer_t *timer)
{
    struct node_trim *t = container_of(timer, struct node_trim, timer);

    if (!t->running && uv_queue_work(timer->loop, &t->work, in_trim, on_trimmed) == 0) {
        t->running = true;
        t->holds++;
    }
}

static void on_timer_closed(uv_handle_t *timer)
{
    release(container_of((uv_timer_t *)timer, struct node_trim, timer));
}

void node_trim_init(struct node_trim *t, uv_loop_t *loop)
{
    (void)uv_timer_init(loop, &t->timer);
    t->running = false;
    t->holds = 1;
}

void node_trim_soon(struct node_trim *t)
{
    (void)uv_timer_start(&t->timer, on_timer, TRIM_DELAY_MS, 0);
}

void node_trim_close(struct node_trim *t, void (*closed)(struct node_trim *t))
{
    t->closed = closed;
    uv_close((uv_handle_t *)&t->timer, on_timer_closed);
}
