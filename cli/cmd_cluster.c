/* member list and status.
 *
 * status asks the endpoints given, learns the members from whoever answers, and asks those too that
 * were not among them: a member that is down is a line of the table with the reason, whichever
 * endpoint was named. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "buf.h"
#include "member.h"
#include "table.h"

static void join_urls(struct strbuf *out, const json_t *urls)
{
    const json_t *url;
    size_t i;

    json_array_foreach(urls, i, url)
    {
        strbuf_printf(out, "%s%s", i != 0 ? "," : "", json_string_value(url));
    }
}

static bool wants_table(const struct cli *cli)
{
    return cli->format == OUTPUT_TABLE || (cli->format == OUTPUT_AUTO && cli->terminal);
}

static void print_member(const struct cli *cli, struct table *t, const json_t *member)
{
    _cleanup_strbuf_ struct strbuf peers = {0}, clients = {0};
    const char *name = v3_text(member, "name");
    bool learner = json_is_true(json_object_get(member, "isLearner"));

    join_urls(&peers, json_object_get(member, "peerURLs"));
    join_urls(&clients, json_object_get(member, "clientURLs"));
    if (!wants_table(cli)) {
        (void)printf("%" PRIx64 ", %s, %s, %s, %s, %s\n", v3_uint(member, "ID"),
            name[0] != 0 ? "started" : "unstarted", name, strbuf_cstr(&peers),
            strbuf_cstr(&clients), learner ? "true" : "false");
        return;
    }
    table_addf(t, "%" PRIx64, v3_uint(member, "ID"));
    table_add(t, bytes_str(name[0] != 0 ? name : "(not started)"), 0);
    table_add(t, bytes_str(strbuf_cstr(&peers)), 0);
    table_add(t, bytes_str(strbuf_cstr(&clients)), 0);
    table_addf(t, "%s", learner ? "learner" : "voter");
}

static int run_member_list(struct cli *cli, const struct args *args _unused_)
{
    static const char *const titles[] = {"ID", "NAME", "PEERS", "CLIENTS", "ROLE"};
    _cleanup_err_ struct err e = {0};
    json_t *request = json_object(), *reply;
    const json_t *member;
    struct table *t;
    size_t i;
    int r = v3_call(cli->client, V3_READ, "/cluster/member/list", request, &reply, &e);

    json_decref(request);
    if (r != 0) {
        return cmd_fail(r, &e);
    }
    if (cli->format == OUTPUT_JSON) {
        cmd_print_json(reply);
        json_decref(reply);
        return EXIT_DONE;
    }
    t = table_new(titles, ARRAY_SIZE(titles));
    json_array_foreach(json_object_get(reply, "members"), i, member)
    {
        print_member(cli, t, member);
    }
    if (wants_table(cli)) {
        table_print(t, stdout);
    }
    table_free(t);
    json_decref(reply);
    return EXIT_DONE;
}

/* All that status has heard, one row for each endpoint asked. */
struct survey {
    json_t *rows;    /* owned; {"endpoint", "status" or "error", "took_ms"} */
    json_t *members; /* owned; the list of whoever answered first, or NULL */
};

static void survey_add(struct survey *s, struct v3_client *client)
{
    size_t n = v3_client_endpoints(client);
    struct v3_answer *answers = xcalloc(n, sizeof(*answers));
    json_t *empty = json_object();

    v3_call_each(client, "/maintenance/status", empty, answers);
    for (size_t i = 0; i < n; i++) {
        json_t *row = json_pack("{s:s, s:f}", "endpoint", v3_client_endpoint(client, i), "took_ms",
            (double)answers[i].took_us / 1000);

        if (answers[i].outcome == 0) {
            json_object_set(row, "status", answers[i].reply);
        } else {
            json_object_set_new(row, "error", json_string(answers[i].error));
        }
        json_array_append_new(s->rows, row);
        v3_answer_deinit(&answers[i]);
    }
    free(answers);
    json_decref(empty);
}

/* The member that answered, or that the row is about; 0 when neither is known. */
static uint64_t row_member_id(const json_t *row)
{
    const json_t *status = json_object_get(row, "status");

    return status != NULL ? v3_uint(json_object_get(status, "header"), "member_id")
                          : v3_uint(row, "ID");
}

static bool endpoint_asked(const json_t *rows, const char *url)
{
    const json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        if (strcmp(v3_text(row, "endpoint"), url) == 0) {
            return true;
        }
    }
    return false;
}

/* Whether this member has answered or one of its URLs has been asked. */
static bool member_heard(const struct survey *s, const json_t *member)
{
    const json_t *row, *url;
    size_t i;

    json_array_foreach(s->rows, i, row)
    {
        if (row_member_id(row) == v3_uint(member, "ID")) {
            return true;
        }
    }
    json_array_foreach(json_object_get(member, "clientURLs"), i, url)
    {
        if (endpoint_asked(s->rows, json_string_value(url))) {
            return true;
        }
    }
    return false;
}

/* A member that nobody knows how to ask: it has not told its client address to the others. */
static void survey_add_unknown(struct survey *s, const json_t *member)
{
    json_array_append_new(s->rows,
        json_pack("{s:s, s:O, s:s}", "endpoint", "-", "ID", json_object_get(member, "ID"), "error",
            "it has told the others no client address"));
}

/* Asks the members that the endpoints did not cover. */
static void survey_ask_others(struct survey *s, int64_t timeout_ms)
{
    _cleanup_strbuf_ struct strbuf urls = {0};
    const json_t *member;
    struct v3_client *others;
    size_t i;

    json_array_foreach(s->members, i, member)
    {
        const char *url =
            json_string_value(json_array_get(json_object_get(member, "clientURLs"), 0));

        if (url == NULL && !member_heard(s, member)) {
            survey_add_unknown(s, member);
        } else if (!member_heard(s, member)) {
            strbuf_printf(&urls, "%s%s", urls.len != 0 ? "," : "", url);
        }
    }
    if (urls.len != 0 && v3_client_new(strbuf_cstr(&urls), timeout_ms, false, &others, NULL) == 0) {
        survey_add(s, others);
        v3_client_free(others);
    }
}

static void survey_members(struct survey *s, struct cli *cli)
{
    json_t *request = json_object(), *reply = NULL;

    if (v3_call(cli->client, V3_READ, "/cluster/member/list", request, &reply, NULL) == 0) {
        s->members = json_incref(json_object_get(reply, "members"));
        json_decref(reply);
    }
    json_decref(request);
}

/* A member's name: by its id when it has answered, else by its URL. */
static const char *row_name(const struct survey *s, const json_t *row)
{
    const json_t *member = member_by_id(s->members, row_member_id(row)), *url;
    size_t i, j;

    if (member != NULL) {
        return v3_text(member, "name");
    }
    json_array_foreach(s->members, i, member)
    {
        json_array_foreach(json_object_get(member, "clientURLs"), j, url)
        {
            if (strcmp(json_string_value(url), v3_text(row, "endpoint")) == 0) {
                return v3_text(member, "name");
            }
        }
    }
    return "";
}

static void add_trouble(struct strbuf *out, const json_t *status)
{
    const json_t *error;
    size_t i;

    if (v3_uint(status, "leader") == 0 && json_object_get(status, "errors") == NULL) {
        strbuf_append_str(out, "no leader");
    }
    json_array_foreach(json_object_get(status, "errors"), i, error)
    {
        strbuf_printf(out, "%s%s", out->len != 0 ? "; " : "", json_string_value(error));
    }
}

/* Adds one row to the table; true when that member is well. */
static bool print_row(const struct survey *s, struct table *t, const json_t *row)
{
    const json_t *status = json_object_get(row, "status");
    _cleanup_strbuf_ struct strbuf trouble = {0};
    _cleanup_free_ char *size = NULL;
    const json_t *leader;
    uint64_t leader_id;

    table_add(t, bytes_str(v3_text(row, "endpoint")), 0);
    table_add(t, bytes_str(row_name(s, row)), 0);
    if (status == NULL) {
        for (int i = 0; i < 6; i++) {
            table_addf(t, "-");
        }
        strbuf_printf(&trouble, "down: %s", v3_text(row, "error"));
        table_add(t, strbuf_bytes(&trouble), 0);
        return false;
    }
    leader_id = v3_uint(status, "leader");
    leader = member_by_id(s->members, leader_id);
    size = text_size(v3_uint(status, "dbSize"));
    add_trouble(&trouble, status);
    table_addf(t, "%" PRIx64, row_member_id(row));
    table_add(t, bytes_str(v3_text(status, "version")), 0);
    table_addf(t, "%s", size);
    table_addf(t, "%s",
        leader_id == row_member_id(row) ? "self"
            : leader != NULL            ? v3_text(leader, "name")
            : leader_id == 0            ? "none"
                                        : "elsewhere");
    table_addf(t, "%" PRIu64, v3_uint(status, "raftTerm"));
    table_addf(t, "%" PRIu64, v3_uint(status, "raftIndex"));
    table_add(t, trouble.len != 0 ? strbuf_bytes(&trouble) : bytes_str("ok"), 0);
    return trouble.len == 0;
}

static int print_survey(const struct cli *cli, const struct survey *s)
{
    static const char *const titles[] = {
        "ENDPOINT", "NAME", "ID", "VERSION", "SIZE", "LEADER", "TERM", "INDEX", "STATE"};
    struct table *t = table_new(titles, ARRAY_SIZE(titles));
    bool all_well = true, any_up = false;
    const json_t *row;
    size_t i;

    json_array_foreach(s->rows, i, row)
    {
        all_well = print_row(s, t, row) && all_well;
        any_up = any_up || json_object_get(row, "status") != NULL;
    }
    if (cli->format == OUTPUT_JSON) {
        cmd_print_json(s->rows);
    } else {
        table_print(t, stdout);
    }
    table_free(t);
    if (!any_up) {
        (void)fflush(stdout);
        (void)fprintf(stderr,
            "decree: no decreed answers; is it running? Start decreed, or name it "
            "with --endpoints\n");
        return EXIT_UNREACHABLE;
    }
    return all_well ? EXIT_DONE : EXIT_SAID_NO;
}

static int run_status(struct cli *cli, const struct args *args)
{
    struct survey s = {.rows = json_array()};
    int64_t timeout_ms = 2000; /* a table is read while one waits */
    int exit_code;

    if (args_has(args, FLAG_TIMEOUT)) {
        (void)duration_parse_ms(args->values[FLAG_TIMEOUT], &timeout_ms, NULL);
    }
    survey_add(&s, cli->client);
    survey_members(&s, cli);
    survey_ask_others(&s, timeout_ms);
    exit_code = print_survey(cli, &s);
    json_decref(s.rows);
    json_decref(s.members);
    return exit_code;
}

const struct command cmd_member_list = {
    .name = "member list",
    .alias = "member-list",
    .usage = "",
    .summary = "list the members of the cluster",
    .run = run_member_list,
};

const struct command cmd_status = {
    .name = "status",
    .usage = "",
    .summary = "show how each member is, those that are down with the reason",
    .details =
        "Asks the endpoints and all members they know of. Ends with 1 when a member is down or\n"
        "not well, with 3 when none answers.\n",
    .run = run_status,
};
