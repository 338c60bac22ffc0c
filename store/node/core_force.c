/* --force-new-cluster: a member of a cluster that has lost its majority for good becomes the lone
 * voter of it, with the data that it has.
 *
 * One configuration entry is put behind the log, in a term of its own, and made durable before
 * anything is stepped or served: from then on this member is a majority by itself, whatever happens
 * to the option. All entries before it are committed with it, also those that the majority perhaps
 * never took: what was not acknowledged may turn out done, what was acknowledged to this member's
 * knowledge stays.
 *
 * The cluster keeps its id. Others of it that still run would go on without this member: they must
 * be ended for good, which nobody but the operator can know. */
#include "core.h"

#include <errno.h>

/* The newest configuration, applied or not, and the members of it. */
static int newest_conf(const struct store *s, const struct wal_recovery *rec,
    struct raft_conf *conf, struct members *ret)
{
    for (size_t i = rec->n_entries; i > 0; i--) {
        const struct wal_entry *e = &rec->entries[i - 1];
        struct bytes context;

        if (e->type != RAFT_ENTRY_CONF) {
            continue;
        }
        return raft_conf_decode(buf_bytes(e->payload), conf, &context) < 0
            ? DECREE_ECORRUPT
            : members_decode(context, ret);
    }
    _cleanup_strbuf_ struct strbuf copy = {0};

    *conf = s->conf;
    members_encode(&s->members, &copy);
    return members_decode(strbuf_bytes(&copy), ret);
}

/* All others are remembered as removed, so that one that comes back is refused and told why. */
static void forget_others(struct members *m, uint64_t self)
{
    for (size_t i = m->n; i > 0; i--) {
        const struct store_member other = m->list[i - 1];

        if (other.id != self) {
            log_warn("--force-new-cluster: FORGETTING MEMBER name=%s member=%016" PRIx64
                     ": it must never run again with its old data",
                other.name, other.id);
            members_remove(m, other.id);
        }
    }
}

static struct buf *lone_payload(const struct members *lone)
{
    _cleanup_strbuf_ struct strbuf context = {0}, payload = {0};
    struct raft_conf conf = {.members = {{.id = lone->list[0].id}}, .n = lone->n};

    decree_assert(lone->n == 1);
    members_encode(lone, &context);
    raft_conf_encode(&conf, strbuf_bytes(&context), &payload);
    return buf_copy(strbuf_bytes(&payload));
}

static int append(struct store *s, struct wal_recovery *rec, struct buf *payload_consume,
    struct raft_entry *ret, struct err *reterr)
{
    uint64_t last = rec->n_entries != 0 ? rec->entries[rec->n_entries - 1].index : s->applied;

    rec->term++;
    rec->vote = s->id;
    s->founding_entry = (struct wal_entry){
        .index = last + 1, .term = rec->term, .type = RAFT_ENTRY_CONF, .payload = payload_consume};
    *ret = (struct raft_entry){.id = {.term = rec->term, .index = last + 1},
        .type = RAFT_ENTRY_CONF,
        .payload = payload_consume};
    s->founding_req = (struct wal_append_req){.has_hard = true,
        .term = rec->term,
        .vote = rec->vote,
        .entries = &s->founding_entry,
        .n_entries = 1,
        .cb = core_founding_on_done,
        .data = s};
    if (wal_append(s->wal, &s->founding_req) != 0) {
        s->founding_entry.payload = buf_unref(payload_consume);
        return err_set(reterr, -ENOSPC, "%s: no room for the log", s->o.data_dir);
    }
    s->state = CORE_FORCING;
    return 0;
}

int core_force_check(const struct store *s, const struct wal_recovery *rec, struct err *reterr)
{
    if (!rec->repairing) {
        return 0;
    }
    return err_set(reterr, DECREE_ECORRUPT,
        "--force-new-cluster: %s: %s; what is missing could only come from the others, nothing was "
        "changed: start them without this option, or restore a backup into a new directory",
        s->o.data_dir,
        rec->damage != NULL ? rec->damage : "this member is under repair, its disk has lost data");
}

int core_force_alone(
    struct store *s, struct wal_recovery *rec, struct raft_entry *ret, struct err *reterr)
{
    struct members members = {0};
    struct raft_conf conf = {0};
    const struct raft_member *self = NULL;
    int err = newest_conf(s, rec, &conf, &members);

    for (size_t i = 0; err == 0 && i < conf.n; i++) {
        self = conf.members[i].id == s->id ? &conf.members[i] : self;
    }
    if (err < 0) {
        err = err_set(reterr, DECREE_ECORRUPT, "%s: the configuration in the log cannot be read",
            s->o.data_dir);
    } else if (self == NULL || self->learner || members_find(&members, s->id) == NULL) {
        err = err_set(reterr, DECREE_EINVALID_CONFIG,
            "--force-new-cluster: this member is %s of cluster %016" PRIx64
            ", its data need not be what the cluster agreed upon; use a voter's, or restore a "
            "snapshot",
            self == NULL ? "not a member any more" : "a learner", s->cluster_id);
    } else if (conf.n == 1) {
        log_warn("--force-new-cluster: this member is alone in its cluster already, nothing is "
                 "changed: take the option away member=%016" PRIx64,
            s->id);
    } else {
        forget_others(&members, s->id);
        err = append(s, rec, lone_payload(&members), ret, reterr);
    }
    if (err == 0 && s->state == CORE_FORCING) {
        err = 1;
        log_warn("--force-new-cluster: THIS MEMBER IS THE CLUSTER NOW cluster=%016" PRIx64
                 " member=%016" PRIx64 " index=%" PRIu64 " term=%" PRIu64,
            s->cluster_id, s->id, ret->id.index, ret->id.term);
    }
    members_deinit(&members);
    return err;
}
