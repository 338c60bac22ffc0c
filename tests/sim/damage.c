/* Disks that lose or change what was durable on them: a flipped bit, a write that went astray, the
 * end of a log gone, all of it gone, an old image come back. Two rules say where a plan may do so,
 * since what nobody promises to survive proves nothing: the others hold what is lost, or the member
 * notices it and few enough are damaged at a time. */
#include "world.h"

#include <stdio.h>

#include "codec.h"
#include "wal_record.h"
#include "wal_segment.h"

enum { SECTOR = 512 };

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

/* Any other may lose what its log says it had: it notices, and the others repair it as long as no
 * more of them are damaged than the cluster can lose. What it had promised they need not hold. */
static bool is_repairable(const struct member *m)
{
    const struct world *w = m->w;
    size_t damaged = 1;

    for (size_t i = 0; i < w->n; i++) {
        damaged += w->members[i].damaged;
    }
    return w->set.spares == 0 && m->vouched && damaged <= (w->n - 1) / 2;
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
    m->repairing = false;
    view_copy_entries(&m->view, &m->lost);
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

enum { RECORDS_MAX = 2048, AT_SALT = 24 /* in a segment's header page: wal_segment.c */ };

struct place {
    size_t at, size;
    enum wal_record_type type;
};

/* The records of a segment, as far as they can be read. */
static size_t find_records(struct bytes b, struct place places[RECORDS_MAX])
{
    uint64_t salt = b.len > WAL_RECORDS_START ? get_u64(b.data + AT_SALT) : 0;
    size_t n = 0, at = WAL_RECORDS_START;
    uint32_t epoch = 0; /* remains of an older one may lie behind */
    struct wal_record r;

    while (n < RECORDS_MAX && at + WAL_RECORD_HEADER_BYTES <= b.len &&
        wal_record_decode_header(b.data + at, salt, at, &r) && r.epoch >= epoch) {
        epoch = r.epoch;
        places[n++] = (struct place){at, wal_record_size(r.body.len), r.type};
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

struct newest {
    uint64_t seq;
    char name[64];
};

static void find_newest(
    void *data, enum wal_folder folder, const char *name, uint64_t number, struct bytes now)
{
    struct newest *newest = data;
    struct place places[RECORDS_MAX];
    uint64_t seq;

    (void)number;
    if (folder == WAL_FOLDER_LOG && wal_segment_parse(name, &seq) == WAL_NAME_SEGMENT &&
        seq >= newest->seq && find_records(now, places) != 0) {
        newest->seq = seq;
        (void)snprintf(newest->name, sizeof(newest->name), "%s", name);
    }
}

/* The newest records are gone, terms, votes and acknowledged entries, but for the mark that tells
 * how far the log had been durable. */
static bool lose(struct member *m, const struct item *x)
{
    struct place places[RECORDS_MAX];
    struct newest newest = {0};
    struct strbuf *b;
    size_t n, from;

    wal_mem_files(m->mem, find_newest, &newest);
    b = newest.name[0] != 0 ? wal_mem_bytes(m->mem, WAL_FOLDER_LOG, newest.name) : NULL;
    n = b != NULL ? find_records(strbuf_bytes(b), places) : 0;
    if (!m->vouched || n < 3 || n == RECORDS_MAX || places[n - 1].type != WAL_RECORD_MARK) {
        return false;
    }
    from = n - 2 - MIN((size_t)x->args[1], n - 3); /* the head stays */
    memset(b->data + places[from].at, 0, places[n - 1].at - places[from].at);
    replace_disk(m);
    return true;
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
    bool is_moved_sector = x->kind == ITEM_move_sector && x->args[2] % 2 != 0;

    if (m->state != MEMBER_DOWN || m->damaged ||
        !(is_dispensable(m) || (is_repairable(m) && !is_moved_sector))) {
        return false;
    }
    switch (x->kind) {
    case ITEM_flip:
        return flip(m, x);
    case ITEM_lose:
        return lose(m, x);
    default:
        return is_moved_sector ? move_sector(m, x) : move_record(m, x);
    }
}

/* It has forgotten acknowledgements and votes; connections of before are gone. */
static void begin_anew(struct member *m)
{
    m->damaged = m->forgot = true;
    m->repairing = false;
    view_copy_entries(&m->view, &m->lost);
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

bool damage_do(struct member *m, const struct item *x)
{
    switch (x->kind) {
    case ITEM_flip:
    case ITEM_move_sector:
    case ITEM_lose:
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
