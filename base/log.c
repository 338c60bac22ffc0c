#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "buf.h"

static const char *const level_names[] = {"error", "warn", "info", "debug"};
_Static_assert(ARRAY_SIZE(level_names) == LOG_LEVEL_DEBUG + 1, "every level has a name");

enum { FATAL_LINE_MAX = 512 /* of what a hook is told */ };

static log_sink current_sink;
static const char *current_tag;
static enum log_level current_level = LOG_LEVEL_INFO;

void log_set_sink(log_sink sink)
{
    current_sink = sink;
}

void log_set_level(enum log_level level)
{
    current_level = level;
}

void log_set_tag(const char *tag)
{
    current_tag = tag;
}

bool log_enabled(enum log_level level)
{
    return level <= current_level;
}

int log_level_parse(const char *text, enum log_level *ret_level)
{
    for (size_t i = 0; i < ARRAY_SIZE(level_names); i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *ret_level = (enum log_level)i;
            return 0;
        }
    }
    return -EINVAL;
}

static void stderr_sink(enum log_level level, const char *line)
{
    struct timespec now;
    struct tm tm;
    char stamp[32];
    _cleanup_strbuf_ struct strbuf out = {0};

    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &tm);
    (void)strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
    strbuf_printf(&out, "%s.%03ldZ %-5s ", stamp, now.tv_nsec / 1000000, level_names[level]);
    if (current_tag != NULL) {
        strbuf_printf(&out, "%s: ", current_tag);
    }
    strbuf_printf(&out, "%s\n", line);
    /* One write a line, so that lines of several processes do not mix. */
    if (write(STDERR_FILENO, out.data, out.len) < 0) {
        return;
    }
}

static void escape_controls(struct strbuf *out, const char *text)
{
    for (const char *p = text; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;

        if (c == '\n') {
            strbuf_append_str(out, "\\n");
        } else if (c < 0x20 || c == 0x7f) {
            strbuf_printf(out, "\\x%02x", c);
        } else {
            strbuf_append_char(out, *p);
        }
    }
}

void log_at(enum log_level level, const char *fmt, ...)
{
    _cleanup_free_ char *text = NULL;
    _cleanup_strbuf_ struct strbuf line = {0};
    va_list ap;

    if (!log_enabled(level)) {
        return;
    }
    va_start(ap, fmt);
    text = xvasprintf(fmt, ap);
    va_end(ap);
    escape_controls(&line, text);
    (current_sink != NULL ? current_sink : stderr_sink)(level, strbuf_cstr(&line));
}

static void (*fatal_hook)(const char *line);

void decree_set_fatal_hook(void (*hook)(const char *line))
{
    fatal_hook = hook;
}

void decree_fatal(const char *fmt, ...)
{
    va_list ap;

    if (fatal_hook != NULL) {
        char line[FATAL_LINE_MAX];

        va_start(ap, fmt);
        (void)vsnprintf(line, sizeof(line), fmt, ap);
        va_end(ap);
        fatal_hook(line);
    }

    /* Not through log_at: memory may be what is missing. */
    va_start(ap, fmt);
    (void)dprintf(STDERR_FILENO, "decree: fatal: ");
    (void)vdprintf(STDERR_FILENO, fmt, ap);
    (void)dprintf(STDERR_FILENO, "\n");
    va_end(ap);
    abort();
}

void decree_assert_failed(const char *cond, const char *file, int line, const char *func)
{
    decree_fatal("broken invariant: %s (%s:%d, %s)", cond, file, line, func);
}
