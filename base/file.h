/* Whole-file reads and the one way to replace a file: either the old bytes or the new ones survive
 * a crash at any moment, never a mixture. */
#ifndef DECREE_BASE_FILE_H
#define DECREE_BASE_FILE_H

#include <sys/stat.h>
#include <sys/types.h>

#include "buf.h"
#include "err.h"

/* Reads all of path into ret (appended). -EFBIG beyond size_max bytes. */
int file_read(const char *path, size_t size_max, struct strbuf *ret, struct err *reterr);
int file_read_at(
    int dir_fd, const char *name, size_t size_max, struct strbuf *ret, struct err *reterr);

/* Writes all of b, going on after short writes. -errno. */
int file_write_all(int fd, struct bytes b);

/* What a replaced file shall look like; (uid_t)-1, (gid_t)-1 leave the owner as created. */
struct file_attrs {
    mode_t mode;
    uid_t uid;
    gid_t gid;
};

/* Replaces dir_fd/name by contents: a new file ".NAME.decree-stage" beside it (O_EXCL, never a
 * symlink), owner and mode set on the descriptor before the first byte, fsync, rename, fsync of
 * the folder. On failure the old file is as it was and nothing is left behind. */
int file_replace_at(int dir_fd, const char *name, struct bytes contents,
    const struct file_attrs *attrs, struct err *reterr);
/* The two halves of the above, for who does something with the staged file in between:
 * file_stage_at leaves the synced stage file under ret_stage (a name in dir_fd, the caller's to
 * free); file_commit_at makes it live. Unlink the stage to give up. */
int file_stage_at(int dir_fd, const char *name, struct bytes contents,
    const struct file_attrs *attrs, char **ret_stage, struct err *reterr);
/* Likewise, and says what fstat said of the stage after the last byte was synced, so that it can be
 * told from anything that takes its name later. */
int file_stage_known_at(int dir_fd, const char *name, struct bytes contents,
    const struct file_attrs *attrs, char **ret_stage, struct stat *ret_st, struct err *reterr);
int file_commit_at(int dir_fd, const char *stage, const char *name, struct err *reterr);

/* fsync of a folder, so that names made or renamed in it survive a power cut. */
int dir_sync_fd(int dir_fd);
/* mkdir -p; folders that exist are left as they are. */
int dir_make(const char *path, mode_t mode, struct err *reterr);

#endif
