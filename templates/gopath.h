/* Slash-separated paths and glob patterns as Go's package path has them. */
#ifndef DECREE_TEMPLATES_GOPATH_H
#define DECREE_TEMPLATES_GOPATH_H

#include "buf.h"

/* The shortest equal path: no empty parts, no "." and "..", "." when nothing is left. Appended. */
void path_clean(struct strbuf *out, struct bytes path);
/* The last part: "." of the empty path, "/" of one that is all slashes. Points into path or to a
 * literal. */
struct bytes path_base(struct bytes path);
/* All but the last part, cleaned. Appended. */
void path_dir(struct strbuf *out, struct bytes path);

/* Whether pattern is well formed. */
bool glob_valid(struct bytes pattern);
/* Matches the whole of name. '*' and '?' never match a slash. pattern must be valid. */
bool glob_match(struct bytes pattern, struct bytes name);
/* What every match begins with: the pattern up to its first special character. */
struct bytes glob_literal_prefix(struct bytes pattern);

#endif
