/* What the parts of the agent share: its life (agent.c), its units and what the store tells them
 * (agent_units.c), and its configuration (agent_config.c). */
#ifndef DECREE_AGENT_AGENT_IMPL_H
#define DECREE_AGENT_AGENT_IMPL_H

#include "agent.h"
#include "config.h"
#include "file_unit.h"
#include "list.h"
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

/* ---- agent.c ---- */

/* All that a stop waits for is gone: the loop ends. */
void agent_stop_if_idle(struct agent *a);
/* --once: it is over when every file is at rest. */
void agent_check_once(struct agent *a);
/* The same when the loop has nothing else to do: a unit may still be on its way to rest. */
void agent_check_once_later(struct agent *a);

/* ---- agent_units.c ---- */

/* The unit of a resource that is configured, or NULL. */
struct agent_unit *agent_unit_named(struct agent *a, const char *name);
void agent_add_unit(struct agent *a, struct resource *r_consume);
/* No longer configured: it ends when its cycle does. */
void agent_drop_unit(struct agent *a, struct agent_unit *au);
void agent_wake_all(struct agent *a);
void agent_publish_fault(struct agent *a, const struct config_fault *f);
/* A mirror for the units there are, which learn which group each one is in. */
struct mirror *agent_plan(struct agent *a);
/* Follows the store for a->mirror. */
void agent_follow(struct agent *a);

/* ---- agent_config.c ---- */

/* Units for what is configured; those whose configuration did not change do not notice. what_now
 * goes before what is wrong, on the log. c is used up. */
void agent_take_config(struct agent *a, struct config *c, const char *what_now);
/* SIGHUP. One that cannot be read changes nothing. */
void agent_reload(struct agent *a);
void agent_free_faults(struct agent *a);

#endif
