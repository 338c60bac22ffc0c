/* Writes one value under one verb, with the flags that stand before it. */
#ifndef DECREE_TEMPLATES_FORMATTER_H
#define DECREE_TEMPLATES_FORMATTER_H

#include "format.h"

struct formatter {
    struct strbuf *out;
    size_t size_max;
    bool overflow; /* size_max or FORMAT_DEPTH_MAX was passed: nothing more is written */
    bool erroring; /* inside %!verb(…): values show themselves without their methods */
    bool minus, plus, sharp, space, zero;
    bool plus_v, sharp_v; /* %+v, %#v: plus and sharp are off then */
    bool has_width, has_prec;
    int width, prec;
    int depth;
    struct strbuf *scratch; /* for texts that are padded once they are complete */
};

void formatter_put(struct formatter *f, const void *p, size_t n);
void formatter_puts(struct formatter *f, const char *s);
void formatter_put_rune(struct formatter *f, uint32_t rune);
/* No flags, no width, no precision. */
void formatter_clear(struct formatter *f);
/* An operand of print or printf. */
void formatter_write(struct formatter *f, const struct value *v, uint32_t verb);

#endif
