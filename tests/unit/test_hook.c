#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>

#include "clock.h"
#include "hook.h"

struct seen {
    int calls;
    bool inside_start; /* the callback ran before hook_start returned */
    bool starting;
    enum hook_outcome outcome;
    int code;
    uint64_t took_ms;
    bool cut;
    struct strbuf output;
    struct strbuf text;
};

static void on_done(void *data, const struct hook_result *r)
{
    struct seen *s = data;

    s->calls++;
    s->inside_start = s->starting;
    s->outcome = r->outcome;
    s->code = r->code;
    s->took_ms = r->took_ms;
    s->cut = r->output_cut;
    strbuf_append_bytes(&s->output, r->output);
    hook_describe(r, &s->text);
}

static struct hook *start(uv_loop_t *loop, struct seen *s, const struct hook_spec *spec)
{
    struct hook *h;

    assert_int_equal(uv_loop_init(loop), 0);
    s->starting = true;
    h = hook_start(loop, spec, on_done, s);
    s->starting = false;
    return h;
}

static void finish(uv_loop_t *loop, struct seen *s)
{
    assert_int_equal(uv_run(loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(loop), 0); /* no handle is left open */
    assert_int_equal(s->calls, 1);
    assert_false(s->inside_start);
}

static void run_shell(struct seen *s, const char *script, uint64_t timeout_ms)
{
    const char *argv[] = {"/bin/sh", "-c", script, NULL};
    struct hook_spec spec = {.argv = argv, .timeout_ms = timeout_ms, .grace_ms = 100};
    uv_loop_t loop;

    (void)start(&loop, s, &spec);
    finish(&loop, s);
}

static void drop(struct seen *s)
{
    strbuf_deinit(&s->output);
    strbuf_deinit(&s->text);
}
#define _cleanup_seen_ _cleanup_(drop)

static pid_t pid_in(const struct seen *s)
{
    char text[32] = {0};

    memcpy(text, s->output.data, MIN(s->output.len, sizeof(text) - 1));
    return (pid_t)strtol(text, NULL, 10);
}

/* A killed process of another session is init's to reap: gone, or a zombie until then. */
static bool gone(pid_t pid)
{
    _cleanup_free_ char *path = xasprintf("/proc/%d/stat", (int)pid);
    char stat[256] = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return true;
    }
    ssize_t n = read(fd, stat, sizeof(stat) - 1);

    (void)close(fd);
    return n <= 0 || strstr(stat, ") Z ") != NULL;
}

static void assert_gone(pid_t pid)
{
    uint64_t deadline = clock_boot_ms() + 2000;

    assert_true(pid > 1);
    while (!gone(pid) && clock_boot_ms() < deadline) {
        (void)sched_yield();
    }
    assert_true(gone(pid));
}

TEST(hook, success_keeps_both_outputs_in_order)
{
    _cleanup_seen_ struct seen s = {0};

    run_shell(&s, "echo one; echo two >&2; echo three", 0);
    assert_int_equal(s.outcome, HOOK_EXITED);
    assert_int_equal(s.code, 0);
    assert_string_equal(strbuf_cstr(&s.output), "one\ntwo\nthree\n");
    assert_false(s.cut);
}

TEST(hook, exit_status_and_signal_are_told_apart)
{
    _cleanup_seen_ struct seen a = {0};
    _cleanup_seen_ struct seen b = {0};

    run_shell(&a, "exit 3", 0);
    assert_int_equal(a.outcome, HOOK_EXITED);
    assert_int_equal(a.code, 3);
    assert_string_equal(strbuf_cstr(&a.text), "exited with status 3");
    run_shell(&b, "kill -SEGV $$", 0);
    assert_int_equal(b.outcome, HOOK_SIGNALED);
    assert_int_equal(b.code, SIGSEGV);
}

TEST(hook, what_cannot_start_is_reported_later_with_its_path)
{
    const char *missing[] = {"/nonexistent/program", NULL};
    const char *unknown[] = {"no-such-program-anywhere", NULL};
    struct hook_spec spec = {.argv = missing};
    _cleanup_seen_ struct seen a = {0};
    _cleanup_seen_ struct seen b = {0};
    uv_loop_t loop;

    (void)start(&loop, &a, &spec);
    finish(&loop, &a);
    assert_int_equal(a.outcome, HOOK_NOT_STARTED);
    assert_int_equal(a.code, -ENOENT);
    assert_string_equal(strbuf_cstr(&a.text),
        "could not be started: /nonexistent/program: No such file or directory");
    spec.argv = unknown;
    (void)start(&loop, &b, &spec);
    finish(&loop, &b);
    assert_int_equal(b.outcome, HOOK_NOT_STARTED);
    assert_non_null(strstr(strbuf_cstr(&b.text), "not found in " HOOK_PATH));
}

TEST(hook, group_is_killed_when_time_is_up_though_it_ignores_sigterm)
{
    _cleanup_seen_ struct seen s = {0};

    run_shell(
        &s, "trap '' TERM; sh -c 'trap \"\" TERM; echo $$; exec sleep 60' & sleep 60 & wait", 300);
    assert_int_equal(s.outcome, HOOK_TIMED_OUT);
    assert_int_equal(s.code, 300);
    assert_true(s.took_ms >= 400 && s.took_ms < 10000);
    assert_gone(pid_in(&s));
}

TEST(hook, background_children_die_with_a_leader_that_obeys_sigterm)
{
    _cleanup_seen_ struct seen s = {0};

    run_shell(&s, "sh -c 'trap \"\" TERM; echo $$; exec sleep 60' & exec sleep 60", 300);
    assert_int_equal(s.outcome, HOOK_TIMED_OUT);
    assert_gone(pid_in(&s));
}

TEST(hook, success_does_not_wait_for_a_background_process_that_keeps_the_output)
{
    _cleanup_seen_ struct seen s = {0};

    run_shell(&s, "sleep 60 & echo $!", 30000);
    assert_int_equal(s.outcome, HOOK_EXITED);
    assert_true(s.took_ms < 10000);
    assert_int_equal(kill(pid_in(&s), SIGKILL), 0); /* it lived on */
}

TEST(hook, flood_of_output_is_capped_and_does_not_block_the_child)
{
    _cleanup_seen_ struct seen s = {0};

    run_shell(&s, "head -c 5000000 /dev/zero; exit 7", 20000);
    assert_int_equal(s.outcome, HOOK_EXITED);
    assert_int_equal(s.code, 7);
    assert_int_equal(s.output.len, HOOK_OUTPUT_MAX);
    assert_true(s.cut);
}

TEST(hook, cancel_completes_with_ecanceled)
{
    const char *argv[] = {"sleep", "60", NULL};
    struct hook_spec spec = {.argv = argv};
    _cleanup_seen_ struct seen s = {0};
    uv_loop_t loop;
    struct hook *h = start(&loop, &s, &spec);

    hook_cancel(h);
    hook_cancel(h); /* a second one changes nothing */
    assert_int_equal(s.calls, 0);
    finish(&loop, &s);
    assert_int_equal(s.outcome, HOOK_CANCELED);
    assert_int_equal(s.code, -ECANCELED);
}

TEST(hook, child_gets_a_clean_environment_and_no_descriptors)
{
    const char *argv[] = {"/bin/sh", "-c",
        "env | sort | grep -v -e ^PWD= -e ^_=; pwd; ls /proc/self/fd | wc -l; "
        "cat; readlink /proc/self/fd/0",
        NULL};
    const char *env[] = {"DECREE_RESOURCE=x y", NULL};
    struct hook_spec spec = {.argv = argv, .env = env};
    _cleanup_seen_ struct seen s = {0};
    uv_loop_t loop;
    int leak = open("/dev/null", O_RDONLY); /* deliberately without O_CLOEXEC */

    assert_int_equal(setenv("SECRET_OF_THE_AGENT", "x", 1), 0);
    (void)start(&loop, &s, &spec);
    finish(&loop, &s);
    (void)close(leak);
    /* 0, 1, 2 and the one that ls itself opens */
    assert_string_equal(strbuf_cstr(&s.output),
        "DECREE_RESOURCE=x y\nHOME=/\nLANG=C.UTF-8\nPATH=" HOOK_PATH "\n/\n4\n/dev/null\n");
}

TEST(hook, child_leads_a_session_and_signals_are_as_usual)
{
    sigset_t block;
    _cleanup_seen_ struct seen s = {0};

    (void)sigemptyset(&block);
    (void)sigaddset(&block, SIGUSR1);
    assert_int_equal(sigprocmask(SIG_BLOCK, &block, NULL), 0);
    (void)signal(SIGPIPE, SIG_IGN);
    /* The last seven digits: signals 32 and 33 belong to libc and cannot be set. */
    run_shell(&s,
        "set -- $(cat /proc/$$/stat); [ $1 = $5 ] && [ $1 = $6 ] && echo leader; "
        "sed -n -E 's/^(Sig(Blk|Ign)):.*(.{7})$/\\1 \\3/p' /proc/$$/status",
        0);
    assert_string_equal(strbuf_cstr(&s.output), "leader\nSigBlk 0000000\nSigIgn 0000000\n");
    assert_int_equal(sigprocmask(SIG_UNBLOCK, &block, NULL), 0);
}

TEST_MAIN(UNIT(hook, success_keeps_both_outputs_in_order),
    UNIT(hook, exit_status_and_signal_are_told_apart),
    UNIT(hook, what_cannot_start_is_reported_later_with_its_path),
    UNIT(hook, group_is_killed_when_time_is_up_though_it_ignores_sigterm),
    UNIT(hook, background_children_die_with_a_leader_that_obeys_sigterm),
    UNIT(hook, success_does_not_wait_for_a_background_process_that_keeps_the_output),
    UNIT(hook, flood_of_output_is_capped_and_does_not_block_the_child),
    UNIT(hook, cancel_completes_with_ecanceled),
    UNIT(hook, child_gets_a_clean_environment_and_no_descriptors),
    UNIT(hook, child_leads_a_session_and_signals_are_as_usual))
