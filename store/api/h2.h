/* HTTP/2 on one connection, through nghttp2's memory interface: frames in, exchanges out, and back.
 * Output is pulled only as the socket takes it, so that what a slow client has not fetched waits in
 * the exchanges, where it is counted. */
#ifndef DECREE_STORE_API_H2_H
#define DECREE_STORE_API_H2_H

#include "conn.h"

struct h2;

/* What all sessions share; api_new and the end of api_stop. */
void h2_global_init(struct api *api);
void h2_global_deinit(struct api *api);

struct h2 *h2_new(struct conn *c);
/* Returns NULL. Exchanges are the connection's to free. */
struct h2 *h2_free(struct h2 *h);
/* Bytes from the socket. Negative: the connection shall close after what is queued (a GOAWAY). */
int h2_feed(struct h2 *h, struct bytes b);
/* Moves frames to conn->out, about one write's worth. Negative: close now. */
int h2_pull(struct h2 *h);
/* The client has sent its settings. */
bool h2_is_established(const struct h2 *h);
/* GOAWAY: no new streams; the connection closes when the open ones have ended. */
void h2_drain(struct h2 *h);

#endif
