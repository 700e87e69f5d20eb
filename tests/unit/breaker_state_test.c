/* SPDX-License-Identifier: Apache-2.0 */
/* The breaker's states and its window, under a clock that only the test moves. */
#include "filters/breaker_state.h"

#include <pthread.h>
#include "lib/check.h"
#include "lib/clock.h"
#include "lib/mem.h"
#include "lib/rng.h"
#include "test.h"

#define SEC NSEC_PER_SEC
#define MSEC NSEC_PER_MSEC
#define T0 (1000 * SEC)

static const struct breaker_rule usual = {
    .errors = 5000, .min_requests = 20, .window = 10 * SEC, .open_min = 5 * SEC, .open_max = 60 * SEC, .ramp = 10 * SEC,
};

struct bench {
    struct breaker_state *s;
    struct breaker_rule rule;
    struct rng rng;
    uint64_t now, deadline, lucky;
    struct breaker_change change;        /* the last transition there was */
    unsigned changes;
    uint64_t wait;                       /* what the last refused one was told */
};

static struct bench bench(const struct breaker_rule *rule, uint64_t now)
{
    struct bench b = {.s = mem_zalloc(sizeof(struct breaker_state)), .rule = *rule, .now = now, .deadline = TIME_NEVER};
    rng_seed(&b.rng, 7);
    breaker_state_init(b.s, BREAKER_AUTO);
    return b;
}

static void bench_end(struct bench *b)
{
    breaker_state_fini(b->s);
    mem_free(b->s);
}

static struct breaker_now now_of(struct bench *b) { return (struct breaker_now){&b->rule, b->now, &b->rng}; }

static void note(struct bench *b, const struct breaker_change *c)
{
    if (!c->made)
        return;
    b->change = *c;
    b->changes++;
}

static bool enter(struct bench *b, struct breaker_pass *pass)
{
    struct breaker_ask ask = {.deadline = b->deadline, .lucky = b->lucky};
    struct breaker_now now = now_of(b);
    bool in = breaker_state_admit(b->s, &now, &ask);
    note(b, &ask.change);
    *pass = ask.pass;
    b->wait = in ? 0 : ask.wait;
    EXPECT(in || ask.wait > 0);
    EXPECT_EQ(in, ask.pass.era != 0);
    return in;
}

/* As an attempt does it: the place first, then the verdict. */
static void leave(struct bench *b, const struct breaker_pass *pass, enum breaker_outcome what)
{
    struct breaker_change change;
    struct breaker_now now = now_of(b);
    if (breaker_pass_is_probe(pass))
        breaker_state_return(b->s, pass);
    breaker_state_judge(b->s, &now, pass, what, 100 + (uint32_t)what, &change);
    note(b, &change);
}

static bool one(struct bench *b, enum breaker_outcome what)
{
    struct breaker_pass pass;
    bool in = enter(b, &pass);
    if (in)
        leave(b, &pass, what);
    return in;
}

static void some(struct bench *b, unsigned n, enum breaker_outcome what)
{
    while (n-- > 0)
        EXPECT(one(b, what));
}

static struct breaker_view view(struct bench *b)
{
    struct breaker_view v;
    breaker_state_view(b->s, &b->rule, b->now, &v);
    return v;
}

static enum breaker_phase phase(struct bench *b) { return view(b).phase; }

/* Enough failures at once; then to the end of its time. */
static void make_open(struct bench *b)
{
    b->changes = 0;
    for (unsigned i = 0; i < 1000 && b->changes == 0; i++)
        (void)one(b, BREAKER_FAILURE);
    EXPECT_EQ(b->changes, 1);
    EXPECT_EQ(phase(b), BREAKER_OPEN);
}

static void pass_open(struct bench *b)
{
    EXPECT_EQ(phase(b), BREAKER_OPEN);
    b->now += view(b).wait;
}

static void make_closed(struct bench *b)
{
    pass_open(b);
    some(b, BREAKER_GOOD, BREAKER_SUCCESS);
    EXPECT(phase(b) == BREAKER_RAMPING || b->rule.ramp == 0);
}

/* ---- when it opens ---- */

TEST(the_share_and_the_least_number)
{
    static const struct { unsigned good, bad; uint32_t errors; uint64_t least; bool good_last, opens; } rows[] = {
        {0, 19, 5000, 20, false, false}, {0, 20, 5000, 20, false, true}, {1, 19, 5000, 20, true, true},
        {19, 0, 5000, 20, false, false}, {10, 10, 5000, 20, false, true}, {11, 10, 5000, 21, true, false},
        {10, 10, 5000, 20, true, true}, {10, 9, 5000, 20, true, false}, {51, 49, 5000, 100, false, false},
        {50, 50, 5000, 100, false, true}, {51, 50, 5000, 20, false, false}, {9999, 1, 1, 10000, false, true},
        {9999, 1, 2, 10000, false, false}, {0, 1, 10000, 1, false, true}, {1, 1, 10000, 2, false, false},
        {0, 999, 1, 1000, false, false}, {2, 1, 3333, 3, false, true}, {2, 1, 3334, 3, false, false},
        {2, 1, 3333, 3, true, true},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%zu", i);
        struct breaker_rule rule = usual;
        rule.errors = rows[i].errors;
        rule.min_requests = rows[i].least;
        struct bench b = bench(&rule, T0);
        some(&b, rows[i].good_last ? 0 : rows[i].good, BREAKER_SUCCESS);
        some(&b, rows[i].bad, BREAKER_FAILURE);
        some(&b, rows[i].good_last ? rows[i].good : 0, BREAKER_SUCCESS);
        EXPECT_EQ(phase(&b), rows[i].opens ? BREAKER_OPEN : BREAKER_CLOSED);
        EXPECT_EQ(b.changes, rows[i].opens);
        if (rows[i].opens) {
            EXPECT_EQ(b.change.from, BREAKER_CLOSED);
            EXPECT_EQ(b.change.to, BREAKER_OPEN);
            EXPECT_EQ(b.change.requests, rows[i].good + rows[i].bad);
            EXPECT_EQ(b.change.failures, rows[i].bad);
        }
        bench_end(&b);
    }
}

TEST(what_is_neutral_or_pressure_does_not_count)
{
    struct bench b = bench(&usual, T0);
    some(&b, 100, BREAKER_NEUTRAL);
    some(&b, 100, BREAKER_PRESSURE);
    EXPECT_EQ(view(&b).requests, 0);
    some(&b, 19, BREAKER_FAILURE);
    some(&b, 100, BREAKER_NEUTRAL);
    some(&b, 100, BREAKER_PRESSURE);
    EXPECT_EQ(view(&b).requests, 19);
    EXPECT_EQ(phase(&b), BREAKER_CLOSED);
    some(&b, 1, BREAKER_FAILURE);
    EXPECT_EQ(phase(&b), BREAKER_OPEN);
    bench_end(&b);
}

TEST(slow_ones_open_it_by_a_share_of_their_own)
{
    static const struct { unsigned good, slow, bad; uint32_t share; bool opens; } rows[] = {
        {4, 16, 0, 8000, true}, {5, 15, 0, 8000, false}, {0, 19, 0, 8000, false}, {4, 16, 0, 0, false}, {0, 20, 0, 10000, true},
        {2, 10, 9, 5000, false}, {2, 11, 9, 5000, true}, {2, 9, 10, 5000, false}, {2, 9, 11, 5000, true},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%zu", i);
        struct breaker_rule rule = usual;
        rule.slow = rows[i].share;
        rule.min_requests = rows[i].good + rows[i].bad + rows[i].slow;
        if (rule.min_requests < 20)
            rule.min_requests = 20;
        struct bench b = bench(&rule, T0);
        some(&b, rows[i].good, BREAKER_SUCCESS);
        some(&b, rows[i].bad, BREAKER_FAILURE);
        some(&b, rows[i].slow, BREAKER_SLOW);
        EXPECT_EQ(phase(&b), rows[i].opens ? BREAKER_OPEN : BREAKER_CLOSED);
        if (rows[i].opens)
            EXPECT_EQ(b.change.slow, rows[i].slow);
        bench_end(&b);
    }
}

TEST(the_newest_causes_are_told)
{
    struct bench b = bench(&usual, T0);
    struct breaker_now now = now_of(&b);
    for (uint32_t i = 1; i <= 20; i++) {
        struct breaker_pass pass;
        EXPECT(enter(&b, &pass));
        breaker_state_judge(b.s, &now, &pass, BREAKER_FAILURE, i, &b.change);
    }
    EXPECT(b.change.made);
    EXPECT_EQ(b.change.n_causes, 3);
    EXPECT_EQ(b.change.causes[0], 20);
    EXPECT_EQ(b.change.causes[1], 19);
    EXPECT_EQ(b.change.causes[2], 18);
    pass_open(&b);
    struct breaker_pass pass;
    EXPECT(enter(&b, &pass));
    breaker_state_judge(b.s, &now, &pass, BREAKER_FAILURE, 77, &b.change);
    EXPECT_EQ(b.change.causes[0], 77);
    bench_end(&b);
}

TEST(after_an_outage_only_new_causes_are_told)
{
    struct breaker_rule rule = usual;
    rule.min_requests = 2;
    rule.ramp = 0;
    struct bench b = bench(&rule, T0);
    make_open(&b);
    make_closed(&b);
    some(&b, 1, BREAKER_SUCCESS);
    some(&b, 1, BREAKER_FAILURE);
    EXPECT_EQ(b.change.to, BREAKER_OPEN);
    EXPECT_EQ(b.change.n_causes, 1);
    EXPECT_EQ(b.change.requests, 2);
    bench_end(&b);
}

/* ---- the window ---- */

TEST(a_slot_is_forgotten_to_the_nanosecond)
{
    static const uint64_t windows[] = {100 * MSEC, SEC, 7 * SEC, 10 * SEC, 3600 * SEC, 100 * MSEC + 1, 333333333, 10 * SEC - 1};
    for (size_t i = 0; i < array_len(windows); i++) {
        struct breaker_rule rule = usual;
        rule.window = windows[i];
        uint64_t slot = (windows[i] + 9) / 10;
        for (uint64_t n = 12345; n < 12345 + 20; n++) {
            test_row("window %llu, slot %llu", (unsigned long long)windows[i], (unsigned long long)n);
            struct bench b = bench(&rule, n * slot);
            some(&b, 3, BREAKER_FAILURE);
            b.now = (n + 1) * slot - 1;          /* the same slot to its end */
            some(&b, 4, BREAKER_SUCCESS);
            b.now = (n + 1) * slot;
            some(&b, 2, BREAKER_SLOW);
            EXPECT_EQ(view(&b).requests, 9);
            b.now = (n + 10) * slot - 1;
            EXPECT_EQ(view(&b).requests, 9);
            EXPECT_EQ(view(&b).failures, 3);
            b.now = (n + 10) * slot;
            EXPECT_EQ(view(&b).requests, 2);
            EXPECT_EQ(view(&b).failures, 0);
            EXPECT_EQ(view(&b).slow, 2);
            some(&b, 1, BREAKER_SUCCESS);        /* in the place of the first */
            EXPECT_EQ(view(&b).requests, 3);
            b.now = (n + 11) * slot;
            EXPECT_EQ(view(&b).requests, 1);
            EXPECT_EQ(view(&b).slow, 0);
            b.now = (n + 20) * slot;
            EXPECT_EQ(view(&b).requests, 0);
            bench_end(&b);
        }
    }
}

/* Good ones leave the window, and the share rises: the next attempt to end opens it, whatever it was. */
TEST(a_share_may_rise_by_forgetting)
{
    struct breaker_rule rule = usual;
    rule.min_requests = 5;
    struct bench b = bench(&rule, T0);
    some(&b, 10, BREAKER_SUCCESS);
    b.now += 5 * SEC;
    some(&b, 6, BREAKER_FAILURE);
    b.now += 5 * SEC - 1;
    some(&b, 1, BREAKER_SUCCESS);
    EXPECT_EQ(phase(&b), BREAKER_CLOSED);
    b.now += 1;
    some(&b, 1, BREAKER_SUCCESS);
    EXPECT_EQ(phase(&b), BREAKER_OPEN);
    EXPECT_EQ(b.change.requests, 8);
    bench_end(&b);
}

TEST(a_worker_that_is_behind)
{
    struct bench b = bench(&usual, T0);
    some(&b, 5, BREAKER_SUCCESS);
    b.now = T0 - 1;                              /* the slot before */
    some(&b, 4, BREAKER_FAILURE);
    b.now = T0 - 9 * SEC;
    some(&b, 3, BREAKER_FAILURE);
    b.now = T0;
    EXPECT_EQ(view(&b).requests, 12);
    EXPECT_EQ(view(&b).failures, 7);
    b.now = T0 - 10 * SEC;                       /* the same place, ten slots ago: not heard */
    some(&b, 3, BREAKER_FAILURE);
    b.now = T0;
    EXPECT_EQ(view(&b).requests, 12);
    EXPECT_EQ(view(&b).failures, 7);
    bench_end(&b);
}

/* Counted under a clock that is put back: what is ahead by more than a window cannot be right. */
TEST(a_time_that_never_was_does_not_make_it_deaf)
{
    static const uint64_t ahead[] = {20 * SEC, 1000 * SEC, 100000 * SEC, UINT64_MAX - T0};
    for (size_t i = 0; i < array_len(ahead); i++) {
        test_row("%zu", i);
        struct bench b = bench(&usual, T0 + ahead[i]);
        some(&b, 5, BREAKER_FAILURE);
        b.now = T0;
        EXPECT_EQ(view(&b).requests, 0);
        some(&b, 19, BREAKER_FAILURE);
        EXPECT_EQ(phase(&b), BREAKER_CLOSED);
        some(&b, 1, BREAKER_FAILURE);
        EXPECT_EQ(phase(&b), BREAKER_OPEN);
        bench_end(&b);
    }
}

TEST(another_window_keeps_what_it_can)
{
    struct bench b = bench(&usual, T0 + 500 * MSEC);
    some(&b, 6, BREAKER_FAILURE);
    b.now += 3 * SEC;
    some(&b, 5, BREAKER_SUCCESS);
    b.rule.window = 30 * SEC;
    EXPECT_EQ(view(&b).requests, 11);
    b.now += 9 * SEC;
    EXPECT_EQ(view(&b).requests, 11);
    b.rule.window = 10 * SEC;
    EXPECT_EQ(view(&b).requests, 5);
    b.rule.window = SEC;
    EXPECT_EQ(view(&b).requests, 0);
    some(&b, 20, BREAKER_FAILURE);
    EXPECT_EQ(phase(&b), BREAKER_OPEN);
    bench_end(&b);
}

/* The new slot began before one of the old length that has its place. */
TEST(a_slot_of_another_length_is_counted_in)
{
    struct breaker_rule rule = usual;
    rule.window = SEC;
    struct bench b = bench(&rule, T0 + 350 * MSEC);
    some(&b, 5, BREAKER_SUCCESS);
    b.now = T0 + 950 * MSEC;
    b.rule.window = 30 * SEC;
    some(&b, 7, BREAKER_SUCCESS);
    EXPECT_EQ(view(&b).requests, 12);
    bench_end(&b);
}

/* From each length to each other, at any moment: what is counted from then on is counted. */
TEST(no_change_of_the_window_makes_it_deaf)
{
    static const uint64_t windows[] = {100 * MSEC, SEC, 10 * SEC, 30 * SEC, 3600 * SEC};
    for (unsigned i = 0; i < 500; i++) {
        test_row("%u", i);
        struct breaker_rule rule = usual;
        rule.errors = 10000;
        struct bench b = bench(&rule, T0 + i * 777 * MSEC);
        b.rule.window = windows[i % 5];
        for (unsigned k = 0; k < 15; k++, b.now += b.rule.window / 12)
            some(&b, 3, BREAKER_SUCCESS);
        b.rule.window = windows[i / 5 % 5];
        uint64_t before = view(&b).requests;
        some(&b, 7, BREAKER_SUCCESS);
        EXPECT(view(&b).requests >= 7 && view(&b).requests <= before + 7);
        bench_end(&b);
    }
}

TEST(a_reload_changes_the_numbers_and_nothing_else)
{
    struct bench b = bench(&usual, T0);
    some(&b, 15, BREAKER_SUCCESS);
    some(&b, 12, BREAKER_FAILURE);
    EXPECT_EQ(phase(&b), BREAKER_CLOSED);
    b.rule.errors = 4500;
    EXPECT_EQ(phase(&b), BREAKER_CLOSED);
    some(&b, 1, BREAKER_FAILURE);                /* 13 of 28 */
    EXPECT_EQ(phase(&b), BREAKER_OPEN);
    uint64_t wait = view(&b).wait;
    b.rule.open_min = MSEC;
    b.rule.open_max = 2 * MSEC;
    EXPECT_EQ(view(&b).wait, wait);
    pass_open(&b);
    some(&b, 1, BREAKER_FAILURE);
    EXPECT(b.change.wait <= 2 * MSEC * 12 / 10);
    bench_end(&b);
}

/* ---- open ---- */

TEST(open_to_the_nanosecond)
{
    struct bench b = bench(&usual, T0);
    make_open(&b);
    EXPECT_EQ(view(&b).wait, b.change.wait);
    for (unsigned i = 0; i < 50; i++) {
        EXPECT(!one(&b, BREAKER_SUCCESS));
        EXPECT_EQ(b.wait, view(&b).wait);
    }
    pass_open(&b);
    b.now--;
    EXPECT(!one(&b, BREAKER_SUCCESS));
    EXPECT_EQ(b.wait, 1);
    EXPECT_EQ(b.changes, 1);
    b.now++;
    struct breaker_pass pass;
    EXPECT(enter(&b, &pass));
    EXPECT_EQ(b.changes, 2);
    EXPECT_EQ(b.change.from, BREAKER_OPEN);
    EXPECT_EQ(b.change.to, BREAKER_HALF_OPEN);
    EXPECT_EQ(phase(&b), BREAKER_HALF_OPEN);
    EXPECT_EQ(view(&b).probes, 1);
    leave(&b, &pass, BREAKER_NEUTRAL);
    bench_end(&b);
}

TEST(it_doubles_up_to_its_most)
{
    static const uint64_t bases[] = {5, 10, 20, 40, 60, 60, 60};
    struct bench b = bench(&usual, T0);
    make_open(&b);
    for (size_t k = 0; k < array_len(bases); k++) {
        test_row("%zu", k);
        EXPECT(b.change.wait >= bases[k] * SEC * 8 / 10 && b.change.wait <= bases[k] * SEC * 12 / 10);
        pass_open(&b);
        some(&b, 1, BREAKER_FAILURE);
        EXPECT_EQ(b.change.from, BREAKER_HALF_OPEN);
        EXPECT_EQ(b.change.requests, 1);
        EXPECT_EQ(b.change.failures, 1);
    }
    for (unsigned i = 0; i < 300; i++) {         /* more doublings than a number has bits */
        pass_open(&b);
        some(&b, 1, BREAKER_FAILURE);
        EXPECT(b.change.wait >= 48 * SEC && b.change.wait <= 72 * SEC);
    }
    bench_end(&b);
}

/* Each tenth of the range gets its tenth of 5,000 draws; the bound is five standard deviations. */
TEST(the_jitter_is_even)
{
    enum { DRAWS = 5000 };
    unsigned tenths[10] = {0};
    struct breaker_rule rule = usual;
    rule.min_requests = 1;
    rule.open_min = rule.open_max = SEC;
    struct bench b = bench(&rule, T0);
    make_open(&b);
    for (unsigned i = 0; i < DRAWS; i++) {
        EXPECT(b.change.wait >= 800 * MSEC && b.change.wait <= 1200 * MSEC);
        unsigned tenth = (unsigned)((b.change.wait - 800 * MSEC) / (40 * MSEC));
        tenths[tenth < 10 ? tenth : 9]++;
        pass_open(&b);
        some(&b, 1, BREAKER_FAILURE);
    }
    for (unsigned i = 0; i < 10; i++) {
        test_row("%u", i);
        EXPECT(tenths[i] > DRAWS / 10 - 106 && tenths[i] < DRAWS / 10 + 106);
    }
    bench_end(&b);
}

/* ---- half open ---- */

TEST(probes_one_then_two_then_four)
{
    static const unsigned allowed[BREAKER_GOOD] = {1, 2, 2, 4, 4};
    struct breaker_pass in[BREAKER_PROBES], pass;
    struct bench b = bench(&usual, T0);
    make_open(&b);
    pass_open(&b);
    unsigned under_way = 0;
    for (unsigned answered = 0; answered < BREAKER_GOOD; answered++) {
        test_row("%u", answered);
        while (under_way < allowed[answered])
            EXPECT(enter(&b, &in[under_way++]));
        EXPECT(!enter(&b, &pass));
        EXPECT(b.wait <= usual.open_min);
        EXPECT_EQ(view(&b).probes, allowed[answered]);
        EXPECT_EQ(phase(&b), BREAKER_HALF_OPEN);
        leave(&b, &in[--under_way], BREAKER_SUCCESS);
    }
    EXPECT_EQ(phase(&b), BREAKER_RAMPING);
    EXPECT_EQ(b.change.from, BREAKER_HALF_OPEN);
    EXPECT_EQ(b.change.to, BREAKER_CLOSED);
    EXPECT_EQ(b.change.requests, 5);
    unsigned changes = b.changes;
    while (under_way > 0)
        leave(&b, &in[--under_way], BREAKER_FAILURE);        /* of another era */
    EXPECT_EQ(b.changes, changes);
    EXPECT_EQ(view(&b).requests, 0);
    bench_end(&b);
}

TEST(a_cancelled_probe_is_not_judged)
{
    static const enum breaker_outcome none[] = {BREAKER_NEUTRAL, BREAKER_PRESSURE};
    for (size_t i = 0; i < array_len(none); i++) {
        struct bench b = bench(&usual, T0);
        make_open(&b);
        pass_open(&b);
        for (unsigned good = 0; good < BREAKER_GOOD; good++) {
            for (unsigned k = 0; k < 100; k++)
                EXPECT(one(&b, none[i]));
            EXPECT_EQ(phase(&b), BREAKER_HALF_OPEN);
            EXPECT_EQ(view(&b).probes, 0);
            EXPECT_EQ(view(&b).wait, 0);
            some(&b, 1, BREAKER_SUCCESS);
        }
        EXPECT_EQ(phase(&b), BREAKER_RAMPING);
        EXPECT_EQ(b.changes, 3);
        bench_end(&b);
    }
}

TEST(a_failed_probe_opens_it_whatever_the_others_say)
{
    struct breaker_pass a, c, d;
    struct bench b = bench(&usual, T0);
    make_open(&b);
    pass_open(&b);
    some(&b, 4, BREAKER_SUCCESS);
    EXPECT(enter(&b, &a) && enter(&b, &c) && enter(&b, &d));
    leave(&b, &a, BREAKER_FAILURE);
    EXPECT_EQ(phase(&b), BREAKER_OPEN);
    EXPECT_EQ(b.change.requests, 5);
    EXPECT_EQ(b.change.failures, 1);
    EXPECT_EQ(b.changes, 3);
    leave(&b, &c, BREAKER_SUCCESS);
    EXPECT_EQ(phase(&b), BREAKER_OPEN);
    pass_open(&b);
    EXPECT(enter(&b, &a));                       /* the first of another half open: it begins with one again */
    leave(&b, &d, BREAKER_FAILURE);
    EXPECT_EQ(phase(&b), BREAKER_HALF_OPEN);
    EXPECT_EQ(view(&b).probes, 1);
    EXPECT(!enter(&b, &c));
    leave(&b, &a, BREAKER_SUCCESS);
    EXPECT_EQ(phase(&b), BREAKER_HALF_OPEN);
    bench_end(&b);
}

/* Of two half opens, at the same place, up to the same deadline. */
TEST(a_probe_gives_back_no_place_of_another_era)
{
    struct breaker_pass old, fails, pass;
    struct breaker_rule rule = usual;
    rule.open_min = rule.open_max = 100 * MSEC;
    struct bench b = bench(&rule, T0);
    make_open(&b);
    pass_open(&b);
    some(&b, 1, BREAKER_SUCCESS);
    b.deadline = b.now + 900 * MSEC;
    EXPECT(enter(&b, &old));
    EXPECT(enter(&b, &fails));
    leave(&b, &fails, BREAKER_FAILURE);
    pass_open(&b);
    EXPECT(enter(&b, &pass));
    EXPECT(pass.probe == old.probe && pass.limit == old.limit);
    leave(&b, &old, BREAKER_NEUTRAL);
    EXPECT_EQ(view(&b).probes, 1);
    EXPECT(!enter(&b, &old));
    bench_end(&b);
}

TEST(slow_probes)
{
    static const struct { unsigned slow; enum breaker_phase phase; } rows[] = {
        {0, BREAKER_RAMPING}, {3, BREAKER_RAMPING}, {4, BREAKER_OPEN}, {5, BREAKER_OPEN},
    };
    struct breaker_rule rule = usual;
    rule.slow = 8000;
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%u", rows[i].slow);
        struct bench b = bench(&rule, T0);
        make_open(&b);
        pass_open(&b);
        some(&b, rows[i].slow, BREAKER_SLOW);
        some(&b, BREAKER_GOOD - rows[i].slow, BREAKER_SUCCESS);
        EXPECT_EQ(phase(&b), rows[i].phase);
        EXPECT_EQ(b.change.slow, rows[i].slow);
        EXPECT_EQ(b.change.requests, 5);
        EXPECT_EQ(b.change.failures, 0);
        bench_end(&b);
    }
}

/* It is bounded by the request's deadline, or by the breaker's own patience. */
TEST(a_probe_that_never_ends_holds_up_nobody)
{
    static const struct { uint64_t deadline, open_max, limit; } rows[] = {
        {3 * SEC, 60 * SEC, 3 * SEC}, {TIME_NEVER, 60 * SEC, 5 * SEC}, {TIME_NEVER, 500 * MSEC, SEC},
        {90 * SEC, 60 * SEC, 5 * SEC}, {1, 60 * SEC, 1}, {0, 60 * SEC, 1},
    };
    for (size_t i = 0; i < array_len(rows); i++) {
        test_row("%zu", i);
        struct breaker_pass stuck, pass, third;
        struct breaker_rule rule = usual;
        rule.open_max = rows[i].open_max;
        rule.open_min = rule.open_max < rule.open_min ? rule.open_max : rule.open_min;
        struct bench b = bench(&rule, T0);
        make_open(&b);
        pass_open(&b);
        b.deadline = rows[i].deadline == TIME_NEVER ? TIME_NEVER : b.now + rows[i].deadline;
        EXPECT(enter(&b, &stuck));
        b.deadline = TIME_NEVER;
        b.now += rows[i].limit - 1;
        EXPECT(!enter(&b, &pass));
        EXPECT_EQ(b.wait, 1);
        b.now++;
        EXPECT_EQ(view(&b).probes, 0);
        EXPECT(enter(&b, &pass));
        EXPECT(!enter(&b, &third));
        leave(&b, &stuck, BREAKER_NEUTRAL);      /* its place is another's now */
        EXPECT_EQ(view(&b).probes, 1);
        EXPECT(!enter(&b, &third));
        leave(&b, &pass, BREAKER_SUCCESS);
        EXPECT_EQ(view(&b).probes, 0);
        bench_end(&b);
    }
}

TEST(a_late_probe_is_judged_all_the_same)
{
    struct breaker_pass stuck;
    struct bench b = bench(&usual, T0);
    make_open(&b);
    pass_open(&b);
    EXPECT(enter(&b, &stuck));
    b.now += 61 * SEC;
    some(&b, 1, BREAKER_SUCCESS);
    leave(&b, &stuck, BREAKER_FAILURE);
    EXPECT_EQ(phase(&b), BREAKER_OPEN);
    bench_end(&b);
}

TEST(what_the_refused_are_told_in_half_open)
{
    struct breaker_pass pass, other;
    struct bench b = bench(&usual, T0);
    make_open(&b);
    pass_open(&b);
    b.deadline = b.now + 2 * SEC;
    EXPECT(enter(&b, &pass));
    EXPECT(!enter(&b, &other));
    EXPECT_EQ(b.wait, 2 * SEC);                  /* the probe is over by then */
    EXPECT_EQ(view(&b).wait, 2 * SEC);
    leave(&b, &pass, BREAKER_NEUTRAL);
    b.deadline = TIME_NEVER;
    EXPECT(enter(&b, &pass));
    EXPECT(!enter(&b, &other));
    EXPECT_EQ(b.wait, 5 * SEC);                  /* not the whole minute that the probe may take */
    bench_end(&b);
}

/* ---- the ramp ---- */

static double share_at(struct bench *b, unsigned n)
{
    unsigned in = 0;
    for (unsigned i = 0; i < n; i++) {
        struct breaker_pass pass;
        uint64_t left = b->rule.ramp;
        bool let = enter(b, &pass);
        in += let;
        EXPECT(let || b->wait <= left);
    }
    return (double)in / n;
}

TEST(the_ramp_lets_in_a_rising_share)
{
    static const struct { uint64_t at; double share; } rows[] = {
        {0, 0.1}, {SEC, 0.19}, {5 * SEC, 0.55}, {9 * SEC, 0.91}, {10 * SEC - 1, 0.9999}, {10 * SEC, 1}, {100 * SEC, 1},
    };
    struct bench b = bench(&usual, T0);
    make_open(&b);
    make_closed(&b);
    uint64_t closed = b.now;
    for (size_t i = 0; i < array_len(rows); i++) {
        b.now = closed + rows[i].at;
        double share = share_at(&b, 4000);
        test_row("%zu: %.4f", i, share);
        EXPECT(share > rows[i].share - 0.04 && share < rows[i].share + 0.04);
        EXPECT(rows[i].share < 1 || share == 1);
        EXPECT_EQ(phase(&b), rows[i].at < 10 * SEC ? BREAKER_RAMPING : BREAKER_CLOSED);
    }
    b.now = closed - SEC;                        /* a worker that has not seen it close */
    double share = share_at(&b, 4000);
    EXPECT(share > 0.06 && share < 0.14);
    bench_end(&b);
}

TEST(the_refused_of_a_ramp_come_back_at_any_time_of_it)
{
    unsigned halves[2] = {0}, n = 0;
    struct bench b = bench(&usual, T0);
    make_open(&b);
    make_closed(&b);
    b.now += 4 * SEC;
    while (n < 2000) {
        struct breaker_pass pass;
        if (enter(&b, &pass))
            continue;
        EXPECT(b.wait <= 6 * SEC);
        halves[b.wait > 3 * SEC]++;
        n++;
    }
    EXPECT(halves[0] > 880 && halves[1] > 880);
    bench_end(&b);
}

TEST(without_a_ramp_all_are_let_in_at_once)
{
    struct breaker_rule rule = usual;
    rule.ramp = 0;
    struct bench b = bench(&rule, T0);
    make_open(&b);
    make_closed(&b);
    EXPECT_EQ(phase(&b), BREAKER_CLOSED);
    some(&b, 200, BREAKER_SUCCESS);
    bench_end(&b);
}

TEST(a_relapse_in_the_ramp_waits_longer_and_one_after_it_does_not)
{
    for (unsigned after = 0; after < 2; after++) {
        struct bench b = bench(&usual, T0);
        make_open(&b);
        make_closed(&b);
        b.now += usual.ramp - !after;
        make_open(&b);
        uint64_t base = after ? 5 * SEC : 10 * SEC;
        EXPECT_EQ(b.change.from, after ? BREAKER_CLOSED : BREAKER_RAMPING);
        EXPECT(b.change.wait >= base * 8 / 10 && b.change.wait <= base * 12 / 10);
        bench_end(&b);
    }
}

TEST(it_closes_with_an_empty_window)
{
    struct breaker_rule rule = usual;
    rule.open_min = rule.open_max = SEC;         /* the failures that opened it are still in sight */
    struct bench b = bench(&rule, T0);
    make_open(&b);
    make_closed(&b);
    EXPECT_EQ(view(&b).requests, 0);
    b.now += usual.ramp;
    some(&b, 19, BREAKER_FAILURE);
    EXPECT_EQ(phase(&b), BREAKER_CLOSED);
    some(&b, 1, BREAKER_FAILURE);
    EXPECT_EQ(phase(&b), BREAKER_OPEN);
    bench_end(&b);
}

TEST(what_began_before_an_outage_says_nothing_after_it)
{
    enum { N = 60 };
    struct breaker_pass old[N];
    struct bench b = bench(&usual, T0);
    for (unsigned i = 0; i < N; i++)
        EXPECT(enter(&b, &old[i]));
    make_open(&b);
    unsigned changes = b.changes;
    for (unsigned i = 0; i < 20; i++)
        leave(&b, &old[i], BREAKER_FAILURE);
    pass_open(&b);
    struct breaker_pass probe;
    EXPECT(enter(&b, &probe));
    for (unsigned i = 20; i < 40; i++)
        leave(&b, &old[i], i % 2 ? BREAKER_FAILURE : BREAKER_SUCCESS);
    EXPECT_EQ(b.changes, changes + 1);
    leave(&b, &probe, BREAKER_SUCCESS);
    some(&b, 4, BREAKER_SUCCESS);
    EXPECT_EQ(phase(&b), BREAKER_RAMPING);
    for (unsigned i = 40; i < N; i++)
        leave(&b, &old[i], BREAKER_FAILURE);
    EXPECT_EQ(view(&b).requests, 0);
    EXPECT_EQ(phase(&b), BREAKER_RAMPING);
    bench_end(&b);
}

/* ---- would it let another one in? ---- */

static bool would(struct bench *b, const struct breaker_pass *in_hand)
{
    struct breaker_view before = view(b), after;
    struct breaker_now now = now_of(b);
    bool yes = breaker_state_would_admit(b->s, &now, in_hand, &b->lucky);
    after = view(b);
    EXPECT_EQ(before.phase, after.phase);
    EXPECT_EQ(before.probes, after.probes);
    EXPECT_EQ(before.requests, after.requests);
    return yes;
}

TEST(another_one_is_promised_only_what_it_gets)
{
    struct breaker_pass pass, none = {.era = 0};
    struct bench b = bench(&usual, T0);
    some(&b, 18, BREAKER_FAILURE);
    EXPECT(enter(&b, &pass));
    EXPECT(would(&b, &pass));                    /* the 19th */
    leave(&b, &pass, BREAKER_FAILURE);
    EXPECT(enter(&b, &pass));
    EXPECT(!would(&b, &pass));                   /* its own failure opens it */
    EXPECT(would(&b, &none));                    /* of one that is not judged it is not known */
    leave(&b, &pass, BREAKER_FAILURE);
    EXPECT_EQ(phase(&b), BREAKER_OPEN);
    EXPECT(!would(&b, &pass));
    pass_open(&b);
    EXPECT(would(&b, &pass));
    EXPECT_EQ(phase(&b), BREAKER_OPEN);
    EXPECT(enter(&b, &pass));
    EXPECT(!would(&b, &pass) && !would(&b, &none));
    leave(&b, &pass, BREAKER_SUCCESS);
    EXPECT(would(&b, &none));
    EXPECT(enter(&b, &pass));
    EXPECT(would(&b, &none));                    /* there is a second place */
    EXPECT(!would(&b, &pass));                   /* but not when this one fails */
    leave(&b, &pass, BREAKER_SUCCESS);
    some(&b, 3, BREAKER_SUCCESS);
    unsigned yes = 0;
    for (unsigned i = 0; i < 4000; i++) {
        if (!would(&b, &none))
            continue;
        yes++;
        EXPECT(enter(&b, &pass));                /* no second draw */
    }
    EXPECT(yes > 300 && yes < 500);
    uint64_t lucky = b.lucky;
    b.lucky = 0;
    b.now += 5 * SEC;
    for (unsigned i = 0; i < 100 && phase(&b) == BREAKER_RAMPING; i++)
        (void)one(&b, BREAKER_FAILURE);
    EXPECT_EQ(phase(&b), BREAKER_OPEN);
    b.lucky = lucky;                             /* luck of another era is none */
    EXPECT(!enter(&b, &pass));
    make_closed(&b);
    b.lucky = lucky;
    unsigned in = 0;
    for (unsigned i = 0; i < 1000; i++)
        in += enter(&b, &pass);
    EXPECT(in < 200);
    bench_end(&b);
}

/* ---- held ---- */

static void hold(struct bench *b, enum breaker_hold how)
{
    struct breaker_change change;
    breaker_state_hold(b->s, how, b->now, &change);
    note(b, &change);
}

TEST(held_open)
{
    struct breaker_pass pass, before, none = {.era = 0};
    struct bench b = bench(&usual, T0);
    EXPECT(enter(&b, &before));
    hold(&b, BREAKER_HELD_OPEN);
    hold(&b, BREAKER_HELD_OPEN);
    EXPECT_EQ(b.changes, 1);
    EXPECT_EQ(b.change.to, BREAKER_OPEN);
    EXPECT_EQ(view(&b).hold, BREAKER_HELD_OPEN);
    leave(&b, &before, BREAKER_SUCCESS);
    for (unsigned i = 0; i < 5; i++, b.now += 1000 * SEC) {
        EXPECT_EQ(phase(&b), BREAKER_OPEN);
        EXPECT(!enter(&b, &pass));
        EXPECT_EQ(b.wait, 5 * SEC);
        EXPECT_EQ(view(&b).wait, 5 * SEC);
        EXPECT(!would(&b, &none));
    }
    hold(&b, BREAKER_AUTO);
    EXPECT_EQ(view(&b).hold, BREAKER_AUTO);
    EXPECT_EQ(phase(&b), BREAKER_HALF_OPEN);     /* with care */
    EXPECT(enter(&b, &pass));
    EXPECT(!enter(&b, &before));
    leave(&b, &pass, BREAKER_FAILURE);
    EXPECT(b.change.wait <= 6 * SEC);
    bench_end(&b);
}

TEST(held_closed)
{
    struct breaker_pass pass, none = {.era = 0};
    struct bench b = bench(&usual, T0);
    make_open(&b);
    b.changes = 0;
    hold(&b, BREAKER_HELD_CLOSED);
    EXPECT_EQ(b.changes, 1);
    EXPECT_EQ(b.change.to, BREAKER_CLOSED);
    EXPECT_EQ(view(&b).hold, BREAKER_HELD_CLOSED);
    EXPECT_EQ(view(&b).requests, 0);
    some(&b, 500, BREAKER_FAILURE);              /* no ramp, whatever happens */
    EXPECT(would(&b, &none));
    EXPECT_EQ(phase(&b), BREAKER_CLOSED);
    EXPECT_EQ(view(&b).failures, 500);
    EXPECT(enter(&b, &pass));
    hold(&b, BREAKER_AUTO);
    EXPECT_EQ(phase(&b), BREAKER_CLOSED);
    EXPECT_EQ(b.changes, 1);
    EXPECT(one(&b, BREAKER_SUCCESS));            /* 500 of 501 */
    EXPECT_EQ(phase(&b), BREAKER_OPEN);
    bench_end(&b);
}

TEST(all_words_in_all_orders)
{
    static const enum breaker_hold words[] = {BREAKER_AUTO, BREAKER_HELD_OPEN, BREAKER_HELD_CLOSED};
    struct bench b = bench(&usual, T0);
    for (unsigned i = 0; i < 3000; i++) {
        enum breaker_hold how = words[rng_below(&b.rng, 3)];
        struct breaker_pass pass;
        hold(&b, how);
        EXPECT_EQ(view(&b).hold, how);
        bool in = enter(&b, &pass);
        EXPECT(how != BREAKER_HELD_OPEN || !in);
        EXPECT(how != BREAKER_HELD_CLOSED || in);
        if (in)
            leave(&b, &pass, rng_below(&b.rng, 2) ? BREAKER_SUCCESS : BREAKER_FAILURE);
        b.now += rng_below(&b.rng, 3 * SEC);
    }
    bench_end(&b);
}

TEST(born_held)
{
    static const enum breaker_phase phases[] = {BREAKER_CLOSED, BREAKER_OPEN, BREAKER_CLOSED};
    for (int how = BREAKER_AUTO; how <= BREAKER_HELD_CLOSED; how++) {
        struct bench b = bench(&usual, T0);
        bench_end(&b);
        b = bench(&usual, T0);
        breaker_state_fini(b.s);
        memset(b.s, 0, sizeof *b.s);
        breaker_state_init(b.s, (enum breaker_hold)how);
        EXPECT_EQ(view(&b).hold, how);
        EXPECT_EQ(phase(&b), phases[how]);
        bench_end(&b);
    }
}

/* ---- against a slow model ---- */

/* Every attempt that counts, with its slot; what there is to know of the state, in plain numbers. */
enum { MODEL_EVENTS = 4000, MODEL_OPEN = 40 };
struct model {
    struct { uint64_t slot; enum breaker_outcome what; } events[MODEL_EVENTS];
    unsigned n;
    enum breaker_phase phase;            /* CLOSED also while it ramps */
    uint64_t until, closed;              /* closed 0: no ramp */
    unsigned era, good, slow, doublings;
};

struct flight { struct breaker_pass pass; unsigned era; bool place; uint64_t limit; };

static struct breaker_view model_sums(const struct model *m, const struct bench *b)
{
    struct breaker_view v = {.requests = 0};
    uint64_t slot = b->now / (b->rule.window / 10);
    for (unsigned i = 0; i < m->n; i++) {
        if (m->events[i].slot + 10 <= slot)
            continue;
        v.requests++;
        v.failures += m->events[i].what == BREAKER_FAILURE;
        v.slow += m->events[i].what == BREAKER_SLOW;
    }
    return v;
}

static void model_opens(struct model *m, struct bench *b)
{
    uint64_t base = b->rule.open_min << m->doublings;
    base = base < b->rule.open_max ? base : b->rule.open_max;
    EXPECT_EQ(b->change.to, BREAKER_OPEN);
    EXPECT(b->change.wait >= base - base / 5 && b->change.wait <= base + base / 5);
    *m = (struct model){.phase = BREAKER_OPEN, .until = b->now + b->change.wait, .era = m->era + 1,
                        .doublings = m->doublings + (m->doublings < 20)};
}

static void model_judges(struct model *m, struct bench *b, enum breaker_outcome what)
{
    if (m->phase == BREAKER_CLOSED) {
        check(m->n < MODEL_EVENTS);
        m->events[m->n].slot = b->now / (b->rule.window / 10);
        m->events[m->n++].what = what;
        struct breaker_view v = model_sums(m, b);
        if (v.requests < b->rule.min_requests || (v.failures * 10000 < v.requests * b->rule.errors
                                                  && v.slow * 10000 < v.requests * b->rule.slow))
            return;
        if (m->closed == 0 || b->now - m->closed >= b->rule.ramp)
            m->doublings = 0;
        model_opens(m, b);
        return;
    }
    m->good += what != BREAKER_FAILURE;
    m->slow += what == BREAKER_SLOW;
    if (what == BREAKER_FAILURE || (m->good == 5 && m->slow * 10000 >= 5 * b->rule.slow)) {
        model_opens(m, b);
    } else if (m->good == 5) {
        EXPECT_EQ(b->change.to, BREAKER_CLOSED);
        m->phase = BREAKER_CLOSED;
        m->closed = b->now;
        m->era++;
    }
}

static unsigned places_taken(const struct flight *f, unsigned n, const struct model *m, uint64_t now)
{
    unsigned taken = 0;
    for (unsigned i = 0; i < n; i++)
        taken += f[i].place && f[i].era == m->era && f[i].limit > now;
    return taken;
}

static void model_enters(struct model *m, struct bench *b, struct flight *f, unsigned *n)
{
    static const unsigned allowed[] = {1, 2, 2, 4, 4};
    struct flight *one_more = &f[*n];
    unsigned changes = b->changes;
    b->deadline = b->now + rng_below(&b->rng, 20 * SEC);
    bool in = enter(b, &one_more->pass);
    if (m->phase == BREAKER_OPEN) {
        EXPECT_EQ(in, b->now >= m->until);
        EXPECT(in || b->wait == m->until - b->now);
        EXPECT_EQ(b->changes - changes, in);
        if (in) {
            m->phase = BREAKER_HALF_OPEN;
            m->era++;
            m->good = m->slow = 0;
        }
    } else if (m->phase == BREAKER_HALF_OPEN) {
        EXPECT_EQ(in, places_taken(f, *n, m, b->now) < allowed[m->good]);
    } else {
        EXPECT(in || (m->closed && b->now - m->closed < b->rule.ramp && b->wait <= m->closed + b->rule.ramp - b->now));
    }
    if (!in)
        return;
    one_more->era = m->era;
    one_more->place = m->phase == BREAKER_HALF_OPEN;
    uint64_t most = b->now + 2 * SEC, least = b->now + 1;
    one_more->limit = b->deadline < least ? least : b->deadline < most ? b->deadline : most;
    (*n)++;
}

static void model_leaves(struct model *m, struct bench *b, struct flight *f, unsigned *n, unsigned bad)
{
    unsigned i = (unsigned)rng_below(&b->rng, *n), changes = b->changes;
    uint64_t dice = rng_below(&b->rng, 100);
    enum breaker_outcome what = dice < bad ? BREAKER_FAILURE : dice < bad + 10 ? BREAKER_SLOW : dice < bad + 20
                              ? BREAKER_NEUTRAL : dice < bad + 25 ? BREAKER_PRESSURE : BREAKER_SUCCESS;
    unsigned era = m->era;
    struct flight gone = f[i];
    leave(b, &gone.pass, what);
    f[i] = f[--*n];
    if (gone.era == m->era && what != BREAKER_NEUTRAL && what != BREAKER_PRESSURE)
        model_judges(m, b, what);
    EXPECT_EQ(b->changes - changes, m->era != era);
}

TEST(random_sequences_against_a_slow_model)
{
    static struct model m;
    static struct flight f[MODEL_OPEN + 1];
    unsigned transitions = 0;
    for (unsigned seed = 1; seed <= 12; seed++) {
        struct breaker_rule rule = {.errors = 3000 + 500 * seed, .slow = seed % 3 ? 9000 : 4000, .min_requests = 1 + seed,
                                    .window = seed % 2 ? SEC : 10 * SEC, .open_min = 2 * SEC, .open_max = 9 * SEC,
                                    .ramp = 3 * SEC};
        struct bench b = bench(&rule, T0);
        unsigned n = 0;
        rng_seed(&b.rng, seed);
        m = (struct model){.phase = BREAKER_CLOSED};
        for (unsigned i = 0; i < 4000; i++) {
            test_row("seed %u, step %u", seed, i);
            unsigned bad = i / 200 % 2 ? 60 : 3;
            if (n == 0 || (n < MODEL_OPEN && rng_below(&b.rng, 2)))
                model_enters(&m, &b, f, &n);
            else
                model_leaves(&m, &b, f, &n, bad);
            EXPECT_EQ(phase(&b) == BREAKER_RAMPING ? BREAKER_CLOSED : phase(&b), m.phase);
            if (m.phase == BREAKER_CLOSED) {
                struct breaker_view is = view(&b), wanted = model_sums(&m, &b);
                EXPECT(is.requests == wanted.requests && is.failures == wanted.failures && is.slow == wanted.slow);
            } else if (m.phase == BREAKER_HALF_OPEN) {
                EXPECT_EQ(view(&b).probes, places_taken(f, n, &m, b.now));
            }
            if (test_failures > 10)
                break;
            b.now += rng_below(&b.rng, rng_below(&b.rng, 30) ? 20 * MSEC : 5 * SEC);
        }
        transitions += m.era;
        bench_end(&b);
    }
    EXPECT(transitions > 500);
}

/* ---- hostile clocks ---- */

TEST(any_time_whatever)
{
    static const uint64_t times[] = {0, 1, SEC, T0, UINT64_MAX >> 4, (UINT64_MAX >> 3) - 1, UINT64_MAX >> 3, UINT64_MAX / 2,
                                     UINT64_MAX - 1, UINT64_MAX};
    struct breaker_rule rule = usual;
    rule.min_requests = 2;
    rule.slow = 9000;
    struct bench b = bench(&rule, 0);
    for (unsigned i = 0; i < 30000; i++) {
        struct breaker_pass none = {.era = 0};
        b.now = times[rng_below(&b.rng, array_len(times))] - (rng_below(&b.rng, 4) ? 0 : rng_below(&b.rng, 1000));
        b.deadline = times[rng_below(&b.rng, array_len(times))];
        if (rng_below(&b.rng, 500) == 0)
            hold(&b, (enum breaker_hold)rng_below(&b.rng, 3));
        (void)one(&b, (enum breaker_outcome)rng_below(&b.rng, BREAKER_OUTCOMES));
        (void)would(&b, &none);
    }
    hold(&b, BREAKER_HELD_CLOSED);
    hold(&b, BREAKER_AUTO);
    b.now = UINT64_MAX;
    for (unsigned i = 0; i < 30; i++)
        (void)one(&b, BREAKER_FAILURE);
    EXPECT(b.changes > 10);
    bench_end(&b);
}

TEST(from_the_first_nanosecond)
{
    struct bench b = bench(&usual, 0);
    EXPECT_EQ(phase(&b), BREAKER_CLOSED);
    some(&b, 30, BREAKER_SUCCESS);               /* no ramp */
    EXPECT_EQ(view(&b).requests, 30);
    some(&b, 30, BREAKER_FAILURE);
    EXPECT_EQ(phase(&b), BREAKER_OPEN);
    make_closed(&b);
    bench_end(&b);
}

/* ---- threads ---- */

enum { THREADS = 4, ROUNDS = 4000 };

struct crew {
    struct breaker_state *s;
    const struct breaker_rule *rule;
    _Atomic uint64_t *clock;
    _Atomic int *probing;                /* probes under way */
    unsigned number, let_in;
    unsigned to[BREAKER_OPEN + 1];
    bool fails;
};

static void *crew_counts(void *arg)
{
    struct crew *c = arg;
    struct rng rng;
    rng_seed(&rng, c->number);
    for (unsigned i = 0; i < ROUNDS; i++) {
        const struct breaker_now now = {c->rule, T0 + i * (5 * SEC / ROUNDS), &rng};     /* over five slots */
        struct breaker_ask ask = {.deadline = TIME_NEVER};
        struct breaker_change change;
        EXPECT(breaker_state_admit(c->s, &now, &ask));
        enum breaker_outcome what = i % 4 ? BREAKER_SUCCESS : i % 8 ? BREAKER_SLOW : BREAKER_FAILURE;
        breaker_state_judge(c->s, &now, &ask.pass, what, 1, &change);
        EXPECT(!change.made);
    }
    return NULL;
}

TEST(nothing_is_lost_between_threads)
{
    struct breaker_rule rule = usual;
    rule.errors = 9000;
    struct bench b = bench(&rule, T0);
    pthread_t threads[THREADS];
    struct crew crews[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        crews[i] = (struct crew){.s = b.s, .rule = &rule, .number = i};
        pthread_create(&threads[i], NULL, crew_counts, &crews[i]);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    b.now = T0 + 5 * SEC;
    EXPECT_EQ(view(&b).requests, THREADS * ROUNDS);
    EXPECT_EQ(view(&b).failures, THREADS * ROUNDS / 8);
    EXPECT_EQ(view(&b).slow, THREADS * ROUNDS / 8);
    bench_end(&b);
}

/* Time passes for all of them, each is a little behind. */
static void *crew_works(void *arg)
{
    struct crew *c = arg;
    struct rng rng;
    rng_seed(&rng, c->number + 1);
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t time = atomic_fetch_add(c->clock, 2 * MSEC);
        const struct breaker_now now = {c->rule, time - rng_below(&rng, 3 * MSEC), &rng};
        struct breaker_ask ask = {.deadline = now.time + 20 * SEC};
        struct breaker_change change;
        bool bad = time / (4 * SEC) % 2 && rng_below(&rng, 10) < 9;
        if (breaker_state_admit(c->s, &now, &ask)) {
            c->let_in++;
            if (breaker_pass_is_probe(&ask.pass)) {
                EXPECT(atomic_fetch_add(c->probing, 1) < BREAKER_PROBES);
                atomic_fetch_sub(c->probing, 1);
                breaker_state_return(c->s, &ask.pass);
            }
            breaker_state_judge(c->s, &now, &ask.pass, bad ? BREAKER_FAILURE : BREAKER_SUCCESS, 1, &change);
            if (change.made)
                c->to[change.to]++;
        }
        if (ask.change.made)
            c->to[ask.change.to]++;
    }
    return NULL;
}

/* Each open is followed by one half open, each half open by an open or a closed. */
TEST(one_winner_a_transition)
{
    struct breaker_rule rule = {.errors = 5000, .min_requests = 10, .window = SEC, .open_min = 50 * MSEC,
                                .open_max = 100 * MSEC, .ramp = 100 * MSEC};
    struct bench b = bench(&rule, T0);
    pthread_t threads[THREADS];
    struct crew crews[THREADS];
    _Atomic uint64_t clock = T0;
    _Atomic int probing = 0;
    unsigned to[BREAKER_OPEN + 1] = {0};
    for (unsigned i = 0; i < THREADS; i++) {
        crews[i] = (struct crew){.s = b.s, .rule = &rule, .clock = &clock, .probing = &probing, .number = i};
        pthread_create(&threads[i], NULL, crew_works, &crews[i]);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        for (unsigned k = 0; k <= BREAKER_OPEN; k++)
            to[k] += crews[i].to[k];
    }
    b.now = atomic_load(&clock);
    enum breaker_phase end = phase(&b);
    EXPECT(to[BREAKER_OPEN] > 3 && to[BREAKER_CLOSED] > 1);
    EXPECT_EQ(to[BREAKER_OPEN], to[BREAKER_HALF_OPEN] + (end == BREAKER_OPEN));
    EXPECT(to[BREAKER_CLOSED] < to[BREAKER_HALF_OPEN] + (end != BREAKER_HALF_OPEN));
    EXPECT_EQ(view(&b).probes, 0);
    bench_end(&b);
}

/* All at once at the same moment, with nothing but their steps between them. */
static void *crew_fails(void *arg)
{
    struct crew *c = arg;
    struct rng rng;
    rng_seed(&rng, c->number + 1);
    for (unsigned i = 0; i < 300; i++) {
        const struct breaker_now now = {c->rule, atomic_load(c->clock), &rng};
        struct breaker_ask ask = {.deadline = TIME_NEVER};
        struct breaker_change change = {.made = false};
        if (breaker_state_admit(c->s, &now, &ask))
            breaker_state_judge(c->s, &now, &ask.pass, c->fails ? BREAKER_FAILURE : BREAKER_NEUTRAL, 1, &change);
        c->let_in += ask.pass.era != 0;
        c->to[BREAKER_OPEN] += change.made;
        c->to[BREAKER_HALF_OPEN] += ask.change.made;
    }
    return NULL;
}

TEST(all_at_once)
{
    for (unsigned round = 0; round < 20; round++) {
        struct bench b = bench(&usual, T0);
        pthread_t threads[THREADS];
        _Atomic uint64_t clock = T0;
        for (unsigned half = 0; half < 2; half++) {
            struct crew crews[THREADS];
            unsigned opened = 0, half_opened = 0, let_in = 0;
            for (unsigned i = 0; i < THREADS; i++) {
                crews[i] = (struct crew){.s = b.s, .rule = &usual, .clock = &clock, .number = i, .fails = !half};
                pthread_create(&threads[i], NULL, crew_fails, &crews[i]);
            }
            for (unsigned i = 0; i < THREADS; i++) {
                pthread_join(threads[i], NULL);
                opened += crews[i].to[BREAKER_OPEN];
                half_opened += crews[i].to[BREAKER_HALF_OPEN];
                let_in += crews[i].let_in;
            }
            EXPECT_EQ(opened, !half);
            EXPECT_EQ(half_opened, half);
            EXPECT(half ? let_in == 1 : let_in >= 20);       /* the probe is never given back */
            atomic_store(&clock, T0 + 6 * SEC);
        }
        bench_end(&b);
    }
}
