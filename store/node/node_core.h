/* The store without a loop: raft, log and keyspace put together, told everything from outside.
 *
 *     calls (store.h), frames, ticks, disk completions --> core_turn --> log writes, frames,
 * replies
 *
 * Time and chance come through `struct core_env`, messages leave through it; so the libuv shell
 * (node.c) and the simulator run the same core. One thread.
 *
 * A turn: the shell lets everything come in (calls, frames, core_disk, core_tick), then runs
 * core_turn once. It proposes all that came as one batch, starts the log's write and the sends
 * together, applies what is committed, and answers. */
#ifndef DECREE_STORE_NODE_NODE_CORE_H
#define DECREE_STORE_NODE_NODE_CORE_H

#include "buf.h"
#include "err.h"
#include "members.h"
#include "store.h"

struct wal_disk;

/* What the core asks of the world. `data` is core_env's own. */
struct core_env {
    void *data;
    /* Milliseconds that never go back and go on while the machine is suspended. */
    uint64_t (*now_ms)(void *data);
    uint64_t (*random)(void *data);
    /* core_turn has work to do: run it in this turn of the loop, after what comes in. */
    void (*wake)(void *data);

    /* A frame to a member, in parts (own references are taken). May be dropped at any time; a link
     * that drops says so with core_unreachable. flush: no more in this turn. */
    void (*send)(void *data, uint64_t to, struct buf *const *parts, size_t n_parts);
    void (*flush)(void *data);
    /* Has the link to `peer` been up without a break since then? */
    bool (*connected_since)(void *data, uint64_t peer, uint64_t since_ms);

    /* A stream to a member, one at a time each. open: core_stream_ready or core_stream_down comes
     * later. send: false when no more should follow before the next core_stream_ready. close: no
     * calls for it after this. */
    void (*stream_open)(void *data, uint64_t to);
    bool (*stream_send)(void *data, uint64_t to, struct buf *frame_consume);
    void (*stream_close)(void *data, uint64_t to);
    /* The incoming stream of a member: the one answer, and reading on after CORE_STREAM_PAUSE. */
    void (*stream_answer)(void *data, uint64_t from, struct buf *frame_consume);
    void (*stream_resume)(void *data, uint64_t from);

    /* Fills in what the core does not see: ret's peers and loop_turns. */
    void (*metrics)(void *data, struct store_metrics *ret);
    /* The members' table has changed. */
    void (*members_changed)(void *data);
    /* Much memory was freed: a good moment to give it back to the system, later. */
    void (*memory_freed)(void *data);
};

struct core_options {
    const char *name;
    const char *data_dir;
    const struct members
        *founders;     /* of a new cluster, this member by its name; NULL: none given */
    const char *token; /* as given, NULL when not: checked against the disk's */
    bool existing;     /* do not found a cluster: join the one that founders name */
    /* Asks the members at the founders' addresses until one gives an answer that is agreed upon, or
     * else takes the newest one; blocking. 0 and ret is the core's, or a code with a text. */
    int (*join)(void *data, const struct members *founders, const struct store_member *self,
        struct members_answer *ret, struct err *reterr);
    void *join_data;
    bool force_new_cluster;       /* forget all other members */
    const char *const *peer_urls; /* this member's as given; must be the founders' when founding */
    size_t n_peer_urls;
    const char *const *client_urls;
    size_t n_client_urls;
    unsigned heartbeat_ms, election_ticks;
    uint64_t snapshot_count, snapshot_keep;
    uint64_t quota_bytes;
    /* the log's */
    size_t segment_bytes;
    struct wal_disk *disk;
    void (*disk_wake)(void *data);
    void *disk_wake_data;
};

/* Opens the data directory, recovers, founds or checks the cluster. Options are borrowed during the
 * call, env until core_close. reterr says what is wrong and where. */
int core_open(const struct core_options *options, const struct core_env *env, struct store **ret,
    struct err *reterr);
/* A leader that is about to go hands over to the member that is up to date, so that nobody waits
 * for an election timeout. True when that has begun: it is over when core_leads_now is false. */
bool core_hand_over(struct store *s);
bool core_leads_now(const struct store *s);
/* Answers every call with DECREE_ESTOPPED; calls that come later are answered so as well. */
void core_stop(struct store *s);
/* After core_stop. Waits for the write on its way to the disk. */
struct store *core_close(struct store *s);

/* The directory was new. */
bool core_is_new(const struct store *s);
/* The entry that makes this member the whole cluster is not durable yet. */
bool core_is_forcing(const struct store *s);
/* A random number made with the data directory, never 0: tells one that lost its data from the
 * member that the others know. Once, before the first core_tick. */
void core_set_incarnation(struct store *s, uint64_t incarnation);

/* Work for a turn has come in. */
bool core_is_dirty(const struct store *s);
/* True when more could be done at once: run it again without waiting for input. */
bool core_turn(struct store *s);
/* One heartbeat interval has passed. */
void core_tick(struct store *s);
/* The log's thread has finished something. */
void core_disk(struct store *s);

/* A frame from a member whose identity the link has proved. The body is untrusted. */
void core_frame(struct store *s, uint64_t from, struct bytes body);
/* Frames to peer were dropped, or its link broke. */
void core_unreachable(struct store *s, uint64_t peer);
/* The link on which that member speaks is gone. */
void core_link_lost(struct store *s, uint64_t peer);

/* Streams this member sends. */
void core_stream_ready(struct store *s, uint64_t to); /* open, or drained */
void core_stream_reply(struct store *s, uint64_t to, struct bytes body);
void core_stream_down(struct store *s, uint64_t to, const char *why);

/* Streams this member receives. */
enum { CORE_STREAM_GO = 0, CORE_STREAM_PAUSE = 1, CORE_STREAM_CUT = -1 };
int core_stream_frame(struct store *s, uint64_t from, struct bytes body);
void core_stream_cut(struct store *s, uint64_t from);

uint64_t core_id(const struct store *s);
uint64_t core_cluster_id(const struct store *s);
/* As applied here. Valid until the next core_turn. */
const struct members *core_members(const struct store *s);
/* Those to be connected with: beside the members as applied those of a change that is in the log
 * and not committed yet, and what a member was told when it joined. env's members_changed says when
 * there is another list. */
const struct members *core_links(const struct store *s);
/* This member has applied its own removal: it must stop and stay away. */
bool core_was_removed(const struct store *s);
/* The cluster has gone on without ever knowing this member: the addition that gave it its id was
 * lost with the leader that made it. Returns who said so, 0 while nobody has. */
uint64_t core_is_unknown_to(const struct store *s);
/* What a member answers to one that wants to join. agreed: a linearizable read has just come back
 * here. False: it is joining itself, and knows the members by hearsay only, which may be old. */
bool core_join_answer(const struct store *s, bool agreed, struct strbuf *out);
/* For tests and, later, the comparison between members. */
uint64_t core_hash(const struct store *s);
uint64_t core_applied(const struct store *s);
/* Index of the newest durable snapshot, 0 when there is none. */
uint64_t core_snapshot_index(const struct store *s);

#endif
