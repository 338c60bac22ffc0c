/* Histories of a store that is correct, because it does one call after the other, under clients
 * with random latencies and lost replies: none may be called a violation. Then the same with one
 * thing wrong in it: all must be. */
#include "alloc.h"
#include "history_build.h"
#include "splitmix.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    KEYS = 6,
    LEASES_MAX = 4, /* alive at a time */
    WATCHES_MAX = 5,
    LATENCY = 50,
    LEASE_TTL = 600,
};

/* What can be wrong. Each shows in the history for certain. */
enum corruption {
    NOTHING,
    STALE_READ,      /* under the old revision */
    WRONG_READ,      /* under the new revision */
    BLIND_READ,      /* does not find what is there, or the other way round */
    LOST_WRITE,      /* acknowledged, and something else is in its place */
    FAILED_WRITE,    /* refused, and there */
    DOUBLE_WRITE,    /* there twice */
    BLIND_COMPARE,   /* a compare that did not hold wrote */
    REVISION_BEHIND, /* a write's reply says the revision before */
    EVENT_LOST,
    EVENT_TWICE,
    EVENT_CHANGED,
    EVENT_LEASE, /* with another lease */
    BATCH_SPLIT, /* a revision of several keys in two batches */
    BATCHES_SWAPPED,
    PROGRESS_AHEAD,
    LEASE_KEEPS_KEY, /* a key stays when its lease goes */
    LEASE_EARLY,     /* goes long before its time */
    LEASE_BACK,      /* found by a keepalive after it had gone */
    CORRUPTIONS,
};

struct value {
    char text[16];
};

struct key {
    int64_t mod; /* 0 = not there */
    uint64_t value;
    int64_t lease;
};

/* One change, by numbers. */
struct change {
    int64_t revision;
    bool is_delete;
    size_t key;
    uint64_t value;
    int64_t lease;
};

struct lease {
    int64_t id; /* 0 = free */
    uint64_t expiry;
    uint64_t alive_until; /* as the clients know */
    bool doomed;          /* a revoke was sent that may yet happen, for all they know */
};

struct watch {
    bool open;
    bool sure; /* the history says where it starts */
    size_t number;
    size_t lo, hi; /* keys [lo, hi) */
    int64_t told;
    size_t at; /* in changes */
};

struct run {
    uint64_t seed;
    struct history *h;
    uint64_t now, values;
    int64_t revision, leases_given, compacted;
    struct key keys[KEYS];
    struct change *changes; /* owned */
    size_t n_changes, cap;
    struct lease leases[LEASES_MAX];
    struct watch watches[WATCHES_MAX];
    uint64_t last_write_end; /* of the newest revision, when it was acknowledged; else 0 */
    enum corruption corrupt;
    size_t corrupt_from; /* the call from which on */
    size_t n;            /* calls by now */
    bool corrupted;
};

static uint64_t draw(struct run *r, uint64_t below)
{
    return splitmix_next(&r->seed) % below;
}

/* Now is the time for this one? Says so once. */
static bool corrupts(struct run *r, enum corruption c)
{
    if (r->corrupt != c || r->corrupted || r->n < r->corrupt_from) {
        return false;
    }
    r->corrupted = true;
    return true;
}

static const char *key_text(size_t key)
{
    static const char *const texts[] = {"a", "b", "c", "d", "e", "f", "g"};

    return texts[key];
}

static struct value value_text(uint64_t value)
{
    struct value v;

    (void)snprintf(v.text, sizeof(v.text), "v%" PRIu64, value);
    return v;
}

/* ---- the store ---- */

static void record(struct run *r, const struct change *c)
{
    struct value v = value_text(c->value);

    h_truth(r->h,
        c->is_delete ? h_del(c->revision, key_text(c->key))
                     : h_put_leased(c->revision, key_text(c->key), v.text, c->lease));
}

static void add_change(struct run *r, struct change c)
{
    if (r->n_changes == r->cap) {
        r->cap = MAX(r->cap * 2, (size_t)64);
        r->changes = xreallocarray(r->changes, r->cap, sizeof(*r->changes));
    }
    r->changes[r->n_changes++] = c;
    record(r, &c);
}

static void store_put(struct run *r, size_t key, uint64_t value, int64_t lease)
{
    r->revision++;
    r->last_write_end = 0;
    r->keys[key] = (struct key){r->revision, value, lease};
    add_change(r, (struct change){r->revision, false, key, value, lease});
}

static void store_delete(struct run *r, size_t key)
{
    r->revision++;
    r->last_write_end = 0;
    r->keys[key] = (struct key){0};
    add_change(r, (struct change){r->revision, true, key, 0, 0});
}

static void store_lease_end(struct run *r, struct lease *l)
{
    bool any = false;

    for (size_t k = 0; k < KEYS; k++) {
        if (r->keys[k].mod == 0 || r->keys[k].lease != l->id) {
            continue;
        }
        if (any && corrupts(r, LEASE_KEEPS_KEY)) {
            continue;
        }
        r->revision += !any;
        any = true;
        r->last_write_end = 0;
        r->keys[k] = (struct key){0};
        add_change(r, (struct change){r->revision, true, k, 0, 0});
    }
    *l = (struct lease){0};
}

/* ---- clients ---- */

struct times {
    uint64_t begin, end; /* the call took effect at now, in between */
};

static struct times call_times(struct run *r)
{
    r->now += 1 + draw(r, 10);
    return (struct times){r->now - draw(r, LATENCY), r->now + draw(r, LATENCY)};
}

enum fate { ANSWERED, REFUSED, LOST_DONE, LOST_NOT_DONE, NEVER_ENDED };

static enum fate draw_fate(struct run *r)
{
    uint64_t x = draw(r, 20);

    return x < 14 ? ANSWERED : (enum fate)(x - 14) % 5;
}

static bool is_done(enum fate f)
{
    return f == ANSWERED || f == LOST_DONE;
}

static void end(struct run *r, size_t call, struct times t, enum fate f, struct history_reply reply)
{
    if (f == ANSWERED) {
        h_end(r->h, call, t.end, reply);
    } else if (f == REFUSED) {
        h_end(r->h, call, t.end, h_failed());
    } else if (f != NEVER_ENDED) {
        h_end(r->h, call, t.end, h_unknown());
    }
}

static void acknowledged(struct run *r, struct times t, enum fate f)
{
    if (f == ANSWERED) {
        r->last_write_end = t.end;
    }
}

static int64_t some_lease(struct run *r)
{
    return draw(r, 2) == 0 ? r->leases[draw(r, LEASES_MAX)].id : 0;
}

static void client_put(struct run *r)
{
    struct times t = call_times(r);
    enum fate fate = draw_fate(r);
    size_t key = draw(r, KEYS);
    uint64_t value = ++r->values;
    int64_t lease = some_lease(r);
    struct value v = value_text(value);
    size_t call = h_call(r->h, t.begin, h_c_put_leased(key_text(key), v.text, lease));
    bool behind;

    if (fate == ANSWERED && corrupts(r, LOST_WRITE)) {
        store_put(r, key, ++r->values, 0);
        end(r, call, t, fate, h_ok(r->revision));
        return;
    }
    if (is_done(fate) || (fate == REFUSED && corrupts(r, FAILED_WRITE))) {
        store_put(r, key, value, lease);
    }
    if (is_done(fate) && corrupts(r, DOUBLE_WRITE)) {
        store_put(r, key, value, lease);
    }
    behind = fate == ANSWERED && corrupts(r, REVISION_BEHIND);
    end(r, call, t, fate, h_ok(r->revision - behind));
    acknowledged(r, t, fate);
}

static void client_delete(struct run *r)
{
    struct times t = call_times(r);
    enum fate fate = draw_fate(r);
    size_t key = draw(r, KEYS);
    bool found = r->keys[key].mod != 0;
    size_t call = h_call(r->h, t.begin, h_c_key(HISTORY_DELETE, key_text(key)));

    if (is_done(fate) && found) {
        store_delete(r, key);
        acknowledged(r, t, fate);
    }
    end(r, call, t, fate,
        (struct history_reply){HISTORY_OK, .revision = r->revision, .found = found});
}

static void client_cas(struct run *r)
{
    struct times t = call_times(r);
    enum fate fate = draw_fate(r);
    size_t key = draw(r, KEYS);
    int64_t expected = draw(r, 2) == 0 ? r->keys[key].mod : (int64_t)draw(r, 9);
    bool holds = expected == r->keys[key].mod;
    struct value v = value_text(++r->values);
    size_t call = h_call(r->h, t.begin, h_c_cas(key_text(key), expected, v.text));

    if (is_done(fate) && !holds && corrupts(r, BLIND_COMPARE)) {
        holds = true;
    }
    if (is_done(fate) && holds) {
        store_put(r, key, r->values, 0);
        acknowledged(r, t, fate);
    }
    end(r, call, t, fate,
        (struct history_reply){HISTORY_OK, .revision = r->revision, .succeeded = holds});
}

/* The key at revision, looked up in all changes. */
static struct key key_at(const struct run *r, size_t key, int64_t revision)
{
    for (size_t i = r->n_changes; i-- > 0;) {
        const struct change *c = &r->changes[i];

        if (c->key == key && c->revision <= revision) {
            return c->is_delete ? (struct key){0} : (struct key){c->revision, c->value, c->lease};
        }
    }
    return (struct key){0};
}

static void client_get(struct run *r)
{
    struct times t = call_times(r);
    size_t key = draw(r, KEYS);
    bool stale = draw(r, 4) == 0;
    int64_t revision = r->revision, shown;
    struct key k;
    struct value v;

    if (stale) {
        revision -= (int64_t)draw(r, (uint64_t)MIN(revision, (int64_t)8));
    }
    if (!stale && r->last_write_end != 0 && corrupts(r, STALE_READ)) {
        t.begin = r->last_write_end + 1;
        t.end = MAX(t.end, t.begin);
        r->now = t.begin;
        revision--;
    }
    shown = revision;
    if (r->keys[key].mod != 0 && !stale && corrupts(r, WRONG_READ)) {
        shown = r->keys[key].mod - 1;
    }
    k = key_at(r, key, shown);
    if (corrupts(r, BLIND_READ)) {
        k.mod = k.mod != 0 ? 0 : 1;
    }
    v = value_text(k.value);
    h_did_get(r->h, t.begin, t.end, stale ? HISTORY_GET_STALE : HISTORY_GET, key_text(key),
        revision, k.mod != 0 ? v.text : NULL, k.mod);
}

static void client_compact(struct run *r)
{
    struct times t = call_times(r);

    if (r->revision - r->compacted > 20) {
        r->compacted = r->revision - (int64_t)draw(r, 10);
        h_did_compact(r->h, t.begin, t.end, r->compacted, r->revision);
    }
}

/* ---- leases ---- */

static void client_grant(struct run *r)
{
    struct times t = call_times(r);
    struct lease *l = &r->leases[draw(r, LEASES_MAX)];

    if (l->id == 0) {
        *l = (struct lease){++r->leases_given, r->now + LEASE_TTL, t.begin + LEASE_TTL, false};
        h_did_grant(r->h, t.begin, t.end, l->id, LEASE_TTL);
    }
}

static void client_revoke(struct run *r)
{
    struct times t = call_times(r);
    enum fate fate = draw_fate(r);
    struct lease *l = &r->leases[draw(r, LEASES_MAX)];
    int64_t id = l->id;
    size_t call;

    if (id == 0) {
        return;
    }
    call = h_call(r->h, t.begin, h_c_lease(HISTORY_REVOKE, id));
    l->doomed |= fate != REFUSED;
    if (is_done(fate)) {
        store_lease_end(r, l);
    }
    end(r, call, t, fate, h_ok(r->revision));
    if (fate == ANSWERED && corrupts(r, LEASE_BACK)) {
        h_did_keepalive(r->h, t.end + 1, t.end + 2, id, true, LEASE_TTL);
    }
}

static void client_keepalive(struct run *r)
{
    struct times t = call_times(r);
    struct lease *l = &r->leases[draw(r, LEASES_MAX)];
    int64_t id = l->id != 0 ? l->id : (int64_t)draw(r, (uint64_t)r->leases_given + 1);
    bool found = false;

    for (size_t i = 0; i < LEASES_MAX && id != 0; i++) {
        if (r->leases[i].id == id) {
            r->leases[i].expiry = r->now + LEASE_TTL;
            r->leases[i].alive_until = t.begin + LEASE_TTL;
            found = true;
        }
    }
    if (id != 0) {
        h_did_keepalive(r->h, t.begin, t.end, id, found, found ? LEASE_TTL : 0);
    }
}

static bool has_keys(const struct run *r, const struct lease *l, size_t least)
{
    size_t n = 0;

    for (size_t k = 0; k < KEYS; k++) {
        n += r->keys[k].mod != 0 && r->keys[k].lease == l->id;
    }
    return n >= least;
}

/* Two keys, since one might be an unknown delete's; and somebody sees it. */
static void expire_early(struct run *r, struct lease *l)
{
    store_lease_end(r, l);
    h_did_get(r->h, r->now, r->now + 1, HISTORY_GET, "g", r->revision, NULL, 0);
}

static void expire(struct run *r)
{
    for (size_t i = 0; i < LEASES_MAX; i++) {
        struct lease *l = &r->leases[i];

        if (l->id != 0 && l->expiry <= r->now) {
            store_lease_end(r, l);
        } else if (l->id != 0 && !l->doomed && has_keys(r, l, 2) &&
            l->alive_until > r->now + 2 * LATENCY && corrupts(r, LEASE_EARLY)) {
            expire_early(r, l);
        }
    }
}

/* ---- watches ---- */

static void open_watch(struct run *r, struct watch *w)
{
    struct times t = call_times(r);
    struct history_watch hw;
    bool after_now = draw(r, 2) == 0;

    *w = (struct watch){.open = true, .lo = draw(r, KEYS)};
    w->hi = w->lo + 1 + draw(r, KEYS - w->lo);
    w->told = after_now ? r->revision : (int64_t)draw(r, (uint64_t)r->revision + 4);
    hw = (struct history_watch){
        bytes_str(key_text(w->lo)), bytes_str(key_text(w->hi)), after_now ? 0 : w->told + 1};
    w->number = history_watch_begin(r->h, t.begin, &hw);
    if (after_now && draw(r, 2) == 0) {
        history_watch_created(r->h, w->number, t.end, r->revision);
        w->sure = true;
    }
    w->sure |= !after_now;
    if (w->told + 1 < r->compacted) {
        history_watch_compacted(r->h, w->number, r->compacted);
        w->open = false;
    }
    while (w->at < r->n_changes && r->changes[w->at].revision <= w->told) {
        w->at++;
    }
}

static size_t next_events(
    struct run *r, struct watch *w, int64_t to, struct history_change *events, struct value *values)
{
    size_t n = 0;

    for (; w->at < r->n_changes && r->changes[w->at].revision <= to; w->at++) {
        const struct change *c = &r->changes[w->at];

        if (c->revision <= w->told || c->key < w->lo || c->key >= w->hi) {
            continue;
        }
        values[n] = value_text(c->value);
        events[n] = c->is_delete
            ? h_del(c->revision, key_text(c->key))
            : h_put_leased(c->revision, key_text(c->key), values[n].text, c->lease);
        n++;
    }
    return n;
}

static size_t corrupt_events(
    struct run *r, const struct watch *w, struct history_change *events, size_t n)
{
    struct history_change *e = &events[draw(r, n)];

    if (w->sure && corrupts(r, EVENT_LOST)) {
        *e = events[n - 1];
        return n - 1;
    }
    if (corrupts(r, EVENT_TWICE)) {
        events[n] = events[n - 1];
        return n + 1;
    }
    if (!e->is_delete && corrupts(r, EVENT_CHANGED)) {
        e->value = BYTES_LITERAL("x");
    }
    if (!e->is_delete && corrupts(r, EVENT_LEASE)) {
        e->lease += 1000;
    }
    return n;
}

/* The events in two batches where they should be in one. Returns false when they should not. */
static bool tell_in_two(
    struct run *r, struct watch *w, const struct history_change *events, size_t n, int64_t to)
{
    size_t half = n / 2;
    int64_t before, after;

    if (half == 0) {
        return false;
    }
    for (size_t i = 1; i < n && r->corrupt == BATCH_SPLIT; i++) {
        half = events[i - 1].revision == events[i].revision ? i : half;
    }
    before = events[half - 1].revision;
    after = events[half].revision;
    if (before == after ? corrupts(r, BATCH_SPLIT) : corrupts(r, BATCHES_SWAPPED)) {
        bool swapped = before != after;

        history_watch_events(r->h, w->number, r->now, swapped ? to : before,
            swapped ? events + half : events, swapped ? n - half : half);
        history_watch_events(r->h, w->number, r->now, swapped ? before : to,
            swapped ? events : events + half, swapped ? half : n - half);
        return true;
    }
    return false;
}

static void tell(struct run *r, struct watch *w, int64_t to)
{
    struct history_change events[128 * KEYS];
    struct value values[128 * KEYS];
    size_t n;

    to = MIN(to, w->told + 120);
    n = next_events(r, w, to, events, values);
    if (n != 0 && corrupts(r, PROGRESS_AHEAD)) {
        history_watch_progress(r->h, w->number, to);
    }
    if (n != 0 && !tell_in_two(r, w, events, n, to)) {
        n = corrupt_events(r, w, events, n);
        history_watch_events(r->h, w->number, r->now, to, events, n);
    } else if (n == 0 && draw(r, 2) == 0) {
        history_watch_progress(r->h, w->number, to);
    }
    w->sure |= n != 0;
    w->told = to;
}

static void step_watch(struct run *r, struct watch *w)
{
    if (!w->open) {
        open_watch(r, w);
    } else if (w->told + 1 < r->compacted && draw(r, 4) == 0) {
        history_watch_compacted(r->h, w->number, r->compacted);
        w->open = false;
    } else if (w->told < r->revision) {
        tell(r, w, w->told + 1 + (int64_t)draw(r, (uint64_t)(r->revision - w->told)));
    } else if (draw(r, 10) == 0) {
        w->open = false; /* its client goes away */
    }
}

static void settle(struct run *r)
{
    for (size_t i = 0; i < WATCHES_MAX; i++) {
        struct watch *w = &r->watches[i];

        while (w->open && w->told < r->revision) {
            tell(r, w, r->revision);
        }
        if (w->open) {
            history_watch_settled(r->h, w->number, r->revision);
        }
    }
}

/* ---- runs ---- */

static void step(struct run *r)
{
    static void (*const clients[])(struct run * r) = {client_put, client_put, client_put,
        client_get, client_get, client_get, client_cas, client_delete, client_grant, client_revoke,
        client_keepalive, client_keepalive, client_compact};

    clients[draw(r, ARRAY_SIZE(clients))](r);
    expire(r);
    step_watch(r, &r->watches[draw(r, WATCHES_MAX)]);
    r->n++;
}

static void run(struct run *r, uint64_t seed, size_t calls, enum corruption corrupt)
{
    *r = (struct run){.seed = seed, .h = history_new(), .now = 1000, .revision = 1};
    r->corrupt = corrupt;
    r->corrupt_from = draw(r, calls / 2 + 1);
    while (r->n < calls) {
        step(r);
    }
    settle(r);
}

static void run_end(struct run *r)
{
    free(r->changes);
    r->h = history_free(r->h);
}

static const struct history_rules all_known = {.all_known = true};

TEST(history, of_a_correct_store_are_fine)
{
    for (uint64_t seed = 1; seed <= 1000; seed++) {
        _cleanup_err_ struct err err = {0};
        struct run r;

        run(&r, seed, 20 + seed, NOTHING);
        if (history_check(r.h, &all_known, NULL, &err) != 0) {
            fail_msg("seed %" PRIu64 ": %s", seed, err.text);
        }
        run_end(&r);
    }
}

TEST(history, with_one_thing_wrong_are_found)
{
    for (int c = NOTHING + 1; c < CORRUPTIONS; c++) {
        size_t corrupted = 0;

        for (uint64_t seed = 1; seed <= 60; seed++) {
            _cleanup_err_ struct err err = {0};
            struct run r;
            int result;

            run(&r, seed, 400, (enum corruption)c);
            result = history_check(r.h, &all_known, NULL, &err);
            if (result != (r.corrupted ? DECREE_ECORRUPT : 0)) {
                fail_msg("seed %" PRIu64 " corruption %d%s: %s", seed, c,
                    r.corrupted ? "" : " (did not occur)", err.text != NULL ? err.text : "fine");
            }
            corrupted += r.corrupted;
            run_end(&r);
        }
        if (corrupted < 10) {
            fail_msg("corruption %d occurs in only %zu of 60 histories", c, corrupted);
        }
    }
}

TEST(history, of_many_calls_is_fine)
{
    _cleanup_err_ struct err err = {0};
    struct run r;

    run(&r, 1, 200000, NOTHING);
    assert_int_equal(history_check(r.h, &all_known, NULL, &err), 0);
    run_end(&r);
}

TEST_MAIN(UNIT(history, of_a_correct_store_are_fine), UNIT(history, with_one_thing_wrong_are_found),
    UNIT(history, of_many_calls_is_fine))
