/* Watchers and their states:
 *
 *   CATCHING_UP --(has seen all)--> SYNCED --(its consumer is full)--> FULL --(resumed)-->
 * CATCHING_UP
 *
 * Synced ones sit in the index and are told of each change once. The others read the history in
 * slices, each from its own revision on. A watcher whose revision is compacted meanwhile ends. */
#ifndef DECREE_STORE_MVCC_WATCH_HUB_H
#define DECREE_STORE_MVCC_WATCH_HUB_H

#include "watch_index.h"

/* An event that waits for a watcher: events[event], then the watcher's next hit. */
struct watch_hit {
    uint32_t event, next;
};

struct watch_hub {
    struct watch_index synced;
    struct list catching_up, full; /* watcher.link */
    uint64_t n_watchers, n_slow;   /* slow: catching up or full */
    uint64_t delivered;            /* history number up to which synced watchers have been told */
    struct watcher *telling;       /* whose callback runs; NULL once it has been removed */
    /* Scratch of a delivery, kept for the next one; all owned. */
    struct watch_event *events;
    struct watch_hit *hits;
    struct watch_event **batch;
    size_t n_events, cap_events, n_hits, cap_hits, cap_batch;
    struct list touched; /* watcher.touched */
};

void watch_hub_init(struct watch_hub *hub);
/* Watchers that are still there are forgotten; they are their owners'. */
void watch_hub_deinit(struct watch_hub *hub);

#endif
