/* Frames on a link: u32 length of the body, u32 CRC-32C of length and body, body. */
#ifndef DECREE_STORE_PEER_PEER_FRAME_H
#define DECREE_STORE_PEER_PEER_FRAME_H

#include "buf.h"
#include "peer.h"

enum { PEER_FRAME_HEAD = 8 };

/* The head of a frame whose body is these parts, one after the other. Returns the body's length;
 * must not be above PEER_FRAME_BYTES_MAX. */
size_t peer_frame_head(struct buf *const *parts, size_t n_parts, uint8_t head[PEER_FRAME_HEAD]);

/* Takes a byte stream apart. Bytes are untrusted; at most one frame is held. */
struct peer_frame_reader {
    struct strbuf buf;
    size_t at; /* bytes of buf that have been handed out */
};
void peer_frame_reader_deinit(struct peer_frame_reader *r);
void peer_frame_reader_add(struct peer_frame_reader *r, struct bytes b);
enum { PEER_FRAME_NONE = 0, PEER_FRAME_READY = 1 };
/* READY with the next body, valid until the next add; NONE when more bytes are needed; DECREE_E
 * BAD_REQUEST for a length or checksum that no frame has: the link is of no more use. */
int peer_frame_reader_next(struct peer_frame_reader *r, struct bytes *ret_body);

#endif
