/* The values a render computes with. A value is small and copied freely; what it points at lives in
 * the render's arena, or behind the environment's callbacks, until the render ends. The types are
 * those that templates meet through Go's reflection, with Go's names in messages. */
#ifndef DECREE_TEMPLATES_VALUE_H
#define DECREE_TEMPLATES_VALUE_H

#include "arena.h"
#include "bytes.h"
#include "gotime.h"

/* type, Go's name, kind */
#define VALUE_TYPES(X)                                                                             \
    X(NONE, "<invalid>", NONE)   /* missing: prints <no value> */                                  \
    X(NIL, "interface {}", NONE) /* a nil that was found: prints <nil> */                          \
    X(BOOL, "bool", BOOL)                                                                          \
    X(INT, "int", INT)                                                                             \
    X(INT64, "int64", INT)                                                                         \
    X(UINT8, "uint8", UINT)                                                                        \
    X(MONTH, "time.Month", INT)                                                                    \
    X(WEEKDAY, "time.Weekday", INT)                                                                \
    X(DURATION, "time.Duration", INT)                                                              \
    X(FLOAT, "float64", FLOAT)                                                                     \
    X(STRING, "string", STRING)                                                                    \
    X(ANYS, "[]interface {}", LIST)                                                                \
    X(STRINGS, "[]string", LIST)                                                                   \
    X(INTS, "[]int", LIST)                                                                         \
    X(PAIR_LIST, "[]memkv.KVPair", LIST)                                                           \
    X(PAIRS, "memkv.KVPairs", LIST) /* what gets yields: a type of its own in the dialect */       \
    X(MAP, "map[string]interface {}", MAP)                                                         \
    X(STRING_MAP, "map[string]string", MAP)                                                        \
    X(PAIR, "memkv.KVPair", STRUCT)                                                                \
    X(TIME, "time.Time", STRUCT)                                                                   \
    X(LOCATION, "*time.Location", STRUCT)

enum value_type {
#define X(name, text, kind) VALUE_##name,
    VALUE_TYPES(X)
#undef X
        VALUE_N_TYPES
};

enum value_kind {
    KIND_NONE,
    KIND_BOOL,
    KIND_INT,
    KIND_UINT,
    KIND_FLOAT,
    KIND_STRING,
    KIND_LIST,
    KIND_MAP,
    KIND_STRUCT,
};

struct value_list;
struct value_map;
struct value_pair;

struct value {
    enum value_type type;
    bool boxed; /* out of a list or map of anything: messages about its fields say so */
    union {
        bool b;
        int64_t i; /* the integer types, VALUE_UINT8 as well */
        double f;
        struct bytes s;
        struct value_list *list;
        const struct value_map *map;
        const struct value_pair *pair;
        const struct gotime *time; /* TIME and LOCATION */
    } u;
};

/* Shared by reference as slices are: reverse and the sorts change what every holder sees. */
struct value_list {
    struct value *items;
    size_t len;
};

struct value_map_entry {
    struct bytes key;
    struct value value;
    size_t order; /* as written; the last of equal keys wins */
};

struct value_map {
    struct value_map_entry *entries; /* ascending by key, no two equal */
    size_t len;
};

struct value_pair {
    struct bytes key, value;
};

static inline struct value value_none(void)
{
    return (struct value){.type = VALUE_NONE};
}
static inline struct value value_bool(bool b)
{
    return (struct value){.type = VALUE_BOOL, .u.b = b};
}
static inline struct value value_int(int64_t i)
{
    return (struct value){.type = VALUE_INT, .u.i = i};
}
static inline struct value value_typed_int(enum value_type type, int64_t i)
{
    return (struct value){.type = type, .u.i = i};
}
static inline struct value value_float(double f)
{
    return (struct value){.type = VALUE_FLOAT, .u.f = f};
}
static inline struct value value_string(struct bytes s)
{
    return (struct value){.type = VALUE_STRING, .u.s = s};
}

enum value_kind value_kind(const struct value *v);
const char *value_type_name(enum value_type type);
/* What if, with, and, or and not go by. */
bool value_truth(const struct value *v);
static inline bool value_is_nil(const struct value *v)
{
    return v->type == VALUE_NONE || v->type == VALUE_NIL;
}

/* NULL when the arena's ceiling is reached. items are zeroed. */
struct value_list *value_list_new(struct arena *a, size_t n);
/* Sorts n entries (order set) and drops all but the last of equal keys. entries become the map's.
 */
struct value_map *value_map_new(struct arena *a, struct value_map_entry *entries, size_t n);
/* NULL when there is no such key. */
const struct value *value_map_get(const struct value_map *m, struct bytes key);
/* Element i (boxed where the type says so). */
struct value value_list_at(const struct value *list, size_t i);

#endif
