/* A snapshot as bytes: records one after another, integers little-endian or LEB128 (codec.h).
 *
 *   HEAD   "DKS" version, revision varint, compacted varint
 *   LEASE  id u64, ttl u64                             in ascending order of (signed) ids
 *   KEY    key bytes, then its newest version          in ascending order of keys
 *   OLDER  the version before the last one             from the newest to the oldest
 *   END    leases varint, keys varint, versions varint
 *
 * A version is: mod varint, sub varint, action and flags u8, and, if it is no tombstone: create
 * varint, version varint, lease u64 if flagged, value bytes. What is kept of each key is what
 * version_kept says; a loader refuses anything else. */
#ifndef DECREE_STORE_MVCC_SNAPSHOT_FORMAT_H
#define DECREE_STORE_MVCC_SNAPSHOT_FORMAT_H

enum snapshot_record {
    SNAPSHOT_HEAD = 1,
    SNAPSHOT_LEASE,
    SNAPSHOT_KEY,
    SNAPSHOT_OLDER,
    SNAPSHOT_END,
};

enum { SNAPSHOT_LEASED = 0x80, SNAPSHOT_ACTION = 0x0f };

#define SNAPSHOT_MAGIC "DKS\1"

#endif
