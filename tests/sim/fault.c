/* Faults of the plan. One that makes no sense when its time comes does nothing. */
#include "world.h"

#include <errno.h>
#include <stdio.h>

#include "codec.h"
#include "wal_record.h"
#include "wal_segment.h"

enum { SECTOR = 512 };

/* ---- damage to a disk that nobody has open ---- */

/* The others hold all that it may ever have promised: what is durable with it, committed or not
 * yet, is with a majority without it, so that no correct cluster can lose anything by its loss.
 * Never where members are changed as well: two losses at once are more than is promised. */
static bool is_dispensable(const struct member *m)
{
    const struct world *w = m->w;
    size_t whole = 0;

    if (w->set.spares != 0) {
        return false; /* the next change may take away those that are whole */
    }
    for (size_t i = 0; i < w->n; i++) {
        const struct member *o = &w->members[i];

        whole += o != m && !o->damaged && o->state != MEMBER_REFUSED &&
            view_last(&o->view) >= MAX(w->commit, view_last(&m->view)) &&
            view_hard_term(&o->view) >= view_hard_term(&m->view);
    }
    return whole * 2 > w->n;
}

struct pick {
    uint64_t n, skip;
    enum wal_folder folder;
    char name[64];
};

static void count_file(
    void *data, enum wal_folder folder, const char *name, uint64_t number, struct bytes now)
{
    struct pick *p = data;
    uint64_t seq;
    bool is_read = folder == WAL_FOLDER_SNAP || wal_segment_parse(name, &seq) == WAL_NAME_SEGMENT;

    (void)number;
    if (!is_read || now.len == 0) {
        return;
    }
    if (p->n++ == p->skip) {
        p->folder = folder;
        (void)snprintf(p->name, sizeof(p->name), "%s", name);
    }
}

static struct strbuf *pick_file(struct member *m, uint64_t which, struct pick *p)
{
    *p = (struct pick){.skip = UINT64_MAX};
    wal_mem_files(m->mem, count_file, p);
    if (p->n == 0) {
        return NULL;
    }
    p->skip = which % p->n;
    p->n = 0;
    wal_mem_files(m->mem, count_file, p);
    return wal_mem_bytes(m->mem, p->folder, p->name);
}

/* Durable as well: a copy of the disk is put in its place. */
static void replace_disk(struct member *m)
{
    struct wal_mem *copy = wal_mem_clone(m->mem);

    wal_mem_free(m->mem);
    m->mem = copy;
    m->damaged = true;
}

/* Where there are records, not in the zeros behind them. */
static size_t used_bytes(const struct strbuf *b)
{
    size_t n = b->len;

    while (n > 1 && b->data[n - 1] == 0) {
        n--;
    }
    return n;
}

static bool flip(struct member *m, const struct item *x)
{
    struct pick p;
    struct strbuf *b = pick_file(m, x->args[1], &p);
    uint64_t bit;

    if (b == NULL) {
        return false;
    }
    bit = x->args[2] % (used_bytes(b) * 8);
    b->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    world_trace(m->w, "  bit %" PRIu64 " of byte %" PRIu64 " in %s", bit % 8, bit / 8, p.name);
    replace_disk(m);
    return true;
}

enum { RECORDS_MAX = 512, AT_SALT = 24 /* in a segment's header page: wal_segment.c */ };

struct place {
    size_t at, size;
};

/* The records of a segment, as far as they can be read. */
static size_t find_records(struct bytes b, struct place places[RECORDS_MAX])
{
    uint64_t salt = b.len > WAL_RECORDS_START ? get_u64(b.data + AT_SALT) : 0;
    size_t n = 0, at = WAL_RECORDS_START;
    struct wal_record r;

    while (n < RECORDS_MAX && at + WAL_RECORD_HEADER_BYTES <= b.len &&
        wal_record_decode_header(b.data + at, salt, at, &r)) {
        places[n++] = (struct place){at, wal_record_size(r.body.len)};
        at += wal_record_size(r.body.len);
    }
    return n;
}

/* A write that went astray: one record of a segment lies over another one of its size (F13). */
static bool move_record(struct member *m, const struct item *x)
{
    struct place places[RECORDS_MAX];
    struct pick p;
    struct strbuf *b = pick_file(m, x->args[1], &p);
    size_t n = b != NULL && p.folder == WAL_FOLDER_LOG ? find_records(strbuf_bytes(b), places) : 0;
    size_t from = n != 0 ? x->args[1] % n : 0;

    for (size_t i = 0; i < n; i++) {
        size_t to = (x->args[2] + i) % n;

        if (to != from && places[to].size == places[from].size &&
            places[to].at + places[to].size <= b->len) {
            memcpy(b->data + places[to].at, b->data + places[from].at, places[from].size);
            replace_disk(m);
            return true;
        }
    }
    return false;
}

/* The same of one sector of a file. */
static bool move_sector(struct member *m, const struct item *x)
{
    struct pick p;
    struct strbuf *b = pick_file(m, x->args[1], &p);
    size_t sectors, from, to;

    if (b == NULL || used_bytes(b) < 2 * SECTOR) {
        return false;
    }
    sectors = used_bytes(b) / SECTOR;
    from = x->args[1] % sectors;
    to = x->args[2] % sectors;
    if (memcmp(b->data + to * SECTOR, b->data + from * SECTOR, SECTOR) == 0) {
        return false;
    }
    memcpy(b->data + to * SECTOR, b->data + from * SECTOR, SECTOR);
    replace_disk(m);
    m->vouched = false; /* the mark that vouches may have been in that sector */
    return true;
}

static bool damage(struct member *m, const struct item *x)
{
    if (m->state != MEMBER_DOWN || m->damaged || !is_dispensable(m)) {
        return false;
    }
    if (x->kind == ITEM_flip) {
        return flip(m, x);
    }
    return x->args[2] % 2 == 0 ? move_record(m, x) : move_sector(m, x);
}

/* It has forgotten acknowledgements and votes; connections of before are gone. */
static void begin_anew(struct member *m)
{
    m->damaged = m->forgot = true;
    m->acked = m->stable = (struct raft_entry_id){0};
    m->vouched = false;
    if (m->votes != NULL) {
        memset(m->votes, 0, m->votes_cap * sizeof(*m->votes));
    }
    net_purge(m->w, m->i);
}

/* All others must know it by its incarnation, or they could not tell it from itself. */
static bool is_known_to_all(const struct member *m)
{
    const struct world *w = m->w;

    for (size_t i = 0; i < w->n; i++) {
        const struct member *o = &w->members[i];
        const struct store_member *known;

        if (o == m) {
            continue;
        }
        if (!member_is_up(o)) {
            return false;
        }
        known = members_find(core_members(o->core), m->id);
        if (known == NULL || known->incarnation != m->incarnation) {
            return false;
        }
    }
    return true;
}

static bool wipe(struct member *m)
{
    if (m->w->n < 3 || m->damaged || !is_dispensable(m) || !is_known_to_all(m)) {
        return false;
    }
    member_crash(m, 0);
    if (m->state != MEMBER_DOWN) {
        return false;
    }
    wal_mem_free(m->mem);
    m->mem = wal_mem_new(chance_next(&m->chance));
    m->incarnation = chance_next(&m->chance) | 1;
    begin_anew(m);
    return true;
}

static bool take_image(struct member *m)
{
    if (m->state == MEMBER_REFUSED || m->damaged) {
        return false;
    }
    wal_mem_free(m->image);
    m->image = wal_mem_power_cut(m->mem, WAL_MEM_KILL);
    return true;
}

/* Everybody else follows one leader of one term: no vote of that term or before can matter. */
static bool is_calm_without(const struct member *m)
{
    const struct world *w = m->w;
    const struct store *first = NULL;

    for (size_t i = 0; i < w->n; i++) {
        const struct member *o = &w->members[i];

        if (o == m) {
            continue;
        }
        if (!member_is_up(o) || o->core->status.leader == RAFT_NONE ||
            o->core->status.leader == m->id || o->damaged) {
            return false;
        }
        first = first != NULL ? first : o->core;
        if (o->core->status.leader != first->status.leader ||
            o->core->status.term != first->status.term) {
            return false;
        }
    }
    return first != NULL;
}

/* It has forgotten acknowledgements and votes. Where the others do not need them any more, nothing
 * may come of it. */
static bool restore_image(struct member *m)
{
    if (m->image == NULL || m->w->n < 3 || m->damaged || !is_dispensable(m) ||
        !is_calm_without(m)) {
        return false;
    }
    member_crash(m, 0);
    if (m->state != MEMBER_DOWN) {
        return false;
    }
    wal_mem_free(m->mem);
    m->mem = TAKE_PTR(m->image);
    begin_anew(m);
    m->forgot = false; /* the leader notices it, and the others give it what it lacks */
    return true;
}

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
    case ITEM_flip:
    case ITEM_move_sector:
        return damage(m, x);
    case ITEM_wipe:
        return wipe(m);
    case ITEM_image:
        return take_image(m);
    case ITEM_old_image:
        return restore_image(m);
    default:
        return false;
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
