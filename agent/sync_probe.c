/* The deep probe: one transaction, so one revision, with a question for each region of the group:
 * is there a key changed after `received`, and how many keys are there? No changed key and as many
 * keys as in the mirror mean that nothing happened up to the answer's revision (a deletion lowers
 * the count, and only a creation, which is a change, could make up for it). */
#include <inttypes.h>

#include "clock.h"
#include "log.h"
#include "sync_impl.h"

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
        sync_group_probe_in(sync_group_of(st), SYNC_GRACE_MS);
    } else if (now - st->probed_ms >= SYNC_GRACE_MS) {
        log_warn("a watch has gone silent although its keys change, opening it again region=%zu "
                 "rev=%" PRId64,
            st->region, received);
        sync_stream_pause(st, "silent");
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
        sync_group_probe_in(g, SYNC_BACKOFF_MAX_MS);
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
        sync_group_probe(g);
    }
    s->handler.on_settled(s->data, g->index);
}

void sync_group_probe(struct sync_group *g)
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
