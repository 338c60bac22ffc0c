/* Entries and txns of many keys, in the core: they take many turns, in which raft goes on and what
 * needs the keyspace waits. */
#include "unit.h"

#include <stdio.h>

#include "alloc.h"
#include "msg_codec.h"
#include "node_scene.h"
#include "node_snapshot.h"

enum { KEYS = 30000, PART_KEYS = 1000, TURN_KEYS = 4000 };

struct big {
    struct store_call call;
    struct txn_op ops[2];
    struct store *core;
    unsigned parts, cancel_at; /* 0: never */
    size_t n;
    bool done, others_first; /* an answer to somebody else came before */
    int status;
    int64_t deleted, count;
    const struct sim_call *other;
};

static bool on_part(struct store_call *call, const struct store_part *part)
{
    struct big *b = call->data;

    assert_false(b->done);
    assert_in_range(part->n, 1, PART_KEYS);
    assert_in_range(part->about, KEYS, KEYS + 1);
    for (size_t i = 0; i < part->n; i++) {
        char key[16];

        (void)snprintf(key, sizeof(key), "/%06zu", b->n++);
        assert_true(bytes_eq(part->kvs[i].key, bytes_str(key)));
        assert_true(bytes_eq(part->kvs[i].value, BYTES_LITERAL("old")));
    }
    if (++b->parts == b->cancel_at) {
        store_cancel(b->core, call);
        return false;
    }
    return true;
}

static void on_reply(struct store_call *call, int status, const struct store_reply *reply)
{
    struct big *b = call->data;

    b->done = true;
    b->status = status;
    b->others_first = b->other != NULL && b->other->done;
    if (status == 0 && call->kind == STORE_DELETE) {
        assert_true(reply->del.in_parts);
        b->deleted = reply->del.deleted;
    } else if (status == 0 && call->kind == STORE_TXN) {
        assert_true(reply->txn.ops[0].range.in_parts);
        b->count = reply->txn.ops[0].range.count;
    }
}

static void submit(struct sim *s, size_t at, struct big *b)
{
    b->call.cb = on_reply;
    b->call.part = on_part;
    b->call.data = b;
    b->core = s->members[at].core;
    store_submit(b->core, &b->call);
}

static void delete_all(struct sim *s, size_t at, struct big *b)
{
    b->call.kind = STORE_DELETE;
    b->call.del = (struct delete_request){
        .key = BYTES_LITERAL("/"), .range_end = BYTES_LITERAL("0"), .prev_kv = true};
    submit(s, at, b);
}

static void read_all(struct sim *s, size_t at, struct big *b, bool puts)
{
    b->ops[0] = (struct txn_op){
        .kind = OP_RANGE, .range = {.key = BYTES_LITERAL("/"), .range_end = BYTES_LITERAL("0")}};
    b->ops[1] = (struct txn_op){
        .kind = OP_PUT, .put = {.key = BYTES_LITERAL("/new"), .value = BYTES_LITERAL("v")}};
    b->call.kind = STORE_TXN;
    b->call.txn = (struct txn_request){.success = b->ops, .n_success = puts ? 2 : 1};
    submit(s, at, b);
}

/* Until it has handed out some of it. */
static void run_into(struct sim *s, struct big *b)
{
    while (b->parts == 0) {
        assert_true(sim_round(s));
    }
    assert_false(b->done);
}

static size_t count_frames(const struct sim *s, size_t from)
{
    size_t n = 0;

    list_for_each (it, &s->events) {
        n += list_entry(it, struct sim_event, link)->from == from;
    }
    return n;
}

static void start(struct sim *s, size_t n, size_t *ret_leader)
{
    *ret_leader = scene_cluster(s, n);
    scene_fill(s, *ret_leader, KEYS);
    sim_settle(s);
}

static struct sim_call get_one(void)
{
    return (struct sim_call){
        .call = {.kind = STORE_RANGE, .range = {.key = BYTES_LITERAL("/000001")}}};
}

TEST(node_work, heartbeats_go_on_while_keys_are_deleted)
{
    struct sim_call get = get_one(),
                    put = {.call = {.kind = STORE_PUT, .put = {.key = BYTES_LITERAL("/x")}}};
    struct big b = {.other = &get};
    struct sim s;
    size_t leader, ticks = 0;

    start(&s, 3, &leader);
    delete_all(&s, leader, &b);
    run_into(&s, &b);
    get.call.range.serializable = true; /* it could be served at once, but for the delete */
    sim_submit(&s, leader, &get);
    sim_submit(&s, leader, &put);
    while (!b.done) {
        size_t before = count_frames(&s, leader);

        core_tick(b.core);
        (void)core_turn(b.core);
        assert_true(count_frames(&s, leader) > before);
        ticks++;
    }
    assert_in_range(ticks, KEYS / TURN_KEYS - 2, KEYS / TURN_KEYS + 2);
    assert_int_equal(b.status, 0);
    assert_int_equal(b.deleted, KEYS);
    assert_int_equal(b.n, KEYS);
    assert_false(b.others_first);
    sim_settle(&s);
    assert_int_equal(get.status, 0);
    assert_int_equal(get.count, 0);
    assert_true(put.done);
    assert_int_equal(put.status, 0);
    sim_assert_equal(&s);
    sim_deinit(&s);
}

/* Asked of a follower, which alone collects what is deleted; the others only delete. */
TEST(node_work, who_was_asked_hands_out_what_the_others_leave_unread)
{
    struct big b = {0};
    struct sim s;
    size_t leader;

    start(&s, 3, &leader);
    delete_all(&s, (leader + 1) % 3, &b);
    sim_settle(&s);
    assert_true(b.done);
    assert_int_equal(b.status, 0);
    assert_int_equal(b.n, KEYS);
    sim_assert_equal(&s);
    sim_deinit(&s);
}

TEST(node_work, a_txn_reads_before_it_writes_though_others_wrote_since)
{
    struct sim_call put = {.call = {.kind = STORE_PUT, .put = {.key = BYTES_LITERAL("/000002")}}};
    struct big b = {.other = &put};
    struct sim s;
    size_t leader;

    start(&s, 3, &leader);
    read_all(&s, leader, &b, true);
    run_into(&s, &b);
    sim_submit(&s, leader, &put);
    sim_settle(&s);
    assert_int_equal(b.status, 0);
    assert_int_equal(b.n, KEYS);
    assert_int_equal(b.count, KEYS);
    assert_false(b.others_first);
    assert_int_equal(put.status, 0);
    sim_assert_equal(&s);
    sim_deinit(&s);
}

TEST(node_work, a_write_goes_on_when_its_caller_does_not_want_the_rest)
{
    struct big b = {.cancel_at = 2};
    struct sim_call get = get_one();
    struct sim s;
    size_t leader;

    start(&s, 3, &leader);
    delete_all(&s, leader, &b);
    sim_settle(&s);
    assert_false(b.done);
    assert_int_equal(b.parts, 2);
    assert_int_equal(sim_call(&s, leader, &get), 0);
    assert_int_equal(get.count, 0);
    sim_assert_equal(&s);
    sim_deinit(&s);
}

TEST(node_work, nothing_is_applied_under_a_txn_that_reads)
{
    struct sim_call del = {
        .call = {.kind = STORE_DELETE,
            .del = {.key = BYTES_LITERAL("/029"), .range_end = BYTES_LITERAL("0")}}};
    struct big b = {.other = &del};
    struct sim s;
    size_t leader;

    start(&s, 3, &leader);
    read_all(&s, leader, &b, false);
    run_into(&s, &b);
    sim_submit(&s, leader, &del);
    sim_settle(&s);
    assert_int_equal(b.status, 0);
    assert_int_equal(b.n, KEYS); /* with those that are gone by now */
    assert_false(b.others_first);
    assert_int_equal(del.status, 0);
    assert_int_equal(del.deleted, 1000);
    sim_assert_equal(&s);
    sim_deinit(&s);
}

TEST(node_work, a_txn_that_is_not_wanted_any_more_lets_the_others_on)
{
    struct sim_call put = {.call = {.kind = STORE_PUT, .put = {.key = BYTES_LITERAL("/000002")}}};
    struct big in_part = {.cancel_at = 3}, between = {0};
    struct sim s;
    size_t leader;

    start(&s, 3, &leader);
    read_all(&s, leader, &in_part, false);
    sim_settle(&s);
    assert_false(in_part.done);
    assert_int_equal(in_part.parts, 3);
    read_all(&s, leader, &between, false);
    run_into(&s, &between);
    store_cancel(between.core, &between.call);
    assert_int_equal(sim_call(&s, leader, &put), 0);
    assert_false(between.done);
    sim_deinit(&s);
}

TEST(node_work, its_time_begins_anew_with_each_turn)
{
    struct big b = {0};
    struct sim s;
    size_t leader;

    start(&s, 1, &leader);
    read_all(&s, leader, &b, false);
    run_into(&s, &b);
    while (!b.done) { /* longer than any call may wait */
        s.now_ms += 3000;
        core_tick(b.core);
        (void)core_turn(b.core);
    }
    assert_int_equal(b.status, 0);
    assert_int_equal(b.n, KEYS);
    sim_deinit(&s);
}

static void stop_amidst(bool write)
{
    struct big b = {0};
    struct sim s;
    size_t leader;

    start(&s, 1, &leader);
    if (write) {
        delete_all(&s, leader, &b);
    } else {
        read_all(&s, leader, &b, false);
    }
    run_into(&s, &b);
    sim_stop(&s, leader);
    assert_true(b.done);
    assert_int_equal(b.status, DECREE_ESTOPPED);
    sim_start(&s, leader);
    assert_int_equal(sim_elect(&s), leader);
    if (write) { /* committed it was */
        struct sim_call get = get_one();

        assert_int_equal(sim_call(&s, leader, &get), 0);
        assert_int_equal(get.count, 0);
    }
    sim_deinit(&s);
}

TEST(node_work, a_core_that_stops_answers_and_finishes_later)
{
    stop_amidst(true);
    stop_amidst(false);
}

/* The keyspace is replaced under it. */
static void replace_amidst(bool write)
{
    enum { TERM = 3, INDEX = 100000, SNAP_KEYS = 7 };
    _cleanup_strbuf_ struct strbuf header = {0}, piece = {0};
    _cleanup_buf_ struct buf *begin = NULL, *end = snap_end_encode(1);
    struct big b = {0};
    struct sim_call get = get_one();
    struct store *core;
    struct sim s;
    size_t leader, at;

    start(&s, 3, &leader);
    at = (leader + 1) % 3;
    core = s.members[at].core;
    node_snapshot_header(core, core_cluster_id(core), &header);
    begin = snap_begin_encode(&(struct snap_begin){.term = store_header(core).raft_term + TERM,
        .id = {.term = store_header(core).raft_term + TERM, .index = INDEX},
        .header = strbuf_bytes(&header)});
    strbuf_append_char(&piece, (char)FRAME_SNAP_PIECE);
    node_snapshot_body(SNAP_KEYS, 1, &piece);
    if (write) {
        delete_all(&s, at, &b);
    } else {
        read_all(&s, at, &b, false);
    }
    run_into(&s, &b);
    assert_int_equal(
        core_stream_frame(core, s.members[leader].id, buf_bytes(begin)), CORE_STREAM_GO);
    assert_int_equal(
        core_stream_frame(core, s.members[leader].id, strbuf_bytes(&piece)), CORE_STREAM_GO);
    (void)core_stream_frame(core, s.members[leader].id, buf_bytes(end));
    while (core_applied(core) != INDEX || !b.done) {
        core_disk(core);
        (void)core_turn(core);
    }
    assert_int_equal(b.status, DECREE_ELEADER_CHANGED);
    get.call.range.serializable = true;
    assert_int_equal(sim_call(&s, at, &get), 0);
    assert_int_equal(get.count, 0);
    sim_deinit(&s);
}

TEST(node_work, a_snapshot_that_is_installed_ends_it)
{
    replace_amidst(true);
    replace_amidst(false);
}

TEST_MAIN(UNIT(node_work, heartbeats_go_on_while_keys_are_deleted),
    UNIT(node_work, who_was_asked_hands_out_what_the_others_leave_unread),
    UNIT(node_work, a_txn_reads_before_it_writes_though_others_wrote_since),
    UNIT(node_work, a_write_goes_on_when_its_caller_does_not_want_the_rest),
    UNIT(node_work, nothing_is_applied_under_a_txn_that_reads),
    UNIT(node_work, a_txn_that_is_not_wanted_any_more_lets_the_others_on),
    UNIT(node_work, its_time_begins_anew_with_each_turn),
    UNIT(node_work, a_core_that_stops_answers_and_finishes_later),
    UNIT(node_work, a_snapshot_that_is_installed_ends_it))
