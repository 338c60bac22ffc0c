/* How the mirror keeps what it has: shared by its planning, its contents and its saved form. */
#ifndef DECREE_AGENT_MIRROR_IMPL_H
#define DECREE_AGENT_MIRROR_IMPL_H

#include "list.h"
#include "mirror.h"
#include "mirror_entries.h"

/* An event that waits until its group has reached its revision. */
struct mirror_pending {
    struct list link;
    bool deleted;
    struct mirror_entry *e; /* owned; the value of a deletion is empty */
};

struct mirror_region {
    struct bytes start, end; /* owned by the mirror */
    size_t group;
    struct mirror_entries now;
    struct mirror_entries incoming; /* of an unfinished load */
    struct list queue;              /* of struct mirror_pending, ascending by revision */
    int64_t received;
    int64_t pushing; /* revision of the batch that is being pushed */
};

struct mirror_group {
    int64_t revision; /* 0: not loaded */
};

struct mirror_resource_plan {
    size_t n;
    struct bytes *scopes; /* owned, with their bytes */
    size_t group;
};

struct mirror {
    mirror_changed_cb changed;
    void *data;
    struct mirror_region *regions; /* owned, ascending by start, disjoint */
    size_t n_regions;
    struct mirror_group *groups; /* owned */
    size_t n_groups;
    struct mirror_resource_plan *plans; /* owned */
    size_t n_plans;
};

/* The region that holds key, or NULL. */
struct mirror_region *mirror_region_of(const struct mirror *m, struct bytes key);
/* Lets go of regions' bounds, plans and groups; the regions hold nothing any more. */
void mirror_free_plan(struct mirror *m);

#endif
