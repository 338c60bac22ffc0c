/* A log with a past, then damage, then a start. The input is a script: first what is done to a log
 * (batches, overwritten tails, votes, restarts, kills, snapshots), then what happens to its bytes
 * (flipped bits, lost and stale and misdirected sectors, noise). What must hold:
 *   - damage below what an intact record vouches for is refused, whatever it is;
 *   - damage beyond that in the last segment never keeps the log from starting;
 *   - a log that starts holds exactly what its records say up to the first damaged one;
 *   - and it goes on: an append and another start give one entry more.
 * The records themselves are found before the damage, so that nothing rests on the code that judges
 * them afterwards. */
#include "fuzz.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "codec.h"
#include "wal.h"
#include "wal_disk_mem.h"
#include "wal_record.h"
#include "wal_segment.h"

enum {
    STEPS_MAX = 24,
    DAMAGES_MAX = 6,
    SEGMENTS_MAX = 64,
    SECTOR = 512,
    ENTRY_TYPE = 3,
};

/* ---- the past ---- */

struct past {
    struct wal_mem *disk;
    struct wal *wal;
    struct wal_recovery rec;
    uint64_t term, last; /* the log's newest */
    uint64_t snapshot;   /* index, 0 = none */
    uint64_t snapshot_term;
    int status;
};

/* Follows from its place, so that it can be checked anywhere. */
static struct buf *payload(uint64_t index, uint64_t term)
{
    struct buf *p = buf_new((size_t)(index * 37 + term * 11) % 300);

    for (size_t i = 0; i < p->len; i++) {
        p->data[i] = (uint8_t)(index * 31 + term * 7 + i);
    }
    return p;
}

static int try_open(struct wal_mem *m, struct wal **ret, struct wal_recovery *rec)
{
    const struct wal_options o = {.dir = "d", .segment_bytes = 16384, .disk = wal_mem_disk(m)};
    _cleanup_err_ struct err e = {0};
    int rc = wal_open(&o, ret, rec, &e);

    decree_assert(rc == 0 || (e.code == rc && e.text != NULL));
    return rc;
}

static void start(struct past *p)
{
    int rc = try_open(p->disk, &p->wal, &p->rec);

    decree_assert(rc == 0);
    if (p->rec.is_new) {
        rc = wal_create(p->wal, (struct wal_identity){1, 1}, NULL);
        decree_assert(rc == 0);
    }
}

static void stop(struct past *p)
{
    p->wal = wal_close(p->wal);
    wal_recovery_deinit(&p->rec);
}

static void on_done(struct wal_append_req *req, int status)
{
    *(int *)req->data = status;
}

static void append(struct past *p, uint64_t first, size_t n, bool has_hard)
{
    struct wal_entry entries[8];
    struct wal_append_req req = {.has_hard = has_hard,
        .term = p->term,
        .vote = 1,
        .entries = entries,
        .n_entries = n,
        .cb = on_done,
        .data = &p->status};

    decree_assert(n <= ARRAY_SIZE(entries));
    for (size_t i = 0; i < n; i++) {
        entries[i] =
            (struct wal_entry){first + i, p->term, ENTRY_TYPE, payload(first + i, p->term)};
    }
    p->status = 1;
    if (wal_append(p->wal, &req) == 0) {
        wal_poll(p->wal);
        decree_assert(p->status == 0);
        p->last = n > 0 ? first + n - 1 : p->last;
    }
    for (size_t i = 0; i < n; i++) {
        buf_unref(entries[i].payload);
    }
}

static void on_snapshot(void *data, int status, const char *text _unused_)
{
    *(int *)data = status;
}

/* Of the newest entry, and the log forgets what lies before. */
static void take_snapshot(struct past *p, uint64_t keep)
{
    struct wal_snapshot_id id = {.index = p->last, .term = p->term};
    struct snap_writer *s = NULL;

    if (p->last <= p->snapshot || snap_writer_open(p->wal, id, BYTES_LITERAL("h"), &s, NULL) < 0) {
        return;
    }
    p->status = 1;
    snap_writer_finish(s, on_snapshot, &p->status);
    wal_poll(p->wal);
    decree_assert(p->status == 0);
    p->snapshot = id.index;
    p->snapshot_term = id.term;
    wal_compact(p->wal, id, id.index + 1 - MIN(keep, id.index));
    wal_poll(p->wal);
}

static void step(struct past *p, uint8_t op, struct dec *d)
{
    uint8_t arg = dec_u8(d);

    switch (op % 8) {
    case 0: /* a new leader replaces the uncommitted tail */
        p->term++;
        append(p, MAX(p->last + 1 - MIN(p->last, (uint64_t)(arg & 7)), p->snapshot + 1), 1, true);
        break;
    case 1:
        p->term += arg & 3;
        append(p, p->last + 1, 0, true);
        break;
    case 2:
        stop(p);
        start(p);
        break;
    case 3: { /* killed: no mark behind the last batch */
        struct wal_mem *copy = wal_mem_clone(p->disk);

        stop(p);
        (void)wal_mem_free(p->disk);
        p->disk = copy;
        start(p);
        break;
    }
    case 4:
        /* Its term is the newest entry's only if that was written in this one. */
        append(p, p->last + 1, 1, false);
        take_snapshot(p, arg & 15);
        break;
    default:
        append(p, p->last + 1, 1 + (arg & 7), false);
        break;
    }
}

/* ---- what lies on the disk ---- */

struct record {
    size_t segment;
    uint64_t at, end;
    struct wal_record r; /* its body is gone */
};

struct image {
    size_t n_segments, n_records;
    char names[SEGMENTS_MAX][WAL_SEGMENT_NAME_MAX];
    struct strbuf before[SEGMENTS_MAX]; /* copies */
    uint64_t ends[SEGMENTS_MAX];        /* where its records end */
    uint64_t prev_end[SEGMENTS_MAX];    /* what its head says of the one before */
    struct record *records;             /* owned, in the order of the log */
    size_t cap_records;
};

static void on_name(void *data, const char *name, uint64_t bytes _unused_)
{
    struct image *im = data;
    uint64_t seq;

    if (wal_segment_parse(name, &seq) == WAL_NAME_SEGMENT && im->n_segments < SEGMENTS_MAX) {
        memcpy(im->names[im->n_segments++], name, strlen(name) + 1);
    }
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void read_records(struct image *im, size_t segment)
{
    struct bytes b = strbuf_bytes(&im->before[segment]);
    uint64_t at = WAL_RECORDS_START;
    uint64_t salt = get_u64(b.data + 24);
    struct record rec = {.segment = segment};
    uint32_t epoch = 0;

    while (at + WAL_RECORD_HEADER_BYTES <= b.len &&
        wal_record_decode_header(b.data + at, salt, at, &rec.r) && rec.r.epoch >= epoch) {
        epoch = rec.r.epoch;
        rec.at = at;
        rec.end = at + wal_record_size(rec.r.body.len);
        if (rec.r.type == WAL_RECORD_HEAD) {
            im->prev_end[segment] = get_u64(b.data + at + WAL_RECORD_HEADER_BYTES + 24);
        }
        if (im->n_records == im->cap_records) {
            im->cap_records = MAX(im->cap_records * 2, (size_t)64);
            im->records = xreallocarray(im->records, im->cap_records, sizeof(*im->records));
        }
        im->records[im->n_records++] = rec;
        at = rec.end;
    }
    im->ends[segment] = at;
}

/* A segment without a head is prepared and not begun: it is left out, and left alone. */
static void image_read(struct image *im, struct wal_mem *m)
{
    struct wal_disk *d = wal_mem_disk(m);

    *im = (struct image){.n_segments = 0};
    (void)d->ops->list(d, WAL_FOLDER_LOG, on_name, im);
    qsort(im->names, im->n_segments, sizeof(im->names[0]), compare_names);
    for (size_t i = 0; i < im->n_segments; i++) {
        strbuf_append_bytes(
            &im->before[i], strbuf_bytes(wal_mem_bytes(m, WAL_FOLDER_LOG, im->names[i])));
        read_records(im, i);
    }
    while (im->n_segments > 0 && im->ends[im->n_segments - 1] == WAL_RECORDS_START) {
        strbuf_deinit(&im->before[--im->n_segments]);
    }
    decree_assert(im->n_segments > 0);
}

static void image_deinit(struct image *im)
{
    for (size_t i = 0; i < im->n_segments; i++) {
        strbuf_deinit(&im->before[i]);
    }
    free(im->records);
}

/* ---- the damage ---- */

/* In the used part of a segment, or a little behind it; its first page too. */
static void damage(struct image *im, struct wal_mem *m, struct dec *d)
{
    uint8_t kind = dec_u8(d);
    size_t segment = im->n_segments - 1 - (dec_u8(d) & 3) % im->n_segments;
    struct strbuf *b = wal_mem_bytes(m, WAL_FOLDER_LOG, im->names[segment]);
    size_t used = MIN((size_t)im->ends[segment] + 600, b->len);
    size_t from_end = (size_t)dec_varint(d) % used;
    size_t at = used - 1 - from_end;
    size_t len = 1 + (size_t)dec_varint(d) % 2048;
    uint32_t x = dec_u32(d);

    len = MIN(len, b->len - at);

    switch (kind % 6) {
    case 0:
        b->data[at] ^= (uint8_t)(1u << (x & 7));
        break;
    case 1: /* never written */
        memset(b->data + at, 0, len);
        break;
    case 2:
        for (size_t i = 0; i < len; i++) {
            x = x * 1664525 + 1013904223;
            b->data[at + i] = (uint8_t)(x >> 24);
        }
        break;
    case 3: /* a sector that went to the wrong place */
        at -= at % SECTOR;
        memmove(b->data + at, b->data + (x % used) / SECTOR * SECTOR, SECTOR);
        break;
    case 4: /* a part that went to the wrong place, aligned as records are */
        at -= at % WAL_RECORD_ALIGN;
        memmove(b->data + at, b->data + (x % used) / WAL_RECORD_ALIGN * WAL_RECORD_ALIGN,
            MIN(len, b->len - MAX(at, (x % used) / WAL_RECORD_ALIGN * WAL_RECORD_ALIGN)));
        break;
    default: { /* a number in a header: length, type, index, term or mark */
        static const uint8_t fields[] = {0, 4, 8, 12, 16, 20, 24, 32, 40};
        const struct record *r = &im->records[im->n_records - 1 - x % im->n_records];

        b = wal_mem_bytes(m, WAL_FOLDER_LOG, im->names[r->segment]);
        b->data[r->at + fields[len % sizeof(fields)]] ^= (uint8_t)(1 + from_end % 255);
        break;
    }
    }
}

static bool is_intact(
    const struct image *im, struct wal_mem *m, size_t segment, uint64_t at, uint64_t n)
{
    const struct strbuf *b = wal_mem_bytes(m, WAL_FOLDER_LOG, im->names[segment]);

    return memcmp(b->data + at, im->before[segment].data + at, (size_t)n) == 0;
}

/* ---- the judgement ---- */

struct expected {
    bool must_refuse; /* an intact record vouches for a damaged one */
    bool may_refuse;  /* what is damaged is not the tail of a batch */
    uint64_t last;    /* the log's last index according to the records before the damage */
    uint64_t term;
};

/* Up to where intact records say that a segment was durable. */
static void find_vouched(const struct image *im, struct wal_mem *m, uint64_t *vouched)
{
    memset(vouched, 0, im->n_segments * sizeof(*vouched));
    for (size_t i = 0; i < im->n_records; i++) {
        const struct record *r = &im->records[i];

        if (!is_intact(im, m, r->segment, r->at, WAL_RECORD_HEADER_BYTES)) {
            continue;
        }
        vouched[r->segment] = MAX(vouched[r->segment], r->r.mark);
        if (r->r.type == WAL_RECORD_HEAD && r->segment > 0 &&
            is_intact(im, m, r->segment, r->at, r->end - r->at)) {
            vouched[r->segment - 1] = im->prev_end[r->segment];
        }
    }
}

static struct expected expect(
    const struct image *im, struct wal_mem *m, struct wal_snapshot_id snapshot)
{
    uint64_t term_there = 0; /* of the log's entry at the snapshot's index */
    struct expected e = {0};
    uint64_t vouched[SEGMENTS_MAX];
    bool damaged = false;

    find_vouched(im, m, vouched);
    for (size_t i = 0; i < im->n_segments; i++) {
        /* Its salt is in its first page: without that nothing in it can be proved. */
        e.may_refuse |= !is_intact(im, m, i, 0, WAL_RECORDS_START);
    }
    for (size_t i = 0; i < im->n_records; i++) {
        const struct record *r = &im->records[i];

        if (!is_intact(im, m, r->segment, r->at, r->end - r->at)) {
            damaged = true;
            e.must_refuse |= r->at < vouched[r->segment];
            e.may_refuse |= r->segment + 1 < im->n_segments || r->r.type == WAL_RECORD_HEAD;
        }
        if (damaged) {
            continue;
        }
        if (r->r.type == WAL_RECORD_ENTRY) {
            e.last = r->r.index;
            term_there = r->r.index > snapshot.index ? term_there
                : r->r.index == snapshot.index       ? r->r.term
                                                     : 0;
        } else if (r->r.type == WAL_RECORD_HEAD) {
            e.last = get_u64(im->before[r->segment].data + r->at + WAL_RECORD_HEADER_BYTES + 32);
        }
    }
    /* A snapshot that is not on the log's line any more takes its place. */
    if (snapshot.index != 0 && e.last >= snapshot.index && term_there != 0 &&
        term_there != snapshot.term) {
        e.last = snapshot.index;
    }
    return e;
}

static void check_entries(const struct wal_recovery *rec)
{
    for (size_t i = 0; i < rec->n_entries; i++) {
        const struct wal_entry *e = &rec->entries[i];
        struct buf *want = payload(e->index, e->term);

        decree_assert(e->index == rec->snapshot.index + 1 + i);
        decree_assert(i == 0 || e->term >= rec->entries[i - 1].term);
        decree_assert(e->type == ENTRY_TYPE);
        decree_assert(bytes_eq(buf_bytes(e->payload), buf_bytes(want)));
        buf_unref(want);
    }
}

static void judge(struct past *p, const struct expected *e)
{
    uint64_t ops = wal_mem_ops(p->disk);
    int rc = try_open(p->disk, &p->wal, &p->rec);

    if (rc != 0) {
        decree_assert(rc == DECREE_ECORRUPT || rc == -ENOTSUP);
        decree_assert(e->must_refuse || e->may_refuse);
        decree_assert(wal_mem_ops(p->disk) == ops); /* "nothing was changed" */
        return;
    }
    decree_assert(!e->must_refuse);
    decree_assert(!p->rec.is_new && p->rec.snapshot.index == p->snapshot);
    check_entries(&p->rec);
    p->last = p->rec.snapshot.index + p->rec.n_entries;
    decree_assert(p->last == MAX(e->last, p->snapshot));
    p->term = UINT32_MAX;
    append(p, p->last + 1, 1, true);
    decree_assert(p->status == 0);
    stop(p);
    start(p);
    decree_assert(p->rec.snapshot.index + p->rec.n_entries == p->last);
    decree_assert(p->rec.torn_bytes == 0 && p->rec.term == UINT32_MAX);
    check_entries(&p->rec);
    stop(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dec d = dec_make(bytes_make(data, size));
    struct past p = {.disk = wal_mem_new(1), .term = 1};
    struct expected expected;
    struct wal_mem *copy;
    struct image im;

    start(&p);
    append(&p, 1, 1, true);
    for (int i = 0; i < STEPS_MAX && dec_left(&d) > 0; i++) {
        uint8_t op = dec_u8(&d);

        if (op == UINT8_MAX) {
            break;
        }
        step(&p, op, &d);
    }
    copy = wal_mem_clone(p.disk);
    stop(&p);
    if ((dec_u8(&d) & 1) != 0) {
        struct wal_mem *swap = copy; /* killed, not stopped */

        copy = p.disk;
        p.disk = swap;
    }
    image_read(&im, p.disk);
    for (int i = 0; i < DAMAGES_MAX && dec_left(&d) > 0; i++) {
        damage(&im, p.disk, &d);
    }
    expected = expect(&im, p.disk, (struct wal_snapshot_id){p.snapshot, p.snapshot_term});
    judge(&p, &expected);
    image_deinit(&im);
    (void)wal_mem_free(copy);
    (void)wal_mem_free(p.disk);
    return 0;
}
