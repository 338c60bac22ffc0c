#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wal.h"
#include "wal_disk_mem.h"
#include "wal_segment.h"

static const struct wal_identity identity = {0xc1, 0x3e};

struct batch {
    struct wal_append_req req;
    struct wal_entry entries[8];
    int calls, status;
};

static void on_done(struct wal_append_req *req, int status)
{
    struct batch *b = req->data;

    b->calls++;
    b->status = status;
}

static struct wal *open_on(
    struct wal_disk *disk, const char *dir, size_t segment_bytes, struct wal_recovery *rec)
{
    const struct wal_options o = {.dir = dir, .segment_bytes = segment_bytes, .disk = disk};
    _cleanup_err_ struct err e = {0};
    struct wal *w = NULL;
    int rc = wal_open(&o, &w, rec, &e);

    if (rc < 0) {
        print_error("%s\n", e.text);
    }
    assert_int_equal(rc, 0);
    if (rec->is_new) {
        assert_int_equal(wal_create(w, identity, NULL), 0);
    }
    return w;
}

static void append(struct wal *w, uint64_t term, uint64_t first, size_t n, size_t payload)
{
    struct batch b = {.req = {.has_hard = true,
                          .term = term,
                          .vote = 7,
                          .n_entries = n,
                          .entries = b.entries,
                          .cb = on_done,
                          .data = &b}};

    for (size_t i = 0; i < n; i++) {
        b.entries[i] = (struct wal_entry){first + i, term, 0, buf_new(payload)};
        memset(b.entries[i].payload->data, (int)(first + i), payload);
    }
    assert_int_equal(wal_append(w, &b.req), 0);
    assert_int_equal(b.calls, 0);
    wal_poll(w);
    assert_int_equal(b.calls, 1);
    assert_int_equal(b.status, 0);
    for (size_t i = 0; i < n; i++) {
        buf_unref(b.entries[i].payload);
    }
}

TEST(wal, what_was_appended_is_recovered)
{
    struct wal_mem *m = wal_mem_new(1);
    struct wal_recovery rec;
    struct wal *w = open_on(wal_mem_disk(m), "x", 16384, &rec);

    for (uint64_t i = 0; i < 40; i++) {
        append(w, 1 + i / 10, 1 + i * 3, 3, 300);
    }
    wal_close(w);
    wal_recovery_deinit(&rec);
    w = open_on(wal_mem_disk(m), "x", 16384, &rec);
    assert_false(rec.is_new);
    assert_int_equal(rec.identity.member_id, identity.member_id);
    assert_int_equal(rec.term, 4);
    assert_int_equal(rec.vote, 7);
    assert_int_equal(rec.n_entries, 120);
    assert_int_equal(rec.torn_bytes, 0);
    for (size_t i = 0; i < rec.n_entries; i++) {
        assert_int_equal(rec.entries[i].index, i + 1);
        assert_int_equal(rec.entries[i].payload->len, 300);
        assert_int_equal(rec.entries[i].payload->data[17], (uint8_t)(i + 1));
    }
    wal_recovery_deinit(&rec);
    wal_close(w);
    wal_mem_free(m);
}

TEST_MAIN(UNIT(wal, what_was_appended_is_recovered))
