/* A unified diff of two texts, as `diff -u` writes it. */
#ifndef DECREE_AGENT_DIFF_H
#define DECREE_AGENT_DIFF_H

#include "buf.h"

enum {
    DIFF_CONTEXT = 3,
    /* Beyond so many changed lines the shortest script is not worth its square of time and memory:
     * the part that differs is shown as a whole. */
    DIFF_EDITS_MAX = 2000,
};

/* Appends nothing when a and b are equal. */
void diff_unified(
    struct strbuf *out, const char *name_a, struct bytes a, const char *name_b, struct bytes b);

#endif
