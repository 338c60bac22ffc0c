/* The plain HTTP pages: /version, /health, /livez, /readyz, /metrics, and what is answered to
 * everything that nobody serves. */
#ifndef DECREE_STORE_API_PAGES_H
#define DECREE_STORE_API_PAGES_H

#include "exchange.h"

/* Never NULL: 404 and 405 are pages too. */
const struct service *page_service(const struct exchange *ex);
/* For requests that route_browser_check refuses. */
extern const struct service refusal_service;

#endif
