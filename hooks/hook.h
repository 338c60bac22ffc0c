/* Run one command on a libuv loop, so that nothing it does can hurt the process that started it:
 * no shell, an own session and process group, a clean environment, no inherited descriptors, `/` as
 * its folder, /dev/null as its input, a time limit and a cap on what is kept of its output.
 *
 * A command is over when its first process has ended. What that process left running in the
 * background lives on after success (a reload may start a daemon), and dies with it after a timeout
 * or a cancel: the whole group gets SIGTERM and, after a grace, SIGKILL.
 *
 * The umask is the one of this process: posix_spawn cannot set another one, and a program that
 * starts hooks is expected to have set 022, which is what init systems give to services. */
#ifndef DECREE_HOOKS_HOOK_H
#define DECREE_HOOKS_HOOK_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "buf.h"

enum {
    HOOK_TIMEOUT_MS = 30 * 1000,  /* a config check or a reload takes seconds, never minutes */
    HOOK_GRACE_MS = 3 * 1000,     /* from SIGTERM to SIGKILL: room for a clean exit */
    HOOK_KILL_WAIT_MS = 5 * 1000, /* a process that survives SIGKILL hangs in the kernel */
    HOOK_OUTPUT_MAX = 64 * 1024,  /* kept; the rest is read and dropped, so that it never blocks */
    HOOK_ARGV_MAX = 256,          /* words of one command line */
};

/* Where a command without a slash is looked for, and the child's PATH. */
#define HOOK_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum hook_outcome {
    HOOK_EXITED,      /* code is the exit status; 0 is success */
    HOOK_SIGNALED,    /* code is the signal that ended it */
    HOOK_TIMED_OUT,   /* code is the limit in milliseconds; the group was killed */
    HOOK_NOT_STARTED, /* code is -errno */
    HOOK_CANCELED,    /* code is -ECANCELED; the group was killed */
};

struct hook_result {
    enum hook_outcome outcome;
    int code; /* see above */
    uint64_t took_ms;
    const char *program; /* the path that was run, or what could not be found */
    struct bytes output; /* stdout and stderr in the order written, at most HOOK_OUTPUT_MAX */
    bool output_cut;     /* there was more */
};

static inline bool hook_ok(const struct hook_result *r)
{
    return r->outcome == HOOK_EXITED && r->code == 0;
}

/* "exited with status 1", "killed by signal 9 (Killed)", "did not end within 30000 ms and was
 * killed", "could not be started: /bin/x: No such file or directory". */
void hook_describe(const struct hook_result *r, struct strbuf *out);

struct hook;

/* Called once for every hook_start, never inside it. result and what it points to are valid until
 * cb returns; the hook is gone by then and must not be touched any more. */
typedef void (*hook_cb)(void *data, const struct hook_result *result);

struct hook_spec {
    const char *const *argv; /* NULL-ended, at least one word */
    const char *const *env;  /* NULL-ended "NAME=value" added to PATH, LANG and HOME; NULL = none */
    uint64_t timeout_ms;     /* 0 = HOOK_TIMEOUT_MS */
    uint64_t grace_ms;       /* 0 = HOOK_GRACE_MS */
};

/* Starts a command. Never fails: what cannot be started is reported through cb as well, so that the
 * caller has one path. spec is not needed after the call. */
struct hook *hook_start(uv_loop_t *loop, const struct hook_spec *spec, hook_cb cb, void *data);
/* Ends it early: SIGTERM to the group, SIGKILL after the grace; cb follows with HOOK_CANCELED. */
void hook_cancel(struct hook *h);

#endif
