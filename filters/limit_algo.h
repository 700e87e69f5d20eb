/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIMIT_ALGO_H
#define LIMIT_ALGO_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Token buckets as points on a clock that ticks tokens.
 *
 * A bucket's rule is a clock V(now) that advances `rate` tokens a second. A key's whole state is one 64-bit point on
 * that clock, the cell: where the clock will stand when the key's bucket is full again. A cell at or behind the clock
 * is a full bucket, the same as a key never seen. This is GCRA (ITU-T I.371) in tokens instead of seconds, so that
 * a rule may change while cells are in debt: the clock goes on from where it stands, and the debt stays what it was.
 *
 * Everything here is pure: no clock is read, nothing is allocated, any thread may call it. Times are monotonic
 * nanoseconds. Amounts are in units of 2^-16 token; LIMIT_UNIT is one token.
 */

#define LIMIT_UNIT     ((uint64_t)1 << 16)
#define LIMIT_RATE_MAX 1000000u    /* tokens a second: the clock then lasts 8 years from t0 */
#define LIMIT_NEVER    UINT64_MAX

/* A rule is `tokens` a `period`, kept as a ratio so that 10 an hour is exact. */
struct limit_rule {
    uint64_t v0;        /* units on the clock at t0 */
    uint64_t t0;        /* ns */
    uint64_t tokens;    /* > 0 */
    uint64_t period;    /* ns, > 0; tokens/period <= LIMIT_RATE_MAX a second */
    uint64_t burst;     /* units, > 0 */
};

struct limit_result {
    bool     ok;
    uint64_t wait;      /* ns until the same cost would pass; LIMIT_NEVER when cost > burst */
    uint64_t left;      /* units still to be had at `now`, after this decision */
};

/* Where the clock stands. A `now` before t0 counts as t0: workers' cached clocks differ a little. */
uint64_t limit_clock(const struct limit_rule *, uint64_t now);

/* May `cost` units pass now? Charges `*cell` if so, leaves it alone if not. */
struct limit_result limit_take(uint64_t *cell, const struct limit_rule *, uint64_t cost, uint64_t now);

/* The same answer, charging nothing. */
struct limit_result limit_peek(uint64_t cell, const struct limit_rule *, uint64_t cost, uint64_t now);

/* Gives back `cost` units that limit_take() charged for something that did not happen. */
void limit_uncharge(uint64_t *cell, uint64_t cost);

/* Replaces an estimate by what it really cost. More than the burst may be owed afterwards: debt is not forgiven. */
void limit_settle(uint64_t *cell, const struct limit_rule *, uint64_t estimated, uint64_t actual, uint64_t now);

/* Changes the rule at `now`. V is continuous, so what every cell owes in tokens stays the same. */
void limit_rule_change(struct limit_rule *, uint64_t tokens, uint64_t period, uint64_t burst, uint64_t now);

#endif
