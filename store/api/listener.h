/* The sockets on which clients knock. */
#ifndef DECREE_STORE_API_LISTENER_H
#define DECREE_STORE_API_LISTENER_H

#include "err.h"

struct api;
struct listener;

/* See api_listen. The listener is linked into api->listeners. */
int listener_open(struct api *api, const char *url, struct err *reterr);
/* Closes all of them; each tells api_handle_closed. Socket files are removed. */
void listeners_close(struct api *api);

#endif
