/* The B+tree: reading, putting, removing. Nodes split when they are full, in the middle, or at the
 * end when the new key comes last, so that growing keys leave full nodes behind. They merge with a
 * neighbour when one is nearly empty and both fit into one; there is no borrowing, hence no lower
 * bound for a single node, but two neighbours are never both nearly empty. */
#include "index.h"

#include "alloc.h"
#include "index_node.h"

enum {
    /* Below this a node looks for a neighbour to merge with … */
    NODE_FEW = NODE_KEYS / 4,
    /* … and at most this full it is afterwards, so that it does not split soon. */
    NODE_MERGED = NODE_KEYS * 3 / 4,
};

/* The way from the root to a leaf: inner nodes and the child taken in each. */
struct path {
    struct {
        struct index_inner *inner;
        size_t i;
    } at[INDEX_DEPTH_MAX];
    size_t n;
};

static void free_below(struct index *x, struct index_node *n)
{
    if (!n->is_leaf) {
        struct index_inner *inner = index_as_inner(n);

        for (size_t i = 0; i <= n->n; i++) {
            free_below(x, inner->child[i]);
        }
        for (size_t i = 0; i < n->n; i++) {
            index_sep_free(inner->sep[i]);
        }
    }
    index_node_free(x, n);
}

void index_deinit(struct index *x)
{
    if (x->root != NULL) {
        free_below(x, x->root);
    }
    *x = (struct index){0};
}

/* ---- reading ---- */

/* A node is most likely not in the cache: ask for all that a search of it will read at once. */
static void node_prefetch(const struct index_node *n)
{
    const char *p = (const char *)n;

    for (size_t at = 0; at < sizeof(*n); at += 64) {
        __builtin_prefetch(p + at);
    }
}

static const struct index_leaf *find_leaf(const struct index *x, struct bytes key)
{
    const struct index_node *n = x->root;

    while (n != NULL && !n->is_leaf) {
        const struct index_inner *inner = index_const_inner(n);

        n = inner->child[index_inner_child(inner, key)];
        node_prefetch(n);
    }
    return n != NULL ? index_const_leaf(n) : NULL;
}

/* Where `key` is, if it is in the leaf. Tries its head first: that the other bytes agree too is
 * seen from the key that is found, without a look at another one for the common prefix. */
static size_t leaf_find(const struct index_leaf *l, struct bytes key, bool *ret_equal)
{
    size_t i = index_heads_lower(&l->node, index_key_head(key, l->node.skip));

    if (i < l->node.n && bytes_eq(version_key(l->v[i]), key)) {
        *ret_equal = true;
        return i;
    }
    return index_node_lower(&l->node, key, ret_equal);
}

struct version *index_find(const struct index *x, struct bytes key)
{
    const struct index_leaf *l = find_leaf(x, key);
    bool equal = false;
    size_t i = l != NULL ? leaf_find(l, key, &equal) : 0;

    return equal ? l->v[i] : NULL;
}

struct index_cursor index_seek(const struct index *x, struct bytes key)
{
    struct index_cursor c = {.leaf = find_leaf(x, key)};
    bool equal;

    if (c.leaf != NULL) {
        c.i = index_node_lower(&c.leaf->node, key, &equal);
    }
    return c;
}

uint64_t index_rank(const struct index *x, struct bytes key)
{
    const struct index_node *n = x->root;
    uint64_t rank = 0;
    size_t below;
    bool equal;

    if (n == NULL) {
        return 0;
    }
    while (!n->is_leaf) {
        const struct index_inner *inner = index_const_inner(n);
        size_t child = index_inner_child(inner, key);

        for (size_t i = 0; i < child; i++) {
            rank += inner->live[i];
        }
        n = inner->child[child];
        node_prefetch(n);
    }
    below = index_node_lower(n, key, &equal);
    if (below > 0) {
        uint64_t mask = UINT64_MAX >> (64 - below);

        rank += below - (size_t)__builtin_popcountll(index_const_leaf(n)->dead & mask);
    }
    return rank;
}

uint64_t index_count(const struct index *x, const struct key_range *r)
{
    const struct version *v;

    switch (r->kind) {
    case KEY_SINGLE:
        v = index_find(x, r->start);
        return v != NULL && !version_is_tombstone(v);
    case KEY_FROM:
        return x->live - index_rank(x, r->start);
    case KEY_INTERVAL:
        break;
    }
    return key_range_is_empty(r) ? 0 : index_rank(x, r->end) - index_rank(x, r->start);
}

/* ---- writing ---- */

static struct index_leaf *descend(struct index *x, struct bytes key, struct path *p)
{
    struct index_node *n = x->root;

    p->n = 0;
    while (!n->is_leaf) {
        struct index_inner *inner = index_as_inner(n);
        size_t i = index_inner_child(inner, key);

        decree_assert(p->n < INDEX_DEPTH_MAX);
        p->at[p->n].inner = inner;
        p->at[p->n++].i = i;
        n = inner->child[i];
        node_prefetch(n);
    }
    return index_as_leaf(n);
}

static uint64_t bits_below(size_t i)
{
    return i == 0 ? 0 : UINT64_MAX >> (64 - i);
}

static void leaf_insert(struct index_leaf *l, size_t i, struct version *v)
{
    uint64_t low = bits_below(i);

    memmove(l->v + i + 1, l->v + i, (l->node.n - i) * sizeof(struct version *));
    l->v[i] = v;
    l->dead = (l->dead & low) | (l->dead & ~low) << 1;
    l->dead |= (uint64_t)version_is_tombstone(v) << i;
    l->node.n++;
    index_node_key_added(&l->node, i);
}

/* Moves the entries from i on into a new leaf to the right. */
static struct index_leaf *leaf_split(struct index *x, struct index_leaf *l, size_t i)
{
    struct index_leaf *right = index_leaf_new(x);

    right->node.n = (uint16_t)(l->node.n - i);
    memcpy(right->v, l->v + i, right->node.n * sizeof(struct version *));
    right->dead = i < NODE_KEYS ? l->dead >> i : 0;
    right->next = l->next;
    l->next = right;
    l->node.n = (uint16_t)i;
    l->dead &= bits_below(i);
    index_node_rehead(&l->node);
    index_node_rehead(&right->node);
    return right;
}

/* Puts a child to the right of child[i]; live counts are the caller's. */
static void inner_insert(
    struct index_inner *n, size_t i, struct bytes sep_consume, struct index_node *right)
{
    size_t after = n->node.n - i;

    memmove(n->sep + i + 1, n->sep + i, after * sizeof(*n->sep));
    memmove(n->child + i + 2, n->child + i + 1, after * sizeof(struct index_node *));
    memmove(n->live + i + 2, n->live + i + 1, after * sizeof(*n->live));
    n->sep[i] = sep_consume;
    n->child[i + 1] = right;
    n->node.n++;
    index_node_key_added(&n->node, i);
}

/* Moves the children from i + 1 on into a new node; the separator between goes to *ret_sep. */
static struct index_inner *inner_split(
    struct index *x, struct index_inner *n, size_t i, struct bytes *ret_sep)
{
    struct index_inner *right = index_inner_new(x);

    *ret_sep = n->sep[i];
    right->node.n = (uint16_t)(n->node.n - i - 1);
    memcpy(right->sep, n->sep + i + 1, right->node.n * sizeof(*n->sep));
    memcpy(right->child, n->child + i + 1, (right->node.n + 1u) * sizeof(struct index_node *));
    memcpy(right->live, n->live + i + 1, (right->node.n + 1u) * sizeof(*n->live));
    n->node.n = (uint16_t)i;
    index_node_rehead(&n->node);
    index_node_rehead(&right->node);
    return right;
}

/* left, the node at the end of the path, has got a neighbour to its right: tells its ancestors,
 * which may split in turn. */
static void grow_up(struct index *x, struct path *p, struct index_node *left, struct bytes sep,
    struct index_node *right)
{
    while (p->n > 0) {
        struct index_inner *n = p->at[--p->n].inner;
        struct index_inner *target = n;
        size_t i = p->at[p->n].i;
        struct index_inner *new_right = NULL;
        struct bytes new_sep = {0};

        if (n->node.n == NODE_KEYS) {
            size_t cut = i == NODE_KEYS ? NODE_KEYS - 2u : NODE_KEYS / 2u;

            new_right = inner_split(x, n, cut, &new_sep);
            if (i > cut) {
                target = new_right;
                i -= cut + 1;
            }
        }
        inner_insert(target, i, sep, right);
        target->live[i] = index_node_live(left);
        target->live[i + 1] = index_node_live(right);
        if (new_right == NULL) {
            return;
        }
        left = &n->node;
        right = &new_right->node;
        sep = new_sep;
    }
    struct index_inner *root = index_inner_new(x);

    root->child[0] = left;
    root->live[0] = index_node_live(left);
    inner_insert(root, 0, sep, right);
    root->live[1] = index_node_live(right);
    x->root = &root->node;
}

/* Counts up or down along the path; delta is -1, 0 or 1 in two's complement. */
static void path_add_live(struct index *x, struct path *p, uint64_t delta)
{
    x->live += delta;
    for (size_t d = 0; d < p->n && delta != 0; d++) {
        p->at[d].inner->live[p->at[d].i] += delta;
    }
}

static void insert_new(
    struct index *x, struct path *p, struct index_leaf *l, size_t i, struct version *v)
{
    struct index_leaf *right;
    size_t cut;

    x->keys++;
    path_add_live(x, p, !version_is_tombstone(v));
    if (l->node.n < NODE_KEYS) {
        leaf_insert(l, i, v);
        return;
    }
    cut = i == NODE_KEYS ? NODE_KEYS : NODE_KEYS / 2u;
    right = leaf_split(x, l, cut);
    if (i > cut || cut == NODE_KEYS) {
        leaf_insert(right, i - cut, v);
    } else {
        leaf_insert(l, i, v);
    }
    grow_up(x, p, &l->node,
        index_sep_between(version_key(l->v[l->node.n - 1u]), version_key(right->v[0])),
        &right->node);
}

struct version *index_put(struct index *x, struct version *v)
{
    struct path p;
    struct index_leaf *l;
    struct version *old;
    bool equal;
    size_t i;

    if (x->root == NULL) {
        x->root = &index_leaf_new(x)->node;
    }
    l = descend(x, version_key(v), &p);
    i = leaf_find(l, version_key(v), &equal);
    if (!equal) {
        insert_new(x, &p, l, i, v);
        return NULL;
    }
    old = l->v[i];
    l->v[i] = v;
    l->dead = (l->dead & ~(UINT64_C(1) << i)) | (uint64_t)version_is_tombstone(v) << i;
    path_add_live(x, &p, (uint64_t)version_is_tombstone(old) - (uint64_t)version_is_tombstone(v));
    return old;
}

/* ---- removing ---- */

/* Forgets child[i + 1] and the separator before it. */
static void inner_remove(struct index_inner *n, size_t i)
{
    size_t after = n->node.n - i - 1u;

    index_sep_free(n->sep[i]);
    memmove(n->sep + i, n->sep + i + 1, after * sizeof(*n->sep));
    memmove(n->child + i + 1, n->child + i + 2, after * sizeof(struct index_node *));
    memmove(n->live + i + 1, n->live + i + 2, after * sizeof(*n->live));
    index_node_key_removed(&n->node, i);
}

static void merge_leaves(struct index_leaf *l, struct index_leaf *right)
{
    memcpy(l->v + l->node.n, right->v, right->node.n * sizeof(struct version *));
    if (l->node.n < NODE_KEYS) {
        l->dead |= right->dead << l->node.n;
    }
    l->node.n = (uint16_t)(l->node.n + right->node.n);
    l->next = right->next;
    index_node_rehead(&l->node);
}

static void merge_inners(struct index_inner *l, struct index_inner *right, struct bytes sep)
{
    size_t at = l->node.n + 1u;

    l->sep[l->node.n] = bytes_make(xmemdup(sep.data, sep.len), sep.len);
    memcpy(l->sep + at, right->sep, right->node.n * sizeof(*l->sep));
    memcpy(l->child + at, right->child, (right->node.n + 1u) * sizeof(struct index_node *));
    memcpy(l->live + at, right->live, (right->node.n + 1u) * sizeof(*l->live));
    l->node.n = (uint16_t)(at + right->node.n);
    index_node_rehead(&l->node);
}

/* Merges child[i] and child[i + 1] if both fit into one, an empty leaf always. */
static bool try_merge(struct index *x, struct index_inner *n, size_t i)
{
    struct index_node *l = n->child[i], *right = n->child[i + 1];
    bool empty = l->is_leaf && (l->n == 0 || right->n == 0);

    if (l->n + right->n + 1u > NODE_MERGED && !empty) {
        return false;
    }
    if (l->is_leaf) {
        merge_leaves(index_as_leaf(l), index_as_leaf(right));
    } else {
        merge_inners(index_as_inner(l), index_as_inner(right), n->sep[i]);
    }
    index_node_free(x, right);
    n->live[i] += n->live[i + 1];
    inner_remove(n, i);
    return true;
}

static void shrink_up(struct index *x, struct path *p, struct index_node *node)
{
    while (p->n > 0 && node->n < NODE_FEW) {
        struct index_inner *n = p->at[--p->n].inner;
        size_t i = p->at[p->n].i;

        if (!(i < n->node.n && try_merge(x, n, i)) && !(i > 0 && try_merge(x, n, i - 1))) {
            return;
        }
        node = &n->node;
    }
    while (!x->root->is_leaf && x->root->n == 0) {
        struct index_node *only = index_as_inner(x->root)->child[0];

        index_node_free(x, x->root);
        x->root = only;
    }
}

void index_remove(struct index *x, struct bytes key)
{
    struct path p;
    struct index_leaf *l = descend(x, key, &p);
    bool equal;
    size_t i = index_node_lower(&l->node, key, &equal);
    uint64_t low = bits_below(i);

    decree_assert(equal && (l->dead >> i & 1) != 0);
    l->dead = (l->dead & low) | (l->dead >> 1 & ~low);
    memmove(l->v + i, l->v + i + 1, (l->node.n - i - 1u) * sizeof(struct version *));
    index_node_key_removed(&l->node, i);
    x->keys--;
    shrink_up(x, &p, &l->node);
}
