/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/histogram.h"

#include "lib/clock.h"
#include "test.h"

TEST(bounds_are_inclusive)
{
    EXPECT_EQ(histogram_bucket(0), 0);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        test_row("%u", i);
        EXPECT_EQ(histogram_bucket(histogram_bounds[i]), i);
        EXPECT_EQ(histogram_bucket(histogram_bounds[i] + 1), i + 1);
        EXPECT(i == 0 || histogram_bounds[i - 1] < histogram_bounds[i]);
    }
    EXPECT_EQ(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS);
    EXPECT_EQ(histogram_bounds[HISTOGRAM_BUCKETS - 1], 60 * NSEC_PER_SEC);
}

TEST(times_are_counted_and_summed)
{
    static struct histogram h;
    histogram_add(&h, NSEC_PER_MSEC);
    histogram_add(&h, NSEC_PER_MSEC);
    histogram_add(&h, 100 * NSEC_PER_SEC);
    EXPECT_EQ(h.n[1], 2);
    EXPECT_EQ(h.n[HISTOGRAM_BUCKETS], 1);
    EXPECT_EQ(h.sum, 100 * NSEC_PER_SEC + 2 * NSEC_PER_MSEC);
}
