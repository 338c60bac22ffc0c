/* The parts of the core on their own: quorums against naive counting, the log against a plain
 * array, what is durable, configurations, damaged restores, and a member under random messages. The
 * cluster's behaviour is in test_raft_script and test_raft_random. */
#include "raft_internal.h"

#include "err.h"
#include "unit.h"

static uint64_t chance = 1;

static uint64_t rnd(uint64_t n)
{
    chance = chance * 6364136223846793005u + 1442695040888963407u;
    return (chance >> 33) % n;
}

/* ---- quorums ---- */

/* By its definition: try every value, count who reaches it. */
static uint64_t naive_quorum_value(const uint64_t *values, size_t n)
{
    uint64_t best = 0;

    for (size_t i = 0; i < n; i++) {
        size_t reach = 0;

        for (size_t j = 0; j < n; j++) {
            reach += values[j] >= values[i];
        }
        if (2 * reach > n && values[i] > best) {
            best = values[i];
        }
    }
    return best;
}

TEST(quorum, value_equals_naive_counting)
{
    for (int round = 0; round < 50000; round++) {
        uint64_t values[RAFT_MEMBERS_MAX], want;
        size_t n = rnd(RAFT_MEMBERS_MAX + 1);
        uint64_t range = 1 + rnd(20);

        for (size_t i = 0; i < n; i++) {
            values[i] = rnd(range);
        }
        want = naive_quorum_value(values, n);
        assert_int_equal(raft_quorum_value(values, n), want);
    }
}

/* Won: a majority granted. Lost: those who may still grant cannot make one. */
TEST(quorum, votes_equal_naive_counting_for_all_small_sizes)
{
    for (size_t voters = 1; voters <= RAFT_MEMBERS_MAX; voters++) {
        for (size_t granted = 0; granted <= voters; granted++) {
            for (size_t rejected = 0; granted + rejected <= voters; rejected++) {
                enum raft_vote want = RAFT_VOTE_OPEN;

                if (2 * granted > voters) {
                    want = RAFT_VOTE_WON;
                } else if (2 * (voters - rejected) <= voters) {
                    want = RAFT_VOTE_LOST;
                }
                assert_int_equal(raft_quorum_vote(voters, granted, rejected), want);
            }
        }
    }
}

/* One voter more or less: any two majorities share a member. Two voters: not always. */
TEST(quorum, majorities_of_neighbouring_configurations_meet)
{
    for (size_t n = 1; n < RAFT_MEMBERS_MAX; n++) {
        assert_true(n / 2 + 1 + (n + 1) / 2 + 1 > n + 1);
    }
    for (int round = 0; round < 50000; round++) {
        struct raft_conf a = {0}, b = {0};
        size_t naive = 0;

        for (uint64_t id = 1; id <= 6; id++) {
            bool in_a = rnd(2), in_b = rnd(2), voter_a = rnd(2), voter_b = rnd(2);

            if (in_a) {
                a.members[a.n++] = (struct raft_member){.id = id, .learner = !voter_a};
            }
            if (in_b) {
                b.members[b.n++] = (struct raft_member){.id = id, .learner = !voter_b};
            }
            naive += (in_a && voter_a) != (in_b && voter_b);
        }
        assert_int_equal(raft_conf_voters_changed(&a, &b), naive);
    }
}

static struct raft_conf conf_of_bits(unsigned in, unsigned voters)
{
    struct raft_conf conf = {0};

    for (unsigned id = 1; id <= 4; id++) {
        if ((in >> (id - 1) & 1) != 0) {
            conf.members[conf.n++] =
                (struct raft_member){.id = id, .learner = (voters >> (id - 1) & 1) == 0};
        }
    }
    return conf;
}

static size_t bits(unsigned v)
{
    return (size_t)__builtin_popcount(v);
}

/* All of the sets of four that are majorities of the one meet all that are of the other. */
TEST(quorum, majorities_meet_for_every_change_of_one_voter_among_four)
{
    for (unsigned a = 1; a < 16; a++) {
        for (unsigned b = 1; b < 16; b++) {
            for (unsigned x = 0; bits(a ^ b) <= 1 && x < 16; x++) {
                for (unsigned y = 0; y < 16; y++) {
                    bool both = 2 * bits(x & a) > bits(a) && 2 * bits(y & b) > bits(b);

                    assert_true(!both || (x & a & y & b) != 0);
                }
            }
        }
    }
}

/* Every index that a majority of conf has, the highest of them, by trying all. */
static uint64_t naive_match(unsigned voters, const uint64_t *match)
{
    uint64_t best = 0;

    for (uint64_t index = 1; index <= 3; index++) {
        size_t have = 0;

        for (unsigned i = 0; i < 4; i++) {
            have += (voters >> i & 1) != 0 && match[i] >= index;
        }
        best = 2 * have > bits(voters) ? index : best;
    }
    return best;
}

static void check_match(unsigned before, unsigned now, unsigned in, const uint64_t *match)
{
    enum { CHANGED_AT = 2 };
    struct raft r = {.options.id = 1, .stable.index = match[0]};
    struct raft_conf old = conf_of_bits(in, before), new = conf_of_bits(in, now);
    uint64_t want = naive_match(now, match), alone = naive_match(before, match);

    raft_confs_init(&r.confs, 0, &old);
    raft_confs_push(&r.confs, CHANGED_AT, &new);
    raft_peers_rebuild(&r);
    for (size_t i = 0; i < r.n_peers; i++) {
        r.peers[i].match = match[r.peers[i].id - 1];
    }
    if ((before & ~now) == 0 && bits(now) == bits(before) + 1) {
        alone = alone < CHANGED_AT ? alone : CHANGED_AT;
        want = want > alone ? want : alone;
    }
    assert_int_equal(raft_peers_quorum_match(&r), want);
    r.commit = CHANGED_AT; /* over: the new one alone counts */
    assert_int_equal(raft_peers_quorum_match(&r), naive_match(now, match));
    raft_peers_deinit(&r);
    raft_confs_deinit(&r.confs);
}

/* Four members, every set of voters before and after a change of at most one, every match from 0 to
 * 3: learners never count, a voter that is being added is not waited for up to its entry. */
TEST(quorum, what_commits_equals_naive_counting_for_all_changes_among_four)
{
    for (unsigned all = 0; all < 256; all++) {
        unsigned before = all & 15, now = all >> 4;

        if (before == 0 || now == 0 || bits(before ^ now) > 1) {
            continue;
        }
        for (unsigned m = 0; m < 256; m++) {
            uint64_t match[4] = {m & 3, m >> 2 & 3, m >> 4 & 3, m >> 6};

            check_match(before, now, 15, match);
        }
    }
}

/* ---- the log ---- */

static struct raft_entry entry(uint64_t term, uint64_t index, struct buf *payload)
{
    return (struct raft_entry){.id = {.term = term, .index = index}, .payload = payload};
}

struct model {
    struct raft_entry_id ids[512];
    uint64_t first, last;
};

static uint64_t model_find(const struct model *m, uint64_t before, struct raft_entry_id id)
{
    uint64_t at = id.index < m->last ? id.index : m->last;

    while (at > before && m->ids[at].term > id.term) {
        at--;
    }
    return at > before ? at : before;
}

TEST(log, equals_a_plain_array_under_random_changes)
{
    for (int round = 0; round < 300; round++) {
        struct buf *payload = buf_new(0);
        struct model m = {.first = 1};
        struct raft_log l;

        raft_log_init(&l, (struct raft_entry_id){0});
        while (m.last < 500 && rnd(400) != 0) {
            uint64_t kind = rnd(10);

            if (kind < 7) {
                uint64_t term = m.ids[m.last].term + (rnd(8) == 0) + (m.last == 0);
                struct raft_entry e = entry(term, ++m.last, payload);

                m.ids[m.last] = e.id;
                raft_log_append(&l, &e);
            } else if (kind == 7 && m.last >= m.first) {
                uint64_t from = m.last - rnd(m.last - m.first + 1) / 4;

                raft_log_truncate(&l, from);
                m.last = from - 1;
            } else if (kind == 8) {
                m.first += rnd(m.last + 2 - m.first) / 2;
                raft_log_compact(&l, m.first);
            } else {
                raft_log_reap(&l);
            }
            assert_int_equal(raft_log_first(&l), m.first);
            assert_int_equal(raft_log_last(&l), m.last);
            for (int i = 0; i < 3; i++) {
                struct raft_entry_id id = {.term = rnd(70), .index = m.first - 1 + rnd(520)};

                assert_int_equal(
                    raft_log_term(&l, id.index), id.index > m.last ? 0 : m.ids[id.index].term);
                assert_int_equal(raft_log_find(&l, id).index, model_find(&m, m.first - 1, id));
            }
        }
        raft_log_deinit(&l);
        assert_int_equal(payload->refs, 1);
        buf_unref(payload);
    }
}

/* What an update pointed to lives until the next step, compacted or not. */
TEST(log, compaction_keeps_payloads_until_reaped)
{
    struct buf *payload = buf_new(0);
    struct raft_entry e = entry(1, 1, payload);
    struct raft_log l;

    raft_log_init(&l, (struct raft_entry_id){0});
    raft_log_append(&l, &e);
    raft_log_compact(&l, 2);
    assert_int_equal(payload->refs, 2);
    raft_log_reap(&l);
    assert_int_equal(payload->refs, 1);
    raft_log_deinit(&l);
    buf_unref(payload);
}

/* ---- what is durable ---- */

TEST(stable, late_completion_says_nothing_of_replaced_entries)
{
    struct raft_stable s;

    raft_stable_init(&s, 2);
    assert_int_equal(raft_stable_take(&s, 6), 1);
    assert_int_equal(raft_stable_take(&s, 6), 0);
    raft_stable_truncate(&s, 4);
    assert_int_equal(raft_stable_take(&s, 8), 2);
    raft_stable_done(&s, 1);
    assert_int_equal(s.index, 3);
    raft_stable_done(&s, 2);
    assert_int_equal(s.index, 8);
    raft_stable_deinit(&s);
}

TEST(stable, completions_of_before_a_snapshot_do_not_move_it)
{
    struct raft_stable s;

    raft_stable_init(&s, 0);
    for (uint64_t last = 1; last <= 20; last++) {
        assert_int_equal(raft_stable_take(&s, last), last);
    }
    raft_stable_reset(&s, 10);
    raft_stable_done(&s, 20);
    assert_int_equal(s.index, 10);
    assert_int_equal(s.handed, 10);
    raft_stable_deinit(&s);
}

/* ---- configurations ---- */

static struct buf *conf_payload(const struct raft_conf *conf)
{
    _cleanup_strbuf_ struct strbuf out = {0};

    raft_conf_encode(conf, BYTES_LITERAL("names"), &out);
    return buf_copy(strbuf_bytes(&out));
}

TEST(conf, round_trip_and_damage_is_refused)
{
    struct raft_conf conf = {.members = {{1, false}, {7, true}, {9, false}}, .n = 3}, back;
    _cleanup_buf_ struct buf *b = conf_payload(&conf);
    struct bytes context;

    assert_int_equal(raft_conf_decode(buf_bytes(b), &back, &context), 0);
    assert_int_equal(back.n, 3);
    assert_int_equal(back.members[1].id, 7);
    assert_true(back.members[1].learner);
    assert_true(bytes_eq(context, BYTES_LITERAL("names")));
    for (size_t cut = 0; cut < 2 + 3 * 9; cut++) {
        assert_int_equal(
            raft_conf_decode(bytes_make(b->data, cut), &back, NULL), DECREE_EBAD_REQUEST);
    }
    b->data[2] = 8; /* 8 before 7: not ascending */
    assert_int_equal(raft_conf_decode(buf_bytes(b), &back, NULL), DECREE_EBAD_REQUEST);
}

TEST(conf, without_a_voter_is_refused)
{
    struct raft_conf conf = {.members = {{1, true}}, .n = 1}, back;
    _cleanup_buf_ struct buf *b = conf_payload(&conf);

    assert_int_equal(raft_conf_decode(buf_bytes(b), &back, NULL), DECREE_EBAD_REQUEST);
}

/* ---- restore ---- */

static const struct raft_options options = {.id = 1,
    .election_ticks = 10,
    .heartbeat_ticks = 1,
    .inflight_msgs_max = 4,
    .inflight_bytes_max = 1000,
    .append_bytes_max = 1000,
    .uncommitted_bytes_max = 1000};

static int restore(struct raft_entry_id snapshot, const struct raft_entry *entries, size_t n)
{
    struct raft_restore what = {
        .term = 9, .snapshot = snapshot, .entries = entries, .n_entries = n};
    struct raft *r = NULL;
    int rc = raft_new(&options, &what, &r);

    raft_free(r);
    return rc;
}

TEST(restore, damage_the_log_reader_cannot_see_is_corrupt)
{
    _cleanup_buf_ struct buf *payload = buf_copy(BYTES_LITERAL("no configuration"));
    struct raft_entry good[] = {entry(2, 4, payload), entry(3, 5, payload)};
    struct raft_entry gap[] = {entry(2, 4, payload), entry(3, 6, payload)};
    struct raft_entry back[] = {entry(3, 4, payload), entry(2, 5, payload)};
    struct raft_entry conf = entry(2, 4, payload);
    struct raft_entry_id snapshot = {.term = 2, .index = 3}, newer = {.term = 5, .index = 3};

    conf.type = RAFT_ENTRY_CONF;
    assert_int_equal(restore(snapshot, good, 2), 0);
    assert_int_equal(restore(newer, good, 2), DECREE_ECORRUPT);
    assert_int_equal(restore((struct raft_entry_id){0}, good, 2), DECREE_ECORRUPT);
    assert_int_equal(restore((struct raft_entry_id){.index = 3}, good, 2), DECREE_ECORRUPT);
    assert_int_equal(restore(snapshot, gap, 2), DECREE_ECORRUPT);
    assert_int_equal(restore(snapshot, back, 2), DECREE_ECORRUPT);
    assert_int_equal(restore(snapshot, &conf, 1), DECREE_ECORRUPT);
}

/* ---- elections ---- */

static unsigned ticks_until_it_stands(struct raft *r)
{
    struct raft_event tick = {.type = RAFT_EV_TICK};
    struct raft_status now;
    unsigned n = 0;

    do {
        (void)raft_step(r, &tick);
        raft_status(r, &now);
        n++;
    } while (now.role == RAFT_FOLLOWER && n < 100);
    return n;
}

TEST(election, silence_lasts_one_to_one_and_a_half_timeouts)
{
    struct raft_conf conf = {.members = {{1, false}, {2, false}, {3, false}}, .n = 3};
    _cleanup_buf_ struct buf *first = conf_payload(&conf);
    unsigned seen = 0;

    for (uint32_t random = 0; random < 20; random++) {
        struct raft_entry bootstrap = raft_bootstrap_entry(first);
        struct raft_restore what = {.entries = &bootstrap, .n_entries = 1};
        struct raft_msg m = {.type = RAFT_MSG_HEARTBEAT, .from = 2, .to = 1, .term = 5};
        struct raft_event heartbeat = {.type = RAFT_EV_MSG, .random = random, .msg = &m};
        struct raft *r;
        unsigned n;

        assert_int_equal(raft_new(&options, &what, &r), 0);
        (void)raft_step(r, &heartbeat);
        n = ticks_until_it_stands(r);
        assert_in_range(n, 10, 14);
        seen |= 1u << n;
        raft_free(r);
    }
    assert_int_equal(seen, 0x7c00); /* each of them */
}

/* ---- hostile bytes, as the decoder may hand them on ---- */

static uint64_t odd_number(void)
{
    static const uint64_t odd[] = {0, 1, 2, 3, 4, 5, 8, 100, (uint64_t)1 << 32,
        ((uint64_t)1 << 62) - 1, (uint64_t)1 << 62, UINT64_MAX - 1, UINT64_MAX};

    return rnd(4) != 0 ? rnd(6) : odd[rnd(ARRAY_SIZE(odd))];
}

static struct raft_entry_id odd_id(void)
{
    return (struct raft_entry_id){.term = odd_number(), .index = odd_number()};
}

static void step_odd_msg(struct raft *r, struct buf *payload)
{
    struct raft_entry entries[4];
    struct raft_msg m = {.type = (enum raft_msg_type)rnd(RAFT_MSG_TYPE_END + 2),
        .from = rnd(8) != 0 ? 2 + rnd(2) : odd_number(),
        .to = rnd(16) != 0 ? 1 : odd_number(),
        .term = odd_number(),
        .prev = odd_id(),
        .commit = odd_number(),
        .index = odd_number(),
        .context = odd_number(),
        .reject = rnd(2),
        .transfer = rnd(2),
        .hint = odd_id(),
        .entries = entries};
    struct raft_event ev = {.type = RAFT_EV_MSG, .random = (uint32_t)rnd(1000), .msg = &m};

    for (m.n_entries = 0; m.n_entries < rnd(5); m.n_entries++) {
        struct raft_entry *e = &entries[m.n_entries];

        *e = entry(odd_number(), m.prev.index + 1 + m.n_entries, payload);
        e->id.index = rnd(16) != 0 ? e->id.index : odd_number();
        e->type = rnd(16) != 0 ? RAFT_ENTRY_NORMAL : (enum raft_entry_type)rnd(4);
        e->payload = rnd(64) != 0 ? payload : NULL;
    }
    (void)raft_step(r, &ev);
}

/* Every step checks the invariants of the indexes; anything they do not bear stops this program. */
TEST(hostile, no_message_breaks_a_member)
{
    struct raft_conf conf = {.members = {{1, false}, {2, false}, {3, false}}, .n = 3};
    _cleanup_buf_ struct buf *first = conf_payload(&conf), *payload = buf_new(3);

    memset(payload->data, 1, payload->len);
    for (int round = 0; round < 2000; round++) {
        struct raft_entry bootstrap = raft_bootstrap_entry(first);
        struct raft_restore what = {.entries = &bootstrap, .n_entries = 1};
        struct raft_event tick = {.type = RAFT_EV_TICK};
        struct raft_update u;
        struct raft *r;

        assert_int_equal(raft_new(&options, &what, &r), 0);
        for (int i = 0; i < 100; i++) {
            tick.random = (uint32_t)rnd(1000);
            if (rnd(4) == 0) {
                (void)raft_step(r, &tick);
            } else {
                step_odd_msg(r, payload);
            }
            raft_take_update(r, &u);
            if (u.persist.seq != 0 && rnd(3) != 0) {
                struct raft_event done = {.type = RAFT_EV_PERSISTED, .seq = u.persist.seq};

                (void)raft_step(r, &done);
            }
        }
        raft_free(r);
    }
    assert_int_equal(payload->refs, 1);
}

TEST_MAIN(UNIT(quorum, value_equals_naive_counting),
    UNIT(quorum, votes_equal_naive_counting_for_all_small_sizes),
    UNIT(quorum, majorities_of_neighbouring_configurations_meet),
    UNIT(quorum, majorities_meet_for_every_change_of_one_voter_among_four),
    UNIT(quorum, what_commits_equals_naive_counting_for_all_changes_among_four),
    UNIT(log, equals_a_plain_array_under_random_changes),
    UNIT(log, compaction_keeps_payloads_until_reaped),
    UNIT(stable, late_completion_says_nothing_of_replaced_entries),
    UNIT(stable, completions_of_before_a_snapshot_do_not_move_it),
    UNIT(conf, round_trip_and_damage_is_refused), UNIT(conf, without_a_voter_is_refused),
    UNIT(restore, damage_the_log_reader_cannot_see_is_corrupt),
    UNIT(election, silence_lasts_one_to_one_and_a_half_timeouts),
    UNIT(hostile, no_message_breaks_a_member))
