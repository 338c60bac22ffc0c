#include "value.h"

static const struct {
    const char *name;
    enum value_kind kind;
} types[] = {
#define X(name, text, kind) {text, KIND_##kind},
    VALUE_TYPES(X)
#undef X
};

enum value_kind value_kind(const struct value *v)
{
    return types[v->type].kind;
}

const char *value_type_name(enum value_type type)
{
    return types[type].name;
}

bool value_truth(const struct value *v)
{
    switch (value_kind(v)) {
    case KIND_NONE:
        return false;
    case KIND_BOOL:
        return v->u.b;
    case KIND_INT:
    case KIND_UINT:
        return v->u.i != 0;
    case KIND_FLOAT:
        return v->u.f != 0;
    case KIND_STRING:
        return v->u.s.len != 0;
    case KIND_LIST:
        return v->u.list->len != 0;
    case KIND_MAP:
        return v->u.map->len != 0;
    case KIND_STRUCT:
        return true; /* even an empty one */
    }
    return false;
}

struct value_list *value_list_new(struct arena *a, size_t n)
{
    struct value_list *list = arena_alloc(a, sizeof(*list));

    if (list == NULL) {
        return NULL;
    }
    list->len = n;
    list->items = arena_calloc(a, n, sizeof(*list->items));
    return list->items != NULL ? list : NULL;
}

static int compare_entries(const void *left, const void *right)
{
    const struct value_map_entry *a = left, *b = right;
    int c = bytes_cmp(a->key, b->key);

    return c != 0 ? c : (a->order > b->order) - (a->order < b->order);
}

struct value_map *value_map_new(struct arena *a, struct value_map_entry *entries, size_t n)
{
    struct value_map *m = arena_alloc(a, sizeof(*m));
    size_t kept = 0;

    if (m == NULL) {
        return NULL;
    }
    if (n > 1) {
        qsort(entries, n, sizeof(*entries), compare_entries);
    }
    for (size_t i = 0; i < n; i++) {
        if (i + 1 == n || !bytes_eq(entries[i].key, entries[i + 1].key)) {
            entries[kept++] = entries[i];
        }
    }
    *m = (struct value_map){.entries = entries, .len = kept};
    return m;
}

const struct value *value_map_get(const struct value_map *m, struct bytes key)
{
    size_t low = 0, high = m->len;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int c = bytes_cmp(m->entries[mid].key, key);

        if (c == 0) {
            return &m->entries[mid].value;
        }
        if (c < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return NULL;
}

struct value value_list_at(const struct value *list, size_t i)
{
    struct value v = list->u.list->items[i];

    v.boxed = list->type == VALUE_ANYS;
    return v;
}
