/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arithmetic of retry budgets; retry_budget.h says what it means.
 *
 * A balance that grows by one a second is a point in time: where it was empty. Its value is the time since then in seconds.
 * Taking one moves the point a second on, paying a share in moves it back by that share of a second, and a balance over the
 * most is a point too long ago, which counts as the latest that is not. So the whole balance is one word, and each change
 * one compare-and-swap.
 *
 * Whoever finds it full writes nothing: the point stays where it is, and counts as moved. What is left unwritten so can
 * come to light when the most grows, but the most is what was paid in within a second, so the bound stays what it is; and the
 * first who takes writes it down.
 *
 * Times are held with a bias, so that the point may lie before the clock's zero. Clocks beyond CLOCK_MAX (146 years) stand
 * still there, and no sum overflows.
 */
#include "filters/retry_budget.h"

#include "lib/clock.h"

#define BIAS      ((uint64_t)1 << 62)
#define CLOCK_MAX ((uint64_t)1 << 62)
#define SHARE_NS  (NSEC_PER_SEC / RETRY_BUDGET_ONE)      /* of a ten-thousandth of a retry */
#define COUNT_MAX 0xffffu

static uint64_t later(uint64_t a, uint64_t b) { return a > b ? a : b; }

static uint64_t biased(uint64_t now) { return BIAS + (now < CLOCK_MAX ? now : CLOCK_MAX); }

/* ---- one second's deposits ---- */

struct seen { uint32_t second, in_it, before; };

static struct seen seen_of(uint64_t word)
{
    return (struct seen){(uint32_t)(word >> 32), (uint32_t)(word >> 16 & COUNT_MAX), (uint32_t)(word & COUNT_MAX)};
}

static uint64_t word_of(struct seen s) { return (uint64_t)s.second << 32 | (uint64_t)s.in_it << 16 | s.before; }

/* As it stands at `now`. A second that is just over is counted on for a thread whose clock is that late. */
static struct seen seen_at(struct seen s, uint64_t now)
{
    uint32_t second = (uint32_t)(now / NSEC_PER_SEC), ahead = second - s.second;
    if (ahead == 0 || ahead == UINT32_MAX)
        return s;
    return (struct seen){second, 0, ahead == 1 ? s.in_it : 0};
}

/* The most that may be in it, as time. */
static uint64_t most(const struct retry_budget *b, uint32_t share, uint64_t now)
{
    struct seen s = seen_at(seen_of(atomic_load_explicit(&b->seen, memory_order_relaxed)), now);
    uint64_t paid = later(s.in_it, s.before) * share * SHARE_NS;
    return later(RETRY_BUDGET_LEAST * NSEC_PER_SEC, paid);
}

static void count_first(struct retry_budget *b, uint64_t now)
{
    uint64_t word = atomic_load_explicit(&b->seen, memory_order_relaxed);
    struct seen s;
    do {
        s = seen_at(seen_of(word), now);
        if (s.in_it < COUNT_MAX)
            s.in_it++;
    } while (!atomic_compare_exchange_weak_explicit(&b->seen, &word, word_of(s), memory_order_relaxed,
                                                    memory_order_relaxed));
}

/* ---- the balance ---- */

static uint64_t empty_load(const struct retry_budget *b) { return atomic_load_explicit(&b->empty, memory_order_relaxed); }

static bool empty_swap(struct retry_budget *b, uint64_t *from, uint64_t to)
{
    return atomic_compare_exchange_weak_explicit(&b->empty, from, to, memory_order_relaxed, memory_order_relaxed);
}

/* Moves the point `ns` back, as far as the balance may grow. */
static void pay_in(struct retry_budget *b, uint64_t ns, uint32_t share, uint64_t now)
{
    const uint64_t full = biased(now) - most(b, share, now);
    uint64_t from = empty_load(b);
    do {
        if (from <= full)
            return;
    } while (!empty_swap(b, &from, later(from - ns, full)));
}

void retry_budget_init(struct retry_budget *b, uint64_t now)
{
    atomic_init(&b->empty, biased(now) - RETRY_BUDGET_LEAST * NSEC_PER_SEC);
    atomic_init(&b->seen, word_of(seen_at((struct seen){0}, now)));
}

void retry_budget_deposit(struct retry_budget *b, uint32_t share, uint64_t now)
{
    count_first(b, now);
    pay_in(b, share * SHARE_NS, share, now);
}

bool retry_budget_take(struct retry_budget *b, uint32_t share, uint64_t now)
{
    const uint64_t at = biased(now), full = at - most(b, share, now);
    uint64_t from = empty_load(b), to;
    do {
        to = later(from, full) + NSEC_PER_SEC;
        if (to > at)
            return false;
    } while (!empty_swap(b, &from, to));
    return true;
}

void retry_budget_give_back(struct retry_budget *b, uint32_t share, uint64_t now)
{
    pay_in(b, NSEC_PER_SEC, share, now);
}

uint64_t retry_budget_left(const struct retry_budget *b, uint32_t share, uint64_t now)
{
    const uint64_t at = biased(now), from = later(empty_load(b), at - most(b, share, now));
    return from < at ? (at - from) / NSEC_PER_SEC : 0;
}
