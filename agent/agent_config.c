/* The configuration becomes units, and changes them. */
#include "agent_impl.h"
#include "log.h"

static void log_faults(const struct config *c, const char *what_now)
{
    for (size_t i = 0; i < c->n_faults; i++) {
        log_error("%s: %s unit=%s", what_now, c->faults[i].text, c->faults[i].name);
    }
}

void agent_free_faults(struct agent *a)
{
    for (size_t i = 0; i < a->n_faults; i++) {
        config_fault_deinit(&a->faults[i]);
    }
    free(a->faults);
    a->faults = NULL;
    a->n_faults = 0;
}

static void take_faults(struct agent *a, struct config *c)
{
    for (size_t i = 0; i < a->n_faults && a->reporter != NULL; i++) {
        reporter_remove(a->reporter, a->faults[i].name);
    }
    agent_free_faults(a);
    for (size_t i = 0; i < c->n_faults; i++) {
        struct agent_unit *au = agent_unit_named(a, c->faults[i].name);

        if (au != NULL) {
            unit_set_config_error(au->unit, c->faults[i].text);
            continue;
        }
        a->faults = xreallocarray(a->faults, a->n_faults + 1, sizeof(*a->faults));
        a->faults[a->n_faults++] = c->faults[i];
        agent_publish_fault(a, &c->faults[i]);
        c->faults[i] = (struct config_fault){0}; /* moved */
    }
}

static void take_resources(struct agent *a, struct config *c)
{
    for (size_t i = 0; i < c->n_resources; i++) {
        struct agent_unit *au = agent_unit_named(a, c->resources[i]->name);

        if (au == NULL) {
            agent_add_unit(a, TAKE_PTR(c->resources[i]));
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
            agent_drop_unit(a, au);
        }
    }
}

void agent_take_config(struct agent *a, struct config *c, const char *what_now)
{
    log_faults(c, what_now);
    drop_units(a, c);
    take_resources(a, c);
    take_faults(a, c);
    config_deinit(c);
}

void agent_reload(struct agent *a)
{
    struct config c = {0};
    _cleanup_err_ struct err e = {0};
    struct mirror *m;

    if (config_load(a->o->conf_dir, &c, &e) < 0) {
        log_error("cannot read the configuration again, the one before stays in use: %s", e.text);
        return;
    }
    log_info("configuration read again resources=%zu wrong=%zu", c.n_resources, c.n_faults);
    agent_take_config(a, &c, "the configuration of a file is wrong, its one before stays in use");
    m = agent_plan(a);
    if (mirror_same_plan(a->mirror, m)) {
        mirror_free(m);
        agent_wake_all(a);
        return;
    }
    a->sync = sync_free(a->sync);
    mirror_free(a->mirror);
    a->mirror = m;
    agent_follow(a);
}
