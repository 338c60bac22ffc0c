/* The load generator's histogram and messages: a figure is only as good as these. */
#include "unit.h"

#include <string.h>

#include "histogram.h"
#include "load.h"
#include "message.h"

TEST(histogram, percentiles_are_within_two_percent)
{
    static struct histogram h;

    for (uint64_t v = 1; v <= 1000000; v++) {
        histogram_add(&h, v * 1000);
    }
    assert_int_equal(h.count, 1000000);
    assert_int_equal(h.max, 1000000000);
    for (int p = 1; p <= 99; p++) {
        double wanted = (double)p * 1e7, got = (double)histogram_percentile(&h, p / 100.0);

        assert_true(got > wanted * 0.98 && got < wanted * 1.02);
    }
    assert_int_equal(histogram_percentile(&h, 1), 1000000000);
    assert_true(histogram_mean(&h) > 500000499 && histogram_mean(&h) < 500000501);
}

TEST(histogram, extremes_have_a_bucket)
{
    static struct histogram h;

    assert_int_equal(histogram_percentile(&h, 0.5), 0);
    histogram_add(&h, 0);
    assert_int_equal(histogram_percentile(&h, 0.5), 0);
    histogram_add(&h, UINT64_MAX);
    assert_true(histogram_percentile(&h, 1) > UINT64_MAX / 100 * 98);
}

static void assert_bytes(const struct strbuf *s, const char *wanted, size_t len)
{
    assert_int_equal(s->len, len);
    assert_memory_equal(s->data, wanted, len);
}

#define ASSERT_WIRE(s, text) assert_bytes(s, text, sizeof(text) - 1)

TEST(message, requests_are_the_protobuf_that_protoc_writes)
{
    struct bytes key = BYTES_LITERAL("k1"), value = BYTES_LITERAL("v");
    _cleanup_strbuf_ struct strbuf s = {0};

    message_put(&s, key, value);
    ASSERT_WIRE(&s, "\x0a\x02k1\x12\x01v");
    strbuf_clear(&s);
    message_range(&s, key, BYTES_LITERAL("k2"), true);
    ASSERT_WIRE(&s, "\x0a\x02k1\x12\x02k2\x38\x01");
    strbuf_clear(&s);
    message_watch_create(&s, key);
    ASSERT_WIRE(&s, "\x0a\x04\x0a\x02k1");
    strbuf_clear(&s);
    message_txn_add_put(&s, key, value);
    message_txn_add_put(&s, key, value);
    ASSERT_WIRE(&s, "\x12\x09\x12\x07\x0a\x02k1\x12\x01v\x12\x09\x12\x07\x0a\x02k1\x12\x01v");
    strbuf_clear(&s);
    message_txn(&s, key, value);
    /* compare LESS VERSION 1<<40, then put, else range */
    ASSERT_WIRE(&s,
        "\x0a\x0d\x08\x02\x1a\x02k1\x20\x80\x80\x80\x80\x80\x20"
        "\x12\x09\x12\x07\x0a\x02k1\x12\x01v"
        "\x1a\x06\x0a\x04\x0a\x02k1");
}

TEST(message, watch_replies_are_counted_and_garbage_is_not)
{
    struct watch_reply r;

    assert_true(message_read_watch(BYTES_LITERAL("\x0a\x02\x08\x01\x18\x01"), &r));
    assert_true(r.created);
    assert_int_equal(r.events, 0);
    assert_true(message_read_watch(BYTES_LITERAL("\x0a\x00\x10\x05\x5a\x00\x5a\x02\x12\x00"), &r));
    assert_int_equal(r.events, 2);
    assert_false(r.created || r.canceled);
    assert_true(message_read_watch(BYTES_LITERAL("\x20\x01"), &r));
    assert_true(r.canceled);
    assert_false(message_read_watch(BYTES_LITERAL("\x5a\x05\x01"), &r));
    assert_false(message_read_watch(BYTES_LITERAL("\x0f"), &r));
}

TEST(load, keys_are_eight_digits_in_order)
{
    char a[KEY_BYTES + 1], b[KEY_BYTES + 1];

    load_key(7, a);
    load_key(12345678, b);
    assert_string_equal(a, "00000007");
    assert_string_equal(b, "12345678");
}

TEST_MAIN(UNIT(histogram, percentiles_are_within_two_percent),
    UNIT(histogram, extremes_have_a_bucket),
    UNIT(message, requests_are_the_protobuf_that_protoc_writes),
    UNIT(message, watch_replies_are_counted_and_garbage_is_not),
    UNIT(load, keys_are_eight_digits_in_order))
