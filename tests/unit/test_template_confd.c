#include "template_cases.h"

static const struct template_case confd_cases[] = {
    {"getv",
        "{{getv \"/top\"}} {{getv \"/no\" \"d\"}} {{getv \"/empty\" \"d\"}}| {{getv \"/no\" \"d\" "
        "\"e\"}} {{getv \"/no\" \"\"}}|",
        "t d | d |", ""},
    {"getv_missing", "a\n {{getv \"/no\"}}", "a\n ",
        "template: t:2:3: executing \"t\" at <getv \"/no\">: error calling getv: key does not "
        "exist: /no"},
    {"getv_noslash", "{{getv \"top\"}}", "",
        "template: t:1:2: executing \"t\" at <getv \"top\">: error calling getv: key does not "
        "exist: top"},
    {"getv_type", "{{getv 1}}", "",
        "template: t:1:7: executing \"t\" at <1>: expected string; found 1"},
    {"getv_var_missing", "{{$k := \"/no\"}}{{getv $k}}", "",
        "template: t:1:17: executing \"t\" at <getv $k>: error calling getv: key does not exist: "
        "/no"},
    {"getv_printf", "{{getv (printf \"/%s\" \"no\")}}", "",
        "template: t:1:2: executing \"t\" at <getv (printf \"/%s\" \"no\")>: error calling getv: "
        "key does not exist: /no"},
    {"get_missing", "{{get \"/no\"}}", "",
        "template: t:1:2: executing \"t\" at <get \"/no\">: error calling get: key does not exist: "
        "/no"},
    {"getv_nilkey", "{{getv .x}}", "",
        "template: t:1:7: executing \"t\" at <.x>: invalid value; expected string"},
    {"exists", "{{exists \"/top\"}} {{exists \"/no\"}} {{exists \"/dir/sub\"}} {{exists \"/dir\"}}",
        "true false false true", ""},
    {"gets",
        "{{range gets \"/dir/*\"}}{{.Key}} {{end}}|{{range gets \"/dir/*/*\"}}{{.Key}} "
        "{{end}}|{{gets \"*\"}}|{{gets \"/no*\"}}|{{gets \"/top\"}}",
        "/dir/z |/dir/sub/x /dir/sub/y |[]|[]|[{/top t}]", ""},
    {"gets_class",
        "{{gets \"/n/[0-9]\"}} {{gets \"/n/?\"}} {{gets \"/n/[^1]\"}} {{gets \"/n/1*\"}} {{gets "
        "\"/?op\"}} {{gets \"/*/*\"}}",
        "[{/n/1 10} {/n/2 9}] [{/n/1 10} {/n/2 9}] [{/n/2 9}] [{/n/1 10} {/n/10 1}] [{/top t}] "
        "[{/a/b y} {/a/long x} {/ab/x 1} {/app/name web} {/app/port 8080} {/dir/z 3} {/n/1 10} "
        "{/n/10 1} {/n/2 9}]",
        ""},
    {"gets_esc", "{{gets \"/\\\\top\"}} {{gets \"/t[o-p]p\"}} {{gets \"/*p\"}}",
        "[{/top t}] [{/top t}] [{/top t}]", ""},
    {"gets_bad", "{{gets \"/[a\"}}", "",
        "template: t:1:2: executing \"t\" at <gets \"/[a\">: error calling gets: syntax error in "
        "pattern"},
    {"gets_bad2", "{{gets \"/n/[]\"}}", "",
        "template: t:1:2: executing \"t\" at <gets \"/n/[]\">: error calling gets: syntax error in "
        "pattern"},
    {"gets_bad3", "{{gets \"/n\\\\\"}}", "",
        "template: t:1:2: executing \"t\" at <gets \"/n\\\\\">: error calling gets: syntax error "
        "in pattern"},
    {"getvs_by_value", "{{getvs \"/n/*\"}}", "[1 10 9]", ""},
    {"getvs_bad", "{{getvs \"[\"}}", "",
        "template: t:1:2: executing \"t\" at <getvs \"[\">: error calling getvs: syntax error in "
        "pattern"},
    {"ls",
        "{{ls \"/app\"}} {{ls \"/app/\"}} {{ls \"/dir\"}} {{ls \"/dir/\"}} {{ls \"/no\"}} {{ls "
        "\"/a\"}} {{ls \"/\"}} {{ls \"/dir/sub\"}} {{ls \"/top\"}} {{ls \"/top/\"}} {{ls \"\"}} "
        "{{ls \"app\"}} {{ls \"/app/../dir\"}} {{ls \"//dir\"}} {{ls \"/dir//\"}} {{ls "
        "\"/dir/./sub\"}}",
        "[name port upstreams] [name port upstreams] [dir sub z] [sub z] [] [b long] [dir empty "
        "html top] [x y] [top] [] [] [] [dir] [dir] [dir] [dir]",
        ""},
    {"lsdir",
        "{{lsdir \"/app\"}} {{lsdir \"/\"}} {{lsdir \"/dir\"}} {{lsdir \"/dir/\"}} {{lsdir "
        "\"/dir/sub\"}} {{lsdir \"/no\"}} {{lsdir \"\"}} {{lsdir \"/a\"}} {{lsdir "
        "\"/app/../dir\"}} {{lsdir \"/di\"}}",
        "[upstreams] [] [sub] [sub] [] [] [] [] [] []", ""},
    {"base_dir",
        "{{base \"\"}} {{base \"/a/b/\"}} {{base \"/\"}} {{base \"///\"}} {{base \"a\"}} {{dir "
        "\"/a/b/\"}} {{dir \"a\"}} {{dir \"\"}} {{dir \"/\"}} {{dir \"/a\"}} {{dir "
        "\"a/../../b/c\"}} {{dir \"/../a/b\"}} {{dir \"a//b/./c\"}}",
        ". b / / a /a/b . . / / ../b /a a/b", ""},
    {"split",
        "{{len (split \"\" \",\")}} {{split \"a,b,c\" \",\"}} {{split \"aéb\" \"\"}} {{split "
        "\"a--b\" \"--\"}} {{len (split \"\" \"\")}} {{split \",a,\" \",\"}} {{split \"abc\" "
        "\"x\"}}",
        "1 [a b c] [a é b] [a b] 0 [ a ] [abc]", ""},
    {"join", "{{join (split \"a b c\" \" \") \"-\"}} {{join (split \"\" \"\") \",\"}}", "a-b-c ",
        ""},
    {"join_type", "{{join \"a\" \",\"}}", "",
        "template: t:1:7: executing \"t\" at <\"a\">: can't handle \"a\" for arg of type []string"},
    {"join_nil", "{{join nil \",\"}}|", "|", ""},
    {"json",
        "{{$j := json (getv \"/app/upstreams/web1\")}}{{$j.host}}:{{$j.port}} {{$j.tags}} "
        "{{$j.up}} {{$j.w}} {{range $j.tags}}<{{.}}>{{end}}",
        "10.0.0.1:8080 [a b] true <no value> <a><b>", ""},
    {"json_big2",
        "{{$j := json "
        "`{\"a\":1000000,\"b\":123456789,\"c\":999999,\"d\":1e-5,\"e\":12345678901234567890,\"f\":-"
        "0.0}`}}{{$j}} {{printf \"%.0f\" $j.a}}",
        "map[a:1e+06 b:1.23456789e+08 c:999999 d:1e-05 e:1.2345678901234567e+19 f:-0] 1000000", ""},
    {"json_dup", "{{json `{\"a\":1,\"a\":2}`}}", "map[a:2]", ""},
    {"json_kind", "{{json `[]`}}", "",
        "template: t:1:2: executing \"t\" at <json `[]`>: error calling json: json: cannot "
        "unmarshal array into Go value of type map[string]interface {}"},
    {"json_kind2", "{{json `\"a\"`}}", "",
        "template: t:1:2: executing \"t\" at <json `\"a\"`>: error calling json: json: cannot "
        "unmarshal string into Go value of type map[string]interface {}"},
    {"json_kind3", "{{jsonArray `{}`}}", "",
        "template: t:1:2: executing \"t\" at <jsonArray `{}`>: error calling jsonArray: json: "
        "cannot unmarshal object into Go value of type []interface {}"},
    {"json_kind4", "{{json `1`}}", "",
        "template: t:1:2: executing \"t\" at <json `1`>: error calling json: json: cannot "
        "unmarshal number into Go value of type map[string]interface {}"},
    {"json_kind5", "{{json `true`}}", "",
        "template: t:1:2: executing \"t\" at <json `true`>: error calling json: json: cannot "
        "unmarshal bool into Go value of type map[string]interface {}"},
    {"json_null", "{{json `null`}} {{len (jsonArray `null`)}}", "map[] 0", ""},
    {"json_empty", "{{json ``}}", "",
        "template: t:1:2: executing \"t\" at <json ``>: error calling json: unexpected end of JSON "
        "input"},
    {"json_esc", "{{(json `{\"a\":\"\\u00e9\\n\\\"<\"}`).a}}", "é\n\"<", ""},
    {"json_nested",
        "{{$j := json `{\"a\":[{\"b\":[1,2]}]}`}}{{range $j.a}}{{range .b}}{{.}} {{end}}{{end}} "
        "{{index $j \"a\" 0 \"b\" 1}}",
        "1 2  2", ""},
    {"jsonArray", "{{range $i, $x := jsonArray `[1,\"a\",true]`}}{{$i}}{{$x}} {{end}}",
        "01 1a 2true ", ""},
    {"map",
        "{{$m := map \"b\" 1 \"a\" \"x\"}}{{$m}} {{$m.a}} {{index $m \"b\"}} {{map}} {{map \"a\" 1 "
        "\"a\" 2}} {{map \"n\" nil}}",
        "map[a:x b:1] x 1 map[] map[a:2] map[n:<nil>]", ""},
    {"map_odd", "{{map \"a\"}}", "",
        "template: t:1:2: executing \"t\" at <map \"a\">: error calling map: invalid map call"},
    {"map_key", "{{map 1 2}}", "",
        "template: t:1:2: executing \"t\" at <map 1 2>: error calling map: map keys must be "
        "strings"},
    {"getenv",
        "{{getenv \"HOME\"}} {{getenv \"NO\"}}| {{getenv \"NO\" \"d\"}} {{getenv \"EMPTY\" \"d\"}} "
        "{{getenv \"HOME\" \"d\"}}",
        "/root | d d /root", ""},
    {"case", "{{toUpper \"abcéß\"}} {{toLower \"ABCÉ\"}}", "ABCÉß abcé", ""},
    {"contains",
        "{{contains \"abc\" \"b\"}} {{contains \"abc\" \"x\"}} {{contains \"abc\" \"\"}} "
        "{{contains \"\" \"a\"}}",
        "true false true false", ""},
    {"replace",
        "{{replace \"aaa\" \"a\" \"b\" -1}} {{replace \"aaa\" \"a\" \"b\" 2}} {{replace \"aaa\" "
        "\"a\" \"b\" 0}} {{replace \"abé\" \"\" \"-\" -1}} {{replace \"ab\" \"\" \"-\" 2}} "
        "{{replace \"abc\" \"x\" \"y\" -1}} {{replace \"\" \"\" \"x\" -1}} {{replace \"aXbX\" "
        "\"X\" \"\" -1}}",
        "bbb bba aaa -a-b-é- -a-b abc x ab", ""},
    {"trimSuffix",
        "{{trimSuffix \"a.conf\" \".conf\"}} {{trimSuffix \"a\" \"b\"}} {{trimSuffix \"a\" \"\"}}",
        "a a a", ""},
    {"fileExists", "{{fileExists \"/exists\"}} {{fileExists \"/no\"}}", "true false", ""},
    {"base64",
        "{{base64Encode \"hello\"}} {{base64Encode \"\"}} {{base64Encode \"a\"}} {{base64Encode "
        "\"ab\"}} {{base64Decode \"aGVsbG8=\"}} {{base64Decode \"YQ==\"}} {{base64Decode "
        "\"YWJj\"}} {{base64Decode \"\"}}",
        "aGVsbG8=  YQ== YWI= hello a abc ", ""},
    {"b64bad1", "{{base64Decode \"a\"}}", "",
        "template: t:1:2: executing \"t\" at <base64Decode \"a\">: error calling base64Decode: "
        "illegal base64 data at input byte 0"},
    {"b64bad2", "{{base64Decode \"!!!!\"}}", "",
        "template: t:1:2: executing \"t\" at <base64Decode \"!!!!\">: error calling base64Decode: "
        "illegal base64 data at input byte 0"},
    {"b64bad3", "{{base64Decode \"YQ=\"}}", "",
        "template: t:1:2: executing \"t\" at <base64Decode \"YQ=\">: error calling base64Decode: "
        "illegal base64 data at input byte 3"},
    {"b64bad4", "{{base64Decode \"YQ==x\"}}", "",
        "template: t:1:2: executing \"t\" at <base64Decode \"YQ==x\">: error calling base64Decode: "
        "illegal base64 data at input byte 4"},
    {"b64bad5", "{{base64Decode \"YQ\"}}", "",
        "template: t:1:2: executing \"t\" at <base64Decode \"YQ\">: error calling base64Decode: "
        "illegal base64 data at input byte 0"},
    {"b64bad6", "{{base64Decode \"=YQ=\"}}", "",
        "template: t:1:2: executing \"t\" at <base64Decode \"=YQ=\">: error calling base64Decode: "
        "illegal base64 data at input byte 0"},
    {"b64bad7", "{{base64Decode \"YWJjY\"}}", "",
        "template: t:1:2: executing \"t\" at <base64Decode \"YWJjY\">: error calling base64Decode: "
        "illegal base64 data at input byte 4"},
    {"b64bad8", "{{base64Decode \"Y===\"}}", "",
        "template: t:1:2: executing \"t\" at <base64Decode \"Y===\">: error calling base64Decode: "
        "illegal base64 data at input byte 1"},
    {"b64nl", "{{base64Decode \"YW\\nJj\\n\"}}", "abc", ""},
    {"parseBool",
        "{{parseBool \"1\"}} {{parseBool \"TRUE\"}} {{parseBool \"f\"}} {{parseBool \"False\"}}",
        "true true false false", ""},
    {"parseBool_bad", "{{parseBool \"yes\"}}", "",
        "template: t:1:2: executing \"t\" at <parseBool \"yes\">: error calling parseBool: "
        "strconv.ParseBool: parsing \"yes\": invalid syntax"},
    {"parseBool_empty", "{{parseBool \"\"}}", "",
        "template: t:1:2: executing \"t\" at <parseBool \"\">: error calling parseBool: "
        "strconv.ParseBool: parsing \"\": invalid syntax"},
    {"reverse",
        "{{reverse (split \"a b c\" \" \")}} {{reverse (gets \"/n/*\")}} {{reverse (sortKVByLength "
        "(gets \"/n/*\"))}} {{reverse (seq 1 3)}} {{reverse 5}}",
        "[c b a] [{/n/1 10} {/n/10 1} {/n/2 9}] [{/n/10 1} {/n/2 9} {/n/1 10}] [1 2 3] 5", ""},
    {"reverse_shared", "{{$x := split \"a b c\" \" \"}}{{$y := reverse $x}}{{$x}} {{$y}}",
        "[c b a] [c b a]", ""},
    {"sortByLength",
        "{{sortByLength (split \"ccc a bb\" \" \")}} {{sortKVByLength (gets \"/n/*\")}}",
        "[a bb ccc] [{/n/1 10} {/n/2 9} {/n/10 1}]", ""},
    {"sort_shared", "{{$x := split \"ccc a bb\" \" \"}}{{$_ := sortByLength $x}}{{$x}}",
        "[a bb ccc]", ""},
    {"sort_type", "{{sortByLength (seq 1 3)}}", "",
        "template: t:1:22: executing \"t\" at <3>: wrong type for value; expected []string; got "
        "[]int"},
    {"sort_type2", "{{sortByLength (jsonArray `[\"a\"]`)}}", "",
        "template: t:1:26: executing \"t\" at <`[\"a\"]`>: wrong type for value; expected "
        "[]string; got []interface {}"},
    {"arith",
        "{{add 1 2}} {{sub 5 3}} {{mul 4 5}} {{div 7 2}} {{mod 7 3}} {{div -7 2}} {{mod -7 3}} "
        "{{add 9223372036854775807 1}} {{3 | sub 10}}",
        "3 2 20 3 1 -3 -1 -9223372036854775808 7", ""},
    {"div0", "{{div 1 0}}", "",
        "template: t:1:2: executing \"t\" at <div 1 0>: error calling div: runtime error: integer "
        "divide by zero"},
    {"mod0", "{{mod 1 0}}", "",
        "template: t:1:2: executing \"t\" at <mod 1 0>: error calling mod: runtime error: integer "
        "divide by zero"},
    {"div_min",
        "{{div -9223372036854775808 -1}} {{mod -9223372036854775808 -1}} {{mul "
        "-9223372036854775808 -1}}",
        "-9223372036854775808 0 -9223372036854775808", ""},
    {"arith_float", "{{add 1.5 2}}", "",
        "template: t:1:6: executing \"t\" at <1.5>: expected integer; found 1.5"},
    {"arith_json", "{{$j := json `{\"a\":1}`}}{{add $j.a 1}}", "",
        "template: t:1:32: executing \"t\" at <$j.a>: wrong type for value; expected int; got "
        "float64"},
    {"arith_i64", "{{add datetime.Unix 1}}", "",
        "template: t:1:6: executing \"t\" at <datetime>: wrong type for value; expected int; got "
        "int64"},
    {"arith_str", "{{add \"1\" 2}}", "",
        "template: t:1:6: executing \"t\" at <\"1\">: expected integer; found \"1\""},
    {"seq", "{{seq 1 5}} {{seq 3 1}} {{seq -1 1}} {{len (seq 1 1)}}", "[1 2 3 4 5] [] [-1 0 1] 1",
        ""},
    {"atoi", "{{atoi \"42\"}} {{atoi \"-7\"}} {{atoi \"+7\"}} {{add (atoi \"1\") 1}}", "42 -7 7 2",
        ""},
    {"atoi_bad", "{{atoi \"x\"}}", "",
        "template: t:1:2: executing \"t\" at <atoi \"x\">: error calling atoi: strconv.Atoi: "
        "parsing \"x\": invalid syntax"},
    {"atoi_empty", "{{atoi \"\"}}", "",
        "template: t:1:2: executing \"t\" at <atoi \"\">: error calling atoi: strconv.Atoi: "
        "parsing \"\": invalid syntax"},
    {"atoi_range", "{{atoi \"9223372036854775808\"}}", "",
        "template: t:1:2: executing \"t\" at <atoi \"9223372036854775808\">: error calling atoi: "
        "strconv.Atoi: parsing \"9223372036854775808\": value out of range"},
    {"atoi_us", "{{atoi \"1_000\"}}", "",
        "template: t:1:2: executing \"t\" at <atoi \"1_000\">: error calling atoi: strconv.Atoi: "
        "parsing \"1_000\": invalid syntax"},
    {"atoi_hex", "{{atoi \"0x10\"}}", "",
        "template: t:1:2: executing \"t\" at <atoi \"0x10\">: error calling atoi: strconv.Atoi: "
        "parsing \"0x10\": invalid syntax"},
    {"atoi_lead0", "{{atoi \"010\"}}", "10", ""},
    {"atoi_q", "{{atoi \"a\\nb\"}}", "",
        "template: t:1:2: executing \"t\" at <atoi \"a\\nb\">: error calling atoi: strconv.Atoi: "
        "parsing \"a\\nb\": invalid syntax"},
    {"join_accepts_any_list",
        "{{join (jsonArray `[\"a\",1,true]`) \"-\"}} {{join (seq 1 3) \",\"}}", "a-1-true 1,2,3",
        ""},
    {"lookups_are_not_there", "{{lookupSRV \"a\" \"b\" \"c\"}}", "",
        "template: t:1: function \"lookupSRV\" not defined"},
};

TEST(template_confd, functions_follow_the_dialect)
{
    template_check(confd_cases, ARRAY_SIZE(confd_cases));
}

TEST_MAIN(UNIT(template_confd, functions_follow_the_dialect))
