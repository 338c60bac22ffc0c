/* From a decoded protobuf message to the store's request. Both doors come through here: the JSON
 * gateway builds the same messages from text (json_proto.h). Only the shape is looked at; what a
 * request may say is checked by the store alone. */
#ifndef DECREE_STORE_API_DECODE_H
#define DECREE_STORE_API_DECODE_H

#include <protobuf-c/protobuf-c.h>

#include "arena.h"
#include "store.h"

/* Fills the union of call from m, whose bytes it borrows; arrays come from arena.
 * DECREE_EBAD_REQUEST for a number that is no member of its enum, DECREE_ETOO_LARGE when the arena
 * is full. */
typedef int (*decode_fn)(const ProtobufCMessage *m, struct arena *arena, struct store_call *call);

int decode_range(const ProtobufCMessage *m, struct arena *arena, struct store_call *call);
int decode_put(const ProtobufCMessage *m, struct arena *arena, struct store_call *call);
int decode_delete(const ProtobufCMessage *m, struct arena *arena, struct store_call *call);
int decode_txn(const ProtobufCMessage *m, struct arena *arena, struct store_call *call);
int decode_compact(const ProtobufCMessage *m, struct arena *arena, struct store_call *call);
int decode_lease_grant(const ProtobufCMessage *m, struct arena *arena, struct store_call *call);
int decode_lease_revoke(const ProtobufCMessage *m, struct arena *arena, struct store_call *call);
int decode_lease_keepalive(const ProtobufCMessage *m, struct arena *arena, struct store_call *call);
int decode_lease_ttl(const ProtobufCMessage *m, struct arena *arena, struct store_call *call);
int decode_lease_list(const ProtobufCMessage *m, struct arena *arena, struct store_call *call);
int decode_member_list(const ProtobufCMessage *m, struct arena *arena, struct store_call *call);
int decode_member_add(const ProtobufCMessage *m, struct arena *arena, struct store_call *call);
int decode_member_remove(const ProtobufCMessage *m, struct arena *arena, struct store_call *call);
int decode_member_update(const ProtobufCMessage *m, struct arena *arena, struct store_call *call);
int decode_member_promote(const ProtobufCMessage *m, struct arena *arena, struct store_call *call);
int decode_move_leader(const ProtobufCMessage *m, struct arena *arena, struct store_call *call);
int decode_status(const ProtobufCMessage *m, struct arena *arena, struct store_call *call);
int decode_alarm(const ProtobufCMessage *m, struct arena *arena, struct store_call *call);
int decode_defragment(const ProtobufCMessage *m, struct arena *arena, struct store_call *call);
int decode_hash(const ProtobufCMessage *m, struct arena *arena, struct store_call *call);
int decode_hash_kv(const ProtobufCMessage *m, struct arena *arena, struct store_call *call);

#endif
