/* Links and streams between members, with the events that the peer layer would give: a frame, a
 * connection lost, a stream that opens, drains, is answered, breaks. Frames carry what a member
 * says byte for byte; who may say it (known, same incarnation) is asked as peer_in.c asks it. */
#include "world.h"

enum {
    DIAL_MS = 300,        /* until a stream that cannot open says so */
    TIMEOUT_MS = 3000,    /* until a connection without an answer counts as broken */
    REPEAT_MEAN_MS = 400, /* until a repeated frame comes again */
    WINDOW_DEFAULT = 1 << 20,
};

static struct link *link_of(struct world *w, uint32_t from, uint32_t to)
{
    return &w->links[from][to];
}

/* False: nobody runs under that id, not yet or not any more. */
static bool find_slot(const struct world *w, uint64_t id, uint32_t *ret)
{
    for (uint32_t i = 0; i < w->n; i++) {
        if (w->members[i].id == id) {
            *ret = i;
            return true;
        }
    }
    return false;
}

/* Does a take b for the member that it knows, or for one that it has not heard of yet? One that is
 * down cannot say. */
static bool knows(const struct member *a, const struct member *b)
{
    const struct store_member *known;

    if (a->core == NULL) {
        return true;
    }
    known = members_find(core_links(a->core), b->id);
    return known != NULL ? known->incarnation == 0 || known->incarnation == b->incarnation
                         : !members_is_removed(core_links(a->core), b->id);
}

/* It has an address: its table lists it, or the other one has come by. */
static bool can_dial(const struct member *a, const struct member *b)
{
    return a->w->links[a->i][b->i].met || members_find(core_links(a->core), b->id) != NULL;
}

/* Both sides of a connection say who they are when it begins, and each may refuse the other. */
static bool is_welcome(const struct world *w, uint32_t from, uint32_t to)
{
    const struct member *a = &w->members[from], *b = &w->members[to];

    return b->core != NULL && knows(a, b) && knows(b, a);
}

bool net_reaches(const struct world *w, uint32_t from, uint32_t to)
{
    return w->links[from][to].cuts == 0 && member_is_up(&w->members[from]) &&
        member_is_up(&w->members[to]);
}

static uint64_t latency(struct world *w, struct link *l)
{
    uint64_t at = w->now_us + 1 + chance_exp(&w->net, l->mean_us);

    if (l->lagged_until > w->now_us) {
        at += l->lag_us;
    }
    return MAX(at, l->clogged_until);
}

/* ---- frames ---- */

static void push_frame(struct world *w, uint32_t from, uint32_t to, uint64_t at, struct buf *body)
{
    world_push(w,
        (struct event){
            .at_us = at, .kind = EVENT_FRAME, .from = from, .to = to, .body = buf_ref(body)});
}

static void send_frame(struct world *w, uint32_t from, uint32_t to, struct buf *body)
{
    struct link *l = link_of(w, from, to);
    uint64_t at = latency(w, l);

    w->counts.frames++;
    if (l->cuts != 0 || chance_permille(&w->net, w->set.loss_permille)) {
        w->counts.frames_lost++;
        return;
    }
    if (w->set.fifo != 0) {
        at = MAX(at, l->last_us);
        l->last_us = at;
    } else if (chance_permille(&w->net, w->set.repeat_permille)) {
        w->counts.frames_repeated++;
        push_frame(w, from, to, at + chance_exp(&w->net, REPEAT_MEAN_MS * SIM_MS), body);
    }
    push_frame(w, from, to, at, body);
}

static uint8_t message_type(struct bytes body)
{
    struct msg_decoded m;
    uint8_t type = 0;

    if (frame_kind(body) == FRAME_RAFT && msg_decode(body, &m) == 0) {
        type = (uint8_t)m.msg.type;
        msg_decoded_deinit(&m);
    }
    return type;
}

static void env_send(void *data, uint64_t to_id, struct buf *const *parts, size_t n_parts)
{
    struct member *m = data;
    struct world *w = m->w;
    uint32_t to;
    size_t len = 0, at = 0;
    struct buf *body;

    if (member_is_mute(m) || !find_slot(w, to_id, &to) || !can_dial(m, &w->members[to])) {
        return;
    }
    for (size_t i = 0; i < n_parts; i++) {
        len += parts[i]->len;
    }
    body = buf_new(len);
    for (size_t i = 0; i < n_parts; i++) {
        memcpy(body->data + at, parts[i]->data, parts[i]->len);
        at += parts[i]->len;
    }
    check_frame(m, to, buf_bytes(body));
    send_frame(w, m->i, to, body);
    buf_unref(body);
}

static void env_flush(void *data _unused_) {}

static bool env_connected_since(void *data, uint64_t peer, uint64_t since_ms)
{
    struct member *m = data;
    uint32_t to;

    return find_slot(m->w, peer, &to) && net_reaches(m->w, m->i, to) &&
        link_of(m->w, m->i, to)->up_since_us * m->clock_permille / 1000 / SIM_MS <= since_ms;
}

/* ---- streams ---- */

static struct stream *stream_of(struct world *w, uint32_t from, uint32_t to)
{
    return &w->links[from][to].stream;
}

static void drop_held(struct stream *s)
{
    list_for_each_safe (it, &s->held) {
        struct held_frame *f = list_entry(it, struct held_frame, link);

        list_del(it);
        buf_unref(f->body);
        free(f);
    }
}

static void push_stream(struct world *w, enum event_kind kind, uint32_t from, uint32_t to,
    uint64_t at, uint64_t token, struct buf *body_consume)
{
    world_push(w,
        (struct event){.at_us = at,
            .kind = kind,
            .from = from,
            .to = to,
            .token = token,
            .body = body_consume});
}

/* After all that was sent on it. */
static void push_cut(struct world *w, uint32_t from, uint32_t to, uint64_t after_us)
{
    struct stream *s = stream_of(w, from, to);

    s->last_us = MAX(w->now_us + after_us, s->last_us + 1);
    push_stream(w, EVENT_STREAM_CUT, from, to, s->last_us, s->life, NULL);
}

static void close_stream(struct stream *s)
{
    s->open = s->paused = s->full = false;
    s->on_way = 0;
    drop_held(s);
}

static void break_stream(struct world *w, uint32_t from, uint32_t to, uint64_t after_us)
{
    struct stream *s = stream_of(w, from, to);

    if (s->open) {
        close_stream(s);
        push_stream(w, EVENT_STREAM_DOWN, to, from, w->now_us + after_us, s->life, NULL);
        push_cut(w, from, to, after_us);
    }
}

static void env_stream_open(void *data, uint64_t to_id)
{
    struct member *m = data;
    struct world *w = m->w;
    uint32_t to;
    struct stream *s;
    bool up;

    if (!find_slot(w, to_id, &to)) {
        return; /* it has been removed, and this member will hear of it */
    }
    s = stream_of(w, m->i, to);
    up = net_reaches(w, m->i, to) && net_reaches(w, to, m->i) && is_welcome(w, m->i, to) &&
        can_dial(m, &w->members[to]);
    if (s->open) {
        close_stream(s);
        push_cut(w, m->i, to, 0);
    }
    s->open = up;
    s->life++;
    if (up) {
        push_stream(
            w, EVENT_STREAM_READY, to, m->i, latency(w, link_of(w, m->i, to)), s->life, NULL);
    } else {
        push_stream(w, EVENT_STREAM_DOWN, to, m->i, w->now_us + DIAL_MS * SIM_MS, s->life, NULL);
    }
}

static bool env_stream_send(void *data, uint64_t to_id, struct buf *frame_consume)
{
    struct member *m = data;
    struct world *w = m->w;
    uint32_t to;
    struct stream *s = find_slot(w, to_id, &to) ? stream_of(w, m->i, to) : NULL;
    uint64_t at;

    if (s == NULL || member_is_mute(m) || !s->open) {
        buf_unref(frame_consume);
        return s == NULL || !s->open;
    }
    s->on_way += frame_consume->len;
    at = latency(w, link_of(w, m->i, to));
    s->last_us = MAX(at, s->last_us + 1);
    push_stream(w, EVENT_STREAM_FRAME, m->i, to, s->last_us, s->life, frame_consume);
    s->full = s->on_way >= MAX(w->set.stream_window, (uint64_t)1);
    return !s->full;
}

static void env_stream_close(void *data, uint64_t to_id)
{
    struct member *m = data;
    uint32_t to;
    struct stream *s = find_slot(m->w, to_id, &to) ? stream_of(m->w, m->i, to) : NULL;

    if (s != NULL && s->open && !member_is_mute(m)) {
        close_stream(s);
        push_cut(m->w, m->i, to, 0);
    }
}

static void env_stream_answer(void *data, uint64_t from_id, struct buf *frame_consume)
{
    struct member *m = data;
    struct world *w = m->w;
    uint32_t from;
    struct stream *s = find_slot(w, from_id, &from) ? stream_of(w, from, m->i) : NULL;

    if (s == NULL || member_is_mute(m) || !s->open) {
        buf_unref(frame_consume);
        return;
    }
    push_stream(w, EVENT_STREAM_REPLY, m->i, from, latency(w, link_of(w, m->i, from)), s->life,
        frame_consume);
}

static void env_stream_resume(void *data, uint64_t from_id)
{
    struct member *m = data;
    struct world *w = m->w;
    uint32_t from;
    struct stream *s = find_slot(w, from_id, &from) ? stream_of(w, from, m->i) : NULL;

    if (s != NULL && !member_is_mute(m) && s->open) {
        push_stream(w, EVENT_STREAM_RESUME, from, m->i, w->now_us, s->life, NULL);
    }
}

static void feed_stream(struct world *w, uint32_t from, uint32_t to, struct bytes body)
{
    struct stream *s = stream_of(w, from, to);
    struct member *m = &w->members[to];
    struct input in = {.kind = INPUT_STREAM_FRAME, .from = w->members[from].id, .body = body};
    uint64_t life = s->life;

    s->on_way -= MIN(s->on_way, body.len);
    if (s->cut_after != 0 && s->cut_after <= body.len) {
        s->cut_after = 0;
        w->counts.items[ITEM_stream_cut]++;
        break_stream(w, from, to, 0);
        return;
    }
    s->cut_after -= MIN(s->cut_after, (uint64_t)body.len);
    if (!member_input(m, &in) || !s->open || s->life != life) {
        return;
    }
    s->paused = in.rc > 0;
    if (in.rc < 0) {
        break_stream(w, from, to, 0);
    } else if (s->full && s->on_way == 0) {
        s->full = false;
        push_stream(
            w, EVENT_STREAM_READY, to, from, latency(w, link_of(w, to, from)), s->life, NULL);
    }
}

static void resume_stream(struct world *w, uint32_t from, uint32_t to)
{
    struct stream *s = stream_of(w, from, to);

    s->paused = false;
    while (s->open && !s->paused && !list_empty(&s->held)) {
        struct held_frame *f = list_entry(s->held.next, struct held_frame, link);
        struct buf *body = f->body;

        list_del(&f->link);
        free(f);
        feed_stream(w, from, to, buf_bytes(body));
        buf_unref(body);
    }
}

static void deliver_stream_frame(struct world *w, struct event *e)
{
    struct stream *s = stream_of(w, e->from, e->to);
    struct held_frame *f;

    if (!s->open || e->token != s->life) {
        return;
    }
    if (!net_reaches(w, e->from, e->to) || !is_welcome(w, e->from, e->to)) {
        break_stream(w, e->from, e->to, TIMEOUT_MS * SIM_MS);
    } else if (s->paused) {
        f = xcalloc(1, sizeof(*f));
        f->body = TAKE_PTR(e->body);
        list_add_tail(&s->held, &f->link);
    } else {
        feed_stream(w, e->from, e->to, buf_bytes(e->body));
    }
}

/* ---- delivery ---- */

static void deliver_frame(struct world *w, const struct event *e)
{
    struct input in = {.kind = INPUT_FRAME, .from = e->from_id, .body = buf_bytes(e->body)};
    uint8_t type;

    if (e->from_id != w->members[e->from].id) {
        return; /* its process is gone, and its connections with it */
    }
    if (link_of(w, e->from, e->to)->cuts != 0 || !is_welcome(w, e->from, e->to)) {
        w->counts.frames_lost++;
        return;
    }
    link_of(w, e->to, e->from)->met = true;
    type = message_type(in.body);
    if (w->filtered_until[type] > w->now_us) {
        w->counts.frames_lost++;
        return;
    }
    if (w->trace) {
        world_trace(w, "  message type %u", type);
    }
    world_mix(w, e->body->len);
    (void)member_input(&w->members[e->to], &in);
}

void net_deliver(struct world *w, struct event *e)
{
    struct member *m = &w->members[e->to];
    struct input in = {.from = e->from_id};
    const struct stream *sent = stream_of(w, e->to, e->from);
    bool is_mine = e->token == sent->life;

    if (e->to_id != m->id || !member_is_up(m) || (e->life != 0 && e->life != m->life)) {
        return;
    }
    if (e->body != NULL) {
        in.body = buf_bytes(e->body);
    }
    switch (e->kind) {
    case EVENT_FRAME:
        deliver_frame(w, e);
        return;
    case EVENT_STREAM_FRAME:
        deliver_stream_frame(w, e);
        return;
    case EVENT_STREAM_RESUME:
        if (e->token == stream_of(w, e->from, e->to)->life) {
            resume_stream(w, e->from, e->to);
        }
        return;
    case EVENT_UNREACHABLE:
        in.kind = INPUT_UNREACHABLE;
        break;
    case EVENT_LINK_LOST:
        in.kind = INPUT_LINK_LOST;
        break;
    case EVENT_STREAM_READY:
        if (!is_mine || !sent->open) {
            return;
        }
        in.kind = INPUT_STREAM_READY;
        break;
    case EVENT_STREAM_REPLY:
        if (!is_mine || !sent->open || link_of(w, e->from, e->to)->cuts != 0) {
            return;
        }
        in.kind = INPUT_STREAM_REPLY;
        break;
    case EVENT_STREAM_DOWN:
        if (!is_mine || sent->open) {
            return;
        }
        in.kind = INPUT_STREAM_DOWN;
        break;
    default:
        in.kind = INPUT_STREAM_CUT;
        break;
    }
    (void)member_input(m, &in);
}

/* ---- what the faults do ---- */

static void push_signal(
    struct world *w, enum event_kind kind, uint32_t about, uint32_t to, uint64_t after_us)
{
    if (member_is_up(&w->members[to])) {
        world_push(w,
            (struct event){.at_us = w->now_us + after_us,
                .kind = kind,
                .from = about,
                .to = to,
                .life = w->members[to].life});
    }
}

void net_purge(struct world *w, uint32_t member)
{
    for (size_t i = 0; i < w->events.n; i++) {
        struct event *e = &w->events.heap[i];

        if (e->kind == EVENT_FRAME && (e->from == member || e->to == member)) {
            e->life = UINT64_MAX; /* of no process */
        }
    }
}

void net_dial(struct world *w, struct member *m)
{
    for (uint32_t k = 0; k < w->n; k++) {
        struct member *by = &w->members[k];

        if (k != m->i && net_reaches(w, m->i, k) && net_reaches(w, k, m->i) && can_dial(m, by) &&
            members_is_removed(core_links(by->core), m->id)) {
            push_signal(w, EVENT_TOLD, k, m->i, latency(w, link_of(w, k, m->i)) - w->now_us);
            return;
        }
    }
}

void net_reset(struct world *w, uint32_t from, uint32_t to)
{
    uint64_t after = chance_exp(&w->net, w->set.latency_us);

    link_of(w, from, to)->up_since_us = w->now_us;
    push_signal(w, EVENT_UNREACHABLE, to, from, after);
    push_signal(w, EVENT_LINK_LOST, from, to, after);
    break_stream(w, from, to, after);
}

/* A process's connections are closed by its kernel; a machine without power says nothing, and the
 * others find out. */
void net_on_gone(struct world *w, uint32_t member, bool silent)
{
    uint64_t wait = silent ? TIMEOUT_MS * SIM_MS : 0;

    for (uint32_t k = 0; k < w->n; k++) {
        struct stream *to = stream_of(w, k, member), *from = stream_of(w, member, k);
        uint64_t after = wait + chance_exp(&w->net, w->set.latency_us);

        if (k == member) {
            continue;
        }
        link_of(w, member, k)->met = false;
        if (to->open) {
            close_stream(to);
            push_stream(w, EVENT_STREAM_DOWN, member, k, w->now_us + after, to->life, NULL);
        }
        if (from->open) {
            close_stream(from);
            push_cut(w, member, k, after);
        }
        link_of(w, member, k)->up_since_us = link_of(w, k, member)->up_since_us = w->now_us;
        if (!silent && link_of(w, member, k)->cuts == 0) {
            push_signal(w, EVENT_UNREACHABLE, member, k, after);
            push_signal(w, EVENT_LINK_LOST, member, k, after);
        }
    }
}

void net_heal(struct world *w, uint64_t calm_us)
{
    for (uint32_t a = 0; a < w->n; a++) {
        for (uint32_t b = 0; b < w->n; b++) {
            link_of(w, a, b)->cuts = 0;
            link_of(w, a, b)->clogged_until = link_of(w, a, b)->lagged_until = 0;
            link_of(w, a, b)->stream.cut_after = 0;
            link_of(w, a, b)->mean_us = MIN(link_of(w, a, b)->mean_us, calm_us);
        }
    }
    memset(w->filtered_until, 0, sizeof(w->filtered_until));
    w->set.loss_permille = w->set.repeat_permille = 0;
}

/* ---- life ---- */

void net_init(struct world *w)
{
    for (uint32_t a = 0; a < w->n; a++) {
        for (uint32_t b = 0; b < w->n; b++) {
            struct link *l = link_of(w, a, b);

            list_init(&l->stream.held);
            l->mean_us =
                w->set.latency_us * chance_between(&w->net, 1, MAX(w->set.latency_spread, 1ul));
        }
    }
}

void net_deinit(struct world *w)
{
    for (uint32_t a = 0; a < w->n; a++) {
        for (uint32_t b = 0; b < w->n; b++) {
            if (w->links[a][b].stream.held.next != NULL) {
                drop_held(&w->links[a][b].stream);
            }
        }
    }
}

void net_bind(struct member *m)
{
    m->env.send = env_send;
    m->env.flush = env_flush;
    m->env.connected_since = env_connected_since;
    m->env.stream_open = env_stream_open;
    m->env.stream_send = env_stream_send;
    m->env.stream_close = env_stream_close;
    m->env.stream_answer = env_stream_answer;
    m->env.stream_resume = env_stream_resume;
}
