/* The watch of one region. */
#include <inttypes.h>

#include "log.h"
#include "sync_impl.h"

struct sync_group *sync_group_of(const struct sync_stream *st)
{
    return &st->s->groups[mirror_region_group(st->s->mirror, st->region)];
}

void sync_stream_close(struct sync_stream *st)
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

void sync_stream_pause(struct sync_stream *st, const char *why)
{
    uint64_t ms;

    sync_stream_close(st);
    st->failures++;
    ms = sync_backoff_ms(st->failures);
    log_debug("watch interrupted, opening it again in %" PRIu64 " ms: %s region=%zu", ms, why,
        st->region);
    st->state = STREAM_PAUSED;
    (void)uv_timer_start(&st->timer, on_stream_timer, ms, 0);
}

static void on_stream_timer(uv_timer_t *timer)
{
    struct sync_stream *st = timer->data;

    if (st->state == STREAM_OPENING) {
        sync_set_online(st->s, false, "the store does not answer a watch request");
        sync_stream_pause(st, "not created in time");
    } else {
        sync_stream_open(st);
    }
}

/* ---- what the watch says ---- */

static void on_created(void *data)
{
    struct sync_stream *st = data;

    (void)uv_timer_stop(&st->timer);
    st->state = STREAM_OPEN;
    st->failures = 0;
    sync_set_online(st->s, true, NULL);
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
            sync_stream_pause(st, "an event of a key that is not watched");
            return;
        }
    }
    for (size_t i = 0; i < n; i++) {
        mirror_push(st->s->mirror, st->region, events[i].deleted, events[i].key, events[i].value,
            events[i].mod_revision);
    }
    st->probed_received = 0;
    sync_group_settle(sync_group_of(st));
}

static void on_progress(void *data, int64_t revision)
{
    struct sync_stream *st = data;

    mirror_confirm(st->s->mirror, st->region, revision);
    sync_group_settle(sync_group_of(st));
}

static void on_compacted(void *data, int64_t compact_revision)
{
    struct sync_stream *st = data;

    log_info("the store has compacted what was missed, reading again region=%zu rev=%" PRId64
             " compacted=%" PRId64,
        st->region, mirror_received(st->s->mirror, st->region), compact_revision);
    sync_group_read(sync_group_of(st));
}

static void on_end(void *data, const char *error)
{
    struct sync_stream *st = data;

    if (st->state == STREAM_OPENING) {
        sync_set_online(st->s, false, error);
    }
    sync_stream_pause(st, error);
}

void sync_stream_open(struct sync_stream *st)
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
