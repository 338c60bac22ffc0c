/* Actions: text, branches, loops and calls of other templates. */
#include "eval.h"

#include "format.h"
#include "gotext.h"

/* What a list of nodes came to. */
enum flow { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE, FLOW_FAILED };

static enum flow walk_list(struct render *r, const struct value *dot, const struct node_list *list);

static bool print_value(struct render *r, const struct node *n, const struct value *v)
{
    bool ok;

    r->at = n;
    if (v->type == VALUE_STRING) {
        ok = v->u.s.len <= r->out_bytes_max - r->out->len;
        if (ok) {
            strbuf_append_bytes(r->out, v->u.s);
        }
    } else if (v->type == VALUE_NONE) {
        struct value text = value_string(BYTES_LITERAL("<no value>"));

        ok = format_values(r->out, r->out_bytes_max, FORMAT_PRINT, &text, 1);
    } else {
        ok = format_values(r->out, r->out_bytes_max, FORMAT_PRINT, v, 1);
    }
    return ok ||
        render_fail(
            r, "the output grows beyond %zu bytes or nests too deep", r->limits.output_bytes_max);
}

static enum flow walk_text(struct render *r, const struct node *n)
{
    r->at = n;
    if (n->u.text.len > r->out_bytes_max - r->out->len) {
        (void)render_fail(r, "the output grows beyond %zu bytes", r->limits.output_bytes_max);
        return FLOW_FAILED;
    }
    strbuf_append_bytes(r->out, n->u.text);
    return FLOW_NEXT;
}

static enum flow walk_action(struct render *r, const struct value *dot, const struct node *n)
{
    struct value v;

    r->at = n;
    if (!eval_pipe(r, dot, n->u.pipe, &v)) {
        return FLOW_FAILED;
    }
    if (n->u.pipe->u.pipeline.decl.first == NULL && !print_value(r, n, &v)) {
        return FLOW_FAILED;
    }
    return FLOW_NEXT;
}

/* if and with, and the chain of else ifs behind it. */
static enum flow walk_branch(struct render *r, const struct value *dot, const struct node *n)
{
    size_t scope = r->n_vars;
    enum flow flow = FLOW_NEXT;

    for (;;) {
        const struct node_branch *b = &n->u.branch;
        struct value v;

        r->at = n;
        if (!eval_pipe(r, dot, b->pipe, &v)) {
            flow = FLOW_FAILED;
        } else if (value_truth(&v)) {
            flow = walk_list(r, n->kind == NODE_WITH ? &v : dot, &b->list);
        } else if (b->else_chained) {
            n = b->else_list.first;
            continue;
        } else {
            flow = walk_list(r, dot, &b->else_list);
        }
        break;
    }
    r->n_vars = scope;
    return flow;
}

/* One turn of a range. index NULL where there is none. */
static enum flow walk_turn(struct render *r, const struct node *n, const struct value *index,
    const struct value *element, size_t scope)
{
    const struct node *pipe = n->u.branch.pipe;
    const struct node *first = pipe->u.pipeline.decl.first;
    const struct value *values[2] = {element, NULL};
    enum flow flow;
    size_t i = 0;

    if (pipe->u.pipeline.decl.n > 1) {
        values[0] = index;
        values[1] = element;
    }
    for (const struct node *d = first; d != NULL && i < 2; d = d->next, i++) {
        if (!pipe->u.pipeline.is_assign) {
            r->vars[scope - pipe->u.pipeline.decl.n + i].value = *values[i];
        } else if (!eval_assign(r, d->u.path.names[0], values[i])) {
            return FLOW_FAILED;
        }
    }
    r->at = n;
    flow = eval_step(r) ? walk_list(r, element, &n->u.branch.list) : FLOW_FAILED;
    r->n_vars = scope;
    return flow == FLOW_CONTINUE ? FLOW_NEXT : flow;
}

static enum flow range_list(struct render *r, const struct node *n, const struct value *v)
{
    size_t scope = r->n_vars;
    enum flow flow = FLOW_NEXT;

    for (size_t i = 0; i < v->u.list->len && flow == FLOW_NEXT; i++) {
        struct value index = value_int((int64_t)i), element = value_list_at(v, i);

        flow = walk_turn(r, n, &index, &element, scope);
    }
    return flow;
}

static enum flow range_map(struct render *r, const struct node *n, const struct value *v)
{
    size_t scope = r->n_vars;
    enum flow flow = FLOW_NEXT;

    for (size_t i = 0; i < v->u.map->len && flow == FLOW_NEXT; i++) {
        struct value key = value_string(v->u.map->entries[i].key);
        struct value element = v->u.map->entries[i].value;

        element.boxed = v->type == VALUE_MAP;
        flow = walk_turn(r, n, &key, &element, scope);
    }
    return flow;
}

static enum flow range_int(struct render *r, const struct node *n, const struct value *v)
{
    size_t scope = r->n_vars;
    enum flow flow = FLOW_NEXT;

    if (n->u.branch.pipe->u.pipeline.decl.n > 1) {
        (void)render_fail(
            r, "can't use %lld to iterate over more than one variable", (long long)v->u.i);
        return FLOW_FAILED;
    }
    for (int64_t i = 0; i < v->u.i && flow == FLOW_NEXT; i++) {
        struct value element = value_typed_int(v->type, i);

        flow = walk_turn(r, n, NULL, &element, scope);
    }
    return flow;
}

static enum flow range_refused(struct render *r, const struct value *v)
{
    enum { SHOWN_BYTES_MAX = 1024 };
    _cleanup_strbuf_ struct strbuf text = {0};

    (void)format_values(&text, SHOWN_BYTES_MAX, FORMAT_PRINT, v, 1);
    (void)render_fail(r, "range can't iterate over %s", strbuf_cstr(&text));
    return FLOW_FAILED;
}

static enum flow walk_range_over(
    struct render *r, const struct value *dot, const struct node *n, const struct value *v)
{
    switch (value_kind(v)) {
    case KIND_LIST:
        if (v->u.list->len > 0) {
            return range_list(r, n, v);
        }
        break;
    case KIND_MAP:
        if (v->u.map->len > 0) {
            return range_map(r, n, v);
        }
        break;
    case KIND_INT:
    case KIND_UINT:
        if (v->u.i > 0) {
            return range_int(r, n, v);
        }
        break;
    case KIND_NONE:
        break;
    default:
        return range_refused(r, v);
    }
    return walk_list(r, dot, &n->u.branch.else_list);
}

static enum flow walk_range(struct render *r, const struct value *dot, const struct node *n)
{
    size_t scope = r->n_vars;
    enum flow flow = FLOW_FAILED;
    struct value v;

    r->at = n;
    if (eval_pipe(r, dot, n->u.branch.pipe, &v)) {
        flow = walk_range_over(r, dot, n, &v);
    }
    r->n_vars = scope;
    return flow == FLOW_BREAK ? FLOW_NEXT : flow;
}

/* {{template "name" pipeline}}: the callee sees its dot and nothing else of the caller's. */
static enum flow walk_call(struct render *r, const struct value *dot, const struct node *n)
{
    const struct definition *callee = template_lookup(r->t, n->u.call.name);
    const struct definition *caller = r->running;
    size_t base = r->vars_base, scope;
    struct value v = value_none();
    enum flow flow;

    r->at = n;
    if (callee == NULL) {
        _cleanup_strbuf_ struct strbuf name = {0};

        text_quote(&name, n->u.call.name, false);
        (void)render_fail(r, "template %s not defined", strbuf_cstr(&name));
        return FLOW_FAILED;
    }
    if (r->template_depth == TEMPLATE_DEPTH_MAX) {
        (void)render_fail(r, "exceeded maximum template depth (%d)", TEMPLATE_DEPTH_MAX);
        return FLOW_FAILED;
    }
    if (n->u.call.pipe != NULL && !eval_pipe(r, dot, n->u.call.pipe, &v)) {
        return FLOW_FAILED;
    }
    scope = r->n_vars;
    r->vars_base = scope;
    r->running = callee;
    r->template_depth++;
    eval_push(r, BYTES_LITERAL("$"), &v);
    flow = walk_list(r, &v, &callee->body);
    if (flow == FLOW_FAILED) {
        return flow;
    }
    r->template_depth--;
    r->running = caller;
    r->vars_base = base;
    r->n_vars = scope;
    return flow;
}

static enum flow walk(struct render *r, const struct value *dot, const struct node *n)
{
    switch (n->kind) {
    case NODE_TEXT:
        return walk_text(r, n);
    case NODE_ACTION:
        return walk_action(r, dot, n);
    case NODE_IF:
    case NODE_WITH:
        return walk_branch(r, dot, n);
    case NODE_RANGE:
        return walk_range(r, dot, n);
    case NODE_TEMPLATE:
        return walk_call(r, dot, n);
    case NODE_BREAK:
        return FLOW_BREAK;
    case NODE_CONTINUE:
        return FLOW_CONTINUE;
    default:
        break;
    }
    decree_assert(false && "a node that is no action stands in a list");
    return FLOW_FAILED;
}

static enum flow walk_list(struct render *r, const struct value *dot, const struct node_list *list)
{
    enum flow flow = eval_enter(r) ? FLOW_NEXT : FLOW_FAILED;

    for (const struct node *n = list->first; n != NULL && flow == FLOW_NEXT; n = n->next) {
        flow = walk(r, dot, n);
    }
    r->depth--;
    return flow;
}

bool eval_template(struct render *r, const struct value *dot)
{
    static const struct node start = {.kind = NODE_TEXT};

    r->running = r->t->root;
    r->at = &start;
    eval_push(r, BYTES_LITERAL("$"), dot);
    return walk_list(r, dot, &r->t->root->body) != FLOW_FAILED;
}
