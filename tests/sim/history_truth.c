/* The truth by revision and by key, and the clock: what answers the questions of the verdict. */
#include "history_internal.h"

#include <inttypes.h>

/* ---- the truth ---- */

static int check_order(struct history_check *x)
{
    const struct history *h = x->h;

    x->last = 1;
    for (size_t i = 0; i < h->truth.n; i++) {
        int64_t r = h->truth.v[i].revision;

        if (r != x->last + 1 && (i == 0 || r != x->last)) {
            return history_blame_revision(
                x, r, "follows revision %" PRId64 " in the truth", x->last);
        }
        x->last = r;
    }
    return 0;
}

static void index_keys(struct history_check *x)
{
    const struct history *h = x->h;
    size_t *next;

    x->key_first = xcalloc(h->key_list.n + 1, sizeof(size_t));
    x->key_changes = xcalloc(h->truth.n + 1, sizeof(size_t));
    for (size_t i = 0; i < h->truth.n; i++) {
        x->key_first[h->truth.v[i].key + 1]++;
    }
    for (size_t k = 0; k < h->key_list.n; k++) {
        x->key_first[k + 1] += x->key_first[k];
    }
    next = xmemdup(x->key_first, (h->key_list.n + 1) * sizeof(size_t));
    for (size_t i = 0; i < h->truth.n; i++) {
        x->key_changes[next[h->truth.v[i].key]++] = i;
    }
    free(next);
}

static int cmp_keys(const void *a, const void *b, void *data)
{
    const struct history *h = data;

    return bytes_cmp(
        h->key_list.v[*(const size_t *)a]->bytes, h->key_list.v[*(const size_t *)b]->bytes);
}

int history_truth_index(struct history_check *x)
{
    const struct history *h = x->h;
    int err = check_order(x);

    if (err < 0) {
        return err;
    }
    x->first = xcalloc((size_t)x->last, sizeof(size_t));
    for (size_t i = h->truth.n; i-- > 0;) {
        x->first[h->truth.v[i].revision - 2] = i;
    }
    x->first[x->last - 1] = h->truth.n;
    index_keys(x);
    x->key_order = xcalloc(h->key_list.n + 1, sizeof(size_t));
    for (size_t k = 0; k < h->key_list.n; k++) {
        x->key_order[k] = k;
    }
    qsort_r(x->key_order, h->key_list.n, sizeof(size_t), cmp_keys, (void *)(uintptr_t)h);
    return 0;
}

/* The first of the key's changes, as a place in key_changes, at revision r or later. */
static size_t key_lower_bound(const struct history_check *x, size_t key, int64_t r)
{
    size_t lo = x->key_first[key], hi = x->key_first[key + 1];

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (x->h->truth.v[x->key_changes[mid]].revision < r) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

const struct history_change_rec *history_last_change(
    const struct history_check *x, size_t key, int64_t r)
{
    size_t at = key_lower_bound(x, key, r + 1);

    return at == x->key_first[key] ? NULL : &x->h->truth.v[x->key_changes[at - 1]];
}

int64_t history_mod_revision(const struct history_check *x, size_t key, int64_t r)
{
    const struct history_change_rec *c = history_last_change(x, key, r);

    return c == NULL || c->is_delete ? 0 : c->revision;
}

/* ---- cursor: the lists of the range's keys, merged ---- */

static size_t change_at(const struct history_cursor *c, size_t i)
{
    return c->x->key_changes[c->heap[i].at];
}

static void sift_down(struct history_cursor *c, size_t i)
{
    for (;;) {
        size_t least = i;

        for (size_t child = 2 * i + 1; child < MIN(2 * i + 3, c->n); child++) {
            if (change_at(c, child) < change_at(c, least)) {
                least = child;
            }
        }
        if (least == i) {
            return;
        }
        struct history_cursor_key k = c->heap[i];

        c->heap[i] = c->heap[least];
        c->heap[least] = k;
        i = least;
    }
}

/* The first key, as a place in key_order, that is not below b. */
static size_t order_lower_bound(const struct history_check *x, struct bytes b)
{
    size_t lo = 0, hi = x->h->key_list.n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (bytes_cmp(x->h->key_list.v[x->key_order[mid]]->bytes, b) < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

/* Places in key_order, as a request means it: no range_end is one key, "\0" all from the key on. */
static void range_places(const struct history_check *x, struct bytes key, struct bytes range_end,
    size_t *ret_lo, size_t *ret_hi)
{
    *ret_lo = order_lower_bound(x, key);
    if (range_end.len == 0) {
        *ret_hi = *ret_lo;
        if (*ret_lo < x->h->key_list.n &&
            bytes_eq(x->h->key_list.v[x->key_order[*ret_lo]]->bytes, key)) {
            *ret_hi = *ret_lo + 1;
        }
    } else if (bytes_eq(range_end, BYTES_LITERAL("\0"))) {
        *ret_hi = x->h->key_list.n;
    } else {
        *ret_hi = MAX(*ret_lo, order_lower_bound(x, range_end));
    }
}

void history_cursor_init(struct history_cursor *c, const struct history_check *x, struct bytes key,
    struct bytes range_end, int64_t start_revision)
{
    size_t lo, hi;

    range_places(x, key, range_end, &lo, &hi);
    *c = (struct history_cursor){.x = x};
    c->heap = xcalloc(hi - lo + 1, sizeof(*c->heap));
    for (; lo < hi; lo++) {
        size_t k = x->key_order[lo];
        struct history_cursor_key ck = {
            .at = key_lower_bound(x, k, start_revision), .end = x->key_first[k + 1]};

        if (ck.at < ck.end) {
            c->heap[c->n++] = ck;
        }
    }
    for (size_t i = c->n / 2; i-- > 0;) {
        sift_down(c, i);
    }
}

void history_cursor_deinit(struct history_cursor *c)
{
    free(c->heap);
    c->heap = NULL;
    c->n = 0;
}

const struct history_change_rec *history_cursor_peek(const struct history_cursor *c)
{
    return c->n != 0 ? &c->x->h->truth.v[change_at(c, 0)] : NULL;
}

void history_cursor_next(struct history_cursor *c)
{
    decree_assert(c->n != 0);
    if (++c->heap[0].at == c->heap[0].end) {
        c->heap[0] = c->heap[--c->n];
    }
    sift_down(c, 0);
}

/* ---- clock ---- */

static int cmp_time(const void *a, const void *b)
{
    const struct history_sight *x = a, *y = b;

    return (x->time > y->time) - (x->time < y->time);
}

static int cmp_revision(const void *a, const void *b)
{
    const struct history_sight *x = a, *y = b;

    return (x->revision > y->revision) - (x->revision < y->revision);
}

void history_clock_init(struct history_clock *c, struct history_sight *sights_consume, size_t n)
{
    *c = (struct history_clock){.by_time = sights_consume, .n = n};
    c->by_revision = xmemdup(sights_consume, n * sizeof(*sights_consume));
    c->highest = xcalloc(n + 1, sizeof(size_t));
    c->earliest = xcalloc(n + 1, sizeof(size_t));
    qsort(c->by_time, n, sizeof(*c->by_time), cmp_time);
    qsort(c->by_revision, n, sizeof(*c->by_revision), cmp_revision);
    for (size_t i = 1; i < n; i++) {
        size_t best = c->highest[i - 1];

        c->highest[i] = c->by_time[i].revision > c->by_time[best].revision ? i : best;
    }
    for (size_t i = n; i-- > 0;) {
        size_t best = i + 1 < n ? c->earliest[i + 1] : i;

        c->earliest[i] = c->by_revision[i].time < c->by_revision[best].time ? i : best;
    }
}

void history_clock_deinit(struct history_clock *c)
{
    free(c->by_time);
    free(c->by_revision);
    free(c->highest);
    free(c->earliest);
    *c = (struct history_clock){0};
}

const struct history_sight *history_clock_before(const struct history_clock *c, uint64_t time)
{
    size_t lo = 0, hi = c->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (c->by_time[mid].time < time) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo == 0 ? NULL : &c->by_time[c->highest[lo - 1]];
}

const struct history_sight *history_clock_first(const struct history_clock *c, int64_t revision)
{
    size_t lo = 0, hi = c->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (c->by_revision[mid].revision < revision) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo == c->n ? NULL : &c->by_revision[c->earliest[lo]];
}
