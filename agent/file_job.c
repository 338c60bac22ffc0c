#include "file_job.h"

#include <errno.h>

#include "clock.h"

static void run_step(uv_work_t *work)
{
    struct file_job *j = container_of(work, struct file_job, work);

    j->step(j);
}

static void on_step_done(uv_work_t *work, int status)
{
    struct file_job *j = container_of(work, struct file_job, work);

    decree_assert(status == 0); /* steps are never canceled */
    j->took_ms = clock_boot_ms() - j->started_ms;
    j->done(j);
}

void file_job_start(struct file_job *j, uv_loop_t *loop, void (*step)(struct file_job *j),
    void (*done)(struct file_job *j))
{
    int rc;

    err_clear(&j->err);
    j->result = FILE_JOB_FAILED;
    j->step = step;
    j->done = done;
    j->started_ms = clock_boot_ms();
    rc = uv_queue_work(loop, &j->work, run_step, on_step_done);
    decree_assert(rc == 0);
}

/* Once after the start: what does the service owe us? Also keeps the bytes that are there before
 * the agent ever replaces them. */
static int look_at_record(struct file_job *j)
{
    _cleanup_record_ struct record rec = {0};
    struct target *t = &j->target;
    int rc = record_load(j->units_fd, j->name, j->spec.dest, &rec, &j->err);
    bool same = rc == 0 && bytes_eq(strbuf_bytes(&rec.bytes), strbuf_bytes(&t->bytes));

    if (rc < 0 && rc != -EBADMSG) {
        return rc;
    }
    err_clear(&j->err);
    if (j->stale && t->exists && (rc != 0 || rec.revision > j->revision) &&
        !bytes_eq(strbuf_bytes(&t->bytes), j->contents)) {
        j->result = FILE_JOB_KEPT;
        return 0;
    }
    j->owed = t->exists && j->has_hooks && (!same || rec.debt);
    if (rc != 0 && t->exists && j->has_hooks) {
        rec = (struct record){.dest = xstrdup(j->spec.dest), .attrs = t->attrs, .debt = j->owed};
        strbuf_append_bytes(&rec.bytes, strbuf_bytes(&t->bytes));
        rc = record_save(j->units_fd, j->name, &rec, &j->err);
        if (rc < 0) {
            return rc;
        }
    }
    j->taken_ms = same ? rec.taken_ms : 0;
    j->record_known = true;
    return 0;
}

void file_job_stage(struct file_job *j)
{
    struct target *t = &j->target;

    j->owed = j->fixed_attrs = false;
    if (target_open(t, &j->spec, &j->err) < 0) {
        return;
    }
    if (!j->record_known && (look_at_record(j) < 0 || j->result == FILE_JOB_KEPT)) {
        return;
    }
    if (!t->exists || !bytes_eq(strbuf_bytes(&t->bytes), j->contents)) {
        struct file_attrs attrs = target_wanted_attrs(t);

        if (target_stage(t, j->contents, &attrs, &j->err) == 0) {
            j->result = FILE_JOB_DONE;
        }
        return;
    }
    target_drop_stage(t);
    if (!target_attrs_match(t)) {
        if (target_fix_attrs(t, &j->err) < 0) {
            return;
        }
        j->fixed_attrs = true;
    }
    j->result = FILE_JOB_SAME;
}

void file_job_swap(struct file_job *j)
{
    if (target_commit(&j->target, &j->err) == 0) {
        j->result = FILE_JOB_DONE;
    } else {
        target_drop_stage(&j->target);
    }
}

void file_job_record(struct file_job *j)
{
    _cleanup_record_ struct record rec = {.dest = xstrdup(j->spec.dest),
        .revision = j->revision,
        .taken_ms = j->reloaded_ms,
        .attrs = target_wanted_attrs(&j->target)};

    strbuf_append_bytes(&rec.bytes, j->contents);
    if (record_save(j->units_fd, j->name, &rec, &j->err) == 0) {
        j->result = FILE_JOB_DONE;
    }
}

void file_job_restore(struct file_job *j)
{
    _cleanup_record_ struct record rec = {0};
    int rc = record_load(j->units_fd, j->name, j->spec.dest, &rec, &j->err);

    if (rc != 0 || bytes_eq(strbuf_bytes(&rec.bytes), j->contents)) {
        j->result = rc < 0 ? FILE_JOB_FAILED : FILE_JOB_NOTHING;
        return;
    }
    rec.debt = true;
    if (record_save(j->units_fd, j->name, &rec, &j->err) == 0 &&
        target_stage(&j->target, strbuf_bytes(&rec.bytes), &rec.attrs, &j->err) == 0) {
        file_job_swap(j);
    }
}

void file_job_settle(struct file_job *j)
{
    _cleanup_record_ struct record rec = {0};

    if (record_load(j->units_fd, j->name, j->spec.dest, &rec, &j->err) == 0) {
        rec.debt = false;
        if (record_save(j->units_fd, j->name, &rec, &j->err) == 0) {
            j->result = FILE_JOB_DONE;
        }
    }
}

void file_job_drop_stage(struct file_job *j)
{
    target_drop_stage(&j->target);
}

void file_job_end(struct file_job *j)
{
    target_close(&j->target);
    j->target = (struct target)TARGET_INIT;
}

void file_job_deinit(struct file_job *j)
{
    file_job_end(j);
    err_clear(&j->err);
}
