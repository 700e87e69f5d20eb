/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TALLY_H
#define TALLY_H

#include <stdatomic.h>
#include <stdint.h>

/*
 * Up to eight counters that all workers add to, without passing a cache line around: each worker adds to a stripe that it
 * shares with few others, and who reads adds the stripes up. Relaxed: a sum is not of one instant. Zeroed is empty.
 */
enum { TALLY_STRIPES = 8, TALLY_COUNTERS = 8 };

struct tally {
    struct {
        _Atomic uint64_t v[TALLY_COUNTERS];
        char apart[64];
    } stripe[TALLY_STRIPES];
};

/* Any thread. */
static inline void tally_add(struct tally *t, unsigned worker, unsigned which, uint64_t n)
{
    atomic_fetch_add_explicit(&t->stripe[worker % TALLY_STRIPES].v[which], n, memory_order_relaxed);
}

static inline uint64_t tally_sum(const struct tally *t, unsigned which)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < TALLY_STRIPES; i++)
        sum += atomic_load_explicit(&t->stripe[i].v[which], memory_order_relaxed);
    return sum;
}

#endif
