/* Changes of the members: add, remove, update, promote, move-leader. What they print is etcdctl's,
 * and behind it the command line for the new member. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "buf.h"
#include "member.h"

/* ---- shared ---- */

int member_list(struct v3_client *client, json_t **ret, struct err *reterr)
{
    json_t *request = json_pack("{s:b}", "linearizable", 1), *reply;
    int r = v3_call(client, V3_READ, "/cluster/member/list", request, &reply, reterr);

    json_decref(request);
    if (r == 0) {
        json_t *members = json_object_get(reply, "members");

        *ret = members != NULL ? json_incref(members) : json_array();
        json_decref(reply);
    }
    return r;
}

const json_t *member_by_id(const json_t *members, uint64_t id)
{
    const json_t *member;
    size_t i;

    json_array_foreach(members, i, member)
    {
        if (v3_uint(member, "ID") == id) {
            return member;
        }
    }
    return NULL;
}

static bool parse_id(const char *word, uint64_t *ret)
{
    char *end;

    errno = 0;
    *ret = strtoull(word, &end, 16);
    return end != word && *end == 0 && errno == 0 && word[0] != '-' && word[0] != '+';
}

int member_resolve(const json_t *members, const char *word, const json_t *without,
    const json_t **ret, struct err *reterr)
{
    const json_t *member, *found = NULL;
    uint64_t id;
    size_t i, n = 0;

    json_array_foreach(members, i, member)
    {
        if (member != without && strcmp(v3_text(member, "name"), word) == 0) {
            found = member;
            n++;
        }
    }
    if (n > 1) {
        return err_set(reterr, -EINVAL,
            "%zu members are named \"%s\": name it by its id, see decree member list", n, word);
    }
    if (found == NULL && parse_id(word, &id)) {
        found = member_by_id(members, id);
    }
    if (found == NULL || found == without) {
        return err_set(reterr, -EINVAL,
            "there is no member \"%s\": give a name or an id of decree member list", word);
    }
    *ret = found;
    return 0;
}

static bool has_url(const json_t *urls, const char *url)
{
    const json_t *u;
    size_t i;

    json_array_foreach(urls, i, u)
    {
        if (strcmp(json_string_value(u), url) == 0) {
            return true;
        }
    }
    return false;
}

const json_t *member_by_urls(const json_t *members, const json_t *urls)
{
    const json_t *member, *url;
    size_t i, j;

    json_array_foreach(members, i, member)
    {
        json_array_foreach(urls, j, url)
        {
            if (has_url(json_object_get(member, "peerURLs"), json_string_value(url))) {
                return member;
            }
        }
    }
    return NULL;
}

int member_urls(const struct args *args, json_t **ret, struct err *reterr)
{
    const char *p = args->values[FLAG_PEER_URLS];

    if (!args_has(args, FLAG_PEER_URLS) || *p == 0) {
        return err_set(
            reterr, -EINVAL, "--peer-urls is needed: http://HOST:2380, several with commas");
    }
    *ret = json_array();
    for (;;) {
        size_t len = strcspn(p, ",");

        json_array_append_new(*ret, json_stringn(p, len));
        if (p[len] == 0) {
            return 0;
        }
        p += len + 1;
    }
}

static void add_pairs(struct strbuf *out, const char *name, const json_t *urls)
{
    const json_t *url;
    size_t i;

    json_array_foreach(urls, i, url)
    {
        strbuf_printf(out, "%s%s=%s", out->len != 0 ? "," : "", name, json_string_value(url));
    }
}

void member_print_start(const char *name, const json_t *urls, const json_t *members, FILE *out)
{
    _cleanup_strbuf_ struct strbuf cluster = {0}, own = {0};
    const json_t *member, *url;
    size_t i;

    add_pairs(&cluster, name, urls);
    json_array_foreach(members, i, member)
    {
        const json_t *theirs = json_object_get(member, "peerURLs");

        /* One that was never started cannot answer it either. */
        if (member_is_started(member) && !json_equal(theirs, urls)) {
            add_pairs(&cluster, v3_text(member, "name"), theirs);
        }
    }
    json_array_foreach(urls, i, url)
    {
        strbuf_printf(&own, "%s%s", i > 0 ? "," : "", json_string_value(url));
    }
    (void)fprintf(out,
        "DECREE_NAME=\"%s\"\nDECREE_INITIAL_CLUSTER=\"%s\"\n"
        "DECREE_INITIAL_ADVERTISE_PEER_URLS=\"%s\"\nDECREE_INITIAL_CLUSTER_STATE=\"existing\"\n\n"
        "Start it on its host with an empty data directory:\n\n"
        "    decreed --name %s --initial-cluster-state existing \\\n"
        "        --listen-client-urls http://HOST:2379 --listen-peer-urls %s \\\n"
        "        --initial-cluster %s\n",
        name, strbuf_cstr(&cluster), strbuf_cstr(&own), name, strbuf_cstr(&own),
        strbuf_cstr(&cluster));
}

int member_request(
    struct v3_client *client, const char *path, uint64_t id, json_t **ret, struct err *reterr)
{
    _cleanup_free_ char *text = xasprintf("%" PRIu64, id);
    json_t *request = json_pack("{s:s}", "ID", text);
    int r = v3_call(client, V3_WRITE, path, request, ret, reterr);

    json_decref(request);
    return r;
}

static uint64_t cluster_of(const json_t *reply)
{
    return v3_uint(json_object_get(reply, "header"), "cluster_id");
}

/* What etcd's words mean for the one who has just typed the command. */
static const char *advice(const char *text)
{
    static const struct {
        int code;
        const char *advice;
    } table[] = {
        {DECREE_EPEER_URL_EXISTS,
            "a member of decree member list has this URL: remove that one first, or put the new "
            "one in its place with decree member replace"},
        {DECREE_EBAD_PEER_URLS, "each must be http://HOST:PORT"},
        {DECREE_ENOT_ENOUGH_STARTED,
            "too few members that have been started would be left for a majority: start or remove "
            "those that are unstarted in decree member list; the last one of all cannot be "
            "removed"},
        {DECREE_EUNHEALTHY,
            "nothing was done: a voter does not answer, and this could cost the cluster its "
            "majority; see decree status, bring it back or replace it (decree member replace)"},
        {DECREE_ELEARNER_NOT_READY,
            "it has not been started, does not answer or is behind: see decree status, and repeat "
            "this"},
        {DECREE_ENOT_LEARNER, "it is a voter already"},
        {DECREE_ETOO_MANY_LEARNERS, "promote or remove the learner of decree member list first"},
    };

    /* One text is the beginning of another, which stands before it. */
    for (size_t i = 0; text != NULL && i < ARRAY_SIZE(table); i++) {
        if (strstr(text, err_text(table[i].code)) != NULL) {
            return table[i].advice;
        }
    }
    return NULL;
}

int member_fail(int outcome, const struct err *e)
{
    int code = cmd_fail(outcome, e);
    const char *more = outcome > 0 ? advice(e->text) : NULL;

    if (more != NULL) {
        (void)fprintf(stderr, "  %s\n", more);
    }
    return code;
}

/* ---- add ---- */

/* A member finds itself in the initial cluster by its name. */
static int check_name(struct cli *cli, const char *name, struct err *reterr)
{
    const json_t *member;
    json_t *members;
    size_t i;
    int r = member_list(cli->client, &members, reterr);

    if (r != 0) {
        return r;
    }
    json_array_foreach(members, i, member)
    {
        if (r == 0 && strcmp(v3_text(member, "name"), name) == 0) {
            r = err_set(reterr, -EINVAL,
                "member %" PRIx64 " is named \"%s\" already: give the new one another name, or put "
                "it in the place of that one with decree member replace",
                v3_uint(member, "ID"), name);
        }
    }
    json_decref(members);
    return r;
}

/* etcd takes a voter that leaves a lone one without a majority, since there is no other way. */
static void warn_if_waiting(const json_t *members)
{
    const json_t *member;
    size_t i, voters = 0, started = 0;

    json_array_foreach(members, i, member)
    {
        if (!member_is_learner(member)) {
            voters++;
            started += member_is_started(member);
        }
    }
    if (started <= voters / 2) {
        (void)fprintf(stderr,
            "decree: until it runs there is no majority, and nothing can be written or changed; "
            "should it never run, start this cluster with --force-new-cluster\n");
    }
}

static int run_add(struct cli *cli, const struct args *args)
{
    _cleanup_err_ struct err e = {0};
    json_t *urls = NULL, *request, *reply;
    int r = member_urls(args, &urls, &e);

    if (r == 0) {
        r = check_name(cli, args->words[0], &e);
    }
    if (r != 0) {
        json_decref(urls);
        return member_fail(r, &e);
    }
    request = json_pack(
        "{s:O, s:b}", "peerURLs", urls, "isLearner", args_has(args, FLAG_LEARNER) ? 1 : 0);
    r = v3_call(cli->client, V3_WRITE, "/cluster/member/add", request, &reply, &e);
    json_decref(request);
    if (r == 0 && cli->format == OUTPUT_JSON) {
        cmd_print_json(reply);
    } else if (r == 0) {
        (void)printf("Member %" PRIx64 " added to cluster %" PRIx64 "\n\n",
            v3_uint(json_object_get(reply, "member"), "ID"), cluster_of(reply));
        member_print_start(args->words[0], urls, json_object_get(reply, "members"), stdout);
    }
    if (r == 0) {
        warn_if_waiting(json_object_get(reply, "members"));
    }
    json_decref(urls);
    if (r != 0) {
        return member_fail(r, &e);
    }
    json_decref(reply);
    return EXIT_DONE;
}

/* ---- one that is there ---- */

static int print_done(struct cli *cli, json_t *reply_consume, uint64_t id, const char *what)
{
    if (cli->format == OUTPUT_JSON) {
        cmd_print_json(reply_consume);
    } else {
        (void)printf(
            "Member %" PRIx64 " %s cluster %" PRIx64 "\n", id, what, cluster_of(reply_consume));
    }
    json_decref(reply_consume);
    return EXIT_DONE;
}

static int find(struct cli *cli, const char *word, uint64_t *ret_id, struct err *reterr)
{
    const json_t *member;
    json_t *members;
    int r = member_list(cli->client, &members, reterr);

    if (r != 0) {
        return r;
    }
    r = member_resolve(members, word, NULL, &member, reterr);
    *ret_id = r == 0 ? v3_uint(member, "ID") : 0;
    json_decref(members);
    return r;
}

static int run_by_id(struct cli *cli, const struct args *args, const char *path, const char *what)
{
    _cleanup_err_ struct err e = {0};
    json_t *reply;
    uint64_t id;
    int r = find(cli, args->words[0], &id, &e);

    if (r == 0) {
        r = member_request(cli->client, path, id, &reply, &e);
    }
    return r != 0 ? member_fail(r, &e) : print_done(cli, reply, id, what);
}

static int run_remove(struct cli *cli, const struct args *args)
{
    return run_by_id(cli, args, "/cluster/member/remove", "removed from");
}

static int run_promote(struct cli *cli, const struct args *args)
{
    return run_by_id(cli, args, "/cluster/member/promote", "promoted in");
}

static int run_update(struct cli *cli, const struct args *args)
{
    _cleanup_err_ struct err e = {0};
    _cleanup_free_ char *text = NULL;
    json_t *urls = NULL, *request, *reply;
    uint64_t id = 0;
    int r = member_urls(args, &urls, &e);

    if (r == 0) {
        r = find(cli, args->words[0], &id, &e);
    }
    if (r == 0) {
        text = xasprintf("%" PRIu64, id);
        request = json_pack("{s:s, s:O}", "ID", text, "peerURLs", urls);
        r = v3_call(cli->client, V3_WRITE, "/cluster/member/update", request, &reply, &e);
        json_decref(request);
    }
    json_decref(urls);
    return r != 0 ? member_fail(r, &e) : print_done(cli, reply, id, "updated in");
}

/* ---- move-leader ---- */

/* The client URL of the member that leads; only the leader gives leadership away. */
static int leader_url(struct cli *cli, const json_t *members, const char **ret_url,
    uint64_t *ret_id, struct err *reterr)
{
    json_t *request = json_object(), *reply;
    const json_t *leader;
    int r = v3_call(cli->client, V3_READ, "/maintenance/status", request, &reply, reterr);

    json_decref(request);
    if (r != 0) {
        return r;
    }
    *ret_id = v3_uint(reply, "leader");
    json_decref(reply);
    leader = member_by_id(members, *ret_id);
    *ret_url = json_string_value(json_array_get(json_object_get(leader, "clientURLs"), 0));
    if (leader == NULL) {
        return err_set(reterr, V3_UNREACHABLE, "there is no leader");
    }
    if (*ret_url == NULL) {
        return err_set(reterr, V3_UNREACHABLE,
            "the leader %s has told the others no client address", v3_text(leader, "name"));
    }
    return 0;
}

static int transfer(const struct args *args, const char *url, uint64_t to, struct err *reterr)
{
    _cleanup_free_ char *text = xasprintf("%" PRIu64, to);
    int64_t timeout_ms = 10000; /* the leader itself gives up before that */
    struct v3_client *client;
    json_t *request, *reply;
    int r;

    if (args_has(args, FLAG_TIMEOUT)) {
        (void)duration_parse_ms(args->values[FLAG_TIMEOUT], &timeout_ms, NULL);
    }
    r = v3_client_new(url, timeout_ms, args_has(args, FLAG_DEBUG), &client, reterr);
    if (r < 0) {
        return r;
    }
    request = json_pack("{s:s}", "targetID", text);
    r = v3_call(client, V3_WRITE, "/maintenance/transfer-leadership", request, &reply, reterr);
    json_decref(request);
    if (r == 0) {
        json_decref(reply);
    }
    v3_client_free(client);
    return r;
}

static int run_move_leader(struct cli *cli, const struct args *args)
{
    _cleanup_err_ struct err e = {0};
    const json_t *to = NULL;
    const char *url = NULL;
    json_t *members = NULL;
    uint64_t from = 0, id = 0;
    int r = member_list(cli->client, &members, &e);

    if (r == 0) {
        r = member_resolve(members, args->words[0], NULL, &to, &e);
    }
    if (r == 0) {
        id = v3_uint(to, "ID");
        r = leader_url(cli, members, &url, &from, &e);
    }
    if (r == 0) {
        r = transfer(args, url, id, &e);
    }
    json_decref(members);
    if (r != 0) {
        return cmd_fail(r, &e);
    }
    if (cli->format == OUTPUT_JSON) {
        _cleanup_free_ char *a = xasprintf("%" PRIu64, from);
        _cleanup_free_ char *b = xasprintf("%" PRIu64, id);
        json_t *out = json_pack("{s:s, s:s}", "from", a, "to", b);

        cmd_print_json(out);
        json_decref(out);
    } else {
        (void)printf("Leadership transferred from %" PRIx64 " to %" PRIx64 "\n", from, id);
    }
    return EXIT_DONE;
}

const struct command cmd_member_add = {
    .name = "member add",
    .usage = "NAME --peer-urls URLS",
    .summary = "add a member, and show how to start it",
    .details =
        "A voter counts at once, started or not: it is safer to add a learner and to promote it\n"
        "when it is in sync. To replace a member, see decree help member replace.\n",
    .flags = FLAG(PEER_URLS) | FLAG(LEARNER),
    .words_min = 1,
    .words_max = 1,
    .run = run_add,
};

const struct command cmd_member_remove = {
    .name = "member remove",
    .usage = "NAME|ID",
    .summary = "remove a member for good",
    .details = "It stops by itself and is refused when it comes back.\n",
    .words_min = 1,
    .words_max = 1,
    .run = run_remove,
};

const struct command cmd_member_update = {
    .name = "member update",
    .usage = "NAME|ID --peer-urls URLS",
    .summary = "change where a member is reached by the others",
    .flags = FLAG(PEER_URLS),
    .words_min = 1,
    .words_max = 1,
    .run = run_update,
};

const struct command cmd_member_promote = {
    .name = "member promote",
    .usage = "NAME|ID",
    .summary = "make a voter of a learner that is in sync",
    .words_min = 1,
    .words_max = 1,
    .run = run_promote,
};

const struct command cmd_move_leader = {
    .name = "move-leader",
    .usage = "NAME|ID",
    .summary = "hand leadership over to this member",
    .words_min = 1,
    .words_max = 1,
    .run = run_move_leader,
};
