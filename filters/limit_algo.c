/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arithmetic of token buckets; limit_algo.h says what it means.
 *
 * Invariants, each held by a property test:
 *   - in any interval of length t, what passes and is not given back is at most burst + rate * t;
 *   - limit_take() that fails says the exact wait: it fails one nanosecond earlier and passes then;
 *   - a rule changed back and forth changes no cell and mints no token.
 *
 * Why a refund is what it is. Had the charge been smaller by g, the cell would now be lower by g, as long as that
 * lower cell never fell behind the clock, for there a cell is dragged along and the difference melts. The charge
 * began at from.cell and the smaller one would end at from.cell + cost - g: so g may be as much as keeps this end at
 * or ahead of the clock. This counts on from.cell being where the cell would have stood with all smaller charges in
 * it; what was given back to earlier charges since moved that down, hence the caller's duty to lower it. from.clock
 * is its floor, whatever was given back: no cell counts for less than the clock.
 *
 * All sums saturate; nothing here divides by anything but a period or a token count, which the loader keeps > 0. A
 * product of 128 bits costs a division several times as long as one of 64, so it is made only where 64 bits do not
 * hold it.
 */
#include "filters/limit_algo.h"

static uint64_t add_sat(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }
static uint64_t sub_floor(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }
static uint64_t later(uint64_t a, uint64_t b) { return a > b ? a : b; }
static uint64_t earlier(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* (a * b + round) / by, exact; at most UINT64_MAX. */
static uint64_t scale(uint64_t a, uint64_t b, uint64_t round, uint64_t by)
{
    uint64_t narrow;
    if (!__builtin_mul_overflow(a, b, &narrow) && !__builtin_add_overflow(narrow, round, &narrow))
        return narrow / by;
    unsigned __int128 wide = (unsigned __int128)a * b + round;
    if ((uint64_t)(wide >> 64) >= by)
        return UINT64_MAX;
    return (uint64_t)(wide / by);
}

uint64_t limit_clock(const struct limit_rule *r, uint64_t now)
{
    return add_sat(r->v0, scale(sub_floor(now, r->t0), r->tokens * LIMIT_UNIT, 0, r->period));
}

/* From `now` to the first time at which the clock stands at `v` or later: the inverse of limit_clock(), rounded up. */
static uint64_t until(const struct limit_rule *r, uint64_t v, uint64_t now)
{
    const uint64_t rate = r->tokens * LIMIT_UNIT;
    const uint64_t then = add_sat(r->t0, scale(sub_floor(v, r->v0), r->period, rate - 1, rate));
    return then == UINT64_MAX ? LIMIT_NEVER : sub_floor(then, later(now, r->t0));
}

/* The one decision behind all three questions. `*next` is the cell if it is charged: `ok` says whether to. */
static struct limit_result decide(uint64_t cell, const struct limit_rule *r, uint64_t cost, uint64_t max_wait,
                                  uint64_t now, uint64_t *next)
{
    const uint64_t v = limit_clock(r, now);
    const uint64_t from = later(cell, v);
    const uint64_t left = sub_floor(r->burst, from - v);
    const bool never = cost > r->burst || cost > UINT64_MAX - from;     /* past its end a cell would forget */
    struct limit_result res = {.ok = cost <= left && !never, .left = left, .from = {.clock = v, .cell = from}};

    *next = add_sat(from, cost);
    if (!res.ok) {
        res.wait = never ? LIMIT_NEVER : until(r, sub_floor(*next, r->burst), now);
        res.ok = res.wait <= max_wait && res.wait != LIMIT_NEVER;
    }
    if (res.ok)
        res.left = sub_floor(left, cost);
    const uint64_t end = res.ok ? *next : from;
    res.full = end > v ? until(r, end, now) : 0;
    return res;
}

struct limit_result limit_peek(uint64_t cell, const struct limit_rule *r, uint64_t cost, uint64_t now)
{
    uint64_t next;
    return decide(cell, r, cost, 0, now, &next);
}

struct limit_result limit_take(uint64_t *cell, const struct limit_rule *r, uint64_t cost, uint64_t now)
{
    return limit_reserve(cell, r, cost, 0, now);
}

struct limit_result limit_reserve(uint64_t *cell, const struct limit_rule *r, uint64_t cost, uint64_t max_wait,
                                  uint64_t now)
{
    uint64_t next;
    const struct limit_result res = decide(*cell, r, cost, max_wait, now, &next);
    if (res.ok)
        *cell = next;
    return res;
}

uint64_t limit_refund(uint64_t *cell, const struct limit_rule *r, uint64_t cost, struct limit_mark from, uint64_t now)
{
    return limit_settle(cell, r, cost, 0, from, now);
}

uint64_t limit_settle(uint64_t *cell, const struct limit_rule *r, uint64_t estimated, uint64_t actual,
                      struct limit_mark from, uint64_t now)
{
    const uint64_t v = limit_clock(r, now);

    if (actual >= estimated) {
        *cell = add_sat(later(*cell, v), actual - estimated);
        return 0;
    }
    const uint64_t end = add_sat(later(from.cell, from.clock), actual);
    const uint64_t back = earlier(sub_floor(estimated - actual, sub_floor(v, end)), sub_floor(*cell, v));
    *cell -= back;
    return back;
}

bool limit_waits(uint64_t cell, const struct limit_rule *r, uint64_t now)
{
    return sub_floor(cell, limit_clock(r, now)) > r->burst;
}

void limit_rule_change(struct limit_rule *r, uint64_t tokens, uint64_t period, uint64_t burst, uint64_t now)
{
    uint64_t v = limit_clock(r, now);
    *r = (struct limit_rule){.v0 = v, .t0 = later(now, r->t0), .tokens = tokens, .period = period, .burst = burst};
}
