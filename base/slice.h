/* How soon a thread runs after it woke up, on a machine with more to do than processors. */
#ifndef DECREE_BASE_SLICE_H
#define DECREE_BASE_SLICE_H

#include <stdint.h>

/* Who wakes up there waits until those that run have used up their slices, some milliseconds. A
 * thread that many wait for, and that runs for less than that at a time, asks for slices as short:
 * kernels from 6.12 on let it run sooner for that, and no more than before in all; older ones do
 * not listen. For the calling thread; other policies than the normal one are left alone. */
void thread_ask_short_slices(uint64_t ns);

#endif
