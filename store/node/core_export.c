/* A snapshot read by a client: the keyspace at one revision, framed as a backup file (backup.h) as
 * fast as the client takes it. One piece at a time is in memory.
 *
 *     PIECES --all read, end and padding written--> DIGEST
 *       `------ keyspace replaced, member stopped --> ENDED
 *
 * When the keyspace is replaced or the member stops, the reader's keyspace goes away: the stream is
 * told and gives nothing more. */
#include "core.h"

#include <openssl/evp.h>

#include "backup.h"
#include "codec.h"
#include "snap_file.h"

enum export_stage { EXPORT_PIECES, EXPORT_DIGEST, EXPORT_ENDED };

struct store_snapshot {
    struct list link; /* in store.exports */
    struct store *s;
    void (*ended)(void *data, int status);
    void *data;
    enum export_stage stage;
    struct mvcc_snapshot *reader; /* NULL behind the last piece */
    EVP_MD_CTX *sha;              /* owned */
    uint32_t chain;
    uint64_t pieces, piece_bytes;
    uint64_t written; /* into pending, in all */
    struct strbuf pending;
    size_t taken; /* of pending */
};

static void write_bytes(struct store_snapshot *x, struct bytes b)
{
    if (EVP_DigestUpdate(x->sha, b.data, b.len) != 1) {
        decree_fatal("libcrypto cannot compute a SHA-256");
    }
    strbuf_append_bytes(&x->pending, b);
    x->written += b.len;
}

static void write_frame(struct store_snapshot *x, uint32_t length, struct bytes b)
{
    uint8_t head[SNAP_FRAME_HEADER_BYTES];

    x->chain = snap_frame_crc(x->chain, length, b);
    put_u32(head, length);
    put_u32(head + 4, x->chain);
    write_bytes(x, bytes_make(head, sizeof(head)));
    write_bytes(x, b);
}

static void write_header(struct store_snapshot *x)
{
    const struct store *s = x->s;
    struct wal_snapshot_id id = {.index = s->applied, .term = s->applied_term};
    uint8_t head[SNAP_FILE_HEADER_BYTES];
    _cleanup_strbuf_ struct strbuf header = {0};

    x->chain = snap_header_encode(id, s->cluster_id, head);
    write_bytes(x, bytes_make(head, sizeof(head)));
    core_snap_header(s, &header);
    write_frame(x, (uint32_t)header.len, strbuf_bytes(&header));
}

static void write_end(struct store_snapshot *x)
{
    static const uint8_t zeros[BACKUP_BLOCK];
    uint8_t end[SNAP_END_BYTES];

    put_u64(end, x->pieces);
    put_u64(end + 8, x->piece_bytes);
    write_frame(x, SNAP_END_LENGTH, bytes_make(end, sizeof(end)));
    write_bytes(x, bytes_make(zeros, (BACKUP_BLOCK - x->written % BACKUP_BLOCK) % BACKUP_BLOCK));
    x->stage = EXPORT_DIGEST;
}

static void close_reader(struct store_snapshot *x)
{
    if (x->reader != NULL) {
        x->reader = mvcc_snapshot_close(x->reader);
        core_reader_closed(x->s);
    }
}

static void write_piece(struct store_snapshot *x)
{
    _cleanup_strbuf_ struct strbuf piece = {0};
    bool more;

    (void)strbuf_reserve(&piece, SNAP_PIECE_ROOM);
    more = mvcc_snapshot_next(x->reader, SNAP_PIECE_BYTES, &piece);
    if (piece.len != 0) {
        x->pieces++;
        x->piece_bytes += piece.len;
        write_frame(x, (uint32_t)piece.len, strbuf_bytes(&piece));
    }
    if (!more) {
        close_reader(x);
        write_end(x);
    }
}

int store_snapshot_open(
    struct store *s, void (*ended)(void *data, int status), void *data, struct store_snapshot **ret)
{
    struct store_snapshot *x;
    size_t n = 0;

    list_for_each (it, &s->exports) {
        n++;
    }
    if (s->state != CORE_RUNNING) {
        return DECREE_ESTOPPED;
    }
    if (n >= STORE_SNAPSHOTS_MAX) {
        return DECREE_ETOO_MANY_REQUESTS;
    }
    if (core_is_suspect(s, s->id)) {
        return DECREE_ECORRUPT_CLUSTER; /* a backup of what is wrong would be trusted one day */
    }
    if (s->status.repairing) {
        return DECREE_EUNHEALTHY; /* it lacks what its disk lost: a backup would be old unnoticed */
    }
    x = xcalloc(1, sizeof(*x));
    x->s = s;
    x->ended = ended;
    x->data = data;
    x->sha = EVP_MD_CTX_new();
    if (x->sha == NULL || EVP_DigestInit_ex(x->sha, EVP_sha256(), NULL) != 1) {
        decree_fatal("libcrypto has no SHA-256");
    }
    x->reader = mvcc_snapshot_open(s->mvcc);
    list_add_tail(&s->exports, &x->link);
    write_header(x);
    *ret = x;
    return 0;
}

static void fill(struct store_snapshot *x, size_t bytes)
{
    memmove(x->pending.data, x->pending.data + x->taken, x->pending.len - x->taken);
    x->pending.len -= x->taken;
    x->taken = 0;
    while (x->pending.len < bytes && x->stage == EXPORT_PIECES) {
        write_piece(x);
    }
}

bool store_snapshot_next(struct store_snapshot *x, size_t bytes, struct strbuf *out)
{
    size_t n;

    decree_assert(x->stage != EXPORT_ENDED);
    if (x->pending.len - x->taken < bytes) {
        fill(x, bytes);
    }
    n = MIN(bytes, x->pending.len - x->taken);
    strbuf_append(out, x->pending.data + x->taken, n);
    x->taken += n;
    return store_snapshot_left(x) != 0;
}

uint64_t store_snapshot_left(const struct store_snapshot *x)
{
    uint64_t left = x->pending.len - x->taken;

    if (x->stage == EXPORT_PIECES) {
        uint64_t size = mvcc_snapshot_size(x->reader);

        left += size > x->piece_bytes ? size - x->piece_bytes : 1;
    }
    return left;
}

void store_snapshot_digest(struct store_snapshot *x, uint8_t ret[STORE_SNAPSHOT_DIGEST_BYTES])
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    decree_assert(x->stage == EXPORT_DIGEST && store_snapshot_left(x) == 0);
    if (EVP_DigestFinal_ex(x->sha, digest, &n) != 1 || n != STORE_SNAPSHOT_DIGEST_BYTES) {
        decree_fatal("libcrypto cannot compute a SHA-256");
    }
    memcpy(ret, digest, STORE_SNAPSHOT_DIGEST_BYTES);
}

struct store_snapshot *store_snapshot_close(struct store_snapshot *x)
{
    if (x != NULL) {
        close_reader(x);
        list_del(&x->link);
        EVP_MD_CTX_free(x->sha);
        strbuf_deinit(&x->pending);
        free(x);
    }
    return NULL;
}

void core_exports_end(struct store *s, int status)
{
    struct list now;

    list_init(&now);
    list_splice_tail(&now, &s->exports);
    while (!list_empty(&now)) {
        struct store_snapshot *x = list_entry(now.next, struct store_snapshot, link);

        list_del(&x->link);
        close_reader(x);
        x->stage = EXPORT_ENDED;
        x->ended(x->data, status);
    }
}
