/* Members' lives, and time. */
#include <errno.h>
#include <stdio.h>

#include "node_sim_impl.h"
#include "unit.h"

enum { SETTLE_MAX = 100000 };

/* ---- life ---- */

static void member_init(struct sim *s, size_t i)
{
    struct sim_member *m = &s->members[i];

    m->sim = s;
    m->i = i;
    list_init(&m->unsent);
    m->chance = 77 + i;
    m->mem = wal_mem_new(i + 1);
    m->env = sim_env_of(m);
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
        sim_drop_stream(s, i, k);
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

/* ---- time ---- */

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
    for (int k = 0; k < 16 && sim_deliver_next(s); k++) {
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
            size_t l = sim_index_of(s, leader);

            if (l < s->n && s->members[l].core != NULL && !s->members[l].cut) {
                return l;
            }
        }
        sim_run(s, 100);
    }
    fail_msg("no leader within ten seconds");
    return 0;
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
