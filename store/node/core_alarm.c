/* Alarms as this member raises, obeys and clears them.
 *
 * NOSPACE: a member that had to refuse a write for its quota raises it in its own name and clears
 * it when that write would fit again; while one is active every member refuses writes, as with
 * etcd. One that a client raised stays until a client clears it.
 *
 * CORRUPT: raised when members that should be equal are not (core_check.c), cleared by hand. No
 * entry changes keys or leases while one is active: that is decided where entries are applied, so
 * that all members decide alike. A member it names hands leadership over whenever it has it. It may
 * still be elected: the others may lack an entry that only its log has, and with nobody to complete
 * theirs the cluster would stand still. */
#include "core.h"

bool store_alarm_is_active(struct store *s, enum store_alarm_type type)
{
    return alarms_count(&s->alarms, type) != 0;
}

bool core_is_suspect(const struct store *s, uint64_t member)
{
    return alarms_find(&s->alarms, member, STORE_ALARM_CORRUPT) != NULL;
}

/* ---- raising ---- */

void core_alarm_propose(struct store *s, enum store_alarm_action action, struct store_alarm alarm)
{
    struct entry e = {.type = ENTRY_ALARM,
        .id = {.origin = s->id, .sequence = core_next_id(s)},
        .alarm = {.action = action, .alarm = alarm}};
    struct raft_proposal proposal = {.type = RAFT_ENTRY_NORMAL};
    struct raft_event event = {.type = RAFT_EV_PROPOSE, .propose = {.list = &proposal, .n = 1}};

    if (entry_encode(&e, &proposal.payload) == 0) {
        (void)core_step(s, &event);
        buf_unref(proposal.payload);
        core_mark(s);
    }
}

/* ---- applying ---- */

static void say(const struct store_alarm *alarm, bool raised)
{
    log_at(raised ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO, "alarm %s is %s member=%016" PRIx64,
        alarm_text(alarm->type), raised ? "raised" : "cleared", alarm->member);
}

int core_alarm_apply(struct store *s, const struct entry *e, struct store_alarm_reply *ret)
{
    const struct store_alarm *alarm = &e->alarm.alarm;
    bool active = alarms_find(&s->alarms, alarm->member, alarm->type) != NULL;
    int err = 0;

    *ret = (struct store_alarm_reply){.list = alarm, .n = 1};
    if (e->alarm.action == STORE_ALARM_ACTIVATE) {
        err = alarms_raise(&s->alarms, *alarm);
    } else if (!alarms_clear(&s->alarms, alarm->member, alarm->type)) {
        ret->n = 0;
    }
    if (active != (alarms_find(&s->alarms, alarm->member, alarm->type) != NULL)) {
        say(alarm, !active);
    }
    return err;
}

/* Who has left the cluster is in nobody's way. */
void core_alarms_members_changed(struct store *s)
{
    for (size_t i = s->alarms.n; i > 0; i--) {
        struct store_alarm alarm = s->alarms.list[i - 1];

        if (alarm.member != 0 && members_find(&s->members, alarm.member) == NULL) {
            (void)alarms_clear(&s->alarms, alarm.member, alarm.type);
            say(&alarm, false);
        }
    }
}

bool core_entry_is_stopped(const struct store *s, enum entry_type type)
{
    switch (type) {
    case ENTRY_PUT:
    case ENTRY_DELETE:
    case ENTRY_TXN:
    case ENTRY_COMPACT:
    case ENTRY_LEASE_GRANT:
    case ENTRY_LEASE_REVOKE:
    case ENTRY_LEASE_EXPIRE:
        return alarms_count(&s->alarms, STORE_ALARM_CORRUPT) != 0;
    default:
        return false;
    }
}

/* ---- space ---- */

static uint64_t used_bytes(const struct store *s)
{
    return mvcc_bytes(s->mvcc) + s->calls.pending_bytes;
}

/* One of another member, or raised by a client. Of its own this one knows better. */
static bool told_no_space(const struct store *s)
{
    const struct store_alarm *own = alarms_find(&s->alarms, s->id, STORE_ALARM_NOSPACE);

    return alarms_count(&s->alarms, STORE_ALARM_NOSPACE) > (own != NULL ? own->own : 0u);
}

static void note_space(struct store *s)
{
    if (s->space.full && used_bytes(s) + s->space.wanted <= s->o.quota_bytes) {
        s->space.full = false;
        s->space.ticks = 0;
        log_info("the keyspace is below its quota again, writes are accepted bytes=%" PRIu64
                 " quota=%" PRIu64,
            used_bytes(s), s->o.quota_bytes);
    }
}

bool core_has_space(struct store *s, size_t cost)
{
    note_space(s);
    if (s->space.full || told_no_space(s)) {
        return false;
    }
    if (used_bytes(s) + cost <= s->o.quota_bytes) {
        return true;
    }
    log_error("the keyspace has reached its quota: writes are refused, reads, deletes and "
              "compaction go on bytes=%" PRIu64 " quota=%" PRIu64,
        used_bytes(s), s->o.quota_bytes);
    s->space.full = true;
    s->space.wanted = cost;
    s->space.ticks = 0;
    return false;
}

/* The quota is this member's own: what it says about itself follows from that alone, also after a
 * restart, when the alarm is all that is remembered. */
static void space_tick(struct store *s)
{
    const struct store_alarm *alarm = alarms_find(&s->alarms, s->id, STORE_ALARM_NOSPACE);

    note_space(s);
    if (s->space.ticks > 0) {
        s->space.ticks--;
    } else if (s->space.full && alarm == NULL) {
        core_alarm_propose(s, STORE_ALARM_ACTIVATE,
            (struct store_alarm){.member = s->id, .type = STORE_ALARM_NOSPACE, .own = 1});
        s->space.ticks = s->o.election_ticks;
    } else if (!s->space.full && alarm != NULL && alarm->own) {
        core_alarm_propose(s, STORE_ALARM_DEACTIVATE, *alarm);
        s->space.ticks = s->o.election_ticks;
    }
}

void core_alarms_tick(struct store *s)
{
    if (s->status.leader != RAFT_NONE) {
        space_tick(s);
    }
    if (core_leads(s) && core_is_suspect(s, s->id) && core_hand_over(s)) {
        log_error("this member is said to be corrupt and must not lead member=%016" PRIx64, s->id);
    }
}
