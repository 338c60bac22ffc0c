/* Units, and what the store tells them. A unit is dirty when a key changed that its last render
 * looked at; it is woken when its group stands at a new revision as a whole. */
#include "agent_impl.h"
#include "clock.h"
#include "log.h"
#include "report.h"

/* ---- status ---- */

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

void agent_publish_fault(struct agent *a, const struct config_fault *f)
{
    const struct unit_status s = {
        .condition = UNIT_CONFIG_ERROR, .error = f->text, .since_ms = clock_wall_ms()};

    publish(a, f->name, f->dest != NULL ? f->dest : "", &s, 0);
}

/* ---- units ---- */

struct agent_unit *agent_unit_named(struct agent *a, const char *name)
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

static void on_unit_status(void *data, struct unit *u)
{
    struct agent_unit *au = data;
    struct agent *a = au->agent;

    (void)u;
    if (au->unit != NULL && !au->leaving) {
        publish_unit(a, au);
    }
    agent_check_once_later(a);
}

void agent_wake_all(struct agent *a)
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
    if (a->reporter != NULL && a->state == AGENT_RUNNING && agent_unit_named(a, name) == NULL) {
        reporter_remove(a->reporter, name);
    }
    free(au);
    if (a->state == AGENT_RUNNING) {
        agent_wake_all(a);
    }
    agent_stop_if_idle(a);
}

void agent_add_unit(struct agent *a, struct resource *r_consume)
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

void agent_drop_unit(struct agent *a, struct agent_unit *au)
{
    au->leaving = true;
    a->n_leaving++;
    unit_stop(au->unit);
}

/* ---- the store ---- */

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
        agent_wake_all(a);
    }
    list_for_each (it, &a->units) {
        struct agent_unit *au = list_entry(it, struct agent_unit, link);

        unit_touch(au->unit);
        publish_unit(a, au);
    }
}

struct mirror *agent_plan(struct agent *a)
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

void agent_follow(struct agent *a)
{
    static const struct sync_handler sync_handler = {
        .on_settled = on_settled, .on_loaded = on_loaded, .on_online = on_online};

    a->sync = sync_new(&a->loop, a->client, a->mirror, &sync_handler, a);
    sync_start(a->sync);
}
