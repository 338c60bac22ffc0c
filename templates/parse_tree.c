#include "parse_tree.h"

#include <errno.h>
#include <stdarg.h>

#include "gotext.h"

/* ---- errors and nodes ---- */

_printf_(2, 3) struct node *tree_fail(struct tree *tr, const char *fmt, ...)
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

struct node *tree_fail_bytes(
    struct tree *tr, const char *before, struct bytes quoted, const char *after)
{
    _cleanup_strbuf_ struct strbuf text = {0};

    text_quote(&text, quoted, false);
    return tree_fail(tr, "%s%s%s", before, strbuf_cstr(&text), after);
}

struct node *tree_unexpected(struct tree *tr, const struct token *token, const char *context)
{
    _cleanup_strbuf_ struct strbuf text = {0};

    token_describe(token, &text);
    if (token->kind != TOKEN_ERROR) {
        return tree_fail(tr, "unexpected %s in %s", strbuf_cstr(&text), context);
    }
    if (tr->action_line != 0 && tr->action_line != token->line) {
        /* "unclosed action started at", not "unclosed action in action started at" */
        bool doubled = strcmp(strbuf_cstr(&text), "unclosed action") == 0;

        return tree_fail(tr, "%s%s started at %s:%u", strbuf_cstr(&text),
            doubled ? "" : " in action", tr->p->t->name, tr->action_line);
    }
    return tree_fail(tr, "%s", strbuf_cstr(&text));
}

void *tree_alloc(struct parser *p, size_t n, size_t size)
{
    void *ptr = arena_calloc(&p->t->arena, n, size);

    decree_assert(ptr != NULL); /* a template's arena has no ceiling; its source has */
    return ptr;
}

struct node *tree_node(struct tree *tr, enum node_kind kind, const struct token *token)
{
    struct node *n = tree_alloc(tr->p, 1, sizeof(*n));

    n->kind = kind;
    n->pos = token->pos;
    n->line = token->line;
    return n;
}

void tree_append(struct node_list *list, struct node *n)
{
    if (list->last != NULL) {
        list->last->next = n;
    } else {
        list->first = n;
    }
    list->last = n;
    list->n++;
}

bool tree_enter(struct tree *tr)
{
    if (tr->p->depth == PARSE_DEPTH_MAX) {
        (void)tree_fail(tr, "actions and parentheses nest more than %d deep", PARSE_DEPTH_MAX);
        return false;
    }
    tr->p->depth++;
    return true;
}

struct node *tree_leave(struct tree *tr, struct node *n)
{
    tr->p->depth--;
    return n;
}

/* ---- tokens ---- */

struct token tree_next(struct tree *tr)
{
    if (tr->n_pushed > 0) {
        tr->n_pushed--;
    } else {
        tr->token[0] = lexer_next(&tr->p->lexer);
    }
    return tr->token[tr->n_pushed];
}

void tree_push_back(struct tree *tr)
{
    tr->n_pushed++;
}

/* Pushes back one more token, in front of the one pushed already. */
void tree_push_back2(struct tree *tr, struct token first)
{
    tr->token[1] = first;
    tr->n_pushed = 2;
}

void tree_push_back3(struct tree *tr, struct token first, struct token second)
{
    tr->token[1] = second;
    tr->token[2] = first;
    tr->n_pushed = 3;
}

struct token tree_peek(struct tree *tr)
{
    if (tr->n_pushed == 0) {
        tr->token[0] = lexer_next(&tr->p->lexer);
        tr->n_pushed = 1;
    }
    return tr->token[tr->n_pushed - 1];
}

struct token tree_next_nonspace(struct tree *tr)
{
    struct token t = tree_next(tr);

    while (t.kind == TOKEN_SPACE) {
        t = tree_next(tr);
    }
    return t;
}

struct token tree_peek_nonspace(struct tree *tr)
{
    struct token t = tree_next_nonspace(tr);

    tree_push_back(tr);
    return t;
}

bool tree_expect(struct tree *tr, enum token_kind kind, const char *context)
{
    struct token t = tree_next_nonspace(tr);

    if (t.kind != kind) {
        (void)tree_unexpected(tr, &t, context);
        return false;
    }
    return true;
}

/* ---- trees, variables, definitions ---- */

void tree_declare(struct tree *tr, struct bytes name)
{
    if (tr->n_vars == tr->cap_vars) {
        tr->cap_vars = MAX(tr->cap_vars * 2, (size_t)8);
        tr->vars = xreallocarray(tr->vars, tr->cap_vars, sizeof(*tr->vars));
    }
    tr->vars[tr->n_vars++] = name;
}

void tree_init(struct tree *tr, struct parser *p)
{
    *tr = (struct tree){.p = p};
    tree_declare(tr, BYTES_LITERAL("$"));
}

void tree_deinit(struct tree *tr)
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

bool tree_add_definition(struct tree *tr, struct bytes name, const struct node_list *body)
{
    struct parser *p = tr->p;
    struct definition *d = template_lookup(p->t, name);

    if (d == NULL) {
        d = tree_alloc(p, 1, sizeof(*d));
        d->name = name;
        hmap_insert(&p->t->definitions, &d->by_name, bytes_hash(name));
        *p->definitions_end = d;
        p->definitions_end = &d->next;
    } else if (!list_is_empty(&d->body)) {
        if (!list_is_empty(body)) {
            (void)tree_fail_bytes(tr, "template: multiple definition of template ", name, "");
            return false;
        }
        return true;
    }
    d->body = *body;
    return true;
}

/* ---- literals ---- */

bool tree_unquote(struct tree *tr, const struct token *token, struct bytes *ret)
{
    _cleanup_strbuf_ struct strbuf text = {0};

    if (!text_unquote(token->text, &text)) {
        (void)tree_fail(tr, "invalid syntax");
        return false;
    }
    *ret = arena_copy(&tr->p->t->arena, strbuf_bytes(&text));
    return true;
}
