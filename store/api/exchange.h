/* One HTTP request and its answer, whichever version of HTTP it came by.
 *
 * The transport (h1.c, h2.c) makes an exchange when a request's headers are complete, hands it to
 * exchange_route, feeds the body with exchange_input and pulls the answer from `out` when the
 * socket takes more. The service (rpc.c, pages.c) reads `in`, answers with exchange_respond and
 * appends to `out`. An exchange that loses its peer tells its service and is gone; so is one whose
 * answer has left. Objects are reused, with their arena and buffers. */
#ifndef DECREE_STORE_API_EXCHANGE_H
#define DECREE_STORE_API_EXCHANGE_H

#include "arena.h"
#include "deadline.h"
#include "json_proto.h"
#include "list.h"
#include "method.h"
#include "reply_parts.h"
#include "segq.h"

struct api;
struct conn;
struct exchange;
struct watch_stream;
struct snapshot_stream;

enum http_verb { VERB_GET, VERB_POST, VERB_HEAD, VERB_OTHER };

/* Who asks, as the connection proves it. Authentication will add users to it. */
enum identity_kind { IDENTITY_ANONYMOUS, IDENTITY_UNIX };
struct identity {
    enum identity_kind kind;
    uid_t uid; /* IDENTITY_UNIX: the peer process's, told by the kernel */
};

struct transport {
    /* Begin the answer: ex->status and ex->content_type are set. */
    void (*respond)(struct exchange *ex);
    /* There is more in out, or it is complete (ex->done). */
    void (*wake)(struct exchange *ex);
    /* Bytes of the connection's bodies have been used: NULL, or more may come. */
    void (*room)(struct conn *c);
    /* Give up: reset the stream or close the connection. */
    void (*abort)(struct exchange *ex);
};

/* Calls never overlap; start comes first, gone comes last. */
struct service {
    void (*start)(struct exchange *ex);   /* headers are there */
    void (*input)(struct exchange *ex);   /* `in` grew or in_done was set */
    void (*drained)(struct exchange *ex); /* out has fallen to WATCH_OUTPUT_LOW; may be NULL */
    /* The deadline has passed. False: the request is not complete yet and shall be given up. NULL:
     * it never is set by this service. */
    bool (*expired)(struct exchange *ex);
    /* The connection sends more than its share; ends the call. NULL: it is aborted. */
    void (*overloaded)(struct exchange *ex);
    /* The last call: the answer has left or the peer is gone; let go of everything. */
    void (*gone)(struct exchange *ex);
};

/* State of one call, for rpc.c. */
struct rpc {
    const struct method *method;
    bool json;         /* else gRPC */
    bool calling;      /* call is with the store… */
    size_t call_bytes; /* …and this is its size, counted in conn->call_bytes */
    bool received;     /* unary: the request is complete */
    bool waiting;      /* …and waits in one of queue_link's lists… */
    bool decoded;      /* …with call ready to be submitted */
    struct store_call call;
    int refusal;              /* gRPC status with which the complete request will be answered… */
    const char *refusal_text; /* …and its text, in the exchange's arena; refusal 0: none */
    struct json_scan scan;
    size_t scanned;                   /* bytes of in that scan has seen */
    struct watch_stream *watch;       /* METHOD_WATCH: owned */
    struct snapshot_stream *snapshot; /* METHOD_SNAPSHOT: owned */
    struct arena message;             /* streams: memory of the message under way */
    bool large;                       /* the reply comes in parts… */
    struct reply_parts parts;         /* …and these are there */
    size_t parts_expected;            /* roughly what all of them will be */
    struct list queue_link; /* streams: in api->leader_streams while `hasleader` watches it; others:
                               in conn->queued, conn->waiting or api->large_waiting */
};

struct exchange {
    struct list link; /* in conn->exchanges, or in the pool */
    struct conn *conn;
    struct api *api;
    const struct transport *transport;
    const struct service *service; /* NULL until routed */
    struct arena arena;            /* everything of the request below */
    struct deadline deadline;
    int32_t stream_id;     /* HTTP/2 */
    size_t header_bytes;   /* HTTP/2: of the list so far */
    size_t unconsumed;     /* HTTP/2: for which the client has not been given new window */
    struct list throttled; /* HTTP/2: in h2->throttled then */
    size_t unwanted_bytes; /* HTTP/2: of a body that goes on after the answer */

    /* request */
    enum http_verb verb;
    bool is_grpc, expects_continue, has_leader; /* has_leader: metadata of that name */
    struct bytes path, query, host, content_type, origin, fetch_site, grpc_timeout, grpc_encoding;
    struct strbuf in; /* body bytes that nobody has taken yet */
    size_t in_max;    /* more than this in `in` is refused */
    bool in_done;

    /* answer */
    bool responded, done;
    int status;
    const char *content_type_out; /* static */
    const char *allow;            /* static, or NULL */
    int grpc_status;              /* trailers when is_grpc */
    const char *grpc_message;     /* arena or static, percent-encoded; NULL: none */
    struct segq out;
    bool is_watch;      /* a stream of events: counted as such */
    size_t out_counted; /* of what it holds for its client, what the connection's and api's sums
                           know */

    struct rpc rpc;
};

/* A new one on this connection, or NULL when REQUESTS_MAX are under way. */
struct exchange *exchange_new(struct conn *conn, const struct transport *transport);
/* The transport is through with it: the answer has left or the peer is gone. */
void exchange_free(struct exchange *ex);

/* One header of the request; names are lower case. Bytes are borrowed during the call. */
void exchange_header(struct exchange *ex, struct bytes name, struct bytes value);
/* ":path" or the request line's target. */
void exchange_target(struct exchange *ex, struct bytes target);
/* Headers are complete: pick the service and start it. */
void exchange_route(struct exchange *ex);
/* Body bytes; ignored when the answer is done already. */
void exchange_input(struct exchange *ex, struct bytes b);
void exchange_input_end(struct exchange *ex);
/* The service has used the first n bytes of `in`. */
void exchange_take(struct exchange *ex, size_t n);

/* Whole answers. */
void exchange_page(struct exchange *ex, int status, const char *content_type, struct bytes body);
/* Begin an answer of unknown length. */
void exchange_respond(struct exchange *ex, int status, const char *content_type);
/* rpc.parts has changed. */
void exchange_count(struct exchange *ex);
/* out grew. */
void exchange_wake(struct exchange *ex);
/* Nothing will be added any more. */
void exchange_done(struct exchange *ex);
/* For transports: n bytes of out have been pulled. */
void exchange_pulled(struct exchange *ex);

#endif
