/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/slab.h"

#include "test.h"

TEST(objects_are_apart_and_aligned)
{
    enum { N = 100 };
    static const size_t sizes[] = {1, 8, 16, 17, 24, 100, 4096};
    for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
        struct slab s;
        unsigned char *got[N];
        test_row("size %zu", sizes[k]);
        slab_init(&s, sizes[k], 7);
        for (int i = 0; i < N; i++) {
            got[i] = slab_alloc(&s);
            EXPECT_EQ((uintptr_t)got[i] % 16, 0);
            memset(got[i], i, sizes[k]);
        }
        EXPECT_EQ(s.used, N);
        EXPECT(s.total >= N && s.total < N + 7);
        for (int i = 0; i < N; i++) {
            bool mine = true;
            for (size_t j = 0; j < sizes[k]; j++)
                mine = mine && got[i][j] == i;
            EXPECT(mine);
        }
        for (int i = 0; i < N; i++)
            slab_free(&s, got[i]);
        EXPECT_EQ(s.used, 0);
        slab_fini(&s);
    }
}

TEST(what_came_back_is_used_again)
{
    struct slab s;
    void *got[8];
    slab_init(&s, 64, 4);
    for (int round = 0; round < 1000; round++) {
        for (int i = 0; i < 8; i++)
            got[i] = slab_alloc(&s);
        EXPECT_EQ(s.total, 8);
        for (int i = 0; i < 8; i++)
            slab_free(&s, got[i]);
    }
    slab_fini(&s);
}

TEST(zalloc_clears_a_used_object)
{
    struct slab s;
    slab_init(&s, 40, 1);
    char *p = slab_alloc(&s);
    memset(p, 0xff, 40);
    slab_free(&s, p);
    p = slab_zalloc(&s);
    for (int i = 0; i < 40; i++)
        EXPECT_EQ(p[i], 0);
    slab_free(&s, p);
    slab_free(&s, NULL);
    slab_fini(&s);
}

TEST(usable_again_after_fini)
{
    struct slab s;
    slab_init(&s, 32, 2);
    slab_free(&s, slab_alloc(&s));
    slab_fini(&s);
    slab_free(&s, slab_alloc(&s));
    slab_fini(&s);
    EXPECT_EQ(s.total, 0);
}

static void fini_with_one_out(void)
{
    struct slab s;
    slab_init(&s, 32, 2);
    slab_alloc(&s);
    slab_fini(&s);
}

static void free_too_often(void)
{
    struct slab s;
    slab_init(&s, 32, 2);
    slab_free(&s, &s);
}

TEST(a_leak_and_a_second_free_are_bugs)
{
    EXPECT_DIES(fini_with_one_out, "check failed: s->used == 0");
    EXPECT_DIES(free_too_often, "check failed: s->used > 0");
}

TEST(trim_gives_back_whole_chunks_alone)
{
    enum { N = 40, BATCH = 8 };
    struct slab s;
    unsigned char *got[N];
    slab_init(&s, 64, BATCH);
    slab_trim(&s);
    for (int i = 0; i < N; i++)
        memset(got[i] = slab_alloc(&s), i, 64);
    slab_free(&s, slab_alloc(&s));           /* a sixth chunk, of which most was never out */
    for (int i = 0; i < N; i++)
        if (i != 3 && i != 25)               /* of the first and the fourth one stays */
            slab_free(&s, got[i]);
    slab_trim(&s);
    EXPECT_EQ(s.used, 2);
    EXPECT_EQ(s.total, SLAB_HEAP ? 2 : 2 * BATCH);
    for (int i = 0; i < N; i++)
        if (i != 3 && i != 25)
            memset(got[i] = slab_alloc(&s), i, 64);
    for (int i = 0; i < N; i++) {
        EXPECT_EQ(got[i][0], i);
        EXPECT_EQ(got[i][63], i);
        slab_free(&s, got[i]);
    }
    slab_trim(&s);
    EXPECT_EQ(s.total, 0);
    slab_free(&s, slab_alloc(&s));
    slab_fini(&s);
}
