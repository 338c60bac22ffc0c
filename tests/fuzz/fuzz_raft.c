/* One member of the consensus core, driven by whatever the bytes say: messages with any fields,
 * ticks, completions, proposals, snapshots. Its own checks of the indexes after each step are what
 * must hold; here in addition that a commit index never goes back. */
#include <stdlib.h>

#include "codec.h"
#include "raft.h"

enum { STEPS_MAX = 300, ENTRIES_MAX = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct raft_entry_id dec_id(struct dec *d)
{
    uint64_t term = dec_varint(d);

    return (struct raft_entry_id){.term = term, .index = dec_varint(d)};
}

static struct buf *dec_payload(struct dec *d)
{
    struct bytes b = dec_bytes(d);

    return buf_copy(b);
}

static void step_msg(struct raft *r, struct dec *d)
{
    struct raft_entry entries[ENTRIES_MAX];
    struct raft_msg m = {.type = (enum raft_msg_type)dec_u8(d), .to = 1, .entries = entries};
    struct raft_event ev = {.type = RAFT_EV_MSG, .random = dec_u8(d), .msg = &m};
    uint8_t flags = dec_u8(d);

    m.from = flags & 7;
    m.reject = (flags & 8) != 0;
    m.transfer = (flags & 16) != 0;
    m.term = dec_varint(d);
    m.prev = dec_id(d);
    m.commit = dec_varint(d);
    m.index = dec_varint(d);
    m.context = dec_varint(d);
    m.hint = dec_id(d);
    for (m.n_entries = 0; m.n_entries < ENTRIES_MAX && m.n_entries < flags >> 5; m.n_entries++) {
        struct raft_entry *e = &entries[m.n_entries];

        e->id = dec_id(d);
        e->type = (enum raft_entry_type)dec_u8(d);
        e->payload = dec_payload(d);
    }
    (void)raft_step(r, &ev);
    for (size_t i = 0; i < m.n_entries; i++) {
        buf_unref(entries[i].payload);
    }
}

static void step_propose(struct raft *r, struct dec *d)
{
    _cleanup_buf_ struct buf *payload = NULL;
    struct raft_proposal p = {.type = (enum raft_entry_type)(dec_u8(d) & 1)};
    struct raft_event ev = {.type = RAFT_EV_PROPOSE, .propose = {&p, 1}};

    payload = dec_payload(d);
    p.payload = payload;
    (void)raft_step(r, &ev);
}

/* A snapshot comes from the wire, but the receiver has proved it: only its place is odd. */
static void step_install(struct raft *r, struct dec *d)
{
    struct raft_conf conf = {.members = {{1, false}, {2, false}}, .n = 2};
    struct raft_event ev = {.type = RAFT_EV_SNAPSHOT_INSTALL,
        .install = {.id = {.term = 1 + dec_u8(d), .index = 1 + dec_u8(d)},
            .conf = &conf,
            .from = 2 + (dec_u8(d) & 1),
            .term = dec_u8(d)}};

    ev.install.term = MAX(ev.install.term, ev.install.id.term);
    (void)raft_step(r, &ev);
}

static void step_plain(struct raft *r, enum raft_event_type type, struct dec *d)
{
    struct raft_event ev = {.type = type, .random = dec_u8(d)};

    if (type == RAFT_EV_READ) {
        ev.context = 1 + dec_u8(d);
    } else if (type == RAFT_EV_SNAPSHOT_STATUS) {
        ev.snapshot_status.peer = dec_u8(d) & 3;
        ev.snapshot_status.ok = (dec_u8(d) & 1) != 0;
        ev.snapshot_status.index = dec_u8(d);
    } else {
        ev.peer = dec_u8(d) & 3;
    }
    (void)raft_step(r, &ev);
}

static void take(struct raft *r, uint64_t *commit, uint64_t *seq)
{
    struct raft_update u;
    struct raft_event applied = {.type = RAFT_EV_APPLIED};

    raft_take_update(r, &u);
    decree_assert(u.commit >= *commit);
    *commit = u.commit;
    *seq = u.persist.seq != 0 ? u.persist.seq : *seq;
    applied.index = u.commit;
    (void)raft_step(r, &applied);
}

static void step_any(struct raft *r, struct dec *d, uint64_t seq, uint64_t commit)
{
    static const enum raft_event_type plain[] = {RAFT_EV_TICK, RAFT_EV_READ, RAFT_EV_UNREACHABLE,
        RAFT_EV_SNAPSHOT_STATUS, RAFT_EV_TRANSFER, RAFT_EV_CAMPAIGN};
    struct raft_event done = {.type = RAFT_EV_PERSISTED, .seq = seq};
    uint8_t op = dec_u8(d) % 16;

    if (op < ARRAY_SIZE(plain)) {
        step_plain(r, plain[op], d);
    } else if (op == 6) {
        step_propose(r, d);
    } else if (op == 7) {
        step_install(r, d);
    } else if (op == 8) {
        uint64_t keep = dec_u8(d) & 3;

        raft_compact(r, commit, commit + 1 - MIN(commit, keep));
    } else if (op < 12) {
        (void)raft_step(r, &done);
    } else {
        step_msg(r, d);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct raft_options options = {.id = 1,
        .election_ticks = 3,
        .heartbeat_ticks = 1,
        .inflight_msgs_max = 2,
        .inflight_bytes_max = 100,
        .append_bytes_max = 50,
        .uncommitted_bytes_max = 300};
    struct raft_conf conf = {.members = {{1, false}, {2, false}, {3, false}}, .n = 3};
    _cleanup_strbuf_ struct strbuf bytes = {0};
    _cleanup_buf_ struct buf *payload = NULL;
    struct raft_entry first;
    struct raft_restore restore = {.entries = &first, .n_entries = 1};
    struct dec d = dec_make(bytes_make(data, size));
    uint64_t commit = 0, seq = 0;
    struct raft *r = NULL;
    int rc;

    raft_conf_encode(&conf, BYTES_LITERAL(""), &bytes);
    payload = buf_copy(strbuf_bytes(&bytes));
    first = raft_bootstrap_entry(payload);
    rc = raft_new(&options, &restore, &r);
    decree_assert(rc == 0);
    for (int i = 0; i < STEPS_MAX && dec_left(&d) != 0; i++) {
        step_any(r, &d, seq, commit);
        take(r, &commit, &seq);
    }
    raft_free(r);
    return 0;
}
