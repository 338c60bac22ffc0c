/* Two small state machines:
 *
 *   group:   READING ──all pages──> FOLLOWING ──compacted, or back in time──> READING
 *               └─error──> WAITING ──back-off──> READING
 *   stream:  CLOSED ──group follows──> OPENING ──created──> OPEN
 *               OPENING, OPEN ──end, error, silence──> PAUSED ──back-off──> OPENING
 */
#include "sync.h"

#include <errno.h>

#include "backoff.h"
#include "clock.h"
#include "log.h"

enum group_state { GROUP_READING, GROUP_FOLLOWING, GROUP_WAITING };
enum { GRPC_OUT_OF_RANGE = 11 };
enum stream_state { STREAM_CLOSED, STREAM_OPENING, STREAM_OPEN, STREAM_PAUSED };

struct sync_group {
    struct sync *s;
    size_t index;
    enum group_state state;
    bool was_read;            /* from the store, at least once */
    struct client_call *call; /* of the page that is being read */
    size_t region;            /* of that page */
    struct strbuf next_key;   /* where that page begins */
    int64_t revision;         /* of the whole read; 0 = not known before the first page */
    struct client_call *probe;
    bool probe_again; /* more came to wait while a probe was under way */
    unsigned failures;
    uv_timer_t timer; /* the back-off */
};

struct sync_stream {
    struct sync *s;
    size_t region;
    enum stream_state state;
    struct client_watch *watch;
    unsigned failures;
    int64_t
        probed_received; /* `received` when a probe saw changes the stream had not told; 0 = none */
    uint64_t probed_ms;
    int64_t asked_received; /* `received` when the probe under way was sent */
    uv_timer_t timer;       /* OPENING: its time limit; PAUSED: the back-off */
};

struct sync {
    uv_loop_t *loop;
    struct client *client;
    struct mirror *mirror;
    struct sync_handler handler;
    void *data;
    struct sync_group *groups;   /* owned, n_groups */
    struct sync_stream *streams; /* owned, one a region */
    size_t n_groups;             /* the mirror may be gone when the last timer has closed */
    struct client_call *pulse;
    unsigned pulses;
    bool online;
    bool told; /* on_online has been called */
    uv_timer_t timer;
    size_t open_handles;
};

static void group_read(struct sync_group *g);
static void group_probe(struct sync_group *g);
static void stream_open(struct sync_stream *st);

static const struct backoff backoff = {SYNC_BACKOFF_MIN_MS, SYNC_BACKOFF_MAX_MS, .part = 2};

static void set_online(struct sync *s, bool online, const char *error)
{
    if (s->online != online || !s->told) {
        s->online = online;
        s->told = true;
        s->handler.on_online(s->data, online, error);
    }
}

/* Streams */

static void stream_close(struct sync_stream *st)
{
    if (st->watch != NULL) {
        client_watch_close(st->watch);
        st->watch = NULL;
    }
    (void)uv_timer_stop(&st->timer);
    st->probed_received = 0;
    st->state = STREAM_CLOSED;
}

static void on_stream_timer(uv_timer_t *timer);

static void stream_pause(struct sync_stream *st, const char *why)
{
    uint64_t ms;

    stream_close(st);
    st->failures++;
    ms = backoff_ms(&backoff, st->failures);
    log_debug("watch interrupted, opening it again in %" PRIu64 " ms: %s region=%zu", ms, why,
        st->region);
    st->state = STREAM_PAUSED;
    (void)uv_timer_start(&st->timer, on_stream_timer, ms, 0);
}

static void on_stream_timer(uv_timer_t *timer)
{
    struct sync_stream *st = timer->data;

    if (st->state == STREAM_OPENING) {
        set_online(st->s, false, "the store does not answer a watch request");
        stream_pause(st, "not created in time");
    } else {
        stream_open(st);
    }
}

static struct sync_group *group_of(const struct sync_stream *st)
{
    return &st->s->groups[mirror_region_group(st->s->mirror, st->region)];
}

static void settle(struct sync_group *g)
{
    struct sync *s = g->s;

    if (!mirror_settle(s->mirror, g->index)) {
        group_probe(g);
    }
    s->handler.on_settled(s->data, g->index);
}

static void on_created(void *data)
{
    struct sync_stream *st = data;

    (void)uv_timer_stop(&st->timer);
    st->state = STREAM_OPEN;
    st->failures = 0;
    set_online(st->s, true, NULL);
}

static bool is_of_region(const struct sync_stream *st, struct bytes key)
{
    const struct mirror *m = st->s->mirror;

    return bytes_cmp(key, mirror_region_start(m, st->region)) >= 0 &&
        bytes_cmp(key, mirror_region_end(m, st->region)) < 0;
}

static void on_events(void *data, const struct client_event *events, size_t n)
{
    struct sync_stream *st = data;

    for (size_t i = 0; i < n; i++) {
        if (!is_of_region(st, events[i].key)) {
            stream_pause(st, "an event of a key that is not watched");
            return;
        }
    }
    for (size_t i = 0; i < n; i++) {
        mirror_push(st->s->mirror, st->region, events[i].deleted, events[i].key, events[i].value,
            events[i].mod_revision);
    }
    st->probed_received = 0;
    settle(group_of(st));
}

static void on_progress(void *data, int64_t revision)
{
    struct sync_stream *st = data;

    mirror_confirm(st->s->mirror, st->region, revision);
    settle(group_of(st));
}

static void on_compacted(void *data, int64_t compact_revision)
{
    struct sync_stream *st = data;

    log_info("the store has compacted what was missed, reading again region=%zu rev=%" PRId64
             " compacted=%" PRId64,
        st->region, mirror_received(st->s->mirror, st->region), compact_revision);
    group_read(group_of(st));
}

static void on_end(void *data, const char *error)
{
    struct sync_stream *st = data;

    if (st->state == STREAM_OPENING) {
        set_online(st->s, false, error);
    }
    stream_pause(st, error);
}

static void stream_open(struct sync_stream *st)
{
    static const struct client_watch_handler handler = {
        .on_created = on_created,
        .on_events = on_events,
        .on_progress = on_progress,
        .on_compacted = on_compacted,
        .on_end = on_end,
    };
    struct sync *s = st->s;

    st->state = STREAM_OPENING;
    st->watch = client_watch_open(s->client, mirror_region_start(s->mirror, st->region),
        mirror_region_end(s->mirror, st->region), mirror_received(s->mirror, st->region) + 1,
        &handler, st);
    (void)uv_timer_start(&st->timer, on_stream_timer, CLIENT_CALL_TIMEOUT_MS, 0);
}

/* Calls op for every stream of the group. */
static void each_stream(const struct sync_group *g, void (*op)(struct sync_stream *st))
{
    for (size_t i = 0; i < mirror_n_regions(g->s->mirror); i++) {
        if (mirror_region_group(g->s->mirror, i) == g->index) {
            op(&g->s->streams[i]);
        }
    }
}

/* Reading a group: page by page through its regions, all at the revision of the first page. */

static void on_group_timer(uv_timer_t *timer)
{
    struct sync_group *g = timer->data;

    if (g->state == GROUP_FOLLOWING) {
        group_probe(g);
    } else {
        group_read(g);
    }
}

static void group_wait(struct sync_group *g)
{
    g->failures++;
    g->state = GROUP_WAITING;
    (void)uv_timer_start(&g->timer, on_group_timer, backoff_ms(&backoff, g->failures), 0);
}

static void group_follow(struct sync_group *g)
{
    struct sync *s = g->s;

    g->failures = 0;
    g->state = GROUP_FOLLOWING;
    g->was_read = true;
    set_online(s, true, NULL);
    s->handler.on_loaded(s->data, g->index);
    mirror_load_commit(s->mirror, g->index, g->revision);
    each_stream(g, stream_open);
    s->handler.on_settled(s->data, g->index);
}

static bool next_region(struct sync_group *g)
{
    const struct mirror *m = g->s->mirror;

    for (; g->region < mirror_n_regions(m); g->region++) {
        if (mirror_region_group(m, g->region) == g->index) {
            strbuf_clear(&g->next_key);
            strbuf_append_bytes(&g->next_key, mirror_region_start(m, g->region));
            return true;
        }
    }
    return false;
}

static void request_page(struct sync_group *g);

/* The keys of one answer, each of them asked for and behind the one before: the mirror relies on
 * it. next_key moves behind the last one. */
static int take_page(struct sync_group *g, const json_t *kvs)
{
    _cleanup_strbuf_ struct strbuf key = {0}, value = {0};
    struct mirror *m = g->s->mirror;

    for (size_t i = 0; i < json_array_size(kvs); i++) {
        const json_t *kv = json_array_get(kvs, i);

        strbuf_clear(&key);
        strbuf_clear(&value);
        if (client_get_bytes(kv, "key", &key) < 0 || client_get_bytes(kv, "value", &value) < 0 ||
            bytes_cmp(strbuf_bytes(&key), strbuf_bytes(&g->next_key)) < 0 ||
            bytes_cmp(strbuf_bytes(&key), mirror_region_end(m, g->region)) >= 0) {
            return -EBADMSG;
        }
        mirror_load_add(m, g->region, strbuf_bytes(&key), strbuf_bytes(&value),
            client_get_int(kv, "mod_revision"));
        strbuf_clear(&g->next_key);
        strbuf_append_bytes(&g->next_key, strbuf_bytes(&key));
        strbuf_append_char(&g->next_key, '\0');
    }
    return 0;
}

static void on_page(void *data, const struct client_reply *reply)
{
    struct sync_group *g = data;

    g->call = NULL;
    if (reply->outcome != CLIENT_OK) {
        if (reply->grpc_code != GRPC_OUT_OF_RANGE) {
            set_online(g->s, false, reply->error);
        } /* else compacted between two pages: the next read takes a newer revision */
        group_wait(g);
        return;
    }
    if (g->revision == 0) {
        g->revision = client_get_int(json_object_get(reply->body, "header"), "revision");
    }
    if (g->revision <= 0 || take_page(g, json_object_get(reply->body, "kvs")) < 0) {
        set_online(g->s, false, "the store's answer cannot be read, or is not to what was asked");
        group_wait(g);
        return;
    }
    if (!json_is_true(json_object_get(reply->body, "more")) ||
        json_array_size(json_object_get(reply->body, "kvs")) == 0) {
        g->region++;
        if (!next_region(g)) {
            group_follow(g);
            return;
        }
    }
    request_page(g);
}

static void request_page(struct sync_group *g)
{
    struct sync *s = g->s;
    json_t *request = json_object();

    (void)json_object_set_new(request, "key", client_json_bytes(strbuf_bytes(&g->next_key)));
    (void)json_object_set_new(
        request, "range_end", client_json_bytes(mirror_region_end(s->mirror, g->region)));
    (void)json_object_set_new(request, "limit", client_json_int(SYNC_PAGE_KEYS));
    if (g->revision != 0) {
        (void)json_object_set_new(request, "revision", client_json_int(g->revision));
    }
    g->call = client_post(s->client, "/v3/kv/range", request, 0, on_page, g);
}

static void abort_call(struct client_call **call)
{
    if (*call != NULL) {
        client_call_abort(*call);
        *call = NULL;
    }
}

static void group_read(struct sync_group *g)
{
    each_stream(g, stream_close);
    abort_call(&g->call);
    abort_call(&g->probe);
    g->probe_again = false;
    (void)uv_timer_stop(&g->timer);
    g->state = GROUP_READING;
    g->revision = 0;
    g->region = 0;
    mirror_load_begin(g->s->mirror, g->index);
    (void)next_region(g);
    request_page(g);
}

/* The deep probe: one transaction, so one revision, with a question for each region of the group:
 * is there a key changed after `received`, and how many keys are there? No changed key and as many
 * keys as in the mirror mean that nothing happened up to the answer's revision (a deletion lowers
 * the count, and only a creation, which is a change, could make up for it). */

static json_t *probe_question(const struct sync *s, size_t region)
{
    json_t *range = json_object();
    json_t *op = json_object();

    (void)json_object_set_new(
        range, "key", client_json_bytes(mirror_region_start(s->mirror, region)));
    (void)json_object_set_new(
        range, "range_end", client_json_bytes(mirror_region_end(s->mirror, region)));
    (void)json_object_set_new(
        range, "min_mod_revision", client_json_int(mirror_received(s->mirror, region) + 1));
    (void)json_object_set_new(range, "limit", client_json_int(1));
    (void)json_object_set_new(range, "keys_only", json_true());
    (void)json_object_set_new(op, "request_range", range);
    return op;
}

/* A stream that still owes what an earlier probe saw is dead, whatever its connection says. The
 * first such answer starts the grace, after which one more probe decides. */
static void judge_stream(struct sync_stream *st)
{
    struct sync *s = st->s;
    int64_t received = mirror_received(s->mirror, st->region);
    uint64_t now = clock_boot_ms();

    if (st->state != STREAM_OPEN) {
        return;
    }
    if (st->probed_received != received) {
        st->probed_received = received;
        st->probed_ms = now;
        (void)uv_timer_start(&group_of(st)->timer, on_group_timer, SYNC_GRACE_MS, 0);
    } else if (now - st->probed_ms >= SYNC_GRACE_MS) {
        log_warn("a watch has gone silent although its keys change, opening it again region=%zu "
                 "rev=%" PRId64,
            st->region, received);
        stream_pause(st, "silent");
    }
}

static void take_answer(struct sync_stream *st, const json_t *response, int64_t revision)
{
    struct mirror *m = st->s->mirror;
    const json_t *range = json_object_get(response, "response_range");
    bool changed = json_array_size(json_object_get(range, "kvs")) > 0;

    if (mirror_received(m, st->region) != st->asked_received) {
        return; /* the stream has spoken since: the answer is about an older state */
    }
    if (!mirror_region_pending(m, st->region)) {
        changed = changed ||
            client_get_int(range, "count") != (int64_t)mirror_region_count(m, st->region);
    } else if (!changed) {
        return; /* it is ahead of the others, and its count is not that of its last event */
    }
    if (changed) {
        judge_stream(st);
    } else {
        mirror_confirm(m, st->region, revision);
        st->probed_received = 0;
    }
}

static void on_probe(void *data, const struct client_reply *reply)
{
    struct sync_group *g = data;
    struct sync *s = g->s;
    const json_t *responses = json_object_get(reply->body, "responses");
    int64_t revision = client_get_int(json_object_get(reply->body, "header"), "revision");
    size_t n = 0;

    g->probe = NULL;
    if (reply->outcome != CLIENT_OK) {
        /* Events may wait for this answer. */
        (void)uv_timer_start(&g->timer, on_group_timer, SYNC_BACKOFF_MAX_MS, 0);
        return;
    }
    for (size_t i = 0; i < mirror_n_regions(s->mirror); i++) {
        if (mirror_region_group(s->mirror, i) == g->index) {
            take_answer(&s->streams[i], json_array_get(responses, n++), revision);
        }
    }
    /* What still waits now, waits for events that are on their way: no need to ask again for it. */
    (void)mirror_settle(s->mirror, g->index);
    if (g->probe_again) {
        g->probe_again = false;
        group_probe(g);
    }
    s->handler.on_settled(s->data, g->index);
}

static void group_probe(struct sync_group *g)
{
    struct sync *s = g->s;
    json_t *ops, *request;

    if (g->state != GROUP_FOLLOWING) {
        return;
    }
    if (g->probe != NULL) {
        g->probe_again = true;
        return;
    }
    ops = json_array();
    request = json_object();
    for (size_t i = 0; i < mirror_n_regions(s->mirror); i++) {
        if (mirror_region_group(s->mirror, i) == g->index) {
            s->streams[i].asked_received = mirror_received(s->mirror, i);
            (void)json_array_append_new(ops, probe_question(s, i));
        }
    }
    (void)json_object_set_new(request, "success", ops);
    g->probe = client_post(s->client, "/v3/kv/txn", request, 0, on_probe, g);
}

/* The pulse: does the store answer, and is it not older than what it has told already? */

static void on_pulse_timer(uv_timer_t *timer);

static void pause_if_open(struct sync_stream *st)
{
    if (st->state == STREAM_OPEN) {
        stream_pause(st, "the store does not answer");
    }
}

static int64_t newest_received(const struct sync *s, size_t group)
{
    int64_t newest = 0;

    for (size_t i = 0; i < mirror_n_regions(s->mirror); i++) {
        if (mirror_region_group(s->mirror, i) == group) {
            newest = MAX(newest, mirror_received(s->mirror, i));
        }
    }
    return newest;
}

static void check_group(struct sync_group *g, int64_t revision, bool deep)
{
    int64_t newest = newest_received(g->s, g->index);

    if (g->state != GROUP_FOLLOWING) {
        return;
    }
    if (revision < newest) {
        log_warn("the store went back in time (was a backup restored?), reading again rev=%" PRId64
                 " known=%" PRId64,
            revision, newest);
        group_read(g);
    } else if (deep && revision > newest) {
        group_probe(g);
    }
}

static void on_pulse(void *data, const struct client_reply *reply)
{
    struct sync *s = data;
    int64_t revision = client_get_int(json_object_get(reply->body, "header"), "revision");

    s->pulse = NULL;
    s->pulses++;
    set_online(s, reply->outcome == CLIENT_OK, reply->error);
    for (size_t i = 0; i < mirror_n_groups(s->mirror); i++) {
        if (reply->outcome == CLIENT_OK) {
            check_group(&s->groups[i], revision, s->pulses % SYNC_DEEP_PROBES == 0);
        } else {
            each_stream(&s->groups[i], pause_if_open);
        }
    }
    (void)uv_timer_start(&s->timer, on_pulse_timer, SYNC_PROBE_MS, 0);
}

static void on_pulse_timer(uv_timer_t *timer)
{
    struct sync *s = timer->data;
    json_t *request = json_object();

    /* One key, linearizable: an answer comes only from a store that has its quorum. */
    (void)json_object_set_new(request, "key", client_json_bytes(mirror_region_start(s->mirror, 0)));
    (void)json_object_set_new(request, "keys_only", json_true());
    s->pulse = client_post(s->client, "/v3/kv/range", request, 0, on_pulse, s);
}

struct sync *sync_new(uv_loop_t *loop, struct client *client, struct mirror *mirror,
    const struct sync_handler *handler, void *data)
{
    struct sync *s = xcalloc(1, sizeof(*s));
    size_t n_groups = mirror_n_groups(mirror);
    size_t n_regions = mirror_n_regions(mirror);

    s->loop = loop;
    s->client = client;
    s->mirror = mirror;
    s->handler = *handler;
    s->data = data;
    s->n_groups = n_groups;
    s->groups = xcalloc(n_groups + 1, sizeof(*s->groups));
    s->streams = xcalloc(n_regions + 1, sizeof(*s->streams));
    for (size_t i = 0; i < n_groups; i++) {
        s->groups[i] = (struct sync_group){.s = s, .index = i, .state = GROUP_WAITING};
        (void)uv_timer_init(loop, &s->groups[i].timer);
        s->groups[i].timer.data = &s->groups[i];
    }
    for (size_t i = 0; i < n_regions; i++) {
        s->streams[i] = (struct sync_stream){.s = s, .region = i};
        (void)uv_timer_init(loop, &s->streams[i].timer);
        s->streams[i].timer.data = &s->streams[i];
    }
    (void)uv_timer_init(loop, &s->timer);
    s->timer.data = s;
    s->open_handles = n_groups + n_regions + 1;
    return s;
}

void sync_start(struct sync *s)
{
    uint16_t r = 0;

    if (mirror_n_groups(s->mirror) == 0) {
        return;
    }
    for (size_t i = 0; i < mirror_n_groups(s->mirror); i++) {
        group_read(&s->groups[i]);
    }
    (void)uv_random(NULL, NULL, &r, sizeof(r), 0, NULL);
    (void)uv_timer_start(&s->timer, on_pulse_timer, SYNC_PROBE_MS / 2 + r % (SYNC_PROBE_MS / 2), 0);
}

static void sync_release(struct sync *s)
{
    if (--s->open_handles == 0) {
        for (size_t i = 0; i < s->n_groups; i++) {
            strbuf_deinit(&s->groups[i].next_key);
        }
        free(s->groups);
        free(s->streams);
        free(s);
    }
}

static void on_closed_group(uv_handle_t *handle)
{
    sync_release(((struct sync_group *)handle->data)->s);
}

static void on_closed_stream(uv_handle_t *handle)
{
    sync_release(((struct sync_stream *)handle->data)->s);
}

static void on_closed(uv_handle_t *handle)
{
    sync_release(handle->data);
}

struct sync *sync_free(struct sync *s)
{
    if (s == NULL) {
        return NULL;
    }
    abort_call(&s->pulse);
    for (size_t i = 0; i < s->n_groups; i++) {
        abort_call(&s->groups[i].call);
        abort_call(&s->groups[i].probe);
        uv_close((uv_handle_t *)&s->groups[i].timer, on_closed_group);
    }
    for (size_t i = 0; i < mirror_n_regions(s->mirror); i++) {
        stream_close(&s->streams[i]);
        uv_close((uv_handle_t *)&s->streams[i].timer, on_closed_stream);
    }
    uv_close((uv_handle_t *)&s->timer, on_closed);
    return NULL;
}

bool sync_online(const struct sync *s)
{
    return s->online;
}

bool sync_current(const struct sync *s, size_t group)
{
    return s->online && s->groups[group].was_read;
}
