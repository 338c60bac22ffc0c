#include "unit.h"

#include <errno.h>
#include <stdio.h>

#include "file.h"
#include "options.h"

static int read_args(
    struct options *o, struct err *e, enum option_program program, const char *const *args)
{
    int argc = 0;

    while (args[argc] != NULL) {
        argc++;
    }
    return options_read(o, program, argc, (char *const *)args, e);
}

#define ARGS(...) ((const char *const[]){"decreed", __VA_ARGS__, NULL})

static void assert_refused(const char *text, const char *const *args)
{
    _cleanup_(options_deinit) struct options o = {0};
    _cleanup_err_ struct err e = {0};

    assert_int_equal(read_args(&o, &e, FOR_BOTH, args), -EINVAL);
    assert_string_equal(e.text, text);
}

TEST(options, defaults_are_made_of_the_name)
{
    _cleanup_(options_deinit) struct options o = {0};
    _cleanup_free_ char *dir = NULL, *endpoints = NULL, *here = NULL, *want = NULL;

    assert_int_equal(read_args(&o, NULL, FOR_BOTH, ARGS("--name", "n1")), 0);
    dir = option_data_dir(&o);
    endpoints = option_endpoints(&o);
    assert_string_equal(dir, "n1.decree");
    here = get_current_dir_name();
    want = xasprintf("unix://%s/n1.decree/agent.sock", here);
    assert_string_equal(endpoints, want);
    assert_int_equal(option_number(&o, OPT_ELECTION_TIMEOUT), 1000);
    assert_true(option_number(&o, OPT_QUOTA_BACKEND_BYTES) == 2ULL << 30);
}

TEST(options, etcds_spellings_are_known)
{
    _cleanup_(options_deinit) struct options o = {0};

    /* one dash, and bare numbers of milliseconds */
    assert_int_equal(
        read_args(&o, NULL, FOR_BOTH, ARGS("-election-timeout=500", "--heartbeat-interval", "50")),
        0);
    assert_int_equal(option_number(&o, OPT_ELECTION_TIMEOUT), 500);
    assert_int_equal(option_number(&o, OPT_HEARTBEAT_INTERVAL), 50);
}

TEST(options, bad_flags_say_what_is_allowed)
{
    assert_refused("--role: \"stor\" is not one of both|store|agent", ARGS("--role=stor"));
    assert_refused("--role: \"\" is not one of both|store|agent", ARGS("--role="));
    assert_refused("unknown option --data-dri; did you mean --data-dir? (--help lists all)",
        ARGS("--data-dri", "x"));
    assert_refused("unknown option --zzz (--help lists all)", ARGS("--zzz"));
    assert_refused("--name needs a value: NAME", ARGS("--name"));
    assert_refused("--name is given twice", ARGS("--name", "a", "--name", "b"));
    assert_refused("\"serve\" is not an option (--help lists all)", ARGS("serve"));
    assert_refused("--snapshot-count: \"5x\" is not a whole number", ARGS("--snapshot-count=5x"));
    assert_refused("--snapshot-count: 5 is outside 10 to 1000000000", ARGS("--snapshot-count=5"));
    assert_refused("--election-timeout: \"soon\" is not a time such as 100ms or 2s",
        ARGS("--election-timeout", "soon"));
    assert_refused("--quota-backend-bytes: \"99999999999G\" is not a size such as 512M",
        ARGS("--quota-backend-bytes", "99999999999G"));
}

TEST(options, flag_wins_over_environment_over_file)
{
    char path[] = "/tmp/decree-options-XXXXXX";
    int fd = mkstemp(path);
    _cleanup_(options_deinit) struct options o = {0};
    _cleanup_err_ struct err e = {0};

    assert_true(fd >= 0);
    assert_int_equal(
        file_write_all(fd, BYTES_LITERAL("# ours\nname = f\nlog-level = debug\nconf-dir = /f\n")),
        0);
    assert_int_equal(setenv("DECREE_NAME", "e", 1), 0);
    assert_int_equal(setenv("DECREE_LOG_LEVEL", "warn", 1), 0);
    assert_int_equal(read_args(&o, &e, FOR_BOTH, ARGS("--config-file", path, "--name=a")), 0);
    assert_string_equal(option_string(&o, OPT_NAME), "a");
    assert_string_equal(option_string(&o, OPT_LOG_LEVEL), "warn");
    assert_string_equal(option_string(&o, OPT_CONF_DIR), "/f");
    assert_string_equal(option_origin(&o, OPT_LOG_LEVEL), "DECREE_LOG_LEVEL");
    assert_int_equal(unsetenv("DECREE_NAME"), 0);
    assert_int_equal(unsetenv("DECREE_LOG_LEVEL"), 0);
    options_deinit(&o);

    assert_int_equal(file_write_all(fd, BYTES_LITERAL("date-dir = x\n")), 0);
    assert_int_equal(read_args(&o, &e, FOR_BOTH, ARGS("--config-file", path)), -EINVAL);
    _cleanup_free_ char *want =
        xasprintf("%s:5: unknown key \"date-dir\" (decreed --help lists all)", path);
    assert_string_equal(e.text, want);
    assert_int_equal(close(fd), 0);
    assert_int_equal(unlink(path), 0);
}

TEST(options, agent_refuses_the_stores_flags)
{
    _cleanup_(options_deinit) struct options o = {0};
    _cleanup_err_ struct err e = {0};

    assert_int_equal(
        read_args(&o, &e, FOR_AGENT_PROGRAM, ARGS("--listen-peer-urls=http://x:1")), -EINVAL);
    options_deinit(&o);
    assert_int_equal(read_args(&o, NULL, FOR_AGENT_PROGRAM, ARGS("--render", "--diff")), 0);
    assert_true(option_flag(&o, OPT_RENDER));
    assert_true(option_flag(&o, OPT_DIFF));
    assert_false(option_flag(&o, OPT_ONCE));
}

TEST(options, are_handed_on_to_the_agent)
{
    _cleanup_(options_deinit) struct options o = {0};
    const char *argv[OPT_END * 2];
    int argc;

    assert_int_equal(
        read_args(&o, NULL, FOR_BOTH, ARGS("--snapshot-count=10", "--conf-dir=/c")), 0);
    argc = options_to_argv(&o, FOR_AGENT, argv, 0);
    assert_int_equal(argc, 2);
    assert_string_equal(argv[0], "--conf-dir");
    assert_string_equal(argv[1], "/c");
}

TEST_MAIN(UNIT(options, defaults_are_made_of_the_name), UNIT(options, etcds_spellings_are_known),
    UNIT(options, bad_flags_say_what_is_allowed),
    UNIT(options, flag_wins_over_environment_over_file),
    UNIT(options, agent_refuses_the_stores_flags), UNIT(options, are_handed_on_to_the_agent))
