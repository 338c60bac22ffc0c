/* What the two halves of the parser share: the tokens of the tree being parsed, with up to three of
 * lookahead, its variables, its nodes and its errors. A function that returns a node returns NULL
 * after an error, which is then in parser.err; what was being built is garbage of the arena. Each
 * {{define}} and {{block}} is parsed by a `struct tree` of its own: it sees none of the variables
 * around it and is outside of any {{range}}. */
#ifndef DECREE_TEMPLATES_PARSE_TREE_H
#define DECREE_TEMPLATES_PARSE_TREE_H

#include "lexer.h"
#include "parse.h"

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

/* Sets the error, with the line of the last token, and returns NULL. */
_printf_(2, 3) struct node *tree_fail(struct tree *tr, const char *fmt, ...);
/* The same with a quoted text between two others. */
struct node *tree_fail_bytes(
    struct tree *tr, const char *before, struct bytes quoted, const char *after);
struct node *tree_unexpected(struct tree *tr, const struct token *token, const char *context);

/* Zeroed, in the template's arena; never NULL. */
void *tree_alloc(struct parser *p, size_t n, size_t size);
struct node *tree_node(struct tree *tr, enum node_kind kind, const struct token *token);
void tree_append(struct node_list *list, struct node *n);
/* One level deeper; false, with the error set, beyond PARSE_DEPTH_MAX. */
bool tree_enter(struct tree *tr);
/* One level back; hands n through. */
struct node *tree_leave(struct tree *tr, struct node *n);

struct token tree_next(struct tree *tr);
struct token tree_peek(struct tree *tr);
struct token tree_next_nonspace(struct tree *tr);
struct token tree_peek_nonspace(struct tree *tr);
/* The token that tree_next gave last comes again. */
void tree_push_back(struct tree *tr);
/* One or two tokens in front of the one that is pushed back already. */
void tree_push_back2(struct tree *tr, struct token first);
void tree_push_back3(struct tree *tr, struct token first, struct token second);
/* False, with the error set, when the next token is of another kind. */
bool tree_expect(struct tree *tr, enum token_kind kind, const char *context);

void tree_init(struct tree *tr, struct parser *p);
void tree_deinit(struct tree *tr);
/* Brings a variable into scope. */
void tree_declare(struct tree *tr, struct bytes name);
bool tree_add_definition(struct tree *tr, struct bytes name, const struct node_list *body);
/* The value of a string literal, in the arena. */
bool tree_unquote(struct tree *tr, const struct token *token, struct bytes *ret);

/* A pipeline up to a token of the kind `end`, which is consumed. context: what messages call it;
 * "range" may declare two variables. */
struct node *parse_pipeline(struct tree *tr, const char *context, enum token_kind end);

#endif
