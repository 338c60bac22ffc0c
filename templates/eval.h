/* Walks a syntax tree, writing to the render's output. What fails has told so with render_fail. */
#ifndef DECREE_TEMPLATES_EVAL_H
#define DECREE_TEMPLATES_EVAL_H

#include "render.h"

/* Renders r->t with the given dot. */
bool eval_template(struct render *r, const struct value *dot);

/* The value of a pipeline. Variables that it declares stay on the stack: the caller pops them. */
bool eval_pipe(
    struct render *r, const struct value *dot, const struct node *pipe, struct value *ret);

/* Counts one step. */
bool eval_step(struct render *r);
/* Counts a step and a level of depth, which the caller takes back, after a failure as well. */
bool eval_enter(struct render *r);

void eval_push(struct render *r, struct bytes name, const struct value *v);
/* Gives the innermost variable of that name a value; there must be one. */
bool eval_assign(struct render *r, struct bytes name, const struct value *v);

#endif
