#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <string.h>

#include "buf.h"

#define DEFAULT_CONFIG_FILE "/etc/decree/decree.conf"

struct row {
    const char *flag;
    enum option_program program;
    enum option_kind kind;
    const char *fallback;
    const char *hint;
    int64_t min, max;
    const char *help;
};

static const struct row rows[OPT_END] = {
#define X(id, flag, program, kind, fallback, hint, min, max, help)                                 \
    [OPT_##id] = {flag, program, OPTION_##kind, fallback, hint, min, max, help},
    DAEMON_OPTIONS(X)
#undef X
};

/* ---- values ---- */

struct unit {
    const char *suffix;
    uint64_t factor;
};

static const struct unit byte_units[] = {
    {"", 1}, {"K", 1u << 10}, {"M", 1u << 20}, {"G", 1u << 30}, {NULL, 0}};
static const struct unit time_units[] = {
    {"", 1}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {NULL, 0}};
static const struct unit no_units[] = {{"", 1}, {NULL, 0}};

static const struct unit *units_of(enum option_kind kind)
{
    return kind == OPTION_BYTES ? byte_units : kind == OPTION_DURATION ? time_units : no_units;
}

static const struct unit *find_unit(const struct unit *units, const char *s, size_t len)
{
    for (; units->suffix != NULL; units++) {
        if (strlen(units->suffix) == len && strncasecmp(units->suffix, s, len) == 0) {
            return units;
        }
    }
    return NULL;
}

/* One or more numbers with units, "1m30s"; false when it is not that or does not fit 63 bits. */
static bool parse_amount(const char *s, const struct unit *units, uint64_t *ret)
{
    uint64_t total = 0;

    if (*s == '\0') {
        return false;
    }
    while (*s != '\0') {
        char *end;
        unsigned long long n;
        uint64_t part;
        const struct unit *unit;
        size_t len;

        if (!isdigit((unsigned char)*s)) {
            return false;
        }
        errno = 0;
        n = strtoull(s, &end, 10);
        len = strcspn(end, "0123456789");
        unit = find_unit(units, end, len);
        if (errno != 0 || unit == NULL || __builtin_mul_overflow(n, unit->factor, &part) ||
            __builtin_add_overflow(total, part, &total) || total > INT64_MAX) {
            return false;
        }
        s = end + len;
    }
    *ret = total;
    return true;
}

static bool is_choice(const char *hint, const char *value)
{
    size_t len = strlen(value);

    for (const char *p = hint; len > 0 && p != NULL; p = strchr(p, '|')) {
        p += *p == '|';
        if (strncmp(p, value, len) == 0 && (p[len] == '|' || p[len] == '\0')) {
            return true;
        }
    }
    return false;
}

static int check_value(
    const struct row *row, const char *origin, const char *value, struct err *reterr)
{
    uint64_t n;

    switch (row->kind) {
    case OPTION_STRING:
        return 0;
    case OPTION_CHOICE:
    case OPTION_FLAG:
        if (!is_choice(row->hint, value)) {
            return err_set(
                reterr, -EINVAL, "%s: \"%s\" is not one of %s", origin, value, row->hint);
        }
        return 0;
    case OPTION_NUMBER:
    case OPTION_BYTES:
    case OPTION_DURATION:
        if (!parse_amount(value, units_of(row->kind), &n)) {
            return err_set(reterr, -EINVAL, "%s: \"%s\" is not a %s", origin, value,
                row->kind == OPTION_BYTES          ? "size such as 512M"
                    : row->kind == OPTION_DURATION ? "time such as 100ms or 2s"
                                                   : "whole number");
        }
        if (n < (uint64_t)row->min || n > (uint64_t)row->max) {
            return err_set(reterr, -EINVAL, "%s: %s is outside %" PRId64 " to %" PRId64 "%s",
                origin, value, row->min, row->max, row->kind == OPTION_DURATION ? " ms" : "");
        }
        return 0;
    }
    decree_assert(false);
    return -EINVAL;
}

/* A source of lower rank never replaces what is set already. */
static int set_value(
    struct options *o, enum option_id id, const char *value, const char *origin, struct err *reterr)
{
    int rc = check_value(&rows[id], origin, value, reterr);

    if (rc == 0 && o->values[id] == NULL) {
        o->values[id] = xstrdup(value);
        o->origins[id] = xstrdup(origin);
    }
    return rc;
}

static enum option_id find_option(const char *name, size_t len)
{
    for (int i = 0; i < OPT_END; i++) {
        if (strlen(rows[i].flag) == len && strncmp(rows[i].flag, name, len) == 0) {
            return (enum option_id)i;
        }
    }
    return OPT_END;
}

/* ---- flags ---- */

static size_t common_prefix(const char *a, const char *b, size_t b_len)
{
    size_t n = 0;

    while (n < b_len && a[n] != '\0' && a[n] == b[n]) {
        n++;
    }
    return n;
}

static int unknown_flag(
    enum option_program program, const char *arg, const char *name, size_t len, struct err *reterr)
{
    const char *nearest = NULL;
    size_t best = 2;

    for (int i = 0; i < OPT_END; i++) {
        size_t n = common_prefix(rows[i].flag, name, len);

        if ((rows[i].program & program) != 0 && n > best) {
            best = n;
            nearest = rows[i].flag;
        }
    }
    if (nearest != NULL) {
        return err_set(reterr, -EINVAL, "unknown option %s; did you mean --%s? (--help lists all)",
            arg, nearest);
    }
    return err_set(reterr, -EINVAL, "unknown option %s (--help lists all)", arg);
}

static int read_flags(struct options *o, int argc, char *const *argv, struct err *reterr)
{
    for (int i = 1; i < argc; i++) {
        _cleanup_free_ char *origin = NULL;
        const char *name = argv[i];
        const char *value;
        enum option_id id;
        size_t len;
        int rc;

        if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
            return OPTIONS_HELP;
        }
        if (strcmp(name, "--version") == 0) {
            return OPTIONS_VERSION;
        }
        if (name[0] != '-') {
            return err_set(reterr, -EINVAL, "\"%s\" is not an option (--help lists all)", name);
        }
        name += name[1] == '-' ? 2 : 1; /* etcd's flags are known with one dash as well */
        value = strchr(name, '=');
        len = value != NULL ? (size_t)(value - name) : strlen(name);
        id = find_option(name, len);
        if (id == OPT_END || (rows[id].program & o->program) == 0) {
            return unknown_flag(o->program, argv[i], name, len, reterr);
        }
        origin = xasprintf("--%s", rows[id].flag);
        if (value != NULL) {
            value++;
        } else if (rows[id].kind == OPTION_FLAG) {
            value = "yes";
        } else if (i + 1 < argc) {
            value = argv[++i];
        } else {
            return err_set(reterr, -EINVAL, "%s needs a value: %s", origin, rows[id].hint);
        }
        if (o->values[id] != NULL) {
            return err_set(reterr, -EINVAL, "%s is given twice", origin);
        }
        rc = set_value(o, id, value, origin, reterr);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* ---- environment and file ---- */

static char *env_name(const char *flag)
{
    char *name = xasprintf("DECREE_%s", flag);

    for (char *p = name; *p != '\0'; p++) {
        *p = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
    }
    return name;
}

static int read_environment(struct options *o, struct err *reterr)
{
    for (int i = 0; i < OPT_END; i++) {
        _cleanup_free_ char *name = env_name(rows[i].flag);
        const char *value = getenv(name);

        if (value != NULL && *value != '\0') {
            int rc = set_value(o, (enum option_id)i, value, name, reterr);

            if (rc < 0) {
                return rc;
            }
        }
    }
    return 0;
}

struct file_reader {
    struct options *o;
    FILE *f;
    const char *path;
    int line; /* of the key at hand: inih asks for one line at a time */
    struct err *reterr;
    int rc;
};

static char *next_line(char *line, int size, void *data)
{
    struct file_reader *r = data;

    r->line++;
    return fgets(line, size, r->f);
}

/* inih calls this for each key; 0 stops it. */
static int on_ini_key(void *data, const char *section, const char *key, const char *value)
{
    struct file_reader *r = data;
    _cleanup_free_ char *origin = xasprintf("%s:%d", r->path, r->line);
    enum option_id id = find_option(key, strlen(key));

    if (section[0] != '\0') {
        r->rc = err_set(
            r->reterr, -EINVAL, "%s: sections are not used here, found [%s]", origin, section);
    } else if (id == OPT_END || id == OPT_CONFIG_FILE) {
        r->rc = err_set(
            r->reterr, -EINVAL, "%s: unknown key \"%s\" (decreed --help lists all)", origin, key);
    } else {
        r->rc = set_value(r->o, id, value, origin, r->reterr);
    }
    return r->rc == 0;
}

static int read_file(struct options *o, struct err *reterr)
{
    bool named = o->values[OPT_CONFIG_FILE] != NULL;
    struct file_reader r = {.o = o, .reterr = reterr};
    int line;

    r.path = named ? o->values[OPT_CONFIG_FILE] : DEFAULT_CONFIG_FILE;
    r.f = fopen(r.path, "re");
    if (r.f == NULL) {
        int rc = -errno;

        if (rc == -ENOENT && !named) {
            return 0;
        }
        return err_set(reterr, rc, "cannot read %s: %s", r.path, strerror(-rc));
    }
    line = ini_parse_stream(next_line, &r, on_ini_key, &r);
    (void)fclose(r.f);
    if (r.rc != 0) {
        return r.rc;
    }
    if (line != 0) {
        return err_set(reterr, -EINVAL, "%s:%d: not a \"key = value\" line", r.path, line);
    }
    return 0;
}

int options_read(
    struct options *o, enum option_program program, int argc, char *const *argv, struct err *reterr)
{
    int rc;

    *o = (struct options){.program = program};
    rc = read_flags(o, argc, argv, reterr);
    if (rc == 0) {
        rc = read_environment(o, reterr);
    }
    if (rc == 0) {
        rc = read_file(o, reterr);
    }
    return rc;
}

void options_deinit(struct options *o)
{
    for (int i = 0; i < OPT_END; i++) {
        free(o->values[i]);
        free(o->origins[i]);
    }
    *o = (struct options){0};
}

const char *option_string(const struct options *o, enum option_id id)
{
    return o->values[id] != NULL ? o->values[id] : rows[id].fallback;
}

bool option_is_set(const struct options *o, enum option_id id)
{
    return o->values[id] != NULL;
}

uint64_t option_number(const struct options *o, enum option_id id)
{
    uint64_t n = 0;
    bool ok = parse_amount(option_string(o, id), units_of(rows[id].kind), &n);

    decree_assert(ok);
    return n;
}

bool option_flag(const struct options *o, enum option_id id)
{
    return strcmp(option_string(o, id), "yes") == 0;
}

char *option_data_dir(const struct options *o)
{
    return option_is_set(o, OPT_DATA_DIR) ? xstrdup(option_string(o, OPT_DATA_DIR))
                                          : xasprintf("%s.decree", option_string(o, OPT_NAME));
}

static char *inside_data_dir(const struct options *o, enum option_id id, const char *name)
{
    _cleanup_free_ char *data_dir = option_data_dir(o);

    return option_is_set(o, id) ? xstrdup(option_string(o, id))
                                : xasprintf("%s/%s", data_dir, name);
}

char *option_state_dir(const struct options *o)
{
    return inside_data_dir(o, OPT_STATE_DIR, "agent");
}

/* Absolute: a URL names it, and the agent need not run where the store does. */
char *option_agent_socket(const struct options *o)
{
    _cleanup_free_ char *path = inside_data_dir(o, OPT_AGENT_SOCKET, "agent.sock");
    _cleanup_free_ char *here = path[0] != '/' ? get_current_dir_name() : NULL;

    return here != NULL ? xasprintf("%s/%s", here, path) : xstrdup(path);
}

char *option_endpoints(const struct options *o)
{
    _cleanup_free_ char *socket_path = option_agent_socket(o);

    return option_is_set(o, OPT_ENDPOINTS) ? xstrdup(option_string(o, OPT_ENDPOINTS))
                                           : xasprintf("unix://%s", socket_path);
}

int options_to_argv(
    const struct options *o, enum option_program program, const char **argv, int argc)
{
    static const char *const flags[OPT_END] = {
#define X(id, flag, ...) [OPT_##id] = "--" flag,
        DAEMON_OPTIONS(X)
#undef X
    };

    for (int i = 0; i < OPT_END; i++) {
        if (o->values[i] != NULL && (rows[i].program & program) != 0) {
            argv[argc++] = flags[i];
            argv[argc++] = o->values[i];
        }
    }
    return argc;
}

const char *option_origin(const struct options *o, enum option_id id)
{
    return o->origins[id] != NULL ? o->origins[id] : "the default";
}

/* ---- help ---- */

char *options_help(enum option_program program, const char *program_name)
{
    struct strbuf s = {0};

    strbuf_printf(&s, "usage: %s [--option VALUE]…\n\n", program_name);
    for (int i = 0; i < OPT_END; i++) {
        const struct row *row = &rows[i];

        if ((row->program & program) == 0) {
            continue;
        }
        strbuf_printf(&s, "  --%s %s\n        %s", row->flag,
            row->kind == OPTION_FLAG ? "" : row->hint, row->help);
        if (row->kind != OPTION_FLAG && row->fallback[0] != '\0') {
            strbuf_printf(&s, " [%s]", row->fallback);
        }
        strbuf_append_str(&s, "\n");
    }
    strbuf_append_str(&s,
        "  --version\n        print the version and exit\n"
        "\nEach option may also stand in the environment (DECREE_DATA_DIR for --data-dir) or in "
        "the\n"
        "configuration file (data-dir = …); a flag wins over the environment, that over the "
        "file.\n");
    return strbuf_take_cstr(&s);
}
