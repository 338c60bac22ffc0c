/* A client's bytes against the doors on a store in memory: HTTP/1.1 or HTTP/2, as the bytes say.
 * What has two keys or more is answered in parts.
 * Afterwards nothing of the client may be left. */
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "api.h"
#include "api_impl.h"
#include "fake_store.h"
#include "log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TURNS_MAX = 200 };

static uv_loop_t loop;
static struct store *store;
static struct api *api;
static struct sockaddr_un address = {.sun_family = AF_UNIX};

static void remove_socket(void)
{
    (void)unlink(address.sun_path);
}

static void start(void)
{
    _cleanup_err_ struct err err = {0};
    _cleanup_free_ char *url = NULL;

    (void)signal(SIGPIPE, SIG_IGN);
    log_set_level(LOG_LEVEL_ERROR);
    (void)uv_loop_init(&loop);
    store = fake_store_new(&loop);
    fake_store_set_part_kvs(store, 1);
    (void)api_new(&loop, store, NULL, &api);
    (void)snprintf(
        address.sun_path, sizeof(address.sun_path), "/tmp/decree-fuzz-%d.sock", (int)getpid());
    url = xasprintf("unix://%s", address.sun_path);
    decree_assert(api_listen(api, url, &err) == 0);
    (void)atexit(remove_socket);
}

static void drop(int fd)
{
    char answer[65536];

    while (recv(fd, answer, sizeof(answer), MSG_DONTWAIT) > 0) {}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fd;

    if (api == NULL) {
        start();
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    decree_assert(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    for (size_t at = 0; at < size;) {
        ssize_t n = send(fd, data + at, MIN(size - at, (size_t)4000), MSG_DONTWAIT | MSG_NOSIGNAL);

        (void)uv_run(&loop, UV_RUN_NOWAIT);
        drop(fd);
        if (n < 0) {
            break;
        }
        at += (size_t)n;
    }
    for (int i = 0; i < 5; i++) {
        (void)uv_run(&loop, UV_RUN_NOWAIT);
        drop(fd);
    }
    (void)close(fd);
    for (int i = 0; i < TURNS_MAX && api->n_conns > 0; i++) {
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    }
    decree_assert(api->n_conns == 0 && api->n_exchanges == 0 && api->n_watchers == 0 &&
        api->in_bytes == 0 && api->out_bytes == 0 && api->n_large == 0 && api->large_bytes == 0 &&
        fake_store_calls(store) == 0);
    return 0;
}
