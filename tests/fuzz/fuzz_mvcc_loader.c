/* Any bytes as a snapshot: refused, or a keyspace that is sound: it can be compacted, read, written
 * out and loaded again to the same state. */
#include "mvcc.h"

static struct mvcc *load(struct bytes b, size_t piece)
{
    struct mvcc_loader *l = mvcc_loader_new();
    struct mvcc *m = NULL;
    int r = 0;

    for (size_t at = 0; at < b.len && r == 0; at += piece) {
        r = mvcc_loader_feed(l, bytes_make(b.data + at, MIN(piece, b.len - at)), NULL);
    }
    if (r == 0) {
        (void)mvcc_loader_finish(l, &m, NULL);
    }
    mvcc_loader_free(l);
    return m;
}

static void check_round_trip(struct mvcc *m)
{
    _cleanup_strbuf_ struct strbuf out = {0};
    struct mvcc_snapshot *s = mvcc_snapshot_open(m);
    struct mvcc *again;

    while (mvcc_snapshot_next(s, 100, &out)) {}
    mvcc_snapshot_close(s);
    again = load(strbuf_bytes(&out), 33);
    decree_assert(again != NULL);
    decree_assert(mvcc_hash(again) == mvcc_hash(m));
    decree_assert(mvcc_bytes(again) == mvcc_bytes(m));
    mvcc_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct range_request all = {.key = BYTES_LITERAL("\0"), .range_end = BYTES_LITERAL("\0")};
    struct delete_request everything = {.key = all.key, .range_end = all.range_end};
    _cleanup_arena_ struct arena arena = {0};
    struct mvcc *m = load(bytes_make(data, size), 1 + size / 3);
    struct delete_reply deleted;
    struct range_reply reply;

    if (m == NULL) {
        return 0;
    }
    check_round_trip(m);
    decree_assert(mvcc_range(m, &all, &arena, &reply) == 0);
    decree_assert(reply.n_kvs == mvcc_keys(m));
    all.revision = MAX(mvcc_compacted(m), (int64_t)1);
    decree_assert(mvcc_range(m, &all, &arena, &reply) == 0);
    decree_assert(mvcc_delete(m, &everything, &arena, &deleted) == 0);
    check_round_trip(m);
    if (mvcc_compact(m, mvcc_revision(m)) == 0) {
        while (mvcc_compact_step(m, 3)) {}
        check_round_trip(m);
    }
    mvcc_free(m);
    return 0;
}
