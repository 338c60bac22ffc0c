/* One address of a v3 server, read from what a person wrote. */
#ifndef DECREE_CLI_V3_ENDPOINT_H
#define DECREE_CLI_V3_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>

#include "err.h"

struct v3_endpoint {
    char *text;      /* owned; as given */
    char *url;       /* owned; "http://host:port", without a slash at the end */
    char *unix_path; /* owned; NULL for TCP */
};

/* text[0..len). -EINVAL with a text that says which forms there are. */
int v3_endpoint_parse(const char *text, size_t len, struct v3_endpoint *ret, struct err *reterr);
void v3_endpoint_deinit(struct v3_endpoint *e);

#endif
