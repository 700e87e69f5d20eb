/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIMIT_RULE_H
#define LIMIT_RULE_H

#include <stdatomic.h>
#include <stdint.h>
#include "filters/limit_algo.h"

/*
 * A rule that many threads read while one may write it. Zeroed, it is a rule of zeros.
 *
 * It is kept twice: `turn` says which copy is the rule, the other one is written first, then `turn` goes on. A reader looks
 * at `turn` again after reading and starts over if it moved, and so never decides by half a rule; a writer that is stopped in
 * the middle holds up nobody, for it is not the copy being read that it writes. All words are atomics, with acquire and
 * release on each: a reader that saw one word of a newer rule also sees that `turn` had moved.
 */
enum { RULE_V0, RULE_T0, RULE_TOKENS, RULE_PERIOD, RULE_BURST, RULE_WORDS };

struct limit_rule_cell {
    _Atomic uint64_t turn;           /* its last bit: which copy is the rule */
    _Atomic uint64_t copies[2][RULE_WORDS];
};

static inline void limit_rule_load(const struct limit_rule_cell *cell, struct limit_rule *r)
{
    uint64_t turn;
    do {
        turn = atomic_load_explicit(&cell->turn, memory_order_acquire);
        const _Atomic uint64_t *copy = cell->copies[turn & 1];
        r->v0 = atomic_load_explicit(&copy[RULE_V0], memory_order_acquire);
        r->t0 = atomic_load_explicit(&copy[RULE_T0], memory_order_acquire);
        r->tokens = atomic_load_explicit(&copy[RULE_TOKENS], memory_order_acquire);
        r->period = atomic_load_explicit(&copy[RULE_PERIOD], memory_order_acquire);
        r->burst = atomic_load_explicit(&copy[RULE_BURST], memory_order_acquire);
    } while (atomic_load_explicit(&cell->turn, memory_order_relaxed) != turn);
}

/* One thread at a time. */
static inline void limit_rule_store(struct limit_rule_cell *cell, const struct limit_rule *r)
{
    uint64_t turn = atomic_load_explicit(&cell->turn, memory_order_relaxed) + 1;
    _Atomic uint64_t *copy = cell->copies[turn & 1];
    atomic_store_explicit(&copy[RULE_V0], r->v0, memory_order_release);
    atomic_store_explicit(&copy[RULE_T0], r->t0, memory_order_release);
    atomic_store_explicit(&copy[RULE_TOKENS], r->tokens, memory_order_release);
    atomic_store_explicit(&copy[RULE_PERIOD], r->period, memory_order_release);
    atomic_store_explicit(&copy[RULE_BURST], r->burst, memory_order_release);
    atomic_store_explicit(&cell->turn, turn, memory_order_release);
}

#endif
