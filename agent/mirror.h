/* The agent's copy of what its resources may see: ordered keys, pure memory, no I/O.
 *
 * Regions and groups. The scopes of all resources are merged into as few disjoint key ranges as
 * possible: each one is a region and costs one watch on the store. A resource whose scopes lie in
 * several regions ties them into one group, because its file must be rendered at one revision; the
 * others stay on their own and never wait for each other.
 *
 * One revision. A region has `received` everything up to some revision: that of its last event, or
 * a later one that the store confirmed as "nothing since". A group's revision is the smallest of
 * its regions'. Events beyond it wait in their region's queue, and mirror_settle applies what the
 * group has reached, in order. So a group's keys are always those of exactly one revision of the
 * store, also between two disjoint regions that one transaction changes; a store never splits a
 * revision over two watch responses. A group of one region never waits. */
#ifndef DECREE_AGENT_MIRROR_H
#define DECREE_AGENT_MIRROR_H

#include "buf.h"

struct mirror;

/* One key as it is kept; key and value follow each other in data. */
struct mirror_entry {
    int64_t mod_revision;
    uint32_t key_len;
    uint32_t value_len;
    uint8_t data[];
};

static inline struct bytes mirror_key(const struct mirror_entry *e)
{
    return bytes_make(e->data, e->key_len);
}

static inline struct bytes mirror_value(const struct mirror_entry *e)
{
    return bytes_make(e->data + e->key_len, e->value_len);
}

/* Told of every key whose value changed, came or went, while a settle or a load is applied. */
typedef void (*mirror_changed_cb)(void *data, size_t group, struct bytes key);

struct mirror *mirror_new(mirror_changed_cb changed, void *data);
/* NULL is accepted; returns NULL. */
struct mirror *mirror_free(struct mirror *m);

/* Planning: name the scopes (resource.h) of each resource, then build once. Returns the resource's
 * number, by which mirror_group_of answers after mirror_build. */
size_t mirror_add_resource(struct mirror *m, size_t n, char *const *scopes);
void mirror_build(struct mirror *m);
size_t mirror_group_of(const struct mirror *m, size_t resource);
/* Same regions and groups, resource by resource: nothing needs to be read again. */
bool mirror_same_plan(const struct mirror *a, const struct mirror *b);

size_t mirror_n_groups(const struct mirror *m);
size_t mirror_n_regions(const struct mirror *m);
size_t mirror_region_group(const struct mirror *m, size_t region);
struct bytes mirror_region_start(const struct mirror *m, size_t region);
struct bytes mirror_region_end(const struct mirror *m, size_t region);
/* Keys of the region; those at `received` unless events are pending. */
size_t mirror_region_count(const struct mirror *m, size_t region);
/* Events of the region wait for other regions. */
bool mirror_region_pending(const struct mirror *m, size_t region);
/* Everything up to this revision is known for the region; a watch goes on behind it. */
int64_t mirror_received(const struct mirror *m, size_t region);
/* 0 until the group was loaded. */
int64_t mirror_revision(const struct mirror *m, size_t group);

/* A consistent read replaces a group's contents: begin, add each region's keys in ascending order,
 * commit with the revision of the read. Nothing is visible before the commit; what is queued is
 * dropped by it, and changes are told by comparing old and new. A begin forgets an unfinished one.
 */
void mirror_load_begin(struct mirror *m, size_t group);
void mirror_load_add(
    struct mirror *m, size_t region, struct bytes key, struct bytes value, int64_t mod_revision);
void mirror_load_commit(struct mirror *m, size_t group, int64_t revision);

/* One event of a region's watch; value is ignored for a deletion. Events come in the order of their
 * revisions; what is at or below `received` before this batch is a repetition and left out. All
 * events of one revision are pushed before anything else is done with the region. */
void mirror_push(struct mirror *m, size_t region, bool deleted, struct bytes key,
    struct bytes value, int64_t mod_revision);
/* The store said: the region has no event up to revision that was not pushed. */
void mirror_confirm(struct mirror *m, size_t region, int64_t revision);
/* Applies what the group has reached. False when events wait for another region's confirmation. */
bool mirror_settle(struct mirror *m, size_t group);

/* Lookup. The entry is valid until the next settle or load. */
const struct mirror_entry *mirror_get(const struct mirror *m, struct bytes key);
/* Calls visit for each key in [from, end) of the region that holds from, ascending, until it
 * returns false. */
void mirror_walk(const struct mirror *m, struct bytes from, struct bytes end,
    bool (*visit)(void *arg, const struct mirror_entry *e), void *arg);

/* All loaded groups as bytes, and back: for a start without the store. mirror_restore takes what
 * covers m's regions wholly, as if it had been loaded at the saved revision (a group is taken only
 * if all its regions were saved at one revision); returns how many groups it loaded. -EBADMSG when
 * the bytes are damaged, and nothing is changed then. */
void mirror_save(const struct mirror *m, struct strbuf *out);
int mirror_restore(struct mirror *m, struct bytes saved);

#endif
