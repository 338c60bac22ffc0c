/* lease grant, revoke, keep-alive, timetolive, list. Ids are hexadecimal, as etcdctl writes them.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "clock.h"
#include "cmd.h"
#include "table.h"
#include "v3_client.h"

/* One call; prints the reply itself with -o json. 0 and *ret, or the exit code of the failure. */
static int lease_call(
    struct cli *cli, enum v3_kind kind, const char *path, json_t *request_consume, json_t **ret)
{
    _cleanup_err_ struct err e = {0};
    int r = v3_call(cli->client, kind, path, request_consume, ret, &e);

    json_decref(request_consume);
    if (r != 0) {
        return cmd_fail(r, &e);
    }
    if (cli->format == OUTPUT_JSON) {
        cmd_print_json(*ret);
    }
    return 0;
}

static int read_id(const struct args *args, int64_t *ret)
{
    _cleanup_err_ struct err e = {0};

    return lease_id_parse(args->words[0], ret, &e) < 0 ? cmd_fail(-EINVAL, &e) : 0;
}

static int run_grant(struct cli *cli, const struct args *args)
{
    _cleanup_err_ struct err e = {0};
    json_t *reply;
    int64_t ttl_ms;
    int r;

    if (duration_parse_ms(args->words[0], &ttl_ms, &e) < 0) {
        return cmd_fail(-EINVAL, &e);
    }
    r = lease_call(cli, V3_WRITE, "/lease/grant",
        json_pack("{s:o}", "TTL", v3_from_int((ttl_ms + 999) / 1000)), &reply);
    if (r != 0) {
        return r;
    }
    if (cli->format != OUTPUT_JSON) {
        (void)printf("lease %016" PRIx64 " granted with TTL(%" PRId64 "s)\n", v3_int(reply, "ID"),
            v3_int(reply, "TTL"));
    }
    json_decref(reply);
    return EXIT_DONE;
}

static int run_revoke(struct cli *cli, const struct args *args)
{
    json_t *reply;
    int64_t id;
    int r = read_id(args, &id);

    if (r == 0) {
        r = lease_call(
            cli, V3_WRITE, "/lease/revoke", json_pack("{s:o}", "ID", v3_from_int(id)), &reply);
    }
    if (r != 0) {
        return r;
    }
    if (cli->format != OUTPUT_JSON) {
        (void)printf("lease %016" PRIx64 " revoked\n", id);
    }
    json_decref(reply);
    return EXIT_DONE;
}

static void print_keys(const struct cli *cli, const json_t *reply)
{
    const json_t *key;
    size_t i;

    (void)printf(", attached keys([");
    json_array_foreach(json_object_get(reply, "keys"), i, key)
    {
        _cleanup_free_ char *memory = NULL;
        json_t *holder = json_pack("{s:O}", "key", key);

        (void)printf("%s", i != 0 ? " " : "");
        text_print(v3_bytes(holder, "key", &memory), cli->terminal);
        json_decref(holder);
    }
    (void)printf("])");
}

static int run_timetolive(struct cli *cli, const struct args *args)
{
    json_t *reply;
    int64_t id, ttl;
    int r = read_id(args, &id);

    if (r == 0) {
        r = lease_call(cli, V3_READ, "/lease/timetolive",
            json_pack("{s:o, s:b}", "ID", v3_from_int(id), "keys", args_has(args, FLAG_KEYS)),
            &reply);
    }
    if (r != 0) {
        return r;
    }
    ttl = v3_int(reply, "TTL");
    if (cli->format == OUTPUT_JSON) {
        /* printed already */
    } else if (ttl < 0) {
        (void)printf("lease %016" PRIx64 " already expired\n", id);
    } else {
        (void)printf("lease %016" PRIx64 " granted with TTL(%" PRId64 "s), remaining(%" PRId64 "s)",
            id, v3_int(reply, "grantedTTL"), ttl);
        if (args_has(args, FLAG_KEYS)) {
            print_keys(cli, reply);
        }
        (void)printf("\n");
    }
    json_decref(reply);
    return ttl < 0 ? EXIT_SAID_NO : EXIT_DONE;
}

static int run_list(struct cli *cli, const struct args *args _unused_)
{
    const json_t *leases, *lease;
    json_t *reply;
    size_t i;
    int r = lease_call(cli, V3_READ, "/lease/leases", json_object(), &reply);

    if (r != 0) {
        return r;
    }
    leases = json_object_get(reply, "leases");
    if (cli->format != OUTPUT_JSON) {
        (void)printf("found %zu leases\n", json_array_size(leases));
        json_array_foreach(leases, i, lease)
        {
            (void)printf("%016" PRIx64 "\n", v3_int(lease, "ID"));
        }
    }
    json_decref(reply);
    return EXIT_DONE;
}

/* Renews once: 0 and the TTL, or the exit code. The gateway answers with a stream of one line. */
static int renew(struct cli *cli, int64_t id, int64_t *ret_ttl)
{
    _cleanup_err_ struct err e = {0};
    json_t *request = json_pack("{s:o}", "ID", v3_from_int(id));
    json_t *reply = NULL, *result;
    int r = v3_call(cli->client, V3_READ, "/lease/keepalive", request, &reply, &e);

    json_decref(request);
    if (r != 0) {
        return cmd_fail(r, &e);
    }
    result = json_object_get(reply, "result");
    *ret_ttl = v3_int(result, "TTL");
    if (cli->format == OUTPUT_JSON) {
        cmd_print_json(result);
    } else if (*ret_ttl > 0) {
        (void)printf("lease %016" PRIx64 " keepalived with TTL(%" PRId64 ")\n", id, *ret_ttl);
    } else {
        (void)printf("lease %016" PRIx64 " expired or revoked.\n", id);
    }
    (void)fflush(stdout);
    json_decref(reply);
    return *ret_ttl > 0 ? EXIT_DONE : EXIT_SAID_NO;
}

static int run_keep_alive(struct cli *cli, const struct args *args)
{
    struct pollfd p = {.events = POLLIN};
    uint64_t renewed_ms, alive_ms;
    int64_t id, ttl = 0;
    int r = read_id(args, &id);

    r = r != 0 ? r : renew(cli, id, &ttl);
    if (r != 0 || args_has(args, FLAG_ONCE)) {
        return r;
    }
    alive_ms = (uint64_t)ttl * 1000;
    p.fd = cmd_interrupt_fd();
    renewed_ms = clock_boot_ms();
    /* A third of the life leaves room for renewals that fail: those are tried again every second
     * until the lease cannot be alive any more. */
    while (!ferror(stdout) &&
        poll(&p, 1, r == EXIT_DONE ? (int)MIN(ttl * 1000 / 3, 3600000) : 1000) == 0) {
        r = renew(cli, id, &ttl);
        if (r == EXIT_DONE) {
            renewed_ms = clock_boot_ms();
            alive_ms = (uint64_t)ttl * 1000;
        } else if (r != EXIT_UNREACHABLE || clock_boot_ms() - renewed_ms > alive_ms) {
            break;
        }
    }
    (void)close(p.fd);
    return r;
}

const struct command cmd_lease_grant = {
    .name = "lease grant",
    .usage = "TTL",
    .summary = "make a lease that lives for TTL seconds unless renewed",
    .words_min = 1,
    .words_max = 1,
    .run = run_grant,
};

const struct command cmd_lease_revoke = {
    .name = "lease revoke",
    .usage = "ID",
    .summary = "end a lease and delete the keys bound to it",
    .words_min = 1,
    .words_max = 1,
    .run = run_revoke,
};

const struct command cmd_lease_keep_alive = {
    .name = "lease keep-alive",
    .usage = "ID",
    .summary = "renew a lease, on and on",
    .details =
        "Renews at a third of the lease's life until Ctrl-C (exit code 0); ends with 1 when the\n"
        "lease is gone.\n",
    .flags = FLAG(ONCE),
    .words_min = 1,
    .words_max = 1,
    .run = run_keep_alive,
};

const struct command cmd_lease_timetolive = {
    .name = "lease timetolive",
    .usage = "ID",
    .summary = "show how long a lease has left; ends with 1 when it is gone",
    .flags = FLAG(KEYS),
    .words_min = 1,
    .words_max = 1,
    .run = run_timetolive,
};

const struct command cmd_lease_list = {
    .name = "lease list",
    .usage = "",
    .summary = "list the leases",
    .run = run_list,
};
