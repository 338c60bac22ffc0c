/* What the parts of a file's life ask of one another: the state machine (file_unit_step.c), a
 * cycle's beginning and ends (file_unit_cycle.c), and what others see and ask for (file_unit.c). */
#ifndef DECREE_AGENT_FILE_UNIT_IMPL_H
#define DECREE_AGENT_FILE_UNIT_IMPL_H

#include "file_hook.h"
#include "file_job.h"
#include "file_unit.h"
#include "readset.h"

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
    struct file_hook hook;
    enum unit_condition failure; /* what the cycle ends with when it restores */
    struct unit_status status;
    char *error;        /* owned; "" when there is none */
    char *config_error; /* owned, or NULL */
};

/* ---- file_unit_step.c ---- */

/* Something happened: all transitions are in here. */
void unit_step(struct unit *u, enum unit_event event);
void unit_set_state(struct unit *u, enum unit_state to);
/* Moves on to a state in which a worker runs that step of u->job; EVENT_JOB follows. */
void unit_start_job(struct unit *u, enum unit_state state, void (*step)(struct file_job *j));

/* ---- file_unit_cycle.c; each sets the state ---- */

/* Restarted by each change until the last one is quiet_min ago, or the first one quiet_max. */
void unit_wait_quiet(struct unit *u);
/* Renders, and starts the cycle's first job. */
void unit_begin(struct unit *u);
/* To IDLE, or straight into the next cycle when something came meanwhile. */
void unit_rest(struct unit *u);
/* The file is what the template makes, and in use. */
void unit_succeed(struct unit *u);
/* The one place where a cycle that went wrong ends. what: "the check refused the new file, kept the
 * old one". */
void unit_fail(
    struct unit *u, enum unit_condition c, const char *what, const char *why, uint64_t took_ms);
/* While what was there before is still there, if there was anything. */
void unit_fail_before_swap(
    struct unit *u, enum unit_condition c, const char *what, const char *why, uint64_t took_ms);
/* Ends the unit: u is freed once the loop has closed its timer. */
void unit_end(struct unit *u);

/* ---- file_unit.c ---- */

/* What people are told from now on; env.on_status is called. */
void unit_set_condition(struct unit *u, enum unit_condition c, const char *error);
void unit_free_closed(uv_handle_t *timer);

#endif
