/* The operations on files that the log needs, and nothing more. Two disks stand behind it: the real
 * one (wal_disk_posix.c) and one in memory that can lose power at any operation (wal_disk_mem.h).
 *
 * A disk is one data directory with two folders. What the log relies on, and what the in-memory
 * disk therefore breaks at every chance: bytes are durable only after `sync` of their file returned
 * 0; names (creation, rename, removal) only after `sync_dir` of their folder; until then any subset
 * of the 512-byte sectors written and of the name changes made may survive a power cut. A sector is
 * written whole or not at all; writing a sector again with the bytes it holds endangers nothing.
 *
 * Calls return 0 or -errno unless they say otherwise and are used by one thread per file. */
#ifndef DECREE_STORE_WAL_WAL_DISK_H
#define DECREE_STORE_WAL_WAL_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "bytes.h"
#include "err.h"

enum wal_folder { WAL_FOLDER_LOG, WAL_FOLDER_SNAP, WAL_FOLDER_END_ };

struct wal_disk {
    const struct wal_disk_ops *ops;
};

/* An open file; each disk embeds it in its own. */
struct wal_file {
    struct wal_disk *disk;
};

typedef void (*wal_disk_each)(void *data, const char *name, uint64_t bytes);

struct wal_disk_ops {
    /* Makes dir and its folders when missing, proves that they are closed to others, locks them
     * against every other process. -EBUSY, -EACCES, -errno. */
    int (*attach)(struct wal_disk *d, const char *dir, struct err *reterr);
    void (*detach)(struct wal_disk *d);

    int (*list)(struct wal_disk *d, enum wal_folder folder, wal_disk_each each, void *data);
    /* create: the file must be new (-EEXIST), else it must be there (-ENOENT). */
    int (*open)(struct wal_disk *d, enum wal_folder folder, const char *name, bool create,
        struct wal_file **ret);
    int (*rename)(struct wal_disk *d, enum wal_folder folder, const char *from, const char *to);
    int (*unlink)(struct wal_disk *d, enum wal_folder folder, const char *name);
    int (*sync_dir)(struct wal_disk *d, enum wal_folder folder);

    void (*close)(struct wal_file *f);
    int (*size)(struct wal_file *f, uint64_t *ret);
    /* Reads up to n bytes; *ret_n is less only at the end of the file. */
    int (*pread)(struct wal_file *f, uint64_t offset, void *p, size_t n, size_t *ret_n);
    /* Writes all of b, or fails with an unknown part of it written. */
    int (*pwrite)(struct wal_file *f, uint64_t offset, struct bytes b);
    int (*sync)(struct wal_file *f);
    /* Reserves room so that writes below `size` cannot meet a full disk; the file grows to it. */
    int (*allocate)(struct wal_file *f, uint64_t size);
    /* Forgets cached pages, so that the next read comes from the medium; best effort. */
    void (*drop_cache)(struct wal_file *f);

    uint64_t (*random)(struct wal_disk *d);
    uint64_t (*now_ns)(struct wal_disk *d);
};

/* The real disk, on the heap. wal_disk_posix_free accepts NULL and returns NULL. */
struct wal_disk *wal_disk_posix_new(void);
struct wal_disk *wal_disk_posix_free(struct wal_disk *d);

/* Files named by their paths, whatever the folder, to be read only: open, close, size, pread and
 * drop_cache are all it has. Static. */
struct wal_disk *wal_disk_plain(void);

static inline int wal_file_pwrite(struct wal_file *f, uint64_t offset, struct bytes b)
{
    return f->disk->ops->pwrite(f, offset, b);
}

static inline int wal_file_pread(
    struct wal_file *f, uint64_t offset, void *p, size_t n, size_t *ret_n)
{
    return f->disk->ops->pread(f, offset, p, n, ret_n);
}

static inline int wal_file_sync(struct wal_file *f)
{
    return f->disk->ops->sync(f);
}

/* NULL is accepted and returned. */
static inline struct wal_file *wal_file_close(struct wal_file *f)
{
    if (f != NULL) {
        f->disk->ops->close(f);
    }
    return NULL;
}

static inline void wal_file_closep(struct wal_file **f)
{
    (void)wal_file_close(*f);
}
#define _cleanup_wal_file_ _cleanup_(wal_file_closep)

#endif
