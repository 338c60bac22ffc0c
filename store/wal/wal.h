/* The log on disk and the snapshot files beside it (contracts/reliability.md, F1-F16, R24-R30).
 *
 * A data directory holds, all of it 0700 and locked by one process:
 *     LOCK                          who has it open
 *     wal/SEQ.seg                   64 MiB segments, preallocated, reused; SEQ ascends
 *     snap/TERM-INDEX.snap          whole snapshots, current by verified rename; *.part is never
 * read
 *
 * Records: a header with a checksum of its own, a body with a second one, both bound to segment and
 * offset; every record states up to where the log was durable when it was written. Damage beyond
 * that mark is a torn write of something never acknowledged and is cut off; damage before it is
 * corruption: DECREE_ECORRUPT, naming file and offset, and nothing is changed. A member that has
 * others may go on with what is whole, marked as under repair (wal_repair).
 *
 * One write and one fdatasync a batch in the log's own thread; batches queued meanwhile are merged
 * into the next write. An error of write or fdatasync stops the process (decree_fatal): it is never
 * retried, since the kernel may have dropped the pages. The disk stands behind `struct wal_disk`,
 * so that tests and the simulator put their own there. */
#ifndef DECREE_STORE_WAL_WAL_H
#define DECREE_STORE_WAL_WAL_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "err.h"
#include "list.h"

struct wal;
struct wal_disk; /* wal_disk.h: the operations on files that the log needs; NULL = the real one */

/* The identity bound into a data directory when it is made; never changes afterwards. */
struct wal_identity {
    uint64_t cluster_id;
    uint64_t member_id;
};

struct wal_options {
    const char *dir;      /* made (0700) when missing; an existing one must not be open to others */
    size_t segment_bytes; /* 0 = 64 MiB; at least 16 KiB. The first ones are smaller: 1 MiB, 2, … */
    /* Called in the log's thread when completions wait for wal_poll; must only wake the loop
     * (uv_async_send). NULL = no thread: wal_poll itself does the writing (tests, simulator). */
    void (*wake)(void *data);
    void *wake_data;
    struct wal_disk *disk; /* NULL = the real one; else borrowed until wal_close */
    bool salvage;          /* damage is no error: see wal_recovery.damage */
};

struct wal_entry {
    uint64_t index, term;
    uint8_t type;
    struct buf *payload; /* one reference held by the holder of the entry */
};

struct wal_snapshot_id {
    uint64_t index, term;
};

/* What was found. Owned by the caller; entries hold references. */
struct wal_recovery {
    bool is_new; /* nothing was there: call wal_create before anything else */
    struct wal_identity identity;
    uint64_t term, vote;
    bool has_snapshot; /* newest whole one; read it with snap_reader_open */
    struct wal_snapshot_id snapshot;
    struct wal_entry *entries; /* those after the snapshot, without a gap */
    size_t n_entries;
    uint64_t torn_bytes; /* cut off at the tail, 0 usually; worth a log line */
    bool repairing;      /* the log says that it is under repair */
    /* With wal_options.salvage: what is damaged and where. Then the rest is what could be saved:
     * the newest term any record speaks of, the newest whole snapshot, the entries that go on from
     * it up to the damage. Nothing was changed: call wal_repair before anything else, or close. */
    char *damage;
    char *passed_over; /* a newer snapshot that is damaged and why; NULL usually; worth a warning */
    struct wal_snapshot_id passed_over_id; /* the newest of them */
};
void wal_recovery_deinit(struct wal_recovery *r);

/* Opens dir and reads everything. Errors: -EBUSY in use by another process, -EACCES open to or
 * owned by others, -ENOTSUP written by a newer version, DECREE_ECORRUPT, -errno; reterr says file,
 * offset and what to do. What was recovered is durable on return. */
int wal_open(const struct wal_options *options, struct wal **ret, struct wal_recovery *ret_recovery,
    struct err *reterr);
/* Stamps a new directory with its identity, durably. Once, when recovery said is_new. */
int wal_create(struct wal *w, struct wal_identity identity, struct err *reterr);
/* After an open that met damage: begins a new log with what was saved, durably marked as under
 * repair until a hard state says otherwise. What is damaged is kept beside it under names that end
 * in .damaged, the newest few of them. A crash at any moment leaves the old log or the new one. */
int wal_repair(struct wal *w, const struct wal_recovery *saved, struct err *reterr);
/* Waits for the batch being written, drops what is queued (their callbacks run with -ECANCELED),
 * unlocks, frees. NULL is accepted. */
struct wal *wal_close(struct wal *w);

struct wal_append_req;
typedef void (*wal_append_cb)(struct wal_append_req *req, int status);

/* A batch to make durable. Embedded by the caller, who keeps it, the entry array and a reference on
 * every payload alive and unchanged until cb. */
struct wal_append_req {
    bool has_hard;
    uint64_t term, vote;             /* with has_hard: one record … */
    bool repairing;                  /* … and this in it as well */
    const struct wal_entry *entries; /* replace everything at and after the first one's index */
    size_t n_entries;
    wal_append_cb cb; /* runs in wal_poll, in the order of the appends, status 0 or -ECANCELED */
    void *data;
    struct list queue_; /* the log's own, as is is_reset_ */
    bool is_reset_;
};

enum { WAL_FULL = 1 };

/* Queues a batch. cb runs once, later, never inside this call. Returns 0, or WAL_FULL when the
 * disk has no room for it in reserve (nothing taken; F10: refuse proposals, serve reads, go on when
 * wal_has_room says so). A batch that holds only a hard state is always taken; the segment has room
 * for some thousand of them behind the last entry (64 KiB of the first, small one). Entries
 * accepted while nothing was known of a full disk wait for room and complete when there is some. */
int wal_append(struct wal *w, struct wal_append_req *req);
/* Room for a batch of n_entries whose payloads have that many bytes together, and a hard state with
 * them; the header and padding of each record are counted in. True: wal_append takes such a batch,
 * if it is the next one. While false, the log retries to reserve a segment each time it is asked
 * (at most once a second). */
bool wal_has_room_for(struct wal *w, size_t n_entries, size_t bytes);
/* The same for one entry. */
bool wal_has_room(struct wal *w, size_t bytes);
/* Runs the callbacks of finished batches, in the loop's thread. */
void wal_poll(struct wal *w);

/* A snapshot at that place is durable (its writer's callback said so, or recovery): entries below
 * keep_from (<= index + 1) are not needed any more; segments wholly below are kept for reuse, older
 * snapshots are removed but for one. The log still reaches back to that one, so that it can stand
 * in when the newest turns out damaged (F14). */
void wal_compact(struct wal *w, struct wal_snapshot_id snapshot, uint64_t keep_from);
/* A received snapshot, its writer finished, replaces the log: everything before and after is
 * forgotten, the next entry is index + 1. Ordered after all earlier appends, durable with the next
 * batch: a crash before that finds the snapshot file, which is newer than the log, and does the
 * same. */
void wal_reset(struct wal *w, struct wal_snapshot_id snapshot);

struct wal_stats {
    uint64_t batches, bytes, fsyncs;
    uint64_t fsync_ns_total, fsync_ns_max; /* of the last fsyncs since the log was opened */
    uint64_t fsync_bucket[16]; /* fsyncs that took <= 0.001 * 2^i s; cumulative like Prometheus */
    uint64_t disk_bytes;       /* segments and snapshots on disk */
};
void wal_stats(struct wal *w, struct wal_stats *ret);

/* ---- snapshot files ---- */

/* Writes one snapshot beside the log in a thread of its own, in order, with at most a window of
 * bytes waiting. */
struct snap_writer;
typedef void (*snap_writer_cb)(void *data, int status, const char *text);

/* header is the caller's own (configuration, revision); copied. -EEXIST when a writer is open
 * already: one at a time (F17). */
int snap_writer_open(struct wal *w, struct wal_snapshot_id id, struct bytes header,
    struct snap_writer **ret, struct err *reterr);
/* Queues one piece of the body, at most 64 MiB; takes its own reference. Empty ones are skipped. */
void snap_writer_write(struct snap_writer *s, struct buf *piece);
/* Bytes queued and not yet written: a producer stops at SNAP_WINDOW_BYTES and goes on when the
 * writer has drained (wal_poll runs `drained`, if set). */
enum { SNAP_WINDOW_BYTES = 4 << 20 };
size_t snap_writer_queued(const struct snap_writer *s);
void snap_writer_on_drain(struct snap_writer *s, void (*drained)(void *data), void *data);
/* No more pieces: sync, read back and verify the digest, rename, sync the folder. cb runs once, in
 * wal_poll; s is freed after it. On failure (-ENOSPC, -EIO …) the part file is gone, older
 * snapshots and the log are untouched, and text says why. */
void snap_writer_finish(struct snap_writer *s, snap_writer_cb cb, void *data);
/* Gives up; the part file goes. Not after finish. s must not be used afterwards; no callback runs.
 * wal_close does the same to a writer that is still open. */
void snap_writer_abort(struct snap_writer *s);

/* Reads a snapshot piece by piece, each with its checksum proved. */
struct snap_reader;
int snap_reader_open(struct wal *w, struct wal_snapshot_id id, struct snap_reader **ret,
    struct bytes *ret_header, struct err *reterr);
/* The next piece as it was written (sizes kept), valid until the next call; len 0 at the end, when
 * the digest of the whole has been proved too. DECREE_ECORRUPT names file and offset. */
int snap_reader_next(struct snap_reader *s, struct bytes *ret, struct err *reterr);
struct snap_reader *snap_reader_close(struct snap_reader *s);

#endif
