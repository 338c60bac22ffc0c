/* The keyspace: every key at every kept revision, leases, history and watchers, in memory.
 *
 * Pure: no clock (time comes in as milliseconds), no random, no I/O. The state after a sequence of
 * writes is a function of that sequence alone, the same on every member. One thread.
 * Semantics: contracts/etcd-v3.md §3 to §5; sources of the model are there. */
#ifndef DECREE_STORE_MVCC_MVCC_H
#define DECREE_STORE_MVCC_MVCC_H

#include "buf.h"
#include "err.h"
#include "request.h"
#include "watch.h"

struct mvcc;

struct mvcc *mvcc_new(void);
struct mvcc *mvcc_free(struct mvcc *m);

/* The newest revision (1 when nothing was ever written) and the newest compacted one (0 = none). */
int64_t mvcc_revision(const struct mvcc *m);
int64_t mvcc_compacted(const struct mvcc *m);
/* Bytes that keys, values and their bookkeeping take, history included / live keys only. */
uint64_t mvcc_bytes(const struct mvcc *m);
uint64_t mvcc_live_bytes(const struct mvcc *m);
uint64_t mvcc_keys(const struct mvcc *m);

/* ---- reads and writes ----
 * Requests have passed their *_request_check. Arrays of a reply come from `arena`; keys and values
 * in it point into the keyspace and stay valid until the next mvcc_compact_step. A negative return
 * is an answer to the client (DECREE_EFUTURE_REV, _COMPACTED, _LEASE_NOT_FOUND, _KEY_NOT_FOUND) and
 * nothing was changed: all that can fail is looked up before the first write. When the arena's
 * ceiling is passed: DECREE_ETOO_LARGE. (Writes must be given an arena without a ceiling: what a
 * member's memory allows is no function of the log.) */

int mvcc_range(const struct mvcc *m, const struct range_request *r, struct arena *arena,
    struct range_reply *ret);
int mvcc_put(
    struct mvcc *m, const struct put_request *r, struct arena *arena, struct put_reply *ret);
int mvcc_delete(
    struct mvcc *m, const struct delete_request *r, struct arena *arena, struct delete_reply *ret);
/* Also serves a read-only txn. The header of a nested txn's reply has no revision, as etcd's. */
int mvcc_txn(
    struct mvcc *m, const struct txn_request *r, struct arena *arena, struct txn_reply *ret);

/* ---- what may be large ----
 * A delete, a txn and the end of a lease may touch any number of keys; the functions above, and
 * mvcc_lease_revoke, do them in one go. In steps, the keyspace stands between two states from the
 * opening to the step that does not return 1. Meanwhile it has revisions and counts, watchers come
 * and go, leases are renewed, snapshots and hashers are opened and read; nothing else of it may be
 * used, and when the work is given up after its first change it is only good for mvcc_watch_move
 * and mvcc_free. */
struct mvcc_work;
struct mvcc_answer {
    bool unwanted; /* nobody waits for it: what is only read is left out of the reply */
    /* Gets the keys and values of those replies that are too many for the `own` that the whole
     * reply may have of its own; valid during the callback. NULL: the reply has them all. */
    void (*part)(void *data, const struct store_part *part);
    void *data;
    size_t own;
};
/* Request and reply are borrowed until the end; the reply is set when 0 is returned by a step. */
struct mvcc_work *mvcc_work_delete(struct mvcc *m, const struct delete_request *r,
    struct arena *arena, const struct mvcc_answer *answer, struct delete_reply *ret);
struct mvcc_work *mvcc_work_txn(struct mvcc *m, const struct txn_request *t, struct arena *arena,
    const struct mvcc_answer *answer, struct txn_reply *ret);
struct mvcc_work *mvcc_work_revoke(struct mvcc *m, int64_t id, bool expired);
/* Looks at, compares, reads or deletes about *steps keys, and takes off what it did: 1 while there
 * is more to do, 0 when it is done, or the code of the function above. *steps is at least 1. */
int mvcc_work_step(struct mvcc_work *w, size_t *steps);
struct mvcc_work *mvcc_work_close(struct mvcc_work *w);

/* ---- large reads ----
 * A range as of one revision, in slices between which writes and compaction go on. */
struct mvcc_reader;
/* The request's bytes are borrowed until the reader is closed. The codes of mvcc_range. */
int mvcc_reader_open(struct mvcc *m, const struct range_request *r, struct mvcc_reader **ret);
/* Looks at no more than `keys` keys, and stops when about `bytes` of keys and values have been
 * found. What was found is in kvs, which has room for `keys`, and in ret, whose count and `more`
 * are those of the whole reply once false is returned: that was the last slice. */
bool mvcc_reader_next(
    struct mvcc_reader *x, size_t keys, size_t bytes, struct kv *kvs, struct range_reply *ret);
/* Before the keyspace is freed. */
struct mvcc_reader *mvcc_reader_close(struct mvcc_reader *x);

/* ---- compaction ---- */

/* From now on revisions below `revision` cannot be read. DECREE_ECOMPACTED, DECREE_EFUTURE_REV. */
int mvcc_compact(struct mvcc *m, int64_t revision);
/* Frees what compaction made unreachable, at most about `records` of them; true while more is left.
 * Waits (returns false) while a snapshot or, as of an older revision, a range is being read. What
 * synced watchers have not been told yet stays until the next mvcc_watch_deliver. */
bool mvcc_compact_step(struct mvcc *m, size_t records);
/* The revision up to which memory has been given back. */
int64_t mvcc_compact_done(const struct mvcc *m);

/* ---- leases ----
 * Grant, revoke and attachment are log entries; deadlines are this member's own memory and count
 * only while it leads. now_ms is any clock that never goes back. */

#define LEASE_TTL_MAX_S INT64_C(9000000000) /* etcd's own bound, seconds */

/* DECREE_ELEASE_EXISTS, DECREE_ELEASE_TTL_TOO_LARGE. id must not be 0; ttl is stored as given. */
int mvcc_lease_grant(struct mvcc *m, int64_t id, int64_t ttl_s, uint64_t now_ms);
/* Deletes its keys in order in one revision (none when it has none). expired says why, for the
 * history. DECREE_ELEASE_NOT_FOUND. */
int mvcc_lease_revoke(struct mvcc *m, int64_t id, bool expired);
/* Leader only: its deadline has passed and it is still there. It may be revoked any moment, or be
 * given its time again by this leader or the next one: nobody can say yet. */
bool mvcc_lease_is_due(const struct mvcc *m, int64_t id, uint64_t now_ms);
/* Leader only: a full TTL from now. 0 with *ret_ttl; DECREE_ELEASE_NOT_FOUND, also of
 * one that is due; DECREE_ENOT_LEADER after mvcc_lease_demote. */
int mvcc_lease_renew(struct mvcc *m, int64_t id, uint64_t now_ms, int64_t *ret_ttl);
/* DECREE_ELEASE_NOT_FOUND; keys sorted, in arena. ttl is what is left, truncated to seconds, or
 * granted when this member does not lead. */
int mvcc_lease_info(const struct mvcc *m, int64_t id, uint64_t now_ms, bool keys,
    struct arena *arena, struct lease_reply *ret);
/* In ascending order. 0 or DECREE_ETOO_LARGE. */
int mvcc_lease_list(const struct mvcc *m, struct arena *arena, struct lease_list_reply *ret);
uint64_t mvcc_lease_count(const struct mvcc *m);

/* This member leads from now on: every lease gets its full TTL plus extend_ms; deadlines that pile
 * up are spread so that at most about 750 fall into one second. */
void mvcc_lease_promote(struct mvcc *m, uint64_t now_ms, uint64_t extend_ms);
/* It does not lead any more: nothing expires here. */
void mvcc_lease_demote(struct mvcc *m);
/* Writes up to max ids whose deadline has passed to ids and returns how many. The same ids come
 * again after retry_ms unless they were revoked or renewed meanwhile. Cheap when there are none. */
size_t mvcc_lease_expired(
    struct mvcc *m, uint64_t now_ms, uint64_t retry_ms, int64_t *ids, size_t max);
/* The next moment at which something may expire; UINT64_MAX for never. */
uint64_t mvcc_lease_next_ms(const struct mvcc *m);

/* ---- history and watchers ---- */

/* start_revision beyond now: nothing older is delivered, not even progress. Never fails. */
void mvcc_watch_add(struct mvcc *m, struct watcher *w);
/* Idempotent. May be called from inside ops. */
void mvcc_watch_remove(struct mvcc *m, struct watcher *w);
/* The consumer has room again: it catches up in the deliveries from now on. */
void mvcc_watch_resume(struct mvcc *m, struct watcher *w);
/* Has everything up to mvcc_revision been delivered to it? (progress may be sent) */
bool mvcc_watch_is_synced(const struct mvcc *m, const struct watcher *w);
/* Delivers what happened since the last call to synced watchers, then lets the others catch up from
 * history for about `events` events. True while some are still behind: call again next turn. */
bool mvcc_watch_deliver(struct mvcc *m, size_t events);
uint64_t mvcc_watch_count(const struct mvcc *m);
uint64_t mvcc_watch_slow_count(const struct mvcc *m); /* catching up or full */

/* ---- snapshots ---- */

/* Reads everything kept (history included) at the current revision, piece by piece, while writes go
 * on. At most one at a time per reader object; several may be open. */
struct mvcc_snapshot;
struct mvcc_snapshot *mvcc_snapshot_open(struct mvcc *m);
int64_t mvcc_snapshot_revision(const struct mvcc_snapshot *s);
/* Appends about `bytes` to out, or fewer when much had to be passed over. Returns false when there
 * was nothing left to append; the last piece comes with true. */
bool mvcc_snapshot_next(struct mvcc_snapshot *s, size_t bytes, struct strbuf *out);
/* What will have been written in all, roughly: for progress bars. */
uint64_t mvcc_snapshot_size(const struct mvcc_snapshot *s);
struct mvcc_snapshot *mvcc_snapshot_close(struct mvcc_snapshot *s);

/* The way back: feed every piece in order, then finish. Untrusted bytes: DECREE_ECORRUPT says what
 * is wrong. finish yields the keyspace (the caller's), without watchers; leases are demoted. */
struct mvcc_loader;
struct mvcc_loader *mvcc_loader_new(void);
int mvcc_loader_feed(struct mvcc_loader *l, struct bytes piece, struct err *reterr);
int mvcc_loader_finish(struct mvcc_loader *l, struct mvcc **ret, struct err *reterr);
struct mvcc_loader *mvcc_loader_free(struct mvcc_loader *l);
/* Moves all watchers of from into to (a snapshot was installed): those that are behind what `to`
 * has kept end as compacted; nobody goes back in time. */
void mvcc_watch_move(struct mvcc *from, struct mvcc *to);

/* ---- hashes ---- */

/* KEYS: every version of every key that is kept, as of a revision: equal on members that have
 * reached it and are compacted at the same one, however they came there. ALL: the keyspace as it
 * is, leases as well: equal on members with equal applied index. */
enum mvcc_hash_of { MVCC_HASH_KEYS, MVCC_HASH_ALL };

/* Computed in slices while writes go on; nothing is freed meanwhile. revision 0, and always with
 * ALL: the current one. DECREE_EFUTURE_REV, DECREE_ECOMPACTED. */
struct mvcc_hasher;
int mvcc_hasher_open(
    struct mvcc *m, enum mvcc_hash_of of, int64_t revision, struct mvcc_hasher **ret);
/* Takes in at least one and at most about `bytes` bytes; true while more is left. */
bool mvcc_hasher_step(struct mvcc_hasher *h, size_t bytes);
int64_t mvcc_hasher_revision(const struct mvcc_hasher *h);
int64_t mvcc_hasher_compacted(const struct mvcc_hasher *h); /* as it was at the opening */
/* After the last step. */
uint64_t mvcc_hasher_value(const struct mvcc_hasher *h);
/* What etcd's 32-bit fields take of it. */
static inline uint32_t mvcc_hash_short(uint64_t value)
{
    return (uint32_t)(value ^ value >> 32);
}
struct mvcc_hasher *mvcc_hasher_close(struct mvcc_hasher *h);

/* MVCC_HASH_ALL at once. */
uint64_t mvcc_hash(const struct mvcc *m);

/* ---- after a restore ---- */

/* Moves the revision on by `by` and compacts there, so that whoever saw a later state than this one
 * learns that it must read again instead of waiting for revisions that will be others. Frees what
 * is not kept any more. DECREE_EFUTURE_REV when revisions would run out. */
int mvcc_advance(struct mvcc *m, int64_t by);

#endif
