/* libcurl tells which sockets to watch for what (on_socket) and when to be called again (on_timer);
 * uv tells libcurl what became ready. Inside libcurl's own callbacks only bytes are copied and
 * lists filled: its functions may not be called there. What has arrived is handed out afterwards,
 * in dispatch(), where everything is allowed. */
#include "http.h"

#include <curl/curl.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "list.h"

struct http {
    CURLM *multi;
    uv_loop_t *loop;
    uv_timer_t timer;
    struct list requests;
    struct list ready; /* requests with news for their owner */
    size_t open_handles;
    bool closing;
};

struct http_request {
    struct http *h;
    struct list link;
    struct list ready_link; /* linked while it has news */
    CURL *easy;
    struct curl_slist *headers; /* owned */
    struct strbuf in;
    bool fresh; /* bytes came since on_data ran */
    bool done;
    bool too_large;
    CURLcode code;
    char error[CURL_ERROR_SIZE];
    size_t (*on_data)(void *data, struct bytes arrived);
    void (*on_done)(void *data, const struct http_result *result);
    void *data;
};

/* One descriptor of libcurl's that uv watches. */
struct watched {
    struct http *h;
    uv_poll_t poll;
    curl_socket_t fd;
};

static void release(struct http *h)
{
    if (--h->open_handles == 0) {
        free(h);
    }
}

static void request_free(struct http_request *r)
{
    list_del(&r->link);
    list_del(&r->ready_link);
    (void)curl_multi_remove_handle(r->h->multi, r->easy);
    curl_easy_cleanup(r->easy);
    curl_slist_free_all(r->headers);
    strbuf_deinit(&r->in);
    free(r);
}

static void set_ready(struct http_request *r)
{
    if (list_empty(&r->ready_link)) {
        list_add_tail(&r->h->ready, &r->ready_link);
    }
}

static void collect_finished(struct http *h)
{
    CURLMsg *msg;
    int left;

    while ((msg = curl_multi_info_read(h->multi, &left)) != NULL) {
        struct http_request *r = NULL;

        if (msg->msg == CURLMSG_DONE) {
            (void)curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &r);
            r->done = true;
            r->code = msg->data.result;
            set_ready(r);
        }
    }
}

static void finish(struct http_request *r)
{
    void (*on_done)(void *, const struct http_result *) = r->on_done;
    struct http_result result = {.body = strbuf_bytes(&r->in)};
    struct strbuf body = r->in;
    char error[CURL_ERROR_SIZE];
    void *data = r->data;

    (void)curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &result.status);
    if (r->code != CURLE_OK) {
        memcpy(error, r->error, sizeof(error));
        result.rc = r->code == CURLE_OPERATION_TIMEDOUT ? -ETIMEDOUT : -EIO;
        result.error = r->too_large ? "the answer is too large"
            : error[0]              ? error
                                    : curl_easy_strerror(r->code);
    }
    strbuf_init(&r->in);
    request_free(r);
    on_done(data, &result);
    strbuf_deinit(&body);
}

/* Gives on_data what came; false when it aborted the request, which is gone then. */
static bool hand_out(struct http_request *r)
{
    size_t used;

    r->fresh = false;
    used = r->on_data(r->data, strbuf_bytes(&r->in));
    if (used == SIZE_MAX) {
        return false;
    }
    decree_assert(used <= r->in.len);
    memmove(r->in.data, r->in.data + used, r->in.len - used);
    r->in.len -= used;
    return true;
}

static void dispatch(struct http *h)
{
    collect_finished(h);
    while (!list_empty(&h->ready)) {
        struct http_request *r = list_entry(h->ready.next, struct http_request, ready_link);

        list_del(&r->ready_link);
        if (r->fresh && r->on_data != NULL && !hand_out(r)) {
            continue;
        }
        if (r->done) {
            finish(r);
        }
    }
}

static void action(struct http *h, curl_socket_t fd, int events)
{
    int running;

    /* An owner's callback may free h; the count keeps the memory until we are out of here. */
    h->open_handles++;
    (void)curl_multi_socket_action(h->multi, fd, events, &running);
    dispatch(h);
    release(h);
}

static void on_timer(uv_timer_t *timer)
{
    action(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct watched *w = poll->data;
    int flags = status < 0 ? CURL_CSELECT_ERR : 0;

    flags |= (events & UV_READABLE) != 0 ? CURL_CSELECT_IN : 0;
    flags |= (events & UV_WRITABLE) != 0 ? CURL_CSELECT_OUT : 0;
    action(w->h, w->fd, flags);
}

static int on_timer_wanted(CURLM *multi, long timeout_ms, void *data)
{
    struct http *h = data;

    (void)multi;
    if (timeout_ms < 0 || h->closing) {
        return uv_timer_stop(&h->timer);
    }
    return uv_timer_start(&h->timer, on_timer, (uint64_t)timeout_ms, 0);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct watched *w = handle->data;

    release(w->h);
    free(w);
}

static struct watched *watch_socket(struct http *h, curl_socket_t fd)
{
    struct watched *w = xcalloc(1, sizeof(*w));

    w->h = h;
    w->fd = fd;
    if (uv_poll_init_socket(h->loop, &w->poll, fd) < 0) {
        free(w);
        return NULL;
    }
    w->poll.data = w;
    h->open_handles++;
    (void)curl_multi_assign(h->multi, fd, w);
    return w;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *socket_data)
{
    struct http *h = data;
    struct watched *w = socket_data;
    int events = 0;

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (w != NULL) {
            (void)curl_multi_assign(h->multi, fd, NULL);
            uv_close((uv_handle_t *)&w->poll, on_poll_closed);
        }
        return 0;
    }
    if (w == NULL && (w = watch_socket(h, fd)) == NULL) {
        return -1;
    }
    events |= (what & CURL_POLL_IN) != 0 ? UV_READABLE : 0;
    events |= (what & CURL_POLL_OUT) != 0 ? UV_WRITABLE : 0;
    return uv_poll_start(&w->poll, events, on_poll);
}

static size_t on_body(char *bytes, size_t size, size_t n, void *data)
{
    struct http_request *r = data;

    if (r->in.len + size * n > HTTP_BODY_MAX) {
        r->too_large = true;
        return 0;
    }
    strbuf_append(&r->in, bytes, size * n);
    r->fresh = true;
    set_ready(r);
    return size * n;
}

/* Keep-alive probes find a dead host while the stream is silent, this one while data is on its way.
 */
static int on_socket_made(void *data, curl_socket_t fd, curlsocktype purpose)
{
    unsigned ms = HTTP_DEAD_PEER_MS;

    (void)data;
    (void)purpose;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
    return CURL_SOCKOPT_OK;
}

struct http *http_new(uv_loop_t *loop)
{
    struct http *h = xcalloc(1, sizeof(*h));

    h->loop = loop;
    list_init(&h->requests);
    list_init(&h->ready);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK ||
        (h->multi = curl_multi_init()) == NULL) {
        decree_fatal("libcurl cannot be initialised");
    }
    (void)uv_timer_init(loop, &h->timer);
    h->timer.data = h;
    h->open_handles = 1;
    (void)curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    (void)curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
    (void)curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, on_timer_wanted);
    (void)curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
    return h;
}

static void on_timer_closed(uv_handle_t *handle)
{
    release(handle->data);
}

struct http *http_free(struct http *h)
{
    if (h == NULL) {
        return NULL;
    }
    h->closing = true;
    list_for_each_safe (it, &h->requests) {
        request_free(list_entry(it, struct http_request, link));
    }
    (void)curl_multi_cleanup(h->multi);
    curl_global_cleanup();
    uv_close((uv_handle_t *)&h->timer, on_timer_closed);
    return NULL;
}

static void set_options(struct http_request *r, const struct http_spec *spec)
{
    CURL *e = r->easy;

    /* Only fails for an option this libcurl does not know; the build asks for 7.88. */
    (void)curl_easy_setopt(e, CURLOPT_PRIVATE, r);
    (void)curl_easy_setopt(e, CURLOPT_URL, spec->url);
    (void)curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http");
    (void)curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    /* http_proxy in the environment of a service must not redirect the store. */
    (void)curl_easy_setopt(e, CURLOPT_PROXY, "");
    (void)curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    if (spec->unix_socket != NULL) {
        (void)curl_easy_setopt(e, CURLOPT_UNIX_SOCKET_PATH, spec->unix_socket);
    } else {
        (void)curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
        (void)curl_easy_setopt(e, CURLOPT_TCP_KEEPIDLE, HTTP_DEAD_PEER_MS / 2000L);
        (void)curl_easy_setopt(e, CURLOPT_TCP_KEEPINTVL, 1L);
        (void)curl_easy_setopt(e, CURLOPT_SOCKOPTFUNCTION, on_socket_made);
    }
    (void)curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)HTTP_CONNECT_TIMEOUT_MS);
    (void)curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)spec->timeout_ms);
    (void)curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)spec->body.len);
    (void)curl_easy_setopt(e, CURLOPT_COPYPOSTFIELDS, (const char *)spec->body.data);
    (void)curl_easy_setopt(e, CURLOPT_HTTPHEADER, r->headers);
    (void)curl_easy_setopt(e, CURLOPT_USERAGENT, "decreed-agent/" DECREE_VERSION);
    (void)curl_easy_setopt(e, CURLOPT_ERRORBUFFER, r->error);
    (void)curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(e, CURLOPT_WRITEDATA, r);
}

struct http_request *http_start(struct http *h, const struct http_spec *spec)
{
    struct http_request *r = xcalloc(1, sizeof(*r));

    decree_assert(!h->closing && spec->body.len > 0);
    r->h = h;
    r->on_data = spec->on_data;
    r->on_done = spec->on_done;
    r->data = spec->data;
    list_init(&r->ready_link);
    list_add_tail(&h->requests, &r->link);
    r->easy = curl_easy_init();
    r->headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (r->easy == NULL || r->headers == NULL) {
        decree_fatal("out of memory in libcurl");
    }
    /* Without this libcurl waits for "100 Continue" before it sends a larger body. */
    r->headers = curl_slist_append(r->headers, "Expect:");
    set_options(r, spec);
    if (curl_multi_add_handle(h->multi, r->easy) != CURLM_OK) {
        decree_fatal("libcurl refuses a request");
    }
    return r;
}

void http_abort(struct http_request *r)
{
    request_free(r);
}
