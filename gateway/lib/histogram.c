/* SPDX-License-Identifier: Apache-2.0 */
/* The bounds are Prometheus' usual ones, moved to what a gateway sees: half a millisecond to a minute. */
#include "lib/histogram.h"

#include "lib/clock.h"

#define US ((uint64_t)1000)
#define MS NSEC_PER_MSEC
#define S  NSEC_PER_SEC

const uint64_t histogram_bounds[HISTOGRAM_BUCKETS] = {
    500 * US, 1 * MS,   2500 * US, 5 * MS,  7500 * US, 10 * MS,  25 * MS, 50 * MS, 75 * MS, 100 * MS,
    250 * MS, 500 * MS, 750 * MS,  1 * S,   2500 * MS, 5 * S,    7500 * MS, 10 * S, 30 * S, 60 * S,
};

/* Four comparisons for most, without a branch on the data. */
unsigned histogram_bucket(uint64_t ns)
{
    unsigned at = 0, n = HISTOGRAM_BUCKETS;
    while (n > 1) {
        unsigned half = n / 2;
        at += histogram_bounds[at + half - 1] < ns ? half : 0;
        n -= half;
    }
    return at + (histogram_bounds[at] < ns);
}
