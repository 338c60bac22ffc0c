/* One member of three, whole but for its network, and what two lying peers may send it: messages
 * with any fields, proposals, questions about leases, snapshot streams, raw bytes; between them
 * ticks, calls of its own clients and lost links. The input chooses. Only one lie is left out: an
 * entry that is appended and cannot be read, for which a member stops by design (F36).
 * Nothing may stop it, every call is answered, and it starts again from what its disk holds. */
#include "fuzz.h"

#include <stdlib.h>

#include "alloc.h"
#include "codec.h"
#include "entry_codec.h"
#include "log.h"
#include "msg_codec.h"
#include "node_core.h"
#include "node_snapshot.h"
#include "raft.h"
#include "wal_disk_mem.h"

enum { STEPS_MAX = 120, TURNS_MAX = 50, ENTRIES_MAX = 4, CALLS_MAX = 32, MEMBERS = 3 };

struct member {
    struct wal_mem *mem;
    struct core_env env;
    struct store *core;
    struct members founders;
    uint64_t peers[MEMBERS - 1];
    uint64_t now_ms, chance;
    struct store_call calls[CALLS_MAX];
    size_t n_calls, n_answers;
};

/* ---- its world ---- */

static uint64_t env_now(void *data)
{
    return ((struct member *)data)->now_ms;
}

static uint64_t env_random(void *data)
{
    struct member *m = data;

    return m->chance = m->chance * 6364136223846793005u + 1442695040888963407u;
}

static void env_nothing(void *data _unused_) {}
static void env_peer(void *data _unused_, uint64_t peer _unused_) {}

static void env_send(
    void *data _unused_, uint64_t to _unused_, struct buf *const *parts, size_t n_parts)
{
    for (size_t i = 0; i < n_parts; i++) {
        (void)bytes_hash(buf_bytes(parts[i]));
    }
}

static bool env_connected(void *data _unused_, uint64_t peer _unused_, uint64_t since_ms _unused_)
{
    return true;
}

static bool env_stream_send(void *data, uint64_t to _unused_, struct buf *frame_consume)
{
    (void)bytes_hash(buf_bytes(frame_consume));
    buf_unref(frame_consume);
    return (env_random(data) >> 60) != 0;
}

static void env_stream_answer(
    void *data _unused_, uint64_t from _unused_, struct buf *frame_consume)
{
    buf_unref(frame_consume);
}

static void env_metrics(void *data _unused_, struct store_metrics *ret)
{
    ret->n_peers = 0;
}

static void start(struct member *m)
{
    static const char *const urls[] = {"http://c0:2379"};
    const struct core_options o = {.name = "m0",
        .data_dir = "mem",
        .founders = &m->founders,
        .token = "t",
        .client_urls = urls,
        .n_client_urls = 1,
        .heartbeat_ms = 100,
        .election_ticks = 10,
        .snapshot_count = 10,
        .snapshot_keep = 3,
        .quota_bytes = 1 << 20,
        .segment_bytes = 32 << 10,
        .disk = wal_mem_disk(m->mem)};
    int rc = core_open(&o, &m->env, &m->core, NULL);

    decree_assert(rc == 0);
    core_set_incarnation(m->core, 7);
}

static void stop(struct member *m)
{
    core_stop(m->core);
    decree_assert(m->n_answers == m->n_calls);
    m->core = core_close(m->core);
}

static void run(struct member *m)
{
    for (int i = 0; i < TURNS_MAX; i++) {
        core_disk(m->core);
        if (!core_turn(m->core) && !core_is_dirty(m->core)) {
            break;
        }
    }
}

/* ---- what comes ---- */

static struct raft_entry_id dec_id(struct dec *d)
{
    uint64_t term = dec_varint(d);

    return (struct raft_entry_id){.term = term, .index = dec_varint(d)};
}

/* Of an entry that can be read; empty is the first one of a leader. */
static struct buf *dec_payload(struct member *m, struct dec *d)
{
    struct entry e = {.id = {m->peers[0], dec_u8(d)}};
    struct buf *ret = NULL;

    switch (dec_u8(d) % 7) {
    case 0:
        return buf_new(0);
    case 1:
        e.type = ENTRY_DELETE;
        e.del = (struct delete_request){.key = BYTES_LITERAL("\0"), .range_end = dec_bytes(d)};
        break;
    case 2:
        e.type = ENTRY_LEASE_GRANT;
        e.lease_grant = (struct lease_grant_request){1 + (dec_u8(d) & 3), 5};
        break;
    case 3:
        e.type = ENTRY_LEASE_EXPIRE;
        e.lease_expire.id = 1 + (dec_u8(d) & 3);
        e.lease_expire.term = dec_u8(d);
        break;
    case 4:
        e.type = ENTRY_COMPACT;
        e.compact = (struct compact_request){dec_u8(d), true};
        break;
    case 5:
        e.type = ENTRY_PUBLISH;
        e.publish.member = m->peers[dec_u8(d) & 1];
        e.publish.incarnation = dec_u8(d);
        e.publish.name = dec_bytes(d);
        break;
    default:
        e.type = ENTRY_PUT;
        e.put =
            (struct put_request){.key = dec_bytes(d), .value = dec_bytes(d), .lease = dec_u8(d)};
        e.put.key = e.put.key.len == 0 ? BYTES_LITERAL("k") : e.put.key;
        break;
    }
    return entry_encode(&e, &ret) == 0 ? ret : buf_new(0);
}

static void frame(struct member *m, uint64_t from, const struct raft_msg *msg)
{
    _cleanup_strbuf_ struct strbuf body = {0};
    struct frame_parts parts = {0};

    msg_encode(msg, &parts);
    for (size_t i = 0; i < parts.n; i++) {
        strbuf_append_bytes(&body, buf_bytes(parts.list[i]));
    }
    frame_parts_deinit(&parts);
    core_frame(m->core, from, strbuf_bytes(&body));
}

static void step_msg(struct member *m, struct dec *d)
{
    struct raft_entry entries[ENTRIES_MAX];
    uint8_t flags = dec_u8(d);
    struct raft_msg msg = {.type = (enum raft_msg_type)(1 + dec_u8(d) % (RAFT_MSG_TYPE_END - 1)),
        .from = m->peers[flags & 1],
        .to = core_id(m->core),
        .reject = (flags & 8) != 0,
        .transfer = (flags & 16) != 0,
        .entries = entries};

    msg.term = dec_varint(d);
    msg.prev = dec_id(d);
    msg.commit = dec_varint(d);
    msg.index = dec_varint(d);
    msg.context = dec_varint(d);
    msg.hint = dec_id(d);
    for (; msg.n_entries < ENTRIES_MAX && msg.n_entries < flags >> 5; msg.n_entries++) {
        struct raft_entry *e = &entries[msg.n_entries];

        e->id = (struct raft_entry_id){
            msg.prev.term + (dec_u8(d) & 1), msg.prev.index + 1 + msg.n_entries};
        e->type = RAFT_ENTRY_NORMAL;
        e->payload = dec_payload(m, d);
    }
    frame(m, msg.from, &msg);
    for (size_t i = 0; i < msg.n_entries; i++) {
        buf_unref(entries[i].payload);
    }
}

/* As they come from the wire, unless that is an append of entries. */
static void step_raw(struct member *m, struct dec *d)
{
    uint64_t from = m->peers[dec_u8(d) & 1];
    struct bytes b = dec_bytes(d);
    struct msg_decoded decoded;
    bool appends = msg_decode(b, &decoded) == 0 && decoded.msg.type == RAFT_MSG_APPEND &&
        decoded.msg.n_entries > 0;

    msg_decoded_deinit(&decoded);
    if (!appends) {
        core_frame(m->core, from, b);
    }
}

static void step_stream(struct member *m, struct dec *d)
{
    uint8_t what = dec_u8(d);
    uint64_t peer = m->peers[what & 1];
    _cleanup_buf_ struct buf *made = NULL;
    struct bytes b;

    switch (what >> 1 & 7) {
    case 0:
        core_stream_ready(m->core, peer);
        return;
    case 1:
        core_stream_down(m->core, peer, "cut");
        return;
    case 2:
        core_stream_cut(m->core, peer);
        return;
    case 3:
        b = dec_bytes(d);
        core_stream_reply(m->core, peer, b);
        return;
    case 4: {
        struct snap_begin begin = {.term = dec_varint(d), .id = dec_id(d)};
        _cleanup_strbuf_ struct strbuf header = {0};

        node_snapshot_header(m->core, core_cluster_id(m->core), &header);
        begin.header = (what & 16) != 0 ? strbuf_bytes(&header) : dec_bytes(d);
        made = snap_begin_encode(&begin);
        b = buf_bytes(made);
        break;
    }
    case 5:
        made = snap_end_encode(dec_varint(d));
        b = buf_bytes(made);
        break;
    case 6: { /* a good piece, or most of one */
        _cleanup_strbuf_ struct strbuf piece = {0};
        size_t cut = dec_u8(d);

        strbuf_append_char(&piece, FRAME_SNAP_PIECE);
        node_snapshot_body(what >> 4, 10, &piece);
        piece.len -= MIN(piece.len - 1, cut);
        made = buf_copy(strbuf_bytes(&piece));
        b = buf_bytes(made);
        break;
    }
    default:
        b = dec_bytes(d);
        break;
    }
    if (core_stream_frame(m->core, peer, b) == CORE_STREAM_CUT) {
        core_stream_cut(m->core, peer);
    }
}

static void on_answer(struct store_call *call, int status, const struct store_reply *reply)
{
    struct member *m = call->data;

    decree_assert(status <= 0 && (status == 0) == (reply != NULL));
    m->n_answers++;
}

static void step_call(struct member *m, struct dec *d)
{
    static const enum store_kind kinds[] = {STORE_RANGE, STORE_PUT, STORE_DELETE, STORE_LEASE_TTL,
        STORE_LEASE_KEEPALIVE, STORE_COMPACT, STORE_MEMBER_LIST, STORE_STATUS};
    struct store_call *c;
    uint8_t what = dec_u8(d);

    if (m->n_calls == CALLS_MAX) {
        return;
    }
    c = &m->calls[m->n_calls++];
    *c = (struct store_call){.kind = kinds[what % ARRAY_SIZE(kinds)], .cb = on_answer, .data = m};
    if (c->kind == STORE_RANGE) {
        c->range = (struct range_request){
            .key = BYTES_LITERAL("\0"), .range_end = BYTES_LITERAL("\0"), .revision = what >> 4};
    } else if (c->kind == STORE_PUT) {
        c->put = (struct put_request){.key = BYTES_LITERAL("a"), .value = dec_bytes(d)};
    } else if (c->kind == STORE_DELETE) {
        c->del = (struct delete_request){.key = BYTES_LITERAL("a")};
    } else if (c->kind == STORE_LEASE_TTL) {
        c->lease_ttl = (struct lease_ttl_request){.id = 1 + (what >> 6), .keys = true};
    } else if (c->kind == STORE_LEASE_KEEPALIVE) {
        c->lease_id = (struct lease_id_request){1 + (what >> 6)};
    } else if (c->kind == STORE_COMPACT) {
        c->compact = (struct compact_request){what >> 3, (what & 1) != 0};
    }
    store_submit(m->core, c);
}

static void step(struct member *m, struct dec *d)
{
    uint8_t op = dec_u8(d);

    switch (op % 8) {
    case 0:
        for (int i = 0; i <= op >> 4; i++) {
            m->now_ms += 100;
            core_tick(m->core);
        }
        break;
    case 1:
        step_raw(m, d);
        break;
    case 2:
        step_stream(m, d);
        break;
    case 3:
        step_call(m, d);
        break;
    case 4:
        core_unreachable(m->core, m->peers[op >> 3 & 1]);
        core_link_lost(m->core, m->peers[op >> 4 & 1]);
        break;
    default:
        step_msg(m, d);
        break;
    }
    if ((op & 0x80) == 0) {
        run(m);
    }
}

static void init(struct member *m)
{
    static const char cluster[] = "m0=http://h0:2380,m1=http://h1:2380,m2=http://h2:2380";
    int rc = members_parse(cluster, "t", &m->founders, NULL);

    decree_assert(rc == 0);
    m->peers[0] = members_find_name(&m->founders, "m1")->id;
    m->peers[1] = members_find_name(&m->founders, "m2")->id;
    m->mem = wal_mem_new(1);
    m->now_ms = 1000;
    m->env = (struct core_env){.data = m,
        .now_ms = env_now,
        .random = env_random,
        .wake = env_nothing,
        .send = env_send,
        .flush = env_nothing,
        .connected_since = env_connected,
        .stream_open = env_peer,
        .stream_send = env_stream_send,
        .stream_close = env_peer,
        .stream_answer = env_stream_answer,
        .stream_resume = env_peer,
        .metrics = env_metrics,
        .members_changed = env_nothing,
        .memory_freed = env_nothing};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dec d = dec_make(bytes_make(data, size));
    struct member *m = xcalloc(1, sizeof(*m));
    uint64_t applied;

    log_set_level(LOG_LEVEL_ERROR);
    init(m);
    start(m);
    run(m);
    for (int i = 0; i < STEPS_MAX && dec_left(&d) > 0; i++) {
        step(m, &d);
    }
    run(m);
    applied = core_snapshot_index(m->core);
    stop(m);
    start(m);
    decree_assert(core_snapshot_index(m->core) >= applied);
    stop(m);
    members_deinit(&m->founders);
    (void)wal_mem_free(m->mem);
    free(m);
    return 0;
}
