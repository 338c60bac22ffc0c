/* The truth: all changes by revision, as the first member that applied them told its observer, a
 * watcher of everything. What the others tell theirs, then or after any restart, must be the same.
 */
#include "world.h"

static void begin_revision(struct truth *t, int64_t revision)
{
    if ((size_t)revision >= t->at_cap) {
        t->at_cap = t->at_cap * 2 + 64;
        t->at = xreallocarray(t->at, t->at_cap, sizeof(*t->at));
    }
    t->at[revision] = t->n;
    t->revision = revision;
}

static void truth_add(struct world *w, const struct history_change *c)
{
    struct truth *t = &w->truth;
    struct history_change copy = *c;
    uint8_t *bytes = xmalloc(c->key.len + c->value.len + 1);

    if (t->n == t->cap) {
        t->cap = t->cap * 2 + 64;
        t->list = xreallocarray(t->list, t->cap, sizeof(*t->list));
    }
    memcpy(bytes, c->key.data, c->key.len);
    if (c->value.len != 0) {
        memcpy(bytes + c->key.len, c->value.data, c->value.len);
    }
    copy.key = bytes_make(bytes, c->key.len);
    copy.value = bytes_make(bytes + c->key.len, c->value.len);
    if (c->revision > t->revision) {
        if (c->revision != MAX(t->revision, (int64_t)1) + 1) {
            world_fail(w, "truth: revision %" PRId64 " follows %" PRId64, c->revision, t->revision);
        }
        begin_revision(t, c->revision);
    }
    t->list[t->n++] = copy;
    history_truth(w->history, &copy);
}

static bool same_change(const struct history_change *a, const struct history_change *b)
{
    return a->revision == b->revision && a->is_delete == b->is_delete && bytes_eq(a->key, b->key) &&
        bytes_eq(a->value, b->value) && a->lease == b->lease;
}

struct history_change change_of(const struct watch_event *e)
{
    return (struct history_change){.revision = e->kv.mod_revision,
        .is_delete = e->is_delete,
        .key = e->kv.key,
        .value = e->is_delete ? (struct bytes){0} : e->kv.value,
        .lease = e->is_delete ? 0 : e->kv.lease};
}

static bool observer_on_events(
    struct watcher *o, struct watch_event *const *events, size_t n, int64_t revision _unused_)
{
    struct member *m = container_of(o, struct member, observer);
    struct world *w = m->w;
    struct truth *t = &w->truth;
    uint64_t at = 0;
    int64_t known = t->revision;

    if (member_is_mute(m)) {
        return true;
    }
    for (size_t i = 0; i < n; i++) {
        const struct history_change c = change_of(events[i]);

        if (c.revision > known) {
            truth_add(w, &c);
            continue;
        }
        at = i > 0 && events[i - 1]->kv.mod_revision == c.revision ? at + 1 : t->at[c.revision];
        if (at >= t->n || !same_change(&c, &t->list[at])) {
            world_fail(w, "state: revision %" PRId64 " of %s is not what another member applied",
                c.revision, m->name);
        }
    }
    return true;
}

static void observer_on_end(struct watcher *o, enum watch_end why _unused_)
{
    o->ops = NULL; /* behind a snapshot that was installed: check_member goes on from there */
}

static const struct watch_ops observer_ops = {.events = observer_on_events, .end = observer_on_end};

void truth_observe(struct member *m)
{
    m->observer = (struct watcher){.key = BYTES_LITERAL("\0"),
        .range_end = BYTES_LITERAL("\0"),
        .start_revision = mvcc_compacted(m->core->mvcc) + 1,
        .ops = &observer_ops};
    store_watch_add(m->core, &m->observer);
}

void truth_deinit(struct truth *t)
{
    for (size_t i = 0; i < t->n; i++) {
        free((void *)(uintptr_t)t->list[i].key.data);
    }
    free(t->list);
    free(t->at);
}
