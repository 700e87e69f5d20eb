/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters of the workers and the page that shows them.
 *
 * A worker is the only writer of its struct, so that counting is a relaxed load, an addition and a relaxed store, with no
 * locked instruction. The page sums all workers' values, each read once; it may be a few requests behind one series and
 * ahead of another, but inside a histogram it is consistent: count is made from the buckets that were printed.
 *
 * Names, types and help come from metrics.def and reasons.def alone. What is not here: who serves the page (admin.c).
 */
#include "metrics.h"

#include <inttypes.h>
#include "exposition.h"
#include "lib/check.h"

struct metric_row {
    const char *name, *type, *help;
};

static const struct metric_row rows[METRIC_COUNT] = {
#define METRIC(name, type, help) {#name, #type, help},
#include "metrics.def"
#undef METRIC
};

static void count(_Atomic uint64_t *v, uint64_t n)
{
    atomic_store_explicit(v, atomic_load_explicit(v, memory_order_relaxed) + n, memory_order_relaxed);
}

void metrics_request(struct metrics *m, enum reason reason, int status, uint64_t duration_ns)
{
    check((unsigned)reason < REASON_COUNT);
    unsigned digit = (unsigned)status / 100;
    count(&m->by_reason[reason], 1);
    count(&m->by_status[digit <= 5 ? digit : 0], 1);
    count(&m->duration[histogram_bucket(duration_ns)], 1);
    count(&m->duration_sum, duration_ns);
}

/* The sum of the counter that lies `offset` bytes into each worker's struct. */
static uint64_t sum(struct metrics *const *workers, unsigned n, size_t offset)
{
    uint64_t all = 0;
    for (unsigned i = 0; i < n; i++) {
        const void *at = (const char *)workers[i] + offset;
        all += atomic_load_explicit((const _Atomic uint64_t *)at, memory_order_relaxed);
    }
    return all;
}

/* Those have no request yet that it could end: their own counters tell of them. */
static bool ends_connections(enum reason r)
{
    return r == REASON_connections || r == REASON_address_connections || r == REASON_address_rate;
}

static void print_reasons(struct metrics *const *workers, unsigned n, struct page *p)
{
    exposition_head(p, "requests_total", "counter", "Requests ended, by reason.");
    for (unsigned i = 0; i < REASON_COUNT; i++) {
        if (ends_connections((enum reason)i))
            continue;
        const struct label reason = {"reason", str_c(reason_name((enum reason)i))};
        exposition_value(p, "requests_total", &reason, 1,
                         sum(workers, n, offsetof(struct metrics, by_reason) + i * sizeof(uint64_t)));
    }
}

static void print_statuses(struct metrics *const *workers, unsigned n, struct page *p)
{
    static const char *const codes[6] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
    exposition_head(p, "responses_total", "counter", "Requests ended, by the class of the status; none: cut without an answer.");
    for (unsigned i = 0; i < 6; i++)
        page_printf(p, "weir_responses_total{code=\"%s\"} %" PRIu64 "\n", codes[i],
                    sum(workers, n, offsetof(struct metrics, by_status) + i * sizeof(uint64_t)));
}

static void print_duration(struct metrics *const *workers, unsigned n, struct page *p)
{
    uint64_t counts[HISTOGRAM_BUCKETS + 1];
    exposition_head(p, "request_duration_seconds", "histogram", "From a request's head to its end.");
    for (unsigned i = 0; i <= HISTOGRAM_BUCKETS; i++)
        counts[i] = sum(workers, n, offsetof(struct metrics, duration) + i * sizeof(uint64_t));
    exposition_histogram(p, "request_duration_seconds", NULL, 0, counts,
                         sum(workers, n, offsetof(struct metrics, duration_sum)));
}

void metrics_print(struct metrics *const *workers, unsigned n, struct page *p)
{
    for (unsigned i = 0; i < METRIC_COUNT; i++) {
        uint64_t v = sum(workers, n, offsetof(struct metrics, v) + i * sizeof(uint64_t));
        exposition_head(p, rows[i].name, rows[i].type, rows[i].help);
        /* A gauge that goes up in one worker and down in another may be below zero for the moment of the reading. */
        if (rows[i].type[0] == 'g' && (int64_t)v < 0)
            v = 0;
        exposition_value(p, rows[i].name, NULL, 0, v);
    }
    print_reasons(workers, n, p);
    print_statuses(workers, n, p);
    print_duration(workers, n, p);
}
