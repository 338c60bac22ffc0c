/* The confd dialect's functions that read keys. Every look is reported to the environment first,
 * so that exactly the changes which matter make a file dirty; a walk seeks to the first key that
 * may matter and stops behind the last one. */
#include "function.h"
#include "gopath.h"

static void report(struct render *r, struct bytes key, bool is_prefix)
{
    if (r->env->read != NULL) {
        r->env->read(r->env->data, key, is_prefix);
    }
}

static bool lookup(struct render *r, struct bytes key, struct bytes *ret)
{
    report(r, key, false);
    return r->env->get(r->env->data, key, ret);
}

/* Keys for messages: up to a NUL, and not without bound. */
static bool fail_missing(struct render *r, struct bytes key)
{
    enum { SHOWN_BYTES_MAX = 1024 };

    return call_fail(r, "key does not exist: %.*s", (int)MIN(key.len, (size_t)SHOWN_BYTES_MAX),
        (const char *)key.data);
}

static bool function_exists(struct render *r, const struct call *c, struct value *ret)
{
    struct bytes value;

    *ret = value_bool(lookup(r, c->args[0].u.s, &value));
    return true;
}

static bool function_get(struct render *r, const struct call *c, struct value *ret)
{
    struct value_pair *pair = arena_alloc(&r->arena, sizeof(*pair));

    if (pair == NULL) {
        return call_fail_memory(r);
    }
    pair->key = c->args[0].u.s;
    if (!lookup(r, pair->key, &pair->value)) {
        return fail_missing(r, pair->key);
    }
    *ret = (struct value){.type = VALUE_PAIR, .u.pair = pair};
    return true;
}

/* getv key [default]: what stands behind the default is ignored. */
static bool function_getv(struct render *r, const struct call *c, struct value *ret)
{
    struct bytes value;

    if (lookup(r, c->args[0].u.s, &value)) {
        *ret = value_string(value);
        return true;
    }
    if (c->n > 1) {
        *ret = c->args[1];
        return true;
    }
    return fail_missing(r, c->args[0].u.s);
}

/* ---- gets, getvs ---- */

struct glob_walk {
    struct render *r;
    struct bytes pattern, prefix;
    bool failed;
    struct value *found; /* owned: pairs */
    size_t n, cap;
};

static bool glob_add(struct glob_walk *w, struct bytes key, struct bytes value)
{
    struct value_pair *pair = arena_alloc(&w->r->arena, sizeof(*pair));

    if (pair == NULL) {
        return call_fail_memory(w->r);
    }
    *pair = (struct value_pair){key, value};
    if (w->n == w->cap) {
        w->cap = MAX(w->cap * 2, (size_t)64);
        w->found = xreallocarray(w->found, w->cap, sizeof(*w->found));
    }
    w->found[w->n++] = (struct value){.type = VALUE_PAIR, .u.pair = pair};
    return true;
}

static bool glob_visit(void *arg, struct bytes key, struct bytes value)
{
    struct glob_walk *w = arg;

    if (!bytes_starts_with(key, w->prefix)) {
        return false;
    }
    w->failed =
        !render_steps_left(w->r, 1) || (glob_match(w->pattern, key) && !glob_add(w, key, value));
    return !w->failed;
}

/* Fills w->found with the pairs that match, ascending by key. */
static bool glob_run(struct glob_walk *w)
{
    struct render *r = w->r;
    struct bytes value;

    if (!glob_valid(w->pattern)) {
        return call_fail(r, "syntax error in pattern");
    }
    w->prefix = glob_literal_prefix(w->pattern);
    if (w->prefix.len == w->pattern.len) {
        return !lookup(r, w->pattern, &value) || glob_add(w, w->pattern, value);
    }
    report(r, w->prefix, true);
    r->env->walk(r->env->data, w->prefix, glob_visit, w);
    return !w->failed;
}

static bool function_gets(struct render *r, const struct call *c, struct value *ret)
{
    struct glob_walk w = {.r = r, .pattern = c->args[0].u.s};
    bool ok = glob_run(&w) && return_list(r, VALUE_PAIRS, w.n, ret);

    if (ok && w.n > 0) {
        memcpy(ret->u.list->items, w.found, w.n * sizeof(*w.found));
    }
    free(w.found);
    return ok;
}

static int compare_strings(const void *a, const void *b)
{
    return bytes_cmp(((const struct value *)a)->u.s, ((const struct value *)b)->u.s);
}

/* Sorted by value, not by key: an accident of the dialect that files depend on. */
static bool function_getvs(struct render *r, const struct call *c, struct value *ret)
{
    struct glob_walk w = {.r = r, .pattern = c->args[0].u.s};
    bool ok = glob_run(&w) && return_list(r, VALUE_STRINGS, w.n, ret);

    if (ok && w.n > 0) {
        for (size_t i = 0; i < w.n; i++) {
            ret->u.list->items[i] = value_string(w.found[i].u.pair->value);
        }
        qsort(ret->u.list->items, w.n, sizeof(struct value), compare_strings);
    }
    free(w.found);
    return ok;
}

/* ---- ls, lsdir ---- */

struct list_walk {
    struct render *r;
    struct bytes path;   /* as the template gave it */
    struct bytes folder; /* cleaned, with a slash at its end */
    bool dirs_only;
    bool failed;
    bool skip; /* from: go on there, behind the folder that was just met */
    struct strbuf from;
    struct value *names; /* owned */
    size_t n, cap;
};

static struct bytes until_slash(struct bytes s)
{
    const uint8_t *slash = s.len > 0 ? memchr(s.data, '/', s.len) : NULL;

    return slash != NULL ? bytes_make(s.data, (size_t)(slash - s.data)) : s;
}

static bool list_add(struct list_walk *w, struct bytes name)
{
    if (w->n > 0 && bytes_eq(w->names[w->n - 1].u.s, name)) {
        return true;
    }
    if (w->n == w->cap) {
        w->cap = MAX(w->cap * 2, (size_t)64);
        w->names = xreallocarray(w->names, w->cap, sizeof(*w->names));
    }
    w->names[w->n] = value_string(name);
    return return_copy(w->r, name, &w->names[w->n++]);
}

/* The name that a key below the folder is listed as: what is left of it without the path as given,
 * which for a path that is not in clean form is not always the folder's child. */
static struct bytes listed_name(const struct list_walk *w, struct bytes key)
{
    struct bytes name = key;

    if (bytes_starts_with(name, w->path)) {
        name = bytes_make(name.data + w->path.len, name.len - w->path.len);
    }
    if (bytes_starts_with(name, BYTES_LITERAL("/"))) {
        name = bytes_make(name.data + 1, name.len - 1);
    }
    return until_slash(name);
}

static bool list_visit(void *arg, struct bytes key, struct bytes value _unused_)
{
    struct list_walk *w = arg;
    bool root = w->folder.len == 1, deep;
    struct bytes child;

    if (!bytes_starts_with(key, w->folder)) {
        return false;
    }
    child = until_slash(bytes_make(key.data + w->folder.len, key.len - w->folder.len));
    deep = w->folder.len + child.len < key.len;
    /* Go's split of "/" has one part too many for any folder to be found below it. */
    if (!render_steps_left(w->r, 1) ||
        (w->dirs_only && deep && bytes_starts_with(key, w->path) && child.len > 0 &&
            !list_add(w, child)) ||
        (!w->dirs_only && !(root && deep) && !bytes_eq(key, w->path) &&
            !list_add(w, listed_name(w, key)))) {
        w->failed = true;
        return false;
    }
    if (deep) {
        /* Nothing else below this child makes a difference: go on behind it ('0' follows '/'). */
        strbuf_clear(&w->from);
        strbuf_append(&w->from, key.data, w->folder.len + child.len);
        strbuf_append_char(&w->from, '0');
        w->skip = true;
        return false;
    }
    return true;
}

static void list_run(struct list_walk *w)
{
    struct render *r = w->r;

    report(r, w->folder, true);
    strbuf_append_bytes(&w->from, w->folder);
    do {
        w->skip = false;
        r->env->walk(r->env->data, strbuf_bytes(&w->from), list_visit, w);
    } while (w->skip && !w->failed);
}

/* The names found, each once, ascending. */
static bool list_result(struct list_walk *w, struct value *ret)
{
    size_t kept = 0;

    if (w->n > 1) {
        qsort(w->names, w->n, sizeof(*w->names), compare_strings);
    }
    for (size_t i = 0; i < w->n; i++) {
        if (kept == 0 || !bytes_eq(w->names[kept - 1].u.s, w->names[i].u.s)) {
            w->names[kept++] = w->names[i];
        }
    }
    if (!return_list(w->r, VALUE_STRINGS, kept, ret)) {
        return false;
    }
    if (kept > 0) {
        memcpy(ret->u.list->items, w->names, kept * sizeof(*w->names));
    }
    return true;
}

static bool list_children(struct render *r, struct bytes path, bool dirs_only, struct value *ret)
{
    _cleanup_strbuf_ struct strbuf folder = {0};
    struct list_walk w = {.r = r, .path = path, .dirs_only = dirs_only};
    struct bytes value;
    bool ok;

    path_clean(&folder, path);
    if (folder.data[folder.len - 1] != '/') {
        strbuf_append_char(&folder, '/');
    }
    w.folder = strbuf_bytes(&folder);
    if (!dirs_only && lookup(r, path, &value)) {
        w.failed = !list_add(&w, path_base(path));
    }
    /* A relative path is below no key, and "/" has no folders: see list_visit. */
    if (!w.failed && w.folder.data[0] == '/' && !(dirs_only && w.folder.len == 1)) {
        list_run(&w);
    }
    ok = !w.failed && list_result(&w, ret);
    free(w.names);
    strbuf_deinit(&w.from);
    return ok;
}

static bool function_ls(struct render *r, const struct call *c, struct value *ret)
{
    return list_children(r, c->args[0].u.s, false, ret);
}

static bool function_lsdir(struct render *r, const struct call *c, struct value *ret)
{
    return list_children(r, c->args[0].u.s, true, ret);
}

const struct function functions_keys[] = {
    {"exists", "s", function_exists, FUNCTION_PLAIN},
    {"get", "s", function_get, FUNCTION_PLAIN},
    {"gets", "s", function_gets, FUNCTION_PLAIN},
    {"getv", "ss.", function_getv, FUNCTION_PLAIN},
    {"getvs", "s", function_getvs, FUNCTION_PLAIN},
    {"ls", "s", function_ls, FUNCTION_PLAIN},
    {"lsdir", "s", function_lsdir, FUNCTION_PLAIN},
    {0},
};
