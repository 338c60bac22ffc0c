#include "unit.h"

#include "alloc.h"
#include "err.h"
#include "request.h"

#define B(s) BYTES_LITERAL(s)
#define PUT(k)                                                                                     \
    {                                                                                              \
        .kind = OP_PUT, .put = {.key = B(k), .value = B("v") }                                     \
    }
#define DEL(k, e)                                                                                  \
    {                                                                                              \
        .kind = OP_DELETE, .del = {.key = B(k), .range_end = B(e) }                                \
    }
#define GET(k)                                                                                     \
    {                                                                                              \
        .kind = OP_RANGE, .range = {.key = B(k) }                                                  \
    }
#define TXN(t)                                                                                     \
    {                                                                                              \
        .kind = OP_TXN, .txn = (t)                                                                 \
    }
#define OPS(...) ((struct txn_op[]){__VA_ARGS__})
#define COUNT(...) (sizeof((struct txn_op[]){__VA_ARGS__}) / sizeof(struct txn_op))
/* A txn with this success list and nothing else. */
#define THEN(...)                                                                                  \
    ((struct txn_request){.success = OPS(__VA_ARGS__), .n_success = COUNT(__VA_ARGS__)})

static int check(struct txn_request t)
{
    return txn_request_check(&t);
}

TEST(key_range, an_empty_end_is_one_key_a_zero_end_is_all_from_there)
{
    struct key_range one = key_range_parse(B("b"), B(""));
    struct key_range from = key_range_parse(B("b"), B("\0"));
    struct key_range some = key_range_parse(B("b"), B("d"));
    struct key_range zeros = key_range_parse(B("b"), B("\0\0"));

    assert_int_equal(one.kind, KEY_SINGLE);
    assert_true(key_range_contains(&one, B("b")));
    assert_false(key_range_contains(&one, B("b\0")));
    assert_int_equal(from.kind, KEY_FROM);
    assert_true(key_range_contains(&from, B("b")));
    assert_true(key_range_contains(&from, B("\xff\xff")));
    assert_false(key_range_contains(&from, B("a\xff")));
    assert_int_equal(some.kind, KEY_INTERVAL);
    assert_true(key_range_contains(&some, B("b")));
    assert_true(key_range_contains(&some, B("c\xff")));
    assert_false(key_range_contains(&some, B("d")));
    assert_false(key_range_contains(&some, B("a")));
    /* Two zero bytes are an ordinary, here inverted, end. */
    assert_int_equal(zeros.kind, KEY_INTERVAL);
    assert_true(key_range_is_empty(&zeros));
}

TEST(key_range, an_interval_whose_end_is_not_beyond_its_start_is_empty)
{
    struct key_range same = key_range_parse(B("b"), B("b"));
    struct key_range inverted = key_range_parse(B("b"), B("a"));
    struct key_range one = key_range_parse(B("b"), B("b\0"));

    assert_true(key_range_is_empty(&same));
    assert_false(key_range_contains(&same, B("b")));
    assert_true(key_range_is_empty(&inverted));
    assert_false(key_range_contains(&inverted, B("b")));
    assert_false(key_range_is_empty(&one));
    assert_true(key_range_contains(&one, B("b")));
}

TEST(range_request, needs_a_key_and_a_known_sort)
{
    struct range_request r = {.key = B("k"), .sort_order = SORT_DESCEND, .sort_target = SORT_VALUE};

    assert_int_equal(range_request_check(&r), 0);
    r.sort_order = SORT_ORDER_END;
    assert_int_equal(range_request_check(&r), DECREE_EINVALID_SORT);
    r.sort_order = SORT_NONE;
    r.sort_target = SORT_TARGET_END;
    assert_int_equal(range_request_check(&r), DECREE_EINVALID_SORT);
    r.key.len = 0;
    assert_int_equal(range_request_check(&r), DECREE_EEMPTY_KEY);
}

TEST(put_request, ignored_parts_must_not_be_given)
{
    struct put_request r = {.key = B("k"), .value = B("v"), .lease = 1};

    assert_int_equal(put_request_check(&r), 0);
    r.ignore_lease = true;
    assert_int_equal(put_request_check(&r), DECREE_ELEASE_PROVIDED);
    r.ignore_value = true;
    assert_int_equal(put_request_check(&r), DECREE_EVALUE_PROVIDED);
    r.value.len = 0;
    r.lease = 0;
    assert_int_equal(put_request_check(&r), 0);
    r.key.len = 0;
    assert_int_equal(put_request_check(&r), DECREE_EEMPTY_KEY);
    assert_int_equal(delete_request_check(&(struct delete_request){0}), DECREE_EEMPTY_KEY);
    assert_int_equal(delete_request_check(&(struct delete_request){.key = B("k")}), 0);
}

TEST(txn_request, every_operation_is_checked_in_both_branches)
{
    struct compare no_key = {.target = COMPARE_MOD};
    struct txn_request t = {.compares = &no_key, .n_compares = 1};

    assert_int_equal(txn_request_check(&t), DECREE_EEMPTY_KEY);
    assert_int_equal(check(THEN({.kind = OP_NONE})), DECREE_EKEY_NOT_FOUND);
    assert_int_equal(check(THEN(GET(""))), DECREE_EEMPTY_KEY);
    assert_int_equal(check(THEN(PUT("a"), DEL("", ""))), DECREE_EEMPTY_KEY);
    t = (struct txn_request){.failure = OPS({.kind = OP_PUT,
                                 .put = {.key = B("k"), .value = B("v"), .ignore_value = true}}),
        .n_failure = 1};
    assert_int_equal(txn_request_check(&t), DECREE_EVALUE_PROVIDED);
    assert_int_equal(check((struct txn_request){0}), 0);
}

TEST(txn_request, shape_errors_come_before_duplicate_keys)
{
    struct txn_request t = THEN(PUT("a"), PUT("a"));

    t.failure = OPS({.kind = OP_NONE});
    t.n_failure = 1;
    assert_int_equal(txn_request_check(&t), DECREE_EKEY_NOT_FOUND);
}

static struct txn_op *many_gets(size_t n)
{
    struct txn_op *ops = xcalloc(n, sizeof(*ops));

    for (size_t i = 0; i < n; i++) {
        ops[i] = (struct txn_op)GET("k");
    }
    return ops;
}

TEST(txn_request, each_list_holds_128_operations)
{
    _cleanup_free_ struct txn_op *ops = many_gets(TXN_OPS_MAX + 1);
    struct compare *compares = xcalloc(TXN_OPS_MAX + 1, sizeof(*compares));
    struct txn_request t = {.compares = compares,
        .n_compares = TXN_OPS_MAX,
        .success = ops,
        .n_success = TXN_OPS_MAX,
        .failure = ops,
        .n_failure = TXN_OPS_MAX};

    for (size_t i = 0; i <= TXN_OPS_MAX; i++) {
        compares[i].key = B("k");
    }
    assert_int_equal(txn_request_check(&t), 0);
    t.n_success++;
    assert_int_equal(txn_request_check(&t), DECREE_ETOO_MANY_OPS);
    t.n_success--;
    t.n_failure++;
    assert_int_equal(txn_request_check(&t), DECREE_ETOO_MANY_OPS);
    t.n_failure--;
    t.n_compares++;
    assert_int_equal(txn_request_check(&t), DECREE_ETOO_MANY_OPS);
    free(compares);
}

TEST(txn_request, nested_lists_share_what_the_longest_list_leaves)
{
    _cleanup_free_ struct txn_op *inner = many_gets(TXN_OPS_MAX);
    _cleanup_free_ struct txn_op *outer = many_gets(100);
    struct txn_request nested = {.failure = inner, .n_failure = 28};
    struct txn_request t = {.success = outer, .n_success = 100};

    outer[99] = (struct txn_op)TXN(&nested);
    assert_int_equal(txn_request_check(&t), 0);
    /* Each nested txn of a list has the whole remainder. */
    outer[98] = (struct txn_op)TXN(&nested);
    assert_int_equal(txn_request_check(&t), 0);
    nested.n_failure = 29;
    assert_int_equal(txn_request_check(&t), DECREE_ETOO_MANY_OPS);
}

TEST(txn_request, nesting_is_bounded)
{
    struct txn_op ops[TXN_DEPTH_MAX + 1];
    struct txn_request txns[TXN_DEPTH_MAX + 1];

    for (int i = 0; i <= TXN_DEPTH_MAX; i++) {
        txns[i] = (struct txn_request){.success = &ops[i], .n_success = 1};
        ops[i] = (struct txn_op){.kind = OP_TXN, .txn = i < TXN_DEPTH_MAX ? &txns[i + 1] : NULL};
    }
    ops[TXN_DEPTH_MAX] = (struct txn_op)GET("k");
    assert_int_equal(txn_request_check(&txns[1]), 0);
    assert_int_equal(txn_request_check(&txns[0]), DECREE_ETOO_MANY_OPS);
}

TEST(txn_request, a_key_is_not_put_twice_nor_put_and_deleted)
{
    assert_int_equal(check(THEN(PUT("a"), PUT("b"), PUT("ab"))), 0);
    assert_int_equal(check(THEN(PUT("a"), PUT("b"), PUT("a"))), DECREE_EDUPLICATE_KEY);
    assert_int_equal(check(THEN(PUT("a"), DEL("a", ""))), DECREE_EDUPLICATE_KEY);
    assert_int_equal(check(THEN(DEL("a", ""), PUT("a"))), DECREE_EDUPLICATE_KEY);
    assert_int_equal(check(THEN(DEL("a", ""), PUT("a\0"))), 0);
    assert_int_equal(check(THEN(DEL("a", "c"), PUT("b"))), DECREE_EDUPLICATE_KEY);
    assert_int_equal(check(THEN(DEL("a", "c"), PUT("a"))), DECREE_EDUPLICATE_KEY);
    assert_int_equal(check(THEN(DEL("a", "c"), PUT("c"))), 0);
    /* Deletes may overlap, and one that ends hides none that goes on. */
    assert_int_equal(check(THEN(DEL("a", "c"), DEL("a", "z"), DEL("b", ""))), 0);
    assert_int_equal(check(THEN(DEL("a", "z"), DEL("b", "c"), PUT("d"))), DECREE_EDUPLICATE_KEY);
    assert_int_equal(check(THEN(GET("a"), PUT("a"), GET("a"))), 0);
}

TEST(txn_request, deletes_of_nothing_or_of_all_from_a_key_are_not_looked_at)
{
    assert_int_equal(check(THEN(DEL("b", "a"), PUT("b"))), 0);
    assert_int_equal(check(THEN(DEL("\0", "\0"), PUT("b"))), 0);
    assert_int_equal(check(THEN(DEL("b", "\0"), PUT("b"), PUT("c"))), 0);
}

TEST(txn_request, the_branches_of_a_txn_exclude_each_other)
{
    struct txn_request both = {
        .success = OPS(PUT("a"), DEL("b", "c")),
        .n_success = 2,
        .failure = OPS(PUT("b"), DEL("a", "")),
        .n_failure = 2,
    };
    struct txn_request same = {
        .success = OPS(PUT("a")), .n_success = 1, .failure = OPS(PUT("a")), .n_failure = 1};

    assert_int_equal(txn_request_check(&both), 0);
    assert_int_equal(check(THEN(TXN(&both))), 0);
    assert_int_equal(check(THEN(TXN(&same), PUT("z"))), 0);
    assert_int_equal(check(THEN(TXN(&same), PUT("a"))), DECREE_EDUPLICATE_KEY);
    assert_int_equal(check(THEN(TXN(&same), TXN(&same))), DECREE_EDUPLICATE_KEY);
}

TEST(txn_request, duplicates_are_found_across_nesting)
{
    struct txn_request put = THEN(PUT("k"));
    struct txn_request del = THEN(DEL("j", "l"));
    struct txn_request deep_put = THEN(TXN(&put));
    struct txn_request deep_del = THEN(GET("x"), TXN(&del));

    assert_int_equal(check(THEN(TXN(&deep_put), PUT("k"))), DECREE_EDUPLICATE_KEY);
    assert_int_equal(check(THEN(PUT("k"), TXN(&deep_put))), DECREE_EDUPLICATE_KEY);
    assert_int_equal(check(THEN(TXN(&deep_put), DEL("k", ""))), DECREE_EDUPLICATE_KEY);
    assert_int_equal(check(THEN(DEL("k", ""), TXN(&deep_put))), DECREE_EDUPLICATE_KEY);
    assert_int_equal(check(THEN(PUT("k"), TXN(&deep_del))), DECREE_EDUPLICATE_KEY);
    assert_int_equal(check(THEN(TXN(&deep_del), PUT("k"))), DECREE_EDUPLICATE_KEY);
    /* Of two nested txns only a put after the delete is refused, as by etcd. */
    assert_int_equal(check(THEN(TXN(&deep_del), TXN(&deep_put))), DECREE_EDUPLICATE_KEY);
    assert_int_equal(check(THEN(TXN(&deep_put), TXN(&deep_del))), 0);
}

TEST(txn_request, readonly_and_serializable_look_into_nested_txns_and_both_branches)
{
    struct txn_op fast = {.kind = OP_RANGE, .range = {.key = B("k"), .serializable = true}};
    struct txn_request inner = {.success = &fast, .n_success = 1};
    struct txn_request writes = {.failure = OPS(DEL("k", "")), .n_failure = 1};
    struct txn_request t = THEN(TXN(&inner));

    assert_true(txn_request_is_readonly(&t));
    assert_true(txn_request_is_serializable(&t));
    inner.failure = OPS(GET("k"));
    inner.n_failure = 1;
    assert_true(txn_request_is_readonly(&t));
    assert_false(txn_request_is_serializable(&t));
    t = THEN(GET("k"), TXN(&writes));
    assert_false(txn_request_is_readonly(&t));
    assert_false(txn_request_is_serializable(&t));
    t = THEN(PUT("k"));
    assert_false(txn_request_is_readonly(&t));
    assert_true(txn_request_is_readonly(&(struct txn_request){0}));
}

TEST_MAIN(UNIT(key_range, an_empty_end_is_one_key_a_zero_end_is_all_from_there),
    UNIT(key_range, an_interval_whose_end_is_not_beyond_its_start_is_empty),
    UNIT(range_request, needs_a_key_and_a_known_sort),
    UNIT(put_request, ignored_parts_must_not_be_given),
    UNIT(txn_request, every_operation_is_checked_in_both_branches),
    UNIT(txn_request, shape_errors_come_before_duplicate_keys),
    UNIT(txn_request, each_list_holds_128_operations),
    UNIT(txn_request, nested_lists_share_what_the_longest_list_leaves),
    UNIT(txn_request, nesting_is_bounded),
    UNIT(txn_request, a_key_is_not_put_twice_nor_put_and_deleted),
    UNIT(txn_request, deletes_of_nothing_or_of_all_from_a_key_are_not_looked_at),
    UNIT(txn_request, the_branches_of_a_txn_exclude_each_other),
    UNIT(txn_request, duplicates_are_found_across_nesting),
    UNIT(txn_request, readonly_and_serializable_look_into_nested_txns_and_both_branches))
