/* SPDX-License-Identifier: Apache-2.0 */
#ifndef METRICS_H
#define METRICS_H

#include <stdatomic.h>
#include <stdint.h>
#include "lib/histogram.h"
#include "lib/page.h"
#include "reason.h"

/*
 * What a worker counts. One writer, its worker: plain relaxed stores; the admin listener sums all workers' on the control
 * thread. Names and help texts stand in metrics.def.
 */
enum metric {
#define METRIC(name, type, help) METRIC_##name,
#include "metrics.def"
#undef METRIC
    METRIC_COUNT
};

struct metrics {
    _Atomic uint64_t v[METRIC_COUNT];
    _Atomic uint64_t by_reason[REASON_COUNT];          /* requests ended */
    _Atomic uint64_t by_status[6];                     /* by first digit; 0: cut without an answer */
    _Atomic uint64_t duration[HISTOGRAM_BUCKETS + 1];  /* requests; the last is +Inf */
    _Atomic uint64_t duration_sum;                     /* ns */
};

static inline void metric_add(struct metrics *m, enum metric id, uint64_t n)
{
    atomic_store_explicit(&m->v[id], atomic_load_explicit(&m->v[id], memory_order_relaxed) + n, memory_order_relaxed);
}

static inline void metric_sub(struct metrics *m, enum metric id, uint64_t n) { metric_add(m, id, 0 - n); }

/* Counts an ended request. Worker. */
void metrics_request(struct metrics *, enum reason, int status, uint64_t duration_ns);

/* All of `n` workers' counters, summed, as Prometheus text (version 0.0.4). Any thread. Every series is printed at zero
 * too. The sums are not of one instant, but a histogram's count is the sum of the buckets on the same page. */
void metrics_print(struct metrics *const *workers, unsigned n, struct page *);

#endif
