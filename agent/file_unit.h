/* The life of one file: render, compare, stage, check, swap, reload, verify; or put the old bytes
 * back. One state machine a resource; units do not know each other. */
#ifndef DECREE_AGENT_FILE_UNIT_H
#define DECREE_AGENT_FILE_UNIT_H

#include <uv.h>

#include "mirror.h"
#include "resource.h"

enum {
    UNIT_RETRY_MIN_MS = 1000,          /* what failed is tried again, doubling … */
    UNIT_RETRY_MAX_MS = 5 * 60 * 1000, /* … up to this */
};

/* What people are told about a file. The texts are part of the status in the store. */
#define UNIT_CONDITIONS(X)                                                                         \
    X(WAITING, "waiting")             /* nothing was rendered yet */                               \
    X(OK, "ok")                       /* the file is what the template makes, and in use */        \
    X(RENDER_ERROR, "render-error")   /* the template failed: a key is missing, for example */     \
    X(CHECK_FAILED, "check-failed")   /* the check refused the staged file */                      \
    X(WRITE_FAILED, "write-failed")   /* the file could not be written */                          \
    X(RELOAD_FAILED, "reload-failed") /* the service did not take it; the old bytes are back */    \
    X(VERIFY_FAILED, "verify-failed") /* it did, but did not work; the old bytes are back */       \
    X(CONFIG_ERROR, "config-error")   /* the resource's own configuration is wrong */

enum unit_condition {
#define X(id, text) UNIT_##id,
    UNIT_CONDITIONS(X)
#undef X
        UNIT_CONDITION_END_
};
const char *unit_condition_text(enum unit_condition c);

struct unit_status {
    enum unit_condition condition;
    int64_t
        rendered_revision;    /* the file in place is what this revision makes of it; 0 = unknown */
    uint64_t file_changed_ms; /* wall time of the last change of the file; 0 = there is none */
    uint64_t reloaded_ms;     /* wall time of the last successful reload */
    uint64_t since_ms;        /* wall time since when the condition holds */
    const char *error;        /* the unit's; "" when there is none */
    bool stale;               /* rendered from what was remembered, not from the store */
};

struct unit;

struct unit_env {
    uv_loop_t *loop;
    int units_fd; /* STATEDIR/units */
    /* What to render from: false while there is nothing; ret_stale when it is remembered only. */
    bool (*source)(void *data, const struct unit *u, const struct mirror **ret_mirror,
        int64_t *ret_revision, bool *ret_stale);
    /* The status changed. */
    void (*on_status)(void *data, struct unit *u);
    /* unit_stop is through: the unit is freed when this returns. */
    void (*on_stopped)(void *data, struct unit *u);
    void *data;
};

/* r_consume becomes the unit's. env is copied. Nothing happens before the first unit_wake. */
struct unit *unit_new(const struct unit_env *env, struct resource *r_consume);
const struct resource *unit_resource(const struct unit *u);
/* Another configuration of the same name, used from the next cycle on, which this starts. */
void unit_set_resource(struct unit *u, struct resource *r_consume);
/* Its new configuration is wrong: the one before stays in use, and the status says so until
 * unit_set_resource or a text of NULL. */
void unit_set_config_error(struct unit *u, const char *text);
struct unit_status unit_status(const struct unit *u);

/* Whether the last render looked at key, so that a change of it makes the file dirty. */
bool unit_reads(const struct unit *u, struct bytes key);
/* There is something new to render from. Repeats while a cycle is under way make one more cycle. */
void unit_wake(struct unit *u);
/* The source stands at a new revision that changes nothing for this unit. */
void unit_touch(struct unit *u);
/* A cycle has ended and no other one is due before a timer or a change. */
bool unit_at_rest(const struct unit *u);

/* Ends it: at once when nothing is under way; a check is canceled; a reload is waited for, since a
 * service must not be left between two configurations. on_stopped follows, later. */
void unit_stop(struct unit *u);
/* After unit_stop: does not wait for hooks any longer. What is owed stays owed on disk. */
void unit_kill(struct unit *u);

#endif
