/* The real disk: what it refuses and how it says so, and that each call does what wal_disk.h says.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc.h"
#include "wal_disk.h"

struct folder {
    char path[64];
    struct wal_disk *disk;
};

static void init(struct folder *f)
{
    (void)snprintf(f->path, sizeof(f->path), "/tmp/decree-disk-XXXXXX");
    assert_non_null(mkdtemp(f->path));
    f->disk = wal_disk_posix_new();
}

static void deinit(struct folder *f)
{
    _cleanup_free_ char *command = xasprintf("rm -rf '%s'", f->path);

    f->disk = wal_disk_posix_free(f->disk);
    assert_int_equal(system(command), 0);
}

static char *path_of(const struct folder *f, const char *name)
{
    return xasprintf("%s/%s", f->path, name);
}

/* Attaching fails with that code and a text that has the words. */
static void assert_refused(struct folder *f, int code, const char *words)
{
    _cleanup_err_ struct err e = {0};

    assert_int_equal(f->disk->ops->attach(f->disk, f->path, &e), code);
    if (e.text == NULL || strstr(e.text, words) == NULL) {
        fail_msg("said: %s", e.text != NULL ? e.text : "nothing");
    }
}

TEST(disk, a_file_in_the_place_of_a_folder_is_named)
{
    static const char *const names[] = {"wal", "snap"};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        _cleanup_free_ char *path = NULL;
        struct folder f;

        init(&f);
        path = path_of(&f, names[i]);
        assert_int_equal(close(open(path, O_CREAT | O_WRONLY, 0600)), 0);
        assert_refused(&f, -ENOTDIR, path);
        deinit(&f);
    }
}

TEST(disk, a_lock_that_cannot_be_opened_is_named)
{
    _cleanup_free_ char *path = NULL;
    struct folder f;

    init(&f);
    path = path_of(&f, "LOCK");
    assert_int_equal(mkdir(path, 0700), 0);
    assert_refused(&f, -EISDIR, path);
    deinit(&f);
}

/* A link would let somebody else choose which file is written. */
TEST(disk, a_lock_that_is_a_link_is_refused)
{
    _cleanup_free_ char *path = NULL;
    struct folder f;

    init(&f);
    path = path_of(&f, "LOCK");
    assert_int_equal(symlink("/tmp/nowhere", path), 0);
    assert_refused(&f, -ELOOP, path);
    deinit(&f);
}

TEST(disk, a_data_directory_that_is_a_file_or_cannot_be_made_is_named)
{
    _cleanup_free_ char *file = NULL;
    _cleanup_err_ struct err e = {0}, below = {0};
    _cleanup_free_ char *inside = NULL;
    struct folder f;

    init(&f);
    file = path_of(&f, "file");
    inside = path_of(&f, "file/data");
    assert_int_equal(close(open(file, O_CREAT | O_WRONLY, 0600)), 0);
    assert_true(f.disk->ops->attach(f.disk, file, &e) < 0);
    assert_non_null(strstr(e.text, file));
    assert_true(f.disk->ops->attach(f.disk, inside, &below) < 0);
    assert_non_null(strstr(below.text, file));
    deinit(&f);
}

TEST(disk, a_directory_of_another_user_is_refused)
{
    struct folder f;

    if (geteuid() != 0) {
        skip(); /* only root can give a directory away */
    }
    init(&f);
    assert_int_equal(chown(f.path, 12345, (gid_t)-1), 0);
    assert_refused(&f, -EACCES, "belongs to uid 12345");
    deinit(&f);
}

TEST(disk, the_lock_goes_with_detach)
{
    struct wal_disk *other = wal_disk_posix_new();
    _cleanup_err_ struct err e = {0};
    struct folder f;

    init(&f);
    assert_int_equal(f.disk->ops->attach(f.disk, f.path, NULL), 0);
    assert_int_equal(other->ops->attach(other, f.path, &e), -EBUSY);
    f.disk->ops->detach(f.disk);
    assert_int_equal(other->ops->attach(other, f.path, NULL), 0);
    other->ops->detach(other);
    (void)wal_disk_posix_free(other);
    deinit(&f);
}

static void count(void *data, const char *name, uint64_t bytes)
{
    uint64_t *sum = data;

    assert_true(name[0] == 'f');
    *sum += bytes;
}

TEST(disk, files_are_made_once_found_listed_and_grown)
{
    const enum wal_folder wal = WAL_FOLDER_LOG;
    _cleanup_free_ char *folder = NULL;
    const struct wal_disk_ops *ops;
    struct wal_file *file = NULL;
    uint64_t size = 0, listed = 0;
    char back[16] = {0};
    struct folder f;
    size_t n = 0;

    init(&f);
    ops = f.disk->ops;
    folder = path_of(&f, "wal/not a file");
    assert_int_equal(ops->attach(f.disk, f.path, NULL), 0);
    assert_int_equal(ops->open(f.disk, wal, "f", false, &file), -ENOENT);
    assert_int_equal(ops->open(f.disk, wal, "f", true, &file), 0);
    assert_int_equal(ops->allocate(file, 100000), 0);
    assert_int_equal(ops->size(file, &size), 0);
    assert_int_equal(size, 100000);
    assert_int_equal(ops->allocate(file, 500), 0); /* never shrinks */
    assert_int_equal(ops->size(file, &size), 0);
    assert_int_equal(size, 100000);
    assert_int_equal(ops->pwrite(file, 99998, BYTES_LITERAL("end!")), 0);
    assert_int_equal(ops->sync(file), 0);
    ops->drop_cache(file);
    assert_int_equal(ops->pread(file, 99998, back, sizeof(back), &n), 0);
    assert_int_equal(n, 4); /* only to the end of the file */
    assert_memory_equal(back, "end!", 4);
    ops->close(file);
    assert_int_equal(ops->open(f.disk, wal, "f", true, &file), -EEXIST);
    assert_int_equal(mkdir(folder, 0700), 0);
    assert_int_equal(ops->list(f.disk, wal, count, &listed), 0);
    assert_int_equal(listed, 100002);
    assert_int_equal(ops->rename(f.disk, wal, "g", "h"), -ENOENT);
    assert_int_equal(ops->rename(f.disk, wal, "f", "fresh"), 0);
    assert_int_equal(ops->unlink(f.disk, wal, "f"), -ENOENT);
    assert_int_equal(ops->unlink(f.disk, wal, "fresh"), 0);
    assert_int_equal(ops->sync_dir(f.disk, wal), 0);
    ops->detach(f.disk);
    deinit(&f);
}

/* A limit on the size of files is an error of the write, not the end of the process. */
static int write_beyond_a_limit(struct folder *f)
{
    const struct rlimit limit = {8192, 8192};
    const struct wal_disk_ops *ops = f->disk->ops;
    struct wal_file *file = NULL;

    if (ops->attach(f->disk, f->path, NULL) < 0 ||
        ops->open(f->disk, WAL_FOLDER_LOG, "f", true, &file) < 0 ||
        setrlimit(RLIMIT_FSIZE, &limit) < 0) {
        return 1;
    }
    if (ops->pwrite(file, 8000, BYTES_LITERAL("fits")) != 0) {
        return 2;
    }
    /* The part that fits is written first. */
    if (ops->pwrite(file, 8190, BYTES_LITERAL("does not")) != -EFBIG) {
        return 3;
    }
    if (ops->allocate(file, 10000) != -EFBIG) {
        return 4;
    }
    ops->close(file);
    ops->detach(f->disk);
    f->disk = wal_disk_posix_free(f->disk);
    return 0;
}

TEST(disk, a_file_size_limit_is_an_error_with_a_name)
{
    struct folder f;
    int status;
    pid_t pid;

    init(&f);
    pid = fork();
    if (pid == 0) {
        exit(write_beyond_a_limit(&f));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    deinit(&f);
}

/* No file can be opened any more: the listing says so, and works again afterwards. */
static int list_without_files(struct folder *f)
{
    const struct wal_disk_ops *ops = f->disk->ops;
    struct rlimit limit, before;
    uint64_t sum = 0;
    int rc;

    if (ops->attach(f->disk, f->path, NULL) < 0 || getrlimit(RLIMIT_NOFILE, &before) < 0) {
        return 1;
    }
    limit = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
        return 1;
    }
    rc = ops->list(f->disk, WAL_FOLDER_LOG, count, &sum);
    if (setrlimit(RLIMIT_NOFILE, &before) < 0 || rc != -EMFILE) {
        return 2;
    }
    if (ops->list(f->disk, WAL_FOLDER_LOG, count, &sum) != 0) {
        return 3;
    }
    ops->detach(f->disk);
    f->disk = wal_disk_posix_free(f->disk);
    return 0;
}

TEST(disk, a_lack_of_file_descriptors_is_an_error_with_a_name)
{
    struct folder f;
    int status;
    pid_t pid;

    init(&f);
    pid = fork();
    if (pid == 0) {
        exit(list_without_files(&f));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    deinit(&f);
}

/* ---- a file that lies anywhere: backups ---- */

static int plain_open(const char *path, struct wal_file **ret)
{
    struct wal_disk *d = wal_disk_plain();

    return d->ops->open(d, WAL_FOLDER_SNAP, path, false, ret);
}

TEST(plain, a_file_is_read_from_anywhere_and_never_made)
{
    struct folder f;
    struct wal_file *file;
    struct wal_disk *d = wal_disk_plain();
    _cleanup_free_ char *path = NULL;
    uint64_t size = 0;
    char text[16];
    size_t n;
    int fd;

    init(&f);
    path = path_of(&f, "backup");
    assert_int_equal(d->ops->open(d, WAL_FOLDER_SNAP, path, true, &file), -EROFS);
    assert_int_equal(plain_open(path, &file), -ENOENT);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "0123456789", 10), 10);
    (void)close(fd);
    assert_int_equal(plain_open(path, &file), 0);
    assert_int_equal(d->ops->size(file, &size), 0);
    assert_int_equal(size, 10);
    assert_int_equal(d->ops->pread(file, 4, text, sizeof(text), &n), 0);
    assert_int_equal(n, 6); /* less at the end only */
    assert_memory_equal(text, "456789", 6);
    assert_int_equal(d->ops->pread(file, 2, text, 3, &n), 0);
    assert_int_equal(n, 3);
    assert_memory_equal(text, "234", 3);
    assert_int_equal(d->ops->pread(file, 11, text, sizeof(text), &n), 0);
    assert_int_equal(n, 0);
    d->ops->drop_cache(file);
    d->ops->close(file);
    deinit(&f);
}

TEST(plain, what_is_no_file_is_said_to_be_none)
{
    struct folder f;
    struct wal_file *file;
    struct wal_disk *d = wal_disk_plain();
    uint64_t size;
    char byte;
    size_t n;

    init(&f);
    assert_int_equal(plain_open(f.path, &file), 0);
    assert_int_equal(d->ops->size(file, &size), -EISDIR);
    assert_int_equal(d->ops->pread(file, 0, &byte, 1, &n), -EISDIR);
    d->ops->close(file);
    assert_int_equal(plain_open("/dev/null", &file), 0);
    assert_int_equal(d->ops->size(file, &size), -EINVAL);
    d->ops->close(file);
    deinit(&f);
}

TEST_MAIN(UNIT(disk, a_file_in_the_place_of_a_folder_is_named),
    UNIT(disk, a_lock_that_cannot_be_opened_is_named), UNIT(disk, a_lock_that_is_a_link_is_refused),
    UNIT(disk, a_data_directory_that_is_a_file_or_cannot_be_made_is_named),
    UNIT(disk, a_directory_of_another_user_is_refused), UNIT(disk, the_lock_goes_with_detach),
    UNIT(disk, files_are_made_once_found_listed_and_grown),
    UNIT(disk, a_file_size_limit_is_an_error_with_a_name),
    UNIT(disk, a_lack_of_file_descriptors_is_an_error_with_a_name),
    UNIT(plain, a_file_is_read_from_anywhere_and_never_made),
    UNIT(plain, what_is_no_file_is_said_to_be_none))
