/* Source to syntax tree. */
#ifndef DECREE_TEMPLATES_PARSE_H
#define DECREE_TEMPLATES_PARSE_H

#include "node.h"

enum {
    /* Actions and parentheses inside one another: generated files reach perhaps 20, and each level
     * costs some stack in parser and evaluator. */
    PARSE_DEPTH_MAX = 200,
    /* A template is written by people; beyond this something else was opened by mistake. */
    SOURCE_BYTES_MAX = 8 << 20,
};

/* Finds the dialect's function of that name; NULL when it has none. */
typedef const struct function *(*parse_find_function)(struct bytes name);

/* Parses t->source into t->definitions and t->root; t->arena, name and source must be set.
 * 0 or -EINVAL with the message in Go's form. */
int parse_template(struct template *t, struct bytes left, struct bytes right,
    parse_find_function find, struct err *reterr);

#endif
