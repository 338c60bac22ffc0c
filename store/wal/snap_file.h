/* Snapshot files: names, bytes, and the list of those that are there.
 *
 *     snap/TERM-INDEX.snap        whole, synced and read back before it got this name
 *     snap/TERM-INDEX-N.part      being written; never read as a snapshot, removed at the next
 * start
 *
 *      0  magic "DECREESN"
 *      8  u32 version     12  u32 crc of these 48 bytes with this field zero
 *     16  u64 term        24  u64 index        32  u64 cluster        40  u64 zero
 *     48  frames: u32 length, u32 crc, bytes. First the caller's header, then the pieces.
 *         Last: length 0xffffffff, crc, u64 pieces, u64 bytes in them.
 *
 * The crc of a frame begins with that of the frame before (the first with the file's), and covers
 * length and bytes: a frame dropped, doubled, moved or taken from another snapshot breaks the
 * chain, and the last crc is a digest of the whole. */
#ifndef DECREE_STORE_WAL_SNAP_FILE_H
#define DECREE_STORE_WAL_SNAP_FILE_H

#include "wal.h"
#include "wal_disk.h"

enum {
    SNAP_NAME_MAX = 80,
    SNAP_FILE_HEADER_BYTES = 48,
    SNAP_FRAME_HEADER_BYTES = 8,
    SNAP_END_BYTES = 16,
    SNAP_FORMAT_VERSION = 1,
    SNAP_PIECE_BYTES_MAX = 64 << 20, /* what a reader allocates on the word of a file */
};
#define SNAP_END_LENGTH UINT32_MAX

struct snap_file {
    struct list link; /* in struct wal's list, ascending by index */
    struct wal_snapshot_id id;
    uint64_t bytes;
    bool damaged; /* not whole; goes with the next compaction */
};

void snap_file_name(char name[SNAP_NAME_MAX], struct wal_snapshot_id id);

/* The file header; crc of it begins the chain. */
uint32_t snap_header_encode(
    struct wal_snapshot_id id, uint64_t cluster, uint8_t out[SNAP_FILE_HEADER_BYTES]);
uint32_t snap_frame_crc(uint32_t before, uint32_t length, struct bytes b);

/* Lists the snapshots and fills rec's snapshot with the newest whole one; a damaged newer one is
 * told in rec->passed_over. Newest first until one is whole: older ones are not read. */
int snap_files_load(
    struct wal_disk *d, struct list *files, struct wal_recovery *rec, struct err *reterr);
/* Removes what unfinished writers left and makes the names of the others durable. */
int snap_files_tidy(struct wal_disk *d, struct err *reterr);
struct snap_file *snap_files_find(struct list *files, struct wal_snapshot_id id);
/* Adds or replaces; returns the bytes that a replaced one had. */
uint64_t snap_files_add(struct list *files, struct wal_snapshot_id id, uint64_t bytes);
/* Keeps `newest` and one whole older one (and newer ones); the rest moves to `dropped`. Returns
 * their bytes. */
uint64_t snap_files_prune(struct list *files, const struct snap_file *newest, struct list *dropped);
/* Index of the oldest whole one; the list is not empty. */
uint64_t snap_files_oldest(struct list *files);

/* snap_reader.c: reads a file by name. cluster 0 = not compared. */
int snap_reader_open_file(struct wal_disk *d, const char *name, struct wal_snapshot_id id,
    uint64_t cluster, bool past_cache, struct snap_reader **ret, struct bytes *ret_header,
    struct err *reterr);
/* Reads one that was made elsewhere: of any place and cluster, and more may follow behind its end.
 * Messages name it as it is. */
int snap_reader_open_foreign(struct wal_disk *d, const char *name, struct snap_reader **ret,
    struct bytes *ret_header, struct err *reterr);
struct wal_snapshot_id snap_reader_id(const struct snap_reader *s);
/* Proves the whole file. */
int snap_verify(struct wal_disk *d, const char *name, struct wal_snapshot_id id, uint64_t cluster,
    bool past_cache, struct err *reterr);

#endif
