/* An index from sorted keys: leaves from left to right, then one level of inner nodes after the
 * other. */
#include "alloc.h"
#include "index.h"
#include "index_node.h"

enum { BUILD_FILL = NODE_KEYS - 4 /* of a node: a few keys may come without a split */ };

void index_builder_deinit(struct index_builder *b)
{
    for (size_t i = 0; i < b->n; i++) {
        free(index_as_leaf(b->leaves[i]));
    }
    free(b->leaves);
    *b = (struct index_builder){0};
}

void index_builder_add(struct index_builder *b, struct version *v)
{
    struct index ignored = {0};

    if (b->last == NULL || b->last->node.n == BUILD_FILL) {
        struct index_leaf *l = index_leaf_new(&ignored);

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
        n = index_const_inner(n)->child[0];
    }
    return index_node_key(n, 0);
}

static struct bytes last_key(const struct index_node *n)
{
    while (!n->is_leaf) {
        n = index_const_inner(n)->child[n->n];
    }
    return index_node_key(n, n->n - 1u);
}

/* One level up: every run of children becomes one inner node. Returns how many there are now. */
static size_t build_level(struct index *x, struct index_node **nodes, size_t n)
{
    size_t n_up = 0;

    for (size_t i = 0; i < n;) {
        struct index_inner *up = index_inner_new(x);
        size_t take = MIN(n - i, (size_t)BUILD_FILL);

        for (size_t c = 0; c < take; c++) {
            up->child[c] = nodes[i + c];
            up->live[c] = index_node_live(nodes[i + c]);
            if (c > 0) {
                up->sep[c - 1] =
                    index_sep_between(last_key(nodes[i + c - 1]), first_key(nodes[i + c]));
            }
        }
        up->node.n = (uint16_t)(take - 1);
        index_node_rehead(&up->node);
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
        index_node_rehead(b->leaves[i]);
    }
    while (n > 1) {
        n = build_level(&x, b->leaves, n);
    }
    x.root = n == 1 ? b->leaves[0] : NULL;
    b->n = 0;
    index_builder_deinit(b);
    return x;
}
