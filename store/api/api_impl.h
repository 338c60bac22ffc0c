/* What the files of this folder share. */
#ifndef DECREE_STORE_API_IMPL_H
#define DECREE_STORE_API_IMPL_H

#include <nghttp2/nghttp2.h>

#include "api.h"
#include "api_limits.h"
#include "conn.h"
#include "exchange.h"
#include "log.h"

enum { GRPC_CODES = 17 };

enum {
    GRPC_OK = 0,
    GRPC_CANCELED = 1,
    GRPC_UNKNOWN = 2,
    GRPC_INVALID_ARGUMENT = 3,
    GRPC_DEADLINE_EXCEEDED = 4,
    GRPC_NOT_FOUND = 5,
    GRPC_RESOURCE_EXHAUSTED = 8,
    GRPC_UNIMPLEMENTED = 12,
    GRPC_INTERNAL = 13,
    GRPC_UNAVAILABLE = 14,
};

/* For /metrics. */
struct api_counters {
    struct {
        uint64_t started, handled[GRPC_CODES], received, sent; /* calls, messages */
    } methods[METHOD_COUNT];
    uint64_t received_bytes, sent_bytes; /* of gRPC messages' connections */
    uint64_t refused_connections, refused_requests, glitches;
};

enum api_state { API_RUNNING, API_DRAINING, API_CLOSING };

struct listener;

struct api {
    uv_loop_t *loop;
    struct store *store;
    struct api_options options;
    enum api_state state;
    struct list listeners; /* owned */
    struct list conns;     /* owned */
    size_t n_conns;
    struct list dirty;  /* connections with something to write */
    uv_prepare_t flush; /* writes for all of them, right before the loop would sleep */
    uv_idle_t no_sleep; /* runs while something was queued after that: the loop must not sleep */
    size_t turn_share;  /* requests that a connection may begin in this turn of the loop… */
    size_t turn_busy;   /* …and how many connections have had that many */
    size_t n_calls, n_calling; /* requests with the store; connections that have some there */
    size_t calls_total;        /* how many it may have in this turn before connections wait */
    uint64_t company_ms;       /* when more than one had some there the last time; 0: never */
    struct deadlines deadlines;
    struct deadline leader_check; /* looks after leader_streams */
    struct list leader_streams;   /* struct rpc.queue_link */
    struct deadline grace;        /* while draining */
    struct list pool;             /* exchanges for reuse */
    size_t n_pool, n_exchanges, n_watchers;
    struct list large_waiting;   /* struct rpc.queue_link: large reads, until others have left */
    size_t n_large, large_bytes; /* large replies being made, and what is expected of them */
    size_t watch_bytes;          /* events waiting, of all connections; not in out_bytes */
    size_t in_bytes, out_bytes;  /* bodies waiting, answers waiting: of all connections */
    nghttp2_session_callbacks *h2_callbacks;
    nghttp2_option *h2_option;
    struct api_counters counters;
    uint8_t *read_buffer; /* READ_BUFFER_BYTES, owned; used during one read callback */
    unsigned handles;     /* of ours that libuv has still to close */
    void (*stop_cb)(void *data);
    void *stop_data;
};

/* What each may begin in a turn of the loop when that many connections have much to begin. */
static inline size_t api_turn_share(size_t busy)
{
    size_t share = REQUESTS_TURN_TOTAL / MAX(busy, (size_t)1);

    share = MIN(share, (size_t)REQUESTS_TURN_MAX);
    return MAX(share, (size_t)REQUESTS_TURN_MIN);
}

/* How many requests the store is given before connections wait, where a write takes that long.
 * Nothing is gained by a bound when one connection alone asks for something. Without a leader
 * requests wait for one and not for each other: all may come, for some need none and the others are
 * to know in time that there is none. */
static inline size_t api_calls_total(bool bounded, uint64_t write_us)
{
    size_t us = (size_t)MIN(write_us, (uint64_t)CALLS_SLOWEST_MS * 1000);

    _Static_assert(CALLS_TOTAL + CALLS_SLOWEST_MS * CALLS_PER_MS < REQUESTS_MAX,
        "a bound is told from none by its size");
    return bounded ? MAX((size_t)CALLS_TOTAL, CALLS_TOTAL / 3 + us * CALLS_PER_MS / 1000)
                   : (size_t)REQUESTS_MAX;
}

/* How many of one connection. */
static inline size_t api_calls_share(const struct api *api)
{
    return api->calls_total / CALLS_SHARE;
}

/* May it be given one more of a connection that has so many there? Its equal part always, so that
 * nobody waits for those who ask for much; and of the parts of others who ask for little as much as
 * makes its share, so that the next one who comes has no more before it than that. */
static inline bool api_takes_call(const struct api *api, size_t of_conn)
{
    size_t part = api->calls_total / MAX(api->n_calling, (size_t)1);

    return of_conn == 0 ||
        (of_conn < api_calls_share(api) && (of_conn < part || api->n_calls < api->calls_total));
}

/* Large replies that together would pass OUTPUT_BYTES_TOTAL_MAX are made one after the other. */
static inline bool api_takes_large(const struct api *api)
{
    return api->n_large == 0 && api->out_bytes <= LARGE_RESUME_BYTES;
}

/* A connection has been freed. */
void api_conn_gone(struct api *api);
/* One of api->handles is closed. */
void api_handle_closed(struct api *api);
/* Something was queued: the loop must not sleep before it is flushed. */
void api_wake(struct api *api);

#endif
