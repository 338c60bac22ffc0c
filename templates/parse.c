/* Text, actions and control structures, by recursive descent. */
#include "parse.h"

#include <errno.h>

#include "parse_tree.h"

static struct node *parse_list_until(struct tree *tr, struct node_list *list);

static struct node *unexpected_end(struct tree *tr, const struct node *end, const char *context)
{
    return tree_fail(tr, "unexpected %s%s%s", end->kind == NODE_END ? "{{end}}" : "{{else}}",
        context != NULL ? " in " : "", context != NULL ? context : "");
}

static struct node *parse_else_list(struct tree *tr, struct node *branch)
{
    struct node *end = parse_list_until(tr, &branch->u.branch.else_list);

    branch->u.branch.has_else = true;
    if (end != NULL && end->kind != NODE_END) {
        return tree_fail(tr, "expected end; found {{else}}");
    }
    return end;
}

/* One if, with or range up to its {{else}} or {{end}}, which is returned. */
static struct node *parse_branch_head(struct tree *tr, struct node *branch, const char *context)
{
    struct node *end;

    branch->u.branch.pipe = parse_pipeline(tr, context, TOKEN_RIGHT_DELIM);
    if (branch->u.branch.pipe == NULL) {
        return NULL;
    }
    branch->pos = branch->u.branch.pipe->pos;
    branch->line = branch->u.branch.pipe->line;
    tr->range_depth += branch->kind == NODE_RANGE;
    end = parse_list_until(tr, &branch->u.branch.list);
    tr->range_depth -= branch->kind == NODE_RANGE;
    return end;
}

/* `{{else if}}` nests a branch in the else list of the one before and shares its {{end}}. The
 * chain is a loop here and in the evaluator, so that its length costs no stack. */
static struct node *parse_branch(
    struct tree *tr, enum node_kind kind, const char *context, const struct token *token)
{
    struct node *first = tree_node(tr, kind, token), *branch = first;
    enum token_kind chain = kind == NODE_IF ? TOKEN_IF
        : kind == NODE_WITH                 ? TOKEN_WITH
                                            : TOKEN_ERROR;
    size_t scope = tr->n_vars;

    for (;;) {
        struct node *end = parse_branch_head(tr, branch, context);
        struct node *inner;

        if (end == NULL) {
            return NULL;
        }
        if (end->kind == NODE_ELSE && chain != TOKEN_ERROR && tree_peek(tr).kind == chain) {
            (void)tree_next(tr);
            inner = tree_node(tr, kind, token);
            tree_append(&branch->u.branch.else_list, inner);
            branch->u.branch.has_else = branch->u.branch.else_chained = true;
            branch = inner;
            continue;
        }
        if (end->kind == NODE_ELSE && parse_else_list(tr, branch) == NULL) {
            return NULL;
        }
        break;
    }
    tr->n_vars = scope;
    return first;
}

static struct node *parse_else(struct tree *tr, const struct token *token)
{
    enum token_kind kind = tree_peek_nonspace(tr).kind;

    /* The word stays for parse_branch, which knows whether it may stand here. */
    if (kind != TOKEN_IF && kind != TOKEN_WITH && !tree_expect(tr, TOKEN_RIGHT_DELIM, "else")) {
        return NULL;
    }
    return tree_node(tr, NODE_ELSE, token);
}

static struct node *parse_loop_exit(struct tree *tr, const struct token *token)
{
    bool is_break = token->kind == TOKEN_BREAK;
    const char *what = is_break ? "{{break}}" : "{{continue}}";
    struct token t = tree_next_nonspace(tr);

    if (t.kind != TOKEN_RIGHT_DELIM) {
        return tree_unexpected(tr, &t, what);
    }
    if (tr->range_depth == 0) {
        return tree_fail(tr, "%s outside {{range}}", what);
    }
    return tree_node(tr, is_break ? NODE_BREAK : NODE_CONTINUE, token);
}

static bool parse_name(
    struct tree *tr, const struct token *token, const char *context, struct bytes *ret)
{
    if (token->kind != TOKEN_STRING && token->kind != TOKEN_RAW_STRING) {
        (void)tree_unexpected(tr, token, context);
        return false;
    }
    return tree_unquote(tr, token, ret);
}

static struct node *parse_call(struct tree *tr)
{
    struct token name = tree_next_nonspace(tr);
    struct node *n = tree_node(tr, NODE_TEMPLATE, &name);

    if (!parse_name(tr, &name, "template clause", &n->u.call.name)) {
        return NULL;
    }
    if (tree_next_nonspace(tr).kind == TOKEN_RIGHT_DELIM) {
        return n;
    }
    tree_push_back(tr);
    n->u.call.pipe = parse_pipeline(tr, "template clause", TOKEN_RIGHT_DELIM);
    return n->u.call.pipe != NULL ? n : NULL;
}

/* The body of a {{define}} or {{block}} up to its {{end}}. teller: whose line a message about the
 * wrong end names. */
static bool parse_body(
    struct tree *body, struct bytes name, const char *context, struct tree *teller)
{
    struct node_list list = {0};
    struct node *end = parse_list_until(body, &list);

    if (end != NULL && end->kind != NODE_END) {
        end = unexpected_end(teller, end, context);
    }
    return end != NULL && tree_add_definition(body, name, &list);
}

static struct node *parse_block(struct tree *tr)
{
    struct token name = tree_next_nonspace(tr);
    struct node *n = tree_node(tr, NODE_TEMPLATE, &name);
    struct tree body;
    bool ok;

    if (!parse_name(tr, &name, "block clause", &n->u.call.name)) {
        return NULL;
    }
    n->u.call.pipe = parse_pipeline(tr, "block clause", TOKEN_RIGHT_DELIM);
    if (n->u.call.pipe == NULL) {
        return NULL;
    }
    tree_init(&body, tr->p);
    ok = parse_body(&body, n->u.call.name, "block clause", tr);
    tree_deinit(&body);
    return ok ? n : NULL;
}

/* The word `define` has been read; a tree of its own goes on from there. */
static bool parse_define(struct parser *p)
{
    struct tree body;
    struct token token;
    struct bytes name;
    bool ok = false;

    tree_init(&body, p);
    token = tree_next_nonspace(&body);
    if (parse_name(&body, &token, "define clause", &name) &&
        tree_expect(&body, TOKEN_RIGHT_DELIM, "define clause")) {
        ok = parse_body(&body, name, "define clause", &body);
    }
    tree_deinit(&body);
    return ok;
}

static struct node *parse_action(struct tree *tr)
{
    struct token t = tree_next_nonspace(tr);
    struct node *n;

    switch (t.kind) {
    case TOKEN_BLOCK:
        return parse_block(tr);
    case TOKEN_BREAK:
    case TOKEN_CONTINUE:
        return parse_loop_exit(tr, &t);
    case TOKEN_ELSE:
        return parse_else(tr, &t);
    case TOKEN_END:
        return tree_expect(tr, TOKEN_RIGHT_DELIM, "end") ? tree_node(tr, NODE_END, &t) : NULL;
    case TOKEN_IF:
        return parse_branch(tr, NODE_IF, "if", &t);
    case TOKEN_RANGE:
        return parse_branch(tr, NODE_RANGE, "range", &t);
    case TOKEN_TEMPLATE:
        return parse_call(tr);
    case TOKEN_WITH:
        return parse_branch(tr, NODE_WITH, "with", &t);
    default:
        break;
    }
    tree_push_back(tr);
    t = tree_peek(tr);
    n = tree_node(tr, NODE_ACTION, &t);
    n->u.pipe = parse_pipeline(tr, "command", TOKEN_RIGHT_DELIM);
    return n->u.pipe != NULL ? n : NULL;
}

static struct node *parse_text_or_action(struct tree *tr)
{
    struct token t = tree_next_nonspace(tr);
    struct node *n;

    if (t.kind == TOKEN_TEXT) {
        n = tree_node(tr, NODE_TEXT, &t);
        n->u.text = t.text;
        return n;
    }
    if (t.kind != TOKEN_LEFT_DELIM) {
        return tree_unexpected(tr, &t, "input");
    }
    if (!tree_enter(tr)) {
        return NULL;
    }
    tr->action_line = t.line;
    n = tree_leave(tr, parse_action(tr));
    if (n != NULL) {
        tr->action_line = 0;
    }
    return n;
}

/* Fills list up to an {{end}} or {{else}}, which it returns. */
static struct node *parse_list_until(struct tree *tr, struct node_list *list)
{
    while (tree_peek_nonspace(tr).kind != TOKEN_EOF) {
        struct node *n = parse_text_or_action(tr);

        if (n == NULL || n->kind == NODE_END || n->kind == NODE_ELSE) {
            return n;
        }
        tree_append(list, n);
    }
    return tree_fail(tr, "unexpected EOF");
}

static bool parse_file(struct tree *tr, struct node_list *list)
{
    while (tree_peek(tr).kind != TOKEN_EOF) {
        struct node *n;

        if (tree_peek(tr).kind == TOKEN_LEFT_DELIM) {
            struct token delim = tree_next(tr);

            if (tree_next_nonspace(tr).kind == TOKEN_DEFINE) {
                if (!parse_define(tr->p)) {
                    return false;
                }
                continue;
            }
            tree_push_back2(tr, delim);
        }
        n = parse_text_or_action(tr);
        if (n == NULL) {
            return false;
        }
        if (n->kind == NODE_END || n->kind == NODE_ELSE) {
            (void)unexpected_end(tr, n, NULL);
            return false;
        }
        tree_append(list, n);
    }
    return true;
}

int parse_template(struct template *t, struct bytes left, struct bytes right,
    parse_find_function find, struct err *reterr)
{
    struct parser p = {.t = t, .find = find, .definitions_end = &t->first, .err = reterr};
    struct node_list list = {0};
    struct bytes name = bytes_str(t->name);
    struct tree tr;
    bool ok;

    if (t->source.len > SOURCE_BYTES_MAX) {
        return err_set(
            reterr, -EINVAL, "template: %s: larger than %d bytes", t->name, SOURCE_BYTES_MAX);
    }
    lexer_init(&p.lexer, &t->arena, t->source, left, right);
    tree_init(&tr, &p);
    ok = parse_file(&tr, &list) && tree_add_definition(&tr, name, &list);
    tree_deinit(&tr);
    if (!ok) {
        return -EINVAL;
    }
    t->root = template_lookup(t, name);
    return 0;
}
