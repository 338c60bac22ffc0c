/* What the two halves of a call share: rpc.c takes its messages in, rpc_reply.c sends and ends. */
#ifndef DECREE_STORE_API_RPC_REPLY_H
#define DECREE_STORE_API_RPC_REPLY_H

#include "exchange.h"

enum { RPC_PREFIX_BYTES = 5 /* of a gRPC message: compressed flag, length */ };

size_t rpc_method_index(const struct method *m);
/* Counts the end of a call and a message sent, for the metrics. */
void rpc_count_end(struct exchange *ex, int status);
void rpc_count_sent(struct exchange *ex, size_t bytes);
/* The call is with the store, or not any more. */
void rpc_set_calling(struct exchange *ex, bool calling);
/* Takes it back from everybody who works on it. */
void rpc_let_go(struct exchange *ex);

#endif
