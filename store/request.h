/* What can be asked of the store, and what it answers: the one vocabulary of all doors (gRPC, JSON,
 * v2), of the log and of the keyspace. Plain data: bytes are borrowed, arrays live in the arena of
 * the request or reply they belong to. Meanings: contracts/etcd-v3.md §3-§5. */
#ifndef DECREE_STORE_REQUEST_H
#define DECREE_STORE_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "bytes.h"

/* Limits of one request; each an error of its own long before memory matters. */
enum {
    REQUEST_BYTES_MAX = 1536 * 1024, /* of the encoded entry, etcd's default */
    TXN_OPS_MAX = 128,               /* per list; nested lists share what is left */
    TXN_DEPTH_MAX = 8,               /* nesting: etcd has no limit, ours guards the stack */
};

/* ---- keys ---- */

/* A set of keys, parsed once from (key, range_end) and the only thing that is matched, authorised
 * and walked afterwards. */
enum key_range_kind { KEY_SINGLE, KEY_INTERVAL, KEY_FROM };

struct key_range {
    enum key_range_kind kind;
    struct bytes start; /* first key */
    struct bytes end;   /* KEY_INTERVAL: first key beyond; may be <= start: an empty set */
};

/* (key, "") one key; (key, "\0") all >= key; else [key, range_end). key must not be empty here. */
struct key_range key_range_parse(struct bytes key, struct bytes range_end);
bool key_range_contains(const struct key_range *r, struct bytes key);
bool key_range_is_empty(const struct key_range *r);

/* One key with its value at one revision. Views into the keyspace: valid until the loop turn ends.
 */
struct kv {
    struct bytes key, value;
    int64_t create_revision, mod_revision, version, lease;
};

/* ---- requests ---- */

enum sort_order { SORT_NONE, SORT_ASCEND, SORT_DESCEND, SORT_ORDER_END };
enum sort_target { SORT_KEY, SORT_VERSION, SORT_CREATE, SORT_MOD, SORT_VALUE, SORT_TARGET_END };

struct range_request {
    struct bytes key, range_end;
    int64_t limit, revision;
    enum sort_order sort_order;
    enum sort_target sort_target;
    bool serializable, keys_only, count_only;
    int64_t min_mod_revision, max_mod_revision, min_create_revision, max_create_revision;
};

struct put_request {
    struct bytes key, value;
    int64_t lease;
    bool prev_kv, ignore_value, ignore_lease;
};

struct delete_request {
    struct bytes key, range_end;
    bool prev_kv;
};

enum compare_result { COMPARE_EQUAL, COMPARE_GREATER, COMPARE_LESS, COMPARE_NOT_EQUAL };
enum compare_target {
    COMPARE_VERSION,
    COMPARE_CREATE,
    COMPARE_MOD,
    COMPARE_VALUE,
    COMPARE_LEASE,
};

struct compare {
    enum compare_result result;
    enum compare_target target;
    struct bytes key, range_end;
    int64_t number;     /* every target but COMPARE_VALUE */
    struct bytes value; /* COMPARE_VALUE */
};

struct txn_op;

struct txn_request {
    struct compare *compares;
    size_t n_compares;
    struct txn_op *success;
    size_t n_success;
    struct txn_op *failure;
    size_t n_failure;
};

enum txn_op_kind { OP_NONE, OP_RANGE, OP_PUT, OP_DELETE, OP_TXN };

struct txn_op {
    enum txn_op_kind kind; /* OP_NONE: the client sent an op without a request */
    union {
        struct range_request range;
        struct put_request put;
        struct delete_request del;
        struct txn_request *txn;
    };
};

struct compact_request {
    int64_t revision;
    bool physical;
};

struct lease_grant_request {
    int64_t id;  /* 0: the store picks one before it proposes */
    int64_t ttl; /* seconds */
};

struct lease_id_request { /* revoke, keepalive */
    int64_t id;
};

struct lease_ttl_request {
    int64_t id;
    bool keys;
};

/* ---- replies ---- */

struct range_reply {
    struct kv *kvs; /* empty with count_only; keys_only leaves values empty */
    size_t n_kvs;
    bool more;
    bool in_parts; /* of a txn: kvs came before, in parts */
    int64_t count;
};

struct put_reply {
    bool has_prev;
    struct kv prev;
};

struct delete_reply {
    int64_t deleted;
    struct kv *prevs;
    size_t n_prevs;
    bool in_parts; /* prevs came before, in parts */
};

struct txn_op_reply;

struct txn_reply {
    bool succeeded;
    struct txn_op_reply *ops;
    size_t n_ops;
};

struct txn_op_reply {
    enum txn_op_kind kind;
    int64_t revision; /* header of the nested reply: the revision at that point of the txn */
    union {
        struct range_reply range;
        struct put_reply put;
        struct delete_reply del;
        struct txn_reply txn;
    };
};

struct lease_reply { /* grant, keepalive, ttl */
    int64_t id;
    int64_t ttl;     /* seconds left; keepalive of an unknown lease 0, ttl of an unknown one -1 */
    int64_t granted; /* ttl only */
    struct bytes *keys;
    size_t n_keys;
};

struct lease_list_reply {
    int64_t *ids;
    size_t n;
};

/* Keys and values of a reply that is handed out in parts, in the order in which it has them. Of a
 * range they come before the kvs of the reply itself, whose count and more hold for all. Of a
 * delete they are its prevs, of a txn the kvs or prevs of those of its replies that say in_parts,
 * which have none of their own then. */
struct store_part {
    const struct kv *kvs;
    size_t n;
    bool prevs;   /* of a delete, not of a range */
    size_t op;    /* txn: which of those that say in_parts, counted depth first; else 0 */
    size_t about; /* how many kvs all parts will have, as far as one can tell: never 0 */
};

/* ---- checks that need no keyspace ---- */

/* 0 or the DECREE_E code that etcd answers: empty key, sort option, value or lease given with
 * ignore_*, too many operations, duplicate key (with deletes and nesting), op without request. */
int range_request_check(const struct range_request *r);
int put_request_check(const struct put_request *r);
int delete_request_check(const struct delete_request *r);
int txn_request_check(const struct txn_request *t);
/* No op of either branch writes: such a txn skips the log. */
bool txn_request_is_readonly(const struct txn_request *t);
/* All its reads are serializable, in both branches. */
bool txn_request_is_serializable(const struct txn_request *t);

#endif
