/* Real members on one loop: TCP between them, the log on disk. What the core does is tested in
 * test_node_core.c and its like; here it is the wiring. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "clock.h"
#include "file.h"
#include "log.h"
#include "node.h"
#include "unit.h"

enum { MEMBERS = 3, LIMIT_MS = 20000 };

struct world {
    uv_loop_t loop;
    char dir[64];
    char cluster[256];
    char urls[MEMBERS][64];
    struct node *nodes[MEMBERS];
    unsigned stopping;
    uint64_t snapshot_count, snapshot_keep; /* 0 = the usual ones */
};

/* Ports that were free a moment ago: the members need to know them before they listen. */
static void pick_ports(struct world *w, size_t n)
{
    uv_tcp_t tcp[MEMBERS];
    size_t len = 0;

    for (size_t i = 0; i < n; i++) {
        struct sockaddr_in address;
        int size = sizeof(address);

        assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &address), 0);
        assert_int_equal(uv_tcp_init(&w->loop, &tcp[i]), 0);
        assert_int_equal(uv_tcp_bind(&tcp[i], (struct sockaddr *)&address, 0), 0);
        assert_int_equal(uv_tcp_getsockname(&tcp[i], (struct sockaddr *)&address, &size), 0);
        (void)snprintf(
            w->urls[i], sizeof(w->urls[i]), "http://127.0.0.1:%u", ntohs(address.sin_port));
        len += (size_t)snprintf(w->cluster + len, sizeof(w->cluster) - len, "%sm%zu=%s",
            i > 0 ? "," : "", i, w->urls[i]);
    }
    for (size_t i = 0; i < n; i++) {
        uv_close((uv_handle_t *)&tcp[i], NULL);
    }
    (void)uv_run(&w->loop, UV_RUN_DEFAULT);
}

static void world_init(struct world *w, size_t n)
{
    *w = (struct world){0};
    assert_int_equal(uv_loop_init(&w->loop), 0);
    (void)snprintf(w->dir, sizeof(w->dir), "/tmp/test-node-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    pick_ports(w, n);
}

static int open_as(
    struct world *w, size_t i, const char *name, struct node **ret, struct err *reterr)
{
    _cleanup_free_ char *dir = xasprintf("%s/m%zu", w->dir, i);
    const char *url = w->urls[i];
    struct node_options o = {.name = name,
        .data_dir = dir,
        .initial_cluster = w->cluster,
        .initial_advertise_peer_urls = &url,
        .n_initial_advertise_peer_urls = 1,
        .listen_peer_urls = &url,
        .n_listen_peer_urls = 1,
        .advertise_client_urls = &url,
        .n_advertise_client_urls = 1,
        .heartbeat_ms = 20,
        .election_ms = 200,
        .snapshot_count = w->snapshot_count,
        .snapshot_keep = w->snapshot_keep};

    return node_open(&w->loop, &o, ret, reterr);
}

static void start(struct world *w, size_t i)
{
    _cleanup_err_ struct err err = {0};
    char name[32];

    (void)snprintf(name, sizeof(name), "m%zu", i);
    if (open_as(w, i, name, &w->nodes[i], &err) < 0) {
        fail_msg("%s", err.text);
    }
}

static void on_stopped(void *data)
{
    ((struct world *)data)->stopping--;
}

static void stop(struct world *w, size_t i)
{
    w->stopping++;
    node_stop(w->nodes[i], on_stopped, w);
    w->nodes[i] = NULL;
    while (w->stopping > 0) {
        (void)uv_run(&w->loop, UV_RUN_ONCE);
    }
}

static void world_deinit(struct world *w)
{
    _cleanup_free_ char *rm = xasprintf("rm -rf %s", w->dir);

    for (size_t i = 0; i < MEMBERS; i++) {
        if (w->nodes[i] != NULL) {
            stop(w, i);
        }
    }
    (void)uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0); /* nothing was left open */
    assert_int_equal(system(rm), 0);
}

/* ---- calls ---- */

struct answer {
    struct store_call call;
    bool done;
    int status;
    uint64_t member_id;
    char value[32];
};

static void on_reply(struct store_call *call, int status, const struct store_reply *reply)
{
    struct answer *a = call->data;

    a->done = true;
    a->status = status;
    a->member_id = status == 0 ? reply->header.member_id : 0;
    if (status == 0 && call->kind == STORE_RANGE && reply->range.n_kvs == 1) {
        (void)snprintf(a->value, sizeof(a->value), "%.*s", (int)reply->range.kvs[0].value.len,
            (const char *)reply->range.kvs[0].value.data);
    }
}

static int call(struct world *w, size_t i, struct answer *a)
{
    uint64_t begun = clock_boot_ms();

    a->done = false;
    a->call.cb = on_reply;
    a->call.data = a;
    store_submit(node_store(w->nodes[i]), &a->call);
    while (!a->done) {
        assert_true(clock_boot_ms() - begun < LIMIT_MS);
        (void)uv_run(&w->loop, UV_RUN_ONCE);
    }
    return a->status;
}

static int put(struct world *w, size_t i, const char *key, const char *value)
{
    struct answer a = {
        .call = {.kind = STORE_PUT, .put = {.key = bytes_str(key), .value = bytes_str(value)}}};

    return call(w, i, &a);
}

static uint64_t member_id(struct world *w, size_t i)
{
    struct answer a = {.call = {.kind = STORE_STATUS}};

    assert_int_equal(call(w, i, &a), 0);
    return a.member_id;
}

static void assert_value(struct world *w, size_t i, const char *key, const char *value)
{
    struct answer a = {.call = {.kind = STORE_RANGE, .range = {.key = bytes_str(key)}}};

    assert_int_equal(call(w, i, &a), 0);
    assert_string_equal(a.value, value);
}

/* ---- claims ---- */

TEST(node, plain_member_starts_serves_and_comes_back)
{
    struct world w;

    world_init(&w, 1);
    start(&w, 0);
    assert_int_equal(put(&w, 0, "/a", "1"), 0);
    assert_value(&w, 0, "/a", "1");
    stop(&w, 0);
    start(&w, 0);
    assert_value(&w, 0, "/a", "1");
    world_deinit(&w);
}

TEST(node, three_members_agree_over_tcp_and_outlive_one)
{
    struct world w;

    world_init(&w, 3);
    for (size_t i = 0; i < 3; i++) {
        start(&w, i);
    }
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(put(&w, i, "/a", w.urls[i]), 0);
        assert_value(&w, (i + 1) % 3, "/a", w.urls[i]);
    }
    for (size_t i = 0; i < 3; i++) {
        stop(&w, i);
        assert_int_equal(put(&w, (i + 1) % 3, "/b", w.urls[i]), 0);
        start(&w, i);
        assert_value(&w, i, "/b", w.urls[i]);
    }
    world_deinit(&w);
}

static void on_time(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

static void run_for(struct world *w, uint64_t ms)
{
    uv_timer_t timer;
    bool over = false;

    timer.data = &over;
    assert_int_equal(uv_timer_init(&w->loop, &timer), 0);
    assert_int_equal(uv_timer_start(&timer, on_time, ms, 0), 0);
    while (!over) {
        (void)uv_run(&w->loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&timer, NULL);
    (void)uv_run(&w->loop, UV_RUN_NOWAIT);
}

TEST(node, a_member_that_lost_its_data_is_not_let_in_again)
{
    struct world w;
    _cleanup_free_ char *rm = NULL;

    world_init(&w, 3);
    for (size_t i = 0; i < 3; i++) {
        start(&w, i);
    }
    assert_int_equal(put(&w, 0, "/a", "1"), 0);
    run_for(&w, 1000); /* five elections: all have said who they are */
    stop(&w, 2);
    rm = xasprintf("rm -rf %s/m2", w.dir);
    assert_int_equal(system(rm), 0);
    start(&w, 2);
    run_for(&w, 1000);
    assert_false(store_has_leader(node_store(w.nodes[2])));
    assert_int_equal(put(&w, 0, "/a", "2"), 0); /* the others go on */
    world_deinit(&w);
}

TEST(node, large_values_go_round)
{
    struct world w;
    struct answer a = {.call = {.kind = STORE_PUT, .put = {.key = BYTES_LITERAL("/big")}}};
    uint8_t *big = xcalloc(1, 1 << 20);

    world_init(&w, 3);
    for (size_t i = 0; i < 3; i++) {
        start(&w, i);
    }
    a.call.put.value = bytes_make(big, 1 << 20);
    for (int n = 0; n < 6; n++) {
        assert_int_equal(call(&w, (size_t)n % 3, &a), 0);
    }
    free(big);
    world_deinit(&w);
}

TEST(node, a_data_directory_in_use_is_refused)
{
    _cleanup_err_ struct err err = {0};
    struct world w;
    struct node *other;

    world_init(&w, 1);
    start(&w, 0);
    assert_int_equal(open_as(&w, 0, "m0", &other, &err), -EBUSY);
    assert_non_null(strstr(err.text, w.dir));
    world_deinit(&w);
}

TEST(node, a_port_in_use_is_named)
{
    _cleanup_err_ struct err err = {0};
    struct world w;
    struct node *other;

    world_init(&w, 2);
    start(&w, 0);
    memcpy(w.urls[1], w.urls[0], sizeof(w.urls[0]));
    (void)snprintf(w.cluster, sizeof(w.cluster), "m1=%s", w.urls[1]);
    assert_int_equal(open_as(&w, 1, "m1", &other, &err), -EADDRINUSE);
    assert_non_null(strstr(err.text, strrchr(w.urls[0], ':')));
    world_deinit(&w);
}

TEST(node, contradictory_options_are_refused)
{
    static const struct {
        const char *cluster, *name, *text;
    } cases[] = {
        {"m0=http://127.0.0.1:1", "m9", "no member named m9"},
        {"m0=http://127.0.0.1:1", "m0", "advertises"},
        {"m0", "m0", "NAME=URL"},
        {"m0=ftp://x:1", "m0", "http://"},
        {"m0=https://x:1", "m0", "https"},
        {"m0=http://x", "m0", "PORT"},
        {"m0=http://x:99999", "m0", "port"},
        {"m0=http://x:1,m1=http://x:1", "m0", "same peer URLs"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_err_ struct err err = {0};
        struct world w;
        struct node *n;

        world_init(&w, 1);
        (void)snprintf(w.cluster, sizeof(w.cluster), "%s", cases[i].cluster);
        assert_int_equal(open_as(&w, 0, cases[i].name, &n, &err), DECREE_EINVALID_CONFIG);
        if (strstr(err.text, cases[i].text) == NULL) {
            fail_msg("\"%s\" does not say \"%s\"", err.text, cases[i].text);
        }
        world_deinit(&w);
    }
}

/* ---- streams and links ---- */

TEST(node, a_member_far_behind_is_sent_a_snapshot)
{
    _cleanup_free_ char *value = xcalloc(1, 20001);
    uint64_t begun;
    struct answer a = {.call = {.kind = STORE_RANGE,
                           .range = {.key = BYTES_LITERAL("/last"), .serializable = true}}};
    struct world w;

    memset(value, 'v', 20000);
    world_init(&w, 3);
    w.snapshot_count = 50;
    w.snapshot_keep = 5;
    for (size_t i = 0; i < 3; i++) {
        start(&w, i);
    }
    assert_int_equal(put(&w, 0, "/a", "1"), 0);
    stop(&w, 2);
    for (int i = 0; i < 200; i++) {
        assert_int_equal(put(&w, 0, "/a", value), 0);
    }
    assert_int_equal(put(&w, 0, "/last", "one"), 0);
    start(&w, 2);
    begun = clock_boot_ms();
    /* From its own state, so that it was its turn to get there. */
    do {
        assert_true(clock_boot_ms() - begun < LIMIT_MS);
        assert_int_equal(call(&w, 2, &a), 0);
        (void)uv_run(&w.loop, UV_RUN_ONCE);
    } while (strcmp(a.value, "one") != 0);
    world_deinit(&w);
}

TEST(node, metrics_count_what_the_links_carry)
{
    uint64_t begun_us = clock_boot_ns() / 1000;
    struct store_metrics metrics = {0};
    struct world w;

    world_init(&w, 3);
    for (size_t i = 0; i < 3; i++) {
        start(&w, i);
    }
    assert_int_equal(put(&w, 0, "/a", "1"), 0);
    run_for(&w, 200);
    store_metrics(node_store(w.nodes[0]), &metrics);
    assert_int_equal(metrics.n_peers, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_true(metrics.peers[i].active && metrics.peers[i].id != 0);
        assert_true(metrics.peers[i].sent_bytes > 0 || metrics.peers[i].received_bytes > 0);
    }
    assert_true(metrics.has_leader && metrics.wal_fsyncs > 0);
    assert_true(metrics.loop_turns.n > 0 && metrics.loop_turns.sum_us > 0);
    assert_true(metrics.loop_turns.sum_us < clock_boot_ns() / 1000 - begun_us);
    world_deinit(&w);
}

TEST(node, a_member_left_alone_says_that_the_connection_is_lost)
{
    struct world w;
    int status;

    world_init(&w, 3);
    for (size_t i = 0; i < 3; i++) {
        start(&w, i);
    }
    assert_int_equal(put(&w, 0, "/a", "1"), 0);
    run_for(&w, 1000);
    stop(&w, 1);
    stop(&w, 2);
    status = put(&w, 0, "/a", "2");
    assert_true(status == DECREE_ETIMEOUT || status == DECREE_ETIMEOUT_CONNECTION ||
        status == DECREE_ETIMEOUT_LEADER_FAIL);
    world_deinit(&w);
}

TEST(node, memory_that_a_compaction_freed_goes_back_while_calls_go_on)
{
    struct answer a = {.call = {.kind = STORE_COMPACT, .compact = {.physical = true}}};
    struct world w;

    world_init(&w, 1);
    start(&w, 0);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(put(&w, 0, "/a", "1"), 0);
    }
    a.call.compact.revision = 50;
    assert_int_equal(call(&w, 0, &a), 0);
    run_for(&w, 2500);
    assert_value(&w, 0, "/a", "1");
    world_deinit(&w);
}

/* ---- options ---- */

TEST(node, without_options_it_is_a_cluster_of_itself_with_the_usual_figures)
{
    _cleanup_free_ char *dir = NULL;
    struct node_options o = {.name = "default"};
    _cleanup_err_ struct err err = {0};
    struct world w;

    world_init(&w, 1);
    dir = xasprintf("%s/d", w.dir);
    o.data_dir = dir;
    assert_int_equal(node_open(&w.loop, &o, &w.nodes[0], &err), 0);
    assert_int_equal(put(&w, 0, "/a", "1"), 0);
    assert_int_equal(member_id(&w, 0), 0x8e9e05c52164694d); /* as etcd without flags */
    world_deinit(&w);
}

TEST(node, several_urls_of_a_lone_member_are_one_member)
{
    static const char *const urls[] = {"http://localhost:1", "http://localhost:2"};
    _cleanup_free_ char *dir = NULL;
    struct node_options o = {.name = "two",
        .initial_cluster = "",
        .initial_cluster_token = "own",
        .initial_advertise_peer_urls = urls,
        .n_initial_advertise_peer_urls = 2,
        .snapshot_count = 10,
        .snapshot_keep = 10,
        .quota_bytes = 1 << 20};
    struct world w;

    world_init(&w, 1);
    dir = xasprintf("%s/d", w.dir);
    o.data_dir = dir;
    assert_int_equal(node_open(&w.loop, &o, &w.nodes[0], NULL), 0);
    assert_int_equal(put(&w, 0, "/a", "1"), 0);
    world_deinit(&w);
}

TEST(node, an_election_timeout_of_too_few_heartbeats_is_refused)
{
    struct node_options o = {.name = "x", .data_dir = "/nowhere", .heartbeat_ms = 300};
    _cleanup_err_ struct err err = {0};
    struct world w;

    world_init(&w, 1);
    o.election_ms = 1499;
    assert_int_equal(node_open(&w.loop, &o, &w.nodes[0], &err), DECREE_EINVALID_CONFIG);
    assert_non_null(
        strstr(err.text, "(1499 ms) must be at least five heartbeat intervals (300 ms)"));
    world_deinit(&w);
}

TEST(node, a_missing_incarnation_is_made_again)
{
    _cleanup_free_ char *path = NULL;
    struct stat st;
    struct world w;

    world_init(&w, 1);
    path = xasprintf("%s/m0/incarnation", w.dir);
    start(&w, 0);
    assert_int_equal(put(&w, 0, "/a", "1"), 0); /* founded, durably */
    stop(&w, 0);
    assert_int_equal(unlink(path), 0);
    start(&w, 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    world_deinit(&w);
}

TEST_MAIN(UNIT(node, a_member_far_behind_is_sent_a_snapshot),
    UNIT(node, metrics_count_what_the_links_carry),
    UNIT(node, a_member_left_alone_says_that_the_connection_is_lost),
    UNIT(node, memory_that_a_compaction_freed_goes_back_while_calls_go_on),
    UNIT(node, without_options_it_is_a_cluster_of_itself_with_the_usual_figures),
    UNIT(node, several_urls_of_a_lone_member_are_one_member),
    UNIT(node, an_election_timeout_of_too_few_heartbeats_is_refused),
    UNIT(node, a_missing_incarnation_is_made_again),
    UNIT(node, plain_member_starts_serves_and_comes_back),
    UNIT(node, three_members_agree_over_tcp_and_outlive_one),
    UNIT(node, a_member_that_lost_its_data_is_not_let_in_again), UNIT(node, large_values_go_round),
    UNIT(node, a_data_directory_in_use_is_refused), UNIT(node, a_port_in_use_is_named),
    UNIT(node, contradictory_options_are_refused))
