/* The core on a libuv loop.
 *
 *     poll: sockets, the log's completions, timers -> calls and frames are in
 *     check: one turn of the core, replies go out
 *     prepare: another if something came since; while more is left to do, poll does not wait
 *
 * The log's thread wakes the loop through an async handle. */
#include "node.h"

#include <inttypes.h>
#include <malloc.h>
#include <sys/random.h>

#include "alloc.h"
#include "clock.h"
#include "log.h"
#include "node_core.h"
#include "node_join.h"
#include "node_notes.h"
#include "node_tell.h"
#include "peer.h"

enum {
    HEARTBEAT_MS = 100,
    ELECTION_MS = 1000,
    /* A link whose half-open other end was forgotten (a storm of resets) must not cost its member
     * the leader for much longer than an election; a busy host needs a second all the same. */
    HELLO_MS_MIN = 1000,
    SNAPSHOT_COUNT = 100000,
    SNAPSHOT_KEEP = 5000,
    /* After much was freed, wait for the next wave to be over before it is given back. */
    TRIM_DELAY_MS = 2000,
    /* A healthy member takes over within a round trip and two writes. */
    HAND_OVER_MS = 500,
    /* One that joins is told without a leader after two election timeouts, and always before it
     * gives up (node_join.c). */
    TELL_MS_MAX = 3000,
};

#define QUOTA_BYTES ((uint64_t)2 << 30)
#define TOKEN_DEFAULT "etcd-cluster"

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
    uv_timer_t tick, trim;
    uv_async_t disk;
    uv_work_t trim_work;
    bool trimming;
    char *data_dir, *name;                      /* owned */
    void (*ended)(void *data, const char *why); /* NULL when told */
    void *ended_data;
    char *ended_why;  /* owned; what it is to be told */
    unsigned handles; /* not closed yet */
    node_stop_cb stopped;
    void *stopped_data;
};

/* ---- what the core asks for ---- */

static uint64_t env_now(void *data)
{
    (void)data;
    return clock_boot_ms();
}

/* splitmix64: chance for timeouts and ids, no secret. */
static uint64_t env_random(void *data)
{
    struct node *n = data;
    uint64_t x = n->chance += 0x9e3779b97f4a7c15;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

static void node_on_idle(uv_idle_t *idle)
{
    (void)idle; /* its being active is all */
}

static void env_wake(void *data)
{
    struct node *n = data;

    (void)uv_idle_start(&n->idle, node_on_idle);
}

/* The core takes no turn before the links are there, and is closed when they are gone. */
static struct peers *peers_of(struct node *n)
{
    decree_assert(n->peers != NULL);
    return n->peers;
}

static void env_send(void *data, uint64_t to, struct buf *const *parts, size_t n_parts)
{
    struct node *n = data;

    peers_send(peers_of(n), to, parts, n_parts);
}

static void env_flush(void *data)
{
    struct node *n = data;

    peers_flush(peers_of(n));
}

static bool env_connected_since(void *data, uint64_t peer, uint64_t since_ms)
{
    struct node *n = data;
    uint64_t ago = clock_boot_ms() - since_ms; /* links count in the loop's time */
    uint64_t now = uv_now(n->loop);

    return peers_connected_since(peers_of(n), peer, now > ago ? now - ago : 0);
}

static void env_stream_open(void *data, uint64_t to)
{
    struct node *n = data;

    peers_stream_open(n->peers, to);
}

static bool env_stream_send(void *data, uint64_t to, struct buf *frame_consume)
{
    struct node *n = data;

    return peers_stream_send(n->peers, to, frame_consume);
}

static void env_stream_close(void *data, uint64_t to)
{
    struct node *n = data;

    peers_stream_close(n->peers, to);
}

static void env_stream_answer(void *data, uint64_t from, struct buf *frame_consume)
{
    struct node *n = data;

    peers_stream_answer(n->peers, from, frame_consume);
}

static void env_stream_resume(void *data, uint64_t from)
{
    struct node *n = data;

    peers_stream_resume(n->peers, from);
}

static void env_peer_metrics(void *data, struct store_metrics *ret)
{
    struct node *n = data;
    struct peer_stats stats[PEER_MEMBERS_MAX];

    _Static_assert(ARRAY_SIZE(ret->peers) == PEER_MEMBERS_MAX, "all members fit");
    ret->n_peers = peers_stats(peers_of(n), stats);
    for (size_t i = 0; i < ret->n_peers; i++) {
        ret->peers[i].id = stats[i].id;
        ret->peers[i].sent_bytes = stats[i].sent_bytes;
        ret->peers[i].received_bytes = stats[i].received_bytes;
        ret->peers[i].sent_failures = stats[i].sent_failures;
        ret->peers[i].active = stats[i].active;
    }
}

/* ---- members' addresses ---- */

static void address_of(
    const struct store_member *member, struct arena *arena, struct peer_address *ret)
{
    *ret = (struct peer_address){.id = member->id, .incarnation = member->incarnation};
    for (size_t i = 0; i < member->n_peer_urls && ret->n < ARRAY_SIZE(ret->at); i++) {
        _cleanup_free_ char *host = NULL;

        if (peer_url_parse(member->peer_urls[i], &host, &ret->at[ret->n].port, NULL) == 0) {
            ret->at[ret->n++].host = (const char *)arena_copy(arena, bytes_str(host)).data;
        }
    }
}

/* What a member far behind needs to answer this one. More than a few only make the hello longer. */
static void tell_own_urls(struct node *n, const struct members *members)
{
    const struct store_member *self = members_find(members, core_id(n->core));
    _cleanup_strbuf_ struct strbuf urls = {0};

    for (size_t i = 0; self != NULL && i < self->n_peer_urls && i < PEER_ADDRESSES_MAX; i++) {
        strbuf_printf(&urls, "%s%s", i > 0 ? "," : "", self->peer_urls[i]);
    }
    peers_set_self(n->peers, strbuf_cstr(&urls));
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
    const struct members *members = core_links(n->core);
    _cleanup_arena_ struct arena arena = {0};
    struct peer_address list[PEER_MEMBERS_MAX];
    size_t len = 0;

    note_forced(n);
    for (size_t i = 0; i < members->n && len < ARRAY_SIZE(list); i++) {
        if (members->list[i].id != core_id(n->core)) {
            address_of(&members->list[i], &arena, &list[len]);
            len += list[len].n > 0;
        }
    }
    peers_set(peers_of(n), list, len);
    tell_own_urls(n, members);
}

/* ---- memory ---- */

static void node_in_trim(uv_work_t *work)
{
    (void)work;
    (void)malloc_trim(0);
}

static void node_free_if_done(struct node *n);

static void node_on_trimmed(uv_work_t *work, int status)
{
    struct node *n = work->data;

    (void)status;
    n->trimming = false;
    node_free_if_done(n);
}

/* In libuv's pool: it may take long, and the loop only waits while a part of the heap is locked. */
static void node_on_trim(uv_timer_t *timer)
{
    struct node *n = timer->data;

    if (!n->trimming) {
        n->trimming = uv_queue_work(n->loop, &n->trim_work, node_in_trim, node_on_trimmed) == 0;
    }
}

static void env_memory_freed(void *data)
{
    struct node *n = data;

    if (n->state == NODE_RUNNING) {
        (void)uv_timer_start(&n->trim, node_on_trim, TRIM_DELAY_MS, 0);
    }
}

/* ---- what comes from the links ---- */

static void node_on_frame(void *data, uint64_t from, struct bytes body)
{
    struct node *n = data;

    core_frame(n->core, from, body);
}

static void node_on_unreachable(void *data, uint64_t peer)
{
    struct node *n = data;

    core_unreachable(n->core, peer);
}

static void node_on_link_lost(void *data, uint64_t from)
{
    struct node *n = data;

    core_link_lost(n->core, from);
}

static void node_on_stream_ready(void *data, uint64_t to)
{
    struct node *n = data;

    core_stream_ready(n->core, to);
}

static void node_on_stream_reply(void *data, uint64_t to, struct bytes body)
{
    struct node *n = data;

    core_stream_reply(n->core, to, body);
}

static void node_on_stream_down(void *data, uint64_t to, const char *why)
{
    struct node *n = data;

    core_stream_down(n->core, to, why);
}

static int node_on_stream_frame(void *data, uint64_t from, struct bytes body)
{
    struct node *n = data;

    return core_stream_frame(n->core, from, body);
}

static void node_on_stream_cut(void *data, uint64_t from)
{
    struct node *n = data;

    core_stream_cut(n->core, from);
}

static bool node_is_removed(void *data, uint64_t id)
{
    struct node *n = data;

    return members_is_removed(core_links(n->core), id);
}

/* A member that this one has not heard of yet: perhaps the leader that will tell it. */
static void node_on_stranger(void *data, uint64_t from, const char *urls)
{
    struct node *n = data;
    struct peer_address address = {.id = from};
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_free_ char *copy = xstrdup(urls);
    char *rest = copy;

    for (char *url = strsep(&rest, ","); url != NULL && address.n < PEER_ADDRESSES_MAX;
         url = strsep(&rest, ",")) {
        _cleanup_free_ char *host = NULL;

        if (peer_url_parse(url, &host, &address.at[address.n].port, NULL) == 0) {
            address.at[address.n++].host = (const char *)arena_copy(&arena, bytes_str(host)).data;
        }
    }
    if (address.n > 0 && peers_meet(n->peers, &address)) {
        log_info("a member that is not known here yet has come member=%016" PRIx64 " urls=%s", from,
            urls);
    }
}

static void node_on_question(void *data, uint64_t question)
{
    struct node *n = data;

    node_tell_ask(&n->tell, question);
}

/* Kept until the turn, which is no call of the links. */
static void end_for_good(struct node *n, char *why_consume)
{
    if (n->ended_why != NULL) {
        free(why_consume);
        return;
    }
    n->ended_why = why_consume;
    env_wake(n);
}

static void removed(struct node *n, const char *by)
{
    node_mark_removed(n->data_dir, core_id(n->core), core_cluster_id(n->core));
    end_for_good(n,
        xasprintf("member %016" PRIx64
                  " \"%s\" has been removed from the cluster%s and must not come "
                  "back: remove %s, then add it anew (decree member add %s --peer-urls URL)",
            core_id(n->core), n->name, by, n->data_dir, n->name));
}

static void node_on_refused(void *data, uint64_t by, enum peer_refusal refusal, const char *why)
{
    struct node *n = data;
    _cleanup_free_ char *who = xasprintf(", says member %016" PRIx64 ",", by);

    if (n->ended_why != NULL) {
        return;
    }
    if (refusal == PEER_REFUSED_REMOVED) {
        removed(n, who);
        return;
    }
    end_for_good(n,
        xasprintf(
            "member %016" PRIx64 " \"%s\" is refused by member %016" PRIx64
            ": %s; stop it, remove %s and replace it (decree member replace %s --peer-urls URL)",
            core_id(n->core), n->name, by, why, n->data_dir, n->name));
}

/* Its own table lists it: it was a member, so long ago that nobody remembers that it was removed.
 */
static void denied(struct node *n, uint64_t by)
{
    _cleanup_free_ char *who = xasprintf(", says member %016" PRIx64 ",", by);

    if (members_find(core_members(n->core), core_id(n->core)) != NULL) {
        removed(n, who);
        return;
    }
    end_for_good(n,
        xasprintf("member %016" PRIx64 " \"%s\" was never added to the cluster%s and never will "
                  "be: its addition was lost with the leader that made it; remove %s, then add it "
                  "again (decree member add %s --peer-urls URL) and start it as that says",
            core_id(n->core), n->name, who, n->data_dir, n->name));
}

static const struct peers_ops peers_ops = {.frame = node_on_frame,
    .unreachable = node_on_unreachable,
    .link_lost = node_on_link_lost,
    .stream_ready = node_on_stream_ready,
    .stream_reply = node_on_stream_reply,
    .stream_down = node_on_stream_down,
    .stream_frame = node_on_stream_frame,
    .stream_cut = node_on_stream_cut,
    .is_removed = node_is_removed,
    .stranger = node_on_stranger,
    .members = node_on_question,
    .refused = node_on_refused};

/* ---- the loop ---- */

static void begin_stop(struct node *n);

static void turn(struct node *n)
{
    peers_report(peers_of(n));
    if (core_turn(n->core)) {
        (void)uv_idle_start(&n->idle, node_on_idle);
    } else {
        (void)uv_idle_stop(&n->idle);
    }
    if (n->ended_why == NULL && core_was_removed(n->core)) {
        removed(n, "");
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

static void node_on_check(uv_check_t *check)
{
    struct node *n = check->data;

    if (uv_is_active((uv_handle_t *)&n->idle)) {
        turn(n);
    }
}

/* Idle, timer and closing callbacks run before poll: what they submitted need not wait for it. What
 * was left by check is not repeated here: others have their turn first. */
static void node_on_prepare(uv_prepare_t *prepare)
{
    struct node *n = prepare->data;

    if (core_is_dirty(n->core)) {
        turn(n);
    }
}

static void node_on_disk(uv_async_t *async)
{
    struct node *n = async->data;

    if (n->state == NODE_RUNNING || n->state == NODE_LEAVING) {
        core_disk(n->core);
    }
}

/* In the log's thread. */
static void node_wake_disk(void *data)
{
    struct node *n = data;

    (void)uv_async_send(&n->disk);
}

static void node_on_tick(uv_timer_t *timer)
{
    struct node *n = timer->data;

    core_tick(n->core);
    node_tell_tick(&n->tell);
}

static void init_handles(struct node *n)
{
    uv_handle_t *all[] = {(uv_handle_t *)&n->check, (uv_handle_t *)&n->prepare,
        (uv_handle_t *)&n->idle, (uv_handle_t *)&n->tick, (uv_handle_t *)&n->trim,
        (uv_handle_t *)&n->disk};

    (void)uv_check_init(n->loop, &n->check);
    (void)uv_prepare_init(n->loop, &n->prepare);
    (void)uv_idle_init(n->loop, &n->idle);
    (void)uv_timer_init(n->loop, &n->tick);
    (void)uv_timer_init(n->loop, &n->trim);
    if (uv_async_init(n->loop, &n->disk, node_on_disk) < 0) {
        decree_fatal("no descriptor is left for waking the loop");
    }
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        all[i]->data = n;
        n->handles++;
    }
    n->trim_work.data = n;
}

/* ---- the end ---- */

static void node_free_if_done(struct node *n)
{
    node_stop_cb stopped = n->stopped;
    void *data = n->stopped_data;

    if (n->state != NODE_STOPPING || n->handles > 0 || n->trimming) {
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

static void node_on_handle_closed(uv_handle_t *h)
{
    struct node *n = h->data;

    n->handles--;
    node_free_if_done(n);
}

static void close_handles(struct node *n)
{
    uv_close((uv_handle_t *)&n->check, node_on_handle_closed);
    uv_close((uv_handle_t *)&n->prepare, node_on_handle_closed);
    uv_close((uv_handle_t *)&n->idle, node_on_handle_closed);
    uv_close((uv_handle_t *)&n->tick, node_on_handle_closed);
    uv_close((uv_handle_t *)&n->trim, node_on_handle_closed);
    uv_close((uv_handle_t *)&n->disk, node_on_handle_closed);
}

/* The links are gone: nothing calls the core any more. */
static void node_on_peers_closed(void *data)
{
    struct node *n = data;

    n->peers = NULL;
    n->core = core_close(n->core);
    close_handles(n);
}

static void begin_stop(struct node *n)
{
    n->state = NODE_STOPPING;
    (void)uv_timer_stop(&n->trim);
    if (n->core != NULL) {
        core_stop(n->core);
    }
    if (n->peers != NULL) {
        peers_close(n->peers, node_on_peers_closed, n);
    } else {
        node_on_peers_closed(n);
    }
}

static void node_on_hand_over_late(uv_timer_t *timer)
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
        (void)uv_timer_start(&n->trim, node_on_hand_over_late, HAND_OVER_MS, 0);
    } else {
        begin_stop(n);
    }
}

/* ---- the beginning ---- */

static int check_figures(struct node_options *o, struct err *reterr)
{
    o->heartbeat_ms = o->heartbeat_ms != 0 ? o->heartbeat_ms : HEARTBEAT_MS;
    o->election_ms = o->election_ms != 0 ? o->election_ms : ELECTION_MS;
    o->snapshot_count = o->snapshot_count != 0 ? o->snapshot_count : SNAPSHOT_COUNT;
    o->snapshot_keep = o->snapshot_keep != 0 ? o->snapshot_keep : SNAPSHOT_KEEP;
    o->quota_bytes = o->quota_bytes != 0 ? o->quota_bytes : QUOTA_BYTES;
    if (o->election_ms < 5 * o->heartbeat_ms) {
        return err_set(reterr, DECREE_EINVALID_CONFIG,
            "the election timeout (%u ms) must be at least five heartbeat intervals (%u ms)",
            o->election_ms, o->heartbeat_ms);
    }
    return 0;
}

/* "name=url,name=url" of this member alone, when nobody else is named. */
static char *lone_cluster(const struct node_options *o)
{
    static const char *const fallback[] = {"http://localhost:2380"};
    const char *const *urls = o->initial_advertise_peer_urls;
    size_t n = o->n_initial_advertise_peer_urls;
    _cleanup_strbuf_ struct strbuf s = {0};

    if (n == 0) {
        urls = fallback;
        n = 1;
    }
    for (size_t i = 0; i < n; i++) {
        strbuf_printf(&s, "%s%s=%s", i > 0 ? "," : "", o->name, urls[i]);
    }
    return strbuf_take_cstr(&s);
}

static int parse_founders(const struct node_options *o, struct members *ret, struct err *reterr)
{
    const char *token = o->initial_cluster_token != NULL ? o->initial_cluster_token : TOKEN_DEFAULT;
    _cleanup_free_ char *lone = NULL;

    if (o->initial_cluster != NULL && *o->initial_cluster != 0) {
        return members_parse(o->initial_cluster, token, ret, reterr);
    }
    lone = lone_cluster(o);
    return members_parse(lone, token, ret, reterr);
}

static int node_on_join(void *data, const struct members *founders, const struct store_member *self,
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
        .join = node_on_join,
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
    int err = parse_founders(o, &founders, reterr);

    if (err < 0) {
        return err;
    }
    err = core_open(&core, &n->env, &n->core, reterr);
    members_deinit(&founders);
    return err;
}

static int load_incarnation(struct node *n, const char *data_dir, uint64_t *ret, struct err *reterr)
{
    const struct store_member *self = members_find(core_members(n->core), core_id(n->core));
    uint64_t fresh;

    do {
        fresh = env_random(n);
    } while (fresh == 0);
    return node_incarnation_load(
        data_dir, core_is_new(n->core), self != NULL ? self->incarnation : 0, fresh, ret, reterr);
}

static int open_peers(struct node *n, const struct node_options *o, struct err *reterr)
{
    struct peers_options options = {.id = core_id(n->core),
        .cluster_id = core_cluster_id(n->core),
        .version = DECREE_VERSION,
        .hello_ms = MAX(2 * o->election_ms, HELLO_MS_MIN)};
    int failed = load_incarnation(n, o->data_dir, &options.incarnation, reterr);

    if (failed < 0) {
        return failed;
    }
    core_set_incarnation(n->core, options.incarnation);
    n->peers = peers_new(n->loop, &options, &peers_ops, n);
    node_tell_init(&n->tell, n->core, n->peers,
        MIN(2 * o->election_ms, (unsigned)TELL_MS_MAX) / o->heartbeat_ms);
    for (size_t i = 0; i < o->n_listen_peer_urls; i++) {
        _cleanup_free_ char *host = NULL;
        uint16_t port;
        int err = peer_url_parse(o->listen_peer_urls[i], &host, &port, reterr);

        if (err == 0) {
            err = peers_listen(n->peers, host, port, reterr);
        }
        if (err < 0) {
            return err;
        }
    }
    return 0;
}

static void start(struct node *n, const struct node_options *o)
{
    n->state = NODE_RUNNING;
    (void)uv_check_start(&n->check, node_on_check);
    (void)uv_prepare_start(&n->prepare, node_on_prepare);
    (void)uv_timer_start(&n->tick, node_on_tick, o->heartbeat_ms, o->heartbeat_ms);
    (void)uv_async_send(&n->disk); /* what was written while the core opened */
}

static struct core_env make_env(struct node *n)
{
    return (struct core_env){.data = n,
        .now_ms = env_now,
        .random = env_random,
        .wake = env_wake,
        .send = env_send,
        .flush = env_flush,
        .connected_since = env_connected_since,
        .stream_open = env_stream_open,
        .stream_send = env_stream_send,
        .stream_close = env_stream_close,
        .stream_answer = env_stream_answer,
        .stream_resume = env_stream_resume,
        .peer_metrics = env_peer_metrics,
        .members_changed = env_members_changed,
        .memory_freed = env_memory_freed};
}

int node_open(
    uv_loop_t *loop, const struct node_options *options, struct node **ret, struct err *reterr)
{
    struct node_options o = *options;
    struct node *n;
    int err = check_figures(&o, reterr);

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
    init_handles(n);
    err = node_check_removed(o.data_dir, o.name, reterr);
    if (err == 0) {
        n->force_due = node_force_is_due(o.data_dir, o.force_new_cluster);
        err = open_core(n, &o, reterr);
    }
    if (err == 0) {
        err = open_peers(n, &o, reterr);
    }
    if (err < 0) {
        node_stop(n, NULL, NULL);
        return err;
    }
    env_members_changed(n); /* before anybody can knock who would not be known */
    start(n, &o);
    *ret = n;
    return 0;
}

struct store *node_store(struct node *n)
{
    return n->core;
}
