/* Reads the records of one segment in order, through a window that slides once over the file. */
#ifndef DECREE_STORE_WAL_WAL_SCAN_H
#define DECREE_STORE_WAL_WAL_SCAN_H

#include "wal_record.h"
#include "wal_segment.h"

struct wal_scan {
    const struct wal_segment *segment; /* open; borrowed */
    uint64_t at;                       /* where the next record begins */
    uint32_t epoch;                    /* of the last record */
    uint64_t mark;                     /* greatest mark seen so far */
    uint64_t window_at;                /* offset of window[0] */
    uint8_t *window;                   /* owned */
    size_t window_len, window_cap;
    int read_error; /* -errno when the medium refused to give some bytes; else 0 */
};

void wal_scan_init(struct wal_scan *s, const struct wal_segment *segment);
void wal_scan_deinit(struct wal_scan *s);
#define _cleanup_wal_scan_ _cleanup_(wal_scan_deinit)

/* The next record, its body valid until the next call. False at the first place that holds none:
 * s->at stays there. Records of an epoch before that of their predecessor are remains of a torn
 * write of an earlier life of the process, and end the log too. */
bool wal_scan_next(struct wal_scan *s, struct wal_record *ret);

/* What lies behind the end that wal_scan_next found. */
struct wal_scan_rest {
    uint64_t
        proof_at; /* a valid record whose mark lies behind the end: the end is damage; 0 = none */
    uint64_t proof_mark; /* its mark */
    uint64_t torn_bytes; /* from the end to the last trace of a write, 0 = none */
    uint32_t epoch;      /* greatest epoch of any valid record there */
    uint64_t term, vote; /* the newest that any record with a valid header there speaks of */
};
void wal_scan_rest(struct wal_scan *s, struct wal_scan_rest *ret);

#endif
