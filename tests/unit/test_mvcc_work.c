/* Deletes, txns and ends of leases of many keys, in steps: what else may go on between them, what
 * one that nobody waits for leaves out, and what is left of one that is given up. (That steps and
 * one go come to the same is in test_mvcc_model.c.) */
#include "unit.h"

#include <stdio.h>

#include "err.h"
#include "mvcc.h"

enum { KEYS = 3000 };

struct fixture {
    struct mvcc *m;
    struct arena arena;
    size_t parts, kvs, last_op;
};

static void put(struct fixture *f, const char *key, int64_t lease)
{
    struct put_request r = {.key = bytes_str(key), .value = BYTES_LITERAL("v"), .lease = lease};
    struct put_reply reply;

    assert_int_equal(mvcc_put(f->m, &r, &f->arena, &reply), 0);
}

/* The second half of the keys hang on lease 7; they are not put in their order. */
static struct fixture make(void)
{
    struct fixture f = {.m = mvcc_new()};

    assert_int_equal(mvcc_lease_grant(f.m, 7, 60, 0), 0);
    for (int i = 0; i < KEYS; i++) {
        int k = i * 7 % KEYS;
        char key[16];

        (void)snprintf(key, sizeof(key), "/%06d", k);
        put(&f, key, k >= KEYS / 2 ? 7 : 0);
    }
    return f;
}

static void drop(struct fixture *f)
{
    mvcc_free(f->m);
    arena_deinit(&f->arena);
}

static void on_part(void *data, const struct store_part *part)
{
    struct fixture *f = data;

    assert_true(part->n <= 1000);
    f->parts++;
    f->kvs += part->n;
    f->last_op = part->op;
}

static const struct delete_request delete_all = {
    .key = BYTES_LITERAL("\0"), .range_end = BYTES_LITERAL("\0"), .prev_kv = true};

static struct txn_op ranges_and_delete[] = {
    {.kind = OP_RANGE, .range = {.key = BYTES_LITERAL("/"), .range_end = BYTES_LITERAL("0")}},
    {.kind = OP_RANGE,
        .range = {.key = BYTES_LITERAL("/00000"), .range_end = BYTES_LITERAL("/00001")}},
    {.kind = OP_DELETE,
        .del = {.key = BYTES_LITERAL("/"), .range_end = BYTES_LITERAL("0"), .prev_kv = true}},
};
static const struct txn_request big_txn = {
    .success = ranges_and_delete, .n_success = ARRAY_SIZE(ranges_and_delete)};

static int step(struct mvcc_work *w, size_t steps)
{
    return mvcc_work_step(w, &steps);
}

/* How many steps of 100 it takes. */
static unsigned count_steps(struct mvcc_work *w)
{
    unsigned n = 1;

    while (step(w, 100) > 0) {
        n++;
    }
    mvcc_work_close(w);
    return n;
}

TEST(mvcc_work, a_step_is_as_long_as_it_may_be)
{
    struct fixture f = make();
    struct mvcc_answer answer = {.part = on_part, .data = &f, .own = 1000};
    struct delete_reply reply;
    unsigned n = count_steps(mvcc_work_delete(f.m, &delete_all, &f.arena, &answer, &reply));

    assert_in_range(n, KEYS / 100, KEYS / 100 + 2);
    assert_int_equal(reply.deleted, KEYS);
    assert_true(reply.in_parts);
    assert_int_equal(f.kvs, KEYS);
    assert_in_range(f.parts, KEYS / 100, KEYS / 100 + 2);
    assert_int_equal(mvcc_keys(f.m), 0);
    drop(&f);
}

TEST(mvcc_work, a_txn_hands_out_what_is_large_and_keeps_what_is_small)
{
    struct fixture f = make();
    struct mvcc_answer answer = {.part = on_part, .data = &f, .own = 1000};
    struct txn_reply reply;
    int64_t before = mvcc_revision(f.m);

    (void)count_steps(mvcc_work_txn(f.m, &big_txn, &f.arena, &answer, &reply));
    assert_true(reply.ops[0].range.in_parts);
    assert_int_equal(reply.ops[0].range.count, KEYS);
    assert_false(reply.ops[1].range.in_parts);
    assert_int_equal(reply.ops[1].range.n_kvs, 10);
    assert_true(reply.ops[2].del.in_parts);
    assert_int_equal(reply.ops[2].del.deleted, KEYS);
    assert_int_equal(f.kvs, 2 * KEYS);
    assert_int_equal(f.last_op, 1); /* of those in parts */
    assert_int_equal(mvcc_revision(f.m), before + 1);
    drop(&f);
}

TEST(mvcc_work, what_nobody_waits_for_is_not_read)
{
    struct fixture f = make(), g = make();
    struct mvcc_answer nobody = {.unwanted = true}, somebody = {.part = on_part, .data = &g};
    struct txn_reply reply;
    unsigned less = count_steps(mvcc_work_txn(f.m, &big_txn, &f.arena, &nobody, &reply));
    unsigned more = count_steps(mvcc_work_txn(g.m, &big_txn, &g.arena, &somebody, &reply));

    assert_true(less + KEYS / 100 <= more);
    assert_int_equal(mvcc_hash(f.m), mvcc_hash(g.m));
    assert_int_equal(f.parts, 0);
    drop(&f);
    drop(&g);
}

static struct mvcc *load(struct mvcc_snapshot *s)
{
    struct mvcc_loader *l = mvcc_loader_new();
    struct strbuf piece = {0};
    struct mvcc *loaded = NULL;

    while (mvcc_snapshot_next(s, 5000, &piece)) {
        assert_int_equal(mvcc_loader_feed(l, strbuf_bytes(&piece), NULL), 0);
        strbuf_clear(&piece);
    }
    assert_int_equal(mvcc_loader_finish(l, &loaded, NULL), 0);
    mvcc_loader_free(l);
    strbuf_deinit(&piece);
    return loaded;
}

/* A lease's end, half of it done: the snapshot has all of its keys, and the lease. */
TEST(mvcc_work, a_snapshot_opened_in_between_is_of_before)
{
    struct fixture f = make();
    uint64_t before = mvcc_hash(f.m);
    struct mvcc_work *w = mvcc_work_revoke(f.m, 7, true);
    struct mvcc_snapshot *s;
    struct mvcc *loaded;
    struct lease_reply lease;

    do {
        assert_int_equal(step(w, 100), 1);
    } while (mvcc_keys(f.m) > KEYS - KEYS / 4);
    assert_int_equal(mvcc_hash(f.m), before);
    s = mvcc_snapshot_open(f.m);
    loaded = load(s);
    assert_int_equal(mvcc_hash(loaded), before);
    assert_int_equal(mvcc_lease_info(loaded, 7, 0, true, &f.arena, &lease), 0);
    assert_int_equal(lease.n_keys, KEYS / 2);
    mvcc_snapshot_close(s);
    while (step(w, 100) > 0) {}
    mvcc_work_close(w);
    assert_int_equal(mvcc_keys(f.m), KEYS / 2);
    assert_int_equal(mvcc_lease_count(f.m), 0);
    mvcc_free(loaded);
    drop(&f);
}

/* The deletes of a lease's end are told in the order of the keys. */
struct order {
    struct watcher w;
    struct bytes last;
    size_t n;
};

static bool on_events(
    struct watcher *w, struct watch_event *const *events, size_t n, int64_t revision)
{
    struct order *o = container_of(w, struct order, w);

    (void)revision;
    for (size_t i = 0; i < n; i++) {
        assert_true(o->n == 0 || bytes_cmp(o->last, events[i]->kv.key) < 0);
        o->last = events[i]->kv.key;
        o->n++;
    }
    return true;
}

static void on_end(struct watcher *w, enum watch_end why)
{
    (void)w;
    (void)why;
}

TEST(mvcc_work, a_lease_ends_in_the_order_of_its_keys)
{
    static const struct watch_ops ops = {.events = on_events, .end = on_end};
    struct fixture f = make();
    struct order o = {
        .w = {.key = BYTES_LITERAL("/"), .range_end = BYTES_LITERAL("0"), .ops = &ops}};
    struct mvcc_work *w = mvcc_work_revoke(f.m, 7, false);

    assert_int_equal(step(w, 1), 1);
    mvcc_watch_add(f.m, &o.w); /* from now on: all of it is still to come */
    while (step(w, 1 + o.n) > 0) {}
    mvcc_work_close(w);
    while (mvcc_watch_deliver(f.m, 1000)) {}
    assert_int_equal(o.n, KEYS / 2);
    mvcc_watch_remove(f.m, &o.w);
    drop(&f);
}

TEST(mvcc_work, given_up_before_its_first_change_nothing_has_happened)
{
    static struct compare all = {.key = BYTES_LITERAL("/"),
        .range_end = BYTES_LITERAL("0"),
        .target = COMPARE_VERSION,
        .result = COMPARE_EQUAL,
        .number = 1};
    struct txn_request t = big_txn;
    struct fixture f = make();
    struct mvcc_answer answer = {.part = on_part, .data = &f, .own = 1000};
    uint64_t before = mvcc_hash(f.m);
    struct txn_reply reply;
    struct mvcc_work *w;

    t.compares = &all;
    t.n_compares = 1;
    w = mvcc_work_txn(f.m, &t, &f.arena, &answer, &reply);
    for (int i = 0; i < KEYS / 100 + 10; i++) { /* in the midst of its first range */
        assert_int_equal(step(w, 100), 1);
    }
    assert_true(f.parts > 0);
    mvcc_work_close(w);
    assert_int_equal(mvcc_hash(f.m), before);
    put(&f, "/new", 0);
    drop(&f);
}

TEST(mvcc_work, given_up_later_its_watchers_move_on)
{
    static const struct watch_ops ops = {.events = on_events, .end = on_end};
    struct fixture f = make(), g = make();
    struct order o = {
        .w = {.key = BYTES_LITERAL("/"), .range_end = BYTES_LITERAL("0"), .ops = &ops}};
    struct mvcc_answer answer = {0};
    struct delete_reply reply;
    struct mvcc_work *w;

    while (mvcc_watch_deliver(f.m, 1000)) {}
    mvcc_watch_add(f.m, &o.w);
    w = mvcc_work_delete(f.m, &delete_all, &f.arena, &answer, &reply);
    assert_int_equal(step(w, 100), 1);
    mvcc_work_close(w);
    assert_int_equal(mvcc_delete(g.m, &delete_all, &g.arena, &reply), 0);
    mvcc_watch_move(f.m, g.m);
    while (mvcc_watch_deliver(g.m, 1000)) {}
    assert_int_equal(o.n, KEYS); /* the whole delete, as the new keyspace has it */
    mvcc_watch_remove(g.m, &o.w);
    drop(&f);
    drop(&g);
}

TEST_MAIN(UNIT(mvcc_work, a_step_is_as_long_as_it_may_be),
    UNIT(mvcc_work, a_txn_hands_out_what_is_large_and_keeps_what_is_small),
    UNIT(mvcc_work, what_nobody_waits_for_is_not_read),
    UNIT(mvcc_work, a_snapshot_opened_in_between_is_of_before),
    UNIT(mvcc_work, a_lease_ends_in_the_order_of_its_keys),
    UNIT(mvcc_work, given_up_before_its_first_change_nothing_has_happened),
    UNIT(mvcc_work, given_up_later_its_watchers_move_on))
