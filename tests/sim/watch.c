/* Watches: from an old revision on, of one key or of all, at a member until that one goes, then at
 * another one from the next revision on; some stop reading for a while. */
#include "world.h"

#include <stdio.h>

enum { LOOK_MS = 150, AGAIN_MS = 40, ALL_KEYS = SIM_KEYS_MAX };

static void later(struct world *w, struct watch *x, uint64_t ms)
{
    world_push(w,
        (struct event){.at_us = w->now_us + ms * SIM_MS,
            .kind = EVENT_WATCH,
            .to = (uint32_t)(x - w->watches),
            .token = x->life});
}

static struct member *member_of(struct watch *x)
{
    return &x->w->members[x->member];
}

static bool on_events(
    struct watcher *watcher, struct watch_event *const *events, size_t n, int64_t revision)
{
    struct watch *x = container_of(watcher, struct watch, watcher);
    _cleanup_free_ struct history_change *changes = NULL;

    if (member_is_mute(member_of(x))) {
        return true;
    }
    changes = xreallocarray(NULL, n, sizeof(*changes));
    for (size_t i = 0; i < n; i++) {
        changes[i] = change_of(events[i]);
    }
    history_watch_events(x->w->history, x->number, x->w->now_us, revision, changes, n);
    x->w->counts.watch_events += n;
    x->next_revision = revision + 1;
    return !x->stalled;
}

static void on_end(struct watcher *watcher, enum watch_end why _unused_)
{
    struct watch *x = container_of(watcher, struct watch, watcher);
    struct member *m = member_of(x);

    x->added = false;
    if (!member_is_mute(m)) {
        int64_t compacted = mvcc_compacted(m->core->mvcc);

        history_watch_compacted(x->w->history, x->number, compacted);
        x->next_revision = MAX(x->next_revision, compacted);
    }
    later(x->w, x, AGAIN_MS);
}

static const struct watch_ops ops = {.events = on_events, .end = on_end};

static void attach(struct world *w, struct watch *x)
{
    struct history_watch h = {.start_revision = x->next_revision};

    for (size_t i = 0; i < w->n && !member_is_up(member_of(x)); i++) {
        x->member = (x->member + 1) % (uint32_t)w->n;
    }
    if (!member_is_up(member_of(x)) || member_of(x)->core->state != CORE_RUNNING) {
        later(w, x, AGAIN_MS);
        return;
    }
    if (x->key >= ALL_KEYS) {
        (void)snprintf(x->text, sizeof(x->text), "k");
        h.range_end = BYTES_LITERAL("l");
    } else {
        (void)snprintf(x->text, sizeof(x->text), "k%" PRIu64, x->key);
    }
    h.key = bytes_str(x->text);
    x->number = history_watch_begin(w->history, w->now_us, &h);
    x->watcher = (struct watcher){
        .key = h.key, .range_end = h.range_end, .start_revision = x->next_revision, .ops = &ops};
    x->added = true;
    store_watch_add(member_of(x)->core, &x->watcher);
    member_poke(member_of(x));
    later(w, x, LOOK_MS);
}

static void detach(struct watch *x)
{
    if (x->added) {
        store_watch_remove(member_of(x)->core, &x->watcher);
        x->added = false;
    }
}

/* Everything has been told: what a progress notification says. */
static bool is_told(struct watch *x)
{
    struct member *m = member_of(x);

    return x->added && m->core->state == CORE_RUNNING && !x->stalled &&
        x->watcher.state == WATCHER_SYNCED && store_watch_is_synced(m->core, &x->watcher);
}

void watch_step(struct world *w, const struct event *e)
{
    struct watch *x = &w->watches[e->to];

    if (e->token != x->life || !x->wanted) {
        return;
    }
    if (x->stalled && w->now_us >= x->until_us) {
        x->stalled = false;
        if (x->added) {
            store_watch_resume(member_of(x)->core, &x->watcher);
            member_poke(member_of(x));
        }
    }
    if (!x->added) {
        attach(w, x);
        return;
    }
    if (is_told(x)) {
        int64_t revision = store_header(member_of(x)->core).revision;

        history_watch_progress(w->history, x->number, revision);
        x->next_revision = MAX(x->next_revision, revision + 1);
    }
    if (w->phase == PHASE_LOAD || x->stalled) {
        later(w, x, LOOK_MS);
    }
}

void watch_do(struct world *w, const struct item *item)
{
    struct watch *x = &w->watches[item->args[0] % SIM_WATCHES_MAX];

    w->counts.items[item->kind]++;
    if (item->kind == ITEM_watch_stall) {
        x->stalled = x->wanted;
        x->until_us = w->now_us + item->args[1] * SIM_MS;
        later(w, x, item->args[1]);
        return;
    }
    detach(x);
    *x = (struct watch){.w = w,
        .wanted = true,
        .life = x->life + 1,
        .key = item->args[1],
        .member = (uint32_t)((item->args[0] + item->at_ms) % w->n),
        .next_revision = MAX(w->truth.revision - (int64_t)item->args[2], (int64_t)1)};
    attach(w, x);
}

void watches_on_gone(struct world *w, const struct member *m)
{
    for (size_t i = 0; i < SIM_WATCHES_MAX; i++) {
        struct watch *x = &w->watches[i];

        if (x->added && x->member == m->i) {
            if (m->core != NULL) {
                detach(x);
            }
            x->added = false;
            later(w, x, AGAIN_MS);
        }
    }
}

size_t watches_behind(struct world *w)
{
    size_t behind = 0;

    for (size_t i = 0; i < SIM_WATCHES_MAX; i++) {
        behind += w->watches[i].wanted && !is_told(&w->watches[i]);
    }
    return behind;
}

void watches_settle(struct world *w)
{
    for (size_t i = 0; i < SIM_WATCHES_MAX; i++) {
        if (w->watches[i].wanted) {
            history_watch_settled(w->history, w->watches[i].number, w->truth.revision);
        }
    }
}
