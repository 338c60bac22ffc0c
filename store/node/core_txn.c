/* Txns that only read. A txn sees one state: where it needs more than a turn, nothing is applied
 * and nobody else is served until it is through (core_is_closed).
 *
 *     served --few keys--> answered
 *         `--many--> at work, a step in each turn --> answered */
#include "core.h"

void core_txn_init(struct store *s)
{
    list_init(&s->txn.call);
}

static struct store_call *call_of(const struct txn_read *x)
{
    return list_empty(&x->call) ? NULL : list_entry(x->call.next, struct store_call, link_);
}

static void on_part(void *data, const struct store_part *part)
{
    struct store *s = data;
    struct store_call *c = call_of(&s->txn);

    if (c != NULL) {
        (void)c->part(c, part);
    }
}

static void end(struct store *s)
{
    s->txn.work = mvcc_work_close(s->txn.work);
    arena_deinit(&s->txn.arena);
}

void core_txn_step(struct store *s)
{
    struct txn_read *x = &s->txn;
    size_t given = core_work_steps(), steps = given;
    struct store_call *c;
    int rc;

    if (x->work == NULL) {
        return;
    }
    rc = call_of(x) != NULL ? mvcc_work_step(x->work, &steps) : 0;
    s->reads.keys_left -= MIN(s->reads.keys_left, given - steps);
    c = call_of(x); /* a part may have been one too many for its owner */
    if (c == NULL) {
        end(s);
    } else if (rc > 0) {
        MARK("txn_read_takes_many_turns");
        core_call_postpone(s, c);
    } else {
        x->work = mvcc_work_close(x->work);
        core_answer(s, c, rc, rc < 0 ? NULL : &x->reply);
        end(s);
    }
    core_mark(s);
}

void core_txn_serve(struct store *s, struct store_call *c)
{
    struct txn_read *x = &s->txn;
    struct mvcc_answer answer = {
        .part = c->part != NULL ? on_part : NULL, .data = s, .own = core_own_keys()};

    decree_assert(!core_is_closed(s));
    core_call_move(s, c, CALL_READING, &x->call);
    x->reply = (struct store_reply){.header = store_header(s)};
    x->arena = (struct arena){.limit = READ_ARENA_BYTES_MAX};
    x->work = mvcc_work_txn(s->mvcc, &c->txn, &x->arena, &answer, &x->reply.txn);
    core_txn_step(s);
}

void core_txn_give_up(struct store *s)
{
    struct store_call *c = call_of(&s->txn);

    if (c != NULL) {
        core_refuse(s, c, DECREE_ELEADER_CHANGED); /* parts of it may be out */
    }
    end(s);
}
