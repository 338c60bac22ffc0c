/* A command line from a config file as words, without a shell:
 *   - blanks separate words;
 *   - '…' keeps everything as it is;
 *   - "…" keeps blanks; \" and \\ stand for " and \ in it;
 *   - \x outside quotes is x;
 *   - {{…}} belongs to its word whatever is inside, so that `{{ .src }}` needs no quotes.
 * No variables, globs, pipes or redirections: those need a shell, which is asked for elsewhere.
 * Words are expanded after they were split: a path with a blank in it stays one word. */
#ifndef DECREE_HOOKS_ARGV_H
#define DECREE_HOOKS_ARGV_H

#include "err.h"

/* Splits line into at least one and at most HOOK_ARGV_MAX words. Returns 0 and a NULL-ended list
 * that is the caller's (argv_free), or -EINVAL with a text that names the column, from 1. */
int argv_split(const char *line, char ***ret, struct err *reterr);
/* NULL is accepted; returns NULL. */
char **argv_free(char **argv);

#endif
