#include "unit.h"

#include <string.h>

#include "argv.h"
#include "hook.h"

/* The words of line, joined with '|'. */
static char *joined(const char *line)
{
    struct strbuf out = {0};
    char **argv = NULL;

    assert_int_equal(argv_split(line, &argv, NULL), 0);
    for (size_t i = 0; argv[i] != NULL; i++) {
        strbuf_printf(&out, "%s%s", i > 0 ? "|" : "", argv[i]);
    }
    argv_free(argv);
    return strbuf_take_cstr(&out);
}

static void assert_split(const char *line, const char *expect)
{
    _cleanup_free_ char *got = joined(line);

    assert_string_equal(got, expect);
}

static void assert_refused(const char *line, const char *text)
{
    _cleanup_err_ struct err e = {0};
    char **argv = NULL;

    assert_true(argv_split(line, &argv, &e) < 0);
    assert_string_equal(e.text, text);
    assert_null(argv);
}

TEST(argv, blanks_separate_words)
{
    assert_split("nginx -t", "nginx|-t");
    assert_split("  a\t b  ", "a|b");
}

TEST(argv, quotes_keep_blanks_and_empty_words)
{
    assert_split("a 'b c' \"d e\" ''", "a|b c|d e|");
    assert_split("pre'mid dle'post", "premid dlepost");
    assert_split("\"say \\\"hi\\\" \\\\ \\n\"", "say \"hi\" \\ \\n");
    assert_split("'no \\ escape'", "no \\ escape");
    assert_split("a\\ b \\'", "a b|'");
}

TEST(argv, shell_syntax_is_plain_text)
{
    assert_split("a $HOME `id` ; b | c > d", "a|$HOME|`id`|;|b|||c|>|d");
}

TEST(argv, braces_belong_to_their_word)
{
    assert_split("nginx -t -c {{ .src }}", "nginx|-t|-c|{{ .src }}");
    assert_split("x={{.src}}:{{ .dest }} y", "x={{.src}}:{{ .dest }}|y");
}

TEST(argv, errors_name_the_column)
{
    assert_refused("", "column 1: the command is empty");
    assert_refused("   ", "column 4: the command is empty");
    assert_refused("a 'b", "column 3: this ' is never closed");
    assert_refused("a \"b", "column 3: this \" is never closed");
    assert_refused("a \\", "column 3: nothing follows this \\");
    assert_refused("a {{.src}", "column 3: this {{ is never closed");
}

TEST(argv, words_are_bounded)
{
    struct strbuf line = {0};

    for (int i = 0; i < HOOK_ARGV_MAX; i++) {
        strbuf_append_str(&line, "x ");
    }
    _cleanup_free_ char *got = joined(strbuf_cstr(&line));

    assert_int_equal(strlen(got), 2 * HOOK_ARGV_MAX - 1);
    strbuf_append_str(&line, "y");
    assert_refused(strbuf_cstr(&line), "column 513: the command has too many words");
    strbuf_deinit(&line);
}

TEST_MAIN(UNIT(argv, blanks_separate_words), UNIT(argv, quotes_keep_blanks_and_empty_words),
    UNIT(argv, shell_syntax_is_plain_text), UNIT(argv, braces_belong_to_their_word),
    UNIT(argv, errors_name_the_column), UNIT(argv, words_are_bounded))
