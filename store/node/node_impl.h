/* What the parts of a member on a loop share: its life (node.c), the loop's callbacks
 * (node_loop.c), the links to other members (node_links.c), memory that is given back
 * (node_trim.c), and options (node_options.c). */
#ifndef DECREE_STORE_NODE_NODE_IMPL_H
#define DECREE_STORE_NODE_NODE_IMPL_H

#include "node.h"
#include "node_core.h"
#include "node_tell.h"
#include "node_trim.h"
#include "peer.h"

/* RUNNING --node_stop--> LEAVING, while a leader hands over --> STOPPING */
enum node_state { NODE_OPENING, NODE_RUNNING, NODE_LEAVING, NODE_STOPPING };

struct node {
    enum node_state state;
    uv_loop_t *loop;
    struct store *core;
    struct peers *peers; /* NULL until the identity is known, and after they are closed */
    struct core_env env;
    struct node_tell tell;
    uint64_t chance;
    bool force_due; /* the cluster is being forced, and that it was is to be noted */
    uv_check_t check;
    uv_prepare_t prepare;
    uv_idle_t idle; /* active while poll must not wait */
    struct store_times turns;
    uint64_t turn_ns, slept_ns; /* at the end of the last turn: time, and of it the loop's sleep */
    uv_timer_t tick;
    uv_timer_t limit; /* LEAVING: how long a leader may take to hand over */
    uv_async_t disk;
    struct node_trim trim;
    char *data_dir, *name;                      /* owned */
    void (*ended)(void *data, const char *why); /* NULL when told */
    void *ended_data;
    char *ended_why;  /* owned; what it is to be told */
    unsigned handles; /* not closed yet */
    node_stop_cb stopped;
    void *stopped_data;
};

/* ---- node.c ---- */

/* Moves on in the life of the node, behind each turn of the core. */
void node_after_turn(struct node *n);
/* The member must stay away; its owner is told behind the turn, which is no call of the links. */
void node_end_for_good(struct node *n, char *why_consume);
/* It was removed from the cluster; by: " says …," or nothing. */
void node_removed(struct node *n, const char *by);
/* Frees it, and tells so, when all that a stop waits for is through. */
void node_free_if_done(struct node *n);

/* ---- node_loop.c ---- */

void node_loop_init(struct node *n);
/* A tick each tick_ms from now on. */
void node_loop_start(struct node *n, unsigned tick_ms);
/* node_free_if_done follows when the last handle is closed. */
void node_loop_close(struct node *n);
/* One more turn, soon. */
void node_wake(struct node *n);
/* Any thread: the log has something to say. */
void node_wake_disk(void *data);

/* ---- node_links.c ---- */

/* The members of env that the links answer. */
void node_links_env(struct core_env *env);
/* Makes the links and listens. */
int node_links_open(
    struct node *n, const struct node_options *o, uint64_t incarnation, struct err *reterr);
/* The links to whom the core knows, as it knows them. */
void node_links_update(struct node *n);

/* ---- node_options.c ---- */

/* Fills in what was left out. */
int node_options_complete(struct node_options *o, struct err *reterr);
int node_options_founders(const struct node_options *o, struct members *ret, struct err *reterr);

#endif
