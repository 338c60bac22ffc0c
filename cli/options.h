/* Every option of the daemons, once. From its row come the flag (--data-dir), the environment
 * variable (DECREE_DATA_DIR), the key in the INI file (data-dir = …) and the line of --help.
 * A flag wins over the environment, that over the file, that over the default. */
#ifndef DECREE_CLI_OPTIONS_H
#define DECREE_CLI_OPTIONS_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>

#include "err.h"

enum option_kind {
    OPTION_STRING,
    OPTION_CHOICE,   /* hint lists what may stand there, separated by | */
    OPTION_NUMBER,   /* whole, within min and max */
    OPTION_BYTES,    /* a number, optionally with K, M or G (1024) */
    OPTION_DURATION, /* "500ms", "2s", "1m30s"; a bare number is milliseconds */
    OPTION_FLAG,     /* yes or no; the flag alone means yes */
};

/* Who reads an option: a set of these. decreed takes FOR_BOTH, decreed-agent FOR_AGENT_PROGRAM. */
enum option_program {
    FOR_STORE = 1,
    FOR_AGENT = 2,
    FOR_AGENT_TOOL = 4, /* only where a person runs decreed-agent by hand */
    FOR_RESTORE = 8,    /* decreed snapshot restore: what a new member's directory depends on */
    FOR_BOTH = FOR_STORE | FOR_AGENT,
    FOR_MEMBER = FOR_STORE | FOR_RESTORE,
    FOR_AGENT_PROGRAM = FOR_AGENT | FOR_AGENT_TOOL,
};

/* id, flag, program, kind, default, hint, min, max, help */
#define DAEMON_OPTIONS(X)                                                                          \
    X(ROLE, "role", FOR_STORE, CHOICE, "both", "both|store|agent", 0, 0,                           \
        "what runs here: the store, the agent of this host, or both under one supervisor")         \
    X(NAME, "name", FOR_BOTH | FOR_RESTORE, STRING, "default", "NAME", 0, 0,                       \
        "name of this member or agent, unique in the cluster")                                     \
    X(DATA_DIR, "data-dir", FOR_BOTH | FOR_RESTORE, STRING, "NAME.decree", "DIR", 0, 0,            \
        "where log, snapshots and the agent's state live; made 0700")                              \
    X(CONFIG_FILE, "config-file", FOR_BOTH | FOR_RESTORE, STRING, "", "FILE", 0, 0,                \
        "INI file with these options as keys, without the dashes")                                 \
    X(LOG_LEVEL, "log-level", FOR_BOTH | FOR_RESTORE, CHOICE, "info", "error|warn|info|debug", 0,  \
        0, "how much to say on standard error")                                                    \
    X(LISTEN_CLIENT_URLS, "listen-client-urls", FOR_STORE, STRING, "http://127.0.0.1:2379",        \
        "URLS", 0, 0,                                                                              \
        "where clients are served: http://HOST:PORT or unix:///PATH, separated by commas")         \
    X(ADVERTISE_CLIENT_URLS, "advertise-client-urls", FOR_STORE, STRING, "", "URLS", 0, 0,         \
        "what clients are told to use [the URLs listened on]")                                     \
    X(HOST_WHITELIST, "host-whitelist", FOR_STORE, STRING, "", "NAMES", 0, 0,                      \
        "host names under which browsers may call, beside addresses and localhost; * for any")     \
    X(LISTEN_PEER_URLS, "listen-peer-urls", FOR_MEMBER, STRING, "http://127.0.0.1:2380", "URLS",   \
        0, 0, "where other members connect")                                                       \
    X(INITIAL_ADVERTISE_PEER_URLS, "initial-advertise-peer-urls", FOR_MEMBER, STRING, "", "URLS",  \
        0, 0, "this member's peer URLs as the others reach them [the URLs listened on]")           \
    X(INITIAL_CLUSTER, "initial-cluster", FOR_MEMBER, STRING, "", "NAME=URL,…", 0, 0,              \
        "all founding members; read on the very first start only [this member alone]")             \
    X(INITIAL_CLUSTER_STATE, "initial-cluster-state", FOR_STORE, CHOICE, "new", "new|existing", 0, \
        0, "found a new cluster, or join one that has this member in its list already")            \
    X(INITIAL_CLUSTER_TOKEN, "initial-cluster-token", FOR_MEMBER, STRING, "", "TOKEN", 0, 0,       \
        "keeps clusters that are founded alike apart [etcd-cluster]")                              \
    X(FORCE_NEW_CLUSTER, "force-new-cluster", FOR_STORE, FLAG, "no", "yes|no", 0, 0,               \
        "after the majority is lost for good: forget all other members, keep the data")            \
    X(BUMP_REVISION, "bump-revision", FOR_RESTORE, NUMBER, "1000000000", "N", 1, INT64_MAX / 4,    \
        "revisions to pass over, so that watchers of later ones are told to read again")           \
    X(HEARTBEAT_INTERVAL, "heartbeat-interval", FOR_STORE, DURATION, "100ms", "MS", 1, 60000,      \
        "between the leader's signs of life")                                                      \
    X(ELECTION_TIMEOUT, "election-timeout", FOR_STORE, DURATION, "1s", "MS", 10, 600000,           \
        "silence after which a member stands for election; at least 5 heartbeats")                 \
    X(SNAPSHOT_COUNT, "snapshot-count", FOR_STORE, NUMBER, "100000", "N", 10, 1000000000,          \
        "log entries between two snapshots")                                                       \
    X(QUOTA_BACKEND_BYTES, "quota-backend-bytes", FOR_STORE, BYTES, "2G", "BYTES", 1 << 20,        \
        INT64_MAX, "keyspace size beyond which writes are refused with NOSPACE")                   \
    X(AGENT_SOCKET, "agent-socket", FOR_BOTH, STRING, "DATA-DIR/agent.sock", "PATH", 0, 0,         \
        "unix socket between store and agent")                                                     \
    X(ENDPOINTS, "endpoints", FOR_AGENT, STRING, "", "URLS", 0, 0,                                 \
        "store the agent follows: unix:///PATH or http://HOST:PORT, … [the agent socket]")         \
    X(CONF_DIR, "conf-dir", FOR_AGENT, STRING, "/etc/decree", "DIR", 0, 0,                         \
        "the agent's configuration: conf.d/*.conf and templates/")                                 \
    X(STATE_DIR, "state-dir", FOR_AGENT, STRING, "DATA-DIR/agent", "DIR", 0, 0,                    \
        "what the agent remembers over a restart")                                                 \
    X(ONCE, "once", FOR_AGENT_TOOL, FLAG, "no", "yes|no", 0, 0,                                    \
        "bring every file up to date once and exit, 0 only if all are")                            \
    X(RENDER, "render", FOR_AGENT_TOOL, FLAG, "no", "yes|no", 0, 0,                                \
        "print what every file would be, touching nothing; exit 1 if one would change")            \
    X(DIFF, "diff", FOR_AGENT_TOOL, FLAG, "no", "yes|no", 0, 0,                                    \
        "with --render: print only what would change, as a diff")

enum option_id {
#define X(id, ...) OPT_##id,
    DAEMON_OPTIONS(X)
#undef X
        OPT_END,
};

struct options {
    char *values[OPT_END];  /* owned; NULL = the default holds */
    char *origins[OPT_END]; /* owned; "--data-dir", "DECREE_DATA_DIR", "FILE:7" */
    enum option_program program;
};

enum { OPTIONS_HELP = 1, OPTIONS_VERSION = 2 };

/* Reads flags, environment and the file named by --config-file (or /etc/decree/decree.conf when
 * that exists and none is named). Options of the other program are accepted in the environment and
 * the file, since one file serves both, and refused as flags. Returns 0, OPTIONS_HELP or
 * OPTIONS_VERSION when that was asked for, or -EINVAL / -errno with a text that names the flag,
 * variable or FILE:LINE and what is allowed there. */
int options_read(struct options *o, enum option_program program, int argc, char *const *argv,
    struct err *reterr);
void options_deinit(struct options *o);

/* Values have been checked by options_read: these cannot fail. Strings are o's. */
const char *option_string(const struct options *o, enum option_id id);
bool option_is_set(const struct options *o, enum option_id id);
/* Numbers, bytes, and durations in milliseconds. */
uint64_t option_number(const struct options *o, enum option_id id);
bool option_flag(const struct options *o, enum option_id id);
/* Where data-dir, state-dir, agent-socket and endpoints lead when they are not set: each default is
 * made of others. The caller's to free. */
char *option_data_dir(const struct options *o);
char *option_state_dir(const struct options *o);
char *option_agent_socket(const struct options *o);
char *option_endpoints(const struct options *o);
/* "--data-dir" or wherever the value came from, for messages. */
const char *option_origin(const struct options *o, enum option_id id);

/* The text of --help for that program. The caller's to free. */
char *options_help(enum option_program program, const char *program_name);
/* Appends "--flag", "value" for everything that is set and that `program` reads, in order to start
 * that program with the same options. argv has room for OPT_END * 2 more; strings are o's or
 * static. Returns the new argc. */
int options_to_argv(
    const struct options *o, enum option_program program, const char **argv, int argc);

#endif
