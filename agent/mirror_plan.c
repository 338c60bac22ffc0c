/* Which regions there are, and which of them belong together. */
#include "mirror_impl.h"
#include "resource.h"

static struct bytes own(struct bytes b)
{
    return bytes_make(xmemdup(b.data, b.len), b.len);
}

static void disown(struct bytes b)
{
    free((void *)(uintptr_t)b.data);
}

void mirror_free_plan(struct mirror *m)
{
    for (size_t i = 0; i < m->n_regions; i++) {
        disown(m->regions[i].start);
        disown(m->regions[i].end);
    }
    for (size_t i = 0; i < m->n_plans; i++) {
        for (size_t j = 0; j < m->plans[i].n; j++) {
            disown(m->plans[i].scopes[j]);
        }
        free(m->plans[i].scopes);
    }
    free(m->regions);
    free(m->groups);
    free(m->plans);
}

/* ---- planning ---- */

size_t mirror_add_resource(struct mirror *m, size_t n, char *const *scopes)
{
    struct mirror_resource_plan *plan;

    decree_assert(m->n_regions == 0 && n > 0);
    m->plans = xreallocarray(m->plans, m->n_plans + 1, sizeof(*m->plans));
    plan = &m->plans[m->n_plans];
    *plan = (struct mirror_resource_plan){.n = n, .scopes = xcalloc(n, sizeof(*plan->scopes))};
    for (size_t i = 0; i < n; i++) {
        plan->scopes[i] = own(bytes_str(scopes[i]));
    }
    return m->n_plans++;
}

static int by_start(const void *a, const void *b)
{
    return bytes_cmp(
        ((const struct mirror_region *)a)->start, ((const struct mirror_region *)b)->start);
}

/* Merges ranges that overlap; all are sorted by start. */
static void merge_regions(struct mirror *m)
{
    size_t n = 0;

    for (size_t i = 0; i < m->n_regions; i++) {
        struct mirror_region *r = &m->regions[i];
        struct mirror_region *last = n > 0 ? &m->regions[n - 1] : NULL;

        if (last == NULL || bytes_cmp(r->start, last->end) >= 0) {
            m->regions[n++] = *r;
            continue;
        }
        if (bytes_cmp(r->end, last->end) > 0) {
            struct bytes shorter = last->end;

            last->end = r->end;
            r->end = shorter;
        }
        disown(r->start);
        disown(r->end);
    }
    m->n_regions = n;
    for (size_t i = 0; i < n; i++) {
        list_init(&m->regions[i].queue);
        m->regions[i].group = i;
    }
}

struct mirror_region *mirror_region_of(const struct mirror *m, struct bytes key)
{
    size_t lo = 0, hi = m->n_regions;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (bytes_cmp(m->regions[mid].start, key) <= 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    if (lo == 0 || bytes_cmp(key, m->regions[lo - 1].end) >= 0) {
        return NULL;
    }
    return &m->regions[lo - 1];
}

/* Every region that shares a resource with another one gets the smaller group number. */
static void join_groups(struct mirror *m, const struct mirror_resource_plan *plan)
{
    size_t to = mirror_region_of(m, plan->scopes[0])->group;

    for (size_t i = 1; i < plan->n; i++) {
        size_t from = mirror_region_of(m, plan->scopes[i])->group;
        size_t high = MAX(from, to);

        to = MIN(from, to);
        for (size_t j = 0; j < m->n_regions; j++) {
            if (m->regions[j].group == high) {
                m->regions[j].group = to;
            }
        }
    }
}

/* Closes the gaps that joining left in the numbers. */
static void number_groups(struct mirror *m)
{
    _cleanup_free_ size_t *new_number = xcalloc(m->n_regions + 1, sizeof(size_t));

    for (size_t i = 0; i < m->n_regions; i++) {
        if (m->regions[i].group == i) {
            new_number[i] = m->n_groups++;
        }
        m->regions[i].group = new_number[m->regions[i].group];
    }
}

void mirror_build(struct mirror *m)
{
    size_t n = 0;

    decree_assert(m->n_regions == 0);
    for (size_t i = 0; i < m->n_plans; i++) {
        n += m->plans[i].n;
    }
    m->regions = xcalloc(n + 1, sizeof(*m->regions));
    for (size_t i = 0; i < m->n_plans; i++) {
        for (size_t j = 0; j < m->plans[i].n; j++) {
            struct mirror_region *r = &m->regions[m->n_regions++];
            _cleanup_strbuf_ struct strbuf end = {0};

            scope_end(m->plans[i].scopes[j], &end);
            r->start = own(m->plans[i].scopes[j]);
            r->end = own(strbuf_bytes(&end));
        }
    }
    qsort(m->regions, m->n_regions, sizeof(*m->regions), by_start);
    merge_regions(m);
    for (size_t i = 0; i < m->n_plans; i++) {
        join_groups(m, &m->plans[i]);
    }
    number_groups(m);
    m->groups = xcalloc(m->n_groups + 1, sizeof(*m->groups));
    for (size_t i = 0; i < m->n_plans; i++) {
        m->plans[i].group = mirror_region_of(m, m->plans[i].scopes[0])->group;
    }
}

bool mirror_same_plan(const struct mirror *a, const struct mirror *b)
{
    if (a->n_regions != b->n_regions || a->n_groups != b->n_groups) {
        return false;
    }
    for (size_t i = 0; i < a->n_regions; i++) {
        if (!bytes_eq(a->regions[i].start, b->regions[i].start) ||
            !bytes_eq(a->regions[i].end, b->regions[i].end) ||
            a->regions[i].group != b->regions[i].group) {
            return false;
        }
    }
    return true;
}

/* ---- answers ---- */

size_t mirror_group_of(const struct mirror *m, size_t resource)
{
    decree_assert(resource < m->n_plans);
    return m->plans[resource].group;
}

size_t mirror_n_groups(const struct mirror *m)
{
    return m->n_groups;
}

size_t mirror_n_regions(const struct mirror *m)
{
    return m->n_regions;
}

size_t mirror_region_group(const struct mirror *m, size_t region)
{
    return m->regions[region].group;
}

struct bytes mirror_region_start(const struct mirror *m, size_t region)
{
    return m->regions[region].start;
}

struct bytes mirror_region_end(const struct mirror *m, size_t region)
{
    return m->regions[region].end;
}
