/* SPDX-License-Identifier: Apache-2.0 */
#include "exposition.h"

#include "lib/clock.h"
#include "test.h"

TEST(heads_and_values)
{
    struct page p = {0};
    const struct label labels[] = {{"a", STR("x\"y")}, {"b", STR("")}};
    exposition_head(&p, "things_total", "counter", "All\nthings.");
    exposition_value(&p, "things_total", NULL, 0, 7);
    exposition_value(&p, "things_total", labels, 2, UINT64_MAX);
    EXPECT_CSTR(p.at, "# HELP weir_things_total All\\nthings.\n# TYPE weir_things_total counter\nweir_things_total 7\n"
                      "weir_things_total{a=\"x\\\"y\",b=\"\"} 18446744073709551615\n");
    page_free(&p);
}

TEST(a_histogram_adds_up)
{
    struct page p = {0};
    uint64_t counts[HISTOGRAM_BUCKETS + 1] = {3, 0, 2};
    counts[HISTOGRAM_BUCKETS] = 1;
    const struct label label = {"i", STR("x")};
    exposition_histogram(&p, "wait_seconds", &label, 1, counts, 61 * NSEC_PER_SEC + 5);
    EXPECT(strstr(p.at, "weir_wait_seconds_bucket{i=\"x\",le=\"0.0005\"} 3\nweir_wait_seconds_bucket{i=\"x\",le=\"0.001\"} 3\n"
                        "weir_wait_seconds_bucket{i=\"x\",le=\"0.0025\"} 5\n") == p.at);
    EXPECT(strstr(p.at, "{i=\"x\",le=\"60\"} 5\nweir_wait_seconds_bucket{i=\"x\",le=\"+Inf\"} 6\n"
                        "weir_wait_seconds_sum{i=\"x\"} 61.000000005\nweir_wait_seconds_count{i=\"x\"} 6\n"));
    page_free(&p);
    exposition_histogram(&p, "w", NULL, 0, counts, 0);
    EXPECT(strstr(p.at, "weir_w_bucket{le=\"0.0005\"} 3\n") == p.at);
    EXPECT(strstr(p.at, "\nweir_w_sum 0.000000000\nweir_w_count 6\n"));
    page_free(&p);
}
