/* The core's own: its state, and what its files ask of each other. The life of a call is in
 * core_call.c, of a read in core_read.c, of an entry in core_apply.c, of a turn in core.c. */
#ifndef DECREE_STORE_NODE_CORE_H
#define DECREE_STORE_NODE_CORE_H

#include "alarms.h"
#include "buggify.h"
#include "entry_codec.h"
#include "hmap.h"
#include "list.h"
#include "log.h"
#include "msg_codec.h"
#include "mvcc.h"
#include "node_core.h"
#include "raft.h"
#include "wal.h"

enum {
    /* A member whose commits run this far ahead of its applies refuses more, as etcd. */
    APPLY_GAP_MAX = 5000,
    /* Calls that wait for an answer: as many streams as all connections together may hold would be
     * a million, of which the first 100,000 are more than seven seconds of work. */
    CALLS_MAX = 100000,
    /* Encoded entries waiting for their commit; raft's own bound on uncommitted bytes is the same.
     */
    PENDING_BYTES_MAX = 64 << 20,
    /* One message of proposals, one slice of applies, compaction, delivery, snapshot: each about a
     * millisecond at most. */
    PROPOSE_BYTES_MAX = 1 << 20,
    /* Forwarded to the leader and not applied yet: half of what a link's queue holds, since what a
     * full queue drops is only known as lost by its timeout. */
    FORWARD_BYTES_MAX = 4 << 20,
    APPLY_SLICE_ENTRIES = 2000,
    APPLY_SLICE_BYTES = 1 << 20,
    COMPACT_SLICE_RECORDS = 2000,
    WATCH_SLICE_EVENTS = 2000,
    SNAP_PIECE_BYTES = 64 << 10,
    SNAP_PIECE_ROOM = SNAP_PIECE_BYTES + 4096, /* a piece ends with a whole record */
    SNAP_SLICE_PIECES = 4,
    /* Keys that entries of a slice, or a txn that reads, may look at or change. Who needs more
     * keeps everybody else waiting, so that it may take two or three milliseconds of a turn. */
    WORK_STEPS = 4000,
    /* Reads of different turns on their way at once: one that comes alone never waits for another's
     * round, and a busy member does not send a heartbeat per turn. */
    READ_ROUNDS_MAX = 4,
    /* A reply's own arrays (keys and values stay where they are), of reads that are not done in
     * slices: those inside a txn. A million keys take 72 MiB. */
    READ_ARENA_BYTES_MAX = 256 << 20,
    /* Of a large range, in a turn: less than a millisecond to find and to encode. */
    RANGE_SLICE_KEYS = 1000,
    RANGE_SLICE_BYTES = 512 << 10,
    /* Reads answered in a turn, one counted as much as so many keys: some milliseconds. */
    READ_COST_KEYS = 10,
    READ_TURN_KEYS = 10000,
    /* Large ranges that are read by turns. More of them would not be read sooner, and each may hold
     * 8 MiB of pointers for a sort of a million keys. */
    RANGES_OPEN_MAX = 16,
    /* Log kept behind a snapshot, and log after which a snapshot is due: both bound memory. */
    SNAP_KEEP_BYTES = 32 << 20,
    SNAP_LOG_BYTES = 64 << 20,
    SNAP_RETRY_MS = 30000, /* after a failed snapshot: the disk is probably full */
    SNAP_STALL_MS = 30000, /* a stream without progress is given up… */
    /* …and so is one that is slower than this on average: it holds up compaction on both sides. */
    SNAP_RATE_MIN = 64 << 10, /* bytes a second */
    /* What a receiver needs to sync and to read back what it was sent, on a slow disk. */
    SNAP_FINISH_RATE_MIN = 8 << 20,
    /* Written while a stream was on its way, all of which it keeps in memory as log and as history:
     * the next snapshot holds it. */
    SNAP_PIN_BYTES_MAX = 256 << 20,
    EXPIRE_PER_SECOND = 1000,
    FORWARDED_SEEN_MAX = 8192,    /* 256 KiB: what all followers may forward in some tens of ms */
    HASH_SLICE_BYTES = 512 << 10, /* a millisecond, also when no key is in the processor's cache */
    HASH_CHECK_MS = 60000,        /* between two comparisons of members … */
    HASH_CHECK_SHARE = 50,        /* … and at least this many times as long as one takes */
    HASH_WAIT_MS = 30000,         /* for the members' answers, before those that came are judged */
    LEASE_KEYS_BYTES_MAX = 2 << 20, /* of a forwarded time-to-live answer: must fit one frame */
};

enum call_state {
    CALL_INCOMING,      /* submitted in this turn */
    CALL_REFUSED,       /* status_ is its answer */
    CALL_PROPOSING,     /* checked and encoded; waits for a leader */
    CALL_PROPOSED,      /* in raft's hands under term_ */
    CALL_READING,       /* waits for the next read round, is in one, or for its index */
    CALL_FORWARDED,     /* a lease question, asked of the leader or waiting for one */
    CALL_SLICING,       /* a large range that is being read */
    CALL_SLICING_LATER, /* one for which there is no place yet */
    CALL_COMPACTING,    /* a physical compaction that is applied and not finished */
    CALL_CHANGING,      /* a change of the members, see core_member.c */
    CALL_HASHING,       /* waits for its turn, or is being computed */
    CALL_STATE_END,
};

/* For store_write_us, in windows of a second. */
struct timed {
    uint64_t id, since_ms;   /* one write at a time, from its proposal to its answer; id 0: none */
    uint64_t window;         /* number of the second that best_ms is of */
    uint64_t best_ms;        /* UINT64_MAX: none was answered in it… */
    uint64_t best_before_ms; /* …or in the second before */
    uint64_t syncs, sync_ns; /* the log's, when the window began */
    uint64_t sync_us;        /* the mean one of the last window with any */
};

struct calls {
    struct list incoming, refused, proposing, proposed, forwarded, compacting, hashing;
    struct list ages; /* every call by age_: deadlines in order, since all have the same timeout */
    struct hmap by_id;
    uint64_t next_id;
    size_t n; /* in all lists but incoming and refused */
    size_t pending_bytes;
    size_t proposed_bytes; /* payloads of CALL_PROPOSED */
    uint64_t failed;       /* writes answered without an outcome */
    struct timed timed;
    /* Forwarded ones up to this id and of this term are in doubt, see core_forward.c. */
    uint64_t doubt_id, doubt_term;
    unsigned doubt_ticks; /* until they are answered so; 0: none is */
};

/* Changes of the members: one of them is in the log at a time. */
struct changes {
    struct list waiting;        /* for this leader to begin them, or for the leader to be asked */
    struct list asked;          /* of the leader of term_ */
    struct list flying;         /* the call of the entry below, unless its owner cancelled it */
    struct raft_entry_id entry; /* proposed by this leader, not applied yet; {0, 0} = none */
    uint64_t added;             /* the member it adds */
    struct list moving;         /* leadership transfers */
    bool hold;                  /* who was asked does not lead: wait for a tick */
};

/* Reads that share one read index. */
struct read_round {
    struct list link; /* in reads.flying until the index is known, then in reads.known */
    struct list calls;
    uint64_t context, index;
    uint64_t term;  /* in which it was begun */
    unsigned ticks; /* under way */
    bool expiry;    /* leases may expire when it comes back */
};

struct reads {
    struct list wanted; /* calls for the next round */
    struct list late;   /* keepalives of leases of which nobody can say yet whether they live on */
    struct list flying, known;
    struct list ready; /* calls that may be served now */
    size_t n_flying;
    size_t keys_left; /* of READ_TURN_KEYS */
    uint64_t next_context;
    bool hold; /* the last attempt failed: wait for a sign of change */
};

/* The txn that is being read, see core_txn.c. */
struct txn_read {
    struct list call;       /* whose it is; empty once that one has cancelled it */
    struct mvcc_work *work; /* NULL: none is */
    struct arena arena;     /* of its reply */
    struct store_reply reply;
};

/* The entry that is being applied. */
struct applying {
    struct entry entry; /* in apply_arena */
    struct store_reply reply;
    struct mvcc_work *work; /* NULL: none is at work */
    size_t steps;           /* left to it in this slice */
};

/* See core_beat.c. */
struct beats {
    uint64_t sent_ms;              /* leader: when heartbeats left; 0: not yet in this leadership */
    uint64_t late;                 /* heartbeats that left too late */
    uint64_t heard_from, heard_ms; /* the last word of the leader; RAFT_NONE: none of this one */
    struct store_times gaps;
};

/* Large ranges, see core_range.c. */
struct ranges {
    struct list slicing, waiting;
    size_t n_slicing;
    struct kv *kvs; /* owned; of the slice that is being read */
};

struct leases {
    bool promoted;
    bool expiry_wanted;
    struct hmap expiring;   /* struct expiring by lease id: revokes under way */
    struct hmap asked;      /* questions of followers that are calls here, by sequence */
    unsigned forward_ticks; /* since questions on their way were last asked again */
};

/* Takes part in no decision of raft: the periodic snapshot onto the own disk. */
enum save_state { SAVE_IDLE, SAVE_WRITING, SAVE_FINISHING };
struct snap_save {
    enum save_state state;
    struct snap_writer *writer;
    struct mvcc_snapshot *reader;
    struct wal_snapshot_id id;
    uint64_t begun_ms, retry_ms;
};

enum recv_state { RECV_IDLE, RECV_WAITING, RECV_READING, RECV_FINISHING };
struct snap_recv {
    enum recv_state state;
    uint64_t from, term, pieces, bytes;
    struct raft_entry_id id;
    struct strbuf header;
    struct snap_writer *writer;
    struct mvcc_loader *loader;
    struct mvcc *built;
    bool paused, cut;
    uint64_t begun_ms, progress_ms;
};

/* Proposals of followers taken in this leadership: core_replay.c. */
struct replays {
    struct seen *ring; /* owned, FORWARDED_SEEN_MAX; NULL until the first */
    struct hmap by_id; /* those in it */
    uint64_t n;        /* in this term */
    uint64_t term;
};

/* Which data directory each member had, as the log says that is not applied yet:
 * core_directories.c. */
struct directories {
    struct {
        uint64_t member, incarnation;
    } * list; /* owned */
    size_t n;
    uint64_t until; /* entry that told last */
};

/* Room below the quota, as this member sees it. */
struct space {
    bool full;      /* a write was refused for it */
    size_t wanted;  /* its size: writes are accepted again when it fits */
    unsigned ticks; /* until the alarm may be proposed again */
};

/* The question for a hash that is being computed: the first of calls.hashing. */
struct hashing {
    struct store_call *call; /* NULL: none */
    struct mvcc_hasher *hasher;
};

/* The comparison between members. */
struct check {
    uint64_t wanted;      /* index at which the state is to be hashed; 0 = none */
    uint64_t index;       /* at which the hasher was opened; 0 = none */
    uint64_t asker, term; /* who wants the answer, in which leadership */
    struct mvcc_hasher *hasher;
    uint64_t begun_ms, due_ms;
    /* the leader's: of the round under way */
    uint64_t round; /* its index, 0 = none */
    struct check_answer {
        uint64_t member, hash;
    } answers[RAFT_MEMBERS_MAX];
    size_t n_answers;
    uint64_t rounds, differences; /* that came to an end; that found one */
};

struct store {
    const struct core_env *env;
    struct core_options o; /* strings lie in options_arena; what founding needs is unset */
    struct arena options_arena;
    /* FOUNDING and FORCING wait for their one entry to be durable. */
    enum { CORE_FOUNDING, CORE_FORCING, CORE_RUNNING, CORE_STOPPED } state;
    bool dirty;
    uint64_t id, cluster_id, incarnation;

    struct raft *raft;
    struct wal *wal;
    struct mvcc *mvcc;
    struct raft_conf conf; /* as of `applied`, with members: what a snapshot carries */
    struct members members;
    bool members_moved;
    bool members_assumed;           /* nothing has been applied yet that says who the members are */
    struct members joined;          /* as others told a member whose log does not say so yet */
    struct raft_entry_id joined_at; /* where in their log it was so */
    struct {
        unsigned ticks;             /* until the others are asked whether it is a member */
        struct raft_entry_id asked; /* whether it is one there or after it */
        uint64_t denied_by;         /* RAFT_NONE until one says that it never was */
    } place;
    struct members links;          /* whom to be connected with, see core_links */
    struct members members_before; /* as of the last time that links was made */
    unsigned linger_ticks;         /* links to those removed since then stay so long */
    struct directories directories;
    struct raft_entry_id links_conf; /* the configuration's entry that links was made from */
    bool fresh;                      /* the directory was new */
    struct alarms alarms;
    struct applying applying;
    struct arena apply_arena; /* of that entry; no ceiling (mvcc.h) */

    uint64_t commit, applied, applied_term;
    uint64_t snap_index;       /* of the newest durable snapshot */
    uint64_t log_bytes;        /* payloads applied since then… */
    uint64_t applied_bytes;    /* …and since the start */
    struct raft_status status; /* as of the last update: its changes are acted upon */
    uint64_t leader_since_ms, leaderless_since_ms, leader_changes;
    uint64_t leaderless_said_ms; /* when, since there was a leader or the start */
    uint64_t ticked_ms;          /* last tick */

    struct wal_append_req founding_req;
    struct wal_entry founding_entry;
    struct list persists; /* struct persist not yet taken by the log, in order */
    bool disk_full;
    bool disk_hangs;
    uint64_t disk_hangs_since_ms;
    bool hand_over_due;   /* the disk has just become full */
    size_t refused_bytes; /* the largest batch it had no room for */

    struct calls calls;
    struct reads reads;
    struct txn_read txn;
    struct ranges ranges;
    struct beats beats;
    struct changes changes;
    struct leases leases;
    bool compacting, watching; /* slices to do */
    bool flush_due;            /* frames of its own wait in the links */
    struct replays replays;
    unsigned publish_ticks; /* until the next attempt; 0 = now */
    bool published;

    struct snap_save save;
    struct list sends; /* struct snap_send */
    struct snap_recv recv;
    struct {
        uint64_t begun_ms;                 /* of the repair, if one is under way */
        uint64_t said_ms;                  /* why it lasts */
        uint64_t others[RAFT_MEMBERS_MAX]; /* leader: under repair, as the log has been told */
        size_t n_others;
    } repair;
    struct list exports; /* struct store_snapshot */

    struct space space;
    struct hashing hashing;
    struct check check;
};

static inline uint64_t core_now(const struct store *s)
{
    return s->env->now_ms(s->env->data);
}
static inline uint64_t core_random(const struct store *s)
{
    return s->env->random(s->env->data);
}
static inline bool core_leads(const struct store *s)
{
    return s->status.role == RAFT_LEADER;
}
/* There is something for core_turn. */
void core_mark(struct store *s);
/* Steps raft with fresh chance in the event. */
int core_step(struct store *s, struct raft_event *event);
uint64_t core_timeout_ms(const struct store *s);
uint64_t core_election_ms(const struct store *s);

static inline size_t core_work_steps(void)
{
    return BUGGIFY("work_step_short") ? 1 : WORK_STEPS;
}
/* Keys and values that a reply with parts has of its own. */
static inline size_t core_own_keys(void)
{
    return BUGGIFY("reply_all_in_parts") ? 0 : RANGE_SLICE_KEYS;
}
/* The keyspace stands between two states, or must stay as it is: no reads, writes, deliveries and
 * no compaction. */
static inline bool core_is_closed(const struct store *s)
{
    return s->applying.work != NULL || s->txn.work != NULL;
}

/* A lone voter is elected at once. */
void core_campaign_if_alone(struct store *s);

/* ---- core_boot.c, core_force.c ---- */

void core_founding_on_done(struct wal_append_req *req, int status);
/* Before anything on the disk is changed: one whose disk has lost data cannot go on alone, since it
 * could never be repaired. DECREE_ECORRUPT. */
int core_force_check(const struct store *s, const struct wal_recovery *rec, struct err *reterr);
/* Puts a configuration of this member alone behind the log: 1 with *ret, which is on its way to the
 * disk, and rec's term and vote moved on; 0 when it is alone already. DECREE_EINVALID_CONFIG. */
int core_force_alone(
    struct store *s, struct wal_recovery *rec, struct raft_entry *ret, struct err *reterr);

/* ---- core_disk.c: what must be durable ---- */

/* Starts the write of a batch; RAFT_EV_PERSISTED follows when it is done. */
void core_persist(struct store *s, const struct raft_persist *p);
/* Gives the log again what it had no room for. */
void core_persist_retry(struct store *s);
/* May that much be proposed or taken from a leader now? Logs when it ends and when it begins again.
 */
bool core_disk_has_room(struct store *s, size_t n_entries, size_t bytes);
void core_disk_tick(struct store *s);
/* A leader without room is about to let another one lead, who may have some: what it cannot take is
 * not refused yet. */
bool core_disk_hands_over(const struct store *s);
/* A snapshot replaces the log: entries not yet taken are not needed any more. */
void core_persist_forget_entries(struct store *s);
void core_persist_drop(struct store *s);

/* ---- core_repair.c: a disk that lost something ---- */

/* Nothing but the identity is left: the members are those that the operator lists. */
int core_repair_members(struct store *s, const struct core_options *o, struct err *reterr);
/* After damage: begins a new log with what was saved, if others can give the rest. */
int core_repair_log(struct store *s, const struct wal_recovery *saved, struct err *reterr);
void core_repair_status(struct store *s, const struct raft_status *before);
void core_repair_tick(struct store *s);

/* ---- core_call.c: calls from submit to answer ---- */

void core_calls_init(struct store *s);
void core_calls_admit(struct store *s);
void core_calls_propose(struct store *s);
void core_calls_answer_refused(struct store *s);
void core_calls_expire(struct store *s);
void core_calls_fail_all(struct store *s, int status);
/* The outcome of everything proposed is unknown for ever (a snapshot took its place). */
void core_calls_outcome_unknown(struct store *s);
/* An entry of `term` is applied: what was proposed under earlier leaderships and has not come by
 * now never will. It is proposed again. */
void core_calls_new_term(struct store *s, uint64_t term);
struct store_call *core_call_find(struct store *s, uint64_t id);
/* Removes the call from all lists and runs its callback; reply's header is filled in when it is
 * still zero. */
void core_answer(struct store *s, struct store_call *c, int status, struct store_reply *reply);
/* It makes progress: its time begins anew. */
void core_call_postpone(struct store *s, struct store_call *c);
/* To be answered at the end of the turn. */
void core_refuse(struct store *s, struct store_call *c, int status);
/* Into another list under another state. */
/* No more of them have a place. */
bool core_calls_full(const struct store *s);
void core_call_move(struct store *s, struct store_call *c, enum call_state state, struct list *to);
uint64_t core_next_id(struct store *s);

/* ---- core_forward.c: proposals over the leader ---- */

/* Tells a follower that the proposals in its message have not been taken. */
void core_forward_refuse(struct store *s, uint64_t to, const struct raft_msg *m, int status);
void core_on_proposals_refused(struct store *s, uint64_t from, struct bytes body);
/* What is on its way to the leader may not have reached it. */
void core_forward_doubt(struct store *s);
void core_forward_tick(struct store *s);

/* ---- core_member.c: changes of the members ---- */

void core_changes_init(struct store *s);
/* Checks what can be checked at any member. Takes the call in, or returns why not. */
int core_change_admit(struct store *s, struct store_call *c);
int core_move_leader_admit(struct store *s, struct store_call *c);
/* Begins or asks for what waits. */
void core_changes_step(struct store *s);
void core_changes_tick(struct store *s);
void core_changes_status(struct store *s); /* role, leader or term changed */
/* The configuration entry id has been applied. */
void core_change_applied(struct store *s, struct raft_entry_id id);
/* What was under way will not be applied any more, or not here. */
void core_changes_outcome_unknown(struct store *s);
void core_on_member_ask(struct store *s, uint64_t from, struct bytes body);
void core_on_member_answer(struct store *s, struct bytes body);
/* Makes s->links anew if who the members are has changed; says whether it did. */
bool core_links_refresh(struct store *s);
bool core_is_learner(const struct store *s);
/* The bytes of a configuration entry that makes these the members. */
struct buf *core_conf_payload(const struct members *m);
/* The table of the newest configuration in the log while it is not applied. False when there is
 * none; ret is to be deinited in both cases. */
bool core_members_pending(const struct store *s, struct members *ret);

/* ---- core_directories.c: whose data directory is which ---- */

void core_directories_learn(struct store *s, const struct raft_entry *entries, size_t n);
/* Adds it to those of whom the table does not say. */
void core_directories_fill(struct store *s, struct members *links);
void core_directories_deinit(struct store *s);

/* ---- core_join.c: becoming a member ---- */

/* A new directory: asks the cluster which of its members this one is. */
int core_join(
    struct store *s, const struct core_options *o, struct wal_identity *ret, struct err *reterr);
/* One that has joined and has nothing in its log: all comes from the leader. */
int core_join_begin(struct store *s, const struct core_options *o, struct err *reterr);
void core_join_tick(struct store *s);
void core_on_place_ask(struct store *s, uint64_t from, struct bytes body);
void core_on_place_denied(struct store *s, uint64_t from, struct bytes body);

/* ---- core_read.c: reads ---- */

void core_reads_init(struct store *s);
void core_read_want(struct store *s, struct store_call *c);
/* Begins a round when something waits for one. */
void core_reads_begin(struct store *s);
void core_read_result(struct store *s, const struct raft_read_result *r);
/* What waits for an index that has been applied may be served… */
void core_reads_release(struct store *s);
/* …as much of it as a turn has time for. */
void core_reads_serve(struct store *s);
/* One that needs no index. */
void core_read_now(struct store *s, struct store_call *c);
/* A turn begins. */
void core_reads_turn(struct store *s);
bool core_reads_busy(const struct store *s);
void core_reads_tick(struct store *s);
/* The leader changed: every round on its way is asked again. */
void core_reads_restart(struct store *s);
/* A frame beside raft's; leaves at the end of the turn, which this makes sure there is. */
void core_send_frame(struct store *s, uint64_t to, struct buf *frame);
void core_reads_deinit(struct store *s);

/* ---- core_replay.c ---- */

/* Has that forwarded proposal been taken in this term? If not, it has been now. */
bool core_is_replayed(struct store *s, struct entry_id id, uint64_t term);
void core_replays_deinit(struct store *s);

/* ---- core_txn.c: txns that only read ---- */

void core_txn_init(struct store *s);
/* Answers it now, or over the next turns. */
void core_txn_serve(struct store *s, struct store_call *c);
/* Goes on with the one that is at work. */
void core_txn_step(struct store *s);
/* The keyspace goes away. */
void core_txn_give_up(struct store *s);

/* ---- core_beat.c: figures of heartbeats ---- */

void core_beats_init(struct store *s);
/* raft's messages leave. */
void core_beats_sent(struct store *s, const struct raft_update *u);
/* A message has come. */
void core_beats_heard(struct store *s, const struct raft_msg *m);
void core_beats_status(struct store *s); /* role or leader changed */

/* ---- core_range.c: large ranges ---- */

void core_ranges_init(struct store *s);
void core_ranges_deinit(struct store *s);
/* Answers it now, or in slices over the next turns. Its owner takes parts. */
void core_range_serve(struct store *s, struct store_call *c);
/* Reads a slice of one of them. */
void core_ranges_step(struct store *s);
bool core_ranges_busy(const struct store *s);
/* The call is over, whatever its outcome: what it read may be freed. */
void core_range_close(struct store *s, struct store_call *c);
/* All that have begun: the keyspace they read goes away. */
void core_ranges_fail(struct store *s, int status);

/* ---- core_apply.c ---- */

/* Applies a slice of what is committed. */
void core_apply(struct store *s);
/* The keyspace goes away with what is at work on it. */
void core_apply_give_up(struct store *s);
void core_compact_slice(struct store *s);

/* ---- core_alarm.c ---- */

int core_alarm_apply(struct store *s, const struct entry *e, struct store_alarm_reply *ret);
void core_alarm_propose(struct store *s, enum store_alarm_action action, struct store_alarm alarm);
void core_alarms_members_changed(struct store *s);
void core_alarms_tick(struct store *s);
/* Is there an alarm that it differs from the others? */
bool core_is_suspect(const struct store *s, uint64_t member);
/* An entry of this type changes nothing now, since members differ. */
bool core_entry_is_stopped(const struct store *s, enum entry_type type);
/* May a write of that size be accepted? Logs when that ends. */
bool core_has_space(struct store *s, size_t cost);

/* ---- core_hash.c: hashes that clients ask for ---- */

int core_hash_want(struct store *s, struct store_call *c);
void core_hash_step(struct store *s);
/* The call goes away. */
void core_hash_forget(struct store *s, const struct store_call *c);
/* The keyspace goes away: what is under way begins anew. */
void core_hash_abort(struct store *s);
/* After a hasher or another reader was closed: compaction may go on. */
void core_reader_closed(struct store *s);

/* ---- core_check.c: hashes that members compare ---- */

void core_check_tick(struct store *s);
/* An entry was applied: is this the point to compare? */
void core_check_applied(struct store *s);
void core_check_step(struct store *s);
void core_check_abort(struct store *s);
void core_on_hash_ask(struct store *s, uint64_t from, struct bytes body);
void core_on_hash_answer(struct store *s, uint64_t from, struct bytes body);

/* ---- core_export.c: snapshots that clients read ---- */

void core_exports_end(struct store *s, int status);

/* ---- core_lease.c ---- */

void core_leases_deinit(struct store *s);
void core_leases_status(struct store *s); /* role or leader changed */
void core_leases_tick(struct store *s);
/* This leader stood still, and nobody could renew a lease: each gets its full time again. */
void core_leases_extend(struct store *s);
/* The leader has just proved its leadership of `term`. */
void core_leases_expire(struct store *s, uint64_t term);
void core_lease_revoked(struct store *s, int64_t id);
/* Its time is over or its revoke under way: neither renewed nor reported as gone, since this leader
 * or the next one may still give it its time again (R22). */
bool core_lease_is_in_doubt(struct store *s, int64_t id);
void core_lease_forward(struct store *s, struct store_call *c);
void core_on_lease_ask(struct store *s, uint64_t from, struct bytes body);
void core_on_lease_answer(struct store *s, struct bytes body);
/* Seconds, as etcd: one and a half election timeouts, rounded up. */
int64_t core_lease_ttl_min(const struct store *s);

/* ---- core_snap.c and its sisters ---- */

/* header = version, cluster, revision, configuration with the members as its context, alarms */
void core_snap_header(const struct store *s, struct strbuf *out);
struct snap_header {
    uint64_t cluster_id;
    int64_t revision;
    struct raft_conf conf;
    struct members members;
    struct alarms alarms;
};
void core_snap_header_write(const struct snap_header *h, struct strbuf *out);
int core_snap_header_read(struct bytes b, struct snap_header *ret, struct err *reterr);
void core_save_step(struct store *s);
void core_save_abort(struct store *s);
bool core_save_is_busy(const struct store *s); /* wants another slice at once */
/* The lowest index that a stream on its way still needs the entries behind of. */
uint64_t core_sends_floor(const struct store *s);

void core_sends_start(struct store *s, uint64_t to);
void core_sends_step(struct store *s);
void core_sends_tick(struct store *s);
bool core_sends_busy(const struct store *s);
void core_sends_abort_all(struct store *s);

/* So many bytes need no longer than this, or the other side is not worth waiting for. */
static inline uint64_t core_stream_limit_ms(uint64_t bytes, uint64_t bytes_per_s)
{
    return SNAP_STALL_MS + bytes * 1000 / bytes_per_s;
}

void core_recv_tick(struct store *s);
/* Unless it is being finished: then its end is awaited. */
void core_recv_abort(struct store *s);
/* After the log has been closed. */
void core_recv_deinit(struct store *s);
/* The log's snapshot writer is free again. */
void core_recv_retry(struct store *s);

#endif
