/* The agent's life. It ties the parts together: config → units and mirror (agent_config.c); sync →
 * mirror → dirty units; units → reporter (agent_units.c). */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>

#include "agent_impl.h"
#include "file.h"
#include "log.h"

static const int handled_signals[] = {SIGTERM, SIGINT, SIGHUP};

/* ---- stop ---- */

void agent_stop_if_idle(struct agent *a)
{
    if (a->state == AGENT_STOPPING && list_empty(&a->units) && a->reporter == NULL &&
        (a->saver == NULL || !saver_busy(a->saver))) {
        a->state = AGENT_STOPPED;
        uv_stop(&a->loop);
    }
}

static void on_reporter_stopped(void *data)
{
    struct agent *a = data;

    a->reporter = reporter_free(a->reporter);
    agent_stop_if_idle(a);
}

static void on_stop_limit(uv_timer_t *timer)
{
    struct agent *a = timer->data;

    list_for_each_safe (it, &a->units) {
        struct agent_unit *au = list_entry(it, struct agent_unit, link);

        log_warn("stopping: a command takes too long and is killed unit=%s",
            unit_resource(au->unit)->name);
        unit_kill(au->unit);
    }
}

static void agent_stop(struct agent *a)
{
    if (a->state == AGENT_STOPPING) {
        on_stop_limit(&a->timer);
        return;
    }
    a->state = AGENT_STOPPING;
    (void)uv_timer_start(&a->timer, on_stop_limit, AGENT_STOP_MS, 0);
    a->sync = sync_free(a->sync);
    list_for_each_safe (it, &a->units) {
        unit_stop(list_entry(it, struct agent_unit, link)->unit);
    }
    if (a->saver != NULL) {
        saver_stop(a->saver);
    }
    if (a->reporter != NULL) {
        reporter_stop(a->reporter, on_reporter_stopped, a);
    }
    agent_stop_if_idle(a);
}

/* ---- --once ---- */

void agent_check_once(struct agent *a)
{
    if (!a->o->once || a->state != AGENT_RUNNING) {
        return;
    }
    a->exit_code = a->n_faults > 0;
    list_for_each (it, &a->units) {
        struct agent_unit *au = list_entry(it, struct agent_unit, link);
        struct unit_status s = unit_status(au->unit);

        if (!unit_at_rest(au->unit) || au->dirty ||
            (s.condition == UNIT_WAITING && s.error[0] == '\0')) {
            return;
        }
        if (s.condition != UNIT_OK || s.stale) {
            a->exit_code = 1;
        }
    }
    agent_stop(a);
}

static void on_look(uv_timer_t *timer)
{
    agent_check_once(timer->data);
}

void agent_check_once_later(struct agent *a)
{
    if (a->o->once && a->state == AGENT_RUNNING) {
        (void)uv_timer_start(&a->look_timer, on_look, 0, 0);
    }
}

static void on_once_limit(uv_timer_t *timer)
{
    struct agent *a = timer->data;

    log_error("not all files could be brought up to date within %d ms", AGENT_ONCE_MS);
    a->exit_code = 1;
    agent_stop(a);
}

/* ---- start ---- */

static int open_state(struct agent *a, struct err *reterr)
{
    const char *dir = a->o->state_dir;
    int rc = dir_make(dir, 0700, reterr);

    if (rc < 0) {
        return rc;
    }
    a->state_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (a->state_fd < 0) {
        rc = -errno;
        return err_set(reterr, rc, "cannot open the state folder %s: %s", dir, strerror(-rc));
    }
    if (flock(a->state_fd, LOCK_EX | LOCK_NB) < 0) {
        return err_set(reterr, -EBUSY, "the state folder %s is in use by another agent", dir);
    }
    if (mkdirat(a->state_fd, "units", 0700) < 0 && errno != EEXIST) {
        rc = -errno;
        return err_set(reterr, rc, "cannot make %s/units: %s", dir, strerror(-rc));
    }
    a->units_fd = openat(a->state_fd, "units", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (a->units_fd < 0) {
        rc = -errno;
        return err_set(reterr, rc, "cannot open %s/units: %s", dir, strerror(-rc));
    }
    return 0;
}

static const struct mirror *current_mirror(void *data)
{
    const struct agent *a = data;

    return a->mirror;
}

static void on_saver_idle(void *data)
{
    agent_stop_if_idle(data);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct agent *a = handle->data;

    if (number != SIGHUP) {
        log_info("stopping on signal %d", number);
        agent_stop(a);
    } else if (a->state == AGENT_RUNNING) {
        agent_reload(a);
    }
}

static void init_handles(struct agent *a)
{
    if (uv_loop_init(&a->loop) < 0) {
        decree_fatal("no event loop can be made");
    }
    (void)uv_timer_init(&a->loop, &a->timer);
    (void)uv_timer_init(&a->loop, &a->look_timer);
    a->timer.data = a->look_timer.data = a;
    for (size_t i = 0; i < ARRAY_SIZE(handled_signals); i++) {
        (void)uv_signal_init(&a->loop, &a->signals[i]);
        a->signals[i].data = a;
        (void)uv_signal_start(&a->signals[i], on_signal, handled_signals[i]);
    }
}

static int start(struct agent *a, struct err *reterr)
{
    struct config c = {0};
    int rc = 0;

    if (strchr(a->o->name, '/') != NULL || a->o->name[0] == '\0') {
        return err_set(
            reterr, -EINVAL, "the agent's name '%s' is part of a key: no slash in it", a->o->name);
    }
    rc = config_load(a->o->conf_dir, &c, reterr);
    if (rc < 0) {
        return rc;
    }
    rc = client_new(&a->loop, a->o->endpoints, &a->client, reterr);
    if (rc == 0) {
        rc = open_state(a, reterr);
    }
    if (rc < 0) {
        config_deinit(&c);
        return rc;
    }
    if (!a->o->once) {
        a->reporter = reporter_new(&a->loop, a->client, a->o->name);
        a->saver = saver_new(&a->loop, a->state_fd, current_mirror, on_saver_idle, a);
    }
    log_info("agent starts name=%s resources=%zu wrong=%zu conf_dir=%s endpoint=%s", a->o->name,
        c.n_resources, c.n_faults, a->o->conf_dir, client_endpoint(a->client));
    a->mirror = agent_plan(a); /* of nothing yet */
    agent_take_config(a, &c, "the configuration of a file is wrong, the others go on");
    mirror_free(a->mirror);
    a->mirror = agent_plan(a);
    saver_restore(a->state_fd, a->mirror);
    return 0;
}

static void run(struct agent *a)
{
    a->state = AGENT_RUNNING;
    agent_follow(a);
    if (a->o->once) {
        (void)uv_timer_start(&a->timer, on_once_limit, AGENT_ONCE_MS, 0);
        agent_check_once(a); /* no resource at all is done already */
    }
    if (a->state == AGENT_RUNNING) {
        (void)uv_run(&a->loop, UV_RUN_DEFAULT);
    }
    if (a->saver != NULL) {
        saver_save(a->saver);
    }
    log_info("stopped");
}

static void close_handles(struct agent *a)
{
    for (size_t i = 0; i < ARRAY_SIZE(a->signals); i++) {
        uv_close((uv_handle_t *)&a->signals[i], NULL);
    }
    uv_close((uv_handle_t *)&a->timer, NULL);
    uv_close((uv_handle_t *)&a->look_timer, NULL);
    a->saver = saver_free(a->saver);
    client_free(a->client);
    (void)uv_run(&a->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&a->loop);
}

int agent_run(const struct agent_options *o)
{
    struct agent a = {.o = o, .state_fd = -1, .units_fd = -1};
    _cleanup_err_ struct err e = {0};

    list_init(&a.units);
    init_handles(&a);
    if (start(&a, &e) < 0) {
        log_error("cannot start: %s", e.text);
        a.exit_code = AGENT_CANNOT_START;
    } else {
        run(&a);
    }
    close_handles(&a);
    mirror_free(a.mirror);
    agent_free_faults(&a);
    cleanup_close_(&a.units_fd);
    cleanup_close_(&a.state_fd);
    return a.exit_code;
}
