/* decreed: reads the options and becomes what --role says. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "alloc.h"
#include "backup_main.h"
#include "log.h"
#include "options.h"
#include "store_main.h"
#include "supervisor.h"

enum { EXIT_USAGE = 2 };

enum role { ROLE_BOTH, ROLE_STORE, ROLE_AGENT };

static enum role role_of(const struct options *o)
{
    const char *role = option_string(o, OPT_ROLE);

    return strcmp(role, "store") == 0 ? ROLE_STORE
        : strcmp(role, "agent") == 0  ? ROLE_AGENT
                                      : ROLE_BOTH;
}

/* The agent's program stands beside this one; PATH is the second place to look. */
static char *agent_program(void)
{
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *slash;

    if (n <= 0) {
        return xstrdup("decreed-agent");
    }
    self[n] = '\0';
    slash = strrchr(self, '/');
    return xasprintf("%.*s/decreed-agent", (int)(slash - self), self);
}

/* Replaces this process by the agent, with the options that concern it. */
static _noreturn_ void become_agent(const struct options *o)
{
    _cleanup_free_ char *program = agent_program();
    _cleanup_free_ char *endpoints = option_endpoints(o);
    const char *argv[OPT_END * 2 + 4] = {"decreed-agent"};
    int argc = options_to_argv(o, FOR_AGENT, argv, 1);

    if (!option_is_set(o, OPT_ENDPOINTS)) {
        argv[argc++] = "--endpoints";
        argv[argc++] = endpoints;
    }
    argv[argc] = NULL;
    (void)execv(program, (char *const *)argv);
    (void)execvp("decreed-agent", (char *const *)argv);
    log_error("cannot start %s: %s", program, strerror(errno));
    _exit(EXIT_USAGE);
}

static void run_store(void *data)
{
    log_set_tag("store");
    _exit(store_main(data));
}

static void run_agent(void *data)
{
    become_agent(data);
}

/* Somebody who tries the store alone has no agent's folder: that is no error unless it was named.
 */
static bool agent_is_wanted(const struct options *o)
{
    const char *dir = option_string(o, OPT_CONF_DIR);
    struct stat st;

    if (option_is_set(o, OPT_CONF_DIR) || stat(dir, &st) == 0) {
        return true;
    }
    log_info("no agent here: %s does not exist (--conf-dir names another folder)", dir);
    return false;
}

static int run_both(struct options *o)
{
    struct child_spec children[CHILD_COUNT] = {
        [CHILD_STORE] = {"store", run_store, o},
        [CHILD_AGENT] = {"agent", agent_is_wanted(o) ? run_agent : NULL, o},
    };

    return supervise(children);
}

static int run(struct options *o)
{
    enum log_level level;

    if (log_level_parse(option_string(o, OPT_LOG_LEVEL), &level) == 0) {
        log_set_level(level);
    }
    switch (role_of(o)) {
    case ROLE_STORE:
        return store_main(o);
    case ROLE_AGENT:
        become_agent(o);
    case ROLE_BOTH:
        return run_both(o);
    }
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    _cleanup_(options_deinit) struct options o = {0};
    _cleanup_err_ struct err e = {0};
    _cleanup_free_ char *help = NULL;
    int rc;

    if (argc > 1 && strcmp(argv[1], "snapshot") == 0) {
        return backup_main(argc - 1, argv + 1);
    }
    rc = options_read(&o, FOR_BOTH, argc, argv, &e);
    if (rc == OPTIONS_HELP) {
        help = options_help(FOR_BOTH, "decreed");
        (void)fputs(help, stdout);
        return 0;
    }
    if (rc == OPTIONS_VERSION) {
        (void)printf("decreed %s\n", DECREE_VERSION);
        return 0;
    }
    if (rc < 0) {
        (void)fprintf(stderr, "decreed: %s\n", e.text);
        return EXIT_USAGE;
    }
    return run(&o);
}
