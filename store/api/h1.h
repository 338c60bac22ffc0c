/* HTTP/1.1 on one connection: one request at a time, in order. What servers and proxies could read
 * in two ways is refused (T12): bare line feeds, folded headers, two lengths, length and chunks;
 * after any error the connection is closed. */
#ifndef DECREE_STORE_API_H1_H
#define DECREE_STORE_API_H1_H

#include "conn.h"

struct h1;

struct h1 *h1_new(struct conn *c);
/* Returns NULL. Its exchange is the connection's to free. */
struct h1 *h1_free(struct h1 *h);
/* Bytes from the socket. Negative: the connection shall close after what is queued. */
int h1_feed(struct h1 *h, struct bytes b);
/* Goes on with pipelined bytes when an answer has left. */
void h1_serve(struct h1 *h);
/* Moves answer bytes to conn->out, about one write's worth. Negative: close now. */
int h1_pull(struct h1 *h);
bool h1_wants_input(const struct h1 *h);
/* A request has begun but not all its headers are here (also before the first one). */
bool h1_in_headers(const struct h1 *h);
/* No further request after the one under way. */
void h1_drain(struct h1 *h);

/* ---- for the tests ---- */

/* A request head up to and including its empty line: every line ends with CR LF, none is folded, no
 * CR, LF or NUL elsewhere, no space in or behind a header's name. */
bool h1_head_is_strict(struct bytes head);

#endif
