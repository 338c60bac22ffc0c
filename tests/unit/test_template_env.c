/* What a template has to do with the world: the keys it reads, delimiters, command lines,
 * warnings. */
#include <stdio.h>

#include "template_cases.h"

struct record {
    struct strbuf reads;
    size_t visited;
};

static bool recording_get(void *data _unused_, struct bytes key, struct bytes *ret)
{
    return template_test_get(NULL, key, ret);
}

struct counting {
    struct record *record;
    bool (*visit)(void *arg, struct bytes key, struct bytes value);
    void *arg;
};

static bool count_visit(void *arg, struct bytes key, struct bytes value)
{
    struct counting *c = arg;

    c->record->visited++;
    return c->visit(c->arg, key, value);
}

static void recording_walk(void *data, struct bytes from,
    bool (*visit)(void *arg, struct bytes key, struct bytes value), void *arg)
{
    struct counting c = {data, visit, arg};

    template_test_walk(NULL, from, count_visit, &c);
}

static void recording_read(void *data, struct bytes key, bool is_prefix)
{
    struct record *r = data;

    strbuf_append_bytes(&r->reads, key);
    strbuf_append_str(&r->reads, is_prefix ? "* " : " ");
}

/* Renders source and compares the reads it reported and the keys that its walks visited. */
static void expect_reads(const char *source, const char *reads, size_t visited)
{
    struct record record = {0};
    const struct template_env env = {
        .data = &record, .get = recording_get, .walk = recording_walk, .read = recording_read};
    _cleanup_strbuf_ struct strbuf out = {0};
    struct template *t;

    assert_int_equal(template_parse("t", bytes_str(source), NULL, &t, NULL), 0);
    (void)template_render(t, &env, NULL, &out, NULL);
    template_free(t);
    assert_string_equal(strbuf_cstr(&record.reads), reads);
    assert_int_equal(record.visited, visited);
    strbuf_deinit(&record.reads);
}

TEST(template_env, reads_are_reported_found_or_not)
{
    expect_reads("{{getv `/top`}}{{exists `/no`}}{{(get `/dir`).Value}}", "/top /no /dir ", 0);
    expect_reads("{{getv `/no`}}{{getv `/top`}}", "/no ", 0);
    expect_reads("{{if false}}{{getv `/top`}}{{end}}", "", 0);
    expect_reads("{{gets `/top`}}", "/top ", 0);
}

TEST(template_env, walks_visit_their_prefix_and_the_key_behind_it)
{
    expect_reads("{{gets `/n/*`}}", "/n/* ", 4);
    expect_reads("{{getvs `/app/upstreams/web?`}}", "/app/upstreams/web* ", 3);
    expect_reads("{{gets `/zzz/*`}}", "/zzz/* ", 0);
    expect_reads("{{ls `/n`}}", "/n /n/* ", 4);
}

TEST(template_env, listings_jump_over_what_lies_below_a_child)
{
    /* name, port, the first key of upstreams, and the key behind the folder. */
    expect_reads("{{ls `/app`}}", "/app /app/* ", 4);
    /* One visit for each of /a /ab /app /dir(leaf) /dir/ /empty /html /n /top. */
    expect_reads("{{ls `/`}}", "/ /* ", 9);
    expect_reads("{{lsdir `/dir`}}", "/dir/* ", 3);
    expect_reads("{{lsdir `/`}}", "", 0);
}

static size_t count_lines(struct bytes s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.len; i++) {
        n += s.data[i] == '\n';
    }
    return n;
}

enum { MANY_KEYS = 10000 };

/* "/app/00000" … "/app/09999", each its own value. */
static void many_walk(void *data, struct bytes from,
    bool (*visit)(void *arg, struct bytes key, struct bytes value), void *arg)
{
    char(*keys)[sizeof("/app/00000")] = data;

    for (size_t i = 0; i < MANY_KEYS; i++) {
        struct bytes key = bytes_str(keys[i]);

        if (bytes_cmp(key, from) >= 0 && !visit(arg, key, key)) {
            return;
        }
    }
}

TEST(template_env, work_grows_with_the_keys_and_no_faster)
{
    static char keys[MANY_KEYS][sizeof("/app/00000")];
    const struct template_env env = {.data = keys, .get = template_test_get, .walk = many_walk};
    /* A visit, a turn of the range, its list and two actions for each key. */
    const struct template_limits limits = {.steps_max = 5 * MANY_KEYS + 100};
    const char *const sources[] = {"{{range gets `/app/*`}}{{.Key}}={{.Value}}\n{{end}}",
        "{{range $i, $v := getvs `/app/*`}}{{$i}}={{$v}}\n{{end}}"};

    for (size_t i = 0; i < MANY_KEYS; i++) {
        (void)snprintf(keys[i], sizeof(keys[i]), "/app/%05u", (unsigned)i % 100000);
    }
    for (size_t i = 0; i < ARRAY_SIZE(sources); i++) {
        _cleanup_strbuf_ struct strbuf out = {0};
        _cleanup_err_ struct err err = {0};
        struct template *t;

        assert_int_equal(template_parse("t", bytes_str(sources[i]), NULL, &t, &err), 0);
        assert_int_equal(template_render(t, &env, &limits, &out, &err), 0);
        assert_int_equal(count_lines(strbuf_bytes(&out)), MANY_KEYS);
        template_free(t);
    }
}

TEST(template_env, delimiters_can_be_changed)
{
    const struct template_options options = {.left_delim = "<%", .right_delim = "%>"};
    _cleanup_strbuf_ struct strbuf out = {0};
    struct template *t;

    assert_int_equal(
        template_parse("t", BYTES_LITERAL("{{x}} <%- getv `/top` -%> %>"), &options, &t, NULL), 0);
    assert_int_equal(template_render(t, &template_test_env, NULL, &out, NULL), 0);
    assert_string_equal(strbuf_cstr(&out), "{{x}}t%>");
    template_free(t);
}

TEST(template_env, a_template_renders_the_same_again_and_again)
{
    const char source[] =
        "{{$l := split `c,a` `,`}}{{reverse $l}}{{range gets `/n/*`}}{{.Key}}{{end}}";
    struct template *t;

    assert_int_equal(template_parse("t", bytes_str(source), NULL, &t, NULL), 0);
    for (int i = 0; i < 3; i++) {
        _cleanup_strbuf_ struct strbuf out = {0};

        assert_int_equal(template_render(t, &template_test_env, NULL, &out, NULL), 0);
        assert_string_equal(strbuf_cstr(&out), "[a c]/n/1/n/10/n/2");
    }
    template_free(t);
}

TEST(template_env, bytes_pass_through_as_they_are)
{
    static const char source[] = "a\0b\xff{{print `\xfe`}}\r\n";
    _cleanup_strbuf_ struct strbuf out = {0};
    struct template *t;

    assert_int_equal(template_parse("t", BYTES_LITERAL(source), NULL, &t, NULL), 0);
    assert_int_equal(template_render(t, &template_test_env, NULL, &out, NULL), 0);
    assert_int_equal(out.len, 7);
    assert_memory_equal(out.data, "a\0b\xff\xfe\r\n", 7);
    template_free(t);
}

static void zone_cet(
    void *data _unused_, int64_t unix_s _unused_, int32_t *ret_offset_s, char ret_name[16])
{
    *ret_offset_s = 3600;
    memcpy(ret_name, "CET", sizeof("CET"));
}

TEST(template_env, datetime_is_in_the_local_zone)
{
    struct template_env env = template_test_env;
    _cleanup_strbuf_ struct strbuf out = {0};
    struct template *t;

    env.local_zone = zone_cet;
    assert_int_equal(template_parse("t",
                         BYTES_LITERAL("{{datetime}}|{{datetime.UTC.Format `15:04 MST`}}|"
                                       "{{datetime.Format `15:04 MST -0700 Z07:00`}}"),
                         NULL, &t, NULL),
        0);
    assert_int_equal(template_render(t, &env, NULL, &out, NULL), 0);
    assert_string_equal(strbuf_cstr(&out),
        "2023-11-14 23:13:20.123456789 +0100 CET m=+0.000000000|22:13 UTC|"
        "23:13 CET +0100 +01:00");
    template_free(t);
}

TEST(template_env, commands_expand_their_fields_and_reach_nothing_else)
{
    static const char *const names[] = {"src", "dest"};
    static const char *const values[] = {"/run/stage x", "/etc/nginx.conf"};
    _cleanup_strbuf_ struct strbuf out = {0};
    _cleanup_err_ struct err err = {0};

    assert_int_equal(template_expand("check_cmd", BYTES_LITERAL("nginx -t -c {{.src}} {{.nope}}"),
                         2, names, values, &out, &err),
        0);
    assert_string_equal(strbuf_cstr(&out), "nginx -t -c /run/stage x <no value>");
    strbuf_clear(&out);
    assert_int_equal(
        template_expand("reload_cmd", BYTES_LITERAL("r {{printf `%q` .dest}}{{index . `no`}}"), 2,
            names, values, &out, &err),
        0);
    assert_string_equal(strbuf_cstr(&out), "r \"/etc/nginx.conf\"");
    assert_true(template_expand("check_cmd", BYTES_LITERAL("{{getv `/top`}}"), 2, names, values,
                    &out, &err) < 0);
    assert_string_equal(err.text, "template: check_cmd:1: function \"getv\" not defined");
}

static void collect_warning(void *data, const char *text)
{
    struct strbuf *all = data;

    strbuf_append_str(all, text);
    strbuf_append_char(all, '\n');
}

TEST(template_env, lint_names_what_surprises)
{
    static const char source[] = "{{ls `/`}}\n"
                                 "{{range reverse (gets `/n/*`)}}{{end}}\n"
                                 "{{if exists `/a`}}{{else if getv `b`}}{{end}}\n"
                                 "{{template `none`}}{{datetime.Year}}\n"
                                 "{{define `d`}}{{getvs `/a/*`}}{{end}}\n";
    _cleanup_strbuf_ struct strbuf all = {0};
    struct template *t;

    assert_int_equal(template_parse("f.tmpl", bytes_str(source), NULL, &t, NULL), 0);
    template_lint(t, collect_warning, &all);
    template_free(t);
    assert_string_equal(strbuf_cstr(&all),
        "f.tmpl:5: getvs sorts by value as text, not by key: 10 comes before 9\n"
        "f.tmpl:1: ls \"/\" lists only keys directly under the root, never folders\n"
        "f.tmpl:2: reverse leaves the result of gets as it is\n"
        "f.tmpl:3: keys begin with a slash: this matches none\n"
        "f.tmpl:4: this template is defined nowhere in the file\n"
        "f.tmpl:4: datetime makes every render differ from the one before\n");
}

TEST_MAIN(UNIT(template_env, reads_are_reported_found_or_not),
    UNIT(template_env, walks_visit_their_prefix_and_the_key_behind_it),
    UNIT(template_env, listings_jump_over_what_lies_below_a_child),
    UNIT(template_env, work_grows_with_the_keys_and_no_faster),
    UNIT(template_env, delimiters_can_be_changed),
    UNIT(template_env, a_template_renders_the_same_again_and_again),
    UNIT(template_env, bytes_pass_through_as_they_are),
    UNIT(template_env, datetime_is_in_the_local_zone),
    UNIT(template_env, commands_expand_their_fields_and_reach_nothing_else),
    UNIT(template_env, lint_names_what_surprises))
