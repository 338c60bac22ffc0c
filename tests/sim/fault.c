/* Faults of the plan. One that makes no sense when its time comes does nothing. */
#include "world.h"

#include <errno.h>

/* ---- network ---- */

static void cut(struct world *w, size_t from, size_t to, int by)
{
    struct link *l = &w->links[from][to];

    if (from == to || (by < 0 && l->cuts == 0)) {
        return;
    }
    l->cuts += (unsigned)by;
    l->up_since_us = w->now_us;
}

static void partition(struct world *w, uint64_t mask, int by)
{
    for (size_t a = 0; a < w->n; a++) {
        for (size_t b = 0; b < w->n; b++) {
            if ((mask >> a & 1) != (mask >> b & 1)) {
                cut(w, a, b, by);
            }
        }
    }
}

static void isolate(struct world *w, uint64_t member, uint64_t in_out, int by)
{
    for (size_t k = 0; k < w->n; k++) {
        if (in_out & 1) {
            cut(w, k, (size_t)member, by);
        }
        if (in_out & 2) {
            cut(w, (size_t)member, k, by);
        }
    }
}

/* ---- all ---- */

static void choose(struct world *w, uint32_t otherwise)
{
    uint64_t term = 0;

    w->chosen = otherwise;
    for (uint32_t i = 0; i < w->n; i++) {
        const struct member *m = &w->members[i];

        if (member_is_up(m) && m->core->status.leader == m->id && m->core->status.term > term) {
            term = m->core->status.term;
            w->chosen = i;
        }
    }
}

static bool do_process(struct world *w, struct member *m, const struct item *x)
{
    struct input in = {.kind = INPUT_HAND_OVER};

    switch (x->kind) {
    case ITEM_start:
        member_start(m);
        return true;
    case ITEM_pause:
        member_pause(m, w->now_us + x->args[1] * SIM_MS);
        return true;
    default:
        break;
    }
    if (!member_is_up(m)) {
        return false;
    }
    switch (x->kind) {
    case ITEM_kill:
        member_crash(m, WAL_MEM_KILL);
        return true;
    case ITEM_power_cut:
        member_crash(m, (unsigned)(x->args[1] % 101));
        return true;
    case ITEM_die_at:
        wal_mem_die_at(m->mem, x->args[1] + 1, (unsigned)(x->args[2] % 101));
        return true;
    case ITEM_stop:
        m->stopping = true;
        world_push(w,
            (struct event){.at_us = w->now_us + 100 * SIM_MS,
                .kind = EVENT_STOPPED,
                .to = m->i,
                .life = m->life});
        (void)member_input(m, &in);
        return true;
    case ITEM_hand_over:
        return member_input(m, &in) && in.rc != 0;
    default:
        return false;
    }
}

static bool do_disk(struct world *w, struct member *m, const struct item *x)
{
    switch (x->kind) {
    case ITEM_hang:
        m->hung_until = w->now_us + x->args[1] * SIM_MS;
        return true;
    case ITEM_slow:
        m->slow_until = w->now_us + x->args[1] * SIM_MS;
        m->slow_factor = x->args[2];
        return true;
    case ITEM_fail_sync:
        wal_mem_fail_sync_at(m->mem, x->args[1] + 1, -EIO);
        return true;
    case ITEM_fail_op:
        m->may_refuse = true;
        wal_mem_fail_at(m->mem, x->args[1] + 1, -EIO);
        return true;
    case ITEM_full:
        m->may_refuse = true;
        wal_mem_set_capacity(m->mem, wal_mem_used(m->mem) + x->args[1]);
        return true;
    case ITEM_room:
        wal_mem_set_capacity(m->mem, UINT64_MAX);
        return true;
    default:
        return damage_do(m, x);
    }
}

static bool do_link(struct world *w, const struct item *x)
{
    uint32_t a = member_named(w, x->args[0]), b = member_named(w, x->args[1]);

    switch (x->kind) {
    case ITEM_cut:
        cut(w, a, b, 1);
        return a != b;
    case ITEM_heal:
        cut(w, a, b, -1);
        return a != b;
    case ITEM_partition:
        partition(w, x->args[0], 1);
        return true;
    case ITEM_join:
        partition(w, x->args[0], -1);
        return true;
    case ITEM_isolate:
        isolate(w, a, x->args[1], 1);
        return true;
    case ITEM_return:
        isolate(w, a, x->args[1], -1);
        return true;
    case ITEM_clog:
        w->links[a][b].clogged_until = w->now_us + x->args[2] * SIM_MS;
        return true;
    case ITEM_lag:
        w->links[a][b].lag_us = x->args[2] * SIM_MS;
        w->links[a][b].lagged_until = w->now_us + x->args[3] * SIM_MS;
        return a != b;
    case ITEM_filter:
        w->filtered_until[x->args[0] % RAFT_MSG_TYPE_END] = w->now_us + x->args[1] * SIM_MS;
        return true;
    case ITEM_choose:
        choose(w, a);
        return true;
    case ITEM_reset:
        net_reset(w, a, b);
        return a != b;
    case ITEM_stream_cut:
        w->links[a][b].stream.cut_after = x->args[2] + 1;
        return false; /* counted when it happens */
    default:
        return false;
    }
}

void fault_do(struct world *w, const struct item *x)
{
    bool took;

    if (x->kind < ITEM_FIRST_DISK) {
        took = do_process(w, &w->members[member_named(w, x->args[0])], x);
    } else if (x->kind < ITEM_FIRST_LINK) {
        took = do_disk(w, &w->members[member_named(w, x->args[0])], x);
    } else if (x->kind < ITEM_FIRST_CHANGE) {
        took = do_link(w, x);
    } else {
        took = operator_do(w, x);
    }
    w->counts.items[x->kind] += took;
}
