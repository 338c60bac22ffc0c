#include "watch_index.h"

#include "alloc.h"
#include "splitmix.h"

/* ---- the treap of intervals ---- */

/* Order of ends; KEY_FROM has none and is beyond all. */
static int end_cmp(const struct key_range *a, const struct key_range *b)
{
    if (a->kind == KEY_FROM || b->kind == KEY_FROM) {
        return (a->kind == KEY_FROM) - (b->kind == KEY_FROM);
    }
    return bytes_cmp(a->end, b->end);
}

static int range_cmp(const struct key_range *a, const struct key_range *b)
{
    int c = bytes_cmp(a->start, b->start);

    return c != 0 ? c : end_cmp(a, b);
}

static bool end_is_beyond(const struct key_range *r, struct bytes key)
{
    return r->kind == KEY_FROM || bytes_cmp(key, r->end) < 0;
}

static void update_farthest(struct watch_group *g)
{
    g->farthest = g;
    if (g->left != NULL && end_cmp(&g->left->farthest->range, &g->range) > 0) {
        g->farthest = g->left->farthest;
    }
    if (g->right != NULL && end_cmp(&g->right->farthest->range, &g->farthest->range) > 0) {
        g->farthest = g->right->farthest;
    }
}

/* Depths are logarithmic in the number of groups, since priorities look random: recursion is safe.
 */

static void split(struct watch_group *root, const struct key_range *at,
    struct watch_group **ret_below, struct watch_group **ret_above)
{
    if (root == NULL) {
        *ret_below = *ret_above = NULL;
        return;
    }
    if (range_cmp(&root->range, at) < 0) {
        split(root->right, at, &root->right, ret_above);
        *ret_below = root;
    } else {
        split(root->left, at, ret_below, &root->left);
        *ret_above = root;
    }
    update_farthest(root);
}

static struct watch_group *join(struct watch_group *below, struct watch_group *above)
{
    if (below == NULL || above == NULL) {
        return below != NULL ? below : above;
    }
    if (below->priority > above->priority) {
        below->right = join(below->right, above);
        update_farthest(below);
        return below;
    }
    above->left = join(below, above->left);
    update_farthest(above);
    return above;
}

static struct watch_group *treap_insert(struct watch_group *root, struct watch_group *g)
{
    if (root == NULL || g->priority > root->priority) {
        split(root, &g->range, &g->left, &g->right);
        root = g;
    } else if (range_cmp(&g->range, &root->range) < 0) {
        root->left = treap_insert(root->left, g);
    } else {
        root->right = treap_insert(root->right, g);
    }
    update_farthest(root);
    return root;
}

static struct watch_group *treap_remove(struct watch_group *root, const struct watch_group *g)
{
    decree_assert(root != NULL);
    if (root == g) {
        return join(root->left, root->right);
    }
    if (range_cmp(&g->range, &root->range) < 0) {
        root->left = treap_remove(root->left, g);
    } else {
        root->right = treap_remove(root->right, g);
    }
    update_farthest(root);
    return root;
}

static void treap_match(struct watch_group *g, struct bytes key,
    void (*found)(struct watch_group *g, void *arg), void *arg)
{
    while (g != NULL && end_is_beyond(&g->farthest->range, key)) {
        treap_match(g->left, key, found, arg);
        if (bytes_cmp(g->range.start, key) > 0) {
            return;
        }
        if (end_is_beyond(&g->range, key)) {
            found(g, arg);
        }
        g = g->right;
    }
}

/* ---- groups ---- */

static uint64_t range_hash(const struct key_range *r)
{
    uint64_t h = bytes_hash(r->start);

    return r->kind == KEY_SINGLE ? h : h * 31 + bytes_hash(r->end) + (uint64_t)r->kind;
}

static struct watch_group *find(
    const struct watch_index *x, const struct key_range *r, uint64_t hash)
{
    for (struct hmap_node *n = hmap_first(&x->groups, hash); n != NULL; n = hmap_next_same(n)) {
        struct watch_group *g = container_of(n, struct watch_group, node);

        if (g->range.kind == r->kind && bytes_eq(g->range.start, r->start) &&
            bytes_eq(g->range.end, r->end)) {
            return g;
        }
    }
    return NULL;
}

static struct watch_group *group_new(
    struct watch_index *x, const struct key_range *r, uint64_t hash)
{
    struct watch_group *g = xcalloc(1, sizeof(*g) + r->start.len + r->end.len);

    memcpy(g->bytes, r->start.data, r->start.len);
    if (r->end.len != 0) {
        memcpy(g->bytes + r->start.len, r->end.data, r->end.len);
    }
    g->range.kind = r->kind;
    g->range.start = bytes_make(g->bytes, r->start.len);
    g->range.end = bytes_make(g->bytes + r->start.len, r->end.len);
    list_init(&g->members);
    hmap_insert(&x->groups, &g->node, hash);
    if (r->kind == KEY_SINGLE) {
        x->n_points++;
    } else {
        g->priority = splitmix_next(&x->chance);
        x->root = treap_insert(x->root, g);
    }
    return g;
}

void watch_index_deinit(struct watch_index *x)
{
    struct hmap_node *n;

    while ((n = hmap_pop(&x->groups)) != NULL) {
        free(container_of(n, struct watch_group, node));
    }
    hmap_deinit(&x->groups);
    *x = (struct watch_index){0};
}

void watch_index_add(struct watch_index *x, struct watcher *w)
{
    uint64_t hash = range_hash(&w->range);

    w->group = find(x, &w->range, hash);
    if (w->group == NULL) {
        w->group = group_new(x, &w->range, hash);
    }
    list_add_tail(&w->group->members, &w->link);
}

void watch_index_remove(struct watch_index *x, struct watcher *w)
{
    struct watch_group *g = w->group;

    list_del(&w->link);
    w->group = NULL;
    if (!list_empty(&g->members)) {
        return;
    }
    hmap_remove(&x->groups, &g->node);
    if (g->range.kind == KEY_SINGLE) {
        x->n_points--;
    } else {
        x->root = treap_remove(x->root, g);
    }
    free(g);
}

void watch_index_match(const struct watch_index *x, struct bytes key,
    void (*found)(struct watch_group *g, void *arg), void *arg)
{
    struct key_range point = {.kind = KEY_SINGLE, .start = key};
    struct watch_group *g = x->n_points != 0 ? find(x, &point, range_hash(&point)) : NULL;

    if (g != NULL) {
        found(g, arg);
    }
    treap_match(x->root, key, found, arg);
}

struct watcher *watch_index_any(const struct watch_index *x)
{
    struct hmap_node *n = hmap_iter(&x->groups, NULL);

    return n != NULL
        ? list_entry(container_of(n, struct watch_group, node)->members.next, struct watcher, link)
        : NULL;
}
