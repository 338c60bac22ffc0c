#include "gonum.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

enum {
    SHORTEST_DIGITS_MAX = 17, /* enough for every double */
    SHORTEST_EXPONENT = 6,    /* from 1e+06 on the shortest form has an exponent */
};

static int digit_of(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'z' ? c - 'a' + 10 : 99;
}

/* Underscores may stand only between digits, or between the base prefix and a digit. */
static bool underscores_ok(struct bytes s, bool prefixed, int base)
{
    bool after_digit = prefixed;

    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] == '_' &&
            (!after_digit || i + 1 == s.len || digit_of(s.data[i + 1]) >= base)) {
            return false;
        }
        after_digit = digit_of(s.data[i]) < base;
    }
    return true;
}

/* Takes the base prefix off s. */
static int take_base(struct bytes *s)
{
    uint8_t c;

    if (s->len < 2 || s->data[0] != '0') {
        return 10;
    }
    c = s->data[1] | 0x20;
    if (s->len > 2 && (c == 'x' || c == 'o' || c == 'b')) {
        *s = bytes_make(s->data + 2, s->len - 2);
        return c == 'x' ? 16 : c == 'o' ? 8 : 2;
    }
    *s = bytes_make(s->data + 1, s->len - 1);
    return 8;
}

static bool parse_magnitude(struct bytes s, int base, uint64_t *ret, bool *ret_range)
{
    uint64_t v = 0;

    *ret_range = false;
    if (s.len == 0) {
        return false;
    }
    if (base == 0) {
        base = take_base(&s);
        if (!underscores_ok(s, base != 10, base)) {
            return false;
        }
    } else if (memchr(s.data, '_', s.len) != NULL) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] == '_') {
            continue;
        }
        if (digit_of(s.data[i]) >= base) {
            return false;
        }
    }
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] != '_' &&
            (__builtin_mul_overflow(v, (uint64_t)base, &v) ||
                __builtin_add_overflow(v, (uint64_t)digit_of(s.data[i]), &v))) {
            *ret_range = true;
            return false;
        }
    }
    *ret = v;
    return true;
}

bool num_parse_int(struct bytes s, int base, int64_t *ret, bool *ret_range)
{
    bool negative = s.len > 0 && s.data[0] == '-';
    uint64_t u;

    if (negative || (s.len > 0 && s.data[0] == '+')) {
        s = bytes_make(s.data + 1, s.len - 1);
    }
    if (!parse_magnitude(s, base, &u, ret_range)) {
        return false;
    }
    if (u > (uint64_t)INT64_MAX + (negative ? 1 : 0)) {
        *ret_range = true;
        return false;
    }
    *ret = (int64_t)(negative ? 0 - u : u);
    return true;
}

bool num_parse_uint(struct bytes s, uint64_t *ret)
{
    bool range;

    return parse_magnitude(s, 0, ret, &range);
}

static bool float_shape_ok(const char *s)
{
    bool hex, digits = false;

    s += *s == '+' || *s == '-';
    hex = s[0] == '0' && (s[1] | 0x20) == 'x';
    s += hex ? 2 : 0;
    for (; digit_of((uint8_t)*s) < (hex ? 16 : 10); s++) {
        digits = true;
    }
    if (*s == '.') {
        for (s++; digit_of((uint8_t)*s) < (hex ? 16 : 10); s++) {
            digits = true;
        }
    }
    if ((*s | 0x20) == (hex ? 'p' : 'e')) {
        s++;
        s += *s == '+' || *s == '-';
        if (digit_of((uint8_t)*s) >= 10) {
            return false;
        }
        while (digit_of((uint8_t)*s) < 10) {
            s++;
        }
    } else if (hex) {
        return false; /* a hexadecimal float must have its p */
    }
    return digits && *s == 0;
}

bool num_parse_float(struct bytes s, double *ret)
{
    _cleanup_strbuf_ struct strbuf plain = {0};
    size_t sign = s.len > 0 && (s.data[0] == '+' || s.data[0] == '-') ? 1 : 0;
    bool hex = s.len > sign + 1 && s.data[sign] == '0' && (s.data[sign + 1] | 0x20) == 'x';
    size_t digits = sign + (hex ? 2 : 0);

    if (s.len == 0 ||
        !underscores_ok(bytes_make(s.data + digits, s.len - digits), hex, hex ? 16 : 10)) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] != '_') {
            strbuf_append_char(&plain, (char)s.data[i]);
        }
    }
    if (!float_shape_ok(strbuf_cstr(&plain))) {
        return false;
    }
    *ret = strtod(strbuf_cstr(&plain), NULL);
    return isfinite(*ret);
}

/* Decimal digits of |v| with the point dp digits behind the first: 0.d1d2… × 10^dp. */
struct decimal {
    char digits[SHORTEST_DIGITS_MAX + 1];
    int n;
    int dp;
};

static struct decimal shortest_digits(double v)
{
    struct decimal d = {.n = 0};
    char text[32]; /* sign, 17 digits, point, exponent */

    if (v == 0) {
        return d;
    }
    for (int prec = 0; prec < SHORTEST_DIGITS_MAX; prec++) {
        (void)snprintf(text, sizeof(text), "%.*e", prec, v);
        if (strtod(text, NULL) == v) {
            break;
        }
    }
    for (const char *p = text; *p != 'e'; p++) {
        if (*p != '.') {
            d.digits[d.n++] = *p;
        }
    }
    while (d.n > 0 && d.digits[d.n - 1] == '0') {
        d.n--;
    }
    d.dp = (int)strtol(strchr(text, 'e') + 1, NULL, 10) + 1;
    return d;
}

static void format_exponent(struct strbuf *out, char letter, int exp)
{
    strbuf_printf(out, "%c%c%02d", letter, exp < 0 ? '-' : '+', exp < 0 ? -exp : exp);
}

static void shortest_e(struct strbuf *out, const struct decimal *d, char letter)
{
    strbuf_append_char(out, d->n > 0 ? d->digits[0] : '0');
    if (d->n > 1) {
        strbuf_append_char(out, '.');
        strbuf_append(out, d->digits + 1, (size_t)d->n - 1);
    }
    format_exponent(out, letter, d->n > 0 ? d->dp - 1 : 0);
}

static void shortest_f(struct strbuf *out, const struct decimal *d)
{
    for (int i = 0; i < d->dp; i++) {
        strbuf_append_char(out, i < d->n ? d->digits[i] : '0');
    }
    if (d->dp <= 0) {
        strbuf_append_char(out, '0');
    }
    if (d->n > d->dp) {
        strbuf_append_char(out, '.');
        for (int i = d->dp; i < 0; i++) {
            strbuf_append_char(out, '0');
        }
        strbuf_append(out, d->digits + MAX(d->dp, 0), (size_t)(d->n - MAX(d->dp, 0)));
    }
}

static void format_shortest(struct strbuf *out, double v, char verb)
{
    struct decimal d = shortest_digits(v);
    int exp = d.dp - 1;

    if (verb == 'f') {
        shortest_f(out, &d);
    } else if (verb == 'e' || verb == 'E') {
        shortest_e(out, &d, verb);
    } else if (d.n > 0 && (exp < -4 || exp >= SHORTEST_EXPONENT)) {
        shortest_e(out, &d, verb == 'g' ? 'e' : 'E');
    } else {
        shortest_f(out, &d);
    }
}

/* Hexadecimal with a normalised mantissa and at least two digits of exponent. */
static void format_hex(struct strbuf *out, double v, char verb, int prec)
{
    _cleanup_strbuf_ struct strbuf text = {0};
    int shift = 0;
    char *digits, *p;

    if (v != 0 && v < 0x1p-1022) {
        v = ldexp(v, 64); /* a subnormal: glibc would print 0x0.… */
        shift = 64;
    }
    if (prec < 0) {
        strbuf_printf(&text, verb == 'x' ? "%a" : "%A", v);
    } else {
        strbuf_printf(&text, verb == 'x' ? "%.*a" : "%.*A", prec, v);
    }
    (void)strbuf_cstr(&text);
    digits = (char *)text.data;
    p = strchr(digits, verb == 'x' ? 'p' : 'P');
    if (digits[2] == '2') { /* rounded up to the next power of two */
        digits[2] = '1';
        shift--;
    }
    strbuf_append(out, digits, (size_t)(p - digits));
    format_exponent(out, *p, v == 0 ? 0 : (int)strtol(p + 1, NULL, 10) - shift);
}

static void format_binary(struct strbuf *out, double v)
{
    uint64_t bits, mantissa;
    int exp;

    memcpy(&bits, &v, sizeof(bits));
    mantissa = bits & ((1ULL << 52) - 1);
    exp = (int)(bits >> 52 & 0x7ff);
    if (exp == 0) {
        exp = 1;
    } else {
        mantissa |= 1ULL << 52;
    }
    exp -= 1075;
    strbuf_printf(out, "%llup%c%d", (unsigned long long)mantissa, exp < 0 ? '-' : '+', abs(exp));
}

/* %g with a given number of significant digits: C agrees with Go but for the exponent's limit,
 * which Go lowers to the digits that are there. */
static void format_g(struct strbuf *out, double v, char verb, int prec)
{
    char text[SHORTEST_DIGITS_MAX + 16];
    struct decimal d;
    int digits = prec == 0 ? 1 : prec;
    int exp;

    if (digits > SHORTEST_DIGITS_MAX) {
        strbuf_printf(out, verb == 'g' ? "%.*g" : "%.*G", digits, v);
        return;
    }
    (void)snprintf(text, sizeof(text), "%.*e", digits - 1, v);
    d = shortest_digits(strtod(text, NULL));
    exp = d.dp - 1;
    if (digits > d.n && d.n >= d.dp) {
        digits = d.n;
    }
    if (d.n > 0 && (exp < -4 || exp >= digits)) {
        shortest_e(out, &d, verb == 'g' ? 'e' : 'E');
    } else {
        shortest_f(out, &d);
    }
}

void num_format_float(struct strbuf *out, double v, char verb, int prec)
{
    if (isnan(v)) {
        strbuf_append_str(out, "NaN");
        return;
    }
    if (signbit(v)) {
        strbuf_append_char(out, '-');
        v = -v;
    } else if (isinf(v)) {
        strbuf_append_char(out, '+');
    }
    if (isinf(v)) {
        strbuf_append_str(out, "Inf");
    } else if (verb == 'b') {
        format_binary(out, v);
    } else if (verb == 'x' || verb == 'X') {
        format_hex(out, v, verb, prec);
    } else if (prec < 0) {
        format_shortest(out, v, verb);
    } else if (verb == 'g' || verb == 'G') {
        format_g(out, v, verb, prec);
    } else if (verb == 'f') {
        strbuf_printf(out, "%.*f", prec, v);
    } else {
        strbuf_printf(out, verb == 'e' ? "%.*e" : "%.*E", prec, v);
    }
}
