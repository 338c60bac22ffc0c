/* Tells the store how this host's files are: one key a resource, `_decree/agent/AGENT/RESOURCE`,
 * under a lease, so that what a dead agent said goes away by itself. Reports are collected for a
 * moment and written together; the newest one of a resource wins; nothing ever waits for them. */
#ifndef DECREE_AGENT_REPORTER_H
#define DECREE_AGENT_REPORTER_H

#include "client.h"

enum {
    REPORTER_TTL_S = 30,
    REPORTER_COLLECT_MS = 50, /* short enough to look immediate to a person */
    REPORTER_BATCH = 100,     /* operations in one transaction; the protocol's limit is 128 */
    REPORTER_RETRY_MS = 2000,
    REPORTER_REVOKE_MS = 1000, /* how long a clean stop may wait for the store */
};

struct reporter;

/* client must outlive it. */
struct reporter *reporter_new(uv_loop_t *loop, struct client *client, const char *agent);
/* json is what the key shall hold. The same text as before is not written again. */
void reporter_set(struct reporter *r, const char *resource, const char *json);
void reporter_remove(struct reporter *r, const char *resource);
/* Gives the lease back, so that the reports vanish at once, and calls stopped, later. */
void reporter_stop(struct reporter *r, void (*stopped)(void *data), void *data);
/* After `stopped`, or without reporter_stop. NULL is accepted; returns NULL. */
struct reporter *reporter_free(struct reporter *r);

#endif
