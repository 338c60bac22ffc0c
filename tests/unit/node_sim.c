#include "node_sim.h"

#include <errno.h>
#include <stdio.h>

#include "unit.h"

enum { STREAM_WINDOW = 256 << 10, SETTLE_MAX = 100000 };

/* ---- the world that a member asks ---- */

static uint64_t env_now(void *data)
{
    return ((struct sim_member *)data)->sim->now_ms;
}

static uint64_t env_random(void *data)
{
    struct sim_member *m = data;
    uint64_t x = m->chance += 0x9e3779b97f4a7c15;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

static void env_wake(void *data)
{
    (void)data;
}

/* s->n for one that was added and never started. */
static size_t index_of(const struct sim *s, uint64_t id)
{
    size_t i = 0;

    while (i < s->n && s->members[i].id != id) {
        i++;
    }
    return i;
}

/* Does b listen to a? Not when it knows that a was removed and has let go of it. */
static bool listens(const struct sim *s, size_t b, size_t a)
{
    const struct members *links = core_links(s->members[b].core);
    uint64_t id = s->members[a].id;

    return !members_is_removed(links, id) || members_find(links, id) != NULL;
}

static bool reaches(const struct sim *s, size_t a, size_t b)
{
    return b < s->n && !s->members[a].cut && !s->members[b].cut && s->members[b].core != NULL &&
        listens(s, b, a);
}

static bool has_power(const struct sim *s, size_t i)
{
    return !wal_mem_is_dead(s->members[i].mem);
}

/* What a member says after its machine lost power was never said. */
static void push_to(struct list *queue, struct sim *s, enum sim_event_kind kind, size_t from,
    size_t to, struct buf *body_consume)
{
    struct sim_event *e;

    if (!has_power(s, from)) {
        buf_unref(body_consume);
        return;
    }
    e = xcalloc(1, sizeof(*e));
    *e = (struct sim_event){.kind = kind, .from = from, .to = to, .body = body_consume};
    list_add_tail(queue, &e->link);
}

static void push(
    struct sim *s, enum sim_event_kind kind, size_t from, size_t to, struct buf *body_consume)
{
    push_to(&s->events, s, kind, from, to, body_consume);
}

static void env_send(void *data, uint64_t to, struct buf *const *parts, size_t n_parts)
{
    struct sim_member *m = data;
    _cleanup_strbuf_ struct strbuf body = {0};
    size_t t = index_of(m->sim, to);

    for (size_t i = 0; i < n_parts; i++) {
        strbuf_append_bytes(&body, buf_bytes(parts[i]));
    }
    if (reaches(m->sim, m->i, t)) {
        push_to(&m->unsent, m->sim, SIM_FRAME, m->i, t, buf_copy(strbuf_bytes(&body)));
    }
}

static void env_flush(void *data)
{
    struct sim_member *m = data;

    list_splice_tail(&m->sim->events, &m->unsent);
}

static bool env_connected(void *data, uint64_t peer, uint64_t since_ms)
{
    struct sim_member *m = data;

    (void)since_ms;
    return reaches(m->sim, m->i, index_of(m->sim, peer));
}

static void env_stream_open(void *data, uint64_t to)
{
    struct sim_member *m = data;
    size_t t = index_of(m->sim, to);

    if (t < m->sim->n) {
        push(m->sim, reaches(m->sim, m->i, t) ? SIM_READY : SIM_DOWN, t, m->i, NULL);
    }
}

static bool env_stream_send(void *data, uint64_t to, struct buf *frame_consume)
{
    struct sim_member *m = data;
    struct sim *s = m->sim;
    size_t t = index_of(s, to);

    s->on_way[m->i][t] += frame_consume->len;
    push(s, SIM_STREAM, m->i, t, frame_consume);
    s->full[m->i][t] = s->on_way[m->i][t] >= STREAM_WINDOW;
    return !s->full[m->i][t];
}

static void drop_stream(struct sim *s, size_t from, size_t to)
{
    list_for_each_safe (it, &s->events) {
        struct sim_event *e = list_entry(it, struct sim_event, link);

        if (e->kind == SIM_STREAM && e->from == from && e->to == to) {
            list_del(&e->link);
            buf_unref(e->body);
            free(e);
        }
    }
    s->on_way[from][to] = 0;
    s->full[from][to] = s->paused[from][to] = false;
}

static void env_stream_close(void *data, uint64_t to)
{
    struct sim_member *m = data;
    size_t t = index_of(m->sim, to);

    if (t < m->sim->n) {
        drop_stream(m->sim, m->i, t);
        push(m->sim, SIM_CUT, m->i, t, NULL);
    }
}

static void env_stream_answer(void *data, uint64_t from, struct buf *frame_consume)
{
    struct sim_member *m = data;

    push(m->sim, SIM_REPLY, m->i, index_of(m->sim, from), frame_consume);
}

static void env_stream_resume(void *data, uint64_t from)
{
    struct sim_member *m = data;

    m->sim->paused[index_of(m->sim, from)][m->i] = false;
}

static void env_peer_metrics(void *data, struct store_metrics *ret)
{
    (void)data;
    ret->n_peers = 0;
}

static void env_members_changed(void *data)
{
    (void)data;
}

static void env_memory_freed(void *data)
{
    ((struct sim_member *)data)->sim->freed++;
}

/* ---- life ---- */

static void member_init(struct sim *s, size_t i)
{
    struct sim_member *m = &s->members[i];

    m->sim = s;
    m->i = i;
    list_init(&m->unsent);
    m->chance = 77 + i;
    m->mem = wal_mem_new(i + 1);
    m->env = (struct core_env){.data = m,
        .now_ms = env_now,
        .random = env_random,
        .wake = env_wake,
        .send = env_send,
        .flush = env_flush,
        .connected_since = env_connected,
        .stream_open = env_stream_open,
        .stream_send = env_stream_send,
        .stream_close = env_stream_close,
        .stream_answer = env_stream_answer,
        .stream_resume = env_stream_resume,
        .peer_metrics = env_peer_metrics,
        .members_changed = env_members_changed,
        .memory_freed = env_memory_freed};
}

void sim_init(struct sim *s, size_t n)
{
    *s = (struct sim){.n = n,
        .founders = n,
        .now_ms = 1000,
        .snapshot_count = 100000,
        .snapshot_keep = 5000,
        .quota_bytes = 1u << 30};
    list_init(&s->events);
    for (size_t i = 0; i < n; i++) {
        member_init(s, i);
    }
}

size_t sim_grow(struct sim *s)
{
    assert_true(s->n < SIM_MEMBERS_MAX);
    s->members[s->n].joins = true;
    member_init(s, s->n);
    return s->n++;
}

void sim_wipe(struct sim *s, size_t i)
{
    struct sim_member *m = &s->members[i];

    assert_null(m->core);
    wal_mem_free(m->mem);
    m->mem = wal_mem_new(1000 + i + 100 * ++m->lost);
}

/* What node_tell.c does: a linearizable read, and without a leader what it knows by itself. */
static bool ask(struct sim *s, size_t i, struct strbuf *ret)
{
    struct sim_call c = {
        .call = {.kind = STORE_MEMBER_LIST, .member_list = {.linearizable = true}}};

    sim_submit(s, i, &c);
    sim_settle(s);
    for (int steps = 0; !c.done && steps < 2 * SIM_ELECTION_TICKS; steps++) {
        sim_run(s, SIM_HEARTBEAT_MS);
    }
    if (!c.done) {
        store_cancel(s->members[i].core, &c.call);
    }
    return s->members[i].core != NULL &&
        core_join_answer(s->members[i].core, c.done && c.status == 0, ret);
}

/* What node_join.c does over the network. */
static int sim_join(void *data, const struct members *founders, const struct store_member *self,
    struct members_answer *ret, struct err *reterr)
{
    struct sim_member *m = data;
    struct sim *s = m->sim;

    (void)founders;
    (void)self;
    *ret = (struct members_answer){0};
    for (size_t i = 0; i < s->n && ret->standing != MEMBERS_AGREED; i++) {
        _cleanup_strbuf_ struct strbuf text = {0};
        struct members_answer answer;

        if (i == m->i || m->cut || s->members[i].cut || s->members[i].core == NULL ||
            !ask(s, i, &text)) {
            continue;
        }
        assert_int_equal(members_answer_decode(strbuf_bytes(&text), &answer), 0);
        if (members_answer_is_better(&answer, ret)) {
            members_deinit(&ret->members);
            *ret = answer;
        } else {
            members_deinit(&answer.members);
        }
    }
    return ret->members.n != 0 ? 0 : err_set(reterr, -EHOSTUNREACH, "no member answers");
}

int sim_try_start(struct sim *s, size_t i, const char *name, const char *token, struct err *reterr)
{
    _cleanup_free_ char *url = xasprintf("http://c%zu:2379", i);
    const char *urls[] = {url};
    struct sim_member *m = &s->members[i];
    _cleanup_strbuf_ struct strbuf list = {0};
    struct members founders;
    struct core_options o = {.name = name,
        .data_dir = "mem",
        .founders = &founders,
        .token = token,
        .existing = m->joins,
        .join = sim_join,
        .join_data = m,
        .client_urls = urls,
        .n_client_urls = 1,
        .heartbeat_ms = SIM_HEARTBEAT_MS,
        .election_ticks = SIM_ELECTION_TICKS,
        .snapshot_count = s->snapshot_count,
        .snapshot_keep = s->snapshot_keep,
        .quota_bytes = s->quota_bytes,
        .force_new_cluster = s->force_new_cluster,
        .segment_bytes = 1 << 20,
        .disk = wal_mem_disk(m->mem)};
    int err;

    for (size_t k = 0; k < (m->joins ? s->n : s->founders); k++) {
        strbuf_printf(&list, "%sm%zu=http://h%zu:2380", k > 0 ? "," : "", k, k);
    }
    assert_int_equal(members_parse(strbuf_cstr(&list), "t", &founders, NULL), 0);
    for (size_t k = 0; k < s->founders; k++) {
        char who[32];

        (void)snprintf(who, sizeof(who), "m%zu", k);
        s->members[k].id = members_find_name(&founders, who)->id;
    }
    err = core_open(&o, &m->env, &m->core, reterr);
    members_deinit(&founders);
    if (err == 0) {
        core_set_incarnation(m->core, 1000 + i + 100 * m->lost);
        m->id = core_id(m->core);
    }
    return err;
}

void sim_start(struct sim *s, size_t i)
{
    _cleanup_err_ struct err err = {0};
    char name[32];

    (void)snprintf(name, sizeof(name), "m%zu", i);
    if (sim_try_start(s, i, name, "t", &err) < 0) {
        fail_msg("member %zu does not start: %s", i, err.text);
    }
}

void sim_stop(struct sim *s, size_t i)
{
    core_stop(s->members[i].core);
    s->members[i].core = core_close(s->members[i].core);
    for (size_t k = 0; k < s->n; k++) {
        drop_stream(s, i, k);
        if (s->members[k].core != NULL) {
            core_stream_cut(s->members[k].core, s->members[i].id);
            core_stream_down(s->members[k].core, s->members[i].id, "the member went away");
        }
    }
}

void sim_kill(struct sim *s, size_t i)
{
    struct sim_member *m = &s->members[i];
    struct wal_mem *left = wal_mem_power_cut(m->mem, WAL_MEM_KILL);

    sim_stop(s, i);
    wal_mem_free(m->mem);
    m->mem = left;
}

void sim_deinit(struct sim *s)
{
    for (size_t i = 0; i < s->n; i++) {
        if (s->members[i].core != NULL) {
            sim_stop(s, i);
        }
    }
    for (size_t i = 0; i < s->n; i++) {
        wal_mem_free(s->members[i].mem);
        list_splice_tail(&s->events, &s->members[i].unsent);
    }
    while (!list_empty(&s->events)) {
        struct sim_event *e = list_entry(s->events.next, struct sim_event, link);

        list_del(&e->link);
        buf_unref(e->body);
        free(e);
    }
}

/* ---- events ---- */

static void break_stream(struct sim *s, size_t from, size_t to)
{
    drop_stream(s, from, to);
    push(s, SIM_DOWN, to, from, NULL);
    push(s, SIM_CUT, from, to, NULL);
}

static void deliver_stream(struct sim *s, const struct sim_event *e)
{
    struct sim_member *from = &s->members[e->from];
    struct sim_member *to = &s->members[e->to];
    int rc;

    s->on_way[e->from][e->to] -= e->body->len;
    if (s->stream_cut_after != 0 && s->stream_cut_after <= e->body->len) {
        s->stream_cut_after = 0;
        break_stream(s, e->from, e->to);
        return;
    }
    s->stream_cut_after -= MIN(s->stream_cut_after, (uint64_t)e->body->len);
    rc = core_stream_frame(to->core, from->id, buf_bytes(e->body));
    if (rc > 0) {
        s->paused[e->from][e->to] = true;
    } else if (rc < 0) {
        break_stream(s, e->from, e->to);
    }
    if (s->full[e->from][e->to] && s->on_way[e->from][e->to] == 0) {
        s->full[e->from][e->to] = false;
        push(s, SIM_READY, e->to, e->from, NULL);
    }
}

static void replay(struct sim *s, const struct sim_event *e)
{
    push(s, e->kind, e->from, e->to, buf_ref(e->body));
    list_entry(s->events.prev, struct sim_event, link)->again = true;
}

static void deliver(struct sim *s, const struct sim_event *e)
{
    struct sim_member *from = &s->members[e->from];
    struct sim_member *to = &s->members[e->to];

    if (to->core == NULL) {
        return;
    }
    switch (e->kind) {
    case SIM_FRAME:
        if (reaches(s, e->from, e->to)) {
            s->frames++;
            core_frame(to->core, from->id, buf_bytes(e->body));
            if (s->replay && !e->again) {
                replay(s, e);
            }
        }
        break;
    case SIM_READY:
        core_stream_ready(to->core, from->id);
        break;
    case SIM_STREAM:
        if (reaches(s, e->from, e->to)) {
            deliver_stream(s, e);
        } else {
            break_stream(s, e->from, e->to);
        }
        break;
    case SIM_REPLY:
        core_stream_reply(to->core, from->id, buf_bytes(e->body));
        break;
    case SIM_DOWN:
        core_stream_down(to->core, from->id, "the link broke");
        break;
    case SIM_CUT:
        core_stream_cut(to->core, from->id);
        break;
    }
}

static bool deliver_next(struct sim *s)
{
    list_for_each (it, &s->events) {
        struct sim_event *e = list_entry(it, struct sim_event, link);

        if (e->kind == SIM_STREAM && s->paused[e->from][e->to]) {
            continue;
        }
        list_del(&e->link);
        deliver(s, e);
        buf_unref(e->body);
        free(e);
        return true;
    }
    return false;
}

bool sim_round(struct sim *s)
{
    bool any = false;

    for (size_t i = 0; i < s->n; i++) {
        struct store *core = s->members[i].core;

        if (core != NULL) {
            core_disk(core);
            if (core_is_dirty(core)) {
                any = true;
                any = core_turn(core) || any;
            }
            if (core_was_removed(core)) {
                s->members[i].removed = true;
                sim_stop(s, i);
            } else if (core_is_unknown_to(core) != 0) {
                s->members[i].denied = true;
                sim_stop(s, i);
            }
        }
    }
    for (int k = 0; k < 16 && deliver_next(s); k++) {
        any = true;
    }
    return any;
}

void sim_settle(struct sim *s)
{
    for (int rounds = 0; sim_round(s); rounds++) {
        assert_true(rounds < SETTLE_MAX);
    }
}

void sim_run(struct sim *s, uint64_t ms)
{
    for (uint64_t end = s->now_ms + ms; s->now_ms < end;) {
        s->now_ms += 10;
        for (size_t i = 0; s->now_ms % SIM_HEARTBEAT_MS == 0 && i < s->n; i++) {
            if (s->members[i].core != NULL) {
                core_tick(s->members[i].core);
            }
        }
        sim_settle(s);
    }
}

static uint64_t leader_of(struct sim *s, size_t i)
{
    struct sim_call c = {.call = {.kind = STORE_STATUS}};

    assert_int_equal(sim_call(s, i, &c), 0);
    return c.header.raft_term != 0 ? (uint64_t)c.count : 0;
}

size_t sim_elect(struct sim *s)
{
    for (int tries = 0; tries < 100; tries++) {
        uint64_t leader = 0;
        bool agreed = true;

        for (size_t i = 0; i < s->n; i++) {
            if (s->members[i].core != NULL && !s->members[i].cut) {
                uint64_t l = leader_of(s, i);

                agreed = agreed && l != 0 && (leader == 0 || leader == l);
                leader = l;
            }
        }
        if (agreed && leader != 0) {
            size_t l = index_of(s, leader);

            if (l < s->n && s->members[l].core != NULL && !s->members[l].cut) {
                return l;
            }
        }
        sim_run(s, 100);
    }
    fail_msg("no leader within ten seconds");
    return 0;
}

/* ---- calls ---- */

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

void sim_assert_equal(struct sim *s)
{
    struct store *first = NULL;

    sim_run(s, 1000);
    for (size_t i = 0; i < s->n; i++) {
        struct store *core = s->members[i].core;

        if (core == NULL) {
            continue;
        }
        if (first != NULL) {
            assert_int_equal(core_applied(core), core_applied(first));
            assert_int_equal(core_hash(core), core_hash(first));
        }
        first = core;
    }
}
