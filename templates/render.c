#include "render.h"

#include <errno.h>
#include <stdarg.h>

bool render_fail(struct render *r, const char *fmt, ...)
{
    _cleanup_strbuf_ struct strbuf text = {0};
    size_t line, col;
    va_list ap;

    template_locate(r->t, r->at->pos, &line, &col);
    strbuf_printf(&text, "template: %s:%zu:%zu: executing \"", r->t->name, line, col);
    strbuf_append_bytes(&text, r->running->name);
    strbuf_append_str(&text, "\" at <");
    node_describe(r->at, &text);
    strbuf_append_str(&text, ">: ");
    va_start(ap, fmt);
    strbuf_vprintf(&text, fmt, ap);
    va_end(ap);
    (void)err_set(r->err, -EINVAL, "%s", strbuf_cstr(&text));
    return false;
}

bool call_fail(struct render *r, const char *fmt, ...)
{
    va_list ap;

    strbuf_clear(&r->call_error);
    va_start(ap, fmt);
    strbuf_vprintf(&r->call_error, fmt, ap);
    va_end(ap);
    return false;
}

bool call_fail_memory(struct render *r)
{
    return call_fail(
        r, "the render needs more than %zu bytes of memory", r->limits.memory_bytes_max);
}

bool render_steps_left(struct render *r, uint64_t n)
{
    if (n > r->limits.steps_max - r->steps) {
        r->steps = r->limits.steps_max;
        return call_fail(
            r, "the render takes more than %llu steps", (unsigned long long)r->limits.steps_max);
    }
    r->steps += n;
    return true;
}

bool return_copy(struct render *r, struct bytes s, struct value *ret)
{
    struct bytes copy = arena_copy(&r->arena, s);

    if (copy.data == NULL) {
        return call_fail_memory(r);
    }
    *ret = value_string(copy);
    return true;
}

bool return_list(struct render *r, enum value_type type, size_t n, struct value *ret)
{
    struct value_list *list = value_list_new(&r->arena, n);

    if (list == NULL) {
        return call_fail_memory(r);
    }
    *ret = (struct value){.type = type, .u.list = list};
    return true;
}
