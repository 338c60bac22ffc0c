/* Heartbeats as figures: does this leader send its own in time, and for how long does this follower
 * hear nothing of its leader? They decide nothing; raft counts in ticks of its own. */
#include <inttypes.h>

#include "core.h"

/* Close to each other about one heartbeat and up to an election timeout, with the default times. */
static const uint64_t gap_bounds_us[STORE_TIMES_BUCKETS] = {10000, 20000, 50000, 90000, 110000,
    125000, 150000, 200000, 250000, 300000, 400000, 500000, 750000, 1000000, 2000000, 5000000};

void core_beats_init(struct store *s)
{
    s->beats.gaps.bounds_us = gap_bounds_us;
}

/* etcd's measure: each heartbeat that leaves later than two intervals after the one before is a
 * failure, whatever became of it. */
void core_beats_sent(struct store *s, const struct raft_update *u)
{
    uint64_t now, took, n = 0;

    for (size_t i = 0; i < u->n_msgs; i++) {
        n += u->msgs[i].type == RAFT_MSG_HEARTBEAT;
    }
    if (n == 0) {
        if (s->links.n < 2) {
            s->beats.sent_ms = 0; /* there is nobody to send any to */
        }
        return;
    }
    now = core_now(s);
    took = s->beats.sent_ms != 0 ? now - s->beats.sent_ms : 0;
    s->beats.sent_ms = now;
    if (took > 2 * (uint64_t)s->o.heartbeat_ms) {
        s->beats.late += n;
        log_warn("heartbeats left late: this host is overloaded, or its disk is "
                 "members=%" PRIu64 " took_ms=%" PRIu64,
            n, took);
    }
}

static bool is_word_of_leader(const struct store *s, const struct raft_msg *m)
{
    return (m->type == RAFT_MSG_APPEND || m->type == RAFT_MSG_HEARTBEAT) &&
        m->from == s->status.leader && m->term == s->status.term;
}

static void end_gap(struct store *s, uint64_t now)
{
    store_times_add(&s->beats.gaps, (now - s->beats.heard_ms) * 1000);
}

void core_beats_heard(struct store *s, const struct raft_msg *m)
{
    uint64_t now;

    if (!is_word_of_leader(s, m)) {
        return;
    }
    now = core_now(s);
    if (s->beats.heard_from == m->from) {
        end_gap(s, now);
    }
    s->beats.heard_from = m->from;
    s->beats.heard_ms = now;
}

/* The silence that cost a leader its place is the one to know of. */
void core_beats_status(struct store *s)
{
    if (s->beats.heard_from != RAFT_NONE && s->beats.heard_from != s->status.leader) {
        end_gap(s, core_now(s));
        s->beats.heard_from = RAFT_NONE;
    }
    if (!core_leads(s)) {
        s->beats.sent_ms = 0;
    }
}
