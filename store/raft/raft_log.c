/* The log in memory: one array with room on both sides. Appending and cutting work at its end,
 * compaction only moves its beginning, and entries lie side by side, so that a persist batch and an
 * append to a follower are slices of it and nothing is copied. The space before the beginning is
 * used again once it is at least as large as what is left: each entry is moved O(1) times. */
#include "raft_internal.h"

enum { LOG_SLOTS_MIN = 64 };

void raft_log_init(struct raft_log *l, struct raft_entry_id before)
{
    *l = (struct raft_log){.before = before};
}

static void release(struct raft_log *l, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        buf_unref(l->slots[i].payload);
    }
}

void raft_log_deinit(struct raft_log *l)
{
    release(l, l->dead, l->head + l->n);
    free(l->slots);
    *l = (struct raft_log){0};
}

uint64_t raft_log_term(const struct raft_log *l, uint64_t index)
{
    if (index == l->before.index) {
        return l->before.term;
    }
    if (index < l->before.index || index > raft_log_last(l)) {
        return 0;
    }
    return raft_log_at(l, index)->id.term;
}

struct raft_entry_id raft_log_last_id(const struct raft_log *l)
{
    return l->n != 0 ? l->slots[l->head + l->n - 1].id : l->before;
}

bool raft_log_has(const struct raft_log *l, struct raft_entry_id id)
{
    return id.index >= l->before.index && id.index <= raft_log_last(l) &&
        raft_log_term(l, id.index) == id.term;
}

void raft_log_append(struct raft_log *l, const struct raft_entry *e)
{
    decree_assert(e->id.index == raft_log_last(l) + 1);
    decree_assert(e->id.term >= raft_log_last_id(l).term);
    if (l->head + l->n == l->cap) {
        l->cap = MAX(l->cap * 2, (size_t)LOG_SLOTS_MIN);
        l->slots = xreallocarray(l->slots, l->cap, sizeof(*l->slots));
    }
    l->slots[l->head + l->n] = *e;
    buf_ref(e->payload);
    l->n++;
}

void raft_log_truncate(struct raft_log *l, uint64_t index)
{
    size_t keep = (size_t)(index - raft_log_first(l));

    decree_assert(index > l->before.index && index <= raft_log_last(l));
    release(l, l->head + keep, l->head + l->n);
    l->n = keep;
}

void raft_log_compact(struct raft_log *l, uint64_t keep_from)
{
    size_t gone = (size_t)(keep_from - raft_log_first(l));

    decree_assert(keep_from > l->before.index && keep_from <= raft_log_last(l) + 1);
    if (gone != 0) {
        l->before = raft_log_at(l, keep_from - 1)->id;
        l->head += gone;
        l->n -= gone;
    }
}

void raft_log_reap(struct raft_log *l)
{
    if (l->dead == l->head) {
        return;
    }
    release(l, l->dead, l->head);
    l->dead = l->head;
    if (l->head < MAX(l->n, (size_t)LOG_SLOTS_MIN)) {
        return;
    }
    memmove(l->slots, l->slots + l->head, l->n * sizeof(*l->slots));
    l->dead = l->head = 0;
    if (l->cap > LOG_SLOTS_MIN && l->n < l->cap / 4) {
        l->cap /= 2;
        l->slots = xreallocarray(l->slots, l->cap, sizeof(*l->slots));
    }
}

void raft_log_reset(struct raft_log *l, struct raft_entry_id before)
{
    release(l, l->dead, l->head + l->n);
    l->dead = l->head = l->n = 0;
    l->before = before;
}

struct raft_entry_id raft_log_find(const struct raft_log *l, struct raft_entry_id id)
{
    uint64_t low = l->before.index; /* the answer is not below */
    uint64_t high = MIN(id.index, raft_log_last(l));

    /* Terms never go down along the log, so halving finds the last one that is small enough. */
    while (low < high) {
        uint64_t mid = low + (high - low + 1) / 2;

        if (raft_log_term(l, mid) <= id.term) {
            low = mid;
        } else {
            high = mid - 1;
        }
    }
    return (struct raft_entry_id){.term = raft_log_term(l, low), .index = low};
}
