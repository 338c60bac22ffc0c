#include "wal_segment.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "codec.h"
#include "crc32c.h"

/* Header page: magic, u32 version, u32 checksum of the page with this field zero, u64 seq, u64
 * salt, zeros. Magic, version and checksum stay where they are in every version to come. */
enum { AT_VERSION = 8, AT_CRC = 12, AT_SEQ = 16, AT_SALT = 24 };
enum { FILL_CHUNK = 256 * 1024, FILL_SYNC_EVERY = 4 << 20, SEQ_DIGITS = 16 };

static const uint8_t magic[8] = {'D', 'E', 'C', 'R', 'E', 'E', 'W', 'L'};
static const uint8_t zeros[FILL_CHUNK]; /* in no file and no memory until it is read */

static const char *const suffixes[] = {"", ".seg", ".prep", ".spare"};

struct wal_segment *wal_segment_free(struct wal_segment *s)
{
    if (s != NULL) {
        (void)wal_file_close(s->file);
        free(s);
    }
    return NULL;
}

void wal_segment_name(char name[WAL_SEGMENT_NAME_MAX], enum wal_name_kind kind, uint64_t seq)
{
    (void)snprintf(name, WAL_SEGMENT_NAME_MAX, "%016" PRIx64 "%s", seq, suffixes[kind]);
}

enum wal_name_kind wal_segment_parse(const char *name, uint64_t *ret_seq)
{
    if (strspn(name, "0123456789abcdef") != SEQ_DIGITS) {
        return WAL_NAME_OTHER;
    }
    for (size_t i = WAL_NAME_SEGMENT; i < ARRAY_SIZE(suffixes); i++) {
        if (strcmp(name + SEQ_DIGITS, suffixes[i]) == 0) {
            *ret_seq = strtoull(name, NULL, 16);
            return (enum wal_name_kind)i;
        }
    }
    return WAL_NAME_OTHER;
}

static uint32_t page_crc(const uint8_t page[WAL_PAGE_BYTES])
{
    uint32_t crc = crc32c(0, page, AT_CRC);

    crc = crc32c(crc, zeros, 4);
    return crc32c(crc, page + AT_SEQ, WAL_PAGE_BYTES - AT_SEQ);
}

static void encode_page(uint8_t page[WAL_PAGE_BYTES], uint64_t seq, uint64_t salt)
{
    memset(page, 0, WAL_PAGE_BYTES);
    memcpy(page, magic, sizeof(magic));
    put_u32(page + AT_VERSION, WAL_FORMAT_VERSION);
    put_u64(page + AT_SEQ, seq);
    put_u64(page + AT_SALT, salt);
    put_u32(page + AT_CRC, page_crc(page));
}

static struct wal_segment *segment_new(
    uint64_t seq, uint64_t salt, uint64_t bytes, struct wal_file *file_consume)
{
    struct wal_segment *s = xmalloc(sizeof(*s));

    *s = (struct wal_segment){.seq = seq, .salt = salt, .bytes = bytes, .file = file_consume};
    list_init(&s->link);
    return s;
}

/* Zeros through every block. Synced every few MiB, so that the log's own fdatasync, which shares
 * the device, never queues behind all of it. */
static int fill_zeros(struct wal_file *f, uint64_t bytes, const atomic_bool *stop)
{
    for (uint64_t at = 0; at < bytes;) {
        size_t n = (size_t)MIN((uint64_t)FILL_CHUNK, bytes - at);
        int rc = wal_file_pwrite(f, at, bytes_make(zeros, n));

        at += n;
        if (rc == 0 && at % FILL_SYNC_EVERY == 0) {
            rc = wal_file_sync(f);
        }
        if (rc == 0 && stop != NULL && atomic_load(stop)) {
            rc = -ECANCELED;
        }
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static int write_head(struct wal_file *f, uint64_t seq, uint64_t salt, struct bytes records)
{
    uint8_t page[WAL_PAGE_BYTES];
    int rc;

    encode_page(page, seq, salt);
    rc = wal_file_pwrite(f, 0, bytes_make(page, sizeof(page)));
    return rc == 0 ? wal_file_pwrite(f, WAL_RECORDS_START, records) : rc;
}

static int publish(struct wal_disk *d, const char *from, uint64_t seq)
{
    char to[WAL_SEGMENT_NAME_MAX];
    int rc;

    wal_segment_name(to, WAL_NAME_SEGMENT, seq);
    rc = d->ops->rename(d, WAL_FOLDER_LOG, from, to);
    return rc == 0 ? d->ops->sync_dir(d, WAL_FOLDER_LOG) : rc;
}

int wal_segment_create(struct wal_disk *d, uint64_t seq, uint64_t salt, uint64_t bytes,
    struct bytes records, const atomic_bool *stop, struct wal_segment **ret, const char **ret_step)
{
    char name[WAL_SEGMENT_NAME_MAX];
    struct wal_file *f = NULL;
    int rc;

    decree_assert(bytes >= WAL_RECORDS_START + records.len);
    wal_segment_name(name, WAL_NAME_PREP, seq);
    *ret_step = "create";
    rc = d->ops->open(d, WAL_FOLDER_LOG, name, true, &f);
    if (rc < 0) {
        return rc;
    }
    *ret_step = "reserve";
    rc = d->ops->allocate(f, bytes);
    if (rc == 0) {
        *ret_step = "write";
        rc = fill_zeros(f, bytes, stop);
    }
    if (rc == 0) {
        rc = write_head(f, seq, salt, records);
    }
    if (rc == 0) {
        *ret_step = "fdatasync";
        rc = wal_file_sync(f);
    }
    if (rc == 0) {
        *ret_step = "rename";
        rc = publish(d, name, seq);
    }
    if (rc < 0) {
        (void)wal_file_close(f);
        (void)d->ops->unlink(d, WAL_FOLDER_LOG, name);
        return rc;
    }
    *ret = segment_new(seq, salt, bytes, f);
    return 0;
}

int wal_segment_reuse(struct wal_disk *d, uint64_t spare, uint64_t seq, uint64_t salt,
    struct wal_segment **ret, const char **ret_step)
{
    char name[WAL_SEGMENT_NAME_MAX];
    _cleanup_wal_file_ struct wal_file *f = NULL;
    uint64_t bytes;
    int rc;

    wal_segment_name(name, WAL_NAME_SPARE, spare);
    *ret_step = "open";
    rc = d->ops->open(d, WAL_FOLDER_LOG, name, false, &f);
    if (rc == 0) {
        rc = d->ops->size(f, &bytes);
    }
    if (rc == 0) {
        *ret_step = "write";
        rc = write_head(f, seq, salt, (struct bytes){0});
    }
    if (rc == 0) {
        *ret_step = "fdatasync";
        rc = wal_file_sync(f);
    }
    if (rc == 0) {
        *ret_step = "rename";
        rc = publish(d, name, seq);
    }
    if (rc == 0) {
        *ret = segment_new(seq, salt, bytes, TAKE_PTR(f));
    }
    return rc;
}

static int check_page(const uint8_t page[WAL_PAGE_BYTES], size_t n, uint64_t seq, const char *name,
    struct err *reterr)
{
    if (n < WAL_PAGE_BYTES || memcmp(page, magic, sizeof(magic)) != 0 ||
        get_u32(page + AT_CRC) != page_crc(page)) {
        return err_set(reterr, DECREE_ECORRUPT,
            "wal/%s: damaged segment header at offset 0; " WAL_ADVICE, name);
    }
    if (get_u32(page + AT_VERSION) != WAL_FORMAT_VERSION) {
        return err_set(reterr, -ENOTSUP,
            "wal/%s has format version %" PRIu32 ", this program knows %d: the data directory was "
            "written by a newer version; run that one",
            name, get_u32(page + AT_VERSION), WAL_FORMAT_VERSION);
    }
    if (get_u64(page + AT_SEQ) != seq) {
        return err_set(reterr, DECREE_ECORRUPT,
            "wal/%s: at offset 0 this is segment %016" PRIx64 ", misplaced; " WAL_ADVICE, name,
            get_u64(page + AT_SEQ));
    }
    return 0;
}

int wal_segment_open(struct wal_disk *d, uint64_t seq, struct wal_segment **ret, struct err *reterr)
{
    char name[WAL_SEGMENT_NAME_MAX];
    _cleanup_wal_file_ struct wal_file *f = NULL;
    uint8_t page[WAL_PAGE_BYTES];
    uint64_t bytes = 0;
    size_t n = 0;
    int rc;

    wal_segment_name(name, WAL_NAME_SEGMENT, seq);
    rc = d->ops->open(d, WAL_FOLDER_LOG, name, false, &f);
    if (rc == 0) {
        rc = d->ops->size(f, &bytes);
    }
    if (rc == 0) {
        rc = wal_file_pread(f, 0, page, sizeof(page), &n);
    }
    if (rc < 0) {
        return err_set(reterr, rc, "cannot read wal/%s: %s", name, err_text(rc));
    }
    rc = check_page(page, n, seq, name, reterr);
    if (rc == 0) {
        *ret = segment_new(seq, get_u64(page + AT_SALT), bytes, TAKE_PTR(f));
    }
    return rc;
}
