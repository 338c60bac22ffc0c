/* What stands beside the log in a data directory: small files that say who the directory is and
 * what has been done with it. Each is written whole or not at all. All of it happens before the
 * loop runs, but for the notes that are left once. */
#ifndef DECREE_STORE_NODE_NODE_NOTES_H
#define DECREE_STORE_NODE_NODE_NOTES_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"

/* The number that tells this directory from one made later under the same name (F18). A new
 * directory, or one that crashed between its first write and this one, gets `fresh`, which is not
 * 0. `known` is what the log of this very directory says, 0 = nothing yet; a file that says
 * otherwise, or is gone, is written again. DECREE_ECORRUPT when nobody knows it, -errno. */
int node_incarnation_load(const char *data_dir, bool is_new, uint64_t known, uint64_t fresh,
    uint64_t *ret, struct err *reterr);

/* The directory belongs to a member that was removed: it says so at each start. A failure to leave
 * the mark is only logged, as the other members say the same. */
void node_mark_removed(const char *data_dir, uint64_t id, uint64_t cluster_id);
/* 0, or an error that says what to do. */
int node_check_removed(const char *data_dir, const char *name, struct err *reterr);

/* --force-new-cluster is obeyed once, however long it stays in a unit file: it must not throw out
 * again the members that were added since. A start without it forgets that it was obeyed. */
bool node_force_is_due(const char *data_dir, bool asked);
/* Behind the entry that does it, so that a crash between them only asks for it once more. */
void node_force_note(const char *data_dir);

#endif
