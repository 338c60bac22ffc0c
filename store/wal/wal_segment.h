/* Segment files: their names, their header page, and how one comes to be.
 *
 *     SEQ.seg    a segment of the log; SEQ is 16 hex digits and ascends by one
 *     SEQ.prep   being prepared; never read, removed at the next start
 *     SEQ.spare  has left the log, waits to be used again
 *     SEQ.damaged  was damaged when the log was begun anew (wal_repair.c); for a person to look at
 *
 * A segment is prepared whole before the log reaches it: its blocks reserved, zeros written through
 * them (an extent that is only reserved would cost a metadata write inside the fdatasync of some
 * batch), a header page with a fresh random salt, all of it synced, and only then renamed to
 * SEQ.seg and the folder synced. So a file called SEQ.seg has a valid header or is damaged, and the
 * switch to the next segment costs nothing but the first record in it. What the header says stands
 * in that page three times: without the salt no record behind it could be read, so a sector that
 * went bad must not cost a segment. A spare is used again by a
 * new header page alone: the new salt turns all old records into noise. Its name has been changed
 * durably before that, so that no crash shows the new header under the old name.
 *
 * Sizes double from 1 MiB to the configured 64 MiB, so that an idle store stays small and a new one
 * is up at once, while a busy one soon works in full segments. */
#ifndef DECREE_STORE_WAL_WAL_SEGMENT_H
#define DECREE_STORE_WAL_WAL_SEGMENT_H

#include <stdatomic.h>

#include "err.h"
#include "list.h"
#include "wal.h"
#include "wal_disk.h"

enum {
    WAL_PAGE_BYTES = 4096,              /* writes begin at multiples of this: the kernel then never
                                           has to read a page in order to change a part of it */
    WAL_RECORDS_START = WAL_PAGE_BYTES, /* the first page is the header, written once */
    WAL_SEGMENT_NAME_MAX = 32,
    WAL_FORMAT_VERSION = 1,
    WAL_SEGMENT_BYTES_MIN = 16 * 1024, /* tests and the simulator want many small ones */
    WAL_SEGMENT_BYTES_FIRST = 1 << 20,
    WAL_SEGMENT_BYTES_DEFAULT = 64 << 20,
};

/* What to do about damage that nobody else can repair; every message about it ends so. */
#define WAL_ADVICE                                                                                 \
    "nothing was changed; restore a backup, or where this member has others, replace it: remove "  \
    "it, empty its data directory, add it again"

/* What the header page says. The owner is all 0 when it was not known, by an older program. */
struct wal_label {
    uint64_t seq, salt;
    struct wal_identity owner;
};

struct wal_segment {
    struct list link; /* in struct wal's list, ascending */
    uint64_t seq, salt;
    uint64_t bytes;            /* of the file */
    uint64_t max_index;        /* highest entry index in it that may still matter, 0 = none */
    struct wal_file *file;     /* owned; NULL unless it is being written or is the next one */
    struct wal_identity owner; /* as in struct wal_label */
    bool header_damaged;       /* a copy stood in for it */
};

/* Closes the file, frees; the segment must be unlinked. NULL accepted and returned. */
struct wal_segment *wal_segment_free(struct wal_segment *s);

enum wal_name_kind {
    WAL_NAME_OTHER,
    WAL_NAME_SEGMENT,
    WAL_NAME_PREP,
    WAL_NAME_SPARE,
    WAL_NAME_DAMAGED
};
void wal_segment_name(char name[WAL_SEGMENT_NAME_MAX], enum wal_name_kind kind, uint64_t seq);
enum wal_name_kind wal_segment_parse(const char *name, uint64_t *ret_seq);

/* What the records of a segment are salted with, from its first bytes; false when no copy of its
 * header is whole. For those that look at a disk from outside. */
bool wal_segment_salt(struct bytes head, uint64_t *ret);

/* Prepares a segment from nothing; `records` (may be empty) stand in it from the start. On
 * failure nothing is left, or a .prep that the next try removes. *ret_step names what failed, for
 * messages. -ECANCELED when *stop turned true meanwhile; NULL = cannot be stopped. */
int wal_segment_create(struct wal_disk *d, const struct wal_label *label, uint64_t bytes,
    struct bytes records, const atomic_bool *stop, struct wal_segment **ret, const char **ret_step);
/* Prepares a segment from the spare of that number; its name must be durable. */
int wal_segment_reuse(struct wal_disk *d, uint64_t spare, const struct wal_label *label,
    struct wal_segment **ret, const char **ret_step);

/* Opens SEQ.seg and proves its header. DECREE_ECORRUPT, -ENOTSUP (a newer format), -errno. */
int wal_segment_open(
    struct wal_disk *d, uint64_t seq, struct wal_segment **ret, struct err *reterr);
/* Writes the header page of s again, of which a part is damaged; durable on return. */
int wal_segment_mend(struct wal_disk *d, struct wal_segment *s);

#endif
