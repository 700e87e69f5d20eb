/* SPDX-License-Identifier: Apache-2.0 */
#include "filters/limit_algo.h"

#include "test.h"

#define SEC ((uint64_t)1000000000)

typedef unsigned __int128 u128;

static uint64_t seed;

static uint64_t random_u64(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed * 0x2545f4914f6cdd1dULL;
}

static uint64_t random_below(uint64_t n) { return random_u64() % n; }

/* Any size with the same likelihood. */
static uint64_t random_size(unsigned bits)
{
    unsigned n = 1 + (unsigned)random_below(bits);
    return (random_u64() & (n == 64 ? UINT64_MAX : ((uint64_t)1 << n) - 1)) | 1;
}

static struct limit_rule rule(uint64_t tokens, uint64_t period, uint64_t burst, uint64_t now)
{
    return (struct limit_rule){.v0 = 0, .t0 = now, .tokens = tokens, .period = period, .burst = burst * LIMIT_UNIT};
}

static struct limit_rule random_rule(uint64_t now)
{
    static const uint64_t periods[] = {SEC, 60 * SEC, 3600 * SEC, 86400 * SEC};
    uint64_t period = periods[random_below(4)];
    uint64_t tokens = random_size(40);
    uint64_t most = LIMIT_RATE_MAX * (period / SEC);
    return rule(tokens > most ? most : tokens, period, random_size(20), now);
}

static unsigned take_all(uint64_t *cell, const struct limit_rule *r, uint64_t now, unsigned most)
{
    unsigned n = 0;
    while (n < most && limit_take(cell, r, LIMIT_UNIT, now).ok)
        n++;
    return n;
}

TEST(a_burst_of_50_admits_exactly_50_at_once)
{
    struct limit_rule r = rule(100, SEC, 50, 7 * SEC);
    uint64_t cell = 0;
    EXPECT_EQ(take_all(&cell, &r, 7 * SEC, 1000), 50);
    EXPECT_EQ(take_all(&cell, &r, 7 * SEC + 9999999, 1000), 0);
    EXPECT_EQ(take_all(&cell, &r, 7 * SEC + 10000000, 1000), 1);
    EXPECT_EQ(take_all(&cell, &r, 8 * SEC + 10000000, 1000), 50);
    EXPECT_EQ(take_all(&cell, &r, 9999 * SEC, 1000), 50);
}

TEST(what_is_left_and_how_long_to_wait)
{
    struct limit_rule r = rule(10, SEC, 5, 0);
    uint64_t cell = 0;
    struct limit_result res = limit_take(&cell, &r, 2 * LIMIT_UNIT, 0);
    EXPECT(res.ok);
    EXPECT_EQ(res.wait, 0);
    EXPECT_EQ(res.left, 3 * LIMIT_UNIT);
    res = limit_take(&cell, &r, 4 * LIMIT_UNIT, 0);
    EXPECT(!res.ok);
    EXPECT_EQ(res.wait, SEC / 10);
    EXPECT_EQ(res.left, 3 * LIMIT_UNIT);
    res = limit_take(&cell, &r, 6 * LIMIT_UNIT, 0);
    EXPECT(!res.ok);
    EXPECT_EQ(res.wait, LIMIT_NEVER);
    EXPECT(!limit_reserve(&cell, &r, 6 * LIMIT_UNIT, UINT64_MAX, 0).ok);
    EXPECT(limit_take(&cell, &r, 0, 0).ok);
    EXPECT_EQ(limit_peek(cell, &r, LIMIT_UNIT, 0).left, 2 * LIMIT_UNIT);
    EXPECT_EQ(take_all(&cell, &r, 0, 100), 3);
}

TEST(a_refusal_and_a_peek_charge_nothing)
{
    struct limit_rule r = rule(3, 60 * SEC, 2, 0);
    uint64_t cell = 0;
    take_all(&cell, &r, 0, 2);
    uint64_t before = cell;
    for (int i = 0; i < 100; i++) {
        EXPECT(!limit_take(&cell, &r, LIMIT_UNIT, (uint64_t)i).ok);
        limit_peek(cell, &r, LIMIT_UNIT, SEC * 1000);
    }
    EXPECT_EQ(cell, before);
}

/* Refused one nanosecond before, admitted at it; nothing is charged by asking too early. */
TEST(the_wait_is_exact_to_the_nanosecond)
{
    seed = 0x9e3779b97f4a7c15;
    for (int i = 0; i < 50000; i++) {
        uint64_t now = random_size(61);
        struct limit_rule r = random_rule(now);
        uint64_t cost = 1 + random_below(r.burst), cell = 0;
        now += random_size(50);
        cell = limit_clock(&r, now) + random_below(r.burst + 1);      /* in debt by up to the burst */
        test_row("rule %" PRIu64 "/%" PRIu64 " burst %" PRIu64 " t0 %" PRIu64 " now %" PRIu64 " cell %" PRIu64
                 " cost %" PRIu64, r.tokens, r.period, r.burst, r.t0, now, cell, cost);
        struct limit_result res = limit_peek(cell, &r, cost, now);
        if (res.ok)
            continue;
        uint64_t early = cell, then = cell;
        if (res.wait == LIMIT_NEVER)
            continue;                                                 /* past the end of time: 584 years */
        if (!EXPECT(res.wait > 0))
            break;
        if (!EXPECT(!limit_take(&early, &r, cost, now + res.wait - 1).ok) || !EXPECT_EQ(early, cell))
            break;
        if (!EXPECT(limit_take(&then, &r, cost, now + res.wait).ok))
            break;
    }
}

/* The reference: a classic bucket in exact fractions. Level is counted in 1/period of a unit. */
struct model {
    u128 level, full;
    uint64_t last;
};

static void model_refill(struct model *m, const struct limit_rule *r, uint64_t now)
{
    u128 add = (u128)(now - m->last) * r->tokens * LIMIT_UNIT;
    m->level = add > m->full - m->level ? m->full : m->level + add;
    m->last = now;
}

/* A cell counts whole units and the model exact fractions: they may differ by one unit (1/65536 token), never by more,
 * and the cell's error never adds up, for the clock is computed from t0 each time. */
TEST(agrees_with_a_classic_bucket_to_one_unit)
{
    seed = 0xabcdef0123456789;
    for (int round = 0; round < 300; round++) {
        uint64_t now = random_size(55);
        struct limit_rule r = random_rule(now);
        u128 full = (u128)r.burst * r.period;
        struct model m = {.level = full, .full = full, .last = now};
        uint64_t cell = 0, per_token = r.period / r.tokens + 1;

        for (int i = 0; i < 500; i++) {
            now += random_below(4) ? random_below(2 * per_token) : random_below(3);
            uint64_t cost = random_below(3) ? LIMIT_UNIT : 1 + random_below(r.burst);
            model_refill(&m, &r, now);
            struct limit_result res = limit_take(&cell, &r, cost, now);
            u128 want = (u128)cost * r.period;
            test_row("round %d step %d", round, i);
            if (res.ok && !EXPECT(m.level + r.period >= want))
                return;
            if (!res.ok && !EXPECT(m.level < want + r.period))
                return;
            if (res.ok)
                m.level = m.level > want ? m.level - want : 0;
            /* Both start the next step equal to within one unit. */
            u128 left = (u128)res.left * r.period;
            u128 gap = left > m.level ? left - m.level : m.level - left;
            if (!EXPECT(gap <= r.period))
                return;
            m.level = left;
        }
    }
}

/* admitted in [from, to] <= burst + rate * (to - from), for every pair of admissions. */
TEST(no_interval_admits_more_than_burst_and_rate_allow)
{
    enum { STEPS = 400 };
    static uint64_t at[STEPS], cost[STEPS];

    seed = 0x1234567;
    for (int round = 0; round < 60; round++) {
        uint64_t now = random_size(60);
        struct limit_rule r = random_rule(now);
        uint64_t cell = 0, per_token = r.period / r.tokens + 1;
        unsigned n = 0;

        for (int i = 0; i < STEPS; i++) {
            now += random_below(5) ? random_below(per_token + per_token / 2 + 1) : 0;
            uint64_t c = 1 + random_below(random_below(2) ? r.burst : 2 * LIMIT_UNIT);
            if (limit_take(&cell, &r, c, now).ok) {
                at[n] = now;
                cost[n++] = c;
            }
        }
        EXPECT(n > 0);
        for (unsigned i = 0; i < n; i++) {
            u128 sum = 0;
            for (unsigned k = i; k < n; k++) {
                sum += cost[k];
                /* + 1 unit: the clock is floored, so an interval may hold one more tick than its length. */
                u128 allowed = (u128)r.burst + 1 + (u128)(at[k] - at[i]) * r.tokens * LIMIT_UNIT / r.period;
                test_row("round %d, admissions %u to %u", round, i, k);
                if (!EXPECT(sum <= allowed))
                    return;
            }
        }
    }
}

/* Workers' cached clocks differ: asked with times that go back and forth, it admits no more than the latest allows. */
TEST(a_clock_that_goes_back_mints_nothing)
{
    seed = 77;
    struct limit_rule r = rule(1000, SEC, 10, 5 * SEC);
    uint64_t cell = 0, admitted = 0, latest = 5 * SEC;
    for (int i = 0; i < 100000; i++) {
        latest += random_below(100000);
        uint64_t now = latest - random_below(2000000);
        admitted += limit_take(&cell, &r, LIMIT_UNIT, now).ok;
    }
    EXPECT(admitted <= 10 + (latest - 5 * SEC) / 1000000 + 1);
    EXPECT(admitted >= (latest - 5 * SEC) / 1000000 - 3);
}

TEST(before_t0_counts_as_t0)
{
    struct limit_rule r = rule(1, SEC, 1, 100 * SEC);
    uint64_t cell = 0;
    EXPECT(limit_take(&cell, &r, LIMIT_UNIT, 0).ok);
    EXPECT_EQ(limit_peek(cell, &r, LIMIT_UNIT, 0).wait, SEC);
    EXPECT_EQ(limit_peek(cell, &r, LIMIT_UNIT, 100 * SEC).wait, SEC);
    EXPECT(limit_take(&cell, &r, LIMIT_UNIT, 101 * SEC).ok);
}

TEST(starts_at_zero_and_far_away_epochs)
{
    static const uint64_t epochs[] = {0, 1, SEC, (uint64_t)1 << 40, (uint64_t)1 << 62, (uint64_t)1 << 63,
                                      UINT64_MAX - 100 * SEC};
    for (size_t i = 0; i < sizeof(epochs) / sizeof(epochs[0]); i++) {
        struct limit_rule r = rule(50, SEC, 25, epochs[i]);
        uint64_t cell = 0;
        test_row("%" PRIu64, epochs[i]);
        EXPECT_EQ(take_all(&cell, &r, epochs[i], 1000), 25);
        EXPECT_EQ(take_all(&cell, &r, epochs[i] + SEC / 10, 1000), 5);
        EXPECT_EQ(take_all(&cell, &r, epochs[i] + 90 * SEC, 1000), 25);
    }
}

TEST(sums_saturate_near_the_end_of_time)
{
    struct limit_rule r = rule(LIMIT_RATE_MAX, SEC, 5, 0);
    uint64_t cell = UINT64_MAX - 3 * LIMIT_UNIT;
    EXPECT_EQ(limit_clock(&r, UINT64_MAX), UINT64_MAX);
    struct limit_result res = limit_peek(cell, &r, LIMIT_UNIT, 0);
    EXPECT(!res.ok);
    EXPECT(res.wait > 0);
    limit_settle(&cell, &r, 0, UINT64_MAX, (struct limit_mark){0, 0}, 0);
    EXPECT_EQ(cell, UINT64_MAX);
    EXPECT(!limit_take(&cell, &r, LIMIT_UNIT, 0).ok);
    EXPECT_EQ(cell, UINT64_MAX);

    /* Nor once the clock itself is at its end: what a cell cannot hold is not admitted. */
    EXPECT(!limit_take(&cell, &r, LIMIT_UNIT, UINT64_MAX).ok);
    EXPECT_EQ(limit_peek(cell, &r, LIMIT_UNIT, UINT64_MAX).wait, LIMIT_NEVER);
    cell = UINT64_MAX - 3 * LIMIT_UNIT;
    EXPECT_EQ(take_all(&cell, &r, UINT64_MAX - SEC, 100), 0);

    /* A rate so low that the wait passes the end of time. */
    r = rule(1, (uint64_t)1 << 62, 1, UINT64_MAX - 10);
    cell = 0;
    EXPECT(limit_take(&cell, &r, LIMIT_UNIT, UINT64_MAX - 10).ok);
    res = limit_peek(cell, &r, LIMIT_UNIT, UINT64_MAX - 5);
    EXPECT(!res.ok);
    EXPECT_EQ(res.wait, LIMIT_NEVER);
    EXPECT_EQ(res.full, LIMIT_NEVER);
    EXPECT(!limit_reserve(&cell, &r, LIMIT_UNIT, UINT64_MAX, UINT64_MAX - 5).ok);
}

TEST(the_clock_lasts_eight_years_at_the_highest_rate)
{
    uint64_t year = (uint64_t)365 * 86400 * SEC;
    struct limit_rule r = rule(LIMIT_RATE_MAX, SEC, 10, 0);
    uint64_t cell = 0;
    EXPECT_EQ(take_all(&cell, &r, 8 * year, 1000), 10);
    EXPECT_EQ(limit_peek(cell, &r, LIMIT_UNIT, 8 * year).wait, 1000);
}

/* Exact whether the product fits 64 bits or not, and just where it stops to. */
TEST(the_clock_is_exact_at_any_size)
{
    seed = 0xfeedface;
    for (int i = 0; i < 100000; i++) {
        struct limit_rule r = random_rule(random_size(40));
        uint64_t rate = r.tokens * LIMIT_UNIT, edge = UINT64_MAX / rate;
        uint64_t ns = random_below(2) ? edge - 2 + random_below(5) : random_size(63);
        r.v0 = random_below(2) ? 0 : random_size(64);
        test_row("rule %" PRIu64 "/%" PRIu64 " v0 %" PRIu64 " after %" PRIu64, r.tokens, r.period, r.v0, ns);
        if (ns > UINT64_MAX - r.t0)
            continue;
        u128 v = (u128)ns * rate / r.period + r.v0;
        if (!EXPECT_EQ(limit_clock(&r, r.t0 + ns), v > UINT64_MAX ? UINT64_MAX : (uint64_t)v))
            return;
    }
}

TEST(full_is_exact_to_the_nanosecond)
{
    seed = 0xc0ffee;
    for (int i = 0; i < 50000; i++) {
        uint64_t now = random_size(60);
        struct limit_rule r = random_rule(now);
        now += random_size(50);
        uint64_t cost = random_below(r.burst + 1), cell = limit_clock(&r, now) + random_below(2 * r.burst);
        test_row("rule %" PRIu64 "/%" PRIu64 " burst %" PRIu64 " t0 %" PRIu64 " now %" PRIu64 " cell %" PRIu64,
                 r.tokens, r.period, r.burst, r.t0, now, cell);
        struct limit_result res = limit_take(&cell, &r, cost, now);
        if (res.full == LIMIT_NEVER)
            continue;
        if (!EXPECT_EQ(limit_peek(cell, &r, 0, now + res.full).left, r.burst))
            return;
        if (res.full && !EXPECT(limit_peek(cell, &r, 0, now + res.full - 1).left < r.burst))
            return;
        if (!EXPECT_EQ(limit_peek(cell, &r, 0, now).full, res.full))
            return;
    }
}

/* Who is told a wait is charged at once, and for the time at which he would have been admitted. */
TEST(a_reservation_passes_when_it_was_told)
{
    seed = 0xdecade;
    unsigned told = 0;
    for (int i = 0; i < 50000; i++) {
        uint64_t now = random_size(60);
        struct limit_rule r = random_rule(now);
        now += random_size(50);
        uint64_t cost = 1 + random_below(r.burst), cell = limit_clock(&r, now) + random_below(2 * r.burst);
        struct limit_result is = limit_peek(cell, &r, cost, now);
        if (is.ok || is.wait == LIMIT_NEVER)
            continue;
        test_row("rule %" PRIu64 "/%" PRIu64 " burst %" PRIu64 " t0 %" PRIu64 " now %" PRIu64 " cell %" PRIu64
                 " cost %" PRIu64, r.tokens, r.period, r.burst, r.t0, now, cell, cost);
        uint64_t early = cell, then = cell, reserved = cell;
        EXPECT(!limit_reserve(&early, &r, cost, is.wait - 1, now).ok);
        EXPECT_EQ(early, cell);
        struct limit_result res = limit_reserve(&reserved, &r, cost, is.wait, now);
        EXPECT(res.ok);
        EXPECT_EQ(res.wait, is.wait);
        EXPECT_EQ(res.left, 0);
        EXPECT(limit_take(&then, &r, cost, now + is.wait).ok);
        /* A nanosecond may be many units: by its end the clock may have passed the cell. */
        uint64_t tick = limit_clock(&r, now + is.wait) - limit_clock(&r, now + is.wait - 1);
        EXPECT(then >= reserved && then - reserved < tick);
        EXPECT(limit_waits(reserved, &r, now + is.wait - 1));
        EXPECT(!limit_waits(reserved, &r, now + is.wait));
        told++;
    }
    EXPECT(told > 10000);
}

/* 10 tokens at 10 a second. Something is charged, then the charge in question, then something more; time passes. */
TEST(what_a_refund_gives_back)
{
    static const struct {
        uint64_t before, cost, after, ms, back;
    } rows[] = {
        {0, 4, 0, 0, 4},             /* at once: all of it */
        {0, 4, 6, 0, 4},
        {6, 4, 0, 0, 4},
        {0, 4, 0, 100, 3},           /* one token was repaid: of that charge, for nothing else was owed */
        {0, 4, 6, 100, 3},
        {0, 4, 0, 400, 0},
        {0, 4, 6, 400, 0},           /* what is owed now came later and stays */
        {0, 4, 0, 99999, 0},
        {3, 4, 0, 300, 4},           /* what came before is repaid first */
        {3, 4, 0, 500, 2},
        {3, 4, 3, 500, 2},
        {3, 4, 3, 700, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct limit_rule r = rule(10, SEC, 10, 0);
        uint64_t cell = 0, now = rows[i].ms * (SEC / 1000);
        test_row("row %zu", i);
        limit_take(&cell, &r, rows[i].before * LIMIT_UNIT, 0);
        struct limit_result res = limit_take(&cell, &r, rows[i].cost * LIMIT_UNIT, 0);
        EXPECT(res.ok);
        limit_take(&cell, &r, rows[i].after * LIMIT_UNIT, 0);
        uint64_t left = limit_peek(cell, &r, 0, now).left;
        EXPECT_EQ(limit_refund(&cell, &r, rows[i].cost * LIMIT_UNIT, res.from, now), rows[i].back * LIMIT_UNIT);
        EXPECT_EQ(limit_peek(cell, &r, 0, now).left, left + rows[i].back * LIMIT_UNIT);
    }
}

/* The first charge is given back, time passes, something is charged anew: the second charge is long repaid by then. */
TEST(a_refund_counts_what_was_given_back_before_it)
{
    struct limit_rule r = rule(10, SEC, 20, 0);
    uint64_t cell = 0;
    struct limit_result first = limit_take(&cell, &r, 10 * LIMIT_UNIT, 0);
    struct limit_result second = limit_take(&cell, &r, 10 * LIMIT_UNIT, 0);
    second.from.cell -= limit_refund(&cell, &r, 10 * LIMIT_UNIT, first.from, 0);
    EXPECT(limit_take(&cell, &r, 10 * LIMIT_UNIT, 12 * SEC / 10).ok);
    EXPECT_EQ(limit_refund(&cell, &r, 10 * LIMIT_UNIT, second.from, 12 * SEC / 10), 0);
    EXPECT_EQ(limit_peek(cell, &r, 0, 12 * SEC / 10).left, 10 * LIMIT_UNIT);
}

/* At once all of it comes back, whatever was given back to others meanwhile. */
TEST(a_refund_at_once_is_whole)
{
    struct limit_rule r = rule(10, SEC, 10, 5 * SEC);
    uint64_t cell = 0;
    limit_take(&cell, &r, 5 * LIMIT_UNIT, 6 * SEC);
    struct limit_result res = limit_take(&cell, &r, 4 * LIMIT_UNIT, 6 * SEC);
    res.from.cell = 0;
    EXPECT_EQ(limit_refund(&cell, &r, 4 * LIMIT_UNIT, res.from, 6 * SEC), 4 * LIMIT_UNIT);
    EXPECT_EQ(limit_peek(cell, &r, 0, 6 * SEC).left, 5 * LIMIT_UNIT);
}

TEST(more_than_is_owed_is_not_given_back)
{
    struct limit_rule r = rule(10, SEC, 10, 0);
    uint64_t cell = 0;
    struct limit_result res = limit_take(&cell, &r, 3 * LIMIT_UNIT, SEC);
    EXPECT_EQ(limit_refund(&cell, &r, 5 * LIMIT_UNIT, res.from, SEC), 3 * LIMIT_UNIT);
    EXPECT_EQ(limit_refund(&cell, &r, 5 * LIMIT_UNIT, res.from, SEC), 0);
    EXPECT_EQ(take_all(&cell, &r, SEC, 100), 10);
}

TEST(settling_replaces_the_estimate)
{
    struct limit_rule r = rule(10, SEC, 10, 0);
    uint64_t cell = 0;
    struct limit_result res = limit_take(&cell, &r, 5 * LIMIT_UNIT, 0);
    EXPECT(res.ok);
    EXPECT_EQ(limit_settle(&cell, &r, 5 * LIMIT_UNIT, 2 * LIMIT_UNIT, res.from, 0), 3 * LIMIT_UNIT);
    EXPECT_EQ(limit_peek(cell, &r, 0, 0).left, 8 * LIMIT_UNIT);
    EXPECT_EQ(limit_settle(&cell, &r, 2 * LIMIT_UNIT, 2 * LIMIT_UNIT, res.from, 0), 0);
    EXPECT_EQ(limit_peek(cell, &r, 0, 0).left, 8 * LIMIT_UNIT);

    /* More than the burst is owed: it is paid back at the rate. */
    EXPECT_EQ(limit_settle(&cell, &r, 2 * LIMIT_UNIT, 30 * LIMIT_UNIT, res.from, 0), 0);
    EXPECT_EQ(limit_peek(cell, &r, 0, 0).left, 0);
    res = limit_peek(cell, &r, LIMIT_UNIT, 0);
    EXPECT(!res.ok);
    EXPECT_EQ(res.wait, 21 * SEC / 10);
    EXPECT_EQ(res.full, 3 * SEC);
}

/* Of an estimate of 6 tokens 2 were needed; meanwhile the clock went on. */
TEST(a_late_settlement_gives_back_what_was_not_repaid)
{
    static const struct {
        uint64_t ms, back;
    } rows[] = {{0, 4}, {200, 4}, {300, 3}, {500, 1}, {600, 0}, {5000, 0}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct limit_rule r = rule(10, SEC, 10, 0);
        uint64_t cell = 0, now = rows[i].ms * (SEC / 1000);
        struct limit_result res = limit_take(&cell, &r, 6 * LIMIT_UNIT, 0);
        test_row("after %" PRIu64 " ms", rows[i].ms);
        EXPECT_EQ(limit_settle(&cell, &r, 6 * LIMIT_UNIT, 2 * LIMIT_UNIT, res.from, now), rows[i].back * LIMIT_UNIT);
    }
    /* Too low an estimate, noticed after the bucket was full again: the difference is owed from now on. */
    struct limit_rule r = rule(10, SEC, 10, 0);
    uint64_t cell = 0;
    struct limit_result res = limit_take(&cell, &r, LIMIT_UNIT, 0);
    EXPECT_EQ(limit_settle(&cell, &r, LIMIT_UNIT, 8 * LIMIT_UNIT, res.from, 50 * SEC), 0);
    EXPECT_EQ(limit_peek(cell, &r, 0, 50 * SEC).left, 3 * LIMIT_UNIT);
}

/* --- admitted and not given back: against a slow model of all that ever happened --- */

enum { CHARGES = 80 };

struct charge {
    uint64_t at, passes, cost, back;     /* charged at, passed at; what it cost less `back` is what it used */
    uint64_t given_then;
    struct limit_mark from;
    bool settled;
};

/* Where the cell would stand now if each charge had been from the start what it is after giving back. */
static uint64_t replay(const struct charge *v, unsigned n, const struct limit_rule *r, uint64_t now)
{
    uint64_t cell = 0;
    for (unsigned i = 0; i < n; i++) {
        uint64_t clock = limit_clock(r, v[i].at);
        cell = (cell > clock ? cell : clock) + v[i].cost - v[i].back;
    }
    uint64_t clock = limit_clock(r, now);
    return cell > clock ? cell : clock;
}

/* In any interval of the times at which charges passed. */
static bool fits_the_rule(const struct charge *v, unsigned n, const struct limit_rule *r)
{
    for (unsigned i = 0; i < n; i++) {
        for (unsigned k = 0; k < n; k++) {
            u128 sum = 0;
            if (v[k].passes < v[i].passes)
                continue;
            for (unsigned j = 0; j < n; j++) {
                if (v[j].passes >= v[i].passes && v[j].passes <= v[k].passes)
                    sum += v[j].cost - v[j].back;
            }
            u128 ticks = (u128)(v[k].passes - v[i].passes) * r->tokens * LIMIT_UNIT / r->period;
            if (!EXPECT(sum <= (u128)r->burst + 1 + ticks))
                return false;
        }
    }
    return true;
}

static uint64_t give_back_one(struct charge *c, uint64_t *cell, const struct limit_rule *r, uint64_t given,
                              uint64_t now)
{
    struct limit_mark from = c->from;
    uint64_t since = given - c->given_then, actual = random_below(2) ? 0 : random_below(c->cost + 1);

    from.cell = from.cell > since ? from.cell - since : 0;
    c->settled = true;
    c->back = actual ? limit_settle(cell, r, c->cost, actual, from, now) : limit_refund(cell, r, c->cost, from, now);
    EXPECT(c->back <= c->cost - actual);
    return c->back;
}

/* Charges, some of which wait for their time, and refunds of any of them, early and late and in any order. */
TEST(what_is_admitted_and_not_given_back_fits_the_rule)
{
    static struct charge v[CHARGES];
    uint64_t backs = 0, waits = 0;

    seed = 0x5eed5;
    for (int round = 0; round < 300; round++) {
        uint64_t now = random_size(60), cell = 0, given = 0;
        struct limit_rule r = random_rule(now);
        const uint64_t to_full = r.burst / LIMIT_UNIT * (r.period / r.tokens + 1);
        const uint64_t max_wait = round % 2 ? to_full / 2 : 0;
        unsigned n = 0;

        for (int i = 0; i < 4 * CHARGES && n < CHARGES; i++) {
            test_row("round %d step %d", round, i);
            now += random_below(3) ? random_below(to_full / 8 + 2) : 0;
            if (random_below(2)) {
                uint64_t cost = 1 + random_below(random_below(3) ? r.burst / 4 + 1 : r.burst);
                struct limit_result res = limit_reserve(&cell, &r, cost, max_wait, now);
                if (res.ok)
                    v[n++] = (struct charge){.at = now, .passes = now + res.wait, .cost = cost, .given_then = given,
                                             .from = res.from};
                waits += res.ok && res.wait;
            } else if (n && !limit_waits(cell, &r, now)) {
                struct charge *c = &v[n - 1 - random_below(n < 8 ? n : 8)];
                if (!c->settled)
                    given += give_back_one(c, &cell, &r, given, now);
                backs += c->back > 0;
                uint64_t clock = limit_clock(&r, now);
                if (!EXPECT((cell > clock ? cell : clock) >= replay(v, n, &r, now)))
                    return;
            }
        }
        if (!fits_the_rule(v, n, &r))
            return;
    }
    EXPECT(backs > 2000);
    EXPECT(waits > 2000);
}

TEST(a_rule_change_keeps_what_is_owed)
{
    struct limit_rule r = rule(10, SEC, 10, 0);
    uint64_t cell = 0;
    take_all(&cell, &r, 0, 8);
    limit_rule_change(&r, 1000, SEC, 10 * LIMIT_UNIT, 0);
    EXPECT_EQ(limit_peek(cell, &r, 0, 0).left, 2 * LIMIT_UNIT);
    EXPECT_EQ(limit_peek(cell, &r, 3 * LIMIT_UNIT, 0).wait, SEC / 1000);

    limit_rule_change(&r, 1, 3600 * SEC, 4 * LIMIT_UNIT, 0);
    EXPECT_EQ(limit_peek(cell, &r, 0, 0).left, 0);
    EXPECT_EQ(limit_peek(cell, &r, LIMIT_UNIT, 0).wait, 5 * 3600 * SEC);
}

TEST(lowering_and_raising_a_limit_mints_nothing)
{
    seed = 4242;
    struct limit_rule r = rule(100, SEC, 50, 0);
    uint64_t cell = 0, now = 0, clock = 0;
    take_all(&cell, &r, 0, 50);
    uint64_t before = cell;
    for (int i = 0; i < 1000; i++) {
        now += random_below(1000);                   /* a millisecond in all, at most: a tenth of a token at 100/s */
        limit_rule_change(&r, 1 + random_below(200), SEC, (1 + random_below(50)) * LIMIT_UNIT, now);
        EXPECT(limit_clock(&r, now) >= clock);
        clock = limit_clock(&r, now);
    }
    limit_rule_change(&r, 100, SEC, 50 * LIMIT_UNIT, now);
    EXPECT_EQ(cell, before);
    EXPECT_EQ(take_all(&cell, &r, now, 100), 0);
    /* And it never makes the clock faster than the fastest of the rules. */
    EXPECT(clock <= now * 200 * LIMIT_UNIT / SEC + 1);
}
