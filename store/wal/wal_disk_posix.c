#include "wal_disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include "alloc.h"
#include "file.h"

struct posix_disk {
    struct wal_disk base;
    int dir_fd;
    int lock_fd; /* holds the lock for as long as it is open */
    int folder_fd[WAL_FOLDER_END_];
};

struct posix_file {
    struct wal_file base;
    int fd;
};

static const char *const folder_names[] = {"wal", "snap"};
_Static_assert(ARRAY_SIZE(folder_names) == WAL_FOLDER_END_, "every folder has a name");

static struct posix_disk *disk_of(struct wal_disk *d)
{
    return container_of(d, struct posix_disk, base);
}

static int fd_of(struct wal_file *f)
{
    return container_of(f, struct posix_file, base)->fd;
}

/* ---- the data directory ---- */

/* Nothing but what a data directory holds; an empty folder is one, too. */
static bool looks_like_ours(int dir_fd)
{
    int copy = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
    bool empty = true, has_lock = false;
    struct dirent *e;

    if (dir == NULL) {
        cleanup_close_(&copy);
        return false;
    }
    while ((e = readdir(dir)) != NULL) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            empty = false;
            has_lock = has_lock || strcmp(e->d_name, "LOCK") == 0;
        }
    }
    closedir(dir);
    return empty || has_lock;
}

/* Keys may be secrets, so the folder is 0700. One of our own is put right; what may be somebody's
 * home is never re-moded behind their back. */
static int check_mode(int dir_fd, const char *dir, struct err *reterr)
{
    struct stat st;

    if (fstat(dir_fd, &st) < 0) {
        int rc = -errno;

        return err_set(reterr, rc, "cannot examine %s: %s", dir, strerror(-rc));
    }
    if (st.st_uid != geteuid()) {
        return err_set(reterr, -EACCES,
            "the data directory %s belongs to uid %ju, but this process runs as uid %ju: run it as "
            "the owner or chown the directory",
            dir, (uintmax_t)st.st_uid, (uintmax_t)geteuid());
    }
    if ((st.st_mode & 077) == 0) {
        return 0;
    }
    if (!looks_like_ours(dir_fd) || fchmod(dir_fd, 0700) < 0) {
        return err_set(reterr, -EACCES,
            "the data directory %s is open to other users (mode %04o): chmod 0700 it, or name an "
            "empty directory",
            dir, (unsigned)(st.st_mode & 07777));
    }
    return 0;
}

/* An open file description lock: it dies with the process, however it ends, and also keeps out a
 * second log in this process. The pid inside is for people. */
static int take_lock(struct posix_disk *d, const char *dir, struct err *reterr)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int rc;

    d->lock_fd = openat(d->dir_fd, "LOCK", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (d->lock_fd < 0) {
        rc = -errno;
        return err_set(reterr, rc, "cannot open %s/LOCK: %s", dir, strerror(-rc));
    }
    if (fcntl(d->lock_fd, F_OFD_SETLK, &lock) < 0) {
        char pid[32] = {0};

        rc = -errno;
        if (rc != -EAGAIN && rc != -EACCES) {
            return err_set(reterr, rc, "cannot lock %s/LOCK: %s", dir, strerror(-rc));
        }
        if (pread(d->lock_fd, pid, sizeof(pid) - 1, 0) <= 0) {
            memcpy(pid, "unknown", sizeof("unknown"));
        }
        return err_set(reterr, -EBUSY,
            "the data directory %s is in use by process %.*s: stop it first", dir,
            (int)strcspn(pid, "\n"), pid);
    }
    if (ftruncate(d->lock_fd, 0) < 0 || dprintf(d->lock_fd, "%ld\n", (long)getpid()) < 0) {
        rc = -errno;
        return err_set(reterr, rc, "cannot write %s/LOCK: %s", dir, strerror(-rc));
    }
    return 0;
}

static int open_folder(
    struct posix_disk *d, const char *dir, enum wal_folder folder, struct err *reterr)
{
    const char *name = folder_names[folder];
    int rc;

    if (mkdirat(d->dir_fd, name, 0700) < 0 && errno != EEXIST) {
        rc = -errno;
        return err_set(reterr, rc, "cannot make %s/%s: %s", dir, name, strerror(-rc));
    }
    d->folder_fd[folder] = openat(d->dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (d->folder_fd[folder] < 0) {
        rc = -errno;
        return err_set(reterr, rc, "cannot open %s/%s: %s", dir, name, strerror(-rc));
    }
    if (fchmod(d->folder_fd[folder], 0700) < 0) {
        rc = -errno;
        return err_set(reterr, rc, "cannot set the mode of %s/%s: %s", dir, name, strerror(-rc));
    }
    return 0;
}

/* The name of the data directory itself must survive a power cut as well. */
static int sync_parent(int dir_fd)
{
    _cleanup_close_ int parent = openat(dir_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    /* A parent that we may not read is not ours to make durable. */
    return parent < 0 ? 0 : dir_sync_fd(parent);
}

static void posix_detach(struct wal_disk *base)
{
    struct posix_disk *d = disk_of(base);

    for (int i = 0; i < WAL_FOLDER_END_; i++) {
        cleanup_close_(&d->folder_fd[i]);
        d->folder_fd[i] = -1;
    }
    cleanup_close_(&d->lock_fd);
    cleanup_close_(&d->dir_fd);
    d->lock_fd = d->dir_fd = -1;
}

static int attach_steps(struct posix_disk *d, const char *dir, struct err *reterr)
{
    int rc = dir_make(dir, 0700, reterr);

    if (rc < 0) {
        return rc;
    }
    d->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->dir_fd < 0) {
        rc = -errno;
        return err_set(reterr, rc, "cannot open the data directory %s: %s", dir, strerror(-rc));
    }
    rc = check_mode(d->dir_fd, dir, reterr);
    if (rc == 0) {
        rc = take_lock(d, dir, reterr);
    }
    for (int i = 0; i < WAL_FOLDER_END_ && rc == 0; i++) {
        rc = open_folder(d, dir, (enum wal_folder)i, reterr);
    }
    if (rc == 0 && ((rc = dir_sync_fd(d->dir_fd)) < 0 || (rc = sync_parent(d->dir_fd)) < 0)) {
        (void)err_set(reterr, rc, "cannot sync %s: %s", dir, strerror(-rc));
    }
    return rc;
}

static int posix_attach(struct wal_disk *base, const char *dir, struct err *reterr)
{
    /* A file size limit (RLIMIT_FSIZE) shall be the error EFBIG, which is handled like a full disk,
     * and not the end of the process. */
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    int rc;

    (void)sigaction(SIGXFSZ, &ignore, NULL);
    rc = attach_steps(disk_of(base), dir, reterr);
    if (rc < 0) {
        posix_detach(base);
    }
    return rc;
}

/* ---- names ---- */

static int posix_list(struct wal_disk *base, enum wal_folder folder, wal_disk_each each, void *data)
{
    int fd = openat(disk_of(base)->folder_fd[folder], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *e;
    int rc = 0;

    if (dir == NULL) {
        rc = -errno;
        cleanup_close_(&fd);
        return rc;
    }
    while (errno = 0, (e = readdir(dir)) != NULL) {
        struct stat st;

        if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode)) {
            each(data, e->d_name, (uint64_t)st.st_size);
        }
    }
    rc = -errno;
    closedir(dir);
    return rc;
}

static int posix_open(struct wal_disk *base, enum wal_folder folder, const char *name, bool create,
    struct wal_file **ret)
{
    int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | (create ? O_CREAT | O_EXCL : 0);
    int fd = openat(disk_of(base)->folder_fd[folder], name, flags, 0600);
    struct posix_file *f;

    if (fd < 0) {
        return -errno;
    }
    f = xmalloc(sizeof(*f));
    *f = (struct posix_file){.base.disk = base, .fd = fd};
    *ret = &f->base;
    return 0;
}

static int posix_rename(
    struct wal_disk *base, enum wal_folder folder, const char *from, const char *to)
{
    int fd = disk_of(base)->folder_fd[folder];

    return renameat(fd, from, fd, to) < 0 ? -errno : 0;
}

static int posix_unlink(struct wal_disk *base, enum wal_folder folder, const char *name)
{
    return unlinkat(disk_of(base)->folder_fd[folder], name, 0) < 0 ? -errno : 0;
}

static int posix_sync_dir(struct wal_disk *base, enum wal_folder folder)
{
    return dir_sync_fd(disk_of(base)->folder_fd[folder]);
}

/* ---- files ---- */

static void posix_close(struct wal_file *base)
{
    struct posix_file *f = container_of(base, struct posix_file, base);

    cleanup_close_(&f->fd);
    free(f);
}

static int posix_size(struct wal_file *f, uint64_t *ret)
{
    struct stat st;

    if (fstat(fd_of(f), &st) < 0) {
        return -errno;
    }
    *ret = (uint64_t)st.st_size;
    return 0;
}

static int posix_pread(struct wal_file *f, uint64_t offset, void *p, size_t n, size_t *ret_n)
{
    size_t done = 0;

    while (done < n) {
        ssize_t got = pread(fd_of(f), (uint8_t *)p + done, n - done, (off_t)(offset + done));

        if (got == 0) {
            break;
        }
        if (got < 0) {
            if (errno == EINTR) {
                continue;
            }
            return -errno;
        }
        done += (size_t)got;
    }
    *ret_n = done;
    return 0;
}

static int posix_pwrite(struct wal_file *f, uint64_t offset, struct bytes b)
{
    while (b.len > 0) {
        ssize_t n = pwrite(fd_of(f), b.data, b.len, (off_t)offset);

        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            return -errno;
        }
        b.data += n;
        b.len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

static int posix_sync(struct wal_file *f)
{
    return fdatasync(fd_of(f)) < 0 ? -errno : 0;
}

static int posix_allocate(struct wal_file *f, uint64_t size)
{
    uint64_t now;
    int rc = posix_size(f, &now);

    if (rc < 0 || now >= size) {
        return rc;
    }
    if (fallocate(fd_of(f), 0, (off_t)now, (off_t)(size - now)) == 0) {
        return 0;
    }
    /* File systems without it find out about a full disk while the zeros are written. */
    if (errno == EOPNOTSUPP) {
        return ftruncate(fd_of(f), (off_t)size) < 0 ? -errno : 0;
    }
    return -errno;
}

static void posix_drop_cache(struct wal_file *f)
{
    (void)posix_fadvise(fd_of(f), 0, 0, POSIX_FADV_DONTNEED);
}

static uint64_t posix_random(struct wal_disk *d _unused_)
{
    uint64_t v;

    if (getrandom(&v, sizeof(v), 0) != (ssize_t)sizeof(v)) {
        decree_fatal("getrandom failed: %s", strerror(errno));
    }
    return v;
}

static uint64_t posix_now_ns(struct wal_disk *d _unused_)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static const struct wal_disk_ops posix_ops = {
    .attach = posix_attach,
    .detach = posix_detach,
    .list = posix_list,
    .open = posix_open,
    .rename = posix_rename,
    .unlink = posix_unlink,
    .sync_dir = posix_sync_dir,
    .close = posix_close,
    .size = posix_size,
    .pread = posix_pread,
    .pwrite = posix_pwrite,
    .sync = posix_sync,
    .allocate = posix_allocate,
    .drop_cache = posix_drop_cache,
    .random = posix_random,
    .now_ns = posix_now_ns,
};

struct wal_disk *wal_disk_posix_new(void)
{
    struct posix_disk *d = xmalloc(sizeof(*d));

    *d = (struct posix_disk){.base.ops = &posix_ops, .dir_fd = -1, .lock_fd = -1};
    for (int i = 0; i < WAL_FOLDER_END_; i++) {
        d->folder_fd[i] = -1;
    }
    return &d->base;
}

struct wal_disk *wal_disk_posix_free(struct wal_disk *d)
{
    if (d != NULL) {
        posix_detach(d);
        free(disk_of(d));
    }
    return NULL;
}
