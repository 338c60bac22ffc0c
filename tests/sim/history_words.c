/* Violations in words. */
#include "buf.h"
#include "history_internal.h"

#include <inttypes.h>

_printf_(2, 3) static const char *words(struct history_check *x, const char *fmt, ...)
{
    _cleanup_free_ char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = xvasprintf(fmt, ap);
    va_end(ap);
    return (const char *)arena_copy(&x->words, bytes_str(text)).data;
}

const char *history_show_bytes(struct history_check *x, struct bytes b)
{
    _cleanup_strbuf_ struct strbuf s = {0};

    strbuf_append_char(&s, '"');
    for (size_t i = 0; i < b.len; i++) {
        if (b.data[i] >= ' ' && b.data[i] < 0x7f && b.data[i] != '"' && b.data[i] != '\\') {
            strbuf_append_char(&s, (char)b.data[i]);
        } else {
            strbuf_printf(&s, "\\x%02x", b.data[i]);
        }
    }
    strbuf_append_char(&s, '"');
    return words(x, "%s", strbuf_cstr(&s));
}

static const char *what_was_asked(struct history_check *x, const struct history_call_rec *c)
{
    const char *key = history_show_bytes(x, c->c.key);

    switch (c->c.kind) {
    case HISTORY_PUT:
        return words(x, "put %s = %s", key, history_show_bytes(x, c->c.value));
    case HISTORY_DELETE:
        return words(x, "delete %s", key);
    case HISTORY_CAS:
        return words(x, "cas %s of revision %" PRId64 " = %s", key, c->c.expected,
            history_show_bytes(x, c->c.value));
    case HISTORY_GET:
        return words(x, "get %s", key);
    case HISTORY_GET_STALE:
        return words(x, "stale get %s", key);
    case HISTORY_GRANT:
        return "grant";
    case HISTORY_REVOKE:
        return words(x, "revoke of lease %" PRIx64, (uint64_t)c->c.lease);
    case HISTORY_KEEPALIVE:
        return words(x, "keepalive of lease %" PRIx64, (uint64_t)c->c.lease);
    case HISTORY_COMPACT:
        return words(x, "compact at %" PRId64, c->c.expected);
    case HISTORY_KIND_END:
        break;
    }
    return "?";
}

const char *history_show_call(struct history_check *x, size_t call)
{
    const struct history_call_rec *c = &x->h->calls.v[call];
    const char *asked = what_was_asked(x, c);

    switch (c->r.outcome) {
    case HISTORY_OK:
        return words(x, "call %zu (%s, %" PRIu64 "..%" PRIu64 ", revision %" PRId64 ")", call,
            asked, c->begin, c->end, c->r.revision);
    case HISTORY_FAILED:
        return words(
            x, "call %zu (%s, %" PRIu64 "..%" PRIu64 ", failed)", call, asked, c->begin, c->end);
    case HISTORY_UNKNOWN:
        break;
    }
    return words(x, "call %zu (%s, from %" PRIu64 ", outcome unknown)", call, asked, c->begin);
}

static const char *show_watch(struct history_check *x, size_t watch)
{
    const struct history_watch_rec *w = &x->h->watches.v[watch];

    return words(x, "watch %zu (%s..%s from revision %" PRId64 ", begun at %" PRIu64 ")", watch,
        history_show_bytes(x, w->key), history_show_bytes(x, w->range_end), w->start_revision,
        w->begin);
}

const char *history_show_change(struct history_check *x, const struct history_change_rec *c)
{
    const char *key = history_show_bytes(x, x->h->key_list.v[c->key]->bytes);

    if (c->is_delete) {
        return words(x, "delete %s at revision %" PRId64, key, c->revision);
    }
    if (c->lease != 0) {
        return words(x, "put %s = %s with lease %" PRIx64 " at revision %" PRId64, key,
            history_show_bytes(x, c->value), (uint64_t)c->lease, c->revision);
    }
    return words(
        x, "put %s = %s at revision %" PRId64, key, history_show_bytes(x, c->value), c->revision);
}

const char *history_show_sight(struct history_check *x, const struct history_sight *s)
{
    if (s->call != HISTORY_NONE) {
        return history_show_call(x, s->call);
    }
    return words(x, "%s at %" PRIu64, show_watch(x, s->watch), s->time);
}

/* ---- blame ---- */

_printf_(3, 0) static int blame(
    struct history_check *x, const char *whom, const char *fmt, va_list ap)
{
    _cleanup_free_ char *what = xvasprintf(fmt, ap);

    return err_set(x->err, DECREE_ECORRUPT, "%s: %s", whom, what);
}

int history_blame_call(struct history_check *x, size_t call, const char *fmt, ...)
{
    va_list ap;
    int err;

    va_start(ap, fmt);
    err = blame(x, history_show_call(x, call), fmt, ap);
    va_end(ap);
    return err;
}

int history_blame_watch(struct history_check *x, size_t watch, const char *fmt, ...)
{
    va_list ap;
    int err;

    va_start(ap, fmt);
    err = blame(x, show_watch(x, watch), fmt, ap);
    va_end(ap);
    return err;
}

int history_blame_revision(struct history_check *x, int64_t revision, const char *fmt, ...)
{
    va_list ap;
    int err;

    va_start(ap, fmt);
    err = blame(x, words(x, "revision %" PRId64, revision), fmt, ap);
    va_end(ap);
    return err;
}
