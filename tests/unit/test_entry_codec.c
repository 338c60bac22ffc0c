/* The bytes of log entries: what goes in comes out, flag by flag, and what is beyond a limit is
 * refused on both sides. */
#include <string.h>

#include "codec.h"
#include "entry_codec.h"
#include "unit.h"

static struct buf *encode(const struct entry *e)
{
    struct buf *b = NULL;

    assert_int_equal(entry_encode(e, &b), 0);
    return b;
}

/* Encodes, decodes, and encodes again to the same. The result lies in arena and *ret_bytes. */
static struct entry round_trip(const struct entry *e, struct arena *arena, struct buf **ret_bytes)
{
    struct buf *again;
    struct entry d;

    *ret_bytes = encode(e);
    assert_int_equal(entry_decode(buf_bytes(*ret_bytes), arena, &d), 0);
    again = encode(&d);
    assert_true(bytes_eq(buf_bytes(*ret_bytes), buf_bytes(again)));
    buf_unref(again);
    assert_int_equal(d.type, e->type);
    return d;
}

TEST(entry, each_flag_of_a_put_is_its_own)
{
    for (unsigned flags = 0; flags < 8; flags++) {
        struct entry e = {.type = ENTRY_PUT,
            .put = {.key = BYTES_LITERAL("k"),
                .prev_kv = (flags & 1) != 0,
                .ignore_value = (flags & 2) != 0,
                .ignore_lease = (flags & 4) != 0}};
        _cleanup_arena_ struct arena arena = {0};
        _cleanup_buf_ struct buf *bytes = NULL;
        struct entry d = round_trip(&e, &arena, &bytes);

        assert_int_equal(d.put.prev_kv, e.put.prev_kv);
        assert_int_equal(d.put.ignore_value, e.put.ignore_value);
        assert_int_equal(d.put.ignore_lease, e.put.ignore_lease);
    }
}

TEST(entry, a_txn_keeps_every_kind_of_op_and_each_flag)
{
    struct txn_op inner[] = {{.kind = OP_DELETE, .del = {.key = BYTES_LITERAL("d")}}};
    struct txn_request nested = {.failure = inner, .n_failure = 1};
    struct compare compares[] = {{.target = COMPARE_VALUE, .value = BYTES_LITERAL("v")},
        {.target = COMPARE_LEASE, .result = COMPARE_LESS, .number = -5}};
    struct txn_op ops[] = {
        {.kind = OP_RANGE, .range = {.key = BYTES_LITERAL("r"), .keys_only = true, .limit = 7}},
        {.kind = OP_RANGE, .range = {.key = BYTES_LITERAL("r"), .count_only = true}},
        {.kind = OP_RANGE,
            .range = {.key = BYTES_LITERAL("r"),
                .serializable = true,
                .sort_order = SORT_DESCEND,
                .sort_target = SORT_VALUE}},
        {.kind = OP_PUT, .put = {.key = BYTES_LITERAL("p"), .lease = 9}},
        {.kind = OP_TXN, .txn = &nested},
    };
    struct entry e = {.type = ENTRY_TXN,
        .txn = {.compares = compares, .n_compares = 2, .success = ops, .n_success = 5}};
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_buf_ struct buf *bytes = NULL;
    struct entry d = round_trip(&e, &arena, &bytes);

    assert_int_equal(d.txn.n_success, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(d.txn.success[i].kind, ops[i].kind);
    }
    assert_true(d.txn.success[0].range.keys_only && !d.txn.success[0].range.count_only);
    assert_true(d.txn.success[1].range.count_only && !d.txn.success[1].range.keys_only);
    assert_int_equal(d.txn.success[2].range.sort_target, SORT_VALUE);
    assert_int_equal(d.txn.success[4].txn->n_failure, 1);
    assert_int_equal(d.txn.compares[1].number, -5);
    assert_true(bytes_eq(d.txn.compares[0].value, BYTES_LITERAL("v")));
}

/* Clients may send one; it is refused before anything is proposed. */
TEST(entry, an_op_without_a_request_is_in_no_log)
{
    struct txn_op none = {.kind = OP_NONE};
    struct entry d, e = {.type = ENTRY_TXN, .txn = {.success = &none, .n_success = 1}};
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_buf_ struct buf *b = encode(&e);

    assert_int_equal(entry_decode(buf_bytes(b), &arena, &d), DECREE_EBAD_REQUEST);
}

static void nest(struct txn_request *txns, struct txn_op *ops, size_t depth)
{
    memset(txns, 0, (depth + 1) * sizeof(*txns));
    for (size_t i = 0; i < depth; i++) {
        ops[i] = (struct txn_op){.kind = OP_TXN, .txn = &txns[i + 1]};
        txns[i].success = &ops[i];
        txns[i].n_success = 1;
    }
}

/* A decoder meets what no encoder writes: the same bytes nested once more. */
TEST(entry, a_txn_that_nests_too_deep_is_refused_on_both_sides)
{
    enum { DEEP = 20 };
    struct txn_request txns[DEEP + 1];
    struct txn_op ops[DEEP];
    struct entry e = {.type = ENTRY_TXN};
    struct buf *b = NULL;
    size_t deepest = 0;

    for (size_t depth = 1; depth <= DEEP; depth++) {
        int rc;

        nest(txns, ops, depth);
        e.txn = txns[0];
        rc = entry_encode(&e, &b);
        if (rc != 0) {
            assert_int_equal(rc, DECREE_EBAD_REQUEST);
            break;
        }
        deepest = depth;
        b = buf_unref(b);
    }
    assert_int_equal(deepest, TXN_DEPTH_MAX - 1); /* inner ones; it is counted itself */
    nest(txns, ops, deepest);
    e.txn = txns[0];
    b = encode(&e);
    {
        /* type, origin, sequence; then a txn is: compares, ops, ops. One more around it. */
        static const uint8_t around[] = {0, 1, OP_TXN};
        _cleanup_strbuf_ struct strbuf deeper = {0};
        _cleanup_arena_ struct arena arena = {0};
        struct entry d;

        strbuf_append(&deeper, b->data, 17);
        strbuf_append(&deeper, around, sizeof(around));
        strbuf_append(&deeper, b->data + 17, b->len - 17);
        strbuf_append_char(&deeper, 0);
        assert_int_equal(entry_decode(strbuf_bytes(&deeper), &arena, &d), DECREE_EBAD_REQUEST);
    }
    buf_unref(b);
}

static int publish(size_t n_urls, size_t url_bytes, size_t name_bytes)
{
    static uint8_t long_text[ENTRY_URL_BYTES_MAX + 1];
    struct bytes urls[ENTRY_URLS_MAX + 1];
    struct entry d, e = {.type = ENTRY_PUBLISH};
    _cleanup_arena_ struct arena arena = {0};
    struct buf *b = NULL;
    int rc;

    memset(long_text, 'u', sizeof(long_text));
    for (size_t i = 0; i < n_urls; i++) {
        urls[i] = bytes_make(long_text, url_bytes);
    }
    e.publish.member = 5;
    e.publish.name = bytes_make(long_text, name_bytes);
    e.publish.client_urls = urls;
    e.publish.n_client_urls = n_urls;
    rc = entry_encode(&e, &b);
    assert_int_equal(rc, 0);
    rc = entry_decode(buf_bytes(b), &arena, &d);
    if (rc == 0) {
        assert_int_equal(d.publish.n_client_urls, n_urls);
        assert_int_equal(d.publish.name.len, name_bytes);
    }
    buf_unref(b);
    return rc;
}

TEST(entry, names_and_urls_beyond_their_limits_are_refused)
{
    assert_int_equal(publish(ENTRY_URLS_MAX, ENTRY_URL_BYTES_MAX, ENTRY_URL_BYTES_MAX), 0);
    assert_int_equal(publish(ENTRY_URLS_MAX + 1, 5, 5), DECREE_EBAD_REQUEST);
    assert_int_equal(publish(1, ENTRY_URL_BYTES_MAX + 1, 5), DECREE_EBAD_REQUEST);
    assert_int_equal(publish(1, 5, ENTRY_URL_BYTES_MAX + 1), DECREE_EBAD_REQUEST);
}

TEST(entry, a_request_beyond_the_limit_is_too_large)
{
    struct buf *value = buf_new(REQUEST_BYTES_MAX), *b = NULL;
    struct entry e = {.type = ENTRY_PUT, .put = {.key = BYTES_LITERAL("k")}};

    memset(value->data, 0, value->len);
    e.put.value = buf_bytes(value);
    assert_int_equal(entry_encode(&e, &b), DECREE_ETOO_LARGE);
    e.put.value.len -= 100;
    b = encode(&e);
    buf_unref(b);
    buf_unref(value);
}

TEST(entry, an_unknown_type_is_an_outcome_of_its_own)
{
    struct entry d, e = {.type = ENTRY_COMPACT, .compact = {5, true}};
    _cleanup_buf_ struct buf *b = encode(&e);
    _cleanup_arena_ struct arena arena = {0};

    for (unsigned type = 0; type < 256; type++) {
        b->data[0] = (uint8_t)type;
        if (type == 0 || type >= ENTRY_TYPE_END) {
            assert_int_equal(entry_decode(buf_bytes(b), &arena, &d), ENTRY_UNKNOWN_TYPE);
        }
    }
    b->data[0] = ENTRY_COMPACT;
    for (size_t len = 0; len < b->len; len++) {
        assert_int_not_equal(entry_decode(bytes_make(b->data, len), &arena, &d), 0);
    }
}

TEST_MAIN(UNIT(entry, each_flag_of_a_put_is_its_own),
    UNIT(entry, a_txn_keeps_every_kind_of_op_and_each_flag),
    UNIT(entry, an_op_without_a_request_is_in_no_log),
    UNIT(entry, a_txn_that_nests_too_deep_is_refused_on_both_sides),
    UNIT(entry, names_and_urls_beyond_their_limits_are_refused),
    UNIT(entry, a_request_beyond_the_limit_is_too_large),
    UNIT(entry, an_unknown_type_is_an_outcome_of_its_own))
