/* A disk that misbehaves, for tests with real processes: preloaded into decreed, it stands before
 * the calls by which the log and the snapshots reach their files.
 *
 * DECREE_SHIM_CONTROL names a file of struct control, which is mapped and looked at in every call,
 * so that a test turns a fault on and off while the process runs. Only files under
 * DECREE_SHIM_FOLDER are concerned. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum op { OP_PWRITE = 1, OP_FDATASYNC = 2, OP_PREAD = 4, OP_FALLOCATE = 8 };
enum action { ACT_NONE, ACT_ERROR, ACT_DELAY_MS, ACT_HANG, ACT_SHORT };

struct control {
    _Atomic uint32_t action;   /* enum action */
    _Atomic uint32_t ops;      /* of enum op, those concerned */
    _Atomic uint32_t argument; /* errno, milliseconds */
    _Atomic uint32_t skip;     /* so many calls pass first */
    _Atomic uint32_t limit;    /* so many calls are hit; 0 = all */
    _Atomic uint32_t hits;     /* were hit so far */
    char name[64];             /* part of the file's path; empty = all */
};

static struct control *control;
static const char *folder;

static void *next(const char *name)
{
    void *p = dlsym(RTLD_NEXT, name);

    if (p == NULL) {
        abort();
    }
    return p;
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("DECREE_SHIM_CONTROL");
    int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *p;

    folder = getenv("DECREE_SHIM_FOLDER");
    if (fd < 0 || folder == NULL) {
        return;
    }
    p = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    control = p != MAP_FAILED ? p : NULL;
}

static int is_concerned(int fd)
{
    char link[64], path[PATH_MAX];
    ssize_t n;

    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof(path) - 1);
    if (n < 0) {
        return 0;
    }
    path[n] = '\0';
    return strncmp(path, folder, strlen(folder)) == 0 && strstr(path, control->name) != NULL;
}

static void sleep_ms(uint32_t ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    (void)nanosleep(&t, NULL);
}

/* What is to happen to this call; delays and hanging are over on return. */
static enum action strike(enum op op, int fd)
{
    int error = errno;
    enum action action;

    if (control == NULL || control->action == ACT_NONE || (control->ops & (uint32_t)op) == 0 ||
        !is_concerned(fd)) {
        errno = error;
        return ACT_NONE;
    }
    if (control->skip > 0) {
        control->skip--;
        return ACT_NONE;
    }
    if (control->limit != 0 && control->hits >= control->limit) {
        return ACT_NONE;
    }
    control->hits++;
    action = (enum action)control->action;
    if (action == ACT_DELAY_MS) {
        sleep_ms(control->argument);
    }
    while (action == ACT_HANG && control->action == ACT_HANG) {
        sleep_ms(5);
    }
    errno = error;
    return action;
}

static int fails(enum action action)
{
    if (action == ACT_ERROR) {
        errno = (int)control->argument;
    }
    return action == ACT_ERROR;
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t offset)
{
    static ssize_t (*real)(int, const void *, size_t, off_t);
    enum action action = strike(OP_PWRITE, fd);

    real = real != NULL ? real : (ssize_t(*)(int, const void *, size_t, off_t))next("pwrite");
    return fails(action) ? -1 : real(fd, p, action == ACT_SHORT && n > 1 ? n / 2 : n, offset);
}

ssize_t pread(int fd, void *p, size_t n, off_t offset)
{
    static ssize_t (*real)(int, void *, size_t, off_t);
    enum action action = strike(OP_PREAD, fd);

    real = real != NULL ? real : (ssize_t(*)(int, void *, size_t, off_t))next("pread");
    return fails(action) ? -1 : real(fd, p, action == ACT_SHORT && n > 1 ? n / 2 : n, offset);
}

int fdatasync(int fd)
{
    static int (*real)(int);
    enum action action = strike(OP_FDATASYNC, fd);

    real = real != NULL ? real : (int (*)(int))next("fdatasync");
    return fails(action) ? -1 : real(fd);
}

int fallocate(int fd, int mode, off_t offset, off_t n)
{
    static int (*real)(int, int, off_t, off_t);
    enum action action = strike(OP_FALLOCATE, fd);

    real = real != NULL ? real : (int (*)(int, int, off_t, off_t))next("fallocate");
    return fails(action) ? -1 : real(fd, mode, offset, n);
}
