/* print, println and printf with the verbs, flags and complaints of Go's package fmt. */
#ifndef DECREE_TEMPLATES_FORMAT_H
#define DECREE_TEMPLATES_FORMAT_H

#include "buf.h"
#include "value.h"

enum {
    /* Lists and maps inside one another: only a template that nests maps in a loop gets there. */
    FORMAT_DEPTH_MAX = 500,
    /* Go's own bound for a width or precision; more is refused with %!(BADWIDTH). */
    FORMAT_WIDTH_MAX = 1000000,
};

enum format_style { FORMAT_PRINT, FORMAT_PRINTLN };

/* Appends the values. False when out would grow beyond size_max bytes, or values nest too deep;
 * what was appended up to then stays. */
bool format_values(struct strbuf *out, size_t size_max, enum format_style style,
    const struct value *args, size_t n);
bool format_printf(
    struct strbuf *out, size_t size_max, struct bytes format, const struct value *args, size_t n);

#endif
