/* Snapshots that clients read, and a member that goes on alone. */
#include <openssl/evp.h>
#include <stdio.h>

#include "backup.h"
#include "core.h"
#include "node_scene.h"
#include "unit.h"

struct reader {
    struct store_snapshot *x;
    int ended; /* why, 0 = not */
};

static void on_ended(void *data, int status)
{
    struct reader *r = data;

    assert_int_equal(r->ended, 0);
    r->ended = status;
}

static void open_reader(struct sim *s, size_t i, struct reader *r)
{
    *r = (struct reader){0};
    assert_int_equal(store_snapshot_open(s->members[i].core, on_ended, r, &r->x), 0);
}

/* The rest of it, as a file. */
static void read_rest(struct reader *r, size_t bytes, struct strbuf *out)
{
    uint8_t digest[STORE_SNAPSHOT_DIGEST_BYTES], computed[EVP_MAX_MD_SIZE];
    bool more = true;

    while (more) {
        size_t before = out->len;

        assert_true(store_snapshot_left(r->x) > 0);
        more = store_snapshot_next(r->x, bytes, out);
        assert_true(out->len - before == bytes || !more);
    }
    assert_int_equal(store_snapshot_left(r->x), 0);
    store_snapshot_digest(r->x, digest);
    assert_int_equal(EVP_Digest(out->data, out->len, computed, NULL, EVP_sha256(), NULL), 1);
    assert_memory_equal(digest, computed, sizeof(digest));
    strbuf_append(out, digest, sizeof(digest));
    r->x = store_snapshot_close(r->x);
}

static int check_file(struct bytes file, struct backup_info *info, struct err *reterr)
{
    struct wal_mem *m = wal_mem_new(1);
    int err;

    wal_mem_put(m, WAL_FOLDER_SNAP, "saved", file);
    err = backup_read(wal_mem_disk(m), "saved", info, reterr);
    wal_mem_free(m);
    return err;
}

static void fill(struct sim *s, size_t i, int n)
{
    char key[16], value[2001] = {0};

    memset(value, 'v', sizeof(value) - 1);
    for (int k = 0; k < n; k++) {
        (void)snprintf(key, sizeof(key), "/k%d", k);
        assert_int_equal(sim_put(s, i, key, value), 0);
    }
}

TEST(snapshot, is_of_its_opening_whatever_happens_while_it_is_read)
{
    for (size_t bytes = 512; bytes < 300000; bytes = bytes * 3 + 1) {
        struct sim s;
        struct reader r;
        struct sim_call c;
        _cleanup_strbuf_ struct strbuf file = {0};
        struct backup_info info;

        sim_init(&s, 1);
        sim_start(&s, 0);
        fill(&s, 0, 150);
        c = (struct sim_call){
            .call = {.kind = STORE_LEASE_GRANT, .lease_grant = {.id = 5, .ttl = 100}}};
        assert_int_equal(sim_call(&s, 0, &c), 0);
        c = (struct sim_call){.call = {.kind = STORE_HASH_KV}};
        assert_int_equal(sim_call(&s, 0, &c), 0);
        open_reader(&s, 0, &r);
        (void)store_snapshot_next(r.x, bytes, &file);
        fill(&s, 0, 20);
        read_rest(&r, bytes, &file);
        assert_int_equal(file.len % BACKUP_BLOCK, STORE_SNAPSHOT_DIGEST_BYTES);
        assert_int_equal(check_file(strbuf_bytes(&file), &info, NULL), 0);
        assert_int_equal(info.revision, 151);
        assert_int_equal(info.keys, 150);
        assert_int_equal(info.leases, 1);
        assert_int_equal(info.hash, c.hash.hash);
        assert_int_equal(info.cluster_id, core_cluster_id(s.members[0].core));
        assert_int_equal(info.members.n, 1);
        backup_info_deinit(&info);
        sim_deinit(&s);
    }
}

TEST(snapshot, any_changed_byte_and_any_cut_is_refused)
{
    struct sim s;
    struct reader r;
    _cleanup_strbuf_ struct strbuf file = {0};
    struct backup_info info;

    sim_init(&s, 1);
    sim_start(&s, 0);
    fill(&s, 0, 3);
    open_reader(&s, 0, &r);
    read_rest(&r, 1000, &file);
    for (size_t at = 0; at < file.len; at++) {
        _cleanup_err_ struct err err = {0};

        file.data[at] ^= 4;
        assert_int_equal(check_file(strbuf_bytes(&file), &info, &err), DECREE_ECORRUPT);
        assert_non_null(strstr(err.text, "saved"));
        file.data[at] ^= 4;
    }
    for (size_t len = 0; len < file.len; len += 16) {
        assert_int_equal(check_file(bytes_make(file.data, len), &info, NULL), DECREE_ECORRUPT);
    }
    assert_int_equal(check_file(strbuf_bytes(&file), &info, NULL), 0);
    backup_info_deinit(&info);
    sim_deinit(&s);
}

TEST(snapshot, an_open_one_holds_compaction_back_and_a_closed_one_lets_it_go_on)
{
    struct sim s;
    struct reader r;
    struct sim_call c;
    struct mvcc *m;

    sim_init(&s, 1);
    sim_start(&s, 0);
    fill(&s, 0, 100);
    fill(&s, 0, 100);
    m = s.members[0].core->mvcc;
    open_reader(&s, 0, &r);
    c = (struct sim_call){.call = {.kind = STORE_COMPACT, .compact = {.revision = 201}}};
    assert_int_equal(sim_call(&s, 0, &c), 0);
    sim_run(&s, 1000);
    assert_true(mvcc_compact_done(m) < 201);
    r.x = store_snapshot_close(r.x);
    sim_run(&s, 100);
    assert_int_equal(mvcc_compact_done(m), 201);
    sim_deinit(&s);
}

TEST(snapshot, too_many_at_once_are_refused_and_a_stop_ends_them)
{
    struct sim s;
    struct reader r[STORE_SNAPSHOTS_MAX + 1] = {0};

    sim_init(&s, 1);
    sim_start(&s, 0);
    fill(&s, 0, 10);
    for (size_t i = 0; i < STORE_SNAPSHOTS_MAX; i++) {
        open_reader(&s, 0, &r[i]);
    }
    assert_int_equal(store_snapshot_open(s.members[0].core, on_ended, &r[STORE_SNAPSHOTS_MAX],
                         &r[STORE_SNAPSHOTS_MAX].x),
        DECREE_ETOO_MANY_REQUESTS);
    core_stop(s.members[0].core);
    for (size_t i = 0; i < STORE_SNAPSHOTS_MAX; i++) {
        assert_int_equal(r[i].ended, DECREE_ESTOPPED);
        r[i].x = store_snapshot_close(r[i].x);
    }
    sim_deinit(&s);
}

TEST(snapshot, a_state_that_is_replaced_ends_its_readers)
{
    struct sim s;
    struct reader r;
    size_t leader, behind;

    sim_init(&s, 3);
    s.snapshot_count = 50;
    s.snapshot_keep = 5;
    scene_start_all(&s);
    leader = sim_elect(&s);
    behind = (leader + 1) % 3;
    fill(&s, leader, 20);
    sim_run(&s, 500);
    open_reader(&s, behind, &r);
    s.members[behind].cut = true;
    fill(&s, leader, 200);
    s.members[behind].cut = false;
    for (int i = 0; i < 300 && r.ended == 0; i++) {
        sim_run(&s, 100);
    }
    assert_int_equal(r.ended, DECREE_ELEADER_CHANGED);
    r.x = store_snapshot_close(r.x);
    sim_run(&s, 1000);
    sim_assert_equal(&s);
    sim_deinit(&s);
}

TEST(snapshot, a_header_of_version_1_has_no_alarms_and_a_newer_one_is_refused)
{
    struct sim s;
    struct snap_header h;
    _cleanup_strbuf_ struct strbuf header = {0};
    _cleanup_err_ struct err err = {0};

    sim_init(&s, 1);
    sim_start(&s, 0);
    core_snap_header(s.members[0].core, &header);
    assert_int_equal(header.data[0], 2);
    assert_int_equal(core_snap_header_read(strbuf_bytes(&header), &h, NULL), 0);
    members_deinit(&h.members);
    header.data[0] = 3;
    assert_int_equal(core_snap_header_read(strbuf_bytes(&header), &h, &err), DECREE_ECORRUPT);
    assert_non_null(strstr(err.text, "version 3"));
    header.data[0] = 1;
    assert_int_equal(core_snap_header_read(strbuf_bytes(&header), &h, NULL), DECREE_ECORRUPT);
    members_deinit(&h.members);
    header.len -= 2; /* the list of alarms: one byte, a zero */
    assert_int_equal(core_snap_header_read(strbuf_bytes(&header), &h, NULL), 0);
    assert_int_equal(h.members.n, 1);
    assert_int_equal(h.alarms.n, 0);
    members_deinit(&h.members);
    sim_deinit(&s);
}

/* ---- going on alone ---- */

TEST(force, a_member_without_the_others_serves_all_it_had)
{
    struct sim s;
    struct sim_call c;
    size_t leader;
    uint64_t cluster;

    leader = scene_cluster(&s, 3);
    fill(&s, leader, 30);
    sim_run(&s, 500);
    cluster = core_cluster_id(s.members[0].core);
    for (size_t i = 0; i < 3; i++) {
        sim_kill(&s, i);
    }
    s.force_new_cluster = true;
    sim_start(&s, 1);
    assert_true(core_is_forcing(s.members[1].core));
    sim_settle(&s);
    assert_int_equal(sim_put(&s, 1, "/alone", "1"), 0);
    assert_int_equal(core_cluster_id(s.members[1].core), cluster);
    assert_int_equal(sim_get(&s, 1, "/k29", &c), 0);
    assert_int_equal(c.header.revision, 32);
    assert_int_equal(core_members(s.members[1].core)->n, 1);
    for (int round = 0; round < 2; round++) { /* the second time there is nothing to do */
        sim_kill(&s, 1);
        sim_start(&s, 1);
        assert_false(core_is_forcing(s.members[1].core));
        sim_settle(&s);
        assert_int_equal(sim_get(&s, 1, "/alone", &c), 0);
        assert_string_equal(c.value, "1");
        s.force_new_cluster = false;
    }
    sim_deinit(&s);
}

TEST(force, a_crash_at_any_write_of_it_can_be_started_again)
{
    for (uint64_t nth = 1; nth < 12; nth++) {
        struct sim s;
        struct sim_call c;
        struct wal_mem *mem;

        sim_init(&s, 3);
        scene_start_all(&s);
        assert_int_equal(sim_put(&s, sim_elect(&s), "/a", "1"), 0);
        sim_run(&s, 1000);
        for (size_t i = 0; i < 3; i++) {
            sim_kill(&s, i);
        }
        s.force_new_cluster = true;
        mem = s.members[0].mem;
        wal_mem_die_at(mem, nth, 50);
        if (sim_try_start(&s, 0, "m0", "t", NULL) == 0) {
            for (int i = 0; i < 30 && !wal_mem_is_dead(mem); i++) {
                sim_run(&s, 10);
            }
            sim_stop(&s, 0);
        }
        if (wal_mem_is_dead(mem)) {
            s.members[0].mem = wal_mem_reborn(mem);
        }
        wal_mem_die_at(s.members[0].mem, 0, 0);
        sim_start(&s, 0);
        assert_int_equal(sim_put(&s, 0, "/b", "2"), 0);
        assert_int_equal(sim_get(&s, 0, "/a", &c), 0);
        assert_string_equal(c.value, "1");
        sim_deinit(&s);
    }
}

TEST(force, a_new_directory_is_refused)
{
    struct sim s;
    _cleanup_err_ struct err err = {0};

    sim_init(&s, 1);
    s.force_new_cluster = true;
    assert_int_equal(sim_try_start(&s, 0, "m0", "t", &err), DECREE_EINVALID_CONFIG);
    assert_non_null(strstr(err.text, "holds no cluster"));
    sim_deinit(&s);
}

TEST_MAIN(UNIT(snapshot, is_of_its_opening_whatever_happens_while_it_is_read),
    UNIT(snapshot, any_changed_byte_and_any_cut_is_refused),
    UNIT(snapshot, an_open_one_holds_compaction_back_and_a_closed_one_lets_it_go_on),
    UNIT(snapshot, too_many_at_once_are_refused_and_a_stop_ends_them),
    UNIT(snapshot, a_state_that_is_replaced_ends_its_readers),
    UNIT(snapshot, a_header_of_version_1_has_no_alarms_and_a_newer_one_is_refused),
    UNIT(force, a_member_without_the_others_serves_all_it_had),
    UNIT(force, a_crash_at_any_write_of_it_can_be_started_again),
    UNIT(force, a_new_directory_is_refused))
