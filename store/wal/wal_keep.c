/* The keeper: what is slow and must not hold up a batch. Prepares the segment after the current one
 * as soon as that has been begun, so that the writer finds it ready; turns segments that left the
 * log into spares; removes old snapshots. */
#include <errno.h>
#include <inttypes.h>

#include "wal_internal.h"

static bool is_no_room(int rc)
{
    /* A quota and a file size limit are full disks to us; so is a shortage of descriptors. */
    return rc == -ENOSPC || rc == -EDQUOT || rc == -EFBIG || rc == -EMFILE || rc == -ENFILE;
}

/* ---- segments that leave ---- */

void wal_keep_ask(struct wal *w)
{
    w->keeper_asked = true;
    (void)pthread_cond_signal(&w->keeper_cond);
}

void wal_keep_drop_segments(struct wal *w)
{
    list_for_each_safe (l, &w->segments) {
        struct wal_segment *s = list_entry(l, struct wal_segment, link);

        if (s == w->current || s->max_index >= MAX(w->keep_from, (uint64_t)1)) {
            break;
        }
        list_del(l);
        list_add_tail(&w->dropped, l);
    }
    if (!list_empty(&w->dropped)) {
        wal_keep_ask(w);
    }
}

static size_t count(const struct list *head)
{
    size_t n = 0;

    list_for_each (l, head) {
        n++;
    }
    return n;
}

static void forget(struct wal *w, struct wal_segment *s)
{
    (void)pthread_mutex_lock(&w->lock);
    w->stats.disk_bytes -= s->bytes;
    (void)pthread_mutex_unlock(&w->lock);
    (void)wal_segment_free(s);
}

/* Oldest first: renamed to a spare while there is use for one, else removed. Both leave the log's
 * folder without the name; what a power cut undoes is dealt with at the next start. */
static void retire(struct wal *w, struct list *dropped)
{
    struct list renamed;
    size_t room;
    int rc = 0;

    (void)pthread_mutex_lock(&w->lock);
    room = WAL_SPARES_MAX - MIN(count(&w->spares), (size_t)WAL_SPARES_MAX);
    (void)pthread_mutex_unlock(&w->lock);
    list_init(&renamed);
    list_for_each_safe (l, dropped) {
        struct wal_segment *s = list_entry(l, struct wal_segment, link);
        char name[WAL_SEGMENT_NAME_MAX], spare[WAL_SEGMENT_NAME_MAX];

        list_del(l);
        wal_segment_name(name, WAL_NAME_SEGMENT, s->seq);
        wal_segment_name(spare, WAL_NAME_SPARE, s->seq);
        if (room > 0 && s->bytes == w->segment_bytes) {
            rc = w->disk->ops->rename(w->disk, WAL_FOLDER_LOG, name, spare);
            list_add_tail(&renamed, l);
            room--;
        } else {
            rc = w->disk->ops->unlink(w->disk, WAL_FOLDER_LOG, name);
        }
        if (rc < 0) {
            wal_fatal(w, s->seq, "retirement", rc);
        }
        if (list_empty(&s->link)) {
            forget(w, s);
        }
    }
    rc = w->disk->ops->sync_dir(w->disk, WAL_FOLDER_LOG);
    if (rc < 0) {
        decree_fatal("fsync of the folder %s/wal failed: %s", w->dir, err_text(rc));
    }
    (void)pthread_mutex_lock(&w->lock);
    list_splice_tail(&w->spares, &renamed);
    (void)pthread_mutex_unlock(&w->lock);
}

static void remove_snapshots(struct wal *w, struct list *dropped)
{
    list_for_each_safe (l, dropped) {
        struct snap_file *f = list_entry(l, struct snap_file, link);
        char name[SNAP_NAME_MAX];

        snap_file_name(name, f->id);
        /* A leftover does no harm; the next compaction or start finds it again. */
        (void)w->disk->ops->unlink(w->disk, WAL_FOLDER_SNAP, name);
        list_del(l);
        free(f);
    }
}

/* ---- the segment to come ---- */

/* On a disk that is nearly full a small segment is better than none. */
static int create(struct wal *w, const struct wal_label *label, uint64_t bytes,
    struct wal_segment **ret, const char **ret_step)
{
    uint64_t least = MIN(w->segment_bytes, (size_t)WAL_SEGMENT_BYTES_FIRST);
    int rc;

    do {
        rc = wal_segment_create(
            w->disk, label, bytes, (struct bytes){0}, &w->stop_keeper, ret, ret_step);
        bytes = (bytes / 2) & ~(uint64_t)(WAL_PAGE_BYTES - 1);
    } while ((rc == -ENOSPC || rc == -EDQUOT) && bytes >= least);
    return rc;
}

static int prepare(struct wal *w, struct wal_segment *spare_consume, uint64_t seq, uint64_t bytes,
    struct wal_segment **ret)
{
    const struct wal_label label = {seq, w->disk->ops->random(w->disk), w->identity};
    const char *step = "";
    int rc;

    if (spare_consume != NULL) {
        uint64_t spare = spare_consume->seq;

        forget(w, spare_consume);
        rc = wal_segment_reuse(w->disk, spare, &label, ret, &step);
    } else {
        rc = create(w, &label, bytes, ret, &step);
    }
    if (rc < 0 && rc != -ECANCELED && !is_no_room(rc)) {
        wal_fatal(w, seq, step, rc);
    }
    return rc;
}

static void prepare_next(struct wal *w)
{
    struct wal_segment *spare = NULL, *next = NULL;
    uint64_t seq, bytes, now = w->disk->ops->now_ns(w->disk);
    int rc;

    (void)pthread_mutex_lock(&w->lock);
    if (w->next_state != WAL_NEXT_NONE || (w->full && now < w->retry_at_ns)) {
        (void)pthread_mutex_unlock(&w->lock);
        return;
    }
    w->next_state = WAL_NEXT_PREPARING;
    seq = w->current->seq + 1;
    bytes = MIN((uint64_t)w->segment_bytes, 2 * w->current->bytes);
    if (!list_empty(&w->spares)) {
        spare = list_entry(w->spares.next, struct wal_segment, link);
        list_del(&spare->link);
    }
    (void)pthread_mutex_unlock(&w->lock);

    rc = prepare(w, spare, seq, bytes, &next);

    (void)pthread_mutex_lock(&w->lock);
    w->full = rc < 0;
    w->next_state = rc < 0 ? WAL_NEXT_NONE : WAL_NEXT_READY;
    w->next = next;
    w->retry_at_ns = now + (uint64_t)WAL_RETRY_MS * 1000000u;
    w->stats.disk_bytes += rc < 0 ? 0 : next->bytes;
    (void)pthread_cond_signal(&w->writer_cond);
    (void)pthread_mutex_unlock(&w->lock);
}

void wal_keep_step(struct wal *w)
{
    struct list dropped, snaps;

    list_init(&dropped);
    list_init(&snaps);
    (void)pthread_mutex_lock(&w->lock);
    w->keeper_asked = false;
    list_splice_tail(&dropped, &w->dropped);
    list_splice_tail(&snaps, &w->snaps_dropped);
    (void)pthread_mutex_unlock(&w->lock);
    if (!list_empty(&dropped)) {
        retire(w, &dropped);
    }
    remove_snapshots(w, &snaps);
    prepare_next(w);
}

/* ---- at start ---- */

struct leftovers {
    struct wal *w;
    struct list preps, spares; /* wal_segment */
};

static void on_name(void *data, const char *name, uint64_t bytes)
{
    struct leftovers *o = data;
    struct wal_segment *s;
    uint64_t seq;
    enum wal_name_kind kind = wal_segment_parse(name, &seq);

    if (kind == WAL_NAME_PREP || kind == WAL_NAME_SPARE) {
        s = xcalloc(1, sizeof(*s));
        s->seq = seq;
        s->bytes = bytes;
        list_init(&s->link);
        list_add_tail(kind == WAL_NAME_PREP ? &o->preps : &o->spares, &s->link);
    }
}

/* Unless something has failed before (rc); the list is freed in any case. */
static int unlink_all(struct wal *w, struct list *head, enum wal_name_kind kind, int rc)
{
    list_for_each_safe (l, head) {
        struct wal_segment *s = list_entry(l, struct wal_segment, link);
        char name[WAL_SEGMENT_NAME_MAX];

        wal_segment_name(name, kind, s->seq);
        list_del(l);
        if (rc == 0) {
            rc = w->disk->ops->unlink(w->disk, WAL_FOLDER_LOG, name);
        }
        (void)wal_segment_free(s);
    }
    return rc;
}

/* A prepared segment that was not begun is prepared again, with a new salt: a torn write may have
 * left records in it. Zeros once written are worth keeping, so full-sized ones become spares. */
static int retire_unused(struct wal *w, struct list *unused)
{
    list_for_each_safe (l, unused) {
        struct wal_segment *s = list_entry(l, struct wal_segment, link);
        char name[WAL_SEGMENT_NAME_MAX], spare[WAL_SEGMENT_NAME_MAX];
        int rc;

        if (s->bytes != w->segment_bytes) {
            continue;
        }
        wal_segment_name(name, WAL_NAME_SEGMENT, s->seq);
        wal_segment_name(spare, WAL_NAME_SPARE, s->seq);
        rc = w->disk->ops->rename(w->disk, WAL_FOLDER_LOG, name, spare);
        if (rc < 0) {
            return rc;
        }
        list_del(l);
        (void)wal_segment_free(s);
    }
    return unlink_all(w, unused, WAL_NAME_SEGMENT, 0);
}

int wal_keep_adopt(struct wal *w, struct list *unused, struct err *reterr)
{
    struct leftovers o = {.w = w};
    int rc = retire_unused(w, unused);

    list_init(&o.preps);
    list_init(&o.spares);
    if (rc == 0) {
        rc = w->disk->ops->list(w->disk, WAL_FOLDER_LOG, on_name, &o);
    }
    list_for_each_safe (l, &o.spares) {
        struct wal_segment *s = list_entry(l, struct wal_segment, link);

        if (s->bytes == w->segment_bytes && count(&w->spares) < WAL_SPARES_MAX) {
            list_del(l);
            list_add_tail(&w->spares, l);
            w->stats.disk_bytes += s->bytes;
        }
    }
    rc = unlink_all(w, &o.preps, WAL_NAME_PREP, rc);
    rc = unlink_all(w, &o.spares, WAL_NAME_SPARE, rc);
    if (rc == 0) {
        rc = w->disk->ops->sync_dir(w->disk, WAL_FOLDER_LOG);
    }
    if (rc < 0) {
        (void)err_set(reterr, rc, "cannot tidy up the folder %s/wal: %s", w->dir, err_text(rc));
    }
    return rc;
}
