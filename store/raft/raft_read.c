/* Read indexes (thesis 6.4): a read may be served from the state at index i when i was the commit
 * index of someone who was the leader after the read was asked for.
 *
 * Leader: all reads of a turn share one round. It notes the commit index, which must be of an entry
 * of its own term (R15; until then they wait), and sends heartbeats with a fresh nonce. Nonces
 * rise, so a member's answer to one confirms that round and all before it, and an answer to an
 * earlier heartbeat, however late, confirms nothing newer (R16). A majority decides as for commit.
 *
 * Follower: the reads of a turn go to the leader as one question under the last one's context; the
 * answer serves it and all asked before. The caller's contexts must not come again, not even after
 * a restart. What a lost answer leaves over fails after an election timeout. */
#include "buggify.h"
#include "raft_internal.h"

enum {
    /* Reads that wait. The node asks once a turn and member, so thousands mean that a round takes
     * as many turns; beyond it they fail at once. */
    READS_MAX = 8192,
};

void raft_reads_deinit(struct raft_reads *q)
{
    free(q->list);
    free(q->results);
    *q = (struct raft_reads){0};
}

static size_t waiting(const struct raft_reads *q)
{
    return q->n - q->head;
}

static void push(struct raft_reads *q, const struct raft_read *read)
{
    if (q->n == q->cap && q->head > q->n / 2) {
        memmove(q->list, q->list + q->head, waiting(q) * sizeof(*q->list));
        q->n -= q->head;
        q->begun -= q->head;
        q->head = 0;
    }
    q->list = raft_grow(q->list, q->n, &q->cap, sizeof(*q->list));
    q->list[q->n++] = *read;
}

static void finish(struct raft *r, const struct raft_read *read, uint64_t index, bool failed)
{
    struct raft_reads *q = &r->reads;

    if (read->from != r->options.id) {
        struct raft_msg m = raft_msg_make(r, RAFT_MSG_READ_REPLY, read->from);

        m.context = read->context;
        m.index = index;
        m.reject = failed;
        raft_msg_push(r, &m);
        return;
    }
    q->results = raft_grow(q->results, q->n_results, &q->results_cap, sizeof(*q->results));
    q->results[q->n_results++] =
        (struct raft_read_result){.context = read->context, .index = index, .failed = failed};
}

static void enqueue(struct raft *r, uint64_t from, uint64_t context)
{
    struct raft_read read = {.context = context, .from = from, .since = r->ticks};

    if (waiting(&r->reads) < READS_MAX) {
        push(&r->reads, &read);
    } else {
        finish(r, &read, 0, true);
    }
}

int raft_on_read(struct raft *r, uint64_t context)
{
    decree_assert(context != 0);
    if (r->leader == RAFT_NONE) {
        return RAFT_NOT_LEADER;
    }
    enqueue(r, r->options.id, context);
    return RAFT_OK;
}

void raft_on_read_msg(struct raft *r, const struct raft_msg *m)
{
    struct raft_read read = {.context = m->context, .from = m->from};

    if (r->role == RAFT_LEADER) {
        enqueue(r, m->from, m->context);
    } else {
        finish(r, &read, 0, true);
    }
}

void raft_on_read_reply(struct raft *r, const struct raft_msg *m)
{
    struct raft_reads *q = &r->reads;
    size_t i = q->head;

    if (r->role != RAFT_FOLLOWER || r->leader != m->from) {
        return;
    }
    while (i < q->begun && q->list[i].context != m->context) {
        i++;
    }
    if (i == q->begun) {
        return; /* of a question that was given up */
    }
    while (q->head <= i) {
        finish(r, &q->list[q->head++], m->reject ? 0 : m->index, m->reject);
    }
}

void raft_reads_drop(struct raft *r)
{
    struct raft_reads *q = &r->reads;

    for (; q->head < q->n; q->head++) {
        if (q->list[q->head].from == r->options.id) {
            finish(r, &q->list[q->head], 0, true);
        }
    }
    q->head = q->n = q->begun = 0;
}

void raft_reads_tick(struct raft *r)
{
    struct raft_reads *q = &r->reads;

    while (r->role == RAFT_FOLLOWER && q->head < q->begun &&
        r->ticks - q->list[q->head].since >= r->options.election_ticks) {
        finish(r, &q->list[q->head++], 0, true);
    }
}

static void ask_leader(struct raft *r)
{
    struct raft_reads *q = &r->reads;
    struct raft_msg m = raft_msg_make(r, RAFT_MSG_READ, r->leader);

    m.context = q->list[q->n - 1].context;
    raft_msg_push(r, &m);
    q->begun = q->n;
}

static void begin_round(struct raft *r)
{
    struct raft_reads *q = &r->reads;

    q->nonce++;
    for (; q->begun < q->n; q->begun++) {
        q->list[q->begun].round = q->nonce;
        q->list[q->begun].index = r->commit;
    }
    r->beat = true;
}

uint64_t raft_reads_confirmed(const struct raft *r)
{
    uint64_t acks[RAFT_MEMBERS_MAX];
    size_t n = 0;

    for (size_t i = 0; i < r->n_peers; i++) {
        const struct raft_peer *p = &r->peers[i];

        if (!p->learner) {
            acks[n++] = p == r->self ? r->reads.nonce : p->read_ack;
        }
    }
    return raft_quorum_value(acks, n);
}

void raft_reads_flush(struct raft *r)
{
    struct raft_reads *q = &r->reads;
    bool unasked = q->begun < q->n;
    uint64_t confirmed;

    if (q->head == q->n) {
        return;
    }
    if (r->role != RAFT_LEADER) {
        if (unasked) {
            ask_leader(r);
        }
        return;
    }
    if (unasked && raft_log_term(&r->log, r->commit) == r->term) {
        begin_round(r);
    }
    confirmed = raft_reads_confirmed(r);
    while (q->head < q->begun && q->list[q->head].round <= confirmed) {
        finish(r, &q->list[q->head], q->list[q->head].index, false);
        q->head++;
    }
}

uint64_t raft_reads_nonce(const struct raft *r)
{
    return r->reads.head < r->reads.begun || raft_repair_is_led(r) ? r->reads.nonce : 0;
}
