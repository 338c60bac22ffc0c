#include "lease.h"

#include "alloc.h"
#include "err.h"
#include "work.h"

enum {
    SPREAD_PER_SECOND = 750, /* deadlines a new leader lets fall into one second: 3/4 of the 1000
                              * revokes a second that a leader proposes */
};

/* ---- the table ---- */

void lease_table_deinit(struct lease_table *t)
{
    struct hmap_node *node;

    while ((node = hmap_pop(&t->by_id)) != NULL) {
        free(container_of(node, struct lease, node));
    }
    hmap_deinit(&t->by_id);
    free(t->heap);
    *t = (struct lease_table){0};
}

struct lease *lease_find(const struct lease_table *t, int64_t id)
{
    struct hmap_node *node = hmap_first(&t->by_id, hmap_hash_u64((uint64_t)id));

    while (node != NULL && container_of(node, struct lease, node)->id != id) {
        node = hmap_next_same(node);
    }
    return node != NULL ? container_of(node, struct lease, node) : NULL;
}

static uint64_t ttl_ms(const struct lease *l)
{
    return l->ttl_s > 0 ? (uint64_t)l->ttl_s * 1000 : 0;
}

/* ---- the heap: the earliest timer is heap[0] ---- */

static void heap_set(struct lease_table *t, size_t i, struct lease *l)
{
    t->heap[i] = l;
    l->heap_at = i;
}

/* Moves the lease at i to where its timer belongs. */
static void heap_fix(struct lease_table *t, size_t i)
{
    struct lease *l = t->heap[i];

    while (i > 0 && t->heap[(i - 1) / 2]->timer_ms > l->timer_ms) {
        heap_set(t, i, t->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    for (;;) {
        size_t c = 2 * i + 1;

        if (c + 1 < t->n_heap && t->heap[c + 1]->timer_ms < t->heap[c]->timer_ms) {
            c++;
        }
        if (c >= t->n_heap || t->heap[c]->timer_ms >= l->timer_ms) {
            break;
        }
        heap_set(t, i, t->heap[c]);
        i = c;
    }
    heap_set(t, i, l);
}

static void heap_push(struct lease_table *t, struct lease *l)
{
    if (t->n_heap == t->cap_heap) {
        t->cap_heap = t->cap_heap != 0 ? t->cap_heap * 2 : 16;
        t->heap = xreallocarray(t->heap, t->cap_heap, sizeof(*t->heap));
    }
    heap_set(t, t->n_heap++, l);
    heap_fix(t, l->heap_at);
}

static void heap_remove(struct lease_table *t, struct lease *l)
{
    size_t i = l->heap_at;

    decree_assert(i < t->n_heap && t->heap[i] == l);
    heap_set(t, i, t->heap[--t->n_heap]);
    if (i < t->n_heap) {
        heap_fix(t, i);
    }
}

static void set_timer(struct lease_table *t, struct lease *l, uint64_t timer_ms)
{
    l->timer_ms = timer_ms;
    heap_fix(t, l->heap_at);
}

struct lease *lease_add(struct lease_table *t, int64_t id, int64_t ttl_s, uint64_t now_ms)
{
    struct lease *l = xcalloc(1, sizeof(*l));

    l->id = id;
    l->ttl_s = ttl_s;
    list_init(&l->keys);
    hmap_insert(&t->by_id, &l->node, hmap_hash_u64((uint64_t)id));
    if (t->leading) {
        l->deadline_ms = l->timer_ms = now_ms + ttl_ms(l);
        heap_push(t, l);
    }
    return l;
}

void lease_remove(struct lease_table *t, struct lease *l)
{
    decree_assert(list_empty(&l->keys));
    if (t->leading) {
        heap_remove(t, l);
    }
    hmap_remove(&t->by_id, &l->node);
    free(l);
}

static int cmp_id(const void *a, const void *b)
{
    int64_t x, y;

    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return (x > y) - (x < y);
}

void lease_ids_sorted(const struct lease_table *t, int64_t *ids)
{
    struct hmap_node *node = NULL;
    size_t n = 0;

    while ((node = hmap_iter(&t->by_id, node)) != NULL) {
        ids[n++] = container_of(node, struct lease, node)->id;
    }
    if (n > 1) {
        qsort(ids, n, sizeof(*ids), cmp_id);
    }
}

void lease_attach(struct lease_table *t, struct version *v)
{
    if (v->leased) {
        struct lease *l = lease_find(t, version_lease(v)->id);

        decree_assert(l != NULL); /* looked up before the write began */
        list_add_tail(&l->keys, &version_lease(v)->link);
    }
}

void lease_detach(struct version *v)
{
    if (v->leased) {
        list_del(&version_lease(v)->link);
    }
}

static int cmp_key(const void *a, const void *b)
{
    const struct bytes *x = a, *y = b;

    return bytes_cmp(*x, *y);
}

/* The keys that hang on l, in order; NULL when the arena's ceiling would be passed. */
static struct bytes *sorted_keys(struct lease *l, struct arena *arena, size_t *ret_n)
{
    struct bytes *keys;
    size_t n = 0;

    list_for_each (it, &l->keys) {
        n++;
    }
    *ret_n = n;
    keys = arena_alloc(arena, n * sizeof(*keys));
    if (keys == NULL) {
        return NULL;
    }
    n = 0;
    list_for_each (it, &l->keys) {
        keys[n++] = version_key(version_of_lease_link(it));
    }
    qsort(keys, n, sizeof(*keys), cmp_key);
    return keys;
}

/* ---- log entries ---- */

int mvcc_lease_grant(struct mvcc *m, int64_t id, int64_t ttl_s, uint64_t now_ms)
{
    decree_assert(id != 0);
    if (ttl_s > LEASE_TTL_MAX_S) {
        return DECREE_ELEASE_TTL_TOO_LARGE;
    }
    if (lease_find(&m->leases, id) != NULL) {
        return DECREE_ELEASE_EXISTS;
    }
    (void)lease_add(&m->leases, id, ttl_s, now_ms);
    return 0;
}

/* ---- its end ---- */

/* In no order that the members agree on. */
static int gather(struct mvcc_work *w)
{
    struct lease_end *x = &w->revoke;

    if (x->at == NULL) {
        x->at = x->lease->keys.next;
        x->pick = (struct range_pick){.target = SORT_TARGET_END, .max = SIZE_MAX};
    }
    for (; x->at != &x->lease->keys; x->at = x->at->next) {
        if (w->steps == 0) {
            return 1;
        }
        range_pick_add(&x->pick, version_of_lease_link(x->at));
        work_spend(w, 1);
    }
    range_pick_end(&x->pick);
    x->stage = REVOKE_SORT;
    return 0;
}

static int sort(struct mvcc_work *w)
{
    size_t steps = w->steps;

    if (steps == 0) {
        return 1;
    }
    work_spend(w, MIN(steps, w->revoke.pick.n));
    if (range_pick_sort(&w->revoke.pick, steps)) {
        return 1;
    }
    w->revoke.stage = REVOKE_DELETE;
    return 0;
}

static int delete_keys(struct mvcc_work *w)
{
    struct lease_end *x = &w->revoke;

    for (; x->deleted < x->pick.n; x->deleted++) {
        if (w->steps == 0) {
            return 1;
        }
        write_delete_key(&w->write, version_key(range_pick_at(&x->pick, x->deleted)),
            x->expired ? MVCC_ACTION_EXPIRE : MVCC_ACTION_REVOKE);
        work_spend(w, 1);
    }
    lease_remove(&w->m->leases, x->lease);
    return 0;
}

int work_revoke(struct mvcc_work *w)
{
    struct lease_end *x = &w->revoke;
    int r = 0;

    if (x->lease == NULL) {
        return DECREE_ELEASE_NOT_FOUND;
    }
    if (x->stage == REVOKE_GATHER) {
        r = gather(w);
    }
    if (r == 0 && x->stage == REVOKE_SORT) {
        r = sort(w);
    }
    return r == 0 ? delete_keys(w) : r;
}

/* ---- reads ---- */

int mvcc_lease_info(const struct mvcc *m, int64_t id, uint64_t now_ms, bool keys,
    struct arena *arena, struct lease_reply *ret)
{
    struct lease *l = lease_find(&m->leases, id);

    decree_assert(!m->working);

    if (l == NULL) {
        return DECREE_ELEASE_NOT_FOUND;
    }
    *ret = (struct lease_reply){.id = id, .ttl = l->ttl_s, .granted = l->ttl_s};
    if (m->leases.leading) {
        ret->ttl = l->deadline_ms > now_ms ? (int64_t)((l->deadline_ms - now_ms) / 1000) : 0;
    }
    if (keys) {
        ret->keys = sorted_keys(l, arena, &ret->n_keys);
        return ret->keys != NULL ? 0 : DECREE_ETOO_LARGE;
    }
    return 0;
}

int mvcc_lease_list(const struct mvcc *m, struct arena *arena, struct lease_list_reply *ret)
{
    *ret = (struct lease_list_reply){0};
    ret->ids = arena_alloc(arena, m->leases.by_id.count * sizeof(*ret->ids));
    if (ret->ids == NULL) {
        return DECREE_ETOO_LARGE;
    }
    ret->n = m->leases.by_id.count;
    lease_ids_sorted(&m->leases, ret->ids);
    return 0;
}

uint64_t mvcc_lease_count(const struct mvcc *m)
{
    return m->leases.by_id.count;
}

/* ---- deadlines ---- */

bool mvcc_lease_is_due(const struct mvcc *m, int64_t id, uint64_t now_ms)
{
    const struct lease *l = lease_find(&m->leases, id);

    return l != NULL && m->leases.leading && l->deadline_ms <= now_ms;
}

int mvcc_lease_renew(struct mvcc *m, int64_t id, uint64_t now_ms, int64_t *ret_ttl)
{
    struct lease *l = lease_find(&m->leases, id);

    if (l == NULL) {
        return DECREE_ELEASE_NOT_FOUND;
    }
    if (!m->leases.leading) {
        return DECREE_ENOT_LEADER;
    }
    if (l->deadline_ms <= now_ms) {
        return DECREE_ELEASE_NOT_FOUND;
    }
    l->deadline_ms = now_ms + ttl_ms(l);
    if (l->deadline_ms < l->timer_ms) {
        set_timer(&m->leases, l, l->deadline_ms); /* it had been given more than its time to live */
    }
    *ret_ttl = l->ttl_s;
    return 0;
}

static int cmp_deadline(const void *a, const void *b)
{
    const struct lease *x = *(struct lease *const *)a, *y = *(struct lease *const *)b;

    if (x->deadline_ms != y->deadline_ms) {
        return x->deadline_ms < y->deadline_ms ? -1 : 1;
    }
    return (x->id > y->id) - (x->id < y->id);
}

void mvcc_lease_promote(struct mvcc *m, uint64_t now_ms, uint64_t extend_ms)
{
    struct lease_table *t = &m->leases;
    struct hmap_node *node = NULL;

    mvcc_lease_demote(m);
    t->leading = true;
    while ((node = hmap_iter(&t->by_id, node)) != NULL) {
        struct lease *l = container_of(node, struct lease, node);

        l->deadline_ms = l->timer_ms = now_ms + ttl_ms(l) + extend_ms;
        heap_push(t, l);
    }
    if (t->n_heap > 1) {
        qsort(t->heap, t->n_heap, sizeof(*t->heap), cmp_deadline);
    }
    /* Any 750 in a row span a second at least; what is sorted is a heap. */
    for (size_t i = 0; i < t->n_heap; i++) {
        struct lease *l = t->heap[i];

        if (i >= SPREAD_PER_SECOND) {
            l->deadline_ms =
                MAX(l->deadline_ms, t->heap[i - SPREAD_PER_SECOND]->deadline_ms + 1000);
        }
        l->timer_ms = l->deadline_ms;
        l->heap_at = i;
    }
}

void mvcc_lease_demote(struct mvcc *m)
{
    m->leases.leading = false;
    m->leases.n_heap = 0;
}

size_t mvcc_lease_expired(
    struct mvcc *m, uint64_t now_ms, uint64_t retry_ms, int64_t *ids, size_t max)
{
    struct lease_table *t = &m->leases;
    size_t n = 0;

    while (t->n_heap > 0 && t->heap[0]->timer_ms <= now_ms) {
        struct lease *l = t->heap[0];

        if (l->deadline_ms > now_ms) {
            set_timer(t, l, l->deadline_ms);
            continue;
        }
        if (n == max) {
            break;
        }
        ids[n++] = l->id;
        set_timer(t, l, now_ms + MAX(retry_ms, (uint64_t)1));
    }
    return n;
}

uint64_t mvcc_lease_next_ms(const struct mvcc *m)
{
    return m->leases.n_heap > 0 ? m->leases.heap[0]->timer_ms : UINT64_MAX;
}
