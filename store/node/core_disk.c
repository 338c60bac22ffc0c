/* Persist batches: raft hands them out in order, the log takes them in order and reports each one.
 * Many may be on their way; the log's thread merges what waits into one write. What the log has no
 * room for waits here: nothing is acknowledged meanwhile, and leader and senders are held off by
 * wal_has_room, so little of it comes. */
#include <inttypes.h>

#include "core.h"

struct persist {
    struct store *s;
    uint64_t seq;
    struct list link; /* in s->persists until the log has taken it */
    struct wal_append_req req;
    size_t n; /* entries that hold a reference, even when req.n_entries is less */
    struct wal_entry entries[];
};

static void persist_free(struct persist *p)
{
    for (size_t i = 0; i < p->n; i++) {
        buf_unref(p->entries[i].payload);
    }
    free(p);
}

static void persist_on_done(struct wal_append_req *req, int status)
{
    struct persist *p = req->data;
    struct store *s = p->s;

    if (status == 0 && s->state != CORE_STOPPED) {
        (void)core_step(s, &(struct raft_event){.type = RAFT_EV_PERSISTED, .seq = p->seq});
        core_mark(s);
    }
    persist_free(p);
}

/* Said once each way. A leader without room lets another one lead, once: where all are full it
 * stays with whoever has it then, and reads go on. */
static void note_room(struct store *s, bool room)
{
    if (room == !s->disk_full) {
        return;
    }
    s->disk_full = !room;
    s->hand_over_due = !room;
    if (room) {
        MARK("disk_has_room_again");
        log_info("the log has room again in %s", s->o.data_dir);
    } else {
        log_error(
            "no room for the log in %s: writes are refused here until there is", s->o.data_dir);
    }
}

bool core_disk_has_room(struct store *s, size_t n_entries, size_t bytes)
{
    bool room = wal_has_room_for(s->wal, n_entries, bytes) && list_empty(&s->persists);

    if (!room) {
        s->refused_bytes = MAX(s->refused_bytes, bytes);
        note_room(s, false);
    }
    return room;
}

bool core_disk_hands_over(const struct store *s)
{
    struct raft_status now;

    raft_status(s->raft, &now);
    return s->hand_over_due || now.handing_over;
}

/* Said once each way, when the time has passed after which a leader lets another one lead. */
static void note_hang(struct store *s)
{
    uint64_t now = core_now(s);
    struct raft_status status;
    bool hangs;

    raft_status(s->raft, &status);
    hangs = status.disk_ticks >= s->o.election_ticks;
    if (hangs == s->disk_hangs) {
        return;
    }
    s->disk_hangs = hangs;
    if (hangs) {
        s->disk_hangs_since_ms = now;
        log_error("the disk does not answer: a write to %s/wal has been under way for an election "
                  "timeout, nothing is acknowledged here until it is done, and a leader lets "
                  "another member lead: look at the disk",
            s->o.data_dir);
    } else {
        log_info("the disk answers again dir=%s after_ms=%" PRIu64, s->o.data_dir,
            now - s->disk_hangs_since_ms);
    }
}

void core_disk_tick(struct store *s)
{
    note_hang(s);
    if (s->disk_full) {
        (void)wal_has_room_for(s->wal, 1, s->refused_bytes); /* asked, the log looks again */
    }
    core_persist_retry(s);
    if (s->disk_full && core_disk_has_room(s, 1, s->refused_bytes)) {
        s->refused_bytes = 0;
        note_room(s, true);
    }
    if (s->hand_over_due && core_leads(s)) {
        MARK("full_disk_hands_over");
        (void)core_hand_over(s);
    }
    s->hand_over_due = false;
}

void core_persist_retry(struct store *s)
{
    while (!list_empty(&s->persists)) {
        struct persist *p = list_entry(s->persists.next, struct persist, link);

        if (wal_append(s->wal, &p->req) != 0) {
            MARK("persist_waits_for_room");
            note_room(s, false);
            return;
        }
        list_del(&p->link);
    }
}

void core_persist(struct store *s, const struct raft_persist *rp)
{
    struct persist *p = xmalloc(sizeof(*p) + rp->n_entries * sizeof(p->entries[0]));

    *p = (struct persist){.s = s, .seq = rp->seq, .n = rp->n_entries};
    for (size_t i = 0; i < rp->n_entries; i++) {
        const struct raft_entry *e = &rp->entries[i];

        p->entries[i] = (struct wal_entry){.index = e->id.index,
            .term = e->id.term,
            .type = (uint8_t)e->type,
            .payload = buf_ref(e->payload)};
    }
    p->req = (struct wal_append_req){.has_hard = rp->hard_changed,
        .term = rp->term,
        .vote = rp->vote,
        .repairing = rp->repairing,
        .entries = p->entries,
        .n_entries = p->n,
        .cb = persist_on_done,
        .data = p};
    list_add_tail(&s->persists, &p->link);
    core_persist_retry(s);
}

void core_persist_forget_entries(struct store *s)
{
    list_for_each (it, &s->persists) {
        struct wal_append_req *req = &list_entry(it, struct persist, link)->req;

        req->n_entries = 0;
        req->has_hard =
            true; /* something must carry its place in the order: what is known anyway */
    }
}

void core_persist_drop(struct store *s)
{
    while (!list_empty(&s->persists)) {
        struct persist *p = list_entry(s->persists.next, struct persist, link);

        list_del(&p->link);
        persist_free(p);
    }
}
