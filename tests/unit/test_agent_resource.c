#include "unit.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "duration.h"
#include "file.h"
#include "resource.h"

#define MINIMAL "[template]\nsrc = a.tmpl\ndest = /etc/a.conf\nkeys = /app\n"

static struct resource *parsed(const char *text)
{
    _cleanup_err_ struct err e = {0};
    struct resource *r = NULL;

    if (resource_parse("a", "a.conf", bytes_str(text), "/t", &r, &e) < 0) {
        fail_msg("%s", e.text);
    }
    return r;
}

static void assert_refused(const char *text, const char *expect)
{
    _cleanup_err_ struct err e = {0};
    struct resource *r = NULL;

    assert_true(resource_parse("a", "a.conf", bytes_str(text), "/t", &r, &e) < 0);
    assert_null(r);
    if (strncmp(e.text, expect, strlen(expect)) != 0) {
        fail_msg("got: %s, expected: %s", e.text, expect);
    }
}

TEST(resource, all_keys_are_taken)
{
    struct resource *r =
        parsed("# comment\n[template]\nsrc = sub/a.tmpl\ndest=/etc/a.conf\n"
               "prefix = prod/\nkeys = /b, a/\n  keys = //c//d\nowner = root\n"
               "group = 42\nmode = 640\ncheck = nginx -t -c '{{.src}}' ; # no comment\n"
               "reload = x \"y z\"\nverify=v\ncheck_timeout = 1m30s\n"
               "reload_timeout=500ms\nquiet_min = 2s\n");

    assert_string_equal(r->src, "/t/sub/a.tmpl");
    assert_string_equal(r->dest, "/etc/a.conf");
    assert_string_equal(r->prefix, "/prod");
    assert_int_equal(r->n_scopes, 3);
    assert_string_equal(r->scopes[0], "/prod/a");
    assert_string_equal(r->scopes[1], "/prod/b");
    assert_string_equal(r->scopes[2], "/prod/c/d");
    assert_int_equal(r->uid, 0);
    assert_int_equal(r->gid, 42);
    assert_true(r->has_mode);
    assert_int_equal(r->mode, 0640);
    assert_string_equal(r->check.argv[3], "{{.src}}");
    assert_string_equal(r->check.argv[4], ";");
    assert_string_equal(r->check.argv[7], "comment");
    assert_string_equal(r->reload.argv[1], "y z");
    assert_int_equal(r->check.timeout_ms, 90000);
    assert_int_equal(r->reload.timeout_ms, 500);
    assert_int_equal(r->verify.timeout_ms, 30000);
    assert_int_equal(r->quiet_min_ms, 2000);
    assert_int_equal(r->quiet_max_ms, 8000);
    resource_free(r);
}

TEST(resource, defaults_leave_owner_and_mode_as_they_are)
{
    struct resource *r = parsed(MINIMAL);

    assert_true(r->uid == (uid_t)-1 && r->gid == (gid_t)-1);
    assert_false(r->has_mode);
    assert_null(r->check.argv);
    assert_int_equal(r->quiet_max_ms, 0);
    resource_free(r);
}

TEST(resource, shell_runs_the_line_as_it_stands)
{
    struct resource *r = parsed(MINIMAL "shell = yes\ncheck = a | b 'c\n");

    assert_string_equal(r->check.argv[0], "/bin/sh");
    assert_string_equal(r->check.argv[1], "-c");
    assert_string_equal(r->check.argv[2], "a | b 'c");
    assert_null(r->check.argv[3]);
    resource_free(r);
}

TEST(resource, nested_keys_become_one_scope)
{
    struct resource *r = parsed(MINIMAL "keys = /app/a, /app, /apple, /app/a/b\n");

    assert_int_equal(r->n_scopes, 2);
    assert_string_equal(r->scopes[0], "/app");
    assert_string_equal(r->scopes[1], "/apple");
    resource_free(r);
    r = parsed(MINIMAL "keys = /\n");
    assert_int_equal(r->n_scopes, 1);
    assert_string_equal(r->scopes[0], "/");
    resource_free(r);
    r = parsed("[template]\nsrc=a\ndest=/a\nprefix=/p\n");
    assert_string_equal(r->scopes[0], "/p/");
    resource_free(r);
}

TEST(resource, errors_name_file_line_and_what_is_allowed)
{
    assert_refused("", "a.conf: there is no section [template]");
    assert_refused("src = a\n", "a.conf:1: 'src' stands before the section [template]");
    assert_refused("[templat]\nsrc = a\n", "a.conf:2: unknown section [templat]; there is one");
    assert_refused(
        MINIMAL "reloadd = x\n", "a.conf:5: unknown key 'reloadd'; known are src, dest,");
    assert_refused(
        MINIMAL "mode = 0800\n", "a.conf:5: mode is octal, 0000 to 0777; this is '0800'");
    assert_refused(MINIMAL "mode = 4755\n", "a.conf:5: mode is octal, 0000 to 0777; set-id");
    assert_refused(MINIMAL "owner = nobody-here\n", "a.conf:5: owner is the name of a user");
    assert_refused(MINIMAL "owner = 4294967295\n", "a.conf:5: owner is the name of a user");
    assert_refused(MINIMAL "group = no-such-group\n", "a.conf:5: group is the name of a group");
    assert_refused(MINIMAL "dest = /b\n", "a.conf:5: 'dest' is given a second time");
    assert_refused(MINIMAL "check =\n", "a.conf:5: 'check' has no value");
    assert_refused(
        MINIMAL "check = a 'b\n", "a.conf:5: the command cannot be split into words: column 3");
    assert_refused(MINIMAL "check = a {{.file}}\n",
        "a.conf:5: a command knows {{.src}} and {{.dest}}; this is '{{.file}}'");
    assert_refused(MINIMAL "check = a {{nofunc}}\n", "a.conf:5: a command knows");
    assert_refused(MINIMAL "shell = true\n", "a.conf:5: shell is yes or no; this is 'true'");
    assert_refused(MINIMAL "check_timeout = 0\n", "a.conf:5: check_timeout is a time such as");
    assert_refused(MINIMAL "quiet_min = 5\n", "a.conf:5: quiet_min is a time such as");
    assert_refused(MINIMAL "quiet_min = 2s\nquiet_max = 1s\n", "a.conf:6: quiet_max is shorter");
    assert_refused(MINIMAL "just words\n", "a.conf:5: this is neither [section] nor name = value");
    assert_refused(MINIMAL "keys = /a,,/b\n", "a.conf:5: an empty key between commas");
    assert_refused(
        "[template]\nsrc = a\ndest = /b\n", "a.conf:3: the section ends without keys or");
    assert_refused("[template]\nsrc = a\nkeys = /\n", "a.conf:3: the section ends without dest");
}

TEST(resource, paths_cannot_lead_elsewhere)
{
    assert_refused("[template]\nsrc = ../secret\n", "a.conf:2: src is a path below /t, without ..");
    assert_refused("[template]\nsrc = a/../../b\n", "a.conf:2: src is a path below");
    assert_refused("[template]\nsrc = /etc/x\n", "a.conf:2: src is a path below");
    assert_refused("[template]\ndest = etc/x\n", "a.conf:2: dest is an absolute path");
    assert_refused(
        "[template]\ndest = \"/etc/x\"\n", "a.conf:2: dest is an absolute path without quotes");
    assert_refused("[template]\ndest = /etc/\n", "a.conf:2: dest names a file, not a folder");
    assert_refused("[template]\ndest = /etc/..\n", "a.conf:2: dest names a file, not a folder");
}

TEST(resource, one_file_has_one_name)
{
    static const char *const other_names[] = {
        "//x/f", "/x//f", "/x/./f", "/./f", "/x/../f", "/../f", "/x/out/../out/f"};

    for (size_t i = 0; i < ARRAY_SIZE(other_names); i++) {
        _cleanup_free_ char *text = xasprintf("[template]\ndest = %s\n", other_names[i]);

        assert_refused(text, "a.conf:2: dest is written without //, /./ and /../; this is '/");
    }
    resource_free(parsed("[template]\nsrc=a\nkeys=/\ndest = /.x/..y/z../...\n"));
}

TEST(resource, long_lines_and_binary_files_are_refused)
{
    _cleanup_strbuf_ struct strbuf s = {0};
    struct resource *r = NULL;
    _cleanup_err_ struct err e = {0};

    strbuf_append_str(&s, MINIMAL "check = ");
    for (int i = 0; i < RESOURCE_LINE_MAX; i++) {
        strbuf_append_char(&s, 'x');
    }
    assert_refused(strbuf_cstr(&s), "a.conf:5: the line is longer than");
    assert_true(
        resource_parse("a", "a.conf", BYTES_LITERAL("[template]\nsrc\0 = x\n"), "/t", &r, &e) < 0);
    assert_non_null(strstr(e.text, "NUL"));
}

static void put(int dir, const char *name, const char *text)
{
    static const struct file_attrs attrs = {.mode = 0644, .uid = (uid_t)-1, .gid = (gid_t)-1};

    assert_int_equal(file_replace_at(dir, name, bytes_str(text), &attrs, NULL), 0);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

/* a: real/f; b: the same by a link to the folder; c: another name there; d: the same as a by text;
 * e, f: a folder that is not there. */
TEST(config, one_file_has_one_resource)
{
    static const char *const dests[] = {"real/f", "link/f", "link/g", "real/f", "no/f", "none/f"};
    char folder[] = "/tmp/decree-config-XXXXXX";
    _cleanup_close_ int dir = -1;
    _cleanup_err_ struct err e = {0};
    struct config c;

    assert_non_null(mkdtemp(folder));
    dir = open(folder, O_RDONLY | O_DIRECTORY);
    assert_true(mkdirat(dir, "conf.d", 0755) == 0 && mkdirat(dir, "templates", 0755) == 0);
    assert_true(mkdirat(dir, "real", 0755) == 0 && symlinkat("real", dir, "link") == 0);
    _cleanup_close_ int conf = openat(dir, "conf.d", O_RDONLY | O_DIRECTORY);
    _cleanup_close_ int templates = openat(dir, "templates", O_RDONLY | O_DIRECTORY);
    put(templates, "t", "text");
    for (size_t i = 0; i < ARRAY_SIZE(dests); i++) {
        char name[] = {(char)('a' + i), '.', 'c', 'o', 'n', 'f', '\0'};
        _cleanup_free_ char *text =
            xasprintf("[template]\nsrc = t\nkeys = /\ndest = %s/%s\n", folder, dests[i]);

        put(conf, name, text);
    }
    assert_int_equal(config_load(folder, &c, &e), 0);
    assert_int_equal(c.n_resources, 4);
    assert_string_equal(c.resources[1]->name, "c");
    assert_int_equal(c.n_faults, 2);
    assert_string_equal(c.faults[0].name, "b");
    assert_non_null(strstr(c.faults[0].text, "/b.conf: dest "));
    assert_non_null(strstr(c.faults[0].text, "/real/f, which belongs to a.conf already"));
    assert_string_equal(c.faults[1].name, "d");
    assert_non_null(strstr(c.faults[1].text, "/real/f belongs to a.conf already"));
    config_deinit(&c);
    (void)nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

TEST(scope, covers_itself_and_what_is_below)
{
    assert_true(scope_covers(BYTES_LITERAL("/app"), BYTES_LITERAL("/app")));
    assert_true(scope_covers(BYTES_LITERAL("/app"), BYTES_LITERAL("/app/x")));
    assert_false(scope_covers(BYTES_LITERAL("/app"), BYTES_LITERAL("/apple")));
    assert_false(scope_covers(BYTES_LITERAL("/app"), BYTES_LITERAL("/app-x")));
    assert_false(scope_covers(BYTES_LITERAL("/app/"), BYTES_LITERAL("/app")));
    assert_true(scope_covers(BYTES_LITERAL("/"), BYTES_LITERAL("/app")));
    assert_false(scope_covers(BYTES_LITERAL("/"), BYTES_LITERAL("_decree/x")));
}

TEST(duration, reads_what_people_write)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {{"0", 0}, {"500ms", 500}, {"2s", 2000}, {"1m30s", 90000}, {"1h1m1s1ms", 3661001},
        {"24h", 86400000}};
    static const char *const bad[] = {
        "", "5", "s", "-1s", "1.5s", "2S", "1s1m", "1s ", "25h", "99999999999999999999s", "1mss"};
    uint64_t ms = 0;

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_int_equal(duration_parse(good[i].text, &ms), 0);
        assert_true(ms == good[i].ms);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_true(duration_parse(bad[i], &ms) < 0);
    }
}

TEST_MAIN(UNIT(resource, all_keys_are_taken),
    UNIT(resource, defaults_leave_owner_and_mode_as_they_are),
    UNIT(resource, shell_runs_the_line_as_it_stands), UNIT(resource, nested_keys_become_one_scope),
    UNIT(resource, errors_name_file_line_and_what_is_allowed),
    UNIT(resource, paths_cannot_lead_elsewhere), UNIT(resource, one_file_has_one_name),
    UNIT(resource, long_lines_and_binary_files_are_refused),
    UNIT(config, one_file_has_one_resource), UNIT(scope, covers_itself_and_what_is_below),
    UNIT(duration, reads_what_people_write))
