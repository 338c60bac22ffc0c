#include "history.h"

#include "alloc.h"

void history_deinit(struct history *h)
{
    for (size_t i = h->first_block; i < h->end_block; i++) {
        free(h->blocks[i]);
    }
    free(h->blocks);
    *h = (struct history){0};
}

/* Room for one more pointer to a block: to the front again if half is free there, else doubled. */
static void make_room(struct history *h)
{
    size_t used = h->end_block - h->first_block;

    if (h->end_block < h->cap) {
        return;
    }
    if (used <= h->cap / 2 && h->first_block > 0) {
        memmove(h->blocks, h->blocks + h->first_block, used * sizeof(*h->blocks));
        h->first_block = 0;
        h->end_block = used;
        return;
    }
    h->cap = h->cap != 0 ? h->cap * 2 : 8;
    h->blocks = xreallocarray(h->blocks, h->cap, sizeof(*h->blocks));
}

void history_push(struct history *h, struct version *v)
{
    uint64_t slot = h->end - h->base;

    if (h->first_block + slot / HISTORY_BLOCK == h->end_block) {
        make_room(h);
        h->blocks[h->end_block++] = xmalloc(HISTORY_BLOCK * sizeof(**h->blocks));
    }
    h->blocks[h->first_block + slot / HISTORY_BLOCK][slot % HISTORY_BLOCK] = v;
    h->end++;
}

void history_pop(struct history *h)
{
    decree_assert(h->begin < h->end);
    h->begin++;
    if (h->begin - h->base == HISTORY_BLOCK) {
        free(h->blocks[h->first_block++]);
        h->base += HISTORY_BLOCK;
    }
}

uint64_t history_find(const struct history *h, int64_t revision)
{
    uint64_t lo = h->begin, hi = h->end;

    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;

        if (history_at(h, mid)->mod < revision) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}
