/* SPDX-License-Identifier: Apache-2.0 */
/* The average by which a queue is judged hopeless. */
#include "test.h"

#include "filters/semaphore_time.h"

#define MS 1000000ull

TEST(learns_a_steady_service_and_follows_a_new_one)
{
    _Atomic uint64_t average = 0;
    semaphore_time_learn(&average, UINT64_MAX, 80 * MS);
    EXPECT_EQ(average, 80 * MS);                 /* the first sample is all that is known */
    semaphore_time_learn(&average, UINT64_MAX, 160 * MS);
    EXPECT_EQ(average, 90 * MS);                 /* an eighth of the difference */
    semaphore_time_learn(&average, UINT64_MAX, 10 * MS);
    EXPECT_EQ(average, 80 * MS);
    for (int i = 0; i < 200; i++)
        semaphore_time_learn(&average, UINT64_MAX, 20 * MS);
    EXPECT(average >= 20 * MS && average < 20 * MS + 8);
}

TEST(one_long_stream_does_not_make_the_queue_look_hopeless)
{
    _Atomic uint64_t average = 50 * MS;
    semaphore_time_learn(&average, UINT64_MAX, 3600 * 1000 * MS);
    EXPECT(average < 100 * MS);
    for (int i = 0; i < 10; i++)                 /* but if all have become slow, ten of them are enough to know */
        semaphore_time_learn(&average, UINT64_MAX, 30 * 1000 * MS);
    EXPECT(average > 8 * 1000 * MS);
}

TEST(a_sample_counts_for_no_more_than_the_bound)
{
    _Atomic uint64_t average = 0;
    semaphore_time_learn(&average, 4 * MS, UINT64_MAX);
    EXPECT_EQ(average, 4 * MS);
    semaphore_time_learn(&average, 4 * MS, UINT64_MAX);
    EXPECT_EQ(average, 4 * MS);
    average = UINT64_MAX;                        /* no overflow at the ends */
    semaphore_time_learn(&average, UINT64_MAX, UINT64_MAX);
    EXPECT_EQ(average, UINT64_MAX);
    semaphore_time_learn(&average, UINT64_MAX, 0);
    EXPECT(average < UINT64_MAX);
}

TEST(the_bound_is_what_a_full_queue_could_wait)
{
    EXPECT_EQ(semaphore_time_most(2000 * MS, 20), 80000 * MS);
    EXPECT_EQ(semaphore_time_most(0, 20), UINT64_MAX);           /* nobody waits: nothing is judged by it */
    EXPECT_EQ(semaphore_time_most(UINT64_MAX, UINT32_MAX), UINT64_MAX);
}
