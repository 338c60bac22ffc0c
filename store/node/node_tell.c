#include "node_tell.h"

#include "alloc.h"

/* Whoever can reach the port may ask, and may hang up and ask again: those that are more are told
 * at once what this member knows by itself. */
enum { WAITING_MAX = 256 };

struct telling {
    struct list link;
    struct node_tell *tell;
    uint64_t question;
    unsigned ticks; /* left for the read */
    struct store_call call;
};

void node_tell_init(
    struct node_tell *t, struct store *core, struct peers *peers, unsigned patience_ticks)
{
    *t = (struct node_tell){.core = core, .peers = peers, .patience_ticks = patience_ticks};
    list_init(&t->waiting);
}

static void answer(struct telling *x, bool agreed)
{
    struct node_tell *t = x->tell;
    _cleanup_strbuf_ struct strbuf table = {0};

    (void)core_join_answer(t->core, agreed, &table);
    list_del(&x->link);
    t->n_waiting--;
    peers_tell_members(t->peers, x->question, strbuf_bytes(&table));
    free(x);
}

static void node_tell_on_read(struct store_call *call, int status, const struct store_reply *reply)
{
    (void)reply;
    answer(call->data, status == 0);
}

void node_tell_ask(struct node_tell *t, uint64_t question)
{
    struct telling *x = xcalloc(1, sizeof(*x));

    x->tell = t;
    x->question = question;
    x->ticks = t->patience_ticks;
    x->call = (struct store_call){.kind = STORE_MEMBER_LIST,
        .member_list = {.linearizable = true},
        .cb = node_tell_on_read,
        .data = x};
    list_add_tail(&t->waiting, &x->link);
    if (++t->n_waiting > WAITING_MAX) {
        answer(x, false);
        return;
    }
    store_submit(t->core, &x->call);
}

void node_tell_tick(struct node_tell *t)
{
    list_for_each_safe (it, &t->waiting) {
        struct telling *x = list_entry(it, struct telling, link);

        if (x->ticks-- == 0) {
            store_cancel(t->core, &x->call);
            answer(x, false);
        }
    }
}
