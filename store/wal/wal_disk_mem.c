#include "wal_disk_mem.h"

#include <errno.h>
#include <string.h>

#include "list.h"
#include "splitmix.h"

enum { SECTOR = 512 };

struct node {
    struct list link; /* in wal_mem.nodes */
    struct strbuf now, durable;
    struct strbuf dirty; /* one byte a sector of now: 1 = differs from durable, maybe */
    uint64_t number;
    bool is_log;
    unsigned open, names; /* files open, names in either list and changes that refer to it */
    struct node *copy;    /* while the disk is being copied */
};

struct name {
    struct list link;
    enum wal_folder folder;
    char *text;        /* owned */
    struct node *node; /* borrowed from wal_mem.nodes */
};

/* A change of a folder that is not synced. */
struct change {
    struct list link;
    enum wal_folder folder;
    char *from, *to; /* owned; either may be NULL: created, removed */
    struct node *node;
};

struct mem_file {
    struct wal_file base;
    struct node *node;
};

struct wal_mem {
    struct wal_disk base;
    struct list nodes;
    struct list names, durable_names;
    struct list changes;
    uint64_t rng, clock, ops, die_at, fail_at, fail_sync_at, capacity, n_nodes;
    int fail_rc, fail_sync_rc;
    wal_mem_synced synced;
    void *synced_data;
    unsigned die_keep;     /* percent */
    struct wal_mem *after; /* owned: dead, and this is what survived */
    bool attached;
    char *bad_name; /* owned */
    uint64_t bad_offset;
};

static struct wal_mem *mem_of(struct wal_disk *d)
{
    return container_of(d, struct wal_mem, base);
}

static struct node *node_of(struct wal_file *f)
{
    return container_of(f, struct mem_file, base)->node;
}

/* ---- names ---- */

static struct name *find(const struct list *names, enum wal_folder folder, const char *text)
{
    list_for_each (l, names) {
        struct name *n = list_entry(l, struct name, link);

        if (n->folder == folder && strcmp(n->text, text) == 0) {
            return n;
        }
    }
    return NULL;
}

static void drop_name(struct name *n)
{
    if (n != NULL) {
        n->node->names--;
        list_del(&n->link);
        free(n->text);
        free(n);
    }
}

static void set_name(
    struct list *names, enum wal_folder folder, const char *text, struct node *node)
{
    struct name *n = xcalloc(1, sizeof(*n));

    drop_name(find(names, folder, text));
    n->folder = folder;
    n->text = xstrdup(text);
    n->node = node;
    node->names++;
    list_add_tail(names, &n->link);
}

static void apply(struct list *names, const struct change *c)
{
    if (c->from != NULL) {
        struct name *n = find(names, c->folder, c->from);

        if (n != NULL && n->node == c->node) {
            drop_name(n);
        }
    }
    if (c->to != NULL) {
        set_name(names, c->folder, c->to, c->node);
    }
}

static void free_change(struct change *c)
{
    c->node->names--;
    list_del(&c->link);
    free(c->from);
    free(c->to);
    free(c);
}

static void change_name(
    struct wal_mem *m, enum wal_folder folder, const char *from, const char *to, struct node *node)
{
    struct change *c = xcalloc(1, sizeof(*c));

    c->folder = folder;
    c->from = from != NULL ? xstrdup(from) : NULL;
    c->to = to != NULL ? xstrdup(to) : NULL;
    c->node = node;
    node->names++;
    list_add_tail(&m->changes, &c->link);
    apply(&m->names, c);
}

/* ---- power and faults ---- */

/* Counts an operation that changes something, before it is done: 0, or what it fails with. */
static int begin_op(struct wal_mem *m)
{
    m->ops++;
    return m->fail_at != 0 && --m->fail_at == 0 ? m->fail_rc : 0;
}

/* After it was done, but for a sync, which has then not taken effect: the moment in which the power
 * fails. */
static void end_op(struct wal_mem *m)
{
    if (m->after == NULL && m->die_at != 0 && --m->die_at == 0) {
        m->after = wal_mem_power_cut(m, m->die_keep);
    }
}

static void free_node(struct node *n)
{
    decree_assert(n->open == 0);
    list_del(&n->link);
    strbuf_deinit(&n->now);
    strbuf_deinit(&n->durable);
    strbuf_deinit(&n->dirty);
    free(n);
}

/* Nothing leads to it any more. */
static void free_node_if_lost(struct node *n)
{
    if (n->open == 0 && n->names == 0) {
        free_node(n);
    }
}

static struct node *node_new(struct wal_mem *m)
{
    struct node *n = xcalloc(1, sizeof(*n));

    n->number = ++m->n_nodes;
    list_add_tail(&m->nodes, &n->link);
    return n;
}

/* Zeros up to len. */
static void grow(struct strbuf *s, size_t len)
{
    if (s->len < len) {
        size_t n = len - s->len;

        memset(strbuf_reserve(s, n), 0, n);
        s->len = len;
    }
}

/* What is dirty goes to the medium. What is not stays as it is there, which may differ from what
 * can be read: see wal_mem_forget_dirty. */
static void make_durable(struct node *n)
{
    grow(&n->durable, n->now.len);
    grow(&n->dirty, (n->now.len + SECTOR - 1) / SECTOR);
    for (size_t i = 0; i < n->dirty.len; i++) {
        size_t at = i * SECTOR, end = MIN(at + SECTOR, n->now.len);

        if (n->dirty.data[i] != 0) {
            memcpy(n->durable.data + at, n->now.data + at, end - at);
            n->dirty.data[i] = 0;
        }
    }
}

static bool keeps(struct wal_mem *m, unsigned percent)
{
    return splitmix_next(&m->rng) % 100 < percent;
}

/* What survives of a file. */
static void cut_node(struct wal_mem *m, const struct node *n, unsigned keep, struct strbuf *after)
{
    strbuf_append_bytes(after, strbuf_bytes(&n->durable));
    if (keeps(m, keep)) {
        grow(after, n->now.len); /* the length grew, the data did not arrive */
    }
    for (size_t i = 0; i < n->dirty.len; i++) {
        size_t at = i * SECTOR, end = MIN(at + SECTOR, n->now.len);

        if (n->dirty.data[i] != 0 && keeps(m, keep)) {
            grow(after, end);
            memcpy(after->data + at, n->now.data + at, end - at);
        }
    }
}

static void free_names(struct list *names)
{
    list_for_each_safe (l, names) {
        drop_name(list_entry(l, struct name, link));
    }
}

/* All of it, with what is durable and what is not. */
static void copy_disk(const struct wal_mem *m, struct wal_mem *to)
{
    list_for_each (l, &m->nodes) {
        struct node *n = list_entry(l, struct node, link);

        n->copy = node_new(to);
        n->copy->is_log = n->is_log;
        strbuf_append_bytes(&n->copy->now, strbuf_bytes(&n->now));
        strbuf_append_bytes(&n->copy->durable, strbuf_bytes(&n->durable));
        strbuf_append_bytes(&n->copy->dirty, strbuf_bytes(&n->dirty));
    }
    list_for_each (l, &m->durable_names) {
        const struct name *n = list_entry(l, struct name, link);

        set_name(&to->names, n->folder, n->text, n->node->copy);
        set_name(&to->durable_names, n->folder, n->text, n->node->copy);
    }
    list_for_each (l, &m->changes) {
        const struct change *c = list_entry(l, struct change, link);

        change_name(to, c->folder, c->from, c->to, c->node->copy);
    }
}

struct wal_mem *wal_mem_power_cut(struct wal_mem *m, unsigned keep_percent)
{
    struct wal_mem *after = wal_mem_new(splitmix_next(&m->rng));
    struct list names;

    after->capacity = m->capacity;
    after->clock = m->clock;
    if (keep_percent == WAL_MEM_KILL) {
        copy_disk(m, after);
        return after;
    }
    list_init(&names);
    list_for_each (l, &m->durable_names) {
        const struct name *n = list_entry(l, struct name, link);

        set_name(&names, n->folder, n->text, n->node);
    }
    list_for_each (l, &m->changes) {
        if (keeps(m, keep_percent)) {
            apply(&names, list_entry(l, struct change, link));
        }
    }
    list_for_each (l, &names) {
        const struct name *n = list_entry(l, struct name, link);
        _cleanup_strbuf_ struct strbuf bytes = {0};

        cut_node(m, n->node, keep_percent, &bytes);
        wal_mem_put(after, n->folder, n->text, strbuf_bytes(&bytes));
    }
    free_names(&names);
    return after;
}

/* ---- the operations ---- */

static int mem_attach(struct wal_disk *d, const char *dir, struct err *reterr)
{
    struct wal_mem *m = mem_of(d);

    if (m->attached) {
        return err_set(reterr, -EBUSY, "the data directory %s is in use by this process", dir);
    }
    m->attached = true;
    return 0;
}

static void mem_detach(struct wal_disk *d)
{
    mem_of(d)->attached = false;
}

static int mem_list(struct wal_disk *d, enum wal_folder folder, wal_disk_each each, void *data)
{
    list_for_each (l, &mem_of(d)->names) {
        const struct name *n = list_entry(l, struct name, link);

        if (n->folder == folder) {
            each(data, n->text, n->node->now.len);
        }
    }
    return 0;
}

static int mem_open(struct wal_disk *d, enum wal_folder folder, const char *text, bool create,
    struct wal_file **ret)
{
    struct wal_mem *m = mem_of(d);
    struct name *n = find(&m->names, folder, text);
    struct mem_file *f;
    struct node *node;

    if (create) {
        int rc = begin_op(m);

        if (rc < 0 || n != NULL) {
            return rc < 0 ? rc : -EEXIST;
        }
        node = node_new(m);
        node->is_log = folder == WAL_FOLDER_LOG;
        change_name(m, folder, NULL, text, node);
        end_op(m);
    } else if (n == NULL) {
        return -ENOENT;
    } else {
        node = n->node;
    }
    node->open++;
    f = xcalloc(1, sizeof(*f));
    f->base.disk = d;
    f->node = node;
    *ret = &f->base;
    return 0;
}

static int mem_rename(struct wal_disk *d, enum wal_folder folder, const char *from, const char *to)
{
    struct wal_mem *m = mem_of(d);
    struct name *n = find(&m->names, folder, from);
    int rc = begin_op(m);

    if (rc < 0 || n == NULL) {
        return rc < 0 ? rc : -ENOENT;
    }
    change_name(m, folder, from, to, n->node);
    end_op(m);
    return 0;
}

static int mem_unlink(struct wal_disk *d, enum wal_folder folder, const char *text)
{
    struct wal_mem *m = mem_of(d);
    struct name *n = find(&m->names, folder, text);
    int rc = begin_op(m);

    if (rc < 0 || n == NULL) {
        return rc < 0 ? rc : -ENOENT;
    }
    change_name(m, folder, text, NULL, n->node);
    end_op(m);
    return 0;
}

static int mem_sync_dir(struct wal_disk *d, enum wal_folder folder)
{
    struct wal_mem *m = mem_of(d);
    int rc = begin_op(m);

    if (rc < 0) {
        return rc;
    }
    end_op(m);
    list_for_each_safe (l, &m->changes) {
        struct change *c = list_entry(l, struct change, link);
        struct node *n = c->node;

        if (c->folder == folder) {
            apply(&m->durable_names, c);
            free_change(c);
            free_node_if_lost(n);
        }
    }
    return 0;
}

static void mem_close(struct wal_file *base)
{
    struct mem_file *f = container_of(base, struct mem_file, base);

    f->node->open--;
    free_node_if_lost(f->node);
    free(f);
}

static int mem_size(struct wal_file *f, uint64_t *ret)
{
    *ret = node_of(f)->now.len;
    return 0;
}

static bool reads_bad_byte(struct wal_mem *m, const struct node *node, uint64_t offset, size_t n)
{
    if (m->bad_name == NULL || m->bad_offset < offset || m->bad_offset >= offset + n) {
        return false;
    }
    list_for_each (l, &m->names) {
        const struct name *name = list_entry(l, struct name, link);

        if (name->node == node && strcmp(name->text, m->bad_name) == 0) {
            return true;
        }
    }
    return false;
}

static int mem_pread(struct wal_file *f, uint64_t offset, void *p, size_t n, size_t *ret_n)
{
    const struct node *node = node_of(f);

    *ret_n = offset < node->now.len ? MIN(n, node->now.len - (size_t)offset) : 0;
    if (reads_bad_byte(mem_of(f->disk), node, offset, *ret_n)) {
        *ret_n = 0;
        return -EIO;
    }
    if (*ret_n != 0) {
        memcpy(p, node->now.data + offset, *ret_n);
    }
    return 0;
}

uint64_t wal_mem_used(const struct wal_mem *m)
{
    uint64_t used = 0;

    list_for_each (l, &m->names) {
        used += list_entry(l, struct name, link)->node->now.len;
    }
    return used;
}

static int extend(struct wal_mem *m, struct node *n, uint64_t end)
{
    if (end > n->now.len && wal_mem_used(m) + (end - n->now.len) > m->capacity) {
        return -ENOSPC;
    }
    grow(&n->now, (size_t)end);
    grow(&n->dirty, (n->now.len + SECTOR - 1) / SECTOR);
    return 0;
}

static int mem_pwrite(struct wal_file *f, uint64_t offset, struct bytes b)
{
    struct wal_mem *m = mem_of(f->disk);
    struct node *n = node_of(f);
    int rc = begin_op(m);

    if (rc < 0 || b.len == 0) {
        return rc;
    }
    rc = extend(m, n, offset + b.len);
    if (rc < 0) {
        return rc;
    }
    memcpy(n->now.data + offset, b.data, b.len);
    for (size_t i = (size_t)offset / SECTOR; i <= ((size_t)offset + b.len - 1) / SECTOR; i++) {
        n->dirty.data[i] = 1;
    }
    end_op(m);
    return 0;
}

static int mem_sync(struct wal_file *f)
{
    struct wal_mem *m = mem_of(f->disk);
    struct node *n = node_of(f);
    int rc = begin_op(m);

    if (rc == 0 && m->fail_sync_at != 0 && --m->fail_sync_at == 0) {
        rc = m->fail_sync_rc;
        memset(n->dirty.data, 0, n->dirty.len);
    }
    if (rc == 0) {
        end_op(m);
        make_durable(n);
        if (m->synced != NULL && n->is_log) {
            m->synced(m->synced_data, n->number, strbuf_bytes(&n->durable));
        }
    }
    return rc;
}

static int mem_allocate(struct wal_file *f, uint64_t size)
{
    struct wal_mem *m = mem_of(f->disk);
    int rc = begin_op(m);

    if (rc == 0) {
        rc = extend(m, node_of(f), size);
        end_op(m);
    }
    return rc;
}

static void mem_drop_cache(struct wal_file *f _unused_) {}

static uint64_t mem_random(struct wal_disk *d)
{
    return splitmix_next(&mem_of(d)->rng);
}

/* A microsecond passes with each look. */
static uint64_t mem_now_ns(struct wal_disk *d)
{
    return mem_of(d)->clock += 1000;
}

static const struct wal_disk_ops mem_ops = {
    .attach = mem_attach,
    .detach = mem_detach,
    .list = mem_list,
    .open = mem_open,
    .rename = mem_rename,
    .unlink = mem_unlink,
    .sync_dir = mem_sync_dir,
    .close = mem_close,
    .size = mem_size,
    .pread = mem_pread,
    .pwrite = mem_pwrite,
    .sync = mem_sync,
    .allocate = mem_allocate,
    .drop_cache = mem_drop_cache,
    .random = mem_random,
    .now_ns = mem_now_ns,
};

/* ---- for tests ---- */

struct wal_mem *wal_mem_new(uint64_t seed)
{
    struct wal_mem *m = xcalloc(1, sizeof(*m));

    m->base.ops = &mem_ops;
    m->rng = seed;
    m->capacity = UINT64_MAX;
    list_init(&m->nodes);
    list_init(&m->names);
    list_init(&m->durable_names);
    list_init(&m->changes);
    return m;
}

struct wal_mem *wal_mem_free(struct wal_mem *m)
{
    if (m == NULL) {
        return NULL;
    }
    list_for_each_safe (l, &m->changes) {
        free_change(list_entry(l, struct change, link));
    }
    list_for_each_safe (l, &m->names) {
        drop_name(list_entry(l, struct name, link));
    }
    list_for_each_safe (l, &m->durable_names) {
        drop_name(list_entry(l, struct name, link));
    }
    list_for_each_safe (l, &m->nodes) {
        free_node(list_entry(l, struct node, link));
    }
    (void)wal_mem_free(m->after);
    free(m->bad_name);
    free(m);
    return NULL;
}

struct wal_mem *wal_mem_clone(const struct wal_mem *m)
{
    struct wal_mem *copy = wal_mem_new(m->rng);

    list_for_each (l, &m->names) {
        const struct name *n = list_entry(l, struct name, link);

        wal_mem_put(copy, n->folder, n->text, strbuf_bytes(&n->node->now));
    }
    return copy;
}

struct wal_disk *wal_mem_disk(struct wal_mem *m)
{
    return &m->base;
}

uint64_t wal_mem_ops(const struct wal_mem *m)
{
    return m->ops;
}

void wal_mem_die_at(struct wal_mem *m, uint64_t nth, unsigned keep_percent)
{
    m->die_at = nth;
    m->die_keep = keep_percent;
}

bool wal_mem_is_dead(const struct wal_mem *m)
{
    return m->after != NULL;
}

struct wal_mem *wal_mem_survivor(struct wal_mem *m)
{
    decree_assert(m->after != NULL);
    return TAKE_PTR(m->after);
}

struct wal_mem *wal_mem_reborn(struct wal_mem *m_consume)
{
    struct wal_mem *after = wal_mem_survivor(m_consume);

    (void)wal_mem_free(m_consume);
    return after;
}

void wal_mem_fail_at(struct wal_mem *m, uint64_t nth, int rc)
{
    m->fail_at = nth;
    m->fail_rc = rc;
}

void wal_mem_fail_sync_at(struct wal_mem *m, uint64_t nth, int rc)
{
    m->fail_sync_at = nth;
    m->fail_sync_rc = rc;
}

void wal_mem_set_clock(struct wal_mem *m, uint64_t ns)
{
    m->clock = MAX(m->clock, ns);
}

void wal_mem_on_sync(struct wal_mem *m, wal_mem_synced synced, void *data)
{
    m->synced = synced;
    m->synced_data = data;
}

void wal_mem_files(struct wal_mem *m, wal_mem_each_file each, void *data)
{
    list_for_each (l, &m->names) {
        const struct name *n = list_entry(l, struct name, link);

        each(data, n->folder, n->text, n->node->number, strbuf_bytes(&n->node->now));
    }
}

void wal_mem_forget_dirty(struct wal_mem *m)
{
    list_for_each (l, &m->nodes) {
        struct node *n = list_entry(l, struct node, link);

        if (n->dirty.len != 0) {
            memset(n->dirty.data, 0, n->dirty.len);
        }
    }
}

void wal_mem_set_capacity(struct wal_mem *m, uint64_t bytes)
{
    m->capacity = bytes;
}

void wal_mem_fail_read(struct wal_mem *m, const char *name, uint64_t offset)
{
    free(m->bad_name);
    m->bad_name = name != NULL ? xstrdup(name) : NULL;
    m->bad_offset = offset;
}

struct strbuf *wal_mem_bytes(struct wal_mem *m, enum wal_folder folder, const char *name)
{
    struct name *n = find(&m->names, folder, name);

    return n != NULL ? &n->node->now : NULL;
}

void wal_mem_put(struct wal_mem *m, enum wal_folder folder, const char *name, struct bytes b)
{
    struct node *n = node_new(m);

    strbuf_append_bytes(&n->now, b);
    strbuf_append_bytes(&n->durable, b);
    grow(&n->dirty, (b.len + SECTOR - 1) / SECTOR);
    n->is_log = folder == WAL_FOLDER_LOG;
    set_name(&m->names, folder, name, n);
    set_name(&m->durable_names, folder, name, n);
}
