/* A few keys of any bytes, written and deleted at many revisions, then reads of ranges of any
 * bytes, against the plainest way to say what a range is: look at every change there was. Nothing
 * is shared with the keyspace here, not even what a range end means. */
#include "fuzz.h"

#include <stdlib.h>

#include "codec.h"
#include "mvcc.h"

enum { CHANGES_MAX = 120, READS_MAX = 40, KEY_MAX = 12 };

struct change {
    struct bytes key; /* in the input */
    int64_t revision, version;
    bool deleted;
};

struct history {
    struct change list[CHANGES_MAX * 4];
    size_t n;
    int64_t revision, compacted;
};

static struct bytes dec_key(struct dec *d)
{
    size_t len = 1 + (size_t)(dec_u8(d) % KEY_MAX);

    return dec_raw(d, MIN(len, dec_left(d)));
}

/* The newest change of key at or before that revision; NULL: none, or a deletion. */
static const struct change *at(const struct history *h, struct bytes key, int64_t revision)
{
    for (size_t i = h->n; i > 0; i--) {
        const struct change *c = &h->list[i - 1];

        if (c->revision <= revision && bytes_eq(c->key, key)) {
            return c->deleted ? NULL : c;
        }
    }
    return NULL;
}

/* etcd's words: no end is one key, the end "\0" is everything from key on, else [key, end). */
static bool is_in(struct bytes key, struct bytes start, struct bytes end)
{
    if (end.len == 0) {
        return bytes_eq(key, start);
    }
    if (end.len == 1 && end.data[0] == 0) {
        return bytes_cmp(key, start) >= 0;
    }
    return bytes_cmp(key, start) >= 0 && bytes_cmp(key, end) < 0;
}

static int compare_keys(const void *a, const void *b)
{
    const struct change *const *x = a, *const *y = b;

    return bytes_cmp((*x)->key, (*y)->key);
}

/* What lives in the range at that revision, ascending. */
static size_t find(const struct history *h, struct bytes start, struct bytes end, int64_t revision,
    const struct change **found)
{
    size_t n = 0;

    for (size_t i = 0; i < h->n; i++) {
        const struct change *c = &h->list[i];

        if (is_in(c->key, start, end) && at(h, c->key, revision) == c) {
            found[n++] = c;
        }
    }
    qsort(found, n, sizeof(*found), compare_keys);
    return n;
}

static void put(struct history *h, struct mvcc *m, struct bytes key)
{
    const struct change *old = at(h, key, h->revision);
    struct put_request r = {.key = key, .value = key, .prev_kv = true};
    _cleanup_arena_ struct arena arena = {0};
    struct put_reply reply;
    int rc = mvcc_put(m, &r, &arena, &reply);

    decree_assert(rc == 0 && reply.has_prev == (old != NULL));
    decree_assert(old == NULL || reply.prev.mod_revision == old->revision);
    h->revision++;
    h->list[h->n] = (struct change){key, h->revision, old != NULL ? old->version + 1 : 1, false};
    h->n++;
}

static void delete_range(struct history *h, struct mvcc *m, struct bytes start, struct bytes end)
{
    const struct change *found[ARRAY_SIZE(h->list)];
    size_t n = find(h, start, end, h->revision, found);
    struct delete_request r = {.key = start, .range_end = end};
    _cleanup_arena_ struct arena arena = {0};
    struct delete_reply reply;
    int rc = mvcc_delete(m, &r, &arena, &reply);

    decree_assert(rc == 0 && reply.deleted == (int64_t)n);
    h->revision += n > 0;
    for (size_t i = 0; i < n && h->n < ARRAY_SIZE(h->list); i++) {
        h->list[h->n++] = (struct change){found[i]->key, h->revision, 0, true};
    }
}

static void compact(struct history *h, struct mvcc *m, int64_t revision)
{
    int rc = mvcc_compact(m, revision);

    decree_assert(rc ==
        (revision > h->revision            ? DECREE_EFUTURE_REV
                : revision <= h->compacted ? DECREE_ECOMPACTED
                                           : 0));
    if (rc == 0) {
        h->compacted = revision;
        while (mvcc_compact_step(m, 3)) {}
    }
}

static void check_kvs(const struct range_request *r, const struct change **found, size_t n,
    const struct range_reply *reply)
{
    size_t limit = r->limit > 0 ? MIN((size_t)r->limit, n) : n;

    decree_assert(reply->n_kvs == limit && reply->more == (limit < n));
    for (size_t i = 0; i < limit; i++) {
        const struct change *c = found[r->sort_order == SORT_DESCEND ? n - 1 - i : i];
        const struct kv *kv = &reply->kvs[i];

        decree_assert(bytes_eq(kv->key, c->key));
        decree_assert(bytes_eq(kv->value, r->keys_only ? (struct bytes){0} : c->key));
        decree_assert(kv->mod_revision == c->revision && kv->version == c->version);
    }
}

static void read_range(const struct history *h, const struct mvcc *m, struct dec *d)
{
    const struct change *found[ARRAY_SIZE(h->list)];
    uint8_t flags = dec_u8(d);
    struct range_request r = {.key = dec_key(d),
        .limit = (flags & 1) != 0 ? dec_u8(d) % 8 : 0,
        .keys_only = (flags & 2) != 0,
        .count_only = (flags & 4) != 0,
        .sort_order = (flags & 8) != 0 ? SORT_DESCEND : SORT_NONE};
    _cleanup_arena_ struct arena arena = {0};
    struct range_reply reply;
    size_t n;
    int rc;

    r.range_end = (flags & 16) != 0 ? BYTES_LITERAL("\0")
        : (flags & 32) != 0         ? dec_key(d)
                                    : (struct bytes){0};
    r.revision = (flags & 64) != 0 ? (int64_t)dec_u8(d) : 0;
    if (range_request_check(&r) < 0) {
        return;
    }
    rc = mvcc_range(m, &r, &arena, &reply);
    decree_assert(rc ==
        (r.revision > h->revision                             ? DECREE_EFUTURE_REV
                : r.revision > 0 && r.revision < h->compacted ? DECREE_ECOMPACTED
                                                              : 0));
    if (rc != 0) {
        return;
    }
    n = find(h, r.key, r.range_end, r.revision > 0 ? r.revision : h->revision, found);
    decree_assert(reply.count == (int64_t)n);
    if (!r.count_only) {
        check_kvs(&r, found, n, &reply);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct history h = {.revision = 1};
    struct dec d = dec_make(bytes_make(data, size));
    struct mvcc *m = mvcc_new();
    int reads = 0;

    while (dec_left(&d) > 2 && h.n < CHANGES_MAX && reads < READS_MAX) {
        uint8_t op = dec_u8(&d);

        if (op % 4 == 0) {
            read_range(&h, m, &d);
            reads++;
        } else if (op % 16 == 1) {
            struct bytes start = dec_key(&d);

            if (start.len > 0) {
                delete_range(&h, m, start, (op & 16) != 0 ? dec_key(&d) : (struct bytes){0});
            }
        } else if (op % 32 == 2) {
            compact(&h, m, (int64_t)dec_u8(&d));
        } else {
            struct bytes key = dec_key(&d);

            if (key.len > 0) {
                put(&h, m, key);
            }
        }
    }
    decree_assert(mvcc_revision(m) == h.revision);
    mvcc_free(m);
    return 0;
}
