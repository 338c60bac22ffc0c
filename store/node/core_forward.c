/* What becomes of a proposal that went to the leader and did not come back as an entry.
 *
 * The leader says so when it cannot take it (too much under way, no room on its disk): the frame
 * names the calls, and their answer is as definite as for a call of its own, since what was refused
 * once is dropped if the network brings it again (core.c). Where nobody can say, because the link
 * broke behind it or the leader is handing over, it is in doubt: what is not applied within two
 * election timeouts of that leadership is answered with the code that says so, long before its
 * deadline. Another leadership settles the matter by itself: it is proposed again (core_call.c). */
#include "core.h"

static bool is_before(uint64_t id, uint64_t other)
{
    return (int64_t)(id - other) < 0;
}

void core_forward_refuse(struct store *s, uint64_t to, const struct raft_msg *m, int status)
{
    struct proposals_refused r = {.term = m->term, .status = status};
    _cleanup_arena_ struct arena arena = {0};
    struct buf *frame;

    r.sequences = arena_calloc(&arena, m->n_entries, sizeof(*r.sequences));
    for (size_t i = 0; i < m->n_entries; i++) {
        struct entry e;
        int err = entry_decode(buf_bytes(m->entries[i].payload), &arena, &e);

        decree_assert(err == 0); /* read when it came */
        if (e.id.origin == to) {
            r.sequences[r.n++] = e.id.sequence;
        }
    }
    frame = proposals_refused_encode(&r);
    s->env->send(s->env->data, to, &frame, 1);
    s->flush_due = true;
    core_mark(s);
    buf_unref(frame);
}

void core_forward_doubt(struct store *s)
{
    struct calls *k = &s->calls;

    if (core_leads(s) || k->doubt_ticks != 0 || list_empty(&k->proposed)) {
        return;
    }
    k->doubt_id = k->next_id;
    k->doubt_term = s->status.term;
    /* Longer than it takes to see that the leader is silent: then the next one settles it. */
    k->doubt_ticks = 2 * s->o.election_ticks;
}

void core_on_proposals_refused(struct store *s, uint64_t from, struct bytes body)
{
    _cleanup_arena_ struct arena arena = {.limit = READ_ARENA_BYTES_MAX};
    struct proposals_refused r;

    if (from != s->status.leader || proposals_refused_decode(body, &arena, &r) < 0) {
        log_debug("refusal of proposals dropped: malformed or not the leader's");
        return;
    }
    if (r.status == DECREE_ENOT_LEADER) {
        core_forward_doubt(s);
        return;
    }
    for (size_t i = 0; i < r.n; i++) {
        struct store_call *c = core_call_find(s, r.sequences[i]);

        if (c != NULL && c->state_ == CALL_PROPOSED && c->term_ == r.term) {
            s->calls.failed++;
            core_refuse(s, c, r.status);
        }
    }
    core_mark(s);
}

void core_forward_tick(struct store *s)
{
    struct calls *k = &s->calls;

    if (k->doubt_ticks == 0 || s->status.leader == RAFT_NONE) {
        return; /* whoever leads next settles it */
    }
    if (s->status.term != k->doubt_term) {
        k->doubt_ticks = 0;
        return;
    }
    if (--k->doubt_ticks > 0) {
        return;
    }
    list_for_each_safe (it, &k->proposed) {
        struct store_call *c = list_entry(it, struct store_call, link_);

        if (c->term_ == k->doubt_term && is_before(c->id_, k->doubt_id)) {
            k->failed++;
            core_refuse(s, c, DECREE_ETIMEOUT_CONNECTION);
        }
    }
}
