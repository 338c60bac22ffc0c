/* Snapshots out and in. That writes may go on meanwhile is in the random histories too. */
#include "unit.h"

#include "alloc.h"
#include "codec.h"
#include "err.h"
#include "mvcc.h"
#include "snapshot_format.h"

#define B(s) BYTES_LITERAL(s)

static void put(struct mvcc *m, const char *key, const char *value, int64_t lease)
{
    struct put_request r = {.key = bytes_str(key), .value = bytes_str(value), .lease = lease};
    struct put_reply reply;

    assert_int_equal(mvcc_put(m, &r, NULL, &reply), 0);
}

static void del(struct mvcc *m, const char *key)
{
    _cleanup_arena_ struct arena arena = {0};
    struct delete_request r = {.key = bytes_str(key)};
    struct delete_reply reply;

    assert_int_equal(mvcc_delete(m, &r, &arena, &reply), 0);
}

/* Some of everything: leases, old versions, tombstones, a compacted revision. */
static struct mvcc *sample(void)
{
    struct mvcc *m = mvcc_new();

    assert_int_equal(mvcc_lease_grant(m, -5, 60, 0), 0);
    assert_int_equal(mvcc_lease_grant(m, 77, 9000000000, 0), 0);
    put(m, "gone", "1", 0);
    put(m, "a", "old", 0);
    del(m, "gone");
    put(m, "a", "1", 77);
    put(m, "back", "1", 0);
    del(m, "back"); /* 7 */
    put(m, "b", "", 0);
    put(m, "back", "2", -5);
    put(m, "c", "3", 0);
    put(m, "c", "4", 0);
    del(m, "c");
    assert_int_equal(mvcc_compact(m, 7), 0);
    return m;
}

static void write_all(struct mvcc *m, size_t piece, struct strbuf *out)
{
    struct mvcc_snapshot *s = mvcc_snapshot_open(m);

    while (mvcc_snapshot_next(s, piece, out)) {}
    mvcc_snapshot_close(s);
}

static int load(struct bytes all, size_t piece, struct mvcc **ret, struct err *reterr)
{
    struct mvcc_loader *l = mvcc_loader_new();
    int r = 0;

    for (size_t at = 0; at < all.len && r == 0; at += piece) {
        r = mvcc_loader_feed(l, bytes_make(all.data + at, MIN(piece, all.len - at)), reterr);
    }
    if (r == 0) {
        r = mvcc_loader_finish(l, ret, reterr);
    }
    mvcc_loader_free(l);
    return r;
}

TEST(mvcc_snapshot, brings_back_everything_in_pieces_of_any_size)
{
    struct mvcc *m = sample();
    _cleanup_strbuf_ struct strbuf whole = {0};

    write_all(m, SIZE_MAX / 2, &whole);
    for (size_t piece = 1; piece < 40; piece++) {
        _cleanup_strbuf_ struct strbuf pieces = {0};
        struct mvcc *copy = NULL;

        write_all(m, piece, &pieces);
        assert_true(bytes_eq(strbuf_bytes(&pieces), strbuf_bytes(&whole)));
        assert_int_equal(load(strbuf_bytes(&pieces), piece, &copy, NULL), 0);
        assert_true(mvcc_hash(copy) == mvcc_hash(m));
        assert_int_equal(mvcc_revision(copy), mvcc_revision(m));
        assert_int_equal(mvcc_compacted(copy), 7);
        assert_int_equal(mvcc_compact_done(copy), 7);
        assert_int_equal(mvcc_keys(copy), 3);
        assert_int_equal(mvcc_live_bytes(copy), mvcc_live_bytes(m));
        mvcc_free(copy);
    }
    mvcc_free(m);
}

TEST(mvcc_snapshot, leases_keep_their_keys_and_wait_for_a_leader)
{
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_strbuf_ struct strbuf all = {0};
    struct mvcc *m = sample(), *copy = NULL;
    struct lease_reply r;

    write_all(m, 1000, &all);
    assert_int_equal(load(strbuf_bytes(&all), 1000, &copy, NULL), 0);
    assert_true(mvcc_lease_next_ms(copy) == UINT64_MAX);
    assert_int_equal(mvcc_lease_info(copy, -5, 0, true, &arena, &r), 0);
    assert_int_equal(r.granted, 60);
    assert_int_equal(r.n_keys, 1);
    assert_true(bytes_eq(r.keys[0], B("back")));
    assert_int_equal(mvcc_lease_revoke(copy, 77, true), 0);
    assert_int_equal(mvcc_keys(copy), 2);
    mvcc_free(copy);
    mvcc_free(m);
}

TEST(mvcc_snapshot, an_empty_keyspace_has_one_too)
{
    _cleanup_strbuf_ struct strbuf all = {0};
    struct mvcc *m = mvcc_new(), *copy = NULL;

    write_all(m, 1, &all);
    assert_int_equal(load(strbuf_bytes(&all), 1, &copy, NULL), 0);
    assert_int_equal(mvcc_revision(copy), 1);
    assert_true(mvcc_hash(copy) == mvcc_hash(m));
    mvcc_free(copy);
    mvcc_free(m);
}

TEST(mvcc_snapshot, is_of_the_moment_it_was_opened_and_holds_compaction_back)
{
    _cleanup_strbuf_ struct strbuf all = {0};
    struct mvcc *m = sample(), *copy = NULL;
    uint64_t hash = mvcc_hash(m), bytes = mvcc_bytes(m);
    struct mvcc_snapshot *s = mvcc_snapshot_open(m);
    int64_t revision = mvcc_revision(m);
    char key[2] = "a";

    for (int i = 0; mvcc_snapshot_next(s, 1, &all); i++) {
        put(m, "a", "later", 0);
        key[0] = (char)('a' + i % 26);
        put(m, key, "later", 0);
        del(m, "b");
        if (i == 3) {
            assert_int_equal(mvcc_lease_revoke(m, 77, true), 0);
            assert_int_equal(mvcc_compact(m, mvcc_revision(m)), 0);
        }
        assert_false(mvcc_compact_step(m, 1000));
    }
    assert_int_equal(mvcc_snapshot_revision(s), revision);
    assert_true(mvcc_snapshot_size(s) >= bytes);
    mvcc_snapshot_close(s);
    assert_int_equal(load(strbuf_bytes(&all), 50, &copy, NULL), 0);
    assert_true(mvcc_hash(copy) == hash);
    while (mvcc_compact_step(m, 1)) {}
    assert_int_equal(mvcc_compact_done(m), mvcc_compacted(m));
    mvcc_free(copy);
    mvcc_free(m);
}

TEST(mvcc_snapshot, one_that_ends_too_early_or_too_late_is_refused)
{
    _cleanup_strbuf_ struct strbuf all = {0};
    struct mvcc *m = sample(), *copy = NULL;

    write_all(m, 1000, &all);
    for (size_t len = 0; len < all.len; len++) {
        assert_int_equal(load(bytes_make(all.data, len), 7, &copy, NULL), DECREE_ECORRUPT);
    }
    enc_u8(&all, SNAPSHOT_END);
    assert_int_equal(load(strbuf_bytes(&all), 7, &copy, NULL), DECREE_ECORRUPT);
    mvcc_free(m);
}

TEST(mvcc_snapshot, any_changed_byte_is_refused_or_gives_a_sound_keyspace)
{
    _cleanup_strbuf_ struct strbuf all = {0};
    struct mvcc *m = sample();
    size_t refused = 0;

    write_all(m, 1000, &all);
    for (size_t i = 0; i < all.len * 8; i++) {
        _cleanup_strbuf_ struct strbuf again = {0};
        struct mvcc *copy = NULL, *second = NULL;

        all.data[i / 8] ^= (uint8_t)(1u << i % 8);
        if (load(strbuf_bytes(&all), 64, &copy, NULL) == 0) {
            write_all(copy, 64, &again);
            assert_int_equal(load(strbuf_bytes(&again), 64, &second, NULL), 0);
            assert_true(mvcc_hash(second) == mvcc_hash(copy));
            mvcc_free(second);
            mvcc_free(copy);
        } else {
            refused++;
        }
        all.data[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    assert_true(refused > all.len * 4);
    mvcc_free(m);
}

/* ---- crafted ones: each is sound but for one thing ---- */

static void head(struct strbuf *s, uint64_t revision, uint64_t compacted)
{
    strbuf_clear(s);
    enc_u8(s, SNAPSHOT_HEAD);
    strbuf_append_str(s, SNAPSHOT_MAGIC);
    enc_varint(s, revision);
    enc_varint(s, compacted);
}

static void lease(struct strbuf *s, int64_t id)
{
    enc_u8(s, SNAPSHOT_LEASE);
    enc_u64(s, (uint64_t)id);
    enc_u64(s, 10);
}

struct row {
    uint64_t mod, sub;
    int action; /* 0: a put */
    uint64_t create, version;
    int64_t lease;
};

/* key NULL: an older version of the last one */
static void version(struct strbuf *s, const char *key, struct row r)
{
    enc_u8(s, key != NULL ? SNAPSHOT_KEY : SNAPSHOT_OLDER);
    if (key != NULL) {
        enc_bytes(s, bytes_str(key));
    }
    enc_varint(s, r.mod);
    enc_varint(s, r.sub);
    enc_u8(s,
        (uint8_t)((r.action != 0 ? r.action : MVCC_ACTION_PUT) |
            (r.lease != 0 ? SNAPSHOT_LEASED : 0)));
    if (r.action != MVCC_ACTION_DELETE) {
        enc_varint(s, r.create);
        enc_varint(s, r.version);
        if (r.lease != 0) {
            enc_u64(s, (uint64_t)r.lease);
        }
        enc_bytes(s, B("v"));
    }
}

static void end(struct strbuf *s, uint64_t leases, uint64_t keys, uint64_t versions)
{
    enc_u8(s, SNAPSHOT_END);
    enc_varint(s, leases);
    enc_varint(s, keys);
    enc_varint(s, versions);
}

static void expect(struct strbuf *s, const char *wrong)
{
    _cleanup_err_ struct err e = {0};
    struct mvcc *m = NULL;
    int r = load(strbuf_bytes(s), SIZE_MAX / 2, &m, &e);

    if (wrong == NULL) {
        assert_int_equal(r, 0);
        mvcc_free(m);
    } else {
        assert_int_equal(r, DECREE_ECORRUPT);
        assert_non_null(strstr(e.text, wrong));
    }
}

TEST(mvcc_snapshot, the_crafted_ones_are_sound_without_their_flaw)
{
    _cleanup_strbuf_ struct strbuf s = {0};

    head(&s, 5, 3);
    lease(&s, 1);
    version(&s, "a", (struct row){.mod = 5, .create = 5, .version = 1, .lease = 1});
    version(&s, NULL, (struct row){.mod = 4, .action = MVCC_ACTION_DELETE});
    version(&s, NULL, (struct row){.mod = 3, .create = 2, .version = 2});
    version(&s, "b", (struct row){.mod = 2, .sub = 1, .create = 2, .version = 1});
    end(&s, 1, 2, 4);
    expect(&s, NULL);
    head(&s, 3, 3);
    version(&s, "a", (struct row){.mod = 3, .action = MVCC_ACTION_DELETE});
    end(&s, 0, 1, 1);
    expect(&s, NULL);
    head(&s, 1, 1);
    end(&s, 0, 0, 0);
    expect(&s, NULL);
}

TEST(mvcc_snapshot, order_and_counts_are_checked)
{
    static const struct row put2 = {.mod = 2, .create = 2, .version = 1};
    static const struct row put3 = {.mod = 3, .create = 3, .version = 1};
    _cleanup_strbuf_ struct strbuf s = {0};

    strbuf_append_str(&s, "\1DKS\2");
    enc_u32(&s, 0);
    expect(&s, "format unknown");
    head(&s, 0, 0);
    expect(&s, "revisions are impossible");
    head(&s, 2, 3);
    expect(&s, "revisions are impossible");
    head(&s, 3, 0);
    version(&s, "b", put2);
    version(&s, "a", put3);
    expect(&s, "out of order");
    head(&s, 3, 0);
    version(&s, "a", put2);
    version(&s, "a", put3);
    expect(&s, "out of order");
    head(&s, 2, 0);
    version(&s, "", put2);
    expect(&s, "impossible length");
    head(&s, 2, 0);
    version(&s, NULL, put2);
    expect(&s, "without its key");
    head(&s, 2, 0);
    version(&s, "a", put2);
    lease(&s, 1);
    expect(&s, "out of place");
    head(&s, 2, 0);
    lease(&s, 2);
    lease(&s, 2);
    expect(&s, "lease is out of order");
    head(&s, 2, 0);
    version(&s, "a", (struct row){.mod = 2, .create = 2, .version = 1, .lease = 9});
    expect(&s, "lease that does not exist");
    for (uint64_t wrong = 0; wrong < 3; wrong++) {
        head(&s, 2, 0);
        version(&s, "a", put2);
        end(&s, wrong == 0, 1 + (wrong == 1), 1 + (wrong == 2));
        expect(&s, "counts do not agree");
    }
}

TEST(mvcc_snapshot, versions_must_follow_from_each_other)
{
    static const struct {
        struct row newer, older; /* of one key; compacted is 3, revision 5 */
        const char *wrong;
    } rows[] = {
        {{.mod = 4, .create = 4, .version = 1}, {.mod = 4, .create = 4, .version = 1},
            "out of order"},
        {{.mod = 4, .create = 4, .version = 1}, {.mod = 5, .create = 5, .version = 1},
            "out of order"},
        {{.mod = 5, .create = 2, .version = 3}, {.mod = 3, .create = 2, .version = 1},
            "does not follow"},
        {{.mod = 5, .create = 3, .version = 2}, {.mod = 3, .create = 2, .version = 1},
            "does not follow"},
        {{.mod = 5, .create = 3, .version = 2}, {.mod = 4, .action = MVCC_ACTION_DELETE},
            "does not follow"},
        {{.mod = 5, .action = MVCC_ACTION_DELETE}, {.mod = 4, .action = MVCC_ACTION_DELETE},
            "a deletion of nothing"},
        {{.mod = 3, .create = 2, .version = 2}, {.mod = 2, .create = 2, .version = 1},
            "compaction removes"},
        {{.mod = 4, .create = 4, .version = 1}, {.mod = 2, .action = MVCC_ACTION_DELETE},
            "compaction removes"},
        {{.mod = 6, .create = 2, .version = 1}, {.mod = 2, .create = 2, .version = 1},
            "outside of the revisions"},
        {{.mod = 5, .create = 6, .version = 1}, {.mod = 2, .create = 2, .version = 1},
            "an impossible version"},
        {{.mod = 5, .create = 5, .version = 0}, {.mod = 2, .create = 2, .version = 1},
            "an impossible version"},
        {{.mod = 5, .action = 7}, {.mod = 2, .create = 2, .version = 1}, "unknown kind"},
    };
    _cleanup_strbuf_ struct strbuf s = {0};

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        head(&s, 5, 3);
        version(&s, "a", rows[i].newer);
        version(&s, NULL, rows[i].older);
        end(&s, 0, 1, 2);
        expect(&s, rows[i].wrong);
    }
    head(&s, 5, 3);
    version(&s, "a", (struct row){.mod = 5, .create = 2, .version = 2});
    end(&s, 0, 1, 1);
    expect(&s, "does not follow"); /* what was before it is missing */
}

TEST(mvcc_snapshot, every_revision_and_every_change_of_it_must_be_there)
{
    _cleanup_strbuf_ struct strbuf s = {0};

    head(&s, 3, 0);
    version(&s, "a", (struct row){.mod = 3, .create = 3, .version = 1});
    end(&s, 0, 1, 1);
    expect(&s, "revisions are missing");
    head(&s, 3, 0);
    version(&s, "a", (struct row){.mod = 3, .create = 3, .version = 1});
    version(&s, "b", (struct row){.mod = 3, .sub = 1, .create = 3, .version = 1});
    end(&s, 0, 2, 2);
    expect(&s, "a revision is missing");
    for (uint64_t sub = 0; sub < 3; sub++) {
        head(&s, 2, 0);
        version(&s, "a", (struct row){.mod = 2, .create = 2, .version = 1});
        version(&s, "b", (struct row){.mod = 2, .sub = sub, .create = 2, .version = 1});
        end(&s, 0, 2, 2);
        expect(&s, sub == 1 ? NULL : "not numbered in order");
    }
}

TEST(mvcc_snapshot, a_record_without_an_end_is_not_waited_for_for_ever)
{
    struct mvcc_loader *l = mvcc_loader_new();
    _cleanup_strbuf_ struct strbuf s = {0};
    _cleanup_free_ uint8_t *zeros = xcalloc(1, 1 << 16);
    int r = 0;
    size_t fed = 0;

    head(&s, 2, 0);
    enc_u8(&s, SNAPSHOT_KEY);
    enc_varint(&s, UINT64_MAX); /* bytes of the key */
    assert_int_equal(mvcc_loader_feed(l, strbuf_bytes(&s), NULL), 0);
    for (; r == 0 && fed < 64u << 20; fed += 1 << 16) {
        r = mvcc_loader_feed(l, bytes_make(zeros, 1 << 16), NULL);
    }
    assert_int_equal(r, DECREE_ECORRUPT);
    assert_true(fed < 4u << 20);
    assert_int_equal(mvcc_loader_feed(l, B(""), NULL), DECREE_ECORRUPT);
    mvcc_loader_free(l);
}

/* ---- going on from a backup ---- */

static int watch_from(struct mvcc *m, int64_t revision, struct watcher *w);

TEST(mvcc_advance, passes_over_revisions_and_compacts_there)
{
    struct mvcc *m = sample(), *copy = NULL;
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_strbuf_ struct strbuf all = {0};
    struct range_request r = {.key = B("a")};
    struct range_reply reply;
    struct watcher w;
    int64_t before = mvcc_revision(m);

    assert_int_equal(mvcc_advance(m, 1000), 0);
    assert_int_equal(mvcc_revision(m), before + 1000);
    assert_int_equal(mvcc_compacted(m), before + 1000);
    assert_int_equal(mvcc_compact_done(m), before + 1000);
    assert_int_equal(mvcc_bytes(m), mvcc_live_bytes(m));
    write_all(m, 100, &all);
    assert_int_equal(load(strbuf_bytes(&all), 50, &copy, NULL), 0);
    assert_true(mvcc_hash(copy) == mvcc_hash(m));
    assert_int_equal(mvcc_keys(copy), 3);
    assert_int_equal(mvcc_range(copy, &r, &arena, &reply), 0);
    assert_int_equal(reply.n_kvs, 1);
    assert_int_equal(reply.kvs[0].mod_revision, 5);
    r.revision = before;
    assert_int_equal(mvcc_range(copy, &r, &arena, &reply), DECREE_ECOMPACTED);
    /* Who saw something later than the backup is told so; who comes after the jump is served. */
    assert_int_equal(watch_from(copy, before + 1, &w), 1);
    assert_int_equal(watch_from(copy, before + 999, &w), 1);
    assert_int_equal(watch_from(copy, before + 1001, &w), 0);
    put(copy, "next", "1", 0);
    assert_int_equal(mvcc_revision(copy), before + 1001);
    strbuf_clear(&all);
    write_all(copy, 100, &all);
    mvcc_free(copy);
    assert_int_equal(load(strbuf_bytes(&all), 50, &copy, NULL), 0);
    assert_int_equal(mvcc_keys(copy), 4);
    mvcc_free(copy);
    mvcc_free(m);
}

TEST(mvcc_advance, revisions_do_not_run_out_unseen)
{
    struct mvcc *m = sample();

    assert_int_equal(mvcc_advance(m, INT64_MAX / 2), DECREE_EFUTURE_REV);
    assert_int_equal(mvcc_revision(m), 12);
    mvcc_free(m);
}

static int ends;

static bool on_events(struct watcher *w _unused_, struct watch_event *const *e _unused_,
    size_t n _unused_, int64_t revision _unused_)
{
    return true;
}

static void on_end(struct watcher *w _unused_, enum watch_end why)
{
    assert_int_equal(why, WATCH_COMPACTED);
    ends++;
}

/* How often it was told that its revision is compacted. */
static int watch_from(struct mvcc *m, int64_t revision, struct watcher *w)
{
    static const struct watch_ops ops = {.events = on_events, .end = on_end};

    *w = (struct watcher){.key = B("\0"), .range_end = B("\0"), .start_revision = revision};
    w->ops = &ops;
    ends = 0;
    mvcc_watch_add(m, w);
    while (mvcc_watch_deliver(m, 100)) {}
    if (ends == 0) {
        mvcc_watch_remove(m, w);
    }
    return ends;
}

/* ---- hashes in slices ---- */

TEST(mvcc_hasher, slices_and_writes_in_between_change_nothing)
{
    struct mvcc *m = sample();
    uint64_t whole = mvcc_hash(m);

    for (size_t slice = 1; slice < 300; slice += 7) {
        struct mvcc_hasher *h;
        int n = 0;

        assert_int_equal(mvcc_hasher_open(m, MVCC_HASH_ALL, 0, &h), 0);
        assert_int_equal(mvcc_compact(m, mvcc_revision(m)), 0);
        while (mvcc_hasher_step(h, slice)) {
            put(m, n % 2 == 0 ? "a" : "zz", "later", 0);
            assert_false(mvcc_compact_step(m, 100)); /* it waits */
            n++;
        }
        assert_true(mvcc_hasher_value(h) == whole);
        assert_true(slice > 1 || n > 3);
        mvcc_hasher_close(h);
        mvcc_free(m);
        m = sample();
    }
    mvcc_free(m);
}

TEST(mvcc_hasher, keys_hash_as_of_a_revision_and_leases_only_with_all)
{
    struct mvcc *m = sample();
    struct mvcc_hasher *h;
    uint64_t keys, all = mvcc_hash(m);

    assert_int_equal(mvcc_hasher_open(m, MVCC_HASH_KEYS, 0, &h), 0);
    while (mvcc_hasher_step(h, 1)) {}
    keys = mvcc_hasher_value(h);
    mvcc_hasher_close(h);
    assert_int_equal(mvcc_lease_grant(m, 99, 10, 0), 0);
    put(m, "more", "1", 99);
    assert_int_equal(mvcc_hasher_open(m, MVCC_HASH_KEYS, 12, &h), 0);
    while (mvcc_hasher_step(h, 1)) {}
    assert_true(mvcc_hasher_value(h) == keys);
    mvcc_hasher_close(h);
    assert_true(mvcc_hash(m) != all);
    assert_int_equal(mvcc_hasher_open(m, MVCC_HASH_KEYS, 6, &h), DECREE_ECOMPACTED);
    assert_int_equal(mvcc_hasher_open(m, MVCC_HASH_KEYS, 14, &h), DECREE_EFUTURE_REV);
    mvcc_free(m);
}

TEST_MAIN(UNIT(mvcc_advance, passes_over_revisions_and_compacts_there),
    UNIT(mvcc_advance, revisions_do_not_run_out_unseen),
    UNIT(mvcc_hasher, slices_and_writes_in_between_change_nothing),
    UNIT(mvcc_hasher, keys_hash_as_of_a_revision_and_leases_only_with_all),
    UNIT(mvcc_snapshot, brings_back_everything_in_pieces_of_any_size),
    UNIT(mvcc_snapshot, leases_keep_their_keys_and_wait_for_a_leader),
    UNIT(mvcc_snapshot, an_empty_keyspace_has_one_too),
    UNIT(mvcc_snapshot, is_of_the_moment_it_was_opened_and_holds_compaction_back),
    UNIT(mvcc_snapshot, one_that_ends_too_early_or_too_late_is_refused),
    UNIT(mvcc_snapshot, any_changed_byte_is_refused_or_gives_a_sound_keyspace),
    UNIT(mvcc_snapshot, the_crafted_ones_are_sound_without_their_flaw),
    UNIT(mvcc_snapshot, order_and_counts_are_checked),
    UNIT(mvcc_snapshot, versions_must_follow_from_each_other),
    UNIT(mvcc_snapshot, every_revision_and_every_change_of_it_must_be_there),
    UNIT(mvcc_snapshot, a_record_without_an_end_is_not_waited_for_for_ever))
