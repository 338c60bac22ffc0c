/* How long to wait before something is tried again. */
#ifndef DECREE_AGENT_BACKOFF_H
#define DECREE_AGENT_BACKOFF_H

#include <stdint.h>

struct backoff {
    uint64_t min_ms; /* after the first failure; it doubles with each … */
    uint64_t max_ms; /* … up to this */
    unsigned part;   /* up to one part-th less, by chance: a fleet must not come back in step */
};

/* failures: in a row, at least one. */
uint64_t backoff_ms(const struct backoff *b, unsigned failures);

#endif
