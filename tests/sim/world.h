/* A cluster in one thread (contracts/reliability.md, "Deterministic simulation for the C code").
 *
 *     plan.h       what happens from outside: faults and load, by time
 *     world.c      the heap of events by (virtual time, sequence), one step after another
 *     member.c     a process: its core, clock, disk, crashes
 *     disk_view.c  what is durable of it
 *     net.c        links and snapshot streams between members
 *     fault.c      faults of the plan
 *     damage.c     those that damage a disk
 *     operator.c   changes of the members, and who joins
 *     client.c     clients of the plan and what they saw
 *     listing.c    the same of their reads of all keys
 *     watch.c      the same of watches
 *     check.c      what must hold after every step
 *     end.c        what must hold at last
 *
 * The cores are the product's own, from raft to node; all around them is here. Pure: equal plans
 * give equal runs, which the rolling hash of all events proves. Streams of chance are separate for
 * network, disks, faults and each member, so that one more draw in one does not shift the others.
 *
 * A violation (world_fail) ends the run at once. So does a broken assertion of the product, but a
 * fatal error that a disk caused (wal: "failed: ") is the death of that member's process. */
#ifndef DECREE_TESTS_SIM_WORLD_H
#define DECREE_TESTS_SIM_WORLD_H

#include <setjmp.h>

#include "chance.h"
#include "core.h"
#include "history.h"
#include "plan.h"
#include "wal_disk_mem.h"

#define SIM_MS ((uint64_t)1000)
#define SIM_S ((uint64_t)1000000)
#define SIM_QUOTA_BYTES (UINT64_C(1) << 30) /* never reached; plans may set a smaller one */

struct world;

/* ---- events ---- */

enum event_kind {
    EVENT_TICK,          /* to: a heartbeat interval of its clock has passed */
    EVENT_TURN,          /* to: a turn of its loop */
    EVENT_DISK,          /* to: its disk has finished what was queued */
    EVENT_FRAME,         /* from, to, body */
    EVENT_UNREACHABLE,   /* to: the link to `from` broke or dropped */
    EVENT_LINK_LOST,     /* to: the connection on which `from` speaks broke */
    EVENT_STREAM_READY,  /* to sends a stream to `from` */
    EVENT_STREAM_REPLY,  /* the same, body */
    EVENT_STREAM_DOWN,   /* the same */
    EVENT_STREAM_FRAME,  /* to receives a stream of `from`, body */
    EVENT_STREAM_CUT,    /* the same */
    EVENT_STREAM_RESUME, /* the receiver, `to`, has room again for that of `from` */
    EVENT_STOPPED,       /* to: the time to hand over is up */
    EVENT_TOLD,          /* to: `from` refuses it as one that was removed */
    EVENT_ITEM,          /* the next item of the plan; to is unused */
    EVENT_CLIENT,        /* to = client: time for the next operation */
    EVENT_GIVE_UP,       /* to = client: its call has taken too long */
    EVENT_WATCH,         /* to = watch: goes on */
    EVENT_KIND_END,
};

struct event {
    uint64_t at_us, sequence;
    enum event_kind kind;
    uint32_t from, to;
    uint64_t life;           /* of the process that it is meant for; 0 = any */
    uint64_t token;          /* of the stream or attempt */
    uint64_t from_id, to_id; /* who they were when it was sent */
    struct buf *body;
};

struct events {
    struct event *heap; /* owned */
    size_t n, cap;
    uint64_t sequence;
};

void events_push(struct events *q, struct event e);
bool events_pop(struct events *q, struct event *ret);
void events_deinit(struct events *q);

/* ---- what is durable of a member: read from its disk at each sync, by nobody's word ---- */

enum { VIEW_FILES_MAX = 64 };

struct view_file {
    uint64_t number, salt, at; /* records below `at` have been read */
};

struct disk_view {
    uint64_t term, vote;
    bool repairing;
    uint64_t base, base_term; /* the entry before the first */
    uint64_t reset_at; /* a snapshot of another line took the log's place since the last look */
    uint64_t *terms;   /* owned; [i] is of entry base + 1 + i */
    size_t n, cap;
    uint32_t epoch;
    struct view_file files[VIEW_FILES_MAX];
    size_t n_files;
};

struct member;
void view_deinit(struct disk_view *v);
/* What v says of entries, so far. */
void view_copy_entries(const struct disk_view *v, struct disk_view *ret);
/* A process has opened m's disk: what it found is durable. */
void view_open(struct member *m);
static inline uint64_t view_last(const struct disk_view *v)
{
    return v->base + v->n;
}
/* 0 when it does not know. */
uint64_t view_term_of(const struct disk_view *v, uint64_t index);
/* With what a last entry beyond the hard state says. */
uint64_t view_hard_term(const struct disk_view *v);

/* ---- members ---- */

enum member_state {
    MEMBER_DOWN,
    MEMBER_UP,
    MEMBER_REFUSED, /* its disk was damaged on purpose and it said so: down for good */
};

struct member {
    struct world *w;
    uint32_t i;
    char name[8];
    uint64_t id, incarnation; /* id 0: it has joined no cluster yet */
    bool joins;               /* its disk was empty when the cluster was there already */
    bool removed;             /* it knows that it was, or never was added: it has stopped */
    struct members cluster;   /* owned: what its operator last gave as the initial cluster */
    enum member_state state;
    uint64_t life; /* counts processes */
    struct store *core;
    struct core_env env;
    struct chance chance;
    struct wal_mem *mem, *image; /* owned */
    struct disk_view view, lost; /* of its disk; and of the one before the damage */
    bool turn_due, disk_due, stopping;
    bool may_refuse;   /* its disk was full or failed at some time */
    size_t disk_takes; /* requests of the write under way */
    bool dying;        /* what the core still does has no effect */
    bool damaged;      /* its disk lost or changed what was durable, until it is repaired */
    bool repairing;    /* it has noticed that */
    bool forgot;       /* its disk is a new one: the others refuse it */
    uint64_t paused_until, hung_until, slow_until, slow_factor;
    uint64_t clock_permille;

    /* check.c */
    uint64_t *votes; /* owned; [term] = whom it voted for */
    size_t votes_cap;
    uint64_t checked_commit, checked_applied, max_term;
    uint64_t checked_conf;       /* entry of the configuration that it had at the last look */
    struct raft_entry_id acked;  /* it said last to have the log up to there */
    struct raft_entry_id stable; /* its log told its core that it is durable up to there */
    bool vouched; /* it was stopped cleanly: nothing on its disk can pass for a torn write */
    int64_t revision;
    struct watcher observer;
};

/* ---- links ---- */

struct stream {
    bool open, paused, full, cutting;
    uint64_t life; /* of this stream */
    size_t on_way;
    uint64_t last_us;
    uint64_t cut_after; /* so many bytes more, of this stream or the next; 0 = never */
    struct list held;   /* struct held_frame: came while paused */
};

struct held_frame {
    struct list link;
    struct buf *body;
};

struct link {
    unsigned cuts; /* faults that cut it now */
    bool met;      /* the sender has heard the other one, whom its table need not list */
    uint64_t mean_us, last_us, up_since_us, clogged_until;
    uint64_t lag_us, lagged_until;
    struct stream stream;
};

/* ---- clients and watches ---- */

struct listing;

struct attempt {
    struct store_call call;
    struct world *w; /* NULL: nobody waits any more */
    uint32_t client, member;
    uint64_t number; /* history's */
    enum item_kind kind;
    char key[16], *value;    /* owned */
    struct listing *listing; /* owned; of all keys */
    struct compare compare;
    struct txn_op op;
    struct txn_request txn;
};

struct client {
    uint32_t member; /* it talks to */
    struct attempt *attempt;
    uint64_t life; /* counts attempts */
    int64_t lease, seen_revision;
    bool last_ok;              /* its last call was answered well */
    int64_t mod[SIM_KEYS_MAX]; /* of each key as last seen */
    struct list todo;          /* struct todo */
};

struct todo {
    struct list link;
    struct item item;
};

struct watch {
    struct world *w;
    bool wanted, added, stalled;
    uint32_t member;
    uint64_t life, until_us;
    uint64_t key;
    char text[16];
    size_t number; /* history's */
    int64_t next_revision;
    struct watcher watcher;
};

/* ---- changes of the members ---- */

enum { SIM_CHANGES_MAX = 4, SIM_GONE_MAX = 64 };

struct change {
    struct store_call call;
    struct world *w; /* NULL: it stays with a core that nobody can take down */
    uint32_t via;
    size_t place; /* in world.changes */
    enum item_kind kind;
    char text[2][24];
    const char *urls[2];
};

/* ---- what is known of the cluster ---- */

struct committed {
    uint64_t term, hash;
    uint64_t conf_hash;  /* of the configuration as of this entry */
    uint64_t by_term;    /* leadership that committed it */
    uint64_t state_hash; /* of the keyspace when exactly this is applied; 0 = not known */
};

struct known {
    uint64_t term, index, hash; /* an entry that somebody sent; term 0 = free */
};

struct truth {
    struct history_change *list; /* owned, with their bytes */
    size_t n, cap;
    uint64_t *at; /* owned: [revision] = first change of it */
    size_t at_cap;
    int64_t revision; /* newest */
};

#define SIM_COUNTS(X)                                                                              \
    X(frames)                                                                                      \
    X(frames_lost)                                                                                 \
    X(frames_repeated)                                                                             \
    X(ticks)                                                                                       \
    X(turns)                                                                                       \
    X(writes)                                                                                      \
    X(calls)                                                                                       \
    X(reads)                                                                                       \
    X(unknown)                                                                                     \
    X(watch_events)                                                                                \
    X(elections)                                                                                   \
    X(fatals)                                                                                      \
    X(refusals)                                                                                    \
    X(repaired)                                                                                    \
    X(entries_committed)                                                                           \
    X(converged_ms)                                                                                \
    X(changes_refused)                                                                             \
    X(changes_committed) X(parts) X(joined) X(told_removed) X(denied) X(came_back_removed)

struct counts {
#define X(name) uint64_t name;
    SIM_COUNTS(X)
#undef X
    uint64_t items[ITEM_END]; /* faults and operations that took effect */
};

enum phase { PHASE_LOAD, PHASE_HEALING, PHASE_OVER };

struct world {
    const struct plan *plan;
    struct settings set;
    enum phase phase;
    uint64_t now_us, steps, hash;
    struct events events;
    size_t next_item;
    struct chance net, disk;
    struct member members[SIM_MEMBERS_MAX];
    size_t n, chosen;
    struct link links[SIM_MEMBERS_MAX][SIM_MEMBERS_MAX];
    uint64_t filtered_until[RAFT_MSG_TYPE_END];
    struct members founders;
    struct change *changes[SIM_CHANGES_MAX];
    struct raft_conf conf;       /* the last one that is committed… */
    uint64_t conf_index;         /* …by this entry */
    uint64_t gone[SIM_GONE_MAX]; /* ids that were members, or were told that they never will be */
    size_t n_gone;
    struct client clients[SIM_CLIENTS_MAX];
    struct watch watches[SIM_WATCHES_MAX];
    struct history *history;
    uint64_t values; /* counts them: each is unique */

    /* check.c */
    uint64_t *leaders; /* owned; [term] = who led */
    size_t leaders_cap;
    struct committed *log; /* owned; [index] */
    size_t log_cap;
    uint64_t commit;
    struct known *known; /* owned; a table of known_cap, a power of two */
    size_t known_n, known_cap;
    struct truth truth;

    struct counts counts;
    bool trace;
    struct member *inside; /* whose code runs */
    jmp_buf inside_env, fail_env;
    char fatal[512];
    struct strbuf failure;
};

/* ---- world.c ---- */

struct outcome {
    bool failed;
    char failure[768];
    uint64_t hash, steps, virtual_us;
    struct counts counts;
    struct history_summary history;
};
void world_run(const struct plan *plan, bool trace, struct outcome *ret);
/* The run is over: something that must never be was seen. The first word names the promise. */
_noreturn_ _printf_(2, 3) void world_fail(struct world *w, const char *fmt, ...);
_printf_(2, 3) void world_trace(struct world *w, const char *fmt, ...);
void world_mix(struct world *w, uint64_t word);
void world_push(struct world *w, struct event e);
/* Steps until then. */
void world_run_until(struct world *w, uint64_t at_us);

/* ---- member.c ---- */

void member_init(struct world *w, uint32_t i);
void member_deinit(struct member *m);
static inline bool member_is_up(const struct member *m)
{
    return m->state == MEMBER_UP;
}
/* What it says or shows from now on is of no effect: it is dead and does not know. */
static inline bool member_is_mute(const struct member *m)
{
    return m->dying || m->core == NULL || wal_mem_is_dead(m->mem);
}
void member_start(struct member *m);
/* An empty disk, and all that is known of the old one is forgotten. */
void member_renew(struct member *m);
/* keep: as wal_mem_power_cut's. */
void member_crash(struct member *m, unsigned keep);
void member_stop(struct member *m);
void member_pause(struct member *m, uint64_t until_us);

enum input_kind {
    INPUT_TICK,
    INPUT_TURN,
    INPUT_DISK,
    INPUT_FRAME,
    INPUT_UNREACHABLE,
    INPUT_LINK_LOST,
    INPUT_STREAM_READY,
    INPUT_STREAM_REPLY,
    INPUT_STREAM_DOWN,
    INPUT_STREAM_FRAME,
    INPUT_STREAM_CUT,
    INPUT_HAND_OVER,
    INPUT_SUBMIT,
    INPUT_OPEN,
    INPUT_CLOSE,
};
struct input {
    enum input_kind kind;
    uint64_t from;
    struct bytes body;
    struct store_call *call;
    const struct core_options *options;
    struct err *err;
    int rc;
};
/* Something was given to its core outside of member_input. */
void member_poke(struct member *m);
/* Runs the product's code. False when the member died of it. */
bool member_input(struct member *m, struct input *in);

/* ---- net.c ---- */

void net_init(struct world *w);
void net_deinit(struct world *w);
void net_bind(struct member *m); /* the network's part of its env */
void net_deliver(struct world *w, struct event *e);
void net_on_gone(struct world *w, uint32_t member, bool silent);
/* Nothing that is on its way from or to it arrives. */
void net_purge(struct world *w, uint32_t member);
/* m tries all that it does not reach, and hears from whom knows that it was removed. */
void net_dial(struct world *w, struct member *m);
void net_reset(struct world *w, uint32_t from, uint32_t to);
/* No link takes longer than that on average from now on. */
void net_heal(struct world *w, uint64_t calm_us);
bool net_reaches(const struct world *w, uint32_t from, uint32_t to);

/* ---- operator.c ---- */

/* Before it starts: is there anything to start, and with which initial cluster? */
bool operator_prepare(struct member *m);
/* core_options.join. */
int operator_on_join(void *data, const struct members *founders, const struct store_member *self,
    struct members_answer *ret, struct err *reterr);
bool operator_do(struct world *w, const struct item *x);
bool operator_is_idle(const struct world *w);
/* Something that was asked for may still come about. */
bool operator_may_change(const struct world *w);
void operator_on_gone(struct world *w, const struct member *m);
/* m has been told, or has found out, that it is no member any more. */
void operator_removed(struct member *m);
/* Whoever is listed and has never run is started. */
void operator_start_listed(struct world *w);
/* The machine of that member, w->n when there is none. */
size_t operator_slot(const struct world *w, uint64_t id);
/* It was told that it never was a member, nor will be. */
void operator_denied(struct member *m);
bool operator_is_gone(const struct world *w, uint64_t id);

/* ---- fault.c, damage.c, client.c, watch.c ---- */

/* Of its disk. False when that must not be, or does nothing. */
bool damage_do(struct member *m, const struct item *x);
void fault_do(struct world *w, const struct item *x);
/* Whom an item names as a member. */
static inline uint32_t member_named(const struct world *w, uint64_t name)
{
    return (uint32_t)(name < SIM_CHOSEN ? name % w->n : (w->chosen + name - SIM_CHOSEN) % w->n);
}
void clients_init(struct world *w);
void clients_deinit(struct world *w);
void client_do(struct world *w, const struct item *x);
void client_step(struct world *w, const struct event *e);
void client_give_up(struct world *w, const struct event *e);
/* That process died with its calls: whoever waits for it does not know. */
void clients_on_gone(struct world *w, const struct member *m);
bool clients_are_idle(const struct world *w);
/* listing.c */
void listing_ask(struct attempt *a, bool in_txn);
uint64_t listing_begin(struct attempt *a); /* a number of the history */
void listing_last(struct attempt *a, const struct store_reply *reply);
void listing_end(struct attempt *a, const struct history_reply *reply);
void listing_free(struct listing *l);
void watch_do(struct world *w, const struct item *x);
void watch_step(struct world *w, const struct event *e);
void watches_on_gone(struct world *w, const struct member *m);
/* How many have not been told everything yet; the others are held to it from now on. */
size_t watches_behind(struct world *w);
void watches_settle(struct world *w);

/* ---- check.c ---- */

void check_deinit(struct world *w);
/* A process has opened its disk. */
void check_opened(struct member *m);
/* After each step of that member. */
void check_member(struct member *m);
void check_frame(struct member *m, uint32_t to, struct bytes body);
/* The newest state of all members. */
void check_equal(struct world *w, uint64_t mask);

/* ---- truth.c ---- */

/* From now on what m applies is compared with the truth, or is it. */
void truth_observe(struct member *m);
void truth_deinit(struct truth *t);
struct history_change change_of(const struct watch_event *e);

/* ---- end.c ---- */

void end_run(struct world *w);

#endif
