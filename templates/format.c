#include "format.h"

#include "formatter.h"
#include "gotext.h"

struct directive {
    struct bytes format;
    size_t at; /* next byte of format */
    const struct value *args;
    size_t n_args;
    size_t arg; /* next argument */
    bool reordered, good_index, after_index;
};

static uint8_t directive_byte(const struct directive *d)
{
    return d->at < d->format.len ? d->format.data[d->at] : 0;
}

/* Decimal digits at *at; false when there are none or the number is out of bounds. */
static bool parse_count(struct bytes s, size_t *at, int *ret)
{
    size_t start = *at;
    int n = 0;

    for (; *at < s.len && s.data[*at] >= '0' && s.data[*at] <= '9'; (*at)++) {
        if (n > FORMAT_WIDTH_MAX) {
            *at = s.len; /* the rest of the format is lost, as in Go */
            return false;
        }
        n = n * 10 + (s.data[*at] - '0');
    }
    *ret = n;
    return *at > start;
}

/* "[3]": the argument to use next. */
static void parse_index(struct directive *d)
{
    size_t close, at = d->at + 1;
    int n = 0;

    d->after_index = false;
    if (directive_byte(d) != '[') {
        return;
    }
    d->reordered = true;
    close = bytes_find(d->format, BYTES_LITERAL("]"), d->at);
    if (close >= d->format.len || d->format.len - d->at < 3) {
        d->good_index = false;
        d->at++;
        return;
    }
    d->after_index = parse_count(bytes_make(d->format.data, close), &at, &n) && at == close;
    d->at = close + 1;
    if (d->after_index && n >= 1 && (size_t)n <= d->n_args) {
        d->arg = (size_t)n - 1;
    } else {
        d->good_index = false;
    }
}

/* The argument of a *, which must be a small integer. */
static bool star(struct directive *d, int *ret)
{
    const struct value *v;
    enum value_kind kind;

    *ret = 0;
    if (d->arg >= d->n_args) {
        return false;
    }
    v = &d->args[d->arg++];
    kind = value_kind(v);
    if ((kind != KIND_INT && kind != KIND_UINT) || v->u.i > FORMAT_WIDTH_MAX ||
        v->u.i < -FORMAT_WIDTH_MAX) {
        return false;
    }
    *ret = (int)v->u.i;
    return true;
}

static void parse_flags(struct formatter *f, struct directive *d)
{
    for (;; d->at++) {
        switch (directive_byte(d)) {
        case '#':
            f->sharp = true;
            break;
        case '0':
            f->zero = !f->minus;
            break;
        case '+':
            f->plus = true;
            break;
        case '-':
            f->minus = true;
            f->zero = false;
            break;
        case ' ':
            f->space = true;
            break;
        default:
            return;
        }
    }
}

static void parse_width(struct formatter *f, struct directive *d)
{
    if (directive_byte(d) != '*') {
        f->has_width = parse_count(d->format, &d->at, &f->width);
        f->width = f->has_width ? f->width : 0;
        if (d->after_index && f->has_width) {
            d->good_index = false; /* "%[3]2d" */
        }
        return;
    }
    d->at++;
    f->has_width = star(d, &f->width);
    if (!f->has_width) {
        formatter_puts(f, "%!(BADWIDTH)");
    }
    if (f->width < 0) {
        f->width = -f->width;
        f->minus = true;
        f->zero = false;
    }
    d->after_index = false;
}

static void parse_precision(struct formatter *f, struct directive *d)
{
    if (d->at + 1 >= d->format.len || directive_byte(d) != '.') {
        return;
    }
    d->at++;
    if (d->after_index) {
        d->good_index = false; /* "%[3].2d" */
    }
    parse_index(d);
    if (directive_byte(d) != '*') {
        if (!parse_count(d->format, &d->at, &f->prec)) {
            f->prec = 0;
        }
        f->has_prec = true;
        return;
    }
    d->at++;
    f->has_prec = star(d, &f->prec) && f->prec >= 0;
    if (!f->has_prec) {
        f->prec = 0;
        formatter_puts(f, "%!(BADPREC)");
    }
    d->after_index = false;
}

static void complain(struct formatter *f, uint32_t verb, const char *what)
{
    formatter_puts(f, "%!");
    formatter_put_rune(f, verb);
    formatter_puts(f, what);
}

/* What stands behind a '%'. False at the end of a format that stops before the verb. */
static bool run_directive(struct formatter *f, struct directive *d)
{
    size_t width;
    uint32_t verb;

    formatter_clear(f);
    d->good_index = true;
    parse_flags(f, d);
    parse_index(d);
    parse_width(f, d);
    parse_precision(f, d);
    if (!d->after_index) {
        parse_index(d);
    }
    if (d->at >= d->format.len) {
        formatter_puts(f, "%!(NOVERB)");
        return false;
    }
    verb = text_decode(bytes_from(d->format, d->at), &width);
    d->at += width;
    if (verb == '%') {
        formatter_puts(f, "%");
    } else if (!d->good_index) {
        complain(f, verb, "(BADINDEX)");
    } else if (d->arg >= d->n_args) {
        complain(f, verb, "(MISSING)");
    } else {
        if (verb == 'v') {
            f->sharp_v = f->sharp;
            f->plus_v = f->plus;
            f->sharp = f->plus = false;
        }
        formatter_write(f, &d->args[d->arg++], verb);
    }
    return true;
}

static void write_extra(struct formatter *f, const struct directive *d)
{
    formatter_clear(f);
    formatter_puts(f, "%!(EXTRA ");
    for (size_t i = d->arg; i < d->n_args && !f->overflow; i++) {
        const struct value *v = &d->args[i];

        formatter_puts(f, i > d->arg ? ", " : "");
        if (value_is_nil(v)) {
            formatter_puts(f, "<nil>");
        } else {
            formatter_puts(f, value_type_name(v->type));
            formatter_puts(f, "=");
            formatter_write(f, v, 'v');
        }
    }
    formatter_puts(f, ")");
}

bool format_printf(
    struct strbuf *out, size_t size_max, struct bytes format, const struct value *args, size_t n)
{
    _cleanup_strbuf_ struct strbuf scratch = {0};
    struct formatter f = {.out = out, .size_max = size_max, .scratch = &scratch};
    struct directive d = {.format = format, .args = args, .n_args = n};

    while (d.at < format.len && !f.overflow) {
        size_t percent = bytes_find(format, BYTES_LITERAL("%"), d.at);

        formatter_put(&f, format.data + d.at, percent - d.at);
        d.at = percent + 1;
        if (percent >= format.len || !run_directive(&f, &d)) {
            break;
        }
    }
    if (!d.reordered && d.arg < n) {
        write_extra(&f, &d);
    }
    return !f.overflow;
}

bool format_values(struct strbuf *out, size_t size_max, enum format_style style,
    const struct value *args, size_t n)
{
    _cleanup_strbuf_ struct strbuf scratch = {0};
    struct formatter f = {.out = out, .size_max = size_max, .scratch = &scratch};
    bool string_before = false;

    for (size_t i = 0; i < n && !f.overflow; i++) {
        bool is_string = args[i].type == VALUE_STRING;

        /* print puts a space only between two operands neither of which is a string. */
        if (i > 0 && (style == FORMAT_PRINTLN || (!is_string && !string_before))) {
            formatter_puts(&f, " ");
        }
        formatter_write(&f, &args[i], 'v');
        string_before = is_string;
    }
    if (style == FORMAT_PRINTLN) {
        formatter_puts(&f, "\n");
    }
    return !f.overflow;
}
