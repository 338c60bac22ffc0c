/* The command line of Decree: reads the words, makes a client for the endpoints and hands both to
 * the command. */
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "cmd.h"
#include "v3_client.h"

static const char default_endpoint[] = "http://127.0.0.1:2379";
enum { TIMEOUT_MS = 5000 }; /* longer than an election, shorter than a person's patience */

static int read_format(const struct args *args, enum output_format *ret, struct err *reterr)
{
    static const char *const names[] = {"", "simple", "table", "json"};

    *ret = OUTPUT_AUTO;
    if (!args_has(args, FLAG_OUTPUT)) {
        return 0;
    }
    for (size_t i = OUTPUT_SIMPLE; i < ARRAY_SIZE(names); i++) {
        if (strcmp(args->values[FLAG_OUTPUT], names[i]) == 0) {
            *ret = (enum output_format)i;
            return 0;
        }
    }
    return err_set(
        reterr, -EINVAL, "--output %s: choose simple, table or json", args->values[FLAG_OUTPUT]);
}

/* Makes what the command needs; cli->client is the caller's to free. */
static int cli_prepare(struct cli *cli, const struct args *args, struct err *reterr)
{
    const char *endpoints = getenv("DECREE_ENDPOINTS");
    int64_t timeout_ms = TIMEOUT_MS;
    int r;

    *cli = (struct cli){.terminal = isatty(STDOUT_FILENO) == 1};
    cli->endpoints = args_has(args, FLAG_ENDPOINTS) ? args->values[FLAG_ENDPOINTS]
        : endpoints != NULL && endpoints[0] != 0    ? endpoints
                                                    : NULL;
    r = read_format(args, &cli->format, reterr);
    if (r == 0 && args_has(args, FLAG_TIMEOUT)) {
        r = duration_parse_ms(args->values[FLAG_TIMEOUT], &timeout_ms, reterr);
    }
    if (r < 0) {
        return r;
    }
    return v3_client_new(cli->endpoints != NULL ? cli->endpoints : default_endpoint, timeout_ms,
        args_has(args, FLAG_DEBUG), &cli->client, reterr);
}

int main(int argc, char **argv)
{
    const struct command *command;
    struct args args;
    struct cli cli;
    _cleanup_err_ struct err e = {0};
    int exit_code;

    (void)setlocale(LC_CTYPE, "");
    (void)signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        command_help(NULL);
        return EXIT_USAGE;
    }
    if (command_line_parse(argc, argv, &command, &args, &e) < 0) {
        return cmd_fail(-EINVAL, &e);
    }
    if (command == NULL || args_has(&args, FLAG_HELP)) {
        command_help(command);
        return EXIT_DONE;
    }
    if (cli_prepare(&cli, &args, &e) < 0) {
        return cmd_fail(-EINVAL, &e);
    }
    exit_code = command->run(&cli, &args);
    v3_client_free(cli.client);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        (void)fprintf(stderr, "decree: standard output: %s\n", strerror(errno));
        return exit_code != EXIT_DONE ? exit_code : EXIT_INTERNAL;
    }
    return exit_code;
}
