/* What a stranger may send to the port for members: the hello, then frames. The first byte says how
 * many bytes come in a read. */
#include "fuzz.h"

#include <string.h>

#include "codec.h"
#include "crc32c.h"
#include "err.h"
#include "peer_frame.h"
#include "peer_hello.h"

static void try_frames(struct bytes b, size_t step)
{
    struct peer_frame_reader r = {0};
    int rc = PEER_FRAME_NONE;

    for (size_t at = 0; at < b.len && rc >= 0; at += step) {
        struct bytes body;

        peer_frame_reader_add(&r, bytes_make(b.data + at, MIN(step, b.len - at)));
        while ((rc = peer_frame_reader_next(&r, &body)) == PEER_FRAME_READY) {
            decree_assert(body.len <= PEER_FRAME_BYTES_MAX);
        }
    }
    peer_frame_reader_deinit(&r);
}

static void try_hello(struct bytes b, size_t step, bool request)
{
    struct peer_hello_reader r;
    int rc = PEER_HELLO_MORE;

    peer_hello_reader_init(&r, request);
    for (size_t at = 0; at < b.len && rc == PEER_HELLO_MORE; at += step) {
        struct bytes part = bytes_make(b.data + at, MIN(step, b.len - at));
        size_t used = 0;

        rc = peer_hello_feed(&r, part, &used);
        decree_assert(used <= part.len);
    }
    if (rc == PEER_HELLO_DONE) {
        _cleanup_free_ char *text = NULL;
        const char *why;

        if (request) {
            (void)peer_hello_check(&r, &why);
        } else {
            (void)peer_hello_status(&r, &text);
        }
    }
    peer_hello_reader_deinit(&r);
}

/* Frames with the right checksums, the last one as long as what is left; a hello stays as it is. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    size_t at = 1;

    size = LLVMFuzzerMutate(data, size, size_max);
    if (size > 1 && seed % 8 != 0 && data[1] != 'G' && data[1] != 'H') {
        while (size - at >= PEER_FRAME_HEAD) {
            size_t left = size - at - PEER_FRAME_HEAD;
            uint32_t len = (uint32_t)MIN((size_t)get_u32(data + at), left);

            put_u32(data + at, len);
            put_u32(
                data + at + 4, crc32c(crc32c(0, data + at, 4), data + at + PEER_FRAME_HEAD, len));
            at += PEER_FRAME_HEAD + len;
        }
    }
    return size;
}

static void try_answer(struct bytes b)
{
    _cleanup_strbuf_ struct strbuf body = {0};

    if (peer_fetch_parse(b, &body, NULL) == 0) {
        decree_assert(body.len <= b.len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 1) {
        struct bytes b = bytes_make(data + 1, size - 1);
        size_t step = (size_t)data[0] + 1;

        try_frames(b, step);
        try_hello(b, step, true);
        try_hello(b, step, false);
        try_answer(b);
    }
    return 0;
}
