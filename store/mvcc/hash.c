/* A hash over what is kept. Not keyed (members compare it) and not against adversaries: it finds
 * members that have drifted apart. Each word is mixed in by a multiplication with an odd constant
 * and a rotation.
 *
 * Key by key, each from its newest version not beyond the revision to the oldest kept one. A slice
 * may end anywhere: the next one seeks the key after the last one, as the index may have grown, and
 * goes on behind the last version, which stays while a hasher is open. */
#include "alloc.h"
#include "codec.h"
#include "keyspace.h"

static uint64_t mix(uint64_t h, uint64_t word)
{
    h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return h ^ (h >> 29);
}

static uint64_t mix_bytes(uint64_t h, struct bytes b)
{
    size_t i = 0;
    uint64_t tail = 0;

    h = mix(h, b.len);
    for (; i + 8 <= b.len; i += 8) {
        h = mix(h, get_u64(b.data + i));
    }
    for (; i < b.len; i++) {
        tail = tail << 8 | b.data[i];
    }
    return mix(h, tail);
}

static uint64_t mix_version(uint64_t h, const struct version *v)
{
    h = mix(h, (uint64_t)v->mod);
    h = mix(h, (uint64_t)v->sub << 32 | v->action);
    h = mix(h, (uint64_t)v->create);
    h = mix(h, (uint64_t)v->version);
    h = mix(h, (uint64_t)version_lease_id(v));
    return mix_bytes(h, version_value(v));
}

static uint64_t mix_leases(uint64_t h, const struct lease_table *t)
{
    size_t n = t->by_id.count;
    _cleanup_free_ int64_t *ids = xreallocarray(NULL, n, sizeof(*ids));

    lease_ids_sorted(t, ids);
    for (size_t i = 0; i < n; i++) {
        h = mix(h, (uint64_t)ids[i]);
        h = mix(h, (uint64_t)lease_find(t, ids[i])->ttl_s);
    }
    return h;
}

struct mvcc_hasher {
    const struct mvcc *m;
    struct mvcc *counted; /* whose open hashers this one is among; NULL for one that never waits */
    int64_t revision, compacted;
    uint64_t value;
    struct strbuf after;        /* the next key is at or after this */
    const struct version *last; /* mixed in last, of the key under way; or NULL */
    bool ended;
};

static void begin(
    struct mvcc_hasher *h, const struct mvcc *m, enum mvcc_hash_of of, int64_t revision)
{
    *h = (struct mvcc_hasher){.m = m, .revision = revision, .compacted = m->compacted};
    h->value = mix(mix(0, (uint64_t)h->revision), (uint64_t)h->compacted);
    if (of == MVCC_HASH_ALL) {
        h->value = mix_leases(h->value, &m->leases);
    }
}

int mvcc_hasher_open(
    struct mvcc *m, enum mvcc_hash_of of, int64_t revision, struct mvcc_hasher **ret)
{
    struct mvcc_hasher *h;

    if (of == MVCC_HASH_ALL || revision == 0) {
        revision = m->revision;
    }
    if (revision > m->revision) {
        return DECREE_EFUTURE_REV;
    }
    if (revision < m->compacted) {
        return DECREE_ECOMPACTED;
    }
    h = xmalloc(sizeof(*h));
    begin(h, m, of, revision);
    h->counted = m;
    m->snapshots++;
    *ret = h;
    return 0;
}

struct mvcc_hasher *mvcc_hasher_close(struct mvcc_hasher *h)
{
    if (h != NULL) {
        h->counted->snapshots--;
        strbuf_deinit(&h->after);
        free(h);
    }
    return NULL;
}

/* The rest of the key under way; false when the slice is used up. */
static bool hash_older(struct mvcc_hasher *h, size_t *left)
{
    while (h->last != NULL) {
        const struct version *v;

        if (*left == 0) {
            return false;
        }
        v = version_kept(NULL, h->last, h->compacted);
        if (v != NULL) {
            h->value = mix_version(h->value, v);
            *left -= MIN(*left, version_size(v));
        }
        h->last = v;
    }
    return true;
}

static void hash_key(struct mvcc_hasher *h, struct version *head, size_t *left)
{
    const struct version *v = version_kept(version_at(head, h->revision), NULL, h->compacted);

    if (v != NULL) {
        h->value = mix_version(mix_bytes(h->value, version_key(v)), v);
        h->last = v;
    }
    *left -= MIN(*left, version_size(head));
}

bool mvcc_hasher_step(struct mvcc_hasher *h, size_t bytes)
{
    struct index_cursor c = index_seek(&h->m->index, strbuf_bytes(&h->after));
    const struct version *last_head = NULL;
    size_t left = MAX(bytes, (size_t)1);

    while (!h->ended && hash_older(h, &left) && left > 0) {
        struct version *head = index_cursor_next(&c);

        if (head == NULL) {
            h->ended = true;
        } else {
            last_head = head;
            hash_key(h, head, &left);
        }
    }
    if (last_head != NULL && !h->ended) {
        strbuf_clear(&h->after);
        strbuf_append_bytes(&h->after, version_key(last_head));
        strbuf_append_char(&h->after, '\0'); /* the next possible key */
    }
    return !h->ended;
}

int64_t mvcc_hasher_revision(const struct mvcc_hasher *h)
{
    return h->revision;
}

int64_t mvcc_hasher_compacted(const struct mvcc_hasher *h)
{
    return h->compacted;
}

uint64_t mvcc_hasher_value(const struct mvcc_hasher *h)
{
    decree_assert(h->ended);
    return h->value;
}

uint64_t mvcc_hash(const struct mvcc *m)
{
    struct mvcc_hasher h;

    begin(&h, m, MVCC_HASH_ALL, m->revision);
    while (mvcc_hasher_step(&h, SIZE_MAX)) {}
    return h.value;
}
