/* Entries of the mirror as a sorted array: lookups and walks are what renders are made of, and an
 * insertion into 100,000 pointers moves less than a megabyte. */
#ifndef DECREE_AGENT_MIRROR_ENTRIES_H
#define DECREE_AGENT_MIRROR_ENTRIES_H

#include "mirror.h"

struct mirror_entries {
    struct mirror_entry **at; /* owned, ascending by key */
    size_t n, cap;
};

struct mirror_entry *mirror_entry_new(struct bytes key, struct bytes value, int64_t mod_revision);
bool mirror_entry_same_value(const struct mirror_entry *a, const struct mirror_entry *b);

/* Index of the first entry whose key is not below key. */
size_t mirror_entries_lower_bound(const struct mirror_entries *es, struct bytes key);
/* The entry of key, its index in ret_i; NULL when there is none, and it would be inserted there. */
struct mirror_entry *mirror_entries_find(
    const struct mirror_entries *es, struct bytes key, size_t *ret_i);
/* e becomes the array's. */
void mirror_entries_insert(struct mirror_entries *es, size_t i, struct mirror_entry *e);
/* Takes the entry out; it is the caller's. */
struct mirror_entry *mirror_entries_take(struct mirror_entries *es, size_t i);
/* Empties it. */
void mirror_entries_clear(struct mirror_entries *es);

#endif
