/* The record: everything is copied as it comes, nothing is judged. */
#include "history_internal.h"

#define GROW(a)                                                                                    \
    do {                                                                                           \
        if ((a)->n == (a)->cap) {                                                                  \
            (a)->cap = MAX((a)->cap * 2, (size_t)64);                                              \
            (a)->v = xreallocarray((a)->v, (a)->cap, sizeof(*(a)->v));                             \
        }                                                                                          \
    } while (0)

struct history *history_new(void)
{
    struct history *h = xcalloc(1, sizeof(*h));

    arena_init(&h->arena, 0);
    return h;
}

struct history *history_free(struct history *h)
{
    if (h != NULL) {
        hmap_deinit(&h->keys);
        arena_deinit(&h->arena);
        free(h->key_list.v);
        free(h->truth.v);
        free(h->events.v);
        free(h->calls.v);
        free(h->watches.v);
        free(h->told.v);
        free(h);
    }
    return NULL;
}

static struct bytes copy(struct history *h, struct bytes b)
{
    return arena_copy(&h->arena, b);
}

static size_t key_number(struct history *h, struct bytes key)
{
    uint64_t hash = bytes_hash(key);
    struct history_key *k;

    for (struct hmap_node *n = hmap_first(&h->keys, hash); n != NULL; n = hmap_next_same(n)) {
        k = container_of(n, struct history_key, node);
        if (bytes_eq(k->bytes, key)) {
            return k->number;
        }
    }
    k = arena_calloc(&h->arena, 1, sizeof(*k));
    k->bytes = copy(h, key);
    k->number = h->key_list.n;
    GROW(&h->key_list);
    h->key_list.v[h->key_list.n++] = k;
    hmap_insert(&h->keys, &k->node, hash);
    return k->number;
}

/* ---- the truth ---- */

static struct history_change_rec change_rec(struct history *h, const struct history_change *c)
{
    return (struct history_change_rec){.revision = c->revision,
        .lease = c->is_delete ? 0 : c->lease,
        .key = key_number(h, c->key),
        .value = c->is_delete ? (struct bytes){0} : copy(h, c->value),
        .is_delete = c->is_delete};
}

void history_truth(struct history *h, const struct history_change *c)
{
    GROW(&h->truth);
    h->truth.v[h->truth.n++] = change_rec(h, c);
}

/* ---- calls ---- */

static bool has_key(enum history_kind kind)
{
    return kind <= HISTORY_GET_STALE;
}

size_t history_begin(struct history *h, uint64_t time, const struct history_call *call)
{
    struct history_call_rec rec = {.c = *call,
        .r = {.outcome = HISTORY_UNKNOWN},
        .begin = time,
        .end = UINT64_MAX,
        .key = HISTORY_NONE};

    decree_assert(call->kind < HISTORY_KIND_END);
    rec.c.value = copy(h, call->value);
    if (has_key(call->kind)) {
        rec.key = key_number(h, call->key);
        rec.c.key = h->key_list.v[rec.key]->bytes;
    }
    GROW(&h->calls);
    h->calls.v[h->calls.n] = rec;
    return h->calls.n++;
}

void history_end(struct history *h, size_t call, uint64_t time, const struct history_reply *reply)
{
    struct history_call_rec *rec = &h->calls.v[call];

    decree_assert(call < h->calls.n && !rec->ended);
    decree_assert(time >= rec->begin);
    rec->ended = true;
    rec->r = *reply;
    rec->r.value = copy(h, reply->value);
    if (reply->outcome != HISTORY_UNKNOWN) {
        rec->end = time;
    }
}

/* ---- watches ---- */

size_t history_watch_begin(struct history *h, uint64_t time, const struct history_watch *w)
{
    GROW(&h->watches);
    h->watches.v[h->watches.n] = (struct history_watch_rec){.key = copy(h, w->key),
        .range_end = copy(h, w->range_end),
        .start_revision = w->start_revision,
        .begin = time,
        .first_told = HISTORY_NONE,
        .last_told = HISTORY_NONE};
    return h->watches.n++;
}

static void told(struct history *h, struct history_told_rec rec)
{
    struct history_watch_rec *w = &h->watches.v[rec.watch];

    decree_assert(rec.watch < h->watches.n);
    rec.next_told = HISTORY_NONE;
    GROW(&h->told);
    if (w->last_told == HISTORY_NONE) {
        w->first_told = h->told.n;
    } else {
        h->told.v[w->last_told].next_told = h->told.n;
    }
    w->last_told = h->told.n;
    h->told.v[h->told.n++] = rec;
}

void history_watch_created(struct history *h, size_t watch, uint64_t time, int64_t header_revision)
{
    told(h,
        (struct history_told_rec){
            HISTORY_TOLD_CREATED, .watch = watch, .time = time, .revision = header_revision});
}

void history_watch_events(struct history *h, size_t watch, uint64_t time, int64_t header_revision,
    const struct history_change *changes, size_t n)
{
    struct history_told_rec rec = {HISTORY_TOLD_EVENTS, .watch = watch, .time = time,
        .revision = header_revision, .first = h->events.n, .n = n};

    for (size_t i = 0; i < n; i++) {
        GROW(&h->events);
        h->events.v[h->events.n++] = change_rec(h, &changes[i]);
    }
    told(h, rec);
}

void history_watch_progress(struct history *h, size_t watch, int64_t revision)
{
    told(h, (struct history_told_rec){HISTORY_TOLD_PROGRESS, .watch = watch, .revision = revision});
}

void history_watch_compacted(struct history *h, size_t watch, int64_t compact_revision)
{
    told(h,
        (struct history_told_rec){
            HISTORY_TOLD_COMPACTED, .watch = watch, .revision = compact_revision});
}

void history_watch_settled(struct history *h, size_t watch, int64_t revision)
{
    told(h, (struct history_told_rec){HISTORY_TOLD_SETTLED, .watch = watch, .revision = revision});
}
