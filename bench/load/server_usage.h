/* What the measured servers have used so far, read from /proc. */
#ifndef DECREE_BENCH_SERVER_USAGE_H
#define DECREE_BENCH_SERVER_USAGE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { SERVER_PIDS_MAX = 16 };

struct server_usage {
    uint64_t cpu_us;        /* user + system, of all of them; the kernel counts in 10 ms */
    uint64_t rss_bytes;     /* now, summed */
    uint64_t peak_bytes;    /* highest so far, summed */
    uint64_t written_bytes; /* handed to the disk, from /proc/PID/io */
};

/* Sums over the pids; ends the program when one of them is gone, since figures without it would
 * lie. */
struct server_usage server_usage_read(const pid_t *pids, size_t n);
/* CPU time of this process in microseconds. */
uint64_t own_cpu_us(void);

#endif
