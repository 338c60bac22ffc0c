#include "gotime.h"

static const char *const months[] = {"January", "February", "March", "April", "May", "June", "July",
    "August", "September", "October", "November", "December"};
static const char *const weekdays[] = {
    "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};

enum { DAY_S = 86400, NS_PER_S = 1000000000, ABBREVIATION = 3 };

const struct gotime_zone gotime_utc = {.name = "UTC"};

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b != 0 && (a % b < 0) != (b < 0));
}

struct gotime gotime_from_ns(int64_t unix_ns, const struct gotime_zone *zone)
{
    struct gotime t = {.unix_s = floor_div(unix_ns, NS_PER_S), .zone = *zone};

    t.nsec = (int32_t)(unix_ns - t.unix_s * NS_PER_S);
    return t;
}

/* Days of 400-year eras whose years begin in March, so that the leap day is the last one. */
int64_t gotime_days_from_civil(int64_t year, int64_t month, int64_t day)
{
    int64_t era, year_of_era, day_of_year;

    year += floor_div(month - 1, 12);
    month = month - 1 - floor_div(month - 1, 12) * 12 + 1;
    year -= month <= 2;
    era = floor_div(year, 400);
    year_of_era = year - era * 400;
    day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year -
        719468;
}

static void civil_from_days(int64_t days, struct gotime_fields *f)
{
    int64_t era, day_of_era, year_of_era, day_of_year, month;

    days += 719468;
    era = floor_div(days, 146097);
    day_of_era = days - era * 146097;
    year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    month = (5 * day_of_year + 2) / 153;
    f->day = (int)(day_of_year - (153 * month + 2) / 5 + 1);
    f->month = (int)(month < 10 ? month + 3 : month - 9);
    f->year = year_of_era + era * 400 + (f->month <= 2);
}

struct gotime_fields gotime_split(const struct gotime *t)
{
    int64_t local = t->unix_s + t->zone.offset_s;
    int64_t days = floor_div(local, DAY_S);
    int64_t rest = local - days * DAY_S;
    struct gotime_fields f = {0};

    civil_from_days(days, &f);
    f.hour = (int)(rest / 3600);
    f.minute = (int)(rest / 60 % 60);
    f.second = (int)(rest % 60);
    f.weekday = (int)(days + 4 - floor_div(days + 4, 7) * 7);
    f.yearday = (int)(days - gotime_days_from_civil(f.year, 1, 1) + 1);
    return f;
}

/* ---- layouts ---- */

enum layout_item {
    ITEM_NONE,
    ITEM_LONG_MONTH,
    ITEM_MONTH,
    ITEM_NUM_MONTH,
    ITEM_ZERO_MONTH,
    ITEM_LONG_WEEKDAY,
    ITEM_WEEKDAY,
    ITEM_DAY,
    ITEM_UNDER_DAY,
    ITEM_ZERO_DAY,
    ITEM_UNDER_YEARDAY,
    ITEM_ZERO_YEARDAY,
    ITEM_HOUR,
    ITEM_HOUR12,
    ITEM_ZERO_HOUR12,
    ITEM_MINUTE,
    ITEM_ZERO_MINUTE,
    ITEM_SECOND,
    ITEM_ZERO_SECOND,
    ITEM_LONG_YEAR,
    ITEM_YEAR,
    ITEM_PM,
    ITEM_pm,
    ITEM_ZONE_NAME,
    ITEM_Z_SECONDS, /* Z070000 */
    ITEM_Z_COLON_SECONDS,
    ITEM_Z_MINUTES,
    ITEM_Z_COLON_MINUTES,
    ITEM_Z_HOURS,
    ITEM_SECONDS, /* -070000 */
    ITEM_COLON_SECONDS,
    ITEM_MINUTES,
    ITEM_COLON_MINUTES,
    ITEM_HOURS,
    ITEM_FRACTION, /* .000 or .999, any number of digits */
};

/* The longest fitting entry of those that begin alike stands first. */
static const struct {
    const char *text;
    enum layout_item item;
    bool not_before_lower; /* "Jan" and "Mon" are none at the head of a longer word */
} layout_items[] = {
    {"January", ITEM_LONG_MONTH, false},
    {"Jan", ITEM_MONTH, true},
    {"Monday", ITEM_LONG_WEEKDAY, false},
    {"Mon", ITEM_WEEKDAY, true},
    {"MST", ITEM_ZONE_NAME, false},
    {"002", ITEM_ZERO_YEARDAY, false},
    {"01", ITEM_ZERO_MONTH, false},
    {"02", ITEM_ZERO_DAY, false},
    {"03", ITEM_ZERO_HOUR12, false},
    {"04", ITEM_ZERO_MINUTE, false},
    {"05", ITEM_ZERO_SECOND, false},
    {"06", ITEM_YEAR, false},
    {"15", ITEM_HOUR, false},
    {"1", ITEM_NUM_MONTH, false},
    {"2006", ITEM_LONG_YEAR, false},
    {"2", ITEM_DAY, false},
    {"__2", ITEM_UNDER_YEARDAY, false},
    {"_2", ITEM_UNDER_DAY, false},
    {"3", ITEM_HOUR12, false},
    {"4", ITEM_MINUTE, false},
    {"5", ITEM_SECOND, false},
    {"PM", ITEM_PM, false},
    {"pm", ITEM_pm, false},
    {"-07:00:00", ITEM_COLON_SECONDS, false},
    {"-070000", ITEM_SECONDS, false},
    {"-07:00", ITEM_COLON_MINUTES, false},
    {"-0700", ITEM_MINUTES, false},
    {"-07", ITEM_HOURS, false},
    {"Z07:00:00", ITEM_Z_COLON_SECONDS, false},
    {"Z070000", ITEM_Z_SECONDS, false},
    {"Z07:00", ITEM_Z_COLON_MINUTES, false},
    {"Z0700", ITEM_Z_MINUTES, false},
    {"Z07", ITEM_Z_HOURS, false},
};

static bool is_digit_at(struct bytes s, size_t i)
{
    return i < s.len && s.data[i] >= '0' && s.data[i] <= '9';
}

/* ".000" or ",999": a fraction, unless more digits follow. Returns its length. */
static size_t fraction_at(struct bytes s)
{
    size_t n = 1;

    if (s.len < 2 || (s.data[0] != '.' && s.data[0] != ',') ||
        (s.data[1] != '0' && s.data[1] != '9')) {
        return 0;
    }
    while (n < s.len && s.data[n] == s.data[1]) {
        n++;
    }
    return is_digit_at(s, n) ? 0 : n;
}

static enum layout_item item_at(struct bytes s, size_t *ret_len)
{
    for (size_t i = 0; i < ARRAY_SIZE(layout_items); i++) {
        size_t n = strlen(layout_items[i].text);

        if (!bytes_starts_with(s, bytes_make(layout_items[i].text, n)) ||
            (layout_items[i].not_before_lower && n < s.len && s.data[n] >= 'a' &&
                s.data[n] <= 'z')) {
            continue;
        }
        *ret_len = n;
        return layout_items[i].item;
    }
    *ret_len = fraction_at(s);
    return *ret_len != 0 ? ITEM_FRACTION : ITEM_NONE;
}

static void format_offset(struct strbuf *out, int32_t offset, enum layout_item item)
{
    bool z = item >= ITEM_Z_SECONDS && item <= ITEM_Z_HOURS;
    int32_t minutes = offset / 60, seconds = offset % 60;
    bool colon = item == ITEM_Z_COLON_SECONDS || item == ITEM_Z_COLON_MINUTES ||
        item == ITEM_COLON_SECONDS || item == ITEM_COLON_MINUTES;

    if (z && offset == 0) {
        strbuf_append_char(out, 'Z');
        return;
    }
    strbuf_append_char(out, minutes < 0 ? '-' : '+');
    minutes = minutes < 0 ? -minutes : minutes;
    strbuf_printf(out, "%02d", minutes / 60);
    if (item == ITEM_HOURS || item == ITEM_Z_HOURS) {
        return;
    }
    strbuf_printf(out, "%s%02d", colon ? ":" : "", minutes % 60);
    if (item == ITEM_SECONDS || item == ITEM_Z_SECONDS || item == ITEM_COLON_SECONDS ||
        item == ITEM_Z_COLON_SECONDS) {
        strbuf_printf(out, "%s%02d", colon ? ":" : "", seconds < 0 ? -seconds : seconds);
    }
}

static void format_zone_name(struct strbuf *out, const struct gotime_zone *zone)
{
    int32_t minutes = zone->offset_s / 60;

    if (zone->name[0] != 0) {
        strbuf_append_str(out, zone->name);
        return;
    }
    strbuf_append_char(out, minutes < 0 ? '-' : '+');
    minutes = minutes < 0 ? -minutes : minutes;
    strbuf_printf(out, "%02d", minutes / 60);
    if (minutes % 60 != 0) {
        strbuf_printf(out, "%02d", minutes % 60);
    }
}

/* mark is the item's own text: its separator, kind of digit and number of digits. */
static void format_fraction(struct strbuf *out, int32_t nsec, struct bytes mark)
{
    enum { DIGITS_MAX = 9 };
    size_t digits = mark.len - 1, shown = digits < DIGITS_MAX ? digits : DIGITS_MAX;
    char text[DIGITS_MAX];

    for (int i = DIGITS_MAX - 1; i >= 0; i--) {
        text[i] = (char)('0' + nsec % 10);
        nsec /= 10;
    }
    if (mark.data[1] == '9') {
        while (shown > 0 && text[shown - 1] == '0') {
            shown--;
        }
        if (shown == 0) {
            return;
        }
        digits = shown;
    }
    strbuf_append_char(out, (char)mark.data[0]);
    strbuf_append(out, text, shown);
    for (size_t i = shown; i < digits; i++) {
        strbuf_append_char(out, '0');
    }
}

static void format_year(struct strbuf *out, int64_t year)
{
    strbuf_printf(out, year < 0 ? "-%04lld" : "%04lld", (long long)(year < 0 ? -year : year));
}

static void format_date_item(
    struct strbuf *out, const struct gotime_fields *f, enum layout_item item)
{
    switch (item) {
    case ITEM_LONG_MONTH:
        strbuf_append_str(out, months[f->month - 1]);
        break;
    case ITEM_MONTH:
        strbuf_append(out, months[f->month - 1], ABBREVIATION);
        break;
    case ITEM_NUM_MONTH:
        strbuf_printf(out, "%d", f->month);
        break;
    case ITEM_ZERO_MONTH:
        strbuf_printf(out, "%02d", f->month);
        break;
    case ITEM_LONG_WEEKDAY:
        strbuf_append_str(out, weekdays[f->weekday]);
        break;
    case ITEM_WEEKDAY:
        strbuf_append(out, weekdays[f->weekday], ABBREVIATION);
        break;
    case ITEM_DAY:
        strbuf_printf(out, "%d", f->day);
        break;
    case ITEM_UNDER_DAY:
        strbuf_printf(out, "%2d", f->day);
        break;
    case ITEM_ZERO_DAY:
        strbuf_printf(out, "%02d", f->day);
        break;
    case ITEM_UNDER_YEARDAY:
        strbuf_printf(out, "%3d", f->yearday);
        break;
    case ITEM_ZERO_YEARDAY:
        strbuf_printf(out, "%03d", f->yearday);
        break;
    case ITEM_LONG_YEAR:
        format_year(out, f->year);
        break;
    default:
        strbuf_printf(out, "%02d", (int)((f->year < 0 ? -f->year : f->year) % 100));
        break;
    }
}

static void format_clock_item(
    struct strbuf *out, const struct gotime_fields *f, enum layout_item item)
{
    int hour12 = f->hour % 12 == 0 ? 12 : f->hour % 12;

    switch (item) {
    case ITEM_HOUR:
        strbuf_printf(out, "%02d", f->hour);
        break;
    case ITEM_HOUR12:
        strbuf_printf(out, "%d", hour12);
        break;
    case ITEM_ZERO_HOUR12:
        strbuf_printf(out, "%02d", hour12);
        break;
    case ITEM_MINUTE:
        strbuf_printf(out, "%d", f->minute);
        break;
    case ITEM_ZERO_MINUTE:
        strbuf_printf(out, "%02d", f->minute);
        break;
    case ITEM_SECOND:
        strbuf_printf(out, "%d", f->second);
        break;
    case ITEM_ZERO_SECOND:
        strbuf_printf(out, "%02d", f->second);
        break;
    case ITEM_PM:
        strbuf_append_str(out, f->hour >= 12 ? "PM" : "AM");
        break;
    default:
        strbuf_append_str(out, f->hour >= 12 ? "pm" : "am");
        break;
    }
}

void gotime_format(struct strbuf *out, const struct gotime *t, struct bytes layout)
{
    struct gotime_fields f = gotime_split(t);
    size_t n;

    for (size_t i = 0; i < layout.len; i += n) {
        struct bytes s = bytes_make(layout.data + i, layout.len - i);
        enum layout_item item = item_at(s, &n);

        /* "_2006" is an underscore and a year, not a padded day and "006". */
        if (item == ITEM_UNDER_DAY && bytes_starts_with(s, BYTES_LITERAL("_2006"))) {
            item = ITEM_NONE;
        }
        switch (item) {
        case ITEM_NONE:
            n = 1;
            strbuf_append_char(out, (char)s.data[0]);
            break;
        case ITEM_ZONE_NAME:
            format_zone_name(out, &t->zone);
            break;
        case ITEM_FRACTION:
            format_fraction(out, t->nsec, bytes_make(s.data, n));
            break;
        default:
            if (item >= ITEM_Z_SECONDS) {
                format_offset(out, t->zone.offset_s, item);
            } else if (item >= ITEM_HOUR && item <= ITEM_ZERO_SECOND) {
                format_clock_item(out, &f, item);
            } else if (item == ITEM_PM || item == ITEM_pm) {
                format_clock_item(out, &f, item);
            } else {
                format_date_item(out, &f, item);
            }
            break;
        }
    }
}

/* ---- texts ---- */

void gotime_string(struct strbuf *out, const struct gotime *t)
{
    gotime_format(out, t, BYTES_LITERAL("2006-01-02 15:04:05.999999999 -0700 MST"));
    if (t->monotonic) {
        /* The reading itself means nothing outside of one process: it is shown as zero, so that
         * the same input keeps giving the same bytes. */
        strbuf_append_str(out, " m=+0.000000000");
    }
}

void gotime_go_string(struct strbuf *out, const struct gotime *t)
{
    struct gotime_fields f = gotime_split(t);

    strbuf_printf(out, "time.Date(%lld, time.%s, %d, %d, %d, %d, %d, time.%s)", (long long)f.year,
        months[f.month - 1], f.day, f.hour, f.minute, f.second, (int)t->nsec,
        t->zone.is_local ? "Local" : "UTC");
}

void gotime_month_string(struct strbuf *out, int64_t month)
{
    if (month >= 1 && month <= 12) {
        strbuf_append_str(out, months[month - 1]);
    } else {
        strbuf_printf(out, "%%!Month(%llu)", (unsigned long long)month);
    }
}

void gotime_weekday_string(struct strbuf *out, int64_t weekday)
{
    if (weekday >= 0 && weekday <= 6) {
        strbuf_append_str(out, weekdays[weekday]);
    } else {
        strbuf_printf(out, "%%!Weekday(%llu)", (unsigned long long)weekday);
    }
}

/* ns / unit with a fraction that has no zeros at its end. */
static void append_fraction(struct strbuf *out, uint64_t ns, uint64_t unit)
{
    uint64_t rest = ns % unit;

    strbuf_printf(out, "%llu", (unsigned long long)(ns / unit));
    if (rest == 0) {
        return;
    }
    strbuf_append_char(out, '.');
    while (rest != 0) {
        unit /= 10;
        strbuf_append_char(out, (char)('0' + rest / unit));
        rest %= unit;
    }
}

void gotime_duration_string(struct strbuf *out, int64_t ns)
{
    uint64_t u = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    uint64_t minutes = u / NS_PER_S / 60;

    if (ns < 0) {
        strbuf_append_char(out, '-');
    }
    if (u == 0) {
        strbuf_append_str(out, "0s");
    } else if (u < 1000) {
        strbuf_printf(out, "%lluns", (unsigned long long)u);
    } else if (u < 1000000) {
        append_fraction(out, u, 1000);
        strbuf_append_str(out, "µs");
    } else if (u < NS_PER_S) {
        append_fraction(out, u, 1000000);
        strbuf_append_str(out, "ms");
    } else {
        if (minutes >= 60) {
            strbuf_printf(out, "%lluh", (unsigned long long)(minutes / 60));
        }
        if (minutes > 0) {
            strbuf_printf(out, "%llum", (unsigned long long)(minutes % 60));
        }
        append_fraction(out, u - minutes * 60 * NS_PER_S, NS_PER_S);
        strbuf_append_char(out, 's');
    }
}
