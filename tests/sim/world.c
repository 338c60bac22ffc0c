#include "world.h"

#include <stdio.h>

#include "buggify.h"

enum { ZEROS_SHOWN = 8 };

/* ---- events: a binary heap ---- */

static bool is_before(const struct event *a, const struct event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->sequence < b->sequence;
}

void events_push(struct events *q, struct event e)
{
    size_t i = q->n++;

    if (i == q->cap) {
        q->cap = q->cap * 2 + 256;
        q->heap = xreallocarray(q->heap, q->cap, sizeof(*q->heap));
    }
    e.sequence = q->sequence++;
    for (; i > 0 && is_before(&e, &q->heap[(i - 1) / 2]); i = (i - 1) / 2) {
        q->heap[i] = q->heap[(i - 1) / 2];
    }
    q->heap[i] = e;
}

bool events_pop(struct events *q, struct event *ret)
{
    struct event last;
    size_t i = 0;

    if (q->n == 0) {
        return false;
    }
    *ret = q->heap[0];
    last = q->heap[--q->n];
    for (size_t child = 1; child < q->n; child = 2 * i + 1) {
        if (child + 1 < q->n && is_before(&q->heap[child + 1], &q->heap[child])) {
            child++;
        }
        if (!is_before(&q->heap[child], &last)) {
            break;
        }
        q->heap[i] = q->heap[child];
        i = child;
    }
    if (q->n > 0) {
        q->heap[i] = last;
    }
    return true;
}

void events_deinit(struct events *q)
{
    for (size_t i = 0; i < q->n; i++) {
        buf_unref(q->heap[i].body);
    }
    free(q->heap);
    *q = (struct events){0};
}

void world_push(struct world *w, struct event e)
{
    e.at_us = MAX(e.at_us, w->now_us);
    if (e.kind >= EVENT_FRAME && e.kind < EVENT_ITEM) {
        e.from_id = w->members[e.from].id;
        e.to_id = w->members[e.to].id;
    }
    events_push(&w->events, e);
}

/* ---- what it says ---- */

void world_mix(struct world *w, uint64_t word)
{
    w->hash = splitmix_mix(w->hash + word + 0x9e3779b97f4a7c15);
}

void world_trace(struct world *w, const char *fmt, ...)
{
    va_list ap;

    if (w->trace) {
        printf("%10.3f ", (double)w->now_us / 1000.0);
        va_start(ap, fmt);
        vprintf(fmt, ap);
        va_end(ap);
        putchar('\n');
    }
}

/* Values are padded with zeros: enough of them. */
static void shorten(struct strbuf *text)
{
    size_t n = 0, zeros = 0;

    for (size_t i = 0; i < text->len; i++) {
        zeros = text->data[i] == '0' ? zeros + 1 : 0;
        if (zeros <= ZEROS_SHOWN) {
            text->data[n++] = text->data[i];
        }
    }
    text->len = n;
}

void world_fail(struct world *w, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    strbuf_clear(&w->failure);
    strbuf_vprintf(&w->failure, fmt, ap);
    va_end(ap);
    shorten(&w->failure);
    longjmp(w->fail_env, 1);
}

/* ---- steps ---- */

static void do_item(struct world *w)
{
    const struct item *x = &w->plan->items[w->next_item++];

    if (w->next_item < w->plan->n) {
        world_push(w,
            (struct event){
                .at_us = w->plan->items[w->next_item].at_ms * SIM_MS, .kind = EVENT_ITEM});
    }
    if (w->phase != PHASE_LOAD) {
        return;
    }
    world_trace(w, "%s %" PRIu64 " %" PRIu64 " %" PRIu64, item_name(x->kind), x->args[0],
        x->args[1], x->args[2]);
    if (x->kind == ITEM_watch || x->kind == ITEM_watch_stall) {
        watch_do(w, x);
    } else if (x->kind >= ITEM_FIRST_OP) {
        client_do(w, x);
    } else {
        fault_do(w, x);
    }
}

/* A stopped process gets nothing; all of it waits in its sockets. */
static bool is_held(struct world *w, struct event *e)
{
    const struct member *m = &w->members[e->to];

    if (m->paused_until <= w->now_us || !member_is_up(m) || (e->life != 0 && e->life != m->life)) {
        return false;
    }
    e->at_us = m->paused_until;
    events_push(&w->events, *e);
    e->body = NULL;
    return true;
}

static void member_step(struct world *w, const struct event *e)
{
    struct member *m = &w->members[e->to];
    struct input in = {0};

    if (e->life != m->life || !member_is_up(m)) {
        return;
    }
    if (e->kind == EVENT_TICK) {
        in.kind = INPUT_TICK;
        w->counts.ticks++;
        if (w->n_gone > 0) {
            net_dial(w, m);
        }
        world_push(w,
            (struct event){
                .at_us = w->now_us + w->set.heartbeat_ms * SIM_MS * 1000 / m->clock_permille,
                .kind = EVENT_TICK,
                .to = m->i,
                .life = m->life});
    } else if (e->kind == EVENT_TURN) {
        in.kind = INPUT_TURN;
        w->counts.turns++;
        m->turn_due = false;
    } else {
        in.kind = INPUT_DISK;
        w->counts.writes++;
        m->disk_due = false;
    }
    (void)member_input(m, &in);
}

static void trace_event(struct world *w, const struct event *e)
{
    static const char *const names[] = {"tick", "turn", "disk", "frame", "unreachable", "link lost",
        "stream ready", "stream reply", "stream down", "stream frame", "stream cut",
        "stream resume", "stopped", "told", "item", "client", "give up", "watch"};
    _Static_assert(ARRAY_SIZE(names) == EVENT_KIND_END, "a name for each kind");

    world_trace(w, "%s %u -> %u", names[e->kind], e->from, e->to);
}

static void step(struct world *w, struct event *e)
{
    w->now_us = e->at_us;
    if (e->kind < EVENT_ITEM && is_held(w, e)) {
        return;
    }
    w->steps++;
    world_mix(w, e->at_us << 8 | (uint64_t)e->kind);
    world_mix(w, (uint64_t)e->from << 32 | e->to);
    if (w->trace && e->kind > EVENT_DISK) {
        trace_event(w, e);
    }
    switch (e->kind) {
    case EVENT_ITEM:
        do_item(w);
        break;
    case EVENT_CLIENT:
        client_step(w, e);
        break;
    case EVENT_GIVE_UP:
        client_give_up(w, e);
        break;
    case EVENT_WATCH:
        watch_step(w, e);
        break;
    case EVENT_STOPPED:
        if (e->life == w->members[e->to].life && w->members[e->to].stopping) {
            member_stop(&w->members[e->to]);
        }
        break;
    case EVENT_TOLD:
        if (e->life == w->members[e->to].life) {
            operator_removed(&w->members[e->to]);
        }
        break;
    case EVENT_TICK:
    case EVENT_TURN:
    case EVENT_DISK:
        member_step(w, e);
        break;
    default:
        net_deliver(w, e);
        break;
    }
}

void world_run_until(struct world *w, uint64_t at_us)
{
    struct event e;

    while (w->events.n > 0 && w->events.heap[0].at_us <= at_us && events_pop(&w->events, &e)) {
        step(w, &e);
        buf_unref(e.body);
    }
    w->now_us = at_us;
}

/* ---- a run ---- */

static struct world *current; /* whose code the fatal hook interrupts */

static void on_fatal(const char *line)
{
    if (current != NULL && current->inside != NULL) {
        (void)snprintf(current->fatal, sizeof(current->fatal), "%s", line);
        longjmp(current->inside_env, 1);
    }
}

static void no_log(enum log_level level _unused_, const char *line _unused_) {}

static void print_log(enum log_level level _unused_, const char *line)
{
    const struct member *m = current != NULL ? current->inside : NULL;

    printf("           %s: %s\n", m != NULL ? m->name : "-", line);
}

static struct world *world_new(const struct plan *plan, bool trace)
{
    struct world *w = xcalloc(1, sizeof(*w));

    w->plan = plan;
    w->set = plan->set;
    w->n = (size_t)(plan->set.members + plan->set.spares);
    w->trace = trace;
    w->net = chance_of(w->set.seed, 1);
    w->disk = chance_of(w->set.seed, 2);
    w->history = history_new();
    log_set_sink(trace ? print_log : no_log);
    log_set_level(trace ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
    bytes_hash_seed(w->set.seed, 1);
    buggify_seed(w->set.buggify != 0 ? w->set.seed + 1 : 0);
    return w;
}

static void world_free(struct world *w)
{
    net_deinit(w);
    for (uint32_t i = 0; i < w->n; i++) {
        member_deinit(&w->members[i]);
    }
    clients_deinit(w);
    members_deinit(&w->founders);
    check_deinit(w);
    truth_deinit(&w->truth);
    events_deinit(&w->events);
    history_free(w->history);
    strbuf_deinit(&w->failure);
    free(w);
}

static void begin(struct world *w)
{
    for (uint32_t i = 0; i < w->n; i++) {
        member_init(w, i);
    }
    net_init(w);
    clients_init(w);
    for (uint32_t i = 0; i < w->set.members; i++) {
        member_start(&w->members[i]);
    }
    if (w->plan->n > 0) {
        world_push(
            w, (struct event){.at_us = w->plan->items[0].at_ms * SIM_MS, .kind = EVENT_ITEM});
    }
}

static void run(struct world *w)
{
    begin(w);
    world_run_until(w, w->set.run_ms * SIM_MS);
    end_run(w);
}

void world_run(const struct plan *plan, bool trace, struct outcome *ret)
{
    struct world *w = world_new(plan, trace);

    *ret = (struct outcome){0};
    current = w;
    decree_set_fatal_hook(on_fatal);
    if (setjmp(w->fail_env) == 0) {
        run(w);
    } else {
        ret->failed = true;
        (void)snprintf(ret->failure, sizeof(ret->failure), "%s", strbuf_cstr(&w->failure));
        world_trace(w, "FAILED: %s", ret->failure);
    }
    if (w->inside != NULL) {
        w->inside->core = NULL; /* in the middle of something: it cannot be taken down */
        w->inside->mem = NULL;
        w->inside = NULL;
    }
    ret->hash = w->hash;
    ret->steps = w->steps;
    ret->virtual_us = w->now_us;
    ret->counts = w->counts;
    world_free(w);
    decree_set_fatal_hook(NULL);
    current = NULL;
}
