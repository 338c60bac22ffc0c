/* The life of a keyspace and its compaction. */
#include "mvcc.h"

#include "alloc.h"
#include "err.h"
#include "keyspace.h"

struct mvcc *mvcc_new(void)
{
    struct mvcc *m = xcalloc(1, sizeof(*m));

    m->revision = 1;
    list_init(&m->readers);
    watch_hub_init(&m->hub);
    return m;
}

static void free_chain(struct version *v)
{
    while (v != NULL) {
        struct version *prev = v->prev;

        if (v->leased) {
            list_del(&version_lease(v)->link);
        }
        version_free(v);
        v = prev;
    }
}

struct mvcc *mvcc_free(struct mvcc *m)
{
    struct index_cursor c;
    struct version *v;

    if (m == NULL) {
        return NULL;
    }
    decree_assert(m->snapshots == 0 && list_empty(&m->readers));
    c = index_seek(&m->index, (struct bytes){0});
    while ((v = index_cursor_next(&c)) != NULL) {
        free_chain(v);
    }
    watch_hub_deinit(&m->hub);
    history_deinit(&m->history);
    index_deinit(&m->index);
    lease_table_deinit(&m->leases);
    free(m);
    return NULL;
}

int64_t mvcc_revision(const struct mvcc *m)
{
    return m->revision;
}

int64_t mvcc_compacted(const struct mvcc *m)
{
    return m->compacted;
}

uint64_t mvcc_bytes(const struct mvcc *m)
{
    return m->bytes;
}

uint64_t mvcc_live_bytes(const struct mvcc *m)
{
    return m->live_bytes;
}

uint64_t mvcc_keys(const struct mvcc *m)
{
    return m->index.live;
}

/* ---- compaction ----
 * The history up to the compacted revision is walked once, from its front. At each change whatever
 * is older of the same key is freed: it has been walked over before and nobody points to it. Below
 * the compacted revision the change itself then leaves the history, and a tombstone that is still
 * the newest of its key leaves the index and is freed. (One with a newer version beyond the
 * compacted revision stays behind that one until it is walked over.) Changes of the compacted
 * revision itself stay in the history: watchers may start there. */

int mvcc_compact(struct mvcc *m, int64_t revision)
{
    if (revision <= m->compacted) {
        return DECREE_ECOMPACTED;
    }
    if (revision > m->revision) {
        return DECREE_EFUTURE_REV;
    }
    m->compacted = revision;
    m->compact_next = m->history.begin;
    return 0;
}

static void free_version(struct mvcc *m, struct version *v)
{
    m->bytes -= version_cost(v);
    version_free(v);
}

/* Versions made by the same revision as v stay if that is the compacted one. */
static size_t free_older(struct mvcc *m, struct version *v)
{
    size_t n = 0;

    while (v->prev != NULL && v->prev->mod < m->compacted) {
        struct version *old = v->prev;

        v->prev = old->prev;
        free_version(m, old);
        n++;
    }
    return n;
}

bool mvcc_compact_step(struct mvcc *m, size_t records)
{
    struct history *h = &m->history;
    bool has_synced = m->hub.n_watchers > m->hub.n_slow;
    /* What synced watchers have not been told yet stays. */
    uint64_t end = has_synced ? MIN(h->end, m->hub.delivered) : h->end;
    int64_t floor = range_readers_floor(m); /* what is hidden by then, no reader sees */

    decree_assert(!m->working);
    if (m->snapshots > 0) {
        return false;
    }
    while (m->compact_next < end && records > 0) {
        struct version *v = history_at(h, m->compact_next);

        if (v->mod > m->compacted) {
            break;
        }
        if (v->mod > floor) {
            return false;
        }
        size_t n = free_older(m, v) + 1;

        records -= MIN(records, n);
        m->compact_next++;
        if (v->mod < m->compacted) {
            decree_assert(m->compact_next == h->begin + 1);
            history_pop(h);
            if (version_is_tombstone(v) && !v->superseded) {
                index_remove(&m->index, version_key(v));
                free_version(m, v);
            }
        }
    }
    return mvcc_compact_done(m) < m->compacted;
}

int64_t mvcc_compact_done(const struct mvcc *m)
{
    const struct history *h = &m->history;

    if (m->compact_next >= h->end || history_at(h, m->compact_next)->mod > m->compacted) {
        return m->compacted;
    }
    return history_at(h, m->compact_next)->mod - 1;
}

int mvcc_advance(struct mvcc *m, int64_t by)
{
    decree_assert(by > 0 && m->snapshots == 0 && mvcc_watch_count(m) == 0);
    if (m->revision > MVCC_REVISION_MAX - by) {
        return DECREE_EFUTURE_REV;
    }
    m->revision += by;
    (void)mvcc_compact(m, m->revision);
    while (mvcc_compact_step(m, SIZE_MAX)) {}
    return 0;
}
