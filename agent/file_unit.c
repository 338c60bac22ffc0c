#include "clock.h"
#include "file_unit_impl.h"

/* ---- status ---- */

static const char *const condition_texts[] = {
#define X(id, text) text,
    UNIT_CONDITIONS(X)
#undef X
};

const char *unit_condition_text(enum unit_condition c)
{
    decree_assert(c < UNIT_CONDITION_END_);
    return condition_texts[c];
}

void unit_set_condition(struct unit *u, enum unit_condition c, const char *error)
{
    if (u->status.condition != c) {
        u->status.since_ms = clock_wall_ms();
    }
    u->status.condition = c;
    free(u->error);
    u->error = xstrdup(error);
    u->env.on_status(u->env.data, u);
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

/* ---- life ---- */

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

void unit_free_closed(uv_handle_t *handle)
{
    struct unit *u = handle->data;

    u->env.on_stopped(u->env.data, u);
    readset_deinit(&u->reads);
    strbuf_deinit(&u->rendered);
    file_job_deinit(&u->job);
    file_hook_deinit(&u->hook);
    free(u->error);
    free(u->config_error);
    resource_free(u->r);
    resource_free(u->next);
    free(u);
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
    file_hook_cancel(&u->hook);
}

/* ---- news ---- */

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
