/* SipHash-1-3 (Aumasson, Bernstein 2012) under a random key, so that nobody can choose keys which
 * fall into one bucket. */
#include "bytes.h"

#include <sys/random.h>

#include "macros.h"

static uint64_t seed[2];

__attribute__((constructor)) static void seed_init(void)
{
    if (getrandom(seed, sizeof(seed), 0) != (ssize_t)sizeof(seed)) {
        decree_fatal("no random bytes from the kernel");
    }
}

void bytes_hash_seed(uint64_t a, uint64_t b)
{
    seed[0] = a;
    seed[1] = b;
}

static inline uint64_t rotl(uint64_t x, int b)
{
    return (x << b) | (x >> (64 - b));
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[0] = rotl(v[0], 32);
    v[2] += v[3];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[2] = rotl(v[2], 32);
}

uint64_t bytes_hash(struct bytes b)
{
    uint64_t v[4] = {seed[0] ^ 0x736f6d6570736575ULL, seed[1] ^ 0x646f72616e646f6dULL,
        seed[0] ^ 0x6c7967656e657261ULL, seed[1] ^ 0x7465646279746573ULL};
    size_t whole = b.len & ~(size_t)7;
    uint64_t m = 0;

    for (size_t i = 0; i < whole; i += 8) {
        memcpy(&m, b.data + i, 8);
        v[3] ^= m;
        sip_round(v);
        v[0] ^= m;
    }
    m = 0;
    if (b.len > whole) {
        memcpy(&m, b.data + whole, b.len - whole);
    }
    m |= (uint64_t)b.len << 56;
    v[3] ^= m;
    sip_round(v);
    v[0] ^= m;
    v[2] ^= 0xff;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
