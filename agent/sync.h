/* Keeps a mirror equal to the store: one consistent read of each group, then a watch for each of
 * its regions from the next revision on.
 *
 * What may go wrong, and what happens:
 *
 * - A stream ends or cannot be opened: it is opened again at received + 1, after a back-off.
 *
 * - The history up to there is gone (compaction), or the store went back in time (a backup was
 *   restored): the whole group is read again and compared.
 *
 * - Nothing is heard. Silence proves nothing, so a probe asks: every SYNC_PROBE_MS whether the
 *   store answers linearizably at all, and every SYNC_DEEP_PROBES-th time whether a region has
 *   changes that its stream kept back; such a stream is opened again. A dead store is known after
 *   SYNC_PROBE_MS + the call's time limit, a dead stream on a living one after
 *   SYNC_SILENCE_MAX_MS.
 *
 * - Events wait for another region: the same deep probe, at once. It confirms the regions that
 *   have no changes up to the revision it was answered at. */
#ifndef DECREE_AGENT_SYNC_H
#define DECREE_AGENT_SYNC_H

#include "client.h"
#include "mirror.h"

enum {
    SYNC_PAGE_KEYS = 1000, /* of 1.5 MiB at most each, usually some 100 KiB a page */
    SYNC_BACKOFF_MIN_MS = 100,
    SYNC_BACKOFF_MAX_MS = 3000, /* a restarted member is followed again within this time */
    SYNC_PROBE_MS = 5000,
    SYNC_DEEP_PROBES = 12, /* a deep probe costs the store a look at every key of the region */
    SYNC_GRACE_MS = 2000,  /* an event may still be on its way when the probe overtakes it */
    SYNC_SILENCE_MAX_MS = SYNC_PROBE_MS * SYNC_DEEP_PROBES + SYNC_GRACE_MS + CLIENT_CALL_TIMEOUT_MS,
};

struct sync;

struct sync_handler {
    /* The group's keys are those of a (new) revision; the mirror has told which keys changed. */
    void (*on_settled)(void *data, size_t group);
    /* The first complete read of a group, or one after its history was lost, is about to be told
     * through on_settled. */
    void (*on_loaded)(void *data, size_t group);
    /* Whether the store answers; why not. Told on changes only. */
    void (*on_online)(void *data, bool online, const char *error);
};

/* client and mirror must outlive it; the mirror has been built. */
struct sync *sync_new(uv_loop_t *loop, struct client *client, struct mirror *mirror,
    const struct sync_handler *handler, void *data);
void sync_start(struct sync *s);
/* Stops without further callbacks; the memory goes when the loop has closed its timers. NULL is
 * accepted; returns NULL. */
struct sync *sync_free(struct sync *s);
bool sync_online(const struct sync *s);
/* The group was read from the store at least once, and the store answers. */
bool sync_current(const struct sync *s, size_t group);

#endif
