/* A hash over what is kept. Not keyed (members compare it) and not against adversaries: it finds
 * members that have drifted apart. Each word is mixed in by a multiplication with an odd constant
 * and a rotation. */
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

uint64_t mvcc_hash(const struct mvcc *m)
{
    struct index_cursor c = index_seek(&m->index, (struct bytes){0});
    uint64_t h = mix(mix(0, (uint64_t)m->revision), (uint64_t)m->compacted);
    struct version *head;

    h = mix_leases(h, &m->leases);
    while ((head = index_cursor_next(&c)) != NULL) {
        const struct version *v = version_kept(head, NULL, m->compacted);

        if (v != NULL) {
            h = mix_bytes(h, version_key(v));
        }
        for (; v != NULL; v = version_kept(NULL, v, m->compacted)) {
            h = mix_version(h, v);
        }
    }
    return h;
}
