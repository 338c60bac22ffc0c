/* All resources of a CONFDIR: every *.conf in CONFDIR/conf.d with its template. One that is wrong
 * never stops the others. */
#ifndef DECREE_AGENT_CONFIG_H
#define DECREE_AGENT_CONFIG_H

#include <sys/types.h>

#include "err.h"
#include "resource.h"

enum {
    CONFIG_RESOURCES_MAX = 10000, /* ten times what the largest hosts were seen to have */
    CONFIG_NAME_MAX = 200,        /* ".NAME.record.decree-stage" fits in a folder entry */
};

/* A file that made no resource. */
struct config_fault {
    char *name; /* as the resource would be called; owned */
    char *dest; /* owned; NULL when it was not read so far */
    char *text; /* owned: what is wrong, with file and line */
};

void config_fault_deinit(struct config_fault *f);

/* A folder by what it is, since symbolic links give it several paths. */
struct config_folder {
    bool exists;
    dev_t dev;
    ino_t ino;
};

struct config {
    struct resource **resources; /* owned, in the order of their names */
    size_t n_resources;
    struct config_folder *folders; /* owned: where each resource's dest is */
    struct config_fault *faults;   /* owned, likewise */
    size_t n_faults;
};

/* -errno with a text when the folder itself cannot be read; faults of single files are not errors.
 */
int config_load(const char *conf_dir, struct config *ret, struct err *reterr);
void config_deinit(struct config *c);

#endif
