#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "codec.h"
#include "crc32c.h"
#include "target.h"

/* magic, crc32c of the body, body. The number in the magic is the format's. */
static const char magic[8] = "DECREC01";
enum {
    HEADER = sizeof(magic) + 4,
    RECORD_MAX = TARGET_FILE_MAX + 64 * 1024,
};

static char *file_name(const char *name)
{
    return xasprintf("%s.record", name);
}

static int decode(struct bytes b, struct record *r)
{
    struct bytes body, dest, bytes;
    struct dec d;

    if (b.len < HEADER || memcmp(b.data, magic, sizeof(magic)) != 0) {
        return -EBADMSG;
    }
    body = bytes_make(b.data + HEADER, b.len - HEADER);
    if (get_u32(b.data + sizeof(magic)) != crc32c(0, body.data, body.len)) {
        return -EBADMSG;
    }
    d = dec_make(body);
    dest = dec_bytes(&d);
    r->revision = (int64_t)dec_u64(&d);
    r->debt = dec_u8(&d) != 0;
    r->taken_ms = dec_u64(&d);
    r->attrs.mode = dec_u32(&d);
    r->attrs.uid = dec_u32(&d);
    r->attrs.gid = dec_u32(&d);
    bytes = dec_bytes(&d);
    if (!dec_done(&d)) {
        return -EBADMSG;
    }
    r->dest = xstrndup((const char *)dest.data, dest.len);
    strbuf_append_bytes(&r->bytes, bytes);
    return 0;
}

int record_load(
    int units_fd, const char *name, const char *dest, struct record *ret, struct err *reterr)
{
    _cleanup_free_ char *file = file_name(name);
    _cleanup_strbuf_ struct strbuf b = {0};
    int rc;

    *ret = (struct record){0};
    if (faccessat(units_fd, file, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT) {
        return RECORD_NONE;
    }
    rc = file_read_at(units_fd, file, RECORD_MAX, &b, reterr);
    if (rc < 0) {
        return rc;
    }
    if (decode(strbuf_bytes(&b), ret) < 0) {
        return err_set(reterr, -EBADMSG, "%s is damaged", file);
    }
    if (strcmp(ret->dest, dest) != 0) {
        record_deinit(ret);
        return RECORD_NONE;
    }
    return 0;
}

int record_save(int units_fd, const char *name, const struct record *r, struct err *reterr)
{
    static const struct file_attrs private = {.mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1};
    _cleanup_free_ char *file = file_name(name);
    _cleanup_strbuf_ struct strbuf b = {0};

    strbuf_append(&b, magic, sizeof(magic));
    enc_u32(&b, 0);
    enc_bytes(&b, bytes_str(r->dest));
    enc_u64(&b, (uint64_t)r->revision);
    enc_u8(&b, r->debt);
    enc_u64(&b, r->taken_ms);
    enc_u32(&b, r->attrs.mode);
    enc_u32(&b, r->attrs.uid);
    enc_u32(&b, r->attrs.gid);
    enc_bytes(&b, strbuf_bytes(&r->bytes));
    put_u32(b.data + sizeof(magic), crc32c(0, b.data + HEADER, b.len - HEADER));
    return file_replace_at(units_fd, file, strbuf_bytes(&b), &private, reterr);
}

void record_remove(int units_fd, const char *name)
{
    _cleanup_free_ char *file = file_name(name);

    (void)unlinkat(units_fd, file, 0);
}

void record_deinit(struct record *r)
{
    free(r->dest);
    strbuf_deinit(&r->bytes);
    *r = (struct record){0};
}
