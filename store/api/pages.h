/* The plain HTTP pages: /version, /health, /livez, /readyz, /metrics, and what is answered to
 * everything that nobody serves. */
#ifndef DECREE_STORE_API_PAGES_H
#define DECREE_STORE_API_PAGES_H

#include "exchange.h"

/* 403, 404, 405 and 421 are pages too. */
extern const struct service page_service;

#endif
