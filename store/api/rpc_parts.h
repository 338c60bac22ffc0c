/* A reply that the store hands out in parts (store.h): each is encoded as it comes, in segments,
 * and only the last one is waited for, since a message begins with its length. */
#ifndef DECREE_STORE_API_RPC_PARTS_H
#define DECREE_STORE_API_RPC_PARTS_H

#include "exchange.h"

void rpc_parts_add(struct exchange *ex, const struct kv *kvs, size_t n);
/* The message is complete: it is moved to ex->out. Returns its size. */
size_t rpc_parts_finish(struct exchange *ex, const struct store_reply *reply);
/* Whatever comes of the call: nothing is kept any more. */
void rpc_parts_drop(struct exchange *ex);

#endif
