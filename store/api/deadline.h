/* Many deadlines on one timer, made for deadlines that are set and dropped with every request and
 * hardly ever run out: setting one is a store and a comparison, dropping one an unlink. The timer
 * runs to what was the earliest and then looks again, so it may wake for nothing, but never late by
 * more than DEADLINE_SLACK_MS. */
#ifndef DECREE_STORE_API_DEADLINE_H
#define DECREE_STORE_API_DEADLINE_H

#include <uv.h>

#include "list.h"

enum { DEADLINE_SLACK_MS = 20 };

/* Embedded by its owner. */
struct deadline {
    struct list link;
    uint64_t at_ms;                      /* uv_now */
    void (*expired)(struct deadline *d); /* it has been dropped already and may be set again */
};

struct deadlines {
    uv_timer_t timer;
    struct list all;
    uint64_t next_ms; /* when the timer fires; UINT64_MAX: it does not run */
};

void deadlines_init(struct deadlines *ds, uv_loop_t *loop);
/* No deadline may be set any more. */
void deadlines_close(struct deadlines *ds, uv_close_cb cb);

void deadline_init(struct deadline *d, void (*expired)(struct deadline *d));
void deadline_set(struct deadlines *ds, struct deadline *d, uint64_t in_ms);
void deadline_drop(struct deadline *d);

#endif
