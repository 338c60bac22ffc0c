/* Watchers: contracts/etcd-v3.md §4 and the promises in reliability.md R21. */
#include "unit.h"

#include "alloc.h"
#include "err.h"
#include "mvcc.h"

#define B(s) BYTES_LITERAL(s)

struct fixture {
    struct mvcc *m;
    struct arena arena;
};

static struct fixture setup(void)
{
    return (struct fixture){.m = mvcc_new()};
}

static void teardown(struct fixture *f)
{
    mvcc_free(f->m);
    arena_deinit(&f->arena);
}
#define _fixture_ _cleanup_(teardown) struct fixture

static void put(struct fixture *f, const char *key, const char *value)
{
    struct put_request r = {.key = bytes_str(key), .value = bytes_str(value)};
    struct put_reply reply;

    assert_int_equal(mvcc_put(f->m, &r, &f->arena, &reply), 0);
}

static void del(struct fixture *f, const char *key)
{
    struct delete_request r = {.key = bytes_str(key)};
    struct delete_reply reply;

    assert_int_equal(mvcc_delete(f->m, &r, &f->arena, &reply), 0);
}

/* A watcher that writes down what it is told: "key@revision" a put, "-key@revision" a delete,
 * "(previous)", its first bytes, if there was one, and "|" after each batch. */
struct diary {
    struct watcher w;
    struct strbuf text;
    size_t room; /* batches until it is full */
    enum watch_end ended;
    struct mvcc *m;
    struct watcher *removes; /* when it is told */
};

static bool on_events(
    struct watcher *w, struct watch_event *const *events, size_t n, int64_t revision)
{
    struct diary *d = container_of(w, struct diary, w);

    for (size_t i = 0; i < n; i++) {
        const struct watch_event *e = events[i];

        assert_true(e->kv.mod_revision <= revision);
        strbuf_printf(&d->text, "%s%.*s@%d", e->is_delete ? "-" : "", (int)e->kv.key.len,
            (const char *)e->kv.key.data, (int)e->kv.mod_revision);
        if (e->has_prev) {
            strbuf_printf(&d->text, "(%.*s)", (int)MIN(e->prev.value.len, (size_t)8),
                (const char *)e->prev.value.data);
        }
        strbuf_append_str(&d->text, " ");
    }
    strbuf_append_str(&d->text, "|");
    if (d->removes != NULL) {
        mvcc_watch_remove(d->m, d->removes);
    }
    d->room--;
    return d->room > 0;
}

static void on_end(struct watcher *w, enum watch_end why)
{
    container_of(w, struct diary, w)->ended = why;
}

static const struct watch_ops ops = {.events = on_events, .end = on_end};

static struct diary diary(const char *key, struct bytes range_end, int64_t start)
{
    return (struct diary){
        .w = {.key = bytes_str(key), .range_end = range_end, .start_revision = start, .ops = &ops},
        .room = SIZE_MAX};
}

static void diary_deinit(struct diary *d)
{
    strbuf_deinit(&d->text);
}
#define _diary_ _cleanup_(diary_deinit) struct diary

static void deliver_all(struct fixture *f)
{
    while (mvcc_watch_deliver(f->m, 1)) {}
}

/* What has been told since the last look. */
static const char *told(struct fixture *f, struct diary *d)
{
    const char *text = (const char *)arena_copy(&f->arena, strbuf_bytes(&d->text)).data;

    strbuf_clear(&d->text);
    return text;
}

TEST(watch, zero_starts_after_now)
{
    _fixture_ f = setup();
    _diary_ d = diary("a", (struct bytes){0}, 0);

    put(&f, "a", "1");
    mvcc_watch_add(f.m, &d.w);
    deliver_all(&f);
    assert_string_equal(told(&f, &d), "");
    assert_true(mvcc_watch_is_synced(f.m, &d.w));
    put(&f, "a", "2");
    assert_false(mvcc_watch_is_synced(f.m, &d.w)); /* a progress reply must not overtake it */
    put(&f, "b", "2");
    deliver_all(&f);
    assert_string_equal(told(&f, &d), "a@3(1) |");
    assert_true(mvcc_watch_is_synced(f.m, &d.w));
    deliver_all(&f);
    assert_string_equal(told(&f, &d), "");
}

TEST(watch, a_past_revision_is_replayed_from_there)
{
    _fixture_ f = setup();
    _diary_ point = diary("a", (struct bytes){0}, 3);
    _diary_ prefix = diary("a", B("b"), 2);
    _diary_ all = diary("a", B("\0"), 4);

    put(&f, "a", "1");
    put(&f, "a", "2");
    put(&f, "c", "3");
    del(&f, "a");
    mvcc_watch_add(f.m, &point.w);
    mvcc_watch_add(f.m, &prefix.w);
    mvcc_watch_add(f.m, &all.w);
    assert_int_equal(mvcc_watch_slow_count(f.m), 3);
    assert_false(mvcc_watch_is_synced(f.m, &point.w));
    deliver_all(&f);
    assert_string_equal(told(&f, &point), "a@3(1) -a@5(2) |");
    assert_string_equal(told(&f, &prefix), "a@2 a@3(1) -a@5(2) |");
    assert_string_equal(told(&f, &all), "c@4 -a@5(2) |");
    assert_int_equal(mvcc_watch_slow_count(f.m), 0);
    assert_int_equal(mvcc_watch_count(f.m), 3);
}

TEST(watch, a_future_revision_hears_nothing_older_not_even_progress)
{
    _fixture_ f = setup();
    _diary_ d = diary("a", (struct bytes){0}, 4);

    mvcc_watch_add(f.m, &d.w);
    for (int i = 0; i < 2; i++) { /* revisions 2 and 3 */
        deliver_all(&f);
        assert_false(mvcc_watch_is_synced(f.m, &d.w));
        put(&f, "a", "old");
    }
    deliver_all(&f);
    assert_true(mvcc_watch_is_synced(f.m, &d.w));
    assert_string_equal(told(&f, &d), "");
    put(&f, "a", "new");
    deliver_all(&f);
    assert_string_equal(told(&f, &d), "a@4(old) |");
}

TEST(watch, filters_leave_events_out_and_an_empty_batch_is_not_sent)
{
    _fixture_ f = setup();
    _diary_ puts = diary("a", (struct bytes){0}, 0);
    _diary_ deletes = diary("a", (struct bytes){0}, 0);

    puts.w.no_delete = true;
    deletes.w.no_put = true;
    mvcc_watch_add(f.m, &puts.w);
    mvcc_watch_add(f.m, &deletes.w);
    put(&f, "a", "1");
    deliver_all(&f);
    del(&f, "a");
    deliver_all(&f);
    assert_string_equal(told(&f, &puts), "a@2 |");
    assert_string_equal(told(&f, &deletes), "-a@3(1) |");
}

TEST(watch, a_txn_is_one_batch_in_the_order_of_its_operations)
{
    _fixture_ f = setup();
    _diary_ d = diary("\x01", B("\0"), 0);
    _diary_ late = diary("\x01", B("\0"), 3);
    struct txn_op write[] = {{.kind = OP_PUT, .put = {.key = B("b"), .value = B("2")}},
        {.kind = OP_DELETE, .del = {.key = B("a")}},
        {.kind = OP_PUT, .put = {.key = B("c"), .value = B("3")}}};
    struct txn_request t = {.success = write, .n_success = ARRAY_SIZE(write)};
    struct txn_reply reply;

    put(&f, "a", "1");
    mvcc_watch_add(f.m, &d.w);
    assert_int_equal(mvcc_txn(f.m, &t, &f.arena, &reply), 0);
    mvcc_watch_add(f.m, &late.w);
    deliver_all(&f); /* slices of one event: a revision is not split */
    assert_string_equal(told(&f, &d), "b@3 -a@3(1) c@3 |");
    assert_string_equal(told(&f, &late), "b@3 -a@3(1) c@3 |");
}

TEST(watch, prev_is_the_value_before_the_revision)
{
    /* A key that a txn deletes and puts anew: both events tell of what was before the txn. */
    _fixture_ f = setup();
    _diary_ d = diary("a", (struct bytes){0}, 0);
    struct txn_op write[] = {{.kind = OP_DELETE, .del = {.key = B("\0"), .range_end = B("\0")}},
        {.kind = OP_PUT, .put = {.key = B("a"), .value = B("2")}}};
    struct txn_request t = {.success = write, .n_success = ARRAY_SIZE(write)};
    struct txn_reply reply;

    put(&f, "a", "1");
    mvcc_watch_add(f.m, &d.w);
    assert_int_equal(mvcc_txn(f.m, &t, &f.arena, &reply), 0);
    deliver_all(&f);
    assert_string_equal(told(&f, &d), "-a@3(1) a@3(1) |");
}

static void compact(struct fixture *f, int64_t revision)
{
    assert_int_equal(mvcc_compact(f->m, revision), 0);
    while (mvcc_compact_step(f->m, 1)) {}
}

TEST(watch, what_was_compacted_ends_the_watch_and_the_compacted_revision_does_not)
{
    _fixture_ f = setup();
    _diary_ gone = diary("a", (struct bytes){0}, 2);
    _diary_ there = diary("a", (struct bytes){0}, 3);
    _diary_ negative = diary("a", (struct bytes){0}, -1);

    put(&f, "a", "1");
    put(&f, "a", "2");
    put(&f, "a", "3");
    mvcc_watch_add(f.m, &negative.w);
    deliver_all(&f);
    assert_int_equal(negative.ended, WATCH_COMPACTED);
    compact(&f, 3);
    mvcc_watch_add(f.m, &gone.w);
    mvcc_watch_add(f.m, &there.w);
    deliver_all(&f);
    assert_int_equal(gone.ended, WATCH_COMPACTED);
    assert_string_equal(told(&f, &gone), "");
    assert_int_equal(there.ended, 0);
    /* What was before the compacted revision is not known any more. */
    assert_string_equal(told(&f, &there), "a@3 a@4(2) |");
    assert_int_equal(mvcc_watch_count(f.m), 1);
}

TEST(watch, a_delete_at_the_compacted_revision_is_still_told)
{
    /* etcd #18089, #19179 */
    _fixture_ f = setup();
    _diary_ d = diary("a", (struct bytes){0}, 3);
    _diary_ all = diary("\x01", B("\0"), 3);

    put(&f, "a", "1");
    del(&f, "a");
    put(&f, "b", "1");
    compact(&f, 3);
    mvcc_watch_add(f.m, &d.w);
    mvcc_watch_add(f.m, &all.w);
    deliver_all(&f);
    assert_string_equal(told(&f, &d), "-a@3 |");
    assert_string_equal(told(&f, &all), "-a@3 b@4 |");
}

TEST(watch, compaction_takes_nothing_from_a_synced_watcher)
{
    _fixture_ f = setup();
    _diary_ d = diary("a", (struct bytes){0}, 0);

    mvcc_watch_add(f.m, &d.w);
    put(&f, "a", "1");
    put(&f, "a", "2");
    del(&f, "a");
    put(&f, "z", "1");
    assert_int_equal(mvcc_compact(f.m, 5), 0);
    for (int i = 0; i < 10; i++) {
        (void)mvcc_compact_step(f.m, 100);
    }
    deliver_all(&f);
    assert_string_equal(told(&f, &d), "a@2 a@3 -a@4 |");
    assert_false(mvcc_compact_step(f.m, 100));
    assert_int_equal(mvcc_compact_done(f.m), 5);
}

TEST(watch, a_full_consumer_is_told_nothing_until_it_is_resumed_and_loses_nothing)
{
    _fixture_ f = setup();
    _diary_ d = diary("a", B("b"), 0);

    d.room = 1;
    mvcc_watch_add(f.m, &d.w);
    put(&f, "a", "1");
    deliver_all(&f);
    put(&f, "a", "2");
    put(&f, "a1", "3");
    deliver_all(&f);
    assert_string_equal(told(&f, &d), "a@2 |");
    assert_int_equal(mvcc_watch_slow_count(f.m), 1);
    d.room = SIZE_MAX;
    mvcc_watch_resume(f.m, &d.w);
    mvcc_watch_resume(f.m, &d.w);
    put(&f, "a", "4");
    deliver_all(&f);
    assert_string_equal(told(&f, &d), "a@3(1) a1@4 a@5(2) |");
    assert_int_equal(mvcc_watch_slow_count(f.m), 0);
    assert_true(mvcc_watch_is_synced(f.m, &d.w));
}

static bool not_ready(struct watcher *w)
{
    return container_of(w, struct diary, w)->room > 0;
}

/* It was told all there was for it, however long ago: what is compacted since is not missing. */
TEST(watch, a_consumer_without_room_is_told_later_of_what_it_has_not_seen)
{
    static const struct watch_ops asked = {.events = on_events, .end = on_end, .ready = not_ready};
    _fixture_ f = setup();
    _diary_ d = diary("k", (struct bytes){0}, 0);

    d.w.ops = &asked;
    d.room = 0;
    mvcc_watch_add(f.m, &d.w);
    for (int i = 0; i < 10; i++) {
        put(&f, "other", "x");
    }
    while (mvcc_watch_deliver(f.m, 100)) {}
    assert_int_equal(mvcc_compact(f.m, 9), 0);
    put(&f, "k", "1");
    while (mvcc_watch_deliver(f.m, 100)) {}
    assert_string_equal(told(&f, &d), "");
    assert_int_equal(mvcc_watch_slow_count(f.m), 1);
    put(&f, "k", "2");
    d.room = SIZE_MAX;
    mvcc_watch_resume(f.m, &d.w);
    while (mvcc_watch_deliver(f.m, 100)) {}
    assert_string_equal(told(&f, &d), "k@12 k@13(1) |");
    assert_int_equal(d.ended, 0);
}

TEST(watch, a_full_consumer_that_is_overtaken_by_compaction_ends_when_it_is_resumed)
{
    _fixture_ f = setup();
    _diary_ d = diary("a", (struct bytes){0}, 0);

    d.room = 1;
    mvcc_watch_add(f.m, &d.w);
    put(&f, "a", "1");
    deliver_all(&f);
    put(&f, "a", "2");
    put(&f, "a", "3");
    compact(&f, 4);
    deliver_all(&f);
    assert_int_equal(d.ended, 0);
    mvcc_watch_resume(f.m, &d.w);
    deliver_all(&f);
    assert_int_equal(d.ended, WATCH_COMPACTED);
    assert_string_equal(told(&f, &d), "a@2 |");
    assert_int_equal(mvcc_watch_count(f.m), 0);
    mvcc_watch_remove(f.m, &d.w); /* idempotent, also after the end */
}

TEST(watch, catching_up_is_done_in_slices_and_in_turns)
{
    enum { CHANGES = 5000 };
    _fixture_ f = setup();
    _diary_ range = diary("k", B("l"), 2);
    _diary_ point = diary("k", (struct bytes){0}, 2);
    int turns = 0;

    for (int i = 0; i < CHANGES; i++) {
        put(&f, "k", "v");
    }
    mvcc_watch_add(f.m, &range.w);
    mvcc_watch_add(f.m, &point.w);
    while (mvcc_watch_deliver(f.m, 1000)) {
        turns++;
        assert_false(mvcc_watch_is_synced(f.m, &range.w));
    }
    assert_in_range(turns, 8, 12);
    assert_true(bytes_eq(strbuf_bytes(&range.text), strbuf_bytes(&point.text)));
    assert_non_null(strstr(strbuf_cstr(&range.text), "k@5001(v) |"));
}

enum { LARGE = 100 * 1024 /* the third passes what is told at a time, 256 KiB */ };

TEST(watch, a_batch_is_cut_by_bytes)
{
    static const char *const keys[] = {"k1", "k2", "k3", "k4", "k5", "k6", "k7"};
    static const char expected[] = "k1@2 k2@3 k3@4 |k4@5 k5@6 k6@7 |k7@8 |";
    _fixture_ f = setup();
    _diary_ live = diary("k", B("l"), 0);
    _diary_ replay = diary("k", B("l"), 2);
    _diary_ full = diary("k", B("l"), 2);
    char value[LARGE + 1];

    memset(value, 'x', LARGE);
    value[LARGE] = '\0';
    full.room = 1;
    mvcc_watch_add(f.m, &live.w);
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        put(&f, keys[i], value);
    }
    mvcc_watch_add(f.m, &replay.w);
    mvcc_watch_add(f.m, &full.w);
    deliver_all(&f);
    assert_string_equal(told(&f, &live), expected);
    assert_string_equal(told(&f, &replay), expected);
    assert_string_equal(told(&f, &full), "k1@2 k2@3 k3@4 |");
    full.room = SIZE_MAX;
    mvcc_watch_resume(f.m, &full.w);
    deliver_all(&f);
    assert_string_equal(told(&f, &full), "k4@5 k5@6 k6@7 |k7@8 |");
}

TEST(watch, a_batch_for_one_key_is_cut_by_bytes_and_values_before_count)
{
    _fixture_ f = setup();
    _diary_ live = diary("k", (struct bytes){0}, 0);
    _diary_ replay = diary("k", (struct bytes){0}, 2);
    _diary_ prev = diary("k", (struct bytes){0}, 2);
    char value[LARGE + 1];

    memset(value, 'x', LARGE);
    value[LARGE] = '\0';
    prev.w.prev_kv = true;
    mvcc_watch_add(f.m, &live.w);
    for (int i = 0; i < 4; i++) {
        put(&f, "k", value);
    }
    mvcc_watch_add(f.m, &replay.w);
    mvcc_watch_add(f.m, &prev.w);
    deliver_all(&f);
    assert_string_equal(
        told(&f, &live), "k@2 k@3(xxxxxxxx) |k@4(xxxxxxxx) k@5(xxxxxxxx) |"); /* for all alike */
    assert_string_equal(told(&f, &replay), "k@2 k@3(xxxxxxxx) k@4(xxxxxxxx) |k@5(xxxxxxxx) |");
    assert_string_equal(told(&f, &prev), "k@2 k@3(xxxxxxxx) |k@4(xxxxxxxx) k@5(xxxxxxxx) |");
}

TEST(watch, a_large_revision_is_not_split)
{
    _fixture_ f = setup();
    _diary_ live = diary("k", B("l"), 0);
    _diary_ replay = diary("k", B("l"), 2);
    static uint8_t bytes[LARGE];
    struct bytes value = bytes_make(bytes, sizeof(bytes));
    struct txn_op write[] = {{.kind = OP_PUT, .put = {.key = B("k1"), .value = value}},
        {.kind = OP_PUT, .put = {.key = B("k2"), .value = value}},
        {.kind = OP_PUT, .put = {.key = B("k3"), .value = value}},
        {.kind = OP_PUT, .put = {.key = B("k4"), .value = value}},
        {.kind = OP_PUT, .put = {.key = B("k5"), .value = value}}};
    struct txn_request t = {.success = write, .n_success = ARRAY_SIZE(write)};
    struct txn_reply reply;

    mvcc_watch_add(f.m, &live.w);
    assert_int_equal(mvcc_txn(f.m, &t, &f.arena, &reply), 0);
    put(&f, "k", "after");
    mvcc_watch_add(f.m, &replay.w);
    deliver_all(&f);
    assert_string_equal(told(&f, &live), "k1@2 k2@2 k3@2 k4@2 k5@2 |k@3 |");
    assert_string_equal(told(&f, &replay), "k1@2 k2@2 k3@2 k4@2 k5@2 |k@3 |");
}

TEST(watch, a_watcher_may_remove_itself_and_others_while_it_is_told)
{
    for (int self = 0; self < 2; self++) {
        for (int catching_up = 0; catching_up < 2; catching_up++) {
            _fixture_ f = setup();
            struct diary d[2] = {
                diary("a", B("b"), catching_up ? 2 : 0), diary("a", B("b"), catching_up ? 2 : 0)};

            if (catching_up) {
                put(&f, "a", "1");
            }
            for (int i = 0; i < 2; i++) {
                d[i].m = f.m;
                d[i].removes = self ? &d[i].w : &d[1 - i].w;
                mvcc_watch_add(f.m, &d[i].w);
            }
            put(&f, "a", "2");
            deliver_all(&f);
            assert_int_equal(mvcc_watch_count(f.m), self ? 0 : 1);
            assert_true(d[0].text.len > 0);
            assert_int_equal(d[1].text.len > 0, self);
            put(&f, "a", "3");
            deliver_all(&f);
            mvcc_watch_remove(f.m, &d[0].w);
            strbuf_deinit(&d[0].text);
            strbuf_deinit(&d[1].text);
        }
    }
}

/* Makes the wire form if nobody has yet; counts how often that was. */
static int encodings;

static bool encode(struct watcher *w, struct watch_event *const *events, size_t n, int64_t revision)
{
    (void)w, (void)revision;
    for (size_t i = 0; i < n; i++) {
        if (events[i]->encoded[0] == NULL) {
            events[i]->encoded[0] = buf_copy(events[i]->kv.value);
            encodings++;
        }
        assert_true(bytes_eq(buf_bytes(events[i]->encoded[0]), events[i]->kv.value));
    }
    return true;
}

TEST(watch, an_event_is_one_for_all_its_watchers)
{
    enum { WATCHERS = 1000 };
    static const struct watch_ops encode_ops = {.events = encode, .end = on_end};
    _fixture_ f = setup();
    struct watcher *w = xcalloc(WATCHERS, sizeof(*w));

    encodings = 0;
    for (size_t i = 0; i < WATCHERS; i++) {
        w[i] = (struct watcher){.key = B("a"), .ops = &encode_ops};
        w[i].range_end = i % 3 == 0 ? (struct bytes){0} : i % 3 == 1 ? B("b") : B("\0");
        mvcc_watch_add(f.m, &w[i]);
    }
    put(&f, "a", "1");
    put(&f, "a", "2");
    deliver_all(&f);
    assert_int_equal(encodings, 2);
    for (size_t i = 0; i < WATCHERS; i++) {
        mvcc_watch_remove(f.m, &w[i]);
    }
    assert_int_equal(mvcc_watch_count(f.m), 0);
    free(w);
}

/* Every interval of a small line of keys, as text "b".."y". */
TEST(watch, each_interval_hears_of_its_keys_and_of_no_others)
{
    enum { LINE = 24 };
    _fixture_ f = setup();
    struct diary *d = xcalloc((size_t)LINE * LINE, sizeof(*d));
    char text[LINE][2];

    for (int i = 0; i < LINE; i++) {
        text[i][0] = (char)('b' + i);
        text[i][1] = '\0';
    }
    for (int i = 0; i < LINE * LINE; i++) {
        int order = i * 77 % (LINE * LINE);

        d[order] = diary(text[order / LINE], bytes_str(text[order % LINE]), 0);
        mvcc_watch_add(f.m, &d[order].w);
    }
    for (int round = 0; round < 2; round++) {
        for (int k = 0; k < LINE; k++) {
            put(&f, text[k], "v");
            deliver_all(&f);
            for (int i = 0; i < LINE * LINE; i++) {
                bool inside = i / LINE <= k && k < i % LINE && (round == 0 || i % 3 != 0);

                assert_int_equal(d[i].text.len > 0, inside);
                strbuf_clear(&d[i].text);
            }
        }
        for (int i = 0; i < LINE * LINE; i += 3) { /* the second round is without a third */
            mvcc_watch_remove(f.m, &d[i].w);
        }
    }
    for (int i = 0; i < LINE * LINE; i++) {
        mvcc_watch_remove(f.m, &d[i].w);
        strbuf_deinit(&d[i].text);
    }
    free(d);
}

static struct mvcc *copy_of(struct mvcc *m)
{
    struct mvcc_snapshot *s = mvcc_snapshot_open(m);
    struct mvcc_loader *l = mvcc_loader_new();
    _cleanup_strbuf_ struct strbuf all = {0};
    struct mvcc *copy = NULL;

    while (mvcc_snapshot_next(s, 100, &all)) {}
    mvcc_snapshot_close(s);
    assert_int_equal(mvcc_loader_feed(l, strbuf_bytes(&all), NULL), 0);
    assert_int_equal(mvcc_loader_finish(l, &copy, NULL), 0);
    mvcc_loader_free(l);
    return copy;
}

TEST(watch, an_installed_snapshot_neither_repeats_nor_skips)
{
    /* etcd #15271: a member that was behind gets a snapshot; its watchers have seen revision 3. */
    _fixture_ f = setup();
    _diary_ synced = diary("a", B("b"), 0);
    _diary_ full = diary("a", B("b"), 0);
    _diary_ behind = diary("a", B("b"), 2);
    _diary_ future = diary("a", B("b"), 7);
    struct fixture leader = setup();
    struct mvcc *old = f.m;

    full.room = 1;
    mvcc_watch_add(f.m, &synced.w);
    mvcc_watch_add(f.m, &full.w);
    mvcc_watch_add(f.m, &future.w);
    for (int i = 0; i < 2; i++) {
        put(&f, "a", "x");
        put(&leader, "a", "x");
        deliver_all(&f);
    }
    mvcc_watch_add(f.m, &behind.w);
    for (int i = 0; i < 3; i++) { /* 4, 5, 6 */
        put(&leader, "a", "y");
    }
    compact(&leader, 3);
    f.m = copy_of(leader.m);
    mvcc_watch_move(old, f.m);
    mvcc_free(old);
    full.room = SIZE_MAX;
    mvcc_watch_resume(f.m, &full.w);
    deliver_all(&f);
    assert_string_equal(told(&f, &synced), "a@2 |a@3(x) |a@4(x) a@5(y) a@6(y) |");
    assert_string_equal(told(&f, &full), "a@2 |a@3 a@4(x) a@5(y) a@6(y) |");
    assert_int_equal(behind.ended, WATCH_COMPACTED);
    put(&f, "a", "z");
    deliver_all(&f);
    assert_string_equal(told(&f, &future), "a@7(y) |");
    assert_string_equal(told(&f, &synced), "a@7(y) |");
    assert_int_equal(mvcc_watch_count(f.m), 3);
    teardown(&leader);
}

TEST_MAIN(UNIT(watch, zero_starts_after_now), UNIT(watch, a_past_revision_is_replayed_from_there),
    UNIT(watch, a_future_revision_hears_nothing_older_not_even_progress),
    UNIT(watch, filters_leave_events_out_and_an_empty_batch_is_not_sent),
    UNIT(watch, a_txn_is_one_batch_in_the_order_of_its_operations),
    UNIT(watch, prev_is_the_value_before_the_revision),
    UNIT(watch, what_was_compacted_ends_the_watch_and_the_compacted_revision_does_not),
    UNIT(watch, a_delete_at_the_compacted_revision_is_still_told),
    UNIT(watch, compaction_takes_nothing_from_a_synced_watcher),
    UNIT(watch, a_full_consumer_is_told_nothing_until_it_is_resumed_and_loses_nothing),
    UNIT(watch, a_consumer_without_room_is_told_later_of_what_it_has_not_seen),
    UNIT(watch, a_full_consumer_that_is_overtaken_by_compaction_ends_when_it_is_resumed),
    UNIT(watch, catching_up_is_done_in_slices_and_in_turns), UNIT(watch, a_batch_is_cut_by_bytes),
    UNIT(watch, a_batch_for_one_key_is_cut_by_bytes_and_values_before_count),
    UNIT(watch, a_large_revision_is_not_split),
    UNIT(watch, a_watcher_may_remove_itself_and_others_while_it_is_told),
    UNIT(watch, an_event_is_one_for_all_its_watchers),
    UNIT(watch, each_interval_hears_of_its_keys_and_of_no_others),
    UNIT(watch, an_installed_snapshot_neither_repeats_nor_skips))
