#include <errno.h>
#include <inttypes.h>

#include "codec.h"
#include "crc32c.h"
#include "snap_file.h"
#include "wal_internal.h"

enum { READ_CHUNK = 1 << 20, AT_VERSION = 8 };

/* The file goes through a buffer of a MiB, larger only for larger pieces. */
struct snap_reader {
    struct wal_file *file; /* owned */
    char *name;            /* owned; for messages, with its folder */
    bool foreign;          /* a backup: of any place and cluster, with something behind its end */
    uint64_t bytes;        /* of the file */
    uint64_t at;           /* offset of buf[from] */
    uint8_t *buf;          /* owned */
    size_t from, len, cap; /* buf[from..len) is read and not yet used */
    struct wal_snapshot_id id;
    uint32_t chain;
    uint64_t pieces, piece_bytes;
    struct buf *header; /* owned; the caller's */
    bool ended;
};

static int damaged(struct snap_reader *s, const char *what, struct err *reterr)
{
    return err_set(reterr, DECREE_ECORRUPT, "%s: %s at offset %" PRIu64, s->name, what, s->at);
}

/* n bytes from where the reader is; used up by take. */
static int peek(struct snap_reader *s, size_t n, const uint8_t **ret, struct err *reterr)
{
    if (s->len - s->from < n) {
        size_t got = 0, want;
        int rc;

        if (s->bytes - s->at < n) {
            return damaged(s, "the file ends in the middle of a frame", reterr);
        }
        memmove(s->buf, s->buf + s->from, s->len - s->from);
        s->len -= s->from;
        s->from = 0;
        if (s->cap < n) {
            s->cap = n;
            s->buf = xrealloc(s->buf, s->cap);
        }
        want = s->cap - s->len;
        rc = wal_file_pread(s->file, s->at + s->len, s->buf + s->len, want, &got);
        if (rc < 0) {
            return err_set(reterr, rc, "%s: cannot be read at offset %" PRIu64 ": %s", s->name,
                s->at, err_text(rc));
        }
        s->len += got;
        if (s->len < n) {
            return damaged(s, "the file ends in the middle of a frame", reterr);
        }
    }
    *ret = s->buf + s->from;
    return 0;
}

static void take(struct snap_reader *s, size_t n)
{
    s->from += n;
    s->at += n;
}

static int check_end(struct snap_reader *s, struct bytes b, struct err *reterr)
{
    if (get_u64(b.data) != s->pieces || get_u64(b.data + 8) != s->piece_bytes) {
        return damaged(s, "wrong sums", reterr);
    }
    if (!s->foreign && s->at + SNAP_FRAME_HEADER_BYTES + b.len != s->bytes) {
        return damaged(s, "bytes behind the end", reterr);
    }
    s->ended = true;
    return 0;
}

/* The next frame with its checksum proved; empty at the end. */
static int next_frame(struct snap_reader *s, struct bytes *ret, struct err *reterr)
{
    const uint8_t *p;
    uint32_t length, crc;
    size_t n;
    int rc = peek(s, SNAP_FRAME_HEADER_BYTES, &p, reterr);

    *ret = (struct bytes){0};
    if (rc < 0) {
        return rc;
    }
    length = get_u32(p);
    crc = get_u32(p + 4);
    n = length == SNAP_END_LENGTH ? (size_t)SNAP_END_BYTES : (size_t)length;
    if (n > SNAP_PIECE_BYTES_MAX) {
        return damaged(s, "a frame of impossible length", reterr);
    }
    rc = peek(s, SNAP_FRAME_HEADER_BYTES + n, &p, reterr);
    if (rc < 0) {
        return rc;
    }
    *ret = bytes_make(p + SNAP_FRAME_HEADER_BYTES, n);
    if (crc != snap_frame_crc(s->chain, length, *ret)) {
        *ret = (struct bytes){0};
        return damaged(s, "wrong checksum of the frame", reterr);
    }
    s->chain = crc;
    if (length == SNAP_END_LENGTH) {
        rc = check_end(s, *ret, reterr);
        *ret = (struct bytes){0};
        return rc;
    }
    take(s, SNAP_FRAME_HEADER_BYTES + n);
    return 0;
}

int snap_reader_next(struct snap_reader *s, struct bytes *ret, struct err *reterr)
{
    int rc = 0;

    *ret = (struct bytes){0};
    if (!s->ended) {
        rc = next_frame(s, ret, reterr);
        if (rc == 0 && !s->ended && ret->len == 0) {
            return damaged(s, "an empty piece", reterr);
        }
        s->pieces += ret->len != 0 ? 1 : 0;
        s->piece_bytes += ret->len;
    }
    return rc;
}

static int read_file_header(
    struct snap_reader *s, struct wal_snapshot_id id, uint64_t cluster, struct err *reterr)
{
    uint8_t expect[SNAP_FILE_HEADER_BYTES], zeroed[SNAP_FILE_HEADER_BYTES];
    const uint8_t *p;
    int rc = peek(s, SNAP_FILE_HEADER_BYTES, &p, reterr);

    if (rc < 0) {
        return rc;
    }
    memcpy(zeroed, p, sizeof(zeroed));
    put_u32(zeroed + 12, 0);
    if (memcmp(p, "DECREESN", 8) != 0 || get_u32(p + 12) != crc32c(0, zeroed, sizeof(zeroed))) {
        return damaged(s, "wrong checksum of the file header", reterr);
    }
    if (get_u32(p + AT_VERSION) != SNAP_FORMAT_VERSION) {
        return err_set(reterr, -ENOTSUP,
            "%s has format version %" PRIu32 ", this program knows %d: it was written by a "
            "newer version; run that one",
            s->name, get_u32(p + AT_VERSION), SNAP_FORMAT_VERSION);
    }
    if (s->foreign) {
        id = (struct wal_snapshot_id){.term = get_u64(p + 16), .index = get_u64(p + 24)};
    }
    s->id = id;
    s->chain = snap_header_encode(id, cluster != 0 ? cluster : get_u64(p + 32), expect);
    if (memcmp(p, expect, sizeof(expect)) != 0) {
        return damaged(s, "this is the snapshot of another place or cluster", reterr);
    }
    take(s, SNAP_FILE_HEADER_BYTES);
    return 0;
}

static int open_steps(struct snap_reader *s, struct wal_disk *d, const char *name,
    struct wal_snapshot_id id, uint64_t cluster, bool past_cache, struct err *reterr)
{
    struct bytes header;
    int rc = d->ops->open(d, WAL_FOLDER_SNAP, name, false, &s->file);

    if (rc == 0) {
        rc = d->ops->size(s->file, &s->bytes);
    }
    if (rc < 0) {
        return err_set(reterr, rc, "cannot open %s: %s", s->name, err_text(rc));
    }
    if (past_cache) {
        d->ops->drop_cache(s->file);
    }
    s->cap = (size_t)MIN((uint64_t)READ_CHUNK, MAX(s->bytes, (uint64_t)SNAP_FILE_HEADER_BYTES));
    s->buf = xmalloc(s->cap);
    rc = read_file_header(s, id, cluster, reterr);
    if (rc == 0) {
        rc = next_frame(s, &header, reterr);
    }
    if (rc == 0 && s->ended) {
        return damaged(s, "the caller's header is missing", reterr);
    }
    if (rc == 0) {
        s->header = buf_copy(header);
    }
    return rc;
}

int snap_reader_open_file(struct wal_disk *d, const char *name, struct wal_snapshot_id id,
    uint64_t cluster, bool past_cache, struct snap_reader **ret, struct bytes *ret_header,
    struct err *reterr)
{
    struct snap_reader *s = xcalloc(1, sizeof(*s));
    int rc;

    s->name = xasprintf("snap/%s", name);
    rc = open_steps(s, d, name, id, cluster, past_cache, reterr);
    if (rc < 0) {
        (void)snap_reader_close(s);
        return rc;
    }
    *ret = s;
    *ret_header = buf_bytes(s->header);
    return 0;
}

int snap_reader_open_foreign(struct wal_disk *d, const char *name, struct snap_reader **ret,
    struct bytes *ret_header, struct err *reterr)
{
    struct snap_reader *s = xcalloc(1, sizeof(*s));
    int rc;

    s->name = xstrdup(name);
    s->foreign = true;
    rc = open_steps(s, d, name, (struct wal_snapshot_id){0}, 0, false, reterr);
    if (rc < 0) {
        (void)snap_reader_close(s);
        return rc;
    }
    *ret = s;
    *ret_header = buf_bytes(s->header);
    return 0;
}

int snap_reader_open(struct wal *w, struct wal_snapshot_id id, struct snap_reader **ret,
    struct bytes *ret_header, struct err *reterr)
{
    char name[SNAP_NAME_MAX];

    snap_file_name(name, id);
    return snap_reader_open_file(
        w->disk, name, id, w->identity.cluster_id, false, ret, ret_header, reterr);
}

struct wal_snapshot_id snap_reader_id(const struct snap_reader *s)
{
    return s->id;
}

struct snap_reader *snap_reader_close(struct snap_reader *s)
{
    if (s != NULL) {
        (void)wal_file_close(s->file);
        buf_unref(s->header);
        free(s->name);
        free(s->buf);
        free(s);
    }
    return NULL;
}

int snap_verify(struct wal_disk *d, const char *name, struct wal_snapshot_id id, uint64_t cluster,
    bool past_cache, struct err *reterr)
{
    struct snap_reader *s = NULL;
    struct bytes piece;
    int rc = snap_reader_open_file(d, name, id, cluster, past_cache, &s, &piece, reterr);

    if (rc < 0) {
        return rc;
    }
    do {
        rc = snap_reader_next(s, &piece, reterr);
    } while (rc == 0 && piece.len != 0);
    (void)snap_reader_close(s);
    return rc;
}
