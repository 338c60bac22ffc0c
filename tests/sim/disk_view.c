/* What is durable of a member's log, read from the bytes that each sync left on its disk and
 * from nothing that the member says. So a promise that runs ahead of the disk is seen at once, and
 * not only when a power cut happens to come at the right moment. */
#include "world.h"

#include "codec.h"
#include "raft_internal.h"
#include "wal_record.h"
#include "wal_segment.h"

void view_deinit(struct disk_view *v)
{
    free(v->terms);
    *v = (struct disk_view){0};
}

void view_copy_entries(const struct disk_view *v, struct disk_view *ret)
{
    view_deinit(ret);
    *ret = (struct disk_view){.base = v->base, .base_term = v->base_term, .n = v->n, .cap = v->n};
    if (v->n != 0) {
        ret->terms = xreallocarray(NULL, v->n, sizeof(*ret->terms));
        memcpy(ret->terms, v->terms, v->n * sizeof(*ret->terms));
    }
}

uint64_t view_term_of(const struct disk_view *v, uint64_t index)
{
    if (index == v->base) {
        return v->base_term;
    }
    return index > v->base && index <= view_last(v) ? v->terms[index - v->base - 1] : 0;
}

uint64_t view_hard_term(const struct disk_view *v)
{
    return MAX(v->term, view_term_of(v, view_last(v)));
}

static void put_entry(struct disk_view *v, uint64_t index, uint64_t term)
{
    size_t at = (size_t)(index - v->base - 1);

    if (index <= v->base || index > view_last(v) + 1) {
        return; /* below a snapshot, or after a reset that is not durable yet */
    }
    if (at == v->cap) {
        v->cap = v->cap * 2 + 64;
        v->terms = xreallocarray(v->terms, v->cap, sizeof(*v->terms));
    }
    v->terms[at] = term;
    v->n = at + 1;
}

static void fold(struct disk_view *v, const struct wal_record *r)
{
    switch (r->type) {
    case WAL_RECORD_HEAD:
    case WAL_RECORD_HARD:
        v->term = r->term;
        v->vote = r->index;
        v->repairing = (r->entry_type & WAL_HARD_REPAIRING) != 0;
        break;
    case WAL_RECORD_ENTRY:
        put_entry(v, r->index, r->term);
        break;
    case WAL_RECORD_RESET:
        if (view_term_of(v, r->index) != r->term) {
            v->reset_at = r->index;
        }
        v->base = r->index;
        v->base_term = r->term;
        v->n = 0;
        break;
    default:
        break;
    }
}

static struct view_file *file_of(struct disk_view *v, uint64_t number)
{
    for (size_t i = 0; i < v->n_files; i++) {
        if (v->files[i].number == number) {
            return &v->files[i];
        }
    }
    if (v->n_files == VIEW_FILES_MAX) { /* the oldest are gone from the disk */
        memmove(v->files, v->files + 1, --v->n_files * sizeof(*v->files));
    }
    v->files[v->n_files] = (struct view_file){.number = number};
    return &v->files[v->n_files++];
}

/* New records of a file; into: NULL when they are known already and only passed over. */
static void read_on(struct disk_view *v, uint64_t number, struct bytes b, struct disk_view *into)
{
    struct view_file *f = file_of(v, number);
    struct wal_record r;
    uint64_t salt;

    if (b.len < WAL_RECORDS_START) {
        return;
    }
    if (wal_segment_salt(b, &salt) && (f->at == 0 || f->salt != salt)) {
        f->salt = salt;
        f->at = WAL_RECORDS_START;
    }
    if (f->at == 0) {
        return;
    }
    while (f->at + WAL_RECORD_HEADER_BYTES <= b.len &&
        wal_record_decode_header(b.data + f->at, f->salt, f->at, &r) && r.epoch >= v->epoch) {
        size_t size = wal_record_size(r.body.len);

        if (f->at + size > b.len || !wal_record_check_body(b.data + f->at, size, f->salt, f->at)) {
            return;
        }
        v->epoch = r.epoch;
        f->at += size;
        if (into != NULL) {
            fold(into, &r);
        }
    }
}

static void view_on_sync(void *data, uint64_t file, struct bytes durable)
{
    struct member *m = data;

    if (!wal_mem_is_dead(m->mem)) {
        read_on(&m->view, file, durable, &m->view);
    }
}

struct positions {
    struct disk_view *v;
    uint64_t seq; /* the next one after this */
    uint64_t found, file;
    struct bytes bytes;
};

static void next_segment(
    void *data, enum wal_folder folder, const char *name, uint64_t file, struct bytes now)
{
    struct positions *p = data;
    uint64_t seq;

    if (folder == WAL_FOLDER_LOG && wal_segment_parse(name, &seq) == WAL_NAME_SEGMENT &&
        seq > p->seq && seq < p->found) {
        p->found = seq;
        p->file = file;
        p->bytes = now;
    }
}

/* Where in each segment the next record goes. Remains of an older epoch lie behind some. */
static void find_positions(struct member *m)
{
    struct positions p = {.v = &m->view};

    m->view.n_files = 0;
    m->view.epoch = 0;
    do {
        p.found = UINT64_MAX;
        wal_mem_files(m->mem, next_segment, &p);
        if (p.found != UINT64_MAX) {
            p.seq = p.found;
            read_on(&m->view, p.file, p.bytes, NULL);
        }
    } while (p.found != UINT64_MAX);
}

void view_open(struct member *m)
{
    const struct raft *r = m->core->raft;
    struct disk_view *v = &m->view;

    find_positions(m);
    v->term = r->term;
    v->vote = r->vote;
    v->repairing = raft_is_repairing(r);
    v->base = r->log.before.index;
    v->base_term = r->log.before.term;
    v->n = 0;
    if (core_is_new(m->core)) {
        v->term = 0; /* its first batch is still on the way */
    } else {
        for (uint64_t i = raft_log_first(&r->log); i <= raft_log_last(&r->log); i++) {
            put_entry(v, i, raft_log_at(&r->log, i)->id.term);
        }
    }
    wal_mem_on_sync(m->mem, view_on_sync, m);
}
