/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arithmetic of token buckets; limit_algo.h says what it means.
 *
 * Invariants, each held by a property test:
 *   - in any interval of length t, what passes is at most burst + rate * t;
 *   - limit_take() that fails says the exact wait: it fails one nanosecond earlier and passes then;
 *   - a rule changed back and forth changes no cell and mints no token.
 * All sums saturate; nothing here divides by anything but a period or a token count, which the loader keeps > 0.
 */
#include "filters/limit_algo.h"

static uint64_t add_sat(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }
static uint64_t sub_floor(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }
static uint64_t later(uint64_t a, uint64_t b) { return a > b ? a : b; }

static uint64_t narrow(unsigned __int128 x) { return x > UINT64_MAX ? UINT64_MAX : (uint64_t)x; }

uint64_t limit_clock(const struct limit_rule *r, uint64_t now)
{
    unsigned __int128 ticks = (unsigned __int128)sub_floor(now, r->t0) * r->tokens * LIMIT_UNIT / r->period;
    return add_sat(r->v0, narrow(ticks));
}

/* The first time at which the clock stands at `v` or later: the inverse of limit_clock(), rounded up. */
static uint64_t time_of(const struct limit_rule *r, uint64_t v)
{
    unsigned __int128 rate = (unsigned __int128)r->tokens * LIMIT_UNIT;
    unsigned __int128 ns = ((unsigned __int128)sub_floor(v, r->v0) * r->period + rate - 1) / rate;
    return add_sat(r->t0, narrow(ns));
}

struct limit_result limit_peek(uint64_t cell, const struct limit_rule *r, uint64_t cost, uint64_t now)
{
    uint64_t v = limit_clock(r, now);
    uint64_t owed = later(cell, v) - v;
    uint64_t left = sub_floor(r->burst, owed);

    if (cost <= left)
        return (struct limit_result){.ok = true, .wait = 0, .left = left - cost};
    if (cost > r->burst)
        return (struct limit_result){.ok = false, .wait = LIMIT_NEVER, .left = left};
    uint64_t then = time_of(r, sub_floor(add_sat(later(cell, v), cost), r->burst));
    return (struct limit_result){.ok = false, .wait = sub_floor(then, later(now, r->t0)), .left = left};
}

struct limit_result limit_take(uint64_t *cell, const struct limit_rule *r, uint64_t cost, uint64_t now)
{
    struct limit_result res = limit_peek(*cell, r, cost, now);
    if (res.ok)
        *cell = add_sat(later(*cell, limit_clock(r, now)), cost);
    return res;
}

void limit_uncharge(uint64_t *cell, uint64_t cost)
{
    /* A cell that falls behind the clock is a full bucket: no token is minted, for limit_take() looks at the later. */
    *cell = sub_floor(*cell, cost);
}

void limit_settle(uint64_t *cell, const struct limit_rule *r, uint64_t estimated, uint64_t actual, uint64_t now)
{
    if (actual <= estimated)
        limit_uncharge(cell, estimated - actual);
    else
        *cell = add_sat(later(*cell, limit_clock(r, now)), actual - estimated);
}

void limit_rule_change(struct limit_rule *r, uint64_t tokens, uint64_t period, uint64_t burst, uint64_t now)
{
    uint64_t v = limit_clock(r, now);
    *r = (struct limit_rule){.v0 = v, .t0 = later(now, r->t0), .tokens = tokens, .period = period, .burst = burst};
}
