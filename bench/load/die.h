/* How the generator gives up: one line on standard error, exit code 1. It holds nothing worth
 * saving, so there is no way back from here. */
#ifndef DECREE_BENCH_DIE_H
#define DECREE_BENCH_DIE_H

#include "macros.h"

_noreturn_ _printf_(1, 2) void die(const char *fmt, ...);

#endif
