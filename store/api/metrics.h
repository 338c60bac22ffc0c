/* /metrics: Prometheus text under the names that etcd's dashboards and alerts read
 * (contracts/etcd-v3.md §9), for what exists. */
#ifndef DECREE_STORE_API_METRICS_H
#define DECREE_STORE_API_METRICS_H

#include "buf.h"

struct api;

void metrics_write(struct api *api, struct strbuf *out);

#endif
