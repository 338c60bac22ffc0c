/* A member's process: it opens its disk, is fed, dies in one of many ways. Its core runs inside
 * member_input and nowhere else, so that a fatal error can leave it there. */
#include "world.h"

#include <errno.h>
#include <stdio.h>

#include "buggify.h"
#include "wal_internal.h"

enum { SLOW_TIMES = 100, WRITE_MAX_MS = 3000 };

/* ---- the world that a core asks ---- */

static uint64_t env_now(void *data)
{
    const struct member *m = data;

    return (SIM_S + m->w->now_us) * m->clock_permille / 1000 / SIM_MS;
}

static uint64_t env_random(void *data)
{
    return chance_next(&((struct member *)data)->chance);
}

static void want_turn(struct member *m)
{
    struct world *w = m->w;

    if (!m->turn_due) {
        m->turn_due = true;
        world_push(w,
            (struct event){.at_us = w->now_us + 1 + chance_exp(&w->disk, w->set.turn_us),
                .kind = EVENT_TURN,
                .to = m->i,
                .life = m->life});
    }
}

static void env_wake(void *data _unused_) {} /* looked at after every input */

static void env_metrics(void *data _unused_, struct store_metrics *ret)
{
    ret->n_peers = 0;
}

static void env_members_changed(void *data _unused_) {}

static void env_memory_freed(void *data _unused_) {}

/* ---- the disk ---- */

static bool disk_has_work(const struct wal *wal, bool after_disk)
{
    return !list_empty(&wal->queue) || !list_empty(&wal->done) || wal->keeper_asked ||
        !list_empty(&wal->snaps_aborting) ||
        (wal->snap != NULL && (!after_disk || snap_writer_queued(wal->snap) > 0));
}

static size_t queued(const struct wal *wal)
{
    size_t n = 0;

    list_for_each (it, &wal->queue) {
        n++;
    }
    return n;
}

/* What has come while the disk was busy is its next write: so one batch is done while others are
 * under way (R29). A disk that may have no room gets all at once, since the log puts back what it
 * could not write. */
static void write_what_was_taken(struct member *m)
{
    struct wal *wal = m->core->wal;
    struct list later, since;

    list_init(&later);
    list_init(&since);
    for (size_t n = queued(wal); n > m->disk_takes && !m->may_refuse; n--) {
        struct list *last = wal->queue.prev;

        list_del(last);
        list_add_head(&later, last);
    }
    core_disk(m->core);
    list_splice_tail(&since, &wal->queue);
    list_splice_tail(&wal->queue, &later);
    list_splice_tail(&wal->queue, &since);
}

static void want_disk(struct member *m, bool after_disk)
{
    struct world *w = m->w;
    uint64_t us;

    if (m->disk_due || !disk_has_work(m->core->wal, after_disk)) {
        return;
    }
    us = 1 + chance_exp(&w->disk, w->set.disk_us);
    us *= chance_permille(&w->disk, w->set.slow_permille) ? SLOW_TIMES : 1;
    us *=
        m->core->recv.state == RECV_FINISHING && BUGGIFY("received_snapshot_slow") ? SLOW_TIMES : 1;
    us *= m->slow_until > w->now_us ? MAX(m->slow_factor, (uint64_t)1) : 1;
    m->disk_due = true;
    m->disk_takes = queued(m->core->wal);
    world_push(w,
        (struct event){.at_us = MAX(w->now_us, m->hung_until) + MIN(us, WRITE_MAX_MS * SIM_MS),
            .kind = EVENT_DISK,
            .to = m->i,
            .life = m->life});
}

/* ---- running the core ---- */

static void perform(struct member *m, struct input *in)
{
    struct store *core = m->core;

    switch (in->kind) {
    case INPUT_TICK:
        core_tick(core);
        break;
    case INPUT_TURN:
        in->rc = core_turn(core);
        break;
    case INPUT_DISK:
        write_what_was_taken(m);
        break;
    case INPUT_FRAME:
        core_frame(core, in->from, in->body);
        break;
    case INPUT_UNREACHABLE:
        core_unreachable(core, in->from);
        break;
    case INPUT_LINK_LOST:
        core_link_lost(core, in->from);
        break;
    case INPUT_STREAM_READY:
        core_stream_ready(core, in->from);
        break;
    case INPUT_STREAM_REPLY:
        core_stream_reply(core, in->from, in->body);
        break;
    case INPUT_STREAM_DOWN:
        core_stream_down(core, in->from, "the link broke");
        break;
    case INPUT_STREAM_FRAME:
        in->rc = core_stream_frame(core, in->from, in->body);
        break;
    case INPUT_STREAM_CUT:
        core_stream_cut(core, in->from);
        break;
    case INPUT_HAND_OVER:
        in->rc = core_hand_over(core);
        break;
    case INPUT_SUBMIT:
        store_submit(core, in->call);
        break;
    case INPUT_OPEN:
        in->rc = core_open(in->options, &m->env, &m->core, in->err);
        break;
    case INPUT_CLOSE:
        core_stop(core);
        m->core = core_close(core);
        break;
    }
}

/* Every process that ends leaves this behind. */
static void gone(struct member *m)
{
    m->core = NULL;
    m->state = MEMBER_DOWN;
    m->life++;
    m->turn_due = m->disk_due = m->stopping = m->dying = false;
    m->paused_until = 0;
    m->observer.ops = NULL;
}

/* Its process ended itself because of its disk. The core cannot be taken down from here: it stays
 * in memory, as the old disk does, whose files it holds open. */
static void died(struct member *m)
{
    struct world *w = m->w;

    if (strstr(w->fatal, " failed: ") == NULL) {
        world_fail(w, "assertion: %s: %s", m->name, w->fatal);
    }
    world_trace(w, "%s died: %s", m->name, w->fatal);
    w->counts.fatals++;
    m->core = NULL;
    net_on_gone(w, m->i, false);
    clients_on_gone(w, m);
    watches_on_gone(w, m);
    operator_on_gone(w, m);
    m->mem = wal_mem_is_dead(m->mem) ? wal_mem_survivor(m->mem)
                                     : wal_mem_power_cut(m->mem, WAL_MEM_KILL);
    gone(m);
}

static bool run_inside(struct member *m, struct input *in)
{
    struct world *w = m->w;
    bool lives = true;

    decree_assert(w->inside == NULL);
    w->inside = m;
    wal_mem_set_clock(m->mem, env_now(m) * 1000000);
    if (setjmp(w->inside_env) == 0) {
        perform(m, in);
        w->inside = NULL;
        return true;
    }
    lives = false;
    w->inside = NULL;
    died(m);
    return lives;
}

void member_poke(struct member *m)
{
    if (member_is_up(m) && core_is_dirty(m->core)) {
        want_turn(m);
    }
}

bool member_input(struct member *m, struct input *in)
{
    if (!run_inside(m, in)) {
        return false;
    }
    if (wal_mem_is_dead(m->mem)) {
        member_crash(m, 0);
        return false;
    }
    check_member(m);
    want_disk(m, in->kind == INPUT_DISK);
    if (core_is_dirty(m->core) || (in->kind == INPUT_TURN && in->rc != 0)) {
        want_turn(m);
    }
    if (in->kind == INPUT_TURN && core_was_removed(m->core)) {
        operator_removed(m);
        return false;
    }
    if (in->kind == INPUT_TURN && core_is_unknown_to(m->core) != 0) {
        operator_denied(m);
        return false;
    }
    return true;
}

/* ---- life ---- */

static uint64_t new_incarnation(struct member *m)
{
    return chance_next(&m->chance) | 1;
}

static void found(struct world *w)
{
    _cleanup_strbuf_ struct strbuf list = {0};
    int rc;

    for (size_t i = 0; i < w->set.members; i++) {
        strbuf_printf(&list, "%sm%zu=http://h%zu:2380", i == 0 ? "" : ",", i, i);
    }
    rc = members_parse(strbuf_cstr(&list), "t", &w->founders, NULL);
    decree_assert(rc == 0);
    for (size_t i = 0; i < w->founders.n; i++) {
        w->conf.members[w->conf.n++] = (struct raft_member){.id = w->founders.list[i].id};
    }
}

void member_init(struct world *w, uint32_t i)
{
    struct member *m = &w->members[i];

    if (w->founders.n == 0) {
        found(w);
    }
    m->w = w;
    m->i = i;
    (void)snprintf(m->name, sizeof(m->name), "m%u", i);
    m->joins = i >= w->set.members;
    m->id = m->joins ? 0 : members_find_name(&w->founders, m->name)->id;
    m->chance = chance_of(w->set.seed, 100 + i);
    m->incarnation = new_incarnation(m);
    m->clock_permille =
        chance_between(&m->chance, 1000 - w->set.clock_permille, 1000 + w->set.clock_permille);
    m->mem = wal_mem_new(chance_next(&m->chance));
    m->env = (struct core_env){.data = m,
        .now_ms = env_now,
        .random = env_random,
        .wake = env_wake,
        .metrics = env_metrics,
        .members_changed = env_members_changed,
        .memory_freed = env_memory_freed};
    net_bind(m);
}

void member_renew(struct member *m)
{
    decree_assert(m->core == NULL);
    wal_mem_free(m->mem);
    m->mem = wal_mem_new(chance_next(&m->chance));
    m->incarnation = new_incarnation(m);
    m->id = 0;
    m->joins = true;
    m->removed = m->vouched = false;
    m->acked = m->stable = (struct raft_entry_id){0};
    view_deinit(&m->view);
    if (m->votes != NULL) {
        memset(m->votes, 0, m->votes_cap * sizeof(*m->votes));
    }
}

static void close_core(struct member *m)
{
    struct input in = {.kind = INPUT_CLOSE};

    watches_on_gone(m->w, m);
    if (m->observer.ops != NULL) {
        store_watch_remove(m->core, &m->observer);
    }
    (void)run_inside(m, &in);
}

void member_deinit(struct member *m)
{
    if (m->core != NULL) {
        m->dying = true;
        close_core(m);
    }
    view_deinit(&m->view);
    view_deinit(&m->lost);
    members_deinit(&m->cluster);
    free(m->votes);
    if (m->mem != NULL && m->core == NULL) {
        wal_mem_free(m->mem);
    }
    wal_mem_free(m->image);
}

/* One that was removed, or that cannot join: nobody answers, or nobody lists it. */
static bool is_refused_well(const struct member *m, int rc)
{
    return (rc == DECREE_EINVALID_CONFIG && (m->joins || operator_is_gone(m->w, m->id))) ||
        (rc == -EHOSTUNREACH && m->joins);
}

static void refused(struct member *m, int rc, const char *why)
{
    struct world *w = m->w;

    m->core = NULL;
    m->life++;
    m->state = MEMBER_DOWN;
    world_trace(w, "%s does not start: %s", m->name, why);
    if (wal_mem_is_dead(m->mem)) {
        m->mem = wal_mem_reborn(m->mem);
    } else if (rc == DECREE_ECORRUPT && m->damaged) {
        m->state = MEMBER_REFUSED;
        w->counts.refusals++;
    } else if (is_refused_well(m, rc)) {
        m->removed = operator_is_gone(w, m->id);
    } else if (rc != -EIO && rc != -ENOSPC) {
        world_fail(w, "restart: %s cannot open its own disk: %s", m->name, why);
    }
}

/* Nobody knew who it would be. */
static void has_joined(struct member *m)
{
    struct world *w = m->w;
    uint64_t id = core_id(m->core);

    if (!m->joins || m->id == id) {
        return;
    }
    for (size_t i = 0; i < w->n; i++) {
        if (w->members[i].id == id) {
            world_fail(w, "membership: %s has joined as %016" PRIx64 ", which is %s's id", m->name,
                id, w->members[i].name);
        }
    }
    m->id = id;
    w->counts.joined++;
}

static void opened(struct member *m)
{
    struct world *w = m->w;

    m->state = MEMBER_UP;
    m->life++;
    has_joined(m);
    w->counts.came_back_removed += m->removed;
    m->removed = false;
    core_set_incarnation(m->core, m->incarnation);
    check_opened(m);
    view_open(m);
    truth_observe(m);
    world_push(w,
        (struct event){.at_us = w->now_us + w->set.heartbeat_ms * SIM_MS * 1000 / m->clock_permille,
            .kind = EVENT_TICK,
            .to = m->i,
            .life = m->life});
    want_turn(m);
    want_disk(m, false);
}

void member_start(struct member *m)
{
    struct world *w = m->w;
    const char *url = "http://c:2379";
    _cleanup_err_ struct err err = {0};
    struct core_options o = {.name = m->name,
        .data_dir = "mem",
        .founders = m->joins ? &m->cluster : &w->founders,
        .existing = m->joins,
        .join = operator_on_join,
        .join_data = m,
        .token = "t",
        .client_urls = &url,
        .n_client_urls = 1,
        .heartbeat_ms = (unsigned)w->set.heartbeat_ms,
        .election_ticks = (unsigned)w->set.election_ticks,
        .snapshot_count = w->set.snapshot_count,
        .snapshot_keep = w->set.snapshot_keep,
        .quota_bytes = w->set.quota_bytes,
        .segment_bytes = (size_t)w->set.segment_bytes,
        .disk = wal_mem_disk(m->mem)};
    struct input in = {.kind = INPUT_OPEN, .options = &o, .err = &err};

    if (m->state != MEMBER_DOWN || !operator_prepare(m)) {
        return;
    }
    world_trace(w, "start %s", m->name);
    if (!run_inside(m, &in)) {
        return;
    }
    if (in.rc < 0) {
        refused(m, in.rc, err.text != NULL ? err.text : err_text(in.rc));
    } else if (wal_mem_is_dead(m->mem)) {
        m->state = MEMBER_UP;
        member_crash(m, 0);
    } else {
        opened(m);
    }
}

void member_crash(struct member *m, unsigned keep)
{
    struct world *w = m->w;
    struct wal_mem *after = NULL;

    if (m->state != MEMBER_UP) {
        return;
    }
    world_trace(w, "%s crashes", m->name);
    m->dying = true;
    if (!wal_mem_is_dead(m->mem)) {
        after = wal_mem_power_cut(m->mem, keep);
    }
    net_on_gone(w, m->i, keep != WAL_MEM_KILL);
    close_core(m);
    if (m->state != MEMBER_UP) { /* its disk failed once more while it was closed */
        wal_mem_free(after);
        return;
    }
    if (after != NULL) {
        wal_mem_free(m->mem);
        m->mem = after;
    } else {
        m->mem = wal_mem_reborn(m->mem);
    }
    gone(m);
}

void member_stop(struct member *m)
{
    struct world *w = m->w;

    if (m->state != MEMBER_UP) {
        return;
    }
    wal_mem_on_sync(m->mem, NULL, NULL);
    close_core(m);
    if (m->state != MEMBER_UP) {
        return;
    }
    net_on_gone(w, m->i, false);
    m->vouched = !wal_mem_is_dead(m->mem);
    if (!m->vouched) {
        m->mem = wal_mem_reborn(m->mem);
    }
    gone(m);
}

void member_pause(struct member *m, uint64_t until_us)
{
    m->paused_until = MAX(m->paused_until, until_us);
}
