/* A view of bytes somebody else owns. Keys and values are bytes, never C strings. */
#ifndef DECREE_BASE_BYTES_H
#define DECREE_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const uint8_t *data; /* borrowed; NULL only when len is 0 */
    size_t len;
};

#define BYTES_LITERAL(s) ((struct bytes){(const uint8_t *)(s), sizeof(s) - 1})

static inline struct bytes bytes_make(const void *data, size_t len)
{
    return (struct bytes){(const uint8_t *)data, len};
}

static inline struct bytes bytes_str(const char *s)
{
    return bytes_make(s, strlen(s));
}

/* Bytewise order, a prefix before what it begins: the order of keys on every wire. */
static inline int bytes_cmp(struct bytes a, struct bytes b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n != 0 ? memcmp(a.data, b.data, n) : 0;

    return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}

static inline bool bytes_eq(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool bytes_starts_with(struct bytes s, struct bytes prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.data, prefix.data, prefix.len) == 0);
}

/* A seeded 64-bit hash for tables that hold what clients choose. Not for anything durable. */
uint64_t bytes_hash(struct bytes b);
/* Takes the place of the seed that the process drew: for runs that must be the same each time. Before
 * the first hash. */
void bytes_hash_seed(uint64_t a, uint64_t b);

#endif
