/* What one render looked at: only a change of one of these makes the file dirty again. Exact keys
 * are kept as 64-bit hashes: two that share one cost a render that changes nothing, once in ages.
 */
#ifndef DECREE_AGENT_READSET_H
#define DECREE_AGENT_READSET_H

#include "buf.h"

struct readset {
    uint64_t *hashes;        /* owned; open addressing, 0 = free */
    size_t n, cap;           /* cap is a power of two or 0 */
    struct strbuf *prefixes; /* owned, each one a prefix */
    size_t n_prefixes;
};

void readset_deinit(struct readset *s);
/* Forgets everything and keeps the room. */
void readset_clear(struct readset *s);
void readset_add_key(struct readset *s, struct bytes key);
void readset_add_prefix(struct readset *s, struct bytes prefix);
bool readset_has(const struct readset *s, struct bytes key);

#endif
