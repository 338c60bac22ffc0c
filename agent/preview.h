/* What this host's files would be now, touching nothing: no file, no hook, no status, no state. */
#ifndef DECREE_AGENT_PREVIEW_H
#define DECREE_AGENT_PREVIEW_H

#include <stdbool.h>

enum { PREVIEW_SAME = 0, PREVIEW_CHANGES = 1, PREVIEW_FAILED = 2 };

enum {
    /* A person waits: long enough for an election, short enough not to wonder. */
    PREVIEW_WAIT_MS = 10 * 1000,
};

struct preview_options {
    const char *endpoints;
    const char *conf_dir;
    bool diff; /* only what differs, as a unified diff; else every file as a whole */
};

/* Reads the configuration and the store, prints to standard output, and errors to standard error.
 * Returns the exit code: PREVIEW_CHANGES when a file would change in bytes, owner or mode. */
int preview_run(const struct preview_options *o);

#endif
