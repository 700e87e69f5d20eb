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
    uint64_t tokens;    /* > 0, below 2^48 */
    uint64_t period;    /* ns, > 0; tokens/period <= LIMIT_RATE_MAX a second */
    uint64_t burst;     /* units, > 0 */
};

/* Where things stood when a charge was made: what it takes to give it back later. Users of limit_store.h keep it and
 * do not look into it. */
struct limit_mark {
    uint64_t clock;     /* the clock */
    uint64_t cell;      /* the cell, or the clock if that was later; less what was given back to this cell since then */
};

struct limit_result {
    bool     ok;
    uint64_t wait;      /* ns until the same cost would pass, 0: now; LIMIT_NEVER: cost > burst, or past all time */
    uint64_t left;      /* units still to be had at `now`, after this decision */
    uint64_t full;      /* ns until the bucket is full again, after this decision; or LIMIT_NEVER */
    struct limit_mark from;   /* for limit_refund() and limit_settle() */
};

/* Where the clock stands. A `now` before t0 counts as t0: workers' cached clocks differ a little. */
uint64_t limit_clock(const struct limit_rule *, uint64_t now);

/* May `cost` units pass now? Charges `*cell` if so, leaves it alone if not. A cost of 0 always passes. */
struct limit_result limit_take(uint64_t *cell, const struct limit_rule *, uint64_t cost, uint64_t now);

/* May they pass within `max_wait` ns? Charges at once if so: whoever was told a wait of w passes at now + w. Then
 * `ok` with that wait and nothing left. */
struct limit_result limit_reserve(uint64_t *cell, const struct limit_rule *, uint64_t cost, uint64_t max_wait,
                                  uint64_t now);

/* The same answer as limit_take(), charging nothing. */
struct limit_result limit_peek(uint64_t cell, const struct limit_rule *, uint64_t cost, uint64_t now);

/* Takes back a charge of `cost`, made at `from`, for something that did not happen; returns how much it gave back.
 * What the clock may have repaid of the charge since is not given back, so that late or early no token is minted:
 * what was charged and not given back fits the rule in any interval, as if it had never been more. Two duties of the
 * caller: `from.cell` is lowered by all that this and limit_settle() gave back to the same cell since the charge (not
 * below 0), and it is not called while limit_waits(). */
uint64_t limit_refund(uint64_t *cell, const struct limit_rule *, uint64_t cost, struct limit_mark from, uint64_t now);

/* Replaces an estimate, charged at `from`, by what it really cost; returns how much it gave back, 0 if it cost more.
 * More than the burst may be owed afterwards: debt is not forgiven. Duties as above when `actual` is below
 * `estimated`. */
uint64_t limit_settle(uint64_t *cell, const struct limit_rule *, uint64_t estimated, uint64_t actual,
                      struct limit_mark from, uint64_t now);

/* May somebody who was told a wait still be waiting? So it is while more than the burst is owed. Whoever came after a
 * charge was told his time by it, and cannot be told another: to let newcomers in at his cost would be too much at
 * once. */
bool limit_waits(uint64_t cell, const struct limit_rule *, uint64_t now);

/* Changes the rule at `now`. V is continuous, so what every cell owes in tokens stays the same. */
void limit_rule_change(struct limit_rule *, uint64_t tokens, uint64_t period, uint64_t burst, uint64_t now);

#endif
