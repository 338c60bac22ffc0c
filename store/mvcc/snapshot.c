/* Reading a keyspace out, piece by piece, as it was at the revision of the opening. Nothing is
 * freed while a snapshot is open, so that a version once reached stays; the index may grow between
 * two pieces, hence each piece seeks the key after the last one. Versions made later are skipped.
 */
#include "keyspace.h"

#include "alloc.h"
#include "codec.h"
#include "snapshot_format.h"

enum { VISIT_BYTES = 16 /* what passing over a key counts for: a record has hardly fewer */ };

enum stage { STAGE_HEAD, STAGE_LEASES, STAGE_KEYS, STAGE_END, STAGE_DONE };

struct mvcc_snapshot {
    struct mvcc *m;
    int64_t revision, compacted; /* at the opening */
    uint64_t size;
    enum stage stage;
    int64_t *ids, *ttls; /* owned; the leases of then */
    size_t n_leases, next_lease;
    struct strbuf after;        /* the next key is at or after this */
    const struct version *last; /* written last, of the key that is being written; or NULL */
    uint64_t n_keys, n_versions;
};

struct mvcc_snapshot *mvcc_snapshot_open(struct mvcc *m)
{
    struct mvcc_snapshot *s = xcalloc(1, sizeof(*s));

    s->m = m;
    s->revision = m->revision;
    s->compacted = m->compacted;
    s->n_leases = m->leases.by_id.count;
    s->size = m->bytes + s->n_leases * 17;
    s->ids = xreallocarray(NULL, s->n_leases, sizeof(*s->ids));
    s->ttls = xreallocarray(NULL, s->n_leases, sizeof(*s->ttls));
    lease_ids_sorted(&m->leases, s->ids);
    for (size_t i = 0; i < s->n_leases; i++) {
        s->ttls[i] = lease_find(&m->leases, s->ids[i])->ttl_s;
    }
    m->snapshots++;
    return s;
}

struct mvcc_snapshot *mvcc_snapshot_close(struct mvcc_snapshot *s)
{
    if (s != NULL) {
        s->m->snapshots--;
        free(s->ids);
        free(s->ttls);
        strbuf_deinit(&s->after);
        free(s);
    }
    return NULL;
}

int64_t mvcc_snapshot_revision(const struct mvcc_snapshot *s)
{
    return s->revision;
}

uint64_t mvcc_snapshot_size(const struct mvcc_snapshot *s)
{
    return s->size;
}

static void put_version(struct mvcc_snapshot *s, const struct version *v, struct strbuf *out)
{
    enc_varint(out, (uint64_t)v->mod);
    enc_varint(out, v->sub);
    enc_u8(out, (uint8_t)(v->action | (v->leased ? SNAPSHOT_LEASED : 0u)));
    if (!version_is_tombstone(v)) {
        enc_varint(out, (uint64_t)v->create);
        enc_varint(out, (uint64_t)v->version);
        if (v->leased) {
            enc_u64(out, (uint64_t)version_lease_id(v));
        }
        enc_bytes(out, version_value(v));
    }
    s->last = v;
    s->n_versions++;
}

static void put_head(struct mvcc_snapshot *s, struct strbuf *out)
{
    enc_u8(out, SNAPSHOT_HEAD);
    strbuf_append_str(out, SNAPSHOT_MAGIC);
    enc_varint(out, (uint64_t)s->revision);
    enc_varint(out, (uint64_t)s->compacted);
    s->stage = STAGE_LEASES;
}

static void put_leases(struct mvcc_snapshot *s, size_t until, struct strbuf *out)
{
    while (s->next_lease < s->n_leases && out->len < until) {
        enc_u8(out, SNAPSHOT_LEASE);
        enc_u64(out, (uint64_t)s->ids[s->next_lease]);
        enc_u64(out, (uint64_t)s->ttls[s->next_lease]);
        s->next_lease++;
    }
    if (s->next_lease == s->n_leases) {
        s->stage = STAGE_KEYS;
    }
}

static void put_key(struct mvcc_snapshot *s, const struct version *v, struct strbuf *out)
{
    enc_u8(out, SNAPSHOT_KEY);
    enc_bytes(out, version_key(v));
    put_version(s, v, out);
    s->n_keys++;
}

/* The rest of the key that was begun. Returns false when the piece is full. */
static bool put_older(struct mvcc_snapshot *s, size_t until, struct strbuf *out)
{
    const struct version *v;

    while (s->last != NULL) {
        if (out->len >= until) {
            return false;
        }
        v = version_kept(NULL, s->last, s->compacted);
        if (v != NULL) {
            enc_u8(out, SNAPSHOT_OLDER);
            put_version(s, v, out);
        } else {
            s->last = NULL;
        }
    }
    return true;
}

/* At most `visits` keys: those that are too new leave nothing in the piece, but take time. */
static void put_keys(struct mvcc_snapshot *s, size_t until, size_t visits, struct strbuf *out)
{
    struct index_cursor c = index_seek(&s->m->index, strbuf_bytes(&s->after));
    const struct version *last_head = NULL;
    struct version *head;

    while (put_older(s, until, out) && out->len < until && visits-- > 0) {
        struct version *v;

        head = index_cursor_next(&c);
        if (head == NULL) {
            s->stage = STAGE_END;
            return;
        }
        last_head = head;
        v = version_kept(version_at(head, s->revision), NULL, s->compacted);
        if (v != NULL) {
            put_key(s, v, out);
        }
    }
    if (last_head != NULL) {
        strbuf_clear(&s->after);
        strbuf_append_bytes(&s->after, version_key(last_head));
        strbuf_append_char(&s->after, '\0'); /* the next possible key */
    }
}

static void put_end(struct mvcc_snapshot *s, struct strbuf *out)
{
    enc_u8(out, SNAPSHOT_END);
    enc_varint(out, s->n_leases);
    enc_varint(out, s->n_keys);
    enc_varint(out, s->n_versions);
    s->stage = STAGE_DONE;
}

bool mvcc_snapshot_next(struct mvcc_snapshot *s, size_t bytes, struct strbuf *out)
{
    size_t until = out->len + MAX(bytes, (size_t)1);
    bool more = s->stage != STAGE_DONE, full = false;

    while (s->stage != STAGE_DONE && out->len < until && !full) {
        switch (s->stage) {
        case STAGE_HEAD:
            put_head(s, out);
            break;
        case STAGE_LEASES:
            put_leases(s, until, out);
            break;
        case STAGE_KEYS:
            put_keys(s, until, bytes / VISIT_BYTES + 1, out);
            full = s->stage == STAGE_KEYS;
            break;
        case STAGE_END:
            put_end(s, out);
            break;
        case STAGE_DONE:
            break;
        }
    }
    return more;
}
