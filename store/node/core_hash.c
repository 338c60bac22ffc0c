/* Hash and HashKV: what operators compare between members. Answered from this member's own state,
 * as with etcd, one after the other, each in slices.
 *
 *     HASHING (waiting) --its turn--> HASHING (hasher open) --last slice--> answer */
#include "core.h"

int core_hash_want(struct store *s, struct store_call *c)
{
    if (core_calls_full(s)) {
        return DECREE_ETOO_MANY_REQUESTS;
    }
    core_call_move(s, c, CALL_HASHING, &s->calls.hashing);
    core_mark(s);
    return 0;
}

void core_reader_closed(struct store *s)
{
    s->compacting = s->compacting || mvcc_compact_done(s->mvcc) < mvcc_compacted(s->mvcc);
    core_mark(s);
}

static void close_hasher(struct store *s)
{
    if (s->hashing.hasher != NULL) {
        s->hashing.hasher = mvcc_hasher_close(s->hashing.hasher);
        core_reader_closed(s);
    }
    s->hashing.call = NULL;
}

void core_hash_forget(struct store *s, const struct store_call *c)
{
    if (s->hashing.call == c) {
        close_hasher(s);
    }
}

void core_hash_abort(struct store *s)
{
    close_hasher(s);
}

/* The next one that can be answered by hashing; the others are told what is wrong with them. */
static bool begin(struct store *s)
{
    while (!list_empty(&s->calls.hashing)) {
        struct store_call *c = list_entry(s->calls.hashing.next, struct store_call, link_);
        bool kv = c->kind == STORE_HASH_KV;
        int err = kv && c->hash_kv.revision < 0
            ? DECREE_ECOMPACTED
            : mvcc_hasher_open(s->mvcc, kv ? MVCC_HASH_KEYS : MVCC_HASH_ALL,
                  kv ? c->hash_kv.revision : 0, &s->hashing.hasher);

        if (err == 0) {
            s->hashing.call = c;
            return true;
        }
        core_refuse(s, c, err);
    }
    return false;
}

/* etcd's field is 32 bits wide, and its compact_revision is -1 where nothing was ever compacted. */
static void answer(struct store *s)
{
    struct mvcc_hasher *h = s->hashing.hasher;
    struct store_call *c = s->hashing.call;
    uint64_t value = mvcc_hasher_value(h);
    int64_t compacted = mvcc_hasher_compacted(h);
    struct store_reply reply = {.hash = {.hash = mvcc_hash_short(value),
                                    .compact_revision = compacted != 0 ? compacted : -1,
                                    .hash_revision = mvcc_hasher_revision(h)}};

    core_answer(s, c, 0, &reply); /* closes the hasher */
}

void core_hash_step(struct store *s)
{
    if (s->hashing.call == NULL && !begin(s)) {
        return;
    }
    if (!mvcc_hasher_step(s->hashing.hasher, HASH_SLICE_BYTES)) {
        answer(s);
    }
    if (!list_empty(&s->calls.hashing)) {
        core_mark(s);
    }
}
