/* A damaged log is opened for repair: what is whole is kept, the newest term that is told anywhere
 * with it, and the mark of repair stays until a hard state takes it away. */
#include "wal_fixture.h"

#include "codec.h"

enum { ENTRIES = 5, PAYLOAD = 90, TERM = 2 };

static int salvage(
    struct wal_mem *m, struct wal **ret, struct wal_recovery *rec, struct err *reterr)
{
    const struct wal_options o = {
        .dir = "d", .segment_bytes = FIXTURE_SEGMENT, .disk = wal_mem_disk(m), .salvage = true};

    return wal_open(&o, ret, rec, reterr);
}

static struct wal *salvage_open(struct wal_mem *m, struct wal_recovery *rec)
{
    _cleanup_err_ struct err e = {0};
    struct wal *w = NULL;

    if (salvage(m, &w, rec, &e) < 0) {
        print_error("%s\n", e.text);
        fail();
    }
    return w;
}

/* One segment: HEAD, MARK, HARD, ENTRIES entries, MARK. */
static struct wal_mem *make_log(void)
{
    struct wal_mem *m = wal_mem_new(3);
    struct wal_recovery rec;
    struct wal *w = fixture_open(m, &rec);

    fixture_hard(w, TERM, FIXTURE_VOTE);
    for (uint64_t i = 1; i <= ENTRIES; i++) {
        fixture_append(w, TERM, i, 1, PAYLOAD);
    }
    fixture_close(w, &rec);
    return m;
}

static const char first[] = "0000000000000001.seg";

static uint8_t *bytes_of(struct wal_mem *m)
{
    return wal_mem_bytes(m, WAL_FOLDER_LOG, first)->data;
}

static size_t end_of_log(struct wal_mem *m)
{
    const uint8_t *p = bytes_of(m);
    uint64_t salt = get_u64(p + 24);
    size_t at = WAL_RECORDS_START;
    struct wal_record r;

    while (wal_record_decode_header(p + at, salt, at, &r)) {
        at += wal_record_size(r.body.len);
    }
    return at;
}

static void check_entries(const struct wal_recovery *rec)
{
    for (size_t i = 0; i < rec->n_entries; i++) {
        fixture_check_entry(&rec->entries[i], i + 1, TERM, PAYLOAD);
    }
}

/* The repair lasts over restarts, takes entries meanwhile, and ends with a hard state. */
static void check_repair(struct wal_mem *m, struct wal *w, struct wal_recovery *rec)
{
    size_t n = rec->n_entries;

    assert_int_equal(wal_repair(w, rec, NULL), 0);
    fixture_close(w, rec);
    w = salvage_open(m, rec);
    assert_null(rec->damage);
    assert_true(rec->repairing);
    assert_int_equal(rec->n_entries, n);
    assert_int_equal(rec->identity.member_id, fixture_identity.member_id);
    check_entries(rec);
    fixture_append(w, TERM, n + 1, 1, PAYLOAD);
    fixture_hard(w, TERM + 1, 9);
    fixture_close(w, rec);
    w = salvage_open(m, rec);
    assert_false(rec->repairing);
    assert_int_equal(rec->term, TERM + 1);
    assert_int_equal(rec->n_entries, n + 1);
    check_entries(rec);
    fixture_close(w, rec);
}

TEST(wal, each_flipped_bit_of_a_small_log_is_detected_and_opened_for_repair)
{
    struct wal_mem *m = make_log();
    size_t end = end_of_log(m) - 48; /* the last record of all is a MARK, and holds nothing */

    for (size_t bit = (size_t)WAL_RECORDS_START * 8; bit < end * 8; bit++) {
        struct wal_mem *copy = wal_mem_clone(m);
        uint64_t ops = wal_mem_ops(copy);
        _cleanup_strbuf_ struct strbuf was = {0};
        struct wal_recovery rec;
        struct strbuf *kept;
        struct wal *w;

        bytes_of(copy)[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        strbuf_append_bytes(&was, strbuf_bytes(wal_mem_bytes(copy, WAL_FOLDER_LOG, first)));
        w = salvage_open(copy, &rec);
        assert_non_null(rec.damage);
        assert_non_null(strstr(rec.damage, "0000000000000001.seg: "));
        assert_non_null(strstr(rec.damage, "offset "));
        assert_true(wal_mem_ops(copy) == ops);
        assert_int_equal(rec.term, TERM);
        assert_true(rec.n_entries < ENTRIES || bit / 8 > end);
        check_entries(&rec);
        check_repair(copy, w, &rec);
        kept = wal_mem_bytes(copy, WAL_FOLDER_LOG, "0000000000000001.damaged");
        assert_non_null(kept);
        assert_true(bytes_eq(strbuf_bytes(kept), strbuf_bytes(&was)));
        (void)wal_mem_free(copy);
    }
    (void)wal_mem_free(m);
}

static void check_mended(const struct wal_mem *m, size_t from, size_t n, unsigned bit)
{
    struct wal_mem *copy = wal_mem_clone(m);
    _cleanup_strbuf_ struct strbuf was = {0};
    struct wal_recovery rec;

    strbuf_append_bytes(&was, bytes_make(bytes_of(copy), WAL_PAGE_BYTES));
    for (size_t i = from; i < from + n; i++) {
        bytes_of(copy)[i] ^= (uint8_t)(1u << bit);
    }
    fixture_close(fixture_open(copy, &rec), &rec);
    assert_memory_equal(bytes_of(copy), was.data, WAL_PAGE_BYTES);
    (void)wal_mem_free(copy);
}

TEST(wal, a_damaged_header_page_is_mended_from_its_copies)
{
    struct wal_mem *m = make_log();

    for (size_t at = 0; at < WAL_PAGE_BYTES; at += at % 512 < 48 ? 1 : 29) {
        for (unsigned bit = 0; bit < 8; bit++) {
            check_mended(m, at, 1, bit);
        }
    }
    for (size_t sector = 0; sector < WAL_PAGE_BYTES; sector += 512) {
        check_mended(m, sector, 512, 3);
    }
    (void)wal_mem_free(m);
}

TEST(wal, a_repair_survives_a_crash_at_each_of_its_steps)
{
    struct wal_mem *m = make_log();
    bool finished = false;

    bytes_of(m)[end_of_log(m) - 100] ^= 1; /* in the last entry */
    for (uint64_t nth = 1; !finished; nth++) {
        for (unsigned keep = 0; keep <= 100; keep += 50) {
            struct wal_mem *copy = wal_mem_clone(m);
            struct wal_recovery rec;
            struct wal *w = salvage_open(copy, &rec);

            assert_int_equal(rec.n_entries, ENTRIES - 1);
            wal_mem_die_at(copy, nth, keep);
            assert_int_equal(wal_repair(w, &rec, NULL), 0);
            finished = !wal_mem_is_dead(copy);
            fixture_close(w, &rec);
            copy = wal_mem_is_dead(copy) ? wal_mem_reborn(copy) : copy;
            w = salvage_open(copy, &rec);
            assert_true(rec.repairing);
            assert_int_equal(rec.n_entries, ENTRIES - 1);
            assert_int_equal(rec.term, TERM);
            check_entries(&rec);
            if (rec.damage != NULL) {
                check_repair(copy, w, &rec);
            } else {
                fixture_close(w, &rec);
            }
            assert_non_null(wal_mem_bytes(copy, WAL_FOLDER_LOG, "0000000000000001.damaged"));
            (void)wal_mem_free(copy);
        }
    }
    (void)wal_mem_free(m);
}

static size_t count_names(struct wal_mem *m, uint64_t up_to, const char *suffix)
{
    size_t n = 0;

    for (uint64_t seq = 1; seq <= up_to; seq++) {
        char name[40];

        (void)snprintf(name, sizeof(name), "%016" PRIx64 ".%s", seq, suffix);
        n += wal_mem_bytes(m, WAL_FOLDER_LOG, name) != NULL;
    }
    return n;
}

/* Nine segments; the second one is damaged: what lies before goes into the new log. */
TEST(wal, the_log_before_the_damage_is_kept_and_of_the_damaged_files_the_newest)
{
    struct wal_mem *m = wal_mem_new(9);
    struct wal_recovery rec;
    struct wal *w = fixture_open(m, &rec);
    size_t n;

    for (uint64_t i = 0; i < 10 * 100; i++) {
        fixture_append(w, TERM + i / 500, 1 + i, 1, PAYLOAD);
    }
    fixture_close(w, &rec);
    assert_true(count_names(m, 64, "seg") > 8);
    wal_mem_bytes(m, WAL_FOLDER_LOG, "0000000000000002.seg")->data[9000] ^= 4;
    w = salvage_open(m, &rec);
    assert_non_null(strstr(rec.damage, "0000000000000002.seg: damaged record"));
    assert_int_equal(rec.term, TERM + 1);
    n = rec.n_entries;
    assert_true(n > 100 && n < 250);
    assert_int_equal(wal_repair(w, &rec, NULL), 0);
    fixture_close(w, &rec);
    assert_int_equal(count_names(m, 64, "damaged"), 4);
    w = salvage_open(m, &rec);
    assert_true(rec.repairing && rec.damage == NULL);
    assert_int_equal(rec.term, TERM + 1);
    assert_int_equal(rec.n_entries, n);
    check_entries(&rec);
    fixture_close(w, &rec);
    (void)wal_mem_free(m);
}

/* What is fetched may fill segments before the repair is over, and each begins with what holds. */
TEST(wal, a_repair_outlasts_the_segments_that_are_fetched_meanwhile)
{
    struct wal_mem *m = make_log();
    struct wal_recovery rec;
    struct wal *w;
    size_t n;

    bytes_of(m)[WAL_RECORDS_START + 400] ^= 4;
    w = salvage_open(m, &rec);
    assert_non_null(rec.damage);
    n = rec.n_entries;
    assert_int_equal(wal_repair(w, &rec, NULL), 0);
    for (uint64_t i = 1; i <= 400; i++) {
        fixture_append(w, TERM, n + i, 1, PAYLOAD);
    }
    fixture_close(w, &rec);
    assert_true(count_names(m, 64, "seg") > 2);
    w = salvage_open(m, &rec);
    assert_null(rec.damage);
    assert_true(rec.repairing);
    assert_int_equal(rec.n_entries, n + 400);
    check_entries(&rec);
    fixture_close(w, &rec);
    (void)wal_mem_free(m);
}

TEST(wal, an_unreadable_block_is_opened_for_repair)
{
    struct wal_mem *m = make_log();
    struct wal_recovery rec;
    struct wal *w;

    wal_mem_fail_read(m, first, WAL_RECORDS_START + 400);
    w = salvage_open(m, &rec);
    assert_non_null(rec.damage);
    assert_true(rec.n_entries < ENTRIES);
    assert_int_equal(wal_repair(w, &rec, NULL), 0);
    wal_mem_fail_read(m, NULL, 0);
    fixture_close(w, &rec);
    (void)wal_mem_free(m);
}

TEST(wal, a_damaged_snapshot_that_nothing_replaces_is_put_away)
{
    static const char name[] = "0000000000000003-0000000000000064.snap";
    static const struct wal_snapshot_id received = {.term = 3, .index = 100};
    struct wal_mem *m = make_log();
    struct wal_recovery rec;
    struct wal *w = fixture_open(m, &rec);

    wal_recovery_deinit(&rec);
    assert_int_equal(fixture_snapshot(w, received, 5), 0);
    wal_reset(w, received);
    fixture_append(w, 3, 101, 2, 50);
    (void)wal_close(w);
    wal_mem_bytes(m, WAL_FOLDER_SNAP, name)->data[80] ^= 1;
    w = salvage_open(m, &rec);
    assert_non_null(strstr(rec.damage, name));
    assert_false(rec.has_snapshot);
    assert_int_equal(rec.n_entries, 0);
    assert_int_equal(rec.term, 3);
    check_repair(m, w, &rec);
    assert_null(wal_mem_bytes(m, WAL_FOLDER_SNAP, name));
    assert_non_null(
        wal_mem_bytes(m, WAL_FOLDER_SNAP, "0000000000000003-0000000000000064.snap.damaged"));
    (void)wal_mem_free(m);
}

/* The head's record is lost and with it what it says; the header page says it too. */
TEST(wal, a_member_that_does_not_know_who_it_is_says_so)
{
    struct wal_mem *m = make_log();
    _cleanup_err_ struct err e = {0};
    struct wal_recovery rec;
    struct wal *w;

    memset(bytes_of(m) + WAL_RECORDS_START, 0, 96);
    w = salvage_open(m, &rec);
    assert_int_equal(rec.identity.member_id, fixture_identity.member_id);
    assert_int_equal(rec.identity.cluster_id, fixture_identity.cluster_id);
    fixture_close(w, &rec);
    memset(bytes_of(m), 0, WAL_PAGE_BYTES);
    memset(wal_mem_bytes(m, WAL_FOLDER_LOG, "0000000000000002.seg")->data, 0, WAL_PAGE_BYTES);
    assert_int_equal(salvage(m, &w, &rec, &e), DECREE_ECORRUPT);
    assert_non_null(strstr(e.text, "which member this is"));
    (void)wal_mem_free(m);
}

TEST_MAIN(UNIT(wal, each_flipped_bit_of_a_small_log_is_detected_and_opened_for_repair),
    UNIT(wal, a_damaged_header_page_is_mended_from_its_copies),
    UNIT(wal, a_repair_survives_a_crash_at_each_of_its_steps),
    UNIT(wal, the_log_before_the_damage_is_kept_and_of_the_damaged_files_the_newest),
    UNIT(wal, a_repair_outlasts_the_segments_that_are_fetched_meanwhile),
    UNIT(wal, an_unreadable_block_is_opened_for_repair),
    UNIT(wal, a_damaged_snapshot_that_nothing_replaces_is_put_away),
    UNIT(wal, a_member_that_does_not_know_who_it_is_says_so))
