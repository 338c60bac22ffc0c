/* The gateway's way of writing numbers and bytes in JSON (contracts/etcd-v3.md §9). */
#include "v3_client.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base64.h"

int64_t v3_int(const json_t *object, const char *field)
{
    const json_t *v = json_object_get(object, field);

    return json_is_string(v) ? strtoll(json_string_value(v), NULL, 10) : json_integer_value(v);
}

uint64_t v3_uint(const json_t *object, const char *field)
{
    const json_t *v = json_object_get(object, field);

    return json_is_string(v) ? strtoull(json_string_value(v), NULL, 10)
                             : (uint64_t)json_integer_value(v);
}

const char *v3_text(const json_t *object, const char *field)
{
    const char *s = json_string_value(json_object_get(object, field));

    return s != NULL ? s : "";
}

struct bytes v3_bytes(const json_t *object, const char *field, char **ret_memory)
{
    const json_t *v = json_object_get(object, field);
    struct strbuf out = {0};
    size_t len;

    if (json_is_string(v)) {
        (void)base64_decode(&out, bytes_make(json_string_value(v), json_string_length(v)));
    }
    len = out.len;
    *ret_memory = strbuf_take_cstr(&out);
    return bytes_make(*ret_memory, len);
}

json_t *v3_from_bytes(struct bytes b)
{
    _cleanup_strbuf_ struct strbuf text = {0};

    base64_encode(&text, b);
    return json_string(strbuf_cstr(&text));
}

json_t *v3_from_int(int64_t v)
{
    return json_sprintf("%" PRId64, v);
}
