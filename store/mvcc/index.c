/* The B+tree. Inner node: child[0] sep[0] child[1] sep[1] … child[n]; all keys of child[i] are
 * below sep[i], which is not above any key of child[i + 1]. Separators are copies, as short as they
 * may be, so that no version has to live for the sake of the tree.
 *
 * Nodes split when they are full, in the middle, or at the end when the new key comes last, so that
 * growing keys leave full nodes behind. They merge with a neighbour when one is nearly empty and
 * both fit into one; there is no borrowing, hence no lower bound for a single node, but two
 * neighbours are never both nearly empty. */
#include "index.h"

#include "alloc.h"

enum {
    NODE_FEW = NODE_KEYS / 4, /* below this a node looks for a neighbour to merge with */
    NODE_MERGED =
        NODE_KEYS * 3 / 4,      /* at most this full afterwards, so that it does not split soon */
    BUILD_FILL = NODE_KEYS - 4, /* of a node that is built: a few keys may come without a split */
};

struct index_inner {
    struct index_node node;
    struct bytes sep[NODE_KEYS]; /* owned bytes */
    struct index_node *child[NODE_KEYS + 1];
    uint64_t live[NODE_KEYS + 1]; /* live keys below child[i] */
};

/* The way from the root to a leaf: inner nodes and the child taken in each. */
struct path {
    struct {
        struct index_inner *inner;
        size_t i;
    } at[INDEX_DEPTH_MAX];
    size_t n;
};

static struct index_leaf *as_leaf(struct index_node *n)
{
    return container_of(n, struct index_leaf, node);
}

static struct index_inner *as_inner(struct index_node *n)
{
    return container_of(n, struct index_inner, node);
}

static const struct index_leaf *as_const_leaf(const struct index_node *n)
{
    return (const struct index_leaf *)(const void *)n;
}

static const struct index_inner *as_const_inner(const struct index_node *n)
{
    return (const struct index_inner *)(const void *)n;
}

static struct bytes node_key(const struct index_node *n, size_t i)
{
    return n->is_leaf ? version_key(as_const_leaf(n)->v[i]) : as_const_inner(n)->sep[i];
}

/* ---- searching inside a node ---- */

static uint32_t key_head(struct bytes key, size_t skip)
{
    uint8_t b[4] = {0};

    if (key.len > skip) {
        memcpy(b, key.data + skip, MIN(key.len - skip, sizeof(b)));
    }
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* First i with heads[i] >= head. Without a branch that depends on data. */
static size_t heads_lower(const struct index_node *n, uint32_t head)
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
static size_t node_lower(const struct index_node *n, struct bytes key, bool *ret_equal)
{
    size_t lo, hi;
    uint32_t head;

    *ret_equal = false;
    if (n->n == 0) {
        return 0;
    }
    if (n->skip > 0) {
        struct bytes common = bytes_make(node_key(n, 0).data, n->skip);
        int c = bytes_cmp(bytes_make(key.data, MIN(key.len, (size_t)n->skip)), common);

        if (c != 0) {
            return c < 0 ? 0 : n->n;
        }
    }
    head = key_head(key, n->skip);
    lo = heads_lower(n, head);
    hi = lo;
    while (hi < n->n && n->heads[hi] == head) {
        hi++;
    }
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = bytes_cmp(node_key(n, mid), key);

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

/* Which child holds `key`: separators equal to it send it to the right. */
static size_t inner_child(const struct index_inner *n, struct bytes key)
{
    bool equal;
    size_t i = node_lower(&n->node, key, &equal);

    return i + (equal ? 1 : 0);
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

static void node_fill_heads(struct index_node *n)
{
    for (size_t i = 0; i < n->n; i++) {
        n->heads[i] = key_head(node_key(n, i), n->skip);
    }
}

/* After a change of many keys: the longest prefix that all share. */
static void node_rehead(struct index_node *n)
{
    n->skip = 0;
    if (n->n > 1) {
        n->skip = (uint32_t)common_prefix(node_key(n, 0), node_key(n, n->n - 1u));
    }
    node_fill_heads(n);
}

/* Key i has just been put into its place: n counts it already, its head and `skip` do not. */
static void node_key_added(struct index_node *n, size_t i)
{
    struct bytes key = node_key(n, i);
    size_t common = n->n > 1 ? common_prefix(key, node_key(n, i == 0 ? 1 : 0)) : 0;

    if (common < n->skip) {
        n->skip = (uint32_t)common;
        node_fill_heads(n);
        return;
    }
    memmove(n->heads + i + 1, n->heads + i, (n->n - 1u - i) * sizeof(*n->heads));
    n->heads[i] = key_head(key, n->skip);
}

static void node_key_removed(struct index_node *n, size_t i)
{
    n->n--;
    memmove(n->heads + i, n->heads + i + 1, (n->n - i) * sizeof(*n->heads));
    if (n->n == 0) {
        n->skip = 0;
    }
}

/* ---- nodes ---- */

static struct index_leaf *leaf_new(struct index *x)
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

static struct index_inner *inner_new(struct index *x)
{
    struct index_inner *n = xmalloc(sizeof(*n));

    n->node.is_leaf = false;
    n->node.n = 0;
    n->node.skip = 0;
    x->node_bytes += sizeof(*n);
    return n;
}

static void sep_free(struct bytes sep)
{
    free((void *)(uintptr_t)sep.data);
}

/* The shortest key that is above `left` and not above `right`. */
static struct bytes sep_between(struct bytes left, struct bytes right)
{
    size_t len = common_prefix(left, right) + 1;

    decree_assert(len <= right.len);
    return bytes_make(xmemdup(right.data, len), len);
}

static void node_free_one(struct index *x, struct index_node *n)
{
    if (n->is_leaf) {
        x->node_bytes -= sizeof(struct index_leaf);
        free(as_leaf(n));
    } else {
        x->node_bytes -= sizeof(struct index_inner);
        free(as_inner(n));
    }
}

static void node_free(struct index *x, struct index_node *n)
{
    if (!n->is_leaf) {
        struct index_inner *inner = as_inner(n);

        for (size_t i = 0; i <= n->n; i++) {
            node_free(x, inner->child[i]);
        }
        for (size_t i = 0; i < n->n; i++) {
            sep_free(inner->sep[i]);
        }
    }
    node_free_one(x, n);
}

void index_deinit(struct index *x)
{
    if (x->root != NULL) {
        node_free(x, x->root);
    }
    *x = (struct index){0};
}

static uint64_t leaf_live(const struct index_leaf *l)
{
    return l->node.n - (uint64_t)__builtin_popcountll(l->dead);
}

static uint64_t node_live(const struct index_node *n)
{
    uint64_t live = 0;

    if (n->is_leaf) {
        return leaf_live(as_const_leaf(n));
    }
    for (size_t i = 0; i <= n->n; i++) {
        live += as_const_inner(n)->live[i];
    }
    return live;
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
        const struct index_inner *inner = as_const_inner(n);

        n = inner->child[inner_child(inner, key)];
        node_prefetch(n);
    }
    return n != NULL ? as_const_leaf(n) : NULL;
}

/* Where `key` is, if it is in the leaf. Tries its head first: that the other bytes agree too is
 * seen from the key that is found, without a look at another one for the common prefix. */
static size_t leaf_find(const struct index_leaf *l, struct bytes key, bool *ret_equal)
{
    size_t i = heads_lower(&l->node, key_head(key, l->node.skip));

    if (i < l->node.n && bytes_eq(version_key(l->v[i]), key)) {
        *ret_equal = true;
        return i;
    }
    return node_lower(&l->node, key, ret_equal);
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
        c.i = node_lower(&c.leaf->node, key, &equal);
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
        const struct index_inner *inner = as_const_inner(n);
        size_t child = inner_child(inner, key);

        for (size_t i = 0; i < child; i++) {
            rank += inner->live[i];
        }
        n = inner->child[child];
        node_prefetch(n);
    }
    below = node_lower(n, key, &equal);
    if (below > 0) {
        uint64_t mask = UINT64_MAX >> (64 - below);

        rank += below - (size_t)__builtin_popcountll(as_const_leaf(n)->dead & mask);
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
        struct index_inner *inner = as_inner(n);
        size_t i = inner_child(inner, key);

        decree_assert(p->n < INDEX_DEPTH_MAX);
        p->at[p->n].inner = inner;
        p->at[p->n++].i = i;
        n = inner->child[i];
        node_prefetch(n);
    }
    return as_leaf(n);
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
    node_key_added(&l->node, i);
}

/* Moves the entries from i on into a new leaf to the right. */
static struct index_leaf *leaf_split(struct index *x, struct index_leaf *l, size_t i)
{
    struct index_leaf *right = leaf_new(x);

    right->node.n = (uint16_t)(l->node.n - i);
    memcpy(right->v, l->v + i, right->node.n * sizeof(struct version *));
    right->dead = i < NODE_KEYS ? l->dead >> i : 0;
    right->next = l->next;
    l->next = right;
    l->node.n = (uint16_t)i;
    l->dead &= bits_below(i);
    node_rehead(&l->node);
    node_rehead(&right->node);
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
    node_key_added(&n->node, i);
}

/* Moves the children from i + 1 on into a new node; the separator between goes to *ret_sep. */
static struct index_inner *inner_split(
    struct index *x, struct index_inner *n, size_t i, struct bytes *ret_sep)
{
    struct index_inner *right = inner_new(x);

    *ret_sep = n->sep[i];
    right->node.n = (uint16_t)(n->node.n - i - 1);
    memcpy(right->sep, n->sep + i + 1, right->node.n * sizeof(*n->sep));
    memcpy(right->child, n->child + i + 1, (right->node.n + 1u) * sizeof(struct index_node *));
    memcpy(right->live, n->live + i + 1, (right->node.n + 1u) * sizeof(*n->live));
    n->node.n = (uint16_t)i;
    node_rehead(&n->node);
    node_rehead(&right->node);
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
        target->live[i] = node_live(left);
        target->live[i + 1] = node_live(right);
        if (new_right == NULL) {
            return;
        }
        left = &n->node;
        right = &new_right->node;
        sep = new_sep;
    }
    struct index_inner *root = inner_new(x);

    root->child[0] = left;
    root->live[0] = node_live(left);
    inner_insert(root, 0, sep, right);
    root->live[1] = node_live(right);
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
        sep_between(version_key(l->v[l->node.n - 1u]), version_key(right->v[0])), &right->node);
}

struct version *index_put(struct index *x, struct version *v)
{
    struct path p;
    struct index_leaf *l;
    struct version *old;
    bool equal;
    size_t i;

    if (x->root == NULL) {
        x->root = &leaf_new(x)->node;
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

    sep_free(n->sep[i]);
    memmove(n->sep + i, n->sep + i + 1, after * sizeof(*n->sep));
    memmove(n->child + i + 1, n->child + i + 2, after * sizeof(struct index_node *));
    memmove(n->live + i + 1, n->live + i + 2, after * sizeof(*n->live));
    node_key_removed(&n->node, i);
}

static void merge_leaves(struct index_leaf *l, struct index_leaf *right)
{
    memcpy(l->v + l->node.n, right->v, right->node.n * sizeof(struct version *));
    if (l->node.n < NODE_KEYS) {
        l->dead |= right->dead << l->node.n;
    }
    l->node.n = (uint16_t)(l->node.n + right->node.n);
    l->next = right->next;
    node_rehead(&l->node);
}

static void merge_inners(struct index_inner *l, struct index_inner *right, struct bytes sep)
{
    size_t at = l->node.n + 1u;

    l->sep[l->node.n] = bytes_make(xmemdup(sep.data, sep.len), sep.len);
    memcpy(l->sep + at, right->sep, right->node.n * sizeof(*l->sep));
    memcpy(l->child + at, right->child, (right->node.n + 1u) * sizeof(struct index_node *));
    memcpy(l->live + at, right->live, (right->node.n + 1u) * sizeof(*l->live));
    l->node.n = (uint16_t)(at + right->node.n);
    node_rehead(&l->node);
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
        merge_leaves(as_leaf(l), as_leaf(right));
    } else {
        merge_inners(as_inner(l), as_inner(right), n->sep[i]);
    }
    node_free_one(x, right);
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
        struct index_node *only = as_inner(x->root)->child[0];

        node_free_one(x, x->root);
        x->root = only;
    }
}

void index_remove(struct index *x, struct bytes key)
{
    struct path p;
    struct index_leaf *l = descend(x, key, &p);
    bool equal;
    size_t i = node_lower(&l->node, key, &equal);
    uint64_t low = bits_below(i);

    decree_assert(equal && (l->dead >> i & 1) != 0);
    l->dead = (l->dead & low) | (l->dead >> 1 & ~low);
    memmove(l->v + i, l->v + i + 1, (l->node.n - i - 1u) * sizeof(struct version *));
    node_key_removed(&l->node, i);
    x->keys--;
    shrink_up(x, &p, &l->node);
}

/* ---- building ---- */

void index_builder_deinit(struct index_builder *b)
{
    for (size_t i = 0; i < b->n; i++) {
        free(as_leaf(b->leaves[i]));
    }
    free(b->leaves);
    *b = (struct index_builder){0};
}

void index_builder_add(struct index_builder *b, struct version *v)
{
    struct index ignored = {0};

    if (b->last == NULL || b->last->node.n == BUILD_FILL) {
        struct index_leaf *l = leaf_new(&ignored);

        if (b->last != NULL) {
            b->last->next = l;
        }
        if (b->n == b->cap) {
            b->cap = b->cap != 0 ? b->cap * 2 : 64;
            b->leaves = xreallocarray(b->leaves, b->cap, sizeof(*b->leaves));
        }
        b->leaves[b->n++] = &l->node;
        b->last = l;
    }
    b->last->dead |= (uint64_t)version_is_tombstone(v) << b->last->node.n;
    b->last->v[b->last->node.n++] = v;
    b->keys++;
    b->live += !version_is_tombstone(v);
}

static struct bytes first_key(const struct index_node *n)
{
    while (!n->is_leaf) {
        n = as_const_inner(n)->child[0];
    }
    return node_key(n, 0);
}

static struct bytes last_key(const struct index_node *n)
{
    while (!n->is_leaf) {
        n = as_const_inner(n)->child[n->n];
    }
    return node_key(n, n->n - 1u);
}

/* One level up: every run of children becomes one inner node. Returns how many there are now. */
static size_t build_level(struct index *x, struct index_node **nodes, size_t n)
{
    size_t n_up = 0;

    for (size_t i = 0; i < n;) {
        struct index_inner *up = inner_new(x);
        size_t take = MIN(n - i, (size_t)BUILD_FILL);

        for (size_t c = 0; c < take; c++) {
            up->child[c] = nodes[i + c];
            up->live[c] = node_live(nodes[i + c]);
            if (c > 0) {
                up->sep[c - 1] = sep_between(last_key(nodes[i + c - 1]), first_key(nodes[i + c]));
            }
        }
        up->node.n = (uint16_t)(take - 1);
        node_rehead(&up->node);
        nodes[n_up++] = &up->node;
        i += take;
    }
    return n_up;
}

struct index index_builder_finish(struct index_builder *b)
{
    struct index x = {.keys = b->keys, .live = b->live};
    size_t n = b->n;

    x.node_bytes = n * sizeof(struct index_leaf);
    for (size_t i = 0; i < n; i++) {
        node_rehead(b->leaves[i]);
    }
    while (n > 1) {
        n = build_level(&x, b->leaves, n);
    }
    x.root = n == 1 ? b->leaves[0] : NULL;
    b->n = 0;
    index_builder_deinit(b);
    return x;
}
