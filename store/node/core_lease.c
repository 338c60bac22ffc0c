/* Leases run on the leader's clock.
 *
 * Expiry: a tick sees that a deadline has passed -> a read round proves the leadership -> revokes
 * are proposed, each fenced by the term (core_apply.c). At most EXPIRE_PER_SECOND, so that a
 * pile-up does not push clients' writes aside.
 *
 * Keepalive and time-to-live on a follower: asked of the leader over the message link, answered by
 * it as if the call were its own, relayed. What a lost frame leaves over is asked again. */
#include "core.h"

struct expiring {
    struct hmap_node node;
    int64_t id;
    uint64_t term; /* leadership that proposed it */
};

void core_leases_deinit(struct store *s)
{
    struct hmap_node *n;

    while ((n = hmap_pop(&s->leases.expiring)) != NULL) {
        free(container_of(n, struct expiring, node));
    }
    hmap_deinit(&s->leases.expiring);
}

int64_t core_lease_ttl_min(const struct store *s)
{
    return (int64_t)((3 * core_election_ms(s) / 2 + 999) / 1000);
}

/* ---- expiry ---- */

static struct expiring *find_expiring(struct store *s, int64_t id)
{
    uint64_t hash = hmap_hash_u64((uint64_t)id);

    for (struct hmap_node *n = hmap_first(&s->leases.expiring, hash); n != NULL;
         n = hmap_next_same(n)) {
        struct expiring *x = container_of(n, struct expiring, node);

        if (x->id == id) {
            return x;
        }
    }
    return NULL;
}

static void drop_expiring(struct store *s, struct expiring *x)
{
    hmap_remove(&s->leases.expiring, &x->node);
    free(x);
}

void core_lease_revoked(struct store *s, int64_t id)
{
    struct expiring *x = find_expiring(s, id);

    if (x != NULL) {
        drop_expiring(s, x);
    }
    if (!list_empty(&s->reads.late)) {
        list_splice_tail(&s->reads.wanted, &s->reads.late);
        core_mark(s);
    }
}

bool core_lease_is_in_doubt(struct store *s, int64_t id)
{
    struct expiring *x = find_expiring(s, id);

    return (x != NULL && x->term == s->status.term) || mvcc_lease_is_due(s->mvcc, id, core_now(s));
}

/* A lease whose revoke could not be proposed, or was void, counts as expired anew after that. */
static uint64_t expiry_retry_ms(const struct store *s)
{
    return 2 * core_election_ms(s);
}

/* However long that takes: in this leadership the entry commits, or the leadership ends. */
static void note_expiring(struct store *s, int64_t id, uint64_t term)
{
    struct expiring *x = find_expiring(s, id);

    if (x == NULL) {
        x = xcalloc(1, sizeof(*x));
        x->id = id;
        hmap_insert(&s->leases.expiring, &x->node, hmap_hash_u64((uint64_t)id));
    }
    x->term = term;
}

static struct buf *encode_expire(struct store *s, int64_t id, uint64_t term)
{
    struct entry e = {.type = ENTRY_LEASE_EXPIRE,
        .id = {.origin = s->id, .sequence = core_next_id(s)},
        .lease_expire = {.id = id, .term = term}};
    struct buf *b = NULL;
    int err = entry_encode(&e, &b);

    decree_assert(err == 0);
    return b;
}

/* What a leader has proposed stays in its log, so nothing is proposed twice in a leadership: the
 * second one could meet a new lease of that id. */
static size_t without_proposed(struct store *s, uint64_t term, int64_t *ids, size_t n)
{
    size_t left = 0;

    for (size_t i = 0; i < n; i++) {
        const struct expiring *x = find_expiring(s, ids[i]);

        if (x == NULL || x->term != term) {
            ids[left++] = ids[i];
        }
    }
    return left;
}

void core_leases_expire(struct store *s, uint64_t term)
{
    struct raft_proposal batch[EXPIRE_PER_SECOND / 10];
    int64_t ids[ARRAY_SIZE(batch)];
    struct raft_event event = {.type = RAFT_EV_PROPOSE, .propose = {.list = batch}};
    struct raft_status now;
    size_t max =
        MAX((size_t)1, MIN(ARRAY_SIZE(ids), (size_t)s->o.heartbeat_ms * EXPIRE_PER_SECOND / 1000));

    raft_status(s->raft, &now);
    if (now.role != RAFT_LEADER || now.term != term || !s->leases.promoted) {
        return;
    }
    event.propose.n = without_proposed(
        s, term, ids, mvcc_lease_expired(s->mvcc, core_now(s), expiry_retry_ms(s), ids, max));
    if (event.propose.n == 0) {
        return;
    }
    for (size_t i = 0; i < event.propose.n; i++) {
        batch[i] = (struct raft_proposal){RAFT_ENTRY_NORMAL, encode_expire(s, ids[i], term)};
    }
    if (core_step(s, &event) == RAFT_OK) {
        log_debug("leases expired n=%zu term=%" PRIu64, event.propose.n, term);
        for (size_t i = 0; i < event.propose.n; i++) {
            note_expiring(s, ids[i], term);
        }
    }
    for (size_t i = 0; i < event.propose.n; i++) {
        buf_unref(batch[i].payload);
    }
    core_mark(s);
}

/* Revokes that were lost with a leadership: one a tick is enough, they are rare. */
static void forget_stale(struct store *s)
{
    for (struct hmap_node *n = hmap_iter(&s->leases.expiring, NULL); n != NULL;
         n = hmap_iter(&s->leases.expiring, n)) {
        struct expiring *x = container_of(n, struct expiring, node);

        if (x->term != s->status.term) {
            drop_expiring(s, x);
            return;
        }
    }
}

/* ---- whose clock counts ---- */

static void forwards_again(struct store *s)
{
    struct list now;

    s->leases.forward_ticks = 0;
    list_init(&now);
    list_splice_tail(&now, &s->calls.forwarded);
    while (!list_empty(&now)) {
        struct store_call *c = list_entry(now.next, struct store_call, link_);

        if (core_leads(s)) {
            core_read_want(s, c);
            core_mark(s);
        } else {
            core_lease_forward(s, c);
        }
    }
}

void core_leases_status(struct store *s)
{
    if (core_leads(s) && !s->leases.promoted) {
        mvcc_lease_promote(s->mvcc, core_now(s), core_election_ms(s));
        s->leases.promoted = true;
    } else if (!core_leads(s) && s->leases.promoted) {
        mvcc_lease_demote(s->mvcc);
        s->leases.promoted = false;
        s->leases.expiry_wanted = false;
        core_leases_deinit(s);
    }
    forwards_again(s);
}

void core_leases_extend(struct store *s)
{
    if (s->leases.promoted) {
        mvcc_lease_demote(s->mvcc);
        mvcc_lease_promote(s->mvcc, core_now(s), core_election_ms(s));
    }
}

void core_leases_tick(struct store *s)
{
    forget_stale(s);
    if (core_leads(s) && s->leases.promoted && !core_entry_is_stopped(s, ENTRY_LEASE_EXPIRE) &&
        mvcc_lease_next_ms(s->mvcc) <= core_now(s)) {
        s->leases.expiry_wanted = true;
        core_mark(s);
    }
    if (++s->leases.forward_ticks >= s->o.election_ticks / 2) {
        forwards_again(s);
    }
}

/* ---- questions to the leader ---- */

void core_lease_forward(struct store *s, struct store_call *c)
{
    struct lease_ask ask = {.keepalive = c->kind == STORE_LEASE_KEEPALIVE};
    struct buf *frame;

    if (ask.keepalive) {
        ask.id = c->lease_id.id;
    } else {
        ask.id = c->lease_ttl.id;
        ask.keys = c->lease_ttl.keys;
    }
    core_call_move(s, c, CALL_FORWARDED, &s->calls.forwarded);
    if (s->status.leader == RAFT_NONE || s->status.leader == s->id) {
        return; /* asked when there is one */
    }
    if (c->id_ == 0) {
        c->id_ = core_next_id(s);
        hmap_insert(&s->calls.by_id, &c->node_, hmap_hash_u64(c->id_));
    }
    ask.sequence = c->id_;
    frame = lease_ask_encode(&ask);
    core_send_frame(s, s->status.leader, frame);
    buf_unref(frame);
}

/* A follower's question as a call of this member. */
struct asked {
    struct hmap_node node; /* in leases.asked by sequence */
    struct store *s;
    uint64_t from, sequence;
    struct store_call call;
};

/* A question is asked again and again until it is answered; it is one call here all the same. */
static bool is_asked(const struct store *s, uint64_t from, uint64_t sequence)
{
    for (struct hmap_node *n = hmap_first(&s->leases.asked, hmap_hash_u64(sequence)); n != NULL;
         n = hmap_next_same(n)) {
        const struct asked *a = container_of(n, struct asked, node);

        if (a->from == from && a->sequence == sequence) {
            return true;
        }
    }
    return false;
}

static void send_answer(struct store *s, uint64_t to, const struct lease_answer *answer)
{
    struct buf *frame = lease_answer_encode(answer);

    core_send_frame(s, to, frame);
    buf_unref(frame);
}

static size_t keys_bytes(const struct lease_reply *r)
{
    size_t n = 0;

    for (size_t i = 0; i < r->n_keys; i++) {
        n += r->keys[i].len + 5;
    }
    return n;
}

static void asked_on_reply(struct store_call *call, int status, const struct store_reply *reply)
{
    struct asked *a = call->data;
    struct lease_answer answer = {.sequence = a->sequence, .status = status};

    if (status == 0 && keys_bytes(&reply->lease) > LEASE_KEYS_BYTES_MAX) {
        answer.status = DECREE_ETOO_LARGE;
    } else if (status == 0) {
        answer.revision = reply->header.revision;
        answer.reply = reply->lease;
    }
    send_answer(a->s, a->from, &answer);
    hmap_remove(&a->s->leases.asked, &a->node);
    free(a);
}

void core_on_lease_ask(struct store *s, uint64_t from, struct bytes body)
{
    struct lease_ask ask;
    struct asked *a;

    if (lease_ask_decode(body, &ask) < 0) {
        log_debug("malformed lease question from=%016" PRIx64, from);
        return;
    }
    if (!core_leads(s) || core_calls_full(s)) {
        send_answer(s, from,
            &(struct lease_answer){.sequence = ask.sequence,
                .status = core_leads(s) ? DECREE_ETOO_MANY_REQUESTS : DECREE_ENOT_LEADER});
        return;
    }
    if (is_asked(s, from, ask.sequence)) {
        MARK("lease_asked_again");
        return;
    }
    a = xcalloc(1, sizeof(*a));
    a->s = s;
    a->from = from;
    a->sequence = ask.sequence;
    hmap_insert(&s->leases.asked, &a->node, hmap_hash_u64(a->sequence));
    a->call.cb = asked_on_reply;
    a->call.data = a;
    if (ask.keepalive) {
        a->call.kind = STORE_LEASE_KEEPALIVE;
        a->call.lease_id.id = ask.id;
    } else {
        a->call.kind = STORE_LEASE_TTL;
        a->call.lease_ttl.id = ask.id;
        a->call.lease_ttl.keys = ask.keys;
    }
    store_submit(s, &a->call);
}

void core_on_lease_answer(struct store *s, struct bytes body)
{
    _cleanup_arena_ struct arena arena = {.limit = READ_ARENA_BYTES_MAX};
    struct lease_answer answer;
    struct store_reply reply = {.header = store_header(s)};
    struct store_call *c;

    if (lease_answer_decode(body, &arena, &answer) < 0) {
        log_debug("malformed answer to a lease question");
        return;
    }
    c = core_call_find(s, answer.sequence);
    if (c == NULL || c->state_ != CALL_FORWARDED) {
        return; /* answered already, or given up */
    }
    if (answer.status == DECREE_ENOT_LEADER) {
        MARK("lease_asked_of_no_leader");
        return; /* asked again when the leader is known, at the next tick at the latest */
    }
    reply.lease = answer.reply;
    /* What the leader said is at its revision, which this member may not have applied yet. */
    reply.header.revision = MAX(reply.header.revision, answer.revision);
    core_answer(s, c, answer.status, answer.status < 0 ? NULL : &reply);
}
