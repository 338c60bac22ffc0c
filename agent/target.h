/* The file on this host that a resource becomes, and the folder it lives in. Blocking calls, made
 * for a worker thread; nothing here is shared between two targets.
 *
 * What is refused rather than guessed:
 *   - a folder that anybody may write to without the sticky bit: a stranger could swap the stage;
 *   - a dest that is a symbolic link, since a rename would silently turn the link into a file: name
 *     the file it leads to instead;
 *   - a dest that is no regular file, or that is a mount point of its own (EBUSY): replacing it in
 *     place is not atomic, so the folder must be mounted instead. */
#ifndef DECREE_AGENT_TARGET_H
#define DECREE_AGENT_TARGET_H

#include <sys/stat.h>

#include "file.h"

enum { TARGET_FILE_MAX = 64 * 1024 * 1024 }; /* what a render may be at most */

struct target_spec {
    const char *dest;
    uid_t uid; /* (uid_t)-1: as the file is, else the agent's */
    gid_t gid;
    bool has_mode;
    mode_t mode;
};

/* An opened folder and what is there now. Initialise with TARGET_INIT. */
struct target {
    const struct target_spec *spec; /* borrowed */
    const char *name;               /* within spec->dest */
    int dir_fd;                     /* owned; held so that a renamed folder cannot be swapped in */
    bool exists;
    struct file_attrs attrs; /* of the file that is there */
    uint64_t changed_ms;     /* of the file that is there: wall time of its last write */
    struct strbuf bytes;     /* of the file that is there */
    struct stat staged;      /* as target_stage left the stage */
};

#define TARGET_INIT                                                                                \
    {                                                                                              \
        .dir_fd = -1                                                                               \
    }

/* Opens the folder and reads the file in it, if there is one. -errno with a text that says what to
 * do about it. */
int target_open(struct target *t, const struct target_spec *spec, struct err *reterr);
void target_close(struct target *t);
#define _cleanup_target_ _cleanup_(target_close)

/* Owner and mode that the file shall have: from the spec, else as they are, else 0644 and the
 * agent's own. */
struct file_attrs target_wanted_attrs(const struct target *t);
bool target_attrs_match(const struct target *t);
/* Gives an existing file the wanted owner and mode. */
int target_fix_attrs(const struct target *t, struct err *reterr);

/* Writes contents beside the file, synced, with the given attributes. */
int target_stage(
    struct target *t, struct bytes contents, const struct file_attrs *attrs, struct err *reterr);
/* Makes the stage live: rename, then fsync of the folder. -ESTALE when what has the stage's name is
 * no longer what target_stage wrote: a check may have edited or replaced it, and nobody checked
 * that. */
int target_commit(const struct target *t, struct err *reterr);
/* Removes a stage, also one that a crash left behind; none is fine. */
void target_drop_stage(const struct target *t);
/* The stage's absolute path; the caller's. */
char *target_stage_path(const char *dest);

#endif
