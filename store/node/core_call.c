/* A call from submit to answer.
 *
 *     INCOMING --checks--> REFUSED                                       (answered with a code)
 *              |---------> PROPOSING --raft takes it--> PROPOSED --applied--> answer
 *              |               ^------- new leadership -----'  (COMPACTING in between if physical)
 *              |---------> READING --read index, applied--> answer      (core_read.c)
 *              |                      `--large range--> SLICING --> answer (core_range.c)
 *              |---------> FORWARDED --leader's answer--> answer        (core_lease.c)
 *              |---------> CHANGING --leader's answer, applied--> answer (core_member.c)
 *              `---------> HASHING --all slices--> answer               (core_hash.c)
 *
 * A proposal of an older leadership is dead once an entry of a newer one has been applied here: the
 * log of that point holds everything that can still be committed from before, and forwarded
 * proposals are void under another leader (raft.h, R33). So it is proposed again, under the same
 * id, and a client sees a slow write instead of a failed leader. Where the outcome cannot be known,
 * the answer is one of etcd's unavailable codes, never a definite failure. */
#include "core.h"

enum { PROPOSE_BATCH = 1024 };

uint64_t core_election_ms(const struct store *s)
{
    return (uint64_t)s->o.heartbeat_ms * s->o.election_ticks;
}

uint64_t core_timeout_ms(const struct store *s)
{
    return 5000 + 2 * core_election_ms(s);
}

void core_calls_init(struct store *s)
{
    struct calls *k = &s->calls;

    list_init(&k->incoming);
    list_init(&k->refused);
    list_init(&k->proposing);
    list_init(&k->proposed);
    list_init(&k->forwarded);
    list_init(&k->compacting);
    list_init(&k->hashing);
    list_init(&k->ages);
    k->next_id = core_random(s);
    k->timed.best_ms = k->timed.best_before_ms = UINT64_MAX;
}

uint64_t core_next_id(struct store *s)
{
    return s->calls.next_id++;
}

/* ---- how long a write takes ----
 * What the log's syncs take is measured where nothing else counts. What members take besides shows
 * in writes only, of which the best is taken: what one waits for others is not meant. */

enum { TIMED_WINDOW_MS = 1000 };

static uint64_t mean_sync_us(struct store *s)
{
    struct timed *t = &s->calls.timed;
    struct wal_stats now;
    uint64_t n, ns;

    wal_stats(s->wal, &now);
    n = now.fsyncs - t->syncs;
    ns = now.fsync_ns_total - t->sync_ns;
    t->syncs = now.fsyncs;
    t->sync_ns = now.fsync_ns_total;
    return n != 0 ? ns / n / 1000 : t->sync_us; /* idle: the disk is what it was */
}

static void timed_window(struct store *s)
{
    struct timed *t = &s->calls.timed;
    uint64_t window = core_now(s) / TIMED_WINDOW_MS;

    if (window != t->window) {
        t->best_before_ms = window == t->window + 1 ? t->best_ms : UINT64_MAX;
        t->best_ms = UINT64_MAX;
        t->window = window;
        t->sync_us = mean_sync_us(s);
    }
}

static void timed_begin(struct store *s, const struct store_call *c)
{
    if (s->calls.timed.id == 0) {
        s->calls.timed.id = c->id_;
        s->calls.timed.since_ms = core_now(s);
    }
}

static void timed_end(struct store *s, const struct store_call *c, bool answered)
{
    struct timed *t = &s->calls.timed;

    if (c->id_ == 0 || c->id_ != t->id) {
        return;
    }
    t->id = 0;
    if (answered) {
        timed_window(s);
        t->best_ms = MIN(t->best_ms, core_now(s) - t->since_ms);
    }
}

uint64_t store_write_us(struct store *s)
{
    uint64_t best;

    timed_window(s);
    best = MIN(s->calls.timed.best_ms, s->calls.timed.best_before_ms);
    return MAX(s->calls.timed.sync_us, best == UINT64_MAX ? 0 : best * 1000);
}

/* ---- coming and going ---- */

void store_submit(struct store *s, struct store_call *c)
{
    list_init(&c->link_);
    list_init(&c->age_);
    c->id_ = 0;
    c->term_ = 0;
    c->payload_ = NULL;
    c->reader_ = NULL;
    c->lease_id_ = 0;
    c->deadline_ms_ = core_now(s) + core_timeout_ms(s);
    c->state_ = CALL_INCOMING;
    c->status_ = 0;
    list_add_tail(&s->calls.incoming, &c->link_);
    list_add_tail(&s->calls.ages, &c->age_);
    core_mark(s);
}

/* By id while an entry or a question is under way: nothing else carries an id. */
static void forget_id(struct store *s, struct store_call *c)
{
    if (c->id_ != 0) {
        hmap_remove(&s->calls.by_id, &c->node_);
        c->id_ = 0;
    }
}

/* Those of a turn that come too late for a place are refused one by one, without taking any. */
static size_t has_place(enum call_state state)
{
    return state != CALL_INCOMING && state != CALL_REFUSED;
}

bool core_calls_full(const struct store *s)
{
    return s->calls.n >= CALLS_MAX;
}

static void detach(struct store *s, struct store_call *c)
{
    list_del(&c->link_);
    list_del(&c->age_);
    timed_end(s, c, false);
    forget_id(s, c);
    if (c->reader_ != NULL) {
        core_range_close(s, c);
    }
    core_hash_forget(s, c);
    if (c->payload_ != NULL) {
        s->calls.pending_bytes -= c->payload_->len;
        s->calls.proposed_bytes -= c->state_ == CALL_PROPOSED ? c->payload_->len : 0;
        c->payload_ = buf_unref(c->payload_);
    }
    decree_assert(s->calls.n >= has_place(c->state_));
    s->calls.n -= has_place(c->state_);
}

void store_cancel(struct store *s, struct store_call *c)
{
    detach(s, c);
}

void core_answer(struct store *s, struct store_call *c, int status, struct store_reply *reply)
{
    decree_assert((status == 0) == (reply != NULL));
    timed_end(s, c, status == 0);
    detach(s, c);
    if (reply != NULL && reply->header.revision == 0) {
        reply->header = store_header(s);
    }
    c->cb(c, status, reply);
}

void core_call_move(struct store *s, struct store_call *c, enum call_state state, struct list *to)
{
    decree_assert(state < CALL_STATE_END);
    if (c->payload_ != NULL) {
        s->calls.proposed_bytes -= c->state_ == CALL_PROPOSED ? c->payload_->len : 0;
        s->calls.proposed_bytes += state == CALL_PROPOSED ? c->payload_->len : 0;
    }
    s->calls.n += has_place(state);
    s->calls.n -= has_place(c->state_);
    c->state_ = state;
    list_del(&c->link_);
    list_add_tail(to, &c->link_);
}

void core_call_postpone(struct store *s, struct store_call *c)
{
    c->deadline_ms_ = core_now(s) + core_timeout_ms(s);
    list_del(&c->age_);
    list_add_tail(&s->calls.ages, &c->age_);
}

void core_refuse(struct store *s, struct store_call *c, int status)
{
    decree_assert(status < 0);
    c->status_ = status;
    core_call_move(s, c, CALL_REFUSED, &s->calls.refused);
}

void core_calls_answer_refused(struct store *s)
{
    struct list now;

    list_init(&now);
    list_splice_tail(&now, &s->calls.refused);
    while (!list_empty(&now)) {
        struct store_call *c = list_entry(now.next, struct store_call, link_);

        core_answer(s, c, c->status_, NULL);
    }
}

struct store_call *core_call_find(struct store *s, uint64_t id)
{
    uint64_t hash = hmap_hash_u64(id);

    for (struct hmap_node *n = hmap_first(&s->calls.by_id, hash); n != NULL;
         n = hmap_next_same(n)) {
        struct store_call *c = container_of(n, struct store_call, node_);

        if (c->id_ == id) {
            return c;
        }
    }
    return NULL;
}

/* ---- admission ---- */

static bool txn_takes_space(const struct txn_request *t);

static bool ops_take_space(const struct txn_op *ops, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (ops[i].kind == OP_PUT || (ops[i].kind == OP_TXN && txn_takes_space(ops[i].txn))) {
            return true;
        }
    }
    return false;
}

static bool txn_takes_space(const struct txn_request *t)
{
    return ops_take_space(t->success, t->n_success) || ops_take_space(t->failure, t->n_failure);
}

static bool takes_space(const struct store_call *c)
{
    return c->kind == STORE_PUT || c->kind == STORE_LEASE_GRANT ||
        (c->kind == STORE_TXN && txn_takes_space(&c->txn));
}

/* The id of a grant that names none: positive and unlikely to be taken; if it is, the grant fails
 * as any other with a known id. */
static int64_t pick_lease_id(const struct store *s)
{
    int64_t id;

    do {
        id = (int64_t)(core_random(s) & INT64_MAX);
    } while (id == 0);
    return id;
}

static void entry_of_call(struct store *s, struct store_call *c, struct entry *ret)
{
    *ret = (struct entry){.id = {.origin = s->id, .sequence = core_next_id(s)}};
    switch (c->kind) {
    case STORE_PUT:
        ret->type = ENTRY_PUT;
        ret->put = c->put;
        break;
    case STORE_DELETE:
        ret->type = ENTRY_DELETE;
        ret->del = c->del;
        break;
    case STORE_TXN:
        ret->type = ENTRY_TXN;
        ret->txn = c->txn;
        break;
    case STORE_COMPACT:
        ret->type = ENTRY_COMPACT;
        ret->compact = c->compact;
        break;
    case STORE_ALARM:
        ret->type = ENTRY_ALARM;
        ret->alarm = c->alarm;
        break;
    case STORE_LEASE_GRANT:
        c->lease_id_ = c->lease_grant.id != 0 ? c->lease_grant.id : pick_lease_id(s);
        ret->type = ENTRY_LEASE_GRANT;
        ret->lease_grant.id = c->lease_id_;
        ret->lease_grant.ttl = MAX(c->lease_grant.ttl, core_lease_ttl_min(s));
        break;
    default:
        decree_assert(c->kind == STORE_LEASE_REVOKE);
        ret->type = ENTRY_LEASE_REVOKE;
        ret->lease_revoke = c->lease_id;
        break;
    }
}

static int check_write(const struct store_call *c)
{
    switch (c->kind) {
    case STORE_PUT:
        return put_request_check(&c->put);
    case STORE_DELETE:
        return delete_request_check(&c->del);
    case STORE_TXN:
        return txn_request_check(&c->txn);
    case STORE_LEASE_GRANT:
        return c->lease_grant.ttl > LEASE_TTL_MAX_S ? DECREE_ELEASE_TTL_TOO_LARGE : 0;
    case STORE_ALARM:
        return c->alarm.alarm.type == STORE_ALARM_NONE ? DECREE_EBAD_REQUEST : 0;
    default:
        return 0;
    }
}

/* In etcd's order: the request itself, its size, the quota, then how busy this member is. */
static int admit_write(struct store *s, struct store_call *c)
{
    struct buf *payload = NULL;
    struct entry e;
    int err;

    err = check_write(c);
    if (err < 0) {
        return err;
    }
    entry_of_call(s, c, &e);
    err = entry_encode(&e, &payload);
    if (err < 0) {
        return err;
    }
    if (core_entry_is_stopped(s, e.type)) {
        err = DECREE_ECORRUPT_CLUSTER;
    } else if (takes_space(c) && !core_has_space(s, payload->len)) {
        err = DECREE_ENO_SPACE;
    } else if (s->disk_full && !core_leads(s)) {
        err = DECREE_ENO_SPACE; /* the leader would do it, and it could not be answered here */
    } else if (s->commit > s->applied + APPLY_GAP_MAX || core_calls_full(s) ||
        s->calls.pending_bytes + payload->len > PENDING_BYTES_MAX) {
        err = DECREE_ETOO_MANY_REQUESTS;
    }
    if (err < 0) {
        buf_unref(payload);
        return err;
    }
    c->payload_ = payload;
    c->id_ = e.id.sequence;
    hmap_insert(&s->calls.by_id, &c->node_, hmap_hash_u64(c->id_));
    s->calls.pending_bytes += payload->len;
    core_call_move(s, c, CALL_PROPOSING, &s->calls.proposing);
    return 0;
}

/* Reads: those that may be stale are served in this turn, the others share its read round. */
static int admit_read(struct store *s, struct store_call *c, bool serializable)
{
    if (core_calls_full(s)) {
        return DECREE_ETOO_MANY_REQUESTS;
    }
    if (serializable) {
        core_read_now(s, c);
        return 0;
    }
    core_read_want(s, c);
    return 0;
}

static bool learner_may(const struct store_call *c)
{
    return c->kind == STORE_STATUS || (c->kind == STORE_RANGE && c->range.serializable);
}

static int admit(struct store *s, struct store_call *c)
{
    int err;

    if (s->state == CORE_STOPPED) {
        return DECREE_ESTOPPED;
    }
    if (core_is_learner(s) && !learner_may(c)) {
        return DECREE_ELEARNER;
    }
    switch (c->kind) {
    case STORE_RANGE:
        err = range_request_check(&c->range);
        return err < 0 ? err : admit_read(s, c, c->range.serializable);
    case STORE_TXN:
        if (txn_request_is_readonly(&c->txn)) {
            err = txn_request_check(&c->txn);
            return err < 0 ? err : admit_read(s, c, txn_request_is_serializable(&c->txn));
        }
        return admit_write(s, c);
    case STORE_PUT:
    case STORE_DELETE:
    case STORE_COMPACT:
    case STORE_LEASE_GRANT:
    case STORE_LEASE_REVOKE:
        return admit_write(s, c);
    case STORE_LEASE_KEEPALIVE:
    case STORE_LEASE_TTL:
        if (core_leads(s)) {
            return admit_read(s, c, false);
        }
        core_lease_forward(s, c);
        return 0;
    case STORE_LEASE_LIST:
        return admit_read(s, c, false);
    case STORE_MEMBER_LIST:
        return admit_read(s, c, !c->member_list.linearizable);
    case STORE_STATUS:
        core_read_now(s, c);
        return 0;
    case STORE_MEMBER_ADD:
    case STORE_MEMBER_REMOVE:
    case STORE_MEMBER_UPDATE:
    case STORE_MEMBER_PROMOTE:
        return core_change_admit(s, c);
    case STORE_MOVE_LEADER:
        return core_move_leader_admit(s, c);
    case STORE_DEFRAGMENT:
        core_read_now(s, c);
        return 0;
    case STORE_ALARM:
        if (c->alarm.action >= STORE_ALARM_ACTION_END ||
            c->alarm.alarm.type >= STORE_ALARM_TYPE_END) {
            return DECREE_EBAD_REQUEST;
        }
        return c->alarm.action == STORE_ALARM_GET ? admit_read(s, c, false) : admit_write(s, c);
    case STORE_HASH:
    case STORE_HASH_KV:
        return core_hash_want(s, c);
    case STORE_KIND_END:
        break;
    }
    return DECREE_EUNIMPLEMENTED;
}

void core_calls_admit(struct store *s)
{
    struct list now;

    list_init(&now);
    list_splice_tail(&now, &s->calls.incoming);
    while (!list_empty(&now)) {
        struct store_call *c = list_entry(now.next, struct store_call, link_);
        int err = admit(s, c);

        if (err < 0) {
            core_refuse(s, c, err);
        }
    }
}

/* ---- proposing ---- */

static void refuse_batch(struct store *s, size_t n, int status)
{
    s->calls.failed += n;
    for (; n > 0; n--) {
        core_refuse(s, list_entry(s->calls.proposing.next, struct store_call, link_), status);
    }
}

static void take_batch(struct store *s, size_t n)
{
    struct raft_status now;

    raft_status(s->raft, &now); /* not s->status: only an update may move that */
    for (; n > 0; n--) {
        struct store_call *c = list_entry(s->calls.proposing.next, struct store_call, link_);

        c->term_ = now.term;
        timed_begin(s, c);
        core_call_move(s, c, CALL_PROPOSED, &s->calls.proposed);
    }
}

void core_calls_propose(struct store *s)
{
    struct raft_proposal batch[PROPOSE_BATCH];

    while (!list_empty(&s->calls.proposing) && s->status.leader != RAFT_NONE) {
        struct raft_event event = {.type = RAFT_EV_PROPOSE, .propose = {.list = batch}};
        size_t bytes = 0;
        int rc;

        list_for_each (it, &s->calls.proposing) {
            struct buf *payload = list_entry(it, struct store_call, link_)->payload_;

            if (event.propose.n == PROPOSE_BATCH ||
                (bytes != 0 &&
                    (bytes + payload->len > PROPOSE_BYTES_MAX || BUGGIFY("proposal_alone")))) {
                break;
            }
            batch[event.propose.n++] = (struct raft_proposal){RAFT_ENTRY_NORMAL, payload};
            bytes += payload->len;
        }
        if (!core_leads(s) && s->calls.proposed_bytes != 0 &&
            s->calls.proposed_bytes + bytes > FORWARD_BYTES_MAX) {
            return; /* until some of those before are applied */
        }
        if (!core_leads(s) &&
            !s->env->connected_since(s->env->data, s->status.leader, core_now(s))) {
            return; /* the link would drop them: until it is up, or another leads */
        }
        if (core_leads(s) && !core_disk_has_room(s, event.propose.n, bytes)) {
            if (core_disk_hands_over(s)) {
                return; /* the next leader may have room */
            }
            refuse_batch(s, event.propose.n, DECREE_ENO_SPACE);
            continue;
        }
        rc = core_step(s, &event);
        if (rc == RAFT_BUSY) {
            refuse_batch(s, event.propose.n, DECREE_ETOO_MANY_REQUESTS);
        } else if (rc != RAFT_OK) {
            return; /* no leader: they wait for one until their deadline */
        } else {
            take_batch(s, event.propose.n);
        }
    }
}

void core_calls_new_term(struct store *s, uint64_t term)
{
    struct list dead;

    if (s->changes.entry.term != 0 && s->changes.entry.term < term) {
        core_changes_outcome_unknown(s);
    }
    list_init(&dead);
    while (!list_empty(&s->calls.proposed)) {
        struct store_call *c = list_entry(s->calls.proposed.next, struct store_call, link_);

        if (c->term_ >= term) {
            break;
        }
        core_call_move(s, c, CALL_PROPOSING, &dead);
    }
    if (!list_empty(&dead)) {
        MARK("proposed_again");
        list_splice_tail(&dead, &s->calls.proposing); /* the older ones first */
        list_splice_tail(&s->calls.proposing, &dead);
        core_mark(s);
    }
}

/* ---- giving up ---- */

/* As etcd words it: what happened since the call came in says why it may have failed. */
static int timeout_status(const struct store *s, const struct store_call *c)
{
    uint64_t begun = c->deadline_ms_ - core_timeout_ms(s);
    uint64_t elected = s->leader_since_ms;
    uint64_t window = 2 * core_election_ms(s);
    struct raft_status now;

    if (c->kind == STORE_MOVE_LEADER) {
        return DECREE_ETIMEOUT_TRANSFER;
    }
    if (elected > begun && begun + window > elected) {
        return DECREE_ETIMEOUT_LEADER_FAIL;
    }
    if (s->status.leader == RAFT_NONE) {
        return DECREE_ETIMEOUT;
    }
    if (core_leads(s)) {
        raft_status(s->raft, &now);
        return now.lease_proven ? DECREE_ETIMEOUT : DECREE_ETIMEOUT_CONNECTION;
    }
    return s->env->connected_since(s->env->data, s->status.leader, begun)
        ? DECREE_ETIMEOUT
        : DECREE_ETIMEOUT_CONNECTION;
}

void core_calls_expire(struct store *s)
{
    uint64_t now = core_now(s);

    while (!list_empty(&s->calls.ages)) {
        struct store_call *c = list_entry(s->calls.ages.next, struct store_call, age_);

        if (c->deadline_ms_ > now) {
            break;
        }
        s->calls.failed += c->payload_ != NULL;
        core_answer(s, c, timeout_status(s, c), NULL);
    }
}

void core_calls_outcome_unknown(struct store *s)
{
    while (!list_empty(&s->calls.proposed)) {
        MARK("outcome_unknown_after_snapshot");
        struct store_call *c = list_entry(s->calls.proposed.next, struct store_call, link_);

        s->calls.failed++;
        core_refuse(s, c, DECREE_ELEADER_CHANGED);
    }
    core_changes_outcome_unknown(s);
}

void core_calls_fail_all(struct store *s, int status)
{
    while (!list_empty(&s->calls.ages)) {
        core_answer(s, list_entry(s->calls.ages.next, struct store_call, age_), status, NULL);
    }
    core_ranges_fail(s, status);
}
