/* Reads the whole log of a data directory and judges it. Changes nothing on disk. */
#ifndef DECREE_STORE_WAL_WAL_RECOVER_H
#define DECREE_STORE_WAL_WAL_RECOVER_H

#include "wal.h"
#include "wal_disk.h"
#include "wal_segment.h"

/* Where the log goes on. */
struct wal_end {
    uint64_t at;    /* in the last segment */
    uint64_t mark;  /* proven durable up to here; [mark, at) was read but may be in caches only */
    uint32_t epoch; /* greatest seen anywhere */
    uint64_t last_index, last_term;
    bool must_reset; /* the snapshot is not on the log's line: begin with a RESET to it */
};

struct wal_found {
    struct list segments; /* struct wal_segment, ascending, the last one open; empty = new */
    struct list unused;   /* prepared, never begun, or cut off from the log: to become spares */
    struct wal_end end;
};
void wal_found_init(struct wal_found *f);
void wal_found_deinit(struct wal_found *f);

/* What wal_repair needs to know of a damaged log. */
struct wal_salvage {
    struct list segments; /* struct wal_segment without files: all there are, ascending */
    uint64_t bad_seq;     /* the first one that is damaged, or cannot be used without one */
    uint32_t epoch;       /* greatest seen anywhere */
};

/* has_snapshot and snapshot of rec are set before; the rest is filled. DECREE_ECORRUPT, -ENOTSUP,
 * -errno. On failure f and rec may be half filled; the caller deinits both. With salvage (its list
 * empty), damage is no failure: rec->damage is set, and rec holds what is whole. */
int wal_recover(struct wal_disk *d, struct wal_found *f, struct wal_recovery *rec,
    struct wal_salvage *salvage, struct err *reterr);
/* Can a log be begun anew from that? It cannot without an identity. snaps: struct snap_file, all;
 * a term in a name counts. */
int wal_salvage_check(struct list *snaps, struct wal_recovery *rec, struct err *reterr);

#endif
