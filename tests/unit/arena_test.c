/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/arena.h"

#include "lib/rng.h"
#include "test.h"

struct piece {
    unsigned char *at;
    size_t len;
};

static void fill_and_look(struct slab *blocks)
{
    enum { N = 500 };
    struct piece pieces[N];
    struct arena a;
    struct rng rng;

    rng_seed(&rng, 1);
    arena_init(&a, blocks);
    for (int i = 0; i < N; i++) {
        size_t len = rng_below(&rng, 20) ? rng_below(&rng, 300) : rng_below(&rng, 3 * ARENA_BLOCK);
        pieces[i] = (struct piece){arena_alloc(&a, len), len};
        EXPECT(pieces[i].at);
        EXPECT_EQ((uintptr_t)pieces[i].at % 16, 0);
        memset(pieces[i].at, i & 0xff, len);
    }
    for (int i = 0; i < N; i++)
        for (size_t j = 0; j < pieces[i].len; j++)
            if (!EXPECT_EQ(pieces[i].at[j], i & 0xff))
                break;
    arena_fini(&a);
}

TEST(pieces_are_apart_and_aligned)
{
    struct slab blocks;
    slab_init(&blocks, ARENA_BLOCK, 4);
    fill_and_look(&blocks);
    EXPECT_EQ(blocks.used, 0);
    fill_and_look(NULL);
    slab_fini(&blocks);
}

TEST(any_size_near_the_edges)
{
    static const size_t sizes[] = {0, 1, 15, 16, 17, 1000, 1020, 1021, 4063, 4064, 4065,
                                   4079, 4080, 4081, 4096, 4097, 99999};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        for (size_t j = 0; j < sizeof(sizes) / sizeof(sizes[0]); j++) {
            struct arena a;
            test_row("%zu, %zu", sizes[i], sizes[j]);
            arena_init(&a, NULL);
            char *p = arena_alloc(&a, sizes[i]), *q = arena_alloc(&a, sizes[j]), *r = arena_alloc(&a, 1);
            memset(p, 1, sizes[i]);
            memset(q, 2, sizes[j]);
            *r = 3;
            EXPECT(p && q && r && p != q && q != r);
            if (sizes[i])
                EXPECT(p[0] == 1 && p[sizes[i] - 1] == 1);
            if (sizes[j])
                EXPECT(q[0] == 2 && q[sizes[j] - 1] == 2);
            arena_fini(&a);
        }
}

TEST(small_pieces_share_blocks)
{
    struct slab blocks;
    struct arena a;
    slab_init(&blocks, ARENA_BLOCK, 4);
    arena_init(&a, &blocks);
    EXPECT_EQ(blocks.used, 0);
    for (int i = 0; i < 250; i++)
        arena_alloc(&a, 13);
    if (!SLAB_HEAP)
        EXPECT_EQ(blocks.used, 1);
    arena_alloc(&a, ARENA_BLOCK);
    arena_alloc(&a, 2000);
    arena_alloc(&a, 16);
    if (!SLAB_HEAP)
        EXPECT_EQ(blocks.used, 1);
    for (int i = 0; i < 250; i++)
        arena_alloc(&a, 13);
    if (!SLAB_HEAP)
        EXPECT_EQ(blocks.used, 2);
    arena_fini(&a);
    EXPECT_EQ(blocks.used, 0);
    arena_alloc(&a, 1);
    arena_fini(&a);
    slab_fini(&blocks);
}

TEST(zalloc_is_zeroed)
{
    struct arena a;
    arena_init(&a, NULL);
    for (int round = 0; round < 50; round++) {
        unsigned char *p = arena_zalloc(&a, 200);
        for (int i = 0; i < 200; i++)
            EXPECT_EQ(p[i], 0);
        memset(p, 0xff, 200);
        if (round % 10 == 9)
            arena_fini(&a);
    }
    arena_fini(&a);
}

TEST(text)
{
    struct arena a;
    char source[] = "abcdef";
    arena_init(&a, NULL);
    struct str s = arena_copy(&a, str_of(source, 3));
    char *p = arena_strdup(&a, str_of(source + 3, 3));
    memset(source, 'x', 6);
    EXPECT_STR(s, "abc");
    EXPECT_EQ(s.at[3], 0);
    EXPECT_CSTR(p, "def");
    EXPECT_STR(arena_copy(&a, STR("")), "");
    EXPECT_STR(arena_copy(&a, str_c(NULL)), NULL);
    EXPECT_CSTR(arena_strdup(&a, str_c(NULL)), "");
    EXPECT_STR(arena_printf(&a, "%s:%d", "host", 80), "host:80");
    EXPECT_STR(arena_printf(&a, "%s", ""), "");
    arena_fini(&a);
}

TEST(printf_of_any_length)
{
    static const int lengths[] = {1, 254, 255, 256, 257, 4000, 4079, 4080, 5000, 100000};
    struct arena a;
    arena_init(&a, NULL);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        test_row("%d", lengths[i]);
        struct str s = arena_printf(&a, "%*d", lengths[i], 7);
        EXPECT_EQ(s.len, lengths[i]);
        EXPECT_EQ(strlen(s.at), lengths[i]);
        EXPECT_EQ(s.at[s.len - 1], '7');
    }
    arena_fini(&a);
}

static void slab_of_other_size(void)
{
    struct slab blocks;
    struct arena a;
    slab_init(&blocks, ARENA_BLOCK / 2, 4);
    arena_init(&a, &blocks);
}

TEST(a_slab_of_another_size_is_a_bug) { EXPECT_DIES(slab_of_other_size, "blocks->size == ARENA_BLOCK"); }

TEST(numbers)
{
    struct arena a;
    arena_init(&a, NULL);
    EXPECT_STR(arena_u64(&a, 0), "0");
    EXPECT_STR(arena_u64(&a, 10), "10");
    EXPECT_STR(arena_u64(&a, UINT64_MAX), "18446744073709551615");
    arena_fini(&a);
}
