/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/rng.h"

#include "test.h"

/* The first results of the authors' own code from the state {1, 2, 3, 4}. */
TEST(known_sequence)
{
    static const uint64_t want[] = {
        11520u, 0u, 1509978240u, 1215971899390074240u, 1216172134540287360u, 607988272756665600u,
        16172922978634559625u, 8476171486693032832u, 10595114339597558777u, 2904607092377533576u,
    };
    struct rng r = {.s = {1, 2, 3, 4}};
    for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++)
        EXPECT_EQ(rng_next(&r), want[i]);
}

/* splitmix64 from the seed 1234567, as published with it. */
TEST(known_seed)
{
    static const uint64_t want[] = {6457827717110365317u, 3203168211198807973u, 9817491932198370423u,
                                    4593380528125082431u};
    struct rng r;
    rng_seed(&r, 1234567);
    for (size_t i = 0; i < 4; i++)
        EXPECT_EQ(r.s[i], want[i]);
}

TEST(same_seed_same_run)
{
    struct rng a, b, c;
    int differ = 0;
    rng_seed(&a, 9);
    rng_seed(&b, 9);
    rng_seed(&c, 10);
    for (int i = 0; i < 100; i++) {
        uint64_t x = rng_next(&a);
        EXPECT_EQ(x, rng_next(&b));
        differ += x != rng_next(&c);
    }
    EXPECT_EQ(differ, 100);
}

TEST(below_is_below_and_even)
{
    static const uint64_t bounds[] = {1, 2, 3, 7, 10};
    struct rng r;
    rng_seed(&r, 11);
    for (size_t k = 0; k < sizeof(bounds) / sizeof(bounds[0]); k++) {
        unsigned seen[10] = {0};
        test_row("%d", (int)bounds[k]);
        for (int i = 0; i < 10000; i++) {
            uint64_t x = rng_below(&r, bounds[k]);
            if (!EXPECT(x < bounds[k]))
                return;
            seen[x]++;
        }
        for (uint64_t x = 0; x < bounds[k]; x++)
            EXPECT(seen[x] * bounds[k] > 8500 && seen[x] * bounds[k] < 11500);
    }
}

/* A plain remainder would put two thirds of the draws into the lower half. */
TEST(below_is_even_for_a_large_bound)
{
    const uint64_t bound = (uint64_t)3 << 62;
    struct rng r;
    unsigned low = 0;
    rng_seed(&r, 12);
    for (int i = 0; i < 10000; i++) {
        uint64_t x = rng_below(&r, bound);
        EXPECT(x < bound);
        low += x % 3 == 0;
    }
    EXPECT(low > 3100 && low < 3570);
}

TEST(entropy_fills_all_of_it)
{
    unsigned char a[1000] = {0}, b[1000] = {0};
    unsigned zeros = 0;
    rng_entropy(a, sizeof(a));
    rng_entropy(b, sizeof(b));
    for (size_t i = 0; i < sizeof(a); i++)
        zeros += a[i] == 0;
    EXPECT(zeros < 40);
    EXPECT(memcmp(a, b, sizeof(a)) != 0);
    rng_entropy(a, 0);
}
