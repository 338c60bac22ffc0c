/* The receiving end of a snapshot, frame by frame: one member of three whose peers are played by
 * hand. Nothing changes before the end, whatever is wrong with what comes, and who sent it is told
 * why. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "msg_codec.h"
#include "node_sim.h"
#include "node_snapshot.h"
#include "unit.h"
#include "wal.h"

enum { KEYS = 20, VALUE = 100, INDEX = 50, TERM = 3 };

/* What the member has answered to the peer of that number, the newest; true: taken. */
struct answer {
    size_t n;
    bool ok;
    char text[200];
};

static struct answer answer_to(struct sim *s, size_t peer)
{
    struct answer a = {0};

    list_for_each (it, &s->events) {
        struct sim_event *e = list_entry(it, struct sim_event, link);
        struct snap_status status;

        if (e->kind == SIM_REPLY && e->to == peer) {
            assert_int_equal(snap_status_decode(buf_bytes(e->body), &status), 0);
            a.n++;
            a.ok = status.ok;
            (void)snprintf(a.text, sizeof(a.text), "%.*s", (int)status.text.len,
                (const char *)status.text.data);
        }
    }
    return a;
}

static void start(struct sim *s)
{
    sim_init(s, 3);
    sim_start(s, 0);
    sim_settle(s);
}

static struct store *core(const struct sim *s)
{
    return s->members[0].core;
}

static int send_begin(
    struct sim *s, size_t peer, uint64_t term, struct raft_entry_id id, uint64_t cluster_id)
{
    _cleanup_strbuf_ struct strbuf header = {0};
    _cleanup_buf_ struct buf *frame = NULL;
    struct snap_begin begin = {.term = term, .id = id};

    node_snapshot_header(core(s), cluster_id, &header);
    begin.header = strbuf_bytes(&header);
    frame = snap_begin_encode(&begin);
    return core_stream_frame(core(s), s->members[peer].id, buf_bytes(frame));
}

static int send_good_begin(struct sim *s, size_t peer)
{
    return send_begin(s, peer, TERM, (struct raft_entry_id){TERM, INDEX}, core_cluster_id(core(s)));
}

static size_t value_bytes = VALUE; /* of the snapshot that is sent */

/* n bytes of the body from an offset. */
static int send_piece(struct sim *s, size_t peer, size_t from, size_t n)
{
    _cleanup_strbuf_ struct strbuf body = {0}, frame = {0};

    node_snapshot_body(KEYS, value_bytes, &body);
    strbuf_append_char(&frame, (char)FRAME_SNAP_PIECE);
    strbuf_append(&frame, body.data + MIN(from, body.len), MIN(n, body.len - MIN(from, body.len)));
    return core_stream_frame(core(s), s->members[peer].id, strbuf_bytes(&frame));
}

static int send_end(struct sim *s, size_t peer, uint64_t pieces)
{
    _cleanup_buf_ struct buf *frame = snap_end_encode(pieces);

    return core_stream_frame(core(s), s->members[peer].id, buf_bytes(frame));
}

/* Runs the member's turns without letting its answers go. */
static void run(struct sim *s)
{
    for (int i = 0; i < 50; i++) {
        core_disk(core(s));
        (void)core_turn(core(s));
    }
}

static int64_t keys(struct sim *s)
{
    struct sim_call c = {.call = {.kind = STORE_RANGE,
                             .range = {.key = BYTES_LITERAL("\0"),
                                 .range_end = BYTES_LITERAL("\0"),
                                 .serializable = true}}};

    assert_int_equal(sim_call(s, 0, &c), 0);
    return c.count;
}

static void assert_refused(struct sim *s, size_t peer, const char *why)
{
    struct answer a = answer_to(s, peer);

    assert_int_equal(a.n, 1);
    assert_false(a.ok);
    if (strstr(a.text, why) == NULL) {
        fail_msg("told \"%s\"", a.text);
    }
    assert_int_equal(core_applied(core(s)) < INDEX, 1);
    assert_int_equal(keys(s), 0);
}

TEST(recv, a_whole_snapshot_is_installed_and_survives_a_restart)
{
    struct sim s;

    start(&s);
    assert_int_equal(send_good_begin(&s, 1), CORE_STREAM_GO);
    assert_int_equal(send_piece(&s, 1, 0, 1000), CORE_STREAM_GO);
    assert_int_equal(send_piece(&s, 1, 1000, SIZE_MAX), CORE_STREAM_GO);
    assert_int_equal(answer_to(&s, 1).n, 0); /* not before it is durable */
    assert_int_equal(send_end(&s, 1, 2), CORE_STREAM_GO);
    run(&s);
    assert_int_equal(answer_to(&s, 1).n, 1);
    assert_true(answer_to(&s, 1).ok);
    assert_int_equal(core_applied(core(&s)), INDEX);
    assert_int_equal(core_snapshot_index(core(&s)), INDEX);
    assert_int_equal(keys(&s), KEYS);
    sim_kill(&s, 0);
    sim_start(&s, 0);
    assert_int_equal(keys(&s), KEYS);
    assert_int_equal(core_applied(core(&s)), INDEX);
    sim_deinit(&s);
}

TEST(recv, one_that_is_not_newer_is_answered_at_once)
{
    struct sim s;

    start(&s);
    (void)send_good_begin(&s, 1);
    (void)send_piece(&s, 1, 0, SIZE_MAX);
    (void)send_end(&s, 1, 1);
    run(&s);
    assert_int_equal(send_good_begin(&s, 1), CORE_STREAM_GO);
    assert_int_equal(answer_to(&s, 1).n, 2);
    assert_true(answer_to(&s, 1).ok);
    /* What still comes of it is passed over. */
    assert_int_equal(send_piece(&s, 1, 0, 100), CORE_STREAM_GO);
    assert_int_equal(answer_to(&s, 1).n, 2);
    assert_int_equal(keys(&s), KEYS);
    sim_deinit(&s);
}

TEST(recv, a_snapshot_of_another_cluster_is_refused)
{
    struct sim s;

    start(&s);
    assert_int_equal(
        send_begin(&s, 1, TERM, (struct raft_entry_id){TERM, INDEX}, 0xbad), CORE_STREAM_GO);
    assert_refused(&s, 1, "it is of cluster 0000000000000bad");
    sim_deinit(&s);
}

TEST(recv, a_header_of_a_newer_version_or_of_noise_is_refused)
{
    static const char *const headers[] = {"\x09later", "\x02noise", "\x01noise"};
    static const char *const why[] = {"version 9", "header cannot be read", "header cannot be read"};

    for (size_t i = 0; i < ARRAY_SIZE(headers); i++) {
        struct snap_begin begin = {
            .term = TERM, .id = {TERM, INDEX}, .header = bytes_str(headers[i])};
        _cleanup_buf_ struct buf *frame = snap_begin_encode(&begin);
        struct sim s;

        start(&s);
        assert_int_equal(
            core_stream_frame(core(&s), s.members[1].id, buf_bytes(frame)), CORE_STREAM_GO);
        assert_refused(&s, 1, why[i]);
        sim_deinit(&s);
    }
}

TEST(recv, a_leader_that_was_replaced_is_told_so)
{
    struct raft_msg m = {.type = RAFT_MSG_HEARTBEAT, .term = 9};
    struct frame_parts parts = {0};
    struct sim s;

    start(&s);
    m.from = s.members[2].id;
    m.to = s.members[0].id;
    msg_encode(&m, &parts);
    core_frame(core(&s), s.members[2].id, buf_bytes(parts.list[0]));
    frame_parts_deinit(&parts);
    run(&s);
    assert_int_equal(send_good_begin(&s, 1), CORE_STREAM_GO);
    assert_refused(&s, 1, "its leader has been replaced");
    sim_deinit(&s);
}

TEST(recv, a_begin_that_cannot_be_cuts_the_stream)
{
    static const struct {
        uint64_t term;
        struct raft_entry_id id;
    } bad[] = {{TERM, {TERM, 0}}, {TERM, {0, INDEX}}, {TERM, {TERM + 1, INDEX}}};
    struct sim s;

    start(&s);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(
            send_begin(&s, 1, bad[i].term, bad[i].id, core_cluster_id(core(&s))), CORE_STREAM_CUT);
    }
    assert_int_equal(core_stream_frame(core(&s), s.members[1].id, BYTES_LITERAL("\x10")),
        CORE_STREAM_CUT);                                     /* begin, and nothing behind it */
    assert_int_equal(send_good_begin(&s, 1), CORE_STREAM_GO); /* it left nothing behind */
    sim_deinit(&s);
}

TEST(recv, one_at_a_time)
{
    struct sim s;

    start(&s);
    assert_int_equal(send_good_begin(&s, 1), CORE_STREAM_GO);
    assert_int_equal(send_good_begin(&s, 2), CORE_STREAM_GO);
    assert_refused(&s, 2, "another snapshot is on its way");
    assert_int_equal(send_piece(&s, 2, 0, 100), CORE_STREAM_GO); /* passed over */
    /* The same member begins again on the same stream: it is confused. */
    assert_int_equal(send_good_begin(&s, 1), CORE_STREAM_CUT);
    sim_deinit(&s);
}

TEST(recv, damaged_and_missing_and_foreign_frames_are_refused)
{
    struct sim s;

    start(&s);
    (void)send_good_begin(&s, 1);
    assert_int_equal(send_piece(&s, 1, 5, 500), CORE_STREAM_GO); /* its first bytes are missing */
    assert_refused(&s, 1, "");
    sim_deinit(&s);

    start(&s);
    (void)send_good_begin(&s, 1);
    assert_int_equal(send_piece(&s, 1, 0, 0), CORE_STREAM_GO);
    assert_refused(&s, 1, "an empty piece");
    sim_deinit(&s);

    start(&s);
    (void)send_good_begin(&s, 1);
    (void)send_piece(&s, 1, 0, SIZE_MAX);
    assert_int_equal(send_end(&s, 1, 2), CORE_STREAM_GO);
    assert_refused(&s, 1, "pieces are missing");
    sim_deinit(&s);

    start(&s);
    (void)send_good_begin(&s, 1);
    (void)send_piece(&s, 1, 0, 500);
    assert_int_equal(send_end(&s, 1, 1), CORE_STREAM_GO); /* it says that this is all */
    assert_refused(&s, 1, "");
    sim_deinit(&s);

    start(&s);
    (void)send_good_begin(&s, 1);
    assert_int_equal(
        core_stream_frame(core(&s), s.members[1].id, BYTES_LITERAL("\x55")), CORE_STREAM_CUT);
    assert_refused(&s, 1, "does not belong into a snapshot");
    sim_deinit(&s);
}

TEST(recv, a_cut_or_silent_stream_is_forgotten)
{
    struct sim s;

    start(&s);
    (void)send_good_begin(&s, 1);
    (void)send_piece(&s, 1, 0, 500);
    core_stream_cut(core(&s), s.members[2].id); /* another one's */
    core_stream_cut(core(&s), s.members[1].id);
    assert_int_equal(answer_to(&s, 1).n, 0); /* nobody is there to be told */
    assert_int_equal(keys(&s), 0);
    assert_int_equal(send_good_begin(&s, 2), CORE_STREAM_GO);
    (void)send_piece(&s, 2, 0, 500);
    s.now_ms += 31000;
    core_tick(core(&s));
    assert_refused(&s, 2, "no progress");
    sim_deinit(&s);
}

static void send_all(struct sim *s)
{
    (void)send_good_begin(s, 1);
    (void)send_piece(s, 1, 0, SIZE_MAX);
    (void)send_end(s, 1, 1);
    core_disk(core(s));
}

/* The disk fails under the snapshot, at each operation of writing it. */
TEST(recv, a_disk_that_fails_costs_the_snapshot_and_nothing_else)
{
    uint64_t before, operations;
    struct sim s;

    start(&s);
    before = wal_mem_ops(s.members[0].mem);
    send_all(&s);
    operations = wal_mem_ops(s.members[0].mem) - before;
    assert_true(answer_to(&s, 1).ok && operations > 3);
    sim_deinit(&s);
    for (uint64_t nth = 1; nth <= operations; nth++) {
        start(&s);
        wal_mem_fail_at(s.members[0].mem, nth, -ENOSPC);
        send_all(&s);
        assert_int_equal(answer_to(&s, 1).n, 1);
        assert_false(answer_to(&s, 1).ok);
        assert_true(answer_to(&s, 1).text[0] != '\0');
        assert_int_equal(keys(&s), 0);
        sim_kill(&s, 0);
        sim_start(&s, 0);
        /* If it was its folder that could not be synced, it may be there all the same, and whole.
         */
        assert_true(keys(&s) == 0 || keys(&s) == KEYS);
        sim_deinit(&s);
    }
}

TEST(recv, a_member_that_stops_while_it_finishes_stops)
{
    struct sim s;

    start(&s);
    (void)send_good_begin(&s, 1);
    (void)send_piece(&s, 1, 0, SIZE_MAX);
    (void)send_end(&s, 1, 1);
    sim_stop(&s, 0);
    sim_start(&s, 0);
    assert_true(keys(&s) == 0 || keys(&s) == KEYS); /* whole or not at all */
    sim_deinit(&s);
}

/* ---- what happens meanwhile ---- */

/* Peer 1 leads: n entries behind that place, all of them committed. */
static void append_after(
    struct sim *s, uint64_t prev_term, uint64_t prev_index, uint64_t term, size_t n)
{
    uint64_t first = prev_index + 1;
    struct raft_entry entries[32];
    struct raft_msg m = {.type = RAFT_MSG_APPEND,
        .from = s->members[1].id,
        .to = s->members[0].id,
        .term = term,
        .prev = {prev_term, prev_index},
        .commit = first + n - 1,
        .entries = entries,
        .n_entries = n};
    _cleanup_strbuf_ struct strbuf body = {0};
    struct frame_parts parts = {0};

    assert_true(n <= ARRAY_SIZE(entries));
    for (size_t i = 0; i < n; i++) {
        entries[i] = (struct raft_entry){.id = {term, first + i}, .payload = buf_new(0)};
    }
    msg_encode(&m, &parts);
    for (size_t i = 0; i < parts.n; i++) {
        strbuf_append_bytes(&body, buf_bytes(parts.list[i]));
    }
    core_frame(core(s), m.from, strbuf_bytes(&body));
    frame_parts_deinit(&parts);
    for (size_t i = 0; i < n; i++) {
        buf_unref(entries[i].payload);
    }
}

static void append(struct sim *s, uint64_t term, uint64_t first, size_t n)
{
    append_after(s, first > 2 ? term : 1, first - 1, term, n);
}

/* A member that has just begun to finish a snapshot of its own. */
static void start_while_own_is_finished(struct sim *s)
{
    sim_init(s, 3);
    s->snapshot_count = 10;
    sim_start(s, 0);
    sim_settle(s);
    append(s, 2, 2, 20);
    (void)core_turn(core(s)); /* the log begins to write them */
    core_disk(core(s));
    (void)core_turn(core(s)); /* applied; the snapshot is written and must become durable */
    assert_int_equal(core_applied(core(s)), 21);
    assert_int_equal(core_snapshot_index(core(s)), 0);
}

TEST(meanwhile, a_snapshot_waits_for_the_own_one_that_is_being_finished)
{
    struct sim s;

    start_while_own_is_finished(&s);
    assert_int_equal(send_good_begin(&s, 1), CORE_STREAM_PAUSE);
    s.paused[1][0] = true;
    run(&s);
    assert_false(s.paused[1][0]); /* the link was told to go on */
    assert_int_equal(core_snapshot_index(core(&s)), 21);
    (void)send_piece(&s, 1, 0, SIZE_MAX);
    (void)send_end(&s, 1, 1);
    run(&s);
    assert_true(answer_to(&s, 1).ok);
    assert_int_equal(core_snapshot_index(core(&s)), INDEX);
    assert_int_equal(keys(&s), KEYS);
    sim_deinit(&s);
}

TEST(meanwhile, one_that_waits_may_be_cut)
{
    struct sim s;

    start_while_own_is_finished(&s);
    assert_int_equal(send_good_begin(&s, 1), CORE_STREAM_PAUSE);
    core_stream_cut(core(&s), s.members[1].id);
    run(&s);
    assert_int_equal(core_snapshot_index(core(&s)), 21);
    assert_int_equal(answer_to(&s, 1).n, 0);
    assert_int_equal(send_good_begin(&s, 2), CORE_STREAM_GO);
    sim_deinit(&s);
}

TEST(meanwhile, a_member_may_stop_while_its_own_is_finished)
{
    struct sim s;

    start_while_own_is_finished(&s);
    sim_stop(&s, 0);
    sim_start(&s, 0);
    append(&s, 2, 22, 1);
    run(&s);
    assert_int_equal(core_applied(core(&s)), 22);
    sim_deinit(&s);
}

static void send_in_pieces(struct sim *s)
{
    const size_t piece = 256 << 10;
    _cleanup_strbuf_ struct strbuf body = {0};
    uint64_t pieces = 0;

    node_snapshot_body(KEYS, value_bytes, &body);
    for (; pieces * piece < body.len; pieces++) {
        assert_int_equal(send_piece(s, 1, pieces * piece, piece), CORE_STREAM_GO);
        core_disk(core(s));
    }
    (void)send_end(s, 1, pieces);
    run(s);
}

/* What comes is newer than what is being written: that is given up. */
TEST(meanwhile, a_snapshot_takes_the_place_of_the_own_one_that_is_being_written)
{
    struct sim s;

    value_bytes = 250 << 10;
    start(&s);
    (void)send_good_begin(&s, 1);
    send_in_pieces(&s);
    assert_int_equal(core_applied(core(&s)), INDEX);
    sim_kill(&s, 0);
    s.snapshot_count = 10;
    sim_start(&s, 0);
    append_after(&s, TERM, INDEX, TERM, 15);
    core_disk(core(&s));
    (void)core_turn(core(&s));
    core_disk(core(&s));
    (void)core_turn(core(&s)); /* begins to write one, four pieces a turn */
    assert_int_equal(core_applied(core(&s)), INDEX + 15);
    assert_int_equal(core_snapshot_index(core(&s)), INDEX);
    assert_int_equal(send_begin(&s, 1, TERM, (struct raft_entry_id){TERM, INDEX + 100},
                         core_cluster_id(core(&s))),
        CORE_STREAM_GO);
    send_in_pieces(&s);
    assert_int_equal(core_snapshot_index(core(&s)), INDEX + 100);
    value_bytes = VALUE;
    sim_deinit(&s);
}

TEST(meanwhile, a_disk_slower_than_the_link_holds_the_link)
{
    _cleanup_strbuf_ struct strbuf body = {0};
    size_t piece = 200 << 10, sent = 0;
    int answer = CORE_STREAM_GO;
    uint64_t pieces = 0;
    struct sim s;

    value_bytes = 250 << 10;
    node_snapshot_body(KEYS, value_bytes, &body);
    start(&s);
    (void)send_good_begin(&s, 1);
    for (; sent < body.len; sent += piece, pieces++) {
        answer = send_piece(&s, 1, sent, piece);
        if (answer == CORE_STREAM_PAUSE) {
            assert_true(sent + piece >= SNAP_WINDOW_BYTES);
            s.paused[1][0] = true;
            /* However long it takes: it is this member that is slow. */
            s.now_ms += 60000;
            core_tick(core(&s));
            assert_int_equal(answer_to(&s, 1).n, 0);
            run(&s);
            assert_false(s.paused[1][0]);
        }
    }
    (void)send_end(&s, 1, pieces);
    run(&s);
    assert_true(answer_to(&s, 1).ok);
    assert_int_equal(keys(&s), KEYS);
    value_bytes = VALUE;
    sim_deinit(&s);
}

/* The log caught up while the file became durable: it holds all that the snapshot has. */
TEST(meanwhile, entries_that_come_in_time_make_a_snapshot_unneeded)
{
    struct sim s;

    start(&s);
    (void)send_good_begin(&s, 1);
    (void)send_piece(&s, 1, 0, SIZE_MAX);
    append(&s, 2, 2, 30);
    append(&s, 2, 32, 30);
    (void)core_turn(core(&s));
    (void)send_end(&s, 1, 1);
    run(&s);
    assert_int_equal(answer_to(&s, 1).n, 1);
    assert_true(answer_to(&s, 1).ok);
    assert_int_equal(core_applied(core(&s)), 61);
    assert_int_equal(keys(&s), 0); /* the entries were empty */
    sim_deinit(&s);
}

TEST(meanwhile, a_link_lost_at_the_end_costs_only_the_answer)
{
    struct sim s;

    start(&s);
    (void)send_good_begin(&s, 1);
    (void)send_piece(&s, 1, 0, SIZE_MAX);
    (void)send_end(&s, 1, 1);
    core_stream_cut(core(&s), s.members[1].id);
    run(&s);
    assert_int_equal(answer_to(&s, 1).n, 0);
    assert_int_equal(keys(&s), KEYS);
    sim_deinit(&s);
}

TEST_MAIN(UNIT(meanwhile, a_snapshot_waits_for_the_own_one_that_is_being_finished),
    UNIT(meanwhile, one_that_waits_may_be_cut),
    UNIT(meanwhile, a_member_may_stop_while_its_own_is_finished),
    UNIT(meanwhile, a_snapshot_takes_the_place_of_the_own_one_that_is_being_written),
    UNIT(meanwhile, a_disk_slower_than_the_link_holds_the_link),
    UNIT(meanwhile, entries_that_come_in_time_make_a_snapshot_unneeded),
    UNIT(meanwhile, a_link_lost_at_the_end_costs_only_the_answer),
    UNIT(recv, a_whole_snapshot_is_installed_and_survives_a_restart),
    UNIT(recv, one_that_is_not_newer_is_answered_at_once),
    UNIT(recv, a_snapshot_of_another_cluster_is_refused),
    UNIT(recv, a_header_of_a_newer_version_or_of_noise_is_refused),
    UNIT(recv, a_leader_that_was_replaced_is_told_so),
    UNIT(recv, a_begin_that_cannot_be_cuts_the_stream), UNIT(recv, one_at_a_time),
    UNIT(recv, damaged_and_missing_and_foreign_frames_are_refused),
    UNIT(recv, a_cut_or_silent_stream_is_forgotten),
    UNIT(recv, a_disk_that_fails_costs_the_snapshot_and_nothing_else),
    UNIT(recv, a_member_that_stops_while_it_finishes_stops))
