/* gRPC over HTTP/2 for a load generator: many calls on few connections, one thread, one epoll.
 *
 * All that arrives in a turn is read first, its calls answered by new ones, and then each
 * connection is written once: the generator costs a fraction of the server it measures. A broken
 * connection ends the program: figures with a hole in them are none. */
#ifndef DECREE_BENCH_RPC_H
#define DECREE_BENCH_RPC_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "list.h"

struct rpc_conn;
struct rpc_net;

/* One call, embedded by its owner, who sets the two callbacks. It may be started again from on_done
 * on. */
struct rpc {
    struct rpc_conn *conn; /* borrowed */
    int32_t stream_id;     /* 0 while not running */
    struct strbuf out;     /* framed messages, kept until the call has ended */
    size_t out_sent;
    bool half_close;  /* nothing follows what is in out */
    bool deferred;    /* the sender waits for more */
    struct strbuf in; /* a message that has come in part */
    int status;       /* grpc-status, -1 = none came */
    struct strbuf status_text;
    /* A whole message; valid during the call. NULL when nobody looks at replies. */
    void (*on_message)(struct rpc *rpc, struct bytes message);
    /* The call has ended: status and status_text tell how. Runs from rpc_net_turn only. */
    void (*on_done)(struct rpc *rpc);
};

/* endpoints: comma list of http://HOST:PORT or unix:///PATH; connections take them in turn. Opens
 * conns connections, and more while the streams they allow are fewer than streams. Ends the program
 * with a message when that fails. */
struct rpc_net *rpc_net_new(const char *endpoints, unsigned conns, unsigned streams);
/* Ends what still runs without calling back. NULL is accepted; returns NULL. */
struct rpc_net *rpc_net_free(struct rpc_net *net);
unsigned rpc_net_conns(const struct rpc_net *net);
/* A connection for the next long-lived call: evenly spread, only where a stream is left. */
struct rpc_conn *rpc_net_assign(struct rpc_net *net);

/* Begins a framed message in rpc->out: rpc_message_begin, write the protobuf, rpc_message_end. */
size_t rpc_message_begin(struct rpc *rpc);
void rpc_message_end(struct rpc *rpc, size_t begin);
/* Starts the call with what is in rpc->out. path is static, "/etcdserverpb.KV/Put". */
void rpc_start(struct rpc *rpc, const char *path);
/* Sends what was added to rpc->out since. */
void rpc_resume(struct rpc *rpc);

/* Writes what was started, waits at most wait_ns (-1 = for ever) and handles what has arrived. */
void rpc_net_turn(struct rpc_net *net, int64_t wait_ns);

#endif
