/* One client connection: finds out which HTTP it speaks, reads what the socket has, and writes once
 * a loop turn what all its requests have to say. */
#ifndef DECREE_STORE_API_CONN_H
#define DECREE_STORE_API_CONN_H

#include "api_limits.h"
#include "exchange.h"

struct h1;
struct h2;

/* Only conn.c moves it. */
enum conn_state {
    CONN_SNIFFING, /* fewer bytes than tell HTTP/2 from HTTP/1.1 */
    CONN_H1,
    CONN_H2,
    CONN_FLUSHING, /* nothing is read any more; closes when all output has left */
    CONN_CLOSED,   /* waits for libuv */
    CONN_STATES
};

struct conn {
    struct list link;  /* in api->conns */
    struct list dirty; /* in api->dirty: something to write */
    struct api *api;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    };
    enum conn_state state;
    struct strbuf sniffed;
    struct h1 *h1;   /* owned; set in CONN_H1 and after it */
    struct h2 *h2;   /* owned; likewise */
    struct segq out; /* framed, waiting for the socket */
    uv_write_t write;
    size_t writing; /* bytes that libuv is writing, 0 = none */
    bool reading;
    bool busy;                    /* its last read held many requests */
    size_t turn_requests;         /* begun in this turn of the loop… */
    size_t turn_read, turn_write; /* …and bytes read and written */
    struct deadline deadline;
    uint64_t limit_ms; /* what deadline was set to, 0: dropped */
    struct list exchanges;
    size_t out_bytes;           /* waiting in the exchanges' own queues */
    size_t watch_bytes;         /* of out_bytes, those of watch streams */
    struct list full_watches;   /* struct watch.full: until watch_bytes has fallen */
    size_t in_bytes;            /* bodies waiting */
    size_t n_calls, call_bytes; /* requests that are with the store */
    struct list
        queued; /* struct rpc.queue_link: complete requests, until the store may have them */
    struct exchange *large; /* whose reply comes in parts: one at a time, other reads wait */
    size_t deferred_bytes;  /* the largest answer that found no room */
    struct list waiting;    /* struct rpc.queue_link: reads, for whose answers there is no room */
    struct identity identity;
    char peer[64]; /* for the log */
};

/* Takes a connection from the listener; closes it at once when there are too many. */
void conn_accept(struct api *api, uv_stream_t *listener);
/* There is something to write: conn_flush runs before the loop sleeps. */
void conn_mark_dirty(struct conn *c);
/* Writes what is due, no more than its share of a turn; returns how much that was. */
size_t conn_flush(struct conn *c);
/* The client does not fetch its answers: no more of them are to be made for now. Its bytes are read
 * all the same, as HTTP/2 clients say among them that they have room again. */
static inline bool conn_is_full(const struct conn *c)
{
    return c->out_bytes > OUTPUT_BYTES_MAX;
}
/* May the store have another request of this connection now? */
bool conn_may_call(const struct conn *c);
/* One goes to the store, or is through. */
void conn_call_begins(struct conn *c, size_t bytes);
void conn_call_ends(struct conn *c, size_t bytes);
/* Closes when what is queued has left; reads nothing more. */
void conn_finish(struct conn *c);
/* Closes now. Exchanges are told; c is freed later. */
void conn_close(struct conn *c);
/* The daemon stops: no new requests; closes when those under way are through. */
void conn_drain(struct conn *c);
/* Sets the deadline that fits what the connection is doing. */
void conn_update_deadline(struct conn *c);

#endif
