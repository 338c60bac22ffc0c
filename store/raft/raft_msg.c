/* Messages: what their fields mean, which ones are believed, and when they may leave.
 *
 * type             term        fields
 * VOTE             new term    prev = candidate's last entry; transfer = ignore leases
 * VOTE_REPLY       own         reject
 * PREVOTE          own + 1     prev as in VOTE: "would you vote for me in that term?"
 * PREVOTE_REPLY    granted: the term asked for; rejected: own; reject
 * APPEND           own         prev, entries after it, commit
 * APPEND_REPLY     own         accepted: index = durable and matching up to here;
 *                              rejected: index = the prev refused, hint = where the logs may meet
 * HEARTBEAT        own         commit = min(match, commit); context = read round or 0;
 *                              index = match: what this member acknowledged; prev = the entry
 *                              there, if it is still known
 * HEARTBEAT_REPLY  own         context as received; index = matching up to here, durable or not
 * PROPOSE          own: the leadership it is meant for; entries: types and payloads, no ids
 * READ             own         context = of the asker
 * READ_REPLY       own         context of the asker; index, or reject = ask again
 * TIMEOUT_NOW      own         (stand for election at once)
 * REPAIR_ASK       own         context = session of the repair
 * REPAIR_REPLY     own         context as received; reject = under repair as well
 * REPAIR_GOAL      own         context = session; index = healed when all up to here is durable
 * REPAIR_DONE      own         context as in REPAIR_GOAL
 *
 * APPEND_REPLY and HEARTBEAT_REPLY of a member under repair carry repairing, and its session as
 * context; so a heartbeat's answer then confirms no read round.
 *
 * Fields not named are zero and not read. A reply whose term is higher tells a stale sender so.
 *
 * Whatever speaks for a term or a vote waits here until that is durable: a member that forgot
 * either in a crash could vote twice (R2-R4). PROPOSE and READ only ask, and pass. */
#include "buggify.h"
#include "raft_internal.h"

enum {
    /* Messages that wait for one write of term and vote: votes to and from every member a few times
     * over. Beyond it, as if the network had lost them. */
    HELD_MAX = 8 * RAFT_MEMBERS_MAX,
};

/* No cluster counts this far; a number beyond it is damage, and refusing it here means that no sum
 * elsewhere can overflow. */
#define COUNT_MAX ((uint64_t)1 << 62)

void raft_outbox_deinit(struct raft_outbox *o)
{
    raft_outbox_clear(o);
    free(o->msgs);
    free(o->held);
    free(o->entries);
    *o = (struct raft_outbox){0};
}

void raft_outbox_clear(struct raft_outbox *o)
{
    for (size_t i = 0; i < o->n_entries; i++) {
        buf_unref(o->entries[i].payload);
    }
    o->n_entries = 0;
    o->n = 0;
}

static bool payload_is_sane(const struct raft_entry *e)
{
    struct raft_conf conf;

    if (e->payload == NULL) {
        return false;
    }
    return e->type == RAFT_ENTRY_NORMAL ||
        (e->type == RAFT_ENTRY_CONF && raft_conf_decode(buf_bytes(e->payload), &conf, NULL) == 0);
}

/* An unbroken run after prev, terms rising to the sender's at most. */
static bool run_is_sane(const struct raft_msg *m)
{
    struct raft_entry_id last = m->prev;

    for (size_t i = 0; i < m->n_entries; i++) {
        const struct raft_entry *e = &m->entries[i];

        if (e->id.index != last.index + 1 || e->id.term < last.term || e->id.term == 0 ||
            e->id.term > m->term || !payload_is_sane(e)) {
            return false;
        }
        last = e->id;
    }
    return true;
}

bool raft_msg_is_sane(const struct raft *r, const struct raft_msg *m)
{
    if (m->type < RAFT_MSG_VOTE || m->type >= RAFT_MSG_TYPE_END || m->to != r->options.id ||
        m->from == RAFT_NONE || m->from == r->options.id || m->term == 0 || m->term > COUNT_MAX) {
        return false;
    }
    if (m->prev.index > COUNT_MAX || m->prev.term > m->term || m->n_entries > COUNT_MAX / 2 ||
        (m->prev.index == 0) != (m->prev.term == 0) || m->index > COUNT_MAX) {
        return false;
    }
    switch (m->type) {
    case RAFT_MSG_APPEND:
        return run_is_sane(m);
    case RAFT_MSG_PROPOSE:
        for (size_t i = 0; i < m->n_entries; i++) {
            if (!payload_is_sane(&m->entries[i])) {
                return false;
            }
        }
        return true;
    case RAFT_MSG_READ:
    case RAFT_MSG_READ_REPLY:
    case RAFT_MSG_REPAIR_ASK:
    case RAFT_MSG_REPAIR_REPLY:
    case RAFT_MSG_REPAIR_GOAL:
    case RAFT_MSG_REPAIR_DONE:
        return m->context != 0;
    case RAFT_MSG_APPEND_REPLY:
    case RAFT_MSG_HEARTBEAT_REPLY:
        return !m->repairing || m->context != 0;
    default:
        return true;
    }
}

bool raft_install_is_sane(const struct raft *r, const struct raft_event *event)
{
    struct raft_entry_id id = event->install.id;

    return id.index > 0 && id.index <= COUNT_MAX && id.term > 0 && id.term <= event->install.term &&
        event->install.term <= COUNT_MAX && event->install.from != RAFT_NONE &&
        event->install.from != r->options.id && event->install.conf->n > 0 &&
        event->install.conf->n <= RAFT_MEMBERS_MAX;
}

struct raft_msg raft_msg_make(const struct raft *r, enum raft_msg_type type, uint64_t to)
{
    return (struct raft_msg){.type = type, .from = r->options.id, .to = to, .term = r->term};
}

static void push_ready(struct raft_outbox *o, const struct raft_msg *m)
{
    o->msgs = raft_grow(o->msgs, o->n, &o->cap, sizeof(*o->msgs));
    o->msgs[o->n++] = *m;
}

void raft_msg_push(struct raft *r, const struct raft_msg *m)
{
    struct raft_outbox *o = &r->out;

    if (!raft_stable_hard_pending(&r->stable) || m->type == RAFT_MSG_PROPOSE ||
        m->type == RAFT_MSG_READ) {
        push_ready(o, m);
    } else if (o->n_held < HELD_MAX) {
        o->held = raft_grow(o->held, o->n_held, &o->held_cap, sizeof(*o->held));
        o->held[o->n_held++] = *m;
    }
}

void raft_msg_drop_held(struct raft *r)
{
    if (r->out.n_held != 0) {
        MARK("held_messages_dropped");
    }
    r->out.n_held = 0;
}

void raft_msg_release_held(struct raft *r)
{
    for (size_t i = 0; i < r->out.n_held; i++) {
        push_ready(&r->out, &r->out.held[i]);
    }
    r->out.n_held = 0;
}

static void forward_entry(struct raft_outbox *o, const struct raft_proposal *p)
{
    o->entries = raft_grow(o->entries, o->n_entries, &o->entries_cap, sizeof(*o->entries));
    o->entries[o->n_entries++] =
        (struct raft_entry){.type = p->type, .payload = buf_ref(p->payload)};
}

void raft_msg_forward(struct raft *r, const struct raft_proposal *list, size_t n)
{
    struct raft_msg m = raft_msg_make(r, RAFT_MSG_PROPOSE, r->leader);
    size_t bytes = 0;

    for (size_t i = 0; i < n; i++) {
        if (m.n_entries != 0 && bytes + list[i].payload->len > r->options.append_bytes_max) {
            raft_msg_push(r, &m);
            m.n_entries = 0;
            bytes = 0;
        }
        forward_entry(&r->out, &list[i]);
        m.n_entries++;
        bytes += list[i].payload->len;
    }
    if (m.n_entries != 0) {
        raft_msg_push(r, &m);
    }
}

void raft_msg_bind_entries(struct raft *r)
{
    const struct raft_entry *next = r->out.entries;

    for (size_t i = 0; i < r->out.n; i++) {
        if (r->out.msgs[i].type == RAFT_MSG_PROPOSE) {
            r->out.msgs[i].entries = next;
            next += r->out.msgs[i].n_entries;
        }
    }
}
