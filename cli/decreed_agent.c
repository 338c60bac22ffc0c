/* decreed-agent: the agent of one host, as a program of its own; also what a person runs to see
 * what would change here. */
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

#include "agent.h"
#include "alloc.h"
#include "log.h"
#include "options.h"
#include "preview.h"

enum { EXIT_USAGE = 2 };

/* What init systems give to services; the commands of resources inherit it. Files of the agent's
 * own have their modes set explicitly. */
enum { UMASK = 022 };

static int run_preview(const struct options *o)
{
    _cleanup_free_ char *endpoints = option_endpoints(o);
    const struct preview_options p = {
        .endpoints = endpoints,
        .conf_dir = option_string(o, OPT_CONF_DIR),
        .diff = option_flag(o, OPT_DIFF),
    };

    if (!option_is_set(o, OPT_LOG_LEVEL)) {
        log_set_level(LOG_LEVEL_ERROR); /* a person wants the files, not the course of things */
    }
    return preview_run(&p);
}

static int run_agent(const struct options *o)
{
    _cleanup_free_ char *endpoints = option_endpoints(o);
    _cleanup_free_ char *state_dir = option_state_dir(o);
    const struct agent_options a = {
        .name = option_string(o, OPT_NAME),
        .endpoints = endpoints,
        .conf_dir = option_string(o, OPT_CONF_DIR),
        .state_dir = state_dir,
        .once = option_flag(o, OPT_ONCE),
    };

    return agent_run(&a);
}

static int run(const struct options *o)
{
    enum log_level level;

    if (log_level_parse(option_string(o, OPT_LOG_LEVEL), &level) == 0) {
        log_set_level(level);
    }
    log_set_tag("agent");
    (void)umask(UMASK);
    (void)signal(SIGPIPE, SIG_IGN);
    return option_flag(o, OPT_RENDER) || option_flag(o, OPT_DIFF) ? run_preview(o) : run_agent(o);
}

int main(int argc, char **argv)
{
    struct options o = {0};
    _cleanup_err_ struct err e = {0};
    _cleanup_free_ char *help = NULL;
    int rc = options_read(&o, FOR_AGENT_PROGRAM, argc, argv, &e);
    int code;

    if (rc == OPTIONS_HELP) {
        help = options_help(FOR_AGENT_PROGRAM, "decreed-agent");
        (void)fputs(help, stdout);
        code = 0;
    } else if (rc == OPTIONS_VERSION) {
        (void)puts("decreed-agent " DECREE_VERSION);
        code = 0;
    } else if (rc < 0) {
        (void)fprintf(stderr, "decreed-agent: %s\n", e.text);
        code = EXIT_USAGE;
    } else {
        code = run(&o);
    }
    options_deinit(&o);
    return code;
}
