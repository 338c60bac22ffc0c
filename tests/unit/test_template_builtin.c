#include "template_cases.h"

static const struct template_case builtins_cases[] = {
    {"print",
        "{{print 1 2}}|{{print `a` `b`}}|{{print 1 `a` 2}}|{{print 1 2 `a`}}|{{print}}|{{print "
        "true 1.5}}",
        "1 2|ab|1a2|1 2a||true 1.5", ""},
    {"println", "{{println 1 `a`}}|{{println}}", "1 a\n|\n", ""},
    {"len", "{{len `abc`}} {{len (seq 1 4)}} {{len (json `{\"a\":1}`)}} {{`é` | len}}", "3 4 1 2",
        ""},
    {"len_int", "{{len 3}}", "",
        "template: t:1:2: executing \"t\" at <len 3>: error calling len: len of type int"},
    {"len_nil", "{{len nil}}", "",
        "template: t:1:2: executing \"t\" at <len nil>: error calling len: reflect: call of "
        "reflect.Value.Type on zero Value"},
    {"len_miss", "{{len .x}}", "",
        "template: t:1:2: executing \"t\" at <len .x>: error calling len: reflect: call of "
        "reflect.Value.Type on zero Value"},
    {"len_jsonnull", "{{with json `{\"a\":null}`}}{{len .a}}{{end}}", "",
        "template: t:1:28: executing \"t\" at <len .a>: error calling len: len of nil pointer"},
    {"index",
        "{{index (seq 5 7) 1}} {{index (json `{\"a\":[1,2]}`) \"a\" 1}} {{index `abc` 1}} {{index "
        "(seq 1 2)}}",
        "6 2 98 [1 2]", ""},
    {"index_range", "{{index (seq 1 3) 3}}", "",
        "template: t:1:2: executing \"t\" at <index (seq 1 3) 3>: error calling index: reflect: "
        "slice index out of range"},
    {"index_range2", "{{index (seq 1 3) 4}}", "",
        "template: t:1:2: executing \"t\" at <index (seq 1 3) 4>: error calling index: index out "
        "of range: 4"},
    {"index_neg", "{{index (seq 1 3) -1}}", "",
        "template: t:1:2: executing \"t\" at <index (seq 1 3) -1>: error calling index: index out "
        "of range: -1"},
    {"index_nil", "{{index .x 1}}", "",
        "template: t:1:2: executing \"t\" at <index .x 1>: error calling index: index of untyped "
        "nil"},
    {"index_type", "{{index 1 1}}", "",
        "template: t:1:2: executing \"t\" at <index 1 1>: error calling index: can't index item of "
        "type int"},
    {"index_keytype", "{{index (json `{}`) 1}}", "",
        "template: t:1:2: executing \"t\" at <index (json `{}`) 1>: error calling index: value has "
        "type int; should be string"},
    {"index_strtype", "{{index (seq 1 2) `a`}}", "",
        "template: t:1:2: executing \"t\" at <index (seq 1 2) `a`>: error calling index: cannot "
        "index slice/array with type string"},
    {"index_missing", "{{index (json `{}`) \"z\"}}|{{print (index (json `{}`) \"z\")}}",
        "<no value>|<nil>", ""},
    {"index_nilidx", "{{index (seq 1 2) nil}}", "",
        "template: t:1:2: executing \"t\" at <index (seq 1 2) nil>: error calling index: cannot "
        "index slice/array with nil"},
    {"index_mapnil", "{{index (json `{}`) nil}}", "",
        "template: t:1:2: executing \"t\" at <index (json `{}`) nil>: error calling index: value "
        "is nil; should be of type string"},
    {"index_deepnil", "{{index (json `{}`) \"a\" \"b\"}}", "",
        "template: t:1:2: executing \"t\" at <index (json `{}`) \"a\" \"b\">: error calling index: "
        "index of nil pointer"},
    {"index_stroob", "{{index \"abc\" 3}}", "",
        "template: t:1:2: executing \"t\" at <index \"abc\" 3>: error calling index: reflect: "
        "string index out of range"},
    {"index_float", "{{index (seq 1 2) 1.0}}", "",
        "template: t:1:2: executing \"t\" at <index (seq 1 2) 1.0>: error calling index: cannot "
        "index slice/array with type float64"},
    {"slice",
        "{{slice `abcdef` 1 3}} {{slice `abc` 1}} {{slice `abc`}} {{slice (seq 1 4) 1 3}} {{slice "
        "(seq 1 4) 1 2 3}}",
        "bc bc abc [2 3] [2]", ""},
    {"slice_bad", "{{slice `abc` 2 1}}", "",
        "template: t:1:2: executing \"t\" at <slice `abc` 2 1>: error calling slice: invalid slice "
        "index: 2 > 1"},
    {"slice_oob", "{{slice `abc` 4}}", "",
        "template: t:1:2: executing \"t\" at <slice `abc` 4>: error calling slice: index out of "
        "range: 4"},
    {"slice_3str", "{{slice `abc` 0 1 2}}", "",
        "template: t:1:2: executing \"t\" at <slice `abc` 0 1 2>: error calling slice: cannot "
        "3-index slice a string"},
    {"slice_many", "{{slice `abc` 0 1 2 3}}", "",
        "template: t:1:2: executing \"t\" at <slice `abc` 0 1 2 3>: error calling slice: too many "
        "slice indexes: 4"},
    {"slice_int", "{{slice 3 1}}", "",
        "template: t:1:2: executing \"t\" at <slice 3 1>: error calling slice: can't slice item of "
        "type int"},
    {"slice_nil", "{{slice nil 1}}", "",
        "template: t:1:2: executing \"t\" at <slice nil 1>: error calling slice: slice of untyped "
        "nil"},
    {"slice_k", "{{slice (seq 1 4) 0 3 2}}", "",
        "template: t:1:2: executing \"t\" at <slice (seq 1 4) 0 3 2>: error calling slice: invalid "
        "slice index: 3 > 2"},
    {"html", "{{html `<a href=\"x\">'&` }} {{getv \"/html\" | html}} {{html 1 2}} {{html .x}}",
        "&lt;a href=&#34;x&#34;&gt;&#39;&amp; &lt;a href=&#39;x&#39;&gt;&#34;&amp;&lt;/a&gt; 1 2 "
        "&lt;no value&gt;",
        ""},
    {"html_nul", "{{html \"a\\x00b\"}}", "a�b", ""},
    {"js", "{{js \"a\\\\b\\\"c<>&=\\n\\u00e9'\"}}",
        "a\\\\b\\\"c\\u003C\\u003E\\u0026\\u003D\\u000Aé\\'", ""},
    {"js_ctl", "{{js \"\\x01\\u2028\"}}", "\\u0001\\u2028", ""},
    {"urlquery", "{{urlquery `a b&c=d/é~-_.`}} {{urlquery 1 2}}", "a+b%26c%3Dd%2F%C3%A9~-_. 1+2",
        ""},
    {"call", "{{call 1}}", "",
        "template: t:1:2: executing \"t\" at <call 1>: error calling call: non-function of type "
        "int"},
    {"call_nil", "{{call nil}}", "",
        "template: t:1:2: executing \"t\" at <call nil>: error calling call: call of nil"},
    {"call_none", "{{call}}", "",
        "template: t:1:2: executing \"t\" at <call>: wrong number of args for call: want at least "
        "1 got 0"},
    {"print_list",
        "{{seq 1 3}} {{split `a,b` `,`}} {{json `{\"b\":1,\"a\":[true,null,\"x\"]}`}} {{gets "
        "`/n/*`}} {{get `/top`}}",
        "[1 2 3] [a b] map[a:[true <nil> x] b:1] [{/n/1 10} {/n/10 1} {/n/2 9}] {/top t}", ""},
    {"args", "{{atoi}}", "",
        "template: t:1:2: executing \"t\" at <atoi>: wrong number of args for atoi: want 1 got 0"},
    {"args2", "{{atoi `1` `2`}}", "",
        "template: t:1:2: executing \"t\" at <atoi>: wrong number of args for atoi: want 1 got 2"},
    {"args3", "{{getv}}", "",
        "template: t:1:2: executing \"t\" at <getv>: wrong number of args for getv: want at least "
        "1 got 0"},
    {"args4", "{{`/top` | getv}}", "t", ""},
    {"args5", "{{toUpper `a` | toLower `b`}}", "",
        "template: t:1:16: executing \"t\" at <toLower>: wrong number of args for toLower: want 1 "
        "got 2"},
    {"index_none", "{{index}}", "",
        "template: t:1:2: executing \"t\" at <index>: wrong number of args for index: want at "
        "least 1 got 0"},
    {"printf_none", "{{printf}}", "",
        "template: t:1:2: executing \"t\" at <printf>: wrong number of args for printf: want at "
        "least 1 got 0"},
    {"printf_int", "{{printf 1}}", "",
        "template: t:1:9: executing \"t\" at <1>: expected string; found 1"},
};

TEST(template_builtin, builtins_follow_go)
{
    template_check(builtins_cases, ARRAY_SIZE(builtins_cases));
}

static const struct template_case time_cases[] = {
    {"format",
        "{{datetime.Format \"2006-01-02T15:04:05Z07:00\"}} {{datetime.Format \"Mon Jan _2 15:04:05 "
        "2006\"}} {{datetime.Format \"Monday, 02-Jan-06 15:04:05 MST\"}} {{datetime.Format "
        "\"3:04PM 03:04:05 pm\"}} {{datetime.Format \"2006-002 __2\"}} {{datetime.Format \"05.000 "
        "05.999999999 05,000000 .00 .99\"}} {{datetime.Format \"-0700 -07:00 -07 Z0700 -07:00:00 "
        "Z07\"}} {{datetime.Format \"1/2/06 4 5 January Janus _2006 x\"}} {{datetime.Format "
        "\"\"}}|",
        "2023-11-14T22:13:20Z Tue Nov 14 22:13:20 2023 Tuesday, 14-Nov-23 22:13:20 UTC 10:13PM "
        "10:13:20 pm 2023-318 318 20.123 20.123456789 20,123456 .12 .12 +0000 +00:00 +00 Z "
        "+00:00:00 Z 11/14/23 13 20 November Janus _2023 x |",
        ""},
    {"parts",
        "{{datetime.Year}} {{datetime.Month}} {{datetime.Day}} {{datetime.Hour}} "
        "{{datetime.Minute}} {{datetime.Second}} {{datetime.Nanosecond}} {{datetime.Weekday}} "
        "{{datetime.YearDay}} {{datetime.Unix}} {{datetime.UnixNano}} {{datetime.UnixMilli}} "
        "{{datetime.UnixMicro}} {{datetime.Location}} {{datetime.IsZero}}",
        "2023 November 14 22 13 20 123456789 Tuesday 318 1700000000 1700000000123456789 "
        "1700000000123 1700000000123456 UTC false",
        ""},
    {"utc", "{{datetime.UTC.Format \"15:04\"}} {{(datetime.UTC).Year}}", "22:13 2023", ""},
    {"add",
        "{{(datetime.Add 3600000000000).Format \"15:04:05\"}} {{(datetime.AddDate 0 1 -20).Format "
        "\"2006-01-02\"}} {{(datetime.AddDate 0 14 0).Format \"2006-01-02\"}} {{(datetime.AddDate "
        "-1 -12 31).Format \"2006-01-02\"}}",
        "23:13:20 2023-11-24 2025-01-14 2021-12-15", ""},
    {"sub",
        "{{(datetime.Add 90061001000000).Sub datetime}} {{((datetime.Add 1500).Sub datetime)}} "
        "{{((datetime.Add -1500000).Sub datetime)}} {{(datetime.Sub (datetime.Add "
        "5)).Nanoseconds}}",
        "25h1m1.001s 1.5µs -1.5ms -5", ""},
    {"cmp",
        "{{datetime.Before datetime}} {{datetime.After (datetime.Add -1)}} {{datetime.Equal "
        "datetime}}",
        "false true true", ""},
    {"bad", "{{datetime.Nope}}", "",
        "template: t:1:2: executing \"t\" at <datetime>: can't evaluate field Nope in type "
        "time.Time"},
    {"args", "{{datetime.Format}}", "",
        "template: t:1:2: executing \"t\" at <datetime>: wrong number of args for Format: want 1 "
        "got 0"},
    {"args2", "{{datetime.Year 1}}", "",
        "template: t:1:2: executing \"t\" at <datetime>: wrong number of args for Year: want 0 got "
        "1"},
    {"argt", "{{datetime.Format 1}}", "",
        "template: t:1:18: executing \"t\" at <1>: expected string; found 1"},
    {"addt", "{{datetime.Add (add 1 2)}}", "",
        "template: t:1:22: executing \"t\" at <2>: wrong type for value; expected time.Duration; "
        "got int"},
    {"month",
        "{{printf \"%d %s %v %02d\" datetime.Month datetime.Month datetime.Month datetime.Month}} "
        "{{if eq datetime.Month 11}}nov{{end}}",
        "11 November November 11 nov", ""},
    {"dur",
        "{{$d := (datetime.Add 5400000000000).Sub datetime}}{{$d.Hours}} {{$d.Minutes}} "
        "{{$d.Seconds}} {{$d.Milliseconds}} {{$d.String}}",
        "1.5 90 5400 5400000 1h30m0s", ""},
    {"var", "{{$t := datetime}}{{$t.Year}}-{{$t.Format \"01\"}}", "2023-11", ""},
    {"pipe", "{{\"2006\" | datetime.Format}}", "2023", ""},
    {"gostring", "{{printf \"%#v\" datetime}}",
        "time.Date(2023, time.November, 14, 22, 13, 20, 123456789, time.UTC)", ""},
    {"utcprint", "{{printf \"%s\" datetime}}",
        "2023-11-14 22:13:20.123456789 +0000 UTC m=+0.000000000", ""},
};

TEST(template_builtin, times_follow_go)
{
    template_check(time_cases, ARRAY_SIZE(time_cases));
}

TEST_MAIN(UNIT(template_builtin, builtins_follow_go), UNIT(template_builtin, times_follow_go))
