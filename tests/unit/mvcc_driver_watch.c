/* Watchers: each change that one wants, once, in order, and nothing else. */
#include "mvcc_driver.h"

static bool probe_wants(const struct probe *p, const struct model_change *c)
{
    return c->revision >= p->start && key_range_contains(&p->w.range, model_key(c->key)) &&
        !(c->is_delete ? p->w.no_delete : p->w.no_put);
}

/* Moves on to the next change that p must be told of; false when there is none. */
static bool probe_seek(struct probe *p)
{
    const struct model *m = &p->d->model;

    while (p->next < m->n && !probe_wants(p, &m->changes[p->next])) {
        p->next++;
    }
    return p->next < m->n;
}

static void check_event(struct probe *p, struct watch_event *e)
{
    const struct model *m = &p->d->model;
    const struct model_change *c = &m->changes[p->next];
    const struct model_change *prev =
        c->revision > m->compacted ? model_at(m, c->key, c->revision - 1) : NULL;

    decree_assert(e->is_delete == c->is_delete && e->action == c->action);
    if (c->is_delete) {
        decree_assert(bytes_eq(e->kv.key, model_key(c->key)));
        decree_assert(e->kv.mod_revision == c->revision);
        decree_assert(e->kv.value.len == 0 && e->kv.version == 0 && e->kv.create_revision == 0);
    } else {
        model_check_kv(c, &e->kv, false);
    }
    decree_assert(e->has_prev == (prev != NULL));
    if (prev != NULL) {
        model_check_kv(prev, &e->prev, false);
    }
    if (e->encoded[0] == NULL) {
        e->encoded[0] = buf_copy(e->kv.key);
    }
    decree_assert(bytes_eq(buf_bytes(e->encoded[0]), e->kv.key));
}

void driver_remove_probe(struct driver *d, struct probe *p)
{
    mvcc_watch_remove(d->m, &p->w);
    mvcc_watch_remove(d->m, &p->w);
    /* Whoever still looks at it is found out. */
    memset(p, 0xa5, sizeof(*p));
    p->active = false;
}

static void add_probe(struct driver *d, struct probe *p);

static bool on_events(
    struct watcher *w, struct watch_event *const *events, size_t n, int64_t revision)
{
    struct probe *p = container_of(w, struct probe, w);
    struct driver *d = p->d;
    struct probe *other = &d->probes[driver_pick(d, WATCHERS)];

    decree_assert(p->active && !p->full && n > 0);
    for (size_t i = 0; i < n; i++) {
        decree_assert(probe_seek(p));
        check_event(p, events[i]);
        p->next++;
    }
    decree_assert(d->model.changes[p->next - 1].revision <= revision);
    if (probe_seek(p)) { /* whole revisions, and all of them up to this one */
        decree_assert(d->model.changes[p->next].revision > revision);
    }
    if (driver_chance(d, 10) && other->active) {
        driver_remove_probe(d, other);
        if (other == p) {
            return driver_chance(d, 2);
        }
    } else if (driver_chance(d, 10) && !other->active) {
        add_probe(d, other);
    }
    p->full = driver_chance(d, 5);
    return !p->full;
}

static void on_end(struct watcher *w, enum watch_end why)
{
    struct probe *p = container_of(w, struct probe, w);
    int64_t compacted = p->d->model.compacted;

    decree_assert(why == WATCH_COMPACTED && w->state == WATCHER_IDLE);
    /* Only who wanted a revision that is gone. */
    decree_assert(w->next_revision < compacted);
    memset(p, 0xa5, sizeof(*p));
    p->active = false;
}

static bool on_ready(struct watcher *w)
{
    struct probe *p = container_of(w, struct probe, w);

    decree_assert(p->active && !p->full);
    p->full = driver_chance(p->d, 10);
    return !p->full;
}

static const struct watch_ops probe_ops = {.events = on_events, .end = on_end, .ready = on_ready};

static void add_probe(struct driver *d, struct probe *p)
{
    int64_t start = driver_chance(d, 2) ? driver_any_revision(d) + (int64_t)driver_pick(d, 3) : 0;

    *p = (struct probe){.d = d, .active = true, .next = 1};
    p->w.key = driver_any_key(d);
    p->w.range_end = driver_any_end(d);
    p->w.start_revision = start;
    p->w.no_put = driver_chance(d, 8);
    p->w.no_delete = driver_chance(d, 8);
    p->w.ops = &probe_ops;
    p->start = start != 0 ? start : d->model.revision + 1;
    mvcc_watch_add(d->m, &p->w);
}

void driver_watch(struct driver *d)
{
    struct probe *p = &d->probes[driver_pick(d, WATCHERS)];

    if (!p->active) {
        add_probe(d, p);
    } else if (p->full && driver_chance(d, 2)) {
        p->full = false;
        mvcc_watch_resume(d->m, &p->w);
    } else if (driver_chance(d, 4)) {
        driver_remove_probe(d, p);
    }
}

static void check_probes(struct driver *d)
{
    uint64_t n = 0, slow = 0;

    for (size_t i = 0; i < WATCHERS; i++) {
        struct probe *p = &d->probes[i];

        if (p->active) {
            bool synced = mvcc_watch_is_synced(d->m, &p->w);

            n++;
            slow += p->w.state == WATCHER_FULL || p->w.state == WATCHER_CATCHING_UP;
            decree_assert((p->w.state == WATCHER_FULL) == p->full);
            decree_assert(!synced || !probe_seek(p));
            decree_assert(!synced || p->start <= d->model.revision + 1);
        }
    }
    decree_assert(mvcc_watch_count(d->m) == n && mvcc_watch_slow_count(d->m) == slow);
}

void driver_deliver(struct driver *d)
{
    bool behind = mvcc_watch_deliver(d->m, 1 + driver_pick(d, 50));

    for (size_t i = 0; i < WATCHERS && !behind; i++) {
        struct probe *p = &d->probes[i];

        if (p->active && !p->full) {
            decree_assert(!probe_seek(p));
        }
    }
    check_probes(d);
}
