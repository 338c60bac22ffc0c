/* What the parts of the log share. Three threads touch a log:
 *
 *   the loop's    wal_append, wal_poll and the other public calls
 *   the writer    takes batches off the queue, writes and syncs them (wal_thread.c, wal_write.c)
 *   the keeper    prepares the next segment, sets free old ones, removes old snapshots
 * (wal_keep.c): everything slow that no batch should wait for
 *
 * plus one per snapshot being written (snap_writer.c). Without `wake` there are none of these and
 * wal_poll does the same steps in turn. What is marked "writer" belongs to the writer alone once it
 * runs; all else in here is under `lock`. */
#ifndef DECREE_STORE_WAL_WAL_INTERNAL_H
#define DECREE_STORE_WAL_WAL_INTERNAL_H

#include <pthread.h>

#include "snap_file.h"
#include "wal.h"
#include "wal_disk.h"
#include "wal_recover.h"
#include "wal_segment.h"

enum {
    WAL_BATCH_BYTES_MAX = 4 << 20, /* one write: merging more makes no batch sooner */
    WAL_IDLE_MARK_MS = 50,         /* quiet that long: vouch for the last batch (wal_record.h) */
    WAL_RETRY_MS = 1000,           /* a full disk is asked again this often */
    WAL_SPARES_MAX = 2,            /* segments kept for reuse: one a compaction frees, one spare */
    WAL_THREAD_STACK_BYTES = 256 * 1024,
    WAL_SLICE_NS = 100 * 1000, /* the writer runs for less, and sleeps at every sync */
};

/* Which way the next segment is. */
enum wal_next_state {
    WAL_NEXT_NONE,      /* wanted; the keeper has not begun */
    WAL_NEXT_PREPARING, /* the keeper is at it */
    WAL_NEXT_READY,     /* `next` can be taken */
};

/* The writer's own state: the end of the log. `buf` holds the bytes of the segment from `base`, a
 * page boundary, on: first those of the last page that are written already, up to `pos`, then the
 * records that go with the next write. */
struct wal_tail {
    struct strbuf buf;
    uint64_t base, pos;
    uint64_t durable; /* fdatasync covered the segment up to here: the mark of the next record */
    uint32_t epoch;
    uint64_t last_index, last_term; /* of the entries, with those in buf */
    uint64_t term, vote;            /* hard state, with what is in buf */
    bool repairing;
};

struct wal {
    struct wal_disk *disk;
    struct wal_disk *own_disk; /* the same when it is ours to free */
    char *dir;                 /* for messages */
    size_t segment_bytes;
    void (*wake)(void *data);
    void *wake_data;
    struct wal_identity identity;
    bool created; /* identity is there and the threads run */

    pthread_mutex_t lock;
    pthread_cond_t writer_cond; /* queue, next segment, stopping */
    pthread_cond_t keeper_cond;
    pthread_t writer, keeper;
    bool stopping;
    atomic_bool stop_keeper; /* the same for the keeper in the middle of a long preparation */
    bool keeper_asked;

    struct list queue;    /* wal_append_req: accepted */
    struct list done;     /* wal_append_req: durable, callback due in wal_poll */
    size_t queued_bytes;  /* on disk, of queue and the batch being written */
    struct list segments; /* wal_segment, ascending; the last is the current one */
    struct wal_segment *current;
    uint64_t current_end; /* end of what is in it, as last published by the writer */
    enum wal_next_state next_state;
    struct wal_segment *next;
    bool full; /* the last preparation met a full disk; false again with the next one READY */
    uint64_t retry_at_ns;      /* full: not before */
    struct list spares;        /* wal_segment without file, durably renamed */
    struct list snaps_dropped; /* snap_file, to be unlinked by the keeper */
    struct list dropped;       /* wal_segment off the log, not yet renamed or unlinked */
    uint64_t keep_from;        /* entries below are not needed; 0 = all are */
    struct wal_stats stats;

    /* The loop's alone: no lock. */
    struct list snaps;          /* snap_file, ascending */
    struct snap_writer *snap;   /* open writer, or NULL */
    struct list snaps_aborting; /* snap_writer given up, their threads not yet joined */
    uint64_t snap_parts;        /* writers so far: keeps the names of part files apart */

    struct wal_tail tail; /* writer */

    struct wal_salvage salvage; /* between an open that met damage and wal_repair */
};

/* wal_write.c */
/* Moves what is on disk, synced, from the head of reqs to the tail of durable, which is empty
 * before. -ENOSPC when the next segment cannot be had: of the first request that stays in reqs a
 * part may be written, and writing that request again puts it right. One that was moved is never
 * written again: the log may have gone on to a higher term since. -ECANCELED when stopping. Other
 * failures do not return. */
int wal_write_batch(struct wal *w, struct list *reqs, struct list *durable);
/* Writes [mark, end) again and an OPEN record behind it; all durable on return. */
int wal_write_open(struct wal *w, const struct wal_found *found, struct err *reterr);
/* A MARK behind the last batch, if it has none; synced when asked. */
void wal_write_mark(struct wal *w, bool sync);
/* The records of a new log's first segment. */
void wal_write_first(struct wal *w, uint64_t salt, struct strbuf *out);
size_t wal_req_bytes(const struct wal_append_req *req);
/* What the last bytes of a segment are kept free for: hard states, while the disk is full. */
uint64_t wal_segment_reserve(const struct wal_segment *s);

/* wal_keep.c */
/* One round of all that is due; no lock held. */
void wal_keep_step(struct wal *w);
/* Something is due. Without threads it is done at the end of wal_poll. Lock held. */
void wal_keep_ask(struct wal *w);
/* What recovery found unused becomes spares; leftovers of preparation go. */
int wal_keep_adopt(struct wal *w, struct list *unused, struct err *reterr);
/* Segments of which nothing is needed leave the log, and the keeper is asked. Lock held. */
void wal_keep_drop_segments(struct wal *w);

/* wal_repair.c */
/* What an earlier wal_repair had no time to set aside. */
int wal_repair_adopt(struct wal *w, struct list *unused, struct err *reterr);

/* wal_thread.c */
void wal_threads_start(struct wal *w);
/* Finishes the batch being written; the queue stays as it is. */
void wal_threads_stop(struct wal *w);
/* Waits until the next segment is ready: 0, -ENOSPC, -ECANCELED when stopping. */
int wal_await_next(struct wal *w);
/* Without threads: writes what is queued. */
void wal_write_queued(struct wal *w);
void wal_thread_run(pthread_t *ret, void *(*run)(void *), void *data);

/* snap_writer.c */
/* Steps, callbacks and joins that are due; in the loop's thread, no lock held. */
void snap_writer_poll(struct wal *w);
/* Gives up all writers and waits for their threads. */
void snap_writer_close_all(struct wal *w);

_noreturn_ void wal_fatal(struct wal *w, uint64_t seq, const char *step, int rc);

#endif
