/* The store as the doors see it: submit a request, get exactly one reply; open a watch, get
 * batches. Everything here happens in the loop's thread. */
#ifndef DECREE_STORE_STORE_H
#define DECREE_STORE_STORE_H

#include "buf.h"
#include "err.h"
#include "hmap.h"
#include "list.h"
#include "request.h"
#include "times.h"
#include "watch.h"

struct store;

/* ---- calls ---- */

enum store_kind {
    STORE_RANGE,
    STORE_PUT,
    STORE_DELETE,
    STORE_TXN,
    STORE_COMPACT,
    STORE_LEASE_GRANT,
    STORE_LEASE_REVOKE,
    STORE_LEASE_KEEPALIVE,
    STORE_LEASE_TTL,
    STORE_LEASE_LIST,
    STORE_MEMBER_LIST, /* linearizable flag in member_list */
    STORE_STATUS,
    STORE_MEMBER_ADD,     /* member: peer_urls, learner */
    STORE_MEMBER_REMOVE,  /* member: id */
    STORE_MEMBER_UPDATE,  /* member: id, peer_urls */
    STORE_MEMBER_PROMOTE, /* member: id */
    STORE_MOVE_LEADER,    /* member: id; the leader alone does it */
    STORE_ALARM,          /* read, or set and cleared as an entry of the log */
    STORE_HASH,           /* of all this member keeps */
    STORE_HASH_KV,        /* of its keys as of a revision */
    STORE_DEFRAGMENT,     /* done at once: memory is not fragmented by compaction */
    STORE_KIND_END,
};

/* ---- alarms: what is wrong with a member, known to all ---- */

enum store_alarm_type {
    STORE_ALARM_NONE, /* in questions: any */
    STORE_ALARM_NOSPACE,
    STORE_ALARM_CORRUPT,
    STORE_ALARM_TYPE_END,
};
struct store_alarm {
    uint64_t member; /* 0: it could not be told which one */
    enum store_alarm_type type;
    uint32_t own; /* 1: raised by that member itself, which clears it when what it says is over */
};
/* A bool would leave a hole behind itself, and gcc 12 with -ftrivial-auto-var-init=zero clears the
 * holes of a struct with two arrays of such at wrong places. */
_Static_assert(sizeof(struct store_alarm) == 16, "no hole");

enum store_alarm_action {
    STORE_ALARM_GET,
    STORE_ALARM_ACTIVATE,
    STORE_ALARM_DEACTIVATE,
    STORE_ALARM_ACTION_END,
};
struct store_alarm_request {
    enum store_alarm_action action;
    struct store_alarm alarm;
};
struct store_alarm_reply {
    const struct store_alarm *list;
    size_t n;
};

struct store_hash_reply {
    uint32_t hash;
    int64_t compact_revision, hash_revision; /* STORE_HASH_KV */
};

struct store_member {
    uint64_t id;
    const char *name; /* "" until it has started once */
    const char *const *peer_urls;
    size_t n_peer_urls;
    const char *const *client_urls;
    size_t n_client_urls;
    bool learner;
    uint64_t incarnation; /* of its data directory, 0 until it has started once */
};

/* The plain etcd version number that /version, /health and Status show, since clients parse it to
 * know what they may ask for. */
#define STORE_ETCD_VERSION "3.5.21"

#define STORE_UNDER_REPAIR                                                                         \
    "this member's disk lost data; it is fetching it from the other members and does not vote"
#define STORE_DISK_FULL                                                                            \
    "this member's disk has no room for the log: it takes no writes until it has"

/* A change of the members. One at a time is under way in a cluster, the others wait for it; the
 * leader does it, for a call of any member. */
struct store_member_request {
    uint64_t id;
    const char *const *peer_urls;
    size_t n_peer_urls;
    bool learner;
};

struct store_status_reply {
    const char *etcd_version; /* what clients parse */
    uint64_t db_size, db_size_in_use;
    uint64_t leader, raft_index, raft_term, raft_applied;
    bool learner;
    const char *repair;              /* STORE_UNDER_REPAIR while it lasts, else NULL */
    const char *disk_full;           /* STORE_DISK_FULL while it is, else NULL */
    struct store_alarm_reply alarms; /* that are active */
};

/* Every reply's header; what a client sees of it is the door's to decide (§3.3 of the contract). */
struct store_header {
    uint64_t cluster_id, member_id;
    int64_t revision;
    uint64_t raft_term;
};

struct store_reply {
    struct store_header header;
    union {
        struct range_reply range;
        struct put_reply put;
        struct delete_reply del;
        struct txn_reply txn;
        struct lease_reply lease;
        struct lease_list_reply lease_list;
        struct {
            const struct store_member *list;
            size_t n;
            const struct store_member *added; /* STORE_MEMBER_ADD: its element of list */
        } members;                            /* of STORE_MEMBER_*: as they are after the call */
        struct store_status_reply status;
        struct store_alarm_reply alarms;
        struct store_hash_reply hash;
    };
};

struct store_call;
/* status is 0 and reply is set, or a negative code (err.h) and reply is NULL. Everything reply
 * points to is valid during the callback only. The call is the owner's again. */
typedef void (*store_cb)(struct store_call *call, int status, const struct store_reply *reply);
/* Of a reply too large for one turn of the loop. Valid during the callback only. Returns false when
 * it has cancelled the call. */
typedef bool (*store_part_cb)(struct store_call *call, const struct store_part *part);

/* Embedded by its owner, who keeps it and all bytes it points to until cb. */
struct store_call {
    enum store_kind kind;
    union {
        struct range_request range;
        struct put_request put;
        struct delete_request del;
        struct txn_request txn;
        struct compact_request compact;
        struct lease_grant_request lease_grant;
        struct lease_id_request lease_id;
        struct lease_ttl_request lease_ttl;
        struct {
            bool linearizable;
        } member_list;
        struct store_member_request member;
        struct store_alarm_request alarm;
        struct {
            int64_t revision; /* 0 = the current one */
        } hash_kv;
    };
    store_cb cb;
    store_part_cb part; /* NULL: the whole reply at once, however long that takes */
    void *data;
    /* ---- the store's own ---- */
    struct list link_;      /* in the list of its state */
    struct list age_;       /* in the list of all calls, oldest first: deadlines in order */
    struct hmap_node node_; /* by id_, while its entry or question is under way */
    uint64_t id_;
    uint64_t deadline_ms_;
    uint64_t term_;              /* leadership under which it was proposed */
    struct buf *payload_;        /* the encoded entry */
    int64_t lease_id_;           /* of a grant: given or picked */
    struct mvcc_reader *reader_; /* while a range is read in slices… */
    int64_t revision_;           /* …from when this was the newest revision */
    unsigned state_;
    int status_;
};

/* Checks and starts the call. cb runs exactly once, later, never inside this call: a request that
 * fails its check is answered in the same way. The store gives up by itself after its request
 * timeout (5 s plus twice the election timeout, as etcd), with the text that says why. */
void store_submit(struct store *s, struct store_call *call);
/* The owner does not want the answer any more: cb does not run and the call is the owner's at once.
 * A write that was proposed may still happen. */
void store_cancel(struct store *s, struct store_call *call);

/* ---- watches ---- */

/* See watch.h for what a watcher is; these add it to the keyspace of this member, also across the
 * installation of a snapshot. */
void store_watch_add(struct store *s, struct watcher *w);
void store_watch_remove(struct store *s, struct watcher *w);
void store_watch_resume(struct store *s, struct watcher *w);
bool store_watch_is_synced(struct store *s, const struct watcher *w);
int64_t store_compacted_revision(struct store *s);

/* ---- a snapshot as a stream ----
 *
 * Everything this member keeps, at the revision of the opening, as the bytes of a backup file
 * (store/node/backup.h), read piece by piece while writes go on. An open one holds memory back from
 * compaction, so whoever opens it sees to it that it ends. */

enum { STORE_SNAPSHOTS_MAX = 4 /* open at once: a cluster is backed up by one or two */ };

struct store_snapshot;
/* ended runs at most once, later, when the stream cannot go on: DECREE_ESTOPPED, or
 * DECREE_ELEADER_CHANGED when a newer state has taken the place of the one that is being read.
 * After it only store_snapshot_close. DECREE_ETOO_MANY_REQUESTS, DECREE_ECORRUPT_CLUSTER when this
 * member is known to differ from the others, DECREE_EUNHEALTHY while it is under repair,
 * DECREE_ESTOPPED. */
int store_snapshot_open(struct store *s, void (*ended)(void *data, int status), void *data,
    struct store_snapshot **ret);
/* Appends `bytes` to out, or fewer at the end: false when nothing is left after them. */
bool store_snapshot_next(struct store_snapshot *x, size_t bytes, struct strbuf *out);
/* About how many bytes are to come, 0 at the end only: for progress bars. */
uint64_t store_snapshot_left(const struct store_snapshot *x);
/* At the end, once: the SHA-256 of all that came, with which a backup file ends. */
enum { STORE_SNAPSHOT_DIGEST_BYTES = 32 };
void store_snapshot_digest(struct store_snapshot *x, uint8_t ret[STORE_SNAPSHOT_DIGEST_BYTES]);
struct store_snapshot *store_snapshot_close(struct store_snapshot *x);

/* ---- what is known without asking anybody ---- */

bool store_alarm_is_active(struct store *s, enum store_alarm_type type);

struct store_header store_header(struct store *s); /* the current one */
bool store_has_leader(struct store *s);
/* This member has no vote yet: it answers STORE_STATUS and serializable STORE_RANGE only, other
 * calls with DECREE_ELEARNER. Doors that call nothing (watches) ask here. */
bool store_is_learner(struct store *s);
/* What disk and members need for a write here, whatever waits in front of it: the mean sync of the
 * log in the last second with any, or the best time of a whole write if that is longer, which is
 * known to the millisecond. 0 when none was written. */
uint64_t store_write_us(struct store *s);
/* Milliseconds without a leader, 0 while there is one: `hasleader` streams are cut by it. */
uint64_t store_leaderless_ms(struct store *s);

/* ---- figures for /metrics ---- */

struct store_metrics {
    bool has_leader, is_leader, is_learner, repairing;
    uint64_t leader_changes, proposals_committed, proposals_applied, proposals_pending,
        proposals_failed;
    uint64_t db_bytes, db_live_bytes, quota_bytes, keys, leases, watchers, slow_watchers;
    int64_t revision, compacted_revision;
    uint64_t alarms[STORE_ALARM_TYPE_END];  /* active ones of each type */
    uint64_t hash_checks, hash_differences; /* comparisons between members, while this one led */
    uint64_t wal_fsyncs, wal_fsync_ns, wal_fsync_bucket[16]; /* <= 0.001 * 2^i s, cumulative */
    uint64_t wal_bytes;
    uint64_t heartbeats_late; /* sent by this leader, later than two intervals after the last */
    struct store_times heartbeat_gaps; /* between two words of the leader to this follower */
    struct store_times loop_turns;     /* what a turn of the loop takes; bounds_us NULL: no loop */
    size_t n_peers;
    struct {
        uint64_t id;
        uint64_t sent_bytes, received_bytes, sent_failures;
        bool active;
    } peers[32];
};
void store_metrics(struct store *s, struct store_metrics *ret);

#endif
