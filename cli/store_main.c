/* Options → node → doors → loop. Stopping goes the same way back: doors first, so that what is
 * under way can still be answered, then the node, whose last write reaches the disk. */
#include "store_main.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <uv.h>

#include "api.h"
#include "log.h"
#include "node.h"

enum { EXIT_FAILED = 1, EXIT_REFUSED = 2 };

enum { URLS_MAX = 16 /* addresses one member may listen on or advertise */ };

/* A comma-separated option, split. */
struct url_list {
    char *text; /* owned */
    const char *urls[URLS_MAX];
    size_t n;
};

static void url_list_deinit(struct url_list *l)
{
    free(l->text);
}
#define _cleanup_urls_ _cleanup_(url_list_deinit)

struct store_process {
    uv_loop_t loop;
    uv_signal_t terminate, interrupt;
    struct node *node;
    struct api *api;
    struct url_list hosts; /* the doors' white list; they borrow it */
    bool stopping;
    bool refused; /* the cluster does not want this member any more */
};

static int split_urls(
    const struct options *o, enum option_id id, struct url_list *ret, struct err *reterr)
{
    char *rest;

    ret->text = xstrdup(option_string(o, id));
    rest = ret->text;
    for (char *url = strsep(&rest, ","); url != NULL; url = strsep(&rest, ",")) {
        if (*url == '\0') {
            continue;
        }
        if (ret->n == URLS_MAX) {
            return err_set(
                reterr, -EINVAL, "%s: more than %d are given", option_origin(o, id), URLS_MAX);
        }
        ret->urls[ret->n++] = url;
    }
    return 0;
}

/* ---- stopping ---- */

static void on_node_stopped(void *data)
{
    struct store_process *p = data;

    p->node = NULL;
    uv_close((uv_handle_t *)&p->terminate, NULL);
    uv_close((uv_handle_t *)&p->interrupt, NULL);
}

static void on_api_stopped(void *data)
{
    struct store_process *p = data;

    p->api = NULL;
    node_stop(p->node, on_node_stopped, p);
}

static void process_stop(struct store_process *p)
{
    if (!p->stopping) {
        p->stopping = true;
        api_stop(p->api, on_api_stopped, p);
    }
}

static void on_signal(uv_signal_t *handle, int signal_number)
{
    struct store_process *p = handle->data;

    if (p->stopping) {
        return;
    }
    log_info("stopping on %s", signal_number == SIGINT ? "Ctrl-C" : "SIGTERM");
    process_stop(p);
}

/* Runs in a turn of the node, which must be over before it is stopped: api_stop makes sure. */
static void on_ended(void *data, const char *why)
{
    struct store_process *p = data;

    log_error("stopping for good: %s", why);
    p->refused = true;
    process_stop(p);
}

/* ---- starting ---- */

static void catch_signal(struct store_process *p, uv_signal_t *handle, int signal_number)
{
    (void)uv_signal_init(&p->loop, handle);
    handle->data = p;
    (void)uv_signal_start(handle, on_signal, signal_number);
}

/* As many descriptors as the system lets us have: each client connection is one. */
static void raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int check_timing(const struct options *o, struct err *reterr)
{
    uint64_t heartbeat = option_number(o, OPT_HEARTBEAT_INTERVAL);
    uint64_t election = option_number(o, OPT_ELECTION_TIMEOUT);

    if (election < 5 * heartbeat) {
        return err_set(reterr, -EINVAL,
            "%s: %" PRIu64 " ms is too short for heartbeats of %" PRIu64
            " ms; it must be 5 times as long at least",
            option_origin(o, OPT_ELECTION_TIMEOUT), election, heartbeat);
    }
    return 0;
}

static int open_node(struct store_process *p, const struct options *o, struct err *reterr)
{
    _cleanup_urls_ struct url_list listen = {0}, advertise = {0}, clients = {0};
    _cleanup_free_ char *data_dir = option_data_dir(o);
    struct node_options options;
    bool given = option_is_set(o, OPT_INITIAL_ADVERTISE_PEER_URLS);
    bool clients_given = option_is_set(o, OPT_ADVERTISE_CLIENT_URLS);
    int rc = check_timing(o, reterr);

    if (rc == 0) {
        rc = split_urls(o, OPT_LISTEN_PEER_URLS, &listen, reterr);
    }
    if (rc == 0) {
        rc = split_urls(
            o, given ? OPT_INITIAL_ADVERTISE_PEER_URLS : OPT_LISTEN_PEER_URLS, &advertise, reterr);
    }
    if (rc == 0) {
        rc = split_urls(o, clients_given ? OPT_ADVERTISE_CLIENT_URLS : OPT_LISTEN_CLIENT_URLS,
            &clients, reterr);
    }
    if (rc < 0) {
        return rc;
    }
    options = (struct node_options){
        .name = option_string(o, OPT_NAME),
        .data_dir = data_dir,
        .initial_cluster =
            option_is_set(o, OPT_INITIAL_CLUSTER) ? option_string(o, OPT_INITIAL_CLUSTER) : NULL,
        .initial_cluster_token = option_is_set(o, OPT_INITIAL_CLUSTER_TOKEN)
            ? option_string(o, OPT_INITIAL_CLUSTER_TOKEN)
            : NULL,
        .initial_cluster_existing =
            strcmp(option_string(o, OPT_INITIAL_CLUSTER_STATE), "existing") == 0,
        .force_new_cluster = option_flag(o, OPT_FORCE_NEW_CLUSTER),
        .initial_advertise_peer_urls = advertise.urls,
        .n_initial_advertise_peer_urls = advertise.n,
        .listen_peer_urls = listen.urls,
        .n_listen_peer_urls = listen.n,
        .advertise_client_urls = clients.urls,
        .n_advertise_client_urls = clients.n,
        .heartbeat_ms = (unsigned)option_number(o, OPT_HEARTBEAT_INTERVAL),
        .election_ms = (unsigned)option_number(o, OPT_ELECTION_TIMEOUT),
        .snapshot_count = option_number(o, OPT_SNAPSHOT_COUNT),
        .quota_bytes = option_number(o, OPT_QUOTA_BACKEND_BYTES),
        .ended = on_ended,
        .ended_data = p,
    };
    return node_open(&p->loop, &options, &p->node, reterr);
}

static int open_doors(struct store_process *p, const struct options *o, struct err *reterr)
{
    _cleanup_urls_ struct url_list urls = {0};
    _cleanup_free_ char *agent_socket = option_agent_socket(o);
    _cleanup_free_ char *agent_url = xasprintf("unix://%s", agent_socket);
    struct api_options options = {
        .leaderless_ms = 3 * (unsigned)option_number(o, OPT_ELECTION_TIMEOUT),
        .host_whitelist = p->hosts.urls,
    };
    int rc = split_urls(o, OPT_LISTEN_CLIENT_URLS, &urls, reterr);

    if (rc == 0) {
        rc = split_urls(o, OPT_HOST_WHITELIST, &p->hosts, reterr);
        options.n_host_whitelist = p->hosts.n;
    }
    if (rc == 0) {
        rc = api_new(&p->loop, node_store(p->node), &options, &p->api);
    }
    for (size_t i = 0; rc == 0 && i < urls.n; i++) {
        rc = api_listen(p->api, urls.urls[i], reterr);
    }
    if (rc == 0) {
        rc = api_listen(p->api, agent_url, reterr);
    }
    return rc;
}

/* Failed half-way: what is open is closed in order, the loop runs until it is. */
static void undo_start(struct store_process *p)
{
    if (p->api != NULL) {
        process_stop(p);
    } else if (p->node != NULL) {
        node_stop(p->node, on_node_stopped, p);
    } else {
        uv_close((uv_handle_t *)&p->terminate, NULL);
        uv_close((uv_handle_t *)&p->interrupt, NULL);
    }
    (void)uv_run(&p->loop, UV_RUN_DEFAULT);
}

static int start(struct store_process *p, const struct options *o, struct err *reterr)
{
    _cleanup_free_ char *data_dir = option_data_dir(o);
    int rc = open_node(p, o, reterr);

    if (rc == 0) {
        rc = open_doors(p, o, reterr);
    }
    if (rc == 0) {
        log_info("ready name=%s clients=%s peers=%s data=%s", option_string(o, OPT_NAME),
            option_string(o, OPT_LISTEN_CLIENT_URLS), option_string(o, OPT_LISTEN_PEER_URLS),
            data_dir);
    }
    return rc;
}

int store_main(const struct options *o)
{
    struct store_process p = {0};
    _cleanup_err_ struct err e = {0};
    int rc;

    /* Two threads allocate, one of them hardly ever: a second malloc arena would only cost memory.
     */
    (void)mallopt(M_ARENA_MAX, 1);
    (void)umask(077);
    (void)signal(SIGPIPE, SIG_IGN);
    raise_file_limit();
    if (uv_loop_init(&p.loop) != 0) {
        log_error("cannot make an event loop");
        return EXIT_FAILED;
    }
    catch_signal(&p, &p.terminate, SIGTERM);
    catch_signal(&p, &p.interrupt, SIGINT);
    rc = start(&p, o, &e);
    if (rc < 0) {
        log_error("cannot start: %s", e.text != NULL ? e.text : err_text(rc));
        undo_start(&p);
    } else {
        (void)uv_run(&p.loop, UV_RUN_DEFAULT);
    }
    (void)uv_loop_close(&p.loop);
    url_list_deinit(&p.hosts);
    return rc < 0 || p.refused ? EXIT_REFUSED : 0;
}
