/* A log begun anew, under repair, after damage to the old one.
 *
 *     old segments 1..n  --write n+2 whole--> rename it SEQ.seg --> the old ones go
 *
 * The new segment holds what was saved: a head with the newest term and the mark of repair, then
 * the entries that go on from the snapshot. Its number leaves a gap, and what lies before a gap has
 * left the log (wal_recover.c): so the one rename, made durable, takes the step from the old log to
 * the new one. A crash before it finds the old log and its damage again, one after it at most some
 * old files that were not yet put away.
 *
 * Segments from the first damaged one on are kept as SEQ.damaged, and so are damaged snapshots, for
 * a person who wants to know or has nobody to repair from; what was whole of the log is in the new
 * segment. Only the newest few: a disk that goes on rotting must not fill itself with its past. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "wal_internal.h"
#include "wal_record.h"

enum { DAMAGED_MAX = 4 /* files kept in each folder */ };

#define DAMAGED_SUFFIX ".damaged"

/* ---- names ---- */

struct names {
    char **list; /* owned */
    size_t n;
};

static void on_damaged(void *data, const char *name, uint64_t bytes _unused_)
{
    struct names *names = data;
    size_t len = strlen(name), suffix = strlen(DAMAGED_SUFFIX);

    if (len > suffix && strcmp(name + len - suffix, DAMAGED_SUFFIX) == 0) {
        names->list = xreallocarray(names->list, names->n + 1, sizeof(*names->list));
        names->list[names->n++] = xstrdup(name);
    }
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Numbers in names have a fixed width, so the order of names is that of age. */
static int prune(struct wal_disk *d, enum wal_folder folder)
{
    struct names names = {0};
    int rc = d->ops->list(d, folder, on_damaged, &names);

    if (names.n != 0) {
        qsort(names.list, names.n, sizeof(*names.list), compare_names);
    }
    for (size_t i = 0; i < names.n; i++) {
        if (rc == 0 && i + DAMAGED_MAX < names.n) {
            rc = d->ops->unlink(d, folder, names.list[i]);
        }
        free(names.list[i]);
    }
    free(names.list);
    return rc == 0 ? d->ops->sync_dir(d, folder) : rc;
}

static int put_away(struct wal_disk *d, uint64_t seq, bool keep)
{
    char name[WAL_SEGMENT_NAME_MAX], damaged[WAL_SEGMENT_NAME_MAX];

    wal_segment_name(name, WAL_NAME_SEGMENT, seq);
    wal_segment_name(damaged, WAL_NAME_DAMAGED, seq);
    return keep ? d->ops->rename(d, WAL_FOLDER_LOG, name, damaged)
                : d->ops->unlink(d, WAL_FOLDER_LOG, name);
}

static int put_away_snapshots(struct wal *w)
{
    int rc = 0;

    list_for_each_safe (l, &w->snaps) {
        struct snap_file *f = list_entry(l, struct snap_file, link);
        char name[SNAP_NAME_MAX], damaged[SNAP_NAME_MAX + sizeof(DAMAGED_SUFFIX)];

        if (f->damaged && rc == 0) {
            snap_file_name(name, f->id);
            (void)snprintf(damaged, sizeof(damaged), "%s%s", name, DAMAGED_SUFFIX);
            rc = w->disk->ops->rename(w->disk, WAL_FOLDER_SNAP, name, damaged);
            list_del(l);
            free(f);
        }
    }
    return rc == 0 ? prune(w->disk, WAL_FOLDER_SNAP) : rc;
}

static int put_all_away(struct wal *w)
{
    struct wal_salvage *v = &w->salvage;
    int rc = 0;

    list_for_each_safe (l, &v->segments) {
        struct wal_segment *s = list_entry(l, struct wal_segment, link);

        if (rc == 0) {
            rc = put_away(w->disk, s->seq, s->seq >= v->bad_seq);
        }
        list_del(l);
        (void)wal_segment_free(s);
    }
    if (rc == 0) {
        rc = prune(w->disk, WAL_FOLDER_LOG);
    }
    return rc == 0 ? put_away_snapshots(w) : rc;
}

int wal_repair_adopt(struct wal *w, struct list *unused, struct err *reterr)
{
    bool any = false;
    int rc = 0;

    list_for_each_safe (l, unused) {
        struct wal_segment *s = list_entry(l, struct wal_segment, link);

        if (s->bytes == 0 && rc == 0) { /* cut off; a prepared one was opened */
            rc = put_away(w->disk, s->seq, true);
            any = true;
            list_del(l);
            (void)wal_segment_free(s);
        }
    }
    if (rc == 0 && any) {
        rc = prune(w->disk, WAL_FOLDER_LOG);
    }
    if (rc < 0) {
        return err_set(
            reterr, rc, "cannot put damaged segments away in %s/wal: %s", w->dir, err_text(rc));
    }
    return 0;
}

/* ---- the new log ---- */

static void encode_log(const struct wal *w, const struct wal_recovery *saved, uint64_t salt,
    uint32_t epoch, struct strbuf *out)
{
    const struct wal_head h = {.cluster_id = w->identity.cluster_id,
        .member_id = w->identity.member_id,
        .last_index = saved->snapshot.index,
        .last_term = saved->snapshot.term};
    uint8_t body[WAL_HEAD_BYTES];
    struct wal_record r = {.type = WAL_RECORD_HEAD,
        .entry_type = WAL_HARD_REPAIRING,
        .epoch = epoch,
        .index = saved->vote,
        .term = saved->term,
        .mark = WAL_RECORDS_START,
        .body = bytes_make(body, sizeof(body))};

    wal_head_encode(&h, body);
    wal_record_encode(&r, salt, WAL_RECORDS_START, out);
    for (size_t i = 0; i < saved->n_entries; i++) {
        const struct wal_entry *e = &saved->entries[i];

        r = (struct wal_record){.type = WAL_RECORD_ENTRY,
            .entry_type = e->type,
            .epoch = epoch,
            .index = e->index,
            .term = e->term,
            .mark = WAL_RECORDS_START,
            .body = buf_bytes(e->payload)};
        wal_record_encode(&r, salt, WAL_RECORDS_START + out->len, out);
    }
    /* The file gets its name after a sync: what the mark says is true before it can be read. */
    r = (struct wal_record){
        .type = WAL_RECORD_MARK, .epoch = epoch, .mark = WAL_RECORDS_START + out->len};
    wal_record_encode(&r, salt, WAL_RECORDS_START + out->len, out);
}

/* The log goes on behind the records; of their last page the writer needs the bytes. */
static void set_tail(
    struct wal *w, const struct wal_recovery *saved, uint32_t epoch, struct bytes records)
{
    struct wal_tail *t = &w->tail;
    uint64_t end = WAL_RECORDS_START + records.len;

    t->base = end & ~(uint64_t)(WAL_PAGE_BYTES - 1);
    strbuf_append_bytes(
        &t->buf, bytes_make(records.data + (t->base - WAL_RECORDS_START), (size_t)(end - t->base)));
    t->pos = t->durable = w->current_end = end;
    t->epoch = epoch;
    t->term = saved->term;
    t->vote = saved->vote;
    t->repairing = true;
    t->last_index = saved->snapshot.index + saved->n_entries;
    t->last_term =
        saved->n_entries != 0 ? saved->entries[saved->n_entries - 1].term : saved->snapshot.term;
    w->current->max_index = saved->n_entries != 0 ? t->last_index : 0;
}

static int begin_log(struct wal *w, const struct wal_recovery *saved, struct err *reterr)
{
    struct wal_salvage *v = &w->salvage;
    _cleanup_strbuf_ struct strbuf records = {0};
    struct wal_label label = {.salt = w->disk->ops->random(w->disk), .owner = w->identity};
    uint32_t epoch = v->epoch + (v->epoch < UINT32_MAX ? 1 : 0);
    const char *step = "";
    uint64_t bytes;
    int rc;

    decree_assert(!list_empty(&v->segments));
    label.seq = list_entry(v->segments.prev, struct wal_segment, link)->seq + 2;
    encode_log(w, saved, label.salt, epoch, &records);
    /* As much behind them as a new log's first segment has. */
    bytes =
        WAL_RECORDS_START + records.len + MIN(w->segment_bytes, (size_t)WAL_SEGMENT_BYTES_FIRST);
    bytes &= ~(uint64_t)(WAL_PAGE_BYTES - 1);
    rc = wal_segment_create(
        w->disk, &label, bytes, strbuf_bytes(&records), NULL, &w->current, &step);
    if (rc < 0) {
        return err_set(
            reterr, rc, "%s of a new segment in %s/wal failed: %s", step, w->dir, err_text(rc));
    }
    list_add_tail(&w->segments, &w->current->link);
    w->stats.disk_bytes += w->current->bytes;
    set_tail(w, saved, epoch, strbuf_bytes(&records));
    return 0;
}

int wal_repair(struct wal *w, const struct wal_recovery *saved, struct err *reterr)
{
    struct list none;
    int rc;

    decree_assert(!w->created && saved->damage != NULL && saved->identity.member_id != 0);
    list_init(&none);
    w->identity = saved->identity;
    rc = snap_files_tidy(w->disk, reterr); /* before the log is built upon a snapshot */
    if (rc == 0) {
        rc = wal_keep_adopt(w, &none, reterr); /* what an earlier try left is in the way */
    }
    if (rc == 0) {
        rc = begin_log(w, saved, reterr);
    }
    if (rc == 0) {
        rc = put_all_away(w);
        if (rc < 0) {
            return err_set(
                reterr, rc, "cannot put damaged files away in %s: %s", w->dir, err_text(rc));
        }
    }
    if (rc < 0) {
        return rc;
    }
    list_for_each (l, &w->snaps) {
        w->stats.disk_bytes += list_entry(l, struct snap_file, link)->bytes;
    }
    wal_threads_start(w);
    return 0;
}
