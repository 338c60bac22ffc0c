/* Allocation that never returns NULL. The daemon is crash-only: when the system has no memory left
 * the process stops at once and the log makes the restart safe. What a client can make us allocate
 * is bounded by named limits long before that. */
#ifndef DECREE_BASE_ALLOC_H
#define DECREE_BASE_ALLOC_H

#include <stdarg.h>
#include <stddef.h>

#include "macros.h"

void *xmalloc(size_t size);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t size);
/* Room for n elements of the given size; the product is checked for overflow. */
void *xreallocarray(void *p, size_t n, size_t size);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);
void *xmemdup(const void *p, size_t n);
/* A new string, the caller's. */
_printf_(1, 2) char *xasprintf(const char *fmt, ...);
_printf_(1, 0) char *xvasprintf(const char *fmt, va_list ap);

#endif
