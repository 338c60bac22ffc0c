/* A range over all keys, which may come in parts over many turns. It is written down as one
 * linearizable read of each key, all at the revision that the reply names: so it must show the
 * keyspace as it was at one revision, whatever was written between its parts. */
#include "world.h"

struct seen {
    bool found;
    uint8_t *value; /* owned */
    size_t len;
    int64_t mod_revision;
};

struct listing {
    struct seen keys[SIM_KEYS_MAX];
    uint64_t numbers[SIM_KEYS_MAX]; /* history's */
    size_t n;
};

static void add(struct attempt *a, const struct kv *kvs, size_t n)
{
    struct world *w = a->w;

    for (size_t i = 0; i < n; i++) {
        const struct kv *kv = &kvs[i];
        size_t key = kv->key.len == 2 ? (size_t)(kv->key.data[1] - '0') : SIM_KEYS_MAX;
        struct seen *s;

        if (key >= a->listing->n || a->listing->keys[key].found) {
            world_fail(w, "range: a key comes twice, or is none of those that were written");
        }
        s = &a->listing->keys[key];
        *s = (struct seen){.found = true,
            .value = xmemdup(kv->value.data, kv->value.len),
            .len = kv->value.len,
            .mod_revision = kv->mod_revision};
    }
}

static bool on_part(struct store_call *call, const struct store_part *part)
{
    struct attempt *a = call->data;

    if (a->w != NULL && !member_is_mute(&a->w->members[a->member])) {
        a->w->counts.parts++;
        add(a, part->kvs, part->n);
    }
    return true;
}

void listing_ask(struct attempt *a, bool in_txn)
{
    static const struct range_request all = {
        .key = BYTES_LITERAL("k"), .range_end = BYTES_LITERAL("l")};

    a->listing = xcalloc(1, sizeof(*a->listing));
    a->call.part = on_part;
    if (in_txn) {
        a->op = (struct txn_op){.kind = OP_RANGE, .range = all};
        a->call.kind = STORE_TXN;
        a->call.txn = (struct txn_request){.success = &a->op, .n_success = 1};
    } else {
        a->call.kind = STORE_RANGE;
        a->call.range = all;
    }
}

uint64_t listing_begin(struct attempt *a)
{
    struct world *w = a->w;
    struct listing *l = a->listing;

    for (l->n = 0; l->n < w->set.keys; l->n++) {
        const char key[] = {'k', (char)('0' + l->n)};
        const struct history_call h = {.kind = HISTORY_GET, .key = bytes_make(key, sizeof(key))};

        l->numbers[l->n] = history_begin(w->history, w->now_us, &h);
    }
    return l->numbers[0];
}

void listing_last(struct attempt *a, const struct store_reply *reply)
{
    const struct range_reply *r =
        a->call.kind == STORE_TXN ? &reply->txn.ops[0].range : &reply->range;

    add(a, r->kvs, r->n_kvs);
}

void listing_end(struct attempt *a, const struct history_reply *reply)
{
    for (size_t i = 0; i < a->listing->n; i++) {
        const struct seen *s = &a->listing->keys[i];
        struct history_reply h = *reply;

        h.found = s->found;
        h.value = bytes_make(s->value, s->len);
        h.mod_revision = s->mod_revision;
        history_end(a->w->history, a->listing->numbers[i], a->w->now_us, &h);
    }
}

void listing_free(struct listing *l)
{
    for (size_t i = 0; l != NULL && i < l->n; i++) {
        free(l->keys[i].value);
    }
    free(l);
}
