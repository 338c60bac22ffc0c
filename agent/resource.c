#include "resource.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <ini.h>
#include <pwd.h>

#include "argv.h"
#include "duration.h"
#include "file.h"
#include "hook.h"
#include "template.h"

/* What is collected line by line before it makes a resource. */
struct parser {
    struct resource *r;
    const char *file;
    const char *template_dir;
    struct bytes rest; /* not yet read */
    int line;          /* the one that is being parsed, from 1 */
    uint64_t seen;     /* bit i: row i of the table was given */
    bool in_section;
    bool shell;
    bool has_quiet_max;
    char *command_lines[3]; /* owned: check, reload, verify, split when `shell` is known */
    int command_at[3];
    char **keys; /* owned, as written */
    size_t n_keys;
    struct err *reterr;
    bool failed;
};

_printf_(2, 3) static int fail(struct parser *p, const char *fmt, ...)
{
    _cleanup_free_ char *text = NULL;
    va_list ap;

    if (p->failed) {
        return -EINVAL; /* the first one counts */
    }
    va_start(ap, fmt);
    text = xvasprintf(fmt, ap);
    va_end(ap);
    p->failed = true;
    return p->line > 0 ? err_set(p->reterr, -EINVAL, "%s:%d: %s", p->file, p->line, text)
                       : err_set(p->reterr, -EINVAL, "%s: %s", p->file, text); /* it is empty */
}

static int set_src(struct parser *p, const char *value)
{
    if (value[0] == '/' || strcmp(value, "..") == 0 || strncmp(value, "../", 3) == 0 ||
        strstr(value, "/../") != NULL) {
        return fail(p, "src is a path below %s, without ..; this is '%s'", p->template_dir, value);
    }
    p->r->src = xasprintf("%s/%s", p->template_dir, value);
    return 0;
}

/* No "//", "/./" or "/../": one file has one name, so that two resources with it are noticed. */
static bool is_normal(const char *path)
{
    while (*path == '/') {
        size_t len = strcspn(++path, "/");

        if (len == 0 || (len <= 2 && strncmp(path, "..", len) == 0)) {
            return false;
        }
        path += len;
    }
    return true;
}

static int set_dest(struct parser *p, const char *value)
{
    const char *name = strrchr(value, '/');

    if (value[0] != '/') {
        return fail(p, "dest is an absolute path without quotes; this is '%s'", value);
    }
    if (name[1] == '\0' || strcmp(name, "/.") == 0 || strcmp(name, "/..") == 0) {
        return fail(p, "dest names a file, not a folder; this is '%s'", value);
    }
    if (!is_normal(value)) {
        return fail(p, "dest is written without //, /./ and /../; this is '%s'", value);
    }
    if (strlen(name + 1) > RESOURCE_NAME_MAX) {
        return fail(p, "the file name of dest is longer than %d bytes", RESOURCE_NAME_MAX);
    }
    p->r->dest = xstrdup(value);
    return 0;
}

/* "/a/b" from "a/b", "/a/b/", "//a//b"; "" from "/". */
static char *clean_key(const char *text, size_t len)
{
    struct strbuf out = {0};

    strbuf_append_char(&out, '/');
    for (size_t i = 0; i < len; i++) {
        if (text[i] != '/' || out.data[out.len - 1] != '/') {
            strbuf_append_char(&out, text[i]);
        }
    }
    if (out.data[out.len - 1] == '/') {
        out.len--;
    }
    return strbuf_take_cstr(&out);
}

static int set_prefix(struct parser *p, const char *value)
{
    p->r->prefix = clean_key(value, strlen(value));
    return 0;
}

static int set_keys(struct parser *p, const char *value)
{
    while (*value != '\0') {
        size_t len = strcspn(value, ",");
        const char *start = value;

        value += len + (value[len] == ',');
        while (len > 0 && isspace((unsigned char)*start)) {
            start++;
            len--;
        }
        while (len > 0 && isspace((unsigned char)start[len - 1])) {
            len--;
        }
        if (len == 0) {
            return fail(p, "an empty key between commas; the key / stands for everything");
        }
        if (p->n_keys == RESOURCE_KEYS_MAX) {
            return fail(p, "more than %d keys", RESOURCE_KEYS_MAX);
        }
        p->keys = xreallocarray(p->keys, p->n_keys + 1, sizeof(*p->keys));
        p->keys[p->n_keys++] = clean_key(start, len);
    }
    return 0;
}

/* A whole number below 2^32 - 1, which stands for "leave as it is" in chown. */
static bool parse_id(const char *value, unsigned *ret)
{
    uint64_t n = 0;

    for (const char *p = value; *p != '\0'; p++) {
        if (!isdigit((unsigned char)*p)) {
            return false;
        }
        n = n * 10 + (uint64_t)(*p - '0');
        if (n >= UINT32_MAX) {
            return false;
        }
    }
    *ret = (unsigned)n;
    return *value != '\0';
}

static int set_owner(struct parser *p, const char *value)
{
    const struct passwd *pw = getpwnam(value);
    unsigned id;

    if (pw != NULL) {
        p->r->uid = pw->pw_uid;
    } else if (parse_id(value, &id)) {
        p->r->uid = id;
    } else {
        return fail(p, "owner is the name of a user or a number; there is no user '%s'", value);
    }
    return 0;
}

static int set_group(struct parser *p, const char *value)
{
    const struct group *gr = getgrnam(value);
    unsigned id;

    if (gr != NULL) {
        p->r->gid = gr->gr_gid;
    } else if (parse_id(value, &id)) {
        p->r->gid = id;
    } else {
        return fail(p, "group is the name of a group or a number; there is no group '%s'", value);
    }
    return 0;
}

static int set_mode(struct parser *p, const char *value)
{
    mode_t mode = 0;
    size_t n = strlen(value);

    for (const char *c = value; *c != '\0'; c++) {
        if (*c < '0' || *c > '7' || n > 4) {
            return fail(p, "mode is octal, 0000 to 0777; this is '%s'", value);
        }
        mode = mode << 3 | (mode_t)(*c - '0');
    }
    if (mode > 0777) {
        return fail(p, "mode is octal, 0000 to 0777; set-id bits have no place on a config file");
    }
    p->r->mode = mode;
    p->r->has_mode = true;
    return 0;
}

static int set_duration(
    struct parser *p, const char *name, const char *value, uint64_t min_ms, uint64_t *ret)
{
    if (duration_parse(value, ret) < 0 || *ret < min_ms) {
        return fail(p, "%s is a time such as 500ms, 2s or 1m30s%s; this is '%s'", name,
            min_ms > 0 ? ", not 0" : "", value);
    }
    return 0;
}

static int set_check_timeout(struct parser *p, const char *value)
{
    return set_duration(p, "check_timeout", value, 1, &p->r->check.timeout_ms);
}

static int set_reload_timeout(struct parser *p, const char *value)
{
    return set_duration(p, "reload_timeout", value, 1, &p->r->reload.timeout_ms);
}

static int set_verify_timeout(struct parser *p, const char *value)
{
    return set_duration(p, "verify_timeout", value, 1, &p->r->verify.timeout_ms);
}

static int set_quiet_min(struct parser *p, const char *value)
{
    return set_duration(p, "quiet_min", value, 0, &p->r->quiet_min_ms);
}

static int set_quiet_max(struct parser *p, const char *value)
{
    p->has_quiet_max = true;
    return set_duration(p, "quiet_max", value, 0, &p->r->quiet_max_ms);
}

static int set_command(struct parser *p, size_t which, const char *value)
{
    p->command_lines[which] = xstrdup(value);
    p->command_at[which] = p->line;
    return 0;
}

static int set_check(struct parser *p, const char *value)
{
    return set_command(p, 0, value);
}

static int set_reload(struct parser *p, const char *value)
{
    return set_command(p, 1, value);
}

static int set_verify(struct parser *p, const char *value)
{
    return set_command(p, 2, value);
}

static int set_shell(struct parser *p, const char *value)
{
    p->shell = strcmp(value, "yes") == 0;
    if (!p->shell && strcmp(value, "no") != 0) {
        return fail(p, "shell is yes or no; this is '%s'", value);
    }
    return 0;
}

static const struct {
    const char *name;
    int (*set)(struct parser *p, const char *value);
    bool repeats;
} rows[] = {
    {"src", set_src, false},
    {"dest", set_dest, false},
    {"prefix", set_prefix, false},
    {"keys", set_keys, true},
    {"owner", set_owner, false},
    {"group", set_group, false},
    {"mode", set_mode, false},
    {"check", set_check, false},
    {"reload", set_reload, false},
    {"verify", set_verify, false},
    {"check_timeout", set_check_timeout, false},
    {"reload_timeout", set_reload_timeout, false},
    {"verify_timeout", set_verify_timeout, false},
    {"shell", set_shell, false},
    {"quiet_min", set_quiet_min, false},
    {"quiet_max", set_quiet_max, false},
};
_Static_assert(ARRAY_SIZE(rows) <= 64, "one bit of `seen` a row");

static int fail_unknown(struct parser *p, const char *name)
{
    _cleanup_strbuf_ struct strbuf known = {0};

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        strbuf_printf(&known, "%s%s", i > 0 ? ", " : "", rows[i].name);
    }
    return fail(p, "unknown key '%s'; known are %s", name, strbuf_cstr(&known));
}

static int take_pair(struct parser *p, const char *section, const char *name, const char *value)
{
    if (strcmp(section, "template") != 0) {
        return section[0] == '\0'
            ? fail(p, "'%s' stands before the section [template]", name)
            : fail(p, "unknown section [%s]; there is one, [template]", section);
    }
    p->in_section = true;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (strcmp(rows[i].name, name) != 0) {
            continue;
        }
        if ((p->seen & 1ull << i) != 0 && !rows[i].repeats) {
            return fail(p, "'%s' is given a second time", name);
        }
        p->seen |= 1ull << i;
        return value[0] != '\0' ? rows[i].set(p, value) : fail(p, "'%s' has no value", name);
    }
    return fail_unknown(p, name);
}

static int on_pair(void *user, const char *section, const char *name, const char *value)
{
    return take_pair(user, section, name, value) == 0;
}

/* fgets over the text; counts lines, which the parser's callback is not told. */
static char *read_line(char *out, int size, void *stream)
{
    struct parser *p = stream;
    const uint8_t *newline = p->rest.len > 0 ? memchr(p->rest.data, '\n', p->rest.len) : NULL;
    size_t len = newline != NULL ? (size_t)(newline - p->rest.data) + 1 : p->rest.len;

    if (p->rest.len == 0 || p->failed) {
        return NULL;
    }
    p->line++;
    if (len >= (size_t)size) {
        (void)fail(p, "the line is longer than %d bytes", RESOURCE_LINE_MAX);
        return NULL;
    }
    memcpy(out, p->rest.data, len);
    out[len] = '\0';
    p->rest.data += len;
    p->rest.len -= len;
    return out;
}

static int read_pairs(struct parser *p)
{
    int bad_line;

    if (p->rest.len > 0 && memchr(p->rest.data, '\0', p->rest.len) != NULL) {
        p->line = 1;
        return fail(p, "this is not a text file: it contains NUL bytes");
    }
    /* Commands contain ';' and '#', and an indented line is not a continuation. */
    ini_allow_inline_comments = false;
    ini_allow_multiline = false;
    ini_use_stack = false;
    ini_allow_realloc = false;
    ini_max_line = ini_initial_alloc = RESOURCE_LINE_MAX + 3;
    bad_line = ini_parse_stream(read_line, p, on_pair, p);
    if (p->failed) {
        return -EINVAL;
    }
    if (bad_line != 0) {
        p->line = bad_line;
        return fail(p, "this is neither [section] nor name = value");
    }
    return 0;
}

/* What is wrong with a {{…}} is said now, with its line, and not when the command is needed. A
 * field that is not there expands to "<no value>", which no command wants. */
static int try_expansion(struct parser *p, char *const *argv, int line)
{
    static const char *const fields[] = {"src", "dest"};
    static const char *const values[] = {"/src", "/dest"};

    for (; *argv != NULL; argv++) {
        _cleanup_strbuf_ struct strbuf out = {0};
        _cleanup_err_ struct err e = {0};
        int rc = 0;

        if (strstr(*argv, "{{") != NULL) {
            rc = template_expand(
                "command", bytes_str(*argv), ARRAY_SIZE(fields), fields, values, &out, &e);
        }
        if (rc < 0 || strstr(strbuf_cstr(&out), "<no value>") != NULL) {
            p->line = line;
            return fail(p, "a command knows {{.src}} and {{.dest}}; this is '%s'%s%s", *argv,
                rc < 0 ? ": " : "", rc < 0 ? e.text : "");
        }
    }
    return 0;
}

static int split_commands(struct parser *p)
{
    struct command *commands[] = {&p->r->check, &p->r->reload, &p->r->verify};

    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        _cleanup_err_ struct err e = {0};

        if (p->command_lines[i] == NULL) {
            continue;
        }
        if (p->shell) {
            commands[i]->argv = xcalloc(4, sizeof(char *));
            commands[i]->argv[0] = xstrdup("/bin/sh");
            commands[i]->argv[1] = xstrdup("-c");
            commands[i]->argv[2] = xstrdup(p->command_lines[i]);
        } else if (argv_split(p->command_lines[i], &commands[i]->argv, &e) < 0) {
            p->line = p->command_at[i];
            return fail(p, "the command cannot be split into words: %s", e.text);
        }
        if (try_expansion(p, commands[i]->argv, p->command_at[i]) < 0) {
            return -EINVAL;
        }
    }
    return 0;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Full keys, sorted, without those that lie within another one. */
static void make_scopes(struct parser *p)
{
    struct resource *r = p->r;

    if (p->n_keys == 0) {
        p->keys = xreallocarray(NULL, 1, sizeof(*p->keys));
        p->keys[p->n_keys++] = xstrdup("");
    }
    r->scopes = xcalloc(p->n_keys, sizeof(*r->scopes));
    for (size_t i = 0; i < p->n_keys; i++) {
        char *full = xasprintf("%s%s", r->prefix, p->keys[i][0] != '\0' ? p->keys[i] : "/");

        free(p->keys[i]);
        p->keys[i] = full;
    }
    qsort(p->keys, p->n_keys, sizeof(*p->keys), by_text);
    for (size_t i = 0; i < p->n_keys; i++) {
        bool covered = false;

        for (size_t j = 0; j < r->n_scopes && !covered; j++) {
            covered = scope_covers(bytes_str(r->scopes[j]), bytes_str(p->keys[i]));
        }
        if (!covered) {
            r->scopes[r->n_scopes++] = TAKE_PTR(p->keys[i]);
        }
    }
}

static int complete(struct parser *p)
{
    struct resource *r = p->r;

    if (!p->in_section) {
        return fail(p, "there is no section [template] with anything in it");
    }
    if (r->src == NULL || r->dest == NULL) {
        return fail(p, "the section ends without %s", r->src == NULL ? "src" : "dest");
    }
    if (p->n_keys == 0 && r->prefix == NULL) {
        return fail(p, "the section ends without keys or prefix: what may the template see?");
    }
    if (!p->has_quiet_max) {
        r->quiet_max_ms = 4 * r->quiet_min_ms;
    } else if (r->quiet_max_ms < r->quiet_min_ms) {
        return fail(p, "quiet_max is shorter than quiet_min");
    }
    if (r->prefix == NULL) {
        r->prefix = xstrdup("");
    }
    make_scopes(p);
    return split_commands(p);
}

static void parser_deinit(struct parser *p)
{
    for (size_t i = 0; i < ARRAY_SIZE(p->command_lines); i++) {
        free(p->command_lines[i]);
    }
    for (size_t i = 0; i < p->n_keys; i++) {
        free(p->keys[i]);
    }
    free(p->keys);
}

int resource_parse(const char *name, const char *file, struct bytes text, const char *template_dir,
    struct resource **ret, struct err *reterr)
{
    struct parser p = {
        .r = xcalloc(1, sizeof(*p.r)),
        .file = file,
        .template_dir = template_dir,
        .rest = text,
        .reterr = reterr,
    };
    int rc;

    *p.r = (struct resource){
        .name = xstrdup(name),
        .uid = (uid_t)-1,
        .gid = (gid_t)-1,
        .check.timeout_ms = HOOK_TIMEOUT_MS,
        .reload.timeout_ms = HOOK_TIMEOUT_MS,
        .verify.timeout_ms = HOOK_TIMEOUT_MS,
        .config_text = buf_copy(text),
    };
    rc = read_pairs(&p);
    if (rc == 0) {
        rc = complete(&p);
    }
    parser_deinit(&p);
    if (rc < 0) {
        resource_free(p.r);
        return rc;
    }
    *ret = p.r;
    return 0;
}

int resource_load_template(struct resource *r, struct err *reterr)
{
    const char *slash = strrchr(r->src, '/');
    _cleanup_strbuf_ struct strbuf text = {0};
    int rc = file_read(r->src, RESOURCE_TEMPLATE_MAX, &text, reterr);

    if (rc < 0) {
        return rc;
    }
    r->template_text = buf_copy(strbuf_bytes(&text));
    return template_parse(slash != NULL ? slash + 1 : r->src, strbuf_bytes(&text),
        &(struct template_options){.dialect = TEMPLATE_CONFD}, &r->template, reterr);
}

struct resource *resource_free(struct resource *r)
{
    if (r != NULL) {
        free(r->name);
        free(r->src);
        free(r->dest);
        free(r->prefix);
        for (size_t i = 0; i < r->n_scopes; i++) {
            free(r->scopes[i]);
        }
        free(r->scopes);
        argv_free(r->check.argv);
        argv_free(r->reload.argv);
        argv_free(r->verify.argv);
        template_free(r->template);
        buf_unref(r->config_text);
        buf_unref(r->template_text);
        free(r);
    }
    return NULL;
}

static bool same_text(const struct buf *a, const struct buf *b)
{
    return a != NULL && b != NULL && bytes_eq(buf_bytes(a), buf_bytes(b));
}

bool resource_equal(const struct resource *a, const struct resource *b)
{
    return strcmp(a->name, b->name) == 0 && same_text(a->config_text, b->config_text) &&
        same_text(a->template_text, b->template_text);
}

void scope_end(struct bytes scope, struct strbuf *ret_end)
{
    decree_assert(scope.len > 0);
    if (scope.data[scope.len - 1] == '/') {
        scope.len--;
    }
    strbuf_append_bytes(ret_end, scope);
    strbuf_append_char(ret_end, '/' + 1);
}

bool scope_covers(struct bytes scope, struct bytes key)
{
    decree_assert(scope.len > 0);
    if (!bytes_starts_with(key, scope)) {
        return false;
    }
    return scope.data[scope.len - 1] == '/' || key.len == scope.len || key.data[scope.len] == '/';
}
