/* Regions are kept as sorted arrays of entries: lookups and walks are what renders are made of, and
 * an insertion into 100,000 pointers moves less than a megabyte. */
#include "mirror.h"

#include <errno.h>

#include "codec.h"
#include "crc32c.h"
#include "list.h"
#include "resource.h"

struct entries {
    struct mirror_entry **at; /* owned, ascending by key */
    size_t n, cap;
};

/* An event that waits until its group has reached its revision. */
struct pending {
    struct list link;
    bool deleted;
    struct mirror_entry *e; /* owned; the value of a deletion is empty */
};

struct region {
    struct bytes start, end; /* owned by the mirror */
    size_t group;
    struct entries now;
    struct entries incoming; /* of an unfinished load */
    struct list queue;       /* of struct pending, ascending by revision */
    int64_t received;
    int64_t pushing; /* revision of the batch that is being pushed */
};

struct group {
    int64_t revision; /* 0: not loaded */
};

struct resource_plan {
    size_t n;
    struct bytes *scopes; /* owned, with their bytes */
    size_t group;
};

struct mirror {
    mirror_changed_cb changed;
    void *data;
    struct region *regions; /* owned, ascending by start, disjoint */
    size_t n_regions;
    struct group *groups; /* owned */
    size_t n_groups;
    struct resource_plan *plans; /* owned */
    size_t n_plans;
};

static struct bytes own(struct bytes b)
{
    return bytes_make(xmemdup(b.data, b.len), b.len);
}

static void disown(struct bytes b)
{
    free((void *)(uintptr_t)b.data);
}

struct mirror *mirror_new(mirror_changed_cb changed, void *data)
{
    struct mirror *m = xcalloc(1, sizeof(*m));

    m->changed = changed;
    m->data = data;
    return m;
}

static void entries_clear(struct entries *es)
{
    for (size_t i = 0; i < es->n; i++) {
        free(es->at[i]);
    }
    free(es->at);
    *es = (struct entries){0};
}

static void pending_free(struct pending *p)
{
    list_del(&p->link);
    free(p->e);
    free(p);
}

static void queue_clear(struct region *r)
{
    list_for_each_safe (it, &r->queue) {
        pending_free(list_entry(it, struct pending, link));
    }
}

struct mirror *mirror_free(struct mirror *m)
{
    if (m == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < m->n_regions; i++) {
        struct region *r = &m->regions[i];

        entries_clear(&r->now);
        entries_clear(&r->incoming);
        queue_clear(r);
        disown(r->start);
        disown(r->end);
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
    free(m);
    return NULL;
}

/* Planning */

size_t mirror_add_resource(struct mirror *m, size_t n, char *const *scopes)
{
    struct resource_plan *plan;

    decree_assert(m->n_regions == 0 && n > 0);
    m->plans = xreallocarray(m->plans, m->n_plans + 1, sizeof(*m->plans));
    plan = &m->plans[m->n_plans];
    *plan = (struct resource_plan){.n = n, .scopes = xcalloc(n, sizeof(*plan->scopes))};
    for (size_t i = 0; i < n; i++) {
        plan->scopes[i] = own(bytes_str(scopes[i]));
    }
    return m->n_plans++;
}

static int by_start(const void *a, const void *b)
{
    return bytes_cmp(((const struct region *)a)->start, ((const struct region *)b)->start);
}

/* Merges ranges that overlap; all are sorted by start. */
static void merge_regions(struct mirror *m)
{
    size_t n = 0;

    for (size_t i = 0; i < m->n_regions; i++) {
        struct region *r = &m->regions[i];
        struct region *last = n > 0 ? &m->regions[n - 1] : NULL;

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

/* The region that holds key, or NULL. */
static struct region *region_of(const struct mirror *m, struct bytes key)
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
static void join_groups(struct mirror *m, const struct resource_plan *plan)
{
    size_t to = region_of(m, plan->scopes[0])->group;

    for (size_t i = 1; i < plan->n; i++) {
        size_t from = region_of(m, plan->scopes[i])->group;
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
            struct region *r = &m->regions[m->n_regions++];
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
        m->plans[i].group = region_of(m, m->plans[i].scopes[0])->group;
    }
}

size_t mirror_group_of(const struct mirror *m, size_t resource)
{
    decree_assert(resource < m->n_plans);
    return m->plans[resource].group;
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

/* Entries */

static struct mirror_entry *entry_new(struct bytes key, struct bytes value, int64_t mod_revision)
{
    struct mirror_entry *e;

    decree_assert(key.len < UINT32_MAX && value.len < UINT32_MAX);
    e = xmalloc(sizeof(*e) + key.len + value.len);
    e->mod_revision = mod_revision;
    e->key_len = (uint32_t)key.len;
    e->value_len = (uint32_t)value.len;
    memcpy(e->data, key.data, key.len);
    if (value.len != 0) {
        memcpy(e->data + key.len, value.data, value.len);
    }
    return e;
}

/* Index of the first entry whose key is not below key. */
static size_t lower_bound(const struct entries *es, struct bytes key)
{
    size_t lo = 0, hi = es->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (bytes_cmp(mirror_key(es->at[mid]), key) < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

static void insert_at(struct entries *es, size_t i, struct mirror_entry *e)
{
    if (es->n == es->cap) {
        es->cap = MAX(es->cap * 2, (size_t)64);
        es->at = xreallocarray(es->at, es->cap, sizeof(*es->at));
    }
    memmove(es->at + i + 1, es->at + i, (es->n - i) * sizeof(*es->at));
    es->at[i] = e;
    es->n++;
}

static bool same_value(const struct mirror_entry *a, const struct mirror_entry *b)
{
    return bytes_eq(mirror_value(a), mirror_value(b));
}

/* Loads */

void mirror_load_begin(struct mirror *m, size_t group)
{
    for (size_t i = 0; i < m->n_regions; i++) {
        if (m->regions[i].group == group) {
            entries_clear(&m->regions[i].incoming);
        }
    }
}

void mirror_load_add(
    struct mirror *m, size_t region, struct bytes key, struct bytes value, int64_t mod_revision)
{
    struct entries *es = &m->regions[region].incoming;

    insert_at(es, es->n, entry_new(key, value, mod_revision));
}

/* Old and new side by side, both ascending: tells every key that differs. */
static void tell_differences(
    struct mirror *m, size_t group, const struct entries *old, const struct entries *new)
{
    size_t i = 0, j = 0;

    while (i < old->n || j < new->n) {
        int c = i == old->n ? 1
            : j == new->n   ? -1
                            : bytes_cmp(mirror_key(old->at[i]), mirror_key(new->at[j]));

        if (c != 0 || !same_value(old->at[i], new->at[j])) {
            m->changed(m->data, group, mirror_key(c <= 0 ? old->at[i] : new->at[j]));
        }
        i += c <= 0;
        j += c >= 0;
    }
}

void mirror_load_commit(struct mirror *m, size_t group, int64_t revision)
{
    for (size_t i = 0; i < m->n_regions; i++) {
        struct region *r = &m->regions[i];
        struct entries old = r->now;

        if (r->group != group) {
            continue;
        }
        r->now = r->incoming;
        r->incoming = (struct entries){0};
        r->received = revision;
        r->pushing = 0;
        queue_clear(r);
        tell_differences(m, group, &old, &r->now);
        entries_clear(&old);
    }
    m->groups[group].revision = revision;
}

/* Events */

void mirror_push(struct mirror *m, size_t region, bool deleted, struct bytes key,
    struct bytes value, int64_t mod_revision)
{
    struct region *r = &m->regions[region];
    struct pending *p;

    if (mod_revision < r->received || (mod_revision == r->received && r->pushing != mod_revision)) {
        return;
    }
    r->received = r->pushing = mod_revision;
    p = xcalloc(1, sizeof(*p));
    p->deleted = deleted;
    p->e = entry_new(key, deleted ? (struct bytes){0} : value, mod_revision);
    list_add_tail(&r->queue, &p->link);
}

void mirror_confirm(struct mirror *m, size_t region, int64_t revision)
{
    struct region *r = &m->regions[region];

    if (revision > r->received) {
        r->received = revision;
        r->pushing = 0;
    }
}

static void apply(struct mirror *m, struct region *r, struct pending *p)
{
    size_t i = lower_bound(&r->now, mirror_key(p->e));
    bool exists = i < r->now.n && bytes_eq(mirror_key(r->now.at[i]), mirror_key(p->e));
    bool changed = p->deleted ? exists : !exists || !same_value(r->now.at[i], p->e);

    if (exists) {
        free(r->now.at[i]);
    }
    if (!p->deleted) {
        if (exists) {
            r->now.at[i] = p->e;
        } else {
            insert_at(&r->now, i, p->e);
        }
    } else if (exists) {
        r->now.n--;
        memmove(r->now.at + i, r->now.at + i + 1, (r->now.n - i) * sizeof(*r->now.at));
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
        struct region *r = &m->regions[i];

        if (r->group != group) {
            continue;
        }
        /* Regions are independent sets of keys, so that only the order within one matters. */
        while (!list_empty(&r->queue)) {
            struct pending *p = list_entry(r->queue.next, struct pending, link);

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

/* Lookup */

const struct mirror_entry *mirror_get(const struct mirror *m, struct bytes key)
{
    const struct region *r = region_of(m, key);
    size_t i;

    if (r == NULL) {
        return NULL;
    }
    i = lower_bound(&r->now, key);
    return i < r->now.n && bytes_eq(mirror_key(r->now.at[i]), key) ? r->now.at[i] : NULL;
}

void mirror_walk(const struct mirror *m, struct bytes from, struct bytes end,
    bool (*visit)(void *arg, const struct mirror_entry *e), void *arg)
{
    const struct region *r = region_of(m, from);

    if (r == NULL) {
        return;
    }
    for (size_t i = lower_bound(&r->now, from); i < r->now.n; i++) {
        if (bytes_cmp(mirror_key(r->now.at[i]), end) >= 0 || !visit(arg, r->now.at[i])) {
            return;
        }
    }
}

/* Saved form: magic, crc32c of the body, body = number of regions, then for each: start, end,
 * revision, number of entries, and for each: key, value, mod_revision. */

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
        const struct region *r = &m->regions[i];
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
    const struct region *r = &m->regions[i];

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
            const struct region *r = &m->regions[i];

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
