/* The end of a run. A quorum of members that can be reached by each other is healed, the others
 * stay dead, faults and load stop; then everything that was promised must come about: one leader,
 * equal members, every call answered, every watch told, leases expired, snapshots and compaction
 * going on. After that the history is judged, and at last all lose power and come back from their
 * disks. */
#include "world.h"

#include "raft_internal.h"

enum {
    STEP_MS = 20,
    PROBE_MS = 250, /* a log without room looks for some once a second */
    PROBES_MAX = 20,
    CALM_PART = 30, /* of an election timeout is what a healthy disk and network need */
    SETTLE_S =
        60, /* far beyond any bound that a healthy cluster needs, snapshots' retry included */
};

static bool in_core(const struct world *w, size_t i)
{
    return w->set.core_mask >> i & 1;
}

static bool is_there(const struct member *m)
{
    return m->state != MEMBER_REFUSED && !m->forgot;
}

/* One that is under repair is of use when everybody is there to answer it, and then everybody has
 * to be: it counts for no majority before. */
static bool is_usable(const struct member *m)
{
    const struct world *w = m->w;
    bool all = true;

    for (size_t i = 0; i < w->set.members; i++) {
        all = all && is_there(&w->members[i]);
    }
    return is_there(m) && (all || !m->damaged);
}

/* Adds members until a majority of the voters is in. */
static void fill_up(struct world *w, const struct raft_conf *conf)
{
    size_t voters = 0, n = 0, slots[RAFT_MEMBERS_MAX];

    for (size_t i = 0; i < conf->n; i++) {
        if (!conf->members[i].learner) {
            slots[voters] = operator_slot(w, conf->members[i].id);
            n += slots[voters] < w->n && in_core(w, slots[voters]);
            voters++;
        }
    }
    for (size_t i = 0; i < voters && n * 2 <= voters; i++) {
        if (slots[i] < w->n && !in_core(w, slots[i]) && is_usable(&w->members[slots[i]])) {
            w->set.core_mask |= UINT64_C(1) << slots[i];
            n++;
        }
    }
}

/* Of the configuration that is committed, and of any behind all that is committed which somebody in
 * the core has: it may be the one in force tomorrow. */
static void fill_up_all(struct world *w)
{
    fill_up(w, &w->conf);
    for (size_t i = 0; i < w->n; i++) {
        const struct member *m = &w->members[i];

        if (in_core(w, i) && member_is_up(m) && raft_conf_index(m->core->raft) > w->commit) {
            fill_up(w, raft_conf(m->core->raft));
        }
    }
}

/* A member as it is committed, or as somebody wants it. */
static bool is_member(const struct world *w, size_t i)
{
    for (size_t k = 0; k < w->conf.n; k++) {
        if (operator_slot(w, w->conf.members[k].id) == i) {
            return true;
        }
    }
    for (size_t k = 0; k < w->n; k++) {
        const struct member *m = &w->members[k];

        if (member_is_up(m) && w->members[i].id != 0 &&
            raft_conf_index(m->core->raft) > w->commit &&
            raft_conf_find(raft_conf(m->core->raft), w->members[i].id) != NULL) {
            return true;
        }
    }
    return false;
}

/* As the plan wants it, but a majority, and only of members that can be. */
static void choose_core(struct world *w)
{
    for (size_t i = 0; i < w->n; i++) {
        if (w->members[i].damaged && is_usable(&w->members[i])) {
            w->set.core_mask = (UINT64_C(1) << w->n) - 1;
        }
    }
    for (size_t i = 0; i < w->n; i++) {
        if (!is_usable(&w->members[i]) || !is_member(w, i)) {
            w->set.core_mask &= ~(UINT64_C(1) << i);
        }
    }
    fill_up_all(w);
}

static void heal_member(struct member *m)
{
    m->hung_until = m->slow_until = 0;
    m->stopping = false;
    if (m->mem != NULL) {
        wal_mem_set_capacity(m->mem, UINT64_MAX);
        wal_mem_fail_at(m->mem, 0, 0);
        wal_mem_fail_sync_at(m->mem, 0, 0);
        wal_mem_die_at(m->mem, 0, 0);
    }
    member_start(m);
}

static uint64_t election_us(const struct world *w)
{
    return w->set.heartbeat_ms * w->set.election_ticks * SIM_MS;
}

static void heal(struct world *w)
{
    uint64_t mask;

    w->phase = PHASE_HEALING;
    net_heal(w, election_us(w) / CALM_PART);
    w->set.slow_permille = 0;
    w->set.disk_us = MIN(w->set.disk_us, election_us(w) / CALM_PART);
    if (operator_may_change(w)) { /* whether it is safe is judged by who answers now */
        w->set.core_mask = (UINT64_C(1) << w->n) - 1;
    }
    do { /* until nobody else refuses to start */
        choose_core(w);
        mask = w->set.core_mask;
        for (size_t i = 0; i < w->n; i++) {
            if (in_core(w, i)) {
                heal_member(&w->members[i]);
            }
        }
        choose_core(w);
    } while (w->set.core_mask != mask);
    for (size_t i = 0; i < w->n; i++) {
        if (!in_core(w, i) && is_member(w, i)) {
            member_crash(&w->members[i], WAL_MEM_KILL); /* who is none may go on trying */
        }
    }
}

/* Of all members in the core, or NULL. */
static struct member *leader_of_all(struct world *w)
{
    struct member *leader = NULL;
    uint64_t id = 0;

    for (size_t i = 0; i < w->n; i++) {
        struct member *m = &w->members[i];

        if (!in_core(w, i)) {
            continue;
        }
        if (!member_is_up(m) || m->core->status.leader == RAFT_NONE ||
            (id != 0 && m->core->status.leader != id)) {
            return NULL;
        }
        if (m->core->status.repairing) {
            return NULL;
        }
        id = m->core->status.leader;
        if (core_leads(m->core)) {
            leader = m;
        }
    }
    return leader;
}

static bool is_settled(struct world *w)
{
    const struct member *leader = leader_of_all(w);

    if (leader == NULL || leader->core->commit != raft_log_last(&leader->core->raft->log)) {
        return false;
    }
    for (size_t i = 0; i < w->n; i++) {
        const struct store *s = w->members[i].core;

        if (in_core(w, i) &&
            (s->state != CORE_RUNNING || s->applied != leader->core->commit || s->compacting ||
                s->applied - s->snap_index >= w->set.snapshot_count)) {
            return false;
        }
    }
    return clients_are_idle(w) && operator_is_idle(w);
}

/* It runs under an id that no member has or had, and reaches one that could tell it. */
static bool is_orphan(struct world *w, size_t i)
{
    const struct member *m = &w->members[i];

    if (in_core(w, i) || !member_is_up(m) || operator_is_gone(w, m->id)) {
        return false;
    }
    for (size_t k = 0; k < w->n; k++) {
        if (in_core(w, k) && members_find(core_links(m->core), w->members[k].id) != NULL) {
            return true;
        }
    }
    return false;
}

static bool has_no_orphan(struct world *w)
{
    for (size_t i = 0; i < w->n; i++) {
        if (is_orphan(w, i)) {
            return false;
        }
    }
    return is_settled(w);
}

static bool has_no_lease(struct world *w)
{
    return is_settled(w) && mvcc_lease_count(leader_of_all(w)->core->mvcc) == 0 &&
        watches_behind(w) == 0;
}

static _noreturn_ void fail_to_settle(struct world *w, const char *what)
{
    _cleanup_strbuf_ struct strbuf text = {0};

    for (size_t i = 0; i < w->n; i++) {
        const struct member *m = &w->members[i];

        strbuf_printf(&text, " %s%s:", m->name, in_core(w, i) ? "" : " (left out)");
        if (!member_is_up(m)) {
            strbuf_append_str(&text, "down");
            continue;
        }
        strbuf_printf(&text,
            "term=%" PRIu64 ",role=%d,commit=%" PRIu64 ",applied=%" PRIu64 ",last=%" PRIu64
            ",snap=%" PRIu64 ",leases=%" PRIu64,
            m->core->status.term, (int)m->core->status.role, m->core->commit, m->core->applied,
            raft_log_last(&m->core->raft->log), m->core->snap_index,
            mvcc_lease_count(m->core->mvcc));
        for (size_t k = 0; k < m->core->raft->n_peers && core_leads(m->core); k++) {
            const struct raft_peer *p = &m->core->raft->peers[k];

            strbuf_printf(&text, " peer(state=%d,match=%" PRIu64 ",next=%" PRIu64 ",sent=%d)",
                (int)p->state, p->match, p->next, (int)p->probe_sent);
        }
    }
    world_fail(w, "liveness: after %d s %s; clients %s, watches behind %zu;%s", SETTLE_S, what,
        clients_are_idle(w) ? "idle" : "waiting", watches_behind(w), strbuf_cstr(&text));
}

/* What a failed write of before has left on a disk may end a process once more. Its supervisor
 * starts it again; one that dies over and over does not settle. */
static void restart(struct world *w)
{
    for (size_t i = 0; i < w->n; i++) {
        if (in_core(w, i) && !is_member(w, i)) {
            w->set.core_mask &= ~(UINT64_C(1) << i);
        }
        if (in_core(w, i)) {
            member_start(&w->members[i]);
        }
    }
    if (w->set.spares != 0) {
        operator_start_listed(w);
    }
}

static void settle(struct world *w, bool (*is_done)(struct world *), const char *what)
{
    uint64_t end = w->now_us + SETTLE_S * SIM_S;

    while (!is_done(w)) {
        if (w->now_us >= end) {
            fail_to_settle(w, what);
        }
        world_run_until(w, w->now_us + STEP_MS * SIM_MS);
        restart(w);
    }
}

/* A write and a compaction go through. */
static void probe(struct world *w)
{
    for (int tries = 0;; tries++) {
        w->clients[0].last_ok = false;
        client_do(w, &(struct item){.kind = ITEM_put});
        settle(w, is_settled, "a write was not answered");
        if (w->clients[0].last_ok || w->set.quota_bytes < SIM_QUOTA_BYTES) {
            break;
        }
        if (tries == PROBES_MAX) {
            fail_to_settle(w, "writes still fail");
        }
        world_run_until(w, w->now_us + PROBE_MS * SIM_MS);
    }
    client_do(w, &(struct item){.kind = ITEM_compact});
    settle(w, is_settled, "a compaction was not answered");
}

static void judge(struct world *w)
{
    _cleanup_err_ struct err err = {0};
    const struct history_rules rules = {
        .ttl_slack_permille = (unsigned)w->set.clock_permille + 10, .all_known = true};

    watches_settle(w);
    if (history_check(w->history, &rules, NULL, &err) < 0) {
        world_fail(w, "history: %s", err.text);
    }
}

/* Nothing unsynced survives; from their disks they come to the same state. */
static void lose_all(struct world *w)
{
    int64_t revision = w->truth.revision;

    for (size_t i = 0; i < w->n; i++) {
        member_crash(&w->members[i], 0);
    }
    for (size_t i = 0; i < w->n; i++) {
        if (in_core(w, i)) {
            member_start(&w->members[i]);
        }
    }
    settle(w, is_settled, "the members have not come back from their disks");
    check_equal(w, w->set.core_mask);
    if (mvcc_revision(leader_of_all(w)->core->mvcc) != revision || w->truth.revision != revision) {
        world_fail(w, "replay: from revision %" PRId64 " the disks came back with %" PRId64,
            revision, mvcc_revision(leader_of_all(w)->core->mvcc));
    }
}

/* Those that were removed and reach nobody who could tell them: until now they had leave to
 * disturb. Whoever watches there would wait for ever. */
static void end_removed(struct world *w)
{
    for (size_t i = 0; i < w->n; i++) {
        if (!in_core(w, i)) {
            member_crash(&w->members[i], WAL_MEM_KILL);
        }
    }
}

void end_run(struct world *w)
{
    uint64_t begun = w->now_us;

    heal(w);
    settle(w, is_settled, "the members do not agree");
    settle(w, has_no_orphan, "one that never was a member waits and is not told");
    end_removed(w);
    w->counts.converged_ms = (w->now_us - begun) / SIM_MS;
    settle(w, has_no_lease, "leases or watches are left over");
    probe(w);
    check_equal(w, w->set.core_mask);
    judge(w);
    if (w->set.lose_all != 0) {
        lose_all(w);
    }
    w->phase = PHASE_OVER;
}
