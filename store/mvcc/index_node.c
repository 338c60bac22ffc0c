#include "index_node.h"

#include "alloc.h"

size_t index_node_lower(const struct index_node *n, struct bytes key, bool *ret_equal)
{
    size_t lo, hi;
    uint32_t head;

    *ret_equal = false;
    if (n->n == 0) {
        return 0;
    }
    if (n->skip > 0) {
        struct bytes common = bytes_make(index_node_key(n, 0).data, n->skip);
        int c = bytes_cmp(bytes_make(key.data, MIN(key.len, (size_t)n->skip)), common);

        if (c != 0) {
            return c < 0 ? 0 : n->n;
        }
    }
    head = index_key_head(key, n->skip);
    lo = index_heads_lower(n, head);
    hi = lo;
    while (hi < n->n && n->heads[hi] == head) {
        hi++;
    }
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = bytes_cmp(index_node_key(n, mid), key);

        if (c == 0) {
            *ret_equal = true;
            return mid;
        }
        if (c < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

/* ---- keeping skip and heads ---- */

static size_t common_prefix(struct bytes a, struct bytes b)
{
    size_t n = MIN(a.len, b.len), i = 0;

    while (i < n && a.data[i] == b.data[i]) {
        i++;
    }
    return i;
}

static void fill_heads(struct index_node *n)
{
    for (size_t i = 0; i < n->n; i++) {
        n->heads[i] = index_key_head(index_node_key(n, i), n->skip);
    }
}

void index_node_rehead(struct index_node *n)
{
    n->skip = 0;
    if (n->n > 1) {
        n->skip = (uint32_t)common_prefix(index_node_key(n, 0), index_node_key(n, n->n - 1u));
    }
    fill_heads(n);
}

void index_node_key_added(struct index_node *n, size_t i)
{
    struct bytes key = index_node_key(n, i);
    size_t common = n->n > 1 ? common_prefix(key, index_node_key(n, i == 0 ? 1 : 0)) : 0;

    if (common < n->skip) {
        n->skip = (uint32_t)common;
        fill_heads(n);
        return;
    }
    memmove(n->heads + i + 1, n->heads + i, (n->n - 1u - i) * sizeof(*n->heads));
    n->heads[i] = index_key_head(key, n->skip);
}

void index_node_key_removed(struct index_node *n, size_t i)
{
    n->n--;
    memmove(n->heads + i, n->heads + i + 1, (n->n - i) * sizeof(*n->heads));
    if (n->n == 0) {
        n->skip = 0;
    }
}

/* ---- nodes ---- */

struct index_leaf *index_leaf_new(struct index *x)
{
    struct index_leaf *l = xmalloc(sizeof(*l));

    l->node.is_leaf = true;
    l->node.n = 0;
    l->node.skip = 0;
    l->dead = 0;
    l->next = NULL;
    x->node_bytes += sizeof(*l);
    return l;
}

struct index_inner *index_inner_new(struct index *x)
{
    struct index_inner *n = xmalloc(sizeof(*n));

    n->node.is_leaf = false;
    n->node.n = 0;
    n->node.skip = 0;
    x->node_bytes += sizeof(*n);
    return n;
}

void index_sep_free(struct bytes sep)
{
    free((void *)(uintptr_t)sep.data);
}

struct bytes index_sep_between(struct bytes left, struct bytes right)
{
    size_t len = common_prefix(left, right) + 1;

    decree_assert(len <= right.len);
    return bytes_make(xmemdup(right.data, len), len);
}

void index_node_free(struct index *x, struct index_node *n)
{
    if (n->is_leaf) {
        x->node_bytes -= sizeof(struct index_leaf);
        free(index_as_leaf(n));
    } else {
        x->node_bytes -= sizeof(struct index_inner);
        free(index_as_inner(n));
    }
}

static uint64_t leaf_live(const struct index_leaf *l)
{
    return l->node.n - (uint64_t)__builtin_popcountll(l->dead);
}

uint64_t index_node_live(const struct index_node *n)
{
    uint64_t live = 0;

    if (n->is_leaf) {
        return leaf_live(index_const_leaf(n));
    }
    for (size_t i = 0; i <= n->n; i++) {
        live += index_const_inner(n)->live[i];
    }
    return live;
}
