#include "template.h"

#include <errno.h>
#include <stdio.h>

#include "eval.h"
#include "function.h"
#include "parse.h"

enum {
    OUTPUT_BYTES_MAX = 64 << 20,
    MEMORY_BYTES_MAX = 256 << 20,
    STEPS_MAX = 100000000,
};

static parse_find_function functions_of(enum template_dialect dialect)
{
    switch (dialect) {
    case TEMPLATE_CONFD:
        return function_find_confd;
    }
    return function_find_builtin;
}

static int parse(const char *name, struct bytes source, struct bytes left, struct bytes right,
    parse_find_function find, struct template **ret, struct err *reterr)
{
    struct template *t = xcalloc(1, sizeof(*t));
    int rc;

    arena_init(&t->arena, 0);
    t->name = (const char *)arena_copy(&t->arena, bytes_str(name)).data;
    t->source = arena_copy(&t->arena, source);
    rc = parse_template(t, left, right, find, reterr);
    if (rc < 0) {
        template_free(t);
        return rc;
    }
    *ret = t;
    return 0;
}

static struct bytes delimiter(const char *given, const char *usual)
{
    return bytes_str(given != NULL && given[0] != 0 ? given : usual);
}

int template_parse(const char *name, struct bytes source, const struct template_options *options,
    struct template **ret, struct err *reterr)
{
    static const struct template_options defaults = {0};
    const struct template_options *o = options != NULL ? options : &defaults;

    return parse(name, source, delimiter(o->left_delim, "{{"), delimiter(o->right_delim, "}}"),
        functions_of(o->dialect), ret, reterr);
}

struct template *template_free(struct template *t)
{
    if (t != NULL) {
        hmap_deinit(&t->definitions);
        arena_deinit(&t->arena);
        free(t);
    }
    return NULL;
}

static struct template_limits full_limits(const struct template_limits *given)
{
    struct template_limits l = given != NULL ? *given : (struct template_limits){0};

    l.output_bytes_max = l.output_bytes_max != 0 ? l.output_bytes_max : OUTPUT_BYTES_MAX;
    l.steps_max = l.steps_max != 0 ? l.steps_max : STEPS_MAX;
    l.memory_bytes_max = l.memory_bytes_max != 0 ? l.memory_bytes_max : MEMORY_BYTES_MAX;
    return l;
}

static int render_with(const struct template *t, const struct template_env *env,
    const struct template_limits *limits, const struct value *dot, struct strbuf *out,
    struct err *reterr)
{
    struct render r = {
        .t = t, .env = env, .limits = full_limits(limits), .out = out, .err = reterr};
    bool ok;

    arena_init(&r.arena, r.limits.memory_bytes_max);
    r.out_bytes_max = out->len + MIN(r.limits.output_bytes_max, SIZE_MAX - out->len);
    ok = eval_template(&r, dot);
    arena_deinit(&r.arena);
    strbuf_deinit(&r.scratch);
    strbuf_deinit(&r.call_error);
    free(r.vars);
    return ok ? 0 : -EINVAL;
}

int template_render(const struct template *t, const struct template_env *env,
    const struct template_limits *limits, struct strbuf *out, struct err *reterr)
{
    struct value dot = value_none();

    return render_with(t, env, limits, &dot, out, reterr);
}

int template_expand(const char *name, struct bytes source, size_t n, const char *const *names,
    const char *const *values, struct strbuf *out, struct err *reterr)
{
    static const struct template_env nothing = {0}; /* builtins ask nothing of it */
    _cleanup_arena_ struct arena arena = {0};
    struct value_map_entry *entries = arena_calloc(&arena, n, sizeof(*entries));
    struct value dot = {.type = VALUE_STRING_MAP};
    struct template *t;
    int rc;

    for (size_t i = 0; i < n; i++) {
        entries[i] =
            (struct value_map_entry){bytes_str(names[i]), value_string(bytes_str(values[i])), i};
    }
    dot.u.map = value_map_new(&arena, entries, n);
    rc = parse(
        name, source, BYTES_LITERAL("{{"), BYTES_LITERAL("}}"), function_find_builtin, &t, reterr);
    if (rc < 0) {
        return rc;
    }
    rc = render_with(t, &nothing, NULL, &dot, out, reterr);
    template_free(t);
    return rc;
}
