#include "peer_frame.h"

#include "codec.h"
#include "crc32c.h"
#include "err.h"

/* Room kept between frames; what a snapshot piece or a burst needed beyond it is given back. */
enum { READER_KEEP_BYTES = 256 << 10 };

size_t peer_frame_head(struct buf *const *parts, size_t n_parts, uint8_t head[PEER_FRAME_HEAD])
{
    size_t len = 0;
    uint32_t crc;

    for (size_t i = 0; i < n_parts; i++) {
        len += parts[i]->len;
    }
    decree_assert(len <= PEER_FRAME_BYTES_MAX);
    put_u32(head, (uint32_t)len);
    crc = crc32c(0, head, 4);
    for (size_t i = 0; i < n_parts; i++) {
        crc = crc32c(crc, parts[i]->data, parts[i]->len);
    }
    put_u32(head + 4, crc);
    return len;
}

void peer_frame_reader_deinit(struct peer_frame_reader *r)
{
    strbuf_deinit(&r->buf);
    r->at = 0;
}

void peer_frame_reader_add(struct peer_frame_reader *r, struct bytes b)
{
    size_t left = r->buf.len - r->at;

    if (left == 0) {
        if (r->buf.cap > READER_KEEP_BYTES) {
            strbuf_deinit(&r->buf);
        }
        strbuf_clear(&r->buf);
        r->at = 0;
    } else if (r->at != 0) {
        memmove(r->buf.data, r->buf.data + r->at, left);
        r->buf.len = left;
        r->at = 0;
    }
    strbuf_append_bytes(&r->buf, b);
}

int peer_frame_reader_next(struct peer_frame_reader *r, struct bytes *ret_body)
{
    size_t left = r->buf.len - r->at;
    const uint8_t *p;
    uint32_t len;

    if (left < PEER_FRAME_HEAD) {
        return PEER_FRAME_NONE;
    }
    p = r->buf.data + r->at;
    len = get_u32(p);
    if (len > PEER_FRAME_BYTES_MAX) {
        return DECREE_EBAD_REQUEST;
    }
    if (left - PEER_FRAME_HEAD < len) {
        return PEER_FRAME_NONE;
    }
    if (crc32c(crc32c(0, p, 4), p + PEER_FRAME_HEAD, len) != get_u32(p + 4)) {
        return DECREE_EBAD_REQUEST;
    }
    *ret_body = bytes_make(p + PEER_FRAME_HEAD, len);
    r->at += PEER_FRAME_HEAD + len;
    return PEER_FRAME_READY;
}
