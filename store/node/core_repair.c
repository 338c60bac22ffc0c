/* A member whose disk has lost something: how it starts with what is left, and what people hear.
 *
 *     damaged log -> what is whole (wal.h) -> is there anybody to fetch the rest from?
 *         no:  stop, nothing changed, say what is damaged
 *         yes: a new log under repair -> raft fetches the rest and ends the repair (raft_repair.c)
 *
 * Damage can cost everything but the identity. Then not even the members are known, and those that
 * the operator lists as the initial cluster stand in until the leader has told. */
#include "core.h"

enum {
    REPAIR_SAY_MS = 5000, /* why it is not over yet, that often */
};

/* ---- start ---- */

int core_repair_members(struct store *s, const struct core_options *o, struct err *reterr)
{
    _cleanup_strbuf_ struct strbuf copy = {0};
    int err;

    if (o->founders == NULL || members_find(o->founders, s->id) == NULL) {
        return err_set(reterr, DECREE_ECORRUPT,
            "%s: so much is damaged that member %016" PRIx64
            " does not know the others any more: start it with --initial-cluster listing all "
            "members, this one too, as they were founded, and it fetches its data from them; or "
            "replace it (remove it, empty its data directory, add it again)",
            o->data_dir, s->id);
    }
    members_encode(o->founders, &copy);
    err = members_decode(strbuf_bytes(&copy), &s->members);
    decree_assert(err == 0);
    s->conf = (struct raft_conf){0};
    for (size_t i = 0; i < s->members.n; i++) {
        s->conf.members[s->conf.n++] = (struct raft_member){.id = s->members.list[i].id};
    }
    return 0;
}

/* Whether the newest configuration that could be saved names anybody else. */
static bool has_others(const struct store *s, const struct wal_recovery *saved)
{
    struct raft_conf conf = s->conf;

    for (size_t i = saved->n_entries; i > 0; i--) {
        const struct wal_entry *e = &saved->entries[i - 1];

        if (e->type == RAFT_ENTRY_CONF &&
            raft_conf_decode(buf_bytes(e->payload), &conf, NULL) == 0) {
            break;
        }
    }
    for (size_t i = 0; i < conf.n; i++) {
        if (conf.members[i].id != s->id) {
            return true;
        }
    }
    return false;
}

int core_repair_log(struct store *s, const struct wal_recovery *saved, struct err *reterr)
{
    int err;

    if (saved->damage == NULL) {
        return 0;
    }
    if (!has_others(s, saved)) {
        return err_set(reterr, DECREE_ECORRUPT,
            "%s: %s; nothing was changed, and there is no other member to repair it from: restore "
            "a backup into a new directory",
            s->o.data_dir, saved->damage);
    }
    err = wal_repair(s->wal, saved, reterr);
    if (err == 0) {
        MARK("damaged_log_begun_anew");
        log_error("data is damaged: what is whole is kept, the rest will be fetched from the other "
                  "members, and until then this one does not vote; damaged files are kept as "
                  "*.damaged dir=%s: %s",
            s->o.data_dir, saved->damage);
    }
    return err;
}

/* ---- what goes on ---- */

void core_repair_status(struct store *s, const struct raft_status *before)
{
    uint64_t now = core_now(s);

    if (s->status.repairing && !before->repairing) {
        MARK("old_disk_noticed");
        s->repair.begun_ms = s->repair.said_ms = now;
        log_error("this member lacks what it had acknowledged to its leader: its data directory is "
                  "an old copy, or its disk lost writes; it does not vote until it has fetched the "
                  "rest dir=%s index=%" PRIu64,
            s->o.data_dir, s->status.last_index);
    } else if (!s->status.repairing && before->repairing) {
        MARK("repaired");
        log_info("repaired: this member has all the data again and votes term=%" PRIu64
                 " index=%" PRIu64 " took_ms=%" PRIu64,
            s->status.term, s->status.last_index, now - s->repair.begun_ms);
    }
}

static const char *name_of(const struct store *s, uint64_t id)
{
    const struct store_member *m = members_find(&s->links, id);

    return m != NULL && m->name[0] != 0 ? m->name : "NAME";
}

/* No majority is left that is whole. What was acknowledged is on one: on a whole member too, so
 * long as the damaged ones are none. */
static void say_too_many(const struct store *s, const struct raft_status *now)
{
    bool all_is_there = now->repair.damaged < now->repair.voters / 2 + 1;

    log_error("under repair: %zu of %zu voters are damaged, more than can be repaired from the "
              "others. To go on, stop all members; start a whole one (decree status does not say "
              "of it that its disk lost data; of several the one whose line \"recovered\" has the "
              "highest last_term, then last_index) once with --force-new-cluster; then remove %s "
              "and add this member anew (decree member add %s --learner --peer-urls URL). %s",
        now->repair.damaged, now->repair.voters, s->o.data_dir, s->o.name,
        all_is_there ? "Nothing that was acknowledged is lost by that"
                     : "What only damaged ones had is lost by that: a backup may hold more");
}

static void say_who_is_silent(const struct store *s, const struct raft_status *now)
{
    if (now->leader != RAFT_NONE) {
        log_warn("under repair: waiting for the answer of member=%016" PRIx64
                 ": start it, or if it is lost for good, remove it (decree member remove %s)",
            now->repair.silent, name_of(s, now->repair.silent));
        return;
    }
    log_warn("under repair: waiting for the answer of member=%016" PRIx64
             " \"%s\" and for a leader: start it. If it is lost for good, and those that are left "
             "do not elect a leader, go on with a whole one alone (--force-new-cluster); then "
             "remove %s and add this member anew (decree member add %s --learner --peer-urls URL)",
        now->repair.silent, name_of(s, now->repair.silent), s->o.data_dir, s->o.name);
}

static void say_why(const struct store *s, const struct raft_status *now)
{
    if (2 * now->repair.damaged >= now->repair.voters && now->repair.silent == RAFT_NONE) {
        say_too_many(s, now);
    } else if (now->repair.silent != RAFT_NONE) {
        say_who_is_silent(s, now);
    } else if (now->leader == RAFT_NONE) {
        log_warn("under repair: waiting for a leader");
    } else if (now->repair.goal == 0) {
        log_info("under repair: waiting until a majority of the others has confirmed the leader "
                 "leader=%016" PRIx64,
            now->leader);
    } else {
        log_info("under repair: fetching from leader=%016" PRIx64 " index=%" PRIu64 " of=%" PRIu64,
            now->leader, now->stable, now->repair.goal);
    }
}

/* The leader tells who around it is under repair, and who is not any more. */
static void watch_others(struct store *s)
{
    struct raft_progress others[RAFT_MEMBERS_MAX];
    size_t n = raft_progress(s->raft, others), n_now = 0;
    uint64_t now[RAFT_MEMBERS_MAX];

    for (size_t i = 0; i < n; i++) {
        bool known = false;

        for (size_t j = 0; j < s->repair.n_others; j++) {
            known = known || s->repair.others[j] == others[i].id;
        }
        if (others[i].repairing) {
            now[n_now++] = others[i].id;
        }
        if (others[i].repairing && !known) {
            log_error("a member has lost data it had acknowledged, and is repaired from the "
                      "others; it counts for no majority until then member=%016" PRIx64,
                others[i].id);
        } else if (!others[i].repairing && known) {
            log_info("a member is repaired and counts again member=%016" PRIx64, others[i].id);
        }
    }
    memcpy(s->repair.others, now, n_now * sizeof(now[0]));
    s->repair.n_others = n_now;
}

void core_repair_tick(struct store *s)
{
    uint64_t now = core_now(s);
    struct raft_status status;

    watch_others(s);
    if (s->status.repairing && now - s->repair.said_ms >= REPAIR_SAY_MS) {
        s->repair.said_ms = now;
        raft_status(s->raft, &status);
        say_why(s, &status);
    }
}
