/* JSON to protobuf messages and back, driven by protobuf-c's descriptors (the rules of
 * contracts/etcd-v3.md §9): there is no mapping per message to forget or to get wrong twice.
 *
 * In: bytes are strict base64, integers of 64 bits are numbers or strings, enums are names or
 * numbers, field names are those of the .proto or their camelCase form, null is absent, unknown
 * fields are ignored. Refused: duplicate keys, more than JSON_DEPTH_MAX levels, bytes that are not
 * UTF-8. Out: zero values are absent (they are on the wire already), 64-bit integers are strings.
 */
#ifndef DECREE_STORE_API_JSON_PROTO_H
#define DECREE_STORE_API_JSON_PROTO_H

#include <protobuf-c/protobuf-c.h>

#include "arena.h"
#include "buf.h"
#include "err.h"
#include "proto_write.h"

/* Finds where one JSON value of a stream ends, byte by byte, and is the depth guard in front of the
 * parser. */
struct json_scan {
    unsigned depth;
    bool in_string, escaped, started;
};

enum json_scan_result { JSON_SCAN_MORE, JSON_SCAN_VALUE, JSON_SCAN_TOO_DEEP };

/* Goes on over b. JSON_SCAN_VALUE: an object or array ended, *ret_used bytes of b belong to it
 * (leading white space included) and the scan begins anew. A stream holds only objects: what comes
 * before the first brace or bracket, white space apart, counts as a value of its own that ends at
 * the next white space, so that the parser gets to refuse it. */
enum json_scan_result json_scan(struct json_scan *s, struct bytes b, size_t *ret_used);

/* The text as a message of the type, all in arena (its ceiling: -> DECREE_ETOO_LARGE). Empty text
 * is an empty message. DECREE_EBAD_REQUEST with a text for the client. */
int json_to_proto(const ProtobufCMessageDescriptor *type, struct bytes text, struct arena *arena,
    ProtobufCMessage **ret, struct err *reterr);

/* Appends wire bytes that we have encoded ourselves as JSON. */
void json_from_proto(const ProtobufCMessageDescriptor *type, struct bytes wire, struct strbuf *out);
/* The same without the braces around it: "a":1,"b":2. False when there was nothing to write. */
bool json_fields_from_proto(
    const ProtobufCMessageDescriptor *type, struct bytes wire, struct strbuf *out);

/* Wire bytes with marks (proto_write.h): a list of which one stands for the elements is there with
 * its name and brackets, and the gap's `at` becomes the place between these in out. */
void json_from_proto_around(const ProtobufCMessageDescriptor *type, struct bytes wire,
    struct pbw_gap *gaps, struct strbuf *out);

/* Appends a quoted and escaped string. */
void json_quote(struct strbuf *out, struct bytes text);

#endif
