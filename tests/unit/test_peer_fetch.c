/* Who is no member asks who the members are. */
#include "peer_end.h"
#include "unit.h"

struct question {
    uv_thread_t thread;
    uint16_t port;
    struct strbuf answer;
    int status;
    bool done;
    uv_async_t wake;
};

static void ask_in_thread(void *data)
{
    struct question *q = data;

    q->status = peer_fetch_members("127.0.0.1", q->port, END_LIMIT_MS, &q->answer, NULL);
    (void)uv_async_send(&q->wake);
}

static void on_answered(uv_async_t *async)
{
    struct question *q = async->data;

    q->done = true;
    uv_close((uv_handle_t *)async, NULL);
}

TEST(peer, one_that_is_no_member_may_ask_who_the_members_are)
{
    struct question q = {0};
    struct end a;

    assert_int_equal(uv_loop_init(&end_loop), 0);
    end_init(&a, 1, 7);
    q.port = peers_port(a.peers);
    q.wake.data = &q;
    assert_int_equal(uv_async_init(&end_loop, &q.wake, on_answered), 0);
    assert_int_equal(uv_thread_create(&q.thread, ask_in_thread, &q), 0);
    UNTIL(q.done);
    assert_int_equal(uv_thread_join(&q.thread), 0);
    assert_int_equal(q.status, 0);
    assert_true(bytes_eq(strbuf_bytes(&q.answer), bytes_str("the members")));
    strbuf_deinit(&q.answer);
    end_close(&a);
    end_finish();
}

TEST(peer, an_answer_may_take_its_time_and_an_asker_may_not_wait)
{
    struct question q = {0};
    struct end a;

    assert_int_equal(uv_loop_init(&end_loop), 0);
    end_init(&a, 1, 7);
    a.tells_later = true;
    q.port = peers_port(a.peers);
    q.wake.data = &q;
    assert_int_equal(uv_async_init(&end_loop, &q.wake, on_answered), 0);
    assert_int_equal(uv_thread_create(&q.thread, ask_in_thread, &q), 0);
    UNTIL(a.question != 0);
    peers_tell_members(a.peers, a.question + 1, bytes_str("of another one"));
    assert_false(q.done);
    peers_tell_members(a.peers, a.question, bytes_str("the members"));
    UNTIL(q.done);
    peers_tell_members(a.peers, a.question, bytes_str("once more")); /* it is gone */
    assert_int_equal(uv_thread_join(&q.thread), 0);
    assert_int_equal(q.status, 0);
    assert_true(bytes_eq(strbuf_bytes(&q.answer), bytes_str("the members")));
    strbuf_deinit(&q.answer);
    end_close(&a);
    end_finish();
}

static int parse_answer(const char *text, const char *want)
{
    _cleanup_strbuf_ struct strbuf body = {0};
    int err = peer_fetch_parse(bytes_str(text), &body, NULL);

    assert_true(err < 0 || bytes_eq(strbuf_bytes(&body), bytes_str(want)));
    return err;
}

TEST(peer, an_answer_that_is_cut_or_no_answer_is_refused)
{
    assert_int_equal(parse_answer("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc"), 0);
    assert_true(parse_answer("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", "") < 0);
    assert_true(parse_answer("HTTP/1.1 404 No\r\nContent-Length: 3\r\n\r\nabc", "") < 0);
    assert_true(parse_answer("", "") < 0);
    assert_true(parse_answer("SSH-2.0-x\r\n", "") < 0);
}

TEST_MAIN(UNIT(peer, one_that_is_no_member_may_ask_who_the_members_are),
    UNIT(peer, an_answer_may_take_its_time_and_an_asker_may_not_wait),
    UNIT(peer, an_answer_that_is_cut_or_no_answer_is_refused))
