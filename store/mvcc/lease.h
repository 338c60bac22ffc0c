/* Leases: which exist (replicated), which keys hang on them (follows from the keys), and when they
 * expire (this member's own, while it leads).
 *
 * A deadline is moved by each keepalive; the heap is not: each lease sits in it under `timer_ms`,
 * which is at most its deadline, and is put back when the timer fires and the deadline has moved.
 * So a keepalive costs one hash lookup, and a lease one heap operation per time to live. */
#ifndef DECREE_STORE_MVCC_LEASE_H
#define DECREE_STORE_MVCC_LEASE_H

#include "hmap.h"
#include "list.h"
#include "version.h"

struct lease {
    struct hmap_node node; /* by id */
    int64_t id;
    int64_t ttl_s;
    struct list keys; /* version_lease.link of the newest versions that are attached */
    uint64_t deadline_ms;
    uint64_t timer_ms;
    size_t heap_at; /* place in the heap while leading */
};

struct lease_table {
    struct hmap by_id;   /* owns the leases */
    struct lease **heap; /* owned array; by timer_ms, all leases while leading, else empty */
    size_t n_heap, cap_heap;
    bool leading;
};

void lease_table_deinit(struct lease_table *t);
struct lease *lease_find(const struct lease_table *t, int64_t id);
/* A lease that is new; without a deadline unless leading. */
struct lease *lease_add(struct lease_table *t, int64_t id, int64_t ttl_s, uint64_t now_ms);
/* No key is attached any more. */
void lease_remove(struct lease_table *t, struct lease *l);
/* All ids in ascending order into ids, which has room for by_id.count. */
void lease_ids_sorted(const struct lease_table *t, int64_t *ids);

/* v is the newest version of its key / is not any more. Without a lease nothing happens. */
void lease_attach(struct lease_table *t, struct version *v);
void lease_detach(struct version *v);

#endif
