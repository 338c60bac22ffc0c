#include "duration.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "macros.h"

/* No timer of the agent has a use for more, and sums below it cannot overflow. */
#define DURATION_MAX_MS (24ull * 60 * 60 * 1000)

static const struct {
    const char *name;
    uint64_t ms;
} units[] = {{"h", 3600 * 1000}, {"m", 60 * 1000}, {"s", 1000}, {"ms", 1}};

/* The unit at the start of p, at or after row `from`, or -1. "m" is not the m of "ms". */
static int unit_at(const char *p, size_t from)
{
    size_t len = 0;

    while (isalpha((unsigned char)p[len])) {
        len++;
    }
    for (size_t i = from; i < ARRAY_SIZE(units); i++) {
        if (strlen(units[i].name) == len && memcmp(units[i].name, p, len) == 0) {
            return (int)i;
        }
    }
    return -1;
}

int duration_parse(const char *text, uint64_t *ret_ms)
{
    const char *p = text;
    uint64_t total = 0;
    size_t row = 0;

    if (strcmp(text, "0") == 0) {
        *ret_ms = 0;
        return 0;
    }
    do {
        uint64_t n = 0;
        int unit;

        if (!isdigit((unsigned char)*p)) {
            return -EINVAL;
        }
        for (; isdigit((unsigned char)*p); p++) {
            n = n * 10 + (uint64_t)(*p - '0');
            if (n > DURATION_MAX_MS) {
                return -EINVAL;
            }
        }
        unit = unit_at(p, row);
        if (unit < 0) {
            return -EINVAL;
        }
        total += n * units[unit].ms;
        p += strlen(units[unit].name);
        row = (size_t)unit + 1;
    } while (*p != '\0');
    if (total > DURATION_MAX_MS) {
        return -EINVAL;
    }
    *ret_ms = total;
    return 0;
}
