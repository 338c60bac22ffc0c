#include "err.h"

#include <stdarg.h>
#include <string.h>

#include "alloc.h"

struct row {
    const char *name;
    const char *text;
    int grpc;
};

static const struct row rows[] = {
#define X(name, text, grpc) {#name, text, grpc},
    DECREE_ERRORS(X)
#undef X
};

enum { GRPC_INTERNAL = 13 };

static const struct row *row_of(int code)
{
    int i = -code - DECREE_E_FIRST_ - 1;

    return i >= 0 && i < (int)ARRAY_SIZE(rows) ? &rows[i] : NULL;
}

const char *err_text(int code)
{
    const struct row *row = row_of(code);

    if (row != NULL) {
        return row->text;
    }
    return code < 0 ? strerror(-code) : "no error";
}

const char *err_name(int code)
{
    const struct row *row = row_of(code);
    const char *name;

    if (row != NULL) {
        return row->name;
    }
    name = code < 0 ? strerrorname_np(-code) : "OK";
    return name != NULL ? name : "UNKNOWN";
}

int err_grpc_status(int code)
{
    const struct row *row = row_of(code);

    if (row != NULL) {
        return row->grpc;
    }
    return code == 0 ? 0 : GRPC_INTERNAL;
}

int err_http_status(int grpc_status)
{
    static const int http[] = {200, 408, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500,
        503, 500, 401};

    return grpc_status >= 0 && grpc_status < (int)ARRAY_SIZE(http) ? http[grpc_status] : 500;
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
    va_list ap;

    decree_assert(code != 0);
    if (e == NULL) {
        return code;
    }
    err_clear(e);
    va_start(ap, fmt);
    e->text = xvasprintf(fmt, ap);
    va_end(ap);
    e->code = code;
    return code;
}

int err_prefix(struct err *e, const char *fmt, ...)
{
    _cleanup_free_ char *context = NULL;
    char *text;
    va_list ap;

    if (e == NULL || e->text == NULL) {
        return e != NULL ? e->code : 0;
    }
    va_start(ap, fmt);
    context = xvasprintf(fmt, ap);
    va_end(ap);
    text = xasprintf("%s: %s", context, e->text);
    free(e->text);
    e->text = text;
    return e->code;
}

void err_clear(struct err *e)
{
    free(e->text);
    *e = (struct err){0};
}
