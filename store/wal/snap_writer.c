/* Writing a snapshot: pieces come from the loop, a thread of the writer's own puts them into a part
 * file. The states:
 *
 *     WRITING --finish--> SEALING --sync, read back, rename, sync folder--> ENDED --poll--> cb,
 * freed |  \--abort--> ABORTING --unlink--> ENDED --poll--> freed
 *        +--a step fails: part unlinked, later pieces dropped, status kept until finish--
 *
 * The part is synced every few MiB: the log's fdatasync shares the device and would otherwise meet
 * all of it at once. It is read back past the page cache before it is renamed, so that a snapshot
 * that has a name has been seen on the medium. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "codec.h"
#include "wal_internal.h"

enum { WRITE_CHUNK = 1 << 20, SYNC_EVERY = 8 << 20 };

enum snap_state { SNAP_WRITING, SNAP_SEALING, SNAP_ABORTING, SNAP_ENDED };

struct snap_piece {
    struct list link;
    struct buf *buf;
};

struct snap_writer {
    struct list link; /* in w->snaps_aborting once aborted */
    struct wal *w;
    struct wal_snapshot_id id;
    char part[SNAP_NAME_MAX];
    pthread_t thread;

    /* the thread's */
    struct wal_file *file;
    struct strbuf out; /* bytes not yet written to the file */
    uint64_t written, synced;
    uint32_t chain;
    uint64_t pieces_n, pieces_bytes;
    char *text; /* why it failed; read by the loop once ENDED */

    /* under w->lock */
    pthread_cond_t cond;
    enum snap_state state;
    struct list pieces; /* queued */
    struct list spent;  /* written; their references are dropped in the loop's thread */
    size_t queued;
    int status;

    /* the loop's */
    void (*drained)(void *data);
    void *drained_data;
    snap_writer_cb cb;
    void *cb_data;
};

/* ---- the thread's steps ---- */

/* Remembers the first failure and removes the part file. */
static void fail(struct snap_writer *s, const char *step, int rc)
{
    struct wal_disk *d = s->w->disk;

    s->file = wal_file_close(s->file);
    (void)d->ops->unlink(d, WAL_FOLDER_SNAP, s->part);
    free(s->text);
    s->text = xasprintf("%s of %s/snap/%s failed: %s", step, s->w->dir, s->part, err_text(rc));
    strbuf_deinit(&s->out);
    (void)pthread_mutex_lock(&s->w->lock);
    s->status = rc;
    (void)pthread_mutex_unlock(&s->w->lock);
}

static int write_chunk(struct snap_writer *s)
{
    int rc = wal_file_pwrite(s->file, s->written, strbuf_bytes(&s->out));

    if (rc < 0) {
        fail(s, "write", rc);
        return rc;
    }
    s->written += s->out.len;
    strbuf_clear(&s->out);
    if (s->written - s->synced >= SYNC_EVERY) {
        rc = wal_file_sync(s->file);
        if (rc < 0) {
            fail(s, "fdatasync", rc);
        }
        s->synced = s->written;
    }
    return rc;
}

static int put_frame(struct snap_writer *s, uint32_t length, struct bytes b)
{
    uint8_t head[SNAP_FRAME_HEADER_BYTES];

    s->chain = snap_frame_crc(s->chain, length, b);
    put_u32(head, length);
    put_u32(head + 4, s->chain);
    strbuf_append(&s->out, head, sizeof(head));
    strbuf_append_bytes(&s->out, b);
    return s->out.len >= WRITE_CHUNK ? write_chunk(s) : 0;
}

static void do_piece(struct snap_writer *s, const struct buf *piece)
{
    struct wal_disk *d = s->w->disk;

    if (s->status < 0) {
        return;
    }
    if (s->file == NULL) {
        int rc = d->ops->open(d, WAL_FOLDER_SNAP, s->part, true, &s->file);

        if (rc < 0) {
            fail(s, "creation", rc);
            return;
        }
    }
    s->pieces_n++;
    s->pieces_bytes += piece->len;
    (void)put_frame(s, piece->len, buf_bytes(piece));
}

static int publish(struct snap_writer *s)
{
    struct wal_disk *d = s->w->disk;
    char name[SNAP_NAME_MAX];
    int rc;

    snap_file_name(name, s->id);
    rc = d->ops->rename(d, WAL_FOLDER_SNAP, s->part, name);
    if (rc < 0) {
        fail(s, "rename", rc);
        return rc;
    }
    rc = d->ops->sync_dir(d, WAL_FOLDER_SNAP);
    if (rc < 0) {
        fail(s, "sync of the folder", rc);
    }
    return rc;
}

static void do_seal(struct snap_writer *s)
{
    struct wal_disk *d = s->w->disk;
    _cleanup_err_ struct err why = {0};
    uint8_t sums[SNAP_END_BYTES];
    int rc = 0;

    put_u64(sums, s->pieces_n);
    put_u64(sums + 8, s->pieces_bytes);
    if (s->file == NULL) {
        rc = d->ops->open(d, WAL_FOLDER_SNAP, s->part, true, &s->file);
        if (rc < 0) {
            fail(s, "creation", rc);
            return;
        }
    }
    rc = put_frame(s, SNAP_END_LENGTH, bytes_make(sums, sizeof(sums)));
    if (rc == 0 && s->out.len > 0) {
        rc = write_chunk(s);
    }
    if (rc < 0) {
        return;
    }
    rc = wal_file_sync(s->file);
    if (rc < 0) {
        fail(s, "fdatasync", rc);
        return;
    }
    s->file = wal_file_close(s->file);
    rc = snap_verify(d, s->part, s->id, s->w->identity.cluster_id, true, &why);
    if (rc < 0) {
        fail(s, "reading back", rc);
        return;
    }
    (void)publish(s);
}

/* One thing to do, if any; w->lock is held but for the doing. */
static bool step(struct snap_writer *s)
{
    struct wal *w = s->w;

    if (s->state == SNAP_ENDED) {
        return false;
    }
    if (s->state != SNAP_ABORTING && !list_empty(&s->pieces)) {
        struct snap_piece *p = list_entry(s->pieces.next, struct snap_piece, link);

        list_del(&p->link);
        (void)pthread_mutex_unlock(&w->lock);
        do_piece(s, p->buf);
        (void)pthread_mutex_lock(&w->lock);
        s->queued -= p->buf->len;
        list_add_tail(&s->spent, &p->link);
        return true;
    }
    if (s->state == SNAP_WRITING) {
        return false;
    }
    if (s->state == SNAP_ABORTING || s->status == 0) {
        bool aborting = s->state == SNAP_ABORTING;

        (void)pthread_mutex_unlock(&w->lock);
        if (!aborting) {
            do_seal(s);
        } else if (s->status == 0) {
            fail(s, "writing", -ECANCELED);
        }
        (void)pthread_mutex_lock(&w->lock);
    }
    s->state = SNAP_ENDED;
    return true;
}

static void *snap_main(void *data)
{
    struct snap_writer *s = data;
    struct wal *w = s->w;
    bool ended = false;

    (void)pthread_setname_np(pthread_self(), "wal-snapshot");
    (void)pthread_mutex_lock(&w->lock);
    while (!ended) {
        if (!step(s)) {
            (void)pthread_cond_wait(&s->cond, &w->lock);
            continue;
        }
        ended = s->state == SNAP_ENDED;
        (void)pthread_mutex_unlock(&w->lock);
        w->wake(w->wake_data);
        (void)pthread_mutex_lock(&w->lock);
    }
    (void)pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* ---- the loop's side ---- */

int snap_writer_open(struct wal *w, struct wal_snapshot_id id, struct bytes header,
    struct snap_writer **ret, struct err *reterr)
{
    uint8_t file_header[SNAP_FILE_HEADER_BYTES];
    struct snap_writer *s;

    decree_assert(w->created && id.index != 0 && header.len <= SNAP_PIECE_BYTES_MAX);
    if (w->snap != NULL) {
        return err_set(reterr, -EEXIST, "a snapshot at index %" PRIu64 " is being written already",
            w->snap->id.index);
    }
    s = xcalloc(1, sizeof(*s));
    s->w = w;
    s->id = id;
    (void)snprintf(s->part, sizeof(s->part), "%016" PRIx64 "-%016" PRIx64 "-%" PRIu64 ".part",
        id.term, id.index, w->snap_parts++);
    list_init(&s->link);
    list_init(&s->pieces);
    list_init(&s->spent);
    (void)pthread_cond_init(&s->cond, NULL);
    s->chain = snap_header_encode(id, w->identity.cluster_id, file_header);
    strbuf_append(&s->out, file_header, sizeof(file_header));
    s->chain = snap_frame_crc(s->chain, (uint32_t)header.len, header);
    strbuf_append(&s->out, (uint8_t[8]){0}, SNAP_FRAME_HEADER_BYTES);
    put_u32(s->out.data + SNAP_FILE_HEADER_BYTES, (uint32_t)header.len);
    put_u32(s->out.data + SNAP_FILE_HEADER_BYTES + 4, s->chain);
    strbuf_append_bytes(&s->out, header);
    w->snap = s;
    if (w->wake != NULL) {
        wal_thread_run(&s->thread, snap_main, s);
    }
    *ret = s;
    return 0;
}

void snap_writer_write(struct snap_writer *s, struct buf *piece)
{
    struct snap_piece *p;

    decree_assert(piece->len <= SNAP_PIECE_BYTES_MAX);
    if (piece->len == 0) {
        return;
    }
    p = xmalloc(sizeof(*p));
    p->buf = buf_ref(piece);
    list_init(&p->link);
    (void)pthread_mutex_lock(&s->w->lock);
    decree_assert(s->state == SNAP_WRITING);
    list_add_tail(&s->pieces, &p->link);
    s->queued += piece->len;
    (void)pthread_cond_signal(&s->cond);
    (void)pthread_mutex_unlock(&s->w->lock);
}

size_t snap_writer_queued(const struct snap_writer *s)
{
    struct wal *w = s->w;
    size_t n;

    (void)pthread_mutex_lock(&w->lock);
    n = s->queued;
    (void)pthread_mutex_unlock(&w->lock);
    return n;
}

void snap_writer_on_drain(struct snap_writer *s, void (*drained)(void *data), void *data)
{
    s->drained = drained;
    s->drained_data = data;
}

static void set_state(struct snap_writer *s, enum snap_state state)
{
    (void)pthread_mutex_lock(&s->w->lock);
    decree_assert(s->state == SNAP_WRITING);
    s->state = state;
    (void)pthread_cond_signal(&s->cond);
    (void)pthread_mutex_unlock(&s->w->lock);
}

void snap_writer_finish(struct snap_writer *s, snap_writer_cb cb, void *data)
{
    s->cb = cb;
    s->cb_data = data;
    set_state(s, SNAP_SEALING);
}

void snap_writer_abort(struct snap_writer *s)
{
    struct wal *w = s->w;

    decree_assert(w->snap == s);
    w->snap = NULL;
    list_add_tail(&w->snaps_aborting, &s->link);
    set_state(s, SNAP_ABORTING);
}

static void release(struct list *pieces)
{
    list_for_each_safe (l, pieces) {
        struct snap_piece *p = list_entry(l, struct snap_piece, link);

        list_del(l);
        buf_unref(p->buf);
        free(p);
    }
}

/* Waits for the thread of a writer that is sealing or aborting, short when it has ENDED. */
static void join(struct snap_writer *s)
{
    if (s->w->wake != NULL) {
        (void)pthread_join(s->thread, NULL);
    }
}

static void writer_free(struct snap_writer *s)
{
    release(&s->pieces);
    release(&s->spent);
    (void)wal_file_close(s->file);
    (void)pthread_cond_destroy(&s->cond);
    strbuf_deinit(&s->out);
    free(s->text);
    free(s);
}

/* Lets go of what was written; returns the state. Without a thread the work is done here. */
static enum snap_state collect(struct snap_writer *s, bool *ret_drained)
{
    struct list spent;
    enum snap_state state;

    list_init(&spent);
    (void)pthread_mutex_lock(&s->w->lock);
    while (s->w->wake == NULL && step(s)) {}
    list_splice_tail(&spent, &s->spent);
    state = s->state;
    *ret_drained = !list_empty(&spent) && s->queued <= SNAP_WINDOW_BYTES / 2;
    (void)pthread_mutex_unlock(&s->w->lock);
    release(&spent);
    return state;
}

static void complete(struct wal *w, struct snap_writer *s)
{
    _cleanup_free_ char *text = NULL;
    snap_writer_cb cb = s->cb;
    void *data = s->cb_data;
    int status;

    join(s);
    status = s->status;
    text = TAKE_PTR(s->text);
    w->snap = NULL;
    if (status == 0) {
        uint64_t replaced = snap_files_add(&w->snaps, s->id, s->written);

        (void)pthread_mutex_lock(&w->lock);
        w->stats.disk_bytes += s->written - replaced;
        (void)pthread_mutex_unlock(&w->lock);
    }
    writer_free(s);
    cb(data, status, text);
}

void snap_writer_poll(struct wal *w)
{
    struct snap_writer *s = w->snap;
    bool drained;

    list_for_each_safe (l, &w->snaps_aborting) {
        struct snap_writer *gone = list_entry(l, struct snap_writer, link);

        if (collect(gone, &drained) == SNAP_ENDED) {
            list_del(l);
            join(gone);
            writer_free(gone);
        }
    }
    if (s == NULL) {
        return;
    }
    if (collect(s, &drained) == SNAP_ENDED) {
        complete(w, s);
    } else if (drained && s->drained != NULL) {
        s->drained(s->drained_data);
    }
}

void snap_writer_close_all(struct wal *w)
{
    bool drained;

    if (w->snap != NULL && w->snap->cb == NULL) {
        snap_writer_abort(w->snap);
    }
    list_for_each_safe (l, &w->snaps_aborting) {
        struct snap_writer *gone = list_entry(l, struct snap_writer, link);

        list_del(l);
        (void)collect(gone, &drained);
        join(gone);
        writer_free(gone);
    }
    if (w->snap != NULL) {
        (void)collect(w->snap, &drained);
        complete(w, w->snap);
    }
}
