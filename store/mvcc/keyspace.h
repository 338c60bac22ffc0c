/* What the files of the keyspace share: its state, and the calls they make of each other. */
#ifndef DECREE_STORE_MVCC_KEYSPACE_H
#define DECREE_STORE_MVCC_KEYSPACE_H

#include "history.h"
#include "index.h"
#include "lease.h"
#include "mvcc.h"
#include "watch_hub.h"

struct mvcc {
    int64_t revision;
    int64_t compacted;
    struct index index;
    /* Every change from revision `compacted` on; while memory is being given back a little more at
     * the front. A version is freed only after the history has let go of it. */
    struct history history;
    uint64_t compact_next; /* history number up to which compaction has come */
    uint64_t bytes;        /* of all versions */
    uint64_t live_bytes;   /* of the newest versions of live keys */
    size_t snapshots;      /* open ones: nothing is freed while there are any */
    struct list readers;   /* struct mvcc_reader: what they read is not freed */
    struct lease_table leases;
    struct watch_hub hub;
    bool delivering; /* inside mvcc_watch_deliver: callbacks may not write */
    bool working;    /* a mvcc_work is under way: between two states */
};

/* Of a revision or a version: nobody has counted so far, and counting on cannot overflow. */
#define MVCC_REVISION_MAX (INT64_MAX / 2)

/* The bookkeeping of a version besides its own allocation: its places in index and history. */
enum { VERSION_OVERHEAD = 24 };

static inline uint64_t version_cost(const struct version *v)
{
    return version_size(v) + VERSION_OVERHEAD;
}

/* ---- write.c: changes of one revision ---- */

struct write {
    struct mvcc *m;
    int64_t revision; /* of its changes */
    uint32_t changes;
    bool in_txn;
};

struct write write_begin(struct mvcc *m, bool in_txn);
/* The revision moves if anything was changed. */
void write_end(struct write *w);
/* What a read inside the write calls the current revision. */
static inline int64_t write_revision(const struct write *w)
{
    return w->changes != 0 ? w->revision : w->m->revision;
}
/* Looks up what can fail; nothing is changed. */
int write_check_lease(const struct mvcc *m, int64_t lease);
int write_check_ignored(const struct mvcc *m, const struct put_request *r);
/* The request has been checked with the above. */
void write_put(struct write *w, const struct put_request *r, struct put_reply *ret);
/* Deletes one live key. */
void write_delete_key(struct write *w, struct bytes key, enum mvcc_action action);

/* ---- range.c ---- */

int range_check_revision(const struct mvcc *m, int64_t revision);
/* revision_now: what counts as the current revision. Returns 0 or DECREE_ETOO_LARGE. */
int range_read(const struct mvcc *m, const struct range_request *r, int64_t revision_now,
    struct arena *arena, struct range_reply *ret);
/* The same in slices, for mvcc_reader_next. The keyspace must not change between them, but for its
 * compaction it is not known. */
struct mvcc_reader *range_open(
    const struct mvcc *m, const struct range_request *r, int64_t revision_now);
/* How many keys and values it will have, about: keys of older revisions are counted as of now. */
uint64_t range_expected(const struct mvcc *m, const struct range_request *r);
/* The oldest revision that is being read in slices; INT64_MAX when none is. */
int64_t range_readers_floor(const struct mvcc *m);

/* The newest version of a key that is alive, or NULL. */
static inline struct version *find_live(const struct mvcc *m, struct bytes key)
{
    struct version *v = index_find(&m->index, key);

    return v != NULL && !version_is_tombstone(v) ? v : NULL;
}

#endif
