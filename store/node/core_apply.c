/* Entries become state: a pure function of (state, entry), the same on every member. What fails in
 * here (an unknown lease, a compacted revision) is the caller's answer and no difference between
 * members. The member whose call it was answers it in the same turn.
 *
 *     committed --few keys--> applied, answered
 *         `--many--> s->applying.work --a step in each turn--> applied, answered
 *
 * While an entry is at work the keyspace stands between two states: no other entry is applied,
 * reads and watchers wait (core_is_closed). Raft does not: heartbeats, votes, appends and the disk
 * go on. */
#include "core.h"

/* ---- replies ---- */

/* Whose entry it is, if that one still waits for it: not cancelled, given up, or of an earlier run
 * of this member. */
static struct store_call *caller(struct store *s, const struct entry *e)
{
    struct store_call *c = e->id.origin == s->id ? core_call_find(s, e->id.sequence) : NULL;

    return c != NULL && (c->state_ == CALL_PROPOSED || c->state_ == CALL_PROPOSING) ? c : NULL;
}

static void reply_to(struct store *s, const struct entry *e, int status, struct store_reply *reply)
{
    struct store_call *c = caller(s, e);

    if (c == NULL) {
        return;
    }
    if (status == 0 && e->type == ENTRY_COMPACT && e->compact.physical &&
        mvcc_compact_done(s->mvcc) < e->compact.revision) {
        core_call_move(s, c, CALL_COMPACTING, &s->calls.compacting);
        return;
    }
    core_answer(s, c, status, status < 0 ? NULL : reply);
}

/* ---- entries ---- */

static int apply_lease_grant(struct store *s, const struct entry *e, struct store_reply *reply)
{
    reply->lease.id = e->lease_grant.id;
    reply->lease.ttl = e->lease_grant.ttl;
    return mvcc_lease_grant(s->mvcc, e->lease_grant.id, e->lease_grant.ttl, core_now(s));
}

/* ---- entries that may touch many keys ---- */

static void on_part(void *data, const struct store_part *part)
{
    struct store *s = data;
    struct store_call *c = caller(s, &s->applying.entry);

    if (c != NULL && c->part != NULL) {
        (void)c->part(c, part);
    }
}

static struct mvcc_answer answer_for(struct store *s, const struct entry *e)
{
    const struct store_call *c = caller(s, e);

    return (struct mvcc_answer){.unwanted = c == NULL,
        .part = c != NULL && c->part != NULL ? on_part : NULL,
        .data = s,
        .own = core_own_keys()};
}

/* 1: more is to be done than fits into this turn. */
static int work(struct store *s)
{
    struct applying *x = &s->applying;
    int rc = mvcc_work_step(x->work, &x->steps);

    if (rc > 0) {
        struct store_call *c = caller(s, &x->entry);

        MARK("entry_takes_many_turns");
        if (c != NULL) {
            core_call_postpone(s, c); /* its outcome is certain by now */
        }
        return rc;
    }
    x->work = mvcc_work_close(x->work);
    return rc;
}

static int begin_work(struct store *s, struct mvcc_work *begun)
{
    s->applying.work = begun;
    return work(s);
}

void core_apply_give_up(struct store *s)
{
    s->applying.work = mvcc_work_close(s->applying.work);
    arena_reset(&s->apply_arena);
}

static int begin_delete(struct store *s, const struct entry *e, struct delete_reply *reply)
{
    struct mvcc_answer answer = answer_for(s, e);

    return begin_work(s, mvcc_work_delete(s->mvcc, &e->del, &s->apply_arena, &answer, reply));
}

static int begin_txn(struct store *s, const struct entry *e, struct txn_reply *reply)
{
    struct mvcc_answer answer = answer_for(s, e);

    return begin_work(s, mvcc_work_txn(s->mvcc, &e->txn, &s->apply_arena, &answer, reply));
}

static int begin_revoke(struct store *s, int64_t id, bool expired)
{
    core_lease_revoked(s, id);
    return begin_work(s, mvcc_work_revoke(s->mvcc, id, expired));
}

/* ---- the others ---- */

static void apply_publish(struct store *s, const struct entry *e)
{
    struct members_publication p = {.id = e->publish.member,
        .incarnation = e->publish.incarnation,
        .name = e->publish.name,
        .urls = e->publish.client_urls,
        .n_urls = e->publish.n_client_urls};

    if (members_publish(&s->members, &p)) {
        s->members_moved = true;
        log_info("member says who it is name=%.*s member=%016" PRIx64, (int)p.name.len,
            (const char *)p.name.data, p.id);
    }
}

static int apply_compact(struct store *s, const struct entry *e)
{
    int err = mvcc_compact(s->mvcc, e->compact.revision);

    if (err == 0) {
        log_info("compacting revision=%" PRId64, e->compact.revision);
        s->compacting = true;
    }
    return err;
}

/* 0, the code of its answer, or 1: s->applying.work goes on with it. */
static int apply_decoded(
    struct store *s, const struct entry *e, uint64_t term, struct store_reply *reply)
{
    if (core_entry_is_stopped(s, e->type)) {
        if (e->type == ENTRY_LEASE_EXPIRE && e->lease_expire.term == term) {
            core_lease_revoked(s, e->lease_expire.id); /* void, to be proposed again */
        }
        return DECREE_ECORRUPT_CLUSTER;
    }
    switch (e->type) {
    case ENTRY_PUT:
        return mvcc_put(s->mvcc, &e->put, &s->apply_arena, &reply->put);
    case ENTRY_DELETE:
        return begin_delete(s, e, &reply->del);
    case ENTRY_TXN:
        return begin_txn(s, e, &reply->txn);
    case ENTRY_COMPACT:
        return apply_compact(s, e);
    case ENTRY_LEASE_GRANT:
        return apply_lease_grant(s, e, reply);
    case ENTRY_LEASE_REVOKE:
        return begin_revoke(s, e->lease_revoke.id, false);
    case ENTRY_LEASE_EXPIRE:
        /* A leader that slept while another took over must not expire what the other keeps alive:
         * its entry counts only in the term in which leadership was proved (R22). */
        return e->lease_expire.term == term ? begin_revoke(s, e->lease_expire.id, true) : 0;
    case ENTRY_PUBLISH:
        apply_publish(s, e);
        return 0;
    case ENTRY_ALARM:
        return core_alarm_apply(s, e, &reply->alarms);
    case ENTRY_TYPE_END:
        break;
    }
    decree_fatal("log entry of type %d reached its application", (int)e->type);
}

static void decode(struct store *s, const struct raft_entry *re)
{
    struct entry *e = &s->applying.entry;
    int err = entry_decode(buf_bytes(re->payload), &s->apply_arena, e);

    if (err == ENTRY_UNKNOWN_TYPE) {
        decree_fatal("log entry %" PRIu64 " has type %u, which this version (%s) does not know: "
                     "upgrade this member before it may go on",
            re->id.index, re->payload->data[0], DECREE_VERSION);
    }
    if (err < 0) {
        decree_fatal("log entry %" PRIu64 " of term %" PRIu64 " cannot be read: its bytes are "
                     "intact, so whoever wrote it was broken",
            re->id.index, re->id.term);
    }
}

/* Before the reply, so that its header and what callbacks ask see the entry as applied. */
static void move_applied(struct store *s, const struct raft_entry *re)
{
    s->applied = re->id.index;
    s->log_bytes += re->payload->len + sizeof(*re);
    s->applied_bytes += re->payload->len + sizeof(*re);
}

/* False: it is at work. */
static bool apply_normal(struct store *s, const struct raft_entry *re)
{
    struct applying *x = &s->applying;
    int rc;

    if (re->payload->len == 0) { /* the first entry of a leadership */
        move_applied(s, re);
        return true;
    }
    if (x->work != NULL) {
        rc = work(s);
    } else {
        decode(s, re);
        x->reply = (struct store_reply){0};
        rc = apply_decoded(s, &x->entry, re->id.term, &x->reply);
    }
    if (rc > 0) {
        return false;
    }
    move_applied(s, re);
    reply_to(s, &x->entry, rc, &x->reply);
    if (s->apply_arena.used > PROPOSE_BYTES_MAX) {
        arena_deinit(&s->apply_arena); /* a large reply's block is not worth keeping */
    } else {
        arena_reset(&s->apply_arena);
    }
    return true;
}

static size_t learners(const struct members *m)
{
    size_t n = 0;

    for (size_t i = 0; i < m->n; i++) {
        n += m->list[i].learner;
    }
    return n;
}

static void apply_conf(struct store *s, const struct raft_entry *re)
{
    struct bytes context;
    struct members members;

    if (raft_conf_decode(buf_bytes(re->payload), &s->conf, &context) < 0 ||
        members_decode(context, &members) < 0) {
        decree_fatal("configuration entry %" PRIu64 " cannot be read", re->id.index);
    }
    if (s->members_assumed) {
        members_deinit(&s->members); /* not applied by anybody: nothing of it counts */
        s->members_assumed = false;
    }
    members_take(&s->members, &members);
    s->members_moved = true;
    log_info("members are n=%zu learners=%zu removed=%zu index=%" PRIu64, s->members.n,
        learners(&s->members), s->members.n_removed, re->id.index);
    core_change_applied(s, re->id);
    core_alarms_members_changed(s);
}

static void enter_term(struct store *s, uint64_t term)
{
    decree_assert(term >= s->applied_term);
    if (term > s->applied_term) {
        s->applied_term = term;
        core_calls_new_term(s, term);
        s->reads.hold = false;
    }
}

/* One entry; the callbacks of its call may submit and cancel others, and step nothing. False: it is
 * at work, and the next turn goes on with it. */
static bool apply_entry(struct store *s, const struct raft_entry *re)
{
    decree_assert(re->id.index == s->applied + 1);
    if (s->applying.work == NULL) {
        enter_term(s, re->id.term);
    }
    if (re->type == RAFT_ENTRY_CONF) {
        move_applied(s, re);
        apply_conf(s, re);
    } else if (!apply_normal(s, re)) {
        return false;
    }
    core_check_applied(s);
    return true;
}

void core_apply(struct store *s)
{
    uint64_t to = MIN(s->commit, s->applied + APPLY_SLICE_ENTRIES);
    uint64_t first = s->applied + 1;
    const struct raft_entry *entries;
    size_t bytes = 0;

    if (s->commit <= s->applied || s->txn.work != NULL) {
        return;
    }
    entries = raft_entries(s->raft, first, to);
    s->applying.steps = core_work_steps();
    for (uint64_t i = first; i <= to && bytes < APPLY_SLICE_BYTES && s->applying.steps > 0; i++) {
        if (i > first && BUGGIFY("apply_slice_short")) {
            break;
        }
        bytes += entries[i - first].payload->len;
        if (!apply_entry(s, &entries[i - first])) {
            break;
        }
    }
    if (s->applied >= first) {
        s->watching = true;
        (void)core_step(s, &(struct raft_event){.type = RAFT_EV_APPLIED, .index = s->applied});
    }
}

/* ---- compaction ---- */

static void answer_compacted(struct store *s)
{
    struct list now;

    list_init(&now);
    list_splice_tail(&now, &s->calls.compacting);
    while (!list_empty(&now)) {
        struct store_call *c = list_entry(now.next, struct store_call, link_);
        struct store_reply reply = {0};

        if (c->compact.revision <= mvcc_compact_done(s->mvcc)) {
            core_answer(s, c, 0, &reply);
        } else {
            core_call_move(s, c, CALL_COMPACTING, &s->calls.compacting);
        }
    }
}

void core_compact_slice(struct store *s)
{
    if (!s->compacting || core_is_closed(s)) {
        return;
    }
    s->compacting =
        mvcc_compact_step(s->mvcc, BUGGIFY("compact_slice_short") ? 1 : COMPACT_SLICE_RECORDS);
    if (s->compacting) {
        return;
    }
    answer_compacted(s);
    if (mvcc_compact_done(s->mvcc) >= mvcc_compacted(s->mvcc)) {
        s->env->memory_freed(s->env->data);
    }
}
