/* decree-template: renders one template with keys from a file or the command line. For tests and
 * for people who write templates; the agent uses the library itself. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "file.h"
#include "template.h"

enum { FILE_BYTES_MAX = 64 << 20 };

static const char usage[] =
    "usage: decree-template [--lint] FILE.tmpl [KEYS.json | KEY=VALUE ...]\n"
    "Prints what the template comes to. KEYS.json is one object of strings: {\"/key\": "
    "\"value\"}.\n"
    "--lint prints warnings instead. Exit code 1: the template does not parse or render.\n";

struct pair {
    struct bytes key, value;
};

/* Sorted by key. The pairs point into root or into the command line. */
struct keys {
    struct pair *pairs; /* owned */
    size_t n, cap;
    json_t *root; /* owned; NULL without a file */
};

static int compare_pairs(const void *a, const void *b)
{
    return bytes_cmp(((const struct pair *)a)->key, ((const struct pair *)b)->key);
}

static void keys_add(struct keys *k, struct bytes key, struct bytes value)
{
    if (k->n == k->cap) {
        k->cap = MAX(k->cap * 2, (size_t)64);
        k->pairs = xreallocarray(k->pairs, k->cap, sizeof(*k->pairs));
    }
    k->pairs[k->n++] = (struct pair){key, value};
}

/* Index of the first key >= from. */
static size_t keys_seek(const struct keys *k, struct bytes from)
{
    size_t low = 0, high = k->n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (bytes_cmp(k->pairs[mid].key, from) < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

static bool env_get(void *data, struct bytes key, struct bytes *ret_value)
{
    const struct keys *k = data;
    size_t i = keys_seek(k, key);

    if (i == k->n || !bytes_eq(k->pairs[i].key, key)) {
        return false;
    }
    *ret_value = k->pairs[i].value;
    return true;
}

static void env_walk(void *data, struct bytes from,
    bool (*visit)(void *arg, struct bytes key, struct bytes value), void *arg)
{
    const struct keys *k = data;

    for (size_t i = keys_seek(k, from); i < k->n; i++) {
        if (!visit(arg, k->pairs[i].key, k->pairs[i].value)) {
            return;
        }
    }
}

static const char *env_getenv(void *data _unused_, const char *name)
{
    return getenv(name);
}

/* SOURCE_DATE_EPOCH, in seconds, stands for the clock where it is set, so that a test can expect
 * the same text every time. */
static int64_t env_now_ns(void *data _unused_)
{
    const char *fixed = getenv("SOURCE_DATE_EPOCH");
    struct timespec t;

    if (fixed != NULL) {
        return strtoll(fixed, NULL, 10) * 1000000000;
    }
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static bool env_file_exists(void *data _unused_, const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 || errno != ENOENT;
}

static void env_local_zone(
    void *data _unused_, int64_t unix_s, int32_t *ret_offset_s, char ret_name[16])
{
    time_t t = unix_s;
    struct tm tm = {0};

    (void)localtime_r(&t, &tm);
    *ret_offset_s = (int32_t)tm.tm_gmtoff;
    (void)snprintf(ret_name, 16, "%s", tm.tm_zone != NULL ? tm.tm_zone : "");
}

static int keys_from_json(struct keys *k, const char *path)
{
    json_error_t error;
    const char *key;
    json_t *value;

    k->root = json_load_file(path, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (k->root == NULL) {
        fprintf(stderr, "decree-template: %s:%d: %s\n", path, error.line, error.text);
        return -EINVAL;
    }
    if (!json_is_object(k->root)) {
        fprintf(stderr, "decree-template: %s: not an object\n", path);
        return -EINVAL;
    }
    json_object_foreach(k->root, key, value)
    {
        if (!json_is_string(value)) {
            fprintf(stderr, "decree-template: %s: the value of %s is no string\n", path, key);
            return -EINVAL;
        }
        keys_add(
            k, bytes_str(key), bytes_make(json_string_value(value), json_string_length(value)));
    }
    return 0;
}

static int keys_from_args(struct keys *k, int n, char **args)
{
    if (n == 1 && strchr(args[0], '=') == NULL) {
        return keys_from_json(k, args[0]);
    }
    for (int i = 0; i < n; i++) {
        const char *equals = strchr(args[i], '=');

        if (equals == NULL) {
            fprintf(stderr, "decree-template: \"%s\" is not KEY=VALUE\n", args[i]);
            return -EINVAL;
        }
        keys_add(k, bytes_make(args[i], (size_t)(equals - args[i])), bytes_str(equals + 1));
    }
    return 0;
}

static void print_warning(void *data _unused_, const char *text)
{
    printf("%s\n", text);
}

static int run(const char *path, struct keys *k, bool lint, struct err *err)
{
    const struct template_env env = {.data = k,
        .get = env_get,
        .walk = env_walk,
        .getenv = env_getenv,
        .now_ns = env_now_ns,
        .file_exists = env_file_exists,
        .local_zone = env_local_zone};
    const char *slash = strrchr(path, '/');
    _cleanup_strbuf_ struct strbuf source = {0}, out = {0};
    struct template *t;
    int rc;

    rc = file_read(path, FILE_BYTES_MAX, &source, err);
    if (rc < 0) {
        return rc;
    }
    rc = template_parse(slash != NULL ? slash + 1 : path, strbuf_bytes(&source), NULL, &t, err);
    if (rc < 0) {
        return rc;
    }
    if (lint) {
        template_lint(t, print_warning, NULL);
    } else {
        rc = template_render(t, &env, NULL, &out, err);
    }
    template_free(t);
    if (rc == 0 && out.len > 0 && fwrite(out.data, 1, out.len, stdout) != out.len) {
        return err_set(err, -EIO, "standard output: %s", strerror(errno));
    }
    return rc;
}

int main(int argc, char **argv)
{
    bool lint = argc > 1 && strcmp(argv[1], "--lint") == 0;
    int at = lint ? 2 : 1;
    _cleanup_err_ struct err err = {0};
    struct keys k = {0};
    int rc;

    if (argc <= at || argv[at][0] == '-') {
        fputs(usage, argc > at && strcmp(argv[at], "--help") == 0 ? stdout : stderr);
        return argc > at && strcmp(argv[at], "--help") == 0 ? 0 : 2;
    }
    rc = keys_from_args(&k, argc - at - 1, argv + at + 1);
    if (rc == 0) {
        if (k.n > 1) {
            qsort(k.pairs, k.n, sizeof(*k.pairs), compare_pairs);
        }
        rc = run(argv[at], &k, lint, &err);
        if (rc < 0) {
            fprintf(stderr, "%s\n", err.text);
        }
    }
    free(k.pairs);
    json_decref(k.root);
    return rc < 0 || fflush(stdout) != 0 ? 1 : 0;
}
