/* What the command line understands. Every flag has one row in one table and every command names
 * the rows it takes; parsing, --help and the suggestion for a misspelt word all come from there.
 *
 *     decree [flags] COMMAND [flags] [arguments] [-- …]
 *
 * Flags may stand anywhere behind the command; "--" ends them. */
#ifndef DECREE_CLI_COMMAND_H
#define DECREE_CLI_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"

/* How decree ends; --help prints the same list. */
enum exit_code {
    EXIT_DONE = 0,
    EXIT_SAID_NO = 1, /* no such key, a txn's compare failed, something in a status is not well */
    EXIT_USAGE = 2,   /* the command line or its input makes no sense */
    EXIT_UNREACHABLE = 3, /* no endpoint could serve it: unreachable, timed out, no leader */
    EXIT_REFUSED = 4,     /* the server understood and refused */
    EXIT_INTERNAL = 5,    /* something on this host: no memory, no such program */
};

/* id, name, letter or 0, the name of its value or NULL for a switch, help */
#define FLAGS(X)                                                                                   \
    X(ENDPOINTS, "endpoints", 0, "URLS",                                                           \
        "http://HOST:PORT or unix:///PATH, several with commas (DECREE_ENDPOINTS)")                \
    X(OUTPUT, "output", 'o', "FORMAT",                                                             \
        "simple, table or json [table on a terminal where it helps, else simple]")                 \
    X(TIMEOUT, "timeout", 0, "DURATION", "how long one request may take, like 500ms or 5s [5s]")   \
    X(DEBUG, "debug", 0, NULL, "show the requests and replies on standard error")                  \
    X(HELP, "help", 'h', NULL, "this text")                                                        \
    X(PREFIX, "prefix", 0, NULL, "all keys that begin with KEY")                                   \
    X(FROM_KEY, "from-key", 0, NULL, "all keys from KEY on")                                       \
    X(PREV_KV, "prev-kv", 0, NULL, "show what was there before as well")                           \
    X(LEASE, "lease", 0, "ID", "bind the key to this lease (hexadecimal)")                         \
    X(IGNORE_VALUE, "ignore-value", 0, NULL, "keep the value, change the lease only")              \
    X(IGNORE_LEASE, "ignore-lease", 0, NULL, "keep the lease, change the value only")              \
    X(LIMIT, "limit", 0, "N", "at most N keys")                                                    \
    X(REV, "rev", 0, "REVISION", "as the store was at this revision")                              \
    X(SORT_BY, "sort-by", 0, "WHAT", "key, version, create, modify or value")                      \
    X(ORDER, "order", 0, "ORDER", "ascend or descend")                                             \
    X(KEYS_ONLY, "keys-only", 0, NULL, "without the values")                                       \
    X(COUNT_ONLY, "count-only", 0, NULL, "how many keys there are, and none of them")              \
    X(PRINT_VALUE_ONLY, "print-value-only", 0, NULL, "without the keys")                           \
    X(SERIALIZABLE, "serializable", 's', NULL,                                                     \
        "answer from the member asked, possibly a little old, also without a leader")              \
    X(START_REV, "rev", 0, "REVISION", "begin with what happened at this revision")                \
    X(KEYS, "keys", 0, NULL, "list the keys bound to the lease")                                   \
    X(ONCE, "once", 0, NULL, "renew once instead of going on until Ctrl-C")                        \
    X(PEER_URLS, "peer-urls", 0, "URLS",                                                           \
        "where the other members reach it: http://HOST:2380, several with commas")                 \
    X(LEARNER, "learner", 0, NULL, "without a vote until it is promoted")                          \
    X(NAME, "name", 0, "NAME", "of the new member [the old one's]")                                \
    X(WAIT, "wait", 0, "DURATION", "how long to wait for the new member [10m]")

enum flag_id {
#define X(id, ...) FLAG_##id,
    FLAGS(X)
#undef X
        FLAG_END_,
};
_Static_assert(FLAG_END_ <= 64, "a command's flags are a 64-bit mask");

#define FLAG(id) (UINT64_C(1) << FLAG_##id)

enum output_format { OUTPUT_AUTO, OUTPUT_SIMPLE, OUTPUT_TABLE, OUTPUT_JSON };

/* A parsed command line. All pointers are into argv or static. */
struct args {
    uint64_t flags;                /* which were given */
    const char *values[FLAG_END_]; /* of those that take a value */
    char **words;                  /* what is not a flag, the command's own words left out */
    int n_words;
    char **rest; /* what stands behind "--", NULL-ended; NULL unless the command takes it apart */
    int n_rest;
};

static inline bool args_has(const struct args *a, enum flag_id id)
{
    return (a->flags >> id & 1) != 0;
}

struct v3_client;

/* What every command gets. */
struct cli {
    struct v3_client *client;
    const char *endpoints; /* as given, or NULL for the default */
    enum output_format format;
    bool terminal; /* standard output is one */
};

enum {
    COMMAND_TAKES_REST = 1, /* "-- …" is handed over apart from the words */
    COMMAND_RAW = 2,        /* all that follows the command is handed over unread, as words */
};

struct command {
    const char *name;    /* "lease grant" */
    const char *alias;   /* "member-list", or NULL */
    const char *usage;   /* "KEY [RANGE_END]" */
    const char *summary; /* one line, for the list of commands */
    const char *details; /* more for its own help, each line ended by a newline; or NULL */
    uint64_t flags;
    int words_min, words_max;
    int traits; /* COMMAND_… */
    /* Returns an exit code; has printed whatever there was to say. */
    int (*run)(struct cli *cli, const struct args *args);
};

/* The table, ended by a row whose name is NULL. */
extern const struct command *const commands[];

/* Reads argv[1..argc). argv is reordered, words to the front. Returns 0 with the command and its
 * arguments, *ret_command NULL when no command was named (--help alone), or -EINVAL with a text
 * that names the word and what was perhaps meant. */
int command_line_parse(int argc, char **argv, const struct command **ret_command, struct args *ret,
    struct err *reterr);
/* Reads words as flags and arguments of one command: a line of a txn. */
int command_args_parse(
    const struct command *command, int n, char **words, struct args *ret, struct err *reterr);

/* Values of flags as numbers; -EINVAL with a text naming the flag. Absent flags leave *ret alone.
 */
int args_int64(const struct args *a, enum flag_id id, int64_t *ret, struct err *reterr);
int args_lease(const struct args *a, int64_t *ret, struct err *reterr);
/* A lease id as people write it: hexadecimal, not 0. */
int lease_id_parse(const char *text, int64_t *ret, struct err *reterr);
int revision_parse(const char *text, int64_t *ret, struct err *reterr);
/* "500ms", "5s", "1m", or seconds without a unit. */
int duration_parse_ms(const char *text, int64_t *ret_ms, struct err *reterr);

/* Help for one command, or with NULL for the whole program, to standard output. */
void command_help(const struct command *command);
/* Help for the commands whose names begin with this word; false when there are none. */
bool command_group_help(const char *group);
/* The command of these words ("lease", "grant"), and how many of them are its name; NULL if none.
 */
const struct command *command_find(int n, char *const *words, int *ret_n_name);

#endif
