/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where time is read, and how it is written.
 *
 * Dates are computed here and not by the C library: no locale, no time zone, no lock, and the cost of a few divisions
 * for each line of a log. The calendar is the proleptic Gregorian one; leap seconds do not exist in it, as in POSIX.
 */
#include "lib/clock.h"

#include <string.h>
#include <time.h>
#include "lib/check.h"

static uint64_t read_clock(clockid_t id)
{
    struct timespec t;
    check(clock_gettime(id, &t) == 0);
    return (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

static uint64_t real_mono(const struct clock *c)
{
    (void)c;
    return read_clock(CLOCK_MONOTONIC);
}

static uint64_t real_coarse(const struct clock *c)
{
    (void)c;
    return read_clock(CLOCK_MONOTONIC_COARSE);
}

static uint64_t real_wall(const struct clock *c)
{
    (void)c;
    return read_clock(CLOCK_REALTIME);
}

const struct clock clock_real = {.mono = real_mono, .coarse = real_coarse, .wall = real_wall};

static uint64_t manual_mono(const struct clock *c) { return c->manual_mono; }
static uint64_t manual_wall(const struct clock *c) { return c->manual_wall; }

void clock_manual(struct clock *c, uint64_t mono, uint64_t wall)
{
    *c = (struct clock){.mono = manual_mono, .coarse = manual_mono, .wall = manual_wall, .manual_mono = mono, .manual_wall = wall};
}

void clock_advance(struct clock *c, uint64_t ns)
{
    check(c->mono == manual_mono);
    c->manual_mono = time_after(c->manual_mono, ns);
    c->manual_wall = time_after(c->manual_wall, ns);
}

struct date {
    unsigned year, month, day;       /* month and day from 1 */
    unsigned weekday;                /* 0: Sunday */
    unsigned hour, minute, second;
};

/*
 * Years are counted from 1 March, so that the leap day is the last of its year and the lengths of the months before it
 * follow one line: 31 30 31 30 31, 31 30 31 30 31, 31. 719468 days lie between 0000-03-01 and 1970-01-01, 146097 in
 * 400 years.
 */
static struct date date_of(uint64_t wall)
{
    unsigned seconds = (unsigned)(wall / NSEC_PER_SEC % 86400);
    unsigned days = (unsigned)(wall / NSEC_PER_SEC / 86400);
    unsigned since = days + 719468;
    unsigned era = since / 146097, of_era = since % 146097;
    unsigned year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    unsigned of_year = of_era - (365 * year + year / 4 - year / 100);
    unsigned month = (5 * of_year + 2) / 153;
    struct date d = {
        .month = month < 10 ? month + 3 : month - 9,
        .day = of_year - (153 * month + 2) / 5 + 1,
        .weekday = (days + 4) % 7,
        .hour = seconds / 3600,
        .minute = seconds / 60 % 60,
        .second = seconds % 60,
    };
    d.year = era * 400 + year + (d.month <= 2);
    return d;
}

/* `width` decimal digits; returns what follows them. */
static char *put_digits(char *out, unsigned n, unsigned width)
{
    for (unsigned i = width; i-- > 0; n /= 10)
        out[i] = (char)('0' + n % 10);
    return out + width;
}

static char *put_text(char *out, const char *text, size_t len)
{
    memcpy(out, text, len);
    return out + len;
}

static char *put_time(char *out, const struct date *d)
{
    out = put_digits(out, d->hour, 2);
    *out++ = ':';
    out = put_digits(out, d->minute, 2);
    *out++ = ':';
    return put_digits(out, d->second, 2);
}

void clock_http_date(uint64_t wall, char out[30])
{
    struct date d = date_of(wall);
    out = put_text(out, &"SunMonTueWedThuFriSat"[d.weekday * 3], 3);
    out = put_text(out, ", ", 2);
    out = put_digits(out, d.day, 2);
    *out++ = ' ';
    out = put_text(out, &"JanFebMarAprMayJunJulAugSepOctNovDec"[(d.month - 1) * 3], 3);
    *out++ = ' ';
    out = put_digits(out, d.year, 4);
    *out++ = ' ';
    out = put_time(out, &d);
    memcpy(out, " GMT", 5);
}

void clock_rfc3339(uint64_t wall, char out[28])
{
    struct date d = date_of(wall);
    out = put_digits(out, d.year, 4);
    *out++ = '-';
    out = put_digits(out, d.month, 2);
    *out++ = '-';
    out = put_digits(out, d.day, 2);
    *out++ = 'T';
    out = put_time(out, &d);
    *out++ = '.';
    out = put_digits(out, (unsigned)(wall % NSEC_PER_SEC / 1000), 6);
    memcpy(out, "Z", 2);
}
