#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

enum { MODE_DEFAULT = 0644, MODE_BITS = 07777 };

static char *stage_name(const char *name)
{
    return xasprintf(".%s.decree-stage", name); /* as file_stage_at calls it */
}

static int open_folder(struct target *t, struct err *reterr)
{
    size_t len = (size_t)(t->name - t->spec->dest);
    _cleanup_free_ char *folder = xstrndup(t->spec->dest, len > 1 ? len - 1 : len);
    struct stat st;
    int rc;

    t->dir_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (t->dir_fd < 0 || fstat(t->dir_fd, &st) < 0) {
        rc = -errno;
        return err_set(reterr, rc, "cannot open the folder %s: %s", folder, strerror(-rc));
    }
    if ((st.st_mode & S_IWOTH) != 0 && (st.st_mode & S_ISVTX) == 0) {
        return err_set(reterr, -EPERM,
            "the folder %s is writable by everybody, so that anybody could replace the file: "
            "chmod o-w it",
            folder);
    }
    return 0;
}

static int refuse_kind(const struct target *t, mode_t mode, struct err *reterr)
{
    char to[PATH_MAX];
    ssize_t n;

    if (!S_ISLNK(mode)) {
        return err_set(reterr, -EINVAL, "%s exists and is not a regular file", t->spec->dest);
    }
    n = readlinkat(t->dir_fd, t->name, to, sizeof(to) - 1);
    to[MAX(n, 0)] = '\0';
    return err_set(reterr, -ELOOP,
        "%s is a symbolic link to %s, which a rename would turn into a file: name the file it "
        "leads to in dest",
        t->spec->dest, to);
}

static int read_file(struct target *t, struct err *reterr)
{
    struct stat st;
    int rc;

    if (fstatat(t->dir_fd, t->name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        if (errno == ENOENT) {
            return 0;
        }
        rc = -errno;
        return err_set(reterr, rc, "cannot look at %s: %s", t->spec->dest, strerror(-rc));
    }
    if (!S_ISREG(st.st_mode)) {
        return refuse_kind(t, st.st_mode, reterr);
    }
    t->exists = true;
    t->attrs =
        (struct file_attrs){.mode = st.st_mode & MODE_BITS, .uid = st.st_uid, .gid = st.st_gid};
    t->changed_ms = (uint64_t)st.st_mtim.tv_sec * 1000 + (uint64_t)st.st_mtim.tv_nsec / 1000000;
    return file_read_at(t->dir_fd, t->name, TARGET_FILE_MAX, &t->bytes, reterr);
}

int target_open(struct target *t, const struct target_spec *spec, struct err *reterr)
{
    int rc;

    t->spec = spec;
    t->name = strrchr(spec->dest, '/') + 1;
    rc = open_folder(t, reterr);
    return rc < 0 ? rc : read_file(t, reterr);
}

void target_close(struct target *t)
{
    cleanup_close_(&t->dir_fd);
    t->dir_fd = -1;
    strbuf_deinit(&t->bytes);
}

struct file_attrs target_wanted_attrs(const struct target *t)
{
    const struct target_spec *s = t->spec;
    struct file_attrs a = {.mode = MODE_DEFAULT, .uid = (uid_t)-1, .gid = (gid_t)-1};

    if (t->exists) {
        a = t->attrs;
    }
    if (s->has_mode) {
        a.mode = s->mode;
    }
    if (s->uid != (uid_t)-1) {
        a.uid = s->uid;
    }
    if (s->gid != (gid_t)-1) {
        a.gid = s->gid;
    }
    return a;
}

bool target_attrs_match(const struct target *t)
{
    struct file_attrs want = target_wanted_attrs(t);

    return want.mode == t->attrs.mode && want.uid == t->attrs.uid && want.gid == t->attrs.gid;
}

int target_fix_attrs(const struct target *t, struct err *reterr)
{
    struct file_attrs want = target_wanted_attrs(t);
    _cleanup_close_ int fd = openat(t->dir_fd, t->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    int rc = 0;

    /* chown clears set-id bits, so the mode comes last. */
    if (fd < 0 || fchown(fd, want.uid, want.gid) < 0 || fchmod(fd, want.mode) < 0) {
        rc = -errno;
        return err_set(
            reterr, rc, "cannot set owner and mode of %s: %s", t->spec->dest, strerror(-rc));
    }
    return rc;
}

int target_stage(
    struct target *t, struct bytes contents, const struct file_attrs *attrs, struct err *reterr)
{
    _cleanup_free_ char *stage = NULL;

    return file_stage_known_at(t->dir_fd, t->name, contents, attrs, &stage, &t->staged, reterr);
}

/* The very file that was staged, with nothing written to it since. */
static bool is_staged(const struct target *t, const struct stat *st)
{
    const struct stat *s = &t->staged;

    return S_ISREG(st->st_mode) && st->st_dev == s->st_dev && st->st_ino == s->st_ino &&
        st->st_size == s->st_size && st->st_mtim.tv_sec == s->st_mtim.tv_sec &&
        st->st_mtim.tv_nsec == s->st_mtim.tv_nsec;
}

/* Between the two steps a check was run, which may write anywhere the agent may. */
static int verify_stage(const struct target *t, const char *stage, struct err *reterr)
{
    struct stat st = {0};
    int rc;

    if (fstatat(t->dir_fd, stage, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno != ENOENT) {
        rc = -errno;
        return err_set(reterr, rc, "cannot look at the staged file %s: %s", stage, strerror(-rc));
    }
    if (!is_staged(t, &st)) {
        return err_set(reterr, -ESTALE,
            "the staged file %s was changed or replaced before it went live (by its check?)",
            stage);
    }
    return 0;
}

int target_commit(const struct target *t, struct err *reterr)
{
    _cleanup_free_ char *stage = stage_name(t->name);
    int rc = verify_stage(t, stage, reterr);

    if (rc < 0) {
        return rc;
    }
    rc = file_commit_at(t->dir_fd, stage, t->name, reterr);
    if (rc == -EBUSY) {
        err_set(reterr, rc,
            "%s is a mount point of its own (a bind-mounted file?) and cannot be replaced as a "
            "whole: mount its folder instead",
            t->spec->dest);
    }
    return rc;
}

void target_drop_stage(const struct target *t)
{
    _cleanup_free_ char *stage = stage_name(t->name);

    (void)unlinkat(t->dir_fd, stage, 0);
}

char *target_stage_path(const char *dest)
{
    const char *name = strrchr(dest, '/') + 1;
    _cleanup_free_ char *stage = stage_name(name);

    return xasprintf("%.*s%s", (int)(name - dest), dest, stage);
}
