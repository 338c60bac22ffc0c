/* The ordered index of keys: a B+tree whose leaves point to the newest version of each key and
 * whose inner nodes count the live keys below them, so that the size of any range is known in
 * O(log n). It owns its nodes, not the versions. */
#ifndef DECREE_STORE_MVCC_INDEX_H
#define DECREE_STORE_MVCC_INDEX_H

#include "version.h"

enum {
    NODE_KEYS = 64, /* as many as a leaf's bit set of tombstones has bits */
    INDEX_DEPTH_MAX = 16,
};

/* What leaves and inner nodes share: how keys are searched. All keys of a node begin with the same
 * `skip` bytes; heads are the four bytes behind them, big-endian and zero-padded, so that most
 * comparisons never leave the node. */
struct index_node {
    bool is_leaf;
    uint16_t n; /* keys: entries of a leaf, separators of an inner node */
    uint32_t skip;
    uint32_t heads[NODE_KEYS];
};

struct index_leaf {
    struct index_node node;
    uint64_t dead; /* bit i: v[i] is a tombstone */
    struct index_leaf *next;
    struct version *v[NODE_KEYS];
};

struct index {
    struct index_node *root; /* owned; NULL while empty */
    uint64_t keys;           /* tombstones included */
    uint64_t live;
    uint64_t node_bytes;
};

void index_deinit(struct index *x);

/* The newest version of key, which may be a tombstone, or NULL. */
struct version *index_find(const struct index *x, struct bytes key);
/* Makes v the newest version of its key; returns the one that was, or NULL. */
struct version *index_put(struct index *x, struct version *v);
/* Forgets the key, whose newest version must be a tombstone. */
void index_remove(struct index *x, struct bytes key);
/* Live keys below key / in the range. */
uint64_t index_rank(const struct index *x, struct bytes key);
uint64_t index_count(const struct index *x, const struct key_range *r);

/* A place in the order of keys; valid until the next index_put of a new key or index_remove. */
struct index_cursor {
    const struct index_leaf *leaf; /* NULL: at the end */
    size_t i;
};

/* At the first key that is not below `key`. An empty key is below all. */
struct index_cursor index_seek(const struct index *x, struct bytes key);

static inline struct version *index_cursor_next(struct index_cursor *c)
{
    while (c->leaf != NULL && c->i >= c->leaf->node.n) {
        c->leaf = c->leaf->next;
        c->i = 0;
    }
    return c->leaf != NULL ? c->leaf->v[c->i++] : NULL;
}

/* As above, but passes over tombstones without touching them. */
static inline struct version *index_cursor_next_live(struct index_cursor *c)
{
    while (c->leaf != NULL) {
        uint64_t live = c->i < c->leaf->node.n ? ~c->leaf->dead >> c->i : 0;

        if (live != 0) {
            c->i += (size_t)__builtin_ctzll(live);
        }
        if (live != 0 && c->i < c->leaf->node.n) {
            struct version *v = c->leaf->v[c->i++];

            /* A scan is bound by memory latency: ask for what comes in a moment. */
            __builtin_prefetch(c->leaf->v[MIN(c->i + 7, (size_t)NODE_KEYS - 1)]);
            return v;
        }
        c->leaf = c->leaf->next;
        c->i = 0;
    }
    return NULL;
}

/* Builds an index from versions that come in the order of their keys. */
struct index_builder {
    struct index_leaf *last;
    struct index_node **leaves; /* owned */
    size_t n, cap;
    uint64_t keys, live;
};

void index_builder_add(struct index_builder *b, struct version *v);
/* The builder is empty afterwards. */
struct index index_builder_finish(struct index_builder *b);
void index_builder_deinit(struct index_builder *b);

#endif
