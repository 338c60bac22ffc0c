#include "crew.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "buggify.h"
#include "clock.h"

enum {
    JOBS_MAX = 64,
    FAILURES_MAX = 64, /* told of one worker; more only count */
    SITES_MAX = 256,
    SEEDS_A_PROCESS = 2000, /* members that died of their disk leave their memory behind */
    PROGRESS_MS = 5000,
    SHRUNK_MAX = 3,
};

struct failure {
    uint64_t seed;
    char text[sizeof(((struct outcome *)0)->failure)];
};

/* Shared with its process. */
struct worker {
    uint64_t next, running; /* seeds; running 0 = none */
    uint64_t seeds, replayed, steps, virtual_us, n_failures;
    struct counts counts;
    struct failure failures[FAILURES_MAX];
    uint64_t sites[SITES_MAX];
    pid_t pid; /* of this life; 0 = not running */
};

struct crew {
    const struct crew_options *o;
    struct worker *workers; /* shared memory */
    uint64_t begun_ms, told_ms;
};

/* ---- in the worker ---- */

/* Said at once, and again in the summary. */
static void note_failure(struct worker *w, uint64_t seed, const char *text)
{
    (void)fprintf(stderr, "seed %" PRIu64 " FAILED: %s\n", seed, text);
    if (w->n_failures < FAILURES_MAX) {
        struct failure *f = &w->failures[w->n_failures];

        f->seed = seed;
        (void)snprintf(f->text, sizeof(f->text), "%s", text);
    }
    w->n_failures++;
}

static void add_counts(struct counts *to, const struct counts *from)
{
    const uint64_t *f = (const uint64_t *)(const void *)from;
    uint64_t *t = (uint64_t *)(void *)to;

    for (size_t i = 0; i < sizeof(*to) / sizeof(*t); i++) {
        t[i] += f[i];
    }
}

static void add_sites(struct worker *w)
{
    size_t n;
    struct buggify_site *sites = buggify_sites(&n);

    decree_assert(n <= SITES_MAX);
    for (size_t i = 0; i < n; i++) {
        w->sites[i] += sites[i].hits;
        sites[i].hits = 0;
    }
}

static bool must_replay(const struct crew_options *o, uint64_t seed)
{
    return splitmix_mix(seed) % 1000 < o->replay_permille;
}

static void run_seed(const struct crew_options *o, struct worker *w, uint64_t seed)
{
    struct outcome first, again;
    struct plan plan;

    w->running = seed;
    plan_draw(seed, &plan);
    world_run(&plan, false, &first);
    if (first.failed) {
        note_failure(w, seed, first.failure);
    } else if (must_replay(o, seed)) {
        world_run(&plan, false, &again);
        w->replayed++;
        if (again.hash != first.hash || again.steps != first.steps) {
            note_failure(w, seed, "replay: the same seed has run differently");
        }
    }
    plan_deinit(&plan);
    w->seeds++;
    w->steps += first.steps;
    w->virtual_us += first.virtual_us;
    add_counts(&w->counts, &first.counts);
    w->running = 0;
}

static bool time_is_up(const struct crew *c)
{
    return c->o->minutes > 0 && (double)(clock_boot_ms() - c->begun_ms) >= c->o->minutes * 60000.0;
}

static _noreturn_ void work(const struct crew *c, struct worker *w)
{
    for (unsigned n = 0; n < SEEDS_A_PROCESS && w->next < c->o->first + c->o->seeds; n++) {
        uint64_t seed = w->next;

        if (time_is_up(c)) {
            break;
        }
        w->next += c->o->jobs;
        run_seed(c->o, w, seed);
        add_sites(w);
    }
    _exit(0);
}

/* ---- the crew ---- */

static bool has_more(const struct crew *c, const struct worker *w)
{
    return w->next < c->o->first + c->o->seeds && !time_is_up(c);
}

static void start_worker(struct crew *c, struct worker *w)
{
    pid_t pid;

    (void)fflush(NULL);
    pid = fork();
    if (pid == 0) {
        work(c, w);
    }
    decree_assert(pid > 0);
    w->pid = pid;
}

static void say_progress(struct crew *c)
{
    uint64_t now = clock_boot_ms(), seeds = 0, failures = 0;

    for (unsigned i = 0; i < c->o->jobs; i++) {
        seeds += c->workers[i].seeds;
        failures += c->workers[i].n_failures;
    }
    if (now - c->told_ms >= PROGRESS_MS) {
        c->told_ms = now;
        (void)fprintf(stderr, "%s%" PRIu64 " seeds, %.0f an hour, %" PRIu64 " failures%s",
            isatty(STDERR_FILENO) ? "\r" : "", seeds,
            (double)seeds * 3.6e6 / (double)(now - c->begun_ms), failures,
            isatty(STDERR_FILENO) ? " " : "\n");
    }
}

static void worker_ended(struct crew *c, pid_t pid, int status)
{
    for (unsigned i = 0; i < c->o->jobs; i++) {
        struct worker *w = &c->workers[i];

        if (w->pid != pid) {
            continue;
        }
        w->pid = 0;
        if (w->running != 0) {
            char text[64];

            (void)snprintf(text, sizeof(text), "crash: %s %d",
                WIFSIGNALED(status) ? "signal" : "exit status",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
            note_failure(w, w->running, text);
            w->seeds++;
            w->running = 0;
        }
        if (has_more(c, w)) {
            start_worker(c, w);
        }
    }
}

static void wait_for_all(struct crew *c)
{
    sigset_t chld;
    int status;
    pid_t pid;

    (void)sigemptyset(&chld);
    (void)sigaddset(&chld, SIGCHLD);
    for (;;) {
        const struct timespec until = {.tv_sec = PROGRESS_MS / 1000};

        while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
            worker_ended(c, pid, status);
        }
        if (pid < 0 && errno == ECHILD) {
            return;
        }
        (void)sigtimedwait(&chld, NULL, &until);
        say_progress(c);
    }
}

/* ---- the summary ---- */

static void print_items(const struct counts *c)
{
    printf("faults that took effect:\n ");
    for (enum item_kind k = 0; k < ITEM_FIRST_OP; k++) {
        printf(" %s=%" PRIu64, item_name(k), c->items[k]);
    }
    printf("\noperations:\n ");
    for (enum item_kind k = ITEM_FIRST_OP; k < ITEM_END; k++) {
        printf(" %s=%" PRIu64, item_name(k), c->items[k]);
    }
    printf("\ncounts:\n ");
#define X(name) printf(" %s=%" PRIu64, #name, c->name);
    SIM_COUNTS(X)
#undef X
    printf("\n");
}

/* One name may stand at several places. */
static void print_sites(const uint64_t *hits, bool marks)
{
    size_t n, n_missed = 0;
    const struct buggify_site *sites = buggify_sites(&n);
    _cleanup_strbuf_ struct strbuf missed = {0};

    printf("%s:\n ", marks ? "marks reached" : "buggify sites fired");
    for (size_t i = 0; i < n; i++) {
        uint64_t sum = 0;
        bool seen = false;

        for (size_t k = 0; k < n; k++) {
            if (sites[k].is_mark == marks && strcmp(sites[k].name, sites[i].name) == 0) {
                sum += hits[k];
                seen = seen || k < i;
            }
        }
        if (sites[i].is_mark != marks || seen || sites[i].name[0] == '\0') {
            continue;
        }
        if (sum > 0) {
            printf(" %s=%" PRIu64, sites[i].name, sum);
        } else {
            strbuf_printf(&missed, " %s", sites[i].name);
            n_missed++;
        }
    }
    printf("\nnot %s: %zu%s\n", marks ? "reached" : "fired", n_missed, strbuf_cstr(&missed));
}

static void print_summary(const struct crew *c, const struct worker *sum)
{
    double hours = (double)(clock_boot_ms() - c->begun_ms) / 3.6e6;

    print_items(&sum->counts);
    print_sites(sum->sites, true);
    print_sites(sum->sites, false);
    printf("seeds %" PRIu64 " from %" PRIu64 " in %.1f s: %.0f an hour on %u cores; steps %" PRIu64
           ", %.0f a seed; virtual time %.0f s; replayed %" PRIu64 "\n",
        sum->seeds, c->o->first, hours * 3600, (double)sum->seeds / hours, c->o->jobs, sum->steps,
        (double)sum->steps / (double)MAX(sum->seeds, (uint64_t)1), (double)sum->virtual_us / 1e6,
        sum->replayed);
    printf("failures %" PRIu64 "\n", sum->n_failures);
}

/* ---- failing seeds ---- */

void crew_try(const struct plan *plan, struct outcome *ret)
{
    int ends[2], status;
    pid_t pid;
    size_t got = 0;
    ssize_t n = 1;

    *ret = (struct outcome){0};
    (void)fflush(NULL);
    if (pipe(ends) < 0 || (pid = fork()) < 0) {
        decree_fatal("no process for a run: %s", strerror(errno));
    }
    if (pid == 0) {
        (void)close(ends[0]);
        world_run(plan, false, ret);
        _exit(write(ends[1], ret, sizeof(*ret)) == (ssize_t)sizeof(*ret) ? 0 : 1);
    }
    (void)close(ends[1]);
    while (n > 0 && got < sizeof(*ret)) {
        n = read(ends[0], (char *)ret + got, sizeof(*ret) - got);
        got += n > 0 ? (size_t)n : 0;
    }
    (void)close(ends[0]);
    (void)waitpid(pid, &status, 0);
    if (got < sizeof(*ret)) {
        *ret = (struct outcome){.failed = true};
        (void)snprintf(
            ret->failure, sizeof(ret->failure), "crash: of the process, status %d", status);
    }
}

static void write_script(const struct crew *c, const struct failure *f)
{
    _cleanup_strbuf_ struct strbuf text = {0};
    _cleanup_free_ char *path = xasprintf("%s/seed-%" PRIu64 ".sim", c->o->folder, f->seed);
    struct outcome o;
    struct plan plan;
    FILE *file;

    plan_draw(f->seed, &plan);
    if (plan_shrink(&plan, &o)) {
        plan_write(&plan, o.failure, &text);
        file = fopen(path, "we");
        if (file != NULL) {
            (void)fwrite(text.data, 1, text.len, file);
            (void)fclose(file);
            printf("seed %" PRIu64 " shrunk: %s\n", f->seed, path);
        }
    }
    plan_deinit(&plan);
}

static void gather(const struct crew *c, struct worker *sum)
{
    for (unsigned i = 0; i < c->o->jobs; i++) {
        const struct worker *w = &c->workers[i];

        sum->seeds += w->seeds;
        sum->replayed += w->replayed;
        sum->steps += w->steps;
        sum->virtual_us += w->virtual_us;
        sum->n_failures += w->n_failures;
        add_counts(&sum->counts, &w->counts);
        for (size_t k = 0; k < SITES_MAX; k++) {
            sum->sites[k] += w->sites[k];
        }
    }
}

static void tell_failures(const struct crew *c)
{
    unsigned shrunk = 0;

    for (unsigned i = 0; i < c->o->jobs; i++) {
        const struct worker *w = &c->workers[i];

        for (size_t k = 0; k < MIN(w->n_failures, (uint64_t)FAILURES_MAX); k++) {
            printf("seed %" PRIu64 " FAILED: %s\n", w->failures[k].seed, w->failures[k].text);
            if (c->o->folder != NULL && shrunk++ < SHRUNK_MAX) {
                write_script(c, &w->failures[k]);
            }
        }
    }
}

int crew_run(const struct crew_options *o)
{
    size_t bytes = o->jobs * sizeof(struct worker);
    struct crew c = {.o = o, .begun_ms = clock_boot_ms(), .told_ms = clock_boot_ms()};
    _cleanup_free_ struct worker *sum = xcalloc(1, sizeof(*sum));
    sigset_t chld;

    decree_assert(o->jobs > 0 && o->jobs <= JOBS_MAX);
    (void)sigemptyset(&chld);
    (void)sigaddset(&chld, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &chld, NULL);
    c.workers = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (c.workers == MAP_FAILED) {
        decree_fatal("no memory for the workers");
    }
    for (unsigned i = 0; i < o->jobs; i++) {
        c.workers[i].next = o->first + i;
        start_worker(&c, &c.workers[i]);
    }
    wait_for_all(&c);
    gather(&c, sum);
    print_summary(&c, sum);
    tell_failures(&c);
    (void)munmap(c.workers, bytes);
    return sum->n_failures != 0;
}
