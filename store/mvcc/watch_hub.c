#include "watch_hub.h"

#include "alloc.h"
#include "keyspace.h"

enum {
    CHUNK_EVENTS = 1024,  /* events in memory at a time, more only if one revision has more */
    SLICE_CHANGES = 1024, /* of history that a watcher reads before it is the next one's turn */
    /* Keys and values in one batch, which ends with the revision that reaches it: a consumer that
     * says "full" holds a batch more than it wants, and there may be many of them. */
    BATCH_BYTES = 256 * 1024,
    COST_BYTES = BATCH_BYTES / SLICE_CHANGES, /* to tell as much costs what reading a change does */
    SCRATCH_KEPT = 16384, /* scratch larger than this is given back after the delivery */
};

void watch_hub_init(struct watch_hub *hub)
{
    *hub = (struct watch_hub){0};
    list_init(&hub->catching_up);
    list_init(&hub->full);
    list_init(&hub->touched);
}

void watch_hub_deinit(struct watch_hub *hub)
{
    watch_index_deinit(&hub->synced);
    free(hub->events);
    free(hub->hits);
    free(hub->batch);
}

/* ---- states ---- */

static bool is_slow(const struct watcher *w)
{
    return w->state == WATCHER_CATCHING_UP || w->state == WATCHER_FULL;
}

static void set_state(struct watch_hub *hub, struct watcher *w, enum watcher_state state)
{
    if (w->state == WATCHER_SYNCED) {
        watch_index_remove(&hub->synced, w);
    } else {
        list_del(&w->link);
    }
    hub->n_slow -= is_slow(w);
    w->state = state;
    hub->n_slow += is_slow(w);
    if (w->state == WATCHER_SYNCED) {
        watch_index_add(&hub->synced, w);
    } else if (w->state == WATCHER_CATCHING_UP) {
        list_add_tail(&hub->catching_up, &w->link);
    } else if (w->state == WATCHER_FULL) {
        list_add_tail(&hub->full, &w->link);
    }
}

/* A watcher that is in no list yet. */
static void enter(struct mvcc *m, struct watcher *w, enum watcher_state state)
{
    struct watch_hub *hub = &m->hub;

    if (hub->n_watchers == hub->n_slow) {
        hub->delivered = m->history.end; /* nobody waits for what was before */
    }
    w->state = WATCHER_IDLE;
    w->group = NULL;
    list_init(&w->link);
    list_init(&w->touched);
    hub->n_watchers++;
    set_state(hub, w, state);
}

void mvcc_watch_add(struct mvcc *m, struct watcher *w)
{
    w->range = key_range_parse(w->key, w->range_end);
    w->next_revision = w->start_revision != 0 ? w->start_revision : m->revision + 1;
    enter(m, w, w->next_revision > m->revision ? WATCHER_SYNCED : WATCHER_CATCHING_UP);
}

void mvcc_watch_remove(struct mvcc *m, struct watcher *w)
{
    if (w->state == WATCHER_IDLE) {
        return;
    }
    if (m->hub.telling == w) {
        m->hub.telling = NULL;
    }
    list_del(&w->touched);
    set_state(&m->hub, w, WATCHER_IDLE);
    m->hub.n_watchers--;
}

void mvcc_watch_resume(struct mvcc *m, struct watcher *w)
{
    if (w->state == WATCHER_FULL) {
        set_state(&m->hub, w, WATCHER_CATCHING_UP);
    }
}

bool mvcc_watch_is_synced(const struct mvcc *m, const struct watcher *w)
{
    return w->state == WATCHER_SYNCED && m->hub.delivered == m->history.end &&
        w->next_revision <= m->revision + 1;
}

uint64_t mvcc_watch_count(const struct mvcc *m)
{
    return m->hub.n_watchers;
}

uint64_t mvcc_watch_slow_count(const struct mvcc *m)
{
    return m->hub.n_slow;
}

/* ---- events ---- */

/* The value before the revision of v, if there was one and it has not been compacted. */
static const struct version *value_before(const struct mvcc *m, const struct version *v)
{
    const struct version *prev = v->mod > m->compacted ? version_at(v->prev, v->mod - 1) : NULL;

    return prev != NULL && !version_is_tombstone(prev) ? prev : NULL;
}

static uint32_t add_event(struct mvcc *m, const struct version *v)
{
    struct watch_hub *hub = &m->hub;
    const struct version *prev = value_before(m, v);
    struct watch_event *e;

    if (hub->n_events == hub->cap_events) {
        hub->cap_events = hub->cap_events != 0 ? hub->cap_events * 2 : 64;
        hub->events = xreallocarray(hub->events, hub->cap_events, sizeof(*hub->events));
    }
    e = &hub->events[hub->n_events];
    *e = (struct watch_event){.is_delete = version_is_tombstone(v),
        .action = (enum mvcc_action)v->action,
        .kv = version_kv(v)};
    if (prev != NULL) {
        e->has_prev = true;
        e->prev = version_kv(prev);
    }
    return (uint32_t)hub->n_events++;
}

static void drop_events(struct watch_hub *hub)
{
    for (size_t i = 0; i < hub->n_events; i++) {
        for (size_t f = 0; f < WATCH_ENCODINGS; f++) {
            buf_unref(hub->events[i].encoded[f]);
        }
    }
    hub->n_events = 0;
    hub->n_hits = 0;
}

static void trim_scratch(struct watch_hub *hub)
{
    if (hub->cap_events > SCRATCH_KEPT || hub->cap_hits > SCRATCH_KEPT ||
        hub->cap_batch > SCRATCH_KEPT) {
        free(TAKE_PTR(hub->events));
        free(TAKE_PTR(hub->hits));
        free(TAKE_PTR(hub->batch));
        hub->cap_events = hub->cap_hits = hub->cap_batch = 0;
    }
}

static void need_batch(struct watch_hub *hub, size_t n)
{
    if (hub->cap_batch < n) {
        hub->cap_batch = MAX(n, hub->cap_batch * 2);
        hub->batch = xreallocarray(hub->batch, hub->cap_batch, sizeof(struct watch_event *));
    }
}

static bool wants(const struct watcher *w, const struct version *v)
{
    return v->mod >= w->next_revision && !(version_is_tombstone(v) ? w->no_delete : w->no_put);
}

static bool is_ready(struct watcher *w)
{
    return w->ops->ready == NULL || w->ops->ready(w);
}

/* Tells w of batch[0..n), all of it up to `revision`. Returns false when w has been removed. */
static bool tell(struct mvcc *m, struct watcher *w, size_t n, int64_t revision)
{
    struct watch_hub *hub = &m->hub;
    bool more;

    w->next_revision = revision + 1;
    hub->telling = w;
    more = w->ops->events(w, hub->batch, n, revision);
    if (hub->telling == NULL) {
        return false;
    }
    hub->telling = NULL;
    if (!more) {
        set_state(hub, w, WATCHER_FULL);
    }
    return true;
}

/* ---- synced watchers ---- */

struct matching {
    struct mvcc *m;
    const struct version *v;
    uint32_t event;
};

#define NO_EVENT UINT32_MAX

static void add_hit(struct watch_hub *hub, struct watcher *w, uint32_t event)
{
    uint32_t hit = (uint32_t)hub->n_hits;

    if (hub->n_hits == hub->cap_hits) {
        hub->cap_hits = hub->cap_hits != 0 ? hub->cap_hits * 2 : 64;
        hub->hits = xreallocarray(hub->hits, hub->cap_hits, sizeof(*hub->hits));
    }
    hub->hits[hub->n_hits++] = (struct watch_hit){.event = event};
    if (list_empty(&w->touched)) {
        list_add_tail(&hub->touched, &w->touched);
        w->first_hit = hit;
    } else {
        hub->hits[w->last_hit].next = hit;
    }
    w->last_hit = hit;
}

static void on_group_found(struct watch_group *g, void *arg)
{
    struct matching *match = arg;

    list_for_each (it, &g->members) {
        struct watcher *w = list_entry(it, struct watcher, link);

        if (wants(w, match->v)) {
            if (match->event == NO_EVENT) {
                match->event = add_event(match->m, match->v);
            }
            add_hit(&match->m->hub, w, match->event);
        }
    }
}

static void tell_touched(struct mvcc *m, int64_t revision)
{
    struct watch_hub *hub = &m->hub;

    while (!list_empty(&hub->touched)) {
        struct watcher *w = list_entry(hub->touched.next, struct watcher, touched);
        uint32_t hit = w->first_hit;
        size_t n = 0;

        list_del(&w->touched);
        for (;;) {
            need_batch(hub, n + 1);
            hub->batch[n++] = &hub->events[hub->hits[hit].event];
            if (hit == w->last_hit) {
                break;
            }
            hit = hub->hits[hit].next;
        }
        if (is_ready(w)) {
            (void)tell(m, w, n, revision);
        } else {
            /* It wanted nothing before these, which may be compacted by now. */
            w->next_revision = MAX(w->next_revision, hub->batch[0]->kv.mod_revision);
            set_state(hub, w, WATCHER_FULL);
        }
    }
}

/* Does change i > 0 belong to the same revision as the one before it? */
static bool goes_on(const struct history *h, uint64_t i)
{
    return history_at(h, i)->mod == history_at(h, i - 1)->mod;
}

/* The number after the last change of the batch that begins with change i. */
static uint64_t chunk_end(const struct mvcc *m, uint64_t i)
{
    const struct history *h = &m->history;
    uint64_t begin = i;
    size_t bytes = 0;

    while (i < h->end && ((i - begin < CHUNK_EVENTS && bytes < BATCH_BYTES) || goes_on(h, i))) {
        const struct version *v = history_at(h, i++), *prev = value_before(m, v);

        bytes += version_bytes(v) + (prev != NULL ? version_bytes(prev) : 0);
    }
    return i;
}

static void deliver_synced(struct mvcc *m)
{
    struct watch_hub *hub = &m->hub;
    const struct history *h = &m->history;

    while (hub->delivered < h->end && hub->n_watchers > hub->n_slow) {
        uint64_t to = chunk_end(m, hub->delivered);

        for (uint64_t i = hub->delivered; i < to; i++) {
            struct matching match = {m, history_at(h, i), NO_EVENT};

            watch_index_match(&hub->synced, version_key(match.v), on_group_found, &match);
        }
        hub->delivered = to;
        tell_touched(m, history_at(h, to - 1)->mod);
        drop_events(hub);
    }
    hub->delivered = h->end;
}

/* ---- watchers that are behind ---- */

/* What a slice of history has for one watcher. */
struct slice {
    size_t matched;
    size_t bytes;     /* of keys and values in what matched */
    size_t read;      /* changes looked at */
    int64_t revision; /* all up to here has been looked at */
};

static bool slice_is_full(const struct slice *s)
{
    return s->read >= SLICE_CHANGES || s->bytes >= BATCH_BYTES;
}

static void slice_add(
    struct mvcc *m, struct slice *s, const struct watcher *w, const struct version *v)
{
    if (wants(w, v)) {
        uint32_t event = add_event(m, v); /* may move the events: first */
        const struct watch_event *e = &m->hub.events[event];

        s->bytes += version_bytes(v);
        if (w->prev_kv && e->has_prev) {
            s->bytes += e->prev.key.len + e->prev.value.len;
        }
        s->matched++;
    }
}

static struct slice read_history(struct mvcc *m, const struct watcher *w)
{
    const struct history *h = &m->history;
    struct slice s = {.revision = m->revision};
    uint64_t i = history_find(h, w->next_revision);

    while (i < h->end && (!slice_is_full(&s) || goes_on(h, i))) {
        const struct version *v = history_at(h, i++);

        if (key_range_contains(&w->range, version_key(v))) {
            slice_add(m, &s, w, v);
        }
        s.read++;
    }
    if (i < h->end) {
        s.revision = history_at(h, i - 1)->mod;
    }
    return s;
}

/* A watcher of one key finds its changes behind the newest version, whatever else has happened.
 * Returns false if there are too many for one slice. */
static bool read_key(struct mvcc *m, const struct watcher *w, struct slice *ret)
{
    const struct version *changes[SLICE_CHANGES];
    const struct version *v = index_find(&m->index, w->range.start);
    size_t n = 0;

    for (; v != NULL && v->mod >= w->next_revision; v = v->prev) {
        if (n == SLICE_CHANGES) {
            return false;
        }
        changes[n++] = v;
    }
    *ret = (struct slice){.read = n, .revision = m->revision};
    while (n > 0 && (ret->bytes < BATCH_BYTES || changes[n - 1]->mod == changes[n]->mod)) {
        slice_add(m, ret, w, changes[--n]);
    }
    if (n > 0) {
        ret->revision = changes[n]->mod;
    }
    return true;
}

/* One slice for one watcher; returns what it cost. */
static size_t catch_up(struct mvcc *m, struct watcher *w)
{
    struct watch_hub *hub = &m->hub;
    struct slice s;
    bool alive = true;

    if (w->next_revision < m->compacted) {
        mvcc_watch_remove(m, w);
        w->ops->end(w, WATCH_COMPACTED);
        return 1;
    }
    if (!is_ready(w)) {
        set_state(hub, w, WATCHER_FULL);
        return 1;
    }
    if (w->range.kind != KEY_SINGLE || !read_key(m, w, &s)) {
        s = read_history(m, w);
    }
    w->next_revision = s.revision + 1;
    if (s.matched != 0) {
        need_batch(hub, s.matched);
        for (size_t i = 0; i < s.matched; i++) {
            hub->batch[i] = &hub->events[i];
        }
        alive = tell(m, w, s.matched, s.revision);
        drop_events(hub);
    }
    if (alive && w->state == WATCHER_CATCHING_UP) {
        set_state(hub, w, w->next_revision > m->revision ? WATCHER_SYNCED : WATCHER_CATCHING_UP);
    }
    return s.read + s.bytes / COST_BYTES + 1;
}

bool mvcc_watch_deliver(struct mvcc *m, size_t events)
{
    struct watch_hub *hub = &m->hub;

    decree_assert(!m->delivering && !m->working);
    m->delivering = true;
    deliver_synced(m);
    while (!list_empty(&hub->catching_up) && events > 0) {
        struct watcher *w = list_entry(hub->catching_up.next, struct watcher, link);
        size_t cost = catch_up(m, w);

        events -= MIN(events, cost);
    }
    trim_scratch(hub);
    m->delivering = false;
    return !list_empty(&hub->catching_up);
}

/* ---- a new keyspace under the same watchers ---- */

static void move(struct mvcc *from, struct mvcc *to, struct watcher *w)
{
    bool full = w->state == WATCHER_FULL;
    int64_t next = w->next_revision;

    if (w->state == WATCHER_SYNCED) {
        int64_t told = from->hub.delivered < from->history.end
            ? history_at(&from->history, from->hub.delivered)->mod - 1
            : from->revision;

        next = MAX(next, told + 1);
    }
    mvcc_watch_remove(from, w);
    w->next_revision = next;
    enter(to, w, full ? WATCHER_FULL : next > to->revision ? WATCHER_SYNCED : WATCHER_CATCHING_UP);
}

void mvcc_watch_move(struct mvcc *from, struct mvcc *to)
{
    struct watch_hub *hub = &from->hub;
    struct watcher *w;

    decree_assert(!from->delivering && !to->delivering);
    while ((w = watch_index_any(&hub->synced)) != NULL) {
        move(from, to, w);
    }
    while (!list_empty(&hub->catching_up)) {
        move(from, to, list_entry(hub->catching_up.next, struct watcher, link));
    }
    while (!list_empty(&hub->full)) {
        move(from, to, list_entry(hub->full.next, struct watcher, link));
    }
}
