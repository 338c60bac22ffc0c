/* Intrusive hash table: the node is a member of what is stored; the caller owns the objects and
 * compares keys itself. Grows by doubling; never shrinks. */
#ifndef DECREE_BASE_HMAP_H
#define DECREE_BASE_HMAP_H

#include <stdbool.h>

#include "alloc.h"
#include "bytes.h"

struct hmap_node {
    struct hmap_node *next;
    uint64_t hash;
};

struct hmap {
    struct hmap_node **buckets; /* owned; n_buckets is a power of two, or 0 before the first insert */
    size_t n_buckets;
    size_t count;
    size_t pop_end; /* no node sits in this bucket or above: emptying a table is linear */
};

static inline uint64_t hmap_hash_u64(uint64_t x)
{
    return bytes_hash(bytes_make(&x, sizeof(x)));
}

/* Frees the table, not the objects in it. */
void hmap_deinit(struct hmap *m);
/* Adds node under hash; equal keys are the caller's to rule out. */
void hmap_insert(struct hmap *m, struct hmap_node *node, uint64_t hash);
/* Unlinks node, which must be in m. */
void hmap_remove(struct hmap *m, struct hmap_node *node);
/* First node with that hash, then the next one with the same hash; NULL at the end. */
struct hmap_node *hmap_first(const struct hmap *m, uint64_t hash);
struct hmap_node *hmap_next_same(const struct hmap_node *node);
/* Every node in no particular order: pass NULL to begin. m must not change meanwhile; the node
 * itself may be inspected freely; to empty a table use hmap_pop. */
struct hmap_node *hmap_iter(const struct hmap *m, const struct hmap_node *after);
/* Unlinks and returns any node, NULL when empty: for tearing a table down. */
struct hmap_node *hmap_pop(struct hmap *m);

#endif
