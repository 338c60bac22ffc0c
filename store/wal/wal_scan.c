#include "wal_scan.h"

#include "alloc.h"
#include "codec.h"

enum { WINDOW_BYTES = 1 << 20, READ_TRIES = 3 };

void wal_scan_init(struct wal_scan *s, const struct wal_segment *segment)
{
    *s = (struct wal_scan){
        .segment = segment,
        .at = WAL_RECORDS_START,
        .mark = WAL_RECORDS_START,
        .window_at = WAL_RECORDS_START,
    };
}

void wal_scan_deinit(struct wal_scan *s)
{
    free(s->window);
    s->window = NULL;
}

static void make_room(struct wal_scan *s, uint64_t offset, size_t n)
{
    size_t keep = 0, want;

    if (offset < s->window_at + s->window_len) {
        size_t skip = (size_t)(offset - s->window_at);

        keep = s->window_len - skip;
        memmove(s->window, s->window + skip, keep);
    }
    s->window_at = offset;
    s->window_len = keep;
    want = MAX(n, MIN((size_t)WINDOW_BYTES, (size_t)s->segment->bytes));
    if (s->window_cap < want) {
        s->window_cap = want;
        s->window = xrealloc(s->window, s->window_cap);
    }
}

/* n bytes at offset (never before an earlier call's), NULL when the file ends before or cannot be
 * read. A read error may be a passing one: it is tried again a few times, then taken as damage. */
static const uint8_t *peek(struct wal_scan *s, uint64_t offset, size_t n)
{
    decree_assert(offset >= s->window_at);
    if (offset > s->segment->bytes || s->segment->bytes - offset < n) {
        return NULL;
    }
    if (offset + n > s->window_at + s->window_len) {
        size_t got = 0, want;
        int rc = 0;

        make_room(s, offset, n);
        want = (size_t)MIN(
            (uint64_t)(s->window_cap - s->window_len), s->segment->bytes - offset - s->window_len);
        for (int i = 0; i < READ_TRIES; i++) {
            /* An unreadable block further on in the window is no reason to fail here. */
            want = i == 0 ? want : n - s->window_len;
            rc = wal_file_pread(
                s->segment->file, offset + s->window_len, s->window + s->window_len, want, &got);
            if (rc == 0) {
                break;
            }
        }
        s->read_error = rc < 0 ? rc : s->read_error;
        s->window_len += got;
        if (rc < 0 || s->window_len < n) {
            return NULL;
        }
    }
    return s->window + (offset - s->window_at);
}

bool wal_scan_next(struct wal_scan *s, struct wal_record *ret)
{
    uint64_t salt = s->segment->salt;
    const uint8_t *p = peek(s, s->at, WAL_RECORD_HEADER_BYTES);
    size_t size;

    if (p == NULL || !wal_record_decode_header(p, salt, s->at, ret)) {
        return false;
    }
    size = wal_record_size(ret->body.len);
    p = peek(s, s->at, size);
    if (p == NULL || !wal_record_check_body(p, size, salt, s->at)) {
        return false;
    }
    if (ret->epoch < s->epoch || ret->mark > s->at || ret->mark < s->mark) {
        return false;
    }
    ret->body.data = p + WAL_RECORD_HEADER_BYTES;
    s->epoch = ret->epoch;
    s->mark = ret->mark;
    s->at += size;
    return true;
}

/* Counts what is not zero up to the end of the page in which the log ends. The log pads with zeros
 * that far, so anything else there was put by a write that did not finish; further on, noise of the
 * file's earlier life is normal. */
static uint64_t dirt_in_page(struct wal_scan *s, uint64_t end)
{
    uint64_t page_end = (end + WAL_PAGE_BYTES - 1) & ~(uint64_t)(WAL_PAGE_BYTES - 1);
    size_t n = (size_t)(MIN(page_end, s->segment->bytes) - end);
    const uint8_t *p = end < s->segment->bytes ? peek(s, end, n) : NULL;

    while (p != NULL && n > 0 && p[n - 1] == 0) {
        n--;
    }
    return p != NULL ? n : 0;
}

static void note_record(
    struct wal_scan *s, uint64_t at, const uint8_t *p, struct wal_scan_rest *rest)
{
    struct wal_record r;

    if (!wal_record_decode_header(p, s->segment->salt, at, &r) || r.mark > at) {
        return;
    }
    rest->epoch = MAX(rest->epoch, r.epoch);
    if (r.term > rest->term) {
        rest->term = r.term;
        rest->vote = 0;
    }
    if (r.term == rest->term && (r.type == WAL_RECORD_HARD || r.type == WAL_RECORD_HEAD)) {
        rest->vote = r.index;
    }
    if (r.epoch >= s->epoch) {
        rest->torn_bytes = MAX(rest->torn_bytes, at + WAL_RECORD_HEADER_BYTES - s->at);
    }
    if (r.mark > s->at && rest->proof_at == 0) {
        rest->proof_at = at;
        rest->proof_mark = r.mark;
    }
}

void wal_scan_rest(struct wal_scan *s, struct wal_scan_rest *ret)
{
    uint32_t tag = (uint32_t)s->segment->salt;
    uint64_t at = s->at;

    *ret = (struct wal_scan_rest){.torn_bytes = dirt_in_page(s, at), .epoch = s->epoch};
    while (at + WAL_RECORD_HEADER_BYTES <= s->segment->bytes) {
        const uint8_t *p = peek(s, at, WAL_RECORD_HEADER_BYTES);
        const uint8_t *end;

        if (p == NULL) {
            /* An unreadable block: step over it, what vouches for it may lie behind. */
            at += WAL_PAGE_BYTES - at % WAL_PAGE_BYTES;
            s->window_len = 0;
            s->window_at = at;
            continue;
        }
        end = s->window + s->window_len - WAL_RECORD_HEADER_BYTES;
        for (; p <= end; p += WAL_RECORD_ALIGN, at += WAL_RECORD_ALIGN) {
            if (get_u32(p) == tag) {
                note_record(s, at, p, ret);
            }
        }
    }
}
