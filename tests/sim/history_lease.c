/* Leases, and the deletes that no answered call explains: a walk through the truth that knows for
 * every lease the keys attached to it.
 *
 * A revision that deletes just all keys of a lease is that lease's end, unless an answered delete
 * wrote it or, a single key, one of unknown outcome may have. From its end on a lease has no keys
 * and no life. How early an end may be is measured from the first time that somebody saw it. */
#include "history_internal.h"

#include <inttypes.h>

struct lease {
    struct hmap_node node;
    int64_t id;
    size_t n_keys;       /* attached, at this point of the walk */
    size_t granted;      /* the call, or HISTORY_NONE */
    size_t ended;        /* likewise: the first revoke that was answered well */
    int64_t gone;        /* the revision of its end, 0 while it lives */
    uint64_t gone_time;  /* by then it was seen to be gone, UINT64_MAX */
    const char *gone_by; /* in words */
    uint64_t alive_time; /* until then it lives unless it is revoked */
    size_t alive_by;     /* the call that says so */
    size_t revoke;       /* the first that was begun and not refused, or HISTORY_NONE */
};

struct walk {
    struct history_check *x;
    struct hmap leases;
    struct lease *list; /* owned, n */
    size_t n;
    int64_t *attached; /* owned: lease of each key now, 0 = none or the key is not there */
    size_t *deletes;   /* owned, n_deletes: deletes of unknown outcome by key and begin */
    size_t n_deletes;
    size_t *next_delete; /* owned: of each key, the first in deletes not given out; */
    size_t *end_delete;  /* owned: and where the key's end */
    size_t *revokes;     /* owned, n_revokes: answered revokes by revision */
    size_t n_revokes, at_revoke;
    bool unknown_grant; /* some grant may have made a lease whose id nobody was told */
};

/* ---- what is known of each lease ---- */

static struct lease *find(const struct walk *w, int64_t id)
{
    uint64_t hash = hmap_hash_u64((uint64_t)id);

    for (struct hmap_node *n = hmap_first(&w->leases, hash); n != NULL; n = hmap_next_same(n)) {
        struct lease *l = container_of(n, struct lease, node);

        if (l->id == id) {
            return l;
        }
    }
    return NULL;
}

static struct lease *get(struct walk *w, int64_t id)
{
    struct lease *l = find(w, id);

    if (l == NULL) {
        l = &w->list[w->n++];
        *l = (struct lease){.id = id,
            .granted = HISTORY_NONE,
            .ended = HISTORY_NONE,
            .gone_time = UINT64_MAX,
            .alive_by = HISTORY_NONE,
            .revoke = HISTORY_NONE};
        hmap_insert(&w->leases, &l->node, hmap_hash_u64((uint64_t)id));
    }
    return l;
}

static void note_alive(struct walk *w, struct lease *l, size_t call)
{
    const struct history_call_rec *c = &w->x->h->calls.v[call];
    uint64_t slack = c->r.ttl / 1000 * w->x->rules->ttl_slack_permille;
    uint64_t until = c->begin + c->r.ttl - MIN(slack, c->r.ttl);

    if (c->r.ttl != 0 && until > l->alive_time) {
        l->alive_time = until;
        l->alive_by = call;
    }
}

static int note_grant(struct walk *w, size_t call)
{
    const struct history_call_rec *c = &w->x->h->calls.v[call];
    struct lease *l;

    if (c->r.outcome == HISTORY_UNKNOWN) {
        w->unknown_grant = true;
        return 0;
    }
    if (c->r.outcome != HISTORY_OK) {
        return 0;
    }
    if (c->r.lease == 0 || (c->c.lease != 0 && c->c.lease != c->r.lease)) {
        return history_blame_call(w->x, call, "got lease %" PRIx64 ", asked for %" PRIx64,
            (uint64_t)c->r.lease, (uint64_t)c->c.lease);
    }
    if (c->r.ttl < c->c.ttl) {
        return history_blame_call(
            w->x, call, "got a TTL of %" PRIu64 ", asked for %" PRIu64, c->r.ttl, c->c.ttl);
    }
    l = get(w, c->r.lease);
    if (l->granted != HISTORY_NONE) {
        return history_blame_call(w->x, call, "got lease %" PRIx64 ", which had been given: %s",
            (uint64_t)l->id, history_show_call(w->x, l->granted));
    }
    l->granted = call;
    note_alive(w, l, call);
    return 0;
}

static int note_revoke(struct walk *w, size_t call)
{
    const struct history_call_rec *c = &w->x->h->calls.v[call];
    struct lease *l = get(w, c->c.lease);

    if (c->r.outcome == HISTORY_FAILED) {
        return 0;
    }
    if (l->revoke == HISTORY_NONE || c->begin < w->x->h->calls.v[l->revoke].begin) {
        l->revoke = call;
    }
    if (c->r.outcome != HISTORY_OK) {
        return 0;
    }
    if (l->ended != HISTORY_NONE) {
        return history_blame_call(
            w->x, call, "was revoked already: %s", history_show_call(w->x, l->ended));
    }
    l->ended = call;
    w->revokes[w->n_revokes++] = call;
    if (c->end < l->gone_time) {
        l->gone_time = c->end;
        l->gone_by = history_show_call(w->x, call);
    }
    return 0;
}

/* A keepalive that found nothing, though the lease had been granted before it began. */
static void note_missing(struct walk *w, size_t call)
{
    const struct history_call_rec *c = &w->x->h->calls.v[call];
    struct lease *l = get(w, c->c.lease);

    if (l->granted != HISTORY_NONE && w->x->h->calls.v[l->granted].end < c->begin &&
        c->end < l->gone_time) {
        l->gone_time = c->end;
        l->gone_by = history_show_call(w->x, call);
    }
}

static int note_calls(struct walk *w)
{
    const struct history *h = w->x->h;
    int err = 0;

    for (size_t i = 0; i < h->calls.n && err == 0; i++) {
        const struct history_call_rec *c = &h->calls.v[i];

        if (c->c.kind == HISTORY_GRANT) {
            err = note_grant(w, i);
        } else if (c->c.kind == HISTORY_REVOKE) {
            err = note_revoke(w, i);
        } else if (c->c.kind == HISTORY_KEEPALIVE && c->r.outcome == HISTORY_OK && c->r.succeeded) {
            note_alive(w, get(w, c->c.lease), i);
        }
    }
    for (size_t i = 0; i < h->calls.n; i++) {
        const struct history_call_rec *c = &h->calls.v[i];

        if (c->c.kind == HISTORY_KEEPALIVE && c->r.outcome == HISTORY_OK && !c->r.succeeded) {
            note_missing(w, i);
        }
    }
    return err;
}

/* ---- deletes of unknown outcome ---- */

static int cmp_deletes(const void *a, const void *b, void *data)
{
    const struct history *h = data;
    const struct history_call_rec *x = &h->calls.v[*(const size_t *)a];
    const struct history_call_rec *y = &h->calls.v[*(const size_t *)b];

    if (x->key != y->key) {
        return x->key < y->key ? -1 : 1;
    }
    return (x->begin > y->begin) - (x->begin < y->begin);
}

static int cmp_revokes(const void *a, const void *b, void *data)
{
    const struct history *h = data;
    int64_t x = h->calls.v[*(const size_t *)a].r.revision;
    int64_t y = h->calls.v[*(const size_t *)b].r.revision;

    return (x > y) - (x < y);
}

static void collect_deletes(struct walk *w)
{
    const struct history *h = w->x->h;

    for (size_t i = 0; i < h->calls.n; i++) {
        const struct history_call_rec *c = &h->calls.v[i];

        if (c->c.kind == HISTORY_DELETE && c->r.outcome == HISTORY_UNKNOWN) {
            w->deletes[w->n_deletes++] = i;
        }
    }
    qsort_r(w->deletes, w->n_deletes, sizeof(size_t), cmp_deletes, (void *)(uintptr_t)h);
    for (size_t i = w->n_deletes; i-- > 0;) {
        size_t key = h->calls.v[w->deletes[i]].key;

        w->next_delete[key] = i;
        w->end_delete[key] = MAX(w->end_delete[key], i + 1);
    }
}

/* Can a delete of unknown outcome have written revision r? The one that began first is the one
 * most likely to: it was begun before whatever the others were. */
static bool may_be_deleted(const struct walk *w, size_t key, int64_t r)
{
    return w->next_delete[key] < w->end_delete[key] &&
        history_may_write(w->x, w->deletes[w->next_delete[key]], r);
}

/* ---- the walk ---- */

static int blame_early(struct walk *w, const struct lease *l, const char *seen)
{
    return history_blame_call(w->x, l->alive_by,
        "lease %" PRIx64 " was to live until %" PRIu64 " and went before that: %s", (uint64_t)l->id,
        l->alive_time, seen);
}

/* The lease ended with revision r, whoever did it. */
static int lease_went(struct walk *w, struct lease *l, int64_t r)
{
    const struct history_sight *s = history_clock_first(&w->x->clock, r);
    bool revoked = l->revoke != HISTORY_NONE && history_may_write(w->x, l->revoke, r);

    l->gone = r;
    if (s == NULL) {
        return 0;
    }
    if (!revoked && s->time < l->alive_time) {
        return blame_early(w, l, history_show_sight(w->x, s));
    }
    if (s->time < l->gone_time) {
        l->gone_time = s->time;
        l->gone_by = history_show_sight(w->x, s);
    }
    return 0;
}

/* Does it delete all keys of one lease, and nothing else? */
static struct lease *whole_lease(const struct walk *w, size_t first, size_t n)
{
    const struct history_change_rec *c = &w->x->h->truth.v[first];
    int64_t id = w->attached[c->key];

    for (size_t i = 0; i < n; i++) {
        if (!c[i].is_delete || w->attached[c[i].key] != id) {
            return NULL;
        }
    }
    return id != 0 && find(w, id)->n_keys == n ? find(w, id) : NULL;
}

/* A delete that no answered call explains. */
static int explain_delete(struct walk *w, int64_t r, size_t first, size_t n)
{
    const struct history_change_rec *c = &w->x->h->truth.v[first];
    struct lease *l = whole_lease(w, first, n);

    if (l != NULL && n == 1 && may_be_deleted(w, c->key, r)) {
        return 0; /* one or the other */
    }
    if (l != NULL) {
        return lease_went(w, l, r);
    }
    if (n == 1 && may_be_deleted(w, c->key, r)) {
        w->next_delete[c->key]++;
        return 0;
    }
    if (w->attached[c->key] != 0) {
        l = find(w, w->attached[c->key]);
        return history_blame_revision(w->x, r,
            "nobody asked for it, and it is not the end of lease %" PRIx64 ", which has %zu keys: "
            "%zu change%s, %s",
            (uint64_t)l->id, l->n_keys, n, n == 1 ? "" : "s", history_show_change(w->x, c));
    }
    return history_blame_revision(w->x, r, "nobody asked for it: %zu change%s, %s", n,
        n == 1 ? "" : "s", history_show_change(w->x, c));
}

static int explain(struct walk *w, int64_t r, size_t first, size_t n)
{
    if (!w->x->rules->all_known || w->x->writer[r - 2] != HISTORY_NONE) {
        return 0;
    }
    return explain_delete(w, r, first, n);
}

static void detach(struct walk *w, size_t key)
{
    if (w->attached[key] != 0) {
        find(w, w->attached[key])->n_keys--;
        w->attached[key] = 0;
    }
}

static int attach(struct walk *w, const struct history_change_rec *c)
{
    struct lease *l = get(w, c->lease);

    if (l->gone != 0) {
        return history_blame_revision(w->x, c->revision,
            "%s, but the lease went with revision %" PRId64, history_show_change(w->x, c), l->gone);
    }
    if (w->x->rules->all_known && l->granted == HISTORY_NONE && !w->unknown_grant) {
        return history_blame_revision(
            w->x, c->revision, "%s, a lease nobody was given", history_show_change(w->x, c));
    }
    l->n_keys++;
    w->attached[c->key] = c->lease;
    return 0;
}

static int change_key(struct walk *w, const struct history_change_rec *c)
{
    detach(w, c->key);
    return c->is_delete || c->lease == 0 ? 0 : attach(w, c);
}

/* The revokes whose replies say revision r: by then their keys are gone. */
static int end_revoked(struct walk *w, int64_t r)
{
    const struct history *h = w->x->h;

    for (; w->at_revoke < w->n_revokes; w->at_revoke++) {
        size_t call = w->revokes[w->at_revoke];
        struct lease *l = find(w, h->calls.v[call].c.lease);

        if (h->calls.v[call].r.revision > r) {
            return 0;
        }
        if (l->n_keys != 0) {
            return history_blame_call(
                w->x, call, "%zu keys are still attached to the lease", l->n_keys);
        }
        if (l->gone == 0) {
            l->gone = MAX(h->calls.v[call].r.revision, (int64_t)1);
        }
    }
    return 0;
}

static int walk(struct walk *w)
{
    struct history_check *x = w->x;
    int err = end_revoked(w, 1);

    for (int64_t r = 2; r <= x->last && err == 0; r++) {
        size_t n, first = history_group(x, r, &n);

        err = explain(w, r, first, n);
        for (size_t i = 0; i < n && err == 0; i++) {
            err = change_key(w, &x->h->truth.v[first + i]);
        }
        if (err == 0) {
            err = end_revoked(w, r);
        }
    }
    return err;
}

/* ---- what keepalives saw ---- */

static int check_keepalives(struct walk *w)
{
    const struct history *h = w->x->h;

    for (size_t i = 0; i < h->calls.n; i++) {
        const struct history_call_rec *c = &h->calls.v[i];
        const struct lease *l;

        if (c->c.kind != HISTORY_KEEPALIVE || c->r.outcome != HISTORY_OK || !c->r.succeeded) {
            continue;
        }
        l = find(w, c->c.lease);
        if (l->gone_time < c->begin) {
            return history_blame_call(
                w->x, i, "found a lease that was gone before it began: %s", l->gone_by);
        }
    }
    return 0;
}

/* A lease that a keepalive did not find has gone, with or without keys. */
static int check_missing(struct walk *w)
{
    for (size_t i = 0; i < w->n; i++) {
        const struct lease *l = &w->list[i];
        bool revoked =
            l->revoke != HISTORY_NONE && w->x->h->calls.v[l->revoke].begin <= l->gone_time;

        if (l->gone_time < l->alive_time && !revoked) {
            return blame_early(w, l, l->gone_by);
        }
    }
    return 0;
}

static void walk_init(struct walk *w, struct history_check *x)
{
    const struct history *h = x->h;

    *w = (struct walk){.x = x};
    w->list = xcalloc(h->calls.n + h->truth.n + 1, sizeof(*w->list));
    w->attached = xcalloc(h->key_list.n + 1, sizeof(*w->attached));
    w->deletes = xcalloc(h->calls.n + 1, sizeof(size_t));
    w->next_delete = xcalloc(h->key_list.n + 1, sizeof(size_t));
    w->end_delete = xcalloc(h->key_list.n + 1, sizeof(size_t));
    w->revokes = xcalloc(h->calls.n + 1, sizeof(size_t));
    collect_deletes(w);
}

static void walk_deinit(struct walk *w)
{
    hmap_deinit(&w->leases);
    free(w->list);
    free(w->attached);
    free(w->deletes);
    free(w->next_delete);
    free(w->end_delete);
    free(w->revokes);
}

int history_check_leases(struct history_check *x)
{
    struct walk w;
    int err;

    walk_init(&w, x);
    err = note_calls(&w);
    qsort_r(w.revokes, w.n_revokes, sizeof(size_t), cmp_revokes, (void *)(uintptr_t)x->h);
    if (err == 0) {
        err = walk(&w);
    }
    if (err == 0) {
        err = check_keepalives(&w);
    }
    if (err == 0) {
        err = check_missing(&w);
    }
    walk_deinit(&w);
    return err;
}
