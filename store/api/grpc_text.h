/* The small texts around a call: gRPC's timeout and message headers, the error bodies of the JSON
 * gateway. */
#ifndef DECREE_STORE_API_GRPC_TEXT_H
#define DECREE_STORE_API_GRPC_TEXT_H

#include "buf.h"

/* grpc-timeout ("250m") in milliseconds, rounded up, at least 1; -EINVAL. */
int64_t grpc_timeout_ms(struct bytes text);
/* grpc-message: bytes outside of printable ASCII and % become %XX. Appends. */
void grpc_percent_encode(struct strbuf *out, struct bytes text);
/* The union of what the gateways of 3.4 and 3.6 say (contracts/etcd-v3.md §9). Appends one object;
 * that of a stream is a line of its own. */
void json_error_body(struct strbuf *out, int grpc_status, const char *text);
void json_stream_error(struct strbuf *out, int grpc_status, const char *text);

const char *http_reason(int status);

#endif
