/* Which service answers a request, and which requests a browser may not make. */
#ifndef DECREE_STORE_API_ROUTE_H
#define DECREE_STORE_API_ROUTE_H

#include "exchange.h"

/* Headers are complete. Never NULL. */
const struct service *route(const struct exchange *ex);

/* "/v3/kv/range" -> "/kv/range"; empty when the path is not the gateway's. */
struct bytes route_json_path(struct bytes path);

/* A web page somewhere may make the visitor's browser send requests here (CSRF), or let its own
 * name point here (DNS rebinding). Browsers say so: a request with Origin or Sec-Fetch-Site must be
 * of the same site, and must call us by address, as localhost or by a whitelisted name. Others
 * pass. Returns 0, 403 or 421. */
int route_browser_check(struct bytes host, struct bytes origin, struct bytes fetch_site,
    const char *const *whitelist, size_t n_whitelist);

#endif
