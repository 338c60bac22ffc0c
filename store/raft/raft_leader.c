/* The leader: its log, its commit index, proposals and the handing over of leadership.
 *
 * It sends entries while its own disk writes them and counts itself like any other voter, once they
 * are durable. Only an entry of its own term may be counted; those before it commit with it (paper
 * 5.4.2, R1). Therefore each leadership begins with an empty entry, and until that has committed
 * there are no read indexes (R15) and no changes of membership (R6). */
#include "buggify.h"
#include "raft_internal.h"

static void append_own(struct raft *r, enum raft_entry_type type, struct buf *payload)
{
    struct raft_entry e = {
        .id = {.term = r->term, .index = raft_log_last(&r->log) + 1},
        .type = type,
        .payload = payload,
    };

    raft_append_entry(r, &e);
    r->uncommitted_bytes += raft_entry_bytes(&e);
}

void raft_become_leader(struct raft *r)
{
    r->role = RAFT_LEADER;
    r->leader = r->options.id;
    r->leader_since = r->ticks;
    r->heartbeat_elapsed = 0;
    r->by_transfer = false;
    r->quorum_dirty = true;
    r->beat = false;
    raft_peers_reset(r);
    r->uncommitted_bytes = 0;
    for (uint64_t i = r->commit_handed + 1; i <= raft_log_last(&r->log); i++) {
        r->uncommitted_bytes += raft_entry_bytes(raft_log_at(&r->log, i));
    }
    append_own(r, RAFT_ENTRY_NORMAL, r->empty);
}

/* One change at a time, each of one voter, and only after an entry of this term has committed:
 * then any two majorities that can decide at the same time share a member (thesis 4.1 and the
 * correction of 2015). */
static bool may_change_conf(const struct raft *r, const struct buf *payload)
{
    const struct raft_conf_at *now = raft_confs_last(&r->confs);
    struct raft_conf conf;

    return raft_conf_decode(buf_bytes(payload), &conf, NULL) == 0 && now->index <= r->commit &&
        raft_log_term(&r->log, r->commit) == r->term &&
        raft_conf_voters_changed(&now->conf, &conf) <= 1;
}

/* All or none. They come as the caller's proposals or as a follower's entries: one of the two. */
static int accept(
    struct raft *r, const struct raft_proposal *list, const struct raft_entry *entries, size_t n)
{
    size_t bytes = 0, confs = 0;

    if (r->transfer_to != RAFT_NONE) {
        return RAFT_NOT_LEADER;
    }
    for (size_t i = 0; i < n; i++) {
        struct buf *payload = list != NULL ? list[i].payload : entries[i].payload;
        enum raft_entry_type type = list != NULL ? list[i].type : entries[i].type;

        bytes += payload->len + sizeof(struct raft_entry);
        confs += type == RAFT_ENTRY_CONF;
        if (type == RAFT_ENTRY_CONF && (confs > 1 || !may_change_conf(r, payload))) {
            return RAFT_REFUSED;
        }
    }
    if (r->uncommitted_bytes != 0 &&
        r->uncommitted_bytes + bytes > r->options.uncommitted_bytes_max) {
        return RAFT_BUSY;
    }
    for (size_t i = 0; i < n; i++) {
        append_own(r, list != NULL ? list[i].type : entries[i].type,
            list != NULL ? list[i].payload : entries[i].payload);
    }
    return RAFT_OK;
}

int raft_propose(struct raft *r, const struct raft_proposal *list, size_t n)
{
    if (r->role == RAFT_LEADER) {
        return accept(r, list, NULL, n);
    }
    if (r->leader == RAFT_NONE) {
        return RAFT_NOT_LEADER;
    }
    raft_msg_forward(r, list, n);
    return RAFT_OK;
}

/* The term was checked: this is the leadership the proposals were meant for (R33). */
int raft_on_propose_msg(struct raft *r, const struct raft_msg *m)
{
    return r->role == RAFT_LEADER ? accept(r, NULL, m->entries, m->n_entries) : RAFT_NOT_LEADER;
}

int raft_transfer(struct raft *r, uint64_t peer)
{
    const struct raft_peer *p = raft_peer_find(r, peer);

    if (r->role != RAFT_LEADER) {
        return RAFT_NOT_LEADER;
    }
    if (p == NULL || p->learner || p->repair != 0) {
        return RAFT_REFUSED;
    }
    if (peer != r->options.id && peer != r->transfer_to) {
        r->transfer_to = peer;
        r->transfer_since = r->ticks;
        r->timeout_now_sent = false;
    }
    return RAFT_OK;
}

/* The member with most of the log, to lead in this one's place. */
static uint64_t heir(const struct raft *r)
{
    const struct raft_peer *best = NULL;

    for (size_t i = 0; i < r->n_peers; i++) {
        const struct raft_peer *p = &r->peers[i];

        if (p != r->self && !p->learner && p->repair == 0 && raft_peer_is_recent(r, p) &&
            (best == NULL || p->match > best->match)) {
            best = p;
        }
    }
    return best != NULL ? best->id : RAFT_NONE;
}

/* After an election timeout without a word from the disk another one is asked to lead, which needs
 * no write here: that is over within a round trip, while a vacancy would have to be noticed. True
 * when there is nobody, or half a timeout later. */
static bool disk_hangs(struct raft *r)
{
    unsigned limit = r->options.election_ticks;

    if (r->stable.stalled_ticks == limit && r->transfer_to == RAFT_NONE) {
        uint64_t to = heir(r);

        return to == RAFT_NONE || raft_transfer(r, to) != RAFT_OK;
    }
    return r->stable.stalled_ticks >= limit + limit / 2;
}

void raft_leader_tick(struct raft *r)
{
    unsigned limit = r->options.election_ticks;
    bool cut_off = r->ticks - r->leader_since >= limit && !raft_peers_quorum_recent(r);

    if (cut_off || (!raft_is_lone_voter(r) && disk_hangs(r))) {
        /* Others can lead; this one cannot reach a majority, or its disk hangs (F12, F21). */
        if (cut_off) {
            MARK("leader_cut_off");
        } else {
            MARK("leader_with_hanging_disk");
        }
        raft_become_follower(r, r->term, RAFT_NONE);
        return;
    }
    if (++r->heartbeat_elapsed >= r->options.heartbeat_ticks) {
        r->heartbeat_elapsed = 0;
        r->beat = true;
    }
    if (r->transfer_to != RAFT_NONE && r->ticks - r->transfer_since >= limit) {
        MARK("transfer_given_up");
        r->transfer_to = RAFT_NONE;
    }
}

static void advance_commit(struct raft *r)
{
    uint64_t match;

    if (!r->quorum_dirty) {
        return;
    }
    r->quorum_dirty = false;
    match = raft_peers_quorum_match(r);
    if (match > r->commit && raft_log_term(&r->log, match) != r->term) {
        MARK("quorum_on_older_term");
        return;
    }
    if (match <= r->commit) {
        return;
    }
    r->commit = match;
}

static void flush_transfer(struct raft *r)
{
    const struct raft_peer *p = raft_peer_find(r, r->transfer_to);

    if (r->transfer_to == RAFT_NONE || r->timeout_now_sent) {
        return;
    }
    if (p == NULL || p->learner || p->repair != 0) {
        r->transfer_to = RAFT_NONE;
    } else if (p->match == raft_log_last(&r->log)) {
        struct raft_msg m = raft_msg_make(r, RAFT_MSG_TIMEOUT_NOW, p->id);

        raft_msg_push(r, &m);
        r->timeout_now_sent = true;
    }
}

void raft_leader_flush(struct raft *r, struct raft_update *ret)
{
    advance_commit(r);
    raft_reads_flush(r);
    raft_peers_flush(r, ret);
    flush_transfer(r);
    if (!raft_is_voter(r) && raft_confs_last(&r->confs)->index <= r->commit) {
        /* It led its own removal to the end and told the others (thesis 4.2.2). */
        raft_become_follower(r, r->term, RAFT_NONE);
    }
}
