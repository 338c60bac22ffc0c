/* What may touch any number of keys, done in steps (mvcc.h): a delete, a txn, the end of a lease.
 *
 *     delete   keys, some at a time, in their order
 *     revoke   GATHER the keys of the lease -> SORT -> DELETE
 *     txn      which branches, by their compares, and can any of it fail? -> running
 *
 * Nothing else changes the keyspace meanwhile, so that versions and cursors stay what they are
 * between two steps. A step has so much to spend: a key that is looked at, compared or deleted
 * costs one. */
#ifndef DECREE_STORE_MVCC_WORK_H
#define DECREE_STORE_MVCC_WORK_H

#include "keyspace.h"
#include "range_pick.h"

enum {
    /* What one part holds at most. */
    WORK_PART_KEYS = 1000,
    WORK_PART_BYTES = 512 << 10,
};

/* A delete that has begun. */
struct deletion {
    bool begun;
    const struct version *last; /* that was deleted; NULL: none yet */
    uint64_t left;
};

/* A txn, or one within another. */
struct txn_level {
    struct txn_level *up;
    const struct txn_request *request;
    struct txn_reply *reply;
    size_t compares; /* that hold */
    bool chosen;     /* reply->succeeded says which branch */
    size_t op;       /* of it, the next one */
};

struct txn_run {
    bool running;
    const struct txn_request *request;
    struct txn_reply *reply;
    struct txn_level *level;     /* innermost; in the arena; NULL: all done */
    struct index_cursor compare; /* a compare of a range: the next key … */
    uint64_t compare_left;       /* … of so many; 0 = none is under way */
    struct mvcc_reader *reader;  /* a range that is being read; NULL: none */
};

struct lease_end {
    enum { REVOKE_GATHER, REVOKE_SORT, REVOKE_DELETE } stage;
    struct lease *lease;
    bool expired;
    struct list *at; /* in the lease's keys, the next one to gather */
    struct range_pick pick;
    size_t deleted;
};

struct mvcc_work {
    struct mvcc *m;
    enum { WORK_DELETE, WORK_TXN, WORK_REVOKE } kind;
    struct arena *arena; /* the reply's */
    struct mvcc_answer answer;
    struct write write;
    size_t steps;    /* left */
    size_t own_left; /* of answer.own */
    size_t n_parted; /* replies that are in parts */
    uint64_t about;  /* keys and values that the reply will have */
    struct kv *kvs;  /* owned; of the part that is being put together; NULL until needed */
    struct deletion deletion;
    union {
        struct {
            const struct delete_request *request;
            struct delete_reply *reply;
        } del;
        struct txn_run txn;
        struct lease_end revoke;
    };
};

/* 1: the step is used up. 0: done. */
int work_delete(struct mvcc_work *w, const struct delete_request *r, struct delete_reply *ret);
/* As well, or a code; then nothing has been changed. */
int work_txn(struct mvcc_work *w);
int work_revoke(struct mvcc_work *w);

/* Memory for one part. */
struct kv *work_kvs(struct mvcc_work *w);
/* Has `n` more a place in the reply itself? Then it is taken. */
bool work_take_own(struct mvcc_work *w, size_t n);
/* Hands out what is in work_kvs, for the reply that was the newest to be in parts: a delete's
 * prevs, or what a range found. */
void work_give(struct mvcc_work *w, size_t n, bool prevs);

static inline void work_spend(struct mvcc_work *w, size_t steps)
{
    w->steps -= MIN(w->steps, steps);
}

#endif
