/* A snapshot from the leader: checked, written beside the log and loaded at the same time, piece by
 * piece, never whole in memory twice.
 *
 *     IDLE --begin--> READING --end--> FINISHING --durable--> installed, IDLE
 *             `-> WAITING (own snapshot is being finished) --free--> READING
 *
 * Until it is durable nothing has changed: a cut, a damaged piece or a full disk leave log and
 * keyspace as they are, and the leader is told why. The order of the installation: file durable ->
 * raft takes it -> keyspace swapped -> log reset; a crash in between finds a snapshot that is newer
 * than the log and starts from it (wal.h). */
#include "core.h"

#include <errno.h>

static void recv_clear(struct store *s)
{
    struct snap_recv *r = &s->recv;

    if (r->writer != NULL) {
        snap_writer_abort(r->writer);
    }
    mvcc_loader_free(r->loader);
    mvcc_free(r->built);
    strbuf_deinit(&r->header);
    *r = (struct snap_recv){0};
}

static void answer(struct store *s, uint64_t to, bool ok, const char *why)
{
    struct snap_status status = {.ok = ok, .text = bytes_str(why)};

    s->env->stream_answer(s->env->data, to, snap_status_encode(&status));
}

/* Tells the leader why and forgets what came so far. */
static int refuse(struct store *s, const char *why)
{
    log_warn("snapshot refused from=%016" PRIx64 " index=%" PRIu64 ": %s", s->recv.from,
        s->recv.id.index, why);
    if (!s->recv.cut) {
        answer(s, s->recv.from, false, why);
    }
    recv_clear(s);
    return CORE_STREAM_GO;
}

static void go_on(struct store *s)
{
    if (s->recv.paused && !s->recv.cut) {
        s->recv.paused = false;
        s->env->stream_resume(s->env->data, s->recv.from);
    }
}

static void recv_on_drain(void *data)
{
    struct store *s = data;

    s->recv.progress_ms = core_now(s);
    go_on(s);
}

/* ---- begin ---- */

static struct wal_snapshot_id disk_id(const struct snap_recv *r)
{
    return (struct wal_snapshot_id){.index = r->id.index, .term = r->id.term};
}

static int open_writer(struct store *s)
{
    struct snap_recv *r = &s->recv;
    int status;

    core_save_abort(s); /* what comes is newer than what was being written */
    status = snap_writer_open(s->wal, disk_id(r), strbuf_bytes(&r->header), &r->writer, NULL);
    if (status == -EEXIST) {
        MARK("received_snapshot_waits_for_own");
        r->state = RECV_WAITING;
        r->paused = true;
        return CORE_STREAM_PAUSE;
    }
    decree_assert(status == 0);
    snap_writer_on_drain(r->writer, recv_on_drain, s);
    r->loader = mvcc_loader_new();
    r->state = RECV_READING;
    return CORE_STREAM_GO;
}

static int check_header(struct store *s, struct bytes header, struct err *reterr)
{
    struct snap_header h;
    int err = core_snap_header_read(header, &h, reterr);

    if (err == 0 && h.cluster_id != s->cluster_id) {
        err = err_set(reterr, DECREE_EBAD_REQUEST,
            "it is of cluster %016" PRIx64 ", this member of %016" PRIx64, h.cluster_id,
            s->cluster_id);
    }
    members_deinit(&h.members);
    return err;
}

static int on_begin(struct store *s, uint64_t from, struct bytes body)
{
    struct snap_recv *r = &s->recv;
    _cleanup_err_ struct err err = {0};
    struct snap_begin begin;

    if (r->state != RECV_IDLE) {
        answer(s, from, false, "another snapshot is on its way");
        return r->from == from ? CORE_STREAM_CUT : CORE_STREAM_GO;
    }
    if (snap_begin_decode(body, &begin) < 0 || begin.id.index == 0 || begin.id.term == 0 ||
        begin.id.term > begin.term) {
        return CORE_STREAM_CUT;
    }
    r->from = from;
    r->term = begin.term;
    r->id = begin.id;
    r->begun_ms = r->progress_ms = core_now(s);
    if (begin.term < s->status.term) {
        return refuse(s, "its leader has been replaced");
    }
    if (begin.id.index <= s->applied) {
        MARK("received_snapshot_is_old");
        answer(s, from, true, "");
        recv_clear(s);
        return CORE_STREAM_GO;
    }
    if (check_header(s, begin.header, &err) < 0) {
        return refuse(s, err.text);
    }
    strbuf_append_bytes(&r->header, begin.header);
    log_info("this member is far behind: taking a snapshot from=%016" PRIx64 " index=%" PRIu64,
        from, r->id.index);
    return open_writer(s);
}

void core_recv_retry(struct store *s)
{
    if (s->recv.state == RECV_WAITING && open_writer(s) == CORE_STREAM_GO) {
        go_on(s);
    }
}

/* ---- pieces ---- */

static int on_piece(struct store *s, struct bytes body)
{
    struct snap_recv *r = &s->recv;
    struct bytes piece = bytes_make(body.data + 1, body.len - 1);
    _cleanup_err_ struct err err = {0};
    struct buf *b;

    if (piece.len == 0) {
        return refuse(s, "an empty piece");
    }
    if (mvcc_loader_feed(r->loader, piece, &err) < 0) {
        return refuse(s, err.text);
    }
    b = buf_copy(piece);
    snap_writer_write(r->writer, b);
    buf_unref(b);
    r->pieces++;
    r->bytes += piece.len;
    r->progress_ms = core_now(s);
    if (snap_writer_queued(r->writer) >= SNAP_WINDOW_BYTES) {
        r->paused = true;
        return CORE_STREAM_PAUSE;
    }
    return CORE_STREAM_GO;
}

/* ---- installation ---- */

/* raft and disk have it: the keyspace is replaced and watchers go over. */
static void swap_state(struct store *s, struct snap_header *h)
{
    struct snap_recv *r = &s->recv;
    struct mvcc *old = s->mvcc;

    core_save_abort(s);
    core_sends_abort_all(s);
    core_exports_end(s, DECREE_ELEADER_CHANGED);
    core_hash_abort(s);
    core_check_abort(s);
    core_calls_outcome_unknown(s);
    core_ranges_fail(s, DECREE_ELEADER_CHANGED);
    core_txn_give_up(s);
    core_apply_give_up(s);
    mvcc_watch_move(old, r->built);
    s->mvcc = TAKE_PTR(r->built);
    mvcc_free(old);
    s->conf = h->conf;
    members_deinit(&s->members);
    s->members = h->members;
    h->members = (struct members){0};
    s->members_moved = true;
    s->members_assumed = false;
    s->alarms = h->alarms;
    s->applied = s->commit = s->snap_index = r->id.index;
    s->applied_term = r->id.term;
    s->log_bytes = 0;
    s->compacting = mvcc_compact_done(s->mvcc) < mvcc_compacted(s->mvcc);
    s->watching = true;
    s->published = false;
    s->env->memory_freed(s->env->data);
}

static void install(struct store *s)
{
    struct snap_recv *r = &s->recv;
    struct snap_header h;
    struct raft_event event = {.type = RAFT_EV_SNAPSHOT_INSTALL};
    int err = core_snap_header_read(strbuf_bytes(&r->header), &h, NULL);

    decree_assert(err == 0); /* read when it came */
    event.install.id = r->id;
    event.install.conf = &h.conf;
    event.install.from = r->from;
    event.install.term = r->term;
    if (core_step(s, &event) == RAFT_OK) {
        MARK("received_snapshot_installed");
        core_persist_forget_entries(s);
        swap_state(s, &h);
        wal_reset(s->wal, disk_id(r));
        log_info("snapshot installed from=%016" PRIx64 " index=%" PRIu64 " revision=%" PRId64
                 " took_ms=%" PRIu64,
            r->from, r->id.index, mvcc_revision(s->mvcc), core_now(s) - r->begun_ms);
    } else {
        MARK("received_snapshot_not_needed");
        log_info("snapshot not needed any more from=%016" PRIx64 " index=%" PRIu64, r->from,
            r->id.index);
    }
    members_deinit(&h.members);
    if (!r->cut) {
        answer(s, r->from, true, "");
    }
    recv_clear(s);
    core_mark(s);
}

static void recv_on_finish(void *data, int status, const char *text)
{
    struct store *s = data;

    if (s->state == CORE_STOPPED) {
        recv_clear(s);
    } else if (status < 0) {
        (void)refuse(s, text);
    } else {
        install(s);
    }
}

static int on_end(struct store *s, struct bytes body)
{
    struct snap_recv *r = &s->recv;
    _cleanup_err_ struct err err = {0};
    uint64_t pieces;

    if (snap_end_decode(body, &pieces) < 0 || pieces != r->pieces) {
        return refuse(s, "pieces are missing");
    }
    if (mvcc_loader_finish(r->loader, &r->built, &err) < 0) {
        return refuse(s, err.text);
    }
    r->loader = mvcc_loader_free(r->loader);
    r->state = RECV_FINISHING;
    snap_writer_finish(TAKE_PTR(r->writer), recv_on_finish, s);
    return CORE_STREAM_GO;
}

/* ---- what the link says ---- */

int core_stream_frame(struct store *s, uint64_t from, struct bytes body)
{
    struct snap_recv *r = &s->recv;

    if (s->state != CORE_RUNNING) {
        return CORE_STREAM_CUT;
    }
    if (frame_kind(body) == FRAME_SNAP_BEGIN) {
        return on_begin(s, from, body);
    }
    if (r->state != RECV_READING || r->from != from) {
        return CORE_STREAM_GO; /* of a stream that was answered already: the sender will see it */
    }
    switch (frame_kind(body)) {
    case FRAME_SNAP_PIECE:
        return on_piece(s, body);
    case FRAME_SNAP_END:
        return on_end(s, body);
    default:
        (void)refuse(s, "a frame that does not belong into a snapshot");
        return CORE_STREAM_CUT;
    }
}

void core_stream_cut(struct store *s, uint64_t from)
{
    struct snap_recv *r = &s->recv;

    if (r->from != from) {
        return;
    }
    r->cut = true;
    if (r->state == RECV_READING || r->state == RECV_WAITING) {
        MARK("received_snapshot_cut");
        (void)refuse(s, "the stream was cut");
    }
}

void core_recv_tick(struct store *s)
{
    struct snap_recv *r = &s->recv;

    if (r->state == RECV_READING && !r->paused && core_now(s) - r->progress_ms > SNAP_STALL_MS) {
        (void)refuse(s, "no progress for 30 s");
    } else if (r->state == RECV_READING && !r->paused &&
        core_now(s) - r->begun_ms > core_stream_limit_ms(r->bytes, SNAP_RATE_MIN)) {
        (void)refuse(s, "less than 64 KiB a second");
    }
}

void core_recv_abort(struct store *s)
{
    if (s->recv.state != RECV_FINISHING) {
        recv_clear(s);
    }
}

void core_recv_deinit(struct store *s)
{
    recv_clear(s);
}
