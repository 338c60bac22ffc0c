/* The answers of a store that means harm, as the agent takes them: JSON of reads, of probes and of
 * watch streams, through the client and the sync into the mirror. HTTP itself is replaced here: the
 * input says which request is answered next, with which status and which bytes, whole or in parts.
 * Whatever comes, the mirror of a region holds only that region's keys, once each and in order, and
 * memory is given back at the end. */
#include "fuzz.h"

#include <string.h>

#include "alloc.h"
#include "codec.h"
#include "http.h"
#include "list.h"
#include "log.h"
#include "sync.h"

enum { ANSWERS_MAX = 40 };

/* ---- http.h, without a network ---- */

struct http {
    struct list requests;
};

struct http_request {
    struct list link;
    struct http_spec spec;
    struct strbuf arrived;
    bool *aborted; /* set while a callback runs */
};

static struct http the_http;

struct http *http_new(uv_loop_t *loop _unused_)
{
    list_init(&the_http.requests);
    return &the_http;
}

struct http *http_free(struct http *h)
{
    decree_assert(list_empty(&h->requests));
    return NULL;
}

struct http_request *http_start(struct http *h, const struct http_spec *spec)
{
    struct http_request *r = xcalloc(1, sizeof(*r));

    decree_assert(spec->url[0] == 'h' && spec->body.len > 0);
    r->spec = *spec;
    list_add_tail(&h->requests, &r->link);
    return r;
}

static void request_free(struct http_request *r)
{
    list_del(&r->link);
    strbuf_deinit(&r->arrived);
    free(r);
}

void http_abort(struct http_request *r)
{
    if (r->aborted != NULL) {
        *r->aborted = true;
    }
    request_free(r);
}

/* False when the request is gone. */
static bool hand_out(struct http_request *r)
{
    bool aborted = false;
    size_t used;

    if (r->spec.on_data == NULL || r->arrived.len == 0) {
        return true;
    }
    r->aborted = &aborted;
    used = r->spec.on_data(r->spec.data, strbuf_bytes(&r->arrived));
    decree_assert(aborted == (used == SIZE_MAX));
    if (aborted) {
        return false;
    }
    r->aborted = NULL;
    decree_assert(used <= r->arrived.len);
    memmove(r->arrived.data, r->arrived.data + used, r->arrived.len - used);
    r->arrived.len -= used;
    return true;
}

static void finish(struct http_request *r, int rc, long status)
{
    struct http_result result = {.rc = rc,
        .error = rc < 0 ? "connection lost" : NULL,
        .status = rc < 0 ? 0 : status,
        .body = strbuf_bytes(&r->arrived)};

    r->spec.on_done(r->spec.data, &result);
    request_free(r);
}

static struct http_request *nth_request(unsigned n)
{
    unsigned count = 0;

    list_for_each (l, &the_http.requests) {
        count++;
    }
    list_for_each (l, &the_http.requests) {
        if (n++ % count == 0) {
            return list_entry(l, struct http_request, link);
        }
    }
    return NULL;
}

/* ---- the agent's side ---- */

struct follower {
    struct mirror *mirror;
    unsigned settled;
};

static void on_changed(void *data _unused_, size_t group _unused_, struct bytes key)
{
    (void)bytes_hash(key);
}

static void on_settled(void *data, size_t group _unused_)
{
    ((struct follower *)data)->settled++;
}

static void on_loaded(void *data _unused_, size_t group _unused_) {}

static void on_online(void *data _unused_, bool online _unused_, const char *error)
{
    decree_assert(online || error != NULL);
}

static bool check_entry(void *arg, const struct mirror_entry *e)
{
    struct bytes *previous = arg;

    decree_assert(previous->data == NULL || bytes_cmp(*previous, mirror_key(e)) < 0);
    *previous = mirror_key(e);
    return true;
}

static void check_mirror(const struct mirror *m)
{
    for (size_t i = 0; i < mirror_n_regions(m); i++) {
        struct bytes start = mirror_region_start(m, i), end = mirror_region_end(m, i);
        struct bytes last = {0};
        size_t n = 0;

        decree_assert(mirror_received(m, i) >= mirror_revision(m, mirror_region_group(m, i)));
        mirror_walk(m, start, end, check_entry, &last);
        n = mirror_region_count(m, i);
        /* All of them are in the walk: none lies before the start or behind the end. */
        decree_assert((n == 0) == (last.data == NULL));
        decree_assert(last.data == NULL ||
            (bytes_cmp(last, start) >= 0 && bytes_cmp(last, end) < 0 &&
                mirror_get(m, last) != NULL));
    }
}

static void answer(struct dec *d)
{
    static const long statuses[] = {200, 200, 200, 503, 400, 404};
    uint8_t which = dec_u8(d);
    uint8_t how = dec_u8(d);
    struct bytes b = dec_bytes(d);
    struct http_request *r = nth_request(which);

    if (r == NULL) {
        return;
    }
    strbuf_append_bytes(&r->arrived, b);
    if (hand_out(r) && (r->spec.on_data == NULL || (how & 0x80) != 0)) {
        finish(r, (how & 0x40) != 0 ? -104 : 0, statuses[(how & 0x3f) % ARRAY_SIZE(statuses)]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct sync_handler handler = {on_settled, on_loaded, on_online};
    char *one[] = {"/a/", "/c/"}, *two[] = {"/x/"};
    struct dec d = dec_make(bytes_make(data, size));
    struct follower f = {.mirror = mirror_new(on_changed, NULL)};
    struct client *client = NULL;
    struct sync *sync;
    uv_loop_t loop;
    int rc;

    log_set_level(LOG_LEVEL_ERROR);
    (void)uv_loop_init(&loop);
    (void)mirror_add_resource(f.mirror, ARRAY_SIZE(one), one);
    (void)mirror_add_resource(f.mirror, ARRAY_SIZE(two), two);
    mirror_build(f.mirror);
    rc = client_new(&loop, "http://a:1,http://b:2", &client, NULL);
    decree_assert(rc == 0);
    sync = sync_new(&loop, client, f.mirror, &handler, &f);
    sync_start(sync);
    (void)uv_run(&loop, UV_RUN_NOWAIT);
    for (int i = 0; i < ANSWERS_MAX && dec_left(&d) > 0; i++) {
        answer(&d);
        check_mirror(f.mirror);
    }
    (void)sync_free(sync);
    (void)client_free(client);
    (void)mirror_free(f.mirror);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    rc = uv_loop_close(&loop);
    decree_assert(rc == 0);
    return 0;
}
