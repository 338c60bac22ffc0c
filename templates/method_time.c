/* The methods of time values: what templates can use of Go's time.Time, Duration, Month and
 * Weekday. Those that Go gives several results are errors there as well. */
#include "function.h"

enum { NS_PER_S = 1000000000 };

/* Years that AddDate may reach; beyond them Go's own arithmetic wraps around. */
enum { YEAR_MAX = 1000000 };

static const struct gotime *self_time(const struct call *c)
{
    return c->self->u.time;
}

static bool return_time(struct render *r, const struct gotime *t, struct value *ret)
{
    struct gotime *copy = arena_alloc(&r->arena, sizeof(*copy));

    if (copy == NULL) {
        return call_fail_memory(r);
    }
    *copy = *t;
    *ret = (struct value){.type = VALUE_TIME, .u.time = copy};
    return true;
}

static bool return_int(int64_t i, struct value *ret)
{
    *ret = value_int(i);
    return true;
}

static bool return_typed(enum value_type type, int64_t i, struct value *ret)
{
    *ret = value_typed_int(type, i);
    return true;
}

static bool return_scratch(struct render *r, struct value *ret)
{
    return return_copy(r, strbuf_bytes(&r->scratch), ret);
}

/* ---- texts ---- */

static bool time_format(struct render *r, const struct call *c, struct value *ret)
{
    gotime_format(&r->scratch, self_time(c), c->args[0].u.s);
    return return_scratch(r, ret);
}

static bool time_string(struct render *r, const struct call *c, struct value *ret)
{
    gotime_string(&r->scratch, self_time(c));
    return return_scratch(r, ret);
}

static bool time_go_string(struct render *r, const struct call *c, struct value *ret)
{
    gotime_go_string(&r->scratch, self_time(c));
    return return_scratch(r, ret);
}

static bool location_string(struct render *r, const struct call *c, struct value *ret)
{
    return return_copy(r, bytes_str(self_time(c)->zone.is_local ? "Local" : "UTC"), ret);
}

static bool month_string(struct render *r, const struct call *c, struct value *ret)
{
    gotime_month_string(&r->scratch, c->self->u.i);
    return return_scratch(r, ret);
}

static bool weekday_string(struct render *r, const struct call *c, struct value *ret)
{
    gotime_weekday_string(&r->scratch, c->self->u.i);
    return return_scratch(r, ret);
}

static bool duration_string(struct render *r, const struct call *c, struct value *ret)
{
    gotime_duration_string(&r->scratch, c->self->u.i);
    return return_scratch(r, ret);
}

/* ---- parts ---- */

#define TIME_PART(name, expression)                                                                \
    static bool time_##name(struct render *r _unused_, const struct call *c, struct value *ret)    \
    {                                                                                              \
        const struct gotime_fields f = gotime_split(self_time(c));                                 \
                                                                                                   \
        return return_int((expression), ret);                                                      \
    }

TIME_PART(year, f.year)
TIME_PART(day, f.day)
TIME_PART(hour, f.hour)
TIME_PART(minute, f.minute)
TIME_PART(second, f.second)
TIME_PART(year_day, f.yearday)
#undef TIME_PART

static bool time_nanosecond(struct render *r _unused_, const struct call *c, struct value *ret)
{
    return return_int(self_time(c)->nsec, ret);
}

static bool time_month(struct render *r _unused_, const struct call *c, struct value *ret)
{
    return return_typed(VALUE_MONTH, gotime_split(self_time(c)).month, ret);
}

static bool time_weekday(struct render *r _unused_, const struct call *c, struct value *ret)
{
    return return_typed(VALUE_WEEKDAY, gotime_split(self_time(c)).weekday, ret);
}

/* Wraps around as Go's arithmetic does. */
static bool time_unix_in(const struct call *c, int64_t per_second, struct value *ret)
{
    const struct gotime *t = self_time(c);
    uint64_t whole = (uint64_t)t->unix_s * (uint64_t)per_second;

    return return_typed(
        VALUE_INT64, (int64_t)(whole + (uint64_t)(t->nsec / (NS_PER_S / per_second))), ret);
}

static bool time_unix(struct render *r _unused_, const struct call *c, struct value *ret)
{
    return time_unix_in(c, 1, ret);
}

static bool time_unix_milli(struct render *r _unused_, const struct call *c, struct value *ret)
{
    return time_unix_in(c, 1000, ret);
}

static bool time_unix_micro(struct render *r _unused_, const struct call *c, struct value *ret)
{
    return time_unix_in(c, 1000000, ret);
}

static bool time_unix_nano(struct render *r _unused_, const struct call *c, struct value *ret)
{
    return time_unix_in(c, NS_PER_S, ret);
}

static bool time_location(struct render *r _unused_, const struct call *c, struct value *ret)
{
    *ret = *c->self;
    ret->type = VALUE_LOCATION;
    return true;
}

static bool time_is_zero(struct render *r _unused_, const struct call *c, struct value *ret)
{
    enum { ZERO_YEAR = 1 };
    const struct gotime_fields f = gotime_split(self_time(c));

    *ret = value_bool(f.year == ZERO_YEAR && f.yearday == 1 && f.hour == 0 && f.minute == 0 &&
        f.second == 0 && self_time(c)->nsec == 0);
    return true;
}

/* ---- arithmetic ---- */

static bool time_utc(struct render *r, const struct call *c, struct value *ret)
{
    struct gotime t = *self_time(c);

    t.zone = gotime_utc;
    return return_time(r, &t, ret);
}

static bool time_local(struct render *r, const struct call *c, struct value *ret)
{
    struct gotime t = *self_time(c);

    if (r->env->local_zone != NULL) {
        t.zone = (struct gotime_zone){.is_local = true};
        r->env->local_zone(r->env->data, t.unix_s, &t.zone.offset_s, t.zone.name);
        t.zone.name[ZONE_NAME_MAX - 1] = 0;
    }
    return return_time(r, &t, ret);
}

/* Moves t by ns; the zone stays as it is, across a change of the clocks as well. */
static void shift(struct gotime *t, int64_t ns)
{
    int64_t nsec = t->nsec + ns % NS_PER_S;

    t->unix_s += ns / NS_PER_S;
    if (nsec < 0) {
        nsec += NS_PER_S;
        t->unix_s--;
    } else if (nsec >= NS_PER_S) {
        nsec -= NS_PER_S;
        t->unix_s++;
    }
    t->nsec = (int32_t)nsec;
}

static bool time_add(struct render *r, const struct call *c, struct value *ret)
{
    struct gotime t = *self_time(c);

    if (t.unix_s > INT64_MAX / 4 || t.unix_s < INT64_MIN / 4) {
        return call_fail(r, "the time is out of range");
    }
    shift(&t, c->args[0].u.i);
    return return_time(r, &t, ret);
}

static bool time_add_date(struct render *r, const struct call *c, struct value *ret)
{
    struct gotime t = *self_time(c);
    const struct gotime_fields f = gotime_split(&t);
    int64_t clock = (int64_t)f.hour * 3600 + f.minute * 60 + f.second;

    for (size_t i = 0; i < c->n; i++) {
        if (c->args[i].u.i > YEAR_MAX || c->args[i].u.i < -YEAR_MAX) {
            return call_fail(r, "the date is out of range");
        }
    }
    if (f.year > YEAR_MAX || f.year < -YEAR_MAX) {
        return call_fail(r, "the date is out of range");
    }
    t.unix_s = gotime_days_from_civil(
                   f.year + c->args[0].u.i, f.month + c->args[1].u.i, f.day + c->args[2].u.i) *
            86400 +
        clock - t.zone.offset_s;
    t.monotonic = false;
    return return_time(r, &t, ret);
}

static bool time_sub(struct render *r _unused_, const struct call *c, struct value *ret)
{
    const struct gotime *a = self_time(c), *b = c->args[0].u.time;
    int64_t seconds = a->unix_s - b->unix_s, ns;

    if (__builtin_mul_overflow(seconds, (int64_t)NS_PER_S, &ns) ||
        __builtin_add_overflow(ns, (int64_t)(a->nsec - b->nsec), &ns)) {
        ns = seconds > 0 ? INT64_MAX : INT64_MIN;
    }
    return return_typed(VALUE_DURATION, ns, ret);
}

static int compare_times(const struct call *c)
{
    const struct gotime *a = self_time(c), *b = c->args[0].u.time;

    if (a->unix_s != b->unix_s) {
        return a->unix_s < b->unix_s ? -1 : 1;
    }
    return (a->nsec > b->nsec) - (a->nsec < b->nsec);
}

static bool time_before(struct render *r _unused_, const struct call *c, struct value *ret)
{
    *ret = value_bool(compare_times(c) < 0);
    return true;
}

static bool time_after(struct render *r _unused_, const struct call *c, struct value *ret)
{
    *ret = value_bool(compare_times(c) > 0);
    return true;
}

static bool time_equal(struct render *r _unused_, const struct call *c, struct value *ret)
{
    *ret = value_bool(compare_times(c) == 0);
    return true;
}

/* ISOWeek, Date, Clock, Zone: a template has no use for two results, and Go says so. */
static bool several_results(
    struct render *r, const struct call *c _unused_, struct value *ret _unused_)
{
    return call_fail(r, "the method has several results, a template can take only one");
}

/* ---- durations ---- */

static bool duration_nanoseconds(struct render *r _unused_, const struct call *c, struct value *ret)
{
    return return_typed(VALUE_INT64, c->self->u.i, ret);
}

static bool duration_microseconds(
    struct render *r _unused_, const struct call *c, struct value *ret)
{
    return return_typed(VALUE_INT64, c->self->u.i / 1000, ret);
}

static bool duration_milliseconds(
    struct render *r _unused_, const struct call *c, struct value *ret)
{
    return return_typed(VALUE_INT64, c->self->u.i / 1000000, ret);
}

/* Whole units and the rest apart, so that no precision is lost for long durations. */
static bool duration_in(const struct call *c, int64_t unit, struct value *ret)
{
    *ret =
        value_float((double)(c->self->u.i / unit) + (double)(c->self->u.i % unit) / (double)unit);
    return true;
}

static bool duration_seconds(struct render *r _unused_, const struct call *c, struct value *ret)
{
    return duration_in(c, NS_PER_S, ret);
}

static bool duration_minutes(struct render *r _unused_, const struct call *c, struct value *ret)
{
    return duration_in(c, 60LL * NS_PER_S, ret);
}

static bool duration_hours(struct render *r _unused_, const struct call *c, struct value *ret)
{
    return duration_in(c, 3600LL * NS_PER_S, ret);
}

static const struct function time_methods[] = {
    {"Format", "s", time_format, FUNCTION_PLAIN},
    {"String", "", time_string, FUNCTION_PLAIN},
    {"GoString", "", time_go_string, FUNCTION_PLAIN},
    {"Year", "", time_year, FUNCTION_PLAIN},
    {"Month", "", time_month, FUNCTION_PLAIN},
    {"Day", "", time_day, FUNCTION_PLAIN},
    {"Hour", "", time_hour, FUNCTION_PLAIN},
    {"Minute", "", time_minute, FUNCTION_PLAIN},
    {"Second", "", time_second, FUNCTION_PLAIN},
    {"Nanosecond", "", time_nanosecond, FUNCTION_PLAIN},
    {"Weekday", "", time_weekday, FUNCTION_PLAIN},
    {"YearDay", "", time_year_day, FUNCTION_PLAIN},
    {"Unix", "", time_unix, FUNCTION_PLAIN},
    {"UnixMilli", "", time_unix_milli, FUNCTION_PLAIN},
    {"UnixMicro", "", time_unix_micro, FUNCTION_PLAIN},
    {"UnixNano", "", time_unix_nano, FUNCTION_PLAIN},
    {"UTC", "", time_utc, FUNCTION_PLAIN},
    {"Local", "", time_local, FUNCTION_PLAIN},
    {"Location", "", time_location, FUNCTION_PLAIN},
    {"IsZero", "", time_is_zero, FUNCTION_PLAIN},
    {"Add", "d", time_add, FUNCTION_PLAIN},
    {"AddDate", "iii", time_add_date, FUNCTION_PLAIN},
    {"Sub", "t", time_sub, FUNCTION_PLAIN},
    {"Before", "t", time_before, FUNCTION_PLAIN},
    {"After", "t", time_after, FUNCTION_PLAIN},
    {"Equal", "t", time_equal, FUNCTION_PLAIN},
    {"Date", "", several_results, FUNCTION_PLAIN},
    {"Clock", "", several_results, FUNCTION_PLAIN},
    {"ISOWeek", "", several_results, FUNCTION_PLAIN},
    {"Zone", "", several_results, FUNCTION_PLAIN},
    {0},
};

static const struct function location_methods[] = {
    {"String", "", location_string, FUNCTION_PLAIN},
    {0},
};

static const struct function month_methods[] = {
    {"String", "", month_string, FUNCTION_PLAIN},
    {0},
};

static const struct function weekday_methods[] = {
    {"String", "", weekday_string, FUNCTION_PLAIN},
    {0},
};

static const struct function duration_methods[] = {
    {"String", "", duration_string, FUNCTION_PLAIN},
    {"Nanoseconds", "", duration_nanoseconds, FUNCTION_PLAIN},
    {"Microseconds", "", duration_microseconds, FUNCTION_PLAIN},
    {"Milliseconds", "", duration_milliseconds, FUNCTION_PLAIN},
    {"Seconds", "", duration_seconds, FUNCTION_PLAIN},
    {"Minutes", "", duration_minutes, FUNCTION_PLAIN},
    {"Hours", "", duration_hours, FUNCTION_PLAIN},
    {0},
};

static const struct function *methods_of(enum value_type type)
{
    switch (type) {
    case VALUE_TIME:
        return time_methods;
    case VALUE_LOCATION:
        return location_methods;
    case VALUE_MONTH:
        return month_methods;
    case VALUE_WEEKDAY:
        return weekday_methods;
    case VALUE_DURATION:
        return duration_methods;
    default:
        return NULL;
    }
}

const struct function *method_find(enum value_type type, struct bytes name)
{
    for (const struct function *f = methods_of(type); f != NULL && f->name != NULL; f++) {
        if (bytes_eq(name, bytes_str(f->name))) {
            return f;
        }
    }
    return NULL;
}
