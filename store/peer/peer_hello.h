/* The upgrade that begins a link, an HTTP/1.1 exchange:
 *
 *     GET /raft/decree HTTP/1.1            HTTP/1.1 101 Switching Protocols
 *     Host: …                              Connection: Upgrade
 *     Connection: Upgrade                  Upgrade: decree
 *     Upgrade: decree                      Decree-Version: 0.1.0
 *     Decree-Protocol: 1                   Decree-Incarnation: …
 *     Decree-Version: 0.1.0                or any other status with a text that says why
 *     Decree-Cluster: 16 hex digits
 *     Decree-From: …
 *     Decree-To: …
 *     Decree-Incarnation: …
 *     Decree-Channel: messages | snapshot
 *     Decree-Urls: …                       where the dialer is reached, for one who does not know
 * it yet; may be left out
 *
 * Beside it the port answers one that wants to join and is no member yet:
 *
 *     GET /members HTTP/1.1                HTTP/1.1 200 OK, and the members' table as its body
 */
#ifndef DECREE_STORE_PEER_PEER_HELLO_H
#define DECREE_STORE_PEER_PEER_HELLO_H

#include <http_parser.h>

#include "buf.h"

enum { PEER_PROTOCOL = 1 };
enum peer_channel { PEER_MESSAGES, PEER_SNAPSHOT, PEER_CHANNEL_END };

struct peer_hello {
    unsigned protocol;
    uint64_t cluster_id, from, to;
    uint64_t incarnation; /* of the data directory of who speaks */
    enum peer_channel channel;
    const char *urls; /* comma-separated, "" = not said */
};

void peer_hello_request(const struct peer_hello *h, const char *host, uint16_t port,
    const char *version, struct strbuf *out);
void peer_hello_accept(const char *version, uint64_t incarnation, struct strbuf *out);
/* status is an HTTP status; text one line for the person who reads the dialer's log. */
void peer_hello_refuse(int status, const char *text, struct strbuf *out);
void peer_hello_ask_members(const char *host, uint16_t port, struct strbuf *out);
void peer_hello_members(struct bytes table, struct strbuf *out);

/* Reads either side's half. Untrusted bytes, at most PEER_HELLO_BYTES_MAX of them. */
enum { PEER_HELLO_BYTES_MAX = 8192 };

struct peer_hello_reader {
    http_parser parser;
    size_t fed;
    bool done, in_value;
    struct strbuf name, value, url, body, urls;
    struct peer_hello hello; /* its urls are those above */
    unsigned seen;           /* fields that were there, a bit each */
};
void peer_hello_reader_init(struct peer_hello_reader *r, bool request);
void peer_hello_reader_deinit(struct peer_hello_reader *r);

enum { PEER_HELLO_MORE = 0, PEER_HELLO_DONE = 1 };
/* Feeds b. DONE when the message is whole, *ret_used bytes of b belong to it (the rest are frames);
 * DECREE_EBAD_REQUEST for what is no HTTP or too long. */
int peer_hello_feed(struct peer_hello_reader *r, struct bytes b, size_t *ret_used);

/* A whole request that is the question of one who wants to join. */
bool peer_hello_is_question(const struct peer_hello_reader *r);
/* A whole request, taken apart: 0, or the HTTP status of the refusal with its text. */
int peer_hello_check(const struct peer_hello_reader *r, const char **ret_text);
/* A whole response: 101, or the status with the text that came (made printable), the caller's. */
int peer_hello_status(struct peer_hello_reader *r, char **ret_text);

#endif
