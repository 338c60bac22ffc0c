/* What members say to each other: the bodies of the frames that a link carries. The first byte is
 * the kind. Peers are treated as hostile bytes (reliability T16, R34): every decoder bounds what it
 * allocates by what came. */
#ifndef DECREE_STORE_NODE_MSG_CODEC_H
#define DECREE_STORE_NODE_MSG_CODEC_H

#include "buf.h"
#include "raft.h"
#include "request.h"
#include "store.h"

enum frame_kind {
    /* message link */
    FRAME_RAFT = 1,
    FRAME_LEASE_ASK = 2, /* a follower's keepalive or time-to-live question to the leader */
    FRAME_LEASE_ANSWER = 3,
    FRAME_PROPOSALS_REFUSED = 4, /* the leader to whom forwarded them */
    FRAME_MEMBER_ASK = 5,        /* a change of the members that a follower was asked for */
    FRAME_MEMBER_ANSWER = 6,
    FRAME_HASH_ASK = 8, /* the leader wants the hash of the state at an index */
    FRAME_HASH_ANSWER = 9,
    FRAME_PLACE_ASK = 10,    /* one that hears no leader: is it a member, at that entry or since? */
    FRAME_PLACE_DENIED = 11, /* it is not, nor ever will be */
    /* snapshot stream */
    FRAME_SNAP_BEGIN = 16,
    FRAME_SNAP_PIECE = 17,
    FRAME_SNAP_END = 18,
    FRAME_SNAP_STATUS = 19, /* back from the receiver, once */
};

/* A body in parts, to be written one after the other without copying large payloads. */
struct frame_parts {
    struct buf **list; /* owned, one reference each */
    size_t n, cap;
};
void frame_parts_deinit(struct frame_parts *p);

/* Kind of a body, 0 for an empty one. */
uint8_t frame_kind(struct bytes body);

/* ---- raft's messages ---- */

/* Payloads of FRAME_INLINE_MAX bytes or more become parts of their own (a reference, no copy). */
enum { FRAME_INLINE_MAX = 4096 };
void msg_encode(const struct raft_msg *m, struct frame_parts *out);

/* The entries of a decoded message are its own, payloads copied from the body. */
struct msg_decoded {
    struct raft_msg msg;
    struct raft_entry *entries; /* owned */
};
/* 0 or DECREE_EBAD_REQUEST; ret needs msg_decoded_deinit in both cases. */
int msg_decode(struct bytes body, struct msg_decoded *ret);
void msg_decoded_deinit(struct msg_decoded *m);

/* ---- leases over the leader ---- */

struct lease_ask {
    uint64_t sequence; /* the asker's, comes back with the answer */
    bool keepalive;    /* else time-to-live */
    bool keys;
    int64_t id;
};
struct buf *lease_ask_encode(const struct lease_ask *a);
int lease_ask_decode(struct bytes body, struct lease_ask *ret);

struct lease_answer {
    uint64_t sequence;
    int32_t status; /* 0 or a DECREE_E code */
    int64_t revision;
    struct lease_reply reply;
};
struct buf *lease_answer_encode(const struct lease_answer *a);
/* Keys point into body, their array lies in arena. */
int lease_answer_decode(struct bytes body, struct arena *arena, struct lease_answer *ret);

/* ---- proposals over the leader ---- */

struct proposals_refused {
    uint64_t term;       /* of the leadership they were meant for */
    int32_t status;      /* a DECREE_E code; DECREE_ENOT_LEADER: it is handing over */
    uint64_t *sequences; /* of the entries' ids */
    size_t n;
};
struct buf *proposals_refused_encode(const struct proposals_refused *r);
int proposals_refused_decode(struct bytes body, struct arena *arena, struct proposals_refused *ret);

/* ---- changes of the members, over the leader ---- */

struct member_ask {
    uint64_t sequence; /* the asker's, comes back with the answer */
    enum store_kind kind;
    struct store_member_request request; /* decoded: URLs lie in the arena */
};
struct buf *member_ask_encode(const struct member_ask *a);
int member_ask_decode(struct bytes body, struct arena *arena, struct member_ask *ret);

struct member_answer {
    uint64_t sequence;
    int32_t status;       /* 0 or a DECREE_E code */
    uint64_t id;          /* of the member that was added */
    struct bytes members; /* members_encode's; empty unless status is 0 */
};
struct buf *member_answer_encode(const struct member_answer *a);
int member_answer_decode(struct bytes body, struct member_answer *ret);

/* ---- comparing members ---- */

struct hash_ask {
    uint64_t term; /* of the leader that asks */
    uint64_t index;
};
struct buf *hash_ask_encode(const struct hash_ask *a);
int hash_ask_decode(struct bytes body, struct hash_ask *ret);

struct hash_answer {
    uint64_t term, index; /* as asked */
    uint64_t hash;
};
struct buf *hash_answer_encode(const struct hash_answer *a);
int hash_answer_decode(struct bytes body, struct hash_answer *ret);

/* ---- a member's place in the cluster ---- */

/* kind is FRAME_PLACE_ASK or FRAME_PLACE_DENIED; the entry is never {0, 0}. */
struct buf *place_encode(enum frame_kind kind, struct raft_entry_id at);
int place_decode(struct bytes body, enum frame_kind kind, struct raft_entry_id *ret);

/* ---- snapshot streams ---- */

struct snap_begin {
    uint64_t term; /* of the leader that sends it */
    struct raft_entry_id id;
    struct bytes header; /* as in the snapshot file */
};
struct buf *snap_begin_encode(const struct snap_begin *b);
int snap_begin_decode(struct bytes body, struct snap_begin *ret);

/* `piece` is everything behind the kind byte. */
struct buf *snap_end_encode(uint64_t pieces);
int snap_end_decode(struct bytes body, uint64_t *ret_pieces);

struct snap_status {
    bool ok;
    struct bytes text; /* why not */
};
struct buf *snap_status_encode(const struct snap_status *s);
int snap_status_decode(struct bytes body, struct snap_status *ret);

#endif
