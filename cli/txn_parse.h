/* The text form of a transaction, as etcdctl reads it: three blocks of lines, each ended by an
 * empty line or the end of input. mod("/a") > "0"           compares: create, mod, version, value,
 * lease; = != < >
 *
 *     put /a "new value"        requests if all compares hold: put, get, del with their flags
 *
 *     get /a                    requests if not
 * Words may be quoted with " (backslash escapes: \n \t \r \" \\ \xNN) or '. */
#ifndef DECREE_CLI_TXN_PARSE_H
#define DECREE_CLI_TXN_PARSE_H

#include <jansson.h>

#include "err.h"

/* One compare as the gateway wants it; the object is the caller's. -EINVAL with a text. */
int txn_parse_compare(const char *line, json_t **ret, struct err *reterr);
/* One request, {"request_put":…} and so on; the object is the caller's. */
int txn_parse_request(const char *line, json_t **ret, struct err *reterr);
/* Splits a line into words. Returns 0 and a NULL-ended list that is the caller's
 * (txn_words_free). -EINVAL with a text. */
int txn_split(const char *line, char ***ret, int *ret_n, struct err *reterr);
void txn_words_free(char **words);

#endif
