/* What the regions hold, and how it follows the store. */
#include "mirror_impl.h"

static void pending_free(struct mirror_pending *p)
{
    list_del(&p->link);
    free(p->e);
    free(p);
}

static void queue_clear(struct mirror_region *r)
{
    list_for_each_safe (it, &r->queue) {
        pending_free(list_entry(it, struct mirror_pending, link));
    }
}

struct mirror *mirror_new(mirror_changed_cb changed, void *data)
{
    struct mirror *m = xcalloc(1, sizeof(*m));

    m->changed = changed;
    m->data = data;
    return m;
}

struct mirror *mirror_free(struct mirror *m)
{
    if (m == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < m->n_regions; i++) {
        mirror_entries_clear(&m->regions[i].now);
        mirror_entries_clear(&m->regions[i].incoming);
        queue_clear(&m->regions[i]);
    }
    mirror_free_plan(m);
    free(m);
    return NULL;
}

/* ---- loads ---- */

void mirror_load_begin(struct mirror *m, size_t group)
{
    for (size_t i = 0; i < m->n_regions; i++) {
        if (m->regions[i].group == group) {
            mirror_entries_clear(&m->regions[i].incoming);
        }
    }
}

void mirror_load_add(
    struct mirror *m, size_t region, struct bytes key, struct bytes value, int64_t mod_revision)
{
    struct mirror_entries *es = &m->regions[region].incoming;

    mirror_entries_insert(es, es->n, mirror_entry_new(key, value, mod_revision));
}

/* Old and new side by side, both ascending: tells every key that differs. */
static void tell_differences(struct mirror *m, size_t group, const struct mirror_entries *old,
    const struct mirror_entries *new)
{
    size_t i = 0, j = 0;

    while (i < old->n || j < new->n) {
        int c = i == old->n ? 1
            : j == new->n   ? -1
                            : bytes_cmp(mirror_key(old->at[i]), mirror_key(new->at[j]));

        if (c != 0 || !mirror_entry_same_value(old->at[i], new->at[j])) {
            m->changed(m->data, group, mirror_key(c <= 0 ? old->at[i] : new->at[j]));
        }
        i += c <= 0;
        j += c >= 0;
    }
}

void mirror_load_commit(struct mirror *m, size_t group, int64_t revision)
{
    for (size_t i = 0; i < m->n_regions; i++) {
        struct mirror_region *r = &m->regions[i];
        struct mirror_entries old = r->now;

        if (r->group != group) {
            continue;
        }
        r->now = r->incoming;
        r->incoming = (struct mirror_entries){0};
        r->received = revision;
        r->pushing = 0;
        queue_clear(r);
        tell_differences(m, group, &old, &r->now);
        mirror_entries_clear(&old);
    }
    m->groups[group].revision = revision;
}

/* ---- events ---- */

void mirror_push(struct mirror *m, size_t region, bool deleted, struct bytes key,
    struct bytes value, int64_t mod_revision)
{
    struct mirror_region *r = &m->regions[region];
    struct mirror_pending *p;

    if (mod_revision < r->received || (mod_revision == r->received && r->pushing != mod_revision)) {
        return;
    }
    r->received = r->pushing = mod_revision;
    p = xcalloc(1, sizeof(*p));
    p->deleted = deleted;
    p->e = mirror_entry_new(key, deleted ? (struct bytes){0} : value, mod_revision);
    list_add_tail(&r->queue, &p->link);
}

void mirror_confirm(struct mirror *m, size_t region, int64_t revision)
{
    struct mirror_region *r = &m->regions[region];

    if (revision > r->received) {
        r->received = revision;
        r->pushing = 0;
    }
}

static void apply(struct mirror *m, struct mirror_region *r, struct mirror_pending *p)
{
    size_t i;
    struct mirror_entry *old = mirror_entries_find(&r->now, mirror_key(p->e), &i);
    bool changed = p->deleted ? old != NULL : old == NULL || !mirror_entry_same_value(old, p->e);

    if (p->deleted && old != NULL) {
        free(mirror_entries_take(&r->now, i));
    } else if (old != NULL) {
        free(old);
        r->now.at[i] = p->e;
    } else if (!p->deleted) {
        mirror_entries_insert(&r->now, i, p->e);
    }
    if (changed) {
        m->changed(m->data, r->group, mirror_key(p->e));
    }
    if (!p->deleted) {
        p->e = NULL; /* the region's now */
    }
    pending_free(p);
}

bool mirror_settle(struct mirror *m, size_t group)
{
    int64_t reached = INT64_MAX;
    bool all = true;

    for (size_t i = 0; i < m->n_regions; i++) {
        if (m->regions[i].group == group) {
            reached = MIN(reached, m->regions[i].received);
        }
    }
    for (size_t i = 0; i < m->n_regions; i++) {
        struct mirror_region *r = &m->regions[i];

        if (r->group != group) {
            continue;
        }
        /* Regions are independent sets of keys, so that only the order within one matters. */
        while (!list_empty(&r->queue)) {
            struct mirror_pending *p = list_entry(r->queue.next, struct mirror_pending, link);

            if (p->e->mod_revision > reached) {
                all = false;
                break;
            }
            apply(m, r, p);
        }
    }
    m->groups[group].revision = reached;
    return all;
}

/* ---- lookup ---- */

size_t mirror_region_count(const struct mirror *m, size_t region)
{
    return m->regions[region].now.n;
}

bool mirror_region_pending(const struct mirror *m, size_t region)
{
    return !list_empty(&m->regions[region].queue);
}

int64_t mirror_received(const struct mirror *m, size_t region)
{
    return m->regions[region].received;
}

int64_t mirror_revision(const struct mirror *m, size_t group)
{
    return m->groups[group].revision;
}

const struct mirror_entry *mirror_get(const struct mirror *m, struct bytes key)
{
    const struct mirror_region *r = mirror_region_of(m, key);
    size_t i;

    return r != NULL ? mirror_entries_find(&r->now, key, &i) : NULL;
}

void mirror_walk(const struct mirror *m, struct bytes from, struct bytes end,
    bool (*visit)(void *arg, const struct mirror_entry *e), void *arg)
{
    const struct mirror_region *r = mirror_region_of(m, from);

    if (r == NULL) {
        return;
    }
    for (size_t i = mirror_entries_lower_bound(&r->now, from); i < r->now.n; i++) {
        if (bytes_cmp(mirror_key(r->now.at[i]), end) >= 0 || !visit(arg, r->now.at[i])) {
            return;
        }
    }
}
