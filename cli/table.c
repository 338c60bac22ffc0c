#include "table.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>

struct cell {
    char *text; /* owned; escaped */
    size_t width;
};

struct table {
    const char *const *titles; /* borrowed */
    size_t columns;
    struct cell *cells; /* owned, n of them, row by row */
    size_t n, cap;
};

/* Length of the UTF-8 character at the start of b, 0 when there is none that may be shown: control
 * characters, C1 included, overlong forms and surrogates are not. */
static size_t utf8_printable(struct bytes b)
{
    uint8_t c = b.data[0];
    size_t len = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : 4;

    if (len == 1) {
        return c >= 0x20 && c != 0x7f;
    }
    if ((c & 0xc0) == 0x80 || c == 0xc0 || c == 0xc1 || c > 0xf4 || b.len < len) {
        return 0;
    }
    for (size_t i = 1; i < len; i++) {
        if ((b.data[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    if ((c == 0xc2 && b.data[1] < 0xa0) || (c == 0xe0 && b.data[1] < 0xa0) ||
        (c == 0xed && b.data[1] >= 0xa0) || (c == 0xf0 && b.data[1] < 0x90) ||
        (c == 0xf4 && b.data[1] >= 0x90)) {
        return 0;
    }
    /* U+202A..202E and U+2066..2069 turn the direction of what follows. */
    if (c == 0xe2 &&
        ((b.data[1] == 0x80 && b.data[2] >= 0xaa && b.data[2] <= 0xae) ||
            (b.data[1] == 0x81 && b.data[2] >= 0xa6 && b.data[2] <= 0xa9))) {
        return 0;
    }
    return len;
}

/* Appends the character at the start of b, escaped if need be; how many bytes of b that was. */
static size_t escape_one(struct strbuf *out, struct bytes b)
{
    size_t len = utf8_printable(b);

    if (len != 0) {
        strbuf_append(out, b.data, len);
        return len;
    }
    switch (b.data[0]) {
    case '\n':
        strbuf_append_str(out, "\\n");
        break;
    case '\t':
        strbuf_append_str(out, "\\t");
        break;
    case '\r':
        strbuf_append_str(out, "\\r");
        break;
    default:
        strbuf_printf(out, "\\x%02x", b.data[0]);
        break;
    }
    return 1;
}

void text_escape(struct strbuf *out, struct bytes b)
{
    while (b.len > 0) {
        size_t used = escape_one(out, b);

        b = bytes_make(b.data + used, b.len - used);
    }
}

void text_print(struct bytes b, bool terminal)
{
    _cleanup_strbuf_ struct strbuf out = {0};

    if (!terminal) {
        (void)fwrite(b.data != NULL ? b.data : (const uint8_t *)"", 1, b.len, stdout);
        return;
    }
    while (b.len > 0) {
        /* Lines of a file stay lines. */
        if (b.data[0] == '\n' || b.data[0] == '\t') {
            strbuf_append_char(&out, (char)b.data[0]);
            b = bytes_make(b.data + 1, b.len - 1);
        } else {
            size_t used = escape_one(&out, b);

            b = bytes_make(b.data + used, b.len - used);
        }
    }
    (void)fwrite(strbuf_cstr(&out), 1, out.len, stdout);
}

struct table *table_new(const char *const *titles, size_t columns)
{
    struct table *t = xcalloc(1, sizeof(*t));

    t->titles = titles;
    t->columns = columns;
    return t;
}

struct table *table_free(struct table *t)
{
    if (t != NULL) {
        for (size_t i = 0; i < t->n; i++) {
            free(t->cells[i].text);
        }
        free(t->cells);
        free(t);
    }
    return NULL;
}

/* Characters, as the columns they fill; wide ones count one, which only costs alignment. */
static size_t text_width(struct bytes b)
{
    size_t n = 0;

    for (size_t i = 0; i < b.len; i++) {
        n += (b.data[i] & 0xc0) != 0x80;
    }
    return n;
}

void table_add(struct table *t, struct bytes cell, size_t width_max)
{
    struct strbuf text = {0};
    size_t width = 0, before_last = 0, used;

    if (t->n == t->cap) {
        t->cap = MAX(t->cap * 2, (size_t)64);
        t->cells = xreallocarray(t->cells, t->cap, sizeof(*t->cells));
    }
    while (cell.len > 0) {
        size_t start = text.len;

        used = escape_one(&text, cell);
        width += text_width(bytes_make(text.data + start, text.len - start));
        if (width_max != 0 && width > width_max) {
            text.len = before_last;
            strbuf_append_str(&text, "…");
            break;
        }
        if (width_max != 0 && width <= width_max - 1) {
            before_last = text.len;
        }
        cell = bytes_make(cell.data + used, cell.len - used);
    }
    width = text_width(strbuf_bytes(&text));
    t->cells[t->n++] = (struct cell){strbuf_take_cstr(&text), width};
}

void table_addf(struct table *t, const char *fmt, ...)
{
    _cleanup_free_ char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = xvasprintf(fmt, ap);
    va_end(ap);
    table_add(t, bytes_str(text), 0);
}

static void print_cell(FILE *out, const char *text, size_t width, size_t column_width, bool last)
{
    (void)fputs(text, out);
    if (!last) {
        (void)fprintf(out, "%*s", (int)(column_width - width + 2), "");
    }
}

void table_print(const struct table *t, FILE *out)
{
    size_t *widths = xcalloc(t->columns, sizeof(*widths));

    for (size_t i = 0; i < t->columns; i++) {
        widths[i] = strlen(t->titles[i]);
    }
    for (size_t i = 0; i < t->n; i++) {
        widths[i % t->columns] = MAX(widths[i % t->columns], t->cells[i].width);
    }
    for (size_t i = 0; i < t->columns; i++) {
        print_cell(out, t->titles[i], strlen(t->titles[i]), widths[i], i + 1 == t->columns);
    }
    (void)fputc('\n', out);
    for (size_t i = 0; i < t->n; i++) {
        bool last = (i + 1) % t->columns == 0;

        print_cell(out, t->cells[i].text, t->cells[i].width, widths[i % t->columns], last);
        if (last) {
            (void)fputc('\n', out);
        }
    }
    free(widths);
}

char *text_size(uint64_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    double v = (double)bytes;
    size_t u = 0;

    if (bytes < 1024) {
        return xasprintf("%" PRIu64 " B", bytes);
    }
    for (v /= 1024; v >= 1024 && u + 1 < ARRAY_SIZE(units); u++) {
        v /= 1024;
    }
    return xasprintf("%.*f %s", v < 10 ? 1 : 0, v, units[u]);
}

char *text_age(int64_t ms)
{
    int64_t s = ms / 1000;

    if (ms < 0) {
        return xstrdup("0 s"); /* clocks of two hosts differ */
    }
    if (s < 10) {
        return xasprintf("%" PRId64 ".%" PRId64 " s", s, ms % 1000 / 100);
    }
    if (s < 120) {
        return xasprintf("%" PRId64 " s", s);
    }
    if (s < 7200) {
        return xasprintf("%" PRId64 " min", s / 60);
    }
    return s < 172800 ? xasprintf("%" PRId64 " h", s / 3600)
                      : xasprintf("%" PRId64 " d", s / 86400);
}

size_t text_terminal_width(void)
{
    struct winsize size;

    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20 ? size.ws_col : 100;
}
