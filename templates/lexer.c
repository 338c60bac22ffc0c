#include "lexer.h"

#include <stdarg.h>

#include "gotext.h"

static const struct {
    const char *word;
    enum token_kind kind;
} keywords[] = {
    {"block", TOKEN_BLOCK},
    {"break", TOKEN_BREAK},
    {"continue", TOKEN_CONTINUE},
    {"define", TOKEN_DEFINE},
    {"else", TOKEN_ELSE},
    {"end", TOKEN_END},
    {"if", TOKEN_IF},
    {"nil", TOKEN_NIL},
    {"range", TOKEN_RANGE},
    {"template", TOKEN_TEMPLATE},
    {"with", TOKEN_WITH},
    {"true", TOKEN_BOOL},
    {"false", TOKEN_BOOL},
};

/* Go's unicode notation, as in "bad character U+0026 '&'". */
static void append_unicode(struct strbuf *out, uint32_t rune)
{
    strbuf_printf(out, "U+%04X", (unsigned)rune);
    if (rune_is_print(rune)) {
        strbuf_append_str(out, " '");
        text_append_rune(out, rune);
        strbuf_append_char(out, '\'');
    }
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_alphanumeric(uint32_t rune)
{
    return rune == '_' || rune_is_digit(rune) || rune_is_letter(rune);
}

static struct bytes rest(const struct lexer *l)
{
    return bytes_from(l->input, l->pos);
}

static bool at_end(const struct lexer *l)
{
    return l->pos >= l->input.len;
}

/* The byte at pos; 0 at the end, which is no valid character of an action. */
static uint8_t peek_byte(const struct lexer *l)
{
    return at_end(l) ? 0 : l->input.data[l->pos];
}

static bool at_left_trim(struct bytes s)
{
    return s.len >= 2 && s.data[0] == '-' && is_space(s.data[1]);
}

static bool at_right_trim(struct bytes s)
{
    return s.len >= 2 && is_space(s.data[0]) && s.data[1] == '-';
}

static bool at_right_delim(const struct lexer *l, bool *ret_trim)
{
    struct bytes s = rest(l);

    *ret_trim = at_right_trim(s) && bytes_starts_with(bytes_from(s, 2), l->right);
    return *ret_trim || bytes_starts_with(s, l->right);
}

/* Drops [start, pos). */
static void ignore(struct lexer *l)
{
    struct bytes skipped = bytes_make(l->input.data + l->start, l->pos - l->start);

    l->line += (uint32_t)bytes_count_byte(skipped, '\n');
    l->start = l->pos;
}

static struct token emit(struct lexer *l, enum token_kind kind)
{
    struct token t = {.kind = kind, .line = l->line, .pos = l->start};

    t.text = bytes_make(l->input.data + l->start, l->pos - l->start);
    ignore(l);
    return t;
}

static struct token error_take(struct lexer *l, struct strbuf *message)
{
    struct token t = {.kind = TOKEN_ERROR, .line = l->line, .pos = l->start};

    t.text = arena_copy(l->arena, strbuf_bytes(message));
    strbuf_deinit(message);
    l->state = LEXER_DONE;
    return t;
}

static struct token error_text(struct lexer *l, const char *message)
{
    struct strbuf text = {0};

    strbuf_append_str(&text, message);
    return error_take(l, &text);
}

static struct token error_rune(struct lexer *l, const char *message, uint32_t rune)
{
    struct strbuf text = {0};

    strbuf_append_str(&text, message);
    append_unicode(&text, rune);
    return error_take(l, &text);
}

static size_t spaces_at_end(struct bytes s)
{
    size_t n = 0;

    while (n < s.len && is_space(s.data[s.len - 1 - n])) {
        n++;
    }
    return n;
}

static void skip_spaces(struct lexer *l)
{
    while (!at_end(l) && is_space(peek_byte(l))) {
        l->pos++;
    }
}

/* Reads text up to the next left delimiter. False when nothing of it remains after trimming. */
static bool lex_text(struct lexer *l, struct token *ret)
{
    size_t end = bytes_find(l->input, l->left, l->pos);
    size_t keep = end;

    if (end < l->input.len) {
        l->state = LEXER_LEFT_DELIM;
        if (at_left_trim(bytes_from(l->input, end + l->left.len))) {
            keep -= spaces_at_end(bytes_make(l->input.data + l->start, end - l->start));
        }
    } else {
        l->state = LEXER_DONE;
    }
    l->pos = keep;
    if (keep > l->start) {
        *ret = emit(l, TOKEN_TEXT);
        l->pos = end;
        ignore(l);
        if (l->state == LEXER_DONE) {
            l->state = LEXER_TEXT; /* the next call finds the end */
        }
        return true;
    }
    l->pos = end;
    ignore(l);
    if (l->state == LEXER_DONE) {
        *ret = emit(l, TOKEN_EOF);
        return true;
    }
    return false;
}

/* The mark of a comment stands at pos. True when an error has to be told. */
static bool lex_comment(struct lexer *l, struct token *ret)
{
    size_t end = bytes_find(l->input, BYTES_LITERAL("*/"), l->pos + 2);
    bool trim;

    if (end >= l->input.len) {
        *ret = error_text(l, "unclosed comment");
        return true;
    }
    l->pos = end + 2;
    if (!at_right_delim(l, &trim)) {
        *ret = error_text(l, "comment ends before closing delimiter");
        return true;
    }
    l->pos += (trim ? 2 : 0) + l->right.len;
    if (trim) {
        skip_spaces(l);
    }
    ignore(l);
    l->state = LEXER_TEXT;
    return false;
}

/* False after a comment: then no token came of it. */
static bool lex_left_delim(struct lexer *l, struct token *ret)
{
    size_t marker;

    l->pos += l->left.len;
    marker = at_left_trim(rest(l)) ? 2 : 0;
    if (bytes_starts_with(bytes_from(l->input, l->pos + marker), BYTES_LITERAL("/*"))) {
        l->pos += marker;
        ignore(l);
        return lex_comment(l, ret);
    }
    *ret = emit(l, TOKEN_LEFT_DELIM);
    l->pos += marker;
    ignore(l);
    l->paren_depth = 0;
    l->state = LEXER_ACTION;
    return true;
}

static struct token lex_right_delim(struct lexer *l)
{
    struct token t;
    bool trim;

    (void)at_right_delim(l, &trim);
    if (trim) {
        l->pos += 2;
        ignore(l);
    }
    l->pos += l->right.len;
    t = emit(l, TOKEN_RIGHT_DELIM);
    if (trim) {
        skip_spaces(l);
        ignore(l);
    }
    l->state = LEXER_TEXT;
    return t;
}

/* A run of spaces; the last one may belong to a trimming right delimiter. */
static struct token lex_space(struct lexer *l)
{
    size_t last;

    skip_spaces(l);
    last = l->pos - 1;
    if (at_right_trim(bytes_from(l->input, last)) &&
        bytes_starts_with(bytes_from(l->input, last + 2), l->right)) {
        l->pos = last;
        if (l->start == last) {
            return lex_right_delim(l);
        }
    }
    return emit(l, TOKEN_SPACE);
}

/* Whether what stands at pos may follow an identifier. */
static bool at_terminator(const struct lexer *l)
{
    if (at_end(l) || is_space(peek_byte(l))) {
        return true;
    }
    return strchr(".,|:)(", peek_byte(l)) != NULL ? peek_byte(l) != 0
                                                  : bytes_starts_with(rest(l), l->right);
}

static uint32_t skip_alphanumeric(struct lexer *l)
{
    for (;;) {
        size_t width;
        uint32_t rune = text_decode(rest(l), &width);

        if (width == 0 || !is_alphanumeric(rune)) {
            return rune;
        }
        l->pos += width;
    }
}

/* .Name or $name; the mark has been read. A mark alone is the dot, or the variable "$". */
static struct token lex_name(struct lexer *l, enum token_kind kind, enum token_kind alone)
{
    uint32_t rune;

    if (at_terminator(l)) {
        return emit(l, alone);
    }
    rune = skip_alphanumeric(l);
    if (!at_terminator(l)) {
        return error_rune(l, "bad character ", rune);
    }
    return emit(l, kind);
}

static struct token lex_identifier(struct lexer *l)
{
    uint32_t rune = skip_alphanumeric(l);
    struct bytes word = bytes_make(l->input.data + l->start, l->pos - l->start);

    if (!at_terminator(l)) {
        return error_rune(l, "bad character ", rune);
    }
    for (size_t i = 0; i < ARRAY_SIZE(keywords); i++) {
        if (bytes_eq(word, bytes_str(keywords[i].word))) {
            return emit(l, keywords[i].kind);
        }
    }
    return emit(l, TOKEN_IDENTIFIER);
}

/* "…" or '…', on one line; the quote has been read. */
static struct token lex_quoted(struct lexer *l, char quote, enum token_kind kind, const char *what)
{
    while (!at_end(l) && peek_byte(l) != '\n') {
        uint8_t c = l->input.data[l->pos++];

        if (c == (uint8_t)quote) {
            return emit(l, kind);
        }
        if (c == '\\') {
            if (at_end(l) || peek_byte(l) == '\n') {
                break;
            }
            l->pos++;
        }
    }
    return error_text(l, what);
}

static struct token lex_raw_quoted(struct lexer *l)
{
    size_t end = bytes_find(l->input, BYTES_LITERAL("`"), l->pos);

    if (end >= l->input.len) {
        return error_text(l, "unterminated raw quoted string");
    }
    l->pos = end + 1;
    return emit(l, TOKEN_RAW_STRING);
}

static bool accept(struct lexer *l, const char *set)
{
    if (!at_end(l) && peek_byte(l) != 0 && strchr(set, peek_byte(l)) != NULL) {
        l->pos++;
        return true;
    }
    return false;
}

/* Generous: what it lets through and is no number, the parser refuses. */
static bool scan_number(struct lexer *l)
{
    const char *digits = "0123456789_";
    const char *exponent = "eE";
    size_t width;

    (void)accept(l, "+-");
    if (accept(l, "0")) {
        if (accept(l, "xX")) {
            digits = "0123456789abcdefABCDEF_";
            exponent = "pP";
        } else if (accept(l, "oO")) {
            digits = "01234567_";
            exponent = "";
        } else if (accept(l, "bB")) {
            digits = "01_";
            exponent = "";
        }
    }
    while (accept(l, digits)) {}
    if (accept(l, ".")) {
        while (accept(l, digits)) {}
    }
    if (accept(l, exponent)) {
        (void)accept(l, "+-");
        while (accept(l, "0123456789_")) {}
    }
    (void)accept(l, "i");
    if (is_alphanumeric(text_decode(rest(l), &width)) && width > 0) {
        l->pos += width;
        return false;
    }
    return true;
}

static struct token lex_number(struct lexer *l)
{
    struct strbuf text = {0};

    /* A sign behind it would make a complex number, which no configuration file has. */
    if (scan_number(l)) {
        if (peek_byte(l) != '+' && peek_byte(l) != '-') {
            return emit(l, TOKEN_NUMBER);
        }
        (void)scan_number(l);
    }
    strbuf_append_str(&text, "bad number syntax: ");
    text_quote(&text, bytes_make(l->input.data + l->start, l->pos - l->start), false);
    return error_take(l, &text);
}

static struct token lex_paren(struct lexer *l, uint8_t c)
{
    if (c == '(') {
        l->paren_depth++;
        return emit(l, TOKEN_LEFT_PAREN);
    }
    l->paren_depth -= l->paren_depth > 0; /* one too many is the parser's to refuse */
    return emit(l, TOKEN_RIGHT_PAREN);
}

/* Tokens of one character and those that begin with a telling one; c has been read. */
static struct token lex_mark(struct lexer *l, uint8_t c)
{
    switch (c) {
    case '=':
        return emit(l, TOKEN_ASSIGN);
    case ':':
        return accept(l, "=") ? emit(l, TOKEN_DECLARE) : error_text(l, "expected :=");
    case '|':
        return emit(l, TOKEN_PIPE);
    case '"':
        return lex_quoted(l, '"', TOKEN_STRING, "unterminated quoted string");
    case '\'':
        return lex_quoted(l, '\'', TOKEN_CHAR_CONSTANT, "unterminated character constant");
    case '`':
        return lex_raw_quoted(l);
    case '$':
        return lex_name(l, TOKEN_VARIABLE, TOKEN_VARIABLE);
    case '.':
        return lex_name(l, TOKEN_FIELD, TOKEN_DOT);
    case '(':
    case ')':
        return lex_paren(l, c);
    default:
        return emit(l, TOKEN_CHAR);
    }
}

static struct token lex_action(struct lexer *l)
{
    size_t width;
    uint32_t rune;
    bool trim;

    if (at_right_delim(l, &trim)) {
        return l->paren_depth == 0 ? lex_right_delim(l) : error_text(l, "unclosed left paren");
    }
    if (at_end(l)) {
        return error_text(l, "unclosed action");
    }
    if (is_space(peek_byte(l))) {
        return lex_space(l);
    }
    rune = text_decode(rest(l), &width);
    if (rune == '+' || rune == '-' || rune_is_digit(rune) ||
        (rune == '.' && l->pos + 1 < l->input.len && rune_is_digit(l->input.data[l->pos + 1]))) {
        return lex_number(l);
    }
    if (is_alphanumeric(rune)) {
        return lex_identifier(l);
    }
    l->pos += width;
    if (rune >= 0x80 || !rune_is_print(rune)) {
        return error_rune(l, "unrecognized character in action: ", rune);
    }
    return lex_mark(l, (uint8_t)rune);
}

void lexer_init(
    struct lexer *l, struct arena *a, struct bytes input, struct bytes left, struct bytes right)
{
    decree_assert(left.len > 0 && right.len > 0);
    *l = (struct lexer){.arena = a, .input = input, .left = left, .right = right, .line = 1};
}

struct token lexer_next(struct lexer *l)
{
    struct token t = {0};

    for (;;) {
        switch (l->state) {
        case LEXER_TEXT:
            if (lex_text(l, &t)) {
                return t;
            }
            break;
        case LEXER_LEFT_DELIM:
            if (lex_left_delim(l, &t)) {
                return t;
            }
            break;
        case LEXER_ACTION:
            return lex_action(l);
        case LEXER_DONE:
            return (struct token){.kind = TOKEN_ERROR, .line = l->line, .pos = l->pos};
        }
    }
}

void token_describe(const struct token *t, struct strbuf *out)
{
    enum { SHOWN_RUNES = 10, SHOWN_BYTES = 10 };
    size_t end = 0, width;

    if (t->kind == TOKEN_EOF) {
        strbuf_append_str(out, "EOF");
    } else if (t->kind == TOKEN_ERROR) {
        strbuf_append_bytes(out, t->text);
    } else if (t->kind > TOKEN_KEYWORD) {
        strbuf_append_char(out, '<');
        strbuf_append_bytes(out, t->text);
        strbuf_append_char(out, '>');
    } else if (t->text.len <= SHOWN_BYTES) {
        text_quote(out, t->text, false);
    } else {
        for (int i = 0; i < SHOWN_RUNES && end < t->text.len; i++) {
            (void)text_decode(bytes_from(t->text, end), &width);
            end += width;
        }
        text_quote(out, bytes_make(t->text.data, end), false);
        strbuf_append_str(out, "...");
    }
}
