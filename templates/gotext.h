/* Text as Go sees it: bytes that are usually, but need not be, UTF-8; quoting and unquoting of
 * string and character literals as strconv does it. Bytes that are not UTF-8 decode to U+FFFD of
 * width 1, so that no input can stop a loop over runes. */
#ifndef DECREE_TEMPLATES_GOTEXT_H
#define DECREE_TEMPLATES_GOTEXT_H

#include "buf.h"

enum { RUNE_ERROR = 0xfffd, RUNE_MAX = 0x10ffff, RUNE_BYTES_MAX = 4 };

/* The first rune of s and how many bytes it takes; width 0 only when s is empty. */
uint32_t text_decode(struct bytes s, size_t *ret_width);
/* Writes rune into out and returns its width; what is no rune is written as U+FFFD. */
size_t text_encode(uint32_t rune, uint8_t out[RUNE_BYTES_MAX]);
void text_append_rune(struct strbuf *s, uint32_t rune);
size_t text_rune_count(struct bytes s);

bool rune_is_letter(uint32_t rune);
bool rune_is_digit(uint32_t rune);
bool rune_is_print(uint32_t rune);
uint32_t rune_to_upper(uint32_t rune);
uint32_t rune_to_lower(uint32_t rune);

/* A Go literal: "…" or '…'. ascii escapes everything beyond ASCII. */
void text_quote(struct strbuf *out, struct bytes s, bool ascii);
void text_quote_rune(struct strbuf *out, uint32_t rune, bool ascii);
/* Whether s can stand between backquotes unchanged. */
bool text_can_backquote(struct bytes s);

/* Appends the value of a literal in double quotes or backquotes. False when it is malformed. */
bool text_unquote(struct bytes literal, struct strbuf *out);
/* The value of a character literal such as 'a' or '\n'. False when its first character is
 * malformed; *ret_whole says whether it was the only one. */
bool text_unquote_char(struct bytes literal, uint32_t *ret, bool *ret_whole);

/* Part of s from byte i on. i must not be beyond the end. */
static inline struct bytes bytes_from(struct bytes s, size_t i)
{
    return i == 0 ? s : bytes_make(s.data + i, s.len - i);
}
/* First place of needle in s at or after from; s.len when there is none. */
size_t bytes_find(struct bytes s, struct bytes needle, size_t from);
size_t bytes_count_byte(struct bytes s, uint8_t c);

#endif
