/* The core where something is at its limit, late, damaged or not what was expected. */
#include <stdio.h>
#include <string.h>

#include "entry_codec.h"
#include "msg_codec.h"
#include "node_sim.h"
#include "node_snapshot.h"
#include "snap_file.h"
#include "unit.h"
#include "wal.h"

/* ---- whose directory ---- */

/* Opens member 0's disk as m0 of that cluster; the text of a refusal, NULL when it opened. */
static char *open_with(struct sim *s, const char *cluster, struct core_options o)
{
    struct sim_member *m = &s->members[0];
    _cleanup_err_ struct err e = {0};
    struct members founders;
    char *text = NULL;

    assert_int_equal(members_parse(cluster, "t", &founders, NULL), 0);
    o.name = o.name != NULL ? o.name : "m0";
    o.data_dir = "mem";
    o.founders = o.founders == NULL ? &founders : NULL;
    o.heartbeat_ms = SIM_HEARTBEAT_MS;
    o.election_ticks = SIM_ELECTION_TICKS;
    o.snapshot_count = 1000;
    o.snapshot_keep = 100;
    o.quota_bytes = 1 << 20;
    o.segment_bytes = 1 << 20;
    o.disk = wal_mem_disk(m->mem);
    m->id = members_find_name(&founders, "m0") != NULL ? members_find_name(&founders, "m0")->id : 1;
    if (core_open(&o, &m->env, &m->core, &e) < 0) {
        assert_non_null(e.text);
        text = xstrdup(e.text);
        m->core = NULL;
    } else {
        core_set_incarnation(m->core, 1000);
        sim_settle(s);
        sim_stop(s, 0);
    }
    members_deinit(&founders);
    return text;
}

static void assert_refuses(
    struct sim *s, const char *cluster, struct core_options o, const char *words)
{
    _cleanup_free_ char *text = open_with(s, cluster, o);

    if (text == NULL || strstr(text, words) == NULL) {
        fail_msg("said: %s", text != NULL ? text : "nothing");
    }
}

#define ALONE "m0=http://h0:2380"
#define THREE "m0=http://h0:2380,m1=http://h1:2380,m2=http://h2:2380"

TEST(boot, a_founding_that_contradicts_itself_is_refused_and_leaves_nothing)
{
    static const char *const other[] = {"http://h9:2380"};
    static const char *const two[] = {"http://h0:2380", "http://h0:2380"};
    static const struct members none;
    struct sim s;

    sim_init(&s, 1);
    assert_refuses(&s, ALONE, (struct core_options){.peer_urls = other, .n_peer_urls = 1},
        "m0 advertises http://h9:2380 to members, but the initial cluster lists http://h0:2380");
    assert_refuses(&s, ALONE, (struct core_options){.peer_urls = two, .n_peer_urls = 2},
        "m0 advertises 2 URLs to members, but the initial cluster lists 1");
    assert_refuses(&s, "m1=http://h1:2380", (struct core_options){0}, "has no member named m0");
    assert_refuses(&s, ALONE, (struct core_options){.founders = &none}, "has no member named m0");
    /* After all that the directory is as new. */
    assert_null(open_with(&s, ALONE, (struct core_options){.peer_urls = two, .n_peer_urls = 1}));
    sim_deinit(&s);
}

TEST(boot, a_directory_of_a_lone_member_founds_no_cluster_of_three)
{
    struct sim s;

    sim_init(&s, 1);
    assert_null(open_with(&s, ALONE, (struct core_options){0}));
    assert_refuses(&s, THREE, (struct core_options){0},
        "holds a cluster of this member alone, but the initial cluster lists 3 members");
    assert_refuses(&s, ALONE, (struct core_options){.name = "other"},
        "but this process was started as \"other\"");
    assert_refuses(&s, ALONE, (struct core_options){.token = "u"}, "with token \"t\"");
    /* Without the list, and with the flag that is for the founding only, it starts. */
    assert_null(open_with(&s, ALONE, (struct core_options){.existing = true}));
    sim_deinit(&s);
}

TEST(boot, a_list_that_differs_from_the_members_known_starts_all_the_same)
{
    struct sim s;

    sim_init(&s, 1);
    assert_null(open_with(&s, THREE, (struct core_options){0}));
    assert_null(open_with(
        &s, "m0=http://h0:2380,m1=http://h1:2380,m7=http://h7:2380", (struct core_options){0}));
    assert_null(open_with(&s, "m0=http://h0:2380,m1=http://h1:2380", (struct core_options){0}));
    sim_deinit(&s);
}

/* ---- snapshots at a start ---- */

static void put_many(struct sim *s, size_t i, int n, size_t value_bytes)
{
    _cleanup_free_ char *value = xcalloc(1, value_bytes + 1);

    memset(value, 'v', value_bytes);
    for (int k = 0; k < n; k++) {
        char key[16];

        (void)snprintf(key, sizeof(key), "/k%d", k % 50);
        assert_int_equal(sim_put(s, i, key, value), 0);
    }
}

static uint8_t *snapshot_bytes(struct sim *s, uint64_t index, size_t *ret_len)
{
    for (uint64_t term = 1; term < 100; term++) {
        char name[SNAP_NAME_MAX];
        struct strbuf *b;

        snap_file_name(name, (struct wal_snapshot_id){.term = term, .index = index});
        b = wal_mem_bytes(s->members[0].mem, WAL_FOLDER_SNAP, name);
        if (b != NULL) {
            *ret_len = b->len;
            return b->data;
        }
    }
    fail();
    return NULL;
}

TEST(boot, an_older_snapshot_and_the_log_stand_in_for_a_damaged_one)
{
    uint64_t first, second, third, revision;
    struct sim_call c;
    struct sim s;
    uint8_t *b;
    size_t len;

    sim_init(&s, 1);
    s.snapshot_count = 60;
    s.snapshot_keep = 5;
    sim_start(&s, 0);
    put_many(&s, 0, 70, 100);
    first = core_snapshot_index(s.members[0].core);
    put_many(&s, 0, 70, 100);
    second = core_snapshot_index(s.members[0].core);
    assert_true(first > 0 && second > first);
    assert_int_equal(sim_get(&s, 0, "/k1", &c), 0);
    revision = (uint64_t)c.header.revision;
    sim_kill(&s, 0);
    b = snapshot_bytes(&s, second, &len);
    b[len / 2] ^= 1;
    sim_start(&s, 0);
    sim_run(&s, 100);
    assert_int_equal(sim_get(&s, 0, "/k1", &c), 0);
    assert_int_equal(c.header.revision, revision);
    third = core_snapshot_index(s.members[0].core);
    assert_true(third > second); /* a whole one takes the place of the damaged one at once */
    sim_kill(&s, 0);
    b = snapshot_bytes(&s, first, &len);
    b[len / 2] ^= 1;
    b = snapshot_bytes(&s, third, &len);
    b[len / 2] ^= 1; /* both: this log still has its first segment, and that is enough */
    sim_start(&s, 0);
    sim_run(&s, 100);
    assert_int_equal(sim_get(&s, 0, "/k1", &c), 0);
    assert_int_equal(c.header.revision, revision);
    sim_deinit(&s);
}

static void on_written(void *data, int status, const char *text)
{
    (void)text;
    *(int *)data = status;
}

/* Whole as a file, and no snapshot of ours inside. */
static void start_from(struct bytes header, struct bytes body, const char *words)
{
    _cleanup_err_ struct err e = {0};
    struct sim s;
    struct wal_options o = {.dir = "mem", .segment_bytes = 1 << 20};
    struct wal_recovery rec;
    struct wal *w = NULL;
    struct snap_writer *writer = NULL;
    struct buf *piece = buf_copy(body);
    int status = 1;

    sim_init(&s, 1);
    sim_start(&s, 0);
    put_many(&s, 0, 3, 10);
    sim_kill(&s, 0);
    o.disk = wal_mem_disk(s.members[0].mem);
    assert_int_equal(wal_open(&o, &w, &rec, NULL), 0);
    assert_int_equal(snap_writer_open(w, (struct wal_snapshot_id){.index = 100, .term = 50}, header,
                         &writer, NULL),
        0);
    snap_writer_write(writer, piece);
    snap_writer_finish(writer, on_written, &status);
    wal_poll(w);
    assert_int_equal(status, 0);
    (void)wal_close(w);
    wal_recovery_deinit(&rec);
    buf_unref(piece);
    assert_true(sim_try_start(&s, 0, "m0", NULL, &e) < 0);
    if (strstr(e.text, words) == NULL || strstr(e.text, "snapshot 100 in mem") == NULL) {
        fail_msg("said: %s", e.text);
    }
    s.members[0].core = NULL;
    sim_deinit(&s);
}

TEST(boot, a_snapshot_that_cannot_be_read_is_named)
{
    static const uint8_t noise[5000] = {9, 9, 9};
    _cleanup_strbuf_ struct strbuf header = {0}, body = {0};
    struct sim s;

    start_from(BYTES_LITERAL("\x07"), BYTES_LITERAL("b"), "version 7");
    start_from(BYTES_LITERAL("\x01?"), BYTES_LITERAL("b"), "header cannot be read");
    sim_init(&s, 1);
    sim_start(&s, 0);
    node_snapshot_header(s.members[0].core, core_cluster_id(s.members[0].core), &header);
    sim_deinit(&s);
    node_snapshot_body(5, 100, &body);
    start_from(strbuf_bytes(&header), bytes_make(body.data, body.len - 30),
        "snapshot is damaged: it ends");
    start_from(strbuf_bytes(&header), bytes_make(noise, sizeof(noise)), "damaged");
}

static void on_appended(struct wal_append_req *req, int status)
{
    *(int *)req->data = status;
}

/* A log that no member wrote: its first entry says nothing of members. */
TEST(boot, a_log_that_does_not_begin_with_the_members_is_refused)
{
    static const uint8_t types[] = {RAFT_ENTRY_NORMAL, RAFT_ENTRY_CONF, RAFT_ENTRY_CONF};
    static const char *const payloads[] = {"", "no configuration", "\x01\x01\x05\0\0\0\0\0\0\0\0"};
    static const size_t lens[] = {0, 16, 11};

    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        struct sim s;
        _cleanup_err_ struct err e = {0};
        struct wal_options o = {.dir = "mem", .segment_bytes = 1 << 20};
        struct buf *payload = buf_copy(bytes_make(payloads[i], lens[i]));
        struct wal_entry entry = {.index = 1, .term = 1, .type = types[i], .payload = payload};
        int status = 1;
        struct wal_append_req req = {
            .entries = &entry, .n_entries = 1, .cb = on_appended, .data = &status};
        struct wal_recovery rec;
        struct wal *w = NULL;

        sim_init(&s, 1);
        o.disk = wal_mem_disk(s.members[0].mem);
        assert_int_equal(wal_open(&o, &w, &rec, NULL), 0);
        assert_int_equal(wal_create(w, (struct wal_identity){1, 1}, NULL), 0);
        assert_int_equal(wal_append(w, &req), 0);
        wal_poll(w);
        assert_int_equal(status, 0);
        (void)wal_close(w);
        wal_recovery_deinit(&rec);
        buf_unref(payload);
        assert_int_equal(sim_try_start(&s, 0, "m0", NULL, &e), DECREE_ECORRUPT);
        assert_non_null(e.text);
        s.members[0].core = NULL;
        sim_deinit(&s);
    }
}

/* ---- limits ---- */

TEST(limits, a_txn_takes_space_when_any_branch_of_it_does)
{
    struct txn_op put = {.kind = OP_PUT, .put = {.key = BYTES_LITERAL("k")}};
    struct txn_op del = {.kind = OP_DELETE, .del = {.key = BYTES_LITERAL("/k1")}};
    struct txn_request inner_put = {.failure = &put, .n_failure = 1};
    struct txn_request inner_del = {.success = &del, .n_success = 1};
    struct txn_op nested_put[] = {del, {.kind = OP_TXN, .txn = &inner_put}};
    struct txn_op nested_del[] = {del, {.kind = OP_TXN, .txn = &inner_del}};
    struct sim_call c = {.call = {.kind = STORE_TXN}};
    struct sim s;

    del.del.key = BYTES_LITERAL("/other");
    nested_put[0].del.key = nested_del[0].del.key = BYTES_LITERAL("/k2");
    sim_init(&s, 1);
    s.quota_bytes = 30000;
    sim_start(&s, 0);
    while (sim_put(&s, 0, "/k1", "0123456789012345678901234567890123456789") == 0) {}
    c.call.txn = (struct txn_request){.success = nested_put, .n_success = 2};
    assert_int_equal(sim_call(&s, 0, &c), DECREE_ENO_SPACE);
    c.call.txn = (struct txn_request){.failure = nested_put, .n_failure = 2};
    assert_int_equal(sim_call(&s, 0, &c), DECREE_ENO_SPACE);
    c.call.txn = (struct txn_request){.success = nested_del, .n_success = 2};
    assert_int_equal(sim_call(&s, 0, &c), 0); /* what only deletes goes through */
    sim_deinit(&s);
}

/* Reads wait for a leader that was cut off to prove that it still leads. */
TEST(limits, more_calls_than_may_wait_are_refused)
{
    enum { CALLS = 100000, MORE = 20 };
    struct sim_call *calls = xcalloc(CALLS + MORE, sizeof(*calls));
    _cleanup_buf_ struct buf *ask = lease_ask_encode(&(struct lease_ask){.sequence = 1, .id = 7});
    size_t leader;
    struct sim s;

    sim_init(&s, 3);
    for (size_t i = 0; i < 3; i++) {
        sim_start(&s, i);
    }
    leader = sim_elect(&s);
    s.members[leader].cut = true;
    for (size_t i = 0; i < CALLS + MORE; i++) {
        calls[i].call = (struct store_call){
            .kind = STORE_RANGE, .range = {.key = BYTES_LITERAL("k"), .count_only = true}};
        sim_submit(&s, leader, &calls[i]);
        if ((i % 1000 == 0 && i < CALLS - 1000) || i >= CALLS - 1000) {
            sim_settle(&s);
        }
    }
    /* A follower's question is refused likewise, and told so. */
    core_frame(s.members[leader].core, s.members[(leader + 1) % 3].id, buf_bytes(ask));
    for (size_t i = 0; i < CALLS + MORE; i++) {
        assert_int_equal(calls[i].done, i >= CALLS);
        assert_int_equal(calls[i].status, i >= CALLS ? DECREE_ETOO_MANY_REQUESTS : 0);
    }
    sim_stop(&s, leader);
    for (size_t i = 0; i < CALLS; i++) {
        assert_int_equal(calls[i].status, DECREE_ESTOPPED);
    }
    free(calls);
    sim_deinit(&s);
}

/* A leader that hears nobody must not collect writes without end. */
TEST(limits, writes_that_cannot_be_committed_are_bounded_in_bytes)
{
    enum { CALLS = 70, VALUE = 1 << 20 };
    struct sim_call *calls = xcalloc(CALLS, sizeof(*calls));
    _cleanup_free_ uint8_t *value = xcalloc(1, VALUE);
    size_t refused = 0, leader;
    struct sim s;

    sim_init(&s, 3);
    for (size_t i = 0; i < 3; i++) {
        sim_start(&s, i);
    }
    leader = sim_elect(&s);
    s.members[leader].cut = true;
    for (size_t i = 0; i < CALLS; i++) {
        calls[i].call = (struct store_call){.kind = STORE_PUT,
            .put = {.key = BYTES_LITERAL("k"), .value = bytes_make(value, VALUE)}};
        sim_submit(&s, leader, &calls[i]);
        if (i % 8 == 0) {
            sim_settle(&s);
        }
    }
    sim_settle(&s);
    for (size_t i = 0; i < CALLS; i++) {
        refused += calls[i].done && calls[i].status == DECREE_ETOO_MANY_REQUESTS;
    }
    assert_in_range(refused, CALLS - 64, CALLS - 60);
    sim_stop(&s, leader);
    for (size_t i = 0; i < CALLS; i++) {
        assert_true(calls[i].done);
    }
    free(calls);
    sim_deinit(&s);
}

/* What a follower forwards waits in its link: no more of it than the link's queue takes. */
TEST(limits, a_follower_forwards_in_portions_and_all_of_it)
{
    enum { CALLS = 12, VALUE = 1 << 20 };
    struct sim_call calls[CALLS] = {0};
    _cleanup_free_ uint8_t *value = xcalloc(1, VALUE);
    size_t follower;
    struct sim s;

    sim_init(&s, 3);
    for (size_t i = 0; i < 3; i++) {
        sim_start(&s, i);
    }
    follower = (sim_elect(&s) + 1) % 3;
    for (size_t i = 0; i < CALLS; i++) {
        calls[i].call = (struct store_call){.kind = STORE_PUT,
            .put = {.key = BYTES_LITERAL("k"), .value = bytes_make(value, VALUE)}};
        sim_submit(&s, follower, &calls[i]);
    }
    sim_run(&s, 2000);
    for (size_t i = 0; i < CALLS; i++) {
        assert_true(calls[i].done);
        assert_int_equal(calls[i].status, 0);
    }
    sim_assert_equal(&s);
    sim_deinit(&s);
}

TEST(limits, a_physical_compaction_answers_when_the_memory_is_free)
{
    struct sim_call c = {.call = {.kind = STORE_COMPACT, .compact = {.physical = true}}};
    struct sim_call again;
    struct sim s;

    sim_init(&s, 1);
    sim_start(&s, 0);
    put_many(&s, 0, 5000, 10); /* more than one slice takes */
    c.call.compact.revision = 4990;
    again = c;
    sim_submit(&s, 0, &c);
    core_disk(s.members[0].core);
    (void)core_turn(s.members[0].core);
    core_disk(s.members[0].core);
    (void)core_turn(s.members[0].core);
    assert_false(c.done);
    sim_run(&s, 1000);
    assert_true(c.done);
    assert_int_equal(c.status, 0);
    assert_int_equal(sim_call(&s, 0, &again), DECREE_ECOMPACTED);
    sim_deinit(&s);
}

/* ---- a member that has stopped ---- */

TEST(stopped, nothing_that_comes_is_taken_and_every_call_is_told)
{
    struct sim_call c = {.call = {.kind = STORE_STATUS}};
    struct store *core;
    struct sim s;

    sim_init(&s, 1);
    sim_start(&s, 0);
    sim_settle(&s);
    core = s.members[0].core;
    core_stop(core);
    sim_submit(&s, 0, &c);
    core_frame(core, 5, BYTES_LITERAL("\x01"));
    core_unreachable(core, 5);
    core_link_lost(core, 5);
    assert_int_equal(core_stream_frame(core, 5, BYTES_LITERAL("\x10")), CORE_STREAM_CUT);
    core_tick(core);
    (void)core_turn(core);
    assert_true(c.done);
    assert_int_equal(c.status, DECREE_ESTOPPED);
    assert_false(core_hand_over(core));
    sim_deinit(&s);
}

/* ---- leases ---- */

TEST(leases, a_revoke_deletes_its_keys_and_is_gone)
{
    struct sim_call c = {.call = {.kind = STORE_LEASE_GRANT, .lease_grant = {.id = 7, .ttl = 60}}};
    struct sim s;

    sim_init(&s, 1);
    sim_start(&s, 0);
    assert_int_equal(sim_call(&s, 0, &c), 0);
    c = (struct sim_call){
        .call = {.kind = STORE_PUT, .put = {.key = BYTES_LITERAL("/l"), .lease = 7}}};
    assert_int_equal(sim_call(&s, 0, &c), 0);
    c = (struct sim_call){.call = {.kind = STORE_LEASE_REVOKE, .lease_id = {.id = 7}}};
    assert_int_equal(sim_call(&s, 0, &c), 0);
    assert_int_equal(sim_get(&s, 0, "/l", &c), 0);
    assert_int_equal(c.count, 0);
    c = (struct sim_call){.call = {.kind = STORE_LEASE_REVOKE, .lease_id = {.id = 7}}};
    assert_int_equal(sim_call(&s, 0, &c), DECREE_ELEASE_NOT_FOUND);
    sim_deinit(&s);
}

/* A question that reaches a member which leads no more is answered so, and asked again elsewhere.
 */
TEST(leases, a_question_survives_the_change_of_the_leader)
{
    struct sim_call c = {.call = {.kind = STORE_LEASE_GRANT, .lease_grant = {.id = 7, .ttl = 60}}};
    size_t leader, asker;
    struct sim s;

    sim_init(&s, 3);
    for (size_t i = 0; i < 3; i++) {
        sim_start(&s, i);
    }
    leader = sim_elect(&s);
    asker = (leader + 1) % 3;
    assert_int_equal(sim_call(&s, leader, &c), 0);
    sim_kill(&s, leader);
    c = (struct sim_call){.call = {.kind = STORE_LEASE_TTL, .lease_ttl = {.id = 7}}};
    sim_submit(&s, asker, &c);
    sim_settle(&s);
    assert_false(c.done);
    sim_start(&s, leader);
    for (int i = 0; i < 400 && !c.done; i++) {
        sim_run(&s, 10);
    }
    assert_true(c.done);
    assert_int_equal(c.status, 0);
    assert_int_equal(c.lease.granted, 60);
    sim_deinit(&s);
}

/* A frame holds so much; the leader itself has no such limit. */
TEST(leases, more_keys_than_a_frame_holds_are_too_many_for_a_follower)
{
    enum { KEYS = 2200, KEY_BYTES = 1000 };
    struct sim_call c = {.call = {.kind = STORE_LEASE_GRANT, .lease_grant = {.id = 7, .ttl = 600}}};
    char key[KEY_BYTES + 1];
    size_t leader;
    struct sim s;

    sim_init(&s, 3);
    for (size_t i = 0; i < 3; i++) {
        sim_start(&s, i);
    }
    leader = sim_elect(&s);
    assert_int_equal(sim_call(&s, leader, &c), 0);
    memset(key, 'k', KEY_BYTES);
    for (int i = 0; i < KEYS; i++) {
        (void)snprintf(key, 16, "%07d", i);
        key[7] = 'k';
        c = (struct sim_call){
            .call = {.kind = STORE_PUT, .put = {.key = bytes_make(key, KEY_BYTES), .lease = 7}}};
        assert_int_equal(sim_call(&s, leader, &c), 0);
    }
    c = (struct sim_call){.call = {.kind = STORE_LEASE_TTL, .lease_ttl = {.id = 7, .keys = true}}};
    assert_int_equal(sim_call(&s, (leader + 1) % 3, &c), DECREE_ETOO_LARGE);
    assert_int_equal(sim_call(&s, leader, &c), 0);
    c.call.lease_ttl.keys = false;
    assert_int_equal(sim_call(&s, (leader + 1) % 3, &c), 0);
    /* And a reply about all of them, whose block is given back. */
    c = (struct sim_call){
        .call = {.kind = STORE_DELETE,
            .del = {.key = BYTES_LITERAL("0"), .range_end = BYTES_LITERAL("1"), .prev_kv = true}}};
    assert_int_equal(sim_call(&s, leader, &c), 0);
    assert_int_equal(c.deleted, KEYS);
    sim_deinit(&s);
}

TEST(cluster, time_without_a_leader_is_counted)
{
    size_t leader, other;
    struct sim s;

    sim_init(&s, 3);
    sim_start(&s, 0);
    sim_run(&s, 3000);
    assert_in_range(store_leaderless_ms(s.members[0].core), 2900, 3100);
    sim_start(&s, 1);
    sim_start(&s, 2);
    leader = sim_elect(&s);
    other = (leader + 1) % 3;
    assert_int_equal(store_leaderless_ms(s.members[leader].core), 0);
    s.members[other].cut = true;
    sim_run(&s, 10000);
    assert_true(store_leaderless_ms(s.members[other].core) > 5000);
    sim_deinit(&s);
}

static void assert_client_url(struct sim *s, const char *url)
{
    const struct store_member *self = core_members(s->members[0].core)->list;

    assert_int_equal(self->n_client_urls, url != NULL);
    if (url != NULL) {
        assert_string_equal(self->client_urls[0], url);
    }
}

/* What a member says about itself follows its options. */
TEST(cluster, other_client_urls_at_a_new_start_are_published)
{
    static const char *const urls[][1] = {{"http://a:1"}, {"http://b:1"}, {NULL}};
    struct members founders;
    struct sim s;

    sim_init(&s, 1);
    for (size_t i = 0; i < ARRAY_SIZE(urls); i++) {
        struct core_options o = {.name = "m0",
            .data_dir = "mem",
            .founders = &founders,
            .client_urls = urls[i],
            .n_client_urls = urls[i][0] != NULL,
            .heartbeat_ms = SIM_HEARTBEAT_MS,
            .election_ticks = SIM_ELECTION_TICKS,
            .snapshot_count = 1000,
            .snapshot_keep = 100,
            .quota_bytes = 1 << 20,
            .segment_bytes = 1 << 20,
            .disk = wal_mem_disk(s.members[0].mem)};

        assert_int_equal(members_parse(ALONE, "t", &founders, NULL), 0);
        s.members[0].id = founders.list[0].id;
        assert_int_equal(core_open(&o, &s.members[0].env, &s.members[0].core, NULL), 0);
        members_deinit(&founders);
        core_set_incarnation(s.members[0].core, 5);
        sim_run(&s, 5000);
        assert_client_url(&s, urls[i][0]);
        sim_stop(&s, 0);
    }
    sim_deinit(&s);
}

/* Three members, of which two have disks too full for any entry, but votes and heartbeats go on;
 * lease 7 of four seconds with a key. Nothing can be committed any more. */
static size_t start_with_full_followers(struct sim *s)
{
    struct sim_call c = {.call = {.kind = STORE_LEASE_GRANT, .lease_grant = {.id = 7, .ttl = 20}}};
    _cleanup_free_ char *value = xcalloc(1, 300001);
    size_t leader;
    int err = 0;

    sim_init(s, 3);
    for (size_t i = 0; i < 3; i++) {
        sim_start(s, i);
    }
    leader = sim_elect(s);
    assert_int_equal(sim_call(s, leader, &c), 0);
    c = (struct sim_call){
        .call = {.kind = STORE_PUT, .put = {.key = BYTES_LITERAL("/l"), .lease = 7}}};
    assert_int_equal(sim_call(s, leader, &c), 0);
    memset(value, 'x', 300000);
    for (size_t i = 0; i < 3; i++) {
        if (i != leader) {
            wal_mem_set_capacity(s->members[i].mem, 0);
        }
    }
    for (int i = 0; i < 40 && err == 0; i++) {
        err = sim_put(s, leader, "/filler", value);
    }
    /* It leads, and hears everybody: only the writes do not come through. */
    assert_int_equal(err, DECREE_ETIMEOUT);
    return leader;
}

/* The disk in memory has a clock of its own, which hardly moves: a new start looks at once. */
static void make_room(struct sim *s, size_t leader)
{
    for (size_t i = 0; i < 3; i++) {
        wal_mem_set_capacity(s->members[i].mem, UINT64_MAX);
        if (i != leader) {
            sim_kill(s, i);
            sim_start(s, i);
        }
    }
}

TEST(leases, a_revoke_that_cannot_be_committed_is_not_taken_back)
{
    struct sim_call c;
    size_t leader;
    struct sim s;

    leader = start_with_full_followers(&s);
    sim_run(&s, 25000); /* expired, and the revoke is tried more than once */
    c = (struct sim_call){.call = {.kind = STORE_LEASE_KEEPALIVE, .lease_id = {.id = 7}}};
    assert_int_equal(sim_call(&s, leader, &c), DECREE_ETIMEOUT); /* its end is not certain yet */
    make_room(&s, leader);
    sim_run(&s, 5000);
    assert_int_equal(sim_get(&s, leader, "/l", &c), 0);
    assert_int_equal(c.count, 0);
    sim_assert_equal(&s);
    sim_deinit(&s);
}

TEST(leases, an_old_leader_forgets_the_revokes_under_way)
{
    struct sim_call c;
    size_t leader, next;
    struct sim s;

    leader = start_with_full_followers(&s);
    sim_run(&s, 25000);
    s.members[leader].cut = true;
    make_room(&s, leader);
    next = sim_elect(&s);
    sim_run(&s, 5000);
    s.members[leader].cut = false;
    sim_run(&s, 5000);
    /* The new one gives it its full time. */
    assert_int_equal(sim_get(&s, next, "/l", &c), 0);
    assert_int_equal(c.count, 1);
    sim_run(&s, 30000);
    assert_int_equal(sim_get(&s, next, "/l", &c), 0);
    assert_int_equal(c.count, 0);
    sim_assert_equal(&s);
    sim_deinit(&s);
}

static void assert_frame_does_nothing(struct sim *s, size_t i, struct bytes frame)
{
    uint64_t hash = core_hash(s->members[i].core);

    core_frame(s->members[i].core, s->members[(i + 1) % 3].id, frame);
    sim_settle(s);
    assert_int_equal(core_hash(s->members[i].core), hash);
}

TEST(leases, malformed_and_unasked_lease_frames_do_nothing)
{
    struct lease_ask ask = {.sequence = 1, .id = 7, .keepalive = true};
    struct lease_answer unasked = {.sequence = 99};
    _cleanup_buf_ struct buf *good_ask = lease_ask_encode(&ask);
    _cleanup_buf_ struct buf *answer = lease_answer_encode(&unasked);
    struct sim s;
    size_t leader;

    sim_init(&s, 3);
    for (size_t i = 0; i < 3; i++) {
        sim_start(&s, i);
    }
    leader = sim_elect(&s);
    for (size_t i = 0; i < 3; i++) {
        assert_frame_does_nothing(&s, i, BYTES_LITERAL("\x02?"));
        assert_frame_does_nothing(&s, i, BYTES_LITERAL("\x03"));
        assert_frame_does_nothing(&s, i, BYTES_LITERAL("\x77"));
        assert_frame_does_nothing(&s, i, (struct bytes){0});
        assert_frame_does_nothing(&s, i, buf_bytes(answer));
        assert_frame_does_nothing(&s, i, buf_bytes(good_ask));
    }
    assert_int_equal(sim_put(&s, leader, "/a", "1"), 0);
    sim_deinit(&s);
}

/* ---- snapshots ---- */

TEST(snapshots, one_that_finds_no_room_is_tried_again_later)
{
    struct store_metrics metrics = {0};
    struct sim s;

    sim_init(&s, 1);
    s.snapshot_count = 60;
    s.snapshot_keep = 5;
    sim_start(&s, 0);
    put_many(&s, 0, 50, 5000);
    store_metrics(s.members[0].core, &metrics);
    wal_mem_set_capacity(s.members[0].mem, metrics.wal_bytes + 100000);
    put_many(&s, 0, 20, 100);
    assert_int_equal(core_snapshot_index(s.members[0].core), 0);
    wal_mem_set_capacity(s.members[0].mem, UINT64_MAX);
    put_many(&s, 0, 20, 100);
    assert_int_equal(core_snapshot_index(s.members[0].core), 0); /* not at every write */
    sim_run(&s, 31000);
    put_many(&s, 0, 1, 100);
    assert_true(core_snapshot_index(s.members[0].core) > 60);
    sim_deinit(&s);
}

/* A follower that is far behind and takes nothing holds neither memory nor compaction for ever. */
TEST(snapshots, a_stream_that_stands_still_is_given_up_and_begun_again)
{
    size_t leader, behind;
    struct sim s;

    sim_init(&s, 3);
    s.snapshot_count = 60;
    s.snapshot_keep = 5;
    for (size_t i = 0; i < 3; i++) {
        sim_start(&s, i);
    }
    leader = sim_elect(&s);
    behind = (leader + 1) % 3;
    sim_kill(&s, behind);
    put_many(&s, leader, 200, 20000);
    sim_start(&s, behind);
    s.paused[leader][behind] = true;
    sim_run(&s, 2000);
    put_many(&s, leader, 100, 100); /* and the log is kept for it meanwhile */
    s.paused[leader][behind] = true;
    sim_run(&s, 32000);
    s.paused[leader][behind] = false;
    sim_run(&s, 5000);
    sim_assert_equal(&s);
    sim_deinit(&s);
}

TEST(snapshots, an_answer_that_cannot_be_read_ends_the_stream)
{
    size_t leader, behind;
    struct sim s;

    sim_init(&s, 3);
    s.snapshot_count = 60;
    s.snapshot_keep = 5;
    for (size_t i = 0; i < 3; i++) {
        sim_start(&s, i);
    }
    leader = sim_elect(&s);
    behind = (leader + 1) % 3;
    sim_kill(&s, behind);
    put_many(&s, leader, 200, 20000);
    sim_start(&s, behind);
    s.paused[leader][behind] = true;
    sim_run(&s, 500);
    core_stream_reply(s.members[leader].core, s.members[behind].id, BYTES_LITERAL("?"));
    core_stream_reply(s.members[leader].core, 12345, BYTES_LITERAL("?")); /* nobody's */
    core_stream_ready(s.members[leader].core, 12345);
    s.paused[leader][behind] = false;
    sim_run(&s, 5000);
    sim_assert_equal(&s);
    sim_deinit(&s);
}

TEST_MAIN(UNIT(boot, a_founding_that_contradicts_itself_is_refused_and_leaves_nothing),
    UNIT(boot, a_directory_of_a_lone_member_founds_no_cluster_of_three),
    UNIT(boot, a_list_that_differs_from_the_members_known_starts_all_the_same),
    UNIT(boot, an_older_snapshot_and_the_log_stand_in_for_a_damaged_one),
    UNIT(boot, a_snapshot_that_cannot_be_read_is_named),
    UNIT(boot, a_log_that_does_not_begin_with_the_members_is_refused),
    UNIT(leases, more_keys_than_a_frame_holds_are_too_many_for_a_follower),
    UNIT(cluster, time_without_a_leader_is_counted),
    UNIT(cluster, other_client_urls_at_a_new_start_are_published),
    UNIT(leases, a_revoke_that_cannot_be_committed_is_not_taken_back),
    UNIT(leases, an_old_leader_forgets_the_revokes_under_way),
    UNIT(limits, a_txn_takes_space_when_any_branch_of_it_does),
    UNIT(limits, more_calls_than_may_wait_are_refused),
    UNIT(limits, writes_that_cannot_be_committed_are_bounded_in_bytes),
    UNIT(limits, a_follower_forwards_in_portions_and_all_of_it),
    UNIT(limits, a_physical_compaction_answers_when_the_memory_is_free),
    UNIT(stopped, nothing_that_comes_is_taken_and_every_call_is_told),
    UNIT(leases, a_revoke_deletes_its_keys_and_is_gone),
    UNIT(leases, a_question_survives_the_change_of_the_leader),
    UNIT(leases, malformed_and_unasked_lease_frames_do_nothing),
    UNIT(snapshots, one_that_finds_no_room_is_tried_again_later),
    UNIT(snapshots, a_stream_that_stands_still_is_given_up_and_begun_again),
    UNIT(snapshots, an_answer_that_cannot_be_read_ends_the_stream))
