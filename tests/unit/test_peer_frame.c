/* The frames of a link. */
#include "codec.h"
#include "peer_frame.h"
#include "unit.h"

static void frame(struct strbuf *out, struct bytes body)
{
    struct buf *b = buf_copy(body);
    uint8_t head[PEER_FRAME_HEAD];

    (void)peer_frame_head(&b, 1, head);
    strbuf_append(out, head, sizeof(head));
    strbuf_append_bytes(out, body);
    buf_unref(b);
}

TEST(frame, any_split_of_the_bytes_gives_the_same_frames)
{
    for (size_t step = 1; step < 40; step++) {
        _cleanup_strbuf_ struct strbuf s = {0};
        struct peer_frame_reader r = {0};
        struct bytes body;
        size_t n = 0;

        frame(&s, BYTES_LITERAL("one"));
        frame(&s, BYTES_LITERAL(""));
        frame(&s, BYTES_LITERAL("three three"));
        for (size_t at = 0; at < s.len; at += step) {
            static const char *const want[] = {"one", "", "three three"};

            peer_frame_reader_add(&r, bytes_make(s.data + at, MIN(step, s.len - at)));
            while (peer_frame_reader_next(&r, &body) == PEER_FRAME_READY) {
                assert_true(n < 3);
                assert_true(bytes_eq(body, bytes_str(want[n])));
                n++;
            }
        }
        assert_int_equal(n, 3);
        peer_frame_reader_deinit(&r);
    }
}

TEST(frame, every_flipped_bit_is_found)
{
    _cleanup_strbuf_ struct strbuf s = {0};

    frame(&s, BYTES_LITERAL("a body of some bytes"));
    for (size_t bit = 0; bit < s.len * 8; bit++) {
        struct peer_frame_reader r = {0};
        struct bytes body;

        s.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        peer_frame_reader_add(&r, strbuf_bytes(&s));
        /* A longer length waits for bytes that would have to match the checksum. */
        assert_int_not_equal(peer_frame_reader_next(&r, &body), PEER_FRAME_READY);
        s.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        peer_frame_reader_deinit(&r);
    }
}

TEST(frame, a_length_beyond_the_limit_ends_the_link_at_once)
{
    struct peer_frame_reader r = {0};
    struct bytes body;
    uint8_t head[PEER_FRAME_HEAD] = {0};

    put_u32(head, PEER_FRAME_BYTES_MAX + 1);
    peer_frame_reader_add(&r, bytes_make(head, sizeof(head)));
    assert_int_equal(peer_frame_reader_next(&r, &body), DECREE_EBAD_REQUEST);
    peer_frame_reader_deinit(&r);
}

TEST_MAIN(UNIT(frame, any_split_of_the_bytes_gives_the_same_frames),
    UNIT(frame, every_flipped_bit_is_found),
    UNIT(frame, a_length_beyond_the_limit_ends_the_link_at_once))
