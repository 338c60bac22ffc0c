/* What is known of the store, on disk, for a start without it: STATEDIR/mirror, replaced as a
 * whole. Never on the way of a change: collected for a while, written by a worker thread. */
#ifndef DECREE_AGENT_SAVER_H
#define DECREE_AGENT_SAVER_H

#include <uv.h>

#include "mirror.h"

enum {
    SAVER_COLLECT_MS = 5 * 1000, /* changes are collected before they are written together */
    SAVER_BYTES_MAX = 1 << 30,   /* what is read back; a mirror is a few megabytes */
};

struct saver;

/* mirror yields the one to save when it is time. on_idle is told when a write has ended. */
struct saver *saver_new(uv_loop_t *loop, int state_fd, const struct mirror *(*mirror)(void *data),
    void (*on_idle)(void *data), void *data);
/* There is something new. */
void saver_wake(struct saver *s);
/* No more writes by itself; one may be under way. */
void saver_stop(struct saver *s);
/* A worker is writing: saver_save and saver_free must wait for on_idle. */
bool saver_busy(const struct saver *s);
/* Writes now, blocking: for the end. Not while busy. */
void saver_save(struct saver *s);
/* NULL is accepted; returns NULL. */
struct saver *saver_free(struct saver *s);

/* Fills m with what was saved, as far as it fits; says so on the log when it cannot be used. */
void saver_restore(int state_fd, struct mirror *m);

#endif
