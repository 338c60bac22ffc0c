/* The transaction language of the command line, and what it makes of a server's error. A line is
 * refused with a text or becomes one object that the gateway's JSON can carry. */
#include "fuzz.h"

#include <errno.h>
#include <string.h>

#include "alloc.h"
#include "txn_parse.h"
#include "v3_client.h"
#include "v3_exchange.h"

static void check(int rc, json_t *object, const struct err *e)
{
    char *text;

    if (rc < 0) {
        decree_assert(rc == -EINVAL && e->text != NULL && object == NULL);
        return;
    }
    decree_assert(json_is_object(object) && json_object_size(object) > 0);
    text = json_dumps(object, JSON_COMPACT);
    decree_assert(text != NULL);
    free(text);
    json_decref(object);
}

static void try_line(const char *line)
{
    _cleanup_err_ struct err compare_error = {0}, request_error = {0}, split_error = {0};
    json_t *compare = NULL, *request = NULL;
    char **words = NULL;
    int n = 0, rc;

    rc = txn_parse_compare(line, &compare, &compare_error);
    check(rc, compare, &compare_error);
    rc = txn_parse_request(line, &request, &request_error);
    check(rc, request, &request_error);
    if (txn_split(line, &words, &n, &split_error) == 0) {
        for (int i = 0; i <= n; i++) {
            decree_assert((words[i] == NULL) == (i == n));
        }
        txn_words_free(words);
    }
}

static void try_reply(const uint8_t *data, size_t size)
{
    json_t *reply = json_loadb((const char *)data, size, 0, NULL);
    _cleanup_free_ char *text = NULL, *memory = NULL;
    struct bytes b;

    if (reply == NULL) {
        return;
    }
    decree_assert(exchange_judge_error(reply, &text) >= VERDICT_NOT_SERVED && text != NULL);
    (void)v3_int(reply, "code");
    (void)v3_uint(reply, "code");
    (void)v3_text(reply, "error");
    b = v3_bytes(reply, "error", &memory);
    (void)bytes_hash(b);
    json_decref(reply);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ char *line = xstrndup((const char *)data, size);

    try_line(line);
    try_reply(data, size);
    return 0;
}
