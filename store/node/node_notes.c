#include "node_notes.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alloc.h"
#include "file.h"
#include "log.h"

#define INCARNATION_FILE "incarnation"
#define REMOVED_FILE "removed"
#define FORCED_FILE "forced-new-cluster"

enum {
    INCARNATION_TEXT = 17, /* hex digits and a newline */
    REMOVED_BYTES_MAX = 256,
};

static const struct file_attrs attrs = {.mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1};

static int open_dir(const char *data_dir)
{
    return open(data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* ---- incarnation ---- */

static int write_incarnation(int dir_fd, uint64_t incarnation, struct err *reterr)
{
    char text[INCARNATION_TEXT + 1];

    (void)snprintf(text, sizeof(text), "%016" PRIx64 "\n", incarnation);
    return file_replace_at(dir_fd, INCARNATION_FILE, bytes_str(text), &attrs, reterr);
}

static uint64_t parse_incarnation(const char *text)
{
    char *end;
    uint64_t incarnation = strtoull(text, &end, 16);

    return *end == '\n' ? incarnation : 0;
}

int node_incarnation_load(const char *data_dir, bool is_new, uint64_t known, uint64_t fresh,
    uint64_t *ret, struct err *reterr)
{
    _cleanup_close_ int dir_fd = open_dir(data_dir);
    _cleanup_strbuf_ struct strbuf text = {0};
    int err;

    decree_assert(fresh != 0);
    if (dir_fd < 0) {
        return err_set(reterr, -errno, "%s: %s", data_dir, strerror(errno));
    }
    err =
        is_new ? -ENOENT : file_read_at(dir_fd, INCARNATION_FILE, INCARNATION_TEXT, &text, reterr);
    if (err == -ENOENT) {
        if (reterr != NULL) {
            err_clear(reterr);
        }
        *ret = is_new || known == 0 ? fresh : known;
        return write_incarnation(dir_fd, *ret, reterr);
    }
    if (err < 0) {
        return err_prefix(reterr, "%s", data_dir);
    }
    *ret = parse_incarnation(strbuf_cstr(&text));
    if (known != 0 && known != *ret) {
        log_warn("the file %s/%s is damaged: written again", data_dir, INCARNATION_FILE);
        *ret = known;
        return write_incarnation(dir_fd, known, reterr);
    }
    if (*ret == 0) {
        return err_set(reterr, DECREE_ECORRUPT, "%s/%s: not a number", data_dir, INCARNATION_FILE);
    }
    return 0;
}

/* ---- removed ---- */

void node_mark_removed(const char *data_dir, uint64_t id, uint64_t cluster_id)
{
    _cleanup_close_ int dir_fd = open_dir(data_dir);
    _cleanup_free_ char *text =
        xasprintf("member %016" PRIx64 " of cluster %016" PRIx64, id, cluster_id);
    _cleanup_err_ struct err err = {0};

    if (dir_fd < 0 || file_replace_at(dir_fd, REMOVED_FILE, bytes_str(text), &attrs, &err) < 0) {
        log_warn("%s: the mark of a removed member could not be written: %s", data_dir,
            err.text != NULL ? err.text : strerror(errno));
    }
}

int node_check_removed(const char *data_dir, const char *name, struct err *reterr)
{
    _cleanup_close_ int dir_fd = open_dir(data_dir);
    _cleanup_strbuf_ struct strbuf text = {0};

    if (dir_fd < 0 || file_read_at(dir_fd, REMOVED_FILE, REMOVED_BYTES_MAX, &text, NULL) < 0) {
        return 0;
    }
    return err_set(reterr, DECREE_EINVALID_CONFIG,
        "%s belongs to %s, which has been removed from the cluster: it must not come back; remove "
        "the directory, then add the member anew (decree member add %s --peer-urls URL)",
        data_dir, strbuf_cstr(&text), name);
}

/* ---- forced ---- */

bool node_force_is_due(const char *data_dir, bool asked)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", data_dir, FORCED_FILE);
    bool done = access(path, F_OK) == 0;

    if (asked && done) {
        log_warn("--force-new-cluster: this was done at an earlier start and is not done again: "
                 "take the option away dir=%s",
            data_dir);
    } else if (done) {
        (void)unlink(path);
    }
    return asked && !done;
}

void node_force_note(const char *data_dir)
{
    _cleanup_err_ struct err err = {0};
    _cleanup_close_ int dir_fd = open_dir(data_dir);

    if (dir_fd < 0 || file_replace_at(dir_fd, FORCED_FILE, BYTES_LITERAL(""), &attrs, &err) < 0) {
        log_error("--force-new-cluster: take the option away before the next start, that it was "
                  "obeyed cannot be noted: %s",
            err.text != NULL ? err.text : strerror(errno));
    }
}
