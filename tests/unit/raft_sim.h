/* A cluster of raft cores on a simulated network and simulated disks, for test_raft_script and
 * test_raft_random. Messages wait in one pool until the test delivers, drops or repeats them;
 * batches wait at each member's disk until the test makes them durable. A crash keeps what is
 * durable and nothing else.
 *
 * After each event the promises of Raft are checked (contracts/reliability.md, "Per-step
 * invariants"; raft_sim_check.c): one leader a term, one vote a term and member, log matching,
 * leader completeness, commits that stand durably on a majority, equal states at equal indexes,
 * nothing sent that depends on what is not durable, read indexes no older than the question. A
 * broken one ends the process and says which. */
#ifndef DECREE_TESTS_RAFT_SIM_H
#define DECREE_TESTS_RAFT_SIM_H

#include "buf.h"
#include "hmap.h"
#include "raft.h"

enum { SIM_NODES_MAX = 9, SIM_TERMS_MAX = 1 << 12 };

struct sim_msg {
    struct raft_msg m;          /* entries point to the copy below */
    struct raft_entry *entries; /* owned, payloads referenced */
    bool is_snapshot;           /* a stream from m.from to m.to, sent in m.term */
    struct raft_entry_id snap;
    struct raft_conf conf;
};

struct sim_write {
    uint64_t seq;
    bool hard;
    uint64_t term, vote;
    bool repairing;
    struct raft_entry *entries; /* owned, payloads referenced */
    size_t n_entries;
    bool is_reset; /* a snapshot took the place of the log */
    struct raft_entry_id reset_to;
};

struct sim_read {
    uint64_t context, min_index;
};

struct sim_node {
    uint64_t id;
    struct raft *r; /* NULL = down */
    bool changed;   /* stepped since its last update was taken */

    /* on its disk */
    uint64_t term, vote;
    bool repairing;            /* a part was lost, and this is known */
    struct raft_entry_id base; /* the entry before the log's first */
    struct raft_entry *log;
    size_t n_log, log_cap;
    struct raft_entry_id snap;
    struct raft_conf snap_conf;
    struct sim_write *writes; /* under way, in order */
    size_t n_writes, writes_cap;

    /* What it had before it was damaged and has acknowledged, while it is under repair. */
    struct raft_entry_id *lost;
    size_t n_lost, lost_cap;
    uint64_t lost_snap;

    uint64_t applied, hash, commit;
    uint64_t
        led; /* newest term it was seen leading: one that led its own removal follows at once */
    struct sim_read *reads;
    size_t n_reads, reads_cap;
};

/* What was committed, as the first leader that knew committed it. */
struct sim_committed {
    uint64_t term, hash; /* of all entries up to here */
};

struct sim_known {
    struct hmap_node node;
    struct raft_entry_id id;
    uint64_t prev_term, payload;
};

struct sim {
    struct sim_node nodes[SIM_NODES_MAX + 1]; /* by id; 0 is unused */
    size_t n_nodes;
    struct raft_options options;
    struct sim_msg *pool;
    size_t n_pool, pool_cap;
    uint64_t random; /* state of the generator that events draw from */
    uint64_t next_context;
    uint64_t next_session;
    struct raft_conf founders;

    struct sim_committed *committed; /* [0] stands for the empty log */
    size_t n_committed, committed_cap;
    uint64_t leader_of[SIM_TERMS_MAX];
    uint64_t vote_of[SIM_NODES_MAX + 1][SIM_TERMS_MAX];
    uint64_t max_term;
    struct hmap known;
    size_t n_reads_ok, n_snapshots, n_elections, n_damaged, n_healed;

    struct strbuf *trace; /* NULL = silent */
    char where[64];       /* names the run in a failure */
};

/* A cluster of `nodes` members, all up, of which those in conf found it; the others begin empty.
 * The seed is that of the chance which events draw from. Fill in s->where, and s->trace if wanted.
 */
void sim_init(struct sim *s, size_t nodes, const struct raft_conf *conf,
    const struct raft_options *options, uint64_t seed);
void sim_deinit(struct sim *s);
uint64_t sim_random(struct sim *s);

/* Prints the trace, where it is and what is wrong; the process ends with 1. */
__attribute__((noreturn, format(printf, 2, 3))) void sim_fail(struct sim *s, const char *fmt, ...);

#define SIM_CHECK(s, cond, ...)                                                                    \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            sim_fail(s, __VA_ARGS__);                                                              \
        }                                                                                          \
    } while (0)

/* ---- a member's life; n must be up but for sim_start and sim_damage ---- */

/* Starts it from its disk. */
void sim_start(struct sim *s, struct sim_node *n);
/* The first `whole` writes under way and `part` entries of the next reach the disk. */
void sim_crash(struct sim *s, struct sim_node *n, size_t whole, size_t part);
/* The disk of a member that is down loses the log from `index` on, and from 0 on everything, and
 * remembers a term no newer than `term`; that this is so is known to it. */
void sim_damage(struct sim *s, struct sim_node *n, uint64_t index, uint64_t term);
/* Steps it; what raft_step returns. */
int sim_event(struct sim *s, struct sim_node *n, struct raft_event *ev);
int sim_read(struct sim *s, struct sim_node *n, uint64_t *ret_context);
int sim_propose(struct sim *s, struct sim_node *n, enum raft_entry_type type, struct bytes payload);
/* The payload of an entry that changes the members. */
struct buf *sim_conf_payload(const struct raft_conf *conf);
/* Its oldest write under way, of which there must be one, becomes durable. */
void sim_persist(struct sim *s, struct sim_node *n);
/* Takes one update and starts what it asks for. */
void sim_take(struct sim *s, struct sim_node *n);
/* Snapshots the applied state and forgets the log but for `keep` entries behind it. */
void sim_compact(struct sim *s, struct sim_node *n, uint64_t keep);

/* ---- messages on their way ---- */

/* A copy of m goes last into the pool. */
void sim_pool_add(struct sim *s, const struct sim_msg *m);
void sim_pool_remove(struct sim *s, size_t i);
/* Hands pool[i] to whom it is for (who must be up) and takes it out of the pool. */
void sim_deliver(struct sim *s, size_t i);

/* The newest index that some leader knew as committed. */
uint64_t sim_committed_index(const struct sim *s);

/* ---- words for traces ---- */

extern const char *const sim_msg_names[RAFT_MSG_TYPE_END];
void sim_trace_conf(struct strbuf *t, const struct raft_conf *conf);
void sim_trace_entries(struct strbuf *t, const struct raft_entry *entries, size_t n);
void sim_trace_status(struct strbuf *t, const struct raft *r);

#endif
