/* watch: prints changes as they happen and outlives lost connections.
 *
 * The next revision wanted is kept after every message, and a new stream begins there, on whichever
 * endpoint answers: nothing is shown twice and nothing is left out. When the store has compacted
 * what comes next, the gap cannot be closed, and watch says so and ends. */
#include "cmd.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "alloc.h"
#include "buf.h"
#include "table.h"
#include "v3_client.h"

enum { RECONNECT_MS_MIN = 100, RECONNECT_MS_MAX = 5000 };
/* The kernel takes no longer environment string (MAX_ARG_STRLEN). */
enum { ENVIRONMENT_BYTES_MAX = 128 * 1024 };

struct watch {
    struct cli *cli;
    json_t *request;      /* owned; {"create_request":…} */
    char *const *command; /* borrowed; NULL = print */
    int interrupt_fd;
    int64_t next_rev; /* what a new stream begins with; 0 = after now */
};

static void set_variable(const char *name, struct bytes value)
{
    _cleanup_free_ char *text = NULL;

    /* A value that the environment cannot hold is left to standard input. */
    if (value.len >= ENVIRONMENT_BYTES_MAX - 64 || memchr(value.data, 0, value.len) != NULL) {
        (void)unsetenv(name);
        return;
    }
    text = xstrndup((const char *)value.data, value.len);
    (void)setenv(name, text, 1);
}

/* A descriptor from which the value can be read. */
static int value_fd(struct bytes value)
{
    int fd = memfd_create("decree-watch-value", MFD_CLOEXEC);
    size_t written = 0;

    while (fd >= 0 && written < value.len) {
        ssize_t n = write(fd, value.data + written, value.len - written);

        if (n < 0) {
            (void)close(fd);
            return -1;
        }
        written += (size_t)n;
    }
    if (fd >= 0) {
        (void)lseek(fd, 0, SEEK_SET);
    }
    return fd;
}

_noreturn_ static void exec_child(
    char *const *command, struct bytes key, struct bytes value, const char *type, int64_t rev)
{
    _cleanup_free_ char *rev_text = xasprintf("%" PRId64, rev);
    sigset_t none;
    int fd = value_fd(value);

    set_variable("DECREE_WATCH_KEY", key);
    set_variable("DECREE_WATCH_VALUE", value);
    (void)setenv("DECREE_WATCH_EVENT_TYPE", type, 1);
    (void)setenv("DECREE_WATCH_REVISION", rev_text, 1);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    if (fd >= 0 && dup2(fd, STDIN_FILENO) >= 0) {
        (void)execvp(command[0], command);
    }
    (void)fprintf(stderr, "decree: %s: %s\n", command[0], strerror(errno));
    _exit(127);
}

/* Runs the command for one event and waits for it: events keep their order. */
static void exec_event(
    struct watch *w, struct bytes key, struct bytes value, const char *type, int64_t rev)
{
    int status;
    pid_t pid;

    (void)fflush(stdout);
    pid = fork();
    if (pid == 0) {
        exec_child(w->command, key, value, type, rev);
    }
    if (pid < 0) {
        (void)fprintf(stderr, "decree: cannot start %s: %s\n", w->command[0], strerror(errno));
        return;
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    if (WIFSIGNALED(status)) {
        (void)fprintf(
            stderr, "decree: %s was ended by signal %d\n", w->command[0], WTERMSIG(status));
    } else if (WEXITSTATUS(status) != 0) {
        (void)fprintf(stderr, "decree: %s ended with %d\n", w->command[0], WEXITSTATUS(status));
    }
}

static void show_event(struct watch *w, const json_t *event)
{
    const json_t *kv = json_object_get(event, "kv");
    const json_t *prev = json_object_get(event, "prev_kv");
    bool deleted = strcmp(v3_text(event, "type"), "DELETE") == 0;
    const char *type = deleted ? "DELETE" : "PUT";

    if (w->command != NULL) {
        _cleanup_free_ char *key_memory = NULL, *value_memory = NULL;

        exec_event(w, v3_bytes(kv, "key", &key_memory), v3_bytes(kv, "value", &value_memory), type,
            v3_int(kv, "mod_revision"));
        return;
    }
    (void)printf("%s\n", type);
    if (prev != NULL) {
        kv_print_pair(w->cli, prev);
    }
    kv_print_pair(w->cli, kv);
}

/* Shows one response and moves next_rev on. 0, or V3_REFUSED when the watch is over. */
static int take_response(struct watch *w, const json_t *response, struct err *reterr)
{
    int64_t header_rev = v3_int(json_object_get(response, "header"), "revision");
    int64_t compacted = v3_int(response, "compact_revision");
    const json_t *events = json_object_get(response, "events");
    const json_t *event;
    size_t i;

    if (json_is_true(json_object_get(response, "canceled"))) {
        const char *reason = v3_text(response, "cancel_reason");

        if (compacted != 0) {
            return err_set(reterr, V3_REFUSED,
                "changes before revision %" PRId64
                " have been compacted away; read the keys again, "
                "then watch with --rev %" PRId64,
                compacted, compacted);
        }
        return err_set(reterr, V3_REFUSED, "the server ended the watch%s%s",
            reason[0] != 0 ? ": " : "", reason);
    }
    if (w->cli->format == OUTPUT_JSON && w->command == NULL && json_array_size(events) > 0) {
        cmd_print_json(response);
    } else {
        json_array_foreach(events, i, event)
        {
            show_event(w, event);
        }
    }
    (void)fflush(stdout);
    if (json_array_size(events) > 0) {
        event = json_array_get(events, json_array_size(events) - 1);
        w->next_rev = v3_int(json_object_get(event, "kv"), "mod_revision") + 1;
    } else if (json_is_true(json_object_get(response, "created"))) {
        /* A watch from now on has missed nothing up to here; one from a revision waits for it. */
        w->next_rev = w->next_rev != 0 ? w->next_rev : header_rev + 1;
    } else {
        w->next_rev = MAX(w->next_rev, header_rev + 1);
    }
    return 0;
}

/* Follows one stream to its end. */
static int follow(struct watch *w, struct v3_stream *s, struct err *reterr)
{
    for (;;) {
        json_t *response = NULL;
        int r = v3_stream_next(s, w->interrupt_fd, -1, &response, reterr);

        if (r == 0) {
            r = take_response(w, response, reterr);
            json_decref(response);
        }
        if (r != 0 || ferror(stdout)) {
            return r != 0 ? r : V3_INTERRUPTED; /* nobody reads any more */
        }
    }
}

static int open_stream(struct watch *w, struct v3_stream **ret, struct err *reterr)
{
    if (w->next_rev != 0) {
        json_object_set_new(json_object_get(w->request, "create_request"), "start_revision",
            v3_from_int(w->next_rev));
    }
    return v3_stream_open(w->cli->client, "/watch", w->request, ret, reterr);
}

/* Waits before the next try; true when Ctrl-C came meanwhile. */
static bool back_off(struct watch *w, int *delay_ms)
{
    struct pollfd p = {.fd = w->interrupt_fd, .events = POLLIN};
    int n = poll(&p, 1, *delay_ms);

    *delay_ms = MIN(*delay_ms * 2, (int)RECONNECT_MS_MAX);
    return n > 0;
}

/* Streams until the server says no or the person says stop. The first connection must succeed, so
 * that a wrong address is told at once; later ones are tried for as long as it takes. */
static int watch_run(struct watch *w, struct err *reterr)
{
    struct v3_stream *s;
    int delay_ms = RECONNECT_MS_MIN;
    bool connected = false;
    int r = open_stream(w, &s, reterr);

    while (r == 0 || r == V3_UNREACHABLE) {
        if (r == 0) {
            connected = true;
            delay_ms = RECONNECT_MS_MIN;
            r = follow(w, s, reterr);
            v3_stream_free(s);
            if (r != V3_ENDED) {
                return r;
            }
            (void)fprintf(stderr, "decree: lost %s; resuming at revision %" PRId64 "\n",
                reterr->text, w->next_rev);
        } else if (!connected) {
            return r;
        }
        if (back_off(w, &delay_ms)) {
            return V3_INTERRUPTED;
        }
        r = open_stream(w, &s, reterr);
    }
    return r;
}

static int run_watch(struct cli *cli, const struct args *args)
{
    struct watch w = {.cli = cli, .command = args->rest};
    json_t *create = json_object();
    _cleanup_err_ struct err e = {0};
    int r = kv_set_range(create, args, &e);

    r = r != 0 ? r : args_int64(args, FLAG_START_REV, &w.next_rev, &e);
    if (r == 0 && args->rest != NULL && args->n_rest == 0) {
        r = err_set(&e, -EINVAL, "there is no command behind --");
    }
    if (r != 0) {
        json_decref(create);
        return cmd_fail(r, &e);
    }
    if (args_has(args, FLAG_PREV_KV)) {
        json_object_set_new(create, "prev_kv", json_true());
    }
    w.request = json_pack("{s:o}", "create_request", create);
    w.interrupt_fd = cmd_interrupt_fd();
    r = watch_run(&w, &e);
    json_decref(w.request);
    (void)close(w.interrupt_fd);
    return r == V3_INTERRUPTED ? EXIT_DONE : cmd_fail(r, &e);
}

const struct command cmd_watch = {
    .name = "watch",
    .usage = "KEY [RANGE_END] [-- COMMAND [ARG…]]",
    .summary = "show changes as they happen",
    .details =
        "For each change the lines PUT or DELETE, key, value. A lost connection is opened again "
        "and\n"
        "goes on with the next revision. Ctrl-C ends it with exit code 0.\n\n"
        "With -- the command is run for each change instead, one after the other and without a\n"
        "shell, with DECREE_WATCH_KEY, DECREE_WATCH_VALUE, DECREE_WATCH_EVENT_TYPE (PUT or "
        "DELETE)\n"
        "and DECREE_WATCH_REVISION set. Its standard input is the value, byte for byte; a value "
        "that\n"
        "an environment variable cannot hold (longer than 128 KiB, or with a zero byte) is there "
        "only.\n",
    .flags = FLAG(PREFIX) | FLAG(FROM_KEY) | FLAG(START_REV) | FLAG(PREV_KV),
    .words_min = 0,
    .words_max = 2,
    .traits = COMMAND_TAKES_REST,
    .run = run_watch,
};
