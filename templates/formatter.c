/* What a verb cannot show becomes "%!verb(type=value)" in the output, never an error: existing
 * files contain such texts. */
#include "formatter.h"

#include "gonum.h"
#include "gotext.h"

static void write_value(struct formatter *f, const struct value *v, uint32_t verb);

/* ---- output ---- */

void formatter_put(struct formatter *f, const void *p, size_t n)
{
    if (f->overflow || n > f->size_max || f->out->len > f->size_max - n) {
        f->overflow = true;
        return;
    }
    strbuf_append(f->out, p, n);
}

void formatter_puts(struct formatter *f, const char *s)
{
    formatter_put(f, s, strlen(s));
}

void formatter_put_rune(struct formatter *f, uint32_t rune)
{
    uint8_t utf8[RUNE_BYTES_MAX];

    formatter_put(f, utf8, text_encode(rune, utf8));
}

static void put_padding(struct formatter *f, size_t n, bool zero)
{
    if (f->overflow || n > f->size_max || f->out->len > f->size_max - n) {
        f->overflow = true;
        return;
    }
    if (n > 0) {
        memset(strbuf_reserve(f->out, n), zero ? '0' : ' ', n);
        f->out->len += n;
    }
}

static void pad_with(struct formatter *f, struct bytes s, bool zero)
{
    size_t runes = f->has_width ? text_rune_count(s) : 0;
    size_t padding = f->has_width && (size_t)f->width > runes ? (size_t)f->width - runes : 0;

    if (f->minus) {
        formatter_put(f, s.data, s.len);
        put_padding(f, padding, zero);
    } else {
        put_padding(f, padding, zero);
        formatter_put(f, s.data, s.len);
    }
}

static void pad(struct formatter *f, struct bytes s)
{
    pad_with(f, s, f->zero);
}

void formatter_clear(struct formatter *f)
{
    f->minus = f->plus = f->sharp = f->space = f->zero = false;
    f->plus_v = f->sharp_v = f->has_width = f->has_prec = false;
    f->width = f->prec = 0;
}

/* "%!d(string=x)" */
static void bad_verb(struct formatter *f, const struct value *v, uint32_t verb)
{
    f->erroring = true;
    formatter_puts(f, "%!");
    formatter_put_rune(f, verb);
    formatter_puts(f, "(");
    if (value_is_nil(v)) {
        formatter_puts(f, "<nil>");
    } else {
        formatter_puts(f, value_type_name(v->type));
        formatter_puts(f, "=");
        write_value(f, v, 'v');
    }
    formatter_puts(f, ")");
    f->erroring = false;
}

/* ---- strings ---- */

static struct bytes truncate_runes(const struct formatter *f, struct bytes s)
{
    size_t end = 0, width;

    if (!f->has_prec) {
        return s;
    }
    for (int i = 0; i < f->prec && end < s.len; i++) {
        (void)text_decode(bytes_from(s, end), &width);
        end += width;
    }
    return bytes_make(s.data, end);
}

static void write_quoted(struct formatter *f, struct bytes s)
{
    s = truncate_runes(f, s);
    strbuf_clear(f->scratch);
    if (f->sharp && text_can_backquote(s)) {
        strbuf_append_char(f->scratch, '`');
        strbuf_append_bytes(f->scratch, s);
        strbuf_append_char(f->scratch, '`');
    } else {
        text_quote(f->scratch, s, f->plus);
    }
    pad(f, strbuf_bytes(f->scratch));
}

static void write_hex_bytes(struct formatter *f, struct bytes s, bool upper)
{
    const char *digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
    const char *prefix = upper ? "0X" : "0x";
    size_t n = f->has_prec && (size_t)f->prec < s.len ? (size_t)f->prec : s.len;
    struct strbuf *text = f->scratch;

    strbuf_clear(text);
    for (size_t i = 0; i < n; i++) {
        if (f->space && i > 0) {
            strbuf_append_char(text, ' ');
        }
        if (f->sharp && (f->space || i == 0)) {
            strbuf_append_str(text, prefix);
        }
        strbuf_append_char(text, digits[s.data[i] >> 4]);
        strbuf_append_char(text, digits[s.data[i] & 15]);
    }
    pad(f, strbuf_bytes(text));
}

static void write_string(struct formatter *f, const struct value *v, struct bytes s, uint32_t verb)
{
    switch (verb) {
    case 'v':
        if (f->sharp_v) {
            write_quoted(f, s);
            break;
        }
        pad(f, truncate_runes(f, s));
        break;
    case 's':
        pad(f, truncate_runes(f, s));
        break;
    case 'q':
        write_quoted(f, s);
        break;
    case 'x':
    case 'X':
        write_hex_bytes(f, s, verb == 'X');
        break;
    default:
        bad_verb(f, v, verb);
        break;
    }
}

/* ---- integers ---- */

struct digits {
    char text[64]; /* base 2 of an uint64 */
    size_t n;
};

static struct digits digits_of(uint64_t u, unsigned base, bool upper)
{
    const char *set = upper ? "0123456789ABCDEF" : "0123456789abcdef";
    struct digits d = {.n = 0};

    do {
        d.n++;
        d.text[sizeof(d.text) - d.n] = set[u % base];
        u /= base;
    } while (u != 0);
    memmove(d.text, d.text + sizeof(d.text) - d.n, d.n);
    return d;
}

/* Zeros in front of the digits: from the precision, or from the width with the flag 0. */
static size_t leading_zeros(const struct formatter *f, size_t digits, bool negative)
{
    int want = f->has_prec        ? f->prec
        : f->zero && f->has_width ? f->width - (negative || f->plus || f->space)
                                  : 0;

    return want > 0 && (size_t)want > digits ? (size_t)want - digits : 0;
}

static void write_integer(
    struct formatter *f, uint64_t u, bool negative, unsigned base, uint32_t verb)
{
    struct digits d = digits_of(u, base, verb == 'X');
    size_t zeros = leading_zeros(f, d.n, negative);
    struct strbuf *text = f->scratch;

    strbuf_clear(text);
    if (f->has_prec && f->prec == 0 && u == 0) {
        pad_with(f, strbuf_bytes(text), false);
        return;
    }
    if (negative || f->plus || f->space) {
        strbuf_append_char(text, negative ? '-' : f->plus ? '+' : ' ');
    }
    if (verb == 'O') {
        strbuf_append_str(text, "0o");
    }
    if (f->sharp && base == 2) {
        strbuf_append_str(text, "0b");
    } else if (f->sharp && base == 16) {
        strbuf_append_str(text, verb == 'X' ? "0X" : "0x");
    } else if (f->sharp && base == 8 && zeros == 0 && d.text[0] != '0') {
        strbuf_append_char(text, '0');
    }
    memset(strbuf_reserve(text, zeros + 1), '0', zeros);
    text->len += zeros;
    strbuf_append(text, d.text, d.n);
    pad_with(f, strbuf_bytes(text), false);
}

static void write_unicode(struct formatter *f, uint64_t u)
{
    struct digits d = digits_of(u, 16, true);
    size_t want = f->has_prec && f->prec > 4 ? (size_t)f->prec : 4;

    strbuf_clear(f->scratch);
    strbuf_append_str(f->scratch, "U+");
    for (size_t i = d.n; i < want; i++) {
        strbuf_append_char(f->scratch, '0');
    }
    strbuf_append(f->scratch, d.text, d.n);
    if (f->sharp && u <= RUNE_MAX && rune_is_print((uint32_t)u)) {
        strbuf_append_str(f->scratch, " '");
        text_append_rune(f->scratch, (uint32_t)u);
        strbuf_append_char(f->scratch, '\'');
    }
    pad_with(f, strbuf_bytes(f->scratch), false);
}

static void write_rune(struct formatter *f, uint64_t u, bool quoted)
{
    uint32_t rune = u > RUNE_MAX ? RUNE_ERROR : (uint32_t)u;

    strbuf_clear(f->scratch);
    if (quoted) {
        text_quote_rune(f->scratch, rune, f->plus);
    } else {
        text_append_rune(f->scratch, rune);
    }
    pad(f, strbuf_bytes(f->scratch));
}

static void write_int_value(struct formatter *f, const struct value *v, uint32_t verb)
{
    bool is_signed = value_kind(v) == KIND_INT;
    bool negative = is_signed && v->u.i < 0;
    uint64_t bits = (uint64_t)v->u.i;
    uint64_t u = negative ? 0 - bits : bits;
    bool sharp = f->sharp;

    switch (verb) {
    case 'v':
        f->sharp = f->sharp || (f->sharp_v && !is_signed);
        write_integer(f, u, negative, f->sharp_v && !is_signed ? 16 : 10, 'v');
        f->sharp = sharp;
        break;
    case 'd':
        write_integer(f, u, negative, 10, verb);
        break;
    case 'b':
        write_integer(f, u, negative, 2, verb);
        break;
    case 'o':
    case 'O':
        write_integer(f, u, negative, 8, verb);
        break;
    case 'x':
    case 'X':
        write_integer(f, u, negative, 16, verb);
        break;
    case 'c':
    case 'q':
        write_rune(f, bits, verb == 'q');
        break;
    case 'U':
        write_unicode(f, bits);
        break;
    default:
        bad_verb(f, v, verb);
        break;
    }
}

/* ---- floats ---- */

/* The flag # keeps the decimal point and, for %g, the zeros at the end. text has a sign. */
static void sharpen(const struct formatter *f, struct strbuf *text, char verb)
{
    _cleanup_strbuf_ struct strbuf tail = {0};
    bool has_point = false, significant = false;
    bool counts = verb == 'g' || verb == 'G' || verb == 'x';
    int digits = !counts ? 0 : f->has_prec ? f->prec : 6;

    for (size_t i = 1; i < text->len; i++) {
        uint8_t c = text->data[i];
        bool exponent = c == 'p' || c == 'P' || ((c == 'e' || c == 'E') && (verb | 0x20) != 'x');

        if (exponent) {
            strbuf_append(&tail, text->data + i, text->len - i);
            text->len = i;
        } else if (c == '.') {
            has_point = true;
        } else {
            significant = significant || c != '0';
            digits -= significant;
        }
    }
    if (!has_point) {
        if (text->len == 2 && text->data[1] == '0') {
            digits--;
        }
        strbuf_append_char(text, '.');
    }
    for (; digits > 0; digits--) {
        strbuf_append_char(text, '0');
    }
    strbuf_append_bytes(text, strbuf_bytes(&tail));
}

static void write_float_as(struct formatter *f, double v, char verb, int prec)
{
    struct strbuf *text = f->scratch;
    struct bytes s;
    bool finite;

    strbuf_clear(text);
    num_format_float(text, v, verb, f->has_prec ? f->prec : prec);
    if (text->data[0] != '-' && text->data[0] != '+') {
        (void)strbuf_reserve(text, 1);
        memmove(text->data + 1, text->data, text->len++);
        text->data[0] = '+';
    }
    finite = text->data[1] != 'I' && text->data[1] != 'N';
    if (f->space && text->data[0] == '+' && !f->plus) {
        text->data[0] = ' ';
    }
    if (f->sharp && verb != 'b' && finite) {
        sharpen(f, text, verb);
    }
    s = strbuf_bytes(text);
    if (!f->plus && s.data[0] == '+') {
        s = bytes_from(s, 1);
    } else if (!f->plus && !f->space && s.data[1] == 'N') {
        s = bytes_from(s, 1);
    } else if (finite && f->zero && f->has_width && (size_t)f->width > s.len) {
        formatter_put(f, s.data, 1);
        put_padding(f, (size_t)f->width - s.len, true);
        formatter_put(f, s.data + 1, s.len - 1);
        return;
    }
    pad_with(f, s, f->zero && finite);
}

static void write_float(struct formatter *f, const struct value *v, uint32_t verb)
{
    switch (verb) {
    case 'v':
        write_float_as(f, v->u.f, 'g', -1);
        break;
    case 'b':
    case 'g':
    case 'G':
    case 'x':
    case 'X':
        write_float_as(f, v->u.f, (char)verb, -1);
        break;
    case 'f':
    case 'e':
    case 'E':
        write_float_as(f, v->u.f, (char)verb, 6);
        break;
    case 'F':
        write_float_as(f, v->u.f, 'f', 6);
        break;
    default:
        bad_verb(f, v, verb);
        break;
    }
}

/* ---- composites ---- */

static void write_element(struct formatter *f, const struct value *v, uint32_t verb)
{
    if (v->type == VALUE_NIL || v->type == VALUE_NONE) {
        formatter_puts(f, f->sharp_v ? "interface {}(nil)" : "<nil>");
    } else {
        write_value(f, v, verb);
    }
}

static void separate(struct formatter *f, size_t i)
{
    if (i > 0) {
        formatter_puts(f, f->sharp_v ? ", " : " ");
    }
}

static void write_list(struct formatter *f, const struct value *v, uint32_t verb)
{
    if (f->sharp_v) {
        formatter_puts(f, value_type_name(v->type));
    }
    formatter_puts(f, f->sharp_v ? "{" : "[");
    for (size_t i = 0; i < v->u.list->len && !f->overflow; i++) {
        separate(f, i);
        write_element(f, &v->u.list->items[i], verb);
    }
    formatter_puts(f, f->sharp_v ? "}" : "]");
}

static void write_map(struct formatter *f, const struct value *v, uint32_t verb)
{
    if (f->sharp_v) {
        formatter_puts(f, value_type_name(v->type));
    }
    formatter_puts(f, f->sharp_v ? "{" : "map[");
    for (size_t i = 0; i < v->u.map->len && !f->overflow; i++) {
        struct value key = value_string(v->u.map->entries[i].key);

        separate(f, i);
        write_value(f, &key, verb);
        formatter_puts(f, ":");
        write_element(f, &v->u.map->entries[i].value, verb);
    }
    formatter_puts(f, f->sharp_v ? "}" : "]");
}

static void write_pair(struct formatter *f, const struct value *v, uint32_t verb)
{
    struct value key = value_string(v->u.pair->key), value = value_string(v->u.pair->value);
    bool names = f->plus_v || f->sharp_v;

    if (f->sharp_v) {
        formatter_puts(f, value_type_name(v->type));
    }
    formatter_puts(f, names ? "{Key:" : "{");
    write_value(f, &key, verb);
    separate(f, 1);
    formatter_puts(f, names ? "Value:" : "");
    write_value(f, &value, verb);
    formatter_puts(f, "}");
}

/* Types that know their own text use it for the verbs that show strings. */
static bool write_by_method(struct formatter *f, const struct value *v, uint32_t verb)
{
    _cleanup_strbuf_ struct strbuf text = {0};
    struct value shown;

    if (f->erroring || verb == 0 || verb > 'z' || strchr("vsxXq", (int)verb) == NULL) {
        return false;
    }
    if (f->sharp_v) {
        if (v->type != VALUE_TIME) {
            return false;
        }
        gotime_go_string(&text, v->u.time);
        pad(f, truncate_runes(f, strbuf_bytes(&text)));
        return true;
    }
    switch (v->type) {
    case VALUE_TIME:
        gotime_string(&text, v->u.time);
        break;
    case VALUE_LOCATION:
        strbuf_append_str(&text, v->u.time->zone.is_local ? "Local" : "UTC");
        break;
    case VALUE_MONTH:
        gotime_month_string(&text, v->u.i);
        break;
    case VALUE_WEEKDAY:
        gotime_weekday_string(&text, v->u.i);
        break;
    case VALUE_DURATION:
        gotime_duration_string(&text, v->u.i);
        break;
    default:
        return false;
    }
    shown = value_string(strbuf_bytes(&text));
    write_string(f, &shown, shown.u.s, verb);
    return true;
}

/* Go shows the fields of a time here, a pointer among them; what they hold means nothing outside
 * of the process. The complaint takes their place. */
static void write_opaque(struct formatter *f, const struct value *v, uint32_t verb)
{
    formatter_puts(f, "%!");
    formatter_put_rune(f, verb);
    formatter_puts(f, "(");
    formatter_puts(f, value_type_name(v->type));
    formatter_puts(f, ")");
}

static void write_nil(struct formatter *f, const struct value *v, uint32_t verb)
{
    if (verb == 'v' || verb == 'T') {
        pad(f, BYTES_LITERAL("<nil>"));
    } else {
        bad_verb(f, v, verb);
    }
}

static void write_value(struct formatter *f, const struct value *v, uint32_t verb)
{
    if (f->depth == FORMAT_DEPTH_MAX) {
        f->overflow = true;
    }
    if (f->overflow || (verb == 'w' && (bad_verb(f, v, verb), true))) {
        return;
    }
    if (write_by_method(f, v, verb)) {
        return;
    }
    f->depth++;
    switch (value_kind(v)) {
    case KIND_NONE:
        write_nil(f, v, verb);
        break;
    case KIND_BOOL:
        if (verb == 't' || verb == 'v') {
            pad(f, bytes_str(v->u.b ? "true" : "false"));
        } else {
            bad_verb(f, v, verb);
        }
        break;
    case KIND_INT:
    case KIND_UINT:
        write_int_value(f, v, verb);
        break;
    case KIND_FLOAT:
        write_float(f, v, verb);
        break;
    case KIND_STRING:
        write_string(f, v, v->u.s, verb);
        break;
    case KIND_LIST:
        write_list(f, v, verb);
        break;
    case KIND_MAP:
        write_map(f, v, verb);
        break;
    case KIND_STRUCT:
        if (v->type == VALUE_PAIR) {
            write_pair(f, v, verb);
        } else {
            write_opaque(f, v, verb);
        }
        break;
    }
    f->depth--;
}

/* An argument of printf itself, where %T and %p are known. */
void formatter_write(struct formatter *f, const struct value *v, uint32_t verb)
{
    enum value_kind kind = value_kind(v);

    if (verb == 'T' && kind != KIND_NONE) {
        pad(f, truncate_runes(f, bytes_str(value_type_name(v->type))));
    } else if (verb == 'p' && (kind == KIND_LIST || kind == KIND_MAP)) {
        /* Addresses would change from run to run: all are this one. */
        formatter_puts(f, f->sharp ? "c000010000" : "0xc000010000");
    } else if (verb == 'p') {
        bad_verb(f, v, verb);
    } else {
        write_value(f, v, verb);
    }
}
