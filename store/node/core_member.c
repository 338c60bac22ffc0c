/* Changes of the members.
 *
 *     waiting --leader: the one before is applied--> checked, proposed --> flying --applied-->
 * answer
 *        `----follower: leader known--> asked --its answer--> answer
 *
 * The leader composes the new configuration from the members as applied, so it begins one only when
 * the one before has been applied, and raft takes it only when an entry of the leader's own term
 * has committed (R6). The table travels in the entry; names and client URLs that were published
 * meanwhile are kept when it is applied (members_take).
 *
 * Refused, as etcd with its strict check, is what could leave the cluster without a majority: a
 * voter more while not enough have been started or one is silent, a voter less when those that are
 * left and answer are no majority, the promotion of a learner that was never started, is silent or
 * behind. Whether a member answers is what raft knows: within an election timeout.
 *
 * A question to the leader is sent once: an answer that is lost with its leadership leaves the
 * outcome unknown, and the caller looks. */
#include "core.h"

enum {
    LINGER_TICKS = 3 /* a frame that was sent before the removal has come by then, or is lost */
};

void core_changes_init(struct store *s)
{
    list_init(&s->changes.waiting);
    list_init(&s->changes.asked);
    list_init(&s->changes.flying);
    list_init(&s->changes.moving);
}

static void moving_step(struct store *s);

static struct store_call *first_of(const struct list *l)
{
    return list_entry(l->next, struct store_call, link_);
}

int core_change_admit(struct store *s, struct store_call *c)
{
    const struct store_member_request *r = &c->member;

    if (c->kind == STORE_MEMBER_ADD || c->kind == STORE_MEMBER_UPDATE) {
        int err = members_check_urls(r->peer_urls, r->n_peer_urls);

        if (err < 0) {
            return err;
        }
    }
    core_call_move(s, c, CALL_CHANGING, &s->changes.waiting);
    return 0;
}

/* ---- who answers ---- */

struct census {
    size_t voters, started, active;
};

static bool is_active(
    const struct store *s, const struct raft_progress *list, size_t n, uint64_t id)
{
    for (size_t i = 0; i < n; i++) {
        if (list[i].id == id) {
            return list[i].recent_active;
        }
    }
    return id == s->id;
}

static bool is_started(const struct store_member *m)
{
    return m->name[0] != 0;
}

/* Voters, but for one that is to go. */
static struct census take_census(const struct store *s, uint64_t without)
{
    struct raft_progress list[RAFT_MEMBERS_MAX];
    size_t n = raft_progress(s->raft, list);
    struct census ret = {0};

    for (size_t i = 0; i < s->members.n; i++) {
        const struct store_member *m = &s->members.list[i];

        if (!m->learner && m->id != without) {
            ret.voters++;
            ret.started += is_started(m);
            ret.active += is_active(s, list, n, m->id);
        }
    }
    return ret;
}

static bool is_majority(size_t n, size_t of)
{
    return n > of / 2;
}

/* ---- the checks ---- */

static int check_urls_free(const struct store *s, const struct store_member_request *r, uint64_t id)
{
    for (size_t i = 0; i < r->n_peer_urls; i++) {
        const struct store_member *owner = members_find_url(&s->members, r->peer_urls[i]);

        if (owner != NULL && owner->id != id) {
            return DECREE_EPEER_URL_EXISTS;
        }
    }
    return 0;
}

static int check_add(const struct store *s, const struct store_member_request *r)
{
    struct census c = take_census(s, RAFT_NONE);
    size_t learners = s->members.n - c.voters;
    int err;

    /* A lone member may take in a second one, although that leaves it without a majority until the
     * second is started: there is no other way to become more than one. */
    if (!r->learner && !(c.voters == 1 && c.started == 1) &&
        !is_majority(c.started, c.voters + 1)) {
        return DECREE_ENOT_ENOUGH_STARTED;
    }
    if (!r->learner && c.active < c.voters) {
        return DECREE_EUNHEALTHY;
    }
    err = check_urls_free(s, r, RAFT_NONE);
    if (err < 0) {
        return err;
    }
    if (r->learner && learners >= MEMBERS_LEARNERS_MAX) {
        return DECREE_ETOO_MANY_LEARNERS;
    }
    return s->members.n < RAFT_MEMBERS_MAX ? 0 : DECREE_ENOT_CAPABLE;
}

static int check_remove(const struct store *s, const struct store_member_request *r)
{
    const struct store_member *m = members_find(&s->members, r->id);
    struct census c = take_census(s, r->id);

    if (m == NULL) {
        return DECREE_EMEMBER_NOT_FOUND;
    }
    if (m->learner) {
        return 0;
    }
    if (c.voters == 0 || !is_majority(c.started, c.voters)) {
        return DECREE_ENOT_ENOUGH_STARTED;
    }
    return is_majority(c.active, c.voters) ? 0 : DECREE_EUNHEALTHY;
}

static int check_update(const struct store *s, const struct store_member_request *r)
{
    if (members_find(&s->members, r->id) == NULL) {
        return DECREE_EMEMBER_NOT_FOUND;
    }
    return check_urls_free(s, r, r->id);
}

/* In sync: it answers, and all of the log is on its way to it within one window. */
static bool is_in_sync(const struct store *s, uint64_t id)
{
    struct raft_progress list[RAFT_MEMBERS_MAX];
    size_t n = raft_progress(s->raft, list);
    struct raft_status now;

    raft_status(s->raft, &now);
    for (size_t i = 0; i < n; i++) {
        if (list[i].id == id) {
            return list[i].recent_active && list[i].state == RAFT_REPLICATE &&
                list[i].next > now.last_index;
        }
    }
    return false;
}

static int check_promote(const struct store *s, const struct store_member_request *r)
{
    const struct store_member *m = members_find(&s->members, r->id);
    struct census c = take_census(s, RAFT_NONE);

    if (m == NULL) {
        return DECREE_EMEMBER_NOT_FOUND;
    }
    if (!m->learner) {
        return DECREE_ENOT_LEARNER;
    }
    if (!is_started(m) || !is_in_sync(s, r->id)) {
        return DECREE_ELEARNER_NOT_READY;
    }
    if (!is_majority(c.started + 1, c.voters + 1)) {
        return DECREE_ENOT_ENOUGH_STARTED;
    }
    return is_majority(c.active + 1, c.voters + 1) ? 0 : DECREE_EUNHEALTHY;
}

static int check(const struct store *s, const struct store_call *c)
{
    switch (c->kind) {
    case STORE_MEMBER_ADD:
        return check_add(s, &c->member);
    case STORE_MEMBER_REMOVE:
        return check_remove(s, &c->member);
    case STORE_MEMBER_UPDATE:
        return check_update(s, &c->member);
    default:
        decree_assert(c->kind == STORE_MEMBER_PROMOTE);
        return check_promote(s, &c->member);
    }
}

/* ---- the leader's part ---- */

/* The table after the change; the id of a member that is added. */
static uint64_t change_table(struct store *s, const struct store_call *c, struct members *m)
{
    const struct store_member_request *r = &c->member;
    uint64_t id = RAFT_NONE;

    switch (c->kind) {
    case STORE_MEMBER_ADD:
        id = members_fresh_id(m, r->peer_urls, r->n_peer_urls, core_random(s));
        members_add(m, id, r->peer_urls, r->n_peer_urls, r->learner);
        break;
    case STORE_MEMBER_REMOVE:
        members_remove(m, r->id);
        break;
    case STORE_MEMBER_UPDATE:
        members_set_urls(m, r->id, r->peer_urls, r->n_peer_urls);
        break;
    default:
        members_find(m, r->id)->learner = false;
        break;
    }
    return id;
}

struct buf *core_conf_payload(const struct members *m)
{
    _cleanup_strbuf_ struct strbuf context = {0};
    _cleanup_strbuf_ struct strbuf payload = {0};
    struct raft_conf conf = {0};

    for (size_t i = 0; i < m->n; i++) {
        conf.members[conf.n++] =
            (struct raft_member){.id = m->list[i].id, .learner = m->list[i].learner};
    }
    members_encode(m, &context);
    raft_conf_encode(&conf, strbuf_bytes(&context), &payload);
    return buf_copy(strbuf_bytes(&payload));
}

static void log_change(const struct store_call *c, uint64_t added)
{
    static const char *const text[] = {[STORE_MEMBER_ADD] = "adding a member",
        [STORE_MEMBER_REMOVE] = "removing a member",
        [STORE_MEMBER_UPDATE] = "changing a member's URLs",
        [STORE_MEMBER_PROMOTE] = "promoting a learner"};

    log_info("%s member=%016" PRIx64 " learner=%d urls=%s%s", text[c->kind],
        added != RAFT_NONE ? added : c->member.id, c->kind == STORE_MEMBER_ADD && c->member.learner,
        c->member.n_peer_urls > 0 ? c->member.peer_urls[0] : "",
        c->member.n_peer_urls > 1 ? ",…" : "");
}

static bool may_begin(const struct store *s)
{
    struct raft_status now;

    raft_status(s->raft, &now);
    return now.role == RAFT_LEADER && s->changes.entry.index == 0 &&
        raft_conf_index(s->raft) <= s->applied && s->applied_term == now.term;
}

/* 0, an error, or a positive outcome of raft's: the call waits on. */
static int propose(struct store *s, struct store_call *c)
{
    struct raft_proposal proposal = {.type = RAFT_ENTRY_CONF};
    struct raft_event event = {.type = RAFT_EV_PROPOSE, .propose = {.list = &proposal, .n = 1}};
    struct raft_status now;
    struct members next;
    uint64_t added;
    int rc;

    members_copy(&s->members, &next);
    added = change_table(s, c, &next);
    proposal.payload = core_conf_payload(&next);
    members_deinit(&next);
    if (!core_disk_has_room(s, 1, proposal.payload->len)) {
        rc = DECREE_ENO_SPACE;
    } else {
        rc = core_step(s, &event);
    }
    buf_unref(proposal.payload);
    if (rc == RAFT_OK) {
        raft_status(s->raft, &now);
        s->changes.entry = (struct raft_entry_id){.term = now.term, .index = now.last_index};
        s->changes.added = added;
        log_change(c, added);
    }
    return rc == RAFT_BUSY ? DECREE_ETOO_MANY_REQUESTS : rc;
}

static void begin_next(struct store *s)
{
    while (!list_empty(&s->changes.waiting) && may_begin(s)) {
        struct store_call *c = first_of(&s->changes.waiting);
        int rc = check(s, c);

        rc = rc < 0 ? rc : propose(s, c);
        if (rc < 0) {
            core_refuse(s, c, rc);
        } else if (rc == RAFT_OK) {
            core_call_move(s, c, CALL_CHANGING, &s->changes.flying);
        } else {
            return;
        }
    }
}

static void answer(struct store *s, struct store_call *c, const struct members *m, uint64_t added)
{
    struct store_reply reply = {.header = store_header(s)};

    reply.members.list = m->list;
    reply.members.n = m->n;
    reply.members.added = members_find(m, added);
    core_answer(s, c, 0, &reply);
}

void core_change_applied(struct store *s, struct raft_entry_id id)
{
    struct changes *x = &s->changes;
    uint64_t added = x->added;

    if (x->entry.index != id.index || x->entry.term != id.term) {
        return; /* of another leader */
    }
    x->entry = (struct raft_entry_id){0};
    if (!list_empty(&x->flying)) {
        answer(s, first_of(&x->flying), &s->members, added);
    }
}

void core_changes_outcome_unknown(struct store *s)
{
    s->changes.entry = (struct raft_entry_id){0};
    while (!list_empty(&s->changes.flying)) {
        core_refuse(s, first_of(&s->changes.flying), DECREE_ELEADER_CHANGED);
    }
}

/* ---- a follower's part ---- */

static void ask(struct store *s, struct store_call *c)
{
    struct member_ask a = {.kind = c->kind, .request = c->member};
    struct buf *frame;

    if (c->id_ == 0) {
        c->id_ = core_next_id(s);
        hmap_insert(&s->calls.by_id, &c->node_, hmap_hash_u64(c->id_));
    }
    a.sequence = c->id_;
    c->term_ = s->status.term;
    frame = member_ask_encode(&a);
    core_send_frame(s, s->status.leader, frame);
    buf_unref(frame);
    core_call_move(s, c, CALL_CHANGING, &s->changes.asked);
}

void core_changes_step(struct store *s)
{
    if (core_leads(s)) {
        begin_next(s);
        return;
    }
    while (!list_empty(&s->changes.waiting) && s->status.leader != RAFT_NONE && !s->changes.hold) {
        ask(s, first_of(&s->changes.waiting));
    }
}

/* What an earlier leader was asked for may have happened or not. */
void core_changes_status(struct store *s)
{
    list_for_each_safe (it, &s->changes.asked) {
        struct store_call *c = list_entry(it, struct store_call, link_);

        if (c->term_ != s->status.term) {
            core_refuse(s, c, DECREE_ELEADER_CHANGED);
        }
    }
    s->changes.hold = false;
    moving_step(s);
}

/* A follower's question as a call of this member. */
struct asked {
    struct store *s;
    struct arena arena; /* the URLs */
    uint64_t from, sequence;
    struct store_call call;
};

static void send_answer(struct store *s, uint64_t to, const struct member_answer *a)
{
    struct buf *frame = member_answer_encode(a);

    core_send_frame(s, to, frame);
    buf_unref(frame);
}

static void asked_on_reply(struct store_call *call, int status, const struct store_reply *reply)
{
    struct asked *a = call->data;
    struct member_answer out = {.sequence = a->sequence, .status = status};
    _cleanup_strbuf_ struct strbuf table = {0};

    if (status == 0) {
        members_encode(&a->s->members, &table);
        out.members = strbuf_bytes(&table);
        out.id = reply->members.added != NULL ? reply->members.added->id : RAFT_NONE;
    }
    send_answer(a->s, a->from, &out);
    arena_deinit(&a->arena);
    free(a);
}

void core_on_member_ask(struct store *s, uint64_t from, struct bytes body)
{
    struct asked *a = xcalloc(1, sizeof(*a));
    struct member_ask m;
    struct entry_id id;

    a->arena.limit = REQUEST_BYTES_MAX;
    if (member_ask_decode(body, &a->arena, &m) < 0 || core_calls_full(s)) {
        log_debug("question about members dropped from=%016" PRIx64, from);
        arena_deinit(&a->arena);
        free(a);
        return;
    }
    id = (struct entry_id){.origin = from, .sequence = m.sequence};
    if (!core_leads(s) || core_is_replayed(s, id, s->status.term)) {
        if (!core_leads(s)) {
            send_answer(s, from,
                &(struct member_answer){.sequence = m.sequence, .status = DECREE_ENOT_LEADER});
        }
        arena_deinit(&a->arena);
        free(a);
        return;
    }
    a->s = s;
    a->from = from;
    a->sequence = m.sequence;
    a->call =
        (struct store_call){.kind = m.kind, .member = m.request, .cb = asked_on_reply, .data = a};
    store_submit(s, &a->call);
}

void core_on_member_answer(struct store *s, struct bytes body)
{
    struct member_answer a;
    struct members table = {0};
    struct store_call *c;

    if (member_answer_decode(body, &a) < 0) {
        log_debug("malformed answer to a question about members");
        return;
    }
    c = core_call_find(s, a.sequence);
    if (c == NULL || c->state_ != CALL_CHANGING) {
        return; /* answered already, or given up */
    }
    if (a.status == DECREE_ENOT_LEADER) {
        core_call_move(s, c, CALL_CHANGING, &s->changes.waiting); /* nothing was done */
        s->changes.hold = true;
    } else if (a.status < 0) {
        core_answer(s, c, a.status, NULL);
    } else if (members_decode(a.members, &table) == 0) {
        answer(s, c, &table, a.id);
    }
    members_deinit(&table);
}

/* ---- leadership ---- */

int core_move_leader_admit(struct store *s, struct store_call *c)
{
    const struct store_member *to = members_find(&s->members, c->member.id);
    struct raft_event event = {.type = RAFT_EV_TRANSFER, .peer = c->member.id};
    int rc;

    if (!core_leads(s)) {
        return DECREE_ENOT_LEADER;
    }
    if (to == NULL || to->learner) {
        return DECREE_EBAD_TRANSFEREE;
    }
    rc = core_step(s, &event);
    if (rc != RAFT_OK) {
        return rc == RAFT_NOT_LEADER ? DECREE_ENOT_LEADER : DECREE_EBAD_TRANSFEREE;
    }
    log_info("moving leadership to=%016" PRIx64, to->id);
    core_call_move(s, c, CALL_CHANGING, &s->changes.moving);
    return 0;
}

/* A transfer is over when that member leads, or when raft has long given it up. */
static void moving_step(struct store *s)
{
    struct list now;

    list_init(&now);
    list_splice_tail(&now, &s->changes.moving);
    while (!list_empty(&now)) {
        struct store_call *c = first_of(&now);
        uint64_t begun = c->deadline_ms_ - core_timeout_ms(s);
        struct store_reply reply = {0};

        if (s->status.leader == c->member.id) {
            core_answer(s, c, 0, &reply);
        } else if (core_now(s) - begun > 2 * core_election_ms(s)) {
            core_refuse(s, c, DECREE_ETIMEOUT_TRANSFER);
        } else {
            core_call_move(s, c, CALL_CHANGING, &s->changes.moving);
        }
    }
}

void core_changes_tick(struct store *s)
{
    if (s->linger_ticks > 0 && --s->linger_ticks == 0) {
        s->members_moved = true;
        core_mark(s);
    }
    s->changes.hold = false;
    if (!list_empty(&s->changes.waiting)) {
        core_mark(s);
    }
    moving_step(s);
}

/* ---- whom to be connected with ---- */

/* A change counts for raft from the moment that it is in the log: a voter that is being added is
 * needed for what comes after it, so the links go by the newest configuration. Those of the applied
 * one stay until the change is applied, so that one that is being removed hears of all up to it. */
static void add_link(struct members *links, const struct store_member *m)
{
    if (members_find(links, m->id) == NULL && links->n < RAFT_MEMBERS_MAX) {
        members_add(links, m->id, m->peer_urls, m->n_peer_urls, m->learner);
        members_find(links, m->id)->incarnation = m->incarnation;
    }
}

static void add_links(struct members *links, const struct members *more)
{
    for (size_t i = 0; i < more->n; i++) {
        const struct store_member *m = &more->list[i];

        if (members_is_removed(links, m->id)) {
            continue;
        }
        add_link(links, m);
        if (members_find(links, m->id) != NULL) {
            members_set_urls(links, m->id, m->peer_urls, m->n_peer_urls);
        }
    }
}

/* One that has just been removed may have been the leader, whose answer is on its way, or wait for
 * one: it is let go of some ticks later. */
static void linger(struct store *s, const struct members *before)
{
    for (size_t i = 0; i < before->n; i++) {
        const struct store_member *m = &before->list[i];

        if (!members_is_removed(&s->links, m->id) || m->id == s->id) {
            continue;
        }
        if (members_find(&s->members_before, m->id) != NULL) {
            s->linger_ticks = LINGER_TICKS;
        }
        if (s->linger_ticks > 0) {
            add_link(&s->links, m);
        }
    }
    members_deinit(&s->members_before);
    members_copy(&s->members, &s->members_before);
}

bool core_members_pending(const struct store *s, struct members *ret)
{
    uint64_t index = raft_conf_index(s->raft);
    struct raft_status now;
    struct bytes context;
    struct raft_conf conf;

    raft_status(s->raft, &now);
    return index > s->applied && index >= now.first_index &&
        raft_conf_decode(
            buf_bytes(raft_entries(s->raft, index, index)->payload), &conf, &context) == 0 &&
        members_decode(context, ret) == 0;
}

bool core_links_refresh(struct store *s)
{
    uint64_t index = raft_conf_index(s->raft);
    struct raft_entry_id id = {.index = index, .term = raft_term_of(s->raft, index)};
    struct members newest = {0}, before;

    if (!s->members_moved && id.index == s->links_conf.index && id.term == s->links_conf.term) {
        return false;
    }
    s->members_moved = false;
    s->links_conf = id;
    before = s->links;
    members_copy(&s->members, &s->links);
    if (members_find(&s->members, s->id) == NULL) {
        add_links(&s->links, &s->joined);
    }
    if (core_members_pending(s, &newest)) {
        add_links(&s->links, &newest);
    }
    members_deinit(&newest);
    core_directories_fill(s, &s->links);
    linger(s, &before);
    members_deinit(&before);
    return true;
}

bool core_is_learner(const struct store *s)
{
    const struct store_member *self = members_find(&s->members, s->id);

    if (self == NULL) {
        self = members_find(&s->links, s->id); /* applied here is not that far yet */
    }
    return self == NULL || self->learner; /* as far as it knows it has no vote */
}
