/* The table of members: ids, URLs, what they say of themselves. */
#include "members.h"
#include "unit.h"

/* ---- ids ---- */

TEST(members, ids_are_those_that_etcd_gives)
{
    struct members m;

    /* What every etcd started without flags calls itself and its cluster. */
    assert_int_equal(members_parse("default=http://localhost:2380", "etcd-cluster", &m, NULL), 0);
    assert_int_equal(m.list[0].id, 0x8e9e05c52164694d);
    assert_int_equal(members_cluster_id(&m), 0xcdf818194e3a8c32);
    members_deinit(&m);
}

TEST(members, the_order_of_the_list_makes_no_difference)
{
    _cleanup_strbuf_ struct strbuf one = {0}, two = {0};
    struct members a, b, c;

    assert_int_equal(members_parse("a=http://h:1,b=http://h:2,a=http://h:3", "t", &a, NULL), 0);
    assert_int_equal(members_parse("a=http://h:3,a=http://h:1,b=http://h:2", "t", &b, NULL), 0);
    members_encode(&a, &one);
    members_encode(&b, &two);
    assert_true(bytes_eq(strbuf_bytes(&one), strbuf_bytes(&two)));
    assert_int_equal(members_parse("a=http://h:3,a=http://h:1,b=http://h:2", "u", &c, NULL), 0);
    assert_int_not_equal(members_cluster_id(&a), members_cluster_id(&c));
    members_deinit(&a);
    members_deinit(&b);
    members_deinit(&c);
}

/* ---- changes ---- */

static const char *const url_a[] = {"http://a:1"};
static const char *const url_b[] = {"http://b:1", "http://b:2"};

TEST(members, ids_are_never_given_twice)
{
    struct members m;
    uint64_t first, second;

    assert_int_equal(members_parse("x=http://x:1", "t", &m, NULL), 0);
    first = members_fresh_id(&m, url_a, 1, 7);
    members_add(&m, first, url_a, 1, true);
    second = members_fresh_id(&m, url_a, 1, 7); /* the same chance */
    assert_int_not_equal(first, second);
    members_remove(&m, first);
    assert_true(members_is_removed(&m, first));
    assert_int_not_equal(members_fresh_id(&m, url_a, 1, 7), first);
    members_deinit(&m);
}

TEST(members, urls_that_could_end_a_line_or_a_list_are_refused)
{
    static const char *const bad[] = {"http://a\r\nX: y:1", "http://a,b:1", "http://a b:1",
        "http://a=b:1", "http://a@b:1", "http://\xc3\xa4:1", "http://:1", "http://a:0", "http://a"};
    static const char *const good[] = {"http://[fe80::1%eth0]:1", "http://a_b-c.d:65535"};

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(members_check_urls(&bad[i], 1), DECREE_EBAD_PEER_URLS);
    }
    assert_int_equal(members_check_urls(good, 2), 0);
    assert_int_equal(members_check_urls(good, 0), DECREE_EBAD_PEER_URLS);
}

TEST(members, the_oldest_removed_id_is_forgotten_first)
{
    struct members m, copy;

    assert_int_equal(members_parse("x=http://x:1", "t", &m, NULL), 0);
    for (uint64_t id = 1; id <= MEMBERS_REMOVED_MAX + 1; id++) {
        members_add(&m, id, url_a, 1, true);
        members_remove(&m, id);
    }
    members_copy(&m, &copy);
    assert_int_equal(copy.n_removed, MEMBERS_REMOVED_MAX);
    assert_false(members_is_removed(&copy, 1));
    assert_true(members_is_removed(&copy, 2));
    assert_true(members_is_removed(&copy, MEMBERS_REMOVED_MAX + 1));
    members_deinit(&copy);
    members_deinit(&m);
}

/* An entry's table was composed before the publication was applied. */
TEST(members, what_a_member_said_of_itself_outlives_a_change)
{
    struct members m, next;
    struct bytes client = bytes_str("http://c:1");
    struct members_publication p = {
        .id = 5, .incarnation = 99, .name = bytes_str("five"), .urls = &client, .n_urls = 1};

    assert_int_equal(members_parse("x=http://x:1", "t", &m, NULL), 0);
    members_add(&m, 5, url_a, 1, true);
    members_copy(&m, &next);
    members_set_urls(&next, 5, url_b, 2);
    members_find(&next, 5)->learner = false;
    assert_true(members_publish(&m, &p));
    members_take(&m, &next);
    assert_int_equal(m.n, 2);
    assert_string_equal(members_find(&m, 5)->name, "five");
    assert_int_equal(members_find(&m, 5)->incarnation, 99);
    assert_int_equal(members_find(&m, 5)->n_client_urls, 1);
    assert_false(members_find(&m, 5)->learner);
    assert_true(members_same_urls(members_find(&m, 5), url_b, 2));
    members_deinit(&m);
}

TEST_MAIN(UNIT(members, ids_are_those_that_etcd_gives),
    UNIT(members, the_order_of_the_list_makes_no_difference),
    UNIT(members, ids_are_never_given_twice),
    UNIT(members, urls_that_could_end_a_line_or_a_list_are_refused),
    UNIT(members, the_oldest_removed_id_is_forgotten_first),
    UNIT(members, what_a_member_said_of_itself_outlives_a_change))
