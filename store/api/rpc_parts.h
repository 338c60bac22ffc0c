/* The reply of a call that comes in parts (reply_parts.h), and what it counts for among those that
 * are being made. */
#ifndef DECREE_STORE_API_RPC_PARTS_H
#define DECREE_STORE_API_RPC_PARTS_H

#include "exchange.h"

/* The first one is here, or will never be: ex->rpc.large from now on. expected: roughly what all of
 * them will be. */
void rpc_parts_begin(struct exchange *ex, size_t expected);
void rpc_parts_add(struct exchange *ex, const struct store_part *part);
/* The message is complete: it is moved to ex->out. Returns its size. */
size_t rpc_parts_finish(struct exchange *ex, const struct store_reply *reply);
/* Whatever comes of the call: nothing is kept any more. */
void rpc_parts_drop(struct exchange *ex);

#endif
