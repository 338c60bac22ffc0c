/* Warnings: constructs whose outcome is right by the dialect and surprising to people. Only what
 * the source shows without running it is found: literal arguments and direct nesting. */
#include "function.h"
#include "template.h"

struct lint {
    const struct template *t;
    void (*warn)(void *data, const char *text);
    void *data;
};

static void lint_list(const struct lint *l, const struct node_list *list);

_printf_(3, 4) static void warn(const struct lint *l, const struct node *n, const char *fmt, ...)
{
    _cleanup_strbuf_ struct strbuf text = {0};
    va_list ap;

    strbuf_printf(&text, "%s:%u: ", l->t->name, n->line);
    va_start(ap, fmt);
    strbuf_vprintf(&text, fmt, ap);
    va_end(ap);
    l->warn(l->data, strbuf_cstr(&text));
}

static bool is_function(const struct node *n, const char *name)
{
    return n->kind == NODE_IDENTIFIER && bytes_eq(n->u.ident.name, bytes_str(name));
}

static bool calls(const struct node *cmd, const char *name)
{
    return is_function(cmd->u.args.first, name);
}

/* Whether a pipeline's value is what a call of that function yields. */
static bool yields(const struct node *n, const char *name)
{
    return n->kind == NODE_PIPE && calls(n->u.pipeline.commands.last, name);
}

static void lint_command(const struct lint *l, const struct node *cmd, const struct node *before)
{
    const struct node *arg = cmd->u.args.first->next;
    bool literal = arg != NULL && arg->kind == NODE_STRING;
    struct bytes text = literal ? arg->u.string.value : (struct bytes){0};

    if (calls(cmd, "ls") && literal && bytes_eq(text, BYTES_LITERAL("/"))) {
        warn(l, arg, "ls \"/\" lists only keys directly under the root, never folders");
    }
    if (calls(cmd, "lsdir") && literal && bytes_eq(text, BYTES_LITERAL("/"))) {
        warn(l, arg, "lsdir \"/\" is always empty");
    }
    if (calls(cmd, "getvs")) {
        warn(l, cmd->u.args.first, "getvs sorts by value as text, not by key: 10 comes before 9");
    }
    if (calls(cmd, "reverse") &&
        ((arg != NULL && yields(arg, "gets")) || (before != NULL && calls(before, "gets")))) {
        warn(l, cmd->u.args.first, "reverse leaves the result of gets as it is");
    }
    if (literal && text.len > 0 && text.data[0] != '/' &&
        (calls(cmd, "get") || calls(cmd, "gets") || calls(cmd, "getv") || calls(cmd, "getvs") ||
            calls(cmd, "exists") || calls(cmd, "ls") || calls(cmd, "lsdir"))) {
        warn(l, arg, "keys begin with a slash: this matches none");
    }
    if (calls(cmd, "datetime")) {
        warn(l, cmd->u.args.first, "datetime makes every render differ from the one before");
    }
}

static void lint_pipe(const struct lint *l, const struct node *pipe)
{
    const struct node *before = NULL;

    for (const struct node *c = pipe->u.pipeline.commands.first; c != NULL; c = c->next) {
        lint_command(l, c, before);
        before = c;
        for (const struct node *arg = c->u.args.first; arg != NULL; arg = arg->next) {
            if (arg->kind == NODE_PIPE) {
                lint_pipe(l, arg);
            } else if (arg->kind == NODE_CHAIN && arg->u.path.base->kind == NODE_PIPE) {
                lint_pipe(l, arg->u.path.base);
            } else if (arg->kind == NODE_CHAIN && is_function(arg->u.path.base, "datetime")) {
                warn(l, arg, "datetime makes every render differ from the one before");
            }
        }
    }
}

static void lint_branch(const struct lint *l, const struct node *n)
{
    for (;; n = n->u.branch.else_list.first) {
        lint_pipe(l, n->u.branch.pipe);
        lint_list(l, &n->u.branch.list);
        if (!n->u.branch.else_chained) {
            lint_list(l, &n->u.branch.else_list);
            return;
        }
    }
}

static void lint_list(const struct lint *l, const struct node_list *list)
{
    for (const struct node *n = list->first; n != NULL; n = n->next) {
        switch (n->kind) {
        case NODE_ACTION:
            lint_pipe(l, n->u.pipe);
            break;
        case NODE_IF:
        case NODE_WITH:
        case NODE_RANGE:
            lint_branch(l, n);
            break;
        case NODE_TEMPLATE:
            if (template_lookup(l->t, n->u.call.name) == NULL) {
                warn(l, n, "this template is defined nowhere in the file");
            }
            if (n->u.call.pipe != NULL) {
                lint_pipe(l, n->u.call.pipe);
            }
            break;
        default:
            break;
        }
    }
}

void template_lint(
    const struct template *t, void (*warn_cb)(void *data, const char *text), void *data)
{
    struct lint l = {.t = t, .warn = warn_cb, .data = data};

    for (const struct definition *d = t->first; d != NULL; d = d->next) {
        lint_list(&l, &d->body);
    }
}
