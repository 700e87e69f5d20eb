/* SPDX-License-Identifier: Apache-2.0 */
#include "filters/retry_budget.h"

#include <pthread.h>
#include "lib/check.h"
#include "lib/clock.h"
#include "lib/mem.h"
#include "lib/rng.h"
#include "test.h"

#define SEC NSEC_PER_SEC
#define START (1000 * SEC)
#define TENTH 1000u                        /* a share of 10 % */

static unsigned take_all(struct retry_budget *b, uint32_t share, uint64_t now)
{
    unsigned n = 0;
    while (n < 100000 && retry_budget_take(b, share, now))
        n++;
    return n;
}

static void deposit(struct retry_budget *b, unsigned n, uint32_t share, uint64_t now)
{
    for (unsigned i = 0; i < n; i++)
        retry_budget_deposit(b, share, now);
}

TEST(it_begins_with_ten)
{
    static const uint64_t starts[] = {0, 1, START, UINT64_MAX / 4, UINT64_MAX};
    for (size_t i = 0; i < array_len(starts); i++) {
        struct retry_budget b;
        test_row("%zu", i);
        retry_budget_init(&b, starts[i]);
        EXPECT_EQ(retry_budget_left(&b, TENTH, starts[i]), 10);
        EXPECT_EQ(take_all(&b, TENTH, starts[i]), 10);
        EXPECT_EQ(retry_budget_left(&b, TENTH, starts[i]), 0);
        EXPECT_EQ(take_all(&b, TENTH, starts[i]), 0);
    }
}

TEST(one_a_second_in_reserve)
{
    struct retry_budget b;
    retry_budget_init(&b, START);
    EXPECT_EQ(take_all(&b, 0, START), 10);
    EXPECT(!retry_budget_take(&b, 0, START + SEC - 1));              /* to the nanosecond */
    EXPECT(retry_budget_take(&b, 0, START + SEC));
    EXPECT(!retry_budget_take(&b, 0, START + 2 * SEC - 1));
    EXPECT_EQ(take_all(&b, 0, START + 4 * SEC), 3);
    EXPECT_EQ(retry_budget_left(&b, 0, START + 14 * SEC - 1), 9);
    EXPECT_EQ(retry_budget_left(&b, 0, START + 14 * SEC), 10);
    EXPECT_EQ(take_all(&b, 0, START + 9999 * SEC), 10);              /* no more, however long */
}

/* Shares add up exactly: n first attempts are n * share retries, not one more and not one less. */
TEST(first_attempts_pay_in_their_share)
{
    static const struct { uint32_t share; unsigned firsts, retries; } rows[] = {
        {TENTH, 9, 0}, {TENTH, 10, 1}, {TENTH, 99, 9}, {TENTH, 100, 10}, {1, 9999, 0}, {1, 10000, 1}, {3333, 3, 0},
        {3333, 4, 1}, {10000, 1, 1}, {10000, 7, 7}, {0, 1000, 0}, {250, 39, 0}, {250, 40, 1},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        struct retry_budget b;
        test_row("%u of %u", rows[i].firsts, rows[i].share);
        retry_budget_init(&b, START);
        EXPECT_EQ(take_all(&b, rows[i].share, START), 10);
        deposit(&b, rows[i].firsts, rows[i].share, START);
        EXPECT_EQ(retry_budget_left(&b, rows[i].share, START), rows[i].retries);
        EXPECT_EQ(take_all(&b, rows[i].share, START), rows[i].retries);
    }
}

TEST(the_most_is_ten_or_what_a_second_paid_in)
{
    struct retry_budget b;
    retry_budget_init(&b, START);
    deposit(&b, 90, TENTH, START);
    EXPECT_EQ(retry_budget_left(&b, TENTH, START), 10);
    deposit(&b, 910, TENTH, START + SEC / 2);                        /* the same second: 1000 in it */
    EXPECT_EQ(retry_budget_left(&b, TENTH, START + SEC / 2), 100);
    EXPECT_EQ(retry_budget_left(&b, TENTH, START + 2 * SEC - 1), 100);     /* it counts through the second after it */
    EXPECT_EQ(retry_budget_left(&b, TENTH, START + 2 * SEC), 10);
    EXPECT_EQ(take_all(&b, TENTH, START + 2 * SEC), 10);

    retry_budget_init(&b, START);                                    /* the fuller of two seconds, not their sum */
    deposit(&b, 600, TENTH, START);
    deposit(&b, 500, TENTH, START + SEC);
    EXPECT_EQ(take_all(&b, TENTH, START + SEC), 60);

    retry_budget_init(&b, START);                                    /* the count ends at its word's end */
    deposit(&b, 70000, 10000, START);
    EXPECT_EQ(take_all(&b, 10000, START), 65535);
}

TEST(what_was_not_made_comes_back)
{
    struct retry_budget b;
    retry_budget_init(&b, START);
    retry_budget_give_back(&b, TENTH, START);
    EXPECT_EQ(retry_budget_left(&b, TENTH, START), 10);              /* full is full */
    EXPECT(retry_budget_take(&b, TENTH, START));
    retry_budget_give_back(&b, TENTH, START);
    EXPECT_EQ(take_all(&b, TENTH, START), 10);
    retry_budget_give_back(&b, TENTH, START);
    EXPECT_EQ(take_all(&b, TENTH, START), 1);
}

TEST(another_share_leaves_what_was_paid_in)
{
    struct retry_budget b;
    retry_budget_init(&b, START);
    EXPECT_EQ(take_all(&b, TENTH, START), 10);
    deposit(&b, 50, TENTH, START);
    EXPECT_EQ(retry_budget_left(&b, 0, START), 5);
    deposit(&b, 50, 0, START);
    EXPECT_EQ(retry_budget_left(&b, 10000, START), 5);
}

/* A clock that jumps or runs back: never more than the most, and nothing overflows. */
TEST(hostile_clocks)
{
    static const uint64_t times[] = {0, 1, SEC - 1, SEC, START, START - 1, START + SEC, UINT64_MAX / 2, UINT64_MAX / 2 + 1,
                                     UINT64_MAX / 4, UINT64_MAX / 4 + SEC, UINT64_MAX - 1, UINT64_MAX};
    for (size_t i = 0; i < array_len(times); i++)
        for (size_t j = 0; j < array_len(times); j++) {
            struct retry_budget b;
            test_row("%llu, then %llu", (unsigned long long)times[i], (unsigned long long)times[j]);
            retry_budget_init(&b, times[i]);
            EXPECT(retry_budget_left(&b, TENTH, times[j]) <= 10);
            unsigned first = take_all(&b, TENTH, times[i]), then = take_all(&b, TENTH, times[j]);
            EXPECT_EQ(first, 10);
            EXPECT(then <= 10);
            EXPECT(times[j] > times[i] || then == 0);                /* time that went back mints nothing */
            EXPECT_EQ(take_all(&b, TENTH, times[i]), 0);
            deposit(&b, 20, TENTH, times[j]);
            EXPECT(take_all(&b, TENTH, times[j]) <= 12);
        }
    /* Two threads a little apart: what the late one pays in counts for both, and neither sees the second begin anew. */
    struct retry_budget b;
    retry_budget_init(&b, START);
    deposit(&b, 500, TENTH, START);
    deposit(&b, 500, TENTH, START - 1);
    EXPECT_EQ(retry_budget_left(&b, TENTH, START), 100);
    EXPECT(retry_budget_left(&b, TENTH, START - 1) <= 100);
    deposit(&b, 1, TENTH, START - 5 * SEC);                          /* far apart is no second at all */
    EXPECT(retry_budget_left(&b, TENTH, START) <= 10);
}

/* ---- a property: retries over any interval ---- */

struct seen { uint64_t at; bool first; };          /* a first attempt, or a retry */

static struct seen log_of[6000];
static unsigned n_log;

/* Whole seconds: the most deposits of one that the interval's start may still count. */
static double second_most(unsigned from, uint32_t share)
{
    double most = 10;
    for (unsigned i = 0; i < n_log;) {
        uint64_t second = log_of[i].at / SEC;
        unsigned n = 0;
        for (; i < n_log && log_of[i].at / SEC == second; i++)
            n += log_of[i].first;
        if (second + 2 > log_of[from].at / SEC && n * share / 10000.0 > most)
            most = n * share / 10000.0;
    }
    return most;
}

static void check_intervals(uint32_t share)
{
    for (unsigned from = 0; from < n_log; from += 37) {
        double most = second_most(from, share), paid = 0;
        unsigned retries = 0;
        for (unsigned to = from; to < n_log; to++) {
            if (log_of[to].first)
                paid += share / 10000.0;
            else
                retries++;
            double seconds = (double)(log_of[to].at - log_of[from].at) / (double)SEC;
            if (retries <= most + paid + seconds + 1e-6)
                continue;
            test_row("share %u, %u retries from %u to %u", share, retries, from, to);
            EXPECT(retries <= most + paid + seconds);
            return;
        }
    }
}

TEST(retries_over_any_interval)
{
    static const uint32_t shares[] = {0, 100, TENTH, 5000, 10000};
    struct rng rng;
    uint64_t refused = 0, made = 0;
    rng_seed(&rng, 1);
    for (unsigned run = 0; run < 40; run++) {
        uint32_t share = shares[run % array_len(shares)];
        struct retry_budget b;
        uint64_t now = START, pace = 1 + rng_below(&rng, run % 4 == 0 ? SEC : SEC / 200), owed = 0;
        retry_budget_init(&b, now);
        for (n_log = 0; n_log < array_len(log_of);) {
            now += rng_below(&rng, 300) ? rng_below(&rng, pace) : rng_below(&rng, 20 * SEC);
            bool wants = rng_below(&rng, 3) == 0;
            if (wants && !retry_budget_take(&b, share, now)) {
                refused++;
            } else if (wants && rng_below(&rng, 8) == 0) {
                owed++;                                              /* never made: it comes back, some time */
            } else if (!wants && owed && rng_below(&rng, 4) == 0) {
                retry_budget_give_back(&b, share, now);
                owed--;
            } else {
                made += wants;
                if (!wants)
                    retry_budget_deposit(&b, share, now);
                log_of[n_log++] = (struct seen){now, !wants};
            }
        }
        check_intervals(share);
    }
    EXPECT(refused > 10000 && made > 10000);
}

/* And it is not refused either what it may: in steady failure all of the share is used. */
TEST(the_share_is_used)
{
    struct retry_budget b;
    unsigned retries = 0;
    retry_budget_init(&b, START);
    for (uint64_t i = 0; i < 20000; i++) {                           /* 1000/s for 20 s, all fail */
        uint64_t now = START + i * SEC / 1000;
        retry_budget_deposit(&b, TENTH, now);
        retries += retry_budget_take(&b, TENTH, now);
    }
    EXPECT(retries >= 10 + 2000 + 19 && retries <= 10 + 2000 + 20);
}

/* ---- threads ---- */

enum { THREADS = 4, ROUNDS = 20000 };

struct worker { struct retry_budget *b; uint64_t now; unsigned taken; };

static void *pay_and_take(void *arg)
{
    struct worker *w = arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        retry_budget_deposit(w->b, TENTH, w->now);
        if (retry_budget_take(w->b, TENTH, w->now)) {
            if (i % 5 == 0)
                retry_budget_give_back(w->b, TENTH, w->now);
            else
                w->taken++;
        }
    }
    return NULL;
}

/* The clock stands: all that was taken was paid in, to the last one. */
TEST(threads_share_it_exactly)
{
    static struct retry_budget b;
    struct worker w[THREADS];
    pthread_t threads[THREADS];
    unsigned taken = 0;
    retry_budget_init(&b, START);
    for (unsigned i = 0; i < THREADS; i++) {
        w[i] = (struct worker){&b, START, 0};
        EXPECT_EQ(pthread_create(&threads[i], NULL, pay_and_take, &w[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        taken += w[i].taken;
    }
    uint64_t left = retry_budget_left(&b, TENTH, START);
    EXPECT(taken + left <= 10 + THREADS * ROUNDS / 10);
    EXPECT(taken + left >= THREADS * ROUNDS / 10 - 10);              /* what is paid in while it is full is lost */
}
