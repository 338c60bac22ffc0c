/* One resource: a template, the file it becomes, the keys it may see and the commands around it.
 * Read from an INI file with one [template] section:
 *
 *     [template]
 *     src    = nginx.conf.tmpl          # in CONFDIR/templates
 *     dest   = /etc/nginx/nginx.conf
 *     prefix = /prod                    # cut off what the template sees
 *     keys   = /upstreams, /vhosts      # several with commas or by repeating the line; default /
 *     owner  = root                     # name or number; default: as the file is, else the agent
 *     group  = www-data
 *     mode   = 0640                     # octal; default: as the file is, else 0644
 *     check  = nginx -t -c {{.src}}     # run on the staged file before it goes live
 *     reload = nginx -s reload          # run after the file went live
 *     verify = curl -fs localhost/health
 *     check_timeout = 30s               # reload_timeout, verify_timeout likewise
 *     shell  = no                       # yes: the commands run under /bin/sh -c
 *     quiet_min = 0                     # wait until changes have been quiet for so long …
 *     quiet_max = 2s                    # … but not longer than this; default 4 * quiet_min
 *
 * A key stands for itself and what is below it: /app never covers /apple. Commands see {{.src}},
 * the staged file, and {{.dest}}; nothing from the store gets into them. */
#ifndef DECREE_AGENT_RESOURCE_H
#define DECREE_AGENT_RESOURCE_H

#include <sys/types.h>

#include "buf.h"
#include "err.h"

struct template;

enum {
    RESOURCE_FILE_MAX = 64 * 1024, /* an INI file of a dozen keys */
    RESOURCE_TEMPLATE_MAX = 4 * 1024 * 1024,
    RESOURCE_LINE_MAX = 8 * 1024, /* a long check command, with room */
    RESOURCE_KEYS_MAX = 256,
    /* ".NAME.decree-stage" must still fit in a folder entry of 255 bytes. */
    RESOURCE_NAME_MAX = 240,
};

/* A command as configured: words not yet expanded. argv is NULL when there is none. */
struct command {
    char **argv; /* owned */
    uint64_t timeout_ms;
};

struct resource {
    char *name;    /* the INI file's name without ".conf"; names it in logs and status */
    char *src;     /* path of the template */
    char *dest;    /* absolute path of the file, without empty, "." and ".." components */
    char *prefix;  /* "" or "/…" without a slash at its end */
    char **scopes; /* full keys, sorted, none within another; one that ends with a slash covers
                      only what is below it */
    size_t n_scopes;
    uid_t uid; /* (uid_t)-1: as the file is */
    gid_t gid; /* (gid_t)-1: likewise */
    bool has_mode;
    mode_t mode;
    struct command check, reload, verify;
    uint64_t quiet_min_ms, quiet_max_ms;
    struct template *template; /* owned; NULL until resource_load_template */
    struct buf *config_text;   /* what it was read from: equal texts are the same resource */
    struct buf *template_text;
};

/* Parses the text of an INI file called `file` in messages. Templates are looked for in
 * template_dir. Returns 0 and a resource that is the caller's, or -EINVAL with
 * "FILE:LINE: what is wrong and what is allowed", without the line for an empty file. Looks up
 * users and groups, reads no other file. */
int resource_parse(const char *name, const char *file, struct bytes text, const char *template_dir,
    struct resource **ret, struct err *reterr);
/* Reads and parses the template. -errno, or -EINVAL with the template language's own message. */
int resource_load_template(struct resource *r, struct err *reterr);
/* NULL is accepted; returns NULL. */
struct resource *resource_free(struct resource *r);
/* A service uses the file, and a command tells it of changes. */
static inline bool resource_has_hooks(const struct resource *r)
{
    return r->reload.argv != NULL || r->verify.argv != NULL;
}
/* Same configuration and same template, byte for byte. */
bool resource_equal(const struct resource *a, const struct resource *b);

/* The range of keys [start, end) that holds a scope; ret_end is appended to. */
void scope_end(struct bytes scope, struct strbuf *ret_end);
/* Whether scope covers key: the key itself, or what is below it. */
bool scope_covers(struct bytes scope, struct bytes key);

#endif
