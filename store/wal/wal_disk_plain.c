#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc.h"
#include "wal_disk.h"

struct plain_file {
    struct wal_file file;
    int fd; /* owned */
};

static struct plain_file *plain_of(struct wal_file *f)
{
    return container_of(f, struct plain_file, file);
}

static int plain_open(struct wal_disk *d, enum wal_folder folder _unused_, const char *name,
    bool create, struct wal_file **ret)
{
    int fd = create ? -1 : open(name, O_RDONLY | O_CLOEXEC);
    struct plain_file *f;

    if (fd < 0) {
        return create ? -EROFS : -errno;
    }
    f = xcalloc(1, sizeof(*f));
    f->file.disk = d;
    f->fd = fd;
    *ret = &f->file;
    return 0;
}

static void plain_close(struct wal_file *file)
{
    (void)close(plain_of(file)->fd);
    free(plain_of(file));
}

static int plain_size(struct wal_file *file, uint64_t *ret)
{
    struct stat st;

    if (fstat(plain_of(file)->fd, &st) < 0) {
        return -errno;
    }
    if (!S_ISREG(st.st_mode)) {
        return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
    }
    *ret = (uint64_t)st.st_size;
    return 0;
}

static int plain_pread(struct wal_file *file, uint64_t offset, void *p, size_t n, size_t *ret_n)
{
    *ret_n = 0;
    while (*ret_n < n) {
        ssize_t got =
            pread(plain_of(file)->fd, (char *)p + *ret_n, n - *ret_n, (off_t)(offset + *ret_n));

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return -errno;
        }
        if (got == 0) {
            break;
        }
        *ret_n += (size_t)got;
    }
    return 0;
}

static void plain_drop_cache(struct wal_file *file)
{
    (void)posix_fadvise(plain_of(file)->fd, 0, 0, POSIX_FADV_DONTNEED);
}

struct wal_disk *wal_disk_plain(void)
{
    static const struct wal_disk_ops ops = {.open = plain_open,
        .close = plain_close,
        .size = plain_size,
        .pread = plain_pread,
        .drop_cache = plain_drop_cache};
    static struct wal_disk disk = {.ops = &ops};

    return &disk;
}
