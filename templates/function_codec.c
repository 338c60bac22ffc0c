/* json, jsonArray and base64. The bytes are looked over before jansson sees them: how deep they
 * nest and what decoding them may cost is known before the first allocation. */
#include <jansson.h>

#include "function.h"
#include "gotext.h"

enum {
    /* No configuration nests deeper; conversion and print recurse as deep as this. */
    JSON_DEPTH_MAX = 256,
    /* What a JSON value takes in jansson and here, generously. */
    JSON_NODE_BYTES = 256,
};

static bool convert(struct render *r, const json_t *j, struct value *ret);

/* Depth and number of values as the brackets and commas outside of strings tell. */
static void survey(struct bytes s, size_t *ret_depth, size_t *ret_values)
{
    size_t depth = 0;
    bool in_string = false;

    *ret_depth = 0;
    *ret_values = 1;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.data[i];

        if (in_string) {
            i += c == '\\';
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            *ret_depth = MAX(*ret_depth, ++depth);
            ++*ret_values;
        } else if (c == ']' || c == '}') {
            depth -= depth > 0;
        } else if (c == ',') {
            ++*ret_values;
        }
    }
}

static bool convert_object(struct render *r, json_t *j, struct value *ret)
{
    size_t n = json_object_size(j), i = 0;
    struct value_map_entry *entries = arena_calloc(&r->arena, n, sizeof(*entries));

    if (entries == NULL) {
        return call_fail_memory(r);
    }
    for (void *it = json_object_iter(j); it != NULL; it = json_object_iter_next(j, it), i++) {
        struct value key;

        if (!return_copy(r, bytes_str(json_object_iter_key(it)), &key) ||
            !convert(r, json_object_iter_value(it), &entries[i].value)) {
            return false;
        }
        entries[i].key = key.u.s;
        entries[i].order = i;
    }
    *ret = (struct value){.type = VALUE_MAP, .u.map = value_map_new(&r->arena, entries, n)};
    return ret->u.map != NULL || call_fail_memory(r);
}

static bool convert_array(struct render *r, const json_t *j, struct value *ret)
{
    size_t n = json_array_size(j);

    if (!return_list(r, VALUE_ANYS, n, ret)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (!convert(r, json_array_get(j, i), &ret->u.list->items[i])) {
            return false;
        }
    }
    return true;
}

static bool convert(struct render *r, const json_t *j, struct value *ret)
{
    switch (json_typeof(j)) {
    case JSON_OBJECT:
        return convert_object(r, (json_t *)(uintptr_t)j, ret);
    case JSON_ARRAY:
        return convert_array(r, j, ret);
    case JSON_STRING:
        return return_copy(r, bytes_make(json_string_value(j), json_string_length(j)), ret);
    case JSON_INTEGER:
    case JSON_REAL:
        *ret = value_float(json_number_value(j)); /* as Go: every number is a float64 */
        return true;
    case JSON_TRUE:
    case JSON_FALSE:
        *ret = value_bool(json_is_true(j));
        return true;
    case JSON_NULL:
        break;
    }
    *ret = (struct value){.type = VALUE_NIL};
    return true;
}

/* Go takes bytes that are not UTF-8 for U+FFFD; jansson refuses them. */
static void repair_utf8(struct bytes s, struct strbuf *out)
{
    size_t width;

    for (size_t i = 0; i < s.len; i += width) {
        uint32_t rune = text_decode(bytes_from(s, i), &width);

        if (rune == RUNE_ERROR) {
            text_append_rune(out, RUNE_ERROR);
        } else {
            strbuf_append(out, s.data + i, width);
        }
    }
}

static const char *kind_name(const json_t *j)
{
    switch (json_typeof(j)) {
    case JSON_OBJECT:
        return "object";
    case JSON_ARRAY:
        return "array";
    case JSON_STRING:
        return "string";
    case JSON_TRUE:
    case JSON_FALSE:
        return "bool";
    default:
        return "number";
    }
}

/* Decodes s, of which `wanted` has to come, or null, which is an empty one. */
static bool decode(struct render *r, struct bytes s, enum value_type wanted, struct value *ret)
{
    json_t *j;
    json_error_t error;
    size_t depth, values;
    bool ok;

    survey(s, &depth, &values);
    if (depth > JSON_DEPTH_MAX) {
        return call_fail(r, "JSON nests more than %d deep", JSON_DEPTH_MAX);
    }
    if (s.len > r->limits.memory_bytes_max / 4 ||
        values > r->limits.memory_bytes_max / JSON_NODE_BYTES) {
        return call_fail_memory(r);
    }
    if (!render_steps_left(r, values)) {
        return false;
    }
    repair_utf8(s, &r->scratch);
    if (s.len == 0) {
        return call_fail(r, "unexpected end of JSON input");
    }
    j = json_loadb((const char *)r->scratch.data, r->scratch.len,
        JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
    if (j == NULL) {
        return call_fail(
            r, "invalid JSON at line %d column %d: %s", error.line, error.column, error.text);
    }
    if (json_is_null(j)) {
        json_t *empty = wanted == VALUE_MAP ? json_object() : json_array();

        json_decref(j);
        j = empty;
    }
    ok = (wanted == VALUE_MAP ? json_is_object(j) : json_is_array(j))
        ? convert(r, j, ret)
        : call_fail(r, "json: cannot unmarshal %s into Go value of type %s", kind_name(j),
              value_type_name(wanted));
    json_decref(j);
    return ok;
}

bool function_json(struct render *r, const struct call *c, struct value *ret)
{
    return decode(r, c->args[0].u.s, VALUE_MAP, ret);
}

bool function_json_array(struct render *r, const struct call *c, struct value *ret)
{
    return decode(r, c->args[0].u.s, VALUE_ANYS, ret);
}

/* ---- base64, the standard alphabet with padding ---- */

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

bool function_base64_encode(struct render *r, const struct call *c, struct value *ret)
{
    struct bytes s = c->args[0].u.s;

    for (size_t i = 0; i < s.len; i += 3) {
        size_t n = MIN(s.len - i, (size_t)3);
        uint32_t bits = (uint32_t)s.data[i] << 16;

        bits |= n > 1 ? (uint32_t)s.data[i + 1] << 8 : 0;
        bits |= n > 2 ? (uint32_t)s.data[i + 2] : 0;
        strbuf_append_char(&r->scratch, alphabet[bits >> 18]);
        strbuf_append_char(&r->scratch, alphabet[bits >> 12 & 63]);
        strbuf_append_char(&r->scratch, n > 1 ? alphabet[bits >> 6 & 63] : '=');
        strbuf_append_char(&r->scratch, n > 2 ? alphabet[bits & 63] : '=');
    }
    return return_copy(r, strbuf_bytes(&r->scratch), ret);
}

static bool fail_base64(struct render *r, size_t at)
{
    return call_fail(r, "illegal base64 data at input byte %zu", at);
}

static size_t skip_newlines(struct bytes s, size_t i)
{
    while (i < s.len && (s.data[i] == '\n' || s.data[i] == '\r')) {
        i++;
    }
    return i;
}

/* The padding of the last group at i, of which n digits came: nothing but newlines may follow. */
static bool check_padding(struct render *r, struct bytes s, size_t i, size_t n)
{
    if (n < 2) {
        return fail_base64(r, i);
    }
    i++;
    if (n == 2) {
        i = skip_newlines(s, i);
        if (i >= s.len || s.data[i] != '=') {
            return fail_base64(r, i >= s.len ? s.len : i - 1);
        }
        i++;
    }
    i = skip_newlines(s, i);
    return i == s.len || fail_base64(r, i);
}

static void append_group(struct strbuf *out, uint32_t bits, size_t n)
{
    uint8_t bytes[3];

    bits <<= 6 * (4 - n);
    bytes[0] = (uint8_t)(bits >> 16);
    bytes[1] = (uint8_t)(bits >> 8);
    bytes[2] = (uint8_t)bits;
    strbuf_append(out, bytes, n > 0 ? n - 1 : 0);
}

bool function_base64_decode(struct render *r, const struct call *c, struct value *ret)
{
    struct bytes s = c->args[0].u.s;
    uint32_t bits = 0;
    size_t n = 0, i;

    for (i = skip_newlines(s, 0); i < s.len; i = skip_newlines(s, i + 1)) {
        const char *digit = s.data[i] != 0 ? strchr(alphabet, s.data[i]) : NULL;

        if (s.data[i] == '=') {
            if (!check_padding(r, s, i, n)) {
                return false;
            }
            append_group(&r->scratch, bits, n);
            return return_copy(r, strbuf_bytes(&r->scratch), ret);
        }
        if (digit == NULL) {
            return fail_base64(r, i);
        }
        bits = bits << 6 | (uint32_t)(digit - alphabet);
        if (++n == 4) {
            append_group(&r->scratch, bits, n);
            bits = 0;
            n = 0;
        }
    }
    if (n != 0) {
        return fail_base64(r, i - n);
    }
    return return_copy(r, strbuf_bytes(&r->scratch), ret);
}
