/* Leases: contracts/etcd-v3.md §5. Times are milliseconds of a clock that the test is. */
#include "unit.h"

#include "err.h"
#include "mvcc.h"

#define B(s) BYTES_LITERAL(s)

struct fixture {
    struct mvcc *m;
    struct arena arena;
};

/* A member that leads since time 0. */
static struct fixture setup(void)
{
    struct fixture f = {.m = mvcc_new()};

    mvcc_lease_promote(f.m, 0, 0);
    return f;
}

static void teardown(struct fixture *f)
{
    mvcc_free(f->m);
    arena_deinit(&f->arena);
}
#define _fixture_ _cleanup_(teardown) struct fixture

static void put(struct fixture *f, const char *key, int64_t lease)
{
    struct put_request r = {.key = bytes_str(key), .value = B("v"), .lease = lease};
    struct put_reply reply;

    assert_int_equal(mvcc_put(f->m, &r, &f->arena, &reply), 0);
}

/* The keys of a lease, separated by blanks. */
static const char *keys(struct fixture *f, int64_t id)
{
    _cleanup_strbuf_ struct strbuf s = {0};
    struct lease_reply r;

    assert_int_equal(mvcc_lease_info(f->m, id, 0, true, &f->arena, &r), 0);
    for (size_t i = 0; i < r.n_keys; i++) {
        strbuf_append_str(&s, i > 0 ? " " : "");
        strbuf_append_bytes(&s, r.keys[i]);
    }
    return (const char *)arena_copy(&f->arena, strbuf_bytes(&s)).data;
}

static int64_t left(struct fixture *f, int64_t id, uint64_t now_ms)
{
    struct lease_reply r;
    int err = mvcc_lease_info(f->m, id, now_ms, false, &f->arena, &r);

    return err < 0 ? err : r.ttl;
}

static size_t expired(struct fixture *f, uint64_t now_ms, int64_t *ids, size_t max)
{
    return mvcc_lease_expired(f->m, now_ms, 1000, ids, max);
}

TEST(lease, grant_refuses_a_known_id_and_a_ttl_that_is_too_large)
{
    _fixture_ f = setup();

    assert_int_equal(mvcc_lease_grant(f.m, 1, 10, 0), 0);
    assert_int_equal(mvcc_lease_grant(f.m, 1, 10, 0), DECREE_ELEASE_EXISTS);
    assert_int_equal(mvcc_lease_grant(f.m, 2, 9000000000, 0), 0);
    assert_int_equal(mvcc_lease_grant(f.m, 3, 9000000001, 0), DECREE_ELEASE_TTL_TOO_LARGE);
    assert_int_equal(mvcc_lease_grant(f.m, -4, 10, 0), 0);
    assert_int_equal(mvcc_lease_count(f.m), 3);
    assert_int_equal(mvcc_revision(f.m), 1);
}

TEST(lease, list_is_in_the_order_of_ids)
{
    _fixture_ f = setup();
    _cleanup_arena_ struct arena small = {.limit = 8};
    struct lease_list_reply r;

    assert_int_equal(mvcc_lease_list(f.m, &f.arena, &r), 0);
    assert_int_equal(r.n, 0);
    for (int64_t id = 5; id >= -5; id -= 2) {
        assert_int_equal(mvcc_lease_grant(f.m, id, 10, 0), 0);
    }
    assert_int_equal(mvcc_lease_list(f.m, &f.arena, &r), 0);
    assert_int_equal(r.n, 6);
    for (int64_t i = 0; i < 6; i++) {
        assert_int_equal(r.ids[i], -5 + 2 * i);
    }
    assert_int_equal(mvcc_lease_list(f.m, &small, &r), DECREE_ETOO_LARGE);
}

TEST(lease, keys_follow_the_last_put_and_the_delete)
{
    _fixture_ f = setup();
    struct delete_request d = {.key = B("b")};
    struct delete_reply reply;

    assert_int_equal(mvcc_lease_grant(f.m, 1, 10, 0), 0);
    assert_int_equal(mvcc_lease_grant(f.m, 2, 10, 0), 0);
    put(&f, "c", 1);
    put(&f, "a", 1);
    put(&f, "b", 1);
    assert_string_equal(keys(&f, 1), "a b c");
    put(&f, "a", 2); /* another lease detaches the old one */
    assert_string_equal(keys(&f, 1), "b c");
    assert_string_equal(keys(&f, 2), "a");
    put(&f, "c", 0); /* as does none */
    assert_string_equal(keys(&f, 1), "b");
    assert_int_equal(mvcc_delete(f.m, &d, &f.arena, &reply), 0);
    assert_string_equal(keys(&f, 1), "");
}

TEST(lease, a_put_with_an_unknown_lease_is_refused)
{
    _fixture_ f = setup();
    struct put_request r = {.key = B("a"), .lease = 9};
    struct put_reply reply;

    assert_int_equal(mvcc_put(f.m, &r, &f.arena, &reply), DECREE_ELEASE_NOT_FOUND);
    assert_int_equal(mvcc_keys(f.m), 0);
}

static bool saw(struct watcher *w, struct watch_event *const *events, size_t n, int64_t revision);
static void ended(struct watcher *w, enum watch_end why)
{
    (void)w;
    fail_msg("ended: %d", (int)why);
}

/* A watcher of everything that writes down what it is told. */
struct diary {
    struct watcher w;
    struct strbuf text;
};

static bool saw(struct watcher *w, struct watch_event *const *events, size_t n, int64_t revision)
{
    struct diary *d = container_of(w, struct diary, w);

    for (size_t i = 0; i < n; i++) {
        assert_int_equal(events[i]->kv.mod_revision, revision);
        strbuf_printf(&d->text, "%s%.*s/%d", d->text.len > 0 ? " " : "", (int)events[i]->kv.key.len,
            (const char *)events[i]->kv.key.data, (int)events[i]->action);
    }
    return true;
}

TEST(lease, revoke_deletes_its_keys_in_order_in_one_revision)
{
    static const struct watch_ops ops = {.events = saw, .end = ended};
    _fixture_ f = setup();
    struct diary d = {.w = {.key = B("\0"), .range_end = B("\0"), .ops = &ops}};

    assert_int_equal(mvcc_lease_grant(f.m, 1, 10, 0), 0);
    put(&f, "b", 1);
    put(&f, "c", 1);
    put(&f, "a", 1);
    put(&f, "x", 0); /* revision 5 */
    mvcc_watch_add(f.m, &d.w);
    assert_int_equal(mvcc_lease_revoke(f.m, 1, true), 0);
    assert_int_equal(mvcc_revision(f.m), 6);
    assert_false(mvcc_watch_deliver(f.m, 100));
    assert_string_equal(strbuf_cstr(&d.text), "a/5 b/5 c/5"); /* MVCC_ACTION_EXPIRE */
    assert_int_equal(mvcc_keys(f.m), 1);
    assert_int_equal(mvcc_lease_revoke(f.m, 1, true), DECREE_ELEASE_NOT_FOUND);
    assert_int_equal(mvcc_lease_grant(f.m, 1, 10, 0), 0);
    assert_int_equal(mvcc_lease_revoke(f.m, 1, false), 0);
    assert_int_equal(mvcc_revision(f.m), 6); /* no key, no revision */
    strbuf_deinit(&d.text);
}

TEST(lease, time_left_is_truncated_to_seconds)
{
    _fixture_ f = setup();

    assert_int_equal(mvcc_lease_grant(f.m, 1, 10, 1000), 0);
    assert_int_equal(left(&f, 1, 1000), 10);
    assert_int_equal(left(&f, 1, 1001), 9);
    assert_int_equal(left(&f, 1, 10999), 0);
    assert_int_equal(left(&f, 1, 99999), 0);
    assert_int_equal(left(&f, 2, 0), DECREE_ELEASE_NOT_FOUND);
    mvcc_lease_demote(f.m);
    assert_int_equal(left(&f, 1, 99999), 10);
}

TEST(lease, expires_at_its_deadline_and_comes_again_until_it_is_revoked)
{
    _fixture_ f = setup();
    int64_t ids[4];

    assert_true(mvcc_lease_next_ms(f.m) == UINT64_MAX);
    assert_int_equal(mvcc_lease_grant(f.m, 7, 2, 0), 0);
    assert_int_equal(mvcc_lease_grant(f.m, 8, 5, 0), 0);
    assert_int_equal(mvcc_lease_next_ms(f.m), 2000);
    assert_int_equal(expired(&f, 1999, ids, 4), 0);
    assert_int_equal(expired(&f, 2000, ids, 4), 1);
    assert_int_equal(ids[0], 7);
    assert_int_equal(expired(&f, 2500, ids, 4), 0);
    assert_int_equal(expired(&f, 3000, ids, 4), 1);
    assert_int_equal(mvcc_lease_revoke(f.m, 7, true), 0);
    assert_int_equal(expired(&f, 4500, ids, 4), 0);
    assert_int_equal(mvcc_lease_next_ms(f.m), 5000);
}

TEST(lease, no_more_than_asked_for_come_at_once)
{
    _fixture_ f = setup();
    int64_t ids[4];

    for (int64_t id = 1; id <= 6; id++) {
        assert_int_equal(mvcc_lease_grant(f.m, id, 1, 0), 0);
    }
    assert_int_equal(expired(&f, 1000, ids, 4), 4);
    assert_int_equal(expired(&f, 1000, ids, 4), 2);
    assert_int_equal(expired(&f, 1000, ids, 4), 0);
}

TEST(lease, renewal_gives_a_full_ttl)
{
    _fixture_ f = setup();
    int64_t ids[4], ttl = 0;

    assert_int_equal(mvcc_lease_grant(f.m, 1, 2, 0), 0);
    assert_int_equal(mvcc_lease_renew(f.m, 1, 1500, &ttl), 0);
    assert_int_equal(ttl, 2);
    assert_int_equal(expired(&f, 2000, ids, 4), 0);
    assert_int_equal(mvcc_lease_next_ms(f.m), 3500);
    assert_int_equal(expired(&f, 3499, ids, 4), 0);
    assert_int_equal(expired(&f, 3500, ids, 4), 1);
    assert_int_equal(mvcc_lease_renew(f.m, 2, 0, &ttl), DECREE_ELEASE_NOT_FOUND);
}

TEST(lease, one_that_has_expired_cannot_be_renewed_any_more)
{
    /* Its revoke may be under way: a client that got an answer would believe in it. */
    _fixture_ f = setup();
    int64_t ttl = 0;

    assert_int_equal(mvcc_lease_grant(f.m, 1, 2, 0), 0);
    assert_int_equal(mvcc_lease_renew(f.m, 1, 2000, &ttl), DECREE_ELEASE_NOT_FOUND);
    assert_int_equal(mvcc_lease_renew(f.m, 1, 1999, &ttl), 0);
}

TEST(lease, only_a_leader_renews_and_expires)
{
    _fixture_ f = setup();
    int64_t ids[4], ttl = 0;

    assert_int_equal(mvcc_lease_grant(f.m, 1, 2, 0), 0);
    mvcc_lease_demote(f.m);
    assert_int_equal(mvcc_lease_grant(f.m, 2, 2, 0), 0);
    assert_int_equal(mvcc_lease_renew(f.m, 1, 100, &ttl), DECREE_ENOT_LEADER);
    assert_int_equal(expired(&f, 99999, ids, 4), 0);
    assert_true(mvcc_lease_next_ms(f.m) == UINT64_MAX);
    assert_int_equal(mvcc_lease_revoke(f.m, 2, true), 0);
}

TEST(lease, a_new_leader_gives_each_its_full_ttl_and_an_election_more)
{
    _fixture_ f = setup();
    int64_t ids[4], ttl = 0;

    assert_int_equal(mvcc_lease_grant(f.m, 1, 2, 0), 0);
    assert_int_equal(mvcc_lease_grant(f.m, 2, 9, 0), 0);
    mvcc_lease_demote(f.m);
    mvcc_lease_promote(f.m, 50000, 1000);
    assert_int_equal(mvcc_lease_next_ms(f.m), 53000);
    assert_int_equal(expired(&f, 52999, ids, 4), 0);
    /* A renewal counts from now, without the extra time. */
    assert_int_equal(mvcc_lease_renew(f.m, 1, 50500, &ttl), 0);
    assert_int_equal(mvcc_lease_next_ms(f.m), 52500);
    assert_int_equal(expired(&f, 52500, ids, 4), 1);
    assert_int_equal(mvcc_lease_next_ms(f.m), 53500);
}

TEST(lease, a_new_leader_spreads_deadlines_that_pile_up)
{
    enum { LEASES = 3000 };
    _fixture_ f = setup();
    int64_t ids[LEASES];
    size_t all = 0;

    for (int64_t id = 1; id <= LEASES; id++) {
        assert_int_equal(mvcc_lease_grant(f.m, id, 10, 0), 0);
    }
    mvcc_lease_promote(f.m, 0, 0);
    assert_int_equal(expired(&f, 9999, ids, LEASES), 0);
    for (uint64_t now = 10000; now < 14000; now += 1000) {
        size_t n = expired(&f, now, ids, LEASES);

        assert_int_equal(n, 750);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(mvcc_lease_revoke(f.m, ids[i], true), 0);
        }
        all += n;
    }
    assert_int_equal(all, LEASES);
    assert_int_equal(mvcc_lease_count(f.m), 0);
}

TEST(lease, renewals_leave_the_heap_alone_until_the_timer_fires)
{
    _fixture_ f = setup();
    int64_t ids[1], ttl;

    for (int64_t id = 1; id <= 100; id++) {
        assert_int_equal(mvcc_lease_grant(f.m, id, 10, 0), 0);
    }
    for (uint64_t now = 0; now < 9000; now += 500) {
        for (int64_t id = 1; id <= 100; id++) {
            assert_int_equal(mvcc_lease_renew(f.m, id, now, &ttl), 0);
        }
        assert_int_equal(mvcc_lease_next_ms(f.m), 10000);
    }
    assert_int_equal(expired(&f, 10000, ids, 1), 0);
    assert_int_equal(mvcc_lease_next_ms(f.m), 18500);
}

TEST_MAIN(UNIT(lease, grant_refuses_a_known_id_and_a_ttl_that_is_too_large),
    UNIT(lease, list_is_in_the_order_of_ids), UNIT(lease, keys_follow_the_last_put_and_the_delete),
    UNIT(lease, a_put_with_an_unknown_lease_is_refused),
    UNIT(lease, revoke_deletes_its_keys_in_order_in_one_revision),
    UNIT(lease, time_left_is_truncated_to_seconds),
    UNIT(lease, expires_at_its_deadline_and_comes_again_until_it_is_revoked),
    UNIT(lease, no_more_than_asked_for_come_at_once), UNIT(lease, renewal_gives_a_full_ttl),
    UNIT(lease, one_that_has_expired_cannot_be_renewed_any_more),
    UNIT(lease, only_a_leader_renews_and_expires),
    UNIT(lease, a_new_leader_gives_each_its_full_ttl_and_an_election_more),
    UNIT(lease, a_new_leader_spreads_deadlines_that_pile_up),
    UNIT(lease, renewals_leave_the_heap_alone_until_the_timer_fires))
