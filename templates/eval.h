/* Walks a syntax tree, writing to the render's output. */
#ifndef DECREE_TEMPLATES_EVAL_H
#define DECREE_TEMPLATES_EVAL_H

#include "render.h"

/* Renders r->t with the given dot. False after render_fail. */
bool eval_template(struct render *r, const struct value *dot);

#endif
