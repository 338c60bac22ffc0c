/* The links to the other members: what the core sends through them, whom they reach, and what comes
 * from them. */
#include <inttypes.h>

#include "alloc.h"
#include "clock.h"
#include "log.h"
#include "node_impl.h"

enum {
    /* A link whose half-open other end was forgotten (a storm of resets) must not cost its member
     * the leader for much longer than an election; a busy host needs a second all the same. */
    HELLO_MS_MIN = 1000,
    /* One that joins is told without a leader after two election timeouts, and, unless heartbeats
     * are seconds apart, before it gives up (node_join.c). */
    TELL_MS_MAX = 3000,
};

/* ---- what the core asks for ---- */

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

static void env_metrics(void *data, struct store_metrics *ret)
{
    struct node *n = data;
    struct peer_stats stats[PEER_MEMBERS_MAX];

    _Static_assert(ARRAY_SIZE(ret->peers) == PEER_MEMBERS_MAX, "all members fit");
    ret->loop_turns = n->turns;
    ret->n_peers = peers_stats(peers_of(n), stats);
    for (size_t i = 0; i < ret->n_peers; i++) {
        ret->peers[i].id = stats[i].id;
        ret->peers[i].sent_bytes = stats[i].sent_bytes;
        ret->peers[i].received_bytes = stats[i].received_bytes;
        ret->peers[i].sent_failures = stats[i].sent_failures;
        ret->peers[i].active = stats[i].active;
    }
}

void node_links_env(struct core_env *env)
{
    env->send = env_send;
    env->flush = env_flush;
    env->connected_since = env_connected_since;
    env->stream_open = env_stream_open;
    env->stream_send = env_stream_send;
    env->stream_close = env_stream_close;
    env->stream_answer = env_stream_answer;
    env->stream_resume = env_stream_resume;
    env->metrics = env_metrics;
}

/* ---- members' addresses ---- */

/* One more place where a member is reached, unless there are enough or it is no URL. */
static void add_url(struct peer_address *a, const char *url, struct arena *arena)
{
    _cleanup_free_ char *host = NULL;

    if (a->n < ARRAY_SIZE(a->at) && peer_url_parse(url, &host, &a->at[a->n].port, NULL) == 0) {
        a->at[a->n++].host = (const char *)arena_copy(arena, bytes_str(host)).data;
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

void node_links_update(struct node *n)
{
    const struct members *members = core_links(n->core);
    _cleanup_arena_ struct arena arena = {0};
    struct peer_address list[PEER_MEMBERS_MAX];
    size_t len = 0;

    for (size_t i = 0; i < members->n && len < ARRAY_SIZE(list); i++) {
        const struct store_member *m = &members->list[i];

        if (m->id != core_id(n->core)) {
            list[len] = (struct peer_address){.id = m->id, .incarnation = m->incarnation};
            for (size_t k = 0; k < m->n_peer_urls; k++) {
                add_url(&list[len], m->peer_urls[k], &arena);
            }
            len += list[len].n > 0;
        }
    }
    peers_set(peers_of(n), list, len);
    tell_own_urls(n, members);
}

/* ---- what comes from the links ---- */

static void on_frame(void *data, uint64_t from, struct bytes body)
{
    struct node *n = data;

    core_frame(n->core, from, body);
}

static void on_unreachable(void *data, uint64_t peer)
{
    struct node *n = data;

    core_unreachable(n->core, peer);
}

static void on_link_lost(void *data, uint64_t from)
{
    struct node *n = data;

    core_link_lost(n->core, from);
}

static void on_stream_ready(void *data, uint64_t to)
{
    struct node *n = data;

    core_stream_ready(n->core, to);
}

static void on_stream_reply(void *data, uint64_t to, struct bytes body)
{
    struct node *n = data;

    core_stream_reply(n->core, to, body);
}

static void on_stream_down(void *data, uint64_t to, const char *why)
{
    struct node *n = data;

    core_stream_down(n->core, to, why);
}

static int on_stream_frame(void *data, uint64_t from, struct bytes body)
{
    struct node *n = data;

    return core_stream_frame(n->core, from, body);
}

static void on_stream_cut(void *data, uint64_t from)
{
    struct node *n = data;

    core_stream_cut(n->core, from);
}

static bool is_removed(void *data, uint64_t id)
{
    struct node *n = data;

    return members_is_removed(core_links(n->core), id);
}

/* A member that this one has not heard of yet: perhaps the leader that will tell it. */
static void on_stranger(void *data, uint64_t from, const char *urls)
{
    struct node *n = data;
    struct peer_address address = {.id = from};
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_free_ char *copy = xstrdup(urls);
    char *rest = copy;

    for (char *url = strsep(&rest, ","); url != NULL; url = strsep(&rest, ",")) {
        add_url(&address, url, &arena);
    }
    if (address.n > 0 && peers_meet(n->peers, &address)) {
        log_info("a member that is not known here yet has come member=%016" PRIx64 " urls=%s", from,
            urls);
    }
}

static void on_question(void *data, uint64_t question)
{
    struct node *n = data;

    node_tell_ask(&n->tell, question);
}

static void on_refused(void *data, uint64_t by, enum peer_refusal refusal, const char *why)
{
    struct node *n = data;
    _cleanup_free_ char *who = xasprintf(", says member %016" PRIx64 ",", by);

    if (n->ended_why != NULL) {
        return;
    }
    if (refusal == PEER_REFUSED_REMOVED) {
        node_removed(n, who);
        return;
    }
    node_end_for_good(n,
        xasprintf(
            "member %016" PRIx64 " \"%s\" is refused by member %016" PRIx64
            ": %s; stop it, remove %s and replace it (decree member replace %s --peer-urls URL)",
            core_id(n->core), n->name, by, why, n->data_dir, n->name));
}

static const struct peers_ops peers_ops = {.frame = on_frame,
    .unreachable = on_unreachable,
    .link_lost = on_link_lost,
    .stream_ready = on_stream_ready,
    .stream_reply = on_stream_reply,
    .stream_down = on_stream_down,
    .stream_frame = on_stream_frame,
    .stream_cut = on_stream_cut,
    .is_removed = is_removed,
    .stranger = on_stranger,
    .members = on_question,
    .refused = on_refused};

int node_links_open(
    struct node *n, const struct node_options *o, uint64_t incarnation, struct err *reterr)
{
    struct peers_options options = {.id = core_id(n->core),
        .cluster_id = core_cluster_id(n->core),
        .incarnation = incarnation,
        .version = DECREE_VERSION,
        .hello_ms = MAX(2 * o->election_ms, HELLO_MS_MIN)};

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
