/* Errors. 0 is done; negative is -errno or one of the DECREE_E codes below: something is wrong and
 * goes up unchanged; positive is a named outcome of the module that was called. */
#ifndef DECREE_BASE_ERR_H
#define DECREE_BASE_ERR_H

#include "macros.h"

/* name, text as etcd says it (contracts/etcd-v3.md §8; clients map it byte for byte), gRPC status.
 * The HTTP status follows from the gRPC status (err_http_status). */
#define DECREE_ERRORS(X)                                                                           \
    X(EMPTY_KEY, "etcdserver: key is not provided", 3)                                             \
    X(KEY_NOT_FOUND, "etcdserver: key not found", 3)                                               \
    X(VALUE_PROVIDED, "etcdserver: value is provided", 3)                                          \
    X(LEASE_PROVIDED, "etcdserver: lease is provided", 3)                                          \
    X(TOO_MANY_OPS, "etcdserver: too many operations in txn request", 3)                           \
    X(DUPLICATE_KEY, "etcdserver: duplicate key given in txn request", 3)                          \
    X(INVALID_SORT, "etcdserver: invalid sort option", 3)                                          \
    X(TOO_LARGE, "etcdserver: request is too large", 3)                                            \
    X(BAD_PEER_URLS, "etcdserver: given member URLs are invalid", 3)                               \
    X(COMPACTED, "etcdserver: mvcc: required revision has been compacted", 11)                     \
    X(FUTURE_REV, "etcdserver: mvcc: required revision is a future revision", 11)                  \
    X(LEASE_TTL_TOO_LARGE, "etcdserver: too large lease TTL", 11)                                  \
    X(NO_SPACE, "etcdserver: mvcc: database space exceeded", 8)                                    \
    X(TOO_MANY_REQUESTS, "etcdserver: too many requests", 8)                                       \
    X(LEASE_NOT_FOUND, "etcdserver: requested lease not found", 5)                                 \
    X(MEMBER_NOT_FOUND, "etcdserver: member not found", 5)                                         \
    X(PEER_URL_EXISTS, "etcdserver: Peer URLs already exists", 9)                                  \
    X(NOT_ENOUGH_STARTED, "etcdserver: re-configuration failed due to not enough started members", \
        9)                                                                                         \
    X(NOT_LEARNER, "etcdserver: can only promote a learner member", 9)                             \
    X(LEARNER_NOT_READY,                                                                           \
        "etcdserver: can only promote a learner member which is in sync with leader", 9)           \
    X(TOO_MANY_LEARNERS, "etcdserver: too many learner members in cluster", 9)                     \
    X(BAD_TRANSFEREE, "etcdserver: bad leader transferee", 9)                                      \
    X(LEASE_EXISTS, "etcdserver: lease already exists", 9)                                         \
    X(NOT_LEADER, "etcdserver: not leader", 9)                                                     \
    X(NOT_CAPABLE, "etcdserver: not capable", 9)                                                   \
    X(LEARNER, "etcdserver: rpc not supported for learner", 9)                                     \
    X(UNHEALTHY, "etcdserver: unhealthy cluster", 14)                                              \
    X(NO_LEADER, "etcdserver: no leader", 14)                                                      \
    X(LEADER_CHANGED, "etcdserver: leader changed", 14)                                            \
    X(STOPPED, "etcdserver: server stopped", 14)                                                   \
    X(TIMEOUT, "etcdserver: request timed out", 14)                                                \
    X(TIMEOUT_LEADER_FAIL,                                                                         \
        "etcdserver: request timed out, possibly due to previous leader failure", 14)              \
    X(TIMEOUT_CONNECTION, "etcdserver: request timed out, possibly due to connection lost", 14)    \
    X(TIMEOUT_APPLIED,                                                                             \
        "etcdserver: request timed out, waiting for the applied index took too long", 14)          \
    X(TIMEOUT_TRANSFER, "etcdserver: request timed out, leader transfer took too long", 14)        \
    X(CORRUPT_CLUSTER, "etcdserver: corrupt cluster", 15)                                          \
    X(UNIMPLEMENTED, "not implemented", 12)                                                        \
    X(BAD_REQUEST, "malformed request", 3)                                                         \
    X(CANCELED, "context canceled", 1)                                                             \
    X(DEADLINE, "context deadline exceeded", 4)                                                    \
    X(CORRUPT, "data on disk is damaged", 15)                                                      \
    X(INVALID_CONFIG, "invalid configuration", 3)                                                  \
    X(REPLY_DROPPED, "etcdserver: no room for the reply, the request may have been applied", 14)

/* Codes start beyond every errno. */
enum decree_error {
    DECREE_E_FIRST_ = 1000,
#define X(name, text, grpc) DECREE_E_##name##_,
    DECREE_ERRORS(X)
#undef X
        DECREE_E_END_
};

enum {
#define X(name, text, grpc) DECREE_E##name = -DECREE_E_##name##_,
    DECREE_ERRORS(X)
#undef X
};

/* The text of a negative code; strerror's for -errno. Static, never NULL. */
const char *err_text(int code);
/* The name of a code for logs: "NO_SPACE", "EIO". */
const char *err_name(int code);
/* gRPC status number; 13 (internal) for -errno and 0 for 0. */
int err_grpc_status(int code);
/* HTTP status of a gRPC status (contracts/etcd-v3.md §9). */
int err_http_status(int grpc_status);

/* An error with its context for the person who must act. Initialise with {0}; a function that takes
 * one as `reterr` accepts NULL and fills it only when it fails. */
struct err {
    int code;
    char *text; /* owned; NULL while there is no error */
};

/* Fills e (if not NULL) and returns code, so that `return err_set(e, -EINVAL, "…")` works. */
_printf_(3, 4) int err_set(struct err *e, int code, const char *fmt, ...);
/* Puts "context: " in front of the text that is there. Returns e's code. */
_printf_(2, 3) int err_prefix(struct err *e, const char *fmt, ...);
void err_clear(struct err *e);
#define _cleanup_err_ _cleanup_(err_clear)

#endif
