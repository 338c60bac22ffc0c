#include "mirror_entries.h"

struct mirror_entry *mirror_entry_new(struct bytes key, struct bytes value, int64_t mod_revision)
{
    struct mirror_entry *e;

    decree_assert(key.len < UINT32_MAX && value.len < UINT32_MAX);
    e = xmalloc(sizeof(*e) + key.len + value.len);
    e->mod_revision = mod_revision;
    e->key_len = (uint32_t)key.len;
    e->value_len = (uint32_t)value.len;
    memcpy(e->data, key.data, key.len);
    if (value.len != 0) {
        memcpy(e->data + key.len, value.data, value.len);
    }
    return e;
}

bool mirror_entry_same_value(const struct mirror_entry *a, const struct mirror_entry *b)
{
    return bytes_eq(mirror_value(a), mirror_value(b));
}

size_t mirror_entries_lower_bound(const struct mirror_entries *es, struct bytes key)
{
    size_t lo = 0, hi = es->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (bytes_cmp(mirror_key(es->at[mid]), key) < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

struct mirror_entry *mirror_entries_find(
    const struct mirror_entries *es, struct bytes key, size_t *ret_i)
{
    size_t i = mirror_entries_lower_bound(es, key);

    *ret_i = i;
    return i < es->n && bytes_eq(mirror_key(es->at[i]), key) ? es->at[i] : NULL;
}

void mirror_entries_insert(struct mirror_entries *es, size_t i, struct mirror_entry *e)
{
    if (es->n == es->cap) {
        es->cap = MAX(es->cap * 2, (size_t)64);
        es->at = xreallocarray(es->at, es->cap, sizeof(*es->at));
    }
    memmove(es->at + i + 1, es->at + i, (es->n - i) * sizeof(*es->at));
    es->at[i] = e;
    es->n++;
}

struct mirror_entry *mirror_entries_take(struct mirror_entries *es, size_t i)
{
    struct mirror_entry *e = es->at[i];

    es->n--;
    memmove(es->at + i, es->at + i + 1, (es->n - i) * sizeof(*es->at));
    return e;
}

void mirror_entries_clear(struct mirror_entries *es)
{
    for (size_t i = 0; i < es->n; i++) {
        free(es->at[i]);
    }
    free(es->at);
    *es = (struct mirror_entries){0};
}
