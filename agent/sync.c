/* The store's pulse, and the life of the whole. The two small state machines, of a group and of a
 * region's stream, are sync_group.c and sync_stream.c. */
#include <inttypes.h>

#include "backoff.h"
#include "log.h"
#include "sync_impl.h"

void sync_set_online(struct sync *s, bool online, const char *error)
{
    if (s->online != online || !s->told) {
        s->online = online;
        s->told = true;
        s->handler.on_online(s->data, online, error);
    }
}

void sync_each_stream(const struct sync_group *g, void (*op)(struct sync_stream *st))
{
    for (size_t i = 0; i < mirror_n_regions(g->s->mirror); i++) {
        if (mirror_region_group(g->s->mirror, i) == g->index) {
            op(&g->s->streams[i]);
        }
    }
}

uint64_t sync_backoff_ms(unsigned failures)
{
    static const struct backoff backoff = {SYNC_BACKOFF_MIN_MS, SYNC_BACKOFF_MAX_MS, .part = 2};

    return backoff_ms(&backoff, failures);
}

void sync_abort(struct client_call **call)
{
    if (*call != NULL) {
        client_call_abort(*call);
        *call = NULL;
    }
}

/* ---- the pulse: does the store answer, and is it not older than what it has told already? ---- */

static void on_pulse_timer(uv_timer_t *timer);

static void pause_if_open(struct sync_stream *st)
{
    if (st->state == STREAM_OPEN) {
        sync_stream_pause(st, "the store does not answer");
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
        sync_group_read(g);
    } else if (deep && revision > newest) {
        sync_group_probe(g);
    }
}

static void on_pulse(void *data, const struct client_reply *reply)
{
    struct sync *s = data;
    int64_t revision = client_get_int(json_object_get(reply->body, "header"), "revision");

    s->pulse = NULL;
    s->pulses++;
    sync_set_online(s, reply->outcome == CLIENT_OK, reply->error);
    for (size_t i = 0; i < mirror_n_groups(s->mirror); i++) {
        if (reply->outcome == CLIENT_OK) {
            check_group(&s->groups[i], revision, s->pulses % SYNC_DEEP_PROBES == 0);
        } else {
            sync_each_stream(&s->groups[i], pause_if_open);
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

/* ---- life ---- */

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
        sync_group_read(&s->groups[i]);
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
    sync_abort(&s->pulse);
    for (size_t i = 0; i < s->n_groups; i++) {
        sync_abort(&s->groups[i].call);
        sync_abort(&s->groups[i].probe);
        uv_close((uv_handle_t *)&s->groups[i].timer, on_closed_group);
    }
    for (size_t i = 0; i < mirror_n_regions(s->mirror); i++) {
        sync_stream_close(&s->streams[i]);
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
