/* The flag table's reader: one pass over argv that moves what is not a flag to the front, so that
 * flags and words may be mixed; then the command's own words are cut off. */
#include "command.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "buf.h"
#include "cmd.h"

struct flag_def {
    const char *name;
    char letter;
    const char *value;
    const char *help;
};

static const struct flag_def flag_defs[FLAG_END_] = {
#define X(id, name, letter, value, help) {name, letter, value, help},
    FLAGS(X)
#undef X
};

static const uint64_t global_flags =
    FLAG(ENDPOINTS) | FLAG(OUTPUT) | FLAG(TIMEOUT) | FLAG(DEBUG) | FLAG(HELP);

/* How many single-letter edits lead from a to b, for "did you mean". Words longer than any of ours
 * are simply far away. */
static size_t edit_distance(const char *a, const char *b)
{
    enum { WORD_MAX = 40 };
    size_t row[WORD_MAX + 1];
    size_t la = strlen(a), lb = strlen(b);

    if (la > WORD_MAX || lb > WORD_MAX) {
        return WORD_MAX;
    }
    for (size_t j = 0; j <= lb; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= la; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t replaced = diagonal + (a[i - 1] != b[j - 1]);

            diagonal = row[j];
            row[j] = MIN(replaced, MIN(row[j], row[j - 1]) + 1);
        }
    }
    return row[lb];
}

struct suggestion {
    const char *best;
    size_t distance;
};

static void suggestion_offer(struct suggestion *s, const char *typed, const char *candidate)
{
    size_t distance = edit_distance(typed, candidate);

    /* A longer word with the typed one in front is a good guess however much is missing. */
    if (strlen(typed) >= 3 && strncmp(candidate, typed, strlen(typed)) == 0) {
        distance = 1;
    }
    if (distance <= 1 + strlen(typed) / 3 && (s->best == NULL || distance < s->distance)) {
        *s = (struct suggestion){candidate, distance};
    }
}

static int flag_find(uint64_t allowed, const char *name, size_t len)
{
    for (int i = 0; i < FLAG_END_; i++) {
        if ((allowed >> i & 1) != 0 && strlen(flag_defs[i].name) == len &&
            memcmp(flag_defs[i].name, name, len) == 0) {
            return i;
        }
    }
    return -1;
}

static int flag_find_letter(uint64_t allowed, char letter)
{
    for (int i = 0; i < FLAG_END_; i++) {
        if ((allowed >> i & 1) != 0 && letter != 0 && flag_defs[i].letter == letter) {
            return i;
        }
    }
    return -1;
}

static int flag_unknown(
    const struct command *command, uint64_t allowed, const char *word, struct err *reterr)
{
    const char *start = word + (word[1] == '-' ? 2 : 1);
    _cleanup_free_ char *name = xstrndup(start, strcspn(start, "="));
    struct suggestion s = {0};
    const char *of = command != NULL ? command->name : "decree";

    for (int i = 0; i < FLAG_END_; i++) {
        if ((allowed >> i & 1) != 0) {
            suggestion_offer(&s, name, flag_defs[i].name);
        }
    }
    if (s.best != NULL) {
        return err_set(
            reterr, -EINVAL, "%s does not know %s; did you mean --%s?", of, word, s.best);
    }
    if (word[1] != '-') {
        return err_set(reterr, -EINVAL,
            "%s does not know %s; put -- in front of words that begin with a dash", of, word);
    }
    return err_set(reterr, -EINVAL, "%s does not know %s; see decree help%s%s", of, word,
        command != NULL ? " " : "", command != NULL ? command->name : "");
}

static int flag_set(struct args *a, int id, const char *value, struct err *reterr)
{
    const struct flag_def *def = &flag_defs[id];

    if (def->value != NULL) {
        a->values[id] = value;
    } else if (value != NULL && strcmp(value, "false") == 0) {
        a->flags &= ~(UINT64_C(1) << id);
        return 0;
    } else if (value != NULL && strcmp(value, "true") != 0) {
        return err_set(
            reterr, -EINVAL, "--%s is a switch: it takes no value but true or false", def->name);
    }
    a->flags |= UINT64_C(1) << id;
    return 0;
}

/* Takes words[*i], a flag, and its value if it has one; *i stays on the last word taken. */
static int flag_take(const struct command *command, uint64_t allowed, int n, char **words, int *i,
    struct args *a, struct err *reterr)
{
    char *word = words[*i];
    const char *equals = strchr(word, '=');
    const char *value = NULL;
    int id;

    if (word[1] == '-') {
        size_t len = equals != NULL ? (size_t)(equals - word) - 2 : strlen(word) - 2;

        id = flag_find(allowed, word + 2, len);
        value = equals != NULL ? equals + 1 : NULL;
    } else {
        id = flag_find_letter(allowed, word[1]);
        value = word[2] == '=' ? word + 3 : word[2] != 0 ? word + 2 : NULL;
    }
    if (id < 0 || (word[1] != '-' && value != NULL && flag_defs[id].value == NULL)) {
        return flag_unknown(command, allowed, word, reterr);
    }
    if (flag_defs[id].value != NULL && value == NULL) {
        if (*i + 1 >= n) {
            return err_set(
                reterr, -EINVAL, "%s needs a value: %s %s", word, word, flag_defs[id].value);
        }
        value = words[++*i];
    }
    return flag_set(a, id, value, reterr);
}

/* Reads flags out of words and leaves the others, in order, at the front of them. */
static int words_sift(const struct command *command, uint64_t allowed, int n, char **words,
    struct args *a, struct err *reterr)
{
    bool takes_rest = command != NULL && (command->traits & COMMAND_TAKES_REST) != 0;
    int kept = 0;

    for (int i = 0; i < n; i++) {
        char *word = words[i];

        if (strcmp(word, "--") == 0) {
            if (takes_rest) {
                a->rest = &words[i + 1];
                a->n_rest = n - i - 1;
                break;
            }
            for (i++; i < n; i++) {
                words[kept++] = words[i];
            }
            break;
        }
        if (word[0] != '-' || word[1] == 0) { /* a lone dash is standard input, a word */
            words[kept++] = word;
            continue;
        }
        int r = flag_take(command, allowed, n, words, &i, a, reterr);
        if (r < 0) {
            return r;
        }
    }
    a->words = words;
    a->n_words = kept;
    return 0;
}

static int words_check(const struct command *command, const struct args *a, struct err *reterr)
{
    if (args_has(a, FLAG_HELP)) {
        return 0;
    }
    if (a->n_words < command->words_min) {
        return err_set(
            reterr, -EINVAL, "not enough arguments: decree %s %s", command->name, command->usage);
    }
    if (a->n_words > command->words_max) {
        return err_set(reterr, -EINVAL, "\"%s\" is one argument too many: decree %s %s",
            a->words[command->words_max], command->name, command->usage);
    }
    return 0;
}

int command_args_parse(
    const struct command *command, int n, char **words, struct args *ret, struct err *reterr)
{
    int r;

    if ((command->traits & COMMAND_RAW) != 0) {
        ret->words = words;
        ret->n_words = n;
        return 0;
    }
    r = words_sift(command, command->flags | global_flags, n, words, ret, reterr);
    return r < 0 ? r : words_check(command, ret, reterr);
}

/* Whether name, words with single blanks between them, is what words begin with; then of how many
 * words it is, else 0. */
static int name_match(const char *name, int n, char *const *words)
{
    int used = 0;

    while (used < n) {
        size_t len = strcspn(name, " ");

        if (strlen(words[used]) != len || memcmp(name, words[used], len) != 0) {
            return 0;
        }
        used++;
        if (name[len] == 0) {
            return used;
        }
        name += len + 1;
    }
    return 0;
}

const struct command *command_find(int n, char *const *words, int *ret_n_name)
{
    for (int i = 0; commands[i] != NULL; i++) {
        int used = name_match(commands[i]->name, n, words);

        if (used == 0 && commands[i]->alias != NULL) {
            used = name_match(commands[i]->alias, n, words);
        }
        if (used != 0) {
            *ret_n_name = used;
            return commands[i];
        }
    }
    return NULL;
}

/* Whether name is that of a command of a group: "agent status" is one of "agent". */
static bool name_in_group(const char *name, const char *group)
{
    size_t len = strlen(group);

    return strncmp(name, group, len) == 0 && name[len] == ' ';
}

static bool group_exists(const char *group)
{
    for (int i = 0; commands[i] != NULL; i++) {
        if (name_in_group(commands[i]->name, group)) {
            return true;
        }
    }
    return false;
}

static bool group_help_wanted(int n, char *const *words, const struct args *a)
{
    bool flag_follows = n == 2 && (strcmp(words[1], "--help") == 0 || strcmp(words[1], "-h") == 0);

    return group_exists(words[0]) && (flag_follows || (n == 1 && args_has(a, FLAG_HELP)));
}

static int command_unknown(int n, char *const *words, struct err *reterr)
{
    struct suggestion s = {0};
    _cleanup_strbuf_ struct strbuf group = {0};
    _cleanup_free_ char *two = n > 1 ? xasprintf("%s %s", words[0], words[1]) : xstrdup(words[0]);

    for (int i = 0; commands[i] != NULL; i++) {
        suggestion_offer(&s, words[0], commands[i]->name);
        suggestion_offer(&s, two, commands[i]->name);
        if (name_in_group(commands[i]->name, words[0])) {
            strbuf_printf(&group, "%s%s", group.len != 0 ? ", " : "", commands[i]->name);
        }
    }
    if (group.len != 0) {
        return err_set(
            reterr, -EINVAL, "\"%s\" is not a command; there is: %s", two, strbuf_cstr(&group));
    }
    if (s.best != NULL) {
        return err_set(
            reterr, -EINVAL, "\"%s\" is not a command; did you mean \"%s\"?", words[0], s.best);
    }
    return err_set(reterr, -EINVAL, "\"%s\" is not a command; see decree help", words[0]);
}

int command_line_parse(
    int argc, char **argv, const struct command **ret_command, struct args *ret, struct err *reterr)
{
    int i = 1, used, r;

    *ret = (struct args){0};
    *ret_command = NULL;
    for (; i < argc && argv[i][0] == '-'; i++) {
        r = flag_take(NULL, global_flags, argc, argv, &i, ret, reterr);
        if (r < 0) {
            return r;
        }
    }
    if (i == argc) {
        return args_has(ret, FLAG_HELP)
            ? 0
            : err_set(reterr, -EINVAL, "no command given; see decree help");
    }
    *ret_command = command_find(argc - i, argv + i, &used);
    if (*ret_command == NULL && group_help_wanted(argc - i, argv + i, ret)) {
        /* "agent --help", "--help agent": the same as "help agent" */
        *ret_command = &cmd_help;
        *ret = (struct args){.words = argv + i, .n_words = 1};
        return 0;
    }
    if (*ret_command == NULL) {
        return command_unknown(argc - i, argv + i, reterr);
    }
    return command_args_parse(*ret_command, argc - i - used, argv + i + used, ret, reterr);
}

static int number_parse(const char *text, int base, int64_t *ret)
{
    char *end;
    long long v;

    errno = 0;
    v = strtoll(text, &end, base);
    if (end == text || *end != 0 || errno != 0) {
        return -EINVAL;
    }
    *ret = v;
    return 0;
}

int args_int64(const struct args *a, enum flag_id id, int64_t *ret, struct err *reterr)
{
    if (!args_has(a, id)) {
        return 0;
    }
    if (number_parse(a->values[id], 10, ret) < 0 || *ret < 0) {
        return err_set(
            reterr, -EINVAL, "--%s %s: not a whole number", flag_defs[id].name, a->values[id]);
    }
    return 0;
}

int revision_parse(const char *text, int64_t *ret, struct err *reterr)
{
    if (number_parse(text, 10, ret) < 0 || *ret <= 0) {
        return err_set(reterr, -EINVAL, "\"%s\" is not a revision; it is a number from 1 on", text);
    }
    return 0;
}

int lease_id_parse(const char *text, int64_t *ret, struct err *reterr)
{
    if (number_parse(text, 16, ret) < 0 || *ret <= 0) {
        return err_set(
            reterr, -EINVAL, "\"%s\" is not a lease id; it is a hexadecimal number", text);
    }
    return 0;
}

int args_lease(const struct args *a, int64_t *ret, struct err *reterr)
{
    return args_has(a, FLAG_LEASE) ? lease_id_parse(a->values[FLAG_LEASE], ret, reterr) : 0;
}

int duration_parse_ms(const char *text, int64_t *ret_ms, struct err *reterr)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"", 1000}, {"m", 60000}, {"h", 3600000}};
    char *end;
    double v;

    errno = 0;
    v = strtod(text, &end);
    for (size_t i = 0; end != text && errno == 0 && i < ARRAY_SIZE(units); i++) {
        if (strcmp(end, units[i].unit) == 0 && v > 0 && v * (double)units[i].ms < INT_MAX) {
            *ret_ms = MAX((int64_t)(v * (double)units[i].ms), 1);
            return 0;
        }
    }
    return err_set(reterr, -EINVAL, "\"%s\" is not a duration; write 500ms, 5s or 1m", text);
}

static void flags_help(uint64_t flags)
{
    for (int i = 0; i < FLAG_END_; i++) {
        const struct flag_def *def = &flag_defs[i];

        if ((flags >> i & 1) != 0) {
            _cleanup_free_ char *left = xasprintf("%s%c%s--%s%s%s", def->letter != 0 ? "-" : " ",
                def->letter != 0 ? def->letter : ' ', def->letter != 0 ? ", " : "  ", def->name,
                def->value != NULL ? " " : "", def->value != NULL ? def->value : "");

            (void)printf("  %-26s %s\n", left, def->help);
        }
    }
}

bool command_group_help(const char *group)
{
    if (!group_exists(group)) {
        return false;
    }
    (void)printf("decree %s: a group of commands\n\nUsage: decree %s COMMAND [flags] "
                 "[arguments]\n\nCommands:\n",
        group, group);
    for (int i = 0; commands[i] != NULL; i++) {
        if (name_in_group(commands[i]->name, group)) {
            (void)printf("  %-20s %s\n", commands[i]->name, commands[i]->summary);
        }
    }
    (void)printf("\n\"decree help %s COMMAND\" tells more about one.\n", group);
    return true;
}

static void program_help(void)
{
    (void)printf("decree: keys, watches and status of a Decree or etcd cluster\n\n"
                 "Usage: decree COMMAND [flags] [arguments]\n\nCommands:\n");
    for (int i = 0; commands[i] != NULL; i++) {
        (void)printf("  %-20s %s\n", commands[i]->name, commands[i]->summary);
    }
    (void)printf("\nFlags of every command:\n");
    flags_help(global_flags);
    (void)printf("\nExit codes:\n"
                 "  0  done\n"
                 "  1  no such key, a txn's compare said no, or a status shows something not well\n"
                 "  2  the command line or its input makes no sense\n"
                 "  3  no endpoint could serve it: unreachable, timed out or without a leader\n"
                 "  4  refused by the server\n"
                 "  5  a failure on this host\n"
                 "\n\"decree help COMMAND\" tells more about one.\n");
}

void command_help(const struct command *command)
{
    if (command == NULL) {
        program_help();
        return;
    }
    (void)printf("decree %s: %s\n\nUsage: decree %s%s%s\n", command->name, command->summary,
        command->name, command->usage[0] != 0 ? " " : "", command->usage);
    if (command->details != NULL) {
        (void)printf("\n%s", command->details);
    }
    if (command->flags != 0) {
        (void)printf("\nFlags:\n");
        flags_help(command->flags);
    }
    if ((command->traits & COMMAND_RAW) == 0) {
        (void)printf("\nFlags of every command:\n");
        flags_help(global_flags);
    }
}
