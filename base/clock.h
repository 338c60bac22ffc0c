/* The clocks. Only shells read them: the pure cores are told the time with each event. */
#ifndef DECREE_BASE_CLOCK_H
#define DECREE_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Nanoseconds since boot, suspend included: leases and timeouts are measured with it. */
static inline uint64_t clock_boot_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline uint64_t clock_boot_ms(void)
{
    return clock_boot_ns() / 1000000u;
}

/* Milliseconds of wall time since 1970: for what people read, never for decisions. */
static inline uint64_t clock_wall_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

#endif
