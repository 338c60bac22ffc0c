/* Whole files as people write them, rendered by decree-template, whose path is the argument. The
 * expected files were written by hand from the templates, and Go prints the same. */
#include "unit.h"

#include <stdio.h>
#include <sys/wait.h>

#include "file.h"

enum { FILE_BYTES_MAX = 1 << 20 };

static const char *tool;

/* Runs the tool; its output, and its errors behind it, go to out. Returns the exit code. */
static int run_tool(const char *args, struct strbuf *out)
{
    _cleanup_free_ char *command = xasprintf("%s %s 2>&1", tool, args);
    FILE *p = popen(command, "r");
    char chunk[4096];
    size_t n;
    int status;

    assert_non_null(p);
    while ((n = fread(chunk, 1, sizeof(chunk), p)) > 0) {
        strbuf_append(out, chunk, n);
    }
    status = pclose(p);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void expect_run(const char *args, int code, const char *text)
{
    _cleanup_strbuf_ struct strbuf out = {0};

    assert_int_equal(run_tool(args, &out), code);
    assert_string_equal(strbuf_cstr(&out), text);
}

static void expect_golden(const char *name)
{
    _cleanup_free_ char *args =
        xasprintf("template_golden/%s.tmpl template_golden/%s.json", name, name);
    _cleanup_free_ char *path = xasprintf("template_golden/%s.out", name);
    _cleanup_strbuf_ struct strbuf expected = {0};

    assert_int_equal(file_read(path, FILE_BYTES_MAX, &expected, NULL), 0);
    expect_run(args, 0, strbuf_cstr(&expected));
}

TEST(template_golden, nginx_upstreams_and_vhosts)
{
    expect_golden("nginx");
}

TEST(template_golden, haproxy_frontends_and_backends)
{
    expect_golden("haproxy");
}

TEST(template_golden, keys_on_the_command_line)
{
    expect_run("template_golden/keys.tmpl /k/a=1 /k/b=x=y", 0, "/k/a: 1\n/k/b: x=y\n");
}

TEST(template_golden, failures_name_file_line_and_column)
{
    expect_run("template_golden/nginx.tmpl /app/name=x /app/vhosts/v=broken", 1,
        "template: nginx.tmpl:26:44: executing \"nginx.tmpl\" at <json (getv (printf "
        "\"/app/vhosts/%s\" $vhost))>: error calling json: invalid JSON at line 1 column 6: "
        "invalid token near 'broken'\n");
    expect_run("template_golden/nginx.tmpl", 1,
        "template: nginx.tmpl:1:4: executing \"nginx.tmpl\" at <getv \"/app/name\">: error "
        "calling getv: key does not exist: /app/name\n");
    expect_run("template_golden/keys.tmpl template_golden/keys.tmpl", 1,
        "decree-template: template_golden/keys.tmpl:1: string or '}' expected near '{'\n");
    expect_run("template_golden/keys.tmpl /a=1 b", 1, "decree-template: \"b\" is not KEY=VALUE\n");
}

TEST(template_golden, lint_prints_warnings)
{
    expect_run("--lint template_golden/nginx.tmpl", 0, "");
    expect_run("--lint template_golden/haproxy.tmpl", 0,
        "haproxy.tmpl:25: getvs sorts by value as text, not by key: 10 comes before 9\n");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        UNIT(template_golden, nginx_upstreams_and_vhosts),
        UNIT(template_golden, haproxy_frontends_and_backends),
        UNIT(template_golden, keys_on_the_command_line),
        UNIT(template_golden, failures_name_file_line_and_column),
        UNIT(template_golden, lint_prints_warnings),
    };

    if (argc != 2) {
        fprintf(stderr, "usage: %s DECREE-TEMPLATE\n", argv[0]);
        return 2;
    }
    tool = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
