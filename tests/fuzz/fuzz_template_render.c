/* Any bytes as a template, rendered over a few keys whose values mean harm, with limits that keep
 * each run short. */
#include "template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OUTPUT_BYTES = 1 << 16, STEPS = 20000, MEMORY_BYTES = 1 << 20 };

#define VALUE(key, value)                                                                          \
    {                                                                                              \
        {(const uint8_t *)(key), sizeof(key) - 1},                                                 \
        {                                                                                          \
            (const uint8_t *)(value), sizeof(value) - 1                                            \
        }                                                                                          \
    }

/* Ascending by key. */
static const struct {
    struct bytes key, value;
} keys[] = {
    VALUE("/", "root"),
    VALUE("/a", "%s%n%!d(MISSING)%[9]*.[3]*f"),
    VALUE("/a//b", "unclean"),
    VALUE("/a/b", "{\"a\":[1,null,{\"b\":\"\\u0000\"}],\"n\":1e308,\"a\":2}"),
    VALUE("/a/b-c", "\xff\xfe\xc0\x80\xed\xa0\x80"),
    VALUE("/a/b/c", "{{getv \"/a\"}}"),
    VALUE("/e", ""),
    VALUE("/j", "[[[[[[[[[[]]]]]]]]]]"),
    VALUE("/n", "-9223372036854775808"),
    VALUE("/s", "a,b,,c"),
    VALUE("/z\0y", "a\0b\r\n<&\"'`>"),
};

static bool env_get(void *data _unused_, struct bytes key, struct bytes *ret_value)
{
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if (bytes_eq(keys[i].key, key)) {
            *ret_value = keys[i].value;
            return true;
        }
    }
    return false;
}

static void env_walk(void *data _unused_, struct bytes from,
    bool (*visit)(void *arg, struct bytes key, struct bytes value), void *arg)
{
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if (bytes_cmp(keys[i].key, from) >= 0 && !visit(arg, keys[i].key, keys[i].value)) {
            return;
        }
    }
}

static void env_read(void *data _unused_, struct bytes key, bool is_prefix _unused_)
{
    (void)bytes_hash(key); /* touches every byte, for the sanitizers */
}

static const char *env_getenv(void *data _unused_, const char *name)
{
    return name[0] == 'H' ? "/home" : NULL;
}

static int64_t env_now_ns(void *data _unused_)
{
    return -1234567890123456789;
}

static bool env_file_exists(void *data _unused_, const char *path)
{
    return path[0] == '/';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct template_env env = {.get = env_get,
        .walk = env_walk,
        .read = env_read,
        .getenv = env_getenv,
        .now_ns = env_now_ns,
        .file_exists = env_file_exists};
    const struct template_limits limits = {OUTPUT_BYTES, STEPS, MEMORY_BYTES};
    _cleanup_strbuf_ struct strbuf out = {0};
    _cleanup_err_ struct err err = {0};
    struct template *t;
    int rc;

    if (template_parse("fuzz", bytes_make(data, size), NULL, &t, NULL) < 0) {
        return 0;
    }
    rc = template_render(t, &env, &limits, &out, &err);
    decree_assert((rc < 0) == (err.text != NULL));
    decree_assert(out.len <= OUTPUT_BYTES);
    template_free(t);
    return 0;
}
