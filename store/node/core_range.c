/* Ranges too large for one turn, read in slices at the revision at which they began.
 *
 *     served --more than a slice--> SLICING --last slice--> answered
 *                 |                    ^
 *                 `--too many--> WAITING for a place
 *
 * Those that are being read take turns, one slice in each turn of the loop for all of them
 * together, so that neither the number of keys nor of readers delays what else there is to do. The
 * owner gets each slice as it is read: nothing is kept here but the reader's place. What runs this
 * long needs no deadline of ours: it makes progress until its owner wants it no more. */
#include "core.h"

void core_ranges_init(struct store *s)
{
    list_init(&s->ranges.slicing);
    list_init(&s->ranges.waiting);
}

void core_range_close(struct store *s, struct store_call *c)
{
    c->reader_ = mvcc_reader_close(c->reader_);
    if (c->state_ == CALL_SLICING) {
        decree_assert(s->ranges.n_slicing > 0);
        s->ranges.n_slicing--;
    }
    if (mvcc_compact_done(s->mvcc) < mvcc_compacted(s->mvcc)) { /* the reader held it back */
        s->compacting = true;
        core_mark(s);
    }
}

static bool next_slice(struct store *s, struct store_call *c, struct store_reply *ret)
{
    if (s->ranges.kvs == NULL) {
        s->ranges.kvs = xcalloc(RANGE_SLICE_KEYS, sizeof(*s->ranges.kvs));
    }
    ret->header = store_header(s);
    ret->header.revision = c->revision_;
    return mvcc_reader_next(c->reader_, BUGGIFY("next_slice") ? 1 : RANGE_SLICE_KEYS,
        RANGE_SLICE_BYTES, s->ranges.kvs, &ret->range);
}

static bool give_part(struct store_call *c, const struct store_reply *reply)
{
    uint64_t n = (uint64_t)reply->range.count;

    n = c->range.limit > 0 ? MIN(n, (uint64_t)c->range.limit) : n;
    return c->part(c,
        &(struct store_part){.kvs = reply->range.kvs,
            .n = reply->range.n_kvs,
            .about = (size_t)MAX(n, UINT64_C(1))});
}

/* It has not begun to answer and needs more than one slice. */
static void stay(struct store *s, struct store_call *c, const struct store_reply *first)
{
    list_del(&c->age_);
    if (s->ranges.n_slicing == RANGES_OPEN_MAX) {
        core_range_close(s, c);
        core_call_move(s, c, CALL_SLICING_LATER, &s->ranges.waiting);
        return;
    }
    core_call_move(s, c, CALL_SLICING, &s->ranges.slicing);
    s->ranges.n_slicing++;
    (void)give_part(c, first);
}

void core_range_serve(struct store *s, struct store_call *c)
{
    struct store_reply reply;
    int err = mvcc_reader_open(s->mvcc, &c->range, &c->reader_);

    if (err < 0) {
        c->reader_ = NULL;
        core_answer(s, c, err, NULL);
        return;
    }
    c->revision_ = mvcc_revision(s->mvcc);
    if (next_slice(s, c, &reply)) {
        s->reads.keys_left -= MIN(s->reads.keys_left, (size_t)RANGE_SLICE_KEYS);
        stay(s, c, &reply);
    } else {
        s->reads.keys_left -= MIN(s->reads.keys_left, reply.range.n_kvs);
        core_answer(s, c, 0, &reply);
    }
}

void core_ranges_step(struct store *s)
{
    struct ranges *r = &s->ranges;
    struct store_reply reply;
    struct store_call *c;

    if (core_is_closed(s)) {
        return;
    }
    if (!list_empty(&r->waiting) && r->n_slicing < RANGES_OPEN_MAX) {
        core_range_serve(s, list_entry(r->waiting.next, struct store_call, link_));
        return;
    }
    if (list_empty(&r->slicing)) {
        return;
    }
    c = list_entry(r->slicing.next, struct store_call, link_);
    if (next_slice(s, c, &reply)) {
        core_call_move(s, c, CALL_SLICING, &r->slicing); /* the next one's turn */
        (void)give_part(c, &reply);
    } else {
        core_answer(s, c, 0, &reply);
    }
}

bool core_ranges_busy(const struct store *s)
{
    return !core_is_closed(s) &&
        (!list_empty(&s->ranges.slicing) || !list_empty(&s->ranges.waiting));
}

void core_ranges_fail(struct store *s, int status)
{
    struct list *lists[] = {&s->ranges.slicing, &s->ranges.waiting};

    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        while (!list_empty(lists[i])) {
            core_answer(s, list_entry(lists[i]->next, struct store_call, link_), status, NULL);
        }
    }
}

void core_ranges_deinit(struct store *s)
{
    free(s->ranges.kvs);
}
