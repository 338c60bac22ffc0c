/* By any target but the key: a heap whose root comes last in the order, so that it is the one to
 * give way when there are more than wanted, and the one to go to the end when they are sorted in
 * place. By key they come sorted; backwards, the last ones are kept in a ring and read from its
 * end. */
#include "range_pick.h"

#include "alloc.h"

enum { PICK_FIRST = 64 };

void range_pick_deinit(struct range_pick *p)
{
    free(p->v);
    *p = (struct range_pick){0};
}

static int cmp_i64(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

/* Equal ones are in the order of their keys, whichever way the rest is. */
static int compare(const struct range_pick *p, const struct version *a, const struct version *b)
{
    int c = 0;

    switch (p->target) {
    case SORT_VERSION:
        c = cmp_i64(a->version, b->version);
        break;
    case SORT_CREATE:
        c = cmp_i64(a->create, b->create);
        break;
    case SORT_MOD:
        c = cmp_i64(a->mod, b->mod);
        break;
    case SORT_VALUE:
        c = bytes_cmp(version_value(a), version_value(b));
        break;
    case SORT_KEY:
    case SORT_TARGET_END:
        break;
    }
    c = p->descend ? -c : c;
    return c != 0 ? c : bytes_cmp(version_key(a), version_key(b));
}

static void sink(struct range_pick *p, size_t n, const struct version *v)
{
    size_t i = 0;

    for (;;) {
        size_t c = 2 * i + 1;

        if (c + 1 < n && compare(p, p->v[c + 1], p->v[c]) > 0) {
            c++;
        }
        if (c >= n || compare(p, p->v[c], v) <= 0) {
            break;
        }
        p->v[i] = p->v[c];
        i = c;
    }
    p->v[i] = v;
}

static void rise(struct range_pick *p, size_t i, const struct version *v)
{
    while (i > 0 && compare(p, v, p->v[(i - 1) / 2]) > 0) {
        p->v[i] = p->v[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    p->v[i] = v;
}

static size_t append(struct range_pick *p)
{
    if (p->n == p->cap) {
        p->cap = MIN(MAX(p->cap * 2, (size_t)PICK_FIRST), p->max);
        p->v = xreallocarray(p->v, p->cap, sizeof(struct version *));
    }
    return p->n++;
}

void range_pick_add(struct range_pick *p, const struct version *v)
{
    uint64_t i = p->seen++;

    if (p->target == SORT_KEY) {
        if (p->n < p->max) {
            size_t place = append(p); /* which may move v[] */

            p->v[place] = v;
        } else if (p->max > 0) {
            p->v[i % p->max] = v;
        }
    } else if (p->n < p->max) {
        size_t place = append(p);

        rise(p, place, v);
    } else if (p->max > 0 && compare(p, v, p->v[0]) < 0) {
        sink(p, p->n, v);
    }
}

void range_pick_end(struct range_pick *p)
{
    p->heap = p->target == SORT_KEY ? 0 : p->n;
}

bool range_pick_sort(struct range_pick *p, size_t steps)
{
    while (p->heap > 1 && steps-- > 0) {
        const struct version *last = p->v[0], *v = p->v[--p->heap];

        sink(p, p->heap, v);
        p->v[p->heap] = last;
    }
    return p->heap > 1;
}

const struct version *range_pick_at(const struct range_pick *p, size_t i)
{
    decree_assert(i < p->n);
    return p->target == SORT_KEY ? p->v[(p->seen - 1 - i) % p->max] : p->v[i];
}
