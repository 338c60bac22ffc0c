/* Draws a plan from a seed. Swarm testing: each seed has its own size, its own few kinds of faults
 * at its own rates and its own mix of load, so that no kind of fault hides another one; and limits
 * are tiny, so that what production meets after days (a snapshot, a full segment, a full window)
 * happens all the time. */
#include "plan.h"

#include "chance.h"

enum {
    FIRST_FAULT_MS = 150,
    CLASS_PERMILLE = 300,
    DEPOSED_PERMILLE = 60, /* scenarios of many items */
    FORGETFUL_PERMILLE = 60,
    CLIENTS_DRAWN_MAX = 4,
    WRITER = CLIENTS_DRAWN_MAX, /* of a scenario: they have no other load */
    READER,
};
_Static_assert((int)READER < (int)SIM_CLIENTS_MAX, "they are clients");

struct draw {
    struct plan *plan;
    struct settings *set;
    struct chance chance;
};

static uint64_t between(struct draw *d, uint64_t low, uint64_t high)
{
    return chance_between(&d->chance, low, high);
}

static bool one_in(struct draw *d, uint64_t n)
{
    return chance_below(&d->chance, n) == 0;
}

static void add(
    struct draw *d, uint64_t at_ms, enum item_kind kind, uint64_t a, uint64_t b, uint64_t c)
{
    plan_add(d->plan, (struct item){.at_ms = at_ms, .kind = kind, .args = {a, b, c}});
}

static uint64_t member(struct draw *d)
{
    return chance_below(&d->chance, d->set->members + d->set->spares);
}

static uint64_t moment(struct draw *d)
{
    return between(d, FIRST_FAULT_MS, d->set->run_ms);
}

/* ---- faults: each pair of what breaks and what mends it ---- */

static void crash(struct draw *d, enum item_kind kind)
{
    uint64_t at = moment(d), m = member(d);

    add(d, at, kind, m, kind == ITEM_die_at ? between(d, 0, 12) : between(d, 0, 100),
        between(d, 0, 100));
    add(d, at + between(d, 20, 1200), ITEM_start, m, 0, 0);
}

static void crash_all(struct draw *d)
{
    uint64_t at = moment(d);

    for (uint64_t m = 0; m < d->set->members; m++) {
        add(d, at, one_in(d, 2) ? ITEM_kill : ITEM_power_cut, m, between(d, 0, 100), 0);
        add(d, at + between(d, 20, 600), ITEM_start, m, 0, 0);
    }
}

static void fail_disk(struct draw *d, enum item_kind kind)
{
    uint64_t at = moment(d), m = member(d);

    add(d, at, kind, m, between(d, 0, 8), 0);
    add(d, at + between(d, 50, 1000), ITEM_start, m, 0, 0);
}

static void full(struct draw *d)
{
    uint64_t at = moment(d), m = member(d);

    add(d, at, ITEM_full, m, between(d, 0, 40000), 0);
    add(d, at + between(d, 200, 2000), ITEM_room, m, 0, 0);
}

static void damage(struct draw *d)
{
    uint64_t at = moment(d), m = member(d);

    add(d, at, one_in(d, 2) ? ITEM_kill : ITEM_stop, m, 0, 0);
    if (one_in(d, 3)) {
        add(d, at + 150, ITEM_lose, m, between(d, 0, 12), 0);
    } else {
        add(d, at + 150, one_in(d, 4) ? ITEM_move_sector : ITEM_flip, m, between(d, 0, 1000),
            chance_next(&d->chance) >> 20);
    }
    add(d, at + between(d, 200, 600), ITEM_start, m, 0, 0);
}

static void wipe(struct draw *d)
{
    uint64_t at = moment(d), m = member(d);

    add(d, at, ITEM_wipe, m, 0, 0);
    add(d, at + between(d, 20, 300), ITEM_start, m, 0, 0);
}

static void old_image(struct draw *d)
{
    uint64_t at = moment(d), m = member(d), later = at + between(d, 100, 1500);

    add(d, at, ITEM_image, m, 0, 0);
    add(d, later, ITEM_old_image, m, 0, 0);
    add(d, later + between(d, 20, 300), ITEM_start, m, 0, 0);
}

static void cut(struct draw *d)
{
    uint64_t at = moment(d), a = member(d), b = member(d);
    uint64_t until = at + between(d, 100, 2500);

    add(d, at, ITEM_cut, a, b, 0);
    add(d, until, ITEM_heal, a, b, 0);
    if (one_in(d, 2)) { /* both ways */
        add(d, at, ITEM_cut, b, a, 0);
        add(d, until, ITEM_heal, b, a, 0);
    }
}

static void partition(struct draw *d)
{
    uint64_t at = moment(d),
             mask = between(d, 1, (UINT64_C(1) << (d->set->members + d->set->spares)) - 1);

    add(d, at, ITEM_partition, mask, 0, 0);
    add(d, at + between(d, 100, 2500), ITEM_join, mask, 0, 0);
}

static void isolate(struct draw *d)
{
    uint64_t at = moment(d), m = member(d), ways = between(d, 1, 3);

    add(d, at, ITEM_isolate, m, ways, 0);
    add(d, at + between(d, 100, 2500), ITEM_return, m, ways, 0);
}

/* One that leads perhaps stands still until another one leads, and is asked as soon as it wakes and
 * before it hears of that. */
static void ask_sleeper(struct draw *d)
{
    uint64_t at = moment(d), m = member(d), k = chance_below(&d->chance, d->set->keys);
    uint64_t ms = between(d, 3, 6) * d->set->heartbeat_ms * d->set->election_ticks;

    add(d, at, ITEM_pause, m, ms, 0);
    add(d, at, ITEM_isolate, m, 3, 0);
    add(d, at + ms + ms / 6, ITEM_return, m, 3, 0);
    add(d, at + ms / 2, ITEM_move_client, 0, m + 1, 0);
    add(d, at + ms - ms / 4, ITEM_put, 0, k, 0);
    add(d, at + ms - 1, ITEM_move_client, 1, m, 0);
    add(d, at + ms - 1, ITEM_get, 1, k, 0);
}

static void lag(
    struct draw *d, uint64_t at_ms, uint64_t from, uint64_t to, uint64_t late_ms, uint64_t for_ms)
{
    if (from != to) {
        plan_add(d->plan,
            (struct item){.at_ms = at_ms, .kind = ITEM_lag, .args = {from, to, late_ms, for_ms}});
    }
}

static uint64_t election_ms(const struct draw *d)
{
    return d->set->heartbeat_ms * d->set->election_ticks;
}

/* F24, F25: up to one and a half election timeouts, beyond which a link counts as broken. */
static void lag_some_link(struct draw *d)
{
    uint64_t at = moment(d), from = member(d), to = member(d);

    lag(d, at, from, to, between(d, 1, election_ms(d) + election_ms(d) / 2), between(d, 100, 2500));
}

/* What the chosen one hears comes later and later, never with a gap of an election timeout: it goes
 * on to lead. Returns by how much at last. */
static uint64_t hears_late(struct draw *d, uint64_t at, uint64_t steps, uint64_t for_ms)
{
    uint64_t step_ms = election_ms(d) * between(d, 50, 80) / 100;

    for (uint64_t i = 0; i < steps; i++) {
        for (uint64_t k = 1; k < d->set->members; k++) {
            lag(d, at + i * election_ms(d), SIM_CHOSEN + k, SIM_CHOSEN, (i + 1) * step_ms, for_ms);
        }
    }
    return steps * step_ms;
}

/* Reads at the chosen one, writes at another one, all the while. */
static void ask_both(struct draw *d, uint64_t from_ms, uint64_t until_ms)
{
    uint64_t k = chance_below(&d->chance, d->set->keys), gap = 1 + (until_ms - from_ms) / 12;

    add(d, from_ms, ITEM_move_client, WRITER, SIM_CHOSEN + 1, 0);
    add(d, from_ms, ITEM_move_client, READER, SIM_CHOSEN, 0);
    for (uint64_t at = from_ms; at < until_ms; at += gap) {
        add(d, at, ITEM_put, WRITER, k, 0);
        add(d, at + between(d, 0, gap), ITEM_get, READER, k, 0);
    }
}

/* A leader hears from the others late: another one leads already, by a handover or because nobody
 * hears the old one any more, while answers of before still come to it. None of them confirms that
 * it leads when a read is asked for after they were sent (R16). */
static void ask_deposed(struct draw *d)
{
    bool falls_silent = one_in(d, 2);
    uint64_t timeout = election_ms(d), steps = falls_silent ? 3 : 1;
    uint64_t first = FIRST_FAULT_MS + timeout, takes = 2 * steps * timeout;
    uint64_t at = between(d, first, MAX(first, d->set->run_ms - MIN(takes, d->set->run_ms)));
    uint64_t cut_at = at + steps * timeout, late;

    add(d, at, ITEM_choose, member(d), 0, 0);
    late = hears_late(d, at, steps, takes);
    if (falls_silent) {
        add(d, cut_at, ITEM_isolate, SIM_CHOSEN, 2, 0);
        add(d, at + takes, ITEM_return, SIM_CHOSEN, 2, 0);
        ask_both(d, cut_at + timeout, cut_at + late);
    } else {
        add(d, cut_at, ITEM_hand_over, SIM_CHOSEN, 0, 0);
        /* It sends the heir off when it has heard that all of its log is there. */
        ask_both(d, cut_at, cut_at + 2 * late);
    }
}

/* Members by their place after the chosen one. */
static void each(struct draw *d, uint64_t at, enum item_kind kind, uint64_t from, uint64_t to)
{
    for (uint64_t k = from; k < to; k++) {
        add(d, at, kind, SIM_CHOSEN + k, kind == ITEM_pause ? 4 * election_ms(d) : 3, 0);
    }
}

/* A bare majority goes on without the others. Then one of it forgets the newest of what it
 * promised, and comes back where nobody else knows of that: among the others, while the rest of the
 * majority is away. They are enough to elect, were it not for what it forgot. */
static void ask_forgetful(struct draw *d)
{
    static const enum item_kind ways[][2] = {
        {ITEM_kill, ITEM_start}, {ITEM_isolate, ITEM_return}, {ITEM_pause, ITEM_hand_over}};
    const enum item_kind *way = ways[chance_below(&d->chance, ARRAY_SIZE(ways))];
    uint64_t timeout = election_ms(d), n = d->set->members, half = n / 2 + 1;
    uint64_t first = FIRST_FAULT_MS + timeout, takes = 8 * timeout;
    uint64_t at = between(d, first, MAX(first, d->set->run_ms - MIN(takes, d->set->run_ms)));
    uint64_t stop_at = at + between(d, 1, 2 * timeout), back_at = stop_at + between(d, 110, 200);

    add(d, at, ITEM_choose, member(d), 0, 0);
    each(d, at, ITEM_isolate, half, n);
    ask_both(d, at, stop_at);
    add(d, stop_at, ITEM_stop, SIM_CHOSEN + 1, 0, 0);
    each(d, back_at - between(d, 0, 100), way[0], 0, 1);
    each(d, back_at - between(d, 0, 100), way[0], 2, half);
    add(d, back_at, ITEM_lose, SIM_CHOSEN + 1, between(d, 0, 12), 0);
    each(d, back_at, ITEM_return, half, n);
    add(d, back_at, ITEM_start, SIM_CHOSEN + 1, 0, 0);
    add(d, back_at, ITEM_move_client, WRITER, SIM_CHOSEN + half, 0);
    for (uint64_t k = 0; k < 6; k++) {
        add(d, back_at + between(d, 0, 4 * timeout), ITEM_put, WRITER, 0, 0);
    }
    each(d, back_at + 4 * timeout, way[1], 0, 1);
    each(d, back_at + 4 * timeout, way[1], 2, half);
}

static void one_fault(struct draw *d, unsigned class)
{
    switch (class) {
    case 0:
        crash(d, ITEM_kill);
        break;
    case 1:
        crash(d, ITEM_power_cut);
        break;
    case 2:
        crash(d, ITEM_die_at);
        break;
    case 3:
        crash(d, ITEM_stop);
        break;
    case 4:
        crash_all(d);
        break;
    case 5:
        add(d, moment(d), ITEM_pause, member(d), between(d, 50, 2500), 0);
        break;
    case 6:
        add(d, moment(d), ITEM_hang, member(d), between(d, 50, 3000), 0);
        break;
    case 7:
        add(d, moment(d), ITEM_slow, member(d), between(d, 100, 3000), between(d, 2, 200));
        break;
    case 8:
        fail_disk(d, ITEM_fail_sync);
        break;
    case 9:
        fail_disk(d, ITEM_fail_op);
        break;
    case 10:
        full(d);
        break;
    case 11:
        damage(d);
        break;
    case 12:
        wipe(d);
        break;
    case 13:
        old_image(d);
        break;
    case 14:
        cut(d);
        break;
    case 15:
        partition(d);
        break;
    case 16:
        isolate(d);
        break;
    case 17:
        add(d, moment(d), ITEM_clog, member(d), member(d), between(d, 50, 2000));
        break;
    case 18:
        add(d, moment(d), ITEM_filter, between(d, 1, 16), between(d, 50, 1000), 0);
        break;
    case 19:
        add(d, moment(d), ITEM_reset, member(d), member(d), 0);
        break;
    case 22:
        ask_sleeper(d);
        break;
    case 23:
        lag_some_link(d);
        break;
    case 20:
        add(d, moment(d), ITEM_stream_cut, member(d), member(d), between(d, 0, 3000));
        break;
    default:
        add(d, moment(d), ITEM_hand_over, member(d), 0, 0);
        break;
    }
}
enum { CLASSES = 24 };

static void draw_faults(struct draw *d, uint64_t class_permille)
{
    for (unsigned class = 0; class < CLASSES; class ++) {
        if (!chance_permille(&d->chance, class_permille)) {
            continue;
        }
        for (uint64_t n = between(d, 1, 3); n > 0; n--) {
            one_fault(d, class);
        }
    }
}

/* ---- changes of members ---- */

static uint64_t spare(struct draw *d)
{
    return d->set->members + chance_below(&d->chance, d->set->spares);
}

static uint64_t some_start(struct draw *d, uint64_t at, uint64_t slot)
{
    at += between(d, 5, 300);
    add(d, at, ITEM_start, slot, 0, 0);
    return at;
}

static void promote(struct draw *d, uint64_t at, uint64_t slot)
{
    for (uint64_t n = between(d, 1, 4); n > 0; n--) {
        at += between(d, 20, 300);
        add(d, at, ITEM_promote, slot, member(d), 0);
    }
}

static void add_member(struct draw *d, uint64_t at, bool learner)
{
    uint64_t slot = one_in(d, 4) ? member(d) : spare(d);

    add(d, at, ITEM_fresh, slot, 0, 0);
    add(d, at, ITEM_add, slot, learner, member(d));
    if (!one_in(d, 8)) {
        at = some_start(d, at, slot);
    }
    if (learner && !one_in(d, 3)) {
        promote(d, at, slot);
    }
}

static void remove_member(struct draw *d, uint64_t at)
{
    uint64_t slot = one_in(d, 4) ? SIM_THE_LEADER : member(d);

    if (slot != SIM_THE_LEADER && one_in(d, 3)) { /* a dead one */
        add(d, at, ITEM_kill, slot, 0, 0);
        at += between(d, 10, 500);
    }
    add(d, at, ITEM_remove, slot, member(d), 0);
    if (slot != SIM_THE_LEADER && one_in(d, 2)) { /* and it comes back with its disk */
        add(d, at + between(d, 50, 800), ITEM_start, slot, 0, 0);
    }
}

/* A new one, a learner first, in the place of an old one. */
static void replace_member(struct draw *d, uint64_t at)
{
    uint64_t slot = spare(d);

    add(d, at, ITEM_fresh, slot, 0, 0);
    add(d, at, ITEM_add, slot, 1, member(d));
    at = some_start(d, at, slot);
    promote(d, at, slot);
    add(d, at + between(d, 200, 1200), ITEM_remove, member(d), member(d), 0);
}

static void one_change(struct draw *d, uint64_t at)
{
    switch (chance_below(&d->chance, 8)) {
    case 0:
    case 1:
        add_member(d, at, one_in(d, 2));
        break;
    case 2:
    case 3:
        remove_member(d, at);
        break;
    case 4:
        replace_member(d, at);
        break;
    case 5:
        add(d, at, ITEM_update, member(d), member(d), chance_below(&d->chance, 2));
        break;
    case 6:
        add(d, at, ITEM_promote, member(d), member(d), 0);
        break;
    default:
        add(d, at, ITEM_move_leader, member(d), 0, 0);
        break;
    }
}

/* Some at the same time as the one before. */
static void draw_changes(struct draw *d)
{
    uint64_t at = moment(d);

    for (uint64_t n = d->set->spares != 0 ? between(d, 1, 10) : 0; n > 0; n--) {
        at = one_in(d, 4) ? at + between(d, 0, 20) : moment(d);
        one_change(d, at);
    }
}

/* ---- load ---- */

static enum item_kind draw_op(struct draw *d, const uint64_t weights[], uint64_t total)
{
    uint64_t x = chance_below(&d->chance, total);
    enum item_kind kind = ITEM_FIRST_OP;

    for (; x >= weights[kind - ITEM_FIRST_OP]; kind++) {
        x -= weights[kind - ITEM_FIRST_OP];
    }
    return kind;
}

static uint64_t op_argument(struct draw *d, enum item_kind kind)
{
    switch (kind) {
    case ITEM_grant:
        return between(d, 1, 3);
    case ITEM_compact:
        return between(d, 0, 20);
    case ITEM_move_client:
        return member(d);
    default:
        return chance_below(&d->chance, d->set->keys);
    }
}

/* Around the moment at which the lease expires, while its revoke is on the way (R22). */
static void keep_alive_late(struct draw *d, uint64_t client, uint64_t granted_ms, uint64_t ttl_s)
{
    uint64_t at = granted_ms + 1000 * ttl_s + between(d, 0, 100);

    for (uint64_t n = between(d, 0, 8); n > 0; n--) {
        at += between(d, 0, 12);
        if (at < d->set->run_ms) {
            add(d, at, ITEM_keepalive, client, 0, 0);
        }
    }
}

static void draw_client(struct draw *d, uint64_t client)
{
    uint64_t weights[ITEM_watch - ITEM_FIRST_OP] = {0};
    uint64_t gap_ms = between(d, 20, 150), total = 0, argument;
    enum item_kind kind;

    for (size_t i = 0; i < ARRAY_SIZE(weights); i++) {
        weights[i] = one_in(d, 3) ? 0 : between(d, 1, 10);
    }
    weights[0] += 10; /* there is always something to read, and to move the log */
    weights[ITEM_get - ITEM_FIRST_OP] += 5;
    weights[ITEM_compact - ITEM_FIRST_OP] /= 4;
    weights[ITEM_move_client - ITEM_FIRST_OP] /= 4;
    for (size_t i = 0; i < ARRAY_SIZE(weights); i++) {
        total += weights[i];
    }
    for (uint64_t at = between(d, 50, 300); at < d->set->run_ms;
         at += 1 + chance_exp(&d->chance, gap_ms)) {
        kind = draw_op(d, weights, total);
        argument = op_argument(d, kind);
        add(d, at, kind, client, argument, 0);
        if (kind == ITEM_grant) {
            keep_alive_late(d, client, at, argument);
        }
    }
}

static void draw_watches(struct draw *d)
{
    for (uint64_t n = between(d, 0, 4), i = 0; i < n; i++) {
        uint64_t watch = chance_below(&d->chance, SIM_WATCHES_MAX), at = moment(d);

        add(d, at, ITEM_watch, watch,
            one_in(d, 2) ? SIM_KEYS_MAX : chance_below(&d->chance, d->set->keys),
            one_in(d, 3) ? 1000 : between(d, 0, 30));
        if (one_in(d, 3)) {
            add(d, at + between(d, 10, 1000), ITEM_watch_stall, watch, between(d, 50, 1500), 0);
        }
    }
}

/* ---- settings ---- */

static uint64_t draw_members(struct draw *d)
{
    static const uint8_t sizes[] = {1, 2, 3, 3, 3, 3, 3, 3, 3, 3, 4, 4, 5, 5, 5, 5, 5, 6, 7};

    return sizes[chance_below(&d->chance, sizeof(sizes))];
}

static void draw_settings(struct draw *d)
{
    struct settings *s = d->set;

    s->members = draw_members(d);
    s->clients = between(d, 1, CLIENTS_DRAWN_MAX);
    s->keys = between(d, 1, 5);
    s->run_ms = between(d, 1000, 4000);
    s->heartbeat_ms = between(d, 20, 60);
    s->election_ticks = between(d, 3, 10);
    s->snapshot_count = one_in(d, 4) ? 1000 : between(d, 5, 50);
    s->snapshot_keep = between(d, 0, 20);
    s->segment_bytes = one_in(d, 4) ? 65536 : 16384;
    s->quota_bytes = one_in(d, 20) ? between(d, 4000, 40000) : UINT64_C(1) << 30;
    s->turn_us = between(d, 5, 300);
    s->latency_us = between(d, 50, 3000);
    s->latency_spread = one_in(d, 3) ? between(d, 2, 10) : 1;
    s->fifo = !one_in(d, 3);
    s->loss_permille = one_in(d, 2) ? 0 : between(d, 1, 300);
    s->repeat_permille = one_in(d, 2) ? 0 : between(d, 1, 500);
    s->disk_us = between(d, 20, 4000);
    s->slow_permille = one_in(d, 3) ? between(d, 1, 50) : 0;
    s->clock_permille = one_in(d, 2) ? 0 : between(d, 1, 200);
    s->stream_window = between(d, 1, 8000);
    s->client_ms = between(d, 150, 3000);
    s->value_bytes = one_in(d, 4) ? between(d, 100, 3000) : between(d, 1, 100);
    s->buggify = !one_in(d, 4);
    s->core_mask = one_in(d, 2) ? UINT64_MAX : chance_next(&d->chance);
    s->spares = one_in(d, 3) ? between(d, 1, MIN(SIM_MEMBERS_MAX - s->members, 3ul)) : 0;
    s->core_mask &= (UINT64_C(1) << (s->members + s->spares)) - 1;
    s->lose_all = one_in(d, 3);
}

void plan_draw(uint64_t seed, struct plan *ret)
{
    struct draw d = {.plan = ret, .set = &ret->set, .chance = chance_of(seed, 3)};
    bool is_deposed, is_forgetful; /* scenarios that most faults would spoil */

    *ret = (struct plan){.set = {.seed = seed}};
    draw_settings(&d);
    for (uint64_t i = 0; i < d.set->clients; i++) {
        draw_client(&d, i);
    }
    draw_watches(&d);
    d.chance = chance_of(seed, 5);
    is_deposed = chance_permille(&d.chance, DEPOSED_PERMILLE);
    is_forgetful = !is_deposed && d.set->members > 2 && d.set->spares == 0 &&
        chance_permille(&d.chance, FORGETFUL_PERMILLE);
    d.chance = chance_of(seed, 4);
    draw_faults(&d, is_deposed || is_forgetful ? CLASS_PERMILLE / 4 : CLASS_PERMILLE);
    if (is_deposed) {
        ask_deposed(&d);
    } else if (is_forgetful) {
        ask_forgetful(&d);
    }
    draw_changes(&d);
    plan_sort(ret);
}
