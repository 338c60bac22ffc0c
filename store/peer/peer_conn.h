/* The stream behind a link: today TCP, one day TLS over it. Bytes in, buffers out, one ending. */
#ifndef DECREE_STORE_PEER_PEER_CONN_H
#define DECREE_STORE_PEER_PEER_CONN_H

#include <uv.h>

#include "buf.h"
#include "err.h"

struct peer_conn;

/* How the owner is told; never inside a call to peer_conn_*. */
struct peer_conn_ops {
    void (*open)(void *data);                  /* dialled: it may be written to */
    void (*bytes)(void *data, struct bytes b); /* valid during the call */
    void (*drained)(void *data);               /* nothing is queued any more */
    /* It is over: the connection closes itself, the owner forgets it. */
    void (*down)(void *data, const char *why);
};

/* Looks up the name without blocking, connects to one of its addresses. */
struct peer_conn *peer_conn_dial(
    uv_loop_t *loop, const char *host, uint16_t port, const struct peer_conn_ops *ops, void *data);
/* Takes the next connection of a listener; NULL when that fails. */
struct peer_conn *peer_conn_accept(
    uv_stream_t *listener, const struct peer_conn_ops *ops, void *data);

/* Queues b (its own reference); leaves with the next flush, in one write for all that is queued. */
void peer_conn_write(struct peer_conn *c, struct buf *b);
void peer_conn_flush(struct peer_conn *c);
/* Bytes queued or on their way to the kernel. */
size_t peer_conn_queued(const struct peer_conn *c);
/* Bytes that the kernel has taken. */
uint64_t peer_conn_sent(const struct peer_conn *c);

/* Stops and goes on reading. */
void peer_conn_pause(struct peer_conn *c);
void peer_conn_resume(struct peer_conn *c);

/* `down` unless cancelled (0) or set anew within that time. */
void peer_conn_deadline(struct peer_conn *c, unsigned ms, const char *why);

/* No callback runs after this; c is freed later. */
void peer_conn_close(struct peer_conn *c);
/* As above, after what is queued has been written, or a second at most. */
void peer_conn_finish(struct peer_conn *c);

/* Connections whose handles are not closed yet, of all owners on this loop's thread: a loop can be
 * closed when it is 0. on_zero (if set) runs when it becomes so. */
struct peer_conn_count {
    size_t n;
    void (*on_zero)(void *data);
    void *data;
};
void peer_conn_counted(struct peer_conn *c, struct peer_conn_count *count);

#endif
