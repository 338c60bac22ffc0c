/* The periodic snapshot onto the own disk, and the header that every snapshot carries.
 *
 *     IDLE --enough log--> WRITING --all pieces--> FINISHING --durable--> IDLE, log compacted
 *
 * The keyspace is read at one revision in slices while writes go on; the log's snapshot thread
 * writes with a bounded window. A failure leaves the older snapshot and the whole log as they were.
 * One snapshot file is written at a time: an incoming one takes the place of a periodic one that is
 * still being written, and waits for one that is being finished (F17). */
#include "core.h"

#include "codec.h"

enum { SNAP_HEADER_VERSION = 2 };

/* ---- header ---- */

void core_snap_header_write(const struct snap_header *h, struct strbuf *out)
{
    _cleanup_strbuf_ struct strbuf members = {0};
    _cleanup_strbuf_ struct strbuf conf = {0};
    _cleanup_strbuf_ struct strbuf alarms = {0};

    alarms_encode(&h->alarms, &alarms);
    members_encode(&h->members, &members);
    raft_conf_encode(&h->conf, strbuf_bytes(&members), &conf);
    enc_u8(out, SNAP_HEADER_VERSION);
    enc_u64(out, h->cluster_id);
    enc_varint(out, (uint64_t)h->revision);
    enc_bytes(out, strbuf_bytes(&conf));
    enc_bytes(out, strbuf_bytes(&alarms));
}

void core_snap_header(const struct store *s, struct strbuf *out)
{
    struct snap_header h = {.cluster_id = s->cluster_id,
        .revision = mvcc_revision(s->mvcc),
        .conf = s->conf,
        .members = s->members, /* borrowed */
        .alarms = s->alarms};

    core_snap_header_write(&h, out);
}

int core_snap_header_read(struct bytes b, struct snap_header *ret, struct err *reterr)
{
    struct dec d = dec_make(b);
    uint8_t version = dec_u8(&d);
    struct bytes conf, context, alarms;

    *ret = (struct snap_header){0};
    if (!d.bad && (version == 0 || version > SNAP_HEADER_VERSION)) {
        return err_set(reterr, DECREE_ECORRUPT,
            "the snapshot has version %u, which this Decree (%s) does not know", version,
            DECREE_VERSION);
    }
    ret->cluster_id = dec_u64(&d);
    ret->revision = (int64_t)dec_varint(&d);
    conf = dec_bytes(&d);
    alarms = version > 1 ? dec_bytes(&d) : BYTES_LITERAL("\0"); /* version 1 had no alarms */
    if (!dec_done(&d) || alarms_decode(alarms, &ret->alarms) < 0 ||
        raft_conf_decode(conf, &ret->conf, &context) < 0 ||
        members_decode(context, &ret->members) < 0) {
        return err_set(reterr, DECREE_ECORRUPT, "the snapshot's header cannot be read");
    }
    return 0;
}

/* ---- compaction of the log ---- */

/* The first entry to keep behind a snapshot: a number of them and a number of bytes for followers
 * that lag a little, and all that streams on their way build upon. */
static uint64_t keep_from(const struct store *s, uint64_t index, uint64_t first)
{
    uint64_t floor = core_sends_floor(s);
    uint64_t keep = index + 1;
    size_t bytes = 0;

    while (keep > first && index + 1 - keep < s->o.snapshot_keep) {
        bytes += raft_entries(s->raft, keep - 1, keep - 1)->payload->len;
        if (bytes > SNAP_KEEP_BYTES) {
            break;
        }
        keep--;
    }
    return MIN(keep, floor + 1);
}

static void compact_log(struct store *s, struct wal_snapshot_id id)
{
    struct raft_status now;
    uint64_t keep;

    raft_status(s->raft, &now);
    /* None of another member can have been installed meanwhile: it waits for the log's one writer,
     * and while one is coming none is begun here. */
    decree_assert(id.index >= now.first_index);
    keep = keep_from(s, id.index, now.first_index);
    wal_compact(s->wal, id, keep);
    raft_compact(s->raft, id.index, keep);
    s->snap_index = id.index;
    s->env->memory_freed(s->env->data);
}

/* ---- the periodic snapshot ---- */

static void save_close_reader(struct store *s)
{
    s->save.reader = mvcc_snapshot_close(s->save.reader);
    s->compacting = s->compacting || mvcc_compact_done(s->mvcc) < mvcc_compacted(s->mvcc);
    core_mark(s);
}

static void save_failed(struct store *s, const char *why)
{
    MARK("snapshot_failed");
    log_error("no snapshot was written, the older one and the log stay; trying again in %d s "
              "index=%" PRIu64 ": %s",
        SNAP_RETRY_MS / 1000, s->save.id.index, why);
    s->save.retry_ms = core_now(s) + SNAP_RETRY_MS;
    s->save.state = SAVE_IDLE;
}

static void save_on_finish(void *data, int status, const char *text)
{
    struct store *s = data;

    decree_assert(s->save.state == SAVE_FINISHING);
    if (s->state == CORE_STOPPED) {
        s->save.state = SAVE_IDLE;
        return;
    }
    if (status < 0) {
        save_failed(s, text);
    } else {
        log_info("snapshot written index=%" PRIu64 " took_ms=%" PRIu64, s->save.id.index,
            core_now(s) - s->save.begun_ms);
        s->save.state = SAVE_IDLE;
        compact_log(s, s->save.id);
    }
    core_recv_retry(s);
}

static void save_on_drain(void *data)
{
    core_mark(data);
}

static bool save_is_due(const struct store *s)
{
    return s->save.state == SAVE_IDLE && s->recv.state == RECV_IDLE && s->applied > s->snap_index &&
        (s->applied - s->snap_index >= s->o.snapshot_count || s->log_bytes >= SNAP_LOG_BYTES ||
            BUGGIFY("snapshot_early")) &&
        core_now(s) >= s->save.retry_ms;
}

static void save_begin(struct store *s)
{
    _cleanup_strbuf_ struct strbuf header = {0};
    _cleanup_err_ struct err err = {0};

    s->save.id = (struct wal_snapshot_id){.index = s->applied, .term = s->applied_term};
    core_snap_header(s, &header);
    if (snap_writer_open(s->wal, s->save.id, strbuf_bytes(&header), &s->save.writer, &err) < 0) {
        save_failed(s, err.text);
        return;
    }
    snap_writer_on_drain(s->save.writer, save_on_drain, s);
    s->save.reader = mvcc_snapshot_open(s->mvcc);
    s->save.begun_ms = core_now(s);
    s->save.state = SAVE_WRITING;
    s->log_bytes = 0;
}

static void save_slice(struct store *s)
{
    for (int i = 0; i < SNAP_SLICE_PIECES; i++) {
        _cleanup_strbuf_ struct strbuf piece = {0};
        bool more;

        if (snap_writer_queued(s->save.writer) >= SNAP_WINDOW_BYTES || BUGGIFY("save_slice_none")) {
            return; /* save_on_drain says when there is room again */
        }
        (void)strbuf_reserve(&piece, SNAP_PIECE_ROOM);
        more = mvcc_snapshot_next(
            s->save.reader, BUGGIFY("save_piece_small") ? 1 : SNAP_PIECE_BYTES, &piece);
        if (piece.len != 0) {
            struct buf *b = buf_copy(strbuf_bytes(&piece));

            snap_writer_write(s->save.writer, b);
            buf_unref(b);
        }
        if (!more) {
            save_close_reader(s);
            s->save.state = SAVE_FINISHING;
            snap_writer_finish(TAKE_PTR(s->save.writer), save_on_finish, s);
            return;
        }
    }
}

void core_save_step(struct store *s)
{
    if (save_is_due(s)) {
        save_begin(s);
    }
    if (s->save.state == SAVE_WRITING) {
        save_slice(s);
    }
}

bool core_save_is_busy(const struct store *s)
{
    return s->save.state == SAVE_WRITING && snap_writer_queued(s->save.writer) < SNAP_WINDOW_BYTES;
}

void core_save_abort(struct store *s)
{
    if (s->save.state == SAVE_WRITING) {
        MARK("snapshot_aborted");
        snap_writer_abort(TAKE_PTR(s->save.writer));
        save_close_reader(s);
        s->save.state = SAVE_IDLE;
    }
}
