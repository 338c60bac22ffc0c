/* Numbers as Go writes and reads them (strconv). */
#ifndef DECREE_TEMPLATES_GONUM_H
#define DECREE_TEMPLATES_GONUM_H

#include "buf.h"

/* An integer literal with optional sign; base 0 takes the prefixes 0x 0o 0b 0 and underscores,
 * base 10 takes digits alone. False on bad syntax (*ret_range false) or overflow (true). */
bool num_parse_int(struct bytes s, int base, int64_t *ret, bool *ret_range);
/* The same without a sign. */
bool num_parse_uint(struct bytes s, uint64_t *ret);
/* A decimal or hexadecimal float, underscores allowed behind a base prefix. */
bool num_parse_float(struct bytes s, double *ret);

/* Appends v: verb is one of b e E f g G x X; prec -1 is the fewest digits that read back as v. */
void num_format_float(struct strbuf *out, double v, char verb, int prec);

#endif
