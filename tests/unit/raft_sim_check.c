/* The promises that raft_sim.h lists. */
#include "raft_sim_impl.h"

/* ---- entries and votes ---- */

static uint64_t sim_mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0xff51afd7ed558ccdu;
    return h ^ (h >> 32);
}

static uint64_t sim_payload_hash(const struct raft_entry *e)
{
    uint64_t h = 14695981039346656037u + (uint64_t)e->type;

    for (uint32_t i = 0; i < e->payload->len; i++) {
        h = (h ^ e->payload->data[i]) * 1099511628211u;
    }
    return h;
}

uint64_t sim_hash_next(uint64_t hash, const struct raft_entry *e)
{
    return sim_mix(sim_mix(hash, e->id.index), sim_mix(e->id.term, sim_payload_hash(e)));
}

void sim_register_commit(struct sim *s, uint64_t term, uint64_t hash)
{
    s->committed = sim_grow(s->committed, s->n_committed, &s->committed_cap, sizeof(*s->committed));
    s->committed[s->n_committed++] = (struct sim_committed){term, hash};
}

uint64_t sim_committed_index(const struct sim *s)
{
    return s->n_committed - 1;
}

/* Same index and term mean the same entry after an entry of the same term: log matching, entry by
 * entry. */
void sim_check_entry(struct sim *s, const struct raft_entry *e, uint64_t prev_term)
{
    uint64_t hash = hmap_hash_u64(sim_mix(e->id.term, e->id.index));
    uint64_t payload = sim_payload_hash(e);
    struct sim_known *k;

    for (struct hmap_node *i = hmap_first(&s->known, hash); i != NULL; i = hmap_next_same(i)) {
        k = container_of(i, struct sim_known, node);
        if (k->id.index == e->id.index && k->id.term == e->id.term) {
            SIM_CHECK(s, k->payload == payload && k->prev_term == prev_term,
                "two entries are %llu/%llu", (unsigned long long)e->id.term,
                (unsigned long long)e->id.index);
            return;
        }
    }
    k = xmalloc(sizeof(*k));
    *k = (struct sim_known){.id = e->id, .prev_term = prev_term, .payload = payload};
    hmap_insert(&s->known, &k->node, hash);
}

void sim_check_vote(struct sim *s, uint64_t node, uint64_t term, uint64_t vote)
{
    SIM_CHECK(s, term < SIM_TERMS_MAX, "terms explode: %llu", (unsigned long long)term);
    s->max_term = MAX(s->max_term, term);
    SIM_CHECK(s, vote == 0 || s->vote_of[node][term] == 0 || s->vote_of[node][term] == vote,
        "%llu voted twice in term %llu", (unsigned long long)node, (unsigned long long)term);
    s->vote_of[node][term] = vote != 0 ? vote : s->vote_of[node][term];
}

/* ---- what leaves ---- */

void sim_check_msg(struct sim *s, struct sim_node *n, const struct raft_msg *m)
{
    bool is_pre = m->type == RAFT_MSG_PREVOTE || m->type == RAFT_MSG_PREVOTE_REPLY;
    bool asks = m->type == RAFT_MSG_PROPOSE || m->type == RAFT_MSG_READ;

    SIM_CHECK(s, m->from == n->id && m->to != n->id && m->to != 0, "bad addresses");
    uint64_t term = MAX(n->term, n->n_log != 0 ? n->log[n->n_log - 1].id.term : n->base.term);

    SIM_CHECK(s, is_pre || asks || term >= m->term, "%d speaks for term %llu before it is durable",
        (int)n->id, (unsigned long long)m->term);
    if (m->type == RAFT_MSG_VOTE || (m->type == RAFT_MSG_VOTE_REPLY && !m->reject)) {
        uint64_t vote = m->type == RAFT_MSG_VOTE ? n->id : m->to;

        SIM_CHECK(
            s, n->term > m->term || n->vote == vote, "%d votes before it is durable", (int)n->id);
        sim_check_vote(s, n->id, m->term, vote);
    }
    for (size_t i = 0; m->type == RAFT_MSG_APPEND && i < m->n_entries; i++) {
        sim_check_entry(s, &m->entries[i], i != 0 ? m->entries[i - 1].id.term : m->prev.term);
    }
    if (m->type == RAFT_MSG_APPEND_REPLY && !m->reject) {
        SIM_CHECK(s, MAX(sim_disk_last(n), n->snap.index) >= m->index,
            "%d acknowledges %llu before it is durable", (int)n->id, (unsigned long long)m->index);
    }
}

/* ---- where a member stands ---- */

static bool sim_stands_on(struct sim *s, const struct raft_conf *conf, struct raft_entry_id id)
{
    size_t voters = 0, durable = 0;

    for (size_t i = 0; i < conf->n; i++) {
        if (!conf->members[i].learner) {
            voters++;
            durable += sim_disk_had(&s->nodes[conf->members[i].id], id);
        }
    }
    return durable > voters / 2;
}

/* By the configuration in force, or for an entry that adds a voter, and those before it, by the one
 * without it. */
static void sim_check_quorum(struct sim *s, const struct raft *r, struct raft_entry_id id)
{
    const struct raft_conf *now = raft_conf(r);
    const struct raft_conf *before = raft_conf_at(r, id.index != 0 ? id.index - 1 : 0);
    bool grew = raft_conf_at(r, id.index) != before || now != raft_conf_at(r, id.index);
    size_t more = 0, less = 0;

    for (size_t i = 0; i < now->n; i++) {
        more += !now->members[i].learner;
    }
    for (size_t i = 0; i < before->n; i++) {
        less += !before->members[i].learner;
    }
    SIM_CHECK(s,
        sim_stands_on(s, now, id) || (grew && more == less + 1 && sim_stands_on(s, before, id)),
        "commit %llu/%llu stands on no majority of %zu", (unsigned long long)id.term,
        (unsigned long long)id.index, more);
}

static void sim_check_leader(struct sim *s, struct sim_node *n, const struct raft_status *st)
{
    uint64_t last = sim_committed_index(s);

    SIM_CHECK(s, st->term < SIM_TERMS_MAX, "terms explode: %llu", (unsigned long long)st->term);
    s->max_term = MAX(s->max_term, st->term);
    n->led = st->term;
    if (s->leader_of[st->term] == 0) {
        s->leader_of[st->term] = n->id;
        s->n_elections++;
        SIM_CHECK(s,
            last < st->first_index - 1 || raft_term_of(n->r, last) == s->committed[last].term,
            "%d leads term %llu without the committed entry %llu", (int)n->id,
            (unsigned long long)st->term, (unsigned long long)last);
    }
    SIM_CHECK(s, s->leader_of[st->term] == n->id, "two leaders in term %llu",
        (unsigned long long)st->term);
}

static void sim_check_commit(struct sim *s, struct sim_node *n, const struct raft_status *st)
{
    SIM_CHECK(s, st->commit >= n->commit, "%d: commit goes back from %llu to %llu", (int)n->id,
        (unsigned long long)n->commit, (unsigned long long)st->commit);
    n->commit = st->commit;
    if (st->commit <= sim_committed_index(s)) {
        return;
    }
    SIM_CHECK(s, n->led == st->term, "follower %d knows of commit %llu before any leader",
        (int)n->id, (unsigned long long)st->commit);
    SIM_CHECK(s, raft_term_of(n->r, st->commit) == st->term,
        "%d counted an entry of an older term: %llu", (int)n->id, (unsigned long long)st->commit);
    sim_check_quorum(s, n->r, (struct raft_entry_id){st->term, st->commit});
    while (sim_committed_index(s) < st->commit) {
        uint64_t i = s->n_committed;
        const struct raft_entry *e = raft_entries(n->r, i, i);

        sim_register_commit(s, e->id.term, sim_hash_next(s->committed[i - 1].hash, e));
    }
}

void sim_check_node(struct sim *s, struct sim_node *n)
{
    struct raft_status st;

    raft_status(n->r, &st);
    if (st.role == RAFT_LEADER) {
        sim_check_leader(s, n, &st);
    }
    sim_check_commit(s, n, &st);
    SIM_CHECK(
        s, st.uncommitted_bytes <= SIZE_MAX / 2, "%d: uncommitted bytes below zero", (int)n->id);
}
