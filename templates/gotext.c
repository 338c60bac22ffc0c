#include "gotext.h"

#include <locale.h>
#include <pthread.h>
#include <wctype.h>

/* Character classes and case come from glibc's C.UTF-8 tables, loaded once: the same on every host
 * and no matter what locale the process runs in. Without them only ASCII is known. */
static locale_t utf8_locale;
static pthread_once_t utf8_once = PTHREAD_ONCE_INIT;

static void load_utf8(void)
{
    utf8_locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}

static bool have_tables(void)
{
    (void)pthread_once(&utf8_once, load_utf8);
    return utf8_locale != (locale_t)0;
}

/* Smallest rune that needs a sequence of that many bytes. */
static const uint32_t sequence_min[] = {0, 0, 0x80, 0x800, 0x10000};

static size_t sequence_len(uint8_t c)
{
    if (c >= 0xc2 && c <= 0xdf) {
        return 2;
    }
    if ((c & 0xf0) == 0xe0) {
        return 3;
    }
    return c >= 0xf0 && c <= 0xf4 ? 4 : 0;
}

uint32_t text_decode(struct bytes s, size_t *ret_width)
{
    uint32_t rune;
    size_t n;

    if (s.len == 0) {
        *ret_width = 0;
        return RUNE_ERROR;
    }
    *ret_width = 1;
    if (s.data[0] < 0x80) {
        return s.data[0];
    }
    n = sequence_len(s.data[0]);
    if (n == 0 || n > s.len) {
        return RUNE_ERROR;
    }
    rune = s.data[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s.data[i] & 0xc0) != 0x80) {
            return RUNE_ERROR;
        }
        rune = rune << 6 | (s.data[i] & 0x3fu);
    }
    if (rune < sequence_min[n] || rune > RUNE_MAX || (rune >= 0xd800 && rune <= 0xdfff)) {
        return RUNE_ERROR;
    }
    *ret_width = n;
    return rune;
}

size_t text_encode(uint32_t rune, uint8_t out[RUNE_BYTES_MAX])
{
    if (rune > RUNE_MAX || (rune >= 0xd800 && rune <= 0xdfff)) {
        rune = RUNE_ERROR;
    }
    if (rune < 0x80) {
        out[0] = (uint8_t)rune;
        return 1;
    }
    if (rune < 0x800) {
        out[0] = (uint8_t)(0xc0 | rune >> 6);
        out[1] = (uint8_t)(0x80 | (rune & 0x3f));
        return 2;
    }
    if (rune < 0x10000) {
        out[0] = (uint8_t)(0xe0 | rune >> 12);
        out[1] = (uint8_t)(0x80 | (rune >> 6 & 0x3f));
        out[2] = (uint8_t)(0x80 | (rune & 0x3f));
        return 3;
    }
    out[0] = (uint8_t)(0xf0 | rune >> 18);
    out[1] = (uint8_t)(0x80 | (rune >> 12 & 0x3f));
    out[2] = (uint8_t)(0x80 | (rune >> 6 & 0x3f));
    out[3] = (uint8_t)(0x80 | (rune & 0x3f));
    return 4;
}

void text_append_rune(struct strbuf *s, uint32_t rune)
{
    uint8_t utf8[RUNE_BYTES_MAX];

    strbuf_append(s, utf8, text_encode(rune, utf8));
}

size_t text_rune_count(struct bytes s)
{
    size_t n = 0, width;

    for (size_t i = 0; i < s.len; i += width) {
        (void)text_decode(bytes_from(s, i), &width);
        n++;
    }
    return n;
}

bool rune_is_letter(uint32_t rune)
{
    if (rune < 0x80) {
        return (rune | 0x20) >= 'a' && (rune | 0x20) <= 'z';
    }
    return have_tables() && iswalpha_l((wint_t)rune, utf8_locale) != 0;
}

bool rune_is_digit(uint32_t rune)
{
    return rune >= '0' && rune <= '9';
}

bool rune_is_print(uint32_t rune)
{
    if (rune < 0x80) {
        return rune >= 0x20 && rune < 0x7f;
    }
    /* Go counts U+0020 alone among the spaces as printable. */
    return have_tables() && iswprint_l((wint_t)rune, utf8_locale) != 0 &&
        iswspace_l((wint_t)rune, utf8_locale) == 0 && rune != 0xa0 && rune != 0xad &&
        rune != 0x2007 && rune != 0x202f;
}

uint32_t rune_to_upper(uint32_t rune)
{
    if (rune < 0x80) {
        return rune >= 'a' && rune <= 'z' ? rune - 0x20 : rune;
    }
    return have_tables() ? (uint32_t)towupper_l((wint_t)rune, utf8_locale) : rune;
}

uint32_t rune_to_lower(uint32_t rune)
{
    if (rune < 0x80) {
        return rune >= 'A' && rune <= 'Z' ? rune + 0x20 : rune;
    }
    return have_tables() ? (uint32_t)towlower_l((wint_t)rune, utf8_locale) : rune;
}

/* What follows the backslash in the short escapes; 0 for characters without one. */
static char short_escape(uint32_t rune)
{
    static const char names[] = "abtnvfr";

    return rune >= 7 && rune <= 13 ? names[rune - 7] : 0;
}

static void append_escaped(struct strbuf *out, uint32_t rune, char quote, bool ascii)
{
    if (rune == (uint32_t)(uint8_t)quote || rune == '\\') {
        strbuf_append_char(out, '\\');
        strbuf_append_char(out, (char)rune);
    } else if (rune < 0x80 ? rune_is_print(rune) : !ascii && rune_is_print(rune)) {
        text_append_rune(out, rune);
    } else if (short_escape(rune) != 0) {
        strbuf_append_char(out, '\\');
        strbuf_append_char(out, short_escape(rune));
    } else if (rune < 0x20 || rune == 0x7f) {
        strbuf_printf(out, "\\x%02x", (unsigned)rune);
    } else if (rune > RUNE_MAX) {
        strbuf_append_str(out, "\\ufffd");
    } else {
        strbuf_printf(out, rune < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)rune);
    }
}

void text_quote(struct strbuf *out, struct bytes s, bool ascii)
{
    size_t width;

    strbuf_append_char(out, '"');
    for (size_t i = 0; i < s.len; i += width) {
        uint32_t rune = text_decode(bytes_from(s, i), &width);

        if (rune == RUNE_ERROR && width == 1) {
            strbuf_printf(out, "\\x%02x", s.data[i]);
        } else {
            append_escaped(out, rune, '"', ascii);
        }
    }
    strbuf_append_char(out, '"');
}

void text_quote_rune(struct strbuf *out, uint32_t rune, bool ascii)
{
    if (rune > RUNE_MAX || (rune >= 0xd800 && rune <= 0xdfff)) {
        rune = RUNE_ERROR;
    }
    strbuf_append_char(out, '\'');
    append_escaped(out, rune, '\'', ascii);
    strbuf_append_char(out, '\'');
}

bool text_can_backquote(struct bytes s)
{
    size_t width;

    for (size_t i = 0; i < s.len; i += width) {
        uint32_t rune = text_decode(bytes_from(s, i), &width);

        if ((rune == RUNE_ERROR && width == 1) || rune == 0xfeff || rune == '`' || rune == 0x7f ||
            (rune < ' ' && rune != '\t')) {
            return false;
        }
    }
    return true;
}

static int digit_value(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

/* Reads n digits of the base at *at; moves *at behind them. */
static bool read_digits(struct bytes s, size_t *at, size_t n, int base, uint32_t *ret)
{
    uint32_t v = 0;

    if (s.len - *at < n) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        int d = digit_value(s.data[(*at)++]);

        if (d >= base) {
            return false;
        }
        v = v * (uint32_t)base + (uint32_t)d;
    }
    *ret = v;
    return true;
}

/* One element of a quoted literal at *at. ret_is_byte: a raw byte (\x41, \101), not a rune. */
static bool read_escape(struct bytes s, size_t *at, char quote, uint32_t *ret, bool *ret_is_byte)
{
    static const char letters[] = "abtnvfr";
    uint8_t c;
    const char *short_name;

    *ret_is_byte = false;
    if (*at >= s.len) {
        return false;
    }
    c = s.data[(*at)++];
    short_name = c != 0 ? strchr(letters, c) : NULL;
    if (short_name != NULL) {
        *ret = (uint32_t)(short_name - letters) + 7;
        return true;
    }
    switch (c) {
    case 'x':
        *ret_is_byte = true;
        return read_digits(s, at, 2, 16, ret);
    case 'u':
    case 'U':
        return read_digits(s, at, c == 'u' ? 4 : 8, 16, ret) && *ret <= RUNE_MAX &&
            !(*ret >= 0xd800 && *ret <= 0xdfff);
    case '\\':
        *ret = c;
        return true;
    case '\'':
    case '"':
        *ret = c;
        return c == (uint8_t)quote;
    default:
        *ret_is_byte = true;
        (*at)--;
        return c >= '0' && c <= '7' && read_digits(s, at, 3, 8, ret) && *ret <= 255;
    }
}

static bool read_element(struct bytes s, size_t *at, char quote, uint32_t *ret, bool *ret_is_byte)
{
    size_t width;

    *ret_is_byte = false;
    if (s.data[*at] == '\\') {
        (*at)++;
        return read_escape(s, at, quote, ret, ret_is_byte);
    }
    *ret = text_decode(bytes_from(s, *at), &width);
    if (*ret == RUNE_ERROR && width == 1) {
        *ret = s.data[*at];
        *ret_is_byte = true;
    }
    *at += width;
    return *ret != '\n' && *ret != (uint32_t)(uint8_t)quote;
}

bool text_unquote(struct bytes literal, struct strbuf *out)
{
    struct bytes s;
    bool is_byte;

    if (literal.len < 2 || literal.data[0] != literal.data[literal.len - 1]) {
        return false;
    }
    s = bytes_make(literal.data + 1, literal.len - 2);
    if (literal.data[0] == '`') {
        for (size_t i = 0; i < s.len; i++) {
            if (s.data[i] != '\r') { /* as in Go source, raw strings lose their carriage returns */
                strbuf_append_char(out, (char)s.data[i]);
            }
        }
        return true;
    }
    for (size_t at = 0; at < s.len;) {
        uint32_t rune;

        if (!read_element(s, &at, '"', &rune, &is_byte)) {
            return false;
        }
        if (is_byte) {
            strbuf_append_char(out, (char)rune);
        } else {
            text_append_rune(out, rune);
        }
    }
    return true;
}

bool text_unquote_char(struct bytes literal, uint32_t *ret, bool *ret_whole)
{
    struct bytes s;
    bool is_byte;
    size_t at = 0;

    if (literal.len < 3) {
        return false;
    }
    s = bytes_make(literal.data + 1, literal.len - 2);
    if (!read_element(s, &at, '\'', ret, &is_byte)) {
        return false;
    }
    if (is_byte && s.data[0] != '\\') {
        *ret = RUNE_ERROR;
    }
    *ret_whole = at == s.len;
    return true;
}

size_t bytes_find(struct bytes s, struct bytes needle, size_t from)
{
    const uint8_t *p;

    if (needle.len == 0) {
        return from;
    }
    if (from >= s.len || s.len - from < needle.len) {
        return s.len;
    }
    p = memmem(s.data + from, s.len - from, needle.data, needle.len);
    return p != NULL ? (size_t)(p - s.data) : s.len;
}

size_t bytes_count_byte(struct bytes s, uint8_t c)
{
    size_t n = 0;

    for (size_t i = 0; i < s.len; i++) {
        n += s.data[i] == c;
    }
    return n;
}
