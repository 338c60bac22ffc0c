/* A recursive-descent parser with up to three tokens of lookahead. A function that returns a node
 * returns NULL after an error, which is then in parser.err; what it was building is garbage of the
 * arena. Each {{define}} and {{block}} is parsed by a `struct tree` of its own: it sees none of the
 * variables around it and is outside of any {{range}}. */
#include "parse.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "gonum.h"
#include "gotext.h"
#include "lexer.h"

struct parser {
    struct template *t;
    struct lexer lexer;
    parse_find_function find;
    struct definition **definitions_end;
    uint32_t depth;
    struct err *err; /* the caller's, may be NULL */
};

struct tree {
    struct parser *p;
    struct token token[3]; /* pushed-back tokens; [0] is the last one that the lexer gave */
    uint32_t n_pushed;
    uint32_t action_line; /* of the left delimiter of the action being read; 0 outside */
    uint32_t range_depth;
    struct bytes *vars; /* owned: the names in scope */
    size_t n_vars, cap_vars;
};

static struct node *parse_list_until(struct tree *tr, struct node_list *list);
static struct node *parse_pipeline(struct tree *tr, const char *context, enum token_kind end);

/* ---- errors and nodes ---- */

_printf_(2, 3) static struct node *fail(struct tree *tr, const char *fmt, ...)
{
    _cleanup_free_ char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = xvasprintf(fmt, ap);
    va_end(ap);
    (void)err_set(
        tr->p->err, -EINVAL, "template: %s:%u: %s", tr->p->t->name, tr->token[0].line, text);
    return NULL;
}

static struct node *fail_bytes(
    struct tree *tr, const char *before, struct bytes quoted, const char *after)
{
    _cleanup_strbuf_ struct strbuf text = {0};

    text_quote(&text, quoted, false);
    return fail(tr, "%s%s%s", before, strbuf_cstr(&text), after);
}

static struct node *unexpected(struct tree *tr, const struct token *token, const char *context)
{
    _cleanup_strbuf_ struct strbuf text = {0};

    token_describe(token, &text);
    if (token->kind != TOKEN_ERROR) {
        return fail(tr, "unexpected %s in %s", strbuf_cstr(&text), context);
    }
    if (tr->action_line != 0 && tr->action_line != token->line) {
        /* "unclosed action started at", not "unclosed action in action started at" */
        bool doubled = strcmp(strbuf_cstr(&text), "unclosed action") == 0;

        return fail(tr, "%s%s started at %s:%u", strbuf_cstr(&text), doubled ? "" : " in action",
            tr->p->t->name, tr->action_line);
    }
    return fail(tr, "%s", strbuf_cstr(&text));
}

static void *parse_alloc(struct parser *p, size_t n, size_t size)
{
    void *ptr = arena_calloc(&p->t->arena, n, size);

    decree_assert(ptr != NULL); /* a template's arena has no ceiling; its source has */
    return ptr;
}

static struct node *new_node(struct tree *tr, enum node_kind kind, const struct token *token)
{
    struct node *n = parse_alloc(tr->p, 1, sizeof(*n));

    n->kind = kind;
    n->pos = token->pos;
    n->line = token->line;
    return n;
}

static void list_append(struct node_list *list, struct node *n)
{
    if (list->last != NULL) {
        list->last->next = n;
    } else {
        list->first = n;
    }
    list->last = n;
    list->n++;
}

static bool enter(struct tree *tr)
{
    if (tr->p->depth == PARSE_DEPTH_MAX) {
        (void)fail(tr, "actions and parentheses nest more than %d deep", PARSE_DEPTH_MAX);
        return false;
    }
    tr->p->depth++;
    return true;
}

static struct node *leave(struct tree *tr, struct node *n)
{
    tr->p->depth--;
    return n;
}

/* ---- tokens ---- */

static struct token next(struct tree *tr)
{
    if (tr->n_pushed > 0) {
        tr->n_pushed--;
    } else {
        tr->token[0] = lexer_next(&tr->p->lexer);
    }
    return tr->token[tr->n_pushed];
}

static void push_back(struct tree *tr)
{
    tr->n_pushed++;
}

/* Pushes back one more token, in front of the one pushed already. */
static void push_back2(struct tree *tr, struct token first)
{
    tr->token[1] = first;
    tr->n_pushed = 2;
}

static void push_back3(struct tree *tr, struct token first, struct token second)
{
    tr->token[1] = second;
    tr->token[2] = first;
    tr->n_pushed = 3;
}

static struct token peek(struct tree *tr)
{
    if (tr->n_pushed == 0) {
        tr->token[0] = lexer_next(&tr->p->lexer);
        tr->n_pushed = 1;
    }
    return tr->token[tr->n_pushed - 1];
}

static struct token next_nonspace(struct tree *tr)
{
    struct token t = next(tr);

    while (t.kind == TOKEN_SPACE) {
        t = next(tr);
    }
    return t;
}

static struct token peek_nonspace(struct tree *tr)
{
    struct token t = next_nonspace(tr);

    push_back(tr);
    return t;
}

static bool expect(struct tree *tr, enum token_kind kind, const char *context)
{
    struct token t = next_nonspace(tr);

    if (t.kind != kind) {
        (void)unexpected(tr, &t, context);
        return false;
    }
    return true;
}

/* ---- trees, variables, definitions ---- */

static void declare(struct tree *tr, struct bytes name)
{
    if (tr->n_vars == tr->cap_vars) {
        tr->cap_vars = MAX(tr->cap_vars * 2, (size_t)8);
        tr->vars = xreallocarray(tr->vars, tr->cap_vars, sizeof(*tr->vars));
    }
    tr->vars[tr->n_vars++] = name;
}

static void tree_init(struct tree *tr, struct parser *p)
{
    *tr = (struct tree){.p = p};
    declare(tr, BYTES_LITERAL("$"));
}

static void tree_deinit(struct tree *tr)
{
    free(tr->vars);
}

/* Text that is all white space and definitions alone make an empty template, which may be defined
 * again and never replaces one that is not empty. */
static bool list_is_empty(const struct node_list *list)
{
    for (const struct node *n = list->first; n != NULL; n = n->next) {
        size_t width;

        if (n->kind != NODE_TEXT) {
            return false;
        }
        for (size_t i = 0; i < n->u.text.len; i += width) {
            uint32_t rune = text_decode(bytes_from(n->u.text, i), &width);

            if (!((rune >= '\t' && rune <= '\r') || rune == ' ' || rune == 0x85 || rune == 0xa0)) {
                return false;
            }
        }
    }
    return true;
}

static bool add_definition(struct tree *tr, struct bytes name, const struct node_list *body)
{
    struct parser *p = tr->p;
    struct definition *d = template_lookup(p->t, name);

    if (d == NULL) {
        d = parse_alloc(p, 1, sizeof(*d));
        d->name = name;
        hmap_insert(&p->t->definitions, &d->by_name, bytes_hash(name));
        *p->definitions_end = d;
        p->definitions_end = &d->next;
    } else if (!list_is_empty(&d->body)) {
        if (!list_is_empty(body)) {
            (void)fail_bytes(tr, "template: multiple definition of template ", name, "");
            return false;
        }
        return true;
    }
    d->body = *body;
    return true;
}

/* ---- operands ---- */

/* The value of a string literal, in the arena. */
static bool unquote(struct tree *tr, const struct token *token, struct bytes *ret)
{
    _cleanup_strbuf_ struct strbuf text = {0};

    if (!text_unquote(token->text, &text)) {
        (void)fail(tr, "invalid syntax");
        return false;
    }
    *ret = arena_copy(&tr->p->t->arena, strbuf_bytes(&text));
    return true;
}

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
        return fail(tr, "invalid syntax");
    }
    if (!whole) {
        return fail(tr, "malformed character constant: %.*s", (int)MIN(token->text.len, 64u),
            (const char *)token->text.data);
    }
    n->u.number.i = (int64_t)rune;
    n->u.number.f = (double)rune;
    n->u.number.is_int = n->u.number.is_float = true;
    return n;
}

static struct node *parse_number(struct tree *tr, const struct token *token)
{
    struct node *n = new_node(tr, NODE_NUMBER, token);
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
        return range ? fail_bytes(tr, "integer overflow: ", token->text, "")
                     : fail_bytes(tr, "illegal number syntax: ", token->text, "");
    }
    if (!float_form) {
        return fail_bytes(tr, "integer overflow: ", token->text, "");
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
    struct node *n = new_node(tr, kind, token);

    n->u.path.names = parse_alloc(tr->p, 1, sizeof(struct bytes));
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
    return fail_bytes(tr, "undefined variable ", token->text, "");
}

static struct node *use_function(struct tree *tr, const struct token *token)
{
    struct node *n = new_node(tr, NODE_IDENTIFIER, token);

    n->u.ident.name = token->text;
    n->u.ident.function = tr->p->find(token->text);
    return n->u.ident.function != NULL ? n
                                       : fail_bytes(tr, "function ", token->text, " not defined");
}

static struct node *string_constant(struct tree *tr, const struct token *token)
{
    struct node *n = new_node(tr, NODE_STRING, token);

    n->u.string.quoted = token->text;
    return unquote(tr, token, &n->u.string.value) ? n : NULL;
}

static struct node *parenthesized(struct tree *tr)
{
    return enter(tr) ? leave(tr, parse_pipeline(tr, "parenthesized pipeline", TOKEN_RIGHT_PAREN))
                     : NULL;
}

/* False after an error; *ret NULL with true: no operand stands here. */
static bool parse_term(struct tree *tr, struct node **ret)
{
    struct token t = next_nonspace(tr);

    switch (t.kind) {
    case TOKEN_IDENTIFIER:
        *ret = use_function(tr, &t);
        break;
    case TOKEN_DOT:
        *ret = new_node(tr, NODE_DOT, &t);
        break;
    case TOKEN_NIL:
        *ret = new_node(tr, NODE_NIL, &t);
        break;
    case TOKEN_VARIABLE:
        *ret = use_variable(tr, &t);
        break;
    case TOKEN_FIELD:
        *ret = new_path(tr, NODE_FIELD, &t, bytes_from(t.text, 1));
        break;
    case TOKEN_BOOL:
        *ret = new_node(tr, NODE_BOOL, &t);
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
        push_back(tr);
        *ret = NULL;
        return true;
    }
    return *ret != NULL;
}

/* Puts the fields that follow behind base: more names of a field or variable, else a chain. */
static struct node *parse_fields(struct tree *tr, struct node *base)
{
    struct token first = peek(tr);
    bool extends = base->kind == NODE_FIELD || base->kind == NODE_VARIABLE;
    struct node *n = new_node(tr, extends ? base->kind : NODE_CHAIN, &first);
    size_t cap = 4, len = 0;
    struct bytes *names = parse_alloc(tr->p, cap, sizeof(*names));

    if (extends) {
        names[len++] = base->u.path.names[0];
    } else {
        n->u.path.base = base;
    }
    while (peek(tr).kind == TOKEN_FIELD) {
        if (len == cap) {
            struct bytes *more = parse_alloc(tr->p, cap * 2, sizeof(*names));

            memcpy(more, names, len * sizeof(*names));
            names = more;
            cap *= 2;
        }
        names[len++] = bytes_from(next(tr).text, 1);
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
    if (*ret == NULL || peek(tr).kind != TOKEN_FIELD) {
        return true;
    }
    switch ((*ret)->kind) {
    case NODE_BOOL:
    case NODE_STRING:
    case NODE_NUMBER:
    case NODE_NIL:
    case NODE_DOT:
        while (peek(tr).kind == TOKEN_FIELD) {
            (void)next(tr);
        }
        node_describe(*ret, &text);
        (void)fail_bytes(tr, "unexpected . after term ", strbuf_bytes(&text), "");
        return false;
    default:
        *ret = parse_fields(tr, *ret);
        return true;
    }
}

/* ---- pipelines ---- */

static struct node *parse_command(struct tree *tr)
{
    struct token t = peek_nonspace(tr);
    struct node *cmd = new_node(tr, NODE_COMMAND, &t);
    struct node *operand;

    for (;;) {
        (void)peek_nonspace(tr);
        if (!parse_operand(tr, &operand)) {
            return NULL;
        }
        if (operand != NULL) {
            list_append(&cmd->u.args, operand);
        }
        t = next(tr);
        if (t.kind == TOKEN_SPACE) {
            continue;
        }
        if (t.kind == TOKEN_RIGHT_DELIM || t.kind == TOKEN_RIGHT_PAREN) {
            push_back(tr);
        } else if (t.kind != TOKEN_PIPE) {
            return unexpected(tr, &t, "operand");
        }
        break;
    }
    return cmd->u.args.first != NULL ? cmd : fail(tr, "empty command");
}

static void add_decl(struct tree *tr, struct node *pipe, const struct token *v)
{
    list_append(&pipe->u.pipeline.decl, new_path(tr, NODE_VARIABLE, v, v->text));
    declare(tr, v->text);
}

/* Behind "$x,": only range takes a second variable. ret_more: it follows. */
static bool parse_second_decl(
    struct tree *tr, const char *context, const struct node *pipe, bool *ret_more)
{
    if (strcmp(context, "range") == 0 && pipe->u.pipeline.decl.n < 2) {
        enum token_kind kind = peek_nonspace(tr).kind;

        if (kind == TOKEN_VARIABLE || kind == TOKEN_RIGHT_DELIM || kind == TOKEN_RIGHT_PAREN) {
            *ret_more = true;
            return true;
        }
        (void)fail(tr, "range can only initialize variables");
        return false;
    }
    (void)fail(tr, "too many declarations in %s", context);
    return false;
}

/* "$x :=", "$x =", "$i, $x :=". A variable that is only used is pushed back. */
static bool parse_decls(struct tree *tr, const char *context, struct node *pipe)
{
    for (bool more = true; more;) {
        struct token v = peek_nonspace(tr), after, t;

        more = false;
        if (v.kind != TOKEN_VARIABLE) {
            return true;
        }
        (void)next(tr);
        after = peek(tr);
        t = peek_nonspace(tr);
        if (t.kind == TOKEN_ASSIGN || t.kind == TOKEN_DECLARE) {
            pipe->u.pipeline.is_assign = t.kind == TOKEN_ASSIGN;
            (void)next_nonspace(tr);
            add_decl(tr, pipe, &v);
        } else if (t.kind == TOKEN_CHAR && t.text.data[0] == ',') {
            (void)next_nonspace(tr);
            add_decl(tr, pipe, &v);
            if (!parse_second_decl(tr, context, pipe, &more)) {
                return false;
            }
        } else if (after.kind == TOKEN_SPACE) {
            push_back3(tr, v, after);
        } else {
            push_back2(tr, v);
        }
    }
    return true;
}

static struct node *check_pipeline(struct tree *tr, struct node *pipe, const char *context)
{
    unsigned stage = 1;

    if (pipe->u.pipeline.commands.first == NULL) {
        return fail(tr, "missing value for %s", context);
    }
    for (struct node *c = pipe->u.pipeline.commands.first->next; c != NULL; c = c->next) {
        stage++;
        switch (c->u.args.first->kind) {
        case NODE_BOOL:
        case NODE_DOT:
        case NODE_NIL:
        case NODE_NUMBER:
        case NODE_STRING:
            return fail(tr, "non executable command in pipeline stage %u", stage);
        default:
            break;
        }
    }
    return pipe;
}

static struct node *parse_pipeline(struct tree *tr, const char *context, enum token_kind end)
{
    struct token t = peek_nonspace(tr);
    struct node *pipe = new_node(tr, NODE_PIPE, &t);
    struct node *cmd;

    if (!parse_decls(tr, context, pipe)) {
        return NULL;
    }
    for (;;) {
        t = next_nonspace(tr);
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
            push_back(tr);
            cmd = parse_command(tr);
            if (cmd == NULL) {
                return NULL;
            }
            list_append(&pipe->u.pipeline.commands, cmd);
            break;
        default:
            return unexpected(tr, &t, context);
        }
    }
}

/* ---- control structures ---- */

static struct node *unexpected_end(struct tree *tr, const struct node *end, const char *context)
{
    return fail(tr, "unexpected %s%s%s", end->kind == NODE_END ? "{{end}}" : "{{else}}",
        context != NULL ? " in " : "", context != NULL ? context : "");
}

static struct node *parse_else_list(struct tree *tr, struct node *branch)
{
    struct node *end = parse_list_until(tr, &branch->u.branch.else_list);

    branch->u.branch.has_else = true;
    if (end != NULL && end->kind != NODE_END) {
        return fail(tr, "expected end; found {{else}}");
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
    struct node *first = new_node(tr, kind, token), *branch = first;
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
        if (end->kind == NODE_ELSE && chain != TOKEN_ERROR && peek(tr).kind == chain) {
            (void)next(tr);
            inner = new_node(tr, kind, token);
            list_append(&branch->u.branch.else_list, inner);
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
    enum token_kind kind = peek_nonspace(tr).kind;

    /* The word stays for parse_branch, which knows whether it may stand here. */
    if (kind != TOKEN_IF && kind != TOKEN_WITH && !expect(tr, TOKEN_RIGHT_DELIM, "else")) {
        return NULL;
    }
    return new_node(tr, NODE_ELSE, token);
}

static struct node *parse_loop_exit(struct tree *tr, const struct token *token)
{
    bool is_break = token->kind == TOKEN_BREAK;
    const char *what = is_break ? "{{break}}" : "{{continue}}";
    struct token t = next_nonspace(tr);

    if (t.kind != TOKEN_RIGHT_DELIM) {
        return unexpected(tr, &t, what);
    }
    if (tr->range_depth == 0) {
        return fail(tr, "%s outside {{range}}", what);
    }
    return new_node(tr, is_break ? NODE_BREAK : NODE_CONTINUE, token);
}

static bool parse_name(
    struct tree *tr, const struct token *token, const char *context, struct bytes *ret)
{
    if (token->kind != TOKEN_STRING && token->kind != TOKEN_RAW_STRING) {
        (void)unexpected(tr, token, context);
        return false;
    }
    return unquote(tr, token, ret);
}

static struct node *parse_call(struct tree *tr)
{
    struct token name = next_nonspace(tr);
    struct node *n = new_node(tr, NODE_TEMPLATE, &name);

    if (!parse_name(tr, &name, "template clause", &n->u.call.name)) {
        return NULL;
    }
    if (next_nonspace(tr).kind == TOKEN_RIGHT_DELIM) {
        return n;
    }
    push_back(tr);
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
    return end != NULL && add_definition(body, name, &list);
}

static struct node *parse_block(struct tree *tr)
{
    struct token name = next_nonspace(tr);
    struct node *n = new_node(tr, NODE_TEMPLATE, &name);
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
    token = next_nonspace(&body);
    if (parse_name(&body, &token, "define clause", &name) &&
        expect(&body, TOKEN_RIGHT_DELIM, "define clause")) {
        ok = parse_body(&body, name, "define clause", &body);
    }
    tree_deinit(&body);
    return ok;
}

static struct node *parse_action(struct tree *tr)
{
    struct token t = next_nonspace(tr);
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
        return expect(tr, TOKEN_RIGHT_DELIM, "end") ? new_node(tr, NODE_END, &t) : NULL;
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
    push_back(tr);
    t = peek(tr);
    n = new_node(tr, NODE_ACTION, &t);
    n->u.pipe = parse_pipeline(tr, "command", TOKEN_RIGHT_DELIM);
    return n->u.pipe != NULL ? n : NULL;
}

static struct node *parse_text_or_action(struct tree *tr)
{
    struct token t = next_nonspace(tr);
    struct node *n;

    if (t.kind == TOKEN_TEXT) {
        n = new_node(tr, NODE_TEXT, &t);
        n->u.text = t.text;
        return n;
    }
    if (t.kind != TOKEN_LEFT_DELIM) {
        return unexpected(tr, &t, "input");
    }
    if (!enter(tr)) {
        return NULL;
    }
    tr->action_line = t.line;
    n = leave(tr, parse_action(tr));
    if (n != NULL) {
        tr->action_line = 0;
    }
    return n;
}

/* Fills list up to an {{end}} or {{else}}, which it returns. */
static struct node *parse_list_until(struct tree *tr, struct node_list *list)
{
    while (peek_nonspace(tr).kind != TOKEN_EOF) {
        struct node *n = parse_text_or_action(tr);

        if (n == NULL || n->kind == NODE_END || n->kind == NODE_ELSE) {
            return n;
        }
        list_append(list, n);
    }
    return fail(tr, "unexpected EOF");
}

static bool parse_file(struct tree *tr, struct node_list *list)
{
    while (peek(tr).kind != TOKEN_EOF) {
        struct node *n;

        if (peek(tr).kind == TOKEN_LEFT_DELIM) {
            struct token delim = next(tr);

            if (next_nonspace(tr).kind == TOKEN_DEFINE) {
                if (!parse_define(tr->p)) {
                    return false;
                }
                continue;
            }
            push_back2(tr, delim);
        }
        n = parse_text_or_action(tr);
        if (n == NULL) {
            return false;
        }
        if (n->kind == NODE_END || n->kind == NODE_ELSE) {
            (void)unexpected_end(tr, n, NULL);
            return false;
        }
        list_append(list, n);
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
    ok = parse_file(&tr, &list) && add_definition(&tr, name, &list);
    tree_deinit(&tr);
    if (!ok) {
        return -EINVAL;
    }
    t->root = template_lookup(t, name);
    return 0;
}
