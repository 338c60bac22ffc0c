/* The log: one event is one line, plain English plus ` name=value` fields at its end:
 *     log_info("became leader member=%s term=%" PRIu64, name, term);
 * Control bytes are escaped, so that a key or a peer cannot forge a line. Safe from any thread. */
#ifndef DECREE_BASE_LOG_H
#define DECREE_BASE_LOG_H

#include <inttypes.h>
#include <stdbool.h>

#include "macros.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Called with one finished line without its newline; must not log itself. */
typedef void (*log_sink)(enum log_level level, const char *line);

/* NULL restores the default sink: time, level and line to standard error. */
void log_set_sink(log_sink sink);
void log_set_level(enum log_level level);
/* A word in front of every line of this process, "store" or "agent"; static string or NULL. */
void log_set_tag(const char *tag);
bool log_enabled(enum log_level level);
/* -EINVAL when text is none of error, warn, info, debug. */
int log_level_parse(const char *text, enum log_level *ret_level);

_printf_(2, 3) void log_at(enum log_level level, const char *fmt, ...);

#define log_error(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_at(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
    do {                                                                                           \
        if (log_enabled(LOG_LEVEL_DEBUG)) {                                                        \
            log_at(LOG_LEVEL_DEBUG, __VA_ARGS__);                                                  \
        }                                                                                          \
    } while (0)

#endif
