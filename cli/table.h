/* What people read: aligned tables, sizes, ages, and bytes made safe for a terminal. */
#ifndef DECREE_CLI_TABLE_H
#define DECREE_CLI_TABLE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "buf.h"

struct table;

/* columns titles, which must outlive the table. */
struct table *table_new(const char *const *titles, size_t columns);
/* NULL is accepted; returns NULL. */
struct table *table_free(struct table *t);
/* Adds one cell, rows filling from left to right. Control bytes and bytes that are not UTF-8 are
 * escaped; a cell of more than width_max columns is cut and ends with "…" (0 = as long as it is).
 */
void table_add(struct table *t, struct bytes cell, size_t width_max);
_printf_(2, 3) void table_addf(struct table *t, const char *fmt, ...);
void table_print(const struct table *t, FILE *out);

/* Appends b with control bytes and broken UTF-8 as \n, \t or \x1b, so that a stored value cannot
 * drive the terminal it is shown on. */
void text_escape(struct strbuf *out, struct bytes b);
/* b as it is, or escaped when terminal is set. */
void text_print(struct bytes b, bool terminal);
/* "17 B", "4.2 KiB", "1.5 GiB" */
char *text_size(uint64_t bytes);
/* "0.3 s", "12 s", "5 min", "3 h", "9 d" */
char *text_age(int64_t ms);
/* Columns of the terminal, 100 when unknown. */
size_t text_terminal_width(void);

#endif
