/* The versions of a reply whose order is not that of the keys, or which begins at their end: all of
 * them, or the first `max` in the order. Everything but the last pop of a sort is a few
 * comparisons, so that a million of them can be sorted between other work. */
#ifndef DECREE_STORE_MVCC_RANGE_PICK_H
#define DECREE_STORE_MVCC_RANGE_PICK_H

#include "version.h"

struct range_pick {
    const struct version **v; /* owned */
    size_t n, cap, max;
    uint64_t seen; /* how many were offered */
    enum sort_target target;
    bool descend;
    size_t heap; /* while it is sorted: v[0..heap) is still a heap */
};

void range_pick_deinit(struct range_pick *p);
/* Takes one more; they come in the order of their keys. (In any order with SORT_TARGET_END: then
 * they are sorted by their keys.) */
void range_pick_add(struct range_pick *p, const struct version *v);
/* All have been added. */
void range_pick_end(struct range_pick *p);
/* Sorts on, about `steps` elements; true while more is to be done. */
bool range_pick_sort(struct range_pick *p, size_t steps);
/* Element i of the sorted ones. */
const struct version *range_pick_at(const struct range_pick *p, size_t i);

#endif
