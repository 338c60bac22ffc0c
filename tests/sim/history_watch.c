/* The watches: what each was told is the truth of its range from its start on, without a gap, in
 * whole revisions; and what the server said of how far it had told was so. */
#include "history_internal.h"

#include <inttypes.h>

/* Revisions that somebody asked to compact at, and was not refused; ascending. */
struct compactions {
    int64_t *v; /* owned */
    size_t n;
};

struct watching {
    struct history_check *x;
    const struct compactions *asked;
    size_t watch;
    const struct history_watch_rec *w;
    struct history_cursor rest; /* what it has not been told; once it is known where it starts */
    bool started;
    int64_t start; /* it is told nothing older; while not started: of what it cannot tell */
    int64_t told;  /* the last revision it was told, by an event or in words */
    bool compacted;
};

static int cmp_revisions(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static void collect_compactions(const struct history *h, struct compactions *ret)
{
    *ret = (struct compactions){.v = xcalloc(h->calls.n + 1, sizeof(*ret->v))};
    for (size_t i = 0; i < h->calls.n; i++) {
        const struct history_call_rec *c = &h->calls.v[i];

        if (c->c.kind == HISTORY_COMPACT && c->r.outcome != HISTORY_FAILED) {
            ret->v[ret->n++] = c->c.expected;
        }
    }
    qsort(ret->v, ret->n, sizeof(*ret->v), cmp_revisions);
}

static void start_at(struct watching *s, int64_t revision)
{
    history_cursor_init(&s->rest, s->x, s->w->key, s->w->range_end, revision);
    s->start = revision;
    s->started = true;
}

static void begin(struct watching *s)
{
    if (s->w->start_revision > 0) {
        start_at(s, s->w->start_revision);
    } else {
        s->start = 2; /* until its creation tells */
    }
}

/* All that is in its range up to revision must have been told. */
static int all_told(struct watching *s, int64_t revision, const char *claim)
{
    const struct history_change_rec *next = s->started ? history_cursor_peek(&s->rest) : NULL;

    if (next == NULL || next->revision > revision) {
        return 0;
    }
    return history_blame_watch(s->x, s->watch, "%s revision %" PRId64 ", but was not told: %s",
        claim, revision, history_show_change(s->x, next));
}

/* ---- events ---- */

static bool same(const struct history_change_rec *a, const struct history_change_rec *b)
{
    return a->revision == b->revision && a->key == b->key && a->is_delete == b->is_delete &&
        a->lease == b->lease && bytes_eq(a->value, b->value);
}

static bool is_true(const struct history_check *x, const struct history_change_rec *e)
{
    size_t n, first;

    if (e->revision < 2 || e->revision > x->last) {
        return false;
    }
    first = history_group(x, e->revision, &n);
    for (size_t i = 0; i < n; i++) {
        if (same(&x->h->truth.v[first + i], e)) {
            return true;
        }
    }
    return false;
}

/* e is not what should have come next: in which way is it wrong? */
static int blame_event(struct watching *s, const struct history_change_rec *e,
    const struct history_change_rec *expected)
{
    const char *event = history_show_change(s->x, e);

    if (!is_true(s->x, e)) {
        return history_blame_watch(s->x, s->watch, "an event that is not in the truth: %s", event);
    }
    if (e->revision < s->start) {
        return history_blame_watch(
            s->x, s->watch, "older than its start, which is %" PRId64 ": %s", s->start, event);
    }
    if (e->revision < s->told) {
        return history_blame_watch(s->x, s->watch,
            "told again or out of order, after revision %" PRId64 ": %s", s->told, event);
    }
    if (expected != NULL && expected->revision <= e->revision) {
        return history_blame_watch(
            s->x, s->watch, "not told: %s; but: %s", history_show_change(s->x, expected), event);
    }
    return history_blame_watch(s->x, s->watch, "told twice, or not of its range: %s", event);
}

static int event(struct watching *s, const struct history_change_rec *e)
{
    const struct history_change_rec *expected;

    if (!s->started && e->revision >= s->start) {
        start_at(s, e->revision);
    }
    expected = s->started ? history_cursor_peek(&s->rest) : NULL;
    if (expected == NULL || !same(expected, e)) {
        return blame_event(s, e, expected);
    }
    history_cursor_next(&s->rest);
    s->told = e->revision;
    return 0;
}

/* A batch ends where a revision ends. */
static int whole_revision(struct watching *s)
{
    const struct history_change_rec *next = s->started ? history_cursor_peek(&s->rest) : NULL;

    if (next == NULL || next->revision != s->told) {
        return 0;
    }
    return history_blame_watch(s->x, s->watch,
        "a batch splits revision %" PRId64 " and leaves out: %s", s->told,
        history_show_change(s->x, next));
}

/* ---- what it is told in words ---- */

static int check_header(struct watching *s, const char *what, int64_t revision)
{
    if (revision > s->x->last) {
        return history_blame_watch(s->x, s->watch,
            "%s has revision %" PRId64 ", but the truth ends at %" PRId64, what, revision,
            s->x->last);
    }
    if (revision < s->told) {
        return history_blame_watch(s->x, s->watch,
            "%s has revision %" PRId64 ", after %" PRId64 " had been told", what, revision,
            s->told);
    }
    return 0;
}

static int on_events(struct watching *s, const struct history_told_rec *t)
{
    int err = 0;

    for (size_t i = 0; i < t->n && err == 0; i++) {
        err = event(s, &s->x->h->events.v[t->first + i]);
    }
    if (err == 0) {
        err = whole_revision(s);
    }
    if (err == 0) {
        err = check_header(s, "a batch", t->revision);
    }
    if (err == 0) {
        err = all_told(s, t->revision, "the header of a batch has");
    }
    s->told = MAX(s->told, t->revision);
    return err;
}

static int on_created(struct watching *s, const struct history_told_rec *t)
{
    int err = check_header(s, "its creation", t->revision);

    if (err == 0 && !s->started) {
        start_at(s, t->revision + 1);
    }
    return err;
}

static int on_progress(struct watching *s, const struct history_told_rec *t)
{
    int err = check_header(s, "progress", t->revision);

    if (err < 0) {
        return err;
    }
    if (t->revision < s->start - 1) {
        return history_blame_watch(s->x, s->watch,
            "progress to revision %" PRId64 ", before its start, which is %" PRId64, t->revision,
            s->start);
    }
    err = all_told(s, t->revision, "progress to");
    if (!s->started) {
        start_at(s, t->revision + 1);
    }
    s->told = MAX(s->told, t->revision);
    return err;
}

/* Ended by the server; it may do so only when something is gone that the watch still needs. */
static int on_compacted(struct watching *s, const struct history_told_rec *t)
{
    int64_t needs = MAX(s->start, s->told + 1);

    s->compacted = true;
    if (s->started && needs >= t->revision) {
        return history_blame_watch(s->x, s->watch,
            "ended since revision %" PRId64 " was compacted, but it needs %" PRId64 " and later",
            t->revision, needs);
    }
    if (s->x->rules->all_known &&
        bsearch(&t->revision, s->asked->v, s->asked->n, sizeof(*s->asked->v), cmp_revisions) ==
            NULL) {
        return history_blame_watch(s->x, s->watch,
            "ended since revision %" PRId64 " was compacted, which nobody asked for", t->revision);
    }
    return 0;
}

static int told(struct watching *s, const struct history_told_rec *t)
{
    if (s->compacted && t->kind != HISTORY_TOLD_SETTLED) {
        return history_blame_watch(s->x, s->watch, "told more after it had been ended");
    }
    switch (t->kind) {
    case HISTORY_TOLD_CREATED:
        return on_created(s, t);
    case HISTORY_TOLD_EVENTS:
        return on_events(s, t);
    case HISTORY_TOLD_PROGRESS:
        return on_progress(s, t);
    case HISTORY_TOLD_COMPACTED:
        return on_compacted(s, t);
    case HISTORY_TOLD_SETTLED:
        return s->compacted ? 0 : all_told(s, t->revision, "settled up to");
    }
    return 0;
}

int history_check_watches(struct history_check *x)
{
    const struct history *h = x->h;
    struct compactions asked;
    int err = 0;

    collect_compactions(h, &asked);
    for (size_t i = 0; i < h->watches.n && err == 0; i++) {
        struct watching s = {.x = x, .asked = &asked, .watch = i, .w = &h->watches.v[i]};

        begin(&s);
        for (size_t t = s.w->first_told; t != HISTORY_NONE && err == 0;
             t = h->told.v[t].next_told) {
            err = told(&s, &h->told.v[t]);
        }
        if (s.started) {
            history_cursor_deinit(&s.rest);
        }
    }
    free(asked.v);
    return err;
}
