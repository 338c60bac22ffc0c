/* One render: its memory, its limits, where it stands, and how it fails. Shared by the evaluator
 * and the functions. Everything that can fail returns false once the error is recorded. */
#ifndef DECREE_TEMPLATES_RENDER_H
#define DECREE_TEMPLATES_RENDER_H

#include "node.h"
#include "value.h"

enum {
    /* Templates that call templates: real ones stay below ten; recursion over a tree of keys goes
     * as deep as its keys have parts. */
    TEMPLATE_DEPTH_MAX = 500,
    /* Actions, pipelines and calls inside one another, all templates on the way included. What
     * bounds it is the stack: about 500 bytes a level, a few times that under sanitizers. */
    EVAL_DEPTH_MAX = 2000,
};

struct variable {
    struct bytes name;
    struct value value;
};

struct render {
    const struct template *t;
    const struct template_env *env;
    struct template_limits limits; /* without zeros */
    struct arena arena;            /* every value; limits.memory_bytes_max is its ceiling */
    struct strbuf *out;            /* the caller's */
    size_t out_bytes_max;          /* limit of out's length, with what stood in it before */
    struct strbuf scratch;         /* of the function that runs; functions do not nest */
    uint64_t steps;
    uint32_t depth, template_depth;
    struct variable *vars; /* owned; a stack */
    size_t n_vars, cap_vars;
    size_t vars_base; /* where the variables of the running definition begin */
    const struct definition *running;
    const struct node *at;    /* what is being evaluated, for messages */
    struct strbuf call_error; /* set by a function that returns false */
    struct err *err;          /* the caller's, may be NULL */
};

/* Ends the render with "template: NAME:LINE:COL: executing … at <…>: message". Returns false. */
_printf_(2, 3) bool render_fail(struct render *r, const char *fmt, ...);
/* For functions: what goes behind "error calling NAME: ". Returns false. */
_printf_(2, 3) bool call_fail(struct render *r, const char *fmt, ...);
bool call_fail_memory(struct render *r);

/* Counts work; false when there was too much of it, with a message for call_fail. Functions count
 * what grows with the keyspace or with a value. */
bool render_steps_left(struct render *r, uint64_t n);

/* Bytes that values may still take. */
static inline size_t render_memory_left(const struct render *r)
{
    return r->limits.memory_bytes_max - MIN(r->arena.used, r->limits.memory_bytes_max);
}

/* A copy of s (of scratch, most often) as a string value. */
bool return_copy(struct render *r, struct bytes s, struct value *ret);
/* A list of n zeroed items of the given list type. */
bool return_list(struct render *r, enum value_type type, size_t n, struct value *ret);

#endif
