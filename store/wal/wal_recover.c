/* Recovery: one pass over the segments, oldest first, each record folded into the state that the
 * log describes; then one verdict on where it ends.
 *
 * Within a segment the log ends at the first place without a valid record. Whether that is the end,
 * a torn write or damage is decided by what vouches for it (wal_record.h): in the last segment the
 * marks of later records, in every other one the head of the next segment, which states where its
 * predecessor ended. What is cut off here is never erased: the next records carry a higher epoch,
 * and remains of a lower one end the log wherever they are met. */
#include "wal_recover.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "alloc.h"
#include "snap_file.h"
#include "wal_scan.h"

struct replay {
    struct wal_disk *disk;
    struct wal_found *found;
    struct wal_recovery *rec;
    struct err *reterr;
    char name[WAL_SEGMENT_NAME_MAX]; /* of the segment being read */
    bool begun;                      /* a head has been read */
    uint64_t first;                  /* index of the first entry the log reaches back to */
    uint64_t last_index, last_term;
    uint64_t term_at_snapshot; /* term of the log's entry at the snapshot's index; 0 = not seen */
    size_t cap;                /* of rec->entries */
    uint64_t prev_seq, prev_end;
    uint64_t bad_seq; /* of the segment to which an error belongs */
};

/* ---- which files ---- */

struct listing {
    struct wal_disk *disk;
    uint64_t *seqs; /* owned */
    size_t n, cap;
};

static void on_name(void *data, const char *name, uint64_t bytes _unused_)
{
    struct listing *l = data;
    uint64_t seq;

    if (wal_segment_parse(name, &seq) != WAL_NAME_SEGMENT) {
        return;
    }
    if (l->n == l->cap) {
        l->cap = MAX(l->cap * 2, (size_t)16);
        l->seqs = xreallocarray(l->seqs, l->cap, sizeof(*l->seqs));
    }
    l->seqs[l->n++] = seq;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* Segments leave the log from its old end, several at once; a power cut may undo some of these
 * renames and not others. What lies before a gap had left. */
static size_t after_last_gap(const uint64_t *seqs, size_t n)
{
    size_t i = n;

    while (i > 1 && seqs[i - 2] + 1 == seqs[i - 1]) {
        i--;
    }
    return i > 0 ? i - 1 : 0;
}

static void add_cut_off(struct replay *r, uint64_t seq)
{
    struct wal_segment *s = xcalloc(1, sizeof(*s));

    s->seq = seq;
    list_init(&s->link);
    list_add_tail(&r->found->unused, &s->link);
}

/* ---- folding records ---- */

static int damaged(struct replay *r, uint64_t at, const char *what)
{
    return err_set(r->reterr, DECREE_ECORRUPT, "wal/%s: %s at offset %" PRIu64 "; " WAL_ADVICE,
        r->name, what, at);
}

static void drop_entries_from(struct replay *r, uint64_t index)
{
    struct wal_recovery *rec = r->rec;

    while (rec->n_entries > 0 && rec->entries[rec->n_entries - 1].index >= index) {
        buf_unref(rec->entries[--rec->n_entries].payload);
    }
}

/* The term of an entry the log still holds, 0 when it is not known any more. */
static uint64_t term_of(const struct replay *r, uint64_t index)
{
    const struct wal_recovery *rec = r->rec;

    if (index == r->last_index) {
        return r->last_term;
    }
    if (rec->n_entries > 0 && index >= rec->entries[0].index) {
        return rec->entries[index - rec->entries[0].index].term;
    }
    return index == rec->snapshot.index ? r->term_at_snapshot : 0;
}

/* No log gets there; sums with an index that a file gave cannot overflow. */
static bool is_index(uint64_t index)
{
    return index < UINT64_MAX / 2;
}

static int fold_entry(struct replay *r, const struct wal_record *e)
{
    struct wal_recovery *rec = r->rec;

    if (!is_index(e->index) || e->index == 0 || e->index > r->last_index + 1 || e->term == 0 ||
        (e->index > 1 && e->term < term_of(r, e->index - 1))) {
        return DECREE_ECORRUPT;
    }
    drop_entries_from(r, e->index);
    r->first = MIN(r->first, e->index);
    if (e->index < rec->snapshot.index) {
        r->term_at_snapshot = 0;
    } else if (e->index == rec->snapshot.index) {
        r->term_at_snapshot = e->term;
    } else {
        if (rec->n_entries == r->cap) {
            r->cap = MAX(r->cap * 2, (size_t)256);
            rec->entries = xreallocarray(rec->entries, r->cap, sizeof(*rec->entries));
        }
        rec->entries[rec->n_entries++] =
            (struct wal_entry){e->index, e->term, e->entry_type, buf_copy(e->body)};
    }
    r->last_index = e->index;
    r->last_term = e->term;
    return 0;
}

static void begin_at(struct replay *r, uint64_t index, uint64_t term)
{
    drop_entries_from(r, 0);
    r->first = index + 1;
    r->last_index = index;
    r->last_term = term;
    r->term_at_snapshot = index == r->rec->snapshot.index ? term : 0;
}

static int fold_hard(struct replay *r, const struct wal_record *e)
{
    if (e->term < r->rec->term) {
        return DECREE_ECORRUPT;
    }
    r->rec->term = e->term;
    r->rec->vote = e->index;
    r->rec->repairing = (e->entry_type & WAL_HARD_REPAIRING) != 0;
    return 0;
}

static int fold_head(struct replay *r, const struct wal_record *e)
{
    struct wal_head h;
    struct wal_identity *id = &r->rec->identity;

    if (!wal_head_decode(e->body, &h) || !is_index(h.last_index)) {
        return DECREE_ECORRUPT;
    }
    if (!r->begun) {
        *id = (struct wal_identity){h.cluster_id, h.member_id};
        begin_at(r, h.last_index, h.last_term);
        r->begun = true;
    } else if (h.cluster_id != id->cluster_id || h.member_id != id->member_id ||
        h.last_index != r->last_index || h.last_term != r->last_term) {
        return DECREE_ECORRUPT;
    }
    return fold_hard(r, e);
}

/* DECREE_ECORRUPT: the checksums are right and yet it cannot have been written here. */
static int fold(struct replay *r, struct wal_segment *s, const struct wal_record *e)
{
    switch (e->type) {
    case WAL_RECORD_HEAD:
        return DECREE_ECORRUPT; /* only as the first, which is read elsewhere */
    case WAL_RECORD_OPEN:
    case WAL_RECORD_MARK:
        return 0;
    case WAL_RECORD_HARD:
        return fold_hard(r, e);
    case WAL_RECORD_ENTRY:
        s->max_index = MAX(s->max_index, e->index);
        return fold_entry(r, e);
    case WAL_RECORD_RESET:
        if (!is_index(e->index)) {
            return DECREE_ECORRUPT;
        }
        begin_at(r, e->index, e->term);
        s->max_index = 0;
        list_for_each (l, &r->found->segments) {
            list_entry(l, struct wal_segment, link)->max_index = 0;
        }
        return 0;
    case WAL_RECORD_TYPE_END_:
    default:
        return -ENOTSUP;
    }
}

/* ---- one segment ---- */

enum segment_verdict { SEGMENT_BEGUN = 1, SEGMENT_UNUSED };

/* The damage, or not, at the place where the scan of a segment ended. */
static int judge_end(struct replay *r, struct wal_scan *scan, struct wal_scan_rest *rest)
{
    wal_scan_rest(scan, rest);
    if (rest->proof_at != 0) {
        return err_set(r->reterr, DECREE_ECORRUPT,
            "wal/%s: damaged record at offset %" PRIu64 "; the record at %" PRIu64
            " proves that everything below %" PRIu64 " had been durable; " WAL_ADVICE,
            r->name, scan->at, rest->proof_at, rest->proof_mark);
    }
    if (scan->read_error < 0) {
        return err_set(r->reterr, DECREE_ECORRUPT,
            "wal/%s: cannot be read at offset %" PRIu64 ": %s; " WAL_ADVICE, r->name, scan->at,
            err_text(scan->read_error));
    }
    return 0;
}

/* The head: 0 and *ret_begun, or an error. A segment without one was prepared and never begun, if
 * nothing in it says otherwise. */
static int read_head(struct replay *r, struct wal_scan *scan, bool *ret_begun)
{
    struct wal_record e;
    struct wal_head h;
    struct wal_scan_rest rest;
    uint64_t at = scan->at;

    *ret_begun = wal_scan_next(scan, &e);
    if (!*ret_begun) {
        int rc = judge_end(r, scan, &rest);

        r->found->end.epoch = MAX(r->found->end.epoch, rest.epoch);
        r->rec->torn_bytes += rc == 0 ? rest.torn_bytes : 0;
        return rc;
    }
    if (e.type != WAL_RECORD_HEAD || !wal_head_decode(e.body, &h)) {
        return damaged(r, at, "a record that is no segment head");
    }
    if (r->begun && (h.prev_seq != r->prev_seq || h.prev_end != r->prev_end)) {
        r->bad_seq = r->prev_seq;
        (void)err_set(r->reterr, DECREE_ECORRUPT,
            "wal/%016" PRIx64 ".seg: damaged record at offset %" PRIu64 "; wal/%s states that the "
            "segment was durable up to %" PRIu64 "; " WAL_ADVICE,
            r->prev_seq, r->prev_end, r->name, h.prev_end);
        return DECREE_ECORRUPT;
    }
    if (fold_head(r, &e) < 0) {
        return damaged(r, at, "a segment head that does not go on from the segment before");
    }
    return 0;
}

static int read_records(struct replay *r, struct wal_segment *s, struct wal_scan *scan)
{
    for (;;) {
        uint64_t at = scan->at;
        struct wal_record e;
        int rc;

        if (!wal_scan_next(scan, &e)) {
            return 0;
        }
        rc = fold(r, s, &e);
        if (rc == -ENOTSUP) {
            return err_set(r->reterr, rc,
                "wal/%s: record of unknown type %d at offset %" PRIu64 ": the data directory was "
                "written by a newer version; run that one",
                r->name, (int)e.type, at);
        }
        if (rc < 0) {
            return damaged(r, at, "a record that cannot follow those before it");
        }
    }
}

/* Reads s, which is linked into `segments` if it has been begun. */
static int read_segment(struct replay *r, struct wal_segment *s, bool *ret_begun)
{
    _cleanup_wal_scan_ struct wal_scan scan;
    int rc;

    wal_scan_init(&scan, s);
    rc = read_head(r, &scan, ret_begun);
    if (rc < 0 || !*ret_begun) {
        return rc;
    }
    rc = read_records(r, s, &scan);
    if (rc < 0) {
        return rc;
    }
    r->found->end.at = scan.at;
    r->found->end.mark = scan.mark;
    r->found->end.epoch = MAX(r->found->end.epoch, scan.epoch);
    r->prev_seq = s->seq;
    r->prev_end = scan.at;
    return 0;
}

/* What the last segment's end is, once it is known to be the last. */
static int judge_last(struct replay *r, struct wal_segment *s)
{
    _cleanup_wal_scan_ struct wal_scan scan;
    struct wal_scan_rest rest;
    int rc;

    r->bad_seq = s->seq;
    wal_segment_name(r->name, WAL_NAME_SEGMENT, s->seq);
    wal_scan_init(&scan, s);
    scan.at = scan.window_at = r->found->end.at;
    scan.mark = r->found->end.mark;
    scan.epoch = r->found->end.epoch;
    rc = judge_end(r, &scan, &rest);
    r->found->end.epoch = MAX(r->found->end.epoch, rest.epoch);
    r->rec->torn_bytes += rest.torn_bytes;
    return rc;
}

static int read_all(struct replay *r, const uint64_t *seqs, size_t n)
{
    struct wal_segment *last = NULL;
    bool ended = false;

    for (size_t i = 0; i < n; i++) {
        struct wal_segment *s = NULL;
        bool begun = false;
        int rc;

        r->bad_seq = seqs[i];
        wal_segment_name(r->name, WAL_NAME_SEGMENT, seqs[i]);
        rc = wal_segment_open(r->disk, seqs[i], &s, r->reterr);
        if (rc < 0) {
            return rc;
        }
        list_add_tail(&r->found->segments, &s->link);
        rc = read_segment(r, s, &begun);
        if (rc < 0) {
            return rc;
        }
        if (begun && ended) {
            return damaged(r, WAL_RECORDS_START, "a segment behind one without a head");
        }
        if (begun) {
            if (last != NULL) {
                last->file = wal_file_close(last->file);
            }
            last = s;
        } else {
            ended = true;
            s->file = wal_file_close(s->file);
            list_del(&s->link);
            list_add_tail(&r->found->unused, &s->link);
        }
    }
    if (last == NULL) {
        r->bad_seq = seqs[0];
        return err_set(r->reterr, DECREE_ECORRUPT,
            "wal/%016" PRIx64 ".seg: no segment of the log has a valid head; " WAL_ADVICE, seqs[0]);
    }
    return judge_last(r, last);
}

/* ---- the whole ---- */

/* A snapshot of this member's own is of entries in its log. A received one may have come from
 * beyond the log's end or from another line of terms, and been acknowledged before the log was
 * reset to it: then nothing else here has what it held. */
static bool log_stands_in(const struct replay *r, struct wal_snapshot_id id)
{
    return id.index <= r->last_index && term_of(r, id.index) == id.term;
}

/* The log and the snapshot together must tell the state without a gap. A snapshot newer than the
 * log, or off its line of terms, was received from the leader; the crash came before the log was
 * reset to it. */
static int join_snapshot(struct replay *r)
{
    struct wal_recovery *rec = r->rec;
    struct wal_end *end = &r->found->end;

    end->last_index = r->last_index;
    end->last_term = r->last_term;
    if (r->first > rec->snapshot.index + 1) {
        return err_set(r->reterr, DECREE_ECORRUPT,
            "the log begins at index %" PRIu64 " and the newest whole snapshot is at %" PRIu64
            ": %s; " WAL_ADVICE,
            r->first, rec->snapshot.index,
            rec->passed_over != NULL ? rec->passed_over
                                     : "a newer snapshot or a part of the log is missing");
    }
    if (rec->passed_over != NULL && !log_stands_in(r, rec->passed_over_id)) {
        return err_set(r->reterr, DECREE_ECORRUPT,
            "the log ends at index %" PRIu64 " and does not hold what the newest snapshot did: "
            "%s; " WAL_ADVICE,
            r->last_index, rec->passed_over);
    }
    if (rec->snapshot.index != 0 && r->term_at_snapshot != rec->snapshot.term) {
        drop_entries_from(r, 0);
        end->must_reset = true;
        end->last_index = rec->snapshot.index;
        end->last_term = rec->snapshot.term;
    }
    return 0;
}

void wal_found_init(struct wal_found *f)
{
    *f = (struct wal_found){0};
    list_init(&f->segments);
    list_init(&f->unused);
}

static void free_segments(struct list *head)
{
    list_for_each_safe (l, head) {
        list_del(l);
        (void)wal_segment_free(list_entry(l, struct wal_segment, link));
    }
}

void wal_found_deinit(struct wal_found *f)
{
    free_segments(&f->segments);
    free_segments(&f->unused);
}

/* ---- what is whole in spite of damage ---- */

/* A segment whose header is whole is looked through to its end, over any damage: what it says of
 * terms and of its owner counts, wherever it stands. */
static void salvage_segment(struct replay *r, uint64_t seq, struct wal_salvage *v)
{
    struct wal_recovery *rec = r->rec;
    _cleanup_wal_scan_ struct wal_scan scan = {0};
    struct wal_scan_rest rest;
    struct wal_segment *s = NULL;

    if (wal_segment_open(r->disk, seq, &s, NULL) < 0) {
        s = xcalloc(1, sizeof(*s));
        s->seq = seq;
        list_init(&s->link);
    } else {
        wal_scan_init(&scan, s);
        wal_scan_rest(&scan, &rest);
        if (rest.term > rec->term) {
            rec->term = rest.term;
            rec->vote = rest.vote;
        }
        v->epoch = MAX(v->epoch, rest.epoch);
        if (rec->identity.member_id == 0) {
            rec->identity = s->owner;
        }
        s->file = wal_file_close(s->file);
    }
    list_add_tail(&v->segments, &s->link);
}

/* The entries read so far are of use when the snapshot, or the empty state, is on their line. */
static bool prefix_joins(const struct replay *r)
{
    const struct wal_recovery *rec = r->rec;

    return r->begun && r->first <= rec->snapshot.index + 1 &&
        (rec->snapshot.index == 0 || r->term_at_snapshot == rec->snapshot.term);
}

static void salvage(struct replay *r, const uint64_t *seqs, size_t n, struct wal_salvage *v)
{
    struct wal_recovery *rec = r->rec;
    char *advice = strstr(r->reterr->text, "; " WAL_ADVICE);

    rec->damage = xstrndup(r->reterr->text,
        advice != NULL ? (size_t)(advice - r->reterr->text) : strlen(r->reterr->text));
    err_clear(r->reterr);
    if (!prefix_joins(r)) {
        drop_entries_from(r, 0);
    }
    v->bad_seq = r->bad_seq;
    v->epoch = r->found->end.epoch;
    for (size_t i = 0; i < n; i++) {
        salvage_segment(r, seqs[i], v);
    }
    rec->repairing = true;
    rec->torn_bytes = 0;
}

int wal_salvage_check(struct list *snaps, struct wal_recovery *rec, struct err *reterr)
{
    list_for_each (l, snaps) {
        uint64_t term = list_entry(l, struct snap_file, link)->id.term;

        if (term > rec->term) {
            rec->term = term;
            rec->vote = 0;
        }
    }
    if (rec->identity.member_id != 0) {
        return 0;
    }
    return err_set(reterr, DECREE_ECORRUPT,
        "%s; nor does anything left say which member this is, so it cannot be repaired from the "
        "others under its name: " WAL_ADVICE,
        rec->damage);
}

/* ---- all of it ---- */

static int recover(struct replay *r, const struct listing *l, size_t from)
{
    int rc;

    if (l->n == 0) {
        if (r->rec->has_snapshot) {
            return err_set(r->reterr, DECREE_ECORRUPT,
                "there is a snapshot but the folder wal holds no segment: term and vote are "
                "lost; " WAL_ADVICE);
        }
        r->rec->is_new = true;
        return 0;
    }
    for (size_t i = 0; i < from; i++) {
        add_cut_off(r, l->seqs[i]);
    }
    rc = read_all(r, l->seqs + from, l->n - from);
    if (rc == 0) {
        r->bad_seq = 0; /* a gap between snapshot and log is no segment's own fault */
        rc = join_snapshot(r);
    }
    return rc;
}

int wal_recover(struct wal_disk *d, struct wal_found *f, struct wal_recovery *rec,
    struct wal_salvage *salvage_to, struct err *reterr)
{
    _cleanup_err_ struct err why = {0};
    struct replay r = {.disk = d, .found = f, .rec = rec, .reterr = &why};
    struct listing l = {.disk = d};
    int rc = d->ops->list(d, WAL_FOLDER_LOG, on_name, &l);

    if (rc < 0) {
        free(l.seqs);
        return err_set(reterr, rc, "cannot list the folder wal: %s", err_text(rc));
    }
    if (l.n != 0) {
        qsort(l.seqs, l.n, sizeof(*l.seqs), compare_u64);
    }
    rc = recover(&r, &l, after_last_gap(l.seqs, l.n));
    if (rc == DECREE_ECORRUPT && salvage_to != NULL) {
        salvage(&r, l.seqs, l.n, salvage_to);
        rc = 0;
    } else if (rc < 0) {
        (void)err_set(reterr, rc, "%s", why.text);
    }
    free(l.seqs);
    return rc;
}
