/* What the leader knows of each member, and what it sends from that.
 *
 *             append accepted                    window [match + 1, next) on the way,
 *   PROBE ------------------------> REPLICATE    next moves as entries are sent
 *     ^  <------------------------      |
 *     |   rejected, unreachable         | needs entries below the first one kept
 *     |                                 v
 *     +------ stream ended ------- SNAPSHOT      nothing is sent but heartbeats
 *
 * PROBE sends one append and waits for its answer, or for a heartbeat's, so that a member that is
 * down costs one message a heartbeat. REPLICATE does not wait, up to a window in messages and in
 * bytes. Its window empties with acknowledgements. When a heartbeat is answered while some are
 * outstanding, an empty append at the end (ping) has the last one repeated, or is refused and says
 * where to go on: so neither a lost append nor a lost answer stops it. */
#include "buggify.h"
#include "raft_internal.h"

/* ---- the window ---- */

static bool window_is_full(const struct raft *r, const struct raft_window *w)
{
    return w->n >= r->options.inflight_msgs_max || w->bytes >= r->options.inflight_bytes_max ||
        (w->n > 0 && BUGGIFY("window_full"));
}

static void window_grow(struct raft_window *w)
{
    size_t cap = MAX(w->cap * 2, (size_t)8);
    struct raft_inflight *ring = xreallocarray(NULL, cap, sizeof(*ring));

    for (size_t i = 0; i < w->n; i++) {
        ring[i] = w->ring[(w->head + i) & (w->cap - 1)];
    }
    free(w->ring);
    *w = (struct raft_window){.ring = ring, .n = w->n, .cap = cap, .bytes = w->bytes};
}

static void window_add(struct raft_window *w, uint64_t last, size_t bytes)
{
    if (w->n == w->cap) {
        window_grow(w);
    }
    w->ring[(w->head + w->n++) & (w->cap - 1)] = (struct raft_inflight){last, bytes};
    w->bytes += bytes;
}

static void window_ack(struct raft_window *w, uint64_t index)
{
    while (w->n > 0 && w->ring[w->head].last <= index) {
        w->bytes -= w->ring[w->head].bytes;
        w->head = (w->head + 1) & (w->cap - 1);
        w->n--;
    }
}

static void window_clear(struct raft_window *w)
{
    w->head = w->n = w->bytes = 0;
}

/* ---- the peers ---- */

void raft_peer_reset(struct raft_peer *p, uint64_t next)
{
    struct raft_window window = p->window;

    window_clear(&window);
    *p = (struct raft_peer){
        .id = p->id, .learner = p->learner, .state = RAFT_PROBE, .next = next, .window = window};
}

void raft_peers_reset(struct raft *r)
{
    for (size_t i = 0; i < r->n_peers; i++) {
        raft_peer_reset(&r->peers[i], raft_log_last(&r->log) + 1);
    }
}

struct raft_peer *raft_peer_find(struct raft *r, uint64_t id)
{
    for (size_t i = 0; i < r->n_peers; i++) {
        if (r->peers[i].id == id) {
            return &r->peers[i];
        }
    }
    return NULL;
}

void raft_peers_rebuild(struct raft *r)
{
    const struct raft_conf *conf = &raft_confs_last(&r->confs)->conf;
    struct raft_peer old[RAFT_MEMBERS_MAX];
    size_t n_old = r->n_peers;

    memcpy(old, r->peers, n_old * sizeof(*old));
    for (size_t i = 0; i < conf->n; i++) {
        struct raft_peer *p = &r->peers[i];

        *p = (struct raft_peer){.id = conf->members[i].id, .next = raft_log_last(&r->log) + 1};
        for (size_t j = 0; j < n_old; j++) {
            if (old[j].id == p->id) {
                *p = old[j];
                old[j].window.ring = NULL;
            }
        }
        p->learner = conf->members[i].learner;
    }
    for (size_t j = 0; j < n_old; j++) {
        free(old[j].window.ring);
    }
    r->n_peers = conf->n;
    r->self = raft_peer_find(r, r->options.id);
    r->quorum_dirty = true;
}

void raft_peers_deinit(struct raft *r)
{
    for (size_t i = 0; i < r->n_peers; i++) {
        free(r->peers[i].window.ring);
    }
    r->n_peers = 0;
}

bool raft_peer_is_recent(const struct raft *r, const struct raft_peer *p)
{
    return p == r->self || r->ticks - p->heard_at < r->options.election_ticks;
}

bool raft_peers_quorum_recent(const struct raft *r)
{
    size_t recent = 0;

    for (size_t i = 0; i < r->n_peers; i++) {
        const struct raft_peer *p = &r->peers[i];

        recent += !p->learner && p->repair == 0 && raft_peer_is_recent(r, p);
    }
    return raft_quorum_vote(raft_voters(r), recent, 0) == RAFT_VOTE_WON;
}

/* The highest index that a majority of the voters of conf, all of them peers, have made durable. */
static uint64_t conf_match(struct raft *r, const struct raft_conf *conf)
{
    uint64_t match[RAFT_MEMBERS_MAX];
    size_t n = 0;

    for (size_t i = 0; i < conf->n; i++) {
        if (!conf->members[i].learner) {
            const struct raft_peer *p = raft_peer_find(r, conf->members[i].id);

            match[n++] = p == r->self ? r->stable.index : p->repair == 0 ? p->match : 0;
        }
    }
    return raft_quorum_value(match, n);
}

/* A change that adds a voter commits as well when a majority of those before it have it: the new
 * one may not have been started yet, least of all where it is the second of two. That is as safe,
 * since any majority of the one configuration shares a member with any majority of the other. What
 * comes after the change counts the new voter. */
uint64_t raft_peers_quorum_match(struct raft *r)
{
    const struct raft_conf_at *now = raft_confs_last(&r->confs);
    uint64_t match = conf_match(r, &now->conf);
    const struct raft_conf *before;

    if (now->index <= r->commit) {
        return match;
    }
    before = raft_confs_at(&r->confs, now->index - 1);
    if (!raft_conf_grew(before, &now->conf)) {
        return match;
    }
    return MAX(match, MIN(conf_match(r, before), now->index));
}

static void become_probe(struct raft_peer *p, uint64_t next)
{
    p->state = RAFT_PROBE;
    p->next = MAX(next, p->match + 1);
    p->probe_sent = false;
    p->ping = false;
    window_clear(&p->window);
}

static void become_replicate(struct raft_peer *p, uint64_t next)
{
    p->state = RAFT_REPLICATE;
    p->next = next;
    p->probe_sent = false;
    p->ping = false;
    window_clear(&p->window);
}

/* ---- answers ---- */

static void on_rejected(struct raft *r, struct raft_peer *p, const struct raft_msg *m)
{
    uint64_t meet = raft_log_find(&r->log, m->hint).index;

    if (p->state == RAFT_SNAPSHOT || m->index <= p->match || m->index >= p->next ||
        (p->state == RAFT_PROBE && m->index != p->next - 1)) {
        return; /* answers something that was overtaken since, or never sent */
    }
    become_probe(p, MIN(m->index, meet + 1));
}

static void on_accepted(struct raft *r, struct raft_peer *p, uint64_t index)
{
    if (index > p->match) {
        p->match = index;
        r->quorum_dirty = true;
    }
    p->next = MAX(p->next, p->match + 1);
    window_ack(&p->window, index);
    if (p->state == RAFT_PROBE && index + 1 >= p->next) {
        become_replicate(p, p->match + 1);
    } else if (p->state == RAFT_SNAPSHOT && p->match >= r->log.before.index) {
        become_probe(p, p->match + 1);
    }
}

void raft_on_append_reply(struct raft *r, struct raft_peer *p, const struct raft_msg *m)
{
    if (!raft_repair_hear(r, p, m)) {
        return;
    }
    p->heard_at = r->ticks;
    if (m->reject) {
        on_rejected(r, p, m);
    } else if (m->index <= raft_log_last(&r->log)) {
        on_accepted(r, p, m->index);
    }
}

void raft_on_heartbeat_reply(struct raft *r, struct raft_peer *p, const struct raft_msg *m)
{
    if (!raft_repair_hear(r, p, m)) {
        return;
    }
    p->heard_at = r->ticks;
    if (!m->repairing && m->context > p->read_ack && m->context <= r->reads.nonce) {
        p->read_ack = m->context;
    }
    if (p->state == RAFT_PROBE) {
        /* It has the probe's entries and its disk is slow: no reason to send them again. */
        if (m->index >= p->next && m->index <= raft_log_last(&r->log)) {
            become_replicate(p, m->index + 1);
        }
        p->probe_sent = false;
    } else if (p->state == RAFT_REPLICATE && MIN(m->index, p->match) + 1 < p->next) {
        /* Appends or the answers to them may be lost, or it has started anew since. */
        MARK("append_asked_for_again");
        p->ping = true;
    }
}

void raft_on_unreachable(struct raft *r, uint64_t peer)
{
    struct raft_peer *p = raft_peer_find(r, peer);

    if (r->role == RAFT_LEADER && p != NULL && p->state == RAFT_REPLICATE) {
        become_probe(p, p->match + 1);
    }
}

/* The member's own word comes with its answer to the probe; until then its match stays. A failed
 * stream is asked for again, but not before an election timeout has passed: a member whose disk is
 * full refuses every one, and heartbeats are as frequent as reads. */
void raft_on_snapshot_status(struct raft *r, uint64_t peer, uint64_t index, bool ok)
{
    struct raft_peer *p = raft_peer_find(r, peer);

    if (r->role == RAFT_LEADER && p != NULL && p->state == RAFT_SNAPSHOT) {
        become_probe(p, ok ? MIN(index, raft_log_last(&r->log)) + 1 : 0);
        p->probe_sent = !ok;
        p->refused_at = ok ? p->refused_at : r->ticks;
    }
}

/* ---- sending ---- */

static void send_append(struct raft *r, struct raft_peer *p, size_t bytes_max)
{
    struct raft_msg m = raft_msg_make(r, RAFT_MSG_APPEND, p->id);
    uint64_t last = raft_log_last(&r->log);
    uint64_t end = p->next;
    size_t bytes = 0;

    for (; bytes_max != 0 && end <= last; end++) {
        size_t more = raft_entry_bytes(raft_log_at(&r->log, end));

        if (bytes != 0 && (bytes + more > bytes_max || BUGGIFY("append_short"))) {
            break;
        }
        bytes += more;
    }
    m.prev = (struct raft_entry_id){raft_log_term(&r->log, p->next - 1), p->next - 1};
    m.commit = r->commit;
    m.n_entries = (size_t)(end - p->next);
    m.entries = m.n_entries != 0 ? raft_log_at(&r->log, p->next) : NULL;
    raft_msg_push(r, &m);
    p->commit_sent = r->commit;
    if (p->state == RAFT_PROBE) {
        p->probe_sent = true;
    } else if (m.n_entries != 0) {
        p->next = end;
        window_add(&p->window, end - 1, bytes);
    }
}

static void replicate(struct raft *r, struct raft_peer *p)
{
    const struct raft_options *o = &r->options;

    while (p->next <= raft_log_last(&r->log) && !window_is_full(r, &p->window)) {
        send_append(r, p, MIN(o->append_bytes_max, o->inflight_bytes_max - p->window.bytes));
    }
    /* A commit that no entries carried along is told at once: followers serve reads and watches. */
    if (p->ping || (p->commit_sent < r->commit && !window_is_full(r, &p->window))) {
        send_append(r, p, 0);
        p->ping = false;
    }
}

static void flush_peer(struct raft *r, struct raft_peer *p, struct raft_update *ret)
{
    if (p->state == RAFT_SNAPSHOT || (p->state == RAFT_PROBE && p->probe_sent)) {
        return;
    }
    if (p->next < raft_log_first(&r->log)) {
        /* Reading a snapshot is work: only for one that is there to take it. */
        if (raft_peer_is_recent(r, p) && r->ticks - p->refused_at >= r->options.election_ticks) {
            MARK("follower_needs_snapshot");
            become_probe(p, p->next);
            p->state = RAFT_SNAPSHOT;
            ret->send_snapshot_to[ret->n_send_snapshot++] = p->id;
        }
    } else if (p->state == RAFT_PROBE) {
        send_append(r, p, r->options.append_bytes_max);
    } else {
        replicate(r, p);
    }
}

/* Of an entry still known; else {0, 0}. */
static struct raft_entry_id known_id(const struct raft *r, uint64_t index)
{
    uint64_t term = raft_log_term(&r->log, index);

    return (struct raft_entry_id){.term = term, .index = term != 0 ? index : 0};
}

void raft_peers_flush(struct raft *r, struct raft_update *ret)
{
    for (size_t i = 0; i < r->n_peers; i++) {
        struct raft_peer *p = &r->peers[i];

        if (p == r->self) {
            continue;
        }
        if (r->beat || p->beat) {
            struct raft_msg m = raft_msg_make(r, RAFT_MSG_HEARTBEAT, p->id);

            m.commit = MIN(p->match, r->commit);
            m.index = p->match;
            m.prev = known_id(r, p->match);
            m.context = raft_reads_nonce(r);
            raft_msg_push(r, &m);
            raft_repair_beat(r, p);
            p->beat = false;
        }
        flush_peer(r, p, ret);
    }
    r->beat = false;
}
