/* A group is read page by page through its regions, all at the revision of the first page, and then
 * followed by their streams. */
#include <errno.h>

#include "sync_impl.h"

enum { GRPC_OUT_OF_RANGE = 11 };

static void on_group_timer(uv_timer_t *timer)
{
    struct sync_group *g = timer->data;

    if (g->state == GROUP_FOLLOWING) {
        sync_group_probe(g);
    } else {
        sync_group_read(g);
    }
}

void sync_group_probe_in(struct sync_group *g, uint64_t ms)
{
    (void)uv_timer_start(&g->timer, on_group_timer, ms, 0);
}

static void try_later(struct sync_group *g)
{
    g->failures++;
    g->state = GROUP_WAITING;
    (void)uv_timer_start(&g->timer, on_group_timer, sync_backoff_ms(g->failures), 0);
}

void sync_group_settle(struct sync_group *g)
{
    struct sync *s = g->s;

    if (!mirror_settle(s->mirror, g->index)) {
        sync_group_probe(g);
    }
    s->handler.on_settled(s->data, g->index);
}

static void follow(struct sync_group *g)
{
    struct sync *s = g->s;

    g->failures = 0;
    g->state = GROUP_FOLLOWING;
    g->was_read = true;
    sync_set_online(s, true, NULL);
    s->handler.on_loaded(s->data, g->index);
    mirror_load_commit(s->mirror, g->index, g->revision);
    sync_each_stream(g, sync_stream_open);
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
            sync_set_online(g->s, false, reply->error);
        } /* else compacted between two pages: the next read takes a newer revision */
        try_later(g);
        return;
    }
    if (g->revision == 0) {
        g->revision = client_get_int(json_object_get(reply->body, "header"), "revision");
    }
    if (g->revision <= 0 || take_page(g, json_object_get(reply->body, "kvs")) < 0) {
        sync_set_online(
            g->s, false, "the store's answer cannot be read, or is not to what was asked");
        try_later(g);
        return;
    }
    if (!json_is_true(json_object_get(reply->body, "more")) ||
        json_array_size(json_object_get(reply->body, "kvs")) == 0) {
        g->region++;
        if (!next_region(g)) {
            follow(g);
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

void sync_group_read(struct sync_group *g)
{
    sync_each_stream(g, sync_stream_close);
    sync_abort(&g->call);
    sync_abort(&g->probe);
    g->probe_again = false;
    (void)uv_timer_stop(&g->timer);
    g->state = GROUP_READING;
    g->revision = 0;
    g->region = 0;
    mirror_load_begin(g->s->mirror, g->index);
    (void)next_region(g);
    request_page(g);
}
