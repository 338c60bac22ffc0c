/* The calls: who wrote which revision, whether that was allowed, whether reads saw what was there,
 * and whether all of that agrees with real time.
 *
 * A put is known by its value. A delete that was answered is known by its revision; one whose
 * outcome is unknown is any delete of its key that nobody else explains (history_leases.c gives
 * those out, since a lease may explain them as well). */
#include "history_internal.h"

#include <errno.h>
#include <inttypes.h>

/* ---- real time ---- */

bool history_may_write(const struct history_check *x, size_t call, int64_t r)
{
    const struct history_sight *s = history_clock_before(&x->clock, x->h->calls.v[call].begin);

    return s == NULL || s->revision < r;
}

static int check_order(struct history_check *x, size_t call, int64_t r, bool is_write)
{
    const struct history_sight *s = history_clock_before(&x->clock, x->h->calls.v[call].begin);

    if (s == NULL || s->revision < r || (!is_write && s->revision == r)) {
        return 0;
    }
    return history_blame_call(x, call,
        "%s revision %" PRId64 ", but before it began revision %" PRId64 " had been seen: %s",
        is_write ? "wrote" : "saw", r, s->revision, history_show_sight(x, s));
}

static int check_revision(struct history_check *x, size_t call)
{
    const struct history_call_rec *c = &x->h->calls.v[call];

    if (c->r.revision > x->last) {
        return history_blame_call(x, call, "the truth ends at revision %" PRId64, x->last);
    }
    if (c->c.kind <= HISTORY_GET_STALE && c->r.revision < 1) {
        return history_blame_call(x, call, "a reply has a revision of 1 at least");
    }
    /* A keepalive's revision is of before it, and of whoever answers. */
    if (c->r.revision < 1 || c->c.kind == HISTORY_GET_STALE || c->c.kind == HISTORY_KEEPALIVE) {
        return 0;
    }
    return check_order(x, call, c->r.revision, history_is_write(c));
}

/* ---- what an answered call did or saw ---- */

static const char *show_state(struct history_check *x, const struct history_change_rec *c)
{
    return c == NULL ? "it was never there" : history_show_change(x, c);
}

static int check_write(struct history_check *x, size_t call)
{
    const struct history_call_rec *c = &x->h->calls.v[call];
    int64_t r = c->r.revision;
    const struct history_change_rec *change;
    size_t n;

    if (r < 2) {
        return history_blame_call(x, call, "the first write has revision 2");
    }
    change = &x->h->truth.v[history_group(x, r, &n)];
    if (n != 1 || change->key != c->key || change->is_delete != (c->c.kind == HISTORY_DELETE) ||
        (!change->is_delete &&
            (!bytes_eq(change->value, c->c.value) || change->lease != c->c.lease))) {
        return history_blame_call(x, call, "its write is not in the truth: %zu change%s, %s", n,
            n == 1 ? "" : "s", history_show_change(x, change));
    }
    if (x->writer[r - 2] != HISTORY_NONE) {
        return history_blame_call(
            x, call, "%s wrote it as well", history_show_call(x, x->writer[r - 2]));
    }
    x->writer[r - 2] = call;
    x->wrote[call] = r;
    return 0;
}

static int check_compare_held(struct history_check *x, size_t call, int64_t r)
{
    const struct history_call_rec *c = &x->h->calls.v[call];
    int64_t mod = history_mod_revision(x, c->key, r - 1);

    if (c->c.kind != HISTORY_CAS || mod == c->c.expected) {
        return 0;
    }
    return history_blame_call(x, call,
        "wrote revision %" PRId64 ", but before it the key had mod_revision %" PRId64, r, mod);
}

static int check_compare_failed(struct history_check *x, size_t call)
{
    const struct history_call_rec *c = &x->h->calls.v[call];

    if (history_mod_revision(x, c->key, c->r.revision) == c->c.expected) {
        return history_blame_call(x, call, "its compare failed, but it holds at that revision");
    }
    return 0;
}

static int check_read(struct history_check *x, size_t call)
{
    const struct history_call_rec *c = &x->h->calls.v[call];
    const struct history_change_rec *there = history_last_change(x, c->key, c->r.revision);
    bool found = there != NULL && !there->is_delete;

    if (c->r.found != found) {
        return history_blame_call(x, call, "found %s, but the truth has: %s",
            c->r.found ? history_show_bytes(x, c->r.value) : "nothing", show_state(x, there));
    }
    if (found && (!bytes_eq(there->value, c->r.value) || there->revision != c->r.mod_revision)) {
        return history_blame_call(x, call, "read %s of revision %" PRId64 ", but the truth has: %s",
            history_show_bytes(x, c->r.value), c->r.mod_revision, show_state(x, there));
    }
    return 0;
}

static int check_effect(struct history_check *x, size_t call)
{
    const struct history_call_rec *c = &x->h->calls.v[call];
    int err;

    if (history_is_write(c)) {
        err = check_write(x, call);
        return err < 0 ? err : check_compare_held(x, call, c->r.revision);
    }
    switch (c->c.kind) {
    case HISTORY_CAS:
        err = check_compare_failed(x, call);
        return err < 0 || !c->r.found ? err : check_read(x, call);
    case HISTORY_DELETE: /* found nothing */
    case HISTORY_GET:
    case HISTORY_GET_STALE:
        return check_read(x, call);
    default:
        return 0;
    }
}

/* ---- who put what, by value ---- */

struct writers {
    struct hmap by_value;
    struct writer {
        struct hmap_node node;
        size_t call;
    } * list; /* owned */
};

static struct writer *find_writer(
    const struct history_check *x, const struct writers *w, struct bytes value)
{
    uint64_t hash = bytes_hash(value);

    for (struct hmap_node *n = hmap_first(&w->by_value, hash); n != NULL; n = hmap_next_same(n)) {
        struct writer *p = container_of(n, struct writer, node);

        if (bytes_eq(x->h->calls.v[p->call].c.value, value)) {
            return p;
        }
    }
    return NULL;
}

static int collect_writers(struct history_check *x, struct writers *w)
{
    const struct history *h = x->h;

    w->list = xcalloc(h->calls.n + 1, sizeof(*w->list));
    for (size_t i = 0; i < h->calls.n; i++) {
        const struct history_call_rec *c = &h->calls.v[i];
        struct writer *before;

        if (c->c.kind != HISTORY_PUT && c->c.kind != HISTORY_CAS) {
            continue;
        }
        before = find_writer(x, w, c->c.value);
        if (before != NULL) {
            return err_set(x->err, -EINVAL, "%s and %s put the same value",
                history_show_call(x, before->call), history_show_call(x, i));
        }
        w->list[i].call = i;
        hmap_insert(&w->by_value, &w->list[i].node, bytes_hash(c->c.value));
    }
    return 0;
}

/* A put of the truth, and the call that asked for it: was it allowed to do this, here, once? */
static int check_put(struct history_check *x, const struct history_change_rec *change, size_t call)
{
    const struct history_call_rec *c = &x->h->calls.v[call];
    int64_t r = change->revision;
    size_t n;
    int err;

    if (x->wrote[call] == r) {
        return 0; /* it said so itself, and was checked */
    }
    if (x->wrote[call] != 0) {
        return history_blame_call(x, call,
            "is in the truth twice: at revisions %" PRId64 " and %" PRId64, x->wrote[call], r);
    }
    if (c->r.outcome != HISTORY_UNKNOWN) {
        return history_blame_call(x, call, "%s, but it has happened: %s",
            c->r.outcome == HISTORY_FAILED ? "failed" : "its compare failed",
            history_show_change(x, change));
    }
    (void)history_group(x, r, &n);
    if (n != 1 || change->key != c->key || change->lease != c->c.lease) {
        return history_blame_call(x, call, "happened, but not as asked for: %zu change%s, %s", n,
            n == 1 ? "" : "s", history_show_change(x, change));
    }
    x->wrote[call] = r;
    x->writer[r - 2] = call;
    err = check_compare_held(x, call, r);
    return err < 0 ? err : check_order(x, call, r, true);
}

static int check_puts(struct history_check *x, const struct writers *w)
{
    const struct history *h = x->h;

    for (size_t i = 0; i < h->truth.n; i++) {
        const struct history_change_rec *change = &h->truth.v[i];
        const struct writer *p;
        int err;

        if (change->is_delete) {
            continue;
        }
        p = find_writer(x, w, change->value);
        if (p == NULL) {
            if (x->rules->all_known) {
                return history_blame_revision(
                    x, change->revision, "nobody asked for it: %s", history_show_change(x, change));
            }
            continue;
        }
        err = check_put(x, change, p->call);
        if (err < 0) {
            return err;
        }
    }
    return 0;
}

/* Every delete of the truth deletes something. */
static int check_deletes(struct history_check *x)
{
    for (size_t i = 0; i < x->h->truth.n; i++) {
        const struct history_change_rec *change = &x->h->truth.v[i];

        if (change->is_delete && history_mod_revision(x, change->key, change->revision - 1) == 0) {
            return history_blame_revision(
                x, change->revision, "%s, which was not there", history_show_change(x, change));
        }
    }
    return 0;
}

/* ---- compactions ---- */

static int check_compact(
    struct history_check *x, size_t call, const struct history_clock *compactions)
{
    const struct history_call_rec *c = &x->h->calls.v[call];
    const struct history_sight *s = history_clock_before(compactions, c->begin);

    if (c->r.revision >= 1 && c->c.expected > c->r.revision) {
        return history_blame_call(x, call, "a revision of the future was compacted");
    }
    if (s != NULL && s->revision >= c->c.expected) {
        return history_blame_call(x, call, "compacted again after %s", history_show_sight(x, s));
    }
    return 0;
}

static int check_compactions(struct history_check *x)
{
    const struct history *h = x->h;
    struct history_sight *done = xcalloc(h->calls.n + 1, sizeof(*done));
    struct history_clock compactions;
    size_t n = 0;
    int err = 0;

    for (size_t i = 0; i < h->calls.n; i++) {
        const struct history_call_rec *c = &h->calls.v[i];

        if (c->c.kind == HISTORY_COMPACT && c->r.outcome == HISTORY_OK) {
            done[n++] = (struct history_sight){c->end, c->c.expected, i, HISTORY_NONE};
        }
    }
    history_clock_init(&compactions, done, n);
    for (size_t i = 0; i < h->calls.n && err == 0; i++) {
        if (h->calls.v[i].c.kind == HISTORY_COMPACT && h->calls.v[i].r.outcome == HISTORY_OK) {
            err = check_compact(x, i, &compactions);
        }
    }
    history_clock_deinit(&compactions);
    return err;
}

/* ---- all ---- */

static int check_answered(struct history_check *x)
{
    for (size_t i = 0; i < x->h->calls.n; i++) {
        int err;

        if (x->h->calls.v[i].r.outcome != HISTORY_OK) {
            continue;
        }
        err = check_revision(x, i);
        if (err == 0) {
            err = check_effect(x, i);
        }
        if (err < 0) {
            return err;
        }
    }
    return 0;
}

int history_check_calls(struct history_check *x)
{
    struct writers w = {0};
    int err = collect_writers(x, &w);

    if (err == 0) {
        err = check_deletes(x);
    }
    if (err == 0) {
        err = check_answered(x);
    }
    if (err == 0) {
        err = check_puts(x, &w);
    }
    if (err == 0) {
        err = check_compactions(x);
    }
    hmap_deinit(&w.by_value);
    free(w.list);
    return err;
}
