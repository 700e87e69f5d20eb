/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "conf/unit.h"

#define MS ((uint64_t)1000000)

TEST(durations)
{
    static const struct { const char *text; uint64_t ns; } good[] = {
        {"500us", MS / 2}, {"250ms", 250 * MS}, {"2s", 2000 * MS}, {"5m", 300000 * MS}, {"1h", 3600000 * MS}, {"0s", 0},
        {"5124095h", (uint64_t)5124095 * 3600000 * MS},
    };
    static const char *const bad[] = {"", "s", "2", "2 s", "2S", "-2s", "+2s", "1.5s", "1h30m", "5124096h", "2sec",
                                      "99999999999999999999s"};
    uint64_t ns;
    for (size_t i = 0; i < array_len(good); i++) {
        test_row("%s", good[i].text);
        ns = 1;
        EXPECT(unit_duration(str_c(good[i].text), &ns) == NULL);
        EXPECT_EQ(ns, good[i].ns);
    }
    for (size_t i = 0; i < array_len(bad); i++) {
        test_row("%s", bad[i]);
        EXPECT(unit_duration(str_c(bad[i]), &ns) != NULL);
    }
}

TEST(sizes)
{
    static const struct { const char *text; uint64_t bytes; } good[] = {
        {"512B", 512}, {"64KiB", 65536}, {"1MiB", 1048576}, {"1GiB", 1073741824}, {"10kB", 10000}, {"1MB", 1000000},
        {"17179869183GiB", 17179869183u * (uint64_t)1073741824},
    };
    static const char *const bad[] = {"", "64", "64K", "64kb", "1TiB", "KiB", "17179869184GiB"};
    uint64_t n;
    for (size_t i = 0; i < array_len(good); i++) {
        test_row("%s", good[i].text);
        EXPECT(unit_size(str_c(good[i].text), &n) == NULL);
        EXPECT_EQ(n, good[i].bytes);
    }
    for (size_t i = 0; i < array_len(bad); i++) {
        test_row("%s", bad[i]);
        EXPECT(unit_size(str_c(bad[i]), &n) != NULL);
    }
}

TEST(rates)
{
    static const struct { const char *text; uint64_t tokens, seconds; } good[] = {
        {"100/s", 100, 1}, {"6000/min", 6000, 60}, {"10/h", 10, 3600}, {"1000000/s", 1000000, 1},
        {"60000000/min", 60000000, 60}, {"3600000000/h", 3600000000, 3600},
    };
    static const char *const bad[] = {"", "100", "0/s", "/s", "100/", "100/m", "100s", "1000001/s", "60000001/min",
                                      "3600000001/h", "1.5/s", "99999999999999999999/s"};
    struct rate r;
    for (size_t i = 0; i < array_len(good); i++) {
        test_row("%s", good[i].text);
        EXPECT(unit_rate(str_c(good[i].text), &r) == NULL);
        EXPECT_EQ(r.tokens, good[i].tokens);
        EXPECT_EQ(r.period, good[i].seconds * 1000 * MS);
    }
    for (size_t i = 0; i < array_len(bad); i++) {
        test_row("%s", bad[i]);
        EXPECT(unit_rate(str_c(bad[i]), &r) != NULL);
    }
}

TEST(percents)
{
    static const struct { const char *text; uint32_t n; } good[] = {
        {"10%", 1000}, {"2.5%", 250}, {"0.05%", 5}, {"100%", 10000}, {"0%", 0},
    };
    static const char *const bad[] = {"", "10", "%", ".5%", "1.%", "1.234%", "-1%", "10 %", "99999999999%"};
    uint32_t n;
    for (size_t i = 0; i < array_len(good); i++) {
        test_row("%s", good[i].text);
        EXPECT(unit_percent(str_c(good[i].text), &n) == NULL);
        EXPECT_EQ(n, good[i].n);
    }
    for (size_t i = 0; i < array_len(bad); i++) {
        test_row("%s", bad[i]);
        EXPECT(unit_percent(str_c(bad[i]), &n) != NULL);
    }
}

TEST(ranges)
{
    uint64_t ns[2];
    EXPECT(unit_duration_range(STR("100ms..2s"), ns) == NULL);
    EXPECT_EQ(ns[0], 100 * MS);
    EXPECT_EQ(ns[1], 2000 * MS);
    EXPECT(unit_duration_range(STR("5s..5s"), ns) == NULL);
    static const char *const bad[] = {"", "..", "5s", "5s..", "..5s", "5..6s", "5s...6s", "6s..5s"};
    for (size_t i = 0; i < array_len(bad); i++) {
        test_row("%s", bad[i]);
        EXPECT(unit_duration_range(str_c(bad[i]), ns) != NULL);
    }
}

TEST(numbers_are_told_as_they_are_written)
{
    EXPECT_CSTR(unit_text(FIELD_DURATION, 1500 * MS).text, "1500ms");
    EXPECT_CSTR(unit_text(FIELD_DURATION, 3600000 * MS).text, "1h");
    EXPECT_CSTR(unit_text(FIELD_DURATION, 0).text, "0s");
    EXPECT_CSTR(unit_text(FIELD_SIZE, 65536).text, "64KiB");
    EXPECT_CSTR(unit_text(FIELD_SIZE, 1000).text, "1000B");
    EXPECT_CSTR(unit_text(FIELD_SIZE, 0).text, "0B");
    EXPECT_CSTR(unit_text(FIELD_PERCENT, 250).text, "2.50%");
    EXPECT_CSTR(unit_text(FIELD_PERCENT, 10000).text, "100%");
    EXPECT_CSTR(unit_text(FIELD_COUNT, 7).text, "7");
}
