/* What the files of the core share. Nobody outside this folder includes it but its tests.
 *
 * One step changes state; what follows from the state (appends, heartbeats, acknowledgements, the
 * commit index, read rounds, the persist batch) is worked out once, in raft_take_update. So a turn
 * of many events costs one message a follower, one quorum count and one read round. */
#ifndef DECREE_STORE_RAFT_INTERNAL_H
#define DECREE_STORE_RAFT_INTERNAL_H

#include "raft.h"

/* ---- raft_log.c: entries in memory, contiguous, so that slices of it go to disk and network ----
 */

struct raft_log {
    struct raft_entry *slots; /* owned, with one reference on each payload in [dead, head + n) */
    size_t dead;              /* [dead, head) was compacted; released with the next step */
    size_t head, n, cap;
    struct raft_entry_id before; /* the entry before the first: a snapshot's place, or {0, 0} */
};

void raft_log_init(struct raft_log *l, struct raft_entry_id before);
void raft_log_deinit(struct raft_log *l);
static inline uint64_t raft_log_first(const struct raft_log *l)
{
    return l->before.index + 1;
}
static inline uint64_t raft_log_last(const struct raft_log *l)
{
    return l->before.index + l->n;
}
/* index must lie in [first, last] */
static inline struct raft_entry *raft_log_at(const struct raft_log *l, uint64_t index)
{
    return &l->slots[l->head + (size_t)(index - l->before.index - 1)];
}
/* 0 when index is neither in the log nor the one before it */
uint64_t raft_log_term(const struct raft_log *l, uint64_t index);
struct raft_entry_id raft_log_last_id(const struct raft_log *l);
/* Is id in the log (or the entry before it)? */
bool raft_log_has(const struct raft_log *l, struct raft_entry_id id);
/* Takes a reference of its own. e->id.index must be last + 1. */
void raft_log_append(struct raft_log *l, const struct raft_entry *e);
/* Drops index and all after it; index must lie in [first, last]. */
void raft_log_truncate(struct raft_log *l, uint64_t index);
/* Forgets entries below keep_from (in [first, last + 1]); payloads stay until raft_log_reap. */
void raft_log_compact(struct raft_log *l, uint64_t keep_from);
void raft_log_reap(struct raft_log *l);
/* Forgets everything; the next entry is before.index + 1. */
void raft_log_reset(struct raft_log *l, struct raft_entry_id before);
/* The last place at or below id.index whose term is at most id.term: all that can match a log which
 * has id there. At lowest the place before the first entry. */
struct raft_entry_id raft_log_find(const struct raft_log *l, struct raft_entry_id id);

/* What an entry counts for against the limits: its payload and about what it costs beside it, so
 * that empty entries are not free. */
static inline size_t raft_entry_bytes(const struct raft_entry *e)
{
    return e->payload->len + sizeof(*e);
}

/* ---- raft_stable.c: what of the log, and of term and vote, is durable ---- */

struct raft_batch {
    uint64_t seq;
    uint64_t last; /* when seq is done, entries up to here are durable as the log has them now */
};

struct raft_stable {
    uint64_t index;             /* entries up to here are durable as the log has them */
    uint64_t handed;            /* entries up to here were handed out to be written */
    uint64_t seq, done;         /* last batch handed out; last one that is durable */
    uint64_t hard_seq;          /* the batch that took the newest term and vote along */
    bool hard_dirty;            /* term or vote changed since */
    unsigned stalled_ticks;     /* ticks since a batch was last done, while one is under way */
    struct raft_batch *batches; /* owned ring; `last` never goes down from one to the next */
    size_t head, n, cap;        /* cap is a power of two */
};

void raft_stable_init(struct raft_stable *s, uint64_t last);
void raft_stable_deinit(struct raft_stable *s);
/* Term and vote in force are not all durable yet: nothing that speaks for them may leave. */
static inline bool raft_stable_hard_pending(const struct raft_stable *s)
{
    return s->hard_dirty || s->hard_seq > s->done;
}
/* The log was cut at index: what older batches say of it and beyond means nothing any more. */
void raft_stable_truncate(struct raft_stable *s, uint64_t index);
/* A snapshot at index, itself durable, took the place of the log. */
void raft_stable_reset(struct raft_stable *s, uint64_t index);
/* The next batch for a log that ends at last; 0 when there is nothing to write. */
uint64_t raft_stable_take(struct raft_stable *s, uint64_t last);
/* Batches up to seq are durable. */
void raft_stable_done(struct raft_stable *s, uint64_t seq);

/* ---- raft_conf.c: configurations, the one in force and those to fall back to; quorums ---- */

struct raft_conf_at {
    uint64_t index;
    struct raft_conf conf;
};

struct raft_confs {
    struct raft_conf_at
        *list;     /* owned, ascending; list[0] is at or before the entry before first */
    size_t n, cap; /* n >= 1 */
};

void raft_confs_init(struct raft_confs *c, uint64_t index, const struct raft_conf *conf);
void raft_confs_deinit(struct raft_confs *c);
void raft_confs_push(struct raft_confs *c, uint64_t index, const struct raft_conf *conf);
/* Forgets those of entries at and after index. */
void raft_confs_truncate(struct raft_confs *c, uint64_t index);
/* Forgets those that no truncation above index can bring back. */
void raft_confs_compact(struct raft_confs *c, uint64_t index);
const struct raft_conf_at *raft_confs_last(const struct raft_confs *c);
const struct raft_conf *raft_confs_at(const struct raft_confs *c, uint64_t index);
const struct raft_member *raft_conf_find(const struct raft_conf *conf, uint64_t id);
/* How many voters differ between the two. */
size_t raft_conf_voters_changed(const struct raft_conf *a, const struct raft_conf *b);
/* b has one voter more than a, and all of a's. */
bool raft_conf_grew(const struct raft_conf *a, const struct raft_conf *b);

/* The highest value that a majority of the n values reach; 0 when n is 0. Reorders values. */
uint64_t raft_quorum_value(uint64_t *values, size_t n);
enum raft_vote { RAFT_VOTE_OPEN, RAFT_VOTE_WON, RAFT_VOTE_LOST };
enum raft_vote raft_quorum_vote(size_t voters, size_t granted, size_t rejected);

/* ---- raft_progress.c: what the leader knows of each member ---- */

struct raft_inflight {
    uint64_t last; /* acknowledged together with this entry */
    size_t bytes;
};

struct raft_window {
    struct raft_inflight *ring; /* owned; allocated up to inflight_msgs_max */
    size_t head, n, cap;        /* cap is a power of two */
    size_t bytes;
};

enum raft_ballot { RAFT_BALLOT_NONE, RAFT_BALLOT_GRANTED, RAFT_BALLOT_REJECTED };
enum raft_answer { RAFT_ANSWER_NONE, RAFT_ANSWER_INTACT, RAFT_ANSWER_REPAIRING };

struct raft_peer {
    uint64_t id;
    bool learner;
    enum raft_ballot ballot; /* its answer to the (pre-)vote under way */
    uint8_t state;           /* RAFT_PROBE, RAFT_REPLICATE, RAFT_SNAPSHOT */
    bool probe_sent; /* PROBE: one append is on the way; wait for an answer or a heartbeat */
    bool ping;       /* REPLICATE: send an empty append to find out whether some were lost */
    bool beat;       /* owes it a heartbeat */
    uint64_t match, next;
    uint64_t commit_sent;    /* highest commit index that an append told it */
    uint64_t heard_at;       /* tick of its last answer in this leadership; 0 = never */
    uint64_t refused_at;     /* tick at which a snapshot last did not reach it; 0 = never */
    uint64_t read_ack;       /* newest read round it confirmed */
    uint64_t repair;         /* leader: it is under repair, in this session; 0 = it is not */
    uint64_t goal;           /* of that repair: the log's end when it was first heard of … */
    uint64_t goal_round;     /* … and the read round that has to be confirmed since */
    enum raft_answer answer; /* under repair: its answer to REPAIR_ASK */
    struct raft_window window;
};

struct raft;

/* Makes the members of the configuration in force the peers; keeps what is known of those who stay.
 */
void raft_peers_rebuild(struct raft *r);
void raft_peers_deinit(struct raft *r);
struct raft_peer *raft_peer_find(struct raft *r, uint64_t id);
void raft_peers_reset(struct raft *r);
/* Nothing is known of its log; it goes on from next. */
void raft_peer_reset(struct raft_peer *p, uint64_t next);
bool raft_peer_is_recent(const struct raft *r, const struct raft_peer *p);
/* A majority of voters, this one included, answered within the last election timeout. */
bool raft_peers_quorum_recent(const struct raft *r);
/* The highest index that may count as durable on a majority of voters. */
uint64_t raft_peers_quorum_match(struct raft *r);
void raft_peers_flush(struct raft *r, struct raft_update *ret);
void raft_on_append_reply(struct raft *r, struct raft_peer *p, const struct raft_msg *m);
void raft_on_heartbeat_reply(struct raft *r, struct raft_peer *p, const struct raft_msg *m);
void raft_on_unreachable(struct raft *r, uint64_t peer);
void raft_on_snapshot_status(struct raft *r, uint64_t peer, uint64_t index, bool ok);

/* ---- raft_read.c ---- */

struct raft_read {
    uint64_t context;
    uint64_t from;  /* who asked; this member's own id when it was the caller */
    uint64_t round; /* leader: heartbeat nonce that proves it, 0 = not begun */
    uint64_t index; /* leader: commit index when the round began */
    uint64_t since; /* follower: tick it was asked at */
};

struct raft_reads {
    struct raft_read *list; /* owned; waiting ones are [head, n), oldest first */
    size_t head, n, cap;
    size_t begun;   /* leader: [head, begun) have a round; follower: were sent to the leader */
    uint64_t nonce; /* newest round */
    struct raft_read_result *results; /* owned; for the next update */
    size_t n_results, results_cap;
};

void raft_reads_deinit(struct raft_reads *q);
int raft_on_read(struct raft *r, uint64_t context);
void raft_on_read_msg(struct raft *r, const struct raft_msg *m);
void raft_on_read_reply(struct raft *r, const struct raft_msg *m);
/* Fails all that wait: leadership changed. */
void raft_reads_drop(struct raft *r);
void raft_reads_tick(struct raft *r);
/* Begins a round for the reads of this turn and answers those that are confirmed. */
void raft_reads_flush(struct raft *r);
/* The newest round that a majority has confirmed. */
uint64_t raft_reads_confirmed(const struct raft *r);
/* Nonce that heartbeats carry now: 0 when no round waits. */
uint64_t raft_reads_nonce(const struct raft *r);

/* ---- raft_msg.c ---- */

struct raft_outbox {
    struct raft_msg *msgs; /* owned */
    size_t n, cap;
    struct raft_msg *held; /* owned; wait until term and vote are durable */
    size_t n_held, held_cap;
    struct raft_entry
        *entries; /* owned, payloads referenced: those of PROPOSE messages, in order */
    size_t n_entries, entries_cap;
};

void raft_outbox_deinit(struct raft_outbox *o);
/* Forgets what the last update handed out. */
void raft_outbox_clear(struct raft_outbox *o);
/* Is this something that a correct member could have sent to this one? Only then may handlers rely
 * on the fields (see the table in raft_msg.c). */
bool raft_msg_is_sane(const struct raft *r, const struct raft_msg *m);
/* The same of a snapshot's place: it comes from the network as well. */
bool raft_install_is_sane(const struct raft *r, const struct raft_event *event);
/* A message of this term from this member. */
struct raft_msg raft_msg_make(const struct raft *r, enum raft_msg_type type, uint64_t to);
void raft_msg_push(struct raft *r, const struct raft_msg *m);
void raft_msg_forward(struct raft *r, const struct raft_proposal *list, size_t n);
void raft_msg_drop_held(struct raft *r);
void raft_msg_release_held(struct raft *r);
/* Points PROPOSE messages at their entries, which have stopped moving. */
void raft_msg_bind_entries(struct raft *r);

/* ---- raft_election.c ---- */

/* Follows leader (or nobody) in term, which is not below the current one. */
void raft_become_follower(struct raft *r, uint64_t term, uint64_t leader);
void raft_campaign(struct raft *r);
/* The link from that member broke: when it led, nobody does as far as this member can tell. */
void raft_on_link_lost(struct raft *r, uint64_t peer);
void raft_election_tick(struct raft *r);
/* Term and vote are durable: the candidate's own vote counts now. */
void raft_election_hard_done(struct raft *r);
void raft_on_vote(struct raft *r, const struct raft_msg *m);
void raft_on_vote_reply(struct raft *r, struct raft_peer *p, const struct raft_msg *m);
void raft_on_timeout_now(struct raft *r, const struct raft_msg *m);
/* Heard from a leader within the election timeout: no vote, no new term (thesis 4.2.3, 9.6). */
bool raft_has_lease(const struct raft *r);

/* ---- raft_follower.c ---- */

void raft_on_append(struct raft *r, const struct raft_msg *m);
void raft_on_heartbeat(struct raft *r, const struct raft_msg *m);
int raft_on_install(struct raft *r, const struct raft_event *event);
void raft_follower_flush(struct raft *r);

/* ---- raft_leader.c ---- */

void raft_become_leader(struct raft *r);
int raft_propose(struct raft *r, const struct raft_proposal *list, size_t n);
int raft_on_propose_msg(struct raft *r, const struct raft_msg *m);
int raft_transfer(struct raft *r, uint64_t peer);
void raft_leader_tick(struct raft *r);
void raft_leader_flush(struct raft *r, struct raft_update *ret);

/* ---- raft_repair.c ---- */

struct raft_repair {
    uint64_t session;          /* of the repair under way, never used before; 0 = intact */
    uint64_t sessions;         /* the last one used */
    struct raft_entry_id goal; /* leader's term and index to reach; 0/0 = not told */
    bool ask_due;
};

/* A part of what was durable is lost: from now on, durably. */
void raft_repair_begin(struct raft *r);
void raft_repair_tick(struct raft *r);
/* Asks who has not answered; ends the repair when it may. */
void raft_repair_flush(struct raft *r);
/* Marks an answer to a leader as not to be counted. */
void raft_repair_sign(const struct raft *r, struct raft_msg *reply);
/* Who has not answered (the first of them) and how many voters are under repair. */
void raft_repair_waits(const struct raft *r, uint64_t *ret_silent, size_t *ret_damaged);
void raft_on_repair_reply(struct raft *r, struct raft_peer *p, const struct raft_msg *m);
void raft_on_repair_goal(struct raft *r, const struct raft_msg *m);
/* A heartbeat of the own leader: does it say that more was acknowledged than is here? */
void raft_repair_check_loss(struct raft *r, const struct raft_msg *heartbeat);

void raft_on_repair_ask(struct raft *r, const struct raft_msg *m);

/* Leader: notes what an answer says of repair. False: the answer must not be used. */
bool raft_repair_hear(struct raft *r, struct raft_peer *p, const struct raft_msg *m);
/* Leader: somebody is under repair. */
bool raft_repair_is_led(const struct raft *r);
/* Leader: tells a member under repair its goal, once that is proven. */
void raft_repair_beat(struct raft *r, const struct raft_peer *p);
void raft_on_repair_done(struct raft *r, struct raft_peer *p, const struct raft_msg *m);

/* ---- raft.c ---- */

struct raft {
    struct raft_options options;
    uint32_t random; /* of the event being stepped */
    uint64_t ticks;  /* begins beyond election_ticks, so that heard_at 0 is never recent */

    uint64_t term, vote, leader;
    enum raft_role role;
    unsigned election_elapsed; /* ticks since the leader was heard or the campaign began */
    unsigned election_timeout; /* drawn from [election_ticks, 2 * election_ticks) */
    bool by_transfer;          /* candidate: asks for votes that ignore leases */

    struct raft_log log;
    struct raft_stable stable;
    struct raft_confs confs;
    uint64_t commit, commit_handed, applied; /* applied <= commit_handed <= min(commit, stable) */

    /* follower */
    uint64_t leader_match; /* up to here the log is known to be this term's leader's; >= commit */
    uint64_t ack_sent;     /* highest index acknowledged in this term */
    bool ack_wanted;       /* an append waits for its acknowledgement */

    /* leader */
    struct raft_peer peers[RAFT_MEMBERS_MAX]; /* the members in force, this one included if it is */
    size_t n_peers;
    struct raft_peer *self; /* in peers, NULL when not a member */
    bool quorum_dirty;      /* a match moved: count again */
    bool beat;              /* a heartbeat to all is due */
    unsigned heartbeat_elapsed;
    uint64_t leader_since;   /* tick */
    uint64_t transfer_to;    /* RAFT_NONE = no transfer under way */
    uint64_t transfer_since; /* tick */
    bool timeout_now_sent;
    size_t uncommitted_bytes;

    struct raft_repair repair;
    struct raft_reads reads;
    struct raft_outbox out;
    struct buf *empty; /* payload of the leader's own entry */
    bool taken;        /* an update was taken since the last step */
    struct {
        uint64_t term, leader;
        enum raft_role role;
        bool repairing;
    } seen; /* of the last update */
};

/* Appends to the log; a configuration is in force from here on (thesis 4.1). */
void raft_append_entry(struct raft *r, const struct raft_entry *e);
/* Cuts the log; the configuration before comes back. */
void raft_truncate_log(struct raft *r, uint64_t index);
static inline bool raft_is_repairing(const struct raft *r)
{
    return r->repair.session != 0;
}
static inline bool raft_is_voter(const struct raft *r)
{
    return r->self != NULL && !r->self->learner;
}
static inline size_t raft_voters(const struct raft *r)
{
    size_t n = 0;

    for (size_t i = 0; i < r->n_peers; i++) {
        n += !r->peers[i].learner;
    }
    return n;
}
static inline bool raft_is_lone_voter(const struct raft *r)
{
    return raft_is_voter(r) && raft_voters(r) == 1;
}
/* Makes room for one more element in an array that doubles. */
void *raft_grow(void *p, size_t n, size_t *cap, size_t size);

#endif
