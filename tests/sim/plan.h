/* What a run does, written down before it begins: settings, and a schedule of faults and client
 * operations, each one line of text. A seed draws a plan; shrinking takes lines away; a script is a
 * plan that somebody kept. So nothing that happens in a run is decided outside its plan but by the
 * streams of chance that the seed feeds (world.h). */
#ifndef DECREE_TESTS_SIM_PLAN_H
#define DECREE_TESTS_SIM_PLAN_H

#include "buf.h"
#include "err.h"

enum { SIM_MEMBERS_MAX = 9, SIM_CLIENTS_MAX = 6, SIM_WATCHES_MAX = 8, SIM_KEYS_MAX = 8 };

/* name, what it is */
#define SIM_SETTINGS(X)                                                                            \
    X(seed)    /* of every stream of chance */                                                     \
    X(members) /* that found the cluster */                                                        \
    X(spares)  /* machines beside them, which may become members; 0 = no changes of members */     \
    X(clients)                                                                                     \
    X(keys)                                                                                        \
    X(run_ms) /* of faults and load; then everything heals */                                      \
    X(heartbeat_ms)                                                                                \
    X(election_ticks)                                                                              \
    X(snapshot_count)                                                                              \
    X(snapshot_keep)                                                                               \
    X(segment_bytes)                                                                               \
    X(quota_bytes)                                                                                 \
    X(turn_us)         /* mean time between the input of a turn and the turn */                    \
    X(latency_us)      /* mean of a link's exponential latency */                                  \
    X(latency_spread)  /* links differ by up to this factor */                                     \
    X(fifo)            /* 1 = links keep the order of frames and repeat none, as TCP */            \
    X(loss_permille)   /* of frames */                                                             \
    X(repeat_permille) /* of frames arrive again, up to seconds later */                           \
    X(disk_us)         /* mean of a write's exponential duration */                                \
    X(slow_permille)   /* of the writes take a hundred times longer */                             \
    X(clock_permille)  /* clocks run up to this much faster or slower */                           \
    X(stream_window)   /* bytes of a snapshot stream on their way */                               \
    X(client_ms)       /* a client gives up after that */                                          \
    X(value_bytes)                                                                                 \
    X(buggify)   /* 1 = sites of buggify.h fire */                                                 \
    X(core_mask) /* members that the end heals, as bits */                                         \
    X(lose_all)  /* 1 = the very end cuts the power with nothing unsynced kept */                  \
    X(canary)    /* 1 = a read answered after a kill is a violation: tests the shrinking */

struct settings {
#define X(name) uint64_t name;
    SIM_SETTINGS(X)
#undef X
};

/* name, arguments; times are milliseconds */
#define SIM_ITEMS(X)                                                                               \
    X(kill, "member") /* -9 */                                                                     \
    X(power_cut, "member keep_percent")                                                            \
    X(die_at, "member nth_operation keep_percent")                                                 \
    X(start, "member")                                                                             \
    X(stop, "member") /* cleanly, leadership handed over */                                        \
    X(hand_over, "member")                                                                         \
    X(pause, "member for_ms")                                                                      \
    X(hang, "member for_ms")                                                                       \
    X(slow, "member for_ms factor")                                                                \
    X(fail_sync, "member nth_sync")                                                                \
    X(fail_op, "member nth_operation")                                                             \
    X(full, "member spare_bytes")                                                                  \
    X(room, "member")                                                                              \
    X(flip, "member file bit") /* while it is down, like the next */                               \
    X(move_sector, "member file to")                                                               \
    X(lose, "member records") /* so many of the last that its log holds, after a clean stop */     \
    X(wipe, "member")                                                                              \
    X(image, "member")     /* of its disk is kept */                                               \
    X(old_image, "member") /* and comes back */                                                    \
    X(cut, "from to")      /* one way */                                                           \
    X(heal, "from to")                                                                             \
    X(partition, "mask") /* those in it from the others */                                         \
    X(join, "mask")                                                                                \
    X(isolate, "member in_out") /* 1 = it hears nobody, 2 = nobody hears it, 3 = both */           \
    X(return, "member in_out")                                                                     \
    X(clog, "from to for_ms")                                                                      \
    X(lag, "from to late_ms for_ms") /* all that is sent meanwhile comes so much later */          \
    X(filter, "message_type for_ms")                                                               \
    X(choose, "otherwise") /* the leader of the newest term, for items to come */                  \
    X(reset, "from to")    /* of the connection */                                                 \
    X(stream_cut, "from to after_bytes")                                                           \
    X(add, "slot learner via") /* asked of member `via` */                                         \
    X(promote, "slot via")                                                                         \
    X(remove, "slot via")     /* slot 64 = whoever leads then */                                   \
    X(update, "slot via two") /* of its addresses */                                               \
    X(move_leader, "slot")                                                                         \
    X(fresh, "slot") /* an empty disk in a machine whose member was removed */                     \
    X(put, "client key")                                                                           \
    X(put_leased, "client key")                                                                    \
    X(get, "client key")                                                                           \
    X(get_stale, "client key")                                                                     \
    X(list, "client how") /* all keys, in parts; how is odd: in a txn */                           \
    X(del, "client key")                                                                           \
    X(cas, "client key")                                                                           \
    X(grant, "client ttl_s")                                                                       \
    X(keepalive, "client")                                                                         \
    X(revoke, "client")                                                                            \
    X(compact, "client behind")                                                                    \
    X(move_client, "client member")                                                                \
    X(watch, "watch key behind") /* key 8 = all */                                                 \
    X(watch_stall, "watch for_ms")

enum item_kind {
#define X(name, args) ITEM_##name,
    SIM_ITEMS(X)
#undef X
        ITEM_END,
    ITEM_FIRST_DISK = ITEM_hang,
    ITEM_FIRST_LINK = ITEM_cut,
    ITEM_FIRST_CHANGE = ITEM_add,
    ITEM_FIRST_OP = ITEM_put,
};
enum { ITEM_ARGS = 4 };

/* As a member of an item: the one that `choose` chose, and + k = the k-th after it. */
enum { SIM_CHOSEN = 100 };
/* Of a change: whoever leads when it comes to that. */
enum { SIM_THE_LEADER = 64 };

struct item {
    uint64_t at_ms;
    enum item_kind kind;
    uint64_t args[ITEM_ARGS];
};

struct plan {
    struct settings set;
    struct item *items; /* owned, by time */
    size_t n, cap;
};

void plan_deinit(struct plan *p);
void plan_copy(const struct plan *p, struct plan *ret);
void plan_add(struct plan *p, struct item item);
/* By time; equal times stay as they were added. */
void plan_sort(struct plan *p);

/* swarm.c */
void plan_draw(uint64_t seed, struct plan *ret);

/* script.c */
const char *item_name(enum item_kind kind);
size_t item_args(enum item_kind kind);
void plan_write(const struct plan *p, const char *why, struct strbuf *out);
/* DECREE_EBAD_REQUEST names the line. */
int plan_read(const char *text, struct plan *ret, struct err *reterr);

#endif
