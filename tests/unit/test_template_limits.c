/* Whatever a template or a value asks for, a render ends with its text or a message. */
#include "template_cases.h"

static void expect_failure(
    const char *source, const struct template_limits *limits, const char *part)
{
    _cleanup_strbuf_ struct strbuf out = {0};
    _cleanup_err_ struct err err = {0};
    const char *error = template_test_render(source, limits, &out, &err);

    if (strstr(error, part) == NULL) {
        fail_msg("expected \"%s\" in \"%s\"", part, error);
    }
}

TEST(template_limits, output_stops_at_its_limit)
{
    const struct template_limits limits = {.output_bytes_max = 100};
    _cleanup_strbuf_ struct strbuf out = {0};
    _cleanup_err_ struct err err = {0};

    strbuf_append_str(&out, "what stood here does not count");
    (void)template_test_render("{{range seq 1 100}}0123456789{{end}}", &limits, &out, &err);
    assert_string_equal(
        err.text, "template: t:1:19: executing \"t\" at <text>: the output grows beyond 100 bytes");
    assert_int_equal(out.len, 30 + 100);
    expect_failure("{{range seq 1 100}}{{printf \"%050d\" .}}{{end}}", &limits, "grows beyond 100");
    expect_failure("{{seq 1 100}}", &limits, "grows beyond 100");
}

TEST(template_limits, steps_stop_a_loop)
{
    const struct template_limits limits = {.steps_max = 1000};

    expect_failure(
        "{{range seq 1 100}}{{range seq 1 100}}{{end}}{{end}}", &limits, "more than 1000 steps");
    expect_failure("{{seq 1 100000}}", &limits, "more than 1000 steps");
    expect_failure("{{range 1000000}}{{end}}", &limits, "more than 1000 steps");
    expect_failure("{{$s := printf `%099999d` 0}}{{range seq 1 9}}{{contains $s `x`}}{{end}}",
        &limits, "error calling contains: the render takes more than 1000 steps");
}

TEST(template_limits, memory_stops_values_that_grow)
{
    const struct template_limits limits = {.memory_bytes_max = 1 << 20};

    expect_failure("{{$s := `0123456789abcdef`}}{{range seq 1 40}}{{$s = print $s $s}}{{end}}",
        &limits, "more than 1048576 bytes of memory");
    expect_failure("{{$x := printf `%0999999d` 1}}{{$x = printf `%0999999d` 1}}", &limits,
        "more than 1048576 bytes of memory");
    expect_failure("{{$x := replace (printf `%09999d` 0) `0` (printf `%09999d` 0) -1}}", &limits,
        "more than 1048576 bytes of memory");
    expect_failure(
        "{{$x := split (printf `%099999d` 0) `0`}}", &limits, "more than 1048576 bytes of memory");
    expect_failure("{{$x := seq 1 9223372036854775807}}", &limits, "more than");
    expect_failure("{{$x := html (replace (printf `%0299999d` 0) `0` `<` -1)}}", &limits,
        "error calling html: the render needs more than 1048576 bytes of memory");
    expect_failure(
        "{{$x := jsonArray (printf `[%s1]` (replace (printf `%09999d` 0) `0` `1,` -1))}}", &limits,
        "more than 1048576 bytes of memory");
}

TEST(template_limits, templates_that_call_themselves_end)
{
    expect_failure("{{define `x`}}{{template `x`}}{{end}}{{template `x`}}", NULL,
        "exceeded maximum template depth (500)");
    expect_failure("{{define `x`}}{{if 1}}{{if 1}}{{if 1}}{{if 1}}{{if 1}}{{if 1}}"
                   "{{template `x`}}{{end}}{{end}}{{end}}{{end}}{{end}}{{end}}{{end}}"
                   "{{template `x`}}",
        NULL, "exceeded maximum depth (2000)");
}

static char *repeated(
    const char *head, const char *unit, size_t n, const char *middle, const char *close)
{
    struct strbuf s = {0};

    strbuf_append_str(&s, head);
    for (size_t i = 0; i < n; i++) {
        strbuf_append_str(&s, unit);
    }
    strbuf_append_str(&s, middle);
    for (size_t i = 0; i < n; i++) {
        strbuf_append_str(&s, close);
    }
    return strbuf_take_cstr(&s);
}

TEST(template_limits, nesting_in_the_source_is_bounded)
{
    _cleanup_free_ char *parens = repeated("{{", "(", 100000, "1", ")");
    _cleanup_free_ char *ifs = repeated("", "{{if 1}}", 100000, "", "{{end}}");
    _cleanup_free_ char *fits = repeated("", "{{if 1}}", 190, "x", "{{end}}");
    _cleanup_strbuf_ struct strbuf out = {0};
    _cleanup_err_ struct err err = {0};

    expect_failure(parens, NULL, "nest more than 200 deep");
    expect_failure(ifs, NULL, "nest more than 200 deep");
    assert_string_equal(template_test_render(fits, NULL, &out, &err), "");
    assert_string_equal(strbuf_cstr(&out), "x");
}

TEST(template_limits, a_long_chain_of_else_ifs_costs_no_depth)
{
    _cleanup_free_ char *chain =
        repeated("{{if 0}}", "{{else if 0}}a", 20000, "{{else}}z{{end}}", "");
    _cleanup_strbuf_ struct strbuf out = {0};
    _cleanup_err_ struct err err = {0};

    assert_string_equal(template_test_render(chain, NULL, &out, &err), "");
    assert_string_equal(strbuf_cstr(&out), "z");
}

TEST(template_limits, deep_values_neither_decode_nor_print)
{
    _cleanup_free_ char *json = repeated("{{jsonArray `", "[", 100000, "", "]");
    _cleanup_free_ char *cut = repeated("{{jsonArray `", "[", 100000, "`}}", "");
    struct strbuf closed = {0};

    strbuf_append_str(&closed, json);
    strbuf_append_str(&closed, "`}}");
    expect_failure(strbuf_cstr(&closed), NULL, "JSON nests more than 256 deep");
    expect_failure(cut, NULL, "JSON nests more than 256 deep");
    expect_failure("{{$m := map}}{{range seq 1 100000}}{{$m = map `k` $m}}{{end}}{{$m}}", NULL,
        "nests too deep");
    strbuf_deinit(&closed);
}

TEST(template_limits, a_source_of_many_megabytes_is_refused)
{
    enum { TOO_LARGE = (8 << 20) + 1 };
    _cleanup_free_ char *source = xmalloc(TOO_LARGE + 1);

    memset(source, 'x', TOO_LARGE);
    source[TOO_LARGE] = 0;
    expect_failure(source, NULL, "larger than 8388608 bytes");
}

TEST_MAIN(UNIT(template_limits, output_stops_at_its_limit),
    UNIT(template_limits, steps_stop_a_loop), UNIT(template_limits, memory_stops_values_that_grow),
    UNIT(template_limits, templates_that_call_themselves_end),
    UNIT(template_limits, nesting_in_the_source_is_bounded),
    UNIT(template_limits, a_long_chain_of_else_ifs_costs_no_depth),
    UNIT(template_limits, deep_values_neither_decode_nor_print),
    UNIT(template_limits, a_source_of_many_megabytes_is_refused))
