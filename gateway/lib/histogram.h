/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

/*
 * Times, counted by size: the buckets of all of weir's histograms, 500 us to 60 s. Zeroed is empty. Any thread; relaxed:
 * the count and the sum on a page may be a few entries apart.
 */
#define HISTOGRAM_BUCKETS 20

struct histogram {
    _Atomic uint64_t n[HISTOGRAM_BUCKETS + 1];     /* the last is +Inf */
    _Atomic uint64_t sum;                          /* ns */
};

extern const uint64_t histogram_bounds[HISTOGRAM_BUCKETS];    /* upper, inclusive, ns */

/* Of the first bound that is >= ns; HISTOGRAM_BUCKETS: none is. */
unsigned histogram_bucket(uint64_t ns);

static inline void histogram_add(struct histogram *h, uint64_t ns)
{
    atomic_fetch_add_explicit(&h->n[histogram_bucket(ns)], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum, ns, memory_order_relaxed);
}

#endif
