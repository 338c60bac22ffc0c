#include "readset.h"

/* 0 marks a free slot. */
static uint64_t hash_of(struct bytes key)
{
    uint64_t h = bytes_hash(key);

    return h != 0 ? h : 1;
}

void readset_deinit(struct readset *s)
{
    readset_clear(s);
    free(s->prefixes);
    free(s->hashes);
    *s = (struct readset){0};
}

void readset_clear(struct readset *s)
{
    for (size_t i = 0; i < s->n_prefixes; i++) {
        strbuf_deinit(&s->prefixes[i]);
    }
    s->n_prefixes = 0;
    if (s->n != 0) {
        memset(s->hashes, 0, s->cap * sizeof(*s->hashes));
    }
    s->n = 0;
}

/* The slot of h, or the free one where it belongs. cap must not be 0. */
static uint64_t *slot(const struct readset *s, uint64_t h)
{
    size_t i = (size_t)h & (s->cap - 1);

    while (s->hashes[i] != 0 && s->hashes[i] != h) {
        i = (i + 1) & (s->cap - 1);
    }
    return &s->hashes[i];
}

static void grow(struct readset *s)
{
    struct readset bigger = {.cap = MAX(s->cap * 2, (size_t)64)};

    bigger.hashes = xcalloc(bigger.cap, sizeof(*bigger.hashes));
    for (size_t i = 0; i < s->cap; i++) {
        if (s->hashes[i] != 0) {
            *slot(&bigger, s->hashes[i]) = s->hashes[i];
        }
    }
    free(s->hashes);
    s->hashes = bigger.hashes;
    s->cap = bigger.cap;
}

void readset_add_key(struct readset *s, struct bytes key)
{
    uint64_t h = hash_of(key);
    uint64_t *p;

    if (s->n * 2 >= s->cap) {
        grow(s);
    }
    p = slot(s, h);
    if (*p == 0) {
        *p = h;
        s->n++;
    }
}

void readset_add_prefix(struct readset *s, struct bytes prefix)
{
    for (size_t i = 0; i < s->n_prefixes; i++) {
        if (bytes_starts_with(prefix, strbuf_bytes(&s->prefixes[i]))) {
            return;
        }
    }
    s->prefixes = xreallocarray(s->prefixes, s->n_prefixes + 1, sizeof(*s->prefixes));
    strbuf_init(&s->prefixes[s->n_prefixes]);
    strbuf_append_bytes(&s->prefixes[s->n_prefixes++], prefix);
}

bool readset_has(const struct readset *s, struct bytes key)
{
    for (size_t i = 0; i < s->n_prefixes; i++) {
        if (bytes_starts_with(key, strbuf_bytes(&s->prefixes[i]))) {
            return true;
        }
    }
    return s->cap != 0 && *slot(s, hash_of(key)) != 0;
}
