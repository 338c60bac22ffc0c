/* Calls as clients make them. */
#include <stdio.h>

#include "node_sim.h"
#include "unit.h"

static void copy_text(char *to, size_t size, struct bytes b)
{
    (void)snprintf(to, size, "%.*s", (int)b.len, (const char *)b.data);
}

static void on_reply(struct store_call *call, int status, const struct store_reply *reply)
{
    struct sim_call *c = call->data;

    assert_false(c->done);
    c->done = true;
    c->status = status;
    if (status < 0) {
        return;
    }
    c->header = reply->header;
    switch (call->kind) {
    case STORE_RANGE:
        c->count = reply->range.count;
        if (reply->range.n_kvs > 0) {
            copy_text(c->value, sizeof(c->value), reply->range.kvs[0].value);
        }
        break;
    case STORE_DELETE:
        c->deleted = reply->del.deleted;
        break;
    case STORE_TXN:
        c->succeeded = reply->txn.succeeded;
        break;
    case STORE_LEASE_GRANT:
    case STORE_LEASE_KEEPALIVE:
    case STORE_LEASE_TTL:
        c->lease = reply->lease;
        c->count = (int64_t)reply->lease.n_keys;
        if (reply->lease.n_keys > 0) {
            copy_text(c->value, sizeof(c->value), reply->lease.keys[0]);
        }
        c->lease.keys = NULL;
        break;
    case STORE_LEASE_LIST:
        c->count = (int64_t)reply->lease_list.n;
        break;
    case STORE_MEMBER_LIST:
        c->n_members = reply->members.n;
        copy_text(c->name, sizeof(c->name), bytes_str(reply->members.list[0].name));
        if (reply->members.list[0].n_client_urls > 0) {
            copy_text(c->value, sizeof(c->value), bytes_str(reply->members.list[0].client_urls[0]));
        }
        break;
    case STORE_ALARM:
        c->n_alarms = reply->alarms.n;
        c->alarm = reply->alarms.n != 0 ? reply->alarms.list[0] : (struct store_alarm){0};
        break;
    case STORE_HASH:
    case STORE_HASH_KV:
        c->hash = reply->hash;
        break;
    case STORE_STATUS:
        c->n_alarms = reply->status.alarms.n;
        c->count = (int64_t)reply->status.leader;
        break;
    case STORE_MEMBER_ADD:
        c->added = reply->members.added->id;
        c->n_members = reply->members.n;
        break;
    case STORE_MEMBER_REMOVE:
    case STORE_MEMBER_UPDATE:
    case STORE_MEMBER_PROMOTE:
        c->n_members = reply->members.n;
        break;
    default:
        break;
    }
}

void sim_submit(struct sim *s, size_t i, struct sim_call *c)
{
    c->done = false;
    c->call.cb = on_reply;
    c->call.data = c;
    store_submit(s->members[i].core, &c->call);
    assert_false(c->done); /* never inside the call */
}

int sim_call(struct sim *s, size_t i, struct sim_call *c)
{
    sim_submit(s, i, c);
    sim_settle(s);
    for (int steps = 0; !c->done && steps < 1000; steps++) {
        sim_run(s, 10);
    }
    assert_true(c->done);
    return c->status;
}

int sim_put(struct sim *s, size_t i, const char *key, const char *value)
{
    struct sim_call c = {
        .call = {.kind = STORE_PUT, .put = {.key = bytes_str(key), .value = bytes_str(value)}}};

    return sim_call(s, i, &c);
}

int sim_get(struct sim *s, size_t i, const char *key, struct sim_call *c)
{
    *c = (struct sim_call){.call = {.kind = STORE_RANGE, .range = {.key = bytes_str(key)}}};
    return sim_call(s, i, c);
}

int sim_change(struct sim *s, size_t i, enum store_kind kind, uint64_t id)
{
    struct sim_call c = {.call = {.kind = kind, .member = {.id = id}}};

    return sim_call(s, i, &c);
}

int sim_add(struct sim *s, size_t i, size_t m, bool learner)
{
    _cleanup_free_ char *url = xasprintf("http://h%zu:2380", m);
    const char *urls[] = {url};
    struct sim_call c = {.call = {.kind = STORE_MEMBER_ADD,
                             .member = {.peer_urls = urls, .n_peer_urls = 1, .learner = learner}}};
    int err = sim_call(s, i, &c);

    if (err == 0) {
        s->members[m].id = c.added;
    }
    return err;
}
