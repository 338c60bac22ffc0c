/* Go text/template syntax with a dialect's functions, as a pure library (contracts/templates.md).
 * No I/O of its own, no clock, no environment: keys, time and the environment come through the
 * callbacks of a `struct template_env`, so that the same input gives the same bytes. */
#ifndef DECREE_TEMPLATES_TEMPLATE_H
#define DECREE_TEMPLATES_TEMPLATE_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "err.h"

enum template_dialect { TEMPLATE_CONFD };

/* A parsed template. Immutable after template_parse; may be rendered any number of times. */
struct template;

struct template_options {
    enum template_dialect dialect;
    const char *left_delim;  /* NULL = "{{" */
    const char *right_delim; /* NULL = "}}" */
};

/* Parses source under name (what error messages call it: the file's base name).
 * Returns 0 and a template that is the caller's, or -EINVAL with reterr's text in Go's own form,
 * "template: NAME:LINE: msg". source need not stay. */
int template_parse(const char *name, struct bytes source, const struct template_options *options,
    struct template **ret, struct err *reterr);
/* NULL is accepted; returns NULL. */
struct template *template_free(struct template *t);

/* Where a render's outside values come from. All pointers that the callbacks yield must stay valid
 * until template_render returns. */
struct template_env {
    void *data; /* first argument of each callback */
    /* One key, exact. False when it does not exist. */
    bool (*get)(void *data, struct bytes key, struct bytes *ret_value);
    /* Calls visit for every key >= from in ascending bytewise order, until visit returns false. */
    void (*walk)(void *data, struct bytes from,
        bool (*visit)(void *arg, struct bytes key, struct bytes value), void *arg);
    /* Told of what a render looked at, found or not, so that only its changes make the file dirty:
     * one key, or (is_prefix) every key that begins so. NULL when nobody asks. */
    void (*read)(void *data, struct bytes key, bool is_prefix);
    /* The environment variable, NULL when unset. */
    const char *(*getenv)(void *data, const char *name);
    /* Wall time in nanoseconds since 1970, for datetime. */
    int64_t (*now_ns)(void *data);
    /* stat of a path, for fileExists: true unless it is certain that there is none. */
    bool (*file_exists)(void *data, const char *path);
    /* The local time zone that holds at that moment: seconds east of UTC, and its abbreviation
     * ("CET") with its NUL. NULL: local time is UTC. */
    void (*local_zone)(void *data, int64_t unix_s, int32_t *ret_offset_s, char ret_name[16]);
};

/* Limits of one render (contracts/reliability.md T19): a value can never make the agent eat the
 * host. 0 takes the default in brackets. */
struct template_limits {
    size_t output_bytes_max; /* 64 MiB: no config file is larger */
    uint64_t steps_max; /* 100 million node evaluations: seconds, where milliseconds are usual */
    size_t memory_bytes_max; /* 256 MiB of values alive in one render */
};

/* Renders into out (appended; what was emitted before a failure stays there and must be thrown
 * away). Returns 0, or -EINVAL with reterr's text in Go's form,
 * "template: NAME:LINE:COL: executing \"NAME\" at <EXPR>: msg". When several keys are missing the
 * first one stops the render, as everywhere in this dialect. */
int template_render(const struct template *t, const struct template_env *env,
    const struct template_limits *limits, struct strbuf *out, struct err *reterr);

/* Expands a command line such as "nginx -t -c {{.src}}" : the same language with a dot that has
 * the given string fields and no functions that reach outside. names and values have n elements. */
int template_expand(const char *name, struct bytes source, size_t n, const char *const *names,
    const char *const *values, struct strbuf *out, struct err *reterr);

/* Warnings about constructs whose outcome surprises people although it is what the dialect does
 * (`ls "/"`, `reverse (gets …)`): calls warn once for each with "NAME:LINE: text". */
void template_lint(
    const struct template *t, void (*warn)(void *data, const char *text), void *data);

#endif
