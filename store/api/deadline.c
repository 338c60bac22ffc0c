#include "deadline.h"

void deadlines_init(struct deadlines *ds, uv_loop_t *loop)
{
    int r = uv_timer_init(loop, &ds->timer);

    decree_assert(r == 0);
    ds->timer.data = ds;
    list_init(&ds->all);
    ds->next_ms = UINT64_MAX;
}

void deadlines_close(struct deadlines *ds, uv_close_cb cb)
{
    decree_assert(list_empty(&ds->all));
    uv_close((uv_handle_t *)&ds->timer, cb);
}

void deadline_init(struct deadline *d, void (*expired)(struct deadline *d))
{
    list_init(&d->link);
    d->at_ms = 0;
    d->expired = expired;
}

static void on_timer(uv_timer_t *timer);

static void run_timer(struct deadlines *ds, uint64_t at_ms)
{
    uint64_t now = uv_now(ds->timer.loop);

    ds->next_ms = at_ms;
    (void)uv_timer_start(&ds->timer, on_timer, at_ms > now ? at_ms - now : 0, 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct deadlines *ds = timer->data;
    uint64_t now = uv_now(timer->loop), next = UINT64_MAX;
    struct list expired;

    list_init(&expired);
    list_for_each_safe (it, &ds->all) {
        struct deadline *d = list_entry(it, struct deadline, link);

        if (d->at_ms <= now) {
            list_del(&d->link);
            list_add_tail(&expired, &d->link);
        } else {
            next = MIN(next, d->at_ms);
        }
    }
    ds->next_ms = UINT64_MAX;
    if (next != UINT64_MAX) {
        run_timer(ds, MAX(next, now + DEADLINE_SLACK_MS));
    }
    while (!list_empty(&expired)) {
        struct deadline *d = list_entry(expired.next, struct deadline, link);

        list_del(&d->link);
        d->expired(d);
    }
}

void deadline_set(struct deadlines *ds, struct deadline *d, uint64_t in_ms)
{
    d->at_ms = uv_now(ds->timer.loop) + in_ms;
    if (list_empty(&d->link)) {
        list_add_tail(&ds->all, &d->link);
    }
    if (d->at_ms < ds->next_ms) {
        run_timer(ds, d->at_ms);
    }
}

void deadline_drop(struct deadline *d)
{
    list_del(&d->link);
}
