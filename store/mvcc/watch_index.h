/* Which synced watchers want to know of a key. Watchers of the same range form a group; groups of
 * one key are found by hash, those of intervals in a treap by their start that knows the greatest
 * end below each node. So a change costs what it matches and a logarithm of the rest. */
#ifndef DECREE_STORE_MVCC_WATCH_INDEX_H
#define DECREE_STORE_MVCC_WATCH_INDEX_H

#include "hmap.h"
#include "watch.h"

struct watch_group {
    struct key_range range; /* bytes are the group's own */
    struct hmap_node node;  /* by range */
    struct list members;    /* watcher.link */
    /* Treap of intervals (Aragon, Seidel 1989): ordered by (start, end), a heap by priority. */
    struct watch_group *left, *right;
    struct watch_group *farthest; /* the one below here, this one included, with the greatest end */
    uint64_t priority;
    uint8_t bytes[];
};

struct watch_index {
    struct hmap groups; /* owns them */
    struct watch_group *root;
    size_t n_points; /* groups of one key */
    uint64_t chance; /* of the next priority; from 0 on, so that equal histories draw equal ones */
};

void watch_index_deinit(struct watch_index *x);
/* Sets w->group and uses w->link. */
void watch_index_add(struct watch_index *x, struct watcher *w);
void watch_index_remove(struct watch_index *x, struct watcher *w);
/* Calls found for each group whose range holds the key. found must not change the index. */
void watch_index_match(const struct watch_index *x, struct bytes key,
    void (*found)(struct watch_group *g, void *arg), void *arg);
/* Any watcher, NULL when there is none. */
struct watcher *watch_index_any(const struct watch_index *x);

#endif
