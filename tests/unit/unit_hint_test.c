/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "conf/unit.h"

static void meant(enum field_type type, const char *text, const char *wanted)
{
    char hint[96] = "";
    if (wanted[0])
        snprintf(hint, sizeof(hint), "; did you mean \"%s\"?", wanted);
    test_row("%s", text);
    EXPECT_CSTR(unit_hint(type, str_c(text)).text, hint);
}

TEST(durations)
{
    static const char *const rows[][2] = {
        {"10 sec", "10s"}, {"10 s", "10s"}, {"5min", "5m"}, {"2 Hours", "2h"}, {"1d", "24h"}, {"3 days", "72h"}, {"1.5s", "1500ms"},
        {"0.25s", "250ms"}, {"1.5 h", "90m"}, {"500 msec", "500ms"}, {"2S", "2s"}, {"5\xc2\xb5s", "5us"}, {"0.0000001s", ""},
        {"abc", ""}, {"-5s", ""}, {"5", ""}, {"1h30m", ""}, {"99999999999999999999 sec", ""}, {"999999999999999 hours", ""}, {"", ""},
    };
    for (size_t i = 0; i < array_len(rows); i++)
        meant(FIELD_DURATION, rows[i][0], rows[i][1]);
}

TEST(sizes)
{
    static const char *const rows[][2] = {
        {"64KB", "64KiB"}, {"64k", "64KiB"}, {"1 mb", "1MiB"}, {"2G", "2GiB"}, {"1TB", "1024GiB"}, {"512 bytes", "512B"},
        {"1.5MiB", "1536KiB"}, {"0.1KiB", ""}, {"64", ""}, {"x", ""},
    };
    for (size_t i = 0; i < array_len(rows); i++)
        meant(FIELD_SIZE, rows[i][0], rows[i][1]);
}

TEST(rates_and_percents)
{
    static const struct { enum field_type type; const char *text, *wanted; } rows[] = {
        {FIELD_RATE, "100/sec", "100/s"}, {FIELD_RATE, "100 / second", "100/s"}, {FIELD_RATE, "100 per second", "100/s"},
        {FIELD_RATE, "60/m", "60/min"}, {FIELD_RATE, "100rps", "100/s"}, {FIELD_RATE, "60 req/min", "60/min"},
        {FIELD_RATE, "5/Hour", "5/h"}, {FIELD_RATE, "1.5/s", ""}, {FIELD_RATE, "0/sec", ""}, {FIELD_RATE, "9999999/sec", ""},
        {FIELD_RATE, "10/d", ""}, {FIELD_PERCENT, "10 percent", "10%"}, {FIELD_PERCENT, "2.5 %", "2.5%"}, {FIELD_PERCENT, "0.1", "10%"},
        {FIELD_PERCENT, "0.025", "2.50%"}, {FIELD_PERCENT, "10", ""}, {FIELD_PERCENT, "0.125 pct", ""},
    };
    for (size_t i = 0; i < array_len(rows); i++)
        meant(rows[i].type, rows[i].text, rows[i].wanted);
}

TEST(counts)
{
    static const char *const rows[][2] = {
        {"1_000", "1000"}, {"1,000,000", "1000000"}, {"1e3", "1000"}, {"0x10", "16"}, {"0o17", "15"}, {"0777", "777"}, {"00", "0"},
        {"0x", ""}, {"0xfg", ""}, {"1e99", ""}, {"five", ""}, {"-5", ""}, {"1.5", ""}, {"_1", ""}, {"0xffffffffffffffffff", ""},
    };
    for (size_t i = 0; i < array_len(rows); i++)
        meant(FIELD_COUNT, rows[i][0], rows[i][1]);
}

TEST(ranges)
{
    static const char *const rows[][2] = {
        {"1s-2s", "1s..2s"}, {"1s...2s", "1s..2s"}, {"1 sec to 2 min", "1s..2m"}, {"100 ms .. 2s", "100ms..2s"}, {"5s", ""},
        {"2s-1s", ""}, {"1..2s", ""}, {"-", ""},
    };
    for (size_t i = 0; i < array_len(rows); i++)
        meant(FIELD_DURATION_RANGE, rows[i][0], rows[i][1]);
}
