/* Members whose disks lost something: they get it back from the others, and nothing that was
 * acknowledged is lost on the way. */
#include "node_sim.h"

#include <stdio.h>

#include "unit.h"

enum { FLIPS = 150, WAIT_MS = 20000 };

struct files {
    struct {
        enum wal_folder folder;
        char name[80];
    } list[64];
    size_t n;
    enum wal_folder folder;
};

static void on_file(void *data, const char *name, uint64_t bytes)
{
    struct files *f = data;

    (void)bytes;
    assert_true(f->n < ARRAY_SIZE(f->list));
    if (strstr(name, ".seg") != NULL || strstr(name, ".snap") != NULL) {
        f->list[f->n].folder = f->folder;
        (void)snprintf(f->list[f->n++].name, sizeof(f->list[0].name), "%s", name);
    }
}

static void list_files(struct wal_mem *m, struct files *ret)
{
    struct wal_disk *d = wal_mem_disk(m);

    ret->n = 0;
    for (int folder = 0; folder < WAL_FOLDER_END_; folder++) {
        ret->folder = (enum wal_folder)folder;
        assert_int_equal(d->ops->list(d, ret->folder, on_file, ret), 0);
    }
}

/* The bytes of a file without the zeros at its end. */
static struct bytes used(struct wal_mem *m, const struct files *f, size_t i)
{
    struct strbuf *b = wal_mem_bytes(m, f->list[i].folder, f->list[i].name);
    size_t n = b->len;

    while (n > 0 && b->data[n - 1] == 0) {
        n--;
    }
    return bytes_make(b->data, n);
}

static void start_all(struct sim *s, size_t n)
{
    sim_init(s, n);
    s->snapshot_count = 40;
    s->snapshot_keep = 5;
    for (size_t i = 0; i < n; i++) {
        sim_start(s, i);
    }
}

static void put_some(struct sim *s, size_t at, int from, int n)
{
    char key[24];

    for (int i = from; i < from + n; i++) {
        (void)snprintf(key, sizeof(key), "/k%d", i % 29);
        assert_int_equal(sim_put(s, at, key, "some value of a length that is not nothing"), 0);
    }
}

static bool is_repairing(struct sim *s, size_t i)
{
    struct store_metrics m;

    store_metrics(s->members[i].core, &m);
    return m.repairing;
}

static void await_repair(struct sim *s, size_t i)
{
    for (int ms = 0; is_repairing(s, i) && ms < WAIT_MS; ms += 100) {
        sim_run(s, 100);
    }
    assert_false(is_repairing(s, i));
}

/* It is a member like the others again: with it and without the one that led all the time the
 * cluster goes on, and has everything. */
static void check_whole(struct sim *s, size_t healed)
{
    size_t leader = sim_elect(s);

    sim_assert_equal(s);
    if (leader == healed) {
        leader = (healed + 1) % s->n;
    }
    sim_kill(s, leader);
    assert_int_equal(sim_put(s, healed, "/after", "all"), 0);
    sim_start(s, leader);
    (void)sim_elect(s);
    sim_assert_equal(s);
}

static void flip(struct sim *s, size_t i, uint64_t *x)
{
    struct files files;
    struct bytes b;
    size_t f, at;

    list_files(s->members[i].mem, &files);
    do {
        *x = *x * 6364136223846793005u + 1442695040888963407u;
        f = (size_t)(*x >> 33) % files.n;
        b = used(s->members[i].mem, &files, f);
    } while (b.len == 0);
    *x = *x * 6364136223846793005u + 1442695040888963407u;
    at = (size_t)(*x >> 20) % b.len;
    wal_mem_bytes(s->members[i].mem, files.list[f].folder, files.list[f].name)->data[at] ^=
        (uint8_t)(1u << (*x >> 60) % 8);
}

TEST(repair, a_flipped_bit_anywhere_is_repaired_from_the_others)
{
    struct sim s;
    uint64_t x = 4711;
    size_t repairs = 0;

    start_all(&s, 3);
    put_some(&s, sim_elect(&s), 0, 120);
    for (int i = 0; i < FLIPS; i++) {
        size_t victim = (size_t)i % 3;

        sim_stop(&s, victim);
        flip(&s, victim, &x);
        put_some(&s, sim_elect(&s), i, 2);
        sim_start(&s, victim);
        repairs += is_repairing(&s, victim);
        put_some(&s, sim_elect(&s), i, 2);
        await_repair(&s, victim);
        sim_assert_equal(&s);
        if (i % 10 == 0) {
            check_whole(&s, victim);
        }
    }
    /* The rest hit what nothing depends on: an old snapshot, a header with copies. */
    assert_true(repairs > FLIPS / 10);
    sim_deinit(&s);
}

/* All records and all snapshots are zeros; the header pages say who it was. */
static void wipe(struct sim *s, size_t i)
{
    struct files files;

    list_files(s->members[i].mem, &files);
    for (size_t f = 0; f < files.n; f++) {
        struct strbuf *b =
            wal_mem_bytes(s->members[i].mem, files.list[f].folder, files.list[f].name);
        size_t keep = files.list[f].folder == WAL_FOLDER_LOG ? 4096 : 0;

        memset(b->data + keep, 0, b->len - keep);
    }
}

static void destroy_log(struct sim *s, size_t i)
{
    struct files files;

    list_files(s->members[i].mem, &files);
    for (size_t f = 0; f < files.n; f++) {
        struct bytes b = used(s->members[i].mem, &files, f);

        if (files.list[f].folder == WAL_FOLDER_SNAP) {
            wal_mem_bytes(s->members[i].mem, WAL_FOLDER_SNAP, files.list[f].name)->data[50] ^= 1;
        } else if (b.len > 4096 + 300) {
            wal_mem_bytes(s->members[i].mem, WAL_FOLDER_LOG, files.list[f].name)->data[4096 + 20] ^=
                1; /* the head */
        }
    }
}

TEST(repair, a_member_that_lost_everything_but_its_identity_comes_back)
{
    for (int with_snapshot = 0; with_snapshot < 2; with_snapshot++) {
        struct sim s;
        struct sim_call c;

        start_all(&s, 3);
        put_some(&s, sim_elect(&s), 0, with_snapshot != 0 ? 120 : 10);
        sim_kill(&s, 1);
        destroy_log(&s, 1);
        put_some(&s, sim_elect(&s), 0, 20);
        sim_start(&s, 1);
        assert_true(is_repairing(&s, 1));
        sim_kill(&s, 1); /* at once: the mark of repair lasts */
        sim_start(&s, 1);
        assert_true(is_repairing(&s, 1));
        await_repair(&s, 1);
        assert_int_equal(sim_get(&s, 1, "/k3", &c), 0);
        assert_int_equal(c.count, 1);
        check_whole(&s, 1);
        sim_deinit(&s);
    }
}

/* A segment of zeros looks like one that was prepared and not begun; that all are is damage. */
TEST(repair, a_log_of_zeros_is_damage)
{
    struct sim s;

    start_all(&s, 3);
    put_some(&s, sim_elect(&s), 0, 120);
    sim_kill(&s, 1);
    wipe(&s, 1);
    sim_start(&s, 1);
    assert_true(is_repairing(&s, 1));
    await_repair(&s, 1);
    check_whole(&s, 1);
    sim_deinit(&s);
}

TEST(repair, an_old_image_of_the_disk_is_noticed_and_repaired)
{
    struct sim s;
    struct wal_mem *old;

    start_all(&s, 3);
    s.snapshot_count = 100000;
    put_some(&s, sim_elect(&s), 0, 10);
    {
        size_t leader = sim_elect(&s), victim = (leader + 1) % 3;

        old = wal_mem_clone(s.members[victim].mem);
        put_some(&s, leader, 10, 10);
        sim_kill(&s, victim);
        wal_mem_free(s.members[victim].mem);
        s.members[victim].mem = old;
        sim_start(&s, victim);
        assert_false(is_repairing(&s, victim));
        for (int i = 0; i < 10 && !is_repairing(&s, victim); i++) {
            sim_settle(&s);
            s.now_ms += 100;
            core_tick(s.members[leader].core);
            (void)core_turn(s.members[leader].core);
            sim_settle(&s);
        }
        assert_true(is_repairing(&s, victim));
        sim_kill(&s, victim); /* and that is durable */
        sim_start(&s, victim);
        assert_true(is_repairing(&s, victim));
        await_repair(&s, victim);
        check_whole(&s, victim);
    }
    sim_deinit(&s);
}

static void damage_last_entry(struct sim *s, size_t i)
{
    struct files files;

    list_files(s->members[i].mem, &files);
    for (size_t f = 0; f < files.n; f++) {
        struct bytes b = used(s->members[i].mem, &files, f);

        if (files.list[f].folder == WAL_FOLDER_LOG && b.len > 4096 + 400) {
            wal_mem_bytes(s->members[i].mem, WAL_FOLDER_LOG, files.list[f].name)
                ->data[b.len - 120] ^= 1;
        }
    }
}

TEST(repair, a_lone_member_stops_and_says_where)
{
    struct sim s;
    _cleanup_err_ struct err err = {0};
    uint64_t ops;

    start_all(&s, 1);
    put_some(&s, sim_elect(&s), 0, 10);
    sim_stop(&s, 0);
    damage_last_entry(&s, 0);
    ops = wal_mem_ops(s.members[0].mem);
    assert_int_equal(sim_try_start(&s, 0, "m0", "t", &err), DECREE_ECORRUPT);
    assert_non_null(strstr(err.text, "wal/0000000000000001.seg: damaged record at offset"));
    assert_non_null(strstr(err.text, "nothing was changed"));
    assert_non_null(strstr(err.text, "restore a backup"));
    assert_true(wal_mem_ops(s.members[0].mem) == ops);
    sim_deinit(&s);
}

/* What the two had acknowledged may stand nowhere else. */
TEST(repair, two_of_three_wait_and_serve_no_write)
{
    struct store_snapshot *x;
    struct sim s;
    size_t leader, a, b;

    start_all(&s, 3);
    leader = sim_elect(&s);
    a = (leader + 1) % 3;
    b = (leader + 2) % 3;
    put_some(&s, leader, 0, 10);
    sim_stop(&s, a);
    sim_stop(&s, b);
    damage_last_entry(&s, a);
    damage_last_entry(&s, b);
    sim_start(&s, a);
    sim_start(&s, b);
    sim_run(&s, 10000);
    assert_true(is_repairing(&s, a) && is_repairing(&s, b));
    /* A backup of what one of them has left could be old, and nobody would see it. */
    assert_int_equal(store_snapshot_open(s.members[a].core, NULL, NULL, &x), DECREE_EUNHEALTHY);
    assert_int_equal(store_snapshot_open(s.members[leader].core, NULL, NULL, &x), 0);
    (void)store_snapshot_close(x);
    assert_false(store_has_leader(s.members[leader].core));
    sim_deinit(&s);
}

/* It would be the whole cluster, and could never be repaired. */
TEST(repair, who_lost_data_is_not_forced_to_go_on_alone)
{
    struct sim s;
    _cleanup_err_ struct err fresh = {0}, later = {0};
    uint64_t ops;

    start_all(&s, 3);
    put_some(&s, sim_elect(&s), 0, 10);
    for (size_t i = 0; i < 3; i++) {
        sim_stop(&s, i);
    }
    damage_last_entry(&s, 0);
    s.force_new_cluster = true;
    ops = wal_mem_ops(s.members[0].mem);
    assert_int_equal(sim_try_start(&s, 0, "m0", "t", &fresh), DECREE_ECORRUPT);
    assert_non_null(strstr(fresh.text, "damaged record at offset"));
    assert_non_null(strstr(fresh.text, "nothing was changed"));
    assert_true(wal_mem_ops(s.members[0].mem) == ops);

    s.force_new_cluster = false;
    sim_start(&s, 0);
    assert_true(is_repairing(&s, 0));
    sim_kill(&s, 0);
    s.force_new_cluster = true;
    assert_int_equal(sim_try_start(&s, 0, "m0", "t", &later), DECREE_ECORRUPT);
    assert_non_null(strstr(later.text, "under repair"));

    s.force_new_cluster = false;
    for (size_t i = 0; i < 3; i++) {
        sim_start(&s, i);
    }
    await_repair(&s, 0);
    check_whole(&s, 0);
    sim_deinit(&s);
}

TEST_MAIN(UNIT(repair, a_flipped_bit_anywhere_is_repaired_from_the_others),
    UNIT(repair, a_member_that_lost_everything_but_its_identity_comes_back),
    UNIT(repair, a_log_of_zeros_is_damage),
    UNIT(repair, an_old_image_of_the_disk_is_noticed_and_repaired),
    UNIT(repair, a_lone_member_stops_and_says_where),
    UNIT(repair, two_of_three_wait_and_serve_no_write),
    UNIT(repair, who_lost_data_is_not_forced_to_go_on_alone))
