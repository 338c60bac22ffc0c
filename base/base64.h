/* Base64 (RFC 4648 section 4): how bytes travel in the JSON of the v3 protocol. */
#ifndef DECREE_BASE_BASE64_H
#define DECREE_BASE_BASE64_H

#include "buf.h"

/* Appends the text of b, padded. */
void base64_encode(struct strbuf *out, struct bytes b);
/* Appends the bytes of text, which must be whole quadruples, padded, without white space.
 * Returns 0, or -EINVAL with out as it was. */
int base64_decode(struct strbuf *out, struct bytes text);

#endif
