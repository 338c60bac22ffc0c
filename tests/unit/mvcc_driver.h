/* What the driver (mvcc_model.h) does to the keyspace and to the model, by kinds of steps. Each
 * step does the same to both and checks the outcome. */
#ifndef DECREE_TESTS_MVCC_DRIVER_H
#define DECREE_TESTS_MVCC_DRIVER_H

#include "alloc.h"
#include "mvcc_model.h"

enum { WATCHERS = 12, READINGS = 3, KNOWN_HASHES = 64 };

/* What the keys hashed to at a revision, compacted at another. */
struct known_hash {
    int64_t revision, compacted;
    uint64_t value;
};

/* A watcher and what it must be told next. Its owner frees it when it ends. */
struct probe {
    struct watcher w;
    struct driver *d;
    size_t next;   /* change: everything before has been told or was not wanted */
    int64_t start; /* it wants nothing older */
    bool active, full;
};

/* A range that is read in slices while other steps go on. */
struct reading {
    struct mvcc_reader *reader; /* NULL: none */
    struct range_request r;     /* its revision is the one that is read */
    struct arena arena;         /* of what has been read */
    struct kv kvs[MODEL_KEYS];
    size_t n;
};

struct driver {
    struct model_source *src;
    struct model model;
    struct mvcc *m;
    struct arena arena;
    struct probe probes[WATCHERS];
    struct reading readings[READINGS];
    struct mvcc_snapshot *snapshot;
    struct strbuf piece_log; /* all pieces of the open snapshot */
    uint64_t snapshot_hash;
    bool compacted_since; /* so that the hash of the opening cannot be asked for any more */
    struct mvcc_hasher *hasher;
    struct known_hash expected; /* of the open hasher */
    struct known_hash hashes[KNOWN_HASHES];
    uint64_t now_ms;
};

/* ---- mvcc_driver_choice.c; whatever has a length lies in d->arena ---- */

uint32_t driver_pick(struct driver *d, uint32_t n); /* below n */
bool driver_chance(struct driver *d, uint32_t one_in);
struct bytes driver_any_key(struct driver *d);
struct bytes driver_any_end(struct driver *d);
/* Around what may be read: 0, from one below the compacted one to one beyond now. */
int64_t driver_any_revision(struct driver *d);
struct range_request driver_any_range(struct driver *d);
struct put_request driver_any_put(struct driver *d);
struct delete_request driver_any_delete(struct driver *d);
/* depth is 1 for one that is in no other. */
struct txn_request *driver_any_txn(struct driver *d, int depth);

/* ---- mvcc_driver_request.c ---- */

void driver_range(struct driver *d);
void driver_put(struct driver *d);
void driver_delete(struct driver *d);
void driver_txn(struct driver *d);
void driver_compact(struct driver *d);
/* Begins a range that is read in slices, or reads one on. */
void driver_slice(struct driver *d);
/* Their keyspace goes away. */
void driver_end_readings(struct driver *d);
void driver_lease(struct driver *d);
void driver_expire(struct driver *d);
void driver_check_lease(struct driver *d, int64_t id);

/* ---- mvcc_driver_watch.c ---- */

void driver_watch(struct driver *d);
void driver_deliver(struct driver *d);
void driver_remove_probe(struct driver *d, struct probe *p);

/* ---- mvcc_driver_state.c ---- */

/* The loaded keyspace takes the place of the old one, if that is where the model is. */
void driver_snapshot(struct driver *d);
void driver_close_snapshot(struct driver *d);
void driver_hash(struct driver *d);
void driver_close_hasher(struct driver *d);

#endif
