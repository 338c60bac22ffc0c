/* Operands, commands and pipelines: what stands inside one action. */
#include "gonum.h"
#include "gotext.h"
#include "parse_tree.h"

/* ---- operands ---- */

static bool has_any(struct bytes s, const char *set)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] != 0 && strchr(set, s.data[i]) != NULL) {
            return true;
        }
    }
    return false;
}

static struct node *char_constant(struct tree *tr, const struct token *token, struct node *n)
{
    uint32_t rune;
    bool whole;

    if (!text_unquote_char(token->text, &rune, &whole)) {
        return tree_fail(tr, "invalid syntax");
    }
    if (!whole) {
        return tree_fail(tr, "malformed character constant: %.*s", (int)MIN(token->text.len, 64u),
            (const char *)token->text.data);
    }
    n->u.number.i = (int64_t)rune;
    n->u.number.f = (double)rune;
    n->u.number.is_int = n->u.number.is_float = true;
    return n;
}

static struct node *parse_number(struct tree *tr, const struct token *token)
{
    struct node *n = tree_node(tr, NODE_NUMBER, token);
    struct node_number *num = &n->u.number;
    bool float_form = has_any(token->text, ".eEpP");
    bool range;
    uint64_t u;

    num->text = token->text;
    if (token->kind == TOKEN_CHAR_CONSTANT) {
        return char_constant(tr, token, n);
    }
    if (num_parse_int(token->text, 0, &num->i, &range)) {
        num->is_int = num->is_float = true;
        num->f = (double)num->i;
        return n;
    }
    if (num_parse_uint(token->text, &u)) {
        num->overflows_int = num->is_float = true;
        num->f = (double)u;
        return n;
    }
    if (!num_parse_float(token->text, &num->f)) {
        return range ? tree_fail_bytes(tr, "integer overflow: ", token->text, "")
                     : tree_fail_bytes(tr, "illegal number syntax: ", token->text, "");
    }
    if (!float_form) {
        return tree_fail_bytes(tr, "integer overflow: ", token->text, "");
    }
    num->is_float = num->is_float_form = true;
    if (num->f >= -0x1p63 && num->f < 0x1p63 && (double)(int64_t)num->f == num->f) {
        num->is_int = true; /* 1e3 also serves where an int is wanted */
        num->i = (int64_t)num->f;
    }
    return n;
}

static struct node *new_path(
    struct tree *tr, enum node_kind kind, const struct token *token, struct bytes name)
{
    struct node *n = tree_node(tr, kind, token);

    n->u.path.names = tree_alloc(tr->p, 1, sizeof(struct bytes));
    n->u.path.names[0] = name;
    n->u.path.n_names = 1;
    return n;
}

static struct node *use_variable(struct tree *tr, const struct token *token)
{
    for (size_t i = 0; i < tr->n_vars; i++) {
        if (bytes_eq(tr->vars[i], token->text)) {
            return new_path(tr, NODE_VARIABLE, token, token->text);
        }
    }
    return tree_fail_bytes(tr, "undefined variable ", token->text, "");
}

static struct node *use_function(struct tree *tr, const struct token *token)
{
    struct node *n = tree_node(tr, NODE_IDENTIFIER, token);

    n->u.ident.name = token->text;
    n->u.ident.function = tr->p->find(token->text);
    return n->u.ident.function != NULL
        ? n
        : tree_fail_bytes(tr, "function ", token->text, " not defined");
}

static struct node *string_constant(struct tree *tr, const struct token *token)
{
    struct node *n = tree_node(tr, NODE_STRING, token);

    n->u.string.quoted = token->text;
    return tree_unquote(tr, token, &n->u.string.value) ? n : NULL;
}

static struct node *parenthesized(struct tree *tr)
{
    return tree_enter(tr)
        ? tree_leave(tr, parse_pipeline(tr, "parenthesized pipeline", TOKEN_RIGHT_PAREN))
        : NULL;
}

/* False after an error; *ret NULL with true: no operand stands here. */
static bool parse_term(struct tree *tr, struct node **ret)
{
    struct token t = tree_next_nonspace(tr);

    switch (t.kind) {
    case TOKEN_IDENTIFIER:
        *ret = use_function(tr, &t);
        break;
    case TOKEN_DOT:
        *ret = tree_node(tr, NODE_DOT, &t);
        break;
    case TOKEN_NIL:
        *ret = tree_node(tr, NODE_NIL, &t);
        break;
    case TOKEN_VARIABLE:
        *ret = use_variable(tr, &t);
        break;
    case TOKEN_FIELD:
        *ret = new_path(tr, NODE_FIELD, &t, bytes_from(t.text, 1));
        break;
    case TOKEN_BOOL:
        *ret = tree_node(tr, NODE_BOOL, &t);
        (*ret)->u.truth = t.text.data[0] == 't';
        break;
    case TOKEN_CHAR_CONSTANT:
    case TOKEN_NUMBER:
        *ret = parse_number(tr, &t);
        break;
    case TOKEN_LEFT_PAREN:
        *ret = parenthesized(tr);
        break;
    case TOKEN_STRING:
    case TOKEN_RAW_STRING:
        *ret = string_constant(tr, &t);
        break;
    default:
        tree_push_back(tr);
        *ret = NULL;
        return true;
    }
    return *ret != NULL;
}

/* Puts the fields that follow behind base: more names of a field or variable, else a chain. */
static struct node *parse_fields(struct tree *tr, struct node *base)
{
    struct token first = tree_peek(tr);
    bool extends = base->kind == NODE_FIELD || base->kind == NODE_VARIABLE;
    struct node *n = tree_node(tr, extends ? base->kind : NODE_CHAIN, &first);
    size_t cap = 4, len = 0;
    struct bytes *names = tree_alloc(tr->p, cap, sizeof(*names));

    if (extends) {
        names[len++] = base->u.path.names[0];
    } else {
        n->u.path.base = base;
    }
    while (tree_peek(tr).kind == TOKEN_FIELD) {
        if (len == cap) {
            struct bytes *more = tree_alloc(tr->p, cap * 2, sizeof(*names));

            memcpy(more, names, len * sizeof(*names));
            names = more;
            cap *= 2;
        }
        names[len++] = bytes_from(tree_next(tr).text, 1);
    }
    n->u.path.names = names;
    n->u.path.n_names = len;
    return n;
}

static bool parse_operand(struct tree *tr, struct node **ret)
{
    _cleanup_strbuf_ struct strbuf text = {0};

    if (!parse_term(tr, ret)) {
        return false;
    }
    if (*ret == NULL || tree_peek(tr).kind != TOKEN_FIELD) {
        return true;
    }
    switch ((*ret)->kind) {
    case NODE_BOOL:
    case NODE_STRING:
    case NODE_NUMBER:
    case NODE_NIL:
    case NODE_DOT:
        while (tree_peek(tr).kind == TOKEN_FIELD) {
            (void)tree_next(tr);
        }
        node_describe(*ret, &text);
        (void)tree_fail_bytes(tr, "unexpected . after term ", strbuf_bytes(&text), "");
        return false;
    default:
        *ret = parse_fields(tr, *ret);
        return true;
    }
}

/* ---- pipelines ---- */

static struct node *parse_command(struct tree *tr)
{
    struct token t = tree_peek_nonspace(tr);
    struct node *cmd = tree_node(tr, NODE_COMMAND, &t);
    struct node *operand;

    for (;;) {
        (void)tree_peek_nonspace(tr);
        if (!parse_operand(tr, &operand)) {
            return NULL;
        }
        if (operand != NULL) {
            tree_append(&cmd->u.args, operand);
        }
        t = tree_next(tr);
        if (t.kind == TOKEN_SPACE) {
            continue;
        }
        if (t.kind == TOKEN_RIGHT_DELIM || t.kind == TOKEN_RIGHT_PAREN) {
            tree_push_back(tr);
        } else if (t.kind != TOKEN_PIPE) {
            return tree_unexpected(tr, &t, "operand");
        }
        break;
    }
    return cmd->u.args.first != NULL ? cmd : tree_fail(tr, "empty command");
}

static void add_decl(struct tree *tr, struct node *pipe, const struct token *v)
{
    tree_append(&pipe->u.pipeline.decl, new_path(tr, NODE_VARIABLE, v, v->text));
    tree_declare(tr, v->text);
}

/* Behind "$x,": only range takes a second variable. ret_more: it follows. */
static bool parse_second_decl(
    struct tree *tr, const char *context, const struct node *pipe, bool *ret_more)
{
    if (strcmp(context, "range") == 0 && pipe->u.pipeline.decl.n < 2) {
        enum token_kind kind = tree_peek_nonspace(tr).kind;

        if (kind == TOKEN_VARIABLE || kind == TOKEN_RIGHT_DELIM || kind == TOKEN_RIGHT_PAREN) {
            *ret_more = true;
            return true;
        }
        (void)tree_fail(tr, "range can only initialize variables");
        return false;
    }
    (void)tree_fail(tr, "too many declarations in %s", context);
    return false;
}

/* "$x :=", "$x =", "$i, $x :=". A variable that is only used is pushed back. */
static bool parse_decls(struct tree *tr, const char *context, struct node *pipe)
{
    for (bool more = true; more;) {
        struct token v = tree_peek_nonspace(tr), after, t;

        more = false;
        if (v.kind != TOKEN_VARIABLE) {
            return true;
        }
        (void)tree_next(tr);
        after = tree_peek(tr);
        t = tree_peek_nonspace(tr);
        if (t.kind == TOKEN_ASSIGN || t.kind == TOKEN_DECLARE) {
            pipe->u.pipeline.is_assign = t.kind == TOKEN_ASSIGN;
            (void)tree_next_nonspace(tr);
            add_decl(tr, pipe, &v);
        } else if (t.kind == TOKEN_CHAR && t.text.data[0] == ',') {
            (void)tree_next_nonspace(tr);
            add_decl(tr, pipe, &v);
            if (!parse_second_decl(tr, context, pipe, &more)) {
                return false;
            }
        } else if (after.kind == TOKEN_SPACE) {
            tree_push_back3(tr, v, after);
        } else {
            tree_push_back2(tr, v);
        }
    }
    return true;
}

static struct node *check_pipeline(struct tree *tr, struct node *pipe, const char *context)
{
    unsigned stage = 1;

    if (pipe->u.pipeline.commands.first == NULL) {
        return tree_fail(tr, "missing value for %s", context);
    }
    for (struct node *c = pipe->u.pipeline.commands.first->next; c != NULL; c = c->next) {
        stage++;
        switch (c->u.args.first->kind) {
        case NODE_BOOL:
        case NODE_DOT:
        case NODE_NIL:
        case NODE_NUMBER:
        case NODE_STRING:
            return tree_fail(tr, "non executable command in pipeline stage %u", stage);
        default:
            break;
        }
    }
    return pipe;
}

struct node *parse_pipeline(struct tree *tr, const char *context, enum token_kind end)
{
    struct token t = tree_peek_nonspace(tr);
    struct node *pipe = tree_node(tr, NODE_PIPE, &t);
    struct node *cmd;

    if (!parse_decls(tr, context, pipe)) {
        return NULL;
    }
    for (;;) {
        t = tree_next_nonspace(tr);
        if (t.kind == end) {
            return check_pipeline(tr, pipe, context);
        }
        switch (t.kind) {
        case TOKEN_BOOL:
        case TOKEN_CHAR_CONSTANT:
        case TOKEN_DOT:
        case TOKEN_FIELD:
        case TOKEN_IDENTIFIER:
        case TOKEN_NUMBER:
        case TOKEN_NIL:
        case TOKEN_RAW_STRING:
        case TOKEN_STRING:
        case TOKEN_VARIABLE:
        case TOKEN_LEFT_PAREN:
            tree_push_back(tr);
            cmd = parse_command(tr);
            if (cmd == NULL) {
                return NULL;
            }
            tree_append(&pipe->u.pipeline.commands, cmd);
            break;
        default:
            return tree_unexpected(tr, &t, context);
        }
    }
}
