/* A backup: everything a member keeps, at one revision, as one file.
 *
 *     the bytes of a snapshot file (store/wal/snap_file.h): header, frames in a chain of checksums.
 *         The frames are the snapshot's own header (core_snap.c: version, cluster, revision,
 *         members) and the pieces of the keyspace (store/mvcc/snapshot_format.h)
 *     zeros up to a multiple of 512 bytes
 *     32 bytes: the SHA-256 of all that stands before them
 *
 * The last two are as etcd ends its files, so that etcdctl can save and check one of ours. */
#ifndef DECREE_STORE_NODE_BACKUP_H
#define DECREE_STORE_NODE_BACKUP_H

#include "err.h"
#include "members.h"
#include "store.h"

struct wal_disk;

enum { BACKUP_BLOCK = 512 };

/* What a file says about itself. */
struct backup_info {
    uint64_t cluster_id;
    uint64_t index, term; /* its place in the log of its cluster */
    int64_t revision, compacted;
    uint64_t keys, leases, bytes;
    uint32_t hash; /* as HashKV gives it at that revision */
    char digest[2 * STORE_SNAPSHOT_DIGEST_BYTES + 1];
    struct members members; /* owned */
};
void backup_info_deinit(struct backup_info *i);

/* Reads all of path, proves every checksum and loads it; d is NULL or the disk of a test.
 * DECREE_ECORRUPT says what is damaged, -ENOTSUP that a newer version wrote it. */
int backup_read(struct wal_disk *d, const char *path, struct backup_info *ret, struct err *reterr);

/* Revisions that are passed over when nothing else is asked for, so that clients who saw changes
 * made after the backup are told to read again. More than a store writes in a day at 10,000 a
 * second, and few enough for nine thousand million restores. */
#define BACKUP_BUMP_DEFAULT INT64_C(1000000000)

struct backup_restore {
    const char *path;
    const char *data_dir;        /* must not exist; made whole or not at all */
    const char *name;            /* of this member in initial_cluster */
    const char *initial_cluster; /* the new members; NULL: this one alone, under peer_urls */
    const char *token; /* NULL: made from the file, so that ids are never those of before */
    const char *const *peer_urls; /* this member's, as in initial_cluster */
    size_t n_peer_urls;
    int64_t bump; /* added to the revision, at least 1 */
};

/* Makes the data directory of one member of a new cluster: new ids, the same keys and leases, the
 * revision moved on by bump and compacted there. Members that restore the same file with the same
 * list and token form one cluster. The log begins with a snapshot that stands for the founding.
 * DECREE_EINVALID_CONFIG, -EEXIST, DECREE_ECORRUPT, -errno; nothing is left behind. */
int backup_restore(const struct backup_restore *r, struct err *reterr);

#endif
