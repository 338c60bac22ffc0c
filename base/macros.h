/* Cleanup attributes, assertions and the few macros that every folder uses. */
#ifndef DECREE_BASE_MACROS_H
#define DECREE_BASE_MACROS_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/param.h> /* MIN and MAX; libuv's header brings it in as well */
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define _unused_ __attribute__((unused))
#define _printf_(fmt, first) __attribute__((format(printf, fmt, first)))
#define _noreturn_ __attribute__((noreturn))
#define _cleanup_(f) __attribute__((cleanup(f)))

static inline void cleanup_free_(void *p)
{
    free(*(void **)p);
}

static inline void cleanup_close_(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
    }
}

#define _cleanup_free_ _cleanup_(cleanup_free_)
#define _cleanup_close_ _cleanup_(cleanup_close_)

/* Hand a pointer over: yields it and leaves NULL behind, so that the cleanup does nothing. */
#define TAKE_PTR(p)                                                                                \
    ({                                                                                             \
        __typeof__(p) taken_ = (p);                                                                \
        (p) = NULL;                                                                                \
        taken_;                                                                                    \
    })

#define TAKE_FD(fd)                                                                                \
    ({                                                                                             \
        int taken_fd_ = (fd);                                                                      \
        (fd) = -1;                                                                                 \
        taken_fd_;                                                                                 \
    })

/* State what no input can cause. Stays on in release: the process stops and the log recovers. */
#define decree_assert(cond)                                                                        \
    do {                                                                                           \
        if (__builtin_expect(!(cond), 0)) {                                                        \
            decree_assert_failed(#cond, __FILE__, __LINE__, __func__);                             \
        }                                                                                          \
    } while (0)

_noreturn_ void decree_assert_failed(const char *cond, const char *file, int line,
    const char *func);

/* Stop the process with one line on the log: used where going on could lose or corrupt data. */
_noreturn_ _printf_(1, 2) void decree_fatal(const char *fmt, ...);
/* Asked first, with that line: the simulator, in which a member is not a process, leaves it with
 * longjmp. A hook that returns changes nothing. NULL = none. */
void decree_set_fatal_hook(void (*hook)(const char *line));

#endif
