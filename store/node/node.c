#include "node.h"

#include <inttypes.h>
#include <sys/random.h>

#include "alloc.h"
#include "clock.h"
#include "log.h"
#include "node_impl.h"
#include "node_join.h"
#include "node_notes.h"
#include "splitmix.h"

/* A healthy member takes over within a round trip and two writes. */
enum { HAND_OVER_MS = 500 };

/* ---- what the core asks for ---- */

static uint64_t env_now(void *data)
{
    (void)data;
    return clock_boot_ms();
}

/* Chance for timeouts and ids, no secret. */
static uint64_t env_random(void *data)
{
    struct node *n = data;

    return splitmix_next(&n->chance);
}

static void env_wake(void *data)
{
    node_wake(data);
}

static void note_forced(struct node *n)
{
    if (n->force_due && !core_is_forcing(n->core)) {
        n->force_due = false;
        node_force_note(n->data_dir);
    }
}

static void env_members_changed(void *data)
{
    struct node *n = data;

    note_forced(n);
    node_links_update(n);
}

static void env_memory_freed(void *data)
{
    struct node *n = data;

    if (n->state == NODE_RUNNING) {
        node_trim_soon(&n->trim);
    }
}

static struct core_env make_env(struct node *n)
{
    struct core_env env = {.data = n,
        .now_ms = env_now,
        .random = env_random,
        .wake = env_wake,
        .members_changed = env_members_changed,
        .memory_freed = env_memory_freed};

    node_links_env(&env);
    return env;
}

/* ---- the end ---- */

void node_free_if_done(struct node *n)
{
    node_stop_cb stopped = n->stopped;
    void *data = n->stopped_data;

    if (n->state != NODE_STOPPING || n->handles > 0) {
        return;
    }
    free(n->data_dir);
    free(n->name);
    free(n->ended_why);
    free(n);
    if (stopped != NULL) {
        stopped(data);
    }
}

static void on_trim_closed(struct node_trim *t)
{
    struct node *n = container_of(t, struct node, trim);

    n->handles--;
    node_free_if_done(n);
}

/* The links are gone: nothing calls the core any more. */
static void on_peers_closed(void *data)
{
    struct node *n = data;

    n->peers = NULL;
    n->core = core_close(n->core);
    node_loop_close(n);
}

static void begin_stop(struct node *n)
{
    n->state = NODE_STOPPING;
    (void)uv_timer_stop(&n->limit);
    node_trim_close(&n->trim, on_trim_closed);
    if (n->core != NULL) {
        core_stop(n->core);
    }
    if (n->peers != NULL) {
        peers_close(n->peers, on_peers_closed, n);
    } else {
        on_peers_closed(n);
    }
}

static void on_hand_over_late(uv_timer_t *timer)
{
    begin_stop(timer->data);
}

void node_stop(struct node *n, node_stop_cb cb, void *data)
{
    decree_assert(n->state == NODE_OPENING || n->state == NODE_RUNNING);
    n->stopped = cb;
    n->stopped_data = data;
    if (n->state == NODE_RUNNING && core_hand_over(n->core)) {
        n->state = NODE_LEAVING;
        (void)uv_timer_start(&n->limit, on_hand_over_late, HAND_OVER_MS, 0);
    } else {
        begin_stop(n);
    }
}

/* ---- to stay away ---- */

void node_end_for_good(struct node *n, char *why_consume)
{
    if (n->ended_why != NULL) {
        free(why_consume);
        return;
    }
    n->ended_why = why_consume;
    node_wake(n);
}

void node_removed(struct node *n, const char *by)
{
    node_mark_removed(n->data_dir, core_id(n->core), core_cluster_id(n->core));
    node_end_for_good(n,
        xasprintf("member %016" PRIx64
                  " \"%s\" has been removed from the cluster%s and must not come "
                  "back: remove %s, then add it anew (decree member add %s --peer-urls URL)",
            core_id(n->core), n->name, by, n->data_dir, n->name));
}

/* Its own table lists it: it was a member, so long ago that nobody remembers that it was removed.
 */
static void denied(struct node *n, uint64_t by)
{
    _cleanup_free_ char *who = xasprintf(", says member %016" PRIx64 ",", by);

    if (members_find(core_members(n->core), core_id(n->core)) != NULL) {
        node_removed(n, who);
        return;
    }
    node_end_for_good(n,
        xasprintf("member %016" PRIx64 " \"%s\" was never added to the cluster%s and never will "
                  "be: its addition was lost with the leader that made it; remove %s, then add it "
                  "again (decree member add %s --peer-urls URL) and start it as that says",
            core_id(n->core), n->name, who, n->data_dir, n->name));
}

void node_after_turn(struct node *n)
{
    if (n->ended_why == NULL && core_was_removed(n->core)) {
        node_removed(n, "");
    } else if (n->ended_why == NULL && core_is_unknown_to(n->core) != 0) {
        denied(n, core_is_unknown_to(n->core));
    }
    if (n->state == NODE_LEAVING && !core_leads_now(n->core)) {
        begin_stop(n);
    } else if (n->state == NODE_RUNNING && n->ended_why != NULL && n->ended != NULL) {
        void (*ended)(void *data, const char *why) = n->ended;

        n->ended = NULL; /* once */
        ended(n->ended_data, n->ended_why);
    }
}

/* ---- the beginning ---- */

static int on_join(void *data, const struct members *founders, const struct store_member *self,
    struct members_answer *ret, struct err *reterr)
{
    (void)data;
    return node_join_ask(founders, self, ret, reterr);
}

static int open_core(struct node *n, const struct node_options *o, struct err *reterr)
{
    struct members founders;
    struct core_options core = {.name = o->name,
        .data_dir = o->data_dir,
        .founders = &founders,
        .token = o->initial_cluster_token,
        .existing = o->initial_cluster_existing,
        .join = on_join,
        .join_data = n,
        .force_new_cluster = n->force_due,
        .peer_urls = o->initial_advertise_peer_urls,
        .n_peer_urls = o->n_initial_advertise_peer_urls,
        .client_urls = o->advertise_client_urls,
        .n_client_urls = o->n_advertise_client_urls,
        .heartbeat_ms = o->heartbeat_ms,
        .election_ticks = o->election_ms / o->heartbeat_ms,
        .snapshot_count = o->snapshot_count,
        .snapshot_keep = o->snapshot_keep,
        .quota_bytes = o->quota_bytes,
        .disk_wake = node_wake_disk,
        .disk_wake_data = n};
    int err = node_options_founders(o, &founders, reterr);

    if (err < 0) {
        return err;
    }
    err = core_open(&core, &n->env, &n->core, reterr);
    members_deinit(&founders);
    return err;
}

static int open_links(struct node *n, const struct node_options *o, struct err *reterr)
{
    const struct store_member *self = members_find(core_members(n->core), core_id(n->core));
    uint64_t fresh, incarnation;
    int err;

    do {
        fresh = env_random(n);
    } while (fresh == 0);
    err = node_incarnation_load(n->data_dir, core_is_new(n->core),
        self != NULL ? self->incarnation : 0, fresh, &incarnation, reterr);
    if (err < 0) {
        return err;
    }
    core_set_incarnation(n->core, incarnation);
    return node_links_open(n, o, incarnation, reterr);
}

int node_open(
    uv_loop_t *loop, const struct node_options *options, struct node **ret, struct err *reterr)
{
    struct node_options o = *options;
    struct node *n;
    int err = node_options_complete(&o, reterr);

    if (err < 0) {
        return err;
    }
    n = xcalloc(1, sizeof(*n));
    n->loop = loop;
    n->data_dir = xstrdup(o.data_dir);
    n->name = xstrdup(o.name);
    n->ended = o.ended;
    n->ended_data = o.ended_data;
    n->env = make_env(n);
    if (getrandom(&n->chance, sizeof(n->chance), 0) != (ssize_t)sizeof(n->chance)) {
        n->chance = clock_boot_ns(); /* ids and jitter, nothing that must be secret */
    }
    node_loop_init(n);
    node_trim_init(&n->trim, loop);
    n->handles++;
    err = node_check_removed(o.data_dir, o.name, reterr);
    if (err == 0) {
        n->force_due = node_force_is_due(o.data_dir, o.force_new_cluster);
        err = open_core(n, &o, reterr);
    }
    if (err == 0) {
        err = open_links(n, &o, reterr);
    }
    if (err < 0) {
        node_stop(n, NULL, NULL);
        return err;
    }
    env_members_changed(n); /* before anybody can knock who would not be known */
    n->state = NODE_RUNNING;
    node_loop_start(n, o.heartbeat_ms);
    *ret = n;
    return 0;
}

struct store *node_store(struct node *n)
{
    return n->core;
}
