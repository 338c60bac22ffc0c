#include "supervisor.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"

enum {
    STOP_LIMIT_MS = 10000,   /* a store closes in milliseconds, an agent waits for its hook */
    BACKOFF_FIRST_MS = 100,  /* one crash must not be felt */
    BACKOFF_MAX_MS = 30000,  /* a crash loop must not eat the host */
    STEADY_AFTER_MS = 60000, /* up for so long: the next crash counts as the first */
};

enum child_state { CHILD_OFF, CHILD_RUNNING, CHILD_WAITING };

struct child {
    const struct child_spec *spec;
    enum child_state state;
    pid_t pid;
    uint64_t started_ms, restart_ms;
    uint64_t backoff_ms;
};

struct supervisor {
    struct child children[CHILD_COUNT];
    sigset_t signals, old_mask;
    bool stopping;
    uint64_t stop_by_ms;
    int exit_code;
};

static void child_start(struct supervisor *s, struct child *c)
{
    pid_t parent = getpid();

    c->started_ms = clock_boot_ms();
    c->pid = fork();
    if (c->pid < 0) {
        log_error("cannot start the %s: %s", c->spec->name, strerror(errno));
        c->state = CHILD_WAITING;
        c->restart_ms = c->started_ms + BACKOFF_MAX_MS;
        return;
    }
    if (c->pid == 0) {
        (void)sigprocmask(SIG_SETMASK, &s->old_mask, NULL);
        /* A parent killed with -9 takes its children along; it may have died before this line. */
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent) {
            _exit(1);
        }
        c->spec->run(c->spec->data);
        _exit(1);
    }
    c->state = CHILD_RUNNING;
    log_debug("started the %s pid=%d", c->spec->name, (int)c->pid);
}

static void child_signal(const struct child *c, int signal_number)
{
    if (c->state == CHILD_RUNNING) {
        (void)kill(c->pid, signal_number);
    }
}

/* The agent goes first: it may still write its status into the store. */
static void stop_next(struct supervisor *s)
{
    for (int i = CHILD_COUNT; i-- > 0;) {
        if (s->children[i].state == CHILD_RUNNING) {
            child_signal(&s->children[i], SIGTERM);
            return;
        }
    }
}

static void begin_stop(struct supervisor *s, int exit_code)
{
    if (!s->stopping) {
        s->stopping = true;
        s->exit_code = exit_code;
        s->stop_by_ms = clock_boot_ms() + STOP_LIMIT_MS;
        for (int i = 0; i < CHILD_COUNT; i++) {
            if (s->children[i].state == CHILD_WAITING) {
                s->children[i].state = CHILD_OFF;
            }
        }
    }
    stop_next(s);
}

static void child_ended(struct supervisor *s, struct child *c, int status)
{
    uint64_t now = clock_boot_ms();

    c->state = CHILD_OFF;
    if (s->stopping) {
        stop_next(s);
        return;
    }
    if (WIFEXITED(status)) {
        log_info("the %s has ended code=%d", c->spec->name, WEXITSTATUS(status));
        begin_stop(s, WEXITSTATUS(status));
        return;
    }
    c->backoff_ms = now - c->started_ms >= STEADY_AFTER_MS || c->backoff_ms == 0
        ? BACKOFF_FIRST_MS
        : MIN(c->backoff_ms * 2, (uint64_t)BACKOFF_MAX_MS);
    c->state = CHILD_WAITING;
    c->restart_ms = now + c->backoff_ms;
    log_error("the %s was killed by signal %d (%s); starting it again in_ms=%" PRIu64,
        c->spec->name, WTERMSIG(status), strsignal(WTERMSIG(status)), c->backoff_ms);
}

static void reap(struct supervisor *s)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (int i = 0; i < CHILD_COUNT; i++) {
            if (s->children[i].state == CHILD_RUNNING && s->children[i].pid == pid) {
                child_ended(s, &s->children[i], status);
            }
        }
    }
}

static bool any_alive(const struct supervisor *s)
{
    for (int i = 0; i < CHILD_COUNT; i++) {
        if (s->children[i].state != CHILD_OFF) {
            return true;
        }
    }
    return false;
}

/* Does what has become due; returns the milliseconds until the next thing, -1 for never. */
static int64_t run_timers(struct supervisor *s)
{
    uint64_t now = clock_boot_ms(), next = UINT64_MAX;

    if (s->stopping) {
        if (now >= s->stop_by_ms) {
            for (int i = 0; i < CHILD_COUNT; i++) {
                child_signal(&s->children[i], SIGKILL);
            }
            return -1;
        }
        next = s->stop_by_ms;
    }
    for (int i = 0; i < CHILD_COUNT; i++) {
        struct child *c = &s->children[i];

        if (c->state == CHILD_WAITING && now >= c->restart_ms) {
            child_start(s, c);
        }
        if (c->state == CHILD_WAITING) {
            next = MIN(next, c->restart_ms);
        }
    }
    return next == UINT64_MAX ? -1 : (int64_t)(next - now);
}

static int wait_signal(const struct supervisor *s, int64_t timeout_ms)
{
    struct timespec t = {timeout_ms / 1000, (timeout_ms % 1000) * 1000000};

    return timeout_ms < 0 ? sigwaitinfo(&s->signals, NULL) : sigtimedwait(&s->signals, NULL, &t);
}

static void on_signal(struct supervisor *s, int signal_number)
{
    switch (signal_number) {
    case SIGCHLD:
        reap(s);
        break;
    case SIGTERM:
    case SIGINT:
        begin_stop(s, 0);
        break;
    case SIGHUP:
        child_signal(&s->children[CHILD_AGENT], SIGHUP);
        break;
    default: /* -1: a timer is due */
        break;
    }
}

int supervise(const struct child_spec specs[CHILD_COUNT])
{
    struct supervisor s = {0};

    (void)sigemptyset(&s.signals);
    (void)sigaddset(&s.signals, SIGCHLD);
    (void)sigaddset(&s.signals, SIGTERM);
    (void)sigaddset(&s.signals, SIGINT);
    (void)sigaddset(&s.signals, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &s.signals, &s.old_mask);
    for (int i = 0; i < CHILD_COUNT; i++) {
        s.children[i].spec = &specs[i];
        if (specs[i].run != NULL) {
            child_start(&s, &s.children[i]);
        }
    }
    while (any_alive(&s)) {
        int64_t timeout_ms = run_timers(&s);

        on_signal(&s, wait_signal(&s, timeout_ms));
    }
    return s.exit_code;
}
