#include "backoff.h"

#include <uv.h>

#include "alloc.h"

uint64_t backoff_ms(const struct backoff *b, unsigned failures)
{
    uint64_t ms = b->min_ms;
    uint16_t chance = 0;

    for (unsigned i = 1; i < failures && ms < b->max_ms; i++) {
        ms *= 2;
    }
    ms = MIN(ms, b->max_ms);
    (void)uv_random(NULL, NULL, &chance, sizeof(chance), 0, NULL);
    return ms - ms / b->part * chance / UINT16_MAX;
}
