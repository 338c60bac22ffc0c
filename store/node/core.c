/* A turn of the core, and what comes in between turns.
 *
 *     admit calls -> propose, begin a read round -> take raft's update -> log write and sends start
 *     -> apply -> answer -> slices of what is longer: snapshots, compaction, large ranges, watchers
 *
 * What raft hands out points into it until its next step, so an update is used up before anything
 * is stepped again; callbacks of calls and watchers never step raft (they only submit and cancel).
 */
#include "core.h"

enum {
    LEADERLESS_SAY_MS = 10000, /* without a leader, then it says what is missing, and so on */
    /* Steps of raft that follow from one another within a turn: a lone member's read takes two, a
     * configuration three. More than that is work for the next turn. */
    ROUNDS_MAX = 8,
};

void core_mark(struct store *s)
{
    if (!s->dirty) {
        s->dirty = true;
        s->env->wake(s->env->data);
    }
}

bool core_is_dirty(const struct store *s)
{
    return s->dirty;
}

int core_step(struct store *s, struct raft_event *event)
{
    event->random = (uint32_t)core_random(s);
    return raft_step(s->raft, event);
}

/* ---- raft's effects ---- */

static void send_messages(struct store *s, const struct raft_update *u)
{
    for (size_t i = 0; i < u->n_msgs; i++) {
        struct frame_parts parts = {0};

        msg_encode(&u->msgs[i], &parts);
        s->env->send(s->env->data, u->msgs[i].to, parts.list, parts.n);
        frame_parts_deinit(&parts);
    }
    if (u->n_msgs != 0) {
        s->env->flush(s->env->data);
    }
}

static const char *role_text(enum raft_role role)
{
    static const char *const text[] = {"follower", "pre-candidate", "candidate", "leader"};

    _Static_assert(ARRAY_SIZE(text) == RAFT_LEADER + 1, "a text for each role");
    return text[role];
}

static void on_leader_changed(struct store *s, uint64_t leader_before)
{
    uint64_t now = core_now(s);
    uint64_t leader = s->status.leader;

    if (leader == RAFT_NONE) {
        s->leaderless_since_ms = s->leaderless_said_ms = now;
        log_warn("no leader is known term=%" PRIu64, s->status.term);
        return;
    }
    s->leader_changes++;
    s->leader_since_ms = now;
    log_info("leader is member=%016" PRIx64 " term=%" PRIu64 " without_ms=%" PRIu64, leader,
        s->status.term, leader_before == RAFT_NONE ? now - s->leaderless_since_ms : 0);
}

/* Who cannot be reached, of those whose votes count. */
static size_t list_unreachable(const struct store *s, struct strbuf *out)
{
    size_t voters = 0;

    for (size_t i = 0; i < s->links.n; i++) {
        const struct store_member *m = &s->links.list[i];

        voters += !m->learner;
        if (!m->learner && m->id != s->id &&
            !s->env->connected_since(s->env->data, m->id, core_now(s))) {
            strbuf_printf(out, "%s%s(%016" PRIx64 ")", out->len != 0 ? "," : "", m->name, m->id);
        }
    }
    return voters;
}

static void leaderless_tick(struct store *s)
{
    _cleanup_strbuf_ struct strbuf unreachable = {0};
    uint64_t now = core_now(s);
    size_t voters;

    if (s->status.leader != RAFT_NONE || now - s->leaderless_said_ms < LEADERLESS_SAY_MS) {
        return;
    }
    s->leaderless_said_ms = now;
    voters = list_unreachable(s, &unreachable);
    log_warn("no leader is known: a majority of the voters must be up, reach each other and be "
             "whole term=%" PRIu64 " for_ms=%" PRIu64 " voters=%zu unreachable=%s",
        s->status.term, now - s->leaderless_since_ms, voters,
        unreachable.len != 0 ? strbuf_cstr(&unreachable) : "none");
}

static void on_status(struct store *s)
{
    struct raft_status before = s->status;

    raft_status(s->raft, &s->status);
    if (before.role != s->status.role) {
        log_info("this member is %s now member=%016" PRIx64 " term=%" PRIu64,
            role_text(s->status.role), s->id, s->status.term);
    }
    if (before.leader != s->status.leader) {
        on_leader_changed(s, before.leader);
    }
    if (before.leader != s->status.leader || before.term != s->status.term) {
        core_reads_restart(s);
    }
    if (before.role == RAFT_LEADER && !core_leads(s)) {
        core_sends_abort_all(s);
    }
    core_beats_status(s);
    core_repair_status(s, &before);
    core_leases_status(s);
    core_changes_status(s);
    core_mark(s);
}

void core_send_frame(struct store *s, uint64_t to, struct buf *frame)
{
    s->env->send(s->env->data, to, &frame, 1);
    s->flush_due = true;
    core_mark(s);
}

/* Everything raft wants since the last call. True when there was anything. */
static bool take_update(struct store *s)
{
    struct raft_update u;
    bool any;

    raft_take_update(s->raft, &u);
    any = u.persist.seq != 0 || u.n_msgs != 0 || u.n_reads != 0 || u.n_send_snapshot != 0 ||
        u.commit > s->commit || u.status_changed;
    if (u.persist.seq != 0) {
        core_persist(s, &u.persist);
    }
    send_messages(s, &u);
    core_beats_sent(s, &u);
    s->commit = MAX(s->commit, u.commit);
    for (size_t i = 0; i < u.n_reads; i++) {
        core_read_result(s, &u.reads[i]);
    }
    for (size_t i = 0; i < u.n_send_snapshot; i++) {
        core_sends_start(s, u.send_snapshot_to[i]);
    }
    if (u.status_changed) {
        on_status(s);
    }
    return any;
}

/* ---- the turn ---- */

static void flush_own(struct store *s)
{
    if (s->flush_due) {
        s->flush_due = false;
        s->env->flush(s->env->data);
    }
}

static void tell_members(struct store *s)
{
    if (core_links_refresh(s)) {
        flush_own(s); /* one that was removed gets the answer to its question */
        s->env->members_changed(s->env->data);
    }
}

static void step_raft(struct store *s)
{
    for (int i = 0; i < ROUNDS_MAX; i++) {
        uint64_t applied = s->applied;

        core_calls_propose(s);
        core_changes_step(s);
        core_reads_begin(s);
        tell_members(s); /* before something is sent to a new one */
        if (!take_update(s) && s->commit <= s->applied) {
            return;
        }
        core_apply(s);
        core_reads_release(s);
        if (core_is_closed(s) || (s->applied != applied && s->commit > s->applied)) {
            break; /* a slice is done: others first */
        }
    }
    core_mark(s);
}

bool core_turn(struct store *s)
{
    s->dirty = false;
    core_reads_turn(s);
    core_calls_admit(s);
    if (s->state == CORE_RUNNING) {
        step_raft(s);
        tell_members(s);
        core_save_step(s);
        core_sends_step(s);
        core_compact_slice(s);
        core_ranges_step(s);
        core_hash_step(s);
        core_check_step(s);
    }
    core_reads_serve(s);
    core_calls_answer_refused(s);
    if (s->watching && !core_is_closed(s)) {
        s->watching = false;
        s->watching =
            mvcc_watch_deliver(s->mvcc, BUGGIFY("watch_slice_short") ? 1 : WATCH_SLICE_EVENTS) ||
            s->watching;
    }
    flush_own(s);
    return s->dirty || s->watching || core_is_closed(s) || s->compacting ||
        s->commit > s->applied || core_save_is_busy(s) || core_sends_busy(s) ||
        core_ranges_busy(s) || core_reads_busy(s);
}

/* ---- publication ---- */

static bool publish_encode(struct store *s, struct buf **ret)
{
    struct entry e = {.type = ENTRY_PUBLISH, .id = {.origin = s->id, .sequence = core_next_id(s)}};
    _cleanup_arena_ struct arena arena = {0};

    e.publish.member = s->id;
    e.publish.incarnation = s->incarnation;
    e.publish.name = bytes_str(s->o.name);
    e.publish.client_urls =
        arena_calloc(&arena, s->o.n_client_urls + 1, sizeof(*e.publish.client_urls));
    for (size_t i = 0; i < s->o.n_client_urls; i++) {
        e.publish.client_urls[i] = bytes_str(s->o.client_urls[i]);
    }
    e.publish.n_client_urls = s->o.n_client_urls;
    return entry_encode(&e, ret) == 0;
}

static bool publish_is_known(const struct store *s)
{
    const struct store_member *self = members_find(&s->members, s->id);

    if (self == NULL || self->incarnation != s->incarnation ||
        self->n_client_urls != s->o.n_client_urls || strcmp(self->name, s->o.name) != 0) {
        return false;
    }
    for (size_t i = 0; i < self->n_client_urls; i++) {
        if (strcmp(self->client_urls[i], s->o.client_urls[i]) != 0) {
            return false;
        }
    }
    return true;
}

/* Tells the others this member's name and client URLs; asked again until it is seen applied. */
static void publish_tick(struct store *s)
{
    struct raft_proposal proposal = {.type = RAFT_ENTRY_NORMAL};
    struct raft_event event = {.type = RAFT_EV_PROPOSE, .propose = {.list = &proposal, .n = 1}};

    if (s->published || s->incarnation == 0 || s->status.leader == RAFT_NONE) {
        return;
    }
    if (s->publish_ticks > 0) {
        s->publish_ticks--;
        return;
    }
    if (publish_is_known(s)) {
        s->published = true;
        return;
    }
    s->publish_ticks = s->o.election_ticks;
    if (publish_encode(s, &proposal.payload)) {
        (void)core_step(s, &event);
        buf_unref(proposal.payload);
        core_mark(s);
    }
}

/* ---- what comes in ---- */

/* Ticks are only as good as the process that counts them: one that was stopped, or whose machine
 * slept, counted none. A leader that stood still for an election timeout may have been replaced,
 * heard nobody's keepalive, and proves nothing by what it heard before. It counts the time as
 * passed without any word, and so steps down; alone, it gives all leases their time again (F29). */
static void make_up_for_standstill(struct store *s)
{
    uint64_t now = core_now(s), gap = now - s->ticked_ms;

    s->ticked_ms = now;
    if (!core_leads(s) || gap < core_election_ms(s)) {
        return;
    }
    log_warn("this leader stood still: leases are given their time again, and if there are other "
             "members it steps down took_ms=%" PRIu64,
        gap);
    core_leases_extend(s);
    for (unsigned i = 0; i < s->o.election_ticks; i++) {
        (void)core_step(s, &(struct raft_event){.type = RAFT_EV_TICK});
    }
}

void core_tick(struct store *s)
{
    core_calls_expire(s);
    if (s->state != CORE_RUNNING) {
        return;
    }
    make_up_for_standstill(s);
    (void)core_step(s, &(struct raft_event){.type = RAFT_EV_TICK});
    core_disk_tick(s);
    core_reads_tick(s);
    core_leases_tick(s);
    core_forward_tick(s);
    core_changes_tick(s);
    core_sends_tick(s);
    core_recv_tick(s);
    core_repair_tick(s);
    core_alarms_tick(s);
    core_check_tick(s);
    core_join_tick(s);
    leaderless_tick(s);
    publish_tick(s);
    core_mark(s);
}

void core_disk(struct store *s)
{
    wal_poll(s->wal);
}

static size_t entries_bytes(const struct raft_msg *m)
{
    size_t n = 0;

    for (size_t i = 0; i < m->n_entries; i++) {
        n += m->entries[i].payload->len;
    }
    return n;
}

/* What a follower forwards will be applied by everyone: bytes that no member could apply must not
 * get into the log, whoever sent them, and nothing twice. */
static bool proposals_are_sane(struct store *s, const struct raft_msg *m)
{
    for (size_t i = 0; i < m->n_entries; i++) {
        _cleanup_arena_ struct arena arena = {0};
        struct entry e;

        if (m->entries[i].type != RAFT_ENTRY_NORMAL ||
            entry_decode(buf_bytes(m->entries[i].payload), &arena, &e) != 0 ||
            (core_leads(s) && m->term == s->status.term && core_is_replayed(s, e.id, m->term))) {
            return false;
        }
    }
    return true;
}

static void on_raft_msg(struct store *s, uint64_t from, const struct raft_msg *m)
{
    int rc;

    core_beats_heard(s, m);
    if (m->n_entries != 0 && !core_disk_has_room(s, m->n_entries, entries_bytes(m))) {
        log_debug("entries dropped: the log has no room from=%016" PRIx64, from);
        if (m->type == RAFT_MSG_PROPOSE && core_leads(s) && m->term == s->status.term) {
            core_forward_refuse(
                s, from, m, core_disk_hands_over(s) ? DECREE_ENOT_LEADER : DECREE_ENO_SPACE);
        }
        return;
    }
    rc = core_step(s, &(struct raft_event){.type = RAFT_EV_MSG, .msg = m});
    if (rc != RAFT_OK) {
        core_forward_refuse(
            s, from, m, rc == RAFT_BUSY ? DECREE_ETOO_MANY_REQUESTS : DECREE_ENOT_LEADER);
    }
    core_mark(s);
}

static void on_raft_frame(struct store *s, uint64_t from, struct bytes body)
{
    struct msg_decoded m;

    if (msg_decode(body, &m) < 0 || m.msg.from != from || m.msg.to != s->id ||
        (m.msg.type == RAFT_MSG_PROPOSE && !proposals_are_sane(s, &m.msg))) {
        log_debug("message dropped: malformed or not this link's from=%016" PRIx64, from);
    } else {
        on_raft_msg(s, from, &m.msg);
    }
    msg_decoded_deinit(&m);
}

void core_frame(struct store *s, uint64_t from, struct bytes body)
{
    if (s->state != CORE_RUNNING) {
        return;
    }
    switch (frame_kind(body)) {
    case FRAME_RAFT:
        on_raft_frame(s, from, body);
        break;
    case FRAME_LEASE_ASK:
        core_on_lease_ask(s, from, body);
        break;
    case FRAME_LEASE_ANSWER:
        core_on_lease_answer(s, body);
        break;
    case FRAME_PROPOSALS_REFUSED:
        core_on_proposals_refused(s, from, body);
        break;
    case FRAME_MEMBER_ASK:
        core_on_member_ask(s, from, body);
        break;
    case FRAME_MEMBER_ANSWER:
        core_on_member_answer(s, body);
        break;
    case FRAME_HASH_ASK:
        core_on_hash_ask(s, from, body);
        break;
    case FRAME_HASH_ANSWER:
        core_on_hash_answer(s, from, body);
        break;
    case FRAME_PLACE_ASK:
        core_on_place_ask(s, from, body);
        break;
    case FRAME_PLACE_DENIED:
        core_on_place_denied(s, from, body);
        break;
    default:
        log_debug("frame of an unknown kind dropped from=%016" PRIx64, from);
        break;
    }
}

void core_unreachable(struct store *s, uint64_t peer)
{
    if (s->state == CORE_RUNNING) {
        (void)core_step(s, &(struct raft_event){.type = RAFT_EV_UNREACHABLE, .peer = peer});
        if (peer == s->status.leader) {
            core_forward_doubt(s);
        }
        core_mark(s);
    }
}

/* ---- leaving ---- */

static bool is_heir(
    const struct store *s, const struct raft_progress *p, const struct raft_progress *best)
{
    return !p->learner && p->recent_active && !p->repairing && !core_is_suspect(s, p->id) &&
        (best == NULL || p->match > best->match);
}

bool core_hand_over(struct store *s)
{
    struct raft_progress others[RAFT_MEMBERS_MAX];
    const struct raft_progress *best = NULL;
    struct raft_event event = {.type = RAFT_EV_TRANSFER};
    size_t n;

    if (s->state != CORE_RUNNING || !core_leads(s)) {
        return false;
    }
    n = raft_progress(s->raft, others);
    for (size_t i = 0; i < n; i++) {
        if (is_heir(s, &others[i], best)) {
            best = &others[i];
        }
    }
    if (best == NULL) {
        return false;
    }
    event.peer = best->id;
    if (core_step(s, &event) != RAFT_OK) {
        return false;
    }
    log_info("handing over leadership to=%016" PRIx64, best->id);
    core_mark(s);
    return true;
}

bool core_leads_now(const struct store *s)
{
    return core_leads(s);
}

void core_link_lost(struct store *s, uint64_t peer)
{
    if (s->state == CORE_RUNNING) {
        (void)core_step(s, &(struct raft_event){.type = RAFT_EV_LINK_LOST, .peer = peer});
        core_mark(s);
    }
}

/* ---- looking in ---- */

struct store_header store_header(struct store *s)
{
    return (struct store_header){.cluster_id = s->cluster_id,
        .member_id = s->id,
        .revision = mvcc_revision(s->mvcc),
        .raft_term = s->status.term};
}

bool store_has_leader(struct store *s)
{
    return s->status.leader != RAFT_NONE;
}

uint64_t store_leaderless_ms(struct store *s)
{
    return store_has_leader(s) ? 0 : core_now(s) - s->leaderless_since_ms;
}

void store_watch_add(struct store *s, struct watcher *w)
{
    mvcc_watch_add(s->mvcc, w);
    s->watching = true;
    core_mark(s);
}

void store_watch_remove(struct store *s, struct watcher *w)
{
    mvcc_watch_remove(s->mvcc, w);
}

void store_watch_resume(struct store *s, struct watcher *w)
{
    mvcc_watch_resume(s->mvcc, w);
    s->watching = true;
    core_mark(s);
}

bool store_watch_is_synced(struct store *s, const struct watcher *w)
{
    return mvcc_watch_is_synced(s->mvcc, w);
}

int64_t store_compacted_revision(struct store *s)
{
    return mvcc_compacted(s->mvcc);
}

void store_metrics(struct store *s, struct store_metrics *ret)
{
    struct wal_stats wal;

    wal_stats(s->wal, &wal);
    *ret = (struct store_metrics){
        .has_leader = store_has_leader(s),
        .is_leader = core_leads(s),
        .is_learner = core_is_learner(s),
        .repairing = s->status.repairing,
        .leader_changes = s->leader_changes,
        .proposals_committed = s->commit,
        .proposals_applied = s->applied,
        .proposals_failed = s->calls.failed,
        .db_bytes = mvcc_bytes(s->mvcc),
        .db_live_bytes = mvcc_live_bytes(s->mvcc),
        .quota_bytes = s->o.quota_bytes,
        .keys = mvcc_keys(s->mvcc),
        .leases = mvcc_lease_count(s->mvcc),
        .watchers = mvcc_watch_count(s->mvcc),
        .slow_watchers = mvcc_watch_slow_count(s->mvcc),
        .revision = mvcc_revision(s->mvcc),
        .compacted_revision = mvcc_compacted(s->mvcc),
        .alarms = {[STORE_ALARM_NOSPACE] = alarms_count(&s->alarms, STORE_ALARM_NOSPACE),
            [STORE_ALARM_CORRUPT] = alarms_count(&s->alarms, STORE_ALARM_CORRUPT)},
        .hash_checks = s->check.rounds,
        .hash_differences = s->check.differences,
        .wal_fsyncs = wal.fsyncs,
        .wal_fsync_ns = wal.fsync_ns_total,
        .wal_bytes = wal.bytes,
        .heartbeats_late = s->beats.late,
        .heartbeat_gaps = s->beats.gaps,
    };
    _Static_assert(sizeof(ret->wal_fsync_bucket) == sizeof(wal.fsync_bucket), "same buckets");
    memcpy(ret->wal_fsync_bucket, wal.fsync_bucket, sizeof(wal.fsync_bucket));
    ret->proposals_pending = s->calls.by_id.count;
    s->env->metrics(s->env->data, ret);
}

bool core_is_forcing(const struct store *s)
{
    return s->state == CORE_FORCING;
}

bool core_is_new(const struct store *s)
{
    return s->fresh;
}

void core_set_incarnation(struct store *s, uint64_t incarnation)
{
    decree_assert(incarnation != 0);
    s->incarnation = incarnation;
}

uint64_t core_id(const struct store *s)
{
    return s->id;
}

uint64_t core_cluster_id(const struct store *s)
{
    return s->cluster_id;
}

const struct members *core_members(const struct store *s)
{
    return &s->members;
}

const struct members *core_links(const struct store *s)
{
    return &s->links;
}

bool core_was_removed(const struct store *s)
{
    return members_is_removed(&s->members, s->id);
}

bool store_is_learner(struct store *s)
{
    return core_is_learner(s);
}

uint64_t core_hash(const struct store *s)
{
    return mvcc_hash(s->mvcc);
}

uint64_t core_applied(const struct store *s)
{
    return s->applied;
}

uint64_t core_snapshot_index(const struct store *s)
{
    return s->snap_index;
}
