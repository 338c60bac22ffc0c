/* The mirror as bytes: magic, crc32c of the body, body = number of regions, then for each: start,
 * end, revision, number of entries, and for each: key, value, mod_revision. */
#include <errno.h>

#include "codec.h"
#include "crc32c.h"
#include "mirror_impl.h"

static const char magic[8] = "DECMIR01";
enum { SAVED_HEADER = sizeof(magic) + 4 };

void mirror_save(const struct mirror *m, struct strbuf *out)
{
    size_t head = out->len;
    size_t loaded = 0;

    strbuf_append(out, magic, sizeof(magic));
    enc_u32(out, 0);
    for (size_t i = 0; i < m->n_regions; i++) {
        loaded += m->groups[m->regions[i].group].revision != 0;
    }
    enc_varint(out, loaded);
    for (size_t i = 0; i < m->n_regions; i++) {
        const struct mirror_region *r = &m->regions[i];
        int64_t revision = m->groups[r->group].revision;

        if (revision == 0) {
            continue;
        }
        enc_bytes(out, r->start);
        enc_bytes(out, r->end);
        enc_u64(out, (uint64_t)revision);
        enc_varint(out, r->now.n);
        for (size_t j = 0; j < r->now.n; j++) {
            enc_bytes(out, mirror_key(r->now.at[j]));
            enc_bytes(out, mirror_value(r->now.at[j]));
            enc_u64(out, (uint64_t)r->now.at[j]->mod_revision);
        }
    }
    put_u32(out->data + head + sizeof(magic),
        crc32c(0, out->data + head + SAVED_HEADER, out->len - head - SAVED_HEADER));
}

/* Adds the entries of a saved range that lie in region i. */
static void restore_range(struct mirror *m, size_t i, struct dec d, uint64_t n)
{
    const struct mirror_region *r = &m->regions[i];

    for (; n > 0 && !d.bad; n--) {
        struct bytes key = dec_bytes(&d);
        struct bytes value = dec_bytes(&d);
        uint64_t mod = dec_u64(&d);

        if (!d.bad && bytes_cmp(key, r->start) >= 0 && bytes_cmp(key, r->end) < 0) {
            mirror_load_add(m, i, key, value, (int64_t)mod);
        }
    }
}

/* Reads over one range's entries. */
static void skip_range(struct dec *d, uint64_t n)
{
    for (; n > 0 && !d->bad; n--) {
        (void)dec_bytes(d);
        (void)dec_bytes(d);
        (void)dec_u64(d);
    }
}

/* Fills revisions[i] with the saved revision of region i, 0 where none covers it. */
static int restore_regions(struct mirror *m, struct bytes body, int64_t *revisions)
{
    struct dec d = dec_make(body);

    for (uint64_t n = dec_varint(&d); n > 0 && !d.bad; n--) {
        struct bytes start = dec_bytes(&d);
        struct bytes end = dec_bytes(&d);
        int64_t revision = (int64_t)dec_u64(&d);
        uint64_t n_entries = dec_varint(&d);
        struct dec entries = d;

        skip_range(&d, n_entries);
        for (size_t i = 0; i < m->n_regions && !d.bad; i++) {
            const struct mirror_region *r = &m->regions[i];

            if (bytes_cmp(start, r->start) <= 0 && bytes_cmp(r->end, end) <= 0) {
                restore_range(m, i, entries, n_entries);
                revisions[i] = revision;
            }
        }
    }
    return dec_done(&d) ? 0 : -EBADMSG;
}

static int commit_restored(struct mirror *m, const int64_t *revisions)
{
    int taken = 0;

    for (size_t g = 0; g < m->n_groups; g++) {
        int64_t revision = -1;

        for (size_t i = 0; i < m->n_regions; i++) {
            if (m->regions[i].group == g) {
                revision = revision < 0 || revision == revisions[i] ? revisions[i] : 0;
            }
        }
        if (revision > 0) {
            mirror_load_commit(m, g, revision);
            taken++;
        }
    }
    return taken;
}

int mirror_restore(struct mirror *m, struct bytes saved)
{
    _cleanup_free_ int64_t *revisions = xcalloc(m->n_regions + 1, sizeof(int64_t));
    struct bytes body;

    if (saved.len < SAVED_HEADER || memcmp(saved.data, magic, sizeof(magic)) != 0) {
        return -EBADMSG;
    }
    body = bytes_make(saved.data + SAVED_HEADER, saved.len - SAVED_HEADER);
    if (get_u32(saved.data + sizeof(magic)) != crc32c(0, body.data, body.len)) {
        return -EBADMSG;
    }
    for (size_t g = 0; g < m->n_groups; g++) {
        mirror_load_begin(m, g);
    }
    if (restore_regions(m, body, revisions) < 0) {
        for (size_t g = 0; g < m->n_groups; g++) {
            mirror_load_begin(m, g);
        }
        return -EBADMSG;
    }
    return commit_restored(m, revisions);
}
