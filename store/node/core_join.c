/* Becoming a member, and finding out that one never became it.
 *
 *     empty directory --asks the cluster--> AGREED or APPLIED lists it --> stamped with that id
 *                                           HEARD lists it as a voter  --> stamped, to be confirmed
 *                                           anything else              --> refused, and told why
 *
 * Whom a cluster has agreed to add has its id for ever, so a member answers from what it has
 * applied, after a linearizable read; and so long as that cannot be had, because there is no
 * leader, with the newest configuration in its log. That one may be cut away, and then nobody is
 * ever what it made of somebody; but a voter in it may be the very one that is missing for a
 * majority (the second of two), so it starts all the same. A learner is missing nowhere: it waits
 * for a leader.
 *
 * Such a voter, as any member that hears no leader, asks the others whether it is a member: at the
 * entry E of the log that it knows to list it, or after it. Positions are ordered by term, then
 * index. One that has applied a position not before E and lists it nowhere denies it, and that is
 * final. For let A be the last entry it applied. If A has E's term and no smaller index, both are
 * of one leader's log, so E is in A's prefix: agreed upon and undone since, by a removal. If A's
 * term is higher and E is not in A's prefix, E can never be agreed upon: each later leader has A,
 * terms never fall along a log, so E would have to stand before A in it. Ids are never given twice,
 * so the member may stop, and its directory be removed. */
#include "core.h"

#include <errno.h>

enum { PATIENCE = 2 /* election timeouts without a leader, then it asks */ };

/* ---- what is answered ---- */

/* Whom the newest configuration removed is left out, or one that joins in the place of a founder
 * would find that one there, and not itself. */
static void without_removed(struct members *table, const struct members *newest)
{
    size_t n = 0;

    for (size_t i = 0; i < table->n; i++) {
        uint64_t id = table->list[i].id;

        if (!members_is_removed(table, id) && !members_is_removed(newest, id)) {
            table->list[n++] = table->list[i];
        }
    }
    table->n = n;
}

bool core_join_answer(const struct store *s, bool agreed, struct strbuf *out)
{
    struct members_answer a = {.standing = agreed ? MEMBERS_AGREED : MEMBERS_APPLIED,
        .cluster_id = s->cluster_id,
        .term = s->applied_term,
        .index = s->applied};
    struct members newest = {0};
    bool pending = core_members_pending(s, &newest);
    bool knows = !s->members_assumed && members_find(&s->members, s->id) != NULL;

    decree_assert(!agreed || !s->members_assumed);
    if (!agreed && pending) {
        a.standing = MEMBERS_HEARD;
        a.index = raft_conf_index(s->raft);
        a.term = raft_term_of(s->raft, a.index);
        members_copy(&s->links, &a.members);
        without_removed(&a.members, &newest);
        knows = true;
    } else if (knows) {
        members_copy(&s->members, &a.members);
    }
    if (knows) {
        members_answer_encode(&a, out);
    }
    members_deinit(&a.members);
    members_deinit(&newest);
    return knows;
}

/* ---- asking, before there is a log ---- */

static int ask_cluster(const struct core_options *o, struct members_answer *ret, struct err *reterr)
{
    decree_assert(o->join != NULL);
    return o->join(o->join_data, o->founders, members_find_name(o->founders, o->name), ret, reterr);
}

/* Keeps what was told: whom to be connected with. */
static void take_answer(struct store *s, struct members_answer *a)
{
    s->joined = a->members;
    s->joined_at = (struct raft_entry_id){.term = a->term, .index = a->index};
    a->members = (struct members){0};
}

static int refuse_place(const struct core_options *o, const struct store_member *place,
    const char *url, struct err *reterr)
{
    _cleanup_free_ char *how = NULL;

    if (place == NULL) {
        return err_set(reterr, DECREE_EINVALID_CONFIG,
            "the cluster has no member at %s: add it first (decree member add %s --peer-urls %s), "
            "then start it",
            url, o->name, url);
    }
    /* In the place of a learner a replacement would be taken for the one that is being added. */
    how = place->learner
        ? xasprintf("remove it and add it anew (decree member remove %016" PRIx64
                    ", decree member add %s --learner --peer-urls %s)",
              place->id, o->name, url)
        : xasprintf("replace it (decree member replace %s --peer-urls %s)", place->name, url);
    return err_set(reterr, DECREE_EINVALID_CONFIG,
        "%s is empty, but member %016" PRIx64 " \"%s\" at %s has been started before: a member "
        "that lost its data must not come back as the same one; give back its data directory, or "
        "%s",
        o->data_dir, place->id, place->name, url, how);
}

/* What members without a leader say against it may be old, or become true. */
static int refuse_for_now(const struct core_options *o, const struct store_member *place,
    const char *url, struct err *reterr)
{
    const char *what = place == NULL ? "and those that answer know of no member at"
        : place->name[0] != 0        ? "and those that answer know one that was started before at"
                                     : "and has not agreed yet on the learner at";

    return err_set(reterr, -EHOSTUNREACH,
        "the cluster has no leader, %s %s: see what is the matter (decree status), add this member "
        "if that was not done (decree member add %s --peer-urls %s), and start it again when there "
        "is a leader",
        what, url, o->name, url);
}

static bool was_started(const struct store_member *place)
{
    return place->incarnation != 0 || place->name[0] != 0;
}

/* Which of its members the cluster means by this one's URLs: one that was added and has never been
 * started. */
static int find_own_place(const struct core_options *o, const struct members_answer *a,
    uint64_t *ret_id, struct err *reterr)
{
    const struct store_member *self = members_find_name(o->founders, o->name);
    const struct store_member *place = members_find_url(&a->members, self->peer_urls[0]);

    if (place == NULL || was_started(place) || (place->learner && a->standing == MEMBERS_HEARD)) {
        return a->standing == MEMBERS_AGREED ? refuse_place(o, place, self->peer_urls[0], reterr)
                                             : refuse_for_now(o, place, self->peer_urls[0], reterr);
    }
    if (!members_same_urls(place, self->peer_urls, self->n_peer_urls)) {
        return err_set(reterr, DECREE_EINVALID_CONFIG,
            "the cluster lists member %016" PRIx64 " at %s with %zu URLs, but this process was "
            "started with %zu others: both must be the same",
            place->id, self->peer_urls[0], place->n_peer_urls, self->n_peer_urls);
    }
    *ret_id = place->id;
    return 0;
}

int core_join(
    struct store *s, const struct core_options *o, struct wal_identity *ret, struct err *reterr)
{
    struct members_answer a = {0};
    int err = ask_cluster(o, &a, reterr);

    if (err == 0) {
        err = find_own_place(o, &a, &ret->member_id, reterr);
    }
    if (err == 0) {
        ret->cluster_id = a.cluster_id;
        log_info("joining cluster=%016" PRIx64 " member=%016" PRIx64
                 " name=%s members=%zu learner=%d agreed=%d dir=%s",
            ret->cluster_id, ret->member_id, o->name, a.members.n,
            members_find(&a.members, ret->member_id)->learner, a.standing != MEMBERS_HEARD,
            o->data_dir);
        if (a.standing == MEMBERS_HEARD) {
            MARK("joined_by_hearsay");
        }
        take_answer(s, &a);
    }
    members_deinit(&a.members);
    return err;
}

static int check_still_there(const struct store *s, const struct core_options *o,
    const struct members_answer *a, struct err *reterr)
{
    if (a->cluster_id == s->cluster_id && members_find(&a->members, s->id) != NULL) {
        return 0;
    }
    if (a->cluster_id == s->cluster_id && a->standing != MEMBERS_AGREED) {
        return err_set(reterr, -EHOSTUNREACH,
            "the cluster has no leader, and those of its members that answer do not list this one, "
            "member %016" PRIx64 ": start it again when there is a leader (decree status)",
            s->id);
    }
    return err_set(reterr, DECREE_EINVALID_CONFIG,
        "%s belongs to member %016" PRIx64 " of cluster %016" PRIx64
        ", which %s: remove the directory and add the member anew (decree member add %s "
        "--peer-urls "
        "URL)",
        o->data_dir, s->id, s->cluster_id,
        a->cluster_id != s->cluster_id ? "is not the cluster that answers"
                                       : "has removed it or never added it",
        o->name);
}

/* Stamped in an earlier run, which ended before anything came: the addresses of the others are
 * asked for again. */
static int join_again(struct store *s, const struct core_options *o, struct err *reterr)
{
    struct members_answer a = {0};
    int err = ask_cluster(o, &a, reterr);

    if (err == 0) {
        err = check_still_there(s, o, &a, reterr);
    }
    if (err == 0) {
        take_answer(s, &a);
    }
    members_deinit(&a.members);
    return err;
}

int core_join_begin(struct store *s, const struct core_options *o, struct err *reterr)
{
    int err = s->joined.n != 0 ? 0 : join_again(s, o, reterr);

    if (err == 0) {
        members_copy(&s->joined, &s->members);
        s->members.n = 0;
    }
    return err;
}

/* ---- asking, while there is no leader ---- */

static bool is_before(struct raft_entry_id a, struct raft_entry_id b)
{
    return a.term != b.term ? a.term < b.term : a.index < b.index;
}

static bool lists(const struct raft_conf *conf, uint64_t id)
{
    for (size_t i = 0; i < conf->n; i++) {
        if (conf->members[i].id == id) {
            return true;
        }
    }
    return false;
}

/* Where in the log this is a member, as far as it knows. A log that does not go so far yet came
 * from a leader that had the entry, so it is of no later term than this one's. */
static struct raft_entry_id own_place(const struct store *s)
{
    uint64_t index = raft_conf_index(s->raft);

    if (lists(raft_conf(s->raft), s->id)) {
        return index > s->applied
            ? (struct raft_entry_id){.term = raft_term_of(s->raft, index), .index = index}
            : (struct raft_entry_id){.term = s->applied_term, .index = s->applied};
    }
    return s->joined.n != 0 ? s->joined_at
                            : (struct raft_entry_id){.term = s->status.term, .index = UINT64_MAX};
}

static void ask_others(struct store *s)
{
    struct buf *frame;

    s->place.asked = own_place(s);
    frame = place_encode(FRAME_PLACE_ASK, s->place.asked);
    for (size_t i = 0; i < s->links.n; i++) {
        if (s->links.list[i].id != s->id) {
            core_send_frame(s, s->links.list[i].id, frame);
        }
    }
    buf_unref(frame);
}

void core_join_tick(struct store *s)
{
    if (s->status.leader != RAFT_NONE || s->status.repairing || s->links.n < 2) {
        s->place.ticks = PATIENCE * s->o.election_ticks;
        s->place.asked = (struct raft_entry_id){0};
    } else if (s->place.ticks > 0) {
        s->place.ticks--;
    } else {
        s->place.ticks = s->o.election_ticks;
        ask_others(s);
    }
}

void core_on_place_ask(struct store *s, uint64_t from, struct bytes body)
{
    struct raft_entry_id at, applied = {.term = s->applied_term, .index = s->applied};
    struct buf *frame;

    if (place_decode(body, FRAME_PLACE_ASK, &at) < 0 || s->members_assumed ||
        is_before(applied, at) || members_find(&s->members, from) != NULL) {
        return;
    }
    MARK("place_denied");
    frame = place_encode(FRAME_PLACE_DENIED, at);
    core_send_frame(s, from, frame);
    buf_unref(frame);
}

/* An answer to another question, or one that came when a leader had been found, says nothing. */
void core_on_place_denied(struct store *s, uint64_t from, struct bytes body)
{
    struct raft_entry_id at, own = own_place(s);

    if (place_decode(body, FRAME_PLACE_DENIED, &at) == 0 && at.term == s->place.asked.term &&
        at.index == s->place.asked.index && at.term == own.term && at.index == own.index) {
        s->place.denied_by = from;
        core_mark(s);
    }
}

uint64_t core_is_unknown_to(const struct store *s)
{
    return s->place.denied_by;
}
