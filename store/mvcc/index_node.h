/* The nodes of the index: how keys are found in one, and what keeps its heads right. Private to the
 * index.
 *
 * Inner node: child[0] sep[0] child[1] sep[1] … child[n]; all keys of child[i] are below sep[i],
 * which is not above any key of child[i + 1]. Separators are copies, as short as they may be, so
 * that no version has to live for the sake of the tree. */
#ifndef DECREE_STORE_MVCC_INDEX_NODE_H
#define DECREE_STORE_MVCC_INDEX_NODE_H

#include "index.h"

struct index_inner {
    struct index_node node;
    struct bytes sep[NODE_KEYS]; /* owned bytes */
    struct index_node *child[NODE_KEYS + 1];
    uint64_t live[NODE_KEYS + 1]; /* live keys below child[i] */
};

static inline struct index_leaf *index_as_leaf(struct index_node *n)
{
    return container_of(n, struct index_leaf, node);
}

static inline struct index_inner *index_as_inner(struct index_node *n)
{
    return container_of(n, struct index_inner, node);
}

static inline const struct index_leaf *index_const_leaf(const struct index_node *n)
{
    return (const struct index_leaf *)(const void *)n;
}

static inline const struct index_inner *index_const_inner(const struct index_node *n)
{
    return (const struct index_inner *)(const void *)n;
}

static inline struct bytes index_node_key(const struct index_node *n, size_t i)
{
    return n->is_leaf ? version_key(index_const_leaf(n)->v[i]) : index_const_inner(n)->sep[i];
}

static inline uint32_t index_key_head(struct bytes key, size_t skip)
{
    uint8_t b[4] = {0};

    if (key.len > skip) {
        memcpy(b, key.data + skip, MIN(key.len - skip, sizeof(b)));
    }
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* First i with heads[i] >= head. Without a branch that depends on data. */
static inline size_t index_heads_lower(const struct index_node *n, uint32_t head)
{
    const uint32_t *base = n->heads;
    size_t len = n->n;

    while (len > 1) {
        size_t half = len / 2;

        base += base[half - 1] < head ? half : 0;
        len -= half;
    }
    return (size_t)(base - n->heads) + (len == 1 && *base < head);
}

/* First i whose key is not below `key`; *ret_equal when it is the key itself. */
size_t index_node_lower(const struct index_node *n, struct bytes key, bool *ret_equal);

/* Which child holds `key`: separators equal to it send it to the right. */
static inline size_t index_inner_child(const struct index_inner *n, struct bytes key)
{
    bool equal;
    size_t i = index_node_lower(&n->node, key, &equal);

    return i + (equal ? 1 : 0);
}

/* Key i has just been put into its place: n counts it already, its head and `skip` do not. */
void index_node_key_added(struct index_node *n, size_t i);
/* Key i has just left; n still counts it. */
void index_node_key_removed(struct index_node *n, size_t i);
/* After a change of many keys: the longest prefix that all share. */
void index_node_rehead(struct index_node *n);

/* Empty nodes, counted in x; an inner one has no child yet. */
struct index_leaf *index_leaf_new(struct index *x);
struct index_inner *index_inner_new(struct index *x);
/* The node alone, without children and separators. */
void index_node_free(struct index *x, struct index_node *n);
/* Live keys in and below n. */
uint64_t index_node_live(const struct index_node *n);

/* The shortest key that is above `left` and not above `right`; owned by who keeps it. */
struct bytes index_sep_between(struct bytes left, struct bytes right);
void index_sep_free(struct bytes sep);

#endif
