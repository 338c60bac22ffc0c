/* A histogram of times for /metrics, cheap enough for each turn of a loop. */
#ifndef DECREE_STORE_TIMES_H
#define DECREE_STORE_TIMES_H

#include <stddef.h>
#include <stdint.h>

enum { STORE_TIMES_BUCKETS = 16 };

struct store_times {
    const uint64_t *bounds_us; /* static, STORE_TIMES_BUCKETS of them, rising */
    uint64_t n, sum_us;
    uint64_t bucket[STORE_TIMES_BUCKETS]; /* those up to its bound that no lower one has; what is
                                             beyond the last bound is in n alone */
};

static inline void store_times_add(struct store_times *t, uint64_t us)
{
    size_t i = 0;

    while (i < STORE_TIMES_BUCKETS && us > t->bounds_us[i]) {
        i++;
    }
    t->n++;
    t->sum_us += us;
    if (i < STORE_TIMES_BUCKETS) {
        t->bucket[i]++;
    }
}

#endif
