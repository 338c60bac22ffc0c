/* The network between simulated members, and whatever else a member asks of its world. */
#include "node_sim_impl.h"
#include "splitmix.h"

enum { STREAM_WINDOW = 256 << 10 };

/* ---- the world that a member asks ---- */

static uint64_t env_now(void *data)
{
    return ((struct sim_member *)data)->sim->now_ms;
}

static uint64_t env_random(void *data)
{
    struct sim_member *m = data;

    return splitmix_next(&m->chance);
}

static void env_wake(void *data)
{
    (void)data;
}

size_t sim_index_of(const struct sim *s, uint64_t id)
{
    size_t i = 0;

    while (i < s->n && s->members[i].id != id) {
        i++;
    }
    return i;
}

/* Does b listen to a? Not when it knows that a was removed and has let go of it. */
static bool listens(const struct sim *s, size_t b, size_t a)
{
    const struct members *links = core_links(s->members[b].core);
    uint64_t id = s->members[a].id;

    return !members_is_removed(links, id) || members_find(links, id) != NULL;
}

static bool reaches(const struct sim *s, size_t a, size_t b)
{
    return b < s->n && !s->members[a].cut && !s->members[b].cut && s->members[b].core != NULL &&
        listens(s, b, a);
}

static bool has_power(const struct sim *s, size_t i)
{
    return !wal_mem_is_dead(s->members[i].mem);
}

/* What a member says after its machine lost power was never said. */
static void push_to(struct list *queue, struct sim *s, enum sim_event_kind kind, size_t from,
    size_t to, struct buf *body_consume)
{
    struct sim_event *e;

    if (!has_power(s, from)) {
        buf_unref(body_consume);
        return;
    }
    e = xcalloc(1, sizeof(*e));
    *e = (struct sim_event){.kind = kind, .from = from, .to = to, .body = body_consume};
    list_add_tail(queue, &e->link);
}

static void push(
    struct sim *s, enum sim_event_kind kind, size_t from, size_t to, struct buf *body_consume)
{
    push_to(&s->events, s, kind, from, to, body_consume);
}

static void env_send(void *data, uint64_t to, struct buf *const *parts, size_t n_parts)
{
    struct sim_member *m = data;
    _cleanup_strbuf_ struct strbuf body = {0};
    size_t t = sim_index_of(m->sim, to);

    for (size_t i = 0; i < n_parts; i++) {
        strbuf_append_bytes(&body, buf_bytes(parts[i]));
    }
    if (reaches(m->sim, m->i, t)) {
        push_to(&m->unsent, m->sim, SIM_FRAME, m->i, t, buf_copy(strbuf_bytes(&body)));
    }
}

static void env_flush(void *data)
{
    struct sim_member *m = data;

    list_splice_tail(&m->sim->events, &m->unsent);
}

static bool env_connected(void *data, uint64_t peer, uint64_t since_ms)
{
    struct sim_member *m = data;

    (void)since_ms;
    return reaches(m->sim, m->i, sim_index_of(m->sim, peer));
}

static void env_stream_open(void *data, uint64_t to)
{
    struct sim_member *m = data;
    size_t t = sim_index_of(m->sim, to);

    if (t < m->sim->n) {
        push(m->sim, reaches(m->sim, m->i, t) ? SIM_READY : SIM_DOWN, t, m->i, NULL);
    }
}

static bool env_stream_send(void *data, uint64_t to, struct buf *frame_consume)
{
    struct sim_member *m = data;
    struct sim *s = m->sim;
    size_t t = sim_index_of(s, to);

    s->on_way[m->i][t] += frame_consume->len;
    push(s, SIM_STREAM, m->i, t, frame_consume);
    s->full[m->i][t] = s->on_way[m->i][t] >= STREAM_WINDOW;
    return !s->full[m->i][t];
}

void sim_drop_stream(struct sim *s, size_t from, size_t to)
{
    list_for_each_safe (it, &s->events) {
        struct sim_event *e = list_entry(it, struct sim_event, link);

        if (e->kind == SIM_STREAM && e->from == from && e->to == to) {
            list_del(&e->link);
            buf_unref(e->body);
            free(e);
        }
    }
    s->on_way[from][to] = 0;
    s->full[from][to] = s->paused[from][to] = false;
}

static void env_stream_close(void *data, uint64_t to)
{
    struct sim_member *m = data;
    size_t t = sim_index_of(m->sim, to);

    if (t < m->sim->n) {
        sim_drop_stream(m->sim, m->i, t);
        push(m->sim, SIM_CUT, m->i, t, NULL);
    }
}

static void env_stream_answer(void *data, uint64_t from, struct buf *frame_consume)
{
    struct sim_member *m = data;

    push(m->sim, SIM_REPLY, m->i, sim_index_of(m->sim, from), frame_consume);
}

static void env_stream_resume(void *data, uint64_t from)
{
    struct sim_member *m = data;

    m->sim->paused[sim_index_of(m->sim, from)][m->i] = false;
}

static void env_metrics(void *data, struct store_metrics *ret)
{
    (void)data;
    ret->n_peers = 0;
}

static void env_members_changed(void *data)
{
    (void)data;
}

static void env_memory_freed(void *data)
{
    ((struct sim_member *)data)->sim->freed++;
}

struct core_env sim_env_of(struct sim_member *m)
{
    return (struct core_env){.data = m,
        .now_ms = env_now,
        .random = env_random,
        .wake = env_wake,
        .send = env_send,
        .flush = env_flush,
        .connected_since = env_connected,
        .stream_open = env_stream_open,
        .stream_send = env_stream_send,
        .stream_close = env_stream_close,
        .stream_answer = env_stream_answer,
        .stream_resume = env_stream_resume,
        .metrics = env_metrics,
        .members_changed = env_members_changed,
        .memory_freed = env_memory_freed};
}

/* ---- what is on its way ---- */

static void break_stream(struct sim *s, size_t from, size_t to)
{
    sim_drop_stream(s, from, to);
    push(s, SIM_DOWN, to, from, NULL);
    push(s, SIM_CUT, from, to, NULL);
}

static void deliver_stream(struct sim *s, const struct sim_event *e)
{
    struct sim_member *from = &s->members[e->from];
    struct sim_member *to = &s->members[e->to];
    int rc;

    s->on_way[e->from][e->to] -= e->body->len;
    if (s->stream_cut_after != 0 && s->stream_cut_after <= e->body->len) {
        s->stream_cut_after = 0;
        break_stream(s, e->from, e->to);
        return;
    }
    s->stream_cut_after -= MIN(s->stream_cut_after, (uint64_t)e->body->len);
    rc = core_stream_frame(to->core, from->id, buf_bytes(e->body));
    if (rc > 0) {
        s->paused[e->from][e->to] = true;
    } else if (rc < 0) {
        break_stream(s, e->from, e->to);
    }
    if (s->full[e->from][e->to] && s->on_way[e->from][e->to] == 0) {
        s->full[e->from][e->to] = false;
        push(s, SIM_READY, e->to, e->from, NULL);
    }
}

static void replay(struct sim *s, const struct sim_event *e)
{
    push(s, e->kind, e->from, e->to, buf_ref(e->body));
    list_entry(s->events.prev, struct sim_event, link)->again = true;
}

static void deliver(struct sim *s, const struct sim_event *e)
{
    struct sim_member *from = &s->members[e->from];
    struct sim_member *to = &s->members[e->to];

    if (to->core == NULL) {
        return;
    }
    switch (e->kind) {
    case SIM_FRAME:
        if (reaches(s, e->from, e->to)) {
            s->frames++;
            core_frame(to->core, from->id, buf_bytes(e->body));
            if (s->replay && !e->again) {
                replay(s, e);
            }
        }
        break;
    case SIM_READY:
        core_stream_ready(to->core, from->id);
        break;
    case SIM_STREAM:
        if (reaches(s, e->from, e->to)) {
            deliver_stream(s, e);
        } else {
            break_stream(s, e->from, e->to);
        }
        break;
    case SIM_REPLY:
        core_stream_reply(to->core, from->id, buf_bytes(e->body));
        break;
    case SIM_DOWN:
        core_stream_down(to->core, from->id, "the link broke");
        break;
    case SIM_CUT:
        core_stream_cut(to->core, from->id);
        break;
    }
}

bool sim_deliver_next(struct sim *s)
{
    list_for_each (it, &s->events) {
        struct sim_event *e = list_entry(it, struct sim_event, link);

        if (e->kind == SIM_STREAM && s->paused[e->from][e->to]) {
            continue;
        }
        list_del(&e->link);
        deliver(s, e);
        buf_unref(e->body);
        free(e);
        return true;
    }
    return false;
}
