#include "template_cases.h"

static const struct template_case text_cases[] = {
    {"text_is_copied_byte_for_byte", "a\r\n\tb", "a\r\n\tb", ""},
    {"trim_left", "a  \n\t{{- 1}}", "a1", ""},
    {"trim_right", "{{1 -}} \r\n b", "1b", ""},
    {"trim_both", "a {{- 1 -}} b", "a1b", ""},
    {"no_trim_without_space", "a {{-3}} b", "a -3 b", ""},
    {"comment", "a{{/* x */}}b", "ab", ""},
    {"comment_trim", "a {{- /* x */ -}} b", "ab", ""},
    {"comment_multi", "a{{/* x\ny */}}b{{nosuch}}", "",
        "template: t:2: function \"nosuch\" not defined"},
    {"comment_space_is_error", "{{ /* x */ }}", "", "template: t:1: unexpected \"/\" in command"},
    {"comment_unclosed", "{{/* x }}", "", "template: t:1: unclosed comment"},
    {"comment_tail", "{{/* x */ }}", "", "template: t:1: comment ends before closing delimiter"},
    {"empty_action", "{{}}", "", "template: t:1: missing value for command"},
    {"empty_action_sp", "a\n{{  }}", "", "template: t:2: missing value for command"},
    {"unclosed", "a\n{{1", "", "template: t:2: unclosed action"},
    {"unclosed_lines", "a\n{{1\n\n", "", "template: t:4: unclosed action started at t:2"},
    {"unclosed_quote", "{{\"a}}", "", "template: t:1: unterminated quoted string"},
    {"unclosed_quote_nl", "{{\"a\n\"}}", "", "template: t:1: unterminated quoted string"},
    {"raw_lines", "{{`a\nb`}}", "a\nb", ""},
    {"raw_unclosed", "{{`a}}", "", "template: t:1: unterminated raw quoted string"},
    {"char_unclosed", "{{'a}}", "", "template: t:1: unterminated character constant"},
    {"newline_in_action", "{{print\n1\n2}}", "1 2", ""},
    {"right_paren", "{{)}}", "", "template: t:1: unexpected \")\" in command"},
    {"left_paren", "{{(1}}", "", "template: t:1: unclosed left paren"},
    {"bad_char", "{{1 # 2}}", "", "template: t:1: unexpected \"#\" in operand"},
    {"bad_char2", "{{\001}}", "", "template: t:1: unrecognized character in action: U+0001"},
    {"unicode_ident", "{{é}}", "", "template: t:1: function \"é\" not defined"},
    {"unicode_bad", "{{“x”}}", "", "template: t:1: unrecognized character in action: U+201C '“'"},
    {"brace", "{{1}}}", "1}", ""},
    {"brace2", "{{{1}}}", "", "template: t:1: unexpected \"{\" in command"},
    {"trim_line_count", "a\n\n {{- /* c */ -}} \n\n{{nosuch}}", "",
        "template: t:5: function \"nosuch\" not defined"},
    {"trimmed_right_err", "{{1 -}}\n\n\n{{nosuch}}", "",
        "template: t:4: function \"nosuch\" not defined"},
    {"only_ws", "  \n", "  \n", ""},
    {"text_dollar", "$x $$", "$x $$", ""},
    {"colon", "{{:}}", "", "template: t:1: expected :="},
    {"sep", "{{$x:=1}}{{$x}}", "1", ""},
    {"paren_dot", "{{(print `a`).x}}", "",
        "template: t:1:9: executing \"t\" at <`a`>: can't evaluate field x in type string"},
    {"bad_ident", "{{$x&}}", "", "template: t:1: bad character U+0026 '&'"},
    {"kw_str", "{{true}} {{false}}", "true false", ""},
    {"long_token", "{{1}}{{end \"abcdefghijklmnop\"}}", "",
        "template: t:1: unexpected \"\\\"abcdefghi\"... in end"},
};

TEST(template_syntax, text_and_delimiters_follow_go)
{
    template_check(text_cases, ARRAY_SIZE(text_cases));
}

static const struct template_case numbers_cases[] = {
    {"int", "{{12}}", "12", ""},
    {"types", "{{printf \"%T %T %T %T %T %T\" 1 1.0 1e3 'a' 0x10 1_000}}",
        "int float64 float64 int int int", ""},
    {"forms",
        "{{0x1F}} {{0o17}} {{017}} {{0b101}} {{1_000}} {{+5}} {{-1}} {{.5}} {{5.}} {{'a'}} "
        "{{'\\n'}} {{'\\''}} {{1e3}} {{0x1p4}} {{1E2}} {{-0}}",
        "31 15 15 5 1000 5 -1 0.5 5 97 10 39 1000 16 100 0", ""},
    {"typed_int_from_float_form", "{{add 1e3 1}}", "1001", ""},
    {"overflow", "{{9223372036854775808}}", "",
        "template: t:1:2: executing \"t\" at <9223372036854775808>: 9223372036854775808 overflows "
        "int"},
    {"overflow2", "{{18446744073709551616}}", "",
        "template: t:1: integer overflow: \"18446744073709551616\""},
    {"overflow_max", "{{9223372036854775807}}", "9223372036854775807", ""},
    {"min", "{{-9223372036854775808}}", "-9223372036854775808", ""},
    {"bad", "{{1a}}", "", "template: t:1: bad number syntax: \"1a\""},
    {"bad2", "{{08}}", "", "template: t:1: integer overflow: \"08\""},
    {"bad3", "{{1__0}}", "", "template: t:1: illegal number syntax: \"1__0\""},
    {"bad4", "{{0x}}", "", "template: t:1: illegal number syntax: \"0x\""},
    {"bad5", "{{1..2}}", "", "template: t:1: unexpected \".2\" in operand"},
    {"bad6", "{{1.2.3}}", "", "template: t:1: unexpected \".3\" in operand"},
    {"badchar", "{{'ab'}}", "", "template: t:1: malformed character constant: 'ab'"},
    {"badchar2", "{{''}}", "", "template: t:1: invalid syntax"},
    {"float_out",
        "{{1.5}} {{100000.0}} {{999999.0}} {{1000000.0}} {{1234567.0}} {{0.0001}} {{0.00001}} "
        "{{1e20}} {{1e21}} {{1e-7}} {{123456789.0}} {{0.1}} {{3.0}} {{1e100}}",
        "1.5 100000 999999 1e+06 1.234567e+06 0.0001 1e-05 1e+20 1e+21 1e-07 1.23456789e+08 0.1 3 "
        "1e+100",
        ""},
    {"arg_float", "{{add 1.5 1}}", "",
        "template: t:1:6: executing \"t\" at <1.5>: expected integer; found 1.5"},
    {"str_num", "{{add `1` 1}}", "",
        "template: t:1:6: executing \"t\" at <`1`>: expected integer; found `1`"},
    {"dot_digit", "{{.1}}", "0.1", ""},
    {"us", "{{1_000.5}}", "1000.5", ""},
    {"hexfloat", "{{0x1.8p1}}", "3", ""},
    {"i64", "{{printf \"%d\" 0x7fffffffffffffff}}", "9223372036854775807", ""},
    {"badhex", "{{0xg}}", "", "template: t:1: bad number syntax: \"0xg\""},
    {"bad8", "{{0b12}}", "", "template: t:1: bad number syntax: \"0b12\""},
    {"bade", "{{1e}}", "", "template: t:1: illegal number syntax: \"1e\""},
    {"plusplus", "{{1+2}}", "", "template: t:1: bad number syntax: \"1+2\""},
};

TEST(template_syntax, number_literals_follow_go)
{
    template_check(numbers_cases, ARRAY_SIZE(numbers_cases));
}

static const struct template_case strings_cases[] = {
    {"escapes", "{{\"a\\n\\t\\\"\\\\\\x41\\101\\u00e9\\U0001F600\\a\\b\\f\\r\\v\"}}",
        "a\n\t\"\\AAé😀\007\010\014\r\013", ""},
    {"bad_escape", "{{\"\\q\"}}", "", "template: t:1: invalid syntax"},
    {"sq_escape", "{{\"\\'\"}}", "", "template: t:1: invalid syntax"},
    {"raw_cr", "{{`a\r\nb`}}", "a\nb", ""},
    {"quote_in_raw", "{{`\"`}}", "\"", ""},
    {"empty", "{{\"\"}}", "", ""},
    {"pipe_str", "{{\"a\" | print \"b\"}}", "ba", ""},
    {"str_field", "{{\"a\".x}}", "", "template: t:1: unexpected . after term \"\\\"a\\\"\""},
    {"num_field", "{{1 .x}}", "",
        "template: t:1:2: executing \"t\" at <1>: can't give argument to non-function 1"},
    {"surrogate", "{{\"\\ud800\"}}", "", "template: t:1: invalid syntax"},
    {"x1", "{{\"\\x4\"}}", "", "template: t:1: invalid syntax"},
    {"o1", "{{\"\\400\"}}", "", "template: t:1: invalid syntax"},
};

TEST(template_syntax, string_literals_follow_go)
{
    template_check(strings_cases, ARRAY_SIZE(strings_cases));
}

static const struct template_case templates_cases[] = {
    {"define", "{{define \"x\"}}[{{.}}]{{end}}{{template \"x\" 5}}", "[5]", ""},
    {"no_dot", "{{define \"x\"}}[{{.}}]{{end}}{{template \"x\"}}", "[<no value>]", ""},
    {"no_vars", "{{$v := 1}}{{define \"x\"}}{{$v}}{{end}}{{template \"x\"}}", "",
        "template: t:1: undefined variable \"$v\""},
    {"dollar", "{{define \"x\"}}{{$}}{{end}}{{template \"x\" 7}}", "7", ""},
    {"block", "{{block \"x\" 3}}<{{.}}>{{end}}", "<3>", ""},
    {"undefined", "{{template \"nope\"}}", "",
        "template: t:1:11: executing \"t\" at <{{template \"nope\"}}>: template \"nope\" not "
        "defined"},
    {"undefined2", "a\n{{if 1}}  {{template \"nope\" .}}{{end}}", "a\n  ",
        "template: t:2:21: executing \"t\" at <{{template \"nope\" .}}>: template \"nope\" not "
        "defined"},
    {"dup", "{{define \"x\"}}a{{end}}{{define \"x\"}}b{{end}}", "",
        "template: t:1: template: multiple definition of template \"x\""},
    {"dup_ws", "{{define \"x\"}}a{{end}}{{define \"x\"}} \n {{end}}{{template \"x\"}}", "a", ""},
    {"ws_first", "{{define \"x\"}} {{end}}{{define \"x\"}}b{{end}}{{template \"x\"}}", "b", ""},
    {"define_nested", "{{if 1}}{{define \"x\"}}{{end}}{{end}}", "",
        "template: t:1: unexpected <define> in command"},
    {"define_noname", "{{define}}{{end}}", "", "template: t:1: unexpected \"}}\" in define clause"},
    {"define_ident", "{{define x}}{{end}}", "", "template: t:1: unexpected \"x\" in define clause"},
    {"define_noend", "{{define \"x\"}}a", "", "template: t:1: unexpected EOF"},
    {"define_else", "{{define \"x\"}}{{else}}{{end}}", "",
        "template: t:1: unexpected {{else}} in define clause"},
    {"template_var", "{{$n := \"x\"}}{{template $n}}", "",
        "template: t:1: unexpected \"$n\" in template clause"},
    {"error_inside", "{{define \"x\"}}\n  {{getv \"/no\"}}{{end}}ab{{template \"x\"}}", "ab\n  ",
        "template: t:2:4: executing \"x\" at <getv \"/no\">: error calling getv: key does not "
        "exist: /no"},
    {"recursive_count",
        "{{define \"x\"}}{{if gt . 0}}{{.}}{{template \"x\" (sub . 1)}}{{end}}{{end}}{{template "
        "\"x\" 5}}",
        "54321", ""},
    {"template_pipe", "{{define \"x\"}}{{.}}{{end}}{{template \"x\" 1 | add 2}}", "3", ""},
    {"tmpl_decl", "{{define \"x\"}}{{.}}{{end}}{{template \"x\" $y := 3}}{{$y}}", "33", ""},
    {"block_nodot", "{{block \"x\"}}a{{end}}", "", "template: t:1: missing value for block clause"},
    {"raw_name", "{{define `x y`}}a{{end}}{{template \"x y\"}}", "a", ""},
    {"define_extra", "{{define \"x\" 1}}{{end}}", "",
        "template: t:1: unexpected \"1\" in define clause"},
    {"block_range_break", "{{range seq 1 2}}{{block \"x\" .}}{{break}}{{end}}{{end}}", "",
        "template: t:1: {{break}} outside {{range}}"},
    {"define_line", "{{define \"x\"}}\n\n{{nope}}{{end}}", "",
        "template: t:3: function \"nope\" not defined"},
    {"after_define_line", "{{define \"x\"}}\n\n{{end}}\n{{nope}}", "",
        "template: t:4: function \"nope\" not defined"},
    {"self", "a{{define \"t\"}}b{{end}}", "",
        "template: t:1: template: multiple definition of template \"t\""},
    {"empty_self", "{{define \"t\"}}b{{end}}", "b", ""},
    {"quote_name", "{{template \"a\\\"b\"}}", "",
        "template: t:1:11: executing \"t\" at <{{template \"a\\\"b\"}}>: template \"a\\\"b\" not "
        "defined"},
};

TEST(template_syntax, definitions_and_calls_follow_go)
{
    template_check(templates_cases, ARRAY_SIZE(templates_cases));
}

TEST_MAIN(UNIT(template_syntax, text_and_delimiters_follow_go),
    UNIT(template_syntax, number_literals_follow_go),
    UNIT(template_syntax, string_literals_follow_go),
    UNIT(template_syntax, definitions_and_calls_follow_go))
