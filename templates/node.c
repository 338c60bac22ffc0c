#include "node.h"

#include "gotext.h"

static void describe_list(const struct node_list *list, const char *between, struct strbuf *out)
{
    for (const struct node *n = list->first; n != NULL; n = n->next) {
        if (n != list->first) {
            strbuf_append_str(out, between);
        }
        node_describe(n, out);
    }
}

static void describe_pipe(const struct node *n, struct strbuf *out)
{
    if (n->u.pipeline.decl.first != NULL) {
        describe_list(&n->u.pipeline.decl, ", ", out);
        strbuf_append_str(out, n->u.pipeline.is_assign ? " = " : " := ");
    }
    describe_list(&n->u.pipeline.commands, " | ", out);
}

static void describe_command(const struct node *n, struct strbuf *out)
{
    for (const struct node *arg = n->u.args.first; arg != NULL; arg = arg->next) {
        if (arg != n->u.args.first) {
            strbuf_append_char(out, ' ');
        }
        if (arg->kind == NODE_PIPE) {
            strbuf_append_char(out, '(');
            describe_pipe(arg, out);
            strbuf_append_char(out, ')');
        } else {
            node_describe(arg, out);
        }
    }
}

static void describe_path(const struct node *n, struct strbuf *out)
{
    if (n->kind == NODE_CHAIN && n->u.path.base->kind == NODE_PIPE) {
        strbuf_append_char(out, '(');
        describe_pipe(n->u.path.base, out);
        strbuf_append_char(out, ')');
    } else if (n->kind == NODE_CHAIN) {
        node_describe(n->u.path.base, out);
    }
    for (size_t i = 0; i < n->u.path.n_names; i++) {
        if (n->kind != NODE_VARIABLE || i > 0) {
            strbuf_append_char(out, '.');
        }
        strbuf_append_bytes(out, n->u.path.names[i]);
    }
}

static void describe_branch(const struct node *n, const char *word, struct strbuf *out)
{
    strbuf_printf(out, "{{%s ", word);
    describe_pipe(n->u.branch.pipe, out);
    strbuf_append_str(out, "}}");
}

static void describe_call(const struct node *n, struct strbuf *out)
{
    strbuf_append_str(out, "{{template ");
    text_quote(out, n->u.call.name, false);
    if (n->u.call.pipe != NULL) {
        strbuf_append_char(out, ' ');
        describe_pipe(n->u.call.pipe, out);
    }
    strbuf_append_str(out, "}}");
}

void node_describe(const struct node *n, struct strbuf *out)
{
    switch (n->kind) {
    case NODE_TEXT:
        strbuf_append_str(out, "text");
        break;
    case NODE_ACTION:
        strbuf_append_str(out, "{{");
        describe_pipe(n->u.pipe, out);
        strbuf_append_str(out, "}}");
        break;
    case NODE_IF:
        describe_branch(n, "if", out);
        break;
    case NODE_RANGE:
        describe_branch(n, "range", out);
        break;
    case NODE_WITH:
        describe_branch(n, "with", out);
        break;
    case NODE_TEMPLATE:
        describe_call(n, out);
        break;
    case NODE_BREAK:
        strbuf_append_str(out, "{{break}}");
        break;
    case NODE_CONTINUE:
        strbuf_append_str(out, "{{continue}}");
        break;
    case NODE_PIPE:
        describe_pipe(n, out);
        break;
    case NODE_COMMAND:
        describe_command(n, out);
        break;
    case NODE_FIELD:
    case NODE_VARIABLE:
    case NODE_CHAIN:
        describe_path(n, out);
        break;
    case NODE_IDENTIFIER:
        strbuf_append_bytes(out, n->u.ident.name);
        break;
    case NODE_DOT:
        strbuf_append_char(out, '.');
        break;
    case NODE_NIL:
        strbuf_append_str(out, "nil");
        break;
    case NODE_BOOL:
        strbuf_append_str(out, n->u.truth ? "true" : "false");
        break;
    case NODE_NUMBER:
        strbuf_append_bytes(out, n->u.number.text);
        break;
    case NODE_STRING:
        strbuf_append_bytes(out, n->u.string.quoted);
        break;
    case NODE_END:
        strbuf_append_str(out, "{{end}}");
        break;
    case NODE_ELSE:
        strbuf_append_str(out, "{{else}}");
        break;
    }
}

void template_locate(const struct template *t, size_t pos, size_t *ret_line, size_t *ret_col)
{
    struct bytes before = bytes_make(t->source.data, pos);
    const uint8_t *newline = pos > 0 ? memrchr(before.data, '\n', pos) : NULL;

    *ret_line = 1 + bytes_count_byte(before, '\n');
    *ret_col = newline != NULL ? pos - (size_t)(newline + 1 - before.data) : pos;
}

struct definition *template_lookup(const struct template *t, struct bytes name)
{
    struct hmap_node *n = hmap_first(&t->definitions, bytes_hash(name));

    for (; n != NULL; n = hmap_next_same(n)) {
        struct definition *d = container_of(n, struct definition, by_name);

        if (bytes_eq(d->name, name)) {
            return d;
        }
    }
    return NULL;
}
