/* The follower's side of replication.
 *
 * leader_match is how far the log is known to agree with the leader of this term. Commit never
 * passes it (R31), nothing at or below it is ever cut, and the acknowledgement that goes back is
 * the part of it that is durable. While the disk is slow one acknowledgement waits, not one a
 * message. */
#include "buggify.h"
#include "raft_internal.h"

static bool hear_leader(struct raft *r, const struct raft_msg *m)
{
    if (r->role == RAFT_LEADER || (r->leader != RAFT_NONE && r->leader != m->from)) {
        return false; /* a second leader in one term: not by any correct member */
    }
    if (r->role != RAFT_FOLLOWER || r->leader == RAFT_NONE) {
        raft_become_follower(r, r->term, m->from);
    }
    r->election_elapsed = 0;
    return true;
}

static void reject(struct raft *r, const struct raft_msg *m)
{
    struct raft_msg reply = raft_msg_make(r, RAFT_MSG_APPEND_REPLY, m->from);

    MARK("append_rejected");
    reply.reject = true;
    reply.index = m->prev.index;
    reply.hint = raft_log_find(&r->log, m->prev);
    raft_repair_sign(r, &reply);
    raft_msg_push(r, &reply);
}

/* Entries continue the log at leader_match or beyond. */
static void merge(struct raft *r, const struct raft_entry *entries, size_t n)
{
    size_t i = 0;

    while (i < n && raft_log_has(&r->log, entries[i].id)) {
        i++;
    }
    if (i < n && entries[i].id.index <= raft_log_last(&r->log)) {
        raft_truncate_log(r, entries[i].id.index);
    }
    for (; i < n; i++) {
        raft_append_entry(r, &entries[i]);
    }
}

static void advance_commit(struct raft *r, uint64_t commit)
{
    r->commit = MAX(r->commit, MIN(commit, r->leader_match));
}

void raft_on_append(struct raft *r, const struct raft_msg *m)
{
    const struct raft_entry *entries = m->entries;
    size_t n = m->n_entries;
    uint64_t last = m->prev.index + n;

    if (!hear_leader(r, m)) {
        return;
    }
    if (last <= r->leader_match) {
        MARK("append_repeated");
        /* an old one again: acknowledge what is there */
    } else if (m->prev.index < r->leader_match) {
        size_t known = (size_t)(r->leader_match - m->prev.index);

        if (!raft_log_has(&r->log, entries[known - 1].id)) {
            return; /* contradicts what this leader said before, or what is committed */
        }
        merge(r, entries + known, n - known);
    } else if (raft_log_has(&r->log, m->prev)) {
        merge(r, entries, n);
    } else {
        reject(r, m);
        return;
    }
    r->leader_match = MAX(r->leader_match, last);
    advance_commit(r, m->commit);
    r->ack_wanted = true;
    if (r->stable.index < r->leader_match) {
        /* Nothing to tell before the disk moves on. */
        r->ack_sent = MAX(r->ack_sent, r->stable.index);
    }
}

void raft_on_heartbeat(struct raft *r, const struct raft_msg *m)
{
    struct raft_msg reply = raft_msg_make(r, RAFT_MSG_HEARTBEAT_REPLY, m->from);

    if (!hear_leader(r, m)) {
        return;
    }
    raft_repair_check_loss(r, m);
    advance_commit(r, m->commit);
    reply.context = m->context;
    reply.index = r->leader_match;
    raft_repair_sign(r, &reply);
    raft_msg_push(r, &reply);
}

void raft_follower_flush(struct raft *r)
{
    struct raft_msg reply = raft_msg_make(r, RAFT_MSG_APPEND_REPLY, r->leader);

    if (!r->ack_wanted || raft_stable_hard_pending(&r->stable)) {
        return;
    }
    reply.index = MIN(r->leader_match, r->stable.index);
    if (reply.index == r->leader_match) {
        r->ack_wanted = false;
    } else if (reply.index <= r->ack_sent) {
        MARK("acknowledgement_waits_for_disk");
        return;
    }
    r->ack_sent = reply.index;
    raft_repair_sign(r, &reply);
    raft_msg_push(r, &reply);
}

/* Whose log agrees with the leader's beyond the snapshot has all of it already. */
static int take_snapshot(struct raft *r, struct raft_entry_id id, const struct raft_conf *conf)
{
    if (raft_log_has(&r->log, id)) {
        MARK("snapshot_not_needed");
        r->commit = MAX(r->commit, id.index);
        r->leader_match = MAX(r->leader_match, r->commit);
        return RAFT_STALE;
    }
    if (id.index <= r->leader_match) {
        return RAFT_STALE;
    }
    if (r->stable.n != 0) {
        MARK("snapshot_installed_while_written");
    }
    raft_log_reset(&r->log, id);
    raft_stable_reset(&r->stable, id.index);
    raft_confs_deinit(&r->confs);
    raft_confs_init(&r->confs, id.index, conf);
    raft_peers_rebuild(r);
    r->commit = r->commit_handed = r->applied = r->leader_match = id.index;
    return RAFT_OK;
}

int raft_on_install(struct raft *r, const struct raft_event *event)
{
    uint64_t from = event->install.from, term = event->install.term;
    int rc;

    if (!raft_install_is_sane(r, event)) {
        return RAFT_STALE;
    }
    if (term > r->term || (term == r->term && r->role != RAFT_LEADER && r->leader == RAFT_NONE)) {
        raft_become_follower(r, term, from);
    }
    if (r->role != RAFT_FOLLOWER) {
        return RAFT_STALE; /* of an older term, and this member is after a newer one by now */
    }
    rc = take_snapshot(r, event->install.id, event->install.conf);
    if (term == r->term && r->leader == from) {
        r->election_elapsed = 0;
        r->ack_wanted = true;
    }
    return rc;
}
