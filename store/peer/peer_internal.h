/* What the files of this folder share: a member, its two outgoing links, incoming connections. */
#ifndef DECREE_STORE_PEER_PEER_INTERNAL_H
#define DECREE_STORE_PEER_PEER_INTERNAL_H

#include "list.h"
#include "peer.h"
#include "peer_conn.h"
#include "peer_frame.h"
#include "peer_hello.h"

enum {
    HELLO_TIMEOUT_MS = 5000, /* whoever dials in has that long to say who it is */
    BACKOFF_MIN_MS = 50,     /* a restarted member is back soon … */
    BACKOFF_MAX_MS = 2000,   /* … one that stays away is asked now and then */
    INCOMING_MAX = 128,      /* connections that have not said who they are included */
};

/* IDLE --start--> DIALING --hello taken--> UP; down: WAITING for the next attempt (messages) or
 * IDLE (streams). */
enum link_state { LINK_IDLE, LINK_WAITING, LINK_DIALING, LINK_UP };

struct peer;

/* An outgoing connection for one channel. */
struct peer_link {
    struct peer *peer;
    enum peer_channel channel;
    enum link_state state;
    struct peer_conn *conn; /* while DIALING and UP */
    struct peer_hello_reader hello;
    struct peer_frame_reader frames;
    uint64_t up_since_ms;
    unsigned failures, address; /* since it was last up; which address is tried */
    char *last_reason;          /* owned; logged when it changes */
    bool full;                  /* stream: told to wait for `ready` */
};

struct peer {
    struct list link; /* in peers.list */
    struct peers *peers;
    uint64_t id;
    struct peer_address address;     /* its hosts are those below */
    char *hosts[PEER_ADDRESSES_MAX]; /* owned */
    struct peer_link messages, stream;
    uv_timer_t retry; /* of the message link */
    bool dropped;     /* frames were: to be reported */
    bool marked;      /* peers_set: still a member */
    bool stranger;    /* not in the list of members here */
    uint64_t sent_bytes, received_bytes, sent_failures;
};

/* An incoming connection. */
struct peer_in {
    struct list link; /* in peers.incoming */
    struct peers *peers;
    struct peer_conn *conn;
    struct peer_hello_reader hello;
    struct peer_frame_reader frames;
    struct peer *from; /* NULL until the hello is taken */
    enum peer_channel channel;
    uint64_t question; /* one that wants to join waits for its answer; 0 = none */
    bool paused, in_frame, gone;
};

struct peer_listener {
    struct list link;
    struct peers *peers;
    uv_tcp_t tcp;
};

struct peers {
    uv_loop_t *loop;
    struct peers_options options;
    const struct peers_ops *ops;
    void *data;
    struct list list, incoming, listeners;
    size_t n_incoming;
    uint64_t questions; /* so many have been asked */
    char *own_urls;     /* owned, "" at first */
    uint16_t port;
    uint64_t chance; /* of back-off jitter */
    struct peer_conn_count conns;
    size_t handles; /* timers and listeners whose close callback has not come */
    bool closing;
    void (*closed)(void *data);
    void *closed_data;
    uv_idle_t last; /* never started: its close callback is the last thing that happens */
};

/* It comes with another data directory than the one the cluster knows: what it acknowledged and
 * whom it voted for is forgotten, so it must not count as that member again (reliability F18). */
#define PEER_REPLACED_TEXT                                                                         \
    "this member has lost its data: it must be removed from the cluster and added anew"
#define PEER_REMOVED_TEXT "this member has been removed from the cluster"
/* HTTP statuses: of the two refusals that are for good, and of "not yet, ask another one". */
enum { PEER_STATUS_REPLACED = 409, PEER_STATUS_REMOVED = 410, PEER_STATUS_JOINING = 503 };
static inline bool peer_is_replaced(const struct peer *peer, uint64_t incarnation)
{
    return peer->address.incarnation != 0 && peer->address.incarnation != incarnation;
}

struct peer *peers_find(const struct peers *p, uint64_t id);
/* Something of p has been freed: is p done? */
void peers_check_closed(struct peers *p);

/* ---- peer_link.c ---- */

void peer_link_init(struct peer_link *l, struct peer *peer, enum peer_channel channel);
void peer_link_start(struct peer_link *l);
/* Ends the connection without telling anybody. */
void peer_link_stop(struct peer_link *l);
/* The other side lives: no need to wait for the back-off. */
void peer_link_kick(struct peer_link *l);
/* Queues one frame; the link must be UP. */
void peer_link_send(struct peer_link *l, struct buf *const *parts, size_t n_parts);

/* ---- peer_in.c ---- */

int peer_in_listen(struct peers *p, const char *host, uint16_t port, struct err *reterr);
void peer_in_unlisten(struct peer_listener *listener);
struct peer_in *peer_in_find(const struct peers *p, uint64_t from, enum peer_channel channel);
/* Closes it; stream_cut is told when tell is set. */
void peer_in_end(struct peer_in *in, bool tell);
/* Hands out the frames that have come. */
void peer_in_read(struct peer_in *in);
void peer_in_write(struct peer_in *in, struct buf *frame);

#endif
