/* Table-driven tests of templates: a source, and what it prints or how it fails, over one small
 * keyspace. Where a row does not say otherwise the expected text is what Go's text/template (1.19)
 * printed for the same source and keys; a message is expected to the letter. */
#ifndef DECREE_TESTS_TEMPLATE_CASES_H
#define DECREE_TESTS_TEMPLATE_CASES_H

#include "unit.h"

#include "template.h"

struct template_case {
    const char *claim;
    const char *source;
    const char *output; /* up to the failure, where there is one */
    const char *error;  /* "" = none */
};

struct template_key {
    const char *key, *value;
};

/* Ascending by key. */
static const struct template_key template_keys[] = {
    {"/a/b", "y"},
    {"/a/long", "x"},
    {"/ab/x", "1"},
    {"/app/name", "web"},
    {"/app/port", "8080"},
    {"/app/upstreams/web1",
        "{\"host\":\"10.0.0.1\",\"port\":8080,\"tags\":[\"a\",\"b\"],\"up\":true,\"w\":null}"},
    {"/app/upstreams/web2",
        "{\"host\":\"10.0.0.2\",\"port\":8081,\"tags\":[],\"up\":false,\"w\":1.5}"},
    {"/dir", "leaf"},
    {"/dir/sub/x", "1"},
    {"/dir/sub/y", "2"},
    {"/dir/z", "3"},
    {"/empty", ""},
    {"/html", "<a href='x'>\"&</a>"},
    {"/n/1", "10"},
    {"/n/10", "1"},
    {"/n/2", "9"},
    {"/top", "t"},
};

static inline bool template_test_get(void *data _unused_, struct bytes key, struct bytes *ret)
{
    for (size_t i = 0; i < ARRAY_SIZE(template_keys); i++) {
        if (bytes_eq(key, bytes_str(template_keys[i].key))) {
            *ret = bytes_str(template_keys[i].value);
            return true;
        }
    }
    return false;
}

static inline void template_test_walk(void *data _unused_, struct bytes from,
    bool (*visit)(void *arg, struct bytes key, struct bytes value), void *arg)
{
    for (size_t i = 0; i < ARRAY_SIZE(template_keys); i++) {
        if (bytes_cmp(bytes_str(template_keys[i].key), from) >= 0 &&
            !visit(arg, bytes_str(template_keys[i].key), bytes_str(template_keys[i].value))) {
            return;
        }
    }
}

static inline const char *template_test_getenv(void *data _unused_, const char *name)
{
    if (strcmp(name, "HOME") == 0) {
        return "/root";
    }
    return strcmp(name, "EMPTY") == 0 ? "" : NULL;
}

/* Tue Nov 14 22:13:20.123456789 UTC 2023 */
static inline int64_t template_test_now_ns(void *data _unused_)
{
    return 1700000000123456789;
}

static inline bool template_test_file_exists(void *data _unused_, const char *path)
{
    return strcmp(path, "/exists") == 0;
}

static const struct template_env template_test_env = {
    .get = template_test_get,
    .walk = template_test_walk,
    .getenv = template_test_getenv,
    .now_ns = template_test_now_ns,
    .file_exists = template_test_file_exists,
};

/* Renders source, as the file "t", into out. Returns the error's text or "". */
static inline const char *template_test_render(
    const char *source, const struct template_limits *limits, struct strbuf *out, struct err *err)
{
    struct template *t = NULL;
    int rc = template_parse("t", bytes_str(source), NULL, &t, err);

    if (rc == 0) {
        rc = template_render(t, &template_test_env, limits, out, err);
        template_free(t);
    }
    assert_true((rc == 0) == (err->text == NULL));
    return err->text != NULL ? err->text : "";
}

static inline void template_check(const struct template_case *cases, size_t n)
{
    size_t failed = 0;

    for (size_t i = 0; i < n; i++) {
        const struct template_case *c = &cases[i];
        _cleanup_strbuf_ struct strbuf out = {0};
        _cleanup_err_ struct err err = {0};
        const char *error = template_test_render(c->source, NULL, &out, &err);

        if (strcmp(error, c->error) != 0 || strcmp(strbuf_cstr(&out), c->output) != 0) {
            print_error("%s: %s\n  expected \"%s\" %s\n  got      \"%s\" %s\n", c->claim, c->source,
                c->output, c->error, strbuf_cstr(&out), error);
            failed++;
        }
    }
    assert_int_equal(failed, 0);
}

#endif
