/* A snapshot streamed to a member that is too far behind for the log: the keyspace at one revision,
 * read in slices while writes go on, with as much on its way as the link's window allows.
 *
 *     OPENING --link is up--> SENDING --all pieces--> ENDING --the member's answer--> gone
 *
 * From any state: link down, too little progress, or a refusal ends it, and raft hears that it
 * failed. What is written meanwhile stays in memory for as long as it takes, as log behind the
 * snapshot and as history that compaction may not free: hence a limit on that, too. */
#include "core.h"

enum send_state { SEND_OPENING, SEND_SENDING, SEND_ENDING };

struct snap_send {
    struct list link;
    uint64_t to;
    enum send_state state;
    bool full; /* the link's window; until the next core_stream_ready */
    struct mvcc_snapshot *reader;
    struct raft_entry_id id;
    uint64_t pieces, bytes, begun_ms, progress_ms;
    uint64_t applied_bytes; /* the core's, when the reader was opened */
};

static struct snap_send *find(const struct store *s, uint64_t to)
{
    list_for_each (it, &s->sends) {
        struct snap_send *x = list_entry(it, struct snap_send, link);

        if (x->to == to) {
            return x;
        }
    }
    return NULL;
}

static void drop(struct store *s, struct snap_send *x)
{
    if (x->reader != NULL) {
        mvcc_snapshot_close(x->reader);
        s->compacting = s->compacting || mvcc_compact_done(s->mvcc) < mvcc_compacted(s->mvcc);
    }
    s->env->stream_close(s->env->data, x->to);
    list_del(&x->link);
    free(x);
    core_mark(s);
}

static void finish(struct store *s, struct snap_send *x, bool ok, const char *why)
{
    struct raft_event event = {.type = RAFT_EV_SNAPSHOT_STATUS,
        .snapshot_status = {.peer = x->to, .index = x->id.index, .ok = ok}};

    if (ok) {
        log_info("snapshot was taken by member=%016" PRIx64 " index=%" PRIu64 " bytes=%" PRIu64
                 " took_ms=%" PRIu64,
            x->to, x->id.index, x->bytes, core_now(s) - x->begun_ms);
    } else {
        log_warn("snapshot did not reach member=%016" PRIx64 " index=%" PRIu64 " bytes=%" PRIu64
                 ", raft will ask for another: %s",
            x->to, x->id.index, x->bytes, why);
    }
    drop(s, x);
    (void)core_step(s, &event);
}

void core_sends_start(struct store *s, uint64_t to)
{
    struct snap_send *x;

    if (find(s, to) != NULL) {
        return;
    }
    x = xcalloc(1, sizeof(*x));
    x->to = to;
    x->begun_ms = x->progress_ms = core_now(s);
    list_add_tail(&s->sends, &x->link);
    s->env->stream_open(s->env->data, to);
}

/* The reader opens only now: a member that cannot be reached must not hold up compaction. */
static void begin(struct store *s, struct snap_send *x)
{
    _cleanup_strbuf_ struct strbuf header = {0};

    core_snap_header(s, &header);
    x->id = (struct raft_entry_id){.term = s->applied_term, .index = s->applied};
    x->reader = mvcc_snapshot_open(s->mvcc);
    x->applied_bytes = s->applied_bytes;
    x->begun_ms = core_now(s);
    x->state = SEND_SENDING;
    log_info("member is far behind, sending it a snapshot member=%016" PRIx64 " index=%" PRIu64
             " bytes=%" PRIu64,
        x->to, x->id.index, mvcc_snapshot_size(x->reader));
    x->full = !s->env->stream_send(s->env->data, x->to,
        snap_begin_encode(&(struct snap_begin){
            .term = s->status.term, .id = x->id, .header = strbuf_bytes(&header)}));
}

void core_stream_ready(struct store *s, uint64_t to)
{
    struct snap_send *x = find(s, to);

    if (x == NULL) {
        return;
    }
    x->progress_ms = core_now(s);
    x->full = false;
    if (x->state == SEND_OPENING) {
        begin(s, x);
    }
    core_mark(s);
}

static void send_slice(struct store *s, struct snap_send *x)
{
    for (int i = 0; i < SNAP_SLICE_PIECES && !x->full; i++) {
        _cleanup_strbuf_ struct strbuf piece = {0};
        bool more;

        (void)strbuf_reserve(&piece, SNAP_PIECE_ROOM);
        strbuf_append_char(&piece, (char)FRAME_SNAP_PIECE);
        more = mvcc_snapshot_next(
            x->reader, BUGGIFY("send_piece_small") ? 1 : SNAP_PIECE_BYTES, &piece);
        if (piece.len > 1) {
            x->pieces++;
            x->bytes += piece.len - 1;
            x->full = !s->env->stream_send(s->env->data, x->to, buf_copy(strbuf_bytes(&piece)));
        }
        if (!more) {
            x->reader = mvcc_snapshot_close(x->reader);
            s->compacting = s->compacting || mvcc_compact_done(s->mvcc) < mvcc_compacted(s->mvcc);
            x->state = SEND_ENDING;
            x->progress_ms = core_now(s);
            (void)s->env->stream_send(s->env->data, x->to, snap_end_encode(x->pieces));
            return;
        }
    }
}

void core_sends_step(struct store *s)
{
    list_for_each (it, &s->sends) {
        struct snap_send *x = list_entry(it, struct snap_send, link);

        if (x->state == SEND_SENDING) {
            send_slice(s, x);
        }
    }
}

bool core_sends_busy(const struct store *s)
{
    list_for_each (it, &s->sends) {
        const struct snap_send *x = list_entry(it, struct snap_send, link);

        if (x->state == SEND_SENDING && !x->full) {
            return true;
        }
    }
    return false;
}

uint64_t core_sends_floor(const struct store *s)
{
    uint64_t floor = UINT64_MAX - 1;

    list_for_each (it, &s->sends) {
        const struct snap_send *x = list_entry(it, struct snap_send, link);

        if (x->state != SEND_OPENING) {
            floor = MIN(floor, x->id.index);
        }
    }
    return floor;
}

void core_stream_reply(struct store *s, uint64_t to, struct bytes body)
{
    struct snap_send *x = find(s, to);
    struct snap_status status;

    if (x == NULL) {
        return;
    }
    if (x->state == SEND_OPENING || snap_status_decode(body, &status) < 0) {
        finish(s, x, false, "its answer cannot be read");
    } else {
        _cleanup_free_ char *text = xstrndup((const char *)status.text.data, status.text.len);

        finish(s, x, status.ok, text);
    }
}

void core_stream_down(struct store *s, uint64_t to, const char *why)
{
    struct snap_send *x = find(s, to);

    if (x != NULL) {
        MARK("stream_went_down");
        finish(s, x, false, why);
    }
}

/* Why a stream is given up; NULL: it is not. */
static const char *is_hopeless(const struct store *s, const struct snap_send *x)
{
    uint64_t idle_ms = core_now(s) - x->progress_ms;

    if (x->state == SEND_ENDING) {
        return idle_ms > core_stream_limit_ms(x->bytes, SNAP_FINISH_RATE_MIN)
            ? "it has all of it and does not answer"
            : NULL;
    }
    if (idle_ms > SNAP_STALL_MS || (idle_ms > 0 && BUGGIFY("stream_impatient"))) {
        return "no progress for 30 s";
    }
    if (x->state == SEND_OPENING) {
        return NULL;
    }
    if (core_now(s) - x->begun_ms > core_stream_limit_ms(x->bytes, SNAP_RATE_MIN)) {
        return "it takes less than 64 KiB a second";
    }
    return s->applied_bytes - x->applied_bytes > SNAP_PIN_BYTES_MAX
        ? "too much was written meanwhile, the next one begins with that"
        : NULL;
}

void core_sends_tick(struct store *s)
{
    list_for_each_safe (it, &s->sends) {
        struct snap_send *x = list_entry(it, struct snap_send, link);
        const char *why = is_hopeless(s, x);

        if (why != NULL) {
            MARK("stream_stalled");
            finish(s, x, false, why);
        }
    }
}

/* The keyspace that the readers read goes away, or leadership has: raft asks anew if it must. */
void core_sends_abort_all(struct store *s)
{
    while (!list_empty(&s->sends)) {
        drop(s, list_entry(s->sends.next, struct snap_send, link));
    }
}
