/* The confd dialect's functions on strings, lists, numbers and the host. */
#include "format.h"
#include "function.h"
#include "gonum.h"
#include "gopath.h"
#include "gotext.h"

static bool return_scratch(struct render *r, struct value *ret)
{
    return return_copy(r, strbuf_bytes(&r->scratch), ret);
}

/* ---- paths ---- */

static bool function_base(struct render *r _unused_, const struct call *c, struct value *ret)
{
    *ret = value_string(path_base(c->args[0].u.s));
    return true;
}

static bool function_dir(struct render *r, const struct call *c, struct value *ret)
{
    path_dir(&r->scratch, c->args[0].u.s);
    return return_scratch(r, ret);
}

/* ---- strings ---- */

static size_t count_parts(struct bytes s, struct bytes separator)
{
    size_t n = 1;

    if (separator.len == 0) {
        return text_rune_count(s);
    }
    for (size_t at = bytes_find(s, separator, 0); at < s.len;
         at = bytes_find(s, separator, at + separator.len)) {
        n++;
    }
    return n;
}

static bool function_split(struct render *r, const struct call *c, struct value *ret)
{
    struct bytes s = c->args[0].u.s, separator = c->args[1].u.s;
    size_t n = count_parts(s, separator), at = 0;

    if (!render_steps_left(r, n) || !return_list(r, VALUE_STRINGS, n, ret)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        size_t end;

        if (separator.len == 0) { /* into characters */
            (void)text_decode(bytes_from(s, at), &end);
            end += at;
        } else {
            end = bytes_find(s, separator, at);
        }
        ret->u.list->items[i] = value_string(bytes_make(s.data + at, end - at));
        at = end + separator.len;
    }
    return true;
}

static bool function_join(struct render *r, const struct call *c, struct value *ret)
{
    const struct value_list *list = c->args[0].u.list;
    struct bytes separator = c->args[1].u.s;

    for (size_t i = 0; i < list->len; i++) {
        size_t room = render_memory_left(r);

        if (i > 0) {
            strbuf_append_bytes(&r->scratch, separator);
        }
        if (!format_values(&r->scratch, room, FORMAT_PRINT, &list->items[i], 1)) {
            return call_fail_memory(r);
        }
    }
    return return_scratch(r, ret);
}

static bool map_case(struct render *r, struct bytes s, uint32_t (*map)(uint32_t), struct value *ret)
{
    size_t width;

    for (size_t i = 0; i < s.len; i += width) {
        text_append_rune(&r->scratch, map(text_decode(bytes_from(s, i), &width)));
    }
    return return_scratch(r, ret);
}

static bool function_to_upper(struct render *r, const struct call *c, struct value *ret)
{
    return map_case(r, c->args[0].u.s, rune_to_upper, ret);
}

static bool function_to_lower(struct render *r, const struct call *c, struct value *ret)
{
    return map_case(r, c->args[0].u.s, rune_to_lower, ret);
}

static bool function_contains(struct render *r _unused_, const struct call *c, struct value *ret)
{
    struct bytes s = c->args[0].u.s, part = c->args[1].u.s;

    *ret = value_bool(part.len == 0 || bytes_find(s, part, 0) < s.len);
    return true;
}

/* How far to the next place to replace: with an empty `old`, behind each character. */
static size_t next_match(struct bytes s, struct bytes old, size_t at, bool first)
{
    size_t width;

    if (old.len > 0) {
        return bytes_find(s, old, at);
    }
    if (first) {
        return at;
    }
    (void)text_decode(bytes_from(s, at), &width);
    return at + width;
}

static bool function_replace(struct render *r, const struct call *c, struct value *ret)
{
    struct bytes s = c->args[0].u.s, old = c->args[1].u.s, by = c->args[2].u.s;
    int64_t limit = c->args[3].u.i;
    size_t at = 0, max = render_memory_left(r);

    for (int64_t n = 0; limit < 0 || n < limit; n++) {
        size_t match = next_match(s, old, at, n == 0);

        if (old.len > 0 ? match >= s.len : n > 0 && at >= s.len) {
            break;
        }
        strbuf_append(&r->scratch, s.data + at, match - at);
        strbuf_append_bytes(&r->scratch, by);
        at = match + old.len;
        if (r->scratch.len > max) {
            return call_fail_memory(r);
        }
    }
    strbuf_append(&r->scratch, s.data + at, s.len - at);
    return return_scratch(r, ret);
}

static bool function_trim_suffix(struct render *r _unused_, const struct call *c, struct value *ret)
{
    struct bytes s = c->args[0].u.s, suffix = c->args[1].u.s;

    *ret = c->args[0];
    if (s.len >= suffix.len &&
        bytes_eq(bytes_make(s.data + s.len - suffix.len, suffix.len), suffix)) {
        ret->u.s.len -= suffix.len;
    }
    return true;
}

/* "strconv.NAME: parsing "s": why" */
static bool fail_parsing(struct render *r, const char *name, struct bytes s, const char *why)
{
    _cleanup_strbuf_ struct strbuf quoted = {0};

    text_quote(&quoted, s, false);
    return call_fail(r, "strconv.%s: parsing %s: %s", name, strbuf_cstr(&quoted), why);
}

static bool function_parse_bool(struct render *r, const struct call *c, struct value *ret)
{
    static const char *const words[] = {
        "1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"};

    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (bytes_eq(c->args[0].u.s, bytes_str(words[i]))) {
            *ret = value_bool(i < ARRAY_SIZE(words) / 2);
            return true;
        }
    }
    return fail_parsing(r, "ParseBool", c->args[0].u.s, "invalid syntax");
}

/* ---- numbers ---- */

static bool function_atoi(struct render *r, const struct call *c, struct value *ret)
{
    bool range = false;
    int64_t i;

    if (!num_parse_int(c->args[0].u.s, 10, &i, &range)) {
        return fail_parsing(
            r, "Atoi", c->args[0].u.s, range ? "value out of range" : "invalid syntax");
    }
    *ret = value_int(i);
    return true;
}

/* Go's int wraps around. */
static bool function_add(struct render *r _unused_, const struct call *c, struct value *ret)
{
    *ret = value_int((int64_t)((uint64_t)c->args[0].u.i + (uint64_t)c->args[1].u.i));
    return true;
}

static bool function_sub(struct render *r _unused_, const struct call *c, struct value *ret)
{
    *ret = value_int((int64_t)((uint64_t)c->args[0].u.i - (uint64_t)c->args[1].u.i));
    return true;
}

static bool function_mul(struct render *r _unused_, const struct call *c, struct value *ret)
{
    *ret = value_int((int64_t)((uint64_t)c->args[0].u.i * (uint64_t)c->args[1].u.i));
    return true;
}

static const char divided_by_zero[] = "runtime error: integer divide by zero";

static bool function_div(struct render *r, const struct call *c, struct value *ret)
{
    int64_t a = c->args[0].u.i, b = c->args[1].u.i;

    if (b == 0) {
        return call_fail(r, "%s", divided_by_zero);
    }
    *ret = value_int(b == -1 ? (int64_t)(0 - (uint64_t)a) : a / b);
    return true;
}

static bool function_mod(struct render *r, const struct call *c, struct value *ret)
{
    int64_t a = c->args[0].u.i, b = c->args[1].u.i;

    if (b == 0) {
        return call_fail(r, "%s", divided_by_zero);
    }
    *ret = value_int(b == -1 ? 0 : a % b);
    return true;
}

static bool function_seq(struct render *r, const struct call *c, struct value *ret)
{
    int64_t first = c->args[0].u.i, last = c->args[1].u.i;
    uint64_t n = first > last ? 0 : (uint64_t)last - (uint64_t)first;

    n += first <= last && n != UINT64_MAX;
    if (!render_steps_left(r, n)) {
        return false;
    }
    if (n > SIZE_MAX / sizeof(struct value)) {
        return call_fail_memory(r);
    }
    if (!return_list(r, VALUE_INTS, n, ret)) {
        return false;
    }
    for (uint64_t i = 0; i < n; i++) {
        ret->u.list->items[i] = value_int(first + (int64_t)i);
    }
    return true;
}

/* ---- lists and maps ---- */

static bool function_map(struct render *r, const struct call *c, struct value *ret)
{
    size_t n = c->n / 2;
    struct value_map_entry *entries;

    if (c->n % 2 != 0) {
        return call_fail(r, "invalid map call");
    }
    entries = arena_calloc(&r->arena, n, sizeof(*entries));
    if (entries == NULL) {
        return call_fail_memory(r);
    }
    for (size_t i = 0; i < n; i++) {
        if (c->args[2 * i].type != VALUE_STRING) {
            return call_fail(r, "map keys must be strings");
        }
        entries[i] = (struct value_map_entry){c->args[2 * i].u.s, c->args[2 * i + 1], i};
    }
    *ret = (struct value){.type = VALUE_MAP, .u.map = value_map_new(&r->arena, entries, n)};
    return ret->u.map != NULL || call_fail_memory(r);
}

/* In place, and only for the two plain list types: what gets yields has a type of its own and
 * stays as it is, an accident of the dialect (the lint warns of it). */
static bool function_reverse(struct render *r, const struct call *c, struct value *ret)
{
    const struct value *v = &c->args[0];

    *ret = *v;
    if (v->type != VALUE_STRINGS && v->type != VALUE_PAIR_LIST) {
        return true;
    }
    if (!render_steps_left(r, v->u.list->len)) {
        return false;
    }
    for (size_t i = 0, j = v->u.list->len; i + 1 < j; i++) {
        struct value swap = v->u.list->items[i];

        v->u.list->items[i] = v->u.list->items[--j];
        v->u.list->items[j] = swap;
    }
    return true;
}

struct by_length {
    size_t length, order;
    struct value value;
};

static int compare_length(const void *left, const void *right)
{
    const struct by_length *a = left, *b = right;
    int c = (a->length > b->length) - (a->length < b->length);

    return c != 0 ? c : (a->order > b->order) - (a->order < b->order);
}

/* In place. The dialect promises no order among equals; here they keep theirs. */
static bool sort_by_length(struct render *r, const struct call *c, struct value *ret)
{
    const struct value *v = &c->args[0];
    size_t n = v->u.list->len;
    struct by_length *items = arena_calloc(&r->arena, n, sizeof(*items));

    if (!render_steps_left(r, n)) {
        return false;
    }
    if (items == NULL) {
        return call_fail_memory(r);
    }
    for (size_t i = 0; i < n; i++) {
        items[i].value = v->u.list->items[i];
        items[i].order = i;
        items[i].length =
            v->type == VALUE_STRINGS ? items[i].value.u.s.len : items[i].value.u.pair->key.len;
    }
    if (n > 1) {
        qsort(items, n, sizeof(*items), compare_length);
    }
    for (size_t i = 0; i < n; i++) {
        v->u.list->items[i] = items[i].value;
    }
    *ret = *v;
    ret->type = v->type == VALUE_STRINGS ? VALUE_STRINGS : VALUE_PAIR_LIST;
    return true;
}

/* ---- the host ---- */

static bool function_getenv(struct render *r, const struct call *c, struct value *ret)
{
    char *name = arena_calloc(&r->arena, c->args[0].u.s.len + 1, 1);
    const char *value;

    if (name == NULL) {
        return call_fail_memory(r);
    }
    if (c->args[0].u.s.len > 0) {
        memcpy(name, c->args[0].u.s.data, c->args[0].u.s.len);
    }
    value = r->env->getenv != NULL ? r->env->getenv(r->env->data, name) : NULL;
    if (value != NULL && value[0] != 0) {
        *ret = value_string(bytes_str(value));
    } else {
        *ret = c->n > 1 ? c->args[1] : value_string(BYTES_LITERAL(""));
    }
    return true;
}

static bool function_datetime(struct render *r, const struct call *c _unused_, struct value *ret)
{
    struct gotime *t = arena_alloc(&r->arena, sizeof(*t));
    struct gotime_zone zone = gotime_utc;

    if (t == NULL) {
        return call_fail_memory(r);
    }
    *t = gotime_from_ns(r->env->now_ns != NULL ? r->env->now_ns(r->env->data) : 0, &zone);
    if (r->env->local_zone != NULL) {
        zone = (struct gotime_zone){.is_local = true};
        r->env->local_zone(r->env->data, t->unix_s, &zone.offset_s, zone.name);
        zone.name[ZONE_NAME_MAX - 1] = 0;
        t->zone = zone;
    }
    t->monotonic = true;
    *ret = (struct value){.type = VALUE_TIME, .u.time = t};
    return true;
}

static bool function_file_exists(struct render *r, const struct call *c, struct value *ret)
{
    struct bytes path = arena_copy(&r->arena, c->args[0].u.s);

    if (path.data == NULL) {
        return call_fail_memory(r);
    }
    *ret = value_bool(
        r->env->file_exists != NULL && r->env->file_exists(r->env->data, (const char *)path.data));
    return true;
}

const struct function functions_confd[] = {
    {"base", "s", function_base, FUNCTION_PLAIN},
    {"dir", "s", function_dir, FUNCTION_PLAIN},
    {"split", "ss", function_split, FUNCTION_PLAIN},
    {"join", "Ls", function_join, FUNCTION_PLAIN},
    {"toUpper", "s", function_to_upper, FUNCTION_PLAIN},
    {"toLower", "s", function_to_lower, FUNCTION_PLAIN},
    {"contains", "ss", function_contains, FUNCTION_PLAIN},
    {"replace", "sssi", function_replace, FUNCTION_PLAIN},
    {"trimSuffix", "ss", function_trim_suffix, FUNCTION_PLAIN},
    {"parseBool", "s", function_parse_bool, FUNCTION_PLAIN},
    {"atoi", "s", function_atoi, FUNCTION_PLAIN},
    {"add", "ii", function_add, FUNCTION_PLAIN},
    {"sub", "ii", function_sub, FUNCTION_PLAIN},
    {"mul", "ii", function_mul, FUNCTION_PLAIN},
    {"div", "ii", function_div, FUNCTION_PLAIN},
    {"mod", "ii", function_mod, FUNCTION_PLAIN},
    {"seq", "ii", function_seq, FUNCTION_PLAIN},
    {"map", "a.", function_map, FUNCTION_PLAIN},
    {"json", "s", function_json, FUNCTION_PLAIN},
    {"jsonArray", "s", function_json_array, FUNCTION_PLAIN},
    {"base64Encode", "s", function_base64_encode, FUNCTION_PLAIN},
    {"base64Decode", "s", function_base64_decode, FUNCTION_PLAIN},
    {"reverse", "a", function_reverse, FUNCTION_PLAIN},
    {"sortByLength", "S", sort_by_length, FUNCTION_PLAIN},
    {"sortKVByLength", "P", sort_by_length, FUNCTION_PLAIN},
    {"getenv", "ss.", function_getenv, FUNCTION_PLAIN},
    {"datetime", "", function_datetime, FUNCTION_PLAIN},
    {"fileExists", "s", function_file_exists, FUNCTION_PLAIN},
    {0},
};
