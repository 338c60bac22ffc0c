/* txn: reads compares and requests as text, sends them as one transaction, prints which branch was
 * taken and what its requests answered. On a terminal it asks for each block. */
#include "cmd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "table.h"
#include "txn_parse.h"
#include "v3_client.h"

typedef int (*line_parser)(const char *line, json_t **ret, struct err *reterr);

struct reader {
    char *line; /* owned; getline's */
    size_t cap;
    int number; /* of the line, from 1 */
    bool prompts;
};

/* Reads lines up to an empty one into an array, the caller's. */
static int read_block(
    struct reader *in, const char *title, line_parser parse, json_t **ret, struct err *reterr)
{
    json_t *block = json_array();

    if (in->prompts) {
        (void)printf("%s\n", title);
        (void)fflush(stdout);
    }
    for (;;) {
        ssize_t len = getline(&in->line, &in->cap, stdin);
        json_t *item = NULL;

        in->number++;
        if (len > 0 && in->line[len - 1] == '\n') {
            in->line[--len] = 0;
        }
        if (len <= 0 || in->line[strspn(in->line, " \t\r")] == 0) {
            break;
        }
        if (parse(in->line, &item, reterr) < 0) {
            json_decref(block);
            return err_prefix(reterr, "standard input, line %d", in->number);
        }
        json_array_append_new(block, item);
    }
    *ret = block;
    return 0;
}

static int read_txn(json_t *request, struct err *reterr)
{
    static const struct {
        const char *field, *title;
        line_parser parse;
    } blocks[] = {
        {"compare", "compares:", txn_parse_compare},
        {"success", "success requests (get, put, del):", txn_parse_request},
        {"failure", "failure requests (get, put, del):", txn_parse_request},
    };
    struct reader in = {.prompts = isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1};
    size_t requests = 0;
    int r = 0;

    for (size_t i = 0; i < ARRAY_SIZE(blocks) && r == 0; i++) {
        json_t *block = NULL;

        r = read_block(&in, blocks[i].title, blocks[i].parse, &block, reterr);
        if (r == 0) {
            requests += json_array_size(block);
            json_object_set_new(request, blocks[i].field, block);
        }
    }
    free(in.line);
    if (r == 0 && requests == 0 && json_array_size(json_object_get(request, "compare")) == 0) {
        r = err_set(reterr, -EINVAL, "nothing to do: standard input is empty; see decree help txn");
    }
    return r;
}

static void print_response(const struct cli *cli, const json_t *response)
{
    static const struct args plain = {0};
    const json_t *part;

    (void)printf("\n");
    if ((part = json_object_get(response, "response_put")) != NULL) {
        kv_print_put(cli, part);
    } else if ((part = json_object_get(response, "response_range")) != NULL) {
        kv_print_range(cli, &plain, part);
    } else if ((part = json_object_get(response, "response_delete_range")) != NULL) {
        kv_print_del(cli, part);
    }
}

static int run_txn(struct cli *cli, const struct args *args _unused_)
{
    json_t *request = json_object(), *reply = NULL;
    const json_t *response;
    _cleanup_err_ struct err e = {0};
    bool succeeded;
    size_t i;
    int r = read_txn(request, &e);

    r = r != 0 ? r : v3_call(cli->client, V3_WRITE, "/kv/txn", request, &reply, &e);
    json_decref(request);
    if (r != 0) {
        return cmd_fail(r, &e);
    }
    succeeded = json_is_true(json_object_get(reply, "succeeded"));
    if (cli->format == OUTPUT_JSON) {
        cmd_print_json(reply);
    } else {
        (void)printf("%s\n", succeeded ? "SUCCESS" : "FAILURE");
        json_array_foreach(json_object_get(reply, "responses"), i, response)
        {
            print_response(cli, response);
        }
    }
    json_decref(reply);
    return succeeded ? EXIT_DONE : EXIT_SAID_NO;
}

const struct command cmd_txn = {
    .name = "txn",
    .usage = "< FILE",
    .summary = "compare and change several keys in one step",
    .details = "Reads three blocks from standard input, each ended by an empty line: what is "
               "compared, what\n"
               "is done when all of it holds, what is done when not. For example\n\n"
               "  mod(\"/app/color\") > \"0\"\n"
               "  value(\"/app/lock\") = \"free\"\n\n"
               "  put /app/lock taken\n"
               "  get --prefix /app/\n\n"
               "  get /app/lock\n\n"
               "Compares: create, mod, version, value, lease of a key with =, !=, < or >. Prints "
               "SUCCESS or\n"
               "FAILURE and what the requests answered; ends with 1 when a compare did not hold.\n",
    .run = run_txn,
};
