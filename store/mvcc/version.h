/* One version of one key: a single allocation with header, key and value. The newest version of a
 * key hangs in the index, the older ones behind it; each is also in the history until compaction
 * has passed it. Immutable but for `prev` and `superseded`. */
#ifndef DECREE_STORE_MVCC_VERSION_H
#define DECREE_STORE_MVCC_VERSION_H

#include "bytes.h"
#include "list.h"
#include "watch.h"

struct version {
    struct version *prev; /* the version before this one, owned; NULL when none or compacted */
    int64_t mod;          /* the revision that made it */
    int64_t create;       /* 0 for a tombstone, as is version */
    int64_t version;
    uint32_t value_len;
    uint32_t key_len : 24;   /* REQUEST_BYTES_MAX fits */
    uint32_t action : 4;     /* enum mvcc_action */
    uint32_t superseded : 1; /* a newer version of the key exists */
    uint32_t leased : 1;     /* a struct version_lease lies in front of this struct */
    uint32_t sub;            /* place among the changes of its revision, from 0 */
    uint8_t bytes[];         /* key, then value */
};

/* In front of the versions that were put with a lease; the others pay nothing for it. */
struct version_lease {
    int64_t id;
    struct list link; /* in the lease's list while this version is the newest of its key */
};

_Static_assert(REQUEST_BYTES_MAX < 1 << 24, "a key length must fit into its bits");
_Static_assert(offsetof(struct version, bytes) == 44, "1,000,000 keys pay for every byte here");
_Static_assert(sizeof(struct version_lease) % _Alignof(struct version) == 0, "no gap between them");

/* A put or a tombstone (value empty, lease 0). prev, create and version are the caller's to set. */
struct version *version_new(
    struct bytes key, struct bytes value, int64_t lease, enum mvcc_action action);
void version_free(struct version *v);
/* What it costs, allocator included. */
size_t version_size(const struct version *v);

static inline bool action_is_delete(enum mvcc_action action)
{
    return action != MVCC_ACTION_PUT && action != MVCC_ACTION_TXN_PUT;
}

static inline bool version_is_tombstone(const struct version *v)
{
    return action_is_delete((enum mvcc_action)v->action);
}

static inline struct bytes version_key(const struct version *v)
{
    return bytes_make(v->bytes, v->key_len);
}

static inline struct bytes version_value(const struct version *v)
{
    return bytes_make(v->bytes + v->key_len, v->value_len);
}

static inline size_t version_bytes(const struct version *v)
{
    return (size_t)v->key_len + v->value_len;
}

static inline struct version_lease *version_lease(struct version *v)
{
    return (struct version_lease *)(void *)v - 1;
}

static inline struct version *version_of_lease_link(struct list *link)
{
    return (struct version *)(void *)(list_entry(link, struct version_lease, link) + 1);
}

static inline int64_t version_lease_id(const struct version *v)
{
    return v->leased ? ((const struct version_lease *)(const void *)v - 1)->id : 0;
}

struct kv version_kv(const struct version *v);

/* The newest version not newer than `revision`, from v on; NULL when there is none. */
static inline struct version *version_at(struct version *v, int64_t revision)
{
    while (v != NULL && v->mod > revision) {
        v = v->prev;
    }
    return v;
}

/* What is kept of a key after compaction at `compacted`, from its newest version on: every version
 * from that revision on and, when none was made at it, the newest one before it unless that is a
 * tombstone. The same on every member, however far each is in giving memory back. `newer` is NULL
 * for the first one; NULL at the end. */
struct version *version_kept(struct version *head, const struct version *newer, int64_t compacted);

#endif
