/* One call, over gRPC or JSON: bytes to message, message to store call, reply to bytes, and all the
 * ways in which that fails. Everything after the decoding is common to both forms. */
#ifndef DECREE_STORE_API_RPC_H
#define DECREE_STORE_API_RPC_H

#include "exchange.h"
#include "proto_write.h"

extern const struct service rpc_service;

/* Its connection has room again: goes on with a request that waited for it. */
void rpc_resume(struct exchange *ex);

/* In front of a gRPC message of that length. */
void rpc_put_prefix(struct pbw *w, size_t len);
/* Sends one response message; takes what is in w. A unary call is thereby answered. */
void rpc_send(struct exchange *ex, struct pbw *w);
/* A response message in pieces: its first bytes in w (taken), then `list` of them already encoded
 * as elements of one repeated field. In JSON, w's fields are followed by "name":[list]. */
void rpc_send_parts(
    struct exchange *ex, struct pbw *w, const char *name, struct buf *const *list, size_t n);

/* Ends the call. With gRPC status 0 a stream ends well; text is copied. After it only `gone`. */
void rpc_end(struct exchange *ex, int grpc_status, const char *text);
/* Ends it with one of our error codes. */
void rpc_fail(struct exchange *ex, int code);

/* The daemon stops: a watch or keepalive, which has no end of its own, is told so. */
void rpc_stop_stream(struct exchange *ex);
/* The streams that `hasleader` watches over are to be cut where they have waited too long. */
void rpc_check_leader(struct deadline *leader_check);

#endif
