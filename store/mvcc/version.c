#include "version.h"

#include "alloc.h"

/* What malloc adds: its own word, rounded up to 16 bytes. */
static size_t chunk_size(size_t size)
{
    return (size + sizeof(size_t) + 15) & ~(size_t)15;
}

static size_t lease_size(bool leased)
{
    return leased ? sizeof(struct version_lease) : 0;
}

static size_t struct_size(size_t key_len, size_t value_len)
{
    return MAX(sizeof(struct version), offsetof(struct version, bytes) + key_len + value_len);
}

struct version *version_new(
    struct bytes key, struct bytes value, int64_t lease, enum mvcc_action action)
{
    size_t front = lease_size(lease != 0);
    uint8_t *p = xmalloc(front + struct_size(key.len, value.len));
    struct version *v = (struct version *)(void *)(p + front);

    decree_assert(key.len < 1 << 24 && value.len <= UINT32_MAX);
    *v = (struct version){
        .value_len = (uint32_t)value.len,
        .key_len = (uint32_t)key.len & 0xffffff,
        .action = (unsigned)action & 0xf,
        .leased = lease != 0,
    };
    memcpy(v->bytes, key.data, key.len);
    if (value.len != 0) {
        memcpy(v->bytes + key.len, value.data, value.len);
    }
    if (lease != 0) {
        version_lease(v)->id = lease;
        list_init(&version_lease(v)->link);
    }
    return v;
}

void version_free(struct version *v)
{
    if (v != NULL && v->leased) {
        decree_assert(list_empty(&version_lease(v)->link));
        free(version_lease(v));
    } else {
        free(v);
    }
}

size_t version_size(const struct version *v)
{
    return chunk_size(lease_size(v->leased) + struct_size(v->key_len, v->value_len));
}

struct kv version_kv(const struct version *v)
{
    return (struct kv){
        .key = version_key(v),
        .value = version_value(v),
        .create_revision = v->create,
        .mod_revision = v->mod,
        .version = v->version,
        .lease = version_lease_id(v),
    };
}

struct version *version_kept(struct version *head, const struct version *newer, int64_t compacted)
{
    struct version *v = newer != NULL ? newer->prev : head;

    if (v == NULL || v->mod >= compacted) {
        return v;
    }
    if (version_is_tombstone(v) || (newer != NULL && newer->mod <= compacted)) {
        return NULL;
    }
    return v;
}
