/* The public calls of the log, and how it is opened and closed. All here runs in the loop's thread
 * and never waits for the disk, but for wal_open, wal_create and wal_close. */
#include "wal.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "wal_internal.h"
#include "wal_record.h"

enum { PAGE_MASK = WAL_PAGE_BYTES - 1 };

void wal_recovery_deinit(struct wal_recovery *r)
{
    for (size_t i = 0; i < r->n_entries; i++) {
        buf_unref(r->entries[i].payload);
    }
    free(r->entries);
    free(r->passed_over);
    free(r->damage);
    *r = (struct wal_recovery){0};
}

/* ---- open ---- */

static struct wal *wal_new(const struct wal_options *o)
{
    struct wal *w = xcalloc(1, sizeof(*w));
    size_t bytes = o->segment_bytes != 0 ? o->segment_bytes : (size_t)WAL_SEGMENT_BYTES_DEFAULT;
    pthread_condattr_t attr;

    w->own_disk = o->disk == NULL ? wal_disk_posix_new() : NULL;
    w->disk = o->disk != NULL ? o->disk : w->own_disk;
    w->dir = xstrdup(o->dir);
    w->segment_bytes = (MAX(bytes, (size_t)WAL_SEGMENT_BYTES_MIN) + PAGE_MASK) & ~(size_t)PAGE_MASK;
    w->wake = o->wake;
    w->wake_data = o->wake_data;
    (void)pthread_mutex_init(&w->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&w->writer_cond, &attr);
    (void)pthread_cond_init(&w->keeper_cond, &attr);
    (void)pthread_condattr_destroy(&attr);
    list_init(&w->queue);
    list_init(&w->done);
    list_init(&w->segments);
    list_init(&w->spares);
    list_init(&w->dropped);
    list_init(&w->snaps);
    list_init(&w->snaps_dropped);
    list_init(&w->snaps_aborting);
    list_init(&w->salvage.segments);
    return w;
}

static void take_segments(struct wal *w, struct list *segments)
{
    list_for_each (l, segments) {
        w->current = list_entry(l, struct wal_segment, link);
        w->stats.disk_bytes += w->current->bytes;
    }
    list_splice_tail(&w->segments, segments);
}

/* One of the copies of what the header page says is damaged: put right before a second one is. */
static int mend_headers(struct wal *w, struct list *segments, struct err *reterr)
{
    int rc = 0;

    list_for_each (l, segments) {
        struct wal_segment *s = list_entry(l, struct wal_segment, link);

        rc = s->header_damaged && rc == 0 ? wal_segment_mend(w->disk, s) : rc;
        if (rc < 0) {
            return err_set(reterr, rc,
                "cannot mend the damaged header of wal/%016" PRIx64 ".seg: %s", s->seq,
                err_text(rc));
        }
    }
    return rc;
}

/* Everything is proven before anything is changed. */
static int open_steps(struct wal *w, bool salvage, struct wal_recovery *rec, struct err *reterr)
{
    _cleanup_(wal_found_deinit) struct wal_found found;
    int rc;

    wal_found_init(&found);
    rc = snap_files_load(w->disk, &w->snaps, rec, reterr);
    if (rc == 0) {
        rc = wal_recover(w->disk, &found, rec, salvage ? &w->salvage : NULL, reterr);
    }
    if (rc == 0 && rec->damage != NULL) {
        return wal_salvage_check(&w->snaps, rec, reterr);
    }
    if (rc == 0) {
        rc = snap_files_tidy(w->disk, reterr);
    }
    if (rc == 0) {
        rc = rec->repairing ? wal_repair_adopt(w, &found.unused, reterr) : 0;
    }
    if (rc == 0) {
        rc = wal_keep_adopt(w, &found.unused, reterr);
    }
    if (rc == 0) {
        rc = mend_headers(w, &found.segments, reterr);
    }
    if (rc < 0 || rec->is_new) {
        return rc;
    }
    take_segments(w, &found.segments);
    list_for_each (l, &w->snaps) {
        w->stats.disk_bytes += list_entry(l, struct snap_file, link)->bytes;
    }
    w->identity = rec->identity;
    w->tail.term = rec->term;
    w->tail.vote = rec->vote;
    w->tail.repairing = rec->repairing;
    rc = wal_write_open(w, &found, reterr);
    if (rc == 0) {
        wal_threads_start(w);
    }
    return rc;
}

int wal_open(const struct wal_options *options, struct wal **ret, struct wal_recovery *ret_recovery,
    struct err *reterr)
{
    struct wal *w = wal_new(options);
    int rc = w->disk->ops->attach(w->disk, w->dir, reterr);

    *ret_recovery = (struct wal_recovery){0};
    if (rc == 0) {
        rc = open_steps(w, options->salvage, ret_recovery, reterr);
        if (rc < 0) {
            (void)err_prefix(reterr, "%s", w->dir);
        }
    } else {
        w->disk = NULL;
    }
    if (rc < 0) {
        wal_recovery_deinit(ret_recovery);
        (void)wal_close(w);
        return rc;
    }
    *ret = w;
    return 0;
}

int wal_create(struct wal *w, struct wal_identity identity, struct err *reterr)
{
    _cleanup_strbuf_ struct strbuf records = {0};
    const struct wal_label label = {1, w->disk->ops->random(w->disk), identity};
    struct wal_tail *t = &w->tail;
    const char *step = "";
    int rc;

    decree_assert(!w->created && identity.cluster_id != 0 && identity.member_id != 0);
    w->identity = identity;
    wal_write_first(w, label.salt, &records);
    rc = wal_segment_create(w->disk, &label, MIN(w->segment_bytes, (size_t)WAL_SEGMENT_BYTES_FIRST),
        strbuf_bytes(&records), NULL, &w->current, &step);
    if (rc < 0) {
        return err_set(
            reterr, rc, "%s of the first segment in %s/wal failed: %s", step, w->dir, err_text(rc));
    }
    list_add_tail(&w->segments, &w->current->link);
    w->stats.disk_bytes += w->current->bytes;
    strbuf_append_bytes(&t->buf, strbuf_bytes(&records));
    t->base = WAL_RECORDS_START;
    t->pos = t->durable = w->current_end = WAL_RECORDS_START + records.len;
    t->epoch = 1;
    wal_threads_start(w);
    return 0;
}

/* ---- close ---- */

static void free_segments(struct list *head)
{
    list_for_each_safe (l, head) {
        list_del(l);
        (void)wal_segment_free(list_entry(l, struct wal_segment, link));
    }
}

static void free_snaps(struct list *head)
{
    list_for_each_safe (l, head) {
        list_del(l);
        free(list_entry(l, struct snap_file, link));
    }
}

static void finish_req(struct wal_append_req *req, int status)
{
    if (req->is_reset_) {
        free(req);
    } else {
        req->cb(req, status);
    }
}

struct wal *wal_close(struct wal *w)
{
    if (w == NULL) {
        return NULL;
    }
    snap_writer_close_all(w);
    wal_threads_stop(w);
    list_for_each_safe (l, &w->done) {
        list_del(l);
        finish_req(list_entry(l, struct wal_append_req, queue_), 0);
    }
    list_for_each_safe (l, &w->queue) {
        list_del(l);
        finish_req(list_entry(l, struct wal_append_req, queue_), -ECANCELED);
    }
    if (w->created) {
        wal_write_mark(w, true);
    }
    (void)wal_segment_free(w->next);
    free_segments(&w->segments);
    free_segments(&w->spares);
    free_segments(&w->dropped);
    free_segments(&w->salvage.segments);
    free_snaps(&w->snaps);
    free_snaps(&w->snaps_dropped);
    strbuf_deinit(&w->tail.buf);
    (void)pthread_cond_destroy(&w->writer_cond);
    (void)pthread_cond_destroy(&w->keeper_cond);
    (void)pthread_mutex_destroy(&w->lock);
    if (w->disk != NULL) {
        w->disk->ops->detach(w->disk);
    }
    (void)wal_disk_posix_free(w->own_disk);
    free(w->dir);
    free(w);
    return NULL;
}

/* ---- appending ---- */

static void enqueue(struct wal *w, struct wal_append_req *req, size_t bytes)
{
    list_init(&req->queue_);
    list_add_tail(&w->queue, &req->queue_);
    w->queued_bytes += bytes;
    (void)pthread_cond_signal(&w->writer_cond);
}

/* Lock held. While the disk is full, only what fits before the current segment's reserve. */
static bool fits(const struct wal *w, size_t bytes)
{
    uint64_t end = w->current_end + w->queued_bytes + bytes;

    return !w->full || end + wal_segment_reserve(w->current) <= w->current->bytes;
}

int wal_append(struct wal *w, struct wal_append_req *req)
{
    int rc = 0;

    decree_assert(w->created && req->cb != NULL);
    decree_assert(req->has_hard || req->n_entries > 0);
    req->is_reset_ = false;
    (void)pthread_mutex_lock(&w->lock);
    if (req->n_entries > 0 && !fits(w, wal_req_bytes(req))) {
        rc = WAL_FULL;
    } else {
        enqueue(w, req, wal_req_bytes(req));
    }
    (void)pthread_mutex_unlock(&w->lock);
    return rc;
}

/* The most that wal_req_bytes can come to: how the payloads share the bytes is not known. */
static size_t most_bytes(size_t n_entries, size_t bytes)
{
    return wal_record_size(0) + n_entries * (wal_record_size(0) + WAL_RECORD_ALIGN - 1) + bytes;
}

bool wal_has_room_for(struct wal *w, size_t n_entries, size_t bytes)
{
    const size_t most = most_bytes(n_entries, bytes);
    bool ask, room;

    (void)pthread_mutex_lock(&w->lock);
    ask = w->full && w->disk->ops->now_ns(w->disk) >= w->retry_at_ns;
    if (ask) {
        wal_keep_ask(w);
    }
    room = fits(w, most);
    (void)pthread_mutex_unlock(&w->lock);
    if (ask && w->wake == NULL) {
        wal_keep_step(w);
        (void)pthread_mutex_lock(&w->lock);
        room = fits(w, most);
        (void)pthread_mutex_unlock(&w->lock);
    }
    return room;
}

bool wal_has_room(struct wal *w, size_t bytes)
{
    return wal_has_room_for(w, 1, bytes);
}

void wal_poll(struct wal *w)
{
    struct list done;

    if (!w->created) {
        return;
    }
    if (w->wake == NULL) {
        wal_write_queued(w);
    }
    list_init(&done);
    (void)pthread_mutex_lock(&w->lock);
    list_splice_tail(&done, &w->done);
    (void)pthread_mutex_unlock(&w->lock);
    list_for_each_safe (l, &done) {
        list_del(l);
        finish_req(list_entry(l, struct wal_append_req, queue_), 0);
    }
    snap_writer_poll(w);
}

void wal_reset(struct wal *w, struct wal_snapshot_id snapshot)
{
    struct wal_append_req *req = xcalloc(1, sizeof(*req));

    decree_assert(w->created && snap_files_find(&w->snaps, snapshot) != NULL);
    *req =
        (struct wal_append_req){.is_reset_ = true, .term = snapshot.term, .vote = snapshot.index};
    (void)pthread_mutex_lock(&w->lock);
    enqueue(w, req, wal_req_bytes(req));
    (void)pthread_mutex_unlock(&w->lock);
}

void wal_compact(struct wal *w, struct wal_snapshot_id snapshot, uint64_t keep_from)
{
    struct snap_file *newest = snap_files_find(&w->snaps, snapshot);
    uint64_t removed;

    /* The log is never trimmed for a snapshot that has not been verified (F14). */
    decree_assert(w->created && newest != NULL && keep_from <= snapshot.index + 1);
    (void)pthread_mutex_lock(&w->lock);
    removed = snap_files_prune(&w->snaps, newest, &w->snaps_dropped);
    w->stats.disk_bytes -= removed;
    w->keep_from = MAX(w->keep_from, MIN(keep_from, snap_files_oldest(&w->snaps) + 1));
    wal_keep_drop_segments(w);
    wal_keep_ask(w);
    (void)pthread_mutex_unlock(&w->lock);
}

void wal_stats(struct wal *w, struct wal_stats *ret)
{
    (void)pthread_mutex_lock(&w->lock);
    *ret = w->stats;
    (void)pthread_mutex_unlock(&w->lock);
}
