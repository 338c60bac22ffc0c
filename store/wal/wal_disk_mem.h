/* A disk in memory that can lose power at any operation: for tests and the simulator. It keeps what
 * is durable apart from what was only written, by 512-byte sectors, and the same for names; a power
 * cut keeps a random part of the rest. Deterministic from its seed. One thread. */
#ifndef DECREE_STORE_WAL_WAL_DISK_MEM_H
#define DECREE_STORE_WAL_WAL_DISK_MEM_H

#include "buf.h"
#include "wal_disk.h"

struct wal_mem;

struct wal_mem *wal_mem_new(uint64_t seed);
/* NULL accepted and returned. No file may be open. */
struct wal_mem *wal_mem_free(struct wal_mem *m);
/* A new disk with the files as they read now, all durable. */
struct wal_mem *wal_mem_clone(const struct wal_mem *m);
struct wal_disk *wal_mem_disk(struct wal_mem *m);

/* Operations that change something, so far. */
uint64_t wal_mem_ops(const struct wal_mem *m);
/* What the disk holds when the power comes back, had it failed now: everything synced, and of the
 * rest each sector and each change of a name with that chance. A disk of its own. */
struct wal_mem *wal_mem_power_cut(struct wal_mem *m, unsigned keep_percent);
/* Instead of a percentage: the process is killed, not the machine. All that was written can be
 * read, and is as much or little durable as before. */
#define WAL_MEM_KILL 1000
/* The power fails while the nth operation from now (1 = the next) is under way. The program under
 * test does not notice and runs on; nothing of that survives. 0 = never. */
void wal_mem_die_at(struct wal_mem *m, uint64_t nth, unsigned keep_percent);
bool wal_mem_is_dead(const struct wal_mem *m);
/* The disk after that; m is freed, its files must be closed. */
struct wal_mem *wal_mem_reborn(struct wal_mem *m_consume);
/* The same when m's files cannot be closed any more: m stays and is of no use. */
struct wal_mem *wal_mem_survivor(struct wal_mem *m);
/* The nth operation from now fails with rc and does nothing. 0 = none. */
void wal_mem_fail_at(struct wal_mem *m, uint64_t nth, int rc);
/* The nth sync of a file from now fails with rc, and its pages count as clean from then on, as below.
 * 0 = none. */
void wal_mem_fail_sync_at(struct wal_mem *m, uint64_t nth, int rc);
/* What an fsync that failed leaves behind: pages count as clean, reads show them, the medium lacks
 * them, and the next fsync says 0. */
void wal_mem_forget_dirty(struct wal_mem *m);
/* Files may hold that many bytes together; beyond is -ENOSPC. UINT64_MAX = no limit. */
void wal_mem_set_capacity(struct wal_mem *m, uint64_t bytes);
/* Reads that touch that byte of that file fail with -EIO; name NULL = none. */
void wal_mem_fail_read(struct wal_mem *m, const char *name, uint64_t offset);

/* It is that late at least; without it a microsecond passes with each look at the clock. */
void wal_mem_set_clock(struct wal_mem *m, uint64_t ns);
/* Bytes that all files hold together. */
uint64_t wal_mem_used(const struct wal_mem *m);
/* Told of every file of the log after each sync of it: a number that no other file of this disk has,
 * and all that is durable of it. */
typedef void (*wal_mem_synced)(void *data, uint64_t file, struct bytes durable);
void wal_mem_on_sync(struct wal_mem *m, wal_mem_synced synced, void *data);
/* Every file as it reads now, with the number that wal_mem_on_sync tells. */
typedef void (*wal_mem_each_file)(
    void *data, enum wal_folder folder, const char *name, uint64_t file, struct bytes now);
void wal_mem_files(struct wal_mem *m, wal_mem_each_file each, void *data);

/* The bytes of a file, to look at and to damage; NULL when there is none. Of equal length only. */
struct strbuf *wal_mem_bytes(struct wal_mem *m, enum wal_folder folder, const char *name);
/* Puts a file there, durably. */
void wal_mem_put(struct wal_mem *m, enum wal_folder folder, const char *name, struct bytes b);

#endif
