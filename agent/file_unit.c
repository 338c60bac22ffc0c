/* All moves are in unit_step:
 *
 *   IDLE ──wake──> QUIET ──timer──> (render) STAGING ──same bytes, nothing owed──> IDLE
 *   STAGING ──staged──> CHECKING ──ok──> SWAPPING ──> RELOADING ──ok──> VERIFYING ──ok──> RECORDING
 *   STAGING ──same bytes, reload owed──> RELOADING                                          │
 *   RELOADING, VERIFYING ──failed──> RESTORING ──> RERELOADING ──> SETTLING ──> BACKOFF      v
 *   anything else that fails ──> BACKOFF ──timer or wake──> QUIET …                        IDLE
 *
 * Steps without a command of theirs are passed over. Files are touched by a worker thread
 * (file_job.h), commands run as hooks; the loop never waits. While a job runs it alone uses struct
 * file_job, and the resource cannot change before the cycle has ended.
 *
 * Failure leaves the live file as it was, or puts back what the service took last (record.h). A
 * file that did not exist before stays although its reload fails: without it the service could
 * never start, and the debt is remembered. */
#include "file_unit.h"

#include <errno.h>
#include <inttypes.h>

#include "argv.h"
#include "clock.h"
#include "file_job.h"
#include "hook.h"
#include "log.h"
#include "readset.h"
#include "template.h"
#include "view.h"

enum unit_state {
    STATE_IDLE,
    STATE_QUIET,
    STATE_STAGING,
    STATE_CHECKING,
    STATE_SWAPPING,
    STATE_RELOADING,
    STATE_VERIFYING,
    STATE_RECORDING,
    STATE_RESTORING,
    STATE_RERELOADING,
    STATE_SETTLING,
    STATE_BACKOFF,
    STATE_STOPPED,
};

static const char *const state_names[] = {"idle", "quiet", "staging", "checking", "swapping",
    "reloading", "verifying", "recording", "restoring", "rereloading", "settling", "backoff",
    "stopped"};
_Static_assert(ARRAY_SIZE(state_names) == STATE_STOPPED + 1, "every state has a name");

static const char *const condition_texts[] = {
#define X(id, text) text,
    UNIT_CONDITIONS(X)
#undef X
};

enum unit_event { EVENT_WAKE, EVENT_TIMER, EVENT_JOB, EVENT_HOOK, EVENT_STOP };

struct unit {
    struct unit_env env;
    struct resource *r;    /* owned */
    struct resource *next; /* owned: the one to use from the next cycle on, or NULL */
    enum unit_state state;
    bool dirty; /* something changed since the last render */
    bool stopping;
    bool killed;
    bool debt; /* the service has not taken the file that is there */
    unsigned failures;
    uint64_t quiet_deadline_ms;
    uv_timer_t timer; /* quiet time, back-off */
    struct readset reads;
    struct strbuf rendered;
    int64_t revision; /* of rendered */
    char *stage_path; /* owned, of the cycle */
    struct file_job job;
    uv_work_t work; /* runs one step of job */
    void (*work_step)(struct file_job *j);
    uint64_t work_started_ms;
    struct hook *hook; /* running, or NULL */
    bool hook_ok;
    bool hook_canceled;
    uint64_t hook_ms;
    char *hook_error;            /* owned */
    enum unit_condition failure; /* what the cycle ends with when it restores */
    struct unit_status status;
    char *error;        /* owned; "" when there is none */
    char *config_error; /* owned, or NULL */
};

static void unit_step(struct unit *u, enum unit_event event);

const char *unit_condition_text(enum unit_condition c)
{
    decree_assert(c < UNIT_CONDITION_END_);
    return condition_texts[c];
}

static void set_state(struct unit *u, enum unit_state to)
{
    decree_assert(u->state != STATE_STOPPED);
    log_debug("unit %s unit=%s rev=%" PRId64, state_names[to], u->r->name, u->revision);
    u->state = to;
}

static void set_condition(struct unit *u, enum unit_condition c, const char *error)
{
    if (u->status.condition != c) {
        u->status.since_ms = clock_wall_ms();
    }
    u->status.condition = c;
    free(u->error);
    u->error = xstrdup(error);
    u->env.on_status(u->env.data, u);
}

/* Jobs */

static void run_work(uv_work_t *work)
{
    struct unit *u = container_of(work, struct unit, work);

    u->work_step(&u->job);
}

static void on_work_done(uv_work_t *work, int status)
{
    decree_assert(status == 0); /* jobs are never canceled */
    unit_step(container_of(work, struct unit, work), EVENT_JOB);
}

static void start_job(struct unit *u, enum unit_state state, void (*step)(struct file_job *j))
{
    int rc;

    set_state(u, state);
    err_clear(&u->job.err);
    u->job.result = FILE_JOB_FAILED;
    u->job.reloaded_ms = u->status.reloaded_ms;
    u->work_step = step;
    u->work_started_ms = clock_boot_ms();
    rc = uv_queue_work(u->env.loop, &u->work, run_work, on_work_done);
    decree_assert(rc == 0);
}

static bool has_hooks(const struct resource *r)
{
    return r->reload.argv != NULL || r->verify.argv != NULL;
}

/* Hooks */

/* "did not end within 500 ms and was killed: first lines of its output" */
static char *hook_text(const struct hook_result *result)
{
    struct strbuf text = {0};
    size_t len = MIN(result->output.len, (size_t)UNIT_ERROR_MAX);

    hook_describe(result, &text);
    while (len > 0 && strchr(" \t\r\n", result->output.data[len - 1]) != NULL) {
        len--;
    }
    if (len > 0) {
        strbuf_append_str(&text, ": ");
        strbuf_append(&text, result->output.data, len);
    }
    return strbuf_take_cstr(&text);
}

static void on_hook(void *data, const struct hook_result *result)
{
    struct unit *u = data;

    u->hook = NULL;
    u->hook_ok = hook_ok(result);
    u->hook_canceled = result->outcome == HOOK_CANCELED;
    u->hook_ms = result->took_ms;
    free(u->hook_error);
    u->hook_error = u->hook_ok ? NULL : hook_text(result);
    unit_step(u, EVENT_HOOK);
}

/* Words without braces are as they are. What is in braces was tried when the resource was read. */
static char *expand_word(const struct unit *u, const char *word)
{
    static const char *const names[] = {"src", "dest"};
    const char *const values[] = {u->stage_path, u->r->dest};
    struct strbuf out = {0};

    if (strstr(word, "{{") == NULL) {
        return xstrdup(word);
    }
    if (template_expand(u->r->name, bytes_str(word), ARRAY_SIZE(names), names, values, &out, NULL) <
        0) {
        strbuf_clear(&out);
        strbuf_append_str(&out, word);
    }
    return strbuf_take_cstr(&out);
}

static void start_hook(struct unit *u, enum unit_state state, const struct command *command)
{
    _cleanup_free_ char *name = xasprintf("DECREE_RESOURCE=%s", u->r->name);
    _cleanup_free_ char *src = xasprintf("DECREE_SRC=%s", u->stage_path);
    _cleanup_free_ char *dest = xasprintf("DECREE_DEST=%s", u->r->dest);
    const char *const env[] = {name, src, dest, NULL};
    size_t n = 0;
    char **argv;

    set_state(u, state);
    while (command->argv[n] != NULL) {
        n++;
    }
    argv = xcalloc(n + 1, sizeof(*argv));
    for (size_t i = 0; i < n; i++) {
        argv[i] = expand_word(u, command->argv[i]);
    }
    const struct hook_spec spec = {
        .argv = (const char *const *)argv, .env = env, .timeout_ms = command->timeout_ms};

    u->hook = hook_start(u->env.loop, &spec, on_hook, u);
    if (u->killed) {
        hook_cancel(u->hook);
    }
    argv_free(argv);
}

/* The cycle */

static void on_timer(uv_timer_t *timer)
{
    unit_step(timer->data, EVENT_TIMER);
}

static void start_timer(struct unit *u, uint64_t ms)
{
    uv_update_time(u->env.loop);
    (void)uv_timer_start(&u->timer, on_timer, ms, 0);
}

static void begin(struct unit *u);

/* Restarted by each change until the last one is quiet_min ago, or the first one quiet_max. */
static void wait_quiet(struct unit *u)
{
    uint64_t now = clock_boot_ms();

    if (u->state != STATE_QUIET) {
        set_state(u, STATE_QUIET);
        u->quiet_deadline_ms = now + u->r->quiet_max_ms;
    }
    if (u->r->quiet_min_ms == 0) {
        begin(u);
        return;
    }
    start_timer(
        u, u->quiet_deadline_ms > now ? MIN(u->r->quiet_min_ms, u->quiet_deadline_ms - now) : 0);
}

static void end_cycle(struct unit *u)
{
    file_job_end(&u->job);
    free(u->stage_path);
    u->stage_path = NULL;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct unit *u = handle->data;

    u->env.on_stopped(u->env.data, u);
    readset_deinit(&u->reads);
    strbuf_deinit(&u->rendered);
    file_job_deinit(&u->job);
    free(u->hook_error);
    free(u->error);
    free(u->config_error);
    resource_free(u->r);
    resource_free(u->next);
    free(u);
}

static void stop(struct unit *u)
{
    end_cycle(u);
    set_state(u, STATE_STOPPED);
    uv_close((uv_handle_t *)&u->timer, on_timer_closed);
}

/* To IDLE, or straight into the next cycle when something came meanwhile. */
static void rest(struct unit *u)
{
    end_cycle(u);
    set_state(u, STATE_IDLE);
    if (u->stopping) {
        stop(u);
    } else if (u->dirty || u->next != NULL) {
        wait_quiet(u);
    }
}

static void succeed(struct unit *u)
{
    u->failures = 0;
    u->status.rendered_revision = u->revision;
    set_condition(u, UNIT_OK, "");
    rest(u);
}

static uint64_t retry_ms(const struct unit *u)
{
    uint64_t ms = UNIT_RETRY_MIN_MS;
    uint16_t r = 0;

    for (unsigned i = 1; i < u->failures && ms < UNIT_RETRY_MAX_MS; i++) {
        ms *= 2;
    }
    ms = MIN(ms, (uint64_t)UNIT_RETRY_MAX_MS);
    (void)uv_random(NULL, NULL, &r, sizeof(r), 0, NULL);
    return ms - ms / 4 * r / UINT16_MAX;
}

/* The one place where a cycle that went wrong ends. what: "the check refused the new file, kept the
 * old one". */
static void fail(
    struct unit *u, enum unit_condition c, const char *what, const char *why, uint64_t took_ms)
{
    uint64_t ms;

    u->failures++;
    ms = retry_ms(u);
    log_warn("%s: %s unit=%s rev=%" PRId64 " took_ms=%" PRIu64 " retry_ms=%" PRIu64, what, why,
        u->r->name, u->revision, took_ms, ms);
    set_condition(u, c, why);
    end_cycle(u);
    if (u->stopping) {
        stop(u);
    } else if (u->dirty || u->next != NULL) {
        u->failures = 0;
        wait_quiet(u);
    } else {
        set_state(u, STATE_BACKOFF);
        start_timer(u, ms);
    }
}

/* While what was there before is still there, if there was anything. */
static void fail_before_swap(
    struct unit *u, enum unit_condition c, const char *what, const char *why, uint64_t took_ms)
{
    _cleanup_free_ char *text =
        xasprintf("%s, %s", what, u->job.target.exists ? "kept the old one" : "there is none yet");

    fail(u, c, text, why, took_ms);
}

static void set_up_job(struct unit *u)
{
    const struct resource *r = u->r;
    struct file_job *j = &u->job;

    j->units_fd = u->env.units_fd;
    j->name = r->name;
    j->spec = (struct target_spec){
        .dest = r->dest, .uid = r->uid, .gid = r->gid, .has_mode = r->has_mode, .mode = r->mode};
    j->contents = strbuf_bytes(&u->rendered);
    j->revision = u->revision;
    j->has_hooks = has_hooks(r);
    j->stale = u->status.stale;
}

static void begin(struct unit *u)
{
    _cleanup_err_ struct err e = {0};
    const struct mirror *m;
    uint64_t start_ns = clock_boot_ns();
    uint64_t took_ms;

    (void)uv_timer_stop(&u->timer);
    if (u->next != NULL) {
        resource_free(u->r);
        u->r = TAKE_PTR(u->next);
        u->job.record_known = false;
    }
    u->dirty = false;
    if (!u->env.source(u->env.data, u, &m, &u->revision, &u->status.stale)) {
        rest(u); /* woken again when there is something */
        return;
    }
    strbuf_clear(&u->rendered);
    if (view_render(u->r, m, &u->reads, &u->rendered, &e) < 0) {
        fail(u, UNIT_RENDER_ERROR, "cannot render, touched nothing", e.text, 0);
        return;
    }
    took_ms = (clock_boot_ns() - start_ns) / 1000000;
    log_debug("rendered bytes=%zu unit=%s rev=%" PRId64 " took_ms=%" PRIu64, u->rendered.len,
        u->r->name, u->revision, took_ms);
    set_up_job(u);
    u->stage_path = target_stage_path(u->r->dest);
    start_job(u, STATE_STAGING, file_job_stage);
}

static uint64_t job_ms(const struct unit *u)
{
    return clock_boot_ms() - u->work_started_ms;
}

/* After the swap, or when a reload is owed. */
static void take_into_use(struct unit *u)
{
    if (u->r->reload.argv != NULL) {
        start_hook(u, STATE_RELOADING, &u->r->reload);
    } else if (u->r->verify.argv != NULL) {
        start_hook(u, STATE_VERIFYING, &u->r->verify);
    } else {
        start_job(u, STATE_RECORDING, file_job_record);
    }
}

static void after_stage(struct unit *u)
{
    const struct file_job *job = &u->job;

    u->debt = u->debt || job->owed;
    if (u->status.file_changed_ms == 0 && job->target.exists) {
        /* The first look after a start: the file and the record know what was before. */
        u->status.file_changed_ms = job->target.changed_ms;
        u->status.reloaded_ms = job->taken_ms;
    }
    switch (job->result) {
    case FILE_JOB_DONE:
        if (u->stopping) {
            file_job_drop_stage(&u->job); /* nothing is live yet: the next start does it */
            stop(u);
        } else if (u->r->check.argv != NULL) {
            start_hook(u, STATE_CHECKING, &u->r->check);
        } else {
            start_job(u, STATE_SWAPPING, file_job_swap);
        }
        break;
    case FILE_JOB_SAME:
        if (job->fixed_attrs) {
            log_info("corrected owner and mode unit=%s file=%s", u->r->name, u->r->dest);
        }
        if (u->debt && u->stopping) {
            stop(u); /* the record remembers what is owed */
        } else if (u->debt) {
            log_info("the service has not taken the file yet, reloading unit=%s rev=%" PRId64,
                u->r->name, u->revision);
            take_into_use(u);
        } else {
            succeed(u);
        }
        break;
    case FILE_JOB_KEPT:
        log_warn("kept the file, it may be newer than what is remembered of the store unit=%s "
                 "rev=%" PRId64,
            u->r->name, u->revision);
        set_condition(u, UNIT_WAITING,
            "the store cannot be reached, and the file may be newer than what is remembered of it");
        rest(u);
        break;
    case FILE_JOB_FAILED:
    case FILE_JOB_NOTHING:
        fail_before_swap(
            u, UNIT_WRITE_FAILED, "cannot write the new file", job->err.text, job_ms(u));
        break;
    }
}

static void after_check(struct unit *u)
{
    if (u->hook_ok && !u->stopping) {
        log_info("check passed unit=%s rev=%" PRId64 " took_ms=%" PRIu64, u->r->name, u->revision,
            u->hook_ms);
        start_job(u, STATE_SWAPPING, file_job_swap);
        return;
    }
    file_job_drop_stage(&u->job);
    if (u->stopping) {
        stop(u);
    } else {
        fail_before_swap(
            u, UNIT_CHECK_FAILED, "the check refused the new file", u->hook_error, u->hook_ms);
    }
}

static void after_swap(struct unit *u)
{
    if (u->job.result != FILE_JOB_DONE) {
        fail_before_swap(
            u, UNIT_WRITE_FAILED, "cannot put the new file in place", u->job.err.text, job_ms(u));
        return;
    }
    log_info("swapped file=%s unit=%s rev=%" PRId64 " took_ms=%" PRIu64, u->r->dest, u->r->name,
        u->revision, job_ms(u));
    u->status.file_changed_ms = clock_wall_ms();
    u->debt = has_hooks(u->r);
    take_into_use(u);
}

/* A reload or a verification that failed: back to what the service took last. */
static void back_out(struct unit *u, enum unit_condition failure, const char *what)
{
    u->failure = failure;
    if (u->hook_canceled) {
        stop(u); /* the debt is on disk: the record still holds what was taken before */
        return;
    }
    log_warn("%s, putting the old bytes back: %s unit=%s rev=%" PRId64 " took_ms=%" PRIu64, what,
        u->hook_error, u->r->name, u->revision, u->hook_ms);
    start_job(u, STATE_RESTORING, file_job_restore);
}

static void after_reload(struct unit *u)
{
    if (!u->hook_ok) {
        back_out(u, UNIT_RELOAD_FAILED, "the reload failed");
        return;
    }
    log_info(
        "reloaded unit=%s rev=%" PRId64 " took_ms=%" PRIu64, u->r->name, u->revision, u->hook_ms);
    u->status.reloaded_ms = clock_wall_ms();
    if (u->r->verify.argv != NULL) {
        start_hook(u, STATE_VERIFYING, &u->r->verify);
    } else {
        start_job(u, STATE_RECORDING, file_job_record);
    }
}

static void after_verify(struct unit *u)
{
    if (u->hook_ok) {
        start_job(u, STATE_RECORDING, file_job_record);
    } else {
        back_out(u, UNIT_VERIFY_FAILED, "the verification failed");
    }
}

static void after_record(struct unit *u)
{
    if (u->job.result != FILE_JOB_DONE) {
        /* The file is in use; what is lost is only that we know it. */
        log_warn(
            "cannot remember that the file is in use: %s unit=%s", u->job.err.text, u->r->name);
    }
    u->debt = false;
    succeed(u);
}

/* hook_error is still that of the command that failed first. */
static void after_restore(struct unit *u)
{
    static const char kept[] = "the service has not taken the file, and there are no older bytes";

    if (u->job.result == FILE_JOB_DONE) {
        u->status.file_changed_ms = clock_wall_ms();
        set_condition(u, u->failure, u->hook_error);
        if (u->r->reload.argv != NULL) {
            start_hook(u, STATE_RERELOADING, &u->r->reload);
        } else {
            start_job(u, STATE_SETTLING, file_job_settle);
        }
    } else {
        fail(u, u->failure, u->job.result == FILE_JOB_NOTHING ? kept : u->job.err.text,
            u->hook_error, u->hook_ms);
    }
}

static void after_rereload(struct unit *u)
{
    if (u->hook_ok) {
        log_info("reloaded with the old bytes unit=%s took_ms=%" PRIu64, u->r->name, u->hook_ms);
        start_job(u, STATE_SETTLING, file_job_settle);
        return;
    }
    if (u->hook_canceled) {
        stop(u);
        return;
    }
    _cleanup_free_ char *why =
        xasprintf("%s; the reload with the old bytes failed as well: %s", u->error, u->hook_error);

    u->debt = true;
    fail(u, u->failure, "the old file is back, but the service did not take it", why, u->hook_ms);
}

static void after_settle(struct unit *u)
{
    _cleanup_free_ char *why = xstrdup(u->error);

    u->debt = u->job.result != FILE_JOB_DONE;
    fail(u, u->failure, "the old file is in use again", why, job_ms(u));
}

static void step_at_rest(struct unit *u, enum unit_event event)
{
    if (event == EVENT_STOP) {
        stop(u);
    } else if (event == EVENT_TIMER) {
        begin(u);
    } else if (event == EVENT_WAKE) {
        u->failures = 0;
        wait_quiet(u);
    }
}

static void unit_step(struct unit *u, enum unit_event event)
{
    switch (u->state) {
    case STATE_IDLE:
    case STATE_QUIET:
    case STATE_BACKOFF:
        step_at_rest(u, event);
        break;
    case STATE_STAGING:
        if (event == EVENT_JOB) {
            after_stage(u);
        }
        break;
    case STATE_CHECKING:
        if (event == EVENT_HOOK) {
            after_check(u);
        } else if (event == EVENT_STOP) {
            hook_cancel(u->hook);
        }
        break;
    case STATE_SWAPPING:
        if (event == EVENT_JOB) {
            after_swap(u);
        }
        break;
    case STATE_RELOADING:
        if (event == EVENT_HOOK) {
            after_reload(u);
        }
        break;
    case STATE_VERIFYING:
        if (event == EVENT_HOOK) {
            after_verify(u);
        }
        break;
    case STATE_RECORDING:
        if (event == EVENT_JOB) {
            after_record(u);
        }
        break;
    case STATE_RESTORING:
        if (event == EVENT_JOB) {
            after_restore(u);
        }
        break;
    case STATE_RERELOADING:
        if (event == EVENT_HOOK) {
            after_rereload(u);
        }
        break;
    case STATE_SETTLING:
        if (event == EVENT_JOB) {
            after_settle(u);
        }
        break;
    case STATE_STOPPED:
        break;
    }
}

/* The outside */

struct unit *unit_new(const struct unit_env *env, struct resource *r_consume)
{
    struct unit *u = xcalloc(1, sizeof(*u));

    u->env = *env;
    u->r = r_consume;
    u->job.target = (struct target)TARGET_INIT;
    u->error = xstrdup("");
    u->status.since_ms = clock_wall_ms();
    (void)uv_timer_init(env->loop, &u->timer);
    u->timer.data = u;
    return u;
}

const struct resource *unit_resource(const struct unit *u)
{
    return u->next != NULL ? u->next : u->r;
}

void unit_set_resource(struct unit *u, struct resource *r_consume)
{
    resource_free(u->next);
    u->next = r_consume;
    unit_set_config_error(u, NULL);
    unit_wake(u);
}

void unit_set_config_error(struct unit *u, const char *text)
{
    free(u->config_error);
    u->config_error = text != NULL ? xstrdup(text) : NULL;
    u->env.on_status(u->env.data, u);
}

struct unit_status unit_status(const struct unit *u)
{
    struct unit_status s = u->status;

    s.error = u->error;
    if (u->config_error != NULL) {
        s.condition = UNIT_CONFIG_ERROR;
        s.error = u->config_error;
    }
    return s;
}

bool unit_reads(const struct unit *u, struct bytes key)
{
    return readset_has(&u->reads, key);
}

void unit_wake(struct unit *u)
{
    u->dirty = true;
    unit_step(u, EVENT_WAKE);
}

void unit_touch(struct unit *u)
{
    const struct mirror *m;
    int64_t revision;

    if (u->state == STATE_IDLE && !u->dirty && u->status.condition == UNIT_OK &&
        u->env.source(u->env.data, u, &m, &revision, &u->status.stale)) {
        u->status.rendered_revision = u->revision = revision;
    }
}

bool unit_at_rest(const struct unit *u)
{
    return (u->state == STATE_IDLE && !u->dirty) || u->state == STATE_BACKOFF ||
        u->state == STATE_STOPPED;
}

void unit_stop(struct unit *u)
{
    if (!u->stopping) {
        u->stopping = true;
        unit_step(u, EVENT_STOP);
    }
}

void unit_kill(struct unit *u)
{
    u->killed = true; /* a hook that is still to come is canceled as it starts */
    if (u->hook != NULL) {
        hook_cancel(u->hook);
    }
}
