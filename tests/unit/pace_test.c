/* SPDX-License-Identifier: Apache-2.0 */
#include "pace.h"

#include "lib/clock.h"
#include "test.h"

#define SEC NSEC_PER_SEC
#define NOW (1000 * SEC)

static const struct pace_rule rule = {500, 20 * SEC};

static struct pace running(enum pace_of of, uint64_t now)
{
    struct pace p = {0};
    pace_run(&p, of, &rule, now);
    return p;
}

TEST(a_sender_is_looked_at_once_and_then_left_alone)
{
    struct pace p = running(PACE_SENDS, NOW);
    EXPECT_EQ(pace_next(&p), NOW + SEC);
    EXPECT_EQ(pace_judge(&p, &rule, p.seen, NOW + SEC), PACE_LOOK);
    EXPECT_EQ(pace_next(&p), NOW + 20 * SEC);
    EXPECT_EQ(pace_judge(&p, &rule, p.seen, NOW + 20 * SEC), PACE_SLOW);
}

TEST(silence_counts_from_the_last_sign)
{
    struct pace p = running(PACE_SENDS, NOW);
    pace_sent(&p, 10000);
    pace_run(&p, PACE_SENDS, &rule, NOW + 15 * SEC);
    EXPECT_EQ(pace_judge(&p, &rule, p.seen, NOW + 16 * SEC), PACE_LOOK);
    EXPECT_EQ(pace_next(&p), NOW + 20 * SEC);
    EXPECT_EQ(pace_judge(&p, &rule, p.seen, NOW + 20 * SEC), PACE_WELL);     /* the window */
    EXPECT_EQ(pace_next(&p), NOW + 35 * SEC);
    EXPECT_EQ(pace_judge(&p, &rule, p.seen, NOW + 35 * SEC), PACE_SILENT);
}

TEST(the_window_has_exactly_its_bytes)
{
    static const struct { uint64_t sent; enum pace_verdict verdict; } rows[] = {{9999, PACE_SLOW}, {10000, PACE_WELL}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct pace p = running(PACE_SENDS, NOW);
        pace_sent(&p, rows[i].sent);
        pace_run(&p, PACE_SENDS, &rule, NOW + 39 * SEC / 2);
        EXPECT_EQ(pace_judge(&p, &rule, p.seen, NOW + 20 * SEC), rows[i].verdict);
    }
}

TEST(a_clock_that_stands)
{
    struct pace p = running(PACE_SENDS, NOW);
    pace_stop(&p, NOW + 5 * SEC);
    pace_stop(&p, NOW + 6 * SEC);
    pace_run(&p, PACE_SENDS, &rule, NOW + 1000 * SEC);
    pace_run(&p, PACE_SENDS, &rule, NOW + 1014 * SEC);
    EXPECT_EQ(pace_next(&p), NOW + 1015 * SEC);
    EXPECT_EQ(pace_judge(&p, &rule, p.seen, NOW + 1015 * SEC), PACE_SLOW);
}

TEST(a_taker_begins_with_the_first_look)
{
    struct pace p = running(PACE_TAKES, NOW);
    for (uint64_t t = 0; t < SEC; t += SEC / 10)
        pace_run(&p, PACE_TAKES, &rule, NOW + t);                            /* puts nothing off */
    EXPECT_EQ(pace_next(&p), NOW + SEC);
    EXPECT_EQ(pace_judge(&p, &rule, 5000000, NOW + SEC), PACE_WELL);
    EXPECT_EQ(pace_next(&p), NOW + SEC * 19 / 10);
    EXPECT_EQ(pace_judge(&p, &rule, 5005000, NOW + SEC * 19 / 10), PACE_LOOK);
    EXPECT_EQ(pace_judge(&p, &rule, 5009999, NOW + SEC * 209 / 10), PACE_WELL);
    EXPECT_EQ(pace_judge(&p, &rule, 5009999, NOW + 21 * SEC), PACE_SLOW);
}

/* The kernel's count may wrap in its type, and may fall when bytes were given to a socket uncounted. */
TEST(counts_are_differences)
{
    struct pace p = running(PACE_TAKES, NOW);
    EXPECT_EQ(pace_judge(&p, &rule, UINT64_MAX - 10, NOW + SEC), PACE_LOOK);
    EXPECT_EQ(pace_judge(&p, &rule, 9989, NOW + 21 * SEC), PACE_WELL);
    EXPECT_EQ(pace_judge(&p, &rule, 9989 + 9999, NOW + 41 * SEC), PACE_SLOW);
}

TEST(another_direction_begins_anew)
{
    struct pace p = running(PACE_SENDS, NOW);
    pace_sent(&p, 100);
    pace_run(&p, PACE_TAKES, &rule, NOW + 19 * SEC);
    pace_sent(&p, 100);
    EXPECT_EQ(p.seen, 0);
    EXPECT_EQ(pace_judge(&p, &rule, 7, NOW + 20 * SEC), PACE_LOOK);
    EXPECT_EQ(pace_next(&p), NOW + 39 * SEC);
}

TEST(no_rate_and_no_patience)
{
    const struct pace_rule any = {0, 20 * SEC}, endless = {0, TIME_NEVER}, short_one = {500, SEC / 2};
    struct pace p = {0};
    pace_run(&p, PACE_SENDS, &any, NOW);
    EXPECT_EQ(pace_judge(&p, &any, p.seen, NOW + SEC), PACE_LOOK);
    EXPECT_EQ(pace_judge(&p, &any, p.seen, NOW + 20 * SEC), PACE_SILENT);
    p.of = PACE_NONE;
    pace_run(&p, PACE_SENDS, &endless, NOW);
    EXPECT_EQ(pace_judge(&p, &endless, p.seen, NOW + SEC), PACE_LOOK);
    EXPECT_EQ(pace_next(&p), TIME_NEVER);
    p.of = PACE_NONE;
    pace_run(&p, PACE_SENDS, &short_one, NOW);
    EXPECT_EQ(pace_next(&p), NOW + SEC / 4);
    EXPECT_EQ(pace_judge(&p, &short_one, p.seen, NOW + SEC / 4), PACE_LOOK);
    EXPECT_EQ(pace_judge(&p, &short_one, p.seen, NOW + SEC / 2), PACE_SILENT);
}
