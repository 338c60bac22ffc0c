/* The agent of one host: keeps every file of its configuration as the store wants it. */
#ifndef DECREE_AGENT_AGENT_H
#define DECREE_AGENT_AGENT_H

#include <stdbool.h>

enum {
    AGENT_STOP_MS = 6 * 1000,  /* a running reload may take so long when the agent is stopped; with
                                  a hook's grace it stays below the 10 s of the supervisor */
    AGENT_ONCE_MS = 15 * 1000, /* --once waits so long for the store */
    AGENT_CANNOT_START = 2, /* exit code: options, configuration or state folder are not usable */
};

struct agent_options {
    const char *name; /* of this agent in the store; no slash */
    const char *endpoints;
    const char *conf_dir;
    const char *state_dir; /* made if missing, 0700 */
    bool once;
};

/* Runs until SIGTERM or SIGINT, or with `once` until every file was brought up to date. SIGHUP
 * reads the configuration again. Returns the exit code: 0 after a signal; with `once` 0 only if all
 * files are as they should be, else 1; AGENT_CANNOT_START after a line on the log. */
int agent_run(const struct agent_options *o);

#endif
