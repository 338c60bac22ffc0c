/* How a link begins: the upgrade, and its refusal. */
#include "err.h"
#include "peer_hello.h"
#include "unit.h"

TEST(hello, what_is_written_is_read_and_the_rest_left)
{
    struct peer_hello h = {.protocol = PEER_PROTOCOL,
        .cluster_id = 0xabcdef0123456789,
        .from = 1,
        .to = UINT64_MAX,
        .channel = PEER_SNAPSHOT};
    _cleanup_strbuf_ struct strbuf s = {0};
    struct peer_hello_reader r;
    const char *why;
    size_t used, len;

    peer_hello_request(&h, "::1", 2380, "0.1", &s);
    len = s.len;
    strbuf_append_str(&s, "frames");
    peer_hello_reader_init(&r, true);
    assert_int_equal(peer_hello_feed(&r, strbuf_bytes(&s), &used), PEER_HELLO_DONE);
    assert_int_equal(used, len);
    assert_int_equal(peer_hello_check(&r, &why), 0);
    assert_int_equal(r.hello.cluster_id, h.cluster_id);
    assert_int_equal(r.hello.to, h.to);
    assert_int_equal(r.hello.channel, h.channel);
    peer_hello_reader_deinit(&r);
}

static int refused_with(const char *request)
{
    struct peer_hello_reader r;
    const char *why = NULL;
    size_t used;
    int rc;

    peer_hello_reader_init(&r, true);
    rc = peer_hello_feed(&r, bytes_str(request), &used);
    rc = rc == PEER_HELLO_DONE ? peer_hello_check(&r, &why) : rc;
    peer_hello_reader_deinit(&r);
    return rc;
}

TEST(hello, what_is_no_upgrade_is_refused)
{
    static const char up[] = "Connection: Upgrade\r\nUpgrade: decree\r\n";
    _cleanup_free_ char *old =
        xasprintf("GET /raft/decree HTTP/1.1\r\n%sDecree-Protocol: 0\r\n\r\n", up);
    _cleanup_free_ char *bare =
        xasprintf("GET /raft/decree HTTP/1.1\r\n%sDecree-Protocol: 1\r\n\r\n", up);
    _cleanup_free_ char *twice =
        xasprintf("GET /raft/decree HTTP/1.1\r\n%sDecree-From: 1\r\nDecree-From: 2\r\n\r\n", up);

    assert_int_equal(refused_with("GET / HTTP/1.1\r\n\r\n"), 404);
    assert_int_equal(refused_with("GET /raft/decree HTTP/1.1\r\n\r\n"), 400);
    assert_int_equal(refused_with(old), 426);
    assert_int_equal(refused_with(bare), 400);
    assert_int_equal(refused_with(twice), DECREE_EBAD_REQUEST);
    assert_int_equal(refused_with("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), DECREE_EBAD_REQUEST);
}

TEST(hello, a_refusal_carries_its_reason)
{
    _cleanup_strbuf_ struct strbuf s = {0};
    _cleanup_free_ char *text = NULL;
    struct peer_hello_reader r;
    size_t used;

    peer_hello_refuse(412, "of another cluster", &s);
    peer_hello_reader_init(&r, false);
    assert_int_equal(peer_hello_feed(&r, strbuf_bytes(&s), &used), PEER_HELLO_DONE);
    assert_int_equal(peer_hello_status(&r, &text), 412);
    assert_string_equal(text, "of another cluster");
    peer_hello_reader_deinit(&r);
}

TEST(hello, endless_headers_are_cut)
{
    struct peer_hello_reader r;
    size_t used, fed = 0;
    int rc;

    peer_hello_reader_init(&r, true);
    rc = peer_hello_feed(&r, BYTES_LITERAL("GET /raft/decree HTTP/1.1\r\n"), &used);
    while (rc == PEER_HELLO_MORE && fed < 100000) {
        fed += 12;
        rc = peer_hello_feed(&r, BYTES_LITERAL("X-More: yes\r\n"), &used);
    }
    assert_int_equal(rc, DECREE_EBAD_REQUEST);
    assert_true(fed <= PEER_HELLO_BYTES_MAX);
    peer_hello_reader_deinit(&r);
}

TEST_MAIN(UNIT(hello, what_is_written_is_read_and_the_rest_left),
    UNIT(hello, what_is_no_upgrade_is_refused), UNIT(hello, a_refusal_carries_its_reason),
    UNIT(hello, endless_headers_are_cut))
