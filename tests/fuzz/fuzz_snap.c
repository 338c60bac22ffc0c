/* Any bytes as a snapshot file: read to its end or refused with an offset. Input: one byte of
 * flags, then the file.   1  a valid file header in front   2  make the checksums of the frames
 * right */
#include <string.h>

#include "alloc.h"
#include "codec.h"
#include "snap_file.h"
#include "wal_disk_mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WITH_HEADER = 1, FIX = 2, INPUT_MAX = 64 << 10 };

static const struct wal_snapshot_id id = {.term = 2, .index = 10};

static void add_fixed(struct strbuf *out, uint32_t crc, struct bytes b)
{
    while (b.len >= SNAP_FRAME_HEADER_BYTES) {
        uint32_t length = get_u32(b.data);
        size_t left = b.len - SNAP_FRAME_HEADER_BYTES;
        struct bytes body = {b.data + SNAP_FRAME_HEADER_BYTES,
            MIN(left, length == SNAP_END_LENGTH ? (size_t)SNAP_END_BYTES : (size_t)length)};

        crc = snap_frame_crc(crc, length, body);
        enc_u32(out, length);
        enc_u32(out, crc);
        strbuf_append_bytes(out, body);
        b.data = body.data + body.len;
        b.len = left - body.len;
    }
    strbuf_append_bytes(out, b);
}

static void read_whole(struct wal_mem *m, const char *name)
{
    _cleanup_err_ struct err e = {0};
    struct snap_reader *s = NULL;
    struct bytes header, piece = {0};
    int rc = snap_reader_open_file(wal_mem_disk(m), name, id, 0, false, &s, &header, &e);
    volatile uint8_t sum = 0;

    if (rc == 0) {
        do {
            rc = snap_reader_next(s, &piece, &e);
            for (size_t i = 0; i < piece.len; i++) {
                sum = (uint8_t)(sum + piece.data[i]);
            }
        } while (rc == 0 && piece.len != 0);
        (void)snap_reader_close(s);
    }
    decree_assert(rc == 0 || (e.code == rc && strstr(e.text, name) != NULL));
    decree_assert(rc == snap_verify(wal_mem_disk(m), name, id, 0, false, NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct strbuf file = {0};
    char name[SNAP_NAME_MAX];
    struct wal_mem *m;

    if (size == 0 || size > INPUT_MAX) {
        return 0;
    }
    if ((data[0] & WITH_HEADER) != 0) {
        uint32_t crc = snap_header_encode(id, 1, strbuf_reserve(&file, SNAP_FILE_HEADER_BYTES));

        file.len += SNAP_FILE_HEADER_BYTES;
        if ((data[0] & FIX) != 0) {
            add_fixed(&file, crc, bytes_make(data + 1, size - 1));
        }
    }
    if ((data[0] & FIX) == 0) {
        strbuf_append(&file, data + 1, size - 1);
    }
    snap_file_name(name, id);
    m = wal_mem_new(1);
    wal_mem_put(m, WAL_FOLDER_SNAP, name, strbuf_bytes(&file));
    read_whole(m, name);
    (void)wal_mem_free(m);
    strbuf_deinit(&file);
    return 0;
}
