/* Splits a template's source into tokens: text outside actions as one token, and what stands
 * between the delimiters. Trimming ("{{- ", " -}}") and comments end here; nobody behind the lexer
 * sees them. Tokens point into the source. */
#ifndef DECREE_TEMPLATES_LEXER_H
#define DECREE_TEMPLATES_LEXER_H

#include "arena.h"
#include "buf.h"

enum token_kind {
    TOKEN_ERROR, /* text says what is wrong; no token follows */
    TOKEN_BOOL,
    TOKEN_CHAR, /* a printable ASCII character without a meaning of its own, such as the comma */
    TOKEN_CHAR_CONSTANT,
    TOKEN_ASSIGN,
    TOKEN_DECLARE,
    TOKEN_EOF,
    TOKEN_FIELD,
    TOKEN_IDENTIFIER,
    TOKEN_LEFT_DELIM,
    TOKEN_LEFT_PAREN,
    TOKEN_NUMBER,
    TOKEN_PIPE,
    TOKEN_RAW_STRING,
    TOKEN_RIGHT_DELIM,
    TOKEN_RIGHT_PAREN,
    TOKEN_SPACE,
    TOKEN_STRING,
    TOKEN_TEXT,
    TOKEN_VARIABLE,
    TOKEN_KEYWORD, /* only a mark: the keywords follow */
    TOKEN_BLOCK,
    TOKEN_BREAK,
    TOKEN_CONTINUE,
    TOKEN_DOT,
    TOKEN_DEFINE,
    TOKEN_ELSE,
    TOKEN_END,
    TOKEN_IF,
    TOKEN_NIL,
    TOKEN_RANGE,
    TOKEN_TEMPLATE,
    TOKEN_WITH,
};

struct token {
    enum token_kind kind;
    uint32_t line; /* where it starts, from 1 */
    size_t pos;    /* byte offset in the source */
    struct bytes text;
};

enum lexer_state { LEXER_TEXT, LEXER_LEFT_DELIM, LEXER_ACTION, LEXER_DONE };

struct lexer {
    struct arena *arena; /* borrowed: where error texts go; without a ceiling */
    struct bytes input;  /* borrowed, as are the delimiters */
    struct bytes left, right;
    enum lexer_state state;
    size_t start, pos; /* the token being read is [start, pos) */
    uint32_t line;     /* of start */
    uint32_t paren_depth;
};

void lexer_init(
    struct lexer *l, struct arena *a, struct bytes input, struct bytes left, struct bytes right);
/* After TOKEN_ERROR or TOKEN_EOF, TOKEN_ERROR with an empty text for ever. */
struct token lexer_next(struct lexer *l);
/* How a message quotes a token: EOF, <range>, "text" (cut after ten characters). */
void token_describe(const struct token *t, struct strbuf *out);

#endif
