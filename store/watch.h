/* A watcher and what it is told: the vocabulary that doors and keyspace share
 * (contracts/etcd-v3.md §4). */
#ifndef DECREE_STORE_WATCH_H
#define DECREE_STORE_WATCH_H

#include "buf.h"
#include "list.h"
#include "request.h"

/* Which kind of action made a change; the v2 view tells them apart. */
enum mvcc_action {
    MVCC_ACTION_PUT = 1,
    MVCC_ACTION_DELETE,
    MVCC_ACTION_TXN_PUT,
    MVCC_ACTION_TXN_DELETE,
    MVCC_ACTION_EXPIRE,
    MVCC_ACTION_REVOKE,
};

enum { WATCH_ENCODINGS = 4 /* gRPC and JSON, each with and without prev_kv */ };

/* One change as watchers see it, shared by all of them during one delivery. */
struct watch_event {
    bool is_delete;
    enum mvcc_action action;
    struct kv kv;  /* deletes: key and mod_revision only */
    bool has_prev; /* false when there was none or it has been compacted */
    struct kv prev;
    /* Wire forms, made by the first door that needs one and used by all others; freed after the
     * delivery. */
    struct buf *encoded[WATCH_ENCODINGS];
};

enum watch_end {
    WATCH_COMPACTED = 1, /* wants revisions that are gone: compact_revision is mvcc_compacted */
};

struct watcher;

/* How a watcher is told. Both run inside a delivery (mvcc_watch_deliver) only. */
struct watch_ops {
    /* All events of whole revisions, in order, up to and including `revision`; n is at
     * least 1. Returns true when more may be sent at once; false = the consumer is full after this
     * batch: nothing more comes until it is resumed, then replay goes on from history. */
    bool (*events)(
        struct watcher *w, struct watch_event *const *events, size_t n, int64_t revision);
    /* The watch is over; the watcher has been removed and is the owner's to free. */
    void (*end)(struct watcher *w, enum watch_end why);
    /* May events come now? False: the consumer is full, and nothing comes until it is resumed.
     * NULL: they always may. */
    bool (*ready)(struct watcher *w);
};

enum watcher_state { WATCHER_IDLE, WATCHER_SYNCED, WATCHER_CATCHING_UP, WATCHER_FULL };

/* Embedded by its owner; everything above the line is set by the owner before it is added. */
struct watcher {
    struct bytes key, range_end; /* borrowed until removed; an empty key has become "\0" already */
    int64_t start_revision;      /* 0 = after the revision of this member at the moment */
    bool no_put, no_delete;      /* filters: a batch that they empty is not sent */
    bool prev_kv;
    const struct watch_ops *ops;
    /* ---- the hub's own ---- */
    struct key_range range;
    int64_t next_revision; /* everything below has been delivered (or filtered) */
    enum watcher_state state;
    struct watch_group *group;    /* while synced: the watchers of the same range */
    struct list link;             /* in that group, else among those of the same state */
    struct list touched;          /* while events wait for it inside a delivery */
    uint32_t first_hit, last_hit; /* those events */
};

#endif
