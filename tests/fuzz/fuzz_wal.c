/* Recovery from any bytes, then the round trip: what opens must take an append and open again with
 * exactly one entry more. Input: one byte of flags, then the record area of one or two segments.
 *     1  put a valid head in front     2  split in two segments
 *     4  make checksums right, so that what the records say is reached and not only their crc
 *     8  a snapshot is there, at index 3 of term 2 */
#include <string.h>

#include "alloc.h"
#include "codec.h"
#include "snap_file.h"
#include "wal.h"
#include "wal_disk_mem.h"
#include "wal_record.h"
#include "wal_segment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WITH_HEAD = 1, SPLIT = 2, FIX = 4, WITH_SNAPSHOT = 8, SALT = 77, INPUT_MAX = 64 << 10 };

static const struct wal_snapshot_id snapshot = {.term = 2, .index = 3};

static void add_head(struct strbuf *out, uint64_t seq, uint64_t prev_end)
{
    const struct wal_head h = {1, 1, seq - 1, prev_end, 0, 0};
    uint8_t body[WAL_HEAD_BYTES];
    struct wal_record r = {.type = WAL_RECORD_HEAD,
        .epoch = 1,
        .mark = WAL_RECORDS_START,
        .body = bytes_make(body, sizeof(body))};

    wal_head_encode(&h, body);
    wal_record_encode(&r, SALT, WAL_RECORDS_START, out);
}

/* Reads b as records whose checksums do not matter, and writes them with right ones. */
static void add_fixed(struct strbuf *out, struct bytes b)
{
    while (b.len >= WAL_RECORD_HEADER_BYTES) {
        size_t left = b.len - WAL_RECORD_HEADER_BYTES;
        size_t len = MIN((size_t)get_u32(b.data + 12) % 512, left);
        struct wal_record r = {
            .type = (enum wal_record_type)b.data[16],
            .entry_type = b.data[17],
            .epoch = get_u32(b.data + 20),
            .index = get_u64(b.data + 24),
            .term = get_u64(b.data + 32),
            .mark = get_u64(b.data + 40),
            .body = bytes_make(b.data + WAL_RECORD_HEADER_BYTES, len),
        };
        size_t used = MIN(wal_record_size(len), b.len);

        wal_record_encode(&r, SALT, WAL_RECORDS_START + out->len, out);
        b.data += used;
        b.len -= used;
    }
    strbuf_append_bytes(out, b);
}

static void add_segment(
    struct wal_mem *m, uint64_t seq, unsigned flags, struct bytes b, uint64_t *prev_end)
{
    struct strbuf records = {0};
    const struct wal_label label = {.seq = seq, .salt = SALT};
    struct wal_segment *s = NULL;
    const char *step;

    if ((flags & WITH_HEAD) != 0) {
        add_head(&records, seq, *prev_end);
    }
    if ((flags & FIX) != 0) {
        add_fixed(&records, b);
    } else {
        strbuf_append_bytes(&records, b);
    }
    if (wal_segment_create(wal_mem_disk(m), &label, WAL_RECORDS_START + records.len + 4096,
            strbuf_bytes(&records), NULL, &s, &step) < 0) {
        abort();
    }
    *prev_end = WAL_RECORDS_START + records.len;
    (void)wal_segment_free(s);
    strbuf_deinit(&records);
}

static int try_open(struct wal_mem *m, struct wal **ret, struct wal_recovery *rec)
{
    const struct wal_options o = {.dir = "d", .segment_bytes = 16384, .disk = wal_mem_disk(m)};
    _cleanup_err_ struct err e = {0};
    int rc = wal_open(&o, ret, rec, &e);

    decree_assert(rc == 0 || e.text != NULL);
    return rc;
}

static void on_done(struct wal_append_req *req, int status)
{
    *(int *)req->data = status;
}

static uint64_t check(const struct wal_recovery *rec)
{
    for (size_t i = 0; i < rec->n_entries; i++) {
        decree_assert(rec->entries[i].index == rec->snapshot.index + 1 + i);
        decree_assert(i == 0 || rec->entries[i].term >= rec->entries[i - 1].term);
    }
    return rec->snapshot.index + rec->n_entries;
}

/* Whatever is damaged: a log begun anew with what was saved can be read, and holds that. */
static void repair(struct wal_mem *m)
{
    const struct wal_options o = {
        .dir = "d", .segment_bytes = 16384, .disk = wal_mem_disk(m), .salvage = true};
    struct wal_recovery rec;
    struct wal *w = NULL;
    uint64_t last;

    if (wal_open(&o, &w, &rec, NULL) < 0) {
        return;
    }
    last = check(&rec);
    if (rec.damage != NULL) {
        decree_assert(wal_repair(w, &rec, NULL) == 0);
    }
    (void)wal_close(w);
    if (rec.damage != NULL) {
        wal_recovery_deinit(&rec);
        decree_assert(try_open(m, &w, &rec) == 0);
        decree_assert(rec.repairing && check(&rec) == last);
        (void)wal_close(w);
    }
    wal_recovery_deinit(&rec);
}

static void round_trip(struct wal_mem *m)
{
    struct wal_recovery rec;
    struct wal *w = NULL;
    struct buf *payload = buf_copy(BYTES_LITERAL("appended"));
    struct wal_entry e = {.term = UINT64_MAX, .payload = payload};
    int status = 1;
    struct wal_append_req req = {.entries = &e, .n_entries = 1, .cb = on_done, .data = &status};

    if (try_open(m, &w, &rec) == 0) {
        if (!rec.is_new) {
            e.index = check(&rec) + 1;
            decree_assert(wal_append(w, &req) == 0);
            wal_poll(w);
            decree_assert(status == 0);
        }
        (void)wal_close(w);
        wal_recovery_deinit(&rec);
        decree_assert(try_open(m, &w, &rec) == 0);
        decree_assert(check(&rec) == e.index);
        (void)wal_close(w);
        wal_recovery_deinit(&rec);
    }
    buf_unref(payload);
    repair(m);
}

/* An empty one, written as a snapshot is. */
static void add_snapshot(struct wal_mem *m)
{
    uint8_t file[SNAP_FILE_HEADER_BYTES + 2 * SNAP_FRAME_HEADER_BYTES + SNAP_END_BYTES] = {0};
    uint8_t *header_frame = file + SNAP_FILE_HEADER_BYTES;
    uint8_t *end_frame = header_frame + SNAP_FRAME_HEADER_BYTES;
    uint32_t crc = snap_frame_crc(snap_header_encode(snapshot, 1, file), 0, (struct bytes){0});
    char name[SNAP_NAME_MAX];

    put_u32(header_frame + 4, crc);
    put_u32(end_frame, SNAP_END_LENGTH);
    put_u32(end_frame + 4,
        snap_frame_crc(
            crc, SNAP_END_LENGTH, bytes_make(end_frame + SNAP_FRAME_HEADER_BYTES, SNAP_END_BYTES)));
    snap_file_name(name, snapshot);
    wal_mem_put(m, WAL_FOLDER_SNAP, name, bytes_make(file, sizeof(file)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wal_mem *m;
    unsigned flags;
    uint64_t prev_end = 0;

    if (size == 0 || size > INPUT_MAX) {
        return 0;
    }
    flags = data[0];
    data++;
    size--;
    m = wal_mem_new(1);
    if ((flags & WITH_SNAPSHOT) != 0) {
        add_snapshot(m);
    }
    if ((flags & SPLIT) != 0) {
        size_t half = size / 2 & ~(size_t)7;

        add_segment(m, 1, flags, bytes_make(data, half), &prev_end);
        add_segment(m, 2, flags, bytes_make(data + half, size - half), &prev_end);
    } else {
        add_segment(m, 1, flags, bytes_make(data, size), &prev_end);
    }
    round_trip(m);
    (void)wal_mem_free(m);
    return 0;
}
