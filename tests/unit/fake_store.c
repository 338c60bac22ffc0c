#include "fake_store.h"

#include <openssl/evp.h>

#include "alarms.h"
#include "clock.h"
#include "fake_parts.h"
#include "hmap.h"
#include "mvcc.h"

enum {
    LEASE_TTL_MIN_S = 2,     /* as a member with default times raises it */
    EXPIRY_MS = 100,         /* how often leases are looked at */
    DELIVER_EVENTS = 1000,   /* in one turn */
    COMPACT_RECORDS = 10000, /* likewise */
    HANDLES = 2,
};

struct store {
    struct mvcc *mvcc;
    struct list calls; /* in the order of their arrival */
    size_t n_calls;
    uv_idle_t turn; /* runs while there is something to do */
    uv_timer_t expiry;
    unsigned open_handles;
    bool hold;
    struct fake_parts parts;
    uint64_t leaderless_since_ms; /* 0: has one */
    struct alarms alarms;
    struct store_alarm selected[ALARMS_MAX]; /* of the answer under way */
    struct list snapshots;
    uint64_t applied;
};

static void on_turn(uv_idle_t *idle);

static void wake(struct store *s)
{
    (void)uv_idle_start(&s->turn, on_turn);
}

bool store_is_learner(struct store *s)
{
    (void)s;
    return false;
}

/* ---- calls ---- */

struct store_header store_header(struct store *s)
{
    return (struct store_header){
        .cluster_id = 0x1122334455667788,
        .member_id = 0x8877665544332211,
        .revision = mvcc_revision(s->mvcc),
        .raft_term = 2,
    };
}

static bool needs_leader(const struct store_call *call)
{
    switch (call->kind) {
    case STORE_RANGE:
        return !call->range.serializable;
    case STORE_STATUS:
        return false;
    case STORE_MEMBER_LIST:
        return call->member_list.linearizable;
    default:
        return true;
    }
}

static int grant(struct store *s, const struct lease_grant_request *r, struct lease_reply *ret)
{
    uint64_t hash = hmap_hash_u64(uv_hrtime());
    int64_t id = r->id != 0 ? r->id : (int64_t)(hash >> 1 | 1);
    int64_t ttl = MAX(r->ttl, (int64_t)LEASE_TTL_MIN_S);

    *ret = (struct lease_reply){.id = id, .ttl = ttl};
    return r->ttl > LEASE_TTL_MAX_S ? DECREE_ELEASE_TTL_TOO_LARGE
                                    : mvcc_lease_grant(s->mvcc, id, ttl, clock_boot_ms());
}

static int keepalive(struct store *s, int64_t id, struct lease_reply *ret)
{
    *ret = (struct lease_reply){.id = id};
    if (mvcc_lease_renew(s->mvcc, id, clock_boot_ms(), &ret->ttl) < 0) {
        ret->ttl = 0;
    }
    return 0;
}

static int lease_info(struct store *s, const struct lease_ttl_request *r, struct arena *arena,
    struct lease_reply *ret)
{
    int code = mvcc_lease_info(s->mvcc, r->id, clock_boot_ms(), r->keys, arena, ret);

    if (code == DECREE_ELEASE_NOT_FOUND) {
        *ret = (struct lease_reply){.id = r->id, .ttl = -1};
        return 0;
    }
    return code;
}

static void status(struct store *s, struct store_status_reply *ret)
{
    *ret = (struct store_status_reply){
        .etcd_version = STORE_ETCD_VERSION,
        .db_size = mvcc_bytes(s->mvcc),
        .db_size_in_use = mvcc_live_bytes(s->mvcc),
        .leader = s->leaderless_since_ms == 0 ? store_header(s).member_id : 0,
        .raft_index = s->applied,
        .raft_term = 2,
        .raft_applied = s->applied,
        .alarms = {.list = s->alarms.list, .n = s->alarms.n},
    };
}

static int run_kv(
    struct store *s, struct store_call *c, struct arena *arena, struct store_reply *reply)
{
    int r;

    switch (c->kind) {
    case STORE_RANGE:
        r = range_request_check(&c->range);
        return r < 0 ? r : mvcc_range(s->mvcc, &c->range, arena, &reply->range);
    case STORE_PUT:
        r = put_request_check(&c->put);
        return r < 0 ? r : mvcc_put(s->mvcc, &c->put, arena, &reply->put);
    case STORE_DELETE:
        r = delete_request_check(&c->del);
        return r < 0 ? r : mvcc_delete(s->mvcc, &c->del, arena, &reply->del);
    case STORE_TXN:
        r = txn_request_check(&c->txn);
        return r < 0 ? r : mvcc_txn(s->mvcc, &c->txn, arena, &reply->txn);
    default:
        return mvcc_compact(s->mvcc, c->compact.revision);
    }
}

static int alarm_call(
    struct store *s, const struct store_alarm_request *r, struct store_alarm_reply *ret)
{
    switch (r->action) {
    case STORE_ALARM_GET:
        ret->n = alarms_select(&s->alarms, r->alarm.type, s->selected);
        ret->list = s->selected;
        return 0;
    case STORE_ALARM_ACTIVATE:
        *ret = (struct store_alarm_reply){.list = &r->alarm, .n = 1};
        return alarms_raise(&s->alarms, r->alarm);
    default:
        ret->list = &r->alarm;
        ret->n = alarms_clear(&s->alarms, r->alarm.member, r->alarm.type);
        return 0;
    }
}

static int hash(struct store *s, const struct store_call *c, struct store_hash_reply *ret)
{
    bool kv = c->kind == STORE_HASH_KV;
    struct mvcc_hasher *h;
    int err = mvcc_hasher_open(
        s->mvcc, kv ? MVCC_HASH_KEYS : MVCC_HASH_ALL, kv ? c->hash_kv.revision : 0, &h);

    if (err < 0) {
        return err;
    }
    while (mvcc_hasher_step(h, SIZE_MAX)) {}
    ret->hash = mvcc_hash_short(mvcc_hasher_value(h));
    ret->hash_revision = mvcc_hasher_revision(h);
    ret->compact_revision = mvcc_hasher_compacted(h) != 0 ? mvcc_hasher_compacted(h) : -1;
    mvcc_hasher_close(h);
    return 0;
}

/* As a member: what takes space is refused under NOSPACE, all writes are under CORRUPT. */
static int alarm_refusal(struct store *s, const struct store_call *c)
{
    enum store_kind kind = c->kind;
    bool takes_space = kind == STORE_PUT || kind == STORE_LEASE_GRANT ||
        (kind == STORE_TXN && !txn_request_is_readonly(&c->txn));
    bool writes =
        takes_space || kind == STORE_DELETE || kind == STORE_COMPACT || kind == STORE_LEASE_REVOKE;

    if (writes && store_alarm_is_active(s, STORE_ALARM_CORRUPT)) {
        return DECREE_ECORRUPT_CLUSTER;
    }
    return takes_space && store_alarm_is_active(s, STORE_ALARM_NOSPACE) ? DECREE_ENO_SPACE : 0;
}

static int run(
    struct store *s, struct store_call *c, struct arena *arena, struct store_reply *reply)
{
    static const char *const peer_urls[] = {"http://127.0.0.1:2380"};
    static const char *const client_urls[] = {"http://127.0.0.1:2379"};
    static const struct store_member member = {
        .id = 0x8877665544332211,
        .name = "fake",
        .peer_urls = peer_urls,
        .n_peer_urls = 1,
        .client_urls = client_urls,
        .n_client_urls = 1,
    };

    if (s->leaderless_since_ms != 0 && needs_leader(c)) {
        return DECREE_ENO_LEADER;
    }
    if (alarm_refusal(s, c) < 0) {
        return alarm_refusal(s, c);
    }
    s->applied++;
    switch (c->kind) {
    case STORE_RANGE:
    case STORE_PUT:
    case STORE_DELETE:
    case STORE_TXN:
    case STORE_COMPACT:
        return run_kv(s, c, arena, reply);
    case STORE_LEASE_GRANT:
        return grant(s, &c->lease_grant, &reply->lease);
    case STORE_LEASE_REVOKE:
        return mvcc_lease_revoke(s->mvcc, c->lease_id.id, false);
    case STORE_LEASE_KEEPALIVE:
        return keepalive(s, c->lease_id.id, &reply->lease);
    case STORE_LEASE_TTL:
        return lease_info(s, &c->lease_ttl, arena, &reply->lease);
    case STORE_LEASE_LIST:
        mvcc_lease_list(s->mvcc, arena, &reply->lease_list);
        return 0;
    case STORE_MEMBER_LIST:
        reply->members.list = &member;
        reply->members.n = 1;
        return 0;
    case STORE_STATUS:
        status(s, &reply->status);
        return 0;
    case STORE_MEMBER_ADD:
    case STORE_MEMBER_REMOVE:
    case STORE_MEMBER_UPDATE:
    case STORE_MEMBER_PROMOTE:
        return DECREE_EUNHEALTHY; /* it has one member for ever */
    case STORE_MOVE_LEADER:
        return c->member.id == member.id ? 0 : DECREE_EBAD_TRANSFEREE;
    case STORE_ALARM:
        return alarm_call(s, &c->alarm, &reply->alarms);
    case STORE_HASH:
    case STORE_HASH_KV:
        return hash(s, c, &reply->hash);
    case STORE_DEFRAGMENT:
        return 0;
    case STORE_KIND_END:
        break;
    }
    decree_fatal("no such kind of call");
}

static void answer(struct store *s, struct store_call *c)
{
    _cleanup_arena_ struct arena arena = {0};
    struct store_reply reply = {0};
    int code;

    list_del(&c->link_);
    code = run(s, c, &arena, &reply);
    reply.header = store_header(s);
    if (code == 0 && fake_parts_take(&s->parts, c, &arena, &reply)) {
        return;
    }
    s->n_calls--;
    c->cb(c, code, code < 0 ? NULL : &reply);
}

static void on_turn(uv_idle_t *idle)
{
    struct store *s = idle->data;
    struct list now;
    bool more;

    list_init(&now);
    if (!s->hold) {
        list_splice_tail(&now, &s->calls);
    }
    while (!list_empty(&now)) {
        answer(s, list_entry(now.next, struct store_call, link_));
    }
    s->n_calls -= fake_parts_step(&s->parts);
    more = mvcc_watch_deliver(s->mvcc, DELIVER_EVENTS);
    more |= mvcc_compact_step(s->mvcc, COMPACT_RECORDS);
    if (!more && list_empty(&s->parts.giving) && (s->hold || list_empty(&s->calls))) {
        (void)uv_idle_stop(&s->turn);
    }
}

void store_submit(struct store *s, struct store_call *call)
{
    list_add_tail(&s->calls, &call->link_);
    s->n_calls++;
    wake(s);
}

void store_cancel(struct store *s, struct store_call *call)
{
    if (!fake_parts_cancel(&s->parts, call)) {
        list_del(&call->link_);
    }
    s->n_calls--;
}

/* ---- watches ---- */

void store_watch_add(struct store *s, struct watcher *w)
{
    mvcc_watch_add(s->mvcc, w);
    wake(s);
}

void store_watch_remove(struct store *s, struct watcher *w)
{
    mvcc_watch_remove(s->mvcc, w);
}

void store_watch_resume(struct store *s, struct watcher *w)
{
    mvcc_watch_resume(s->mvcc, w);
    wake(s);
}

bool store_watch_is_synced(struct store *s, const struct watcher *w)
{
    return mvcc_watch_is_synced(s->mvcc, w);
}

int64_t store_compacted_revision(struct store *s)
{
    return mvcc_compacted(s->mvcc);
}

/* ---- snapshots: the keyspace's own bytes, filled up as a backup is ---- */

struct store_snapshot {
    struct list link;
    struct store *s;
    void (*ended)(void *data, int status);
    void *data;
    struct strbuf all;
    size_t taken;
};

int store_snapshot_open(
    struct store *s, void (*ended)(void *data, int status), void *data, struct store_snapshot **ret)
{
    struct store_snapshot *x = xcalloc(1, sizeof(*x));
    struct mvcc_snapshot *reader = mvcc_snapshot_open(s->mvcc);

    x->s = s;
    x->ended = ended;
    x->data = data;
    while (mvcc_snapshot_next(reader, SIZE_MAX / 2, &x->all)) {}
    mvcc_snapshot_close(reader);
    while (x->all.len % 512 != 0) {
        strbuf_append_char(&x->all, '\0');
    }
    list_add_tail(&s->snapshots, &x->link);
    *ret = x;
    return 0;
}

bool store_snapshot_next(struct store_snapshot *x, size_t bytes, struct strbuf *out)
{
    size_t n = MIN(bytes, x->all.len - x->taken);

    strbuf_append(out, x->all.data + x->taken, n);
    x->taken += n;
    return x->taken < x->all.len;
}

uint64_t store_snapshot_left(const struct store_snapshot *x)
{
    return x->all.len - x->taken;
}

void store_snapshot_digest(struct store_snapshot *x, uint8_t ret[STORE_SNAPSHOT_DIGEST_BYTES])
{
    int ok = EVP_Digest(x->all.data, x->all.len, ret, NULL, EVP_sha256(), NULL);

    decree_assert(ok == 1);
}

struct store_snapshot *store_snapshot_close(struct store_snapshot *x)
{
    list_del(&x->link);
    strbuf_deinit(&x->all);
    free(x);
    return NULL;
}

/* ---- the rest ---- */

bool store_alarm_is_active(struct store *s, enum store_alarm_type type)
{
    return alarms_count(&s->alarms, type) != 0;
}

bool store_has_leader(struct store *s)
{
    return s->leaderless_since_ms == 0;
}

uint64_t store_write_us(struct store *s)
{
    (void)s;
    return 0;
}

uint64_t store_leaderless_ms(struct store *s)
{
    return s->leaderless_since_ms == 0 ? 0 : clock_boot_ms() - s->leaderless_since_ms;
}

void store_metrics(struct store *s, struct store_metrics *ret)
{
    *ret = (struct store_metrics){
        .has_leader = store_has_leader(s),
        .is_leader = store_has_leader(s),
        .proposals_committed = s->applied,
        .proposals_applied = s->applied,
        .proposals_pending = s->n_calls,
        .db_bytes = mvcc_bytes(s->mvcc),
        .db_live_bytes = mvcc_live_bytes(s->mvcc),
        .keys = mvcc_keys(s->mvcc),
        .leases = mvcc_lease_count(s->mvcc),
        .watchers = mvcc_watch_count(s->mvcc),
        .slow_watchers = mvcc_watch_slow_count(s->mvcc),
        .revision = mvcc_revision(s->mvcc),
        .compacted_revision = mvcc_compacted(s->mvcc),
        .alarms = {[STORE_ALARM_NOSPACE] = alarms_count(&s->alarms, STORE_ALARM_NOSPACE),
            [STORE_ALARM_CORRUPT] = alarms_count(&s->alarms, STORE_ALARM_CORRUPT)},
    };
}

static void on_expiry(uv_timer_t *timer)
{
    struct store *s = timer->data;
    int64_t ids[16];
    size_t n = mvcc_lease_expired(s->mvcc, clock_boot_ms(), 1000, ids, ARRAY_SIZE(ids));

    for (size_t i = 0; i < n; i++) {
        (void)mvcc_lease_revoke(s->mvcc, ids[i], true);
        wake(s);
    }
}

struct store *fake_store_new(uv_loop_t *loop)
{
    struct store *s = xcalloc(1, sizeof(*s));

    s->mvcc = mvcc_new();
    mvcc_lease_promote(s->mvcc, clock_boot_ms(), 0);
    list_init(&s->calls);
    list_init(&s->snapshots);
    list_init(&s->parts.giving);
    (void)uv_idle_init(loop, &s->turn);
    (void)uv_timer_init(loop, &s->expiry);
    s->turn.data = s->expiry.data = s;
    s->open_handles = HANDLES;
    (void)uv_timer_start(&s->expiry, on_expiry, EXPIRY_MS, EXPIRY_MS);
    uv_unref((uv_handle_t *)&s->expiry);
    return s;
}

static void on_closed(uv_handle_t *handle)
{
    struct store *s = handle->data;

    if (--s->open_handles == 0) {
        mvcc_free(s->mvcc);
        free(s);
    }
}

void fake_store_free(struct store *s)
{
    decree_assert(s->n_calls == 0 && list_empty(&s->snapshots) && mvcc_watch_count(s->mvcc) == 0);
    uv_close((uv_handle_t *)&s->turn, on_closed);
    uv_close((uv_handle_t *)&s->expiry, on_closed);
}

void fake_store_set_leader(struct store *s, bool has_leader)
{
    s->leaderless_since_ms = has_leader ? 0 : clock_boot_ms();
}

void fake_store_hold(struct store *s, bool hold)
{
    s->hold = hold;
    wake(s);
}

void fake_store_set_part_kvs(struct store *s, size_t n)
{
    s->parts.kvs = n;
}

size_t fake_store_calls(const struct store *s)
{
    return s->n_calls;
}

size_t fake_store_watchers(const struct store *s)
{
    return mvcc_watch_count(s->mvcc);
}
