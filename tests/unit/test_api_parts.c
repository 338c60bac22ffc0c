#include "unit.h"

#include "api_impl.h"
#include "deadline.h"
#include "h1.h"
#include "route.h"
#include "segq.h"

/* ---- segq ---- */

static void drain(struct segq *q, struct strbuf *out, size_t step)
{
    while (q->bytes > 0) {
        uv_buf_t views[3];
        unsigned n = segq_views(q, views, 3);
        size_t left = MIN(step, q->bytes);

        assert_true(n > 0);
        for (unsigned i = 0; i < n && left > 0; i++) {
            size_t part = MIN(left, views[i].len);

            strbuf_append(out, views[i].base, part);
            segq_consume(q, part);
            left -= part;
            n = segq_views(q, views, 3);
            i = UINT32_MAX; /* the queue changed: look again from its front */
        }
    }
}

TEST(segq, what_goes_in_comes_out_in_order)
{
    for (size_t step = 1; step < 5000; step = step * 3 + 1) {
        _cleanup_strbuf_ struct strbuf want = {0}, got = {0};
        struct segq from = {0}, to = {0};

        for (unsigned i = 0; i < 60; i++) {
            size_t n = i * 97 % 3000;
            struct buf *b = buf_new(n);

            memset(b->data, (int)i, n);
            strbuf_append(&want, b->data, n);
            if (i % 3 == 0) {
                segq_append(&from, b->data, n);
                buf_unref(b);
            } else {
                segq_append_buf(&from, b, 0);
            }
            if (i % 5 == 4) {
                segq_move(&to, &from, MIN(from.bytes, step));
            }
        }
        segq_move(&to, &from, from.bytes);
        assert_int_equal(to.bytes, want.len);
        drain(&to, &got, step);
        assert_true(bytes_eq(strbuf_bytes(&want), strbuf_bytes(&got)));
        segq_deinit(&from);
        segq_deinit(&to);
    }
}

TEST(segq, a_large_buffer_is_shared_not_copied)
{
    struct buf *b = buf_new(100000);
    struct segq from = {0}, to = {0};
    uv_buf_t view;

    segq_append_buf(&from, buf_ref(b), 10);
    segq_move(&to, &from, 50000);
    assert_int_equal(segq_views(&to, &view, 1), 1);
    assert_ptr_equal(view.base, b->data + 10);
    assert_int_equal(b->refs, 3);
    segq_deinit(&from);
    segq_deinit(&to);
    assert_int_equal(b->refs, 1);
    buf_unref(b);
}

TEST(segq, growth_of_a_shared_chunk_does_not_show_in_what_was_moved)
{
    char part[1500];
    struct segq from = {0}, to = {0};
    _cleanup_strbuf_ struct strbuf got = {0};

    memset(part, 'a', sizeof(part));
    segq_append(&from, part, sizeof(part));
    segq_move(&to, &from, 1200); /* by reference: the rest of the chunk stays with from */
    segq_append(&from, "b", 1);
    assert_int_equal(from.bytes, 301);
    drain(&to, &got, 64);
    assert_int_equal(got.len, 1200);
    assert_null(memchr(got.data, 'b', got.len));
    segq_deinit(&from);
    segq_deinit(&to);
}

/* ---- deadlines ---- */

struct item {
    struct deadline d;
    uint64_t fired_ms;
};

static uv_loop_t loop;
static struct deadlines deadlines;

static void on_item(struct deadline *d)
{
    container_of(d, struct item, d)->fired_ms = uv_now(&loop);
}

TEST(deadline, each_runs_out_once_and_a_dropped_one_never)
{
    struct item items[4] = {0};
    uint64_t begin;

    assert_int_equal(uv_loop_init(&loop), 0);
    deadlines_init(&deadlines, &loop);
    begin = uv_now(&loop);
    for (size_t i = 0; i < 4; i++) {
        deadline_init(&items[i].d, on_item);
        deadline_set(&deadlines, &items[i].d, 30 * (i + 1));
    }
    deadline_drop(&items[1].d);
    deadline_set(&deadlines, &items[0].d, 60); /* later than its timer */
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(items[1].fired_ms, 0);
    for (size_t i = 0; i < 4; i++) {
        uint64_t at = i == 0 ? 60 : 30 * (i + 1);

        if (i != 1) {
            assert_true(items[i].fired_ms >= begin + at);
        }
    }
    deadlines_close(&deadlines, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* ---- HTTP/1.1 heads ---- */

TEST(h1, only_strict_heads_pass)
{
    static const char *const good[] = {"GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nA: b\r\n\r\n",
        "GET / HTTP/1.1\r\nA:b c : d\r\nB:\r\n\r\n"};
    static const char *const bad[] = {"GET / HTTP/1.1\n\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\n\r\n\r\n", "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\r\n\tc\r\n\r\n", "GET / HTTP/1.1\r\nA: b\rc\r\n\r\n",
        "GET / HTTP/1.1\r\nA : b\r\n\r\n", "GET / HTTP/1.1\r\nA b\r\n\r\n",
        "GET / HTTP/1.1\r\nA\r\nB: c\r\n\r\n", "GET / HTTP/1.1\r\n", ""};

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_true(h1_head_is_strict(bytes_str(good[i])));
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        if (h1_head_is_strict(bytes_str(bad[i]))) {
            fail_msg("passed: %s", bad[i]);
        }
    }
    assert_false(h1_head_is_strict(BYTES_LITERAL("GET / HTTP/1.1\r\nA: \0\r\n\r\n")));
}

/* ---- routes ---- */

TEST(route, gateway_paths_lose_their_base)
{
    assert_true(
        bytes_eq(route_json_path(BYTES_LITERAL("/v3/kv/range")), BYTES_LITERAL("/kv/range")));
    assert_true(bytes_eq(route_json_path(BYTES_LITERAL("/v3beta/x")), BYTES_LITERAL("/x")));
    assert_int_equal(route_json_path(BYTES_LITERAL("/v3")).len, 0);
    assert_int_equal(route_json_path(BYTES_LITERAL("/v3x/kv/range")).len, 0);
    assert_int_equal(route_json_path(BYTES_LITERAL("/v2/keys")).len, 0);
}

TEST(route, browsers_must_be_of_the_same_site)
{
    static const char *const names[] = {"store.example"}, *const any[] = {"*"};
    struct bytes none = {0}, same = BYTES_LITERAL("same-origin"),
                 ip = BYTES_LITERAL("10.0.0.1:2379");
    struct bytes name = BYTES_LITERAL("store.example:2379");

    assert_int_equal(route_browser_check(name, none, none, NULL, 0), 0);
    assert_int_equal(route_browser_check(ip, none, same, NULL, 0), 0);
    assert_int_equal(route_browser_check(BYTES_LITERAL("[::1]:1"), none, same, NULL, 0), 0);
    assert_int_equal(route_browser_check(BYTES_LITERAL("localhost"), none, same, NULL, 0), 0);
    assert_int_equal(
        route_browser_check(ip, BYTES_LITERAL("http://10.0.0.1:2379"), none, NULL, 0), 0);
    assert_int_equal(route_browser_check(ip, BYTES_LITERAL("http://10.0.0.1"), none, NULL, 0), 403);
    assert_int_equal(route_browser_check(ip, BYTES_LITERAL("null"), none, NULL, 0), 403);
    assert_int_equal(route_browser_check(ip, none, BYTES_LITERAL("cross-site"), NULL, 0), 403);
    assert_int_equal(route_browser_check(name, none, same, NULL, 0), 421);
    assert_int_equal(route_browser_check(name, none, same, names, 1), 0);
    assert_int_equal(route_browser_check(name, none, same, any, 1), 0);
    assert_int_equal(route_browser_check(none, none, same, NULL, 0), 421);
}

/* ---- turns ---- */

TEST(turn, connections_with_much_to_begin_share_what_a_turn_takes)
{
    assert_int_equal(api_turn_share(0), REQUESTS_TURN_MAX);
    assert_int_equal(api_turn_share(1), REQUESTS_TURN_MAX);
    for (size_t busy = 1; busy * REQUESTS_TURN_MIN <= REQUESTS_TURN_TOTAL; busy++) {
        assert_true(busy * api_turn_share(busy) <= REQUESTS_TURN_TOTAL);
        assert_true(api_turn_share(busy + 1) <= api_turn_share(busy));
    }
    assert_int_equal(api_turn_share(10), REQUESTS_TURN_TOTAL / 10);
    assert_int_equal(api_turn_share(CONNECTIONS_MAX), REQUESTS_TURN_MIN); /* all get on */
}

TEST(turn, who_asks_for_much_waits_for_nobody_who_asks_for_little)
{
    struct api api = {.calls_total = api_calls_total(true, 0)};

    assert_int_equal(api.calls_total, CALLS_TOTAL);
    /* Beside one who asks for little it has its share… */
    api.n_calls = CALLS_TOTAL / CALLS_SHARE - 1;
    api.n_calling = 1;
    assert_true(api_takes_call(&api, api.n_calls));
    api.n_calls++;
    assert_false(api_takes_call(&api, api.n_calls));
    /* …and of many each its part, however many are there already. */
    api.n_calls = 2 * CALLS_TOTAL;
    api.n_calling = 10;
    assert_true(api_takes_call(&api, CALLS_TOTAL / 10 - 1));
    assert_false(api_takes_call(&api, CALLS_TOTAL / 10));
    /* What the others leave of theirs is anybody's. */
    api.n_calls = CALLS_TOTAL - 1;
    assert_true(api_takes_call(&api, CALLS_TOTAL / 10));
    /* Nobody is left out. */
    api.n_calls = api.n_calling = CONNECTIONS_MAX;
    assert_true(api_takes_call(&api, 0));
    assert_false(api_takes_call(&api, 1));
}

TEST(turn, the_store_has_more_calls_where_a_write_takes_long)
{
    assert_int_equal(api_calls_total(true, 500), CALLS_TOTAL);
    assert_int_equal(api_calls_total(true, 5000), CALLS_TOTAL / 3 + 5 * CALLS_PER_MS);
    assert_int_equal(
        api_calls_total(true, 60000000), CALLS_TOTAL / 3 + CALLS_SLOWEST_MS * CALLS_PER_MS);
    assert_int_equal(api_calls_total(false, 0), REQUESTS_MAX); /* nothing waits at the door */
}

TEST_MAIN(UNIT(segq, what_goes_in_comes_out_in_order),
    UNIT(segq, a_large_buffer_is_shared_not_copied),
    UNIT(segq, growth_of_a_shared_chunk_does_not_show_in_what_was_moved),
    UNIT(deadline, each_runs_out_once_and_a_dropped_one_never), UNIT(h1, only_strict_heads_pass),
    UNIT(route, gateway_paths_lose_their_base), UNIT(route, browsers_must_be_of_the_same_site),
    UNIT(turn, connections_with_much_to_begin_share_what_a_turn_takes),
    UNIT(turn, who_asks_for_much_waits_for_nobody_who_asks_for_little),
    UNIT(turn, the_store_has_more_calls_where_a_write_takes_long))
