/* The sentences of contracts/etcd-v3.md §3, one by one. Random histories: test_mvcc_model.c. */
#include "unit.h"

#include "err.h"
#include "mvcc.h"

#define B(s) BYTES_LITERAL(s)
#define PUT(k, v)                                                                                  \
    {                                                                                              \
        .kind = OP_PUT, .put = {.key = B(k), .value = B(v) }                                       \
    }
#define DEL(k, e)                                                                                  \
    {                                                                                              \
        .kind = OP_DELETE, .del = {.key = B(k), .range_end = B(e) }                                \
    }
#define GET(k, e)                                                                                  \
    {                                                                                              \
        .kind = OP_RANGE, .range = {.key = B(k), .range_end = B(e) }                               \
    }
#define OPS(...) ((struct txn_op[]){__VA_ARGS__})
#define COUNT(...) (sizeof((struct txn_op[]){__VA_ARGS__}) / sizeof(struct txn_op))
#define THEN(...) .success = OPS(__VA_ARGS__), .n_success = COUNT(__VA_ARGS__)
#define ELSE(...) .failure = OPS(__VA_ARGS__), .n_failure = COUNT(__VA_ARGS__)
#define IF(...)                                                                                    \
    .compares = (struct compare[]){__VA_ARGS__},                                                   \
    .n_compares = sizeof((struct compare[]){__VA_ARGS__}) / sizeof(struct compare)

/* A keyspace and an arena that lives as long. */
struct fixture {
    struct mvcc *m;
    struct arena arena;
};

static struct fixture setup(void)
{
    return (struct fixture){.m = mvcc_new()};
}

static void teardown(struct fixture *f)
{
    mvcc_free(f->m);
    arena_deinit(&f->arena);
}
#define _fixture_ _cleanup_(teardown) struct fixture

static int64_t put(struct fixture *f, const char *key, const char *value)
{
    struct put_request r = {.key = bytes_str(key), .value = bytes_str(value)};
    struct put_reply reply;

    assert_int_equal(mvcc_put(f->m, &r, &f->arena, &reply), 0);
    return mvcc_revision(f->m);
}

static int64_t del(struct fixture *f, const char *key, const char *end)
{
    struct delete_request r = {.key = bytes_str(key), .range_end = bytes_str(end)};
    struct delete_reply reply;

    assert_int_equal(mvcc_delete(f->m, &r, &f->arena, &reply), 0);
    return reply.deleted;
}

static struct range_reply range(struct fixture *f, struct range_request r)
{
    struct range_reply reply;

    assert_int_equal(mvcc_range(f->m, &r, &f->arena, &reply), 0);
    return reply;
}

static int range_error(struct fixture *f, int64_t revision)
{
    struct range_request r = {.key = B("a"), .revision = revision};
    struct range_reply reply;

    return mvcc_range(f->m, &r, &f->arena, &reply);
}

/* The keys of a reply, separated by blanks. */
static const char *keys_of(struct fixture *f, const struct range_reply *r)
{
    _cleanup_strbuf_ struct strbuf s = {0};

    for (size_t i = 0; i < r->n_kvs; i++) {
        strbuf_append_str(&s, i > 0 ? " " : "");
        strbuf_append_bytes(&s, r->kvs[i].key);
    }
    return (const char *)arena_copy(&f->arena, strbuf_bytes(&s)).data;
}

static const char *get(struct fixture *f, const char *key, int64_t revision)
{
    struct range_reply r =
        range(f, (struct range_request){.key = bytes_str(key), .revision = revision});

    return r.n_kvs == 1 ? (const char *)arena_copy(&f->arena, r.kvs[0].value).data : NULL;
}

static int txn(struct fixture *f, struct txn_request t, struct txn_reply *ret)
{
    assert_int_equal(txn_request_check(&t), 0);
    return mvcc_txn(f->m, &t, &f->arena, ret);
}

static void compact(struct fixture *f, int64_t revision)
{
    assert_int_equal(mvcc_compact(f->m, revision), 0);
    while (mvcc_compact_step(f->m, 1)) {}
    assert_int_equal(mvcc_compact_done(f->m), revision);
}

/* ---- revisions ---- */

TEST(mvcc, an_empty_store_has_revision_1_and_the_first_write_gives_2)
{
    _fixture_ f = setup();

    assert_int_equal(mvcc_revision(f.m), 1);
    assert_int_equal(mvcc_compacted(f.m), 0);
    assert_int_equal(put(&f, "a", "1"), 2);
    assert_int_equal(put(&f, "a", "1"), 3);
}

TEST(mvcc, what_changes_nothing_does_not_move_the_revision)
{
    _fixture_ f = setup();
    struct txn_reply reply;

    put(&f, "a", "1");
    assert_int_equal(del(&f, "b", "z"), 0);
    assert_int_equal(txn(&f, (struct txn_request){THEN(DEL("b", ""), GET("a", ""))}, &reply), 0);
    assert_int_equal(txn(&f,
                         (struct txn_request){IF({.target = COMPARE_MOD, .key = B("a")}),
                             THEN(PUT("x", "1")), ELSE(GET("a", ""))},
                         &reply),
        0);
    assert_false(reply.succeeded);
    assert_int_equal(mvcc_revision(f.m), 2);
}

TEST(mvcc, a_txn_moves_the_revision_once)
{
    _fixture_ f = setup();
    struct txn_reply reply;

    put(&f, "z", "1");
    assert_int_equal(
        txn(&f, (struct txn_request){THEN(PUT("a", "1"), DEL("z", ""), PUT("b", "2"))}, &reply), 0);
    assert_int_equal(mvcc_revision(f.m), 3);
    assert_int_equal(range(&f, (struct range_request){.key = B("a")}).kvs[0].mod_revision, 3);
    assert_int_equal(range(&f, (struct range_request){.key = B("b")}).kvs[0].mod_revision, 3);
}

TEST(mvcc, versions_count_from_creation_and_restart_after_a_delete)
{
    _fixture_ f = setup();
    struct kv kv;

    put(&f, "a", "1");
    put(&f, "a", "2");
    kv = range(&f, (struct range_request){.key = B("a")}).kvs[0];
    assert_int_equal(kv.create_revision, 2);
    assert_int_equal(kv.mod_revision, 3);
    assert_int_equal(kv.version, 2);
    assert_int_equal(del(&f, "a", ""), 1);
    put(&f, "a", "3");
    kv = range(&f, (struct range_request){.key = B("a")}).kvs[0];
    assert_int_equal(kv.create_revision, 5);
    assert_int_equal(kv.mod_revision, 5);
    assert_int_equal(kv.version, 1);
}

/* ---- ranges ---- */

static struct fixture setup_abc(void)
{
    struct fixture f = setup();

    put(&f, "c", "3"); /* revision 2 */
    put(&f, "a", "9"); /* 3 */
    put(&f, "b", "1"); /* 4 */
    put(&f, "a", "2"); /* 5 */
    return f;
}

TEST(mvcc, range_end_names_one_key_an_interval_or_all_from_a_key)
{
    _fixture_ f = setup_abc();
    struct range_reply r = range(&f, (struct range_request){.key = B("a"), .range_end = B("c")});

    assert_string_equal(keys_of(&f, &r), "a b");
    r = range(&f, (struct range_request){.key = B("b"), .range_end = B("\0")});
    assert_string_equal(keys_of(&f, &r), "b c");
    r = range(&f, (struct range_request){.key = B("\0"), .range_end = B("\0")});
    assert_string_equal(keys_of(&f, &r), "a b c");
    r = range(&f, (struct range_request){.key = B("c"), .range_end = B("a")});
    assert_int_equal(r.count, 0);
    assert_int_equal(r.n_kvs, 0);
}

TEST(mvcc, count_is_of_the_whole_range_and_more_comes_from_the_limit)
{
    _fixture_ f = setup_abc();
    struct range_request all = {.key = B("a"), .range_end = B("\0"), .limit = 2};
    struct range_reply r = range(&f, all);

    assert_string_equal(keys_of(&f, &r), "a b");
    assert_true(r.more);
    assert_int_equal(r.count, 3);
    all.limit = 3;
    assert_false(range(&f, all).more);
    all.limit = 0;
    all.min_mod_revision = 4;
    r = range(&f, all);
    assert_string_equal(keys_of(&f, &r), "a b");
    assert_false(r.more);
    assert_int_equal(r.count, 3);
    all.count_only = true;
    r = range(&f, all);
    assert_int_equal(r.n_kvs, 0);
    assert_int_equal(r.count, 3);
    all.revision = 3;
    assert_int_equal(range(&f, all).count, 2);
}

TEST(mvcc, filters_are_applied_before_the_limit)
{
    _fixture_ f = setup_abc();
    struct range_request all = {
        .key = B("a"), .range_end = B("\0"), .limit = 1, .max_create_revision = 2};
    struct range_reply r = range(&f, all);

    assert_string_equal(keys_of(&f, &r), "c");
    assert_false(r.more);
    all.max_create_revision = 0;
    all.min_create_revision = 4;
    r = range(&f, all);
    assert_string_equal(keys_of(&f, &r), "b");
    all.min_create_revision = 0;
    all.max_mod_revision = 4;
    r = range(&f, all);
    assert_string_equal(keys_of(&f, &r), "b");
    assert_true(r.more);
}

TEST(mvcc, results_sort_by_every_target_and_equal_ones_by_key)
{
    static const struct {
        enum sort_target target;
        enum sort_order order;
        const char *keys;
    } rows[] = {
        {SORT_KEY, SORT_NONE, "a b c"},
        {SORT_KEY, SORT_ASCEND, "a b c"},
        {SORT_KEY, SORT_DESCEND, "c b a"},
        {SORT_VERSION, SORT_NONE, "b c a"},
        {SORT_VERSION, SORT_DESCEND, "a b c"},
        {SORT_CREATE, SORT_ASCEND, "c a b"},
        {SORT_CREATE, SORT_DESCEND, "b a c"},
        {SORT_MOD, SORT_ASCEND, "c b a"},
        {SORT_MOD, SORT_NONE, "c b a"},
        {SORT_VALUE, SORT_ASCEND, "b a c"},
        {SORT_VALUE, SORT_DESCEND, "c a b"},
    };
    _fixture_ f = setup_abc();

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct range_request all = {.key = B("a"),
            .range_end = B("\0"),
            .sort_target = rows[i].target,
            .sort_order = rows[i].order};
        struct range_reply r = range(&f, all);

        assert_string_equal(keys_of(&f, &r), rows[i].keys);
        if (rows[i].order != SORT_NONE) {
            all.limit = 2;
            r = range(&f, all);
            assert_int_equal(r.n_kvs, 2);
            assert_memory_equal(keys_of(&f, &r), rows[i].keys, 3);
            assert_true(r.more);
        }
    }
}

TEST(mvcc, a_target_without_an_order_sorts_only_what_the_limit_lets_through)
{
    /* Seen with etcd 3.4.23: of a b c, limit 1 looks at a and b. */
    _fixture_ f = setup_abc();
    struct range_request r = {
        .key = B("a"), .range_end = B("\0"), .limit = 1, .sort_target = SORT_MOD};
    struct range_reply reply = range(&f, r);

    assert_string_equal(keys_of(&f, &reply), "b");
    assert_true(reply.more);
    r.sort_order = SORT_ASCEND;
    reply = range(&f, r);
    assert_string_equal(keys_of(&f, &reply), "c");
}

TEST(mvcc, keys_only_leaves_the_values_out)
{
    _fixture_ f = setup_abc();
    struct range_reply r = range(&f, (struct range_request){.key = B("a"), .keys_only = true});

    assert_int_equal(r.n_kvs, 1);
    assert_int_equal(r.kvs[0].value.len, 0);
    assert_int_equal(r.kvs[0].version, 2);
}

TEST(mvcc, old_revisions_are_read_as_they_were)
{
    _fixture_ f = setup_abc();

    del(&f, "a", ""); /* 6 */
    assert_null(get(&f, "a", 2));
    assert_string_equal(get(&f, "a", 3), "9");
    assert_string_equal(get(&f, "a", 4), "9");
    assert_string_equal(get(&f, "a", 5), "2");
    assert_null(get(&f, "a", 6));
    assert_null(get(&f, "a", 0));
    assert_int_equal(range_error(&f, 7), DECREE_EFUTURE_REV);
    assert_int_equal(range_error(&f, -1), 0);
}

TEST(mvcc, a_reply_beyond_the_ceiling_of_its_arena_is_refused)
{
    _fixture_ f = setup_abc();
    _cleanup_arena_ struct arena small = {.limit = 2 * sizeof(struct kv)};
    struct range_request r = {.key = B("a"), .range_end = B("\0")};
    struct range_reply reply;

    assert_int_equal(mvcc_range(f.m, &r, &small, &reply), DECREE_ETOO_LARGE);
    r.limit = 2;
    assert_int_equal(mvcc_range(f.m, &r, &small, &reply), 0);
}

/* ---- puts and deletes ---- */

TEST(mvcc, prev_kv_is_what_was_there)
{
    _fixture_ f = setup();
    struct put_request p = {.key = B("a"), .value = B("2"), .prev_kv = true};
    struct delete_request d = {.key = B("a"), .range_end = B("c"), .prev_kv = true};
    struct put_reply put_reply;
    struct delete_reply delete_reply;

    assert_int_equal(mvcc_put(f.m, &p, &f.arena, &put_reply), 0);
    assert_false(put_reply.has_prev);
    put(&f, "b", "1");
    assert_int_equal(mvcc_put(f.m, &p, &f.arena, &put_reply), 0);
    assert_true(put_reply.has_prev);
    assert_int_equal(put_reply.prev.mod_revision, 2);
    assert_int_equal(mvcc_delete(f.m, &d, &f.arena, &delete_reply), 0);
    assert_int_equal(delete_reply.deleted, 2);
    assert_int_equal(delete_reply.n_prevs, 2);
    assert_true(bytes_eq(delete_reply.prevs[0].value, B("2")));
    assert_true(bytes_eq(delete_reply.prevs[1].key, B("b")));
    assert_int_equal(mvcc_revision(f.m), 5);
    assert_int_equal(mvcc_keys(f.m), 0);
}

TEST(mvcc, ignore_value_and_ignore_lease_keep_what_was_there)
{
    _fixture_ f = setup();
    struct put_request p = {.key = B("a"), .ignore_value = true};
    struct put_reply reply;
    struct kv kv;

    assert_int_equal(mvcc_put(f.m, &p, &f.arena, &reply), DECREE_EKEY_NOT_FOUND);
    assert_int_equal(mvcc_lease_grant(f.m, 7, 10, 0), 0);
    put(&f, "a", "old");
    p.lease = 7;
    assert_int_equal(mvcc_put(f.m, &p, &f.arena, &reply), 0);
    kv = range(&f, (struct range_request){.key = B("a")}).kvs[0];
    assert_true(bytes_eq(kv.value, B("old")));
    assert_int_equal(kv.lease, 7);
    p = (struct put_request){.key = B("a"), .value = B("new"), .ignore_lease = true};
    assert_int_equal(mvcc_put(f.m, &p, &f.arena, &reply), 0);
    kv = range(&f, (struct range_request){.key = B("a")}).kvs[0];
    assert_true(bytes_eq(kv.value, B("new")));
    assert_int_equal(kv.lease, 7);
    del(&f, "a", "");
    assert_int_equal(mvcc_put(f.m, &p, &f.arena, &reply), DECREE_EKEY_NOT_FOUND);
}

TEST(mvcc, a_put_looks_for_its_lease_before_its_key)
{
    _fixture_ f = setup();
    struct put_request p = {.key = B("a"), .ignore_value = true, .lease = 99};
    struct put_reply reply;
    struct txn_reply txn_reply;
    struct txn_request t = {.success = OPS({.kind = OP_PUT, .put = p}), .n_success = 1};

    assert_int_equal(mvcc_put(f.m, &p, &f.arena, &reply), DECREE_ELEASE_NOT_FOUND);
    /* … but inside a txn after it: both seen with etcd 3.4.23. */
    assert_int_equal(mvcc_txn(f.m, &t, &f.arena, &txn_reply), DECREE_EKEY_NOT_FOUND);
}

/* ---- txns ---- */

TEST(mvcc, compares_hold_as_in_the_table)
{
    static const struct {
        struct compare c;
        bool holds;
    } rows[] = {
        {{COMPARE_EQUAL, COMPARE_VERSION, {0}, {0}, 2, {0}}, true},
        {{COMPARE_GREATER, COMPARE_VERSION, {0}, {0}, 1, {0}}, true},
        {{COMPARE_LESS, COMPARE_VERSION, {0}, {0}, 2, {0}}, false},
        {{COMPARE_NOT_EQUAL, COMPARE_VERSION, {0}, {0}, 2, {0}}, false},
        {{COMPARE_EQUAL, COMPARE_CREATE, {0}, {0}, 3, {0}}, true},
        {{COMPARE_EQUAL, COMPARE_MOD, {0}, {0}, 5, {0}}, true},
        {{COMPARE_LESS, COMPARE_MOD, {0}, {0}, 6, {0}}, true},
        {{COMPARE_EQUAL, COMPARE_LEASE, {0}, {0}, 0, {0}}, true},
        {{COMPARE_EQUAL, COMPARE_VALUE, {0}, {0}, 0, B("2")}, true},
        {{COMPARE_LESS, COMPARE_VALUE, {0}, {0}, 0, B("20")}, true},
        {{COMPARE_GREATER, COMPARE_VALUE, {0}, {0}, 0, B("1")}, true},
        {{COMPARE_NOT_EQUAL, COMPARE_VALUE, {0}, {0}, 0, B("2")}, false},
    };
    _fixture_ f = setup_abc();

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct compare c = rows[i].c;
        struct txn_reply reply;

        c.key = B("a");
        assert_int_equal(txn(&f, (struct txn_request){.compares = &c, .n_compares = 1}, &reply), 0);
        assert_int_equal(reply.succeeded, rows[i].holds);
    }
}

static bool holds(struct fixture *f, struct compare c)
{
    struct txn_reply reply;

    assert_int_equal(txn(f, (struct txn_request){.compares = &c, .n_compares = 1}, &reply), 0);
    return reply.succeeded;
}

TEST(mvcc, a_missing_key_compares_as_zero_but_its_value_with_nothing)
{
    _fixture_ f = setup_abc();

    assert_true(holds(&f, (struct compare){.target = COMPARE_VERSION, .key = B("x")}));
    assert_true(holds(&f, (struct compare){.target = COMPARE_CREATE, .key = B("x")}));
    assert_false(holds(
        &f, (struct compare){.target = COMPARE_MOD, .result = COMPARE_NOT_EQUAL, .key = B("x")}));
    assert_false(holds(&f, (struct compare){.target = COMPARE_VALUE, .key = B("x")}));
    assert_false(holds(
        &f, (struct compare){.target = COMPARE_VALUE, .result = COMPARE_NOT_EQUAL, .key = B("x")}));
    del(&f, "a", "");
    assert_true(holds(&f, (struct compare){.target = COMPARE_MOD, .key = B("a")}));
}

TEST(mvcc, a_range_compare_must_hold_for_every_key)
{
    _fixture_ f = setup_abc();
    struct compare c = {.result = COMPARE_GREATER,
        .target = COMPARE_MOD,
        .key = B("a"),
        .range_end = B("c"),
        .number = 3};

    assert_true(holds(&f, c));
    c.range_end = B("\0");
    assert_false(holds(&f, c));
    c.key = B("x");
    c.result = COMPARE_EQUAL;
    c.number = 0;
    assert_true(holds(&f, c));
}

TEST(mvcc, an_empty_list_of_compares_holds)
{
    _fixture_ f = setup();
    struct txn_reply reply;

    assert_int_equal(
        txn(&f, (struct txn_request){THEN(PUT("a", "1")), ELSE(PUT("b", "1"))}, &reply), 0);
    assert_true(reply.succeeded);
    assert_int_equal(mvcc_keys(f.m), 1);
}

TEST(mvcc, reads_inside_a_txn_see_its_earlier_writes_and_headers_their_revision)
{
    _fixture_ f = setup_abc(); /* revision 5 */
    struct txn_reply reply;

    assert_int_equal(
        txn(&f,
            (struct txn_request){THEN(GET("a", "\0"), PUT("d", "4"), GET("a", "\0"), DEL("a", "c"),
                GET("a", "\0"),
                {.kind = OP_RANGE, .range = {.key = B("a"), .range_end = B("\0"), .revision = 5}})},
            &reply),
        0);
    assert_string_equal(keys_of(&f, &reply.ops[0].range), "a b c");
    assert_string_equal(keys_of(&f, &reply.ops[2].range), "a b c d");
    assert_int_equal(reply.ops[3].del.deleted, 2);
    assert_string_equal(keys_of(&f, &reply.ops[4].range), "c d");
    assert_string_equal(keys_of(&f, &reply.ops[5].range), "a b c");
    assert_int_equal(reply.ops[0].revision, 5);
    assert_int_equal(reply.ops[1].revision, 6);
    assert_int_equal(reply.ops[5].revision, 6);
}

TEST(mvcc, nested_compares_see_the_state_before_the_txn)
{
    /* As etcd 3.4.23 does: all branches are chosen before the first write. */
    _fixture_ f = setup();
    struct txn_request inner = {
        IF({.target = COMPARE_VERSION, .key = B("a")}), THEN(GET("a", "")), ELSE(PUT("wrong", ""))};
    struct txn_reply reply;

    assert_int_equal(
        txn(&f, (struct txn_request){THEN(PUT("a", "1"), {.kind = OP_TXN, .txn = &inner})}, &reply),
        0);
    assert_true(reply.ops[1].txn.succeeded);
    assert_string_equal(keys_of(&f, &reply.ops[1].txn.ops[0].range), "a");
}

TEST(mvcc, nothing_is_written_when_something_in_a_txn_fails)
{
    static const struct put_request leased = {.key = B("n"), .lease = 5};
    static const struct put_request ignoring = {.key = B("n"), .ignore_value = true};
    static const struct range_request future = {.key = B("n"), .revision = 99};
    static const struct range_request compacted = {.key = B("n"), .revision = 2};
    const struct {
        struct txn_op op;
        int error;
    } rows[] = {
        {{.kind = OP_PUT, .put = leased}, DECREE_ELEASE_NOT_FOUND},
        {{.kind = OP_PUT, .put = ignoring}, DECREE_EKEY_NOT_FOUND},
        {{.kind = OP_RANGE, .range = future}, DECREE_EFUTURE_REV},
        {{.kind = OP_RANGE, .range = compacted}, DECREE_ECOMPACTED},
    };
    _fixture_ f = setup_abc();

    compact(&f, 3);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct txn_request inner = {.success = OPS(rows[i].op), .n_success = 1};
        struct txn_request t = {THEN(PUT("x", "1"), {.kind = OP_TXN, .txn = &inner})};
        uint64_t hash = mvcc_hash(f.m);
        struct txn_reply reply;

        assert_int_equal(txn(&f, t, &reply), rows[i].error);
        assert_true(mvcc_hash(f.m) == hash);
        /* The branch that is not taken does not matter. */
        t = (struct txn_request){THEN(GET("x", "")), ELSE({.kind = OP_TXN, .txn = &inner})};
        assert_int_equal(txn(&f, t, &reply), 0);
    }
    assert_int_equal(mvcc_revision(f.m), 5);
}

TEST(mvcc, a_txn_may_delete_everything_and_put_it_anew)
{
    _fixture_ f = setup_abc();
    struct txn_reply reply;

    assert_int_equal(
        txn(&f, (struct txn_request){THEN(DEL("\0", "\0"), PUT("a", "new"))}, &reply), 0);
    assert_int_equal(mvcc_keys(f.m), 1);
    assert_string_equal(get(&f, "a", 0), "new");
    assert_int_equal(range(&f, (struct range_request){.key = B("a")}).kvs[0].version, 1);
    assert_string_equal(get(&f, "a", 5), "2");
}

/* ---- compaction ---- */

TEST(mvcc, a_compacted_revision_is_readable_and_those_before_it_are_not)
{
    _fixture_ f = setup_abc();
    int64_t bad[] = {0, -1, 3};

    compact(&f, 4);
    assert_string_equal(get(&f, "a", 4), "9");
    assert_string_equal(get(&f, "c", 4), "3");
    assert_int_equal(range_error(&f, 3), DECREE_ECOMPACTED);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(mvcc_compact(f.m, bad[i]), DECREE_ECOMPACTED);
    }
    assert_int_equal(mvcc_compact(f.m, 4), DECREE_ECOMPACTED);
    assert_int_equal(mvcc_compact(f.m, 6), DECREE_EFUTURE_REV);
}

TEST(mvcc, compaction_counts_at_once_and_gives_memory_back_in_steps)
{
    _fixture_ f = setup();
    uint64_t before;

    for (int i = 0; i < 100; i++) {
        put(&f, "a", "some value");
    }
    before = mvcc_bytes(f.m);
    assert_int_equal(mvcc_compact(f.m, 101), 0);
    assert_int_equal(range_error(&f, 100), DECREE_ECOMPACTED);
    assert_int_equal(mvcc_bytes(f.m), before);
    assert_int_equal(mvcc_compact_done(f.m), 1);
    assert_true(mvcc_compact_step(f.m, 10));
    assert_true(mvcc_bytes(f.m) < before);
    assert_true(mvcc_compact_done(f.m) < 101);
    while (mvcc_compact_step(f.m, 10)) {}
    assert_int_equal(mvcc_compact_done(f.m), 101);
    assert_int_equal(mvcc_bytes(f.m), mvcc_live_bytes(f.m));
}

TEST(mvcc, deleted_keys_cost_nothing_after_compaction)
{
    _fixture_ f = setup_abc();

    del(&f, "a", "d"); /* 6 */
    put(&f, "x", "1"); /* 7 */
    del(&f, "x", "");  /* 8 */
    put(&f, "y", "1"); /* 9 */
    compact(&f, 9);
    assert_int_equal(mvcc_bytes(f.m), mvcc_live_bytes(f.m));
    assert_int_equal(mvcc_keys(f.m), 1);
}

TEST(mvcc, a_read_before_a_re_creation_sees_nothing_also_when_compacted_in_between)
{
    _fixture_ f = setup();

    put(&f, "a", "1"); /* 2 */
    del(&f, "a", "");  /* 3 */
    put(&f, "b", "1"); /* 4 */
    put(&f, "a", "2"); /* 5 */
    compact(&f, 4);
    assert_null(get(&f, "a", 4));
    assert_string_equal(get(&f, "a", 5), "2");
    compact(&f, 5);
    assert_string_equal(get(&f, "a", 5), "2");
    assert_int_equal(mvcc_bytes(f.m), mvcc_live_bytes(f.m));
}

TEST(mvcc, bytes_count_what_is_kept_and_live_bytes_what_is_current)
{
    _fixture_ f = setup();
    uint64_t one;

    assert_int_equal(mvcc_bytes(f.m), 0);
    put(&f, "a", "1");
    one = mvcc_bytes(f.m);
    assert_true(one > 40);
    assert_int_equal(mvcc_live_bytes(f.m), one);
    put(&f, "a", "2");
    assert_int_equal(mvcc_bytes(f.m), 2 * one);
    assert_int_equal(mvcc_live_bytes(f.m), one);
    del(&f, "a", "");
    assert_true(mvcc_bytes(f.m) > 2 * one);
    assert_int_equal(mvcc_live_bytes(f.m), 0);
}

TEST_MAIN(UNIT(mvcc, an_empty_store_has_revision_1_and_the_first_write_gives_2),
    UNIT(mvcc, what_changes_nothing_does_not_move_the_revision),
    UNIT(mvcc, a_txn_moves_the_revision_once),
    UNIT(mvcc, versions_count_from_creation_and_restart_after_a_delete),
    UNIT(mvcc, range_end_names_one_key_an_interval_or_all_from_a_key),
    UNIT(mvcc, count_is_of_the_whole_range_and_more_comes_from_the_limit),
    UNIT(mvcc, filters_are_applied_before_the_limit),
    UNIT(mvcc, results_sort_by_every_target_and_equal_ones_by_key),
    UNIT(mvcc, a_target_without_an_order_sorts_only_what_the_limit_lets_through),
    UNIT(mvcc, keys_only_leaves_the_values_out), UNIT(mvcc, old_revisions_are_read_as_they_were),
    UNIT(mvcc, a_reply_beyond_the_ceiling_of_its_arena_is_refused),
    UNIT(mvcc, prev_kv_is_what_was_there),
    UNIT(mvcc, ignore_value_and_ignore_lease_keep_what_was_there),
    UNIT(mvcc, a_put_looks_for_its_lease_before_its_key), UNIT(mvcc, compares_hold_as_in_the_table),
    UNIT(mvcc, a_missing_key_compares_as_zero_but_its_value_with_nothing),
    UNIT(mvcc, a_range_compare_must_hold_for_every_key),
    UNIT(mvcc, an_empty_list_of_compares_holds),
    UNIT(mvcc, reads_inside_a_txn_see_its_earlier_writes_and_headers_their_revision),
    UNIT(mvcc, nested_compares_see_the_state_before_the_txn),
    UNIT(mvcc, nothing_is_written_when_something_in_a_txn_fails),
    UNIT(mvcc, a_txn_may_delete_everything_and_put_it_anew),
    UNIT(mvcc, a_compacted_revision_is_readable_and_those_before_it_are_not),
    UNIT(mvcc, compaction_counts_at_once_and_gives_memory_back_in_steps),
    UNIT(mvcc, deleted_keys_cost_nothing_after_compaction),
    UNIT(mvcc, a_read_before_a_re_creation_sees_nothing_also_when_compacted_in_between),
    UNIT(mvcc, bytes_count_what_is_kept_and_live_bytes_what_is_current))
