/* Torn is not corrupt: what a crash can leave behind is cut off and loses nothing acknowledged;
 * what was confirmed durable and reads differently is refused, whatever differs. */
#include "wal_fixture.h"

#include "codec.h"
#include "wal_scan.h"

enum { PAYLOAD = 90, RECORD = 48 + 96, FLIPS = 1000 };

static const char first_segment[] = "0000000000000001.seg";

/* A log whose last two batches, one entry each, lie at [*ret_second_last, *ret_end) of its only
 * segment; nothing vouches for the last one. n entries in all. */
static struct wal_mem *make_log(size_t n, size_t *ret_second_last, size_t *ret_end)
{
    struct wal_mem *m = wal_mem_new(5);
    struct wal_recovery rec;
    struct wal *w = fixture_open(m, &rec);

    fixture_hard(w, 2, FIXTURE_VOTE);
    for (size_t i = 1; i <= n; i++) {
        fixture_append(w, 2, i, 1, PAYLOAD);
    }
    /* header page, head, mark, hard state, entries */
    *ret_end = WAL_RECORDS_START + (48 + 48) + 48 + 48 + n * RECORD;
    *ret_second_last = *ret_end - 2 * RECORD;
    return fixture_kill(m, w, &rec);
}

/* Opens a damaged copy: exactly `want` entries must be there, and the log must go on. */
static void check_boots(struct wal_mem *damaged, size_t want)
{
    struct wal_recovery rec;
    struct wal *w = fixture_open(damaged, &rec);

    assert_int_equal(rec.n_entries, want);
    assert_int_equal(rec.term, 2);
    assert_int_equal(rec.vote, FIXTURE_VOTE);
    for (size_t i = 0; i < rec.n_entries; i++) {
        fixture_check_entry(&rec.entries[i], i + 1, 2, PAYLOAD);
    }
    fixture_append(w, 3, want + 1, 2, PAYLOAD);
    fixture_close(w, &rec);
    w = fixture_open(damaged, &rec);
    assert_int_equal(rec.n_entries, want + 2);
    fixture_check_entry(&rec.entries[want + 1], want + 2, 3, PAYLOAD);
    assert_int_equal(rec.torn_bytes, 0);
    fixture_close(w, &rec);
    (void)wal_mem_free(damaged);
}

/* Opens a damaged copy: it must be refused with the file and an offset, and nothing changed. */
static void check_refused(struct wal_mem *damaged)
{
    _cleanup_err_ struct err e = {0};
    struct wal_recovery rec;
    struct wal *w = NULL;
    uint64_t ops = wal_mem_ops(damaged);
    int rc = fixture_try_open(damaged, &w, &rec, &e);

    assert_int_equal(rc, DECREE_ECORRUPT);
    assert_non_null(strstr(e.text, ".seg: "));
    assert_non_null(strstr(e.text, "offset "));
    assert_non_null(strstr(e.text, "nothing was changed"));
    assert_true(wal_mem_ops(damaged) == ops);
    (void)wal_mem_free(damaged);
}

static uint8_t *bytes_of(struct wal_mem *m)
{
    return wal_mem_bytes(m, WAL_FOLDER_LOG, first_segment)->data;
}

enum damage { CUT, ZEROS, GARBAGE };

/* From `at` to `end` the disk has something else; CUT: to the file's end, which is shorter now. */
static struct wal_mem *damage_tail(const struct wal_mem *m, enum damage how, size_t at, size_t end)
{
    struct wal_mem *copy = wal_mem_clone(m);
    struct strbuf *b = wal_mem_bytes(copy, WAL_FOLDER_LOG, first_segment);
    uint64_t x = at * 2654435761u + 1;

    for (size_t i = at; i < end; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        b->data[i] = how == GARBAGE ? (uint8_t)(x >> 56) : 0;
    }
    if (how == CUT) {
        b->len = at;
    }
    return copy;
}

/* Damage from each byte of the last two records on, to the end of what was written. Only whole
 * records before it are left, and one whose damage is none (zeros over zeros). */
static void each_byte_of_the_last_two(struct wal_mem *m, size_t n, size_t end)
{
    size_t first = end - 2 * RECORD;

    for (size_t at = first; at < end; at++) {
        for (enum damage how = CUT; how <= GARBAGE; how++) {
            struct wal_mem *copy = damage_tail(m, how, at, end);
            size_t there = wal_mem_bytes(copy, WAL_FOLDER_LOG, first_segment)->len;
            size_t whole = n - 2;

            while (whole < n && there >= first + (whole + 3 - n) * RECORD &&
                memcmp(bytes_of(copy), bytes_of(m), first + (whole + 3 - n) * RECORD) == 0) {
                whole++;
            }
            check_boots(copy, whole);
        }
    }
}

TEST(wal, a_tail_damaged_from_any_byte_of_the_last_two_records_boots)
{
    size_t second_last, end;
    struct wal_mem *m = make_log(12, &second_last, &end);

    each_byte_of_the_last_two(m, 12, end);
    (void)wal_mem_free(m);
}

TEST(wal, a_batch_of_two_damaged_from_any_byte_boots)
{
    struct wal_mem *m = wal_mem_new(5);
    struct wal_recovery rec;
    struct wal *w = fixture_open(m, &rec);

    fixture_hard(w, 2, FIXTURE_VOTE);
    fixture_append(w, 2, 1, 1, PAYLOAD);
    fixture_append(w, 2, 2, 2, PAYLOAD);
    m = fixture_kill(m, w, &rec);
    each_byte_of_the_last_two(m, 3, WAL_RECORDS_START + 96 + 48 + 48 + 3 * RECORD);
    (void)wal_mem_free(m);
}

/* A batch over many sectors, of which any one did not reach the disk. */
TEST(wal, any_single_lost_sector_of_the_last_batch_is_a_tear)
{
    struct wal_mem *m = wal_mem_new(5);
    struct wal_recovery rec;
    struct wal *w = fixture_open(m, &rec);
    size_t start = WAL_RECORDS_START + 96 + 48 + 48 + 3 * RECORD, end = start + 40 * RECORD;

    fixture_hard(w, 2, FIXTURE_VOTE);
    fixture_append(w, 2, 1, 3, PAYLOAD);
    fixture_append(w, 2, 4, 40, PAYLOAD);
    m = fixture_kill(m, w, &rec);
    for (size_t sector = start / 512; sector * 512 < end; sector++) {
        struct wal_mem *copy = wal_mem_clone(m);
        size_t from = MAX(sector * 512, start), to = MIN((sector + 1) * 512, end);

        memset(bytes_of(copy) + from, 0, to - from);
        check_boots(copy, 3 + (from - start) / RECORD);
    }
    (void)wal_mem_free(m);
}

/* The same where the last two records lie in every way over the borders of sectors: as many records
 * before them as it takes until their place in a sector comes again. */
TEST(wal, a_lost_sector_of_the_last_two_records_is_a_tear_wherever_they_lie)
{
    enum { START = WAL_RECORDS_START + 96 + 48 + 48, PERIOD = 32 };

    _Static_assert(PERIOD * RECORD % 512 == 0, "the same place again");
    for (size_t before = 1; before <= PERIOD; before++) {
        struct wal_mem *m = wal_mem_new(5);
        struct wal_recovery rec;
        struct wal *w = fixture_open(m, &rec);
        size_t start = START + before * RECORD, end = start + 2 * RECORD;

        fixture_hard(w, 2, FIXTURE_VOTE);
        fixture_append(w, 2, 1, before, PAYLOAD);
        fixture_append(w, 2, before + 1, 2, PAYLOAD);
        m = fixture_kill(m, w, &rec);
        for (size_t sector = start / 512; sector * 512 < end; sector++) {
            size_t from = MAX(sector * 512, start), to = MIN((sector + 1) * 512, end);

            for (enum damage how = ZEROS; how <= GARBAGE; how++) {
                check_boots(damage_tail(m, how, from, to), before + (from - start) / RECORD);
            }
        }
        (void)wal_mem_free(m);
    }
}

/* Remains of a torn batch behind the cut are valid records with the right next index. They must not
 * come back once the gap before them has been filled again with the same lengths. Zeros are written
 * to the end of each page, so this takes records that end exactly with one. */
TEST(wal, remains_behind_a_tear_never_come_back)
{
    enum { SMALL = 16, SMALL_RECORD = 64, START = WAL_RECORDS_START + 96 + 48 + 48 };
    enum { PAGE_END = 8192, FIT = (PAGE_END - START) / SMALL_RECORD };
    enum { WITH_BODY = (PAGE_END - START - 2 * 96 - FIT * 48) / SMALL };
    struct wal_mem *m = wal_mem_new(5);
    struct wal_recovery rec;
    struct wal *w = fixture_open(m, &rec);
    const uint8_t *remains;

    _Static_assert((PAGE_END - START) % SMALL_RECORD == 0, "a record begins with the page");
    fixture_hard(w, 2, FIXTURE_VOTE);
    fixture_append(w, 2, 1, FIT + 3, SMALL);
    m = fixture_kill(m, w, &rec);
    memset(bytes_of(m) + START, 0, SMALL_RECORD);
    w = fixture_open(m, &rec);
    assert_int_equal(rec.n_entries, 0);
    assert_true(rec.torn_bytes > PAGE_END - START);
    m = fixture_kill(m, w, &rec);
    /* Each of the two starts has put OPEN and MARK there, 96 bytes. */
    w = fixture_open(m, &rec);
    assert_int_equal(rec.n_entries, 0);
    assert_int_equal(rec.torn_bytes, 0);
    fixture_append(w, 2, 1, WITH_BODY, SMALL);
    fixture_append(w, 2, WITH_BODY + 1, FIT - WITH_BODY, 0);
    m = fixture_kill(m, w, &rec);
    remains = bytes_of(m) + PAGE_END;
    assert_int_equal(remains[16], WAL_RECORD_ENTRY);
    assert_int_equal(get_u64(remains + 24), FIT + 1);
    w = fixture_open(m, &rec);
    assert_int_equal(rec.n_entries, FIT);
    fixture_close(w, &rec);
    (void)wal_mem_free(m);
}

/* ---- corruption ---- */

/* Three segments; the last batch has a successor or a mark. Returns the names' number. */
static struct wal_mem *make_long_log(uint64_t *ret_segments)
{
    struct wal_mem *m = wal_mem_new(9);
    struct wal_recovery rec;
    struct wal *w = fixture_open(m, &rec);
    char name[WAL_SEGMENT_NAME_MAX];

    fixture_hard(w, 2, FIXTURE_VOTE);
    for (size_t i = 0; i < 60; i++) {
        fixture_append(w, 2, 1 + 4 * i, 4, PAYLOAD + i % 7);
    }
    fixture_close(w, &rec);
    for (*ret_segments = 0;; (*ret_segments)++) {
        wal_segment_name(name, WAL_NAME_SEGMENT, *ret_segments + 1);
        if (wal_mem_bytes(m, WAL_FOLDER_LOG, name) == NULL) {
            break;
        }
    }
    (*ret_segments)--; /* the last one is prepared and not begun */
    return m;
}

/* The end of the records of a segment, found by walking them. */
static size_t end_of(const struct strbuf *b)
{
    uint64_t salt = get_u64(b->data + 24);
    size_t at = WAL_RECORDS_START;
    struct wal_record r;

    while (at + 48 <= b->len && wal_record_decode_header(b->data + at, salt, at, &r)) {
        at += wal_record_size(r.body.len);
    }
    return at;
}

static uint64_t random_of(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

TEST(wal, each_of_1000_bit_flips_before_the_mark_is_detected)
{
    uint64_t segments, x = 88172645463325252u;
    struct wal_mem *m = make_long_log(&segments);

    assert_true(segments >= 3);
    for (int i = 0; i < FLIPS; i++) {
        struct wal_mem *copy = wal_mem_clone(m);
        char name[WAL_SEGMENT_NAME_MAX];
        struct strbuf *b;
        size_t end;

        wal_segment_name(name, WAL_NAME_SEGMENT, 1 + random_of(&x) % segments);
        b = wal_mem_bytes(copy, WAL_FOLDER_LOG, name);
        end = end_of(b) - 48;     /* the last record of all is a MARK, and holds nothing */
        end -= WAL_RECORDS_START; /* the header page is there three times: test_wal_repair.c */
        b->data[WAL_RECORDS_START + random_of(&x) % end] ^= (uint8_t)(1u << (random_of(&x) % 8));
        check_refused(copy);
    }
    (void)wal_mem_free(m);
}

TEST(wal, every_bit_of_a_header_counts)
{
    size_t second_last, end;
    struct wal_mem *m = make_log(5, &second_last, &end);

    for (size_t bit = 0; bit < 48 * 8; bit++) {
        struct wal_mem *copy = wal_mem_clone(m);

        bytes_of(copy)[second_last + bit / 8] ^= (uint8_t)(1u << (bit % 8));
        check_refused(copy);
    }
    (void)wal_mem_free(m);
}

TEST(wal, length_and_type_changed_in_any_way_are_corruption)
{
    static const uint32_t lengths[] = {0, 1, 8, 89, 91, 4096, 1 << 20, UINT32_MAX};
    size_t second_last, end;
    struct wal_mem *m = make_log(5, &second_last, &end);

    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
        struct wal_mem *copy = wal_mem_clone(m);

        put_u32(bytes_of(copy) + second_last + 12, lengths[i]);
        check_refused(copy);
    }
    for (unsigned type = 0; type < 256; type++) {
        struct wal_mem *copy = wal_mem_clone(m);

        bytes_of(copy)[second_last + 16] = (uint8_t)type;
        if (type == WAL_RECORD_ENTRY) {
            (void)wal_mem_free(copy);
        } else {
            check_refused(copy);
        }
    }
    (void)wal_mem_free(m);
}

/* Batch i confirmed batch i-1, so zeros or garbage in any but the last are damage. */
TEST(wal, zeros_in_a_confirmed_record_are_corruption)
{
    size_t second_last, end;
    struct wal_mem *m = make_log(12, &second_last, &end);

    for (size_t at = WAL_RECORDS_START; at < end - RECORD; at += 8) {
        struct wal_mem *copy = wal_mem_clone(m);

        if (get_u64(bytes_of(copy) + at) != 0) {
            memset(bytes_of(copy) + at, 0, 8);
            check_refused(copy);
        } else {
            (void)wal_mem_free(copy);
        }
    }
    (void)wal_mem_free(m);
}

/* A segment that is not the last ends where the next one's head says: a vote lost there is seen. */
TEST(wal, the_last_record_of_a_finished_segment_counts)
{
    struct wal_mem *m = wal_mem_new(5);
    struct wal_recovery rec;
    struct wal *w = fixture_open(m, &rec);
    size_t end;

    for (uint64_t term = 1; term <= FIXTURE_SEGMENT / 48; term++) {
        fixture_hard(w, term, FIXTURE_VOTE);
    }
    m = fixture_kill(m, w, &rec);
    assert_non_null(wal_mem_bytes(m, WAL_FOLDER_LOG, "0000000000000002.seg"));
    end = end_of(wal_mem_bytes(m, WAL_FOLDER_LOG, first_segment));
    assert_true(end > FIXTURE_SEGMENT - 48);
    memset(bytes_of(m) + end - 48, 0, 48);
    check_refused(m);
}

TEST(wal, a_record_copied_over_another_is_corruption)
{
    size_t second_last, end;
    struct wal_mem *m = make_log(12, &second_last, &end);

    memcpy(bytes_of(m) + second_last - 3 * RECORD, bytes_of(m) + second_last - 5 * RECORD, RECORD);
    check_refused(m);
}

TEST(wal, a_stale_block_is_corruption)
{
    struct wal_mem *m = wal_mem_new(5), *old;
    struct wal_recovery rec;
    struct wal *w = fixture_open(m, &rec);

    fixture_append(w, 2, 1, 8, PAYLOAD);
    old = wal_mem_clone(m);
    fixture_append(w, 2, 9, 40, PAYLOAD);
    fixture_append(w, 2, 49, 1, PAYLOAD);
    m = fixture_kill(m, w, &rec);
    memcpy(bytes_of(m) + WAL_RECORDS_START, bytes_of(old) + WAL_RECORDS_START, 4096);
    check_refused(m);
    (void)wal_mem_free(old);
}

TEST(wal, the_last_batch_is_vouched_for_after_a_clean_close)
{
    struct wal_mem *m = wal_mem_new(5);
    struct wal_recovery rec;
    struct wal *w = fixture_open(m, &rec);
    size_t at = WAL_RECORDS_START + 96 + 48;

    fixture_append(w, 2, 1, 1, PAYLOAD);
    fixture_close(w, &rec);
    for (size_t i = at; i < at + RECORD; i++) {
        struct wal_mem *copy = wal_mem_clone(m);

        bytes_of(copy)[i] ^= 0x10;
        check_refused(copy);
    }
    (void)wal_mem_free(m);
}

/* What a kill -9 left was read at the next start, and counts from then on. */
TEST(wal, the_last_batch_is_vouched_for_by_the_next_start)
{
    size_t second_last, end;
    struct wal_mem *m = make_log(12, &second_last, &end);
    struct wal_recovery rec;
    struct wal *w = fixture_open(m, &rec);

    m = fixture_kill(m, w, &rec);
    bytes_of(m)[end - 100] ^= 1;
    check_refused(m);
}

/* An fdatasync that failed ends the process, but the cache goes on showing what the disk lacks, and
 * says that it is clean. What the next start reports as recovered must have been written again. */
TEST(wal, what_recovery_reports_survives_a_failed_fsync_before_it)
{
    struct wal_mem *m = wal_mem_new(5), *after;
    struct wal_recovery rec;
    struct wal *w = fixture_open(m, &rec);

    fixture_append(w, 2, 1, 3, PAYLOAD);
    wal_mem_die_at(m, 2, WAL_MEM_KILL); /* the write is done, the sync is not */
    fixture_append(w, 2, 4, 60, PAYLOAD);
    assert_true(wal_mem_is_dead(m));
    fixture_close(w, &rec);
    m = wal_mem_reborn(m);
    wal_mem_forget_dirty(m);
    w = fixture_open(m, &rec);
    assert_int_equal(rec.n_entries, 63);
    after = wal_mem_power_cut(m, 0);
    fixture_close(w, &rec);
    (void)wal_mem_free(m);
    w = fixture_open(after, &rec);
    assert_int_equal(rec.n_entries, 63);
    fixture_close(w, &rec);
    (void)wal_mem_free(after);
}

/* Marks alone would let remains of an earlier start through right behind an OPEN record. */
TEST(wal, a_record_of_an_older_epoch_ends_the_log)
{
    struct wal_mem *m = wal_mem_new(5);
    _cleanup_strbuf_ struct strbuf records = {0};
    struct wal_record r = {.type = WAL_RECORD_HARD, .mark = WAL_RECORDS_START, .epoch = 4};
    struct wal_segment *s = NULL;
    _cleanup_wal_scan_ struct wal_scan scan;
    const struct wal_label label = {1, 77, fixture_identity};
    const char *step;

    for (uint32_t epoch = 4; epoch >= 3; epoch--) {
        r.epoch = epoch;
        wal_record_encode(&r, 77, WAL_RECORDS_START + records.len, &records);
    }
    assert_int_equal(wal_segment_create(wal_mem_disk(m), &label, FIXTURE_SEGMENT,
                         strbuf_bytes(&records), NULL, &s, &step),
        0);
    wal_scan_init(&scan, s);
    assert_true(wal_scan_next(&scan, &r));
    assert_int_equal(r.epoch, 4);
    assert_false(wal_scan_next(&scan, &r));
    assert_int_equal(scan.at, WAL_RECORDS_START + 48);
    (void)wal_segment_free(s);
    (void)wal_mem_free(m);
}

TEST(wal, a_missing_or_foreign_segment_is_corruption)
{
    uint64_t segments, other_segments;
    struct wal_mem *m = make_long_log(&segments), *copy = wal_mem_clone(m);
    const struct wal_disk_ops *ops = wal_mem_disk(m)->ops;
    struct strbuf *two;

    assert_int_equal(ops->unlink(wal_mem_disk(copy), WAL_FOLDER_LOG, "0000000000000002.seg"), 0);
    {
        _cleanup_err_ struct err e = {0};
        struct wal_recovery rec;
        struct wal *w = NULL;

        assert_int_equal(fixture_try_open(copy, &w, &rec, &e), DECREE_ECORRUPT);
        assert_non_null(strstr(e.text, "begins at index"));
    }
    (void)wal_mem_free(copy);

    copy = wal_mem_clone(m);
    two = wal_mem_bytes(copy, WAL_FOLDER_LOG, "0000000000000002.seg");
    memcpy(bytes_of(copy), two->data, MIN(two->len, (size_t)FIXTURE_SEGMENT));
    check_refused(copy);

    copy = make_long_log(&other_segments);
    two = wal_mem_bytes(copy, WAL_FOLDER_LOG, "0000000000000002.seg");
    two->data[WAL_RECORDS_START + 48] ^= 1; /* its head: the cluster */
    check_refused(copy);
    (void)wal_mem_free(m);
}

TEST(wal, an_unreadable_block_is_corruption_before_the_mark)
{
    size_t second_last, end;
    struct wal_mem *m = make_log(12, &second_last, &end);

    wal_mem_fail_read(m, first_segment, second_last - RECORD);
    check_refused(m);
}

/* A segment used again holds old records with the right structure, but another salt. */
TEST(wal, records_of_an_earlier_life_never_come_back)
{
    struct wal_mem *m = wal_mem_new(3);
    struct wal_recovery rec;
    struct wal *w = fixture_open(m, &rec);
    uint64_t index = 0;

    for (int round = 0; round < 30; round++) {
        for (int i = 0; i < 12; i++, index += 4) {
            fixture_append(w, 2, index + 1, 4, PAYLOAD);
        }
        assert_int_equal(
            fixture_snapshot(w, (struct wal_snapshot_id){.term = 2, .index = index}, 1), 0);
        wal_compact(w, (struct wal_snapshot_id){.term = 2, .index = index}, index + 1);
        wal_poll(w);
        if (round % 3 == 2) {
            fixture_append(w, 2, index + 1, 3, PAYLOAD);
            index += 3;
            m = fixture_kill(m, w, &rec);
            w = fixture_open(m, &rec);
            assert_int_equal(rec.snapshot.index, index - 3);
            assert_int_equal(rec.n_entries, 3);
            fixture_check_entry(&rec.entries[2], index, 2, PAYLOAD);
            assert_int_equal(rec.torn_bytes, 0);
            wal_recovery_deinit(&rec);
        }
    }
    {
        struct wal_stats stats;

        wal_stats(w, &stats);
        assert_true(stats.disk_bytes < 12 * FIXTURE_SEGMENT);
    }
    fixture_close(w, &rec);
    (void)wal_mem_free(m);
}

TEST_MAIN(UNIT(wal, a_tail_damaged_from_any_byte_of_the_last_two_records_boots),
    UNIT(wal, a_batch_of_two_damaged_from_any_byte_boots),
    UNIT(wal, any_single_lost_sector_of_the_last_batch_is_a_tear),
    UNIT(wal, a_lost_sector_of_the_last_two_records_is_a_tear_wherever_they_lie),
    UNIT(wal, remains_behind_a_tear_never_come_back),
    UNIT(wal, each_of_1000_bit_flips_before_the_mark_is_detected),
    UNIT(wal, every_bit_of_a_header_counts),
    UNIT(wal, length_and_type_changed_in_any_way_are_corruption),
    UNIT(wal, zeros_in_a_confirmed_record_are_corruption),
    UNIT(wal, the_last_record_of_a_finished_segment_counts),
    UNIT(wal, a_record_copied_over_another_is_corruption), UNIT(wal, a_stale_block_is_corruption),
    UNIT(wal, the_last_batch_is_vouched_for_after_a_clean_close),
    UNIT(wal, the_last_batch_is_vouched_for_by_the_next_start),
    UNIT(wal, what_recovery_reports_survives_a_failed_fsync_before_it),
    UNIT(wal, a_record_of_an_older_epoch_ends_the_log),
    UNIT(wal, a_missing_or_foreign_segment_is_corruption),
    UNIT(wal, an_unreadable_block_is_corruption_before_the_mark),
    UNIT(wal, records_of_an_earlier_life_never_come_back))
