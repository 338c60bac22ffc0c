/* Any bytes as a backup file: read to its end or refused by name. Input: one byte of flags, then
 * the file's frames or the file.   1  a valid file header in front and right checksums of the
 * frames 2  padded, with a right SHA-256 at the end */
#include <openssl/evp.h>
#include <string.h>

#include "backup.h"
#include "codec.h"
#include "snap_file.h"
#include "wal_disk_mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FRAMES = 1, DIGEST = 2, INPUT_MAX = 64 << 10 };

static void add_frames(struct strbuf *out, struct bytes b)
{
    static const struct wal_snapshot_id id = {.term = 2, .index = 10};
    uint32_t crc = snap_header_encode(id, 1, strbuf_reserve(out, SNAP_FILE_HEADER_BYTES));

    out->len += SNAP_FILE_HEADER_BYTES;
    while (b.len >= SNAP_FRAME_HEADER_BYTES) {
        uint32_t length = get_u32(b.data);
        size_t left = b.len - SNAP_FRAME_HEADER_BYTES;
        size_t n = length == SNAP_END_LENGTH ? (size_t)SNAP_END_BYTES : (size_t)length;
        struct bytes body = {b.data + SNAP_FRAME_HEADER_BYTES, MIN(left, n)};

        crc = snap_frame_crc(crc, length, body);
        enc_u32(out, length);
        enc_u32(out, crc);
        strbuf_append_bytes(out, body);
        b = bytes_make(body.data + body.len, left - body.len);
    }
    strbuf_append_bytes(out, b);
}

static void add_digest(struct strbuf *out)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    int ok;

    while (out->len % BACKUP_BLOCK != 0) {
        strbuf_append_char(out, '\0');
    }
    ok = EVP_Digest(out->data, out->len, digest, NULL, EVP_sha256(), NULL);
    decree_assert(ok == 1);
    strbuf_append(out, digest, STORE_SNAPSHOT_DIGEST_BYTES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_strbuf_ struct strbuf file = {0};
    _cleanup_err_ struct err e = {0};
    struct backup_info info;
    struct wal_mem *m;
    int rc;

    if (size == 0 || size > INPUT_MAX) {
        return 0;
    }
    if ((data[0] & FRAMES) != 0) {
        add_frames(&file, bytes_make(data + 1, size - 1));
    } else {
        strbuf_append(&file, data + 1, size - 1);
    }
    if ((data[0] & DIGEST) != 0) {
        add_digest(&file);
    }
    m = wal_mem_new(1);
    wal_mem_put(m, WAL_FOLDER_SNAP, "saved", strbuf_bytes(&file));
    rc = backup_read(wal_mem_disk(m), "saved", &info, &e);
    decree_assert(rc == 0 || (e.code == rc && e.text != NULL));
    decree_assert(rc < 0 || info.members.n > 0);
    backup_info_deinit(&info);
    wal_mem_free(m);
    return 0;
}
