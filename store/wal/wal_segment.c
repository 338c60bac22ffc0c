#include "wal_segment.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "codec.h"
#include "crc32c.h"

/* Header page: magic, u32 version, u32 checksum of the page with this field zero, u64 seq, u64
 * salt, u64 cluster, u64 member, zeros. Magic, version and checksum stay where they are in every
 * version to come. In two other sectors the same 48 bytes once more, with a checksum of these
 * alone. One bit or sector that goes bad spoils at most the page and one of the copies. */
enum { AT_VERSION = 8, AT_CRC = 12, AT_SEQ = 16, AT_SALT = 24, AT_CLUSTER = 32, AT_MEMBER = 40 };
enum { LABEL_BYTES = 48, AT_COPY_1 = 1024, AT_COPY_2 = 3072, READ_TRIES = 3 };
enum { FILL_CHUNK = 256 * 1024, FILL_SYNC_EVERY = 4 << 20, SEQ_DIGITS = 16 };

static const uint8_t magic[8] = {'D', 'E', 'C', 'R', 'E', 'E', 'W', 'L'};
static const uint8_t zeros[FILL_CHUNK]; /* in no file and no memory until it is read */

static const char *const suffixes[] = {"", ".seg", ".prep", ".spare", ".damaged"};

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

/* Of n bytes that hold a label, with the checksum's own field as zero. */
static uint32_t label_crc(const uint8_t *p, size_t n)
{
    uint32_t crc = crc32c(0, p, AT_CRC);

    crc = crc32c(crc, zeros, 4);
    return crc32c(crc, p + AT_SEQ, n - AT_SEQ);
}

static void encode_label(uint8_t *p, const struct wal_label *l)
{
    memcpy(p, magic, sizeof(magic));
    put_u32(p + AT_VERSION, WAL_FORMAT_VERSION);
    put_u64(p + AT_SEQ, l->seq);
    put_u64(p + AT_SALT, l->salt);
    put_u64(p + AT_CLUSTER, l->owner.cluster_id);
    put_u64(p + AT_MEMBER, l->owner.member_id);
    put_u32(p + AT_CRC, label_crc(p, LABEL_BYTES));
}

static void encode_page(uint8_t page[WAL_PAGE_BYTES], const struct wal_label *l)
{
    memset(page, 0, WAL_PAGE_BYTES);
    encode_label(page + AT_COPY_1, l);
    encode_label(page + AT_COPY_2, l);
    encode_label(page, l);
    put_u32(page + AT_CRC, label_crc(page, WAL_PAGE_BYTES));
}

static struct wal_segment *segment_new(
    const struct wal_label *l, uint64_t bytes, struct wal_file *file_consume)
{
    struct wal_segment *s = xmalloc(sizeof(*s));

    *s = (struct wal_segment){
        .seq = l->seq, .salt = l->salt, .bytes = bytes, .file = file_consume, .owner = l->owner};
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

static int write_head(struct wal_file *f, const struct wal_label *l, struct bytes records)
{
    uint8_t page[WAL_PAGE_BYTES];
    int rc;

    encode_page(page, l);
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

/* One of that name is the rest of an attempt whose removal failed as well, and nobody's. */
static int open_prep(struct wal_disk *d, const char *name, struct wal_file **ret)
{
    int rc = d->ops->open(d, WAL_FOLDER_LOG, name, true, ret);

    if (rc == -EEXIST) {
        rc = d->ops->unlink(d, WAL_FOLDER_LOG, name);
        rc = rc == 0 ? d->ops->open(d, WAL_FOLDER_LOG, name, true, ret) : rc;
    }
    return rc;
}

int wal_segment_create(struct wal_disk *d, const struct wal_label *label, uint64_t bytes,
    struct bytes records, const atomic_bool *stop, struct wal_segment **ret, const char **ret_step)
{
    char name[WAL_SEGMENT_NAME_MAX];
    struct wal_file *f = NULL;
    int rc;

    decree_assert(bytes >= WAL_RECORDS_START + records.len);
    wal_segment_name(name, WAL_NAME_PREP, label->seq);
    *ret_step = "create";
    rc = open_prep(d, name, &f);
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
        rc = write_head(f, label, records);
    }
    if (rc == 0) {
        *ret_step = "fdatasync";
        rc = wal_file_sync(f);
    }
    if (rc == 0) {
        *ret_step = "rename";
        rc = publish(d, name, label->seq);
    }
    if (rc < 0) {
        (void)wal_file_close(f);
        (void)d->ops->unlink(d, WAL_FOLDER_LOG, name);
        return rc;
    }
    *ret = segment_new(label, bytes, f);
    return 0;
}

int wal_segment_reuse(struct wal_disk *d, uint64_t spare, const struct wal_label *label,
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
        rc = write_head(f, label, (struct bytes){0});
    }
    if (rc == 0) {
        *ret_step = "fdatasync";
        rc = wal_file_sync(f);
    }
    if (rc == 0) {
        *ret_step = "rename";
        rc = publish(d, name, label->seq);
    }
    if (rc == 0) {
        *ret = segment_new(label, bytes, TAKE_PTR(f));
    }
    return rc;
}

/* The first copy that is whole; NULL when none is. */
static const uint8_t *whole_label(const uint8_t page[WAL_PAGE_BYTES], bool *ret_damaged)
{
    static const struct {
        size_t at, n;
    } copies[] = {{0, WAL_PAGE_BYTES}, {AT_COPY_1, LABEL_BYTES}, {AT_COPY_2, LABEL_BYTES}};

    for (size_t i = 0; i < ARRAY_SIZE(copies); i++) {
        const uint8_t *p = page + copies[i].at;

        if (memcmp(p, magic, sizeof(magic)) == 0 &&
            get_u32(p + AT_CRC) == label_crc(p, copies[i].n)) {
            *ret_damaged = i > 0;
            return p;
        }
    }
    return NULL;
}

bool wal_segment_salt(struct bytes head, uint64_t *ret)
{
    bool damaged;
    const uint8_t *p = head.len >= WAL_PAGE_BYTES ? whole_label(head.data, &damaged) : NULL;

    if (p != NULL) {
        *ret = get_u64(p + AT_SALT);
    }
    return p != NULL;
}

static int check_label(
    const uint8_t *p, uint64_t seq, const char *name, struct wal_label *ret, struct err *reterr)
{
    if (p == NULL) {
        return err_set(reterr, DECREE_ECORRUPT,
            "wal/%s: damaged segment header at offset 0; " WAL_ADVICE, name);
    }
    if (get_u32(p + AT_VERSION) != WAL_FORMAT_VERSION) {
        return err_set(reterr, -ENOTSUP,
            "wal/%s has format version %" PRIu32 ", this program knows %d: the data directory was "
            "written by a newer version; run that one",
            name, get_u32(p + AT_VERSION), WAL_FORMAT_VERSION);
    }
    *ret = (struct wal_label){.seq = get_u64(p + AT_SEQ),
        .salt = get_u64(p + AT_SALT),
        .owner = {get_u64(p + AT_CLUSTER), get_u64(p + AT_MEMBER)}};
    if (ret->seq != seq) {
        return err_set(reterr, DECREE_ECORRUPT,
            "wal/%s: at offset 0 this is segment %016" PRIx64 ", misplaced; " WAL_ADVICE, name,
            ret->seq);
    }
    return 0;
}

/* A read that fails may succeed when it is tried again; that often and no more. */
static int read_page(struct wal_file *f, uint8_t page[WAL_PAGE_BYTES])
{
    size_t n = 0;
    int rc = -EIO;

    memset(page, 0, WAL_PAGE_BYTES);
    for (int i = 0; i < READ_TRIES && rc < 0; i++) {
        rc = wal_file_pread(f, 0, page, WAL_PAGE_BYTES, &n);
    }
    return rc;
}

int wal_segment_open(struct wal_disk *d, uint64_t seq, struct wal_segment **ret, struct err *reterr)
{
    char name[WAL_SEGMENT_NAME_MAX];
    _cleanup_wal_file_ struct wal_file *f = NULL;
    uint8_t page[WAL_PAGE_BYTES];
    struct wal_label label = {0};
    bool header_damaged = false;
    uint64_t bytes = 0;
    int rc;

    wal_segment_name(name, WAL_NAME_SEGMENT, seq);
    rc = d->ops->open(d, WAL_FOLDER_LOG, name, false, &f);
    if (rc == 0) {
        rc = d->ops->size(f, &bytes);
    }
    if (rc == 0) {
        rc = read_page(f, page);
    }
    if (rc < 0) {
        return err_set(reterr, rc == -EIO ? DECREE_ECORRUPT : rc,
            "wal/%s: cannot be read at offset 0: %s; " WAL_ADVICE, name, err_text(rc));
    }
    rc = check_label(whole_label(page, &header_damaged), seq, name, &label, reterr);
    if (rc == 0) {
        *ret = segment_new(&label, bytes, TAKE_PTR(f));
        (*ret)->header_damaged = header_damaged;
    }
    return rc;
}

int wal_segment_mend(struct wal_disk *d, struct wal_segment *s)
{
    const struct wal_label label = {s->seq, s->salt, s->owner};
    char name[WAL_SEGMENT_NAME_MAX];
    _cleanup_wal_file_ struct wal_file *f = NULL;
    int rc;

    wal_segment_name(name, WAL_NAME_SEGMENT, s->seq);
    rc = d->ops->open(d, WAL_FOLDER_LOG, name, false, &f);
    if (rc == 0) {
        rc = write_head(f, &label, (struct bytes){0});
    }
    if (rc == 0) {
        rc = wal_file_sync(f);
    }
    s->header_damaged = s->header_damaged && rc < 0;
    return rc;
}
