/* A member of the store on a libuv loop: the core (node_core.h) wired to the disk, the clock and
 * the links to the other members. Everything runs in the loop's thread but the log's own writes. */
#ifndef DECREE_STORE_NODE_NODE_H
#define DECREE_STORE_NODE_NODE_H

#include <uv.h>

#include "err.h"
#include "store.h"

/* All strings and arrays are borrowed during node_open only. 0 takes the default in brackets. */
struct node_options {
    const char *name;     /* of this member; must stand in initial_cluster */
    const char *data_dir; /* made 0700 when missing */
    /* ---- founding a cluster; a data directory that holds one already ignores these (but for the
     * token, when given, which must be the one on disk) ---- */
    const char *initial_cluster;       /* "m1=http://h1:2380,m2=…"; NULL: this member alone */
    const char *initial_cluster_token; /* NULL: "etcd-cluster" */
    bool initial_cluster_existing;     /* the cluster is there already: a new directory joins it
                                          by asking those that initial_cluster names */
    /* Make this member the only one of its cluster; done once, whatever happens to the option: it
     * counts again after a start without it. */
    bool force_new_cluster;
    const char *const *initial_advertise_peer_urls; /* this member's, as in initial_cluster */
    size_t n_initial_advertise_peer_urls;
    /* ---- addresses ---- */
    const char *const *listen_peer_urls; /* none: a lone member needs no network */
    size_t n_listen_peer_urls;
    const char *const *advertise_client_urls; /* published to the members' list */
    size_t n_advertise_client_urls;
    /* ---- figures ---- */
    unsigned heartbeat_ms;   /* [100] */
    unsigned election_ms;    /* [1000] at least five heartbeats */
    uint64_t snapshot_count; /* [100,000] entries between snapshots */
    uint64_t snapshot_keep;  /* [5,000] entries kept behind a snapshot for followers that lag */
    uint64_t quota_bytes;    /* [2 GiB] */
    /* ---- the end ---- */
    /* This member must stop and stay away: it was removed from the cluster, or has lost its data.
     * At most once, never inside a call to node_*; the owner calls node_stop. NULL: nobody is told.
     */
    void (*ended)(void *data, const char *why);
    void *ended_data;
};

struct node;

/* Recovers the data directory, opens the peer listeners and starts. Blocks while it reads the disk:
 * nothing is served before. The caller runs the loop, also after a failure, until what was begun
 * has been let go. Errors: DECREE_EINVALID_CONFIG, DECREE_ECORRUPT, -EBUSY (directory in use),
 * -EADDRINUSE, …; reterr says what and where. */
int node_open(
    uv_loop_t *loop, const struct node_options *options, struct node **ret, struct err *reterr);

/* The in-process face; valid until node_stop's callback. */
struct store *node_store(struct node *n);

/* A leader hands over first, half a second at most; calls go on meanwhile. Then every call is
 * answered with DECREE_ESTOPPED. Waits for the write on its way to the disk, closes. cb runs once,
 * later; n is freed after it. Watchers must have been removed. */
typedef void (*node_stop_cb)(void *data);
void node_stop(struct node *n, node_stop_cb cb, void *data);

#endif
