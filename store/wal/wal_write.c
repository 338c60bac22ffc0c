/* How a batch reaches the disk: records are encoded behind the last page in memory, then one pwrite
 * from a page boundary to a page boundary and one fdatasync. The rest of the last page is zeros.
 *
 * A record that does not fit into the segment goes into the next one, whose head states where this
 * one ended; this one is synced before, so that the statement is true when it can be read. */
#include <errno.h>
#include <inttypes.h>

#include "buggify.h"
#include "wal_internal.h"
#include "wal_record.h"

enum { RESERVE_MIN = 1024, RESERVE_MAX = 256 * 1024, BUF_KEEP_MAX = 256 * 1024 };

_noreturn_ void wal_fatal(struct wal *w, uint64_t seq, const char *step, int rc)
{
    decree_fatal("%s of %s/wal/%016" PRIx64 ".seg failed: %s: what was written may be lost and is "
                 "not tried again; check the disk, then start again",
        step, w->dir, seq, err_text(rc));
}

uint64_t wal_segment_reserve(const struct wal_segment *s)
{
    return MIN(MAX(s->bytes / 16, (uint64_t)RESERVE_MIN), (uint64_t)RESERVE_MAX);
}

static uint64_t tail_at(const struct wal_tail *t)
{
    return t->base + t->buf.len;
}

/* ---- writing ---- */

static void count_fsync(struct wal *w, uint64_t bytes, uint64_t ns)
{
    struct wal_stats *s = &w->stats;

    (void)pthread_mutex_lock(&w->lock);
    s->fsyncs++;
    s->bytes += bytes;
    s->fsync_ns_total += ns;
    s->fsync_ns_max = MAX(s->fsync_ns_max, ns);
    for (size_t i = 0; i < ARRAY_SIZE(s->fsync_bucket); i++) {
        s->fsync_bucket[i] += ns <= (UINT64_C(1000000) << i) ? 1 : 0;
    }
    w->current_end = w->tail.pos;
    (void)pthread_mutex_unlock(&w->lock);
}

/* Room for `size` more bytes of records. A segment is prepared as large as it normally gets; it
 * grows only for a record larger than itself or when hard states outgrow the reserve of a full
 * disk. */
static int make_room(struct wal *w, size_t size)
{
    struct wal_segment *s = w->current;
    uint64_t end =
        (tail_at(&w->tail) + size + WAL_PAGE_BYTES - 1) & ~(uint64_t)(WAL_PAGE_BYTES - 1);

    if (end <= s->bytes) {
        return 0;
    }
    if (w->disk->ops->allocate(s->file, end) < 0) {
        return -ENOSPC;
    }
    (void)pthread_mutex_lock(&w->lock);
    w->stats.disk_bytes += end - s->bytes;
    s->bytes = end;
    (void)pthread_mutex_unlock(&w->lock);
    return 0;
}

/* Writes what is in buf and not on disk; the last page stays in buf. */
static void write_out(struct wal *w)
{
    struct wal_tail *t = &w->tail;
    uint64_t end = tail_at(t), keep_from = end & ~(uint64_t)(WAL_PAGE_BYTES - 1);
    size_t pad = (size_t)(-end & (WAL_PAGE_BYTES - 1));
    int rc;

    if (pad != 0) {
        memset(strbuf_reserve(&t->buf, pad), 0, pad);
    }
    rc = wal_file_pwrite(w->current->file, t->base, bytes_make(t->buf.data, t->buf.len + pad));
    if (rc < 0) {
        wal_fatal(w, w->current->seq, "write", rc);
    }
    if (keep_from > t->base) {
        t->buf.len = (size_t)(end - keep_from);
        memmove(t->buf.data, t->buf.data + (keep_from - t->base), t->buf.len);
        t->base = keep_from;
    }
    t->pos = end;
}

/* All records in buf on disk, durably. */
static void flush(struct wal *w)
{
    struct wal_tail *t = &w->tail;
    uint64_t before = t->pos, start;
    int rc;

    if (tail_at(t) == t->durable) {
        return;
    }
    if (tail_at(t) > t->pos) {
        write_out(w);
    }
    start = w->disk->ops->now_ns(w->disk);
    rc = wal_file_sync(w->current->file);
    if (rc < 0) {
        wal_fatal(w, w->current->seq, "fdatasync", rc);
    }
    t->durable = t->pos;
    count_fsync(w, t->pos - before, w->disk->ops->now_ns(w->disk) - start);
}

/* ---- records ---- */

static void encode(struct wal *w, struct wal_record r)
{
    r.epoch = w->tail.epoch;
    r.mark = w->tail.durable;
    wal_record_encode(&r, w->current->salt, tail_at(&w->tail), &w->tail.buf);
}

static void encode_head(struct wal *w, uint64_t prev_seq, uint64_t prev_end)
{
    uint8_t body[WAL_HEAD_BYTES];
    const struct wal_head h = {w->identity.cluster_id, w->identity.member_id, prev_seq, prev_end,
        w->tail.last_index, w->tail.last_term};

    wal_head_encode(&h, body);
    encode(w,
        (struct wal_record){
            .type = WAL_RECORD_HEAD,
            .entry_type = w->tail.repairing ? WAL_HARD_REPAIRING : 0,
            .index = w->tail.vote,
            .term = w->tail.term,
            .body = bytes_make(body, sizeof(body)),
        });
}

/* Goes over to the next segment. The head takes the state before the record that did not fit. */
static int rotate(struct wal *w)
{
    struct wal_tail *t = &w->tail;
    uint64_t prev_seq = w->current->seq, prev_end;
    int rc;

    MARK("segment_rotated");
    flush(w);
    rc = wal_await_next(w);
    if (rc < 0) {
        return rc;
    }
    prev_end = t->pos;
    (void)pthread_mutex_lock(&w->lock);
    w->current->file = wal_file_close(w->current->file);
    w->current = w->next;
    w->next = NULL;
    w->next_state = WAL_NEXT_NONE;
    list_add_tail(&w->segments, &w->current->link);
    w->current_end = WAL_RECORDS_START;
    wal_keep_ask(w);
    (void)pthread_mutex_unlock(&w->lock);
    t->base = t->pos = t->durable = WAL_RECORDS_START;
    t->buf.len = 0;
    encode_head(w, prev_seq, prev_end);
    return 0;
}

/* How far records of that type may reach in the current segment. */
static uint64_t limit_of(const struct wal *w, enum wal_record_type type)
{
    const struct wal_segment *s = w->current;

    return type == WAL_RECORD_HARD ? s->bytes : s->bytes - wal_segment_reserve(s);
}

/* A segment with nothing but its head takes a record of any size, and grows for it. */
static bool must_rotate(const struct wal *w, const struct wal_record *r)
{
    uint64_t at = tail_at(&w->tail);
    uint64_t head_end = WAL_RECORDS_START + wal_record_size(WAL_HEAD_BYTES);

    return at > head_end &&
        (at + wal_record_size(r->body.len) > limit_of(w, r->type) || BUGGIFY("rotate_early"));
}

static int put(struct wal *w, const struct wal_record *r)
{
    int rc = 0;

    if (w->tail.buf.len > WAL_BATCH_BYTES_MAX || BUGGIFY("flush_early")) {
        flush(w);
    }
    if (must_rotate(w, r)) {
        rc = rotate(w);
    }
    if (rc == -ENOSPC && r->type == WAL_RECORD_HARD) {
        MARK("segment_grows_for_hard_state");
        rc = 0; /* the last resort: let this segment grow */
    }
    if (rc == 0) {
        rc = make_room(w, wal_record_size(r->body.len));
    }
    if (rc == 0) {
        encode(w, *r);
    }
    return rc;
}

static int put_hard(struct wal *w, const struct wal_append_req *req)
{
    const struct wal_record r = {.type = WAL_RECORD_HARD,
        .entry_type = req->repairing ? WAL_HARD_REPAIRING : 0,
        .index = req->vote,
        .term = req->term};
    int rc;

    decree_assert(req->term >= w->tail.term);
    rc = put(w, &r);
    if (rc == 0) {
        w->tail.term = req->term;
        w->tail.vote = req->vote;
        w->tail.repairing = req->repairing;
    }
    return rc;
}

static int put_entry(struct wal *w, const struct wal_entry *e)
{
    const struct wal_record r = {
        .type = WAL_RECORD_ENTRY,
        .entry_type = e->type,
        .index = e->index,
        .term = e->term,
        .body = buf_bytes(e->payload),
    };
    int rc;

    decree_assert(e->index >= 1 && e->index <= w->tail.last_index + 1 && e->term >= 1);
    rc = put(w, &r);
    if (rc == 0) {
        w->tail.last_index = e->index;
        w->tail.last_term = e->term;
        w->current->max_index = MAX(w->current->max_index, e->index);
    }
    return rc;
}

/* Everything before is forgotten. Only once that is durable may the segments before this one go. */
static int put_reset(struct wal *w, uint64_t index, uint64_t term)
{
    const struct wal_record r = {.type = WAL_RECORD_RESET, .index = index, .term = term};
    int rc = put(w, &r);

    if (rc < 0) {
        return rc;
    }
    w->tail.last_index = index;
    w->tail.last_term = term;
    flush(w);
    (void)pthread_mutex_lock(&w->lock);
    list_for_each (l, &w->segments) {
        list_entry(l, struct wal_segment, link)->max_index = 0;
    }
    wal_keep_drop_segments(w);
    (void)pthread_mutex_unlock(&w->lock);
    return 0;
}

static int put_req(struct wal *w, const struct wal_append_req *req)
{
    int rc = 0;

    if (req->is_reset_) {
        return put_reset(w, req->vote, req->term);
    }
    if (req->has_hard) {
        rc = put_hard(w, req);
    }
    for (size_t i = 0; i < req->n_entries && rc == 0; i++) {
        rc = put_entry(w, &req->entries[i]);
    }
    return rc;
}

size_t wal_req_bytes(const struct wal_append_req *req)
{
    size_t n = req->has_hard || req->is_reset_ ? wal_record_size(0) : 0;

    for (size_t i = 0; i < req->n_entries; i++) {
        n += wal_record_size(req->entries[i].payload->len);
    }
    return n;
}

int wal_write_batch(struct wal *w, struct list *reqs, struct list *durable)
{
    int rc = 0;

    while (!list_empty(reqs) && rc == 0) {
        struct list *l = reqs->next;

        rc = put_req(w, list_entry(l, struct wal_append_req, queue_));
        if (rc == 0) {
            list_del(l);
            list_add_tail(durable, l);
        }
    }
    flush(w); /* before this returns: what is in `durable` is reported */
    if (!list_empty(durable)) {
        (void)pthread_mutex_lock(&w->lock);
        w->stats.batches++;
        (void)pthread_mutex_unlock(&w->lock);
    }
    return rc;
}

void wal_write_mark(struct wal *w, bool sync)
{
    struct wal_tail *t = &w->tail;
    const struct wal_record r = {.type = WAL_RECORD_MARK};
    /* At close nothing comes that would vouch later: it may take what hard states are kept. */
    uint64_t limit = limit_of(w, sync ? WAL_RECORD_HARD : r.type);

    decree_assert(tail_at(t) == t->pos);
    if (t->pos == t->durable && tail_at(t) + wal_record_size(0) <= limit) {
        encode(w, r);
        write_out(w);
    }
    if (sync) {
        flush(w);
    }
    if (t->buf.cap > BUF_KEEP_MAX) {
        struct strbuf small = {0};

        strbuf_append_bytes(&small, strbuf_bytes(&t->buf));
        strbuf_deinit(&t->buf);
        t->buf = small;
    }
}

void wal_write_first(struct wal *w, uint64_t salt, struct strbuf *out)
{
    const struct wal_head h = {
        .cluster_id = w->identity.cluster_id, .member_id = w->identity.member_id};
    uint8_t body[WAL_HEAD_BYTES];
    struct wal_record r = {.type = WAL_RECORD_HEAD,
        .epoch = 1,
        .mark = WAL_RECORDS_START,
        .body = bytes_make(body, sizeof(body))};

    wal_head_encode(&h, body);
    wal_record_encode(&r, salt, WAL_RECORDS_START, out);
    /* The file gets its name after a sync: what the mark says is true before it can be read. */
    r = (struct wal_record){.type = WAL_RECORD_MARK, .epoch = 1};
    r.mark = WAL_RECORDS_START + out->len;
    wal_record_encode(&r, salt, WAL_RECORDS_START + out->len, out);
}

/* The bytes in [mark, end) were read, but perhaps out of a cache whose write to the disk failed
 * when the last process stopped: they are written once more. Only then do they count. */
int wal_write_open(struct wal *w, const struct wal_found *found, struct err *reterr)
{
    struct wal_tail *t = &w->tail;
    const struct wal_end *end = &found->end;
    size_t n, got = 0;
    int rc;

    t->base = end->mark & ~(uint64_t)(WAL_PAGE_BYTES - 1);
    t->pos = end->at;
    t->durable = end->mark;
    /* Only a forged log gets to the last one; the marks then tell remains apart alone. */
    t->epoch = end->epoch + (end->epoch < UINT32_MAX ? 1 : 0);
    n = (size_t)(end->at - t->base);
    rc = wal_file_pread(w->current->file, t->base, strbuf_reserve(&t->buf, n), n, &got);
    if (rc < 0 || got < n) {
        return err_set(reterr, rc < 0 ? rc : -EIO, "cannot read wal/%016" PRIx64 ".seg again: %s",
            w->current->seq, err_text(rc < 0 ? rc : -EIO));
    }
    t->buf.len = n;
    rc = make_room(w, 2 * wal_record_size(0));
    if (rc < 0) {
        return err_set(
            reterr, rc, "no room on disk to open the log in %s/wal: free some space", w->dir);
    }
    encode(w, (struct wal_record){.type = WAL_RECORD_OPEN});
    if (end->must_reset) {
        MARK("log_reset_at_open");
        encode(w,
            (struct wal_record){
                .type = WAL_RECORD_RESET, .index = end->last_index, .term = end->last_term});
    }
    flush(w);
    t->last_index = end->last_index;
    t->last_term = end->last_term;
    wal_write_mark(w, true);
    return 0;
}
