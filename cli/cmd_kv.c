/* put, get and del. Output is etcdctl's where a program may read it: key and value on lines of
 * their own, "OK", the number of deleted keys. */
#include "cmd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "buf.h"
#include "table.h"
#include "v3_client.h"

/* What may be read from standard input: above any server's request limit. */
enum { STDIN_BYTES_MAX = 64 << 20 };

/* One byte, zero: as range_end it means "to the end", as key with it "everything". */
static const struct bytes nul_byte = {(const uint8_t *)"", 1};

static void set_flag(json_t *request, const char *field, const struct args *args, enum flag_id id)
{
    if (args_has(args, id)) {
        json_object_set_new(request, field, json_true());
    }
}

/* The first key behind all that begin with prefix: the last byte that can grow, grown. */
static json_t *prefix_end(struct bytes prefix)
{
    _cleanup_free_ uint8_t *end = xmemdup(prefix.data, prefix.len);
    size_t len = prefix.len;

    while (len > 0 && end[len - 1] == 0xff) {
        len--;
    }
    if (len == 0) {
        return v3_from_bytes(nul_byte);
    }
    end[len - 1]++;
    return v3_from_bytes(bytes_make(end, len));
}

int kv_set_range(json_t *request, const struct args *args, struct err *reterr)
{
    struct bytes key = args->n_words > 0 ? bytes_str(args->words[0]) : bytes_make(NULL, 0);
    int ways = args_has(args, FLAG_PREFIX) + args_has(args, FLAG_FROM_KEY) + (args->n_words > 1);

    if (ways > 1) {
        return err_set(reterr, -EINVAL, "choose one of RANGE_END, --prefix and --from-key");
    }
    if (key.len == 0 && ways == 0) {
        return err_set(reterr, -EINVAL, "the key is empty; for all keys write --prefix \"\"");
    }
    if (args_has(args, FLAG_PREFIX)) {
        json_object_set_new(request, "range_end", prefix_end(key));
    } else if (args_has(args, FLAG_FROM_KEY)) {
        json_object_set_new(request, "range_end", v3_from_bytes(nul_byte));
    } else if (args->n_words > 1) {
        json_object_set_new(request, "range_end", v3_from_bytes(bytes_str(args->words[1])));
    }
    json_object_set_new(request, "key", v3_from_bytes(key.len != 0 ? key : nul_byte));
    return 0;
}

static int read_stdin(struct strbuf *ret, struct err *reterr)
{
    for (;;) {
        uint8_t *p = strbuf_reserve(ret, 65536);
        size_t n = fread(p, 1, 65536, stdin);

        ret->len += n;
        if (ret->len > STDIN_BYTES_MAX) {
            return err_set(
                reterr, -EFBIG, "standard input is longer than %d MiB", STDIN_BYTES_MAX >> 20);
        }
        if (n == 0) {
            return ferror(stdin) ? err_set(reterr, -EIO, "standard input: %s", strerror(errno)) : 0;
        }
    }
}

/* The value of a put: the second word, or standard input for "-" or when there is none. */
static int put_value(
    json_t *request, const struct args *args, bool may_read_stdin, struct err *reterr)
{
    _cleanup_strbuf_ struct strbuf in = {0};
    bool from_stdin = args->n_words < 2 || strcmp(args->words[1], "-") == 0;

    if (args_has(args, FLAG_IGNORE_VALUE)) {
        return args->n_words > 1
            ? err_set(reterr, -EINVAL, "--ignore-value keeps the value: give none")
            : 0;
    }
    if (!from_stdin || !may_read_stdin) {
        if (args->n_words < 2) {
            return err_set(reterr, -EINVAL, "put needs a value");
        }
        json_object_set_new(request, "value", v3_from_bytes(bytes_str(args->words[1])));
        return 0;
    }
    int r = read_stdin(&in, reterr);
    if (r == 0) {
        json_object_set_new(request, "value", v3_from_bytes(strbuf_bytes(&in)));
    }
    return r;
}

int kv_put_request(const struct args *args, bool may_read_stdin, json_t **ret, struct err *reterr)
{
    json_t *request = json_object();
    int64_t lease = 0;
    int r = args_lease(args, &lease, reterr);

    if (r == 0 && args->words[0][0] == 0) {
        r = err_set(reterr, -EINVAL, "the key is empty");
    }
    if (r == 0) {
        r = put_value(request, args, may_read_stdin, reterr);
    }
    if (r < 0) {
        json_decref(request);
        return r;
    }
    json_object_set_new(request, "key", v3_from_bytes(bytes_str(args->words[0])));
    if (lease != 0) {
        json_object_set_new(request, "lease", v3_from_int(lease));
    }
    set_flag(request, "prev_kv", args, FLAG_PREV_KV);
    set_flag(request, "ignore_value", args, FLAG_IGNORE_VALUE);
    set_flag(request, "ignore_lease", args, FLAG_IGNORE_LEASE);
    *ret = request;
    return 0;
}

/* A word of a flag as the number the enum has on the wire. */
static int set_choice(json_t *request, const char *field, const struct args *args, enum flag_id id,
    const char *const *names, size_t n, struct err *reterr)
{
    _cleanup_strbuf_ struct strbuf known = {0};

    if (!args_has(args, id)) {
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        if (strcasecmp(args->values[id], names[i]) == 0) {
            json_object_set_new(request, field, json_integer((json_int_t)i));
            return 0;
        }
        strbuf_printf(&known, "%s%s", i != 0 ? ", " : "", names[i]);
    }
    return err_set(reterr, -EINVAL, "\"%s\" is none of %s", args->values[id], strbuf_cstr(&known));
}

int kv_get_request(const struct args *args, json_t **ret, struct err *reterr)
{
    static const char *const targets[] = {"key", "version", "create", "modify", "value"};
    static const char *const orders[] = {"none", "ascend", "descend"};
    json_t *request = json_object();
    int64_t limit = 0, rev = 0;
    int r = kv_set_range(request, args, reterr);

    r = r != 0 ? r : args_int64(args, FLAG_LIMIT, &limit, reterr);
    r = r != 0 ? r : args_int64(args, FLAG_REV, &rev, reterr);
    r = r != 0 ? r
               : set_choice(request, "sort_target", args, FLAG_SORT_BY, targets,
                     ARRAY_SIZE(targets), reterr);
    r = r != 0
        ? r
        : set_choice(request, "sort_order", args, FLAG_ORDER, orders, ARRAY_SIZE(orders), reterr);
    if (r < 0) {
        json_decref(request);
        return r;
    }
    if (args_has(args, FLAG_SORT_BY) && !args_has(args, FLAG_ORDER)) {
        json_object_set_new(request, "sort_order", json_integer(1));
    }
    if (limit != 0) {
        json_object_set_new(request, "limit", v3_from_int(limit));
    }
    if (rev != 0) {
        json_object_set_new(request, "revision", v3_from_int(rev));
    }
    set_flag(request, "serializable", args, FLAG_SERIALIZABLE);
    set_flag(request, "keys_only", args, FLAG_KEYS_ONLY);
    set_flag(request, "count_only", args, FLAG_COUNT_ONLY);
    *ret = request;
    return 0;
}

int kv_del_request(const struct args *args, json_t **ret, struct err *reterr)
{
    json_t *request = json_object();
    int r = kv_set_range(request, args, reterr);

    if (r < 0) {
        json_decref(request);
        return r;
    }
    set_flag(request, "prev_kv", args, FLAG_PREV_KV);
    *ret = request;
    return 0;
}

static void print_field_line(const struct cli *cli, const json_t *kv, const char *field)
{
    _cleanup_free_ char *memory = NULL;

    text_print(v3_bytes(kv, field, &memory), cli->terminal);
    (void)fputc('\n', stdout);
}

void kv_print_pair(const struct cli *cli, const json_t *kv)
{
    print_field_line(cli, kv, "key");
    print_field_line(cli, kv, "value");
}

void kv_print_put(const struct cli *cli, const json_t *reply)
{
    const json_t *prev = json_object_get(reply, "prev_kv");

    (void)printf("OK\n");
    if (prev != NULL) {
        kv_print_pair(cli, prev);
    }
}

static void print_range_table(const json_t *kvs, bool keys_only)
{
    static const char *const titles[] = {"KEY", "REVISION", "VERSION", "SIZE", "VALUE"};
    enum { KEY_WIDTH_MAX = 60, OTHER_COLUMNS = 32 };
    struct table *t = table_new(titles, keys_only ? 3 : 5);
    size_t longest = 3, width = text_terminal_width(), i;
    const json_t *kv;

    json_array_foreach(kvs, i, kv)
    {
        _cleanup_free_ char *memory = NULL;
        size_t len = v3_bytes(kv, "key", &memory).len;

        longest = MAX(longest, len);
    }
    longest = MIN(longest, (size_t)KEY_WIDTH_MAX);
    json_array_foreach(kvs, i, kv)
    {
        _cleanup_free_ char *key_memory = NULL, *value_memory = NULL, *size = NULL;
        struct bytes value = v3_bytes(kv, "value", &value_memory);

        table_add(t, v3_bytes(kv, "key", &key_memory), KEY_WIDTH_MAX);
        table_addf(t, "%" PRId64, v3_int(kv, "mod_revision"));
        table_addf(t, "%" PRId64, v3_int(kv, "version"));
        if (!keys_only) {
            size = text_size(value.len);
            table_addf(t, "%s", size);
            table_add(t, value, MAX(width, longest + OTHER_COLUMNS + 16) - longest - OTHER_COLUMNS);
        }
    }
    table_print(t, stdout);
    table_free(t);
}

void kv_print_range(const struct cli *cli, const struct args *args, const json_t *reply)
{
    const json_t *kvs = json_object_get(reply, "kvs");
    bool many = args->n_words > 1 || args_has(args, FLAG_PREFIX) || args_has(args, FLAG_FROM_KEY);
    const json_t *kv;
    size_t i;

    if (args_has(args, FLAG_COUNT_ONLY)) {
        (void)printf("%" PRId64 "\n", v3_int(reply, "count"));
        return;
    }
    if (!args_has(args, FLAG_PRINT_VALUE_ONLY) &&
        (cli->format == OUTPUT_TABLE || (cli->format == OUTPUT_AUTO && cli->terminal && many))) {
        print_range_table(kvs, args_has(args, FLAG_KEYS_ONLY));
    } else {
        json_array_foreach(kvs, i, kv)
        {
            if (!args_has(args, FLAG_PRINT_VALUE_ONLY)) {
                print_field_line(cli, kv, "key");
            }
            if (!args_has(args, FLAG_KEYS_ONLY)) {
                print_field_line(cli, kv, "value");
            }
        }
    }
    if (json_is_true(json_object_get(reply, "more")) && cli->terminal) {
        (void)fprintf(
            stderr, "%zu of %" PRId64 " keys\n", json_array_size(kvs), v3_int(reply, "count"));
    }
}

void kv_print_del(const struct cli *cli, const json_t *reply)
{
    const json_t *prevs = json_object_get(reply, "prev_kvs");
    const json_t *kv;
    size_t i;

    (void)printf("%" PRId64 "\n", v3_int(reply, "deleted"));
    json_array_foreach(prevs, i, kv)
    {
        kv_print_pair(cli, kv);
    }
}

static int run_put(struct cli *cli, const struct args *args)
{
    _cleanup_err_ struct err e = {0};
    json_t *request = NULL, *reply = NULL;
    int r = kv_put_request(args, true, &request, &e);

    if (r == 0) {
        r = v3_call(cli->client, V3_WRITE, "/kv/put", request, &reply, &e);
    }
    if (r != 0) {
        json_decref(request);
        return cmd_fail(r, &e);
    }
    if (cli->format == OUTPUT_JSON) {
        cmd_print_json(reply);
    } else {
        kv_print_put(cli, reply);
    }
    json_decref(request);
    json_decref(reply);
    return EXIT_DONE;
}

static int run_get(struct cli *cli, const struct args *args)
{
    _cleanup_err_ struct err e = {0};
    json_t *request = NULL, *reply = NULL;
    int exit_code;
    int r = kv_get_request(args, &request, &e);

    if (r == 0) {
        r = v3_call(cli->client, V3_READ, "/kv/range", request, &reply, &e);
    }
    if (r != 0) {
        json_decref(request);
        return cmd_fail(r, &e);
    }
    exit_code =
        v3_int(reply, "count") == 0 && !args_has(args, FLAG_COUNT_ONLY) ? EXIT_SAID_NO : EXIT_DONE;
    if (cli->format == OUTPUT_JSON) {
        cmd_print_json(reply);
    } else if (exit_code == EXIT_DONE) {
        kv_print_range(cli, args, reply);
    } else if (cli->terminal) {
        (void)fprintf(stderr, "decree: no such key\n");
    }
    json_decref(request);
    json_decref(reply);
    return exit_code;
}

static int run_del(struct cli *cli, const struct args *args)
{
    _cleanup_err_ struct err e = {0};
    json_t *request = NULL, *reply = NULL;
    int r = kv_del_request(args, &request, &e);

    if (r == 0) {
        r = v3_call(cli->client, V3_WRITE, "/kv/deleterange", request, &reply, &e);
    }
    if (r != 0) {
        json_decref(request);
        return cmd_fail(r, &e);
    }
    if (cli->format == OUTPUT_JSON) {
        cmd_print_json(reply);
    } else {
        kv_print_del(cli, reply);
    }
    json_decref(request);
    json_decref(reply);
    return EXIT_DONE;
}

const struct command cmd_put = {
    .name = "put",
    .usage = "KEY [VALUE]",
    .summary = "set a key",
    .details =
        "Without VALUE, or when it is \"-\", the value is read from standard input, byte for\n"
        "byte. To put a value that begins with a dash, write -- in front of the key.\n",
    .flags = FLAG(LEASE) | FLAG(PREV_KV) | FLAG(IGNORE_VALUE) | FLAG(IGNORE_LEASE),
    .words_min = 1,
    .words_max = 2,
    .run = run_put,
};

const struct command cmd_get = {
    .name = "get",
    .usage = "KEY [RANGE_END]",
    .summary = "show a key, or all in a range",
    .details = "RANGE_END is the first key not shown. Ends with 1 when there is no such key.\n"
               "-o json prints the reply as the v3 gateway sends it: keys and values in base64.\n",
    .flags = FLAG(PREFIX) | FLAG(FROM_KEY) | FLAG(LIMIT) | FLAG(REV) | FLAG(SORT_BY) | FLAG(ORDER) |
        FLAG(KEYS_ONLY) | FLAG(COUNT_ONLY) | FLAG(PRINT_VALUE_ONLY) | FLAG(SERIALIZABLE),
    .words_min = 0,
    .words_max = 2,
    .run = run_get,
};

const struct command cmd_del = {
    .name = "del",
    .usage = "KEY [RANGE_END]",
    .summary = "delete a key, or all in a range",
    .details = "Prints how many were deleted; to delete nothing is not an error.\n",
    .flags = FLAG(PREFIX) | FLAG(FROM_KEY) | FLAG(PREV_KV),
    .words_min = 0,
    .words_max = 2,
    .run = run_del,
};
