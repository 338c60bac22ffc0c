/* From the bytes of a snapshot back to a keyspace. The bytes come from a disk or another member:
 * whatever could not have been written by a healthy keyspace is refused, so that nothing later has
 * to doubt an index, a count or a revision. Keys arrive sorted: the index is built, not searched.
 */
#include "keyspace.h"

#include "alloc.h"
#include "codec.h"
#include "err.h"
#include "snapshot_format.h"

enum stage { STAGE_HEAD, STAGE_LEASES, STAGE_KEYS, STAGE_DONE };

enum { RECORD_MAX = 2 * REQUEST_BYTES_MAX + 128 /* a key, a value and the integers */ };

#define NUMBER_MAX ((uint64_t)MVCC_REVISION_MAX)

struct mvcc_loader {
    struct mvcc *m; /* owned; its index is in `builder` until the end */
    enum stage stage;
    int err; /* sticky */
    struct index_builder builder;
    struct strbuf rest;   /* bytes of a record that is not complete yet */
    struct version *head; /* of the key that is being read */
    struct version *last; /* the oldest so far of it */
    struct version **log; /* owned array: versions that belong into the history, in any order */
    size_t n_log, cap_log;
    int64_t last_lease;
    uint64_t n_leases, n_keys, n_versions;
};

struct mvcc_loader *mvcc_loader_new(void)
{
    struct mvcc_loader *l = xcalloc(1, sizeof(*l));

    l->m = mvcc_new();
    return l;
}

struct mvcc_loader *mvcc_loader_free(struct mvcc_loader *l)
{
    if (l != NULL) {
        if (l->m != NULL) {
            l->m->index = index_builder_finish(&l->builder);
            mvcc_free(l->m);
        }
        strbuf_deinit(&l->rest);
        free(l->log);
        free(l);
    }
    return NULL;
}

static int corrupt(struct mvcc_loader *l, struct err *reterr, const char *what)
{
    l->err = DECREE_ECORRUPT;
    return err_set(reterr, DECREE_ECORRUPT, "snapshot is damaged: %s (after %llu keys)", what,
        (unsigned long long)l->n_keys);
}

/* ---- records: each returns 1 when it was read, 0 when its bytes are not all there ---- */

static int read_head(struct mvcc_loader *l, struct dec *d, struct err *reterr)
{
    struct bytes magic = dec_raw(d, sizeof(SNAPSHOT_MAGIC) - 1);
    uint64_t revision = dec_varint(d), compacted = dec_varint(d);

    if (d->bad) {
        return 0;
    }
    if (!bytes_eq(magic, BYTES_LITERAL(SNAPSHOT_MAGIC))) {
        return corrupt(l, reterr, "not a snapshot of a keyspace, or of a format unknown here");
    }
    if (revision < 1 || revision > NUMBER_MAX || compacted > revision) {
        return corrupt(l, reterr, "its revisions are impossible");
    }
    l->m->revision = (int64_t)revision;
    l->m->compacted = (int64_t)compacted;
    l->stage = STAGE_LEASES;
    return 1;
}

static int read_lease(struct mvcc_loader *l, struct dec *d, struct err *reterr)
{
    int64_t id = (int64_t)dec_u64(d), ttl = (int64_t)dec_u64(d);

    if (d->bad) {
        return 0;
    }
    if (id == 0 || ttl > LEASE_TTL_MAX_S || (l->n_leases > 0 && id <= l->last_lease)) {
        return corrupt(l, reterr, "a lease is out of order or has an impossible id or ttl");
    }
    (void)lease_add(&l->m->leases, id, ttl, 0);
    l->last_lease = id;
    l->n_leases++;
    return 1;
}

/* A version as read, before it is believed. */
struct record {
    uint64_t mod, sub, create, version;
    int64_t lease;
    uint8_t flags;
    struct bytes value;
};

static struct record read_version(struct dec *d)
{
    struct record r = {0};

    r.mod = dec_varint(d);
    r.sub = dec_varint(d);
    r.flags = dec_u8(d);
    if (!action_is_delete((enum mvcc_action)(r.flags & SNAPSHOT_ACTION))) {
        r.create = dec_varint(d);
        r.version = dec_varint(d);
        r.lease = (r.flags & SNAPSHOT_LEASED) != 0 ? (int64_t)dec_u64(d) : 0;
        r.value = dec_bytes(d);
    }
    return r;
}

/* What is wrong with r by itself, or NULL. */
static const char *check_record(const struct mvcc_loader *l, const struct record *r)
{
    uint8_t action = r->flags & SNAPSHOT_ACTION;
    bool leased = (r->flags & SNAPSHOT_LEASED) != 0;
    bool is_delete = action_is_delete((enum mvcc_action)action);

    if (action < MVCC_ACTION_PUT || action > MVCC_ACTION_REVOKE ||
        (r->flags & ~(SNAPSHOT_ACTION | SNAPSHOT_LEASED)) != 0 || (is_delete && leased)) {
        return "an unknown kind of change";
    }
    if (r->mod < 2 || r->mod > (uint64_t)l->m->revision || r->sub > UINT32_MAX) {
        return "a change outside of the revisions";
    }
    if (!is_delete &&
        (r->create < 2 || r->create > r->mod || r->version < 1 || r->version > NUMBER_MAX)) {
        return "an impossible version";
    }
    if (r->value.len > REQUEST_BYTES_MAX || (leased && r->lease == 0)) {
        return "an impossible value or lease";
    }
    return NULL;
}

/* Whether v may be the version after `older`; NULL: after nothing that is kept. */
static const char *check_succession(
    const struct mvcc_loader *l, const struct version *v, const struct version *older)
{
    bool is_delete = version_is_tombstone(v);
    bool follows_put = older != NULL && !version_is_tombstone(older);

    if (older != NULL && (older->mod > v->mod || (older->mod == v->mod && older->sub >= v->sub))) {
        return "versions of a key are out of order";
    }
    if (older == NULL && v->mod <= l->m->compacted) {
        return is_delete && v->mod < l->m->compacted ? "a deletion that compaction removes" : NULL;
    }
    if (older != NULL && older->mod < l->m->compacted && v->mod <= l->m->compacted) {
        return "a version that compaction removes";
    }
    if (is_delete) {
        return follows_put ? NULL : "a deletion of nothing";
    }
    if (follows_put ? v->create != older->create || v->version != older->version + 1
                    : v->create != v->mod || v->version != 1) {
        return "a version does not follow from the one before";
    }
    return NULL;
}

static struct version *add_version(struct mvcc_loader *l, struct bytes key, const struct record *r)
{
    struct mvcc *m = l->m;
    struct version *v =
        version_new(key, r->value, r->lease, (enum mvcc_action)(r->flags & SNAPSHOT_ACTION));

    v->mod = (int64_t)r->mod;
    v->sub = (uint32_t)r->sub;
    v->create = (int64_t)r->create;
    v->version = (int64_t)r->version;
    m->bytes += version_cost(v);
    l->n_versions++;
    if (v->mod >= m->compacted) {
        if (l->n_log == l->cap_log) {
            l->cap_log = l->cap_log != 0 ? l->cap_log * 2 : 1024;
            l->log = xreallocarray(l->log, l->cap_log, sizeof(struct version *));
        }
        l->log[l->n_log++] = v;
    }
    return v;
}

/* The key that was being read has no more versions. */
static int close_key(struct mvcc_loader *l, struct err *reterr)
{
    const char *wrong = l->last != NULL ? check_succession(l, l->last, NULL) : NULL;

    l->head = l->last = NULL;
    return wrong != NULL ? corrupt(l, reterr, wrong) : 1;
}

static int read_key(struct mvcc_loader *l, struct dec *d, struct err *reterr)
{
    struct bytes key = dec_bytes(d);
    struct record r = read_version(d);
    const char *wrong = d->bad ? NULL : check_record(l, &r);
    bool in_order = l->head == NULL || bytes_cmp(version_key(l->head), key) < 0;

    if (d->bad) {
        return 0;
    }
    if (key.len == 0 || key.len > REQUEST_BYTES_MAX || !in_order) {
        wrong = "keys are out of order or of an impossible length";
    }
    if (wrong == NULL && r.lease != 0 && lease_find(&l->m->leases, r.lease) == NULL) {
        wrong = "a key hangs on a lease that does not exist";
    }
    if (wrong != NULL) {
        return corrupt(l, reterr, wrong);
    }
    if (close_key(l, reterr) < 0) {
        return l->err;
    }
    l->head = l->last = add_version(l, key, &r);
    index_builder_add(&l->builder, l->head);
    lease_attach(&l->m->leases, l->head);
    if (!version_is_tombstone(l->head)) {
        l->m->live_bytes += version_cost(l->head);
    }
    l->stage = STAGE_KEYS;
    l->n_keys++;
    return 1;
}

static int read_older(struct mvcc_loader *l, struct dec *d, struct err *reterr)
{
    struct record r = read_version(d);
    const char *wrong = d->bad ? NULL : check_record(l, &r);
    struct version *v;

    if (d->bad) {
        return 0;
    }
    if (l->head == NULL || wrong != NULL) {
        return corrupt(l, reterr, wrong != NULL ? wrong : "a version without its key");
    }
    v = add_version(l, version_key(l->head), &r);
    v->superseded = 1;
    wrong = check_succession(l, l->last, v);
    l->last->prev = v; /* also when wrong: freed with its key */
    l->last = v;
    return wrong != NULL ? corrupt(l, reterr, wrong) : 1;
}

static int read_end(struct mvcc_loader *l, struct dec *d, struct err *reterr)
{
    uint64_t leases = dec_varint(d), keys = dec_varint(d), versions = dec_varint(d);

    if (d->bad) {
        return 0;
    }
    if (leases != l->n_leases || keys != l->n_keys || versions != l->n_versions) {
        return corrupt(l, reterr, "its counts do not agree with its contents");
    }
    l->stage = STAGE_DONE;
    return close_key(l, reterr);
}

static int read_record(struct mvcc_loader *l, struct dec *d, struct err *reterr)
{
    uint8_t tag = dec_u8(d);
    bool open = l->stage == STAGE_LEASES || l->stage == STAGE_KEYS;

    if (tag == SNAPSHOT_HEAD && l->stage == STAGE_HEAD) {
        return read_head(l, d, reterr);
    }
    if (tag == SNAPSHOT_LEASE && l->stage == STAGE_LEASES) {
        return read_lease(l, d, reterr);
    }
    if (tag == SNAPSHOT_KEY && open) {
        return read_key(l, d, reterr);
    }
    if (tag == SNAPSHOT_OLDER && open) {
        return read_older(l, d, reterr);
    }
    if (tag == SNAPSHOT_END && open) {
        return read_end(l, d, reterr);
    }
    return corrupt(l, reterr, "an unknown record or one out of place");
}

/* Reads what is complete in b; returns how many bytes that were, or an error. */
static int64_t read_all(struct mvcc_loader *l, struct bytes b, struct err *reterr)
{
    size_t at = 0;

    while (at < b.len) {
        struct dec d = dec_make(bytes_make(b.data + at, b.len - at));
        int r = read_record(l, &d, reterr);

        if (r < 0) {
            return r;
        }
        if (r == 0) {
            break;
        }
        at = b.len - dec_left(&d);
    }
    return (int64_t)at;
}

int mvcc_loader_feed(struct mvcc_loader *l, struct bytes piece, struct err *reterr)
{
    bool direct = l->rest.len == 0;
    struct bytes b = piece;
    int64_t n;

    if (l->err < 0) {
        return corrupt(l, reterr, "it has been refused before");
    }
    if (!direct) {
        strbuf_append_bytes(&l->rest, piece);
        b = strbuf_bytes(&l->rest);
    }
    n = read_all(l, b, reterr);
    if (n < 0) {
        return (int)n;
    }
    if (direct) {
        strbuf_append_bytes(&l->rest, bytes_make(b.data + n, b.len - (size_t)n));
    } else if (n > 0) {
        l->rest.len -= (size_t)n;
        memmove(l->rest.data, l->rest.data + n, l->rest.len);
    }
    return l->rest.len > RECORD_MAX ? corrupt(l, reterr, "a record has no end") : 0;
}

/* ---- the end ---- */

/* Puts the changes in order. Every revision from the first kept one on has its changes numbered
 * from 0: so the place of each is known, and a gap or a double is seen. Only the compacted revision
 * itself may have none: a restore went on from there (mvcc_advance). */
static const char *sort_history(struct mvcc_loader *l)
{
    struct mvcc *m = l->m;
    int64_t first = MAX(m->compacted, (int64_t)2);
    uint64_t n_revisions = (uint64_t)(m->revision - first + 1);
    uint64_t empty_max = m->compacted == first;
    _cleanup_free_ uint64_t *begin = NULL;
    _cleanup_free_ struct version **sorted = NULL;

    if (m->revision < first ? l->n_log != 0 : n_revisions > l->n_log + empty_max) {
        return "revisions are missing";
    }
    if (l->n_log == 0) {
        return NULL;
    }
    begin = xcalloc(n_revisions + 1, sizeof(*begin));
    sorted = xcalloc(l->n_log, sizeof(struct version *));
    for (size_t i = 0; i < l->n_log; i++) {
        begin[l->log[i]->mod - first + 1]++;
    }
    for (uint64_t r = 0; r < n_revisions; r++) {
        if (begin[r + 1] == 0 && first + (int64_t)r != m->compacted) {
            return "a revision is missing";
        }
        begin[r + 1] += begin[r];
    }
    for (size_t i = 0; i < l->n_log; i++) {
        struct version *v = l->log[i];
        uint64_t at = begin[v->mod - first] + v->sub;

        if (at >= begin[v->mod - first + 1] || sorted[at] != NULL) {
            return "the changes of a revision are not numbered in order";
        }
        sorted[at] = v;
    }
    for (size_t i = 0; i < l->n_log; i++) {
        history_push(&m->history, sorted[i]);
    }
    return NULL;
}

int mvcc_loader_finish(struct mvcc_loader *l, struct mvcc **ret, struct err *reterr)
{
    const char *wrong = NULL;
    struct mvcc *m = l->m;

    if (l->err < 0) {
        return corrupt(l, reterr, "it has been refused before");
    }
    if (l->stage != STAGE_DONE || l->rest.len != 0) {
        return corrupt(
            l, reterr, l->stage != STAGE_DONE ? "it ends too early" : "bytes follow after its end");
    }
    wrong = sort_history(l);
    if (wrong != NULL) {
        return corrupt(l, reterr, wrong);
    }
    m->index = index_builder_finish(&l->builder);
    m->compact_next = history_find(&m->history, m->compacted + 1);
    m->hub.delivered = m->history.end;
    *ret = TAKE_PTR(l->m);
    l->err = DECREE_ECORRUPT; /* there is nothing to feed any more */
    return 0;
}
