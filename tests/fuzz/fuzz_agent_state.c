/* What the agent left in its state folder and finds there again: the record of a file, and the
 * saved mirror. Damaged ones are told from whole ones by a checksum that the mutator makes right,
 * so that what stands behind it is reached: any bytes are refused, or give something that is saved
 * to the same again. The first byte says which of the two it is, the rest is the file. */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "codec.h"
#include "crc32c.h"
#include "mirror.h"
#include "record.h"

enum { MAGIC = 8, HEADER = MAGIC + 4 };

static int folder = -1;
static char folder_path[] = "/tmp/decree-fuzz-XXXXXX";

static void remove_folder(void)
{
    (void)unlinkat(folder, "r.record", 0);
    (void)rmdir(folder_path);
}

static void try_record(struct bytes b)
{
    _cleanup_record_ struct record r = {0}, again = {0};
    _cleanup_err_ struct err e = {0};
    int fd, rc;

    if (folder < 0) {
        decree_assert(mkdtemp(folder_path) != NULL);
        folder = open(folder_path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
        (void)atexit(remove_folder);
    }
    fd = openat(folder, "r.record", O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    decree_assert(fd >= 0 && write(fd, b.data, b.len) == (ssize_t)b.len);
    (void)close(fd);
    rc = record_load(folder, "r", "/etc/x", &r, &e);
    decree_assert(rc == 0 || rc == RECORD_NONE || (rc == -EBADMSG && e.text != NULL));
    if (rc != 0) {
        return;
    }
    rc = record_save(folder, "r", &r, NULL);
    decree_assert(rc == 0 && record_load(folder, "r", "/etc/x", &again, NULL) == 0);
    decree_assert(again.revision == r.revision && again.debt == r.debt &&
        again.taken_ms == r.taken_ms && again.attrs.mode == r.attrs.mode &&
        again.attrs.uid == r.attrs.uid && again.attrs.gid == r.attrs.gid &&
        bytes_eq(strbuf_bytes(&again.bytes), strbuf_bytes(&r.bytes)));
}

static void on_changed(void *data _unused_, size_t group _unused_, struct bytes key)
{
    (void)bytes_hash(key);
}

static struct mirror *new_mirror(void)
{
    char *one[] = {"/a/", "/c/"}, *two[] = {"/x/"};
    struct mirror *m = mirror_new(on_changed, NULL);

    (void)mirror_add_resource(m, ARRAY_SIZE(one), one);
    (void)mirror_add_resource(m, ARRAY_SIZE(two), two);
    mirror_build(m);
    return m;
}

static void try_mirror(struct bytes b)
{
    _cleanup_strbuf_ struct strbuf saved = {0}, again = {0};
    struct mirror *m = new_mirror(), *n = new_mirror();
    int groups = mirror_restore(m, b);

    if (groups > 0) {
        mirror_save(m, &saved);
        decree_assert(mirror_restore(n, strbuf_bytes(&saved)) == groups);
        mirror_save(n, &again);
        decree_assert(bytes_eq(strbuf_bytes(&saved), strbuf_bytes(&again)));
        for (size_t i = 0; i < mirror_n_regions(m); i++) {
            decree_assert(mirror_received(m, i) == mirror_received(n, i));
            decree_assert(mirror_region_count(m, i) == mirror_region_count(n, i));
        }
    }
    (void)mirror_free(m);
    (void)mirror_free(n);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    size = LLVMFuzzerMutate(data, size, size_max);
    if (size > 1 + HEADER && seed % 8 != 0) {
        memcpy(data + 1, (data[0] & 1) != 0 ? "DECMIR01" : "DECREC01", MAGIC);
        put_u32(data + 1 + MAGIC, crc32c(0, data + 1 + HEADER, size - 1 - HEADER));
    }
    return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0 && (data[0] & 1) != 0) {
        try_mirror(bytes_make(data + 1, size - 1));
    } else if (size > 0) {
        try_record(bytes_make(data + 1, size - 1));
    }
    return 0;
}
