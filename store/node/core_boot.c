/* Start and end: what is on disk becomes state; a new directory becomes a member of a new cluster.
 *
 *     open the log -> new: stamp it, write the founding entry    -> raft
 *                  -> old: is it this member's? load the snapshot -> raft -> entries as they commit
 *
 *                  -> new, the cluster exists: ask its members who it is, stamp it, an empty log ->
 * raft
 *
 * All founding members write the same first entry from the same list, so that they agree on their
 * configuration before they have spoken. Until it is durable nothing is stepped. A crash between
 * stamp and entry leaves a log without either: it is founded again, with the same bytes. A damaged
 * log is begun anew with what is whole, see core_repair.c. */
#include "core.h"

#include <errno.h>

/* ---- options ---- */

static const char *keep_str(struct store *s, const char *text)
{
    return (const char *)arena_copy(&s->options_arena, bytes_str(text)).data;
}

static void copy_options(struct store *s, const struct core_options *o)
{
    const char **urls = arena_calloc(&s->options_arena, o->n_client_urls + 1, sizeof(*urls));

    s->o = *o;
    s->o.founders = NULL;
    s->o.token = NULL;
    s->o.peer_urls = NULL;
    s->o.join = NULL;
    s->o.name = keep_str(s, o->name);
    s->o.data_dir = keep_str(s, o->data_dir);
    for (size_t i = 0; i < o->n_client_urls; i++) {
        urls[i] = keep_str(s, o->client_urls[i]);
    }
    s->o.client_urls = urls;
}

/* ---- whose directory is it ---- */

static bool has_url(const struct store_member *member, const char *url)
{
    for (size_t i = 0; i < member->n_peer_urls; i++) {
        if (strcmp(member->peer_urls[i], url) == 0) {
            return true;
        }
    }
    return false;
}

/* The ids are made of the URLs: a member that counts itself under others would be somebody else. */
static int check_own_urls(const struct core_options *o, struct err *reterr)
{
    const struct store_member *self = members_find_name(o->founders, o->name);

    for (size_t i = 0; i < o->n_peer_urls; i++) {
        if (!has_url(self, o->peer_urls[i])) {
            return err_set(reterr, DECREE_EINVALID_CONFIG,
                "%s advertises %s to members, but the initial cluster lists %s for it", o->name,
                o->peer_urls[i], self->peer_urls[0]);
        }
    }
    if (o->n_peer_urls != 0 && o->n_peer_urls != self->n_peer_urls) {
        return err_set(reterr, DECREE_EINVALID_CONFIG,
            "%s advertises %zu URLs to members, but the initial cluster lists %zu for it", o->name,
            o->n_peer_urls, self->n_peer_urls);
    }
    return 0;
}

/* Of a directory in which there is no entry. */
static int check_force(const struct core_options *o, struct err *reterr)
{
    return o->force_new_cluster ? err_set(reterr, DECREE_EINVALID_CONFIG,
                                      "--force-new-cluster: %s holds no cluster that could be "
                                      "continued",
                                      o->data_dir)
                                : 0;
}

static int check_founding(const struct core_options *o, struct err *reterr)
{
    if (o->founders == NULL || members_find_name(o->founders, o->name) == NULL) {
        return err_set(reterr, DECREE_EINVALID_CONFIG,
            "the initial cluster has no member named %s: it must list every member, this one too",
            o->name);
    }
    return check_own_urls(o, reterr);
}

/* Started alone once by mistake, each of three hosts would be a healthy cluster of its own: that is
 * refused; one that is left alone because the others were removed is not. Any other difference is
 * only said, since members come and go after the founding. */
static int check_other_founders(
    const struct store *s, const struct core_options *o, struct err *reterr)
{
    size_t known = 0;

    if (o->founders == NULL || o->founders->n <= 1) {
        return 0; /* not given, or this member alone */
    }
    for (size_t i = 0; i < o->founders->n; i++) {
        known += members_find_url(&s->links, o->founders->list[i].peer_urls[0]) != NULL;
    }
    if (s->links.n == 1 && s->links.n_removed == 0) {
        return err_set(reterr, DECREE_EINVALID_CONFIG,
            "%s holds a cluster of this member alone, but the initial cluster lists %zu members: "
            "remove the directory if nothing in it is needed, or start without that list",
            o->data_dir, o->founders->n);
    }
    if (known != o->founders->n || known != s->links.n) {
        log_warn("the initial cluster is read on the very first start only, and differs from the "
                 "members known here: listed=%zu of_them_known=%zu members=%zu dir=%s",
            o->founders->n, known, s->links.n, o->data_dir);
    }
    return 0;
}

/* The flags of the founding are ignored later, as with etcd; a directory that belongs to somebody
 * else is not. */
static int check_owner(const struct store *s, const struct core_options *o, struct err *reterr)
{
    const struct store_member *self = members_find(&s->members, s->id);

    if (o->token != NULL && strcmp(o->token, s->members.token) != 0) {
        return err_set(reterr, DECREE_EINVALID_CONFIG,
            "%s belongs to cluster %016" PRIx64 " with token \"%s\", but this process was started "
            "for one with token \"%s\"",
            o->data_dir, s->cluster_id, s->members.token, o->token);
    }
    if (self == NULL) {
        /* Its log does not go as far as its own entry yet, or goes beyond its end. */
        return members_is_removed(&s->members, s->id)
            ? err_set(reterr, DECREE_EINVALID_CONFIG,
                  "%s belongs to member %016" PRIx64
                  ", which has been removed from the cluster: remove the directory and add the "
                  "member anew",
                  o->data_dir, s->id)
            : 0;
    }
    if (self->name[0] != 0 && strcmp(self->name, o->name) != 0) {
        return err_set(reterr, DECREE_EINVALID_CONFIG,
            "%s belongs to member %016" PRIx64 " \"%s\" of cluster %016" PRIx64
            ", but this process was started as \"%s\"",
            o->data_dir, s->id, self->name, s->cluster_id, o->name);
    }
    return check_other_founders(s, o, reterr);
}

/* ---- founding ---- */

void core_founding_on_done(struct wal_append_req *req, int status)
{
    struct store *s = req->data;

    s->founding_entry.payload = buf_unref(s->founding_entry.payload);
    if (status != 0 || (s->state != CORE_FOUNDING && s->state != CORE_FORCING)) {
        return;
    }
    s->state = CORE_RUNNING;
    core_mark(s);
    core_campaign_if_alone(s);
}

static int found(
    struct store *s, const struct core_options *o, struct raft_entry *ret, struct err *reterr)
{
    struct buf *payload = core_conf_payload(o->founders); /* the same bytes at every founder */

    *ret = raft_bootstrap_entry(payload);
    s->founding_entry = (struct wal_entry){.index = ret->id.index,
        .term = ret->id.term,
        .type = (uint8_t)ret->type,
        .payload = payload};
    s->founding_req = (struct wal_append_req){.has_hard = true,
        .term = ret->id.term,
        .entries = &s->founding_entry,
        .n_entries = 1,
        .cb = core_founding_on_done,
        .data = s};
    s->state = CORE_FOUNDING;
    if (wal_append(s->wal, &s->founding_req) != 0) {
        s->founding_entry.payload = buf_unref(payload);
        return err_set(reterr, -ENOSPC, "%s: no room for the log", o->data_dir);
    }
    log_info("founding cluster=%016" PRIx64 " member=%016" PRIx64 " name=%s members=%zu dir=%s",
        s->cluster_id, s->id, o->name, o->founders->n, o->data_dir);
    return 0;
}

static int stamp(
    struct store *s, const struct core_options *o, struct wal_recovery *rec, struct err *reterr)
{
    int err = check_force(o, reterr);

    if (err < 0) {
        return err;
    }
    err = check_founding(o, reterr);
    if (err == 0 && o->existing) {
        err = core_join(s, o, &rec->identity, reterr);
    } else if (err == 0) {
        rec->identity.cluster_id = members_cluster_id(o->founders);
        rec->identity.member_id = members_find_name(o->founders, o->name)->id;
    }
    return err < 0 ? err : wal_create(s->wal, rec->identity, reterr);
}

/* A directory that is stamped and has no entry yet: of a founder, or of one that joins? Ids of
 * members that were added are never those that founders compute. */
static bool is_joining(const struct store *s, const struct core_options *o)
{
    const struct store_member *self =
        o->founders != NULL ? members_find_name(o->founders, o->name) : NULL;

    return s->joined.n != 0 || self == NULL || self->id != s->id;
}

/* ---- recovery ---- */

static int load_pieces(
    struct store *s, struct snap_reader *reader, struct mvcc_loader *loader, struct err *reterr)
{
    struct bytes piece;
    int err;

    for (;;) {
        err = snap_reader_next(reader, &piece, reterr);
        if (err < 0) {
            return err;
        }
        if (piece.len == 0) {
            return mvcc_loader_finish(loader, &s->mvcc, reterr);
        }
        err = mvcc_loader_feed(loader, piece, reterr);
        if (err < 0) {
            return err;
        }
    }
}

static int load_snapshot(struct store *s, const struct wal_recovery *rec, struct err *reterr)
{
    struct mvcc_loader *loader = mvcc_loader_new();
    struct snap_reader *reader = NULL;
    struct snap_header h = {0};
    struct bytes header;
    int err;

    err = snap_reader_open(s->wal, rec->snapshot, &reader, &header, reterr);
    if (err == 0) {
        err = core_snap_header_read(header, &h, reterr);
    }
    if (err == 0) {
        err = load_pieces(s, reader, loader, reterr);
    }
    snap_reader_close(reader);
    mvcc_loader_free(loader);
    if (err < 0) {
        members_deinit(&h.members);
        return err_prefix(reterr, "snapshot %" PRIu64 " in %s", rec->snapshot.index, s->o.data_dir);
    }
    s->conf = h.conf;
    s->members = h.members;
    s->alarms = h.alarms;
    s->applied = s->commit = s->snap_index = rec->snapshot.index;
    s->applied_term = rec->snapshot.term;
    return 0;
}

/* Before anything is applied the members are known from the snapshot, or else from the founding
 * entry: the links need their addresses to find out what is committed. */
static int members_from_entry(struct store *s, const struct raft_entry *e, struct err *reterr)
{
    struct bytes context;

    if (e->type != RAFT_ENTRY_CONF || e->id.index != 1 ||
        raft_conf_decode(buf_bytes(e->payload), &s->conf, &context) < 0 ||
        members_decode(context, &s->members) < 0) {
        return err_set(reterr, DECREE_ECORRUPT,
            "%s: the log does not begin with its cluster's configuration", s->o.data_dir);
    }
    return 0;
}

static int start_raft(struct store *s, const struct wal_recovery *rec,
    const struct raft_entry *entries, size_t n, struct err *reterr)
{
    struct raft_options options = {.id = s->id,
        .election_ticks = s->o.election_ticks,
        .heartbeat_ticks = 1,
        .inflight_msgs_max = 512,
        .inflight_bytes_max = 1 << 20,
        .append_bytes_max = 1 << 20,
        .uncommitted_bytes_max = PENDING_BYTES_MAX};
    struct raft_restore restore = {0};
    int err;

    restore.term = rec->term;
    restore.vote = rec->vote;
    restore.snapshot = (struct raft_entry_id){.term = s->applied_term, .index = s->applied};
    restore.repairing = rec->repairing;
    restore.session = core_random(s);
    if (s->applied != 0 || (rec->repairing && n == 0)) {
        restore.snapshot_conf = s->conf;
    }
    restore.entries = entries;
    restore.n_entries = n;
    err = raft_new(&options, &restore, &s->raft);

    if (err < 0) {
        return err_set(reterr, err, "%s: terms or configurations of the log contradict each other",
            s->o.data_dir);
    }
    raft_status(s->raft, &s->status);
    return 0;
}

/* raft begins anew with the entry that makes this member the whole cluster; entries has room for
 * it.
 */
static int go_on_alone(struct store *s, struct wal_recovery *rec, struct raft_entry *entries,
    size_t n, struct err *reterr)
{
    int err = core_force_alone(s, rec, &entries[n], reterr);

    if (err <= 0) {
        return err;
    }
    s->raft = raft_free(s->raft);
    err = start_raft(s, rec, entries, n + 1, reterr);
    if (err == 0) {
        (void)core_links_refresh(s);
    }
    return err;
}

static int restore(
    struct store *s, const struct core_options *o, struct wal_recovery *rec, struct err *reterr)
{
    bool is_empty = rec->n_entries == 0 && !rec->has_snapshot;
    size_t n = is_empty ? 1 : rec->n_entries;
    _cleanup_free_ struct raft_entry *entries = xcalloc(n + 1, sizeof(*entries));
    bool joining;
    int err = 0;

    s->members_assumed = !rec->has_snapshot;
    if (rec->has_snapshot) {
        err = load_snapshot(s, rec, reterr);
    } else {
        s->mvcc = mvcc_new();
    }
    if (err == 0 && is_empty) {
        err = check_force(o, reterr);
    }
    joining = is_empty && !rec->repairing && is_joining(s, o);
    if (err == 0 && is_empty && rec->repairing) {
        err = core_repair_members(s, o, reterr);
        n = 0;
    } else if (err == 0 && joining) {
        err = s->joined.n != 0 ? 0 : check_founding(o, reterr);
        err = err < 0 ? err : core_join_begin(s, o, reterr);
        n = 0;
    } else if (err == 0 && is_empty) {
        err = check_founding(o, reterr);
        err = err < 0 ? err : found(s, o, &entries[0], reterr);
    }
    for (size_t i = 0; i < rec->n_entries; i++) {
        const struct wal_entry *e = &rec->entries[i];

        entries[i] = (struct raft_entry){.id = {.term = e->term, .index = e->index},
            .type = (enum raft_entry_type)e->type,
            .payload = e->payload};
    }
    if (err == 0 && !rec->has_snapshot && n != 0) {
        err = members_from_entry(s, &entries[0], reterr);
    }
    if (err == 0) {
        err = start_raft(s, rec, entries, n, reterr);
    }
    if (err == 0) {
        core_directories_learn(s, entries, n);
        (void)core_links_refresh(s);
        err = check_owner(s, o, reterr);
    }
    if (err == 0 && o->force_new_cluster) {
        err = core_force_check(s, rec, reterr);
    }
    if (err == 0) {
        err = core_repair_log(s, rec, reterr);
    }
    return err == 0 && o->force_new_cluster ? go_on_alone(s, rec, entries, n, reterr) : err;
}

static void log_found(const struct store *s, const struct wal_recovery *rec, uint64_t begun_ms)
{
    if (rec->torn_bytes != 0) {
        MARK("torn_tail_cut");
        log_warn("the end of the log was torn by a crash: cut off, nothing acknowledged was in it "
                 "bytes=%" PRIu64,
            rec->torn_bytes);
    }
    if (rec->repairing && rec->damage == NULL) {
        log_warn(
            "this member is still under repair: it does not vote until it has fetched from the "
            "others what its disk lost dir=%s",
            s->o.data_dir);
    }
    if (rec->passed_over != NULL && rec->damage == NULL) {
        MARK("damaged_snapshot_passed_over");
        log_warn(
            "a newer snapshot is damaged, an older one and the log stand in: %s", rec->passed_over);
    }
    log_info("recovered cluster=%016" PRIx64 " member=%016" PRIx64 " dir=%s snapshot=%" PRIu64
             " entries=%zu term=%" PRIu64 " last_term=%" PRIu64 " last_index=%" PRIu64
             " revision=%" PRId64 " keys=%" PRIu64 " took_ms=%" PRIu64,
        s->cluster_id, s->id, s->o.data_dir, rec->has_snapshot ? rec->snapshot.index : 0,
        rec->n_entries, rec->term, raft_term_of(s->raft, s->status.last_index),
        s->status.last_index, mvcc_revision(s->mvcc), mvcc_keys(s->mvcc), core_now(s) - begun_ms);
}

static int open_disk(
    struct store *s, const struct core_options *o, struct wal_recovery *rec, struct err *reterr)
{
    struct wal_options options = {.dir = o->data_dir,
        .segment_bytes = o->segment_bytes,
        .wake = o->disk_wake,
        .wake_data = o->disk_wake_data,
        .disk = o->disk,
        .salvage = true};
    int err = wal_open(&options, &s->wal, rec, reterr);

    if (err == 0 && rec->is_new) {
        err = stamp(s, o, rec, reterr);
    }
    if (err == 0) {
        s->cluster_id = rec->identity.cluster_id;
        s->id = rec->identity.member_id;
    }
    return err;
}

static void store_init(struct store *s, const struct core_options *o, const struct core_env *env)
{
    s->env = env;
    copy_options(s, o);
    list_init(&s->persists);
    list_init(&s->sends);
    list_init(&s->exports);
    core_calls_init(s);
    core_reads_init(s);
    core_txn_init(s);
    core_beats_init(s);
    core_ranges_init(s);
    core_changes_init(s);
    s->state = CORE_RUNNING;
    s->members_moved = true;
    s->watching = true;
    s->repair.begun_ms = s->repair.said_ms = s->ticked_ms = core_now(s);
}

int core_open(const struct core_options *o, const struct core_env *env, struct store **ret,
    struct err *reterr)
{
    struct store *s = xcalloc(1, sizeof(*s));
    struct wal_recovery rec = {0};
    uint64_t begun_ms;
    bool rec_is_new;
    int err;

    decree_assert(o->heartbeat_ms > 0 && o->election_ticks > 1 && o->snapshot_count > 0);
    store_init(s, o, env);
    begun_ms = core_now(s);
    err = open_disk(s, o, &rec, reterr);
    if (err == 0) {
        err = restore(s, o, &rec, reterr);
    }
    if (err == 0 && !rec.is_new) {
        log_found(s, &rec, begun_ms);
    }
    rec_is_new = rec.is_new;
    wal_recovery_deinit(&rec);
    if (err < 0) {
        s->state = CORE_STOPPED;
        core_close(s);
        return err;
    }
    if (s->state == CORE_RUNNING) {
        core_campaign_if_alone(s);
    }
    s->fresh = rec_is_new;
    s->leaderless_since_ms = s->leaderless_said_ms =
        core_now(s); /* reading the disk took a while */
    core_mark(s);
    *ret = s;
    return 0;
}

/* Nobody else's silence needs waiting for. */
void core_campaign_if_alone(struct store *s)
{
    const struct raft_conf *conf = raft_conf(s->raft);

    if (conf->n == 1 && conf->members[0].id == s->id && !conf->members[0].learner) {
        (void)core_step(s, &(struct raft_event){.type = RAFT_EV_CAMPAIGN});
        core_mark(s);
    }
}

/* ---- end ---- */

void core_stop(struct store *s)
{
    s->state = CORE_STOPPED;
    core_save_abort(s);
    core_sends_abort_all(s);
    core_recv_abort(s);
    core_exports_end(s, DECREE_ESTOPPED);
    core_check_abort(s);
    core_calls_fail_all(s, DECREE_ESTOPPED);
}

struct store *core_close(struct store *s)
{
    if (s == NULL) {
        return NULL;
    }
    decree_assert(s->state == CORE_STOPPED);
    core_calls_fail_all(s, DECREE_ESTOPPED);
    core_persist_drop(s);
    wal_close(s->wal);
    core_recv_deinit(s);
    core_reads_deinit(s);
    core_txn_give_up(s);
    core_apply_give_up(s);
    core_ranges_deinit(s);
    core_leases_deinit(s);
    hmap_deinit(&s->leases.asked);
    hmap_deinit(&s->calls.by_id);
    core_replays_deinit(s);
    raft_free(s->raft);
    mvcc_free(s->mvcc);
    members_deinit(&s->members);
    members_deinit(&s->joined);
    core_directories_deinit(s);
    members_deinit(&s->links);
    members_deinit(&s->members_before);
    arena_deinit(&s->apply_arena);
    buf_unref(s->founding_entry.payload);
    arena_deinit(&s->options_arena);
    free(s);
    return NULL;
}
