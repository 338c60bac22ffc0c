#include "arena.h"

enum { ARENA_ALIGN = 16, ARENA_BLOCK_MIN = 4096, ARENA_BLOCK_MAX = 1 << 20 };

struct arena_block {
    struct arena_block *next;
    size_t size, used; /* bytes of data */
    _Alignas(ARENA_ALIGN) uint8_t data[];
};

static void free_from(struct arena_block *b)
{
    while (b != NULL) {
        struct arena_block *next = b->next;

        free(b);
        b = next;
    }
}

void arena_deinit(struct arena *a)
{
    free_from(a->blocks);
    *a = (struct arena){.limit = a->limit};
}

void arena_reset(struct arena *a)
{
    struct arena_block *keep = a->blocks;

    if (keep != NULL) {
        free_from(keep->next);
        keep->next = NULL;
        keep->used = 0;
    }
    a->used = 0;
}

static struct arena_block *new_block(const struct arena *a, size_t size)
{
    size_t room = a->blocks != NULL ? MIN(a->blocks->size * 2, (size_t)ARENA_BLOCK_MAX)
                                    : (size_t)ARENA_BLOCK_MIN;
    struct arena_block *b;

    room = MAX(room, size);
    b = xmalloc(sizeof(*b) + room);
    b->size = room;
    b->used = 0;
    return b;
}

void *arena_alloc(struct arena *a, size_t size)
{
    struct arena_block *b = a->blocks;
    void *p;

    if (size > SIZE_MAX / 2 || (a->limit != 0 && size > a->limit - MIN(a->used, a->limit))) {
        return NULL;
    }
    size = (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    size = MAX(size, (size_t)ARENA_ALIGN);
    if (b == NULL || b->size - b->used < size) {
        b = new_block(a, size);
        b->next = a->blocks;
        a->blocks = b;
    }
    p = b->data + b->used;
    b->used += size;
    a->used += size;
    return p;
}

void *arena_calloc(struct arena *a, size_t n, size_t size)
{
    size_t total;
    void *p;

    if (__builtin_mul_overflow(n, size, &total)) {
        return NULL;
    }
    p = arena_alloc(a, total);
    if (p != NULL) {
        memset(p, 0, total);
    }
    return p;
}

struct bytes arena_copy(struct arena *a, struct bytes b)
{
    uint8_t *p = arena_alloc(a, b.len + 1);

    if (p == NULL) {
        return (struct bytes){0};
    }
    if (b.len != 0) {
        memcpy(p, b.data, b.len);
    }
    p[b.len] = 0;
    return bytes_make(p, b.len);
}
