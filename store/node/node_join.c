#include "node_join.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "alloc.h"
#include "peer.h"

enum { ASK_MS = 5000 /* a person waits, and starts it again */ };

/* ---- asking ---- */

struct asking {
    struct members_answer best; /* members.n 0 = none yet */
    struct strbuf why;          /* of those that did not answer */
};

static void note(struct asking *a, const char *url, const char *why)
{
    strbuf_printf(&a->why, "%s%s: %s", a->why.len != 0 ? "; " : "", url, why);
}

static int fetch(const char *url, struct members_answer *ret, struct err *reterr)
{
    _cleanup_free_ char *host = NULL;
    _cleanup_strbuf_ struct strbuf body = {0};
    uint16_t port;
    int err = peer_url_parse(url, &host, &port, reterr);

    if (err == 0) {
        err = peer_fetch_members(host, port, ASK_MS, &body, reterr);
    }
    if (err == 0 && members_answer_decode(strbuf_bytes(&body), ret) < 0) {
        err = err_set(reterr, DECREE_EBAD_REQUEST,
            "its answer cannot be read: both must run versions that fit");
    }
    return err;
}

/* True when nobody else need be asked. */
static bool take(struct asking *a, struct members_answer *answer)
{
    if (members_answer_is_better(answer, &a->best)) {
        members_deinit(&a->best.members);
        a->best = *answer;
    } else {
        members_deinit(&answer->members);
    }
    return a->best.standing == MEMBERS_AGREED;
}

static bool ask_member(struct asking *a, const struct store_member *member)
{
    for (size_t i = 0; i < member->n_peer_urls; i++) {
        _cleanup_err_ struct err err = {0};
        struct members_answer answer = {0};

        if (fetch(member->peer_urls[i], &answer, &err) == 0) {
            return take(a, &answer);
        }
        note(a, member->peer_urls[i], err.text != NULL ? err.text : "failed");
    }
    return false;
}

int node_join_ask(const struct members *founders, const struct store_member *self,
    struct members_answer *ret, struct err *reterr)
{
    struct asking a = {0};
    int err = 0;

    for (size_t i = 0; i < founders->n; i++) {
        if (&founders->list[i] != self && ask_member(&a, &founders->list[i])) {
            break;
        }
    }
    *ret = a.best;
    if (a.best.members.n != 0) {
        err = 0;
    } else if (founders->n == 1) {
        err = err_set(reterr, DECREE_EINVALID_CONFIG,
            "the initial cluster lists %s alone: to join a running cluster it must list the "
            "members of that cluster as well",
            self->name);
    } else {
        err = err_set(reterr, -EHOSTUNREACH,
            "no member of the cluster can be asked, at least one of the initial cluster must run: "
            "%s",
            strbuf_cstr(&a.why));
    }
    strbuf_deinit(&a.why);
    return err;
}
