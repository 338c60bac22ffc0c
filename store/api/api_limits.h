/* Every limit of the doors in one place: what a client can make us hold, hold up or do at once.
 * Sources: contracts/reliability.md T8-T15; the HTTP/2 figures are nghttp2's defaults unless a
 * reason is given. Tests: tests/unit/test_api_codec.c, tests/integration/api_hostile.py. */
#ifndef DECREE_STORE_API_LIMITS_H
#define DECREE_STORE_API_LIMITS_H

#include "request.h"

enum {
    /* ---- connections ---- */
    CONNECTIONS_MAX = 10000, /* 10,000 watchers with a connection each; beyond: closed at accept */
    LISTEN_BACKLOG = 1024,
    READ_BUFFER_BYTES = 64 * 1024, /* one for all connections: what a turn reads from a socket… */
    READ_BUSY_BYTES = 8 * 1024, /* …and from one that has sent many requests in a turn before */
    /* Requests that one connection begins in a turn of the loop: each takes 10 to 20 microseconds
     * until it is answered, and what another one asks waits that long. */
    REQUESTS_TURN_MAX = 200,
    /* Of all connections that would begin more: each has an equal part of it, but no less than the
     * minimum, so that frames of members and ticks never wait for long. */
    REQUESTS_TURN_TOTAL = 1000,
    REQUESTS_TURN_MIN = 16,
    REQUESTS_BUSY = 32, /* in one read: the next ones are READ_BUSY_BYTES */
    READ_TURN_BYTES = 256 * 1024,
    HEADER_TIMEOUT_MS = 10 * 1000, /* from accept, or from a request's first byte, to its headers */
    BODY_TIMEOUT_MS = 30 * 1000,   /* from the headers of a unary request to its last byte */
    IDLE_TIMEOUT_MS = 75 * 1000,   /* HTTP/1.1 between two requests, as common proxies wait */
    H2_IDLE_TIMEOUT_MS = 30 * 60 * 1000, /* etcd clients keep one connection for hours */
    WRITE_STALL_MS = 60 * 1000,          /* the peer takes no byte of what waits in the socket */
    LINGER_MS = 1000,         /* HTTP/2: for a client to end a request that is answered already */
    STOP_GRACE_MS = 5 * 1000, /* for calls under way when the daemon stops */
    TCP_KEEPALIVE_S = 60,     /* finds peers that vanished without a word */

    /* ---- HTTP/2 ---- */
    /* etcd has no limit and its clients open one stream a watch on one connection (kube-apiserver
     * hundreds), so nghttp2's advice of 100 would stall them. What rapid resets could gain by a
     * larger number is bounded by REQUESTS_MAX and the reset rate instead. */
    H2_STREAMS_MAX = 1000,
    H2_STREAM_WINDOW = 64 * 1024, /* HTTP/2's own: times the streams this is what comes unasked */
    H2_CONNECTION_WINDOW = 1024 * 1024,
    H2_OUTBOUND_ACKS_MAX = 1000,
    H2_SETTINGS_MAX = 32,
    H2_CONTINUATIONS_MAX = 8,
    H2_GLITCHES_BURST = 1000, /* resets, empty DATA, SETTINGS, broken frames: a bucket of this */
    H2_GLITCHES_PER_S = 33,   /* size that refills at this rate; empty: GOAWAY */
    HEADER_BYTES_MAX = 16 * 1024,
    HEADERS_MAX = 100,

    /* ---- requests ---- */
    REQUESTS_MAX = 20000,     /* under way in the whole process, streams included */
    REQUESTS_POOLED_MAX = 64, /* kept for reuse: about 6 KiB each, and idle memory matters */
    /* What the gRPC layer of etcd takes: the largest entry and room for what wraps it. */
    MESSAGE_BYTES_MAX = REQUEST_BYTES_MAX + 512 * 1024,
    JSON_BODY_BYTES_MAX = MESSAGE_BYTES_MAX / 3 * 4, /* base64 */
    BODY_BYTES_TOTAL_MAX = 64 * 1024 * 1024,         /* unread request bodies of all connections */
    /* Of one connection: beyond it the streams but the oldest one are given no more window, so that
     * large bodies come in one after the other… */
    BODY_BYTES_CONN_HIGH = 8 * 1024 * 1024,
    /* …and what comes all the same, from windows given before, is refused. */
    BODY_BYTES_CONN_MAX = BODY_BYTES_TOTAL_MAX / 2,
    /* Requests with the store: it takes them in one order, some 10 microseconds each until it is
     * answered, and one that comes has all of them before it. A connection that has as many there
     * as CALLS_SHARE allows keeps the others at its door, and so does one that has its equal part
     * once all together have as many as… */
    CALLS_TOTAL = 1024,
    /* …or so many for each millisecond that disk and members take for a write: of what one
     * connection may have one half is being written while the other is answered, at 90 a
     * millisecond. With fewer, the processor would have nothing to do on a slow disk. (And a
     * third of CALLS_TOTAL, for what the doors and the loop take besides.) */
    CALLS_PER_MS = 720,
    CALLS_SHARE = 4, /* a quarter of all */
    CALLS_SLOWEST_MS = 16,
    CALLS_COMPANY_MS = 1000, /* who has asked for something that lately may ask again */
    /* Likewise of their bytes, for one connection: a quarter of what the store takes, and of a
     * disk's time no more than others can wait for. */
    CALL_BYTES_CONN_MAX = 16 * 1024 * 1024,
    PROTO_DEPTH_MAX = 16,     /* messages within messages; protobuf-c recurses without a limit */
    PROTO_FIELDS_MAX = 16384, /* far above 3 x 128 ops with all their fields */
    JSON_DEPTH_MAX = 64,
    DECODE_BYTES_EXTRA = 4 * 1024 * 1024, /* arena ceiling beyond the message's own size */

    /* ---- replies ---- */
    WRITE_CHUNK_BYTES = 256 * 1024, /* pulled from HTTP/2 before the socket is asked */
    /* Written to one connection, and to all, in a turn of the loop: the kernel copies a megabyte in
     * a few hundred microseconds. What is left has its turn behind the others. */
    WRITE_TURN_BYTES = 512 * 1024,
    WRITE_TURN_BYTES_TOTAL = 4 * 1024 * 1024,
    OUTPUT_BYTES_MAX = 4 * 1024 * 1024, /* waiting on one connection: its next requests wait too */
    OUTPUT_BYTES_TOTAL_MAX = 512 * 1024 * 1024, /* waiting on all; beyond it replies are refused */
    /* Large replies that would pass that together are made one after the other: the next one when
     * no more than this is waiting. */
    LARGE_RESUME_BYTES = OUTPUT_BYTES_TOTAL_MAX / 8,

    /* ---- snapshots: an open one keeps memory from being given back ---- */
    SNAPSHOT_BLOB_BYTES = 32 * 1024,   /* as etcd's */
    SNAPSHOT_STALL_MS = 30 * 1000,     /* for what is on its way to be taken: 6 KiB/s */
    SNAPSHOT_LAST_MS = 60 * 60 * 1000, /* in all: 2 GiB at 5 Mbit/s */

    /* ---- watches ---- */
    WATCH_OUTPUT_HIGH = 256 * 1024, /* a stream with more than this waiting takes no events… */
    WATCH_OUTPUT_LOW = 64 * 1024,   /* …until it has drained to this */
    /* Likewise all streams of one connection together: a thousand of them would hold half of what
     * the process may. Beyond the total a connection holds no more than a stream would: those that
     * do not read leave something to those that do. Replies are counted apart. */
    WATCH_CONN_OUTPUT_HIGH = 16 * 1024 * 1024,
    WATCH_OUTPUT_TOTAL_HIGH = 256 * 1024 * 1024,
    WATCHERS_PER_STREAM_MAX = 20000,
    WATCHERS_MAX = 200000,                    /* in the whole process: about 400 B each */
    WATCH_FRAGMENT_BYTES = MESSAGE_BYTES_MAX, /* a response with fragment=true is split here */
    PROGRESS_INTERVAL_MS = 10 * 60 * 1000,
    PROGRESS_INTERVAL_MIN_MS = 100,
};

#endif
