/* agent status: what every agent last said about its files, from the keys under _decree/agent/.
 * agent render: hands over to decreed-agent, which has the templates and this host's rights. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "buf.h"
#include "clock.h"
#include "cmd.h"
#include "table.h"
#include "v3_client.h"

static const char status_prefix[] = "_decree/agent/";
static const char status_prefix_end[] = "_decree/agent0"; /* '0' follows '/' */

/* Longer reasons stand below the table, whole. */
enum { REASON_WIDTH_MAX = 60 };

/* States that need nobody: the agent is done, or not asked yet. */
static bool state_is_well(const char *state)
{
    return strcmp(state, "ok") == 0 || strcmp(state, "waiting") == 0;
}

static bool report_is_well(const json_t *report)
{
    return state_is_well(v3_text(report, "state")) && v3_text(report, "error")[0] == 0;
}

/* The reports as one array, the caller's. What is not a report is told and left out. */
static json_t *reports_read(const json_t *kvs)
{
    json_t *reports = json_array();
    const json_t *kv;
    size_t i;

    json_array_foreach(kvs, i, kv)
    {
        _cleanup_free_ char *key = NULL, *value = NULL;
        struct bytes b = v3_bytes(kv, "value", &value);
        json_t *report = json_loadb((const char *)b.data, b.len, 0, NULL);

        (void)v3_bytes(kv, "key", &key);
        if (json_is_object(report) && v3_text(report, "state")[0] != 0) {
            json_array_append_new(reports, report);
        } else {
            _cleanup_strbuf_ struct strbuf shown = {0};

            text_escape(&shown, bytes_str(key));
            (void)fprintf(stderr, "decree: %s is not an agent's report\n", strbuf_cstr(&shown));
            json_decref(report);
        }
    }
    return reports;
}

static bool reason_is_long(const char *reason)
{
    return strlen(reason) > REASON_WIDTH_MAX || strchr(reason, '\n') != NULL;
}

static void print_report(struct table *t, const json_t *report, int64_t now_ms)
{
    int64_t rendered = v3_int(report, "rendered_revision"), seen = v3_int(report, "revision");
    int64_t changed_ms = v3_int(report, "file_changed_ms"), since_ms = v3_int(report, "since_ms");
    _cleanup_free_ char *changed = changed_ms != 0 ? text_age(now_ms - changed_ms) : xstrdup("-");
    _cleanup_free_ char *since = since_ms != 0 ? text_age(now_ms - since_ms) : xstrdup("-");
    const char *reason = v3_text(report, "error");
    _cleanup_free_ char *first = xstrndup(reason, strcspn(reason, "\n"));
    bool stale = json_is_true(json_object_get(report, "stale"));

    table_add(t, bytes_str(v3_text(report, "agent")), 0);
    table_add(t, bytes_str(v3_text(report, "resource")), 0);
    table_addf(t, "%s%s", v3_text(report, "state"), stale ? " (stale)" : "");
    table_addf(t, "%s", since);
    /* Where all is well the store has moved on in keys that this file does not read. */
    if (!report_is_well(report) && seen > rendered) {
        table_addf(t, "%" PRId64 " of %" PRId64, rendered, seen);
    } else {
        table_addf(t, "%" PRId64, rendered);
    }
    table_addf(t, "%s", changed);
    table_add(t, bytes_str(first), REASON_WIDTH_MAX);
}

/* Reasons that the table had to cut, indented below it. */
static void print_long_reasons(const json_t *reports)
{
    const json_t *report;
    size_t i;

    json_array_foreach(reports, i, report)
    {
        const char *line = v3_text(report, "error"), *dest = v3_text(report, "dest");

        if (!reason_is_long(line)) {
            continue;
        }
        /* The dest is not known when the resource's own configuration is wrong before it. */
        (void)printf("\n%s, %s%s%s%s: %s\n", v3_text(report, "agent"), v3_text(report, "resource"),
            dest[0] != 0 ? " (" : "", dest, dest[0] != 0 ? ")" : "", v3_text(report, "state"));
        while (*line != 0) {
            size_t len = strcspn(line, "\n");
            _cleanup_strbuf_ struct strbuf shown = {0};

            text_escape(&shown, bytes_make(line, len));
            (void)printf("    %s\n", strbuf_cstr(&shown));
            line += len + (line[len] == '\n');
        }
    }
}

static void print_reports(const json_t *reports)
{
    static const char *const titles[] = {
        "HOST", "RESOURCE", "STATE", "SINCE", "REVISION", "FILE CHANGED", "REASON"};
    struct table *t = table_new(titles, ARRAY_SIZE(titles));
    int64_t now_ms = (int64_t)clock_wall_ms();
    const json_t *report;
    size_t i;

    json_array_foreach(reports, i, report)
    {
        print_report(t, report, now_ms);
    }
    table_print(t, stdout);
    table_free(t);
    print_long_reasons(reports);
}

static int run_status(struct cli *cli, const struct args *args _unused_)
{
    _cleanup_err_ struct err e = {0};
    json_t *request = json_pack("{s:o, s:o}", "key", v3_from_bytes(bytes_str(status_prefix)),
        "range_end", v3_from_bytes(bytes_str(status_prefix_end)));
    json_t *reply, *reports;
    const json_t *report;
    bool all_well = true;
    size_t i;
    int r = v3_call(cli->client, V3_READ, "/kv/range", request, &reply, &e);

    json_decref(request);
    if (r != 0) {
        return cmd_fail(r, &e);
    }
    reports = reports_read(json_object_get(reply, "kvs"));
    json_array_foreach(reports, i, report)
    {
        all_well = all_well && report_is_well(report);
    }
    if (cli->format == OUTPUT_JSON) {
        cmd_print_json(reports);
    } else if (json_array_size(reports) == 0) {
        (void)fprintf(stderr, "decree: no agent has reported to this store\n");
    } else {
        print_reports(reports);
    }
    json_decref(reports);
    json_decref(reply);
    return all_well ? EXIT_DONE : EXIT_SAID_NO;
}

static int run_render(struct cli *cli, const struct args *args)
{
    _cleanup_free_ char *program = cmd_program("decreed-agent");
    _cleanup_free_ char *endpoints = NULL;
    char **argv = xcalloc((size_t)args->n_words + 4, sizeof(*argv));
    char render[] = "--render";
    int n = 0;

    argv[n++] = program;
    argv[n++] = render;
    if (cli->endpoints != NULL) {
        endpoints = xasprintf("--endpoints=%s", cli->endpoints);
        argv[n++] = endpoints;
    }
    for (int i = 0; i < args->n_words; i++) {
        argv[n++] = args->words[i];
    }
    (void)execvp(program, argv);
    (void)fprintf(stderr, "decree: cannot run %s: %s; is the agent installed on this host?\n",
        program, strerror(errno));
    free(argv);
    return EXIT_INTERNAL;
}

const struct command cmd_agent_status = {
    .name = "agent status",
    .usage = "",
    .summary = "show what every host has made of its files, and what it refused and why",
    .details =
        "Ends with 1 when any host has refused or failed. REVISION is that of the file in place,\n"
        "\"8 of 12\" when what came up to 12 is not in it. -o json prints the agents' reports as "
        "an array.\n",
    .run = run_status,
};

const struct command cmd_agent_render = {
    .name = "agent render",
    .usage = "[--diff] [FLAGS OF decreed-agent]",
    .summary = "show what this host's files would be now, touching nothing",
    .details =
        "Runs decreed-agent --render with the flags given; --diff shows only what would change.\n",
    .traits = COMMAND_RAW,
    .words_max = INT_MAX,
    .run = run_render,
};
