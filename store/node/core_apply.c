/* Entries become state: a pure function of (state, entry), the same on every member. What fails in
 * here (an unknown lease, a compacted revision) is the caller's answer and no difference between
 * members. The member whose call it was answers it in the same turn. */
#include "core.h"

/* ---- replies ---- */

static void reply_to(struct store *s, const struct entry *e, int status, struct store_reply *reply)
{
    struct store_call *c;

    if (e->id.origin != s->id) {
        return;
    }
    c = core_call_find(s, e->id.sequence);
    if (c == NULL || (c->state_ != CALL_PROPOSED && c->state_ != CALL_PROPOSING)) {
        return; /* cancelled, given up, or of an earlier run of this member */
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

/* A leader that slept while another took over must not expire what the other keeps alive: its
 * entry counts only in the term in which leadership was proved (R22). */
static int apply_lease_expire(struct store *s, const struct entry *e, uint64_t term)
{
    if (e->lease_expire.term != term) {
        return 0;
    }
    core_lease_revoked(s, e->lease_expire.id);
    return mvcc_lease_revoke(s->mvcc, e->lease_expire.id, true);
}

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

static int apply_decoded(
    struct store *s, const struct entry *e, uint64_t term, struct store_reply *reply)
{
    struct arena *arena = &s->apply_arena;

    if (core_entry_is_stopped(s, e->type)) {
        if (e->type == ENTRY_LEASE_EXPIRE && e->lease_expire.term == term) {
            core_lease_revoked(s, e->lease_expire.id); /* void, to be proposed again */
        }
        return DECREE_ECORRUPT_CLUSTER;
    }
    switch (e->type) {
    case ENTRY_PUT:
        return mvcc_put(s->mvcc, &e->put, arena, &reply->put);
    case ENTRY_DELETE:
        return mvcc_delete(s->mvcc, &e->del, arena, &reply->del);
    case ENTRY_TXN:
        return mvcc_txn(s->mvcc, &e->txn, arena, &reply->txn);
    case ENTRY_COMPACT:
        return apply_compact(s, e);
    case ENTRY_LEASE_GRANT:
        return apply_lease_grant(s, e, reply);
    case ENTRY_LEASE_REVOKE:
        core_lease_revoked(s, e->lease_revoke.id);
        return mvcc_lease_revoke(s->mvcc, e->lease_revoke.id, false);
    case ENTRY_LEASE_EXPIRE:
        return apply_lease_expire(s, e, term);
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

static void apply_normal(struct store *s, const struct raft_entry *re)
{
    struct store_reply reply = {0};
    struct entry e;
    int err;

    if (re->payload->len == 0) {
        return; /* the first entry of a leadership */
    }
    err = entry_decode(buf_bytes(re->payload), &s->apply_arena, &e);
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
    err = apply_decoded(s, &e, re->id.term, &reply);
    reply_to(s, &e, err, &reply);
    if (s->apply_arena.used > PROPOSE_BYTES_MAX) {
        arena_deinit(&s->apply_arena); /* a large reply's block is not worth keeping */
    } else {
        arena_reset(&s->apply_arena);
    }
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

/* One entry; the callbacks of its call may submit and cancel others, and step nothing. */
static void apply_entry(struct store *s, const struct raft_entry *re)
{
    decree_assert(re->id.index == s->applied + 1);
    decree_assert(re->id.term >= s->applied_term);
    /* Moved first, so that a reply's header and what callbacks ask see the entry as applied. */
    s->applied = re->id.index;
    if (re->id.term > s->applied_term) {
        s->applied_term = re->id.term;
        core_calls_new_term(s, re->id.term);
        s->reads.hold = false;
    }
    s->log_bytes += re->payload->len + sizeof(*re);
    s->applied_bytes += re->payload->len + sizeof(*re);
    if (re->type == RAFT_ENTRY_CONF) {
        apply_conf(s, re);
    } else {
        apply_normal(s, re);
    }
    core_check_applied(s);
}

void core_apply(struct store *s)
{
    uint64_t to = MIN(s->commit, s->applied + APPLY_SLICE_ENTRIES);
    uint64_t first = s->applied + 1;
    const struct raft_entry *entries;
    size_t bytes = 0;

    if (s->commit <= s->applied) {
        return;
    }
    entries = raft_entries(s->raft, first, to);
    for (uint64_t i = first; i <= to && bytes < APPLY_SLICE_BYTES; i++) {
        if (i > first && BUGGIFY("apply_slice_short")) {
            break;
        }
        bytes += entries[i - first].payload->len;
        apply_entry(s, &entries[i - first]);
    }
    s->watching = true;
    (void)core_step(s, &(struct raft_event){.type = RAFT_EV_APPLIED, .index = s->applied});
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
    if (!s->compacting) {
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
