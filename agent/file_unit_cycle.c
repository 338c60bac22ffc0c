/* How a cycle of a file's life (file_unit_step.c) begins, and the ways in which it ends. */
#include <inttypes.h>

#include "backoff.h"
#include "clock.h"
#include "file_unit_impl.h"
#include "log.h"
#include "view.h"

static const struct backoff retry = {UNIT_RETRY_MIN_MS, UNIT_RETRY_MAX_MS, .part = 4};

/* ---- beginning ---- */

static void on_timer(uv_timer_t *timer)
{
    unit_step(timer->data, EVENT_TIMER);
}

static void start_timer(struct unit *u, uint64_t ms)
{
    uv_update_time(u->env.loop);
    (void)uv_timer_start(&u->timer, on_timer, ms, 0);
}

void unit_wait_quiet(struct unit *u)
{
    uint64_t now = clock_boot_ms();

    if (u->state != STATE_QUIET) {
        unit_set_state(u, STATE_QUIET);
        u->quiet_deadline_ms = now + u->r->quiet_max_ms;
    }
    if (u->r->quiet_min_ms == 0) {
        unit_begin(u);
        return;
    }
    start_timer(
        u, u->quiet_deadline_ms > now ? MIN(u->r->quiet_min_ms, u->quiet_deadline_ms - now) : 0);
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
    j->has_hooks = resource_has_hooks(r);
    j->stale = u->status.stale;
}

void unit_begin(struct unit *u)
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
        unit_rest(u); /* woken again when there is something */
        return;
    }
    strbuf_clear(&u->rendered);
    if (view_render(u->r, m, &u->reads, &u->rendered, &e) < 0) {
        unit_fail(u, UNIT_RENDER_ERROR, "cannot render, touched nothing", e.text, 0);
        return;
    }
    took_ms = (clock_boot_ns() - start_ns) / 1000000;
    log_debug("rendered bytes=%zu unit=%s rev=%" PRId64 " took_ms=%" PRIu64, u->rendered.len,
        u->r->name, u->revision, took_ms);
    set_up_job(u);
    u->stage_path = target_stage_path(u->r->dest);
    unit_start_job(u, STATE_STAGING, file_job_stage);
}

/* ---- ending ---- */

static void end_cycle(struct unit *u)
{
    file_job_end(&u->job);
    free(u->stage_path);
    u->stage_path = NULL;
}

void unit_end(struct unit *u)
{
    end_cycle(u);
    unit_set_state(u, STATE_STOPPED);
    uv_close((uv_handle_t *)&u->timer, unit_free_closed);
}

void unit_rest(struct unit *u)
{
    end_cycle(u);
    unit_set_state(u, STATE_IDLE);
    if (u->stopping) {
        unit_end(u);
    } else if (u->dirty || u->next != NULL) {
        unit_wait_quiet(u);
    }
}

void unit_succeed(struct unit *u)
{
    u->failures = 0;
    u->status.rendered_revision = u->revision;
    unit_set_condition(u, UNIT_OK, "");
    unit_rest(u);
}

void unit_fail(
    struct unit *u, enum unit_condition c, const char *what, const char *why, uint64_t took_ms)
{
    uint64_t ms;

    u->failures++;
    ms = backoff_ms(&retry, u->failures);
    log_warn("%s: %s unit=%s rev=%" PRId64 " took_ms=%" PRIu64 " retry_ms=%" PRIu64, what, why,
        u->r->name, u->revision, took_ms, ms);
    unit_set_condition(u, c, why);
    end_cycle(u);
    if (u->stopping) {
        unit_end(u);
    } else if (u->dirty || u->next != NULL) {
        u->failures = 0;
        unit_wait_quiet(u);
    } else {
        unit_set_state(u, STATE_BACKOFF);
        start_timer(u, ms);
    }
}

void unit_fail_before_swap(
    struct unit *u, enum unit_condition c, const char *what, const char *why, uint64_t took_ms)
{
    _cleanup_free_ char *text =
        xasprintf("%s, %s", what, u->job.target.exists ? "kept the old one" : "there is none yet");

    unit_fail(u, c, text, why, took_ms);
}
