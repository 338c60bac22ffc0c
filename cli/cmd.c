/* The table of commands and what all of them share. */
#include "cmd.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>

#include "alloc.h"
#include "v3_client.h"

const struct command *const commands[] = {&cmd_put, &cmd_get, &cmd_del, &cmd_watch, &cmd_txn,
    &cmd_lease_grant, &cmd_lease_revoke, &cmd_lease_keep_alive, &cmd_lease_timetolive,
    &cmd_lease_list, &cmd_member_list, &cmd_member_add, &cmd_member_remove, &cmd_member_update,
    &cmd_member_promote, &cmd_member_replace, &cmd_move_leader, &cmd_status, &cmd_alarm_list,
    &cmd_alarm_disarm, &cmd_compact, &cmd_defrag, &cmd_snapshot_save, &cmd_snapshot_status,
    &cmd_snapshot_restore, &cmd_agent_status, &cmd_agent_render, &cmd_version, &cmd_help, NULL};

int cmd_fail(int outcome, const struct err *e)
{
    (void)fflush(stdout);
    (void)fprintf(stderr, "decree: %s\n", e->text != NULL ? e->text : "failed");
    switch (outcome) {
    case V3_UNREACHABLE:
    case V3_ENDED:
        return EXIT_UNREACHABLE;
    case V3_REFUSED:
        return EXIT_REFUSED;
    case -EINVAL:
    case -EFBIG:
        return EXIT_USAGE;
    default:
        return EXIT_INTERNAL;
    }
}

void cmd_print_json(const json_t *value)
{
    (void)json_dumpf(value, stdout, JSON_COMPACT | JSON_ENCODE_ANY);
    (void)fputc('\n', stdout);
}

int cmd_interrupt_fd(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction before;
    sigset_t set;
    int fd;

    (void)sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
        /* Of a blocked one the kernel forgets that it is ignored. */
        if (sigaction(signals[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN) {
            (void)sigaddset(&set, signals[i]);
        }
    }
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) {
        decree_fatal("signalfd: %s", strerror(errno));
    }
    return fd;
}

char *cmd_program(const char *name)
{
    char self[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *slash, *beside;

    if (len <= 0) {
        return xstrdup(name);
    }
    self[len] = 0;
    slash = strrchr(self, '/');
    beside = xasprintf("%.*s/%s", (int)(slash - self), self, name);
    if (access(beside, X_OK) == 0) {
        return beside;
    }
    free(beside);
    return xstrdup(name);
}

static int run_version(struct cli *cli, const struct args *args _unused_)
{
    if (cli->format == OUTPUT_JSON) {
        json_t *v = json_pack("{s:s}", "version", DECREE_VERSION);

        cmd_print_json(v);
        json_decref(v);
    } else {
        (void)printf("decree %s\n", DECREE_VERSION);
    }
    return EXIT_DONE;
}

static int run_help(struct cli *cli _unused_, const struct args *args)
{
    const struct command *command = NULL;
    int used;

    if (args->n_words > 0) {
        command = command_find(args->n_words, args->words, &used);
        if (command == NULL && args->n_words == 1 && command_group_help(args->words[0])) {
            return EXIT_DONE;
        }
        if (command == NULL) {
            (void)fprintf(
                stderr, "decree: there is no command \"%s\"; see decree help\n", args->words[0]);
            return EXIT_USAGE;
        }
    }
    command_help(command);
    return EXIT_DONE;
}

const struct command cmd_version = {
    .name = "version",
    .usage = "",
    .summary = "show the version of this program",
    .run = run_version,
};

const struct command cmd_help = {
    .name = "help",
    .usage = "[COMMAND]",
    .summary = "show what there is, or more about one command",
    .words_max = 2,
    .run = run_help,
};
