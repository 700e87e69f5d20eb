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
#include <stdarg.h>
#include <stdio.h>
#include "lib/check.h"
#include "lib/clock.h"
#include "lib/mem.h"

#define US ((uint64_t)1000)
#define MS NSEC_PER_MSEC
#define S  NSEC_PER_SEC

/* Upper bounds, inclusive, in ns. */
static const uint64_t bounds[METRIC_BUCKETS] = {
    500 * US, 1 * MS,   2500 * US, 5 * MS,  7500 * US, 10 * MS,  25 * MS, 50 * MS, 75 * MS, 100 * MS,
    250 * MS, 500 * MS, 750 * MS,  1 * S,   2500 * MS, 5 * S,    7500 * MS, 10 * S, 30 * S, 60 * S,
};

#undef US
#undef MS
#undef S

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

/* Of the first bound that is >= ns; METRIC_BUCKETS: none is. Four comparisons for most, without a branch on the data. */
static unsigned bucket_of(uint64_t ns)
{
    unsigned at = 0, n = METRIC_BUCKETS;
    while (n > 1) {
        unsigned half = n / 2;
        at += bounds[at + half - 1] < ns ? half : 0;
        n -= half;
    }
    return at + (bounds[at] < ns);
}

void metrics_request(struct metrics *m, enum reason reason, int status, uint64_t duration_ns)
{
    check((unsigned)reason < REASON_COUNT);
    unsigned digit = (unsigned)status / 100;
    count(&m->by_reason[reason], 1);
    count(&m->by_status[digit <= 5 ? digit : 0], 1);
    count(&m->duration[bucket_of(duration_ns)], 1);
    count(&m->duration_sum, duration_ns);
}

void page_printf(struct page *p, const char *fmt, ...)
{
    for (;;) {
        size_t room = p->cap - p->len;
        va_list ap;
        va_start(ap, fmt);
        int n = vsnprintf(room ? p->at + p->len : NULL, room, fmt, ap);
        va_end(ap);
        check(n >= 0);
        if ((size_t)n < room) {
            p->len += (size_t)n;
            return;
        }
        p->cap = (p->len + (size_t)n + 1) * 2;
        p->at = mem_realloc(p->at, p->cap);
    }
}

void page_label(struct page *p, struct str value)
{
    page_printf(p, "\"");
    for (size_t i = 0, from = 0; i <= value.len; i++) {
        char c = i < value.len ? value.at[i] : '\0';
        if (i < value.len && c != '\\' && c != '"' && c != '\n')
            continue;
        page_printf(p, "%.*s", (int)(i - from), from < value.len ? value.at + from : "");
        if (i < value.len)
            page_printf(p, "\\%c", c == '\n' ? 'n' : c);
        from = i + 1;
    }
    page_printf(p, "\"");
}

void page_free(struct page *p)
{
    mem_free(p->at);
    *p = (struct page){0};
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

static void print_head(struct page *p, const char *name, const char *type, const char *help)
{
    page_printf(p, "# HELP weir_%s ", name);
    for (const char *c = help; *c; c++)
        if (*c == '\\' || *c == '\n')
            page_printf(p, "\\%c", *c == '\n' ? 'n' : '\\');
        else
            page_printf(p, "%c", *c);
    page_printf(p, "\n# TYPE weir_%s %s\n", name, type);
}

static void print_reasons(struct metrics *const *workers, unsigned n, struct page *p)
{
    print_head(p, "requests_total", "counter", "Requests ended, by reason.");
    for (unsigned i = 0; i < REASON_COUNT; i++) {
        page_printf(p, "weir_requests_total{reason=");
        page_label(p, str_c(reason_name((enum reason)i)));
        page_printf(p, "} %" PRIu64 "\n", sum(workers, n, offsetof(struct metrics, by_reason) + i * sizeof(uint64_t)));
    }
}

static void print_statuses(struct metrics *const *workers, unsigned n, struct page *p)
{
    static const char *const codes[6] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
    print_head(p, "responses_total", "counter", "Requests ended, by the class of the status; none: cut without an answer.");
    for (unsigned i = 0; i < 6; i++)
        page_printf(p, "weir_responses_total{code=\"%s\"} %" PRIu64 "\n", codes[i],
                    sum(workers, n, offsetof(struct metrics, by_status) + i * sizeof(uint64_t)));
}

static void print_duration(struct metrics *const *workers, unsigned n, struct page *p)
{
    uint64_t below = 0;
    print_head(p, "request_duration_seconds", "histogram", "From a request's head to its end.");
    for (unsigned i = 0; i <= METRIC_BUCKETS; i++) {
        below += sum(workers, n, offsetof(struct metrics, duration) + i * sizeof(uint64_t));
        if (i < METRIC_BUCKETS)
            page_printf(p, "weir_request_duration_seconds_bucket{le=\"%g\"} %" PRIu64 "\n",
                        (double)bounds[i] / (double)NSEC_PER_SEC, below);
        else
            page_printf(p, "weir_request_duration_seconds_bucket{le=\"+Inf\"} %" PRIu64 "\n", below);
    }
    uint64_t ns = sum(workers, n, offsetof(struct metrics, duration_sum));
    page_printf(p, "weir_request_duration_seconds_sum %" PRIu64 ".%09" PRIu64 "\n", ns / NSEC_PER_SEC, ns % NSEC_PER_SEC);
    page_printf(p, "weir_request_duration_seconds_count %" PRIu64 "\n", below);
}

void metrics_print(struct metrics *const *workers, unsigned n, struct page *p)
{
    for (unsigned i = 0; i < METRIC_COUNT; i++) {
        uint64_t v = sum(workers, n, offsetof(struct metrics, v) + i * sizeof(uint64_t));
        print_head(p, rows[i].name, rows[i].type, rows[i].help);
        /* A gauge that goes up in one worker and down in another may be below zero for the moment of the reading. */
        if (rows[i].type[0] == 'g' && (int64_t)v < 0)
            v = 0;
        page_printf(p, "weir_%s %" PRIu64 "\n", rows[i].name, v);
    }
    print_reasons(workers, n, p);
    print_statuses(workers, n, p);
    print_duration(workers, n, p);
}
