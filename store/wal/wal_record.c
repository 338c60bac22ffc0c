#include "wal_record.h"

#include "codec.h"
#include "crc32c.h"

enum { AT_TAG = 0, AT_HEADER_CRC = 4, AT_BODY_CRC = 8, AT_LENGTH = 12, AT_TYPE = 16 };
enum { AT_ENTRY_TYPE = 17, AT_ZERO = 18, AT_EPOCH = 20, AT_INDEX = 24, AT_TERM = 32, AT_MARK = 40 };
_Static_assert(AT_MARK + 8 == WAL_RECORD_HEADER_BYTES, "the header has no holes");

static uint32_t place_crc(uint64_t salt, uint64_t offset)
{
    uint8_t place[16];

    put_u64(place, salt);
    put_u64(place + 8, offset);
    return crc32c(0, place, sizeof(place));
}

static uint32_t header_crc(const uint8_t *p, uint32_t place)
{
    static const uint8_t zero[4];
    uint32_t crc = crc32c(place, p, AT_HEADER_CRC);

    crc = crc32c(crc, zero, sizeof(zero));
    return crc32c(crc, p + AT_BODY_CRC, WAL_RECORD_HEADER_BYTES - AT_BODY_CRC);
}

void wal_record_encode(
    const struct wal_record *r, uint64_t salt, uint64_t offset, struct strbuf *out)
{
    size_t size = wal_record_size(r->body.len);
    uint32_t place = place_crc(salt, offset);
    uint8_t *p = strbuf_reserve(out, size);
    uint8_t *body = p + WAL_RECORD_HEADER_BYTES;

    decree_assert(offset % WAL_RECORD_ALIGN == 0 && r->body.len < UINT32_MAX);
    if (r->body.len != 0) {
        memset(p + size - WAL_RECORD_ALIGN, 0, WAL_RECORD_ALIGN);
        memcpy(body, r->body.data, r->body.len);
    }
    put_u32(p + AT_TAG, (uint32_t)salt);
    put_u32(p + AT_BODY_CRC, crc32c(place, body, size - WAL_RECORD_HEADER_BYTES));
    put_u32(p + AT_LENGTH, (uint32_t)r->body.len);
    p[AT_TYPE] = (uint8_t)r->type;
    p[AT_ENTRY_TYPE] = r->entry_type;
    p[AT_ZERO] = p[AT_ZERO + 1] = 0;
    put_u32(p + AT_EPOCH, r->epoch);
    put_u64(p + AT_INDEX, r->index);
    put_u64(p + AT_TERM, r->term);
    put_u64(p + AT_MARK, r->mark);
    put_u32(p + AT_HEADER_CRC, header_crc(p, place));
    out->len += size;
}

bool wal_record_decode_header(
    const uint8_t *p, uint64_t salt, uint64_t offset, struct wal_record *ret)
{
    if (get_u32(p + AT_TAG) != (uint32_t)salt ||
        get_u32(p + AT_HEADER_CRC) != header_crc(p, place_crc(salt, offset))) {
        return false;
    }
    *ret = (struct wal_record){
        .type = (enum wal_record_type)p[AT_TYPE],
        .entry_type = p[AT_ENTRY_TYPE],
        .epoch = get_u32(p + AT_EPOCH),
        .index = get_u64(p + AT_INDEX),
        .term = get_u64(p + AT_TERM),
        .mark = get_u64(p + AT_MARK),
        .body = {NULL, get_u32(p + AT_LENGTH)},
    };
    return true;
}

bool wal_record_check_body(const uint8_t *p, size_t size, uint64_t salt, uint64_t offset)
{
    return get_u32(p + AT_BODY_CRC) ==
        crc32c(
            place_crc(salt, offset), p + WAL_RECORD_HEADER_BYTES, size - WAL_RECORD_HEADER_BYTES);
}

void wal_head_encode(const struct wal_head *h, uint8_t out[WAL_HEAD_BYTES])
{
    put_u64(out, h->cluster_id);
    put_u64(out + 8, h->member_id);
    put_u64(out + 16, h->prev_seq);
    put_u64(out + 24, h->prev_end);
    put_u64(out + 32, h->last_index);
    put_u64(out + 40, h->last_term);
}

bool wal_head_decode(struct bytes b, struct wal_head *ret)
{
    if (b.len != WAL_HEAD_BYTES) {
        return false;
    }
    *ret = (struct wal_head){
        .cluster_id = get_u64(b.data),
        .member_id = get_u64(b.data + 8),
        .prev_seq = get_u64(b.data + 16),
        .prev_end = get_u64(b.data + 24),
        .last_index = get_u64(b.data + 32),
        .last_term = get_u64(b.data + 40),
    };
    return true;
}
