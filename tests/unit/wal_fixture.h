/* What the tests of the log share: batches, and a log on a disk in memory. */
#ifndef DECREE_TESTS_WAL_FIXTURE_H
#define DECREE_TESTS_WAL_FIXTURE_H

#include "unit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "wal.h"
#include "wal_disk_mem.h"
#include "wal_record.h"
#include "wal_segment.h"

enum { FIXTURE_SEGMENT = 16384, FIXTURE_ENTRIES_MAX = 64, FIXTURE_VOTE = 7 };

static const struct wal_identity fixture_identity = {0xc1, 0x3e};

struct fixture_batch {
    struct wal_append_req req;
    struct wal_entry entries[FIXTURE_ENTRIES_MAX];
    int calls, status;
};

static void fixture_on_done(struct wal_append_req *req, int status)
{
    struct fixture_batch *b = req->data;

    b->calls++;
    b->status = status;
}

/* The payload of an entry follows from its place, so that it can be checked anywhere. */
static struct buf *fixture_payload(uint64_t index, uint64_t term, size_t len)
{
    struct buf *p = buf_new(len);

    for (size_t i = 0; i < len; i++) {
        p->data[i] = (uint8_t)(index * 31 + term * 7 + i);
    }
    return p;
}

static void fixture_batch_init(
    struct fixture_batch *b, uint64_t term, uint64_t first, size_t n, size_t payload)
{
    *b = (struct fixture_batch){
        .req = {.n_entries = n, .entries = b->entries, .cb = fixture_on_done, .data = b}};
    assert_true(n <= FIXTURE_ENTRIES_MAX);
    for (size_t i = 0; i < n; i++) {
        b->entries[i] =
            (struct wal_entry){first + i, term, 3, fixture_payload(first + i, term, payload)};
    }
}

static void fixture_batch_deinit(struct fixture_batch *b)
{
    for (size_t i = 0; i < b->req.n_entries; i++) {
        buf_unref(b->entries[i].payload);
    }
}

static _unused_ int fixture_try_open(
    struct wal_mem *m, struct wal **ret, struct wal_recovery *rec, struct err *reterr)
{
    const struct wal_options o = {
        .dir = "d", .segment_bytes = FIXTURE_SEGMENT, .disk = wal_mem_disk(m)};

    return wal_open(&o, ret, rec, reterr);
}

/* Opens, and creates when new. */
static _unused_ struct wal *fixture_open(struct wal_mem *m, struct wal_recovery *rec)
{
    _cleanup_err_ struct err e = {0};
    struct wal *w = NULL;

    if (fixture_try_open(m, &w, rec, &e) < 0) {
        print_error("%s\n", e.text);
        fail();
    }
    if (rec->is_new) {
        assert_int_equal(wal_create(w, fixture_identity, NULL), 0);
    }
    return w;
}

/* Appends and polls: durable on return. */
static _unused_ void fixture_append(
    struct wal *w, uint64_t term, uint64_t first, size_t n, size_t payload)
{
    struct fixture_batch b;

    fixture_batch_init(&b, term, first, n, payload);
    assert_int_equal(wal_append(w, &b.req), 0);
    assert_int_equal(b.calls, 0);
    wal_poll(w);
    assert_int_equal(b.calls, 1);
    assert_int_equal(b.status, 0);
    fixture_batch_deinit(&b);
}

static _unused_ void fixture_hard_init(struct fixture_batch *b, uint64_t term, uint64_t vote)
{
    fixture_batch_init(b, 0, 0, 0, 0);
    b->req.has_hard = true;
    b->req.term = term;
    b->req.vote = vote;
}

static _unused_ void fixture_hard(struct wal *w, uint64_t term, uint64_t vote)
{
    struct fixture_batch b;

    fixture_hard_init(&b, term, vote);
    assert_int_equal(wal_append(w, &b.req), 0);
    wal_poll(w);
    assert_int_equal(b.calls, 1);
}

static _unused_ void fixture_check_entry(
    const struct wal_entry *e, uint64_t index, uint64_t term, size_t payload)
{
    struct buf *p = fixture_payload(index, term, payload);

    assert_int_equal(e->index, index);
    assert_int_equal(e->term, term);
    assert_int_equal(e->type, 3);
    assert_true(bytes_eq(buf_bytes(e->payload), buf_bytes(p)));
    buf_unref(p);
}

static _unused_ void fixture_close(struct wal *w, struct wal_recovery *rec)
{
    (void)wal_close(w);
    wal_recovery_deinit(rec);
}

/* Ends the log as kill -9 does: what was written stays, no mark is added. Returns the disk of the
 * next start; m must not be used but to be freed. */
static _unused_ struct wal_mem *fixture_kill(
    struct wal_mem *m, struct wal *w, struct wal_recovery *rec)
{
    struct wal_mem *copy = wal_mem_clone(m);

    fixture_close(w, rec);
    (void)wal_mem_free(m);
    return copy;
}

struct fixture_outcome {
    int calls, status;
    char text[256];
};

static _unused_ void fixture_on_snap(void *data, int status, const char *text)
{
    struct fixture_outcome *o = data;

    o->calls++;
    o->status = status;
    (void)snprintf(o->text, sizeof(o->text), "%s", text != NULL ? text : "");
}

/* Writes a whole snapshot of that many pieces; returns its status. */
static _unused_ int fixture_snapshot(struct wal *w, struct wal_snapshot_id id, size_t pieces)
{
    struct fixture_outcome o = {0};
    struct snap_writer *s = NULL;

    assert_int_equal(snap_writer_open(w, id, BYTES_LITERAL("head"), &s, NULL), 0);
    for (size_t i = 0; i < pieces; i++) {
        struct buf *p = fixture_payload(id.index, i, 100 + i);

        snap_writer_write(s, p);
        buf_unref(p);
    }
    snap_writer_finish(s, fixture_on_snap, &o);
    assert_int_equal(o.calls, 0);
    wal_poll(w);
    assert_int_equal(o.calls, 1);
    return o.status;
}

#endif
