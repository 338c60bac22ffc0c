/* Reads that must see everything acknowledged before them: one read index for all of a turn.
 *
 *     wanted --begin--> flying --raft's result--> known --applied >= index--> ready --> served
 *        ^-----failed, leader changed, too long-----'
 *
 * Every attempt has a context of its own, so that no late answer confirms a newer question (R16).
 */
#include "core.h"

void core_reads_init(struct store *s)
{
    list_init(&s->reads.wanted);
    list_init(&s->reads.late);
    list_init(&s->reads.flying);
    list_init(&s->reads.known);
    list_init(&s->reads.ready);
    s->reads.next_context = core_random(s);
}

void core_read_want(struct store *s, struct store_call *c)
{
    core_call_move(s, c, CALL_READING, &s->reads.wanted);
}

static uint64_t next_context(struct store *s)
{
    if (s->reads.next_context == 0) {
        s->reads.next_context++;
    }
    return s->reads.next_context++;
}

void core_reads_begin(struct store *s)
{
    struct reads *q = &s->reads;
    struct raft_event event = {.type = RAFT_EV_READ};
    struct read_round *round;

    if ((list_empty(&q->wanted) && !s->leases.expiry_wanted) || q->hold ||
        q->n_flying >= READ_ROUNDS_MAX || s->status.leader == RAFT_NONE) {
        return;
    }
    event.context = next_context(s);
    if (core_step(s, &event) != RAFT_OK) {
        q->hold = true;
        return;
    }
    round = xcalloc(1, sizeof(*round));
    list_init(&round->calls);
    list_splice_tail(&round->calls, &q->wanted);
    round->context = event.context;
    round->term = s->status.term;
    round->expiry = s->leases.expiry_wanted;
    s->leases.expiry_wanted = false;
    list_add_tail(&q->flying, &round->link);
    q->n_flying++;
}

/* Back to the front of those that wait: the next round takes them all. */
static void ask_again(struct store *s, struct read_round *round)
{
    struct list rest;

    list_init(&rest);
    list_splice_tail(&rest, &s->reads.wanted);
    list_splice_tail(&s->reads.wanted, &round->calls);
    list_splice_tail(&s->reads.wanted, &rest);
    list_del(&round->link);
    s->reads.n_flying--;
    free(round);
}

void core_read_result(struct store *s, const struct raft_read_result *r)
{
    list_for_each (it, &s->reads.flying) {
        struct read_round *round = list_entry(it, struct read_round, link);

        if (round->context != r->context) {
            continue;
        }
        if (r->failed) {
            MARK("read_round_failed");
            ask_again(s, round);
            s->reads.hold = true;
            return;
        }
        round->index = r->index;
        list_del(&round->link);
        s->reads.n_flying--;
        list_add_tail(&s->reads.known, &round->link);
        return;
    }
}

void core_reads_restart(struct store *s)
{
    while (!list_empty(&s->reads.flying)) {
        ask_again(s, list_entry(s->reads.flying.prev, struct read_round, link));
    }
    s->reads.hold = false;
    core_mark(s);
}

/* What a full disk has no room for is not applied here, so these would wait for their time to be
 * over, while another member can answer them at once. */
static void refuse_beyond_reach(struct store *s)
{
    struct raft_status now;

    raft_status(s->raft, &now);
    list_for_each_safe (it, &s->reads.known) {
        struct read_round *round = list_entry(it, struct read_round, link);

        if (round->index <= now.last_index) {
            continue;
        }
        MARK("read_beyond_a_full_disk");
        while (!list_empty(&round->calls)) {
            core_refuse(s, list_entry(round->calls.next, struct store_call, link_),
                DECREE_ETIMEOUT_APPLIED);
        }
        list_del(&round->link);
        free(round);
    }
}

/* A question or its answer may have been lost: half an election timeout is enough to wait. */
void core_reads_tick(struct store *s)
{
    s->reads.hold = false;
    if (s->disk_full) {
        refuse_beyond_reach(s);
    }
    list_splice_tail(&s->reads.wanted, &s->reads.late);
    list_for_each_safe (it, &s->reads.flying) {
        struct read_round *round = list_entry(it, struct read_round, link);

        if (++round->ticks > s->o.election_ticks / 2) {
            MARK("read_round_too_slow");
            ask_again(s, round);
        }
    }
    if (!list_empty(&s->reads.wanted)) {
        core_mark(s);
    }
}

static void serve(struct store *s, struct store_call *c);

/* Reads of keys may be many and large, so they take turns; what concerns leases is answered at
 * once, before any of them is found to have expired. */
static void release(struct store *s, struct store_call *c)
{
    if (c->kind == STORE_RANGE || c->kind == STORE_TXN || core_is_closed(s)) {
        core_call_move(s, c, CALL_READING, &s->reads.ready);
    } else {
        serve(s, c);
    }
}

void core_reads_release(struct store *s)
{
    if (core_is_closed(s)) {
        return;
    }
    list_for_each_safe (it, &s->reads.known) {
        struct read_round *round = list_entry(it, struct read_round, link);

        if (round->index > s->applied) {
            MARK("read_waits_for_apply");
            continue;
        }
        list_del(&round->link);
        while (!list_empty(&round->calls)) {
            release(s, list_entry(round->calls.next, struct store_call, link_));
        }
        if (round->expiry) {
            core_leases_expire(s, round->term);
        }
        free(round);
    }
}

void core_read_now(struct store *s, struct store_call *c)
{
    release(s, c);
}

void core_reads_turn(struct store *s)
{
    s->reads.keys_left = READ_TURN_KEYS;
}

void core_reads_serve(struct store *s)
{
    core_txn_step(s);
    while (!core_is_closed(s) && s->reads.keys_left > 0 && !list_empty(&s->reads.ready)) {
        serve(s, list_entry(s->reads.ready.next, struct store_call, link_));
        s->reads.keys_left -= MIN(s->reads.keys_left, (size_t)READ_COST_KEYS);
    }
}

bool core_reads_busy(const struct store *s)
{
    return !list_empty(&s->reads.ready) && !core_is_closed(s);
}

void core_reads_deinit(struct store *s)
{
    struct list *lists[] = {&s->reads.flying, &s->reads.known};

    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        while (!list_empty(lists[i])) {
            struct read_round *round = list_entry(lists[i]->next, struct read_round, link);

            decree_assert(list_empty(&round->calls));
            list_del(&round->link);
            free(round);
        }
    }
}

/* ---- serving ---- */

static void serve_status(const struct store *s, struct store_status_reply *ret)
{
    *ret = (struct store_status_reply){
        .etcd_version = STORE_ETCD_VERSION,
        .db_size = mvcc_bytes(s->mvcc),
        .db_size_in_use = mvcc_live_bytes(s->mvcc),
        .leader = s->status.leader,
        .raft_index = s->commit,
        .raft_term = s->status.term,
        .raft_applied = s->applied,
        .learner = core_is_learner(s),
        .repair = s->status.repairing ? STORE_UNDER_REPAIR : NULL,
        .disk_full = s->disk_full ? STORE_DISK_FULL : NULL,
        .alarms = {.list = s->alarms.list, .n = s->alarms.n},
    };
}

static int serve_alarms(const struct store *s, const struct store_call *c, struct arena *arena,
    struct store_alarm_reply *ret)
{
    struct store_alarm *list = arena_calloc(arena, ALARMS_MAX, sizeof(*list));

    if (list == NULL) {
        return DECREE_ETOO_LARGE;
    }
    ret->n = alarms_select(&s->alarms, c->alarm.alarm.type, list);
    ret->list = list;
    return 0;
}

/* The header of a keepalive is of before the renewal, which changes no revision anyway. An unknown
 * lease is an answer with nothing left (contract §5). */
static int serve_keepalive(struct store *s, const struct store_call *c, struct lease_reply *ret)
{
    int err;

    ret->id = c->lease_id.id;
    err = mvcc_lease_renew(s->mvcc, ret->id, core_now(s), &ret->ttl);
    if (err == DECREE_ELEASE_NOT_FOUND) {
        ret->ttl = 0;
        err = 0;
    }
    return err;
}

static int serve_ttl(
    struct store *s, const struct store_call *c, struct arena *arena, struct lease_reply *ret)
{
    int err = mvcc_lease_info(s->mvcc, c->lease_ttl.id, core_now(s), c->lease_ttl.keys, arena, ret);

    if (err == DECREE_ELEASE_NOT_FOUND) {
        *ret = (struct lease_reply){.id = c->lease_ttl.id, .ttl = -1};
        err = 0;
    }
    return err;
}

static int read_state(
    struct store *s, struct store_call *c, struct arena *arena, struct store_reply *ret)
{
    switch (c->kind) {
    case STORE_RANGE:
        return mvcc_range(s->mvcc, &c->range, arena, &ret->range);
    case STORE_LEASE_KEEPALIVE:
        return serve_keepalive(s, c, &ret->lease);
    case STORE_LEASE_TTL:
        return serve_ttl(s, c, arena, &ret->lease);
    case STORE_LEASE_LIST:
        mvcc_lease_list(s->mvcc, arena, &ret->lease_list);
        return 0;
    case STORE_MEMBER_LIST:
        ret->members.list = s->members.list;
        ret->members.n = s->members.n;
        return 0;
    case STORE_ALARM:
        return serve_alarms(s, c, arena, &ret->alarms);
    case STORE_DEFRAGMENT:
        return 0;
    default:
        decree_assert(c->kind == STORE_STATUS);
        serve_status(s, &ret->status);
        return 0;
    }
}

static void serve(struct store *s, struct store_call *c)
{
    struct store_reply reply = {.header = store_header(s)};
    _cleanup_arena_ struct arena arena = {.limit = READ_ARENA_BYTES_MAX};
    int err;

    if (c->kind == STORE_LEASE_KEEPALIVE || c->kind == STORE_LEASE_TTL) {
        if (!core_leads(s)) {
            core_lease_forward(s, c);
            return;
        }
        if (c->kind == STORE_LEASE_KEEPALIVE && core_lease_is_in_doubt(s, c->lease_id.id)) {
            MARK("keepalive_comes_late");
            core_call_move(s, c, CALL_READING, &s->reads.late);
            return;
        }
    }
    if (c->kind == STORE_RANGE && c->range.range_end.len != 0 && c->part != NULL) {
        core_range_serve(s, c);
        return;
    }
    if (c->kind == STORE_TXN) {
        core_txn_serve(s, c);
        return;
    }
    err = read_state(s, c, &arena, &reply);
    core_answer(s, c, err, err < 0 ? NULL : &reply);
}
