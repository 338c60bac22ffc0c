/* Log entries and messages between members: any bytes are refused or decoded; a decoded entry
 * encodes to something that decodes to the same bytes again. */
#include "entry_codec.h"
#include "members.h"
#include "msg_codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_entry(struct bytes b)
{
    _cleanup_arena_ struct arena arena = {.limit = 64 << 20};
    struct entry e, again;
    struct buf *one = NULL, *two = NULL;
    int err;

    if (entry_decode(b, &arena, &e) != 0 || entry_encode(&e, &one) != 0) {
        return;
    }
    err = entry_decode(buf_bytes(one), &arena, &again);
    decree_assert(err == 0);
    err = entry_encode(&again, &two);
    decree_assert(err == 0 && bytes_eq(buf_bytes(one), buf_bytes(two)));
    buf_unref(one);
    buf_unref(two);
}

static void try_message(struct bytes b)
{
    struct msg_decoded m;

    if (msg_decode(b, &m) == 0) {
        struct frame_parts parts = {0};
        size_t bytes = 0;

        msg_encode(&m.msg, &parts);
        for (size_t i = 0; i < parts.n; i++) {
            bytes += parts.list[i]->len;
        }
        decree_assert(bytes <= b.len); /* numbers are written in their shortest form */
        frame_parts_deinit(&parts);
    }
    msg_decoded_deinit(&m);
}

/* A table that was read can be changed and written, and is read again as it was. */
static void try_change(struct members *m)
{
    static const char *const urls[] = {"http://h:1"};
    _cleanup_strbuf_ struct strbuf one = {0}, two = {0};
    struct members copy;

    if (m->n < RAFT_MEMBERS_MAX) {
        members_add(m, members_fresh_id(m, urls, 1, 0), urls, 1, true);
    }
    if (m->n > 0) {
        members_remove(m, m->list[0].id);
    }
    members_copy(m, &copy);
    members_encode(m, &one);
    members_encode(&copy, &two);
    decree_assert(bytes_eq(strbuf_bytes(&one), strbuf_bytes(&two)));
    members_deinit(&copy);
    members_deinit(m);
}

static void try_others(struct bytes b)
{
    _cleanup_arena_ struct arena arena = {.limit = 64 << 20};
    struct members members;
    struct member_ask member_ask;
    struct member_answer member_answer;
    struct members_answer told;
    struct raft_entry_id place;
    struct lease_ask ask;
    struct lease_answer answer;
    struct proposals_refused refused;
    struct snap_begin begin;
    struct snap_status status;
    uint64_t pieces;

    (void)lease_ask_decode(b, &ask);
    (void)lease_answer_decode(b, &arena, &answer);
    (void)proposals_refused_decode(b, &arena, &refused);
    (void)snap_begin_decode(b, &begin);
    (void)snap_status_decode(b, &status);
    (void)snap_end_decode(b, &pieces);
    (void)member_ask_decode(b, &arena, &member_ask);
    (void)member_answer_decode(b, &member_answer);
    (void)place_decode(b, FRAME_PLACE_ASK, &place);
    (void)place_decode(b, FRAME_PLACE_DENIED, &place);
    if (members_answer_decode(b, &told) == 0) {
        members_deinit(&told.members);
    }
    if (members_decode(b, &members) == 0) {
        try_change(&members);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes b = bytes_make(data, size);

    try_entry(b);
    try_message(b);
    try_others(b);
    return 0;
}
