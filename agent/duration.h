/* Durations as people write them: "500ms", "2s", "1m30s", "1h". */
#ifndef DECREE_AGENT_DURATION_H
#define DECREE_AGENT_DURATION_H

#include <stdint.h>

/* Milliseconds of text: one or more of a whole number and a unit (ms, s, m, h), largest first, or
 * a plain "0". Returns 0, or -EINVAL when it is anything else or beyond a day. */
int duration_parse(const char *text, uint64_t *ret_ms);

#endif
