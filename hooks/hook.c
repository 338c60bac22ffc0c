/* One state machine for the life of a command:
 *
 *   RUNNING ──exit──────────────────────────────────────────┐
 *      │ time limit or cancel: SIGTERM to the group          │
 *   TERMINATING ──exit: SIGKILL to what is left of it────────┤
 *      │ grace over: SIGKILL to the group                    │
 *   KILLING ──exit, or the kernel does not let it die────────┤
 *   FAILED (could not be started) ──next turn of the loop────┤
 *                                                            CLOSING ──handles closed──> cb, free
 *
 * The end is seen through a pidfd and the child is reaped last: until then neither its pid nor the
 * number of its group can belong to anybody else, so that a signal never hits a stranger. */
#include "hook.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "clock.h"
#include "log.h"

enum hook_state { HOOK_RUNNING, HOOK_TERMINATING, HOOK_KILLING, HOOK_FAILED, HOOK_CLOSING };

static const char *const state_names[] = {"running", "terminating", "killing", "failed", "closing"};
_Static_assert(ARRAY_SIZE(state_names) == HOOK_CLOSING + 1, "every state has a name");

enum {
    READ_CHUNK = 64 * 1024,
    /* After the end only what sits in the pipe is wanted; a background process that goes on writing
     * must not hold the result up. 1 MiB is the largest pipe an unprivileged process can make. */
    DRAIN_MAX = 1024 * 1024,
};

struct hook {
    enum hook_state state;
    hook_cb cb;
    void *data;
    uint64_t grace_ms;
    uint64_t started_ms;
    uint64_t timeout_ms;
    pid_t pid;     /* also the number of its session and process group; 0 when not started */
    int pidfd;     /* owned */
    int out_fd;    /* owned: the read end of its stdout and stderr */
    char *program; /* owned */
    struct strbuf output;
    bool output_cut;
    enum hook_outcome outcome;
    int code;
    uv_poll_t exit_poll;
    uv_poll_t out_poll;
    uv_timer_t timer; /* the time limit, then the grace, then the wait for SIGKILL */
    int open_handles;
};

static void set_state(struct hook *h, enum hook_state to)
{
    decree_assert(to > h->state || (h->state == HOOK_RUNNING && to == HOOK_RUNNING));
    log_debug("hook %s program=%s pid=%d", state_names[to], h->program, (int)h->pid);
    h->state = to;
}

static void on_closed(uv_handle_t *handle)
{
    struct hook *h = handle->data;
    struct hook_result r;

    if (--h->open_handles > 0) {
        return;
    }
    cleanup_close_(&h->pidfd);
    cleanup_close_(&h->out_fd);
    r = (struct hook_result){
        .outcome = h->outcome,
        .code = h->code,
        .took_ms = clock_boot_ms() - h->started_ms,
        .program = h->program,
        .output = strbuf_bytes(&h->output),
        .output_cut = h->output_cut,
    };
    h->cb(h->data, &r);
    strbuf_deinit(&h->output);
    free(h->program);
    free(h);
}

static void finish(struct hook *h)
{
    set_state(h, HOOK_CLOSING);
    uv_close((uv_handle_t *)&h->timer, on_closed);
    if (h->pid != 0) {
        uv_close((uv_handle_t *)&h->exit_poll, on_closed);
        uv_close((uv_handle_t *)&h->out_poll, on_closed);
    }
}

/* Reads once; false when there is nothing more for now. */
static bool read_output(struct hook *h)
{
    char chunk[READ_CHUNK];
    ssize_t n;

    do {
        n = read(h->out_fd, chunk, sizeof(chunk));
    } while (n < 0 && errno == EINTR);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN) {
            (void)uv_poll_stop(&h->out_poll);
        }
        return false;
    }
    size_t room = HOOK_OUTPUT_MAX - h->output.len;

    h->output_cut = h->output_cut || (size_t)n > room;
    strbuf_append(&h->output, chunk, MIN((size_t)n, room));
    return true;
}

static void drain_output(struct hook *h)
{
    for (size_t i = 0; i < DRAIN_MAX / READ_CHUNK && read_output(h); i++) {}
}

static void kill_group(const struct hook *h, int sig)
{
    (void)kill(-h->pid, sig);
}

static void reap(struct hook *h)
{
    int status = 0;
    pid_t pid;

    do {
        pid = waitpid(h->pid, &status, WNOHANG);
    } while (pid < 0 && errno == EINTR);
    if (h->state != HOOK_RUNNING) {
        return; /* why it ended was settled when we ended it */
    }
    decree_assert(pid == h->pid);
    if (WIFSIGNALED(status)) {
        h->outcome = HOOK_SIGNALED;
        h->code = WTERMSIG(status);
    } else {
        h->outcome = HOOK_EXITED;
        h->code = WEXITSTATUS(status);
    }
}

enum hook_event { EVENT_EXITED, EVENT_TIMER, EVENT_CANCEL };

static void on_timer(uv_timer_t *timer);

static void end_early(struct hook *h, enum hook_outcome outcome, int code)
{
    h->outcome = outcome;
    h->code = code;
    kill_group(h, SIGTERM);
    (void)uv_timer_start(&h->timer, on_timer, h->grace_ms, 0);
    set_state(h, HOOK_TERMINATING);
}

static void step(struct hook *h, enum hook_event event)
{
    switch (h->state) {
    case HOOK_RUNNING:
        if (event == EVENT_EXITED) {
            drain_output(h);
            reap(h);
            finish(h);
        } else if (event == EVENT_TIMER) {
            end_early(h, HOOK_TIMED_OUT, (int)MIN(h->timeout_ms, (uint64_t)INT32_MAX));
        } else {
            end_early(h, HOOK_CANCELED, -ECANCELED);
        }
        break;
    case HOOK_TERMINATING:
        if (event == EVENT_EXITED) {
            kill_group(h, SIGKILL);
            drain_output(h);
            reap(h);
            finish(h);
        } else if (event == EVENT_TIMER) {
            kill_group(h, SIGKILL);
            (void)uv_timer_start(&h->timer, on_timer, HOOK_KILL_WAIT_MS, 0);
            set_state(h, HOOK_KILLING);
        }
        break;
    case HOOK_KILLING:
        if (event != EVENT_CANCEL) {
            drain_output(h);
            reap(h);
            finish(h);
        }
        break;
    case HOOK_FAILED:
        if (event == EVENT_TIMER) {
            finish(h);
        }
        break;
    case HOOK_CLOSING:
        break;
    }
}

static void on_timer(uv_timer_t *timer)
{
    step(timer->data, EVENT_TIMER);
}

static void on_exit_readable(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    step(poll->data, EVENT_EXITED);
}

static void on_output(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    (void)read_output(poll->data);
}

void hook_cancel(struct hook *h)
{
    step(h, EVENT_CANCEL);
}

/* The first match in HOOK_PATH, or name itself when it has a slash. */
static int find_program(const char *name, char **ret)
{
    if (strchr(name, '/') != NULL) {
        *ret = xstrdup(name);
        return 0;
    }
    for (const char *p = HOOK_PATH; *p != '\0'; p += strcspn(p, ":"), p += *p == ':') {
        _cleanup_free_ char *path = xasprintf("%.*s/%s", (int)strcspn(p, ":"), p, name);

        if (access(path, X_OK) == 0) {
            *ret = TAKE_PTR(path);
            return 0;
        }
    }
    *ret = xasprintf("%s (not found in " HOOK_PATH ")", name);
    return -ENOENT;
}

/* Everything the child shall have besides its arguments. Each call fails only for lack of memory.
 */
static int prepare_child(
    posix_spawn_file_actions_t *actions, posix_spawnattr_t *attr, int out_write)
{
    sigset_t none, all;
    int rc = 0;

    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    rc |= posix_spawnattr_setflags(
        attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    rc |= posix_spawnattr_setsigmask(attr, &none);
    rc |= posix_spawnattr_setsigdefault(attr, &all);
    rc |= posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    rc |= posix_spawn_file_actions_adddup2(actions, out_write, STDOUT_FILENO);
    rc |= posix_spawn_file_actions_adddup2(actions, out_write, STDERR_FILENO);
    rc |= posix_spawn_file_actions_addclosefrom_np(actions, STDERR_FILENO + 1);
    rc |= posix_spawn_file_actions_addchdir_np(actions, "/");
    return rc != 0 ? -ENOMEM : 0;
}

static int spawn(struct hook *h, const struct hook_spec *spec, int out_write)
{
    static const char *const base_env[] = {("PATH=" HOOK_PATH), "LANG=C.UTF-8", "HOME=/"};
    _cleanup_free_ const char **env = NULL;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    size_t n = 0;
    int rc;

    while (spec->env != NULL && spec->env[n] != NULL) {
        n++;
    }
    env = xcalloc(ARRAY_SIZE(base_env) + n + 1, sizeof(*env));
    memcpy(env, base_env, sizeof(base_env));
    for (size_t i = 0; i < n; i++) {
        env[ARRAY_SIZE(base_env) + i] = spec->env[i];
    }
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawnattr_init(&attr);
    rc = prepare_child(&actions, &attr, out_write);
    if (rc == 0) {
        /* posix_spawn promises not to change the strings; its prototype predates const. */
        rc = -posix_spawn(&h->pid, h->program, &actions, &attr,
            (char *const *)(uintptr_t)spec->argv, (char *const *)(uintptr_t)env);
    }
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)posix_spawnattr_destroy(&attr);
    return rc;
}

/* A started child whose pidfd or poll cannot be had would run without any limit: end it. */
static int watch_child(struct hook *h, uv_loop_t *loop)
{
    int rc;

    h->pidfd = pidfd_open(h->pid, 0);
    rc = h->pidfd < 0 ? -errno : uv_poll_init(loop, &h->exit_poll, h->pidfd);
    if (rc == 0) {
        rc = uv_poll_init(loop, &h->out_poll, h->out_fd);
        if (rc == 0) {
            h->exit_poll.data = h->out_poll.data = h;
            h->open_handles += 2;
            rc = uv_poll_start(&h->exit_poll, UV_READABLE, on_exit_readable);
            decree_assert(rc == 0);
            return uv_poll_start(&h->out_poll, UV_READABLE, on_output);
        }
        /* Out of descriptors for epoll itself: nothing on this loop works any more. */
        decree_fatal("cannot watch the output of a hook: %s", uv_strerror(rc));
    }
    kill_group(h, SIGKILL);
    (void)waitpid(h->pid, NULL, 0);
    h->pid = 0;
    return rc;
}

static int start_child(struct hook *h, uv_loop_t *loop, const struct hook_spec *spec)
{
    _cleanup_close_ int out_write = -1;
    int pipe_fds[2];
    int rc = find_program(spec->argv[0], &h->program);

    if (rc < 0) {
        return rc;
    }
    if (pipe2(pipe_fds, O_CLOEXEC) < 0) {
        return -errno;
    }
    h->out_fd = pipe_fds[0];
    out_write = pipe_fds[1];
    rc = spawn(h, spec, out_write);
    if (rc < 0) {
        h->pid = 0;
        return rc;
    }
    return watch_child(h, loop);
}

struct hook *hook_start(uv_loop_t *loop, const struct hook_spec *spec, hook_cb cb, void *data)
{
    struct hook *h = xcalloc(1, sizeof(*h));
    int rc;

    decree_assert(spec->argv != NULL && spec->argv[0] != NULL && cb != NULL);
    *h = (struct hook){
        .cb = cb,
        .data = data,
        .timeout_ms = spec->timeout_ms != 0 ? spec->timeout_ms : HOOK_TIMEOUT_MS,
        .grace_ms = spec->grace_ms != 0 ? spec->grace_ms : HOOK_GRACE_MS,
        .started_ms = clock_boot_ms(),
        .pidfd = -1,
        .out_fd = -1,
        .open_handles = 1,
    };
    (void)uv_timer_init(loop, &h->timer);
    h->timer.data = h;
    /* uv measures from the start of the turn; a limit counts from now. */
    uv_update_time(loop);
    rc = start_child(h, loop, spec);
    if (rc < 0) {
        h->outcome = HOOK_NOT_STARTED;
        h->code = rc;
        set_state(h, HOOK_FAILED);
        (void)uv_timer_start(&h->timer, on_timer, 0, 0);
        return h;
    }
    set_state(h, HOOK_RUNNING);
    (void)uv_timer_start(&h->timer, on_timer, h->timeout_ms, 0);
    return h;
}

void hook_describe(const struct hook_result *r, struct strbuf *out)
{
    switch (r->outcome) {
    case HOOK_EXITED:
        strbuf_printf(out, "exited with status %d", r->code);
        break;
    case HOOK_SIGNALED:
        strbuf_printf(out, "was killed by signal %d (%s)", r->code, strsignal(r->code));
        break;
    case HOOK_TIMED_OUT:
        strbuf_printf(out, "did not end within %d ms and was killed", r->code);
        break;
    case HOOK_NOT_STARTED:
        strbuf_printf(out, "could not be started: %s: %s", r->program, strerror(-r->code));
        break;
    case HOOK_CANCELED:
        strbuf_append_str(out, "was canceled");
        break;
    }
}
