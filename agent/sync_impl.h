/* What the parts of sync.h ask of one another: groups, the streams of their regions, the deep probe
 * of a group, and the pulse of the store (sync.c). */
#ifndef DECREE_AGENT_SYNC_IMPL_H
#define DECREE_AGENT_SYNC_IMPL_H

#include "sync.h"

/* READING ──all pages──> FOLLOWING ──compacted, or back in time──> READING
 * READING ──error──> WAITING ──back-off──> READING */
enum sync_group_state { GROUP_READING, GROUP_FOLLOWING, GROUP_WAITING };

/* CLOSED ──group follows──> OPENING ──created──> OPEN
 * OPENING, OPEN ──end, error, silence──> PAUSED ──back-off──> OPENING */
enum sync_stream_state { STREAM_CLOSED, STREAM_OPENING, STREAM_OPEN, STREAM_PAUSED };

struct sync_group {
    struct sync *s;
    size_t index;
    enum sync_group_state state;
    bool was_read;            /* from the store, at least once */
    struct client_call *call; /* of the page that is being read */
    size_t region;            /* of that page */
    struct strbuf next_key;   /* where that page begins */
    int64_t revision;         /* of the whole read; 0 = not known before the first page */
    struct client_call *probe;
    bool probe_again; /* more came to wait while a probe was under way */
    unsigned failures;
    uv_timer_t timer; /* WAITING: the back-off; FOLLOWING: one more probe */
};

struct sync_stream {
    struct sync *s;
    size_t region;
    enum sync_stream_state state;
    struct client_watch *watch;
    unsigned failures;
    /* `received` when a probe saw changes that the stream had not told; 0 = none */
    int64_t probed_received;
    uint64_t probed_ms;
    int64_t asked_received; /* `received` when the probe under way was sent */
    uv_timer_t timer;       /* OPENING: its time limit; PAUSED: the back-off */
};

struct sync {
    uv_loop_t *loop;
    struct client *client;
    struct mirror *mirror;
    struct sync_handler handler;
    void *data;
    struct sync_group *groups;   /* owned, n_groups */
    struct sync_stream *streams; /* owned, one a region */
    size_t n_groups;             /* the mirror may be gone when the last timer has closed */
    struct client_call *pulse;
    unsigned pulses;
    bool online;
    bool told; /* on_online has been called */
    uv_timer_t timer;
    size_t open_handles;
};

/* ---- sync.c ---- */

/* Tells the handler when it is news. error: why not. */
void sync_set_online(struct sync *s, bool online, const char *error);
/* Calls op for every stream of the group. */
void sync_each_stream(const struct sync_group *g, void (*op)(struct sync_stream *st));
uint64_t sync_backoff_ms(unsigned failures);
/* Gives a call up, if there is one. */
void sync_abort(struct client_call **call);

/* ---- sync_group.c ---- */

/* Begins a read of the whole group, whatever is under way. */
void sync_group_read(struct sync_group *g);
/* Applies what the streams have told, and probes when that waits for a region that is silent. */
void sync_group_settle(struct sync_group *g);
/* One more probe after so long. */
void sync_group_probe_in(struct sync_group *g, uint64_t ms);

/* ---- sync_probe.c ---- */

/* Asks about all regions of a group that is followed; once more when one is under way. */
void sync_group_probe(struct sync_group *g);

/* ---- sync_stream.c ---- */

struct sync_group *sync_group_of(const struct sync_stream *st);
void sync_stream_open(struct sync_stream *st);
/* No callbacks follow. */
void sync_stream_close(struct sync_stream *st);
/* Closes it, and opens it again after the back-off. */
void sync_stream_pause(struct sync_stream *st, const char *why);

#endif
