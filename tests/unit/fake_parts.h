/* Replies in parts (store.h), for fake_store.c. */
#ifndef DECREE_TESTS_FAKE_PARTS_H
#define DECREE_TESTS_FAKE_PARTS_H

#include "store.h"

struct fake_parts {
    size_t kvs;         /* lists longer than this come in parts of as many; 0: none do */
    struct list giving; /* replies on their way */
};

/* False: this one comes at once. Else the call will be answered, and the reply's arrays are taken
 * over with their arena; what they point to may go. */
bool fake_parts_take(struct fake_parts *p, struct store_call *c, struct arena *arena,
    const struct store_reply *reply);
/* A part of each. Returns how many calls have been answered instead, as they had no part left. */
size_t fake_parts_step(struct fake_parts *p);
/* False: no reply to it is on its way. */
bool fake_parts_cancel(struct fake_parts *p, const struct store_call *call);

#endif
