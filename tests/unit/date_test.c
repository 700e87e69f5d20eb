/* SPDX-License-Identifier: Apache-2.0 */
#include "http/date.h"

#include "lib/clock.h"
#include "test.h"

#define NOW ((int64_t)1784000000)          /* July 2026 */

static void expect_date(const char *text, int64_t now, bool ok, int64_t seconds)
{
    int64_t got = -1;
    test_row("\"%s\" at %lld", text, (long long)now);
    if (EXPECT_EQ(http_date_parse(str_c(text), now, &got), ok) && ok)
        EXPECT_EQ(got, seconds);
}

TEST(three_forms_of_one_date)
{
    expect_date("Sun, 06 Nov 1994 08:49:37 GMT", NOW, true, 784111777);
    expect_date("Sunday, 06-Nov-94 08:49:37 GMT", NOW, true, 784111777);
    expect_date("Sun Nov  6 08:49:37 1994", NOW, true, 784111777);
    expect_date(" \tSun, 06 Nov 1994 08:49:37 GMT \t", NOW, true, 784111777);
}

TEST(the_calendar)
{
    static const struct { const char *text; bool ok; int64_t seconds; } rows[] = {
        {"Thu, 01 Jan 1970 00:00:00 GMT", true, 0},
        {"Wed, 31 Dec 1969 23:59:59 GMT", true, -1},
        {"Mon, 01 Jan 0000 00:00:00 GMT", true, -62167219200},
        {"Fri, 31 Dec 9999 23:59:59 GMT", true, 253402300799},
        {"Tue, 19 Jan 2038 03:14:08 GMT", true, 2147483648},
        {"Tue, 29 Feb 2000 12:00:00 GMT", true, 951825600},
        {"Thu, 29 Feb 2024 00:00:00 GMT", true, 1709164800},
        {"Fri, 01 Mar 2024 00:00:00 GMT", true, 1709251200},
        {"Sat, 31 Dec 2016 23:59:60 GMT", true, 1483228800},         /* a leap second */
        {"Mon, 06 Nov 1994 08:49:37 GMT", true, 784111777},          /* a weekday, if not the right one */
        {"Thu, 29 Feb 2023 00:00:00 GMT", false, 0},
        {"Thu, 29 Feb 1900 00:00:00 GMT", false, 0},
        {"Tue, 31 Apr 2024 00:00:00 GMT", false, 0},
        {"Tue, 00 Apr 2024 00:00:00 GMT", false, 0},
        {"Tue, 32 Jan 2024 00:00:00 GMT", false, 0},
        {"Tue, 01 Jan 2024 24:00:00 GMT", false, 0},
        {"Tue, 01 Jan 2024 00:60:00 GMT", false, 0},
        {"Tue, 01 Jan 2024 00:00:61 GMT", false, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect_date(rows[i].text, NOW, rows[i].ok, rows[i].seconds);
}

TEST(what_is_none)
{
    static const char *const rows[] = {
        "", " ", "0", "soon", "Sun", "Sun,", "Sun, 06 Nov 1994", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 gmt", "sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT+1", "Sun, 6 Nov 1994 08:49:37 GMT", "Sun,06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994  8:49:37 GMT", "Sun, 06 Nov 94 08:49:37 GMT", "Sun, 06 Nov -994 08:49:37 GMT",
        "Sun, 06-Nov-94 08:49:37 GMT", "Sunday, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37", "Someday, 06-Nov-94 08:49:37 GMT", "Sun Nov 6 08:49:37 1994",
        "Sun Nov  6 08:49:37 1994 GMT", "Sun Nov    08:49:37 1994", "Sun Nov 06 08:49:37 94", "Sun, +6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37Z",
    };
    int64_t got;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect_date(rows[i], NOW, false, 0);
    EXPECT(!http_date_parse(str_of(NULL, 0), NOW, &got));
    EXPECT(!http_date_parse(str_of("Sun, 06 Nov 1994 08:49:37 GM\0", 29), NOW, &got));
    EXPECT(!http_date_parse(str_of("Sun, 06 Nov 1994 08:49:37 GMT", 28), NOW, &got));
}

/* "more than 50 years in the future" is the past (RFC 9110 5.6.7). */
TEST(two_digits_of_a_year)
{
    static const struct { const char *text; int64_t now; int64_t seconds; } rows[] = {
        {"Sunday, 06-Nov-94 08:49:37 GMT", NOW, 784111777},                       /* 1994 */
        {"Friday, 06-Nov-26 08:49:37 GMT", NOW, 1793954977},                      /* 2026: months ahead */
        {"Monday, 01-Jan-76 00:00:00 GMT", NOW, 3345062400},                      /* 2076: 49.5 years ahead */
        {"Monday, 01-Nov-76 00:00:00 GMT", NOW, 215654400},                       /* 1976: over 50 */
        {"Thursday, 01-Jan-70 00:00:00 GMT", 0, 0},
        {"Thursday, 01-Jan-19 00:00:00 GMT", 0, 1546300800},                      /* 2019 */
        {"Thursday, 01-Jan-21 00:00:00 GMT", 0, -1546300800},                     /* 1921 */
        {"Saturday, 01-Jan-00 00:00:00 GMT", 4102444800, 4102444800},             /* 2100, at that moment */
        {"Saturday, 31-Dec-99 23:59:59 GMT", 4102444800, 4102444799},
        {"Tuesday, 29-Feb-00 00:00:00 GMT", NOW, 951782400},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect_date(rows[i].text, rows[i].now, true, rows[i].seconds);
}

/* Every day of 1600 years, against counting; and what lib/clock.h writes. */
TEST(each_day_follows_the_one_before)
{
    static const char *const month[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t want = 0, got;
    char text[40];
    for (int y = 1970; y < 3570; y++)
        for (int m = 0; m < 12; m++) {
            bool leap = y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
            for (int d = 1; d <= days[m] + (m == 1 && leap); d += d < 27 ? 13 : 1) {
                snprintf(text, sizeof text, "Mon, %02d %s %04d 00:00:00 GMT", d, month[m], y);
                if (!http_date_parse(str_c(text), NOW, &got) || got != want + (d - 1) * 86400) {
                    test_row("%s", text);
                    EXPECT_EQ(got, want + (d - 1) * 86400);
                    return;
                }
            }
            want += (days[m] + (m == 1 && leap)) * 86400;
        }
    for (uint64_t s = 0; s < 18000000000; s += 98765432) {
        clock_http_date(s * NSEC_PER_SEC, text);
        expect_date(text, NOW, true, (int64_t)s);
    }
}
