/* alarm list, alarm disarm, compact, defrag. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "member.h"
#include "table.h"

/* Those that are active; *ret is the caller's. */
static int get_alarms(struct cli *cli, json_t **ret, struct err *reterr)
{
    json_t *request = json_pack("{s:s}", "action", "GET");
    int r = v3_call(cli->client, V3_READ, "/maintenance/alarm", request, ret, reterr);

    json_decref(request);
    return r;
}

/* In etcdctl's words. */
static void print_alarm(const json_t *alarm)
{
    const char *type = v3_text(alarm, "alarm");

    (void)printf("memberID:%" PRIu64 " alarm:%s\n", v3_uint(alarm, "memberID"),
        type[0] != 0 ? type : "NONE");
}

/* With names, since the decimal ids of etcdctl's words stand nowhere else. */
static void print_alarm_table(struct cli *cli, const json_t *alarms)
{
    static const char *const titles[] = {"ALARM", "NAME", "ID"};
    struct table *t = table_new(titles, ARRAY_SIZE(titles));
    _cleanup_err_ struct err e = {0};
    json_t *members = NULL;
    const json_t *alarm;
    size_t i;

    (void)member_list(cli->client, &members, &e); /* without a quorum there are no names */
    json_array_foreach(alarms, i, alarm)
    {
        uint64_t id = v3_uint(alarm, "memberID");
        const json_t *member = members != NULL ? member_by_id(members, id) : NULL;

        table_add(t, bytes_str(v3_text(alarm, "alarm")), 0);
        table_add(t, bytes_str(member != NULL ? v3_text(member, "name") : "-"), 0);
        table_addf(t, "%" PRIx64, id);
    }
    table_print(t, stdout);
    table_free(t);
    json_decref(members);
}

static int run_alarm_list(struct cli *cli, const struct args *args _unused_)
{
    _cleanup_err_ struct err e = {0};
    json_t *reply;
    const json_t *alarm;
    size_t i;
    int r = get_alarms(cli, &reply, &e);

    if (r != 0) {
        return cmd_fail(r, &e);
    }
    if (cli->format == OUTPUT_JSON) {
        cmd_print_json(reply);
    } else if (cli->format == OUTPUT_TABLE || (cli->format == OUTPUT_AUTO && cli->terminal)) {
        print_alarm_table(cli, json_object_get(reply, "alarms"));
    } else {
        json_array_foreach(json_object_get(reply, "alarms"), i, alarm)
        {
            print_alarm(alarm);
        }
    }
    r = json_array_size(json_object_get(reply, "alarms")) != 0 ? EXIT_SAID_NO : EXIT_DONE;
    json_decref(reply);
    return r;
}

static int disarm(struct cli *cli, const json_t *alarm, struct err *reterr)
{
    json_t *request = json_pack("{s:s, s:s, s:s}", "action", "DEACTIVATE", "memberID",
        v3_text(alarm, "memberID"), "alarm", v3_text(alarm, "alarm"));
    json_t *reply;
    int r;

    if (json_object_get(alarm, "memberID") == NULL) {
        json_object_del(request, "memberID"); /* nobody in particular */
    }
    r = v3_call(cli->client, V3_WRITE, "/maintenance/alarm", request, &reply, reterr);
    json_decref(request);
    if (r == 0) {
        json_decref(reply);
    }
    return r;
}

static int run_alarm_disarm(struct cli *cli, const struct args *args _unused_)
{
    _cleanup_err_ struct err e = {0};
    json_t *reply;
    const json_t *alarm;
    size_t i;
    int r = get_alarms(cli, &reply, &e);

    if (r != 0) {
        return cmd_fail(r, &e);
    }
    json_array_foreach(json_object_get(reply, "alarms"), i, alarm)
    {
        r = r == 0 ? disarm(cli, alarm, &e) : r;
        if (r == 0 && cli->format != OUTPUT_JSON) {
            print_alarm(alarm);
        }
    }
    if (r == 0 && cli->format == OUTPUT_JSON) {
        cmd_print_json(reply);
    }
    json_decref(reply);
    return r == 0 ? EXIT_DONE : cmd_fail(r, &e);
}

/* That of now, as the quorum has it. */
static int current_revision(struct cli *cli, int64_t *ret, struct err *reterr)
{
    json_t *request = json_pack("{s:s, s:b}", "key", "AA==", "count_only", 1), *reply;
    int r = v3_call(cli->client, V3_READ, "/kv/range", request, &reply, reterr);

    json_decref(request);
    if (r == 0) {
        *ret = v3_int(json_object_get(reply, "header"), "revision");
        json_decref(reply);
    }
    return r;
}

static int run_compact(struct cli *cli, const struct args *args)
{
    _cleanup_err_ struct err e = {0};
    json_t *request, *reply;
    int64_t revision;
    int r = args->n_words != 0 ? revision_parse(args->words[0], &revision, &e)
                               : current_revision(cli, &revision, &e);

    if (r != 0) {
        return cmd_fail(r, &e);
    }
    request = json_pack("{s:o}", "revision", v3_from_int(revision));
    r = v3_call(cli->client, V3_WRITE, "/kv/compaction", request, &reply, &e);
    json_decref(request);
    if (r != 0) {
        return cmd_fail(r, &e);
    }
    if (cli->format == OUTPUT_JSON) {
        cmd_print_json(reply);
    } else {
        (void)printf("compacted revision %" PRId64 "\n", revision);
    }
    json_decref(reply);
    return EXIT_DONE;
}

static int run_defrag(struct cli *cli, const struct args *args _unused_)
{
    _cleanup_err_ struct err e = {0};
    json_t *request = json_object(), *reply;
    int r = v3_call(cli->client, V3_READ, "/maintenance/defragment", request, &reply, &e);

    json_decref(request);
    if (r != 0) {
        return cmd_fail(r, &e);
    }
    if (cli->format == OUTPUT_JSON) {
        cmd_print_json(reply);
    } else {
        (void)printf("nothing to defragment: what compaction frees is given back at once\n");
    }
    json_decref(reply);
    return EXIT_DONE;
}

const struct command cmd_alarm_list = {
    .name = "alarm list",
    .usage = "",
    .summary = "show what members have raised; ends with 1 when there is anything",
    .details =
        "NOSPACE: a member has reached its quota. Writes are refused until keys are deleted and\n"
        "compacted (decree compact); it clears itself. CORRUPT: members that must be equal are\n"
        "not. Writes are refused until the member named has been replaced and the alarm disarmed;\n"
        "member 0 means that it cannot be told which one is wrong.\n",
    .run = run_alarm_list,
};

const struct command cmd_alarm_disarm = {
    .name = "alarm disarm",
    .usage = "",
    .summary = "clear all alarms; those whose reason is still there come back",
    .run = run_alarm_disarm,
};

const struct command cmd_compact = {
    .name = "compact",
    .usage = "[REVISION]",
    .summary = "forget what stood in keys before a revision, the present one when none is given",
    .details =
        "Frees the memory of values that were overwritten and of keys that were deleted. What the\n"
        "keys hold stays; reads and watches from before REVISION are refused as compacted.\n",
    .words_max = 1,
    .run = run_compact,
};

const struct command cmd_defrag = {
    .name = "defrag",
    .usage = "",
    .summary = "nothing: there is nothing to defragment",
    .details =
        "Kept for scripts made for etcd. The keyspace lives in memory, and what compaction frees "
        "is\n"
        "given back at once; the log's files are used again. The call is answered without any "
        "work.\n",
    .run = run_defrag,
};
