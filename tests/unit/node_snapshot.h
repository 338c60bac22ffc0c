/* A snapshot as a leader sends it, made by hand: for tests of the receiving end. */
#ifndef DECREE_TESTS_NODE_SNAPSHOT_H
#define DECREE_TESTS_NODE_SNAPSHOT_H

#include "codec.h"
#include "mvcc.h"
#include "node_core.h"
#include "raft.h"

/* The header for a member of that cluster, with all of its founders as voters. */
static inline void node_snapshot_header(
    const struct store *s, uint64_t cluster_id, struct strbuf *out)
{
    const struct members *members = core_members(s);
    _cleanup_strbuf_ struct strbuf table = {0}, conf_bytes = {0};
    struct raft_conf conf = {.n = members->n};

    for (size_t i = 0; i < members->n; i++) {
        conf.members[i].id = members->list[i].id;
    }
    members_encode(members, &table);
    raft_conf_encode(&conf, strbuf_bytes(&table), &conf_bytes);
    enc_u8(out, 1);
    enc_u64(out, cluster_id);
    enc_varint(out, 5); /* the revision: for whoever lists snapshots */
    enc_bytes(out, strbuf_bytes(&conf_bytes));
}

/* The body: a keyspace of n keys "0", "1", …, the values as long as that. */
static inline void node_snapshot_body(size_t n, size_t value_bytes, struct strbuf *out)
{
    _cleanup_strbuf_ struct strbuf value = {0};
    struct mvcc *m = mvcc_new();
    struct mvcc_snapshot *s;

    for (size_t i = 0; i < value_bytes; i++) {
        strbuf_append_char(&value, 'v');
    }
    for (size_t i = 0; i < n; i++) {
        _cleanup_arena_ struct arena arena = {0};
        _cleanup_free_ char *key = xasprintf("%zu", i);
        struct put_request r = {.key = bytes_str(key), .value = strbuf_bytes(&value)};
        struct put_reply reply;

        (void)mvcc_put(m, &r, &arena, &reply);
    }
    s = mvcc_snapshot_open(m);
    while (mvcc_snapshot_next(s, 4096, out)) {}
    (void)mvcc_snapshot_close(s);
    (void)mvcc_free(m);
}

#endif
