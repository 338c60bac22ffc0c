#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

enum { READ_CHUNK = 64 * 1024 };

static int read_fd(int fd, size_t size_max, struct strbuf *ret)
{
    size_t before = ret->len;

    for (;;) {
        uint8_t *p = strbuf_reserve(ret, READ_CHUNK);
        ssize_t n = read(fd, p, READ_CHUNK);

        if (n == 0) {
            return 0;
        }
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            return -errno;
        }
        ret->len += (size_t)n;
        if (ret->len - before > size_max) {
            return -EFBIG;
        }
    }
}

int file_read_at(
    int dir_fd, const char *name, size_t size_max, struct strbuf *ret, struct err *reterr)
{
    _cleanup_close_ int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    int rc;

    if (fd < 0) {
        rc = -errno;
        return err_set(reterr, rc, "cannot open %s: %s", name, strerror(-rc));
    }
    rc = read_fd(fd, size_max, ret);
    if (rc == -EFBIG) {
        return err_set(reterr, rc, "%s is larger than %zu bytes", name, size_max);
    }
    if (rc < 0) {
        return err_set(reterr, rc, "cannot read %s: %s", name, strerror(-rc));
    }
    return 0;
}

int file_read(const char *path, size_t size_max, struct strbuf *ret, struct err *reterr)
{
    return file_read_at(AT_FDCWD, path, size_max, ret, reterr);
}

int file_write_all(int fd, struct bytes b)
{
    while (b.len > 0) {
        ssize_t n = write(fd, b.data, b.len);

        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            return -errno;
        }
        b.data += n;
        b.len -= (size_t)n;
    }
    return 0;
}

/* Owner before mode, since chown clears set-id bits; both before the first byte can be read. */
static int fill_stage(int fd, struct bytes contents, const struct file_attrs *attrs)
{
    int rc;

    if ((attrs->uid != (uid_t)-1 || attrs->gid != (gid_t)-1) &&
        fchown(fd, attrs->uid, attrs->gid) < 0) {
        return -errno;
    }
    if (fchmod(fd, attrs->mode) < 0) {
        return -errno;
    }
    rc = file_write_all(fd, contents);
    if (rc < 0) {
        return rc;
    }
    return fsync(fd) < 0 ? -errno : 0;
}

int file_stage_at(int dir_fd, const char *name, struct bytes contents,
    const struct file_attrs *attrs, char **ret_stage, struct err *reterr)
{
    struct stat st;

    return file_stage_known_at(dir_fd, name, contents, attrs, ret_stage, &st, reterr);
}

int file_stage_known_at(int dir_fd, const char *name, struct bytes contents,
    const struct file_attrs *attrs, char **ret_stage, struct stat *ret_st, struct err *reterr)
{
    /* A leading dot and an ending of our own: no "*.conf" or "*" of a service picks it up. */
    _cleanup_free_ char *stage = xasprintf(".%s.decree-stage", name);
    _cleanup_close_ int fd = -1;
    int rc;

    /* What a crash left behind goes first; one stage name per target keeps leftovers bounded. */
    if (unlinkat(dir_fd, stage, 0) < 0 && errno != ENOENT) {
        rc = -errno;
        return err_set(reterr, rc, "cannot remove the old %s: %s", stage, strerror(-rc));
    }
    fd = openat(dir_fd, stage, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        rc = -errno;
        return err_set(reterr, rc, "cannot create %s: %s", stage, strerror(-rc));
    }
    rc = fill_stage(fd, contents, attrs);
    if (rc == 0 && fstat(fd, ret_st) < 0) {
        rc = -errno;
    }
    if (rc < 0) {
        (void)unlinkat(dir_fd, stage, 0);
        return err_set(reterr, rc, "cannot write %s: %s", stage, strerror(-rc));
    }
    *ret_stage = TAKE_PTR(stage);
    return 0;
}

int file_commit_at(int dir_fd, const char *stage, const char *name, struct err *reterr)
{
    int rc;

    if (renameat(dir_fd, stage, dir_fd, name) < 0) {
        rc = -errno;
        return err_set(reterr, rc, "cannot rename %s to %s: %s", stage, name, strerror(-rc));
    }
    rc = dir_sync_fd(dir_fd);
    if (rc < 0) {
        return err_set(reterr, rc, "cannot sync the folder of %s: %s", name, strerror(-rc));
    }
    return 0;
}

int file_replace_at(int dir_fd, const char *name, struct bytes contents,
    const struct file_attrs *attrs, struct err *reterr)
{
    _cleanup_free_ char *stage = NULL;
    int rc = file_stage_at(dir_fd, name, contents, attrs, &stage, reterr);

    if (rc < 0) {
        return rc;
    }
    rc = file_commit_at(dir_fd, stage, name, reterr);
    if (rc < 0) {
        (void)unlinkat(dir_fd, stage, 0);
    }
    return rc;
}

int dir_sync_fd(int dir_fd)
{
    return fsync(dir_fd) < 0 ? -errno : 0;
}

int dir_make(const char *path, mode_t mode, struct err *reterr)
{
    _cleanup_free_ char *copy = xstrdup(path);
    int rc;

    for (char *p = copy + 1; *copy != '\0'; p++) {
        char c = *p;

        if (c != '/' && c != '\0') {
            continue;
        }
        *p = '\0';
        if (mkdir(copy, mode) < 0 && errno != EEXIST) {
            rc = -errno;
            return err_set(reterr, rc, "cannot make the folder %s: %s", copy, strerror(-rc));
        }
        *p = c;
        if (c == '\0') {
            break;
        }
    }
    return 0;
}
