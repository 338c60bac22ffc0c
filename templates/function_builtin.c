/* The functions of the language itself, comparisons and escapers aside. */
#include "format.h"
#include "function.h"

/* The text in scratch; scratch may hold what the rest of the render's memory can. */
static bool return_scratch(struct render *r, bool complete, struct value *ret)
{
    return complete ? return_copy(r, strbuf_bytes(&r->scratch), ret) : call_fail_memory(r);
}

static bool function_print(struct render *r, const struct call *c, struct value *ret)
{
    return return_scratch(
        r, format_values(&r->scratch, render_memory_left(r), FORMAT_PRINT, c->args, c->n), ret);
}

static bool function_println(struct render *r, const struct call *c, struct value *ret)
{
    return return_scratch(
        r, format_values(&r->scratch, render_memory_left(r), FORMAT_PRINTLN, c->args, c->n), ret);
}

static bool function_printf(struct render *r, const struct call *c, struct value *ret)
{
    return return_scratch(r,
        format_printf(&r->scratch, render_memory_left(r), c->args[0].u.s, c->args + 1, c->n - 1),
        ret);
}

static bool function_not(struct render *r _unused_, const struct call *c, struct value *ret)
{
    *ret = value_bool(!value_truth(&c->args[0]));
    return true;
}

static bool function_len(struct render *r, const struct call *c, struct value *ret)
{
    const struct value *v = &c->args[0];

    switch (value_kind(v)) {
    case KIND_STRING:
        *ret = value_int((int64_t)v->u.s.len);
        return true;
    case KIND_LIST:
        *ret = value_int((int64_t)v->u.list->len);
        return true;
    case KIND_MAP:
        *ret = value_int((int64_t)v->u.map->len);
        return true;
    case KIND_NONE:
        return call_fail(r,
            v->type == VALUE_NIL ? "len of nil pointer"
                                 : "reflect: call of reflect.Value.Type on zero Value");
    default:
        return call_fail(r, "len of type %s", value_type_name(v->type));
    }
}

/* An index of a list or string: an integer from 0 to max. */
static bool index_of(struct render *r, const struct value *v, size_t max, size_t *ret)
{
    enum value_kind kind = value_kind(v);

    if (kind == KIND_NONE) {
        return call_fail(r, "cannot index slice/array with nil");
    }
    if (kind != KIND_INT && kind != KIND_UINT) {
        return call_fail(r, "cannot index slice/array with type %s", value_type_name(v->type));
    }
    if (v->u.i < 0 || (uint64_t)v->u.i > max) {
        return call_fail(r, "index out of range: %lld", (long long)v->u.i);
    }
    *ret = (size_t)v->u.i;
    return true;
}

static bool index_list(
    struct render *r, const struct value *v, const struct value *by, struct value *ret)
{
    bool text = v->type == VALUE_STRING;
    size_t len = text ? v->u.s.len : v->u.list->len, i;

    if (!index_of(r, by, len, &i)) {
        return false;
    }
    if (i == len) { /* Go lets its check pass here and stops at the access */
        return call_fail(r, "reflect: %s index out of range", text ? "string" : "slice");
    }
    *ret = text ? value_typed_int(VALUE_UINT8, v->u.s.data[i]) : v->u.list->items[i];
    return true;
}

static bool index_map(
    struct render *r, const struct value *v, const struct value *by, struct value *ret)
{
    const struct value *found;

    if (value_is_nil(by)) {
        return call_fail(r, "value is nil; should be of type string");
    }
    if (by->type != VALUE_STRING) {
        return call_fail(r, "value has type %s; should be string", value_type_name(by->type));
    }
    found = value_map_get(v->u.map, by->u.s);
    if (found != NULL) {
        *ret = *found;
    } else if (v->type == VALUE_STRING_MAP) {
        *ret = value_string(BYTES_LITERAL(""));
    } else {
        *ret = (struct value){.type = VALUE_NIL};
    }
    return true;
}

static bool function_index(struct render *r, const struct call *c, struct value *ret)
{
    struct value v = c->args[0];

    if (value_is_nil(&v)) {
        return call_fail(r, "index of untyped nil");
    }
    for (size_t i = 1; i < c->n; i++) {
        struct value item = {0};

        switch (value_kind(&v)) {
        case KIND_NONE:
            return call_fail(r, "index of nil pointer");
        case KIND_LIST:
        case KIND_STRING:
            if (!index_list(r, &v, &c->args[i], &item)) {
                return false;
            }
            break;
        case KIND_MAP:
            if (!index_map(r, &v, &c->args[i], &item)) {
                return false;
            }
            break;
        default:
            return call_fail(r, "can't index item of type %s", value_type_name(v.type));
        }
        v = item;
    }
    *ret = v;
    return true;
}

static bool slice_bounds(struct render *r, const struct call *c, size_t len, size_t bounds[3])
{
    bounds[0] = 0;
    bounds[1] = bounds[2] = len;
    for (size_t i = 1; i < c->n; i++) {
        if (!index_of(r, &c->args[i], len, &bounds[i - 1])) {
            return false;
        }
    }
    if (bounds[0] > bounds[1]) {
        return call_fail(r, "invalid slice index: %zu > %zu", bounds[0], bounds[1]);
    }
    if (bounds[1] > bounds[2]) {
        return call_fail(r, "invalid slice index: %zu > %zu", bounds[1], bounds[2]);
    }
    return true;
}

/* A slice shares the items of its list, as in Go. */
static bool function_slice(struct render *r, const struct call *c, struct value *ret)
{
    const struct value *v = &c->args[0];
    struct value_list *list;
    size_t bounds[3];

    if (value_is_nil(v)) {
        return call_fail(r, "slice of untyped nil");
    }
    if (c->n > 4) {
        return call_fail(r, "too many slice indexes: %zu", c->n - 1);
    }
    if (v->type == VALUE_STRING && c->n == 4) {
        return call_fail(r, "cannot 3-index slice a string");
    }
    if (value_kind(v) != KIND_LIST && v->type != VALUE_STRING) {
        return call_fail(r, "can't slice item of type %s", value_type_name(v->type));
    }
    if (!slice_bounds(r, c, v->type == VALUE_STRING ? v->u.s.len : v->u.list->len, bounds)) {
        return false;
    }
    *ret = *v;
    if (v->type == VALUE_STRING) {
        ret->u.s = bytes_make(v->u.s.data + bounds[0], bounds[1] - bounds[0]);
        return true;
    }
    list = arena_alloc(&r->arena, sizeof(*list));
    if (list == NULL) {
        return call_fail_memory(r);
    }
    *list = (struct value_list){v->u.list->items + bounds[0], bounds[1] - bounds[0]};
    ret->u.list = list;
    return true;
}

/* No value of a template is a function that it could call. */
static bool function_call(struct render *r, const struct call *c, struct value *ret _unused_)
{
    if (value_is_nil(&c->args[0])) {
        return call_fail(r, "call of nil");
    }
    return call_fail(r, "non-function of type %s", value_type_name(c->args[0].type));
}

const struct function functions_builtin[] = {
    {"and", "vv.", NULL, FUNCTION_AND},
    {"or", "vv.", NULL, FUNCTION_OR},
    {"not", "v", function_not, FUNCTION_PLAIN},
    {"eq", "vv.", function_eq, FUNCTION_PLAIN},
    {"ne", "vv", function_ne, FUNCTION_PLAIN},
    {"lt", "vv", function_lt, FUNCTION_PLAIN},
    {"le", "vv", function_le, FUNCTION_PLAIN},
    {"gt", "vv", function_gt, FUNCTION_PLAIN},
    {"ge", "vv", function_ge, FUNCTION_PLAIN},
    {"print", "a.", function_print, FUNCTION_PLAIN},
    {"println", "a.", function_println, FUNCTION_PLAIN},
    {"printf", "sa.", function_printf, FUNCTION_PLAIN},
    {"len", "v", function_len, FUNCTION_PLAIN},
    {"index", "vv.", function_index, FUNCTION_PLAIN},
    {"slice", "vv.", function_slice, FUNCTION_PLAIN},
    {"html", "a.", function_html, FUNCTION_PLAIN},
    {"js", "a.", function_js, FUNCTION_PLAIN},
    {"urlquery", "a.", function_urlquery, FUNCTION_PLAIN},
    {"call", "vv.", function_call, FUNCTION_PLAIN},
    {0},
};
