/* Memory of one request or one render: bump allocation, freed as a whole, with a ceiling. */
#ifndef DECREE_BASE_ARENA_H
#define DECREE_BASE_ARENA_H

#include "alloc.h"
#include "bytes.h"

struct arena_block;

struct arena {
    struct arena_block *blocks; /* owned, newest first */
    size_t used;                /* bytes handed out so far */
    size_t limit;               /* bytes that may be handed out; 0 = no ceiling */
};

static inline void arena_init(struct arena *a, size_t limit)
{
    *a = (struct arena){.limit = limit};
}
void arena_deinit(struct arena *a);
/* Forgets everything handed out; keeps one block for the next use. */
void arena_reset(struct arena *a);
#define _cleanup_arena_ _cleanup_(arena_deinit)

/* 16-byte aligned, uninitialised; NULL only when the ceiling would be passed. */
void *arena_alloc(struct arena *a, size_t size);
void *arena_calloc(struct arena *a, size_t n, size_t size);
/* A copy with a NUL behind it. data is NULL only when the ceiling would be passed. */
struct bytes arena_copy(struct arena *a, struct bytes b);

#endif
