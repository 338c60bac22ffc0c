/* One record of the log, as bytes.
 *
 *      0  u32  tag         low half of the segment's salt, in clear: makes headers easy to look for
 *      4  u32  header_crc  of the header with this field zero
 *      8  u32  body_crc    of the body with its padding
 *     12  u32  length      of the body without padding
 *     16  u8   type        enum wal_record_type
 *     17  u8   entry_type  ENTRY: the caller's; HARD, HEAD: 1 = under repair
 *     18  u16  zero
 *     20  u32  epoch       which opening of the log wrote it
 *     24  u64  index       ENTRY, RESET: its place; HARD, HEAD: the vote
 *     32  u64  term
 *     40  u64  mark        up to this offset the segment was durable when the record was written
 *     48  body, padded with zeros to a multiple of 8
 *
 * Both checksums are CRC-32C and begin with the segment's 64-bit salt and the record's offset, so
 * that a record copied, misdirected or left over from an earlier life of the file is never valid
 * where it lies. Nothing of a record is outside its checksums: any single bit that flips is seen.
 * The header's own checksum makes length and type trustworthy when the body is damaged.
 *
 * What the mark proves. The log writes one batch, waits for fdatasync, writes the next. A record
 * with mark M was therefore written after everything below M had reached the disk. If a record is
 * damaged at P and any valid record of the segment says M > P, a write that had been confirmed was
 * damaged later: corruption. If none does, P belongs to the last write, which was perhaps never
 * confirmed: torn, and cut off. The last confirmed batch has no successor to vouch for it: the log
 * writes a MARK record behind it as soon as it is idle, at close, and an OPEN record when it is
 * opened. What stays undetectable is damage to the last batch when the process or machine died
 * within that idle delay (plus, for a power cut, before the MARK reached the disk): it then looks
 * exactly like the torn write it may be. */
#ifndef DECREE_STORE_WAL_WAL_RECORD_H
#define DECREE_STORE_WAL_WAL_RECORD_H

#include "buf.h"

enum wal_record_type {
    WAL_RECORD_HEAD = 1, /* first of a segment: struct wal_head; term and vote */
    WAL_RECORD_OPEN,     /* a process opened the log: a new epoch */
    WAL_RECORD_MARK,     /* nothing but its mark */
    WAL_RECORD_HARD,     /* term and vote */
    WAL_RECORD_ENTRY,    /* replaces every entry at and after its index */
    WAL_RECORD_RESET,    /* a snapshot replaced the log: the next entry is index + 1 */
    WAL_RECORD_TYPE_END_,
};

enum {
    WAL_RECORD_HEADER_BYTES = 48,
    WAL_RECORD_ALIGN = 8, /* records begin at multiples of this */
};

enum { WAL_HARD_REPAIRING = 1 }; /* entry_type of HARD and HEAD */

struct wal_record {
    enum wal_record_type type;
    uint8_t entry_type;
    uint32_t epoch;
    uint64_t index, term, mark;
    struct bytes body; /* borrowed */
};

/* Bytes on disk of a record with a body of that length. */
static inline size_t wal_record_size(size_t body_len)
{
    return WAL_RECORD_HEADER_BYTES +
        ((body_len + (WAL_RECORD_ALIGN - 1)) & ~(size_t)(WAL_RECORD_ALIGN - 1));
}

/* Appends r's bytes as they must stand at offset of a segment with that salt. */
void wal_record_encode(
    const struct wal_record *r, uint64_t salt, uint64_t offset, struct strbuf *out);

/* Proves the header p[0..48). True: ret holds all but the body, whose data is NULL and whose len is
 * the length; the record ends wal_record_size(len) bytes after its offset. */
bool wal_record_decode_header(
    const uint8_t *p, uint64_t salt, uint64_t offset, struct wal_record *ret);
/* Proves the body of a record whose header is valid; p holds all wal_record_size bytes of it. */
bool wal_record_check_body(const uint8_t *p, size_t size, uint64_t salt, uint64_t offset);

/* Body of a HEAD record: whose log this is and where it stood when the segment began, so that no
 * earlier segment is needed to go on from here. prev_end states where the segment before ends; all
 * of it was durable before this one was begun. */
struct wal_head {
    uint64_t cluster_id, member_id;
    uint64_t prev_seq, prev_end;    /* 0, 0 in the first segment of all */
    uint64_t last_index, last_term; /* the log's last entry */
};
enum { WAL_HEAD_BYTES = 48 };
void wal_head_encode(const struct wal_head *h, uint8_t out[WAL_HEAD_BYTES]);
/* False when the length is not that of a head. */
bool wal_head_decode(struct bytes b, struct wal_head *ret);

#endif
