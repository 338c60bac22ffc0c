/* The verdict: index the truth, collect who saw which revision when, then judge part by part. */
#include "history_internal.h"

static size_t add_watch_sights(const struct history *h, struct history_sight *sights, size_t n)
{
    for (size_t i = 0; i < h->told.n; i++) {
        const struct history_told_rec *t = &h->told.v[i];

        if (t->kind == HISTORY_TOLD_EVENTS || t->kind == HISTORY_TOLD_CREATED) {
            sights[n++] = (struct history_sight){t->time, t->revision, HISTORY_NONE, t->watch};
        }
    }
    return n;
}

static void collect_sights(struct history_check *x)
{
    const struct history *h = x->h;
    struct history_sight *sights = xcalloc(h->calls.n + h->told.n + 1, sizeof(*sights));
    size_t n = 0;

    for (size_t i = 0; i < h->calls.n; i++) {
        const struct history_call_rec *c = &h->calls.v[i];

        if (c->r.outcome == HISTORY_OK && c->r.revision >= 1) {
            sights[n++] = (struct history_sight){c->end, c->r.revision, i, HISTORY_NONE};
        }
    }
    n = add_watch_sights(h, sights, n);
    history_clock_init(&x->clock, sights, n);
}

static void count(const struct history *h, struct history_summary *ret)
{
    *ret = (struct history_summary){
        .calls = h->calls.n, .watches = h->watches.n, .events = h->events.n};
    for (size_t i = 0; i < h->calls.n; i++) {
        const struct history_call_rec *c = &h->calls.v[i];

        ret->unknown += c->r.outcome == HISTORY_UNKNOWN;
        ret->reads += c->c.kind == HISTORY_GET || c->c.kind == HISTORY_GET_STALE;
        ret->writes += c->c.kind <= HISTORY_CAS;
    }
}

static int judge(struct history_check *x)
{
    const struct history *h = x->h;
    int err = history_truth_index(x);

    if (err < 0) {
        return err;
    }
    x->wrote = xcalloc(h->calls.n + 1, sizeof(*x->wrote));
    x->writer = xcalloc((size_t)x->last, sizeof(*x->writer));
    memset(x->writer, 0xff, (size_t)x->last * sizeof(*x->writer));
    collect_sights(x);
    err = history_check_calls(x);
    if (err == 0) {
        err = history_check_leases(x);
    }
    return err == 0 ? history_check_watches(x) : err;
}

int history_check(const struct history *h, const struct history_rules *rules,
    struct history_summary *ret_summary, struct err *reterr)
{
    struct history_check x = {.h = h, .rules = rules, .err = reterr};
    int err;

    arena_init(&x.words, 0);
    if (ret_summary != NULL) {
        count(h, ret_summary);
    }
    err = judge(&x);
    history_clock_deinit(&x.clock);
    arena_deinit(&x.words);
    free(x.first);
    free(x.key_first);
    free(x.key_changes);
    free(x.key_order);
    free(x.wrote);
    free(x.writer);
    return err;
}
