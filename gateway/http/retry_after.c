/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Retry-After; retry_after.h says how it is read.
 *
 * A number too large for its type is still a number, and means what it says: later than anybody can wait. All else that is
 * not of the grammar means nothing: better no wish than a misread one.
 */
#include "http/retry_after.h"

#include "http/date.h"
#include "lib/clock.h"

static uint64_t mul_sat(uint64_t a, uint64_t b)
{
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) ? RETRY_AFTER_NEVER : product;
}

/* 1*DIGIT, of any length. */
static bool digits_read(struct str s, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.at[i] < '0' || s.at[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(s.at[i] - '0');
        if (__builtin_mul_overflow(*out, 10, out) || __builtin_add_overflow(*out, digit, out))
            *out = UINT64_MAX;
    }
    return s.len > 0;
}

/* Whole milliseconds, a fraction rounded up: nobody comes too early. */
static bool millis_read(struct str s, uint64_t *ns)
{
    const char *point = s.len ? memchr(s.at, '.', s.len) : NULL;
    struct str whole = point ? str_of(s.at, (size_t)(point - s.at)) : s;
    uint64_t ms, fraction = 0;

    if (!digits_read(whole, &ms))
        return false;
    if (point && !digits_read(str_of(point + 1, s.len - whole.len - 1), &fraction))
        return false;
    if (fraction > 0 && ms < UINT64_MAX)
        ms++;
    *ns = mul_sat(ms, NSEC_PER_MSEC);
    return true;
}

static bool date_read(const struct http_head *h, struct str s, uint64_t wall, uint64_t *ns)
{
    int64_t now = (int64_t)(wall / NSEC_PER_SEC), sent, then;

    if (http_date_parse(http_head_get_id(h, HEADER_DATE), now, &sent))
        now = sent;
    if (!http_date_parse(s, now, &then))
        return false;
    *ns = then > now ? mul_sat((uint64_t)(then - now), NSEC_PER_SEC) : 0;
    return true;
}

bool http_retry_after(const struct http_head *h, uint64_t wall, uint64_t *ns)
{
    struct str s = http_head_get(h, STR("retry-after-ms"));
    uint64_t seconds;

    if (s.at && millis_read(str_trim(s), ns))
        return true;
    s = str_trim(http_head_get(h, STR("retry-after")));
    if (!digits_read(s, &seconds))
        return date_read(h, s, wall, ns);
    *ns = mul_sat(seconds, NSEC_PER_SEC);
    return true;
}
