/* The pure parts of the command line: words and flags, endpoints, txn lines, what is shown. */
#include "unit.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "table.h"
#include "txn_parse.h"
#include "v3_client.h"
#include "v3_endpoint.h"

enum { WORDS_MAX = 16 };

/* Flags are moved within words: what to free is kept apart. */
struct line {
    char *words[WORDS_MAX], *all[WORDS_MAX];
    const struct command *command;
    struct args args;
    struct err e;
    int r;
};

static void line_read(struct line *l, const char *text)
{
    char **split;
    int n;

    memset(l, 0, sizeof(*l));
    assert_int_equal(txn_split(text, &split, &n, NULL), 0);
    assert_true(n < WORDS_MAX);
    memcpy(l->words, split, (size_t)(n + 1) * sizeof(char *));
    memcpy(l->all, split, (size_t)(n + 1) * sizeof(char *));
    free(split);
    l->r = command_line_parse(n, l->words, &l->command, &l->args, &l->e);
}

static void line_free(struct line *l)
{
    for (size_t i = 0; l->all[i] != NULL; i++) {
        free(l->all[i]);
    }
    err_clear(&l->e);
}

TEST(command, flags_may_stand_anywhere_behind_the_command)
{
    struct line l;

    line_read(&l, "decree --timeout 3s get /a --prefix -o=json /b --limit=7");
    assert_int_equal(l.r, 0);
    assert_ptr_equal(l.command, &cmd_get);
    assert_int_equal(l.args.n_words, 2);
    assert_string_equal(l.args.words[0], "/a");
    assert_string_equal(l.args.words[1], "/b");
    assert_true(args_has(&l.args, FLAG_PREFIX));
    assert_false(args_has(&l.args, FLAG_FROM_KEY));
    assert_string_equal(l.args.values[FLAG_OUTPUT], "json");
    assert_string_equal(l.args.values[FLAG_LIMIT], "7");
    assert_string_equal(l.args.values[FLAG_TIMEOUT], "3s");
    line_free(&l);
}

TEST(command, two_dashes_end_the_flags_or_begin_a_command)
{
    struct line l;

    line_read(&l, "decree put -- --key -value");
    assert_int_equal(l.r, 0);
    assert_int_equal(l.args.n_words, 2);
    assert_string_equal(l.args.words[0], "--key");
    line_free(&l);

    line_read(&l, "decree watch /a --prefix -- echo --prefix");
    assert_int_equal(l.r, 0);
    assert_int_equal(l.args.n_words, 1);
    assert_int_equal(l.args.n_rest, 2);
    assert_string_equal(l.args.rest[1], "--prefix");
    line_free(&l);
}

TEST(command, names_of_two_words_and_their_alias)
{
    struct line l;

    line_read(&l, "decree lease grant 5");
    assert_int_equal(l.r, 0);
    assert_ptr_equal(l.command, &cmd_lease_grant);
    assert_int_equal(l.args.n_words, 1);
    line_free(&l);

    line_read(&l, "decree member-list");
    assert_ptr_equal(l.command, &cmd_member_list);
    line_free(&l);

    line_read(&l, "decree agent render --diff --endpoints x");
    assert_int_equal(l.r, 0);
    assert_int_equal(l.args.n_words, 3); /* raw: its flags are decreed-agent's */
    line_free(&l);
}

TEST(command, a_switch_can_be_turned_off)
{
    struct line l;

    line_read(&l, "decree get /a --prefix --prefix=false");
    assert_int_equal(l.r, 0);
    assert_false(args_has(&l.args, FLAG_PREFIX));
    line_free(&l);
}

TEST(command, the_nearest_word_is_suggested_and_a_far_one_is_not)
{
    static const char *const lines[][2] = {
        {"decree wach /a", "\"wach\" is not a command; did you mean \"watch\"?"},
        {"decree qqqqq", "\"qqqqq\" is not a command; see decree help"},
        {"decree get /a --serialisable",
            "get does not know --serialisable; did you mean "
            "--serializable?"},
        {"decree get /a --qqqqqqq", "get does not know --qqqqqqq; see decree help get"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        struct line l;

        line_read(&l, lines[i][0]);
        assert_int_equal(l.r, -EINVAL);
        assert_string_equal(l.e.text, lines[i][1]);
        line_free(&l);
    }
}

TEST(command, durations)
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {{"500ms", 500}, {"5s", 5000}, {"2", 2000}, {"1.5s", 1500}, {"2m", 120000},
        {"1h", 3600000}, {"0.1ms", 1}};
    static const char *const bad[] = {"", "s", "-1s", "0", "5 s", "5d", "1e99", "nan", "inf"};
    int64_t ms;

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_int_equal(duration_parse_ms(good[i].text, &ms, NULL), 0);
        assert_int_equal(ms, good[i].ms);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(duration_parse_ms(bad[i], &ms, NULL), -EINVAL);
    }
}

TEST(endpoint, every_form)
{
    static const struct {
        const char *text, *url, *path;
    } good[] = {
        {"http://127.0.0.1:2379", "http://127.0.0.1:2379", NULL},
        {"http://h.example:1/", "http://h.example:1", NULL},
        {"localhost:2379", "http://localhost:2379", NULL},
        {"http://[::1]:2379", "http://[::1]:2379", NULL},
        {"unix:///run/decree/agent.sock", "http://localhost", "/run/decree/agent.sock"},
    };
    static const char *const bad[] = {"", "h", ":1", "h:", "h:x", "http://", "https://h:1",
        "ftp://h:1", "unix://run/x", "http://u@h:1", "http://h:1/v3", "h h:1", "http://h:1?x"};
    struct v3_endpoint e;

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_int_equal(v3_endpoint_parse(good[i].text, strlen(good[i].text), &e, NULL), 0);
        assert_string_equal(e.url, good[i].url);
        assert_string_equal(e.text, good[i].text);
        assert_int_equal(e.unix_path != NULL, good[i].path != NULL);
        if (good[i].path != NULL) {
            assert_string_equal(e.unix_path, good[i].path);
        }
        v3_endpoint_deinit(&e);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        if (v3_endpoint_parse(bad[i], strlen(bad[i]), &e, NULL) != -EINVAL) {
            fail_msg("accepted: %s", bad[i]);
        }
    }
}

static void assert_json(json_t *value, const char *wanted)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS);

    assert_string_equal(text, wanted);
    free(text);
    json_decref(value);
}

TEST(txn, compares_and_requests_become_the_gateways_json)
{
    json_t *v;

    assert_int_equal(txn_parse_compare("mod(\"/a b\") > \"3\"", &v, NULL), 0);
    assert_json(v,
        "{\"key\":\"L2EgYg==\",\"mod_revision\":\"3\",\"result\":\"GREATER\","
        "\"target\":\"MOD\"}");
    assert_int_equal(txn_parse_compare("  val ( /a ) != x ", &v, NULL), -EINVAL);
    assert_int_equal(txn_parse_compare("  val( /a ) != x ", &v, NULL), 0);
    assert_json(
        v, "{\"key\":\"L2E=\",\"result\":\"NOT_EQUAL\",\"target\":\"VALUE\",\"value\":\"eA==\"}");
    assert_int_equal(txn_parse_compare("lease(a)=\"ff\"", &v, NULL), 0);
    assert_json(
        v, "{\"key\":\"YQ==\",\"lease\":\"255\",\"result\":\"EQUAL\",\"target\":\"LEASE\"}");
    assert_int_equal(txn_parse_request("put a 'b c' --lease 1f --prev-kv", &v, NULL), 0);
    assert_json(v,
        "{\"request_put\":{\"key\":\"YQ==\",\"lease\":\"31\",\"prev_kv\":true,"
        "\"value\":\"YiBj\"}}");
    assert_int_equal(txn_parse_request("del --prefix \"\\xff\"", &v, NULL), 0);
    assert_json(v, "{\"request_delete_range\":{\"key\":\"/w==\",\"range_end\":\"AA==\"}}");
    assert_int_equal(txn_parse_request("get --prefix \"\"", &v, NULL), 0);
    assert_json(v, "{\"request_range\":{\"key\":\"AA==\",\"range_end\":\"AA==\"}}");
    assert_int_equal(txn_parse_request("get --prefix \"a\\xff\"", &v, NULL), 0);
    assert_json(v, "{\"request_range\":{\"key\":\"Yf8=\",\"range_end\":\"Yg==\"}}");
}

TEST(txn, broken_lines_are_refused)
{
    static const char *const compares[] = {"", "mod", "mod(", "mod(a", "mod(a)", "mod(a) >",
        "mod(a) > x", "mod() > 1", "mod(a) > 1 2", "mod(\"a) > 1", "size(a) = 1", "mod(a) >= 1",
        "mod(a) > 99999999999999999999"};
    static const char *const requests[] = {"", "put", "put a", "txn", "get", "put a \"b",
        "put a \"\\q\"", "put a \"\\x00\"", "get a b c", "put a b --lease z", "get --rev 1x a"};
    json_t *v;

    for (size_t i = 0; i < ARRAY_SIZE(compares); i++) {
        if (txn_parse_compare(compares[i], &v, NULL) != -EINVAL) {
            fail_msg("accepted: %s", compares[i]);
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
        if (txn_parse_request(requests[i], &v, NULL) != -EINVAL) {
            fail_msg("accepted: %s", requests[i]);
        }
    }
}

TEST(json, numbers_are_read_as_strings_and_as_numbers)
{
    json_t *v = json_loads("{\"s\":\"-5\",\"n\":7,\"u\":\"18446744073709551615\",\"b\":\"AP8=\","
                           "\"x\":\"A\"}",
        0, NULL);
    char *memory;
    struct bytes b;

    assert_int_equal(v3_int(v, "s"), -5);
    assert_int_equal(v3_int(v, "n"), 7);
    assert_true(v3_uint(v, "u") == UINT64_MAX);
    assert_int_equal(v3_int(v, "absent"), 0);
    assert_string_equal(v3_text(v, "absent"), "");
    b = v3_bytes(v, "b", &memory);
    assert_true(bytes_eq(b, bytes_make("\0\xff", 2)));
    free(memory);
    assert_int_equal(v3_bytes(v, "x", &memory).len, 0);
    free(memory);
    json_decref(v);
}

TEST(table, nothing_that_a_terminal_obeys_gets_through)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"plain ü €", "plain ü €"},
        {"a\nb\tc\r", "a\\nb\\tc\\r"},
        {"\x1b[2J\x7f", "\\x1b[2J\\x7f"},
        {"\xc2\x9b"
         "31m",
            "\\xc2\\x9b31m"}, /* CSI as one character */
        {"\xff\xc3", "\\xff\\xc3"},
        {"\xc0\xaf\xed\xa0\x80", "\\xc0\\xaf\\xed\\xa0\\x80"}, /* overlong, surrogate */
        {"\xe2\x80\xae", "\\xe2\\x80\\xae"},                   /* right-to-left override */
        {"\xf0\x9f\x9a\x80", "\xf0\x9f\x9a\x80"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_strbuf_ struct strbuf out = {0};

        text_escape(&out, bytes_str(cases[i].in));
        assert_string_equal(strbuf_cstr(&out), cases[i].out);
    }
}

TEST(table, columns_are_aligned_and_long_cells_cut)
{
    static const char *const titles[] = {"A", "LONGER"};
    struct table *t = table_new(titles, 2);
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    table_add(t, bytes_str("äö"), 0);
    table_addf(t, "%d", 1);
    table_add(t, bytes_str("abcdefgh"), 5);
    table_add(t, bytes_str("12345"), 5);
    table_print(t, f);
    table_free(t);
    (void)fclose(f);
    assert_string_equal(text, "A      LONGER\näö     1\nabcd…  12345\n");
    free(text);
}

TEST(table, sizes_and_ages_are_short)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } sizes[] = {{0, "0 B"}, {1023, "1023 B"}, {1024, "1.0 KiB"}, {4301, "4.2 KiB"},
        {20 * 1024, "20 KiB"}, {UINT64_C(3) << 30, "3.0 GiB"}};
    static const struct {
        int64_t ms;
        const char *text;
    } ages[] = {{-5, "0 s"}, {320, "0.3 s"}, {59999, "59 s"}, {300000, "5 min"}, {7200000, "2 h"},
        {INT64_C(9) * 86400000, "9 d"}};

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        _cleanup_free_ char *text = text_size(sizes[i].bytes);

        assert_string_equal(text, sizes[i].text);
    }
    for (size_t i = 0; i < ARRAY_SIZE(ages); i++) {
        _cleanup_free_ char *text = text_age(ages[i].ms);

        assert_string_equal(text, ages[i].text);
    }
}

TEST_MAIN(UNIT(command, flags_may_stand_anywhere_behind_the_command),
    UNIT(command, two_dashes_end_the_flags_or_begin_a_command),
    UNIT(command, names_of_two_words_and_their_alias), UNIT(command, a_switch_can_be_turned_off),
    UNIT(command, the_nearest_word_is_suggested_and_a_far_one_is_not), UNIT(command, durations),
    UNIT(endpoint, every_form), UNIT(txn, compares_and_requests_become_the_gateways_json),
    UNIT(txn, broken_lines_are_refused), UNIT(json, numbers_are_read_as_strings_and_as_numbers),
    UNIT(table, nothing_that_a_terminal_obeys_gets_through),
    UNIT(table, columns_are_aligned_and_long_cells_cut), UNIT(table, sizes_and_ages_are_short))
