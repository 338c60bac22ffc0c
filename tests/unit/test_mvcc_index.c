/* The B+tree on its own, deep enough for every kind of split and merge, against a sorted array. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "alloc.h"
#include "index.h"

enum { KEYS = 30000 };

/* All keys there may be, in order, and what is in the index of each. */
static struct bytes keys[KEYS];
static struct version *held[KEYS];

static int cmp(const void *a, const void *b)
{
    return bytes_cmp(*(const struct bytes *)a, *(const struct bytes *)b);
}

/* A third each: dense numbers, long common prefixes, and short ones with much in common. */
static void make_keys(void)
{
    for (int i = 0; i < KEYS; i++) {
        char *text = i % 3 == 0 ? xasprintf("%08d", i)
            : i % 3 == 1        ? xasprintf("/registry/services/endpoints/%05d/x", i)
                                : xasprintf("/r%d", i);

        keys[i] = bytes_str(text);
        held[i] = NULL;
    }
    qsort(keys, KEYS, sizeof(*keys), cmp);
}

static void free_keys(struct index *x)
{
    index_deinit(x);
    for (int i = 0; i < KEYS; i++) {
        version_free(held[i]);
        free((void *)(uintptr_t)keys[i].data);
    }
}

static void put(struct index *x, int i, enum mvcc_action action)
{
    struct version *v = version_new(keys[i], (struct bytes){0}, 0, action);

    assert_ptr_equal(index_put(x, v), held[i]);
    version_free(held[i]);
    held[i] = v;
}

static void remove_key(struct index *x, int i)
{
    put(x, i, MVCC_ACTION_DELETE);
    index_remove(x, keys[i]);
    version_free(held[i]);
    held[i] = NULL;
}

static uint64_t rng = 88172645463325252u;

static int next_random(int n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (int)(rng % (uint64_t)n);
}

static bool is_live(int i)
{
    return held[i] != NULL && !version_is_tombstone(held[i]);
}

static void check(const struct index *x)
{
    struct index_cursor all = index_seek(x, (struct bytes){0});
    struct index_cursor live = all;
    uint64_t n = 0, n_live = 0;

    for (int i = 0; i < KEYS; i++) {
        assert_ptr_equal(index_find(x, keys[i]), held[i]);
        if (i % 16 == 0) {
            assert_int_equal(index_rank(x, keys[i]), n_live);
        }
        if (held[i] != NULL) {
            assert_ptr_equal(index_cursor_next(&all), held[i]);
            n++;
        }
        if (is_live(i)) {
            assert_ptr_equal(index_cursor_next_live(&live), held[i]);
            n_live++;
        }
    }
    assert_null(index_cursor_next(&all));
    assert_null(index_cursor_next_live(&live));
    assert_int_equal(x->keys, n);
    assert_int_equal(x->live, n_live);
}

TEST(index, holds_what_is_put_and_removed_in_any_order)
{
    struct index x = {0};

    make_keys();
    for (int i = 0; i < KEYS; i++) {
        put(&x, next_random(KEYS), next_random(5) == 0 ? MVCC_ACTION_DELETE : MVCC_ACTION_PUT);
    }
    check(&x);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < KEYS; i++) {
            int k = next_random(KEYS);

            if (held[k] == NULL) {
                put(&x, k, MVCC_ACTION_PUT);
            } else if (round > 0 || next_random(2) == 0) {
                remove_key(&x, k);
            }
        }
        check(&x);
    }
    free_keys(&x);
}

TEST(index, gives_its_nodes_back_when_it_empties)
{
    struct index x = {0};
    uint64_t full;

    make_keys();
    for (int i = 0; i < KEYS; i++) {
        put(&x, (int)((int64_t)i * 7919 % KEYS), MVCC_ACTION_PUT);
    }
    full = x.node_bytes;
    for (int i = 0; i < KEYS; i++) {
        if (i % 10 != 0) {
            remove_key(&x, i);
        }
    }
    check(&x);
    assert_true(x.node_bytes < full / 4);
    for (int i = 0; i < KEYS; i += 10) {
        remove_key(&x, i);
    }
    check(&x);
    assert_int_equal(x.node_bytes, sizeof(struct index_leaf));
    put(&x, 5, MVCC_ACTION_PUT);
    check(&x);
    free_keys(&x);
}

TEST(index, keys_that_only_grow_leave_full_leaves_behind)
{
    struct index x = {0};

    make_keys();
    for (int i = 0; i < KEYS; i++) {
        put(&x, i, MVCC_ACTION_PUT);
    }
    check(&x);
    assert_true(x.node_bytes < KEYS / NODE_KEYS * sizeof(struct index_leaf) * 11 / 10);
    free_keys(&x);
}

TEST(index, a_built_index_is_as_one_that_grew)
{
    struct index_builder b = {0};
    struct index x;

    make_keys();
    for (int i = 0; i < KEYS; i++) {
        if (i % 5 != 0) {
            held[i] = version_new(
                keys[i], (struct bytes){0}, 0, i % 7 == 0 ? MVCC_ACTION_DELETE : MVCC_ACTION_PUT);
            index_builder_add(&b, held[i]);
        }
    }
    x = index_builder_finish(&b);
    check(&x);
    for (int i = 0; i < KEYS; i++) {
        int k = next_random(KEYS);

        if (held[k] != NULL && next_random(2) == 0) {
            remove_key(&x, k);
        } else {
            put(&x, k, MVCC_ACTION_PUT);
        }
    }
    check(&x);
    free_keys(&x);
}

TEST(index, an_empty_index_answers)
{
    struct index x = {0};
    struct index_builder b = {0};
    struct index_cursor c = index_seek(&x, BYTES_LITERAL("a"));
    struct key_range all = key_range_parse(BYTES_LITERAL("\0"), BYTES_LITERAL("\0"));

    assert_null(index_cursor_next(&c));
    assert_null(index_cursor_next_live(&c));
    assert_null(index_find(&x, BYTES_LITERAL("a")));
    assert_int_equal(index_count(&x, &all), 0);
    x = index_builder_finish(&b);
    assert_null(x.root);
}

TEST_MAIN(UNIT(index, holds_what_is_put_and_removed_in_any_order),
    UNIT(index, gives_its_nodes_back_when_it_empties),
    UNIT(index, keys_that_only_grow_leave_full_leaves_behind),
    UNIT(index, a_built_index_is_as_one_that_grew), UNIT(index, an_empty_index_answers))
