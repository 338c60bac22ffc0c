#include "json_proto.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>

#include <jansson.h>

#include "api_limits.h"
#include "base64.h"
#include "codec.h"

/* ---- the guard ---- */

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

enum json_scan_result json_scan(struct json_scan *s, struct bytes b, size_t *ret_used)
{
    for (size_t i = 0; i < b.len; i++) {
        uint8_t c = b.data[i];

        if (s->escaped) {
            s->escaped = false;
        } else if (s->in_string) {
            s->escaped = c == '\\';
            s->in_string = c != '"';
        } else if (c == '"') {
            s->in_string = s->started = true;
        } else if (c == '{' || c == '[') {
            s->started = true;
            if (++s->depth > JSON_DEPTH_MAX) {
                return JSON_SCAN_TOO_DEEP;
            }
            continue;
        } else if (c == '}' || c == ']') {
            s->started = true;
            s->depth -= s->depth > 0;
        } else {
            bool ends = s->started && s->depth == 0 && is_space(c);

            s->started = s->started || !is_space(c);
            if (!ends) {
                continue;
            }
        }
        if (s->depth == 0 && !s->in_string && s->started && c != '"') {
            *s = (struct json_scan){0};
            *ret_used = i + 1;
            return JSON_SCAN_VALUE;
        }
    }
    return JSON_SCAN_MORE;
}

/* ---- in ---- */

struct reader {
    struct arena *arena;
    struct err *err;
    unsigned fields;
};

static int bad(struct reader *r, const ProtobufCFieldDescriptor *f, const char *what)
{
    return err_set(r->err, DECREE_EBAD_REQUEST, "field %s: %s", f->name, what);
}

static int message_in(struct reader *r, const ProtobufCMessageDescriptor *type, json_t *object,
    ProtobufCMessage **ret);

/* "camelCase" for "camel_case". */
static bool camel_equals(const char *name, const char *camel)
{
    while (*name != '\0' && *camel != '\0') {
        char c = *name++;

        if (c == '_' && *name >= 'a' && *name <= 'z') {
            c = (char)(*name++ - 'a' + 'A');
        }
        if (c != *camel++) {
            return false;
        }
    }
    return *name == *camel;
}

static const ProtobufCFieldDescriptor *find_field(
    const ProtobufCMessageDescriptor *type, const char *key)
{
    const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field_by_name(type, key);

    for (unsigned i = 0; f == NULL && i < type->n_fields; i++) {
        if (camel_equals(type->fields[i].name, key)) {
            f = &type->fields[i];
        }
    }
    return f;
}

static int bytes_in(
    struct reader *r, const ProtobufCFieldDescriptor *f, json_t *value, ProtobufCBinaryData *ret)
{
    _cleanup_strbuf_ struct strbuf out = {0};
    struct bytes copy;

    if (!json_is_string(value)) {
        return bad(r, f, "base64 in a string is expected");
    }
    if (base64_decode(&out, bytes_make(json_string_value(value), json_string_length(value))) < 0) {
        return bad(r, f, "illegal base64 data");
    }
    copy = arena_copy(r->arena, strbuf_bytes(&out));
    if (copy.data == NULL) {
        return DECREE_ETOO_LARGE;
    }
    *ret = (ProtobufCBinaryData){.len = copy.len, .data = (uint8_t *)(uintptr_t)copy.data};
    return 0;
}

static int string_in(struct reader *r, const ProtobufCFieldDescriptor *f, json_t *value, char **ret)
{
    struct bytes copy;

    if (!json_is_string(value)) {
        return bad(r, f, "a string is expected");
    }
    copy = arena_copy(r->arena, bytes_make(json_string_value(value), json_string_length(value)));
    if (copy.data == NULL) {
        return DECREE_ETOO_LARGE;
    }
    *ret = (char *)(uintptr_t)copy.data;
    return 0;
}

static bool is_integer_text(const char *s)
{
    s += *s == '-';
    return *s >= '0' && *s <= '9';
}

static int int_in(struct reader *r, const ProtobufCFieldDescriptor *f, json_t *value, int64_t *ret)
{
    const char *text = json_string_value(value);
    char *end;

    if (json_is_integer(value)) {
        *ret = json_integer_value(value);
        return 0;
    }
    if (text == NULL || !is_integer_text(text)) {
        return bad(r, f, "an integer is expected");
    }
    errno = 0;
    *ret = strtoll(text, &end, 10);
    return *end == '\0' && errno == 0 ? 0 : bad(r, f, "no integer of 64 bits");
}

static int uint_in(
    struct reader *r, const ProtobufCFieldDescriptor *f, json_t *value, uint64_t *ret)
{
    const char *text = json_string_value(value);
    char *end;

    if (json_is_integer(value) && json_integer_value(value) >= 0) {
        *ret = (uint64_t)json_integer_value(value);
        return 0;
    }
    if (text == NULL || *text == '-' || !is_integer_text(text)) {
        return bad(r, f, "an integer that is not negative is expected");
    }
    errno = 0;
    *ret = strtoull(text, &end, 10);
    return *end == '\0' && errno == 0 ? 0 : bad(r, f, "no integer of 64 bits");
}

static int enum_in(struct reader *r, const ProtobufCFieldDescriptor *f, json_t *value, int *ret)
{
    if (json_is_string(value)) {
        const ProtobufCEnumValue *v =
            protobuf_c_enum_descriptor_get_value_by_name(f->descriptor, json_string_value(value));

        if (v == NULL) {
            return bad(r, f, "unknown name");
        }
        *ret = v->value;
        return 0;
    }
    if (!json_is_integer(value) || json_integer_value(value) > INT_MAX ||
        json_integer_value(value) < INT_MIN) {
        return bad(r, f, "a name or a number is expected");
    }
    *ret = (int)json_integer_value(value);
    return 0;
}

static int value_in(struct reader *r, const ProtobufCFieldDescriptor *f, json_t *value, void *slot)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT64:
        return int_in(r, f, value, slot);
    case PROTOBUF_C_TYPE_UINT64:
        return uint_in(r, f, value, slot);
    case PROTOBUF_C_TYPE_ENUM:
        return enum_in(r, f, value, slot);
    case PROTOBUF_C_TYPE_BYTES:
        return bytes_in(r, f, value, slot);
    case PROTOBUF_C_TYPE_STRING:
        return string_in(r, f, value, slot);
    case PROTOBUF_C_TYPE_MESSAGE:
        return message_in(r, f->descriptor, value, slot);
    case PROTOBUF_C_TYPE_BOOL:
        if (!json_is_boolean(value)) {
            return bad(r, f, "true or false is expected");
        }
        *(protobuf_c_boolean *)slot = json_is_true(value);
        return 0;
    default:
        decree_assert(false && "a type that our .proto files do not use");
        return DECREE_EBAD_REQUEST;
    }
}

static size_t slot_size(const ProtobufCFieldDescriptor *f)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_ENUM:
        return sizeof(int);
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    default:
        return sizeof(uint64_t); /* 64-bit integers and pointers */
    }
}

static int list_in(struct reader *r, const ProtobufCFieldDescriptor *f, json_t *list, uint8_t *base)
{
    size_t n = json_array_size(list), size = slot_size(f);
    uint8_t *slots;

    if (!json_is_array(list)) {
        return bad(r, f, "a list is expected");
    }
    if (n == 0) {
        return 0;
    }
    r->fields += (unsigned)MIN(n, (size_t)PROTO_FIELDS_MAX);
    if (r->fields > PROTO_FIELDS_MAX) {
        return DECREE_ETOO_MANY_OPS;
    }
    slots = arena_calloc(r->arena, n, size);
    if (slots == NULL) {
        return DECREE_ETOO_LARGE;
    }
    for (size_t i = 0; i < n; i++) {
        int ret = value_in(r, f, json_array_get(list, i), slots + i * size);

        if (ret < 0) {
            return ret;
        }
    }
    memcpy(base + f->quantifier_offset, &n, sizeof(n));
    memcpy(base + f->offset, &slots, sizeof(slots));
    return 0;
}

static int field_in(
    struct reader *r, const ProtobufCFieldDescriptor *f, json_t *value, uint8_t *base)
{
    int ret;

    if (++r->fields > PROTO_FIELDS_MAX) {
        return DECREE_ETOO_MANY_OPS;
    }
    if (f->label == PROTOBUF_C_LABEL_REPEATED) {
        return list_in(r, f, value, base);
    }
    ret = value_in(r, f, value, base + f->offset);
    if (ret == 0 && (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
        uint32_t which = f->id;

        memcpy(base + f->quantifier_offset, &which, sizeof(which));
    }
    return ret;
}

/* A second member of the same oneof: the first one's slot would be overwritten by another type. */
static bool oneof_is_taken(const ProtobufCFieldDescriptor *f, const uint8_t *base)
{
    uint32_t which;

    if ((f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) == 0) {
        return false;
    }
    memcpy(&which, base + f->quantifier_offset, sizeof(which));
    return which != 0;
}

/* jansson and json_scan have bounded the depth. */
static int message_in(struct reader *r, const ProtobufCMessageDescriptor *type, json_t *object,
    ProtobufCMessage **ret)
{
    ProtobufCMessage *m;
    const char *key;
    json_t *value;

    if (!json_is_object(object)) {
        return err_set(r->err, DECREE_EBAD_REQUEST, "%s: an object is expected", type->short_name);
    }
    m = arena_alloc(r->arena, type->sizeof_message);
    if (m == NULL) {
        return DECREE_ETOO_LARGE;
    }
    type->message_init(m);
    json_object_foreach(object, key, value)
    {
        const ProtobufCFieldDescriptor *f = find_field(type, key);
        int result;

        if (f == NULL || json_is_null(value)) {
            continue;
        }
        if (oneof_is_taken(f, (uint8_t *)m)) {
            return bad(r, f, "another member of the same choice is set");
        }
        result = field_in(r, f, value, (uint8_t *)m);
        if (result < 0) {
            return result;
        }
    }
    *ret = m;
    return 0;
}

static bool is_blank(struct bytes text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!is_space(text.data[i])) {
            return false;
        }
    }
    return true;
}

static bool is_too_deep(struct bytes text)
{
    struct json_scan scan = {0};
    enum json_scan_result result;
    size_t used;

    while ((result = json_scan(&scan, text, &used)) == JSON_SCAN_VALUE) {
        text = bytes_make(text.data + used, text.len - used);
    }
    return result == JSON_SCAN_TOO_DEEP;
}

int json_to_proto(const ProtobufCMessageDescriptor *type, struct bytes text, struct arena *arena,
    ProtobufCMessage **ret, struct err *reterr)
{
    struct reader r = {.arena = arena, .err = reterr};
    json_error_t error;
    json_t *root;
    int result;

    if (is_too_deep(text)) {
        return err_set(reterr, DECREE_EBAD_REQUEST, "more than %d levels", JSON_DEPTH_MAX);
    }
    root = is_blank(text) ? json_object()
                          : json_loadb((const char *)text.data, text.len,
                                JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (root == NULL) {
        return err_set(reterr, DECREE_EBAD_REQUEST, "%s (line %d column %d)", error.text,
            error.line, error.column);
    }
    if (json_is_null(root)) { /* absent, as everywhere */
        json_decref(root);
        root = json_object();
    }
    result = message_in(&r, type, root, ret);
    json_decref(root);
    if (result < 0 && reterr != NULL && reterr->text == NULL) {
        err_set(reterr, result, "%s", err_text(result));
    }
    return result;
}

/* ---- out ---- */

void json_quote(struct strbuf *out, struct bytes text)
{
    strbuf_append_char(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];

        if (c == '"' || c == '\\') {
            strbuf_append_char(out, '\\');
            strbuf_append_char(out, (char)c);
        } else if (c == '\n') {
            strbuf_append(out, "\\n", 2);
        } else if (c < 0x20 || c == 0x7f) {
            strbuf_printf(out, "\\u%04x", c);
        } else {
            strbuf_append_char(out, (char)c);
        }
    }
    strbuf_append_char(out, '"');
}

static void scalar_out(const ProtobufCFieldDescriptor *f, uint64_t v, struct strbuf *out)
{
    const ProtobufCEnumValue *name;

    switch (f->type) {
    case PROTOBUF_C_TYPE_INT64:
        strbuf_printf(out, "\"%" PRId64 "\"", (int64_t)v);
        break;
    case PROTOBUF_C_TYPE_UINT64:
        strbuf_printf(out, "\"%" PRIu64 "\"", v);
        break;
    case PROTOBUF_C_TYPE_UINT32:
        strbuf_printf(out, "%" PRIu32, (uint32_t)v);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        strbuf_append_str(out, v != 0 ? "true" : "false");
        break;
    case PROTOBUF_C_TYPE_ENUM:
        name = protobuf_c_enum_descriptor_get_value(f->descriptor, (int)v);
        if (name != NULL) {
            strbuf_printf(out, "\"%s\"", name->name);
        } else {
            strbuf_printf(out, "%d", (int)v);
        }
        break;
    default:
        decree_assert(false && "a type that our encoders do not write");
    }
}

static void bytes_out(
    const ProtobufCFieldDescriptor *f, struct bytes b, struct pbw_gap *gaps, struct strbuf *out)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        json_from_proto_around(f->descriptor, b, gaps, out);
        break;
    case PROTOBUF_C_TYPE_STRING:
        json_quote(out, b);
        break;
    default:
        strbuf_append_char(out, '"');
        base64_encode(out, b);
        strbuf_append_char(out, '"');
    }
}

static bool fields_out(const ProtobufCMessageDescriptor *type, struct bytes wire,
    struct pbw_gap *gaps, struct strbuf *out)
{
    const ProtobufCFieldDescriptor *list = NULL; /* the one whose bracket is open */
    struct dec d = dec_make(wire);
    bool any = false;

    while (dec_left(&d) != 0) {
        uint64_t tag = dec_varint(&d);
        const ProtobufCFieldDescriptor *f =
            protobuf_c_message_descriptor_get_field(type, (unsigned)(tag >> 3));

        decree_assert(f != NULL);
        if (list != NULL && f != list) {
            strbuf_append_char(out, ']');
        }
        if (any) {
            strbuf_append_char(out, ',');
        }
        if (f != list) {
            strbuf_append_char(out, '"');
            strbuf_append_str(out, f->name);
            strbuf_append(out, "\":", 2);
            if (f->label == PROTOBUF_C_LABEL_REPEATED) {
                strbuf_append_char(out, '[');
            }
        }
        list = f->label == PROTOBUF_C_LABEL_REPEATED ? f : NULL;
        if ((tag & 7) == PBW_MARK) {
            gaps[dec_varint(&d)].at = out->len;
        } else if ((tag & 7) == 2) {
            bytes_out(f, dec_bytes(&d), gaps, out);
        } else {
            scalar_out(f, dec_varint(&d), out);
        }
        any = true;
    }
    if (list != NULL) {
        strbuf_append_char(out, ']');
    }
    decree_assert(!d.bad);
    return any;
}

bool json_fields_from_proto(
    const ProtobufCMessageDescriptor *type, struct bytes wire, struct strbuf *out)
{
    return fields_out(type, wire, NULL, out);
}

void json_from_proto_around(const ProtobufCMessageDescriptor *type, struct bytes wire,
    struct pbw_gap *gaps, struct strbuf *out)
{
    strbuf_append_char(out, '{');
    (void)fields_out(type, wire, gaps, out);
    strbuf_append_char(out, '}');
}

void json_from_proto(const ProtobufCMessageDescriptor *type, struct bytes wire, struct strbuf *out)
{
    json_from_proto_around(type, wire, NULL, out);
}
