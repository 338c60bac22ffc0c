#include "snapshot_stream.h"

#include "api_impl.h"
#include "encode.h"
#include "rpc.h"

struct snapshot_stream {
    struct exchange *ex;
    struct store_snapshot *source; /* owned */
    struct deadline stall;
    uint64_t end_ms; /* uv_now after which it is given up */
    struct strbuf blob;
};

static void on_ended(void *data, int status)
{
    struct snapshot_stream *s = data;

    rpc_fail(s->ex, status); /* frees s */
}

static void on_stall(struct deadline *d)
{
    struct snapshot_stream *s = container_of(d, struct snapshot_stream, stall);

    log_warn("a client takes too long to read a snapshot: cut off left=%" PRIu64 " peer=%s",
        store_snapshot_left(s->source), s->ex->conn->peer);
    rpc_fail(s->ex, DECREE_EDEADLINE); /* frees s */
}

static void send_blob(struct snapshot_stream *s, struct bytes blob)
{
    struct snapshot_response r = {.header = store_header(s->ex->api->store),
        .remaining_bytes = store_snapshot_left(s->source),
        .blob = blob};
    struct pbw w;

    pbw_init(&w, blob.len + 128);
    encode_snapshot_response(&w, &r);
    rpc_send(s->ex, &w);
}

static void finish(struct snapshot_stream *s)
{
    uint8_t digest[STORE_SNAPSHOT_DIGEST_BYTES];

    store_snapshot_digest(s->source, digest);
    send_blob(s, bytes_make(digest, sizeof(digest)));
    rpc_end(s->ex, GRPC_OK, NULL); /* frees s */
}

static void pump(struct snapshot_stream *s)
{
    struct deadlines *deadlines = &s->ex->api->deadlines;
    uint64_t now = uv_now(s->ex->api->loop);
    bool more = true;

    while (more && s->ex->out.bytes <= WATCH_OUTPUT_HIGH) {
        strbuf_clear(&s->blob);
        more = store_snapshot_next(s->source, SNAPSHOT_BLOB_BYTES, &s->blob);
        send_blob(s, strbuf_bytes(&s->blob));
    }
    if (!more) {
        finish(s);
        return;
    }
    deadline_set(deadlines, &s->stall,
        MIN((uint64_t)SNAPSHOT_STALL_MS, s->end_ms > now ? s->end_ms - now : 0));
}

void snapshot_stream_start(struct exchange *ex)
{
    struct snapshot_stream *s = xcalloc(1, sizeof(*s));
    int r = store_snapshot_open(ex->api->store, on_ended, s, &s->source);

    if (r < 0) {
        free(s);
        rpc_fail(ex, r);
        return;
    }
    s->ex = ex;
    s->end_ms = uv_now(ex->api->loop) + SNAPSHOT_LAST_MS;
    deadline_init(&s->stall, on_stall);
    ex->rpc.snapshot = s;
    log_info("a client reads a snapshot bytes=%" PRIu64 " peer=%s", store_snapshot_left(s->source),
        ex->conn->peer);
    pump(s);
}

struct snapshot_stream *snapshot_stream_free(struct snapshot_stream *s)
{
    if (s != NULL) {
        deadline_drop(&s->stall);
        store_snapshot_close(s->source);
        strbuf_deinit(&s->blob);
        free(s);
    }
    return NULL;
}

void snapshot_stream_drained(struct snapshot_stream *s)
{
    pump(s);
}
