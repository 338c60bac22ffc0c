/* One stream of chance. */
#ifndef DECREE_TESTS_SIM_CHANCE_H
#define DECREE_TESTS_SIM_CHANCE_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "splitmix.h"

struct chance {
    uint64_t state;
};

static inline struct chance chance_of(uint64_t seed, uint64_t stream)
{
    return (struct chance){splitmix_mix(seed * 0x9e3779b97f4a7c15 + splitmix_mix(stream + 1))};
}

static inline uint64_t chance_next(struct chance *c)
{
    return splitmix_next(&c->state);
}

/* In [0, n); n is not 0. */
static inline uint64_t chance_below(struct chance *c, uint64_t n)
{
    return chance_next(c) % n;
}

static inline uint64_t chance_between(struct chance *c, uint64_t low, uint64_t high)
{
    return low + chance_below(c, high - low + 1);
}

static inline bool chance_permille(struct chance *c, uint64_t permille)
{
    return chance_below(c, 1000) < permille;
}

/* Exponential, ten means at most. */
static inline uint64_t chance_exp(struct chance *c, uint64_t mean)
{
    double u = (double)(chance_next(c) >> 11) * 0x1p-53;
    double x = -log1p(-u);

    return (uint64_t)((double)mean * (x < 10 ? x : 10));
}

#endif
