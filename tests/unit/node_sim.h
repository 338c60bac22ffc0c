/* Members of a cluster in one thread: virtual time, frames in a queue, disks in memory. For tests
 * of the node's core; every run from the same seed is the same. */
#ifndef DECREE_TESTS_NODE_SIM_H
#define DECREE_TESTS_NODE_SIM_H

#include "node_core.h"
#include "wal_disk_mem.h"

enum { SIM_MEMBERS_MAX = 6, SIM_HEARTBEAT_MS = 100, SIM_ELECTION_TICKS = 10 };

struct sim;

struct sim_member {
    struct sim *sim;
    size_t i;
    uint64_t id;
    struct wal_mem *mem;
    struct core_env env;
    struct store *core; /* NULL while it is down */
    bool cut;           /* no frame reaches or leaves it */
    bool joins;         /* was added to the cluster, not one of its founders */
    bool removed;       /* has applied its own removal and was stopped for it */
    bool denied;        /* told that it never was a member */
    unsigned lost;      /* how often its disk was replaced by an empty one */
    struct list unsent; /* frames that wait for its flush */
    uint64_t chance;
};

/* A frame or a stream's event on its way. */
enum sim_event_kind { SIM_FRAME, SIM_READY, SIM_STREAM, SIM_REPLY, SIM_DOWN, SIM_CUT };
struct sim_event {
    struct list link;
    enum sim_event_kind kind;
    size_t from, to;
    bool again; /* a replay */
    struct buf *body;
};

struct sim {
    size_t n; /* founders first */
    size_t founders;
    uint64_t now_ms;
    struct sim_member members[SIM_MEMBERS_MAX];
    struct list events;
    bool paused[SIM_MEMBERS_MAX][SIM_MEMBERS_MAX];   /* stream from, to: the receiver holds it */
    size_t on_way[SIM_MEMBERS_MAX][SIM_MEMBERS_MAX]; /* bytes of it */
    bool full[SIM_MEMBERS_MAX][SIM_MEMBERS_MAX];
    bool replay;               /* every frame arrives twice, the second time after all others */
    uint64_t freed;            /* memory_freed hints */
    uint64_t frames;           /* delivered */
    uint64_t stream_cut_after; /* stream bytes after which it breaks, once; 0 = never */
    /* of all members, set before sim_start */
    uint64_t snapshot_count, snapshot_keep, quota_bytes;
    bool force_new_cluster; /* of those that are started from now on */
};

void sim_init(struct sim *s, size_t n);
void sim_deinit(struct sim *s);
/* Starts a member from its disk; fails the test when it does not. */
void sim_start(struct sim *s, size_t i);
int sim_try_start(struct sim *s, size_t i, const char *name, const char *token, struct err *reterr);
/* A machine for one more member, http://hI:2380; its index. Started after it was added. */
size_t sim_grow(struct sim *s);
/* Its disk is lost; it must be down. */
void sim_wipe(struct sim *s, size_t i);
/* Stops it as kill -9 would: what was written stays readable, what was not is lost. */
void sim_kill(struct sim *s, size_t i);
void sim_stop(struct sim *s, size_t i);

/* A turn of each member that has something to do, and some of the frames; false: nothing is left to
 * do without time going on. */
bool sim_round(struct sim *s);
/* Everything that can be done without time going on. */
void sim_settle(struct sim *s);
/* Time goes on in steps of 10 ms. */
void sim_run(struct sim *s, uint64_t ms);
/* Runs until all members that are up and not cut agree on a leader among them; its index. */
size_t sim_elect(struct sim *s);

/* One call, run to its end (at most ten seconds of virtual time). */
struct sim_call {
    struct store_call call;
    bool done;
    int status;
    struct store_header header;
    struct lease_reply lease; /* keys left out */
    int64_t deleted, count;
    bool succeeded;
    size_t n_members, n_alarms;
    struct store_alarm alarm; /* the first */
    struct store_hash_reply hash;
    char value[64], name[64]; /* of the first key; of the first member */
    uint64_t added;           /* id of a new member */
};
void sim_submit(struct sim *s, size_t i, struct sim_call *c);
int sim_call(struct sim *s, size_t i, struct sim_call *c);
int sim_put(struct sim *s, size_t i, const char *key, const char *value);
/* Linearizable; the value ends up in c->value. */
int sim_get(struct sim *s, size_t i, const char *key, struct sim_call *c);
/* One change of the members at member i. */
int sim_change(struct sim *s, size_t i, enum store_kind kind, uint64_t id);
/* Adds the machine m; its id is known from then on. */
int sim_add(struct sim *s, size_t i, size_t m, bool learner);
/* Fails the test unless all members that are up have the same keyspace. */
void sim_assert_equal(struct sim *s);

#endif
