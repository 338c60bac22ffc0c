/* Ties the parts together: config → units and mirror; sync → mirror → dirty units; units →
 * reporter. A unit is dirty when a key changed that its last render looked at; it is woken when its
 * group stands at a new revision as a whole. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>

#include "clock.h"
#include "config.h"
#include "file.h"
#include "file_unit.h"
#include "list.h"
#include "log.h"
#include "report.h"
#include "reporter.h"
#include "saver.h"
#include "sync.h"

/* STARTING → RUNNING → STOPPING (units end, the reporter takes its leave) → STOPPED */
enum agent_state { AGENT_STARTING, AGENT_RUNNING, AGENT_STOPPING, AGENT_STOPPED };

struct agent_unit {
    struct list link;
    struct agent *agent;
    struct unit *unit; /* owned by itself from unit_stop on */
    size_t group;
    bool dirty;
    bool leaving; /* no longer configured: ends when its cycle does */
};

struct agent {
    const struct agent_options *o;
    enum agent_state state;
    uv_loop_t loop;
    uv_signal_t signals[3];
    uv_timer_t timer;      /* the time limit of a stop, or of --once */
    uv_timer_t look_timer; /* --once: are all at rest? */
    int state_fd;          /* owned; STATEDIR, locked */
    int units_fd;          /* owned; STATEDIR/units */
    struct client *client;
    struct mirror *mirror;
    struct sync *sync;
    struct reporter *reporter; /* NULL with --once */
    struct saver *saver;       /* NULL with --once */
    struct list units;
    size_t n_leaving;            /* of these */
    struct config_fault *faults; /* owned; resources that never made a unit */
    size_t n_faults;
    bool stale_allowed; /* the store did not answer: what is remembered has to do */
    int exit_code;
};

static const int handled_signals[] = {SIGTERM, SIGINT, SIGHUP};

/* Status */

static void publish(struct agent *a, const char *resource, const char *dest,
    const struct unit_status *s, int64_t revision)
{
    if (a->reporter != NULL && a->state != AGENT_STOPPING) {
        _cleanup_free_ char *text = report_text(a->o->name, resource, dest, s, revision);

        reporter_set(a->reporter, resource, text);
    }
}

static void publish_unit(struct agent *a, const struct agent_unit *au)
{
    struct unit_status s = unit_status(au->unit);
    const struct resource *r = unit_resource(au->unit);

    publish(a, r->name, r->dest, &s, mirror_revision(a->mirror, au->group));
}

static void publish_fault(struct agent *a, const struct config_fault *f)
{
    const struct unit_status s = {
        .condition = UNIT_CONFIG_ERROR, .error = f->text, .since_ms = clock_wall_ms()};

    publish(a, f->name, f->dest != NULL ? f->dest : "", &s, 0);
}

/* Stop */

static void stop_if_idle(struct agent *a)
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
    stop_if_idle(a);
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
    stop_if_idle(a);
}

/* Units */

static struct agent_unit *unit_named(struct agent *a, const char *name)
{
    list_for_each (it, &a->units) {
        struct agent_unit *au = list_entry(it, struct agent_unit, link);

        if (!au->leaving && strcmp(unit_resource(au->unit)->name, name) == 0) {
            return au;
        }
    }
    return NULL;
}

/* Two units must never work on one file: a new one waits until the one before has left. */
static bool dest_is_busy(const struct agent *a, const struct agent_unit *self)
{
    if (a->n_leaving == 0) {
        return false; /* nearly always; this is asked for every unit at every revision */
    }
    list_for_each (it, &a->units) {
        const struct agent_unit *au = list_entry(it, struct agent_unit, link);

        if (au != self && au->leaving &&
            strcmp(unit_resource(au->unit)->dest, unit_resource(self->unit)->dest) == 0) {
            return true;
        }
    }
    return false;
}

static bool unit_source(void *data, const struct unit *u, const struct mirror **ret_mirror,
    int64_t *ret_revision, bool *ret_stale)
{
    struct agent_unit *au = data;
    struct agent *a = au->agent;

    (void)u;
    *ret_mirror = a->mirror;
    *ret_revision = mirror_revision(a->mirror, au->group);
    *ret_stale = a->sync == NULL || !sync_current(a->sync, au->group);
    return *ret_revision != 0 && (!*ret_stale || a->stale_allowed) && !dest_is_busy(a, au);
}

static void check_once(struct agent *a)
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

/* The unit may still be on its way to rest: --once looks when the loop has nothing else to do. */
static void on_look(uv_timer_t *timer)
{
    check_once(timer->data);
}

static void on_unit_status(void *data, struct unit *u)
{
    struct agent_unit *au = data;
    struct agent *a = au->agent;

    (void)u;
    if (au->unit != NULL && !au->leaving) {
        publish_unit(a, au);
    }
    if (a->o->once && a->state == AGENT_RUNNING) {
        (void)uv_timer_start(&a->look_timer, on_look, 0, 0);
    }
}

static void wake_all(struct agent *a)
{
    list_for_each (it, &a->units) {
        struct agent_unit *au = list_entry(it, struct agent_unit, link);

        au->dirty = false;
        unit_wake(au->unit);
    }
}

static void on_unit_stopped(void *data, struct unit *u)
{
    struct agent_unit *au = data;
    struct agent *a = au->agent;
    const char *name = unit_resource(u)->name;

    list_del(&au->link);
    a->n_leaving -= au->leaving;
    if (a->reporter != NULL && a->state == AGENT_RUNNING && unit_named(a, name) == NULL) {
        reporter_remove(a->reporter, name);
    }
    free(au);
    if (a->state == AGENT_RUNNING) {
        wake_all(a);
    }
    stop_if_idle(a);
}

static void add_unit(struct agent *a, struct resource *r_consume)
{
    struct agent_unit *au = xcalloc(1, sizeof(*au));
    const struct unit_env env = {
        .loop = &a->loop,
        .units_fd = a->units_fd,
        .source = unit_source,
        .on_status = on_unit_status,
        .on_stopped = on_unit_stopped,
        .data = au,
    };

    au->agent = a;
    au->dirty = true;
    au->unit = unit_new(&env, r_consume);
    list_add_tail(&a->units, &au->link);
}

/* Sync */

static void on_changed(void *data, size_t group, struct bytes key)
{
    struct agent *a = data;

    list_for_each (it, &a->units) {
        struct agent_unit *au = list_entry(it, struct agent_unit, link);

        if (au->group == group && !au->dirty) {
            au->dirty = unit_reads(au->unit, key);
        }
    }
}

static void on_loaded(void *data, size_t group)
{
    struct agent *a = data;

    list_for_each (it, &a->units) {
        struct agent_unit *au = list_entry(it, struct agent_unit, link);

        au->dirty = au->dirty || au->group == group;
    }
}

static void on_settled(void *data, size_t group)
{
    struct agent *a = data;

    list_for_each (it, &a->units) {
        struct agent_unit *au = list_entry(it, struct agent_unit, link);

        if (au->group != group) {
            continue;
        }
        if (au->dirty) {
            au->dirty = false;
            unit_wake(au->unit);
        } else {
            unit_touch(au->unit);
        }
    }
    if (a->saver != NULL) {
        saver_wake(a->saver);
    }
}

static void on_online(void *data, bool online, const char *error)
{
    struct agent *a = data;

    if (online) {
        log_info("following the store endpoint=%s", client_endpoint(a->client));
    } else {
        log_warn("the store does not answer, files stay as they are until it does: %s", error);
    }
    if (!online && !a->stale_allowed) {
        a->stale_allowed = true;
        wake_all(a);
    }
    list_for_each (it, &a->units) {
        struct agent_unit *au = list_entry(it, struct agent_unit, link);

        unit_touch(au->unit);
        publish_unit(a, au);
    }
}

static const struct sync_handler sync_handler = {
    .on_settled = on_settled, .on_loaded = on_loaded, .on_online = on_online};

/* Configuration */

/* A mirror for the units there are, and which group each one is in. */
static struct mirror *plan(struct agent *a)
{
    struct mirror *m = mirror_new(on_changed, a);
    size_t n = 0;

    list_for_each (it, &a->units) {
        const struct resource *r = unit_resource(list_entry(it, struct agent_unit, link)->unit);

        (void)mirror_add_resource(m, r->n_scopes, r->scopes);
    }
    mirror_build(m);
    list_for_each (it, &a->units) {
        list_entry(it, struct agent_unit, link)->group = mirror_group_of(m, n++);
    }
    return m;
}

static void follow(struct agent *a)
{
    a->sync = sync_new(&a->loop, a->client, a->mirror, &sync_handler, a);
    sync_start(a->sync);
}

static void log_faults(const struct config *c, const char *what_now)
{
    for (size_t i = 0; i < c->n_faults; i++) {
        log_error("%s: %s unit=%s", what_now, c->faults[i].text, c->faults[i].name);
    }
}

static void take_faults(struct agent *a, struct config *c)
{
    for (size_t i = 0; i < a->n_faults; i++) {
        struct config_fault *f = &a->faults[i];

        if (a->reporter != NULL) {
            reporter_remove(a->reporter, f->name);
        }
        free(f->name);
        free(f->dest);
        free(f->text);
    }
    free(a->faults);
    a->faults = NULL;
    a->n_faults = 0;
    for (size_t i = 0; i < c->n_faults; i++) {
        struct agent_unit *au = unit_named(a, c->faults[i].name);

        if (au != NULL) {
            unit_set_config_error(au->unit, c->faults[i].text);
            continue;
        }
        a->faults = xreallocarray(a->faults, a->n_faults + 1, sizeof(*a->faults));
        a->faults[a->n_faults++] = c->faults[i];
        publish_fault(a, &c->faults[i]);
        c->faults[i] = (struct config_fault){0}; /* moved */
    }
}

/* Units for what is configured; those whose configuration did not change do not notice. */
static void take_resources(struct agent *a, struct config *c)
{
    for (size_t i = 0; i < c->n_resources; i++) {
        struct agent_unit *au = unit_named(a, c->resources[i]->name);

        if (au == NULL) {
            add_unit(a, TAKE_PTR(c->resources[i]));
        } else if (resource_equal(unit_resource(au->unit), c->resources[i])) {
            unit_set_config_error(au->unit, NULL);
        } else {
            unit_set_resource(au->unit, TAKE_PTR(c->resources[i]));
        }
    }
}

static bool is_configured(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->n_resources; i++) {
        if (c->resources[i] != NULL && strcmp(c->resources[i]->name, name) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < c->n_faults; i++) {
        if (strcmp(c->faults[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static void drop_units(struct agent *a, const struct config *c)
{
    list_for_each_safe (it, &a->units) {
        struct agent_unit *au = list_entry(it, struct agent_unit, link);

        if (!au->leaving && !is_configured(c, unit_resource(au->unit)->name)) {
            log_info("no longer configured, the file stays as it is unit=%s",
                unit_resource(au->unit)->name);
            au->leaving = true;
            a->n_leaving++;
            unit_stop(au->unit);
        }
    }
}

static void reload(struct agent *a)
{
    struct config c = {0};
    _cleanup_err_ struct err e = {0};
    struct mirror *m;

    if (config_load(a->o->conf_dir, &c, &e) < 0) {
        log_error("cannot read the configuration again, the one before stays in use: %s", e.text);
        return;
    }
    log_faults(&c, "the configuration of a file is wrong, its one before stays in use");
    log_info("configuration read again resources=%zu wrong=%zu", c.n_resources, c.n_faults);
    drop_units(a, &c);
    take_resources(a, &c);
    take_faults(a, &c);
    config_deinit(&c);
    m = plan(a);
    if (mirror_same_plan(a->mirror, m)) {
        mirror_free(m);
        wake_all(a);
        return;
    }
    a->sync = sync_free(a->sync);
    mirror_free(a->mirror);
    a->mirror = m;
    follow(a);
}

/* Start */

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
    stop_if_idle(data);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct agent *a = handle->data;

    if (number != SIGHUP) {
        log_info("stopping on signal %d", number);
        agent_stop(a);
    } else if (a->state == AGENT_RUNNING) {
        reload(a);
    }
}

static void on_once_limit(uv_timer_t *timer)
{
    struct agent *a = timer->data;

    log_error("not all files could be brought up to date within %d ms", AGENT_ONCE_MS);
    a->exit_code = 1;
    agent_stop(a);
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
    log_faults(&c, "the configuration of a file is wrong, the others go on");
    log_info("agent starts name=%s resources=%zu wrong=%zu conf_dir=%s endpoint=%s", a->o->name,
        c.n_resources, c.n_faults, a->o->conf_dir, client_endpoint(a->client));
    a->mirror = mirror_new(on_changed, a);
    take_resources(a, &c);
    take_faults(a, &c);
    config_deinit(&c);
    mirror_free(a->mirror);
    a->mirror = plan(a);
    saver_restore(a->state_fd, a->mirror);
    return 0;
}

static void run(struct agent *a)
{
    a->state = AGENT_RUNNING;
    follow(a);
    if (a->o->once) {
        (void)uv_timer_start(&a->timer, on_once_limit, AGENT_ONCE_MS, 0);
        check_once(a); /* no resource at all is done already */
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
    for (size_t i = 0; i < a.n_faults; i++) {
        free(a.faults[i].name);
        free(a.faults[i].dest);
        free(a.faults[i].text);
    }
    free(a.faults);
    cleanup_close_(&a.units_fd);
    cleanup_close_(&a.state_fd);
    return a.exit_code;
}
