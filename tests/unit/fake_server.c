/* The doors on a store in memory, for tests and measurements of the doors alone:
 *     fake_server http://127.0.0.1:2379 unix:///tmp/x.sock …
 * Prints "ready" when it listens; ends on SIGTERM or SIGINT. SIGUSR1 takes the leader away, SIGUSR2
 * brings it back. FAKE_PROGRESS_MS is the interval of watch progress, FAKE_PART_KVS how many kvs
 * are in a part of a reply that has more. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "api.h"
#include "fake_store.h"
#include "log.h"

struct server {
    uv_loop_t loop;
    struct store *store;
    struct api *api;
    uv_signal_t signals[4];
};

static void on_stopped(void *data)
{
    struct server *s = data;

    fake_store_free(s->store);
    for (size_t i = 0; i < ARRAY_SIZE(s->signals); i++) {
        uv_close((uv_handle_t *)&s->signals[i], NULL);
    }
}

static void on_signal(uv_signal_t *signal, int number)
{
    struct server *s = signal->data;

    switch (number) {
    case SIGUSR1:
        fake_store_set_leader(s->store, false);
        break;
    case SIGUSR2:
        fake_store_set_leader(s->store, true);
        break;
    default:
        if (s->api != NULL) {
            api_stop(TAKE_PTR(s->api), on_stopped, s);
        }
    }
}

int main(int argc, char **argv)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGUSR1, SIGUSR2};
    const char *progress = getenv("FAKE_PROGRESS_MS");
    struct api_options options = {
        .leaderless_ms = 300,
        .progress_interval_ms = progress != NULL ? (unsigned)strtoul(progress, NULL, 10) : 0,
    };
    _cleanup_err_ struct err err = {0};
    struct server s = {0};

    log_set_level(getenv("FAKE_DEBUG") != NULL ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARN);
    (void)signal(SIGPIPE, SIG_IGN); /* a client that has gone is an error of the write */
    (void)uv_loop_init(&s.loop);
    s.store = fake_store_new(&s.loop);
    if (getenv("FAKE_PART_KVS") != NULL) {
        fake_store_set_part_kvs(s.store, strtoul(getenv("FAKE_PART_KVS"), NULL, 10));
    }
    (void)api_new(&s.loop, s.store, &options, &s.api);
    for (int i = 1; i < argc; i++) {
        if (api_listen(s.api, argv[i], &err) < 0) {
            fprintf(stderr, "%s\n", err.text);
            return 1;
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(s.signals); i++) {
        (void)uv_signal_init(&s.loop, &s.signals[i]);
        s.signals[i].data = &s;
        (void)uv_signal_start(&s.signals[i], on_signal, numbers[i]);
    }
    printf("ready\n");
    fflush(stdout);
    (void)uv_run(&s.loop, UV_RUN_DEFAULT);
    return uv_loop_close(&s.loop) == 0 ? 0 : 2;
}
