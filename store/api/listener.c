#include "listener.h"

#include <errno.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "api_impl.h"

enum { SOCKET_MODE = 0660 };

struct listener {
    struct list link;
    struct api *api;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    };
    char *path; /* of a unix socket that we made, owned */
};

static void on_connection(uv_stream_t *stream, int status)
{
    struct listener *l = container_of(stream, struct listener, stream);

    if (status < 0) {
        log_warn("a connection could not be accepted: %s", uv_strerror(status));
        return;
    }
    conn_accept(l->api, stream);
}

static void on_closed(uv_handle_t *handle)
{
    struct listener *l = container_of(handle, struct listener, handle);
    struct api *api = l->api;

    free(l->path);
    free(l);
    api_handle_closed(api);
}

/* The loop must exist before libuv may be asked to close: l->handle is initialised. */
static int fail(struct listener *l, int code)
{
    l->api->handles++;
    uv_close(&l->handle, on_closed);
    return code;
}

static struct listener *listener_new(struct api *api)
{
    struct listener *l = xcalloc(1, sizeof(*l));

    l->api = api;
    list_init(&l->link);
    return l;
}

static int start(struct listener *l, const char *url, struct err *reterr)
{
    int r = uv_listen(&l->stream, LISTEN_BACKLOG, on_connection);

    if (r < 0) {
        return fail(l, err_set(reterr, r, "cannot listen on %s: %s", url, uv_strerror(r)));
    }
    list_add_tail(&l->api->listeners, &l->link);
    log_info("serves clients on %s", url);
    return 0;
}

/* ---- TCP ---- */

/* "host:port", "[::1]:port" split; false when it is neither. */
static bool split_host(const char *text, char **ret_host, char **ret_port)
{
    const char *colon = strrchr(text, ':'), *end = colon;

    if (colon == NULL || colon == text || colon[1] == '\0' ||
        strspn(colon + 1, "0123456789") != strlen(colon + 1) || strlen(colon + 1) > 5) {
        return false;
    }
    if (*text == '[') {
        if (end[-1] != ']') {
            return false;
        }
        text++;
        end--;
    } else if (memchr(text, ':', (size_t)(end - text)) != NULL) {
        return false;
    }
    *ret_host = xstrndup(text, (size_t)(end - text));
    *ret_port = xstrdup(colon + 1);
    return true;
}

static int listen_tcp(struct api *api, const char *url, const char *text, struct err *reterr)
{
    _cleanup_free_ char *host = NULL, *port = NULL;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found;
    struct listener *l;
    int r;

    if (!split_host(text, &host, &port) || strtoul(port, NULL, 10) > UINT16_MAX) {
        return err_set(reterr, DECREE_EINVALID_CONFIG,
            "%s is no address to listen on: http://HOST:PORT is expected", url);
    }
    r = getaddrinfo(host, port, &hints, &found);
    if (r != 0) {
        return err_set(reterr, DECREE_EINVALID_CONFIG, "cannot listen on %s: %s: %s", url, host,
            gai_strerror(r));
    }
    l = listener_new(api);
    r = uv_tcp_init(api->loop, &l->tcp);
    decree_assert(r == 0);
    r = uv_tcp_bind(&l->tcp, found->ai_addr, 0);
    freeaddrinfo(found);
    if (r < 0) {
        return fail(l, err_set(reterr, r, "cannot listen on %s: %s", url, uv_strerror(r)));
    }
    return start(l, url, reterr);
}

/* ---- unix sockets ---- */

/* A socket file that nobody answers on was left by a process that died: removed. Anything else at
 * that path stays, and is an error. */
static int clear_stale(const char *url, const struct sockaddr_un *address, struct err *reterr)
{
    _cleanup_close_ int fd = -1;
    struct stat st;

    if (lstat(address->sun_path, &st) < 0) {
        return errno == ENOENT
            ? 0
            : err_set(reterr, -errno, "cannot listen on %s: %s", url, strerror(errno));
    }
    if (!S_ISSOCK(st.st_mode)) {
        return err_set(reterr, -EADDRINUSE, "cannot listen on %s: the file is no socket", url);
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return err_set(reterr, -errno, "cannot listen on %s: %s", url, strerror(errno));
    }
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
        errno != ECONNREFUSED) {
        return err_set(reterr, -EADDRINUSE, "cannot listen on %s: another process serves it", url);
    }
    log_info("a socket file that nobody served is replaced path=%s", address->sun_path);
    if (unlink(address->sun_path) < 0 && errno != ENOENT) {
        return err_set(reterr, -errno, "cannot replace %s: %s", url, strerror(errno));
    }
    return 0;
}

/* Bound by us rather than by libuv: between bind and chmod nobody may slip in, hence the umask. */
static int bind_unix(
    const char *url, const struct sockaddr_un *address, int *ret_fd, struct err *reterr)
{
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t mask;
    int r;

    if (fd < 0) {
        return err_set(reterr, -errno, "cannot listen on %s: %s", url, strerror(errno));
    }
    mask = umask(0777 & ~SOCKET_MODE);
    r = bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;
    (void)umask(mask);
    if (r < 0) {
        return err_set(reterr, r, "cannot listen on %s: %s", url, strerror(-r));
    }
    *ret_fd = TAKE_FD(fd);
    return 0;
}

static int listen_unix(struct api *api, const char *url, const char *path, struct err *reterr)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct listener *l;
    int fd = -1, r;

    if (*path != '/' || strlen(path) >= sizeof(address.sun_path)) {
        return err_set(reterr, DECREE_EINVALID_CONFIG,
            "%s is no address to listen on: unix:///PATH of less than %zu bytes is expected", url,
            sizeof(address.sun_path));
    }
    memcpy(address.sun_path, path, strlen(path));
    r = clear_stale(url, &address, reterr);
    if (r < 0) {
        return r;
    }
    r = bind_unix(url, &address, &fd, reterr);
    if (r < 0) {
        return r;
    }
    l = listener_new(api);
    r = uv_pipe_init(api->loop, &l->pipe, 0);
    decree_assert(r == 0);
    l->path = xstrdup(path);
    r = uv_pipe_open(&l->pipe, fd);
    if (r < 0) {
        (void)close(fd);
        (void)unlink(path);
        return fail(l, err_set(reterr, r, "cannot listen on %s: %s", url, uv_strerror(r)));
    }
    return start(l, url, reterr);
}

int listener_open(struct api *api, const char *url, struct err *reterr)
{
    static const char http[] = "http://", unix_[] = "unix://";
    size_t len = strlen(url);

    if (strncmp(url, unix_, sizeof(unix_) - 1) == 0) {
        return listen_unix(api, url, url + sizeof(unix_) - 1, reterr);
    }
    if (strncmp(url, http, sizeof(http) - 1) == 0) {
        _cleanup_free_ char *text = xstrdup(url + sizeof(http) - 1);

        if (len > sizeof(http) && text[strlen(text) - 1] == '/') {
            text[strlen(text) - 1] = '\0';
        }
        return listen_tcp(api, url, text, reterr);
    }
    return err_set(reterr, DECREE_EINVALID_CONFIG,
        "%s is no address to listen on: http://HOST:PORT or unix:///PATH is expected", url);
}

void listeners_close(struct api *api)
{
    while (!list_empty(&api->listeners)) {
        struct listener *l = list_entry(api->listeners.next, struct listener, link);

        list_del(&l->link);
        if (l->path != NULL) {
            (void)unlink(l->path);
        }
        api->handles++;
        uv_close(&l->handle, on_closed);
    }
}
