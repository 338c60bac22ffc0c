/* What the parts of the checker share: the record (history.c) and, for the time of one verdict, the
 * truth and the clock in a form that answers questions in O(log n). */
#ifndef DECREE_TESTS_SIM_HISTORY_INTERNAL_H
#define DECREE_TESTS_SIM_HISTORY_INTERNAL_H

#include "arena.h"
#include "history.h"
#include "hmap.h"

#define HISTORY_NONE SIZE_MAX

/* ---- the record ---- */

struct history_change_rec {
    int64_t revision;
    int64_t lease;
    size_t key; /* number of the key */
    struct bytes value;
    bool is_delete;
};

struct history_call_rec {
    struct history_call c;
    struct history_reply r;
    uint64_t begin, end; /* end: UINT64_MAX while there is none */
    size_t key;
    bool ended;
};

enum history_told {
    HISTORY_TOLD_CREATED,
    HISTORY_TOLD_EVENTS,
    HISTORY_TOLD_PROGRESS,
    HISTORY_TOLD_COMPACTED,
    HISTORY_TOLD_SETTLED,
};

struct history_told_rec {
    enum history_told kind;
    size_t watch;
    uint64_t time; /* created, events */
    int64_t revision;
    size_t first, n;  /* events: in h->events */
    size_t next_told; /* of the same watch, HISTORY_NONE at the end */
};

struct history_watch_rec {
    struct bytes key, range_end;
    int64_t start_revision;
    uint64_t begin;
    size_t first_told, last_told;
};

struct history_key {
    struct hmap_node node;
    struct bytes bytes;
    size_t number;
};

/* A growing array of T. */
#define HISTORY_ARRAY(T)                                                                           \
    struct {                                                                                       \
        T *v; /* owned */                                                                          \
        size_t n, cap;                                                                             \
    }

struct history {
    struct arena arena; /* all bytes and keys */
    struct hmap keys;   /* struct history_key */
    HISTORY_ARRAY(struct history_key *) key_list;
    HISTORY_ARRAY(struct history_change_rec) truth;
    HISTORY_ARRAY(struct history_change_rec) events; /* of all batches, one after the other */
    HISTORY_ARRAY(struct history_call_rec) calls;
    HISTORY_ARRAY(struct history_watch_rec) watches;
    HISTORY_ARRAY(struct history_told_rec) told;
};

/* ---- times at which revisions were seen ---- */

/* Who saw what: a call (by its number) or a watch. */
struct history_sight {
    uint64_t time;
    int64_t revision;
    size_t call, watch; /* one is HISTORY_NONE */
};

/* Sights by time, each with the highest revision up to it; and by revision, each with the earliest
 * time from it on. */
struct history_clock {
    struct history_sight *by_time;     /* owned, n */
    size_t *highest;                   /* owned, n: in by_time, of [0..i] */
    struct history_sight *by_revision; /* owned, n */
    size_t *earliest;                  /* owned, n: in by_revision, of [i..n) */
    size_t n;
};

/* Takes sights, an array of n from malloc. */
void history_clock_init(struct history_clock *c, struct history_sight *sights_consume, size_t n);
void history_clock_deinit(struct history_clock *c);
/* The sight of the highest revision among those before time; NULL when there is none. */
const struct history_sight *history_clock_before(const struct history_clock *c, uint64_t time);
/* The first sight of revision or a later one; NULL when nobody saw it. */
const struct history_sight *history_clock_first(const struct history_clock *c, int64_t revision);

/* ---- one verdict ---- */

struct history_check {
    const struct history *h;
    const struct history_rules *rules;
    struct err *err;
    struct arena words;
    /* the truth */
    int64_t last;        /* its last revision; 1 when it is empty */
    size_t *first;       /* owned: first change of revision r at [r - 2], one more at the end */
    size_t *key_first;   /* owned: first of the key's changes in key_changes; one more at the end */
    size_t *key_changes; /* owned: changes by key, ascending */
    size_t *key_order;   /* owned: numbers of the keys in order of their bytes */
    struct history_clock clock;
    /* Of each call: the revision it wrote, for all we know by now; 0 = none. */
    int64_t *wrote; /* owned */
    /* Of each revision at [r - 2]: the call that wrote it, or HISTORY_NONE. */
    size_t *writer; /* owned */
};

/* Fails with a violation unless the truth has no gap. */
int history_truth_index(struct history_check *x);
/* The changes of revision r, which is in [2, last]. */
static inline size_t history_group(const struct history_check *x, int64_t r, size_t *ret_n)
{
    size_t first = x->first[r - 2];

    *ret_n = x->first[r - 1] - first;
    return first;
}
/* The newest change of the key up to revision r, a put or a delete; NULL when there is none. */
const struct history_change_rec *history_last_change(
    const struct history_check *x, size_t key, int64_t r);
/* Its mod_revision at r, 0 when it is not there. */
int64_t history_mod_revision(const struct history_check *x, size_t key, int64_t r);

/* The changes of a range from a revision on, in the order of the truth. */
struct history_cursor {
    const struct history_check *x;
    struct history_cursor_key {
        size_t at, end; /* in key_changes */
    } * heap;           /* owned; the least change on top */
    size_t n;
};

void history_cursor_init(struct history_cursor *c, const struct history_check *x, struct bytes key,
    struct bytes range_end, int64_t start_revision);
void history_cursor_deinit(struct history_cursor *c);
#define _cleanup_history_cursor_ _cleanup_(history_cursor_deinit)
/* NULL when there is no more. */
const struct history_change_rec *history_cursor_peek(const struct history_cursor *c);
void history_cursor_next(struct history_cursor *c);

/* The parts of the verdict, each 0 or DECREE_ECORRUPT (-EINVAL: a value used twice). Calls come
 * first: they find out who wrote what. */
int history_check_calls(struct history_check *x);
int history_check_leases(struct history_check *x);
int history_check_watches(struct history_check *x);

static inline bool history_is_write(const struct history_call_rec *c)
{
    return c->r.outcome == HISTORY_OK &&
        (c->c.kind == HISTORY_PUT || (c->c.kind == HISTORY_DELETE && c->r.found) ||
            (c->c.kind == HISTORY_CAS && c->r.succeeded));
}

/* Could it have written revision r, seen from the time at which it began? */
bool history_may_write(const struct history_check *x, size_t call, int64_t r);

/* ---- words ---- */

/* A violation: "call 7 (get "a", 10..20): …". Returns DECREE_ECORRUPT. */
_printf_(3, 4) int history_blame_call(struct history_check *x, size_t call, const char *fmt, ...);
_printf_(3, 4) int history_blame_watch(struct history_check *x, size_t watch, const char *fmt, ...);
_printf_(3, 4) int history_blame_revision(
    struct history_check *x, int64_t revision, const char *fmt, ...);

/* Text that lives until the verdict is over: for the above. */
const char *history_show_bytes(struct history_check *x, struct bytes b);
const char *history_show_call(struct history_check *x, size_t call);
const char *history_show_change(struct history_check *x, const struct history_change_rec *c);
const char *history_show_sight(struct history_check *x, const struct history_sight *s);

#endif
