#include "hmap.h"

#define HMAP_BUCKETS_MIN 16

void hmap_deinit(struct hmap *m)
{
    free(m->buckets);
    *m = (struct hmap){0};
}

static struct hmap_node **bucket(const struct hmap *m, uint64_t hash)
{
    return &m->buckets[hash & (m->n_buckets - 1)];
}

static void grow(struct hmap *m)
{
    struct hmap bigger = {.n_buckets = MAX(m->n_buckets * 2, (size_t)HMAP_BUCKETS_MIN)};
    struct hmap_node *node;

    bigger.buckets = xcalloc(bigger.n_buckets, sizeof(struct hmap_node *));
    while ((node = hmap_pop(m)) != NULL) {
        hmap_insert(&bigger, node, node->hash);
    }
    hmap_deinit(m);
    *m = bigger;
}

void hmap_insert(struct hmap *m, struct hmap_node *node, uint64_t hash)
{
    struct hmap_node **head;

    if (m->count >= m->n_buckets) {
        grow(m);
    }
    head = bucket(m, hash);
    node->hash = hash;
    node->next = *head;
    *head = node;
    m->pop_end = MAX(m->pop_end, (size_t)(head - m->buckets) + 1);
    m->count++;
}

void hmap_remove(struct hmap *m, struct hmap_node *node)
{
    struct hmap_node **p;

    decree_assert(m->n_buckets != 0);
    p = bucket(m, node->hash);
    while (*p != node) {
        decree_assert(*p != NULL);
        p = &(*p)->next;
    }
    *p = node->next;
    node->next = NULL;
    m->count--;
}

struct hmap_node *hmap_first(const struct hmap *m, uint64_t hash)
{
    struct hmap_node *n;

    if (m->n_buckets == 0) {
        return NULL;
    }
    n = *bucket(m, hash);
    while (n != NULL && n->hash != hash) {
        n = n->next;
    }
    return n;
}

struct hmap_node *hmap_next_same(const struct hmap_node *node)
{
    struct hmap_node *n = node->next;

    while (n != NULL && n->hash != node->hash) {
        n = n->next;
    }
    return n;
}

static struct hmap_node *first_from(const struct hmap *m, size_t i)
{
    for (; i < m->n_buckets; i++) {
        if (m->buckets[i] != NULL) {
            return m->buckets[i];
        }
    }
    return NULL;
}

struct hmap_node *hmap_iter(const struct hmap *m, const struct hmap_node *after)
{
    if (after == NULL) {
        return first_from(m, 0);
    }
    if (after->next != NULL) {
        return after->next;
    }
    return first_from(m, (size_t)(after->hash & (m->n_buckets - 1)) + 1);
}

struct hmap_node *hmap_pop(struct hmap *m)
{
    if (m->count == 0) {
        return NULL;
    }
    while (m->buckets[m->pop_end - 1] == NULL) {
        m->pop_end--;
        decree_assert(m->pop_end > 0);
    }
    struct hmap_node *n = m->buckets[m->pop_end - 1];

    m->buckets[m->pop_end - 1] = n->next;
    n->next = NULL;
    m->count--;
    return n;
}
