/* What the template of one resource sees of the mirror: the keys in its scopes, with its prefix cut
 * off, so that every key begins with a slash. */
#ifndef DECREE_AGENT_VIEW_H
#define DECREE_AGENT_VIEW_H

#include "mirror.h"
#include "readset.h"
#include "resource.h"

/* Renders r's template from m into out. reads (NULL: not wanted) is filled with the full keys and
 * prefixes that were looked at, also when it fails: the key whose lack stopped the render is among
 * them. 0, or -EINVAL with the template language's own message. */
int view_render(const struct resource *r, const struct mirror *m, struct readset *reads,
    struct strbuf *out, struct err *reterr);

#endif
