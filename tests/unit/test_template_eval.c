#include "template_cases.h"

static const struct template_case logic_cases[] = {
    {"if_else", "{{if 0}}a{{else if ``}}b{{else if 1}}c{{else}}d{{end}}", "c", ""},
    {"truth",
        "{{range $x := jsonArray "
        "`[0,1,\"\",\"0\",\"false\",false,true,null,[],[0],{},{\"a\":1}]`}}{{if "
        "$x}}T{{else}}F{{end}}{{end}}",
        "FTFTTFTFFTFT", ""},
    {"pair_always_true", "{{if get \"/empty\"}}T{{else}}F{{end}}", "T", ""},
    {"and_or",
        "{{and 1 0 2}} {{and 1 2}} {{or 0 `` 3 4}} {{or 0 ``}} {{and 1}} {{not 0}} {{not `a`}}",
        "0 2 3  1 true false", ""},
    {"short_circuit", "{{or 1 (getv \"/no\")}} {{and 0 (getv \"/no\")}}", "1 0", ""},
    {"and_final", "{{1 | and 2}} {{0 | or 0}} {{0|and 1}}", "1 0 0", ""},
    {"and_none", "{{and}}", "",
        "template: t:1:2: executing \"t\" at <and>: wrong number of args for and: want at least 1 "
        "got 0"},
    {"or_piped_only", "{{1|or}}", "1", ""},
    {"not_args", "{{not 1 2}}", "",
        "template: t:1:2: executing \"t\" at <not>: wrong number of args for not: want 1 got 2"},
    {"with", "{{with 1}}{{.}}{{end}}{{with 0}}x{{else}}y{{end}}", "1y", ""},
    {"with_var", "{{with $x := 5}}{{$x}}{{.}}{{end}}", "55", ""},
    {"if_var_scope", "{{if $x := 1}}{{$x}}{{end}}{{$x}}", "",
        "template: t:1: undefined variable \"$x\""},
    {"if_var_else", "{{if $x := 0}}a{{else}}{{$x}}{{end}}", "0", ""},
    {"else_else", "{{if 1}}{{else}}{{else}}{{end}}", "",
        "template: t:1: expected end; found {{else}}"},
    {"no_end", "{{if 1}}a", "", "template: t:1: unexpected EOF"},
    {"stray_end", "a{{end}}", "", "template: t:1: unexpected {{end}}"},
    {"stray_else", "a{{else}}", "", "template: t:1: unexpected {{else}}"},
    {"if_empty", "{{if}}a{{end}}", "", "template: t:1: missing value for if"},
    {"end_args", "{{if 1}}{{end 2}}", "", "template: t:1: unexpected \"2\" in end"},
    {"break_outside", "{{break}}", "", "template: t:1: {{break}} outside {{range}}"},
    {"continue_outside", "{{continue}}", "", "template: t:1: {{continue}} outside {{range}}"},
    {"break_args", "{{range seq 1 2}}{{break 1}}{{end}}", "",
        "template: t:1: unexpected \"1\" in {{break}}"},
    {"with_else_if", "{{with 1}}{{else if 2}}{{end}}", "",
        "template: t:1: unexpected <if> in input"},
    {"range_else_if", "{{range 1}}{{else if 2}}{{end}}", "",
        "template: t:1: unexpected <if> in input"},
    {"nested_if", "{{if 1}}{{if 0}}a{{else}}b{{end}}c{{end}}", "bc", ""},
    {"ifelse_err", "{{if 1}}{{else if}}{{end}}", "", "template: t:1: missing value for if"},
    {"else_with_1_23", "{{with 0}}a{{else with 5}}{{.}}{{else}}c{{end}}", "5", ""},
    {"else_with_last", "{{with 0}}a{{else with ``}}{{.}}{{else}}c{{end}}", "c", ""},
    {"if_else_with", "{{if 0}}{{else with 1}}{{end}}", "",
        "template: t:1: unexpected <with> in input"},
};

TEST(template_eval, truth_and_branches_follow_go)
{
    template_check(logic_cases, ARRAY_SIZE(logic_cases));
}

static const struct template_case range_cases[] = {
    {"list", "{{range seq 1 3}}{{.}},{{end}}", "1,2,3,", ""},
    {"idx", "{{range $i,$e := seq 5 7}}{{$i}}={{$e} }{{end}}", "",
        "template: t:1: bad character U+007D '}'"},
    {"idx2", "{{range $i,$e := seq 5 7}}{{$i}}={{$e}} {{end}}", "0=5 1=6 2=7 ", ""},
    {"one_var", "{{range $e := seq 5 7}}{{$e}}{{.}} {{end}}", "55 66 77 ", ""},
    {"map_sorted", "{{range $k,$v := json `{\"b\":1,\"a\":2,\"c\":3}`}}{{$k}}{{$v}} {{end}}",
        "a2 b1 c3 ", ""},
    {"map_one", "{{range $v := json `{\"b\":1,\"a\":2}`}}{{$v}} {{end}}", "2 1 ", ""},
    {"else", "{{range seq 2 1}}x{{else}}none{{end}}", "none", ""},
    {"else_map", "{{range json `{}`}}x{{else}}none{{end}}", "none", ""},
    {"nil", "{{range .}}x{{else}}none{{end}}", "none", ""},
    {"str", "{{range `abc`}}x{{end}}", "",
        "template: t:1:8: executing \"t\" at <`abc`>: range can't iterate over abc"},
    {"float", "{{range 1.5}}x{{end}}", "",
        "template: t:1:8: executing \"t\" at <1.5>: range can't iterate over 1.5"},
    {"bool", "{{range true}}x{{end}}", "",
        "template: t:1:8: executing \"t\" at <true>: range can't iterate over true"},
    {"pair", "{{range get \"/top\"}}x{{end}}", "",
        "template: t:1:12: executing \"t\" at <\"/top\">: range can't iterate over {/top t}"},
    {"break", "{{range seq 1 5}}{{if eq . 3}}{{break}}{{end}}{{.}}{{end}}", "12", ""},
    {"continue", "{{range seq 1 5}}{{if eq . 3}}{{continue}}{{end}}{{.}}{{end}}", "1245", ""},
    {"nested_break",
        "{{range seq 1 2}}{{range seq 1 3}}{{if eq . 2}}{{break}}{{end}}i{{.}}{{end}}o{{.}} "
        "{{end}}",
        "i1o1 i1o2 ", ""},
    {"break_else", "{{range seq 1 2}}{{else}}{{break}}{{end}}", "",
        "template: t:1: {{break}} outside {{range}}"},
    {"scope", "{{$x := 1}}{{range seq 1 2}}{{$x := 5}}{{$x}}{{end}}{{$x}}", "551", ""},
    {"assign", "{{$x := 1}}{{range seq 1 2}}{{$x = .}}{{end}}{{$x}}", "2", ""},
    {"three", "{{range $a,$b,$c := seq 1 2}}{{end}}", "",
        "template: t:1: too many declarations in range"},
    {"rv", "{{range $a,1 := seq 1 2}}{{end}}", "",
        "template: t:1: range can only initialize variables"},
    {"no_decl", "{{range $a, $b}}{{end}}", "", "template: t:1: undefined variable \"$b\""},
    {"undecl_after", "{{range $x := seq 1 1}}{{end}}{{$x}}", "",
        "template: t:1: undefined variable \"$x\""},
    {"dot_field", "{{range gets \"/n/*\"}}{{.Key}}:{{.Value}} {{end}}", "/n/1:10 /n/10:1 /n/2:9 ",
        ""},
    {"pair_case", "{{range gets \"/n/*\"}}{{.key}}{{end}}", "",
        "template: t:1:23: executing \"t\" at <.key>: can't evaluate field key in type "
        "memkv.KVPair"},
    {"elem_nil", "{{range jsonArray `[null,1]`}}[{{.}}]{{end}}", "[<no value>][1]", ""},
    {"elem_nil_field", "{{range jsonArray `[null]`}}{{.x}}{{end}}", "",
        "template: t:1:30: executing \"t\" at <.x>: nil pointer evaluating interface {}.x"},
    {"elem_str_field", "{{range jsonArray `[\"a\"]`}}{{.x}}{{end}}", "",
        "template: t:1:29: executing \"t\" at <.x>: can't evaluate field x in type interface {}"},
    {"var_elem_field", "{{range $e := jsonArray `[\"a\"]`}}{{$e.x}}{{end}}", "",
        "template: t:1:37: executing \"t\" at <$e.x>: can't evaluate field x in type interface {}"},
    {"dollar", "{{range seq 1 1}}{{$}}{{end}}", "<no value>", ""},
    {"two_decl_if", "{{if $a, $b := 1}}{{end}}", "", "template: t:1: too many declarations in if"},
    {"empty_range", "{{range}}{{end}}", "", "template: t:1: missing value for range"},
    {"continue_scope", "{{range seq 1 3}}{{$y := .}}{{if eq $y 2}}{{continue}}{{end}}{{$y}}{{end}}",
        "13", ""},
    {"int_1_24",
        "{{range 3}}{{.}}{{end}} {{range $i := 2}}{{$i}}{{end}} {{range 0}}x{{else}}none{{end}}",
        "012 01 none", ""},
    {"int_two_variables", "{{range $a, $b := 3}}{{end}}", "",
        "template: t:1:18: executing \"t\" at <3>: can't use 3 to iterate over more than one "
        "variable"},
    {"int_function", "{{range len `abc`}}{{.}}{{end}}", "012", ""},
};

TEST(template_eval, range_follows_go)
{
    template_check(range_cases, ARRAY_SIZE(range_cases));
}

static const struct template_case vars_cases[] = {
    {"decl", "{{$x := 1}}{{$x}}", "1", ""},
    {"undef", "{{$x}}", "", "template: t:1: undefined variable \"$x\""},
    {"undef_line", "a\nb{{$x}}", "", "template: t:2: undefined variable \"$x\""},
    {"assign_undef", "{{$x = 1}}", "",
        "template: t:1:7: executing \"t\" at <1>: undefined variable: $x"},
    {"assign_undef_used", "{{if 1}}{{$x = 1}}{{$x}}{{end}}", "",
        "template: t:1:15: executing \"t\" at <1>: undefined variable: $x"},
    {"shadow", "{{$x:=1}}{{if 1}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21", ""},
    {"outer", "{{$x:=1}}{{if 1}}{{$x = 2}}{{end}}{{$x}}", "2", ""},
    {"chain", "{{$j := json `{\"a\":{\"b\":{\"c\":5}}}`}}{{$j.a.b.c}} {{$j.a.zz}} {{$j.x.y.z}}",
        "5 <no value> <no value>", ""},
    {"var_args", "{{$x := 1}}{{$x 2}}", "",
        "template: t:1:13: executing \"t\" at <$x>: can't give argument to non-function $x"},
    {"var_piped", "{{$x := 1}}{{2 | $x}}", "",
        "template: t:1:17: executing \"t\" at <$x>: can't give argument to non-function $x"},
    {"var_field_args", "{{$j := json `{\"a\":1}`}}{{$j.a 2}}", "",
        "template: t:1:28: executing \"t\" at <$j.a>: a is not a method but has arguments"},
    {"dollar_root", "{{$}}", "<no value>", ""},
    {"dollar_decl", "{{$ := 1}}{{$}}", "1", ""},
    {"printed_decl", "[{{$x := print 1}}]", "[]", ""},
    {"pipe_decl", "{{$x := 1 | print}}{{$x}}", "1", ""},
    {"redeclare", "{{$x := 1}}{{$x := 2}}{{$x}}", "2", ""},
    {"assign_type", "{{$x := 1}}{{$x = `s`}}{{$x}}", "s", ""},
    {"two_decl", "{{$x, $y := 1}}", "", "template: t:1: too many declarations in command"},
    {"missing_value", "{{$x := }}", "", "template: t:1: missing value for command"},
    {"var_dot_err", "{{$x := 1}}{{$x.y}}", "",
        "template: t:1:15: executing \"t\" at <$x.y>: can't evaluate field y in type int"},
    {"declared_in_with", "{{with $x := 1}}{{end}}{{$x}}", "",
        "template: t:1: undefined variable \"$x\""},
};

TEST(template_eval, variables_and_scopes_follow_go)
{
    template_check(vars_cases, ARRAY_SIZE(vars_cases));
}

static const struct template_case fields_cases[] = {
    {"dot_nil", "{{.}}", "<no value>", ""},
    {"dot_field_nil", "{{.a}} {{.a.b}}", "<no value> <no value>", ""},
    {"map_get",
        "{{with json `{\"a\":{\"b\":2},\"n\":null,\"s\":\"x\"}`}}{{.a.b}} {{.zz}} {{.zz.y}} "
        "{{.n}}{{end}}",
        "2 <no value> <no value> <no value>", ""},
    {"nil_field", "{{with json `{\"n\":null}`}}{{.n.x}}{{end}}", "",
        "template: t:1:30: executing \"t\" at <.n.x>: nil pointer evaluating interface {}.x"},
    {"str_field", "{{with json `{\"s\":\"x\"}`}}{{.s.x}}{{end}}", "",
        "template: t:1:29: executing \"t\" at <.s.x>: can't evaluate field x in type interface {}"},
    {"paren_field", "{{(get \"/top\").Key}} {{(get \"/top\").Value}}", "/top t", ""},
    {"paren_bad", "{{(get \"/top\").nope}}", "",
        "template: t:1:7: executing \"t\" at <\"/top\">: can't evaluate field nope in type "
        "memkv.KVPair"},
    {"func_field", "{{datetime.Year}}", "2023", ""},
    {"args_on_map", "{{with json `{\"a\":1}`}}{{.a 1}}{{end}}", "",
        "template: t:1:25: executing \"t\" at <.a>: a is not a method but has arguments"},
    {"args_on_struct", "{{(get \"/top\").Key 1}}", "",
        "template: t:1:7: executing \"t\" at <\"/top\">: Key has arguments but cannot be invoked "
        "as function"},
    {"int_field", "{{(add 1 2).x}}", "",
        "template: t:1:9: executing \"t\" at <2>: can't evaluate field x in type int"},
    {"paren_args", "{{(print 1) 2}}", "",
        "template: t:1:2: executing \"t\" at <(print 1) 2>: can't give argument to non-function "
        "print 1"},
    {"nil_literal", "{{nil}}", "",
        "template: t:1:2: executing \"t\" at <nil>: nil is not a command"},
    {"nil_arg", "{{print nil}}", "<nil>", ""},
    {"nil_str", "{{toUpper nil}}", "",
        "template: t:1:10: executing \"t\" at <nil>: cannot assign nil to string"},
    {"nil_pipe", "{{1 | nil}}", "", "template: t:1: non executable command in pipeline stage 2"},
    {"dot_piped", "{{1 | .}}", "", "template: t:1: non executable command in pipeline stage 2"},
    {"dot_args", "{{. 1}}", "",
        "template: t:1:2: executing \"t\" at <.>: can't give argument to non-function ."},
    {"field_piped", "{{with json `{\"a\":1}`}}{{2 | .a}}{{end}}", "",
        "template: t:1:29: executing \"t\" at <.a>: a is not a method but has arguments"},
    {"chain_pos", "{{with json `{\"a\":{\"b\":\"s\"}}`}}\n  {{.a.b.c}}{{end}}", "\n  ",
        "template: t:2:6: executing \"t\" at <.a.b.c>: can't evaluate field c in type interface "
        "{}"},
    {"missing_to_typed", "{{toUpper .x}}", "",
        "template: t:1:10: executing \"t\" at <.x>: invalid value; expected string"},
    {"missing_to_any", "{{print .x}}|{{printf `%v` .x}}|{{len .x}}", "<nil>|<nil>|",
        "template: t:1:34: executing \"t\" at <len .x>: error calling len: reflect: call of "
        "reflect.Value.Type on zero Value"},
    {"str_chain", "{{(print `a`).b}}", "",
        "template: t:1:9: executing \"t\" at <`a`>: can't evaluate field b in type string"},
    {"nilchain", "{{nil.x}}", "", "template: t:1: unexpected . after term \"nil\""},
    {"boolchain", "{{true.x}}", "", "template: t:1: unexpected . after term \"true\""},
    {"literal_stage", "{{1 | 2}}", "", "template: t:1: non executable command in pipeline stage 2"},
    {"str_stage", "{{1 | `a`}}", "", "template: t:1: non executable command in pipeline stage 2"},
    {"empty_stage", "{{1 | }}", "1", ""},
    {"pipe_first", "{{| 1}}", "", "template: t:1: unexpected \"|\" in command"},
    {"double_pipe", "{{1 || 2}}", "", "template: t:1: unexpected \"|\" in command"},
    {"comma", "{{print 1, 2}}", "", "template: t:1: unexpected \",\" in operand"},
    {"undefined_fn", "{{nope}}", "", "template: t:1: function \"nope\" not defined"},
    {"undefined_fn2", "a\nb\n  {{nope 1}}", "", "template: t:3: function \"nope\" not defined"},
    {"lookup", "{{lookupIP `x`}}", "", "template: t:1: function \"lookupIP\" not defined"},
    {"cgetv", "{{cgetv `x`}}", "", "template: t:1: function \"cgetv\" not defined"},
};

TEST(template_eval, fields_and_commands_follow_go)
{
    template_check(fields_cases, ARRAY_SIZE(fields_cases));
}

static const struct template_case compare_cases[] = {
    {"eq", "{{eq 1 1}} {{eq 1 2}} {{eq 1 2 1}} {{eq `a` `a`}} {{eq true true}} {{eq 1.5 1.5}}",
        "true false true true true true", ""},
    {"int_float", "{{eq 1 1.0}}", "",
        "template: t:1:2: executing \"t\" at <eq 1 1.0>: error calling eq: incompatible types for "
        "comparison"},
    {"json_int", "{{$j := json `{\"p\":8080}`}}{{eq $j.p 8080.0}} {{eq $j.p 8080}}", "true ",
        "template: t:1:48: executing \"t\" at <eq $j.p 8080>: error calling eq: incompatible types "
        "for comparison"},
    {"str_int", "{{eq `1` 1}}", "",
        "template: t:1:2: executing \"t\" at <eq `1` 1>: error calling eq: incompatible types for "
        "comparison"},
    {"eq_nil", "{{eq .x 1}} {{eq .x .y}} {{eq nil .x}} {{ne 1 nil}}", "false true true true", ""},
    {"eq_one", "{{eq 1}}", "",
        "template: t:1:2: executing \"t\" at <eq 1>: error calling eq: missing argument for "
        "comparison"},
    {"eq_none", "{{eq}}", "",
        "template: t:1:2: executing \"t\" at <eq>: wrong number of args for eq: want at least 1 "
        "got 0"},
    {"ne", "{{ne 1 2}} {{ne `a` `a`}}", "true false", ""},
    {"ne3", "{{ne 1 2 3}}", "",
        "template: t:1:2: executing \"t\" at <ne>: wrong number of args for ne: want 2 got 3"},
    {"lt", "{{lt 1 2}} {{lt `a` `b`}} {{lt 1.5 2.5}} {{le 1 1}} {{gt 2 1}} {{ge 1 1}} {{ge 1 2}}",
        "true true true true true true false", ""},
    {"lt_mixed", "{{lt 1 1.5}}", "",
        "template: t:1:2: executing \"t\" at <lt 1 1.5>: error calling lt: incompatible types for "
        "comparison"},
    {"lt_bool", "{{lt true false}}", "",
        "template: t:1:2: executing \"t\" at <lt true false>: error calling lt: invalid type for "
        "comparison"},
    {"lt_nil", "{{lt .x 1}}", "",
        "template: t:1:2: executing \"t\" at <lt .x 1>: error calling lt: invalid type for "
        "comparison"},
    {"lt_list", "{{lt (seq 1 2) 1}}", "",
        "template: t:1:2: executing \"t\" at <lt (seq 1 2) 1>: error calling lt: invalid type for "
        "comparison"},
    {"eq_list", "{{eq (seq 1 2) (seq 1 2)}}", "",
        "template: t:1:2: executing \"t\" at <eq (seq 1 2) (seq 1 2)>: error calling eq: "
        "non-comparable type []int"},
    {"uint",
        "{{eq (index `a` 0) 97}} {{lt (index `a` 0) 98}} {{lt -1 (index `a` 0)}} {{eq 97 (index "
        "`a` 0)}}",
        "true true true true", ""},
    {"eq_pair", "{{eq (get \"/top\") (get \"/top\")}} {{eq (get \"/top\") (get \"/dir\")}}",
        "true false", ""},
    {"eq_list_int", "{{eq (seq 1 2) 1}}", "",
        "template: t:1:2: executing \"t\" at <eq (seq 1 2) 1>: error calling eq: incompatible "
        "types for comparison"},
    {"eq_piped", "{{1 | eq 1}}", "true", ""},
    {"lt_args", "{{lt 1}}", "",
        "template: t:1:2: executing \"t\" at <lt>: wrong number of args for lt: want 2 got 1"},
    {"nullnull", "{{with json `{\"a\":null}`}}{{eq .a nil}}{{eq .a .b}}{{end}}", "truetrue", ""},
    {"le_err", "{{le 1 `a`}}", "",
        "template: t:1:2: executing \"t\" at <le 1 `a`>: error calling le: incompatible types for "
        "comparison"},
};

TEST(template_eval, comparisons_follow_go)
{
    template_check(compare_cases, ARRAY_SIZE(compare_cases));
}

TEST_MAIN(UNIT(template_eval, truth_and_branches_follow_go), UNIT(template_eval, range_follows_go),
    UNIT(template_eval, variables_and_scopes_follow_go),
    UNIT(template_eval, fields_and_commands_follow_go), UNIT(template_eval, comparisons_follow_go))
