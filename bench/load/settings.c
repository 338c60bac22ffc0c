#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "die.h"
#include "load.h"

static const struct {
    const char *name, *initial, *value, *help;
} rows[SETTING_END_] = {
#define X(id, name, initial, value, help) {name, initial, value, help},
    SETTINGS(X)
#undef X
};

static int setting_find(const char *name, size_t len)
{
    for (int i = 0; i < SETTING_END_; i++) {
        if (strlen(rows[i].name) == len && memcmp(rows[i].name, name, len) == 0) {
            return i;
        }
    }
    return -1;
}

static void read_pids(struct settings *s)
{
    const char *p = s->values[SETTING_SERVER_PID];

    while (*p != 0) {
        char *end;
        long pid = strtol(p, &end, 10);

        if (pid <= 0 || (*end != 0 && *end != ',') || s->n_pids == SERVER_PIDS_MAX) {
            die("--server-pid %s: up to %d process ids with commas between them",
                s->values[SETTING_SERVER_PID], SERVER_PIDS_MAX);
        }
        s->pids[s->n_pids++] = (pid_t)pid;
        p = *end == ',' ? end + 1 : end;
    }
}

void settings_read(struct settings *s, int argc, char **argv)
{
    *s = (struct settings){0};
    for (int i = 0; i < SETTING_END_; i++) {
        s->values[i] = rows[i].initial;
    }
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i], *equals = strchr(word, '=');
        size_t len = equals != NULL ? (size_t)(equals - word) : strlen(word);
        int id;

        if (strcmp(word, "-o") == 0 && i + 1 < argc && strcmp(argv[i + 1], "json") == 0) {
            s->values[SETTING_JSON] = "";
            i++;
            continue;
        }
        id = len > 2 && word[0] == '-' && word[1] == '-' ? setting_find(word + 2, len - 2) : -1;
        if (id < 0) {
            die("%s is not known; see decree-bench help", word);
        }
        if (rows[id].value == NULL) {
            s->values[id] = "";
        } else if (equals != NULL) {
            s->values[id] = equals + 1;
        } else if (i + 1 < argc) {
            s->values[id] = argv[++i];
        } else {
            die("%s needs a value", word);
        }
    }
    read_pids(s);
}

void settings_help(void)
{
    (void)printf(
        "decree-bench: load for any v3 endpoint over gRPC, and what it costs the server\n\n"
        "Usage: decree-bench MODE [flags]\n\n"
        "  put     set random keys\n"
        "  range   read one key or --span keys\n"
        "  mixed   both, --reads percent of them reads\n"
        "  txn     compare one key and set it\n"
        "  fill    set keys 0 to --keys once, in batches\n"
        "  watch   --watchers on --streams: from a put to the last of its events\n"
        "  floor   append 512 bytes and fdatasync, preallocated: what a serial put stands on\n"
        "\nFlags:\n");
    for (int i = 0; i < SETTING_END_; i++) {
        (void)printf("  --%s%s%-*s %s%s%s%s\n", rows[i].name, rows[i].value != NULL ? " " : "",
            (int)MAX(0, 21 - (int)strlen(rows[i].name)), rows[i].value != NULL ? rows[i].value : "",
            rows[i].help, rows[i].initial != NULL ? " [" : "",
            rows[i].initial != NULL ? rows[i].initial : "", rows[i].initial != NULL ? "]" : "");
    }
}

uint64_t setting_number(const struct settings *s, enum setting_id id)
{
    char *end;
    uint64_t v;

    errno = 0;
    v = strtoull(s->values[id], &end, 10);
    if (end == s->values[id] || *end != 0 || errno != 0 || s->values[id][0] == '-') {
        die("--%s %s: not a whole number", rows[id].name, s->values[id]);
    }
    return v;
}

double setting_seconds(const struct settings *s, enum setting_id id)
{
    char *end;
    double v = strtod(s->values[id], &end);

    if (end == s->values[id] || *end != 0 || !(v >= 0) || v > 1e6) {
        die("--%s %s: not a number of seconds", rows[id].name, s->values[id]);
    }
    return v;
}
