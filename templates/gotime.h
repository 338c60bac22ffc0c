/* Calendar time as Go's package time shows it: the proleptic Gregorian calendar, a fixed offset
 * with a name, and layouts written as the reference time "Mon Jan 2 15:04:05 MST 2006". */
#ifndef DECREE_TEMPLATES_GOTIME_H
#define DECREE_TEMPLATES_GOTIME_H

#include "buf.h"

enum { ZONE_NAME_MAX = 16 };

struct gotime_zone {
    int32_t offset_s;         /* east of UTC */
    char name[ZONE_NAME_MAX]; /* "CET"; empty when it has none */
    bool is_local;
};

struct gotime {
    int64_t unix_s;
    int32_t nsec; /* 0 … 999,999,999 */
    struct gotime_zone zone;
    bool monotonic; /* fresh from the clock: its default text shows a monotonic reading */
};

struct gotime_fields {
    int64_t year;
    int month; /* 1 … 12 */
    int day, hour, minute, second;
    int weekday; /* 0 = Sunday */
    int yearday; /* 1 … 366 */
};

extern const struct gotime_zone gotime_utc;

struct gotime gotime_from_ns(int64_t unix_ns, const struct gotime_zone *zone);
struct gotime_fields gotime_split(const struct gotime *t);
/* Seconds since 1970 of a date in UTC; month and day may be out of range and carry over. */
int64_t gotime_days_from_civil(int64_t year, int64_t month, int64_t day);

void gotime_format(struct strbuf *out, const struct gotime *t, struct bytes layout);
/* What print shows: the long form, with the monotonic reading where there is one. */
void gotime_string(struct strbuf *out, const struct gotime *t);
/* As %#v. */
void gotime_go_string(struct strbuf *out, const struct gotime *t);
/* "1h15m30.918273645s" */
void gotime_duration_string(struct strbuf *out, int64_t ns);
/* "January" or "%!Month(13)". */
void gotime_month_string(struct strbuf *out, int64_t month);
void gotime_weekday_string(struct strbuf *out, int64_t weekday);

#endif
