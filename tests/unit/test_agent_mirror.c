#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "mirror.h"
#include "readset.h"

/* What changed, "group:key " each. */
static struct strbuf told;

static void on_changed(void *data, size_t group, struct bytes key)
{
    (void)data;
    strbuf_printf(&told, "%zu:%.*s ", group, (int)key.len, (const char *)key.data);
}

static void assert_told(const char *expect)
{
    assert_string_equal(strbuf_cstr(&told), expect);
    strbuf_clear(&told);
}

/* One resource a row; scopes separated by blanks. */
static struct mirror *planned(size_t n, const char *const *rows)
{
    struct mirror *m = mirror_new(on_changed, NULL);

    strbuf_clear(&told);
    for (size_t i = 0; i < n; i++) {
        _cleanup_free_ char *copy = xstrdup(rows[i]);
        char *scopes[8];
        size_t k = 0;
        char *save = NULL;

        for (char *p = strtok_r(copy, " ", &save); p != NULL; p = strtok_r(NULL, " ", &save)) {
            scopes[k++] = p;
        }
        assert_int_equal(mirror_add_resource(m, k, scopes), i);
    }
    mirror_build(m);
    return m;
}
#define PLANNED(...)                                                                               \
    planned(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), (const char *[]){__VA_ARGS__})

static void drop(struct mirror *m)
{
    mirror_free(m);
    strbuf_deinit(&told);
}

static void put(struct mirror *m, size_t region, const char *key, const char *value, int64_t rev)
{
    mirror_push(m, region, false, bytes_str(key), bytes_str(value), rev);
}

static void del(struct mirror *m, size_t region, const char *key, int64_t rev)
{
    mirror_push(m, region, true, bytes_str(key), (struct bytes){0}, rev);
}

static void assert_value(const struct mirror *m, const char *key, const char *expect)
{
    const struct mirror_entry *e = mirror_get(m, bytes_str(key));

    if (expect == NULL) {
        assert_null(e);
    } else {
        assert_non_null(e);
        assert_true(bytes_eq(mirror_value(e), bytes_str(expect)));
    }
}

static void load_empty(struct mirror *m, size_t group, int64_t rev)
{
    mirror_load_begin(m, group);
    mirror_load_commit(m, group, rev);
}

TEST(mirror, overlapping_scopes_are_one_region)
{
    struct mirror *m = PLANNED("/app /app-x", "/app/deep", "/other");

    assert_int_equal(mirror_n_regions(m), 2);
    assert_int_equal(mirror_n_groups(m), 2);
    assert_true(bytes_eq(mirror_region_start(m, 0), BYTES_LITERAL("/app")));
    assert_true(bytes_eq(mirror_region_end(m, 0), BYTES_LITERAL("/app0")));
    assert_int_equal(mirror_group_of(m, 0), mirror_group_of(m, 1));
    assert_int_not_equal(mirror_group_of(m, 0), mirror_group_of(m, 2));
    drop(m);
    m = PLANNED("/", "/app", "/z");
    assert_int_equal(mirror_n_regions(m), 1);
    drop(m);
}

TEST(mirror, resource_ties_its_regions_into_one_group)
{
    struct mirror *m = PLANNED("/a", "/c", "/e", "/b /e", "/d /a", "/a /b");

    /* a, b, d and e hang together; c stands alone. */
    assert_int_equal(mirror_n_regions(m), 5);
    assert_int_equal(mirror_n_groups(m), 2);
    assert_int_equal(mirror_group_of(m, 0), mirror_group_of(m, 2));
    assert_int_equal(mirror_group_of(m, 0), mirror_group_of(m, 4));
    assert_int_not_equal(mirror_group_of(m, 0), mirror_group_of(m, 1));
    drop(m);
}

TEST(mirror, same_plan_is_recognised)
{
    struct mirror *a = PLANNED("/a", "/b");
    struct mirror *b = PLANNED("/b", "/a", "/a/x");
    struct mirror *c = PLANNED("/a /b");

    assert_true(mirror_same_plan(a, b));
    assert_false(mirror_same_plan(a, c));
    mirror_free(b);
    mirror_free(c);
    drop(a);
}

TEST(mirror, events_apply_at_once_in_a_group_of_one)
{
    struct mirror *m = PLANNED("/app");

    load_empty(m, 0, 5);
    put(m, 0, "/app/b", "1", 6);
    put(m, 0, "/app/a", "1", 6);
    put(m, 0, "/app/c", "1", 7);
    assert_value(m, "/app/a", NULL); /* nothing is seen before it settles */
    assert_true(mirror_settle(m, 0));
    assert_told("0:/app/b 0:/app/a 0:/app/c ");
    assert_int_equal(mirror_revision(m, 0), 7);
    del(m, 0, "/app/b", 8);
    del(m, 0, "/app/none", 8);
    put(m, 0, "/app/a", "1", 9); /* the same value changes nothing */
    put(m, 0, "/app/c", "2", 9);
    assert_true(mirror_settle(m, 0));
    assert_told("0:/app/b 0:/app/c ");
    assert_value(m, "/app/b", NULL);
    assert_value(m, "/app/c", "2");
    assert_int_equal(mirror_region_count(m, 0), 2);
    drop(m);
}

TEST(mirror, repeated_events_are_left_out)
{
    struct mirror *m = PLANNED("/app");

    load_empty(m, 0, 5);
    put(m, 0, "/app/a", "old", 4);
    put(m, 0, "/app/a", "old", 5);
    assert_true(mirror_settle(m, 0));
    assert_told("");
    put(m, 0, "/app/a", "1", 6);
    put(m, 0, "/app/b", "1", 6);
    assert_true(mirror_settle(m, 0));
    assert_told("0:/app/a 0:/app/b ");
    load_empty(m, 0, 6);
    assert_told("0:/app/a 0:/app/b ");
    put(m, 0, "/app/a", "1", 6); /* the load has it already */
    assert_true(mirror_settle(m, 0));
    assert_told("");
    drop(m);
}

TEST(mirror, two_regions_never_show_half_a_transaction)
{
    struct mirror *m = PLANNED("/l /r");

    load_empty(m, 0, 5);
    put(m, 0, "/l/v", "1", 6);
    assert_false(mirror_settle(m, 0)); /* does /r have a part in revision 6? */
    assert_value(m, "/l/v", NULL);
    assert_int_equal(mirror_revision(m, 0), 5);
    put(m, 1, "/r/v", "1", 6);
    assert_true(mirror_settle(m, 0));
    assert_value(m, "/l/v", "1");
    assert_value(m, "/r/v", "1");
    assert_int_equal(mirror_revision(m, 0), 6);
    drop(m);
}

TEST(mirror, confirmation_lets_the_other_region_go_on)
{
    struct mirror *m = PLANNED("/l /r");

    load_empty(m, 0, 5);
    put(m, 0, "/l/v", "6", 6);
    put(m, 0, "/l/v", "9", 9);
    assert_false(mirror_settle(m, 0));
    assert_true(mirror_region_pending(m, 0));
    mirror_confirm(m, 1, 7);
    assert_false(mirror_settle(m, 0)); /* 6 is shown, 9 still waits */
    assert_value(m, "/l/v", "6");
    assert_int_equal(mirror_revision(m, 0), 7);
    mirror_confirm(m, 1, 6); /* an older one takes nothing back */
    mirror_confirm(m, 1, 12);
    assert_true(mirror_settle(m, 0));
    assert_value(m, "/l/v", "9");
    assert_int_equal(mirror_revision(m, 0), 9);
    assert_false(mirror_region_pending(m, 0));
    drop(m);
}

TEST(mirror, load_tells_the_difference_only)
{
    struct mirror *m = PLANNED("/app");

    mirror_load_begin(m, 0);
    mirror_load_add(m, 0, BYTES_LITERAL("/app/a"), BYTES_LITERAL("1"), 2);
    mirror_load_add(m, 0, BYTES_LITERAL("/app/b"), BYTES_LITERAL("1"), 3);
    mirror_load_add(m, 0, BYTES_LITERAL("/app/c"), BYTES_LITERAL("1"), 4);
    assert_value(m, "/app/a", NULL);
    mirror_load_commit(m, 0, 5);
    assert_told("0:/app/a 0:/app/b 0:/app/c ");
    mirror_load_begin(m, 0);
    mirror_load_add(m, 0, BYTES_LITERAL("/app/x"), BYTES_LITERAL("1"), 2);
    mirror_load_begin(m, 0); /* begun again: the first one is forgotten */
    mirror_load_add(m, 0, BYTES_LITERAL("/app/0"), BYTES_LITERAL("1"), 7);
    mirror_load_add(m, 0, BYTES_LITERAL("/app/a"), BYTES_LITERAL("1"), 8);
    mirror_load_add(m, 0, BYTES_LITERAL("/app/c"), BYTES_LITERAL("2"), 9);
    put(m, 0, "/app/b", "queued", 6); /* dropped: the read is newer */
    mirror_load_commit(m, 0, 20);
    assert_told("0:/app/0 0:/app/b 0:/app/c ");
    assert_value(m, "/app/b", NULL);
    assert_int_equal(mirror_received(m, 0), 20);
    drop(m);
}

static bool collect(void *arg, const struct mirror_entry *e)
{
    struct strbuf *s = arg;

    strbuf_append_bytes(s, mirror_key(e));
    strbuf_append_char(s, ' ');
    return s->len < 20;
}

TEST(mirror, walk_is_ordered_bounded_and_stops_when_told)
{
    struct mirror *m = PLANNED("/app", "/z");
    _cleanup_strbuf_ struct strbuf s = {0};

    load_empty(m, 0, 1);
    for (int i = 9; i >= 0; i--) {
        char key[16];

        (void)snprintf(key, sizeof(key), "/app/%d", i);
        put(m, 0, key, "v", 2);
    }
    assert_true(mirror_settle(m, 0));
    mirror_walk(m, BYTES_LITERAL("/app/3"), BYTES_LITERAL("/app/5"), collect, &s);
    assert_string_equal(strbuf_cstr(&s), "/app/3 /app/4 ");
    strbuf_clear(&s);
    mirror_walk(m, BYTES_LITERAL("/app"), BYTES_LITERAL("/app0"), collect, &s);
    assert_string_equal(strbuf_cstr(&s), "/app/0 /app/1 /app/2 ");
    strbuf_clear(&s);
    mirror_walk(m, BYTES_LITERAL("/nowhere"), BYTES_LITERAL("/zz"), collect, &s);
    assert_int_equal(s.len, 0);
    drop(m);
}

TEST(mirror, saved_state_comes_back_for_regions_it_covers)
{
    struct mirror *a = PLANNED("/app", "/other");
    struct mirror *b = PLANNED("/app/sub", "/other", "/new");
    struct mirror *c = PLANNED("/app /new");
    _cleanup_strbuf_ struct strbuf saved = {0};

    load_empty(a, 0, 5);
    load_empty(a, 1, 7);
    put(a, 0, "/app/sub/k", "1", 8);
    put(a, 0, "/app/k", "2", 9);
    (void)mirror_settle(a, 0);
    mirror_save(a, &saved);
    strbuf_clear(&told);
    assert_int_equal(mirror_restore(b, strbuf_bytes(&saved)), 2);
    assert_told("0:/app/sub/k ");
    assert_int_equal(mirror_revision(b, mirror_group_of(b, 0)), 9);
    assert_int_equal(mirror_revision(b, mirror_group_of(b, 1)), 7);
    assert_int_equal(mirror_revision(b, mirror_group_of(b, 2)), 0);
    assert_value(b, "/app/sub/k", "1");
    assert_value(b, "/app/k", NULL);
    assert_int_equal(mirror_restore(c, strbuf_bytes(&saved)), 0); /* /new was never saved */
    mirror_free(b);
    mirror_free(c);
    drop(a);
}

TEST(mirror, every_damaged_byte_of_a_saved_state_is_noticed)
{
    struct mirror *a = PLANNED("/app");
    _cleanup_strbuf_ struct strbuf saved = {0};

    load_empty(a, 0, 5);
    put(a, 0, "/app/k", "value", 6);
    (void)mirror_settle(a, 0);
    mirror_save(a, &saved);
    for (size_t i = 0; i < saved.len; i++) {
        saved.data[i] ^= 0x10;
        assert_int_equal(mirror_restore(a, strbuf_bytes(&saved)), -EBADMSG);
        saved.data[i] ^= 0x10;
        assert_int_equal(mirror_restore(a, bytes_make(saved.data, i)), -EBADMSG);
    }
    assert_value(a, "/app/k", "value");
    drop(a);
}

TEST(readset, knows_keys_and_prefixes_and_grows)
{
    struct readset s = {0};
    char key[32];

    assert_false(readset_has(&s, BYTES_LITERAL("/a")));
    for (int i = 0; i < 5000; i++) {
        (void)snprintf(key, sizeof(key), "/k/%d", i);
        readset_add_key(&s, bytes_str(key));
    }
    readset_add_prefix(&s, BYTES_LITERAL("/dir/"));
    readset_add_prefix(&s, BYTES_LITERAL("/dir/sub/"));
    assert_int_equal(s.n_prefixes, 1);
    assert_true(readset_has(&s, BYTES_LITERAL("/k/4999")));
    assert_false(readset_has(&s, BYTES_LITERAL("/k/5000")));
    assert_true(readset_has(&s, BYTES_LITERAL("/dir/x")));
    assert_false(readset_has(&s, BYTES_LITERAL("/dir")));
    readset_clear(&s);
    assert_false(readset_has(&s, BYTES_LITERAL("/k/1")));
    assert_false(readset_has(&s, BYTES_LITERAL("/dir/x")));
    readset_deinit(&s);
}

TEST_MAIN(UNIT(mirror, overlapping_scopes_are_one_region),
    UNIT(mirror, resource_ties_its_regions_into_one_group), UNIT(mirror, same_plan_is_recognised),
    UNIT(mirror, events_apply_at_once_in_a_group_of_one),
    UNIT(mirror, repeated_events_are_left_out),
    UNIT(mirror, two_regions_never_show_half_a_transaction),
    UNIT(mirror, confirmation_lets_the_other_region_go_on),
    UNIT(mirror, load_tells_the_difference_only),
    UNIT(mirror, walk_is_ordered_bounded_and_stops_when_told),
    UNIT(mirror, saved_state_comes_back_for_regions_it_covers),
    UNIT(mirror, every_damaged_byte_of_a_saved_state_is_noticed),
    UNIT(readset, knows_keys_and_prefixes_and_grows))
