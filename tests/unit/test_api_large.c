#include "unit.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "api.h"
#include "api_impl.h"
#include "fake_store.h"

/* ---- doors on a store whose replies come in parts ---- */

enum { KEYS = 20, PART_KVS = 3, TURNS_MAX = 1000 };

static uv_loop_t loop;
static struct store *store;
static struct api *api;
static struct sockaddr_un address = {.sun_family = AF_UNIX};

static int connect_to_it(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void ask(int fd, const char *path, const char *body)
{
    _cleanup_free_ char *text = xasprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n"
                                          "Connection: close\r\n\r\n%s",
        path, strlen(body), body);

    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* What is there by now; false: the answer is complete. */
static bool take(int fd, struct strbuf *answer)
{
    char part[4096];
    ssize_t n = recv(fd, part, sizeof(part), MSG_DONTWAIT);

    if (n > 0) {
        strbuf_append(answer, part, (size_t)n);
    }
    return n != 0;
}

/* The body of the whole answer; its head is checked to have this status. */
static const char *answer_of(int fd, int status, struct strbuf *answer)
{
    _cleanup_free_ char *line = xasprintf("HTTP/1.1 %d ", status);
    const char *body;

    for (int i = 0; i < TURNS_MAX && take(fd, answer); i++) {
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    }
    (void)close(fd);
    body = strstr(strbuf_cstr(answer), "\r\n\r\n");
    assert_non_null(body);
    assert_memory_equal(answer->data, line, strlen(line));
    return body + 4;
}

static const char *call(const char *path, const char *body, int status, struct strbuf *answer)
{
    int fd = connect_to_it();

    ask(fd, path, body);
    return answer_of(fd, status, answer);
}

static void turns(int n)
{
    while (n-- > 0) {
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    }
}

static void fill(void)
{
    for (int i = 0; i < KEYS; i++) {
        _cleanup_strbuf_ struct strbuf answer = {0};
        char body[100];

        /* "a" and two more bytes */
        (void)snprintf(body, sizeof(body), "{\"key\":\"YWF%c\",\"value\":\"YW%c=\"}", 'A' + i,
            'A' + 4 * (i % 4));
        (void)call("/v3/kv/put", body, 200, &answer);
    }
}

static int start(void **state)
{
    _cleanup_err_ struct err err = {0};
    _cleanup_free_ char *url = NULL;

    (void)state;
    log_set_level(LOG_LEVEL_WARN);
    assert_int_equal(uv_loop_init(&loop), 0);
    store = fake_store_new(&loop);
    assert_int_equal(api_new(&loop, store, NULL, &api), 0);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/decree-test-large-%d.sock",
        (int)getpid());
    url = xasprintf("unix://%s", address.sun_path);
    assert_int_equal(api_listen(api, url, &err), 0);
    fill();
    fake_store_set_part_kvs(store, PART_KVS);
    return 0;
}

static void on_stopped(void *data)
{
    (void)data;
    fake_store_free(store);
}

static int stop(void **state)
{
    (void)state;
    turns(10);
    assert_int_equal(api->n_exchanges + api->n_large + api->large_bytes + api->out_bytes, 0);
    api_stop(TAKE_PTR(api), on_stopped, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    (void)unlink(address.sun_path);
    return uv_loop_close(&loop);
}

/* "a" to "z" */
#define ALL_KEYS "\"key\":\"YQ==\",\"range_end\":\"eg==\""
#define READING_TXN                                                                                \
    "{\"success\":[{\"request_range\":{" ALL_KEYS "}},"                                            \
    "{\"request_txn\":{\"success\":[{\"request_range\":{" ALL_KEYS                                 \
    ",\"sort_order\":\"DESCEND\",\"limit\":\"7\"}}]}},"                                            \
    "{\"request_range\":{" ALL_KEYS ",\"count_only\":true}}]}"
#define DELETE "{" ALL_KEYS ",\"prev_kv\":true}"
#define DELETING_TXN                                                                               \
    "{\"success\":[{\"request_range\":{" ALL_KEYS "}},{\"request_delete_range\":" DELETE "}]}"

static bool keys_are_there(void)
{
    _cleanup_strbuf_ struct strbuf answer = {0};

    return strstr(call("/v3/kv/range", "{" ALL_KEYS "}", 200, &answer), "\"kvs\"") != NULL;
}

static size_t count(const char *in, const char *what)
{
    size_t n = 0;

    for (const char *at = in; (at = strstr(at, what)) != NULL; at++) {
        n++;
    }
    return n;
}

/* ---- what comes in parts ---- */

TEST(large, a_txn_in_parts_is_the_same_as_in_one_go)
{
    _cleanup_strbuf_ struct strbuf parts = {0}, whole = {0};
    const char *a = call("/v3/kv/txn", READING_TXN, 200, &parts), *b;

    fake_store_set_part_kvs(store, 0);
    b = call("/v3/kv/txn", READING_TXN, 200, &whole);
    assert_string_equal(a, b);
    assert_int_equal(count(a, "\"key\""), KEYS + 7);
}

TEST(large, a_delete_in_parts_tells_all_that_it_took)
{
    _cleanup_strbuf_ struct strbuf answer = {0};
    const char *body = call("/v3/kv/deleterange", DELETE, 200, &answer);

    assert_int_equal(count(body, "\"key\""), KEYS);
    assert_int_equal(count(body, "\"prev_kvs\":[{"), 1);
    assert_int_equal(count(body, "\"deleted\":\"20\""), 1);
    assert_false(keys_are_there());
}

TEST(large, a_client_that_goes_in_the_middle_leaves_nothing)
{
    int fd = connect_to_it();

    ask(fd, "/v3/kv/txn", DELETING_TXN);
    for (int i = 0; i < TURNS_MAX && api->n_large == 0; i++) {
        turns(1);
    }
    assert_int_equal(api->n_large, 1);
    assert_true(api->large_bytes > 0 && api->out_bytes > 0);
    (void)close(fd);
    turns(3);
    assert_int_equal(api->n_large + api->large_bytes + api->out_bytes, 0);
    assert_int_equal(fake_store_calls(store), 0);
    assert_false(keys_are_there());
}

/* ---- where there is no room ---- */

/* Other clients' large replies, of which so much is expected. */
static void others(size_t n_large, size_t expected, size_t waiting)
{
    api->n_large += n_large;
    api->large_bytes += expected;
    api->out_bytes += waiting;
}

static void others_gone(size_t n_large, size_t expected, size_t waiting)
{
    api->n_large -= n_large;
    api->large_bytes -= expected;
    api->out_bytes -= waiting;
}

TEST(large, a_reading_txn_waits_for_others_and_is_done_again)
{
    _cleanup_strbuf_ struct strbuf answer = {0}, other = {0};
    int fd = connect_to_it();

    others(1, OUTPUT_BYTES_TOTAL_MAX, 0);
    ask(fd, "/v3/kv/txn", READING_TXN);
    for (int i = 0; i < TURNS_MAX && list_empty(&api->large_waiting); i++) {
        turns(1);
    }
    assert_false(list_empty(&api->large_waiting));
    assert_int_equal(fake_store_calls(store), 0);
    others_gone(1, OUTPUT_BYTES_TOTAL_MAX, 0);
    (void)call("/v3/kv/range", "{\"key\":\"YQ==\"}", 200, &other); /* an answer leaves */
    assert_int_equal(count(answer_of(fd, 200, &answer), "\"key\""), KEYS + 7);
}

TEST(large, a_write_waits_for_nobody)
{
    _cleanup_strbuf_ struct strbuf answer = {0};
    const char *body;

    others(1, OUTPUT_BYTES_TOTAL_MAX, 0);
    body = call("/v3/kv/txn", DELETING_TXN, 200, &answer);
    others_gone(1, OUTPUT_BYTES_TOTAL_MAX, 0);
    assert_int_equal(count(body, "\"key\""), 2 * KEYS);
    assert_int_equal(count(body, "\"kvs\":[{"), 1);
    assert_int_equal(count(body, "\"prev_kvs\":[{"), 1);
    assert_false(keys_are_there());
}

/* The room goes in the middle of the answer. */
static const char *call_squeezed(
    const char *path, const char *body, int status, struct strbuf *answer)
{
    int fd = connect_to_it();
    const char *got;

    ask(fd, path, body);
    for (int i = 0; i < TURNS_MAX && api->n_large == 0; i++) {
        turns(1);
    }
    assert_int_equal(api->n_large, 1);
    others(0, 0, OUTPUT_BYTES_TOTAL_MAX);
    got = answer_of(fd, status, answer);
    others_gone(0, 0, OUTPUT_BYTES_TOTAL_MAX);
    assert_int_equal(api->n_large + api->large_bytes, 0);
    assert_int_equal(api->counters.refused_requests, 1);
    return got;
}

TEST(large, a_write_without_room_is_told_that_it_may_be_done)
{
    _cleanup_strbuf_ struct strbuf answer = {0};

    assert_non_null(strstr(call_squeezed("/v3/kv/deleterange", DELETE, 503, &answer),
        err_text(DECREE_EREPLY_DROPPED)));
    assert_false(keys_are_there());
}

TEST(large, a_read_without_room_is_refused)
{
    _cleanup_strbuf_ struct strbuf answer = {0};

    assert_non_null(strstr(call_squeezed("/v3/kv/txn", READING_TXN, 429, &answer),
        err_text(DECREE_ETOO_MANY_REQUESTS)));
}

TEST(large, a_small_write_without_room_is_told_likewise)
{
    _cleanup_strbuf_ struct strbuf answer = {0};

    others(0, 0, OUTPUT_BYTES_TOTAL_MAX);
    assert_non_null(
        strstr(call("/v3/kv/put", "{\"key\":\"YQ==\"}", 503, &answer), "may have been applied"));
    others_gone(0, 0, OUTPUT_BYTES_TOTAL_MAX);
}

#define UNIT_API(claim)                                                                            \
    {                                                                                              \
        "large: " #claim, large__##claim, start, stop, NULL                                        \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {UNIT_API(a_txn_in_parts_is_the_same_as_in_one_go),
        UNIT_API(a_delete_in_parts_tells_all_that_it_took),
        UNIT_API(a_client_that_goes_in_the_middle_leaves_nothing),
        UNIT_API(a_reading_txn_waits_for_others_and_is_done_again),
        UNIT_API(a_write_waits_for_nobody),
        UNIT_API(a_write_without_room_is_told_that_it_may_be_done),
        UNIT_API(a_read_without_room_is_refused),
        UNIT_API(a_small_write_without_room_is_told_likewise)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
