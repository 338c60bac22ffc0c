/* Links between members: TCP on libuv, begun by an HTTP/1.1 upgrade that proves to both sides whom
 * they talk to, then frames with a length and a checksum. What the frames say is the node's.
 *
 * Every member dials every other one for what it has to say (messages), and once more when it has a
 * snapshot to send (a stream), so that bulk never delays a heartbeat. Messages may be dropped: when
 * the link is down, or its queue is full. Frames of one link arrive in order, each at most once.
 * Everything runs in the loop's thread. */
#ifndef DECREE_STORE_PEER_PEER_H
#define DECREE_STORE_PEER_PEER_H

#include <uv.h>

#include "buf.h"
#include "err.h"

enum {
    /* A message of at most 1 MiB of entries, or one entry of 1.5 MiB, and its head. */
    PEER_FRAME_BYTES_MAX = 4 << 20,
    /* Two full windows of a follower: more means that it does not read. */
    PEER_QUEUE_BYTES_MAX = 8 << 20,
    /* On its way in a stream: enough for a fast network, little enough for a slow one. */
    PEER_STREAM_WINDOW_BYTES = 1 << 20,
    PEER_MEMBERS_MAX = 32,
    PEER_ADDRESSES_MAX = 4, /* of one member; more would only make a dead one slower to see */
};

struct peers;

struct peers_options {
    uint64_t id, cluster_id, incarnation; /* incarnation: of the data directory, not 0 */
    const char *version;                  /* of this program; borrowed until peers_close */
    /* A connection that is dialled and its upgrade together: what was lost on the way is dialled
     * again after that. */
    unsigned hello_ms;
};

enum peer_refusal { PEER_REFUSED_REMOVED, PEER_REFUSED_REPLACED };

/* What comes in. None of these runs inside a call to peers_*, but unreachable in peers_report and
 * stream_frame in peers_stream_resume. */
struct peers_ops {
    void (*frame)(void *data, uint64_t from, struct bytes body);
    /* Frames to that member were dropped or its link broke. */
    void (*unreachable)(void *data, uint64_t peer);
    /* The link on which that member speaks was closed or broke, and not for a newer one. */
    void (*link_lost)(void *data, uint64_t from);
    /* A stream that this member sends: open or drained; the receiver's answer; over. After
     * stream_down the stream is closed. */
    void (*stream_ready)(void *data, uint64_t to);
    void (*stream_reply)(void *data, uint64_t to, struct bytes body);
    void (*stream_down)(void *data, uint64_t to, const char *why);
    /* A stream that it receives. stream_frame: 0 go on, positive = stop until peers_stream_resume,
     * negative = cut. stream_cut: it is over. */
    int (*stream_frame)(void *data, uint64_t from, struct bytes body);
    void (*stream_cut)(void *data, uint64_t from);
    /* ---- who may come; all of these may be NULL ---- */
    /* Was that a member once? Then it is told so, and may not come back. */
    bool (*is_removed)(void *data, uint64_t id);
    /* One knocks that is not known here and says where it is reached: with peers_meet it becomes a
     * member as far as links go. This member may be far behind, and the other one its leader. */
    void (*stranger)(void *data, uint64_t from, const char *urls);
    /* One wants to join: it waits for peers_tell_members. */
    void (*members)(void *data, uint64_t question);
    /* Another member says that this one must stay away, for good. */
    void (*refused)(void *data, uint64_t by, enum peer_refusal refusal, const char *why);
};

struct peers *peers_new(
    uv_loop_t *loop, const struct peers_options *options, const struct peers_ops *ops, void *data);
/* Accepts on that address; a host name is looked up here, blocking, once. -EADDRINUSE, … */
int peers_listen(struct peers *p, const char *host, uint16_t port, struct err *reterr);
/* The port of the last listener: for tests, which listen on port 0. */
uint16_t peers_port(const struct peers *p);
/* Ends all links and listeners; cb runs once, later, after which p is gone. */
void peers_close(struct peers *p, void (*cb)(void *data), void *data);

struct peer_address {
    uint64_t id;
    uint64_t incarnation; /* as the cluster knows it, 0 = not yet: another one is refused (F18) */
    size_t n;
    struct {
        const char *host;
        uint16_t port;
    } at[PEER_ADDRESSES_MAX]; /* tried in turn */
};
/* The other members: links to new ones begin, to missing ones end, addresses are taken over.
 * Strings are copied. */
void peers_set(struct peers *p, const struct peer_address *list, size_t n);
/* Where this member is reached, comma-separated URLs; said in each hello. Copied. */
void peers_set_self(struct peers *p, const char *urls);
/* A link to one that is not in the list (yet): it stays when a new list lacks it, unless it was
 * removed. False when there are too many. */
bool peers_meet(struct peers *p, const struct peer_address *a);

/* The answer to a question, which may be gone by now. An empty table: this member has not joined
 * the cluster itself. */
void peers_tell_members(struct peers *p, uint64_t question, struct bytes table);
/* Asks the member at that address for the members' table, for one that is none yet. Blocking, at
 * most timeout_ms beside the look-up of the name. The body is untrusted. */
int peer_fetch_members(
    const char *host, uint16_t port, unsigned timeout_ms, struct strbuf *ret, struct err *reterr);
/* The answer's body: 0, or DECREE_EBAD_REQUEST with a text. Untrusted bytes. */
int peer_fetch_parse(struct bytes answer, struct strbuf *ret, struct err *reterr);

/* One frame in parts; own references are taken. Leaves with peers_flush. */
void peers_send(struct peers *p, uint64_t to, struct buf *const *parts, size_t n_parts);
void peers_flush(struct peers *p);
/* Runs `unreachable` for members whose frames were dropped since the last call. */
void peers_report(struct peers *p);
/* Has the message link to that member been up since then (milliseconds of uv_now)? */
bool peers_connected_since(const struct peers *p, uint64_t peer, uint64_t since_ms);

/* One stream to each member at a time. The answer comes as stream_ready or stream_down; a member
 * without an address is not answered. */
void peers_stream_open(struct peers *p, uint64_t to);
/* False when the window is full: go on after stream_ready. Nothing is dropped. */
bool peers_stream_send(struct peers *p, uint64_t to, struct buf *frame_consume);
void peers_stream_close(struct peers *p, uint64_t to);
/* The receiver's one answer; the sender closes when it has it. */
void peers_stream_answer(struct peers *p, uint64_t from, struct buf *frame_consume);
void peers_stream_resume(struct peers *p, uint64_t from);

struct peer_stats {
    uint64_t id;
    uint64_t sent_bytes, received_bytes, sent_failures;
    bool active; /* its message link is up */
};
size_t peers_stats(const struct peers *p, struct peer_stats ret[PEER_MEMBERS_MAX]);

#endif
