/* What a start finds on the disk: damaged snapshots, logs that no member wrote. */
#include <string.h>

#include "node_scene.h"
#include "node_snapshot.h"
#include "snap_file.h"
#include "unit.h"
#include "wal.h"

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
    scene_put_many(&s, 0, 70, 100);
    first = core_snapshot_index(s.members[0].core);
    scene_put_many(&s, 0, 70, 100);
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
    scene_put_many(&s, 0, 3, 10);
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

TEST_MAIN(UNIT(boot, an_older_snapshot_and_the_log_stand_in_for_a_damaged_one),
    UNIT(boot, a_snapshot_that_cannot_be_read_is_named),
    UNIT(boot, a_log_that_does_not_begin_with_the_members_is_refused))
