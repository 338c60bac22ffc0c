/* Who changes the members, and starts those that join. It asks any member that is up, sees what its
 * table lists, starts a machine that is listed with an empty disk, and gives one whose member was
 * removed a new disk. Calls overlap; what becomes of them is seen in the log (check.c). A machine
 * is found by its first address, which stays; a change of URLs gives or takes a second one. */
#include "world.h"

#include <errno.h>
#include <stdio.h>

#include "raft_internal.h"

enum { PORT = 2380, READ_LATE_PERMILLE = 300 };

/* ---- who is where ---- */

/* Is that member the one in that machine? */
static bool is_at(const struct store_member *m, uint32_t slot)
{
    char url[24];

    (void)snprintf(url, sizeof(url), "http://h%u:%d", slot, PORT);
    for (size_t i = 0; i < m->n_peer_urls; i++) {
        if (strcmp(m->peer_urls[i], url) == 0) {
            return true;
        }
    }
    return false;
}

static const struct store_member *listed(const struct members *table, uint32_t slot)
{
    for (size_t i = 0; i < table->n; i++) {
        if (is_at(&table->list[i], slot)) {
            return &table->list[i];
        }
    }
    return NULL;
}

bool operator_is_gone(const struct world *w, uint64_t id)
{
    for (size_t i = 0; i < w->n_gone; i++) {
        if (w->gone[i] == id) {
            return true;
        }
    }
    return false;
}

size_t operator_slot(const struct world *w, uint64_t id)
{
    for (size_t i = 0; i < w->n; i++) {
        if (w->members[i].id == id) {
            return i;
        }
    }
    for (size_t k = 0; k < w->n; k++) {
        const struct member *via = &w->members[k];
        const struct store_member *m =
            member_is_up(via) ? members_find(core_links(via->core), id) : NULL;

        for (uint32_t i = 0; m != NULL && i < w->n; i++) {
            if (is_at(m, i)) {
                return i;
            }
        }
    }
    return w->n;
}

/* ---- joining ---- */

static bool can_ask(const struct member *m, const struct member *of)
{
    const struct world *w = m->w;

    return of != m && member_is_up(of) && w->links[m->i][of->i].cuts == 0 &&
        w->links[of->i][m->i].cuts == 0;
}

/* "m0=http://h0:2380,m1=…" as the operator reads it off a member's table. */
static void write_cluster(const struct world *w, const struct members *table, struct strbuf *out)
{
    for (uint32_t i = 0; i < w->n; i++) {
        const struct store_member *m = listed(table, i);

        for (size_t k = 0; m != NULL && k < m->n_peer_urls; k++) {
            strbuf_printf(out, "%sm%u=%s", out->len == 0 ? "" : ",", i, m->peer_urls[k]);
        }
    }
}

bool operator_prepare(struct member *m)
{
    struct world *w = m->w;
    size_t first;

    if (!m->joins) {
        return true;
    }
    first = chance_below(&m->chance, w->n);
    for (size_t k = 0; k < w->n; k++) {
        struct member *via = &w->members[(first + k) % w->n];
        _cleanup_strbuf_ struct strbuf text = {0};

        if (via == m || !member_is_up(via) || listed(core_links(via->core), m->i) == NULL) {
            continue;
        }
        write_cluster(w, core_links(via->core), &text);
        members_deinit(&m->cluster);
        if (members_parse(strbuf_cstr(&text), "t", &m->cluster, NULL) < 0) {
            world_fail(w, "join: nobody can read the cluster \"%s\"", strbuf_cstr(&text));
        }
        return true;
    }
    return m->cluster.n != 0; /* as the last time */
}

static bool has_leader(const struct member *of)
{
    const struct store *s = of->core;

    for (size_t i = 0; i < of->w->n; i++) {
        const struct member *m = &of->w->members[i];
        struct raft_status now;

        if (member_is_up(m) && m->id == s->status.leader && core_leads(m->core)) {
            raft_status(m->core->raft, &now);
            return now.term == s->status.term && now.lease_proven;
        }
    }
    return false;
}

/* A linearizable read would come back, and what it would show has been applied there. */
static bool has_all_agreed(const struct member *of)
{
    return has_leader(of) && !of->core->members_assumed && of->core->applied >= of->w->conf_index;
}

/* Its read may take longer than it waits for it. */
static bool ask(struct member *m, const struct member *of, struct members_answer *ret)
{
    _cleanup_strbuf_ struct strbuf text = {0};
    bool agreed = has_all_agreed(of) && !core_is_learner(of->core) &&
        !chance_permille(&m->chance, READ_LATE_PERMILLE);

    if (!core_join_answer(of->core, agreed, &text)) {
        return false;
    }
    if (members_answer_decode(strbuf_bytes(&text), ret) < 0) {
        world_fail(of->w, "join: %s answers what nobody can read", of->name);
    }
    return true;
}

int operator_on_join(void *data, const struct members *founders,
    const struct store_member *self _unused_, struct members_answer *ret, struct err *reterr)
{
    struct member *m = data;

    *ret = (struct members_answer){0};
    for (size_t i = 0; i < founders->n && ret->standing != MEMBERS_AGREED; i++) {
        struct member *of = &m->w->members[founders->list[i].name[1] - '0'];
        struct members_answer answer;

        if (!can_ask(m, of) || !ask(m, of, &answer)) {
            continue;
        }
        if (members_answer_is_better(&answer, ret)) {
            members_deinit(&ret->members);
            *ret = answer;
        } else {
            members_deinit(&answer.members);
        }
    }
    return ret->members.n != 0 ? 0 : err_set(reterr, -EHOSTUNREACH, "no member can be asked");
}

static void ends_for_good(struct member *m)
{
    member_stop(m);
    m->removed = true;
}

static bool is_in_conf(const struct world *w, uint64_t id)
{
    return raft_conf_find(&w->conf, id) != NULL;
}

void operator_removed(struct member *m)
{
    struct world *w = m->w;

    if (!member_is_up(m)) {
        return;
    }
    if (!operator_is_gone(w, m->id)) {
        world_fail(w, "membership: %s stops as one that was removed, and it was not", m->name);
    }
    world_trace(w, "%s stops: it was removed", m->name);
    ends_for_good(m);
    w->counts.told_removed++;
}

/* From here on its id is as good as a removed one's: it must never be that of a member. */
void operator_denied(struct member *m)
{
    struct world *w = m->w;

    if (is_in_conf(w, m->id)) {
        world_fail(w, "membership: %s is told that it never was a member, and it is", m->name);
    }
    world_trace(w, "%s stops: it never was a member", m->name);
    if (!operator_is_gone(w, m->id)) {
        decree_assert(w->n_gone < SIM_GONE_MAX);
        w->gone[w->n_gone++] = m->id;
    }
    ends_for_good(m);
    w->counts.denied++;
}

/* Its member was removed, or was added by a change that never committed. */
static bool is_free(const struct member *m)
{
    return m->id == 0 || operator_is_gone(m->w, m->id);
}

/* The member that belongs into that machine: as committed, or else as somebody wants it. */
static const struct store_member *find_place(const struct world *w, uint32_t slot)
{
    const struct store_member *wanted = NULL;

    for (size_t k = 0; k < w->n; k++) {
        const struct member *via = &w->members[k];
        const struct members *t = member_is_up(via) ? core_links(via->core) : NULL;

        for (size_t i = 0; t != NULL && i < t->n; i++) {
            const struct store_member *m = &t->list[i];

            if (!is_at(m, slot) || operator_is_gone(w, m->id)) {
                continue;
            }
            if (is_in_conf(w, m->id)) {
                return m;
            }
            wanted = wanted != NULL || operator_is_gone(w, via->id) ? wanted : m;
        }
    }
    return wanted;
}

void operator_start_listed(struct world *w)
{
    for (uint32_t i = 0; i < w->n; i++) {
        struct member *m = &w->members[i];
        const struct store_member *place = find_place(w, i);

        if (place == NULL || place->id == m->id ||
            (!is_free(m) && (is_in_conf(w, m->id) || !is_in_conf(w, place->id)))) {
            continue;
        }
        member_stop(m);
        if (m->state == MEMBER_DOWN) {
            member_renew(m);
            member_start(m);
            w->set.core_mask |= UINT64_C(1) << i;
        }
    }
}

/* ---- changes ---- */

bool operator_is_idle(const struct world *w)
{
    for (size_t i = 0; i < SIM_CHANGES_MAX; i++) {
        if (w->changes[i] != NULL) {
            return false;
        }
    }
    return true;
}

static void on_reply(struct store_call *call, int status, const struct store_reply *reply _unused_)
{
    struct change *c = call->data;
    struct world *w = c->w;

    if (w != NULL) {
        world_trace(w, "  %s at m%u: %s", item_name(c->kind), c->via,
            status == 0 ? "ok" : err_name(status));
        w->changes[c->place] = NULL;
        if (status == 0) {
            w->counts.items[c->kind]++;
        } else {
            w->counts.changes_refused++;
        }
        world_mix(w, (uint64_t)(int64_t)status);
    }
    free(c);
}

/* A question may be on its way or with a leader whose asker has died since. */
bool operator_may_change(const struct world *w)
{
    bool any = !operator_is_idle(w);

    for (size_t i = 0; i < w->n; i++) {
        const struct store *s = w->members[i].core;

        any =
            any || (s != NULL && (!list_empty(&s->changes.waiting) || s->changes.entry.index != 0));
    }
    for (size_t i = 0; i < w->events.n; i++) {
        const struct event *e = &w->events.heap[i];

        any = any || (e->kind == EVENT_FRAME && frame_kind(buf_bytes(e->body)) == FRAME_MEMBER_ASK);
    }
    return any;
}

void operator_on_gone(struct world *w, const struct member *m)
{
    for (size_t i = 0; i < SIM_CHANGES_MAX; i++) {
        struct change *c = w->changes[i];

        if (c != NULL && c->via == m->i) {
            c->w = NULL;
            w->changes[i] = NULL;
        }
    }
}

static void set_urls(struct change *c, uint32_t slot, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(c->text[i], sizeof(c->text[i]), "http://h%u:%d", slot, PORT + (int)i);
        c->urls[i] = c->text[i];
    }
    c->call.member.peer_urls = c->urls;
    c->call.member.n_peer_urls = n;
}

static uint64_t whom(struct world *w, const struct member *via, uint64_t slot)
{
    const struct store_member *m;

    if (slot == SIM_THE_LEADER) {
        return via->core->status.leader;
    }
    m = listed(core_members(via->core), (uint32_t)(slot % w->n));
    return m != NULL ? m->id : w->members[slot % w->n].id;
}

/* False when there is nobody to name. */
static bool compose(struct world *w, struct change *c, const struct item *x)
{
    struct member *via = &w->members[c->via];

    c->kind = x->kind;
    c->call.member.id = x->kind == ITEM_add ? 0 : whom(w, via, x->args[0]);
    switch (x->kind) {
    case ITEM_add:
        c->call.kind = STORE_MEMBER_ADD;
        c->call.member.learner = x->args[1] != 0;
        set_urls(c, (uint32_t)(x->args[0] % w->n), 1);
        return true;
    case ITEM_promote:
        c->call.kind = STORE_MEMBER_PROMOTE;
        break;
    case ITEM_remove:
        c->call.kind = STORE_MEMBER_REMOVE;
        break;
    case ITEM_update:
        c->call.kind = STORE_MEMBER_UPDATE;
        set_urls(c, (uint32_t)(x->args[0] % w->n), x->args[2] != 0 ? 2 : 1);
        break;
    default:
        c->call.kind = STORE_MOVE_LEADER;
        break;
    }
    return c->call.member.id != 0;
}

static bool find_via(struct world *w, const struct item *x, uint32_t *ret)
{
    uint64_t first = x->args[x->kind == ITEM_add ? 2 : 1];

    for (size_t k = 0; k < w->n; k++) {
        uint32_t i = (uint32_t)((first + k) % w->n);
        struct member *m = &w->members[i];

        if (member_is_up(m) && (x->kind != ITEM_move_leader || core_leads(m->core))) {
            *ret = i;
            return true;
        }
    }
    return false;
}

/* Counted when it is answered. */
static void change(struct world *w, const struct item *x)
{
    struct change *c;
    struct input in = {.kind = INPUT_SUBMIT};
    size_t place = 0;
    uint32_t via;

    while (place < SIM_CHANGES_MAX && w->changes[place] != NULL) {
        place++;
    }
    if (place == SIM_CHANGES_MAX || !find_via(w, x, &via)) {
        return;
    }
    c = xcalloc(1, sizeof(*c));
    *c = (struct change){.w = w, .via = via, .place = place};
    if (!compose(w, c, x)) {
        free(c);
        return;
    }
    c->call.cb = on_reply;
    c->call.data = c;
    w->changes[place] = c;
    in.call = &c->call;
    (void)member_input(&w->members[via], &in);
}

bool operator_do(struct world *w, const struct item *x)
{
    struct member *m = &w->members[x->args[0] % w->n];

    if (w->set.spares == 0) {
        return false;
    }
    if (x->kind != ITEM_fresh) {
        change(w, x);
        return false;
    }
    if (m->state != MEMBER_DOWN || m->id == 0 || !is_free(m)) {
        return false;
    }
    member_renew(m);
    return true;
}
