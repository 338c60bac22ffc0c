#include "watch_stream.h"

#include "api_impl.h"
#include "encode.h"
#include "hmap.h"
#include "rpc.h"

enum { ID_NONE = -1 /* in answers that belong to no watch */ };

struct watch {
    struct hmap_node node; /* in stream->watches by id */
    struct list full;      /* in stream->full or conn->full_watches while the store waits for us */
    struct watch_stream *stream;
    struct watcher watcher;
    int64_t id;
    bool progress_notify, fragment;
    bool idle; /* no event since the last tick: the next one tells the revision */
    struct deadline tick;
    uint8_t keys[]; /* key, range_end */
};

struct watch_stream {
    struct exchange *ex;
    struct hmap watches;
    int64_t next_id;
    struct list full;
};

static struct watch *watch_of(struct watcher *w)
{
    return container_of(w, struct watch, watcher);
}

static struct api *api_of(const struct watch_stream *s)
{
    return s->ex->api;
}

/* ---- answers ---- */

static void answer(struct watch_stream *s, struct watch_response r)
{
    struct pbw w;

    pbw_init(&w, 0);
    encode_watch_response(&w, &r);
    rpc_send(s->ex, &w);
}

static struct watch_response response(struct watch_stream *s, int64_t id)
{
    return (struct watch_response){.header = store_header(api_of(s)->store), .watch_id = id};
}

/* ---- events ---- */

/* One element of WatchResponse.events in the stream's form, made once for all watchers. */
static struct buf *encoded(const struct watch_stream *s, struct watch_event *e, bool prev_kv)
{
    bool prev = prev_kv && e->has_prev;
    size_t grpc = prev ? 1 : 0, json = 2 + grpc;
    _cleanup_strbuf_ struct strbuf text = {0};

    if (e->encoded[grpc] == NULL) {
        e->encoded[grpc] = encode_event(e, prev);
    }
    if (!s->ex->rpc.json) {
        return e->encoded[grpc];
    }
    if (e->encoded[json] == NULL) {
        struct bytes element = buf_bytes(e->encoded[grpc]);
        size_t skip = 2; /* tag, first byte of the length */

        while ((element.data[skip - 1] & 0x80) != 0) {
            skip++;
        }
        json_from_proto(
            &mvccpb__event__descriptor, bytes_make(element.data + skip, element.len - skip), &text);
        e->encoded[json] = buf_copy(strbuf_bytes(&text));
    }
    return e->encoded[json];
}

static void send_events(
    struct watch *w, struct buf *const *events, size_t n, int64_t revision, bool more)
{
    struct watch_response r = response(w->stream, w->id);
    struct pbw out;

    r.header.revision = revision;
    r.fragment = more;
    pbw_init(&out, 0);
    encode_watch_response(&out, &r);
    rpc_send_parts(w->stream->ex, &out, "events", events, n);
}

/* How many of the first events fit into one response; at least one. */
static size_t fragment_end(struct buf *const *events, size_t n)
{
    size_t bytes = 0, i = 0;

    while (i < n && (i == 0 || bytes + events[i]->len <= WATCH_FRAGMENT_BYTES)) {
        bytes += events[i++]->len;
    }
    return i;
}

/* What the streams of a connection may hold together. */
static bool conn_has_room(const struct watch_stream *s)
{
    size_t high = api_of(s)->watch_bytes > WATCH_OUTPUT_TOTAL_HIGH ? (size_t)WATCH_OUTPUT_LOW
                                                                   : (size_t)WATCH_CONN_OUTPUT_HIGH;

    return s->ex->conn->watch_bytes <= high;
}

/* Waits for the one that has no room; false when there is some. */
static bool wait_if_full(struct watch *w)
{
    struct watch_stream *s = w->stream;

    if (s->ex->out.bytes > WATCH_OUTPUT_HIGH) {
        list_add_tail(&s->full, &w->full);
    } else if (!conn_has_room(s)) {
        list_add_tail(&s->ex->conn->full_watches, &w->full);
    } else {
        return false;
    }
    return true;
}

static bool on_ready(struct watcher *watcher)
{
    return !wait_if_full(watch_of(watcher));
}

static bool on_events(
    struct watcher *watcher, struct watch_event *const *events, size_t n, int64_t revision)
{
    struct watch *w = watch_of(watcher);
    struct watch_stream *s = w->stream;
    struct buf *few[16],
        **list = n <= ARRAY_SIZE(few) ? few : xreallocarray(NULL, n, sizeof(*list));

    for (size_t i = 0; i < n; i++) {
        list[i] = encoded(s, events[i], watcher->prev_kv);
    }
    for (size_t at = 0; at < n;) {
        size_t part = w->fragment ? fragment_end(list + at, n - at) : n - at;

        send_events(w, list + at, part, revision, at + part < n);
        at += part;
    }
    if (list != few) {
        free(list);
    }
    w->idle = false;
    return !wait_if_full(w);
}

/* It is in no store and in no table any more. */
static void watch_free(struct watch *w)
{
    list_del(&w->full);
    deadline_drop(&w->tick);
    api_of(w->stream)->n_watchers--;
    free(w);
}

static void forget(struct watch *w)
{
    hmap_remove(&w->stream->watches, &w->node);
    watch_free(w);
}

static void on_end(struct watcher *watcher, enum watch_end why)
{
    struct watch *w = watch_of(watcher);
    struct watch_response r = response(w->stream, w->id);

    decree_assert(why == WATCH_COMPACTED);
    r.header.revision = 0; /* as etcd: it says where the history begins instead */
    r.canceled = true;
    r.compact_revision = store_compacted_revision(api_of(w->stream)->store);
    answer(w->stream, r);
    forget(w);
}

static const struct watch_ops ops = {.ready = on_ready, .events = on_events, .end = on_end};

/* ---- progress ---- */

static bool is_synced(struct watch *w, int64_t revision)
{
    return w->watcher.start_revision <= revision &&
        store_watch_is_synced(api_of(w->stream)->store, &w->watcher);
}

/* Up to a tenth more than the interval, so that the watches of a restart do not tick together. */
static void arm_tick(struct watch *w)
{
    struct api *api = api_of(w->stream);
    uint64_t interval = api->options.progress_interval_ms;
    uint64_t jitter = hmap_hash_u64(uv_hrtime() ^ (uint64_t)w->id) % (interval / 10 + 1);

    deadline_set(&api->deadlines, &w->tick, interval + jitter);
}

static void on_tick(struct deadline *tick)
{
    struct watch *w = container_of(tick, struct watch, tick);
    struct watch_response r = response(w->stream, w->id);

    if (w->idle && is_synced(w, r.header.revision) &&
        w->stream->ex->out.bytes <= WATCH_OUTPUT_HIGH) {
        answer(w->stream, r);
    }
    w->idle = true;
    arm_tick(w);
}

/* It must never overtake events, so a stream with one watch behind stays silent: the client asks
 * again. */
static void progress(struct watch_stream *s)
{
    struct watch_response r = response(s, ID_NONE);

    for (struct hmap_node *n = hmap_iter(&s->watches, NULL); n != NULL;
         n = hmap_iter(&s->watches, n)) {
        if (!is_synced(container_of(n, struct watch, node), r.header.revision)) {
            return;
        }
    }
    answer(s, r);
}

/* ---- create and cancel ---- */

static struct watch *find(const struct watch_stream *s, int64_t id)
{
    struct hmap_node *n = hmap_first(&s->watches, hmap_hash_u64((uint64_t)id));

    while (n != NULL && container_of(n, struct watch, node)->id != id) {
        n = hmap_next_same(n);
    }
    return n != NULL ? container_of(n, struct watch, node) : NULL;
}

static bool is_all(ProtobufCBinaryData end)
{
    return end.len == 1 && end.data[0] == 0;
}

/* NULL: it may be made. */
static const char *refusal(const struct watch_stream *s, const Etcdserverpb__WatchCreateRequest *m)
{
    struct bytes key = bytes_make(m->key.data, m->key.len);
    struct bytes end = bytes_make(m->range_end.data, m->range_end.len);

    if (key.len == 0) {
        key = BYTES_LITERAL("\0");
    }
    if (end.len != 0 && !is_all(m->range_end) && bytes_cmp(key, end) >= 0) {
        return "mvcc: watcher range is empty";
    }
    if (m->watch_id != 0 && find(s, m->watch_id) != NULL) {
        return "mvcc: duplicate watch ID provided on the WatchStream";
    }
    if (m->start_revision < 0) {
        return err_text(DECREE_ECOMPACTED);
    }
    if (s->watches.count >= WATCHERS_PER_STREAM_MAX || api_of(s)->n_watchers >= WATCHERS_MAX) {
        return err_text(DECREE_ETOO_MANY_REQUESTS);
    }
    return NULL;
}

static int64_t pick_id(struct watch_stream *s)
{
    while (find(s, s->next_id) != NULL) {
        s->next_id++;
    }
    return s->next_id++;
}

static struct watch *watch_new(struct watch_stream *s, const Etcdserverpb__WatchCreateRequest *m)
{
    struct bytes key = m->key.len != 0 ? bytes_make(m->key.data, m->key.len) : BYTES_LITERAL("\0");
    struct watch *w = xcalloc(1, sizeof(*w) + key.len + m->range_end.len);

    memcpy(w->keys, key.data, key.len);
    if (m->range_end.len != 0) {
        memcpy(w->keys + key.len, m->range_end.data, m->range_end.len);
    }
    w->watcher = (struct watcher){
        .key = bytes_make(w->keys, key.len),
        .range_end = bytes_make(w->keys + key.len, m->range_end.len),
        .start_revision = m->start_revision,
        .prev_kv = m->prev_kv,
        .ops = &ops,
    };
    for (size_t i = 0; i < m->n_filters; i++) {
        if (m->filters[i] == ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NOPUT) {
            w->watcher.no_put = true;
        } else if (m->filters[i] == ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NODELETE) {
            w->watcher.no_delete = true;
        } /* etcd passes over filters that it does not know */
    }
    w->stream = s;
    w->progress_notify = m->progress_notify;
    w->fragment = m->fragment;
    w->idle = true;
    list_init(&w->full);
    deadline_init(&w->tick, on_tick);
    return w;
}

static void create(struct watch_stream *s, const Etcdserverpb__WatchCreateRequest *m)
{
    struct watch_response r = response(s, ID_NONE);
    struct watch *w;

    r.created = true;
    r.cancel_reason = refusal(s, m);
    if (r.cancel_reason != NULL) {
        r.canceled = true;
        answer(s, r);
        return;
    }
    w = watch_new(s, m);
    w->id = m->watch_id != 0 ? m->watch_id : pick_id(s);
    hmap_insert(&s->watches, &w->node, hmap_hash_u64((uint64_t)w->id));
    api_of(s)->n_watchers++;
    r.watch_id = w->id;
    answer(s, r); /* before anything that it will see */
    if (w->progress_notify) {
        arm_tick(w);
    }
    store_watch_add(api_of(s)->store, &w->watcher);
}

static void cancel(struct watch_stream *s, int64_t id)
{
    struct watch *w = find(s, id);
    struct watch_response r = response(s, id);

    if (w == NULL) {
        return;
    }
    store_watch_remove(api_of(s)->store, &w->watcher);
    forget(w);
    r.canceled = true;
    answer(s, r);
}

void watch_stream_request(struct watch_stream *s, const Etcdserverpb__WatchRequest *m)
{
    switch (m->request_union_case) {
    case ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST:
        create(s, m->create_request);
        break;
    case ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CANCEL_REQUEST:
        cancel(s, m->cancel_request->watch_id);
        break;
    case ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_PROGRESS_REQUEST:
        progress(s);
        break;
    default: /* etcd passes over what newer clients may ask */
        break;
    }
}

/* ---- the stream ---- */

struct watch_stream *watch_stream_new(struct exchange *ex)
{
    struct watch_stream *s = xcalloc(1, sizeof(*s));

    s->ex = ex;
    list_init(&s->full);
    return s;
}

struct watch_stream *watch_stream_free(struct watch_stream *s)
{
    struct hmap_node *n;

    while ((n = hmap_pop(&s->watches)) != NULL) {
        struct watch *w = container_of(n, struct watch, node);

        store_watch_remove(api_of(s)->store, &w->watcher);
        watch_free(w);
    }
    hmap_deinit(&s->watches);
    free(s);
    return NULL;
}

static void resume_all(struct list *full)
{
    while (!list_empty(full)) {
        struct watch *w = list_entry(full->next, struct watch, full);

        list_del(&w->full);
        store_watch_resume(api_of(w->stream)->store, &w->watcher);
    }
}

void watch_stream_drained(struct watch_stream *s)
{
    resume_all(&s->full);
}

void watch_streams_drained(struct conn *c)
{
    if (c->watch_bytes <= WATCH_OUTPUT_LOW) {
        resume_all(&c->full_watches);
    }
}
