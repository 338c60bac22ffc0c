/* The machine: takes events in, hands updates out. What each event does lives in the file of its
 * noun; here is only who is asked, and what must hold afterwards. */
#include "raft.h"

#include "buggify.h"
#include "err.h"
#include "raft_internal.h"

void *raft_grow(void *p, size_t n, size_t *cap, size_t size)
{
    if (n < *cap) {
        return p;
    }
    *cap = MAX(*cap * 2, (size_t)8);
    return xreallocarray(p, *cap, size);
}

/* ---- life ---- */

static bool restore_is_sane(const struct raft_restore *restore)
{
    struct raft_entry_id last = restore->snapshot;
    struct raft_conf conf;

    if ((last.index == 0) != (last.term == 0) || restore->snapshot_conf.n > RAFT_MEMBERS_MAX) {
        return false;
    }
    for (size_t i = 0; i < restore->n_entries; i++) {
        const struct raft_entry *e = &restore->entries[i];

        if (e->id.index != last.index + 1 || e->id.term < last.term || e->id.term == 0 ||
            (e->type != RAFT_ENTRY_NORMAL && e->type != RAFT_ENTRY_CONF) ||
            (e->type == RAFT_ENTRY_CONF &&
                raft_conf_decode(buf_bytes(e->payload), &conf, NULL) != 0)) {
            return false;
        }
        last = e->id;
    }
    return true;
}

int raft_new(
    const struct raft_options *options, const struct raft_restore *restore, struct raft **ret)
{
    struct raft *r;

    decree_assert(options->id != RAFT_NONE);
    decree_assert(options->heartbeat_ticks > 0);
    decree_assert(options->election_ticks > options->heartbeat_ticks);
    decree_assert(options->inflight_msgs_max > 0 && options->inflight_bytes_max > 0);
    if (!restore_is_sane(restore)) {
        return DECREE_ECORRUPT;
    }
    r = xcalloc(1, sizeof(*r));
    r->options = *options;
    r->options.append_bytes_max = MAX(options->append_bytes_max, (size_t)1);
    r->ticks = options->election_ticks;
    r->election_timeout = options->election_ticks;
    r->term = restore->term;
    r->vote = restore->vote;
    r->repair.sessions = restore->session;
    r->empty = buf_new(0);
    raft_log_init(&r->log, restore->snapshot);
    raft_confs_init(&r->confs, restore->snapshot.index, &restore->snapshot_conf);
    raft_peers_rebuild(r);
    for (size_t i = 0; i < restore->n_entries; i++) {
        raft_append_entry(r, &restore->entries[i]);
    }
    /* A new cluster's first entry, or a snapshot taken in, may be ahead of the hard state. */
    if (raft_log_last_id(&r->log).term > r->term) {
        r->term = raft_log_last_id(&r->log).term;
        r->vote = RAFT_NONE;
    }
    raft_stable_init(&r->stable, raft_log_last(&r->log));
    r->commit = r->commit_handed = r->applied = r->leader_match = restore->snapshot.index;
    if (restore->repairing) {
        if (r->term == 0) {
            r->term = 1; /* the founding's, which every member has; messages of none are noise */
        }
        raft_repair_begin(r);
    }
    *ret = r;
    return 0;
}

struct raft *raft_free(struct raft *r)
{
    if (r != NULL) {
        raft_outbox_deinit(&r->out);
        raft_reads_deinit(&r->reads);
        raft_peers_deinit(r);
        raft_confs_deinit(&r->confs);
        raft_stable_deinit(&r->stable);
        raft_log_deinit(&r->log);
        buf_unref(r->empty);
        free(r);
    }
    return NULL;
}

/* ---- the log and the configurations in it ---- */

void raft_append_entry(struct raft *r, const struct raft_entry *e)
{
    struct raft_conf conf;

    raft_log_append(&r->log, e);
    if (e->type == RAFT_ENTRY_CONF) {
        int rc = raft_conf_decode(buf_bytes(e->payload), &conf, NULL);

        decree_assert(rc == 0); /* every way in checks it: restore, message, proposal */
        raft_confs_push(&r->confs, e->id.index, &conf);
        raft_peers_rebuild(r);
    }
}

void raft_truncate_log(struct raft *r, uint64_t index)
{
    size_t n_confs = r->confs.n;

    decree_assert(index > r->commit);
    MARK("log_truncated");
    if (index <= r->stable.handed && index > r->stable.index) {
        MARK("log_truncated_while_written");
    }
    raft_log_truncate(&r->log, index);
    raft_stable_truncate(&r->stable, index);
    raft_confs_truncate(&r->confs, index);
    if (r->confs.n != n_confs) {
        raft_peers_rebuild(r);
    }
}

/* ---- events ---- */

static void check_invariants(const struct raft *r)
{
    uint64_t last = raft_log_last(&r->log);

    decree_assert(r->log.before.index <= r->applied && r->applied <= r->commit_handed);
    decree_assert(r->commit_handed <= r->commit && r->commit <= last);
    decree_assert(r->commit_handed <= r->stable.index);
    decree_assert(r->stable.index <= r->stable.handed && r->stable.handed <= last);
    decree_assert(raft_log_last_id(&r->log).term <= r->term);
    decree_assert(
        r->role == RAFT_LEADER || (r->commit <= r->leader_match && r->leader_match <= last));
    decree_assert((r->role == RAFT_LEADER) == (r->leader == r->options.id));
    decree_assert(
        r->role == RAFT_FOLLOWER || r->role == RAFT_PRECANDIDATE || r->vote == r->options.id);
    decree_assert(r->role != RAFT_LEADER || !raft_stable_hard_pending(&r->stable));
    decree_assert(r->role == RAFT_FOLLOWER || !raft_is_repairing(r));
    decree_assert(r->out.n_held == 0 || raft_stable_hard_pending(&r->stable));
}

/* May a member that the configuration in force does not know say this? A leader elected under a
 * configuration that this log still lacks must be heard, and so must its candidates: with two of
 * three members left, the newest may need the vote of one who has not heard of it. Everything else
 * from outside is ignored. */
static bool stranger_may_say(enum raft_msg_type type)
{
    return type == RAFT_MSG_APPEND || type == RAFT_MSG_HEARTBEAT || type == RAFT_MSG_VOTE ||
        type == RAFT_MSG_PREVOTE;
}

static void answer_stale(struct raft *r, const struct raft_msg *m)
{
    static const uint8_t reply_type[RAFT_MSG_TYPE_END] = {
        [RAFT_MSG_VOTE] = RAFT_MSG_VOTE_REPLY,
        [RAFT_MSG_PREVOTE] = RAFT_MSG_PREVOTE_REPLY,
        [RAFT_MSG_APPEND] = RAFT_MSG_APPEND_REPLY,
        [RAFT_MSG_HEARTBEAT] = RAFT_MSG_HEARTBEAT_REPLY,
        [RAFT_MSG_READ] = RAFT_MSG_READ_REPLY,
    };
    struct raft_peer *p = raft_peer_find(r, m->from);

    if (reply_type[m->type] != 0) {
        struct raft_msg reply = raft_msg_make(r, reply_type[m->type], m->from);

        reply.reject = true;
        reply.context = m->type == RAFT_MSG_READ ? m->context : 0;
        raft_msg_push(r, &reply);
    } else if (m->type == RAFT_MSG_PROPOSE && r->role == RAFT_LEADER && p != NULL) {
        p->beat = true; /* dropped; a heartbeat tells the forwarder why */
    }
}

/* Question and answer between members whose terms differ, and neither has to follow the other. */
static bool speaks_of_no_term(enum raft_msg_type type)
{
    return type == RAFT_MSG_REPAIR_ASK || type == RAFT_MSG_REPAIR_REPLY;
}

/* Brings both sides to one term. Returns whether the message is to be handled. */
static bool settle_term(struct raft *r, const struct raft_msg *m)
{
    bool from_leader = m->type == RAFT_MSG_APPEND || m->type == RAFT_MSG_HEARTBEAT;

    if (m->term < r->term) {
        answer_stale(r, m);
        return false;
    }
    if (m->term == r->term || m->type == RAFT_MSG_PREVOTE ||
        (m->type == RAFT_MSG_PREVOTE_REPLY && !m->reject)) {
        return true; /* a pre-vote speaks of a term that nobody has taken yet */
    }
    if (m->type == RAFT_MSG_VOTE && !m->transfer && raft_has_lease(r)) {
        MARK("vote_refused_by_lease");
        return false;
    }
    raft_become_follower(r, m->term, from_leader ? m->from : RAFT_NONE);
    return true;
}

/* Positive when it asked for something that was refused. */
static int step_msg(struct raft *r, const struct raft_msg *m)
{
    struct raft_peer *p = raft_peer_find(r, m->from);

    if (!raft_msg_is_sane(r, m) || (p == NULL && !stranger_may_say(m->type)) ||
        (!speaks_of_no_term(m->type) && !settle_term(r, m))) {
        return RAFT_OK;
    }
    switch (m->type) {
    case RAFT_MSG_VOTE:
    case RAFT_MSG_PREVOTE:
        raft_on_vote(r, m);
        break;
    case RAFT_MSG_VOTE_REPLY:
    case RAFT_MSG_PREVOTE_REPLY:
        raft_on_vote_reply(r, p, m);
        break;
    case RAFT_MSG_APPEND:
        raft_on_append(r, m);
        break;
    case RAFT_MSG_APPEND_REPLY:
        if (r->role == RAFT_LEADER) {
            raft_on_append_reply(r, p, m);
        }
        break;
    case RAFT_MSG_HEARTBEAT:
        raft_on_heartbeat(r, m);
        break;
    case RAFT_MSG_HEARTBEAT_REPLY:
        if (r->role == RAFT_LEADER) {
            raft_on_heartbeat_reply(r, p, m);
        }
        break;
    case RAFT_MSG_PROPOSE:
        return raft_on_propose_msg(r, m);
    case RAFT_MSG_READ:
        raft_on_read_msg(r, m);
        break;
    case RAFT_MSG_READ_REPLY:
        raft_on_read_reply(r, m);
        break;
    case RAFT_MSG_TIMEOUT_NOW:
        raft_on_timeout_now(r, m);
        break;
    case RAFT_MSG_REPAIR_ASK:
        raft_on_repair_ask(r, m);
        break;
    case RAFT_MSG_REPAIR_REPLY:
        raft_on_repair_reply(r, p, m);
        break;
    case RAFT_MSG_REPAIR_GOAL:
        raft_on_repair_goal(r, m);
        break;
    case RAFT_MSG_REPAIR_DONE:
        raft_on_repair_done(r, p, m);
        break;
    case RAFT_MSG_TYPE_END:
        break;
    }
    return RAFT_OK;
}

static void step_tick(struct raft *r)
{
    r->ticks++;
    r->stable.stalled_ticks += r->stable.n != 0;
    raft_reads_tick(r);
    raft_repair_tick(r);
    if (r->role == RAFT_LEADER) {
        raft_leader_tick(r);
    } else {
        raft_election_tick(r);
    }
}

static void step_persisted(struct raft *r, uint64_t seq)
{
    raft_stable_done(&r->stable, seq);
    r->quorum_dirty = true;
    if (!raft_stable_hard_pending(&r->stable)) {
        raft_msg_release_held(r);
        raft_election_hard_done(r);
    }
}

/* Lets go of what the last update pointed to. */
static void begin_turn(struct raft *r)
{
    if (r->taken) {
        r->taken = false;
        raft_outbox_clear(&r->out);
        r->reads.n_results = 0;
        raft_log_reap(&r->log);
    }
}

int raft_step(struct raft *r, const struct raft_event *event)
{
    int rc = RAFT_OK;

    begin_turn(r);
    r->random = event->random;
    switch (event->type) {
    case RAFT_EV_TICK:
        step_tick(r);
        break;
    case RAFT_EV_MSG:
        rc = step_msg(r, event->msg);
        break;
    case RAFT_EV_PROPOSE:
        rc = raft_propose(r, event->propose.list, event->propose.n);
        break;
    case RAFT_EV_READ:
        rc = raft_on_read(r, event->context);
        break;
    case RAFT_EV_PERSISTED:
        step_persisted(r, event->seq);
        break;
    case RAFT_EV_APPLIED:
        r->applied = MAX(r->applied, event->index);
        break;
    case RAFT_EV_UNREACHABLE:
        raft_on_unreachable(r, event->peer);
        break;
    case RAFT_EV_LINK_LOST:
        raft_on_link_lost(r, event->peer);
        break;
    case RAFT_EV_SNAPSHOT_STATUS:
        raft_on_snapshot_status(r, event->snapshot_status.peer, event->snapshot_status.index,
            event->snapshot_status.ok);
        break;
    case RAFT_EV_SNAPSHOT_INSTALL:
        rc = raft_on_install(r, event);
        break;
    case RAFT_EV_TRANSFER:
        rc = raft_transfer(r, event->peer);
        break;
    case RAFT_EV_CAMPAIGN:
        raft_campaign(r);
        break;
    }
    check_invariants(r);
    return rc;
}

static void take_persist(struct raft *r, struct raft_persist *ret)
{
    uint64_t from = r->stable.handed + 1, last = raft_log_last(&r->log);

    ret->hard_changed = r->stable.hard_dirty;
    ret->term = r->term;
    ret->vote = r->vote;
    ret->repairing = raft_is_repairing(r);
    ret->n_entries = (size_t)(last + 1 - from);
    ret->entries = ret->n_entries != 0 ? raft_log_at(&r->log, from) : NULL;
    ret->seq = raft_stable_take(&r->stable, last);
}

/* What is committed and durable here may be applied. Only then does it stop counting against the
 * limit on proposals: a leader whose disk is slower than its followers' stays small as well. */
static void hand_out_commit(struct raft *r)
{
    uint64_t to = MIN(r->commit, r->stable.index);

    if (r->stable.index < r->commit) {
        MARK("commit_ahead_of_own_disk");
    }
    while (r->commit_handed < to) {
        r->commit_handed++;
        if (r->role == RAFT_LEADER) {
            r->uncommitted_bytes -= raft_entry_bytes(raft_log_at(&r->log, r->commit_handed));
        }
    }
}

void raft_take_update(struct raft *r, struct raft_update *ret)
{
    begin_turn(r);
    *ret = (struct raft_update){0};
    if (r->role == RAFT_LEADER) {
        raft_leader_flush(r, ret);
    } else {
        raft_reads_flush(r);
        raft_follower_flush(r);
        raft_repair_flush(r);
    }
    take_persist(r, &ret->persist);
    raft_msg_bind_entries(r);
    ret->msgs = r->out.msgs;
    ret->n_msgs = r->out.n;
    ret->reads = r->reads.results;
    ret->n_reads = r->reads.n_results;
    hand_out_commit(r);
    ret->commit = r->commit_handed;
    ret->status_changed = r->seen.term != r->term || r->seen.leader != r->leader ||
        r->seen.role != r->role || r->seen.repairing != raft_is_repairing(r);
    r->seen.term = r->term;
    r->seen.leader = r->leader;
    r->seen.role = r->role;
    r->seen.repairing = raft_is_repairing(r);
    r->taken = true;
    check_invariants(r);
}

/* ---- looking in ---- */

void raft_status(const struct raft *r, struct raft_status *ret)
{
    *ret = (struct raft_status){
        .id = r->options.id,
        .term = r->term,
        .leader = r->leader,
        .role = r->role,
        .commit = r->commit,
        .applied = r->applied,
        .last_index = raft_log_last(&r->log),
        .first_index = raft_log_first(&r->log),
        .stable = r->stable.index,
        .disk_ticks = r->stable.n != 0 ? r->stable.stalled_ticks : 0,
        .lease_proven = r->role == RAFT_LEADER && raft_peers_quorum_recent(r),
        .handing_over = r->transfer_to != RAFT_NONE,
        .uncommitted_bytes = r->uncommitted_bytes,
        .repairing = raft_is_repairing(r),
    };
    if (ret->repairing) {
        ret->repair.goal = r->repair.goal.term == r->term ? r->repair.goal.index : 0;
        ret->repair.voters = raft_voters(r);
        raft_repair_waits(r, &ret->repair.silent, &ret->repair.damaged);
    }
}

size_t raft_progress(const struct raft *r, struct raft_progress ret[RAFT_MEMBERS_MAX])
{
    size_t n = 0;

    for (size_t i = 0; r->role == RAFT_LEADER && i < r->n_peers; i++) {
        const struct raft_peer *p = &r->peers[i];

        if (p != r->self) {
            ret[n++] = (struct raft_progress){
                .id = p->id,
                .learner = p->learner,
                .state = p->state,
                .match = p->match,
                .next = p->next,
                .inflight_msgs = p->window.n,
                .inflight_bytes = p->window.bytes,
                .recent_active = raft_peer_is_recent(r, p),
                .repairing = p->repair != 0,
            };
        }
    }
    return n;
}

const struct raft_conf *raft_conf(const struct raft *r)
{
    return &raft_confs_last(&r->confs)->conf;
}

uint64_t raft_conf_index(const struct raft *r)
{
    return raft_confs_last(&r->confs)->index;
}

const struct raft_conf *raft_conf_at(const struct raft *r, uint64_t index)
{
    return raft_confs_at(&r->confs, index);
}

const struct raft_entry *raft_entries(const struct raft *r, uint64_t from, uint64_t to)
{
    decree_assert(from >= raft_log_first(&r->log) && from <= to && to <= raft_log_last(&r->log));
    return raft_log_at(&r->log, from);
}

uint64_t raft_term_of(const struct raft *r, uint64_t index)
{
    return raft_log_term(&r->log, index);
}

void raft_compact(struct raft *r, uint64_t index, uint64_t keep_from)
{
    decree_assert(index <= r->applied && keep_from <= index + 1);
    if (keep_from > raft_log_first(&r->log)) {
        raft_log_compact(&r->log, keep_from);
        raft_confs_compact(&r->confs, keep_from - 1);
    }
}

struct raft_entry raft_bootstrap_entry(struct buf *payload)
{
    return (struct raft_entry){
        .id = {.term = 1, .index = 1}, .type = RAFT_ENTRY_CONF, .payload = payload};
}
