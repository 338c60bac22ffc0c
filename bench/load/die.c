#include "die.h"

#include <stdarg.h>
#include <stdio.h>

void die(const char *fmt, ...)
{
    va_list ap;

    (void)fputs("decree-bench: ", stderr);
    va_start(ap, fmt);
    (void)vfprintf(stderr, fmt, ap);
    va_end(ap);
    (void)fputc('\n', stderr);
    exit(EXIT_FAILURE);
}
