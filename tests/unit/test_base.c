#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "arena.h"
#include "base64.h"
#include "codec.h"
#include "crc32c.h"
#include "err.h"
#include "file.h"
#include "hmap.h"
#include "list.h"
#include "log.h"
#include "slice.h"

TEST(crc32c, matches_the_check_value_and_continues)
{
    uint32_t whole = crc32c(0, "123456789", 9);

    assert_int_equal(whole, 0xe3069283);
    assert_int_equal(crc32c(crc32c(0, "12345", 5), "6789", 4), whole);
}

TEST(bytes, order_puts_a_prefix_first)
{
    assert_true(bytes_cmp(BYTES_LITERAL("a"), BYTES_LITERAL("ab")) < 0);
    assert_true(bytes_cmp(BYTES_LITERAL("b"), BYTES_LITERAL("ab")) > 0);
    assert_true(bytes_cmp(BYTES_LITERAL("a\xff"), BYTES_LITERAL("ab")) > 0);
    assert_true(bytes_eq((struct bytes){0}, BYTES_LITERAL("")));
}

TEST(codec, round_trip_and_short_input_is_bad)
{
    static const uint64_t values[] = {0, 1, 127, 128, 300, UINT32_MAX, UINT64_MAX};
    _cleanup_strbuf_ struct strbuf s = {0};
    struct dec d;

    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        enc_varint(&s, values[i]);
    }
    enc_u8(&s, 7);
    enc_u32(&s, 0xdeadbeef);
    enc_u64(&s, 0x0123456789abcdefULL);
    enc_bytes(&s, BYTES_LITERAL("key"));
    d = dec_make(strbuf_bytes(&s));
    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        assert_true(dec_varint(&d) == values[i]);
    }
    assert_int_equal(dec_u8(&d), 7);
    assert_int_equal(dec_u32(&d), 0xdeadbeef);
    assert_true(dec_u64(&d) == 0x0123456789abcdefULL);
    assert_true(bytes_eq(dec_bytes(&d), BYTES_LITERAL("key")));
    assert_true(dec_done(&d));
    for (size_t cut = 0; cut < s.len; cut++) {
        d = dec_make(bytes_make(s.data, cut));
        for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
            (void)dec_varint(&d);
        }
        (void)dec_u8(&d);
        (void)dec_u32(&d);
        (void)dec_u64(&d);
        (void)dec_bytes(&d);
        assert_true(d.bad);
    }
}

TEST(codec, varint_longer_than_64_bits_is_bad)
{
    struct dec d = dec_make(BYTES_LITERAL("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"));

    (void)dec_varint(&d);
    assert_true(d.bad);
}

struct item {
    struct hmap_node node;
    uint64_t id;
};

TEST(hmap, finds_removes_iterates_and_empties)
{
    struct item items[1000];
    struct hmap m = {0};
    size_t seen = 0;

    for (uint64_t i = 0; i < 1000; i++) {
        items[i].id = i;
        hmap_insert(&m, &items[i].node, hmap_hash_u64(i));
    }
    for (uint64_t i = 0; i < 1000; i += 2) {
        hmap_remove(&m, &items[i].node);
    }
    for (uint64_t i = 0; i < 1000; i++) {
        struct hmap_node *n = hmap_first(&m, hmap_hash_u64(i));

        while (n != NULL && container_of(n, struct item, node)->id != i) {
            n = hmap_next_same(n);
        }
        assert_int_equal(n != NULL, i % 2);
    }
    for (struct hmap_node *n = hmap_iter(&m, NULL); n != NULL; n = hmap_iter(&m, n)) {
        seen++;
    }
    assert_int_equal(seen, 500);
    while (hmap_pop(&m) != NULL) {
        seen--;
    }
    assert_int_equal(seen, 0);
    assert_int_equal(m.count, 0);
    hmap_deinit(&m);
}

TEST(list, splice_keeps_order)
{
    struct list a, b, n[4];
    size_t i = 0;

    list_init(&a);
    list_init(&b);
    list_add_tail(&a, &n[0]);
    list_add_tail(&a, &n[1]);
    list_add_tail(&b, &n[2]);
    list_add_tail(&b, &n[3]);
    list_splice_tail(&a, &b);
    assert_true(list_empty(&b));
    list_for_each_safe (it, &a) {
        assert_ptr_equal(it, &n[i++]);
        list_del(it);
    }
    assert_int_equal(i, 4);
    assert_true(list_empty(&a));
}

TEST(arena, refuses_beyond_its_limit)
{
    _cleanup_arena_ struct arena a;

    arena_init(&a, 10000);
    assert_non_null(arena_alloc(&a, 9000));
    assert_null(arena_alloc(&a, 2000));
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_non_null(arena_alloc(&a, 100));
    arena_reset(&a);
    assert_non_null(arena_alloc(&a, 9000));
}

TEST(err, every_text_is_etcds_and_statuses_map)
{
    assert_string_equal(err_text(DECREE_ENO_LEADER), "etcdserver: no leader");
    assert_int_equal(err_grpc_status(DECREE_ENO_LEADER), 14);
    assert_int_equal(err_http_status(14), 503);
    assert_string_equal(err_name(DECREE_ECOMPACTED), "COMPACTED");
    assert_string_equal(err_name(-EIO), "EIO");
    assert_int_equal(err_grpc_status(-EIO), 13);
}

TEST(err, prefix_puts_context_in_front)
{
    _cleanup_err_ struct err e = {0};

    assert_int_equal(err_set(&e, -EINVAL, "bad %s", "mode"), -EINVAL);
    assert_int_equal(err_prefix(&e, "line %d", 3), -EINVAL);
    assert_string_equal(e.text, "line 3: bad mode");
}

static char *captured;

static void capture(enum log_level level _unused_, const char *line)
{
    free(captured);
    captured = xstrdup(line);
}

TEST(log, control_bytes_cannot_forge_a_line)
{
    log_set_sink(capture);
    log_info("key=%s", "a\nb\x1b[0m");
    log_set_sink(NULL);
    assert_string_equal(captured, "key=a\\nb\\x1b[0m");
    free(captured);
}

TEST(file, stage_is_known_from_what_takes_its_name)
{
    char path[] = "/tmp/decree-base-XXXXXX";
    const struct file_attrs attrs = {.mode = 0640, .uid = (uid_t)-1, .gid = (gid_t)-1};
    _cleanup_free_ char *first = NULL, *second = NULL;
    struct stat known, there;
    int dir;

    assert_non_null(mkdtemp(path));
    dir = open(path, O_RDONLY | O_DIRECTORY);
    assert_int_equal(
        file_stage_known_at(dir, "f", BYTES_LITERAL("12345"), &attrs, &first, &known, NULL), 0);
    assert_int_equal(fstatat(dir, first, &there, AT_SYMLINK_NOFOLLOW), 0);
    assert_int_equal(known.st_size, 5);
    assert_int_equal(known.st_mode & 07777, 0640);
    assert_true(known.st_ino == there.st_ino && known.st_dev == there.st_dev);
    assert_true(known.st_mtim.tv_sec == there.st_mtim.tv_sec);
    assert_true(known.st_mtim.tv_nsec == there.st_mtim.tv_nsec);
    assert_int_equal(file_stage_at(dir, "f", BYTES_LITERAL("other"), &attrs, &second, NULL), 0);
    assert_string_equal(first, second);
    assert_int_equal(unlinkat(dir, second, 0), 0);
    assert_int_equal(close(dir), 0);
    assert_int_equal(rmdir(path), 0);
}

TEST(file, replace_sets_mode_and_leaves_no_stage)
{
    char folder[] = "/tmp/decree-test-XXXXXX";
    _cleanup_close_ int dir = -1;
    _cleanup_strbuf_ struct strbuf read_back = {0};
    struct file_attrs attrs = {.mode = 0640, .uid = (uid_t)-1, .gid = (gid_t)-1};
    struct stat st;

    assert_non_null(mkdtemp(folder));
    dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* A stage file that a crash left behind does not stand in the way. */
    assert_int_equal(close(openat(dir, ".f.decree-stage", O_CREAT | O_WRONLY, 0600)), 0);
    assert_int_equal(file_replace_at(dir, "f", BYTES_LITERAL("one"), &attrs, NULL), 0);
    assert_int_equal(file_replace_at(dir, "f", BYTES_LITERAL("two"), &attrs, NULL), 0);
    assert_int_equal(file_read_at(dir, "f", 100, &read_back, NULL), 0);
    assert_true(bytes_eq(strbuf_bytes(&read_back), BYTES_LITERAL("two")));
    assert_int_equal(fstatat(dir, "f", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(faccessat(dir, ".f.decree-stage", F_OK, 0), -1);
    assert_int_equal(file_read_at(dir, "f", 2, &read_back, NULL), -EFBIG);
    assert_int_equal(unlinkat(dir, "f", 0), 0);
    assert_int_equal(rmdir(folder), 0);
}

TEST(file, failure_names_the_file)
{
    _cleanup_err_ struct err e = {0};
    _cleanup_strbuf_ struct strbuf s = {0};

    assert_int_equal(file_read("/nonexistent/x", 1, &s, &e), -ENOENT);
    assert_string_equal(e.text, "cannot open /nonexistent/x: No such file or directory");
}

TEST(base64, round_trip_and_strict_decoding)
{
    static const char *const pairs[][2] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="}, {"\xff\xfe", "//4="}, {"\xfb\xef\xbe", "++++"}};
    static const char *const bad[] = {
        "Z", "Zg", "Zg=", "Zg==Zg==", "Z===", "====", "Zg= ", "Zh==", "Zm9=", "Zm\n9v"};
    _cleanup_strbuf_ struct strbuf s = {0};

    for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
        strbuf_clear(&s);
        base64_encode(&s, bytes_str(pairs[i][0]));
        assert_string_equal(strbuf_cstr(&s), pairs[i][1]);
        strbuf_clear(&s);
        assert_int_equal(base64_decode(&s, bytes_str(pairs[i][1])), 0);
        assert_string_equal(strbuf_cstr(&s), pairs[i][0]);
    }
    strbuf_clear(&s);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(base64_decode(&s, bytes_str(bad[i])), -EINVAL);
        assert_int_equal(s.len, 0);
    }
}

/* ---- slices ---- */

/* The kernel's, in its first version. */
struct kernel_sched_attr {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
};

static struct kernel_sched_attr own_sched(void)
{
    struct kernel_sched_attr a;

    memset(&a, 0, sizeof(a));
    assert_int_equal(syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0), 0);
    return a;
}

TEST(slice, a_thread_gets_short_slices_and_nothing_else_changes)
{
    struct kernel_sched_attr before = own_sched(), after;
    struct utsname kernel;
    int major, minor;

    assert_int_equal(uname(&kernel), 0);
    assert_int_equal(sscanf(kernel.release, "%d.%d", &major, &minor), 2);
    thread_ask_short_slices(200000);
    after = own_sched();
    assert_int_equal(after.policy, before.policy);
    assert_int_equal(after.nice, before.nice);
    if (before.policy == SCHED_OTHER && (major > 6 || (major == 6 && minor >= 12))) {
        assert_int_equal(after.runtime_ns, 200000);
    }
}

TEST_MAIN(UNIT(slice, a_thread_gets_short_slices_and_nothing_else_changes),
    UNIT(crc32c, matches_the_check_value_and_continues), UNIT(bytes, order_puts_a_prefix_first),
    UNIT(codec, round_trip_and_short_input_is_bad), UNIT(codec, varint_longer_than_64_bits_is_bad),
    UNIT(hmap, finds_removes_iterates_and_empties), UNIT(list, splice_keeps_order),
    UNIT(arena, refuses_beyond_its_limit), UNIT(err, every_text_is_etcds_and_statuses_map),
    UNIT(err, prefix_puts_context_in_front), UNIT(log, control_bytes_cannot_forge_a_line),
    UNIT(file, stage_is_known_from_what_takes_its_name),
    UNIT(file, replace_sets_mode_and_leaves_no_stage), UNIT(file, failure_names_the_file),
    UNIT(base64, round_trip_and_strict_decoding))
