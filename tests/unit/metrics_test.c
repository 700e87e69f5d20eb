/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics.h"

#include "lib/clock.h"
#include "tests/unit/test.h"

static const char *page_of(struct metrics *const *workers, unsigned n, struct page *p)
{
    metrics_print(workers, n, p);
    return p->at;
}

/* The value of a series, given as it stands at a line's start; -1: it is not on the page, or more than once. */
static long long value(const char *page, const char *series)
{
    long long found = -1;
    size_t len = strlen(series);
    for (const char *at = page; at; at = strchr(at, '\n'), at = at ? at + 1 : NULL) {
        if (strncmp(at, series, len) || at[len] != ' ')
            continue;
        if (found >= 0)
            return -1;
        found = strtoll(at + len + 1, NULL, 10);
    }
    return found;
}

TEST(counters_of_all_workers_are_summed)
{
    struct metrics a = {0}, b = {0};
    struct page p = {0};
    metric_add(&a, METRIC_attempts_total, 3);
    metric_add(&b, METRIC_attempts_total, 4);
    metric_add(&a, METRIC_client_connections, 2);
    metric_sub(&a, METRIC_client_connections, 1);
    const char *page = page_of((struct metrics *const[]){&a, &b}, 2, &p);
    EXPECT_EQ(value(page, "weir_attempts_total"), 7);
    EXPECT_EQ(value(page, "weir_client_connections"), 1);
    page_free(&p);
}

TEST(requests_by_reason_and_status)
{
    static const struct { enum reason reason; int status; const char *code; } rows[] = {
        {REASON_none, 200, "2xx"}, {REASON_replied, 301, "3xx"}, {REASON_rate_limited, 429, "4xx"},
        {REASON_internal, 500, "5xx"}, {REASON_client_gone, 0, "none"}, {REASON_none, 101, "1xx"},
        {REASON_none, 999, "none"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct metrics m = {0};
        struct page p = {0};
        char series[80];
        test_row("%d", rows[i].status);
        metrics_request(&m, rows[i].reason, rows[i].status, 1);
        const char *page = page_of((struct metrics *const[]){&m}, 1, &p);
        snprintf(series, sizeof(series), "weir_responses_total{code=\"%s\"}", rows[i].code);
        EXPECT_EQ(value(page, series), 1);
        snprintf(series, sizeof(series), "weir_requests_total{reason=\"%s\"}", reason_name(rows[i].reason));
        EXPECT_EQ(value(page, series), 1);
        EXPECT_EQ(value(page, "weir_request_duration_seconds_count"), 1);
        page_free(&p);
    }
}

TEST(refused_connections_are_no_requests)
{
    struct metrics m = {0};
    struct page p = {0};
    const char *page = page_of((struct metrics *const[]){&m}, 1, &p);
    EXPECT(strstr(page, "weir_requests_total{reason=\"client_gone\"}") != NULL);
    EXPECT(strstr(page, "reason=\"connections\"") == NULL);
    EXPECT(strstr(page, "reason=\"address_connections\"") == NULL);
    EXPECT(strstr(page, "reason=\"address_rate\"") == NULL);
    page_free(&p);
}

TEST(a_duration_falls_into_the_first_bucket_that_holds_it)
{
    static const struct { uint64_t ns; const char *le, *before; } rows[] = {
        {0, "0.0005", NULL},
        {500 * 1000, "0.0005", NULL},
        {500 * 1000 + 1, "0.001", "0.0005"},
        {1000 * 1000, "0.001", "0.0005"},
        {80 * NSEC_PER_MSEC, "0.1", "0.075"},
        {NSEC_PER_SEC, "1", "0.75"},
        {NSEC_PER_SEC + 1, "2.5", "1"},
        {60 * NSEC_PER_SEC, "60", "30"},
        {60 * NSEC_PER_SEC + 1, "+Inf", "60"},
        {UINT64_MAX, "+Inf", "60"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct metrics m = {0};
        struct page p = {0};
        char series[80];
        test_row("%llu ns", (unsigned long long)rows[i].ns);
        metrics_request(&m, REASON_none, 200, rows[i].ns);
        const char *page = page_of((struct metrics *const[]){&m}, 1, &p);
        snprintf(series, sizeof(series), "weir_request_duration_seconds_bucket{le=\"%s\"}", rows[i].le);
        EXPECT_EQ(value(page, series), 1);
        snprintf(series, sizeof(series), "weir_request_duration_seconds_bucket{le=\"%s\"}",
                 rows[i].before ? rows[i].before : "+Inf");
        EXPECT_EQ(value(page, series), rows[i].before ? 0 : 1);
        page_free(&p);
    }
}

TEST(the_sum_is_in_seconds)
{
    struct metrics m = {0};
    struct page p = {0};
    metrics_request(&m, REASON_none, 200, 1500 * NSEC_PER_MSEC);
    metrics_request(&m, REASON_none, 200, 7);
    EXPECT(strstr(page_of((struct metrics *const[]){&m}, 1, &p), "\nweir_request_duration_seconds_sum 1.500000007\n"));
    page_free(&p);
}

/* The family that a series' name belongs to: the name up to a label, less a histogram's suffix. */
static struct str family_of(const char *line, bool histogram)
{
    struct str name = str_of(line, strcspn(line, "{ "));
    static const char *const suffixes[] = {"_bucket", "_sum", "_count"};
    for (size_t i = 0; histogram && i < 3; i++) {
        size_t n = strlen(suffixes[i]);
        if (name.len > n && !memcmp(name.at + name.len - n, suffixes[i], n))
            return str_of(name.at, name.len - n);
    }
    return name;
}

TEST(the_page_is_well_formed)
{
    struct metrics m = {0};
    struct page p = {0};
    for (unsigned i = 0; i < 64; i++)
        metrics_request(&m, (enum reason)(i % REASON_COUNT), 200, (uint64_t)1 << i);
    const char *page = page_of((struct metrics *const[]){&m}, 1, &p);
    EXPECT_EQ(page[p.len - 1], '\n');

    struct str families[200], now = {NULL, 0};
    unsigned n = 0;
    bool helped = false, histogram = false;
    long long last_bucket = 0;
    for (const char *line = page; *line; line = strchr(line, '\n') + 1) {
        if (!strncmp(line, "# HELP ", 7)) {
            now = str_of(line + 7, strcspn(line + 7, " "));
            helped = true;
            EXPECT(strcspn(line + 7 + now.len, "\n") > 1);
        } else if (!strncmp(line, "# TYPE ", 7)) {
            EXPECT(helped);
            EXPECT_STR_EQ(str_of(line + 7, strcspn(line + 7, " ")), now);
            for (unsigned i = 0; i < n; i++)
                EXPECT(!str_eq(families[i], now));
            families[n++] = now;
            const char *type = line + 7 + now.len + 1;
            histogram = !strncmp(type, "histogram\n", 10);
            EXPECT(histogram || !strncmp(type, "counter\n", 8) || !strncmp(type, "gauge\n", 6));
            helped = false;
            last_bucket = 0;
        } else {
            EXPECT(!strncmp(line, "weir_", 5));
            EXPECT_STR_EQ(family_of(line, histogram), now);
            long long v = strtoll(strchr(line, ' ') + 1, NULL, 10);
            EXPECT(v >= 0);
            if (strstr(line, "_bucket{") && strstr(line, "_bucket{") < strchr(line, '\n')) {
                EXPECT(v >= last_bucket);
                last_bucket = v;
            }
        }
    }
    EXPECT_EQ(n, METRIC_COUNT + 3);
    EXPECT_EQ(value(page, "weir_request_duration_seconds_bucket{le=\"+Inf\"}"), 64);
    EXPECT_EQ(value(page, "weir_request_duration_seconds_count"), 64);
    page_free(&p);
}

TEST(a_gauge_is_never_printed_below_zero)
{
    struct metrics m = {0};
    struct page p = {0};
    metric_sub(&m, METRIC_tunnels, 1);
    EXPECT_EQ(value(page_of((struct metrics *const[]){&m}, 1, &p), "weir_tunnels"), 0);
    page_free(&p);
}

TEST(labels_are_escaped)
{
    static const struct { const char *in, *out; } rows[] = {
        {"", "\"\""}, {"plain", "\"plain\""}, {"a\"b", "\"a\\\"b\""}, {"\\", "\"\\\\\""}, {"a\nb", "\"a\\nb\""},
        {"\"\n\\", "\"\\\"\\n\\\\\""}, {"%s%n", "\"%s%n\""},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct page p = {0};
        page_label(&p, str_c(rows[i].in));
        EXPECT_CSTR(p.at, rows[i].out);
        page_free(&p);
    }
}

TEST(a_page_grows)
{
    struct page p = {0};
    for (unsigned i = 0; i < 10000; i++)
        page_printf(&p, "%05u\n", i);
    EXPECT_EQ(p.len, 60000);
    EXPECT(!memcmp(p.at + 6 * 9999, "09999\n", 7));
    page_free(&p);
    EXPECT_EQ(p.at, NULL);
}
