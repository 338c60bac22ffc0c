/* A unit's status as the JSON that `decree agent status` reads: "agent", "resource", "dest",
 * "state" (file_unit.h), "revision" (the store's, as far as the agent has followed it),
 * "rendered_revision", "file_changed_ms", "reloaded_ms", "error", "stale", "since_ms". */
#ifndef DECREE_AGENT_REPORT_H
#define DECREE_AGENT_REPORT_H

#include "file_unit.h"

/* The caller's. */
char *report_text(const char *agent, const char *resource, const char *dest,
    const struct unit_status *status, int64_t revision);

#endif
