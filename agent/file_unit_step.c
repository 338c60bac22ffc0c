/* The life of one file. Every move is in unit_step and what it calls here:
 *
 *   IDLE ──wake──> QUIET ──timer──> (render) STAGING ──same bytes, nothing owed──> IDLE
 *   STAGING ──staged──> CHECKING ──ok──> SWAPPING ──> RELOADING ──ok──> VERIFYING ──ok──> RECORDING
 *   STAGING ──same bytes, reload owed──> RELOADING                                          │
 *   RELOADING, VERIFYING ──failed──> RESTORING ──> RERELOADING ──> SETTLING ──> BACKOFF      v
 *   anything else that fails ──> BACKOFF ──timer or wake──> QUIET …                        IDLE
 *
 * Steps without a command of theirs are passed over. Files are touched by a worker thread
 * (file_job.h), commands run as hooks (file_hook.h); the loop never waits. While a job runs it
 * alone uses struct file_job, and the resource cannot change before the cycle has ended. How a
 * cycle begins and in which ways it ends is file_unit_cycle.c.
 *
 * Failure leaves the live file as it was, or puts back what the service took last (record.h). A
 * file that did not exist before stays although its reload fails: without it the service could
 * never start, and the debt is remembered. */
#include <inttypes.h>

#include "clock.h"
#include "file_unit_impl.h"
#include "log.h"

static const char *const state_names[] = {"idle", "quiet", "staging", "checking", "swapping",
    "reloading", "verifying", "recording", "restoring", "rereloading", "settling", "backoff",
    "stopped"};
_Static_assert(ARRAY_SIZE(state_names) == STATE_STOPPED + 1, "every state has a name");

void unit_set_state(struct unit *u, enum unit_state to)
{
    decree_assert(u->state != STATE_STOPPED);
    log_debug("unit %s unit=%s rev=%" PRId64, state_names[to], u->r->name, u->revision);
    u->state = to;
}

static void on_job(struct file_job *j)
{
    unit_step(container_of(j, struct unit, job), EVENT_JOB);
}

void unit_start_job(struct unit *u, enum unit_state state, void (*step)(struct file_job *j))
{
    unit_set_state(u, state);
    u->job.reloaded_ms = u->status.reloaded_ms;
    file_job_start(&u->job, u->env.loop, step, on_job);
}

static void on_hook(struct file_hook *h)
{
    unit_step(container_of(h, struct unit, hook), EVENT_HOOK);
}

static void start_hook(struct unit *u, enum unit_state state, const struct command *command)
{
    unit_set_state(u, state);
    file_hook_start(&u->hook, u->env.loop, u->r, command, u->stage_path, on_hook);
    if (u->killed) {
        file_hook_cancel(&u->hook);
    }
}

/* ---- forward ---- */

/* After the swap, or when a reload is owed. */
static void take_into_use(struct unit *u)
{
    if (u->r->reload.argv != NULL) {
        start_hook(u, STATE_RELOADING, &u->r->reload);
    } else if (u->r->verify.argv != NULL) {
        start_hook(u, STATE_VERIFYING, &u->r->verify);
    } else {
        unit_start_job(u, STATE_RECORDING, file_job_record);
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
            unit_end(u);
        } else if (u->r->check.argv != NULL) {
            start_hook(u, STATE_CHECKING, &u->r->check);
        } else {
            unit_start_job(u, STATE_SWAPPING, file_job_swap);
        }
        break;
    case FILE_JOB_SAME:
        if (job->fixed_attrs) {
            log_info("corrected owner and mode unit=%s file=%s", u->r->name, u->r->dest);
        }
        if (u->debt && u->stopping) {
            unit_end(u); /* the record remembers what is owed */
        } else if (u->debt) {
            log_info("the service has not taken the file yet, reloading unit=%s rev=%" PRId64,
                u->r->name, u->revision);
            take_into_use(u);
        } else {
            unit_succeed(u);
        }
        break;
    case FILE_JOB_KEPT:
        log_warn("kept the file, it may be newer than what is remembered of the store unit=%s "
                 "rev=%" PRId64,
            u->r->name, u->revision);
        unit_set_condition(u, UNIT_WAITING,
            "the store cannot be reached, and the file may be newer than what is remembered of it");
        unit_rest(u);
        break;
    case FILE_JOB_FAILED:
    case FILE_JOB_NOTHING:
        unit_fail_before_swap(
            u, UNIT_WRITE_FAILED, "cannot write the new file", job->err.text, u->job.took_ms);
        break;
    }
}

static void after_check(struct unit *u)
{
    if (u->hook.ok && !u->stopping) {
        log_info("check passed unit=%s rev=%" PRId64 " took_ms=%" PRIu64, u->r->name, u->revision,
            u->hook.took_ms);
        unit_start_job(u, STATE_SWAPPING, file_job_swap);
        return;
    }
    file_job_drop_stage(&u->job);
    if (u->stopping) {
        unit_end(u);
    } else {
        unit_fail_before_swap(
            u, UNIT_CHECK_FAILED, "the check refused the new file", u->hook.error, u->hook.took_ms);
    }
}

static void after_swap(struct unit *u)
{
    if (u->job.result != FILE_JOB_DONE) {
        unit_fail_before_swap(u, UNIT_WRITE_FAILED, "cannot put the new file in place",
            u->job.err.text, u->job.took_ms);
        return;
    }
    log_info("swapped file=%s unit=%s rev=%" PRId64 " took_ms=%" PRIu64, u->r->dest, u->r->name,
        u->revision, u->job.took_ms);
    u->status.file_changed_ms = clock_wall_ms();
    u->debt = resource_has_hooks(u->r);
    take_into_use(u);
}

/* ---- the service takes it, or does not ---- */

/* A reload or a verification that failed: back to what the service took last. */
static void back_out(struct unit *u, enum unit_condition failure, const char *what)
{
    u->failure = failure;
    if (u->hook.canceled) {
        unit_end(u); /* the debt is on disk: the record still holds what was taken before */
        return;
    }
    log_warn("%s, putting the old bytes back: %s unit=%s rev=%" PRId64 " took_ms=%" PRIu64, what,
        u->hook.error, u->r->name, u->revision, u->hook.took_ms);
    unit_start_job(u, STATE_RESTORING, file_job_restore);
}

static void after_reload(struct unit *u)
{
    if (!u->hook.ok) {
        back_out(u, UNIT_RELOAD_FAILED, "the reload failed");
        return;
    }
    log_info("reloaded unit=%s rev=%" PRId64 " took_ms=%" PRIu64, u->r->name, u->revision,
        u->hook.took_ms);
    u->status.reloaded_ms = clock_wall_ms();
    if (u->r->verify.argv != NULL) {
        start_hook(u, STATE_VERIFYING, &u->r->verify);
    } else {
        unit_start_job(u, STATE_RECORDING, file_job_record);
    }
}

static void after_verify(struct unit *u)
{
    if (u->hook.ok) {
        unit_start_job(u, STATE_RECORDING, file_job_record);
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
    unit_succeed(u);
}

/* ---- back ---- */

/* hook.error is still that of the command that failed first. */
static void after_restore(struct unit *u)
{
    static const char kept[] = "the service has not taken the file, and there are no older bytes";

    if (u->job.result == FILE_JOB_DONE) {
        u->status.file_changed_ms = clock_wall_ms();
        unit_set_condition(u, u->failure, u->hook.error);
        if (u->r->reload.argv != NULL) {
            start_hook(u, STATE_RERELOADING, &u->r->reload);
        } else {
            unit_start_job(u, STATE_SETTLING, file_job_settle);
        }
    } else {
        unit_fail(u, u->failure, u->job.result == FILE_JOB_NOTHING ? kept : u->job.err.text,
            u->hook.error, u->hook.took_ms);
    }
}

static void after_rereload(struct unit *u)
{
    if (u->hook.ok) {
        log_info(
            "reloaded with the old bytes unit=%s took_ms=%" PRIu64, u->r->name, u->hook.took_ms);
        unit_start_job(u, STATE_SETTLING, file_job_settle);
        return;
    }
    if (u->hook.canceled) {
        unit_end(u);
        return;
    }
    _cleanup_free_ char *why =
        xasprintf("%s; the reload with the old bytes failed as well: %s", u->error, u->hook.error);

    u->debt = true;
    unit_fail(u, u->failure, "the old file is back, but the service did not take it", why,
        u->hook.took_ms);
}

static void after_settle(struct unit *u)
{
    _cleanup_free_ char *why = xstrdup(u->error);

    u->debt = u->job.result != FILE_JOB_DONE;
    unit_fail(u, u->failure, "the old file is in use again", why, u->job.took_ms);
}

/* ---- the whole ---- */

static void step_at_rest(struct unit *u, enum unit_event event)
{
    if (event == EVENT_STOP) {
        unit_end(u);
    } else if (event == EVENT_TIMER) {
        unit_begin(u);
    } else if (event == EVENT_WAKE) {
        u->failures = 0;
        unit_wait_quiet(u);
    }
}

/* What ends each step, and what is done then. */
static const struct {
    enum unit_event ended_by;
    void (*then)(struct unit *u);
} steps[] = {
    [STATE_STAGING] = {EVENT_JOB, after_stage},
    [STATE_CHECKING] = {EVENT_HOOK, after_check},
    [STATE_SWAPPING] = {EVENT_JOB, after_swap},
    [STATE_RELOADING] = {EVENT_HOOK, after_reload},
    [STATE_VERIFYING] = {EVENT_HOOK, after_verify},
    [STATE_RECORDING] = {EVENT_JOB, after_record},
    [STATE_RESTORING] = {EVENT_JOB, after_restore},
    [STATE_RERELOADING] = {EVENT_HOOK, after_rereload},
    [STATE_SETTLING] = {EVENT_JOB, after_settle},
};

void unit_step(struct unit *u, enum unit_event event)
{
    switch (u->state) {
    case STATE_IDLE:
    case STATE_QUIET:
    case STATE_BACKOFF:
        step_at_rest(u, event);
        break;
    case STATE_STOPPED:
        break;
    default:
        if (event == steps[u->state].ended_by) {
            steps[u->state].then(u);
        } else if (event == EVENT_STOP && u->state == STATE_CHECKING) {
            file_hook_cancel(&u->hook);
        } /* else it is seen when the step has ended */
        break;
    }
}
