/* SPDX-License-Identifier: Apache-2.0 */
#ifndef METRICS_H
#define METRICS_H

#include <stdatomic.h>
#include <stdint.h>
#include "lib/str.h"
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

#define METRIC_BUCKETS 20          /* of the duration histogram: upper bounds in metrics.c */

struct metrics {
    _Atomic uint64_t v[METRIC_COUNT];
    _Atomic uint64_t by_reason[REASON_COUNT];          /* requests ended */
    _Atomic uint64_t by_status[6];                     /* by first digit; 0: cut without an answer */
    _Atomic uint64_t duration[METRIC_BUCKETS + 1];     /* requests; the last is +Inf */
    _Atomic uint64_t duration_sum;                     /* ns */
};

static inline void metric_add(struct metrics *m, enum metric id, uint64_t n)
{
    atomic_store_explicit(&m->v[id], atomic_load_explicit(&m->v[id], memory_order_relaxed) + n, memory_order_relaxed);
}

static inline void metric_sub(struct metrics *m, enum metric id, uint64_t n) { metric_add(m, id, 0 - n); }

/* Counts an ended request. Worker. */
void metrics_request(struct metrics *, enum reason, int status, uint64_t duration_ns);

/* Growing text, for the page. Starts as {0}; `at` is NUL-terminated behind `len` once anything was printed. */
struct page { char *at; size_t len, cap; };
void page_printf(struct page *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A label's value, in double quotes, with backslash, quote and newline escaped as the text format wants it. */
void page_label(struct page *, struct str value);
void page_free(struct page *);

/* All of `n` workers' counters, summed, as Prometheus text (version 0.0.4). Any thread. Every series is printed at zero
 * too. The sums are not of one instant, but a histogram's count is the sum of the buckets on the same page. */
void metrics_print(struct metrics *const *workers, unsigned n, struct page *);

#endif
