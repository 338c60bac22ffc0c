/* Random runs of a small cluster: each seed draws its size, its limits (tiny, so that they are
 * met), and how often messages are lost, repeated and reordered, links cut, disks slow, members
 * killed. raft_sim_check.c checks what must hold after each event. At the end faults stop, and
 * within a bounded number of election timeouts there must be a leader, a fresh proposal must commit
 * everywhere and all reads be answered.
 *
 *     test_raft_random               about five seconds from seed 1
 *     test_raft_random COUNT [SEED]  so many seeds from SEED on
 * RAFT_TRACE=1 prints what happened when a seed fails. */
#include <stdio.h>

#include "clock.h"
#include "raft_sim.h"

enum {
    STEPS = 1000,
    POOL_MAX = 400, /* older messages are lost beyond it, so that delays stay bounded */
    DEFAULT_MS = 5000,
    LIVENESS_ROUNDS = 600,
};

struct run {
    struct sim s;
    unsigned loss, repeat, reorder, cut, kill, slow_disk, confs, compact, damage; /* per mille */
    bool is_cut[SIM_NODES_MAX + 1][SIM_NODES_MAX + 1];
    uint64_t next_value;
};

static bool chance(struct run *x, unsigned per_mille)
{
    return sim_random(&x->s) % 1000 < per_mille;
}

static uint64_t pick(struct run *x, uint64_t n)
{
    return sim_random(&x->s) % n;
}

static struct sim_node *pick_node(struct run *x)
{
    return &x->s.nodes[1 + pick(x, x->s.n_nodes)];
}

/* ---- one action each ---- */

static void do_tick(struct run *x)
{
    struct sim_node *n = pick_node(x);
    struct raft_event ev = {.type = RAFT_EV_TICK};

    if (n->r != NULL) {
        (void)sim_event(&x->s, n, &ev);
    }
}

static void lose(struct run *x, size_t i)
{
    struct sim_msg *m = &x->s.pool[i];
    struct sim_node *from = &x->s.nodes[m->m.from];
    struct raft_event ev = {.type = RAFT_EV_UNREACHABLE, .peer = m->m.to};

    if (m->is_snapshot) {
        ev = (struct raft_event){
            .type = RAFT_EV_SNAPSHOT_STATUS, .snapshot_status = {.peer = m->m.to, .ok = false}};
    } else if (!chance(x, 300)) {
        from = NULL;
    }
    sim_pool_remove(&x->s, i);
    if (from != NULL && from->r != NULL) {
        (void)sim_event(&x->s, from, &ev);
    }
}

static void do_deliver(struct run *x)
{
    struct sim *s = &x->s;
    size_t i;

    while (s->n_pool > POOL_MAX) {
        lose(x, 0);
    }
    if (s->n_pool == 0) {
        return;
    }
    i = chance(x, x->reorder) ? pick(x, s->n_pool) : 0;
    if (chance(x, x->loss) || x->is_cut[s->pool[i].m.from][s->pool[i].m.to] ||
        s->nodes[s->pool[i].m.to].r == NULL) {
        lose(x, i);
        return;
    }
    if (!s->pool[i].is_snapshot && chance(x, x->repeat)) {
        struct sim_msg again = s->pool[i];

        sim_pool_add(s, &again);
    }
    sim_deliver(s, i);
}

static void do_persist(struct run *x)
{
    struct sim_node *n = pick_node(x);

    if (n->r != NULL && n->n_writes > 0 && !chance(x, x->slow_disk)) {
        sim_persist(&x->s, n);
    }
}

static void do_propose(struct run *x)
{
    struct sim_node *n = pick_node(x);
    char value[40];

    (void)snprintf(value, sizeof(value), "%llu%.*s", (unsigned long long)++x->next_value,
        (int)pick(x, 20), "...................");
    if (n->r != NULL) {
        (void)sim_propose(&x->s, n, RAFT_ENTRY_NORMAL, bytes_str(value));
    }
}

/* Adds a learner, makes one a voter, or removes a member; now and then a change that must be
 * refused because it concerns two voters. */
static void do_change_conf(struct run *x)
{
    struct sim_node *n = pick_node(x);
    struct raft_conf conf, next = {0};
    _cleanup_buf_ struct buf *payload = NULL;

    if (n->r == NULL || !chance(x, x->confs)) {
        return;
    }
    conf = *raft_conf(n->r);
    for (uint64_t id = 1, touched = 1 + pick(x, x->s.n_nodes); id <= x->s.n_nodes; id++) {
        const struct raft_member *was = NULL;

        for (size_t i = 0; i < conf.n; i++) {
            was = conf.members[i].id == id ? &conf.members[i] : was;
        }
        if (id != touched && !chance(x, 20)) {
            if (was != NULL) {
                next.members[next.n++] = *was;
            }
        } else if (was == NULL || (was->learner && chance(x, 700))) {
            next.members[next.n++] = (struct raft_member){.id = id, .learner = was == NULL};
        }
    }
    payload = sim_conf_payload(&next);
    if (raft_conf_decode(buf_bytes(payload), &conf, NULL) == 0) {
        (void)sim_propose(&x->s, n, RAFT_ENTRY_CONF, buf_bytes(payload));
    }
}

static void do_read(struct run *x)
{
    struct sim_node *n = pick_node(x);
    uint64_t context;

    if (n->r != NULL) {
        (void)sim_read(&x->s, n, &context);
    }
}

static void lose_link(struct run *x, struct sim_node *n, uint64_t peer)
{
    struct raft_event ev = {.type = RAFT_EV_LINK_LOST, .peer = peer};

    if (n->r != NULL && n->id != peer) {
        (void)sim_event(&x->s, n, &ev);
    }
}

/* A member that is down loses the end of its log, or all, and what it knew of terms. */
static void do_damage(struct run *x, struct sim_node *n)
{
    uint64_t last = n->base.index + n->n_log;
    uint64_t from = chance(x, 300) ? 0 : n->base.index + pick(x, last - n->base.index + 2);

    if (x->s.n_nodes >= 3) {
        sim_damage(&x->s, n, from, pick(x, n->term + 1));
    }
}

/* The kernel of a member that dies closes its links; not everybody sees it. */
static void do_kill_or_start(struct run *x)
{
    struct sim_node *n = pick_node(x);

    if (n->r == NULL) {
        if (chance(x, x->damage)) {
            do_damage(x, n);
        }
        sim_start(&x->s, n);
    } else if (chance(x, x->kill)) {
        sim_crash(&x->s, n, pick(x, n->n_writes + 1), pick(x, 4));
        for (size_t i = 1; i <= x->s.n_nodes; i++) {
            if (chance(x, 700)) {
                lose_link(x, &x->s.nodes[i], n->id);
            }
        }
    }
}

static void do_cut(struct run *x)
{
    if (!chance(x, x->cut)) {
        return;
    }
    for (size_t a = 1; a <= x->s.n_nodes; a++) {
        for (size_t b = 1; b <= x->s.n_nodes; b++) {
            x->is_cut[a][b] = false;
        }
    }
    if (chance(x, 600)) {
        uint64_t side = sim_random(&x->s);
        bool one_way = chance(x, 300);

        for (size_t a = 1; a <= x->s.n_nodes; a++) {
            for (size_t b = 1; b <= x->s.n_nodes; b++) {
                bool from = (side >> a & 1) != 0, to = (side >> b & 1) != 0;

                x->is_cut[a][b] = one_way ? from && !to : from != to;
            }
        }
    }
}

static void do_compact(struct run *x)
{
    struct sim_node *n = pick_node(x);

    if (n->r != NULL && chance(x, x->compact)) {
        sim_compact(&x->s, n, pick(x, 5));
    }
}

static void do_order(struct run *x)
{
    struct sim_node *n = pick_node(x);
    struct raft_event ev = {.type = RAFT_EV_CAMPAIGN};

    if (chance(x, 500)) {
        ev.type = RAFT_EV_TRANSFER;
        ev.peer = pick_node(x)->id;
    }
    if (n->r != NULL && chance(x, 100)) {
        (void)sim_event(&x->s, n, &ev);
    } else if (chance(x, 200)) {
        lose_link(x, n, pick_node(x)->id); /* while the other side lives */
    }
}

static void act(struct run *x)
{
    uint64_t p = pick(x, 100);

    if (p < 20) {
        do_tick(x);
    } else if (p < 60) {
        do_deliver(x);
    } else if (p < 80) {
        do_persist(x);
    } else if (p < 87) {
        do_propose(x);
    } else if (p < 92) {
        do_read(x);
    } else if (p < 94) {
        do_kill_or_start(x);
    } else if (p < 96) {
        do_cut(x);
    } else if (p < 98) {
        do_compact(x);
    } else if (p < 99) {
        do_order(x);
    } else {
        do_change_conf(x);
    }
}

/* ---- a run ---- */

static void take_all(struct run *x)
{
    for (size_t i = 1; i <= x->s.n_nodes; i++) {
        if (x->s.nodes[i].r != NULL) {
            sim_take(&x->s, &x->s.nodes[i]);
        }
    }
}

static void init(struct run *x, uint64_t seed, struct strbuf *trace)
{
    struct raft_conf conf = {0};
    struct raft_options options;
    size_t nodes;

    *x = (struct run){.s.random = seed};
    nodes = 1 + pick(x, 5);
    for (size_t id = 1; id <= nodes; id++) {
        if (id == 1 || chance(x, 800)) {
            conf.members[conf.n++] =
                (struct raft_member){.id = id, .learner = id != 1 && chance(x, 150)};
        }
    }
    options = (struct raft_options){
        .election_ticks = 3 + (unsigned)pick(x, 8),
        .heartbeat_ticks = 1 + (unsigned)pick(x, 2),
        .inflight_msgs_max = 1 + (unsigned)pick(x, 4),
        .inflight_bytes_max = 64 + pick(x, 1000),
        .append_bytes_max = 1 + pick(x, 300),
        .uncommitted_bytes_max = 200 + pick(x, 2000),
    };
    x->loss = (unsigned)(chance(x, 500) ? 0 : pick(x, 300));
    x->repeat = (unsigned)(chance(x, 500) ? 0 : pick(x, 500));
    x->reorder = (unsigned)(chance(x, 300) ? 0 : pick(x, 1000));
    x->cut = (unsigned)(chance(x, 300) ? 0 : pick(x, 500));
    x->kill = (unsigned)(chance(x, 300) ? 0 : pick(x, 500));
    x->slow_disk = (unsigned)(chance(x, 300) ? 0 : pick(x, 900));
    x->damage = (unsigned)(chance(x, 500) ? 0 : pick(x, 900));
    x->confs = (unsigned)(chance(x, 500) ? 0 : pick(x, 1000));
    x->compact = (unsigned)(chance(x, 500) ? 1000 : pick(x, 500));
    sim_init(&x->s, nodes, &conf, &options, sim_random(&x->s));
    x->s.trace = trace;
    (void)snprintf(x->s.where, sizeof(x->s.where), "seed %llu", (unsigned long long)seed);
}

/* Everything that can happen without a tick. */
static void settle(struct run *x)
{
    bool busy = true;

    for (int i = 0; busy && i < 100000; i++) {
        busy = false;
        take_all(x);
        for (size_t n = 1; n <= x->s.n_nodes; n++) {
            while (x->s.nodes[n].n_writes > 0) {
                sim_persist(&x->s, &x->s.nodes[n]);
                busy = true;
            }
        }
        while (x->s.n_pool > 0) {
            sim_deliver(&x->s, 0);
            busy = true;
        }
    }
    SIM_CHECK(&x->s, !busy, "%s: messages never end", x->s.where);
}

static struct sim_node *leader(struct run *x, uint64_t *ret_term)
{
    struct sim_node *best = NULL;
    uint64_t term = 0;

    for (size_t i = 1; i <= x->s.n_nodes; i++) {
        struct raft_status st;

        raft_status(x->s.nodes[i].r, &st);
        if (st.role == RAFT_LEADER && st.term > term) {
            best = &x->s.nodes[i];
            term = st.term;
        }
    }
    *ret_term = term;
    return best;
}

static bool all_have(struct run *x, const struct sim_node *from, uint64_t index)
{
    const struct raft_conf *conf = raft_conf(from->r);

    for (size_t i = 0; i < conf->n; i++) {
        const struct sim_node *n = &x->s.nodes[conf->members[i].id];

        if (n->applied < index || n->n_reads != 0) {
            return false;
        }
    }
    return true;
}

/* Proposes something and reads; returns the index to wait for, 0 when this leader would not. */
static uint64_t propose_the_last(struct run *x, struct sim_node *l)
{
    struct raft_status st;
    uint64_t context;

    if (sim_propose(&x->s, l, RAFT_ENTRY_NORMAL, BYTES_LITERAL("the last")) != RAFT_OK ||
        sim_read(&x->s, l, &context) != RAFT_OK) {
        return 0;
    }
    raft_status(l->r, &st);
    return st.last_index;
}

static void revive(struct run *x)
{
    memset(x->is_cut, 0, sizeof(x->is_cut));
    for (size_t i = 1; i <= x->s.n_nodes; i++) {
        if (x->s.nodes[i].r == NULL) {
            sim_start(&x->s, &x->s.nodes[i]);
        }
    }
}

static struct {
    uint64_t steps, commits, elections, reads, snapshots, damaged, healed, stuck;
} total;

/* More members are under repair than the cluster can lose: they wait, whatever else happens. */
static bool may_be_stuck(struct run *x)
{
    for (size_t i = 1; i <= x->s.n_nodes; i++) {
        const struct raft_conf *conf = raft_conf(x->s.nodes[i].r);
        size_t voters = 0, damaged = 0;

        for (size_t j = 0; j < conf->n; j++) {
            voters += !conf->members[j].learner;
            damaged += !conf->members[j].learner && x->s.nodes[conf->members[j].id].repairing;
        }
        if (voters != 0 && damaged > (voters - 1) / 2) {
            return true;
        }
    }
    return false;
}

/* All is up and connected: then there must be progress. A leadership may still end once or twice by
 * what was under way, and what was proposed to it with it. */
static void check_liveness(struct run *x)
{
    uint64_t target = 0, term, target_term = 0;

    revive(x);
    for (int round = 0; round < LIVENESS_ROUNDS; round++) {
        struct sim_node *l;

        for (size_t i = 1; i <= x->s.n_nodes; i++) {
            struct raft_event ev = {.type = RAFT_EV_TICK};

            (void)sim_event(&x->s, &x->s.nodes[i], &ev);
        }
        settle(x);
        l = leader(x, &term);
        if (l != NULL && (target == 0 || target_term != term)) {
            target = propose_the_last(x, l);
            target_term = term;
            settle(x);
            l = leader(x, &term); /* it may have led its own removal */
        }
        if (l != NULL && target != 0 && term == target_term &&
            sim_committed_index(&x->s) >= target && all_have(x, l, target)) {
            return;
        }
    }
    if (!may_be_stuck(x)) {
        sim_fail(&x->s, "no progress after faults stopped");
    }
    total.stuck++;
}

static void run_seed(struct run *x, uint64_t seed, struct strbuf *trace)
{
    init(x, seed, trace);
    for (int i = 0; i < STEPS; i++) {
        act(x);
        if (chance(x, 700)) {
            take_all(x);
        }
    }
    check_liveness(x);
    total.steps += STEPS;
    total.commits += sim_committed_index(&x->s);
    total.elections += x->s.n_elections;
    total.reads += x->s.n_reads_ok;
    total.snapshots += x->s.n_snapshots;
    total.damaged += x->s.n_damaged;
    total.healed += x->s.n_healed;
    sim_deinit(&x->s);
}

int main(int argc, char **argv)
{
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : UINT64_MAX;
    uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    uint64_t begin = clock_boot_ms(), end = argc > 1 ? UINT64_MAX : begin + DEFAULT_MS;
    uint64_t n = 0;
    _cleanup_strbuf_ struct strbuf trace = {0};
    _cleanup_free_ struct run *x = xmalloc(sizeof(*x));

    for (; n < count && clock_boot_ms() < end; n++) {
        strbuf_clear(&trace);
        run_seed(x, first + n, getenv("RAFT_TRACE") != NULL ? &trace : NULL);
    }
    printf(
        "%llu seeds from %llu on, %llu steps, %llu entries committed, %llu elections, %llu reads, "
        "%llu snapshots, %llu damaged, %llu healed, %llu stuck, %.0f seeds/s\n",
        (unsigned long long)n, (unsigned long long)first, (unsigned long long)total.steps,
        (unsigned long long)total.commits, (unsigned long long)total.elections,
        (unsigned long long)total.reads, (unsigned long long)total.snapshots,
        (unsigned long long)total.damaged, (unsigned long long)total.healed,
        (unsigned long long)total.stuck, (double)n * 1000 / (double)(clock_boot_ms() - begin + 1));
    /* A driver that stopped committing, electing, reading or sending snapshots tests nothing. */
    return n == 0 || total.commits < n * 5 || total.elections < n || total.reads < n / 2 ||
        total.snapshots < n / 50 || total.healed < n / 50 || total.stuck > n / 5;
}
