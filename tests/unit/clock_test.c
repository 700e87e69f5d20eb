/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/clock.h"

#include <time.h>
#include "lib/rng.h"
#include "test.h"

TEST(known_dates)
{
    static const struct { uint64_t s, us; const char *http, *rfc; } rows[] = {
        {0, 0, "Thu, 01 Jan 1970 00:00:00 GMT", "1970-01-01T00:00:00.000000Z"},
        {86399, 999999, "Thu, 01 Jan 1970 23:59:59 GMT", "1970-01-01T23:59:59.999999Z"},
        {784111777, 1, "Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37.000001Z"},
        {951782400, 0, "Tue, 29 Feb 2000 00:00:00 GMT", "2000-02-29T00:00:00.000000Z"},
        {951868800, 0, "Wed, 01 Mar 2000 00:00:00 GMT", "2000-03-01T00:00:00.000000Z"},
        {1709164800, 0, "Thu, 29 Feb 2024 00:00:00 GMT", "2024-02-29T00:00:00.000000Z"},
        {1735603200, 0, "Tue, 31 Dec 2024 00:00:00 GMT", "2024-12-31T00:00:00.000000Z"},
        {1795232459, 123456, "Sat, 21 Nov 2026 03:40:59 GMT", "2026-11-21T03:40:59.123456Z"},
        {4107542399, 0, "Sun, 28 Feb 2100 23:59:59 GMT", "2100-02-28T23:59:59.000000Z"},
        {4107542400, 0, "Mon, 01 Mar 2100 00:00:00 GMT", "2100-03-01T00:00:00.000000Z"},
        {18446744073, 709551, "Sun, 21 Jul 2554 23:34:33 GMT", "2554-07-21T23:34:33.709551Z"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char http[30], rfc[28];
        uint64_t wall = rows[i].s * NSEC_PER_SEC + rows[i].us * 1000;
        clock_http_date(wall, http);
        clock_rfc3339(wall, rfc);
        EXPECT_CSTR(http, rows[i].http);
        EXPECT_CSTR(rfc, rows[i].rfc);
    }
}

/* Every day there is, at a time of its own, against the C library. */
TEST(every_day)
{
    struct rng rng;
    rng_seed(&rng, 5);
    for (uint64_t day = 0; day < UINT64_MAX / NSEC_PER_SEC / 86400; day++) {
        time_t s = (time_t)(day * 86400 + rng_below(&rng, 86400));
        uint64_t wall = (uint64_t)s * NSEC_PER_SEC + rng_below(&rng, NSEC_PER_SEC);
        struct tm tm;
        char http[30], rfc[28], want_http[40], want_rfc[40];
        gmtime_r(&s, &tm);
        strftime(want_http, sizeof(want_http), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        size_t n = strftime(want_rfc, sizeof(want_rfc), "%Y-%m-%dT%H:%M:%S", &tm);
        snprintf(want_rfc + n, sizeof(want_rfc) - n, ".%06uZ", (unsigned)(wall % NSEC_PER_SEC / 1000));
        clock_http_date(wall, http);
        clock_rfc3339(wall, rfc);
        if (!EXPECT_CSTR(http, want_http) || !EXPECT_CSTR(rfc, want_rfc))
            break;
    }
}

TEST(manual)
{
    struct clock c;
    clock_manual(&c, 100, 5000);
    EXPECT_EQ(clock_mono(&c), 100);
    EXPECT_EQ(clock_wall(&c), 5000);
    clock_advance(&c, 7);
    EXPECT_EQ(clock_mono(&c), 107);
    EXPECT_EQ(clock_wall(&c), 5007);
    clock_advance(&c, UINT64_MAX);
    EXPECT_EQ(clock_mono(&c), TIME_NEVER);
}

TEST(real)
{
    uint64_t before = clock_mono(&clock_real);
    EXPECT(before > 0);
    EXPECT(clock_mono(&clock_real) >= before);
    EXPECT(clock_wall(&clock_real) > 1700000000 * NSEC_PER_SEC);
}

TEST(time_after_saturates)
{
    EXPECT_EQ(time_after(1, 2), 3);
    EXPECT_EQ(time_after(TIME_NEVER - 1, 1), TIME_NEVER);
    EXPECT_EQ(time_after(TIME_NEVER - 1, 2), TIME_NEVER);
    EXPECT_EQ(time_after(5, TIME_NEVER), TIME_NEVER);
}
