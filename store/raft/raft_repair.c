/* Repair: a member whose disk lost a part of what it had made durable gets it back from the others.
 *
 * Such a member X may have voted and acknowledged entries and not remember it. Until that can do no
 * harm any more it is under repair, which is part of its hard state: it neither votes nor stands,
 * answers no pre-vote, and signs all its answers to leaders, so that nobody counts them: not for
 * commit, not for reads, not for check-quorum. It takes entries and snapshots as any follower, from
 * whoever leads, and is healed when all of this holds at the same time:
 *
 *   1. Every other voter of the configuration in its log has answered REPAIR_ASK, asked after the
 *      damage, and X has taken the highest of their terms. Those that are under repair themselves
 *      may be as many as the cluster can lose, X included.
 *   2. The leader of X's term has told a goal: the end of its log at a moment after it knew of this
 *      repair, since when a majority that counts nobody under repair has confirmed it as leader and
 *      holds an entry of its own term.
 *   3. X has all of that leader's log up to the goal, durably.
 *
 * It then counts its vote in that term as given away, and is a member like the others.
 *
 * Why that is enough. n voters, a majority is q; what X did before the damage was right.
 *
 * Entries. Say that X had acknowledged e of term u, and e was or will be committed by counting it:
 * with X, q members acknowledged e. Its leader knew u, and so did the q who had elected it; with at
 * most n - q members under repair one of these is intact and answered, so X's term, and with it
 * that of the leader L who heals it, is at least u. If L led in u, e is in its log, below the goal.
 * If L's term is higher, L was elected by q members, of whom each voted before its damage or after
 * its healing. The two majorities share a member Z. Had Z voted for L before it acknowledged e, its
 * term would have forbidden that; so it held e when it voted, by what this paragraph says of the
 * time when Z itself was healed, and L's log was at least as new as Z's. By induction over the
 * terms from u on every leader has e: L has, and X gets it. No old acknowledgement of X has to be
 * taken back for that. An entry that X acknowledged and that is in no leader's log is not committed
 * and never will be: those who could still count it have voted for somebody else since.
 *
 * Votes. Say that X had voted for C in term u. If C was elected, u is known as above; if it still
 * stands, it knows u itself, and is asked; if it was damaged since, it stands no more. So X's term
 * is at least u, its vote in that term is given away, and it votes in none before. (A request or
 * grant of a vote from before the damage that reaches a member of whom both ends have been started
 * anew since is excluded by the links: theirs ended with the processes.)
 *
 * Who is asked. X's log may know old members only. But the goal is below the end of a log whose
 * leader a majority without X confirmed and follows, so X's configuration is then that leader's. A
 * candidate C that only a newer one names cannot win with X's old vote: two configurations that
 * follow one another share a member between any two majorities, here one that confirmed L, has an
 * entry of L's term, and refuses a log that lacks it; and if C's log has it, it is L's log.
 *
 * A member can be told by the leader as well that it has lost something: heartbeats say up to which
 * entry it acknowledged the log in this leadership, and who has less, or another entry there, was
 * given an old disk (F19). */
#include "raft_internal.h"

/* ---- the member under repair ---- */

void raft_repair_begin(struct raft *r)
{
    decree_assert(!raft_is_repairing(r) && r->role != RAFT_LEADER);
    r->repair.session = ++r->repair.sessions;
    r->repair.ask_due = true;
    r->repair.goal = (struct raft_entry_id){0};
    for (size_t i = 0; i < r->n_peers; i++) {
        r->peers[i].answer = RAFT_ANSWER_NONE;
    }
    if (r->role != RAFT_FOLLOWER) {
        raft_become_follower(r, r->term, RAFT_NONE);
    }
    r->stable.hard_dirty = true;
}

void raft_repair_sign(const struct raft *r, struct raft_msg *reply)
{
    if (raft_is_repairing(r)) {
        reply->repairing = true;
        reply->context = r->repair.session;
    }
}

void raft_repair_tick(struct raft *r)
{
    r->repair.ask_due = true;
}

static void ask(struct raft *r)
{
    for (size_t i = 0; r->repair.ask_due && i < r->n_peers; i++) {
        const struct raft_peer *p = &r->peers[i];

        if (p != r->self && !p->learner && p->answer != RAFT_ANSWER_INTACT) {
            struct raft_msg m = raft_msg_make(r, RAFT_MSG_REPAIR_ASK, p->id);

            m.context = r->repair.session;
            raft_msg_push(r, &m);
        }
    }
    r->repair.ask_due = false;
}

void raft_repair_waits(const struct raft *r, uint64_t *ret_silent, size_t *ret_damaged)
{
    *ret_silent = RAFT_NONE;
    *ret_damaged = raft_is_voter(r) ? 1 : 0;
    for (size_t i = 0; i < r->n_peers; i++) {
        const struct raft_peer *p = &r->peers[i];

        if (p == r->self || p->learner) {
            continue;
        }
        *ret_damaged += p->answer == RAFT_ANSWER_REPAIRING;
        if (p->answer == RAFT_ANSWER_NONE && *ret_silent == RAFT_NONE) {
            *ret_silent = p->id;
        }
    }
}

static bool all_have_answered(const struct raft *r)
{
    uint64_t silent;
    size_t damaged, voters = raft_voters(r);

    raft_repair_waits(r, &silent, &damaged);
    return voters != 0 && silent == RAFT_NONE && damaged <= (voters - 1) / 2;
}

static bool is_healed(const struct raft *r)
{
    return r->role == RAFT_FOLLOWER && r->leader != RAFT_NONE && r->repair.goal.index != 0 &&
        r->repair.goal.term == r->term && !raft_stable_hard_pending(&r->stable) &&
        MIN(r->leader_match, r->stable.index) >= r->repair.goal.index && all_have_answered(r);
}

static void say_done(struct raft *r, uint64_t session)
{
    struct raft_msg m = raft_msg_make(r, RAFT_MSG_REPAIR_DONE, r->leader);

    m.context = session;
    raft_msg_push(r, &m);
}

void raft_repair_flush(struct raft *r)
{
    if (!raft_is_repairing(r)) {
        return;
    }
    ask(r);
    if (is_healed(r)) {
        uint64_t session = r->repair.session;

        r->repair.session = 0;
        r->vote = r->options.id; /* whoever got it before the damage keeps it alone */
        r->stable.hard_dirty = true;
        say_done(r, session); /* leaves when that is durable */
    }
}

void raft_on_repair_reply(struct raft *r, struct raft_peer *p, const struct raft_msg *m)
{
    if (!raft_is_repairing(r) || m->context != r->repair.session) {
        return;
    }
    p->answer = m->reject ? RAFT_ANSWER_REPAIRING : RAFT_ANSWER_INTACT;
    if (m->term > r->term) {
        raft_become_follower(r, m->term, RAFT_NONE);
    }
}

void raft_on_repair_goal(struct raft *r, const struct raft_msg *m)
{
    if (r->role != RAFT_FOLLOWER || r->leader != m->from) {
        return;
    }
    if (!raft_is_repairing(r)) {
        say_done(r, m->context); /* said before, and lost */
    } else if (m->context == r->repair.session) {
        r->repair.goal = (struct raft_entry_id){.term = m->term, .index = m->index};
    }
}

void raft_repair_check_loss(struct raft *r, const struct raft_msg *heartbeat)
{
    struct raft_entry_id acked = heartbeat->prev;
    bool lost = heartbeat->index > raft_log_last(&r->log) ||
        (acked.index >= raft_log_first(&r->log) && !raft_log_has(&r->log, acked));

    if (lost && !raft_is_repairing(r)) {
        raft_repair_begin(r);
    }
}

/* ---- everybody else ---- */

/* The answer waits, as all that speaks for a term does, until that term is durable. */
void raft_on_repair_ask(struct raft *r, const struct raft_msg *m)
{
    struct raft_msg reply = raft_msg_make(r, RAFT_MSG_REPAIR_REPLY, m->from);

    reply.reject = raft_is_repairing(r);
    reply.context = m->context;
    raft_msg_push(r, &reply);
}

/* ---- the leader ---- */

bool raft_repair_hear(struct raft *r, struct raft_peer *p, const struct raft_msg *m)
{
    if (!m->repairing) {
        return p->repair == 0; /* else from before the damage, or DONE is on its way */
    }
    if (p->repair != m->context) {
        raft_peer_reset(p, raft_log_last(&r->log) + 1);
        p->repair = m->context;
        p->goal = raft_log_last(&r->log);
        p->goal_round = ++r->reads.nonce;
        p->beat = true;
        r->beat = true;
        r->quorum_dirty = true;
    }
    p->heard_at = r->ticks;
    return true;
}

bool raft_repair_is_led(const struct raft *r)
{
    for (size_t i = 0; i < r->n_peers; i++) {
        if (r->peers[i].repair != 0) {
            return true;
        }
    }
    return false;
}

void raft_repair_beat(struct raft *r, const struct raft_peer *p)
{
    struct raft_msg m = raft_msg_make(r, RAFT_MSG_REPAIR_GOAL, p->id);

    if (p->repair == 0 || raft_reads_confirmed(r) < p->goal_round ||
        raft_log_term(&r->log, raft_peers_quorum_match(r)) != r->term) {
        return;
    }
    m.context = p->repair;
    m.index = p->goal;
    raft_msg_push(r, &m);
}

void raft_on_repair_done(struct raft *r, struct raft_peer *p, const struct raft_msg *m)
{
    if (r->role == RAFT_LEADER && p->repair == m->context) {
        p->repair = 0;
        p->heard_at = r->ticks;
        r->quorum_dirty = true;
    }
}
