/* What is durable. Batches go to the disk in order and come back in order, but the log may be cut
 * while some are under way. A late completion must then not vouch for entries that took the place
 * of the ones it wrote (the ABA of R29), so a cut lowers what every older batch stands for: entry 5
 * of term 2 written by batch 7 says nothing of entry 5 of term 3, which batch 9 writes. */
#include "buggify.h"
#include "raft_internal.h"

void raft_stable_init(struct raft_stable *s, uint64_t last)
{
    *s = (struct raft_stable){.index = last, .handed = last};
}

void raft_stable_deinit(struct raft_stable *s)
{
    free(s->batches);
    *s = (struct raft_stable){0};
}

static struct raft_batch *batch(const struct raft_stable *s, size_t i)
{
    return &s->batches[(s->head + i) & (s->cap - 1)];
}

static void grow(struct raft_stable *s)
{
    size_t cap = MAX(s->cap * 2, (size_t)8);
    struct raft_batch *batches = xreallocarray(NULL, cap, sizeof(*batches));

    for (size_t i = 0; i < s->n; i++) {
        batches[i] = *batch(s, i);
    }
    free(s->batches);
    s->batches = batches;
    s->cap = cap;
    s->head = 0;
}

void raft_stable_truncate(struct raft_stable *s, uint64_t index)
{
    s->index = MIN(s->index, index - 1);
    s->handed = MIN(s->handed, index - 1);
    for (size_t i = s->n; i > 0 && batch(s, i - 1)->last >= index; i--) {
        MARK("batch_lowered_by_truncation");
        batch(s, i - 1)->last = index - 1;
    }
}

void raft_stable_reset(struct raft_stable *s, uint64_t index)
{
    raft_stable_truncate(s, 1);
    s->index = s->handed = index;
}

uint64_t raft_stable_take(struct raft_stable *s, uint64_t last)
{
    if (!s->hard_dirty && s->handed == last) {
        return 0;
    }
    if (s->n == s->cap) {
        grow(s);
    }
    if (s->n == 0) {
        s->stalled_ticks = 0;
    }
    s->seq++;
    s->handed = last;
    *batch(s, s->n++) = (struct raft_batch){.seq = s->seq, .last = last};
    if (s->hard_dirty) {
        s->hard_dirty = false;
        s->hard_seq = s->seq;
    }
    return s->seq;
}

void raft_stable_done(struct raft_stable *s, uint64_t seq)
{
    decree_assert(seq <= s->seq);
    while (s->n > 0 && batch(s, 0)->seq <= seq) {
        s->index = MAX(s->index, batch(s, 0)->last);
        s->done = batch(s, 0)->seq;
        s->head = (s->head + 1) & (s->cap - 1);
        s->n--;
        s->stalled_ticks = 0;
    }
}
