#include "unit.h"

#include <errno.h>

#include "api_limits.h"
#include "decode.h"
#include "encode.h"
#include "err.h"
#include "grpc_text.h"
#include "json_proto.h"
#include "method.h"
#include "proto_guard.h"
#include "rpc.pb-c.h"

/* ---- the guard ---- */

static const ProtobufCMessageDescriptor *const txn_type = &etcdserverpb__txn_request__descriptor;

/* A txn whose only op is a txn …, `levels` messages deep in all (levels odd: ends in a txn). */
static struct buf *nested(unsigned levels)
{
    struct pbw w;
    size_t at;
    struct buf *b;

    pbw_init(&w, 0);
    for (unsigned i = levels; i > 1; i--) {
        pbw_message(&w, i % 2 == 0 ? 2 : 4, 0); /* success, request_txn */
    }
    b = pbw_take(&w, &at);
    memmove(b->data, b->data + at, b->len - at);
    b->len -= (uint32_t)at;
    return b;
}

static enum proto_guard_result guard_nested(unsigned levels)
{
    _cleanup_buf_ struct buf *b = nested(levels);

    return proto_guard(txn_type, buf_bytes(b));
}

TEST(proto_guard, depth_is_bounded)
{
    assert_int_equal(guard_nested(1), PROTO_OK);
    assert_int_equal(guard_nested(PROTO_DEPTH_MAX), PROTO_OK);
    assert_int_equal(guard_nested(PROTO_DEPTH_MAX + 1), PROTO_TOO_DEEP);
    assert_int_equal(guard_nested(10000), PROTO_TOO_DEEP);
}

TEST(proto_guard, broken_bytes_are_malformed)
{
    static const struct bytes broken[] = {
        BYTES_LITERAL("\x0a"), /* no length */
        BYTES_LITERAL("\x0a\x05"
                      "a"),                                                /* too short */
        BYTES_LITERAL("\x00\x01"),                                         /* field 0 */
        BYTES_LITERAL("\x0b\x0c"),                                         /* a group */
        BYTES_LITERAL("\x0f"),                                             /* no such wire type */
        BYTES_LITERAL("\x09\x01\x02"),                                     /* 64 bits, cut off */
        BYTES_LITERAL("\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), /* 11-byte varint */
    };

    for (size_t i = 0; i < ARRAY_SIZE(broken); i++) {
        assert_int_equal(
            proto_guard(&etcdserverpb__range_request__descriptor, broken[i]), PROTO_MALFORMED);
    }
}

TEST(proto_guard, number_of_fields_is_bounded)
{
    _cleanup_strbuf_ struct strbuf s = {0};

    for (int i = 0; i < PROTO_FIELDS_MAX; i++) {
        strbuf_append(&s, "\x12\x00", 2);
    }
    assert_int_equal(proto_guard(txn_type, strbuf_bytes(&s)), PROTO_OK);
    strbuf_append(&s, "\x12\x00", 2);
    assert_int_equal(proto_guard(txn_type, strbuf_bytes(&s)), PROTO_TOO_MANY);
}

TEST(proto_guard, decoder_stays_within_the_arena)
{
    _cleanup_arena_ struct arena arena = {.limit = 4096};
    _cleanup_strbuf_ struct strbuf s = {0};
    ProtobufCMessage *m = NULL;

    for (int i = 0; i < 1000; i++) {
        strbuf_append(&s, "\x12\x00", 2);
    }
    assert_int_equal(proto_decode(txn_type, strbuf_bytes(&s), &arena, &m), PROTO_MALFORMED);
    assert_null(m);
}

/* ---- the writer ---- */

TEST(proto_write, bytes_are_protobufs)
{
    static const int64_t numbers[] = {0, 1, 127, 128, -1, INT64_MAX, INT64_MIN};

    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        struct kv kv = {.key = BYTES_LITERAL("key"),
            .value = BYTES_LITERAL("a value"),
            .create_revision = numbers[i],
            .mod_revision = 7,
            .version = 2,
            .lease = numbers[i]};
        struct store_reply reply = {.header = {1, 2, numbers[i], 4}};
        _cleanup_arena_ struct arena arena = {0};
        ProtobufCMessage *m = NULL;
        const Etcdserverpb__RangeResponse *r;
        struct pbw w;

        reply.range = (struct range_reply){.kvs = &kv, .n_kvs = 1, .more = true, .count = 300};
        pbw_init(&w, 0); /* it has to grow */
        encode_reply(&w, STORE_RANGE, &reply);
        assert_int_equal(
            proto_decode(&etcdserverpb__range_response__descriptor, pbw_view(&w), &arena, &m),
            PROTO_OK);
        r = (const Etcdserverpb__RangeResponse *)m;
        assert_true(r->header->cluster_id == 1 && r->header->member_id == 2 &&
            r->header->revision == numbers[i] && r->header->raft_term == 4);
        assert_true(r->count == 300 && r->more && r->n_kvs == 1);
        assert_true(r->kvs[0]->create_revision == numbers[i] && r->kvs[0]->lease == numbers[i]);
        assert_memory_equal(r->kvs[0]->value.data, "a value", 7);
        /* And the other library writes the same. */
        assert_int_equal(protobuf_c_message_get_packed_size(m), pbw_size(&w));
        pbw_deinit(&w);
    }
}

TEST(proto_write, estimate_holds_a_large_reply)
{
    static char value[100000];
    struct kv kvs[3];
    struct store_reply reply = {.range = {.kvs = kvs, .n_kvs = 3, .count = 3}};
    struct pbw w;
    const struct buf *before;

    for (size_t i = 0; i < 3; i++) {
        kvs[i] = (struct kv){.key = BYTES_LITERAL("k"), .value = bytes_make(value, sizeof(value))};
    }
    pbw_init(&w, encode_reply_estimate(STORE_RANGE, &reply));
    before = w.buf;
    encode_reply(&w, STORE_RANGE, &reply);
    assert_ptr_equal(w.buf, before);
    pbw_deinit(&w);
}

TEST(encode, event_is_an_element_of_the_response)
{
    struct watch_event e = {
        .is_delete = true, .kv = {.key = BYTES_LITERAL("k"), .mod_revision = 9}};
    struct watch_response head = {.header = {1, 2, 9, 3}, .watch_id = 5};
    _cleanup_buf_ struct buf *event = encode_event(&e, true);
    _cleanup_strbuf_ struct strbuf text = {0}, whole = {0};
    struct pbw w;

    pbw_init(&w, 0);
    encode_watch_response(&w, &head);
    strbuf_append_bytes(&whole, pbw_view(&w));
    strbuf_append_bytes(&whole, buf_bytes(event));
    strbuf_append_bytes(&whole, buf_bytes(event));
    json_from_proto(&etcdserverpb__watch_response__descriptor, strbuf_bytes(&whole), &text);
    assert_string_equal(strbuf_cstr(&text),
        "{\"header\":{\"cluster_id\":\"1\",\"member_id\":\"2\",\"revision\":\"9\",\"raft_term\":"
        "\"3\"},"
        "\"watch_id\":\"5\",\"events\":[{\"type\":\"DELETE\",\"kv\":{\"key\":\"aw==\","
        "\"mod_revision\":\"9\"}},{\"type\":\"DELETE\",\"kv\":{\"key\":\"aw==\","
        "\"mod_revision\":\"9\"}}]}");
    pbw_deinit(&w);
}

/* ---- JSON ---- */

static int parse(const char *text, struct arena *arena, Etcdserverpb__RangeRequest **ret)
{
    return json_to_proto(&etcdserverpb__range_request__descriptor, bytes_str(text), arena,
        (ProtobufCMessage **)ret, NULL);
}

TEST(json, accepts_what_the_contract_says)
{
    static const char *const same[] = {
        "{\"key\":\"YQ==\",\"range_end\":\"Yg==\",\"limit\":5,\"sort_order\":\"DESCEND\",\"keys_"
        "only\":true}",
        "{\"key\":\"YQ==\",\"rangeEnd\":\"Yg==\",\"limit\":\"5\",\"sortOrder\":2,\"keysOnly\":"
        "true}",
        "{\"keys_only\":true,\"unknown\":[{\"x\":1}],\"revision\":null,\"limit\":5,\"sort_order\":"
        "2,"
        "\"range_end\":\"Yg==\",\"key\":\"YQ==\"} ",
    };

    for (size_t i = 0; i < ARRAY_SIZE(same); i++) {
        _cleanup_arena_ struct arena arena = {0};
        Etcdserverpb__RangeRequest *m = NULL;

        assert_int_equal(parse(same[i], &arena, &m), 0);
        assert_true(m->key.len == 1 && m->key.data[0] == 'a');
        assert_true(m->range_end.len == 1 && m->range_end.data[0] == 'b');
        assert_true(m->limit == 5 && m->keys_only && !m->count_only);
        assert_int_equal(m->sort_order, ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND);
    }
}

TEST(json, refuses_what_is_wrong)
{
    static const char *const wrong[] = {"{", "[]", "5", "{\"key\":5}", "{\"key\":\"a\"}",
        "{\"key\":\"YQ\"}", "{\"key\":\"Y Q=\"}", "{\"key\":\"-_==\"}", "{\"limit\":\"x\"}",
        "{\"limit\":\" 1\"}", "{\"limit\":\"\"}", "{\"limit\":1.0}", "{\"limit\":true}",
        "{\"limit\":9223372036854775808}", "{\"limit\":\"9223372036854775808\"}",
        "{\"sort_order\":\"UP\"}", "{\"sort_order\":4294967296}", "{\"keys_only\":\"true\"}",
        "{\"key\":\"YQ==\",\"key\":\"YQ==\"}", "{} {}", "{\"key\":\"YQ==\\u0000\"}",
        "{\"key\":\"\xff\"}"};

    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        _cleanup_arena_ struct arena arena = {0};
        Etcdserverpb__RangeRequest *m = NULL;
        int r = parse(wrong[i], &arena, &m);

        if (r != DECREE_EBAD_REQUEST) {
            fail_msg("accepted: %s", wrong[i]);
        }
    }
}

TEST(json, a_choice_is_made_once)
{
    static const char text[] =
        "{\"request_put\":{\"key\":\"YQ==\"},\"request_range\":{\"key\":\"YQ==\"}}";
    _cleanup_arena_ struct arena arena = {0};
    ProtobufCMessage *m = NULL;

    assert_int_equal(
        json_to_proto(&etcdserverpb__request_op__descriptor, bytes_str(text), &arena, &m, NULL),
        DECREE_EBAD_REQUEST);
}

static int parse_levels(int levels)
{
    _cleanup_strbuf_ struct strbuf text = {0};
    _cleanup_arena_ struct arena arena = {0};
    Etcdserverpb__RangeRequest *m = NULL;

    strbuf_append_str(&text, "{\"x\":");
    for (int i = 1; i < levels; i++) {
        strbuf_append_char(&text, '[');
    }
    for (int i = 1; i < levels; i++) {
        strbuf_append_char(&text, ']');
    }
    strbuf_append_str(&text, levels == 1 ? "1}" : "}");
    return parse(strbuf_cstr(&text), &arena, &m);
}

TEST(json, depth_is_bounded)
{
    assert_int_equal(parse_levels(1), 0);
    assert_int_equal(parse_levels(JSON_DEPTH_MAX), 0);
    assert_int_equal(parse_levels(JSON_DEPTH_MAX + 1), DECREE_EBAD_REQUEST);
    assert_int_equal(parse_levels(100000), DECREE_EBAD_REQUEST);
}

TEST(json, number_of_elements_is_bounded)
{
    _cleanup_strbuf_ struct strbuf text = {0};
    _cleanup_arena_ struct arena arena = {0};
    ProtobufCMessage *m = NULL;

    strbuf_append_str(&text, "{\"success\":[{}");
    for (int i = 0; i < PROTO_FIELDS_MAX; i++) {
        strbuf_append_str(&text, ",{}");
    }
    strbuf_append_str(&text, "]}");
    assert_int_equal(
        json_to_proto(txn_type, strbuf_bytes(&text), &arena, &m, NULL), DECREE_ETOO_MANY_OPS);
}

TEST(json, scan_finds_the_end_of_each_value_at_any_split)
{
    static const char text[] = " {\"a\":\"}\\\"{\"}\n[1,{}] {}";
    static const size_t ends[] = {13, 20, 23};

    for (size_t step = 1; step < sizeof(text); step++) {
        struct json_scan scan = {0};
        size_t at = 0, value = 0;

        while (at < sizeof(text) - 1) {
            size_t n = MIN(step, sizeof(text) - 1 - at), used;

            if (json_scan(&scan, bytes_make(text + at, n), &used) == JSON_SCAN_VALUE) {
                at += used;
                assert_true(value < ARRAY_SIZE(ends));
                assert_int_equal(at, ends[value++]);
            } else {
                at += n;
            }
        }
        assert_int_equal(value, ARRAY_SIZE(ends));
    }
}

TEST(json, strings_are_escaped)
{
    _cleanup_strbuf_ struct strbuf s = {0};

    json_quote(&s, BYTES_LITERAL("a\"b\\c\n\x01\x7f/\xc3\xbc"));
    assert_string_equal(strbuf_cstr(&s), "\"a\\\"b\\\\c\\n\\u0001\\u007f/\xc3\xbc\"");
}

/* ---- decoding ---- */

static int decode_json(
    const struct method *m, const char *text, struct arena *arena, struct store_call *call)
{
    ProtobufCMessage *message = NULL;
    int r = json_to_proto(m->request, bytes_str(text), arena, &message, NULL);

    return r < 0 ? r : m->decode(message, arena, call);
}

TEST(decode, both_forms_give_the_same_request)
{
    const struct method *txn = method_by_json_path(BYTES_LITERAL("/kv/txn"));
    static const char text[] =
        "{\"compare\":[{\"target\":\"VALUE\",\"result\":\"GREATER\",\"key\":\"aw==\",\"value\":"
        "\"dg==\"}],"
        "\"success\":[{\"request_txn\":{\"failure\":[{\"request_put\":{\"key\":\"eA==\",\"lease\":"
        "\"7\"}}]"
        "}},{}],\"failure\":[{\"requestDeleteRange\":{\"key\":\"eQ==\",\"prev_kv\":true}}]}";
    _cleanup_arena_ struct arena arena = {0};
    struct store_call a = {0}, b = {0};
    ProtobufCMessage *m = NULL, *again = NULL;
    uint8_t packed[512];
    size_t n;

    assert_int_equal(decode_json(txn, text, &arena, &a), 0);
    assert_int_equal(json_to_proto(txn->request, bytes_str(text), &arena, &m, NULL), 0);
    n = protobuf_c_message_pack(m, packed);
    assert_int_equal(proto_decode(txn->request, bytes_make(packed, n), &arena, &again), PROTO_OK);
    assert_int_equal(txn->decode(again, &arena, &b), 0);
    for (int i = 0; i < 2; i++) {
        const struct txn_request *t = i == 0 ? &a.txn : &b.txn;

        assert_true(t->n_compares == 1 && t->n_success == 2 && t->n_failure == 1);
        assert_int_equal(t->compares[0].target, COMPARE_VALUE);
        assert_true(bytes_eq(t->compares[0].value, BYTES_LITERAL("v")));
        assert_int_equal(t->success[0].kind, OP_TXN);
        assert_int_equal(t->success[0].txn->failure[0].put.lease, 7);
        assert_int_equal(t->success[1].kind, OP_NONE);
        assert_true(t->failure[0].kind == OP_DELETE && t->failure[0].del.prev_kv);
    }
}

TEST(decode, unknown_compare_is_refused)
{
    const struct method *txn = method_by_json_path(BYTES_LITERAL("/kv/txn"));
    _cleanup_arena_ struct arena arena = {0};
    struct store_call call = {0};

    assert_int_equal(
        decode_json(txn, "{\"compare\":[{\"result\":4}]}", &arena, &call), DECREE_EBAD_REQUEST);
    assert_int_equal(
        decode_json(txn, "{\"compare\":[{\"target\":-1}]}", &arena, &call), DECREE_EBAD_REQUEST);
}

/* ---- the table ---- */

TEST(method, every_row_is_whole_and_found_by_its_paths)
{
    for (size_t i = 0; i < METHOD_COUNT; i++) {
        const struct method *m = &methods[i];
        bool has_decode = m->kind == METHOD_STORE || m->kind == METHOD_KEEPALIVE;

        assert_int_not_equal(m->right, API_RIGHT_UNDECLARED);
        assert_true(has_decode == (m->decode != NULL));
        assert_ptr_equal(method_by_grpc_path(bytes_str(m->grpc_path)), m);
        assert_true(method_service_exists(bytes_str(m->service)));
        if (m->json_path != NULL) {
            assert_ptr_equal(method_by_json_path(bytes_str(m->json_path)), m);
        }
        if (m->json_alias != NULL) {
            assert_ptr_equal(method_by_json_path(bytes_str(m->json_alias)), m);
        }
    }
    assert_null(method_by_grpc_path(BYTES_LITERAL("/etcdserverpb.KV/range")));
    assert_null(method_by_json_path((struct bytes){0}));
}

/* ---- texts ---- */

TEST(grpc_text, timeouts)
{
    assert_int_equal(grpc_timeout_ms(BYTES_LITERAL("1H")), 3600000);
    assert_int_equal(grpc_timeout_ms(BYTES_LITERAL("2M")), 120000);
    assert_int_equal(grpc_timeout_ms(BYTES_LITERAL("3S")), 3000);
    assert_int_equal(grpc_timeout_ms(BYTES_LITERAL("250m")), 250);
    assert_int_equal(grpc_timeout_ms(BYTES_LITERAL("4999875u")), 5000);
    assert_int_equal(grpc_timeout_ms(BYTES_LITERAL("1n")), 1);
    assert_int_equal(grpc_timeout_ms(BYTES_LITERAL("0m")), 1);
    assert_int_equal(grpc_timeout_ms(BYTES_LITERAL("99999999H")), INT64_C(359999996400000));
    assert_int_equal(grpc_timeout_ms(BYTES_LITERAL("100000000m")), -EINVAL);
    assert_int_equal(grpc_timeout_ms(BYTES_LITERAL("m")), -EINVAL);
    assert_int_equal(grpc_timeout_ms(BYTES_LITERAL("5")), -EINVAL);
    assert_int_equal(grpc_timeout_ms(BYTES_LITERAL("-5m")), -EINVAL);
    assert_int_equal(grpc_timeout_ms(BYTES_LITERAL("5x")), -EINVAL);
}

TEST(grpc_text, messages_are_percent_encoded)
{
    _cleanup_strbuf_ struct strbuf s = {0};

    grpc_percent_encode(&s, BYTES_LITERAL("50% \xc3\xbc\n~"));
    assert_string_equal(strbuf_cstr(&s), "50%25 %C3%BC%0A~");
}

TEST(grpc_text, error_bodies_are_the_union_of_versions)
{
    _cleanup_strbuf_ struct strbuf s = {0};

    json_error_body(&s, 11, "a \"b\"");
    assert_string_equal(
        strbuf_cstr(&s), "{\"error\":\"a \\\"b\\\"\",\"message\":\"a \\\"b\\\"\",\"code\":11}");
    strbuf_clear(&s);
    json_stream_error(&s, 14, "x");
    assert_string_equal(strbuf_cstr(&s),
        "{\"error\":{\"grpc_code\":14,\"http_code\":503,\"message\":\"x\","
        "\"http_status\":\"Service Unavailable\",\"code\":14}}\n");
}

TEST_MAIN(UNIT(proto_guard, depth_is_bounded), UNIT(proto_guard, broken_bytes_are_malformed),
    UNIT(proto_guard, number_of_fields_is_bounded),
    UNIT(proto_guard, decoder_stays_within_the_arena), UNIT(proto_write, bytes_are_protobufs),
    UNIT(proto_write, estimate_holds_a_large_reply),
    UNIT(encode, event_is_an_element_of_the_response), UNIT(json, accepts_what_the_contract_says),
    UNIT(json, refuses_what_is_wrong), UNIT(json, a_choice_is_made_once),
    UNIT(json, depth_is_bounded), UNIT(json, number_of_elements_is_bounded),
    UNIT(json, scan_finds_the_end_of_each_value_at_any_split), UNIT(json, strings_are_escaped),
    UNIT(decode, both_forms_give_the_same_request), UNIT(decode, unknown_compare_is_refused),
    UNIT(method, every_row_is_whole_and_found_by_its_paths), UNIT(grpc_text, timeouts),
    UNIT(grpc_text, messages_are_percent_encoded),
    UNIT(grpc_text, error_bodies_are_the_union_of_versions))
