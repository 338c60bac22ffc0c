/* Who is not let in, and is told why. */
#include "peer_end.h"
#include "unit.h"

/* Dials with what does not fit, over a stream, whose end says why. */
static void expect_refusal(uint64_t cluster, uint64_t from, uint64_t as, const char *text)
{
    struct end a, b;

    assert_int_equal(uv_loop_init(&end_loop), 0);
    end_init(&a, from, cluster);
    end_init(&b, 2, 7);
    end_knows(&b, &a, 1);
    end_knows(&a, &b, as);
    peers_stream_open(a.peers, as);
    UNTIL(a.down > 0);
    if (strstr(a.why, text) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", a.why, text);
    }
    assert_int_equal(a.ready, 0);
    ends_close(&a, &b);
}

TEST(peer, another_cluster_is_refused_with_both_names)
{
    expect_refusal(8, 1, 2, "of cluster 0000000000000007, not of 0000000000000008");
}

TEST(peer, a_wrong_address_is_refused)
{
    expect_refusal(7, 1, 3, "this is member 0000000000000002, not 0000000000000003");
}

TEST(peer, a_stranger_is_refused)
{
    expect_refusal(7, 9, 2, "no member 0000000000000009 is known here");
}

TEST(peer, one_that_lost_its_data_is_refused_by_both_sides)
{
    struct end a, b;

    ends_open(&a, &b);
    end_knows_as(&a, &b, 2, END_INCARNATION);     /* as it is */
    end_knows_as(&b, &a, 1, END_INCARNATION + 1); /* as it was */
    peers_stream_open(a.peers, 2);
    peers_stream_open(b.peers, 1);
    UNTIL(a.down > 0 && b.down > 0);
    assert_non_null(strstr(a.why, "lost its data")); /* the acceptor saw it */
    assert_non_null(strstr(b.why, "lost its data")); /* the dialler saw it */
    assert_int_equal(a.ready + b.ready, 0);
    ends_close(&a, &b);
}

TEST(peer, one_that_was_removed_is_told_so)
{
    struct end a, b;

    ends_open(&a, &b);
    a.removed = 2;
    peers_set_self(b.peers, "http://here:1");
    end_knows(&b, &a, 1);
    UNTIL(b.refused > 0);
    assert_int_equal(b.refusal, PEER_REFUSED_REMOVED);
    assert_non_null(strstr(b.why, "has been removed"));
    assert_int_equal(a.strangers, 0);
    assert_false(end_is_up(&b, 1));
    ends_close(&a, &b);
}

TEST(peer, one_that_lost_its_data_is_told_so)
{
    struct end a, b;

    ends_open(&a, &b);
    end_knows_as(&a, &b, 2, END_INCARNATION + 1);
    end_knows(&b, &a, 1);
    UNTIL(b.refused > 0);
    assert_int_equal(b.refusal, PEER_REFUSED_REPLACED);
    assert_int_equal(a.refused, 0);
    ends_close(&a, &b);
}

/* It is far behind and has never heard of its leader. */
TEST(peer, a_stranger_that_says_where_it_is_can_be_answered)
{
    struct end a, b;

    ends_open(&a, &b);
    a.meets = &b;
    peers_set_self(b.peers, "http://here:1");
    end_knows(&b, &a, 1);
    UNTIL(end_is_up(&b, 1) && end_is_up(&a, 2));
    end_send(&a, 2, 10, 5);
    peers_flush(a.peers);
    UNTIL(b.frames == 1);
    peers_set(a.peers, NULL, 0); /* a list that lacks it still */
    assert_true(end_is_up(&a, 2));
    a.removed = 2;
    peers_set(a.peers, NULL, 0);
    assert_false(end_is_up(&a, 2));
    UNTIL(b.refused > 0);
    ends_close(&a, &b);
}

TEST_MAIN(UNIT(peer, another_cluster_is_refused_with_both_names),
    UNIT(peer, a_wrong_address_is_refused), UNIT(peer, a_stranger_is_refused),
    UNIT(peer, one_that_lost_its_data_is_refused_by_both_sides),
    UNIT(peer, one_that_was_removed_is_told_so), UNIT(peer, one_that_lost_its_data_is_told_so),
    UNIT(peer, a_stranger_that_says_where_it_is_can_be_answered))
