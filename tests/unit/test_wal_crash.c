/* The process or the power fails at any operation of the disk, and of what was not synced any part
 * survives: what was acknowledged is there, term and vote never go back, and the log is a state it
 * really had. The seed of a failing run is printed; DECREE_SEED repeats it. */
#include "wal_fixture.h"

#include <signal.h>
#include <stdlib.h>

enum { SEEDS = 3000, INDEX_MAX = 2000, LIVES = 4, OPS_MAX = 120 };

/* What the log says; terms[i] of entry i, payload follows from both. */
struct model {
    uint64_t term, vote, last;
    uint64_t terms[INDEX_MAX];
};

struct run {
    uint64_t rng;
    struct wal_mem *mem;
    struct wal *wal;
    struct model model; /* acknowledged */
    /* Snapshots that may be found: the last durable one and one that was being made. */
    struct wal_snapshot_id snapshot, maybe_snapshot;
};

static uint64_t rnd(struct run *r, uint64_t below)
{
    r->rng ^= r->rng << 13;
    r->rng ^= r->rng >> 7;
    r->rng ^= r->rng << 17;
    return r->rng % below;
}

/* How much of what is not synced survives: a kill of the process, now and then. */
static unsigned rnd_keep(struct run *r)
{
    return rnd(r, 3) == 0 ? WAL_MEM_KILL : (unsigned)rnd(r, 101);
}

static size_t payload_of(uint64_t index, uint64_t term)
{
    static const size_t sizes[] = {0, 1, 8, 60, 300, 900, 5000};

    return sizes[(index * 5 + term) % ARRAY_SIZE(sizes)];
}

/* Statements of their own: a compiler may evaluate arguments in any order, and a seed must mean the
 * same in every build. */
static void die_within(struct run *r, uint64_t ops)
{
    uint64_t nth = 1 + rnd(r, ops);
    unsigned keep = rnd_keep(r);

    wal_mem_die_at(r->mem, nth, keep);
}

/* ---- checking ---- */

static uint64_t last_of(const struct wal_recovery *rec)
{
    return rec->snapshot.index + rec->n_entries;
}

/* Is the recovered log that of m, seen from the recovered snapshot? */
static bool same_log(const struct wal_recovery *rec, const struct model *m)
{
    uint64_t s = rec->snapshot.index;
    bool on_line = s == 0 || (m->last >= s && m->terms[s] == rec->snapshot.term);

    if (last_of(rec) != (on_line ? m->last : s)) {
        return false;
    }
    for (size_t i = 0; i < rec->n_entries; i++) {
        if (rec->entries[i].term != m->terms[s + 1 + i]) {
            return false;
        }
    }
    return rec->term == m->term && rec->vote == m->vote;
}

static void check_payloads(const struct wal_recovery *rec)
{
    for (size_t i = 0; i < rec->n_entries; i++) {
        const struct wal_entry *e = &rec->entries[i];

        fixture_check_entry(e, rec->snapshot.index + 1 + i, e->term, payload_of(e->index, e->term));
    }
}

static void apply_entry(struct model *m, uint64_t index, uint64_t term)
{
    assert_true(index < INDEX_MAX);
    m->last = index;
    m->terms[index] = term;
}

/* A batch under way may be there up to any of its records. */
static bool same_as_some_prefix(
    const struct wal_recovery *rec, const struct model *before, const struct fixture_batch *b)
{
    struct model m = *before;

    if (same_log(rec, &m)) {
        return true;
    }
    if (b->req.has_hard) {
        m.term = b->req.term;
        m.vote = b->req.vote;
        if (same_log(rec, &m)) {
            return true;
        }
    }
    for (size_t i = 0; i < b->req.n_entries; i++) {
        apply_entry(&m, b->entries[i].index, b->entries[i].term);
        if (same_log(rec, &m)) {
            return true;
        }
    }
    return false;
}

/* ---- one life after the other ---- */

static void take_over(struct run *r, const struct wal_recovery *rec)
{
    r->model.term = rec->term;
    r->model.vote = rec->vote;
    r->model.last = last_of(rec);
    r->model.terms[rec->snapshot.index] = rec->snapshot.term;
    for (size_t i = 0; i < rec->n_entries; i++) {
        r->model.terms[rec->snapshot.index + 1 + i] = rec->entries[i].term;
    }
    r->snapshot = r->maybe_snapshot = rec->snapshot;
}

static bool same_id(struct wal_snapshot_id a, struct wal_snapshot_id b)
{
    return a.index == b.index && a.term == b.term;
}

/* After the power is back. b: the batch that was under way, may be empty. */
static void reopen(struct run *r, const struct fixture_batch *b)
{
    struct wal_recovery rec;

    r->mem = wal_mem_reborn(r->mem);
    /* The start itself may be cut as well, several times over. */
    while (rnd(r, 4) == 0) {
        die_within(r, 12);
        r->wal = fixture_open(r->mem, &rec);
        wal_poll(r->wal);
        fixture_close(r->wal, &rec);
        if (!wal_mem_is_dead(r->mem)) {
            wal_mem_die_at(r->mem, 0, 0);
            break;
        }
        r->mem = wal_mem_reborn(r->mem);
    }
    r->wal = fixture_open(r->mem, &rec);
    if (!rec.is_new) {
        assert_true(rec.identity.member_id == fixture_identity.member_id);
    }
    assert_null(rec.passed_over);
    assert_true(same_id(rec.snapshot, r->snapshot) || same_id(rec.snapshot, r->maybe_snapshot));
    assert_true(rec.term >= r->model.term);
    assert_true(same_as_some_prefix(&rec, &r->model, b));
    check_payloads(&rec);
    take_over(r, &rec);
    wal_recovery_deinit(&rec);
}

static void step_append(struct run *r, struct fixture_batch *b)
{
    struct model *m = &r->model;
    uint64_t floor = r->snapshot.index; /* what a snapshot holds is committed: never replaced */
    uint64_t first = m->last + 1, term = MAX(m->term, (uint64_t)1);
    size_t n = rnd(r, 6);
    bool hard = n == 0 || rnd(r, 3) == 0;

    if (hard) {
        term += rnd(r, 2);
    }
    if (n > 0 && rnd(r, 5) == 0 && m->last > floor) {
        first = floor + 1 + rnd(r, m->last - floor);
    }
    fixture_batch_init(b, term, first, 0, 0);
    b->req.n_entries = n;
    for (size_t i = 0; i < n; i++) {
        b->entries[i] = (struct wal_entry){
            first + i, term, 3, fixture_payload(first + i, term, payload_of(first + i, term))};
    }
    b->req.has_hard = hard;
    b->req.term = term;
    b->req.vote = hard && term == m->term && m->vote != 0 ? m->vote : rnd(r, 4);
    assert_int_equal(wal_append(r->wal, &b->req), 0);
    wal_poll(r->wal);
    assert_int_equal(b->calls, 1);
    if (wal_mem_is_dead(r->mem)) {
        return;
    }
    if (hard) {
        m->term = term;
        m->vote = b->req.vote;
    }
    for (size_t i = 0; i < n; i++) {
        apply_entry(m, first + i, term);
    }
}

/* A snapshot of our own, then compaction. */
static void step_snapshot(struct run *r)
{
    struct model *m = &r->model;
    struct wal_snapshot_id id;

    if (m->last <= r->snapshot.index) {
        return;
    }
    id.index = r->snapshot.index + 1 + rnd(r, m->last - r->snapshot.index);
    id.term = m->terms[id.index];
    r->maybe_snapshot = id;
    if (fixture_snapshot(r->wal, id, rnd(r, 4)) != 0 || wal_mem_is_dead(r->mem)) {
        assert_true(wal_mem_is_dead(r->mem));
        return;
    }
    r->snapshot = id;
    wal_compact(r->wal, id, id.index + 1 - rnd(r, MIN(id.index, (uint64_t)20)));
    wal_poll(r->wal);
}

/* A snapshot from a leader of a later term: the log is reset to it. False when the disk died and
 * was opened again. */
static bool step_install(struct run *r)
{
    struct model *m = &r->model;
    struct wal_snapshot_id id = {
        .index = r->snapshot.index + 1 + rnd(r, m->last - r->snapshot.index + 10),
        .term = MAX(m->term, (uint64_t)1) + 1, /* beyond that of every entry */
    };
    struct fixture_batch b;

    fixture_hard(r->wal, id.term, 0);
    if (wal_mem_is_dead(r->mem)) {
        fixture_batch_init(&b, 0, 0, 0, 0);
        b.req.has_hard = true;
        b.req.term = id.term;
        (void)wal_close(r->wal);
        reopen(r, &b);
        return false;
    }
    m->term = id.term;
    m->vote = 0;
    r->maybe_snapshot = id;
    if (fixture_snapshot(r->wal, id, 2) != 0 || wal_mem_is_dead(r->mem)) {
        return true;
    }
    r->snapshot = id;
    wal_reset(r->wal, id);
    wal_poll(r->wal);
    /* Before or after the reset: the snapshot is off the old log's line, both mean the same. */
    apply_entry(m, id.index, id.term);
    if (!wal_mem_is_dead(r->mem) && rnd(r, 2) == 0) {
        wal_compact(r->wal, id, id.index + 1);
        wal_poll(r->wal);
    }
    return true;
}

static void one_life(struct run *r)
{
    struct fixture_batch b;

    die_within(r, OPS_MAX);
    for (;;) {
        uint64_t choice = rnd(r, 20);

        fixture_batch_init(&b, 0, 0, 0, 0);
        if (choice == 0) {
            step_snapshot(r);
        } else if (choice == 1) {
            if (!step_install(r)) {
                return;
            }
        } else {
            step_append(r, &b);
        }
        if (wal_mem_is_dead(r->mem)) {
            break;
        }
        fixture_batch_deinit(&b);
    }
    (void)wal_close(r->wal);
    reopen(r, &b);
    fixture_batch_deinit(&b);
}

static void one_seed(uint64_t seed)
{
    struct run *r = xcalloc(1, sizeof(*r));
    struct wal_recovery rec;

    r->rng = seed * 0x9e3779b97f4a7c15u + 1;
    r->mem = wal_mem_new(seed);
    r->wal = fixture_open(r->mem, &rec);
    wal_recovery_deinit(&rec);
    for (int i = 0; i < LIVES; i++) {
        one_life(r);
    }
    (void)wal_close(r->wal);
    (void)wal_mem_free(r->mem);
    free(r);
}

static uint64_t seed_now;

TEST(wal, nothing_acknowledged_is_lost_when_the_power_fails_at_any_operation)
{
    const char *text = getenv("DECREE_SEED");
    uint64_t first = text != NULL ? strtoull(text, NULL, 10) : 1;
    uint64_t n = text != NULL ? 1 : SEEDS;

    for (seed_now = first; seed_now < first + n; seed_now++) {
        one_seed(seed_now);
    }
}

static void on_abort(int signal_number)
{
    (void)dprintf(STDERR_FILENO, "DECREE_SEED=%" PRIu64 "\n", seed_now);
    (void)signal(signal_number, SIG_DFL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(wal, nothing_acknowledged_is_lost_when_the_power_fails_at_any_operation)};
    int rc;

    (void)signal(SIGABRT, on_abort);
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    if (rc != 0) {
        print_error("DECREE_SEED=%" PRIu64 "\n", seed_now);
    }
    return rc;
}
