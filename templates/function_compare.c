/* eq ne lt le gt ge: basic values of one kind compare; integers of any size and sign compare by
 * value; an integer never compares with a float. */
#include "function.h"

static const char incompatible[] = "incompatible types for comparison";
static const char invalid[] = "invalid type for comparison";

static bool is_basic(enum value_kind k)
{
    return k == KIND_BOOL || k == KIND_INT || k == KIND_UINT || k == KIND_FLOAT || k == KIND_STRING;
}

/* Kinds that compare with one another. */
static bool same_class(enum value_kind a, enum value_kind b)
{
    bool both_int = (a == KIND_INT || a == KIND_UINT) && (b == KIND_INT || b == KIND_UINT);

    return a == b || both_int;
}

static bool basic_equal(const struct value *a, const struct value *b)
{
    switch (value_kind(a)) {
    case KIND_BOOL:
        return a->u.b == b->u.b;
    case KIND_FLOAT:
        return a->u.f == b->u.f;
    case KIND_STRING:
        return bytes_eq(a->u.s, b->u.s);
    default:
        return a->u.i == b->u.i; /* the one unsigned type fits int64 */
    }
}

static bool structs_equal(const struct value *a, const struct value *b)
{
    if (a->type != b->type) {
        return false;
    }
    if (a->type == VALUE_PAIR) {
        return bytes_eq(a->u.pair->key, b->u.pair->key) &&
            bytes_eq(a->u.pair->value, b->u.pair->value);
    }
    return a->u.time->unix_s == b->u.time->unix_s && a->u.time->nsec == b->u.time->nsec &&
        a->u.time->zone.offset_s == b->u.time->zone.offset_s;
}

static bool equal(struct render *r, const struct value *a, const struct value *b, bool *ret)
{
    enum value_kind ka = value_kind(a), kb = value_kind(b);

    if (ka == KIND_NONE || kb == KIND_NONE) {
        *ret = ka == kb;
        return true;
    }
    if (is_basic(ka) && same_class(ka, kb)) {
        *ret = basic_equal(a, b);
        return true;
    }
    if (is_basic(ka) || is_basic(kb)) {
        return call_fail(r, "%s", incompatible);
    }
    if (ka == KIND_STRUCT && kb == KIND_STRUCT) {
        *ret = structs_equal(a, b);
        return true;
    }
    if (ka != kb) {
        return call_fail(
            r, "non-comparable types %s, %s", value_type_name(a->type), value_type_name(b->type));
    }
    return call_fail(r, "non-comparable type %s", value_type_name(b->type));
}

bool function_eq(struct render *r, const struct call *c, struct value *ret)
{
    bool is_equal = false;

    if (c->n < 2) {
        return call_fail(r, "missing argument for comparison");
    }
    for (size_t i = 1; i < c->n && !is_equal; i++) {
        if (!equal(r, &c->args[0], &c->args[i], &is_equal)) {
            return false;
        }
    }
    *ret = value_bool(is_equal);
    return true;
}

bool function_ne(struct render *r, const struct call *c, struct value *ret)
{
    bool is_equal;

    if (!equal(r, &c->args[0], &c->args[1], &is_equal)) {
        return false;
    }
    *ret = value_bool(!is_equal);
    return true;
}

static bool less(struct render *r, const struct value *a, const struct value *b, bool *ret)
{
    enum value_kind ka = value_kind(a), kb = value_kind(b);

    if (!is_basic(ka) || !is_basic(kb)) {
        return call_fail(r, "%s", invalid);
    }
    if (!same_class(ka, kb)) {
        return call_fail(r, "%s", incompatible);
    }
    switch (ka) {
    case KIND_BOOL:
        return call_fail(r, "%s", invalid);
    case KIND_FLOAT:
        *ret = a->u.f < b->u.f;
        return true;
    case KIND_STRING:
        *ret = bytes_cmp(a->u.s, b->u.s) < 0;
        return true;
    default:
        *ret = a->u.i < b->u.i;
        return true;
    }
}

static bool less_or_equal(struct render *r, const struct value *a, const struct value *b, bool *ret)
{
    return less(r, a, b, ret) && (*ret || equal(r, a, b, ret));
}

bool function_lt(struct render *r, const struct call *c, struct value *ret)
{
    *ret = value_bool(false);
    return less(r, &c->args[0], &c->args[1], &ret->u.b);
}

bool function_le(struct render *r, const struct call *c, struct value *ret)
{
    *ret = value_bool(false);
    return less_or_equal(r, &c->args[0], &c->args[1], &ret->u.b);
}

bool function_gt(struct render *r, const struct call *c, struct value *ret)
{
    if (!function_le(r, c, ret)) {
        return false;
    }
    ret->u.b = !ret->u.b;
    return true;
}

bool function_ge(struct render *r, const struct call *c, struct value *ret)
{
    if (!function_lt(r, c, ret)) {
        return false;
    }
    ret->u.b = !ret->u.b;
    return true;
}
