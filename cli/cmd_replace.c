/* member replace: one member goes, another one takes its place.
 *
 *     look -> probe -> add as learner -> wait until it is in sync -> promote -> remove OLD
 *
 * Where to go on is read off the list of members each time, so it can be interrupted and run again:
 * the new member is the one that has the new URLs. The old one goes last, and the quorum never has
 * less members that answer than before. Only where the new one takes the URLs over, from a member
 * that is down, the old one must go first; it does not answer anyway, so this costs no majority
 * either. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "buf.h"
#include "clock.h"
#include "member.h"

enum {
    PROBE_MS = 2000, /* as status: a healthy member answers at once */
    /* Between questions whether the new member is in sync: only asking tells. */
    POLL_MS = 500,
    WAIT_MS = 10 * 60 * 1000, /* a large keyspace over a slow network */
};

struct replace {
    struct cli *cli;
    const char *old_word, *name; /* of the new member: given, or the old one's */
    char *name_memory;           /* owned */
    json_t *urls;                /* owned; of the new member */
    json_t *members;             /* owned; as last seen */
    const json_t *old, *new;     /* in members, or NULL */
    uint64_t old_id, new_id;     /* 0 = not known */
    int interrupt_fd;
    bool told_how; /* what to run on the new host has been printed */
    struct err e;
};

_printf_(2, 3) static void say(const struct replace *x, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)vfprintf(x->cli->format == OUTPUT_JSON ? stderr : stdout, fmt, ap);
    va_end(ap);
    (void)fflush(stdout);
}

/* ---- looking ---- */

/* A name that was mistaken and one that an earlier run has removed look the same. */
static int old_is_missing(struct replace *x)
{
    return err_prefix(&x->e,
        "if an earlier run was interrupted when it had removed %s, go on with decree member add "
        "NAME --learner --peer-urls URL, start it as that says, and run this again; else",
        x->old_word);
}

static int look(struct replace *x)
{
    json_t *members;
    int r = member_list(x->cli->client, &members, &x->e);

    if (r != 0) {
        return r;
    }
    json_decref(x->members);
    x->members = members;
    x->new = member_by_urls(members, x->urls);
    x->old = NULL;
    if (x->old_id != 0) {
        x->old = member_by_id(members, x->old_id);
    } else if (member_resolve(members, x->old_word, NULL, &x->old, NULL) == 0 && x->old == x->new) {
        return 0; /* it is to come back under its own URLs */
    } else if (member_resolve(members, x->old_word, x->new, &x->old, &x->e) < 0 && x->new == NULL) {
        return old_is_missing(x);
    }
    return 0;
}

static void note_ids(struct replace *x)
{
    if (x->old != NULL) {
        x->old_id = v3_uint(x->old, "ID");
    }
    if (x->name == NULL) {
        const char *name = v3_text(x->old != NULL ? x->old : x->new, "name");

        /* Removed by an earlier run, and the new one has never been started: it had this name. */
        x->name = x->name_memory = xstrdup(*name != 0 ? name : x->old_word);
    }
}

/* A member at the new one's URLs is what an earlier run has added, unless it goes by another name:
 * then a URL was mistaken, and to go on would only remove OLD. */
static int check_new(struct replace *x)
{
    if (x->old == NULL || x->new == NULL || x->new == x->old || !member_is_started(x->new) ||
        strcmp(v3_text(x->new, "name"), x->name) == 0) {
        return 0;
    }
    return err_set(&x->e, -EINVAL,
        "the URLs given are those of member %s (%" PRIx64
        "): give the new one its own; or, if that "
        "one is the new one and only %s is to go, repeat this with --name %s",
        v3_text(x->new, "name"), v3_uint(x->new, "ID"), v3_text(x->old, "name"),
        v3_text(x->new, "name"));
}

/* Under its own URLs and as a learner OLD is most likely the new one: an earlier run has removed
 * the old one and added it, and it has been started under the same name. It is not removed again.
 */
static void note_came_back(struct replace *x)
{
    bool same = x->old != NULL && x->new == x->old;

    if (same && member_is_learner(x->old)) {
        say(x,
            "%s (%" PRIx64 ") is a learner at these URLs: taken for the new one, which an earlier "
            "run has added; should it have lost its data, decree member remove it and run this "
            "again\n",
            x->name, v3_uint(x->new, "ID"));
        x->old = NULL;
        x->old_id = 0;
    }
}

/* ---- probing ---- */

static bool answers(const json_t *member)
{
    _cleanup_strbuf_ struct strbuf urls = {0};
    json_t *empty, *reply = NULL;
    const json_t *url;
    struct v3_client *client;
    bool ok;
    size_t i;

    json_array_foreach(json_object_get(member, "clientURLs"), i, url)
    {
        strbuf_printf(&urls, "%s%s", i > 0 ? "," : "", json_string_value(url));
    }
    if (urls.len == 0 || v3_client_new(strbuf_cstr(&urls), PROBE_MS, false, &client, NULL) < 0) {
        return false;
    }
    empty = json_object();
    ok = v3_call(client, V3_READ, "/maintenance/status", empty, &reply, NULL) == 0 &&
        v3_uint(reply, "leader") != 0;
    json_decref(reply);
    json_decref(empty);
    v3_client_free(client);
    return ok;
}

struct census {
    size_t voters, healthy; /* OLD left out */
    bool old_answers;
};

static struct census probe(struct replace *x)
{
    struct census c = {0};
    const json_t *member;
    size_t i;

    json_array_foreach(x->members, i, member)
    {
        bool ok = answers(member);

        if (member == x->old) {
            c.old_answers = ok;
        } else if (member != x->new && !member_is_learner(member)) {
            c.voters++;
            c.healthy += ok;
        }
        say(x, "%s (%" PRIx64 ") %s%s\n",
            member_is_started(member) ? v3_text(member, "name") : "unstarted",
            v3_uint(member, "ID"), ok ? "is healthy" : "does not answer",
            member == x->old ? ", it is to go" : "");
    }
    return c;
}

/* While the new one is not a voter yet: both with it and OLD, and then without OLD, those that
 * answer must be a majority. */
static int check(struct replace *x, bool takes_over)
{
    struct census c = probe(x);
    size_t with_old = c.healthy + c.old_answers;

    if (takes_over && c.old_answers) {
        return err_set(&x->e, -EINVAL,
            "%s answers at these URLs: if an earlier run has replaced it, nothing is left to do; "
            "else stop it first, or give the new member others",
            x->old_word);
    }
    if (c.voters == 0 && (takes_over || !c.old_answers)) {
        return err_set(
            &x->e, -EINVAL, "%s is the only member: there is nobody to replace it", x->old_word);
    }
    if ((!takes_over && with_old + 1 <= (c.voters + 2) / 2) ||
        (takes_over && c.healthy <= c.voters / 2) || c.healthy + 1 <= (c.voters + 1) / 2) {
        return err_set(&x->e, V3_REFUSED,
            "only %zu of the %zu other voters answer: the cluster could lose its majority on the "
            "way; bring them back first",
            c.healthy, c.voters);
    }
    return 0;
}

/* ---- the steps ---- */

static int remove_old(struct replace *x)
{
    json_t *reply;
    int r = member_request(x->cli->client, "/cluster/member/remove", x->old_id, &reply, &x->e);

    if (r == 0) {
        say(x, "removed %s (%" PRIx64 ")\n", x->old_word, x->old_id);
        json_decref(reply);
    }
    return r;
}

static int add_new(struct replace *x)
{
    json_t *request = json_pack("{s:O, s:b}", "peerURLs", x->urls, "isLearner", 1), *reply;
    int r = v3_call(x->cli->client, V3_WRITE, "/cluster/member/add", request, &reply, &x->e);

    json_decref(request);
    if (r == 0) {
        say(x, "added %s (%" PRIx64 ") as a learner\n", x->name,
            v3_uint(json_object_get(reply, "member"), "ID"));
        json_decref(reply);
        r = look(x);
    }
    return r;
}

static void tell_how(struct replace *x)
{
    if (!x->told_how) {
        x->told_how = true;
        say(x, "\n");
        member_print_start(
            x->name, x->urls, x->members, x->cli->format == OUTPUT_JSON ? stderr : stdout);
        say(x,
            "\nWaiting until it is started and in sync; this can be interrupted and run again.\n");
    }
}

/* Whether the time is up or somebody wants to stop. */
static int wait_a_little(struct replace *x, uint64_t deadline_ms)
{
    struct pollfd p = {.fd = x->interrupt_fd, .events = POLLIN};

    if (poll(&p, 1, POLL_MS) > 0) {
        return err_set(&x->e, V3_INTERRUPTED, "interrupted; run it again to go on");
    }
    if (clock_boot_ms() > deadline_ms) {
        return err_set(&x->e, V3_UNREACHABLE,
            "%s is not in sync in time; run it again to go on waiting", x->name);
    }
    return 0;
}

static int promote_new(struct replace *x, int64_t wait_ms)
{
    uint64_t deadline = clock_boot_ms() + (uint64_t)wait_ms;

    x->new_id = v3_uint(x->new, "ID");
    for (;;) {
        json_t *reply;
        int r;

        r = member_request(x->cli->client, "/cluster/member/promote", x->new_id, &reply, &x->e);
        if (r == 0) {
            say(x, "promoted %s (%" PRIx64 ")\n", x->name, x->new_id);
            json_decref(reply);
            return look(x);
        }
        if (x->e.text == NULL || strstr(x->e.text, "in sync with leader") == NULL) {
            return r;
        }
        err_clear(&x->e);
        if (!member_is_started(x->new)) {
            tell_how(x);
        }
        r = wait_a_little(x, deadline);
        if (r != 0) {
            return r;
        }
    }
}

/* The old one's place under its own URLs. */
static int take_over(struct replace *x)
{
    int r = check(x, true);

    if (r == 0) {
        r = remove_old(x);
    }
    x->old = x->new = NULL;
    if (r == 0) {
        r = add_new(x);
        if (r != 0) {
            (void)err_prefix(&x->e,
                "%s is removed, the new one not added; go on with decree member add %s --learner "
                "--peer-urls URL, start it as that says, and run this again",
                x->old_word, x->name);
        }
    }
    return r;
}

static int go(struct replace *x, int64_t wait_ms)
{
    int r = look(x);

    if (r != 0) {
        return r;
    }
    note_ids(x);
    err_clear(&x->e);
    r = check_new(x);
    if (r != 0) {
        return r;
    }
    note_came_back(x);
    if (x->old == NULL && !member_is_learner(x->new)) {
        say(x, "%s is gone and %s (%" PRIx64 ") has its place: nothing is left to do\n",
            x->old_word, v3_text(x->new, "name"), v3_uint(x->new, "ID"));
        x->new_id = v3_uint(x->new, "ID");
        return 0;
    }
    if (x->old != NULL && x->old == x->new) {
        r = take_over(x);
    } else if (x->new == NULL) {
        r = check(x, false);
        r = r != 0 ? r : add_new(x);
    }
    if (r == 0 && x->new == NULL) {
        r = err_set(&x->e, V3_REFUSED, "the member that was added is gone again");
    }
    if (r == 0 && member_is_learner(x->new)) {
        r = promote_new(x, wait_ms);
    } else if (r == 0) {
        x->new_id = v3_uint(x->new, "ID");
    }
    return r == 0 && x->old != NULL && x->old != x->new ? remove_old(x) : r;
}

static int print_end(struct replace *x)
{
    _cleanup_free_ char *old = xasprintf("%" PRIu64, x->old_id);
    _cleanup_free_ char *new = xasprintf("%" PRIu64, x->new_id);
    json_t *out;

    if (x->cli->format != OUTPUT_JSON) {
        say(x, "done\n");
        return EXIT_DONE;
    }
    if (look(x) != 0) {
        err_clear(&x->e); /* it is done all the same */
    }
    out = json_pack("{s:s, s:s, s:O}", "removed", old, "added", new, "members", x->members);
    cmd_print_json(out);
    json_decref(out);
    return EXIT_DONE;
}

static int run_replace(struct cli *cli, const struct args *args)
{
    struct replace x = {.cli = cli, .old_word = args->words[0]};
    int64_t wait_ms = WAIT_MS;
    int r = member_urls(args, &x.urls, &x.e);
    int exit_code;

    x.name = args_has(args, FLAG_NAME) ? args->values[FLAG_NAME] : NULL;
    if (r == 0 && args_has(args, FLAG_WAIT)) {
        r = duration_parse_ms(args->values[FLAG_WAIT], &wait_ms, &x.e);
    }
    x.interrupt_fd = cmd_interrupt_fd();
    r = r != 0 ? r : go(&x, wait_ms);
    exit_code = r != 0 ? member_fail(r, &x.e) : print_end(&x);
    err_clear(&x.e);
    json_decref(x.urls);
    json_decref(x.members);
    free(x.name_memory);
    return exit_code;
}

const struct command cmd_member_replace = {
    .name = "member replace",
    .usage = "OLD --peer-urls URLS",
    .summary = "put a new member in the place of one, step by step",
    .details =
        "Probes the members, adds the new one as a learner, shows what to run on its host, waits\n"
        "until it is in sync, promotes it and removes OLD (a name or an id). It can be "
        "interrupted:\n"
        "run again it goes on where it stopped. Nothing is done that could cost the cluster its\n"
        "majority. For a member that has lost its data give the URLs it had.\n",
    .flags = FLAG(PEER_URLS) | FLAG(NAME) | FLAG(WAIT),
    .words_min = 1,
    .words_max = 1,
    .run = run_replace,
};
