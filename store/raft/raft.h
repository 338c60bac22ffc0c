/* The consensus core: a pure state machine (Ongaro 2014, "Consensus: Bridging Theory and
 * Practice").
 *
 *     event --raft_step--> state + effects --raft_take_update--> persist / send / apply / read
 *
 * No I/O, no clock, no randomness, no thread: time comes as ticks and chance as a number in each
 * event, so the same events give the same effects, byte for byte. The caller steps all events of
 * one loop turn, takes one update, starts its persist batch and its messages together, and reports
 * the batch's completion as an event. What must not leave before a write is durable (votes, append
 * acknowledgements, the leader's own vote for its entries) stays inside until that completion.
 *
 * Membership is part of the data model: a configuration lists voters and learners; one entry type
 * carries it. Pre-vote (thesis 9.6) and check-quorum are always on. */
#ifndef DECREE_STORE_RAFT_RAFT_H
#define DECREE_STORE_RAFT_RAFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

#define RAFT_NONE 0 /* no member, no vote, no leader: ids are never 0 */

/* Outcomes of raft_step. */
enum {
    RAFT_OK = 0,
    RAFT_NOT_LEADER = 1, /* proposal or read refused: no leader is known, or it is handing over */
    RAFT_BUSY = 2,       /* proposal refused: uncommitted bytes would pass the limit */
    /* Snapshot install: not taken, since the log holds it all or a newer term is under way; keep
     * state and log as they are. */
    RAFT_STALE = 3,
    /* Not what this leader can do now: a change of membership while the last one, or all of its own
     * term, is uncommitted, or one of more than one voter; a transfer to one who is no voter. */
    RAFT_REFUSED = 4,
};

struct raft_entry_id {
    uint64_t term;
    uint64_t index;
};

enum raft_entry_type {
    RAFT_ENTRY_NORMAL = 0, /* payload is the caller's; empty: the first entry of a new leader */
    RAFT_ENTRY_CONF = 1,   /* payload is raft_conf_encode's */
};

struct raft_entry {
    struct raft_entry_id id;
    enum raft_entry_type type;
    struct buf *payload; /* one reference held by whoever holds the entry; never NULL */
};

/* ---- configuration ---- */

enum { RAFT_MEMBERS_MAX = 31 /* voters and learners: more voters only slow every write down */ };

struct raft_member {
    uint64_t id;
    bool learner;
};

struct raft_conf {
    struct raft_member members[RAFT_MEMBERS_MAX]; /* ascending ids */
    size_t n;
};

/* The bytes of a configuration entry: the members, then context, which raft carries and does not
 * read (names, URLs). decode returns 0 or DECREE_EBAD_REQUEST; ret_context points into b. */
void raft_conf_encode(const struct raft_conf *conf, struct bytes context, struct strbuf *out);
int raft_conf_decode(struct bytes b, struct raft_conf *ret, struct bytes *ret_context);

/* ---- messages ---- */

enum raft_msg_type {
    RAFT_MSG_VOTE = 1,
    RAFT_MSG_VOTE_REPLY,
    RAFT_MSG_PREVOTE,
    RAFT_MSG_PREVOTE_REPLY,
    RAFT_MSG_APPEND,
    RAFT_MSG_APPEND_REPLY,
    RAFT_MSG_HEARTBEAT,
    RAFT_MSG_HEARTBEAT_REPLY,
    RAFT_MSG_PROPOSE,    /* entries for the leader; term = the leadership they are meant for */
    RAFT_MSG_READ,       /* a follower asks the leader for a read index */
    RAFT_MSG_READ_REPLY, /* index to wait for; reject = ask again */
    RAFT_MSG_TIMEOUT_NOW,
    RAFT_MSG_REPAIR_ASK, /* raft_repair.c tells these */
    RAFT_MSG_REPAIR_REPLY,
    RAFT_MSG_REPAIR_GOAL,
    RAFT_MSG_REPAIR_DONE,
    RAFT_MSG_TYPE_END,
};

/* One message between two members. What each field means for a type stands in raft_msg.c. A message
 * from the network is untrusted bytes once decoded: any field may hold any value. */
struct raft_msg {
    enum raft_msg_type type;
    uint64_t from, to;
    uint64_t term;
    struct raft_entry_id prev; /* APPEND: entry before the first; votes: the candidate's last */
    uint64_t commit;
    uint64_t index;   /* replies: last matching (or the rejected prev), reads: the read index */
    uint64_t context; /* heartbeat: read-round nonce (0 = none); reads: the asker's context; repair:
                         its session */
    bool reject;
    bool repairing; /* answers to a leader: from a member under repair, context = its session */
    bool transfer;  /* vote asked for by leadership transfer: ignores leases */
    struct raft_entry_id hint;        /* rejected APPEND: where the follower's log may match */
    const struct raft_entry *entries; /* APPEND, PROPOSE */
    size_t n_entries;
};

/* ---- events ---- */

enum raft_event_type {
    RAFT_EV_TICK,        /* one heartbeat interval has passed */
    RAFT_EV_MSG,         /* msg came from a member; entries are borrowed (payloads are ref'd) */
    RAFT_EV_PROPOSE,     /* append these payloads (forwarded when a leader is known elsewhere) */
    RAFT_EV_READ,        /* a linearizable read index is wanted under `context` */
    RAFT_EV_PERSISTED,   /* the batch `seq` (and all before it) is durable */
    RAFT_EV_APPLIED,     /* entries up to `index` have been applied */
    RAFT_EV_UNREACHABLE, /* a send to `peer` failed */
    RAFT_EV_LINK_LOST,   /* the connection on which `peer` speaks was closed or reset by its side */
    RAFT_EV_SNAPSHOT_STATUS,  /* the stream asked for with send_snapshot ended: ok = peer has it at
                                 `index` */
    RAFT_EV_SNAPSHOT_INSTALL, /* a received snapshot is durable on this disk: take it */
    RAFT_EV_TRANSFER,         /* hand leadership to `peer` */
    RAFT_EV_CAMPAIGN,         /* stand for election now (tests, a lone member at start) */
};

struct raft_proposal {
    enum raft_entry_type type;
    struct buf *payload; /* raft takes its own reference */
};

struct raft_event {
    enum raft_event_type type;
    uint32_t random; /* fresh chance in every event: election timeouts are drawn from it */
    union {
        const struct raft_msg *msg;
        struct {
            const struct raft_proposal *list;
            size_t n;
        } propose;
        uint64_t context; /* READ: never 0, never the same again, not even after a restart */
        uint64_t seq;     /* PERSISTED */
        uint64_t index;   /* APPLIED */
        uint64_t peer;    /* UNREACHABLE, LINK_LOST, TRANSFER */
        struct {
            uint64_t peer, index;
            bool ok;
        } snapshot_status;
        struct {
            struct raft_entry_id id;
            const struct raft_conf *conf;
            uint64_t from, term; /* the leader that sent it and its term */
        } install;
    };
};

/* ---- effects ---- */

/* A persist batch, to be written in order: hard state if changed, then entries. Entries replace
 * everything at and after the first one's index. When seq is done, RAFT_EV_PERSISTED. */
struct raft_persist {
    uint64_t seq; /* 0 = nothing to persist this time; else previous + 1 */
    bool hard_changed;
    uint64_t term, vote; /* term, vote and repairing always go into one record */
    bool repairing;
    const struct raft_entry *entries;
    size_t n_entries;
};

struct raft_read_result {
    uint64_t context;
    uint64_t index; /* serve when applied >= index */
    bool failed;    /* leadership was lost or unproven: ask again with a fresh context */
};

/* All pointers stay valid until the next raft_step; whoever keeps an entry longer (the log writer,
 * a link) takes a reference on its payload. */
struct raft_update {
    struct raft_persist persist;
    const struct raft_msg *msgs;
    size_t n_msgs;
    uint64_t commit; /* apply everything up to here, from raft_entries() */
    const struct raft_read_result *reads;
    size_t n_reads;
    uint64_t send_snapshot_to[RAFT_MEMBERS_MAX]; /* start a snapshot stream to these members */
    size_t n_send_snapshot;
    bool status_changed; /* role, leader, term or repairing differ from the last update */
};

/* ---- the machine ---- */

enum raft_role { RAFT_FOLLOWER, RAFT_PRECANDIDATE, RAFT_CANDIDATE, RAFT_LEADER };

struct raft_options {
    uint64_t id;
    unsigned election_ticks;    /* 10: with 100 ms ticks etcd's default second */
    unsigned heartbeat_ticks;   /* 1 */
    unsigned inflight_msgs_max; /* 512 appends on the way to one follower … */
    size_t inflight_bytes_max;  /* … or 1 MiB: bounds a stalled follower's memory */
    size_t append_bytes_max;    /* 1 MiB a message: one large message must not hold up heartbeats */
    size_t uncommitted_bytes_max; /* 64 MiB proposed and not ready to apply: bounds a leader
                                     that is isolated or whose disk is slow */
};

/* What was on disk: hard state, the snapshot's place and configuration (id {0,0} and an empty conf
 * when there is none; under repair the conf may be what the operator says), then the entries after
 * it. References on payloads are taken. */
struct raft_restore {
    uint64_t term, vote;
    bool repairing;   /* something that was durable is lost: see raft_repair.c */
    uint64_t session; /* random: never before a number near it, in any life of this member */
    struct raft_entry_id snapshot;
    struct raft_conf snapshot_conf;
    const struct raft_entry *entries;
    size_t n_entries;
};

struct raft;

/* Options are copied. Returns NULL never; damage in `restore` that the log reader cannot see (terms
 * that go back, an entry that is not a configuration) is DECREE_ECORRUPT. */
int raft_new(
    const struct raft_options *options, const struct raft_restore *restore, struct raft **ret);
struct raft *raft_free(struct raft *r);

/* Takes one event in. Returns 0 or a positive outcome above, also for a message that carries a
 * follower's proposals; never fails otherwise. */
int raft_step(struct raft *r, const struct raft_event *event);
/* Collects the effects of all steps since the last call. */
void raft_take_update(struct raft *r, struct raft_update *ret);

struct raft_status {
    uint64_t id, term, leader; /* leader RAFT_NONE when unknown */
    enum raft_role role;
    uint64_t commit, applied, last_index, first_index;
    uint64_t stable;     /* last index known durable on this disk */
    unsigned disk_ticks; /* since the disk was last heard of, while a write is under way */
    bool lease_proven;   /* leader: a quorum answered within the last election timeout */
    bool handing_over;   /* leader: takes no proposals until another one leads, or it gives up */
    size_t uncommitted_bytes;
    bool repairing;
    struct {                    /* while repairing */
        uint64_t goal;          /* index to reach; 0 = the leader has not told it */
        uint64_t silent;        /* a voter that has yet to answer; RAFT_NONE = all have */
        size_t damaged, voters; /* so many of all are under repair, this one included */
    } repair;
};
void raft_status(const struct raft *r, struct raft_status *ret);

struct raft_progress {
    uint64_t id;
    bool learner;
    enum { RAFT_PROBE, RAFT_REPLICATE, RAFT_SNAPSHOT } state;
    uint64_t match, next;
    size_t inflight_msgs, inflight_bytes;
    bool recent_active;
    bool repairing;
};
/* The leader's view of the others; returns how many were written to ret (0 on a follower). */
size_t raft_progress(const struct raft *r, struct raft_progress ret[RAFT_MEMBERS_MAX]);

/* The configuration in force: the newest in the log, committed or not; and the index of its entry,
 * which may lie before the log's first. */
const struct raft_conf *raft_conf(const struct raft *r);
uint64_t raft_conf_index(const struct raft *r);
/* The configuration as of an index that is not below the last compaction: what a snapshot at that
 * index must carry, since the one in force may still be undone (R8). Valid until the next call that
 * changes r. */
const struct raft_conf *raft_conf_at(const struct raft *r, uint64_t index);

/* Entries [from, to] of the log in memory; both must lie in [first_index, last_index]. Valid until
 * the next raft_step. */
const struct raft_entry *raft_entries(const struct raft *r, uint64_t from, uint64_t to);
/* Term of an index still known (the entry before first_index included), 0 when not. */
uint64_t raft_term_of(const struct raft *r, uint64_t index);

/* A snapshot at `index` (<= applied) is durable: forget entries below `keep_from` (<= index + 1),
 * which followers that lag a little may still want. */
void raft_compact(struct raft *r, uint64_t index, uint64_t keep_from);

/* The first entry of a new cluster, index 1 term 1: every founding member writes the same bytes
 * before its first start. payload is raft_conf_encode's. */
struct raft_entry raft_bootstrap_entry(struct buf *payload);

#endif
