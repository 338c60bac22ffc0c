/* splitmix64 (Steele, Lea, Flood 2014): numbers that look random, and are the same from equal
 * states. For timeouts, ids, seeds and treaps, never for a secret. */
#ifndef DECREE_BASE_SPLITMIX_H
#define DECREE_BASE_SPLITMIX_H

#include <stdint.h>

/* Every bit of x changes about half of the bits; no two x give the same. */
static inline uint64_t splitmix_mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* The next number; the state may begin with any. */
static inline uint64_t splitmix_next(uint64_t *state)
{
    return splitmix_mix(*state += UINT64_C(0x9e3779b97f4a7c15));
}

#endif
