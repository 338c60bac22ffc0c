#include "view.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "template.h"

struct view {
    const struct resource *r;
    const struct mirror *m;
    struct readset *reads;
    size_t prefix_len;
    struct strbuf key; /* scratch: a full key */
    /* of a walk */
    bool (*visit)(void *arg, struct bytes key, struct bytes value);
    void *visit_arg;
    struct bytes scope;
    bool stopped;
};

static struct bytes full_key(struct view *v, struct bytes key)
{
    strbuf_clear(&v->key);
    strbuf_append(&v->key, v->r->prefix, v->prefix_len);
    strbuf_append_bytes(&v->key, key);
    return strbuf_bytes(&v->key);
}

static bool in_scope(const struct view *v, struct bytes full)
{
    for (size_t i = 0; i < v->r->n_scopes; i++) {
        if (scope_covers(bytes_str(v->r->scopes[i]), full)) {
            return true;
        }
    }
    return false;
}

static bool view_get(void *data, struct bytes key, struct bytes *ret_value)
{
    struct view *v = data;
    struct bytes full = full_key(v, key);
    const struct mirror_entry *e = in_scope(v, full) ? mirror_get(v->m, full) : NULL;

    if (e != NULL) {
        *ret_value = mirror_value(e);
    }
    return e != NULL;
}

static bool visit_entry(void *arg, const struct mirror_entry *e)
{
    struct view *v = arg;
    struct bytes key = mirror_key(e);

    if (!scope_covers(v->scope, key)) {
        return true; /* of another scope in the same region, or between the key and its children */
    }
    key.data += v->prefix_len;
    key.len -= v->prefix_len;
    v->stopped = !v->visit(v->visit_arg, key, mirror_value(e));
    return !v->stopped;
}

static void view_walk(void *data, struct bytes from,
    bool (*visit)(void *arg, struct bytes key, struct bytes value), void *arg)
{
    struct view *v = data;
    _cleanup_strbuf_ struct strbuf start = {0};

    strbuf_append_bytes(&start, full_key(v, from));
    v->visit = visit;
    v->visit_arg = arg;
    v->stopped = false;
    for (size_t i = 0; i < v->r->n_scopes && !v->stopped; i++) {
        _cleanup_strbuf_ struct strbuf end = {0};
        struct bytes begin = strbuf_bytes(&start);

        v->scope = bytes_str(v->r->scopes[i]);
        scope_end(v->scope, &end);
        if (bytes_cmp(begin, v->scope) < 0) {
            begin = v->scope;
        }
        if (bytes_cmp(begin, strbuf_bytes(&end)) < 0) {
            mirror_walk(v->m, begin, strbuf_bytes(&end), visit_entry, v);
        }
    }
}

static void view_read(void *data, struct bytes key, bool is_prefix)
{
    struct view *v = data;
    struct bytes full = full_key(v, key);

    if (is_prefix) {
        readset_add_prefix(v->reads, full);
    } else {
        readset_add_key(v->reads, full);
    }
}

/* Templates are root's own files, and what they take from the environment is theirs to decide. */
static const char *view_getenv(void *data, const char *name)
{
    (void)data;
    return getenv(name);
}

static int64_t view_now_ns(void *data)
{
    struct timespec t;

    (void)data;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void view_local_zone(void *data, int64_t unix_s, int32_t *ret_offset_s, char ret_name[16])
{
    time_t t = unix_s;
    struct tm tm = {0};

    (void)data;
    (void)localtime_r(&t, &tm);
    *ret_offset_s = (int32_t)tm.tm_gmtoff;
    (void)snprintf(ret_name, 16, "%s", tm.tm_zone != NULL ? tm.tm_zone : "");
}

static bool view_file_exists(void *data, const char *path)
{
    struct stat st;

    (void)data;
    return stat(path, &st) == 0 || errno != ENOENT;
}

int view_render(const struct resource *r, const struct mirror *m, struct readset *reads,
    struct strbuf *out, struct err *reterr)
{
    struct view v = {.r = r, .m = m, .reads = reads, .prefix_len = strlen(r->prefix)};
    const struct template_env env = {
        .data = &v,
        .get = view_get,
        .walk = view_walk,
        .read = reads != NULL ? view_read : NULL,
        .getenv = view_getenv,
        .now_ns = view_now_ns,
        .file_exists = view_file_exists,
        .local_zone = view_local_zone,
    };
    int rc;

    if (reads != NULL) {
        readset_clear(reads);
    }
    rc = template_render(r->template, &env, &(struct template_limits){0}, out, reterr);
    strbuf_deinit(&v.key);
    return rc;
}
