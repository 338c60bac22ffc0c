/* Clients: each does its operations one after the other, at one member until that one fails it, and
 * writes down what it asked and what it was told. A repeated write is another write with another
 * value, so that the history's checker can tell them apart. */
#include "world.h"

#include <stdio.h>

enum { THINK_MEAN_MS = 2 };

static void go_on(struct world *w, uint32_t i)
{
    world_push(w,
        (struct event){.at_us = w->now_us + 1 + chance_exp(&w->net, THINK_MEAN_MS * SIM_MS),
            .kind = EVENT_CLIENT,
            .to = i});
}

static bool find_member(struct world *w, struct client *c)
{
    for (size_t i = 0; i < w->n; i++) {
        if (member_is_up(&w->members[c->member])) {
            return true;
        }
        c->member = (c->member + 1) % (uint32_t)w->n;
    }
    return false;
}

/* ---- what is asked ---- */

static struct bytes new_value(struct world *w, struct attempt *a)
{
    a->value = xasprintf("v%" PRIu64 "-%0*d", ++w->values, (int)w->set.value_bytes, 0);
    return bytes_str(a->value);
}

static void ask_put(struct attempt *a, struct history_call *h, int64_t lease)
{
    h->kind = HISTORY_PUT;
    h->value = new_value(a->w, a);
    h->lease = lease;
    a->call.kind = STORE_PUT;
    a->call.put = (struct put_request){.key = h->key, .value = h->value, .lease = lease};
}

static void ask_cas(struct attempt *a, struct history_call *h, int64_t expected)
{
    h->kind = HISTORY_CAS;
    h->value = new_value(a->w, a);
    h->expected = expected;
    a->compare = (struct compare){
        .result = COMPARE_EQUAL, .target = COMPARE_MOD, .key = h->key, .number = expected};
    a->op = (struct txn_op){.kind = OP_PUT, .put = {.key = h->key, .value = h->value}};
    a->call.kind = STORE_TXN;
    a->call.txn = (struct txn_request){
        .compares = &a->compare, .n_compares = 1, .success = &a->op, .n_success = 1};
}

/* False when there is nothing to ask for: no lease yet, nothing to compact. */
static bool ask(struct client *c, struct attempt *a, const struct item *x, struct history_call *h)
{
    size_t key = (size_t)x->args[1];

    if (x->kind != ITEM_grant && x->kind != ITEM_keepalive && x->kind != ITEM_revoke &&
        x->kind != ITEM_compact && x->kind != ITEM_list) {
        (void)snprintf(a->key, sizeof(a->key), "k%zu", key);
        h->key = bytes_str(a->key);
    }
    switch (x->kind) {
    case ITEM_put:
        ask_put(a, h, 0);
        return true;
    case ITEM_put_leased:
        ask_put(a, h, c->lease);
        return c->lease != 0;
    case ITEM_cas:
        ask_cas(a, h, c->mod[key % SIM_KEYS_MAX]);
        return true;
    case ITEM_get:
    case ITEM_get_stale:
        h->kind = x->kind == ITEM_get ? HISTORY_GET : HISTORY_GET_STALE;
        a->call.kind = STORE_RANGE;
        a->call.range =
            (struct range_request){.key = h->key, .serializable = x->kind == ITEM_get_stale};
        return true;
    case ITEM_list:
        listing_ask(a, x->args[1] % 2 != 0);
        return true;
    case ITEM_del:
        h->kind = HISTORY_DELETE;
        a->call.kind = STORE_DELETE;
        a->call.del = (struct delete_request){.key = h->key};
        return true;
    case ITEM_grant:
        h->kind = HISTORY_GRANT;
        h->ttl = x->args[1] * SIM_S;
        a->call.kind = STORE_LEASE_GRANT;
        a->call.lease_grant = (struct lease_grant_request){.ttl = (int64_t)x->args[1]};
        return true;
    case ITEM_keepalive:
    case ITEM_revoke:
        h->kind = x->kind == ITEM_keepalive ? HISTORY_KEEPALIVE : HISTORY_REVOKE;
        h->lease = c->lease;
        a->call.kind = x->kind == ITEM_keepalive ? STORE_LEASE_KEEPALIVE : STORE_LEASE_REVOKE;
        a->call.lease_id.id = c->lease;
        return c->lease != 0;
    default:
        decree_assert(x->kind == ITEM_compact);
        h->kind = HISTORY_COMPACT;
        h->expected = c->seen_revision - (int64_t)x->args[1];
        a->call.kind = STORE_COMPACT;
        a->call.compact =
            (struct compact_request){.revision = h->expected, .physical = x->args[1] % 2 == 0};
        return h->expected > 0;
    }
}

/* ---- what is answered ---- */

/* These come before anything was proposed, or say what applying it came to. All others leave open
 * what becomes of it. */
static bool is_definite(int status)
{
    switch (status) {
    case DECREE_ENO_SPACE:
    case DECREE_ETOO_MANY_REQUESTS:
    case DECREE_ELEASE_NOT_FOUND:
    case DECREE_ELEASE_EXISTS:
    case DECREE_ELEASE_TTL_TOO_LARGE:
    case DECREE_ECOMPACTED:
    case DECREE_EFUTURE_REV:
    case DECREE_EKEY_NOT_FOUND:
        return true;
    default:
        return false;
    }
}

static void read_range(
    struct client *c, const struct attempt *a, const struct range_reply *r, struct history_reply *h)
{
    h->found = r->n_kvs > 0;
    if (h->found) {
        h->value = r->kvs[0].value;
        h->mod_revision = r->kvs[0].mod_revision;
    }
    c->mod[(size_t)(a->key[1] - '0') % SIM_KEYS_MAX] = h->mod_revision;
}

static void read_reply(
    struct client *c, struct attempt *a, const struct store_reply *reply, struct history_reply *h)
{
    h->outcome = HISTORY_OK;
    h->revision = reply->header.revision;
    c->seen_revision = MAX(c->seen_revision, h->revision);
    switch (a->kind) {
    case ITEM_get:
    case ITEM_get_stale:
        read_range(c, a, &reply->range, h);
        a->w->counts.reads++;
        if (a->w->set.canary != 0 && a->w->counts.items[ITEM_kill] > 0) {
            world_fail(a->w, "canary: a read was answered after a kill");
        }
        break;
    case ITEM_list:
        listing_last(a, reply);
        a->w->counts.reads++;
        break;
    case ITEM_cas:
        h->succeeded = reply->txn.succeeded;
        if (h->succeeded) {
            c->mod[(size_t)(a->key[1] - '0') % SIM_KEYS_MAX] = h->revision;
        }
        break;
    case ITEM_del:
        h->found = reply->del.deleted > 0;
        break;
    case ITEM_grant:
        c->lease = h->lease = reply->lease.id;
        h->ttl = (uint64_t)reply->lease.ttl * SIM_S;
        break;
    case ITEM_keepalive:
        h->succeeded = reply->lease.ttl > 0;
        h->ttl = (uint64_t)reply->lease.ttl * SIM_S;
        break;
    default:
        break;
    }
}

static struct attempt *attempt_free(struct attempt *a)
{
    free(a->value);
    listing_free(a->listing);
    free(a);
    return NULL;
}

/* The client has its answer, whatever it is. */
static void finish(struct world *w, struct attempt *a, const struct history_reply *h)
{
    struct client *c = &w->clients[a->client];

    if (a->listing != NULL) {
        listing_end(a, h);
    } else {
        history_end(w->history, a->number, w->now_us, h);
    }
    w->counts.unknown += h->outcome == HISTORY_UNKNOWN;
    c->last_ok = h->outcome == HISTORY_OK;
    c->attempt = NULL;
    if (h->outcome == HISTORY_UNKNOWN) {
        c->member = (a->member + 1) % (uint32_t)w->n;
    }
    world_mix(w, (uint64_t)h->revision << 8 | (uint64_t)h->outcome);
    go_on(w, a->client);
}

static void on_reply(struct store_call *call, int status, const struct store_reply *reply)
{
    struct attempt *a = call->data;
    struct world *w = a->w;
    struct history_reply h = {.outcome = HISTORY_UNKNOWN};

    if (w != NULL) {
        struct member *m = &w->members[a->member];

        if (!member_is_mute(m) && status == 0) {
            read_reply(&w->clients[a->client], a, reply, &h);
        } else if (!member_is_mute(m) && is_definite(status)) {
            h.outcome = HISTORY_FAILED;
        }
        world_trace(w, "  client %u: %s %s: %s revision %" PRId64, a->client, item_name(a->kind),
            a->key, status == 0 ? "ok" : err_name(status), h.revision);
        finish(w, a, &h);
    }
    attempt_free(a);
}

/* ---- life of a call ---- */

static void start(struct world *w, uint32_t i, const struct item *x)
{
    struct client *c = &w->clients[i];
    struct attempt *a = xcalloc(1, sizeof(*a));
    struct history_call h = {0};
    struct input in = {.kind = INPUT_SUBMIT, .call = &a->call};

    *a = (struct attempt){.w = w, .client = i, .kind = x->kind};
    a->call.cb = on_reply;
    a->call.data = a;
    if (!find_member(w, c) || !ask(c, a, x, &h)) {
        attempt_free(a);
        go_on(w, i);
        return;
    }
    a->member = c->member;
    a->number = a->listing != NULL ? listing_begin(a) : history_begin(w->history, w->now_us, &h);
    c->attempt = a;
    c->life++;
    w->counts.calls++;
    w->counts.items[x->kind]++;
    world_push(w,
        (struct event){.at_us = w->now_us + w->set.client_ms * SIM_MS,
            .kind = EVENT_GIVE_UP,
            .to = i,
            .token = c->life});
    (void)member_input(&w->members[c->member], &in);
}

void client_step(struct world *w, const struct event *e)
{
    struct client *c = &w->clients[e->to];
    struct todo *t;

    if (c->attempt != NULL || list_empty(&c->todo)) {
        return;
    }
    t = list_entry(c->todo.next, struct todo, link);
    list_del(&t->link);
    start(w, e->to, &t->item);
    free(t);
}

void client_do(struct world *w, const struct item *x)
{
    uint32_t i = (uint32_t)(x->args[0] % SIM_CLIENTS_MAX);
    struct client *c = &w->clients[i];
    struct todo *t;

    if (x->kind == ITEM_move_client) {
        w->counts.items[x->kind]++;
        c->member = member_named(w, x->args[1]);
        return;
    }
    t = xcalloc(1, sizeof(*t));
    t->item = *x;
    list_add_tail(&c->todo, &t->link);
    client_step(w, &(struct event){.to = i});
}

void client_give_up(struct world *w, const struct event *e)
{
    struct client *c = &w->clients[e->to];
    struct attempt *a = c->attempt;
    const struct history_reply h = {.outcome = HISTORY_UNKNOWN};

    if (a == NULL || e->token != c->life) {
        return;
    }
    finish(w, a, &h);
    if (a->number % 2 == 0) {
        store_cancel(w->members[a->member].core, &a->call);
        attempt_free(a);
    } else {
        a->w = NULL; /* its connection stays, nobody reads */
    }
}

void clients_on_gone(struct world *w, const struct member *m)
{
    const struct history_reply h = {.outcome = HISTORY_UNKNOWN};

    for (uint32_t i = 0; i < SIM_CLIENTS_MAX; i++) {
        struct attempt *a = w->clients[i].attempt;

        if (a != NULL && a->member == m->i) {
            finish(w, a, &h); /* the call stays with the core that nobody can take down */
        }
    }
}

bool clients_are_idle(const struct world *w)
{
    for (size_t i = 0; i < SIM_CLIENTS_MAX; i++) {
        if (w->clients[i].attempt != NULL || !list_empty(&w->clients[i].todo)) {
            return false;
        }
    }
    return true;
}

void clients_init(struct world *w)
{
    for (uint32_t i = 0; i < SIM_CLIENTS_MAX; i++) {
        w->clients[i].member = i % (uint32_t)w->n;
        list_init(&w->clients[i].todo);
    }
}

void clients_deinit(struct world *w)
{
    for (size_t i = 0; i < SIM_CLIENTS_MAX; i++) {
        list_for_each_safe (it, &w->clients[i].todo) {
            list_del(it);
            free(list_entry(it, struct todo, link));
        }
    }
}
