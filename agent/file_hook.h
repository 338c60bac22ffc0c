/* The commands of a file's life: check, reload, verification. One at a time for each file, run as
 * hooks (hook.h) on the loop. */
#ifndef DECREE_AGENT_FILE_HOOK_H
#define DECREE_AGENT_FILE_HOOK_H

#include "hook.h"
#include "resource.h"

enum { FILE_HOOK_ERROR_MAX = 4096 }; /* of a command's output in a status: enough for its reason */

struct file_hook {
    /* found out */
    bool ok;
    bool canceled;
    uint64_t took_ms;
    char *error; /* owned: how it ended and what it said; NULL when ok */

    /* its own */
    struct hook *running; /* NULL: none */
    void (*done)(struct file_hook *h);
};

/* Runs a command of r. The words' template variables are src, where the new contents lie, and dest;
 * its environment says DECREE_RESOURCE, DECREE_SRC and DECREE_DEST. done is called once, later. The
 * arguments are not needed after the call. */
void file_hook_start(struct file_hook *h, uv_loop_t *loop, const struct resource *r,
    const struct command *command, const char *src, void (*done)(struct file_hook *h));
/* Ends the one that runs, if there is one; done follows. */
void file_hook_cancel(struct file_hook *h);
/* None may be running. */
void file_hook_deinit(struct file_hook *h);

#endif
