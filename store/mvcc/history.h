/* Every change since the last compaction, in the order of revisions: a queue of pointers to
 * versions that grows at its end, is given back at its front and is searched by revision. In
 * blocks, so that neither growing nor shrinking ever copies it. A change keeps its number. */
#ifndef DECREE_STORE_MVCC_HISTORY_H
#define DECREE_STORE_MVCC_HISTORY_H

#include "version.h"

enum { HISTORY_BLOCK = 1024 };

struct history {
    struct version ***blocks;      /* owned, as are the blocks; not the versions */
    size_t first_block, end_block; /* blocks[first_block .. end_block) are in use */
    size_t cap;                    /* of blocks */
    uint64_t base;                 /* number of the first slot of blocks[first_block] */
    uint64_t begin, end;           /* numbers of the first change and of the one after the last */
};

void history_deinit(struct history *h);
void history_push(struct history *h, struct version *v);
/* Forgets the first change. */
void history_pop(struct history *h);

static inline struct version *history_at(const struct history *h, uint64_t i)
{
    uint64_t slot = i - h->base;

    decree_assert(i >= h->begin && i < h->end);
    return h->blocks[h->first_block + slot / HISTORY_BLOCK][slot % HISTORY_BLOCK];
}

/* Number of the first change of `revision` or later; h->end when there is none. */
uint64_t history_find(const struct history *h, int64_t revision);

#endif
