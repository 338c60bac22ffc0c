/* A keyspace made of plain arrays, and a driver that does the same random things to it and to the
 * real one and stops at the first difference. What "random" is comes from outside: a seed for the
 * unit test, a file for the fuzzer. */
#ifndef DECREE_TESTS_MVCC_MODEL_H
#define DECREE_TESTS_MVCC_MODEL_H

#include "mvcc.h"

enum { MODEL_KEYS = 300, MODEL_LEASES = 8, MODEL_VALUES = 64 };

/* One change of one key; the first is changes[1]. */
struct model_change {
    int key; /* place in the order of keys */
    bool is_delete;
    enum mvcc_action action;
    int64_t revision, create, version, lease;
    int value;
    size_t prev; /* the change before of the same key, 0 = none */
};

struct model {
    int64_t revision, compacted;
    struct model_change *changes; /* owned; all there ever were, in order */
    size_t n, cap;
    size_t newest[MODEL_KEYS];    /* change, 0 = none */
    int64_t leases[MODEL_LEASES]; /* ttl, 0 = does not exist; the id is the place + 1 */
    int64_t pending;              /* revision of the write under way, 0 = none */
};

/* The keys, in order, and the values. */
struct bytes model_key(int i);
struct bytes model_value(int i);

void model_init(struct model *m);
void model_deinit(struct model *m);
/* The change that holds at a revision, NULL when the key is not alive then. 0 = now, with what the
 * write under way has done. */
const struct model_change *model_at(const struct model *m, int key, int64_t revision);

/* Each does to the model what the request does, and checks the reply and the error of the real one
 * against it. */
void model_check_range(
    struct model *m, const struct range_request *r, int err, const struct range_reply *reply);
/* A reply that was read in slices as of r->revision, which may have been compacted meanwhile. */
void model_check_slices(
    const struct model *m, const struct range_request *r, const struct range_reply *reply);
void model_check_put(
    struct model *m, const struct put_request *r, int err, const struct put_reply *reply);
void model_check_delete(
    struct model *m, const struct delete_request *r, const struct delete_reply *reply);
void model_check_txn(
    struct model *m, const struct txn_request *r, int err, const struct txn_reply *reply);
void model_revoke(struct model *m, int64_t id, bool expired);
void model_check_kv(const struct model_change *c, const struct kv *kv, bool keys_only);

/* Where the driver's choices come from: bytes first, then the generator if its seed is not 0. */
struct model_source {
    const uint8_t *p, *end;
    uint64_t rng;
};

/* Runs up to `steps` steps; fewer when the source has run dry. */
void model_drive(struct model_source *src, size_t steps);

#endif
