#include "snap_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "codec.h"
#include "crc32c.h"

enum { AT_VERSION = 8, AT_CRC = 12, AT_TERM = 16, AT_INDEX = 24, AT_CLUSTER = 32 };

void snap_file_name(char name[SNAP_NAME_MAX], struct wal_snapshot_id id)
{
    (void)snprintf(name, SNAP_NAME_MAX, "%016" PRIx64 "-%016" PRIx64 ".snap", id.term, id.index);
}

uint32_t snap_header_encode(
    struct wal_snapshot_id id, uint64_t cluster, uint8_t out[SNAP_FILE_HEADER_BYTES])
{
    uint32_t crc;

    memset(out, 0, SNAP_FILE_HEADER_BYTES);
    memcpy(out, "DECREESN", 8);
    put_u32(out + AT_VERSION, SNAP_FORMAT_VERSION);
    put_u64(out + AT_TERM, id.term);
    put_u64(out + AT_INDEX, id.index);
    put_u64(out + AT_CLUSTER, cluster);
    crc = crc32c(0, out, SNAP_FILE_HEADER_BYTES);
    put_u32(out + AT_CRC, crc);
    return crc;
}

uint32_t snap_frame_crc(uint32_t before, uint32_t length, struct bytes b)
{
    uint8_t n[4];

    put_u32(n, length);
    return crc32c(crc32c(before, n, sizeof(n)), b.data, b.len);
}

/* ---- the folder ---- */

static bool parse_name(const char *name, struct wal_snapshot_id *ret)
{
    char again[SNAP_NAME_MAX];

    if (sscanf(name, "%16" SCNx64 "-%16" SCNx64 ".snap", &ret->term, &ret->index) != 2) {
        return false;
    }
    snap_file_name(again, *ret);
    return strcmp(name, again) == 0;
}

static void insert(struct list *files, struct snap_file *f)
{
    struct list *after = files->prev;

    while (after != files && list_entry(after, struct snap_file, link)->id.index > f->id.index) {
        after = after->prev;
    }
    list_add_head(after, &f->link);
}

static void on_snap(void *data, const char *name, uint64_t bytes)
{
    struct list *files = data;
    struct wal_snapshot_id id;

    if (parse_name(name, &id)) {
        (void)snap_files_add(files, id, bytes);
    }
}

struct names {
    char **list; /* owned */
    size_t n;
};

static void on_part(void *data, const char *name, uint64_t bytes _unused_)
{
    struct names *names = data;
    size_t len = strlen(name);

    if (len > 5 && strcmp(name + len - 5, ".part") == 0) {
        names->list = xreallocarray(names->list, names->n + 1, sizeof(*names->list));
        names->list[names->n++] = xstrdup(name);
    }
}

int snap_files_tidy(struct wal_disk *d, struct err *reterr)
{
    struct names parts = {0};
    int rc = d->ops->list(d, WAL_FOLDER_SNAP, on_part, &parts);

    for (size_t i = 0; i < parts.n; i++) {
        if (rc == 0) {
            rc = d->ops->unlink(d, WAL_FOLDER_SNAP, parts.list[i]);
        }
        free(parts.list[i]);
    }
    free(parts.list);
    /* A process killed between rename and sync leaves a name that we see and a power cut would take
     * back: before the log is built upon it, it has to be durable. */
    if (rc == 0) {
        rc = d->ops->sync_dir(d, WAL_FOLDER_SNAP);
    }
    if (rc < 0) {
        (void)err_set(reterr, rc, "cannot tidy up the folder snap: %s", err_text(rc));
    }
    return rc;
}

int snap_files_load(
    struct wal_disk *d, struct list *files, struct wal_recovery *rec, struct err *reterr)
{
    int rc = d->ops->list(d, WAL_FOLDER_SNAP, on_snap, files);

    if (rc < 0) {
        return err_set(reterr, rc, "cannot list the folder snap: %s", err_text(rc));
    }
    for (struct list *l = files->prev; l != files; l = l->prev) {
        struct snap_file *f = list_entry(l, struct snap_file, link);
        _cleanup_err_ struct err why = {0};
        char name[SNAP_NAME_MAX];

        snap_file_name(name, f->id);
        rc = snap_verify(d, name, f->id, 0, false, &why);
        if (rc == 0) {
            rec->has_snapshot = true;
            rec->snapshot = f->id;
            return 0;
        }
        if (rc == -ENOTSUP) {
            return err_set(reterr, rc, "%s", why.text);
        }
        f->damaged = true;
        if (rec->passed_over == NULL) {
            rec->passed_over = xstrdup(why.text);
            rec->passed_over_id = f->id;
        }
    }
    return 0;
}

/* ---- the list ---- */

struct snap_file *snap_files_find(struct list *files, struct wal_snapshot_id id)
{
    list_for_each (l, files) {
        struct snap_file *f = list_entry(l, struct snap_file, link);

        if (!f->damaged && f->id.index == id.index && f->id.term == id.term) {
            return f;
        }
    }
    return NULL;
}

uint64_t snap_files_add(struct list *files, struct wal_snapshot_id id, uint64_t bytes)
{
    struct snap_file *f;
    uint64_t replaced = 0;

    list_for_each_safe (l, files) {
        f = list_entry(l, struct snap_file, link);
        if (f->id.index == id.index && f->id.term == id.term) {
            replaced = f->bytes;
            list_del(l);
            free(f);
        }
    }
    f = xcalloc(1, sizeof(*f));
    f->id = id;
    f->bytes = bytes;
    insert(files, f);
    return replaced;
}

uint64_t snap_files_prune(struct list *files, const struct snap_file *newest, struct list *dropped)
{
    const struct snap_file *older = NULL;
    uint64_t bytes = 0;

    list_for_each (l, files) {
        const struct snap_file *f = list_entry(l, struct snap_file, link);

        if (!f->damaged && f->id.index < newest->id.index) {
            older = f;
        }
    }
    list_for_each_safe (l, files) {
        struct snap_file *f = list_entry(l, struct snap_file, link);

        if (f->damaged || (f->id.index <= newest->id.index && f != newest && f != older)) {
            bytes += f->bytes;
            list_del(l);
            list_add_tail(dropped, l);
        }
    }
    return bytes;
}

uint64_t snap_files_oldest(struct list *files)
{
    list_for_each (l, files) {
        const struct snap_file *f = list_entry(l, struct snap_file, link);

        if (!f->damaged) {
            return f->id.index;
        }
    }
    return 0;
}
