/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP dates; date.h says what is one.
 *
 * Each form is a pattern of fixed width behind the weekday, so that a date is read by walking a pattern: a letter of it
 * stands for a part of the date, all else for itself. Days are counted by Howard Hinnant's days_from_civil (public domain):
 * years begin in March, so that a leap day is the last of its year, and nothing loops.
 */
#include "http/date.h"

#include "lib/check.h"

struct date {
    int64_t year;
    unsigned month, day, hour, minute, second;
    bool short_year;
};

static const char short_days[] = "SunMonTueWedThuFriSat";
static const char *const long_days[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

/* The index of three letters among words of three letters; `n`: none of them. */
static unsigned word_index(const char *at, const char *words, unsigned n)
{
    unsigned i = 0;
    while (i < n && memcmp(at, words + 3 * i, 3) != 0)
        i++;
    return i;
}

static bool digits(const char *at, unsigned n, unsigned *out)
{
    *out = 0;
    for (unsigned i = 0; i < n; i++) {
        if (at[i] < '0' || at[i] > '9')
            return false;
        *out = *out * 10 + (unsigned)(at[i] - '0');
    }
    return true;
}

/* Takes a weekday away from the front. */
static bool weekday_skip(struct str *s, bool *is_long)
{
    for (size_t i = 0; i < array_len(long_days); i++) {
        struct str day = str_c(long_days[i]);
        if (!str_starts(*s, day))
            continue;
        *s = str_of(s->at + day.len, s->len - day.len);
        *is_long = true;
        return true;
    }
    *is_long = false;
    if (s->len < 3 || word_index(s->at, short_days, 7) == 7)
        return false;
    *s = str_of(s->at + 3, s->len - 3);
    return true;
}

/* One part of a date, named by its letter in the pattern; how many characters it took, 0: it is not there. */
static unsigned part_read(char what, const char *at, struct date *d)
{
    unsigned year;
    switch (what) {
    case 'd':
        return digits(at, 2, &d->day) ? 2 : 0;
    case 'e':                        /* asctime's: a day below 10 stands behind a blank */
        return digits(at[0] == ' ' ? at + 1 : at, at[0] == ' ' ? 1 : 2, &d->day) ? 2 : 0;
    case 'b':
        d->month = word_index(at, months, 12) + 1;
        return d->month <= 12 ? 3 : 0;
    case 'Y':
    case 'y':
        d->short_year = what == 'y';
        if (!digits(at, d->short_year ? 2 : 4, &year))
            return 0;
        d->year = year;
        return d->short_year ? 2 : 4;
    case 'h':
        return digits(at, 2, &d->hour) && at[2] == ':' && digits(at + 3, 2, &d->minute) && at[5] == ':'
               && digits(at + 6, 2, &d->second) ? 8 : 0;
    default:
        return *at == what ? 1 : 0;
    }
}

/* `len`: of all texts that fit the pattern. */
static bool pattern_read(struct str s, const char *pattern, size_t len, struct date *d)
{
    const char *at = s.at;
    if (s.len != len)
        return false;
    for (; *pattern; pattern++) {
        unsigned took = part_read(*pattern, at, d);
        if (took == 0)
            return false;
        at += took;
    }
    check(at == s.at + len);
    return true;
}

static bool is_leap(int64_t year) { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0); }

/* A leap second is one. */
static bool in_calendar(const struct date *d)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    unsigned last = d->month == 2 && is_leap(d->year) ? 29 : days[d->month - 1];
    return d->day >= 1 && d->day <= last && d->hour <= 23 && d->minute <= 59 && d->second <= 60;
}

static int64_t seconds_of(const struct date *d)
{
    int64_t year = d->year - (d->month <= 2);
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t of_era = year - era * 400;
    int64_t of_year = (153 * ((int64_t)d->month + (d->month > 2 ? -3 : 9)) + 2) / 5 + d->day - 1;
    int64_t days = era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
    return days * 86400 + d->hour * 3600 + d->minute * 60 + d->second;
}

/* The last year with these two digits whose date is not over 50 years ahead. A year is taken as 365.2425 days here. */
static void century_guess(struct date *d, int64_t now)
{
    enum { YEAR = 31556952, AHEAD = 50 };
    int64_t last = 1970 + now / YEAR + AHEAD + 1;            /* no year behind it can be meant */
    d->year += last - last % 100;
    while (d->year > last || seconds_of(d) > now + (int64_t)AHEAD * YEAR)
        d->year -= 100;
}

bool http_date_parse(struct str text, int64_t now, int64_t *seconds)
{
    struct date d = {.short_year = false};
    struct str s = str_trim(text);
    bool is_long;

    if (!weekday_skip(&s, &is_long))
        return false;
    if (is_long ? !pattern_read(s, ", d-b-y h GMT", 24, &d)
                : !pattern_read(s, ", d b Y h GMT", 26, &d) && !pattern_read(s, " b e h Y", 21, &d))
        return false;
    if (d.short_year)
        century_guess(&d, now);
    if (!in_calendar(&d))
        return false;
    *seconds = seconds_of(&d);
    return true;
}
