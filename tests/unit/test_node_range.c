/* Ranges that are larger than one turn, in the core: what else goes on between their slices. */
#include "unit.h"

#include <stdio.h>

#include "alloc.h"
#include "msg_codec.h"
#include "node_scene.h"
#include "node_snapshot.h"

enum { KEYS = 5000, READERS = 20 };

struct reader {
    struct store_call call;
    struct sim *sim;
    void (*on_part)(struct reader *r); /* NULL: none */
    unsigned parts;
    size_t n; /* kvs so far */
    bool cancel, done;
    int status;
    int64_t count, revision;
    bool more;
    size_t wrong; /* kvs that are not what was there at the beginning */
    struct sim_call put, del, compact;
    unsigned put_after; /* parts */
    unsigned *order;    /* shared: counts parts of all readers */
    unsigned first_at, done_at;
};

static void check(struct reader *r, const struct kv *kvs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char key[16];

        (void)snprintf(key, sizeof(key), "/%06zu", r->n++);
        r->wrong +=
            !bytes_eq(kvs[i].key, bytes_str(key)) || !bytes_eq(kvs[i].value, BYTES_LITERAL("old"));
    }
}

static bool on_part(struct store_call *call, const struct store_part *part)
{
    struct reader *r = call->data;

    assert_false(r->done);
    r->parts++;
    check(r, part->kvs, part->n);
    if (r->order != NULL && ++*r->order != 0 && r->parts == 1) {
        r->first_at = *r->order;
    }
    if (r->on_part != NULL) {
        r->on_part(r);
    }
    if (r->cancel) {
        store_cancel(r->sim->members[0].core, call);
        return false;
    }
    return true;
}

static void on_reply(struct store_call *call, int status, const struct store_reply *reply)
{
    struct reader *r = call->data;

    assert_false(r->done);
    r->done = true;
    r->status = status;
    r->done_at = r->order != NULL ? *r->order : 0;
    if (status == 0) {
        check(r, reply->range.kvs, reply->range.n_kvs);
        r->count = reply->range.count;
        r->more = reply->range.more;
        r->revision = reply->header.revision;
    }
}

static void submit(struct sim *s, struct reader *r)
{
    r->sim = s;
    r->call.kind = STORE_RANGE;
    r->call.range.key = BYTES_LITERAL("/");
    r->call.range.range_end = BYTES_LITERAL("0");
    r->call.cb = on_reply;
    r->call.part = on_part;
    r->call.data = r;
    store_submit(s->members[0].core, &r->call);
}

/* Overwrites what has not been read yet, deletes some of it, and compacts all that was before. */
static void write_behind_its_back(struct reader *r)
{
    if (r->parts == 1) {
        r->put.call = (struct store_call){.kind = STORE_PUT,
            .put = {.key = BYTES_LITERAL("/004999"), .value = BYTES_LITERAL("new")}};
        r->del.call = (struct store_call){.kind = STORE_DELETE,
            .del = {.key = BYTES_LITERAL("/004"), .range_end = BYTES_LITERAL("/0045")}};
        sim_submit(r->sim, 0, &r->put);
        sim_submit(r->sim, 0, &r->del);
    } else if (r->put.done && r->put_after == 0) {
        r->put_after = r->parts;
        r->compact.call = (struct store_call){
            .kind = STORE_COMPACT, .compact = {.revision = r->put.header.revision + 1}};
        sim_submit(r->sim, 0, &r->compact);
    }
}

TEST(node_range, writes_and_compaction_go_on_between_slices_of_one_revision)
{
    struct sim s;
    struct sim_call c;
    struct reader r = {.on_part = write_behind_its_back};
    int64_t revision;

    sim_init(&s, 1);
    sim_start(&s, 0);
    scene_fill(&s, 0, KEYS);
    revision = store_header(s.members[0].core).revision;
    submit(&s, &r);
    sim_settle(&s);
    assert_true(r.done);
    assert_int_equal(r.status, 0);
    assert_int_equal(r.n, KEYS);
    assert_int_equal(r.wrong, 0);
    assert_int_equal(r.count, KEYS);
    assert_false(r.more);
    assert_int_equal(r.revision, revision);
    assert_in_range(r.parts, 4, KEYS);            /* 1,000 keys each, the last in the reply */
    assert_in_range(r.put_after, 2, r.parts - 1); /* the put was answered meanwhile */
    assert_true(r.compact.done);
    assert_int_equal(r.compact.status, 0);
    c = (struct sim_call){
        .call = {.kind = STORE_RANGE,
            .range = {
                .key = BYTES_LITERAL("/"), .range_end = BYTES_LITERAL("0"), .revision = revision}}};
    assert_int_equal(sim_call(&s, 0, &c), DECREE_ECOMPACTED); /* for those that come later */
    sim_deinit(&s);
}

TEST(node_range, many_readers_take_turns)
{
    struct sim s;
    struct reader *r = xcalloc(READERS, sizeof(*r));
    unsigned parts = 0, first_done = UINT32_MAX;

    sim_init(&s, 1);
    sim_start(&s, 0);
    scene_fill(&s, 0, KEYS);
    for (size_t i = 0; i < READERS; i++) {
        r[i].order = &parts;
        submit(&s, &r[i]);
    }
    sim_settle(&s);
    while (core_turn(s.members[0].core)) {}
    for (size_t i = 0; i < READERS; i++) {
        assert_true(r[i].done);
        assert_int_equal(r[i].status, 0);
        assert_int_equal(r[i].n, KEYS);
        first_done = MIN(first_done, r[i].done_at);
    }
    /* Nobody was through before the other places had had their first slice. */
    for (size_t i = 0; i < 16; i++) {
        assert_true(r[i].first_at < first_done);
    }
    assert_true(r[READERS - 1].first_at > first_done); /* more than the places: it waited */
    free(r);
    sim_deinit(&s);
}

TEST(node_range, one_that_is_not_wanted_any_more_is_forgotten)
{
    struct sim s;
    struct reader r = {.cancel = true};

    sim_init(&s, 1);
    sim_start(&s, 0);
    scene_fill(&s, 0, KEYS);
    submit(&s, &r);
    sim_settle(&s);
    assert_false(r.done);
    assert_int_equal(r.parts, 1);
    sim_deinit(&s); /* whose keyspace asserts that nobody reads it */
}

TEST(node_range, a_core_that_stops_answers_it)
{
    struct sim s;
    struct reader r = {0};

    sim_init(&s, 1);
    sim_start(&s, 0);
    scene_fill(&s, 0, KEYS);
    submit(&s, &r);
    while (r.parts < 2) {
        (void)core_turn(s.members[0].core);
        core_disk(s.members[0].core);
    }
    sim_stop(&s, 0);
    assert_true(r.done);
    assert_int_equal(r.status, DECREE_ESTOPPED);
    sim_deinit(&s);
}

/* The keyspace they read is replaced under them: what they have had goes with no other. */
TEST(node_range, a_snapshot_that_is_installed_ends_those_that_are_not_through)
{
    enum { TERM = 3, INDEX = 1000, SNAP_KEYS = 7 };
    struct sim s;
    struct reader *r = xcalloc(READERS, sizeof(*r)), after = {0};
    _cleanup_strbuf_ struct strbuf header = {0}, piece = {0};
    _cleanup_buf_ struct buf *begin = NULL, *end = snap_end_encode(1);
    struct store *core;
    size_t whole = 0, ended = 0;

    (void)scene_cluster(&s, 3);
    scene_fill(&s, 0, KEYS);
    core = s.members[0].core;
    node_snapshot_header(core, core_cluster_id(core), &header);
    begin = snap_begin_encode(&(struct snap_begin){.term = store_header(core).raft_term + TERM,
        .id = {.term = store_header(core).raft_term + TERM, .index = INDEX},
        .header = strbuf_bytes(&header)});
    strbuf_append_char(&piece, (char)FRAME_SNAP_PIECE);
    node_snapshot_body(SNAP_KEYS, 1, &piece);
    for (size_t i = 0; i < READERS; i++) {
        r[i].call.range.serializable = true;
        submit(&s, &r[i]);
    }
    while (!r[0].done) {
        (void)core_turn(core);
    }
    assert_int_equal(core_stream_frame(core, s.members[1].id, buf_bytes(begin)), CORE_STREAM_GO);
    assert_int_equal(
        core_stream_frame(core, s.members[1].id, strbuf_bytes(&piece)), CORE_STREAM_GO);
    (void)core_stream_frame(core, s.members[1].id, buf_bytes(end));
    while (core_applied(core) != INDEX) {
        core_disk(core);
        (void)core_turn(core);
    }
    for (size_t i = 0; i < READERS; i++) {
        assert_true(r[i].done);
        assert_int_equal(r[i].wrong, 0);
        whole += r[i].status == 0 && r[i].n == KEYS;
        ended += r[i].status == DECREE_ELEADER_CHANGED;
    }
    assert_int_equal(whole + ended, READERS);
    assert_in_range(whole, 1, READERS - 1);
    after.call.range.serializable = true;
    submit(&s, &after);
    (void)core_turn(core);
    assert_true(after.done);
    assert_int_equal(after.status, 0);
    assert_int_equal(after.count, 0); /* the keys of the snapshot lie elsewhere */
    free(r);
    sim_deinit(&s);
}

TEST_MAIN(UNIT(node_range, writes_and_compaction_go_on_between_slices_of_one_revision),
    UNIT(node_range, many_readers_take_turns),
    UNIT(node_range, one_that_is_not_wanted_any_more_is_forgotten),
    UNIT(node_range, a_core_that_stops_answers_it),
    UNIT(node_range, a_snapshot_that_is_installed_ends_those_that_are_not_through))
