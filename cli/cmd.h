/* The commands, and what several of them share. */
#ifndef DECREE_CLI_CMD_H
#define DECREE_CLI_CMD_H

#include <jansson.h>

#include "bytes.h"
#include "command.h"

extern const struct command cmd_put, cmd_get, cmd_del, cmd_watch, cmd_txn;
extern const struct command cmd_lease_grant, cmd_lease_revoke, cmd_lease_keep_alive,
    cmd_lease_timetolive, cmd_lease_list;
extern const struct command cmd_member_list, cmd_status;
extern const struct command cmd_member_add, cmd_member_remove, cmd_member_update,
    cmd_member_promote, cmd_member_replace, cmd_move_leader;
extern const struct command cmd_alarm_list, cmd_alarm_disarm, cmd_compact, cmd_defrag;
extern const struct command cmd_snapshot_save, cmd_snapshot_status, cmd_snapshot_restore;
extern const struct command cmd_agent_status, cmd_agent_render;
extern const struct command cmd_version, cmd_help;

/* Says on standard error what went wrong. A negative outcome is a usage error; a positive one comes
 * from the v3 client. Returns the exit code for it. */
int cmd_fail(int outcome, const struct err *e);
/* One line of JSON to standard output. */
void cmd_print_json(const json_t *value);
/* A descriptor that turns readable on SIGINT, SIGTERM and SIGHUP, which are blocked from then on;
 * but those that whoever started this program ignores (nohup) stay ignored. */
int cmd_interrupt_fd(void);

/* The path of another program of ours: beside this one, or its bare name, which execvp then looks
 * up in PATH. The caller's. */
char *cmd_program(const char *name);

/* The requests that command line and txn lines share. The objects are the caller's; each fails with
 * -EINVAL and a text. */
int kv_put_request(const struct args *args, bool may_read_stdin, json_t **ret, struct err *reterr);
int kv_get_request(const struct args *args, json_t **ret, struct err *reterr);
int kv_del_request(const struct args *args, json_t **ret, struct err *reterr);
/* key and range_end of KEY [RANGE_END] --prefix --from-key. */
int kv_set_range(json_t *request, const struct args *args, struct err *reterr);
/* As etcdctl prints them: key line, value line. */
void kv_print_pair(const struct cli *cli, const json_t *kv);
void kv_print_put(const struct cli *cli, const json_t *reply);
void kv_print_range(const struct cli *cli, const struct args *args, const json_t *reply);
void kv_print_del(const struct cli *cli, const json_t *reply);

#endif
