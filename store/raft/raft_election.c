/* Terms, votes and who leads.
 *
 * A follower that has not heard a leader for a drawn timeout asks all voters whether they would
 * vote for it (pre-vote, thesis 9.6); only when a majority would does it take a new term, so that a
 * member which was merely cut off comes back without unseating anyone. It asks for real votes and
 * counts its own when term and vote are durable. Members that hear from a leader ignore both kinds
 * of request, unless the leader itself asked for the election (transfer).
 *
 * A leader whose process dies has its connections closed by its kernel. A follower that sees this
 * need not wait for the silence: it lets go of that leader and stands within a few ticks. Where
 * only a link broke, the others still hear the leader and refuse the pre-vote.
 *
 * A pre-vote request from a lower term is answered with the own term: a member with a high term and
 * a short log and one with a low term and a long log would otherwise refuse each other forever
 * (R12). */
#include "buggify.h"
#include "raft_internal.h"

enum {
    /* Ticks within which members that lost the same leader stand, so that not all do at once: when
     * they saw it die. */
    LINK_LOST_TICKS = 3,
};

static void set_term(struct raft *r, uint64_t term, uint64_t vote)
{
    decree_assert(term > r->term);
    r->term = term;
    r->vote = vote;
    r->stable.hard_dirty = true;
    raft_msg_drop_held(r);
}

/* Drawn from 1 to 1.5 election timeouts, not to 2 as in the paper. Two candidates meet only when
 * they stand within half a round trip, since pre-vote comes before either asks for a vote; and what
 * a wide draw costs is paid each time a leader falls silent: with it, a link broken in one
 * direction could keep writes waiting for more than two timeouts. */
static void reset_timer(struct raft *r)
{
    unsigned spread = MAX(r->options.election_ticks / 2, (unsigned)LINK_LOST_TICKS);

    r->election_elapsed = 0;
    r->election_timeout = r->options.election_ticks + r->random % spread;
}

/* What all changes of role have in common: nothing of the old one lasts. */
static void set_role(struct raft *r, enum raft_role role, uint64_t leader)
{
    if (r->leader != leader || r->role == RAFT_LEADER) {
        raft_reads_drop(r);
    }
    r->role = role;
    r->leader = leader;
    r->leader_match = r->commit;
    r->ack_sent = 0;
    r->ack_wanted = false;
    r->by_transfer = false;
    r->transfer_to = RAFT_NONE;
    r->uncommitted_bytes = 0;
    for (size_t i = 0; i < r->n_peers; i++) {
        r->peers[i].ballot = RAFT_BALLOT_NONE;
    }
    reset_timer(r);
}

void raft_become_follower(struct raft *r, uint64_t term, uint64_t leader)
{
    if (term != r->term) {
        set_term(r, term, RAFT_NONE);
    }
    set_role(r, RAFT_FOLLOWER, leader);
}

bool raft_has_lease(const struct raft *r)
{
    return r->role == RAFT_LEADER ||
        (r->leader != RAFT_NONE && r->election_elapsed < r->options.election_ticks);
}

static void ask_voters(struct raft *r, enum raft_msg_type type, uint64_t term)
{
    for (size_t i = 0; i < r->n_peers; i++) {
        struct raft_msg m = raft_msg_make(r, type, r->peers[i].id);

        if (&r->peers[i] != r->self && !r->peers[i].learner) {
            m.term = term;
            m.prev = raft_log_last_id(&r->log);
            m.transfer = r->by_transfer;
            raft_msg_push(r, &m);
        }
    }
}

static void become_precandidate(struct raft *r)
{
    set_role(r, RAFT_PRECANDIDATE, RAFT_NONE);
    if (r->self != NULL) {
        r->self->ballot = RAFT_BALLOT_GRANTED;
    }
    ask_voters(r, RAFT_MSG_PREVOTE, r->term + 1);
}

static void become_candidate(struct raft *r, bool by_transfer)
{
    set_term(r, r->term + 1, r->options.id);
    set_role(r, RAFT_CANDIDATE, RAFT_NONE);
    r->by_transfer = by_transfer;
    ask_voters(r, RAFT_MSG_VOTE, r->term);
}

static void count_ballots(struct raft *r)
{
    size_t voters = 0, granted = 0, rejected = 0;

    for (size_t i = 0; i < r->n_peers; i++) {
        if (!r->peers[i].learner) {
            voters++;
            granted += r->peers[i].ballot == RAFT_BALLOT_GRANTED;
            rejected += r->peers[i].ballot == RAFT_BALLOT_REJECTED;
        }
    }
    switch (raft_quorum_vote(voters, granted, rejected)) {
    case RAFT_VOTE_WON:
        if (r->role == RAFT_PRECANDIDATE) {
            become_candidate(r, false);
        } else {
            raft_become_leader(r);
        }
        break;
    case RAFT_VOTE_LOST:
        MARK("election_lost");
        raft_become_follower(r, r->term, RAFT_NONE);
        break;
    case RAFT_VOTE_OPEN:
        break;
    }
}

/* Voters stand for election, and so does one whose own removal is the newest change in its log and
 * not known to be committed: with two members left it may be the only one who can finish it (thesis
 * 4.2.2). Its vote counts only as far as the configuration in force counts it. */
static bool may_campaign(const struct raft *r)
{
    const struct raft_conf_at *now = raft_confs_last(&r->confs);
    const struct raft_member *m = NULL;

    if (now->index > r->commit) {
        m = raft_conf_find(raft_confs_at(&r->confs, now->index - 1), r->options.id);
    }
    return !raft_is_repairing(r) && (raft_is_voter(r) || (m != NULL && !m->learner));
}

void raft_campaign(struct raft *r)
{
    bool is_alone = raft_is_lone_voter(r);

    if (r->role == RAFT_LEADER || !may_campaign(r) || (is_alone && r->role == RAFT_CANDIDATE)) {
        return;
    }
    if (is_alone) {
        become_candidate(r, false); /* and leads as soon as its own vote is durable */
    } else {
        become_precandidate(r);
    }
}

void raft_on_link_lost(struct raft *r, uint64_t peer)
{
    if (r->role == RAFT_FOLLOWER && r->leader == peer && peer != RAFT_NONE) {
        raft_become_follower(r, r->term, RAFT_NONE);
        MARK("leader_let_go_by_lost_link");
        r->election_timeout = 1 + r->random % LINK_LOST_TICKS;
    }
}

void raft_election_tick(struct raft *r)
{
    r->election_elapsed++;
    if (!raft_is_lone_voter(r) && r->election_elapsed < r->election_timeout) {
        return;
    }
    /* With a disk that hangs it could not vote for itself, let alone lead (F12). */
    if (may_campaign(r) && r->stable.stalled_ticks < r->options.election_ticks) {
        raft_campaign(r);
    } else if (r->role != RAFT_FOLLOWER || r->leader != RAFT_NONE) {
        raft_become_follower(r, r->term, RAFT_NONE);
    }
}

void raft_election_hard_done(struct raft *r)
{
    if (r->role == RAFT_CANDIDATE && r->self != NULL && r->self->ballot == RAFT_BALLOT_NONE) {
        r->self->ballot = RAFT_BALLOT_GRANTED;
        count_ballots(r);
    }
}

static bool is_up_to_date(const struct raft *r, struct raft_entry_id theirs)
{
    struct raft_entry_id ours = raft_log_last_id(&r->log);

    return theirs.term > ours.term || (theirs.term == ours.term && theirs.index >= ours.index);
}

/* VOTE of the own term, or PREVOTE of the own or a higher one. A learner answers as well: it may
 * have become a voter by an entry that it has yet to receive, and a majority may depend on it; who
 * knows it as a learner neither asks nor counts it. */
void raft_on_vote(struct raft *r, const struct raft_msg *m)
{
    bool pre = m->type == RAFT_MSG_PREVOTE;
    bool is_free = r->vote == m->from || (r->vote == RAFT_NONE && r->leader == RAFT_NONE);
    bool grant = (is_free || (pre && m->term > r->term)) && is_up_to_date(r, m->prev);
    struct raft_msg reply =
        raft_msg_make(r, pre ? RAFT_MSG_PREVOTE_REPLY : RAFT_MSG_VOTE_REPLY, m->from);

    if (raft_is_repairing(r) || (raft_has_lease(r) && (pre || !m->transfer))) {
        return;
    }
    if (grant && pre) {
        reply.term = m->term;
    } else if (grant) {
        r->stable.hard_dirty |= r->vote != m->from;
        r->vote = m->from;
        r->election_elapsed = 0;
    }
    reply.reject = !grant;
    raft_msg_push(r, &reply);
}

void raft_on_vote_reply(struct raft *r, struct raft_peer *p, const struct raft_msg *m)
{
    bool pre = m->type == RAFT_MSG_PREVOTE_REPLY;

    if (r->role != (pre ? RAFT_PRECANDIDATE : RAFT_CANDIDATE) ||
        m->term != r->term + (pre && !m->reject)) {
        return;
    }
    /* Nobody is asked before the own vote is durable. This answers what was asked by an earlier life
     * of this member, whose disk has forgotten it, or it is a lie. */
    if (!pre && raft_stable_hard_pending(&r->stable)) {
        return;
    }
    if (p->ballot == RAFT_BALLOT_NONE) {
        p->ballot = m->reject ? RAFT_BALLOT_REJECTED : RAFT_BALLOT_GRANTED;
        count_ballots(r);
    }
}

void raft_on_timeout_now(struct raft *r, const struct raft_msg *m)
{
    if (r->role == RAFT_FOLLOWER && r->leader == m->from && may_campaign(r)) {
        MARK("election_by_transfer");
        become_candidate(r, true);
    }
}
